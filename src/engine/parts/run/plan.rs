//! The plan by which only parts come back: a copy beside production, compared, asked for, carried
//! over in one transaction, proven, taken down. Owns the order of its steps and what each touches;
//! makes a value and does nothing.

use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::facts::Procedure;
use crate::engine::restore::full_plan::Ground;
use crate::engine::restore::plan::{chosen, no_base, sealed, words};
use crate::engine::runner::plan::{Cancel, Places, Plan, PlanStep};

/// The steps in their order. The ids are stable: the journal and reports use them.
pub const ORDER: [&str; 6] =
    ["parts-restore", "parts-replay", "parts-choose", "parts-carry", "parts-prove", "parts-clear"];

/// Makes the plan for the copy that was chosen.
///
/// # Errors
/// Where none was chosen, or production is not there to be written to.
pub fn make(ground: &Ground<'_>) -> Result<Plan, Explanation> {
    let reach = chosen(ground.incident)?;
    let base = reach.base.clone().ok_or_else(no_base)?;
    let Procedure::Parts { sandbox, .. } = &reach.procedure else { return Err(no_base()) };
    if ground.lost {
        return Err(Explanation::new(
            Kind::Refused,
            "The data directory is lost: there is no production to bring parts to.",
            "No plan was made and nothing was touched.",
            "Choose a recovery of the whole cluster.",
        ));
    }
    let live = ground.cluster.data_directory.display();
    let steps = ORDER
        .iter()
        .map(|id| {
            let words = words(ground.runbook, id)?;
            let touches = match *id {
                "parts-restore" => {
                    let source = ground.source.iter().map(ToString::to_string);
                    source.chain([format!("fills the new, empty {sandbox}")]).collect()
                }
                "parts-replay" => {
                    vec![format!("server in {sandbox}: started closed to everybody, no port")]
                }
                "parts-carry" => carried_to(&live),
                "parts-clear" => {
                    vec![format!("server in {sandbox}: stopped; the folder is removed")]
                }
                _ => Vec::new(),
            };
            Ok(PlanStep {
                id: (*id).to_owned(),
                title: words.title.clone(),
                why: words.why.clone(),
                runbook: words.runbook.clone(),
                touches,
                expected: match *id {
                    "parts-restore" => reach.forecast.as_ref().map(|f| f.copy),
                    "parts-replay" => reach.forecast.as_ref().map(|f| f.replay),
                    "parts-clear" => Some((0.0, 30.0)),
                    _ => None,
                },
                cancel: match *id {
                    "parts-replay" => {
                        Cancel::SafePoint(String::from("the copy's server is stopped"))
                    }
                    id => cancel_of(id),
                },
                destructive: *id == "parts-carry",
                undo: match *id {
                    "parts-restore" => {
                        Some(format!("take the copy down: {sandbox} is ours and is removed"))
                    }
                    id => undo_of(id),
                },
            })
        })
        .collect::<Result<Vec<_>, Explanation>>()?;
    sealed(Plan {
        incident: ground.incident.declaration.id.clone(),
        cluster: ground.cluster.name.clone(),
        identity: ground.identity.clone(),
        target: reach.target.clone(),
        timeline: reach.timeline(),
        base,
        aside: String::new(),
        rescue: String::new(),
        repositories: ground.available.open.clone(),
        places: Places::default(),
        ends_at: None,
        replay_until: reach.last_kept.as_ref().map(|commit| commit.end_lsn),
        minimum_settings: reach.minimum_settings.clone(),
        procedure: reach.procedure.clone(),
        lost: false,
        source: ground.source.clone(),
        steps,
        hash: String::new(),
    })
}

/// What carrying over touches, whatever the copy is made of.
pub(super) fn carried_to(live: &impl std::fmt::Display) -> Vec<String> {
    vec![
        format!("server on {live}: the parts that you choose then, and nothing else"),
        String::from("it stays up; who writes those tables waits meanwhile"),
    ]
}

/// Where the steps behind the copy can be stopped.
pub(super) fn cancel_of(id: &str) -> Cancel {
    match id {
        "parts-carry" => Cancel::SafePoint(String::from(
            "before it is committed; then everything is rolled back",
        )),
        "parts-clear" => Cancel::No(String::from("it takes a few seconds")),
        _ => Cancel::AtOnce,
    }
}

/// How the steps behind the copy are undone.
pub(super) fn undo_of(id: &str) -> Option<String> {
    (id == "parts-carry")
        .then(|| String::from("nothing: what is committed stays, what is not was rolled back"))
}
