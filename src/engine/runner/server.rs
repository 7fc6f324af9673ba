//! The runner process: takes the incident's journal, listens, and lives until nothing needs it.
//! Owns the order of its start and its end. Never runs a step by itself, and never goes on when
//! the journal cannot be written.

use super::approval::Rules;
use super::core::Core;
use super::executor;
use super::failpoint;
use super::ladder;
use super::peer;
use super::socket::{self, Address};
use super::work::Work;
use crate::engine::config::Operator;
use crate::engine::config::approval::{Approval, Signatures};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::event::Declaration;
use crate::engine::incident::facts::Topic;
use crate::engine::incident::journal::{Journal, JournalError, Opened, Torn};
use crate::engine::incident::model::FoldError;
use crate::engine::incident::store::{self, StoreError};
use crate::engine::incident::{Entry, Event, Incident};
use jiff::Timestamp;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Connections at once; more are turned away.
const CLIENTS: usize = 64;
/// How long an ending runner waits for jobs that only read.
const LAST_JOBS: Duration = Duration::from_secs(2);

/// Where the runner's time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a runner needs to know.
pub struct RunnerOptions {
    pub incident_dir: PathBuf,
    /// From the configuration; see [`peer::role`].
    pub operators: Vec<Operator>,
    /// Which plans need a second person.
    pub approval: Approval,
    /// Whose SSH keys are known.
    pub signatures: Signatures,
    /// For an incident without a journal; without it, the folder's `declaration.json` serves.
    pub declaration: Option<Declaration>,
    pub work: Arc<dyn Work>,
    /// Ends after this long without a client and without work; `None` is never.
    pub idle_exit: Option<Duration>,
    /// A client that takes nothing for this long is dropped.
    pub write_limit: Duration,
    /// What it calls now: the system's clock, but in tests.
    pub clock: Clock,
    /// How often the ladder and the checklist are looked at.
    pub tick: Duration,
    /// SIGHUP is ignored; SIGTERM and SIGINT end the runner at the next safe point.
    pub signals: bool,
    /// Told the socket's path once it listens.
    pub ready: Option<oneshot::Sender<PathBuf>>,
    /// Ends the runner as SIGTERM does, when sent or dropped.
    pub stop: Option<oneshot::Receiver<()>>,
}

impl RunnerOptions {
    /// As the program itself uses it: signals on, ten minutes of patience.
    #[must_use]
    pub fn new(incident_dir: PathBuf, work: Arc<dyn Work>) -> Self {
        Self {
            incident_dir,
            operators: Vec::new(),
            approval: Approval::default(),
            signatures: Signatures::default(),
            declaration: None,
            work,
            idle_exit: Some(Duration::from_secs(600)),
            write_limit: Duration::from_secs(30),
            clock: Arc::new(Timestamp::now),
            tick: Duration::from_secs(1),
            signals: true,
            ready: None,
            stop: None,
        }
    }
}

impl std::fmt::Debug for RunnerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerOptions")
            .field("incident_dir", &self.incident_dir)
            .finish_non_exhaustive()
    }
}

/// Why the runner ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Nobody was attached and nothing ran.
    Idle,
    /// It was told to.
    Stopped,
}

/// Why a runner cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", folder.display())]
    Fold { folder: PathBuf, source: FoldError },
    #[error("the declaration is for {declared}, the folder is {}", folder.display())]
    OtherIncident { declared: String, folder: PathBuf },
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{0}")]
    Refused(Explanation),
}

impl Explain for RunnerError {
    fn explanation(&self) -> Explanation {
        let kind = match self {
            Self::Journal(error) => return error.explanation(),
            Self::Store(error) => return error.explanation(),
            Self::Refused(explanation) => return explanation.clone(),
            Self::Fold { .. } => Kind::Integrity,
            Self::OtherIncident { .. } => Kind::Config,
            Self::Io { .. } => Kind::Storage,
        };
        Explanation::new(
            kind,
            format!("{self}."),
            "Everything that is in the journal is kept.",
            "Look at the incident's folder, then open the incident again.",
        )
    }
}

