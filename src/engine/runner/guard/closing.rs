//! The rules of the time after: the safety list, the ladder, the checklist's lines and the incident's
//! end. Owns when each may be done; signs and proves nothing.

use super::refusal;
use crate::engine::aftercare;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::model::RunStatus;

pub(super) fn care(incident: &Incident, item: &str, agreed: &[String]) -> Result<(), Explanation> {
    // It goes on beside a salvage.
    let incident = &*incident.settled();
    let recovered = incident.clocks.serving.is_some()
        && !matches!(incident.status, RunStatus::Undoing | RunStatus::Undone);
    if !recovered {
        return Err(refusal(
            "The recovered database does not serve yet.",
            "The safety list is for after the recovery.",
        ));
    }
    if incident.procedure().is_parts() {
        return Err(refusal(
            "Only parts were brought back: the server went on, and nothing of the safety list is its.",
            "Sign what people have to do.",
        ));
    }
    let proposals = incident.care.get(item).map_or(&[][..], |state| state.proposals());
    aftercare::agreeable(proposals, agreed)
        .map_err(|why| refusal(why, "Look again, then agree to what is proposed then."))
}

pub(super) fn acknowledge(incident: &Incident, level: &str) -> Result<(), Explanation> {
    match incident.raised.iter().find(|raised| raised.raise.level == level) {
        None => Err(refusal(
            format!("Level \"{level}\" was not called."),
            "lifeboat escalation shows which were.",
        )),
        Some(raised) => match &raised.acknowledged {
            Some(by) => Err(refusal(format!("{} answers for level {level} already.", by.by), "")),
            None => Ok(()),
        },
    }
}

pub(super) fn prove(incident: &Incident, line: &str) -> Result<(), Explanation> {
    let signed = incident.signed.get(line).is_some_and(|signed| signed.sign.done);
    if signed || incident.waived.contains_key(line) {
        return Err(refusal(
            format!("The line \"{line}\" is settled already."),
            "Reopen it first, with the reason.",
        ));
    }
    if incident.clocks.serving.is_none() {
        return Err(refusal(
            "The recovered database does not serve yet.",
            "The checklist is for after the recovery.",
        ));
    }
    Ok(())
}

pub(super) fn close(incident: &Incident, summary: &str) -> Result<(), Explanation> {
    if summary.trim().is_empty() {
        return Err(refusal("An incident is not closed without a word.", "Write a summary."));
    }
    if incident.is_salvaging() {
        return Err(refusal("A salvage is under way.", "Finish it, or cancel it, then close."));
    }
    match incident.status {
        RunStatus::Planning
        | RunStatus::Ready
        | RunStatus::Undone
        | RunStatus::Cancelled
        | RunStatus::Finished => Ok(()),
        RunStatus::Failed | RunStatus::Interrupted | RunStatus::Held | RunStatus::Paused => {
            Err(refusal("The recovery has not ended.", "Finish it, or cancel it, then close."))
        }
        RunStatus::Running | RunStatus::Undoing => {
            Err(refusal("Steps are being carried out.", "Wait for them, then close."))
        }
    }
}
