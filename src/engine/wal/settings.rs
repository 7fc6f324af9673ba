//! Whether the running server archives as its tier needs it: `archive_mode`, `archive_command`,
//! `archive_timeout`, `wal_level`, and how archiving goes. Owns the questions and the judgement;
//! changes no setting.

use crate::engine::config::Cluster;
use crate::engine::explain::Explain;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use jiff::Timestamp;
use serde::Serialize;

/// What the server says of its archiving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiverSettings {
    /// `off`, `on` or `always`.
    pub archive_mode: String,
    /// Empty where there is none.
    pub archive_command: String,
    /// Empty where there is none, and before PostgreSQL 15.
    pub archive_library: String,
    /// Seconds; 0 is off.
    pub archive_timeout: u64,
    pub wal_level: String,
    /// A standby archives nothing unless `archive_mode` is `always`.
    pub in_recovery: bool,
    pub last_archived: Option<String>,
    pub last_archived_at: Option<Timestamp>,
    pub last_failed: Option<String>,
    pub last_failed_at: Option<Timestamp>,
    pub failed_count: u64,
    /// Files that wait in `pg_wal`; `None` where this user may not see them.
    pub waiting: Option<u64>,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Timestamp>,
    /// When the server was asked.
    pub at: Timestamp,
}

/// Asks the running server.
///
/// # Errors
/// Why it could not be asked, in plain words.
pub async fn read(cluster: &Cluster) -> Result<ArchiverSettings, String> {
    let options = ConnectOptions::default().read_only();
    let session = connect::connect(&cluster.connection, &options)
        .await
        .map_err(|error| error.explanation().to_string())?;
    ask(&session).await.map_err(|error| connect::reason(&error))
}

async fn ask(session: &Session) -> Result<ArchiverSettings, tokio_postgres::Error> {
    let row = session
        .query_one(
            "SELECT current_setting('archive_mode'),
                    coalesce(nullif(current_setting('archive_command'), '(disabled)'), ''),
                    coalesce(current_setting('archive_library', true), ''),
                    (SELECT setting::bigint FROM pg_settings WHERE name = 'archive_timeout'),
                    current_setting('wal_level'), pg_is_in_recovery(),
                    last_archived_wal, last_archived_time, last_failed_wal, last_failed_time,
                    failed_count
               FROM pg_stat_archiver",
            &[],
        )
        .await?;
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    let waiting = session
        .query_one(
            "SELECT count(*), min(modification) FROM pg_ls_archive_statusdir()
              WHERE name LIKE '%.ready'",
            &[],
        )
        .await
        .and_then(|row| Ok((row.try_get::<_, i64>(0)?, row.try_get(1)?)))
        .ok();
    Ok(ArchiverSettings {
        archive_mode: row.try_get(0)?,
        archive_command: row.try_get(1)?,
        archive_library: row.try_get(2)?,
        archive_timeout: unsigned(row.try_get(3)?),
        wal_level: row.try_get(4)?,
        in_recovery: row.try_get(5)?,
        last_archived: row.try_get(6)?,
        last_archived_at: row.try_get(7)?,
        last_failed: row.try_get(8)?,
        last_failed_at: row.try_get(9)?,
        failed_count: unsigned(row.try_get(10)?),
        waiting: waiting.map(|(count, _)| unsigned(count)),
        waiting_since: waiting.and_then(|(_, since)| since),
        at: Timestamp::now(),
    })
}

