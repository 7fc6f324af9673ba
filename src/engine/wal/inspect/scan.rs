//! Reads a path of segments from its first to its last: workers fetch and boil them down side by
//! side, one adds up in order. Owns what a hole or a damaged segment in the middle means for the
//! reading (it goes on behind it and says so), the records that cross segments, and the end of
//! the log. Memory: a few packed gists a worker, and what the ledger keeps.

use super::cache::Cache;
use super::catalog::CatalogFiles;
use super::digest::Digester;
use super::error::InspectError;
use super::gist::{Boiler, Gist, Outcome};
use super::history::History;
use super::ledger::{After, Focus, Ledger, MAX_ENDINGS};
use super::reader::{Edges, Head, Tail, checked};
use super::source::Segments;
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::wal::{Segment, TimelineId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Names asked for at a time, for the cache.
const PAGE: usize = 256;
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

/// What a worker found under a segment's name.
enum Found {
    Gist(Box<Gist>),
    /// As it was on an earlier occasion.
    Kept(Box<Gist>),
    Missing,
    Failed(InspectError),
}

struct Read {
    segment: Segment,
    until: Option<Lsn>,
    catalogs: Arc<CatalogFiles>,
    found: Found,
}

struct Worker<'a> {
    source: &'a dyn Segments,
    options: &'a ScanOptions<'a>,
    /// What stands for the content of the segments about to be read.
    fingerprints: HashMap<String, String>,
    page: Option<(TimelineId, u64)>,
}

impl<'a> Worker<'a> {
    fn new(source: &'a dyn Segments, options: &'a ScanOptions<'a>) -> Self {
        Self { source, options, fingerprints: HashMap::new(), page: None }
    }

    /// Every segment of the path that falls to this lane.
    fn run(
        &mut self,
        path: &Path,
        (lane, lanes): (usize, usize),
        stop: &AtomicBool,
        catalogs: &Mutex<Arc<CatalogFiles>>,
        to: &SyncSender<Read>,
    ) {
        let mut index = 0;
        for piece in &path.pieces {
            for number in piece.first..=piece.last {
                index = (index + 1) % lanes;
                if index != (lane + 1) % lanes {
                    continue;
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let segment = Segment { timeline: piece.timeline, number };
                let until = piece.until.filter(|_| number == piece.last);
                let catalogs = Arc::clone(&catalogs.lock().unwrap_or_else(PoisonError::into_inner));
                let found = self.read(segment, until, &catalogs);
                if to.send(Read { segment, until, catalogs, found }).is_err() {
                    return;
                }
            }
        }
    }

    fn read(&mut self, segment: Segment, until: Option<Lsn>, catalogs: &CatalogFiles) -> Found {
        let name = segment.name(self.options.segment_size);
        // A segment that is cut at a fork means something else on each side of it.
        let cache = self.options.cache.filter(|_| until.is_none());
        let fingerprint = cache.and_then(|_| self.fingerprint(segment, &name));
        if let (Some(cache), Some(fingerprint)) = (cache, &fingerprint)
            && let Some(gist) = cache.get(fingerprint, catalogs)
        {
            return Found::Kept(Box::new(gist));
        }
        let ScanOptions { segment_size, system_identifier, .. } = *self.options;
        let mut boiler = Boiler::new(segment, segment_size, system_identifier, until, catalogs);
        match self.source.read(&name, &mut boiler) {
            Ok(true) => {}
            Ok(false) => return Found::Missing,
            Err(e) => return Found::Failed(InspectError::Source(e)),
        }
        match boiler.finish() {
            Ok(gist) => {
                if let (Some(cache), Some(fingerprint)) = (cache, &fingerprint)
                    && gist.outcome == Outcome::Whole
                {
                    cache.put(fingerprint, catalogs, &gist);
                }
                Found::Gist(Box::new(gist))
            }
            Err(e) => Found::Failed(e),
        }
    }

    fn fingerprint(&mut self, segment: Segment, name: &str) -> Option<String> {
        let page = (segment.timeline, segment.number / PAGE as u64);
        if self.page != Some(page) {
            self.page = Some(page);
            let first = Segment { timeline: page.0, number: page.1 * PAGE as u64 };
            let first = first.name(self.options.segment_size);
            // Without it nothing is kept; reading itself says what is wrong.
            let listed = self.source.fingerprints(page.0, &first, PAGE).unwrap_or_default();
            self.fingerprints = listed.into_iter().collect();
        }
        self.fingerprints.get(name).cloned()
    }
}

struct Run<'a> {
    source: &'a dyn Segments,
    path: &'a Path,
    options: &'a ScanOptions<'a>,
    /// Where workers learn which catalogs were rewritten.
    catalogs: &'a Mutex<Arc<CatalogFiles>>,
    system_identifier: Option<u64>,
    version: u32,
    ledger: Ledger,
    out: Scan,
    /// A record that ends in a segment to come.
    carried: Option<Tail>,
    /// Start of the record before.
    previous: Option<Lsn>,
    /// The number that the next segment must have to follow the one before.
    expected: Option<u64>,
    /// Why the log could not be followed in the segment before, until something follows.
    broken: Option<(Lsn, String)>,
}

