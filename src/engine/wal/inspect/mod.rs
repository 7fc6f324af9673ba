//! Reads write-ahead log natively: pages, records, and the few kinds of records that tell what
//! transactions did to tables. Owns the formats of PostgreSQL 12 to 18; never writes WAL, never
//! needs a server or its programs.
//!
//! The way of a byte: segment → [`reader`] (pages, records, checksums) → [`record`] (blocks and
//! main data) → [`action`] (what it means) → [`ledger`] (by transaction). [`scan`] drives it over
//! a range of segments, fetching ahead of the decoding.

pub mod action;
mod bytes;
pub mod error;
pub mod ledger;
pub mod page;
pub mod reader;
pub mod record;
pub mod scan;
pub mod source;
pub mod tables;

pub use action::Action;
pub use error::InspectError;
pub use ledger::{Detail, Ending, History, Ledger, RelationFile, Tally, Totals, Touched};
pub use reader::{Fed, Reader, Stop};
pub use record::Record;
pub use scan::{Path, Scan, ScanProgress, scan};
pub use source::{Folder, Layered, Segments};
