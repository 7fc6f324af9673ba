//! Whether a server's WAL arrives in the repository: one segment is ended and waited for. A wait
//! that ran out is a failure, with what the server says about it.

use super::error::InitError;
use super::restart::log_of;
use crate::engine::config::Connection;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::postgres::control::last_lines;
use crate::engine::repository::Repository;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How archiving was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archiving {
    /// The segment that is in the repository.
    pub segment: String,
    /// It had arrived before; nothing was done.
    pub was_working: bool,
    /// How long it took to arrive, milliseconds.
    pub milliseconds: u64,
}

/// What `pg_stat_archiver` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Archiver {
    last_archived: Option<String>,
    last_failed: Option<String>,
    /// The last failure is later than the last success.
    failing: bool,
}

/// Proves that WAL arrives. Unless the settings were `just_changed`, where the newest segment that the server archived is in the
/// repository and nothing failed since, nothing is done.
///
/// # Errors
/// [`InitError::NotArchived`] with the server's reason.
pub fn prove(
    runtime: &Handle,
    connection: &Connection,
    repository: &Repository,
    data_directory: &Path,
    just_changed: bool,
    limit: Duration,
) -> Result<Archiving, InitError> {
    let begun = Instant::now();
    let options = ConnectOptions::default();
    let server = connect::describe(connection, &options);
    let failed = |error: tokio_postgres::Error| InitError::Server {
        server: server.clone(),
        what: String::from("the archiver could not be asked"),
        why: connect::reason(&error),
    };
    let session = runtime.block_on(connect::connect(connection, &options))?;
    let before = runtime.block_on(archiver(&session)).map_err(failed)?;
    // Labels are archived too, under the name of their segment and more.
    let last = before.last_archived.as_deref().and_then(|name| name.get(..24));
    // What arrived before a change proves the command that was in force then.
    if let Some(segment) = last.filter(|_| !before.failing && !just_changed)
        && holds(repository, segment)?
    {
        let segment = segment.to_owned();
        return Ok(Archiving { segment, was_working: true, milliseconds: 0 });
    }
    let mark = log_of(data_directory).and_then(|log| {
        let length = std::fs::metadata(&log).ok()?.len();
        Some((log, length))
    });
    let segment = runtime.block_on(switch(&session)).map_err(failed)?;
    let mut shown = Archiver::default();
    while begun.elapsed() < limit {
        if holds(repository, &segment)? {
            let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Ok(Archiving { segment, was_working: false, milliseconds });
        }
        shown = runtime.block_on(archiver(&session)).map_err(failed)?;
        std::thread::sleep(LOOK_EVERY);
    }
    let lines = mark.map(|(log, from)| last_lines(&log, from, 6)).unwrap_or_default();
    let reason = reason(&shown, &lines);
    Err(InitError::NotArchived { segment, seconds: limit.as_secs(), reason })
}

fn reason(archiver: &Archiver, log: &[String]) -> String {
    let mut text = match &archiver.last_failed {
        Some(name) if archiver.failing => {
            format!("; the server's archive_command failed for {name}")
        }
        _ => String::from("; the server has not reported a failure"),
    };
    if !log.is_empty() {
        text.push_str(&format!("; its log ends: {}", log.join(" | ")));
    }
    text
}

/// Ends the segment that is being written; gives its name. A record of ours goes in first: the
/// server ends no empty segment.
async fn switch(session: &Session) -> Result<String, tokio_postgres::Error> {
    session.batch_execute("SELECT pg_create_restore_point('lifeboat init')").await?;
    let row = session.query_one("SELECT pg_walfile_name(pg_switch_wal())", &[]).await?;
    row.try_get(0)
}

async fn archiver(session: &Session) -> Result<Archiver, tokio_postgres::Error> {
    let row = session
        .query_one(
            "SELECT last_archived_wal, last_failed_wal,
                    coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)
             FROM pg_stat_archiver",
            &[],
        )
        .await?;
    Ok(Archiver {
        last_archived: row.try_get(0)?,
        last_failed: row.try_get(1)?,
        failing: row.try_get(2)?,
    })
}

fn holds(repository: &Repository, segment: &str) -> Result<bool, InitError> {
    let timeline = segment.get(..8).and_then(|text| u32::from_str_radix(text, 16).ok());
    let Some(timeline) = timeline else { return Ok(false) };
    let listed = repository.list_wal(timeline, segment, 1)?;
    Ok(listed.first().is_some_and(|object| object.name == segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_servers_words() {
        let failing = Archiver {
            last_archived: None,
            last_failed: Some(String::from("000000010000000000000003")),
            failing: true,
        };
        let text = reason(&failing, &[String::from("LOG:  archive command failed: exit 7")]);
        assert!(text.contains("000000010000000000000003") && text.contains("exit 7"), "{text}");
        assert!(reason(&Archiver::default(), &[]).contains("not reported"));
    }
}
