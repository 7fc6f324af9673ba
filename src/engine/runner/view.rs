//! What a client has seen: the other half of [`super::client`]. Owns the folding of messages as
//! they arrive and the answers that are awaited; never decides what to ask.

use super::client::LinkState;
use super::protocol::{Answer, Message, Present, Progress};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::facts::{Actor, Survey};
use crate::engine::incident::model::FoldError;
use crate::engine::incident::{Entry, Incident};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

#[derive(Debug)]
pub(super) struct Hello {
    pub incident: String,
    pub you: Actor,
    pub runner_pid: u32,
}

#[derive(Debug)]
pub(super) struct View {
    pub hello: Hello,
    pub seen: Mutex<Seen>,
    pub changed: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub link: LinkState,
    pub entries: Vec<Entry>,
    pub incident: Option<Arc<Incident>>,
    pub progress: Option<Progress>,
    pub progress_count: u64,
    pub survey: Option<Arc<Survey>>,
    pub survey_count: u64,
    pub present: Vec<Present>,
    pub present_count: u64,
    pub last_id: u64,
    pub awaited: HashMap<u64, oneshot::Sender<Result<Answer, Explanation>>>,
}

impl View {
    pub fn new(hello: Hello) -> Self {
        let seen = Seen {
            link: LinkState::CatchingUp,
            entries: Vec::new(),
            incident: None,
            progress: None,
            progress_count: 0,
            survey: None,
            survey_count: 0,
            present: Vec::new(),
            present_count: 0,
            last_id: 0,
            awaited: HashMap::new(),
        };
        Self { hello, seen: Mutex::new(seen), changed: watch::Sender::new(0) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, message: Message) -> Result<(), FoldError> {
        let mut seen = self.lock();
        match message {
            Message::Hello { .. } => {}
            Message::Live => seen.link = LinkState::Live,
            Message::Entry(entry) => {
                match &mut seen.incident {
                    Some(incident) => Arc::make_mut(incident).apply(&entry),
                    None => seen.incident = Some(Arc::new(Incident::begin(&entry)?)),
                }
                seen.entries.push(entry);
            }
            Message::Progress(progress) => {
                seen.progress = progress;
                seen.progress_count += 1;
            }
            Message::Survey(survey) => {
                seen.survey = Some(Arc::new(survey));
                seen.survey_count += 1;
            }
            Message::Presence(present) => {
                seen.present = present;
                seen.present_count += 1;
            }
            Message::Reply { id, result } => {
                if let Some(answer) = seen.awaited.remove(&id) {
                    let _ = answer.send(result);
                }
            }
        }
        drop(seen);
        self.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn lose(&self, reason: &str) {
        let mut seen = self.lock();
        if !matches!(seen.link, LinkState::Lost { .. }) {
            seen.link = LinkState::Lost { reason: reason.to_owned() };
        }
        for (_, answer) in seen.awaited.drain() {
            let _ = answer.send(Err(lost(reason)));
        }
        drop(seen);
        self.changed.send_modify(|count| *count += 1);
    }
}

pub(super) async fn read(view: Arc<View>, mut lines: Lines<BufReader<OwnedReadHalf>>) {
    let reason = loop {
        let line = match lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => break String::from("The runner hung up."),
            Err(error) => break format!("The link failed: {error}."),
        };
        let message = match serde_json::from_str(&line) {
            Ok(message) => message,
            Err(error) => break format!("The runner said what was not understood: {error}."),
        };
        if let Err(error) = view.take(message) {
            break format!("The runner's journal cannot be followed: {error}.");
        }
    };
    view.lose(&reason);
}

pub(super) async fn write(
    view: Arc<View>,
    mut queue: mpsc::UnboundedReceiver<String>,
    mut outgoing: OwnedWriteHalf,
) {
    while let Some(line) = queue.recv().await {
        if let Err(error) = outgoing.write_all(line.as_bytes()).await {
            view.lose(&format!("The link failed: {error}."));
            return;
        }
    }
}

pub(super) fn lost(reason: &str) -> Explanation {
    Explanation::new(
        Kind::Connection,
        format!("The link to the runner is lost. {reason}"),
        "A recovery that runs goes on without a screen; a request without an answer may have \
         been carried out.",
        "Open the incident again and look at its timeline before you ask again.",
    )
}
