//! Offering one WAL file to all repositories of a cluster at once. Owns how long a file waits for
//! each of them: for as many as must have it, as long as it takes; for the others, a bounded time.
//! A repository that failed a moment ago is left alone for a while.

use super::notes::{Notes, Receipt, fingerprint};
use crate::engine::config::{Archiving, Cluster, Config, RepositoryConfig};
use crate::engine::repository::store::{self, StoreError, StoreFault};
use crate::engine::repository::{PutWal, Repository, RepositoryError};
use jiff::Timestamp;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A repository that was down is given this long to open before it counts as down still.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Nothing waits longer in one go; then it looks again.
const LOOK: Duration = Duration::from_secs(1);

/// A file on its way.
#[derive(Debug)]
pub(super) struct Content {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Of this very content, where it was pushed ahead.
    pub receipt: Option<Receipt>,
}

/// A repository that is opened when it is needed, once.
#[derive(Debug)]
pub(super) struct Door {
    pub name: String,
    pub settings: Option<RepositoryConfig>,
    cluster: String,
    system_identifier: u64,
    opened: Mutex<Option<Arc<Repository>>>,
}

impl Door {
    /// Those of `cluster`, in its order.
    pub fn all(config: &Config, cluster: &Cluster, system_identifier: u64) -> Vec<Arc<Self>> {
        let door = |name: &String| Self {
            name: name.clone(),
            settings: config.repository(name).cloned(),
            cluster: cluster.name.clone(),
            system_identifier,
            opened: Mutex::default(),
        };
        cluster.repositories.iter().map(|name| Arc::new(door(name))).collect()
    }

    /// The repository, opened and this cluster's.
    pub fn open(&self) -> Result<Arc<Repository>, RepositoryError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repository) = &*opened {
            return Ok(Arc::clone(repository));
        }
        let settings = self.settings.as_ref().ok_or_else(|| RepositoryError::Unfit {
            place: self.name.clone(),
            why: "the configuration has no repository of that name".to_owned(),
        })?;
        let repository = Repository::open(settings, &self.cluster)?;
        repository.claim_for(self.system_identifier)?;
        Ok(Arc::clone(opened.insert(Arc::new(repository))))
    }

    /// Whether the receipt's object is there still. It was durable when the receipt was written.
    fn holds(&self, receipt: Option<&Receipt>) -> bool {
        let (Some(settings), Some(receipt)) = (&self.settings, receipt) else { return false };
        let ours = fingerprint(&settings.store);
        let place = receipt.places.iter().find(|p| p.repository == self.name && p.settings == ours);
        place.is_some_and(|place| {
            let there = store::open(&settings.store, &self.cluster)
                .and_then(|store| store.size(&place.key));
            there.is_ok_and(|size| size == place.size)
        })
    }
}

/// What became of a file at one door.
#[derive(Debug)]
pub(super) enum Outcome {
    Stored(PutWal),
    Failed(RepositoryError),
    /// It was not asked, for it failed a moment ago: why then.
    Skipped(String),
}

enum Word {
    Opened,
    Done(Result<PutWal, RepositoryError>),
}

/// How the wait for one door stands.
struct Wait {
    until: Instant,
    outcome: Option<Outcome>,
}

/// Offers `file` at all `doors`; the outcomes are in their order. A door that is late is left to
/// itself: what it still does is whole or nothing.
pub(super) fn offer(
    doors: &[Arc<Door>],
    file: &Arc<Content>,
    notes: &Notes,
    archiving: &Archiving,
) -> Vec<Outcome> {
    let (say, words) = channel();
    let patience = archiving.patience();
    let begun = Instant::now();
    let now = Timestamp::now();
    let mut waits: Vec<Wait> = Vec::new();
    for (index, door) in doors.iter().enumerate() {
        let down = notes.known(&door.name).down;
        let (until, outcome) = match down {
            Some(down) if !down.is_due(now) => (begun, Some(Outcome::Skipped(down.why))),
            Some(_) => (begun + patience.min(SIGN_OF_LIFE), None),
            None => (begun + patience, None),
        };
        if outcome.is_none() {
            ask(index, door, file, &say);
        }
        waits.push(Wait { until, outcome });
    }
    let mut offering = Offering { doors, file, say, words, patience, begun, waits };
    offering.collect(archiving.copies.max(1));
    let late = |door: &Door| {
        let what = format!(
            "the repository {} did not take {} within {} s",
            door.name,
            file.name,
            begun.elapsed().as_secs()
        );
        Outcome::Failed(StoreError::new(StoreFault::TimedOut, what).into())
    };
    let outcomes = offering.waits.into_iter().zip(doors);
    outcomes.map(|(wait, door)| wait.outcome.unwrap_or_else(|| late(door))).collect()
}

