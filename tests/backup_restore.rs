//! Base backup and restore against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use lifeboat::engine::backup::{self, BackupError, BackupSummary};
use lifeboat::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use lifeboat::engine::explain::{Explain, Kind};
use lifeboat::engine::incident::facts::{Check, Verdict};
use lifeboat::engine::postgres::child;
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::manifest::{self, Record};
use lifeboat::engine::repository::scan::{OpenSet, relation_map};
use lifeboat::engine::repository::verify::verify_base;
use lifeboat::engine::restore::base::{self, Options, RestoreError};
use lifeboat::engine::runner::protocol::Progress;
use lifeboat::engine::runner::step::Standing;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{LIMIT, TestCluster, wait_for};

const NAME: &str = "test";
const KEY: &str = "the master key of this test";

fn quiet(_: Progress) {}

fn never() -> bool {
    false
}

/// A running cluster with a repository that its WAL goes into.
struct Scene {
    cluster: TestCluster,
    config: RepositoryConfig,
    feeding: Arc<AtomicBool>,
    feeder: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    fn new(codec: Codec, encrypted: bool) -> Self {
        let cluster = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let root = cluster.root.path().to_owned();
        let spool = root.join("spool");
        cluster.make_folder(&spool, 0o755);
        let spool_text = spool.display();
        // The archiver's part is another module's; here a thread takes the files from a folder.
        cluster.append_conf(&[&format!(
            "archive_command = 'cp %p {spool_text}/%f.part && mv {spool_text}/%f.part \
             {spool_text}/%f'"
        )]);
        cluster.start_server();
        let key = root.join("master.key");
        fs::write(&key, format!("{KEY}\n")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let encryption = if encrypted {
            Encryption::Aes256Cbc {
                master_key_file: Some(key),
                master_key_command: None,
                previous_master_key_file: None,
            }
        } else {
            Encryption::None
        };
        let config = RepositoryConfig {
            name: String::from("near"),
            store: StoreConfig::File { path: root.join("repository") },
            encryption,
            codec,
            level: None,
            workers: Some(2),
            place: Default::default(),
        };
        let repository = Repository::create(&config, NAME).unwrap();
        let feeding = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&feeding);
        let feeder = std::thread::spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                feed(&spool, &repository);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { cluster, config, feeding, feeder: Some(feeder) }
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.config, NAME).unwrap()
    }

    fn fill(&self, rows: u32) {
        self.cluster.sql(&format!(
            "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS code, repeat('x', g % 90) AS \
             note FROM generate_series(1, {rows}) AS g; ALTER TABLE orders ADD PRIMARY KEY (id); \
             CREATE UNLOGGED TABLE passing AS SELECT generate_series(1, 5000) AS n; ANALYZE"
        ));
    }

    fn backup(&self) -> BackupSummary {
        self.try_backup(&backup::Options::default()).unwrap_or_else(|e| panic!("{e}"))
    }

    fn try_backup(&self, options: &backup::Options) -> Result<BackupSummary, BackupError> {
        backup::run(&self.cluster.config(), &self.repository(), options, &quiet, &never)
    }

    fn restore(&self, set: &str, name: &str) -> (PathBuf, Result<(), RestoreError>) {
        let to = self.cluster.root.path().join(name);
        let result = self.restore_to(set, &to, &|_| {});
        (to, result)
    }

    fn restore_to(
        &self,
        set: &str,
        to: &Path,
        change: &dyn Fn(&mut Options<'_>),
    ) -> Result<(), RestoreError> {
        let mut options = Options::new("restore", &quiet, &never);
        options.owner = Some((self.cluster.owner.uid, self.cluster.owner.gid));
        change(&mut options);
        base::restore(&self.repository(), set, to, &options).map(drop)
    }

    /// The object with the tar stream.
    fn object(&self, summary: &BackupSummary) -> PathBuf {
        let found = summary.descriptor.objects.iter().find(|o| o.name.contains(".tar."));
        self.cluster.root.path().join("repository").join(&found.unwrap().name)
    }

    fn verify_backup(&self, data: &Path, more: &[&str]) {
        let data = data.display().to_string();
        self.cluster.run("pg_verifybackup", &["-n", "-q", &data], more);
    }

    /// Starts a restored data directory, lets it replay all WAL, and gives what `sql` says.
    fn ask_restored(&self, data: &Path, recover: bool, sql: &str) -> String {
        let root = self.cluster.root.path();
        let spool = root.join("fetched");
        if recover {
            let _ = fs::create_dir(&spool);
            let repository = self.repository();
            for object in repository.list_wal(1, "", usize::MAX).unwrap() {
                let content = repository.get_wal(&object.name).unwrap().unwrap();
                fs::write(spool.join(&object.name), content).unwrap();
            }
            let auto = data.join("postgresql.auto.conf");
            let text = fs::read_to_string(&auto).unwrap();
            let fetch = format!("restore_command = 'cp {}/%f %p'\n", spool.display());
            fs::write(&auto, text + &fetch + "archive_mode = off\n").unwrap();
            fs::write(data.join("recovery.signal"), "").unwrap();
            child::give(&data.join("recovery.signal"), &self.cluster.owner).unwrap();
        }
        let (data_text, log) = (data.display().to_string(), root.join("restored.log"));
        let socket = self.cluster.socket.display().to_string();
        let port = support::free_port().to_string();
        let server = format!("-p {port} -c unix_socket_directories='{socket}' -c archive_mode=off");
        let log_text = log.display().to_string();
        let args =
            ["start", "-s", "-w", "-t", "60", "-D", &data_text, "-l", &log_text, "-o", &server];
        let started = self.cluster.try_run("pg_ctl", &args);
        assert!(
            started.ok(),
            "{}\n{}",
            started.said(),
            fs::read_to_string(&log).unwrap_or_default()
        );
        let mut answer = String::new();
        wait_for("the restored server to leave recovery", || {
            let sql = format!("SELECT CASE WHEN pg_is_in_recovery() THEN 'no' ELSE ({sql}) END");
            let args = ["-h", &socket, "-p", &port, "-U", "postgres", "-XAtc", &sql, "postgres"];
            let said = self.cluster.try_run("psql", &args);
            answer = said.stdout.trim().to_owned();
            said.ok() && answer != "no"
        });
        self.cluster.run("pg_ctl", &["stop", "-s", "-w", "-D", &data_text, "-m", "fast"], &[]);
        answer
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

fn feed(spool: &Path, repository: &Repository) {
    for entry in fs::read_dir(spool).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if !name.ends_with(".part") && repository.put_wal(&name, &fs::read(&path).unwrap()).is_ok()
        {
            fs::remove_file(&path).unwrap();
        }
    }
}

const SUM: &str =
    "SELECT count(*) || ' ' || coalesce(sum(hashtext(o::text)::bigint), 0) FROM orders AS o";

/// Every file's content and every folder, by path.
fn content(root: &Path) -> BTreeMap<PathBuf, Option<u32>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if entry.file_type().unwrap().is_dir() {
                found.insert(name, None);
                folders.push(path);
            } else if entry.file_type().unwrap().is_file() {
                found.insert(name, Some(crc32c::crc32c(&fs::read(&path).unwrap())));
            }
        }
    }
    found
}

