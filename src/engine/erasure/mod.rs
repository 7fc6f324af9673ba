//! Erasure: rows that were deleted at people's wish are in backups still, and a recovery brings them
//! back. The list says which, by key; it is carried out again before a recovered server is opened,
//! in one transaction a database, and counted. Doing it again finds nothing more to do.
//!
//! Keys are never told: not in the journal, in reports or in errors. Counts are.

pub mod check;
pub mod list;
pub mod replay;

pub use list::List;
