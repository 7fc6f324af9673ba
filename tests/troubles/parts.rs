//! Troubles of the copy beside production that parts come from: each is recognised in the copy and
//! cured there, while production serves.

use crate::own::{Volume, flip_a_bit};
use crate::place::{name_other, other};
use crate::stage::{Stage, until};
use crate::walk::may_mount;
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::facts::{
    Moment, Prerequisite, Procedure, Severity, Target, TargetPoint,
};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::parts::{Carry, PartsChoice};
use lifeboat::engine::incident::trouble::{By, LOOK_AGAIN, Trouble};
use lifeboat::engine::parts::Choice;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::work::Into;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

const TABLE: &str = "public.checked";

/// A library of its own, which a check of the table calls; `None` where this PostgreSQL lacks it.
fn library(sandbox: &Sandbox) -> Option<PathBuf> {
    let told = sandbox.server().run("pg_config", &["--pkglibdir"]).ok()?;
    let from = Path::new(told.trim()).join("fuzzystrmatch.so");
    let to = sandbox.root().join("cluster/checking.so");
    fs::copy(from, &to).ok()?;
    fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
    Some(to)
}

impl Stage {
    fn lose_rows(&self) {
        self.on(async {
            let client = self.sandbox.server().connect("postgres", DATABASE).await.unwrap();
            let sql = format!("DELETE FROM {TABLE} WHERE id > 50");
            client.batch_execute(&sql).await.unwrap();
        });
    }

    /// As `to_gate`, of a run that brings back one table alone.
    fn to_parts_gate(&self, client: &Client) {
        self.to_parts_gate_at(client, None);
    }

