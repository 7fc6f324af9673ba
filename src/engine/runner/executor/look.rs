//! What a runner that died left behind, looked at and said in the journal. Owns how far a step came;
//! never carries anything on: that takes a person's word.

use super::super::core::{Core, State};
use super::super::guard::refusal;
use super::super::step::Standing;
use super::{Context, guarded, steps};
use crate::engine::explain::Explanation;
use crate::engine::incident::Event;
use crate::engine::incident::model::StepStatus;
use std::sync::Arc;

/// What the runner before left: a running step is probed, a question asked again.
pub(super) fn look(core: &Arc<Core>) -> Result<(), Explanation> {
    let incident = core.incident();
    let running = incident.steps.iter().find(|step| step.status == StepStatus::Running);
    let held = incident.steps.iter().find(|step| step.status == StepStatus::Held);
    let finding = running.map(|step| (step.id.clone(), find(core, &step.id)));
    let mut state = core.lock();
    if let Some((step, finding)) = finding {
        return interrupted(core, &mut state, step, finding);
    }
    if let Some(held) = held {
        let step = held.id.clone();
        if let Some(question) = held.question.clone() {
            state.executing = false;
            return core.record(&mut state, Event::StepHeld { step, question });
        }
        // The decision to go on was journalled, its effect was not.
        core.record(&mut state, Event::StepFinished { step })?;
    }
    let next = state.incident.steps.iter().find(|step| step.status != StepStatus::Done);
    match next.map(|step| (step.id.clone(), step.attempts)) {
        Some((step, 0)) => interrupted(core, &mut state, step, String::from("It had not begun.")),
        Some((step, _)) => {
            // Asked to run again, and killed before it did.
            drop(state);
            let finding = find(core, &step);
            interrupted(core, &mut core.lock(), step, finding)
        }
        None => {
            state.executing = false;
            core.record(&mut state, Event::RunFinished)
        }
    }
}

/// A cancel that was asked for, before the crash or while looking, takes effect now.
fn interrupted(
    core: &Core,
    state: &mut State,
    step: String,
    finding: String,
) -> Result<(), Explanation> {
    let cancel = state.incident.cancel_requested;
    state.executing = false;
    core.record(state, Event::StepInterrupted { step: step.clone(), finding })?;
    if cancel {
        core.record(state, Event::RunCancelled { step: Some(step) })?;
    }
    Ok(())
}

fn find(core: &Arc<Core>, id: &str) -> String {
    let incident = core.incident();
    let standing =
        incident.plan.as_ref().ok_or_else(|| refusal("There is no plan.", "")).and_then(|plan| {
            let steps = steps(core, plan)?;
            let step = steps
                .iter()
                .find(|step| step.id() == id)
                .ok_or_else(|| refusal("This version does not know the step.", ""))?;
            guarded(id, || step.probe(&Context::new(core, plan, id)))
        });
    match standing {
        Ok(Standing::NotStarted) => String::from("Nothing of it has happened yet."),
        Ok(Standing::Partial(found)) => format!("Part of it has happened: {found}"),
        Ok(Standing::Done(found)) => format!("It is done: {found}"),
        Err(error) => format!("It could not be told how far it came: {error}"),
    }
}
