//! `archive-wal %p`: one file of `pg_wal` into the repositories of its cluster. Owns the judgement
//! whether the file is what it says, and when it may be called archived: durable in as many
//! repositories as the configuration asks for, and a debt for each other one durable beside it.

use super::ahead;
use super::debts::{self, Asked, Debt, Limits, Paid};
use super::identity::{self, NotTheSegment};
use super::names::WalFile;
use super::notes::{self, Notes};
use super::offer::{self, Content, Door, Outcome};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::postgres::control_file::{self, ControlFileError};
use crate::engine::repository::store::{StoreError, StoreFault};
use crate::engine::repository::{PutWal, Repository, RepositoryError};
use jiff::Timestamp;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// What one call pays of a repository's debts at most, so that PostgreSQL waits little.
const INSTALMENT: Limits = Limits { files: 4, time: Duration::from_secs(5), workers: 2 };

/// What archiving one file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// The repositories that hold it, in the cluster's order.
    pub repositories: Vec<(String, PutWal)>,
    /// Those that do not, each with its debt written down.
    pub owed: Vec<Lacking>,
    /// Older debts that were paid by the way: repository and file.
    pub paid: Vec<(String, String)>,
    /// The next files, which were pushed ahead.
    pub ahead: Vec<String>,
}

/// A repository that did not take the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    pub repository: String,
    pub why: String,
    /// It was asked by this call, not left alone because it failed a moment ago.
    pub asked: bool,
}

/// Why a file was not archived. PostgreSQL keeps it and tries again.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("\"{0}\" is not a write-ahead log file")]
    NotWal(PathBuf),
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{name} is not that segment: {why}")]
    Wrong { name: String, why: NotTheSegment },
    #[error(
        "{name} belongs to the cluster with system identifier {found}, and {cluster} has {expected}"
    )]
    OtherCluster { name: String, found: u64, cluster: String, expected: u64 },
    #[error(transparent)]
    ControlFile(#[from] ControlFileError),
    #[error("the cluster {0} has no repository")]
    NoRepository(String),
    #[error("{name} is not archived in {}", failed.iter().map(|(repository, _)| repository.as_str()).collect::<Vec<_>>().join(" and "))]
    Repositories {
        name: String,
        /// By repository.
        failed: Vec<(String, RepositoryError)>,
    },
    #[error("{name} is not in {repository}, and that could not be written down anywhere")]
    Debt { name: String, repository: String, source: Box<RepositoryError> },
}

impl Explain for ArchiveError {
    fn explanation(&self) -> Explanation {
        let untouched = "PostgreSQL keeps the file and will try again.";
        let (kind, next) = match self {
            Self::NotWal(_) => (Kind::Config, "archive_command must hand over %p."),
            Self::Read { .. } => (Kind::Storage, "Check the path and its permissions."),
            Self::Wrong { .. } | Self::OtherCluster { .. } => (
                Kind::Refused,
                "Check which server runs this archive_command, and for which cluster.",
            ),
            Self::ControlFile(error) => {
                let inner = error.explanation();
                return Explanation::new(inner.kind, sentence(self), untouched, inner.next);
            }
            Self::NoRepository(_) => (Kind::Config, "Name one in the configuration."),
            Self::Repositories { failed, .. } => {
                let inner: Vec<_> = failed.iter().map(|(_, e)| e.explanation()).collect();
                let kind = inner.first().map_or(Kind::Internal, |e| e.kind);
                let mut what = sentence(self);
                for explanation in &inner {
                    what = format!("{what} {}", explanation.what);
                }
                let next = inner.first().map_or_else(String::new, |e| e.next.clone());
                return Explanation::new(kind, what, untouched, next);
            }
            Self::Debt { source, .. } => {
                let inner = source.explanation();
                let what = format!("{} {}", sentence(self), inner.what);
                return Explanation::new(inner.kind, what, untouched, inner.next);
            }
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}

impl ArchiveError {
    /// For `archive_command`: from 1 to 125, so that PostgreSQL counts it as a failure and goes
    /// on running.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.explanation().kind.exit_code().clamp(1, 125)
    }
}

/// Archives the file at `path` (the server's `%p`, relative to where the server runs this).
/// The same file twice is one object and a success; durable on return.
///
/// # Errors
/// Where fewer repositories hold it than the configuration asks for; where one holds another
/// content or another cluster; where a debt could not be written down.
pub fn archive_file(
    config: &Config,
    cluster: &Cluster,
    path: &Path,
) -> Result<Archived, ArchiveError> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| WalFile::parse(name).is_some())
        .ok_or_else(|| ArchiveError::NotWal(path.to_owned()))?;
    if cluster.repositories.is_empty() {
        return Err(ArchiveError::NoRepository(cluster.name.clone()));
    }
    let (found, content) = read(cluster, path)?;
    let system_identifier = control_file::read(&cluster.data_directory)?.system_identifier;
    check(cluster, name, &content, system_identifier)?;
    if !names_its_cluster(name) {
        same_server(cluster, name, &found, system_identifier)?;
    }

    let notes = Notes::open(&config.state_directory(), &cluster.name);
    let size = content.len() as u64;
    let file = Arc::new(Content {
        receipt: notes.receipt(name).filter(|r| r.digest == notes::digest_of(name, &content)),
        name: name.to_owned(),
        bytes: content,
    });
    let doors = Door::all(config, cluster, system_identifier);
    let outcomes = offer::offer(&doors, &file, &notes, &cluster.archiving);
    drop(file);
    let sorted = Sorted::new(name, &doors, outcomes, &notes, cluster.archiving.copies)?;
    for lacking in &sorted.owed {
        write_down(name, lacking, &sorted.holders)?;
        notes.owes(&lacking.repository);
    }
    notes.drop_receipt(name);
    let paid = if doors.len() > 1 {
        instalments(&sorted.holders, &notes, cluster.archiving.patience())
    } else {
        Vec::new()
    };
    let job = ahead::Job { cluster, system_identifier, doors: &sorted.holders, notes: &notes };
    let ahead = ahead::push(&job, &found, size);
    let Sorted { repositories, owed, .. } = sorted;
    Ok(Archived { name: name.to_owned(), size, repositories, owed, paid, ahead })
}

