//! PostgreSQL's own `pg_waldump` judges what the WAL reader found on the same segments.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

mod throwaway;

use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::wal::Segment;
use lifeboat::engine::wal::continuity::Coverage;
use lifeboat::engine::wal::inspect::{Action, Fed, Folder, Reader, ScanOptions, scan};
use std::collections::{BTreeMap, BTreeSet};
use throwaway::{Cluster, text};

/// (transaction, file node as `pg_waldump` prints it, operation) → rows.
type Rows = BTreeMap<(u32, String, &'static str), u64>;

#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Start of each record and its resource manager's place in the two lists.
    records: BTreeSet<Lsn>,
    commits: BTreeSet<u32>,
    aborts: BTreeSet<u32>,
    rows: Rows,
    restore_points: Vec<String>,
}

#[test]
fn records_commits_and_rows_are_the_same_at_16_mb() {
    judged(16);
}

#[test]
fn records_commits_and_rows_are_the_same_at_1_mb() {
    judged(1);
}

fn judged(megabytes: u64) {
    let cluster = Cluster::start(megabytes);
    traffic(&cluster);
    cluster.archive_all();
    let size = cluster.segment_size;
    let folder = Folder::new(&cluster.archive);
    let coverage = Coverage::list(&folder, size, Lsn(0)).unwrap();
    assert_eq!(coverage.gaps(), []);
    let path = coverage.path(&[(1, Lsn(0))], Lsn(0));
    let (first, last) = (path.pieces[0].first, path.pieces[0].last);
    assert!(last - first >= 2, "several segments: {path:?}");

    let mut ours = Seen::default();
    let mut reader = Reader::new(size, None);
    for number in first..=last {
        let segment = Segment { timeline: 1, number };
        let content = std::fs::read(cluster.archive.join(segment.name(size))).unwrap();
        let fed = reader.feed(&content, segment.start(size), &mut |record| {
            ours.records.insert(record.lsn);
            let mut count = |relation: lifeboat::engine::wal::inspect::RelationFile, what, rows| {
                let file =
                    format!("{}/{}/{}", relation.tablespace, relation.database, relation.file);
                *ours.rows.entry((record.xid, file, what)).or_default() += rows;
            };
            match record.action().expect("every record can be read") {
                Action::Commit(finish) => drop(ours.commits.insert(finish.xid)),
                Action::Abort(finish) => drop(ours.aborts.insert(finish.xid)),
                Action::Insert { relation, rows } => count(relation, "insert", rows),
                Action::Update { relation } => count(relation, "update", 1),
                Action::Delete { place, .. } => count(place.relation, "delete", 1),
                Action::RestorePoint { name, .. } => ours.restore_points.push(name),
                _ => {}
            }
        });
        assert_eq!(fed, Ok(Fed::Whole), "segment {number}");
    }

    let name = |number| Segment { timeline: 1, number }.name(size);
    let dump =
        cluster.run("pg_waldump", &["-p", &text(&cluster.archive), &name(first), &name(last)]);
    let theirs = read_dump(&String::from_utf8_lossy(&dump.stdout));
    assert!(theirs.records.len() > 1000 && theirs.commits.len() > 20 && !theirs.aborts.is_empty());
    assert_eq!(ours.records.len(), theirs.records.len());
    assert_eq!(ours, theirs);

    let scanned = scan(&folder, &path, &ScanOptions::new(size), &|_| {}, &|| false).unwrap();
    assert_eq!(scanned.breaks, []);
    assert_eq!(scanned.history.unreadable, (0, None));
    assert_eq!(scanned.history.records, theirs.records.len() as u64);
    let endings = &scanned.history.endings;
    let committed: BTreeSet<u32> =
        endings.iter().filter(|e| e.committed()).map(|e| e.xid).collect();
    assert_eq!(committed, theirs.commits);
    // Subtransactions are told of within the transaction that they belong to.
    let saved = endings.iter().find(|e| e.inserts == 21 && e.deletes == 0 && e.committed());
    assert!(saved.is_some_and(|e| e.first_lsn < e.lsn), "the transaction with savepoints");
}

