//! The escalation's values: who was called, why, and who answered. Owns their shape; when somebody
//! is called is [`crate::engine::escalation`]'s.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a level was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// Its time on the ladder has come.
    Elapsed,
    /// The RTO is over, and the database does not serve.
    Breached,
    /// The database will serve too late: the level is called before its time.
    Forecast,
}

/// A level of the ladder is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// Its id in the runbook data.
    pub level: String,
    /// Whom it stands for, by role; with those of the levels between that are called with it.
    pub who: String,
    /// The people and how they are reached, as configured. Empty where nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    pub because: Because,
    /// In a sentence.
    pub why: String,
    /// 1, and more where it is called again because nobody answered.
    pub times: u32,
}

/// A level that was called, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// As it was last called.
    #[serde(flatten)]
    pub raise: Raise,
    /// When it was called first.
    pub at: Timestamp,
    /// When it was called last.
    pub last: Timestamp,
    pub acknowledged: Option<Acknowledged>,
}

/// Who answered for a level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Acknowledged {
    pub by: String,
    pub at: Timestamp,
}

/// Folds a call in: a new level, or one that is called again.
pub(super) fn raise(raised: &mut Vec<Raised>, raise: &Raise, at: Timestamp) {
    match raised.iter_mut().find(|known| known.raise.level == raise.level) {
        Some(known) => {
            known.raise = raise.clone();
            known.last = at;
        }
        None => {
            raised.push(Raised { raise: raise.clone(), at, last: at, acknowledged: None });
        }
    }
}

/// Folds an answer in: it stands for the level and for those below that nobody answered for.
pub(super) fn acknowledge(raised: &mut [Raised], level: &str, by: &str, at: Timestamp) {
    let Some(upto) = raised.iter().position(|known| known.raise.level == level) else { return };
    for known in raised.iter_mut().take(upto + 1).filter(|known| known.acknowledged.is_none()) {
        known.acknowledged = Some(Acknowledged { by: by.to_owned(), at });
    }
}
