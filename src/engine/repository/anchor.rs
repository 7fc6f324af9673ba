//! Anchors: where an incident's journal stood, kept away from the journal. Owns `anchors/`. One
//! object an anchor; nothing here is ever overwritten or removed, so that a journal that was cut
//! short, changed or replaced later differs from what it was seen to be.

use super::store::StoreFault;
use super::{Repository, RepositoryError};
use crate::engine::config::RepositoryConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(super) const FOLDER: &str = "anchors/";
const FORMAT: u32 = 1;

/// Where a journal stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub format: u32,
    pub incident: String,
    pub cluster: String,
    /// The entry's number in the journal.
    pub seq: u64,
    /// SHA-256, hexadecimal, of that entry's line without its line feed: what the next entry
    /// carries as `prev`.
    pub hash: String,
    /// When the entry was written, by the journal.
    pub at: Timestamp,
    /// What the entry is, such as `gate_passed`.
    pub kind: String,
    /// When the anchor was put here.
    pub anchored: Timestamp,
    /// Where from: host and operating-system user.
    pub host: String,
    pub user: String,
    /// Number of the first entry in `lines`.
    pub first: u64,
    /// Hashes of the entries from `first` to `seq`, so that the first wrong one can be named.
    pub lines: Vec<String>,
}

impl Anchor {
    #[must_use]
    pub fn new(incident: &str, cluster: &str, at: Timestamp, first: u64, lines: &[String]) -> Self {
        let seq = first.saturating_add(lines.len() as u64).saturating_sub(1);
        Self {
            format: FORMAT,
            incident: incident.to_owned(),
            cluster: cluster.to_owned(),
            seq,
            hash: lines.last().cloned().unwrap_or_default(),
            at,
            kind: String::new(),
            anchored: at,
            host: String::new(),
            user: String::new(),
            first,
            lines: lines.to_vec(),
        }
    }

    fn key(&self) -> String {
        format!("{FOLDER}{}/{:010}-{}.json", self.incident, self.seq, self.hash)
    }

    /// Whether it says of itself what its name says.
    fn holds_together(&self, incident: &str, seq: u64, hash: &str) -> bool {
        self.format == FORMAT
            && self.incident == incident
            && self.seq == seq
            && self.hash == hash
            && self.lines.last().is_some_and(|last| last == hash)
            && self.first.checked_add(self.lines.len() as u64) == seq.checked_add(1)
    }
}

/// What a repository says of one incident's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anchored {
    /// Entries by number, with each hash that is claimed for it: one, unless two journals were
    /// anchored under one incident.
    pub entries: BTreeMap<u64, Vec<String>>,
    /// How many anchors.
    pub count: usize,
    /// Time of the newest one's entry, where it can be read.
    pub newest: Option<Timestamp>,
    /// Objects whose content is not what was written. Their names still tell number and hash.
    pub damaged: Vec<String>,
}

impl Anchored {
    /// Takes in that an entry had this hash.
    pub fn claim(&mut self, seq: u64, hash: &str) {
        let known = self.entries.entry(seq).or_default();
        if !known.iter().any(|one| one == hash) {
            known.push(hash.to_owned());
        }
    }
}

impl Repository {
    /// Opens a repository for its anchors alone: no key is asked for, since none is needed.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_for_anchors(
        config: &RepositoryConfig,
        cluster: &str,
    ) -> Result<Self, RepositoryError> {
        let store = super::store::open(&config.store, cluster)?;
        Self::with_keyring(store, config, cluster, None)
    }

    /// Puts an anchor, durable when it returns; false where the same one is there already.
    ///
    /// # Errors
    /// Where it could not be written.
    pub fn put_anchor(&self, anchor: &Anchor) -> Result<bool, RepositoryError> {
        match self.put_json(&anchor.key(), anchor) {
            Ok(()) => Ok(true),
            Err(RepositoryError::Store(e)) if e.fault == StoreFault::Exists => {
                self.store.settle(&anchor.key())?;
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// All that is anchored of an incident.
    ///
    /// # Errors
    /// Where it could not be listed or read whole: then nothing follows from what was read.
    pub fn anchored(&self, incident: &str) -> Result<Anchored, RepositoryError> {
        let mut found = Anchored::default();
        let folder = format!("{FOLDER}{incident}/");
        for object in self.store.list(&folder, "")? {
            let Some((seq, hash)) = named(&object.key, &folder) else { continue };
            found.count += 1;
            found.claim(seq, &hash);
            match self.read_json::<Anchor>(&object.key) {
                Ok(anchor) if anchor.holds_together(incident, seq, &hash) => {
                    for (seq, hash) in (anchor.first..).zip(&anchor.lines) {
                        found.claim(seq, hash);
                    }
                    found.newest = found.newest.max(Some(anchor.at));
                }
                Ok(_) | Err(RepositoryError::Damaged { .. }) => found.damaged.push(object.key),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// Number and hash that stand in an anchor's name.
fn named(key: &str, folder: &str) -> Option<(u64, String)> {
    let (seq, hash) = key.strip_prefix(folder)?.strip_suffix(".json")?.split_once('-')?;
    let good = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    Some((seq.parse().ok().filter(|_| good)?, hash.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::fs;

    const INCIDENT: &str = "INC-20250113-001";

    fn anchor(first: u64, letters: &str) -> Anchor {
        let lines: Vec<String> = letters.chars().map(|c| c.to_string().repeat(64)).collect();
        Anchor::new(INCIDENT, "shop", "2025-01-13T10:00:00Z".parse().unwrap(), first, &lines)
    }

    #[test]
    fn an_anchor_is_put_once_and_tells_the_entries_before_it() {
        for place in Place::both() {
            let repository = Repository::open_for_anchors(&place.config, "shop").unwrap();
            assert_eq!(repository.anchored(INCIDENT).unwrap(), Anchored::default());
            assert!(repository.put_anchor(&anchor(1, "abc")).unwrap());
            let again = Anchor { host: "other".into(), ..anchor(1, "abc") };
            assert!(!repository.put_anchor(&again).unwrap(), "it is as it was");
            repository.put_anchor(&anchor(4, "d")).unwrap();
            let found = place.repository().anchored(INCIDENT).unwrap();
            assert_eq!((found.count, found.entries.len(), found.damaged.len()), (2, 4, 0));
            assert_eq!(found.entries[&2], ["b".repeat(64)]);
            // Another journal under the same number: both are kept.
            repository.put_anchor(&anchor(4, "e")).unwrap();
            assert_eq!(repository.anchored(INCIDENT).unwrap().entries[&4].len(), 2);
            assert_eq!(repository.anchored("INC-20250113-002").unwrap().count, 0);
            assert!(repository.unfinished().unwrap().is_empty());
        }
    }

    #[test]
    fn of_a_damaged_anchor_the_name_still_counts() {
        let place = Place::plain();
        let repository = place.repository();
        repository.put_anchor(&anchor(1, "ab")).unwrap();
        let name = format!("{:010}-{}.json", 2, "b".repeat(64));
        let path = place.root().join(FOLDER).join(INCIDENT).join(name);
        let text = fs::read_to_string(&path).unwrap();
        for content in
            [text.replace(&"a".repeat(64), "short"), text.replace("\"first\": 1", "\"first\": 0")]
        {
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
            let found = repository.anchored(INCIDENT).unwrap();
            assert_eq!(found.entries[&2], ["b".repeat(64)]);
            assert!(found.damaged.len() <= 1);
        }
        fs::write(&path, "{").unwrap();
        let found = repository.anchored(INCIDENT).unwrap();
        assert_eq!((found.entries.len(), found.damaged.len()), (1, 1));
    }
}
