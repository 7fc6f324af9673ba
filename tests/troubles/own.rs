//! Troubles with a recovery of their own, under `make test-troubles`.

use crate::stage::{Stage, kill_runner, until};
use crate::walk::{may_mount, verified};
use lifeboat::engine::drill::sandbox::CLUSTER;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Target, TargetPoint, Verdict};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::trouble::{By, LOOK_AGAIN};
use lifeboat::engine::postgres::{Lsn, control_file};
use lifeboat::engine::runner::client::LinkState;
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub fn flip_a_bit(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0_u8];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
}

/// A log file that is nowhere: the recovery ends before it, by the cluster's name.
#[test]
#[ignore = "make test-troubles"]
fn a_log_file_that_is_nowhere_ends_the_recovery_before_it() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |incident| {
        let name = stage.middle_segment(incident);
        fs::remove_file(stage.archived(&name)).unwrap();
        let aside = PathBuf::from(&incident.plan.as_ref().unwrap().aside);
        let _ = fs::remove_file(aside.join("pg_wal").join(&name));
    });
    let trouble = stage.cured(&client, "missing-wal", "stop-at-gap");
    assert_eq!(trouble.cures[0].id, "stop-at-gap", "{trouble:#?}");
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    let told = client.incident().unwrap().reach.clone().unwrap();
    // What is given up is counted once more beside the question: the log goes on behind the gap.
    let counted = || {
        stage.entries().into_iter().find_map(|entry| match entry.event {
            Event::LossCounted(loss) => Some(loss),
            Event::StepNoted { name, text, .. } if name == "loss_not_counted" => panic!("{text}"),
            _ => None,
        })
    };
    until("the count", || counted().is_some());
    let loss = counted().unwrap();
    assert_eq!(loss.last_kept, told.last_kept);
    assert!(told.lost_commits.unwrap() > 0 && loss.commits >= told.lost_commits, "{loss:?}");
    let end = stage.to_the_end(&client);
    let plan = end.plan.unwrap();
    assert_eq!(plan.target.point, TargetPoint::EndOfArchive);
    assert!(plan.ends_at.is_some() && end.reach.unwrap().lost_commits == loss.commits);
}

/// Where the database was opened on another port, what comes after the promotion asks it there.
#[test]
#[ignore = "make test-troubles"]
fn what_comes_after_a_cure_asks_the_port_that_the_server_has() {
    let stage = Stage::new();
    let port = stage.sandbox.server().port;
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let client = stage.spoiled_before("start-recovery", |_| {
        stage.append_conf("listen_addresses = '127.0.0.1'");
    });
    assert_eq!(stage.next_trouble(&client), None);
    stage.agree(&client);
    stage.cured(&client, "port-taken", "free-port");
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    // Somebody else has the configured port: only the server itself answers there as a database.
    stage.ask(&client, Command::ProbeServer);
    let probe = client.incident().unwrap().server.clone().unwrap();
    assert!(probe.reachable, "{probe:#?}");
    let id = stage.left().declaration.id;
    let salvage = ["salvage", "--cluster", CLUSTER, "--incident", &id, "--dry-run"];
    stage.sandbox.lifeboat_as_us(&salvage).unwrap();
    let looked = |item: &str, agreed: &[&str]| {
        let agreed = agreed.iter().map(|key| (*key).to_owned()).collect();
        stage.ask(&client, Command::RunCare { item: item.to_owned(), agreed });
        client.incident().unwrap().care[item].clone()
    };
    let archiving = looked("archiving", &[]);
    assert_eq!(archiving.verdict(), Verdict::Verified, "{archiving:#?}");
    looked("first-backup", &[]);
    let backup = looked("first-backup", &["backup"]);
    assert_eq!(backup.verdict(), Verdict::Verified, "{backup:#?}");
    drop(listener);
}

