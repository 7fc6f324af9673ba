//! Asks what readiness is judged by, and keeps the newest page of each cluster for the home screen
//! in `<state>/readiness/`. Reads repositories, the volume and the record of drills; changes
//! nothing of them.

use super::{Drilled, Facts, Readiness, Repository, judge};
use crate::engine::config::{Cluster, Config};
use crate::engine::copies;
use crate::engine::drill::{record, scenario};
use crate::engine::files;
use crate::engine::postgres::discovery;
use crate::engine::runbook::Runbook;
use crate::engine::schedule::alarm::Alarm;
use crate::engine::status::repository::RepositoryStatus;
use crate::engine::status::{self, ClusterStatus};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The readiness of a cluster now. Blocks.
#[must_use]
pub fn readiness(
    config: &Config,
    cluster: &Cluster,
    runbook: &Runbook,
    runtime: &tokio::runtime::Handle,
) -> Readiness {
    let page = status::gather(config, cluster, None, runbook, runtime);
    let now = page.at;
    let facts = facts(config, cluster, runbook, &page);
    judge(&cluster.name, &facts, now)
}

fn facts(config: &Config, cluster: &Cluster, runbook: &Runbook, page: &ClusterStatus) -> Facts {
    let newest = page.newest_backup.as_ref();
    let repositories = page.repositories.iter().map(|one| Repository {
        name: one.name.clone(),
        opened: match (&one.trouble, newest) {
            (Some(why), _) => Err(why.what.clone()),
            (None, None) => Err(String::from("It holds no backup.")),
            (None, Some(base)) => opened(config, cluster, &one.name, &base.set),
        },
        gaps: one.gaps.clone(),
        unread: unread(one),
        verified: one.verified.as_ref().map(|last| (last.verdict, last.newer)),
    });
    let about_backups = |alarm: &&Alarm| alarm.id.contains("backup");
    let lines = record::history(&config.state_directory());
    let today = page.at.to_zoned(TimeZone::UTC).date();
    let due = lines.as_ref().map_or(0, |lines| {
        record::open_findings(lines, Some(today)).iter().filter(|one| one.due).count()
    });
    Facts {
        rto_seconds: runbook.tier(cluster.tier).rto_seconds,
        newest_backup: newest.map(|base| base.finished),
        alarms: page.alarms.iter().filter(about_backups).map(|one| one.text.clone()).collect(),
        versions: newest.map(|base| versions(cluster, base.version)),
        repositories: repositories.collect(),
        space: page
            .space
            .iter()
            .filter_map(|volume| Some((volume.free?, volume.needed?)))
            .collect(),
        record_unreadable: lines.as_ref().err().map(ToString::to_string),
        drills: lines.map_or_else(
            |_| Vec::new(),
            |lines| {
                let held = record::drills(&lines).rev().map(|(line, one)| Drilled {
                    scenario: one.scenario.clone(),
                    at: line.at,
                    outcome: one.outcome.clone(),
                    cluster: one.cluster.clone(),
                });
                held.collect()
            },
        ),
        scenarios: scenario::list(config.sandbox.scenarios.as_deref())
            .into_iter()
            .filter(|one| one.problems.is_empty())
            .map(|one| one.name)
            .collect(),
        due_findings: due,
    }
}

/// Why nothing can be said of the repository's archive; `None` where it was read.
fn unread(one: &RepositoryStatus) -> Option<String> {
    match (&one.trouble, one.unread.is_empty(), one.backups) {
        (Some(why), ..) => Some(why.what.clone()),
        (None, false, _) => Some(one.unread.join(" ")),
        (None, true, None | Some(0)) => Some(String::from("It holds no backup.")),
        (None, true, Some(_)) => None,
    }
}

/// Opens the set in that repository with the keys at hand, and measures a read.
fn opened(
    config: &Config,
    cluster: &Cluster,
    repository: &str,
    set: &str,
) -> Result<(u64, u64), String> {
    let chosen = copies::choose(config, cluster, set, Some(repository), None)
        .map_err(|error| error.what.clone())?;
    chosen
        .source(config, cluster)
        .map(|source| (source.bytes_per_second, source.stored))
        .ok_or_else(|| String::from("It does not hold the newest backup."))
}

fn versions(cluster: &Cluster, needed: u32) -> Result<(), String> {
    discovery::binaries_of(cluster.control.bin_directory(), None, Some(needed))
        .map(drop)
        .map_err(|error| error.to_string())
}

fn path(state_directory: &Path, cluster: &str) -> PathBuf {
    state_directory.join("readiness").join(format!("{cluster}.json"))
}

/// Keeps a page as the newest of its cluster.
///
/// # Errors
/// Where it cannot be written.
pub fn keep(state_directory: &Path, page: &Readiness) -> io::Result<()> {
    let path = path(state_directory, &page.cluster);
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    files::replace(&path, &serde_json::to_vec_pretty(page)?, 0o600)
}

/// The newest page that was kept; `None` where there is none that can be read.
#[must_use]
pub fn kept(state_directory: &Path, cluster: &str) -> Option<Readiness> {
    serde_json::from_slice(&fs::read(path(state_directory, cluster)).ok()?).ok()
}

/// For the home screen: the score and its age.
#[must_use]
pub fn in_short(page: &Readiness, now: Timestamp) -> String {
    let hours = now.duration_since(page.at).as_hours().max(0);
    let age = match hours {
        0 => String::from("now"),
        1..48 => format!("({hours}h)"),
        _ => format!("({}d)", hours / 24),
    };
    format!("ready {}% {age}", page.score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_page_is_the_newest_and_told_with_its_age() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(kept(state.path(), "shop"), None);
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let mut page = judge("shop", &Facts::default(), at);
        keep(state.path(), &page).unwrap();
        page.score = 83;
        keep(state.path(), &page).unwrap();
        assert_eq!(kept(state.path(), "shop").unwrap(), page);
        let after = |hours| in_short(&page, at + jiff::SignedDuration::from_hours(hours));
        assert_eq!(after(0), "ready 83% now");
        assert_eq!(after(5), "ready 83% (5h)");
        assert_eq!(after(72), "ready 83% (3d)");
    }
}
