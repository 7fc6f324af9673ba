//! The game master's window: keys become orders to the director, and what the director shows is
//! drawn. Owns the loop and what a key does; the orders' fate is `engine::drill::floor`'s. It reads
//! the participants' journal and never speaks with their runner.

use super::model::Event;
use super::runtime::{read_input, until_signal};
use super::terminal::{self, Screen};
use crate::engine::drill::director::newest_incident;
use crate::engine::drill::master::{Answered, Desk, LONGEST, Order, Stage, Wants};
use crate::engine::drill::place;
use crate::engine::incident::{Incident, journal};
use crate::engine::runbook::Runbook;
use crate::screens::commands::{self, Id, Key};
use crate::screens::layers::{Confirm, Intent, Layer, LineInput, LinePurpose, Reader};
use crate::screens::master::{self as face, MasterView};
use crate::screens::view::{Briefing, Notice, Targets, View};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tui_input::{Input, InputRequest};

/// How often the drill is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Seconds for which a short message stays.
const NOTICE_SECONDS: i64 = 6;

/// How the window ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The game master left; the drill goes on.
    Left,
    /// The drill is over; what was last seen of it.
    Over(Box<Stage>),
}

/// What a key comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    Nothing,
    Give(Wants),
    Redraw,
    Leave,
}

/// The window on a drill at its beginning.
#[must_use]
pub fn view(stage: Stage, base: View) -> MasterView {
    let targets = Targets {
        rpo_seconds: stage.rpo_seconds.map(|seconds| seconds as u64),
        rto_seconds: stage.rto_seconds as u64,
    };
    let briefing = Briefing {
        title: stage.title.clone(),
        story: Vec::new(),
        objective: String::new(),
        hints: stage.hints.clone(),
        targets,
        origin: None,
    };
    MasterView { view: View { briefing: Some(briefing), ..base }, stage, selected: 0 }
}

/// Takes a key in.
pub fn key(master: &mut MasterView, key: Key) -> Deed {
    master.view.notice = None;
    let Some(command) = commands::find(face::context(master), key) else {
        type_into(master, key);
        return Deed::Nothing;
    };
    match command.id {
        Id::Interrupt => return Deed::Leave,
        Id::Redraw => return Deed::Redraw,
        Id::AbortDrill => {
            abort(master);
            return Deed::Nothing;
        }
        _ => {}
    }
    if !master.view.layers.is_empty() {
        return on_layer(master, command.id);
    }
    if !master.available(command.id) {
        let why = master.why_not(command.id);
        notice(master, why, true);
        return Deed::Nothing;
    }
    on_window(master, command.id)
}

fn on_window(master: &mut MasterView, id: Id) -> Deed {
    let last = master.stage.cues.len().saturating_sub(1);
    match id {
        Id::Up => master.selected = master.selected.min(last).saturating_sub(1),
        Id::Down => master.selected = (master.selected + 1).min(last),
        Id::First | Id::PageUp => master.selected = 0,
        Id::Last | Id::PageDown => master.selected = last,
        Id::Help => {
            let help = face::help(master);
            master.view.layers.push(Layer::Reader(Reader::text("Game master", help)));
        }
        Id::Quit => return Deed::Leave,
        Id::ReleaseInject => release(master),
        Id::UndoInject => undo(master),
        Id::GiveHint => hint(master),
        Id::Observe => line(
            master,
            LinePurpose::Observe,
            "What do you see?",
            "It is noted with the time and stands in the drill's record. The participants see it when the drill is over.",
            "For example: nobody asked who holds the key",
        ),
        Id::TellThem => line(
            master,
            LinePurpose::Say,
            "Tell the participants",
            "It appears in their journal at once, as somebody who calls them. Say who it is.",
            "For example: The support desk: customers can order again",
        ),
        _ => {}
    }
    Deed::Nothing
}

fn release(master: &mut MasterView) {
    let Some(cue) = master.cue() else { return };
    let inject = cue.inject.name.clone();
    let body = vec![
        format!("{}.", cue.inject.title),
        cue.inject.what.clone(),
        String::from("It cannot be taken back; the participants are told nothing."),
    ];
    let title = format!("Release {inject}?");
    confirm(master, &title, body, ("release it", "not yet"), Wants::Release { inject });
}

fn undo(master: &mut MasterView) {
    let Some(cue) = master.cue() else { return };
    let inject = cue.inject.name.clone();
    let told = cue.inject.relief.clone().unwrap_or_default();
    let body = vec![format!("The participants are told: \"{told}\"")];
    let title = format!("Undo {inject}?");
    confirm(master, &title, body, ("undo it", "not yet"), Wants::Cure { inject });
}

