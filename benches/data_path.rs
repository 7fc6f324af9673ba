//! How fast a base backup and its restore are, beside `tar | gzip | openssl` (and pgBackRest,
//! where it is installed) on the same data in the same run. Ratios count; absolute figures are the
//! machine's.
//!
//! `LIFEBOAT_BENCH_MB` is the size of the tables (500), `LIFEBOAT_BENCH_WORKERS` the threads (the
//! machine's cores), `TMPDIR` the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use lifeboat::engine::backup;
use lifeboat::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::verify::verify_base;
use lifeboat::engine::restore::base::{self, Options};
use lifeboat::engine::runner::protocol::Progress;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use support::TestCluster;

fn quiet(_: Progress) {}

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let megabytes = number("LIFEBOAT_BENCH_MB").unwrap_or(500);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = number("LIFEBOAT_BENCH_WORKERS").unwrap_or(cores);

    let cluster =
        TestCluster::init(&["wal_level = replica", "archive_mode = on", "max_wal_size = 4GB"]);
    let root = cluster.root.path().to_owned();
    let spool = root.join("spool");
    cluster.make_folder(&spool, 0o755);
    cluster.append_conf(&[&format!("archive_command = 'cp %p {}/%f'", spool.display())]);
    cluster.start_server();
    let rows = megabytes * 5200;
    for part in 0..10 {
        let (from, to) = (part * rows / 10, (part + 1) * rows / 10);
        cluster.sql(&format!(
            "CREATE TABLE orders_{part} AS SELECT g AS id, g % 9973 AS customer, md5(g::text) AS \
             code, now() - g * interval '1 s' AS at, 'a note on order ' || g || ' of nobody' AS \
             note, (g % 1000) / 7.0 AS price FROM generate_series({from}, {to}) AS g"
        ));
        cluster.sql(&format!("ALTER TABLE orders_{part} ADD PRIMARY KEY (id)"));
    }
    cluster.sql("CHECKPOINT");

    let key = root.join("master.key");
    fs::write(&key, "a key for a benchmark\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    println!("{workers} workers");
    println!("{:28}{:>10}{:>12}{:>10}", "", "seconds", "MB/s", "stored");

    let peer = tar_gzip_openssl(&cluster, &root, &key);
    for (codec, name) in [(Codec::Gzip, "gzip"), (Codec::Zstd, "zstd")] {
        let config = RepositoryConfig {
            name: String::from("bench"),
            store: StoreConfig::File { path: root.join(format!("repository-{name}")) },
            encryption: Encryption::Aes256Cbc {
                master_key_file: Some(key.clone()),
                master_key_command: None,
                previous_master_key_file: None,
            },
            codec,
            level: None,
            workers: Some(workers),
            place: Default::default(),
        };
        let ours = ours(&cluster, &root, &spool, &config, name);
        println!(
            "{:28}backup {:.2}, restore {:.2} of tar | gzip | openssl",
            "",
            ours.0 / peer.0,
            ours.1 / peer.1
        );
    }
    pgbackrest(&cluster, &root, workers);
}

fn line(what: &str, seconds: f64, bytes: u64, stored: u64) {
    let rate = bytes as f64 / 1e6 / seconds;
    println!("{what:28}{seconds:>10.2}{rate:>12.0}{:>10.2}", bytes as f64 / stored as f64);
}

fn timed(script: &str) -> f64 {
    let begun = Instant::now();
    let done = Command::new("bash").args(["-c", &format!("set -o pipefail; {script}")]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    begun.elapsed().as_secs_f64()
}

/// Seconds for backup and restore.
fn tar_gzip_openssl(cluster: &TestCluster, root: &Path, key: &Path) -> (f64, f64) {
    let (data, key, file) = (cluster.data.display(), key.display(), root.join("peer.tar.gz.enc"));
    let (file, to) = (file.display(), root.join("peer"));
    fs::create_dir(&to).unwrap();
    let to = to.display();
    let cipher = format!("openssl enc -aes-256-cbc -pbkdf2 -pass file:{key}");
    let made = timed(&format!(
        "tar c -C {data} --exclude=./pg_wal/* . | gzip -3 | {cipher} -out {file}; sync -f {file}"
    ));
    let stored = fs::metadata(root.join("peer.tar.gz.enc")).unwrap().len();
    let restored = timed(&format!("{cipher} -d -in {file} | tar xz -C {to}; sync -f {to}"));
    let bytes: u64 = timed_bytes(&root.join("peer"));
    line("tar | gzip -3 | openssl", made, bytes, stored);
    line("openssl -d | tar xz", restored, bytes, stored);
    timed(&format!("rm -r {to} {file}"));
    (made, restored)
}

fn timed_bytes(folder: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        total += if meta.is_dir() { timed_bytes(&entry.path()) } else { meta.len() };
    }
    total
}

