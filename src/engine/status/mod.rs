//! The page of `status`: one value a cluster, gathered once. Owns what is on it and which of it is
//! a problem; changes nothing, and never shows as empty what could not be asked.

pub mod repository;

use crate::engine::assess;
use crate::engine::config::{Cluster, Config};
use crate::engine::copies::debts::Debts;
use crate::engine::drill::record;
use crate::engine::incident::facts::{BaseSummary, ServerProbe, Tier, Verdict};
use crate::engine::incident::store::{Listed, Store};
use crate::engine::recovery_point::reach::{free_space, needed_space};
use crate::engine::repository::store::Hold;
use crate::engine::runbook::Runbook;
use crate::engine::schedule::alarm::{self, Alarm};
use crate::engine::schedule::look::{self, Look};
use crate::engine::schedule::record::Record;
use crate::engine::schedule::run::{Alone, NextRun, next_runs};
use crate::engine::wal::debts::Ledger;
use crate::engine::wal::settings::{self, ArchiverSettings};
use jiff::Timestamp;
use repository::RepositoryStatus;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Everything that is known of a cluster's protection at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterStatus {
    pub cluster: String,
    pub at: Timestamp,
    pub tier: Tier,
    /// As the runbook names it.
    pub tier_title: String,
    /// What the tier allows to lose.
    pub rpo_seconds: u64,
    pub server: ServerProbe,
    /// The place of the first repository that answers; `None` where none does.
    pub repository: Option<String>,
    /// Backups in it.
    pub backups: Option<usize>,
    /// Over all repositories that answer.
    pub newest_backup: Option<BaseSummary>,
    pub newest_backup_age_seconds: Option<i64>,
    /// What the first repository that answers keeps its newest backup by; absent where it shows
    /// nothing.
    pub newest_backup_hold: Option<Hold>,
    /// Stretches of archived WAL in that repository, as one line each.
    pub wal: Vec<String>,
    /// What the server says of its archiving; absent where it does not answer.
    pub archiving: Option<ArchiverSettings>,
    /// In the configuration's order, or the one that was asked for.
    pub repositories: Vec<RepositoryStatus>,
    /// How many repositories the cluster has.
    pub copies: usize,
    /// WAL that a repository lacks and another holds.
    pub debts: Ledger,
    /// Sets that a repository lacks and another has.
    pub set_debts: Debts,
    pub space: Vec<Volume>,
    pub schedule: ScheduleStatus,
    pub last_drill: Drill,
    /// As the scheduler would raise them now.
    pub alarms: Vec<Alarm>,
    /// Everything that a monitor should wake somebody for, one sentence each.
    pub problems: Vec<String>,
}

/// Where a restore would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub path: PathBuf,
    /// Bytes; `None` where the volume cannot be asked.
    pub free: Option<u64>,
    /// Bytes that a restore of the newest backup needs beside what is there; `None` where there
    /// is no backup.
    pub needed: Option<u64>,
}

/// The scheduler of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleStatus {
    /// Whether one runs now; `None` where that cannot be looked at.
    pub runs: Option<bool>,
    /// Whether one ever did something for this cluster here.
    pub ever: bool,
    /// Empty where none runs or ever ran.
    pub next: Vec<NextRun>,
}

/// The last drill of this cluster that this machine knows of: by its incidents, or by the record of
/// drills, which has those that were held on a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "known", rename_all = "kebab-case")]
pub enum Drill {
    Never,
    Held {
        incident: String,
        scenario: String,
        declared: Option<Timestamp>,
        closed: Option<Timestamp>,
    },
    /// On a copy of its backup, in a sandbox of its own.
    OnCopy {
        /// Its number in the record.
        drill: u64,
        scenario: String,
        at: Timestamp,
        /// VERIFIED, FAILED or COULD NOT VERIFY.
        outcome: String,
    },
    /// The incidents or the record could not be read.
    Unknown {
        why: String,
    },
}

/// Gathers the page of `cluster`, with one of its repositories or all. Blocks.
#[must_use]
pub fn gather(
    config: &Config,
    cluster: &Cluster,
    repository: Option<&str>,
    runbook: &Runbook,
    runtime: &tokio::runtime::Handle,
) -> ClusterStatus {
    let server = runtime.block_on(assess::probe_server(cluster));
    let archiver = match server.reachable {
        true => runtime.block_on(settings::read(cluster)),
        false => Err(server.error.clone().unwrap_or_default()),
    };
    let look = look::look(config, cluster, archiver);
    let record =
        Record::load(&config.state_directory(), &cluster.name).wanted_by(&cluster.schedule);
    let tier = runbook.tier(cluster.tier);
    let health = look.health();
    let alarms = alarm::alarms(&health, &record, tier);
    let repositories: Vec<RepositoryStatus> = look
        .repositories
        .iter()
        .filter(|one| repository.is_none_or(|name| one.settings.name == name))
        .map(|one| repository::status(one, cluster, look.at))
        .collect();
    let mut page = ClusterStatus {
        cluster: cluster.name.clone(),
        at: look.at,
        tier: cluster.tier,
        tier_title: tier.title.clone(),
        rpo_seconds: tier.rpo_seconds,
        repository: None,
        backups: None,
        newest_backup: None,
        newest_backup_age_seconds: None,
        newest_backup_hold: None,
        wal: Vec::new(),
        archiving: look.archiver.as_ref().ok().cloned(),
        copies: look.repositories.len(),
        debts: look.wal_debts.clone(),
        set_debts: look.set_debts.clone(),
        space: Vec::new(),
        schedule: schedule(config, cluster, &record, &look),
        last_drill: last_drill(&config.state_directory(), &cluster.name),
        alarms,
        problems: Vec::new(),
        server,
        repositories,
    };
    sum_up(&mut page);
    page.space = space(cluster, page.newest_backup.as_ref());
    page.problems = problems(&page);
    page
}

