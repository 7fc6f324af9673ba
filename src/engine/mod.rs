//! Everything that acts. Knows nothing of screens.

pub mod assess;
pub mod backup;
pub mod checklist;
pub mod compliance;
pub mod config;
pub mod copies;
pub mod crypto;
pub mod desk;
pub mod drill;
pub mod explain;
pub mod files;
pub mod incident;
pub mod keys;
pub mod init;
pub mod ledger;
pub mod moments;
pub mod postgres;
pub mod recovery_point;
pub mod report;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod runbook;
pub mod runner;
pub mod validate;
pub mod wal;
