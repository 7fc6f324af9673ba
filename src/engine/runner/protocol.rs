//! What goes over the runner's socket: JSON, one message a line. Owns the words of the protocol
//! and which role each needs; never opens a socket.

use crate::engine::aftercare;
use crate::engine::explain::Explanation;
use crate::engine::incident::event::{Decision, Entry};
use crate::engine::incident::facts::{
    Actor, Commit, Moment, Prerequisite, Reach, Role, Severity, SignOff, Survey, Target, Topic,
};
use crate::engine::incident::parts::{Part, PartsChoice};
use crate::engine::incident::past::Window;
use crate::engine::incident::salvage::ByCommand;
use crate::engine::parts::compare::Difference;
use crate::engine::postgres::Lsn;
use crate::engine::signature::Signed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bumped when a message changes its meaning. Both sides refuse another version.
pub const PROTOCOL: u32 = 2;

/// From a front end to the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; the reply carries it.
    pub id: u64,
    pub command: Command,
}

/// What a front end can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    SetSeverity {
        severity: Severity,
    },
    StateMoment {
        moment: Moment,
        at: Timestamp,
    },
    AddNote {
        topic: Topic,
        text: String,
    },
    /// Connection, `SELECT now(), version()`, current LSN, sessions, `pg_control`.
    ProbeServer,
    /// The cluster's integrity probes from the configuration.
    RunProbes,
    /// Recomputes the [`Survey`]; it arrives as a [`Message::Survey`].
    Survey,
    /// Ends the reading of WAL that a survey or a question about a target waits for; what was
    /// asked is answered with that.
    StopReading,
    /// Commits around a moment: replies [`Answer::Commits`].
    CommitsAround {
        at: Timestamp,
        count: u32,
    },
    /// Commits of a part of the past in columns: replies [`Answer::Past`]. At most
    /// [`crate::engine::incident::past::MOST_COLUMNS`] columns, however much log there is.
    PastWindow {
        from: Timestamp,
        to: Timestamp,
        columns: u32,
        /// The commits nearest to it are told one by one.
        around: Timestamp,
    },
    /// Whether and how a target can be reached: replies [`Answer::Reach`]. Records nothing.
    CheckReach {
        target: Target,
    },
    /// Checks reach again and, where reachable, records it as the choice.
    ChooseTarget {
        target: Target,
    },
    /// As [`Command::ChooseTarget`], recovered into this directory in the place of the configured
    /// alternative one: the data directory's disk has too little room.
    ChooseInto {
        target: Target,
        directory: String,
    },
    /// Chooses the runbook's Option B: a new cluster beside the old one, from a base backup.
    ChooseFull(FullRestore),
    /// Chooses to bring only parts back: from a copy at `target`, recovered beside production.
    ChooseParts {
        target: Target,
        /// What is looked at first: tables as `schema.table`, of the connection's own database
        /// where none is named.
        #[serde(default)]
        database: Option<String>,
        #[serde(default)]
        tables: Vec<String>,
    },
    /// What the copy beside production holds: replies [`Answer::Parts`]. Records nothing.
    ListParts,
    /// The first rows that differ in a table of the newest look: replies [`Answer::Rows`], which
    /// are shown and never journalled.
    ShowRows {
        table: String,
    },
    /// Compares a part of the copy with production and asks again what is carried over.
    LookAtParts {
        part: Part,
    },
    /// While the copy waits: carries over what was seen. `cluster` is what the commander typed.
    CarryParts {
        choice: PartsChoice,
        cluster: String,
    },
    /// After a recovery: makes the plan by which what was written after its point is brought back from
    /// the directory that it kept.
    PlanSalvage,
    /// What the command line has brought back from the directory that the recovery kept, once it is
    /// committed.
    RecordSalvage(Box<ByCommand>),
    /// For the prerequisites that people answer.
    AnswerPrerequisite {
        prerequisite: Prerequisite,
        met: bool,
        note: String,
    },
    /// The tool's own prerequisite: reads and authenticates the whole base that would serve.
    VerifyIntegrity,
    MakePlan,
    /// `cluster` is what the commander typed; it must be the plan's cluster to the letter.
    PassGate {
        plan_hash: String,
        cluster: String,
    },
    Start {
        plan_hash: String,
    },
    /// Holds before the next step.
    Pause,
    Resume,
    /// Stops at the running step's next safe point.
    Cancel,
    /// Runs the failed or interrupted step again.
    Retry,
    /// Accepts one of the cures that were found for the failed step. It is carried out, and the
    /// plan goes on from where it stood.
    Cure {
        cure: String,
        /// What the commander typed, for a cure that changes what the gate was passed for.
        #[serde(default)]
        cluster: Option<String>,
    },
    /// As [`Command::Cure`], of the cure that takes a directory.
    CureInPlace {
        cure: String,
        /// Its full path, as the commander typed it.
        place: String,
        cluster: String,
    },
    Decide {
        decision: Decision,
    },
    /// While the server waits at the target: goes on to a later one, without copying again; or back
    /// to an earlier one, by a restore anew that takes from the disk what is equal there.
    /// `cluster` is what the commander typed, as at the gate.
    MoveTarget {
        target: Target,
        cluster: String,
    },
    /// Puts a cancelled or failed run back to what it was before.
    Undo,
    /// Runs the validation again.
    Validate,
    Sign(SignOff),
    /// A line of the checklist will not be done; the reason stands in the report.
    Waive {
        item: String,
        reason: String,
    },
    /// Whose task a line is; an empty name takes it back.
    Assign {
        item: String,
        owner: String,
    },
    /// Runs an item of the safety list. `agreed` holds keys of what its last run proposed: that
    /// is carried out as far as a new look still proposes it. Empty: it only looks.
    RunCare {
        item: String,
        #[serde(default)]
        agreed: Vec<String>,
    },
    /// Runs what Lifeboat itself can prove the line by, and signs it in the asker's name where all
    /// is VERIFIED.
    Prove {
        line: String,
    },
    /// Reminds now of lines that are due, each once.
    Remind,
    /// Answers for a level of the ladder that was called.
    Acknowledge {
        level: String,
    },
    /// A second person approves the plan of that hash. `cluster` is what they typed.
    Approve {
        plan_hash: String,
        cluster: String,
        /// With the person's SSH key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<Signed>,
    },
    /// As [`Command::Sign`], with the person's SSH key.
    SignWith {
        sign: SignOff,
        signed: Signed,
    },
    /// A second person says no to the plan of that hash.
    DeclineApproval {
        plan_hash: String,
        reason: String,
    },
    /// Goes on without a second person; the reason stands out in everything that is written.
    WaiveApproval {
        plan_hash: String,
        reason: String,
    },
    /// Hands the command, or a line of the checklist, to a user of this machine.
    HandOver {
        to: String,
        #[serde(default)]
        task: Option<String>,
        #[serde(default)]
        note: String,
    },
    /// Whoever was offered it takes it, or says why not.
    AnswerHandover {
        #[serde(default)]
        task: Option<String>,
        accept: bool,
        #[serde(default)]
        reason: String,
    },
    /// Another commander takes the command without being offered it.
    TakeCommand {
        reason: String,
    },
    /// The words for people outside.
    WriteStatusText {
        text: String,
    },
    /// This client is somebody at a screen: shown to the others until it hangs up.
    Attend,
    WriteReport,
    Close {
        summary: String,
    },
}

