//! Adds up what the lanes found, in the log's order. Owns what a hole or a damaged segment in the
//! middle means for the reading (it goes on behind it and says so), the records that cross segments,
//! and the end of the log.

use super::super::catalog::CatalogFiles;
use super::super::digest::Digester;
use super::super::error::InspectError;
use super::super::gist::{Gist, Outcome};
use super::super::ledger::Ledger;
use super::super::reader::{Edges, Head, Tail, checked};
use super::super::source::Segments;
use super::worker::{Found, Read, Worker};
use super::{Break, Path, Scan, ScanOptions, ScanProgress};
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::wal::Segment;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Run<'a> {
    source: &'a dyn Segments,
    path: &'a Path,
    options: &'a ScanOptions<'a>,
    /// Where workers learn which catalogs were rewritten.
    catalogs: &'a Mutex<Arc<CatalogFiles>>,
    system_identifier: Option<u64>,
    version: u32,
    pub ledger: Ledger,
    pub out: Scan,
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
    pub fn new(
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

    pub fn all(
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
