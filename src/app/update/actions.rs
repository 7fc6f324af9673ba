//! What the commands of the screens do. Whatever stops, opens or puts back a server goes through
//! a layer first: the gate, or a question whose default is no.

use super::super::model::{App, Effect};
use super::{care, cures, go, link, moving, notice, parts, past, people, plain, run, send, target};
use crate::engine::checklist::{Checklist, LATER_WRITES};
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{
    Moment, Prerequisite, Severity, Target, TargetPoint, Topic, Verdict,
};
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::salvage::Salvage;
use crate::engine::runner::protocol::Command;
use crate::screens::available::available;
use crate::screens::commands::Id;
use crate::screens::layers::{
    Choice, Commits, Confirm, Emphasis, Intent, Layer, LineInput, LinePurpose, MomentInput,
    MomentPurpose, Pick, Reader, ReaderKind, TargetKind,
};
use crate::screens::moment::Reading;
use crate::screens::view::{Candidate, Link, Page, Points, Purpose};
use crate::screens::{
    assessment, checklist, drill, full_restore, guide, home, reasons, recovery_point, restore,
    text, validation,
};
use tui_input::Input;

/// Commits that are listed around a moment.
const COMMITS: u32 = 40;

/// Carries a command of a screen out. It was found possible and permitted.
pub fn perform(app: &mut App, id: Id) -> Vec<Effect> {
    match id {
        Id::Up | Id::Down | Id::PageUp | Id::PageDown | Id::First | Id::Last => {
            moving::rows_by(app, id);
        }
        Id::NextPanel => moving::panel_by(app, true),
        Id::PreviousPanel => moving::panel_by(app, false),
        Id::NextPage => moving::page_by(app, true),
        Id::PreviousPage => moving::page_by(app, false),
        Id::PageOne => go(app, Page::Assessment),
        Id::PageTwo => go(app, Page::RecoveryPoint),
        Id::PageThree => go(app, Page::Restore),
        Id::PageFour => go(app, Page::Validation),
        Id::PageFive => go(app, Page::Checklist),
        Id::PageSix => go(app, Page::Report),
        Id::GoOn => {
            if let Some(page) = guide::next_page(&app.view) {
                go(app, page);
            }
        }
        Id::Help => reader(app, "Keys and words", ReaderKind::Help),
        Id::Timeline => reader(app, "Everything that was done (UTC)", ReaderKind::Timeline),
        Id::ShowLog => reader(app, "Log", ReaderKind::Log),
        Id::Briefing => {
            if let Some(briefing) = &app.view.briefing {
                let layer = Layer::Reader(drill::briefing(&app.view, briefing));
                app.view.layers.push(layer);
            }
        }
        Id::Hint => return hint(app),
        Id::Quit => return quit(app),
        Id::GoHome => return go_home(app),
        Id::Refresh => return vec![Effect::List],
        Id::Open => return open_selected(app),
        Id::Declare => declare(app),
        Id::AnswerQuestion => {
            if let Some(asked) = assessment::selected(&app.view) {
                if available(asked.command, &app.view) {
                    return perform(app, asked.command);
                }
                let why = reasons::why_not(asked.command, &app.view);
                notice(app, why, true);
            }
        }
        Id::SetSeverity => severity(app),
        Id::FirstDetected => state_moment(app, Moment::FirstDetected),
        Id::LastKnownGood => state_moment(app, Moment::LastKnownGood),
        Id::WhatIsWrong => note(app, Topic::Symptom),
        Id::ChangesBefore => note(app, Topic::ChangesBefore),
        Id::AddNote => note(app, Topic::Note),
        Id::AskServer => return plain(app, Command::ProbeServer, "asking the server"),
        Id::RunProbes => return plain(app, Command::RunProbes, "running the probes"),
        Id::ChoosePoint => return choose_point(app),
        Id::NearestPoint => {
            if let Some(target) = recovery_point::nearest(&app.view) {
                super::answers::own_point(app, target, "the nearest point that can be reached");
            }
        }
        Id::TargetKind => target_kind(app),
        Id::ToggleInclusive => toggle(app),
        Id::FollowTimeline => follow_timeline(app),
        Id::CommitsAround => commits_around(app),
        Id::SurveyAgain => return link::survey_again(app),
        Id::StopReading => return plain(app, Command::StopReading, "stopping to read"),
        Id::Zoom | Id::ZoomIn | Id::ZoomOut => past::zoom(app, id),
        Id::Earlier
        | Id::Later
        | Id::FarEarlier
        | Id::FarLater
        | Id::Oldest
        | Id::Newest
        | Id::FinerStep
        | Id::WiderStep
        | Id::NextMark
        | Id::PreviousMark
        | Id::NextSuspect
        | Id::PreviousSuspect
        | Id::NextBackup
        | Id::PreviousBackup
        | Id::NextNamed
        | Id::PreviousNamed => past::perform(app, id),
        Id::ProvePoint => app.view.points.prove = app.view.candidate().map(|c| c.target),
        Id::Details if asks_for_parts(app) => return parts::rows(app),
        Id::Details => return run::details(app),
        Id::IncidentEscalated => run::answer(app, Prerequisite::IncidentDeclared),
        Id::MaintenanceWindow => run::answer(app, Prerequisite::MaintenanceWindow),
        Id::ConfirmTarget => run::answer(app, Prerequisite::TargetConfirmed),
        Id::VerifyBackup => return plain(app, Command::VerifyIntegrity, "verifying the backup"),
        Id::MakePlan => return plain(app, Command::MakePlan, "making the plan"),
        Id::OpenGate => run::open_gate(app),
        Id::StartRun => run::start(app),
        Id::Pause => return plain(app, Command::Pause, "asking to pause"),
        Id::GoOnRunning => {
            let status = app.view.incident.as_ref().map(|i| i.status);
            let command = match status {
                Some(RunStatus::Failed | RunStatus::Interrupted) => Command::Retry,
                _ => Command::Resume,
            };
            return plain(app, command, "going on");
        }
        Id::Cure => cures::proposed(app),
        Id::OtherCures => cures::list(app),
        Id::CancelRun => run::cancel(app),
        Id::PutBack => run::put_back(app),
        Id::Promote => run::decide(app, Decision::Promote),
        Id::Abandon => run::decide(app, Decision::Abandon),
        Id::SwapIn => run::decide(app, Decision::Promote),
        Id::OnlyParts => parts::choose(app),
        Id::LookAtParts => return parts::list(app),
        Id::CarryParts => parts::ways(app),
        Id::Salvage => parts::salvage(app),
        Id::FullRestore => {
            let layer = Layer::Choice(full_restore::choice(&app.view));
            app.view.layers.push(layer);
        }
        Id::GoLater => target::later(app),
        Id::GoEarlier => target::earlier(app),
        Id::OtherTry => *app.view.cursors.entry((Page::Restore, 2)).or_default() += 1,
        Id::Validate => return plain(app, Command::Validate, "validating"),
        Id::CheckDetails => check_details(app),
        Id::SignLine => sign(app),
        Id::EvidenceLine => super::signing::evidence(app),
        Id::ReopenLine => reopen(app),
        Id::RunLine => return care::run(app),
        Id::AgreeLine => care::agree(app),
        Id::LineDetails => care::details(app),
        Id::WaiveLine => care::waive(app),
        Id::GiveLine => care::give(app),
        Id::ProveLine => return care::prove(app),
        Id::Acknowledge => return care::acknowledge(app),
        Id::ApprovePlan => people::approve(app),
        Id::DeclinePlan => people::decline(app),
        Id::WaiveApproval => people::waive(app),
        Id::People => reader(app, "People", ReaderKind::People),
        Id::HandOver => people::hand_over(app),
        Id::AnswerHandover => people::answer(app),
        Id::TakeCommand => people::take(app),
        Id::StatusText => people::status_text(app),
        Id::WriteReport => return plain(app, Command::WriteReport, "writing the report"),
        Id::CloseIncident => close(app),
        _ => {}
    }
    Vec::new()
}

