//! What a picture is made from: the cluster as it is known, the archives, what is seen of the
//! damage. Values alone; whoever knows them fills them in, and nothing is looked up here.

use super::{Archive, Relations, Symptom};
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control_file::ControlFile;
use crate::engine::restore::places::Live;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What is known of the cluster itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterFacts {
    /// Bytes, from `pg_control`.
    pub segment_size: u64,
    pub system_identifier: Option<u64>,
    /// Timeline of the last checkpoint, from `pg_control`.
    pub timeline: Option<u32>,
    /// The five settings in `pg_control`; empty where it cannot be read.
    pub settings: Vec<(String, i64)>,
    /// Of the running server.
    pub current_lsn: Option<Lsn>,
    /// Major version of the server's programs on this host.
    pub binaries_major: Option<u32>,
    /// Block and WAL block size that these programs were built for, bytes.
    pub program_blocks: Option<(u32, u32)>,
    /// The cluster's, bytes, from `pg_control`.
    pub wal_block_size: Option<u32>,
    pub data_directory: PathBuf,
    pub alternative_data_directory: Option<PathBuf>,
    /// A recovery of it has begun: what it fills is filled, wholly or in part, and room for all of it
    /// is no question any more.
    pub has_begun: bool,
    pub places: PlacesFacts,
}

/// What of the cluster lies outside its data directory, as far as it can be looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlacesFacts {
    pub mapping: BTreeMap<PathBuf, PathBuf>,
    /// Every tablespace goes into this folder, by its number; the mapping is not asked.
    pub under: Option<PathBuf>,
    /// `None` where it cannot be looked at.
    pub live: Option<Live>,
    /// Why a part of the cluster cannot be kept.
    pub refused: Option<Explanation>,
}

impl ClusterFacts {
    /// From the control file; the rest is to be filled in by who knows it.
    #[must_use]
    pub fn from_control(control: &ControlFile, data_directory: PathBuf) -> Self {
        let settings = [
            ("max_connections", control.max_connections),
            ("max_worker_processes", control.max_worker_processes),
            ("max_wal_senders", control.max_wal_senders),
            ("max_prepared_transactions", control.max_prepared_transactions),
            ("max_locks_per_transaction", control.max_locks_per_transaction),
        ];
        Self {
            segment_size: u64::from(control.wal_segment_size),
            system_identifier: Some(control.system_identifier),
            timeline: Some(control.checkpoint.timeline),
            settings: settings.map(|(name, value)| (name.to_owned(), i64::from(value))).to_vec(),
            current_lsn: None,
            binaries_major: None,
            program_blocks: None,
            wal_block_size: Some(control.wal_block_size),
            data_directory,
            alternative_data_directory: None,
            has_begun: false,
            places: PlacesFacts::default(),
        }
    }
}

/// Everything that a [`Landscape`] is built from.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Nearest first.
    pub archives: Vec<Arc<dyn Archive>>,
    pub cluster: ClusterFacts,
    /// `pg_wal` of the damaged directory, or where it was rescued to: WAL that only it holds
    /// counts as reachable, for the plan rescues it.
    pub rescue: Option<PathBuf>,
    pub detected: Option<Timestamp>,
    pub last_known_good: Option<Timestamp>,
    /// What is seen of the damage; nothing where it is yet to be said.
    pub symptom: Symptom,
    /// What the running server knows of names, where it answers.
    pub live: Option<Relations>,
    /// Where `rates.json` and `wal-cache/` are.
    pub state_directory: PathBuf,
    /// Commits that are kept one by one; older ones by the minute. `None`: as many as fit.
    pub most_commits: Option<usize>,
}
