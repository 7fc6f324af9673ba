//! Control files, discovery, connections and start and stop, against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use lifeboat::engine::config::{Connection, Tls};
use lifeboat::engine::explain::Explain;
use lifeboat::engine::incident::facts::ServerRole;
use lifeboat::engine::postgres::connect::{self, ConnectError, ConnectOptions};
use lifeboat::engine::postgres::control::{
    self, ControlError, StartOptions, StartWait, Started, StopMode, Stopped,
};
use lifeboat::engine::postgres::control_file::{self, ClusterState};
use lifeboat::engine::postgres::discovery::{self, Readiness, Running};
use std::time::Duration;
use support::{LIMIT, TestCluster};

/// `label: value` of `pg_controldata`.
fn judged<'a>(text: &'a str, label: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(':'))
        .map(str::trim)
        .unwrap_or_else(|| panic!("{label} in\n{text}"))
}

#[test]
fn the_control_file_says_what_pg_controldata_says() {
    let cluster = TestCluster::start(&["max_connections = 37", "max_wal_senders = 7"]);
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n; CHECKPOINT");
    let running = control_file::read(&cluster.data).unwrap();
    assert_eq!(running.state, ClusterState::InProduction);
    assert_eq!(
        running.checkpoint.lsn.to_string(),
        cluster.value("SELECT checkpoint_lsn FROM pg_control_checkpoint()")
    );
    cluster.stop_server("fast");
    let file = control_file::read(&cluster.data).unwrap();
    assert_eq!(file.state, ClusterState::ShutDown);
    assert_eq!(file.max_connections, 37);
    let Some(judge) = cluster.binaries.optional("pg_controldata") else { return };
    assert!(judge.is_file());
    let data = cluster.data.display().to_string();
    let text = cluster.run("pg_controldata", &["-D", &data], &[]);
    let same = |label: &str, ours: String| assert_eq!(judged(&text, label), ours, "{label}");
    same("Database system identifier", file.system_identifier.to_string());
    same("pg_control version number", file.control_version.to_string());
    same("Catalog version number", file.catalog_version.to_string());
    same("Latest checkpoint location", file.checkpoint.lsn.to_string());
    same("Latest checkpoint's REDO location", file.checkpoint.redo.to_string());
    same("Latest checkpoint's TimeLineID", file.checkpoint.timeline.to_string());
    same("Latest checkpoint's PrevTimeLineID", file.checkpoint.previous_timeline.to_string());
    let xid = file.checkpoint.next_xid;
    same("Latest checkpoint's NextXID", format!("{}:{}", xid >> 32, xid & 0xFFFF_FFFF));
    same("Latest checkpoint's oldestXID", file.checkpoint.oldest_xid.to_string());
    same("Minimum recovery ending location", file.minimum_recovery_point.to_string());
    same("Min recovery ending loc's timeline", file.minimum_recovery_timeline.to_string());
    same("Backup start location", file.backup_start.to_string());
    same("max_connections setting", file.max_connections.to_string());
    same("max_worker_processes setting", file.max_worker_processes.to_string());
    same("max_wal_senders setting", file.max_wal_senders.to_string());
    same("max_prepared_xacts setting", file.max_prepared_transactions.to_string());
    same("max_locks_per_xact setting", file.max_locks_per_transaction.to_string());
    same("Database block size", file.block_size.to_string());
    same("Blocks per segment of large relation", file.relation_segment_blocks.to_string());
    same("WAL block size", file.wal_block_size.to_string());
    same("Bytes per WAL segment", file.wal_segment_size.to_string());
    same("Data page checksum version", file.data_checksum_version.to_string());
    same("wal_level setting", String::from("replica"));
}

#[test]
fn a_running_server_is_told_from_a_stale_pid_file() {
    let cluster = TestCluster::start(&[]);
    let running = discovery::running(&cluster.data).unwrap();
    let postmaster = running.postmaster().expect("it runs");
    assert_eq!(postmaster.port, Some(cluster.port));
    assert_eq!(postmaster.socket_directory.as_deref(), Some(cluster.socket.as_path()));
    assert_eq!(postmaster.readiness, Readiness::Ready);
    let pid = postmaster.pid;
    let identity = discovery::identity(&cluster.data).unwrap();
    assert_eq!(identity.role, ServerRole::Primary);
    assert_eq!(identity.version, cluster.binaries.major);
    assert_eq!(
        identity.system_identifier.to_string(),
        cluster.value("SELECT system_identifier FROM pg_control_system()")
    );
    let kept = std::fs::read(cluster.data.join("postmaster.pid")).unwrap();

    // The same process id file in another directory: that process works elsewhere.
    let copy = cluster.root.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("postmaster.pid"), &kept).unwrap();
    assert_eq!(discovery::running(&copy).unwrap(), Running::Stale { pid });

    cluster.stop_server("fast");
    assert_eq!(discovery::running(&cluster.data).unwrap(), Running::No);
    std::fs::write(cluster.data.join("postmaster.pid"), &kept).unwrap();
    assert_eq!(discovery::running(&cluster.data).unwrap(), Running::Stale { pid });
    assert_eq!(discovery::identity(&cluster.data).unwrap().role, ServerRole::Down);
}

#[test]
fn programs_are_found_for_the_data_directory_and_owner_is_read() {
    let cluster = TestCluster::init(&[]);
    let found = discovery::binaries(None, Some(&cluster.data)).unwrap();
    assert_eq!(found.major, cluster.binaries.major);
    assert_eq!(discovery::owner(&cluster.data).unwrap(), cluster.owner);
    let other = discovery::binaries_of(Some(&found.directory), None, Some(found.major - 1));
    assert!(matches!(other, Err(discovery::DiscoveryError::WrongMajor { .. })), "{other:?}");
}

