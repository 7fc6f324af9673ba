//! `runner`, `incidents`, `journal verify`.

use super::output;
use super::runtime;
use crate::engine::config::Config;
use crate::engine::desk::Desk;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::journal;
use crate::engine::incident::store::{self, Listed, Store};
use crate::engine::notify::messenger::Messenger;
use crate::engine::runbook::Runbook;
use crate::engine::runner::server::{self, RunnerOptions};
use crate::engine::runner::spawn;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long an ending runner waits for messages under way; the scheduler or the next runner brings
/// the others.
const LAST_MESSAGES: Duration = Duration::from_secs(20);

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
    let ended = runtime.block_on(server::run(options)).map_err(|e| e.explanation());
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

pub(super) fn verify_journal(config: &Config, id: &str) -> Result<ExitCode, Explanation> {
    let folder = incidents(config).folder(id).map_err(|e| e.explanation())?;
    let path = folder.join(journal::FILE);
    let verified = journal::verify(&path).map_err(|e| e.explanation())?;
    output::line(&format!(
        "{}: {} entries, the chain holds from first to last. Last line's hash: {}",
        path.display(),
        verified.entries,
        verified.last
    ))?;
    if let Some(bytes) = verified.torn {
        output::line(&format!(
            "After them stand {bytes} bytes of an entry that was being written when the machine \
             or the runner ended; the next runner sets them aside."
        ))?;
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
