//! One small cluster with its repository, and an incident on it led from end to end by the runner.

use crate::servers::{ID, SECRET, Server, not_run};
use crate::support::{LIMIT, folder, free_port, server_user, wait_for};
use lifeboat::engine::config::{self, Cluster};
use lifeboat::engine::explain::Explanation;
use lifeboat::engine::incident::event::{Decision, Declaration, Entry, Event};
use lifeboat::engine::incident::facts::Tier;
use lifeboat::engine::incident::facts::{
    Moment, Prerequisite, Severity, Target, TargetPoint, Verdict,
};
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::{Incident, RunStatus};
use lifeboat::engine::incident::store::Store;
use lifeboat::engine::postgres::child;
use lifeboat::engine::postgres::connect::{ConnectOptions, connect};
use lifeboat::engine::postgres::control::{self, StartOptions, StopMode};
use lifeboat::engine::postgres::discovery::{self, Binaries, Owner};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::{Answer, Command};
use lifeboat::engine::runner::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The name that every cluster has in its configuration.
pub const NAME: &str = "orders";
/// Rows of the table just before the accident.
pub const ROWS: u64 = 150;
/// Rows of the table at the backup's end.
pub const BACKED_UP: u64 = 100;
/// Room for the cluster and not for a restore, which needs 256 MB more than the backup has.
const SMALL: &str = "size=240m";
/// A tablespace and its folder below the root.
pub const SPACE: &str = "far";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    PgCtl,
    PgCtlcluster,
    Systemd,
    Command,
}

/// Who runs Lifeboat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever runs this test; the server's user on Debian's cluster, where nobody else may log in.
    Us,
    /// The server's user.
    Server,
    Other(Owner),
}

/// What is tried.
pub struct Case {
    pub driver: Driver,
    pub binaries: Binaries,
    pub encrypted: bool,
    /// Backups and WAL go into a bucket.
    pub server: Option<Server>,
    /// Lines of postgresql.conf.
    pub settings: Vec<&'static str>,
    /// The table lies in a tablespace outside the data directory.
    pub spaces: bool,
    /// A recovery takes equal files from the damaged directory (`delta_restore`).
    pub delta: bool,
    pub who: Who,
    /// The unit is spoken to through sudo.
    pub sudo: bool,
    /// The data directory's volume cannot hold a restore; an alternative directory is named.
    pub small: bool,
}

impl Case {
    pub fn of(driver: Driver) -> Self {
        let binaries = discovery::binaries(None, None).unwrap();
        Self {
            driver,
            binaries,
            encrypted: true,
            server: None,
            settings: Vec::new(),
            spaces: false,
            delta: false,
            who: Who::Us,
            sudo: false,
            small: false,
        }
    }

    /// Debian's own, where its programs are and this is root; says so where they are not.
    pub fn debian() -> Option<Self> {
        let there = Path::new("/usr/bin/pg_createcluster").exists();
        if !there || Owner::current().uid != 0 || Owner::named("postgres").is_err() {
            not_run("it needs root and Debian's postgresql-common");
            return None;
        }
        let mut found = discovery::all_binaries().into_iter();
        let binaries = found.rfind(|one| one.directory.starts_with("/usr/lib/postgresql"));
        let Some(binaries) = binaries else {
            not_run("it needs a server of Debian's");
            return None;
        };
        Some(Self { binaries, ..Self::of(Driver::PgCtlcluster) })
    }
}

pub struct Stage {
    /// Where the data directory is a small volume; unmounted before its folder goes.
    mount: Option<Mount>,
    pub root: tempfile::TempDir,
    pub data: PathBuf,
    pub cluster: Cluster,
    pub owner: Owner,
    pub config: PathBuf,
    pub runtime: Runtime,
    pub case: Case,
    /// Debian's name of the cluster, which is removed by it.
    made: Option<String>,
    pub target: std::cell::RefCell<Option<Target>>,
    /// The runners' processes: they outlive whoever asks them.
    runners: std::cell::RefCell<Vec<u32>>,
}

/// A disk in memory, gone when dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Puts what is in `data` onto a small volume of its own.
fn put_on_small_volume(data: &Path) -> Mount {
    let ran = |command: &mut std::process::Command| {
        assert!(command.status().unwrap().success(), "{command:?}");
    };
    let beside = data.with_extension("before");
    fs::rename(data, &beside).unwrap();
    fs::create_dir(data).unwrap();
    let mut mount = std::process::Command::new("mount");
    ran(mount.args(["-t", "tmpfs", "-o", SMALL, "lifeboat-test"]).arg(data));
    let mount = Mount(data.to_owned());
    // The directory itself too, with its owner and mode.
    let mut copy = std::process::Command::new("cp");
    ran(copy.args(["-a", "-T"]).arg(&beside).arg(data));
    fs::remove_dir_all(&beside).unwrap();
    mount
}

