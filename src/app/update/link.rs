//! What comes over the line: the journal, progress, answers, and its end.

use super::super::link::Incoming;
use super::super::model::{App, Effect};
use super::{explain, go, notice, plain, send};
use crate::engine::checklist::LATER_WRITES;
use crate::engine::drill::hints;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::event::{Entry, Event as Journal};
use crate::engine::incident::facts::{Topic, Verdict};
use crate::engine::incident::model::{Phase, RunStatus, Tone};
use crate::engine::restore::full;
use crate::engine::runner::protocol::{Answer, Command, Message};
use crate::screens::cursor::Seen;
use crate::screens::drill;
use crate::screens::layers::Layer;
use crate::screens::view::{GameMaster, Link, Page, Purpose, Waiting};
use jiff::SignedDuration;

/// The longest pause between two attempts to reconnect, in seconds.
const LONGEST_PAUSE: i64 = 10;
/// Reaches that are kept, so that moving the pointer back is at once.
const REACHES: usize = 64;

pub fn incoming(app: &mut App, generation: u64, incoming: Incoming) -> Vec<Effect> {
    if generation != app.generation || app.open.is_none() {
        return Vec::new();
    }
    match incoming {
        Incoming::Lost(why) => {
            lost(app, why);
            Vec::new()
        }
        Incoming::Message(message) => on_message(app, *message),
    }
}

fn lost(app: &mut App, why: String) {
    app.attaching = false;
    app.incoming = None;
    app.view.progress = None;
    app.view.present.clear();
    app.view.waiting.clear();
    let now = app.view.now;
    app.view.link = Link::Lost { since: now, why, attempts: 0, next_try: now };
}

pub fn attach_failed(app: &mut App, generation: u64, e: &Explanation) {
    if generation != app.generation || app.open.is_none() {
        return;
    }
    app.attaching = false;
    let now = app.view.now;
    let (since, attempts) = match &app.view.link {
        Link::Lost { since, attempts, .. } => (*since, attempts.saturating_add(1)),
        _ => (now, 1),
    };
    let pause = i64::from(attempts).min(LONGEST_PAUSE);
    let next_try = now.checked_add(SignedDuration::from_secs(pause)).unwrap_or(now);
    let first = app.view.incident.is_none() && attempts == 1;
    app.view.link = Link::Lost { since, why: e.what.clone(), attempts, next_try };
    if first {
        explain(app, "The incident could not be opened", e);
    }
}

/// Attaches again when it is time to.
pub fn retry(app: &mut App) -> Vec<Effect> {
    let due = match &app.view.link {
        Link::Lost { next_try, .. } => *next_try <= app.view.now,
        _ => false,
    };
    let Some(incident) = app.open.clone().filter(|_| due && !app.attaching) else {
        return Vec::new();
    };
    app.attaching = true;
    app.generation += 1;
    vec![Effect::Attach { incident, generation: app.generation }]
}

fn on_message(app: &mut App, message: Message) -> Vec<Effect> {
    match message {
        Message::Hello { you, runner_pid, .. } => {
            app.attaching = false;
            app.incoming = None;
            app.incoming_findings.clear();
            app.view.you = Some(you);
            app.view.runner_pid = Some(runner_pid);
            app.view.link = Link::Attaching;
            Vec::new()
        }
        Message::Entry(entry) => {
            on_entry(app, &entry);
            Vec::new()
        }
        Message::Live => live(app),
        Message::Progress(progress) => {
            app.view.progress = progress;
            Vec::new()
        }
        Message::Presence(present) => {
            app.view.present = present;
            Vec::new()
        }
        Message::Survey(survey) => {
            if app.view.survey.as_ref().is_none_or(|s| s.at != survey.at) {
                app.view.points.reaches.clear();
                app.view.points.seen = None;
            }
            app.view.survey = Some(survey);
            Vec::new()
        }
        Message::Reply { id, result } => match app.view.waiting.remove(&id) {
            Some(waiting) => reply(app, waiting, result),
            None => Vec::new(),
        },
    }
}

