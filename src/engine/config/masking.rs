//! `[[clusters.masking]]`: which columns' values are not shown as they are. Owns the words; what
//! becomes of a value is [`crate::engine::masking`]'s.

use serde::{Deserialize, Serialize};

/// How the values of one column are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskingRule {
    /// `schema.table`, or `*` for every table.
    pub table: String,
    /// The column's name, or `*` for every column of the table.
    pub column: String,
    pub rule: Mask,
}

/// What is shown in a value's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// Nothing of it.
    Hide,
    /// A salted hash: equal values are seen to be equal, within one run of the program.
    Hash,
    /// Its first letters, never more than half of them.
    KeepFirst(usize),
    /// The same words for all.
    Constant(String),
}
