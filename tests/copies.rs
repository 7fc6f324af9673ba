//! Several repositories of one cluster: a backup in all of them, one that was down and caught up,
//! restores that go on from another copy, and what the program says of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod support;

use lifeboat::engine::backup;
use lifeboat::engine::config::{Config, RepositoryConfig, load};
use lifeboat::engine::copies::{self, State};
use lifeboat::engine::explain::{Explain, Kind};
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::postgres::control_file;
use lifeboat::engine::recovery_point::{
    Archive, ClosedArchive, ClusterFacts, Inputs, Landscape, RepositoryArchive,
};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::manifest::Record;
use lifeboat::engine::repository::scan::OpenSet;
use lifeboat::engine::repository::store::{
    ObjectInfo, ObjectWriter, Store, StoreError, StoreFault,
};
use lifeboat::engine::repository::verify::verify_base;
use lifeboat::engine::restore::base::{self, Options};
use lifeboat::engine::runner::protocol::Progress;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{TestCluster, wait_for};

const NAMES: [&str; 3] = ["near", "far", "third"];

fn quiet(_: Progress) {}

fn never() -> bool {
    false
}

/// A configuration with one cluster and a repository, with a master key of its own, for each name.
fn write_config(root: &Path, cluster: &str) -> PathBuf {
    let mut text = format!("state_directory = \"{}\"\n{cluster}", root.join("state").display());
    for name in NAMES {
        let key = root.join(format!("{name}.key"));
        fs::write(&key, format!("the master key of {name}, and of no other\n")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        text.push_str(&format!(
            "[[repositories]]\nname = \"{name}\"\nworkers = 2\n\
             [repositories.store]\nkind = \"file\"\npath = \"{}\"\n\
             [repositories.encryption]\ncipher = \"aes-256-cbc\"\nmaster_key_file = \"{}\"\n",
            root.join(name).display(),
            key.display()
        ));
    }
    let path = root.join("lifeboat.toml");
    fs::write(&path, text).unwrap();
    path
}

fn cluster_text(data: &Path, host: &str, port: u16) -> String {
    format!(
        "[[clusters]]\nname = \"test\"\ntier = \"high\"\nenvironment = \"production\"\n\
         data_directory = \"{}\"\nrepositories = [\"near\", \"far\", \"third\"]\n\
         [clusters.connection]\nhost = \"{host}\"\nport = {port}\n\
         [clusters.control]\ndriver = \"pg_ctl\"\n",
        data.display()
    )
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--config").arg(config).args(arguments).output().unwrap()
}

/// Ends with that code; the JSON on standard output.
#[track_caller]
fn json(config: &Path, code: i32, arguments: &[&str]) -> Value {
    let output = run(config, &[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {said}"))
}

/// A running cluster whose WAL a thread puts into the first repository that takes it.
struct Scene {
    cluster: TestCluster,
    path: PathBuf,
    config: Config,
    feeding: Arc<AtomicBool>,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    fn new() -> Self {
        let cluster = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let root = cluster.root.path().to_owned();
        let spool = root.join("spool");
        cluster.make_folder(&spool, 0o755);
        let to = spool.display();
        cluster.append_conf(&[&format!(
            "archive_command = 'cp %p {to}/%f.part && mv {to}/%f.part {to}/%f'"
        )]);
        cluster.start_server();
        let host = cluster.socket.display().to_string();
        let path = write_config(&root, &cluster_text(&cluster.data, &host, cluster.port));
        let config = load(Some(&path)).unwrap();
        let made = json(&path, 0, &["create-repository"]);
        assert_eq!(made["repositories"].as_array().unwrap().len(), 3);
        // What root writes into a folder that was given to the server's user is given to it, too.
        let owner = format!("{}:{}", cluster.owner.uid, cluster.owner.gid);
        let folders = NAMES.map(|name| root.join(name));
        let given = Command::new("chown").arg("-R").arg(&owner).args(&folders).status().unwrap();
        assert!(given.success());
        let [near, far] =
            [0, 1].map(|at| Repository::open(&config.repositories[at], "test").unwrap());
        let feeding = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&feeding);
        let feeder = std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&spool).unwrap().flatten() {
                    let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                    if name.ends_with(".part") {
                        continue;
                    }
                    let content = fs::read(&path).unwrap();
                    let stored =
                        near.put_wal(&name, &content).or_else(|_| far.put_wal(&name, &content));
                    if stored.is_ok() {
                        fs::remove_file(&path).unwrap();
                    }
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { cluster, path, config, feeding, feeder: Some(feeder) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    fn settings(&self, name: &str) -> &RepositoryConfig {
        self.config.repository(name).unwrap()
    }

    fn open(&self, name: &str) -> Repository {
        Repository::open(self.settings(name), "test").unwrap()
    }

    /// Its volume is gone while `act` runs.
    fn without<T>(&self, name: &str, act: impl FnOnce() -> T) -> T {
        let (here, gone) = (self.at(name), self.at(&format!("{name}.gone")));
        fs::rename(&here, &gone).unwrap();
        let done = act();
        fs::rename(&gone, &here).unwrap();
        done
    }

    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        json(&self.path, code, arguments)
    }

    /// The object with the tar stream.
    fn data(&self, repository: &str, set: &str) -> PathBuf {
        let stem = set.replace("set-", "base-");
        self.at(repository).join(format!("{stem}.tar.gz.enc"))
    }

    fn verify_backup(&self, data: &Path) {
        self.cluster.run("pg_verifybackup", &["-n", "-q", &data.display().to_string()], &[]);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.feeding.store(false, Ordering::Relaxed);
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
    }
}

/// A store that answers so many ranged reads, and then no more.
#[derive(Debug)]
struct Vanishing {
    inner: Arc<dyn Store>,
    left: AtomicU32,
}

impl Vanishing {
    fn answer(&self, costs: bool) -> Result<&dyn Store, StoreError> {
        let spend = |left: u32| left.checked_sub(u32::from(costs)).filter(|_| left > 0);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(_) => Ok(self.inner.as_ref()),
            Err(_) => Err(StoreError::new(StoreFault::Unavailable, "the volume is gone")),
        }
    }
}

impl Store for Vanishing {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.answer(false)?.read(key)
    }
    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.answer(key.contains(".tar."))?.read_range(key, offset, buffer)
    }
    fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.answer(false)?.size(key)
    }
    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.answer(false)?.list(folder, prefix)
    }
    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.answer(false)?.folders(folder)
    }
    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.answer(false)?.create(key)
    }
    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.answer(false)?.remove(key)
    }
}