#[test]
fn a_server_is_started_stopped_and_restarted_and_says_what_was_there() {
    let cluster = TestCluster::init(&[]);
    let driver = control::driver(&cluster.config()).unwrap();
    assert_eq!(driver.stop(StopMode::Fast, LIMIT).unwrap(), Stopped::WasDown);
    let settings = vec![(String::from("cluster_name"), String::from("it's \"one\" $HOME"))];
    let options = StartOptions { settings, ..StartOptions::default() };
    assert_eq!(driver.start(&options).unwrap(), Started::Ready);
    assert_eq!(cluster.value("SHOW cluster_name"), "it's \"one\" $HOME");
    assert_eq!(driver.start(&options).unwrap(), Started::AlreadyRunning);
    assert_eq!(driver.restart(&StartOptions::default(), LIMIT).unwrap(), Started::Ready);
    assert_eq!(cluster.value("SHOW cluster_name"), "", "nothing of the first start stays");
    assert!(matches!(driver.promote(LIMIT), Err(ControlError::PromoteFailed { .. })));
    assert_eq!(driver.stop(StopMode::Fast, LIMIT).unwrap(), Stopped::Stopped);
    assert!(matches!(driver.promote(LIMIT), Err(ControlError::NotRunning { .. })));
}

#[test]
fn a_start_that_fails_carries_the_servers_own_reason() {
    let cluster = TestCluster::init(&["shared_buffers = nonsense"]);
    let driver = control::driver(&cluster.config()).unwrap();
    for wait in [StartWait::Ready(LIMIT), StartWait::Begun(LIMIT)] {
        let error = driver.start(&StartOptions { wait, ..StartOptions::default() }).unwrap_err();
        assert!(matches!(error, ControlError::StartFailed { .. }), "{error:?}");
        assert!(error.to_string().contains("shared_buffers"), "{error}");
    }
}

#[test]
fn a_stop_that_takes_too_long_is_said_and_not_forced() {
    let cluster = TestCluster::start(&[]);
    let driver = control::driver(&cluster.config()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let session = runtime
        .block_on(connect::connect(&cluster.connection(), &ConnectOptions::default()))
        .unwrap();
    // A smart stop waits for sessions to end by themselves.
    let error = driver.stop(StopMode::Smart, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ControlError::StillRunning { .. }), "{error:?}");
    assert!(error.explanation().next.contains("not stopped by force"));
    runtime.block_on(session.simple_query("SELECT 1")).expect("the session still lives");
    assert_eq!(driver.stop(StopMode::Fast, LIMIT).unwrap(), Stopped::Stopped);
}

#[tokio::test]
async fn connections_say_why_they_fail() {
    let cluster = TestCluster::start(&[]);
    let connection = cluster.connection();
    let options = ConnectOptions::default();
    let session = connect::connect(&connection, &options).await.unwrap();
    let row = session
        .query_one(
            "SELECT current_setting('application_name'), current_setting('statement_timeout')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("lifeboat", "30s"));

    let fails = async |change: &dyn Fn(&mut Connection)| {
        let mut other = connection.clone();
        change(&mut other);
        connect::connect(&other, &options).await.unwrap_err()
    };
    let error = fails(&|c| c.database = String::from("nothere")).await;
    assert!(matches!(error, ConnectError::NoDatabase { .. }), "{error:?}");
    let error = fails(&|c| c.user = String::from("nobody-here")).await;
    assert!(matches!(error, ConnectError::Login { .. }), "{error:?}");
    let error = fails(&|c| c.host = String::from("/nonexistent")).await;
    assert!(matches!(error, ConnectError::Refused { .. }) && error.may_pass(), "{error:?}");
    let port = support::free_port();
    let tcp = |c: &mut Connection| {
        c.host = String::from("127.0.0.1");
        c.port = port;
    };
    let error = fails(&tcp).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");
    let read_only = connect::connect(&connection, &options.clone().read_only()).await.unwrap();
    let error = read_only.simple_query("CREATE TABLE t ()").await.unwrap_err();
    assert!(connect::reason(&error).contains("read-only"), "{}", connect::reason(&error));
}

#[tokio::test]
async fn passwords_come_from_the_passfile_and_tls_is_required_where_asked() {
    let cluster = TestCluster::init(&["listen_addresses = '127.0.0.1'"]);
    let hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
    cluster.start_server();
    cluster.sql("CREATE ROLE app LOGIN PASSWORD 'a:b\\c'");
    let passfile = cluster.root.path().join("pass");
    lifeboat::engine::files::create(&passfile, b"127.0.0.1:*:*:app:a\\:b\\\\c\n", 0o600).unwrap();
    let mut connection = Connection {
        host: String::from("127.0.0.1"),
        user: String::from("app"),
        passfile: Some(passfile.clone()),
        ..cluster.connection()
    };
    let options = ConnectOptions::default();
    connect::connect(&connection, &options).await.unwrap();
    std::fs::write(&passfile, "*:*:*:app:wrong\n").unwrap();
    let error = connect::connect(&connection, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Login { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    connection.passfile = None;
    let error = connect::connect(&connection, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Login { .. }), "{error:?}");
    connection.tls = Tls::Required;
    let error = connect::connect(&connection, &options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
}
