//! What comes after a promotion, on real servers: a struck cluster with a streaming standby, a
//! subscription to another cluster, a prepared transaction and sequences is recovered through its
//! runner; then the safety list is worked through, line by line, until the incident closes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod collations;
mod cron;
#[allow(dead_code, reason = "another test uses the rest")]
#[path = "../kill/stage.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

use lifeboat::engine::aftercare::{self, Ward};
use lifeboat::engine::drill::sandbox::Sandbox;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::care::{Care, CareState, HeldKind};
use lifeboat::engine::incident::facts::Check;
use lifeboat::engine::incident::facts::Verdict::{self, CouldNotVerify, Failed, NotRun, Verified};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::trouble::Adjustments;
use lifeboat::engine::restore::steps::Site;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use stage::{Stage, until};
use std::fs;
use std::path::{Path, PathBuf};
use support::TestCluster;

const GID: &str = "order 17 at the bank";

/// A standby of the sandbox's server, in the sandbox's folder.
struct Standby {
    data: PathBuf,
    port: u16,
}

impl Standby {
    fn make(sandbox: &Sandbox, name: &str) -> Self {
        let server = sandbox.server();
        let data = sandbox.root().join("cluster").join(name);
        let port = support::free_port();
        let (to, socket) = (data.display().to_string(), server.socket.display().to_string());
        let at = server.port.to_string();
        let copy = ["-D", &to, "-h", &socket, "-p", &at, "-U", "postgres", "-X", "stream"];
        let slot = format!("{name}_slot");
        let more = ["-c", "fast", "-R", "-C", "-S", &slot];
        server.run("pg_basebackup", &[&copy[..], &more].concat()).unwrap();
        let auto = data.join("postgresql.auto.conf");
        let mut text = std::fs::read_to_string(&auto).unwrap();
        text.push_str(&format!(
            "port = {port}\narchive_mode = off\nmax_prepared_transactions = 4\n"
        ));
        std::fs::write(&auto, text).unwrap();
        let log = data.with_extension("log").display().to_string();
        server.run("pg_ctl", &["start", "-w", "-s", "-D", &to, "-l", &log]).unwrap();
        Self { data, port }
    }

    /// What is kept of it from before, by the name that it gets then.
    fn kept(&self) -> usize {
        let name = self.data.file_name().unwrap().to_string_lossy().into_owned();
        let beside = fs::read_dir(self.data.parent().unwrap()).unwrap().flatten();
        let before = format!("{name}.before-recovery");
        beside.filter(|one| one.file_name().to_string_lossy().starts_with(&before)).count()
    }

    fn rows(&self, stage: &Stage, sql: &str) -> String {
        let mut server = stage.sandbox.server().clone();
        server.port = self.port;
        stage.on(one(&server, sql))
    }
}

async fn one(server: &lifeboat::engine::drill::server::Server, sql: &str) -> String {
    first(&server.connect("postgres", DATABASE).await.unwrap(), sql).await
}

/// The first value of what statements give.
async fn first(client: &tokio_postgres::Client, sql: &str) -> String {
    let rows = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    rows.iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some(row.get(0).unwrap_or("").to_owned())
            }
            _ => None,
        })
        .unwrap_or_default()
}

fn sql(sandbox: &Sandbox, statement: &str) -> String {
    sandbox.runtime().unwrap().block_on(one(sandbox.server(), statement))
}

