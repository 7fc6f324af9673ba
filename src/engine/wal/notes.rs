//! What one `archive-wal` leaves for the next on this machine: which repository did not answer a
//! moment ago, which owes nothing, and which segments were pushed ahead. Owns a private folder
//! under the state directory. Notes are a convenience: whatever is wrong with them, the call does
//! without, and only loses time. Nothing here ever stands for a debt.
//!
//! ```text
//! <state>/archiving/<cluster>/<repository>.json   when it last failed, when it last owed nothing
//!                            /<boot>/<segment>    where that segment is already, and its digest
//! ```

use crate::engine::config::StoreConfig;
use crate::engine::crypto::tag::digest;
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A repository that failed is asked again after this; then after twice as long, and so on.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// How long "it owes nothing" is believed: another machine may have written a debt since.
const CLEAR_FOR: SignedDuration = SignedDuration::from_mins(10);

/// The notes of one cluster.
#[derive(Debug, Clone)]
pub struct Notes {
    /// `None` where there is no private folder to be had.
    folder: Option<PathBuf>,
}

/// What is known of one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Since when it fails.
    #[serde(default)]
    pub down: Option<Down>,
    /// When it was last seen to owe nothing.
    #[serde(default)]
    pub clear: Option<Timestamp>,
}

/// A repository that does not take WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    pub since: Timestamp,
    pub tried: Timestamp,
    /// Seconds until it is worth another try.
    pub pause: i64,
    pub why: String,
}

impl Down {
    /// Whether it is time to ask again. A clock that was set back is no reason to wait longer.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        !(0..self.pause).contains(&now.duration_since(self.tried).as_secs())
    }
}

/// A segment that was pushed ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`digest_of`] its content.
    pub digest: String,
    pub places: Vec<Place>,
}

/// Where it is, durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub repository: String,
    /// [`fingerprint`] of its settings: the same name may mean another place by now.
    pub settings: String,
    pub key: String,
    /// Stored bytes.
    pub size: u64,
}

/// What tells a WAL file's content from any other, with its name.
#[must_use]
pub fn digest_of(name: &str, content: &[u8]) -> String {
    HEXLOWER.encode(&digest("wal receipt", &[name.as_bytes(), content]))
}

/// What tells a store's settings from others.
#[must_use]
pub fn fingerprint(store: &StoreConfig) -> String {
    let text = format!("{store:?}");
    let whole = digest("store settings", &[text.as_bytes()]);
    HEXLOWER.encode(whole.get(..8).unwrap_or_default())
}

impl Notes {
    /// The notes of `cluster` under `state`; the folder is made where it is missing.
    #[must_use]
    pub fn open(state: &Path, cluster: &str) -> Self {
        let folder = state.join("archiving").join(cluster);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        // Others could have written a receipt for a segment that is nowhere.
        let ours = made.is_ok() && is_private(&folder);
        Self { folder: ours.then_some(folder) }
    }

    #[must_use]
    pub fn known(&self, repository: &str) -> Known {
        self.repository(repository).and_then(|path| read(&path)).unwrap_or_default()
    }

    /// The repository took a file or answered.
    pub fn is_up(&self, repository: &str) {
        let known = self.known(repository);
        if known.down.is_some() {
            self.write_known(repository, &Known { down: None, ..known });
        }
    }

    /// The repository did not take a file; it owes that file from now on.
    pub fn is_down(&self, repository: &str, why: &str, now: Timestamp) {
        let before = self.known(repository).down;
        let pause = before.as_ref().map_or(FIRST_PAUSE.as_secs(), |d| d.pause.saturating_mul(2));
        let since = before.map_or(now, |d| d.since);
        let pause = pause.clamp(FIRST_PAUSE.as_secs(), LONGEST_PAUSE.as_secs());
        let down = Some(Down { since, tried: now, pause, why: why.to_owned() });
        self.write_known(repository, &Known { down, clear: None });
    }

