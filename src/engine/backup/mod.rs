//! Base backups: reading a running cluster in parallel and publishing a set.
//!
//! The server is told that a backup begins and is asked for what belongs to it at the end; its
//! files are read from the data directory on this machine. A set is published by its descriptor,
//! which is written last: whatever stops a backup before that leaves objects without a
//! descriptor, which no restore ever looks at. Nothing here deletes anything.

mod archive;
mod assemble;
pub mod error;
pub mod layout;
pub mod page;
pub mod pg_manifest;
pub mod pipeline;
mod run;
mod server;
pub mod tar_layout;
pub mod walk;

pub use error::BackupError;
pub use run::{BackupSummary, Options, label, run};
