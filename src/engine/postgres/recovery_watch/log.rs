//! What a recovering server's log says. Owns the server's own sentences (12 to 18, in English) and
//! what each means; judges values only.
//!
//! Each start of the server forgets what an earlier one said: the file may hold many.

use crate::engine::explain::{Explanation, Kind};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Lines kept for people to look at.
const KEPT: usize = 50;

/// Bytes read at once.
const CHUNK: u64 = 256 << 10;

/// The state folded from a log so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Findings {
    /// `recovery stopping before WAL location (LSN) "0/3000028"`: the target was reached.
    pub stopped: Option<String>,
    /// `max_connections = 50 is a lower setting than on the primary server, …`.
    pub low_setting: Option<String>,
    /// The file that was fetched last.
    pub restored: Option<String>,
    /// The last FATAL or PANIC that was no refused session, with its detail and hint.
    pub fatal: Option<String>,
    /// The newest last.
    pub lines: Vec<String>,
    /// Whether the next line belongs to the message before it.
    after: After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum After {
    #[default]
    Nothing,
    LowSettings,
    Fatal,
}

impl Findings {
    pub(super) fn take(&mut self, line: &str) {
        let Some((level, message)) = split(line) else {
            if !line.trim().is_empty() {
                self.keep(line);
            }
            return;
        };
        if message.starts_with("starting PostgreSQL ") {
            *self = Self::default();
        }
        self.keep(line);
        match level {
            "DETAIL" | "HINT" | "CONTEXT" => {
                self.add(level, message);
                return;
            }
            "STATEMENT" | "QUERY" | "LOCATION" => return,
            _ => self.after = After::Nothing,
        }
        if message.starts_with("recovery stopping ") {
            self.stopped = Some(message.to_owned());
        } else if message.contains("is a lower setting than on the") {
            self.low_setting = Some(message.to_owned());
        } else if message.contains("because of insufficient parameter settings") {
            self.low_setting = Some(message.to_owned());
            self.after = After::LowSettings;
        } else if let Some(rest) = message.strip_prefix("restored log file \"") {
            self.restored = rest.split('"').next().map(ToOwned::to_owned);
        }
        if matches!(level, "FATAL" | "PANIC") && !is_about_a_session(message) {
            self.fatal = Some(message.to_owned());
            self.after = After::Fatal;
        }
    }

    fn keep(&mut self, line: &str) {
        if self.lines.len() >= KEPT {
            self.lines.remove(0);
        }
        self.lines.push(line.chars().take(400).collect());
    }

    fn add(&mut self, level: &str, message: &str) {
        match self.after {
            After::LowSettings if level == "DETAIL" => self.low_setting = Some(message.to_owned()),
            After::Fatal => {
                if let Some(fatal) = &mut self.fatal {
                    fatal.push_str(". ");
                    fatal.push_str(message);
                }
                if level == "DETAIL" && self.low_setting.is_some() {
                    self.low_setting = Some(message.to_owned());
                }
            }
            After::LowSettings | After::Nothing => {}
        }
    }

    fn last_fetched(&self) -> String {
        self.restored.as_ref().map_or_else(String::new, |name| {
            format!(" The last log file that was had is {name}; the one after it was not.")
        })
    }

    /// Why the server ended, in words that help.
    pub(super) fn explanation(&self) -> Explanation {
        let fatal = self.fatal.clone().unwrap_or_default();
        let untouched = "The repository and the damaged directory that was moved aside are as \
                         they were; the restored directory stays for another try.";
        let rule = RULES.iter().find(|(text, ..)| fatal.contains(text));
        match rule {
            Some((text, kind, what, next)) if text.starts_with(ENDED) => Explanation::new(
                *kind,
                format!("{what}{} The server says: {fatal}.", self.last_fetched()),
                untouched,
                *next,
            ),
            Some((_, kind, what, next)) => Explanation::new(
                *kind,
                format!("{what} The server says: {fatal}."),
                untouched,
                *next,
            ),
            None if fatal.is_empty() => Explanation::new(
                Kind::Server,
                "The server ended during recovery and its log does not say why.",
                untouched,
                "Look at the system's log: it may have been killed, for want of memory perhaps. \
                 Then start it again.",
            ),
            None => Explanation::new(
                Kind::Server,
                format!("The server ended during recovery: {fatal}."),
                untouched,
                "Correct what it names and start it again; nothing is copied again.",
            ),
        }
    }
}