fn verdicts(checks: &[Check]) -> Vec<(&str, Verdict)> {
    checks.iter().map(|check| (check.id.as_str(), check.verdict)).collect()
}

fn shell(script: &str) {
    let done = Command::new("bash").args(["-c", &format!("set -euo pipefail; {script}")]).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_backup_under_writes_restores_verifies_and_starts() {
    let scene = Scene::new(Codec::Gzip, true);
    scene.fill(100_000);
    scene.cluster.sql("CREATE DATABASE other");
    scene.cluster.sql_in("other", "CREATE TABLE elsewhere AS SELECT 1 AS one");

    let writing = AtomicBool::new(true);
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 1_000_000;
            while writing.load(Ordering::Relaxed) {
                scene.cluster.sql(&format!(
                    "INSERT INTO orders SELECT g, md5(g::text) FROM generate_series({next}, {next} \
                     + 999) AS g; DELETE FROM orders WHERE id % 17 = {next} / 1000 % 17; CREATE \
                     TABLE t{next} AS SELECT 1; DROP TABLE t{next}"
                ));
                next += 1000;
            }
        });
        let summary = scene.backup();
        writing.store(false, Ordering::Relaxed);
        summary
    });
    assert_eq!((summary.warnings.clone(), summary.bad_pages), (vec![], 0));
    let set = summary.descriptor.set.as_str();
    let repository = scene.repository();

    let checks = verify_base(&repository, set, &quiet, &never);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Verified), "{checks:#?}");
    assert_eq!(checks.len(), 6);

    let map = relation_map(&repository, set).unwrap();
    let node = scene.cluster.value("SELECT pg_relation_filenode('orders')").parse().unwrap();
    let database = scene.cluster.value("SELECT oid FROM pg_database WHERE datname = 'postgres'");
    let orders = map.get(database.parse().unwrap(), node).unwrap();
    assert_eq!((orders.schema.as_str(), orders.name.as_str()), ("public", "orders"));
    assert!(
        map.iter()
            .any(|relation| relation.database_name == "other" && relation.name == "elsewhere")
    );
    assert!(map.iter().any(|relation| relation.database == 0 && relation.name == "pg_database"));

    let (ours, restored) = scene.restore(set, "ours");
    restored.unwrap();
    scene.verify_backup(&ours, &[]);
    assert!(matches!(base::probe(&ours, set).unwrap(), Standing::Done(_)));
    assert_eq!(fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o700);
    let control = fs::metadata(ours.join("global/pg_control")).unwrap();
    assert_eq!(control.permissions().mode() & 0o777, 0o600);
    assert_eq!(control.uid(), scene.cluster.owner.uid);

    // The same with openssl, gunzip and tar alone.
    let theirs = scene.cluster.root.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let id = summary.descriptor.key_id.clone().unwrap();
    let key = repository.keyring().unwrap().open(&id).unwrap();
    let pass = scene.cluster.root.path().join("pass");
    fs::write(&pass, key.passphrase()).unwrap();
    let object = scene.object(&summary);
    shell(&format!(
        "openssl enc -d -aes-256-cbc -pbkdf2 -pass file:{} -in {} | tar xz -C {}",
        pass.display(),
        object.display(),
        theirs.display()
    ));
    assert_eq!(content(&ours), content(&theirs));

    scene.cluster.sql("SELECT pg_switch_wal()");
    let last = scene.cluster.value("SELECT pg_walfile_name(pg_switch_wal() - 1)");
    wait_for("the archive", || repository.get_wal(&last).unwrap().is_some());
    let expected = scene.cluster.value(SUM);
    assert_eq!(scene.ask_restored(&ours, true, SUM), expected);
    assert!(matches!(base::probe(&ours, set).unwrap(), Standing::Done(_)));
    let unlogged = scene.ask_restored(&ours, false, "SELECT count(*)::text FROM passing");
    assert_eq!(unlogged, "0");
}

