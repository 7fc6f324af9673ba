//! Writes into a repository that never ended. Owns which names can be ours and when a writer is
//! given up for gone; removes nothing by itself.

use super::Repository;
use super::store::{StoreError, Unfinished};
use super::wal_object::FOLDER as ARCHIVE;
use super::{anchor, hold, verification};
use crate::engine::crypto::wrap::FOLDER as KEYS;
use crate::engine::wal::debts::FOLDER as DEBTS;
use jiff::{SignedDuration, Timestamp};

/// A writer that wrote nothing for so long is gone, on whatever host it was.
pub const GONE_AFTER: SignedDuration = SignedDuration::from_hours(24);

const FOLDERS: [&str; 7] =
    [ARCHIVE, KEYS, DEBTS, hold::FOLDER, hold::PINNED, verification::FOLDER, anchor::FOLDER];
/// What lies right under the repository.
const TOP: [&str; 5] =
    ["base-", "set-", "cluster.json", super::store::MARKER, super::store::permission::QUESTION];

impl Unfinished {
    /// Whether its writer is certainly gone as of `now`.
    #[must_use]
    pub fn is_abandoned(&self, now: Timestamp) -> bool {
        !self.held && now.duration_since(self.active) >= GONE_AFTER
    }
}

impl Repository {
    /// Writes of Lifeboat's own in this repository that have not ended, of whatever host.
    ///
    /// # Errors
    /// Where they could not be listed whole.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let mut found = self.store.unfinished(&FOLDERS)?;
        found.retain(|one| {
            let known = |name: &&str| one.key.starts_with(*name);
            FOLDERS.iter().chain(TOP.iter()).any(known)
        });
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_gone_after_a_day_of_silence_and_never_while_it_has_its_file() {
        let active: Timestamp = "2025-01-13T02:00:00Z".parse().unwrap();
        let one = Unfinished {
            key: String::from("base-20250113-020000.tar.gz"),
            id: String::new(),
            bytes: 1,
            active,
            held: false,
        };
        let day = active + GONE_AFTER;
        assert!(one.is_abandoned(day));
        assert!(!one.is_abandoned(day - SignedDuration::from_secs(1)));
        assert!(!Unfinished { held: true, ..one.clone() }.is_abandoned(day));
        // A clock that lies behind proves nothing.
        assert!(!one.is_abandoned(active - SignedDuration::from_hours(48)));
    }
}
