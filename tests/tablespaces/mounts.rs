//! A data directory that is a mount point, and one whose volume is too small. Root alone can make
//! these; for others the rules are proven on values.

use crate::stage::Stage;
use crate::{names, sql, value};
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::facts::{Target, TargetPoint};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::postgres::child;
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

/// A disk in memory, gone when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this user may not mount.
    fn over(data: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mut mount = Program::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(data);
        mount.output().is_ok_and(|o| o.status.success()).then(|| Self(data.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Puts the data directory onto a disk of its own.
fn mounted(sandbox: &Sandbox, megabytes: u32) -> Option<Mount> {
    let server = sandbox.server();
    server.stop().unwrap();
    let beside = server.data.with_file_name("data.before");
    fs::rename(&server.data, &beside).unwrap();
    fs::create_dir(&server.data).unwrap();
    let mount = Mount::over(&server.data, megabytes);
    if mount.is_some() {
        let mut copy = Program::new("cp");
        copy.arg("-a").arg(beside.join(".")).arg(&server.data);
        assert!(copy.status().unwrap().success());
        fs::remove_dir_all(&beside).unwrap();
        child::give(&server.data, &server.user).unwrap();
    } else {
        fs::remove_dir(&server.data).unwrap();
        fs::rename(&beside, &server.data).unwrap();
    }
    server.start(&[]).unwrap();
    mount
}

#[test]
fn the_content_of_a_mount_point_is_kept_and_comes_back() {
    let mut mount = None;
    let make = "CREATE TABLE still AS SELECT generate_series(1, 4000) AS n";
    let stage = Stage::made(
        |sandbox| mount = mounted(sandbox, 1500),
        // Behind the backup: only the damaged cluster has all of it.
        |sandbox| sql(sandbox, &[make, "SELECT pg_create_restore_point('made')"]),
    );
    if mount.is_none() {
        eprintln!("NOT RUN: this user may not mount");
        return;
    }
    let data = stage.sandbox.server().data.clone();
    let before: Vec<String> = names(&data).into_iter().filter(|n| n != "postmaster.pid").collect();
    // In the middle of the way there, then in the middle of the way back.
    let client = stage.runner(Some("move.one:5"));
    stage.to_gate(&client);
    stage.go_on(&client);
    stage.until_lost(&client, "the way there");
    let client = stage.runner(None);
    let found = stage.wait(&client, "the finding", |i| i.status == RunStatus::Interrupted);
    assert_eq!(found.current_step().unwrap().id, "move-aside");
    stage.go_on(&client);
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    let kept = PathBuf::from(found.plan.clone().unwrap().aside);
    assert_eq!(kept.parent(), Some(data.as_path()), "on the same volume");
    assert!(kept.join("global/pg_control").exists());
    // Back to an earlier point: what stands is kept on the same volume too.
    let point = TargetPoint::Name(String::from("made"));
    let target = Target { point, inclusive: true, timeline: None };
    stage.ask(&client, Command::MoveTarget { target, cluster: CLUSTER.to_owned() });
    let back = stage.wait(&client, "the earlier point", |i| {
        i.tries.len() == 2 && i.status == RunStatus::Held || i.status == RunStatus::Failed
    });
    assert_eq!(back.status, RunStatus::Held, "{:?}", back.current_step());
    let stood = back.plan.clone().unwrap().places.stood.unwrap();
    assert!(stood.contents && stood.kept.parent() == Some(data.as_path()));
    assert!(stood.kept.join("global/pg_control").exists());
    assert!(kept.join("global/pg_control").exists());
    crate::stage::kill_runner(&client);
    stage.until_lost(&client, "the runner's end");
    // As many renames on the way back: those of what was restored come first.
    let client = stage.runner(Some("move.one:40"));
    stage.ask(&client, Command::Cancel);
    stage.wait(&client, "the cancel", |incident| incident.status == RunStatus::Cancelled);
    drop(client.submit(Command::Undo));
    stage.until_lost(&client, "the way back");
    let client = stage.runner(None);
    drop(client.submit(Command::Undo));
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Undone);
    let after: Vec<String> = names(&data)
        .into_iter()
        .filter(|name| !name.starts_with("lifeboat-kept.") && name != "postmaster.pid")
        .collect();
    assert_eq!(after, before);
    assert_eq!(value(&stage.sandbox, "SELECT count(*)::text FROM still"), "4000");
    stage.sandbox.server().stop().unwrap();
    drop(stage);
}

#[test]
fn where_the_volume_is_too_small_the_alternative_directory_is_recovered_into() {
    let mut mount = None;
    let stage = Stage::made(
        |sandbox| {
            mount = mounted(sandbox, 260);
            let config = &sandbox.config().path;
            let text = fs::read_to_string(config).unwrap();
            let line = text.lines().find(|l| l.starts_with("data_directory")).unwrap();
            let other = sandbox.root().join("cluster/elsewhere");
            let both = format!("{line}\nalternative_data_directory = \"{}\"", other.display());
            fs::write(config, text.replace(line, &both)).unwrap();
        },
        |sandbox| sql(sandbox, &["CREATE TABLE after_backup AS SELECT 1 AS n"]),
    );
    if mount.is_none() {
        eprintln!("NOT RUN: this user may not mount");
        return;
    }
    let client = stage.runner(None);
    stage.to_gate(&client);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let other = stage.sandbox.root().join("cluster/elsewhere");
    assert_eq!(plan.places.alternative.as_deref(), Some(other.as_path()));
    let damaged = stage.sandbox.server().data.clone();
    assert_eq!(Path::new(&plan.aside), damaged, "it stays where it is");
    let told = &plan.step("open").unwrap().touches;
    assert!(told.iter().any(|line| line.contains("data_directory in lifeboat.toml")), "{told:?}");
    stage.go_on(&client);
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    stage.go_on(&client);
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    assert_eq!(
        value(&stage.sandbox, "SELECT current_setting('data_directory')"),
        other.display().to_string()
    );
    assert_eq!(value(&stage.sandbox, "SELECT count(*)::text FROM after_backup"), "1");
    assert!(damaged.join("global/pg_control").exists());
    let _ = stage
        .sandbox
        .server()
        .run("pg_ctl", &["stop", "-D", &other.display().to_string(), "-m", "fast", "-w"]);
    drop(stage);
}
