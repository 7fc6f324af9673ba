//! Assessment and validation against a real server: what is right passes, what is wrong fails,
//! what could not be asked never reads as passed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use lifeboat::engine::assess;
use lifeboat::engine::config::masking::{Mask, MaskingRule};
use lifeboat::engine::config::{Cluster, Connection, Probe};
use lifeboat::engine::incident::facts::{Check, ServerRole, Verdict};
use lifeboat::engine::masking::HIDDEN;
use lifeboat::engine::validate::{self, Expectations, Limits, Rows, Subject};
use std::io::{Read, Write};
use std::net::TcpListener;
use support::TestCluster;

/// Customers and orders with keys of every kind, in two databases.
fn shop() -> TestCluster {
    let cluster = TestCluster::start(&[]);
    cluster.sql(
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text);
         CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers,
                              created_at timestamptz DEFAULT now(), note text);
         CREATE TABLE \"Odd \"\"Name\" (a int, b int, created_at timestamptz, PRIMARY KEY (a, b));
         CREATE TABLE pairs (a int, b int, FOREIGN KEY (a, b) REFERENCES \"Odd \"\"Name\");
         CREATE TABLE full_pairs (a int, b int,
                              FOREIGN KEY (a, b) REFERENCES \"Odd \"\"Name\" MATCH FULL);
         CREATE TABLE parted (id int, customer_id bigint REFERENCES customers) PARTITION BY RANGE (id);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200);
         INSERT INTO customers SELECT g, 'c' || g FROM generate_series(1, 100) g;
         INSERT INTO orders SELECT g, g % 100 + 1, now(), repeat('x', 200) FROM generate_series(1, 20000) g;
         INSERT INTO \"Odd \"\"Name\" SELECT g, g, '2001-01-01' FROM generate_series(1, 10) g;
         INSERT INTO pairs VALUES (1, 1), (1, NULL), (NULL, NULL);
         INSERT INTO full_pairs VALUES (1, 1), (NULL, NULL);
         INSERT INTO parted SELECT g, g % 100 + 1 FROM generate_series(0, 199) g;
         CREATE UNLOGGED TABLE passing (id int, created_at timestamptz)",
    );
    cluster.sql("CREATE DATABASE other");
    cluster.sql_in("other", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    cluster
}

fn validated(
    connection: &Connection,
    cluster: &Cluster,
    expectations: &Expectations,
) -> Vec<Check> {
    let subject = Subject { connection, cluster, open: true };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let seen = std::sync::atomic::AtomicU64::new(0);
    let report = |progress: lifeboat::engine::runner::protocol::Progress| {
        assert!(progress.done <= progress.total.unwrap());
        seen.fetch_max(progress.done, std::sync::atomic::Ordering::Relaxed);
    };
    let checks =
        runtime.block_on(validate::run(&subject, expectations, &Limits::default(), &report));
    assert_eq!(seen.into_inner(), checks.len() as u64, "each check is reported");
    for check in &checks {
        println!("{:16} {:40} {:?} {}", check.verdict.word(), check.id, check.found, check.detail);
    }
    checks
}

fn of<'a>(checks: &'a [Check], id: &str) -> &'a Check {
    checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}"))
}

fn expectations() -> Expectations {
    let count = |database: &str, table: &str, rows| {
        (database.to_owned(), table.to_owned(), rows, String::from("the backup"))
    };
    Expectations {
        counts: vec![
            count("postgres", "public.orders", Rows::Exactly(20_000)),
            count("postgres", "public.customers", Rows::AtLeast(101)),
            count("postgres", "public.parted", Rows::About(210)),
            count("postgres", "public.gone", Rows::About(5)),
            count("postgres", "public.passing", Rows::About(9)),
            count("other", "public.t", Rows::Exactly(1)),
        ],
        indexes: vec![(String::from("postgres"), String::from("public.orders_pkey"))],
        recovered_to: None,
    }
}

