//! The erasure list on a real server: what it names goes, once, whole or not at all, and no key is
//! told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use lifeboat::engine::config::Cluster;
use lifeboat::engine::config::erasure::Erasure;
use lifeboat::engine::erasure::check;
use lifeboat::engine::erasure::list::List;
use lifeboat::engine::erasure::replay::{Deed, Outcome, go_through};
use lifeboat::engine::incident::facts::{Check, Verdict};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::TestCluster;

const HEAD: &str = "{\"format\":\"lifeboat-erasure-list/1\"}";

fn shop() -> TestCluster {
    let cluster = TestCluster::start(&[]);
    cluster.sql(
        "CREATE TABLE people (id int PRIMARY KEY, mail varchar(40) UNIQUE, key uuid, code char(6));
         CREATE TABLE letters (id int PRIMARY KEY, person int NOT NULL REFERENCES people, text text);
         CREATE TABLE calls (id int PRIMARY KEY, person int,
                             CONSTRAINT caller FOREIGN KEY (person) REFERENCES people
                             DEFERRABLE INITIALLY IMMEDIATE);
         INSERT INTO people SELECT g, g || '@example.org', md5(g::text)::uuid, 'c' || g
           FROM generate_series(1, 50) g;
         INSERT INTO letters SELECT g, g % 50 + 1, 'x' FROM generate_series(1, 100) g;
         INSERT INTO calls SELECT g, g FROM generate_series(1, 20) g",
    );
    cluster.sql("CREATE DATABASE other");
    cluster.sql_in("other", "CREATE TABLE t (id bigint, name text); INSERT INTO t SELECT g, 'n' || g FROM generate_series(1, 9) g");
    cluster
}

fn value(table: &str, column: &str, value: &str) -> String {
    format!("{{\"table\":\"public.{table}\",\"column\":\"{column}\",\"value\":\"{value}\"}}")
}

fn list(lines: &[String]) -> List {
    List::parse(&[&[HEAD.to_owned()], lines].concat().join("\n"), "postgres").unwrap()
}

fn run(cluster: &TestCluster, lines: &[String], deed: Deed) -> Vec<Outcome> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(go_through(&cluster.connection(), &list(lines), deed))
}

fn checks(cluster: &TestCluster, config: &Cluster) -> Vec<Check> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check::checks(&cluster.connection(), config))
}

#[test]
fn what_the_list_names_goes_once_and_no_key_is_told() {
    let cluster = shop();
    let hash =
        |name: &str| data_encoding::HEXLOWER.encode(&Sha256::digest(format!("a salt of it{name}")));
    let hashed = |name: &str| {
        format!(
            "{{\"database\":\"other\",\"table\":\"public.t\",\"column\":\"name\",\"sha256\":\"{}\",\
             \"salt\":\"a salt of it\"}}",
            hash(name)
        )
    };
    let lines = vec![
        value("letters", "person", "7"),
        value("people", "mail", "7@example.org"),
        // A longer text than the column takes is no other person's.
        value("people", "code", "c8    x"),
        value("people", "id", "999"),
        value("calls", "person", "7"),
        value("nowhere", "id", "1"),
        hashed("n3"),
        hashed("n4"),
    ];
    // Counting changes nothing.
    let found = run(&cluster, &lines, Deed::Count);
    let rows = |outcomes: &[Outcome]| outcomes.iter().map(Outcome::rows).collect::<Vec<_>>();
    assert_eq!(rows(&found), [4, 2], "{found:?}");
    assert_eq!(cluster.value("SELECT count(*) FROM people"), "50");

    let done = run(&cluster, &lines, Deed::Erase);
    assert!(done.iter().all(|one| one.failed.is_none()), "{done:?}");
    assert_eq!(rows(&done), [4, 2]);
    let told = done[0].told();
    assert!(
        told.contains("public.letters 2") && told.contains("public.nowhere not there"),
        "{told}"
    );
    let words = serde_json::to_string(&done).unwrap() + &told;
    assert!(!words.contains("@example") && !words.contains(&hash("n3")), "{words}");
    assert_eq!(cluster.value("SELECT count(*) FROM people WHERE id IN (7, 8)"), "1");
    assert_eq!(cluster.sql_in("other", "SELECT count(*) FROM t")[0][0], "7");
    // Again: nothing more to do.
    assert_eq!(rows(&run(&cluster, &lines, Deed::Erase)), [0, 0]);
}

#[test]
fn a_row_that_others_refer_to_undoes_its_database_and_says_which_key() {
    let cluster = shop();
    let lines = vec![
        value("calls", "person", "9"),
        value("people", "id", "9"),
        "{\"database\":\"other\",\"table\":\"public.t\",\"column\":\"id\",\"value\":\"5\"}"
            .to_owned(),
    ];
    let done = run(&cluster, &lines, Deed::Erase);
    let why = done[0].failed.clone().unwrap();
    assert!(why.contains("letters_person_fkey") && why.contains("letters"), "{why}");
    assert_eq!(cluster.value("SELECT count(*) FROM calls WHERE person = 9"), "1", "rolled back");
    assert_eq!((done[1].rows(), done[1].failed.as_ref()), (1, None), "the other database is done");
    for (lines, says) in [
        (value("people", "id", "secret"), "no value of its column's type"),
        (value("people", "gone", "secret"), "has no column gone"),
    ] {
        let done = run(&cluster, &[lines], Deed::Erase);
        let why = done[0].failed.clone().unwrap();
        assert!(why.contains(says) && !why.contains("secret"), "{why}");
    }
    let away = "{\"database\":\"away\",\"table\":\"public.t\",\"column\":\"id\",\"value\":\"5\"}";
    assert!(run(&cluster, &[away.to_owned()], Deed::Erase)[0].failed.is_some());

    // A key that may be looked at later does not mind the order.
    let later = vec![value("people", "id", "60"), value("calls", "person", "60")];
    cluster.sql("INSERT INTO people VALUES (60); INSERT INTO calls VALUES (60, 60)");
    let done = run(&cluster, &later, Deed::Erase);
    assert_eq!((done[0].rows(), done[0].failed.as_ref()), (2, None));
}

#[test]
fn the_validation_says_whether_anybody_is_back() {
    let cluster = shop();
    let path = cluster.root.path().join("erased.jsonl");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let config = Cluster {
        erasure: Some(Erasure { list: path.clone(), required: false }),
        ..cluster.config()
    };
    assert!(checks(&cluster, &cluster.config()).is_empty(), "no list, no check");
    write(&format!("{HEAD}\n{}", value("letters", "id", "3")));
    let back = checks(&cluster, &config);
    assert_eq!((back[0].verdict, back.len()), (Verdict::Failed, 1), "{back:?}");
    cluster.sql("DELETE FROM letters WHERE id = 3");
    assert_eq!(checks(&cluster, &config)[0].verdict, Verdict::Verified);
    write("not a list");
    assert_eq!(checks(&cluster, &config)[0].verdict, Verdict::CouldNotVerify);
    write(&format!("{HEAD}\n{}", value("letters", "gone", "3")));
    assert_eq!(checks(&cluster, &config)[0].verdict, Verdict::CouldNotVerify);
    cluster.stop_server("fast");
    assert_eq!(checks(&cluster, &config)[0].verdict, Verdict::CouldNotVerify);
}
