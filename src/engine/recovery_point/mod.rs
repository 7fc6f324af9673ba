//! The recovery point: what the repository and the WAL offer, which transaction did the damage,
//! and proof that a target can be reached. Owns the picture of backups and WAL that a target is
//! chosen from; changes nothing anywhere.

pub mod archive;
pub mod culprits;
mod fine;
pub mod gather;
pub mod live;
pub mod opened;
mod picture;
pub mod rates;
pub mod reach;
mod survey;
pub mod suspects;
pub mod symptom;
pub mod timelines;
mod trace;
pub mod window;
pub(in crate::engine) mod words;

pub use archive::{Archive, ClosedArchive, Relation, Relations, RepositoryArchive};
pub use culprits::{Culprit, Culprits};
pub use rates::Rates;
pub use symptom::{Edge, Symptom, SymptomKind};
pub use trace::Trace;

use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::incident::facts::{
    BaseSummary, Commit, OnDisk, Reach, Survey, Target, TargetPoint,
};
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control_file::ControlFile;
use crate::engine::restore::base::delta::Reuse;
use crate::engine::restore::places::Live;
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::Coverage;
use crate::engine::wal::inspect::ledger::MAX_ENDINGS;
use crate::engine::wal::inspect::{
    After, Cache, CatalogFiles, Folder, InspectError, Layered, ScanOptions, ScanProgress, Segments,
    scan,
};
use jiff::{SignedDuration, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use timelines::Timelines;

/// What is known of the cluster itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterFacts {
    /// Bytes, from `pg_control`.
    pub segment_size: u64,
    pub system_identifier: Option<u64>,
    /// Timeline of the last checkpoint, from `pg_control`.
    pub timeline: Option<u32>,
    /// The five settings in `pg_control`; empty where it cannot be read.
    pub settings: Vec<(String, i64)>,
    /// Of the running server.
    pub current_lsn: Option<Lsn>,
    /// Major version of the server's programs on this host.
    pub binaries_major: Option<u32>,
    /// Block and WAL block size that these programs were built for, bytes.
    pub program_blocks: Option<(u32, u32)>,
    /// The cluster's, bytes, from `pg_control`.
    pub wal_block_size: Option<u32>,
    pub data_directory: PathBuf,
    pub alternative_data_directory: Option<PathBuf>,
    /// A recovery of it has begun: what it fills is filled, wholly or in part, and room for all of it
    /// is no question any more.
    pub has_begun: bool,
    pub places: PlacesFacts,
}

/// What of the cluster lies outside its data directory, as far as it can be looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlacesFacts {
    pub mapping: BTreeMap<PathBuf, PathBuf>,
    /// Every tablespace goes into this folder, by its number; the mapping is not asked.
    pub under: Option<PathBuf>,
    /// `None` where it cannot be looked at.
    pub live: Option<Live>,
    /// Why a part of the cluster cannot be kept.
    pub refused: Option<Explanation>,
}

impl ClusterFacts {
    /// From the control file; the rest is to be filled in by who knows it.
    #[must_use]
    pub fn from_control(control: &ControlFile, data_directory: PathBuf) -> Self {
        let settings = [
            ("max_connections", control.max_connections),
            ("max_worker_processes", control.max_worker_processes),
            ("max_wal_senders", control.max_wal_senders),
            ("max_prepared_transactions", control.max_prepared_transactions),
            ("max_locks_per_transaction", control.max_locks_per_transaction),
        ];
        Self {
            segment_size: u64::from(control.wal_segment_size),
            system_identifier: Some(control.system_identifier),
            timeline: Some(control.checkpoint.timeline),
            settings: settings.map(|(name, value)| (name.to_owned(), i64::from(value))).to_vec(),
            current_lsn: None,
            binaries_major: None,
            program_blocks: None,
            wal_block_size: Some(control.wal_block_size),
            data_directory,
            alternative_data_directory: None,
            has_begun: false,
            places: PlacesFacts::default(),
        }
    }
}