impl Stage {
    /// A running cluster that is archived and backed up.
    pub fn new(case: Case) -> Self {
        let owner = match case.driver {
            Driver::PgCtlcluster => Owner::named("postgres").unwrap(),
            _ => server_user(),
        };
        let root = folder(&owner);
        let port = free_port();
        let at = |name: &str| root.path().join(name);
        let debian = (case.driver == Driver::PgCtlcluster)
            .then(|| format!("lifeboat-test-{}-{port}", std::process::id()));
        let data = match &debian {
            Some(name) => {
                PathBuf::from(format!("/var/lib/postgresql/{}/{name}", case.binaries.major))
            }
            None => at("data"),
        };
        let host = debian.as_ref().map_or_else(|| at("s"), |_| "/var/run/postgresql".into());
        let program = at("lifeboat");
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let config = at("lifeboat.toml");
        let control = control(&case, &root, debian.as_deref(), &owner);
        let text = configuration(&case, &root, &data, &host, port, &control, &owner);
        fs::write(&config, text).unwrap();
        let read = config::load(Some(&config)).unwrap_or_else(|error| panic!("{error}"));
        let mut stage = Self {
            mount: None,
            cluster: read.clusters[0].clone(),
            runtime: Runtime::new().unwrap(),
            target: std::cell::RefCell::default(),
            runners: std::cell::RefCell::default(),
            made: debian,
            data,
            owner,
            config,
            case,
            root,
        };
        stage.make(port, &host);
        if stage.case.small {
            stage.mount = Some(put_on_small_volume(&stage.data));
        }
        stage.driver().start(&StartOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        stage.lifeboat(&["create-repository", "--cluster", NAME]);
        let mut place = "";
        if stage.case.spaces {
            let far = stage.root.path().join(SPACE);
            stage.make_folder(&far);
            stage.sql(&format!("CREATE TABLESPACE {SPACE} LOCATION '{}'", far.display()));
            place = "TABLESPACE far";
        }
        stage.sql(&format!("CREATE TABLE stock {place} AS SELECT generate_series(1, 100) AS id"));
        stage.lifeboat(&["backup", "--cluster", NAME]);
        stage
    }

    fn make(&self, port: u16, host: &Path) {
        let archive = format!(
            "archive_command = '\"{}\" --config \"{}\" archive-wal --cluster {NAME} \"%p\"'",
            self.root.path().join("lifeboat").display(),
            self.config.display()
        );
        let mut lines = vec![
            "archive_mode = on".to_owned(),
            archive,
            "fsync = off".to_owned(),
            "listen_addresses = ''".to_owned(),
            "shared_buffers = 16MB".to_owned(),
        ];
        lines.extend(self.case.settings.iter().map(|line| (*line).to_owned()));
        let major = self.case.binaries.major.to_string();
        let file = if let Some(name) = &self.made {
            let port = port.to_string();
            let mut command = std::process::Command::new("pg_createcluster");
            command.args([
                "-p",
                &port,
                &major,
                name,
                "--",
                "--locale=C",
                "-E",
                "UTF8",
                "--no-sync",
            ]);
            let done = child::run(command, LIMIT).unwrap();
            assert!(done.ok(), "{}", done.said());
            Path::new("/etc/postgresql").join(&major).join(name).join("postgresql.conf")
        } else {
            for path in [&self.data, host] {
                self.make_folder(path);
            }
            let mut command =
                child::command(self.case.binaries.program("initdb"), &self.owner).unwrap();
            command.args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ]);
            command.arg("-D").arg(&self.data);
            let done = child::run(command, LIMIT).unwrap();
            assert!(done.ok(), "{}", done.said());
            lines.push(format!("port = {port}"));
            lines.push(format!("unix_socket_directories = '{}'", host.display()));
            lines.push("lc_messages = 'C'".to_owned());
            self.data.join("postgresql.conf")
        };
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}\n{}\n", lines.join("\n"))).unwrap();
    }

    fn make_folder(&self, path: &Path) {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        child::give(path, &self.owner).unwrap();
    }

    pub fn driver(&self) -> Box<dyn control::Driver> {
        control::driver(&self.cluster).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As the server's user, who archives and may log in.
    pub fn lifeboat(&self, arguments: &[&str]) -> String {
        let done = self.try_lifeboat(arguments);
        assert!(done.ok(), "{arguments:?}: {}", done.said());
        done.stdout
    }

    pub fn try_lifeboat(&self, arguments: &[&str]) -> child::Finished {
        let mut command = child::command(self.root.path().join("lifeboat"), &self.owner).unwrap();
        command.arg("--config").arg(&self.config).args(arguments);
        child::run(command, LIMIT).unwrap()
    }

    /// By the server's own user, as peer authentication wants it; tuples alone.
    fn psql(&self, sql: &str) -> child::Finished {
        let connection = &self.cluster.connection;
        let mut command = child::command(self.case.binaries.program("psql"), &self.owner).unwrap();
        command.args(["-X", "-A", "-t", "-q", "-U", "postgres", "-d", "postgres", "-c", sql]);
        command.args(["-v", "ON_ERROR_STOP=1", "-h", &connection.host]);
        command.args(["-p", &connection.port.to_string()]);
        child::run(command, LIMIT).unwrap()
    }

    pub fn sql(&self, sql: &str) -> String {
        let done = self.psql(sql);
        assert!(done.ok(), "{sql}: {}", done.said());
        done.stdout.trim().to_owned()
    }

    /// The rows of the table, where it is there.
    pub fn rows(&self) -> Option<u64> {
        let done = self.psql("SELECT count(*) FROM stock");
        assert!(done.ok() || done.said().contains("does not exist"), "{}", done.said());
        done.ok().then(|| done.stdout.trim().parse().unwrap())
    }

    /// Rows after the backup, then the accident, then other people's work.
    pub fn lose_a_table(&self) {
        self.sql("INSERT INTO stock SELECT generate_series(101, 150)");
        let lsn = self.sql("SELECT pg_current_wal_insert_lsn()").parse().unwrap();
        *self.target.borrow_mut() =
            Some(Target { point: TargetPoint::Lsn(lsn), inclusive: false, timeline: None });
        self.sql("DROP TABLE stock");
        self.sql("CREATE TABLE later AS SELECT 1 AS id");
        let last = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        wait_for("the WAL to be archived", || {
            self.sql("SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver") >= last
        });
    }

    /// An incident with its runner, up to a passed gate. The runner is the server's user on
    /// Debian's cluster, where nobody else may log in, else whoever runs the test.
    pub fn incident(&self) -> (Client, PathBuf) {
        let (client, folder) = self.before_plan();
        self.ask(&client, Command::MakePlan);
        self.pass_gate(&client);
        (client, folder)
    }

    pub fn pass_gate(&self, client: &Client) {
        let plan_hash = client.incident().unwrap().plan.clone().unwrap().hash;
        self.ask(client, Command::PassGate { plan_hash, cluster: NAME.to_owned() });
    }

    /// An incident with its runner, whose plan may be made.
    pub fn before_plan(&self) -> (Client, PathBuf) {
        let (client, folder) = self.declared();
        self.ask(&client, Command::SetSeverity { severity: Severity::Sev2 });
        let at = jiff::Timestamp::now();
        self.ask(&client, Command::StateMoment { moment: Moment::FirstDetected, at });
        let target = self.target.borrow().clone().unwrap();
        self.ask(&client, Command::ChooseTarget { target });
        for prerequisite in [
            Prerequisite::IncidentDeclared,
            Prerequisite::MaintenanceWindow,
            Prerequisite::TargetConfirmed,
        ] {
            let note = String::new();
            self.ask(&client, Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
        self.ask(&client, Command::VerifyIntegrity);
        (client, folder)
    }

    fn declared(&self) -> (Client, PathBuf) {
        let state = self.root.path().join("state");
        let declaration = |id: &str| Declaration {
            id: id.to_owned(),
            cluster: NAME.to_owned(),
            tier: Tier::Standard,
            environment: String::from("drill"),
            title: String::from("A table is gone"),
            identity: discovery::identity(&self.data).ok(),
            drill: None,
        };
        let now = jiff::Timestamp::now();
        let (_, folder) = Store::new(&state).declare(now, declaration).unwrap();
        give_all(&state, &self.operator());
        (self.runner(&folder), folder)
    }

    fn operator(&self) -> Owner {
        match &self.case.who {
            Who::Us if self.made.is_none() => Owner::current(),
            Who::Us | Who::Server => self.owner.clone(),
            Who::Other(other) => other.clone(),
        }
    }

    /// The alternative data directory.
    pub fn elsewhere(&self) -> PathBuf {
        elsewhere(&self.data)
    }

    /// The runner of the incident in `folder`, which is begun where there is none.
    fn runner(&self, folder: &Path) -> Client {
        let mut command =
            child::command(self.root.path().join("lifeboat"), &self.operator()).unwrap();
        command.arg("runner").arg("--incident").arg(folder).arg("--config").arg(&self.config);
        let socket = spawn::ensure_runner_with(command, folder, LIMIT).unwrap();
        let client = Client::connect_blocking(self.runtime.handle(), &socket).unwrap();
        self.runtime.block_on(client.live(LIMIT)).unwrap();
        self.runners.borrow_mut().push(client.runner_pid());
        client
    }

    pub fn ask(&self, client: &Client, command: Command) {
        assert_eq!(self.answer(client, command.clone()), Ok(Answer::Done), "{command:?}");
    }

    pub fn answer(&self, client: &Client, command: Command) -> Result<Answer, Explanation> {
        let asked = client.request(command);
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, asked).await }).unwrap()
    }

    /// The gate is passed; from here on the runner works.
    pub fn start(&self, client: &Client) {
        let plan_hash = client.incident().unwrap().plan.clone().unwrap().hash;
        drop(client.submit(Command::Start { plan_hash }));
    }

    pub fn until(
        &self,
        client: &Client,
        what: &str,
        mut holds: impl FnMut(&Incident) -> bool,
    ) -> Arc<Incident> {
        let failed = |incident: &Incident| incident.status == RunStatus::Failed;
        let waited = self.runtime.block_on(client.wait(what, LIMIT, |i| holds(i) || failed(i)));
        let incident = waited.unwrap_or_else(|error| {
            let log = fs::read_to_string(self.data.with_extension("recovery.log"));
            panic!("{error}: {:#?}\n{log:?}", client.incident().unwrap().current_step())
        });
        assert!(holds(&incident), "{:#?}", incident.current_step());
        incident
    }

    /// Nobody gets in as applications do, and the server runs.
    pub fn is_closed(&self) {
        assert!(discovery::running(&self.data).unwrap().postmaster().is_some());
        let options = ConnectOptions::default();
        let asked = connect(&self.cluster.connection, &options);
        let Err(error) = self.runtime.block_on(asked) else { panic!("the server is open") };
        assert!(!error.to_string().contains("password"), "{error}");
    }

    /// From the passed gate to an open server with every row.
    pub fn recover(&self, client: &Client) {
        self.start(client);
        let held = self.until(client, "the target", |incident| incident.status == RunStatus::Held);
        self.is_closed();
        drop(client.submit(Command::Decide { decision: Decision::Promote }));
        self.until(client, "the end", |incident| incident.status == RunStatus::Finished);
        assert_eq!(self.rows(), Some(ROWS));
        let plan = held.plan.clone().unwrap();
        assert!(Path::new(&plan.aside).join("PG_VERSION").exists(), "{}", plan.aside);
        assert!(!control::is_held(&self.data), "no setting of the recovery stays");
        let auto = fs::read_to_string(self.data.join("postgresql.auto.conf")).unwrap();
        assert!(!auto.contains("Lifeboat"), "{auto}");
        let incident = client.incident().unwrap();
        let bad: Vec<_> = incident
            .validation
            .iter()
            .filter(|check| !matches!(check.verdict, Verdict::Verified | Verdict::NotRun))
            .collect();
        assert!(bad.is_empty(), "{bad:#?}");
        self.has_what_its_version_brings();
    }

    /// WAL summaries, where they are switched on (from 17), and page checksums, which a cluster of
    /// 18 has unasked.
    pub fn has_what_its_version_brings(&self) {
        if self.case.settings.contains(&"summarize_wal = on") {
            assert_eq!(self.sql("SHOW summarize_wal"), "on");
            wait_for("a WAL summary", || {
                self.sql("CHECKPOINT");
                self.sql("SELECT count(*) FROM pg_available_wal_summaries()") != "0"
            });
        }
        if self.case.binaries.major >= 18 {
            assert_eq!(self.sql("SHOW data_checksums"), "on");
        }
    }

    /// Option B: a new cluster beside the old one, which serves meanwhile, then in its place. The
    /// driver starts and stops it there as it did the old one.
    pub fn restore_full(&self) {
        let mut name = self.data.file_name().unwrap().to_os_string();
        name.push("-restore");
        let new = self.data.with_file_name(name);
        let target = new.display().to_string();
        let made = self.full(&["--target", &target, "--latest"]);
        assert_eq!(made["status"], "held", "{made}");
        assert_eq!(self.rows(), None, "the old server serves as it did");
        assert!(discovery::running(&new).unwrap().postmaster().is_some());
        let done = self.full(&["--target", &target, "--swap"]);
        assert_eq!(done["status"], "finished", "{done}");
        // As it was at the backup's end.
        assert_eq!(self.rows(), Some(100));
        assert_eq!(self.sql("SELECT to_regclass('later') IS NULL"), "t");
        assert!(!new.exists() && Path::new(done["kept"].as_str().unwrap()).is_dir());
        assert!(!control::is_held(&self.data), "no setting of the recovery stays");
        self.driver().check().unwrap();
    }

    /// As whoever may start and stop the server under this driver.
    pub fn try_as_operator(&self, arguments: &[&str]) -> child::Finished {
        let state = self.root.path().join("state");
        fs::create_dir_all(&state).unwrap();
        give_all(&state, &self.operator());
        let mut command =
            child::command(self.root.path().join("lifeboat"), &self.operator()).unwrap();
        command.arg("--config").arg(&self.config).args(arguments);
        let done = child::run(command, LIMIT).unwrap();
        let told = serde_json::from_str::<serde_json::Value>(&done.stdout).unwrap_or_default();
        if let Some(incident) = told["incident"].as_str() {
            // To be ended with the stage.
            self.runner(&state.join("incidents").join(incident));
        }
        done
    }

    fn full(&self, arguments: &[&str]) -> serde_json::Value {
        let more = ["--cluster", NAME, "--confirm", NAME, "--json"];
        let done = self.try_as_operator(&[&["restore-full"][..], arguments, &more].concat());
        serde_json::from_str(&done.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", done.said()))
    }

    /// Every file of Debian's configuration.
    pub fn configuration(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let name = self.made.as_ref().unwrap();
        let major = self.case.binaries.major.to_string();
        let entries = fs::read_dir(Path::new("/etc/postgresql").join(major).join(name)).unwrap();
        let mut all: Vec<(PathBuf, Vec<u8>)> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(&path).unwrap()))
            .collect();
        all.sort();
        all
    }

    pub fn unit(&self) -> PathBuf {
        self.root.path().join("units/postgresql-test")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let ours = self.root.path().display().to_string();
        let begun = begun_runners(&Store::new(&self.root.path().join("state")));
        for pid in self.runners.borrow().iter().chain(&begun) {
            // A number can be another process's by now.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&ours)
                && let Ok(pid) = i32::try_from(*pid)
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let elsewhere = self.elsewhere();
        let drivers =
            [control::driver(&self.cluster), control::driver_for(&self.cluster, &elsewhere)];
        for driver in drivers.into_iter().flatten() {
            let _ = driver.stop(StopMode::Fast, LIMIT);
        }
        self.mount = None;
        let Some(name) = &self.made else { return };
        let major = self.case.binaries.major.to_string();
        let mut command = std::process::Command::new("pg_dropcluster");
        command.args(["--stop", &major, name]);
        let _ = child::run(command, LIMIT);
        // What the recoveries kept beside it: all of it has its name, which is ours alone.
        let beside = self.data.parent().unwrap();
        for entry in fs::read_dir(beside).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(name.as_str()) {
                let _ = fs::remove_dir_all(entry.path());
                let _ = fs::remove_file(entry.path());
            }
        }
        let log = format!("/var/log/postgresql/postgresql-{major}-{name}.log");
        let _ = fs::remove_file(log);
    }
}

