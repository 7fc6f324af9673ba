//! The drill's sandbox on a real server: what is made, what is struck, and that nothing stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod patience;

use lifeboat::engine::drill::error::DrillError;
use lifeboat::engine::drill::place;
use lifeboat::engine::drill::processes::pids_of;
use lifeboat::engine::drill::sandbox::{Options, Sandbox};
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::score;
use lifeboat::engine::drill::shop::{DATABASE, TABLES};
use lifeboat::engine::drill::strike::state_of;
use lifeboat::engine::drill::traffic::read_ledger;
use lifeboat::engine::drill::user;
use lifeboat::engine::incident::facts::{Check, Verdict};
use lifeboat::engine::postgres::discovery::Owner;
use patience::wait_within;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Stands in for the program: archives by copying, which is all that these tests need of it.
const ARCHIVER: &str = r#"#!/bin/sh
set -eu
archive=$(dirname "$0")/../repository/wal
mkdir -p "$archive"
for last; do :; done
cp "$last" "$archive/.new" && mv "$archive/.new" "$archive/$(basename "$last")"
"#;

struct Bench {
    home: tempfile::TempDir,
    lifeboat: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let lifeboat = home.path().join("archiver");
        fs::write(&lifeboat, ARCHIVER).unwrap();
        fs::set_permissions(&lifeboat, PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(home.path().join("boxes")).unwrap();
        let boxes = home.path().join("boxes");
        fs::set_permissions(&boxes, PermissionsExt::from_mode(0o711)).unwrap();
        Self { home, lifeboat }
    }

    fn boxes(&self) -> PathBuf {
        self.home.path().join("boxes")
    }

    fn options(&self) -> Options {
        Options {
            size_mb: 20,
            directory: Some(self.boxes()),
            keep: None,
            seed: 7,
            programs: None,
            user: None,
            lifeboat: self.lifeboat.clone(),
        }
    }

    fn sandbox(&self) -> Sandbox {
        Sandbox::create(&self.options(), &|_| Ok(()), &|line| eprintln!("{line}")).unwrap()
    }
}

