//! Carries the confirmed plan out, step by step, and puts it back. Owns the order in which steps
//! begin, end, wait and are looked at again after a crash. Never runs anything that the gate did
//! not confirm, and nothing at all by itself when a runner takes an incident over.

mod context;
mod look;

use super::core::{Core, State, panicked};
use super::failpoint;
use super::guard::{self, confirmed_plan, is_touched, refusal};
use super::peer;
use super::plan::Plan;
use super::step::{Outcome, Standing, Step, StepContext};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Event;
use crate::engine::incident::approval;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::incident::trouble::Trouble;
use context::Context;
use jiff::Timestamp;
use look::look;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The step after which nothing is put back any more, unless its plan says how.
pub(super) const PROMOTE: &str = "promote";

type Steps = Vec<Box<dyn Step>>;

/// Lets a thread carry the plan on. The caller has journalled why.
pub(super) fn launch(core: &Arc<Core>, state: &mut State) {
    spawn(core, state, run);
}

/// Lets a thread put the run back.
pub(super) fn launch_undo(core: &Arc<Core>, state: &mut State) {
    spawn(core, state, undo);
}

/// Looks at what a runner that died left behind, and says it in the journal.
pub(super) fn launch_look(core: &Arc<Core>, state: &mut State) {
    if matches!(state.incident.status, RunStatus::Running | RunStatus::Held) {
        spawn(core, state, look);
    }
}

/// Whether the run may be put back: after promotion the timeline has gone on, and what was
/// written since would be lost. Asks the step itself where the journal cannot tell.
pub(super) fn may_undo(core: &Arc<Core>) -> Result<(), Explanation> {
    let incident = core.incident();
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no run to put back.", ""));
    };
    let promoted = || {
        refusal(
            "The server was promoted: putting the old directory back would lose what was \
             written since.",
            "The damaged directory is kept where the journal says; go on from the new timeline.",
        )
    };
    let promote = incident.steps.iter().find(|step| step.id == PROMOTE);
    let Some(promote) = promote.filter(|step| is_touched(step)) else { return Ok(()) };
    if plan.step(PROMOTE).is_some_and(|step| step.undo.is_some()) {
        return Ok(());
    }
    if promote.status == StepStatus::Done {
        return Err(promoted());
    }
    let steps = steps(core, plan)?;
    let step = steps.iter().find(|step| step.id() == PROMOTE).ok_or_else(promoted)?;
    match guarded(PROMOTE, || step.probe(&Context::new(core, plan, PROMOTE)))? {
        Standing::NotStarted => Ok(()),
        Standing::Partial(_) | Standing::Done(_) => Err(promoted()),
    }
}

/// Whether parts may still be chosen: a transaction that carried some over, or of which that is not
/// known, must be settled first. Asks the step itself where the journal cannot tell.
pub(super) fn may_choose_parts(core: &Arc<Core>) -> Result<(), Explanation> {
    let incident = core.incident();
    let carry = incident.steps.iter().find(|step| step.id == guard::parts::CARRY);
    let Some(plan) = incident.plan.as_ref().filter(|_| carry.is_some_and(is_touched)) else {
        return Ok(());
    };
    let steps = steps(core, plan)?;
    let found = steps.iter().find(|step| step.id() == guard::parts::CARRY);
    let step = found.ok_or_else(|| refusal("This version does not know the step.", ""))?;
    match guarded(step.id(), || step.probe(&Context::new(core, plan, step.id())))? {
        Standing::NotStarted => Ok(()),
        Standing::Done(found) | Standing::Partial(found) => Err(refusal(
            format!("Parts have been carried over, or may have been: {found}."),
            "Retry the step: it asks the server what became of it, and goes on from there.",
        )),
    }
}

fn spawn(core: &Arc<Core>, state: &mut State, work: fn(&Arc<Core>) -> Result<(), Explanation>) {
    state.executing = true;
    let busy = core.begin();
    let core = Arc::clone(core);
    let runtime = core.runtime.clone();
    runtime.spawn_blocking(move || {
        let _busy = busy;
        let ended = catch_unwind(AssertUnwindSafe(|| work(&core)))
            .unwrap_or_else(|payload| Err(panicked("the runner", &*payload)));
        if let Err(explanation) = ended {
            core.lock().executing = false;
            core.fail(explanation);
        }
    });
}

