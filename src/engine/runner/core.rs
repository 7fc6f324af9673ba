//! What the runner's parts share: the journal, the model folded from it, and the channels to the
//! clients. Owns the one way by which a fact comes to be: written, synced, folded, then told.

use super::approval::Rules;
use super::guard;
use super::peer;
use super::protocol::{Message, Present, Progress};
use super::server::Clock;
use super::work::Work;
use crate::engine::escalation::Ladder;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Actor, Survey};
use crate::engine::incident::journal::Journal;
use crate::engine::incident::{Entry, Event, Incident};
use jiff::Timestamp;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub(super) struct Core {
    state: Mutex<State>,
    pub work: Arc<dyn Work>,
    /// Which plans need a second person.
    pub rules: Rules,
    pub runtime: Handle,
    /// How many entries there are.
    pub entries: watch::Sender<usize>,
    pub progress: watch::Sender<Option<Progress>>,
    pub survey: watch::Sender<Option<Arc<Survey>>>,
    /// Who is at a screen.
    pub present: watch::Sender<Vec<Present>>,
    /// Set once the journal fails under a run: the runner ends rather than act unrecorded.
    pub fatal: watch::Sender<Option<Explanation>>,
    /// Runs and jobs under way.
    pub busy: watch::Sender<usize>,
    /// The process was told to end.
    pub stopping: AtomicBool,
    cancel: AtomicBool,
    /// Raised to stop whatever reads WAL for an answer.
    readings: AtomicU64,
    jobs: Mutex<HashSet<&'static str>>,
    /// Questions that queue instead of being refused.
    pub questions: tokio::sync::Mutex<()>,
    /// Who is called when it lasts; `None` where nobody is.
    pub ladder: Option<Ladder>,
    clock: Clock,
    me: Actor,
}

pub(super) struct State {
    /// `None` once the runner has let go of it.
    journal: Option<Journal>,
    pub incident: Incident,
    /// The messages of all entries so far, as they go to clients.
    lines: Vec<Arc<str>>,
    /// A thread carries the plan out or undoes it.
    pub executing: bool,
}

