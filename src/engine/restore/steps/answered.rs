//! Which server it is that answers at an address: the one that runs in a data directory, or another
//! one that has taken its place. Owns the comparison; changes nothing.

use crate::engine::config::Connection;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::discovery::Postmaster;
use std::time::Duration;

/// A server remembers its start a little after its pid file does: behind its shared memory and its
/// libraries. Seconds.
const START: i64 = 300;

/// What a server said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub in_recovery: bool,
    system_identifier: u64,
    /// Seconds since 1970.
    started: i64,
    /// The first and the third line of its own pid file: its process and when it began. `None`
    /// where this user may not read it.
    pid_file: Option<(i32, i64)>,
}

impl Answered {
    /// `None` where nobody answers.
    pub async fn by(connection: &Connection) -> Option<Self> {
        let options = ConnectOptions::default().connect_limit(Duration::from_secs(5));
        let session = connect::connect(connection, &options).await.ok()?;
        let sql = "SELECT pg_is_in_recovery(), \
                   (SELECT system_identifier::text FROM pg_control_system()), \
                   floor(extract(epoch FROM pg_postmaster_start_time()))::int8";
        let row = session.query_one(sql, &[]).await.ok()?;
        let system: String = row.try_get(1).ok()?;
        let file = session.query_one("SELECT pg_read_file('postmaster.pid')", &[]).await.ok();
        let file: Option<String> = file.and_then(|row| row.try_get(0).ok());
        Some(Self {
            in_recovery: row.try_get(0).ok()?,
            system_identifier: system.parse().ok()?,
            started: row.try_get(2).ok()?,
            pid_file: file.as_deref().and_then(lines),
        })
    }

    /// Whether it is the server of this cluster and this pid file. Where the server does not show
    /// its own, its start decides.
    pub fn is_of(&self, system_identifier: u64, own: &Postmaster) -> bool {
        if self.system_identifier != system_identifier {
            return false;
        }
        let began = own.started.map(jiff::Timestamp::as_second);
        match (self.pid_file, began) {
            (Some((pid, at)), Some(began)) => pid == own.pid && at == began,
            (Some((pid, _)), None) => pid == own.pid,
            (None, Some(began)) => (began..=began + START).contains(&self.started),
            // Nothing tells them apart.
            (None, None) => false,
        }
    }
}

fn lines(text: &str) -> Option<(i32, i64)> {
    let mut lines = text.lines().map(str::trim);
    let pid: i32 = lines.next()?.parse().ok()?;
    Some((pid, lines.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::discovery::Readiness;

    fn own() -> Postmaster {
        Postmaster {
            pid: 4711,
            started: Some(jiff::Timestamp::from_second(1_000).unwrap()),
            port: Some(5432),
            socket_directory: None,
            readiness: Readiness::Ready,
        }
    }

    fn told(system_identifier: u64, started: i64, pid_file: Option<(i32, i64)>) -> Answered {
        Answered { in_recovery: false, system_identifier, started, pid_file }
    }

    #[test]
    fn only_the_server_of_the_own_pid_file_is_believed() {
        assert!(told(7, 1_002, Some((4711, 1_000))).is_of(7, &own()));
        assert!(!told(8, 1_002, Some((4711, 1_000))).is_of(7, &own()), "another cluster");
        assert!(!told(7, 1_002, Some((4712, 1_000))).is_of(7, &own()), "another process");
        // A copy of the cluster elsewhere, where processes are numbered alike.
        assert!(!told(7, 1_002, Some((4711, 999))).is_of(7, &own()));
    }

    #[test]
    fn where_the_file_is_not_shown_the_start_decides() {
        assert!(told(7, 1_000, None).is_of(7, &own()));
        assert!(told(7, 1_030, None).is_of(7, &own()), "it took a while to start");
        assert!(!told(7, 999, None).is_of(7, &own()), "it ran before");
        assert!(!told(7, 5_000, None).is_of(7, &own()));
        assert!(!told(7, 1_000, None).is_of(7, &Postmaster { started: None, ..own() }));
    }

    #[test]
    fn a_pid_file_is_read_by_its_lines() {
        assert_eq!(lines("4711\n/srv/pg\n1000\n5432\n/tmp\n"), Some((4711, 1_000)));
        assert_eq!(lines("4711\n/srv/pg\n"), None);
        assert_eq!(lines(""), None);
    }
}
