//! What the commands of the screens do. Whatever stops, opens or puts back a server goes through
//! a layer first: the gate, or a question whose default is no.

use super::super::model::{App, Effect};
use super::asking::reader;
use super::{
    assessing, care, closing, cures, go, leaving, link, moving, notice, parts, past, people, plain,
    point, run, target,
};
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{Moment, Prerequisite, Topic, Verdict};
use crate::engine::incident::model::RunStatus;
use crate::engine::runner::protocol::Command;
use crate::screens::available::available;
use crate::screens::commands::Id;
use crate::screens::layers::{Emphasis, Layer, Reader, ReaderKind};
use crate::screens::view::Page;
use crate::screens::{
    assessment, drill, guide, home, readiness, reasons, recovery_point, restore, validation,
};

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
        Id::Quit => return leaving::quit(app),
        Id::GoHome => return leaving::go_home(app),
        Id::Readiness => {
            let page = readiness::selected(&app.view).map(|(cluster, page)| {
                Layer::Reader(readiness::reader(&cluster.name, page, app.view.now))
            });
            app.view.layers.extend(page);
        }
        Id::Refresh => return vec![Effect::List],
        Id::Open => return open_selected(app),
        Id::Declare => assessing::declare(app),
        Id::AnswerQuestion => {
            if let Some(asked) = assessment::selected(&app.view) {
                if available(asked.command, &app.view) {
                    return perform(app, asked.command);
                }
                let why = reasons::why_not(asked.command, &app.view);
                notice(app, why, true);
            }
        }
        Id::SetSeverity => assessing::severity(app),
        Id::FirstDetected => assessing::state_moment(app, Moment::FirstDetected),
        Id::LastKnownGood => assessing::state_moment(app, Moment::LastKnownGood),
        Id::WhatIsWrong => assessing::note(app, Topic::Symptom),
        Id::ChangesBefore => assessing::note(app, Topic::ChangesBefore),
        Id::AddNote => assessing::note(app, Topic::Note),
        Id::AskServer => return plain(app, Command::ProbeServer, "asking the server"),
        Id::RunProbes => return plain(app, Command::RunProbes, "running the probes"),
        Id::ChoosePoint => return point::choose_point(app),
        Id::NearestPoint => {
            if let Some(target) = recovery_point::nearest(&app.view) {
                super::answers::own_point(app, target, "the nearest point that can be reached");
            }
        }
        Id::OtherDirectory => {
            if let Some(candidate) = app.view.candidate() {
                point::ask_into(app, candidate.target, "");
            }
        }
        Id::TargetKind => point::target_kind(app),
        Id::ToggleInclusive => point::toggle(app),
        Id::FollowTimeline => point::follow_timeline(app),
        Id::CommitsAround => point::commits_around(app),
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
        Id::FullRestore => target::full_restore(app),
        Id::GoLater => target::later(app),
        Id::GoEarlier => target::earlier(app),
        Id::OtherTry => *app.view.cursors.entry((Page::Restore, 2)).or_default() += 1,
        Id::Validate => return plain(app, Command::Validate, "validating"),
        Id::CheckDetails => check_details(app),
        Id::SignLine => closing::sign(app),
        Id::EvidenceLine => super::signing::evidence(app),
        Id::ReopenLine => closing::reopen(app),
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
        Id::CloseIncident => closing::close(app),
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
