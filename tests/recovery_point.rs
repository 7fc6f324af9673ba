//! The recovery point on real WAL: the culprit is found among traffic, and what is said to be
//! reachable, or not, is what a real server does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

mod throwaway;

use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::explain::Explanation;
use lifeboat::engine::incident::facts::{BaseSummary, Target, TargetPoint, Verdict};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::recovery_point::{
    Archive, ClusterFacts, Inputs, Landscape, Relation, Relations, Symptom,
};
use lifeboat::engine::wal::Segment;
use lifeboat::engine::wal::inspect::{Folder, Segments};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use throwaway::{Cluster, text};

/// A folder of plain segments with known bases, in place of a repository.
#[derive(Debug)]
struct Plain {
    folder: Folder,
    bases: Vec<BaseSummary>,
    relations: Relations,
}

impl Segments for Plain {
    fn describe(&self) -> String {
        self.folder.describe()
    }
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation> {
        self.folder.get(name)
    }
    fn list(&self, timeline: u32, from: &str, limit: usize) -> Result<Vec<String>, Explanation> {
        self.folder.list(timeline, from, limit)
    }
    fn timelines(&self) -> Result<Vec<u32>, Explanation> {
        self.folder.timelines()
    }
}

impl Archive for Plain {
    fn name(&self) -> String {
        String::from("plain")
    }
    fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
        Ok((self.bases.clone(), Vec::new()))
    }
    fn relations(&self, _: &str) -> Result<Relations, Explanation> {
        Ok(self.relations.clone())
    }
}

fn landscape(cluster: &Cluster, bases: &[BaseSummary], relations: Relations) -> Landscape {
    try_landscape(cluster, &cluster.archive, None, bases, relations)
}

fn try_landscape(
    cluster: &Cluster,
    archive: &Path,
    rescue: Option<PathBuf>,
    bases: &[BaseSummary],
    relations: Relations,
) -> Landscape {
    let folder = Folder::new(archive);
    let inputs = Inputs {
        archives: vec![Arc::new(Plain { folder, bases: bases.to_vec(), relations })],
        cluster: facts(cluster),
        rescue,
        detected: Some(now(cluster)),
        last_known_good: bases.first().map(|b| b.finished),
        symptom: Symptom::default(),
        live: None,
        most_commits: None,
        state_directory: cluster.root.path().to_owned(),
    };
    Landscape::build(inputs, &|_| {}, &|| false).unwrap()
}

fn facts(cluster: &Cluster) -> ClusterFacts {
    let control = lifeboat::engine::postgres::control_file::read(&cluster.data).unwrap();
    let version = std::fs::read_to_string(cluster.data.join("PG_VERSION")).unwrap();
    ClusterFacts {
        binaries_major: version.trim().parse().ok(),
        ..ClusterFacts::from_control(&control, cluster.data.clone())
    }
}

fn now(cluster: &Cluster) -> Timestamp {
    moment(&cluster.sql("SELECT clock_timestamp() AT TIME ZONE 'UTC'"))
}

fn moment(text: &str) -> Timestamp {
    format!("{}Z", text.replace(' ', "T")).parse().unwrap()
}