#[test]
fn a_cluster_with_three_repositories() {
    let scene = Scene::new();
    scene.cluster.sql(
        "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS code FROM \
         generate_series(1, 60000) AS g",
    );
    let set = backed_up_while_one_is_down(&scene);
    caught_up(&scene, &set);
    policy_is_told(&scene, &set);
    one_base_in_the_survey(&scene, &set);
    restored_from_what_is_left(&scene, &set);
    promoted_while_one_is_away(&scene, &set);
    wal_from_whoever_has_it(&scene, &set);
    begun_anew_where_the_first_fails(&scene);
}

fn backed_up_while_one_is_down(scene: &Scene) -> String {
    let taken = scene.without("far", || {
        let taken = scene.json(13, &["backup"]);
        let debts = scene.json(13, &["catch-up", "--dry-run"]);
        let unasked = &debts["clusters"][0]["unasked"][0];
        assert_eq!(unasked["repository"], "far", "{debts}");
        assert_eq!(unasked["may_owe"].as_array().unwrap().len(), 1);
        let set = taken["backup"]["set"].as_str().unwrap();
        let held = scene.json(7, &["hold", "add", set, "--name", "case 7"]);
        assert_eq!(held["repositories"], serde_json::json!(["near", "third"]), "{held}");
        let listed = scene.json(7, &["hold", "list"]);
        assert_eq!(listed["holds"].as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(listed["faults"][0]["repository"], "far", "{listed}");
        taken
    });
    let states: Vec<&str> = taken["repositories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["taken", "owed", "copied"], "{taken}");
    taken["backup"]["set"].as_str().unwrap().to_owned()
}

/// Its volume goes away while it is written: the backup is begun anew in the next, and the first
/// owes it.
fn begun_anew_where_the_first_fails(scene: &Scene) {
    let (here, gone) = (scene.at("near"), scene.at("near.gone"));
    let away = AtomicBool::new(false);
    let progress = |progress: Progress| {
        if progress.done > 0 && !away.swap(true, Ordering::SeqCst) {
            fs::rename(&here, &gone).unwrap();
        }
    };
    let options = backup::Options::default();
    let cluster = &scene.config.clusters[0];
    let spread = copies::back_up(&scene.config, cluster, &options, &progress, &never).unwrap();
    fs::rename(&gone, &here).unwrap();
    assert!(away.load(Ordering::SeqCst));
    let set = &spread.backup.descriptor.set;
    assert_eq!(spread.repository.name, "far");
    let [near, far, third] = &spread.outcomes[..] else { panic!("{:?}", spread.outcomes) };
    let State::Owed { why } = &near.state else { panic!("{near:?}") };
    assert!(why.what.contains("near"), "{why}");
    assert_eq!(far.state, State::Taken);
    assert!(matches!(third.state, State::Copied(_)), "{third:?}");
    let paid = scene.json(0, &["catch-up"]);
    assert_eq!(paid["clusters"][0]["paid"][0]["set"], set.as_str(), "{paid}");
    let checks = verify_base(&scene.open("near"), set, &quiet, &never);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Verified), "{checks:#?}");
}