/// The archive is damaged, people bring a good copy, and the full recovery is had.
#[test]
#[ignore = "make test-troubles"]
fn a_damaged_log_file_is_replaced_by_people() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |incident| {
        flip_a_bit(&stage.archived(&stage.middle_segment(incident)));
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "damaged-wal");
    flip_a_bit(&stage.archived(&stage.middle_segment(&stage.left())));
    stage.cured(&client, "damaged-wal", LOOK_AGAIN);
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_damaged_backup_is_exchanged_for_another() {
    let stage = Stage::prepared(|sandbox| {
        // Sets are named by the second.
        let named = jiff::Timestamp::now().as_second();
        until("the next second", || jiff::Timestamp::now().as_second() > named);
        sandbox.back_up().unwrap();
    });
    let client = stage.spoiled_before("restore-base", |incident| {
        let set = &incident.plan.as_ref().unwrap().base.set;
        let base = set.replace("set-", "base-") + ".tar.gz.enc";
        flip_a_bit(&stage.sandbox.root().join("repository").join(base));
    });
    let damaged = client.incident().unwrap().plan.clone().unwrap().base.set;
    stage.cured(&client, "damaged-backup", "other-base");
    let end = stage.to_the_end(&client);
    assert_ne!(end.plan.unwrap().base.set, damaged);
}

/// Two backups are damaged: the second cure does not go back to the first, also where its runner was
/// killed in between; and where none is left, that is said.
#[test]
#[ignore = "make test-troubles"]
fn another_backup_is_never_one_that_failed_before() {
    let stage = Stage::prepared(|sandbox| {
        for _ in 0..2 {
            // Sets are named by the second.
            let named = jiff::Timestamp::now().as_second();
            until("the next second", || jiff::Timestamp::now().as_second() > named);
            sandbox.back_up().unwrap();
        }
    });
    let repository = stage.sandbox.root().join("repository");
    let bases = || {
        let names = fs::read_dir(&repository).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> = names
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("base-"))
            .filter(|path| path.to_string_lossy().ends_with(".tar.gz.enc"))
            .collect();
        found.sort();
        found
    };
    let all = bases();
    assert_eq!(all.len(), 3, "{all:?}");
    let client =
        stage.spoiled_before("restore-base", |_| all.iter().for_each(|base| flip_a_bit(base)));
    let set = || stage.left().plan.unwrap().base.set;
    let first = set();
    stage.cured(&client, "damaged-backup", "other-base");
    assert!(stage.next_trouble(&client).is_some());
    let second = set();
    assert_ne!(second, first);

    kill_runner(&client);
    stage.watch(&client, "its end", || matches!(client.link(), LinkState::Lost { .. }));
    let client = stage.runner(None);
    let trouble = stage.cured(&client, "damaged-backup", "other-base");
    assert!(trouble.cures[0].does.contains(&first), "{trouble:#?}");
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    let third = set();
    assert!(third != first && third != second, "{first} {second} {third}");
    assert_eq!(stage.left().adjustments.without_bases, [first.clone(), second.clone()]);
    let ids: Vec<&str> = trouble.cures.iter().map(|cure| cure.id.as_str()).collect();
    assert_eq!(ids, [LOOK_AGAIN, "no-other-base"], "{trouble:#?}");
    for set in [&first, &second, &third] {
        assert!(trouble.cures[1].does.contains(set), "{trouble:#?}");
    }
    // A good copy of the one that it stands at is enough.
    let name = third.replace("set-", "base-");
    flip_a_bit(all.iter().find(|path| path.to_string_lossy().contains(&name)).unwrap());
    stage.cured(&client, "damaged-backup", LOOK_AGAIN);
    stage.to_the_end(&client);
}

/// The key file is gone while the base is copied: it is told as that, and tried before it goes on.
#[test]
#[ignore = "make test-troubles"]
fn a_key_that_is_gone_is_brought_back() {
    let stage = Stage::new();
    let key = stage.sandbox.root().join("keys/master");
    let away = key.with_extension("away");
    let place = "step.restore-base.before";
    let client = stage.runner(Some(place));
    stage.to_gate(&client);
    stage.go_on(&client);
    stage.until_lost(&client, place);
    let client = stage.runner(None);
    stage.wait(&client, "what the runner left", |i| i.status == RunStatus::Interrupted);
    // Without its key no runner would begin: it goes while one is there.
    fs::rename(&key, &away).unwrap();
    stage.ask(&client, Command::Retry);
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "denied-key", "{trouble:#?}");
    let cure = Command::Cure { cure: LOOK_AGAIN.to_owned(), cluster: None };
    let refused = stage.answer(&client, cure).unwrap_err();
    assert!(refused.what.contains("still does not open"), "{refused}");
    fs::rename(&away, &key).unwrap();
    stage.cured(&client, "denied-key", LOOK_AGAIN);
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_repository_that_is_away_is_waited_for_while_the_base_is_copied() {
    away_before("restore-base");
}

