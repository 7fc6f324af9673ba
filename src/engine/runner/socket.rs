//! One client's connection and where the socket lies. Owns how lines go out and come in: facts in
//! order and complete, progress and survey lossily, and never a client that slows the runner: each
//! reads the entries at its own pace, and one that does not read at all is dropped.

use super::commands;
use super::core::{Attending, Core, encode};
use super::jobs;
use super::protocol::{Answer, Command, Message, PROTOCOL, Request};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::facts::Actor;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// The socket's name in the incident's folder.
const SOCKET: &str = "runner.sock";
/// Says where the socket is and who listens.
const ADDRESS: &str = "runner.json";
/// The kernel takes at most 107 bytes.
const LONGEST: usize = 100;
/// A request is a line of at most this many bytes.
const REQUEST_LIMIT: usize = 256 * 1024;
/// Entries that are written at once.
const BATCH: usize = 256;
/// Requests of one client that may be under way at once.
const PENDING: usize = 16;
/// Progress is for eyes: no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// Where a runner listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub pid: u32,
    pub socket: PathBuf,
    pub started: Timestamp,
    /// A folder made for the socket alone, where the incident's own path is too long.
    pub made: Option<PathBuf>,
}

impl Address {
    /// What the incident's folder says, whether anyone still listens or not.
    #[must_use]
    pub fn read(incident_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(incident_dir.join(ADDRESS)).ok()?).ok()
    }

    /// Chooses where to listen and writes it down. Only for the holder of the journal's lock: it
    /// takes away what a runner that died left behind.
    pub(super) fn claim(incident_dir: &Path) -> io::Result<Self> {
        if let Some(stale) = Self::read(incident_dir) {
            stale.clear();
        }
        let beside = incident_dir.join(SOCKET);
        let (socket, made) = if beside.as_os_str().len() <= LONGEST {
            (beside, None)
        } else {
            let folder = short_folder()?;
            (folder.join(SOCKET), Some(folder))
        };
        let address = Self { pid: std::process::id(), socket, started: Timestamp::now(), made };
        address.clear_socket();
        let json = serde_json::to_vec(&address)?;
        files::replace(&incident_dir.join(ADDRESS), &json, 0o644)?;
        Ok(address)
    }

    /// Takes the socket away, and the folder that was made for it.
    pub(super) fn clear(&self) {
        self.clear_socket();
        if let Some(made) = &self.made {
            // Fails where anything else is in it, which is right.
            let _ = fs::remove_dir(made);
        }
    }

    fn clear_socket(&self) {
        if fs::symlink_metadata(&self.socket).is_ok_and(|meta| meta.file_type().is_socket()) {
            let _ = fs::remove_file(&self.socket);
        }
    }
}

fn short_folder() -> io::Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = base.filter(|base| base.is_dir() && base.as_os_str().len() < 60);
    let base = base.unwrap_or_else(|| PathBuf::from("/tmp"));
    let folder = tempfile::Builder::new().prefix("lifeboat-").tempdir_in(base)?.keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// Speaks with one client until either side ends.
pub(super) async fn serve(
    core: Arc<Core>,
    stream: UnixStream,
    actor: Actor,
    write_limit: Duration,
) {
    let (incoming, outgoing) = stream.into_split();
    let (replies, inbox) = mpsc::channel(PENDING);
    // Whichever ends first ends the other by being dropped; jobs under way are not lost with it,
    // they run on their own threads.
    tokio::select! {
        () = listen(Arc::clone(&core), incoming, actor.clone(), replies) => {}
        _ = tell(&core, outgoing, actor, inbox, write_limit) => {}
    }
}

/// Sends hello, all entries, live, then what is new. Ends where the client is gone or stuck.
async fn tell(
    core: &Arc<Core>,
    outgoing: OwnedWriteHalf,
    actor: Actor,
    mut replies: mpsc::Receiver<Message>,
    write_limit: Duration,
) -> Result<(), Explanation> {
    let mut entries = core.entries.subscribe();
    let mut progress = core.progress.subscribe();
    let mut survey = core.survey.subscribe();
    let mut present = core.present.subscribe();
    present.mark_changed();
    progress.mark_changed();
    survey.mark_changed();
    let mut line = Line { outgoing, write_limit };
    let incident = core.lock().incident.declaration.id.clone();
    line.say(&Message::Hello {
        protocol: PROTOCOL,
        incident,
        you: actor,
        runner_pid: std::process::id(),
    })
    .await?;
    let mut told = 0;
    let mut is_live = false;
    let mut next_progress = Instant::now();
    loop {
        told = line.catch_up(core, told).await?;
        if !is_live {
            line.say(&Message::Live).await?;
            is_live = true;
        }
        let slow = async {
            sleep_until(next_progress).await;
            progress.changed().await
        };
        tokio::select! {
            changed = entries.changed() => {
                if changed.is_err() { return Ok(()); }
            }
            reply = replies.recv() => {
                let Some(reply) = reply else { return Ok(()) };
                // The entries that a command made come before its answer.
                told = line.catch_up(core, told).await?;
                line.say(&reply).await?;
            }
            changed = slow => {
                if changed.is_err() { return Ok(()); }
                let latest = progress.borrow_and_update().clone();
                line.say(&Message::Progress(latest)).await?;
                next_progress = Instant::now() + PROGRESS_EVERY;
            }
            changed = present.changed() => {
                if changed.is_err() { return Ok(()); }
                let latest = present.borrow_and_update().clone();
                line.say(&Message::Presence(latest)).await?;
            }
            changed = survey.changed() => {
                if changed.is_err() { return Ok(()); }
                let latest = survey.borrow_and_update().clone();
                if let Some(latest) = latest {
                    line.say(&Message::Survey((*latest).clone())).await?;
                }
            }
        }
    }
}

