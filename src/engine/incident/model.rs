//! The incident as it stands: a fold over its journal. Owns what follows from each event; never
//! reads a clock, a file or a server, so that the same journal always gives the same model.

use super::approval::{Approvals, By, Reasoned};
use super::care::{CareState, Held, Reminded, Waived};
pub use super::clocks::Clocks;
use super::clocks::Spent;
use super::event::{Decision, Declaration, Entry, Event};
use super::facts::{
    Check, Moment, Prerequisite, Procedure, Reach, Role, ServerProbe, Severity, SignOff, Topic,
    Try, Verdict,
};
use super::narrate;
use super::parts::PartsState;
use super::people::{Offer, People};
use super::raised::{self, Raised};
use super::salvage::{Run, Salvage};
use super::trouble::{Adjustments, Trouble};
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::runner::plan::Plan;
use crate::engine::signature::Kept;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The steps that copy the base backup.
const RESTORE: &str = "restore-base";
const RESTORE_PARTS: &str = "parts-restore";
/// The steps that make the place that is recovered into; a plan has one of them.
const MAKE_PLACE: [&str; 3] = ["move-aside", "prepare-beside", RESTORE_PARTS];
/// The steps that bring the server to its target.
const REPLAY: &str = "replay";
const REPLAY_PARTS: &str = "parts-replay";
/// The steps that ask what is carried over, and carry it over.
const CHOOSE_PARTS: &str = "parts-choose";
const CARRY_PARTS: &str = "parts-carry";
/// The step that sets aside what stands at a later point.
const STEP_BACK: &str = "step-back";

/// Where the incident stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Assessment,
    RecoveryPoint,
    Restore,
    Validation,
    Checklist,
    Closed,
}

/// How the run of the plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// No plan, or a plan whose gate was not passed.
    Planning,
    /// The gate is passed; nothing runs yet.
    Ready,
    Running,
    /// A step waits for the commander's decision.
    Held,
    /// Between two steps, at the operator's wish.
    Paused,
    Failed,
    /// The runner died in a step; it offers to go on.
    Interrupted,
    Cancelled,
    /// A cancelled or failed run is being put back.
    Undoing,
    Undone,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Pending,
    Running,
    Held,
    Done,
    Failed,
    Interrupted,
    Cancelled,
    Undone,
}

/// One step of the plan and how it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepState {
    pub id: String,
    pub status: StepStatus,
    pub attempts: u32,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Seconds in which the step waited for a person: at its question, or failed.
    pub held_seconds: f64,
    /// Since when it waits now.
    pub held_since: Option<Timestamp>,
    pub question: Option<String>,
    pub failure: Option<Explanation>,
    /// What the failure was recognised as.
    pub trouble: Option<Trouble>,
    /// The cure that is being carried out, by its id.
    pub curing: Option<String>,
    /// A cure that did not help, by its id, and why.
    pub cure_failure: Option<(String, Explanation)>,
    /// Facts by name, newest last.
    pub notes: Vec<(String, String)>,
}

/// Someone's answer to a prerequisite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub met: bool,
    pub note: String,
    pub by: String,
    pub at: Timestamp,
}

/// One line of "what was done".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineLine {
    pub seq: u64,
    pub at: Timestamp,
    pub who: String,
    pub text: String,
    pub tone: Tone,
}

/// How a line is to be read; the theme gives it a colour and a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    Plain,
    Good,
    Attention,
    Bad,
}

/// The checklist line's newest sign-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    pub sign: SignOff,
    pub by: String,
    pub at: Timestamp,
}

