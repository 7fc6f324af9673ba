//! What lies over a screen: dialogs, the gate, help. Owns their state as values; the topmost
//! takes the keys, in `app::update`, and `dialogs` draws them.

use super::moment::Reading;
use crate::engine::drill::master::Wants;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{Commit, Moment, Prerequisite, Severity, Target, Topic};
use crate::engine::incident::parts::{Carry, Part, PartsChoice};
use crate::engine::parts::roles::Missing;
use crate::engine::runner::protocol::FullRestore;
use jiff::Timestamp;
use tui_input::Input;

/// One layer.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Something to read and scroll.
    Reader(Reader),
    /// One line of text.
    Line(LineInput),
    /// A moment, echoed as the exact UTC that it means.
    Moment(MomentInput),
    /// One of several, each explained.
    Choice(Choice),
    /// Yes or no; no is the default.
    Confirm(Confirm),
    /// The commander types the cluster's name.
    Gate(Gate),
    /// Neighbouring commits of a time.
    Commits(Commits),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderKind {
    Help,
    /// Everything that was done; drawn from the incident, newest at the end.
    Timeline,
    /// The log of what runs; drawn from progress, newest at the end.
    Log,
    /// Who is there and who does what; drawn from the incident as it is.
    People,
    Text(Vec<(Emphasis, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emphasis {
    Plain,
    Heading,
    Dim,
    Bad,
    Good,
}

#[derive(Debug, Clone)]
pub struct Reader {
    pub title: String,
    pub kind: ReaderKind,
    /// Rows from the top; for a timeline or a log rows from the end.
    pub scroll: usize,
}

/// What a line of text becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePurpose {
    Declare {
        cluster: String,
    },
    Note(Topic),
    Answer(Prerequisite),
    Sign {
        item: String,
    },
    Reopen {
        item: String,
    },
    /// The path of a file that a line is signed with.
    EvidenceFile {
        item: String,
    },
    /// The command whose words a line is signed with.
    EvidenceCommand {
        item: String,
    },
    Waive {
        item: String,
    },
    Assign {
        item: String,
    },
    /// To whom the command, or a line of the checklist, is handed.
    HandOver {
        task: Option<String>,
    },
    /// Why what is offered is not taken.
    DeclineHandover {
        task: Option<String>,
    },
    /// The directory on another disk that a point is recovered into.
    Into(Target),
    /// The directory of the new cluster of a full restore; at once for the one that was asked for.
    FullInto(Option<FullRestore>),
    /// Why the command is taken over.
    TakeCommand,
    /// The words for people outside.
    StatusText,
    /// Why a plan is not approved.
    DeclineApproval,
    /// Why a plan runs without a second person.
    WaiveApproval,
    Close,
    /// Accepts a cure; the text is the cluster's name.
    Cure {
        cure: String,
    },
    /// The directory for a cure that takes one.
    CurePlace {
        cure: String,
    },
    /// Accepts it; the text is the cluster's name.
    CureIn {
        cure: String,
        place: String,
    },
    Lsn,
    Xid,
    Name,
    /// What a game master saw.
    Observe,
    /// What a game master tells the participants.
    Say,
}

#[derive(Debug, Clone)]
pub struct LineInput {
    pub title: String,
    /// What is asked, in full sentences.
    pub prompt: String,
    pub hint: String,
    pub input: Input,
    pub purpose: LinePurpose,
    pub error: Option<String>,
}

/// What a moment becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MomentPurpose {
    State(Moment),
    Target,
    Commits,
}

#[derive(Debug, Clone)]
pub struct MomentInput {
    pub title: String,
    pub prompt: String,
    pub input: Input,
    pub purpose: MomentPurpose,
    /// What the text means so far.
    pub reading: Reading,
    /// Which meaning, where there are two.
    pub selected: usize,
}

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    Severity(Severity),
    Kind(TargetKind),
    Timeline(Option<u32>),
    Point(Target),
    /// A point of one's own: its kind is asked next.
    OwnPoint,
    /// One of the transactions before and behind where the server stands.
    NextCommits,
    /// Give the run up and choose on the recovery point screen.
    GiveUp,
    /// A cure, by its id.
    Cure(String),
    /// The command, or a line of the checklist: to whom is asked next.
    Hand(Option<String>),
    /// What was offered is taken.
    TakeOffer(Option<String>),
    /// What was offered is not taken: why is asked next.
    LeaveOffer(Option<String>),
    /// A full restore of that backup, or the newest.
    Full {
        set: Option<String>,
        to_end: bool,
    },
    /// Another directory for the new cluster: which is asked next.
    FullInto,
    /// A part of the copy beside production, to look at.
    Part(Part),
    /// How what was looked at is carried over.
    Carry(Carry),
    /// The same, with what becomes of roles that production lacks.
    CarryWith(Carry, Missing),
    /// A line is signed with a file: which is asked next.
    EvidenceFile {
        item: String,
    },
    /// A line is signed with what a command says: which is asked next.
    EvidenceCommand {
        item: String,
    },
    /// Proposals of an item of the safety list, by their keys.
    Care {
        item: &'static str,
        agreed: Vec<String>,
    },
}

