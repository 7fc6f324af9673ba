//! What goes wrong in a repository, in the operator's words.

use super::store::{StoreError, StoreFault};
use crate::engine::crypto::KeyError;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};

/// What went wrong in a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("exactly one of master_key_file and master_key_command must be given")]
    MasterKeyUnnamed,
    #[error("the repository {place} is not the one that is meant: {why}")]
    Unfit { place: String, why: String },
    #[error(
        "the repository {place} holds the cluster with system identifier {holds}, and this is \
         {given}"
    )]
    OtherCluster { place: String, holds: u64, given: u64 },
    #[error("{object} in {place} is not what was written: {why}")]
    Damaged { object: String, place: String, why: String },
    #[error("{place} already holds {name} with another content, as {object}")]
    DifferentWal { name: String, object: String, place: String },
    #[error("\"{name}\" is not the name of {what}")]
    BadName { name: String, what: &'static str },
    #[error("{0}")]
    NoSuchSet(String),
    #[error("{what} could not be written: {source}")]
    Output { what: String, source: std::io::Error },
}

impl RepositoryError {
    /// What the store said, where it was the store; retry is decided by it.
    #[must_use]
    pub fn fault(&self) -> Option<StoreFault> {
        match self {
            Self::Store(error) => Some(error.fault),
            Self::Key(error) => error.fault(),
            _ => None,
        }
    }

    /// The explanation, with the name of the backup that it is about: a key names none.
    #[must_use]
    pub fn of_set(&self, set: &str) -> Explanation {
        let mut told = self.explanation();
        if matches!(self, Self::Key(_)) {
            told.what = format!("{set} cannot be opened. {}", told.what);
        }
        told
    }
}

impl Explain for RepositoryError {
    fn explanation(&self) -> Explanation {
        let (kind, untouched, next) = match self {
            Self::Store(error) => return error.explanation(),
            Self::Key(error) => return error.explanation(),
            Self::MasterKeyUnnamed => (
                Kind::Config,
                "Nothing was changed.",
                "Name the master key once in the repository's encryption settings.",
            ),
            Self::Unfit { .. } => (
                Kind::Config,
                "Nothing was changed.",
                "Check the repository's path and encryption in the configuration.",
            ),
            Self::OtherCluster { .. } => (
                Kind::Refused,
                "Nothing was written.",
                "Give each cluster a repository of its own; a server made anew by initdb or \
                 pg_upgrade is another cluster.",
            ),
            Self::Damaged { .. } => (
                Kind::Integrity,
                "Nothing of it was used, and nothing was changed.",
                "Use another copy of the repository, and have its disk checked.",
            ),
            Self::DifferentWal { .. } => (
                Kind::Refused,
                "The archived file was not touched.",
                "Two servers may be archiving into one repository. Find out which one is right \
                 before anything else.",
            ),
            Self::BadName { .. } => (Kind::Config, "Nothing was changed.", "Check the name."),
            Self::NoSuchSet(_) => (
                Kind::NotFound,
                "Nothing was changed.",
                "List what is there: lifeboat list-backups",
            ),
            Self::Output { .. } => {
                (Kind::Storage, "The repository was not touched.", "Check space and permissions.")
            }
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}
