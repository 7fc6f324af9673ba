//! The folder of incidents.

use jiff::Timestamp;
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::event::{Declaration, Event};
use lifeboat::engine::incident::facts::{Actor, Role, Tier};
use lifeboat::engine::incident::journal::{self, Journal};
use lifeboat::engine::incident::model::{Phase, RunStatus};
use lifeboat::engine::incident::store::{Listed, Store, StoreError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn declaration(id: &str) -> Declaration {
    Declaration {
        id: id.to_owned(),
        cluster: String::from("orders"),
        tier: Tier::High,
        environment: String::from("production"),
        title: String::from("orders are gone"),
        identity: None,
        drill: None,
    }
}

fn journalled(folder: &Path, id: &str, close: bool) {
    let anna = Actor { user: String::from("anna"), uid: 1000, role: Role::Commander };
    let mut journal = Journal::open(folder).unwrap().journal;
    let at = at("2025-01-13T10:00:00Z");
    journal.append(at, &anna, Event::IncidentDeclared(declaration(id))).unwrap();
    if close {
        let summary = String::from("over");
        journal.append(at, &anna, Event::IncidentClosed { summary }).unwrap();
    }
}

#[test]
fn numbers_count_up_by_the_day_in_utc() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let next = |time: &str| store.create(at(time)).unwrap().0;
    // Still the thirteenth in UTC.
    assert_eq!(next("2025-01-14T00:30:00+01:00"), "INC-20250113-001");
    assert_eq!(next("2025-01-13T23:59:59Z"), "INC-20250113-002");
    assert_eq!(next("2025-01-14T00:00:00Z"), "INC-20250114-001");
    fs::create_dir(store.root().join("INC-20250114-999")).unwrap();
    assert_eq!(next("2025-01-14T00:00:00Z"), "INC-20250114-1000");
    let ids: Vec<_> = store.list().unwrap().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(
        ids,
        [
            "INC-20250114-1000",
            "INC-20250114-999",
            "INC-20250114-001",
            "INC-20250113-002",
            "INC-20250113-001"
        ]
    );
    let mode = store.root().join(&ids[0]).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn many_at_once_get_a_number_each() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let mut ids: Vec<_> = std::thread::scope(|scope| {
        let make = || store.create(at("2025-01-13T10:00:00Z")).unwrap().0;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ids.sort();
    let expected: Vec<_> = (1..=16).map(|number| format!("INC-20250113-{number:03}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn the_list_shows_what_is_whole_and_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    assert_eq!(store.list().unwrap(), []);
    let now = at("2025-01-13T10:00:00Z");
    for close in [false, true, false] {
        let (id, folder) = store.create(now).unwrap();
        journalled(&folder, &id, close);
    }
    let damaged = store.folder("INC-20250113-003").unwrap().join(journal::FILE);
    fs::write(&damaged, "{\"seq\":1}\n{\"seq\":2}\n").unwrap();
    fs::write(store.root().join("notes.txt"), "").unwrap();
    let list = store.list().unwrap();
    let [Listed::Damaged { id, explanation, .. }, Listed::Whole(closed), Listed::Whole(open)] =
        &list[..]
    else {
        panic!("{list:?}");
    };
    assert_eq!((&**id, explanation.kind), ("INC-20250113-003", Kind::Integrity));
    assert_eq!((closed.phase, closed.closed), (Phase::Closed, Some(now)));
    assert_eq!((open.phase, open.status), (Phase::Assessment, RunStatus::Planning));
    assert_eq!((&*open.cluster, open.declared, open.runner_alive), ("orders", Some(now), false));
    let held = Journal::open(&open.folder).unwrap();
    let Listed::Whole(open) = store.list().unwrap().remove(2) else { panic!("not whole") };
    assert!(open.runner_alive);
    drop(held);
}

#[test]
fn only_numbers_of_incidents_name_folders() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    for id in ["", "..", "INC-20250113-001/..", "INC-2025-001", "inc-20250113-001"] {
        assert!(matches!(store.folder(id), Err(StoreError::BadId(_))), "{id}");
    }
    let missing = store.folder("INC-20250113-001");
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}