#[test]
fn tablespaces_go_to_another_place_and_never_into_the_live_one() {
    let scene = Scene::new(Codec::Zstd, false);
    let root = scene.cluster.root.path().to_owned();
    let live = root.join("space");
    scene.cluster.make_folder(&live, 0o700);
    scene.cluster.sql(&format!("CREATE TABLESPACE far LOCATION '{}'", live.display()));
    scene.fill(20_000);
    scene.cluster.sql("ALTER TABLE orders SET TABLESPACE far");
    let summary = scene.backup();
    let set = summary.descriptor.set.as_str();
    let oid = summary.descriptor.tablespaces[0].oid;
    let before = content(&live);

    let (_, refused) = scene.restore(set, "refused");
    let refused = refused.unwrap_err();
    assert!(matches!(refused, RestoreError::Tablespace { .. }), "{refused}");
    assert!(!root.join("refused").exists());

    let (to, moved) = (root.join("moved"), root.join("moved-space"));
    scene
        .restore_to(set, &to, &|options| {
            options.tablespaces.insert(oid, moved.clone());
        })
        .unwrap();
    assert_eq!(fs::read_link(to.join(format!("pg_tblspc/{oid}"))).unwrap(), moved);
    scene.verify_backup(&to, &["--ignore=tablespace_map"]);
    assert_eq!(scene.ask_restored(&to, true, SUM), scene.cluster.value(SUM));
    assert_eq!(content(&live), before, "the live tablespace was not touched");
    assert!(content(&moved).len() > 1);
}

