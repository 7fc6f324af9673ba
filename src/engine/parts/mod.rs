//! Parts: single tables, schemas or whole databases brought to production from a recovered copy
//! beside it, and salvage, which brings rows of a kept damaged directory. Owns what differs, what
//! the operator chose of it, and the one transaction that carries it over.
//!
//! ```text
//! base + WAL ── sandbox (closed, archives nothing) ──┐ source     ┌─► new schema or missing table:
//! kept directory ── a copy of it, started closed ────┤            │   pg_dump's words, rows by COPY
//!                                                    ├─ compare ──┤
//! production ────────────────────────────────────────┘ by key     └─► rows in place: the classes
//!                                                                     that were chosen, no others
//! ```
//!
//! Nothing of production is overwritten that was not named, and nothing stays of a carrying over
//! that did not reach its end. The kept directory is only ever read.

pub mod apply;
pub mod aside;
pub mod carry;
pub mod catalog;
pub mod commit;
pub mod compare;
pub mod copied;
pub mod database;
pub mod dump;
pub mod error;
pub mod fired;
pub mod lines;
pub mod names;
pub mod pairs;
pub mod roles;
pub mod run;
pub mod sandbox;
pub mod sequences;
pub mod session;
pub mod transfer;
pub mod work;

pub use error::PartsError;

use serde::{Deserialize, Serialize};

/// What is to be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Tables(Vec<names::Name>),
    Schema(String),
    /// Every table of the database that both sides are asked about.
    All,
}

/// How a row of the source stands against production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// In the source, not in production.
    Missing,
    /// In both under one key, with other content.
    Changed,
    /// In production, not in the source.
    Newer,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Missing, Self::Changed, Self::Newer];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Newer => "newer",
        }
    }

    /// As it stands in the staging table.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Missing => "m",
            Self::Changed => "c",
            Self::Newer => "n",
        }
    }
}

/// What the operator wants of the differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is one choice of the operator's")]
pub struct Choice {
    /// Insert what production lacks.
    pub missing: bool,
    /// Overwrite what differs with the source's content.
    pub changed: bool,
    /// Remove what only production has.
    pub newer: bool,
    /// Let production's triggers fire for carried rows.
    pub triggers: bool,
    /// Carry the columns that both definitions have, where they differ.
    pub common_columns: bool,
}

impl Choice {
    /// Whether any row is to be written.
    #[must_use]
    pub fn any(self) -> bool {
        self.missing || self.changed || self.newer
    }

    /// Whether rows of the class are to be carried.
    #[must_use]
    pub fn takes(self, class: Class) -> bool {
        match class {
            Class::Missing => self.missing,
            Class::Changed => self.changed,
            Class::Newer => self.newer,
        }
    }
}
