//! Cleanup and verification against a real server: what is removed leaves every point of the
//! window reachable, and what rots is found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::backup::{self, BackupSummary};
use lifeboat::engine::config::{
    Cluster, Codec, Config, Encryption, RepositoryConfig, Retention, Sandbox, StoreConfig,
};
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::postgres::child;
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::anchor::Anchor;
use lifeboat::engine::repository::reverify::{Request, Verified, Which, verify_set};
use lifeboat::engine::restore::base;
use lifeboat::engine::retention;
use lifeboat::engine::runner::protocol::Progress;
use lifeboat::engine::wal::debts::{self, Debt, Limits};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{TestCluster, wait_for};

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn quiet(_: Progress) {}

/// A cluster, its repository, and a thread that archives.
struct Scene {
    server: TestCluster,
    config: Config,
    feeding: Arc<AtomicBool>,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    fn new() -> Self {
        let server = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let root = server.root.path().to_owned();
        let spool = root.join("spool");
        server.make_folder(&spool, 0o755);
        let to = spool.display();
        let command = format!("cp %p {to}/%f.part && mv {to}/%f.part {to}/%f");
        server.append_conf(&[&format!("archive_command = '{command}'")]);
        server.start_server();
        let key = root.join("master.key");
        fs::write(&key, "the master key of this test\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let repository = RepositoryConfig {
            place: lifeboat::engine::config::PlaceConfig::default(),
            name: String::from("near"),
            store: StoreConfig::File { path: root.join("repository") },
            encryption: Encryption::Aes256Cbc {
                master_key_file: Some(key),
                master_key_command: None,
                previous_master_key_file: None,
            },
            codec: Codec::Gzip,
            level: Some(1),
            workers: Some(2),
        };
        let retention = Retention { minimum: Some(1), ..Retention::default() };
        let cluster = Cluster {
            environment: String::from("production"),
            repositories: vec![repository.name.clone()],
            retention,
            ..server.config()
        };
        let opened = Repository::create(&repository, &cluster.name).unwrap();
        let feeding = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&feeding);
        let feeder = std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&spool).unwrap().flatten() {
                    let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                    if !name.ends_with(".part") {
                        opened.put_wal(&name, &fs::read(&path).unwrap()).unwrap();
                        fs::remove_file(&path).unwrap();
                    }
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let config = Config {
            state_directory: Some(root.join("state")),
            runbook: None,
            clusters: vec![cluster],
            repositories: vec![repository],
            operators: Vec::new(),
            channels: Vec::new(),
            escalation: Default::default(),
            approval: Default::default(),
            signatures: Default::default(),
            catalogue: None,
            sandbox: Sandbox::default(),
            path: PathBuf::new(),
        };
        Self { server, config, feeding, feeder: Some(feeder) }
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.config.repositories[0], &self.config.clusters[0].name).unwrap()
    }

    fn backup(&self) -> BackupSummary {
        let second = Timestamp::now().as_second();
        // A set is named by its second.
        wait_for("the next second", || Timestamp::now().as_second() > second);
        let options = backup::Options::default();
        let (cluster, repository) = (&self.config.clusters[0], self.repository());
        backup::run(cluster, &repository, &options, &quiet, &|| false).unwrap()
    }

    /// A row, and where the WAL is just after it.
    fn row(&self, text: &str) -> String {
        self.server.sql(&format!("INSERT INTO marks VALUES ('{text}')"));
        self.server.value("SELECT pg_current_wal_insert_lsn()")
    }

    fn verify(&self, set: &str, now: Timestamp, full: bool) -> Verified {
        let request = Request { now, full, every: DAY * 30 };
        verify_set(&self.repository(), set, request, &quiet, &|| false)
    }

    fn object(&self, name: &str) -> PathBuf {
        self.server.root.path().join("repository").join(name)
    }

    /// Restores `set`, lets it recover to `lsn` from the archive alone, and gives the rows.
    fn recover(&self, set: &str, lsn: &str) -> String {
        let root = self.server.root.path();
        let (data, fetched, log) =
            (root.join("again"), root.join("fetched"), root.join("again.log"));
        let repository = self.repository();
        let no = || false;
        let mut options = base::Options::new("restore", &quiet, &no);
        options.owner = Some((self.server.owner.uid, self.server.owner.gid));
        base::restore(&repository, set, &data, &options).unwrap();
        fs::create_dir(&fetched).unwrap();
        for file in repository.list_wal(1, "", usize::MAX).unwrap() {
            let content = repository.get_wal(&file.name).unwrap().unwrap();
            fs::write(fetched.join(&file.name), content).unwrap();
        }
        let settings = format!(
            "restore_command = 'cp {}/%f %p'\nrecovery_target_lsn = '{lsn}'\n\
             recovery_target_action = 'promote'\narchive_mode = off\n",
            fetched.display()
        );
        let auto = data.join("postgresql.auto.conf");
        fs::write(&auto, fs::read_to_string(&auto).unwrap() + &settings).unwrap();
        fs::write(data.join("recovery.signal"), "").unwrap();
        child::give(&data.join("recovery.signal"), &self.server.owner).unwrap();
        let port = support::free_port().to_string();
        let socket = self.server.socket.display().to_string();
        let (data, log) = (data.display().to_string(), log.display().to_string());
        let more = format!("-p {port} -c unix_socket_directories='{socket}'");
        let args = ["start", "-s", "-w", "-t", "60", "-D", &data, "-l", &log, "-o", &more];
        let started = self.server.try_run("pg_ctl", &args);
        let why = fs::read_to_string(&log).unwrap_or_default();
        assert!(started.ok(), "{}\n{why}", started.said());
        let mut rows = String::new();
        wait_for("the end of the recovery", || {
            let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN 'no' ELSE \
                       (SELECT string_agg(text, ' ' ORDER BY text) FROM marks) END";
            let args = ["-h", &socket, "-p", &port, "-U", "postgres", "-XAtc", sql, "postgres"];
            let said = self.server.try_run("psql", &args);
            rows = said.stdout.trim().to_owned();
            said.ok() && rows != "no"
        });
        self.server.run("pg_ctl", &["stop", "-s", "-w", "-D", &data, "-m", "fast"], &[]);
        rows
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

/// Flips a bit at `at` of a file; counted from its end where negative. The file's time stays as
/// it was, as where a disk rots.
fn flip(path: &Path, at: i64) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let length = i64::try_from(bytes.len()).unwrap();
    let at = usize::try_from(if at < 0 { length + at } else { at }).unwrap();
    bytes[at] ^= 0x08;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// A second repository that was away owes a file that the cleanup took and one that it left: the
/// second is brought, and nobody asks for the first for ever.
fn owes_what_is_kept(scene: &Scene, removed: &str, kept: &str) {
    let mut config = scene.config.clone();
    let mut far = config.repositories[0].clone();
    far.name = String::from("far");
    far.store = StoreConfig::File { path: scene.server.root.path().join("far") };
    let repository = Repository::create(&far, &config.clusters[0].name).unwrap();
    config.repositories.push(far);
    config.clusters[0].repositories.push(String::from("far"));
    let near = scene.repository();
    for file in [removed, kept] {
        debts::record(near.store.as_ref(), &Debt::new("far", file, "it was away")).unwrap();
    }
    let pair = |file: &str| (String::from("far"), file.to_owned());
    let paid = debts::pay(&config, &config.clusters[0], Limits::all(2), &|| false);
    assert_eq!(
        (paid.paid, paid.gone),
        (vec![pair(kept)], vec![pair(removed)]),
        "{:?}",
        paid.failed
    );
    assert_eq!(repository.get_wal(kept).unwrap(), near.get_wal(kept).unwrap());
    assert!(debts::owed(&config, &config.clusters[0]).owed.is_empty());
}

#[test]
fn a_cleanup_keeps_the_window_reachable_and_verification_finds_what_rots() {
    let scene = Scene::new();
    scene.server.sql("CREATE TABLE marks (text text)");
    scene.row("a");
    let first = scene.backup().descriptor;
    scene.row("b");
    let second = scene.backup().descriptor;
    let wanted = scene.row("c");
    scene.row("d");
    let third = scene.backup().descriptor;
    let repository = scene.repository();

    // The window begins a moment after the second ended.
    let now = second.finished + DAY * 30 + SignedDuration::from_millis(1);
    let (cluster, near) = (&scene.config.clusters[0], "near");
    let listed = repository.list_wal(1, "", usize::MAX).unwrap();
    let (oldest_wal, before) = (listed[0].name.clone(), listed.len());
    // A month in which nothing arrived: a clock that is wrong looks just so. An operator may.
    let refused = retention::cleanup(&scene.config, cluster, near, now, &quiet, &|| false);
    assert_eq!(refused.unwrap_err().kind, Kind::Refused);
    // An incident long over: its evidence is no backup's and outlives all of them.
    let long_ago: Timestamp = "2020-01-13T10:00:00Z".parse().unwrap();
    let lines = ["ab".repeat(32)];
    let anchor = Anchor::new("INC-20200113-001", &cluster.name, long_ago, 1, &lines);
    assert!(repository.put_anchor(&anchor).unwrap());
    let by_hand = || {
        let cleanup = retention::Cleanup::open(&scene.config, cluster, near).unwrap();
        let plan = cleanup.plan(now).unwrap();
        let outcome = cleanup.apply(&plan, &quiet, &|| false);
        (plan, outcome)
    };
    let (plan, outcome) = by_hand();
    assert!(outcome.is_whole(), "{outcome:?}");
    assert_eq!(outcome.sets, std::slice::from_ref(&first.set), "{:?}", plan.sets);
    assert_eq!(repository.set_names().unwrap(), [second.set.clone(), third.set.clone()]);
    let after = repository.list_wal(1, "", usize::MAX).unwrap();
    let removed: u64 = plan.wal.iter().map(|line| line.files).sum();
    assert!(removed > 0 && after.len() < before, "{removed} of {before}: {:?}", plan.wal);
    assert!(outcome.bytes >= first.stored_bytes);
    owes_what_is_kept(&scene, &oldest_wal, &after.last().unwrap().name);
    let again = by_hand();
    assert!(again.0.is_empty(), "{:?}", again.0);
    assert_eq!(repository.anchored("INC-20200113-001").unwrap().count, 1);
    assert_eq!(scene.recover(&second.set, &wanted), "a b c");

    // Verified once, it is not read again, until time alone may have damaged it.
    let set = third.set.as_str();
    let now = Timestamp::now();
    let read = scene.verify(set, now, false);
    assert_eq!((read.verdict, &read.not_recorded), (Verdict::Verified, &None), "{read:#?}");
    assert!(read.bytes_read > third.stored_bytes && read.unchanged_since.is_none());
    let record = scene.repository().newest_verification(set).unwrap().unwrap();
    assert_eq!((record.verdict, record.bytes_read), (Verdict::Verified, read.bytes_read));
    let later = scene.verify(set, now + DAY, false);
    assert_eq!((later.verdict, later.bytes_read), (Verdict::Verified, 0));
    assert_eq!(later.unchanged_since, Some(record.at));
    let oldest = scene.repository().choose(&Which::Sample(50)).unwrap();
    assert_eq!(oldest, [second.set.as_str()], "the other was verified");
    let late = scene.verify(set, now + DAY * 31, false);
    assert!(late.bytes_read > 0 && late.verdict == Verdict::Verified);

    // One bit each. The last block of the base is under no range's tag, only under the digest.
    let wal = scene.repository().list_wal(1, "", usize::MAX).unwrap();
    let needed = third.backup_label.lines().next().unwrap();
    let segment = needed.split("file ").nth(1).unwrap().trim_end_matches(')');
    let wal = wal.iter().find(|file| file.name == segment).unwrap().key.clone();
    let object = |part: &str| third.objects.iter().find(|o| o.name.contains(part)).unwrap();
    for (name, at, check) in [
        (object(".tar.").name.as_str(), 100_000, "base:content"),
        (object(".tar.").name.as_str(), -3, "base:content"),
        (object(".manifest.").name.as_str(), 1000, "base:manifest"),
        (wal.as_str(), 5000, "base:wal"),
    ] {
        let path = scene.object(name);
        flip(&path, at);
        let found = scene.verify(set, now + DAY * 32, true);
        assert_eq!(found.verdict, Verdict::Failed, "{name} at {at}: {found:#?}");
        let failed = found.checks.iter().find(|check| check.verdict == Verdict::Failed).unwrap();
        assert_eq!(failed.id, check, "{found:#?}");
        assert!(found.reason.is_some() && found.not_recorded.is_none());
        flip(&path, at);
    }
    // A failure is not taken for "unchanged".
    let mended = scene.verify(set, now + DAY * 33, false);
    assert!(mended.verdict == Verdict::Verified && mended.bytes_read > 0, "{mended:#?}");

    // Another master key says nothing of the backup.
    let opened = scene.repository();
    let key = scene.server.root.path().join("master.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, "another master key altogether\n").unwrap();
    let request = Request { now: now + DAY * 34, full: true, every: DAY * 30 };
    let closed = verify_set(&opened, set, request, &quiet, &|| false);
    assert_eq!(closed.verdict, Verdict::CouldNotVerify, "{closed:#?}");
    assert!(closed.reason.unwrap().contains("another key"));
    fs::write(&key, right).unwrap();
}