#[test]
fn a_flipped_bit_is_refused_and_nothing_of_its_member_is_written() {
    let scene = Scene::new(Codec::Gzip, true);
    scene.fill(60_000);
    let summary = scene.backup();
    let set = summary.descriptor.set.as_str();
    let repository = scene.repository();
    let (file, member) = member_inside_a_large_file(&repository, set);
    let object = fs::File::options().read(true).write(true).open(scene.object(&summary)).unwrap();
    let mut byte = [0];
    object.read_exact_at(&mut byte, member.offset + member.length / 2).unwrap();
    object.write_all_at(&[byte[0] ^ 4], member.offset + member.length / 2).unwrap();

    let (to, result) = scene.restore(set, "damaged");
    let error = result.unwrap_err();
    assert_eq!(error.explanation().kind, Kind::Integrity, "{error}");
    assert!(error.to_string().contains(&file.path), "{error}");
    assert!(!to.join("global/pg_control").exists());
    assert!(matches!(base::probe(&to, set).unwrap(), Standing::Partial(_)));
    if let Ok(written) = fs::read(to.join(&file.path)) {
        let from = usize::try_from(member.tar - file.at).unwrap();
        let part = written.iter().skip(from).take(member.tar_length as usize);
        assert!(part.clone().all(|byte| *byte == 0), "bytes of the damaged member were written");
    }
    let checks = verify_base(&repository, set, &quiet, &never);
    assert!(verdicts(&checks).contains(&("base:content", Verdict::Failed)), "{checks:#?}");
    assert!(verdicts(&checks).contains(&("base:wal", Verdict::Verified)), "{checks:#?}");

    // The same in the manifest: nothing is written at all.
    let manifest = object_path(&scene, &summary, ".manifest.");
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let (to, result) = scene.restore(set, "manifest");
    assert_eq!(result.unwrap_err().explanation().kind, Kind::Integrity);
    assert!(!to.exists());
    let checks = verify_base(&repository, set, &quiet, &never);
    assert!(verdicts(&checks).contains(&("base:manifest", Verdict::Failed)), "{checks:#?}");
    assert!(verdicts(&checks).contains(&("base:content", Verdict::NotRun)), "{checks:#?}");
}

fn object_path(scene: &Scene, summary: &BackupSummary, part: &str) -> PathBuf {
    let found = summary.descriptor.objects.iter().find(|o| o.name.contains(part)).unwrap();
    scene.cluster.root.path().join("repository").join(&found.name)
}

fn member_inside_a_large_file(
    repository: &Repository,
    set: &str,
) -> (manifest::File, manifest::Member) {
    let open = OpenSet::open(repository, set).unwrap();
    let mut reader = open.manifest().unwrap();
    let mut large: Option<manifest::File> = None;
    while let Some(record) = reader.next_record().unwrap() {
        match (record, &large) {
            (Record::File(file), _) if file.size > 3 << 20 => large = Some(file),
            (Record::Member(member), Some(file))
                if member.tar > file.at && member.tar_end() < file.at + file.size =>
            {
                return (file.clone(), member);
            }
            _ => {}
        }
    }
    panic!("no file of several members")
}

