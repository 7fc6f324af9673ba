//! Restarting a server that was agreed to be restarted, as it was started: with its own options
//! and into its own log. A server that systemd runs is left to systemd.

use super::error::InitError;
use crate::engine::postgres::child;
use crate::engine::postgres::control::last_lines;
pub use crate::engine::postgres::control::service_of;
use crate::engine::postgres::discovery::{self, Binaries, Owner, Running};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long stop and start may take together.
const LIMIT: Duration = Duration::from_secs(300);
/// The sessions' longest wait for the stop, which `pg_ctl` is told.
const PATIENCE: &str = "240";

/// Restarts it and waits until it is ready.
///
/// # Errors
/// [`InitError::Supervised`] where systemd must do it; [`InitError::Restart`] with the log's last
/// lines where it did not come up.
pub fn restart(
    data_directory: &Path,
    binaries: &Binaries,
    owner: &Owner,
    cluster: &str,
) -> Result<(), InitError> {
    if let Some(service) = service_of(data_directory) {
        return Err(InitError::Supervised { service });
    }
    let log = log_of(data_directory)
        .unwrap_or_else(|| data_directory.with_file_name(format!("{cluster}.log")));
    let mark = fs::metadata(&log).map_or(0, |found| found.len());
    let failed = |said: String| InitError::Restart { said };
    let mut command = child::command(binaries.program("pg_ctl"), owner)
        .map_err(|error| failed(error.to_string()))?;
    command
        .args(["restart", "-s", "-w", "-m", "fast", "-t", PATIENCE, "-D"])
        .arg(data_directory)
        .arg("-l")
        .arg(&log);
    let ended = child::run(command, LIMIT).map_err(|error| failed(error.to_string()))?;
    if ended.ok() {
        return Ok(());
    }
    let lines = last_lines(&log, mark, 8);
    Err(failed(format!("{}; {} ends: {}", ended.said(), log.display(), lines.join(" | "))))
}

/// The file that the server writes its messages to, where that is one.
#[must_use]
pub fn log_of(data_directory: &Path) -> Option<PathBuf> {
    let Running::Yes(postmaster) = discovery::running(data_directory).ok()? else { return None };
    let target = fs::read_link(format!("/proc/{}/fd/2", postmaster.pid)).ok()?;
    (target.is_absolute() && target != Path::new("/dev/null") && target.is_file()).then_some(target)
}
