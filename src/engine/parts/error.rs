//! Why a part could not be brought back. Every one of them leaves production as it was, or says
//! that this is not known.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::trouble::Trouble;
use crate::engine::postgres::connect;
use std::path::{Path, PathBuf};

const UNTOUCHED: &str = "Nothing in production was changed.";

#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    #[error("{0}")]
    Engine(Explanation),
    /// A failure of the copy, and what it is.
    #[error("{}", .0.0)]
    Recognised(Box<(Explanation, Trouble)>),
    #[error("{doing} failed: {reason}.")]
    Sql { doing: String, reason: String },
    #[error("{program} failed: {said}.")]
    Program { program: String, said: String },
    #[error("{path}: {what}: {source}.")]
    File { path: PathBuf, what: &'static str, source: std::io::Error },
    #[error("{what}")]
    Refused { what: String, next: String },
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NotTheSame(String),
    #[error(
        "The answer to COMMIT was lost ({lost}), and whether transaction {xid} was committed is \
         NOT KNOWN: {why}."
    )]
    NotKnown { xid: String, lost: String, why: String },
}

impl PartsError {
    /// For a statement that failed while `doing`.
    pub fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Sql { doing, reason: connect::reason(&error) }
    }

    pub fn file(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, what, source }
    }

    pub fn refused(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), next: next.into() }
    }
}

/// The words of another module's error.
pub(super) fn engine(error: impl Explain) -> PartsError {
    PartsError::Engine(error.explanation())
}

impl From<Explanation> for PartsError {
    fn from(explanation: Explanation) -> Self {
        Self::Engine(explanation)
    }
}

impl Explain for PartsError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Engine(inner) => return inner.clone(),
            Self::Recognised(met) => return met.0.clone(),
            Self::NotKnown { xid, .. } => {
                return Explanation::new(
                    Kind::Connection,
                    self.to_string(),
                    "Either all of it is in production, or nothing of it.",
                    format!(
                        "Once the server answers, ask it: SELECT pg_xact_status('{xid}'::xid8). Run \
                         it again only where it says \"aborted\"; a look with --dry-run shows what \
                         differs by now."
                    ),
                );
            }
            Self::Sql { .. } => (
                Kind::Server,
                "The server's words say which row or object stands in the way. Mend it, choose \
                 less, or take the part into a side schema; then run it again.",
            ),
            Self::Program { .. } => (Kind::Server, "Mend what the program says; run it again."),
            Self::File { .. } => (Kind::Storage, "Mend the cause; run it again."),
            Self::Refused { next, .. } => (Kind::Refused, next.as_str()),
            Self::NotFound(_) => {
                (Kind::NotFound, "Check the name; names in double quotes are taken to the letter.")
            }
            Self::NotTheSame(_) => (
                Kind::Integrity,
                "Run it again; if it stays, take the part into a side schema and compare there.",
            ),
        };
        Explanation::new(kind, self.to_string(), UNTOUCHED, next)
    }
}
