//! `status`: one page a cluster. Reads names and small objects alone; scans no WAL.

use super::args::Common;
use super::output;
use super::{opened, runtime};
use crate::engine::assess;
use crate::engine::config::{Cluster, Config};
use crate::engine::copies::{self, debts};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::{BaseSummary, ServerProbe};
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::runbook::Runbook;
use crate::engine::wal::Segment;
use crate::engine::wal::continuity::{Coverage, Stretch};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code where a page shows a problem; no kind of failure has it.
const PROBLEM: u8 = 12;

#[derive(Debug, Serialize)]
struct Page {
    cluster: String,
    server: ServerProbe,
    repository: Option<String>,
    backups: usize,
    newest_backup: Option<BaseSummary>,
    newest_backup_age_seconds: Option<i64>,
    /// Stretches of archived WAL without a gap, as one line each.
    wal: Vec<String>,
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
        pages.push(page(config, cluster, common.repository.as_deref(), server));
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
        wal: Vec::new(),
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
        match Runbook::load(config.runbook.as_deref()) {
            Ok(runbook) => {
                let since = debts::retained_since(&runbook, cluster, Timestamp::now());
                let opened = copies::open_all(config, cluster);
                page.problems.extend(debts::debts(cluster, &opened, since).lines());
            }
            Err(error) => page.problems.push(error.explanation().to_string()),
        }
    }
    page
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
    let size = repository.read_set(newest).map_err(|e| e.explanation())?.segment_size;
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