/// What is asked of a full restore; what is left out, Lifeboat finds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FullRestore {
    /// The newest that serves where absent.
    #[serde(default)]
    pub set: Option<String>,
    /// On to the end of the archive, instead of the end of the backup.
    #[serde(default)]
    pub to_end: bool,
    /// `<data directory>-restore` where absent.
    #[serde(default)]
    pub destination: Option<String>,
    /// 5433 where absent, and the next free one where that is taken.
    #[serde(default)]
    pub port: Option<u16>,
}

impl Command {
    /// The role that may ask for it, beside those that cover it: the one table of who may what.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::CommitsAround { .. }
            | Self::PastWindow { .. }
            | Self::CheckReach { .. }
            | Self::ListParts
            | Self::StopReading
            | Self::AnswerHandover { .. }
            | Self::Attend
            | Self::Survey => Role::Observer,
            Self::WriteStatusText { .. } => Role::Communications,
            Self::HandOver { .. } | Self::TakeCommand { .. } => Role::Commander,
            Self::AddNote { .. } => Role::Scribe,
            Self::ProbeServer
            | Self::ShowRows { .. }
            | Self::LookAtParts { .. }
            | Self::RunProbes
            | Self::SetSeverity { .. }
            | Self::StateMoment { .. }
            | Self::AnswerPrerequisite { .. }
            | Self::VerifyIntegrity
            | Self::Validate
            | Self::Sign(_)
            | Self::SignWith { .. }
            | Self::RecordSalvage(_)
            | Self::Assign { .. }
            | Self::Prove { .. }
            | Self::Remind
            | Self::Acknowledge { .. }
            | Self::WriteReport => Role::Operator,
            Self::Approve { .. } | Self::DeclineApproval { .. } => Role::Approver,
            Self::WaiveApproval { .. } => Role::Commander,
            Self::RunCare { item, agreed } => aftercare::role(item, !agreed.is_empty()),
            Self::ChooseTarget { .. }
            | Self::ChooseInto { .. }
            | Self::ChooseFull(_)
            | Self::ChooseParts { .. }
            | Self::CarryParts { .. }
            | Self::PlanSalvage
            | Self::MakePlan
            | Self::PassGate { .. }
            | Self::Start { .. }
            | Self::Pause
            | Self::Resume
            | Self::Cancel
            | Self::Retry
            | Self::Cure { .. }
            | Self::CureInPlace { .. }
            | Self::Decide { .. }
            | Self::MoveTarget { .. }
            | Self::Undo
            | Self::Waive { .. }
            | Self::Close { .. } => Role::Commander,
        }
    }
}