fn on_entry(app: &mut App, entry: &Entry) {
    let finding = match &entry.event {
        Journal::StepInterrupted { step, finding } => Some((step.clone(), finding.clone())),
        _ => None,
    };
    if app.view.link != Link::Live {
        match &mut app.incoming {
            Some(incident) => incident.apply(entry),
            // What does not begin with a declaration is no journal: nothing is shown of it.
            None => app.incoming = Incident::begin(entry).ok(),
        }
        app.incoming_findings.extend(finding);
        return;
    }
    let Some(incident) = &mut app.view.incident else { return };
    if entry.seq <= incident.seq {
        return;
    }
    let before = incident.phase();
    let salvaging = incident.is_salvaging();
    let status = incident.status;
    incident.apply(entry);
    let (after, now) = (incident.phase(), incident.status);
    let told = between_people(&entry.event).then(|| incident.timeline.last().cloned()).flatten();
    let own = app.view.you.as_ref().is_some_and(|you| you.user == entry.actor.user);
    if let Some(line) = told.filter(|_| !own) {
        let bad = line.tone == Tone::Bad;
        notice(app, format!("{}: {}", line.who, line.text), bad);
    }
    app.view.findings.extend(finding);
    hear(app, &entry.event);
    if status != RunStatus::Running && now == RunStatus::Running {
        // The pointer follows the steps from here until somebody moves it.
        app.view.cursors.remove(&(Page::Restore, 0));
    }
    let ended = salvaging && app.view.incident.as_ref().is_some_and(|i| !i.is_salvaging());
    if ended {
        salvage_ended(app);
    }
    follow(app, before, after, ended);
}

/// What came of a salvage is told wherever somebody looks, and its line is the selected one.
fn salvage_ended(app: &mut App) {
    let ended = app.view.incident.as_ref().and_then(|incident| incident.salvages.last());
    let Some(ended) = ended else { return };
    let bad = ended.has_carried()
        && Verdict::of_all(ended.checks.iter().map(|check| check.verdict)) != Verdict::Verified;
    let words = format!("The salvage has ended. {}", ended.words());
    notice(app, words, bad);
    let lines = crate::screens::checklist::lines(&app.view);
    if let Some(at) = lines.iter().position(|line| line.id == LATER_WRITES) {
        app.view.cursors.insert((Page::Checklist, 0), at);
    }
}

/// In a drill, what the participants are told from outside is read in full, not as a line among
/// others. A hint that was taken at this screen was shown with its key.
fn hear(app: &mut App, event: &Journal) {
    let Journal::NoteAdded { topic: Topic::Note, text } = event else { return };
    if hints::place(text).is_some_and(|place| app.hints_shown.contains(&place)) {
        return;
    }
    if app.view.briefing.is_some()
        && let Some(reader) = drill::told(&app.view, text)
    {
        app.told.push(reader);
    }
}

/// Shows what was told, once nothing else has the keys.
pub fn show_told(app: &mut App) {
    if app.view.layers.is_empty() && !app.told.is_empty() {
        let reader = app.told.remove(0);
        app.view.layers.push(Layer::Reader(reader));
    }
}

/// Whether a game master is there; told where that changes.
pub fn attended(app: &mut App, there: Option<bool>) {
    let known = GameMaster::of(there.filter(|_| app.view.briefing.is_some()));
    let before = std::mem::replace(&mut app.view.game_master, known);
    match (before, known) {
        (GameMaster::Away, GameMaster::There) => {
            notice(app, String::from("The game master has come in."), false);
        }
        (GameMaster::There, GameMaster::Away) => {
            notice(app, String::from("The game master has left; the drill goes on."), false);
        }
        _ => {}
    }
}

/// What one person does to others is told to everybody at once, wherever they look.
fn between_people(event: &Journal) -> bool {
    matches!(
        event,
        Journal::ApprovalAsked(_)
            | Journal::ApprovalGiven(_)
            | Journal::ApprovalDeclined { .. }
            | Journal::ApprovalWaived { .. }
            | Journal::HandoverOffered { .. }
            | Journal::HandoverAccepted { .. }
            | Journal::HandoverDeclined { .. }
            | Journal::CommandTaken { .. }
    )
}

/// Who looks at where the incident stands is taken along when it goes on; who looks elsewhere
/// stays. The assessment is left by hand: it may have more to say than it needs.
fn follow(app: &mut App, before: Phase, after: Phase, salvaged: bool) {
    let leaves_assessment = before == Phase::Assessment && after == Phase::RecoveryPoint;
    if before == after || leaves_assessment || !app.view.layers.is_empty() {
        return;
    }
    let was_along = app.view.page == Page::of(before);
    let validated = before == Phase::Validation && after == Phase::Checklist;
    if was_along && !validated {
        // Verdicts are read before the checklist is begun, also where the plan itself validated.
        let verdicts = before == Phase::Restore && after == Phase::Checklist && !salvaged;
        go(app, if verdicts { Page::Validation } else { Page::of(after) });
    }
}