/// Owns the incident until nothing needs it.
///
/// # Errors
/// [`JournalError::Busy`] where another runner has it; anything that keeps the journal from being
/// read or written.
pub async fn run(mut options: RunnerOptions) -> Result<Exit, RunnerError> {
    let folder = options.incident_dir.clone();
    let Opened { journal, entries, torn } = Journal::open(&folder)?;
    let core = Arc::new(take_over(&mut options, journal, entries, torn)?);
    let result = live(&core, &mut options).await;
    core.close();
    result
}

/// Folds what is there, declares where nothing is, and journals that a runner is here.
fn take_over(
    options: &mut RunnerOptions,
    mut journal: Journal,
    mut entries: Vec<Entry>,
    torn: Option<Torn>,
) -> Result<Core, RunnerError> {
    let folder = &options.incident_dir;
    let resumed = !entries.is_empty();
    let (declaration, declared_by) = match (entries.first(), options.declaration.take()) {
        (Some(Entry { event: Event::IncidentDeclared(declaration), .. }), _) => {
            (declaration.clone(), None)
        }
        (Some(other), _) => {
            let source = FoldError::NoDeclaration(other.seq);
            return Err(RunnerError::Fold { folder: folder.clone(), source });
        }
        (None, Some(declaration)) => (declaration, None),
        (None, None) => store::declaration(folder)?,
    };
    failpoint::arm(declaration.drill.is_some()).map_err(RunnerError::Refused)?;
    let me = peer::runner();
    if !resumed {
        let name = folder.file_name().and_then(|name| name.to_str());
        if name != Some(&declaration.id) {
            let declared = declaration.id;
            return Err(RunnerError::OtherIncident { declared, folder: folder.clone() });
        }
        let uid = declared_by.unwrap_or(me.uid);
        let actor = peer::actor(uid, &options.operators);
        let event = Event::IncidentDeclared(declaration);
        entries.push(journal.append((options.clock)(), &actor, event)?);
    }
    let started = Event::RunnerStarted {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        resumed,
    };
    entries.push(journal.append((options.clock)(), &me, started)?);
    if let Some(Torn { bytes, kept: Some(kept) }) = torn {
        let name = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!(
            "The journal's last line was cut short by a crash; its {bytes} bytes are kept in \
             {name}. Nobody had been told of it."
        );
        let event = Event::NoteAdded { topic: Topic::Note, text };
        entries.push(journal.append((options.clock)(), &me, event)?);
    }
    let incident = Incident::replay(&entries)
        .map_err(|source| RunnerError::Fold { folder: folder.clone(), source })?;
    let runtime = tokio::runtime::Handle::current();
    let (policy, operators) = (options.approval.clone(), options.operators.clone());
    let rules = Rules { policy, signatures: options.signatures.clone(), operators };
    let (work, clock) = (Arc::clone(&options.work), Arc::clone(&options.clock));
    Core::new(journal, incident, &entries, work, rules, runtime, clock)
        .map_err(RunnerError::Refused)
}