struct Offering<'a> {
    doors: &'a [Arc<Door>],
    file: &'a Arc<Content>,
    say: Sender<(usize, Word)>,
    words: Receiver<(usize, Word)>,
    patience: Duration,
    begun: Instant,
    waits: Vec<Wait>,
}

impl Offering<'_> {
    fn collect(&mut self, copies: usize) {
        loop {
            let stored = |wait: &&Wait| matches!(wait.outcome, Some(Outcome::Stored(_)));
            let enough = self.waits.iter().filter(stored).count() >= copies;
            let now = Instant::now();
            let open = self.waits.iter().filter(|wait| wait.outcome.is_none());
            let last = open.map(|wait| wait.until).max();
            // Without its copies a file waits for whom it can get, also for one that failed.
            let stuck = last.is_none() || now >= self.begun + self.patience;
            if !enough && stuck && self.ask_skipped() {
                continue;
            }
            let Some(last) = last else { return };
            if enough && now >= last {
                return;
            }
            let pause = if enough { (last - now).min(LOOK) } else { LOOK };
            match self.words.recv_timeout(pause) {
                Ok((index, word)) => self.hear(index, word),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn hear(&mut self, index: usize, word: Word) {
        let Some(wait) = self.waits.get_mut(index) else { return };
        match word {
            Word::Opened => wait.until = wait.until.max(Instant::now() + self.patience),
            Word::Done(Ok(put)) => wait.outcome = Some(Outcome::Stored(put)),
            Word::Done(Err(e)) => wait.outcome = Some(Outcome::Failed(e)),
        }
    }

    /// True where there was one to ask.
    fn ask_skipped(&mut self) -> bool {
        let mut asked = false;
        for (index, wait) in self.waits.iter_mut().enumerate() {
            if matches!(wait.outcome, Some(Outcome::Skipped(_)))
                && let Some(door) = self.doors.get(index)
            {
                *wait = Wait { until: Instant::now() + self.patience, outcome: None };
                ask(index, door, self.file, &self.say);
                asked = true;
            }
        }
        asked
    }
}

fn ask(index: usize, door: &Arc<Door>, file: &Arc<Content>, say: &Sender<(usize, Word)>) {
    let (door, file, say) = (Arc::clone(door), Arc::clone(file), say.clone());
    std::thread::spawn(move || {
        if door.holds(file.receipt.as_ref()) {
            let _ = say.send((index, Word::Done(Ok(PutWal::AlreadyThere))));
            return;
        }
        let done = door.open().and_then(|repository| {
            let _ = say.send((index, Word::Opened));
            repository.put_wal(&file.name, &file.bytes)
        });
        let _ = say.send((index, Word::Done(done)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::testing::Place;
    use std::fs;
    use std::process::Command;

    fn door(name: &str, place: &Place) -> Arc<Door> {
        Arc::new(Door {
            name: name.to_owned(),
            settings: Some(place.config.clone()),
            cluster: "shop".to_owned(),
            system_identifier: 7,
            opened: Mutex::default(),
        })
    }

    #[test]
    fn a_repository_that_hangs_costs_a_bounded_time_and_then_none() {
        let (near, far) = (Place::plain(), Place::plain());
        // Whoever reads the marker waits until somebody writes it: as on a volume that hangs.
        let marker = far.root().join(store::MARKER);
        fs::remove_file(&marker).unwrap();
        assert!(Command::new("mkfifo").arg(&marker).status().unwrap().success());
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::open(folder.path(), "shop");
        let archiving = Archiving { patience_seconds: 1, ..Archiving::default() };
        let file = |name: &str| {
            let (name, bytes) = (name.to_owned(), b"content".to_vec());
            Arc::new(Content { name, bytes, receipt: None })
        };
        let doors = [door("near", &near), door("far", &far)];
        let begun = Instant::now();
        let outcomes = offer(&doors, &file("00000002.history"), &notes, &archiving);
        assert!(matches!(outcomes[0], Outcome::Stored(PutWal::Stored)), "{outcomes:?}");
        let Outcome::Failed(late) = &outcomes[1] else { panic!("{outcomes:?}") };
        assert_eq!(late.fault(), Some(StoreFault::TimedOut));
        assert!(begun.elapsed() >= Duration::from_secs(1));

        notes.is_down("far", "it hangs", Timestamp::now());
        let outcomes = offer(&doors, &file("00000003.history"), &notes, &archiving);
        assert!(matches!(&outcomes[1], Outcome::Skipped(why) if why == "it hangs"), "{outcomes:?}");

        // A file that has no copy without it asks it all the same.
        notes.is_down("near", "it is away", Timestamp::now());
        fs::rename(near.root(), near.root().with_extension("away")).unwrap();
        fs::remove_file(&marker).unwrap();
        // As the next process: the thread that hangs has the door in its hands.
        let doors = [door("near", &near), door("far", &far)];
        let outcomes = offer(&doors, &file("00000004.history"), &notes, &archiving);
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Failed(_))), "{outcomes:?}");
    }
}
