//! Where a recovering server stands: asked through its socket, and read from its log where the
//! socket cannot tell. Looks only; never resumes, promotes or stops.
//!
//! A server that has paused is not a server that has reached its target: settings that are too low
//! pause it too, with rows missing. Only its log tells them apart.

mod log;

use super::Lsn;
use super::connect::{self, ConnectOptions, Session};
use super::discovery::{self, Running};
use super::recovery_settings::STANDBY_MINIMUMS;
use crate::engine::config::Connection;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::TargetPoint;
use jiff::Timestamp;
use log::LogReader;
use std::path::PathBuf;
use std::time::Duration;

/// A question to the server takes no longer.
const LIMIT: Duration = Duration::from_secs(5);
/// How much later than the server wrote it a line may come into its log.
const COLLECTED: Duration = Duration::from_secs(5);

/// Where replay stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayState {
    /// It takes no connections yet: it may start, or replay towards consistency.
    Starting {
        /// The WAL file that was fetched last.
        restored: Option<String>,
    },
    Replaying {
        lsn: Option<Lsn>,
        /// Commit time of the last replayed transaction.
        time: Option<Timestamp>,
    },
    /// It stopped where it was told to, and waits.
    AtTarget {
        /// In the server's own words.
        stop: String,
        lsn: Option<Lsn>,
        time: Option<Timestamp>,
    },
    /// To the end of the archive: it has replayed all log that it can get, and that ends before
    /// the log is known to end. It goes on asking for the next file.
    OutOfLog { lsn: Option<Lsn>, time: Option<Timestamp>, why: Explanation },
    /// It waits, and not at the target: rows are missing.
    PausedFor(Explanation),
    /// It has ended, or can no longer be watched.
    Failed(Explanation),
    /// It is out of recovery and takes writes.
    Promoted,
}

/// A watch on one recovering server.
#[derive(Debug)]
pub struct RecoveryWatch {
    connection: Connection,
    data_directory: PathBuf,
    log: PathBuf,
    target: TargetPoint,
    expected_end: Option<Lsn>,
    reader: LogReader,
    session: Option<Session>,
}

struct Asked {
    in_recovery: bool,
    lsn: Option<Lsn>,
    time: Option<Timestamp>,
    paused: bool,
    /// It has looked everywhere for the next record, and will look again.
    waits_for_log: bool,
}

impl RecoveryWatch {
    /// `log` is the file that the server was started with. `expected_end` is where the WAL ends:
    /// to the end of the archive a server never stops by itself, so only with it the end is known
    /// to be reached; without it such a recovery stays [`ReplayState::Replaying`].
    #[must_use]
    pub fn new(
        connection: Connection,
        data_directory: PathBuf,
        log: PathBuf,
        target: TargetPoint,
        expected_end: Option<Lsn>,
    ) -> Self {
        let (reader, session) = (LogReader::default(), None);
        Self { connection, data_directory, log, target, expected_end, reader, session }
    }

    /// The last lines of the server's log since it was started, oldest first, at most 50.
    #[must_use]
    pub fn log_lines(&self) -> &[String] {
        &self.reader.findings.lines
    }

    /// The setting that is lower than the log asks for, where the server stopped for one since it
    /// was started last.
    #[must_use]
    pub fn low_setting(&self) -> Option<LowSetting> {
        self.reader.findings.low_setting.as_deref().and_then(LowSetting::read)
    }

    /// Looks once.
    pub async fn look(&mut self) -> ReplayState {
        // The process first: what it wrote before it ended is then in the log.
        let running = match discovery::running(&self.data_directory) {
            Ok(running) => running,
            Err(error) => return ReplayState::Failed(error.explanation()),
        };
        if let Err(explanation) = self.read_log() {
            return ReplayState::Failed(explanation);
        }
        if !matches!(running, Running::Yes(_)) {
            self.session = None;
            return ReplayState::Failed(self.reader.findings.explanation());
        }
        match self.ask().await {
            Some(asked) => {
                if let Err(explanation) = self.read_why(asked.paused).await {
                    return ReplayState::Failed(explanation);
                }
                self.judge(asked)
            }
            None => ReplayState::Starting { restored: self.reader.findings.restored.clone() },
        }
    }

