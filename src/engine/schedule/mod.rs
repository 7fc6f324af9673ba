//! The schedule: base backup, copies, verification, cleanup and drills of each cluster, day by day,
//! and the alarms. Owns when something is due and what came of it; what a job does is its own
//! module's. Never removes anything itself, and never runs two jobs of a machine side by side.

pub mod alarm;
pub mod calendar;
pub mod drill;
pub mod jobs;
pub mod look;
pub mod record;
pub mod run;
pub mod units;

use serde::{Deserialize, Serialize};

/// What the scheduler does for a cluster, in this order where several are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// A base backup into the cluster's repositories.
    BaseBackup,
    /// What a repository missed while it was down: sets and WAL.
    CatchUp,
    /// Reads again what is new, and what was not read for long.
    Verification,
    /// Removes what retention no longer keeps.
    Cleanup,
    /// A drill on a copy of the newest backup, where one is wanted.
    Drill,
}

impl Job {
    pub const ALL: [Self; 5] =
        [Self::BaseBackup, Self::CatchUp, Self::Verification, Self::Cleanup, Self::Drill];

    /// For a person.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::BaseBackup => "base backup",
            Self::CatchUp => "catch-up of copies",
            Self::Verification => "verification",
            Self::Cleanup => "cleanup",
            Self::Drill => "drill on a copy",
        }
    }
}
