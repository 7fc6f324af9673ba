//! Our scan of plain segments beside `pg_waldump --rmgr=Transaction` on the same ones. Prints
//! both; `LIFEBOAT_BENCH_SEGMENTS` sets how many segments of 16 MB are made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

#[path = "../tests/throwaway/mod.rs"]
mod throwaway;

use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::wal::Segment;
use lifeboat::engine::wal::continuity::Coverage;
use lifeboat::engine::wal::inspect::{Folder, scan};
use std::time::Instant;
use throwaway::{Cluster, text};

fn main() {
    let wanted: u64 =
        std::env::var("LIFEBOAT_BENCH_SEGMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let cluster = Cluster::start(16);
    cluster.sql("CREATE TABLE t(id serial PRIMARY KEY, note text, n int)");
    while std::fs::read_dir(&cluster.archive).unwrap().count() < usize::try_from(wanted).unwrap() {
        // Many small transactions, and some large ones.
        cluster.sql(
            "DO $$ BEGIN FOR i IN 1..20000 LOOP
               INSERT INTO t(note, n) VALUES (md5(i::text), i);
               UPDATE t SET n = n + 1 WHERE id = i; COMMIT;
             END LOOP; END $$",
        );
        cluster
            .sql("INSERT INTO t(note, n) SELECT md5(i::text), i FROM generate_series(1, 60000) i");
    }
    cluster.archive_all();
    let size = cluster.segment_size;
    let folder = Folder::new(&cluster.archive);
    let path = Coverage::list(&folder, size, Lsn(0)).unwrap().path(&[(1, Lsn(0))], Lsn(0));
    let piece = path.pieces[0];
    let name = |number| Segment { timeline: 1, number }.name(size);
    let archive = text(&cluster.archive);
    let arguments = ["--rmgr=Transaction", "-p", &archive, &name(piece.first), &name(piece.last)];

    let (mut peer, mut ours) = (f64::MAX, f64::MAX);
    let mut told = String::new();
    for _ in 0..5 {
        let begun = Instant::now();
        cluster.run("pg_waldump", &arguments);
        peer = peer.min(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let scanned = scan(&folder, &path, size, None, &|_| {}, &|| false).unwrap();
        ours = ours.min(begun.elapsed().as_secs_f64());
        let (records, ends) = (scanned.history.records, scanned.history.endings.len());
        told = format!("{} segments, {records} records, {ends} transactions", path.segments());
    }
    println!("{told}");
    println!("pg_waldump --rmgr=Transaction  {peer:.3} s");
    println!("our scan                       {ours:.3} s   ratio {:.2}", ours / peer);
}
