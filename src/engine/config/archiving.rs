//! How a cluster's WAL is archived: `[clusters.archiving]`. Owns the settings and their defaults.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How WAL goes into a cluster's repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archiving {
    /// In how many repositories a WAL file must be durable before PostgreSQL may drop it. What
    /// the others lack is a debt. At least 1.
    pub copies: usize,
    /// How long one file waits, once it has its copies, for a repository that does not answer,
    /// seconds.
    pub patience_seconds: u64,
    /// How many files are pushed ahead at a time; the machine's cores, at most 4, where absent. 0
    /// pushes none ahead.
    pub workers: Option<usize>,
}

impl Default for Archiving {
    fn default() -> Self {
        Self { copies: 1, patience_seconds: 20, workers: None }
    }
}

impl Archiving {
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }

    #[must_use]
    pub fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.unwrap_or_else(|| cores().min(4))
    }
}