/// Who holds the file, and who does not.
struct Sorted {
    repositories: Vec<(String, PutWal)>,
    holders: Vec<Arc<Door>>,
    owed: Vec<Lacking>,
}

impl Sorted {
    fn new(
        name: &str,
        doors: &[Arc<Door>],
        outcomes: Vec<Outcome>,
        notes: &Notes,
        copies: usize,
    ) -> Result<Self, ArchiveError> {
        let mut sorted = Self { repositories: vec![], holders: vec![], owed: vec![] };
        let (mut failed, mut refused) = (Vec::new(), false);
        for (door, outcome) in doors.iter().zip(outcomes) {
            let (error, asked) = match outcome {
                Outcome::Stored(put) => {
                    notes.is_up(&door.name);
                    sorted.repositories.push((door.name.clone(), put));
                    sorted.holders.push(Arc::clone(door));
                    continue;
                }
                Outcome::Failed(error) => (error, true),
                Outcome::Skipped(why) => {
                    (StoreError::new(StoreFault::Unavailable, why).into(), false)
                }
            };
            let why = error.explanation().what;
            if is_refusal(&error) {
                // Never left alone by the next call, which would then pass without it.
                refused = true;
            } else if asked {
                notes.is_down(&door.name, &why, Timestamp::now());
            }
            sorted.owed.push(Lacking { repository: door.name.clone(), why, asked });
            failed.push((door.name.clone(), error));
        }
        if refused || sorted.holders.len() < copies.max(1) {
            if refused {
                failed.retain(|(_, error)| is_refusal(error));
            }
            return Err(ArchiveError::Repositories { name: name.to_owned(), failed });
        }
        Ok(sorted)
    }
}

/// What waiting does not mend and nobody may paper over: two servers that archive into one
/// repository, or a repository that is not the one that is meant.
fn is_refusal(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::DifferentWal { .. }
            | RepositoryError::OtherCluster { .. }
            | RepositoryError::Unfit { .. }
            | RepositoryError::MasterKeyUnnamed
            | RepositoryError::BadName { .. }
    )
}

/// The debt goes into every repository that holds the file; one of them is enough.
fn write_down(name: &str, lacking: &Lacking, holders: &[Arc<Door>]) -> Result<(), ArchiveError> {
    let debt = Debt::new(&lacking.repository, name, &lacking.why);
    let (mut written, mut failed) = (false, None);
    for holder in holders {
        let recorded = holder
            .open()
            .and_then(|open| debts::record(&*open.store, &debt).map_err(RepositoryError::Store));
        match recorded {
            Ok(()) => written = true,
            Err(e) => failed = Some(e),
        }
    }
    match failed {
        Some(source) if !written => Err(ArchiveError::Debt {
            name: name.to_owned(),
            repository: lacking.repository.clone(),
            source: Box::new(source),
        }),
        _ => Ok(()),
    }
}

