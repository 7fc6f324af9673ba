//! A repository on the page of `status`: backups, WAL and its gaps, the reachable window, keys,
//! verification, locks and space. Reads names, descriptors and a few WAL files; owns the arithmetic
//! of the window, and asks nobody twice.

use crate::engine::config::{Cluster, Encryption, RepositoryConfig, StoreConfig};
use crate::engine::crypto::wrap::time_of;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::{BaseSummary, Verdict};
use crate::engine::postgres::Lsn;
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::recovery_point::reach::free_space;
use crate::engine::recovery_point::timelines::Timelines;
use crate::engine::repository::store::Hold;
use crate::engine::repository::{Repository, RepositoryError, SetDescriptor};
use crate::engine::schedule::look::{Answer, NewestWal, Seen};
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::{BaseRange, Coverage, Gap, Stretch};
use crate::engine::wal::inspect::scan::Piece;
use crate::engine::wal::inspect::{Path, ScanOptions, scan};
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// How many backups are looked through for the last verification.
const LOOKED_THROUGH: usize = 16;
/// How many of the newest WAL files are read for the newest commit.
const READ: u64 = 3;

/// One repository of a cluster.
#[derive(Debug, Clone, Serialize)]
pub struct RepositoryStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// Why it could not be asked; everything below is then not known.
    pub trouble: Option<Explanation>,
    /// Backups that can be read and authenticated.
    pub backups: Option<usize>,
    /// Those that cannot, with the reason.
    pub unreadable: Vec<String>,
    pub newest_backup: Option<BaseSummary>,
    pub newest_backup_age_seconds: Option<i64>,
    pub newest_wal: Option<NewestWal>,
    pub newest_wal_age_seconds: Option<i64>,
    /// Stretches of archived WAL without a gap since the oldest backup, as one line each.
    pub stretches: Vec<String>,
    /// What is missing between them.
    pub gaps: Vec<String>,
    pub window: Option<Window>,
    pub encrypted: bool,
    pub data_keys: Option<DataKeys>,
    /// Of the newest backup that was ever verified here.
    pub verified: Option<LastVerification>,
    /// What the store keeps the newest backup by, and until when at least.
    pub hold: Option<Hold>,
    /// It should show a lock, by its configuration, and shows none: on which object.
    pub lock_missing: Option<String>,
    pub space: Option<Space>,
    /// What of this could not be read, with the reason.
    pub unread: Vec<String>,
}

/// What can be recovered to, up to the newest archived WAL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The end of the oldest backup from which WAL goes on without a gap.
    pub from: Timestamp,
    /// That backup.
    pub set: String,
    /// The newest moment; `None` where nothing tells.
    pub to: Option<Timestamp>,
    pub to_known_by: KnownBy,
    /// Older backups reach shorter windows, up to a gap or a fork.
    pub older: usize,
}

/// How the end of the window is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownBy {
    /// The newest commit, read in the newest WAL files.
    Commit,
    /// The newest commit is older than the end of the backup: that end is all there is.
    Backup,
    /// When the newest file was written: no commit was found in the last few.
    Written,
}

/// The data keys of an encrypted repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataKeys {
    pub count: usize,
    pub oldest: Option<Timestamp>,
    /// The one that protects new WAL.
    pub newest: Option<Timestamp>,
    pub newest_age_seconds: Option<i64>,
}

/// What verifying came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LastVerification {
    pub set: String,
    pub at: Timestamp,
    pub verdict: Verdict,
    /// Newer backups that were never verified.
    pub newer: usize,
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    pub backups: u64,
    /// From the mean size of the newest files; `None` where there is no WAL.
    pub wal_about: Option<u64>,
    /// On the volume of a repository in files; `None` in an object store.
    pub free: Option<u64>,
}

/// Everything about one repository, with what was seen of it already.
#[must_use]
pub fn status(seen: &Seen<'_>, cluster: &Cluster, now: Timestamp) -> RepositoryStatus {
    let mut page = empty(seen.settings, cluster);
    match &seen.asked {
        Err(why) => page.trouble = Some(why.clone()),
        Ok(answer) => {
            page.place = answer.repository.store.describe();
            if let Err(error) = fill(answer, cluster, now, &mut page) {
                page.unread.push(error.to_string());
            }
        }
    }
    page
}

fn empty(settings: &RepositoryConfig, cluster: &Cluster) -> RepositoryStatus {
    RepositoryStatus {
        name: settings.name.clone(),
        place: match folder(settings, cluster) {
            Some(path) => path.display().to_string(),
            None => String::from("in an object store"),
        },
        trouble: None,
        backups: None,
        unreadable: Vec::new(),
        newest_backup: None,
        newest_backup_age_seconds: None,
        newest_wal: None,
        newest_wal_age_seconds: None,
        stretches: Vec::new(),
        gaps: Vec::new(),
        window: None,
        encrypted: settings.encryption != Encryption::None,
        data_keys: None,
        verified: None,
        hold: None,
        lock_missing: None,
        space: None,
        unread: Vec::new(),
    }
}

