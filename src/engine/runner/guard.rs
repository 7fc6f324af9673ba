//! What is allowed when: rules on the folded incident, as values in, refusal or nothing out.
//! Owns the order assessment → target → plan → gate → run. Never acts and never looks at the
//! world: a step does that itself before it destroys anything.

mod closing;
mod cures;
mod gate;
pub mod parts;
pub mod salvage;
mod target;

pub use cures::{cure, curing};
pub use gate::{confirmed_plan, plan};
pub use target::{is_earlier, later, unreachable};

use super::protocol::Command;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::model::{RunStatus, StepState, StepStatus};

/// A refusal: why, and what to do instead. Nothing was changed.
#[must_use]
pub fn refusal(what: impl Into<String>, next: impl Into<String>) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was changed.", next)
}

/// A command outside its time, apart from what only its own handler can know.
///
/// # Errors
/// A refusal with the way out.
pub fn check(incident: &Incident, command: &Command, executing: bool) -> Result<(), Explanation> {
    use Command as C;
    let reads = matches!(
        command,
        C::Survey
            | C::CommitsAround { .. }
            | C::PastWindow { .. }
            | C::CheckReach { .. }
            | C::ListParts
            | C::ProbeServer
            | C::StopReading
    );
    let after_close = matches!(
        command,
        C::WriteReport | C::Sign(_) | C::SignWith { .. } | C::AddNote { .. } | C::RecordSalvage(_)
    );
    if incident.closing.is_some() && !reads && !after_close {
        return Err(refusal("This incident is closed.", "Declare a new incident."));
    }
    match command {
        C::RunProbes
        | C::VerifyIntegrity
        | C::ChooseTarget { .. }
        | C::ChooseInto { .. }
        | C::ChooseFull(_)
        | C::ChooseParts { .. }
        | C::MakePlan => {
            may_still_plan(incident, executing)?;
        }
        C::AnswerPrerequisite { prerequisite, met, .. } => {
            may_still_plan(incident, executing)?;
            answerable(incident, *prerequisite, *met)?;
        }
        C::PlanSalvage => salvage::may_begin(incident, executing)?,
        C::RecordSalvage(done) => salvage::may_record(incident, done)?,
        C::PassGate { plan_hash, cluster } => gate::gate(incident, plan_hash, cluster)?,
        C::Start { plan_hash } => gate::start(incident, plan_hash)?,
        C::Cure { .. } | C::CureInPlace { .. } if executing => return Err(curing()),
        C::Cure { cure, cluster } => {
            cures::cure(incident, cure, cluster.as_deref(), None)?;
        }
        C::CureInPlace { cure, place, cluster } => {
            cures::cure(incident, cure, Some(cluster), Some(place))?;
        }
        C::LookAtParts { .. } | C::ShowRows { .. } => parts::asked(incident, executing)?,
        C::CarryParts { choice, cluster } => {
            parts::agreed(incident, choice, cluster, executing)?;
        }
        C::MoveTarget { cluster, .. } => target::at_target(incident, cluster, executing)?,
        C::Validate if incident.status == RunStatus::Undoing => {
            return Err(refusal("The run is being put back.", "Validate when that has ended."));
        }
        C::Validate if incident.is_salvaging() => {
            return Err(refusal("A salvage is under way.", "Validate when it has ended."));
        }
        C::Validate if incident.procedure().is_parts() => {
            return Err(refusal(
                "Only parts were brought back: the plan compared them with its copy, which is gone.",
                "Look at them in production; the rest of it was not recovered.",
            ));
        }
        C::RunCare { item, agreed } => closing::care(incident, item, agreed)?,
        C::Waive { reason, .. } if reason.trim().is_empty() => {
            return Err(refusal("A line is not waived without a reason.", "Write one."));
        }
        C::Acknowledge { level } => closing::acknowledge(incident, level)?,
        C::Prove { line } => closing::prove(incident, line)?,
        C::Close { summary } => closing::close(incident, summary)?,
        _ => {}
    }
    if matches!(command, C::VerifyIntegrity | C::MakePlan) {
        let reach = incident.reach.as_ref().filter(|reach| reach.reachable);
        if reach.and_then(|reach| reach.base.as_ref()).is_none() {
            return Err(refusal(
                "No recovery point has been chosen yet.",
                "Choose one first: it decides which base backup serves.",
            ));
        }
    }
    Ok(())
}

/// Whether a step may have changed anything.
#[must_use]
pub fn is_touched(step: &StepState) -> bool {
    !matches!(step.status, StepStatus::Pending | StepStatus::Undone)
}

fn may_still_plan(incident: &Incident, executing: bool) -> Result<(), Explanation> {
    let touched = incident.steps.iter().any(is_touched);
    match incident.status {
        _ if incident.is_salvaging() => Err(refusal(
            "This recovery has finished, and a salvage is under way.",
            "Finish or cancel the salvage; declare a new incident to recover again.",
        )),
        RunStatus::Finished => {
            Err(refusal("This recovery has finished.", "Declare a new incident to recover again."))
        }
        RunStatus::Planning | RunStatus::Ready | RunStatus::Undone if !executing => Ok(()),
        RunStatus::Cancelled if !touched && !executing => Ok(()),
        RunStatus::Cancelled => Err(refusal(
            "The cancelled run has changed the server's directories.",
            "Put it back first (undo), then plan anew.",
        )),
        RunStatus::Failed | RunStatus::Interrupted => Err(refusal(
            "A run of the plan has begun and has not ended.",
            "Retry it, or cancel it and put it back, then plan anew.",
        )),
        _ => Err(refusal("The plan is being carried out.", "Wait for it, or cancel it.")),
    }
}

fn answerable(incident: &Incident, which: Prerequisite, met: bool) -> Result<(), Explanation> {
    match which {
        Prerequisite::BackupIntegrity => Err(refusal(
            "Backup integrity is never answered by a person.",
            "Let Lifeboat verify it: it reads the whole base backup.",
        )),
        Prerequisite::TargetConfirmed if met && incident.reach.is_none() => {
            Err(refusal("No recovery point has been chosen yet.", "Choose one, then confirm it."))
        }
        _ => Ok(()),
    }
}