fn live(app: &mut App) -> Vec<Effect> {
    let Some(incident) = app.incoming.take() else {
        lost(app, String::from("the runner sent no journal"));
        return Vec::new();
    };
    app.view.link = Link::Live;
    app.view.findings = std::mem::take(&mut app.incoming_findings);
    let first = app.view.incident.is_none();
    let phase = incident.phase();
    app.view.incident = Some(incident);
    if first {
        go(app, Page::of(phase));
    } else {
        notice(app, String::from("Connected to the runner again."), false);
    }
    if std::mem::take(&mut app.brief)
        && let Some(briefing) = &app.view.briefing
    {
        app.view.layers.push(Layer::Reader(drill::briefing(&app.view, briefing)));
    }
    Vec::new()
}

fn reply(app: &mut App, waiting: Waiting, result: Result<Answer, Explanation>) -> Vec<Effect> {
    match (waiting.purpose, result) {
        (Purpose::Reach(target), Ok(Answer::Reach(reach))) => {
            let reaches = &mut app.view.points.reaches;
            reaches.retain(|(t, _)| *t != target);
            reaches.push((target, Ok(reach)));
            if reaches.len() > REACHES {
                reaches.drain(..1);
            }
            Vec::new()
        }
        (Purpose::Reach(target), Err(e)) => {
            app.view.points.reaches.push((target, Err(e)));
            Vec::new()
        }
        (Purpose::Past(asked), result) => {
            // A picture without its commits is still one: nobody is stopped for it.
            let window = match result {
                Ok(Answer::Past(window)) => Some(window),
                _ => None,
            };
            app.view.points.seen = Some(Seen { asked, window });
            Vec::new()
        }
        (Purpose::Commits(around), Ok(Answer::Commits(list))) => {
            let open = app.view.layers.iter_mut().rev().find_map(|layer| match layer {
                Layer::Commits(c) if c.around == around => Some(c),
                _ => None,
            });
            if let Some(commits) = open {
                commits.selected = list.iter().filter(|c| c.at < around).count();
                commits.list = Some(list);
            }
            Vec::new()
        }
        (Purpose::Parts, Ok(Answer::Parts(offered))) => {
            super::parts::listed(app, &offered);
            Vec::new()
        }
        (Purpose::Rows, Ok(Answer::Rows(found))) => {
            let layer = Layer::Reader(crate::screens::parts::reader(&found));
            app.view.layers.push(layer);
            Vec::new()
        }
        (Purpose::Salvage, Ok(_)) => {
            go(app, Page::Restore);
            Vec::new()
        }
        (Purpose::Gate { plan_hash }, Ok(_)) => {
            // The commander typed the name to begin: the gate's plan starts, and no other.
            plain(app, Command::Start { plan_hash }, "starting")
        }
        (purpose, Err(e)) => {
            if let Purpose::Into(target) = &purpose {
                super::point::ask_into(app, target.clone(), &format!("{} {}", e.what, e.next));
                return Vec::new();
            }
            let place = full::told_of_destination(&e);
            if let (Purpose::Full(asked), Some(taken)) = (&purpose, place) {
                super::target::ask_full_into(app, Some(asked.clone()), &taken);
                return Vec::new();
            }
            if matches!(purpose, Purpose::Commits(_)) {
                app.view.layers.retain(|l| !matches!(l, Layer::Commits(_)));
            }
            if purpose == Purpose::GiveUp {
                app.leading_back = None;
            }
            let title = match purpose {
                Purpose::Later => "The server stays where it is",
                Purpose::Survey => "The archive could not be read",
                Purpose::Gate { .. } => "The gate stays closed",
                _ => "That was not done",
            };
            explain(app, title, &e);
            Vec::new()
        }
        (_, Ok(_)) => Vec::new(),
    }
}

/// Asks for the survey again, dropping what was proven by the old one.
pub fn survey_again(app: &mut App) -> Vec<Effect> {
    app.surveyed = true;
    app.view.points.reaches.clear();
    send(app, Command::Survey, "reading the archive", Purpose::Survey)
}
