//! Troubles of the copy beside production that parts come from: each is recognised in the copy and
//! cured there, while production serves.

use crate::own::flip_a_bit;
use crate::stage::{Stage, until};
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::facts::{Moment, Prerequisite, Procedure, Severity};
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
        let (severity, moment) = (Severity::Sev2, Moment::FirstDetected);
        self.ask(client, Command::SetSeverity { severity });
        self.ask(client, Command::StateMoment { moment, at: jiff::Timestamp::now() });
        self.ask(client, Command::ProbeServer);
        until("the bad transaction to be found", || {
            self.ask(client, Command::Survey);
            client.survey().is_some_and(|survey| !survey.suspects.is_empty())
        });
        let target = client.survey().unwrap().suggestions[0].target.clone();
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
