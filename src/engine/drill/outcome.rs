//! How a drill ended, as one value: what programs read, what the record keeps, what people are told.
//! Owns the value alone; who fills it is `drill::judge`.

use super::card::Card;
use super::copy;
use super::score::TableScore;
use crate::engine::incident::facts::{Check, Verdict};
use serde::Serialize;
use std::path::PathBuf;

/// The outcome of a drill that was ended before its end: nothing was compared, and it has not
/// passed.
pub const ABORTED: &str = "ABORTED";

/// How a drill ended: one JSON object for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub scenario: String,
    /// VERIFIED, FAILED, COULD NOT VERIFY, or [`ABORTED`].
    pub outcome: &'static str,
    /// Why it is not VERIFIED; empty where it is.
    pub reasons: Vec<String>,
    pub incident: String,
    /// recovered or refused: how it was to end.
    pub expected: &'static str,
    /// recovered, refused or neither: how it ended.
    pub ended: &'static str,
    /// The refusal, where it ended with one.
    pub refusal: Option<String>,
    /// What was asked for, in words.
    pub target: Option<String>,
    /// The server's own word on where it stopped.
    pub reached_point: Option<String>,
    /// Data that was given up or lost: from what is lost first to the incident.
    pub rpo_seconds: Option<f64>,
    pub rpo_target_seconds: Option<f64>,
    /// From detection to serving again, or to the parts being back.
    pub rto_seconds: Option<f64>,
    pub rto_target_seconds: f64,
    /// Rows that the bad statement took.
    pub rows_deleted: u64,
    pub tables: Vec<TableScore>,
    /// The validation's and then the drill's own.
    pub checks: Vec<Check>,
    /// Checklist lines that are left to people.
    pub checklist_open: Vec<String>,
    pub hypothesis: String,
    pub card: Card,
    /// What else went wrong on purpose, and struck.
    pub injects: Vec<String>,
    pub seed: u64,
    /// From the first command to the last.
    pub seconds: f64,
    /// What is left on disk, where the sandbox is kept.
    pub kept: Vec<PathBuf>,
    /// What the drill was held on a copy of, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<copy::Told>,
    /// What was enforced on time, disk and processors.
    pub limits: Vec<String>,
    /// That nothing of the sandbox is left; empty where it is kept.
    pub teardown: Vec<Check>,
}

impl Outcome {
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.outcome == Verdict::Verified.word()
    }

    /// Takes in what came of a first report that was wrong on purpose: one that nobody found out
    /// about was not met.
    pub fn heard(&mut self, check: Option<Check>) {
        let Some(check) = check else { return };
        if check.verdict != Verdict::Verified {
            let word = check.verdict.word();
            self.reasons.push(format!("{}: {word}. {}", check.title, check.detail));
            if self.is_verified() {
                self.outcome = word;
            }
        }
        self.checks.push(check);
    }

    /// Takes in whether the sandbox is gone: a drill that leaves something has not passed.
    pub fn torn_down(&mut self, proof: Vec<Check>) {
        for check in proof.iter().filter(|check| check.verdict != Verdict::Verified) {
            self.reasons.push(format!(
                "{}: {}. {}",
                check.title,
                check.verdict.word(),
                check.detail
            ));
            if self.is_verified() {
                self.outcome = check.verdict.word();
            }
        }
        self.teardown = proof;
    }
}
