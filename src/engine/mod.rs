//! Everything that acts. Knows nothing of screens.

pub mod assess;
pub mod backup;
pub mod checklist;
pub mod config;
pub mod crypto;
pub mod desk;
pub mod drill;
pub mod explain;
pub mod files;
pub mod incident;
pub mod moments;
pub mod postgres;
pub mod recovery_point;
pub mod report;
pub mod repository;
pub mod restore;
pub mod runbook;
pub mod runner;
pub mod schedule;
pub mod validate;
pub mod wal;
