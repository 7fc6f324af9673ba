//! The recovery point: what the repository and the WAL offer, which transaction did the damage,
//! and proof that a target can be reached. Owns the picture of backups and WAL that a target is
//! chosen from; changes nothing anywhere.

pub mod archive;
mod building;
pub mod culprits;
mod error;
mod fine;
pub mod gather;
mod inputs;
pub mod live;
pub mod opened;
mod picture;
pub mod rates;
pub mod reach;
mod reading;
mod survey;
pub mod suspects;
pub mod symptom;
pub mod timelines;
mod trace;
mod verdict;
pub mod window;
pub(in crate::engine) mod words;

pub use archive::{Archive, ClosedArchive, Relation, Relations, RepositoryArchive};
pub use culprits::{Culprit, Culprits};
pub use error::LandscapeError;
pub use inputs::{ClusterFacts, Inputs, PlacesFacts};
pub use rates::Rates;
pub use symptom::{Edge, Symptom, SymptomKind};
pub use trace::Trace;
pub use verdict::Means;

use crate::engine::incident::facts::{BaseSummary, Commit, OnDisk, Survey};
use crate::engine::postgres::Lsn;
use crate::engine::wal::continuity::Coverage;
use crate::engine::wal::inspect::{Layered, ScanProgress};
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use timelines::Timelines;

/// Reports how far reading is.
pub type OnScan<'a> = &'a dyn Fn(ScanProgress);

/// The picture of backups and WAL. Made once and asked often; reads more where a target lies
/// before what it has read.
#[derive(Debug)]
pub struct Landscape {
    inputs: Inputs,
    at: Timestamp,
    segments: Layered,
    timelines: Timelines,
    coverage: Coverage,
    /// Oldest first; of this cluster.
    bases: Vec<BaseSummary>,
    relations: Relations,
    /// The latest timeline's, from the base before the incident on.
    main: Arc<Trace>,
    /// Others that a target asked for.
    more: Mutex<Vec<Arc<Trace>>>,
    /// The stretch that was looked at last, where commits are kept by the minute.
    fine: Mutex<Option<fine::Fine>>,
    /// What was found on the disk of the set asked for last, and for which place of the server.
    on_disk: Mutex<Option<(String, Lsn, OnDisk)>>,
    rescued_from: Option<Lsn>,
    warnings: Vec<String>,
}

impl Landscape {
    /// The base backups of this cluster, oldest first.
    #[must_use]
    pub fn bases(&self) -> &[BaseSummary] {
        &self.bases
    }

    /// What screens show and pre-fill.
    #[must_use]
    pub fn survey(&self) -> Survey {
        survey::survey(self)
    }

    /// Up to `count` commits around a moment, in the log's order.
    #[must_use]
    pub fn commits_around(&self, at: Timestamp, count: usize) -> Vec<Commit> {
        let trace = &self.main;
        let micros = at.as_microsecond();
        self.with_fine(micros, |endings| {
            let commits: Vec<_> = endings.iter().filter(|e| e.committed()).collect();
            let index = commits.iter().position(|e| e.micros > micros).unwrap_or(commits.len());
            let first = index.saturating_sub(count / 2).min(commits.len().saturating_sub(count));
            commits.into_iter().skip(first).take(count).map(|e| trace.commit(e)).collect()
        })
    }

    /// Commits from one moment to another in that many columns, and those nearest to `around`.
    /// Of what was read already; before it there are none.
    #[must_use]
    pub fn window(
        &self,
        span: (Timestamp, Timestamp),
        columns: u32,
        around: Timestamp,
    ) -> crate::engine::incident::past::Window {
        self.with_fine(around.as_microsecond(), |endings| {
            picture::window(&self.main, endings, span, columns, around)
        })
    }

    /// The same picture without one base backup.
    #[must_use]
    pub fn without(mut self, set: &str) -> Self {
        self.bases.retain(|base| base.set != set);
        self
    }

    /// Whether the archives hold what they held when this was made: the same backups, and WAL
    /// without more or less. What cannot be listed now has changed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let oldest = self.bases.iter().map(|b| b.start_lsn).min().unwrap_or_default();
        let listed = Coverage::list(&self.segments, self.coverage.segment_size, oldest);
        let mut unheard = Vec::new();
        let bases = building::open_archives(&self.inputs, &mut unheard).map(|(_, bases)| bases);
        listed.is_ok_and(|now| now == self.coverage) && bases.is_ok_and(|now| now == self.bases)
    }
}
