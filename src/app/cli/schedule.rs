//! `schedule`, `install-units`: the scheduler in the foreground, and its systemd unit.

use super::args::{InstallUnits, Schedule};
use super::output;
use super::vigil;
use crate::engine::audit::keeper;
use crate::engine::config::{Cluster, Config};
use crate::engine::desk;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::moments;
use crate::engine::notify::messenger;
use crate::engine::readiness::{Readiness, gather};
use crate::engine::runbook::Runbook;
use crate::engine::schedule::jobs::Everyday;
use crate::engine::schedule::run::{Alone, Scheduler, Stop, Told};
use crate::engine::schedule::units::{Installed, UNIT, Unit};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use nix::unistd::{Uid, User};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const MESSAGES_EVERY: Duration = Duration::from_secs(30);
const ANCHORS_EVERY: Duration = Duration::from_secs(60);
const CATALOGUE_EVERY: Duration = Duration::from_secs(60);
/// The first page comes when what was due at the start is likely done.
const READINESS_FIRST: Duration = Duration::from_secs(60);
const READINESS_LOOK: Duration = Duration::from_secs(60);
const READINESS_EVERY: Duration = Duration::from_secs(3_600);

pub(super) fn schedule(config: &Config, args: &Schedule) -> Result<ExitCode, Explanation> {
    let clusters = match &args.cluster {
        Some(name) => vec![desk::named(config, name)?.clone()],
        None => config.clusters.clone(),
    };
    let runbook = Runbook::load(config.runbook.as_deref())
        .map_err(|e| crate::engine::explain::Explain::explanation(&e))?;
    let state_directory = config.state_directory();
    let _alone = Alone::take(&state_directory)?;
    let stop = Arc::new(Stop::default());
    let runtime = super::runtime()?;
    listen(&runtime, &stop)?;
    let chores = Everyday::new(config, &runbook, runtime.handle().clone());
    // A log that cannot be written ends nothing: the work matters more.
    let json = args.json;
    let tell = move |told: &Told| drop(say(told, json));
    let mut scheduler = Scheduler::new(&clusters, &state_directory, &chores, &tell);
    if args.once {
        scheduler.pass(&Timestamp::now, &|| stop.asked())?;
        keeper::bring_left(config);
        feed_catalogue(config, runtime.handle());
        keep_readiness(config, &clusters, &runbook, runtime.handle());
        return Ok(if scheduler.sound() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(super::status::PROBLEM)
        });
    }
    let messages = left_messages(config, &runbook, &stop);
    let anchors = left_anchors(config, &stop);
    let catalogue = left_rows(config, &stop, runtime.handle());
    let pages = readiness_pages(config, &clusters, &runbook, &stop, runtime.handle());
    let ended = scheduler.run(&stop);
    stop.ask();
    // Its deliveries have a limit of their own.
    let _ = messages.map(std::thread::JoinHandle::join);
    // A repository that hangs is not waited for: nothing of an anchor is half done.
    drop((anchors, catalogue, pages));
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Has somebody called or reminded where no runner is alive, and brings channels the messages that a
/// runner could not deliver before it ended.
fn left_messages(
    config: &Config,
    runbook: &Runbook,
    stop: &Arc<Stop>,
) -> Option<std::thread::JoinHandle<()>> {
    if config.channels.is_empty() {
        return None;
    }
    let (config, runbook, stop) = (config.clone(), runbook.clone(), Arc::clone(stop));
    let follow = move || {
        while !stop.wait(MESSAGES_EVERY) {
            vigil::wake(&config, &runbook);
            messenger::deliver_left(&config.channels, &runbook, &config.state_directory());
        }
    };
    std::thread::Builder::new().name(String::from("messages")).spawn(follow).ok()
}

/// Brings repositories the anchors that they lacked when a runner ended.
fn left_anchors(config: &Config, stop: &Arc<Stop>) -> Option<std::thread::JoinHandle<()>> {
    let (config, stop) = (config.clone(), Arc::clone(stop));
    let follow = move || {
        while !stop.wait(ANCHORS_EVERY) {
            keeper::bring_left(&config);
        }
    };
    std::thread::Builder::new().name(String::from("anchors")).spawn(follow).ok()
}

