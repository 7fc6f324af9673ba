//! A throwaway PostgreSQL cluster for integration tests: `mod support;`.
//!
//! It lives in a folder of its own, listens on a socket in it (and on a free TCP port where
//! asked), runs as an unprivileged user where the test is root, and is gone when dropped. The
//! server's programs are found, not assumed; `LIFEBOAT_PG_BIN` names others.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "../patience/mod.rs"]
mod patience;

pub use patience::wait_within;

use lifeboat::engine::config::{Cluster, Connection, Control, Retention, Tls};
use lifeboat::engine::incident::facts::Tier;
use lifeboat::engine::postgres::child;
use lifeboat::engine::postgres::connect::{ConnectOptions, connect_within};
use lifeboat::engine::postgres::discovery::{self, Binaries, Owner};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Nothing in a test waits longer than this; it is long, since only a failing test waits it out and
/// a loaded machine is no failure.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A cluster of its own.
#[derive(Debug)]
pub struct TestCluster {
    /// The folder of everything: `data`, `s` (socket), `log`; others may be added by the test.
    pub root: tempfile::TempDir,
    pub data: PathBuf,
    pub socket: PathBuf,
    pub port: u16,
    pub log: PathBuf,
    pub binaries: Binaries,
    /// The user that the server runs as.
    pub owner: Owner,
}

impl TestCluster {
    /// A running cluster. `conf` are lines for `postgresql.conf`.
    pub fn start(conf: &[&str]) -> Self {
        let cluster = Self::init(conf);
        cluster.start_server();
        cluster
    }

    /// A cluster that does not run yet. Data checksums are on, the locale is C, the superuser is
    /// `postgres` without a password.
    pub fn init(conf: &[&str]) -> Self {
        let binaries = discovery::binaries(None, None).expect("PostgreSQL's programs are needed");
        let owner = server_user();
        let root = folder(&owner);
        let path = root.path().to_owned();
        let cluster = Self {
            data: path.join("data"),
            socket: path.join("s"),
            log: path.join("log"),
            port: free_port(),
            root,
            binaries,
            owner,
        };
        cluster.make_folder(&cluster.socket, 0o700);
        cluster.make_folder(&cluster.data, 0o700);
        let data = cluster.data.display().to_string();
        cluster.run(
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
            &["--locale=C", "--data-checksums", "--no-sync"],
        );
        cluster.append_conf(&[
            "fsync = off",
            "listen_addresses = ''",
            &format!("port = {}", cluster.port),
            &format!("unix_socket_directories = '{}'", cluster.socket.display()),
            "lc_messages = 'C'",
            "shared_buffers = 16MB",
        ]);
        cluster.append_conf(conf);
        cluster
    }

    /// Adds lines to `postgresql.conf`; the last of a setting wins.
    pub fn append_conf(&self, lines: &[&str]) {
        let path = self.data.join("postgresql.conf");
        let mut text = fs::read_to_string(&path).unwrap();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(&path, text).unwrap();
    }

    /// Starts the server and waits until it is ready.
    pub fn start_server(&self) {
        let (data, log) = (self.data.display().to_string(), self.log.display().to_string());
        let args = ["start", "-s", "-w", "-t", "60", "-D", &data, "-l", &log];
        let finished = self.try_run("pg_ctl", &args);
        assert!(finished.ok(), "{}\n{}", finished.said(), self.log_text());
    }

    /// Stops the server: `fast`, `smart` or `immediate`.
    pub fn stop_server(&self, mode: &str) {
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-s", "-w", "-t", "60", "-D", &data, "-m", mode], &[]);
    }

    /// Runs statements; gives the rows of them all as text. NULL is an empty text.
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        self.sql_in("postgres", sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        self.try_sql_in(database, sql).unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// The first value of the first row.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.sql(sql);
        rows.first().and_then(|row| row.first()).cloned().expect("one row with one value")
    }

    pub fn try_sql_in(&self, database: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let connection = self.connection();
        let options = ConnectOptions::default().database(database).statement_limit(Some(LIMIT));
        // On a thread of its own, so that it works inside and outside a runtime.
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let session = connect_within(&connection, &options, LIMIT)
                    .await
                    .map_err(|error| error.to_string())?;
                let messages = session
                    .simple_query(sql)
                    .await
                    .map_err(|error| lifeboat::engine::postgres::connect::reason(&error))?;
                Ok(messages.iter().filter_map(texts).collect())
            })
        };
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap()
    }

    /// By the socket, as `postgres`.
    pub fn connection(&self) -> Connection {
        Connection {
            host: self.socket.display().to_string(),
            port: self.port,
            user: String::from("postgres"),
            database: String::from("postgres"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        }
    }

    /// The cluster as the configuration would have it.
    pub fn config(&self) -> Cluster {
        Cluster {
            name: String::from("test"),
            tier: Tier::Standard,
            environment: String::from("drill"),
            data_directory: self.data.clone(),
            alternative_data_directory: None,
            tablespace_mapping: Default::default(),
            delta_restore: false,
            connection: self.connection(),
            control: Control::PgCtl {
                bin_directory: Some(self.binaries.directory.clone()),
                log: Some(self.log.clone()),
                config_file: None,
            },
            repositories: Vec::new(),
            probes: Vec::new(),
            tables: Vec::new(),
            health_url: None,
            application: None,
            archiving: lifeboat::engine::config::Archiving::default(),
            retention: Retention::default(),
            schedule: lifeboat::engine::config::schedule::Schedule::default(),
            masking: Vec::new(),
            erasure: None,
        }
    }

    /// A new folder for the server's user.
    pub fn make_folder(&self, path: &Path, mode: u32) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        child::give(path, &self.owner).unwrap();
    }

    /// Runs one of PostgreSQL's programs as the server's user; fails the test where it fails.
    pub fn run(&self, program: &str, args: &[&str], more: &[&str]) -> String {
        let finished = self.try_run(program, &[args, more].concat());
        assert!(finished.ok(), "{program}: {}", finished.said());
        finished.stdout
    }

    pub fn try_run(&self, program: &str, args: &[&str]) -> child::Finished {
        let mut command = child::command(self.binaries.program(program), &self.owner).unwrap();
        command.args(args);
        child::run(command, LIMIT).unwrap()
    }

    pub fn log_text(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| error.to_string(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Ok(mut command) = child::command(self.binaries.program("pg_ctl"), &self.owner) {
            command.args(["stop", "-s", "-w", "-t", "20", "-m", "immediate", "-D"]);
            let _ = child::run(self.with_data(command), Duration::from_secs(30));
        }
    }
}

impl TestCluster {
    fn with_data(&self, mut command: std::process::Command) -> std::process::Command {
        command.arg(&self.data);
        command
    }
}

/// The user that test servers run as: this one, or an unprivileged one where this is root.
pub fn server_user() -> Owner {
    let current = Owner::current();
    if current.uid != 0 {
        return current;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| Owner::named(name).ok())
        .expect("a user that is not root")
}

/// A folder that the server's user can enter, under the system's temporary folder.
pub fn folder(owner: &Owner) -> tempfile::TempDir {
    let root = tempfile::Builder::new().prefix("lb-").tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    child::give(root.path(), owner).unwrap();
    root
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `condition` holds; fails the test after [`LIMIT`], saying what was waited for.
#[track_caller]
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    wait_within(LIMIT, what, condition);
}

fn texts(message: &tokio_postgres::SimpleQueryMessage) -> Option<Vec<String>> {
    match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    }
}
