//! How the picture comes to be: archives opened, their backups and WAL listed, the log read from
//! the base before the incident on. Owns which archives and bases count and where reading begins;
//! judges no target.

use super::reading::Reading;
use super::{
    Archive, Edge, Inputs, Landscape, LandscapeError, OnScan, Relations, Timelines, Trace,
};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::postgres::Lsn;
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::Coverage;
use crate::engine::wal::inspect::{Folder, Layered, Segments};
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex};

impl Landscape {
    /// Lists backups and WAL, and reads the WAL from the base before the incident on.
    ///
    /// # Errors
    /// Where no repository can be read, or WAL could not be fetched; a missing or damaged
    /// segment is no error but a gap in the picture.
    pub fn build(
        inputs: Inputs,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, LandscapeError> {
        let size = inputs.cluster.segment_size;
        if !size.is_power_of_two() {
            return Err(LandscapeError::NoSegmentSize);
        }
        let mut warnings = Vec::new();
        let (archives, bases) = open_archives(&inputs, &mut warnings)?;
        let oldest = bases.iter().map(|b| b.start_lsn).min().unwrap_or_default();
        let wal_failed = LandscapeError::NoRepository;
        let mut sources: Vec<Arc<dyn Segments>> =
            archives.iter().map(|a| Arc::clone(a) as Arc<dyn Segments>).collect();
        let archived =
            Coverage::list(&Layered::new(sources.clone()), size, oldest).map_err(wal_failed)?;
        if let Some(path) = &inputs.rescue {
            let folder = Folder::new(path);
            match folder.timelines() {
                Ok(_) => sources.push(Arc::new(folder)),
                Err(e) => {
                    warnings.push(format!("WAL that was not archived could not be read: {e}"))
                }
            }
        }
        let segments = Layered::new(sources);
        let coverage = Coverage::list(&segments, size, oldest).map_err(wal_failed)?;
        let mut timelines = Timelines::read(&segments).map_err(wal_failed)?;
        timelines.rootless(bases.iter().map(|b| b.timeline));
        warnings.extend(timelines.warnings.iter().cloned());
        let newest_base = bases.iter().map(|b| b.timeline).max().unwrap_or(1);
        let latest = timelines.latest(newest_base.max(inputs.cluster.timeline.unwrap_or(1)));
        let latest = timelines.usable(latest, newest_base);
        let from = window_start(&bases, &inputs);
        let mut relations = relations(&archives, &bases, from, &mut warnings);
        let reading = Reading {
            segments: &segments,
            coverage: &coverage,
            timelines: &timelines,
            inputs: &inputs,
            catalogs: &relations.catalogs,
            after: Vec::new(),
        };
        let main = reading.trace(latest, from, progress, cancelled)?;
        let rescued_from = rescued_from(&main, &archived, &coverage);
        relations.learn(&main.scan.history.names);
        if let Some(live) = &inputs.live {
            relations.complete_with(live.clone());
        }
        Ok(Self {
            inputs,
            at: Timestamp::now(),
            segments,
            timelines,
            coverage,
            bases,
            relations,
            main: Arc::new(main),
            more: Mutex::default(),
            fine: Mutex::default(),
            on_disk: Mutex::default(),
            rescued_from,
            warnings,
        })
    }
}

type Opened = (Vec<Arc<dyn Archive>>, Vec<BaseSummary>);

/// The archives that can be read, and their bases of this cluster, oldest first.
pub(super) fn open_archives(
    inputs: &Inputs,
    warnings: &mut Vec<String>,
) -> Result<Opened, LandscapeError> {
    let (mut archives, mut bases) = (Vec::new(), Vec::<BaseSummary>::new());
    let mut failure = None;
    for archive in &inputs.archives {
        match archive.timelines().and_then(|_| archive.bases()) {
            Ok((found, unreadable)) => {
                archives.push(Arc::clone(archive));
                warnings.extend(unreadable.iter().map(ToString::to_string));
                // A copy in a further repository is the same base; the nearest one names it.
                for base in found {
                    if !bases.iter().any(|known| is_copy(known, &base)) {
                        bases.push(base);
                    }
                }
            }
            Err(e) => {
                warnings.push(format!("The repository {} could not be read: {e}", archive.name()));
                failure = Some(e);
            }
        }
    }
    if let (true, Some(failure)) = (archives.is_empty(), failure) {
        return Err(LandscapeError::NoRepository(failure));
    }
    if let Some(ours) = inputs.cluster.system_identifier {
        bases.retain(|base: &BaseSummary| {
            let same = base.system_identifier == ours;
            if !same {
                warnings.push(format!(
                    "{} is a backup of another cluster (system identifier {}) and is left out.",
                    base.set, base.system_identifier
                ));
            }
            same
        });
    }
    if bases.is_empty() {
        warnings.push(String::from("There is no usable base backup of this cluster."));
    }
    bases.sort_by_key(|b| b.stop_lsn);
    Ok((archives, bases))
}

/// The same backup, wherever it lies.
fn is_copy(one: &BaseSummary, other: &BaseSummary) -> bool {
    one.set == other.set
        && *one == BaseSummary { repository: one.repository.clone(), ..other.clone() }
}

/// Reading begins at the newest base that ended well before the incident: what did the damage
/// lies behind it.
fn window_start(bases: &[BaseSummary], inputs: &Inputs) -> Lsn {
    let hour = SignedDuration::from_hours(1);
    let noticed = inputs.detected.unwrap_or_else(Timestamp::now);
    let well_before = noticed.saturating_sub(hour).unwrap_or(noticed);
    let mut before = inputs.last_known_good.map_or(well_before, |good| good.min(well_before));
    let mut before_lsn = Lsn(u64::MAX);
    match inputs.symptom.from {
        Some(Edge::Time(from)) => before = from,
        Some(Edge::Lsn(from)) => (before, before_lsn) = (Timestamp::MAX, from),
        None => {}
    }
    let serves = |b: &&BaseSummary| b.finished <= before && b.stop_lsn <= before_lsn;
    let serving = bases.iter().rev().find(serves);
    serving.or(bases.first()).map_or(Lsn(0), |b| b.start_lsn)
}

/// The first segment of the path that no archive holds.
fn rescued_from(main: &Trace, archived: &Coverage, all: &Coverage) -> Option<Lsn> {
    let path = all.path(&main.line, main.scan.start);
    let missing = |piece: &crate::engine::wal::inspect::scan::Piece| {
        (piece.first..=piece.last)
            .map(|number| Segment { timeline: piece.timeline, number })
            .find(|segment| !archived.contains(*segment))
    };
    path.pieces.iter().find_map(missing).map(|s| s.start(all.segment_size))
}

/// Names of tables from the base that reading begins at and the newest one.
fn relations(
    archives: &[Arc<dyn Archive>],
    bases: &[BaseSummary],
    from: Lsn,
    warnings: &mut Vec<String>,
) -> Relations {
    let mut all = Relations::default();
    let mut wanted: Vec<&BaseSummary> =
        bases.iter().filter(|b| b.start_lsn == from).take(1).collect();
    if let Some(newest) = bases.last().filter(|n| n.start_lsn != from) {
        wanted.push(newest);
    }
    for base in wanted {
        // Its own archive first, then whoever else may have a copy.
        let (own, others): (Vec<_>, Vec<_>) =
            archives.iter().partition(|archive| archive.name() == base.repository);
        let mut failure = None;
        let found = own.into_iter().chain(others).find_map(|archive| {
            archive.relations(&base.set).map_err(|e| failure.get_or_insert(e).clone()).ok()
        });
        match (found, failure) {
            (Some(found), _) => all.complete_with(found),
            (None, Some(e)) => warnings.push(format!(
                "The names of tables in {} could not be read; files are shown by number: {e}",
                base.set
            )),
            (None, None) => {}
        }
    }
    all
}