/// What the server says where it runs out of log.
const ENDED: &str = "recovery ended before";

/// A part of the server's sentence, the kind, what it means, what to do.
const RULES: [(&str, Kind, &str, &str); 12] = [
    (
        "recovery ended before configured recovery target was reached",
        Kind::Unreachable,
        "The WAL ended before the target. For a time this also happens when no transaction was \
         committed after it.",
        "Where a log file is missing, bring it back into the repository and retry: nothing is \
         copied again. Else put things back and choose an earlier target, an LSN, or the end of \
         the archive.",
    ),
    (
        "requested recovery stop point is before consistent recovery point",
        Kind::Unreachable,
        "The target lies before the end of the base backup, which cannot be entered in its middle.",
        "Choose a later target, or restore an older base backup.",
    ),
    (
        "is not a child of this server's history",
        Kind::Unreachable,
        "The timeline asked for does not come from this base backup: it forked off earlier.",
        "Choose another timeline, or a base backup from before the fork.",
    ),
    (
        "does not contain minimum recovery point",
        Kind::Unreachable,
        "The timeline asked for forked off before this base backup was complete.",
        "Choose another timeline, or an older base backup.",
    ),
    (
        "recovery target timeline",
        Kind::Unreachable,
        "The timeline asked for is not in the archive.",
        "Choose a timeline that the repository lists.",
    ),
    (
        "could not restore file",
        Kind::Storage,
        "A WAL file could not be fetched, and recovery stopped rather than go on without it.",
        "See what lifeboat restore-wal says in the log, make the repository readable, and start \
         again; nothing is copied again.",
    ),
    (
        "insufficient parameter settings",
        Kind::Config,
        "A setting is lower than on the server that wrote the WAL.",
        "Retry the step: the setting is raised to what the log asks for, and nothing is copied again.",
    ),
    (
        "is a lower setting than on the",
        Kind::Config,
        "A setting is lower than on the server that wrote the WAL.",
        "Retry the step: the setting is raised to what the log asks for, and nothing is copied again.",
    ),
    (
        "WAL ends before end of online backup",
        Kind::Unreachable,
        "The archive ends before the base backup was complete.",
        "Restore an older base backup whose WAL is complete.",
    ),
    (
        "WAL ends before consistent recovery point",
        Kind::Unreachable,
        "The archive ends before the data is consistent.",
        "Restore an older base backup whose WAL is complete.",
    ),
    (
        "checkpoint record",
        Kind::Integrity,
        "The WAL that the base backup begins with is missing or damaged.",
        "Check the archive's continuity, or restore another base backup.",
    ),
    (
        "WAL contains references to invalid pages",
        Kind::Integrity,
        "The WAL does not fit the restored files.",
        "Restore another base backup.",
    ),
];

