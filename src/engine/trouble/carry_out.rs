//! Cures carried out, each exactly as it was proposed. Looks again first; deletes nothing; says
//! what it did. What lasts beyond one start is given back as an adjustment for the journal.

use super::local::{free, is_free, is_free_in, strangers, used};
use super::machine::Machine;
use super::{
    FETCH_ELSEWHERE, FREE_PORT, GO_ON, OTHER_PORT, TELL_AGAIN, WITHOUT_LIBRARY, World, key,
    repository,
};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::trouble::{Adjustments, Cure, LOOK_AGAIN};
use crate::engine::postgres::control::StopMode;
use crate::engine::postgres::recovery_settings;
use crate::engine::restore::plan::beside;
use crate::engine::restore::steps::Site;
use crate::engine::runner::guard;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::work::Cured;
use crate::engine::wal::rescue;
use humansize::{BINARY, format_size};
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a repository is waited for.
const WAIT: Duration = Duration::from_secs(60);
/// How long the recovering server may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// Carries out a cure that leaves the plan as it is.
///
/// # Errors
/// Where it no longer fits, or did not help. The failed step stays as it is.
pub fn carry_out(machine: &Machine<'_>, cure: &Cure) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    site.confirm_place(plan)?;
    permitted(machine, cure)?;
    match cure.id.as_str() {
        "raise-settings" => raise(cure),
        FETCH_ELSEWHERE => fetch_elsewhere(machine, cure),
        GO_ON => Ok(done("It was seen that the file can be had")),
        "own-files" => own_files(site, plan, cure),
        "set-pid-file-aside" => set_pid_file_aside(machine),
        FREE_PORT => free_port(cure),
        OTHER_PORT => other_port(site, cure),
        TELL_AGAIN => {
            site.configure_anew(plan)?;
            Ok(done("The recovery's settings are written anew, as the plan has them"))
        }
        WITHOUT_LIBRARY => Ok(Cured {
            adjusted: Adjustments {
                without_libraries: cure.with.clone(),
                ..Adjustments::default()
            },
            ..done(format!("{} is left out at this recovery's own starts", cure.with.join(", ")))
        }),
        repository::WAIT => wait_for_repository(machine),
        repository::WITHOUT => without_repository(machine, cure),
        LOOK_AGAIN if cure.with.first().is_some_and(|with| with == key::TRIED) => try_key(machine),
        LOOK_AGAIN => look_again(site, cure),
        _ => Err(guard::refusal(
            format!("This version of Lifeboat does not know the cure \"{}\".", cure.id),
            "Carry it out by hand, then try the step again.",
        )),
    }
}

/// Once more at the cure itself: nothing of another ground is touched.
pub(super) fn permitted(machine: &Machine<'_>, cure: &Cure) -> Result<(), Explanation> {
    if machine.ground().permits(cure) {
        return Ok(());
    }
    Err(guard::refusal(
        format!("\"{}\" is no cure of this step: it might touch the old cluster.", cure.title),
        "Mend the cause by hand, then try the step again.",
    ))
}

pub(super) fn done(text: impl Into<String>) -> Cured {
    Cured { text: text.into(), ..Cured::default() }
}

pub(super) fn unfit(what: impl Into<String>) -> Explanation {
    guard::refusal(what, "Look again (r): the trouble is recognised anew.")
}

fn raise(cure: &Cure) -> Result<Cured, Explanation> {
    let [name, value] = cure.with.as_slice() else {
        return Err(unfit("The cure names no setting."));
    };
    let least: i64 = value.parse().map_err(|_| unfit("The cure names no value."))?;
    let minimums = vec![(name.clone(), least)];
    let adjusted = Adjustments { minimums, ..Adjustments::default() };
    Ok(Cured { adjusted, ..done(format!("{name} is raised to {least} for this recovery")) })
}

