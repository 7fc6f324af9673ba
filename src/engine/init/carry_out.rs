//! What was agreed to, carried out on the server: settings, restart, repository, archiving, first
//! backup, proof. Runs as the server's user. Every part looks first whether it is done.

use super::Say;
use super::apply;
use super::archiving::{self, Archiving};
use super::error::InitError;
use super::facts::{self, Facts};
use super::proof::{self, Proof};
use super::proposal::{self, Change, Wishes};
use super::record::{self, Entry};
use super::restart;
use super::rows;
use crate::engine::backup;
use crate::engine::config::{self, Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{BaseSummary, Verdict};
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::repository::Repository;
use crate::engine::runner::work::Report;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What was agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// `lifeboat.toml`, complete by now.
    pub config: PathBuf,
    pub cluster: String,
    pub repository: String,
    /// The program that the server archives with.
    pub program: PathBuf,
    pub wishes: Wishes,
    /// Exactly what was shown.
    pub changes: Vec<Change>,
    /// Whether the server may be restarted where that is due.
    pub restart: bool,
    pub record: PathBuf,
    /// Whether the backup is proven by a restore.
    pub proof: bool,
    /// Where the restored copy goes; the system's folder for temporary files where absent.
    pub proof_directory: Option<PathBuf>,
    /// How long a segment may take to arrive, seconds.
    pub archive_wait: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The server as it is at the end.
    pub facts: Facts,
    pub changed: Vec<Change>,
    /// Settings that are set and wait for a restart: nothing after the settings was done then.
    pub awaits_restart: Vec<String>,
    pub restarted: bool,
    /// Where the repository is.
    pub place: Option<String>,
    pub archiving: Option<Archiving>,
    /// The oldest backup: where the reachable window begins.
    pub oldest: Option<BaseSummary>,
    /// The newest.
    pub backup: Option<BaseSummary>,
    /// It was taken in this run.
    pub backup_taken: bool,
    pub warnings: Vec<String>,
    /// The newest backup was proven in an earlier run.
    pub proven_before: bool,
    pub proof: Option<Proof>,
}

impl Outcome {
    /// Whether WAL is archived and a proven backup is there.
    #[must_use]
    pub fn complete(&self) -> bool {
        let proven = self.proof.as_ref().is_some_and(|proof| proof.verdict == Verdict::Verified);
        self.archiving.is_some() && self.backup.is_some() && (self.proven_before || proven)
    }
}

/// Carries the order out. Blocks.
///
/// # Errors
/// Where a part failed; those before it stay done and are found done the next time.
pub fn carry_out(
    order: &Order,
    runtime: &Runtime,
    report: Report<'_>,
    say: Say<'_>,
) -> Result<Outcome, InitError> {
    let config = config::load(Some(&order.config))?;
    let cluster = cluster_of(&config, order)?;
    let before = look(runtime, cluster)?;
    let proposal = proposal::propose(&before, &order.wishes);
    if proposal.changes != order.changes {
        return Err(InitError::ChangedMeanwhile { path: before.config_file });
    }
    let mut outcome = Outcome {
        facts: before,
        changed: order.changes.clone(),
        awaits_restart: Vec::new(),
        restarted: false,
        place: None,
        archiving: None,
        oldest: None,
        backup: None,
        backup_taken: false,
        warnings: Vec::new(),
        proven_before: false,
        proof: None,
    };
    // Before the server is told to archive into it.
    let repository = repository(&config, order)?;
    outcome.place = Some(repository.store.describe());
    for change in &order.changes {
        say(&change.statement);
    }
    runtime.block_on(apply::apply(&cluster.connection, &order.changes, &order.record))?;
    outcome.facts = look(runtime, cluster)?;
    outcome.awaits_restart = proposal::propose(&outcome.facts, &order.wishes).awaits_restart;
    if !outcome.awaits_restart.is_empty() {
        if !order.restart {
            return Ok(outcome);
        }
        restart_now(order, cluster, say)?;
        outcome.restarted = true;
        outcome.facts = look(runtime, cluster)?;
        outcome.awaits_restart = proposal::propose(&outcome.facts, &order.wishes).awaits_restart;
        if !outcome.awaits_restart.is_empty() {
            return Ok(outcome);
        }
    }
    say("Looking whether WAL arrives in the repository");
    outcome.archiving = Some(archiving::prove(
        runtime.handle(),
        &cluster.connection,
        &repository,
        &cluster.data_directory,
        outcome.restarted || proposal::archiving_changed(&order.changes),
        Duration::from_secs(order.archive_wait),
    )?);
    let counted = back_up(order, cluster, &repository, (runtime, report, say), &mut outcome)?;
    prove(order, (&config, cluster, &repository), &counted, (runtime, report, say), &mut outcome)?;
    Ok(outcome)
}

