//! Several repositories for one cluster: backups copied from one to the others, what one of them
//! still owes, which copy a restore takes, and where the 3-2-1-1-0 rule holds. Never takes a
//! backup, never overwrites an object, and never calls a repository complete that could not be
//! asked.

pub mod catch_up;
pub mod choose;
pub mod debts;
pub mod error;
pub mod mend;
pub mod policy;
pub mod set;
pub mod survey;

pub use choose::{Chosen, choose};
pub use debts::{Debts, debts};
pub use error::CopyError;
pub use set::{CopiedSet, copy_set};

use crate::engine::backup::{self, BackupSummary};
use crate::engine::config::{Cluster, Config, RepositoryConfig};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::Repository;
use crate::engine::runner::work::Report;
use debts::SetDebt;
use serde::Serialize;

/// A repository of the cluster, or why it cannot be asked now.
pub type Opened<'a> = (&'a RepositoryConfig, Result<Repository, Explanation>);

/// Every repository of the cluster in the configuration's order.
#[must_use]
pub fn open_all<'a>(config: &'a Config, cluster: &Cluster) -> Vec<Opened<'a>> {
    let settings = cluster.repositories.iter().filter_map(|name| config.repository(name));
    settings
        .map(|one| (one, Repository::open(one, &cluster.name).map_err(|e| e.explanation())))
        .collect()
}

/// Which repositories of a cluster could be asked at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Availability {
    /// Nearest first.
    pub open: Vec<String>,
    /// With the reason.
    pub closed: Vec<(String, Explanation)>,
}

impl Availability {
    /// What a recovery goes without, one line a repository, for people.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let told = |(name, why): &(String, Explanation)| {
            format!(
                "WAL is not fetched from \"{name}\", which cannot be asked now: {} What it alone \
                 holds is not replayed.",
                why.what
            )
        };
        self.closed.iter().map(told).collect()
    }
}

/// Which of the cluster's repositories open now. A recovery fetches from these: one that cannot
/// be asked proves no absence, and so no server that asks it could ever be promoted.
#[must_use]
pub fn available(config: &Config, cluster: &Cluster) -> Availability {
    let mut found = Availability::default();
    for (settings, opened) in open_all(config, cluster) {
        match opened {
            Ok(_) => found.open.push(settings.name.clone()),
            Err(why) => found.closed.push((settings.name.clone(), why)),
        }
    }
    found
}

/// Pays one debt: copies the set from the first repository that has it whole.
///
/// # Errors
/// The last source's reason, where none could give it.
pub fn pay(
    debt: &SetDebt,
    opened: &[Opened<'_>],
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<CopiedSet, Explanation> {
    pay_by(debt, opened, &CopyError::explanation, &|from, to| {
        copy_set(from, to, &debt.set, progress, cancelled)
    })
}

/// Pays by `copy`, from the first repository that can give the set.
fn pay_by(
    debt: &SetDebt,
    opened: &[Opened<'_>],
    told: &dyn Fn(&CopyError) -> Explanation,
    copy: &dyn Fn(&Repository, &Repository) -> Result<CopiedSet, CopyError>,
) -> Result<CopiedSet, Explanation> {
    let find = |name: &str| {
        let found = opened.iter().find(|(one, _)| one.name == name);
        found.and_then(|(_, repository)| repository.as_ref().ok())
    };
    let mut failure = None;
    if let Some(target) = find(&debt.repository) {
        for source in debt.sources.iter().filter_map(|name| find(name)) {
            match copy(source, target) {
                Ok(copied) => return Ok(copied),
                // Another source cannot help a target that is full or down.
                Err(error) if !error.is_the_sources() => return Err(told(&error)),
                Err(error) => failure = Some(told(&error)),
            }
        }
    }
    Err(failure.unwrap_or_else(|| debts::nobody(debt)))
}

/// What became of one repository when a backup was spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub repository: String,
    #[serde(flatten)]
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The backup was taken into it.
    Taken,
    Copied(CopiedSet),
    /// It has no copy yet; `catch-up` pays that.
    Owed {
        why: Explanation,
    },
}

/// A backup that was taken, and its copies.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    pub backup: BackupSummary,
    /// That it was taken into.
    pub repository: RepositoryConfig,
    /// In the configuration's order.
    pub outcomes: Vec<Outcome>,
}

impl Spread {
    /// A repository has no copy.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.outcomes.iter().any(|one| matches!(one.state, State::Owed { .. }))
    }
}