/// The folder of a repository in files.
fn folder(settings: &RepositoryConfig, cluster: &Cluster) -> Option<PathBuf> {
    let StoreConfig::File { path } = &settings.store else { return None };
    Some(match path.to_str() {
        Some(text) => PathBuf::from(text.replace("{cluster}", &cluster.name)),
        None => path.clone(),
    })
}

fn fill(
    answer: &Answer,
    cluster: &Cluster,
    now: Timestamp,
    page: &mut RepositoryStatus,
) -> Result<(), Explanation> {
    let repository = &answer.repository;
    let age = |at: Timestamp| now.duration_since(at).as_secs();
    page.newest_backup.clone_from(&answer.newest_backup);
    page.newest_backup_age_seconds = answer.newest_backup.as_ref().map(|one| age(one.finished));
    page.newest_wal.clone_from(&answer.newest_wal);
    page.newest_wal_age_seconds =
        answer.newest_wal.as_ref().and_then(|newest| newest.written).map(age);
    let (bases, faults) = repository.bases().map_err(|e| e.explanation())?;
    page.backups = Some(bases.len());
    page.unreadable = faults.iter().map(ToString::to_string).collect();
    let mut failed = Vec::new();
    let mut note = |what: &str, error: &dyn std::fmt::Display| {
        failed.push(format!("{what} could not be read: {error}"));
    };
    match data_keys(repository, now) {
        Ok(keys) => page.data_keys = keys,
        Err(error) => note("The data keys", &error),
    }
    match last_verification(repository) {
        Ok(found) => page.verified = found,
        Err(error) => note("Verifications", &error),
    }
    let mut segments = 0;
    if let Some(newest) = &answer.newest_backup {
        match repository.read_set(&newest.set).and_then(|set| {
            hold_of(repository, &set, page)?;
            Ok(set.segment_size)
        }) {
            Ok(size) => match wal(repository, &bases, size, page) {
                Ok(count) => segments = count,
                Err(error) => note("Archived WAL", &error),
            },
            Err(error) => note("Locks", &error),
        }
    }
    page.unread.append(&mut failed);
    page.space = Some(Space {
        backups: bases.iter().map(|base| base.stored).sum(),
        wal_about: answer.wal_file_bytes.map(|mean| mean.saturating_mul(segments)),
        free: folder(&repository.config, cluster).and_then(|path| free_space(&path).ok()),
    });
    Ok(())
}

fn data_keys(repository: &Repository, now: Timestamp) -> Result<Option<DataKeys>, RepositoryError> {
    let Some(ring) = repository.keyring() else { return Ok(None) };
    let ids = ring.list()?;
    let newest = ids.last().and_then(|id| time_of(id));
    Ok(Some(DataKeys {
        count: ids.len(),
        oldest: ids.first().and_then(|id| time_of(id)),
        newest,
        newest_age_seconds: newest.map(|at| now.duration_since(at).as_secs()),
    }))
}

fn last_verification(repository: &Repository) -> Result<Option<LastVerification>, RepositoryError> {
    let names = repository.set_names()?;
    for (newer, set) in names.iter().rev().take(LOOKED_THROUGH).enumerate() {
        if let Some(record) = repository.newest_verification(set)? {
            let (at, verdict) = (record.at, record.verdict);
            return Ok(Some(LastVerification { set: set.clone(), at, verdict, newer }));
        }
    }
    Ok(None)
}

/// The shortest that the store keeps an object of the set. A bucket without Object Lock may take
/// objects that ask for it, and keep nothing: that is a problem where it is configured.
fn hold_of(
    repository: &Repository,
    set: &SetDescriptor,
    page: &mut RepositoryStatus,
) -> Result<(), RepositoryError> {
    let asks = matches!(&repository.config.store, StoreConfig::S3(s3) if s3.object_lock.is_some());
    let mut shortest: Option<Hold> = None;
    for object in &set.objects {
        let Some(hold) = repository.store.hold(&object.name)? else {
            page.lock_missing = asks.then(|| object.name.clone());
            return Ok(());
        };
        if shortest.as_ref().is_none_or(|before| hold.until < before.until) {
            shortest = Some(hold);
        }
    }
    page.hold = shortest;
    Ok(())
}

