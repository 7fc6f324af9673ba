//! `archive-wal %p`: one file of `pg_wal` into every repository of its cluster. Owns the judgement
//! whether the file is what it says; says "archived" only when it is durable everywhere.

use super::identity::{self, NotTheSegment};
use super::names::WalFile;
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::postgres::control_file::{self, ControlFileError};
use crate::engine::repository::{PutWal, Repository, RepositoryError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What archiving one file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// By repository, in the cluster's order.
    pub repositories: Vec<(String, PutWal)>,
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
/// The same file twice is one object and a success; durable in every repository on return.
///
/// # Errors
/// Where it is not durable in each of them. The others are tried all the same.
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
    let content = read(cluster, path)?;
    let expected = control_file::read(&cluster.data_directory)?.system_identifier;
    check(cluster, name, &content, expected)?;

    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    for repository in &cluster.repositories {
        match push(config, cluster, repository, name, &content, expected) {
            Ok(put) => stored.push((repository.clone(), put)),
            Err(e) => failed.push((repository.clone(), e)),
        }
    }
    if failed.is_empty() {
        let size = content.len() as u64;
        Ok(Archived { name: name.to_owned(), size, repositories: stored })
    } else {
        Err(ArchiveError::Repositories { name: name.to_owned(), failed })
    }
}

fn read(cluster: &Cluster, path: &Path) -> Result<Vec<u8>, ArchiveError> {
    let content = match fs::read(path) {
        // Run by hand from elsewhere: the server itself runs it in the data directory.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_relative() => {
            fs::read(cluster.data_directory.join(path))
        }
        read => read,
    };
    content.map_err(|source| ArchiveError::Read { path: path.to_owned(), source })
}

fn check(cluster: &Cluster, name: &str, content: &[u8], expected: u64) -> Result<(), ArchiveError> {
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

fn push(
    config: &Config,
    cluster: &Cluster,
    repository: &str,
    name: &str,
    content: &[u8],
    system_identifier: u64,
) -> Result<PutWal, RepositoryError> {
    let known = config.repository(repository).ok_or_else(|| RepositoryError::Unfit {
        place: repository.to_owned(),
        why: "the configuration has no repository of that name".to_owned(),
    })?;
    let repository = Repository::open(known, &cluster.name)?;
    repository.claim_for(system_identifier)?;
    repository.put_wal(name, content)
}