fn ours(
    cluster: &TestCluster,
    root: &Path,
    spool: &Path,
    config: &RepositoryConfig,
    name: &str,
) -> (f64, f64) {
    let repository = Repository::create(config, "bench").unwrap();
    let feeding = std::sync::atomic::AtomicBool::new(true);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    let begun = Instant::now();
    let (summary, made) = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Only what the backup needs: the newest files, as they come.
            let mut seen: Vec<_> =
                fs::read_dir(spool).unwrap().flatten().map(|e| e.path()).collect();
            while feeding.load(ordering) {
                for path in fs::read_dir(spool).unwrap().flatten().map(|entry| entry.path()) {
                    let whole = fs::metadata(&path).is_ok_and(|meta| meta.len() == 16 << 20);
                    if whole && !seen.contains(&path) {
                        let name = path.file_name().unwrap().to_str().unwrap();
                        repository.put_wal(name, &fs::read(&path).unwrap()).unwrap();
                        seen.push(path);
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let mut copied = 0.0;
        let done = std::sync::Mutex::new(&mut copied);
        let report = |progress: Progress| {
            if progress.label.contains("ending") {
                **done.lock().unwrap() = begun.elapsed().as_secs_f64();
            }
        };
        let options = backup::Options::default();
        let summary = backup::run(&cluster.config(), &repository, &options, &report, &|| false);
        feeding.store(false, ordering);
        (summary.unwrap(), copied)
    });
    let (bytes, stored) = (summary.descriptor.data_bytes, summary.descriptor.stored_bytes);
    let whole = begun.elapsed().as_secs_f64();
    line(&format!("backup, {name}: copied"), made, bytes, stored);
    line(&format!("backup, {name}: published"), whole, bytes, stored);
    let begun = Instant::now();
    let checks = verify_base(&repository, &summary.descriptor.set, &quiet, &|| false);
    line(&format!("verify, {name}"), begun.elapsed().as_secs_f64(), bytes, stored);
    assert!(checks.iter().take(5).all(|c| c.verdict.word() == "VERIFIED"), "{checks:#?}");
    let to = root.join(format!("restored-{name}"));
    let begun = Instant::now();
    let options = Options::new("restore", &quiet, &|| false);
    base::restore(&repository, &summary.descriptor.set, &to, &options).unwrap();
    let restored = begun.elapsed().as_secs_f64();
    line(&format!("restore, {name}"), restored, bytes, stored);
    fs::remove_dir_all(&to).unwrap();
    let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        println!("{:28}memory at most {}", "", peak.trim());
    }
    (whole, restored)
}

/// pgBackRest with its own defaults for each codec, where it is installed.
fn pgbackrest(cluster: &TestCluster, root: &Path, workers: usize) {
    if Command::new("pgbackrest").arg("version").output().is_err() {
        println!("pgBackRest is not installed: not compared");
        return;
    }
    for codec in ["gz", "zst"] {
        let repo = root.join(format!("pgbackrest-{codec}"));
        let to = root.join(format!("pgbackrest-{codec}-restored"));
        let file = root.join(format!("pgbackrest-{codec}.conf"));
        // In a file, each of its commands takes what concerns it and leaves the rest.
        let text = format!(
            "[global]\nrepo1-path={}\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=bench\n\
             process-max={workers}\ncompress-type={codec}\nlog-path={root}\nlock-path={root}\n\
             log-level-console=error\narchive-check=n\narchive-copy=n\nstart-fast=y\n\n\
             [bench]\npg1-path={}\npg1-socket-path={}\npg1-port={}\npg1-user=postgres\n",
            repo.display(),
            cluster.data.display(),
            cluster.socket.display(),
            cluster.port,
            root = root.display(),
        );
        fs::write(&file, text).unwrap();
        let common = format!("pgbackrest --config={} --stanza=bench", file.display());
        timed(&format!("{common} --no-online stanza-create"));
        let made = timed(&format!("{common} backup; sync -f {}", repo.display()));
        fs::create_dir(&to).unwrap();
        let restored =
            timed(&format!("{common} --pg1-path={to} restore; sync -f {to}", to = to.display()));
        let (bytes, stored) = (timed_bytes(&to), timed_bytes(&repo));
        line(&format!("pgbackrest backup, {codec}"), made, bytes, stored);
        line(&format!("pgbackrest restore, {codec}"), restored, bytes, stored);
        fs::remove_dir_all(&to).unwrap();
    }
}
