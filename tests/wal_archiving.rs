//! A real server archives through `lifeboat archive-wal` into two repositories of which one is away
//! for a while; segments of other sizes; files pushed ahead; a call that is killed; and what
//! `check-wal-continuity` says of it all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod throwaway;

use lifeboat::engine::config::{self, Config};
use lifeboat::engine::explain::Explain;
use lifeboat::engine::repository::{PutWal, Repository};
use lifeboat::engine::wal::archive::{ArchiveError, Archived, archive_file};
use lifeboat::engine::wal::debts::{self, Limits};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use throwaway::{Cluster, text};

const KEY: &str = "the master key of this test";

/// A cluster that archives through the program into encrypted repositories.
struct Scene {
    cluster: Cluster,
    config: Config,
}

impl Scene {
    fn new(megabytes: u64, repositories: &[&str]) -> Self {
        let cluster = Cluster::start(megabytes);
        let root = cluster.root.path().to_owned();
        let at = |name: &str| text(&root.join(name));
        // The server's user may not be able to enter the folder that the tests are built in.
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied =
            Command::new("cp").arg(env!("CARGO_BIN_EXE_lifeboat")).arg(at("lifeboat")).status();
        assert!(copied.unwrap().success());
        let key = format!("umask 077; echo '{KEY}' > {}", at("master.key"));
        cluster.run("/bin/sh", &["-c", &key]);
        fs::write(at("lifeboat.toml"), settings(&cluster, &root, repositories)).unwrap();
        let scene =
            Self { config: config::load(Some(&root.join("lifeboat.toml"))).unwrap(), cluster };
        for name in repositories {
            scene.well(&["create-repository", "--repository", name]);
        }
        let command = format!("{} --config {} archive-wal %p", at("lifeboat"), at("lifeboat.toml"));
        let data = &scene.cluster.data;
        scene.cluster.configure(data, &format!("archive_command = '{command}'"));
        scene.cluster.configure(data, "archive_timeout = 60");
        scene.cluster.pg_ctl(data, &["reload"]);
        scene.cluster.sql("CREATE TABLE rows (n int)");
        scene
    }

    /// The program, as the server's user.
    fn well(&self, arguments: &[&str]) -> Output {
        let root = self.cluster.root.path();
        let file = text(&root.join("lifeboat.toml"));
        let all = [&["--config", &file], arguments].concat();
        self.cluster.run(&text(&root.join("lifeboat")), &all)
    }

    /// The program; its code and the JSON that it printed.
    fn asked(&self, arguments: &[&str]) -> (i32, Value) {
        let root = self.cluster.root.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(root.join("lifeboat.toml")).args(arguments).arg("--json");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap();
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}")))
    }

    fn write_segments(&self, count: u32) {
        for _ in 0..count {
            self.cluster.sql("INSERT INTO rows SELECT generate_series(1, 500)");
            self.cluster.sql("SELECT pg_switch_wal()");
        }
        let last = self.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)");
        let archived = || self.cluster.sql("SELECT last_archived_wal FROM pg_stat_archiver");
        let what = format!("{last} in the archive");
        self.cluster.wait_for(&what, || archived().trim() >= last.trim());
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::open(self.config.repository(name).unwrap(), "test").unwrap()
    }

    fn segments(&self, name: &str) -> Vec<String> {
        let listed = self.repository(name).list_wal(1, "", 10_000).unwrap();
        listed.into_iter().map(|object| object.name).collect()
    }

    /// Segments as plain files in a folder like `pg_wal`, ready to be archived.
    fn plain(&self, folder: &Path, names: &[String]) {
        fs::create_dir_all(folder.join("archive_status")).unwrap();
        let near = self.repository("near");
        for name in names {
            fs::write(folder.join(name), near.get_wal(name).unwrap().unwrap()).unwrap();
            fs::write(folder.join("archive_status").join(format!("{name}.ready")), "").unwrap();
        }
    }

    /// This configuration with another first repository, made anew, and with its own notes.
    fn elsewhere(&self, name: &str) -> Config {
        let root = self.cluster.root.path();
        let mut other = self.config.clone();
        other.state_directory = Some(root.join(format!("state of {name}")));
        other.clusters[0].repositories = vec![name.to_owned()];
        other.repositories.truncate(1);
        other.repositories[0].name = name.to_owned();
        let path = root.join(name);
        other.repositories[0].store = config::StoreConfig::File { path };
        Repository::create(&other.repositories[0], "test").unwrap();
        other
    }
}