/// As the server's settings take it: with a numeric offset.
fn setting(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

fn lsn(cluster: &Cluster) -> Lsn {
    cluster.sql("SELECT pg_current_wal_lsn()").parse().unwrap()
}

/// A base that ends here and now, without files: enough for looking at WAL.
fn mark(cluster: &Cluster, set: &str) -> BaseSummary {
    cluster.archive_all();
    let (at, here) = (now(cluster), lsn(cluster));
    let facts = facts(cluster);
    BaseSummary {
        set: set.to_owned(),
        repository: String::from("plain"),
        started: at,
        finished: at,
        start_lsn: here,
        stop_lsn: here,
        timeline: 1,
        system_identifier: facts.system_identifier.unwrap(),
        version: facts.binaries_major.unwrap(),
        size: 40 << 20,
        stored: 10 << 20,
        encrypted: false,
    }
}

fn relations(cluster: &Cluster) -> Relations {
    let mut all = Relations::default();
    for row in cluster.sql("SELECT oid, datname FROM pg_database").lines() {
        let (oid, name) = row.split_once('|').unwrap();
        let oid: u32 = oid.parse().unwrap();
        all.databases.insert(oid, name.to_owned());
        if name.starts_with("template") {
            continue;
        }
        let sql = "SELECT pg_relation_filenode(c.oid), c.oid, nspname, relname, reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND c.oid >= 16384";
        for row in cluster.sql_in(name, sql).lines() {
            let fields: Vec<&str> = row.split('|').collect();
            let relation = Relation {
                oid: fields[1].parse().unwrap(),
                schema: fields[2].to_owned(),
                table: fields[3].to_owned(),
                rows: fields[4].parse().unwrap(),
            };
            all.files.insert((oid, fields[0].parse().unwrap()), relation);
        }
    }
    all
}

fn tables(cluster: &Cluster) {
    cluster.sql("DROP SCHEMA IF EXISTS sales CASCADE");
    cluster.sql("DROP TABLE IF EXISTS orders, customers, queue, audit");
    cluster.sql(
        "CREATE TABLE customers(id int PRIMARY KEY, name text);
         CREATE TABLE orders(id int PRIMARY KEY, customer int, note text);
         CREATE TABLE queue(id serial, payload text); CREATE TABLE audit(id serial, what text);
         CREATE SCHEMA sales; CREATE TABLE sales.a(i int); CREATE TABLE sales.b(i int); CREATE TABLE sales.c(i int);
         INSERT INTO sales.a SELECT generate_series(1, 100);
         INSERT INTO customers SELECT i, 'name' || i FROM generate_series(1, 2000) i;
         INSERT INTO orders SELECT i, i % 2000, repeat('n', 40) FROM generate_series(1, 20000) i",
    );
    cluster.sql("ANALYZE");
}

/// Everyday work, among it much that looks like damage and is none.
fn traffic(cluster: &Cluster, round: u32) {
    for i in 0..6 {
        let id = 1_000_000 + round * 1000 + i;
        cluster.sql(&format!(
            "INSERT INTO orders VALUES ({id}, 1, 'new'); UPDATE customers SET name = 'x' WHERE id % 100 = {i};
             INSERT INTO queue(payload) SELECT 'job' FROM generate_series(1, 150);
             INSERT INTO audit(what) VALUES ('did')"
        ));
        cluster.sql("DELETE FROM queue");
    }
    cluster.sql("BEGIN; DELETE FROM orders; DROP TABLE customers; TRUNCATE audit; ROLLBACK");
    cluster.sql("VACUUM FULL customers");
    cluster.sql("REINDEX TABLE orders");
    cluster.sql("ALTER TABLE audit ALTER COLUMN id TYPE bigint");
    cluster
        .sql("CREATE TEMP TABLE scratch AS SELECT generate_series(1, 5000) i; DROP TABLE scratch");
}

#[test]
fn the_culprit_is_the_first_suspect() {
    let cluster = Cluster::start(1);
    let damages: [(&[&str], &str, &str); 7] = [
        (
            &["DELETE FROM orders WHERE id <= 18000"],
            "public.orders",
            "deleted 18,000 of about 20,0",
        ),
        (
            &["UPDATE orders SET note = 'oops' WHERE id <= 20000"],
            "public.orders",
            "changed 20,000 of about 20,0",
        ),
        (
            &["BEGIN; SAVEPOINT a; DELETE FROM orders WHERE id > 15000; RELEASE a; COMMIT"],
            "public.orders",
            "deleted 5,0",
        ),
        (&["DROP TABLE orders"], "public.orders", "dropped public.orders with about 20,0"),
        (&["TRUNCATE orders"], "public.orders", "emptied public.orders (TRUNCATE), about 20,0"),
        (&["DROP SCHEMA sales CASCADE"], "sales.", "dropped the schema sales with 3 tables"),
        (&["CREATE DATABASE shop", "DROP DATABASE shop"], "database", "dropped the database"),
    ];
    for (round, (damage, relation, words)) in damages.iter().enumerate() {
        let round = u32::try_from(round).unwrap();
        tables(&cluster);
        let (bad, prepare) = damage.split_last().unwrap();
        prepare.iter().for_each(|sql| drop(cluster.sql(sql)));
        let base = mark(&cluster, "set-1");
        let known = relations(&cluster);
        traffic(&cluster, 2 * round);
        let before = lsn(&cluster);
        let started = now(&cluster);
        cluster.sql(bad);
        let after = lsn(&cluster);
        if cluster.sql("SELECT to_regclass('orders')").is_empty() {
            cluster.sql("CREATE TABLE orders(id int PRIMARY KEY, customer int, note text)");
        }
        traffic(&cluster, 2 * round + 1);
        cluster.archive_all();

        let survey = landscape(&cluster, &[base], known).survey();
        let all: Vec<_> = survey
            .suspects
            .iter()
            .map(|s| format!("{:.1} {} {}", s.score, s.commit.xid, s.what))
            .collect();
        let top = survey.suspects.first().unwrap_or_else(|| panic!("{bad}: no suspect"));
        assert!(top.what.starts_with(words), "{bad}: {all:#?}");
        assert!(top.relation.starts_with(relation), "{bad}: {all:#?}");
        assert!(top.commit.at >= started, "{bad}: {all:#?}");
        // Its first record, exclusive: nothing of it is replayed, all before it is.
        let TargetPoint::Lsn(target) = top.target.point else { panic!("{bad}: an LSN") };
        assert!(!top.target.inclusive);
        assert!(before <= target && target < after, "{bad}: {before} <= {target} < {after}");
        assert_eq!(survey.suggestions[0].target, top.target);
        let harmless = ["public.customers", "public.audit"];
        assert!(
            !survey
                .suspects
                .iter()
                .any(|s| harmless.contains(&s.relation.as_str()) && !s.what.starts_with("changed")),
            "{bad}: rewrites and what was rolled back are no suspects: {all:#?}"
        );
    }
}

/// A base taken by PostgreSQL's own program, with what its manifest says.
fn real_base(cluster: &Cluster, name: &str) -> (PathBuf, BaseSummary) {
    let started = now(cluster);
    let folder = cluster.base_backup(name);
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("backup_manifest")).unwrap()).unwrap();
    let edge = |key: &str| manifest["WAL-Ranges"][0][key].as_str().unwrap().parse().unwrap();
    let base = BaseSummary {
        set: name.to_owned(),
        started,
        finished: now(cluster),
        start_lsn: edge("Start-LSN"),
        stop_lsn: edge("End-LSN"),
        ..mark(cluster, name)
    };
    (folder, base)
}