struct Line {
    outgoing: OwnedWriteHalf,
    write_limit: Duration,
}

impl Line {
    async fn catch_up(&mut self, core: &Core, mut told: usize) -> Result<usize, Explanation> {
        loop {
            let batch = core.lines(told, BATCH);
            if batch.is_empty() {
                return Ok(told);
            }
            self.write(batch.concat().as_bytes()).await?;
            told += batch.len();
        }
    }

    async fn say(&mut self, message: &Message) -> Result<(), Explanation> {
        self.write(encode(message)?.as_bytes()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Explanation> {
        let gone = |why: String| Explanation::new(Kind::Connection, why, "", "");
        timeout(self.write_limit, self.outgoing.write_all(bytes))
            .await
            .map_err(|_| gone(String::from("The client does not read.")))?
            .map_err(|error| gone(error.to_string()))
    }
}

/// Takes requests until the client hangs up or sends what is none.
async fn listen(
    core: Arc<Core>,
    incoming: OwnedReadHalf,
    actor: Actor,
    replies: mpsc::Sender<Message>,
) {
    let mut incoming = BufReader::new(incoming);
    let mut tasks = JoinSet::new();
    let pending = Arc::new(Semaphore::new(PENDING));
    let mut line = Vec::new();
    // Gone with the connection.
    let mut attending = None;
    loop {
        line.clear();
        let limit = REQUEST_LIMIT as u64 + 1;
        let read = (&mut incoming).take(limit).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|bytes| bytes > 0) {
            // The client has hung up; what it asked for is still carried out.
            tasks.detach_all();
            return;
        }
        if line.len() > REQUEST_LIMIT {
            let refusal = misunderstood(format!("A request is longer than {REQUEST_LIMIT} bytes."));
            let _ = replies.send(Message::Reply { id: 0, result: Err(refusal) }).await;
            // Where the next request begins cannot be told any more; what the client has sent
            // besides is read away, so that the answer reaches it.
            let _ = timeout(Duration::from_secs(1), drain(&mut incoming)).await;
            return;
        }
        let request: Request = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let refusal = misunderstood(format!("A request was not understood: {error}."));
                let reply = Message::Reply { id: id_of(&line), result: Err(refusal) };
                if replies.send(reply).await.is_err() {
                    return;
                }
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let id = request.id;
        if request.command == Command::Attend {
            attending.get_or_insert_with(|| Attending::new(&core, &actor));
            let reply = Message::Reply { id, result: Ok(Answer::Done) };
            if replies.send(reply).await.is_err() {
                return;
            }
            continue;
        }
        if !jobs::is_job(&request.command) || !actor.role.covers(request.command.role()) {
            // One after another, in the order in which they were asked.
            let result = commands::answer(Arc::clone(&core), actor.clone(), request.command).await;
            if replies.send(Message::Reply { id, result }).await.is_err() {
                return;
            }
            continue;
        }
        let Ok(permit) = Arc::clone(&pending).try_acquire_owned() else {
            let result = Err(Explanation::new(
                Kind::Busy,
                format!("{PENDING} of your requests are under way already."),
                "Nothing was changed.",
                "Wait for an answer, then ask again.",
            ));
            if replies.send(Message::Reply { id, result }).await.is_err() {
                return;
            }
            continue;
        };
        let (core, actor, replies) = (Arc::clone(&core), actor.clone(), replies.clone());
        tasks.spawn(async move {
            let _permit = permit;
            let result = commands::answer(core, actor, request.command).await;
            let _ = replies.send(Message::Reply { id, result }).await;
        });
    }
}

async fn drain(incoming: &mut BufReader<OwnedReadHalf>) {
    let mut rest = vec![0; 64 * 1024];
    while incoming.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
}

/// The number of a request that cannot be understood as a whole, so that its asker hears of it.
fn id_of(line: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(line)
        .ok()
        .and_then(|value| value.get("id")?.as_u64())
        .unwrap_or(0)
}

fn misunderstood(what: String) -> Explanation {
    Explanation::new(
        Kind::Config,
        what,
        "Nothing was changed.",
        "Use the same version of Lifeboat on both sides.",
    )
}
