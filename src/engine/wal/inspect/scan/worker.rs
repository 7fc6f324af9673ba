//! One lane of a scan: every so many segments of the path, fetched and boiled down, or taken from what
//! an earlier occasion kept. Owns what may be kept; never adds up, and knows no segment but its own.

use super::super::catalog::CatalogFiles;
use super::super::error::InspectError;
use super::super::gist::{Boiler, Gist, Outcome};
use super::super::source::Segments;
use super::{Path, ScanOptions};
use crate::engine::postgres::Lsn;
use crate::engine::wal::{Segment, TimelineId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

/// Names asked for at a time, for the cache.
const PAGE: usize = 256;

/// What a worker found under a segment's name.
pub(super) enum Found {
    Gist(Box<Gist>),
    /// As it was on an earlier occasion.
    Kept(Box<Gist>),
    Missing,
    Failed(InspectError),
}

pub(super) struct Read {
    pub segment: Segment,
    pub until: Option<Lsn>,
    pub catalogs: Arc<CatalogFiles>,
    pub found: Found,
}

pub(super) struct Worker<'a> {
    source: &'a dyn Segments,
    options: &'a ScanOptions<'a>,
    /// What stands for the content of the segments about to be read.
    fingerprints: HashMap<String, String>,
    page: Option<(TimelineId, u64)>,
}

impl<'a> Worker<'a> {
    pub fn new(source: &'a dyn Segments, options: &'a ScanOptions<'a>) -> Self {
        Self { source, options, fingerprints: HashMap::new(), page: None }
    }

    /// Every segment of the path that falls to this lane.
    pub fn run(
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

    pub fn read(&mut self, segment: Segment, until: Option<Lsn>, catalogs: &CatalogFiles) -> Found {
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
