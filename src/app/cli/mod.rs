//! The command line: one function a verb, each a thin layer over the engine. Owns flags, words
//! and exit codes; decides nothing about a recovery.

mod args;
mod backups;
mod checklist;
mod cleanup;
mod compliance;
mod continuity;
mod copies;
mod crypt;
mod delta;
mod drill;
mod escalation;
mod hold;
mod incidents;
mod init;
mod keys;
mod messages;
mod metrics;
mod output;
mod parts;
mod report;
mod restore;
mod restore_full;
mod schedule;
mod status;
mod suspects;
mod verify;
mod vigil;
mod wal;
mod wal_list;

pub use args::Cli;

use crate::app::tui;
use crate::engine::config::{self, Cluster, Config, RepositoryConfig};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation, Kind};
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
    // The server's own commands have exit codes that PostgreSQL reads.
    match cli.command {
        Some(Verb::ArchiveWal { path: file, cluster }) => {
            return wal::archive(path, cluster.as_deref(), &file);
        }
        Some(Verb::RestoreWal(args)) => return wal::fetch(path, &args),
        Some(Verb::PrefetchWal(args)) => return wal::prefetch(path, &args),
        Some(Verb::InitErrand { quiet }) => init::errand(quiet),
        Some(verb) => dispatch(path, verb),
        None => screens(path, None),
    }
    .unwrap_or_else(|explanation| output::fail(&explanation))
}

fn dispatch(path: Option<&Path>, verb: Verb) -> Result<ExitCode, Explanation> {
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
        Verb::Checklist(args) => checklist::checklist(&loaded(path)?, &args),
        Verb::Escalation(args) => escalation::escalation(&loaded(path)?, &args),
        Verb::Journal(args::Journal::Verify { incident }) => {
            incidents::verify_journal(&loaded(path)?, &incident)
        }
        Verb::Drill(args) => drill::drill(path, &args),
        Verb::Screens { scenario } => screens(path, Some(&scenario)),
        Verb::Runner { incident } => incidents::runner(&loaded(path)?, &incident),
        Verb::ArchiveWal { .. }
        | Verb::RestoreWal(_)
        | Verb::PrefetchWal(_)
        | Verb::InitErrand { .. } => Ok(ExitCode::from(1)),
    }
}

/// The screens: on the newest incident that is open, else at home; with a briefing in a drill.
fn screens(path: Option<&Path>, scenario: Option<&str>) -> Result<ExitCode, Explanation> {
    let config = loaded(path)?;
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let state_directory = config.state_directory();
    let start = tui::Start {
        incident: incidents::under_way(&state_directory),
        briefing: scenario.map(drill::briefing).transpose()?,
        state_directory,
        theme: None,
    };
    let exit = tui::run(&config, runbook, start).map_err(|e| e.explanation())?;
    output::line(&exit.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn loaded(path: Option<&Path>) -> Result<Config, Explanation> {
    config::load(path).map_err(|e| e.explanation())
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