/// Until the plan is done, waits, fails, is paused or cancelled. An error is the journal's.
fn run(core: &Arc<Core>) -> Result<(), Explanation> {
    let plan = match confirmed_plan(&core.lock().incident) {
        Ok(plan) => plan.clone(),
        Err(explanation) => return refuse(core, explanation),
    };
    let steps = match steps(core, &plan) {
        Ok(steps) => steps,
        Err(explanation) => return refuse(core, explanation),
    };
    while let Some((index, attempt)) = begin_next(core)? {
        let Some(step) = steps.get(index) else { return Ok(()) };
        let id = step.id();
        failpoint::hit_at("step", id, "before");
        let result = guarded(id, || carry_out(core, &plan, &**step, index, attempt));
        failpoint::hit_at("step", id, "after_run");
        core.end_progress(id);
        let goes_on = settle(core, id, result)?;
        failpoint::hit_at("step", id, "after");
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// Journals the next step's start; `None` where there is no next step now.
fn begin_next(core: &Arc<Core>) -> Result<Option<(usize, u32)>, Explanation> {
    let mut state = core.lock();
    let incident = &state.incident;
    let next = incident.steps.iter().position(|step| step.status != StepStatus::Done);
    let next = next.and_then(|at| incident.steps.get(at).map(|step| (at, step)));
    let event = match next {
        None => Some(Event::RunFinished),
        Some(_) if core.is_stopping() => {
            state.executing = false;
            return Ok(None);
        }
        Some(_) if incident.cancel_requested => Some(Event::RunCancelled { step: None }),
        Some((_, step)) if incident.pause_requested => {
            Some(Event::Paused { before_step: step.id.clone() })
        }
        Some((_, step)) => confirmed_plan(incident)
            .err()
            .map(|explanation| Event::StepFailed { step: step.id.clone(), explanation }),
    };
    if let Some(event) = event {
        state.executing = false;
        core.record(&mut state, event)?;
        return Ok(None);
    }
    let Some((index, id, attempt)) =
        next.map(|(at, step)| (at, step.id.clone(), step.attempts.saturating_add(1)))
    else {
        return Ok(None);
    };
    // Again at the step itself: an approval that is over, or for another plan, is none.
    core.ask_for_approval(&mut state, &peer::runner())?;
    if let Err(why) = approval::before_step(&state.incident, &id, Timestamp::now()) {
        state.executing = false;
        let why = why.what.trim_end_matches('.');
        let asked = core.rules.asks_before(&state.incident, &id, why);
        core.record(&mut state, Event::ApprovalAsked(asked))?;
        core.record(&mut state, Event::Paused { before_step: id })?;
        return Ok(None);
    }
    core.record(&mut state, Event::StepStarted { step: id, attempt })?;
    Ok(Some((index, attempt)))
}

fn carry_out(
    core: &Arc<Core>,
    plan: &Plan,
    step: &dyn Step,
    index: usize,
    attempt: u32,
) -> Result<Outcome, Explanation> {
    let context = Context::new(core, plan, step.id());
    if attempt > 1 {
        // A step that asks must ask: skipping it would skip the commander's decision, above all
        // the one to promote. Running a step that is done changes nothing.
        let before_promote = plan.steps.get(index + 1).is_some_and(|next| next.id == PROMOTE);
        let asks = before_promote || step.holds();
        match step.probe(&context) {
            Ok(Standing::Done(found)) if !asks => {
                context.note("skipped", &format!("Not run again: {found}"))?;
                return Ok(Outcome::Done);
            }
            Ok(Standing::Done(found) | Standing::Partial(found)) => {
                context.note("found", &found)?;
            }
            Ok(Standing::NotStarted) => {}
            // `run` looks for itself; the commander has read the finding and asked to go on.
            Err(error) => context.note("found", &format!("It could not be told: {error}"))?,
        }
    }
    step.run(&context)
}

/// Journals how a step ended; true where the next one follows.
fn settle(
    core: &Arc<Core>,
    id: &str,
    result: Result<Outcome, Explanation>,
) -> Result<bool, Explanation> {
    // While the step still counts as running, so that nobody goes on before it is known.
    let trouble = result.as_ref().err().and_then(|failure| recognised(core, id, failure));
    let mut state = core.lock();
    let cancel = state.incident.cancel_requested;
    let step = id.to_owned();
    let event = match result {
        Ok(Outcome::Done) => {
            core.record(&mut state, Event::StepFinished { step })?;
            return Ok(true);
        }
        Ok(Outcome::Hold { question }) => Some(Event::StepHeld { step, question }),
        Err(error) if error.kind == Kind::Cancelled && cancel => None,
        Err(error) if error.kind == Kind::Cancelled && core.is_stopping() => {
            let finding = format!("Lifeboat was told to end. {}", error.what);
            Some(Event::StepInterrupted { step, finding })
        }
        Err(explanation) => Some(Event::StepFailed { step, explanation }),
    };
    state.executing = false;
    let trouble = trouble.filter(|_| matches!(event, Some(Event::StepFailed { .. })));
    // First, so that whoever hears of the failure knows what it is.
    if let Some(trouble) = trouble {
        core.record(&mut state, Event::TroubleFound { step: id.to_owned(), trouble })?;
    }
    if let Some(event) = event {
        core.record(&mut state, event)?;
    }
    if cancel {
        core.record(&mut state, Event::RunCancelled { step: Some(id.to_owned()) })?;
    }
    Ok(false)
}

/// What the failure is known as. A recognition that itself fails is none.
fn recognised(core: &Arc<Core>, id: &str, failure: &Explanation) -> Option<Trouble> {
    if failure.kind == Kind::Cancelled {
        return None;
    }
    let incident = core.incident();
    guarded(id, || Ok(core.work.recognise(&incident, id, failure))).ok().flatten()
}

/// A run that may not even begin its next step.
fn refuse(core: &Arc<Core>, explanation: Explanation) -> Result<(), Explanation> {
    let mut state = core.lock();
    state.executing = false;
    let next = state.incident.steps.iter().find(|step| step.status != StepStatus::Done);
    let Some(step) = next.map(|step| step.id.clone()) else { return Ok(()) };
    core.record(&mut state, Event::StepFailed { step, explanation })
}

/// Newest first, every step that may have changed something. An error is the journal's.
fn undo(core: &Arc<Core>) -> Result<(), Explanation> {
    let incident = core.incident();
    let touched: Vec<_> = incident.steps.iter().filter(|step| is_touched(step)).rev().collect();
    let fail = |step: &str, explanation| {
        let mut state = core.lock();
        state.executing = false;
        core.record(&mut state, Event::UndoFailed { step: step.to_owned(), explanation })
    };
    let ready = incident
        .plan
        .as_ref()
        .ok_or_else(|| refusal("There is no plan.", ""))
        .and_then(|plan| Ok((plan, steps(core, plan)?)));
    let (plan, steps) = match ready {
        Ok(ready) => ready,
        Err(explanation) => return fail(touched.first().map_or("", |step| &step.id), explanation),
    };
    for state in touched {
        if core.is_stopping() {
            core.lock().executing = false;
            return Ok(());
        }
        let Some(step) = steps.iter().find(|step| step.id() == state.id) else { continue };
        failpoint::hit_at("undo", step.id(), "before");
        let done = guarded(step.id(), || step.undo(&Context::undoing(core, plan, step.id())));
        failpoint::hit_at("undo", step.id(), "after_run");
        core.end_progress(step.id());
        match done {
            Ok(text) => {
                let event = Event::StepUndone { step: state.id.clone(), text };
                core.record(&mut core.lock(), event)?;
            }
            Err(explanation) => return fail(&state.id, explanation),
        }
    }
    let mut state = core.lock();
    state.executing = false;
    core.record(&mut state, Event::UndoFinished)
}

/// The plan's steps, exactly as the plan lists them.
fn steps(core: &Arc<Core>, plan: &Plan) -> Result<Steps, Explanation> {
    let steps = guarded("the plan", || core.work.steps_of(plan, &core.incident()))?;
    let known = steps.iter().map(|step| step.id()).eq(plan.steps.iter().map(|step| &*step.id));
    if known {
        return Ok(steps);
    }
    Err(Explanation::new(
        Kind::Internal,
        "This version of Lifeboat has other steps than the plan that was confirmed.",
        "Nothing was run.",
        "Use the version that made the plan, or plan anew.",
    ))
}

fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T, Explanation>) -> Result<T, Explanation> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(what, &*payload)))
}
