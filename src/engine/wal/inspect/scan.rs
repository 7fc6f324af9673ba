//! Reads a path of segments from its first to its last: workers fetch and boil them down side by
//! side, one adds up in order. Owns what is asked and what is told; a hole or a damaged segment in
//! the middle is never an error. Memory: a few packed gists a worker, and what the ledger keeps.

mod run;
mod worker;

use super::cache::Cache;
use super::catalog::CatalogFiles;
use super::error::InspectError;
use super::history::History;
use super::ledger::{After, Focus, MAX_ENDINGS};
use super::source::Segments;
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use run::Run;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use worker::Worker;

/// Segments larger than this are read one at a time: each is in memory as it is stored.
const LARGE: u64 = 64 << 20;

/// The segments that recovery would read, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    pub pieces: Vec<Piece>,
}

/// Segments of one timeline without a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub timeline: TimelineId,
    pub first: u64,
    /// Inclusive.
    pub last: u64,
    /// What lies from here on belongs to another timeline's history.
    pub until: Option<Lsn>,
}

impl Path {
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.pieces.iter().map(|p| p.last.saturating_sub(p.first).saturating_add(1)).sum()
    }
}

/// A place where the log cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// End of the last whole record before it.
    pub at: Lsn,
    /// Where reading went on.
    pub resume: Lsn,
    /// What is missing or damaged, naming the segment.
    pub why: String,
}

/// How far a scan is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanProgress {
    pub segment: String,
    pub segments_done: u64,
    pub segments_total: u64,
    /// Bytes of WAL decoded.
    pub bytes: u64,
    pub lsn: Lsn,
}

/// What a path of WAL told.
#[derive(Debug, Default)]
pub struct Scan {
    pub history: History,
    pub breaks: Vec<Break>,
    /// Where the first segment begins.
    pub start: Lsn,
    /// End of the last whole record.
    pub end: Lsn,
    /// Why the log ends there; empty where the last segment is full.
    pub ending: String,
    /// Major version of the server that wrote it; 0 where nothing was read.
    pub version: u32,
    /// Bytes decoded.
    pub bytes: u64,
    /// Segments that were read on an earlier occasion and not again now.
    pub kept_segments: u64,
}

/// How a scan is done.
#[derive(Debug, Clone)]
pub struct ScanOptions<'a> {
    /// Bytes.
    pub segment_size: u64,
    /// Segments of another cluster are refused; `None` takes the first one's.
    pub system_identifier: Option<u64>,
    /// Catalogs that were rewritten before the log begins.
    pub catalogs: CatalogFiles,
    /// Where details are wanted.
    pub focus: Focus,
    /// Points behind which changes are added up apart.
    pub after: Vec<After>,
    pub cache: Option<&'a Cache>,
    /// Endings kept one by one; beyond, the oldest are thinned.
    pub most_endings: usize,
    /// Segments read side by side.
    pub workers: usize,
}

impl ScanOptions<'_> {
    #[must_use]
    pub fn new(segment_size: u64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            segment_size,
            system_identifier: None,
            catalogs: CatalogFiles::default(),
            focus: Focus::default(),
            after: Vec::new(),
            cache: None,
            most_endings: MAX_ENDINGS,
            workers: if segment_size > LARGE { 1 } else { processors.clamp(1, 4) },
        }
    }
}

/// Reads `path` from `source`.
///
/// # Errors
/// Where a segment could not be fetched or belongs to another cluster, and
/// [`InspectError::Cancelled`]. A missing or damaged segment is no error but a [`Break`].
pub fn scan(
    source: &dyn Segments,
    path: &Path,
    options: &ScanOptions<'_>,
    progress: &dyn Fn(ScanProgress),
    cancelled: &dyn Fn() -> bool,
) -> Result<Scan, InspectError> {
    let stop = AtomicBool::new(false);
    let catalogs = Mutex::new(Arc::new(options.catalogs.clone()));
    let workers = options.workers.max(1);
    let result = std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        for lane in 0..workers {
            // One that waits, one in work: no worker runs away from the others.
            let (sender, receiver) = sync_channel(1);
            let (stop, catalogs) = (&stop, &catalogs);
            scope.spawn(move || {
                let mut worker = Worker::new(source, options);
                worker.run(path, (lane, workers), stop, catalogs, &sender);
            });
            lanes.push(receiver);
        }
        let mut run = Run::new(source, path, options, &catalogs);
        let result = run.all(&lanes, progress, cancelled);
        stop.store(true, Ordering::Relaxed);
        // A worker may wait for room: it sees the closed channel and ends.
        drop(lanes);
        result.map(|()| Scan { history: run.ledger.finish(), ..run.out })
    });
    if let Some(cache) = options.cache {
        cache.prune();
    }
    result
}
