//! What a step is to the runner: something that can say where it stands, run, and be undone.
//! Owns the contract; the steps themselves live with the procedure that they belong to.

use super::plan::Plan;
use super::protocol::Progress;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::care::{Care, Held};
use crate::engine::incident::facts::{Check, Try};
use crate::engine::incident::parts::{PartsDone, PartsLook};
use std::fmt::Debug;

/// Where a step stands, found by looking at the world and not at the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of it has happened.
    NotStarted,
    /// Some of it has happened; `run` goes on from there. The text says what was found.
    Partial(String),
    /// Its effect is there; running it again would change nothing.
    Done(String),
}

/// How a run of a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It did its part; the commander decides how to go on.
    Hold {
        question: String,
    },
}

/// What a step may do beside its work. Given by the runner; implemented for tests too.
pub trait StepContext: Sync {
    fn plan(&self) -> &Plan;
    /// Keeps a fact in the journal, synced before this returns.
    ///
    /// # Errors
    /// Where the journal cannot be written: the step must stop.
    fn note(&self, name: &str, text: &str) -> Result<(), Explanation>;
    /// The newest note of that name by any step of this run.
    fn noted(&self, name: &str) -> Option<String>;
    /// Lossy progress.
    fn progress(&self, progress: Progress);
    /// True once the commander asked to cancel. A step looks at its safe points.
    fn cancelled(&self) -> bool;
    /// Has it counted anew what the recovery point gives up, from the archive and the rescued log:
    /// the server may have taken writes until it was stopped. Nobody waits for that; what comes of
    /// it is kept in the journal, that it failed, too.
    fn count_loss(&self);
    /// Keeps what the database is like where the server stopped.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn tried(&self, tried: Try) -> Result<(), Explanation>;
    /// Keeps the validation's checks in the journal.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn validated(&self, checks: &[Check]) -> Result<(), Explanation>;
    /// Keeps in the journal what is about to be switched off before the server opens.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn held(&self, held: &Held) -> Result<(), Explanation>;
    /// Keeps what a look at an item of the safety list found.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn cared(&self, care: Care) -> Result<(), Explanation>;
    /// Keeps what differs between a copy beside production and production.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn parts_seen(&self, look: PartsLook) -> Result<(), Explanation>;
    /// Keeps what was carried over.
    ///
    /// # Errors
    /// As [`StepContext::note`].
    fn parts_carried(&self, done: PartsDone) -> Result<(), Explanation>;
    /// The incident as it stands.
    fn incident(&self) -> Incident;
    /// The runtime for calls to servers. Steps run on a blocking thread.
    fn runtime(&self) -> &tokio::runtime::Handle;
}

/// A step of a plan. `run` is called on a blocking thread, possibly again after an interruption
/// or a failure, and must then go on from where the world stands.
pub trait Step: Send + Sync + Debug {
    /// The same as in the [`super::plan::PlanStep`].
    fn id(&self) -> &'static str;

    /// Whether it ends by asking the commander. Such a step is never skipped on a second run
    /// because its probe says done: it must ask. The step right before `promote` is always
    /// treated so.
    fn holds(&self) -> bool {
        false
    }

    /// Looks at the world; changes nothing.
    ///
    /// # Errors
    /// Where it cannot be told.
    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation>;

    /// Does it.
    ///
    /// # Errors
    /// With [`crate::engine::explain::Kind::Cancelled`] where it stopped at a safe point because
    /// of a cancel; any other failure can be retried by calling it again.
    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation>;

    /// Undoes it; says what it did. Deletes nothing.
    ///
    /// # Errors
    /// Where it could not be put back.
    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let _ = context;
        Ok(String::from("nothing to undo"))
    }
}
