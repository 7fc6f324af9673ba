//! The rules of a plan: which one can stand, which one the gate binds to, and when it may start. Owns
//! that nothing else than the confirmed plan runs.

use super::super::plan::Plan;
use super::refusal;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::model::RunStatus;

/// Whether a plan can stand for this incident.
///
/// # Errors
/// [`Kind::Internal`]: a plan is made by Lifeboat itself.
pub fn plan(incident: &Incident, plan: &Plan) -> Result<(), Explanation> {
    let wrong = |what: &str| {
        Err(Explanation::new(Kind::Internal, what, "Nothing was changed.", "Make the plan again."))
    };
    // The hash must hold after the journal's writing and reading, or no later runner accepts it.
    let again = serde_json::to_vec(plan).and_then(|json| serde_json::from_slice::<Plan>(&json));
    if !plan.is_sealed() || !again.is_ok_and(|again| again.is_sealed()) {
        return wrong("The plan's hash does not fit its content.");
    }
    if plan.incident != incident.declaration.id || plan.cluster != incident.declaration.cluster {
        return wrong("The plan is for another incident or another cluster.");
    }
    let mut ids: Vec<_> = plan.steps.iter().map(|step| &step.id).collect();
    ids.sort();
    ids.dedup();
    if plan.steps.is_empty() || ids.len() != plan.steps.len() {
        return wrong("The plan has no steps, or two of the same name.");
    }
    Ok(())
}

/// The plan that was confirmed at the gate, where it is still what it was then.
///
/// # Errors
/// A refusal: nothing else than that plan runs.
pub fn confirmed_plan(incident: &Incident) -> Result<&Plan, Explanation> {
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no plan.", "Make the plan first."));
    };
    if !plan.is_sealed() {
        return Err(refusal(
            "The plan is not what it was when its hash was made.",
            "Make the plan again.",
        ));
    }
    match &incident.gate {
        Some((hash, _)) if *hash == plan.hash => Ok(plan),
        Some(_) => Err(refusal(
            "The plan is not the one that was confirmed at the gate.",
            "Make the plan again and confirm it.",
        )),
        None => Err(refusal("The plan has not been confirmed.", "Pass the gate first.")),
    }
}

pub(super) fn gate(incident: &Incident, plan_hash: &str, cluster: &str) -> Result<(), Explanation> {
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no plan to confirm.", "Make the plan first."));
    };
    match incident.status {
        RunStatus::Planning => {}
        RunStatus::Ready => return Err(refusal("The gate is already passed.", "Start the run.")),
        RunStatus::Undone => {
            return Err(refusal("This plan was put back.", "Make the plan again."));
        }
        _ => return Err(refusal("The plan's run has already begun.", "")),
    }
    if !plan.is_sealed() {
        return Err(refusal("The plan's hash does not fit its content.", "Make the plan again."));
    }
    if plan.hash != plan_hash {
        return Err(refusal(
            "The plan has changed since it was shown to you.",
            "Read the plan again and confirm that one.",
        ));
    }
    if plan.cluster != cluster {
        return Err(refusal(
            format!("You typed \"{cluster}\", which is not the cluster of this plan."),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    prerequisites(incident)
}

pub(super) fn start(incident: &Incident, plan_hash: &str) -> Result<(), Explanation> {
    if !matches!(incident.status, RunStatus::Planning | RunStatus::Ready) {
        return Err(refusal("The plan's run has already begun.", "To run again, plan anew."));
    }
    let plan = confirmed_plan(incident)?;
    if plan.hash != plan_hash {
        return Err(refusal(
            "The plan that was confirmed is not the one you asked to start.",
            "Read the plan again.",
        ));
    }
    prerequisites(incident)
}

fn prerequisites(incident: &Incident) -> Result<(), Explanation> {
    let open: Vec<_> = incident.open_prerequisites().into_iter().map(Prerequisite::title).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(refusal(
        format!("Prerequisites are not met: {}.", open.join("; ")),
        "Answer them on the restore screen; integrity is verified by Lifeboat itself.",
    ))
}
