//! `runner`, `incidents`, `journal verify`, `recovery-report`.

use super::output;
use super::runtime;
use crate::engine::audit::check;
use crate::engine::audit::keeper::Keeper;
use crate::engine::catalogue::feeder::Feeder;
use crate::engine::config::Config;
use crate::engine::desk::{self, Desk};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::journal;
use crate::engine::incident::store::{self, Listed, Store};
use crate::engine::notify::messenger::Messenger;
use crate::engine::report::{self, Report};
use crate::engine::runbook::Runbook;
use crate::engine::runner::server::{self, RunnerOptions};
use crate::engine::runner::spawn;
use jiff::Timestamp;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long an ending runner waits for messages under way; the scheduler or the next runner brings
/// the others.
const LAST_MESSAGES: Duration = Duration::from_secs(20);

/// The same for anchors.
const LAST_ANCHORS: Duration = Duration::from_secs(5);

/// The process that owns one incident, until nothing needs it.
pub(super) fn runner(config: &Config, folder: &Path) -> Result<ExitCode, Explanation> {
    spawn::detach();
    let (declaration, _) = store::declaration(folder).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let desk = Desk::new(config.clone(), &declaration.cluster, folder, runtime.handle().clone())?;
    let options = RunnerOptions {
        operators: config.operators.clone(),
        ..RunnerOptions::new(folder.to_owned(), Arc::new(desk))
    };
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let messenger = Messenger::begin(&config.channels, &runbook, folder);
    let keeper = Keeper::begin(config, &declaration.cluster, folder);
    let feeder = Feeder::begin(config, folder);
    let ended = runtime.block_on(server::run(options)).map_err(|e| e.explanation());
    keeper.end(LAST_ANCHORS);
    feeder.end(LAST_ANCHORS);
    messenger.end(LAST_MESSAGES);
    ended?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(config: &Config, json: bool) -> Result<ExitCode, Explanation> {
    let listed = incidents(config).list().map_err(|e| e.explanation())?;
    if json {
        output::json(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if listed.is_empty() {
        output::line("No incident.")?;
    }
    for one in &listed {
        output::line(&match one {
            Listed::Whole(s) => format!(
                "{}  {}  {:?}, {:?}{}  {}",
                s.id,
                s.cluster,
                s.phase,
                s.status,
                if s.runner_alive { ", runner alive" } else { "" },
                s.title
            ),
            Listed::Damaged { id, explanation, .. } => format!("{id}  DAMAGED: {explanation}"),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn verify_journal(
    config: &Config,
    id: &str,
    cluster: Option<&str>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let folder = store::place_of(&config.state_directory(), id).map_err(|e| e.explanation())?;
    if let Some(name) = cluster {
        desk::named(config, name)?;
    }
    let audit = check::check(config, id, &folder, cluster)?;
    let failure = audit.failure();
    if json {
        output::json(&audit)?;
    } else {
        for line in audit.lines() {
            if failure.is_some() { output::warn(&line) } else { output::line(&line)? }
        }
    }
    match failure {
        Some(failure) if json => Ok(ExitCode::from(failure.kind.exit_code())),
        Some(failure) => Err(failure),
        None if audit.verdict == Verdict::Verified => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::from(super::status::PROBLEM)),
    }
}

pub(super) fn report(
    config: &Config,
    id: &str,
    output_folder: Option<&Path>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let store = incidents(config);
    let folder = store.folder(id).map_err(|e| e.explanation())?;
    let incident = store.load(id).map_err(|e| e.explanation())?;
    let verified = journal::verify(&folder.join(journal::FILE)).map_err(|e| e.explanation())?;
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let report =
        Report::from(&incident, &runbook, Timestamp::now()).with_journal_head(verified.last);
    if json {
        let text = report.json().map_err(|error| {
            Explanation::new(Kind::Internal, format!("The report has no JSON: {error}."), "", "")
        })?;
        output::line(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = output_folder.map_or_else(|| folder.join("report"), Path::to_owned);
    for path in report::write(&report, &place).map_err(|e| e.explanation())? {
        output::line(&path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest incident that is not closed.
pub(super) fn under_way(state_directory: &Path) -> Option<String> {
    let listed = Store::new(state_directory).list().ok()?;
    let open = listed.into_iter().filter_map(|one| match one {
        Listed::Whole(summary) if summary.closed.is_none() => Some(summary),
        _ => None,
    });
    open.max_by_key(|summary| summary.declared).map(|summary| summary.id)
}

fn incidents(config: &Config) -> Store {
    Store::new(&config.state_directory())
}
