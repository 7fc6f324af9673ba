//! The sandbox's own server: made by `initdb`, started and stopped by `pg_ctl`, as the sandbox's
//! user. Serves drills alone; a cluster under recovery is handled by `postgres::control`.

use super::error::DrillError;
use super::fence;
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{Binaries, Owner};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// Seconds that `pg_ctl` waits for a start or a stop.
const PATIENCE: &str = "120";
/// No program of the sandbox takes longer, whatever the size.
const LIMIT: Duration = Duration::from_secs(1_800);

/// Where the server's programs, data and sockets are, and whose they are.
#[derive(Debug, Clone)]
pub struct Server {
    pub programs: Binaries,
    pub data: PathBuf,
    pub socket: PathBuf,
    pub port: u16,
    pub log: PathBuf,
    pub user: Owner,
}

impl Server {
    /// Runs one of the server's programs as its user and gives what it printed.
    ///
    /// # Errors
    /// Where it cannot be run or ends with another status than 0; the error has its last lines.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, DrillError> {
        let path = self.programs.program(program);
        let mut command = child::command(&path, &self.user)
            .map_err(DrillError::file(&path, "it could not be run"))?;
        command.args(arguments);
        let finished =
            child::run(command, LIMIT).map_err(DrillError::file(&path, "it could not be run"))?;
        if finished.ok() {
            return Ok(finished.stdout);
        }
        let mut output = last_lines(&finished.said());
        if program == "pg_ctl" && self.log.is_file() {
            output = format!("{output}; its log ends: {}", self.log_end());
        }
        Err(DrillError::Program { program: program.to_owned(), output })
    }

    /// Makes the cluster, with page checksums, and everybody trusted on a socket that only the
    /// server's user and root can reach.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn initdb(&self) -> Result<(), DrillError> {
        let data = self.data.display().to_string();
        let fixed = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-sync",
        ];
        let mut arguments = vec!["-D", data.as_str()];
        arguments.extend(fixed);
        self.run("initdb", &arguments).map(drop)
    }

    /// Starts the server with settings laid over its configuration, and waits until it answers.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn start(&self, overrides: &[(&str, &str)]) -> Result<(), DrillError> {
        let options: Vec<String> =
            overrides.iter().map(|(name, value)| format!("-c {name}={value}")).collect();
        let (data, log) = (self.data.display().to_string(), self.log.display().to_string());
        let options = options.join(" ");
        let mut arguments = vec!["start", "-w", "-t", PATIENCE, "-s", "-D", &data, "-l", &log];
        if !options.is_empty() {
            arguments.extend(["-o", &options]);
        }
        self.run("pg_ctl", &arguments).map(drop)
    }

    /// Starts the server and waits for nothing: a replay takes as long as it takes.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn begin(&self) -> Result<(), DrillError> {
        let (data, log) = (self.data.display().to_string(), self.log.display().to_string());
        self.run("pg_ctl", &["start", "-W", "-s", "-D", &data, "-l", &log]).map(drop)
    }

    /// What its log ends with.
    #[must_use]
    pub fn log_end(&self) -> String {
        last_lines(&fence::read(&self.log).unwrap_or_default())
    }

    /// Stops the server with a checkpoint and waits until it is gone.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn stop(&self) -> Result<(), DrillError> {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-w", "-t", PATIENCE, "-s", "-m", "fast", "-D", &data])
            .map(drop)
    }

    /// Ends the server at once, without a checkpoint.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn die(&self) -> Result<(), DrillError> {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-w", "-t", PATIENCE, "-s", "-m", "immediate", "-D", &data])
            .map(drop)
    }

    /// A connection as `user`; its driver ends with the client.
    ///
    /// # Errors
    /// Where the server does not take it.
    pub async fn connect(&self, user: &str, database: &str) -> Result<Client, DrillError> {
        let (client, connection) = tokio_postgres::Config::new()
            .host_path(&self.socket)
            .port(self.port)
            .user(user)
            .dbname(database)
            .application_name("shop")
            .connect_timeout(std::time::Duration::from_secs(10))
            .connect(NoTls)
            .await
            .map_err(DrillError::sql("it could not be reached"))?;
        // How the connection ends is seen by whoever uses the client.
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(5)..).unwrap_or(&[]).join(" | ")
}
