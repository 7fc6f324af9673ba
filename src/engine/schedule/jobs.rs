//! The scheduled jobs, each carried out by its own module. Owns the words of their results and
//! which of them is a failure; what the alarms go by is [`super::look`]'s.

use super::Job;
use super::alarm::{self, Alarm};
use super::drill;
use super::look;
use super::record::Record;
use super::run::Chores;
use crate::engine::backup;
use crate::engine::config::{Cluster, Config};
use crate::engine::copies::{self, State, catch_up};
use crate::engine::explain::{Explain, Explanation, Kind, count};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::reverify::{Request, Which, verify_set};
use crate::engine::retention;
use crate::engine::runbook::Runbook;
use crate::engine::wal::settings;
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;

/// The jobs in earnest.
#[derive(Debug)]
pub struct Everyday<'a> {
    config: &'a Config,
    runbook: &'a Runbook,
    runtime: tokio::runtime::Handle,
}

impl<'a> Everyday<'a> {
    #[must_use]
    pub fn new(config: &'a Config, runbook: &'a Runbook, runtime: tokio::runtime::Handle) -> Self {
        Self { config, runbook, runtime }
    }
}

type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

impl Chores for Everyday<'_> {
    fn perform(
        &self,
        cluster: &Cluster,
        job: Job,
        cancelled: Cancelled<'_>,
    ) -> Result<String, Explanation> {
        match job {
            Job::BaseBackup => back_up(self.config, cluster, cancelled),
            Job::CatchUp => bring_copies(self.config, cluster, cancelled),
            Job::Verification => verify(self.config, cluster, cancelled),
            Job::Cleanup => clean_up(self.config, cluster, cancelled),
            Job::Drill => drill::hold(self.config, cluster, cancelled),
        }
    }

    fn newest_backup(&self, cluster: &Cluster) -> Option<Option<Timestamp>> {
        look::newest_backup(self.config, cluster)
    }

    fn alarms(&self, cluster: &Cluster, record: &Record) -> Vec<Alarm> {
        let archiver = self.runtime.block_on(settings::read(cluster));
        let health = look::look(self.config, cluster, archiver).health();
        let record = record.clone().wanted_by(&cluster.schedule);
        alarm::alarms(&health, &record, self.runbook.tier(cluster.tier))
    }
}

fn back_up(
    config: &Config,
    cluster: &Cluster,
    cancelled: Cancelled<'_>,
) -> Result<String, Explanation> {
    let options = backup::Options::default();
    let spread = copies::back_up(config, cluster, &options, &|_| {}, cancelled)?;
    let taken = &spread.backup;
    let mut said = format!(
        "{}, {} in {} files",
        taken.descriptor.set,
        format_size(taken.descriptor.data_bytes, DECIMAL),
        taken.files
    );
    for one in &spread.outcomes {
        match &one.state {
            State::Taken => said.push_str(&format!("; into \"{}\"", one.repository)),
            State::Copied(_) => said.push_str(&format!(", copied to \"{}\"", one.repository)),
            // The backup is good; the debt is an alarm of its own.
            State::Owed { why } => {
                said.push_str(&format!(", NOT in \"{}\" yet ({})", one.repository, why.what));
            }
        }
    }
    for warning in &taken.warnings {
        said.push_str(&format!("; {warning}"));
    }
    Ok(said)
}

fn bring_copies(
    config: &Config,
    cluster: &Cluster,
    cancelled: Cancelled<'_>,
) -> Result<String, Explanation> {
    let caught = catch_up::catch_up(config, cluster, &|_| {}, cancelled);
    let (sets, files) = (count(caught.paid.len(), "set"), count(caught.wal.paid.len(), "WAL file"));
    let mut paid = format!("{sets} and {files} copied");
    for gone in caught.wal.told_gone() {
        paid = format!("{paid}. {gone}");
    }
    if caught.whole() {
        let nothing = [&caught.wal.paid, &caught.wal.gone].iter().all(|files| files.is_empty())
            && caught.paid.is_empty();
        return Ok(if nothing { String::from("nothing was owed") } else { paid });
    }
    if cancelled() {
        return Err(stopped("catch-up"));
    }
    let lines = caught
        .owed
        .iter()
        .map(|one| format!("\"{}\" owes {}", one.debt.repository, one.debt.set))
        .chain(caught.wal_owed.iter().cloned())
        .chain(
            caught
                .unasked
                .iter()
                .map(|one| format!("\"{}\" could not be asked: {}", one.repository, one.why.what)),
        )
        .chain(
            caught
                .wal_unasked
                .iter()
                .filter(|(name, _)| caught.unasked.iter().all(|one| one.repository != *name))
                .map(|(name, why)| format!("\"{name}\" could not be asked: {}", why.what)),
        );
    Err(Explanation::new(
        Kind::Connection,
        format!("Copies are missing still: {}.", lines.collect::<Vec<_>>().join("; ")),
        format!("What the other repositories hold is untouched; {paid}."),
        "Bring the repository back; what is owed is copied then by itself.",
    ))
}