/// Takes a base backup of `cluster` into the first of its repositories that takes it whole, and
/// copies it to the others. One that is down, or fails in the middle, is a debt and no failure of
/// the backup, which is begun anew in the next. Blocks.
///
/// # Errors
/// Where no repository is up, or none took the backup; where it was the server that failed.
pub fn back_up(
    config: &Config,
    cluster: &Cluster,
    options: &backup::Options,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Spread, Explanation> {
    let opened = open_all(config, cluster);
    let taken = take(cluster, &opened, options, progress, cancelled)?;
    let set = taken.backup.descriptor.set.clone();
    let outcome = |(other, one): &Opened<'_>| {
        let failed = taken.failed.iter().find(|(name, _)| *name == other.name);
        let state = match one {
            Ok(_) if other.name == taken.settings.name => State::Taken,
            Ok(target) => match failed {
                // It failed a moment ago, and may hang: catch-up pays this.
                Some((_, why)) => State::Owed { why: why.clone() },
                None => match copy_set(taken.from, target, &set, progress, cancelled) {
                    Ok(copied) => State::Copied(copied),
                    Err(error) => State::Owed { why: error.explanation() },
                },
            },
            Err(why) => State::Owed { why: why.clone() },
        };
        Outcome { repository: other.name.clone(), state }
    };
    let outcomes = opened.iter().map(outcome).collect();
    Ok(Spread { backup: taken.backup, repository: taken.settings.clone(), outcomes })
}

/// A backup, where it is, and which repositories failed before it was.
struct Taken<'a> {
    backup: BackupSummary,
    settings: &'a RepositoryConfig,
    from: &'a Repository,
    failed: Vec<(String, Explanation)>,
}

fn take<'a>(
    cluster: &Cluster,
    opened: &'a [Opened<'a>],
    options: &backup::Options,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Taken<'a>, Explanation> {
    let mut failed: Vec<(String, Explanation)> = Vec::new();
    for (settings, one) in opened {
        let Ok(from) = one else { continue };
        let error = match backup::run(cluster, from, options, progress, cancelled) {
            Ok(backup) => return Ok(Taken { backup, settings, from, failed }),
            Err(error) => error,
        };
        let why = error.explanation();
        let elsewhere = || error.missing_wal().is_some_and(|wal| another_has(opened, from, wal));
        if cancelled() || !(error.is_the_repositorys() || elsewhere()) {
            return Err(why);
        }
        failed.push((settings.name.clone(), why));
    }
    let away = opened.iter().find_map(|(_, one)| one.as_ref().err().cloned());
    Err(failed.into_iter().next().map(|(_, why)| why).or(away).unwrap_or_else(|| {
        Explanation::new(
            Kind::Config,
            format!("The cluster \"{}\" names no repository.", cluster.name),
            "Nothing was touched.",
            "Name one in lifeboat.toml.",
        )
    }))
}

/// Whether WAL that `but` waits for in vain arrives in another repository: then it is `but` that
/// does not take it, and not the server that does not archive.
fn another_has(opened: &[Opened<'_>], but: &Repository, wal: &str) -> bool {
    let others = opened.iter().filter_map(|(_, one)| one.as_ref().ok());
    others
        .filter(|one| !std::ptr::eq(*one, but))
        .any(|one| one.find_wal(wal).is_ok_and(|found| !found.is_empty()))
}
