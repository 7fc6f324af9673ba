//! A disk that is full is left for another place: the alternative directory, by one cure. The damaged
//! cluster comes back to where it was, what was restored stays whole, and the recovery goes on.

use crate::own::Volume;
use crate::stage::{Stage, kill_runner};
use crate::walk::may_mount;
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::trouble::{By, Cure, NAMED_PLACE, Trouble};
use lifeboat::engine::postgres::control_file::{self, ControlFile};
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::path::{Path, PathBuf};

const OTHER_PLACE: &str = "other-place";

/// The alternative directory, on the volume of the sandbox.
pub fn other(sandbox: &Sandbox) -> PathBuf {
    sandbox.root().join("recovery")
}

pub fn name_other(sandbox: &Sandbox) {
    let config = &sandbox.config().path;
    let text = fs::read_to_string(config).unwrap();
    let line = text.lines().find(|l| l.starts_with("data_directory")).unwrap();
    let both = format!("{line}\nalternative_data_directory = \"{}\"", other(sandbox).display());
    fs::write(config, text.replace(line, &both)).unwrap();
}

/// The cluster's folder on a small volume while it is there.
pub struct Small {
    volume: Option<Volume>,
    folder: PathBuf,
    kept: PathBuf,
}

impl Small {
    /// Moves the folder onto a volume that has `left` bytes for more.
    pub fn over(stage: &Stage, left: u64) -> Self {
        let folder = stage.data().parent().unwrap().to_owned();
        let kept = stage.sandbox.root().join("cluster.before");
        fs::rename(&folder, &kept).unwrap();
        fs::create_dir(&folder).unwrap();
        let volume = Volume::over(&folder).expect("root mounts a volume");
        let mut copy = std::process::Command::new("cp");
        let copied = copy.args(["-a", "-T"]).arg(&kept).arg(&folder).status();
        assert!(copied.unwrap().success());
        volume.leave_free(Some(left));
        Self { volume: Some(volume), folder, kept }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.volume.take());
        // What the sandbox takes down is where it was.
        let _ = fs::remove_dir(&self.folder).and_then(|()| fs::rename(&self.kept, &self.folder));
    }
}

/// At the trouble of a full disk in `step`, with what the damaged directory was.
fn full_in(step: &str, left: u64) -> (Stage, Small, Client, Cure, ControlFile) {
    let stage = Stage::made(name_other, |_| {});
    let (small, client, trouble, damaged) = full(&stage, step, left);
    let cure = trouble.cures.iter().find(|cure| cure.id == OTHER_PLACE);
    let cure = cure.unwrap_or_else(|| panic!("{:#?}", trouble.cures)).clone();
    assert_eq!(cure.by, By::LifeboatByName);
    assert_eq!(cure.with, [other(&stage.sandbox).display().to_string()]);
    eprintln!("   {}\n   {}", cure.does, cure.cost);
    (stage, small, client, cure, damaged)
}

fn full(stage: &Stage, step: &str, left: u64) -> (Small, Client, Trouble, ControlFile) {
    let mut small = None;
    let mut damaged = None;
    let client = stage.spoiled_before(step, |incident| {
        let plan = incident.plan.as_ref().unwrap();
        assert_eq!(plan.places.alternative, None, "there was room when the plan was made");
        damaged = Some(control_file::read(Path::new(&plan.aside)).unwrap());
        small = Some(Small::over(stage, left));
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "no-space", "{trouble:#?}");
    (small.unwrap(), client, trouble, damaged.unwrap())
}

/// The database serves in the other place; the damaged one is where it was, and nothing is deleted.
fn lives_there(stage: &Stage, client: &Client, end: &Incident, damaged: &ControlFile, kept: bool) {
    let other = other(&stage.sandbox);
    let plan = end.plan.clone().unwrap();
    assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
    assert_eq!(Path::new(&plan.aside), stage.data());
    assert!(control_file::read(&other).unwrap().checkpoint.timeline > 1);
    assert_eq!(&control_file::read(&stage.data()).unwrap(), damaged, "nobody wrote to it");
    let folder = stage.data().parent().unwrap().to_owned();
    let names = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.contains(".damaged.")), "it is back: {names:?}");
    let abandoned = names.iter().find(|name| name.starts_with("data.abandoned."));
    assert_eq!(abandoned.is_some(), kept, "{names:?}");
    if let Some(name) = abandoned {
        assert!(folder.join(name).join("PG_VERSION").exists(), "what was restored is kept");
    }
    let shown = other.display().to_string();
    let accepted = stage.entries().into_iter().filter(|entry| {
        matches!(&entry.event, Event::CureAccepted { cure, .. } if cure.with == [shown.clone()])
    });
    assert!(accepted.count() > 0);
    // Everything that asks afterwards goes there, and what has to name it is on the list.
    stage.ask(client, Command::ProbeServer);
    let probe = client.incident().unwrap().server.clone().unwrap();
    assert!(probe.reachable, "{probe:#?}");
    let item = String::from("next-start");
    stage.ask(client, Command::RunCare { item: item.clone(), agreed: Vec::new() });
    let care = client.incident().unwrap().care[&item].clone();
    assert_eq!(care.verdict(), Verdict::Failed, "lifeboat.toml names the damaged one: {care:#?}");
    stage.ask(client, Command::WriteReport);
    let written = client.incident().unwrap().reports.clone();
    let report = written.iter().find(|path| path.ends_with(".md")).unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains(&plan.aside), "{report}");
    let other = other.display().to_string();
    stage.sandbox.server().run("pg_ctl", &["stop", "-D", &other, "-m", "fast", "-w"]).unwrap();
}