async fn live(core: &Arc<Core>, options: &mut RunnerOptions) -> Result<Exit, RunnerError> {
    let folder = &options.incident_dir;
    // Handlers before the socket: whoever finds it may rely on them.
    let signals = if options.signals { Some(Signals::new(folder)?) } else { None };
    let address = Address::claim(folder).map_err(|source| RunnerError::Io {
        doing: "prepare",
        path: folder.clone(),
        source,
    })?;
    let listener = open(&address, folder, &options.operators).map_err(|source| {
        RunnerError::Io { doing: "listen on", path: address.socket.clone(), source }
    })?;
    executor::launch_look(core, &mut core.lock());
    if let Some(ready) = options.ready.take() {
        let _ = ready.send(address.socket.clone());
    }
    let mut fatal = core.fatal.subscribe();
    let mut connections = JoinSet::new();
    let clients = watch::Sender::new(0_usize);
    let stop = told_to_end(signals, options.stop.take());
    let idle = idle(core, &clients, options.idle_exit);
    let ladder = ladder::watch(Arc::clone(core), options.tick);
    tokio::pin!(stop, idle, ladder);
    let exit = loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of file descriptors, mostly: others may free some.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                if connections.len() < CLIENTS {
                    let guest = Guest::new(&clients);
                    let operators = options.operators.clone();
                    let core = Arc::clone(core);
                    let limit = options.write_limit;
                    connections.spawn(async move {
                        let _guest = guest;
                        attend(core, stream, operators, limit).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
            () = failed(&mut fatal) => break None,
            () = &mut stop => break Some(Exit::Stopped),
            () = &mut idle => break Some(Exit::Idle),
            () = &mut ladder => {}
        }
    };
    drop(listener);
    core.stopping.store(true, Ordering::Release);
    wind_down(core).await;
    connections.shutdown().await;
    address.clear();
    store::unshare(folder);
    let failure = core.fatal.borrow().clone();
    match (exit, failure) {
        (Some(exit), None) => Ok(exit),
        (_, Some(explanation)) => Err(RunnerError::Refused(explanation)),
        (None, None) => Ok(Exit::Stopped),
    }
}

/// A running step ends at its safe point or by itself, however long that takes: half a step is
/// worse than a late end. Jobs only read, so they get a few seconds.
async fn wind_down(core: &Arc<Core>) {
    let mut busy = core.busy.subscribe();
    while is_executing(core) {
        if busy.changed().await.is_err() {
            break;
        }
    }
    let _ = timeout(LAST_JOBS, busy.wait_for(|count| *count == 0)).await;
}

async fn failed(fatal: &mut watch::Receiver<Option<Explanation>>) {
    let _ = fatal.wait_for(Option::is_some).await;
}

fn is_executing(core: &Core) -> bool {
    core.lock().executing
}

async fn attend(
    core: Arc<Core>,
    stream: UnixStream,
    operators: Vec<Operator>,
    write_limit: Duration,
) {
    let Ok(peer) = stream.peer_cred() else { return };
    let uid = peer.uid();
    let Ok(actor) = tokio::task::spawn_blocking(move || peer::actor(uid, &operators)).await else {
        return;
    };
    socket::serve(core, stream, actor, write_limit).await;
}

/// Others can reach the socket only where the configuration names them; the folder then lets
/// them through without letting them read it.
fn open(address: &Address, folder: &Path, operators: &[Operator]) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(&address.socket)?;
    let own = peer::actor(nix::unistd::geteuid().as_raw(), &[]).user;
    let shared = operators.iter().any(|operator| operator.user != own);
    let (folder_mode, socket_mode) = if shared { (0o711, 0o666) } else { (0o700, 0o600) };
    fs::set_permissions(&address.socket, fs::Permissions::from_mode(socket_mode))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(folder_mode))?;
    if shared {
        // A recovery does not wait for it: whoever is told the incident's number gets in anyway.
        let _ = store::share(folder);
    }
    Ok(listener)
}

struct Signals {
    hangup: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new(folder: &Path) -> Result<Self, RunnerError> {
        let take = |kind| {
            signal(kind).map_err(|source| RunnerError::Io {
                doing: "take signals for",
                path: folder.to_owned(),
                source,
            })
        };
        Ok(Self {
            hangup: take(SignalKind::hangup())?,
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }
}

async fn told_to_end(signals: Option<Signals>, stop: Option<oneshot::Receiver<()>>) {
    let by_signal = async {
        let Some(mut signals) = signals else { return std::future::pending().await };
        loop {
            tokio::select! {
                // A terminal that closes is no reason to end.
                _ = signals.hangup.recv() => {}
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
            }
        }
    };
    let by_handle = async {
        match stop {
            Some(stop) => drop(stop.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = by_signal => {}
        () = by_handle => {}
    }
}

/// Ends once nobody was attached and nothing ran for `patience`.
async fn idle(core: &Arc<Core>, clients: &watch::Sender<usize>, patience: Option<Duration>) {
    let Some(patience) = patience else { return std::future::pending().await };
    let (mut clients, mut busy) = (clients.subscribe(), core.busy.subscribe());
    loop {
        let is_idle = *clients.borrow_and_update() == 0 && *busy.borrow_and_update() == 0;
        let until = Instant::now() + patience;
        tokio::select! {
            _ = clients.changed() => {}
            _ = busy.changed() => {}
            () = tokio::time::sleep_until(until), if is_idle => {
                if !core.stays() {
                    return;
                }
            }
        }
    }
}

struct Guest(watch::Sender<usize>);

impl Guest {
    fn new(clients: &watch::Sender<usize>) -> Self {
        clients.send_modify(|count| *count += 1);
        Self(clients.clone())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