#[test]
fn a_sound_cluster_is_verified_in_every_database() {
    let cluster = shop();
    let checks = validated(&cluster.connection(), &cluster.config(), &expectations());
    let verdict = |id: &str| of(&checks, id).verdict;
    assert_eq!(verdict("counts:public.orders"), Verdict::Verified);
    assert_eq!(verdict("counts:public.customers"), Verdict::Failed, "one too few");
    assert_eq!(verdict("counts:public.parted"), Verdict::Verified);
    assert_eq!(verdict("counts:public.gone"), Verdict::Failed, "not there");
    assert_eq!(verdict("counts:public.pairs"), Verdict::NotRun, "not known");
    assert_eq!(verdict("counts:public.passing"), Verdict::NotRun, "comes back empty");
    assert!(!checks.iter().any(|check| check.id == "recent:public.passing"));
    assert_eq!(of(&checks, "counts:public.pairs").found.as_deref(), Some("3 rows"));
    assert_eq!(verdict("counts:other/public.t"), Verdict::Verified);
    for key in [
        "orders_customer_id_fkey",
        "pairs_a_b_fkey",
        "full_pairs_a_b_fkey",
        "parted_customer_id_fkey",
    ] {
        assert_eq!(verdict(&format!("fk:{key}")), Verdict::Verified, "{key}");
    }
    let keys = checks.iter().filter(|check| check.id.starts_with("fk:")).count();
    assert_eq!(keys, 4, "a partition's key is its parent's");
    assert_eq!(verdict("recent:public.orders"), Verdict::Verified);
    assert_eq!(verdict("recent:public.\"Odd \"\"Name\""), Verdict::CouldNotVerify, "of 2001");
    assert_eq!(verdict("plan:public.orders"), Verdict::Verified);
    for id in ["indexes:postgres", "indexes:other", "analyze:postgres", "databases", "checksums"] {
        assert_eq!(verdict(id), Verdict::Verified, "{id}");
    }
    assert_eq!(verdict("application:connection"), Verdict::NotRun);
    assert_eq!(verdict("application:health"), Verdict::NotRun);
    assert_eq!(cluster.value("SELECT count(last_analyze) > 0 FROM pg_stat_user_tables"), "t");
}

#[test]
fn orphans_lost_indexes_and_whole_scans_are_found() {
    let cluster = shop();
    cluster.sql(
        "SET session_replication_role = replica;
         DELETE FROM customers WHERE id = 7;
         INSERT INTO pairs VALUES (77, 77);
         INSERT INTO full_pairs VALUES (1, NULL);
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_pkey'::regclass;
         ALTER TABLE orders ADD CONSTRAINT late FOREIGN KEY (customer_id) REFERENCES customers NOT VALID",
    );
    let mut expected = expectations();
    expected.indexes.push((String::from("other"), String::from("public.lost_index")));
    let checks = validated(&cluster.connection(), &cluster.config(), &expected);
    let found = |id: &str| {
        let check = of(&checks, id);
        (check.verdict, check.found.clone().unwrap_or_default())
    };
    let failed = |text: &str| (Verdict::Failed, text.to_owned());
    assert_eq!(found("fk:orders_customer_id_fkey"), failed("200 orphans"));
    assert_eq!(found("fk:pairs_a_b_fkey"), failed("1 orphans"));
    assert_eq!(found("fk:full_pairs_a_b_fkey"), failed("1 orphans"));
    assert_eq!(found("fk:parted_customer_id_fkey"), failed("2 orphans"));
    assert_eq!(found("fk:late").0, Verdict::CouldNotVerify, "it was never valid");
    assert_eq!(found("indexes:postgres"), failed("1 invalid, 0 missing"));
    assert_eq!(found("indexes:other"), failed("0 invalid, 1 missing"));
    assert_eq!(found("plan:public.orders").0, Verdict::Failed);
}

#[test]
fn what_cannot_be_asked_is_never_a_pass() {
    let cluster = shop();
    cluster.sql("CREATE ROLE weak LOGIN; GRANT SELECT ON customers TO weak");
    cluster.sql("ALTER TABLE customers ENABLE ROW LEVEL SECURITY");
    let weak = Connection { user: String::from("weak"), ..cluster.connection() };
    let checks = validated(&weak, &cluster.config(), &expectations());
    assert_eq!(of(&checks, "counts:public.orders").verdict, Verdict::CouldNotVerify);
    assert_eq!(
        of(&checks, "counts:public.customers").verdict,
        Verdict::CouldNotVerify,
        "hidden rows"
    );
    assert_eq!(of(&checks, "fk:orders_customer_id_fkey").verdict, Verdict::CouldNotVerify);

    cluster.stop_server("fast");
    let checks = validated(&cluster.connection(), &cluster.config(), &expectations());
    assert_eq!(Verdict::of_all(checks.iter().map(|check| check.verdict)), Verdict::CouldNotVerify);
}

