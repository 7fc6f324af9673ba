//! The front ends' side of the socket. Owns a folded copy of the incident and the answers that
//! are awaited. Never acts on the incident but by asking the runner, and never reconnects by
//! itself: what a lost link means is the caller's to say.
//!
//! One task reads all the time and keeps facts in a list, lossy news as the latest, answers by
//! number: so neither a burst of messages nor a caller that does not look can block an answer.

use super::protocol::{Answer, Command, Message, PROTOCOL, Present, Progress, Request};
use super::view::{Hello, Seen, View, lost, read, write};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Actor, Survey};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A runner that listens says hello at once.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// How the link to the runner stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Entries of the past still arrive.
    CatchingUp,
    Live,
    /// For good: connect again.
    Lost {
        reason: String,
    },
}

/// Why no link came about.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("could not connect to the runner at {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the runner at {} did not say hello: {why}", path.display())]
    NoHello { path: PathBuf, why: String },
    #[error("the runner speaks version {theirs} of the protocol, this program version {PROTOCOL}")]
    Version { theirs: u32 },
}

impl Explain for ClientError {
    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Version { .. } => "Use the program that started the runner.",
            _ => "Open the incident again: that starts a runner where none is left.",
        };
        let untouched = "A recovery that runs goes on without a screen.";
        Explanation::new(Kind::Connection, format!("{self}."), untouched, next)
    }
}

/// A link to one incident's runner. Clones share it; it ends with the last one.
#[derive(Debug, Clone)]
pub struct Client {
    link: Arc<Link>,
}

#[derive(Debug)]
struct Link {
    view: Arc<View>,
    outgoing: mpsc::UnboundedSender<String>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Answer, Explanation>>);

impl Pending {
    /// # Errors
    /// The runner's refusal, or that the link was lost before an answer came.
    pub async fn answer(self) -> Result<Answer, Explanation> {
        self.0.await.unwrap_or_else(|_| Err(lost("The link ended.")))
    }

    /// Waits on this thread; not for use inside the runtime.
    ///
    /// # Errors
    /// As [`Pending::answer`].
    pub fn answer_blocking(self) -> Result<Answer, Explanation> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(lost("The link ended.")))
    }

    /// The answer, where it is there already.
    pub fn try_answer(&mut self) -> Option<Result<Answer, Explanation>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(lost("The link ended."))),
        }
    }
}

