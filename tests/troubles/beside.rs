//! Troubles of a new cluster beside the old one (the runbook's Option B): each is recognised in the
//! new cluster, cured there, and the old one serves all the while, untouched.

use crate::own::{flip_a_bit, stop_in};
use crate::parts::on_volume;
use crate::place::{name_other, other};
use crate::stage::{Stage, until};
use crate::walk::{append_conf, edit_settings, may_mount};
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Moment, Prerequisite, Severity};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::trouble::{By, LOOK_AGAIN, NAMED_PLACE, Trouble};
use lifeboat::engine::postgres::closed::ClosedServer;
use lifeboat::engine::postgres::control_file;
use lifeboat::engine::restore::full::beside;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::{Command, FullRestore};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

const RAISED: &str = "173";

impl Stage {
    fn new_data(&self) -> PathBuf {
        beside(&self.data())
    }

    /// As `to_gate`, of a full restore.
    pub fn to_full_gate(&self, client: &Client, to_end: bool) {
        let (severity, moment) = (Severity::Sev1, Moment::FirstDetected);
        self.ask(client, Command::SetSeverity { severity });
        self.ask(client, Command::StateMoment { moment, at: jiff::Timestamp::now() });
        self.ask(client, Command::ProbeServer);
        let asked = FullRestore { to_end, ..FullRestore::default() };
        self.ask(client, Command::ChooseFull(asked));
        for prerequisite in [
            Prerequisite::IncidentDeclared,
            Prerequisite::MaintenanceWindow,
            Prerequisite::TargetConfirmed,
        ] {
            let note = String::new();
            self.ask(client, Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
        self.ask(client, Command::VerifyIntegrity);
        self.ask(client, Command::MakePlan);
        let plan_hash = client.incident().unwrap().plan.clone().unwrap().hash;
        self.ask(client, Command::PassGate { plan_hash, cluster: CLUSTER.to_owned() });
    }

    fn full_spoiled(&self, step: &str, to_end: bool, spoil: impl FnOnce(&Incident)) -> Client {
        self.spoiled(step, |client| self.to_full_gate(client, to_end), spoil)
    }

    /// The old server is up and takes writes: no cure has touched it.
    pub fn old_serves(&self) {
        self.on(async {
            let client = self.sandbox.server().connect("postgres", DATABASE).await.unwrap();
            client.batch_execute("CREATE TEMP TABLE written (id int)").await.unwrap();
        });
    }
}

/// Nothing that Lifeboat would do names the old cluster's directory.
fn stays_beside(trouble: &Trouble, live: &Path) {
    for cure in trouble.cures.iter().filter(|cure| cure.by != By::People) {
        let touched = |path: &String| Path::new(path).starts_with(live);
        assert!(!cure.touches.iter().any(touched), "{cure:#?}");
    }
}

/// Everything at once, met one after the other.
#[test]
#[ignore = "make test-troubles"]
fn a_new_cluster_goes_on_through_one_trouble_after_the_other() {
    let raised = |sandbox: &Sandbox| {
        sandbox.server().stop().unwrap();
        sandbox.server().start(&[("max_connections", RAISED)]).unwrap();
    };
    let stage = Stage::made_with(|_| {}, raised, false);
    let (live, new) = (stage.data(), stage.new_data());
    let mut bystander = stage.bystander();
    let own_port = stage.sandbox.server().port;
    let mut listener = Some(std::net::TcpListener::bind(("127.0.0.1", own_port)).unwrap());
    let mut lock = PathBuf::new();
    let mut at_first = 0;
    let client = stage.full_spoiled("start-recovery", true, |incident| {
        let server = stage.sandbox.server();
        // The log has a file no longer where it was archived, but the old directory has.
        let name = stage.late_segment(incident);
        let to = stage.sandbox.root().join("cluster").join(&name);
        let text = to.display().to_string();
        stage.sandbox.lifeboat(&["restore-wal", "--cluster", CLUSTER, &name, &text]).unwrap();
        stage.give(&to);
        fs::rename(&to, live.join("pg_wal").join(&name)).unwrap();
        fs::rename(stage.archived(&name), stage.sandbox.root().join("taken-away")).unwrap();
        let line = format!("max_connections = '{RAISED}'\n");
        edit_settings(&new, |text| text.replace(&line, ""));
        append_conf(&new, "shared_preload_libraries = 'absent_library'");
        append_conf(&new, "listen_addresses = '127.0.0.1'");
        let closed = ClosedServer::of(&new, &server.user, server.programs.major);
        stage.write_pid_file_in(&new, bystander.id(), &closed.socket_directory);
        // A socket whose lock file names a process that lives.
        let plan = serde_json::to_value(incident.plan.as_ref().unwrap()).unwrap();
        at_first = plan["procedure"]["port"].as_u64().unwrap();
        let folder = closed.socket_directory;
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        stage.give(&folder);
        lock = folder.join(format!(".s.PGSQL.{at_first}.lock"));
        let written = format!("{}\n{}\n1\n{at_first}\n\n", bystander.id(), new.display());
        fs::write(&lock, written).unwrap();
        fs::set_permissions(&lock, PermissionsExt::from_mode(0o600)).unwrap();
        stage.give(&lock);
        fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(new.join("backup_label"), Some(0), Some(0)).unwrap();
        }
    });
    let mut met = Vec::new();
    loop {
        match stage.next_trouble(&client) {
            Some((_, trouble)) => {
                assert!(met.len() < 10, "no end: {met:?}");
                stays_beside(&trouble, &live);
                if matches!(&*trouble.name, "missing-library" | "low-setting") {
                    assert!(trouble.what.contains(&new.display().to_string()), "{trouble:#?}");
                }
                let cure = &trouble.cures[0];
                match trouble.name.as_str() {
                    "port-taken" => listener = None,
                    _ => stage.old_serves(),
                }
                stage.accept(&client, cure);
                met.push(trouble.name);
            }
            None if client.incident().unwrap().status == RunStatus::Held => {
                stage.old_serves();
                let way_in = client.incident().unwrap().noted("way_in").unwrap().to_owned();
                let port = way_in.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
                assert!(port > at_first, "{way_in}");
                stage.agree(&client);
            }
            None => break,
        }
    }
    assert!(lock.exists(), "the lock file of the living is never removed");
    fs::remove_file(&lock).unwrap();
    fs::remove_dir(lock.parent().unwrap()).unwrap();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert!(listener.is_none());
    let expected = [
        "wrong-rights",
        "stale-pid-file",
        "missing-library",
        "lock-in-use",
        "low-setting",
        "missing-wal",
        "port-taken",
    ];
    assert_eq!(met, expected);
    let incident = stage.left();
    crate::walk::verified(&incident);
    assert_eq!(incident.adjustments.without_libraries, ["absent_library"]);
    let done = stage.entries().into_iter().filter(|e| matches!(e.event, Event::CureDone { .. }));
    assert_eq!(done.count(), met.len());
    assert!(!new.exists() && control_file::read(&live).unwrap().checkpoint.timeline > 1);
    assert!(PathBuf::from(incident.plan.unwrap().aside).join("global/pg_control").exists());
}

/// To the backup's own end: another backup has another end, which the cure says.
#[test]
#[ignore = "make test-troubles"]
fn a_damaged_backup_beside_is_exchanged_for_another() {
    let stage = Stage::prepared(|sandbox| {
        // Sets are named by the second.
        let named = jiff::Timestamp::now().as_second();
        until("the next second", || jiff::Timestamp::now().as_second() > named);
        sandbox.back_up().unwrap();
    });
    let new = stage.new_data();
    let client = stage.full_spoiled("restore-base", false, |incident| {
        let set = &incident.plan.as_ref().unwrap().base.set;
        let base = set.replace("set-", "base-") + ".tar.gz.enc";
        flip_a_bit(&stage.sandbox.root().join("repository").join(base));
    });
    let damaged = client.incident().unwrap().plan.clone().unwrap().base.set;
    let trouble = stage.cured(&client, "damaged-backup", "other-base");
    assert!(trouble.cures[0].risk.contains("other backup's end"), "{trouble:#?}");
    stage.old_serves();
    let end = stage.to_the_end(&client);
    assert_ne!(end.plan.unwrap().base.set, damaged);
    let kept = fs::read_dir(new.parent().unwrap()).unwrap().flatten().find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with(&format!("{}.abandoned.", new.file_name().unwrap().to_string_lossy()))
    });
    assert!(kept.is_some(), "what was restored is kept");
}

