//! The S3 store against real servers, and against a server that has a bad day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "s3_support/mod.rs"]
mod s3_support;
#[path = "../src/engine/repository/store/suite.rs"]
#[allow(dead_code, reason = "a part of it is for file stores")]
mod suite;

use lifeboat::engine::config::{
    Codec, Encryption, RepositoryConfig, S3Config, S3Credentials, StoreConfig,
};
use lifeboat::engine::repository::store::s3::{Limits, S3Store};
// The suite names them by `super`.
use lifeboat::engine::repository::store::{MARKER, ObjectInfo, Store, StoreError, StoreFault};
use s3_support::{Cloud, Deed, ID, Proxy, SECRET, Server, program};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn secret_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn config(server: &Server, address: &str, secret: &str) -> S3Config {
    let text = format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {secret}\n");
    let path = secret_file(server.folder.path(), &format!("keys-{}", secret.len()), &text);
    S3Config {
        bucket: "backups".into(),
        prefix: "pg/{cluster}".into(),
        endpoint: Some(format!("http://{address}")),
        region: "eu-central-1".into(),
        root_certificate: None,
        credentials: S3Credentials::File { path, profile: None },
        object_lock: None,
        parallel: None,
        timeout_seconds: None,
    }
}

fn limits() -> Limits {
    Limits { connect: Duration::from_secs(5), silence: Duration::from_secs(2), tries: 4 }
}

/// A store with its marker, before a server that behaves.
fn store_at(server: &Server, address: &str) -> S3Store {
    let plain = S3Store::open(&config(server, &server.address, SECRET), "shop").unwrap();
    if plain.size(MARKER).is_err() {
        plain.put(MARKER, b"{}").unwrap();
    }
    S3Store::open_within(&config(server, address, SECRET), "shop", limits()).unwrap()
}

/// The error of each way to read `key`.
fn readings(store: &S3Store, key: &str) -> [StoreError; 5] {
    [
        store.read(key).unwrap_err(),
        store.read_range(key, 0, &mut [0; 1]).unwrap_err(),
        store.size(key).unwrap_err(),
        store.list("wal-archive/", "").unwrap_err(),
        store.folders("").unwrap_err(),
    ]
}

/// Bytes that differ everywhere.
fn content(size: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[7]
    };
    (0..size).map(|_| next()).collect()
}

/// Everything that a server must do for the store.
fn serves(server: &Server) {
    let store = store_at(server, &server.address);
    suite::run(&store);

    let large = content(19 * MIB + 12_345);
    let mut writer = store.create("base/large").unwrap();
    for piece in large.chunks(1_000_003) {
        writer.write_all(piece).unwrap();
    }
    assert_eq!(store.size("base/large").unwrap_err().fault, StoreFault::NotFound);
    writer.finish().unwrap();
    assert_eq!(store.size("base/large").unwrap(), large.len() as u64);
    assert!(store.read("base/large").unwrap() == large);
    let mut range = vec![0; 17 * MIB];
    store.read_range("base/large", 1_000_001, &mut range).unwrap();
    assert!(range == large[1_000_001..1_000_001 + 17 * MIB]);

    let mut late = store.create("base/late").unwrap();
    late.write_all(&large).unwrap();
    store.put("base/late", b"first").unwrap();
    assert_eq!(late.finish().unwrap_err().fault, StoreFault::Exists);
    assert_eq!(store.read("base/late").unwrap(), b"first");

    for name in ["a b+c%d", "ü-日本", "q?x=1&y#z", "~!'()*,;:@$="] {
        store.put(&format!("odd/{name}"), name.as_bytes()).unwrap();
        assert_eq!(store.read(&format!("odd/{name}")).unwrap(), name.as_bytes());
    }
    assert_eq!(store.list("odd/", "").unwrap().len(), 4);
}

#[test]
fn rclone_serves() {
    let Some(server) = Server::rclone(&[]) else { return };
    serves(&server);
}

#[test]
#[ignore = "heavy: s3s-fs is built first, see make test-heavy"]
fn s3s_fs_serves() {
    let server = Server::s3s_fs().expect("s3s-fs is needed");
    serves(&server);
}

#[test]
fn a_listing_of_many_pages_is_whole() {
    let Some(server) = Server::rclone(&[]) else { return };
    // Before the server is asked for the first time: it remembers folders for a while.
    let folder = server.folder.path().join("backups/pg/shop/many");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..2_345 {
        fs::write(folder.join(format!("{number:06}")), b"x").unwrap();
    }
    let store = store_at(&server, &server.address);
    let listed = store.list("many/", "").unwrap();
    assert_eq!(listed.len(), 2_345);
    assert!(listed.windows(2).all(|pair| pair[0].key < pair[1].key));
}