/// Sends the catalogue what it lacks, now and then.
fn left_rows(
    config: &Config,
    stop: &Arc<Stop>,
    runtime: &tokio::runtime::Handle,
) -> Option<std::thread::JoinHandle<()>> {
    config.catalogue.as_ref()?;
    let (config, stop, runtime) = (config.clone(), Arc::clone(stop), runtime.clone());
    let follow = move || {
        while !stop.wait(CATALOGUE_EVERY) {
            feed_catalogue(&config, &runtime);
        }
    };
    std::thread::Builder::new().name(String::from("catalogue")).spawn(follow).ok()
}

/// Keeps what a recovery would meet for the home screen, now and then.
fn readiness_pages(
    config: &Config,
    clusters: &[Cluster],
    runbook: &Runbook,
    stop: &Arc<Stop>,
    runtime: &tokio::runtime::Handle,
) -> Option<std::thread::JoinHandle<()>> {
    let (config, clusters, runbook) = (config.clone(), clusters.to_vec(), runbook.clone());
    let (stop, runtime) = (Arc::clone(stop), runtime.clone());
    let follow = move || {
        let mut wait = READINESS_FIRST;
        while !stop.wait(wait) {
            keep_readiness(&config, &clusters, &runbook, &runtime);
            wait = READINESS_LOOK;
        }
    };
    std::thread::Builder::new().name(String::from("readiness")).spawn(follow).ok()
}

/// Makes pages that are an hour old anew. One that cannot be kept is no job's failure: the home
/// screen tells the age of the last one.
fn keep_readiness(
    config: &Config,
    clusters: &[Cluster],
    runbook: &Runbook,
    runtime: &tokio::runtime::Handle,
) {
    let state = config.state_directory();
    let is_new = |page: &Readiness| {
        let age = Timestamp::now().duration_since(page.at);
        age.unsigned_abs() < READINESS_EVERY
    };
    for cluster in clusters {
        if gather::kept(&state, &cluster.name).as_ref().is_some_and(is_new) {
            continue;
        }
        let page = gather::readiness(config, cluster, runbook, runtime);
        if let Err(error) = gather::keep(&state, &page) {
            let name = &cluster.name;
            output::warn(&format!("the readiness page of {name} could not be kept: {error}"));
        }
    }
}

/// What is wrong with the catalogue is no job's failure: `catalogue status` tells it.
fn feed_catalogue(config: &Config, runtime: &tokio::runtime::Handle) {
    if config.catalogue.is_some() {
        let _ = crate::engine::catalogue::sync::everything(config, runtime);
    }
}

/// SIGTERM and SIGINT end the work in hand cleanly.
pub(super) fn listen(
    runtime: &tokio::runtime::Runtime,
    stop: &Arc<Stop>,
) -> Result<(), Explanation> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| {
        Explanation::new(
            Kind::Internal,
            format!("Lifeboat could not listen for signals: {error}."),
            "Nothing was run.",
            "Look at the limits on processes and files of this user.",
        )
    };
    let _inside = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signals = signal(kind).map_err(failed)?;
        let stop = Arc::clone(stop);
        runtime.spawn(async move {
            signals.recv().await;
            stop.ask();
        });
    }
    Ok(())
}

fn say(told: &Told, json: bool) -> Result<(), Explanation> {
    if json {
        return output::json_line(told);
    }
    let line = |at: &Timestamp, cluster: &str, text: String| {
        // To the second, so that lines stand under each other.
        let at = Timestamp::from_second(at.as_second()).unwrap_or(*at);
        output::line(&format!("{}  {cluster}: {text}", moments::echo(at, &TimeZone::UTC)))
    };
    match told {
        Told::Begins { at, cluster, job, reason } => {
            line(at, cluster, format!("{} begins{}", job.word(), reason.words()))
        }
        Told::Done { at, cluster, job, seconds, said } => {
            line(at, cluster, format!("{} done in {seconds:.1} s: {said}", job.word()))
        }
        // Somebody ended it; that is nobody's failure.
        Told::Failed { at, cluster, job, error, .. } if error.kind == Kind::Cancelled => {
            line(at, cluster, format!("{} stopped. {error}", job.word()))
        }
        Told::Failed { at, cluster, job, error, .. } => {
            line(at, cluster, format!("{} FAILED. {error}", job.word()))
        }
        Told::Alarm { at, cluster, alarm } => line(at, cluster, format!("ALARM: {}", alarm.text)),
        Told::Cleared { at, cluster, alarm } => {
            line(at, cluster, format!("alarm over: {}", alarm.text))
        }
        Told::Next { at, cluster, job, due } => line(
            at,
            cluster,
            format!("next {}: {}", job.word(), moments::echo(*due, &TimeZone::UTC)),
        ),
    }
}