/// The drill's next hint: shown, and noted for the score.
fn hint(app: &mut App) -> Vec<Effect> {
    let Some((place, layer, note)) = drill::next_hint(&app.view) else { return Vec::new() };
    app.hints_shown.insert(place);
    app.view.layers.push(Layer::Reader(layer));
    plain(app, Command::AddNote { topic: Topic::Note, text: note }, "noting the hint")
}

/// The panel with what differs has the keys.
fn asks_for_parts(app: &App) -> bool {
    let waits = app.view.incident.as_ref().is_some_and(crate::screens::parts::waits);
    waits && app.view.panel == 1
}

fn reader(app: &mut App, title: &str, kind: ReaderKind) {
    let title = title.to_owned();
    app.view.layers.push(Layer::Reader(Reader { title, kind, scroll: 0 }));
}

pub fn line(
    app: &mut App,
    purpose: LinePurpose,
    title: impl Into<String>,
    prompt: impl Into<String>,
    hint: impl Into<String>,
) {
    app.view.layers.push(Layer::Line(LineInput {
        title: title.into(),
        prompt: prompt.into(),
        hint: hint.into(),
        input: Input::default(),
        purpose,
        error: None,
    }));
}

fn moment(app: &mut App, purpose: MomentPurpose, title: &str, prompt: &str) {
    app.view.layers.push(Layer::Moment(MomentInput {
        title: title.to_owned(),
        prompt: prompt.to_owned(),
        input: Input::default(),
        purpose,
        reading: Reading::Empty,
        selected: 0,
    }));
}

