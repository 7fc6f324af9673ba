//! What an operator hears when something fails.
//!
//! Owns the shape of an explanation and the exit codes that follow from its kind.
//! Never decides whether to retry: that is the caller's, by [`Kind`].

use serde::{Deserialize, Serialize};

/// The class of a failure. Retry policy, advice and exit code follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The configuration or the command line is wrong.
    Config,
    /// The named thing does not exist: a backup set, a segment, an incident.
    NotFound,
    /// Content is not what was written: wrong tag, digest, checksum or key.
    Integrity,
    /// The recovery target cannot be reached from what the repository holds.
    Unreachable,
    /// Refused for safety: wrong identity, a directory that is not empty, a role that may not.
    Refused,
    /// Disk: no space, no permission, an I/O error.
    Storage,
    /// A server or repository could not be reached.
    Connection,
    /// Somebody else holds it.
    Busy,
    /// Cancelled by the operator.
    Cancelled,
    /// PostgreSQL or one of its programs failed.
    Server,
    /// A fault of Lifeboat itself.
    Internal,
}

impl Kind {
    /// The process exit code for this kind; `docs/OPERATIONS.md` lists them for users.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Config => 2,
            Self::NotFound => 3,
            Self::Integrity => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
            Self::Storage => 7,
            Self::Connection => 8,
            Self::Busy => 9,
            Self::Cancelled => 10,
            Self::Server => 11,
        }
    }
}

/// A failure in the words that an operator needs: what happened, what is still as it was,
/// and what to do next. Never carries a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub kind: Kind,
    /// What happened, to which file, segment or server.
    pub what: String,
    /// What was left untouched.
    pub untouched: String,
    /// What the operator can do next.
    pub next: String,
}

impl Explanation {
    pub fn new(
        kind: Kind,
        what: impl Into<String>,
        untouched: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { kind, what: what.into(), untouched: untouched.into(), next: next.into() }
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        if !self.untouched.is_empty() {
            write!(f, " {}", self.untouched)?;
        }
        if !self.next.is_empty() {
            write!(f, " {}", self.next)?;
        }
        Ok(())
    }
}

/// Implemented by every error of the engine, so that each front end shows the same words.
pub trait Explain: std::error::Error {
    fn explanation(&self) -> Explanation;
}

/// So many of something: `1 set`, `3 sets`, `0 WAL files`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// An error's own words as a sentence: a capital first and a full stop last.
#[must_use]
pub fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return text };
    let stop = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}
