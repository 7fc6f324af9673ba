//! Every key, once. Key bar, help page and documentation are derived from this table; nothing
//! else binds a key. Owns names, keys and texts; what a command does is `app::update`'s.

use super::available::available;
use super::layers::Layer;
use super::view::{Page, View};
use crate::engine::incident::facts::Role;

/// A key as this program names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Char(char),
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Backspace,
    Delete,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Char(' ') => f.write_str("Space"),
            Self::Char(c) => write!(f, "{c}"),
            Self::Ctrl(c) => write!(f, "Ctrl+{c}"),
            Self::BackTab => f.write_str("Shift+Tab"),
            Self::PageUp => f.write_str("PgUp"),
            Self::PageDown => f.write_str("PgDn"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Where a command applies: a screen, or a kind of layer over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    Page(Page),
    /// The recovery point's picture, where the arrows move the cursor.
    Past,
    Reader,
    Line,
    Moment,
    Choice,
    Confirm,
    Gate,
    Commits,
    /// A game master's window on a drill.
    Master,
}

/// The commands by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    Help,
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    NextPanel,
    PreviousPanel,
    PreviousPage,
    NextPage,
    PageOne,
    PageTwo,
    PageThree,
    PageFour,
    PageFive,
    PageSix,
    GoOn,
    GoHome,
    Timeline,
    AddNote,
    Briefing,
    Hint,
    // Home
    Open,
    Declare,
    Readiness,
    Refresh,
    // Assessment
    AnswerQuestion,
    SetSeverity,
    FirstDetected,
    AskServer,
    LastKnownGood,
    WhatIsWrong,
    ChangesBefore,
    RunProbes,
    // Recovery point
    ChoosePoint,
    NearestPoint,
    OtherDirectory,
    TargetKind,
    ToggleInclusive,
    FollowTimeline,
    CommitsAround,
    SurveyAgain,
    StopReading,
    Zoom,
    ZoomIn,
    ZoomOut,
    // The picture
    Earlier,
    Later,
    FarEarlier,
    FarLater,
    Oldest,
    Newest,
    FinerStep,
    WiderStep,
    NextMark,
    PreviousMark,
    NextSuspect,
    PreviousSuspect,
    NextBackup,
    PreviousBackup,
    NextNamed,
    PreviousNamed,
    ProvePoint,
    // Restore
    Details,
    IncidentEscalated,
    MaintenanceWindow,
    VerifyBackup,
    ConfirmTarget,
    MakePlan,
    OpenGate,
    StartRun,
    Pause,
    Cure,
    OtherCures,
    GoOnRunning,
    CancelRun,
    PutBack,
    Promote,
    GoLater,
    GoEarlier,
    OtherTry,
    FullRestore,
    SwapIn,
    Abandon,
    OnlyParts,
    LookAtParts,
    CarryParts,
    Salvage,
    ShowLog,
    // Validation, checklist, report
    Validate,
    CheckDetails,
    SignLine,
    EvidenceLine,
    ReopenLine,
    RunLine,
    AgreeLine,
    LineDetails,
    WaiveLine,
    GiveLine,
    ProveLine,
    Acknowledge,
    WriteReport,
    CloseIncident,
    // People
    ApprovePlan,
    DeclinePlan,
    WaiveApproval,
    People,
    HandOver,
    AnswerHandover,
    TakeCommand,
    StatusText,
    // A drill, and its game master
    AbortDrill,
    ReleaseInject,
    UndoInject,
    Observe,
    GiveHint,
    TellThem,
    // Layers
    LayerClose,
    LayerUp,
    LayerDown,
    LayerPageUp,
    LayerPageDown,
    LayerFirst,
    LayerLast,
    Accept,
    Interrupt,
    Redraw,
    Yes,
    No,
}

/// A command: its key, its words, where and for whom it is.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    pub id: Id,
    pub key: Key,
    /// One or two words for the key bar.
    pub label: &'static str,
    /// A sentence for the help page.
    pub help: &'static str,
    pub on: &'static [Context],
    /// The role that it needs; [`Role::Observer`] is everybody.
    pub role: Role,
    /// Lower stands further left in the key bar; above 90 only on the help page.
    pub rank: u8,
}