fn look(runtime: &Runtime, cluster: &Cluster) -> Result<Facts, InitError> {
    runtime.block_on(facts::ask(&cluster.connection, &cluster.data_directory))
}

fn cluster_of<'a>(config: &'a Config, order: &Order) -> Result<&'a Cluster, InitError> {
    Ok(crate::engine::desk::named(config, &order.cluster)?)
}

fn repository(config: &Config, order: &Order) -> Result<Repository, InitError> {
    let settings = config.repository(&order.repository).ok_or_else(|| {
        Explanation::new(
            Kind::Config,
            format!("{} has no repository \"{}\".", config.path.display(), order.repository),
            "Nothing was changed.",
            "Run lifeboat init again.",
        )
    })?;
    Ok(Repository::create(settings, &order.cluster)?)
}

fn restart_now(order: &Order, cluster: &Cluster, say: Say<'_>) -> Result<(), InitError> {
    let bin_directory = cluster.control.bin_directory();
    let data = &cluster.data_directory;
    let binaries = discovery::binaries(bin_directory, Some(data))?;
    let owner: Owner = discovery::owner(data)?;
    record::add(&order.record, Entry::Restart)?;
    say("Restarting the server");
    restart::restart(data, &binaries, &owner, &order.cluster)
}

/// Takes the first backup where there is none; gives the rows that were counted before it.
fn back_up(
    order: &Order,
    cluster: &Cluster,
    repository: &Repository,
    (runtime, report, say): (&Runtime, Report<'_>, Say<'_>),
    outcome: &mut Outcome,
) -> Result<Vec<rows::Count>, InitError> {
    let (bases, faults) = repository.bases()?;
    outcome.warnings.extend(faults.iter().map(ToString::to_string));
    if let Some(newest) = bases.last() {
        outcome.oldest = bases.first().cloned();
        outcome.backup = Some(newest.clone());
        return Ok(Vec::new());
    }
    say("Taking the first backup");
    let counted = if order.proof {
        // What cannot be counted now is said by the proof.
        runtime.block_on(rows::count_some(&cluster.connection)).unwrap_or_default()
    } else {
        Vec::new()
    };
    let taken = backup::run(cluster, repository, &backup::Options::default(), report, &|| false)
        .map_err(|error| error.explanation())?;
    let base = taken.descriptor.summary(&order.repository);
    outcome.warnings.extend(taken.warnings);
    outcome.oldest = Some(base.clone());
    outcome.backup = Some(base);
    outcome.backup_taken = true;
    Ok(counted)
}

fn prove(
    order: &Order,
    (config, cluster, repository): (&Config, &Cluster, &Repository),
    counted: &[rows::Count],
    (runtime, report, say): (&Runtime, Report<'_>, Say<'_>),
    outcome: &mut Outcome,
) -> Result<(), InitError> {
    let Some(base) = &outcome.backup else { return Ok(()) };
    let proven = Entry::Proven { set: base.set.clone() };
    outcome.proven_before = record::entries(&order.record)?.contains(&proven);
    if outcome.proven_before || !order.proof {
        return Ok(());
    }
    let subject = proof::Subject {
        config,
        cluster,
        repository,
        set: &base.set,
        before: counted,
        program: &order.program,
        directory: order.proof_directory.as_deref().or(config.sandbox.directory.as_deref()),
    };
    let proof = proof::prove(&subject, runtime, report, say);
    if proof.verdict == Verdict::Verified {
        record::add(&order.record, proven)?;
    }
    outcome.proof = Some(proof);
    Ok(())
}

/// The `archive_command` of a cluster: the program by its full path, with its configuration.
#[must_use]
pub fn archive_command(program: &Path, config: &Path, cluster: &str) -> String {
    let words = [
        program.display().to_string(),
        String::from("--config"),
        config.display().to_string(),
        String::from("archive-wal"),
        String::from("--cluster"),
        cluster.to_owned(),
        String::from("%p"),
    ];
    crate::engine::postgres::recovery_settings::restore_command(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_command_is_quoted_for_shell_and_server() {
        let command = archive_command(
            Path::new("/opt/life boat/lifeboat"),
            Path::new("/etc/100%/lifeboat.toml"),
            "orders",
        );
        assert_eq!(
            command,
            r#"'/opt/life boat/lifeboat' '--config' '/etc/100%%/lifeboat.toml' 'archive-wal' '--cluster' 'orders' "%p""#
        );
    }
}
