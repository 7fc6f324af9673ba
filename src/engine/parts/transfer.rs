//! A whole database from one server into another: `pg_dump` of the source's version into
//! `pg_restore`, by a pipe, nothing staged on disk. Owns the two processes and their environment;
//! a password goes by the passfile's path alone.

use super::error::PartsError;
use super::sandbox::Sandbox;
use crate::engine::config::{Connection, Tls};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(100);
/// How much of what a program says is told.
const SAID: usize = 2_000;

/// What is transferred, and how.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// The database's name in the source; it gets the same in production.
    pub database: &'a str,
    /// Tablespaces of the source are not asked for.
    pub no_tablespaces: bool,
}

/// Makes the database in production, with everything in it. `tick` is called while it runs; its
/// `false` ends it.
///
/// # Errors
/// Where one of the programs fails; what it had made by then is there, and the caller removes it.
pub fn whole(
    sandbox: &Sandbox,
    production: &Connection,
    maintenance: &str,
    transfer: Transfer<'_>,
    tick: &mut dyn FnMut() -> bool,
) -> Result<(), PartsError> {
    let (from, into) = (sandbox.program("pg_dump"), sandbox.program("pg_restore"));
    let mut dumping = dump(sandbox, &from, transfer)?;
    let mut restoring = restore(&into, production, maintenance)?;
    for command in [&mut dumping, &mut restoring] {
        // By it their sessions are found, where they are left behind.
        command.env("PGAPPNAME", transfer.database);
        child::end_with_us(command);
    }
    let mut source = Running::start(&mut dumping, &from)?;
    let pipe = source.child.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let mut sink = match Running::start(restoring.stdin(pipe), &into) {
        Ok(sink) => sink,
        Err(error) => {
            source.end();
            return Err(error);
        }
    };
    // Until the command that holds the pipe's other end is gone, pg_dump would not hear that
    // nobody reads any more.
    drop(restoring);
    let ended = loop {
        let now = sink.child.try_wait().map_err(PartsError::file(&into, "it cannot be watched"))?;
        if let Some(status) = now {
            break status;
        }
        if !tick() {
            source.end();
            sink.end();
            return Err(PartsError::Engine(Explanation::new(
                Kind::Cancelled,
                "Carrying the database over was cancelled.",
                "Nothing in production was changed.",
                "Retry begins it anew.",
            )));
        }
        std::thread::sleep(LOOK);
    };
    if !ended.success() {
        source.end();
        return Err(PartsError::Program { program: String::from("pg_restore"), said: sink.said() });
    }
    let dumped = source.child.wait().map_err(PartsError::file(&from, "it cannot be watched"))?;
    if !dumped.success() {
        return Err(PartsError::Program { program: String::from("pg_dump"), said: source.said() });
    }
    Ok(())
}

fn dump(sandbox: &Sandbox, program: &Path, what: Transfer<'_>) -> Result<Command, PartsError> {
    let failed = PartsError::file(program, "it could not be run");
    let mut command = child::command(program, sandbox.owner()).map_err(failed)?;
    let connection = sandbox.connection();
    command
        .args(["--format=custom", "--compress=0", "--create", "--no-password"])
        // A subscription would begin to receive twice once it is enabled.
        .arg("--no-subscriptions")
        .arg("--host")
        .arg(&connection.host)
        .arg("--port")
        .arg(connection.port.to_string())
        .arg("--username")
        .arg(&connection.user);
    if what.no_tablespaces {
        command.arg("--no-tablespaces");
    }
    command.arg("--dbname").arg(literal(what.database));
    command.stdout(Stdio::piped());
    Ok(command)
}

fn restore(
    program: &Path,
    production: &Connection,
    maintenance: &str,
) -> Result<Command, PartsError> {
    let failed = PartsError::file(program, "it could not be run");
    // As this process itself connects: the server may know it by its user.
    let mut command = child::command(program, &Owner::current()).map_err(failed)?;
    command
        .args(["--create", "--exit-on-error", "--no-password"])
        .arg("--host")
        .arg(&production.host)
        .arg("--port")
        .arg(production.port.to_string())
        .arg("--username")
        .arg(&production.user)
        .arg("--dbname")
        .arg(literal(maintenance))
        // Outweighs what the database's own settings say once they are there.
        .env(
            "PGOPTIONS",
            "-c default_transaction_read_only=off -c lock_timeout=15s -c row_security=off",
        )
        .env("PGCONNECT_TIMEOUT", "20");
    if let Some(passfile) = &production.passfile {
        command.env("PGPASSFILE", passfile);
    }
    let socket = production.host.starts_with('/');
    match (production.tls, socket) {
        (Tls::Required, false) => {
            command.env("PGSSLMODE", "verify-full");
            let root = production.root_certificate.clone();
            command.env("PGSSLROOTCERT", root.unwrap_or_else(|| PathBuf::from("system")));
        }
        _ => {
            command.env("PGSSLMODE", "disable");
        }
    }
    Ok(command)
}

/// A name as a connection string: else an equals sign in it would make it one.
fn literal(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A process and what it says.
struct Running {
    child: Child,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    fn start(command: &mut Command, program: &Path) -> Result<Self, PartsError> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .map_err(PartsError::file(program, "it could not be run"))?;
        let errors = child.stderr.take().map(|mut errors| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = errors.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Ok(Self { child, errors })
    }

    /// Ends it by force; it holds nothing but its connection.
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it said, the first of it.
    fn said(&mut self) -> String {
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let said = said.trim();
        if said.is_empty() {
            return String::from("it said nothing");
        }
        said.chars().take(SAID).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_name_is_no_connection_string() {
        assert_eq!(literal("a=b host=c"), "dbname='a=b host=c'");
        assert_eq!(literal(r"it's \"), r"dbname='it\'s \\'");
    }
}