#[test]
#[ignore = "make test-troubles"]
fn a_repository_that_is_away_is_waited_for_while_the_log_is_replayed() {
    away_before("start-recovery");
}

fn away_before(step: &str) {
    let stage = Stage::new();
    let repository = stage.sandbox.root().join("repository");
    let away = stage.sandbox.root().join("repository.unmounted");
    let client = stage.spoiled_before(step, |_| fs::rename(&repository, &away).unwrap());
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "repository-away", "{trouble:#?}");
    // Back only after the cure has begun to ask.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the cure to begin", || {
                stage.left().current_step().is_some_and(|s| s.curing.is_some())
            });
            fs::rename(&away, &repository).unwrap();
        });
        stage.accept(&client, &trouble.cures[0]);
    });
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_point_before_consistency_goes_on_to_a_later_one() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |incident| {
        let start = incident.plan.as_ref().unwrap().base.start_lsn;
        stage.edit_settings(|text| with_target(&text, Lsn(start.0 + 1)));
    });
    stage.cured(&client, "before-consistency", "nearest-point");
    stage.to_the_end(&client);
}

/// The recovery's target replaced by an LSN, inclusive.
fn with_target(text: &str, lsn: Lsn) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let name = line.split(" = ").next().unwrap_or_default();
        match name {
            "recovery_target_lsn" => lines.push(format!("recovery_target_lsn = '{lsn}'")),
            "recovery_target_time" | "recovery_target_xid" | "recovery_target_name" => {
                lines.push(format!("{name} = ''"));
            }
            "recovery_target_inclusive" => {
                lines.push(String::from("recovery_target_inclusive = 'true'"))
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

#[test]
#[ignore = "make test-troubles"]
fn a_point_that_never_comes_ends_the_recovery_at_the_end_of_the_log() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |_| {
        stage.edit_settings(|text| with_target(&text, Lsn(0xFFFF_0000_0000)));
    });
    stage.cured(&client, "ended-before-target", "stop-at-gap");
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_timeline_that_is_not_there_is_left_for_the_backups_own() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |_| {
        stage.edit_settings(|text| {
            let line = |line: &str| {
                if line.starts_with("recovery_target_timeline") {
                    String::from("recovery_target_timeline = '9'")
                } else {
                    line.to_owned()
                }
            };
            text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
        });
    });
    stage.cured(&client, "wrong-timeline", "nearest-point");
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_lock_file_of_the_living_is_never_removed() {
    let stage = Stage::new();
    let mut holder = stage.bystander();
    let mut lock = PathBuf::new();
    let client = stage.spoiled_before("start-recovery", |_| {
        let folder = stage.socket_folder();
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        stage.give(&folder);
        lock = folder.join(".s.PGSQL.5432.lock");
        let data = stage.data();
        fs::write(&lock, format!("{}\n{}\n1\n5432\n\n", holder.id(), data.display())).unwrap();
        fs::set_permissions(&lock, PermissionsExt::from_mode(0o600)).unwrap();
        stage.give(&lock);
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "lock-in-use", "{trouble:#?}");
    assert!(trouble.cures.iter().all(|cure| cure.by == By::People), "{trouble:#?}");
    assert!(lock.exists());
    // People end what holds it, and nothing else.
    holder.kill().unwrap();
    holder.wait().unwrap();
    stage.cured(&client, "lock-in-use", LOOK_AGAIN);
    stage.to_the_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn programs_of_another_version_are_told_and_looked_at_again() {
    let stage = Stage::new();
    let version = stage.data().join("PG_VERSION");
    let client = stage.spoiled_before("start-recovery", |_| fs::write(&version, "12\n").unwrap());
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "wrong-version", "{trouble:#?}");
    let major = stage.sandbox.server().programs.major;
    fs::write(&version, format!("{major}\n")).unwrap();
    stage.cured(&client, "wrong-version", LOOK_AGAIN);
    stage.to_the_end(&client);
}

/// A volume of its own for what lies beside the data directory, where this is root.
pub struct Volume(PathBuf);

impl Volume {
    pub fn over(folder: &Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2g,mode=755", "lifeboat-test"])
            .arg(folder)
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    pub fn leave_free(&self, bytes: Option<u64>) {
        let volume = rustix::fs::statvfs(&self.0).unwrap();
        let used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize;
        let size = bytes.map_or(2 << 30, |free| used + free);
        let done = std::process::Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A cluster whose data directory's volume is too small for a recovery beside it, with an alternative
/// directory; `None` where that cannot be had. The volume goes last.
fn elsewhere() -> Option<(Stage, Volume)> {
    if !may_mount() {
        return None;
    }
    let mut volume = None;
    let stage = Stage::made(
        |sandbox| {
            let server = sandbox.server();
            server.stop().unwrap();
            let before = server.data.with_file_name("data.before");
            fs::rename(&server.data, &before).unwrap();
            fs::create_dir(&server.data).unwrap();
            let made = Volume::over(&server.data).expect("root mounts a volume");
            let mut copy = std::process::Command::new("cp");
            let copied = copy.args(["-a", "-T"]).arg(&before).arg(&server.data).status();
            assert!(copied.unwrap().success());
            fs::remove_dir_all(&before).unwrap();
            made.leave_free(Some(230 << 20));
            volume = Some(made);
            let config = &sandbox.config().path;
            let text = fs::read_to_string(config).unwrap();
            let line = text.lines().find(|l| l.starts_with("data_directory")).unwrap();
            let other = sandbox.root().join("cluster/elsewhere");
            let both = format!("{line}\nalternative_data_directory = \"{}\"", other.display());
            fs::write(config, text.replace(line, &both)).unwrap();
            server.start(&[]).unwrap();
        },
        |_| {},
    );
    volume.map(|volume| (stage, volume))
}

pub fn stop_in(stage: &Stage, directory: &Path) {
    let directory = directory.display().to_string();
    stage.sandbox.server().run("pg_ctl", &["stop", "-D", &directory, "-m", "fast", "-w"]).unwrap();
}

/// Killed between two renames of the step-back, and again when all is set aside and nothing noted: the
/// next runner goes on each time, and the damaged directory is only read.
#[test]
#[ignore = "make test-troubles"]
fn a_runner_killed_while_it_goes_back_in_the_alternative_directory_is_followed_by_the_next() {
    let Some((stage, volume)) = elsewhere() else { return };
    let other = stage.sandbox.root().join("cluster/elsewhere");
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    let held = stage.wait(&client, "the target", |i| i.status == RunStatus::Held);
    let plan = held.plan.clone().unwrap();
    assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
    let damaged = control_file::read(&stage.data()).unwrap();
    let first = held.reach.clone().unwrap().last_kept.unwrap().lsn;
    let at = Lsn((plan.base.stop_lsn.0 + first.0) / 2);
    let target = Target { point: TargetPoint::Lsn(at), inclusive: false, timeline: None };
    kill_runner(&client);
    stage.watch(&client, "its end", || matches!(client.link(), LinkState::Lost { .. }));

    // The second such place: the directory is set aside, the empty one is not there yet.
    let client = stage.runner(Some("move.one:2"));
    stage.wait(&client, "the question again", |i| i.status == RunStatus::Held);
    let cluster = CLUSTER.to_owned();
    drop(client.submit(Command::MoveTarget { target, cluster }));
    stage.until_lost(&client, "move.one:2");
    assert!(!other.exists(), "it is set aside, and nothing is in its place yet");
    let place = "step.step-back.after_run";
    let client = stage.runner(Some(place));
    stage.wait(&client, "what the first left", |i| i.status == RunStatus::Interrupted);
    drop(client.submit(Command::Retry));
    stage.until_lost(&client, place);
    let client = stage.runner(None);
    stage.wait(&client, "what the second left", |i| i.status == RunStatus::Interrupted);
    stage.ask(&client, Command::Retry);
    assert_eq!(stage.next_trouble(&client), None);
    let back = client.incident().unwrap();
    assert_eq!((back.status, back.tries.len()), (RunStatus::Held, 2));
    let stood = back.plan.clone().unwrap().places.stood.unwrap();
    assert!(stood.kept.join("global/pg_control").exists());
    assert_eq!(stood.kept.parent(), other.parent());

    stage.agree(&client);
    assert_eq!(stage.next_trouble(&client), None);
    stage.wait(&client, "the end", |i| i.status == RunStatus::Finished);
    assert!(control_file::read(&other).unwrap().checkpoint.timeline > 1);
    assert_eq!(control_file::read(&stage.data()).unwrap(), damaged, "nobody wrote to it");
    stop_in(&stage, &other);
    drop(volume);
}

/// The alternative directory is in use by something else: another one is named, and the recovery goes
/// there.
#[test]
#[ignore = "make test-troubles"]
fn another_directory_is_named_where_the_alternative_is_in_use() {
    let Some((stage, volume)) = elsewhere() else { return };
    let folder = stage.sandbox.root().join("cluster");
    let (taken, other) = (folder.join("elsewhere"), folder.join("another"));
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("somebody's"), "file").unwrap();
    let client = stage.runner(None);
    stage.to_gate_by(&client, |target| {
        let into = |directory: &Path| Command::ChooseInto {
            target: target.clone(),
            directory: directory.display().to_string(),
        };
        let refused = |command| stage.answer(&client, command).unwrap_err().what;
        let why = refused(Command::ChooseTarget { target: target.clone() });
        assert!(why.contains("alternative_data_directory"), "{why}");
        let why = refused(into(&taken));
        assert!(why.contains("something else uses it"), "{why}");
        let why = refused(into(&stage.data().join("inside")));
        assert!(why.contains("lie in each other"), "{why}");
        into(&other)
    });
    stage.go_on(&client);
    let held = stage.wait(&client, "the target", |i| i.status == RunStatus::Held);
    let plan = held.plan.clone().unwrap();
    assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
    stage.to_the_end(&client);
    assert!(control_file::read(&other).unwrap().checkpoint.timeline > 1);
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1, "what is there is untouched");
    stop_in(&stage, &other);
    drop(volume);
}

/// Where the data directory's volume is too small, the recovery is in the alternative directory, and
/// so are its troubles and their cures.
#[test]
#[ignore = "make test-troubles"]
fn troubles_in_the_alternative_directory_are_cured_there() {
    let Some((stage, volume)) = elsewhere() else { return };
    let other = stage.sandbox.root().join("cluster/elsewhere");
    let client = stage.spoiled_before("start-recovery", |incident| {
        let plan = incident.plan.as_ref().unwrap();
        assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
        let name = stage.middle_segment(incident);
        fs::remove_file(stage.archived(&name)).unwrap();
        // The damaged directory stays where it is, and has it or not.
        let _ = fs::remove_file(Path::new(&plan.aside).join("pg_wal").join(&name));
        fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).unwrap();
    });
    let rights = stage.cured(&client, "wrong-rights", "own-files");
    assert!(rights.cures[0].touches.iter().all(|path| Path::new(path).starts_with(&other)));
    stage.cured(&client, "missing-wal", "stop-at-gap");
    let end = stage.to_the_end(&client);
    assert_eq!(end.plan.unwrap().target.point, TargetPoint::EndOfArchive);
    let mode = fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    stop_in(&stage, &other);
    drop(volume);
}

#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_while_the_base_is_copied_goes_on_once_there_is_room() {
    full_disk("restore-base", 30 << 20);
}