#[test]
fn a_repository_lives_in_a_bucket() {
    use lifeboat::engine::repository::{PutWal, Repository};
    let Some(server) = Server::rclone(&[]) else { return };
    let other = server.folder.path().join("backups/pg/other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("a file"), "of somebody").unwrap();
    let key = secret_file(server.folder.path(), "master.key", "the master key of this test\n");
    let repository = RepositoryConfig {
        name: "far".into(),
        store: StoreConfig::S3(Box::new(config(&server, &server.address, SECRET))),
        encryption: Encryption::Aes256Cbc { master_key_file: Some(key), master_key_command: None },
        codec: Codec::Gzip,
        level: None,
        workers: None,
        place: Default::default(),
    };
    let opened = Repository::open(&repository, "shop").unwrap_err();
    assert_eq!(opened.fault(), Some(StoreFault::Unavailable), "{opened}");
    let made = Repository::create(&repository, "shop").unwrap();
    made.claim_for(7).unwrap();
    let name = "000000010000000000000003";
    let segment = content(16 * MIB);
    assert_eq!(made.put_wal(name, &segment).unwrap(), PutWal::Stored);
    assert_eq!(made.put_wal(name, &segment).unwrap(), PutWal::AlreadyThere);
    let again = Repository::open(&repository, "shop").unwrap();
    assert!(again.get_wal(name).unwrap().as_deref() == Some(&segment[..]));
    assert_eq!(again.get_wal("000000010000000000000004").unwrap().as_deref(), None);

    // A part of the bucket that holds something else is left alone.
    let refused = Repository::create(&repository, "other").unwrap_err();
    assert_eq!(refused.fault(), Some(StoreFault::Exists), "{refused}");
}

#[test]
fn wrong_keys_are_denied_at_once_and_never_shown() {
    let Some(server) = Server::rclone(&[]) else { return };
    store_at(&server, &server.address).put("there", b"x").unwrap();
    let proxy = Proxy::before(&server);
    let wrong = config(&server, &proxy.address, "a-wrong-secret");
    let store = S3Store::open_within(&wrong, "shop", limits()).unwrap();
    for error in readings(&store, "there") {
        assert_eq!(error.fault, StoreFault::Denied, "{error}");
    }
    let before = proxy.seen().len();
    let error = store.read("there").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert_eq!(proxy.seen().len(), before + 1, "wrong keys are not tried again");
    let shown = format!("{store:?} {error:?} {error}");
    assert!(!shown.contains("a-wrong-secret"), "{shown}");
}

#[test]
fn a_missing_bucket_proves_nothing() {
    let Some(server) = Server::rclone(&[]) else { return };
    let mut config = config(&server, &server.address, SECRET);
    config.bucket = "elsewhere".into();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    for error in readings(&store, "wal-archive/a") {
        assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
    }
    assert_eq!(store.put("a", b"").unwrap_err().fault, StoreFault::Unavailable);
    // Nor does a part of the bucket without the marker.
    config.bucket = "backups".into();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    for error in readings(&store, "wal-archive/a") {
        assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let Some(server) = Server::rclone(&[]) else { return };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = config(&server, &nobody.to_string(), SECRET);
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    let error = store.read("a").unwrap_err();
    assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
    assert!(error.what.contains("tried 4 times"), "{error}");
}

#[test]
fn reads_end_right_on_a_bad_day() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let large = content(20 * MIB);
    store.put("large", &large).unwrap();
    let get = "GET /backups/pg/shop/large";
    for deed in [
        Deed::Say(503, "SlowDown"),
        Deed::Say(500, "InternalError"),
        Deed::Say(400, "RequestTimeout"),
        Deed::Cut(0),
        Deed::Cut(5 * MIB),
        Deed::Stall(3 * MIB),
        Deed::Slow,
    ] {
        proxy.next(get, deed.clone());
        assert!(store.read("large").unwrap() == large, "{deed:?}");
        assert_eq!(proxy.left(), 0);
    }
    // Pieces of one range, some of them cut: each goes on where it stopped.
    for _ in 0..3 {
        proxy.next(get, Deed::Cut(2 * MIB));
    }
    proxy.next(get, Deed::Stall(100_000));
    let mut range = vec![0; 19 * MIB];
    store.read_range("large", 4321, &mut range).unwrap();
    assert!(range == large[4321..4321 + 19 * MIB]);
    assert_eq!(proxy.left(), 0);
}

#[test]
fn a_bad_day_without_end_is_told() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    store.put("object", &content(MIB)).unwrap();
    for (deed, fault) in [
        (Deed::Say(503, "SlowDown"), StoreFault::Throttled),
        (Deed::Say(500, "InternalError"), StoreFault::Unavailable),
        (Deed::Cut(300), StoreFault::Unavailable),
        (Deed::Stall(0), StoreFault::TimedOut),
    ] {
        for _ in 0..limits().tries {
            proxy.next("/backups/pg/shop/object", deed.clone());
        }
        let error = store.read("object").unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.what.contains("tried 4 times"), "{error}");
        assert_eq!(proxy.left(), 0);
    }
    // A 404 of somebody in between is no proof that the object is not there.
    proxy.next("GET /backups/pg/shop/object", Deed::Say(404, ""));
    assert_eq!(store.read("object").unwrap_err().fault, StoreFault::Unavailable);
}