use Context as C;

const HOME: &[C] = &[C::Page(Page::Home)];
const ASSESS: &[C] = &[C::Page(Page::Assessment)];
const POINT: &[C] = &[C::Page(Page::RecoveryPoint), C::Past];
const PAST: &[C] = &[C::Past];
const RESTORE: &[C] = &[C::Page(Page::Restore)];
/// Where a way back is chosen.
const CHOOSING: &[C] =
    &[C::Page(Page::Restore), C::Page(Page::RecoveryPoint), C::Past, C::Page(Page::Assessment)];
const CHECKS: &[C] = &[C::Page(Page::Validation)];
const LIST: &[C] = &[C::Page(Page::Checklist)];
const REPORT: &[C] = &[C::Page(Page::Report)];
const ENDING: &[C] = &[C::Page(Page::Checklist), C::Page(Page::Report)];
/// All screens of an incident but the picture: there these keys move the cursor.
const FLIPPING: &[C] = &[
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
];
const INCIDENT: &[C] = &[
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Past,
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
];
/// Screens with rows.
const ROWS: &[C] = &[
    C::Page(Page::Home),
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
    C::Master,
];
const MASTER: &[C] = &[C::Master];
/// Screens that belong to nobody in particular.
const WINDOWS: &[C] = &[
    C::Page(Page::Home),
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Past,
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
    C::Master,
];
const PAGES: &[C] = &[
    C::Page(Page::Home),
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Past,
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
];
const ANYWHERE: &[C] = &[
    C::Page(Page::Home),
    C::Page(Page::Assessment),
    C::Page(Page::RecoveryPoint),
    C::Past,
    C::Page(Page::Restore),
    C::Page(Page::Validation),
    C::Page(Page::Checklist),
    C::Page(Page::Report),
    C::Reader,
    C::Line,
    C::Moment,
    C::Choice,
    C::Confirm,
    C::Gate,
    C::Commits,
    C::Master,
];
const LAYERS: &[C] = &[C::Reader, C::Line, C::Moment, C::Choice, C::Confirm, C::Gate, C::Commits];
const MOVING: &[C] = &[C::Reader, C::Moment, C::Choice, C::Gate, C::Commits];
const SCROLLING: &[C] = &[C::Reader, C::Choice, C::Gate, C::Commits];
const ENDS: &[C] = &[C::Reader, C::Commits];
const ACCEPTING: &[C] = &[C::Line, C::Moment, C::Choice, C::Gate, C::Commits];

const fn c(
    id: Id,
    key: Key,
    rank: u8,
    role: Role,
    on: &'static [C],
    label: &'static str,
    help: &'static str,
) -> Command {
    Command { id, key, label, help, on, role, rank }
}

use Role::{Approver, Commander, Communications, Observer, Operator, Scribe};

