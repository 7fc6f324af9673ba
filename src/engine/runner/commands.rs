//! Answers what a client asks for: the role first, then the order of things, then the entry.
//! Owns the commands that take no longer than a write to the journal; the others are jobs.

use super::core::{Core, State, ending};
use super::executor;
use super::guard::{self, refusal};
use super::handover;
use super::jobs;
use super::protocol::{Answer, Command};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Event;
use crate::engine::incident::approval;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::Actor;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::incident::people;
use crate::engine::signature::Kept;
use jiff::Timestamp;
use std::sync::Arc;

/// The answer to one request of `actor`.
pub(super) async fn answer(
    core: Arc<Core>,
    actor: Actor,
    command: Command,
) -> Result<Answer, Explanation> {
    if let Err(why) = may(&core, &actor, &command) {
        return blocking(move || Err(refuse_role(&core, &actor, &command, why))).await;
    }
    if core.is_stopping() {
        return Err(ending());
    }
    if jobs::is_job(&command) {
        return jobs::answer(core, actor, command).await;
    }
    blocking(move || act(&core, &actor, command).map(|()| Answer::Done)).await
}

/// Runs blocking work off the socket's threads; a panic becomes an answer.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Explanation> + Send + 'static,
) -> Result<T, Explanation> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            Err(super::core::panicked("a command", &*error.into_panic()))
        }
        Err(_) => Err(ending()),
    }
}

/// By role, and by who has the command; taking it is for commanders who do not have it.
fn may(core: &Core, actor: &Actor, command: &Command) -> Result<(), String> {
    let state = core.lock();
    let takes = matches!(command, Command::TakeCommand { .. });
    people::may((!takes).then_some(&state.incident), actor, command.role())
}

fn refuse_role(core: &Core, actor: &Actor, command: &Command, reason: String) -> Explanation {
    let event = Event::CommandRefused { command: name(command), reason: reason.clone() };
    match core.append(&mut core.lock(), actor, event) {
        Ok(()) => refusal(
            format!("Refused: {reason}."),
            match actor.role.covers(command.role()) {
                true => "Ask for the handover, or take the command over with a reason.",
                false => {
                    "Ask someone with that role; the configuration's operators say who has it."
                }
            },
        ),
        Err(explanation) => explanation,
    }
}

