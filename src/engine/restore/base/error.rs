//! Why a restore stopped, what it left as it was, and how it goes on.

use super::MARKER;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::repository::scan::ScanError;
use std::io;
use std::path::PathBuf;

/// Why a restore stopped.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Backup(#[from] ScanError),
    #[error("{place} is not empty: it holds {found}")]
    NotEmpty { place: PathBuf, found: String },
    #[error("{place} holds an unfinished restore of {found}, not of {wanted}")]
    OtherRestore { place: PathBuf, found: String, wanted: String },
    #[error("{place} is being restored into by another process")]
    Busy { place: PathBuf },
    #[error("{place} cannot be the place of tablespace {oid}: {why}")]
    Tablespace { oid: u32, place: PathBuf, why: String },
    #[error("{place} has {free} bytes free, and the restore needs {needed}")]
    Space { place: PathBuf, needed: u64, free: u64 },
    #[error("the disk that holds {path} is full")]
    Full { path: PathBuf },
    #[error("could not {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the file does not hold a data directory: {0}")]
    NoDataDirectory(String),
    #[error("the file could not be read to its end: {0}")]
    Unreadable(io::Error),
    #[error("{0}")]
    Internal(String),
}

impl RestoreError {
    /// An I/O error while `doing` something to `path`; a full disk is told from the rest.
    pub(super) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { doing, path, source },
        }
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Backup(ScanError::Cancelled))
    }
}

impl Explain for RestoreError {
    fn explanation(&self) -> Explanation {
        const PART: &str = "What was restored so far is kept and is marked as unfinished; no \
             server can start on it. The repository is untouched.";
        let (kind, untouched, next) = match self {
            Self::Backup(error) => {
                let inner = error.explanation();
                return Explanation::new(inner.kind, inner.what, PART, inner.next);
            }
            Self::NotEmpty { .. } => (
                Kind::Refused,
                "Nothing in it was touched.",
                String::from(
                    "Move what is there aside, whole, or restore into another folder. Never \
                     delete it: it may be all that is left of the newest data.",
                ),
            ),
            Self::OtherRestore { found, .. } => (
                Kind::Refused,
                "Nothing in it was touched.",
                format!("Finish that one by restoring {found} there, or move the folder aside."),
            ),
            Self::Busy { .. } => (
                Kind::Busy,
                "Nothing in it was touched.",
                String::from("Wait for the other restore to end."),
            ),
            Self::Tablespace { .. } => (
                Kind::Refused,
                "Nothing was written.",
                String::from("Name another, empty folder for this tablespace."),
            ),
            Self::Space { needed, free, .. } => (
                Kind::Storage,
                "Nothing was written.",
                format!(
                    "Make room for {} more, or restore to another disk.",
                    humansize::format_size(needed.saturating_sub(*free), humansize::BINARY)
                ),
            ),
            Self::Full { .. } => (
                Kind::Storage,
                PART,
                String::from("Make room on that disk, then restore again: it goes on from here."),
            ),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => (
                Kind::Storage,
                PART,
                String::from("Run the restore as the owner of that folder, or as root."),
            ),
            Self::Io { .. } => (
                Kind::Storage,
                PART,
                String::from("Check that disk, then restore again: it goes on from here."),
            ),
            Self::NoDataDirectory(_) | Self::Unreadable(_) => (
                Kind::Integrity,
                PART,
                format!(
                    "Check the key and the file, or use another backup. The unfinished folder is \
                     marked by {MARKER}."
                ),
            ),
            Self::Internal(_) => {
                (Kind::Internal, PART, String::from("Restore again, and report this."))
            }
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}