/// Everything that is known of an incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    pub declaration: Declaration,
    pub severity: Option<Severity>,
    pub clocks: Clocks,
    /// Whose time it was so far.
    pub spent: Spent,
    pub notes: Vec<(Topic, String)>,
    pub server: Option<ServerProbe>,
    /// The newest result of the cluster's own probes before recovery.
    pub probes: Vec<Check>,
    pub prerequisites: BTreeMap<Prerequisite, Answered>,
    /// Set name and checks of the newest integrity verification.
    pub integrity: Option<(String, Vec<Check>)>,
    /// Base backups that were read in this incident and found damaged.
    pub damaged_sets: Vec<String>,
    pub reach: Option<Reach>,
    /// When what it gives up was counted.
    pub reach_read: Option<Timestamp>,
    pub plan: Option<Plan>,
    /// Hash of the plan whose gate was passed, and by whom.
    pub gate: Option<(String, String)>,
    pub status: RunStatus,
    pub steps: Vec<StepState>,
    pub pause_requested: bool,
    pub cancel_requested: bool,
    pub undo_failure: Option<Explanation>,
    /// In what the run differs from its plan because of cures.
    pub adjustments: Adjustments,
    /// Points at which the server stopped so far in this run, oldest first, one for each target.
    pub tries: Vec<Try>,
    /// What was seen, chosen and written, where only parts are brought back.
    pub parts: PartsState,
    /// The recovery's own plan and run, while a salvage stands in their place.
    pub salvage: Option<Box<Run>>,
    /// Salvages that have ended, oldest first.
    pub salvages: Vec<Salvage>,
    pub validation: Vec<Check>,
    pub signed: BTreeMap<String, Signed>,
    /// Signatures of sign-offs that stand, by the line's id.
    pub signatures: BTreeMap<String, By<Kept>>,
    /// Lines of the checklist that will not be done, by id.
    pub waived: BTreeMap<String, Waived>,
    /// Whose task a line of the checklist is, by id.
    pub owners: BTreeMap<String, String>,
    /// Lines of the checklist that somebody was reminded of, by id.
    pub reminded: BTreeMap<String, Reminded>,
    /// Levels of the escalation ladder that were called, lowest first.
    pub raised: Vec<Raised>,
    /// What was switched off before the server opened.
    pub held: Vec<Held>,
    /// The safety list's items that were run, by id.
    pub care: BTreeMap<String, CareState>,
    /// Approvals of plans by a second person.
    pub approvals: Approvals,
    /// Who has the command, what is handed to whom, the words for people outside.
    pub people: People,
    pub reports: Vec<String>,
    /// Everybody who did something, in the order in which they began, with the role they had last.
    pub acted: Vec<(String, Role)>,
    pub closing: Option<String>,
    pub timeline: Vec<TimelineLine>,
    /// Sequence of the last entry folded in.
    pub seq: u64,
}

/// The journal does not begin as a journal must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("the journal does not begin with a declaration but with entry {0}")]
    NoDeclaration(u64),
    #[error("the journal is empty")]
    Empty,
}