    /// As [`Stage::to_parts_gate`], at the suggested point or at another.
    fn to_parts_gate_at(&self, client: &Client, at: Option<Target>) {
        let (severity, moment) = (Severity::Sev2, Moment::FirstDetected);
        self.ask(client, Command::SetSeverity { severity });
        self.ask(client, Command::StateMoment { moment, at: jiff::Timestamp::now() });
        self.ask(client, Command::ProbeServer);
        until("the bad transaction to be found", || {
            self.ask(client, Command::Survey);
            client.survey().is_some_and(|survey| !survey.suspects.is_empty())
        });
        let target = at.unwrap_or_else(|| client.survey().unwrap().suggestions[0].target.clone());
        let (database, tables) = (Some(DATABASE.to_owned()), vec![TABLE.to_owned()]);
        self.ask(client, Command::ChooseParts { target, database, tables });
        for prerequisite in [Prerequisite::IncidentDeclared, Prerequisite::TargetConfirmed] {
            let note = String::new();
            self.ask(client, Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
        self.ask(client, Command::MakePlan);
        let plan_hash = client.incident().unwrap().plan.clone().unwrap().hash;
        self.ask(client, Command::PassGate { plan_hash, cluster: CLUSTER.to_owned() });
    }

    fn parts_spoiled(&self, step: &str, spoil: impl FnOnce(&Incident)) -> Client {
        self.spoiled(step, |client| self.to_parts_gate(client), spoil)
    }

    /// Asks for the rows that are missing; the run goes on by itself.
    fn carry(&self, client: &Client) {
        assert_eq!(self.next_trouble(client), None);
        let held = client.incident().unwrap();
        assert_eq!(held.status, RunStatus::Held);
        let taken = Choice { missing: true, ..Choice::default() };
        let carry = Carry::Of { into: Into::Place(taken) };
        let look = held.parts.look.as_ref().expect("the table was compared");
        let seen = look.print(&carry);
        let choice = PartsChoice { carry, missing_roles: Missing::Ask, seen };
        self.ask(client, Command::CarryParts { choice, cluster: CLUSTER.to_owned() });
        self.wait(client, "the answer to be taken", |i| i.status != RunStatus::Held);
    }

    fn parts_end(&self, client: &Client) {
        assert_eq!(self.next_trouble(client), None);
        let last = self.wait(client, "the end", |i| i.status == RunStatus::Finished);
        crate::walk::verified(&last);
        let rows = self.on(async {
            let client = self.sandbox.server().connect("postgres", DATABASE).await.unwrap();
            let query = format!("SELECT count(*) FROM {TABLE}");
            client.query_one(&*query, &[]).await.unwrap().get::<_, i64>(0)
        });
        assert_eq!(rows, 100);
        assert!(!copy_of(&last).exists(), "the copy is taken down");
    }
}

/// A table of whose rows production loses some after the point that is gone back to. `column` is the
/// definition of its other column.
fn fill(sandbox: &Sandbox, first: &str, column: &str) {
    let sql = format!(
        "{first} CREATE TABLE {TABLE} (id int PRIMARY KEY, note {column});
         INSERT INTO {TABLE} SELECT g, 'x' FROM generate_series(1, 100) g"
    );
    sandbox.runtime().unwrap().handle().block_on(async {
        let client = sandbox.server().connect("postgres", DATABASE).await.unwrap();
        client.batch_execute(&sql).await.unwrap();
    });
}

fn copy_of(incident: &Incident) -> PathBuf {
    match &incident.plan.as_ref().unwrap().procedure {
        Procedure::Parts { sandbox, .. } => PathBuf::from(sandbox),
        other => panic!("{other:?}"),
    }
}

/// Nothing that Lifeboat would do is outside the copy.
fn stays_in(copy: &Path, trouble: &Trouble) {
    for cure in trouble.cures.iter().filter(|cure| cure.by != By::People) {
        let outside = |path: &String| path.starts_with('/') && !Path::new(path).starts_with(copy);
        assert!(!cure.touches.iter().any(outside), "{cure:#?}");
    }
}

/// Files as a careless hand leaves them, a left-over lock file, a socket that is taken, a log file
/// that is gone: one after the other.
#[test]
#[ignore = "make test-troubles"]
fn the_copy_of_parts_goes_on_through_one_trouble_after_the_other() {
    let stage = Stage::made(|sandbox| fill(sandbox, "", "text"), |_| {});
    stage.lose_rows();
    let (mut first, mut second) = (stage.bystander(), Some(stage.bystander()));
    let (mut copy, mut lock, mut gone) = (PathBuf::new(), PathBuf::new(), PathBuf::new());
    let kept = stage.sandbox.root().join("taken-away");
    let client = stage.parts_spoiled("parts-replay", |incident| {
        copy = copy_of(incident);
        let data = copy.join("cluster/data");
        fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(data.join("backup_label"), Some(0), Some(0)).unwrap();
        }
        let mark = fs::read_to_string(copy.join(".lifeboat-sandbox.json")).unwrap();
        let mark: serde_json::Value = serde_json::from_str(&mark).unwrap();
        let elsewhere = mark["socket"].as_str().map(PathBuf::from);
        let folder = elsewhere.unwrap_or_else(|| copy.join("socket"));
        stage.write_pid_file_in(&data, first.id(), &folder);
        lock = folder.join(".s.PGSQL.5432.lock");
        let id = second.as_ref().unwrap().id();
        fs::write(&lock, format!("{id}\n{}\n1\n5432\n\n", data.display())).unwrap();
        fs::set_permissions(&lock, PermissionsExt::from_mode(0o600)).unwrap();
        stage.give(&lock);
        let name = stage.middle_segment(incident);
        gone = stage.archived(&name);
        fs::rename(&gone, &kept).unwrap();
        let _ = fs::remove_file(stage.data().join("pg_wal").join(name));
    });
    let mut met = Vec::new();
    while let Some((_, trouble)) = stage.next_trouble(&client) {
        assert!(met.len() < 6, "no end: {met:?}");
        stays_in(&copy, &trouble);
        let cure = match trouble.name.as_str() {
            "lock-in-use" => {
                let mut holder = second.take().unwrap();
                holder.kill().unwrap();
                holder.wait().unwrap();
                LOOK_AGAIN
            }
            "missing-wal" => {
                assert!(trouble.what.contains("production's directory"), "{trouble:#?}");
                fs::rename(&kept, &gone).unwrap();
                LOOK_AGAIN
            }
            _ => &trouble.cures[0].id,
        };
        let cure = trouble.cures.iter().find(|known| known.id == cure).unwrap();
        stage.accept(&client, cure);
        met.push(trouble.name);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(met, ["wrong-rights", "stale-pid-file", "lock-in-use", "missing-wal"]);
    stage.carry(&client);
    stage.parts_end(&client);
}

#[test]
#[ignore = "make test-troubles"]
fn a_damaged_backup_of_the_copy_is_exchanged_for_another() {
    let stage = Stage::made(
        |sandbox| fill(sandbox, "", "text"),
        |sandbox| {
            // Sets are named by the second.
            let named = jiff::Timestamp::now().as_second();
            until("the next second", || jiff::Timestamp::now().as_second() > named);
            sandbox.back_up().unwrap();
        },
    );
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-restore", |incident| {
        let set = &incident.plan.as_ref().unwrap().base.set;
        let base = set.replace("set-", "base-") + ".tar.gz.enc";
        flip_a_bit(&stage.sandbox.root().join("repository").join(base));
    });
    let damaged = client.incident().unwrap().plan.clone().unwrap().base.set;
    let trouble = stage.cured(&client, "damaged-backup", "other-base");
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    stage.carry(&client);
    stage.parts_end(&client);
    assert_ne!(stage.left().plan.unwrap().base.set, damaged);
}