/// Stretches, gaps and the window; gives the number of segments.
fn wal(
    repository: &Arc<Repository>,
    bases: &[BaseSummary],
    size: u64,
    page: &mut RepositoryStatus,
) -> Result<u64, Explanation> {
    let Some(oldest) = bases.iter().map(|base| base.start_lsn).min() else { return Ok(0) };
    let archive = RepositoryArchive::new(Arc::clone(repository));
    let coverage = Coverage::list(&archive, size, oldest)?;
    page.stretches = coverage.stretches.iter().map(|stretch| told(stretch, size)).collect();
    page.gaps = coverage.gaps().iter().map(missing).collect();
    let timelines = Timelines::read(&archive)?;
    page.unread.extend(timelines.warnings.iter().cloned());
    let newest = bases.iter().map(|base| base.timeline).max().unwrap_or(1);
    if let Some(line) = timelines.line(timelines.latest(newest))
        && let Some((window, last)) = window(&coverage, line, bases)
    {
        let commit = newest_commit(&archive, size, last);
        let written = page.newest_wal.as_ref().and_then(|newest| newest.written);
        page.window = Some(match commit {
            Some(at) if at < window.from => {
                Window { to: Some(window.from), to_known_by: KnownBy::Backup, ..window }
            }
            Some(at) => Window { to: Some(at), to_known_by: KnownBy::Commit, ..window },
            None => Window { to: written, ..window },
        });
    }
    Ok(coverage.stretches.iter().map(|stretch| stretch.last - stretch.first + 1).sum())
}

/// The window that ends with the newest segment along `line`, and that segment. `None` where no
/// backup reaches it. The end of it by time is not known here.
fn window(
    coverage: &Coverage,
    line: &[(u32, Lsn)],
    bases: &[BaseSummary],
) -> Option<(Window, Segment)> {
    let size = coverage.segment_size.max(1);
    let path = coverage.path(line, Lsn(0));
    let last = path.pieces.iter().max_by_key(|piece| piece.last)?;
    let segment = Segment { timeline: last.timeline, number: last.last };
    let end = Lsn(last.last.saturating_add(1).saturating_mul(size));
    let reaches = |base: &&BaseSummary| {
        let range =
            BaseRange { timeline: base.timeline, start: base.start_lsn, stop: base.stop_lsn };
        coverage.reach(line, &range, end).is_ok_and(|reached| reached.to >= end)
    };
    let oldest = bases.iter().filter(reaches).min_by_key(|base| base.finished)?;
    let older = bases.iter().filter(|base| base.finished < oldest.finished).count();
    let window = Window {
        from: oldest.finished,
        set: oldest.set.clone(),
        to: None,
        to_known_by: KnownBy::Written,
        older,
    };
    Some((window, segment))
}

/// The newest commit in the last few WAL files. `None` where they have none or cannot be read:
/// then the window ends by when the newest was written, and says so.
fn newest_commit(archive: &RepositoryArchive, size: u64, last: Segment) -> Option<Timestamp> {
    (0..READ).map_while(|back| last.number.checked_sub(back)).find_map(|number| {
        let piece = Piece { timeline: last.timeline, first: number, last: number, until: None };
        let path = Path { pieces: vec![piece] };
        let scan = scan(archive, &path, &ScanOptions::new(size), &|_| {}, &|| false).ok()?;
        let commits = scan.history.endings.iter().filter(|ending| ending.committed());
        commits.map(|ending| ending.at()).max()
    })
}

fn told(stretch: &Stretch, size: u64) -> String {
    let segment = |number| Segment { timeline: stretch.timeline, number };
    format!(
        "timeline {}: {} to {} ({} segments)",
        stretch.timeline,
        segment(stretch.first).name(size),
        segment(stretch.last).name(size),
        stretch.last - stretch.first + 1
    )
}

fn missing(gap: &Gap) -> String {
    format!(
        "WAL is missing on timeline {}: {} segments from {} on.",
        gap.timeline,
        gap.last - gap.first + 1,
        gap.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn base(minute: i64, start: u64, stop: u64) -> BaseSummary {
        let at = |second| Timestamp::from_second(1_768_269_600 + minute * 60 + second).unwrap();
        BaseSummary {
            set: format!("set-{minute}"),
            repository: String::from("near"),
            started: at(0),
            finished: at(30),
            start_lsn: Lsn(start * MB + 40),
            stop_lsn: Lsn(stop * MB + 40),
            timeline: 1,
            system_identifier: 1,
            version: 15,
            size: 1,
            stored: 1,
            encrypted: false,
        }
    }

    fn coverage(stretches: &[(u64, u64)]) -> Coverage {
        let stretch =
            |(first, last): &(u64, u64)| Stretch { timeline: 1, first: *first, last: *last };
        Coverage { segment_size: MB, stretches: stretches.iter().map(stretch).collect() }
    }

    #[test]
    fn the_window_begins_with_the_oldest_backup_that_reaches_the_newest_wal() {
        let line = [(1, Lsn(0))];
        let bases = [base(0, 2, 3), base(10, 6, 7), base(20, 8, 8)];
        let (found, last) = window(&coverage(&[(2, 9)]), &line, &bases).unwrap();
        assert_eq!((found.set.as_str(), found.older, last.number), ("set-0", 0, 9));
        let (found, _) = window(&coverage(&[(2, 4), (6, 9)]), &line, &bases).unwrap();
        assert_eq!((found.set.as_str(), found.older), ("set-10", 1));
        assert_eq!(found.from, bases[1].finished);
        // The WAL of no backup is whole.
        assert!(window(&coverage(&[(9, 9)]), &line, &bases).is_none());
        assert!(window(&coverage(&[]), &line, &bases).is_none());
    }
}
