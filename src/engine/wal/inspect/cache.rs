//! What segments told, kept for the next time. Owns `wal-cache/` in the state directory: its
//! names, form and size. What is kept is found by the object's own name and tag, so that it can
//! never be that of another content; what cannot be read counts as not kept.

use super::catalog::CatalogFiles;
use super::gist::Gist;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Raised with every change to what is kept or how it is decoded.
const FORMAT: u32 = 5;
const MAGIC: &[u8; 4] = b"LBWG";
const SUFFIX: &str = ".gist";
/// Bytes on disk; beyond, what was not used for longest goes.
const LIMIT: u64 = 512 << 20;
/// A gist larger than this is not kept.
const LARGEST: usize = 64 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// A folder of gists.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

impl Cache {
    #[must_use]
    pub fn new(state_directory: &Path) -> Self {
        Self { folder: state_directory.join("wal-cache"), limit: LIMIT }
    }

    /// What was kept of the object that `fingerprint` stands for.
    #[must_use]
    pub fn get(&self, fingerprint: &str, catalogs: &CatalogFiles) -> Option<Gist> {
        let path = self.path(fingerprint, catalogs);
        let stored = fs::read(&path).ok()?;
        let rest = stored.strip_prefix(MAGIC)?;
        let (sum, packed) = rest.split_first_chunk::<4>()?;
        if crc32c::crc32c(packed) != u32::from_le_bytes(*sum) {
            return None;
        }
        let plain = zstd::bulk::decompress(packed, LARGEST).ok()?;
        let gist = postcard::from_bytes(&plain).ok()?;
        // Used now; once an hour is enough to tell.
        if let Ok(file) = File::open(&path)
            && let Ok(used) = file.metadata().and_then(|m| m.modified())
            && used.elapsed().is_ok_and(|age| age > HOUR)
        {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(gist)
    }

    /// Keeps a gist. Where that fails it is read again next time, no more.
    pub fn put(&self, fingerprint: &str, catalogs: &CatalogFiles, gist: &Gist) {
        let Some(packed) = postcard::to_stdvec(gist)
            .ok()
            .filter(|plain| plain.len() <= LARGEST)
            .and_then(|plain| zstd::bulk::compress(&plain, 1).ok())
        else {
            return;
        };
        let write = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(MAGIC)?;
            file.write_all(&crc32c::crc32c(&packed).to_le_bytes())?;
            file.write_all(&packed)?;
            file.persist(self.path(fingerprint, catalogs))?;
            Ok(())
        };
        let _ = write();
    }

    /// Removes what was not used for longest, down to nine tenths of the limit. Touches nothing
    /// but its own files.
    pub fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        if total <= self.limit {
            return;
        }
        files.sort();
        for (_, size, path) in files {
            if total <= self.limit / 10 * 9 {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }

    fn path(&self, fingerprint: &str, catalogs: &CatalogFiles) -> PathBuf {
        let mut numbers = DefaultHasher::new();
        catalogs.hash(&mut numbers);
        let mut sum = Sha256::new();
        sum.update(FORMAT.to_le_bytes());
        sum.update(env!("CARGO_PKG_VERSION"));
        sum.update(numbers.finish().to_le_bytes());
        sum.update(fingerprint);
        let name = HEXLOWER.encode(sum.finalize().first_chunk::<16>().unwrap_or(&[0; 16]));
        self.folder.join(format!("{name}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Digest;
    use super::super::gist::{Outcome, Stretch};
    use super::super::reader::Edges;
    use super::*;
    use crate::engine::postgres::Lsn;

    fn gist(records: u64) -> Gist {
        Gist {
            version: 15,
            system_identifier: Some(42),
            edges: Edges::default(),
            stretches: vec![Stretch::pack(&Digest { records, ..Digest::default() }).unwrap()],
            end: Some(Lsn(7)),
            reached: Lsn(8),
            outcome: Outcome::Whole,
        }
    }

    #[test]
    fn what_is_kept_is_found_by_content_and_catalogs() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let none = CatalogFiles::default();
        assert_eq!(cache.get("a", &none), None);
        cache.put("a", &none, &gist(3));
        assert_eq!(cache.get("a", &none), Some(gist(3)));
        assert_eq!(cache.get("b", &none), None);
        let mut moved = none.clone();
        moved.add(5, 1259, 20000);
        assert_eq!(cache.get("a", &moved), None);
    }

    #[test]
    fn a_flipped_bit_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let none = CatalogFiles::default();
        cache.put("a", &none, &gist(3));
        let path = cache.path("a", &none);
        let content = fs::read(&path).unwrap();
        for at in 0..content.len() {
            let mut wrong = content.clone();
            wrong[at] ^= 1;
            fs::write(&path, &wrong).unwrap();
            assert_eq!(cache.get("a", &none), None, "byte {at}");
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::new(folder.path());
        let none = CatalogFiles::default();
        for name in ["a", "b", "c"] {
            cache.put(name, &none, &gist(1));
        }
        let foreign = cache.folder.join("somebody's");
        fs::write(&foreign, "x").unwrap();
        let old = File::options().write(true).open(cache.path("b", &none)).unwrap();
        old.set_modified(SystemTime::now() - 5 * HOUR).unwrap();
        let size = fs::metadata(cache.path("a", &none)).unwrap().len();
        cache.limit = size * 3 - 1;
        cache.prune();
        assert_eq!(cache.get("b", &none), None);
        assert!(cache.get("a", &none).is_some() && cache.get("c", &none).is_some());
        assert!(foreign.exists());
    }
}