#[test]
#[ignore = "make test-troubles"]
fn programs_of_another_version_beside_are_told_and_looked_at_again() {
    let stage = Stage::new();
    let version = stage.new_data().join("PG_VERSION");
    let spoil = |_: &Incident| fs::write(&version, "12\n").unwrap();
    let client = stage.full_spoiled("start-recovery", false, spoil);
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "wrong-version", "{trouble:#?}");
    assert!(trouble.what.contains(&stage.new_data().display().to_string()), "{trouble:#?}");
    let major = stage.sandbox.server().programs.major;
    fs::write(&version, format!("{major}\n")).unwrap();
    stage.cured(&client, "wrong-version", LOOK_AGAIN);
    stage.to_the_end(&client);
}

/// A directory that somebody has put in the new one's place is not mended.
#[test]
#[ignore = "make test-troubles"]
fn a_directory_that_is_not_the_restores_own_is_not_touched() {
    let stage = Stage::new();
    let (new, other) = (stage.new_data(), stage.data().with_file_name("exchanged"));
    let client = stage.full_spoiled("start-recovery", false, |_| {
        fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "wrong-rights", "{trouble:#?}");
    fs::rename(&new, &other).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&other).arg(&new).status();
    assert!(copied.unwrap().success());
    let cure = Command::Cure { cure: trouble.cures[0].id.clone(), cluster: None };
    let refused = stage.answer(&client, cure).unwrap_err();
    assert!(refused.what.contains("not the directory that this restore made"), "{refused}");
    let mode = fs::metadata(&new).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    fs::remove_dir_all(&new).unwrap();
    fs::rename(&other, &new).unwrap();
    stage.cured(&client, "wrong-rights", "own-files");
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_beside_goes_on_once_there_is_room() {
    if !may_mount() {
        return;
    }
    let mut volume = None;
    let before = |sandbox: &Sandbox| volume = Some(on_volume(sandbox));
    let stage = Stage::made_with(before, |_| {}, false);
    let volume = volume.unwrap();
    let client = stage.full_spoiled("restore-base", true, |_| volume.leave_free(Some(25 << 20)));
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "no-space", "{trouble:#?}");
    let ids: Vec<&str> = trouble.cures.iter().map(|cure| cure.id.as_str()).collect();
    assert_eq!(ids, [LOOK_AGAIN, NAMED_PLACE], "none is configured: {trouble:#?}");
    stage.is_still_full(&client);
    volume.leave_free(None);
    stage.cured(&client, "no-space", LOOK_AGAIN);
    stage.to_the_end(&client);
    // The servers inside have to end before the volume goes.
    stage.sandbox.server().stop().unwrap();
    drop(volume);
}