impl<'a> Run<'a> {
    fn new(
        source: &'a dyn Segments,
        path: &'a Path,
        options: &'a ScanOptions<'a>,
        catalogs: &'a Mutex<Arc<CatalogFiles>>,
    ) -> Self {
        Self {
            source,
            path,
            options,
            catalogs,
            system_identifier: options.system_identifier,
            version: 0,
            ledger: Ledger::new(
                options.catalogs.clone(),
                options.focus,
                options.after.clone(),
                options.most_endings,
            ),
            out: Scan::default(),
            carried: None,
            previous: None,
            expected: None,
            broken: None,
        }
    }

    fn all(
        &mut self,
        lanes: &[Receiver<Read>],
        progress: &dyn Fn(ScanProgress),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), InspectError> {
        let total = self.path.segments();
        let mut done = 0;
        for lane in lanes.iter().cycle() {
            if done == total {
                break;
            }
            let Some(read) = next(lane, cancelled)? else { break };
            let name = read.segment.name(self.options.segment_size);
            self.take(read, &name)?;
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

    fn take(&mut self, read: Read, name: &str) -> Result<(), InspectError> {
        let Read { segment, until, catalogs, mut found } = read;
        if *catalogs != *self.ledger.catalogs() {
            // Read while a catalog moved to another file: once more, with what is known now.
            let now = Arc::new(self.ledger.catalogs().clone());
            *self.catalogs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
            found = Worker::new(self.source, self.options).read(segment, until, &now);
        }
        match found {
            Found::Gist(gist) => self.one(segment, name, until, *gist),
            Found::Kept(gist) => {
                self.out.kept_segments += 1;
                self.one(segment, name, until, *gist)
            }
            Found::Missing => {
                if self.broken.is_none() {
                    self.broken = Some((self.out.end, format!("segment {name} is missing")));
                }
                Ok(())
            }
            Found::Failed(e) => Err(e),
        }
    }

    fn one(
        &mut self,
        segment: Segment,
        name: &str,
        until: Option<Lsn>,
        gist: Gist,
    ) -> Result<(), InspectError> {
        let start = segment.start(self.options.segment_size);
        self.same_cluster(&gist, start)?;
        if self.out.bytes == 0 {
            self.out.start = start;
        }
        self.follow(segment, start);
        self.expected = Some(segment.number.saturating_add(1));
        self.out.bytes += self.options.segment_size;
        self.out.version = gist.version.max(self.out.version);
        let Gist { edges, stretches, end, reached, outcome, .. } = gist;
        let has_tail = edges.tail.is_some();
        if let Err(e) = self.joined(&edges) {
            let InspectError::Damaged { lsn, what } = e else { return Err(e) };
            // What follows the damage is read again from the next segment on.
            self.carried = None;
            let why = format!("segment {name} is damaged at {lsn}: {what}");
            self.broken = Some((self.out.end, why));
            return Ok(());
        }
        self.previous = edges.last.or(self.previous);
        if let Some(tail) = edges.tail {
            self.carried = Some(tail);
        }
        for stretch in stretches {
            self.ledger.absorb(stretch.unpack()?, self.version);
        }
        if let Some(end) = end {
            self.out.end = end;
        }
        let cut = match outcome {
            Outcome::Whole if until.is_some() => {
                Some(String::from("the timeline that continues it is not in the archive"))
            }
            Outcome::Whole => {
                if !has_tail && self.carried.is_none() {
                    self.out.end = self.out.end.max(reached);
                }
                None
            }
            Outcome::Ended(why) => Some(format!("segment {name}: {why}")),
            Outcome::Damaged(lsn, what) => {
                Some(format!("segment {name} is damaged at {lsn}: {what}"))
            }
        };
        self.broken = cut.map(|why| (self.out.end, why));
        Ok(())
    }

    /// Every segment must be of one cluster and one major version.
    fn same_cluster(&mut self, gist: &Gist, lsn: Lsn) -> Result<(), InspectError> {
        let foreign = |what| Err(InspectError::Foreign { lsn, what });
        // A segment that was never written has neither.
        if let Some(theirs) = gist.system_identifier {
            let ours = *self.system_identifier.get_or_insert(theirs);
            if ours != theirs {
                return foreign(format!("it was written by the cluster {theirs}, not {ours}"));
            }
        }
        if gist.version != 0 {
            if self.version != 0 && self.version != gist.version {
                let (theirs, ours) = (gist.version, self.version);
                return foreign(format!("it was written by PostgreSQL {theirs}, not {ours}"));
            }
            self.version = gist.version;
        }
        Ok(())
    }

    /// Puts the record that crosses into this segment together, and checks that the segment's
    /// records follow those before.
    fn joined(&mut self, edges: &Edges) -> Result<(), InspectError> {
        let damaged = |lsn, what: &str| Err(InspectError::Damaged { lsn, what: what.to_owned() });
        let given_up = edges.overwrites;
        match (self.carried.take(), &edges.head) {
            (Some(mut carried), Some(head)) => {
                if carried.total != carried.bytes.len().saturating_add(head.remaining) {
                    return damaged(
                        carried.start,
                        "its continuation has another length than the record says",
                    );
                }
                carried.bytes.extend_from_slice(&head.bytes);
                if head.bytes.len() == head.remaining {
                    self.crossed(&carried, head)?;
                } else if given_up {
                    self.previous = None;
                } else {
                    self.carried = Some(carried);
                }
            }
            (Some(carried), None) => {
                if !given_up && edges.first.is_some() {
                    return damaged(carried.start, "the record is not continued on the next page");
                }
                self.previous = None;
            }
            (None, Some(_)) if self.previous.is_some() && !given_up => {
                let at = edges.first.map_or(self.out.end, |(lsn, _)| lsn);
                return damaged(at, "it continues a record that was never begun");
            }
            (None, _) if given_up => self.previous = None,
            (None, _) => {}
        }
        if let (Some(previous), Some((lsn, says))) = (self.previous, edges.first)
            && previous != says
        {
            return damaged(lsn, "the record does not follow the one before it");
        }
        Ok(())
    }

    fn crossed(&mut self, whole: &Tail, head: &Head) -> Result<(), InspectError> {
        let (record, says) = checked(&whole.bytes, whole.start, head.end, self.version)?;
        if self.previous.is_some_and(|previous| previous != says) {
            let what = String::from("the record does not follow the one before it");
            return Err(InspectError::Damaged { lsn: whole.start, what });
        }
        let catalogs = self.ledger.catalogs().clone();
        let mut digester = Digester::new(&catalogs);
        digester.observe(&record);
        self.ledger.absorb(digester.finish(), self.version);
        self.previous = Some(whole.start);
        self.out.end = head.end;
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
                    format!("segment {} is missing", first.name(self.options.segment_size))
                } else {
                    let count = segment.number - number;
                    format!(
                        "{count} segments are missing, from {}",
                        first.name(self.options.segment_size)
                    )
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
        self.carried = None;
        self.previous = None;
        self.ledger.interrupted();
    }
}

/// The next segment of a lane. `None` where its worker ended.
fn next(lane: &Receiver<Read>, cancelled: &dyn Fn() -> bool) -> Result<Option<Read>, InspectError> {
    loop {
        if cancelled() {
            return Err(InspectError::Cancelled);
        }
        match lane.recv_timeout(Duration::from_millis(100)) {
            Ok(read) => return Ok(Some(read)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}