/// Recovers a copy of `base` to `settings`; the log, and whether the server came up.
fn recover(cluster: &Cluster, base: &Path, settings: &[(&str, String)]) -> (bool, String) {
    let name = format!("recovered-{}", std::fs::read_dir(cluster.root.path()).unwrap().count());
    let data = cluster.root.path().join(&name);
    cluster.run("/bin/cp", &["-a", &text(base), &text(&data)]);
    std::fs::create_dir_all(data.join("pg_wal/archive_status")).unwrap();
    std::fs::write(data.join("recovery.signal"), "").unwrap();
    cluster.configure(&data, "archive_mode = off");
    cluster
        .configure(&data, &format!("restore_command = 'cp {}/%f %p'", cluster.archive.display()));
    cluster.configure(&data, "recovery_target_action = 'promote'");
    for (key, value) in settings {
        cluster.configure(&data, &format!("{key} = '{value}'"));
    }
    cluster.run("/bin/chmod", &["700", &text(&data)]);
    let log = cluster.root.path().join(format!("{name}.log"));
    let _ = cluster.try_ctl(&data, &["start"], &text(&log));
    // A hot standby counts as started long before it has reached anything.
    let said = || std::fs::read_to_string(&log).unwrap();
    let promoted = || said().contains("database system is ready to accept connections");
    let ended =
        || promoted() || said().contains("is shut down") || !data.join("postmaster.pid").exists();
    cluster.wait_for(&format!("the end of recovery as {} tells it", log.display()), ended);
    (promoted(), said())
}

