//! The driver over PostgreSQL's own `pg_ctl`, run as the data directory's owner.

use super::log::open_log;
use super::{
    ControlError, Driver, LOG_LINES, StartOptions, StartWait, Started, StopMode, Stopped, checked,
    last_lines, started,
};
use crate::engine::postgres::child::{self, Finished};
use crate::engine::postgres::discovery::{Binaries, Owner, Running};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much longer than its own limit `pg_ctl` may take before it is given up.
const GRACE: Duration = Duration::from_secs(15);

/// A server controlled by `pg_ctl`.
#[derive(Debug, Clone)]
pub struct PgCtl {
    binaries: Binaries,
    owner: Owner,
    data_directory: PathBuf,
    log: PathBuf,
    config_file: Option<PathBuf>,
}

impl PgCtl {
    #[must_use]
    pub fn new(binaries: Binaries, owner: Owner, data_directory: &Path, log: PathBuf) -> Self {
        Self { binaries, owner, data_directory: data_directory.to_owned(), log, config_file: None }
    }

    /// With `postgresql.conf` at that path, where it is not in the data directory.
    #[must_use]
    pub fn configured_by(self, config_file: Option<PathBuf>) -> Self {
        Self { config_file, ..self }
    }

    pub(super) fn bin_directory(&self) -> &Path {
        &self.binaries.directory
    }

    /// Where files are, for a server that would not find them by its data directory.
    fn layout(&self) -> Vec<(String, String)> {
        let Some(file) = &self.config_file else { return Vec::new() };
        [("config_file", file), ("data_directory", &self.data_directory)]
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .to_vec()
    }

    fn command(&self, action: &str) -> Result<Command, ControlError> {
        let program = self.binaries.program("pg_ctl");
        let mut command = child::command(&program, &self.owner)
            .map_err(|source| ControlError::Run { program, source })?;
        command.arg(action).arg("-s").arg("-D").arg(&self.data_directory);
        Ok(command)
    }

    fn run(&self, command: Command, limit: Duration) -> Result<Finished, ControlError> {
        child::run(command, limit.saturating_add(GRACE)).map_err(|source| ControlError::Run {
            program: self.binaries.program("pg_ctl"),
            source,
        })
    }

    fn waiting(&self, action: &str, limit: Duration) -> Result<Command, ControlError> {
        let mut command = self.command(action)?;
        command.args(["-w", "-t", &limit.as_secs().max(1).to_string()]);
        Ok(command)
    }

    fn failed_start(&self, said: String, log: &Path, mark: u64) -> ControlError {
        ControlError::StartFailed {
            directory: self.data_directory.clone(),
            said,
            log: last_lines(log, mark, LOG_LINES),
        }
    }

    /// Waits until `pg_ctl` has ended or the server process has its data directory.
    fn wait_begun(
        &self,
        mut command: Command,
        limit: Duration,
        log: &Path,
        mark: u64,
    ) -> Result<Started, ControlError> {
        let program = self.binaries.program("pg_ctl");
        let run = |source| ControlError::Run { program: program.clone(), source };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut waiting = command.spawn().map_err(run)?;
        let end = Instant::now() + limit;
        loop {
            let ended = child::wait(&mut waiting, Duration::from_millis(10)).map_err(run)?;
            let running = self.status()?;
            if let Running::Yes(postmaster) = &running {
                if ended.is_none() {
                    // It only watches; the server is its own process and goes on.
                    let _ = waiting.kill();
                    let _ = waiting.wait();
                }
                return Ok(started(postmaster.readiness));
            }
            if ended.is_some() {
                return Err(self.failed_start(String::from("it ended at once."), log, mark));
            }
            if Instant::now() >= end {
                let _ = waiting.kill();
                let _ = waiting.wait();
                let said = format!("no server process within {} s.", limit.as_secs());
                return Err(self.failed_start(said, log, mark));
            }
        }
    }
}

impl Driver for PgCtl {
    fn data_directory(&self) -> &Path {
        &self.data_directory
    }

    fn log(&self) -> &Path {
        &self.log
    }