#[track_caller]
fn until(what: &str, seconds: u64, holds: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(seconds), what, holds);
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn the_strike_takes_the_last_hours_orders_and_the_ledger_tells_the_truth() {
    let bench = Bench::new();
    let scenario = scenario::load("corruption").unwrap();
    let rate = scenario.load.transactions_per_second;
    let mut sandbox = bench.sandbox();
    let root = sandbox.root().to_path_buf();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = sandbox.server().clone();
    let ask = |sql: &str| -> i64 {
        runtime.block_on(async {
            let client = server.connect("postgres", DATABASE).await.unwrap();
            client.query_one(sql, &[]).await.unwrap().get(0)
        })
    };
    assert_eq!(
        ask("SELECT count(*) FROM pg_settings WHERE (name, setting) IN
        (('data_checksums','on'), ('fsync','on'), ('archive_mode','on'), ('wal_level','replica'),
         ('listen_addresses',''))"),
        5
    );
    let size = ask("SELECT pg_database_size(current_database())");
    assert!((12_000_000..40_000_000).contains(&size), "{size} bytes for 20 MB asked");
    let orphans = "SELECT count(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer_id
        WHERE c.id IS NULL";
    assert_eq!(ask(orphans), 0);
    let recent = "SELECT count(*) FROM orders WHERE created_at > now() - interval '1 hour'";
    let last_hour = i64::try_from(sandbox.volume().last_hour()).unwrap();
    let found = ask(recent);
    assert!((last_hour - 5..=last_hour + 1).contains(&found), "{found} of about {last_hour}");
    for probe in &sandbox.config().clusters[0].probes {
        let value = ask(&probe.sql);
        assert!(probe.at_least.is_none_or(|least| value >= least), "{}: {value}", probe.name);
        assert!(probe.expect.as_ref().is_none_or(|expected| *expected == value.to_string()));
    }

    sandbox.begin_traffic(&scenario.load).unwrap();
    sandbox.let_traffic_run(2.0, rate).unwrap();
    sandbox.strike(&scenario.incident).unwrap();
    sandbox.let_traffic_run(1.0, rate).unwrap();
    let committed = sandbox.end_traffic();
    assert!(committed >= 70, "only {committed} transactions");
    let truth = sandbox.truth().unwrap().clone();
    assert!(truth.deleted >= sandbox.volume().last_hour(), "{} deleted", truth.deleted);
    assert!(truth.committed_at > truth.struck_at && truth.xid > 0);

    let ledger = read_ledger(&sandbox.ledger()).unwrap();
    let inserted = |table: &str, after: bool| {
        let rows = ledger.iter().filter(|row| row.table == table && row.did == "insert");
        i64::try_from(rows.filter(|row| (row.at > truth.struck_at) == after).count()).unwrap()
    };
    // Everything acknowledged before is in the counts; everything after comes on top of them.
    for table in &truth.tables {
        let now = ask(&format!("SELECT count(*) FROM {}", table.name));
        let deleted = if table.name == truth.damaged_table {
            i64::try_from(truth.deleted).unwrap()
        } else {
            0
        };
        assert_eq!(now, table.rows - deleted + inserted(&table.name, true), "{}", table.name);
        assert!(inserted(&table.name, false) > 0, "{}", table.name);
    }
    let probe = &sandbox.config().clusters[0].probes[0];
    assert!(ask(&probe.sql) < probe.at_least.unwrap(), "the probe does not see the damage");
    let archived = root.join("repository/wal");
    runtime.block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        client.execute("SELECT pg_switch_wal()", &[]).await.unwrap();
    });
    until("a segment is archived", 30, || archived.exists() && entries(&archived) > 0);

    // Scored without a recovery: the damage is seen, and nothing reads as proven.
    let verdict = |checks: &[Check], id: &str| {
        checks.iter().find(|check| check.id == id).map(|check| check.verdict).unwrap()
    };
    let (tables, checks) = score::of(&sandbox, &truth, None, None).unwrap();
    assert_eq!(verdict(&checks, "drill-rows:public.orders"), Verdict::Failed);
    assert_eq!(verdict(&checks, "drill-promises:public.orders"), Verdict::Failed);
    assert_eq!(verdict(&checks, "drill-promises:public.customers"), Verdict::Verified);
    assert_eq!(verdict(&checks, "drill-verifybackup"), Verdict::NotRun);
    assert_eq!(verdict(&checks, "drill-aside"), Verdict::Failed);
    assert_eq!(tables[1].after.unwrap(), ask("SELECT count(*) FROM orders"));
    // A directory moved aside starts by itself and holds the damage.
    server.stop().unwrap();
    let aside = root.join("cluster/data.damaged");
    fs::rename(&server.data, &aside).unwrap();
    let (_, checks) = score::of(&sandbox, &truth, Some(&aside), None).unwrap();
    assert_eq!(verdict(&checks, "drill-aside"), Verdict::Verified);
    assert_eq!(verdict(&checks, "drill-rows:public.orders"), Verdict::CouldNotVerify);
    assert_eq!(pids_of(&root), Vec::<i32>::new());
    fs::rename(&aside, &server.data).unwrap();
    server.start(&[]).unwrap();

    assert!(!pids_of(&root).is_empty());
    let cleared = sandbox.close().unwrap();
    assert_eq!(cleared.removed, std::slice::from_ref(&root));
    assert_eq!(pids_of(&root), Vec::<i32>::new());
    assert_eq!(entries(&bench.boxes()), 0);
}

#[test]
fn the_same_seed_makes_the_same_rows() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut digests = Vec::new();
    for _ in 0..2 {
        let sandbox = bench.sandbox();
        let server = sandbox.server().clone();
        let digest: String = runtime.block_on(async {
            let client = server.connect("postgres", DATABASE).await.unwrap();
            let sql = "SELECT sum(hashtextextended(
                concat(id, customer_id, status, amount, is_test, shipping_note), 0)::numeric)::text
                FROM orders";
            client.query_one(sql, &[]).await.unwrap().get(0)
        });
        digests.push(digest);
        sandbox.close().unwrap();
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_tables_digest_changes_with_any_row() {
    let bench = Bench::new();
    let sandbox = bench.sandbox();
    let server = sandbox.server().clone();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        let before = state_of(&client, TABLES[1], since).await.unwrap();
        let sql = "UPDATE orders SET amount = amount + 1 WHERE id = (SELECT max(id) FROM orders)";
        client.execute(sql, &[]).await.unwrap();
        let after = state_of(&client, TABLES[1], since).await.unwrap();
        assert_eq!(before.rows, after.rows);
        assert_ne!(before.recent, after.recent);
        assert_eq!(before.settled, after.settled);
        // The oldest of all, as well.
        let sql = "UPDATE orders SET amount = amount + 1 WHERE id = (SELECT min(id) FROM orders)";
        client.execute(sql, &[]).await.unwrap();
        let later = state_of(&client, TABLES[1], since).await.unwrap();
        assert_eq!((before.rows, &after.recent), (later.rows, &later.recent));
        assert_ne!(before.settled, later.settled);
    });
}

