//! Definitions in the server's own words: `pg_dump` of the same version over the sandbox. Owns the
//! call and takes away the two lines that only `psql` reads.

use super::error::PartsError;
use super::names::{Name, quote};
use super::sandbox::Sandbox;
use super::session::LOCK_WAIT;
use crate::engine::postgres::child;
use std::time::Duration;

/// Definitions alone are small; a catalogue of many thousand tables takes minutes.
const LIMIT: Duration = Duration::from_secs(1_800);

/// What is dumped.
#[derive(Debug, Clone)]
pub enum Of<'a> {
    Schema(&'a str),
    Tables(&'a [Name]),
}

impl Of<'_> {
    /// Without the statement that makes the schema, where it was made already.
    fn without_its_schema(&self, text: &str, made: Option<&str>) -> String {
        let Some(quoted) = made else { return text.to_owned() };
        text.replacen(&format!("\nCREATE SCHEMA {quoted};\n"), "\n", 1)
    }
}

/// Definitions before the rows, and those after them.
#[derive(Debug, Clone)]
pub struct Definitions {
    pub before: String,
    pub after: String,
}

/// Reads both from the sandbox. Without `owners` nothing is said of owners and grants. `made` is a
/// schema that is there already, as the server quotes it.
///
/// # Errors
/// Where the program is not installed or fails.
pub fn definitions(
    sandbox: &Sandbox,
    database: &str,
    of: &Of<'_>,
    owners: bool,
    made: Option<&str>,
) -> Result<Definitions, PartsError> {
    let section = |name: &str| section(sandbox, database, of, owners, name);
    let before = of.without_its_schema(&section("pre-data")?, made);
    Ok(Definitions { before, after: section("post-data")? })
}

fn section(
    sandbox: &Sandbox,
    database: &str,
    of: &Of<'_>,
    owners: bool,
    name: &str,
) -> Result<String, PartsError> {
    let program = sandbox.program("pg_dump");
    let failed = || PartsError::file(&program, "it could not be run");
    let mut command = child::command(&program, sandbox.owner()).map_err(failed())?;
    let connection = sandbox.connection();
    command
        .arg("--host")
        .arg(&connection.host)
        .arg("--port")
        .arg(connection.port.to_string())
        .arg("--username")
        .arg(&connection.user)
        .arg("--no-password")
        .arg("--encoding=UTF8")
        .arg("--no-publications")
        .arg("--no-subscriptions")
        .arg(format!("--section={name}"));
    if !owners {
        command.args(["--no-owner", "--no-privileges"]);
    }
    match of {
        Of::Schema(schema) => {
            command.arg("--schema").arg(quote(schema));
        }
        Of::Tables(tables) => {
            for table in *tables {
                command.arg("--table").arg(table.sql());
            }
        }
    }
    // Else an equals sign in a name would make it a connection string.
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    command.arg("--dbname").arg(format!("dbname='{quoted}'"));
    let finished = child::run(command, LIMIT).map_err(failed())?;
    if !finished.ok() {
        return Err(PartsError::Program {
            program: String::from("pg_dump"),
            said: finished.said(),
        });
    }
    Ok(plain(&finished.stdout))
}

/// Without the guard lines of newer versions (`\restrict KEY` first, `\unrestrict KEY` last), and
/// with our own limit on waiting for locks.
fn plain(text: &str) -> String {
    let key = text.lines().find_map(|line| line.strip_prefix("\\restrict ")).map(str::to_owned);
    let mut lines: Vec<&str> = text.lines().collect();
    if let Some(key) = key {
        let (first, last) = (format!("\\restrict {key}"), format!("\\unrestrict {key}"));
        if let Some(at) = lines.iter().position(|line| *line == first) {
            lines.remove(at);
        }
        if let Some(at) = lines.iter().rposition(|line| *line == last) {
            lines.remove(at);
        }
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text.replacen("\nSET lock_timeout = 0;\n", &format!("\n{LOCK_WAIT};\n"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guard_lines_go() {
        let dump = "--\n\\restrict k1\nSET lock_timeout = 0;\nSELECT '\n\\restrict k2\n';\n\
                    \\unrestrict k1\n";
        let made = plain(dump);
        assert!(!made.contains("k1"), "{made}");
        assert!(made.contains("\\restrict k2"), "{made}");
        assert!(made.contains("SET lock_timeout = '15s';"), "{made}");
    }
}
