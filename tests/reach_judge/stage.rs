//! The stage: one small cluster whose table has a row a commit, its archive, copies of that
//! archive that are changed, and recoveries that fork off it.

use crate::throwaway::{Cluster, text};
use jiff::Timestamp;
use lifeboat::engine::backup;
use lifeboat::engine::config::{self, Config};
use lifeboat::engine::incident::facts::{BaseSummary, Target, TargetPoint};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::postgres::discovery;
use lifeboat::engine::postgres::recovery_settings::{self, RecoverySettings};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::restore::base;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const SEGMENT: u64 = 1 << 20;
pub const CLUSTER: &str = "test";

/// A commit that added one row.
#[derive(Debug, Clone)]
pub struct Row {
    pub n: i32,
    pub xid: u32,
    pub at: Timestamp,
    /// Where the log ended before it and behind it.
    pub before: Lsn,
    pub after: Lsn,
}

/// A server with the table: the cluster itself, or one that was recovered and promoted.
#[derive(Debug, Clone)]
pub struct Server {
    pub data: PathBuf,
    pub port: u16,
}

pub struct Stage {
    pub cluster: Cluster,
    pub first: Server,
    /// Holds the program.
    programs: tempfile::TempDir,
}

/// A disk in memory, where there is one with room: a restore waits for the disk more than for
/// anything else.
fn in_memory() {
    let shm = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(shm).map_or(0, |volume| volume.f_bavail * volume.f_frsize);
    if free > 3 << 30 {
        let _ = tempfile::env::override_temp_dir(shm);
    }
}

