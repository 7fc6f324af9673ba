//! How far each channel of an incident got: `<incident>/messages/<channel>.json`, replaced durably
//! after each message. Owns when a message is tried again and when it is given up; one process at a
//! time delivers.
//!
//! A message counts as delivered only once its server said so and that is on disk. A crash between
//! the two, or an answer that was lost, sends it once more, with the same id: PagerDuty and a
//! Standard Webhooks receiver recognise it; a chat shows it twice, which is better than never.

use super::Message;
use super::channel::DeliveryError;
use crate::engine::config::channels::Channel;
use crate::engine::files;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder in the incident's folder.
const FOLDER: &str = "messages";
/// The first pause after a failure; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// A message that a channel could not take for so long is given up: it would only confuse.
const TOO_OLD: SignedDuration = SignedDuration::from_hours(24);

/// What one channel has taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every entry of the journal up to this one is dealt with.
    pub done: u64,
    /// How many messages arrived.
    pub delivered: u64,
    /// Those that never will, oldest first.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
    /// The message that waits, where one does.
    #[serde(default)]
    pub waiting: Option<Waiting>,
}

/// A message that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    pub id: String,
    pub headline: String,
    pub why: String,
    pub at: Timestamp,
}

/// A message that is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub id: String,
    pub tries: u32,
    pub why: String,
    pub next: Timestamp,
}

/// Why what was delivered could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not say what was delivered: {fault}", path.display())]
    Damaged { path: PathBuf, fault: String },
}

/// The outbox of one incident, while this process delivers.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    _alone: File,
}

impl Outbox {
    /// Takes the outbox; `None` where another process delivers.
    ///
    /// # Errors
    /// Where the folder cannot be made or locked.
    pub fn take(incident: &Path) -> Result<Option<Self>, OutboxError> {
        let folder = incident.join(FOLDER);
        let failed =
            |doing, path: &Path, source| OutboxError::Io { doing, path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|e| failed("make", &folder, e))?;
        let path = folder.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed("open", &path, e))?;
        let alone = files::lock_alone(&lock).map_err(|e| failed("lock", &path, e))?;
        Ok(alone.then_some(Self { folder, _alone: lock }))
    }

    /// Brings the channel what it lacks, as far as that goes now. Messages go in the journal's
    /// order: one that waits holds back those behind it.
    ///
    /// # Errors
    /// Where what was delivered cannot be kept.
    pub fn deliver(
        &self,
        channel: &Channel,
        messages: &[Message],
        now: &dyn Fn() -> Timestamp,
        send: &dyn Fn(&Message) -> Result<(), DeliveryError>,
    ) -> Result<Progress, OutboxError> {
        let path = place(&self.folder, channel);
        let mut progress = read(&path)?;
        let done = progress.done;
        // A channel that is new does not tell what is long over.
        let is_new = progress == Progress::default();
        for message in messages.iter().filter(|message| message.seq > done) {
            if !channel.takes(&message.cluster, message.importance, message.drill) {
                continue;
            }
            let at = now();
            if is_new && at.duration_since(message.at) > TOO_OLD {
                progress.done = message.seq;
                keep(&path, &progress)?;
                continue;
            }
            if progress.waiting.as_ref().is_some_and(|waiting| waiting.next > at) {
                break;
            }
            let gone_on = progress.take(message, send(message), at);
            keep(&path, &progress)?;
            if !gone_on {
                break;
            }
        }
        Ok(progress)
    }
}

impl Progress {
    /// Takes in what a try came to; whether the next message's turn has come.
    fn take(
        &mut self,
        message: &Message,
        result: Result<(), DeliveryError>,
        at: Timestamp,
    ) -> bool {
        let why = match result {
            Ok(()) => {
                self.delivered += 1;
                None
            }
            Err(DeliveryError::Never(why)) => Some(why),
            Err(DeliveryError::Later { why, .. }) if at.duration_since(message.at) > TOO_OLD => {
                Some(format!("it could not be delivered for a day: {why}"))
            }
            Err(DeliveryError::Later { why, after }) => {
                let before = self.waiting.take().filter(|waiting| waiting.id == message.id);
                let tries = before.map_or(0, |waiting| waiting.tries).saturating_add(1);
                let usual = PAUSE.saturating_mul(1 << (tries - 1).min(16)).min(LONGEST);
                let pause = after.unwrap_or(usual).max(PAUSE);
                let next =
                    SignedDuration::try_from(pause).ok().and_then(|d| at.checked_add(d).ok());
                self.waiting =
                    Some(Waiting { id: message.id.clone(), tries, why, next: next.unwrap_or(at) });
                return false;
            }
        };
        if let Some(why) = why {
            self.given_up.push(GivenUp {
                id: message.id.clone(),
                headline: message.headline.clone(),
                why,
                at,
            });
        }
        self.done = message.seq;
        self.waiting = None;
        true
    }
}

/// What the channel took of the incident so far; nothing yet where nothing is on record.
///
/// # Errors
/// Where the record cannot be read.
pub fn progress(incident: &Path, channel: &Channel) -> Result<Progress, OutboxError> {
    read(&place(&incident.join(FOLDER), channel))
}

fn place(folder: &Path, channel: &Channel) -> PathBuf {
    folder.join(format!("{}.json", channel.name))
}

fn read(path: &Path) -> Result<Progress, OutboxError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::default()),
        Err(source) => {
            return Err(OutboxError::Io { doing: "read", path: path.to_owned(), source });
        }
    };
    serde_json::from_slice(&text)
        .map_err(|e| OutboxError::Damaged { path: path.to_owned(), fault: e.to_string() })
}

