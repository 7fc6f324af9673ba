//! Damage hidden in mixed traffic: the true culprit is the first suspect, and a second cluster that
//! stopped just before it has every row that was committed before, and no other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

mod throwaway;

use jiff::Timestamp;
use lifeboat::engine::explain::Explanation;
use lifeboat::engine::incident::facts::{BaseSummary, TargetPoint};
use lifeboat::engine::postgres::{Lsn, control_file};
use lifeboat::engine::recovery_point::{
    Archive, ClusterFacts, Culprits, Edge, Inputs, Landscape, Relation, Relations, Symptom,
    SymptomKind,
};
use lifeboat::engine::wal::inspect::{Folder, Segments};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use throwaway::{Cluster, text};

/// A folder of plain segments with one base, in place of a repository.
#[derive(Debug, Clone)]
struct Plain {
    folder: Folder,
    base: BaseSummary,
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
    /// Segments of this test never change.
    fn fingerprints(
        &self,
        timeline: u32,
        from: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Explanation> {
        Ok(self.list(timeline, from, limit)?.into_iter().map(|n| (n.clone(), n)).collect())
    }
}

impl Archive for Plain {
    fn name(&self) -> String {
        String::from("plain")
    }
    fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
        Ok((vec![self.base.clone()], Vec::new()))
    }
    fn relations(&self, _: &str) -> Result<Relations, Explanation> {
        Ok(self.relations.clone())
    }
}

/// What every backup keeps of the catalogues.
fn relations(cluster: &Cluster) -> Relations {
    let mut all = Relations::default();
    for row in cluster.sql("SELECT oid, datname FROM pg_database WHERE datallowconn").lines() {
        let (oid, name) = row.split_once('|').unwrap();
        let oid: u32 = oid.parse().unwrap();
        all.databases.insert(oid, name.to_owned());
        let sql = "SELECT pg_relation_filenode(c.oid), c.oid, nspname, relname, relkind, reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_relation_filenode(c.oid) IS NOT NULL AND c.oid >= 16384";
        for row in cluster.sql_in(name, sql).lines() {
            let fields: Vec<&str> = row.split('|').collect();
            let at = (oid, fields[0].parse().unwrap());
            if fields[4] == "r" {
                let relation = Relation {
                    oid: fields[1].parse().unwrap(),
                    schema: fields[2].to_owned(),
                    table: fields[3].to_owned(),
                    rows: fields[5].parse().unwrap(),
                };
                all.files.insert(at, relation);
            } else {
                all.others.insert(at);
            }
        }
    }
    all
}

fn facts(cluster: &Cluster) -> ClusterFacts {
    let control = control_file::read(&cluster.data).unwrap();
    ClusterFacts::from_control(&control, cluster.data.clone())
}

fn lsn(cluster: &Cluster) -> Lsn {
    cluster.sql("SELECT pg_current_wal_lsn()").parse().unwrap()
}

/// Everyday work, each line of it a transaction: much of it looks like damage and is none.
fn traffic(cluster: &Cluster, round: usize) {
    cluster.sql(&format!(
        "DO $$ BEGIN FOR i IN 1..12 LOOP
           INSERT INTO orders(customer, note) VALUES (i, 'new');
           UPDATE customers SET visits = visits + 1 WHERE id % 50 = i; COMMIT;
           INSERT INTO queue(payload) SELECT 'job' FROM generate_series(1, 30); COMMIT;
           DELETE FROM queue; COMMIT;
           UPDATE customers SET name = name || '.' WHERE id = {round} * 20 + i;
           INSERT INTO audit(what) VALUES ('renamed'); COMMIT;
         END LOOP; END $$"
    ));
    cluster.sql("BEGIN; DELETE FROM orders; DROP TABLE customers; TRUNCATE audit; ROLLBACK");
    match round % 4 {
        0 => drop(cluster.sql("VACUUM FULL customers")),
        1 => drop(cluster.sql("ALTER TABLE audit ALTER COLUMN n TYPE bigint USING n")),
        2 => drop(cluster.sql("CLUSTER orders USING orders_pkey")),
        _ => drop(cluster.sql("REINDEX TABLE orders")),
    }
    cluster
        .sql("CREATE TEMP TABLE scratch AS SELECT generate_series(1, 900) i; DROP TABLE scratch");
}