impl Stage {
    /// A running cluster that archives through the program into `near`.
    pub fn new() -> Self {
        in_memory();
        // The server's user may not be able to enter the folder that the tests are built in, and
        // a disk in memory may not run programs.
        let programs = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(programs.path().join("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        let cluster = Cluster::start(1);
        let first = Server { data: cluster.data.clone(), port: 5432 };
        let stage = Self { cluster, first, programs };
        stage.write_config("near", &stage.first);
        let config = stage.config("near");
        stage.program("near", &["create-repository", "--repository", "near"]);
        assert_eq!(config.repositories.len(), 1);
        for line in [
            &format!("archive_command = '{}'", stage.archive_command("near")),
            "track_commit_timestamp = on",
            "max_prepared_transactions = 5",
            "max_connections = 30",
            "superuser_reserved_connections = 1",
            "max_wal_senders = 3",
            "shared_buffers = '16MB'",
            "hot_standby_feedback = off",
        ] {
            stage.cluster.configure(&stage.cluster.data, line);
        }
        stage.cluster.pg_ctl(&stage.cluster.data, &["restart", "-m", "fast"]);
        stage.sql(&stage.first, "CREATE TABLE rows (n int PRIMARY KEY)");
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    fn lifeboat(&self) -> PathBuf {
        self.programs.path().join("lifeboat")
    }

    fn archive_command(&self, name: &str) -> String {
        let (program, file) = (self.lifeboat(), self.path(&format!("{name}.toml")));
        format!("{} --config {} archive-wal %p", program.display(), file.display())
    }

    /// The program, as the server's user.
    fn program(&self, name: &str, arguments: &[&str]) {
        let done = self.try_program(name, arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The program, as the server's user, however it ends.
    pub fn try_program(&self, name: &str, arguments: &[&str]) -> std::process::Output {
        let file = text(&self.path(&format!("{name}.toml")));
        let all = [&["--config", &file], arguments].concat();
        self.cluster.try_run(&text(&self.lifeboat()), &all)
    }

    /// A configuration of which `name` is the only repository.
    pub fn write_config(&self, name: &str, server: &Server) {
        let (root, bin) = (self.cluster.root.path().display(), self.cluster.bin.display());
        let (data, port) = (server.data.display(), server.port);
        let content = format!(
            "state_directory = \"{root}/state of {name}\"\n[[clusters]]\nname = \"{CLUSTER}\"\n\
             tier = \"critical\"\nenvironment = \"drill\"\ndata_directory = \"{data}\"\n\
             repositories = [\"near\"]\n[clusters.connection]\nhost = \"{root}\"\nport = {port}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{bin}\"\n\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{root}/{name}\"\n[repositories.encryption]\ncipher = \"none\"\n"
        );
        fs::write(self.path(&format!("{name}.toml")), content).unwrap();
    }

    pub fn config(&self, name: &str) -> Config {
        config::load(Some(&self.path(&format!("{name}.toml")))).unwrap()
    }

    pub fn repository(&self, name: &str) -> Repository {
        Repository::open(&self.config(name).repositories[0], CLUSTER).unwrap()
    }

    pub fn sql(&self, server: &Server, sql: &str) -> String {
        self.sql_in(server, "postgres", sql)
    }

    pub fn sql_in(&self, server: &Server, database: &str, sql: &str) -> String {
        self.session_in(server, database, &[sql])
    }

    /// Statements one after the other in one session, and what each of them gives.
    pub fn session(&self, server: &Server, statements: &[&str]) -> String {
        self.session_in(server, "postgres", statements)
    }

    fn session_in(&self, server: &Server, database: &str, statements: &[&str]) -> String {
        let (socket, port) = (text(self.cluster.root.path()), server.port.to_string());
        let options = ["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", &socket, "-p", &port];
        let place = ["-U", "postgres", "-d", database];
        let each = statements.iter().flat_map(|sql| ["-c", sql]);
        let arguments: Vec<&str> = options.into_iter().chain(place).chain(each).collect();
        let output = self.cluster.run("psql", &arguments);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Adds one row in a transaction of its own.
    pub fn add(&self, server: &Server, n: i32) -> Row {
        let before = self.end_of_log(server);
        self.sql(server, &format!("INSERT INTO rows VALUES ({n})"));
        self.row(server, n, before)
    }

    pub fn end_of_log(&self, server: &Server) -> Lsn {
        self.sql(server, "SELECT pg_current_wal_insert_lsn()").parse().unwrap()
    }

    /// A row that has just been committed; nothing was committed since `before` but it.
    pub fn row(&self, server: &Server, n: i32, before: Lsn) -> Row {
        let sql = format!(
            "SELECT xmin, pg_xact_commit_timestamp(xmin) AT TIME ZONE 'UTC', \
             pg_current_wal_insert_lsn() FROM rows WHERE n = {n}"
        );
        let found = self.sql(server, &sql);
        let fields: Vec<&str> = found.split('|').collect();
        let at = format!("{}Z", fields[1].replace(' ', "T")).parse().unwrap();
        Row { n, xid: fields[0].parse().unwrap(), at, before, after: fields[2].parse().unwrap() }
    }

    /// Ends the segment. What comes after it is in another one.
    pub fn switch(&self, server: &Server) {
        self.sql(server, "SELECT pg_switch_wal()");
    }

    /// Waits until all finished segments are in the archive.
    pub fn archived(&self, server: &Server) {
        let status = server.data.join("pg_wal/archive_status");
        let waits = |e: fs::DirEntry| text(&e.path()).ends_with(".ready");
        self.cluster.wait_for("an archive that is up to date", || {
            !fs::read_dir(&status).unwrap().flatten().any(waits)
        });
    }

    pub fn back_up(&self, name: &str) -> BaseSummary {
        let config = self.config(name);
        let repository = self.repository(name);
        let options = backup::Options::default();
        let made = backup::run(&config.clusters[0], &repository, &options, &|_| {}, &|| false);
        let made = made.unwrap_or_else(|e| panic!("{e}"));
        self.give(name);
        made.descriptor.summary("near")
    }

    /// What root has written is the server's user's too.
    fn give(&self, name: &str) {
        let owner = discovery::owner(&self.cluster.data).unwrap();
        if nix::unistd::geteuid().is_root() {
            let to = format!("{}:{}", owner.uid, owner.gid);
            let mut chown = std::process::Command::new("chown");
            assert!(chown.args(["-R", &to]).arg(self.path(name)).status().unwrap().success());
        }
    }

    /// The repository `from` once more, under another name.
    pub fn copy(&self, from: &str, to: &str) {
        self.cluster.run("/bin/cp", &["-a", &text(&self.path(from)), &text(&self.path(to))]);
        self.write_config(to, &self.first);
    }

    /// Takes WAL files out of a repository whose names begin with one of `names`; how many.
    pub fn remove(&self, repository: &str, names: &[&str]) -> usize {
        let gone: Vec<PathBuf> = files(&self.path(repository))
            .into_iter()
            .filter(|path| names.iter().any(|name| file_name(path).starts_with(name)))
            .collect();
        gone.iter().for_each(|path| fs::remove_file(path).unwrap());
        gone.len()
    }

    /// Adds what `from` has and `to` has not.
    pub fn merge(&self, from: &str, to: &str) {
        let (from, to) = (self.path(from), self.path(to));
        for path in files(&from) {
            let there = to.join(path.strip_prefix(&from).unwrap());
            if !there.exists() {
                fs::create_dir_all(there.parent().unwrap()).unwrap();
                fs::copy(&path, &there).unwrap();
            }
        }
        self.give(&file_name(&to));
    }

    /// Restores `base` of the repository `from`, configured to recover to `target` the way the
    /// product does it.
    pub fn restore(&self, from: &str, base: &BaseSummary, target: &Target, how: &How<'_>) {
        let owner = discovery::owner(&self.cluster.data).unwrap();
        let mut options = base::Options::new("restore", &|_| {}, &|| false);
        options.owner = nix::unistd::geteuid().is_root().then_some((owner.uid, owner.gid));
        base::restore(&self.repository(from), &base.set, how.data, &options).unwrap();
        let program = self.lifeboat();
        let file = self.path(&format!("{from}.toml"));
        let mut command: Vec<String> =
            [&text(&program), "--config", &text(&file), "restore-wal", "--cluster", CLUSTER]
                .map(String::from)
                .to_vec();
        if let Some(rescue) = how.rescue {
            command.extend([String::from("--rescue"), text(rescue)]);
        }
        command.extend([String::from("%f"), String::from("%p")]);
        let binaries = discovery::binaries(Some(&self.cluster.bin), Some(how.data)).unwrap();
        let settings = RecoverySettings {
            restore_command: command,
            target: target.clone(),
            minimums: how.minimums.to_vec(),
        };
        recovery_settings::write(how.data, &owner, &binaries, &settings).unwrap();
    }

    /// A server that is recovered from `near` to just behind `row` and goes on by itself,
    /// archiving into the new repository `name`.
    pub fn fork(&self, name: &str, base: &BaseSummary, row: &Row, port: u16) -> Server {
        let server = Server { data: self.path(&format!("data of {name}")), port };
        self.copy("near", name);
        let target =
            Target { point: TargetPoint::Lsn(row.after), inclusive: false, timeline: None };
        let minimums = [(String::from("max_connections"), 40)];
        let how = How { data: &server.data, rescue: None, minimums: &minimums };
        self.restore("near", base, &target, &how);
        self.write_config(name, &server);
        for line in [
            "recovery_target_action = 'promote'",
            &format!("archive_command = '{}'", self.archive_command(name)),
            &format!("port = {port}"),
        ] {
            self.cluster.configure(&server.data, line);
        }
        self.cluster.pg_ctl(&server.data, &["start"]);
        self.cluster
            .wait_for("the promotion", || self.sql(&server, "SELECT pg_is_in_recovery()") == "f");
        server
    }

    pub fn stop(&self, server: &Server) {
        self.cluster.pg_ctl(&server.data, &["stop", "-m", "fast"]);
    }
}

/// Where a restore goes and what its recovery is given.
pub struct How<'a> {
    pub data: &'a Path,
    pub rescue: Option<&'a Path>,
    pub minimums: &'a [(String, i64)],
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The numbers of rows, in their order.
pub fn numbers<'a>(rows: impl IntoIterator<Item = &'a Row>) -> BTreeSet<i32> {
    rows.into_iter().map(|row| row.n).collect()
}