#[test]
fn writes_end_right_on_a_bad_day() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let (small, large) = (content(MIB), content(18 * MIB));
    // The name alone is no proof: another's object under it is refused, one's own is not.
    for (number, deed) in [
        Deed::Say(503, "SlowDown"),
        Deed::Say(400, "BadDigest"),
        Deed::Say(409, "ConditionalRequestConflict"),
        Deed::Say(501, "NotImplemented"),
        Deed::Cut(0),
        Deed::LoseAnswer,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("small/{number}");
        proxy.next(&format!("PUT /backups/pg/shop/{key}"), deed.clone());
        store.put(&key, &small).unwrap_or_else(|e| panic!("{deed:?}: {e}"));
        assert!(store.read(&key).unwrap() == small, "{deed:?}");
        assert_eq!(store.put(&key, &small).unwrap_err().fault, StoreFault::Exists);
    }
    for (number, (what, deed)) in [
        ("?partNumber=2", Deed::Say(503, "SlowDown")),
        ("?partNumber=1", Deed::Cut(0)),
        ("?partNumber=3", Deed::LoseAnswer),
        ("?uploadId", Deed::Say(200, "InternalError")),
        ("POST", Deed::Say(500, "InternalError")),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("large/{number}");
        proxy.next(what, deed.clone());
        store.put(&key, &large).unwrap_or_else(|e| panic!("{deed:?}: {e}"));
        assert!(store.read(&key).unwrap() == large, "{deed:?}");
        assert_eq!(proxy.left(), 0);
    }
    assert!(!proxy.seen().iter().any(|line| line.starts_with("DELETE")), "nothing was given up");
}

#[test]
fn what_publishes_a_name_says_only_if_it_is_not_there() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    store.put("small", b"x").unwrap();
    store.put("large", &content(9 * MIB)).unwrap();
    let seen = proxy.seen();
    let publishes = |line: &&String| {
        line.starts_with("PUT /backups/pg/shop/small") || line.contains("large?uploadId")
    };
    let publishing: Vec<_> = seen.iter().filter(publishes).collect();
    assert_eq!(publishing.len(), 2, "{seen:?}");
    assert!(publishing.iter().all(|line| line.ends_with(" if absent")), "{publishing:?}");
    // Somebody writes the name after it was looked for.
    for (key, request, size) in [("raced", "PUT", 10), ("raced-large", "POST", 9 * MIB)] {
        let name = format!("{request} /backups/pg/shop/{key}");
        if request == "POST" {
            proxy.next(&format!("{name}?uploadId"), Deed::Say(412, "PreconditionFailed"));
        } else {
            proxy.next(&name, Deed::Say(412, "PreconditionFailed"));
        }
        let error = store.put(key, &content(size)).unwrap_err();
        assert_eq!(error.fault, StoreFault::Exists, "{error}");
        assert_eq!(proxy.left(), 0);
    }
}

#[test]
fn retention_is_asked_for_with_every_object() {
    use lifeboat::engine::config::{LockMode, ObjectLock};
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    store_at(&server, &server.address);
    let mut config = config(&server, &proxy.address, SECRET);
    config.object_lock = Some(ObjectLock { mode: LockMode::Compliance, days: 30 });
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    assert_eq!(store.retention(), Some((LockMode::Compliance, 30)));
    store.put("small", b"x").unwrap();
    store.put("large", &content(9 * MIB)).unwrap();
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    let day = day.strftime("%Y-%m-%dt").to_string();
    for begins in ["put /backups/pg/shop/small", "post /backups/pg/shop/large?uploads"] {
        let heads = proxy.heads();
        let head = heads.iter().find(|head| head.starts_with(begins)).unwrap();
        assert!(head.contains("x-amz-object-lock-mode: compliance\r\n"), "{head}");
        assert!(head.contains(&format!("x-amz-object-lock-retain-until-date: {day}")), "{head}");
    }
}

