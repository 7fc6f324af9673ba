//! A base backup's bytes into a data directory: fetched by range, proven, decrypted, inflated and
//! written by many threads straight to place, nothing staged.
//!
//! Into an empty folder only. A marker of our own says that the folder is a restore's and how far
//! it is, so that an interrupted one goes on; anything else in it is refused. `global/pg_control`
//! comes last, when everything else is on the disk: a server cannot start on half a restore.
//! Never starts a server, and never writes recovery settings.

pub mod delta;
mod destination;
mod error;
mod single_file;
mod sink;

use crate::engine::repository::Repository;
use crate::engine::repository::alternates::Told;
use crate::engine::repository::meter::Meter;
use crate::engine::repository::scan::{self, OpenSet, ScanOptions};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::step::Standing;
use crate::engine::runner::work::Report;
use delta::{Reuse, Take};
use destination::{Claim, Destination};
use sink::DataDirectory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::RestoreError;
pub use single_file::{SingleFileSummary, UNAUTHENTICATED, restore_single_file};

/// The file that marks a folder as a restore's that is not finished.
pub const MARKER: &str = ".lifeboat-restore.json";

/// How a restore is run.
pub struct Options<'a> {
    /// The user and group that the files are given to; the running user's where `None`. As root
    /// it should be given: PostgreSQL does not start on root's files.
    pub owner: Option<(u32, u32)>,
    /// `None`: as the repository is configured, else the machine's cores.
    pub workers: Option<usize>,
    /// Where tablespaces go, by OID; to where they were, if not named here.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// A new, empty WAL directory that `pg_wal` is to lead to; in the data directory where `None`.
    pub wal: Option<PathBuf>,
    /// Files proven equal are taken from there; only the rest is fetched.
    pub reuse: Option<Reuse>,
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    pub progress: Report<'a>,
    /// The name of the job in progress reports.
    pub job: &'a str,
    /// How often what was written is synced and noted, so that an interrupted restore goes on
    /// from there.
    pub note_every: Duration,
    /// Hears at once that a copy failed and which one it went on from; see also
    /// [`RestoreSummary::notes`].
    pub told: Option<Told<'a>>,
}

impl<'a> Options<'a> {
    /// The usual: this user's files, tablespaces to where they were.
    #[must_use]
    pub fn new(
        job: &'a str,
        progress: Report<'a>,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            owner: None,
            workers: None,
            tablespaces: BTreeMap::new(),
            wal: None,
            reuse: None,
            cancelled,
            progress,
            job,
            note_every: Duration::from_secs(5),
            told: None,
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A restore that is complete and on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreSummary {
    pub set: String,
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    pub seconds: f64,
    /// Of these, what was taken from a directory that had it already.
    pub reused_files: u64,
    pub reused_bytes: u64,
    /// Bytes of files that were written from the repository.
    pub fetched_bytes: u64,
    /// It went on from an interrupted one.
    pub resumed: bool,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Restores `set` into `destination`, which must be empty, missing, or an interrupted restore of
/// the same set. Blocks.
///
/// # Errors
/// In every case `global/pg_control` is missing, so that nothing can be started by mistake, and
/// the same call goes on. What was in the way was not touched.
pub fn restore(
    repository: &Repository,
    set: &str,
    destination: &Path,
    options: &Options<'_>,
) -> Result<RestoreSummary, RestoreError> {
    restore_from(&[repository], set, destination, options)
}

/// As [`restore`], from several repositories that hold the same set: the first is read, and where
/// it fails in the middle or its bytes are not what was written, the next.
///
/// # Errors
/// As [`restore`]; and where no copy gives a part that is needed.
pub fn restore_from(
    repositories: &[&Repository],
    set: &str,
    destination: &Path,
    options: &Options<'_>,
) -> Result<RestoreSummary, RestoreError> {
    let meter = Meter::new(options.progress, options.job, Unit::Bytes, 0);
    meter.phase("reading the backup's manifest");
    let set = OpenSet::open_copies(repositories, set, options.told)?;
    let total = set.descriptor.data_bytes;
    meter.set_total(total);
    let manifest = set.manifest()?;
    let spaces = destination::tablespaces(destination, manifest.header(), &options.tablespaces)?;
    let moves = options.reuse.as_ref().is_some_and(|reuse| reuse.take == Take::Move);
    let claim = Claim {
        set: &set.descriptor.set,
        // What is renamed needs no room; a disk that fills up all the same is told when met.
        total: if moves { 0 } else { total },
        spaces,
        owner: options.owner,
        version: set.descriptor.server_version_num / 10_000,
        wal: options.wal.clone(),
    };
    let place = Destination::claim(destination, claim)?;
    let resumed = place.resumed();

    let mut sink = DataDirectory::new(&place);
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let scan_options = ScanOptions {
        workers: options.workers.or(set.repository.config.workers).unwrap_or_else(cores),
        meter: &meter,
        cancelled: options.cancelled,
    };
    let (mut reused_files, mut reused_bytes, mut notes) = (0, 0, Vec::new());
    if let Some(reuse) = &options.reuse {
        meter.phase(&format!("comparing with {}", reuse.from.display()));
        let taken = delta::take(&set, reuse, &sink, &scan_options)?;
        (reused_files, reused_bytes) = (taken.files, taken.bytes);
        if taken.unreadable > 0 {
            notes.push(format!(
                "{} files of {} could not be read and were fetched.",
                taken.unreadable,
                reuse.from.display()
            ));
        }
        sink.leave(taken);
        meter.phase("restoring the rest");
    }
    let footer =
        sink.while_noting(options.note_every, || scan::scan(&set, manifest, &sink, &scan_options))?;
    meter.phase("making sure that everything is on the disk");
    notes.extend(set.copies.notes());
    notes.extend(sink.finish()?);
    meter.phase("restored");
    Ok(RestoreSummary {
        set: set.descriptor.set.clone(),
        files: footer.files,
        bytes: footer.size,
        seconds: meter.seconds(),
        reused_files,
        reused_bytes,
        fetched_bytes: sink.written(),
        resumed,
        notes,
    })
}

/// The folders outside of `destination` that an unfinished restore into it has taken as its own, by
/// its marker; none where there is no such restore.
#[must_use]
pub fn taken(destination: &Path) -> Vec<PathBuf> {
    destination::taken(destination)
}

/// How far the restore of `set` into `destination` is. Changes nothing.
///
/// # Errors
/// Where the folder holds something else, or could not be read.
pub fn probe(destination: &Path, set: &str) -> Result<Standing, RestoreError> {
    destination::probe(destination, set)
}
