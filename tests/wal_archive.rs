//! A real server archives through `archive_file` and recovers through `fetch_file` with its
//! prefetcher: this test's own program stands for `lifeboat archive-wal`, `restore-wal` and
//! `prefetch-wal`.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod support;

use lifeboat::engine::config::{
    Cluster, Codec, Config, Encryption, RepositoryConfig, Sandbox, StoreConfig,
};
use lifeboat::engine::explain::Explain;
use lifeboat::engine::postgres::child;
use lifeboat::engine::repository::Repository;
use lifeboat::engine::wal::archive::{ArchiveError, archive_file};
use lifeboat::engine::wal::fetch::{FetchError, FetchRequest, Sources, exit_code_of, fetch_file};
use lifeboat::engine::wal::prefetch::{PrefetchOptions, prefetch_main};
use lifeboat::engine::wal::spool::stop;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{TestCluster, wait_for};

fn variable(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap())
}

fn settings() -> (Config, Cluster) {
    let text = fs::read(variable("LIFEBOAT_TEST_CONFIG")).unwrap();
    let config: Config = serde_json::from_slice(&text).unwrap();
    let cluster = config.clusters[0].clone();
    (config, cluster)
}

#[test]
#[ignore = "the server's archive_command"]
fn as_archive_wal() {
    let (config, cluster) = settings();
    match archive_file(&config, &cluster, &variable("LIFEBOAT_TEST_PATH")) {
        Ok(_) => std::process::exit(0),
        Err(e) => {
            eprintln!("{}", e.explanation());
            std::process::exit(e.exit_code().into());
        }
    }
}

#[test]
#[ignore = "the server's restore_command"]
fn as_restore_wal() {
    let name = variable("LIFEBOAT_TEST_NAME");
    let act = || {
        let (config, cluster) = settings();
        let sources = Sources::new(&cluster.name, &config.repositories, None);
        let program = std::env::current_exe().unwrap().into_os_string();
        let arguments = ["--exact", "as_prefetch_wal", "--ignored"].map(OsString::from);
        let prefetcher: Vec<_> = std::iter::once(program).chain(arguments).collect();
        let fetched = fetch_file(&FetchRequest {
            name: name.to_str().unwrap(),
            destination: &variable("LIFEBOAT_TEST_PATH"),
            sources: &sources,
            spool: Some(&variable("LIFEBOAT_TEST_CONFIG").with_file_name("spool")),
            prefetcher: &prefetcher,
        })?;
        let noted = variable("LIFEBOAT_TEST_CONFIG").with_file_name("fetched");
        let mut noted = fs::File::options().append(true).create(true).open(noted).unwrap();
        writeln!(noted, "{fetched:?}").unwrap();
        Ok(fetched)
    };
    std::process::exit(exit_code_of(act, FetchError::exit_code).into());
}

#[test]
#[ignore = "started by restore_command"]
fn as_prefetch_wal() {
    let (config, cluster) = settings();
    let spool = variable("LIFEBOAT_TEST_CONFIG").with_file_name("spool");
    let options = PrefetchOptions::default();
    let code = prefetch_main(&cluster.name, &config.repositories, None, &spool, &options);
    std::process::exit(code.into());
}

/// A running cluster with an encrypted repository beside it.
struct Scene {
    cluster: TestCluster,
    config: Config,
}