#[test]
fn a_lost_answer_to_the_last_request_of_an_upload_is_settled() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let large = content(18 * MIB);
    let mut writer = store.create("large").unwrap();
    writer.write_all(&large).unwrap();
    let completes = "POST /backups/pg/shop/large?uploadId";
    proxy.next(completes, Deed::LoseAnswer);
    // It is there: whatever the server says to the second request, the outcome must be the truth.
    writer.finish().unwrap();
    assert!(store.read("large").unwrap() == large);
}

#[test]
fn an_upload_that_fails_or_is_dropped_is_thrown_away() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let aborted = || proxy.seen().iter().filter(|line| line.starts_with("DELETE")).count();
    let mut dropped = store.create("dropped").unwrap();
    dropped.write_all(&content(17 * MIB)).unwrap();
    drop(dropped);
    assert_eq!(aborted(), 1);
    for _ in 0..limits().tries {
        proxy.next("?partNumber=2", Deed::Say(500, "InternalError"));
    }
    let mut failed = store.create("failed").unwrap();
    let outcome = failed.write_all(&content(40 * MIB)).map_err(|e| e.to_string());
    let outcome = outcome.and_then(|()| failed.finish().map_err(|e| e.to_string()));
    assert!(outcome.unwrap_err().contains("InternalError"));
    assert_eq!(aborted(), 2);
    for key in ["dropped", "failed"] {
        assert_eq!(store.size(key).unwrap_err().fault, StoreFault::NotFound);
    }
}

#[test]
fn keys_that_expire_in_the_middle_are_fetched_again() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    store_at(&server, &server.address).put("object", b"content").unwrap();
    let counter = server.folder.path().join("asked");
    let script = server.folder.path().join("keys.sh");
    let soon = "$(date -u -d '+2 hours' +%Y-%m-%dT%H:%M:%SZ)";
    let answer = format!(
        "#!/bin/sh\necho x >> '{}'\necho '{{\"Version\":1,\"AccessKeyId\":\"{ID}\",\
         \"SecretAccessKey\":\"{SECRET}\",\"Expiration\":\"'{soon}'\"}}'\n",
        counter.display()
    );
    fs::write(&script, answer).unwrap();
    let mut config = config(&server, &proxy.address, SECRET);
    let command = vec!["/bin/sh".to_owned(), script.display().to_string()];
    config.credentials = S3Credentials::Process { command };
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    let asked = || fs::read_to_string(&counter).map_or(0, |text| text.lines().count());
    for _ in 0..3 {
        assert_eq!(store.read("object").unwrap(), b"content");
    }
    assert_eq!(asked(), 1, "keys are kept");
    proxy.next("GET", Deed::Say(400, "ExpiredToken"));
    assert_eq!(store.read("object").unwrap(), b"content");
    assert_eq!(asked(), 2);
    for _ in 0..2 {
        proxy.next("GET", Deed::Say(400, "ExpiredToken"));
    }
    let error = store.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    // A program that fails is named; what it printed as a secret is not.
    fs::write(&script, format!("echo '{SECRET}'; exit 3")).unwrap();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    let error = store.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert!(!format!("{error:?}").contains(SECRET), "{error}");
}

#[test]
fn a_keys_file_that_others_can_read_is_refused() {
    let Some(server) = Server::rclone(&[]) else { return };
    let config = config(&server, &server.address, SECRET);
    let S3Credentials::File { path, .. } = &config.credentials else { unreachable!() };
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = S3Store::open(&config, "shop").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
}