impl Client {
    /// Connects and waits for the runner's hello; the entries arrive after that.
    ///
    /// # Errors
    /// Where nobody listens, or it is not a runner of this version.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|source| ClientError::Connect { path: socket.to_owned(), source })?;
        Self::over(stream, socket).await
    }

    /// As [`Client::connect`], over a connection to that socket that is there already.
    ///
    /// # Errors
    /// Where at the other end is no runner of this version.
    pub async fn over(stream: UnixStream, socket: &Path) -> Result<Self, ClientError> {
        let (incoming, writer) = stream.into_split();
        let mut lines = BufReader::new(incoming).lines();
        let no_hello = |why: String| ClientError::NoHello { path: socket.to_owned(), why };
        let first = timeout(HELLO_LIMIT, lines.next_line())
            .await
            .map_err(|_| no_hello(format!("nothing came within {} s", HELLO_LIMIT.as_secs())))?
            .map_err(|error| no_hello(error.to_string()))?
            .ok_or_else(|| no_hello(String::from("it hung up")))?;
        let hello = match serde_json::from_str(&first) {
            Ok(Message::Hello { protocol, incident, you, runner_pid }) => {
                if protocol != PROTOCOL {
                    return Err(ClientError::Version { theirs: protocol });
                }
                Hello { incident, you, runner_pid }
            }
            Ok(_) => return Err(no_hello(String::from("its first word is another"))),
            Err(error) => return Err(no_hello(error.to_string())),
        };
        let view = Arc::new(View::new(hello));
        let (outgoing, queue) = mpsc::unbounded_channel();
        let tasks = [
            tokio::spawn(read(Arc::clone(&view), lines)),
            tokio::spawn(write(Arc::clone(&view), queue, writer)),
        ];
        Ok(Self { link: Arc::new(Link { view, outgoing, tasks }) })
    }

    /// [`Client::connect`] on this thread; not for use inside the runtime.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_blocking(
        runtime: &tokio::runtime::Handle,
        socket: &Path,
    ) -> Result<Self, ClientError> {
        runtime.block_on(Self::connect(socket))
    }

    /// Asks and waits for the answer. The entries that the command made are folded in by then.
    ///
    /// # Errors
    /// The runner's refusal, or that the link was lost before an answer came.
    pub async fn request(&self, command: Command) -> Result<Answer, Explanation> {
        self.submit(command).answer().await
    }

    /// [`Client::request`] on this thread; not for use inside the runtime.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn request_blocking(&self, command: Command) -> Result<Answer, Explanation> {
        self.submit(command).answer_blocking()
    }

    /// Asks without waiting. Usable anywhere.
    #[must_use]
    pub fn submit(&self, command: Command) -> Pending {
        let (answer, pending) = oneshot::channel();
        let mut seen = self.link.view.lock();
        if let LinkState::Lost { reason } = &seen.link {
            let _ = answer.send(Err(lost(reason)));
            return Pending(pending);
        }
        seen.last_id += 1;
        let request = Request { id: seen.last_id, command };
        match serde_json::to_string(&request) {
            Ok(line) => {
                seen.awaited.insert(request.id, answer);
                // Fails only where the link is lost, and then every awaited answer is given.
                let _ = self.link.outgoing.send(line + "\n");
            }
            Err(error) => {
                let what = format!("The request could not be put into words: {error}.");
                let failure = Explanation::new(Kind::Internal, what, "Nothing was asked.", "");
                let _ = answer.send(Err(failure));
            }
        }
        Pending(pending)
    }

    /// Who the runner takes this client for.
    #[must_use]
    pub fn you(&self) -> &Actor {
        &self.link.view.hello.you
    }

    /// The incident's number.
    #[must_use]
    pub fn incident_id(&self) -> &str {
        &self.link.view.hello.incident
    }

    #[must_use]
    pub fn runner_pid(&self) -> u32 {
        self.link.view.hello.runner_pid
    }

    /// The incident as far as its entries have arrived; `None` before the first.
    #[must_use]
    pub fn incident(&self) -> Option<Arc<Incident>> {
        self.link.view.lock().incident.clone()
    }

    #[must_use]
    pub fn link(&self) -> LinkState {
        self.link.view.lock().link.clone()
    }

    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.link.view.lock().progress.clone()
    }

    /// Who is at a screen now.
    #[must_use]
    pub fn present(&self) -> Vec<Present> {
        self.link.view.lock().present.clone()
    }

    #[must_use]
    pub fn survey(&self) -> Option<Arc<Survey>> {
        self.link.view.lock().survey.clone()
    }

    /// A counter that changes with every news: what a screen waits on before it draws again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.link.view.changed.subscribe()
    }

    /// The messages from the first entry on, at the caller's own pace.
    #[must_use]
    pub fn updates(&self) -> Updates {
        Updates {
            changes: self.changes(),
            client: self.clone(),
            entries: 0,
            is_live: false,
            progress: 0,
            survey: 0,
            present: 0,
        }
    }

    /// Waits until the incident is as `until` says; `what` says it in words.
    ///
    /// # Errors
    /// Where the link is lost or `limit` passes: that says what was waited for.
    pub async fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut until: impl FnMut(&Incident) -> bool,
    ) -> Result<Arc<Incident>, Explanation> {
        self.wait_for(what, limit, |seen| seen.incident.clone().filter(|incident| until(incident)))
            .await
    }

    /// Waits until all entries of the past have arrived.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn live(&self, limit: Duration) -> Result<Arc<Incident>, Explanation> {
        self.wait_for("the incident's journal", limit, |seen| {
            seen.incident.clone().filter(|_| seen.link == LinkState::Live)
        })
        .await
    }

    async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut until: impl FnMut(&Seen) -> Option<Arc<Incident>>,
    ) -> Result<Arc<Incident>, Explanation> {
        let mut changes = self.changes();
        let looking = async {
            loop {
                changes.mark_unchanged();
                {
                    let seen = self.link.view.lock();
                    if let Some(incident) = until(&seen) {
                        return Ok(incident);
                    }
                    if let LinkState::Lost { reason } = &seen.link {
                        return Err(lost(reason));
                    }
                }
                if changes.changed().await.is_err() {
                    return Err(lost("The link ended."));
                }
            }
        };
        timeout(limit, looking).await.unwrap_or_else(|_| {
            Err(Explanation::new(
                Kind::Busy,
                format!("Waited {} s for {what}, which has not come.", limit.as_secs_f64()),
                "The runner goes on.",
                "Look at the incident's timeline for what it does now.",
            ))
        })
    }
}

/// The runner's messages for one reader: every entry in order, then the latest of the rest.
#[derive(Debug)]
pub struct Updates {
    client: Client,
    changes: watch::Receiver<u64>,
    entries: usize,
    is_live: bool,
    progress: u64,
    survey: u64,
    present: u64,
}

impl Updates {
    /// The next message; `None` once the link is lost and everything was read.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            self.changes.mark_unchanged();
            {
                let client = self.client.clone();
                let seen = client.link.view.lock();
                if let Some(message) = self.take(&seen) {
                    return Some(message);
                }
                if matches!(seen.link, LinkState::Lost { .. }) {
                    return None;
                }
            }
            self.changes.changed().await.ok()?;
        }
    }

    fn take(&mut self, seen: &Seen) -> Option<Message> {
        if let Some(entry) = seen.entries.get(self.entries) {
            self.entries += 1;
            return Some(Message::Entry(entry.clone()));
        }
        if !self.is_live && seen.link == LinkState::Live {
            self.is_live = true;
            return Some(Message::Live);
        }
        if self.progress != seen.progress_count {
            self.progress = seen.progress_count;
            return Some(Message::Progress(seen.progress.clone()));
        }
        if self.present != seen.present_count {
            self.present = seen.present_count;
            return Some(Message::Presence(seen.present.clone()));
        }
        if self.survey != seen.survey_count {
            self.survey = seen.survey_count;
            return seen.survey.as_ref().map(|survey| Message::Survey((**survey).clone()));
        }
        None
    }
}
