//! The driver over Debian's `pg_ctlcluster`. It knows the cluster by version and name, and its own
//! configuration says which data directory that is: a cluster of another data directory is never
//! touched. Settings of one start go on the server's command line, as with `pg_ctl`.

use super::log::open_log;
use super::pg_ctl::settings_line;
use super::wait::{self, Helper, Mark};
use super::{ControlError, Driver, StartOptions, Started, StopMode, Stopped};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{Owner, Running};
use crate::engine::postgres::layout::{self, DebianCluster};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "pg_ctlcluster";
/// How long a reload may take.
/// How much longer than its own limit `pg_ctl` may take before it is given up.
const GRACE: Duration = Duration::from_secs(15);

/// A cluster that `pg_createcluster` made.
#[derive(Debug, Clone)]
pub struct PgCtlcluster {
    debian: DebianCluster,
    bin_directory: Option<PathBuf>,
    owner: Owner,
    data_directory: PathBuf,
    log: PathBuf,
}

impl PgCtlcluster {
    /// # Errors
    /// Where the cluster of that name is not there or has another data directory.
    pub fn new(
        debian: DebianCluster,
        bin_directory: Option<PathBuf>,
        owner: Owner,
        data_directory: &Path,
    ) -> Result<Self, ControlError> {
        let stated = layout::stated_data_directory(&debian.config_file);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Between the moving aside and the restore the directory is not there: by name then.
        if stated.as_deref().map(real) != Some(real(data_directory)) {
            return Err(ControlError::OtherCluster {
                cluster: format!("{}/{}", debian.version, debian.name),
                config_file: debian.config_file,
                found: stated,
                directory: data_directory.to_owned(),
            });
        }
        let log = PathBuf::from(format!(
            "/var/log/postgresql/postgresql-{}-{}.log",
            debian.version, debian.name
        ));
        Ok(Self { debian, bin_directory, owner, data_directory: data_directory.to_owned(), log })
    }

    /// As root where we are: it makes folders that are missing and hands over to systemd, and
    /// becomes the server's user by itself.
    fn command(&self, action: &str, before: &[&str]) -> Result<Command, ControlError> {
        let us = Owner::current();
        let user = if us.uid == 0 { &us } else { &self.owner };
        let mut command = child::command(PROGRAM, user)
            .map_err(|source| ControlError::Run { program: PathBuf::from(PROGRAM), source })?;
        if let Some(directory) = &self.bin_directory {
            command.arg("--bindir").arg(directory);
        }
        command.args(before);
        command.arg(self.debian.version.to_string()).arg(&self.debian.name).arg(action);
        Ok(command)
    }
}

impl Driver for PgCtlcluster {
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
        let line = settings_line(&options.settings)?;
        let own = ["-o", line.as_str()];
        let mut command = self.command("start", if line.is_empty() { &[] } else { &own })?;
        let mut mark = Mark { log, from: std::fs::metadata(log).map_or(0, |found| found.len()) };
        if let Some(log) = &options.log {
            mark.from = open_log(log, &self.owner)
                .map_err(|source| ControlError::Log { path: log.clone(), source })?;
            // It looks for the server where postgresql.conf says, which may not be so this time.
            command.args(["--", "-W", "-l"]).arg(log);
        }
        let mut helper = Helper::begin(command)?;
        let ended_well = || Ok(Some(String::from("it ended at once.")));
        let result = wait::for_start(self, &mut helper, options.wait, mark, &ended_well);
        // It only watches; the server is its own process and goes on.
        helper.kill();
        result
    }

    fn stop(&self, mode: StopMode, limit: Duration) -> Result<Stopped, ControlError> {
        if !matches!(self.status()?, Running::Yes(_)) {
            return Ok(Stopped::WasDown);
        }
        let mut helper = Helper::begin(self.command("stop", &["-m", mode.word()])?)?;
        let stopped = wait::for_stop(self, &mut helper, mode, limit);
        helper.leave();
        stopped
    }

    fn promote(&self, limit: Duration) -> Result<(), ControlError> {
        self.expect_running("be promoted")?;
        let mut command = self.command("promote", &[])?;
        command.args(["--", "-w", "-t", &limit.as_secs().max(1).to_string()]);
        let (ok, said) = Helper::begin(command)?.finish(limit.saturating_add(GRACE))?;
        if ok { Ok(()) } else { Err(self.promote_failed(said)) }
    }
}