pub fn confirm(app: &mut App, title: &str, body: Vec<String>, yes: &str, no: &str, intent: Intent) {
    app.view.layers.push(Layer::Confirm(Confirm {
        title: title.to_owned(),
        body,
        yes: yes.to_owned(),
        no: no.to_owned(),
        intent,
    }));
}

/// Leaves at once where nothing runs; else says that it goes on and asks. A drill ends with its
/// window, and takes with it what it wrote: that is always asked.
pub fn quit(app: &mut App) -> Vec<Effect> {
    let runs = app.view.incident.as_ref().is_some_and(|i| {
        matches!(
            i.status,
            RunStatus::Running | RunStatus::Held | RunStatus::Paused | RunStatus::Undoing
        )
    });
    let asked =
        app.view.layers.iter().any(|l| matches!(l, Layer::Confirm(c) if c.intent == Intent::Quit));
    let drill = app.view.briefing.is_some();
    if asked || !(runs || drill) {
        return vec![Effect::Quit];
    }
    if drill {
        let mut body = vec![
            String::from("The drill ends as it stands, and is scored. What runs in it is stopped."),
            String::from(
                "Its sandbox goes (--keep DIR keeps it). Score, journal and reports stay where \
                 drills are recorded (--record DIR).",
            ),
        ];
        if !runs {
            body.push(String::from(
                "Lines of the checklist may stay open: a drill is not judged by them.",
            ));
        }
        confirm(app, "End the drill?", body, "end it", "stay", Intent::Quit);
        return Vec::new();
    }
    let body = vec![
        String::from("The recovery goes on without this window: nothing is stopped by leaving."),
        String::from("Start Lifeboat again at any time to see the same step, clocks and log."),
    ];
    confirm(app, "Leave Lifeboat?", body, "leave; the recovery goes on", "stay", Intent::Quit);
    Vec::new()
}