fn caught_up(scene: &Scene, set: &str) {
    let owed = scene.json(13, &["catch-up", "--dry-run"]);
    let debt = &owed["clusters"][0]["owed"][0];
    assert_eq!((&debt["repository"], &debt["set"]), (&"far".into(), &set.into()), "{owed}");
    // As after a copy that was cut off before its descriptor was written.
    fs::remove_file(scene.at("third").join(format!("{set}.json"))).unwrap();
    let paid = scene.json(0, &["catch-up"]);
    let paid = paid["clusters"][0]["paid"].as_array().unwrap();
    assert_eq!(paid.len(), 2, "{paid:?}");
    let to = |name: &str| paid.iter().find(|one| one["to"] == name).unwrap();
    assert_eq!((&to("far")["kept"], &to("third")["kept"]), (&0.into(), &2.into()));
    let held = scene.json(0, &["hold", "list"]);
    assert_eq!(held["holds"].as_array().unwrap().len(), 3, "the copy is held too: {held}");
    let released = scene.json(0, &["hold", "release", "--name", "case 7"]);
    assert_eq!(released["released"].as_array().unwrap().len(), 3);
    let again = scene.json(0, &["catch-up"]);
    assert!(again["clusters"][0]["paid"].as_array().unwrap().is_empty());

    let descriptor = scene.open("near").read_set(set).unwrap();
    let key = format!("keys/{}.json", descriptor.key_id.clone().unwrap());
    for name in NAMES {
        for object in &descriptor.objects {
            let bytes = |name: &str| fs::read(scene.at(name).join(&object.name)).unwrap();
            assert!(bytes(name) == bytes("near"), "{} in {name}", object.name);
        }
        // Opened with its own master key alone.
        assert_eq!(scene.open(name).read_set(set).unwrap(), descriptor);
    }
    // Its own WAL came with it: a copy can be used alone.
    let checks = verify_base(&scene.open("third"), set, &quiet, &never);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Verified), "{checks:#?}");
    let wrapped = |name: &str| fs::read_to_string(scene.at(name).join(&key)).unwrap();
    assert_ne!(wrapped("near"), wrapped("far"));

    // An object of another content in the way is never overwritten.
    let path = scene.at("third").join(format!("{set}.json"));
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    flip(&scene.data("third", set), 1000);
    let refused = scene.json(13, &["catch-up"]);
    assert_eq!(refused["clusters"][0]["owed"][0]["why"]["kind"], "refused", "{refused}");
    assert!(!path.exists());
    flip(&scene.data("third", set), 1000);
    fs::write(&path, kept).unwrap();
    mended(scene, set);
}

