//! How long `lifeboat archive-wal` takes for a segment, as PostgreSQL runs it: one process each.
//! Beside `cp` and `fsync`, and beside `gzip -3 | openssl enc`, on the same segments in the same
//! run. Ratios count; absolute figures are the machine's.
//!
//! `LIFEBOAT_BENCH_SEGMENTS` is how many (24), `TMPDIR` the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/throwaway/mod.rs"]
mod throwaway;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use throwaway::{Cluster, text};

fn main() {
    let wanted = std::env::var("LIFEBOAT_BENCH_SEGMENTS").ok().and_then(|n| n.parse().ok());
    let wanted: usize = wanted.unwrap_or(24);
    let cluster = Cluster::start(16);
    cluster.sql("CREATE TABLE orders (id bigint, code text, at timestamptz)");
    let archived = || fs::read_dir(&cluster.archive).unwrap().count();
    while archived() < wanted + 1 {
        cluster.sql(
            "INSERT INTO orders SELECT g, md5(g::text), now() - g * interval '1 s' \
             FROM generate_series(1, 100000) AS g",
        );
    }
    let mut segments: Vec<PathBuf> =
        fs::read_dir(&cluster.archive).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    // The last may be half copied.
    segments.truncate(wanted);
    let root = cluster.root.path().to_owned();
    println!("{:34}{:>12}", "", "ms a segment");
    let to = root.join("copies");
    fs::create_dir(&to).unwrap();
    let copied = each(&segments, |path| {
        let to = to.join(path.file_name().unwrap());
        let script =
            format!("cp {} {1} && sync {1} {2}", text(path), text(&to), text(to.parent().unwrap()));
        Command::new("sh").args(["-c", &script]).status().unwrap().success()
    });
    line("cp, sync", copied, copied);
    fs::write(root.join("key"), "a key for a benchmark\n").unwrap();
    fs::set_permissions(root.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let packed = each(&segments, |path| {
        let to = to.join(format!("{}.gz.enc", path.file_name().unwrap().to_str().unwrap()));
        let script = format!(
            "gzip -3 < {} | openssl enc -aes-256-cbc -pbkdf2 -pass file:{} -out {2} && sync {2} {3}",
            text(path),
            text(&root.join("key")),
            text(&to),
            text(to.parent().unwrap())
        );
        Command::new("sh").args(["-c", &script]).status().unwrap().success()
    });
    line("gzip -3 | openssl enc, sync", packed, copied);
    for (codec, ahead) in [("gzip", false), ("gzip", true), ("zstd", false), ("zstd", true)] {
        let name = format!("{codec}-{ahead}");
        let ours = ours(&cluster, &root, &segments, &name, codec, ahead);
        let what = if ahead { "archive-wal, the next ready" } else { "archive-wal, one by one" };
        line(&format!("{what}, {codec}"), ours.0, copied);
        println!("{:34}{:>12.2} of gzip -3 | openssl", "", ours.0 / packed);
        println!("{:34}{:>12.2} ms when it is there already", "", ours.1);
    }
}

fn line(what: &str, ms: f64, copied: f64) {
    println!("{what:34}{ms:>12.1}   {:.2} of cp, sync", ms / copied);
}

/// Milliseconds for each.
fn each(segments: &[PathBuf], act: impl Fn(&Path) -> bool) -> f64 {
    let begun = Instant::now();
    for segment in segments {
        assert!(act(segment), "{}", segment.display());
    }
    begun.elapsed().as_secs_f64() * 1000.0 / segments.len() as f64
}

/// Milliseconds a segment: all of them, and again when they are there.
fn ours(
    cluster: &Cluster,
    root: &Path,
    segments: &[PathBuf],
    name: &str,
    codec: &str,
    ahead: bool,
) -> (f64, f64) {
    let (file, shown) = (root.join(format!("{name}.toml")), root.display());
    let workers = if ahead { "" } else { "[clusters.archiving]\nworkers = 0\n" };
    let settings = format!(
        "state_directory = \"{shown}/state-{name}\"\n[[clusters]]\nname = \"bench\"\ntier = \"high\"\n\
         environment = \"bench\"\ndata_directory = \"{}\"\nrepositories = [\"{name}\"]\n\
         [clusters.connection]\nhost = \"{shown}\"\n[clusters.control]\ndriver = \"pg_ctl\"\n\
         {workers}[[repositories]]\nname = \"{name}\"\ncodec = \"{codec}\"\n[repositories.store]\n\
         kind = \"file\"\npath = \"{shown}/{name}\"\n[repositories.encryption]\n\
         cipher = \"aes-256-cbc\"\nmaster_key_file = \"{shown}/key\"\n",
        cluster.data.display()
    );
    fs::write(&file, settings).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&file).args(arguments).status().unwrap().success()
    };
    assert!(
        Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .arg("--config")
            .arg(&file)
            .arg("create-repository")
            .output()
            .unwrap()
            .status
            .success()
    );
    let status = segments[0].with_file_name("archive_status");
    let _ = fs::remove_dir_all(&status);
    if ahead {
        fs::create_dir(&status).unwrap();
        for segment in segments {
            let name = segment.file_name().unwrap().to_str().unwrap();
            fs::write(status.join(format!("{name}.ready")), "").unwrap();
        }
    }
    let first = each(segments, |path| {
        let done = run(&["archive-wal", &text(path)]);
        if ahead {
            // As the server does, which asks for each file once.
            let name = path.file_name().unwrap().to_str().unwrap();
            let ready = status.join(format!("{name}.ready"));
            fs::rename(ready, status.join(format!("{name}.done"))).unwrap();
        }
        done
    });
    (first, each(segments, |path| run(&["archive-wal", &text(path)])))
}
