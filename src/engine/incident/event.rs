//! The journal's events. Owns their names and payloads, which are a stable format; never decides
//! what follows from one: that is the model's.

use super::approval::{Asked, Given};
use super::care::{Care, Held, Reminder};
use super::facts::{
    Actor, Check, Identity, Loss, Moment, Prerequisite, Reach, ServerProbe, Severity, SignOff,
    Tier, Topic, Try,
};
use super::parts::{PartsChoice, PartsDone, PartsLook};
use super::raised::Raise;
use super::salvage::ByCommand;
use super::trouble::{Adjustments, Cure, Trouble};
use crate::engine::explain::Explanation;
use crate::engine::runner::plan::Plan;
use crate::engine::signature::Kept;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without a hole.
    pub seq: u64,
    pub at: Timestamp,
    pub actor: Actor,
    #[serde(flatten)]
    pub event: Event,
    /// SHA-256, hexadecimal, of the previous line's bytes without its line feed; of nothing for
    /// the first.
    pub prev: String,
}

/// What an incident is about, as first declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    /// `INC-YYYYMMDD-NNN`.
    pub id: String,
    /// The cluster's name in the configuration.
    pub cluster: String,
    pub tier: Tier,
    /// `production`, `staging`, …, as configured.
    pub environment: String,
    pub title: String,
    /// The identity read at declaration, where `pg_control` could be read.
    pub identity: Option<Identity>,
    /// The scenario's name where this is a drill.
    pub drill: Option<String>,
}

/// What the commander decides while the server waits at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Promote,
    /// Give up this run; what was done stays until it is put back.
    Abandon,
}

/// Something that happened. Names and fields are the journal's format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "events are few and live in one list")]
pub enum Event {
    IncidentDeclared(Declaration),
    /// A runner took the incident over; `resumed` from the second time on.
    RunnerStarted {
        pid: u32,
        version: String,
        resumed: bool,
    },
    SeveritySet {
        severity: Severity,
    },
    MomentStated {
        moment: Moment,
        at: Timestamp,
    },
    NoteAdded {
        topic: Topic,
        text: String,
    },
    ServerProbed(ServerProbe),
    /// The cluster's own integrity probes from the configuration, before recovery.
    ProbesRun {
        checks: Vec<Check>,
    },
    PrerequisiteAnswered {
        prerequisite: Prerequisite,
        met: bool,
        note: String,
    },
    /// The tool's own answer to "backup integrity verified".
    IntegrityChecked {
        set: String,
        checks: Vec<Check>,
    },
    TargetChosen(Reach),
    PlanMade(Plan),
    GatePassed {
        plan_hash: String,
    },
    /// Refused at the socket: the actor's role does not permit the command.
    CommandRefused {
        command: String,
        reason: String,
    },
    RunStarted {
        plan_hash: String,
    },
    StepStarted {
        step: String,
        attempt: u32,
    },
    /// A fact that a step wants kept: a path, an LSN, a count. `name` is stable for programs.
    StepNoted {
        step: String,
        name: String,
        text: String,
    },
    StepFinished {
        step: String,
    },
    /// The step waits for a decision of the commander.
    StepHeld {
        step: String,
        question: String,
    },
    StepFailed {
        step: String,
        explanation: Explanation,
    },
    /// What a failure was recognised as; [`Event::StepFailed`] follows at once.
    TroubleFound {
        step: String,
        trouble: Trouble,
    },
    /// Somebody accepted a cure; it is carried out next.
    CureAccepted {
        step: String,
        cure: Cure,
    },
    CureDone {
        step: String,
        /// Its id.
        cure: String,
        /// What it did.
        text: String,
        #[serde(default)]
        adjusted: Adjustments,
    },
    CureFailed {
        step: String,
        cure: String,
        explanation: Explanation,
    },
    /// A probe on resuming says where the interrupted step stands.
    StepInterrupted {
        step: String,
        finding: String,
    },
    Decided {
        step: String,
        decision: Decision,
    },
    /// What the database is like at a point where it stopped, before anything is promoted.
    TargetTried(Try),
    /// What the recovery point gives up, once the server was stopped and nothing can come any more.
    LossCounted(Loss),
    /// At the target the commander chose a later one: the same plan with another end, confirmed
    /// by typing the cluster's name again. Nothing is copied anew.
    TargetMoved {
        reach: Reach,
        plan: Plan,
    },
    /// Parts: what differs between the copy beside production and production.
    PartsSeen(PartsLook),
    /// Parts: the commander chose what is carried over, and typed the cluster's name.
    PartsChosen(PartsChoice),
    /// Parts: it is committed.
    PartsCarried(PartsDone),
    /// The command line has brought back what the kept directory had.
    SalvagedByCommand(ByCommand),
    PauseRequested,
    Paused {
        before_step: String,
    },
    Resumed,
    CancelRequested,
    RunCancelled {
        step: Option<String>,
    },
    /// Undoing a cancelled or failed run, step by step, newest first.
    UndoStarted,
    StepUndone {
        step: String,
        text: String,
    },
    UndoFailed {
        step: String,
        explanation: Explanation,
    },
    UndoFinished,
    RunFinished,
    ValidationRun {
        checks: Vec<Check>,
    },
    ChecklistSigned(SignOff),
    /// A line will not be done, with the reason; the person's name is the entry's.
    ChecklistWaived {
        item: String,
        reason: String,
    },
    /// Whose task a line is; empty takes it back.
    ChecklistAssigned {
        item: String,
        owner: String,
    },
    /// Somebody was reminded of lines that are due.
    ChecklistReminded(Reminder),
    /// A level of the escalation ladder is called, or called again: nobody had answered.
    LevelRaised(Raise),
    /// Somebody answers for a level that was called; the person is the entry's.
    LevelAcknowledged {
        level: String,
    },
    /// What would act by itself is about to be switched off, before the server opens.
    ServiceHeld(Held),
    /// An item of the safety list is run; what was agreed to is carried out.
    CareBegun {
        item: String,
        #[serde(default)]
        agreed: Vec<String>,
    },
    /// What the run of an item did and found.
    CareDone(Care),
    /// The signature of the sign-off before it, with the person's SSH key.
    SignOffSigned {
        item: String,
        kept: Kept,
    },
    /// Policy asks for a second person before this plan runs.
    ApprovalAsked(Asked),
    /// A second person approved the plan of that hash.
    ApprovalGiven(Given),
    /// A second person said no to the plan of that hash.
    ApprovalDeclined {
        plan_hash: String,
        reason: String,
    },
    /// The commander goes on without a second person, in writing.
    ApprovalWaived {
        plan_hash: String,
        reason: String,
    },
    /// The command, or a line of the checklist, is handed to somebody who has not answered yet.
    HandoverOffered {
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// The entry's person takes what was offered.
    HandoverAccepted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    HandoverDeclined {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
        reason: String,
    },
    /// A commander took the command without being offered it.
    CommandTaken {
        reason: String,
    },
    /// The words for people outside.
    StatusTextWritten {
        text: String,
    },
    ReportWritten {
        path: String,
    },
    IncidentClosed {
        summary: String,
    },
}
