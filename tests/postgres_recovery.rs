//! A recovery as the server carries it out: configured, closed, watched, promoted, opened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::facts::{Target, TargetPoint};
use lifeboat::engine::postgres::closed::ClosedServer;
use lifeboat::engine::postgres::control::{self, Driver, StartOptions, StopMode};
use lifeboat::engine::postgres::recovery_settings::{self, RecoverySettings, Removed};
use lifeboat::engine::postgres::recovery_watch::{RecoveryWatch, ReplayState};
use lifeboat::engine::postgres::{Lsn, connect, discovery};
use std::fs;
use std::path::PathBuf;
use support::{LIMIT, TestCluster};

/// A cluster that was copied cold, went on archiving, and lost rows.
struct Lost {
    cluster: TestCluster,
    copy: PathBuf,
    archive: PathBuf,
    log: PathBuf,
    /// The first record of the bad transaction.
    bad: Lsn,
    /// After everything.
    end: Lsn,
}

impl Lost {
    fn new() -> Self {
        let cluster = TestCluster::init(&["archive_mode = on", "max_connections = 20"]);
        let archive = cluster.root.path().join("archive");
        cluster.make_folder(&archive, 0o700);
        cluster
            .append_conf(&[&format!("archive_command = 'cp \"%p\" \"{}/%f\"'", archive.display())]);
        // What a base backup may carry from an earlier recovery and from life as a standby.
        let auto = cluster.data.join("postgresql.auto.conf");
        fs::write(&auto, "work_mem = '5MB'\nrecovery_target_time = '2001-01-01 00:00:00+00'\nprimary_conninfo = 'host=/nowhere'").unwrap();
        let copy = cluster.root.path().join("copy");
        cluster.start_server();
        cluster.sql("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id");
        cluster.stop_server("fast");
        let mut command = lifeboat::engine::postgres::child::command("cp", &cluster.owner).unwrap();
        command.arg("-a").arg(&cluster.data).arg(&copy);
        let copied = lifeboat::engine::postgres::child::run(command, LIMIT).unwrap();
        assert!(copied.ok(), "{}", copied.said());
        cluster.start_server();
        cluster.sql("INSERT INTO orders SELECT generate_series(101, 150)");
        let bad = cluster.value("SELECT pg_current_wal_lsn()").parse().unwrap();
        cluster.sql("DELETE FROM orders WHERE id > 10");
        cluster.sql("INSERT INTO orders VALUES (999)");
        Self {
            copy,
            archive,
            log: cluster.root.path().join("recovery.log"),
            bad,
            end: bad,
            cluster,
        }
    }

    /// Everything so far is in the archive; the damaged server stands still.
    fn archived(mut self) -> Self {
        self.end = self.cluster.value("SELECT pg_switch_wal()").parse().unwrap();
        self.cluster.sql("CHECKPOINT");
        self.cluster.stop_server("fast");
        self
    }

    fn closed(&self) -> ClosedServer {
        ClosedServer::of(&self.copy, &self.cluster.owner, self.cluster.binaries.major)
    }

    fn driver(&self) -> Box<dyn Driver> {
        control::driver_for(&self.cluster.config(), &self.copy).unwrap()
    }

    fn configure(&self, point: TargetPoint, minimums: &[(&str, i64)]) {
        let script = format!("cp \"{}/$0\" \"$1\"", self.archive.display());
        let settings = RecoverySettings {
            restore_command: ["/bin/sh", "-c", &script, "%f", "%p"].map(String::from).to_vec(),
            target: Target { point, inclusive: false, timeline: None },
            minimums: minimums.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        };
        let TestCluster { owner, binaries, .. } = &self.cluster;
        recovery_settings::write(&self.copy, owner, binaries, &settings).unwrap();
    }