fn elsewhere(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap().to_os_string();
    name.push("-elsewhere");
    data.with_file_name(name)
}

/// Runners that commands began, by the incidents' journals.
fn begun_runners(store: &Store) -> Vec<u32> {
    let folders = fs::read_dir(store.root()).into_iter().flatten().flatten();
    let journals = folders.filter_map(|folder| journal::read(&folder.path()).ok());
    let entries = journals.flat_map(|reading| reading.entries);
    let pid = |entry: Entry| match entry.event {
        Event::RunnerStarted { pid, .. } => Some(pid),
        _ => None,
    };
    entries.filter_map(pid).collect()
}

fn give_all(path: &Path, owner: &Owner) {
    child::give(path, owner).unwrap();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            give_all(&entry.path(), owner);
        } else {
            child::give(&entry.path(), owner).unwrap();
        }
    }
}

fn control(case: &Case, root: &tempfile::TempDir, debian: Option<&str>, owner: &Owner) -> String {
    let bin = case.binaries.directory.display();
    let log = root.path().join("server.log");
    let log = log.display();
    match case.driver {
        Driver::PgCtl => {
            format!("driver = \"pg_ctl\"\nbin_directory = \"{bin}\"\nlog = \"{log}\"\n")
        }
        Driver::PgCtlcluster => format!(
            "driver = \"pg_ctlcluster\"\nversion = {}\ncluster = \"{}\"\n",
            case.binaries.major,
            debian.unwrap()
        ),
        Driver::Systemd => {
            let program = root.path().join("systemctl");
            fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/systemctl.sh"), &program)
                .unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            let unit = root.path().join("units/postgresql-test");
            fs::create_dir_all(&unit).unwrap();
            let user = if owner.is_current() { String::new() } else { owner.uid.to_string() };
            let data = root.path().join("data");
            let text = format!("BIN='{bin}'\nDATA='{}'\nUSER_ID='{user}'\n", data.display());
            fs::write(unit.join("unit"), text).unwrap();
            let sudo = if case.sudo { "\"sudo\", \"-n\", " } else { "" };
            format!(
                "driver = \"systemd\"\nunit = \"postgresql-test\"\nbin_directory = \"{bin}\"\n\
                 systemctl = [{sudo}\"{}\"]\nlog = \"{}/journal\"\n",
                program.display(),
                unit.display()
            )
        }
        Driver::Command => format!(
            "driver = \"command\"\nas_server = true\nbin_directory = \"{bin}\"\nlog = \"{log}\"\n\
             start = [\"{{bin_directory}}/pg_ctl\", \"start\", \"-D\", \"{{data_directory}}\", \
             \"-l\", \"{{log}}\", \"-w\", \"-t\", \"{{seconds}}\"]\n\
             stop = [\"{{bin_directory}}/pg_ctl\", \"stop\", \"-D\", \"{{data_directory}}\", \
             \"-m\", \"{{mode}}\", \"-w\", \"-t\", \"{{seconds}}\"]\n\
             promote = [\"{{bin_directory}}/pg_ctl\", \"promote\", \"-D\", \
             \"{{data_directory}}\", \"-W\"]\n"
        ),
    }
}