/// A set that is published and damaged in one repository, and whole in others: what is damaged is
/// named and left; once a person has moved it away, it is copied anew and verified.
fn mended(scene: &Scene, set: &str) {
    let damaged = scene.data("third", set);
    flip(&damaged, 1000);
    let verify = ["verify", "--repository", "third", "--backup-set-id", set, "--full"];
    assert_eq!(scene.json(4, &verify)["verdict"], "FAILED");
    let owed = scene.json(13, &["catch-up", "--dry-run"]);
    assert_eq!(owed["clusters"][0]["owed"][0]["repository"], "third", "{owed}");
    let before = fs::read(&damaged).unwrap();
    let refused = scene.json(13, &["catch-up"]);
    let why = &refused["clusters"][0]["owed"][0]["why"];
    assert_eq!(why["kind"], "integrity", "{refused}");
    assert!(why["next"].as_str().unwrap().contains("Move that object out of \"third\""), "{why}");
    assert!(fs::read(&damaged).unwrap() == before, "nothing was overwritten");

    fs::rename(&damaged, scene.at("moved-away")).unwrap();
    let paid = scene.json(0, &["catch-up"]);
    let one = &paid["clusters"][0]["paid"][0];
    assert_eq!((&one["to"], &one["kept"]), (&"third".into(), &1.into()), "{paid}");
    assert!(one["notes"].to_string().contains("VERIFIED"), "{paid}");
    assert!(fs::read(&damaged).unwrap() == fs::read(scene.data("near", set)).unwrap());
    // The record says so, and nothing is left to do.
    assert_eq!(scene.json(0, &verify[..5])["verdict"], "VERIFIED");
    let again = scene.json(0, &["catch-up"]);
    assert!(again["clusters"][0]["paid"].as_array().unwrap().is_empty(), "{again}");
}

