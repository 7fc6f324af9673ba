//! Runs the terminal UI: keys, clock, link and signals come in through one queue, effects go out.
//! Owns the loop and its threads; decides nothing: that is `update`'s.

use super::keys;
use super::link::{Dialer, Incoming, Wire};
use super::model::{App, Effect, Event};
use super::signing;
use super::terminal::Screen;
use super::update::update;
use crate::engine::explain::Explanation;
use crate::engine::runner::protocol::Command;
use crate::engine::signer::Signer;
use crate::screens;
use crossterm::event as term;
use jiff::Timestamp;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the input thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long the input thread has to end: it looks every [`LOOK`].
const LAST_KEY: Duration = Duration::from_millis(500);
/// Events that are taken in before a frame is drawn all the same.
const BATCH: usize = 256;
const SECOND: Duration = Duration::from_secs(1);

/// Why the terminal UI ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The operator left.
    Left,
    /// A signal asked for it: SIGTERM, SIGHUP or SIGINT.
    Signal,
    /// The terminal is gone.
    TerminalGone,
    /// The operator ends the drill.
    Aborted,
}

/// What arrives in the queue.
enum Inner {
    Event(Event),
    /// A link is made; messages of it may have come before.
    Wire {
        generation: u64,
        wire: Box<dyn Wire>,
    },
    End(Ending),
}

/// Runs until the operator leaves, a signal comes or the terminal goes.
///
/// # Errors
/// Where the terminal cannot be written.
pub fn run(
    screen: &mut Screen,
    app: &mut App,
    dialer: &Arc<dyn Dialer>,
    signer: Signer,
    first: Vec<Effect>,
    signals: &tokio::runtime::Handle,
) -> io::Result<Ending> {
    let (queue, inbox) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (keys, ends) = (queue.clone(), queue.clone());
    let input = read_input(Arc::clone(&stop), move |event| {
        keys.send(event.map_or(Inner::End(Ending::TerminalGone), Inner::Event)).is_ok()
    });
    let watch = signals.spawn(async move {
        until_signal().await;
        let _ = ends.send(Inner::End(Ending::Signal));
    });
    let (dialer, signer) = (Arc::clone(dialer), Arc::new(signer));
    let mut outside = Outside { queue, dialer, signer, wire: None, unsent: Vec::new() };
    let ended = outside.turn(screen, app, first, &inbox);
    stop.store(true, Ordering::SeqCst);
    watch.abort();
    // A terminal that hung up is never done with being read: its reader ends with the process.
    let begun = Instant::now();
    while !input.is_finished() && begun.elapsed() < LAST_KEY {
        std::thread::park_timeout(LOOK / 10);
    }
    ended
}

/// What effects act on.
struct Outside {
    queue: Sender<Inner>,
    dialer: Arc<dyn Dialer>,
    signer: Arc<Signer>,
    wire: Option<(u64, Box<dyn Wire>)>,
    /// Sent before the link was handed over.
    unsent: Vec<(u64, Command)>,
}

impl Outside {
    fn turn(
        &mut self,
        screen: &mut Screen,
        app: &mut App,
        first: Vec<Effect>,
        inbox: &Receiver<Inner>,
    ) -> io::Result<Ending> {
        // The first frame comes before anything is asked for.
        app.view.size = screen.size()?;
        draw(screen, app)?;
        if let Some(ending) = self.perform(screen, first)? {
            return Ok(ending);
        }
        let mut ticked = Instant::now();
        loop {
            let wait = SECOND.saturating_sub(ticked.elapsed());
            let mut next = match inbox.recv_timeout(wait) {
                Ok(inner) => Some(inner),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(Ending::TerminalGone),
            };
            let mut taken = 0;
            while let Some(inner) = next {
                if let Some(ending) = self.take(screen, app, inner)? {
                    return Ok(ending);
                }
                taken += 1;
                next = if taken < BATCH { inbox.try_recv().ok() } else { None };
            }
            if ticked.elapsed() >= SECOND {
                ticked = Instant::now();
                let mut effects = update(app, Event::Tick(Timestamp::now()));
                if app.view.briefing.is_some() {
                    effects.extend(update(app, Event::Attended(self.dialer.attended())));
                }
                if let Some(ending) = self.perform(screen, effects)? {
                    return Ok(ending);
                }
            }
            draw(screen, app)?;
        }
    }