/// Not a test: the process that the tests below start, stop and kill.
#[test]
#[ignore = "run by other tests as their child"]
fn child_restore() {
    let Ok(job) = std::env::var("LIFEBOAT_TEST_CHILD") else { return };
    let job: serde_json::Value = serde_json::from_str(&job).unwrap();
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    let config: RepositoryConfig = serde_json::from_value(job["config"].clone()).unwrap();
    let repository = Repository::open(&config, NAME).unwrap();
    let to = PathBuf::from(text("to"));
    let (label, least) = (text("label"), job["least"].as_u64().unwrap());
    let flag = PathBuf::from(text("flag"));
    let marker = to.join(base::MARKER);
    let report = |progress: Progress| {
        if progress.done >= least && progress.label.contains(&label) {
            // Something is noted, so that the next attempt has something to go on from.
            wait_for("a note in the marker", || {
                let text = fs::read_to_string(&marker).unwrap_or_default();
                let noted: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                least == 0 || noted["tar"].as_u64().unwrap_or(0) > 0
            });
            fs::write(&flag, "").unwrap();
            std::thread::sleep(LIMIT);
        }
    };
    let mut options = Options::new("restore", &report, &never);
    options.note_every = Duration::from_millis(20);
    options.workers = Some(2);
    if let Err(error) = base::restore(&repository, &text("set"), &to, &options) {
        println!("FAILED {:?} {error}", error.explanation().kind);
        std::process::exit(3);
    }
}

fn child(scene: &Scene, set: &str, to: &Path, (least, label): (u64, &str)) -> Command {
    let job = serde_json::json!({
        "config": scene.config, "set": set, "to": to, "least": least, "label": label,
        "flag": scene.cluster.root.path().join("flag"),
    });
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_restore", "--ignored", "--nocapture"]);
    command.env("LIFEBOAT_TEST_CHILD", job.to_string()).stdout(Stdio::piped());
    command
}

#[test]
fn a_killed_restore_goes_on_and_ends_the_same() {
    let scene = Scene::new(Codec::Gzip, true);
    scene.fill(100_000);
    let summary = scene.backup();
    let set = summary.descriptor.set.as_str();
    let (whole, result) = scene.restore(set, "whole");
    result.unwrap();
    let expected = content(&whole);
    let flag = scene.cluster.root.path().join("flag");

    for (number, at) in [(0, ""), (summary.descriptor.data_bytes / 2, ""), (1, "making sure")]
        .into_iter()
        .enumerate()
    {
        let to = scene.cluster.root.path().join(format!("killed-{number}"));
        let mut process = child(&scene, set, &to, at).spawn().unwrap();
        wait_for("the child to reach its place", || {
            assert!(process.try_wait().unwrap().is_none(), "the child ended before {at:?}");
            flag.exists()
        });
        process.kill().unwrap();
        process.wait().unwrap();
        fs::remove_file(&flag).unwrap();
        assert!(!to.join("global/pg_control").exists(), "killed at {at:?}");

        let went_on = number > 0;
        if went_on {
            assert!(matches!(base::probe(&to, set).unwrap(), Standing::Partial(_)));
            // Somebody loses a file in between: it is written again.
            fs::remove_file(to.join("PG_VERSION")).unwrap();
        }
        let options = Options::new("restore", &quiet, &never);
        let restored = base::restore(&scene.repository(), set, &to, &options).unwrap();
        assert_eq!(restored.resumed, went_on, "killed at {at:?}");
        let found = content(&to);
        let differing: Vec<_> = found
            .keys()
            .chain(expected.keys())
            .filter(|name| found.get(*name) != expected.get(*name))
            .collect();
        assert!(differing.is_empty(), "killed at {at:?}: {differing:?}");
        assert!(matches!(base::probe(&to, set).unwrap(), Standing::Done(_)));
        scene.verify_backup_as_root(&to);
    }
}