fn verify(
    config: &Config,
    cluster: &Cluster,
    cancelled: Cancelled<'_>,
) -> Result<String, Explanation> {
    let (mut good, mut read, mut bad) = (0_usize, 0_u64, Vec::new());
    for (settings, opened) in copies::open_all(config, cluster) {
        let sets = opened.and_then(|repository| {
            let sets = repository.choose(&Which::All).map_err(|e| e.explanation())?;
            Ok((repository, sets))
        });
        let (repository, sets) = match sets {
            Ok(found) => found,
            Err(error) => {
                bad.push(format!("\"{}\" could not be read: {}", settings.name, error.what));
                continue;
            }
        };
        for set in sets {
            if cancelled() {
                return Err(stopped("verification"));
            }
            let request = Request {
                now: Timestamp::now(),
                full: false,
                every: cluster.retention.verify_every(),
            };
            let one = verify_set(&repository, &set, request, &|_| {}, cancelled);
            read += one.bytes_read;
            match one.verdict {
                Verdict::Verified => good += 1,
                other => bad.push(format!(
                    "{set} in \"{}\": {}{}",
                    settings.name,
                    other.word(),
                    one.reason.map_or_else(String::new, |why| format!(" ({why})"))
                )),
            }
        }
    }
    // What was broken off is no finding.
    if cancelled() {
        return Err(stopped("verification"));
    }
    if bad.is_empty() {
        let (good, read) = (count(good, "set"), format_size(read, DECIMAL));
        return Ok(format!("{good} VERIFIED, {read} read anew"));
    }
    Err(Explanation::new(
        Kind::Integrity,
        format!("Not every backup is proven: {}.", bad.join("; ")),
        "Nothing was changed.",
        "Look at it with lifeboat verify --all; recover from another copy meanwhile.",
    ))
}

fn clean_up(
    config: &Config,
    cluster: &Cluster,
    cancelled: Cancelled<'_>,
) -> Result<String, Explanation> {
    let (mut said, mut failed) = (Vec::new(), Vec::new());
    for name in &cluster.repositories {
        if cancelled() {
            return Err(stopped("cleanup"));
        }
        let now = Timestamp::now();
        match retention::cleanup(config, cluster, name, now, &|_| {}, &|| cancelled()) {
            Ok((_, outcome)) => {
                if let Some(error) = &outcome.stopped {
                    failed.push(format!("\"{name}\": {error}"));
                }
                for (what, why) in &outcome.left {
                    failed.push(format!("\"{name}\": {what} was left whole: {why}"));
                }
                said.push(match (outcome.sets.len(), outcome.bytes) {
                    (0, 0) => format!("\"{name}\": nothing to remove"),
                    (sets, bytes) => format!(
                        "\"{name}\": {} and old WAL removed, {} freed",
                        count(sets, "set"),
                        format_size(bytes, DECIMAL)
                    ),
                });
                if outcome.kept_by_store > 0 {
                    said.push(format!("{} objects are locked still", outcome.kept_by_store));
                }
            }
            Err(error) => failed.push(format!("\"{name}\": {}", error.what)),
        }
    }
    if failed.is_empty() {
        return Ok(said.join("; "));
    }
    if cancelled() {
        return Err(stopped("cleanup"));
    }
    Err(Explanation::new(
        Kind::Storage,
        format!("Not every repository could be cleaned up: {}.", failed.join("; ")),
        "Only whole sets are left, and everything that the policy keeps.",
        "See what is wrong with lifeboat cleanup --dry-run; the next run goes on.",
    ))
}

fn stopped(what: &str) -> Explanation {
    Explanation::new(
        Kind::Cancelled,
        format!("The {what} was stopped."),
        "What it had done stands.",
        "The next run goes on.",
    )
}
