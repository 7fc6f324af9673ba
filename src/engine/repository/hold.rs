//! Holds: a name that keeps a backup, whatever its age, until it is released; and the pins that
//! keep a data key which files outside the repository need. Owns `holds/` and `keys-pinned/`. Every
//! host sees them, since they lie in the repository; nothing here is ever overwritten.

use super::store::{StoreError, StoreFault};
use super::{Repository, RepositoryError};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

pub(super) const FOLDER: &str = "holds/";
pub(super) const PINNED: &str = "keys-pinned/";
const FORMAT: u32 = 1;

/// A backup is kept for a reason that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub format: u32,
    /// Such as the number of a legal case. One name may hold several backups.
    pub name: String,
    pub set: String,
    pub placed: Timestamp,
    /// The operating-system user who placed it.
    pub placed_by: String,
    /// After this it keeps nothing; it is still there until it is released.
    pub until: Option<Timestamp>,
    /// With the WAL along this timeline up to this byte, beside what the backup itself needs.
    pub wal_to: Option<WalPoint>,
}

/// A place in the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalPoint {
    pub timeline: TimelineId,
    pub lsn: Lsn,
}

impl Hold {
    #[must_use]
    pub fn new(name: &str, set: &str, placed: Timestamp, placed_by: &str) -> Self {
        Self {
            format: FORMAT,
            name: name.to_owned(),
            set: set.to_owned(),
            placed,
            placed_by: placed_by.to_owned(),
            until: None,
            wal_to: None,
        }
    }

    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What the repository says is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    Known(Hold),
    /// The object cannot be understood; its place still names the backup.
    Unreadable {
        set: String,
        reason: Explanation,
    },
}

impl Held {
    /// Whether it holds what `wanted` asks for: the same backup under the same name and as long,
    /// with WAL where that is wanted, whoever placed it.
    #[must_use]
    pub fn says(&self, wanted: &Hold) -> bool {
        let Self::Known(hold) = self else { return false };
        hold.set == wanted.set
            && hold.name == wanted.name
            && hold.until == wanted.until
            && hold.wal_to.is_some() == wanted.wal_to.is_some()
    }

    #[must_use]
    pub fn set(&self) -> &str {
        match self {
            Self::Known(hold) => &hold.set,
            Self::Unreadable { set, .. } => set,
        }
    }
}

/// Which of two repositories failed when holds were carried from one to the other.
#[derive(Debug)]
pub enum Carry {
    From(StoreError),
    To(StoreError),
}

impl Repository {
    /// Places a hold; durable when it returns.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where that name holds that backup already: it is as it was.
    pub fn place_hold(&self, hold: &Hold) -> Result<(), RepositoryError> {
        self.put_json(&key_of(&hold.set, &hold.name), hold)
    }

    /// Takes on all holds that `from` has on a backup, byte for byte: one that cannot be read there
    /// keeps its backup here too. Those that are here already stay as they are. Durable when it
    /// returns; how many were new.
    ///
    /// # Errors
    /// [`Carry::From`] where they could not be read, [`Carry::To`] where not be written.
    pub fn take_on_holds(&self, from: &Repository, set: &str) -> Result<usize, Carry> {
        let mut new = 0;
        for object in from.store.list(&format!("{FOLDER}{set}/"), "").map_err(Carry::From)? {
            let content = match from.store.read(&object.key) {
                Ok(content) => content,
                // Released since it was listed.
                Err(e) if e.fault == StoreFault::NotFound => continue,
                Err(e) => return Err(Carry::From(e)),
            };
            match self.store.put(&object.key, &content) {
                Ok(()) => new += 1,
                Err(e) if e.fault == StoreFault::Exists => {}
                Err(e) => return Err(Carry::To(e)),
            }
        }
        Ok(new)
    }

    /// Takes every hold of that name away; the backups that it held.
    ///
    /// # Errors
    /// Where the holds could not be read or removed.
    pub fn release_hold(&self, name: &str) -> Result<Vec<String>, RepositoryError> {
        let mut released = Vec::new();
        for held in self.holds()? {
            if let Held::Known(hold) = held
                && hold.name == name
            {
                self.store.remove(&key_of(&hold.set, name))?;
                released.push(hold.set);
            }
        }
        Ok(released)
    }

    /// All holds, by backup.
    ///
    /// # Errors
    /// Where they could not be listed: then nothing is known of what is held.
    pub fn holds(&self) -> Result<Vec<Held>, RepositoryError> {
        let mut all = Vec::new();
        for set in self.store.folders(FOLDER)? {
            all.extend(self.holds_of(&set)?);
        }
        Ok(all)
    }

