//! The scheduled jobs, each carried out by its own module, and what the alarms go by. Owns the
//! words of their results and which of them is a failure.

use super::Job;
use super::alarm::{self, Alarm, Health};
use super::record::Record;
use super::run::Chores;
use crate::engine::backup;
use crate::engine::config::{Cluster, Config};
use crate::engine::copies::{self, State, catch_up};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::Repository;
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
        }
    }

    fn newest_backup(&self, cluster: &Cluster) -> Option<Option<Timestamp>> {
        let (asked, newest) = newest(self.config, cluster, |base| base.started);
        asked.is_ok().then_some(newest)
    }

    fn alarms(&self, cluster: &Cluster, record: &Record) -> Vec<Alarm> {
        let health = self.health(cluster);
        alarm::alarms(&health, record, self.runbook.tier(cluster.tier))
    }
}

impl Everyday<'_> {
    /// Asks the server and every repository.
    fn health(&self, cluster: &Cluster) -> Health {
        let archiver = self.runtime.block_on(settings::read(cluster));
        let (asked, newest) = newest(self.config, cluster, |base| base.finished);
        let archived = archiver.as_ref().ok().and_then(|found| found.last_archived.clone());
        let (newest_wal, missing) = self.newest_wal(cluster, archived.as_deref());
        let owed = catch_up::owed(self.config, cluster);
        let sets = owed
            .owed
            .iter()
            .map(|one| format!("\"{}\" has no copy of {} yet", one.debt.repository, one.debt.set));
        let unasked = owed
            .unasked
            .iter()
            .map(|one| format!("\"{}\" could not be asked what it lacks", one.repository));
        Health {
            at: Timestamp::now(),
            newest_backup: asked.map(|()| newest),
            newest_wal,
            archiver,
            missing,
            debts: sets.chain(owed.wal_owed.iter().cloned()).chain(unasked).collect(),
        }
    }

    /// When the newest WAL file was written, over all repositories; and `archived` where the
    /// server believes it archived and every repository was asked and has it not.
    fn newest_wal(
        &self,
        cluster: &Cluster,
        archived: Option<&str>,
    ) -> (Result<Option<Timestamp>, String>, Option<String>) {
        let (mut newest, mut trouble, mut found, mut all) = (None, None, false, true);
        for (_, opened) in copies::open_all(self.config, cluster) {
            let looked = opened.map_err(|e| e.what).and_then(|repository| {
                look_at_wal(&repository, archived).map_err(|e| e.to_string())
            });
            match looked {
                Ok((written, here)) => {
                    newest = newest.max(written);
                    found |= here;
                }
                Err(why) => {
                    all = false;
                    trouble.get_or_insert(why);
                }
            }
        }
        let missing = archived.filter(|_| all && !found).map(str::to_owned);
        match (newest, trouble) {
            (None, Some(why)) => (Err(why), missing),
            (newest, _) => (Ok(newest), missing),
        }
    }
}

type Looked = (Option<Timestamp>, bool);

fn look_at_wal(
    repository: &Repository,
    archived: Option<&str>,
) -> Result<Looked, crate::engine::repository::RepositoryError> {
    let mut newest = None;
    // The newest folder of each timeline; nothing lists a whole archive for this.
    let folders = repository.wal_folders()?;
    for (at, folder) in folders.iter().enumerate() {
        if folders.get(at + 1).is_none_or(|next| next.timeline != folder.timeline) {
            for file in repository.wal_files(folder)? {
                newest = newest.max(file.written);
            }
        }
    }
    let here = match archived {
        Some(name) => !repository.find_wal(name)?.is_empty(),
        None => true,
    };
    Ok((newest, here))
}

/// The newest backup over all repositories that could be asked; an error where none could.
fn newest(
    config: &Config,
    cluster: &Cluster,
    moment: fn(&crate::engine::incident::facts::BaseSummary) -> Timestamp,
) -> (Result<(), String>, Option<Timestamp>) {
    let (mut asked, mut newest) = (Err(String::from("the cluster names no repository")), None);
    for (_, opened) in copies::open_all(config, cluster) {
        let bases = opened
            .map_err(|e| e.what)
            .and_then(|repository| repository.bases().map_err(|e| e.to_string()));
        match bases {
            Ok((bases, _)) => {
                asked = Ok(());
                newest = newest.max(bases.iter().map(moment).max());
            }
            Err(why) if asked.is_err() => asked = Err(why),
            Err(_) => {}
        }
    }
    (asked, newest)
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
    let mut paid =
        format!("{} sets and {} WAL files copied", caught.paid.len(), caught.wal.paid.len());
    for gone in caught.wal.told_gone() {
        paid = format!("{paid}. {gone}");
    }
    if caught.whole() {
        let nothing = [&caught.wal.paid, &caught.wal.gone].iter().all(|files| files.is_empty())
            && caught.paid.is_empty();
        return Ok(if nothing { String::from("nothing was owed") } else { paid });
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
    if bad.is_empty() {
        return Ok(format!("{good} sets VERIFIED, {} read anew", format_size(read, DECIMAL)));
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
                said.push(match (outcome.sets.len(), outcome.bytes) {
                    (0, 0) => format!("\"{name}\": nothing to remove"),
                    (sets, bytes) => format!(
                        "\"{name}\": {sets} sets and old WAL removed, {} freed",
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
