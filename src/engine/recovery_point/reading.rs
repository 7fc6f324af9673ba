//! The log read along one timeline's line, from a place on. Owns what it is read with and that the
//! same stretch is not read twice; what the records mean is the inspection's to say.

use super::{Inputs, Landscape, LandscapeError, OnScan, Timelines, Trace};
use crate::engine::postgres::Lsn;
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::Coverage;
use crate::engine::wal::inspect::ledger::MAX_ENDINGS;
use crate::engine::wal::inspect::{After, Cache, CatalogFiles, ScanOptions, Segments, scan};
use std::sync::Arc;

/// What a trace is read from.
pub(super) struct Reading<'a> {
    pub segments: &'a dyn Segments,
    pub coverage: &'a Coverage,
    pub timelines: &'a Timelines,
    pub inputs: &'a Inputs,
    pub catalogs: &'a CatalogFiles,
    pub after: Vec<After>,
}

impl Reading<'_> {
    pub fn trace(
        self,
        timeline: u32,
        from: Lsn,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Trace, LandscapeError> {
        let has_history = self.timelines.line(timeline).is_some();
        let line = match self.timelines.line(timeline) {
            Some(line) => line.clone(),
            // A backup of its own makes it usable from there on, as the server sees it too.
            None if self.timelines.is_rootless(timeline) => vec![(timeline, Lsn(0))],
            // A cluster without any WAL yet, or with none left: an empty picture, not a failure.
            None if self.coverage.stretches.is_empty() => vec![(timeline, Lsn(0))],
            None => return Err(LandscapeError::NoTimeline(timeline)),
        };
        let path = self.coverage.path(&line, from);
        let cache = Cache::new(&self.inputs.state_directory);
        let options = ScanOptions {
            system_identifier: self.inputs.cluster.system_identifier,
            catalogs: self.catalogs.clone(),
            focus: self.inputs.symptom.focus(),
            after: self.after,
            cache: Some(&cache),
            most_endings: self.inputs.most_commits.unwrap_or(MAX_ENDINGS),
            ..ScanOptions::new(self.coverage.segment_size)
        };
        let scan = scan(self.segments, &path, &options, progress, cancelled)?;
        Ok(Trace { timeline, line, has_history, scan })
    }
}

impl Landscape {
    pub(super) fn reading(&self, after: Vec<After>) -> Reading<'_> {
        Reading {
            segments: &self.segments,
            coverage: &self.coverage,
            timelines: &self.timelines,
            inputs: &self.inputs,
            catalogs: &self.relations.catalogs,
            after,
        }
    }

    pub(super) fn trace_from(
        &self,
        timeline: u32,
        from: Lsn,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Arc<Trace>, LandscapeError> {
        let start = Segment::holding(timeline, from, self.coverage.segment_size)
            .start(self.coverage.segment_size);
        let fits = |t: &Arc<Trace>| t.timeline == timeline && t.scan.start <= start;
        if fits(&self.main) {
            return Ok(Arc::clone(&self.main));
        }
        let kept = self.more.lock().ok().and_then(|more| more.iter().find(|t| fits(t)).cloned());
        if let Some(trace) = kept {
            return Ok(trace);
        }
        let made = Arc::new(self.reading(Vec::new()).trace(timeline, start, progress, cancelled)?);
        if let Ok(mut more) = self.more.lock() {
            // One is enough: a new question about another stretch replaces it.
            *more = vec![Arc::clone(&made)];
        }
        Ok(made)
    }
}