pub(super) fn install_units(config: &Config, args: &InstallUnits) -> Result<ExitCode, Explanation> {
    let program = std::env::current_exe().map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("Lifeboat cannot tell where its own program is: {error}."),
            "Nothing was written.",
            "Start it by its full path.",
        )
    })?;
    let user = match &args.user {
        Some(user) => user.clone(),
        None => owner(config)?,
    };
    one_state(config, &user)?;
    room_for_drills(config)?;
    let unit = Unit {
        program,
        config: config.path.clone(),
        user,
        state_directory: config.state_directory(),
        writes: writes(config),
    };
    if args.dry_run {
        output::line(unit.text()?.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let installed = unit.install(&args.directory)?;
    let path = args.directory.join(UNIT);
    match installed {
        Installed::Written => output::line(&format!("{} is written.", path.display()))?,
        Installed::Unchanged => output::line(&format!("{} is there already.", path.display()))?,
    }
    if !unit.system_state() {
        output::line(&format!(
            "{} must be there and belong to {}.",
            unit.state_directory.display(),
            unit.user
        ))?;
    }
    output::line(&format!(
        "It runs as {}, and keeps what it did in {}. Start it:\n  systemctl daemon-reload\n  \
         systemctl enable --now {UNIT}\n  journalctl -fu {UNIT}",
        unit.user,
        unit.state_directory.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses where the unit's user would keep its state elsewhere than the one who asks now: each
/// would know nothing of the other's incidents and restores.
fn one_state(config: &Config, user: &str) -> Result<(), Explanation> {
    let me = User::from_uid(Uid::effective()).ok().flatten().map(|me| me.name);
    if config.state_directory.is_some() || me.as_deref() == Some(user) {
        return Ok(());
    }
    Err(Explanation::new(
        Kind::Config,
        format!(
            "The configuration names no state_directory, so that {user} would keep the scheduler's \
             notes elsewhere than other users."
        ),
        "Nothing was written.",
        format!(
            "Put this line at the top of {}: state_directory = \"/var/lib/lifeboat\".",
            config.path.display()
        ),
    ))
}

/// The owner of the clusters' data directories, who may read them and whom the server trusts.
fn owner(config: &Config) -> Result<String, Explanation> {
    let mut owners: Vec<u32> = config
        .clusters
        .iter()
        .filter_map(|cluster| std::fs::metadata(&cluster.data_directory).ok())
        .map(|found| found.uid())
        .collect();
    owners.sort_unstable();
    owners.dedup();
    let name = |uid: u32| User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    match owners.as_slice() {
        [only] => name(*only),
        _ => None,
    }
    .ok_or_else(|| {
        Explanation::new(
            Kind::Config,
            "The user that the scheduler should run as is not clear: the clusters' data \
             directories cannot be seen, or have different owners.",
            "Nothing was written.",
            "Say it with --user; root may read all of them.",
        )
    })
}

/// Folders that the scheduler writes to.
fn writes(config: &Config) -> Vec<PathBuf> {
    use crate::engine::config::StoreConfig;
    let mut folders = vec![config.state_directory()];
    for repository in &config.repositories {
        if let StoreConfig::File { path } = &repository.store {
            // Up to the part that stands for the cluster.
            let fixed = |part: &&Path| !part.to_string_lossy().contains('{');
            folders.extend(path.ancestors().find(fixed).map(Path::to_owned));
        }
    }
    if config.clusters.iter().any(|cluster| cluster.schedule.drill.is_some()) {
        folders.extend(config.sandbox.directory.clone());
    }
    folders.sort();
    folders.dedup();
    folders
}

/// Refuses a weekly drill whose sandbox would be in the unit's own folder, which is in memory.
fn room_for_drills(config: &Config) -> Result<(), Explanation> {
    let wants = |cluster: &&Cluster| cluster.schedule.drill.is_some();
    match config.clusters.iter().find(wants) {
        Some(cluster) if config.sandbox.directory.is_none() => Err(Explanation::new(
            Kind::Config,
            format!(
                "schedule.drill of \"{}\" wants a drill each week, and no sandbox.directory says \
                 where there is room for it.",
                cluster.name
            ),
            "Nothing was written.",
            format!(
                "Put [sandbox] and directory = \"…\" into {}: a folder that the unit's user owns, \
                 with three times the cluster's size free.",
                config.path.display()
            ),
        )),
        _ => Ok(()),
    }
}