    /// A debt of the repository was written.
    pub fn owes(&self, repository: &str) {
        let known = self.known(repository);
        if known.clear.is_some() {
            self.write_known(repository, &Known { clear: None, ..known });
        }
    }

    /// The repository was seen to owe nothing.
    pub fn is_clear(&self, repository: &str, now: Timestamp) {
        let known = self.known(repository);
        self.write_known(repository, &Known { clear: Some(now), ..known });
    }

    /// Whether the repository may owe something: "it owes nothing" does not hold for ever.
    #[must_use]
    pub fn may_owe(&self, repository: &str, now: Timestamp) -> bool {
        self.known(repository).clear.is_none_or(|clear| {
            let age = now.duration_since(clear);
            age.is_negative() || age > CLEAR_FOR
        })
    }

    /// The receipt of a segment that was pushed ahead since the machine was started.
    #[must_use]
    pub fn receipt(&self, name: &str) -> Option<Receipt> {
        read(&self.receipts()?.join(name))
    }

    /// Not synced: what was noted before a power cut is not believed after it.
    pub fn write_receipt(&self, name: &str, receipt: &Receipt) {
        let Some(folder) = self.receipts() else { return };
        if DirBuilder::new().recursive(true).mode(0o700).create(&folder).is_ok() {
            write(&folder.join(name), receipt);
        }
    }

    pub fn drop_receipt(&self, name: &str) {
        if let Some(folder) = self.receipts() {
            let _ = fs::remove_file(folder.join(name));
        }
    }

    fn repository(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{name}.json")))
    }

    fn receipts(&self) -> Option<PathBuf> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        (boot.len() == 16).then(|| self.folder.as_ref().map(|folder| folder.join(boot)))?
    }

    fn write_known(&self, repository: &str, known: &Known) {
        if let Some(path) = self.repository(repository) {
            write(&path, known);
        }
    }
}

fn is_private(folder: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && m.uid() == user && m.mode() & 0o077 == 0)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write(path: &Path, value: &impl Serialize) {
    let Ok(text) = serde_json::to_vec(value) else { return };
    let temporary = crate::engine::files::temporary_beside(path);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_repository_that_is_down_is_asked_again_after_growing_pauses() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::open(folder.path(), "shop");
        notes.is_clear("far", at(900));
        assert!(!notes.may_owe("far", at(901)));
        let mut now = 1000;
        for pause in [10, 20, 40, 60, 60] {
            notes.is_down("far", "it is away", at(now));
            let down = notes.known("far").down.unwrap();
            assert_eq!((down.since, down.pause), (at(1000), pause));
            assert!(!down.is_due(at(now + pause - 1)) && down.is_due(at(now + pause)));
            assert!(down.is_due(at(now - 1)), "the clock was set back");
            now += pause;
        }
        assert!(notes.may_owe("far", at(now)));
        notes.is_up("far");
        assert_eq!(notes.known("far"), Known::default());
        notes.is_clear("far", at(2000));
        assert!(!notes.may_owe("far", at(2600)));
        assert!(notes.may_owe("far", at(2601)) && notes.may_owe("far", at(1999)));
        notes.owes("far");
        assert!(notes.may_owe("far", at(2000)));
    }

    #[test]
    fn notes_that_others_could_have_written_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::open(folder.path(), "shop");
        let receipt = Receipt { digest: digest_of("a", b"b"), places: vec![] };
        notes.write_receipt("000000010000000000000003", &receipt);
        assert_eq!(notes.receipt("000000010000000000000003"), Some(receipt));
        let path = folder.path().join("archiving/shop");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let again = Notes::open(folder.path(), "shop");
        assert_eq!(again.receipt("000000010000000000000003"), None);
        assert!(again.may_owe("far", at(0)));
        fs::write(folder.path().join("a file"), "").unwrap();
        let none = Notes::open(&folder.path().join("a file"), "shop");
        none.is_down("far", "it is away", at(0));
        assert_eq!(none.known("far"), Known::default());
    }
}
