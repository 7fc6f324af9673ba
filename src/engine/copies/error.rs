//! Why a set was not copied, what that left, and how it goes on.

use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::repository::RepositoryError;
use crate::engine::repository::store::StoreError;
use std::io;

/// Why a set was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{set} could not be read from \"{from}\": {source}")]
    Source { set: String, from: String, source: Box<RepositoryError> },
    #[error("{object} in \"{from}\" is not what was written: {why}")]
    Damaged { object: String, from: String, why: String },
    #[error("{set} could not be written to \"{to}\": {source}")]
    Target { set: String, to: String, source: Box<RepositoryError> },
    #[error("{object} could not be written to \"{to}\": {source}")]
    Write { object: String, to: String, source: io::Error },
    #[error("\"{from}\" is {from_is} and \"{to}\" is {to_is}")]
    Cipher { from: String, from_is: &'static str, to: String, to_is: &'static str },
    #[error("\"{to}\" already holds {name} with another content")]
    Different { name: String, to: String },
    #[error("{what} is gone from \"{to}\" again, and {set} is not complete there")]
    Gone { set: String, to: String, what: String },
    #[error("cancelled")]
    Cancelled,
}

impl CopyError {
    /// Whether another source may help.
    #[must_use]
    pub fn is_the_sources(&self) -> bool {
        matches!(self, Self::Source { .. } | Self::Damaged { .. })
    }

    pub(super) fn source<E: Into<RepositoryError>>(set: &str, from: &str) -> impl Fn(E) -> Self {
        let (set, from) = (set.to_owned(), from.to_owned());
        move |error| Self::Source {
            set: set.clone(),
            from: from.clone(),
            source: Box::new(error.into()),
        }
    }

    pub(super) fn target<E: Into<RepositoryError>>(set: &str, to: &str) -> impl Fn(E) -> Self {
        let (set, to) = (set.to_owned(), to.to_owned());
        move |error| Self::Target {
            set: set.clone(),
            to: to.clone(),
            source: Box::new(error.into()),
        }
    }
}

impl Explain for CopyError {
    fn explanation(&self) -> Explanation {
        const UNTOUCHED: &str = "The backup stays where it is; the copy was not published, and nothing was overwritten.";
        let again = "Run lifeboat catch-up when that is mended: what was copied whole is kept.";
        let (kind, next) = match self {
            Self::Source { source, .. } | Self::Target { source, .. } => {
                let inner = source.explanation();
                return Explanation::new(
                    inner.kind,
                    sentence(self),
                    UNTOUCHED,
                    format!("{} {again}", inner.next),
                );
            }
            Self::Write { source, .. } => {
                let store = StoreError::io("write", io::Error::from(source.kind()));
                (store.explanation().kind, again)
            }
            Self::Damaged { .. } => (
                Kind::Integrity,
                "Verify that repository (lifeboat verify --repository), and have its disk checked; \
                 another copy or a new backup is needed.",
            ),
            Self::Cipher { .. } => (
                Kind::Config,
                "Copies are identical: encrypt all repositories of the cluster, or none.",
            ),
            Self::Different { .. } => (
                Kind::Refused,
                "Find out who wrote it. Where it is damaged and no set needs it, remove it by hand \
                 and run lifeboat catch-up.",
            ),
            Self::Gone { .. } => {
                let next = "Let no cleanup of that repository run beside it, and run lifeboat \
                            catch-up.";
                let left = "The backup stays where it is; nothing was overwritten.";
                return Explanation::new(Kind::Integrity, sentence(self), left, next);
            }
            Self::Cancelled => (Kind::Cancelled, again),
        };
        Explanation::new(kind, sentence(self), UNTOUCHED, next)
    }
}