/// What the cluster has beside the shop, then another base backup that has all of it.
fn furnish(sandbox: &Sandbox, publisher: &TestCluster) -> [Standby; 2] {
    sql(sandbox, "ALTER SYSTEM SET wal_keep_size = '256MB'");
    sql(sandbox, "ALTER SYSTEM SET wal_level = 'logical'");
    sandbox.server().stop().unwrap();
    // In no file: the recovered server has to be given room for them.
    sandbox.server().start(&[("max_prepared_transactions", "4")]).unwrap();
    sql(
        sandbox,
        "CREATE TABLE receipts (id bigserial PRIMARY KEY, note text); \
         CREATE TABLE news (id int PRIMARY KEY, text text); \
         INSERT INTO receipts (note) SELECT 'r' FROM generate_series(1, 5)",
    );
    sql(
        sandbox,
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch(); \
         CREATE FUNCTION gone() RETURNS language_handler LANGUAGE c \
         AS '$libdir/plpgsql', 'plpgsql_call_handler'; \
         UPDATE pg_proc SET probin = '$libdir/not-on-this-machine' WHERE proname = 'gone'",
    );
    publisher.sql("CREATE TABLE news (id int PRIMARY KEY, text text)");
    publisher.sql("CREATE PUBLICATION news FOR TABLE news");
    let at = format!("host={} port={} user=postgres", publisher.socket.display(), publisher.port);
    sql(sandbox, &format!("CREATE SUBSCRIPTION news CONNECTION '{at}' PUBLICATION news"));
    sql(sandbox, "CREATE PUBLICATION feed FOR TABLE receipts");
    // Before a transaction is prepared: a logical slot waits for the end of all that go on.
    sql(sandbox, "SELECT pg_create_logical_replication_slot('receipts_feed', 'pgoutput')");
    let prepare = format!(
        "BEGIN; INSERT INTO receipts (note) VALUES ('undecided'); PREPARE TRANSACTION '{GID}'"
    );
    sql(sandbox, &prepare);
    collations::furnish(sandbox);
    sandbox.back_up().unwrap();
    ["standby", "copied"].map(|name| Standby::make(sandbox, name))
}

/// Runs an item, agreeing to these keys.
fn run(stage: &Stage, client: &Client, item: &str, agreed: &[String]) -> CareState {
    let command = Command::RunCare { item: item.to_owned(), agreed: agreed.to_vec() };
    stage.ask(client, command);
    client.incident().unwrap().care[item].clone()
}

fn told(state: &CareState) -> String {
    format!("{:#?}", state.last)
}

fn look(stage: &Stage, client: &Client, item: &str, expected: Verdict) -> CareState {
    let state = run(stage, client, item, &[]);
    assert_eq!(state.verdict(), expected, "{item}: {}", told(&state));
    state
}

/// Agrees to all that was proposed, which is what is expected.
fn agree(stage: &Stage, client: &Client, item: &str, expected: &[&str]) {
    let keys = proposed(client, item);
    assert_eq!(keys, expected, "{item}");
    let state = run(stage, client, item, &keys);
    assert_eq!(state.verdict(), Verified, "{item}: {}", told(&state));
    assert_eq!(state.last.unwrap().agreed, keys, "{item}");
}

fn proposed(client: &Client, item: &str) -> Vec<String> {
    let incident = client.incident().unwrap();
    incident.care[item].proposals().iter().map(|p| p.key.clone()).collect()
}

