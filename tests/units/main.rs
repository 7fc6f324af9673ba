//! The scheduler's unit under a real systemd: installed by the commands that the documentation
//! gives, it runs as the data directory's owner, can write only where it must, takes the backup,
//! is ended cleanly in the middle of one, and comes back after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod machine;

use machine::Machine;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use support::{TestCluster, wait_for};

const UNIT: &str = "lifeboat-schedule.service";

/// A server that systemd runs, with two repositories.
struct Host {
    // First, since the server runs in it.
    machine: Machine,
    cluster: TestCluster,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Ended with its systemd; the number in this file is another process' out here.
        let _ = self.machine.run(&["systemctl", "stop", UNIT, "postgresql.service"]);
        let _ = fs::remove_file(self.cluster.data.join("postmaster.pid"));
    }
}

impl Host {
    fn new() -> Option<Self> {
        let cluster = TestCluster::init(&["archive_mode = on", "archive_timeout = 60"]);
        let machine = Machine::boot(cluster.root.path())?;
        let host = Self { machine, cluster };
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(host.at("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        let (root, data) = (host.cluster.root.path().display(), host.cluster.data.display());
        let bin = host.cluster.binaries.directory.display();
        let connection = toml::to_string(&host.cluster.connection()).unwrap();
        let mut config = format!(
            "state_directory = \"/var/lib/lifeboat\"\n\
             [[clusters]]\nname = \"test\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"{data}\"\nrepositories = [\"near\", \"far\"]\n\
             [clusters.connection]\n{connection}\n\
             [clusters.control]\ndriver = \"systemd\"\nbin_directory = \"{bin}\"\n"
        );
        for name in ["near", "far"] {
            config.push_str(&format!(
                "[[repositories]]\nname = \"{name}\"\n[repositories.store]\nkind = \"file\"\n\
                 path = \"{root}/{name}\"\n[repositories.encryption]\ncipher = \"none\"\n"
            ));
        }
        fs::write(host.at("lifeboat.toml"), config).unwrap();
        let archive = format!("{root}/lifeboat --config {root}/lifeboat.toml archive-wal %p");
        host.cluster.append_conf(&[&format!("archive_command = '{archive}'")]);
        let user = host.cluster.owner.uid;
        let unit = format!(
            "[Service]\nType=exec\nUser={user}\nExecStart={bin}/postgres -D {data}\n\
             KillMode=mixed\nKillSignal=SIGINT\n"
        );
        fs::write(host.at("units/postgresql.service"), unit).unwrap();
        host.machine.well(&["systemctl", "daemon-reload"]);
        host.machine.well(&["systemctl", "start", "postgresql.service"]);
        wait_for("the server", || host.cluster.try_sql_in("postgres", "SELECT 1").is_ok());
        host.as_owner(&["create-repository"]);
        Some(host)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    /// Our program in that machine, with `before` in front of it.
    fn lifeboat(&self, before: &[&str], arguments: &[&str]) -> std::process::Output {
        let (program, config) = (self.at("lifeboat"), self.at("lifeboat.toml"));
        let ours = [program.to_str().unwrap(), "--config", config.to_str().unwrap()];
        self.machine.run(&[before, &ours, arguments].concat())
    }

    /// As the server's user; ends well.
    #[track_caller]
    fn as_owner(&self, arguments: &[&str]) -> String {
        let owner = &self.cluster.owner;
        let (uid, gid) = (format!("--reuid={}", owner.uid), format!("--regid={}", owner.gid));
        let output = self.lifeboat(&["setpriv", &uid, &gid, "--clear-groups"], arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn journal(&self) -> String {
        self.machine.well(&["journalctl", "--no-pager", "-o", "cat", "-u", UNIT])
    }

    fn sets(&self) -> usize {
        let names = fs::read_dir(self.at("near")).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("set-")).count()
    }

    /// Whether data of a backup are being written.
    fn copying(&self) -> bool {
        let files = fs::read_dir(self.at("near")).unwrap().flatten();
        let sizes = files.filter_map(|entry| entry.metadata().ok());
        sizes.filter(|found| found.is_file()).any(|found| found.len() > 100_000)
    }

    /// Many files that a backup takes a while for.
    fn ballast(&self) -> PathBuf {
        let folder = self.cluster.data.join("ballast");
        self.cluster.make_folder(&folder, 0o700);
        for number in 0..600 {
            let path = folder.join(number.to_string());
            fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
            lifeboat::engine::postgres::child::give(&path, &self.cluster.owner).unwrap();
        }
        folder
    }
}

#[test]
fn the_unit_takes_backups_ends_cleanly_and_comes_back() {
    let Some(host) = Host::new() else { return };
    let ballast = host.ballast();
    installed_by_its_own_words(&host);
    runs_as_the_owner_in_a_cage(&host);
    stopped_in_the_middle_of_a_backup(&host);
    fs::remove_dir_all(ballast).unwrap();
    does_what_is_due(&host);
    comes_back_after_a_crash(&host);
}

/// `install-units` says what to do next; that is done.
fn installed_by_its_own_words(host: &Host) {
    let output = host.lifeboat(&[], &["install-units"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{:?}", output.stderr);
    assert!(said.contains(&format!("/etc/systemd/system/{UNIT} is written.")), "{said}");
    let commands = said.lines().map(str::trim).filter(|line| line.starts_with("systemctl "));
    let commands: Vec<Vec<&str>> = commands.map(|line| line.split(' ').collect()).collect();
    assert_eq!(commands.len(), 2, "{said}");
    for command in commands {
        host.machine.well(&command);
    }
    assert_eq!(host.machine.well(&["systemctl", "is-enabled", UNIT]).trim(), "enabled");
    assert_eq!(host.machine.property(UNIT, "ActiveState"), "active");
}

fn runs_as_the_owner_in_a_cage(host: &Host) {
    let pid = host.machine.property(UNIT, "MainPID");
    let status = host.machine.well(&["cat", &format!("/proc/{pid}/status")]);
    let uid = host.cluster.owner.uid;
    assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let state = host.machine.well(&["stat", "-c", "%u %a", "/var/lib/lifeboat"]);
    assert_eq!(state.trim(), format!("{uid} 700"));
    // What it sees: its repositories and its notes to write to, all else to read, even for root.
    let touch = |path: &str| {
        let output = host.machine.run(&["nsenter", "-m", "-t", &pid, "touch", path]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let near = host.at("near/.touched");
    for path in [near.to_str().unwrap(), "/var/lib/lifeboat/touched"] {
        assert_eq!(touch(path), (true, String::new()));
    }
    fs::remove_file(near).unwrap();
    let data = host.cluster.data.join("touched");
    for path in [data.to_str().unwrap(), "/tmp/touched", "/etc/systemd/touched"] {
        let (done, said) = touch(path);
        let mounts = host.machine.well(&["cat", &format!("/proc/{pid}/mountinfo")]);
        assert!(!done && said.contains("Read-only file system"), "{path}: {said}{mounts}");
    }
}

fn stopped_in_the_middle_of_a_backup(host: &Host) {
    wait_for("the backup's data", || host.copying());
    host.machine.well(&["systemctl", "stop", UNIT]);
    assert_eq!(host.machine.property(UNIT, "Result"), "success");
    assert_eq!(host.machine.property(UNIT, "ExecMainStatus"), "0");
    assert_eq!(host.sets(), 0);
    let journal = host.journal();
    assert!(journal.contains("base backup stopped. The backup was not made."), "{journal}");
    let sessions = host.cluster.value(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%'
            AND pid <> pg_backend_pid()",
    );
    assert_eq!(sessions, "0");
}

fn does_what_is_due(host: &Host) {
    host.machine.well(&["systemctl", "start", UNIT]);
    wait_for("the first day's jobs", || host.journal().contains("next base backup: "));
    let journal = host.journal();
    for job in ["base backup", "catch-up of copies", "verification", "cleanup"] {
        assert!(journal.contains(&format!("{job} done")), "{job}: {journal}");
    }
    assert_eq!(host.sets(), 1);
    let object = fs::read_dir(host.at("near"))
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("set-"));
    let found = object.unwrap().metadata().unwrap();
    assert_eq!((found.uid(), found.permissions().mode() & 0o777), (host.cluster.owner.uid, 0o600));
    let page: Value = serde_json::from_str(&host.as_owner(&["status", "--json"])).unwrap();
    assert_eq!(page[0]["schedule"]["runs"], true, "{page:#}");
    assert_eq!(page[0]["problems"], serde_json::json!([]), "{page:#}");
}

fn comes_back_after_a_crash(host: &Host) {
    // As the unit has it; and sooner, by what `systemctl edit` would write.
    assert_eq!(host.machine.property(UNIT, "RestartUSec"), "30s");
    let folder = host.at("units").join(format!("{UNIT}.d"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("override.conf"), "[Service]\nRestartSec=50ms\n").unwrap();
    host.machine.well(&["systemctl", "daemon-reload"]);
    let first = host.machine.property(UNIT, "MainPID");
    host.machine.well(&["kill", "-KILL", &first]);
    wait_for("the unit to be started again", || {
        host.machine.property(UNIT, "NRestarts") == "1"
            && host.machine.property(UNIT, "ActiveState") == "active"
    });
    assert_ne!(host.machine.property(UNIT, "MainPID"), first);
    wait_for("its next runs", || host.journal().matches("next base backup: ").count() == 2);
    // What was done today is not done again.
    assert_eq!(host.journal().matches("base backup done").count(), 1);
    assert_eq!(host.sets(), 1);
    // What somebody added stays; what we wrote is ours to write again.
    let output = host.lifeboat(&[], &["install-units"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("is there already"), "{output:?}");
    assert!(Path::new(&folder).join("override.conf").exists());
}
