//! What is allowed while a copy beside production waits for the choice of parts.

use super::{confirmed_plan, refusal};
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::incident::parts::{Carry, PartsChoice};
use crate::engine::parts::roles::Missing;

/// The step that asks what is carried over.
pub const CHOOSE: &str = "parts-choose";
/// The step that carries it over.
pub const CARRY: &str = "parts-carry";

/// The copy waits to be asked: at its question, or because the carrying over failed.
///
/// # Errors
/// A refusal.
pub fn asked(incident: &Incident, executing: bool) -> Result<(), Explanation> {
    let at =
        |id: &str, status| incident.steps.iter().any(|step| step.id == id && step.status == status);
    let waits = incident.status == RunStatus::Held && at(CHOOSE, StepStatus::Held);
    let failed = incident.status == RunStatus::Failed && at(CARRY, StepStatus::Failed);
    if executing || !(waits || failed) {
        return Err(refusal(
            "The copy beside production does not wait to be looked at.",
            "Wait until it stands at its point; its question appears by itself.",
        ));
    }
    confirmed_plan(incident).map(drop)
}

/// What was chosen is what was seen, and the name of the cluster was typed.
///
/// # Errors
/// A refusal.
pub fn agreed(
    incident: &Incident,
    choice: &PartsChoice,
    cluster: &str,
    executing: bool,
) -> Result<(), Explanation> {
    asked(incident, executing)?;
    if incident.status != RunStatus::Held {
        return Err(refusal(
            "Carrying over has failed, and nothing was chosen since.",
            "Look again at what differs, then choose.",
        ));
    }
    let plan = confirmed_plan(incident)?;
    if plan.cluster != cluster {
        return Err(refusal(
            format!("You typed \"{cluster}\", which is not the cluster of this plan."),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    let Some(look) = &incident.parts.look else {
        return Err(refusal("Nothing was compared yet.", "Choose what to look at first."));
    };
    if look.whole.is_some() != matches!(choice.carry, Carry::Database { .. })
        || look.print(&choice.carry) != choice.seen
    {
        return Err(refusal(
            "What was seen meanwhile is not what was agreed to.",
            "Read the differences again, then choose.",
        ));
    }
    let lacking = match &look.whole {
        Some(whole) => &whole.missing_roles,
        None => &look.missing_roles,
    };
    if look.makes(&choice.carry) && !lacking.is_empty() && choice.missing_roles == Missing::Ask {
        return Err(refusal(
            format!("Production lacks roles that own something of it: {}.", lacking.join(", ")),
            "Say what becomes of them.",
        ));
    }
    Ok(())
}