fn keep(path: &Path, progress: &Progress) -> Result<(), OutboxError> {
    let failed = |source| OutboxError::Io { doing: "write", path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(progress).map_err(|e| failed(io::Error::other(e)))?;
    files::replace(path, &text, 0o600).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::channels::{ChannelTarget, Importance};
    use crate::engine::notify::message::{fixture, messages};
    use std::cell::RefCell;

    fn channel() -> Channel {
        Channel {
            name: String::from("pager"),
            clusters: Vec::new(),
            least: Importance::Attention,
            drills: false,
            target: ChannelTarget::Slack { url_file: PathBuf::from("/x"), root_certificate: None },
        }
    }

    struct Scene {
        folder: tempfile::TempDir,
        messages: Vec<Message>,
        now: RefCell<Timestamp>,
        arrived: RefCell<Vec<String>>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                messages: messages(&fixture::journal(), &fixture::runbook()),
                now: RefCell::new("2026-01-13T10:30:00Z".parse().unwrap()),
                arrived: RefCell::default(),
            }
        }

        fn deliver(&self, answer: &dyn Fn(&Message) -> Result<(), DeliveryError>) -> Progress {
            let outbox = Outbox::take(self.folder.path()).unwrap().unwrap();
            assert!(Outbox::take(self.folder.path()).unwrap().is_none(), "one at a time");
            let send = |message: &Message| {
                answer(message)?;
                self.arrived.borrow_mut().push(message.id.clone());
                Ok(())
            };
            let now = || *self.now.borrow();
            outbox.deliver(&channel(), &self.messages, &now, &send).unwrap()
        }

        fn passes(&self, seconds: i64) {
            let later = *self.now.borrow() + SignedDuration::from_secs(seconds);
            *self.now.borrow_mut() = later;
        }

        fn wanted(&self) -> Vec<String> {
            let important =
                self.messages.iter().filter(|message| message.importance >= Importance::Attention);
            important.map(|message| message.id.clone()).collect()
        }
    }

    #[test]
    fn each_message_arrives_once_in_order_whenever_the_network_is_back() {
        let scene = Scene::new();
        let tries = RefCell::new(0);
        let away = |_: &Message| {
            *tries.borrow_mut() += 1;
            Err(DeliveryError::later("away"))
        };
        let progress = scene.deliver(&away);
        assert_eq!(progress.waiting.as_ref().map(|w| w.tries), Some(1));
        // Within the pause nothing is tried.
        scene.deliver(&away);
        assert_eq!(*tries.borrow(), 1);
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            scene.passes(pause - 1);
            scene.deliver(&away);
            let before = *tries.borrow();
            scene.passes(1);
            scene.deliver(&away);
            assert_eq!(*tries.borrow(), before + 1, "after {pause} s");
        }
        scene.passes(300);
        let progress = scene.deliver(&|_| Ok(()));
        assert_eq!(*scene.arrived.borrow(), scene.wanted());
        assert!(progress.waiting.is_none() && progress.given_up.is_empty());
        scene.deliver(&|_| Ok(()));
        assert_eq!(*scene.arrived.borrow(), scene.wanted(), "not twice");
    }

    #[test]
    fn what_is_refused_is_given_up_and_holds_nothing_back() {
        let scene = Scene::new();
        let first = scene.wanted()[0].clone();
        let refused = |message: &Message| match message.id == first {
            true => Err(DeliveryError::Never(String::from("status 400"))),
            false => Ok(()),
        };
        let progress = scene.deliver(&refused);
        assert_eq!(*scene.arrived.borrow(), scene.wanted()[1..]);
        assert_eq!(progress.given_up.len(), 1);
        assert_eq!(
            (progress.given_up[0].id.as_str(), progress.given_up[0].why.as_str()),
            (first.as_str(), "status 400")
        );
        assert_eq!(super::progress(scene.folder.path(), &channel()).unwrap(), progress);
    }

    #[test]
    fn a_server_may_ask_for_a_pause_and_a_day_is_the_end() {
        let scene = Scene::new();
        let asks = |_: &Message| {
            Err(DeliveryError::Later { why: "busy".into(), after: Some(Duration::from_secs(90)) })
        };
        let waiting = scene.deliver(&asks).waiting.unwrap();
        assert_eq!(waiting.next.duration_since(*scene.now.borrow()).as_secs(), 90);
        scene.passes(25 * 3600);
        let progress = scene.deliver(&|_| Err(DeliveryError::later("away")));
        assert_eq!(progress.given_up.len(), scene.wanted().len());
        assert!(progress.given_up[0].why.contains("for a day"));
    }

    #[test]
    fn a_new_channel_does_not_tell_what_is_long_over() {
        let scene = Scene::new();
        scene.passes(30 * 3600);
        let progress = scene.deliver(&|_| Ok(()));
        assert!(scene.arrived.borrow().is_empty(), "{progress:?}");
        assert!(progress.given_up.is_empty() && progress.delivered == 0);
    }

    #[test]
    fn a_damaged_record_is_said_and_sends_nothing_twice() {
        let scene = Scene::new();
        scene.deliver(&|_| Ok(()));
        let path = scene.folder.path().join("messages/pager.json");
        fs::write(&path, "{").unwrap();
        let outbox = Outbox::take(scene.folder.path()).unwrap().unwrap();
        let send = |_: &Message| -> Result<(), DeliveryError> { panic!("nothing is sent") };
        let told = outbox.deliver(&channel(), &scene.messages, &Timestamp::now, &send);
        assert!(told.unwrap_err().to_string().contains("pager.json"));
    }
}