/// Asks whether to end the drill: over whatever dialog is open, and without a runner.
pub fn abort_drill(app: &mut App) -> Vec<Effect> {
    let is_asked = |l: &Layer| matches!(l, Layer::Confirm(c) if c.intent == Intent::AbortDrill);
    if app.view.layers.last().is_some_and(is_asked) {
        return Vec::new();
    }
    let body = vec![
        String::from("The sandbox goes away with all that is in it: server, backups, incident."),
        String::from("An aborted drill is not scored. Leaving with q scores it as it stands."),
    ];
    confirm(app, "Abort the drill?", body, "abort it", "go on", Intent::AbortDrill);
    Vec::new()
}

fn go_home(app: &mut App) -> Vec<Effect> {
    app.open = None;
    app.attaching = false;
    app.incoming = None;
    app.generation += 1;
    let view = &mut app.view;
    view.page = Page::Home;
    view.panel = 0;
    view.incident = None;
    view.link = Link::Idle;
    view.progress = None;
    view.survey = None;
    view.points = Points::default();
    view.you = None;
    view.runner_pid = None;
    view.waiting.clear();
    vec![Effect::Detach, Effect::List]
}

fn open_selected(app: &mut App) -> Vec<Effect> {
    let row = match app.view.panel {
        0 => home::open_incident(&app.view),
        _ => home::selected_incident(&app.view),
    };
    match row.map(|r| r.id.clone()) {
        Some(id) => super::open(app, id),
        None => Vec::new(),
    }
}

fn declare(app: &mut App) {
    let Some(cluster) = home::selected_cluster(&app.view) else { return };
    let (name, tier) = (cluster.name.clone(), cluster.tier);
    let already = home::open_incident(&app.view).map(|i| i.id.clone());
    let tier = app.view.runbook.tier(tier).title.clone();
    let mut prompt = format!(
        "In one line, what happened on {name} ({tier} tier)? Declaring starts the clock and a journal; it changes nothing on the server."
    );
    if let Some(id) = already {
        prompt.push_str(&format!(" There is an open incident already: {id}. Esc goes back to it."));
    }
    let hint = "For example: orders of the last hour are gone";
    line(
        app,
        LinePurpose::Declare { cluster: name.clone() },
        format!("Declare an incident on {name}"),
        prompt,
        hint,
    );
}

fn severity(app: &mut App) {
    let runbook = &app.view.runbook;
    let options = [Severity::Sev1, Severity::Sev2, Severity::Sev3]
        .into_iter()
        .map(|s| {
            let (title, means) =
                runbook.severity(s).map_or(("", ""), |t| (t.title.as_str(), t.definition.as_str()));
            (Pick::Severity(s), format!("{}: {title}", s.word()), means.to_owned())
        })
        .collect();
    choice(app, "How bad is it?", ask(app, "severity"), options);
}

pub fn choice(app: &mut App, title: &str, prompt: String, options: Vec<(Pick, String, String)>) {
    let title = title.to_owned();
    app.view.layers.push(Layer::Choice(Choice { title, prompt, options, selected: 0 }));
}

/// Why the runbook asks a question.
fn ask(app: &App, id: &str) -> String {
    app.view.runbook.question(id).map_or_else(String::new, |q| q.why.clone())
}

fn state_moment(app: &mut App, which: Moment) {
    let (id, title) = match which {
        Moment::FirstDetected => ("first_detected", "When was it first detected?"),
        Moment::LastKnownGood => ("last_known_good", "When was the data last known to be good?"),
    };
    let prompt = ask(app, id);
    moment(app, MomentPurpose::State(which), title, &prompt);
}

fn note(app: &mut App, topic: Topic) {
    let (title, prompt, hint) = match topic {
        Topic::ChangesBefore => (
            "What changed before it happened?",
            ask(app, "changes_before"),
            "For example: release 4.2 at 13:40; nightly clean-up job changed",
        ),
        Topic::Symptom => (
            "What is wrong?",
            String::from("Which rows or tables, and since when. It goes into the report."),
            "For example: public.orders has no rows of today",
        ),
        Topic::Note => (
            "Note",
            String::from("It is written into the journal with your name and the time."),
            "",
        ),
    };
    line(app, LinePurpose::Note(topic), title, prompt, hint);
}

