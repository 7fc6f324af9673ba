//! Changing a server's settings by ALTER SYSTEM and a reload. Each statement is in the record,
//! with the one that takes it back, before it is run. Restarts nothing.

use super::error::InitError;
use super::facts::{self, Setting};
use super::proposal::{Change, Takes};
use super::record::{self, Entry};
use crate::engine::config::Connection;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a reload may take to be seen.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);

/// Makes the changes and waits until those that need no restart are in force.
///
/// # Errors
/// Where the server refuses one, or something outweighs it. Those before it stay made.
pub async fn apply(
    connection: &Connection,
    changes: &[Change],
    record: &Path,
) -> Result<(), InitError> {
    if changes.is_empty() {
        return Ok(());
    }
    let options = ConnectOptions::default();
    let server = connect::describe(connection, &options);
    let session = connect::connect(connection, &options).await?;
    let failed = |what: &str, error: &tokio_postgres::Error| InitError::Server {
        server: server.clone(),
        what: format!("{what} failed"),
        why: connect::reason(error),
    };
    for change in changes {
        let Change { statement, undo, .. } = change.clone();
        record::add(record, Entry::Setting { statement, undo })?;
        session
            .batch_execute(&change.statement)
            .await
            .map_err(|error| failed(&change.statement, &error))?;
    }
    session
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .map_err(|error| failed("pg_reload_conf()", &error))?;
    wait_in_force(&session, changes)
        .await
        .map_err(|error| failed("reading the settings again", &error))?
}

/// The outer error is the server's, the inner one says which setting was not taken.
async fn wait_in_force(
    session: &Session,
    changes: &[Change],
) -> Result<Result<(), InitError>, tokio_postgres::Error> {
    let end = Instant::now() + RELOAD_LIMIT;
    loop {
        // A session takes a reload between two statements.
        let settings = facts::settings(session).await?;
        let open = changes.iter().find_map(|change| {
            let setting = settings.iter().find(|setting| setting.name == change.name)?;
            (!taken(change, setting, &settings)).then_some((change, setting))
        });
        let Some((change, setting)) = open else { return Ok(Ok(())) };
        if Instant::now() >= end {
            return Ok(Err(InitError::NotTaken {
                name: change.name.clone(),
                wanted: change.proposed.clone(),
                now: setting.active.clone(),
                from: setting.source.clone(),
            }));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the server has taken a change as far as it can without a restart.
fn taken(change: &Change, setting: &Setting, all: &[Setting]) -> bool {
    if change.takes == Takes::Restart {
        return setting.next() == change.proposed;
    }
    // Until archive_mode is on, the server shows no archive_command; and it writes durations in
    // other units than they are given in.
    let masked = setting.name == "archive_command"
        && all.iter().any(|other| other.name == "archive_mode" && other.active == "off");
    let exact = !masked && setting.name != "archive_timeout";
    setting.next() == change.proposed
        && (!exact || setting.active == change.proposed)
        && setting.source != "command line"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::init::proposal::{Wishes, propose, tests as samples};

    #[test]
    fn a_change_is_taken_when_the_server_shows_it() {
        let before = vec![
            samples::setting("archive_command", "(disabled)", None),
            samples::setting("archive_mode", "off", None),
        ];
        let wishes = Wishes { archive_command: String::from("ours"), archive_timeout: 60 };
        let changes = propose(&samples::facts(before.clone()), &wishes).changes;
        let [mode, command] = &changes[..] else { panic!("{changes:?}") };
        assert!(!taken(mode, &before[1], &before) && !taken(command, &before[0], &before));
        let mut after = vec![
            samples::setting("archive_command", "(disabled)", Some("ours")),
            samples::setting("archive_mode", "off", Some("on")),
        ];
        assert!(taken(mode, &after[1], &after) && taken(command, &after[0], &after));
        after[1].active = String::from("on");
        assert!(!taken(command, &after[0], &after), "archiving is on and another command runs");
        after[0].active = String::from("ours");
        assert!(taken(command, &after[0], &after));
        after[0].source = String::from("command line");
        assert!(!taken(command, &after[0], &after));
    }
}
