//! Why a cluster could not be set up.

use crate::engine::config::ConfigError;
use crate::engine::crypto::master::KeyError;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::postgres::connect::ConnectError;
use crate::engine::postgres::control::ControlError;
use crate::engine::postgres::discovery::DiscoveryError;
use crate::engine::repository::RepositoryError;
use std::io;
use std::path::{Path, PathBuf};

/// What stopped a set-up. What was done before it stays and is found done the next time.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("the data directory {} cannot be read by {user}", path.display())]
    NotAllowed { path: PathBuf, user: String },
    #[error("{user} is no superuser of the server at {server}")]
    NotSuperuser { user: String, server: String },
    #[error("the server at {server} is a standby")]
    Standby { server: String },
    #[error(
        "the server at {server} has the data directory {}, not {}", actual.display(), named.display()
    )]
    OtherDirectory { server: String, actual: PathBuf, named: PathBuf },
    #[error("{what} for the server at {server}: {why}")]
    Server { server: String, what: String, why: String },
    #[error("{}: {what}: {source}", path.display())]
    File { path: PathBuf, what: String, source: io::Error },
    #[error("the server's user {user} cannot run {}: {why}", program.display())]
    Program { program: PathBuf, user: String, why: String },
    #[error("{} already has a cluster \"{name}\", with the data directory {}", path.display(), directory.display())]
    NameTaken { path: PathBuf, name: String, directory: PathBuf },
    #[error("{} changed while it was looked at", path.display())]
    ChangedMeanwhile { path: PathBuf },
    #[error("the addition to {} does not fit: {why}", path.display())]
    DoesNotFit { path: PathBuf, why: String },
    #[error("{name} is \"{current}\" and not Lifeboat's")]
    ForeignArchiving { name: String, current: String },
    #[error("the server did not take {name}: it is \"{now}\" and not \"{wanted}\" ({from})")]
    NotTaken { name: String, wanted: String, now: String, from: String },
    #[error("segment {segment} was not in the archive after {seconds} s{reason}")]
    NotArchived { segment: String, seconds: u64, reason: String },
    #[error("the server is run by {service}, which must restart it")]
    Supervised { service: String },
    #[error("the server did not restart: {said}")]
    Restart { said: String },
    #[error("the errand to {user} gave no answer: {why}")]
    Errand { user: String, why: String },
    #[error("{}", .0.what)]
    Engine(Explanation),
}

impl InitError {
    pub(super) fn file(path: &Path, what: &str) -> impl FnOnce(io::Error) -> Self {
        let (path, what) = (path.to_path_buf(), what.to_owned());
        move |source| Self::File { path, what, source }
    }
}

/// Errors of other parts keep their own words.
macro_rules! from_engine {
    ($($error:ty),*) => {$(
        impl From<$error> for InitError {
            fn from(error: $error) -> Self {
                Self::Engine(error.explanation())
            }
        }
    )*};
}
from_engine!(ConfigError, ConnectError, ControlError, DiscoveryError, KeyError, RepositoryError);

impl From<Explanation> for InitError {
    fn from(explanation: Explanation) -> Self {
        Self::Engine(explanation)
    }
}

const NOTHING: &str = "Nothing was changed.";
const SO_FAR: &str =
    "What was done before it stays; running lifeboat init again goes on from there.";

impl Explain for InitError {
    fn explanation(&self) -> Explanation {
        let of = |kind, untouched: &str, next: String| {
            Explanation::new(kind, sentence(self), untouched, next)
        };
        match self {
            Self::NotAllowed { .. } => of(
                Kind::Refused,
                NOTHING,
                String::from(
                    "Run it as root or as the server's own user, such as: sudo -u postgres \
                     lifeboat init",
                ),
            ),
            Self::NotSuperuser { .. } => of(
                Kind::Refused,
                NOTHING,
                String::from("Name a superuser with --user: backups and settings need one."),
            ),
            Self::Standby { .. } => {
                of(Kind::Refused, NOTHING, String::from("Run it on the primary's machine."))
            }
            Self::OtherDirectory { .. } => of(
                Kind::Refused,
                NOTHING,
                String::from("Check --host, --port and --data-directory: they are two servers."),
            ),
            Self::Server { .. } => {
                of(Kind::Server, SO_FAR, String::from("See the server's log, then run it again."))
            }
            Self::File { .. } => of(
                Kind::Storage,
                SO_FAR,
                String::from("Check the path, its owner and its permissions, then run it again."),
            ),
            Self::Program { program, .. } => of(
                Kind::Config,
                NOTHING,
                format!(
                    "The server archives with it. Install it where that user can run it, such as: \
                     sudo install {} /usr/local/bin/lifeboat; then run that one.",
                    program.display()
                ),
            ),
            Self::NameTaken { .. } => {
                of(Kind::Config, NOTHING, String::from("Choose another name with --cluster-name."))
            }
            Self::ChangedMeanwhile { .. } => {
                of(Kind::Busy, "It was not written to.", String::from("Run it again."))
            }
            Self::DoesNotFit { .. } => of(
                Kind::Config,
                "The file was not written to.",
                String::from(
                    "Add the cluster to it by hand (docs/OPERATIONS.md), then run it again.",
                ),
            ),
            Self::ForeignArchiving { .. } => of(
                Kind::Refused,
                NOTHING,
                String::from(
                    "Another program archives this server's WAL. Where Lifeboat may take its \
                     place, say so with --replace-archive-command.",
                ),
            ),
            Self::NotTaken { .. } => of(
                Kind::Server,
                SO_FAR,
                String::from(
                    "A value on the server's command line or of a role outweighs ALTER SYSTEM: \
                     set it there.",
                ),
            ),
            Self::NotArchived { .. } => of(
                Kind::Server,
                "No WAL is lost: the server keeps what it could not archive and tries again.",
                String::from("Mend the cause that the server names, then run it again."),
            ),
            Self::Supervised { service } => of(
                Kind::Refused,
                "The server was not restarted.",
                format!("Restart it: systemctl restart {service}; then run lifeboat init again."),
            ),
            Self::Restart { .. } => of(
                Kind::Server,
                "The data directory was not changed by Lifeboat.",
                String::from(
                    "See the server's log. The record of what was changed has the statements to \
                     take it back.",
                ),
            ),
            Self::Errand { .. } => of(Kind::Internal, SO_FAR, String::from("Run it again.")),
            Self::Engine(explanation) => explanation.clone(),
        }
    }
}
