//! Retention: what of a repository is kept, and the removing of the rest. Owns the only way in
//! which Lifeboat removes anything from a repository; never removes what the policy, a hold, an
//! incident or a doubt keeps.
//!
//! ```text
//! repository ─ inventory ─ policy ─ plan ─ (shown, agreed to) ─ apply
//! ```

mod apply;
pub mod in_use;
mod inventory;
mod keys;
mod plan;
pub mod policy;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::recovery_point::timelines::{Timelines, end_of};
use crate::engine::repository::hold::WalPoint;
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::runner::work::Report;
use crate::engine::wal::{Segment, TimelineId};
use jiff::Timestamp;
use std::sync::Arc;

pub use apply::Outcome;
pub use plan::{Plan, Removal, SetLine, WalLine};
pub use policy::{Policy, Use};

/// The policy of a cluster, as configured.
#[must_use]
pub fn policy_of(cluster: &Cluster) -> Policy {
    Policy {
        days: cluster.retention.days(&cluster.environment),
        minimum: usize::try_from(cluster.retention.minimum()).unwrap_or(usize::MAX),
    }
}

/// One cleanup of one repository, with all that it needs.
#[derive(Debug)]
pub struct Cleanup<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    repository: Arc<Repository>,
}

impl<'a> Cleanup<'a> {
    /// # Errors
    /// Where the cluster has no repository of that name, or it does not open.
    pub fn open(
        config: &'a Config,
        cluster: &'a Cluster,
        repository: &str,
    ) -> Result<Self, Explanation> {
        let listed = cluster.repositories.iter().any(|name| name == repository);
        let settings = config.repository(repository).filter(|_| listed).ok_or_else(|| {
            Explanation::new(
                Kind::Config,
                format!("The cluster \"{}\" has no repository \"{repository}\".", cluster.name),
                "Nothing was removed.",
                format!("It has: {}.", cluster.repositories.join(", ")),
            )
        })?;
        let repository = Repository::open(settings, &cluster.name).map_err(|e| e.explanation())?;
        Ok(Self { config, cluster, repository: Arc::new(repository) })
    }

    /// What would be removed as of `now`; removes nothing.
    ///
    /// # Errors
    /// Where the repository, or what uses it, could not be seen whole.
    pub fn plan(&self, now: Timestamp) -> Result<Plan, Explanation> {
        Plan::make(&self.repository, policy_of(self.cluster), &self.uses()?, now)
    }

    /// Removes what `plan` says.
    pub fn apply(
        &self,
        plan: &Plan,
        progress: Report<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome {
        plan.apply(&self.repository, &|| self.uses(), progress, cancelled)
    }

    fn uses(&self) -> Result<Vec<Use>, Explanation> {
        in_use::uses_of(self.config, self.cluster)
    }
}

/// The end of what is archived now of the way that leads on from `set`: what a hold with WAL
/// keeps up to.
///
/// # Errors
/// Where there is no such set, or the archive could not be read.
pub fn held_wal(repository: &Arc<Repository>, set: &str) -> Result<WalPoint, Explanation> {
    let told = |e: RepositoryError| e.explanation();
    let base = repository.read_set(set).map_err(told)?;
    let lines = Timelines::read(&RepositoryArchive::new(Arc::clone(repository)))?;
    let leads = |timeline: &TimelineId| {
        let end = lines.line(*timeline).and_then(|line| end_of(line, base.timeline));
        end.is_some_and(|end| base.stop_lsn <= end)
    };
    let mut timelines = repository.timelines().map_err(told)?;
    timelines.retain(leads);
    let timeline = timelines.last().copied().unwrap_or(base.timeline);
    let folders = repository.wal_folders().map_err(told)?;
    let mut end = base.stop_lsn;
    for folder in folders.iter().rev().filter(|folder| folder.timeline == timeline) {
        let files = repository.wal_files(folder).map_err(told)?;
        let last = files.iter().rev().find(|file| file.is_segment());
        let last = last.and_then(|file| Segment::parse(&file.name, base.segment_size));
        if let Some(last) = last {
            end = end.max(last.end(base.segment_size));
            break;
        }
    }
    Ok(WalPoint { timeline, lsn: end })
}

/// Plans and carries out in one go, for a scheduler.
///
/// # Errors
/// Where the repository could not be seen whole, or the clock is far beyond all that was written
/// in it: then nothing was removed.
pub fn cleanup(
    config: &Config,
    cluster: &Cluster,
    repository: &str,
    now: Timestamp,
    progress: Report<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<(Plan, Outcome), Explanation> {
    let cleanup = Cleanup::open(config, cluster, repository)?;
    let plan = cleanup.plan(now)?;
    plan.unattended()?;
    let outcome = cleanup.apply(&plan, progress, cancelled);
    Ok((plan, outcome))
}