fn choose_point(app: &mut App) -> Vec<Effect> {
    let Some(candidate) = app.view.candidate() else { return Vec::new() };
    // Picked on the picture, it stands in the list from now on.
    if app.view.points.by_cursor
        && !app.view.candidates().iter().any(|c| c.target == candidate.target)
    {
        super::answers::remember(app, candidate.clone());
    }
    let Some(incident) = &app.view.incident else { return Vec::new() };
    let replaces = incident.plan.is_some() || incident.reach.is_some();
    if !replaces {
        let command = Command::ChooseTarget { target: candidate.target };
        return plain(app, command, "choosing the point");
    }
    let body = vec![
        format!("New point: {}.", candidate.target),
        String::from(
            "The confirmation of the old point, its plan and its gate count no longer. Nothing on the server is touched.",
        ),
    ];
    confirm(
        app,
        "Choose another recovery point?",
        body,
        "choose the new point",
        "keep the old one",
        Intent::ChooseTarget(candidate.target),
    );
    Vec::new()
}

pub fn target_kind(app: &mut App) {
    let option =
        |kind, label: &str, means: &str| (Pick::Kind(kind), label.to_owned(), means.to_owned());
    let options = vec![
        option(TargetKind::Time, "A time", "The last transaction committed before it is kept."),
        option(
            TargetKind::Lsn,
            "A position in the log (LSN)",
            "The most exact: just before one change. Such as 16/B374D848.",
        ),
        option(
            TargetKind::Xid,
            "A transaction (xid)",
            "Just before or with one transaction, by its number.",
        ),
        option(
            TargetKind::Name,
            "A named restore point",
            "Made beforehand with pg_create_restore_point().",
        ),
        option(
            TargetKind::EndOfArchive,
            "The end of the archive",
            "Everything that was archived or can be rescued: for a lost server, not for bad data.",
        ),
    ];
    let title = match app.view.page {
        Page::Restore => "On to which later point?",
        _ => "Where to go back to?",
    };
    choice(app, title, String::new(), options);
}

/// Just before, or with: as a point of the operator's own.
fn toggle(app: &mut App) {
    let Some(candidate) = app.view.candidate() else { return };
    if matches!(candidate.target.point, TargetPoint::EndOfArchive | TargetPoint::Name(_)) {
        notice(app, String::from("That point has no before and after."), true);
        return;
    }
    if app.view.points.by_cursor {
        if let Some(cursor) = &mut app.view.points.cursor {
            cursor.inclusive = !cursor.inclusive;
        }
        return;
    }
    let inclusive = !candidate.target.inclusive;
    let why = if inclusive { "it is kept, too" } else { "it is not kept" };
    let timeline = candidate.target.timeline;
    let Some(commit) = candidate.transaction else {
        super::answers::own_point(app, Target { inclusive, ..candidate.target }, why);
        return;
    };
    // Just before a transaction is before its first record; with it is with its commit.
    let lsn = if inclusive { commit.lsn } else { commit.first_lsn };
    let target = Target { point: TargetPoint::Lsn(lsn), inclusive, timeline };
    let suspect = candidate.suspect;
    let title = recovery_point::name(&target, suspect.as_ref());
    let (why, transaction) = (why.to_owned(), Some(commit));
    super::answers::remember(app, Candidate { target, title, why, suspect, transaction });
    app.view.panel = 0;
}

fn follow_timeline(app: &mut App) {
    let Some(survey) = &app.view.survey else { return };
    let mut known: Vec<u32> = survey.wal.iter().map(|w| w.timeline).collect();
    known.sort_unstable();
    known.dedup();
    let mut options = vec![(
        Pick::Timeline(None),
        String::from("The latest"),
        String::from("What is meant nearly always."),
    )];
    for timeline in known.into_iter().rev() {
        let last = survey
            .wal
            .iter()
            .filter(|w| w.timeline == timeline)
            .filter_map(|w| w.last_commit)
            .max()
            .map_or_else(String::new, |at| format!("Its last commit: {}.", text::moment(at)));
        options.push((Pick::Timeline(Some(timeline)), format!("Timeline {timeline}"), last));
    }
    let prompt = String::from(
        "Each recovery that was opened began a new timeline, a line of history of its own.",
    );
    choice(app, "Which timeline to follow?", prompt, options);
}

