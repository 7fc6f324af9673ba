//! Setting up a running cluster through the program itself: by flags in three runs with a restart
//! in between, and by answers on a pipe on a cluster that is configured outside its data
//! directory, that another program archives, and beside a configuration that is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod support;

use lifeboat::engine::config;
use lifeboat::engine::postgres::discovery::{self, Owner};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::TestCluster;

/// A cluster and the folder that it is set up in.
struct Place {
    cluster: TestCluster,
    program: PathBuf,
    config: PathBuf,
}

impl Place {
    fn of(cluster: TestCluster) -> Self {
        let root = cluster.root.path().to_owned();
        // Where the server's user can run it, wherever this was built.
        let program = root.join("lifeboat");
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lifeboat")).arg(&program).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = root.join("settings");
        fs::create_dir(&settings).unwrap();
        fs::set_permissions(&settings, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, config: settings.join("lifeboat.toml"), cluster }
    }

    fn root(&self) -> &Path {
        self.cluster.root.path()
    }

    fn path(&self, name: &str) -> String {
        self.root().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str], answers: &str) -> Output {
        let data = self.cluster.data.display().to_string();
        let root = self.path("");
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .args(["init", "--data-directory", &data, "--proof-directory", &root])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// One JSON object and that exit code.
    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let repository = self.path("backups/{cluster}");
        let fixed = ["--yes", "--json", "--cluster-name", "orders", "--repository-path"];
        let arguments = [&fixed[..], &[repository.as_str()], arguments].concat();
        let output = self.run(&arguments, "");
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
    }

    /// What a set-up may change, as bytes.
    fn state(&self) -> Vec<Vec<u8>> {
        let mut files = vec![self.config.clone(), self.cluster.data.join("postgresql.auto.conf")];
        for folder in [self.config.parent().unwrap(), &self.root().join("backups/orders")] {
            let entries = fs::read_dir(folder).into_iter().flatten();
            files.extend(entries.map(|e| e.unwrap().path()).filter(|path| path.is_file()));
        }
        files.sort();
        files.iter().map(|path| fs::read(path).unwrap_or_default()).collect()
    }

    fn nothing_is_left_of_the_copy(&self) {
        let left: Vec<_> = fs::read_dir(self.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("lifeboat-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn verdict_of<'a>(outcome: &'a Value, id: &str) -> &'a str {
    let checks = outcome["proof"]["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == id);
    check.unwrap_or_else(|| panic!("{id} is not in {checks:#?}"))["verdict"].as_str().unwrap()
}

#[test]
fn flags_set_a_cluster_up_over_a_restart_and_a_third_run_changes_nothing() {
    let place = Place::of(TestCluster::start(&["wal_level = minimal", "max_wal_senders = 0"]));
    place.cluster.sql("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) i");

    // Another user of the machine may not even look.
    if nix::unistd::geteuid().is_root() {
        let mut stranger = Command::new(&place.program);
        stranger.uid(4_000_000).arg("--config").arg(&place.config);
        stranger.args(["init", "--yes", "--data-directory"]).arg(&place.cluster.data);
        let refused = stranger.output().unwrap();
        assert_eq!(refused.status.code(), Some(6), "{}", said(&refused));
        assert!(said(&refused).contains("as root or as the server's own user"));
    }

    // A restart is due and was not agreed to.
    let due = place.json(12, &["--tier", "critical"]);
    assert_eq!(due["awaits_restart"], serde_json::json!(["wal_level", "archive_mode"]));
    assert_eq!(due["backup"], Value::Null);
    assert!(due["page"]["headline"].as_str().unwrap().contains("NOT PROTECTED"), "{due:#}");
    assert_eq!(place.cluster.value("SHOW archive_mode"), "off");
    assert_eq!(place.cluster.value("SHOW wal_level"), "minimal");
    assert_eq!(place.cluster.value("SHOW archive_timeout"), "1min");
    let written = config::load(Some(&place.config)).unwrap();
    assert_eq!(written.clusters[0].name, "orders");
    let key = place.config.with_file_name("master.key");
    let found = fs::metadata(&key).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid()), (0o600, place.cluster.owner.uid));
    let secret = fs::read_to_string(&key).unwrap();

    let done = place.json(0, &["--restart"]);
    assert_eq!(done["complete"], true, "{done:#}");
    assert_eq!((&done["restarted"], &done["changed"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(done["proof"]["verdict"], "VERIFIED", "{done:#}");
    assert_eq!(verdict_of(&done, "rows:postgres/public.orders"), "VERIFIED");
    assert_eq!(verdict_of(&done, "pg_verifybackup"), "VERIFIED");
    assert_eq!(place.cluster.value("SHOW archive_mode"), "on");
    assert_eq!(place.cluster.value("SELECT count(*) FROM orders"), "1000");
    let missing = done["page"]["not_protected"].to_string();
    for words in ["one copy", "own volume", "master key", "No scheduler"] {
        assert!(missing.contains(words), "{words}: {missing}");
    }
    assert!(done["page"]["next"].to_string().contains("install-units"), "{done:#}");
    assert!(!done.to_string().contains(secret.trim()), "the key is in the output");
    place.nothing_is_left_of_the_copy();
    // The copy made no timeline and archived nothing.
    let segments = place.root().join("backups/orders/wal-archive");
    let names = fs::read_dir(segments).unwrap().map(|e| e.unwrap().file_name());
    assert!(names.map(|n| n.into_string().unwrap()).all(|n| n.starts_with("00000001")));

    let before = place.state();
    let again = place.json(0, &[]);
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!((&again["backup_taken"], &again["proven_before"]), (&false.into(), &true.into()));
    assert_eq!(again["archiving"]["was_working"], true, "{again:#}");
    assert_eq!(place.state(), before);

    // Every change can be taken back by what the record says.
    let record = fs::read_to_string(place.config.with_file_name("init-orders.jsonl")).unwrap();
    let undo: Vec<String> = record
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| line["undo"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(undo.len(), 4, "{record}");
    for statement in undo {
        place.cluster.sql(&statement);
    }
    let auto = fs::read_to_string(place.cluster.data.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("archive"), "{auto}");
}

const OTHERS: &str = "# Ours, by hand.
[[clusters]]
name = \"other\" # with a comment
tier = \"high\"
environment = \"production\"
data_directory = \"/srv/other/data\"
repositories = [\"shared\"]
connection = { host = \"/run/postgresql\" }
control = { driver = \"pg_ctl\" }

[[repositories]]
name = \"shared\"
store = { kind = \"file\", path = \"/srv/backups/{cluster}\" }";

/// A cluster whose configuration lies outside its data directory, as Debian has it, and whose WAL
/// another program archives.
fn configured_elsewhere() -> TestCluster {
    let cluster =
        TestCluster::init(&["archive_mode = on", "archive_command = 'test -f %p && true'"]);
    let elsewhere = cluster.root.path().join("etc");
    cluster.make_folder(&elsewhere, 0o755);
    let file = |name: &str| elsewhere.join(name).display().to_string();
    cluster.append_conf(&[
        &format!("hba_file = '{}'", file("pg_hba.conf")),
        &format!("ident_file = '{}'", file("pg_ident.conf")),
    ]);
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        fs::rename(cluster.data.join(name), elsewhere.join(name)).unwrap();
    }
    let (data, log) = (cluster.data.display().to_string(), cluster.log.display().to_string());
    let option = format!("-c config_file={}", elsewhere.join("postgresql.conf").display());
    let start = ["start", "-s", "-w", "-D", &data, "-l", &log, "-o", &option];
    cluster.run("pg_ctl", &start, &[]);
    cluster
}

#[test]
fn answers_set_up_a_cluster_that_is_configured_elsewhere_and_archived_by_others() {
    let place = Place::of(configured_elsewhere());
    place.cluster.sql("CREATE TABLE accounts AS SELECT i AS id FROM generate_series(1, 500) i");
    fs::write(&place.config, OTHERS).unwrap();
    let foreign = place.cluster.value("SHOW archive_command");

    // Neither a wish for everything nor a no takes another's place.
    let path = place.path("b/{cluster}");
    let refused = place.run(&["--yes", "--repository-path", &path], "");
    assert_eq!(refused.status.code(), Some(6), "{}", said(&refused));
    assert!(said(&refused).contains("--replace-archive-command"), "{}", said(&refused));
    let unanswered = place.run(&[], "bank\n\n");
    assert_eq!(unanswered.status.code(), Some(2), "{}", said(&unanswered));
    assert_eq!(fs::read_to_string(&place.config).unwrap(), OTHERS);
    assert_eq!(place.cluster.value("SHOW archive_command"), foreign);
    assert!(
        !place.root().join("b").exists() && !place.config.with_file_name("master.key").exists()
    );

    // Name (a taken one first), tier, environment, not the shared repository, place, key; the
    // other's place; all of it.
    let answers = format!("other\nbank\nstandard\nstaging\nn\n{path}\n\ny\ny\n");
    let output = place.run(&[], &answers);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8(output.stdout.clone()).unwrap();
    for words in [
        "at most 60 s of data lost",
        "already",
        "WARNING",
        &foreign,
        "bank is protected, and its backup was proven",
        "lies outside the data directory",
        "Next:",
    ] {
        assert!(told.contains(words), "{words}: {}", said(&output));
    }
    let text = fs::read_to_string(&place.config).unwrap();
    assert!(text.starts_with(OTHERS), "{text}");
    let config = config::load(Some(&place.config)).unwrap();
    let names: Vec<&str> = config.clusters.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["other", "bank"]);
    assert_eq!(config.clusters[1].environment, "staging");
    assert_eq!(config.clusters[1].repositories, ["local"]);
    assert!(place.cluster.value("SHOW archive_command").contains("archive-wal"));
    place.nothing_is_left_of_the_copy();
}

/// A cluster as Debian's `pg_createcluster` makes it; gone when dropped.
struct Debian {
    major: String,
    name: String,
    port: u16,
    root: tempfile::TempDir,
}

impl Debian {
    /// Running; `None` where this machine or user cannot have one, which is said.
    fn start() -> Option<Self> {
        let programs = Path::new("/usr/bin/pg_createcluster").exists();
        let mut found = discovery::all_binaries().into_iter();
        let own = found.rfind(|one| one.directory.starts_with("/usr/lib/postgresql"));
        let owner = Owner::named("postgres");
        let (true, true, Some(own), Ok(owner)) =
            (programs, nix::unistd::geteuid().is_root(), own, owner)
        else {
            println!("NOT RUN: it needs root and a server of Debian's with postgresql-common");
            return None;
        };
        let port = support::free_port();
        let cluster = Self {
            major: own.major.to_string(),
            name: format!("lifeboat-init-{}", std::process::id()),
            port,
            root: support::folder(&owner),
        };
        let port = port.to_string();
        let options = ["--locale=C.UTF-8", "--start", "-p", &port, &cluster.major, &cluster.name];
        cluster.run("pg_createcluster", &options);
        Some(cluster)
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        Path::new("/var/lib/postgresql").join(&self.major).join(&self.name)
    }

    /// By the server's user: nobody else may log in.
    fn as_postgres(&self, words: &[&str]) -> String {
        let user = ["--reuid=postgres", "--regid=postgres", "--init-groups", "--"];
        self.run("setpriv", &[&user[..], words].concat())
    }

    fn value(&self, sql: &str) -> String {
        let port = self.port.to_string();
        self.as_postgres(&["psql", "-XAtq", "-p", &port, "-d", "postgres", "-c", sql])
    }

    fn configuration(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new("/etc/postgresql").join(&self.major).join(&self.name);
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<(PathBuf, Vec<u8>)> = entries
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let mut drop = Command::new("pg_dropcluster");
        let _ = drop.args(["--stop", &self.major, &self.name]).output();
        let log = format!("/var/log/postgresql/postgresql-{}-{}.log", self.major, self.name);
        let _ = fs::remove_file(log);
    }
}

/// As the README has it on Debian: root sets up, the server's user runs what comes after.
#[test]
#[ignore = "make test-drivers"]
fn debians_own_cluster_is_set_up_by_root_and_used_by_the_servers_user() {
    let Some(cluster) = Debian::start() else { return };
    cluster.value("CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 1000) i");
    let root = cluster.root.path();
    let at = |name: &str| root.join(name).display().to_string();
    let program = at("lifeboat");
    cluster.run("cp", &[env!("CARGO_BIN_EXE_lifeboat"), &program]);
    cluster.run("chmod", &["755", &program]);
    let settings = root.join("settings");
    fs::create_dir(&settings).unwrap();
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o755)).unwrap();
    let config = settings.join("lifeboat.toml");
    let config_text = config.display().to_string();
    let before = cluster.configuration();
    let data = cluster.data().display().to_string();
    let init = |more: &[&str]| {
        let (path, proof) = (at("backups/{cluster}"), at(""));
        let fixed = ["--config", &config_text, "init", "--yes", "--json", "--tier", "high"];
        let named = ["--cluster-name", "orders", "--data-directory", &data];
        let places = ["--repository-path", &path, "--proof-directory", &proof];
        let mut command = Command::new(&program);
        let output = command.args(fixed).args(named).args(places).args(more).output().unwrap();
        let told = serde_json::from_slice::<Value>(&output.stdout);
        (output.status.code(), told.unwrap_or_else(|e| panic!("{e}: {}", said(&output))))
    };
    let (code, due) = init(&[]);
    assert_eq!(code, Some(12), "{due:#}");
    assert_eq!(due["awaits_restart"], serde_json::json!(["archive_mode"]));
    let (code, done) = init(&["--restart"]);
    assert_eq!(code, Some(0), "{done:#}");
    assert_eq!((&done["complete"], &done["proof"]["verdict"]), (&true.into(), &"VERIFIED".into()));
    assert_eq!(verdict_of(&done, "rows:postgres/public.orders"), "VERIFIED");
    assert_eq!(cluster.configuration(), before, "what is in /etc is read and never written");

    // It is Debian's programs that start and stop it, and it is Debian's server still.
    let read = config::load(Some(&config)).unwrap();
    let expected = config::Control::PgCtlcluster {
        version: cluster.major.parse().unwrap(),
        cluster: cluster.name.clone(),
        bin_directory: None,
    };
    assert_eq!(read.clusters[0].control, expected);
    cluster.run("pg_ctlcluster", &[&cluster.major, &cluster.name, "restart"]);
    assert_eq!(cluster.value("SHOW archive_mode"), "on");
    let lifeboat = |words: &[&str]| {
        let start = [program.as_str(), "--config", &config_text];
        cluster.as_postgres(&[&start[..], words].concat())
    };
    let status: Value = serde_json::from_str(&lifeboat(&["status", "--json"])).unwrap();
    assert!(status.to_string().contains("orders"), "{status:#}");
    lifeboat(&["backup", "--cluster", "orders"]);
    let listed = lifeboat(&["list-backups", "--cluster", "orders", "--json"]);
    assert_eq!(listed.matches("\"set-").count(), 2, "{listed}");
}