#[test]
fn a_sandbox_that_cannot_be_finished_leaves_nothing() {
    let bench = Bench::new();
    let refuse = |_: &_| Err(lifeboat::engine::drill::DrillError::Interrupted);
    assert!(Sandbox::create(&bench.options(), &refuse, &|_| {}).is_err());
    assert_eq!(entries(&bench.boxes()), 0);
}

#[test]
fn a_kept_sandbox_stays_and_its_server_with_it() {
    let bench = Bench::new();
    let kept = bench.boxes().join("kept");
    let options = Options { keep: Some(kept.clone()), ..bench.options() };
    let sandbox = Sandbox::create(&options, &|_| Ok(()), &|_| {}).unwrap();
    assert_eq!(sandbox.close().unwrap().removed, Vec::<PathBuf>::new());
    assert!(kept.join("cluster/data/PG_VERSION").exists());
    assert_eq!(pids_of(&kept).len(), 1);
    place::clear(&kept).unwrap();
    assert!(!kept.exists());
}

/// A shell as the server's user; whether every command in it succeeded.
fn as_server(user: &Owner, script: &str) -> bool {
    let mut command = Command::new("/bin/sh");
    command.args(["-ec", script]).current_dir("/").stderr(Stdio::null());
    command.uid(user.uid).gid(user.gid).status().unwrap().success()
}

/// What root runs, reads and removes in a sandbox is root's; see `drill::fence`.
#[test]
fn the_servers_user_cannot_exchange_what_root_runs_reads_or_removes() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: only root holds a drill whose server is another user's");
        return;
    }
    let bench = Bench::new();
    // As /var/tmp is: everybody may write there, and rename what is their own.
    fs::set_permissions(bench.boxes(), PermissionsExt::from_mode(0o1777)).unwrap();
    let user = user::choose(None).unwrap();
    let sandbox = bench.sandbox();
    let root = sandbox.root().to_path_buf();
    let (at, boxes) = (root.display(), bench.boxes().display().to_string());
    let mark = fs::read(root.join(".lifeboat-sandbox.json")).unwrap();
    let config = fs::read(root.join("lifeboat.toml")).unwrap();
    assert!(as_server(&user, &format!("cat {at}/lifeboat.toml {at}/bin/lifeboat >/dev/null")));
    assert!(as_server(&user, &format!("touch {at}/cluster/x {at}/repository/x {at}/socket/x")));
    for attempt in [
        "echo >> $/bin/lifeboat",
        "mv $/bin/lifeboat $/repository/",
        "touch $/bin/psql",
        "mv $/bin $/repository/",
        "echo >> $/lifeboat.toml",
        "mv $/lifeboat.toml $/repository/",
        "chmod 777 $/lifeboat.toml",
        "cat $/.lifeboat-sandbox.json",
        "mv $/.lifeboat-sandbox.json $/repository/",
        "touch $/more",
        "mv $/keys/master $/repository/",
        "mv $/cluster $/repository/",
        "mkdir $/state/incidents",
        "chmod 777 $",
        "mv $ $.aside",
    ] {
        assert!(!as_server(&user, &attempt.replace('$', &root.display().to_string())), "{attempt}");
    }
    assert_eq!(fs::read(root.join("lifeboat.toml")).unwrap(), config);
    assert_eq!(fs::read_to_string(root.join("bin/lifeboat")).unwrap(), ARCHIVER);

    // Links that lead out, wherever the server's user may put one; and a mark of its own making.
    let precious = bench.home.path().join("precious");
    fs::create_dir(&precious).unwrap();
    let kept = precious.join("data");
    fs::write(&kept, "content").unwrap();
    for folder in ["cluster", "cluster/data/base", "repository", "socket", "state/archiving"] {
        let link = format!("ln -s {} {at}/{folder}/linked", precious.display());
        assert!(as_server(&user, &link), "{folder}");
    }
    let forged = bench.boxes().join("lifeboat-drill-forged");
    assert!(as_server(&user, &format!("mkdir {boxes}/lifeboat-drill-forged")));
    let inode = std::os::unix::fs::MetadataExt::ino(&forged.metadata().unwrap()).to_string();
    let known = std::os::unix::fs::MetadataExt::ino(&root.metadata().unwrap()).to_string();
    let text = String::from_utf8(mark).unwrap();
    let text = text.replace(root.to_str().unwrap(), forged.to_str().unwrap());
    let text = text.replace(&known, &inode).replace("\"socket\": null", "\"socket\": \"/etc\"");
    assert!(as_server(
        &user,
        &format!(
            "ln -s {} {boxes}/lifeboat-drill-forged/state\n\
             cat > {boxes}/lifeboat-drill-forged/.lifeboat-sandbox.json <<'END'\n{text}\nEND",
            precious.display()
        )
    ));
    assert!(matches!(place::clear(&forged), Err(DrillError::Refused { .. })));
    // The next drill's sweep believes it no more.
    bench.sandbox().close().unwrap();
    assert!(forged.join("state").is_symlink() && forged.join(".lifeboat-sandbox.json").exists());

    let cleared = sandbox.close().unwrap();
    assert_eq!(cleared.removed, std::slice::from_ref(&root));
    assert!(!root.exists());
    assert_eq!(fs::read(&kept).unwrap(), b"content");
    assert_eq!(entries(&precious), 1);

    // Where that user owns the folder around it, no drill is held.
    std::os::unix::fs::chown(bench.boxes(), Some(user.uid), Some(user.gid)).unwrap();
    fs::remove_dir_all(&forged).unwrap();
    let refused = Sandbox::create(&bench.options(), &|_| Ok(()), &|_| {}).unwrap_err();
    assert!(matches!(refused, DrillError::Exposed { .. }), "{refused}");
    let keep = Options { keep: Some(bench.boxes().join("kept")), ..bench.options() };
    let refused = Sandbox::create(&keep, &|_| Ok(()), &|_| {}).unwrap_err();
    assert!(matches!(refused, DrillError::Exposed { .. }), "{refused}");
    assert_eq!(entries(&bench.boxes()), 0);
}