fn settings(cluster: &Cluster, root: &Path, repositories: &[&str]) -> String {
    let (root, data, bin) = (root.display(), cluster.data.display(), cluster.bin.display());
    let mut text = format!(
        "state_directory = \"{root}/state\"\n[[clusters]]\nname = \"test\"\ntier = \"critical\"\n\
         environment = \"drill\"\ndata_directory = \"{data}\"\nrepositories = {repositories:?}\n\
         [clusters.connection]\nhost = \"{root}\"\n[clusters.control]\ndriver = \"pg_ctl\"\n\
         bin_directory = \"{bin}\"\n"
    );
    for name in repositories {
        text.push_str(&format!(
            "[[repositories]]\nname = \"{name}\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{root}/{name}\"\n[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/master.key\"\n"
        ));
    }
    text
}

fn archive(config: &Config, path: &Path) -> Result<Archived, ArchiveError> {
    archive_file(config, &config.clusters[0], path)
}

#[test]
fn a_repository_that_is_away_owes_what_it_missed_and_catches_up() {
    let scene = Scene::new(1, &["near", "far"]);
    let root = scene.cluster.root.path().to_owned();
    scene.well(&["backup", "--repository", "near"]);
    scene.write_segments(2);
    let from = scene.cluster.sql("SELECT clock_timestamp()").trim().to_owned();
    scene.write_segments(1);
    let lost = scene.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())").trim().to_owned();

    fs::rename(root.join("far"), root.join("away")).unwrap();
    scene.write_segments(4);
    let to = scene.cluster.sql("SELECT clock_timestamp()").trim().to_owned();
    scene.write_segments(2);
    let failed = scene.cluster.sql("SELECT failed_count FROM pg_stat_archiver");
    assert_eq!(failed.trim(), "0", "{}", scene.cluster.log());
    let (code, pages) = scene.asked(&["status"]);
    assert_eq!(code, 12, "{pages}");
    let owed = &pages[0]["debts"]["owed"][0];
    assert_eq!((&owed["repository"], owed["files"].as_u64()), (&Value::from("far"), Some(6)));
    assert_eq!(pages[0]["archiving"]["archive_timeout"], 60);

    // It is back: a later call pays a few, catching up pays the rest, and both hold the same.
    fs::rename(root.join("away"), root.join("far")).unwrap();
    let mut later = scene.config.clone();
    later.state_directory = Some(root.join("state of another day"));
    scene.plain(&root.join("again"), std::slice::from_ref(&lost));
    let archived = archive(&later, &root.join("again").join(&lost)).unwrap();
    assert_eq!((archived.paid.len(), archived.owed.len()), (4, 0), "{archived:?}");
    let limits = Limits::all(2);
    let paid = debts::pay(&scene.config, &scene.config.clusters[0], limits, &|| false);
    assert!(!paid.left && paid.failed.is_empty(), "{paid:?}");
    assert!(debts::owed(&scene.config, &scene.config.clusters[0]).owed.is_empty());
    let names = scene.segments("near");
    assert!(names.len() >= 9 && names == scene.segments("far"));
    let (near, far) = (scene.repository("near"), scene.repository("far"));
    for name in &names {
        assert!(near.get_wal(name).unwrap().is_some());
        assert!(near.get_wal(name).unwrap() == far.get_wal(name).unwrap(), "{name}");
    }

    // One of them holds another content: refused, again and again, whatever the other says.
    let history = root.join("00000007.history");
    far.put_wal("00000007.history", b"1\t0/3000000\tanother server\n").unwrap();
    fs::write(&history, "1\t0/4000000\tthis server\n").unwrap();
    for _ in 0..2 {
        let refused = archive(&later, &history).unwrap_err();
        assert!(refused.explanation().what.contains("another content"), "{refused}");
    }

    // None is up: PostgreSQL must keep the file.
    for name in ["near", "far"] {
        fs::rename(root.join(name), root.join(format!("{name} away"))).unwrap();
    }
    let refused = archive(&later, &root.join("again").join(&lost)).unwrap_err();
    assert!((1..=125).contains(&refused.exit_code()), "{refused}");
    for name in ["near", "far"] {
        fs::rename(root.join(format!("{name} away")), root.join(name)).unwrap();
    }

    continuity(&scene, &from, &to, &lost);
    a_key_that_is_gone_stops_its_repository_alone(&scene);
    a_history_of_another_server_is_refused(&scene);
}