/// A few old debts of the repositories that took this file. A store that hangs holds this call up
/// for `patience` and no longer: the file itself is archived.
fn instalments(holders: &[Arc<Door>], notes: &Notes, patience: Duration) -> Vec<(String, String)> {
    let now = Timestamp::now();
    let debtors = holders.iter().map(|door| door.name.clone());
    let debtors: Vec<String> = debtors.filter(|name| notes.may_owe(name, now)).collect();
    if debtors.is_empty() {
        return Vec::new();
    }
    let (say, words) = channel();
    let holders = holders.to_vec();
    // Not scoped: one that hangs must not be waited for. A debt that is cut off is paid later.
    std::thread::spawn(move || pay_some(&holders, &debtors, &say));
    let begun = Instant::now();
    let mut all = Vec::new();
    while let Some(left) = patience.checked_sub(begun.elapsed()) {
        let Ok((debtor, clear, paid)) = words.recv_timeout(left) else { break };
        if clear {
            notes.is_clear(&debtor, now);
        }
        all.extend(paid);
    }
    all
}

/// A debtor, whether it owes nothing more, and what was paid: repository and file.
type Instalment = (String, bool, Vec<(String, String)>);

fn pay_some(holders: &[Arc<Door>], debtors: &[String], say: &Sender<Instalment>) {
    let open = |door: &Arc<Door>| door.open().ok().map(|open| (door.name.clone(), open));
    let up: Vec<(String, Arc<Repository>)> = holders.iter().filter_map(open).collect();
    for debtor in debtors {
        let mut paid = Paid::default();
        debts::pay_among(&up, Asked::Some, Some(debtor), INSTALMENT, &|| false, &mut paid);
        // What a repository that is down now would say is not known.
        let clear = !paid.left && up.len() == holders.len();
        if say.send((debtor.clone(), clear, paid.paid)).is_err() {
            return;
        }
    }
}

/// The content, and where it was found.
fn read(cluster: &Cluster, path: &Path) -> Result<(PathBuf, Vec<u8>), ArchiveError> {
    let content = match fs::read(path) {
        // Run by hand from elsewhere: the server itself runs it in the data directory.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_relative() => {
            let inside = cluster.data_directory.join(path);
            fs::read(&inside).map(|content| (inside, content))
        }
        read => read.map(|content| (path.to_owned(), content)),
    };
    content.map_err(|source| ArchiveError::Read { path: path.to_owned(), source })
}

/// Whether the content says of which cluster it is, as segments do and histories do not.
fn names_its_cluster(name: &str) -> bool {
    matches!(WalFile::parse(name), Some(WalFile::Segment { .. } | WalFile::Partial { .. }))
}

/// A file that does not name its cluster is that of the server whose `pg_wal` it lies in. By its
/// path alone, since `pg_wal` may be a link to another volume. Elsewhere somebody hands it over
/// by hand, and answers for it.
fn same_server(
    cluster: &Cluster,
    name: &str,
    found: &Path,
    expected: u64,
) -> Result<(), ArchiveError> {
    let folder = found.parent().unwrap_or(Path::new(""));
    if folder.file_name().is_none_or(|last| last != "pg_wal") {
        return Ok(());
    }
    let directory = folder.parent().filter(|one| !one.as_os_str().is_empty());
    let server = control_file::read(directory.unwrap_or(Path::new(".")))?.system_identifier;
    if server == expected {
        return Ok(());
    }
    let (name, cluster) = (name.to_owned(), cluster.name.clone());
    Err(ArchiveError::OtherCluster { name, found: server, cluster, expected })
}

pub(super) fn check(
    cluster: &Cluster,
    name: &str,
    content: &[u8],
    expected: u64,
) -> Result<(), ArchiveError> {
    let segment = match WalFile::parse(name) {
        Some(WalFile::Segment { name, .. }) => name,
        Some(WalFile::Partial { name, .. }) => name.trim_end_matches(".partial").to_owned(),
        _ => return Ok(()),
    };
    let identity = identity::check(&segment, content, content.len() as u64)
        .map_err(|why| ArchiveError::Wrong { name: name.to_owned(), why })?;
    if identity.system_identifier == expected {
        return Ok(());
    }
    Err(ArchiveError::OtherCluster {
        name: name.to_owned(),
        found: identity.system_identifier,
        cluster: cluster.name.clone(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_that_of_the_server_in_whose_directory_it_lies() {
        for name in ["00000002.history", "000000010000000000000003.00000028.backup"] {
            assert!(!names_its_cluster(name));
        }
        assert!(names_its_cluster("000000010000000000000003"));
        assert!(names_its_cluster("000000010000000000000003.partial"));
    }
}