/// Not a test by itself: what the next test runs and kills.
#[test]
#[ignore = "run by its sibling in a process of its own"]
fn makes_a_sandbox_and_waits_to_be_killed() {
    let options = Options {
        size_mb: 5,
        directory: Some(PathBuf::from(std::env::var("DRILL_BOXES").unwrap())),
        keep: None,
        seed: 1,
        programs: None,
        user: None,
        lifeboat: PathBuf::from(std::env::var("DRILL_ARCHIVER").unwrap()),
    };
    let mut sandbox = Sandbox::create(&options, &|_| Ok(()), &|_| {}).unwrap();
    sandbox.begin_traffic(&scenario::load("corruption").unwrap().load).unwrap();
    fs::write(std::env::var("DRILL_READY").unwrap(), "").unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn what_a_killed_drill_left_is_gone_with_the_next() {
    let bench = Bench::new();
    let ready = bench.home.path().join("ready");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "makes_a_sandbox_and_waits_to_be_killed", "--ignored"])
        .env("DRILL_BOXES", bench.boxes())
        .env("DRILL_ARCHIVER", &bench.lifeboat)
        .env("DRILL_READY", &ready)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the other drill is up", 60, || ready.exists());
    let left = fs::read_dir(bench.boxes()).unwrap().next().unwrap().unwrap().path();

    // While it lives, another drill beside it leaves it alone.
    bench.sandbox().close().unwrap();
    assert!(left.exists() && !pids_of(&left).is_empty());

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(left.exists() && !pids_of(&left).is_empty(), "a kill clears nothing by itself");
    let sandbox = bench.sandbox();
    assert!(!left.exists());
    assert_eq!(pids_of(&left), Vec::<i32>::new());
    sandbox.close().unwrap();
    assert_eq!(entries(&bench.boxes()), 0);
}

#[test]
#[ignore = "a measurement: 500 MB"]
fn the_usual_size_in_the_usual_time() {
    let bench = Bench::new();
    let options = Options { size_mb: 500, ..bench.options() };
    let begun = Instant::now();
    let say = |line: &str| eprintln!("{:6.2} s  {line}", begun.elapsed().as_secs_f64());
    let sandbox = Sandbox::create(&options, &|_| Ok(()), &say).unwrap();
    say("ready");
    let server = sandbox.server().clone();
    let size: i64 = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        let sql = "SELECT pg_database_size(current_database())";
        client.query_one(sql, &[]).await.unwrap().get(0)
    });
    say(&format!("{} MB", size / 1_000_000));
    sandbox.close().unwrap();
    say("gone");
}
