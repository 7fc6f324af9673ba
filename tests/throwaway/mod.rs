//! A real PostgreSQL cluster for one test: made, used, stopped and removed by it.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "../patience/mod.rs"]
pub mod patience;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A running cluster that archives into `archive`.
#[derive(Debug)]
pub struct Cluster {
    pub bin: PathBuf,
    pub root: tempfile::TempDir,
    pub data: PathBuf,
    pub archive: PathBuf,
    /// Bytes.
    pub segment_size: u64,
    user: Option<(u32, u32)>,
}

/// Where the server's programs are: `LIFEBOAT_TEST_PG_BIN`, what `make test` found, the path, the distribution's folder.
pub fn binaries() -> PathBuf {
    let named = std::env::var_os("LIFEBOAT_TEST_PG_BIN");
    if let Some(bin) = named.or_else(|| std::env::var_os("LIFEBOAT_PG_BIN")) {
        return PathBuf::from(bin);
    }
    let mut found: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    found.extend(packaged.map(|version| version.path().join("bin")));
    found
        .into_iter()
        .find(|bin| bin.join("initdb").exists() && bin.join("pg_waldump").exists())
        .expect("a PostgreSQL server's programs; name their folder in LIFEBOAT_TEST_PG_BIN")
}

impl Cluster {
    /// Makes and starts one with WAL segments of `megabytes`.
    pub fn start(megabytes: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let user = unprivileged();
        let cluster = Self {
            bin: binaries(),
            data: root.path().join("data"),
            archive: root.path().join("archive"),
            root,
            segment_size: megabytes << 20,
            user,
        };
        fs::set_permissions(cluster.root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(&cluster.archive).unwrap();
        fs::create_dir(&cluster.data).unwrap();
        if let Some((uid, gid)) = cluster.user {
            for folder in [cluster.root.path(), &cluster.archive, &cluster.data] {
                chown(folder, Some(uid), Some(gid)).unwrap();
            }
        }
        let size = format!("--wal-segsize={megabytes}");
        cluster.run(
            "initdb",
            &["-N", "-A", "trust", "-U", "postgres", "-D", &text(&cluster.data), &size],
        );
        cluster.configure(&cluster.data, "archive_mode = on");
        let command = format!("archive_command = 'cp %p {}/%f'", cluster.archive.display());
        cluster.configure(&cluster.data, &command);
        cluster.pg_ctl(&cluster.data, &["start"]);
        cluster
    }

    /// Adds a line to the cluster's settings, and the ones every test cluster needs.
    pub fn configure(&self, data: &Path, line: &str) {
        let file = data.join("postgresql.auto.conf");
        let mut content = fs::read_to_string(&file).unwrap_or_default();
        if !content.contains("unix_socket_directories") {
            content.push_str(&format!(
                "listen_addresses = ''\nunix_socket_directories = '{}'\nport = 5432\nfsync = off\nautovacuum = off\n",
                self.root.path().display()
            ));
        }
        content.push_str(line);
        content.push('\n');
        fs::write(file, content).unwrap();
    }

    /// Runs `pg_ctl`, waiting at most 60 s.
    pub fn pg_ctl(&self, data: &Path, action: &[&str]) -> Output {
        let log = text(&self.root.path().join("server.log"));
        let output = self.try_ctl(data, action, &log);
        assert!(output.status.success(), "pg_ctl {action:?}: {}", self.log());
        output
    }

    pub fn try_ctl(&self, data: &Path, action: &[&str], log: &str) -> Output {
        let data = text(data);
        let mut arguments = vec!["-D", &data, "-w", "-t", "60", "-l", log, "-s"];
        arguments.extend(action);
        let mut command = self.command("pg_ctl");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.output().unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("server.log")).unwrap_or_default()
    }

    /// Runs SQL in `postgres`; gives the rows as text.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let socket = text(self.root.path());
        let output = self.run(
            "psql",
            &[
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                &socket,
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ],
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Ends the segment and waits until it is in the archive.
    pub fn archive_all(&self) {
        let name = self.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        self.sql("CREATE TABLE IF NOT EXISTS switcher(n int); INSERT INTO switcher VALUES (1)");
        self.sql("SELECT pg_switch_wal()");
        self.wait_for(&format!("{name} in the archive"), || self.archive.join(&name).exists());
        let ready = || {
            let status = self.data.join("pg_wal/archive_status");
            !fs::read_dir(status).unwrap().flatten().any(|e| text(&e.path()).ends_with(".ready"))
        };
        self.wait_for("an archive that is up to date", ready);
    }

    pub fn wait_for(&self, what: &str, condition: impl Fn() -> bool) {
        let limit = Duration::from_secs(60);
        patience::wait_or(limit, condition, || format!("{what}: not within 60 s: {}", self.log()));
    }

    /// Takes a base backup into a new folder beside the data directory.
    pub fn base_backup(&self, name: &str) -> PathBuf {
        let to = self.root.path().join(name);
        let socket = text(self.root.path());
        self.run(
            "pg_basebackup",
            &[
                "-h",
                &socket,
                "-U",
                "postgres",
                "-D",
                &text(&to),
                "-c",
                "fast",
                "-X",
                "none",
                "--no-sync",
            ],
        );
        to
    }

    /// Runs a program as the server's user, however it ends.
    pub fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program).args(arguments).output().unwrap()
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.try_run(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        output
    }

    /// As [`Cluster::run`], with what it prints thrown away.
    pub fn run_quietly(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program).args(arguments).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/").env_remove("PGPORT").env("LC_ALL", "C").env("TZ", "UTC");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let log = text(&self.root.path().join("server.log"));
        let _ = self.try_ctl(&self.data, &["stop", "-m", "immediate"], &log);
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The server refuses to run as root: then it runs as an account that may do nothing else.
fn unprivileged() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let named = |name| nix::unistd::User::from_name(name).ok().flatten();
    let user = named("postgres").or_else(|| named("nobody")).expect("an unprivileged user");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}
