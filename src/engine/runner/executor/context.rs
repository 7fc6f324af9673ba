//! What a step may tell and ask while it runs. Owns which fact goes into the journal under which
//! event, and that a step which cannot be cancelled never hears of a cancel; decides nothing itself.

use super::super::core::Core;
use super::super::plan::{Cancel, Plan};
use super::super::protocol::Progress;
use super::super::step::StepContext;
use super::super::work::Asking;
use super::guarded;
use crate::engine::explain::Explanation;
use crate::engine::incident::care::{Care, Held};
use crate::engine::incident::facts::{Check, Try};
use crate::engine::incident::parts::{PartsDone, PartsLook};
use crate::engine::incident::{Event, Incident};
use std::sync::Arc;

pub(super) struct Context<'a> {
    core: &'a Arc<Core>,
    plan: &'a Plan,
    step: &'a str,
    can_cancel: bool,
}

impl<'a> Context<'a> {
    pub fn new(core: &'a Arc<Core>, plan: &'a Plan, step: &'a str) -> Self {
        let can_cancel = plan.step(step).is_some_and(|step| !matches!(step.cancel, Cancel::No(_)));
        Self { core, plan, step, can_cancel }
    }

    pub fn undoing(core: &'a Arc<Core>, plan: &'a Plan, step: &'a str) -> Self {
        Self { core, plan, step, can_cancel: false }
    }
}

impl StepContext for Context<'_> {
    fn plan(&self) -> &Plan {
        self.plan
    }

    fn note(&self, name: &str, text: &str) -> Result<(), Explanation> {
        let event = Event::StepNoted {
            step: self.step.to_owned(),
            name: name.to_owned(),
            text: text.to_owned(),
        };
        self.core.record(&mut self.core.lock(), event)
    }

    fn noted(&self, name: &str) -> Option<String> {
        self.core.lock().incident.noted(name).map(str::to_owned)
    }

    fn progress(&self, progress: Progress) {
        self.core.progress.send_replace(Some(progress));
    }

    fn cancelled(&self) -> bool {
        self.can_cancel && (self.core.is_cancelled() || self.core.is_stopping())
    }

    fn count_loss(&self) {
        let (core, plan, step) = (Arc::clone(self.core), self.plan.clone(), self.step.to_owned());
        // A long log takes longer to read than a person to decide.
        std::thread::spawn(move || count_loss(&core, &plan, &step));
    }

    fn tried(&self, tried: Try) -> Result<(), Explanation> {
        self.core.record(&mut self.core.lock(), Event::TargetTried(tried))
    }

    fn validated(&self, checks: &[Check]) -> Result<(), Explanation> {
        let event = Event::ValidationRun { checks: checks.to_vec() };
        self.core.record(&mut self.core.lock(), event)
    }

    fn held(&self, held: &Held) -> Result<(), Explanation> {
        self.core.record(&mut self.core.lock(), Event::ServiceHeld(held.clone()))
    }

    fn cared(&self, care: Care) -> Result<(), Explanation> {
        self.core.record(&mut self.core.lock(), Event::CareDone(care))
    }

    fn parts_seen(&self, look: PartsLook) -> Result<(), Explanation> {
        self.core.record(&mut self.core.lock(), Event::PartsSeen(look))
    }

    fn parts_carried(&self, done: PartsDone) -> Result<(), Explanation> {
        self.core.record(&mut self.core.lock(), Event::PartsCarried(done))
    }

    fn incident(&self) -> Incident {
        self.core.incident()
    }

    fn runtime(&self) -> &tokio::runtime::Handle {
        &self.core.runtime
    }
}

fn count_loss(core: &Core, plan: &Plan, step: &str) {
    let asking = Asking { report: &|_| {}, cancelled: &|| core.is_stopping() };
    let counted = guarded("counting what is given up", || {
        core.work.reach_at_rest(&core.incident(), plan, &asking)
    });
    let event = match counted {
        Ok(reach) => Event::LossCounted(reach.into()),
        Err(error) => Event::StepNoted {
            step: step.to_owned(),
            name: String::from("loss_not_counted"),
            text: format!(
                "What is given up could not be counted with the server stopped, it may be more \
                 than said: {}",
                error.what
            ),
        },
    };
    let mut state = core.lock();
    // Meanwhile another point may have been chosen, or the incident closed.
    let same = state.incident.plan.as_ref().is_some_and(|now| now.hash == plan.hash);
    if same && state.incident.clocks.closed.is_none() && !core.is_stopping() {
        // Where the journal cannot be written, whatever comes next says so.
        let _ = core.record(&mut state, event);
    }
}