#[test]
fn a_private_authority_is_believed_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(openssl) = program("openssl", "LIFEBOAT_OPENSSL") else { return };
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |line: String| {
        let done = Command::new(&openssl).args(line.split(' ')).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(format!("req -x509 {key} -subj /CN=ca -days 2 -keyout {} -out {}", at("ca.key"), at("ca")));
    fs::write(at("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(format!("req -new {key} -subj /CN=server -keyout {} -out {}", at("key"), at("csr")));
    run(format!(
        "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days 2 -extfile {} -out {}",
        at("csr"),
        at("ca"),
        at("ca.key"),
        at("san"),
        at("cert")
    ));
    let Some(server) = Server::rclone(&["--cert", &at("cert"), "--key", &at("key")]) else {
        return;
    };
    let mut config = config(&server, &server.address, SECRET);
    config.endpoint = Some(format!("https://{}", server.address));
    let stranger = S3Store::open_within(&config, "shop", limits()).unwrap();
    let started = Instant::now();
    let error = stranger.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "it is not tried again");
    config.root_certificate = Some(PathBuf::from(at("ca")));
    let store = S3Store::make(&config, "shop").unwrap();
    store.put(MARKER, b"{}").unwrap();
    let large = content(9 * MIB);
    store.put("object", &large).unwrap();
    assert!(store.read("object").unwrap() == large);
}

#[test]
fn it_works_from_any_thread() {
    let Some(server) = Server::rclone(&[]) else { return };
    let store = store_at(&server, &server.address);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let inside = store.clone();
    runtime.block_on(async move {
        inside.put("from/inside", b"a runtime").unwrap();
        let inside = inside.clone();
        let read = tokio::task::spawn_blocking(move || inside.read("from/inside"));
        assert_eq!(read.await.unwrap().unwrap(), b"a runtime");
    });
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let key = format!("from/thread-{number}");
                store.put(&key, key.as_bytes()).unwrap();
                assert_eq!(store.read(&key).unwrap(), key.as_bytes());
            });
        }
    });
    assert_eq!(store.list("from/", "thread-").unwrap().len(), 8);
}

/// Where the child test finds its server.
const CHILD: &str = "LIFEBOAT_TEST_S3_CONFIG";

/// Reads in a process of its own, since where keys come from is in the environment.
fn read_in_a_child(config: &S3Config, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "reads_as_its_environment_says", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        child.env_remove(name);
    }
    child.env("HOME", "/nonexistent").env(CHILD, toml::to_string(config).unwrap());
    let done = child.envs(environment.iter().copied()).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
#[ignore = "run by other tests, in an environment of theirs"]
fn reads_as_its_environment_says() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let config: S3Config = toml::from_str(&text).unwrap();
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    match store.read("object") {
        Ok(content) => assert_eq!(content, b"content"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn keys_come_from_wherever_the_machine_has_them() {
    let Some(server) = Server::rclone(&[]) else { return };
    let folder = server.folder.path();
    let cloud = Cloud::start();
    let here = format!("http://{}", cloud.address);
    let task = format!("{here}/task");
    store_at(&server, &server.address).put("object", b"content").unwrap();
    let mut config = config(&server, &server.address, SECRET);
    let token = secret_file(folder, "token", "who-i-am");
    let (token_path, profile_path) = (token.display().to_string(), folder.join("config"));
    let keys =
        format!("{{\"Version\":1,\"AccessKeyId\":\"{ID}\",\"SecretAccessKey\":\"{SECRET}\"}}");
    let printed = secret_file(folder, "printed", &keys);
    let process = format!("[profile far]\ncredential_process = cat {}\n", printed.display());
    fs::write(&profile_path, process).unwrap();
    let profile_path = profile_path.display().to_string();
    let metadata = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", here.as_str());
    let no_metadata = ("AWS_EC2_METADATA_DISABLED", "true");
    let chain = || S3Credentials::Chain { profile: None };
    let far = S3Credentials::Chain { profile: Some("far".into()) };
    let identity = S3Credentials::WebIdentity {
        role_arn: "arn:aws:iam::1:role/r".into(),
        token_file: token,
        session_name: None,
    };
    for (source, environment) in [
        (chain(), vec![("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)]),
        (far, vec![("AWS_CONFIG_FILE", profile_path.as_str())]),
        (
            chain(),
            vec![
                ("AWS_WEB_IDENTITY_TOKEN_FILE", token_path.as_str()),
                ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
                ("AWS_ENDPOINT_URL_STS", here.as_str()),
            ],
        ),
        (identity, vec![("AWS_ENDPOINT_URL_STS", here.as_str())]),
        (S3Credentials::Ecs, vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", task.as_str())]),
        (chain(), vec![metadata]),
        (S3Credentials::Ec2, vec![metadata]),
    ] {
        config.credentials = source.clone();
        if let Err(said) = read_in_a_child(&config, &environment) {
            panic!("{source:?} with {environment:?}: {said}\n{:?}", cloud.seen());
        }
    }
    config.credentials = chain();
    let said = read_in_a_child(&config, &[no_metadata]).unwrap_err();
    assert!(said.contains("there are no access keys from"), "{said}");
}
