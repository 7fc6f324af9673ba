//! What every store must do, whatever it keeps its objects in. For tests: a new store runs this
//! over an empty place that has the marker.

use super::{ObjectInfo, Store, StoreError, StoreFault};
use std::io::Write;

/// Runs the whole suite. The store holds nothing but its marker.
///
/// # Panics
/// Where the store breaks the contract.
pub fn run(store: &dyn Store) {
    reads_what_was_put(store);
    never_overwrites(store);
    drops_what_was_not_finished(store);
    lists_one_level_in_order(store);
    proves_absence(store);
    refuses_bad_keys(store);
    removes_what_is_named(store);
}

/// The error of each way to read `key`.
///
/// # Panics
/// Where one of them succeeds.
pub fn every_reading(store: &dyn Store, key: &str) -> Vec<StoreError> {
    let folder = key.rsplit_once('/').map_or(String::new(), |(f, _)| format!("{f}/"));
    vec![
        store.read(key).unwrap_err(),
        store.read_range(key, 0, &mut [0; 1]).unwrap_err(),
        store.size(key).unwrap_err(),
        store.settle(key).unwrap_err(),
        store.list(&folder, "").unwrap_err(),
        store.folders("").unwrap_err(),
    ]
}

fn reads_what_was_put(store: &dyn Store) {
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    store.put("read/deep/er/object", &content).unwrap();
    store.settle("read/deep/er/object").unwrap();
    assert_eq!(store.read("read/deep/er/object").unwrap(), content);
    assert_eq!(store.size("read/deep/er/object").unwrap(), content.len() as u64);
    let mut range = vec![0; 70_001];
    store.read_range("read/deep/er/object", 65_533, &mut range).unwrap();
    assert_eq!(range, content[65_533..65_533 + 70_001]);
    store.read_range("read/deep/er/object", content.len() as u64, &mut []).unwrap();
    let beyond = content.len() as u64 - 10;
    let short = store.read_range("read/deep/er/object", beyond, &mut [0; 11]).unwrap_err();
    assert_ne!(short.fault, StoreFault::NotFound, "a short object is there");
    store.put("read/empty", b"").unwrap();
    assert_eq!(store.read("read/empty").unwrap(), b"");
}

fn never_overwrites(store: &dyn Store) {
    let mut late = store.create("once/object").unwrap();
    late.write_all(b"late").unwrap();
    store.put("once/object", b"first").unwrap();
    assert_eq!(late.finish().unwrap_err().fault, StoreFault::Exists);
    let again = store.put("once/object", b"second").unwrap_err();
    assert_eq!(again.fault, StoreFault::Exists);
    assert_eq!(store.read("once/object").unwrap(), b"first");
}

fn drops_what_was_not_finished(store: &dyn Store) {
    let mut writer = store.create("dropped/object").unwrap();
    writer.write_all(&[1; 100_000]).unwrap();
    assert_eq!(store.read("dropped/object").unwrap_err().fault, StoreFault::NotFound);
    assert!(store.list("dropped/", "").unwrap().is_empty(), "an object before its time");
    drop(writer);
    assert!(store.list("dropped/", "").unwrap().is_empty());
    store.put("dropped/object", b"later").unwrap();
}

fn lists_one_level_in_order(store: &dyn Store) {
    for key in ["list/b.2", "list/a.1", "list/b.10", "list/sub/c", "list/tub/d"] {
        store.put(key, key.as_bytes()).unwrap();
    }
    let keys = |objects: Vec<ObjectInfo>| objects.into_iter().map(|o| o.key).collect::<Vec<_>>();
    assert_eq!(keys(store.list("list/", "").unwrap()), ["list/a.1", "list/b.10", "list/b.2"]);
    assert_eq!(keys(store.list("list/", "b.").unwrap()), ["list/b.10", "list/b.2"]);
    assert_eq!(store.list("list/", "a").unwrap()[0].size, 8);
    assert_eq!(store.folders("list/").unwrap(), ["sub", "tub"]);
    assert!(store.list("nothing/", "").unwrap().is_empty());
    assert!(store.folders("nothing/").unwrap().is_empty());
}

fn proves_absence(store: &dyn Store) {
    for key in ["absent", "absent/deep/object", "list/absent"] {
        assert_eq!(store.read(key).unwrap_err().fault, StoreFault::NotFound);
        assert_eq!(store.size(key).unwrap_err().fault, StoreFault::NotFound);
        let range = store.read_range(key, 0, &mut [0; 1]).unwrap_err();
        assert_eq!(range.fault, StoreFault::NotFound);
    }
}

fn removes_what_is_named(store: &dyn Store) {
    store.put("remove/one", b"1").unwrap();
    store.put("remove/other", b"2").unwrap();
    assert_eq!(store.hold("remove/one").unwrap(), None, "nothing keeps it");
    store.remove("remove/one").unwrap();
    assert_eq!(store.read("remove/one").unwrap_err().fault, StoreFault::NotFound);
    assert_eq!(store.remove("remove/one").unwrap_err().fault, StoreFault::NotFound);
    assert_eq!(store.hold("remove/one").unwrap_err().fault, StoreFault::NotFound);
    assert_eq!(store.read("remove/other").unwrap(), b"2");
    store.put("remove/one", b"again").unwrap();
    assert_eq!(store.read("remove/one").unwrap(), b"again");
    assert_eq!(store.remove(super::MARKER).unwrap_err().fault, StoreFault::Denied);
    let listed = store.list("remove/", "").unwrap();
    let now = jiff::Timestamp::now();
    let age = |at: jiff::Timestamp| now.duration_since(at).as_secs().abs();
    assert!(listed.iter().all(|o| o.written.is_some_and(|at| age(at) < 3600)), "{listed:?}");
}

fn refuses_bad_keys(store: &dyn Store) {
    let bad = ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a/.", ".a"];
    for key in bad.into_iter().chain(["a\0b", "a\nb", "a\\b"]) {
        assert_eq!(store.put(key, b"").unwrap_err().fault, StoreFault::Denied, "{key:?}");
        assert_eq!(store.read(key).unwrap_err().fault, StoreFault::Denied, "{key:?}");
        assert_eq!(store.size(key).unwrap_err().fault, StoreFault::Denied, "{key:?}");
        assert_eq!(store.remove(key).unwrap_err().fault, StoreFault::Denied, "{key:?}");
    }
    for folder in ["/", "../", "a/../", "a"] {
        assert_eq!(store.list(folder, "").unwrap_err().fault, StoreFault::Denied, "{folder:?}");
    }
}