/// FATAL lines that concern one session, not the server.
fn is_about_a_session(message: &str) -> bool {
    [
        "the database system is ",
        "terminating ",
        "canceling ",
        "role \"",
        "database \"",
        "no pg_hba.conf entry",
        "password authentication failed",
        "sorry, too many clients",
        "remaining connection slots",
        "unsupported frontend protocol",
        "connection to client lost",
        "permission denied for database",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

/// The level and the message behind any prefix.
fn split(line: &str) -> Option<(&'static str, &str)> {
    const LEVELS: [&str; 12] = [
        "LOG",
        "FATAL",
        "PANIC",
        "ERROR",
        "WARNING",
        "DETAIL",
        "HINT",
        "NOTICE",
        "CONTEXT",
        "STATEMENT",
        "QUERY",
        "LOCATION",
    ];
    let (before, message) = line.split_once(":  ")?;
    let word = before.rsplit([' ', ']', ':']).next()?;
    LEVELS.into_iter().find(|level| *level == word).map(|level| (level, message.trim_end()))
}

/// Reads a log as it grows.
#[derive(Debug, Clone, Default)]
pub(super) struct LogReader {
    offset: u64,
    partial: Vec<u8>,
    pub findings: Findings,
}

impl LogReader {
    /// Takes in what was written since the last call. A log that is not there yet has no lines.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.offset {
            *self = Self::default();
        }
        loop {
            file.seek(SeekFrom::Start(self.offset))?;
            let mut chunk = Vec::new();
            let read = (&mut file).take(CHUNK).read_to_end(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            self.offset = self.offset.saturating_add(read as u64);
            self.partial.append(&mut chunk);
            while let Some(at) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=at).collect();
                self.findings.take(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn findings(log: &str) -> Findings {
        let mut findings = Findings::default();
        log.lines().for_each(|line| findings.take(line));
        findings
    }

    const AT_TARGET: &str = "\
2025-01-13 10:00:00.000 UTC [1] LOG:  starting PostgreSQL 15.18 on x86_64
2025-01-13 10:00:01.000 UTC [4] LOG:  restored log file \"000000010000000000000003\" from archive
2025-01-13 10:00:01.100 UTC [9] FATAL:  the database system is not yet accepting connections
2025-01-13 10:00:02.000 UTC [4] LOG:  recovery stopping before WAL location (LSN) \"0/3000028\"
2025-01-13 10:00:02.000 UTC [4] LOG:  pausing at the end of recovery
2025-01-13 10:00:02.000 UTC [4] HINT:  Execute pg_wal_replay_resume() to promote.";

    #[test]
    fn a_reached_target_is_told() {
        let found = findings(AT_TARGET);
        assert_eq!(
            found.stopped.as_deref(),
            Some("recovery stopping before WAL location (LSN) \"0/3000028\"")
        );
        assert_eq!(found.restored.as_deref(), Some("000000010000000000000003"));
        assert_eq!(found.fatal, None, "a refused session is no failure of the server");
        assert_eq!(found.low_setting, None);
    }

    #[test]
    fn the_next_start_forgets_the_last() {
        let again =
            format!("{AT_TARGET}\n2025-01-13 11:00:00 UTC [1] LOG:  starting PostgreSQL 15");
        let found = findings(&again);
        assert_eq!((found.stopped, found.lines.len()), (None, 1));
    }

    #[test]
    fn settings_that_are_too_low_are_told_from_the_target() {
        let found = findings(
            "x [1] WARNING:  hot standby is not possible because of insufficient parameter settings\n\
             x [1] DETAIL:  max_connections = 50 is a lower setting than on the primary server, where its value was 100.\n\
             x [1] LOG:  recovery has paused\n\
             x [1] DETAIL:  If recovery is unpaused, the server will shut down.",
        );
        assert!(found.low_setting.unwrap().starts_with("max_connections = 50"));
        assert_eq!(found.stopped, None);
    }

    #[test]
    fn every_known_end_is_explained() {
        for (text, kind, ..) in RULES {
            let found = findings(&format!("x [1] FATAL:  xx {text} yy\nx [1] HINT:  Do this."));
            let explained = found.explanation();
            assert_eq!(explained.kind, kind, "{text}");
            assert!(explained.what.contains("Do this."), "{}", explained.what);
        }
        let unknown = findings("x [1] FATAL:  something else").explanation();
        assert!(unknown.what.contains("something else"));
        assert_eq!(findings("").explanation().kind, Kind::Server);
    }

    #[test]
    fn a_growing_log_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut reader = LogReader::default();
        reader.read(&path).unwrap();
        let (first, second) = AT_TARGET.split_at(AT_TARGET.find("stopping before").unwrap());
        std::fs::write(&path, first).unwrap();
        reader.read(&path).unwrap();
        assert_eq!(reader.findings.stopped, None);
        std::fs::write(&path, format!("{first}{second}\n")).unwrap();
        reader.read(&path).unwrap();
        assert!(reader.findings.stopped.is_some());
        assert_eq!(reader.findings.lines.len(), 6);
    }

    proptest! {
        #[test]
        fn no_log_panics(log in ".*") {
            let _ = findings(&log).explanation();
        }
    }
}