fn commits_around(app: &mut App) {
    let prompt = "Transactions on both sides of a time are listed, to find the one to stop before.";
    moment(app, MomentPurpose::Commits, "Commits around which time?", prompt);
    let view = &app.view;
    let cursor = view
        .candidate()
        .and_then(|c| crate::screens::widgets::past::time_of(&c, view.survey.as_ref()));
    let (now, zone) = (view.now, view.zone.clone());
    if let (Some(at), Some(Layer::Moment(m))) = (cursor, app.view.layers.last_mut()) {
        m.input = Input::new(text::moment(at));
        m.reading = crate::screens::moment::read(m.input.value(), now, &zone);
    }
}

/// Asks for the commits around a moment and opens their list.
pub fn list_commits(app: &mut App, at: jiff::Timestamp) -> Vec<Effect> {
    let layer = Layer::Commits(Commits { around: at, list: None, selected: 0 });
    app.view.layers.push(layer);
    let command = Command::CommitsAround { at, count: COMMITS };
    send(app, command, "reading commits", Purpose::Commits(at))
}

pub fn check_details(app: &mut App) {
    let selected = match app.view.page {
        Page::Restore => restore::selected_check(&app.view),
        _ => validation::selected(&app.view),
    };
    let Some(check) = selected.cloned() else { return };
    let emphasis = match check.verdict {
        Verdict::Verified => Emphasis::Good,
        Verdict::Failed => Emphasis::Bad,
        _ => Emphasis::Heading,
    };
    let mut lines = vec![(emphasis, check.verdict.word().to_owned())];
    for (name, value) in [("Expected", &check.expected), ("Found", &check.found)] {
        if let Some(value) = value {
            lines.push((Emphasis::Plain, format!("{name}: {value}")));
        }
    }
    lines.push((Emphasis::Plain, String::new()));
    lines.push((Emphasis::Plain, check.detail.clone()));
    lines.push((Emphasis::Dim, format!("{} ms, {}", check.duration_ms, check.id)));
    let title = check.title.clone();
    app.view.layers.push(Layer::Reader(Reader::text(title, lines)));
}

fn sign(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, text, hint) = (item.id.clone(), item.text.clone(), item.hint.clone());
    let proposal = app.view.incident.as_ref().and_then(|incident| {
        let list = Checklist::of(incident, &app.view.runbook, app.view.now);
        let proposal = list.line(&id)?.proposal.clone()?;
        // What came back of what was left behind is worth saying where something stays lost, too.
        let some = id == LATER_WRITES && incident.salvages.iter().any(Salvage::has_carried);
        (some || proposal.verdict == Verdict::Verified).then_some(proposal.text)
    });
    let prompt = format!("{text}. What did you see? It is signed in your name.");
    line(app, LinePurpose::Sign { item: id }, "Sign", prompt, hint);
    if let (Some(text), Some(Layer::Line(l))) = (proposal, app.view.layers.last_mut()) {
        // Lifeboat's own evidence, for the person to agree to or to write over.
        l.input = Input::new(text);
    }
}

fn reopen(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, prompt) =
        (item.id.clone(), format!("{}. Why is the signature taken back?", item.text));
    line(app, LinePurpose::Reopen { item: id }, "Reopen", prompt, "");
}

fn close(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let list = Checklist::of(incident, &app.view.runbook, app.view.now);
    if let Err(refused) = list.may_close() {
        notice(app, refused.what, true);
        return;
    }
    let prompt = "A last sentence: how did it end? Nothing can be changed after this.";
    line(app, LinePurpose::Close, "Close the incident", prompt, "");
}
