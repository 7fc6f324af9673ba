//! The command line: one function a verb, each a thin layer over the engine. Owns flags, words
//! and exit codes; decides nothing about a recovery.

mod approve;
mod args;
mod backups;
mod catalogue;
mod checklist;
mod cleanup;
mod compliance;
mod continuity;
mod copies;
mod crypt;
mod delta;
mod diagnosis;
mod drill;
mod erasure;
mod escalation;
mod handover;
mod hold;
mod incidents;
mod init;
mod keys;
mod messages;
mod metrics;
mod output;
mod parts;
mod readiness;
mod report;
mod restore;
mod restore_full;
mod schedule;
mod signatures;
mod status;
mod suspects;
mod verify;
mod vigil;
mod wal;
mod wal_list;

pub use args::Cli;

use crate::app::far::{self as other_side, FarRunners};
use crate::app::link::Dialer;
use crate::app::runtime::Ending;
use crate::app::{dialer, tui};
use crate::engine::config::{self, Cluster, Config, RepositoryConfig};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::far::{Far, Request};
use crate::engine::incident::store::Store;
use crate::engine::moments;
use crate::engine::repository::Repository;
use crate::engine::runbook::Runbook;
use crate::engine::wal::fetch;
use args::Verb;
use clap::Parser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Reads the command line and runs what it asks for.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    // Looked for as a word, because a command line with a fault in it has no verb yet.
    let fetches = arguments.iter().skip(1).any(|argument| argument == wal::FETCH);
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli),
        Err(error) => {
            // A closed output is no reason to end otherwise.
            let _ = error.print();
            ExitCode::from(match (error.use_stderr(), fetches) {
                (false, _) => 0,
                (true, false) => Kind::Config.exit_code(),
                // PostgreSQL takes anything from 1 to 125 for "not in the archive".
                (true, true) => fetch::EXIT_STOP,
            })
        }
    }
}

/// Runs what the command line asks for; failures are told on standard error.
pub fn run(cli: Cli) -> ExitCode {
    let path = cli.config.as_deref();
    let host = cli.host.map(|name| args::Host { name, program: cli.host_program });
    let host = host.as_ref();
    if let Some(host) = host
        && !matches!(
            cli.command,
            None | Some(Verb::Approve(_) | Verb::Handover(_))
                | Some(Verb::Messages(args::Messages { say: Some(_), .. }))
        )
    {
        return output::fail(&Explanation::new(
            Kind::Config,
            "--host works for the screens, approve, handover and messages --say alone.",
            "Nothing was asked.",
            format!("Log in there for everything else: ssh {}", host.name),
        ));
    }
    // The server's own commands have exit codes that PostgreSQL reads.
    match cli.command {
        Some(Verb::ArchiveWal { path: file, cluster }) => {
            return wal::archive(path, cluster.as_deref(), &file);
        }
        Some(Verb::RestoreWal(args)) => return wal::fetch(path, &args),
        Some(Verb::PrefetchWal(args)) => return wal::prefetch(path, &args),
        Some(Verb::InitErrand { quiet }) => init::errand(quiet),
        Some(verb) => dispatch(path, host, verb),
        None => match host {
            Some(host) => far_screens(path, host),
            None => screens(path, None),
        },
    }
    .unwrap_or_else(|explanation| output::fail(&explanation))
}