/// The new cluster goes on on another disk and stays there: the old one keeps its place. The runner is
/// killed right after that was accepted.
#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_beside_is_left_for_the_alternative_directory() {
    if !may_mount() {
        return;
    }
    let mut volume = None;
    let before = |sandbox: &Sandbox| {
        name_other(sandbox);
        volume = Some(on_volume(sandbox));
    };
    let stage = Stage::made_with(before, |_| {}, false);
    let volume = volume.unwrap();
    let (live, new, other) = (stage.data(), stage.new_data(), other(&stage.sandbox));
    let client = stage.full_spoiled("restore-base", true, |_| volume.leave_free(Some(25 << 20)));
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "no-space", "{trouble:#?}");
    let ids: Vec<&str> = trouble.cures.iter().map(|cure| cure.id.as_str()).collect();
    assert_eq!(ids, ["other-place", LOOK_AGAIN, NAMED_PLACE], "{trouble:#?}");
    stays_beside(&trouble, &live);
    stage.accepted_and_killed(client, "other-place", "step.prepare-beside.before");
    let client = stage.goes_on_after_a_kill();
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    stage.old_serves();
    let end = stage.to_the_end(&client);
    let plan = end.plan.unwrap();
    assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
    assert_eq!(Path::new(&plan.aside), live);
    assert!(control_file::read(&other).unwrap().checkpoint.timeline > 1);
    assert_eq!(control_file::read(&live).unwrap().checkpoint.timeline, 1, "it is as it was");
    assert_eq!(stage.postmaster(), None, "the old server is down");
    stage.ask(&client, Command::ProbeServer);
    let probe = client.incident().unwrap().server.clone().unwrap();
    assert!(probe.reachable, "{probe:#?}");
    // What was begun on the full disk goes by its name, and the new cluster does not.
    assert!(new.exists());
    let left = new.display().to_string();
    let discard = ["restore-full", "--cluster", CLUSTER, "--target", &left, "--discard"];
    stage.sandbox.lifeboat_as_us(&discard).unwrap();
    assert!(!new.exists() && control_file::read(&other).is_ok() && live.exists());
    stop_in(&stage, &other);
    drop(volume);
}

