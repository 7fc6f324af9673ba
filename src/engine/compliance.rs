//! The compliance record: every recovery and drill that was carried out, with the data and the
//! time that it cost, against its tier. Owns `<state>/recoveries.jsonl`, which is only added to;
//! what is recorded is what a person says, and is never corrected, only followed by another line.

use crate::engine::incident::facts::Tier;
use crate::engine::ledger::{self, LedgerError, Line};
use crate::engine::runbook::Runbook;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The record's name in the state directory.
pub const FILE: &str = "recoveries.jsonl";

/// A recovery as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    pub cluster: String,
    pub tier: Tier,
    pub success: bool,
    /// Data that were lost.
    pub rpo_seconds: u64,
    /// Time without service.
    pub rto_seconds: u64,
    /// As the runbook had them then.
    pub rpo_target_seconds: u64,
    pub rto_target_seconds: u64,
    /// A recovery that failed met neither.
    pub rpo_met: bool,
    pub rto_met: bool,
    pub incident: Option<String>,
    pub note: Option<String>,
    /// The operating-system user who recorded it.
    pub recorded_by: String,
}

/// What a person says of a recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub cluster: String,
    pub tier: Tier,
    pub success: bool,
    /// Finite and not negative.
    pub rpo_minutes: f64,
    pub rto_minutes: f64,
    pub incident: Option<String>,
    pub note: Option<String>,
}

impl Recovery {
    /// Measured against the tier's targets. Parts of a second count as a whole one.
    #[must_use]
    pub fn of(said: Said, runbook: &Runbook, recorded_by: &str) -> Self {
        let seconds = |minutes: f64| (minutes * 60.0).ceil() as u64;
        let target = runbook.tier(said.tier);
        let (rpo_seconds, rto_seconds) = (seconds(said.rpo_minutes), seconds(said.rto_minutes));
        Self {
            cluster: said.cluster,
            tier: said.tier,
            success: said.success,
            rpo_seconds,
            rto_seconds,
            rpo_target_seconds: target.rpo_seconds,
            rto_target_seconds: target.rto_seconds,
            rpo_met: said.success && rpo_seconds <= target.rpo_seconds,
            rto_met: said.success && rto_seconds <= target.rto_seconds,
            incident: said.incident,
            note: said.note,
            recorded_by: recorded_by.to_owned(),
        }
    }
}

fn path(state_directory: &Path) -> PathBuf {
    state_directory.join(FILE)
}

/// Adds a recovery to the record; durable when this returns.
///
/// # Errors
/// Where the record was changed by others, or could not be written.
pub fn record(state_directory: &Path, recovery: Recovery) -> Result<Line<Recovery>, LedgerError> {
    ledger::append(&path(state_directory), recovery)
}

/// All that were recorded, oldest first.
///
/// # Errors
/// Where the record was changed by others, or could not be read.
pub fn history(state_directory: &Path) -> Result<Vec<Line<Recovery>>, LedgerError> {
    ledger::read(&path(state_directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(success: bool, rpo_minutes: f64, rto_minutes: f64) -> Said {
        Said {
            cluster: String::from("shop"),
            tier: Tier::High,
            success,
            rpo_minutes,
            rto_minutes,
            incident: None,
            note: None,
        }
    }

    #[test]
    fn a_recovery_is_measured_against_its_tier() {
        let runbook = Runbook::load(None).unwrap();
        let met = |said| {
            let recovery = Recovery::of(said, &runbook, "root");
            (recovery.rpo_met, recovery.rto_met)
        };
        assert_eq!(met(said(true, 5.0, 15.0)), (true, true));
        assert_eq!(met(said(true, 5.01, 15.0)), (false, true), "parts of a second count");
        assert_eq!(met(said(true, 0.0, 15.1)), (true, false));
        assert_eq!(met(said(false, 0.0, 0.0)), (false, false));
    }

    #[test]
    fn the_record_keeps_them_all() {
        let state = tempfile::tempdir().unwrap();
        let runbook = Runbook::load(None).unwrap();
        for rpo in [1.0, 2.0] {
            record(state.path(), Recovery::of(said(true, rpo, 3.0), &runbook, "root")).unwrap();
        }
        let all = history(state.path()).unwrap();
        assert_eq!(all.iter().map(|l| l.entry.rpo_seconds).collect::<Vec<_>>(), [60, 120]);
    }
}