/// The program at the command line, as whoever runs this test.
fn lifeboat(stage: &Stage, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(stage.sandbox.program())
        .arg("--config")
        .arg(&stage.sandbox.config().path)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn after_a_promotion_the_safety_list_is_worked_through_and_the_incident_closes() {
    let publisher = TestCluster::start(&["wal_level = logical"]);
    let mut standbys = None;
    let stage = Stage::prepared(|sandbox| {
        standbys = Some(furnish(sandbox, &publisher));
        name_an_erased_row(sandbox);
    });
    let standbys = standbys.unwrap();
    let sandbox = &stage.sandbox;
    // Beyond the point: numbers that are given to somebody, and rows that the publisher sends.
    sql(sandbox, "INSERT INTO receipts (note) SELECT 'late' FROM generate_series(1, 95)");
    publisher.sql("INSERT INTO news VALUES (1, 'before the recovery')");
    until("the news", || sql(sandbox, "SELECT count(*) FROM news") == "1");

    let client = stage.runner(Some("care.begun"));
    stage.to_gate(&client);
    let too_early = Command::RunCare { item: String::from("sequences"), agreed: Vec::new() };
    assert_eq!(stage.answer(&client, too_early).unwrap_err().kind, Kind::Refused);
    stage.go_on(&client);
    stage.wait(&client, "the target", |incident| incident.status == RunStatus::Held);
    publisher.sql("INSERT INTO news VALUES (2, 'meanwhile')");
    stage.go_on(&client);
    let done = stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);

    // Held before anybody could get in; and what matters then was looked at.
    let held: Vec<_> = done.held.iter().map(|held| (held.what, held.name.as_str())).collect();
    assert_eq!(held, [(HeldKind::Subscription, "news")]);
    assert_eq!(sql(sandbox, "SELECT subenabled FROM pg_subscription"), "f");
    assert_eq!(sql(sandbox, "SELECT count(*) FROM news"), "0");
    // Somebody who had been erased came back with the backup, and was gone before it opened.
    assert_eq!(sql(sandbox, "SELECT count(*) FROM receipts WHERE id = 3"), "0");
    let erased = done.noted("erased").unwrap();
    assert!(erased.contains("1 row by 1 key (public.receipts 1)"), "{erased}");
    assert_eq!(done.care["prepared"].verdict(), Failed);
    assert_eq!(done.care["outreach"].verdict(), CouldNotVerify);
    let libraries = &done.care["libraries"];
    assert!(told(libraries).contains("not-on-this-machine"), "{}", told(libraries));

    // Killed in the middle of a line: it counts as broken off, and is simply run again.
    drop(client.submit(Command::RunCare { item: String::from("archiving"), agreed: Vec::new() }));
    stage.until_lost(&client, "care.begun");
    let client = stage.runner(Some("care.standby_moved"));
    let broken = client.incident().unwrap().care["archiving"].clone();
    assert!(broken.interrupted && broken.running.is_none());
    assert_eq!(broken.verdict(), NotRun);
    look(&stage, &client, "archiving", Verified);
    look(&stage, &client, "timeline", Verified);
    // Who subscribes to what it publishes may be ahead of it, and only they can tell.
    look(&stage, &client, "publications", CouldNotVerify);
    look(&stage, &client, "collations", Verified);
    collations::rebuild(&stage, &client);
    look(&stage, &client, "jobs", NotRun);

    // What is not proposed cannot be agreed to, and of two answers only one.
    look(&stage, &client, "prepared", Failed);
    let both = [format!("commit:{GID}"), format!("rollback:{GID}")];
    for wrong in [both.to_vec(), vec![String::from("commit:another")]] {
        let command = Command::RunCare { item: String::from("prepared"), agreed: wrong };
        assert_eq!(stage.answer(&client, command).unwrap_err().kind, Kind::Refused);
    }
    let decided = run(&stage, &client, "prepared", &both[..1]);
    // The room that the recovery had to leave for it is taken out again.
    assert_eq!(decided.verdict(), NotRun, "{}", told(&decided));
    let auto = || fs::read_to_string(sandbox.server().data.join("postgresql.auto.conf")).unwrap();
    assert!(auto().contains("max_prepared_transactions = '4'"), "{}", auto());
    // Somebody's ALTER SYSTEM writes the file anew, without Lifeboat's marks.
    sql(sandbox, "ALTER SYSTEM SET work_mem = '5MB'");
    assert!(!auto().contains("Lifeboat: room"), "{}", auto());
    look(&stage, &client, "prepared", NotRun);
    agree(&stage, &client, "prepared", &["let-go"]);
    assert!(!auto().contains("max_prepared_transactions"), "{}", auto());
    let note = "SELECT count(*) FROM receipts WHERE note = 'undecided'";
    assert_eq!(sql(sandbox, note), "1");

    // Exact, by the directory that was stopped in order: 5 rows, one prepared, 95 after the point.
    look(&stage, &client, "sequences", Failed);
    let behind = proposed(&client, "sequences");
    assert!(behind.contains(&format!("{DATABASE}/public.receipts_id_seq=101")), "{behind:?}");
    // The shop's own traffic had gone on, too.
    agree(&stage, &client, "sequences", &behind.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(sql(sandbox, "SELECT nextval('receipts_id_seq')"), "102");

    look(&stage, &client, "indexes", CouldNotVerify);
    let databases = proposed(&client, "indexes");
    agree(&stage, &client, "indexes", &databases.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(sql(sandbox, "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"), "0");
    judge_tables_that_matter(&stage, &client);

    look(&stage, &client, "statistics", Verified);
    sql(sandbox, "CREATE TABLE fresh AS SELECT 1 AS n");
    look(&stage, &client, "statistics", NotRun);
    agree(&stage, &client, "statistics", &[DATABASE]);

    on_the_erasure_list(&stage, &client);

    look(&stage, &client, "first-backup", NotRun);
    agree(&stage, &client, "first-backup", &["backup"]);

    look(&stage, &client, "slots", Failed);
    let logical = format!("logical:receipts_feed/pgoutput/{DATABASE}");
    let lost = ["physical:copied_slot", &logical, "physical:standby_slot"];
    let keys = proposed(&client, "slots");
    assert_eq!(keys, lost);
    let made = run(&stage, &client, "slots", &keys);
    // They are there, and whoever reads from them is not back yet.
    assert_eq!(made.verdict(), CouldNotVerify, "{}", told(&made));
    feed_a_subscriber(&stage, &publisher);
    let client = bring_back_the_standbys(&stage, client, &standbys);
    look(&stage, &client, "slots", Verified);
    lose_a_slot(&stage, &client);
    release_the_subscription(&stage, &client, &publisher);
    a_subscription_that_fails_does_not_pass(&stage, &client, &publisher);
    close(&stage, &client);
    anchored(&stage, &client);
}

/// Names a row that is in the backup as erased since.
fn name_an_erased_row(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt;
    let list = sandbox.root().join("erased.jsonl");
    let entry = "{\"table\":\"public.receipts\",\"column\":\"id\",\"value\":\"3\"}";
    let text = format!("{{\"format\":\"lifeboat-erasure-list/1\"}}\n{entry}\n");
    fs::write(&list, text).unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o600)).unwrap();
    let path = &sandbox.config().path;
    let named = format!("\n[clusters.erasure]\nlist = '{}'\nrequired = true\n", list.display());
    fs::write(path, fs::read_to_string(path).unwrap() + &named).unwrap();
}

