//! Clusters that are more than one folder: given tablespaces, WAL on a volume of its own, or a data
//! directory that is a mount point, when the cluster is recovered, put back, or its runner killed
//! between any two renames, then every part is where it belongs and what was there is kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "../kill/outcome.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod outcome;
#[path = "../kill/stage.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod stage;

mod mapped;
mod mounts;

use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::facts::{Target, TargetPoint};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::postgres::child;
use lifeboat::engine::runner::protocol::{Answer, Command};
use outcome::as_undisturbed;
use stage::Stage;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Runs statements as the superuser, each in a transaction of its own.
pub fn sql(sandbox: &Sandbox, statements: &[&str]) {
    let server = sandbox.server();
    sandbox.runtime().unwrap().block_on(async {
        let client = server.connect("postgres", "shop").await.unwrap();
        for statement in statements {
            client.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    });
}

pub fn value(sandbox: &Sandbox, question: &str) -> String {
    let server = sandbox.server();
    sandbox.runtime().unwrap().block_on(async {
        let client = server.connect("postgres", "shop").await.unwrap();
        client.query_one(question, &[]).await.unwrap_or_else(|e| panic!("{question}: {e:?}")).get(0)
    })
}

/// A folder of the server's user below the sandbox.
fn folder(sandbox: &Sandbox, name: &str) -> PathBuf {
    let path = sandbox.root().join(name);
    fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
    child::give(&path, &sandbox.server().user).unwrap();
    path
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Tablespaces that were there at the backup, and things that a restore must not lose.
fn furnish(sandbox: &Sandbox) {
    let server = sandbox.server();
    server.stop().unwrap();
    let volume = folder(sandbox, "wal");
    let (inside, outside) = (server.data.join("pg_wal"), volume.join("main"));
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    let file = server.data.join("postgresql.conf");
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("\nmax_prepared_transactions = 5\n");
    fs::write(&file, text).unwrap();
    server.start(&[]).unwrap();
    for name in ["far", "gone"] {
        let place = folder(sandbox, name);
        let text = format!("CREATE TABLESPACE {name} LOCATION '{}'", place.display());
        sql(sandbox, &[&text]);
    }
    sql(
        sandbox,
        &[
            "CREATE TABLE far_rows TABLESPACE far AS SELECT generate_series(1, 5000) AS n",
            "CREATE TABLE gone_rows (n int) TABLESPACE gone",
            "CREATE UNLOGGED TABLE passing AS SELECT generate_series(1, 100) AS n",
            "SELECT lo_from_bytea(4711, 'kept')",
        ],
    );
}

/// What the WAL between backup and target holds.
fn go_on(sandbox: &Sandbox) {
    let later = folder(sandbox, "later");
    let create = format!("CREATE TABLESPACE later LOCATION '{}'", later.display());
    sql(
        sandbox,
        &[
            "INSERT INTO far_rows VALUES (5001)",
            "DROP TABLE gone_rows",
            "DROP TABLESPACE gone",
            &create,
            "CREATE TABLE later_rows TABLESPACE later AS SELECT generate_series(1, 70) AS n",
            "SELECT lo_put(4711, 4, '!')",
            "CREATE TABLE waiting (n int)",
            "BEGIN; INSERT INTO waiting VALUES (1); PREPARE TRANSACTION 'pending'",
        ],
    );
    if in_place(sandbox) {
        sql(
            sandbox,
            &[
                "SET allow_in_place_tablespaces = on",
                "CREATE TABLESPACE inside LOCATION ''",
                "CREATE TABLE inside_rows TABLESPACE inside AS SELECT generate_series(1, 9) AS n",
            ],
        );
    }
}

fn in_place(sandbox: &Sandbox) -> bool {
    value(sandbox, "SELECT (current_setting('server_version_num')::int >= 150000)::text") == "true"
}

/// Before each rename, in their order: the data directory, the new one made, two tablespaces.
const CUTS: [&str; 4] = ["move.one:1", "move.one:2", "move.one:2", "move.one:3"];

#[test]
fn a_cluster_with_tablespaces_and_wal_elsewhere_is_recovered_whole() {
    let stage = Stage::made(furnish, |sandbox| {
        sql(sandbox, &["SELECT pg_create_restore_point('before')"]);
        go_on(sandbox);
    });
    let sandbox = &stage.sandbox;
    let kept_wal = names(&sandbox.root().join("wal/main")).len();
    let mut client = stage.runner(Some(CUTS[0]));
    stage.to_gate(&client);
    let mut next = CUTS.iter().skip(1).copied().map(Some).chain([None]);
    for cut in CUTS {
        stage.go_on(&client);
        stage.until_lost(&client, cut);
        client = stage.runner(next.next().flatten());
        let found = stage
            .wait(&client, "the finding", |incident| incident.status == RunStatus::Interrupted);
        assert_eq!(found.current_step().unwrap().id, "move-aside", "{cut}");
    }
    stage.go_on(&client);
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    stage.go_on(&client);
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    as_undisturbed(&stage);
    let incident = stage.left();
    let plan = incident.plan.clone().unwrap();

    let all = |question: &str| value(sandbox, question);
    assert_eq!(all("SELECT count(*)::text FROM far_rows"), "5001");
    assert_eq!(all("SELECT count(*)::text FROM later_rows"), "70");
    assert_eq!(all("SELECT count(*)::text FROM passing"), "0");
    assert_eq!(all("SELECT convert_from(lo_get(4711), 'UTF8')"), "kept!");
    assert_eq!(all("SELECT string_agg(gid, ',') FROM pg_prepared_xacts"), "pending");
    let spaces = "SELECT string_agg(spcname::text, ',' ORDER BY spcname) FROM pg_tablespace \
                  WHERE spcname !~ '^pg_'";
    if in_place(sandbox) {
        assert_eq!(all(spaces), "far,inside,later");
        assert_eq!(all("SELECT count(*)::text FROM inside_rows"), "9");
    } else {
        assert_eq!(all(spaces), "far,later");
    }
    sql(sandbox, &["COMMIT PREPARED 'pending'"]);
    assert_eq!(all("SELECT count(*)::text FROM waiting"), "1");

    // What was there is kept, and every folder of the server is its own.
    assert_eq!(plan.places.kept.len(), 2);
    for space in &plan.places.kept {
        assert!(!names(&space.kept).is_empty(), "{}", space.kept.display());
        assert_ne!(
            fs::metadata(&space.folder).unwrap().ino(),
            fs::metadata(&space.kept).unwrap().ino()
        );
    }
    let fresh = plan.places.wal.clone().unwrap();
    assert_eq!(fs::read_link(sandbox.server().data.join("pg_wal")).unwrap(), fresh);
    assert_eq!(fresh.parent(), Some(sandbox.root().join("wal").as_path()));
    let old = fs::read_link(Path::new(&plan.aside).join("pg_wal")).unwrap();
    assert_eq!(old, sandbox.root().join("wal/main"));
    assert!(names(&old).len() >= kept_wal, "the old WAL is kept");

    salvaged(&stage, Path::new(&plan.aside));
    by_delta(&stage, Path::new(&plan.aside));
}

/// Rows of a tablespace come back from where its folder is kept, which is not where its link leads.
fn salvaged(stage: &Stage, kept: &Path) {
    let sandbox = &stage.sandbox;
    let in_far = || names(&sandbox.root().join("far"));
    let before = in_far();
    sql(sandbox, &["DELETE FROM far_rows WHERE n <= 10"]);
    // By who may read the incident's journal, which the plan stands in.
    let mut command = std::process::Command::new(sandbox.program());
    command.arg("--config").arg(&sandbox.config().path);
    command.args(["salvage", "--json", "--cluster", CLUSTER, "--kept"]).arg(kept);
    command.args(["--table", "public.far_rows", "--into", "in-place", "--dry-run"]);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["differences"][0]["missing"], 10, "{told}");
    assert_eq!(in_far(), before, "nothing was written there");
}

/// From the target back to an earlier one: every folder of the server that stands is set aside, its
/// equal files are taken, and putting back returns the damaged cluster whole.
#[test]
#[ignore = "a minute: make test-kill"]
fn an_earlier_point_sets_aside_every_folder_that_stands() {
    let stage = Stage::made(furnish, |sandbox| {
        // No transaction ends between the backup and here.
        sql(sandbox, &["SELECT pg_create_restore_point('begun')"]);
        go_on(sandbox);
        sql(sandbox, &["SELECT pg_create_restore_point('furnished')"]);
    });
    let sandbox = &stage.sandbox;
    let root = sandbox.root();
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    let held = stage.wait(&client, "the question", |i| i.status == RunStatus::Held);
    let kept = held.plan.clone().unwrap();
    stage::kill_runner(&client);
    stage.until_lost(&client, "the runner's end");
    // The directory is set aside, the tablespaces are not yet.
    let client = stage.runner(Some("move.one:3"));
    stage.wait(&client, "the question again", |i| i.status == RunStatus::Held);
    let point = TargetPoint::Name(String::from("furnished"));
    let target = Target { point, inclusive: true, timeline: None };
    let cluster = CLUSTER.to_owned();
    drop(client.submit(Command::MoveTarget { target: target.clone(), cluster }));
    stage.until_lost(&client, "a rename");
    let client = stage.runner(None);
    let found = stage.wait(&client, "the finding", |i| i.status == RunStatus::Interrupted);
    assert_eq!(found.current_step().unwrap().id, "step-back");
    stage.go_on(&client);
    let back = stage.wait(&client, "the earlier point", |i| {
        matches!(i.status, RunStatus::Held | RunStatus::Failed)
    });
    assert_eq!(back.status, RunStatus::Held, "{:?}", back.current_step());
    assert_eq!(back.tries.last().unwrap().target, target);
    let places = back.plan.clone().unwrap().places;
    let stood = places.stood.clone().unwrap();
    assert_eq!(stood.spaces.len(), 2, "far and later: {stood:?}");
    for space in &stood.spaces {
        assert!(!names(&space.kept).is_empty() && !names(&space.folder).is_empty(), "{space:?}");
    }
    assert_ne!(places.wal, kept.places.wal, "a WAL directory of its own");
    assert_eq!(
        fs::read_link(sandbox.server().data.join("pg_wal")).unwrap(),
        places.wal.clone().unwrap()
    );
    let far = names(&stood.spaces[0].folder);
    assert_eq!(far, names(&stood.spaces[0].kept), "the same databases");
    assert!(back.noted("reused").is_some() && back.noted("verifybackup").is_some());

    // On to the very beginning, and given up before anything of that is done: the server that still
    // stands is stopped before its directory goes.
    stage::kill_runner(&client);
    stage.until_lost(&client, "the runner's end");
    let client = stage.runner(Some("step.step-back.before"));
    stage.wait(&client, "the question again", |i| i.status == RunStatus::Held);
    let point = TargetPoint::Name(String::from("begun"));
    let target = Target { point, inclusive: true, timeline: None };
    let asked = stage.answer(&client, Command::CheckReach { target: target.clone() });
    let Ok(Answer::Reach(reach)) = asked else { panic!("no proof: {asked:?}") };
    assert!(reach.reachable, "{:#?}", reach.checks);
    drop(client.submit(Command::MoveTarget { target, cluster: CLUSTER.to_owned() }));
    stage.until_lost(&client, "the step");
    let client = stage.runner(None);
    let found = stage.wait(&client, "the finding", |i| i.status == RunStatus::Interrupted);
    let second = found.plan.clone().unwrap().places.stood.unwrap();
    assert!(second.kept != stood.kept && !second.kept.exists());
    stage.ask(&client, Command::Cancel);
    stage.wait(&client, "the end of the run", |i| i.status == RunStatus::Cancelled);
    stage.ask(&client, Command::Undo);
    stage.wait(&client, "the way back", |i| i.status == RunStatus::Undone);
    assert!(!Path::new(&kept.aside).exists() && stood.kept.is_dir());
    assert!(kept.places.kept.iter().all(|space| space.folder.is_dir() && !space.kept.exists()));
    let link = fs::read_link(sandbox.server().data.join("pg_wal")).unwrap();
    assert_eq!(link, root.join("wal/main"));
    assert_eq!(value(sandbox, "SELECT count(*)::text FROM far_rows"), "5001");
    assert_eq!(value(sandbox, "SELECT count(*)::text FROM later_rows"), "70");
}

/// The kept cluster serves a restore beside it, which reads it alone; then an older restore one in
/// its own place.
fn by_delta(stage: &Stage, kept: &Path) {
    let sandbox = &stage.sandbox;
    let root = sandbox.root();
    let target = root.join("cluster/beside");
    let (target_text, kept_text) = (target.display().to_string(), kept.display().to_string());
    let restore = |more: &[&str]| {
        let mapping = |old: &str, new: &Path| {
            let (old, new) = (root.join(old), new.display());
            format!("--tablespace-mapping={}={new}", old.display())
        };
        // Where another restore left its files, nothing is written.
        let home = root.join("cluster");
        let number = fs::read_dir(&home).unwrap().count();
        let gone = home.join(format!("gone-{number}"));
        let far = home.join(format!("far-{number}"));
        let mappings = [mapping("far", &far), mapping("gone", &gone)];
        let mut all = vec!["restore", "--json", "--target-directory", &target_text];
        all.extend(mappings.iter().map(String::as_str));
        all.extend(more);
        // Replay would write into the live tablespace that the log creates.
        for unproven in [&[][..], &["--unproven"]] {
            let refused = sandbox.lifeboat(&[&all[..], unproven].concat()).unwrap_err().to_string();
            assert!(refused.contains("replay creates tablespace"), "{refused}");
            assert!(!target.join("PG_VERSION").exists() || more.contains(&"--delta"));
        }
        all.extend(["--name", "before"]);
        let told = sandbox.lifeboat(&all).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let verify = ["-n", "--ignore=tablespace_map", "--ignore=recovery.signal"];
        let auto = ["--ignore=postgresql.auto.conf", "--exit-on-error", &target_text];
        sandbox.server().run("pg_verifybackup", &[&verify[..], &auto[..]].concat()).unwrap();
        let number = |name: &str| told[name].as_u64().unwrap();
        (number("reused_bytes"), number("bytes"))
    };
    let before = names(&kept.join("base"));
    let (reused, all) = restore(&["--delta-from", &kept_text]);
    assert!(reused * 10 > all * 3, "{reused} of {all} bytes were equal");
    assert_eq!(names(&kept.join("base")), before, "the kept directory was only read");
    let (reused, all) = restore(&["--delta"]);
    assert!(reused * 10 > all * 8, "{reused} of {all} bytes were equal");
    let replaced = names(&root.join("cluster")).into_iter().find(|n| n.contains(".replaced."));
    assert!(replaced.is_some());
}