impl Scene {
    /// For files that were not given to the server's user.
    fn verify_backup_as_root(&self, data: &Path) {
        let program = self.cluster.binaries.program("pg_verifybackup");
        let done = Command::new(program).args(["-n", "-q"]).arg(data).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn what_is_in_the_way_is_refused_and_kept() {
    let scene = Scene::new(Codec::Gzip, false);
    let summary = scene.backup();
    let set = summary.descriptor.set.as_str();
    let live = content(&scene.cluster.data.join("base"));
    let error = scene.restore_to(set, &scene.cluster.data, &|_| {}).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(error.explanation().kind, Kind::Refused);
    assert_eq!(content(&scene.cluster.data.join("base")), live);

    // Cancelled: nothing can start, and it goes on.
    let to = scene.cluster.root.path().join("cancelled");
    let error =
        base::restore(&scene.repository(), set, &to, &Options::new("restore", &quiet, &|| true))
            .unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(!to.join("global/pg_control").exists());
    scene.restore_to(set, &to, &|_| {}).unwrap();
    scene.verify_backup(&to, &[]);
}

#[test]
fn a_full_disk_and_a_missing_right_are_told() {
    let scene = Scene::new(Codec::Gzip, false);
    scene.fill(20_000);
    let summary = scene.backup();
    let set = summary.descriptor.set.as_str();
    let root = scene.cluster.root.path();

    let disk = Tmpfs::mount(root, "small", "size=4m");
    match &disk {
        Some(disk) => {
            let error = scene.restore_to(set, &disk.0.join("data"), &|_| {}).unwrap_err();
            assert!(matches!(error, RestoreError::Space { .. }), "{error}");
            assert!(!disk.0.join("data").exists(), "nothing was made");
        }
        None => println!("SKIPPED: no right to mount a small disk"),
    }
    // Space enough by the count of bytes, and then no room for another file.
    if let Some(disk) = Tmpfs::mount(root, "few", "size=900m,nr_inodes=300") {
        let to = disk.0.join("data");
        let error = scene.restore_to(set, &to, &|_| {}).unwrap_err();
        assert!(matches!(error, RestoreError::Full { .. }), "{error}");
        assert_eq!(error.explanation().kind, Kind::Storage);
        assert!(!to.join("global/pg_control").exists());
    }

    let locked = root.join("locked");
    fs::create_dir(&locked).unwrap();
    let repository = root.join("repository");
    shell(&format!("chmod -R a+rX {} && chmod 555 {}", repository.display(), locked.display()));
    let mut command = child(&scene, set, &locked.join("data"), (u64::MAX, "never"));
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(65534).gid(65534);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(3), "{said}");
    assert!(said.contains("FAILED Storage") && said.contains("ermission"), "{said}");
}

struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(root: &Path, name: &str, options: &str) -> Option<Self> {
        let place = root.join(name);
        fs::create_dir(&place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&place)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_damaged_page_is_named() {
    let scene = Scene::new(Codec::Gzip, false);
    scene.fill(20_000);
    let path = scene.cluster.value("SELECT pg_relation_filepath('orders')");
    scene.cluster.stop_server("fast");
    let file = fs::File::options().write(true).open(scene.cluster.data.join(&path)).unwrap();
    file.write_all_at(b"not what was written", 8192 * 5 + 4000).unwrap();
    drop(file);
    scene.cluster.start_server();
    let summary = scene.backup();
    assert_eq!(summary.bad_pages, 1);
    let named = format!("{path} is damaged on disk: the checksum of page 5 does not fit.");
    assert_eq!(summary.warnings, vec![named.clone()]);
    let published = scene.repository().read_set(&summary.descriptor.set).unwrap();
    assert_eq!(published.warnings, vec![named]);
}

#[test]
fn without_its_wal_a_backup_is_not_published() {
    let scene = Scene::new(Codec::Gzip, false);
    scene.cluster.sql("ALTER SYSTEM SET archive_command = 'false'");
    scene.cluster.sql("SELECT pg_reload_conf()");
    wait_for("the setting", || scene.cluster.value("SHOW archive_command") == "false");
    let options =
        backup::Options { archive_wait: Duration::from_millis(600), ..backup::Options::default() };
    let error = scene.try_backup(&options).unwrap_err();
    assert!(matches!(error.cause(), BackupError::WalMissing { .. }), "{error}");
    let explained = error.explanation().untouched;
    assert!(explained.contains(".tar.gz"), "what stays is named: {explained}");
    assert_eq!(scene.repository().set_names().unwrap(), Vec::<String>::new());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat b%'";
    wait_for("the session to end", || scene.cluster.value(running) == "0");
}

#[test]
fn a_second_backup_at_the_same_time_is_refused_and_a_cancel_ends_cleanly() {
    let scene = Scene::new(Codec::Gzip, false);
    let refused = Mutex::new(None);
    let cancel = AtomicBool::new(false);
    let report = |progress: Progress| {
        if progress.done > 0 && refused.lock().unwrap().is_none() {
            let second = scene.try_backup(&backup::Options::default());
            *refused.lock().unwrap() = Some(second);
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let first = backup::run(
        &scene.cluster.config(),
        &scene.repository(),
        &backup::Options::default(),
        &report,
        &|| cancel.load(Ordering::Relaxed),
    );
    assert!(matches!(first, Err(BackupError::Cancelled)), "{first:?}");
    let second = refused.into_inner().unwrap();
    assert!(matches!(second, Some(Err(BackupError::Busy))), "{second:?}");
    assert_eq!(scene.repository().set_names().unwrap(), Vec::<String>::new());
    // And the server is ready for the next.
    scene.backup();
}

#[test]
fn another_servers_folder_is_refused() {
    let scene = Scene::new(Codec::Gzip, false);
    let other = TestCluster::init(&[]);
    let mut config = scene.cluster.config();
    config.data_directory.clone_from(&other.data);
    let options = backup::Options::default();
    let error = backup::run(&config, &scene.repository(), &options, &quiet, &never).unwrap_err();
    assert!(matches!(error, BackupError::WrongIdentity { .. }), "{error}");
}

#[test]
fn a_backup_of_the_older_kind_restores() {
    let scene = Scene::new(Codec::Gzip, false);
    scene.fill(5000);
    let expected = scene.cluster.value(SUM);
    scene.cluster.stop_server("fast");
    let root = scene.cluster.root.path();
    let (pass, file) = (root.join("pass"), root.join("base-20250113-020000.tar.gz.enc"));
    fs::write(&pass, KEY).unwrap();
    shell(&format!(
        "tar cz -C {} data | openssl enc -aes-256-cbc -pbkdf2 -salt -pass file:{} -out {}",
        root.display(),
        pass.display(),
        file.display()
    ));
    let mut options = Options::new("restore", &quiet, &never);
    options.owner = Some((scene.cluster.owner.uid, scene.cluster.owner.gid));
    let to = root.join("old");
    let wrong = base::restore_single_file(&file, Some(b"another key"), &to, &options).unwrap_err();
    assert_eq!(wrong.explanation().kind, Kind::Integrity, "{wrong}");
    let summary = base::restore_single_file(&file, Some(KEY.as_bytes()), &to, &options).unwrap();
    assert!(summary.files > 500, "{summary:?}");
    assert_eq!(scene.ask_restored(&to, false, SUM), expected);

    // Cut short: refused, and nothing can start.
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 3 * 2]).unwrap();
    let to = root.join("cut");
    let cut = base::restore_single_file(&file, Some(KEY.as_bytes()), &to, &options).unwrap_err();
    assert_eq!(cut.explanation().kind, Kind::Integrity, "{cut}");
    assert!(!to.join("global/pg_control").exists());
}