#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_while_the_log_is_replayed_goes_on_once_there_is_room() {
    full_disk("start-recovery", 20 << 20);
}

/// The cluster's folder is moved to a small volume between two steps.
fn full_disk(step: &str, left: u64) {
    if !may_mount() {
        return;
    }
    let stage = Stage::new();
    let folder = stage.data().parent().unwrap().to_owned();
    let mut volume = None;
    let client = stage.spoiled_before(step, |_| {
        let kept = stage.sandbox.root().join("cluster.before");
        fs::rename(&folder, &kept).unwrap();
        fs::create_dir(&folder).unwrap();
        volume = Volume::over(&folder);
        let copied = std::process::Command::new("cp")
            .args(["-a", "--"])
            .arg(format!("{}/.", kept.display()))
            .arg(&folder)
            .status();
        assert!(copied.unwrap().success());
        if let Some(volume) = &volume {
            volume.leave_free(Some(left));
        }
    });
    let Some(volume) = volume else { panic!("root could not mount a volume") };
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "no-space", "{trouble:#?}");
    // Without help it does not go on.
    stage.is_still_full(&client);
    volume.leave_free(None);
    stage.cured(&client, "no-space", LOOK_AGAIN);
    let end = stage.to_the_end(&client);
    verified(&end);
    assert_eq!(end.status, RunStatus::Finished);
    // The servers inside have to end before the volume goes.
    stage.sandbox.server().stop().unwrap();
    drop(volume);
    let kept = stage.sandbox.root().join("cluster.before");
    fs::remove_dir(&folder).unwrap();
    fs::rename(&kept, &folder).unwrap();
}
