//! `tablespace_mapping` where nothing of the old cluster's folders may be touched: a full restore
//! beside it, discarded and made again; and a data directory that is lost while the tablespaces'
//! folders survived.

use crate::stage::{Stage, until};
use crate::{folder, furnish, names, sql, value};
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::facts::{Prerequisite, Target, TargetPoint};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::protocol::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
#[ignore = "make test-kill"]
fn mapped_tablespaces_go_to_their_folders_beside_a_cluster_and_where_it_is_lost() {
    let stage = Stage::made_with(furnish, |_| {}, false);
    let sandbox = &stage.sandbox;
    let root = sandbox.root();
    for name in ["new-far", "new-gone"] {
        folder(sandbox, name);
    }
    configure(sandbox, |line| {
        let pair = |old: &str| {
            let (old, new) = (root.join(old), root.join(format!("new-{old}")));
            format!("\"{}\" = \"{}\"", old.display(), new.display())
        };
        format!("{line}\ntablespace_mapping = {{ {}, {} }}", pair("far"), pair("gone"))
    });
    beside_and_discarded(&stage);
    lost(&stage);
}

/// Changes the configuration's line of the data directory.
fn configure(sandbox: &Sandbox, change: impl Fn(&str) -> String) {
    let file = &sandbox.config().path;
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with("data_directory")).unwrap();
    fs::write(file, text.replace(line, &change(line))).unwrap();
}

fn restore_full(sandbox: &Sandbox, more: &[&str]) -> Value {
    let new = target(sandbox);
    let mut command = std::process::Command::new(sandbox.program());
    command.arg("--config").arg(&sandbox.config().path).arg("restore-full").arg("--target");
    command.arg(new).args(["--cluster", CLUSTER, "--json"]).args(more);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{more:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn target(sandbox: &Sandbox) -> PathBuf {
    sandbox.server().data.with_file_name("data-restore")
}

/// What is given up leaves nothing that keeps the same backup from being restored again.
fn beside_and_discarded(stage: &Stage) {
    let sandbox = &stage.sandbox;
    let root = sandbox.root();
    let before = (names(&root.join("far")), names(&root.join("wal")));
    let mut sets = Vec::new();
    for _ in 0..2 {
        let made = restore_full(sandbox, &["--latest", "--confirm", CLUSTER]);
        assert_eq!(made["status"], "held", "{made}");
        assert_eq!(made["passed_over"].as_array().unwrap().len(), 0, "{made}");
        sets.push(made["set"].clone());
        let own = names(&root.join("new-far"));
        assert!(own.len() == 1 && own[0].starts_with("PG_"), "{own:?}");
        let wal = fs::read_link(target(sandbox).join("pg_wal")).unwrap();
        assert!(wal.starts_with(root.join("wal")) && wal != root.join("wal/main"), "{wal:?}");
        let gone = restore_full(sandbox, &["--discard"]);
        assert_eq!(gone["removed_outside"].as_array().unwrap().len(), 3, "{gone}");
        assert!(!target(sandbox).exists() && !wal.exists());
        assert_eq!(names(&root.join("new-far")), Vec::<String>::new());
        assert_eq!((names(&root.join("far")), names(&root.join("wal"))), before);
    }
    assert_eq!(sets[0], sets[1], "the newest, both times");
    assert_eq!(value(sandbox, "SELECT count(*)::text FROM far_rows"), "5000");
}

fn lost(stage: &Stage) {
    let sandbox = &stage.sandbox;
    let root = sandbox.root();
    sql(sandbox, &["INSERT INTO far_rows VALUES (5001)"]);
    let last = value(sandbox, "SELECT pg_walfile_name(pg_switch_wal())");
    until("the last segment to be archived", || {
        value(sandbox, "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= last
    });
    let server = sandbox.server();
    server.stop().unwrap();
    fs::remove_dir_all(&server.data).unwrap();
    let survived = bytes_of(&root.join("far"));
    let client = stage.runner(None);
    stage.ask(&client, Command::Survey);
    let target = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    stage.ask(&client, Command::ChooseTarget { target });
    for prerequisite in [
        Prerequisite::IncidentDeclared,
        Prerequisite::MaintenanceWindow,
        Prerequisite::TargetConfirmed,
    ] {
        let note = String::new();
        stage.ask(&client, Command::AnswerPrerequisite { prerequisite, met: true, note });
    }
    stage.ask(&client, Command::VerifyIntegrity);
    stage.ask(&client, Command::MakePlan);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    assert!(plan.lost && plan.places.spaces.len() == 2, "{:?}", plan.places);
    let (plan_hash, cluster) = (plan.hash.clone(), CLUSTER.to_owned());
    stage.ask(&client, Command::PassGate { plan_hash, cluster });
    stage.go_on(&client);
    let ended = |status| !matches!(status, RunStatus::Running | RunStatus::Ready);
    let held = stage.wait(&client, "the question", |incident| ended(incident.status));
    assert_eq!(held.status, RunStatus::Held, "{:#?}", held.current_step());
    stage.go_on(&client);
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    assert_eq!(value(sandbox, "SELECT count(*)::text FROM far_rows"), "5001");
    let place = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'";
    assert_eq!(value(sandbox, place), root.join("new-far").display().to_string());
    assert_eq!(bytes_of(&root.join("far")), survived, "what survived stays as it was");
}

/// Every file below a folder, with its size and when it was written.
fn bytes_of(folder: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                open.push(entry.path());
            } else {
                found.push((entry.path(), meta.len(), meta.modified().unwrap()));
            }
        }
    }
    found.sort();
    found
}