/// The table.
#[rustfmt::skip]
pub const TABLE: &[Command] = &[
    c(Id::Open, Key::Enter, 10, Observer, HOME, "open", "Open the selected incident, or the open incident of the selected cluster."),
    c(Id::Declare, Key::Char('d'), 11, Observer, HOME, "declare", "Declare an incident on the selected cluster. Declaring changes nothing on the server."),
    c(Id::Readiness, Key::Char('R'), 12, Observer, HOME, "readiness", "What a recovery of the selected cluster would meet now, the worst first: the reasons of its score."),
    c(Id::Refresh, Key::Char('r'), 30, Observer, HOME, "look again", "Read the lists again."),

    c(Id::AnswerQuestion, Key::Enter, 10, Operator, ASSESS, "answer", "Answer the selected question."),
    c(Id::SetSeverity, Key::Char('s'), 11, Operator, ASSESS, "severity", "Say how bad it is: SEV-1, SEV-2 or SEV-3, with what each means."),
    c(Id::FirstDetected, Key::Char('f'), 12, Operator, ASSESS, "detected", "Say when it was first detected. The clock of the outage starts there."),
    c(Id::AskServer, Key::Char('e'), 13, Operator, ASSESS, "ask server", "Ask the server: does it answer, its time, its version, its position in the log. Changes nothing."),
    c(Id::LastKnownGood, Key::Char('g'), 14, Operator, ASSESS, "last good", "Say when the data was last known to be good."),
    c(Id::WhatIsWrong, Key::Char('w'), 15, Operator, ASSESS, "what is wrong", "Write down which rows or tables are wrong."),
    c(Id::ChangesBefore, Key::Char('c'), 16, Operator, ASSESS, "changes", "Write down what changed before it happened."),
    c(Id::RunProbes, Key::Char('p'), 17, Operator, ASSESS, "probes", "Run the cluster's own integrity probes. They only read."),

    c(Id::ChoosePoint, Key::Enter, 10, Commander, POINT, "choose", "Choose the selected point. Nothing is touched yet."),
    c(Id::NearestPoint, Key::Char('x'), 11, Observer, POINT, "nearest", "Take the nearest point that can be reached, where the selected one cannot."),
    c(Id::OtherDirectory, Key::Char('d'), 11, Commander, POINT, "other disk", "Where the data directory's disk has too little room: name a directory on another disk that the point is recovered into, and choose it."),
    c(Id::TargetKind, Key::Char('k'), 12, Observer, POINT, "other point", "Give a point of your own: a time, an LSN, a transaction, a restore point's name, the end of the archive."),
    c(Id::CommitsAround, Key::Char('c'), 13, Observer, POINT, "commits", "List the transactions around a time and pick one."),
    c(Id::Earlier, Key::Left, 2, Observer, PAST, "earlier", "Move the cursor one step back in time."),
    c(Id::Later, Key::Right, 3, Observer, PAST, "later", "Move the cursor one step on."),
    c(Id::FinerStep, Key::Down, 4, Observer, PAST, "finer", "Move by a finer step: day, hour, minute, second, single transactions. The picture zooms in."),
    c(Id::WiderStep, Key::Up, 5, Observer, PAST, "wider", "Move by a wider step. The picture zooms out."),
    c(Id::NextMark, Key::Char(']'), 6, Observer, PAST, "next mark", "Jump to the next thing that stands out: suspect, backup, restore point, gap, stated moment."),
    c(Id::PreviousMark, Key::Char('['), 7, Observer, PAST, "mark before", "Jump to the one before."),
    c(Id::PreviousSuspect, Key::Char('S'), 91, Observer, PAST, "suspect before", "Jump to the suspect before."),
    c(Id::NextSuspect, Key::Char('s'), 91, Observer, PAST, "next suspect", "Jump to the next suspect, a transaction that may have done the damage."),
    c(Id::PreviousBackup, Key::Char('B'), 91, Observer, PAST, "backup before", "Jump to the end of the backup before."),
    c(Id::NextBackup, Key::Char('v'), 91, Observer, PAST, "next backup", "Jump to the end of the next backup."),
    c(Id::PreviousNamed, Key::Char('R'), 91, Observer, PAST, "restore point before", "Jump to the restore point before."),
    c(Id::NextNamed, Key::Char('r'), 91, Observer, PAST, "next restore point", "Jump to the next restore point, a place that was named beforehand."),
    c(Id::FarEarlier, Key::PageUp, 92, Observer, PAST, "ten earlier", "Ten steps back in time."),
    c(Id::FarLater, Key::PageDown, 92, Observer, PAST, "ten later", "Ten steps on."),
    c(Id::Oldest, Key::Home, 92, Observer, PAST, "oldest", "The beginning of everything that is known."),
    c(Id::Newest, Key::End, 92, Observer, PAST, "newest", "The end: everything that was archived or can be rescued."),
    c(Id::ProvePoint, Key::Char('y'), 1, Observer, PAST, "read it", "Read the log this far back and prove that the point can be reached. It may take minutes; it only reads."),
    c(Id::Zoom, Key::Char('z'), 14, Observer, POINT, "zoom", "Show all the past, a day, an hour, ten minutes or one minute around the point."),
    c(Id::ZoomIn, Key::Char('+'), 91, Observer, POINT, "zoom in", "Show less of the past, larger."),
    c(Id::ZoomOut, Key::Char('-'), 91, Observer, POINT, "zoom out", "Show more of the past."),
    c(Id::ToggleInclusive, Key::Char('i'), 15, Observer, POINT, "before/with", "Switch between just before the selected point and up to and including it."),
    c(Id::FollowTimeline, Key::Char('l'), 16, Observer, POINT, "follow", "Choose which timeline (line of history after an earlier recovery) to follow."),
    c(Id::StopReading, Key::Char('X'), 11, Observer, POINT, "stop reading", "Stop reading log. What it was read for stays unanswered; nothing is lost."),
    c(Id::SurveyAgain, Key::Char('u'), 17, Observer, POINT, "read again", "Read backups, archive and server again."),

    c(Id::Promote, Key::Char('P'), 1, Commander, RESTORE, "promote", "Accept the data at the recovery point and open the database. Asks first."),
    c(Id::SwapIn, Key::Char('S'), 1, Commander, RESTORE, "swap in", "Full restore: stop the old server, keep its directory, and put the new cluster in its place. Asks first."),
    c(Id::FullRestore, Key::Char('O'), 19, Commander, CHOOSING, "full restore", "The last resort (Option B): a new cluster beside the old one, checked at a port of its own, then swapped in or discarded. Says when to use it."),
    c(Id::GoLater, Key::Char('L'), 1, Commander, RESTORE, "later", "At the recovery point: go on to a later one. The server is stopped, told and started again; nothing is copied. Shows what happens, then takes the cluster's name."),
    c(Id::GoEarlier, Key::Char('E'), 1, Commander, RESTORE, "earlier", "At the recovery point: go back to an earlier one by a restore anew, which takes from the disk what is equal. Shows the price, then takes the cluster's name."),
    c(Id::OtherTry, Key::Char('o'), 4, Observer, RESTORE, "other try", "Where more points were tried than fit side by side: show the next of them."),
    c(Id::OnlyParts, Key::Char('p'), 11, Commander, POINT, "only parts", "A partial loss: bring single tables, schemas or databases back while production stays up, from a copy that is recovered beside it. Says when to use it."),
    c(Id::CarryParts, Key::Char('y'), 1, Commander, RESTORE, "carry over", "Parts: choose how what was looked at is carried over, and where to. Shows what is written, then takes the cluster's name."),
    c(Id::LookAtParts, Key::Char('k'), 2, Operator, RESTORE, "look at", "Parts: choose a table, a schema or a database of the copy and compare it with production. Writes nothing."),
    c(Id::Abandon, Key::Char('A'), 2, Commander, RESTORE, "abandon", "Give this recovery up at the recovery point. Nothing is deleted. Asks first."),
    c(Id::Cure, Key::Char('f'), 1, Commander, RESTORE, "fix", "A step failed and Lifeboat knows why: carry the proposed cure out, and go on. Shows what it does and asks first."),
    c(Id::OtherCures, Key::Char('F'), 2, Observer, RESTORE, "other fixes", "Everything that mends what failed, each with what it does, costs and risks."),
    c(Id::GoOnRunning, Key::Char('r'), 3, Commander, RESTORE, "go on", "Go on: after a pause, or with the step that failed or was interrupted."),
    c(Id::StartRun, Key::Char('s'), 4, Commander, RESTORE, "start", "Start the recovery whose gate was passed. Asks first."),
    c(Id::OpenGate, Key::Char('g'), 5, Commander, RESTORE, "gate", "Open the gate: see what is about to happen and type the cluster's name."),
    c(Id::MakePlan, Key::Char('m'), 6, Commander, RESTORE, "make plan", "Make the plan for the chosen point. Nothing is touched."),
    c(Id::ApprovePlan, Key::Char('V'), 1, Approver, RESTORE, "approve", "A second person approves the plan: shows what is to be approved, then takes the cluster's name. Not for who made the plan."),
    c(Id::DeclinePlan, Key::Char('N'), 2, Approver, RESTORE, "say no", "A second person does not approve the plan, and says why."),
    c(Id::WaiveApproval, Key::Char('W'), 20, Commander, RESTORE, "waive approval", "In an emergency: go on without the second person that the configuration asks for, with a written reason that stands out in everything written."),
    c(Id::Details, Key::Enter, 10, Observer, RESTORE, "details", "Show the selected step in full, or answer the selected prerequisite."),
    c(Id::IncidentEscalated, Key::Char('e'), 11, Operator, RESTORE, "escalated", "Confirm that the incident is declared and escalated: who, and where it is written."),
    c(Id::MaintenanceWindow, Key::Char('w'), 12, Operator, RESTORE, "window", "Confirm that the maintenance window is established."),
    c(Id::VerifyBackup, Key::Char('v'), 13, Operator, RESTORE, "verify backup", "Read and check the whole backup that would serve. Changes nothing."),
    c(Id::ConfirmTarget, Key::Char('c'), 14, Operator, RESTORE, "confirm point", "Confirm that the recovery point is the right one."),
    c(Id::Pause, Key::Char('p'), 15, Commander, RESTORE, "pause", "Hold before the next step. The running step finishes."),
    c(Id::CancelRun, Key::Char('X'), 16, Commander, RESTORE, "cancel", "Stop at the running step's next safe point. Says what that means and asks first."),
    c(Id::PutBack, Key::Char('U'), 17, Commander, RESTORE, "put back", "Put everything back as it was before this recovery. Asks first."),
    c(Id::ShowLog, Key::Char('l'), 18, Observer, RESTORE, "log", "Show the last lines of the server's log."),

    c(Id::Validate, Key::Char('v'), 11, Operator, CHECKS, "run again", "Run all checks again. They only read, but for ANALYZE."),
    c(Id::CheckDetails, Key::Enter, 10, Observer, CHECKS, "details", "Show the selected check in full."),
    c(Id::SignLine, Key::Enter, 10, Operator, LIST, "sign", "Sign the selected line: say what you saw."),
    c(Id::EvidenceLine, Key::Char('e'), 15, Operator, LIST, "evidence", "Sign the selected line with a file, by its digest, or with what a command says. The command is shown before it runs, and what it said before you sign."),
    c(Id::ReopenLine, Key::Char('o'), 11, Operator, LIST, "reopen", "Take a signature back and say why."),
    c(Id::RunLine, Key::Char('x'), 12, Operator, LIST, "run", "Run the selected line of the safety list: look, and say what is proposed. Changes no data."),
    c(Id::AgreeLine, Key::Char('y'), 9, Operator, LIST, "proposed", "Show what the selected line proposes, and carry out what you agree to. Asks first."),
    c(Id::LineDetails, Key::Char('d'), 13, Observer, LIST, "details", "Show everything that the last run of the selected line found."),
    c(Id::WaiveLine, Key::Char('w'), 14, Commander, LIST, "waive", "Settle the selected line without doing it, and say why."),
    c(Id::GiveLine, Key::Char('g'), 15, Operator, LIST, "give to", "Say whose task the selected line is."),
    c(Id::ProveLine, Key::Char('p'), 12, Operator, LIST, "prove, sign", "Have Lifeboat prove the selected line: it runs what shows it, and signs in your name where all is VERIFIED."),
    c(Id::Acknowledge, Key::Char('K'), 6, Operator, INCIDENT, "answer call", "Answer for the level of the escalation ladder that was called: nobody is called again for it."),
    c(Id::WriteReport, Key::Char('w'), 10, Operator, REPORT, "write report", "Write the report as Markdown, HTML, PDF and JSON."),
    c(Id::StatusText, Key::Char('s'), 52, Communications, REPORT, "for outside", "Write the words for people outside: they stand in the text of `lifeboat messages --public`."),
    c(Id::Salvage, Key::Char('B'), 41, Commander, ENDING, "bring back", "After a recovery that gave up writes: bring back what was written after its point, from the directory that it kept. Shows what differs by key; you choose, and production stays up. Asks first."),
    c(Id::CloseIncident, Key::Char('C'), 20, Commander, ENDING, "close", "Close the incident with a last sentence."),

    c(Id::GoOn, Key::Char('n'), 40, Observer, INCIDENT, "go on", "Go to where the incident stands now."),
    c(Id::PageOne, Key::Char('1'), 91, Observer, INCIDENT, "assessment", "Assessment."),
    c(Id::PageTwo, Key::Char('2'), 91, Observer, INCIDENT, "recovery point", "Recovery point."),
    c(Id::PageThree, Key::Char('3'), 91, Observer, INCIDENT, "restore", "Restore."),
    c(Id::PageFour, Key::Char('4'), 91, Observer, INCIDENT, "validation", "Validation."),
    c(Id::PageFive, Key::Char('5'), 91, Observer, INCIDENT, "checklist", "Checklist."),
    c(Id::PageSix, Key::Char('6'), 91, Observer, INCIDENT, "report", "Report."),
    c(Id::PreviousPage, Key::Left, 92, Observer, FLIPPING, "back", "The screen before this one."),
    c(Id::NextPage, Key::Right, 92, Observer, FLIPPING, "forward", "The screen after this one."),
    c(Id::Timeline, Key::Char('t'), 50, Observer, INCIDENT, "timeline", "Everything that was done, by whom and when."),
    c(Id::AddNote, Key::Char('a'), 51, Scribe, INCIDENT, "note", "Write a note into the incident's journal."),
    c(Id::AnswerHandover, Key::Char('Y'), 1, Observer, INCIDENT, "answer", "Somebody hands you the command or a task: take it, or say why not."),
    c(Id::HandOver, Key::Char('H'), 91, Commander, INCIDENT, "hand over", "Hand the command, or on the checklist the selected line, to somebody. It is theirs once they take it."),
    c(Id::TakeCommand, Key::Char('T'), 54, Commander, INCIDENT, "take command", "Another commander has the command and cannot hand it over: take it, with a written reason."),
    c(Id::People, Key::Char('@'), 91, Observer, INCIDENT, "people", "Who is at a screen now, who has the command, what waits for whom, and what each role does."),
    c(Id::Briefing, Key::Char('b'), 52, Observer, PAGES, "briefing", "What this drill is about, and the hints that were told."),
    c(Id::Hint, Key::Char('D'), 53, Operator, INCIDENT, "hint", "In a drill: a hint for where the incident stands. It is noted and counted."),
    c(Id::GoHome, Key::Char('h'), 60, Observer, INCIDENT, "home", "Back to clusters and incidents. What runs goes on."),

    c(Id::Up, Key::Up, 93, Observer, ROWS, "up", "One row up."),
    c(Id::Down, Key::Down, 93, Observer, ROWS, "down", "One row down."),
    c(Id::PageUp, Key::PageUp, 93, Observer, ROWS, "page up", "Ten rows up."),
    c(Id::PageDown, Key::PageDown, 93, Observer, ROWS, "page down", "Ten rows down."),
    c(Id::First, Key::Home, 93, Observer, ROWS, "first", "The first row."),
    c(Id::Last, Key::End, 93, Observer, ROWS, "last", "The last row."),
    c(Id::NextPanel, Key::Tab, 55, Observer, PAGES, "next panel", "The next panel takes the arrow keys; in a small window it is the one shown."),
    c(Id::PreviousPanel, Key::BackTab, 94, Observer, PAGES, "panel before", "The panel before."),
    c(Id::ReleaseInject, Key::Char('r'), 1, Observer, MASTER, "release", "Game master: let the selected inject strike, at its moment or, where that is past, at once. Asks first."),
    c(Id::UndoInject, Key::Char('u'), 2, Observer, MASTER, "undo", "Game master: undo the selected inject, as others would who were told; the participants hear of it. Asks first."),
    c(Id::Observe, Key::Char('o'), 3, Observer, MASTER, "observe", "Game master: note what you saw, with the time. The participants see it when the drill is over."),
    c(Id::GiveHint, Key::Char('g'), 4, Observer, MASTER, "give hint", "Game master: give the participants the next hint. It is counted. Asks first."),
    c(Id::TellThem, Key::Char('t'), 5, Observer, MASTER, "tell them", "Game master: tell the participants something, as somebody who calls them. It stands in their journal."),
    c(Id::Help, Key::Char('?'), 80, Observer, WINDOWS, "help", "This page."),
    c(Id::Quit, Key::Char('q'), 81, Observer, WINDOWS, "quit", "Leave Lifeboat. What runs goes on; a drill ends, which is asked."),

    c(Id::Interrupt, Key::Ctrl('c'), 95, Observer, ANYWHERE, "quit", "Leave Lifeboat, from anywhere. What runs goes on; a drill ends."),
    c(Id::Redraw, Key::Ctrl('l'), 95, Observer, ANYWHERE, "redraw", "Draw the window anew."),
    c(Id::AbortDrill, Key::Ctrl('x'), 95, Observer, ANYWHERE, "abort drill", "In a drill: end it and clear its sandbox away, from anywhere. Asks first."),

    c(Id::Yes, Key::Char('y'), 1, Observer, &[C::Confirm], "yes", "Do it."),
    c(Id::No, Key::Char('n'), 2, Observer, &[C::Confirm], "no", "Leave everything as it is."),
    c(Id::Accept, Key::Enter, 1, Observer, ACCEPTING, "accept", "Accept what is written or selected."),
    c(Id::LayerUp, Key::Up, 91, Observer, MOVING, "up", "One row up."),
    c(Id::LayerDown, Key::Down, 91, Observer, MOVING, "down", "One row down."),
    c(Id::LayerPageUp, Key::PageUp, 91, Observer, SCROLLING, "page up", "Ten rows up."),
    c(Id::LayerPageDown, Key::PageDown, 91, Observer, SCROLLING, "page down", "Ten rows down."),
    c(Id::LayerFirst, Key::Home, 92, Observer, ENDS, "first", "The first row."),
    c(Id::LayerLast, Key::End, 92, Observer, ENDS, "last", "The last row."),
    c(Id::LayerClose, Key::Esc, 90, Observer, LAYERS, "back", "Close this and change nothing."),
];