    fn take(
        &mut self,
        screen: &mut Screen,
        app: &mut App,
        inner: Inner,
    ) -> io::Result<Option<Ending>> {
        match inner {
            Inner::End(ending) => return Ok(Some(ending)),
            Inner::Wire { generation, wire } => {
                // One that came too late is dropped, which detaches it.
                if generation == app.generation {
                    for (id, command) in self.unsent.drain(..) {
                        wire.send(id, command);
                    }
                    self.wire = Some((generation, wire));
                }
            }
            Inner::Event(event) => {
                let effects = update(app, event);
                return self.perform(screen, effects);
            }
        }
        Ok(None)
    }

    /// Performs effects; how it ends, where the operator leaves.
    fn perform(&mut self, screen: &mut Screen, effects: Vec<Effect>) -> io::Result<Option<Ending>> {
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(Some(Ending::Left)),
                Effect::AbortDrill => return Ok(Some(Ending::Aborted)),
                Effect::Redraw => screen.clear()?,
                Effect::Detach => {
                    self.wire = None;
                    self.unsent.clear();
                }
                Effect::Send { id, command } => match &self.wire {
                    Some((_, wire)) => wire.send(id, command),
                    None => self.unsent.push((id, command)),
                },
                Effect::Sign { id, generation, command, namespace, lines, user } => {
                    let signer = Arc::clone(&self.signer);
                    self.spawn(move |_, queue| {
                        let made = signing::made(&signer, namespace, &lines, &user, command);
                        let (command, unsigned) = made;
                        let event = Event::Signed { id, generation, command, unsigned };
                        let _ = queue.send(Inner::Event(event));
                    });
                }
                Effect::Gather { item, from } => self.spawn(move |_, queue| {
                    let gathered = signing::gathered(&from);
                    let _ = queue.send(Inner::Event(Event::Evidence { item, gathered }));
                }),
                Effect::List => {
                    self.spawn(|dialer, queue| {
                        let _ = queue.send(Inner::Event(Event::Listed(dialer.list())));
                    });
                }
                Effect::Declare { cluster, title } => self.spawn(move |dialer, queue| {
                    let declared = dialer.declare(&cluster, &title);
                    let _ = queue.send(Inner::Event(Event::Declared(declared)));
                }),
                Effect::Attach { incident, generation } => {
                    self.wire = None;
                    self.unsent.clear();
                    self.spawn(move |dialer, queue| attach(dialer, queue, &incident, generation));
                }
            }
        }
        Ok(None)
    }

    fn spawn(&self, work: impl FnOnce(&dyn Dialer, &Sender<Inner>) + Send + 'static) {
        let (dialer, queue) = (Arc::clone(&self.dialer), self.queue.clone());
        std::thread::spawn(move || work(dialer.as_ref(), &queue));
    }
}

fn attach(dialer: &dyn Dialer, queue: &Sender<Inner>, incident: &str, generation: u64) {
    let out = queue.clone();
    let inbox = Box::new(move |incoming: Incoming| {
        let _ = out.send(Inner::Event(Event::Link { generation, incoming }));
    });
    let made = dialer.attach(incident, inbox);
    let _ = queue.send(match made {
        Ok(wire) => Inner::Wire { generation, wire },
        Err(explanation) => failed(generation, explanation),
    });
}

fn failed(generation: u64, explanation: Explanation) -> Inner {
    Inner::Event(Event::AttachFailed { generation, explanation })
}

fn draw(screen: &mut Screen, app: &App) -> io::Result<()> {
    screen.draw(|frame| {
        let area = frame.area();
        screens::draw(&app.view, area, frame.buffer_mut());
    })
}

/// Reads the terminal until `stop` is set or `take` says no; `None` where the terminal is gone.
pub(super) fn read_input(
    stop: Arc<AtomicBool>,
    take: impl Fn(Option<Event>) -> bool + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            let read = match term::poll(LOOK) {
                Ok(false) => continue,
                Ok(true) => term::read(),
                Err(error) => Err(error),
            };
            let event = match read {
                Ok(term::Event::Key(key)) => keys::key(key).map(Event::Key),
                Ok(term::Event::Paste(text)) => Some(Event::Paste(text)),
                Ok(term::Event::Resize(columns, rows)) => Some(Event::Resize(columns, rows)),
                Ok(_) => None,
                Err(_) => {
                    take(None);
                    return;
                }
            };
            if event.is_some() && !take(event) {
                return;
            }
        }
    })
}

/// Ends when a signal asks this process to; never where signals cannot be listened to.
pub(super) async fn until_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = interrupt.recv() => {}
    }
}
