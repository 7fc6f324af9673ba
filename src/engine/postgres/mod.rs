//! Everything that speaks to PostgreSQL: its programs, its control file, its connections.
//! Never decides what a recovery does; that is the plan's.

pub mod apart;
pub mod child;
pub mod closed;
pub mod connect;
pub mod control;
pub mod control_file;
pub mod discovery;
pub mod layout;
pub mod libraries;
pub mod lsn;
mod marked;
pub mod recovery_settings;
pub mod recovery_watch;

pub use lsn::Lsn;