fn dispatch(
    path: Option<&Path>,
    host: Option<&args::Host>,
    verb: Verb,
) -> Result<ExitCode, Explanation> {
    match verb {
        Verb::Init(args) => init::init(path, &args),
        Verb::Backup(common) if common.repository.is_none() => {
            copies::back_up(&loaded(path)?, &common)
        }
        Verb::Backup(common) => backups::take(&loaded(path)?, &common),
        Verb::CatchUp(args) => copies::catch_up(&loaded(path)?, &args),
        Verb::Policy(args) => copies::policy(&loaded(path)?, &args),
        Verb::RecordRecovery(args) => compliance::record(&loaded(path)?, &args),
        Verb::ListBackups { common, before, limit } => {
            backups::list(&loaded(path)?, &common, before.as_deref(), limit)
        }
        Verb::FindBackup { common, before } => backups::find(&loaded(path)?, &common, &before),
        Verb::ListWal { prefix, common } => {
            wal_list::list(&loaded(path)?, &common, prefix.as_deref().unwrap_or_default())
        }
        Verb::CheckWalContinuity { common, from, to } => {
            continuity::check(&loaded(path)?, &common, &from, &to)
        }
        Verb::Verify(args) => verify::verify(&loaded(path)?, &args),
        Verb::Cleanup { common, dry_run, yes } => {
            cleanup::cleanup(&loaded(path)?, &common, dry_run, yes)
        }
        Verb::Hold(args) => hold::hold(&loaded(path)?, &args),
        Verb::Suspects(args) => suspects::suspects(&loaded(path)?, &args),
        Verb::CreateRepository(common) => backups::create_repository(&loaded(path)?, &common),
        Verb::Restore(args) => restore::restore(&loaded(path)?, &args),
        Verb::RestoreFull(args) => restore_full::run(&loaded(path)?, &args),
        Verb::RestoreParts(args) => parts::restore_parts(&loaded(path)?, &args),
        Verb::Salvage(args) => parts::salvage(&loaded(path)?, &args),
        Verb::Status(common) => status::status(&loaded(path)?, &common),
        Verb::Messages(args::Messages { incident: Some(id), say: Some(text), .. }) => {
            handover::say(path, host, &id, &text)
        }
        Verb::Readiness(args) => readiness::readiness(&loaded(path)?, &args),
        Verb::Messages(args) => messages::messages(&loaded(path)?, &args),
        Verb::Metrics(args) => metrics::metrics(&loaded(path)?, &args),
        Verb::Schedule(args) => schedule::schedule(&loaded(path)?, &args),
        Verb::InstallUnits(args) => schedule::install_units(&loaded(path)?, &args),
        Verb::Decrypt(args) => crypt::decrypt(path, &args),
        Verb::Encrypt(args) => crypt::encrypt(path, &args),
        Verb::Keys(verb) => keys::run(|| loaded(path), verb),
        Verb::Report(args) => report::report(&loaded(path)?, &args),
        Verb::RecoveryReport { incident_id, output, names, json } => {
            report::all(&loaded(path)?, &incident_id, output.as_deref(), names, json)
        }
        Verb::Incidents { json } => incidents::list(&loaded(path)?, json),
        Verb::Handover(args) => handover::handover(path, host, &args),
        Verb::Approve(args) => approve::approve(path, host, &args),
        Verb::Checklist(args) => checklist::checklist(&loaded(path)?, &args),
        Verb::Escalation(args) => escalation::escalation(&loaded(path)?, &args),
        Verb::Erasure(verb) => erasure::erasure(&loaded(path)?, &verb),
        Verb::Catalogue(verb) => catalogue::catalogue(&loaded(path)?, &verb),
        Verb::Journal(args::Journal::Verify { incident, cluster, json }) => {
            incidents::verify_journal(&loaded(path)?, &incident, cluster.as_deref(), json)
        }
        Verb::Drill(args) => drill::drill(path, &args),
        Verb::DrillReader { .. } => drill::read(&loaded(path)?),
        Verb::Screens { scenario } => screens(path, Some(&scenario)),
        Verb::Far => far(path),
        Verb::Runner { incident } => incidents::runner(&loaded(path)?, &incident),
        Verb::ArchiveWal { .. }
        | Verb::RestoreWal(_)
        | Verb::PrefetchWal(_)
        | Verb::InitErrand { .. } => Ok(ExitCode::from(1)),
    }
}

