//! Reads a path of segments from its first to its last: one thread fetches ahead, this one
//! decodes. Owns what a hole or a damaged segment in the middle means for the reading (it goes
//! on behind it and says so) and the end of the log; never lists an archive.

use super::error::InspectError;
use super::ledger::{History, Ledger};
use super::reader::{Fed, Reader};
use super::source::Segments;
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::wal::{Segment, TimelineId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Segments fetched ahead of the one that is decoded.
const AHEAD: usize = 2;

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
}

/// Reads `path` from `source`. `segment_size` in bytes.
///
/// # Errors
/// Where a segment could not be fetched or belongs to another cluster, and
/// [`InspectError::Cancelled`]. A missing or damaged segment is no error but a [`Break`].
pub fn scan(
    source: &dyn Segments,
    path: &Path,
    segment_size: u64,
    system_identifier: Option<u64>,
    progress: &dyn Fn(ScanProgress),
    cancelled: &dyn Fn() -> bool,
) -> Result<Scan, InspectError> {
    let stop = AtomicBool::new(false);
    let (fetched, decoded) = sync_channel(AHEAD);
    let (used, reuse) = channel();
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || fetch(source, path, segment_size, stop, &fetched, &reuse));
        let mut run = Run {
            path,
            segment_size,
            system_identifier,
            reader: Reader::new(segment_size, system_identifier),
            ledger: Ledger::default(),
            out: Scan::default(),
            expected: None,
            broken: None,
        };
        let result = run.all(&decoded, &used, progress, cancelled);
        stop.store(true, Ordering::Relaxed);
        // The fetcher may wait for room: it sees the closed channel and ends.
        drop(decoded);
        result.map(|()| {
            let history = run.ledger.finish();
            Scan { history, ..run.out }
        })
    })
}

struct Fetched {
    segment: Segment,
    until: Option<Lsn>,
    /// `None` where the file is not there.
    content: Result<Option<Vec<u8>>, Explanation>,
}

fn fetch(
    source: &dyn Segments,
    path: &Path,
    segment_size: u64,
    stop: &AtomicBool,
    fetched: &SyncSender<Fetched>,
    reuse: &Receiver<Vec<u8>>,
) {
    for piece in &path.pieces {
        for number in piece.first..=piece.last {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let segment = Segment { timeline: piece.timeline, number };
            let mut buffer = reuse.try_recv().unwrap_or_default();
            let content = source
                .get_into(&segment.name(segment_size), &mut buffer)
                .map(|there| there.then_some(buffer));
            let until = piece.until.filter(|_| number == piece.last);
            if fetched.send(Fetched { segment, until, content }).is_err() {
                return;
            }
        }
    }
}

struct Run<'a> {
    path: &'a Path,
    segment_size: u64,
    system_identifier: Option<u64>,
    reader: Reader,
    ledger: Ledger,
    out: Scan,
    /// The number that the next segment must have to follow the one before.
    expected: Option<u64>,
    /// Why the log could not be followed in the segment before, until something follows.
    broken: Option<(Lsn, String)>,
}

impl Run<'_> {
    fn all(
        &mut self,
        segments: &Receiver<Fetched>,
        used: &Sender<Vec<u8>>,
        progress: &dyn Fn(ScanProgress),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), InspectError> {
        let total = self.path.segments();
        let mut done = 0;
        for fetched in segments {
            if cancelled() {
                return Err(InspectError::Cancelled);
            }
            let segment = fetched.segment;
            let name = segment.name(self.segment_size);
            match fetched.content.map_err(InspectError::Source)? {
                Some(content) => {
                    self.one(segment, &name, fetched.until, &content)?;
                    let _ = used.send(content);
                }
                None if self.broken.is_none() => {
                    self.broken = Some((self.out.end, format!("segment {name} is missing")));
                }
                None => {}
            }
            done += 1;
            progress(ScanProgress {
                segment: name,
                segments_done: done,
                segments_total: total,
                bytes: self.out.bytes,
                lsn: self.out.end,
            });
        }
        if done < total {
            return Err(InspectError::Source(Explanation::new(
                crate::engine::explain::Kind::Internal,
                "fetching WAL ended before all of it was read",
                "Nothing was changed; WAL was only read.",
                "Try again.",
            )));
        }
        if let Some((_, why)) = self.broken.take() {
            self.out.ending = why;
        }
        Ok(())
    }

    fn one(
        &mut self,
        segment: Segment,
        name: &str,
        until: Option<Lsn>,
        content: &[u8],
    ) -> Result<(), InspectError> {
        let start = segment.start(self.segment_size);
        if self.out.bytes == 0 {
            self.out.start = start;
        }
        self.follow(segment, start);
        let ledger = &mut self.ledger;
        let mut end = None;
        let fed = self.reader.feed(content, start, &mut |record| {
            if until.is_none_or(|until| record.lsn < until) {
                ledger.observe(record);
                end = Some(record.end);
            }
        });
        self.out.bytes += content.len() as u64;
        self.out.version = self.reader.version().max(self.out.version);
        if let Some(end) = end {
            self.out.end = end;
        }
        self.expected = Some(segment.number.saturating_add(1));
        let cut = match fed {
            Ok(Fed::Whole) if until.is_some() => {
                Some(String::from("the timeline that continues it is not in the archive"))
            }
            Ok(Fed::Whole) => {
                self.out.end = self.out.end.max(self.reader.end());
                None
            }
            Ok(Fed::Ended(stop)) => Some(format!("segment {name}: {}", stop.why)),
            Err(InspectError::Damaged { lsn, what }) => {
                Some(format!("segment {name} is damaged at {lsn}: {what}"))
            }
            Err(e) => return Err(e),
        };
        self.broken = cut.map(|why| (self.out.end, why));
        Ok(())
    }

    /// Whether the log goes on here from where it was; if not, reading begins anew.
    fn follow(&mut self, segment: Segment, start: Lsn) {
        let missing = self.expected.filter(|expected| *expected != segment.number);
        let reason = match (self.broken.take(), missing) {
            (Some(broken), _) => broken,
            (None, Some(number)) => {
                let first = Segment { timeline: segment.timeline, number };
                let why = if number + 1 >= segment.number {
                    format!("segment {} is missing", first.name(self.segment_size))
                } else {
                    let count = segment.number - number;
                    format!("{count} segments are missing, from {}", first.name(self.segment_size))
                };
                (self.out.end, why)
            }
            (None, None) => return,
        };
        let (at, why) = reason;
        if self.out.bytes == 0 {
            self.out.start = start;
        }
        self.out.breaks.push(Break { at, resume: start, why });
        self.reader = Reader::new(self.segment_size, self.system_identifier);
        self.ledger.interrupted();
    }
}