fn policy_is_told(scene: &Scene, set: &str) {
    let standing = |page: &Value, id: &str| {
        let rules = page["clusters"][0]["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["id"] == id).unwrap();
        rule["standing"].as_str().unwrap().to_owned()
    };
    let page = scene.json(12, &["policy"]);
    assert_eq!(page["clusters"][0]["set"], set);
    // All lie on the live data's own volume: none of them is a copy that counts.
    assert_eq!(standing(&page, "copies"), "DOES NOT HOLD", "{page}");
    let shared = page["clusters"][0]["shared"].as_array().unwrap();
    let volume = shared.iter().find(|one| one["domain"] == "volume").unwrap();
    assert_eq!(volume["members"].as_array().unwrap().len(), 4, "{volume}");
    assert_eq!(standing(&page, "errors"), "NOT RUN");
    assert!(page["clusters"][0]["repositories"][1]["verified"].is_null());
    scene.json(0, &["verify", "--repository", "far"]);
    let page = scene.json(12, &["policy"]);
    assert!(page["clusters"][0]["repositories"][1]["verified"].is_string(), "{page}");
}

fn one_base_in_the_survey(scene: &Scene, set: &str) {
    let control = control_file::read(&scene.cluster.data).unwrap();
    let archive = |name: &str| -> Arc<dyn Archive> {
        Arc::new(RepositoryArchive::new(Arc::new(scene.open(name))))
    };
    let build = |archives: Vec<Arc<dyn Archive>>| {
        let inputs = Inputs {
            live: None,
            most_commits: None,
            symptom: Default::default(),
            archives,
            cluster: ClusterFacts::from_control(&control, scene.cluster.data.clone()),
            rescue: None,
            detected: None,
            last_known_good: None,
            state_directory: scene.at("state"),
        };
        Landscape::build(inputs, &|_| {}, &|| false).unwrap().survey()
    };
    let survey = build(NAMES.iter().map(|name| archive(name)).collect());
    assert_eq!(survey.bases.len(), 1, "{:?}", survey.bases);
    assert_eq!((survey.bases[0].set.as_str(), survey.bases[0].repository.as_str()), (set, "near"));
    let why = lifeboat::engine::explain::Explanation::new(Kind::Storage, "Not mounted.", "", "");
    let closed: Arc<dyn Archive> = Arc::new(ClosedArchive::new("near", why));
    let survey = build(vec![closed, archive("far"), archive("third")]);
    assert_eq!(survey.bases[0].repository, "far");
    assert!(
        survey.warnings.iter().any(|text| text.contains("Not mounted")),
        "{:?}",
        survey.warnings
    );
}

fn restored_from_what_is_left(scene: &Scene, set: &str) {
    let (near, far, mut third) = (scene.open("near"), scene.open("far"), scene.open("third"));
    let opened = OpenSet::open(&near, set).unwrap();
    let mut manifest = opened.manifest().unwrap();
    let mut members = Vec::new();
    while let Some(record) = manifest.next_record().unwrap() {
        if let Record::Member(member) = record {
            members.push(member);
        }
    }
    // "third" vanishes in the middle, and "near" has a wrong bit after that.
    let bad = &members[members.len() - 2];
    let at = bad.offset + bad.length / 2;
    flip(&scene.data("near", set), at);
    third.store = Arc::new(Vanishing {
        inner: Arc::clone(&third.store),
        left: AtomicU32::new(u32::try_from(members.len() / 2).unwrap()),
    });
    let heard = Mutex::new(Vec::new());
    let told = |text: &str| heard.lock().unwrap().push(text.to_owned());
    let to = scene.at("restored");
    let owner = Some((scene.cluster.owner.uid, scene.cluster.owner.gid));
    let options = Options { owner, told: Some(&told), ..Options::new("restore", &quiet, &never) };
    let summary = base::restore_from(&[&third, &near, &far], set, &to, &options).unwrap();
    scene.verify_backup(&to);
    let heard = heard.into_inner().unwrap();
    assert_eq!(summary.notes, heard);
    let says = |words: &[&str]| heard.iter().any(|text| words.iter().all(|w| text.contains(w)));
    assert!(says(&["\"third\"", "gone", "went on from the copy in \"near\""]), "{heard:?}");
    assert!(says(&["\"third\" is left aside"]), "{heard:?}");
    assert!(says(&["\"near\"", "tag does not fit", "in \"far\""]), "{heard:?}");

    // Where no copy has it, nothing is made up, and nothing can be started.
    flip(&scene.data("far", set), at);
    let to = scene.at("refused");
    let options = Options { owner, ..Options::new("restore", &quiet, &never) };
    let refused = base::restore_from(&[&near, &far], set, &to, &options).unwrap_err();
    assert_eq!(refused.explanation().kind, Kind::Integrity, "{refused}");
    assert!(!to.join("global/pg_control").exists());
    flip(&scene.data("far", set), at);

    // The command takes what is left by itself: "near" is damaged, "far" is down.
    let to = scene.at("commanded");
    let directory = to.display().to_string();
    let done = scene.without("far", || {
        let arguments = ["restore", "--set", set, "--target-directory", &directory];
        let command = [&arguments[..], &["--lsn", "FFFF/0"]].concat();
        // Nothing of that log exists yet: only whoever insists gets the files.
        assert_eq!(run(&scene.path, &command).status.code(), Some(5));
        assert!(!to.exists());
        scene.json(0, &[&command[..], &["--unproven"]].concat())
    });
    assert_eq!(done["copies"].as_array().unwrap().len(), 2, "{done}");
    let notes = done["notes"].to_string();
    assert!(notes.contains("far") && notes.contains("NOT PROVEN"), "{notes}");
    assert_eq!(done["proven"], false);
    let settings = to.join("postgresql.auto.conf");
    assert!(fs::read_to_string(settings).unwrap().contains("restore-wal"));
    flip(&scene.data("near", set), at);
}

/// A server asks for a history that does not exist when it is promoted. One repository that cannot
/// be asked must not keep it from that.
fn promoted_while_one_is_away(scene: &Scene, set: &str) {
    let cluster = &scene.cluster;
    cluster.sql("SELECT pg_create_restore_point('before_the_fault')");
    // What is written lags behind what was inserted, and may end at the segment before.
    let last = cluster.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    cluster.sql("DELETE FROM orders");
    cluster.sql("SELECT pg_switch_wal()");
    let near = scene.open("near");
    wait_for("the segment with the target", || near.get_wal(&last).is_ok_and(|w| w.is_some()));
    let to = scene.at("promoted");
    let directory = to.display().to_string();
    // What the server's own user must read.
    let owner = format!("{}:{}", cluster.owner.uid, cluster.owner.gid);
    let mut give = Command::new("chown");
    give.arg(&owner).args(NAMES.map(|name| scene.at(&format!("{name}.key"))));
    assert!(give.status().unwrap().success());
    scene.without("far", || {
        let arguments = ["restore", "--set", set, "--target-directory", &directory];
        let done = scene.json(0, &[&arguments[..], &["--name", "before_the_fault"]].concat());
        let notes = done["notes"].to_string();
        assert!(notes.contains("WAL is not fetched from \\\"far\\\""), "{notes}");
        let port = support::free_port().to_string();
        let options = format!("-p {port} -c archive_mode=off");
        let log = scene.at("promoted.log").display().to_string();
        let start = ["start", "-s", "-w", "-t", "60", "-D", &directory, "-l", &log, "-o", &options];
        let told = || fs::read_to_string(&log).unwrap_or_default();
        let started = cluster.try_run("pg_ctl", &start);
        assert!(started.ok(), "{}\n{}", started.said(), told());
        let socket = cluster.socket.display().to_string();
        let ask = |sql: &str| {
            let at = ["-h", &socket, "-p", &port, "-U", "postgres", "-XAtq", "-c", sql];
            let asked = cluster.try_run("psql", &at);
            assert!(asked.ok(), "{}\n{}", asked.said(), told());
            asked.stdout.trim().to_owned()
        };
        wait_for("the target", || ask("SELECT pg_get_wal_replay_pause_state()") == "paused");
        let promoted = ask("SELECT pg_promote(true, 30)");
        let state = (promoted.as_str(), ask("SELECT count(*) FROM orders"));
        assert_eq!(state, ("t", String::from("60000")), "{}", told());
        cluster.run("pg_ctl", &["stop", "-s", "-D", &directory, "-m", "immediate"], &[]);
    });
}

fn wal_from_whoever_has_it(scene: &Scene, set: &str) {
    let descriptor = scene.open("near").read_set(set).unwrap();
    let segment = scene.open("far").list_wal(1, "", 1).unwrap().remove(0);
    assert!(descriptor.segment_size > 0);
    let to = scene.at("fetched");
    let fetch = |name: &str| {
        let _ = fs::remove_file(&to);
        let output = run(&scene.path, &["restore-wal", name, to.to_str().unwrap()]);
        assert_eq!(output.status.code() == Some(0), to.exists());
        output.status.code().unwrap()
    };
    let absent = "0000000100000000000000FF";
    assert_eq!((fetch(&segment.name), fetch(absent)), (0, 1));
    scene.without("near", || {
        assert_eq!(fetch(&segment.name), 0, "the next has it");
        assert_eq!(fetch(absent), 200, "one could not be asked");
    });
    // A damaged object, and one that is another segment under that name.
    let near = scene.open("near");
    let object = scene.at("near").join(&near.list_wal(1, &segment.name, 1).unwrap()[0].key);
    flip(&object, 100);
    assert_eq!(fetch(&segment.name), 0, "the next has it whole");
    fs::remove_file(&object).unwrap();
    near.put_wal(&segment.name, &vec![7; usize::try_from(descriptor.segment_size).unwrap()])
        .unwrap();
    assert_eq!(fetch(&segment.name), 0, "the next has the right one");
    scene.without("far", || {
        scene.without("third", || {
            assert_eq!(fetch(&segment.name), 200, "a wrong file proves nothing");
        })
    });
    wait_for("nothing to be left in the spool", || {
        fs::read_dir(scene.at("spool")).unwrap().next().is_none()
    });
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[test]
fn recoveries_are_recorded_in_the_runbooks_words() {
    let root = tempfile::tempdir().unwrap();
    let config = write_config(root.path(), &cluster_text(&root.path().join("data"), "/tmp", 5432));
    let words = ["record-recovery", "--success=true", "--rpo-minutes=5", "--rto-minutes=15"];
    let line = json(&config, 0, &words);
    assert_eq!((&line["rpo_met"], &line["rto_met"]), (&true.into(), &true.into()), "{line}");
    let more = ["--rpo-minutes", "5.5", "--rto-minutes", "3", "--note", "the second drill"];
    json(&config, 0, &[&["record-recovery", "--success"], &more[..]].concat());
    let all = json(&config, 0, &["record-recovery", "--list"]);
    let all = all["recoveries"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[1]["rpo_met"], &all[1]["rto_met"]), (&false.into(), &true.into()));
    assert_eq!(run(&config, &["record-recovery", "--success=true"]).status.code(), Some(2));
    assert_eq!(
        run(&config, &[&words[..2], &["--rpo-minutes=-1", "--rto-minutes=1"]].concat())
            .status
            .code(),
        Some(2)
    );
    // A line that was changed afterwards is seen, and nothing is added to it.
    let path = root.path().join("state/recoveries.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"rto_seconds\":900", "\"rto_seconds\":9", 1)).unwrap();
    assert_eq!(run(&config, &["record-recovery", "--list"]).status.code(), Some(4));
    assert_eq!(run(&config, &words).status.code(), Some(4));
}

#[test]
fn encrypted_and_plain_repositories_do_not_mix() {
    let root = tempfile::tempdir().unwrap();
    let path = write_config(root.path(), &cluster_text(&root.path().join("data"), "/tmp", 5432));
    load(Some(&path)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.rsplit_once("[repositories.encryption]").unwrap();
    fs::write(&path, head).unwrap();
    let refused = load(Some(&path)).unwrap_err().to_string();
    assert!(refused.contains("line ") && refused.contains("\"third\", which is not"), "{refused}");
}