/// Where the next key goes: the topmost layer, else the screen.
#[must_use]
pub fn context(view: &View) -> Context {
    match view.layers.last() {
        None if view.page == Page::RecoveryPoint && view.panel == 1 => Context::Past,
        None => Context::Page(view.page),
        Some(Layer::Reader(_)) => Context::Reader,
        Some(Layer::Line(_)) => Context::Line,
        Some(Layer::Moment(_)) => Context::Moment,
        Some(Layer::Choice(_)) => Context::Choice,
        Some(Layer::Confirm(_)) => Context::Confirm,
        Some(Layer::Gate(_)) => Context::Gate,
        Some(Layer::Commits(_)) => Context::Commits,
    }
}

/// The command behind a key in a context.
#[must_use]
pub fn find(context: Context, key: Key) -> Option<&'static Command> {
    TABLE.iter().find(|c| c.key == key && c.on.contains(&context))
}

#[must_use]
pub fn by_id(id: Id) -> Option<&'static Command> {
    TABLE.iter().find(|c| c.id == id)
}

/// What the key bar shows now, most important first.
#[must_use]
pub fn bar(view: &View) -> Vec<&'static Command> {
    let context = context(view);
    let mut list: Vec<_> = TABLE
        .iter()
        .filter(|c| c.rank <= 90 && c.on.contains(&context))
        .filter(|c| available(c.id, view))
        .filter(|c| view.may(c.role).is_ok() || c.id == Id::TakeCommand)
        .collect();
    // What is to be done now stands first.
    let now = super::guide::guide(view).command.filter(|_| view.layers.is_empty());
    list.sort_by_key(|c| (Some(c.id) != now, c.rank));
    list
}

