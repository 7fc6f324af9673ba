//! `status`: one page a cluster. Reads names and small objects alone; scans no WAL.

use super::args::Common;
use super::output;
use super::{opened, runtime};
use crate::engine::assess;
use crate::engine::config::{Cluster, Config, StoreConfig};
use crate::engine::copies::{self, debts as set_debts};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::{BaseSummary, ServerProbe};
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::repository::store::Hold;
use crate::engine::repository::{Repository, SetDescriptor};
use crate::engine::runbook::Runbook;
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::{Coverage, Stretch};
use crate::engine::wal::debts::{self, Ledger};
use crate::engine::wal::settings::{self, ArchiverSettings};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code where a page shows a problem; no kind of failure has it.
pub(super) const PROBLEM: u8 = 12;

#[derive(Debug, Serialize)]
struct Page {
    cluster: String,
    server: ServerProbe,
    repository: Option<String>,
    backups: usize,
    newest_backup: Option<BaseSummary>,
    newest_backup_age_seconds: Option<i64>,
    /// What the store keeps it by, and until when at least; absent where it shows nothing.
    newest_backup_hold: Option<Hold>,
    /// Stretches of archived WAL without a gap, as one line each.
    wal: Vec<String>,
    /// What the server says of its archiving; absent where it does not answer.
    archiving: Option<ArchiverSettings>,
    /// WAL that a repository lacks and another holds.
    debts: Ledger,
    /// Everything that a monitor should wake somebody for.
    problems: Vec<String>,
}