/// Every row of every table, by database and table.
fn rows(cluster: &Cluster) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let databases =
        cluster.sql("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate");
    for database in databases.lines() {
        let tables = "SELECT format('SELECT %L, count(*), md5(string_agg(t::text, E''\\n'' ORDER BY t::text)) FROM %I.%I t', schemaname || '.' || tablename, schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let each: Vec<String> =
            cluster.sql_in(database, tables).lines().map(str::to_owned).collect();
        if each.is_empty() {
            all.insert(database.to_owned(), String::new());
            continue;
        }
        for row in cluster.sql_in(database, &each.join(" UNION ALL ")).lines() {
            let (table, content) = row.split_once('|').unwrap();
            all.insert(format!("{database} {table}"), content.to_owned());
        }
    }
    all
}

struct Damage {
    prepare: &'static [&'static str],
    /// Statements, each by itself.
    bad: &'static [&'static str],
    /// What the first suspect's words begin with.
    words: &'static str,
    kind: SymptomKind,
}

const DAMAGES: &[Damage] = &[
    Damage {
        prepare: &[],
        bad: &["UPDATE customers SET name = 'oops'"],
        words: "changed 1,000 of about 1,000 rows of public.customers",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &[],
        bad: &["DELETE FROM visits WHERE hour = 7"],
        words: "deleted 25 of about 600 rows of public.visits",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &[],
        bad: &["ALTER TABLE customers DROP COLUMN visits"],
        words: "dropped column ",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &["ALTER TABLE customers ADD visits int DEFAULT 0"],
        bad: &[
            "DO $$ BEGIN FOR i IN 1..60 LOOP UPDATE prices SET cents = 0 WHERE id = i * 3; COMMIT; PERFORM pg_sleep(0.005); END LOOP; END $$",
        ],
        words: "changed 60 of about 2,000 rows of public.prices, about 1 at a time",
        kind: SymptomKind::RowsWrong,
    },
    Damage {
        prepare: &[],
        bad: &[
            "BEGIN; SAVEPOINT a; DELETE FROM prices; RELEASE a; PREPARE TRANSACTION 'bad'",
            "COMMIT PREPARED 'bad'",
        ],
        words: "deleted 2,000 of about 2,000 rows of public.prices",
        kind: SymptomKind::RowsGone,
    },
    Damage {
        prepare: &[
            "CREATE TABLE younger(id int, note text)",
            "INSERT INTO younger SELECT i, 'n' FROM generate_series(1, 300) i",
        ],
        bad: &["DROP TABLE younger"],
        words: "dropped public.younger with about 300 rows",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &["CREATE DATABASE shop"],
        bad: &["DROP DATABASE shop"],
        words: "dropped the database shop",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &[],
        bad: &["DROP SCHEMA sales CASCADE"],
        words: "dropped the schema sales with 3 tables and about 120 rows",
        kind: SymptomKind::TableGone,
    },
    Damage {
        prepare: &[],
        bad: &["TRUNCATE visits"],
        words: "emptied public.visits (TRUNCATE), about 575 rows",
        kind: SymptomKind::Unknown,
    },
    Damage {
        prepare: &[],
        bad: &["DROP TABLE customers CASCADE"],
        words: "dropped public.customers with about 1,000 rows",
        kind: SymptomKind::Unknown,
    },
];

/// A damage as it was done.
struct Done {
    from: Lsn,
    to: Lsn,
    before: Lsn,
    after: Lsn,
    at: Timestamp,
    rows: BTreeMap<String, String>,
}

