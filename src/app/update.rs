//! How the UI's state follows from what happens. Does nothing itself: what is to be done leaves
//! as effects, so that every rule here is tested without terminal and runner.

mod actions;
mod answers;
mod asking;
mod assessing;
mod care;
mod closing;
mod cures;
mod leaving;
mod link;
mod moving;
mod parts;
mod past;
mod people;
mod point;
mod run;
mod signing;
mod target;

use super::model::{App, Effect, Event};
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::runner::protocol::Command;
use crate::screens::available::available;
use crate::screens::commands::{self, Context, Id, Key};
use crate::screens::layers::{Emphasis, Layer, Reader};
use crate::screens::view::{Link, Notice, Page, Points, Purpose, Waiting};
use crate::screens::{at_target, full_restore, reasons};
use jiff::{SignedDuration, Timestamp};
use tui_input::InputRequest;

/// Seconds for which a short message stays.
const NOTICE_SECONDS: i64 = 6;

/// Takes one event in.
pub fn update(app: &mut App, event: Event) -> Vec<Effect> {
    let mut effects = match event {
        Event::Key(key) => on_key(app, key),
        Event::Paste(text) => {
            paste(app, &text);
            Vec::new()
        }
        Event::Resize(columns, rows) => {
            app.view.size = (columns, rows);
            Vec::new()
        }
        Event::Tick(now) => tick(app, now),
        Event::Listed(Ok(listing)) => {
            app.view.listing = listing;
            Vec::new()
        }
        Event::Declared(Ok(id)) => {
            notice(app, format!("Incident {id} is declared."), false);
            let mut effects = open(app, id);
            effects.push(Effect::List);
            effects
        }
        Event::Listed(Err(e)) => {
            app.view.listing.warnings = vec![e.to_string()];
            Vec::new()
        }
        Event::Declared(Err(e)) => {
            explain(app, "The incident could not be declared", &e);
            Vec::new()
        }
        Event::AttachFailed { generation, explanation } => {
            link::attach_failed(app, generation, &explanation);
            Vec::new()
        }
        Event::Signed { id, generation, command, unsigned } => {
            signing::signed(app, id, generation, command, unsigned)
        }
        Event::Evidence { item, gathered } => {
            signing::gathered(app, &item, gathered);
            Vec::new()
        }
        Event::Attended(there) => {
            link::attended(app, there);
            Vec::new()
        }
        Event::Link { generation, incoming } => link::incoming(app, generation, incoming),
    };
    link::show_told(app);
    past::settle(app);
    effects.extend(target::lead_back(app));
    effects.extend(ask_along(app));
    effects.extend(past::ask(app));
    effects
}

/// Opens an incident: attaches to its runner.
pub fn open(app: &mut App, id: String) -> Vec<Effect> {
    app.generation += 1;
    app.attaching = true;
    app.open = Some(id.clone());
    app.incoming = None;
    app.surveyed = false;
    app.leading_back = None;
    let view = &mut app.view;
    view.incident = None;
    view.findings.clear();
    view.present.clear();
    view.survey = None;
    view.progress = None;
    view.points = Points::default();
    view.waiting.clear();
    view.cursors.retain(|(page, _), _| *page == Page::Home);
    view.link = Link::Attaching;
    view.page = Page::Assessment;
    view.panel = 0;
    vec![Effect::Attach { incident: id, generation: app.generation }]
}

/// Goes to a page of the open incident, or home.
fn go(app: &mut App, page: Page) {
    if app.view.page != page {
        app.view.page = page;
        app.view.panel = 0;
    }
    if !matches!(page, Page::RecoveryPoint | Page::Restore) {
        app.surveyed = false;
    }
}

/// Sends a command and remembers what its answer is for.
fn send(app: &mut App, command: Command, label: &'static str, purpose: Purpose) -> Vec<Effect> {
    if app.view.link != Link::Live {
        notice(app, String::from("Not connected to the runner; nothing was sent."), true);
        return Vec::new();
    }
    let id = app.next_id;
    app.next_id += 1;
    app.view.waiting.insert(id, Waiting { label, purpose });
    vec![Effect::Send { id, command }]
}

fn plain(app: &mut App, command: Command, label: &'static str) -> Vec<Effect> {
    send(app, command, label, Purpose::Plain)
}

fn notice(app: &mut App, text: String, bad: bool) {
    let until = app.view.now.checked_add(SignedDuration::from_secs(NOTICE_SECONDS));
    app.view.notice = until.ok().map(|until| Notice { text, bad, until });
}

/// A failure in full, as a layer.
fn explain(app: &mut App, title: &str, e: &Explanation) {
    let mut lines = vec![(Emphasis::Bad, e.what.clone())];
    for part in [&e.untouched, &e.next] {
        if !part.is_empty() {
            lines.push((Emphasis::Plain, String::new()));
            lines.push((Emphasis::Plain, part.clone()));
        }
    }
    app.view.layers.push(Layer::Reader(Reader::text(title, lines)));
}

