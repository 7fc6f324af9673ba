//! The store before servers that behave, and what it asks of them.

use super::*;
use lifeboat::engine::repository::anchor::Anchor;

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
#[ignore = "heavy: s3s-fs is built first, see make test-s3"]
fn s3s_fs_serves() {
    let server = Server::s3s_fs().expect("s3s-fs is needed");
    serves(&server);
}

/// As after a writer that was killed: its parts are seen by nobody, and are thrown away once asked.
fn aborts_what_was_left(server: &Server) {
    let store = store_at(server, &server.address);
    let begin = |key: &str| {
        let mut writer = store.create(key).unwrap();
        writer.write_all(&content(9 * MIB)).unwrap();
        std::mem::forget(writer);
    };
    begin("base-20250113-020000.tar.gz.enc");
    begin("elsewhere/of-somebody");
    let found = wait_until(
        || store.unfinished(&["wal-archive/"]).unwrap(),
        |all| all.first().is_some_and(|one| one.bytes > 0),
    );
    let [left] = &found[..] else { panic!("{found:?}") };
    assert_eq!(left.key, "base-20250113-020000.tar.gz.enc");
    let now = jiff::Timestamp::now();
    assert!(now.duration_since(left.active).abs() < jiff::SignedDuration::from_mins(5), "{left:?}");
    assert!(!left.is_abandoned(now));
    assert!(left.is_abandoned(now + jiff::SignedDuration::from_hours(25)));
    // A part came since it was looked at.
    let older = Unfinished { bytes: left.bytes + 1, ..left.clone() };
    assert!(!store.discard(&older).unwrap());
    assert!(store.discard(left).unwrap());
    assert!(!store.discard(left).unwrap());
    assert!(store.unfinished(&["wal-archive/"]).unwrap().is_empty());
    assert_eq!(store.unfinished(&["elsewhere/"]).unwrap().len(), 1);
}

/// The part is on its way when the writer is forgotten.
fn wait_until<T>(mut look: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let mut seen = look();
    crate::support::wait_within(Duration::from_secs(20), "what is looked for", || {
        good(&seen) || {
            seen = look();
            false
        }
    });
    seen
}

#[test]
fn uploads_that_were_left_are_found_and_aborted() {
    let Some(server) = Server::rclone(&[]) else { return };
    aborts_what_was_left(&server);
}

#[test]
#[ignore = "heavy: moto is fetched first, see make test-s3"]
fn uploads_that_were_left_are_found_and_aborted_by_moto_too() {
    let server = Server::moto().expect("moto is needed");
    aborts_what_was_left(&server);
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
        encryption: Encryption::Aes256Cbc {
            master_key_file: Some(key),
            master_key_command: None,
            previous_master_key_file: None,
        },
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

    // An anchor is put once and never replaced; those of another journal stand beside it.
    let lines = ["ab".repeat(32), "cd".repeat(32)];
    let at = jiff::Timestamp::UNIX_EPOCH;
    let anchor = Anchor::new("INC-20250113-001", "shop", at, 1, &lines);
    assert!(again.put_anchor(&anchor).unwrap());
    let forged = Anchor { host: String::from("elsewhere"), ..anchor.clone() };
    assert!(!again.put_anchor(&forged).unwrap());
    let other = ["ef".repeat(32)];
    assert!(again.put_anchor(&Anchor::new(&anchor.incident, "shop", at, 2, &other)).unwrap());
    let found = made.anchored(&anchor.incident).unwrap();
    assert_eq!((found.count, found.entries[&1].len(), found.entries[&2].len()), (2, 1, 2));
    assert!(again.unfinished().unwrap().is_empty());

    // A part of the bucket that holds something else is left alone.
    let refused = Repository::create(&repository, "other").unwrap_err();
    assert_eq!(refused.fault(), Some(StoreFault::Exists), "{refused}");
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
    // No disk is to blame, in a reading and in a writing.
    for error in [error, store.put("a", &content(MIB)).unwrap_err()] {
        let told = error.explanation();
        assert_eq!(told.kind, Kind::Connection, "{told}");
        assert!(told.next.contains("server answers"), "{told}");
    }
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
    // A server that cannot prove who it is; the store never tries that again.
    let error = stranger.read("object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    config.root_certificate = Some(PathBuf::from(at("ca")));
    let store = S3Store::make(&config, "shop").unwrap();
    store.put(MARKER, b"{}").unwrap();
    let large = content(9 * MIB);
    store.put("object", &large).unwrap();
    assert!(store.read("object").unwrap() == large);
}

/// The first answer comes once four different parts are asked for: one after another never ends.
#[test]
fn a_long_range_is_read_in_parallel() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let large = content(40 * MIB);
    store_at(&server, &server.address).put("large", &large).unwrap();
    let store = S3Store::open(&config(&server, &proxy.address, SECRET), "shop").unwrap();
    proxy.outage(Deed::Company(4));
    let mut range = vec![0; 33 * MIB];
    store.read_range("large", 12_345, &mut range).unwrap();
    assert!(range == large[12_345..12_345 + 33 * MIB]);
    let heads = proxy.heads();
    let mut first: Vec<&str> = heads.iter().filter_map(|head| range_of(head)).take(4).collect();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 4, "{first:?}");
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