/// A check of the table calls a library that is gone when the rows are written.
#[test]
#[ignore = "make test-troubles"]
fn a_library_that_the_parts_need_is_brought_back() {
    let mut file = None;
    let stage = Stage::made(
        |sandbox| {
            file = library(sandbox);
            let Some(file) = &file else { return };
            let function = format!(
                "CREATE FUNCTION distance(text, text) RETURNS int AS '{}', 'levenshtein'
                     LANGUAGE c IMMUTABLE STRICT;",
                file.display()
            );
            fill(sandbox, &function, "text CHECK (distance(note, 'y') > 0)");
        },
        |_| {},
    );
    let Some(file) = file else {
        println!("not run: this PostgreSQL comes without a library that could be copied");
        return;
    };
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-choose", |_| {});
    let away = file.with_extension("away");
    assert_eq!(stage.next_trouble(&client), None);
    fs::rename(&file, &away).unwrap();
    stage.carry(&client);
    let (step, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!((&*step, &*trouble.name), ("parts-carry", "missing-library"), "{trouble:#?}");
    assert!(trouble.what.contains(&file.display().to_string()), "{trouble:#?}");
    fs::rename(&away, &file).unwrap();
    stage.cured(&client, "missing-library", LOOK_AGAIN);
    stage.parts_end(&client);
}

/// The cluster's folder on a volume of its own.
pub fn on_volume(sandbox: &Sandbox) -> Volume {
    let server = sandbox.server();
    server.stop().unwrap();
    let folder = server.data.parent().unwrap();
    let before = sandbox.root().join("away");
    fs::rename(folder, &before).unwrap();
    fs::create_dir(folder).unwrap();
    let made = Volume::over(folder).expect("root mounts a volume");
    let mut copy = std::process::Command::new("cp");
    assert!(copy.args(["-a", "-T"]).arg(&before).arg(folder).status().unwrap().success());
    fs::remove_dir_all(&before).unwrap();
    server.start(&[]).unwrap();
    made
}

/// At the trouble of a full disk under the copy, on a volume that it shares with production.
fn full_under_the_copy(before: impl Fn(&Sandbox)) -> (Stage, Volume, Client, Trouble) {
    let mut volume = None;
    let made = |sandbox: &Sandbox| {
        before(sandbox);
        volume = Some(on_volume(sandbox));
        fill(sandbox, "", "text");
    };
    let stage = Stage::made(made, |_| {});
    let volume = volume.unwrap();
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-restore", |_| volume.leave_free(Some(25 << 20)));
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "no-space", "{trouble:#?}");
    (stage, volume, client, trouble)
}

#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_under_the_copy_goes_on_once_there_is_room() {
    if !may_mount() {
        return;
    }
    let (stage, volume, client, trouble) = full_under_the_copy(|_| {});
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    stage.is_still_full(&client);
    volume.leave_free(None);
    stage.cured(&client, "no-space", LOOK_AGAIN);
    stage.carry(&client);
    stage.parts_end(&client);
    // The servers inside have to end before the volume goes.
    stage.sandbox.server().stop().unwrap();
    drop(volume);
}