/// The screens: on the newest incident that is open, else at home; with a briefing in a drill.
fn screens(path: Option<&Path>, scenario: Option<&str>) -> Result<ExitCode, Explanation> {
    let config = for_people(path)?;
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let state_directory = config.state_directory();
    let start = tui::Start {
        incident: dialer::under_way(&Store::new(&state_directory)),
        briefing: scenario.map(|name| drill::briefing(name, &config)).transpose()?,
        state_directory,
        theme: None,
    };
    let exit = tui::run(&config, runbook, start).map_err(|e| e.explanation())?;
    if exit.ending == Ending::Aborted {
        // Whoever holds the drill clears it away.
        return Ok(ExitCode::from(Kind::Cancelled.exit_code()));
    }
    // Of a drill nothing stays open.
    if scenario.is_none() {
        output::line(&exit.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn loaded(path: Option<&Path>) -> Result<Config, Explanation> {
    config::load(path).map_err(|e| e.explanation())
}

/// The screens on another machine's incidents.
fn far_screens(path: Option<&Path>, host: &args::Host) -> Result<ExitCode, Explanation> {
    let far = Arc::new(Far::open(&host.name, &host.program, path)?);
    let incident = far.ask(&Request::UnderWay)?;
    let runbook = Runbook::load(None).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let dialer: Arc<dyn Dialer> = Arc::new(FarRunners::new(far, runtime.handle().clone()));
    // What is configured is that machine's to say.
    let config = config::load::parse("", Path::new("")).map_err(|e| e.explanation())?;
    let start = tui::Start { incident, ..tui::Start::default() };
    let ended = tui::run_with(&dialer, &config, runbook, start, runtime.handle());
    runtime.shutdown_background();
    output::line(&ended.map_err(|e| e.explanation())?.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The other side of --host.
fn far(path: Option<&Path>) -> Result<ExitCode, Explanation> {
    let config = for_people(path)?;
    let runtime = runtime()?;
    other_side::answer(&config, runtime.handle()).map_err(|error| {
        Explanation::new(Kind::Connection, format!("The other side is gone: {error}."), "", "")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// As [`loaded`]; whoever only attaches to other people's incidents need not be able to read the
/// keys that the file names.
fn for_people(path: Option<&Path>) -> Result<Config, Explanation> {
    let failed = match config::load(path) {
        Ok(config) => return Ok(config),
        Err(error) => error.explanation(),
    };
    let config = config::load_for_server(path).map_err(|e| e.explanation())?;
    let store = Store::new(&config.state_directory());
    if store.is_closed_to_us() { Ok(config) } else { Err(failed) }
}

/// The named cluster, or the only one.
fn cluster<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Cluster, Explanation> {
    match (name, config.clusters.as_slice()) {
        (Some(name), _) => desk::named(config, name),
        (None, [only]) => Ok(only),
        (None, clusters) => {
            let names: Vec<&str> = clusters.iter().map(|c| c.name.as_str()).collect();
            Err(Explanation::new(
                Kind::Config,
                format!("{} has {} clusters.", config.path.display(), clusters.len()),
                "Nothing was touched.",
                format!("Say which with --cluster: {}.", names.join(", ")),
            ))
        }
    }
}

/// The settings of the named repository of a cluster, or of its first.
fn repository_config<'a>(
    config: &'a Config,
    cluster: &Cluster,
    name: Option<&str>,
) -> Result<&'a RepositoryConfig, Explanation> {
    let chosen = name.or(cluster.repositories.first().map(String::as_str)).unwrap_or_default();
    let listed = cluster.repositories.iter().any(|r| r == chosen);
    config.repository(chosen).filter(|_| listed).ok_or_else(|| {
        Explanation::new(
            Kind::Config,
            format!("The cluster \"{}\" has no repository \"{chosen}\".", cluster.name),
            "Nothing was touched.",
            format!("It has: {}.", cluster.repositories.join(", ")),
        )
    })
}

fn opened(
    config: &Config,
    cluster: &Cluster,
    name: Option<&str>,
) -> Result<Repository, Explanation> {
    if name.is_none() {
        return desk::open_first(config, cluster);
    }
    let settings = repository_config(config, cluster, name)?;
    Repository::open(settings, &cluster.name).map_err(|e| e.explanation())
}

/// The named repository of a cluster, or all of them, nearest first.
fn repository_names(
    config: &Config,
    cluster: &Cluster,
    name: Option<&str>,
) -> Result<Vec<String>, Explanation> {
    match name {
        Some(_) => Ok(vec![repository_config(config, cluster, name)?.name.clone()]),
        None => Ok(cluster.repositories.clone()),
    }
}

/// A time as typed on the command line, where nobody can be asked back; or an instant as our own
/// JSON has it, with more digits than PostgreSQL's clock, which are dropped.
fn time(text: &str) -> Result<Timestamp, Explanation> {
    if let Ok(exact) = text.parse::<Timestamp>()
        && let Ok(at) = Timestamp::from_microsecond(exact.as_microsecond())
    {
        return Ok(at);
    }
    moments::parse(text, Timestamp::now(), &TimeZone::UTC)
        .map(|typed| typed.at)
        .map_err(|e| e.explanation())
}

fn no_set(set: &str) -> Explanation {
    Explanation::new(
        Kind::NotFound,
        format!("The repository has no set {set}."),
        "Nothing was touched.",
        "See what there is: lifeboat list-backups.",
    )
}

/// A runtime for the verbs that speak to servers.
fn runtime() -> Result<tokio::runtime::Runtime, Explanation> {
    tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(
        |error| {
            Explanation::new(
                Kind::Internal,
                format!("Lifeboat could not start its runtime: {error}."),
                "Nothing was touched.",
                "Look at the limits on processes and memory of this user.",
            )
        },
    )
}