    /// Looks until the state is neither starting nor replaying, at most `limit`; each state seen
    /// goes to `seen`, which stops the watch by giving `false`.
    ///
    /// # Errors
    /// Where the limit has passed; says where replay stood. The server goes on.
    pub async fn until_settled(
        &mut self,
        limit: Duration,
        mut seen: impl FnMut(&ReplayState, &[String]) -> bool,
    ) -> Result<ReplayState, Explanation> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let state = self.look().await;
            let go_on = seen(&state, self.log_lines());
            let moving =
                matches!(state, ReplayState::Starting { .. } | ReplayState::Replaying { .. });
            if !moving || !go_on {
                return Ok(state);
            }
            if tokio::time::Instant::now() >= end {
                return Err(Explanation::new(
                    Kind::Server,
                    format!(
                        "Waited {} s for replay to reach its target; last seen: {}.",
                        limit.as_secs(),
                        state.words()
                    ),
                    "The server still replays.",
                    "Wait longer, or look at its log.",
                ));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The reason for a pause is written before the pause, but where a collector writes the log it
    /// may come into the file a moment later.
    async fn read_why(&mut self, paused: bool) -> Result<(), Explanation> {
        let end = tokio::time::Instant::now() + COLLECTED;
        loop {
            self.read_log()?;
            let findings = &self.reader.findings;
            let known = findings.stopped.is_some() || findings.low_setting.is_some();
            if !paused || known || tokio::time::Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn read_log(&mut self) -> Result<(), Explanation> {
        self.reader.read(&self.log).map_err(|error| {
            Explanation::new(
                Kind::Storage,
                format!("The server's log {} could not be read: {error}.", self.log.display()),
                "The server goes on.",
                "Without its log it cannot be told whether the target was reached; make it readable.",
            )
        })
    }

    fn judge(&self, asked: Asked) -> ReplayState {
        let Asked { in_recovery, lsn, time, paused, waits_for_log } = asked;
        let findings = &self.reader.findings;
        if !in_recovery {
            return ReplayState::Promoted;
        }
        if paused {
            if let Some(stop) = &findings.stopped {
                return ReplayState::AtTarget { stop: stop.clone(), lsn, time };
            }
            return ReplayState::PausedFor(self.pause_reason());
        }
        if self.target == TargetPoint::EndOfArchive
            && let (Some(lsn), Some(end)) = (lsn, self.expected_end)
            && lsn >= end
        {
            let stop = format!("everything up to LSN {lsn} was replayed");
            return ReplayState::AtTarget { stop, lsn: Some(lsn), time };
        }
        if self.target == TargetPoint::EndOfArchive && waits_for_log {
            let at = lsn.map_or_else(String::new, |lsn| format!(" up to LSN {lsn}"));
            return match self.expected_end {
                // A file that could not be asked for stops the server; so there is no next one.
                None => {
                    let stop = format!("all log that there is was replayed{at}");
                    ReplayState::AtTarget { stop, lsn, time }
                }
                Some(end) => ReplayState::OutOfLog { lsn, time, why: self.out_of_log(&at, end) },
            };
        }
        ReplayState::Replaying { lsn, time }
    }

    fn out_of_log(&self, at: &str, end: Lsn) -> Explanation {
        let last = self.reader.findings.restored.as_ref();
        let last =
            last.map_or_else(String::new, |name| format!(" The last file it got is {name}."));
        Explanation::new(
            Kind::Unreachable,
            format!(
                "The server replayed the log{at} and finds no more of it, neither in the \
                 repositories nor among what was rescued; the log is known to go on to LSN \
                 {end}.{last}"
            ),
            "The server waits, closed to the application. The damaged directory is kept aside, \
             untouched.",
            "Where the missing log is still on its way, retry once it has come. Else give this run \
             up, put things back and choose the point anew: the archive is read again then, and \
             shows how far it reaches.",
        )
    }

    fn pause_reason(&self) -> Explanation {
        match &self.reader.findings.low_setting {
            Some(setting) => Explanation::new(
                Kind::Config,
                format!("Replay has paused before its target: {setting}"),
                "Nothing was lost; what comes after is not replayed yet.",
                format!(
                    "Retry the step: the server is stopped, {} and it goes on; nothing is copied \
                     again. Do not resume the replay by hand: that would shut the server down.",
                    LowSetting::read(setting).map_or_else(
                        || String::from("the setting is raised"),
                        |low| format!("{} is raised to {}", low.name, low.needed)
                    )
                ),
            ),
            None => Explanation::new(
                Kind::Server,
                "Replay has paused, and the server's log does not say that the target was reached.",
                "Nothing was lost; what comes after is not replayed yet.",
                "Somebody may have called pg_wal_replay_pause(). Look at the log before you go on; \
                 do not promote.",
            ),
        }
    }

    async fn ask(&mut self) -> Option<Asked> {
        if self.session.as_ref().is_none_or(|session| session.is_closed()) {
            let options =
                ConnectOptions::default().connect_limit(LIMIT).statement_limit(Some(LIMIT));
            self.session = connect::connect(&self.connection, &options).await.ok();
        }
        let asked = match &self.session {
            Some(session) => {
                tokio::time::timeout(LIMIT, question(session)).await.ok().and_then(Result::ok)
            }
            None => None,
        };
        if asked.is_none() {
            self.session = None;
        }
        asked
    }
}

/// The last FATAL or PANIC among a server's log lines that concerns the server and not one session,
/// with its detail and hint; of its newest start where the lines hold several.
#[must_use]
pub fn last_words<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut findings = log::Findings::default();
    lines.into_iter().for_each(|line| findings.take(line));
    findings.fatal
}

/// A setting that is lower than on the server that wrote the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowSetting {
    pub name: String,
    /// The least value that the log asks for.
    pub needed: i64,
}

impl LowSetting {
    /// Reads the server's sentence, `None` where it is none: `max_connections = 50 is a lower setting than on the primary
    /// server, where its value was 100.`
    pub fn read(sentence: &str) -> Option<Self> {
        let at = STANDBY_MINIMUMS.iter().filter_map(|name| Some((sentence.find(name)?, *name)));
        let (_, name) = at.min()?;
        let mut numbers = sentence.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let needed = numbers.next_back()?.parse().ok()?;
        Some(Self { name: name.to_owned(), needed })
    }
}

impl ReplayState {
    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        let at = |lsn: &Option<Lsn>| lsn.map_or_else(String::new, |lsn| format!(" at LSN {lsn}"));
        match self {
            Self::Starting { restored: None } => String::from("starting"),
            Self::Starting { restored: Some(name) } => format!("starting, {name} was fetched"),
            Self::Replaying { lsn, .. } => format!("replaying{}", at(lsn)),
            Self::AtTarget { lsn, .. } => format!("stopped at the target{}", at(lsn)),
            Self::OutOfLog { why, .. } | Self::PausedFor(why) => why.what.clone(),
            Self::Failed(why) => why.what.clone(),
            Self::Promoted => String::from("promoted"),
        }
    }
}

