//! A collation's version that is another than the one that its indexes were built with: written
//! into the catalogue, since one machine has one version of the library alone. The indexes are
//! really rebuilt and the version is really recorded.

use super::{
    Client, DATABASE, Failed, Sandbox, Stage, Verified, agree, look, one, proposed, sql, told,
};

/// A database whose own default is ICU's, from PostgreSQL 15 on.
const OTHER: &str = "atlas";

/// Whether the server has ICU, and whether a database's own default can be it.
fn icu(sandbox: &Sandbox) -> (bool, bool) {
    let has = sql(sandbox, "SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'") == "t";
    let version: u32 = sql(sandbox, "SHOW server_version_num").parse().unwrap();
    (has, has && version >= 150_000)
}

pub fn furnish(sandbox: &Sandbox) {
    let (has, whole) = icu(sandbox);
    if !has {
        return eprintln!("NOT RUN: the rebuilding of collations: this server has no ICU.");
    }
    sql(
        sandbox,
        "CREATE COLLATION sorted (provider = icu, locale = 'de'); \
         CREATE TABLE places (name text COLLATE sorted PRIMARY KEY, \
         during int4range, EXCLUDE USING gist (during WITH &&)); \
         CREATE INDEX places_upper ON places (upper(name) COLLATE sorted); \
         INSERT INTO places SELECT 'place ' || g, int4range(g, g + 1) FROM generate_series(1, 500) g",
    );
    if whole {
        sql(
            sandbox,
            &format!(
                "CREATE DATABASE {OTHER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' \
                 LOCALE_PROVIDER icu ICU_LOCALE 'de'"
            ),
        );
        let table = "CREATE TABLE rivers (name text PRIMARY KEY); \
                     INSERT INTO rivers SELECT 'river ' || g FROM generate_series(1, 500) g";
        in_other(sandbox, table);
    }
}

fn in_other(sandbox: &Sandbox, statement: &str) -> String {
    let server = sandbox.server();
    sandbox.runtime().unwrap().block_on(async {
        let client = server.connect("postgres", OTHER).await.unwrap();
        super::first(&client, statement).await
    })
}

const FILES: &str = "SELECT string_agg(pg_relation_filenode(c.oid)::text, ' ' ORDER BY relname) \
     FROM pg_class c WHERE relname IN ('places_pkey', 'places_upper', 'rivers_pkey')";
/// It has no text and stays.
const RANGES: &str = "SELECT pg_relation_filenode('places_during_excl')";

pub fn rebuild(stage: &Stage, client: &Client) {
    let sandbox = &stage.sandbox;
    let (has, whole) = icu(sandbox);
    if !has {
        return;
    }
    let oid = sql(sandbox, "SELECT oid FROM pg_collation WHERE collname = 'sorted'");
    let actual = sql(sandbox, &format!("SELECT pg_collation_actual_version({oid})"));
    sql(sandbox, &format!("UPDATE pg_collation SET collversion = '0.1' WHERE oid = {oid}"));
    let mut expected = vec![format!("{DATABASE}/{oid}={actual}")];
    if whole {
        let other =
            format!("UPDATE pg_database SET datcollversion = '0.1' WHERE datname = '{OTHER}'");
        sql(sandbox, &other);
        expected.insert(0, format!("{OTHER}/100={actual}"));
    }
    let (before, ranges) = (sql(sandbox, FILES), sql(sandbox, RANGES));
    let other_before = whole.then(|| in_other(sandbox, FILES));

    let found = look(stage, client, "collations", Failed);
    assert!(told(&found).contains("2 indexes to rebuild"), "{}", told(&found));
    assert_eq!(proposed(client, "collations"), expected);
    let keys: Vec<&str> = expected.iter().map(String::as_str).collect();
    agree(stage, client, "collations", &keys);

    let version = sql(sandbox, &format!("SELECT collversion FROM pg_collation WHERE oid = {oid}"));
    assert_eq!(version, actual);
    let after = sql(sandbox, FILES);
    let pairs: Vec<(&str, &str)> = before.split(' ').zip(after.split(' ')).collect();
    assert!(pairs.len() == 2 && pairs.iter().all(|(was, is)| was != is), "{pairs:?}");
    assert_eq!(sql(sandbox, RANGES), ranges, "what has no text is left alone");
    assert_eq!(sql(sandbox, "SELECT count(*) FROM pg_index WHERE NOT indisvalid"), "0");
    if let Some(before) = other_before {
        assert_ne!(in_other(sandbox, FILES), before);
        let sql_of = format!("SELECT datcollversion FROM pg_database WHERE datname = '{OTHER}'");
        assert_eq!(stage.on(one(sandbox.server(), &sql_of)), actual);
    }
    let state = client.incident().unwrap().care["collations"].clone();
    assert!(told(&state).contains("Rebuilt with this machine's order"), "{}", told(&state));
    look(stage, client, "collations", Verified);
}