fn a_key_that_is_gone_stops_its_repository_alone(scene: &Scene) {
    let root = scene.cluster.root.path();
    let text_of = fs::read_to_string(root.join("lifeboat.toml")).unwrap();
    let (before, after) = text_of.rsplit_once("master.key").unwrap();
    fs::write(root.join("keyless.toml"), format!("{before}gone.key{after}")).unwrap();
    let call = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(root.join("keyless.toml")).args(arguments);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let name = "00000009.history";
    fs::write(root.join(name), "1\t0/4000000\tthis server\n").unwrap();
    let (code, said) = call(&["archive-wal", &text(&root.join(name))]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("not in far") && said.contains("gone.key"), "{said}");
    assert!(scene.repository("near").get_wal(name).unwrap().is_some());
    let ledger = debts::owed(&scene.config, &scene.config.clusters[0]);
    assert_eq!((ledger.owed[0].repository.as_str(), ledger.owed[0].first.as_str()), ("far", name));
    let (code, said) = call(&["restore-wal", name, &text(&root.join("fetched"))]);
    assert_eq!(code, 0, "{said}");
    // Whoever does more than that is told at once.
    let (code, said) = call(&["status"]);
    assert!(code != 0 && said.contains("gone.key"), "{said}");
}

fn a_history_of_another_server_is_refused(scene: &Scene) {
    let other = scene.cluster.root.path().join("other");
    let initdb = text(&scene.cluster.bin.join("initdb"));
    scene.cluster.run(&initdb, &["-D", &text(&other), "-A", "trust", "--no-sync"]);
    let history = other.join("pg_wal/0000000A.history");
    fs::write(&history, "1\t0/4000000\tanother server\n").unwrap();
    let refused = archive(&scene.config, &history).unwrap_err();
    assert!(matches!(refused, ArchiveError::OtherCluster { .. }), "{refused}");
    assert!(scene.repository("near").find_wal("0000000A.history").unwrap().is_empty());
}

