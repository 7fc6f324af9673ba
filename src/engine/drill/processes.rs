//! The processes of one sandbox: found by what the kernel says of them, ended in order. Never
//! touches a process that is not a server or a runner of that very sandbox.

use super::error::DrillError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROC: &str = "/proc";

/// Ends every server and every Lifeboat of the sandbox at `root`, gently first.
///
/// # Errors
/// Where some are there still after `limit`.
pub fn end_all_of(root: &Path, limit: Duration) -> Result<(), DrillError> {
    end(root, limit, |_| true)
}

/// Ends every Lifeboat of the sandbox at `root`, gently first; its servers run on.
///
/// # Errors
/// Where some are there still after `limit`.
pub fn end_lifeboats_of(root: &Path, limit: Duration) -> Result<(), DrillError> {
    end(root, limit, |process| !process.server)
}

/// Ends every runner of the sandbox at `root`, gently first, and nothing else of it.
///
/// # Errors
/// Where some are there still after `limit`.
pub fn end_runners_of(root: &Path, limit: Duration) -> Result<(), DrillError> {
    end(root, limit, |process| is_runner(process.pid))
}

fn end(root: &Path, limit: Duration, which: fn(&Process) -> bool) -> Result<(), DrillError> {
    let begun = Instant::now();
    let mut round = 0_u32;
    loop {
        // What cannot be looked for has not ended: nothing is removed below a server that may run.
        let mut found =
            of(root).map_err(DrillError::file(Path::new(PROC), "it cannot be listed"))?;
        found.retain(which);
        if found.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > limit {
            let pids = found.iter().map(|process| process.pid).collect();
            return Err(DrillError::StillRunning { root: root.to_path_buf(), pids });
        }
        // Asked once; what still lives in the last third of the time is forced.
        let force = begun.elapsed() > limit * 2 / 3;
        if round == 0 || force {
            for process in &found {
                let signal = match (force, process.server) {
                    (true, _) => Signal::SIGKILL,
                    // Immediate shutdown: the server removes its shared memory as it goes.
                    (false, true) => Signal::SIGQUIT,
                    (false, false) => Signal::SIGTERM,
                };
                // Gone already is what was wanted.
                let _ = kill(Pid::from_raw(process.pid), signal);
            }
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Ids of the processes of the sandbox at `root`.
#[must_use]
pub fn pids_of(root: &Path) -> Vec<i32> {
    of(root).unwrap_or_default().into_iter().map(|process| process.pid).collect()
}

/// Whoever is still at work in the sandbox at `root`, whatever its program: a server or a runner of
/// it, or a process that works in its folder, runs a program of it or was given a path in it. Not
/// ourselves, and nobody who waits for us.
///
/// # Errors
/// Where the processes cannot be listed.
pub fn at_work_in(root: &Path) -> io::Result<Vec<(i32, String)>> {
    let waiting = ancestors();
    let others = pids()?.into_iter().filter(|pid| !waiting.contains(pid));
    let at_work = others.filter(|pid| belongs(*pid, root).is_some() || works_in(*pid, root));
    Ok(at_work.map(|pid| (pid, name_of(pid))).collect())
}

fn works_in(pid: i32, root: &Path) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let leads_in = |link: &str| {
        fs::read_link(folder.join(link)).is_ok_and(|path| {
            // Of what was removed the kernel says so behind the name.
            let text = path.to_string_lossy();
            Path::new(text.trim_end_matches(" (deleted)")).starts_with(root)
        })
    };
    let given = || {
        let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
        let within = [root.as_os_str().as_encoded_bytes(), b"/"].concat();
        arguments.split(|byte| *byte == 0).any(|argument| argument.starts_with(&within))
    };
    leads_in("cwd") || leads_in("exe") || given()
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// This process and those that it comes from.
fn ancestors() -> Vec<i32> {
    let mut all = Vec::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && !all.contains(pid)) {
        all.push(pid);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        next = parent.and_then(|parent| parent.parse().ok());
    }
    all
}

/// The runners of the sandbox at `root`.
#[must_use]
pub fn runners_of(root: &Path) -> Vec<i32> {
    pids_of(root).into_iter().filter(|pid| is_runner(*pid)).collect()
}

fn is_runner(pid: i32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(1) == Some(b"runner")
}

/// Whether a process was stopped and waits to be let go on.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// The terminal of a process, by the kernel's number; `None` where it has none.
#[must_use]
pub fn terminal_of(pid: i32) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // State, parent, group, session, terminal.
    let number: i64 = stat.rsplit(") ").next()?.split(' ').nth(4)?.parse().ok()?;
    (number != 0).then_some(number)
}

struct Process {
    pid: i32,
    server: bool,
}

fn of(root: &Path) -> io::Result<Vec<Process>> {
    let us = std::process::id();
    let others = pids()?.into_iter().filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != us));
    Ok(others.filter_map(|pid| belongs(pid, root)).collect())
}

