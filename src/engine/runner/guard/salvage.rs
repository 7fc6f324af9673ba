//! When what was written after a recovery point may be brought back.

use super::refusal;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::salvage::ByCommand;

/// The recovery has finished, and kept a directory.
///
/// # Errors
/// A refusal.
pub fn may_begin(incident: &Incident, executing: bool) -> Result<(), Explanation> {
    if incident.is_salvaging() {
        return Err(refusal(
            "A salvage is under way already.",
            "Finish it or cancel it; then another one can begin.",
        ));
    }
    if executing || incident.status != RunStatus::Finished {
        return Err(refusal(
            "The recovery has not finished.",
            "What came after its point is brought back when the recovered database serves.",
        ));
    }
    let plan = incident.plan.as_ref();
    if plan.is_none_or(|plan| plan.lost || plan.aside.is_empty() || plan.procedure.is_parts()) {
        return Err(refusal(
            "This recovery has kept no damaged directory that anything could be brought from.",
            "What was archived can be brought back: lifeboat restore-parts.",
        ));
    }
    Ok(())
}

/// It came from the directory that this incident's recovery kept.
///
/// # Errors
/// A refusal.
pub fn may_record(incident: &Incident, done: &ByCommand) -> Result<(), Explanation> {
    let settled = incident.settled();
    let plan = settled.plan.as_ref().filter(|plan| !plan.lost && !plan.procedure.is_parts());
    if settled.status == RunStatus::Finished && plan.is_some_and(|plan| plan.aside == done.kept) {
        return Ok(());
    }
    Err(refusal(
        format!(
            "{} is not the directory that a finished recovery of this incident kept.",
            done.kept
        ),
        "Name the incident whose recovery set it aside.",
    ))
}