fn done(cluster: &Cluster, round: usize, damage: &Damage) -> Done {
    damage.prepare.iter().for_each(|sql| drop(cluster.sql(sql)));
    let from = lsn(cluster);
    traffic(cluster, round);
    let rows = rows(cluster);
    let before = lsn(cluster);
    let at = now(cluster);
    damage.bad.iter().for_each(|sql| drop(cluster.sql(sql)));
    let after = lsn(cluster);
    if cluster.sql("SELECT to_regclass('customers')").is_empty() {
        cluster.sql("CREATE TABLE customers(id int PRIMARY KEY, name text, visits int)");
    }
    if round != 2 {
        traffic(cluster, round + 1);
    }
    Done { from, to: lsn(cluster), before, after, at, rows }
}

fn now(cluster: &Cluster) -> Timestamp {
    let text = cluster.sql("SELECT clock_timestamp() AT TIME ZONE 'UTC'");
    format!("{}Z", text.replace(' ', "T")).parse().unwrap()
}

fn suspects(cluster: &Cluster, archive: &Plain, done: &Done, kind: SymptomKind) -> Culprits {
    let symptom = Symptom {
        kind,
        table: None,
        from: Some(Edge::Lsn(done.from)),
        to: Some(Edge::Lsn(done.to)),
    };
    let inputs = Inputs {
        archives: vec![Arc::new(archive.clone())],
        cluster: facts(cluster),
        rescue: None,
        detected: None,
        last_known_good: None,
        symptom,
        live: None,
        most_commits: None,
        state_directory: cluster.root.path().join("state"),
    };
    let picture = Landscape::build(inputs, &|_| {}, &|| false).unwrap();
    picture.culprits(10, &|_| {}, &|| false).unwrap()
}

/// A second cluster, from the base, that goes from target to target.
struct Second<'a> {
    cluster: &'a Cluster,
    data: PathBuf,
    log: PathBuf,
}

impl<'a> Second<'a> {
    fn new(cluster: &'a Cluster, base: &Path) -> Self {
        let data = cluster.root.path().join("second");
        cluster.run("/bin/cp", &["-a", &text(base), &text(&data)]);
        std::fs::create_dir_all(data.join("pg_wal/archive_status")).unwrap();
        std::fs::write(data.join("recovery.signal"), "").unwrap();
        for line in [
            String::from("archive_mode = off"),
            format!("restore_command = 'cp {}/%f %p'", cluster.archive.display()),
            String::from("recovery_target_action = 'pause'"),
            String::from("recovery_target_inclusive = off"),
        ] {
            cluster.configure(&data, &line);
        }
        cluster.run("/bin/chmod", &["700", &text(&data)]);
        Self { cluster, data, log: cluster.root.path().join("second.log") }
    }

    /// Every row, having stopped just before `target`.
    fn stopped_before(&self, target: Lsn) -> BTreeMap<String, String> {
        self.cluster.configure(&self.data, &format!("recovery_target_lsn = '{target}'"));
        let started = self.cluster.try_ctl(&self.data, &["start"], &text(&self.log));
        let said = || std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(started.status.success(), "{target}: {}", said());
        let stop = format!("recovery stopping before WAL location (LSN) \"{target}\"");
        self.cluster.wait_for(&format!("{stop} in {}", said()), || said().contains(&stop));
        self.cluster.wait_for("the pause", || {
            self.cluster.sql("SELECT pg_get_wal_replay_pause_state()") == "paused"
        });
        let rows = rows(self.cluster);
        self.cluster.try_ctl(&self.data, &["stop", "-m", "fast"], &text(&self.log));
        rows
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.try_ctl(&self.data, &["stop", "-m", "immediate"], &text(&self.log));
    }
}