fn pids() -> io::Result<Vec<i32>> {
    pids_in(Path::new(PROC))
}

/// A listing without ourselves is none of all processes.
fn pids_in(proc: &Path) -> io::Result<Vec<i32>> {
    let entries = fs::read_dir(proc)?;
    let all: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    match i32::try_from(std::process::id()) {
        Ok(us) if all.contains(&us) => Ok(all),
        _ => Err(io::Error::other("it does not tell of this process")),
    }
}

/// A server works in its data directory; a Lifeboat names the sandbox's configuration.
fn belongs(pid: i32, root: &Path) -> Option<Process> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let program = fs::read_link(folder.join("exe")).ok()?;
    let name = program.file_name()?.to_str()?;
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    match name {
        "postgres" => {
            let inside = fs::read_link(folder.join("cwd")).ok()?.starts_with(root);
            (inside && !is_child_server(&folder)).then_some(Process { pid, server: true })
        }
        "lifeboat" => {
            let arguments = fs::read(folder.join("cmdline")).ok()?;
            let config = root.join("lifeboat.toml");
            let named = arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == config.as_os_str().as_encoded_bytes());
            (named || program.starts_with(root)).then_some(Process { pid, server: false })
        }
        _ => None,
    }
}

/// Backends end with their postmaster; a signal to each by itself would only race with it. One
/// whose postmaster is gone stands alone and counts.
fn is_child_server(folder: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(folder.join("stat")) else { return false };
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
    let Some(parent) = parent else { return false };
    let own = fs::read_link(folder.join("exe")).ok();
    let its = fs::read_link(format!("/proc/{parent}/exe")).ok();
    own.is_some() && own == its
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_in_the_folder_are_no_processes_of_the_sandbox() {
        let folder = tempfile::tempdir().unwrap();
        let mut stranger = std::process::Command::new("sleep")
            .arg("60")
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        let found = pids_of(folder.path());
        let at_work = at_work_in(folder.path()).unwrap();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(found.is_empty());
        // Nobody ends them, and nobody says either that nobody is there.
        let pid = i32::try_from(stranger.id()).unwrap();
        assert_eq!(at_work, [(pid, String::from("sleep"))]);
        assert_eq!(at_work_in(folder.path()).unwrap(), []);
    }

    #[test]
    fn whoever_was_given_a_path_in_it_is_at_work_in_it_and_whoever_waits_for_us_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("shop.log");
        fs::write(&log, "").unwrap();
        let mut reader = std::process::Command::new("tail").arg("-f").arg(&log).spawn().unwrap();
        let found = at_work_in(folder.path()).unwrap();
        reader.kill().unwrap();
        reader.wait().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let us = i32::try_from(std::process::id()).unwrap();
        assert!(ancestors().contains(&us) && ancestors().len() > 1);
    }

    #[test]
    fn what_cannot_be_listed_is_no_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        assert!(pids_in(&folder.path().join("none")).is_err());
        assert!(pids_in(folder.path()).is_err(), "we are not in it");
        assert!(pids().is_ok());
    }
}