/// The line is there since there is a list; its evidence has the recovery's own counts, and who is
/// back by another way goes again.
fn on_the_erasure_list(stage: &Stage, client: &Client) {
    let sandbox = &stage.sandbox;
    let book = lifeboat::engine::runbook::Runbook::load(None).unwrap();
    let incident = client.incident().unwrap();
    let list = lifeboat::engine::checklist::Checklist::of(&incident, &book, jiff::Timestamp::now());
    assert!(list.line("erasure").is_some());
    let clean = look(stage, client, "erasure", Verified);
    assert!(told(&clean).contains("1 row by 1 key (public.receipts 1)"), "{}", told(&clean));
    sql(sandbox, "INSERT INTO receipts (id, note) VALUES (3, 'back')");
    look(stage, client, "erasure", Failed);
    agree(stage, client, "erasure", &[DATABASE]);
    assert_eq!(sql(sandbox, "SELECT count(*) FROM receipts WHERE id = 3"), "0");
    let proven = lifeboat(stage, &["checklist", &incident.declaration.id, "prove", "erasure"]);
    assert!(proven.status.success(), "{}", String::from_utf8_lossy(&proven.stderr));
}

/// The runner has put anchors of its journal, of the gate and of the end among them.
fn anchored(stage: &Stage, client: &Client) {
    let id = client.incident().unwrap().declaration.id.clone();
    let audit = || {
        let output = lifeboat(stage, &["journal", "verify", &id, "--json"]);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let steps = client.incident().unwrap().steps.len() as u64;
    until("the anchors", || {
        let audit = audit();
        assert!(audit["wrong"].is_null(), "{audit:#}");
        audit["covered"].as_u64().unwrap() > steps
    });
}

/// Items of the list on another configuration, or another incident, than the stage's own.
fn judged(
    stage: &Stage,
    incident: &Incident,
    tables: &[&str],
    item: &str,
    agreed: &[String],
) -> Care {
    let config = stage.sandbox.config().clone();
    let mut cluster = config.clusters[0].clone();
    cluster.tables = tables.iter().map(|table| (*table).to_owned()).collect();
    let connection = cluster.connection.clone();
    let site = Site {
        executable: stage.sandbox.program().to_owned(),
        folder: stage.folder.clone(),
        adjusted: Adjustments::default(),
        beside: None,
        configured: None,
        config,
        cluster,
    };
    let runtime = stage.sandbox.runtime().unwrap();
    let ward = Ward::new(&site, incident, connection, runtime.handle(), &|_| {});
    aftercare::run(&ward, item, agreed).unwrap()
}

/// A table that is not there is a finding; of a partitioned one the partitions' indexes are checked.
fn judge_tables_that_matter(stage: &Stage, client: &Client) {
    let months = "CREATE TABLE months (id int, day date, PRIMARY KEY (id, day)) \
                  PARTITION BY RANGE (day); \
                  CREATE TABLE months_1 PARTITION OF months \
                  FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); \
                  CREATE TABLE months_2 PARTITION OF months \
                  FOR VALUES FROM ('2024-02-01') TO ('2024-03-01'); \
                  INSERT INTO months SELECT g, '2024-01-01'::date + g FROM generate_series(1, 50) g";
    sql(&stage.sandbox, months);
    let incident = client.incident().unwrap();
    let verdicts = |tables: &[&str], agreed: &[String]| {
        let care = judged(stage, &incident, tables, "indexes", agreed);
        let verdict = |check: Check| (check.id, check.verdict, check.found.unwrap_or_default());
        care.checks.into_iter().map(verdict).collect::<Vec<_>>()
    };
    let said = |id: &str, verdict, found: &str| (id.to_owned(), verdict, found.to_owned());
    let lost = said("indexes:missing:public.nowhere", Failed, "no such table");
    assert_eq!(verdicts(&["public.nowhere"], &[]), std::slice::from_ref(&lost));
    let looked = said(&format!("indexes:{DATABASE}"), CouldNotVerify, "2 indexes");
    assert_eq!(verdicts(&["public.months"], &[]), [looked]);
    let checked = said(&format!("indexes:did:{DATABASE}"), Verified, "2 indexes checked");
    let both = ["public.nowhere", "public.months"];
    assert_eq!(verdicts(&both, &[DATABASE.to_owned()]), [lost, checked]);
    sql(&stage.sandbox, "DROP TABLE months");
}

/// Through the slot that was made anew, by a subscription that copies its table anew.
fn feed_a_subscriber(stage: &Stage, subscriber: &TestCluster) {
    let server = stage.sandbox.server();
    let at = format!(
        "host={} port={} user=postgres dbname={DATABASE}",
        server.socket.display(),
        server.port
    );
    subscriber.sql("CREATE TABLE receipts (id bigserial PRIMARY KEY, note text)");
    subscriber.sql(&format!(
        "CREATE SUBSCRIPTION feed CONNECTION '{at}' PUBLICATION feed \
         WITH (create_slot = false, slot_name = 'receipts_feed')"
    ));
    sql(&stage.sandbox, "INSERT INTO receipts (note) VALUES ('for the subscriber')");
    until("the row at the subscriber", || {
        subscriber.value("SELECT count(*) FROM receipts WHERE note = 'for the subscriber'") == "1"
    });
    // All that was there before came with the copy.
    let count = "SELECT count(*) FROM receipts";
    assert_eq!(subscriber.value(count), sql(&stage.sandbox, count));
}

/// A slot whose WAL was removed has its name and serves nobody.
fn lose_a_slot(stage: &Stage, client: &Client) {
    let sandbox = &stage.sandbox;
    sql(sandbox, "SELECT pg_create_physical_replication_slot('left_behind', true)");
    let slots = || {
        let state = run(stage, client, "slots", &[]);
        let mut checks = state.last.as_ref().unwrap().checks.iter();
        let one = checks.find(|check| check.id == "slots:left_behind").unwrap();
        (state.verdict(), one.verdict)
    };
    assert_eq!(slots(), (CouldNotVerify, CouldNotVerify), "nobody reads from it");
    let behind = |which: &str| {
        let sql_text = format!(
            "SELECT ceil(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) / 1048576) \
             FROM pg_replication_slots WHERE {which}"
        );
        sql(sandbox, &sql_text).parse::<u64>().unwrap()
    };
    // Megabytes: it is far behind, and those that are read from are not.
    until("a slot that is far behind", || {
        sql(sandbox, "SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'test', 'more')");
        behind("slot_name = 'left_behind'") > 96
    });
    until("the others' readers", || {
        sql(sandbox, "INSERT INTO receipts (note) VALUES ('more')");
        sql(sandbox, "CHECKPOINT");
        behind("slot_name <> 'left_behind'") < 33
    });
    let limit = |keep: &str, most: &str| {
        sql(sandbox, &format!("ALTER SYSTEM SET wal_keep_size = '{keep}'"));
        sql(sandbox, &format!("ALTER SYSTEM SET max_slot_wal_keep_size = '{most}'"));
        assert_eq!(sql(sandbox, "SELECT pg_reload_conf()"), "t");
    };
    limit("0", "64MB");
    until("the loss of the slot's WAL", || {
        sql(sandbox, "CHECKPOINT");
        sql(sandbox, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'left_behind'")
            == "lost"
    });
    assert_eq!(slots(), (Failed, Failed));
    sql(sandbox, "SELECT pg_drop_replication_slot('left_behind')");
    limit("256MB", "-1");
    look(stage, client, "slots", Verified);
}

/// A row that is there already: its worker fails at it, again and again, and the subscription is on.
fn a_subscription_that_fails_does_not_pass(
    stage: &Stage,
    client: &Client,
    publisher: &TestCluster,
) {
    let sandbox = &stage.sandbox;
    look(stage, client, "subscriptions", Verified);
    sql(sandbox, "INSERT INTO news VALUES (4, 'in the way')");
    publisher.sql("INSERT INTO news VALUES (4, 'sent')");
    until("the worker's end", || {
        let at_work = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL";
        sql(sandbox, at_work) == "0"
    });
    let state = look(stage, client, "subscriptions", Failed);
    assert_eq!(sql(sandbox, "SELECT subenabled FROM pg_subscription"), "t", "{}", told(&state));
    sql(sandbox, "DELETE FROM news WHERE id = 4");
    until("the row that was in the way", || {
        sql(sandbox, "SELECT text FROM news WHERE id = 4") == "sent"
    });
    // Until its worker has lived past the failure, that it receives is not proven.
    until("a worker that stays", || run(stage, client, "subscriptions", &[]).verdict() == Verified);
}

/// One by pg_rewind, the other by a fresh copy; each then has what is written on the new timeline.
/// Before that the rewind fails, and the runner is killed between two moves.
fn bring_back_the_standbys(stage: &Stage, client: Client, standbys: &[Standby; 2]) -> Client {
    look(stage, &client, "standbys", Failed);
    let keys = |standby: &Standby| {
        let place = standby.data.display();
        [format!("rewind:{place}"), format!("copy:{place}")]
    };
    let [standby, copied] = standbys;
    let all = [keys(copied), keys(standby)].concat();
    assert_eq!(proposed(&client, "standbys"), all);
    a_rewind_that_fails(stage, &client, standby);
    assert_eq!(proposed(&client, "standbys"), all);

    // Killed with the directory moved aside and nothing in its place.
    let agreed = vec![keys(copied)[1].clone()];
    drop(client.submit(Command::RunCare { item: String::from("standbys"), agreed }));
    stage.until_lost(&client, "care.standby_moved");
    assert!(!copied.data.exists() && copied.kept() == 1);
    let client = stage.runner(None);
    let down = look(stage, &client, "standbys", Failed);
    assert!(told(&down).contains("its directory is not in its place"), "{}", told(&down));
    assert!(told(&down).contains(".coming-back."), "{}", told(&down));
    assert_eq!(proposed(&client, "standbys"), [&keys(copied)[1..], &keys(standby)].concat());
    let agreed = [keys(copied)[1].clone(), keys(standby)[0].clone()];
    let state = run(stage, &client, "standbys", &agreed);
    for one in standbys {
        let did = format!("standbys:did:{}", one.data.display());
        let mut checks = state.last.iter().flat_map(|care| &care.checks);
        assert!(
            checks.any(|check| check.id == did && check.verdict == Verified),
            "{}",
            told(&state)
        );
        // What it was before is kept, whole.
        assert_eq!(one.kept(), 1);
    }
    sql(&stage.sandbox, "INSERT INTO receipts (note) VALUES ('for the standby')");
    let system = "SELECT system_identifier || ' ' || pg_is_in_recovery() FROM pg_control_system()";
    for one in standbys {
        until("the row at the standby", || {
            one.rows(stage, "SELECT count(*) FROM receipts WHERE note = 'for the standby'") == "1"
        });
        let own = sql(&stage.sandbox, "SELECT system_identifier FROM pg_control_system()");
        assert_eq!(one.rows(stage, system), format!("{own} true"));
        // Rows from after the point are nowhere any more.
        let late = one.rows(stage, "SELECT count(*) FROM receipts WHERE note = 'late'");
        assert_eq!(late, "0");
        let slot = format!("{}_slot", one.data.file_name().unwrap().to_string_lossy());
        let used = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
        assert_eq!(sql(&stage.sandbox, &used), "t");
    }
    look(stage, &client, "standbys", Verified);
    // Where nobody could be asked before the stop, the one that follows is not proven to be all.
    let mut silent = (*client.incident().unwrap()).clone();
    silent.steps.iter_mut().for_each(|step| step.notes.clear());
    let care = judged(stage, &silent, &[], "standbys", &[]);
    let open = care.checks.iter().find(|check| check.id == "standbys:before").unwrap();
    assert_eq!(open.verdict, CouldNotVerify, "{care:#?}");
    client
}

/// What is a file here and a folder there pg_rewind refuses. The standby is as it was, and down; no
/// process tells of it any more, and it is proposed still.
fn a_rewind_that_fails(stage: &Stage, client: &Client, standby: &Standby) {
    let (here, there) = (stage.sandbox.server().data.join("odd"), standby.data.join("odd"));
    fs::write(&here, "a file").unwrap();
    fs::create_dir(&there).unwrap();
    let agreed = [format!("rewind:{}", standby.data.display())];
    let state = run(stage, client, "standbys", &agreed);
    let did = format!("standbys:did:{}", standby.data.display());
    let check = state.last.iter().flat_map(|care| &care.checks).find(|check| check.id == did);
    assert_eq!(check.unwrap().verdict, Failed, "{}", told(&state));
    // PostgreSQL itself refuses to start it: it has heard of the new timeline, which is not its own.
    assert!(check.unwrap().detail.contains("The standby is as it was"), "{}", told(&state));
    assert!(told(&state).contains("is down"), "{}", told(&state));
    assert_eq!(standby.kept(), 0, "its directory is its own");
    fs::remove_file(here).unwrap();
    fs::remove_dir(there).unwrap();
}

fn release_the_subscription(stage: &Stage, client: &Client, publisher: &TestCluster) {
    look(stage, client, "subscriptions", NotRun);
    // As an operator would after a recovery: the table is copied anew.
    let at = format!("{DATABASE}/news");
    agree(stage, client, "subscriptions", &[&at]);
    publisher.sql("INSERT INTO news VALUES (3, 'after')");
    until("news after the release", || {
        sql(&stage.sandbox, "SELECT count(*) FROM news WHERE id = 3") == "1"
    });
}

fn close(stage: &Stage, client: &Client) {
    let id = client.incident_id().to_owned();
    let close = ["checklist", &id, "close", "--summary", "all is back"];
    let refused = lifeboat(stage, &close);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("neither done nor waived"), "{said}");
    let evidence = Path::new(stage.sandbox.root()).join("evidence.txt");
    std::fs::write(&evidence, "alerts are on\n").unwrap();
    let file = evidence.display().to_string();
    let signed = lifeboat(
        stage,
        &["checklist", &id, "sign", "alerts-enabled", "--file", &file, "--command", "echo on"],
    );
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let sign = client.incident().unwrap().signed["alerts-enabled"].sign.evidence.clone();
    assert!(
        sign.contains("evidence.txt (14 bytes, sha256 ") && sign.contains("`echo on`"),
        "{sign}"
    );
    let failed = lifeboat(stage, &["checklist", &id, "sign", "jobs", "--command", "false"]);
    assert!(!failed.status.success(), "a failed command is no evidence");
    let given = lifeboat(stage, &["checklist", &id, "give", "jobs", "team data"]);
    assert!(given.status.success());
    let shown = lifeboat(stage, &["checklist", &id]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("[team data]") && text.contains("signed"), "{text}");
    assert_eq!(shown.status.code(), Some(12), "lines are open\n{text}");
    let run = lifeboat(stage, &["checklist", &id, "run", "timeline"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // What Lifeboat can prove itself it proves, with no more than a word; a person's line it leaves.
    let proven = lifeboat(stage, &["checklist", &id, "prove", "metrics-documented"]);
    assert!(proven.status.success(), "{}", String::from_utf8_lossy(&proven.stderr));
    let evidence = client.incident().unwrap().signed["metrics-documented"].sign.evidence.clone();
    assert!(evidence.starts_with("Proven by Lifeboat: "), "{evidence}");
    // By asking the server itself: a new validation, and a new look.
    for line in ["database-accessible", "timeline"] {
        let proven = lifeboat(stage, &["checklist", &id, "prove", line]);
        assert!(proven.status.success(), "{line}: {}", String::from_utf8_lossy(&proven.stderr));
        let evidence = client.incident().unwrap().signed[line].sign.evidence.clone();
        assert!(evidence.contains("VERIFIED"), "{line}: {evidence}");
    }
    let refused = lifeboat(stage, &["checklist", &id, "prove", "training-conducted"]);
    assert!(!refused.status.success());
    let incident = client.incident().unwrap();
    let book = lifeboat::engine::runbook::Runbook::load(None).unwrap();
    for item in book.checklist().iter().filter(|item| !incident.signed.contains_key(&item.id)) {
        let reason = String::from("a test");
        stage.ask(client, Command::Waive { item: item.id.clone(), reason });
    }
    let closed = lifeboat(stage, &close);
    assert!(closed.status.success(), "{}", String::from_utf8_lossy(&closed.stderr));
    stage.wait(client, "the close", |incident| incident.closing.is_some());
}
