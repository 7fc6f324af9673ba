//! Delivers beside the recovery: a thread that follows the journal's file and brings each channel
//! what it lacks. Never blocks a step, and never ends a runner: whatever is wrong with a message
//! stays with the message.

use super::channel;
use super::message::messages;
use super::outbox::{Outbox, Progress};
use crate::engine::config::channels::Channel;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::journal;
use crate::engine::incident::store::{Listed, Store};
use crate::engine::runbook::Runbook;
use crate::engine::schedule::run::Stop;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the journal's length is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often a message that waits is looked after.
const AGAIN: Duration = Duration::from_secs(5);

/// How a channel stands with an incident.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    pub channel: String,
    #[serde(flatten)]
    pub progress: Progress,
    /// Messages that have not arrived yet.
    pub pending: usize,
}

/// The thread of one incident's runner.
#[derive(Debug)]
pub struct Messenger {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Messenger {
    /// Begins where there is a channel at all.
    #[must_use]
    pub fn begin(channels: &[Channel], runbook: &Runbook, incident: &Path) -> Self {
        let stop = Arc::new(Stop::default());
        if channels.is_empty() {
            return Self { stop, thread: None };
        }
        let (channels, runbook) = (channels.to_vec(), runbook.clone());
        let (incident, ended) = (incident.to_owned(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name(String::from("messenger"))
            .spawn(move || follow(&channels, &runbook, &incident, &ended));
        Self { stop, thread: thread.ok() }
    }

    /// Ends within about `limit`; what has not arrived by then waits for the next runner, or for
    /// the scheduler.
    pub fn end(mut self, limit: Duration) {
        let until = Instant::now() + limit;
        let Some(thread) = self.thread.take() else { return };
        self.stop.ask();
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn follow(channels: &[Channel], runbook: &Runbook, incident: &Path, stop: &Stop) {
    let file = incident.join(journal::FILE);
    let length = || std::fs::metadata(&file).map_or(0, |found| found.len());
    let (mut seen, mut looked) = (0, Instant::now());
    let mut waits = false;
    loop {
        let ending = stop.wait(LOOK);
        let now = length();
        if now != seen || ending || (waits && looked.elapsed() >= AGAIN) {
            seen = now;
            looked = Instant::now();
            // What cannot be delivered or read now is looked at again.
            waits = match deliver(channels, runbook, incident) {
                Ok(all) => all.iter().any(|one| one.pending > 0),
                Err(_) => true,
            };
        }
        if ending {
            return;
        }
    }
}

/// Brings every channel what it lacks of one incident, as far as that goes now; how each stands.
/// Where another process does so at this moment, nothing is sent.
///
/// # Errors
/// Where the journal cannot be read, or what was delivered cannot be kept.
pub fn deliver(
    channels: &[Channel],
    runbook: &Runbook,
    incident: &Path,
) -> Result<Vec<Standing>, Explanation> {
    use crate::engine::explain::Explain;
    let entries = journal::read(incident).map_err(|e| e.explanation())?.entries;
    let all = messages(&entries, runbook);
    let Some(outbox) = Outbox::take(incident).map_err(|e| storage(&e))? else {
        return standing(channels, runbook, incident);
    };
    let mut stand = Vec::new();
    // Side by side: a channel that is away does not keep another one waiting.
    std::thread::scope(|scope| {
        let outbox = &outbox;
        let all = &all;
        let begun: Vec<_> = channels
            .iter()
            .map(|one| {
                let send = move |message: &super::Message| channel::deliver(one, message);
                let job = move || outbox.deliver(one, all, &Timestamp::now, &send);
                (one, scope.spawn(job))
            })
            .collect();
        for (one, job) in begun {
            match job.join() {
                Ok(Ok(progress)) => stand.push(Ok(stands(one, progress, all))),
                Ok(Err(error)) => stand.push(Err(storage(&error))),
                Err(_) => stand.push(Err(Explanation::new(
                    Kind::Internal,
                    format!("The channel \"{}\" ended with a fault of Lifeboat.", one.name),
                    "The journal is kept, and so are the messages.",
                    "Report this as a fault of Lifeboat.",
                ))),
            }
        }
    });
    stand.into_iter().collect()
}

/// How each channel stands with one incident. Sends nothing.
///
/// # Errors
/// Where the journal or the record of what was delivered cannot be read.
pub fn standing(
    channels: &[Channel],
    runbook: &Runbook,
    incident: &Path,
) -> Result<Vec<Standing>, Explanation> {
    use crate::engine::explain::Explain;
    let entries = journal::read(incident).map_err(|e| e.explanation())?.entries;
    let all = messages(&entries, runbook);
    channels
        .iter()
        .map(|one| {
            let progress = super::outbox::progress(incident, one).map_err(|e| storage(&e))?;
            Ok(stands(one, progress, &all))
        })
        .collect()
}

fn stands(channel: &Channel, progress: Progress, all: &[super::Message]) -> Standing {
    let pending = all
        .iter()
        .filter(|m| m.seq > progress.done && channel.takes(&m.cluster, m.importance, m.drill))
        .count();
    Standing { channel: channel.name.clone(), progress, pending }
}

/// Delivers what earlier runners left, of every incident that this process can read.
pub fn deliver_left(channels: &[Channel], runbook: &Runbook, state: &Path) {
    if channels.is_empty() {
        return;
    }
    let Ok(listed) = Store::new(state).list() else { return };
    let folders: Vec<PathBuf> = listed
        .into_iter()
        .filter_map(|one| match one {
            Listed::Whole(summary) if !summary.runner_alive => Some(summary.folder),
            _ => None,
        })
        .collect();
    for folder in folders {
        let pending = standing(channels, runbook, &folder)
            .is_ok_and(|all| all.iter().any(|one| one.pending > 0));
        if pending {
            // Tried again at the next turn.
            let _ = deliver(channels, runbook, &folder);
        }
    }
}

fn storage(error: &super::outbox::OutboxError) -> Explanation {
    Explanation::new(
        Kind::Storage,
        format!("The messages of the incident could not be looked after: {error}."),
        "The recovery goes on; the journal holds everything that is to be told.",
        "Check space and permissions of the incident's folder.",
    )
}
