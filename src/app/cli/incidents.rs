//! `runner`, `incidents`, `journal verify`.

use super::output;
use super::runtime;
use super::signatures;
use crate::engine::audit::check;
use crate::engine::audit::keeper::Keeper;
use crate::engine::catalogue::feeder::Feeder;
use crate::engine::config::Config;
use crate::engine::desk::{self, Desk};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::store::{self, Listed, Store};
use crate::engine::notify::messenger::Messenger;
use crate::engine::runbook::Runbook;
use crate::engine::runner::server::{self, RunnerOptions};
use crate::engine::runner::spawn;
use serde::Serialize;
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
        approval: config.approval.clone(),
        signatures: config.signatures.clone(),
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
    // A journal that does not hold has no signature that could be believed.
    let signed = match audit.verdict {
        Verdict::Failed => signatures::Signatures::default(),
        _ => signatures::check(config, &folder)?,
    };
    let failure = audit.failure();
    if json {
        output::json(&Verified { audit: &audit, signatures: &signed.all })?;
    } else {
        let told = if failure.is_some() { Vec::new() } else { signed.lines() };
        for line in audit.lines().into_iter().chain(told) {
            if failure.is_some() { output::warn(&line) } else { output::line(&line)? }
        }
    }
    let outcome = match failure {
        Some(failure) => Err(failure),
        None => signed.outcome(),
    };
    match outcome {
        Err(failure) if json => Ok(ExitCode::from(failure.kind.exit_code())),
        Err(failure) => Err(failure),
        Ok(code) if audit.verdict == Verdict::Verified => Ok(code),
        Ok(_) => Ok(ExitCode::from(super::status::PROBLEM)),
    }
}

/// `journal verify --json`.
#[derive(Serialize)]
struct Verified<'a> {
    #[serde(flatten)]
    audit: &'a check::Audit,
    signatures: &'a [signatures::Signature],
}

fn incidents(config: &Config) -> Store {
    Store::new(&config.state_directory())
}