/// Too little room is found before the copy begins.
#[test]
#[ignore = "make test-troubles"]
fn a_disk_that_is_too_small_for_the_copy_is_left_for_the_alternative_directory() {
    if !may_mount() {
        return;
    }
    let (stage, small, client, cure, damaged) = full_in("restore-base", 30 << 20);
    let command = Command::Cure { cure: cure.id.clone(), cluster: Some(String::from("another")) };
    let refused = stage.answer(&client, command).unwrap_err();
    assert!(refused.what.contains("not the cluster"), "{refused}");
    stage.accept(&client, &cure);
    let end = stage.to_the_end(&client);
    lives_there(&stage, &client, &end, &damaged, false);
    drop(small);
}

/// None is configured: the commander types one. What is no place is refused, and nothing is changed.
#[test]
#[ignore = "make test-troubles"]
fn a_disk_that_is_too_small_is_left_for_a_directory_that_is_typed() {
    if !may_mount() {
        return;
    }
    let stage = Stage::new();
    let (small, client, trouble, damaged) = full(&stage, "restore-base", 30 << 20);
    assert!(trouble.cures.iter().all(|cure| cure.id != OTHER_PLACE), "{trouble:#?}");
    let typed = |place: &Path| Command::CureInPlace {
        cure: NAMED_PLACE.to_owned(),
        place: place.display().to_string(),
        cluster: CLUSTER.to_owned(),
    };
    let aside = PathBuf::from(stage.left().plan.unwrap().aside);
    for (place, why) in [
        (stage.sandbox.root().join("keys"), "is not empty"),
        (aside.join("within"), "lie in each other"),
        (stage.data().with_file_name("beside"), "are needed"),
        (stage.sandbox.root().join("no/such"), "does not exist"),
        (PathBuf::from("recovery"), "not an absolute path"),
    ] {
        let refused = stage.answer(&client, typed(&place)).unwrap_err();
        assert!(refused.what.contains(why), "{refused}");
    }
    let none = Command::Cure { cure: NAMED_PLACE.to_owned(), cluster: Some(CLUSTER.to_owned()) };
    assert!(stage.answer(&client, none).unwrap_err().what.contains("takes a directory"));
    assert!(aside.exists(), "nothing was moved");
    stage.ask(&client, typed(&other(&stage.sandbox)));
    let end = stage.to_the_end(&client);
    lives_there(&stage, &client, &end, &damaged, false);
    drop(small);
}

/// The base is restored and the log fills the disk; the runner is killed after the acceptance at every
/// place where something is written or renamed, and the next one goes on each time.
#[test]
#[ignore = "make test-troubles"]
fn a_runner_killed_after_the_other_place_was_accepted_is_followed_by_the_next() {
    if !may_mount() {
        return;
    }
    let (stage, small, client, cure, damaged) = full_in("start-recovery", 20 << 20);
    let mut client = client;
    kill_runner(&client);
    stage.watch(&client, "its end", || matches!(client.link(), LinkState::Lost { .. }));
    // Until the plan is in the journal nothing was done: it is accepted again.
    for place in ["cure.accepted", "cure.done", "step.move-aside.before"] {
        client = stage.runner(Some(place));
        let status = client.incident().unwrap().status;
        assert_eq!(status, RunStatus::Failed, "{place}");
        stage.accepted_until(&client, &cure.id, place);
    }
    let data = stage.data();
    let aside = PathBuf::from(stage.left().plan.unwrap().places.left.unwrap().aside);
    // What was restored is renamed, then the damaged one, then the other directory is made.
    for (place, stands, moved) in [
        ("move.one:1", true, true),
        ("move.one:2", false, true),
        ("move.one:2", true, false),
        ("step.move-aside.after_run", true, false),
    ] {
        client = stage.runner(Some(place));
        stage.wait(&client, "what was left", |i| i.status == RunStatus::Interrupted);
        drop(client.submit(Command::Retry));
        stage.until_lost(&client, place);
        assert_eq!((data.exists(), aside.exists()), (stands, moved), "{place}");
    }
    client = stage.goes_on_after_a_kill();
    let end = stage.to_the_end(&client);
    lives_there(&stage, &client, &end, &damaged, true);
    drop(small);
}

/// Somebody thinks better of it before the first rename, and after all of them: the damaged cluster
/// serves again where it was.
#[test]
#[ignore = "make test-troubles"]
fn the_other_place_is_given_up_and_the_damaged_cluster_serves_again() {
    if !may_mount() {
        return;
    }
    for place in ["step.move-aside.before", "step.restore-base.before"] {
        let (stage, small, client, cure, damaged) = full_in("start-recovery", 20 << 20);
        stage.accepted_and_killed(client, &cure.id, place);
        let client = stage.runner(None);
        stage.wait(&client, "what was left", |i| i.status == RunStatus::Interrupted);
        stage.ask(&client, Command::Cancel);
        stage.wait(&client, "the end of the run", |i| i.status == RunStatus::Cancelled);
        stage.ask(&client, Command::Undo);
        stage.wait(&client, "all put back", |i| i.status == RunStatus::Undone);
        let now = control_file::read(&stage.data()).unwrap();
        assert_eq!(now.checkpoint.timeline, damaged.checkpoint.timeline);
        assert!(stage.postmaster().is_some(), "it serves again");
        let abandoned = fs::read_dir(stage.data().parent().unwrap()).unwrap().any(|entry| {
            entry.unwrap().file_name().to_string_lossy().starts_with("data.abandoned.")
        });
        assert!(abandoned, "what was restored is kept");
        stage.sandbox.server().stop().unwrap();
        drop(small);
    }
}