fn hint(master: &mut MasterView) {
    let Some(hint) = master.next_hint() else { return };
    let for_what = hint.at.map_or_else(String::new, |at| format!("{}: ", at.title()));
    let body = vec![
        format!("{for_what}{}", hint.text),
        String::from(
            "It opens on their screens, stands in their journal, and is counted in the score.",
        ),
    ];
    confirm(master, "Give this hint?", body, ("give it", "not yet"), Wants::Hint);
}

fn abort(master: &mut MasterView) {
    let asked = |layer: &Layer| matches!(layer, Layer::Confirm(confirm) if confirm.intent == Intent::Give(Wants::Abort));
    if master.view.layers.last().is_some_and(asked) {
        return;
    }
    let body = vec![
        String::from("The participants' screens close, and the sandbox goes away with all in it."),
        String::from(
            "An aborted drill is not scored. What you observed is printed here, and kept in the record.",
        ),
    ];
    confirm(master, "Abort the drill?", body, ("abort it", "go on"), Wants::Abort);
}

fn confirm(
    master: &mut MasterView,
    title: &str,
    body: Vec<String>,
    (yes, no): (&str, &str),
    wants: Wants,
) {
    master.view.layers.push(Layer::Confirm(Confirm {
        title: title.to_owned(),
        body,
        yes: yes.to_owned(),
        no: no.to_owned(),
        intent: Intent::Give(wants),
    }));
}

fn line(master: &mut MasterView, purpose: LinePurpose, title: &str, prompt: &str, hint: &str) {
    master.view.layers.push(Layer::Line(LineInput {
        title: title.to_owned(),
        prompt: prompt.to_owned(),
        hint: hint.to_owned(),
        input: Input::default(),
        purpose,
        error: None,
    }));
}

fn on_layer(master: &mut MasterView, id: Id) -> Deed {
    match id {
        Id::LayerClose | Id::No => {
            master.view.layers.pop();
        }
        Id::Yes => {
            if let Some(Layer::Confirm(confirm)) = master.view.layers.pop()
                && let Intent::Give(wants) = confirm.intent
            {
                return Deed::Give(wants);
            }
        }
        Id::Accept => return accept(master),
        id => scroll(master, id),
    }
    Deed::Nothing
}

fn accept(master: &mut MasterView) -> Deed {
    let Some(Layer::Line(line)) = master.view.layers.last_mut() else { return Deed::Nothing };
    let text = line.input.value().trim().to_owned();
    if text.is_empty() {
        line.error = Some(String::from("Write something, or leave with Esc."));
        return Deed::Nothing;
    }
    let wants = match line.purpose {
        LinePurpose::Say => Wants::Say { text },
        _ => Wants::Observe { text },
    };
    master.view.layers.pop();
    Deed::Give(wants)
}

fn scroll(master: &mut MasterView, id: Id) {
    let Some(Layer::Reader(reader)) = master.view.layers.last() else { return };
    let last = crate::screens::dialogs::reader_length(&master.view, reader).saturating_sub(1);
    let Some(Layer::Reader(reader)) = master.view.layers.last_mut() else { return };
    reader.scroll = match id {
        Id::LayerUp => reader.scroll.saturating_sub(1),
        Id::LayerDown => (reader.scroll + 1).min(last),
        Id::LayerPageUp => reader.scroll.saturating_sub(10),
        Id::LayerPageDown => (reader.scroll + 10).min(last),
        Id::LayerFirst => 0,
        _ => last,
    };
}

fn type_into(master: &mut MasterView, key: Key) {
    let Some(Layer::Line(line)) = master.view.layers.last_mut() else { return };
    let full = line.input.value().chars().count() >= LONGEST;
    let Some(request) = super::update::typed(key) else { return };
    if full && matches!(request, InputRequest::InsertChar(_)) {
        return;
    }
    line.input.handle(request);
    line.error = None;
}

/// Text from the clipboard goes into a text field or nowhere.
pub fn paste(master: &mut MasterView, text: &str) {
    for c in text.trim().chars().filter(|c| !c.is_control()).take(LONGEST) {
        type_into(master, Key::Char(c));
    }
}

fn notice(master: &mut MasterView, text: String, bad: bool) {
    let until = master.view.now.checked_add(SignedDuration::from_secs(NOTICE_SECONDS));
    master.view.notice = until.ok().map(|until| Notice { text, bad, until });
}