    /// The holds of one backup.
    ///
    /// # Errors
    /// As [`Repository::holds`].
    pub fn holds_of(&self, set: &str) -> Result<Vec<Held>, RepositoryError> {
        let mut all = Vec::new();
        for object in self.store.list(&format!("{FOLDER}{set}/"), "")? {
            let unreadable = |reason| Held::Unreadable { set: set.to_owned(), reason };
            all.push(match self.read_json::<Hold>(&object.key) {
                Ok(hold) if hold.set == set && hold.format == FORMAT => Held::Known(hold),
                Ok(_) => unreadable(
                    self.damaged(&object.key, "it is not that backup's hold").explanation(),
                ),
                // Released since it was listed.
                Err(RepositoryError::Store(e)) if e.fault == StoreFault::NotFound => continue,
                Err(e) => unreadable(e.explanation()),
            });
        }
        Ok(all)
    }

    /// Notes that something outside the repository needs a data key, so that it is never removed.
    ///
    /// # Errors
    /// Where it could not be noted.
    pub fn pin_key(&self, id: &str) -> Result<(), RepositoryError> {
        match self.put_json(&format!("{PINNED}{id}.json"), &serde_json::json!({ "key_id": id })) {
            Err(RepositoryError::Store(e)) if e.fault == StoreFault::Exists => Ok(()),
            put => put,
        }
    }

    /// The data keys that something outside the repository needs.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn pinned_keys(&self) -> Result<BTreeSet<String>, RepositoryError> {
        let objects = self.store.list(PINNED, "")?;
        let id = |key: &str| Some(key.strip_prefix(PINNED)?.strip_suffix(".json")?.to_owned());
        Ok(objects.iter().filter_map(|object| id(&object.key)).collect())
    }
}

/// A name is any text, so that its digest stands in the key.
fn key_of(set: &str, name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let short = digest.get(..16).unwrap_or_default();
    format!("{FOLDER}{set}/{}.json", HEXLOWER.encode(short))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::fs;

    #[test]
    fn a_hold_is_placed_once_seen_by_all_and_released_by_its_name() {
        let place = Place::plain();
        let repository = place.repository();
        let now: Timestamp = "2025-01-13T02:00:00Z".parse().unwrap();
        let hold = Hold::new("Case 12/7: Übergabe", "set-20250113-020000", now, "ada");
        repository.place_hold(&hold).unwrap();
        let again = repository.place_hold(&Hold { placed_by: "bob".into(), ..hold.clone() });
        assert_eq!(again.unwrap_err().fault(), Some(StoreFault::Exists));
        let there = &repository.holds_of(&hold.set).unwrap()[0];
        assert!(there.says(&Hold { placed_by: "bob".into(), ..hold.clone() }));
        assert!(!there.says(&Hold { until: Some(now), ..hold.clone() }));
        let second = Hold { set: "set-20250114-020000".into(), ..hold.clone() };
        repository.place_hold(&second).unwrap();
        let other = Hold { name: "another".into(), until: Some(now), ..hold.clone() };
        repository.place_hold(&other).unwrap();
        assert!(hold.holds_at(now) && !other.holds_at(now));
        assert_eq!(place.repository().holds().unwrap().len(), 3);
        let released = repository.release_hold(&hold.name).unwrap();
        assert_eq!(released, [hold.set.clone(), second.set]);
        assert_eq!(repository.holds().unwrap(), [Held::Known(other)]);
        assert!(repository.release_hold(&hold.name).unwrap().is_empty());
    }

    #[test]
    fn a_copy_takes_the_holds_along_and_keeps_its_own() {
        let (near, far) = (Place::encrypted(), Place::encrypted());
        let now: Timestamp = "2025-01-13T02:00:00Z".parse().unwrap();
        let hold = Hold::new("Case 12/7", "set-20250113-020000", now, "ada");
        near.repository().place_hold(&hold).unwrap();
        let folder = near.root().join("holds").join(&hold.set);
        fs::write(folder.join("00.json"), "{").unwrap();
        let own = Hold { placed_by: "somebody".to_owned(), ..hold.clone() };
        far.repository().place_hold(&own).unwrap();
        let took = far.repository().take_on_holds(&near.repository(), &hold.set).unwrap();
        assert_eq!(took, 1, "its own stays");
        let held = far.repository().holds_of(&hold.set).unwrap();
        assert!(held.contains(&Held::Known(own)), "{held:?}");
        assert!(held.iter().any(|one| matches!(one, Held::Unreadable { .. })), "{held:?}");
        assert_eq!(far.repository().take_on_holds(&near.repository(), &hold.set).unwrap(), 0);
    }

    #[test]
    fn a_hold_that_cannot_be_read_still_names_its_backup() {
        let place = Place::plain();
        let folder = place.root().join("holds/set-20250113-020000");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("00.json"), "{").unwrap();
        let holds = place.repository().holds().unwrap();
        assert!(matches!(&holds[..], [Held::Unreadable { .. }]), "{holds:?}");
        assert_eq!(holds[0].set(), "set-20250113-020000");
    }
}
