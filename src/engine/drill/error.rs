//! Why a drill could not be set up, run or cleared away.

use crate::engine::explain::{Explain, Explanation, Kind};
use std::io;
use std::path::{Path, PathBuf};

/// What went wrong in a drill. Nothing outside the sandbox is ever touched by one.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error("there is no drill named \"{name}\"; the drills are: {known}")]
    UnknownScenario { name: String, known: String },
    #[error("the scenario \"{name}\" cannot be read: {why}")]
    BadScenario { name: String, why: String },
    #[error("there is no inject named \"{name}\"; the injects are: {known}")]
    UnknownInject { name: String, known: String },
    #[error("the inject {inject} does not fit {scenario}")]
    Unfit { inject: String, scenario: String },
    #[error("the accident \"{statement}\" changed nothing in {table}")]
    Harmless { statement: String, table: String },
    #[error("these injects cannot be in one drill: {why}")]
    Clash { why: String },
    #[error("{0}")]
    Rail(String),
    #[error("{why}")]
    Over { why: String },
    #[error("{0}")]
    User(String),
    #[error("{}: {what}: {source}", path.display())]
    File { path: PathBuf, what: String, source: io::Error },
    #[error("{} has {free_mb} MB free and the drill needs about {needed_mb} MB", path.display())]
    Space { path: PathBuf, free_mb: u64, needed_mb: u64 },
    #[error("{} is not used: {why}", path.display())]
    Refused { path: PathBuf, why: String },
    #[error("{} is no place for a drill: {why}", path.display())]
    Exposed { path: PathBuf, why: String },
    #[error("{program} failed: {output}")]
    Program { program: String, output: String },
    #[error("the sandbox's server: {what}: {why}")]
    Sql { what: String, why: String },
    #[error("{what} took longer than {seconds} seconds")]
    TooLong { what: String, seconds: u64 },
    #[error("processes of the sandbox are still there: {pids:?}")]
    StillRunning { root: PathBuf, pids: Vec<i32> },
    #[error("the drill was interrupted")]
    Interrupted,
    #[error("{}", .0.what)]
    Engine(Explanation),
}

impl DrillError {
    pub(super) fn file(path: &Path, what: &str) -> impl FnOnce(io::Error) -> Self {
        let (path, what) = (path.to_path_buf(), what.to_owned());
        move |source| Self::File { path, what, source }
    }

    pub(super) fn sql(what: &str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.to_owned();
        move |error| {
            let why = match error.as_db_error() {
                Some(db) => format!("{} ({})", db.message(), db.code().code()),
                None => std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
            };
            Self::Sql { what, why }
        }
    }
}

const NOTHING: &str = "Nothing outside the sandbox was touched.";

impl Explain for DrillError {
    fn explanation(&self) -> Explanation {
        let of = |kind, next: &str| Explanation::new(kind, sentence(self), NOTHING, next);
        match self {
            Self::UnknownScenario { .. } => {
                of(Kind::NotFound, "Name one of those; lifeboat drill list tells more of them.")
            }
            Self::UnknownInject { .. } => of(Kind::NotFound, "Name one of those."),
            Self::BadScenario { .. } => {
                of(Kind::Config, "Mend the file; lifeboat drill validate FILE judges it again.")
            }
            Self::Unfit { .. } => {
                of(Kind::Config, "lifeboat drill show SCENARIO lists the injects that fit.")
            }
            Self::Harmless { .. } => of(
                Kind::Config,
                "There is nothing to recover. Mend the statement, or the table, in the scenario's \
                 file.",
            ),
            Self::Clash { .. } => {
                of(Kind::Config, "Leave one of them out; hold another drill with it.")
            }
            Self::Rail(_) => of(
                Kind::Refused,
                "A drill touches nothing but its own sandbox; it was ended before it began.",
            ),
            Self::Over { .. } => of(
                Kind::Cancelled,
                "The sandbox was cleared away. Raise --time-limit or --disk-limit if it needs more.",
            ),
            Self::User(_) => {
                of(Kind::Config, "Set sandbox.user to a user that exists and is not root.")
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                of(Kind::Storage, "Free some space, or choose a smaller size with --size.")
            }
            Self::File { .. } => {
                of(Kind::Storage, "Look at the path, or set sandbox.directory to another folder.")
            }
            Self::Space { .. } => of(
                Kind::Storage,
                "Choose a smaller size with --size, or set sandbox.directory to a larger volume.",
            ),
            Self::Exposed { .. } => of(
                Kind::Refused,
                "What is run from there could be exchanged by another user. Set sandbox.directory \
                 (or --keep) to a folder that you alone, or root, can change.",
            ),
            Self::Refused { .. } => {
                of(Kind::Refused, "Look at it and clear it by hand if need be.")
            }
            Self::Program { .. } | Self::Sql { .. } | Self::TooLong { .. } => {
                of(Kind::Server, "Run the drill again with --keep DIR and read the log in there.")
            }
            Self::StillRunning { .. } => {
                of(Kind::Busy, "The folder was left as it is. Stop them and start a drill again.")
            }
            Self::Interrupted => of(Kind::Cancelled, "The sandbox was cleared away."),
            Self::Engine(explanation) => explanation.clone(),
        }
    }
}

fn sentence(error: &DrillError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => {
            format!("{}{}.", first.to_uppercase(), letters.as_str().trim_end_matches('.'))
        }
        None => text,
    }
}