/// Shows the drill as it stands now; tells what became of what was asked.
pub fn show(master: &mut MasterView, stage: Stage, mine: &mut Vec<String>) {
    let answered: Vec<Answered> =
        stage.answers.iter().filter(|one| mine.contains(&one.order)).cloned().collect();
    for one in answered {
        mine.retain(|name| *name != one.order);
        match one.refused {
            Some(why) => notice(master, why, true),
            None => notice(master, String::from("Done."), false),
        }
    }
    master.stage = stage;
}

/// Runs the window on the drill at `root` until the game master leaves or the drill is over.
///
/// # Errors
/// Where there is no terminal, or it goes while it is drawn to.
pub fn run(
    root: &Path,
    by: &str,
    stage: Stage,
    signals: &tokio::runtime::Handle,
) -> io::Result<Ending> {
    let runbook = Runbook::load(None).map_err(io::Error::other)?;
    let theme = terminal::theme(|name| std::env::var(name).ok());
    let base = View::new(Timestamp::now(), TimeZone::system(), theme, runbook);
    let mut window = Window {
        desk: Desk::of(root),
        by: by.to_owned(),
        master: view(stage, base),
        mine: Vec::new(),
        entries: 0,
    };
    let mut screen = Screen::take()?;
    // Where it cannot be said, the window serves all the same.
    let _there = window.desk.come_in();
    let (queue, inbox) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let ends = queue.clone();
    // Its end is not waited for: it ends with this process, or at its next look.
    let _input = read_input(Arc::clone(&stop), move |event| queue.send(event).is_ok());
    let watch = signals.spawn(async move {
        until_signal().await;
        let _ = ends.send(None);
    });
    let ended = window.turn(&mut screen, root, &inbox);
    stop.store(true, Ordering::SeqCst);
    watch.abort();
    ended
}

struct Window {
    desk: Desk,
    by: String,
    master: MasterView,
    /// Orders that were not answered yet.
    mine: Vec<String>,
    /// Entries of the journal that were read.
    entries: usize,
}

impl Window {
    fn turn(
        &mut self,
        screen: &mut Screen,
        root: &Path,
        inbox: &Receiver<Option<Event>>,
    ) -> io::Result<Ending> {
        self.master.view.size = screen.size()?;
        let mut looked = None;
        loop {
            if looked.is_none_or(|at: Instant| at.elapsed() >= LOOK) {
                self.refresh(root);
                looked = Some(Instant::now());
            }
            let master = &self.master;
            screen.draw(|frame| {
                let area = frame.area();
                face::draw(master, area, frame.buffer_mut());
            })?;
            match inbox.recv_timeout(LOOK) {
                Ok(Some(event)) => {
                    // All that came meanwhile, and then one frame.
                    let mut next = Some(Some(event));
                    while let Some(came) = next {
                        // None: the terminal is gone, or a signal came.
                        let Some(event) = came else { return Ok(Ending::Left) };
                        if self.take(screen, event)? {
                            return Ok(Ending::Left);
                        }
                        next = inbox.try_recv().ok();
                    }
                }
                // The drill goes on.
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Left),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if place::holder_of(root).is_none() {
                return Ok(Ending::Over(Box::new(self.master.stage.clone())));
            }
        }
    }

    /// Takes an event in; true where the game master leaves.
    fn take(&mut self, screen: &mut Screen, event: Event) -> io::Result<bool> {
        match event {
            Event::Key(pressed) => match key(&mut self.master, pressed) {
                Deed::Leave => return Ok(true),
                Deed::Redraw => screen.clear()?,
                Deed::Give(wants) => match self.desk.order(&Order { by: self.by.clone(), wants }) {
                    Ok(name) => self.mine.push(name),
                    Err(error) => notice(&mut self.master, error.to_string(), true),
                },
                Deed::Nothing => {}
            },
            Event::Paste(text) => paste(&mut self.master, &text),
            Event::Resize(columns, rows) => self.master.view.size = (columns, rows),
            _ => {}
        }
        Ok(false)
    }

    fn refresh(&mut self, root: &Path) {
        let now = Timestamp::now();
        self.master.view.now = now;
        if let Some(stage) = self.desk.look() {
            show(&mut self.master, stage, &mut self.mine);
        }
        let Some(folder) = newest_incident(root) else { return };
        let Ok(reading) = journal::read(&folder) else { return };
        let same = self.master.view.incident.as_ref().is_some_and(|incident| {
            folder.file_name().is_some_and(|name| *name == *incident.declaration.id)
        });
        if same && reading.entries.len() == self.entries {
            return;
        }
        if let Ok(incident) = Incident::replay(&reading.entries) {
            self.entries = reading.entries.len();
            self.master.view.incident = Some(incident);
        }
    }
}