/// The help page: headings with their commands, in the order of the table.
#[must_use]
pub fn help(page: Page) -> Vec<(String, Vec<&'static Command>)> {
    let on = |context: Context| move |c: &&Command| c.on.contains(&context);
    let here = TABLE.iter().filter(on(Context::Page(page))).filter(|c| c.on.len() < 6);
    let every = TABLE.iter().filter(on(Context::Page(page))).filter(|c| c.on.len() >= 6);
    let past = TABLE.iter().filter(|c| page == Page::RecoveryPoint && c.on == PAST);
    let mut groups = vec![(format!("On this screen: {}", page.title()), here.collect::<Vec<_>>())];
    let past: Vec<_> = past.collect();
    if !past.is_empty() {
        groups.push((String::from("On the picture of the past (Tab leads there)"), past));
    }
    groups.extend([
        (String::from("On every screen"), every.collect()),
        (
            String::from("In dialogs"),
            TABLE
                .iter()
                .filter(|c| !c.on.iter().any(|x| matches!(x, C::Page(_) | C::Past | C::Master)))
                .collect(),
        ),
    ]);
    groups
}

/// The keys of a game master's window, for its help.
#[must_use]
pub fn of_master() -> Vec<&'static Command> {
    TABLE.iter().filter(|c| c.on.contains(&Context::Master)).collect()
}