/// What one repository says goes for the cluster.
fn sum_up(page: &mut ClusterStatus) {
    if let Some(first) = page.repositories.iter().find(|one| one.trouble.is_none()) {
        page.repository = Some(first.place.clone());
        page.backups = first.backups;
        page.newest_backup_hold.clone_from(&first.hold);
        page.wal.clone_from(&first.stretches);
    }
    let newest = page.repositories.iter().filter_map(|one| one.newest_backup.as_ref());
    page.newest_backup = newest.max_by_key(|base| base.finished).cloned();
    page.newest_backup_age_seconds =
        page.newest_backup.as_ref().map(|base| page.at.duration_since(base.finished).as_secs());
}

fn schedule(
    config: &Config,
    cluster: &Cluster,
    record: &Record,
    look: &Look<'_>,
) -> ScheduleStatus {
    let runs = Alone::runs(&config.state_directory());
    let ever = !record.jobs.is_empty();
    let next = if ever || runs == Some(true) {
        next_runs(cluster, record, look.newest_backup_begun(), look.at)
    } else {
        Vec::new()
    };
    ScheduleStatus { runs, ever, next }
}

fn space(cluster: &Cluster, newest: Option<&BaseSummary>) -> Vec<Volume> {
    let mut paths = vec![cluster.data_directory.clone()];
    paths.extend(cluster.alternative_data_directory.clone());
    let volume = |path: PathBuf| Volume {
        free: free_space(&path).ok(),
        needed: newest.map(|base| needed_space(base.size)),
        path,
    };
    paths.into_iter().map(volume).collect()
}

fn last_drill(state_directory: &Path, cluster: &str) -> Drill {
    let listed = match Store::new(state_directory).list() {
        Ok(listed) => listed,
        Err(error) => return Drill::Unknown { why: error.to_string() },
    };
    let drills = listed.into_iter().filter_map(|one| match one {
        Listed::Whole(summary) if summary.cluster == cluster => {
            let scenario = summary.drill?;
            Some((summary.declared, summary.id, scenario, summary.closed))
        }
        _ => None,
    });
    let lines = match record::history(state_directory) {
        Ok(lines) => lines,
        Err(error) => return Drill::Unknown { why: error.to_string() },
    };
    let on_copy = record::drills(&lines)
        .rfind(|(_, one)| one.cluster.as_deref() == Some(cluster))
        .map(|(line, one)| Drill::OnCopy {
            drill: line.seq,
            scenario: one.scenario.clone(),
            at: line.at,
            outcome: one.outcome.clone(),
        });
    let held = drills.max().map(|(declared, incident, scenario, closed)| Drill::Held {
        incident,
        scenario,
        declared,
        closed,
    });
    let when = |drill: &Drill| match drill {
        Drill::Held { declared, .. } => *declared,
        Drill::OnCopy { at, .. } => Some(*at),
        Drill::Never | Drill::Unknown { .. } => None,
    };
    [held, on_copy].into_iter().flatten().max_by_key(when).unwrap_or(Drill::Never)
}

/// What the page has to say, the server first, then what each repository shows, then the alarms.
fn problems(page: &ClusterStatus) -> Vec<String> {
    let mut found = Vec::new();
    if !page.server.reachable {
        let why = page.server.error.as_deref().unwrap_or("no reason was given");
        found.push(format!("The server does not answer: {why}"));
    }
    let several = page.repositories.len() > 1;
    for one in &page.repositories {
        let whose = if several { format!("\"{}\": ", one.name) } else { String::new() };
        let mut add = |text: &str| found.push(format!("{whose}{text}"));
        one.unreadable.iter().chain(&one.gaps).chain(&one.unread).for_each(|text| add(text));
        if let Some(object) = &one.lock_missing {
            add(&format!("object_lock is configured, but the store shows no lock on {object}."));
        }
        if let Some(last) = one.verified.as_ref().filter(|last| last.verdict != Verdict::Verified) {
            add(&format!("The last verification of {} says {}.", last.set, last.verdict.word()));
        }
    }
    // The server was named above, with the same reason.
    let alarms = page.alarms.iter().filter(|one| page.server.reachable || one.id != "server");
    found.extend(alarms.map(|one| sentence(&one.text)));
    found
}

/// With a capital letter, and a full stop at the end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_begin_and_end_as_sentences() {
        assert_eq!(sentence("no WAL was ever archived"), "No WAL was ever archived.");
        assert_eq!(sentence("It is full."), "It is full.");
        assert_eq!(sentence("\"far\" has no copy"), "\"far\" has no copy.");
    }

    #[test]
    fn without_incidents_there_was_no_drill() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_drill(folder.path(), "shop"), Drill::Never);
    }
}