async fn question(session: &Session) -> Result<Asked, tokio_postgres::Error> {
    let version = session.query_one("SELECT current_setting('server_version_num')::int", &[]);
    let version: i32 = version.await?.try_get(0)?;
    // Some functions fail outside recovery, and 14 renamed one.
    let paused = if version >= 140_000 {
        "pg_get_wal_replay_pause_state() = 'paused'"
    } else {
        "pg_is_wal_replay_paused()"
    };
    let sql = format!(
        "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text,
                pg_last_xact_replay_timestamp(),
                CASE WHEN pg_is_in_recovery() THEN {paused} ELSE false END,
                EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup'
                  AND wait_event IN ('RecoveryRetrieveRetryInterval', 'RecoveryWalStream'))"
    );
    let row = session.query_one(&sql, &[]).await?;
    let lsn: Option<String> = row.try_get(1)?;
    Ok(Asked {
        in_recovery: row.try_get(0)?,
        lsn: lsn.and_then(|text| text.parse().ok()),
        time: row.try_get(2)?,
        paused: row.try_get(3)?,
        waits_for_log: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Tls;
    use std::io::Write;

    #[test]
    fn the_servers_sentence_gives_setting_and_value() {
        let from_14 = "max_connections = 50 is a lower setting than on the primary server, where \
                       its value was 100.";
        let before = "hot standby is not possible because max_wal_senders = 3 is a lower setting \
                      than on the master server (its value was 12)";
        let low = |text| LowSetting::read(text).map(|low| (low.name, low.needed));
        assert_eq!(low(from_14), Some((String::from("max_connections"), 100)));
        assert_eq!(low(before), Some((String::from("max_wal_senders"), 12)));
        assert_eq!(low("recovery aborted because of insufficient parameter settings"), None);
    }

    #[tokio::test]
    async fn a_reason_that_a_collector_writes_later_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "2026-01-01 10:00:00.000 UTC [7] LOG:  redo starts at 0/2000028\n")
            .unwrap();
        let connection = Connection {
            host: folder.path().display().to_string(),
            port: 5432,
            user: String::from("postgres"),
            database: String::from("postgres"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        };
        let mut watch = RecoveryWatch::new(
            connection,
            folder.path().to_owned(),
            log.clone(),
            TargetPoint::Lsn(Lsn(0x300_0000)),
            None,
        );
        watch.read_why(false).await.unwrap();
        let late = std::thread::spawn(move || {
            // The lateness that is tried.
            std::thread::sleep(Duration::from_millis(100));
            let mut file = std::fs::OpenOptions::new().append(true).open(log).unwrap();
            let line = "LOG:  recovery stopping before WAL location (LSN) \"0/3000000\"";
            writeln!(file, "2026-01-01 10:00:01.000 UTC [7] {line}").unwrap();
        });
        watch.read_why(true).await.unwrap();
        late.join().unwrap();
        let asked =
            Asked { in_recovery: true, lsn: None, time: None, paused: true, waits_for_log: false };
        let state = watch.judge(asked);
        assert!(matches!(state, ReplayState::AtTarget { .. }), "{state:?}");
    }
}