/// The copy goes on on another disk, and production's has its room back. The runner is killed right
/// after that was accepted.
#[test]
#[ignore = "make test-troubles"]
fn a_full_disk_under_the_copy_is_left_for_another_one() {
    if !may_mount() {
        return;
    }
    let (stage, volume, client, trouble) = full_under_the_copy(name_other);
    assert_eq!(trouble.cures[0].id, "other-place", "{trouble:#?}");
    let first = copy_of(&client.incident().unwrap());
    stage.accepted_and_killed(client, "other-place", "step.parts-restore.before");
    assert!(first.exists(), "nothing is done before the journal has it");
    // Production writes on that disk, too, while the rows are looked at and come back.
    volume.leave_free(None);
    let client = stage.goes_on_after_a_kill();
    stage.wait(&client, "the question", |i| i.status == RunStatus::Held);
    let copy = copy_of(&client.incident().unwrap());
    assert_eq!(copy, other(&stage.sandbox), "where nothing is there, the folder is the copy's own");
    assert!(copy.exists() && !first.exists(), "the unfinished one is taken down");
    stage.carry(&client);
    stage.parts_end(&client);
    stage.sandbox.server().stop().unwrap();
    drop(volume);
}

/// A log file that is nowhere: the copy ends before it, by the cluster's name.
#[test]
#[ignore = "make test-troubles"]
fn a_log_file_that_is_nowhere_ends_the_copy_before_it() {
    let stage = Stage::made(|sandbox| fill(sandbox, "", "text"), |_| {});
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-replay", |incident| {
        let name = stage.middle_segment(incident);
        fs::remove_file(stage.archived(&name)).unwrap();
        let _ = fs::remove_file(stage.data().join("pg_wal").join(name));
    });
    let trouble = stage.cured(&client, "missing-wal", "stop-at-gap");
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    stage.carry(&client);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    assert!(plan.ends_at.is_some(), "{plan:#?}");
    stage.parts_end(&client);
}

/// Production was started with more connections after the plan was made: the log that the copy
/// replays to its end asks for them.
#[test]
#[ignore = "make test-troubles"]
fn a_setting_that_is_too_low_is_raised_in_the_copy() {
    const RAISED: &str = "173";
    let stage = Stage::made(|sandbox| fill(sandbox, "", "text"), |_| {});
    let end = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    let gate = |client: &Client| stage.to_parts_gate_at(client, Some(end));
    let client = stage.spoiled("parts-replay", gate, |_| {
        let server = stage.sandbox.server();
        server.stop().unwrap();
        server.start(&[("max_connections", RAISED)]).unwrap();
        stage.on(async {
            let client = server.connect("postgres", DATABASE).await.unwrap();
            client.batch_execute("CREATE TABLE after_the_plan (id int)").await.unwrap();
            client.query_one("SELECT pg_switch_wal()::text", &[]).await.unwrap();
        });
    });
    let trouble = stage.cured(&client, "low-setting", "raise-settings");
    assert!(trouble.what.contains(RAISED), "{trouble:#?}");
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    assert_eq!(stage.next_trouble(&client), None);
    // Rows that are lost once the copy stands, and are looked for again.
    stage.lose_rows();
    let part = client.incident().unwrap().parts.look.clone().unwrap().part;
    stage.ask(&client, Command::LookAtParts { part });
    stage.carry(&client);
    stage.parts_end(&client);
}

/// The history of the timeline that the plan names is gone when the copy starts: it goes to the
/// nearest point on the timeline of its backup.
#[test]
#[ignore = "make test-troubles"]
fn a_timeline_that_is_gone_is_left_for_that_of_the_copys_backup() {
    let stage = Stage::made(|sandbox| fill(sandbox, "", "text"), promoted);
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-replay", |incident| {
        assert_eq!(incident.plan.as_ref().unwrap().base.timeline, 1);
        let folder = stage.sandbox.root().join("repository");
        let taken = stage.sandbox.root().join("taken-away");
        let gone = histories(&folder);
        assert!(!gone.is_empty(), "the history is archived");
        for (i, path) in gone.iter().enumerate() {
            fs::rename(path, taken.with_extension(i.to_string())).unwrap();
        }
        let _ = fs::remove_file(stage.data().join("pg_wal/00000002.history"));
    });
    let trouble = stage.cured(&client, "wrong-timeline", "nearest-point");
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    stage.carry(&client);
    stage.parts_end(&client);
}