#[test]
fn the_true_culprit_is_first_and_nothing_before_it_is_lost() {
    let cluster = Cluster::start(1);
    cluster.sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    cluster.sql("ALTER SYSTEM SET wal_compression = on");
    cluster.pg_ctl(&cluster.data, &["restart", "-m", "fast"]);
    cluster.sql(
        "CREATE TABLE customers(id int PRIMARY KEY, name text, visits int DEFAULT 0);
         CREATE TABLE orders(id serial PRIMARY KEY, customer int, note text);
         CREATE TABLE queue(id serial, payload text); CREATE TABLE audit(n serial, what text);
         CREATE TABLE visits(hour int, page text); CREATE TABLE prices(id int PRIMARY KEY, cents int);
         CREATE SCHEMA sales; CREATE TABLE sales.a(i int); CREATE TABLE sales.b(i int);
         CREATE TABLE sales.c(i int, note text);
         INSERT INTO sales.a SELECT generate_series(1, 120);
         INSERT INTO customers SELECT i, 'name' || i FROM generate_series(1, 1000) i;
         INSERT INTO orders(customer, note) SELECT i % 999, 'n' FROM generate_series(1, 5000) i;
         INSERT INTO visits SELECT i % 24, 'p' || i FROM generate_series(1, 600) i;
         INSERT INTO prices SELECT i, i * 3 FROM generate_series(1, 2000) i",
    );
    cluster.sql("ANALYZE");
    let started = now(&cluster);
    let folder = cluster.base_backup("base");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("backup_manifest")).unwrap()).unwrap();
    let edge = |key: &str| manifest["WAL-Ranges"][0][key].as_str().unwrap().parse().unwrap();
    let control = control_file::read(&cluster.data).unwrap();
    let base = BaseSummary {
        set: String::from("set-20250101-000000"),
        repository: String::from("plain"),
        started,
        finished: now(&cluster),
        start_lsn: edge("Start-LSN"),
        stop_lsn: edge("End-LSN"),
        timeline: 1,
        system_identifier: control.system_identifier,
        version: 15,
        size: 40 << 20,
        stored: 10 << 20,
        encrypted: false,
    };
    let archive =
        Plain { folder: Folder::new(&cluster.archive), base, relations: relations(&cluster) };
    let all: Vec<Done> =
        DAMAGES.iter().enumerate().map(|(round, damage)| done(&cluster, round, damage)).collect();
    cluster.archive_all();
    cluster.pg_ctl(&cluster.data, &["stop", "-m", "fast"]);

    let second = Second::new(&cluster, &folder);
    for (damage, done) in DAMAGES.iter().zip(&all) {
        let bad = damage.bad;
        let found = suspects(&cluster, &archive, done, damage.kind);
        let told: Vec<String> =
            found.suspects.iter().map(|s| format!("{:.1} {}", s.score, s.reason)).collect();
        let top = found.suspects.first().unwrap_or_else(|| panic!("{bad:?}: no suspect"));
        assert!(top.reason.contains(damage.words), "{bad:?}: {told:#?}");
        assert!(top.commit.at >= done.at, "{bad:?}: {told:#?}");
        assert!(!top.target.inclusive);
        let TargetPoint::Lsn(target) = top.target.point else { panic!("{bad:?}: an LSN") };
        let (before, after) = (done.before, done.after);
        assert!(before <= target && target < after, "{bad:?}: {before} <= {target} < {after}");
        assert_eq!(second.stopped_before(target), done.rows, "{bad:?}");
        assert_eq!(found.warnings, Vec::<String>::new());
    }

    // What comes after is counted by table, and read from what was kept of the segments.
    let first = suspects(&cluster, &archive, &all[0], SymptomKind::Unknown);
    let lost = &first.suspects[0].lost;
    assert!(lost.commits > 400, "{lost:?}");
    let queue = lost.tables.iter().find(|t| t.table == "public.queue").unwrap();
    // Twelve times thirty jobs in each round of traffic after the first.
    let rounds = 2 * DAMAGES.len() as u64 - 2;
    assert_eq!((queue.inserts, queue.deletes), (rounds * 360, rounds * 360));
    let younger = lost.tables.iter().find(|t| t.table == "public.younger").unwrap();
    assert_eq!((younger.inserts, younger.deletes), (300, 0));
    assert!(std::fs::read_dir(cluster.root.path().join("state/wal-cache")).unwrap().count() > 3);
}