/// A command's name in the protocol.
pub(super) fn name(command: &Command) -> String {
    serde_json::to_value(command)
        .ok()
        .and_then(|value| value.get("do")?.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// What is refused for want of a second person, or because this is not one, stays in the journal.
fn refused(
    core: &Core,
    state: &mut State,
    actor: &Actor,
    command: &Command,
    why: Explanation,
) -> Explanation {
    let reason = why.what.trim_end_matches('.').to_owned();
    let event = Event::CommandRefused { command: name(command), reason };
    core.append(state, actor, event).err().unwrap_or(why)
}

/// The signature that comes with a command, checked. A bad one is refused, which is recorded.
fn signature(core: &Core, actor: &Actor, command: &Command) -> Result<Option<Kept>, Explanation> {
    let (incident, cluster) = {
        let state = core.lock();
        let declaration = &state.incident.declaration;
        (declaration.id.clone(), declaration.cluster.clone())
    };
    core.rules
        .kept(&incident, &cluster, actor, command, Timestamp::now())
        .map_err(|why| refused(core, &mut core.lock(), actor, command, why))
}

/// Whether the plan has the approval that it needs.
fn approved(
    core: &Core,
    state: &mut State,
    actor: &Actor,
    command: &Command,
) -> Result<(), Explanation> {
    core.ask_for_approval(state, actor)?;
    let now = Timestamp::now();
    let next = state.incident.steps.iter().find(|step| step.status != StepStatus::Done);
    let held = match (command, next) {
        (Command::Resume | Command::Retry, Some(step)) => {
            approval::before_step(&state.incident, &step.id, now)
        }
        (Command::Resume | Command::Retry, None) => Ok(()),
        _ => approval::holds(&state.incident, now),
    };
    held.map_err(|why| refused(core, state, actor, command, why))
}

fn act(core: &Arc<Core>, actor: &Actor, command: Command) -> Result<(), Explanation> {
    match command {
        Command::Undo => return undo(core, actor),
        Command::StopReading => {
            core.stop_reading();
            return Ok(());
        }
        _ => {}
    }
    let kept = signature(core, actor, &command)?;
    let mut state = core.lock();
    guard::check(&state.incident, &command, state.executing)?;
    if matches!(command, Command::Close { .. }) {
        core.work.may_close(&state.incident)?;
    }
    let state = &mut *state;
    if matches!(
        command,
        Command::PassGate { .. } | Command::Start { .. } | Command::Resume | Command::Retry
    ) {
        approved(core, state, actor, &command)?;
    }
    let event = match command {
        Command::Approve { .. }
        | Command::DeclineApproval { .. }
        | Command::WaiveApproval { .. } => {
            let decided =
                core.rules.decided(&state.incident, actor, &command, kept, Timestamp::now());
            decided.map_err(|why| refused(core, state, actor, &command, why))?
        }
        Command::SetSeverity { severity } => Event::SeveritySet { severity },
        Command::StateMoment { moment, at } => Event::MomentStated { moment, at },
        Command::AddNote { topic, text } => Event::NoteAdded { topic, text },
        Command::HandOver { .. }
        | Command::AnswerHandover { .. }
        | Command::TakeCommand { .. }
        | Command::WriteStatusText { .. } => {
            handover::decided(&core.rules, &state.incident, actor, &command)
                .map_err(|why| refused(core, state, actor, &command, why))?
        }
        Command::AnswerPrerequisite { prerequisite, met, note } => {
            Event::PrerequisiteAnswered { prerequisite, met, note }
        }
        Command::PassGate { plan_hash, .. } => Event::GatePassed { plan_hash },
        Command::Sign(sign) => Event::ChecklistSigned(sign),
        Command::RecordSalvage(done) => Event::SalvagedByCommand(*done),
        Command::SignWith { sign, .. } => {
            let item = sign.item.clone();
            core.append(state, actor, Event::ChecklistSigned(sign))?;
            let Some(kept) = kept else { return Ok(()) };
            Event::SignOffSigned { item, kept }
        }
        Command::Waive { item, reason } => Event::ChecklistWaived { item, reason },
        Command::Assign { item, owner } => Event::ChecklistAssigned { item, owner },
        Command::Acknowledge { level } => Event::LevelAcknowledged { level },
        Command::Remind => {
            let Some(reminder) = core.work.reminder(&state.incident, core.now()) else {
                return Ok(());
            };
            Event::ChecklistReminded(reminder)
        }
        Command::Close { summary } => Event::IncidentClosed { summary },
        Command::Start { plan_hash } => {
            core.append(state, actor, Event::RunStarted { plan_hash })?;
            executor::launch(core, state);
            return Ok(());
        }
        Command::Pause => return pause(core, actor, state),
        Command::Resume => return resume(core, actor, state),
        Command::Cancel => return cancel(core, actor, state),
        Command::Retry => return retry(core, actor, state),
        Command::Decide { decision } => return decide(core, actor, state, decision),
        other => {
            return Err(Explanation::new(
                Kind::Internal,
                format!("The command {other:?} has no handler."),
                "Nothing was changed.",
                "",
            ));
        }
    };
    core.append(state, actor, event)
}

fn pause(core: &Arc<Core>, actor: &Actor, state: &mut State) -> Result<(), Explanation> {
    if state.incident.status != RunStatus::Running || !state.executing {
        return Err(refusal("Nothing runs that could be paused.", ""));
    }
    if state.incident.pause_requested {
        return Ok(());
    }
    core.append(state, actor, Event::PauseRequested)
}

fn resume(core: &Arc<Core>, actor: &Actor, state: &mut State) -> Result<(), Explanation> {
    match state.incident.status {
        RunStatus::Paused if !state.executing => {
            core.append(state, actor, Event::Resumed)?;
            executor::launch(core, state);
            Ok(())
        }
        RunStatus::Running if state.incident.pause_requested => {
            core.append(state, actor, Event::Resumed)
        }
        _ => Err(refusal("Nothing is paused.", "")),
    }
}

fn cancel(core: &Arc<Core>, actor: &Actor, state: &mut State) -> Result<(), Explanation> {
    let current = state.incident.current_step().map(|step| step.id.clone());
    match state.incident.status {
        RunStatus::Running if state.incident.cancel_requested => Ok(()),
        RunStatus::Running => core.append(state, actor, Event::CancelRequested),
        RunStatus::Paused | RunStatus::Held | RunStatus::Interrupted if !state.executing => {
            core.append(state, actor, Event::RunCancelled { step: current })
        }
        RunStatus::Failed if state.incident.undo_failure.is_some() => Err(refusal(
            "This run is being put back already, and that failed.",
            "Remove the reason, then ask to put it back again.",
        )),
        RunStatus::Failed if state.executing => Err(guard::curing()),
        RunStatus::Failed => core.append(state, actor, Event::RunCancelled { step: current }),
        // A salvage that has not begun leaves its place to the recovery again.
        RunStatus::Planning | RunStatus::Ready if state.incident.is_salvaging() => {
            core.append(state, actor, Event::RunCancelled { step: None })
        }
        RunStatus::Held | RunStatus::Paused | RunStatus::Interrupted => Err(still_looking()),
        _ => Err(refusal("Nothing runs that could be cancelled.", "")),
    }
}

fn retry(core: &Arc<Core>, actor: &Actor, state: &mut State) -> Result<(), Explanation> {
    match state.incident.status {
        RunStatus::Running | RunStatus::Held | RunStatus::Interrupted if state.executing => {
            Err(still_looking())
        }
        RunStatus::Failed if state.incident.undo_failure.is_some() => Err(refusal(
            "Part of this run was put back: it cannot go on from there.",
            "Ask to put the rest back, then plan anew.",
        )),
        RunStatus::Failed if state.executing => Err(guard::curing()),
        RunStatus::Failed | RunStatus::Interrupted => {
            guard::confirmed_plan(&state.incident)?;
            core.append(state, actor, Event::Resumed)?;
            executor::launch(core, state);
            Ok(())
        }
        _ => Err(refusal("No step has failed or was interrupted.", "")),
    }
}

fn decide(
    core: &Arc<Core>,
    actor: &Actor,
    state: &mut State,
    decision: Decision,
) -> Result<(), Explanation> {
    let held = state.incident.steps.iter().find(|step| step.status == StepStatus::Held);
    let Some(step) = held.filter(|_| state.incident.status == RunStatus::Held) else {
        return Err(refusal("Nothing waits for a decision.", ""));
    };
    if state.executing {
        return Err(still_looking());
    }
    let step = step.id.clone();
    match decision {
        Decision::Promote if step == guard::parts::CHOOSE => Err(refusal(
            "Nothing was chosen that is to be carried over.",
            "Choose what and where to, then type the cluster's name.",
        )),
        Decision::Promote => {
            guard::confirmed_plan(&state.incident)?;
            core.append(state, actor, Event::Decided { step: step.clone(), decision })?;
            core.record(state, Event::StepFinished { step })?;
            executor::launch(core, state);
            Ok(())
        }
        Decision::Abandon => {
            core.append(state, actor, Event::Decided { step: step.clone(), decision })?;
            core.append(state, actor, Event::RunCancelled { step: Some(step) })
        }
    }
}

fn undo(core: &Arc<Core>, actor: &Actor) -> Result<(), Explanation> {
    let allowed = |state: &State| {
        if state.executing {
            return Err(refusal("Steps are being carried out.", "Wait for them, or cancel."));
        }
        match state.incident.status {
            RunStatus::Cancelled | RunStatus::Failed | RunStatus::Undoing => Ok(()),
            RunStatus::Undone => Err(refusal("Everything is put back already.", "")),
            RunStatus::Interrupted | RunStatus::Held | RunStatus::Paused => {
                Err(refusal("The run has not ended.", "Cancel it first, then put it back."))
            }
            _ => Err(refusal("There is no cancelled or failed run to put back.", "")),
        }
    };
    {
        let state = core.lock();
        guard::check(&state.incident, &Command::Undo, state.executing)?;
        allowed(&state)?;
    }
    // Asks the server, so without the lock; what matters is judged again with it.
    executor::may_undo(core)?;
    let mut state = core.lock();
    allowed(&state)?;
    core.append(&mut state, actor, Event::UndoStarted)?;
    executor::launch_undo(core, &mut state);
    Ok(())
}

fn still_looking() -> Explanation {
    Explanation::new(
        Kind::Busy,
        "Lifeboat still looks at where the interrupted step stands.",
        "Nothing was changed.",
        "Its finding appears by itself; ask again then.",
    )
}