/// Production goes on along a timeline of its own, from a point behind what was written on the first.
fn promoted(sandbox: &Sandbox) {
    let server = sandbox.server();
    sandbox.runtime().unwrap().handle().block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        client.batch_execute("CREATE TABLE on_the_first (id int)").await.unwrap();
        client.batch_execute("INSERT INTO on_the_first VALUES (1)").await.unwrap();
        client.query_one("SELECT pg_switch_wal()::text", &[]).await.unwrap();
    });
    server.stop().unwrap();
    let signal = server.data.join("standby.signal");
    fs::write(&signal, "").unwrap();
    lifeboat::engine::postgres::child::give(&signal, &server.user).unwrap();
    server.start(&[]).unwrap();
    sandbox.runtime().unwrap().handle().block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        let done = client.query_one("SELECT pg_promote()", &[]).await.unwrap();
        assert!(done.get::<_, bool>(0));
        client.query_one("SELECT pg_switch_wal()::text", &[]).await.unwrap();
    });
    let folder = sandbox.root().join("repository");
    until("the history to be archived", || !histories(&folder).is_empty());
}

/// The archive's objects of the second timeline's history.
fn histories(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(histories(&path));
        } else if name.starts_with("00000002.history") {
            found.push(path);
        }
    }
    found
}

/// The table's own type is found only where production's `dynamic_library_path` leads: the copy reads
/// its rows all the same.
#[test]
#[ignore = "make test-troubles"]
fn the_copy_finds_a_library_where_production_looks_for_it() {
    let mut found = false;
    let stage = Stage::made(
        |sandbox| {
            let told = sandbox.server().run("pg_config", &["--pkglibdir"]).unwrap();
            let folder = sandbox.root().join("cluster/libraries");
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
            let file = folder.join("shaped.so");
            found = fs::copy(Path::new(told.trim()).join("cube.so"), &file).is_ok();
            if !found {
                return;
            }
            fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
            let path = format!("$libdir:{}", folder.display());
            let set = format!("ALTER SYSTEM SET dynamic_library_path = '{path}'");
            sandbox.runtime().unwrap().handle().block_on(async {
                let client = sandbox.server().connect("postgres", DATABASE).await.unwrap();
                client.batch_execute(&set).await.unwrap();
            });
            let server = sandbox.server();
            server.stop().unwrap();
            server.start(&[]).unwrap();
            let types = "CREATE TYPE shaped;
                CREATE FUNCTION shaped_in(cstring) RETURNS shaped AS 'shaped', 'cube_in'
                    LANGUAGE c IMMUTABLE STRICT;
                CREATE FUNCTION shaped_out(shaped) RETURNS cstring AS 'shaped', 'cube_out'
                    LANGUAGE c IMMUTABLE STRICT;
                CREATE TYPE shaped (INTERNALLENGTH = variable, INPUT = shaped_in,
                    OUTPUT = shaped_out, ALIGNMENT = double);";
            fill(sandbox, types, "text, at shaped DEFAULT '(1,2)'");
        },
        |_| {},
    );
    if !found {
        println!("not run: this PostgreSQL comes without a library that could be copied");
        return;
    }
    stage.lose_rows();
    let client = stage.parts_spoiled("parts-restore", |_| {});
    stage.carry(&client);
    stage.parts_end(&client);
}

/// Another key than the one that the backups were closed with.
#[test]
#[ignore = "make test-troubles"]
fn a_wrong_key_for_the_copy_is_exchanged_for_the_right_one() {
    let stage = Stage::made(|sandbox| fill(sandbox, "", "text"), |_| {});
    stage.lose_rows();
    let key = stage.sandbox.root().join("keys/master");
    let right = fs::read_to_string(&key).unwrap();
    let client = stage.parts_spoiled("parts-restore", |_| {
        fs::write(&key, format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "denied-key", "{trouble:#?}");
    assert!(trouble.what.contains("is not the one"), "{trouble:#?}");
    stays_in(&copy_of(&client.incident().unwrap()), &trouble);
    let cure = Command::Cure { cure: LOOK_AGAIN.to_owned(), cluster: None };
    let refused = stage.answer(&client, cure).unwrap_err();
    assert!(refused.what.contains("still does not open"), "{refused}");
    fs::write(&key, right).unwrap();
    stage.cured(&client, "denied-key", LOOK_AGAIN);
    stage.carry(&client);
    stage.parts_end(&client);
}