pub(super) fn status(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let chosen: Vec<&Cluster> = match &common.cluster {
        Some(name) => vec![desk::named(config, name)?],
        None => config.clusters.iter().collect(),
    };
    let runtime = runtime()?;
    let mut pages = Vec::new();
    for cluster in chosen {
        let server = runtime.block_on(assess::probe_server(cluster));
        let archiving = match server.reachable {
            true => Some(runtime.block_on(settings::read(cluster))),
            false => None,
        };
        let mut page = page(config, cluster, common.repository.as_deref(), server);
        add_archiving(config, cluster, archiving, &mut page);
        pages.push(page);
    }
    if common.json {
        output::json(&pages)?;
    } else {
        for page in &pages {
            show(page)?;
        }
    }
    let sound = pages.iter().all(|page| page.problems.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
}

fn page(config: &Config, cluster: &Cluster, repository: Option<&str>, server: ServerProbe) -> Page {
    let mut page = Page {
        cluster: cluster.name.clone(),
        repository: None,
        backups: 0,
        newest_backup: None,
        newest_backup_age_seconds: None,
        newest_backup_hold: None,
        wal: Vec::new(),
        archiving: None,
        debts: Ledger::default(),
        problems: Vec::new(),
        server,
    };
    if !page.server.reachable {
        let why = page.server.error.clone().unwrap_or_default();
        page.problems.push(format!("The server does not answer: {why}"));
    }
    if let Err(explanation) = fill(config, cluster, repository, &mut page) {
        page.problems.push(explanation.to_string());
    }
    // With one repository, what is wrong with it was just told.
    if cluster.repositories.len() > 1 {
        let since = set_debts::retained_since(cluster, Timestamp::now());
        let opened = copies::open_all(config, cluster);
        page.problems.extend(set_debts::debts(cluster, &opened, since).lines());
    }
    page
}

/// Archiving as it is set and as it goes, and what each repository lacks.
fn add_archiving(
    config: &Config,
    cluster: &Cluster,
    archiving: Option<Result<ArchiverSettings, String>>,
    page: &mut Page,
) {
    let runbook = Runbook::load(config.runbook.as_deref());
    match (archiving, runbook) {
        (Some(Ok(found)), Ok(runbook)) => {
            let rpo = runbook.tier(cluster.tier).rpo_seconds;
            page.problems.extend(settings::problems(&found, rpo));
            page.archiving = Some(found);
        }
        (Some(Err(why)), _) => {
            page.problems.push(format!("Archiving could not be checked: {why}"));
        }
        (Some(Ok(_)), Err(error)) => {
            page.problems.push(format!("Archiving could not be checked: {error}"));
        }
        (None, _) => {}
    }
    if cluster.repositories.len() < 2 {
        return;
    }
    page.debts = debts::owed(config, cluster);
    page.problems.extend(page.debts.owed.iter().map(debts::Owed::told));
    page.problems.extend(page.debts.unasked.iter().map(|(name, why)| {
        format!("What the repository {name} holds and lacks is not known: {why}")
    }));
}

fn fill(
    config: &Config,
    cluster: &Cluster,
    name: Option<&str>,
    page: &mut Page,
) -> Result<(), Explanation> {
    let repository = opened(config, cluster, name)?;
    page.repository = Some(repository.store.describe());
    let (bases, faults) = repository.bases().map_err(|e| e.explanation())?;
    page.problems.extend(faults.iter().map(ToString::to_string));
    page.backups = bases.len();
    match bases.last() {
        Some(base) => {
            let age = Timestamp::now().duration_since(base.finished).as_secs();
            page.newest_backup_age_seconds = Some(age);
            if age > 26 * 3600 {
                page.problems.push(format!("The newest backup is {} hours old.", age / 3600));
            }
        }
        None => page.problems.push(String::from("There is no backup.")),
    }
    page.newest_backup = bases.last().cloned();
    let Some(oldest) = bases.iter().map(|base| base.start_lsn).min() else { return Ok(()) };
    let newest = repository.set_names().map_err(|e| e.explanation())?;
    let Some(newest) = newest.last() else { return Ok(()) };
    let newest = repository.read_set(newest).map_err(|e| e.explanation())?;
    page.newest_backup_hold = hold_of(&repository, &newest, &mut page.problems)?;
    let size = newest.segment_size;
    let archive = RepositoryArchive::new(Arc::new(repository));
    let coverage = Coverage::list(&archive, size, oldest)?;
    page.wal = coverage.stretches.iter().map(|stretch| told(stretch, size)).collect();
    page.problems.extend(coverage.gaps().iter().map(|gap| {
        format!(
            "WAL is missing on timeline {}: {} segments from {} on.",
            gap.timeline,
            gap.last - gap.first + 1,
            gap.name
        )
    }));
    Ok(())
}

/// The shortest that the store keeps an object of the set. A bucket without Object Lock may take
/// objects that ask for it, and keep nothing: that is a problem where it is configured.
fn hold_of(
    repository: &Repository,
    set: &SetDescriptor,
    problems: &mut Vec<String>,
) -> Result<Option<Hold>, Explanation> {
    let mut shortest: Option<Hold> = None;
    for object in &set.objects {
        let hold = repository.store.hold(&object.name).map_err(|e| e.explanation())?;
        let Some(hold) = hold else {
            if matches!(&repository.config.store, StoreConfig::S3(s3) if s3.object_lock.is_some()) {
                problems.push(format!(
                    "object_lock is configured, but the store shows no lock on {}.",
                    object.name
                ));
            }
            return Ok(None);
        };
        if shortest.as_ref().is_none_or(|before| hold.until < before.until) {
            shortest = Some(hold);
        }
    }
    Ok(shortest)
}

fn told(stretch: &Stretch, size: u64) -> String {
    let segment = |number| Segment { timeline: stretch.timeline, number };
    format!(
        "timeline {}: {} to {} ({} segments)",
        stretch.timeline,
        segment(stretch.first).name(size),
        segment(stretch.last).name(size),
        stretch.last - stretch.first + 1
    )
}

fn show(page: &Page) -> Result<(), Explanation> {
    let mut lines = vec![format!("{}", page.cluster)];
    let mut add = |name: &str, text: String| lines.push(format!("  {name:15} {text}"));
    add(
        "server",
        match (&page.server.version, &page.server.identity) {
            (Some(version), Some(identity)) => {
                let short: Vec<&str> = version.split(' ').take(2).collect();
                format!("{}, timeline {}", short.join(" "), identity.timeline)
            }
            (Some(version), None) => version.clone(),
            _ => String::from("no answer"),
        },
    );
    if let Some(identity) = &page.server.identity {
        add("data directory", identity.data_directory.clone());
        add("identifier", identity.system_identifier.to_string());
    }
    add("repository", page.repository.clone().unwrap_or_else(|| String::from("not readable")));
    add(
        "newest backup",
        page.newest_backup.as_ref().map_or_else(
            || String::from("none"),
            |base| {
                format!(
                    "{}, ended {:.0} (UTC), {}",
                    base.set,
                    base.finished,
                    format_size(base.size, DECIMAL)
                )
            },
        ),
    );
    if let Some(hold) = &page.newest_backup_hold {
        add("kept until", format!("{:.0} (UTC), {}", hold.until, hold.mode));
    }
    for stretch in &page.wal {
        add("WAL", stretch.clone());
    }
    if page.problems.is_empty() {
        add("problems", String::from("none seen"));
    }
    for problem in &page.problems {
        add("PROBLEM", problem.clone());
    }
    output::line(&lines.join("\n"))
}
