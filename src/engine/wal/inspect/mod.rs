//! Reads write-ahead log natively: pages, records, and the few kinds of records that tell what
//! transactions did to tables. Owns the formats of PostgreSQL 12 to 18; never writes WAL, never
//! needs a server or its programs.
//!
//! The way of a byte: segment → [`reader`] (pages, records, checksums) → [`record`] (blocks and
//! main data) → [`action`] (what it means), [`catalog`] (names) → [`digest`] → [`gist`] (a
//! segment's, packed) → [`ledger`] (by transaction). [`scan`] drives it over a range of segments: digests are made
//! side by side and kept by [`cache`], the ledger takes them in order.

pub mod action;
mod bytes;
pub mod cache;
pub mod catalog;
pub mod created;
pub mod digest;
pub mod error;
pub mod gist;
pub mod history;
pub mod image;
pub mod ledger;
pub mod names;
pub mod page;
pub mod reader;
pub mod record;
pub mod scan;
pub mod series;
pub mod source;
pub mod tables;

pub use action::Action;
pub use cache::Cache;
pub use catalog::CatalogFiles;
pub use created::{Created, Stretch, tablespaces_created};
pub use error::InspectError;
pub use history::{Detail, Ending, History, Origin, RelationFile, Tally, Totals, Touched};
pub use ledger::{After, Focus, Ledger};
pub use names::{Fact, LoggedNames, LoggedRelation};
pub use reader::{Fed, Reader, Stop};
pub use record::Record;
pub use scan::{Path, Scan, ScanOptions, ScanProgress, scan};
pub use series::Series;
pub use source::{Content, Folder, Layered, Segments};