#[test]
fn what_is_said_of_a_target_is_what_the_server_does() {
    let cluster = Cluster::start(1);
    tables(&cluster);
    let early = now(&cluster);
    cluster.sql("INSERT INTO audit(what) VALUES ('before the backup')");
    let (folder, base) = real_base(&cluster, "set-20250101-000000");
    let known = relations(&cluster);
    traffic(&cluster, 1);
    cluster.sql("SELECT pg_create_restore_point('release')");
    let good = cluster.sql("SELECT count(*) FROM orders");
    cluster.sql("DELETE FROM orders WHERE id % 5 <> 0");
    traffic(&cluster, 2);
    cluster.sql("SELECT pg_create_restore_point('release')");
    cluster.archive_all();
    let segment_of_delete;
    {
        let picture = landscape(&cluster, std::slice::from_ref(&base), known.clone());
        let ask = |point, inclusive| {
            let target = Target { point, inclusive, timeline: None };
            picture.reach(&target, &|_| {}, &|| false).unwrap()
        };
        let failed = |reach: &lifeboat::engine::incident::facts::Reach| -> Vec<String> {
            reach
                .checks
                .iter()
                .filter(|c| c.verdict == Verdict::Failed)
                .map(|c| c.id.clone())
                .collect()
        };
        let survey = picture.survey();
        assert_eq!(survey.warnings, Vec::<String>::new());

        // Just before the culprit: proven, and the server agrees.
        let target = survey.suggestions[0].target.clone();
        let reach = picture.reach(&target, &|_| {}, &|| false).unwrap();
        assert!(reach.reachable, "{reach:#?}");
        assert!(reach.lost_commits > Some(10), "{reach:#?}");
        assert_eq!(
            reach.first_lost.as_ref().map(|c| c.deletes),
            Some(survey.suspects[0].commit.deletes)
        );
        let TargetPoint::Lsn(stop) = target.point else { panic!("an LSN") };
        segment_of_delete =
            Segment::holding(1, stop, cluster.segment_size).name(cluster.segment_size);
        let settings = [
            ("recovery_target_lsn", stop.to_string()),
            ("recovery_target_inclusive", String::from("off")),
        ];
        cluster.pg_ctl(&cluster.data, &["stop", "-m", "fast"]);
        let (up, log) = recover(&cluster, &folder, &settings);
        assert!(up, "{log}");
        let seen = format!("recovery stopping before WAL location (LSN) \"{stop}\"");
        assert!(log.contains(&seen), "{log}");
        assert_eq!(cluster.sql("SELECT count(*) FROM orders"), good);
        stop_recovered(&cluster);

        // Beyond the last commit by time: the server would end with FATAL.
        let newest = survey.newest_commit.clone().unwrap();
        let beyond = newest.at.checked_add(SignedDuration::from_secs(5)).unwrap();
        let reach = ask(TargetPoint::Time(beyond), true);
        assert!(!reach.reachable);
        assert_eq!(failed(&reach), ["beyond"]);
        let (up, log) = recover(&cluster, &folder, &[("recovery_target_time", setting(beyond))]);
        assert!(
            !up && log.contains("recovery ended before configured recovery target was reached"),
            "{log}"
        );
        // What is offered instead can be reached.
        let offer = reach.nearest.first().expect("the nearest target").clone();
        assert!(picture.reach(&offer, &|_| {}, &|| false).unwrap().reachable);

        // A moment before the newest commit is fine, and at the commit itself only without it.
        assert!(ask(TargetPoint::Time(newest.at), false).reachable);
        assert!(!ask(TargetPoint::Time(newest.at), true).reachable);

        // Before the backup's end: never left to the server, which may succeed with newer data.
        let reach = ask(TargetPoint::Time(early), true);
        assert!(!reach.reachable);
        assert_eq!(failed(&reach), ["base"]);
        let (up, log) = recover(&cluster, &folder, &[("recovery_target_time", setting(early))]);
        let newer = up && {
            let newer =
                cluster.sql("SELECT count(*) FROM audit WHERE what = 'before the backup'") == "1";
            stop_recovered(&cluster);
            newer
        };
        assert!(newer || log.contains("FATAL"), "{log}");

        // A transaction by number, a restore point by name, the end.
        assert!(ask(TargetPoint::Xid(newest.xid), true).reachable);
        assert_eq!(failed(&ask(TargetPoint::Xid(4_000_000_000), true)), ["beyond"]);
        let named = ask(TargetPoint::Name(String::from("release")), true);
        assert!(named.reachable);
        assert!(named.checks.iter().any(|c| c.detail.contains("more than once")), "{named:#?}");
        assert_eq!(failed(&ask(TargetPoint::Name(String::from("none")), true)), ["beyond"]);
        let end = ask(TargetPoint::EndOfArchive, true);
        assert!(end.reachable && end.lost_commits == Some(0), "{end:#?}");
        assert_eq!(failed(&ask(TargetPoint::Lsn(Lsn(1 << 50)), true)), ["beyond"]);
    }

    // Without the segment in which the culprit begins, the target is refused; an earlier one not.
    let away = cluster.root.path().join("away");
    std::fs::create_dir(&away).unwrap();
    std::fs::rename(cluster.archive.join(&segment_of_delete), away.join(&segment_of_delete))
        .unwrap();
    let inputs = |rescue| stopped_landscape(&cluster, rescue, &base, known.clone());
    let picture = inputs(None);
    let end = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    let reach = picture.reach(&end, &|_| {}, &|| false).unwrap();
    assert!(!reach.reachable);
    let wal = reach.checks.iter().find(|c| c.id == "wal").unwrap();
    assert_eq!(wal.verdict, Verdict::Failed);
    assert!(wal.detail.contains(&segment_of_delete), "{wal:?}");
    let before = reach.nearest.first().expect("a target before the gap").clone();
    assert!(picture.reach(&before, &|_| {}, &|| false).unwrap().reachable);
    let TargetPoint::Lsn(stop) = before.point else { panic!("an LSN") };
    let (up, log) = recover(&cluster, &folder, &[("recovery_target_lsn", stop.to_string())]);
    assert!(up && log.contains("recovery stopping after WAL location"), "{log}");
    stop_recovered(&cluster);

    // Where the damaged directory still has it, it counts: the plan rescues it.
    let rescued = inputs(Some(away)).reach(&end, &|_| {}, &|| false).unwrap();
    assert!(rescued.reachable, "{rescued:#?}");
    assert!(rescued.checks.iter().any(|c| c.detail.contains("rescues it")), "{rescued:#?}");
}

