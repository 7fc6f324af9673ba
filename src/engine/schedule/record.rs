//! What came of scheduled jobs, kept between runs. Owns `schedule/<cluster>.json` in the state
//! directory. A record that cannot be read counts as none: then jobs run once too often, never
//! too rarely.

use super::Job;
use crate::engine::config::schedule::Schedule;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What is known of one job of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// When the last try began.
    pub last_try: Option<Timestamp>,
    /// When the last try that succeeded began.
    pub last_success: Option<Timestamp>,
    /// Failures in a row, up to now.
    pub failures: u32,
    /// What the last try came to, for a person.
    pub said: String,
}

impl Outcome {
    /// As it is after a try that began at `begun`.
    #[must_use]
    pub fn after(&self, begun: Timestamp, result: &Result<String, Explanation>) -> Self {
        match result {
            Ok(said) => Self {
                last_try: Some(begun),
                last_success: Some(begun),
                failures: 0,
                said: said.clone(),
            },
            Err(error) => Self {
                last_try: Some(begun),
                last_success: self.last_success,
                failures: self.failures.saturating_add(1),
                said: error.to_string(),
            },
        }
    }
}

/// The outcomes of a cluster's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    pub jobs: BTreeMap<Job, Outcome>,
}

/// Where the records of all clusters are.
#[must_use]
pub fn folder(state_directory: &Path) -> PathBuf {
    state_directory.join("schedule")
}

impl Record {
    /// Of `cluster`; empty where there is none, or none that can be read.
    #[must_use]
    pub fn load(state_directory: &Path, cluster: &str) -> Self {
        fs::read(path(state_directory, cluster))
            .ok()
            .and_then(|content| serde_json::from_slice(&content).ok())
            .unwrap_or_default()
    }

    /// Without what nobody wants any more: a drill that failed last is no matter then.
    #[must_use]
    pub fn wanted_by(mut self, schedule: &Schedule) -> Self {
        if schedule.drill.is_none() {
            self.jobs.remove(&Job::Drill);
        }
        self
    }

    /// What is known of `job`.
    #[must_use]
    pub fn of(&self, job: Job) -> Outcome {
        self.jobs.get(&job).cloned().unwrap_or_default()
    }

    /// Keeps it, durably.
    ///
    /// # Errors
    /// Where the state directory cannot be written.
    pub fn save(&self, state_directory: &Path, cluster: &str) -> Result<(), Explanation> {
        let path = path(state_directory, cluster);
        let written = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder(state_directory))
            .and_then(|()| serde_json::to_vec_pretty(self).map_err(Into::into))
            .and_then(|content| files::replace(&path, &content, 0o644));
        written.map_err(|error| {
            Explanation::new(
                Kind::Storage,
                format!(
                    "What the scheduler did could not be noted in {}: {error}.",
                    path.display()
                ),
                "What was done is done; after a restart it may be done once more.",
                "Give this user the state directory.",
            )
        })
    }
}

fn path(state_directory: &Path, cluster: &str) -> PathBuf {
    folder(state_directory).join(format!("{cluster}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let begun: Timestamp = "2026-01-13T02:00:00Z".parse().unwrap();
        let mut record = Record::load(folder.path(), "shop");
        let first = record.of(Job::Cleanup).after(begun, &Ok(String::from("nothing to remove")));
        let failed = Explanation::new(Kind::Storage, "Full.", "Nothing.", "Make room.");
        let second = first.after(begun, &Err(failed));
        assert_eq!((second.failures, second.last_success), (1, Some(begun)));
        record.jobs.insert(Job::Cleanup, second);
        record.save(folder.path(), "shop").unwrap();
        assert_eq!(Record::load(folder.path(), "shop"), record);
        fs::write(path(folder.path(), "shop"), b"{ not json").unwrap();
        assert_eq!(Record::load(folder.path(), "shop"), Record::default());
    }
}