/// A part that the copy beside production holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    pub part: Part,
    /// Production has one of that name.
    pub there: bool,
}

/// What a command answers, where it answers more than "done".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "answers are few and short-lived")]
pub enum Answer {
    Done,
    Commits(Vec<Commit>),
    Reach(Reach),
    Past(Window),
    Parts(Vec<Offered>),
    Rows(Box<Difference>),
}

/// From the runner to a front end.
#[allow(clippy::large_enum_variant, reason = "nearly every message is an entry")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", content = "value", rename_all = "snake_case")]
pub enum Message {
    /// First on every connection, followed by every journal entry so far, then [`Message::Live`].
    Hello {
        protocol: u32,
        incident: String,
        you: Actor,
        runner_pid: u32,
    },
    /// All entries so far were sent; what follows is new.
    Live,
    Entry(Entry),
    /// Lossy: the latest wins.
    Progress(Option<Progress>),
    /// Lossy: the latest wins.
    Survey(Survey),
    /// Who is at a screen now. Lossy: the latest wins.
    Presence(Vec<Present>),
    Reply {
        id: u64,
        result: Result<Answer, Explanation>,
    },
}

/// Somebody at one or more screens. Never a fact: it is not in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    pub user: String,
    pub role: Role,
    /// Since the first of these screens.
    pub since: Timestamp,
    pub screens: u32,
}

/// How far the running step or job is. Lossy; never a fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// A step's id, or `survey`, `integrity`, `validate`, `care`.
    pub job: String,
    /// What it does now, such as "replaying WAL" or "base/16384/16402".
    pub label: String,
    pub started: Timestamp,
    pub done: u64,
    pub total: Option<u64>,
    pub unit: Unit,
    /// Units a second, over the last few seconds.
    pub rate: Option<f64>,
    /// Seconds.
    pub eta: Option<f64>,
    /// Rates, oldest first, one a second, at most 120: for charts.
    pub history: Vec<f64>,
    /// While replaying: where replay stands.
    pub lsn: Option<Lsn>,
    /// While replaying: commit time of the last replayed transaction.
    pub replayed_until: Option<Timestamp>,
    /// The last lines of the server's log or of the job's own, newest last, at most 50.
    pub log: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Files,
    Segments,
    Rows,
    Checks,
    /// No count; only time passes.
    Time,
}
