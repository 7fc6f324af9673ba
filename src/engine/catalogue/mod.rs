//! The catalogue: a database of its own that keeps incidents' entries, what was backed up and what
//! recoveries came to, for people who ask with SQL. Owns its schema and what goes into it.
//!
//! Optional, and never needed for recovering: whatever is wrong with it stays with it. Journals,
//! repositories and the compliance record are what is sent, and they are kept, so that they are the
//! queue as well: what the catalogue lacks is asked of itself, in one transaction a batch, and a row
//! is unique by what it is. A crash on either side, at any moment, leaves each row there once.

pub mod connection;
pub mod error;
pub mod feeder;
pub mod migrate;
pub mod rows;
pub mod sync;

pub use error::CatalogueError;
