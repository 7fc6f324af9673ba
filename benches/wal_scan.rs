//! Our analysis of WAL in an encrypted file repository beside `pg_waldump` on the same segments
//! laid out plain. Prints both, by the clock and by processor time (others may use this machine,
//! too), and the peak of our memory; `LIFEBOAT_BENCH_SEGMENTS` sets how many
//! segments of 16 MB are made (64, which is 1 GB).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

#[path = "../tests/throwaway/mod.rs"]
mod throwaway;

use lifeboat::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::recovery_point::RepositoryArchive;
use lifeboat::engine::repository::Repository;
use lifeboat::engine::wal::Segment;
use lifeboat::engine::wal::continuity::Coverage;
use lifeboat::engine::wal::inspect::{Cache, Folder, ScanOptions, Segments, scan};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;
use throwaway::{Cluster, text};

fn main() {
    let wanted: u64 =
        std::env::var("LIFEBOAT_BENCH_SEGMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(64);
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
    let key = cluster.root.path().join("master.key");
    std::fs::write(&key, "a key for a benchmark\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let repository = |codec, word: &str| {
        let config = RepositoryConfig {
            name: String::from("bench"),
            store: StoreConfig::File { path: cluster.root.path().join(word) },
            encryption: Encryption::Aes256Cbc {
                master_key_file: Some(key.clone()),
                master_key_command: None,
                previous_master_key_file: None,
            },
            codec,
            level: None,
            workers: None,
            place: Default::default(),
        };
        let repository = Repository::create(&config, "bench").unwrap();
        for number in piece.first..=piece.last {
            let content = std::fs::read(cluster.archive.join(name(number))).unwrap();
            repository.put_wal(&name(number), &content).unwrap();
        }
        RepositoryArchive::new(Arc::new(repository))
    };
    let gzip = repository(Codec::Gzip, "gzip");
    let zstd = repository(Codec::Zstd, "zstd");
    // Free what making them took, as far as that can be: the peak counts from here.
    let before = resident("VmRSS");
    let _ = std::fs::write("/proc/self/clear_refs", "5");

    let archive = text(&cluster.archive);
    let (first, last) = (name(piece.first), name(piece.last));
    let all = ["-p", &archive, &first, &last];
    let commits = ["--rmgr=Transaction", "-p", &archive, &first, &last];
    let best = |work: &dyn Fn()| {
        let run = |_| {
            let (begun, before) = (Instant::now(), processor());
            work();
            (begun.elapsed().as_secs_f64(), processor() - before)
        };
        (0..3).map(run).fold((f64::MAX, f64::MAX), |a, b| (a.0.min(b.0), a.1.min(b.1)))
    };
    let read = |source: &dyn Segments, cache: Option<&Cache>| {
        let options = ScanOptions { cache, ..ScanOptions::new(size) };
        scan(source, &path, &options, &|_| {}, &|| false).unwrap()
    };
    let told = read(&zstd, None);
    println!(
        "{} segments, {:.2} GB, {} records, {} transactions",
        path.segments(),
        told.bytes as f64 / 1e9,
        told.history.records,
        told.history.endings.len()
    );
    drop(told);
    let peak = |words: &str| {
        let kilobytes = resident("VmHWM");
        println!("peak memory {:4} MB: {words}", kilobytes / 1024);
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    };
    println!("memory      {:4} MB: before reading", before / 1024);
    peak("one reading, zstd");
    let zstd_time = best(&|| drop(read(&zstd, None)));
    peak("zstd");
    let gzip_time = best(&|| drop(read(&gzip, None)));
    peak("gzip");
    let plain_time = best(&|| drop(read(&folder, None)));
    peak("plain");
    let cache = Cache::new(cluster.root.path());
    drop(read(&gzip, Some(&cache)));
    peak("gzip, and keeping it");
    let kept_time = best(&|| drop(read(&gzip, Some(&cache))));
    peak("read before");
    let few = best(&|| drop(cluster.run("pg_waldump", &commits)));
    let full = best(&|| cluster.run_quietly("pg_waldump", &all));
    let line = |words: &str, (clock, processor): (f64, f64)| {
        println!("{words:37} {clock:7.3} s, processor {processor:7.3} s");
    };
    line("pg_waldump, all records, plain", full);
    line("pg_waldump, commits alone, plain", few);
    for (words, time) in [
        ("ours, encrypted repository, gzip", gzip_time),
        ("ours, encrypted repository, zstd", zstd_time),
        ("ours, plain", plain_time),
        ("ours, read before", kept_time),
    ] {
        line(words, time);
        println!(
            "{:37} {:.2} of all records ({:.2} by processor), {:.2} of commits ({:.2})",
            "",
            time.0 / full.0,
            time.1 / full.1,
            time.0 / few.0,
            time.1 / few.1
        );
    }
}

/// Seconds of processor time, of this process and of the children that ended.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(4);
    ticks.map(|n| n.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Kilobytes, as the kernel counts them.
fn resident(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
