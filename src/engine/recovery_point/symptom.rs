//! What people see of the damage: which table, when, what kind. Owns the words for it and how well
//! a deed fits it; never reads WAL.

use super::suspects::Harm;
use crate::engine::postgres::Lsn;
use crate::engine::wal::inspect::Focus;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What kind of damage is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymptomKind {
    /// Rows are missing.
    RowsGone,
    /// Rows are there with wrong values.
    RowsWrong,
    TableGone,
    DatabaseGone,
    #[default]
    Unknown,
}

/// One end of the window in which the damage must have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    Time(Timestamp),
    Lsn(Lsn),
}

/// What is seen of the damage; nothing at all is a symptom too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Symptom {
    pub kind: SymptomKind,
    /// `table` or `schema.table`.
    pub table: Option<String>,
    /// The damage was committed at this moment or later.
    pub from: Option<Edge>,
    /// The damage was committed at this moment or earlier.
    pub to: Option<Edge>,
}

impl Symptom {
    /// The commits that come into question.
    #[must_use]
    pub fn focus(&self) -> Focus {
        let mut focus = Focus::default();
        match self.from {
            Some(Edge::Time(at)) => focus.from = at.as_microsecond(),
            Some(Edge::Lsn(lsn)) => focus.from_lsn = lsn,
            None => {}
        }
        match self.to {
            Some(Edge::Time(at)) => focus.to = at.as_microsecond(),
            Some(Edge::Lsn(lsn)) => focus.to_lsn = lsn,
            None => {}
        }
        focus
    }

    /// How well a deed fits what is seen, from nearly 0 to 1 and a little above.
    #[must_use]
    pub fn fits(&self, harm: Harm) -> f64 {
        match (self.kind, harm) {
            (SymptomKind::Unknown, _)
            | (SymptomKind::RowsGone, Harm::Delete | Harm::Truncate)
            | (SymptomKind::TableGone, Harm::DropTable | Harm::DropSchema)
            | (SymptomKind::DatabaseGone, Harm::DropDatabase) => 1.0,
            (SymptomKind::RowsWrong, Harm::Update) => 1.2,
            (SymptomKind::RowsWrong, Harm::DropColumn) => 0.6,
            (SymptomKind::RowsGone, Harm::DropTable | Harm::DropSchema) => 0.3,
            (SymptomKind::TableGone | SymptomKind::RowsGone, Harm::DropDatabase) => 0.3,
            (SymptomKind::TableGone, Harm::Truncate) => 0.25,
            (SymptomKind::RowsWrong, Harm::Delete | Harm::Truncate) => 0.25,
            // A row that was changed may no more be found by what it was.
            (SymptomKind::RowsGone, Harm::Update) => 0.2,
            _ => 0.05,
        }
    }
}
