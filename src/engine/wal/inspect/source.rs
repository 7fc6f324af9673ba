//! Where segments come from. Owns the contract between the scan and whatever keeps WAL, and the
//! two that need no repository: a folder of plain segments, and several sources as one.

use super::page::{PageHeader, PageStart};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::wal::{Segment, TimelineId, WalFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Takes a file's content as it comes.
pub trait Content {
    /// Before the first byte; and once more where another place begins anew after one that
    /// failed in the middle: what came before counts for nothing.
    fn begin(&mut self);

    fn take(&mut self, bytes: &[u8]);
}

/// Something that keeps WAL files by name.
pub trait Segments: Send + Sync + std::fmt::Debug {
    /// For messages, such as "the archive /var/backups/shop".
    fn describe(&self) -> String;

    /// A file's content. `None` only where it is proven absent.
    ///
    /// # Errors
    /// Where it could not be read whole, or its absence is not certain.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation>;

    /// As [`Segments::get`], piece by piece, with little memory; false where it is absent. What
    /// was given before an error is worth nothing.
    ///
    /// # Errors
    /// As [`Segments::get`].
    fn read(&self, name: &str, content: &mut dyn Content) -> Result<bool, Explanation> {
        let whole = self.get(name)?;
        if let Some(whole) = &whole {
            content.begin();
            content.take(whole);
        }
        Ok(whole.is_some())
    }

    /// Names of whole segments of one timeline, ascending, from `from` on, at most `limit`.
    ///
    /// # Errors
    /// Where they could not be listed whole.
    fn list(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<String>, Explanation>;

    /// Every timeline that has a segment or a history file, ascending.
    ///
    /// # Errors
    /// Where they could not be listed.
    fn timelines(&self) -> Result<Vec<TimelineId>, Explanation>;

    /// As [`Segments::list`], each name with what stands for its content: another content never
    /// has the same. Empty where there is no such thing; then nothing of them is kept for later.
    ///
    /// # Errors
    /// Where they could not be listed.
    fn fingerprints(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Explanation> {
        let _ = (timeline, from, limit);
        Ok(Vec::new())
    }
}

/// Bytes that are read and handed on at once.
const PIECE: usize = 256 << 10;

/// The whole of a file, in memory.
#[derive(Debug, Default)]
struct Whole(Vec<u8>);

impl Content for Whole {
    fn begin(&mut self) {
        self.0.clear();
    }

    fn take(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A folder of plain segments: `pg_wal`, or a rescue of it. Files that the server keeps for
/// reuse bear the name of a segment to come but hold an old one: those do not count.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn failed(&self, what: &str, source: &std::io::Error) -> Explanation {
        Explanation::new(
            Kind::Storage,
            format!("could not {what} in {}: {source}", self.path.display()),
            "Nothing was changed; WAL was only read.",
            "Check that the folder is mounted and that you may read it.",
        )
    }

    /// Whether the file holds what its name says, by its first page.
    fn is_written(&self, name: &str) -> Result<bool, Explanation> {
        let mut head = Vec::with_capacity(40);
        match std::fs::File::open(self.path.join(name)) {
            Ok(file) => file.take(40).read_to_end(&mut head),
            // The server recycles files while they are listed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => Err(e),
        }
        .map_err(|e| self.failed(&format!("read {name}"), &e))?;
        let PageStart::Header(header) = PageHeader::parse(&head) else { return Ok(false) };
        let size = header.long.map_or(0, |long| u64::from(long.segment_size));
        Ok(Segment::parse(name, size).is_some_and(|s| s.start(size) == header.address))
    }

    fn names(&self) -> Result<Vec<String>, Explanation> {
        let failed = |e| self.failed("list WAL files", &e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

impl Segments for Folder {
    fn describe(&self) -> String {
        format!("the folder {}", self.path.display())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation> {
        let mut whole = Whole::default();
        Ok(self.read(name, &mut whole)?.then_some(whole.0))
    }

    fn read(&self, name: &str, content: &mut dyn Content) -> Result<bool, Explanation> {
        let failed = |e| self.failed(&format!("read {name}"), &e);
        let mut file = match std::fs::File::open(self.path.join(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // An absent folder (an unmounted volume) proves nothing about the file.
                return std::fs::metadata(&self.path).map(|_| false).map_err(failed);
            }
            Err(e) => return Err(failed(e)),
        };
        content.begin();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(count) => content.take(piece.get(..count).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    fn list(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<String>, Explanation> {
        let wanted = |name: &String| {
            name.as_str() >= from
                && matches!(WalFile::parse(name), Some(WalFile::Segment { timeline: t, .. }) if t == timeline)
        };
        let mut names: Vec<String> = self.names()?.into_iter().filter(wanted).collect();
        names.sort_unstable();
        let mut whole = Vec::new();
        for name in names {
            if whole.len() == limit {
                break;
            }
            if self.is_written(&name)? {
                whole.push(name);
            }
        }
        Ok(whole)
    }

    fn timelines(&self) -> Result<Vec<TimelineId>, Explanation> {
        let timeline = |name: &String| match WalFile::parse(name)? {
            WalFile::Segment { timeline, .. } | WalFile::History { timeline } => Some(timeline),
            WalFile::Partial { .. } | WalFile::BackupLabel { .. } => None,
        };
        let found: BTreeSet<TimelineId> = self.names()?.iter().filter_map(timeline).collect();
        Ok(found.into_iter().collect())
    }
}

/// Several sources as one; the first that has a file gives it.
#[derive(Debug, Clone)]
pub struct Layered {
    sources: Vec<Arc<dyn Segments>>,
}

impl Layered {
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn Segments>>) -> Self {
        Self { sources }
    }
}

impl Segments for Layered {
    fn describe(&self) -> String {
        self.sources.iter().map(|s| s.describe()).collect::<Vec<_>>().join(", then ")
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation> {
        let mut whole = Whole::default();
        Ok(self.read(name, &mut whole)?.then_some(whole.0))
    }

    fn read(&self, name: &str, content: &mut dyn Content) -> Result<bool, Explanation> {
        let mut doubt = None;
        for source in &self.sources {
            match source.read(name, content) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(e) => doubt = doubt.or(Some(e)),
            }
        }
        doubt.map_or(Ok(false), Err)
    }

    fn list(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<String>, Explanation> {
        // The smallest names of the union are among the smallest of each.
        let mut names = BTreeSet::new();
        for source in &self.sources {
            names.extend(source.list(timeline, from, limit)?);
        }
        Ok(names.into_iter().take(limit).collect())
    }

    fn fingerprints(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Explanation> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for source in &self.sources {
            for (name, fingerprint) in source.fingerprints(timeline, from, limit)? {
                all.entry(name).or_insert(fingerprint);
            }
        }
        Ok(all.into_iter().take(limit).collect())
    }

    fn timelines(&self) -> Result<Vec<TimelineId>, Explanation> {
        let mut all = BTreeSet::new();
        for source in &self.sources {
            all.extend(source.timelines()?);
        }
        Ok(all.into_iter().collect())
    }
}