fn fetch_elsewhere(machine: &Machine<'_>, cure: &Cure) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    let name = cure.with.first().ok_or_else(|| unfit("The cure names no log file."))?;
    let aside = machine.old().join("pg_wal");
    if aside.is_dir() {
        let request = rescue::RescueRequest {
            pg_wal: &aside,
            system_identifier: plan.identity.system_identifier,
            archives: &site.archives(),
            into: Path::new(&plan.rescue),
        };
        rescue::rescue(&request, &|_, _| {}).map_err(|e| e.explanation())?;
    }
    let adjusted = Adjustments { all_repositories: true, ..Adjustments::default() };
    let asked = site.adjusted_by(&adjusted);
    let place = Machine::new(&asked, plan, machine.ground()).whereabouts(name);
    match place.found.first() {
        Some(found) => {
            tell_server(site, plan, &adjusted)?;
            Ok(Cured {
                adjusted,
                ..done(format!(
                    "{name} can be had from {found}; all repositories are asked from now on"
                ))
            })
        }
        None => Err(Explanation::new(
            Kind::NotFound,
            format!("{name} was found in no repository and not in {}.", machine.old_directory()),
            "The recovering server is down; nothing was changed.",
            "Bring the file back, or end the recovery before it.",
        )),
    }
}

fn own_files(site: &Site, plan: &Plan, cure: &Cure) -> Result<Cured, Explanation> {
    let (uid, gid) = site.owner(plan)?;
    let used = used(site.data(), plan);
    // Named then, and strange still: nothing else is touched.
    let strange: Vec<PathBuf> = strangers(&used, uid).into_iter().map(|s| s.path).collect();
    let mut mended = 0;
    for path in cure.with.iter().map(PathBuf::from).filter(|path| strange.contains(path)) {
        let failed = |e: std::io::Error| crate::engine::restore::steps::io(&e, "mend", &path);
        let metadata = fs::symlink_metadata(&path).map_err(failed)?;
        lchown(&path, Some(uid), Some(gid)).map_err(failed)?;
        if !metadata.is_symlink() {
            let mode = metadata.permissions().mode() & 0o7777;
            let mode =
                if metadata.is_dir() { (mode & 0o750) | 0o700 } else { (mode & 0o640) | 0o600 };
            let mode = if path == site.data() { mode & 0o700 } else { mode };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
        mended += 1;
    }
    if let Some(left) = strangers(&used, uid).first() {
        return Err(Explanation::new(
            Kind::Storage,
            format!("{mended} files were mended, and {} {}.", left.path.display(), left.why),
            "No content was touched.",
            "Try the step again (r): what is left is named anew.",
        ));
    }
    Ok(done(format!(
        "{mended} files and folders belong to the server's user now, closed to others"
    )))
}

fn set_pid_file_aside(machine: &Machine<'_>) -> Result<Cured, Explanation> {
    let site = machine.site();
    let proof = machine.pid_file_is_stale().map_err(|why| {
        Explanation::new(
            Kind::Refused,
            format!("The lock file may be in use: {why}."),
            "It stays where it is.",
            "See to that server first.",
        )
    })?;
    let path = site.data().join("postmaster.pid");
    let kept = beside(site.data(), "postmaster.pid", jiff::Timestamp::now());
    let failed = |e: std::io::Error| crate::engine::restore::steps::io(&e, "rename", &path);
    if kept.exists() {
        return Err(unfit(format!("{} is there already.", kept.display())));
    }
    fs::rename(&path, &kept).map_err(failed)?;
    files::sync_parent(&path).map_err(failed)?;
    Ok(done(format!("The left-over postmaster.pid is kept as {} ({proof})", kept.display())))
}

fn port_of(cure: &Cure) -> Result<u16, Explanation> {
    let port = cure.with.first().and_then(|port| port.parse().ok());
    port.ok_or_else(|| unfit("The cure names no port."))
}

fn other_port(site: &Site, cure: &Cure) -> Result<Cured, Explanation> {
    let port = port_of(cure)?;
    if !is_free_in(&site.closed()?.socket_directory, port) {
        return Err(unfit(format!("Port {port} was taken meanwhile.")));
    }
    let adjusted = Adjustments { beside_port: Some(port), ..Adjustments::default() };
    Ok(Cured { adjusted, ..done(format!("The new cluster is started at port {port}")) })
}

fn free_port(cure: &Cure) -> Result<Cured, Explanation> {
    let port = port_of(cure)?;
    if !is_free(port) {
        return Err(unfit(format!("Port {port} was taken meanwhile.")));
    }
    let adjusted = Adjustments { port: Some(port), ..Adjustments::default() };
    Ok(Cured {
        adjusted,
        ..done(format!("The database is opened on port {port} until its next start"))
    })
}

fn wait_for_repository(machine: &Machine<'_>) -> Result<Cured, Explanation> {
    let end = Instant::now() + WAIT;
    let needed = machine.site().asked(machine.plan());
    loop {
        let away = machine.repositories_away().into_iter();
        let away: Vec<_> = away.filter(|(name, _)| needed.contains(&name)).collect();
        let Some((name, why)) = away.first() else {
            return Ok(done("The repository answers again"));
        };
        if Instant::now() >= end {
            return Err(Explanation::new(
                Kind::Connection,
                format!("\"{name}\" still cannot be reached after {} s: {why}", WAIT.as_secs()),
                "What was copied and replayed is kept.",
                "Mend the way to it and accept this again; or end the recovery where the log was had.",
            ));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Where the server was told already what it fetches from, it is told anew.
fn tell_server(site: &Site, plan: &Plan, adjusted: &Adjustments) -> Result<(), Explanation> {
    let mut all = site.adjusted.clone();
    all.add(adjusted);
    let site = site.adjusted_by(&all);
    if recovery_settings::is_written(site.data()).map_err(|e| e.explanation())? {
        site.configure_anew(plan)?;
        // One that waits for more log is told by its next start, with which the step begins.
        if site.is_told_to_recover() && site.running()? {
            let driver = site.driver()?;
            driver.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        }
    }
    Ok(())
}

/// Only while it is still away, and while another answers.
fn without_repository(machine: &Machine<'_>, cure: &Cure) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    let away = machine.repositories_away();
    let is_away = |name: &String| away.iter().any(|(gone, _)| gone == name);
    if let Some(back) = cure.with.iter().find(|name| !is_away(name)) {
        return Err(unfit(format!("\"{back}\" answers again.")));
    }
    let left: Vec<&String> = site.asked(plan);
    if !left.iter().any(|name| !cure.with.contains(name) && !is_away(name)) {
        return Err(unfit("No other repository of the cluster answers now."));
    }
    let adjusted =
        Adjustments { without_repositories: cure.with.clone(), ..Adjustments::default() };
    tell_server(site, plan, &adjusted)?;
    let names: Vec<String> = cure.with.iter().map(|name| format!("\"{name}\"")).collect();
    Ok(Cured { adjusted, ..done(format!("This recovery goes on without {}", names.join(" and "))) })
}

/// What people have mended is tried before anything goes on.
fn try_key(machine: &Machine<'_>) -> Result<Cured, Explanation> {
    match machine.keys_denied().first() {
        None => Ok(done("The key was tried and opens the backups")),
        Some((at, why)) => Err(Explanation::new(
            Kind::Config,
            format!("The key still does not open ({at}): {why}"),
            "What was copied and replayed is kept.",
            "Mend the key and accept this again.",
        )),
    }
}

/// Less is no room that somebody made: a server that ends frees what it had begun to write.
const MADE_ROOM: u64 = 32 << 20;

fn look_again(site: &Site, cure: &Cure) -> Result<Cured, Explanation> {
    // Made room: only that is counted here; everything else the step itself looks at.
    let before: Option<u64> = cure.with.first().and_then(|free| free.parse().ok());
    let now = free(cure.with.get(1).map_or(site.data(), Path::new));
    if let (Some(before), Some(now)) = (before, now)
        && now < before.saturating_add(MADE_ROOM)
    {
        return Err(Explanation::new(
            Kind::Storage,
            format!(
                "There is no more room to speak of: {} are free, {} were when it was full.",
                format_size(now, BINARY),
                format_size(before, BINARY)
            ),
            "Nothing was changed.",
            "Move something to another disk or enlarge the volume, then look again.",
        ));
    }
    Ok(done("What was mended is looked at again"))
}