/// As [`landscape`], while no server runs that could be asked for the time.
fn stopped_landscape(
    cluster: &Cluster,
    rescue: Option<PathBuf>,
    base: &BaseSummary,
    relations: Relations,
) -> Landscape {
    let folder = Folder::new(&cluster.archive);
    let inputs = Inputs {
        archives: vec![Arc::new(Plain { folder, bases: vec![base.clone()], relations })],
        cluster: facts(cluster),
        rescue,
        detected: None,
        last_known_good: Some(base.finished),
        symptom: Symptom::default(),
        live: None,
        most_commits: None,
        state_directory: cluster.root.path().to_owned(),
    };
    Landscape::build(inputs, &|_| {}, &|| false).unwrap()
}

/// Stops whichever recovered server listens on the test's socket.
fn stop_recovered(cluster: &Cluster) {
    let mut by_folder: HashMap<PathBuf, bool> = HashMap::new();
    for entry in std::fs::read_dir(cluster.root.path()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("recovered-") && entry.path().join("postmaster.pid").exists() {
            cluster.pg_ctl(&entry.path(), &["stop", "-m", "immediate"]);
            by_folder.insert(entry.path(), true);
        }
    }
    assert_eq!(by_folder.len(), 1);
}

/// WAL that no archive command ever saw: what is in `pg_wal` alone is read to its very end.
#[test]
fn the_tail_that_was_never_archived_is_reachable() {
    let cluster = Cluster::start(16);
    tables(&cluster);
    let base = mark(&cluster, "set-1");
    let known = relations(&cluster);
    cluster.sql("INSERT INTO audit(what) VALUES ('the last one')");
    let survey = try_landscape(
        &cluster,
        &cluster.archive,
        Some(cluster.data.join("pg_wal")),
        &[base],
        known,
    )
    .survey();
    let newest = survey.newest_commit.expect("a commit in pg_wal alone");
    assert_eq!((newest.inserts, newest.updates, newest.deletes), (1, 0, 0));
    assert!(
        survey.warnings.iter().any(|w| w.contains("was not archived")),
        "{:?}",
        survey.warnings
    );
}

