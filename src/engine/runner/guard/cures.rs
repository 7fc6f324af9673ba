//! The rules of a failed step's cures: which one may be carried out, and which takes the cluster's
//! name. What a cure does is not known here.

use super::{confirmed_plan, refusal};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::incident::trouble::{By, Cure, LOOK_AGAIN, NAMED_PLACE};

/// A cure is on its way.
#[must_use]
pub fn curing() -> Explanation {
    Explanation::new(
        Kind::Busy,
        "A cure is being carried out.",
        "It goes on.",
        "Its result appears by itself; wait for it.",
    )
}

/// The failed step and the cure of that id which was found for it; with the place that was typed, for
/// the one that takes one.
///
/// # Errors
/// A refusal where there is none, or the name that was typed is not the cluster's.
pub fn cure(
    incident: &Incident,
    id: &str,
    cluster: Option<&str>,
    place: Option<&str>,
) -> Result<(String, Cure), Explanation> {
    let plan = confirmed_plan(incident)?;
    if incident.undo_failure.is_some() {
        return Err(refusal(
            "Part of this run was put back: it cannot go on from there.",
            "Ask to put the rest back, then plan anew.",
        ));
    }
    let failed = incident.current_step().filter(|step| step.status == StepStatus::Failed);
    let found = failed.filter(|_| incident.status == RunStatus::Failed).and_then(|step| {
        let cures = &step.trouble.as_ref()?.cures;
        Some((step.id.clone(), cures.iter().find(|cure| cure.id == id)?.clone()))
    });
    let Some((step, mut cure)) = found else {
        return Err(refusal(
            format!("No failed step has a cure \"{id}\"."),
            "Look at the restore screen: it shows the cures of what failed.",
        ));
    };
    if cure.by == By::People && cure.id != LOOK_AGAIN {
        return Err(refusal(format!("\"{}\" is not done by Lifeboat.", cure.title), cure.does));
    }
    if cure.by == By::LifeboatByName && cluster != Some(&*plan.cluster) {
        return Err(refusal(
            format!(
                "You typed \"{}\", which is not the cluster of this plan.",
                cluster.unwrap_or_default()
            ),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    match (place, cure.id == NAMED_PLACE) {
        (Some(place), true) => {
            cure.with = vec![place.to_owned()];
            cure.touches.insert(0, place.to_owned());
        }
        (None, false) => {}
        (None, true) => {
            return Err(refusal(
                format!("\"{}\" takes a directory, and none was named.", cure.title),
                "Name an empty directory on another disk by its full path.",
            ));
        }
        (Some(_), false) => {
            return Err(refusal(
                format!("\"{}\" takes no directory.", cure.title),
                "Accept it without one.",
            ));
        }
    }
    Ok((step, cure))
}