fn configuration(
    case: &Case,
    root: &tempfile::TempDir,
    data: &Path,
    host: &Path,
    port: u16,
    control: &str,
    owner: &Owner,
) -> String {
    let secret = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        child::give(&path, owner).unwrap();
        path.display().to_string()
    };
    let home = root.path().display();
    let store = match &case.server {
        None => format!("kind = \"file\"\npath = \"{home}/repository\"\n"),
        Some(server) => {
            let keys =
                format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
            format!(
                "kind = \"s3\"\nbucket = \"backups\"\nprefix = \"pg/{{cluster}}\"\n\
                 endpoint = \"http://{}\"\nregion = \"eu-central-1\"\n\
                 [repositories.store.credentials]\nsource = \"file\"\npath = \"{}\"\n",
                server.address,
                secret("s3-keys", &keys)
            )
        }
    };
    let delta = if case.delta { "delta_restore = true\n" } else { "" };
    let other = if case.small {
        format!("alternative_data_directory = \"{}\"\n", elsewhere(data).display())
    } else {
        String::new()
    };
    let cipher = if case.encrypted {
        let key = secret("master.key", "the master key of this test\n");
        format!(
            "[repositories.encryption]\ncipher = \"aes-256-cbc\"\nmaster_key_file = \"{key}\"\n"
        )
    } else {
        String::new()
    };
    let us = ["root", "postgres", "nobody"].map(str::to_owned).into_iter();
    let us = us.chain(Owner::current().name);
    let mut people: Vec<String> = us.collect();
    people.sort();
    people.dedup();
    let people: String = people
        .iter()
        .map(|user| format!("[[operators]]\nuser = \"{user}\"\nrole = \"commander\"\n"))
        .collect();
    format!(
        "state_directory = \"{home}/state\"\n\
         [[clusters]]\nname = \"{NAME}\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
         data_directory = \"{}\"\nrepositories = [\"near\"]\ntables = [\"public.stock\"]\n{delta}{other}\
         [clusters.connection]\nhost = \"{}\"\nport = {port}\n\
         [clusters.control]\n{control}\
         [[repositories]]\nname = \"near\"\n[repositories.store]\n{store}{cipher}{people}",
        data.display(),
        host.display(),
    )
}