/// Too many commits are kept by the minute: who looks at them sees each one all the same. And
/// replay that would create a tablespace in a folder that is in use is refused.
#[test]
fn folded_commits_are_read_one_by_one_and_new_tablespaces_are_looked_for() {
    let cluster = Cluster::start(1);
    tables(&cluster);
    let base = mark(&cluster, "set-1");
    let first: u32 = cluster.sql("SELECT pg_current_xact_id()").parse().unwrap();
    cluster.sql(
        "DO $$ BEGIN FOR i IN 1..300 LOOP INSERT INTO audit(what) VALUES ('x'); COMMIT; END LOOP; END $$",
    );
    let early = now(&cluster);
    // A time stops at the next commit, and what lies before that is replayed.
    cluster.sql("INSERT INTO audit(what) VALUES ('next')");
    let place = cluster.root.path().join("space");
    // By the server, so that it is the server's user's.
    cluster
        .sql(&format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; mkdir {}'", place.display()));
    cluster.sql(&format!("CREATE TABLESPACE outside LOCATION '{}'", place.display()));
    let behind = lsn(&cluster);
    cluster.sql(
        "DO $$ BEGIN FOR i IN 1..100 LOOP INSERT INTO audit(what) VALUES ('y'); COMMIT; END LOOP; END $$",
    );
    cluster.archive_all();
    let folder = Folder::new(&cluster.archive);
    let relations = relations(&cluster);
    let inputs = Inputs {
        archives: vec![Arc::new(Plain { folder, bases: vec![base.clone()], relations })],
        cluster: facts(&cluster),
        rescue: None,
        detected: None,
        last_known_good: Some(base.finished),
        symptom: Symptom::default(),
        live: None,
        most_commits: Some(60),
        state_directory: cluster.root.path().to_owned(),
    };
    let landscape = Landscape::build(inputs, &|_| {}, &|| false).unwrap();
    let survey = landscape.survey();
    assert!(survey.warnings.iter().any(|w| w.contains("by the minute")), "{:?}", survey.warnings);
    let seen = landscape.commits_around(early, 1000);
    let xids: Vec<u32> = seen.iter().map(|c| c.xid).collect();
    assert!(seen.iter().all(|c| c.stands_for == 1), "{seen:#?}");
    assert!((first + 1..first + 300).all(|xid| xids.contains(&xid)), "{xids:?}");
    let span = (base.finished, survey.at);
    let window = landscape.window(span, 10, early);
    assert!(window.near.iter().all(|c| c.stands_for == 1), "{:#?}", window.near);
    // Far from what is looked at they stand for many, and say so.
    let whole: u64 = window.commits.iter().sum();
    assert!(whole >= 400, "{whole}");

    let check = |point| {
        let target = Target { point, inclusive: true, timeline: None };
        let reach = landscape.reach(&target, &|_| {}, &|| false).unwrap();
        let check = reach.checks.iter().find(|c| c.id == "new-tablespaces").unwrap().clone();
        (check, reach.reachable)
    };
    let (before, reachable) = check(TargetPoint::Time(early));
    assert!(reachable && before.verdict == Verdict::Verified, "{before:?}");
    let (after, reachable) = check(TargetPoint::Lsn(behind));
    assert!(!reachable && after.verdict == Verdict::Failed, "{after:?}");
    assert!(after.detail.contains(&text(&place)) && after.detail.contains("PG_"), "{after:?}");
    // Moved aside, the folder is free.
    cluster.pg_ctl(&cluster.data, &["stop", "-m", "fast"]);
    let aside = cluster.root.path().join("aside");
    std::fs::rename(&place, &aside).unwrap();
    let (gone, reachable) = check(TargetPoint::Lsn(behind));
    assert!(!reachable && gone.detail.contains("not there"), "{gone:?}");
    std::fs::create_dir(&place).unwrap();
    let (free, reachable) = check(TargetPoint::Lsn(behind));
    assert!(reachable && free.detail.contains("is empty"), "{free:?}");
}