#[test]
fn the_application_is_asked_only_where_it_can_reach_the_server() {
    let cluster = TestCluster::start(&[]);
    let answers = |status: &'static str| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        });
        url
    };
    let health = |url: String| {
        let config = Cluster {
            health_url: Some(url),
            application: Some(cluster.connection()),
            ..cluster.config()
        };
        let checks = validated(&cluster.connection(), &config, &Expectations::default());
        assert_eq!(of(&checks, "application:connection").verdict, Verdict::Verified);
        of(&checks, "application:health").verdict
    };
    assert_eq!(health(answers("204 No Content")), Verdict::Verified);
    assert_eq!(health(answers("503 Service Unavailable")), Verdict::Failed);
    let nobody = format!("http://127.0.0.1:{}/health", support::free_port());
    assert_eq!(health(nobody), Verdict::Failed);

    let config = Cluster { application: Some(cluster.connection()), ..cluster.config() };
    let connection = cluster.connection();
    let subject = Subject { connection: &connection, cluster: &config, open: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let none = Expectations::default();
    let checks = runtime.block_on(validate::run(&subject, &none, &Limits::default(), &|_| ()));
    assert_eq!(of(&checks, "application:connection").verdict, Verdict::NotRun);
}

#[tokio::test]
async fn the_server_is_probed_while_it_runs_and_while_it_is_down() {
    let cluster = TestCluster::start(&[]);
    let config = cluster.config();
    let probe = assess::probe_server(&config).await;
    assert!(probe.reachable && probe.version.unwrap().starts_with("PostgreSQL "));
    assert!(probe.current_lsn.is_some() && probe.now.is_some());
    assert_eq!((probe.sessions, probe.error), (Some(0), None));
    assert_eq!(probe.identity.unwrap().role, ServerRole::Primary);
    cluster.stop_server("fast");
    let probe = assess::probe_server(&config).await;
    assert!(!probe.reachable && probe.error.unwrap().contains("No server answers"));
    assert_eq!(probe.identity.unwrap().role, ServerRole::Down);
}

#[tokio::test]
async fn probes_read_only_and_say_what_they_could_not_ask() {
    let cluster = TestCluster::start(&[]);
    cluster.sql("CREATE TABLE t (created_at timestamptz); INSERT INTO t VALUES (now())");
    let probe = |sql: &str| Probe {
        name: sql.to_owned(),
        database: None,
        sql: sql.to_owned(),
        expect: Some(String::from("1")),
        at_least: None,
        at_most: None,
        mask: None,
    };
    let mut config = cluster.config();
    let defaults = assess::run_probes(&config).await;
    assert_eq!(of(&defaults, "probe:recent:public.t").verdict, Verdict::Verified);
    assert_eq!(of(&defaults, "probe:indexes").verdict, Verdict::Verified);

    let asked = [
        ("SELECT count(*) FROM t;", Verdict::Verified),
        ("SELECT 2", Verdict::Failed),
        ("SELECT 1 FROM nothere", Verdict::CouldNotVerify),
        ("SELECT 1, 1", Verdict::CouldNotVerify),
        ("SELECT 1 WHERE false", Verdict::CouldNotVerify),
        ("SELECT NULL", Verdict::CouldNotVerify),
        ("COMMIT; DELETE FROM t", Verdict::CouldNotVerify),
        ("DELETE FROM t RETURNING 1", Verdict::CouldNotVerify),
    ];
    config.probes = asked.iter().map(|(sql, _)| probe(sql)).collect();
    let checks = assess::run_probes(&config).await;
    for ((sql, verdict), check) in asked.iter().zip(&checks) {
        assert_eq!(check.verdict, *verdict, "{sql}: {}", check.detail);
    }
    assert_eq!(cluster.value("SELECT count(*) FROM t"), "1");

    // What a rule hides is judged, and not told: by the column that the server says it is, by the
    // answer's name, by the probe's own word.
    cluster.sql("CREATE TABLE people (id int, email text)");
    cluster.sql("INSERT INTO people VALUES (1, 'ada@example.org')");
    let rule = Mask::Hide;
    let (table, column) = (String::from("public.people"), String::from("email"));
    config.masking = vec![MaskingRule { table, column, rule }];
    let sql = [
        "SELECT email FROM people",
        "SELECT p.email AS found FROM people p",
        "SELECT max(email) AS email FROM people",
        "SELECT max(email) FROM people",
    ];
    let ada = |sql: &&str| Probe { expect: Some(String::from("ada@example.org")), ..probe(sql) };
    config.probes = sql.iter().map(ada).collect();
    config.probes[3].mask = Some(Mask::Constant(String::from("somebody")));
    let checks = assess::run_probes(&config).await;
    let words = serde_json::to_string(&checks).unwrap();
    assert!(!words.contains("ada"), "{words}");
    let found: Vec<_> = checks.iter().map(|check| check.found.as_deref().unwrap()).collect();
    assert_eq!(found, [HIDDEN, HIDDEN, HIDDEN, "somebody"]);
    assert!(checks.iter().all(|check| check.verdict == Verdict::Verified), "{words}");
    cluster.stop_server("fast");
    let checks = assess::run_probes(&config).await;
    assert!(checks.iter().all(|check| check.verdict == Verdict::CouldNotVerify));
}