impl Core {
    pub fn new(
        journal: Journal,
        incident: Incident,
        entries: &[Entry],
        work: Arc<dyn Work>,
        rules: Rules,
        runtime: Handle,
        clock: Clock,
    ) -> Result<Self, Explanation> {
        let ladder = work.ladder(&incident);
        let lines = entries.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        let cancel = AtomicBool::new(incident.cancel_requested);
        let entries = watch::Sender::new(lines.len());
        let state = State { journal: Some(journal), incident, lines, executing: false };
        Ok(Self {
            state: Mutex::new(state),
            work,
            rules,
            runtime,
            entries,
            progress: watch::Sender::new(None),
            survey: watch::Sender::new(None),
            present: watch::Sender::new(Vec::new()),
            fatal: watch::Sender::new(None),
            busy: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            cancel,
            readings: AtomicU64::new(0),
            jobs: Mutex::new(HashSet::new()),
            questions: tokio::sync::Mutex::new(()),
            ladder,
            clock,
            me: peer::runner(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: it changes only after the journal has it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an entry has this text, as it stands in a field of it.
    pub fn tells(&self, state: &State, text: &str) -> bool {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        state.lines.iter().any(|line| line.contains(&quoted))
    }

    /// Journals, folds, tells; in that order. Where a rule now asks for an approval, that follows.
    pub fn append(
        &self,
        state: &mut State,
        actor: &Actor,
        event: Event,
    ) -> Result<(), Explanation> {
        self.append_one(state, actor, event)?;
        self.ask_for_approval(state, actor)
    }

    /// Writes down that the plan needs a second person, where a rule says so and nobody has yet.
    pub fn ask_for_approval(&self, state: &mut State, actor: &Actor) -> Result<(), Explanation> {
        match self.rules.asks(&state.incident) {
            Some(asked) => self.append_one(state, actor, Event::ApprovalAsked(asked)),
            None => Ok(()),
        }
    }

    fn append_one(
        &self,
        state: &mut State,
        actor: &Actor,
        event: Event,
    ) -> Result<(), Explanation> {
        let Some(journal) = &mut state.journal else {
            return Err(ending());
        };
        let entry =
            journal.append(self.now(), actor, event).map_err(|error| error.explanation())?;
        state.incident.apply(&entry);
        state.lines.push(line(&entry)?);
        self.cancel.store(state.incident.cancel_requested, Ordering::Release);
        self.entries.send_replace(state.lines.len());
        Ok(())
    }

    /// The time by the runner's clock.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Whether the runner stays although nobody watches: somebody may have to be called.
    pub fn stays(&self) -> bool {
        let now = self.now();
        self.ladder.as_ref().is_some_and(|ladder| ladder.awaits(&self.lock().incident, now))
    }

    /// [`Core::append`] by the runner itself.
    pub fn record(&self, state: &mut State, event: Event) -> Result<(), Explanation> {
        self.append(state, &self.me, event)
    }

    /// A snapshot of the model.
    pub fn incident(&self) -> Incident {
        self.lock().incident.clone()
    }

    /// Up to `most` messages from number `from` on.
    pub fn lines(&self, from: usize, most: usize) -> Vec<Arc<str>> {
        self.lock().lines.iter().skip(from).take(most).cloned().collect()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Acquire)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends the readings under way.
    pub fn stop_reading(&self) {
        self.readings.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells from now on whether reading was asked to stop.
    pub fn reading(&self) -> impl Fn() -> bool + Sync + '_ {
        let begun = self.readings.load(Ordering::Acquire);
        move || self.readings.load(Ordering::Acquire) != begun || self.is_stopping()
    }

    pub fn fail(&self, explanation: Explanation) {
        self.fatal.send_replace(Some(explanation));
    }

    /// Takes the progress line away, where it is still that job's.
    pub fn end_progress(&self, job: &str) {
        self.progress.send_if_modified(|progress| {
            let is_its = progress.as_ref().is_some_and(|progress| progress.job == job);
            if is_its {
                *progress = None;
            }
            is_its
        });
    }

    /// Marks a job as under way: one of a kind at a time.
    pub fn begin_job(self: &Arc<Self>, kind: &'static str) -> Result<Job, Explanation> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if !jobs.insert(kind) {
            return Err(Explanation::new(
                Kind::Busy,
                format!("This is already under way: {kind}."),
                "It goes on.",
                "Its result appears by itself; wait for it.",
            ));
        }
        Ok(Job { kind, _busy: self.begin(), core: Arc::clone(self) })
    }

    /// Marks something as under way, until the value is dropped.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.busy.send_modify(|count| *count += 1);
        Busy(Arc::clone(self))
    }

    /// Lets go of the journal and its lock: nothing is recorded after that.
    pub fn close(&self) {
        self.lock().journal = None;
    }
}

/// Somebody at a screen, until the value is dropped.
pub(super) struct Attending {
    core: Arc<Core>,
    user: String,
}

impl Attending {
    pub fn new(core: &Arc<Core>, actor: &Actor) -> Self {
        core.present.send_modify(|all| match all.iter_mut().find(|one| one.user == actor.user) {
            Some(here) => here.screens += 1,
            None => all.push(Present {
                user: actor.user.clone(),
                role: actor.role,
                since: Timestamp::now(),
                screens: 1,
            }),
        });
        Self { core: Arc::clone(core), user: actor.user.clone() }
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.core.present.send_modify(|all| {
            for one in all.iter_mut().filter(|one| one.user == self.user) {
                one.screens = one.screens.saturating_sub(1);
            }
            all.retain(|one| one.screens > 0);
        });
    }
}

pub(super) struct Busy(Arc<Core>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|count| *count = count.saturating_sub(1));
    }
}

pub(super) struct Job {
    kind: &'static str,
    core: Arc<Core>,
    _busy: Busy,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.core.end_progress(self.kind);
        self.core.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(self.kind);
    }
}

/// A panic as the failure that an operator reads.
pub(super) fn panicked(what: &str, payload: &(dyn std::any::Any + Send)) -> Explanation {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Explanation::new(
        Kind::Internal,
        format!("A fault of Lifeboat itself stopped {what}: {text}."),
        "What was done before is kept and recorded.",
        "Try again; the runner's log in the incident's folder has the details.",
    )
}

pub(super) fn ending() -> Explanation {
    guard::refusal("The runner is ending.", "Open the incident again.")
}

fn line(entry: &Entry) -> Result<Arc<str>, Explanation> {
    encode(&Message::Entry(entry.clone()))
}

/// A message as its line, with the line feed.
pub(super) fn encode(message: &Message) -> Result<Arc<str>, Explanation> {
    match serde_json::to_string(message) {
        Ok(mut text) => {
            text.push('\n');
            Ok(text.into())
        }
        Err(error) => Err(Explanation::new(
            Kind::Internal,
            format!("A message could not be put into words: {error}."),
            "",
            "",
        )),
    }
}
