//! What verifying a set gave, kept for the rule of no errors. Owns `<state>/verifications.jsonl`;
//! a set that nobody verified is not in it, and is never taken for sound.

use crate::engine::incident::facts::Verdict;
use crate::engine::ledger::{self, LedgerError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The record's name in the state directory.
pub const FILE: &str = "verifications.jsonl";

/// One verification as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub cluster: String,
    pub repository: String,
    pub set: String,
    pub verdict: Verdict,
}

/// Keeps a result; durable when this returns.
///
/// # Errors
/// Where the record was changed by others, or could not be written.
pub fn record(state_directory: &Path, result: Verification) -> Result<(), LedgerError> {
    ledger::append(&state_directory.join(FILE), result).map(drop)
}

/// The newest results, by cluster, repository and set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Newest(Vec<(Timestamp, Verification)>);

impl Newest {
    /// # Errors
    /// Where the record was changed by others, or could not be read.
    pub fn read(state_directory: &Path) -> Result<Self, LedgerError> {
        let lines = ledger::read::<Verification>(&state_directory.join(FILE))?;
        Ok(Self(lines.into_iter().map(|line| (line.at, line.entry)).collect()))
    }

    /// When it was verified last, and what that gave.
    #[must_use]
    pub fn of(&self, cluster: &str, repository: &str, set: &str) -> Option<(Timestamp, Verdict)> {
        let newest = self.0.iter().rev().find(|(_, one)| {
            one.cluster == cluster && one.repository == repository && one.set == set
        });
        newest.map(|(at, one)| (*at, one.verdict))
    }
}
