//! What is looked after once a recovered database serves again, as facts: what was held back
//! before it opened, what a look at an item found, and what it proposes. Owns the values alone;
//! `aftercare` makes them.

use super::facts::{Check, Verdict};
use crate::engine::explain::Explanation;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that an item would do, for a person to agree to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Stands for exactly this act: a look that would do something else gives another key.
    pub key: String,
    /// What is done, as a statement or a sentence.
    pub text: String,
    /// Of the proposals of one group at most one can be agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Lines of the checklist, by id, that somebody was reminded of: each of either once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// Their time is nearly over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soon: Vec<String>,
    /// Their time is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overdue: Vec<String>,
}

/// What somebody was reminded of in one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reminded {
    pub soon: Option<Timestamp>,
    pub overdue: Option<Timestamp>,
}

/// One run of an item: what was agreed to, what was found, and what is proposed now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Care {
    /// The item's id in `aftercare`.
    pub item: String,
    /// Keys of the proposals that were carried out, as far as they still held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agreed: Vec<String>,
    pub checks: Vec<Check>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<Proposal>,
}

impl Care {
    /// The worst of its checks; nothing may be left out.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of_all(self.checks.iter().map(|check| check.verdict))
    }

    /// A run that could not even look.
    #[must_use]
    pub fn stopped(item: &str, agreed: &[String], why: &Explanation) -> Self {
        let check = Check {
            id: format!("{item}:stopped"),
            title: String::from("It could be looked at"),
            verdict: Verdict::CouldNotVerify,
            expected: None,
            found: None,
            detail: why.to_string(),
            duration_ms: 0,
        };
        let (item, agreed) = (item.to_owned(), agreed.to_vec());
        Self { item, agreed, checks: vec![check], proposals: Vec::new() }
    }
}

/// How an item stands, folded from the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CareState {
    /// When the run began that has not ended yet.
    pub running: Option<Timestamp>,
    /// The runner ended in the middle of a run: what it did is found by looking again.
    pub interrupted: bool,
    /// The newest run that ended.
    pub last: Option<Care>,
    pub at: Option<Timestamp>,
    pub by: String,
}

impl CareState {
    /// NOT RUN where it never ended, or a later run was broken off.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.last {
            Some(care) if !self.interrupted => care.verdict(),
            _ => Verdict::NotRun,
        }
    }

    /// What may be agreed to now.
    #[must_use]
    pub fn proposals(&self) -> &[Proposal] {
        match &self.last {
            Some(care) if self.running.is_none() && !self.interrupted => &care.proposals,
            _ => &[],
        }
    }
}

/// What would act by itself as soon as the server opens, and is kept from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldKind {
    Subscription,
    CronJob,
}

/// One thing that was switched off before the server opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Held {
    pub what: HeldKind,
    pub database: String,
    /// The subscription's name, or the job's number.
    pub name: String,
}

/// A line of the checklist that will not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waived {
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
}