    fn start(&self, options: &StartOptions) -> Result<Started, ControlError> {
        if let Running::Yes(_) = self.status()? {
            return Ok(Started::AlreadyRunning);
        }
        let log = options.log.as_ref().unwrap_or(&self.log);
        let mark = open_log(log, &self.owner)
            .map_err(|source| ControlError::Log { path: log.clone(), source })?;
        let (StartWait::Ready(limit) | StartWait::Begun(limit)) = options.wait;
        let mut command = self.waiting("start", limit)?;
        command.arg("-l").arg(log);
        let mut settings = self.layout();
        settings.extend(options.settings.iter().cloned());
        if !settings.is_empty() {
            command.arg("-o").arg(settings_line(&settings)?);
        }
        // Programs next to pg_ctl, whatever is first in PATH.
        command.arg("-p").arg(self.binaries.program("postgres"));
        if let StartWait::Begun(limit) = options.wait {
            return self.wait_begun(command, limit, log, mark);
        }
        let finished = self.run(command, limit)?;
        match (finished.ok(), self.status()?) {
            (true, Running::Yes(postmaster)) => Ok(started(postmaster.readiness)),
            (false, Running::Yes(_)) => Err(ControlError::StillStarting {
                directory: self.data_directory.clone(),
                limit,
                log: last_lines(log, mark, LOG_LINES),
            }),
            (_, Running::No | Running::Stale { .. }) => {
                Err(self.failed_start(finished.said(), log, mark))
            }
        }
    }

    fn stop(&self, mode: StopMode, limit: Duration) -> Result<Stopped, ControlError> {
        if !matches!(self.status()?, Running::Yes(_)) {
            return Ok(Stopped::WasDown);
        }
        let mut command = self.waiting("stop", limit)?;
        command.args(["-m", mode.word()]);
        let finished = self.run(command, limit)?;
        // The truth is in the data directory, not in an exit code.
        if !matches!(self.status()?, Running::Yes(_)) {
            return Ok(Stopped::Stopped);
        }
        let directory = self.data_directory.clone();
        let log = last_lines(&self.log, 0, LOG_LINES);
        if finished.ok() || finished.said().contains("does not shut down") {
            Err(ControlError::StillRunning { directory, limit, mode, log })
        } else {
            Err(ControlError::StopFailed { directory, said: finished.said(), log })
        }
    }

    fn promote(&self, limit: Duration) -> Result<(), ControlError> {
        let directory = || self.data_directory.clone();
        if !matches!(self.status()?, Running::Yes(_)) {
            return Err(ControlError::NotRunning { directory: directory(), action: "be promoted" });
        }
        let finished = self.run(self.waiting("promote", limit)?, limit)?;
        if finished.ok() {
            return Ok(());
        }
        let log = last_lines(&self.log, 0, LOG_LINES);
        Err(ControlError::PromoteFailed { directory: directory(), said: finished.said(), log })
    }
}

/// `-c name=value`, each quoted for the shell that `pg_ctl` hands them to.
pub(super) fn settings_line(all: &[(String, String)]) -> Result<String, ControlError> {
    let mut parts = Vec::with_capacity(all.len());
    for (name, value) in all {
        checked(name, value)?;
        parts.push(format!("-c {}", shell_quoted(&format!("{name}={value}"))));
    }
    Ok(parts.join(" "))
}

pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_for_the_shell() {
        let all = [
            (String::from("listen_addresses"), String::new()),
            (String::from("a.b"), String::from("it's $HOME `x` \\")),
        ];
        assert_eq!(
            settings_line(&all).unwrap(),
            r"-c 'listen_addresses=' -c 'a.b=it'\''s $HOME `x` \'"
        );
    }

    #[test]
    fn a_setting_that_could_be_another_option_is_refused() {
        for (name, value) in [("a b", "1"), ("", "1"), ("a;b", "1"), ("a", "1\n-c b=2")] {
            assert!(settings_line(&[(name.to_owned(), value.to_owned())]).is_err(), "{name:?}");
        }
    }
}