/// A log file that is nowhere: the new cluster ends before it, by the cluster's name.
#[test]
#[ignore = "make test-troubles"]
fn a_log_file_that_is_nowhere_ends_the_new_cluster_before_it() {
    let stage = Stage::made_with(|_| {}, |_| {}, false);
    let live = stage.data();
    let client = stage.full_spoiled("start-recovery", true, |incident| {
        let name = stage.late_segment(incident);
        fs::remove_file(stage.archived(&name)).unwrap();
        let _ = fs::remove_file(live.join("pg_wal").join(&name));
    });
    let trouble = stage.cured(&client, "missing-wal", "stop-at-gap");
    stays_beside(&trouble, &live);
    assert!(trouble.what.contains("the old cluster's directory"), "{trouble:#?}");
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    stage.old_serves();
    let told = client.incident().unwrap().reach.clone().unwrap();
    assert!(told.lost_commits.is_none_or(|lost| lost > 0), "{told:#?}");
    let end = stage.to_the_end(&client);
    assert!(end.plan.unwrap().ends_at.is_some());
    assert!(control_file::read(&live).unwrap().checkpoint.timeline > 1);
}

/// The key is closed to the server's user alone: Lifeboat as root reads it, the new server cannot.
#[test]
#[ignore = "make test-troubles"]
fn a_key_that_the_new_server_may_not_read_is_given_to_it() {
    let stage = Stage::made_with(|_| {}, |_| {}, false);
    let key = stage.sandbox.root().join("keys/master");
    let closed = |mode| fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    let root = nix::unistd::geteuid().is_root();
    let client = stage.full_spoiled("start-recovery", true, |_| match root {
        true => chown(&key, Some(0), Some(0)).unwrap(),
        false => closed(0o644),
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "denied-key", "{trouble:#?}");
    stays_beside(&trouble, &stage.data());
    let cure = Command::Cure { cure: LOOK_AGAIN.to_owned(), cluster: None };
    let refused = stage.answer(&client, cure).unwrap_err();
    assert!(refused.what.contains("still does not open"), "{refused}");
    match root {
        true => stage.give(&key),
        false => closed(0o600),
    }
    stage.old_serves();
    stage.cured(&client, "denied-key", LOOK_AGAIN);
    stage.to_the_end(&client);
}