/// Every kind of record that is read: rows one by one and in bulk, savepoints, a prepared
/// transaction, what is rolled back, large values, a database, a restore point.
fn traffic(cluster: &Cluster) {
    cluster.sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    cluster.sql("ALTER SYSTEM SET wal_compression = on");
    cluster.pg_ctl(&cluster.data, &["restart", "-m", "fast"]);
    cluster.sql("CREATE TABLE orders(id int PRIMARY KEY, note text, amount numeric)");
    cluster.sql(
        "INSERT INTO orders SELECT i, repeat('x', i % 300), i FROM generate_series(1, 20000) i",
    );
    cluster.sql("COPY orders TO '/dev/null'; CREATE TABLE copied(LIKE orders)");
    cluster.sql("COPY copied FROM PROGRAM 'seq 1 3000 | sed s/$/\\\\tnote\\\\t7/'");
    cluster.sql("CHECKPOINT");
    cluster.sql("UPDATE orders SET amount = amount + 1 WHERE id % 7 = 0");
    cluster.sql("UPDATE orders SET id = id + 1000000 WHERE id % 501 = 0");
    cluster.sql("BEGIN; DELETE FROM orders WHERE id % 3 = 0; ROLLBACK");
    cluster.sql("DELETE FROM orders WHERE id % 11 = 0");
    cluster.sql(
        "BEGIN; INSERT INTO copied SELECT i FROM generate_series(1, 10) i; SAVEPOINT a;
         INSERT INTO copied SELECT i FROM generate_series(1, 11) i; SAVEPOINT b;
         DELETE FROM copied; ROLLBACK TO b; COMMIT",
    );
    cluster.sql(
        "BEGIN; INSERT INTO copied SELECT i FROM generate_series(1, 77) i; PREPARE TRANSACTION 'p'",
    );
    cluster.sql("COMMIT PREPARED 'p'");
    cluster.sql("BEGIN; DELETE FROM copied; PREPARE TRANSACTION 'q'");
    cluster.sql("ROLLBACK PREPARED 'q'");
    cluster.sql("CREATE TABLE large(v text); INSERT INTO large SELECT string_agg(md5(i::text), '') FROM generate_series(1, 60000) i");
    cluster.sql("SELECT pg_create_restore_point('before the release')");
    cluster
        .sql("SELECT pg_logical_emit_message(false, 'big', repeat('record across pages', 200000))");
    for i in 0..20 {
        cluster.sql(&format!("INSERT INTO orders VALUES ({}, 'n', 1)", 5_000_000 + i));
    }
    cluster.sql("CREATE DATABASE other");
    cluster.sql_in("other", "CREATE TABLE t AS SELECT * FROM generate_series(1, 5000) i");
    cluster.sql("VACUUM FULL orders");
    cluster.sql("TRUNCATE copied; DROP TABLE large");
    cluster.sql("DROP DATABASE other");
    // What is left of the segment after a switch is empty.
    cluster.archive_all();
    cluster.sql(
        "INSERT INTO orders SELECT i, repeat('y', 900) FROM generate_series(8000000, 8020000) i",
    );
}

fn read_dump(text: &str) -> Seen {
    let mut seen = Seen::default();
    for line in text.lines().filter(|l| l.starts_with("rmgr: ")) {
        let field = |from: &str| line.split_once(from).map(|(_, rest)| rest.trim_start());
        let word = |from| field(from).and_then(|rest| rest.split([',', ' ', ':']).next());
        let rmgr = word("rmgr: ").unwrap();
        let xid: u32 = word("tx:").unwrap().parse().unwrap();
        seen.records.insert(word("lsn: ").unwrap().parse().unwrap());
        let told = field("desc: ").unwrap();
        let operation = told.split([' ', '+']).next().unwrap();
        let prepared = |seen: &str| seen.split([':', ' ']).nth(1).unwrap().parse::<u32>().unwrap();
        let mut count = |what, rows| {
            let file = field("blkref #0: rel ").unwrap().split(' ').next().unwrap().to_owned();
            *seen.rows.entry((xid, file, what)).or_default() += rows;
        };
        match (rmgr, operation) {
            ("Transaction", "COMMIT") => drop(seen.commits.insert(xid)),
            ("Transaction", "COMMIT_PREPARED") => drop(seen.commits.insert(prepared(told))),
            ("Transaction", "ABORT") => drop(seen.aborts.insert(xid)),
            ("Transaction", "ABORT_PREPARED") => drop(seen.aborts.insert(prepared(told))),
            ("Heap", "INSERT") => count("insert", 1),
            ("Heap", "UPDATE" | "HOT_UPDATE") => count("update", 1),
            ("Heap", "DELETE") => count("delete", 1),
            ("Heap2", "MULTI_INSERT") => {
                let number = told.split(|c: char| !c.is_ascii_digit()).find(|n| !n.is_empty());
                count("insert", number.unwrap().parse().unwrap());
            }
            ("XLOG", "RESTORE_POINT") => {
                seen.restore_points.push(told.split_once(' ').unwrap().1.trim().to_owned());
            }
            _ => {}
        }
    }
    seen
}