/// Everything that a [`Landscape`] is built from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Nearest first.
    pub archives: Vec<Arc<dyn Archive>>,
    pub cluster: ClusterFacts,
    /// `pg_wal` of the damaged directory, or where it was rescued to: WAL that only it holds
    /// counts as reachable, for the plan rescues it.
    pub rescue: Option<PathBuf>,
    pub detected: Option<Timestamp>,
    pub last_known_good: Option<Timestamp>,
    /// What is seen of the damage; nothing where it is yet to be said.
    pub symptom: Symptom,
    /// What the running server knows of names, where it answers.
    pub live: Option<Relations>,
    /// Where `rates.json` and `wal-cache/` are.
    pub state_directory: PathBuf,
    /// Commits that are kept one by one; older ones by the minute. `None`: as many as fit.
    pub most_commits: Option<usize>,
}

/// What may bring the server to a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Means {
    /// A restore of whichever base serves.
    #[default]
    AnyBase,
    /// A restore of this set.
    Base(String),
    /// The server that was restored from `base` and has replayed up to `at`: to a later point it
    /// goes on, to an earlier one any base is restored anew, taking from `over`, the directory
    /// where it stands, what is equal. `None`: all is fetched.
    Standing { base: BaseSummary, at: Lsn, over: Option<Reuse> },
}

impl Means {
    /// The cluster as a restore by these means finds it: where a server stands already, it goes into
    /// that server's place and into no other.
    fn ground<'a>(&self, cluster: &'a ClusterFacts) -> Cow<'a, ClusterFacts> {
        match self {
            Self::Standing { over: Some(over), .. } if over.from != cluster.data_directory => {
                Cow::Owned(ClusterFacts {
                    data_directory: over.from.clone(),
                    alternative_data_directory: None,
                    ..cluster.clone()
                })
            }
            _ => Cow::Borrowed(cluster),
        }
    }
}

/// Why no picture could be made.
#[derive(Debug, thiserror::Error)]
pub enum LandscapeError {
    #[error("no repository could be read: {}", .0.what)]
    NoRepository(Explanation),
    #[error("the cluster's WAL segment size is not known")]
    NoSegmentSize,
    #[error("timeline {0} is not in the archive")]
    NoTimeline(u32),
    #[error(transparent)]
    Wal(#[from] InspectError),
}

impl Explain for LandscapeError {
    fn explanation(&self) -> Explanation {
        let untouched = "Nothing was changed; everything was only read.";
        match self {
            Self::NoRepository(inner) => Explanation {
                what: sentence(self),
                untouched: untouched.to_owned(),
                ..inner.clone()
            },
            Self::NoSegmentSize => Explanation::new(
                Kind::NotFound,
                sentence(self),
                untouched,
                "It stands in pg_control: check that the data directory is the right one and readable.",
            ),
            Self::NoTimeline(_) => Explanation::new(
                Kind::NotFound,
                sentence(self),
                untouched,
                "Choose one of the timelines shown, or none to follow the latest.",
            ),
            Self::Wal(inner) => inner.explanation(),
        }
    }
}

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