/// The kinds of recovery target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    Time,
    Lsn,
    Xid,
    Name,
    EndOfArchive,
}

#[derive(Debug, Clone)]
pub struct Choice {
    pub title: String,
    pub prompt: String,
    /// What is picked, its label, what it means.
    pub options: Vec<(Pick, String, String)>,
    pub selected: usize,
}

/// What a yes does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    Quit,
    Cancel,
    Undo,
    Start {
        plan_hash: String,
    },
    Decide(Decision),
    TakeBack(Prerequisite),
    ChooseTarget(Target),
    /// Bring only parts back, from a copy at that point.
    ChooseParts {
        target: Target,
        database: Option<String>,
        tables: Vec<String>,
    },
    /// Plan to bring back what was written after the recovery point.
    Salvage,
    /// Accept a cure, by its id.
    Cure(String),
    /// What a game master asks of a drill.
    Give(Wants),
    /// End the drill and clear it away.
    AbortDrill,
    /// Give this run up, put everything back, and choose another point.
    Earlier,
    /// Put everything back, and choose a full restore instead.
    FullRestore,
    /// Run a command, for a line of the checklist.
    Gather {
        item: String,
        from: Source,
    },
    /// Sign a line with what was gathered.
    SignEvidence {
        item: String,
        evidence: String,
    },
    /// Carry out proposals of an item of the safety list.
    Care {
        item: &'static str,
        agreed: Vec<String>,
    },
}

/// Where evidence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(String),
    Command(String),
}

#[derive(Debug, Clone)]
pub struct Confirm {
    pub title: String,
    pub body: Vec<String>,
    /// What the `y` key does, in a few words.
    pub yes: String,
    pub no: String,
    pub intent: Intent,
}

#[derive(Debug, Clone)]
pub struct Gate {
    /// The plan that was read; another plan closes the gate.
    pub plan_hash: String,
    pub cluster: String,
    /// At the recovery point: the later or earlier one to go to. `None` at the gate before the run.
    pub point: Option<Target>,
    /// A second person approves; nothing begins by it.
    pub approve: bool,
    /// What is carried over from the copy beside production.
    pub parts: Option<PartsChoice>,
    pub input: Input,
    pub error: Option<String>,
    pub scroll: usize,
    /// How far it was scrolled at most: it takes no name before its end was shown.
    pub seen: usize,
}

#[derive(Debug, Clone)]
pub struct Commits {
    pub around: Timestamp,
    /// `None` until the runner answers.
    pub list: Option<Vec<Commit>>,
    pub selected: usize,
}

impl Reader {
    #[must_use]
    pub fn text(title: impl Into<String>, lines: Vec<(Emphasis, String)>) -> Self {
        Self { title: title.into(), kind: ReaderKind::Text(lines), scroll: 0 }
    }
}