/// The table as Markdown, for the documentation.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::new();
    for page in std::iter::once(Page::Home).chain(Page::INCIDENT) {
        let own: Vec<_> = TABLE
            .iter()
            .filter(|c| c.on.contains(&Context::Page(page)) && c.on.len() < 6)
            .collect();
        out.push_str(&format!(
            "### {}\n\n| key | what it does | who |\n|---|---|---|\n",
            page.title()
        ));
        for c in own {
            out.push_str(&format!("| `{}` | {} | {} |\n", c.key, c.help, who(c.role)));
        }
        out.push('\n');
    }
    out.push_str(
        "### Recovery point: the picture\n\n| key | what it does | who |\n|---|---|---|\n",
    );
    for c in TABLE.iter().filter(|c| c.on == PAST) {
        out.push_str(&format!("| `{}` | {} | {} |\n", c.key, c.help, who(c.role)));
    }
    out.push('\n');
    out.push_str("### Game master\n\n| key | what it does |\n|---|---|\n");
    for c in TABLE.iter().filter(|c| c.on == MASTER) {
        out.push_str(&format!("| `{}` | {} |\n", c.key, c.help));
    }
    out.push('\n');
    out.push_str("### Everywhere\n\n| key | what it does | who |\n|---|---|---|\n");
    for c in TABLE.iter().filter(|c| c.on.len() >= 6) {
        out.push_str(&format!("| `{}` | {} | {} |\n", c.key, c.help, who(c.role)));
    }
    out
}