    /// Starts the copy closed and watches it until it settles.
    fn replay(&self, point: TargetPoint, minimums: &[(&str, i64)]) -> ReplayState {
        self.configure(point.clone(), minimums);
        self.closed().prepare().unwrap();
        self.driver().start(&self.closed().start_recovery(&self.log)).unwrap();
        let connection = self.closed().connection(&self.cluster.connection());
        let end = Some(self.end);
        let mut watch =
            RecoveryWatch::new(connection, self.copy.clone(), self.log.clone(), point, end);
        let state = runtime().block_on(watch.until_settled(LIMIT, |_, _| true)).unwrap();
        println!("{state:?}\n{}", watch.log_lines().join("\n"));
        state
    }

    fn rows(&self) -> i64 {
        let connection = self.closed().connection(&self.cluster.connection());
        runtime().block_on(async {
            let session = connect::connect(&connection, &Default::default()).await.unwrap();
            session.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0)
        })
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let Ok(driver) = control::driver_for(&self.cluster.config(), &self.copy) {
            let _ = driver.stop(StopMode::Immediate, LIMIT);
        }
        let _ = self.closed().remove();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn stops_just_before_the_bad_transaction_closed_and_is_promoted_and_opened() {
    let lost = Lost::new().archived();
    let auto = lost.copy.join("postgresql.auto.conf");
    let conf = fs::read(lost.copy.join("postgresql.conf")).unwrap();
    let before = fs::read(&auto).unwrap();
    fs::write(lost.copy.join("standby.signal"), "").unwrap();
    let state = lost.replay(TargetPoint::Lsn(lost.bad), &[]);
    let ReplayState::AtTarget { stop, lsn, .. } = state else { panic!("{state:?}") };
    assert!(stop.contains("before WAL location"), "{stop}");
    assert!(lsn.unwrap() <= lost.bad);
    assert_eq!(lost.rows(), 150);
    assert!(recovery_settings::is_written(&lost.copy).unwrap());
    let TestCluster { owner, .. } = &lost.cluster;
    assert!(recovery_settings::remove(&lost.copy, owner).is_err(), "not promoted yet");
    assert!(
        !lost.cluster.socket.join(format!(".s.PGSQL.{}", lost.cluster.port)).exists(),
        "the application's socket is not there"
    );

    let driver = lost.driver();
    driver.promote(LIMIT).unwrap();
    assert_eq!(recovery_settings::remove(&lost.copy, owner).unwrap(), Removed::Removed);
    assert_eq!(recovery_settings::remove(&lost.copy, owner).unwrap(), Removed::NotThere);
    assert_eq!(fs::read(&auto).unwrap(), before, "byte for byte");
    assert_eq!(fs::read(lost.copy.join("postgresql.conf")).unwrap(), conf);

    let archived = || {
        fs::read_dir(&lost.archive).unwrap().flatten().map(|e| e.file_name()).collect::<Vec<_>>()
    };
    assert!(
        !archived().iter().any(|name| name == "00000002.history"),
        "nothing archived while closed"
    );
    driver.restart(&StartOptions::default(), LIMIT).unwrap();
    support::wait_for("the new timeline in the archive", || {
        archived().iter().any(|name| name == "00000002.history")
    });
    assert_eq!(
        lost.cluster.value("SELECT count(*) FROM orders"),
        "150",
        "open as it was configured"
    );
}

#[test]
fn a_later_target_needs_no_new_copy_and_the_end_of_the_archive_does_not_promote() {
    let lost = Lost::new().archived();
    let state = lost.replay(TargetPoint::Lsn(lost.bad), &[]);
    assert!(matches!(state, ReplayState::AtTarget { .. }), "{state:?}");
    lost.driver().stop(StopMode::Fast, LIMIT).unwrap();
    let state = lost.replay(TargetPoint::EndOfArchive, &[]);
    assert!(matches!(state, ReplayState::AtTarget { .. }), "{state:?}");
    assert_eq!(lost.rows(), 11, "ten that were left and one that came later");
    let seen = |end: Option<Lsn>| {
        let connection = lost.closed().connection(&lost.cluster.connection());
        let (data, log) = (lost.copy.clone(), lost.log.clone());
        let mut watch = RecoveryWatch::new(connection, data, log, TargetPoint::EndOfArchive, end);
        runtime().block_on(watch.until_settled(LIMIT, |_, _| true)).unwrap()
    };
    // More log is known of than can be had: it is told, with where it ends.
    let beyond = Lsn(lost.end.0 + (64 << 20));
    let ReplayState::OutOfLog { lsn, why, .. } = seen(Some(beyond)) else { panic!("settled") };
    assert!(lsn >= Some(lost.bad) && why.kind == Kind::Unreachable, "{lsn:?} {why}");
    assert!(why.what.contains(&beyond.to_string()), "{why}");
    // Where nobody knows an end, it is where the server finds no more.
    let state = seen(None);
    assert!(matches!(state, ReplayState::AtTarget { .. }), "{state:?}");
    lost.driver().promote(LIMIT).unwrap();
    let TestCluster { owner, .. } = &lost.cluster;
    assert_eq!(recovery_settings::remove(&lost.copy, owner).unwrap(), Removed::Removed);
}

#[test]
fn a_pause_for_low_settings_is_not_the_target() {
    let mut lost = Lost::new();
    lost.cluster.append_conf(&["max_connections = 60"]);
    lost.cluster.stop_server("fast");
    lost.cluster.start_server();
    lost.cluster.sql("INSERT INTO orders VALUES (1000)");
    let point = lost.cluster.value("SELECT pg_current_wal_lsn()").parse().unwrap();
    lost.cluster.sql("INSERT INTO orders VALUES (1001)");
    lost = lost.archived();
    let state = lost.replay(TargetPoint::Lsn(point), &[]);
    // Up to 13 the server ends there; from 14 on it pauses.
    let (ReplayState::PausedFor(why) | ReplayState::Failed(why)) = state else {
        panic!("{state:?}")
    };
    assert_eq!(why.kind, Kind::Config);
    assert!(why.what.contains("max_connections = 20"), "{why}");
    lost.driver().stop(StopMode::Fast, LIMIT).unwrap();
    let state = lost.replay(TargetPoint::Lsn(point), &[("max_connections", 60)]);
    assert!(matches!(state, ReplayState::AtTarget { .. }), "{state:?}");
    assert_eq!(lost.rows(), 12);
}

#[test]
fn a_target_beyond_the_wal_and_a_broken_archive_are_explained() {
    let lost = Lost::new().archived();
    let beyond = TargetPoint::Lsn(Lsn(0xFF_0000_0000));
    let state = lost.replay(beyond, &[]);
    let ReplayState::Failed(why) = state else { panic!("{state:?}") };
    assert_eq!(why.kind, Kind::Unreachable, "{why}");

    let settings = RecoverySettings {
        restore_command: ["/bin/sh", "-c", "exit 200", "%f", "%p"].map(String::from).to_vec(),
        target: Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None },
        minimums: Vec::new(),
    };
    let TestCluster { owner, binaries, .. } = &lost.cluster;
    recovery_settings::write(&lost.copy, owner, binaries, &settings).unwrap();
    let _ = lost.driver().start(&lost.closed().start_recovery(&lost.log));
    let connection = lost.closed().connection(&lost.cluster.connection());
    let mut watch = RecoveryWatch::new(
        connection,
        lost.copy.clone(),
        lost.log.clone(),
        TargetPoint::EndOfArchive,
        None,
    );
    let state = runtime().block_on(watch.until_settled(LIMIT, |_, _| true)).unwrap();
    let ReplayState::Failed(why) = state else { panic!("{state:?}") };
    assert_eq!(why.kind, Kind::Storage, "{why}");
    assert!(discovery::running(&lost.copy).unwrap().postmaster().is_none());
}
