//! Everything that speaks to PostgreSQL: its programs, its control file, its connections.
//! Never decides what a recovery does; that is the plan's.

pub mod control;
pub mod lsn;

pub use lsn::Lsn;