impl Scene {
    fn new() -> Self {
        let cluster = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let at = |name: &str| cluster.root.path().join(name);
        cluster.make_folder(&at("backups"), 0o700);
        fs::write(at("master.key"), "the master key of this test\n").unwrap();
        fs::set_permissions(at("master.key"), fs::Permissions::from_mode(0o600)).unwrap();
        child::give(&at("master.key"), &cluster.owner).unwrap();
        // The server's user may not be able to enter the folder that the tests are built in.
        fs::copy(std::env::current_exe().unwrap(), at("program")).unwrap();
        let repository = RepositoryConfig {
            name: "near".to_owned(),
            store: StoreConfig::File { path: at("backups") },
            encryption: Encryption::Aes256Cbc {
                master_key_file: Some(at("master.key")),
                master_key_command: None,
                previous_master_key_file: None,
            },
            codec: Codec::Gzip,
            level: None,
            workers: None,
            place: Default::default(),
        };
        Repository::create(&repository, "test").unwrap();
        for entry in fs::read_dir(at("backups")).unwrap() {
            child::give(&entry.unwrap().path(), &cluster.owner).unwrap();
        }
        let mut named = cluster.config();
        named.repositories = vec!["near".to_owned()];
        let config = Config {
            state_directory: Some(at("state")),
            runbook: None,
            clusters: vec![named],
            repositories: vec![repository],
            operators: vec![],
            channels: Vec::new(),
            escalation: Default::default(),
            approval: Default::default(),
            signatures: Default::default(),
            catalogue: None,
            sandbox: Sandbox::default(),
            path: PathBuf::new(),
        };
        fs::write(at("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        let scene = Self { cluster, config };
        let archive = scene.command("as_archive_wal", "LIFEBOAT_TEST_PATH=%p");
        scene.cluster.append_conf(&[&format!("archive_command = '{archive}'")]);
        scene
    }

    fn command(&self, test: &str, variables: &str) -> String {
        let root = self.cluster.root.path().display();
        format!(
            "LIFEBOAT_TEST_CONFIG={root}/config.json {variables} {root}/program --exact {test} \
             --ignored --nocapture"
        )
    }

    fn base(&self, name: &str) -> PathBuf {
        let path = self.cluster.root.path().join(name);
        let (target, port) = (path.display().to_string(), self.cluster.port.to_string());
        let host = self.cluster.socket.display().to_string();
        let more = ["-D", &target, "-X", "none", "-c", "fast", "--no-sync"];
        let whom = ["-h", &host, "-p", &port, "-U", "postgres"];
        self.cluster.run("pg_basebackup", &whom, &more);
        let restore = self.command("as_restore_wal", "LIFEBOAT_TEST_NAME=%f LIFEBOAT_TEST_PATH=%p");
        let lines = format!("restore_command = '{restore}'\narchive_mode = off\n");
        let auto = path.join("postgresql.auto.conf");
        fs::write(&auto, fs::read_to_string(&auto).unwrap() + &lines).unwrap();
        fs::write(path.join("recovery.signal"), "").unwrap();
        path
    }

    fn write_segments(&self, count: u32) {
        for _ in 0..count {
            self.cluster.sql("INSERT INTO rows SELECT generate_series(1, 20000)");
            self.cluster.sql("SELECT pg_switch_wal()");
        }
        let last = self.cluster.value("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)");
        wait_for(&format!("{last} to be archived"), || {
            self.cluster.value("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")
                >= last
        });
    }

    fn start(&self, data: &Path, log: &Path) -> bool {
        let (data, log) = (data.display().to_string(), log.display().to_string());
        let args = ["start", "-s", "-w", "-t", "60", "-D", &data, "-l", &log];
        self.cluster.try_run("pg_ctl", &args).ok()
    }
}

#[test]
fn a_server_recovers_from_the_archive_and_stops_where_the_archive_fails() {
    let scene = Scene::new();
    let cluster = &scene.cluster;
    cluster.start_server();
    cluster.sql("CREATE TABLE rows (n int)");
    let (good, halted) = (scene.base("good"), scene.base("halted"));
    scene.write_segments(12);
    let count = cluster.value("SELECT count(*) FROM rows");
    cluster.stop_server("immediate");

    // The archive fails in the middle: the server must stop, not promote with rows missing.
    let folder = cluster.root.path().join("backups/wal-archive/0000000100000000");
    let mut objects: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_str().unwrap().contains(".backup."))
        .collect();
    objects.sort();
    let broken = &objects[objects.len() - 3];
    let intact = fs::read(broken).unwrap();
    let mut flipped = intact.clone();
    flipped[1000] ^= 1;
    fs::write(broken, flipped).unwrap();
    let log = cluster.root.path().join("halted.log");
    scene.start(&halted, &log);
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the server to stop", || !halted.join("postmaster.pid").exists());
    assert!(said().contains("is not what was written"), "{}", said());
    assert!(!said().contains("selected new timeline ID"), "{}", said());
    fs::write(broken, intact).unwrap();

    let begun = Instant::now();
    let log = cluster.root.path().join("good.log");
    assert!(scene.start(&good, &log), "{}", fs::read_to_string(&log).unwrap());
    wait_for("the end of recovery", || {
        cluster.try_sql_in("postgres", "SELECT pg_is_in_recovery()").is_ok_and(|r| r[0][0] == "f")
    });
    println!("recovered in {:?}", begun.elapsed());
    assert_eq!(cluster.value("SELECT count(*) FROM rows"), count);
    let (good, spool) = (good.display().to_string(), cluster.root.path().join("spool"));
    cluster.run("pg_ctl", &["stop", "-s", "-w", "-D", &good, "-m", "immediate"], &[]);
    let fetched = fs::read_to_string(cluster.root.path().join("fetched")).unwrap();
    assert!(fetched.matches("Spool").count() >= 10, "fetched ahead: {fetched}");
    assert!(stop(&spool, Duration::from_secs(20)), "the prefetcher ends when told");
}

#[test]
fn a_file_that_is_not_this_clusters_is_refused() {
    let scene = Scene::new();
    let cluster = &scene.config.clusters[0];
    let at = |name: &str| scene.cluster.root.path().join(name);
    let pg_wal = cluster.data_directory.join("pg_wal");
    let archive = |path: &Path| archive_file(&scene.config, cluster, path);
    let first = "000000010000000000000001";

    let archived = archive(&pg_wal.join(first)).unwrap();
    assert_eq!((archived.size, archived.repositories.len()), (16 << 20, 1));
    archive(&Path::new("pg_wal").join(first)).unwrap();

    fs::copy(pg_wal.join(first), at("000000010000000000000002")).unwrap();
    let wrong = archive(&at("000000010000000000000002")).unwrap_err();
    assert!(matches!(wrong, ArchiveError::Wrong { .. }), "{wrong}");
    let mut foreign = fs::read(pg_wal.join(first)).unwrap();
    foreign[24] ^= 1;
    fs::write(at(first), &foreign).unwrap();
    let other = archive(&at(first)).unwrap_err();
    assert!(matches!(other, ArchiveError::OtherCluster { .. }), "{other}");
    foreign[24] ^= 1;
    foreign[100_000] ^= 1;
    fs::write(at(first), &foreign).unwrap();
    let different = archive(&at(first)).unwrap_err();
    assert!(different.explanation().what.contains("another content"), "{different}");
    let absent = archive(&pg_wal.join("000000010000000000000009")).unwrap_err();
    assert!(matches!(archive(Path::new("pg_wal/x")), Err(ArchiveError::NotWal(_))));
    for error in [wrong, other, different, absent] {
        assert!((1..=125).contains(&error.exit_code()), "{error}");
    }
    let repository = Repository::open(&scene.config.repositories[0], "test").unwrap();
    let held = repository.get_wal(first).unwrap().unwrap();
    assert!(held == fs::read(pg_wal.join(first)).unwrap());
}

#[test]
fn every_doubt_is_200_and_only_proven_absence_is_1() {
    let scene = Scene::new();
    let near = scene.config.repositories[0].clone();
    let mut far = near.clone();
    far.name = "far".to_owned();
    let StoreConfig::File { path } = &mut far.store else { unreachable!() };
    *path = scene.cluster.root.path().join("not mounted");
    let destination = scene.cluster.root.path().join("RECOVERYXLOG");
    let rescue = scene.cluster.root.path().join("rescue");
    let first = "000000010000000000000001";
    let pg_wal = scene.cluster.data.join("pg_wal");
    let fetch = |repositories: &[RepositoryConfig], rescue: Option<&Path>, name: &str| {
        let sources = Sources::new("test", repositories, rescue);
        let spool = None;
        let destination = &destination;
        let request = FetchRequest { name, destination, sources: &sources, spool, prefetcher: &[] };
        let code = fetch_file(&request).map_or_else(|e| e.exit_code(), |_| 0);
        assert_eq!(code == 0, destination.exists(), "all or nothing");
        let _ = fs::remove_file(destination);
        code
    };
    let only_near = std::slice::from_ref(&near);
    assert_eq!(fetch(only_near, None, first), 1);
    assert_eq!(fetch(only_near, None, "00000002.history"), 1);
    assert_eq!(fetch(&[near.clone(), far.clone()], None, first), 200, "one cannot be asked");
    assert_eq!(fetch(only_near, Some(&rescue), first), 200, "the rescued files are not there");
    assert_eq!(fetch(&[], None, first), 200);
    assert_eq!(fetch(only_near, None, "RECOVERYXLOG"), 200);

    fs::create_dir(&rescue).unwrap();
    assert_eq!(fetch(only_near, Some(&rescue), first), 1);
    fs::write(rescue.join(first), b"half of it").unwrap();
    assert_eq!(fetch(only_near, Some(&rescue), first), 200, "a short segment");
    fs::copy(pg_wal.join(first), rescue.join(first)).unwrap();
    assert_eq!(fetch(only_near, Some(&rescue), first), 0);
    assert_eq!(fetch(std::slice::from_ref(&far), Some(&rescue), first), 200);

    archive_file(&scene.config, &scene.config.clusters[0], &pg_wal.join(first)).unwrap();
    assert_eq!(fetch(only_near, None, first), 0);
    assert_eq!(fetch(&[far, near.clone()], None, first), 0, "the second has it");
    fs::create_dir(&destination).unwrap();
    let sources = Sources::new("test", only_near, None);
    let request = FetchRequest {
        name: first,
        destination: &destination,
        sources: &sources,
        spool: None,
        prefetcher: &[],
    };
    assert_eq!(fetch_file(&request).unwrap_err().exit_code(), 200, "it cannot be put in place");
    let panicked = exit_code_of(|| -> Result<_, FetchError> { panic!("a fault") }, |_| 1);
    assert_eq!(panicked, 200);
}