/// A role in words.
#[must_use]
pub fn who(role: Role) -> &'static str {
    match role {
        Role::Observer => "everyone",
        other => other.word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn no_key_is_bound_twice_in_a_context() {
        let mut seen: BTreeMap<(String, Key), Id> = BTreeMap::new();
        for command in TABLE {
            for context in command.on {
                let before = seen.insert((format!("{context:?}"), command.key), command.id);
                assert_eq!(before, None, "{:?} on {context:?}", command.key);
            }
        }
    }

    #[test]
    fn every_command_is_declared_once_and_explained() {
        for (i, command) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(i + 1).all(|c| c.id != command.id), "{:?}", command.id);
            assert!(command.help.ends_with('.'), "{:?}", command.id);
            assert!(!command.on.is_empty() && !command.label.is_empty());
        }
    }

    #[test]
    fn help_names_every_command_of_the_page() {
        for page in std::iter::once(Page::Home).chain(Page::INCIDENT) {
            let listed: Vec<Id> =
                help(page).into_iter().flat_map(|(_, list)| list).map(|c| c.id).collect();
            for command in TABLE.iter().filter(|c| c.on.contains(&Context::Page(page))) {
                assert!(listed.contains(&command.id), "{:?} on {page:?}", command.id);
            }
        }
    }
}
