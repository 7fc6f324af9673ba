//! Why the catalogue could not be used. None of it harms a recovery.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::connect::{self, ConnectError};

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("The configuration names no catalogue.")]
    NotConfigured,
    #[error("The catalogue's password could not be had: {0}.")]
    Password(String),
    #[error("The catalogue cannot be used: {0}")]
    Connect(#[from] ConnectError),
    #[error(
        "The catalogue {server} has no tables of Lifeboat yet, or older ones (version {found}, {wanted} is needed)."
    )]
    NotMigrated { server: String, found: i32, wanted: i32 },
    #[error(
        "The catalogue {server} was set up by a newer version of Lifeboat (version {found}, this one knows {wanted})."
    )]
    Newer { server: String, found: i32, wanted: i32 },
    #[error(
        "The catalogue's migration {version} is not the one that this version of Lifeboat has."
    )]
    OtherMigration { version: i32 },
    #[error("{doing} failed: {reason}.")]
    Sql { doing: String, reason: String },
    #[error(
        "The catalogue has another entry {seq} of {incident} than the journal, or more entries."
    )]
    Differs { incident: String, seq: u64 },
    #[error("{0}")]
    Source(Explanation),
}

impl CatalogueError {
    /// For a statement that failed while `doing`.
    pub fn sql(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |error| Self::Sql { doing, reason: connect::reason(&error) }
    }
}

impl Explain for CatalogueError {
    fn explanation(&self) -> Explanation {
        let untouched =
            "Nothing of a recovery depends on it; what it lacks is kept and sent later.";
        let (kind, next) = match self {
            Self::NotConfigured => (
                Kind::Config,
                String::from("Add [catalogue] to lifeboat.toml; the example shows it."),
            ),
            Self::Password(_) => {
                (Kind::Config, String::from("Run password_command by hand to see what it says."))
            }
            Self::Connect(error) => {
                let inner = error.explanation();
                (inner.kind, inner.next)
            }
            Self::NotMigrated { .. } => {
                (Kind::Refused, String::from("Run: lifeboat catalogue migrate."))
            }
            Self::Newer { .. } => (Kind::Refused, String::from("Use that version.")),
            Self::OtherMigration { .. } => (
                Kind::Integrity,
                String::from("Find out who changed lifeboat.migrations before anything else."),
            ),
            Self::Sql { .. } => (
                Kind::Server,
                String::from("See what the server says; the user needs SELECT and INSERT there."),
            ),
            Self::Differs { incident, .. } => {
                (Kind::Integrity, format!("Look at it: lifeboat journal verify {incident}."))
            }
            Self::Source(explanation) => return explanation.clone(),
        };
        Explanation::new(kind, self.to_string(), untouched, next)
    }
}
