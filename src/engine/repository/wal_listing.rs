//! The archive seen folder by folder, for what must look at all of it (retention) or at a part of
//! it (people). Owns no judgement; holds the names of one folder at a time.

use super::wal_object::{FOLDER, ObjectName};
use super::{Repository, RepositoryError};
use crate::engine::wal::{TimelineId, WalFile};
use jiff::Timestamp;

/// A folder of the archive: the segments that share their first 16 digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalFolder {
    pub timeline: TimelineId,
    /// 16 digits.
    pub name: String,
}

impl WalFolder {
    /// The numbers of its first and its last segment, at this segment size in bytes.
    #[must_use]
    pub fn numbers(&self, segment_size: u64) -> (u64, u64) {
        let each = (0x1_0000_0000_u64 / segment_size.max(1)).max(1);
        let high = self.name.get(8..).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let first = high.unwrap_or(0).saturating_mul(each);
        (first, first.saturating_add(each - 1))
    }
}

/// An object of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedFile {
    /// `000000010000000000000003`, with `.partial` or `.<offset>.backup` where it is one.
    pub name: String,
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    pub written: Option<Timestamp>,
    pub key_id: Option<String>,
}

impl ArchivedFile {
    /// The segment that it is, is a part of, or lies in: the first 24 digits.
    #[must_use]
    pub fn segment(&self) -> &str {
        self.name.get(..24).unwrap_or(&self.name)
    }

    /// Whether it is a whole segment, which alone counts for recovery.
    #[must_use]
    pub fn is_segment(&self) -> bool {
        matches!(WalFile::parse(&self.name), Some(WalFile::Segment { .. }))
    }
}

impl Repository {
    /// Folders of segments, by timeline and number.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn wal_folders(&self) -> Result<Vec<WalFolder>, RepositoryError> {
        let folder = |name: String| match WalFile::parse(&format!("{name}00000000")) {
            Some(WalFile::Segment { timeline, .. }) => Some(WalFolder { timeline, name }),
            _ => None,
        };
        let mut folders: Vec<_> =
            self.store.folders(FOLDER)?.into_iter().filter_map(folder).collect();
        folders.sort_unstable();
        Ok(folders)
    }

    /// What lies in one folder, by name. Objects that are no WAL are left out.
    ///
    /// # Errors
    /// Where it could not be listed whole.
    pub fn wal_files(&self, folder: &WalFolder) -> Result<Vec<ArchivedFile>, RepositoryError> {
        self.archived(&format!("{FOLDER}{}/", folder.name))
    }

    /// The history files.
    ///
    /// # Errors
    /// Where they could not be listed whole.
    pub fn history_files(&self) -> Result<Vec<ArchivedFile>, RepositoryError> {
        self.archived(FOLDER)
    }

    /// What of the archive has a name that begins with `prefix`: histories first, then folder after
    /// folder. Lists only folders that can hold such a name.
    ///
    /// # Errors
    /// Where a folder could not be listed whole; what was told before is true all the same.
    pub fn each_wal_file(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(ArchivedFile),
    ) -> Result<(), RepositoryError> {
        let mut tell = |files: Vec<ArchivedFile>| {
            files.into_iter().filter(|file| file.name.starts_with(prefix)).for_each(&mut *each);
        };
        tell(self.history_files()?);
        for folder in self.wal_folders()? {
            if folder.name.starts_with(prefix) || prefix.starts_with(&folder.name) {
                tell(self.wal_files(&folder)?);
            }
        }
        Ok(())
    }

    fn archived(&self, folder: &str) -> Result<Vec<ArchivedFile>, RepositoryError> {
        let mut files = Vec::new();
        for object in self.store.list(folder, "")? {
            if let Some(parsed) = ObjectName::parse(&object.key) {
                files.push(ArchivedFile {
                    name: parsed.file,
                    key_id: parsed.key_id,
                    size: object.size,
                    written: object.written,
                    key: object.key,
                });
            }
        }
        files.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;

    #[test]
    fn folders_and_files_are_seen_with_their_numbers() {
        for place in Place::both() {
            let repository = place.repository();
            for name in [
                "0000000100000000000000FE",
                "000000010000000100000000",
                "000000010000000100000000.partial",
                "000000020000000100000000",
                "00000002.history",
            ] {
                repository.put_wal(name, name.as_bytes()).unwrap();
            }
            let folders = repository.wal_folders().unwrap();
            let numbers: Vec<_> =
                folders.iter().map(|f| (f.timeline, f.numbers(16 << 20))).collect();
            assert_eq!(numbers, [(1, (0, 255)), (1, (256, 511)), (2, (256, 511))]);
            let files = repository.wal_files(&folders[1]).unwrap();
            let seen: Vec<_> =
                files.iter().map(|f| (f.segment(), f.is_segment(), f.written.is_some())).collect();
            let segment = "000000010000000100000000";
            assert_eq!(seen.len(), 2);
            assert!(
                seen.contains(&(segment, true, true)) && seen.contains(&(segment, false, true))
            );
            assert_eq!(files[0].key_id.is_some(), repository.keyring().is_some());
            assert_eq!(repository.history_files().unwrap().len(), 1);

            for (prefix, expected) in [
                ("", 5),
                ("00000001", 3),
                ("0000000100000000", 1),
                ("00000001000000010000", 2),
                ("000000010000000100000000.partial", 1),
                ("00000002", 2),
                ("00000003", 0),
            ] {
                let mut names = Vec::new();
                repository.each_wal_file(prefix, &mut |file| names.push(file.name)).unwrap();
                assert_eq!(names.len(), expected, "{prefix}: {names:?}");
                assert!(names.iter().all(|name| name.starts_with(prefix)), "{names:?}");
            }
        }
    }
}