    /// Whether and how `target` can be reached. Reads older WAL where the target needs it.
    ///
    /// # Errors
    /// Where it could not be judged; an unreachable target is no error.
    pub fn reach(
        &self,
        target: &Target,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reach, LandscapeError> {
        self.reach_by(target, &Means::AnyBase, progress, cancelled)
    }

    /// As [`Landscape::reach`], by the means given.
    ///
    /// # Errors
    /// As [`Landscape::reach`].
    pub fn reach_by(
        &self,
        target: &Target,
        means: &Means,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reach, LandscapeError> {
        let timeline = match target.timeline {
            // The server would look for its history, and not start without.
            Some(timeline) if timeline > 1 && self.timelines.line(timeline).is_none() => {
                return Err(LandscapeError::NoTimeline(timeline));
            }
            Some(timeline) => timeline,
            None => self.main.timeline,
        };
        let rates = Rates::load(&self.inputs.state_directory);
        let only: Vec<BaseSummary> = match means {
            Means::AnyBase => Vec::new(),
            Means::Base(set) => self.bases.iter().filter(|b| b.set == *set).cloned().collect(),
            Means::Standing { base, .. } => vec![base.clone()],
        };
        let goes_on = |trace: &Trace| match means {
            Means::Standing { base, at, .. } => trace
                .position(target, base.start_lsn)
                .is_ok_and(|position| position.stop > *at)
                .then_some(*at),
            _ => None,
        };
        let cluster = means.ground(&self.inputs.cluster);
        let judge = |trace: &Trace| {
            let goes_on_from = goes_on(trace);
            // Behind where the server stands, every base may serve, by a restore of its own.
            let any = match means {
                Means::AnyBase => true,
                Means::Base(_) => false,
                Means::Standing { .. } => goes_on_from.is_none(),
            };
            let exact = self.exact_stop(trace, target);
            let ground = reach::Ground {
                trace,
                exact: exact.map(|(place, stop)| (target, place, stop)),
                bases: if any { &self.bases } else { &only },
                cluster: &cluster,
                rates: &rates,
                rescued_from: self.rescued_from,
                goes_on_from,
            };
            let mut reach = reach::prove(target, &ground);
            reach.cost = picture::cost(&reach, &ground, &self.relations);
            let mut reach = self.opened(reach, &ground);
            if let (Means::Standing { at, over: Some(over), .. }, None) = (means, goes_on_from) {
                self.spare(&mut reach, over, *at, &rates);
            }
            reach
        };
        let near = self.trace_from(timeline, self.main.scan.start, progress, cancelled)?;
        let judged = judge(&near);
        let from = match means {
            // An earlier point may need an older base than the one that was restored.
            Means::Standing { base, .. } if goes_on(&near).is_some() => {
                self.needed_from(target).max(base.start_lsn)
            }
            _ => self.needed_from(target),
        };
        if judged.reachable || from >= near.scan.start {
            return Ok(judged);
        }
        let far = self.trace_from(timeline, from, progress, cancelled)?;
        Ok(judge(&far))
    }

    /// Whether the archives hold what they held when this was made: the same backups, and WAL
    /// without more or less. What cannot be listed now has changed.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let oldest = self.bases.iter().map(|b| b.start_lsn).min().unwrap_or_default();
        let listed = Coverage::list(&self.segments, self.coverage.segment_size, oldest);
        let mut unheard = Vec::new();
        let bases = open_archives(&self.inputs, &mut unheard).map(|(_, bases)| bases);
        listed.is_ok_and(|now| now == self.coverage) && bases.is_ok_and(|now| now == self.bases)
    }

    /// Counts what the directory where the server stands spares of a restore anew. Where that cannot
    /// be told, everything counts as fetched.
    fn spare(&self, reach: &mut Reach, over: &Reuse, at: Lsn, rates: &Rates) {
        let Some(set) = reach.base.as_ref().map(|base| base.set.clone()) else { return };
        let known = self.on_disk.lock().ok().and_then(|known| known.clone());
        let known = known.filter(|(of, stands, _)| (of, *stands) == (&set, at));
        let found = known.map(|(.., found)| found).or_else(|| {
            let ask = |archive: &Arc<dyn Archive>| archive.on_disk(&set, over).ok().flatten();
            self.inputs.archives.iter().find_map(ask)
        });
        let Some(found) = found else { return };
        let forecast = rates.forecast_over(&found, reach.wal_bytes);
        reach.forecast = Some(forecast);
        for choice in reach.cost.bases.iter_mut().filter(|choice| choice.set == set) {
            choice.forecast = forecast;
        }
        reach.on_disk = Some(found.clone());
        if let Ok(mut known) = self.on_disk.lock() {
            *known = Some((set, at, found));
        }
    }

    /// Tries for real what a verdict's base needs: its keys, its folders, the programs.
    fn opened(&self, mut reach: Reach, ground: &reach::Ground<'_>) -> Reach {
        let trace = ground.trace;
        let Some(base) = reach.base.clone() else { return reach };
        let archives = &self.inputs.archives;
        let (own, others): (Vec<_>, Vec<_>) =
            archives.iter().partition(|archive| archive.name() == base.repository);
        let mut set = None;
        // What was restored already is not opened again.
        let stands = ground.goes_on_from;
        for archive in own.into_iter().chain(others).filter(|_| stands.is_none()) {
            match (archive.open_set(&base.set).transpose(), &set) {
                (Some(Ok(found)), _) => {
                    set = Some(Ok(found));
                    break;
                }
                (Some(failed), None) => set = Some(failed),
                _ => {}
            }
        }
        let from = base.start_lsn.max(stands.unwrap_or_default());
        let newest = from.0.saturating_add(reach.wal_bytes);
        let newest = Lsn(newest.saturating_sub(1));
        let held = timelines::holding(&trace.line, newest);
        let size = self.coverage.segment_size;
        let name = Segment::holding(held, newest, size).name(size);
        let wal = archives.iter().find_map(|archive| archive.open_wal(&name).transpose());
        let wal = wal.map(|key| (name, key.map(|id| (!id.is_empty()).then_some(id))));
        let mut checks = vec![match stands {
            Some(_) => opened::wal_key(wal.as_ref()),
            None => opened::keys(&base, set.as_ref(), wal.as_ref()),
        }];
        if let Some(Ok(set)) = &set {
            let cluster = ground.cluster;
            checks.push(opened::blocks(set, cluster));
            checks.push(opened::tablespaces(set, cluster));
            checks.extend(opened::keepable(cluster));
            reach.alternative = opened::alternative(set, cluster, base.size);
            if opened::has_several_places(set, cluster) {
                let other = reach.alternative.as_deref();
                checks.push(opened::room(set, cluster, base.size, other));
            }
        }
        opened::replace(&mut reach.checks, checks);
        reach.reachable = reach::passes(&reach.checks);
        reach
    }

    /// From where WAL must be read to judge a target: a base that can serve must lie in it.
    fn needed_from(&self, target: &Target) -> Lsn {
        let oldest = self.bases.first().map_or(Lsn(u64::MAX), |b| b.start_lsn);
        let serving = |before: &dyn Fn(&BaseSummary) -> bool| {
            self.bases.iter().rev().find(|b| before(b)).map_or(oldest, |b| b.start_lsn)
        };
        match &target.point {
            TargetPoint::Time(at) => serving(&|b| b.finished <= *at),
            TargetPoint::Lsn(lsn) => serving(&|b| b.stop_lsn <= *lsn),
            TargetPoint::Xid(_) | TargetPoint::Name(_) => oldest,
            TargetPoint::EndOfArchive | TargetPoint::EndOfBase => Lsn(u64::MAX),
        }
    }

    fn reading(&self, after: Vec<After>) -> Reading<'_> {
        Reading {
            segments: &self.segments,
            coverage: &self.coverage,
            timelines: &self.timelines,
            inputs: &self.inputs,
            catalogs: &self.relations.catalogs,
            after,
        }
    }

    fn trace_from(
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

type Opened = (Vec<Arc<dyn Archive>>, Vec<BaseSummary>);

/// The archives that can be read, and their bases of this cluster, oldest first.
fn open_archives(inputs: &Inputs, warnings: &mut Vec<String>) -> Result<Opened, LandscapeError> {
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

/// What a trace is read from.
struct Reading<'a> {
    segments: &'a dyn Segments,
    coverage: &'a Coverage,
    timelines: &'a Timelines,
    inputs: &'a Inputs,
    catalogs: &'a CatalogFiles,
    after: Vec<After>,
}

impl Reading<'_> {
    fn trace(
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
