//! Why a backup failed. In every case nothing was published: a set is there whole or not at all.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::Lsn;
use crate::engine::postgres::connect::ConnectError;
use crate::engine::postgres::control_file::ControlFileError;
use crate::engine::repository::RepositoryError;
use crate::engine::repository::manifest::ManifestError;
use crate::engine::repository::member::MemberError;
use crate::engine::repository::sealed::SealedError;
use crate::engine::repository::store::{StoreError, StoreFault};
use std::io;
use std::path::PathBuf;

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server answered \"{why}\" when it was asked to {what}")]
    Server { what: &'static str, why: String },
    #[error("the session that keeps the backup open was lost: {0}")]
    SessionLost(String),
    #[error("another backup of this server is running")]
    Busy,
    #[error(
        "the server works in {server}, but the configuration says that the data directory is \
         {configured}"
    )]
    WrongDirectory { server: PathBuf, configured: PathBuf },
    #[error("the server's system identifier is {server}, but that of {data_directory} is {files}")]
    WrongIdentity { server: u64, files: u64, data_directory: PathBuf },
    #[error("PostgreSQL {0} is not supported; 12 is the oldest")]
    OldServer(u32),
    #[error("could not read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    ControlRead(#[from] ControlFileError),
    #[error("could not keep notes for PostgreSQL's backup_manifest in {place}: {source}")]
    Spool { place: PathBuf, source: io::Error },
    #[error("could not write the backup: {0}")]
    Write(io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Sealed(SealedError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(
        "the archive does not hold the WAL that makes this backup consistent: {missing} did not \
         arrive within {waited} s{reason}"
    )]
    WalMissing { missing: String, start: Lsn, stop: Lsn, waited: u64, reason: String },
    #[error("cancelled")]
    Cancelled,
    /// The data were copied, and then publishing them failed.
    #[error("{source}")]
    Unpublished { source: Box<BackupError>, objects: Vec<String> },
    #[error("{0}")]
    Internal(String),
}

impl BackupError {
    /// The failure itself, whether or not objects were left behind.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::Unpublished { source, .. } => source.cause(),
            other => other,
        }
    }

    /// Whether it was the repository that failed, so that another one may take the backup.
    #[must_use]
    pub fn is_the_repositorys(&self) -> bool {
        matches!(
            self.cause(),
            Self::Write(_)
                | Self::Store(_)
                | Self::Repository(_)
                | Self::Sealed(_)
                | Self::Manifest(ManifestError::Io(_))
        )
    }

    /// The WAL file that did not arrive in the repository, where that is what failed.
    #[must_use]
    pub fn missing_wal(&self) -> Option<&str> {
        match self.cause() {
            Self::WalMissing { missing, .. } => Some(missing),
            _ => None,
        }
    }

    /// PostgreSQL's manifest could not be kept.
    pub(super) fn spool(source: io::Error) -> Self {
        Self::Spool { place: std::env::temp_dir(), source }
    }
}

impl From<SealedError> for BackupError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Store(error) => Self::Store(error),
            SealedError::Write { source, .. } => {
                Self::Store(StoreError::io("write the backup", source))
            }
            other => Self::Sealed(other),
        }
    }
}

impl Explain for BackupError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Unpublished { source, objects } => {
                let inner = source.explanation();
                let untouched = format!(
                    "{UNTOUCHED} These objects stay in the repository, unused: {}.",
                    objects.join(", ")
                );
                return Explanation { untouched, ..inner };
            }
            Self::Connect(error) => {
                let inner = error.explanation();
                return Explanation::new(inner.kind, inner.what, UNTOUCHED, inner.next);
            }
            Self::ControlRead(error) => {
                let inner = error.explanation();
                return Explanation::new(inner.kind, inner.what, UNTOUCHED, inner.next);
            }
            Self::Server { .. } => (
                Kind::Server,
                "The user needs the right to run backups: a superuser, or EXECUTE on the \
                 server's backup functions and membership in pg_read_all_settings.",
            ),
            Self::SessionLost(_) => {
                (Kind::Connection, "Look at the server's log, then start the backup again.")
            }
            Self::Busy => (
                Kind::Busy,
                "Wait for the other backup, or look in pg_stat_activity for the session \
                 \"lifeboat backup\".",
            ),
            Self::WrongDirectory { .. } | Self::WrongIdentity { .. } => (
                Kind::Refused,
                "Correct `data_directory` or `connection` in lifeboat.toml: both must mean the \
                 same server.",
            ),
            Self::OldServer(_) => (Kind::Refused, "Upgrade the server."),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (Kind::Storage, "Run the backup as the owner of the data directory, or as root.")
            }
            Self::Read { .. } => {
                (Kind::Storage, "Check the disk and the kernel's log, then start the backup again.")
            }
            Self::Spool { .. } => {
                (Kind::Storage, "Make room there, or set TMPDIR to a folder with room.")
            }
            Self::Write(_) => {
                (Kind::Storage, "Check the repository's disk, then start the backup again.")
            }
            Self::Sealed(_) => {
                (Kind::Storage, "Check the repository, then start the backup again.")
            }
            Self::Store(error) => (kind_of(error.fault), next_of(error.fault)),
            Self::Repository(error) => {
                let inner = error.explanation();
                return Explanation::new(inner.kind, inner.what, UNTOUCHED, inner.next);
            }
            Self::Manifest(_) | Self::Member(_) => {
                (Kind::Internal, "Start the backup again; if it fails the same way, report it.")
            }
            Self::WalMissing { .. } => (
                Kind::Server,
                "Check archive_mode and archive_command and look in pg_stat_archiver for the \
                 last failure. On a standby archive_mode must be \"always\". Then start the \
                 backup again.",
            ),
            Self::Cancelled => (Kind::Cancelled, ""),
            Self::Internal(_) => (Kind::Internal, "Start the backup again, and report this."),
        };
        let mut what = self.to_string();
        if let Some(first) = what.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Explanation::new(kind, format!("The backup was not made. {what}."), UNTOUCHED, next)
    }
}

const UNTOUCHED: &str = "The server and earlier backups are as they were; nothing was published.";

fn kind_of(fault: StoreFault) -> Kind {
    match fault {
        StoreFault::NotFound => Kind::NotFound,
        StoreFault::Exists => Kind::Busy,
        StoreFault::Denied | StoreFault::NoSpace => Kind::Storage,
        StoreFault::Throttled | StoreFault::TimedOut | StoreFault::Unavailable => Kind::Connection,
    }
}

fn next_of(fault: StoreFault) -> &'static str {
    match fault {
        StoreFault::NoSpace => "Make room in the repository, then start the backup again.",
        StoreFault::Denied => "Give the user that runs backups write access to the repository.",
        StoreFault::Exists => "Another backup took the same name; start the backup again.",
        StoreFault::NotFound
        | StoreFault::Throttled
        | StoreFault::TimedOut
        | StoreFault::Unavailable => "Check that the repository is mounted and reachable.",
    }
}