fn continuity(scene: &Scene, from: &str, to: &str, lost: &str) {
    let ask = |from: &str, to: &str| {
        scene.asked(&["check-wal-continuity", "--repository", "near", "--from", from, "--to", to])
    };
    let (code, answer) = ask(from, to);
    assert_eq!((code, &answer["whole"]), (0, &Value::Bool(true)), "{answer:#}");
    let start = answer["from_lsn"].as_str().unwrap().to_owned();
    let end = answer["to_lsn"].as_str().unwrap().to_owned();
    assert_eq!(ask(&start, &end).0, 0, "the same by LSN");
    assert_eq!(ask("2001-01-01 00:00:00", to).0, 5, "before the first backup");
    let (code, answer) = ask(from, "now");
    assert_eq!((code, &answer["to_lsn"]), (5, &Value::Null), "nothing is later than now");
    assert_eq!(ask(&start, "FF/0").0, 5);

    let object = scene.repository("near").find_wal(lost).unwrap().remove(0).key;
    let object = scene.cluster.root.path().join("near").join(object);
    let aside = object.with_extension("aside");
    fs::rename(&object, &aside).unwrap();
    let (code, answer) = ask(from, to);
    assert_eq!((code, &answer["gaps"][0]["first"]), (5, &Value::from(lost)), "{answer:#}");
    assert!(answer["gaps"][0]["before"].is_string(), "{answer:#}");
    assert!(!answer["advice"].as_array().unwrap().is_empty());
    fs::rename(&aside, &object).unwrap();
    assert_eq!(ask(from, to).0, 0);

    // The backup's own range.
    let (_, sets) = scene.asked(&["list-backups", "--repository", "near"]);
    let started: lifeboat::engine::postgres::Lsn =
        sets["backups"][0]["start_lsn"].as_str().unwrap().parse().unwrap();
    let first = lifeboat::engine::wal::Segment::holding(1, started, 1 << 20).name(1 << 20);
    let object = scene.repository("near").find_wal(&first).unwrap().remove(0).key;
    let object = scene.cluster.root.path().join("near").join(object);
    let aside = object.with_extension("aside");
    fs::rename(&object, &aside).unwrap();
    let (code, answer) = ask(from, to);
    assert_eq!((code, &answer["bases"][0]["serves"]), (5, &Value::Bool(false)), "{answer:#}");
    fs::rename(&aside, &object).unwrap();

    // A repository that cannot be asked says nothing about its WAL.
    let root = scene.cluster.root.path();
    fs::rename(root.join("near"), root.join("unmounted")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--config").arg(root.join("lifeboat.toml"));
    // Without its name, the first that answers would be asked.
    command.args(["check-wal-continuity", "--repository", "near", "--from", from, "--to", to]);
    assert_eq!(command.output().unwrap().status.code(), Some(7));
    fs::rename(root.join("unmounted"), root.join("near")).unwrap();
}

#[test]
fn the_next_segments_are_pushed_ahead_and_a_killed_call_is_done_again() {
    let scene = Scene::new(1, &["near"]);
    scene.write_segments(9);
    let root = scene.cluster.root.path().to_owned();
    let names = scene.segments("near");
    let names = &names[names.len() - 8..];
    let folder = root.join("ahead");
    scene.plain(&folder, names);
    let mut other = scene.elsewhere("other");
    other.clusters[0].archiving.workers = Some(2);

    let first = archive(&other, &folder.join(&names[0])).unwrap();
    assert_eq!(first.repositories, [("other".to_owned(), PutWal::Stored)]);
    assert_eq!(first.ahead, names[1..]);
    let second = archive(&other, &folder.join(&names[1])).unwrap();
    assert_eq!(second.repositories, [("other".to_owned(), PutWal::AlreadyThere)]);
    assert!(second.ahead.is_empty());
    // What was pushed ahead and is gone is stored again; another content is refused.
    let repository = Repository::open(&other.repositories[0], "test").unwrap();
    let gone = repository.find_wal(&names[2]).unwrap().remove(0).key;
    fs::remove_file(root.join("other").join(gone)).unwrap();
    let third = archive(&other, &folder.join(&names[2])).unwrap();
    assert_eq!(third.repositories, [("other".to_owned(), PutWal::Stored)]);
    let mut content = fs::read(folder.join(&names[3])).unwrap();
    content[100_000] ^= 1;
    fs::write(folder.join(&names[3]), &content).unwrap();
    let refused = archive(&other, &folder.join(&names[3])).unwrap_err();
    assert!(matches!(refused, ArchiveError::Repositories { .. }), "{refused}");
    let history = root.join("00000002.history");
    for (text, good) in
        [("1\t0/3000000\tx\n", true), ("1\t0/3000000\tx\n", true), ("1\t0/4\ty\n", false)]
    {
        fs::write(&history, text).unwrap();
        assert_eq!(archive(&other, &history).is_ok(), good);
    }

    // Killed anywhere, and called again.
    let third = scene.elsewhere("third");
    let file = root.join("third.toml");
    let whole = settings(&scene.cluster, &root, &["third"]).replace("/state\"", "/state 3\"");
    fs::write(&file, whole).unwrap();
    for (round, name) in (0_u32..).zip(names.iter().filter(|name| **name != names[3])) {
        let path = scene.cluster.root.path().join("killed").join(name);
        scene.plain(path.parent().unwrap(), std::slice::from_ref(name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&file).arg("archive-wal").arg(&path);
        let mut killed = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(u64::from(round) * 9));
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert_eq!(command.status().unwrap().code(), Some(0), "round {round}");
        let repository = Repository::open(&third.repositories[0], "test").unwrap();
        assert_eq!(repository.find_wal(name).unwrap().len(), 1);
        assert!(repository.get_wal(name).unwrap().unwrap() == fs::read(&path).unwrap());
    }
}

#[test]
fn segments_of_64_megabytes_and_labels_of_backups_are_archived() {
    let scene = Scene::new(64, &["near"]);
    scene.well(&["backup"]);
    scene.write_segments(2);
    let near = scene.repository("near");
    let names = scene.segments("near");
    assert!(names.len() >= 3, "{names:?}");
    let content = near.get_wal(&names[1]).unwrap().unwrap();
    assert_eq!(content.len(), 64 << 20);
    let label = fs::read_dir(scene.cluster.data.join("pg_wal"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.ends_with(".backup"))
        .unwrap();
    assert_eq!(near.find_wal(&label).unwrap().len(), 1);
    // A segment that was cut at a promotion keeps its own name, and is asked for by that alone.
    let partial: PathBuf = scene.cluster.root.path().join(format!("{}.partial", names[1]));
    fs::write(&partial, &content).unwrap();
    archive(&scene.config, &partial).unwrap();
    assert_eq!(scene.segments("near"), names);
    let failed = scene.cluster.sql("SELECT failed_count FROM pg_stat_archiver");
    assert_eq!(failed.trim(), "0", "{}", scene.cluster.log());
}