/// What is wrong with it for a cluster that may lose at most `rpo_seconds` of commits; each one a
/// sentence with what to do. Empty where nothing is.
#[must_use]
pub fn problems(settings: &ArchiverSettings, rpo_seconds: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if settings.in_recovery && settings.archive_mode != "always" {
        // Its primary archives.
        return problems;
    }
    if settings.wal_level == "minimal" {
        problems.push(String::from(
            "wal_level is minimal: no backup and no recovery to a point in time is possible. Set it \
             to replica and restart the server.",
        ));
    }
    if settings.archive_mode == "off" {
        problems.push(String::from(
            "archive_mode is off: no WAL is archived. Set it to on and restart the server.",
        ));
        return problems;
    }
    if settings.archive_command.is_empty() && settings.archive_library.is_empty() {
        problems.push(String::from(
            "archive_command is empty: WAL piles up in pg_wal. Set it to lifeboat archive-wal %p.",
        ));
    }
    let timeout = settings.archive_timeout;
    if timeout == 0 {
        problems.push(format!(
            "archive_timeout is off: a quiet server may not archive for hours, and the tier allows \
             the loss of {rpo_seconds} s. Set it to {}.",
            rpo_seconds.min(60)
        ));
    } else if timeout > rpo_seconds {
        problems.push(format!(
            "archive_timeout is {timeout} s, and the tier allows the loss of {rpo_seconds} s. Set it \
             to {}.",
            rpo_seconds.min(60)
        ));
    }
    let waits = |since: Timestamp| settings.at.duration_since(since).as_secs();
    let limit = i64::try_from(rpo_seconds).unwrap_or(i64::MAX);
    if let Some(since) = settings.waiting_since.filter(|since| waits(*since) > limit) {
        problems.push(format!(
            "WAL has waited to be archived for {} s ({} files), and the tier allows the loss of \
             {rpo_seconds} s. See the server's log.",
            waits(since),
            settings.waiting.unwrap_or(1)
        ));
    }
    let failing = match (settings.last_failed_at, settings.last_archived_at) {
        (Some(failed), Some(archived)) => failed > archived,
        (failed, _) => failed.is_some(),
    };
    if failing {
        problems.push(format!(
            "The last archiving failed: {} at {} (UTC); {} failures since the statistics began. See \
             the server's log.",
            settings.last_failed.as_deref().unwrap_or("a file"),
            settings.last_failed_at.map_or_else(String::new, |at| format!("{at:.0}")),
            settings.failed_count
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> ArchiverSettings {
        ArchiverSettings {
            archive_mode: "on".to_owned(),
            archive_command: "lifeboat archive-wal %p".to_owned(),
            archive_library: String::new(),
            archive_timeout: 60,
            wal_level: "replica".to_owned(),
            in_recovery: false,
            last_archived: Some("000000010000000000000003".to_owned()),
            last_archived_at: Some(Timestamp::from_second(2000).unwrap()),
            last_failed: Some("000000010000000000000002".to_owned()),
            last_failed_at: Some(Timestamp::from_second(1000).unwrap()),
            failed_count: 3,
            waiting: Some(0),
            waiting_since: None,
            at: Timestamp::from_second(3000).unwrap(),
        }
    }

    #[test]
    fn each_wrong_setting_is_told_and_a_past_failure_is_not() {
        assert!(problems(&sound(), 60).is_empty());
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let cases: [(ArchiverSettings, &str); 7] = [
            (ArchiverSettings { archive_mode: "off".to_owned(), ..sound() }, "archive_mode is off"),
            (
                ArchiverSettings { archive_command: String::new(), ..sound() },
                "archive_command is empty",
            ),
            (ArchiverSettings { archive_timeout: 0, ..sound() }, "archive_timeout is off"),
            (ArchiverSettings { archive_timeout: 61, ..sound() }, "is 61 s"),
            (ArchiverSettings { wal_level: "minimal".to_owned(), ..sound() }, "wal_level"),
            (ArchiverSettings { last_failed_at: at(2001), ..sound() }, "00000002 at"),
            (ArchiverSettings { last_archived_at: None, ..sound() }, "last archiving failed"),
        ];
        for (settings, word) in cases {
            let found = problems(&settings, 60);
            assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
        }
        let waiting = |since| ArchiverSettings { waiting_since: at(since), ..sound() };
        assert!(problems(&waiting(2940), 60).is_empty(), "within the tier");
        assert!(problems(&waiting(2939), 60)[0].contains("for 61 s"));
        let standby = ArchiverSettings { in_recovery: true, archive_timeout: 0, ..sound() };
        assert!(problems(&standby, 60).is_empty());
        let always = ArchiverSettings { archive_mode: "always".to_owned(), ..standby };
        assert_eq!(problems(&always, 60).len(), 1);
    }
}