fn tick(app: &mut App, now: Timestamp) -> Vec<Effect> {
    app.view.now = now;
    if app.view.notice.as_ref().is_some_and(|n| n.until <= now) {
        app.view.notice = None;
    }
    link::retry(app)
}

fn on_key(app: &mut App, key: Key) -> Vec<Effect> {
    app.view.notice = None;
    let context = commands::context(&app.view);
    let Some(command) = commands::find(context, key) else {
        type_into(app, key);
        return Vec::new();
    };
    match command.id {
        Id::Interrupt => return leaving::quit(app),
        Id::Redraw => return vec![Effect::Redraw],
        Id::AbortDrill if available(Id::AbortDrill, &app.view) => return leaving::abort_drill(app),
        _ => {}
    }
    if !matches!(context, Context::Page(_) | Context::Past) {
        return answers::on_layer(app, command.id);
    }
    // Taking the command is for commanders who do not have it.
    let takes = command.id == Id::TakeCommand && app.view.role().covers(command.role);
    if let Err(why) = app.view.may(command.role)
        && !takes
    {
        let who = commands::who(command.role);
        let text = match app.view.role().covers(command.role) {
            true => format!("\"{}\" is not possible: {why}. T takes it over.", command.label),
            false => format!("\"{}\" is for the {who}.", command.label),
        };
        notice(app, text, true);
        return Vec::new();
    }
    if !available(command.id, &app.view) {
        let why = reasons::why_not(command.id, &app.view);
        notice(app, why, true);
        return Vec::new();
    }
    actions::perform(app, command.id)
}

/// A key that is bound to nothing goes into the text field on top, if there is one.
fn type_into(app: &mut App, key: Key) {
    let Some(request) = typed(key) else { return };
    edit(app, |input| {
        input.handle(request);
    });
}

/// What a key does to a text field.
pub(super) fn typed(key: Key) -> Option<InputRequest> {
    Some(match key {
        Key::Char(c) if !c.is_control() => InputRequest::InsertChar(c),
        Key::Backspace => InputRequest::DeletePrevChar,
        Key::Delete => InputRequest::DeleteNextChar,
        Key::Left => InputRequest::GoToPrevChar,
        Key::Right => InputRequest::GoToNextChar,
        Key::Home | Key::Ctrl('a') => InputRequest::GoToStart,
        Key::End | Key::Ctrl('e') => InputRequest::GoToEnd,
        Key::Ctrl('w') => InputRequest::DeletePrevWord,
        Key::Ctrl('u') => InputRequest::DeleteLine,
        _ => return None,
    })
}

fn paste(app: &mut App, text: &str) {
    edit(app, |input| {
        for c in text.trim().chars().filter(|c| !c.is_control()).take(500) {
            input.handle(InputRequest::InsertChar(c));
        }
    });
}

fn edit(app: &mut App, change: impl FnOnce(&mut tui_input::Input)) {
    let (now, zone) = (app.view.now, app.view.zone.clone());
    match app.view.layers.last_mut() {
        Some(Layer::Line(line)) => {
            change(&mut line.input);
            line.error = None;
        }
        Some(Layer::Gate(gate)) => {
            change(&mut gate.input);
            gate.error = None;
        }
        Some(Layer::Moment(moment)) => {
            change(&mut moment.input);
            moment.reading = crate::screens::moment::read(moment.input.value(), now, &zone);
            moment.selected = 0;
        }
        _ => {}
    }
}

/// On the recovery point's screen, what it needs is asked for without a key: it only reads.
fn ask_along(app: &mut App) -> Vec<Effect> {
    let view = &app.view;
    // At the target the survey tells which later points there are; where a run lacks its log, which
    // backups could be restored whole.
    let asks =
        |incident: &Incident| at_target::waits(incident) || full_restore::instead_of(incident);
    let held = view.incident.as_ref().is_some_and(asks);
    let wanted = (view.page == Page::RecoveryPoint || (view.page == Page::Restore && held))
        && view.link == Link::Live
        && view.incident.as_ref().is_some_and(|i| i.closing.is_none());
    if !wanted {
        return Vec::new();
    }
    if view.survey.is_none() && !app.surveyed {
        app.surveyed = true;
        return send(app, Command::Survey, "reading the archive", Purpose::Survey);
    }
    if view.awaits(|p| matches!(p, Purpose::Reach(_))) {
        return Vec::new();
    }
    let next = if held && view.page == Page::Restore {
        target::next_to_prove(view)
    } else {
        past::next_to_prove(view)
    };
    match next {
        Some(target) => {
            let command = Command::CheckReach { target: target.clone() };
            send(app, command, "proving reach", Purpose::Reach(target))
        }
        _ => Vec::new(),
    }
}