impl Incident {
    /// Folds a whole journal.
    ///
    /// # Errors
    /// Where it does not begin with the declaration.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, FoldError> {
        let mut entries = entries.into_iter();
        let first = entries.next().ok_or(FoldError::Empty)?;
        let mut incident = Self::begin(first)?;
        for entry in entries {
            incident.apply(entry);
        }
        Ok(incident)
    }

    /// The model of the first entry alone.
    ///
    /// # Errors
    /// Where the entry is no declaration.
    pub fn begin(first: &Entry) -> Result<Self, FoldError> {
        let Event::IncidentDeclared(declaration) = &first.event else {
            return Err(FoldError::NoDeclaration(first.seq));
        };
        let mut incident = Self {
            declaration: declaration.clone(),
            severity: None,
            clocks: Clocks { declared: Some(first.at), ..Clocks::default() },
            spent: Spent::default(),
            notes: Vec::new(),
            server: None,
            probes: Vec::new(),
            prerequisites: BTreeMap::new(),
            integrity: None,
            damaged_sets: Vec::new(),
            reach: None,
            reach_read: None,
            plan: None,
            gate: None,
            status: RunStatus::Planning,
            steps: Vec::new(),
            pause_requested: false,
            cancel_requested: false,
            undo_failure: None,
            adjustments: Adjustments::default(),
            tries: Vec::new(),
            parts: PartsState::default(),
            salvage: None,
            salvages: Vec::new(),
            validation: Vec::new(),
            signed: BTreeMap::new(),
            signatures: BTreeMap::new(),
            waived: BTreeMap::new(),
            owners: BTreeMap::new(),
            reminded: BTreeMap::new(),
            raised: Vec::new(),
            held: Vec::new(),
            care: BTreeMap::new(),
            approvals: Approvals::default(),
            people: People::default(),
            reports: Vec::new(),
            acted: Vec::new(),
            closing: None,
            timeline: Vec::new(),
            seq: 0,
        };
        incident.apply(first);
        Ok(incident)
    }

    /// Folds one more entry in.
    pub fn apply(&mut self, entry: &Entry) {
        self.seq = entry.seq;
        if let Some((text, tone)) = narrate::line(&entry.event, self) {
            self.timeline.push(TimelineLine {
                seq: entry.seq,
                at: entry.at,
                who: entry.actor.user.clone(),
                text,
                tone,
            });
        }
        self.fold(entry);
        let taken_over = matches!(entry.event, Event::RunnerStarted { resumed: true, .. });
        let turn = self.turn();
        self.spent.pass(entry.at, turn, taken_over);
    }

    fn fold(&mut self, entry: &Entry) {
        let at = entry.at;
        let (user, role) = (&entry.actor.user, entry.actor.role);
        match self.acted.iter_mut().find(|(known, _)| known == user) {
            Some(known) => known.1 = role,
            None => self.acted.push((user.clone(), role)),
        }
        match &entry.event {
            Event::IncidentDeclared(_) | Event::CommandRefused { .. } => {}
            Event::RunnerStarted { .. } => {
                // A cure that a runner began and did not end can be accepted again.
                for step in &mut self.steps {
                    step.curing = None;
                }
                // Whatever ran in the runner before has ended with it, in the middle.
                for care in self.care.values_mut().filter(|care| care.running.is_some()) {
                    care.running = None;
                    care.interrupted = true;
                }
            }
            Event::SeveritySet { severity } => self.severity = Some(*severity),
            Event::MomentStated { moment, at } => match moment {
                Moment::FirstDetected => self.clocks.detected = Some(*at),
                Moment::LastKnownGood => self.clocks.last_known_good = Some(*at),
            },
            Event::NoteAdded { topic, text } => self.notes.push((*topic, text.clone())),
            Event::ServerProbed(probe) => self.server = Some(probe.clone()),
            Event::ProbesRun { checks } => self.probes.clone_from(checks),
            Event::PrerequisiteAnswered { prerequisite, met, note } => {
                self.answer(*prerequisite, *met, note.clone(), entry);
            }
            Event::IntegrityChecked { set, checks } => {
                let verdict = Verdict::of_all(checks.iter().map(|c| c.verdict));
                self.integrity = Some((set.clone(), checks.clone()));
                // Read once more and found whole, it serves again.
                self.damaged_sets.retain(|damaged| damaged != set);
                if verdict == Verdict::Failed {
                    self.damaged_sets.push(set.clone());
                }
                let base = self.reach.as_ref().and_then(|reach| reach.base.as_ref());
                // Only the base that would serve answers for the recovery.
                if base.is_some_and(|base| base.set == *set) {
                    let met = verdict == Verdict::Verified;
                    let note = format!("{set}: {}", verdict.word());
                    self.answer(Prerequisite::BackupIntegrity, met, note, entry);
                }
            }
            Event::TargetChosen(reach) => {
                // A new target makes the old confirmation, plan and gate worthless.
                self.prerequisites.remove(&Prerequisite::TargetConfirmed);
                let same_base = match (&self.integrity, &reach.base) {
                    (Some((set, _)), Some(base)) => *set == base.set,
                    _ => false,
                };
                if !same_base {
                    self.prerequisites.remove(&Prerequisite::BackupIntegrity);
                    self.integrity = None;
                }
                (self.reach, self.reach_read) = (Some(reach.clone()), Some(at));
                self.plan = None;
                self.gate = None;
                self.steps.clear();
                self.status = RunStatus::Planning;
            }
            Event::PlanMade(plan) => {
                if plan.procedure.is_salvage() {
                    self.begin_salvage(user, at);
                }
                self.approvals.planned_by = Some(entry.actor.user.clone());
                self.steps = plan.steps.iter().map(|s| StepState::pending(&s.id)).collect();
                self.plan = Some(plan.clone());
                self.gate = None;
                self.status = RunStatus::Planning;
            }
            Event::GatePassed { plan_hash } => {
                self.gate = Some((plan_hash.clone(), entry.actor.user.clone()));
                if !self.is_salvaging() {
                    self.clocks.decided = Some(at);
                }
                self.status = RunStatus::Ready;
            }
            Event::RunStarted { .. } => {
                self.clocks.run_started.get_or_insert(at);
                // What was seen in a run that was put back says nothing of this one.
                self.parts = PartsState::default();
                self.adjustments = Adjustments::default();
                self.validation.clear();
                if !self.is_salvaging() {
                    self.tries.clear();
                    self.clocks.validated = None;
                }
                self.cancel_requested = false;
                self.pause_requested = false;
                self.status = RunStatus::Running;
            }
            Event::StepStarted { step, attempt } => {
                self.status = RunStatus::Running;
                self.cancel_requested = false;
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.status = StepStatus::Running;
                    s.attempts = *attempt;
                    s.started.get_or_insert(at);
                    s.finished = None;
                    s.question = None;
                    s.forget_failure();
                });
            }
            Event::StepNoted { step, name, text } => {
                self.with_step(step, |s| s.notes.push((name.clone(), text.clone())));
            }
            Event::StepFinished { step } => {
                // A step that asked had done its part when it asked.
                let asked = self.has_status(step, StepStatus::Held);
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.status = StepStatus::Done;
                    s.finished = Some(at);
                });
                if !asked {
                    self.mark_clock(step, Some(at));
                }
            }
            Event::StepHeld { step, question } => {
                self.status = RunStatus::Held;
                // A runner that takes the incident over asks the same question again.
                if !self.has_status(step, StepStatus::Held) {
                    self.mark_clock(step, Some(at));
                }
                self.with_step(step, |s| {
                    s.status = StepStatus::Held;
                    s.held_since.get_or_insert(at);
                    s.question = Some(question.clone());
                });
            }
            Event::StepFailed { step, explanation } => {
                self.stop_running(RunStatus::Failed);
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.held_since = Some(at);
                    s.status = StepStatus::Failed;
                    s.failure = Some(explanation.clone());
                });
            }
            Event::TroubleFound { step, trouble } => {
                self.with_step(step, |s| s.trouble = Some(trouble.clone()));
            }
            Event::CureAccepted { step, cure } => {
                self.with_step(step, |s| {
                    s.curing = Some(cure.id.clone());
                    s.cure_failure = None;
                });
            }
            Event::CureDone { step, adjusted, .. } => {
                self.with_step(step, |s| s.curing = None);
                self.adjustments.add(adjusted);
            }
            Event::CureFailed { step, cure, explanation } => {
                self.with_step(step, |s| {
                    s.curing = None;
                    s.cure_failure = Some((cure.clone(), explanation.clone()));
                });
            }
            Event::StepInterrupted { step, .. } => {
                self.stop_running(RunStatus::Interrupted);
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.held_since = Some(at);
                    s.status = StepStatus::Interrupted;
                });
            }
            Event::Decided { step, decision } => {
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.question = None;
                });
                match decision {
                    Decision::Promote => self.status = RunStatus::Running,
                    Decision::Abandon => {
                        self.stop_running(RunStatus::Cancelled);
                        self.with_step(step, |s| s.status = StepStatus::Cancelled);
                    }
                }
            }
            Event::LossCounted(loss) => {
                if let Some(reach) = &mut self.reach {
                    reach.recount(loss);
                    self.reach_read = Some(at);
                }
            }
            Event::TargetTried(tried) => {
                self.tries.retain(|earlier| earlier.target != tried.target);
                self.tries.push(tried.clone());
            }
            Event::TargetMoved { reach, plan } => {
                self.approvals.planned_by = Some(entry.actor.user.clone());
                let before = self.plan.replace(plan.clone());
                let goes_elsewhere =
                    before.as_ref().is_some_and(|before| before.places.left != plan.places.left);
                // The same point, in another place.
                if !goes_elsewhere {
                    let note = format!("moved to {} at the target", reach.target);
                    self.answer(Prerequisite::TargetConfirmed, true, note, entry);
                }
                (self.reach, self.reach_read) = (Some(reach.clone()), Some(at));
                self.gate = Some((plan.hash.clone(), entry.actor.user.clone()));
                self.clocks.replayed = None;
                let stood = |before: &Plan| before.places.stood.clone();
                if goes_elsewhere {
                    self.only_steps_of(plan);
                } else if before.as_ref().is_none_or(|before| stood(before) != plan.places.stood) {
                    self.step_back(plan);
                }
                // From another backup, or in another place, the copy itself is made anew.
                let other = before.is_some_and(|before| before.base.set != plan.base.set);
                let anew = other || goes_elsewhere;
                if anew {
                    self.clocks.restored = None;
                }
                // What copied and started the server stands; it replays on and asks again.
                let begins = |id: &str| match anew {
                    true => matches!(id, RESTORE | RESTORE_PARTS),
                    false => matches!(id, REPLAY | REPLAY_PARTS),
                };
                let again = self.steps.iter().position(|s| begins(&s.id)).unwrap_or(usize::MAX);
                for step in self.steps.iter_mut().skip(again) {
                    step.close_hold(at);
                    step.status = StepStatus::Pending;
                    step.question = None;
                    step.forget_failure();
                }
                if goes_elsewhere {
                    self.make_place_again();
                }
                self.status = RunStatus::Running;
            }
            Event::PartsSeen(look) => {
                self.parts.look = Some(look.clone());
                self.parts.choice = None;
                self.ask_for_parts_again(at);
            }
            Event::PartsChosen(choice) => {
                self.parts.choice = Some(choice.clone());
                self.status = RunStatus::Running;
                self.with_step(CHOOSE_PARTS, |s| {
                    s.close_hold(at);
                    s.question = None;
                });
            }
            Event::PartsCarried(done) => self.parts.done = Some(done.clone()),
            Event::SalvagedByCommand(done) => self.salvaged_by(done, user, at),
            Event::PauseRequested => self.pause_requested = true,
            Event::Paused { .. } => {
                self.pause_requested = false;
                self.status = RunStatus::Paused;
            }
            Event::Resumed => {
                self.pause_requested = false;
                self.status = RunStatus::Running;
            }
            Event::CancelRequested => self.cancel_requested = true,
            Event::RunCancelled { step } => {
                self.stop_running(RunStatus::Cancelled);
                if let Some(step) = step {
                    self.with_step(step, |s| {
                        s.close_hold(at);
                        s.status = StepStatus::Cancelled;
                    });
                }
                // What has touched nothing leaves nothing to put back.
                if self.steps.iter().all(|s| s.status == StepStatus::Pending) {
                    self.end_salvage(at);
                }
            }
            Event::UndoStarted => {
                self.undo_failure = None;
                self.status = RunStatus::Undoing;
            }
            Event::StepUndone { step, .. } => {
                self.with_step(step, |s| {
                    s.close_hold(at);
                    s.status = StepStatus::Undone;
                });
                self.mark_clock(step, None);
            }
            Event::UndoFailed { explanation, .. } => {
                self.undo_failure = Some(explanation.clone());
                self.status = RunStatus::Failed;
            }
            Event::UndoFinished => {
                self.status = RunStatus::Undone;
                self.end_salvage(at);
            }
            Event::RunFinished => {
                self.stop_running(RunStatus::Finished);
                self.end_salvage(at);
            }
            Event::ValidationRun { checks } => {
                self.validation.clone_from(checks);
                if !self.is_salvaging() {
                    self.clocks.validated = Some(at);
                }
            }
            Event::ChecklistSigned(sign) => {
                let by = entry.actor.user.clone();
                self.waived.remove(&sign.item);
                // It was for the words before.
                self.signatures.remove(&sign.item);
                self.signed.insert(sign.item.clone(), Signed { sign: sign.clone(), by, at });
            }
            Event::ChecklistWaived { item, reason } => {
                let by = entry.actor.user.clone();
                self.signed.remove(item);
                self.waived.insert(item.clone(), Waived { reason: reason.clone(), by, at });
            }
            Event::ChecklistAssigned { item, owner } => {
                if owner.is_empty() {
                    self.owners.remove(item);
                } else {
                    self.owners.insert(item.clone(), owner.clone());
                }
            }
            Event::ChecklistReminded(reminder) => {
                for item in &reminder.soon {
                    self.reminded.entry(item.clone()).or_default().soon = Some(at);
                }
                for item in &reminder.overdue {
                    self.reminded.entry(item.clone()).or_default().overdue = Some(at);
                }
            }
            Event::LevelRaised(raise) => raised::raise(&mut self.raised, raise, at),
            Event::LevelAcknowledged { level } => {
                raised::acknowledge(&mut self.raised, level, &entry.actor.user, at);
            }
            Event::ServiceHeld(held) => {
                if !self.held.contains(held) {
                    self.held.push(held.clone());
                }
            }
            Event::CareBegun { item, .. } => {
                self.care.entry(item.clone()).or_default().running = Some(at);
            }
            Event::CareDone(care) => {
                let state = self.care.entry(care.item.clone()).or_default();
                state.running = None;
                state.interrupted = false;
                state.last = Some(care.clone());
                state.at = Some(at);
                state.by.clone_from(&entry.actor.user);
            }
            Event::SignOffSigned { item, kept } => {
                let by = entry.actor.user.clone();
                self.signatures.insert(item.clone(), By { what: kept.clone(), by, at });
            }
            Event::ApprovalAsked(asked) => {
                let by = entry.actor.user.clone();
                self.approvals.asked.push(By { what: asked.clone(), by, at });
            }
            Event::ApprovalGiven(given) => {
                let by = entry.actor.user.clone();
                self.approvals.given.push(By { what: given.clone(), by, at });
            }
            Event::ApprovalDeclined { plan_hash, reason } => {
                let by = entry.actor.user.clone();
                let (plan_hash, reason) = (plan_hash.clone(), reason.clone());
                self.approvals.declined.push(By { what: Reasoned { plan_hash, reason }, by, at });
            }
            Event::ApprovalWaived { plan_hash, reason } => {
                let by = entry.actor.user.clone();
                let (plan_hash, reason) = (plan_hash.clone(), reason.clone());
                self.approvals.waived.push(By { what: Reasoned { plan_hash, reason }, by, at });
            }
            Event::HandoverOffered { to, task, note } => {
                let (to, task, note) = (to.clone(), task.clone(), note.clone());
                let by = entry.actor.user.clone();
                self.people.offered(Offer { to, task, note, by, at });
            }
            Event::HandoverAccepted { task } => {
                let user = entry.actor.user.clone();
                self.people.answered(&user, task.as_deref());
                match task {
                    Some(item) => {
                        self.owners.insert(item.clone(), user);
                    }
                    None => self.people.command = Some((user, at)),
                }
            }
            Event::HandoverDeclined { task, .. } => {
                self.people.answered(&entry.actor.user, task.as_deref());
            }
            Event::CommandTaken { .. } => {
                self.people.offers.retain(|offer| offer.task.is_some());
                self.people.command = Some((entry.actor.user.clone(), at));
            }
            Event::StatusTextWritten { text } => {
                self.people.status_text = Some((text.clone(), entry.actor.user.clone(), at));
            }
            Event::ReportWritten { path } => self.reports.push(path.clone()),
            Event::IncidentClosed { summary } => {
                self.closing = Some(summary.clone());
                self.clocks.closed = Some(at);
            }
        }
    }

    /// Where the incident stands, by what has happened.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.closing.is_some() {
            return Phase::Closed;
        }
        match self.status {
            RunStatus::Finished if self.validation.is_empty() => Phase::Validation,
            RunStatus::Finished => Phase::Checklist,
            RunStatus::Planning if self.reach.is_none() => {
                if self.severity.is_some() && self.clocks.detected.is_some() {
                    Phase::RecoveryPoint
                } else {
                    Phase::Assessment
                }
            }
            _ => Phase::Restore,
        }
    }

    /// The prerequisites that still stand between the plan and the gate.
    #[must_use]
    pub fn open_prerequisites(&self) -> Vec<Prerequisite> {
        self.procedure()
            .prerequisites()
            .iter()
            .copied()
            .filter(|p| !self.prerequisites.get(p).is_some_and(|a| a.met))
            .collect()
    }

    /// How it is brought back, by the plan or the point that was chosen.
    #[must_use]
    pub fn procedure(&self) -> Procedure {
        let of_reach = self.reach.as_ref().map(|reach| &reach.procedure);
        self.plan.as_ref().map(|plan| &plan.procedure).or(of_reach).cloned().unwrap_or_default()
    }

    /// Somebody looked again after the carrying over had failed: it is asked once more.
    fn ask_for_parts_again(&mut self, at: Timestamp) {
        if !self.has_status(CARRY_PARTS, StepStatus::Failed) {
            return;
        }
        self.with_step(CARRY_PARTS, |s| {
            s.close_hold(at);
            s.status = StepStatus::Pending;
            s.forget_failure();
        });
        self.with_step(CHOOSE_PARTS, |s| {
            s.status = StepStatus::Held;
            s.held_since = Some(at);
            s.question = Some(String::from("What is to be carried over?"));
        });
        self.status = RunStatus::Held;
    }

    /// The step that runs, waits, failed or was interrupted.
    #[must_use]
    pub fn current_step(&self) -> Option<&StepState> {
        self.steps.iter().find(|s| {
            !matches!(s.status, StepStatus::Pending | StepStatus::Done | StepStatus::Undone)
        })
    }

    /// What is given up may be more than was counted: the server still took writes then, or it was
    /// lost with what it had not archived.
    #[must_use]
    pub fn may_lose_more(&self) -> bool {
        let written = self.clocks.writes_stopped.is_some_and(|at| self.reach_read < Some(at));
        written || self.has_lost_server()
    }

    /// The plan is of a server whose directory is gone.
    #[must_use]
    pub fn has_lost_server(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.lost)
    }

    /// The newest note of that name by any step.
    #[must_use]
    pub fn noted(&self, name: &str) -> Option<&str> {
        self.steps.iter().rev().find_map(|s| {
            s.notes.iter().rev().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
        })
    }

    /// Every note of that name, oldest first.
    pub fn notes(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.steps.iter().flat_map(|step| &step.notes);
        all.filter(move |(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// Up to where a recovering server has replayed: it cannot go back behind that.
    #[must_use]
    pub fn stands_at(&self) -> Option<Lsn> {
        let planned = self.plan.as_ref().and_then(|plan| plan.replay_until);
        self.tries.last().and_then(|tried| tried.reached_lsn).max(planned)
    }

    /// The server waits at the recovery point for the decision to promote.
    #[must_use]
    pub fn waits(&self) -> bool {
        let held = self.current_step().is_some_and(|step| step.id == "inspect");
        self.status == RunStatus::Held && held
    }

    /// Machine seconds and human seconds spent in the plan's steps so far.
    #[must_use]
    pub fn step_seconds(&self) -> (f64, f64) {
        self.steps.iter().fold((0.0, 0.0), |(machine, human), s| {
            let whole = match (s.started, s.finished) {
                (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
                _ => 0.0,
            };
            (machine + (whole - s.held_seconds).max(0.0), human + s.held_seconds)
        })
    }

    /// The run of a plan that goes back to an earlier point: what came before that stands, the rest
    /// is done anew.
    fn step_back(&mut self, plan: &Plan) {
        let anew = plan.steps.iter().position(|step| step.id == STEP_BACK).unwrap_or(0);
        let steps = plan.steps.iter().enumerate();
        self.steps = steps
            .map(|(at, step)| {
                let known = self.steps.iter().find(|known| known.id == step.id && at < anew);
                known.cloned().unwrap_or_else(|| StepState::pending(&step.id))
            })
            .collect();
        self.clocks.restored = None;
    }

    /// The run of a plan that goes on in another place: what stood at an earlier point is given up too.
    fn only_steps_of(&mut self, plan: &Plan) {
        self.steps.retain(|known| plan.step(&known.id).is_some());
        self.clocks.restored = None;
    }

    /// What made the first place makes the other. It has touched something already: whoever puts back
    /// undoes it, whether it has begun again or not.
    fn make_place_again(&mut self) {
        let made = |s: &&mut StepState| MAKE_PLACE.contains(&s.id.as_str());
        if let Some(step) = self.steps.iter_mut().find(made) {
            step.status = StepStatus::Interrupted;
        }
    }

    fn answer(&mut self, which: Prerequisite, met: bool, note: String, entry: &Entry) {
        let answered = Answered { met, note, by: entry.actor.user.clone(), at: entry.at };
        self.prerequisites.insert(which, answered);
    }

    fn with_step(&mut self, id: &str, change: impl FnOnce(&mut StepState)) {
        if let Some(step) = self.steps.iter_mut().find(|s| s.id == id) {
            change(step);
        }
    }

    fn has_status(&self, id: &str, status: StepStatus) -> bool {
        self.steps.iter().any(|s| s.id == id && s.status == status)
    }

    /// Nothing runs any more, so nothing is left to pause or cancel.
    fn stop_running(&mut self, status: RunStatus) {
        self.status = status;
        self.pause_requested = false;
        self.cancel_requested = false;
    }

    fn mark_clock(&mut self, step: &str, at: Option<Timestamp>) {
        if self.is_salvaging() {
            // The clocks are the recovery's: it serves already.
            return;
        }
        let clocks = &mut self.clocks;
        match step {
            "stop-server" | "stop-old" => clocks.writes_stopped = at,
            "restore-base" | "parts-restore" => clocks.restored = at,
            // What was lost serves again; production itself never stopped.
            CARRY_PARTS => clocks.serving = at,
            "parts-replay" | REPLAY => clocks.replayed = at,
            "promote" | "promote-beside" => clocks.promoted = at,
            "open" => clocks.serving = at,
            _ => {}
        }
    }
}

impl StepState {
    fn pending(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            status: StepStatus::Pending,
            attempts: 0,
            started: None,
            finished: None,
            held_seconds: 0.0,
            held_since: None,
            question: None,
            failure: None,
            trouble: None,
            curing: None,
            cure_failure: None,
            notes: Vec::new(),
        }
    }

    /// What went wrong before says nothing of the next attempt.
    fn forget_failure(&mut self) {
        self.failure = None;
        self.trouble = None;
        self.curing = None;
        self.cure_failure = None;
    }

    fn close_hold(&mut self, at: Timestamp) {
        if let Some(since) = self.held_since.take() {
            self.held_seconds += at.duration_since(since).as_secs_f64().max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{declared, entry, finish, plan, running, start};
    use super::*;
    use crate::engine::explain::Kind;
    use crate::engine::runner::plan::{Left, PlanStep};

    /// Whoever is killed after it: the next runner reads from the journal which backups have failed.
    #[test]
    fn base_backups_that_failed_are_known_after_a_replay_of_the_journal() {
        let mut told = Vec::new();
        let mut tell = |event: Event| told.push(entry("10:12:00", event));
        tell(Event::IncidentDeclared(declared().declaration));
        tell(Event::PlanMade(plan()));
        tell(Event::RunStarted { plan_hash: plan().hash });
        for set in ["set-20260113-020000", "set-20260112-020000"] {
            let adjusted =
                Adjustments { without_bases: vec![set.to_owned()], ..Adjustments::default() };
            let (step, cure) = (String::from("restore-base"), String::from("other-base"));
            let text = String::from("begun anew");
            tell(Event::CureDone { step, cure, text, adjusted });
        }
        let written: Vec<String> =
            told.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        let read: Vec<Entry> =
            written.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let incident = Incident::replay(&read).unwrap();
        let failed = &incident.adjustments.without_bases;
        assert_eq!(failed, &["set-20260113-020000", "set-20260112-020000"]);
        // A run that begins anew may begin with any of them.
        let mut again = incident.clone();
        again.apply(&entry("11:00:00", Event::RunStarted { plan_hash: plan().hash }));
        assert!(again.adjustments.without_bases.is_empty());
    }

    /// What was restored is set aside: the copy begins again, whichever step found it out.
    #[test]
    fn another_base_backup_is_copied_anew() {
        let moved = |set: &str| {
            let mut incident = declared();
            running(&mut incident, "10:10:00");
            start(&mut incident, "10:10:00", "restore-base");
            finish(&mut incident, "10:11:00", "restore-base");
            start(&mut incident, "10:11:00", "replay");
            let mut plan = plan();
            plan.base.set = set.to_owned();
            let reach = serde_json::from_value(serde_json::json!({
                "target": plan.target, "reachable": true, "checks": [], "base": plan.base,
                "last_kept": null, "first_lost": null, "lost_commits": null, "lost_seconds": null,
                "nearest": [], "wal_bytes": 0, "minimum_settings": [], "forecast": null,
            }));
            let event = Event::TargetMoved { reach: reach.unwrap(), plan };
            incident.apply(&entry("10:12:00", event));
            incident.steps.iter().map(|step| step.status).take(2).collect::<Vec<_>>()
        };
        assert_eq!(moved("set-20260113-020000"), [StepStatus::Done, StepStatus::Pending]);
        assert_eq!(moved("set-20260112-020000"), [StepStatus::Pending, StepStatus::Pending]);
    }

    /// What made the first place counts as touched: whoever puts back undoes it, begun again or not.
    #[test]
    fn another_place_is_made_by_the_step_that_made_the_first() {
        let mut first = plan();
        for id in ["step-back", "move-aside"] {
            let step = PlanStep { id: id.to_owned(), ..first.steps[0].clone() };
            first.steps.insert(0, step);
        }
        let mut incident = declared();
        let mut tell = |event: Event| incident.apply(&entry("10:10:00", event));
        tell(Event::PlanMade(first.clone()));
        tell(Event::RunStarted { plan_hash: first.hash.clone() });
        for id in ["move-aside", "step-back"] {
            tell(Event::StepStarted { step: id.to_owned(), attempt: 1 });
            tell(Event::StepFinished { step: id.to_owned() });
        }
        let step = String::from("restore-base");
        tell(Event::StepStarted { step: step.clone(), attempt: 1 });
        let explanation = Explanation::new(Kind::Storage, "The disk is full.", "", "");
        tell(Event::StepFailed { step, explanation });
        let mut other = first;
        other.steps.retain(|step| step.id != "step-back");
        other.places.left = Some(Left {
            from: "/srv/orders".into(),
            aside: String::from("/srv/orders.damaged.1"),
            number: None,
            contents: false,
            was_alternative: false,
        });
        let reach = serde_json::from_value(serde_json::json!({
            "target": other.target, "reachable": true, "checks": [], "base": other.base,
            "last_kept": null, "first_lost": null, "lost_commits": null, "lost_seconds": null,
            "nearest": [], "wal_bytes": 0, "minimum_settings": [], "forecast": null,
        }));
        tell(Event::TargetMoved { reach: reach.unwrap(), plan: other });
        let stand: Vec<_> = incident.steps.iter().map(|s| (s.id.as_str(), s.status)).collect();
        assert_eq!(stand[0], ("move-aside", StepStatus::Interrupted));
        assert_eq!(stand[1], ("restore-base", StepStatus::Pending));
        assert!(incident.steps[1].failure.is_none() && incident.status == RunStatus::Running);
        let confirmed = incident.prerequisites.get(&Prerequisite::TargetConfirmed);
        assert!(confirmed.is_none(), "it is the same point: nobody was asked for another");
    }
}
