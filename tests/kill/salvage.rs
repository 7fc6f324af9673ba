//! After a recovery, what was written behind its point comes back from the kept directory: the runner
//! is killed while it copies, just before the commit and just behind it, and writes once.

use crate::stage::{Stage, kill_runner, next_command, until};
use lifeboat::engine::checklist::{Checklist, LATER_WRITES};
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Procedure, Verdict};
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::incident::parts::{Carry, Part, PartsChoice};
use lifeboat::engine::parts::names::Name;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::work::{Into, Wanted};
use lifeboat::engine::parts::{Choice, Scope};
use lifeboat::engine::report::Report;
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use lifeboat::engine::runner::spawn;
use std::path::{Path, PathBuf};

/// Foreign keys, an identity, a generated column, partitions, a trigger.
const MADE: &str = "
CREATE SCHEMA lab;
CREATE TABLE lab.makers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE lab.parts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    maker int NOT NULL REFERENCES lab.makers,
    price numeric(10,2) NOT NULL,
    gross numeric GENERATED ALWAYS AS (price * 1.2) STORED,
    note text);
CREATE TABLE lab.days (day date, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE lab.days_1 PARTITION OF lab.days FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE lab.days_2 PARTITION OF lab.days FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE lab.dropped (id int PRIMARY KEY);
CREATE TABLE lab.fired (what text);
CREATE FUNCTION lab.fire() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO lab.fired VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON lab.parts FOR EACH ROW EXECUTE FUNCTION lab.fire();
INSERT INTO lab.makers SELECT g, 'maker ' || g FROM generate_series(1, 20) g;
INSERT INTO lab.parts (maker, price, note) SELECT 1 + g % 20, g, 'n' || g FROM generate_series(1, 200) g;
INSERT INTO lab.days SELECT '2024-01-01'::date + g % 59, g FROM generate_series(1, 100) g;
INSERT INTO lab.dropped SELECT generate_series(1, 30);
";

/// The good writes that came after the accident, and its second half.
const LATER: &str = "
INSERT INTO lab.dropped VALUES (31);
DROP TABLE lab.dropped;
INSERT INTO lab.makers VALUES (100, 'late maker');
INSERT INTO lab.parts (maker, price, note) SELECT 100, g, 'late ' || g FROM generate_series(1, 40) g;
UPDATE lab.makers SET name = 'late name' WHERE id = 3;
INSERT INTO lab.days VALUES ('2024-01-31', 900), ('2024-02-20', 901);
";

fn sql(stage: &Stage, sql: &str) {
    stage.on(async {
        let client = stage.sandbox.server().connect("postgres", DATABASE).await.unwrap();
        client.batch_execute(sql).await.unwrap();
    });
}

fn text(stage: &Stage, sql: &str) -> String {
    stage.on(async {
        let client = stage.sandbox.server().connect("postgres", DATABASE).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
}

/// Rows with their places on disk: a row that was written again has moved.
fn places(stage: &Stage, table: &str, condition: &str) -> String {
    text(
        stage,
        &format!(
            "SELECT md5(coalesce(string_agg(concat(t.tableoid, t.ctid, t.xmin, t::text), ',' \
                    ORDER BY t.tableoid, t.ctid), '')) FROM {table} t WHERE {condition}"
        ),
    )
}

/// Everything below a directory, by content.
fn print(directory: &Path) -> Vec<u8> {
    let script =
        "cd \"$0\" && find . -type f | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum";
    let out = std::process::Command::new("sh").args(["-c", script]).arg(directory).output();
    let out = out.unwrap();
    assert!(out.status.success());
    out.stdout
}

fn recovered(stage: &Stage) -> Incident {
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    let held = stage.wait(&client, "the question", |i| i.status == RunStatus::Held);
    stage.wait(&client, "the count", |i| !i.may_lose_more());
    stage.ask(&client, next_command(&held));
    let done = stage.wait(&client, "the recovery's end", |i| i.status == RunStatus::Finished);
    kill_runner(&client);
    until("the runner's end", || spawn::alive(&stage.folder).is_none());
    (*done).clone()
}

/// The next runner after one was killed, once it says where the step stands.
fn after(stage: &Stage, place: Option<&str>, step: &str, finding: &str) -> Client {
    let client = stage.runner(place);
    stage.wait(&client, "the finding", |i| i.status == RunStatus::Interrupted);
    let told = stage.entries().into_iter().rev().find_map(|entry| match entry.event {
        Event::StepInterrupted { step, finding } => Some((step, finding)),
        _ => None,
    });
    let (at, found) = told.unwrap();
    assert_eq!(at, step);
    assert!(found.contains(finding), "{step}: {found}");
    client
}

/// A cluster with all of `MADE`, which lost what came behind its recovery point.
fn stage_and_recovery() -> (Stage, Incident) {
    let made = |sandbox: &Sandbox| {
        sandbox.runtime().unwrap().handle().block_on(async {
            let client = sandbox.server().connect("postgres", DATABASE).await.unwrap();
            client.batch_execute(MADE).await.unwrap();
        });
    };
    let stage = Stage::made(made, |_| {});
    sql(&stage, LATER);
    let recovery = recovered(&stage);
    (stage, recovery)
}

#[test]
#[ignore = "a minute: make test-kill"]
fn a_salvage_goes_on_wherever_its_runner_was_killed_and_writes_once() {
    let (stage, recovery) = stage_and_recovery();
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.dropped"), "30", "before the accident");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.parts"), "200");
    let kept = PathBuf::from(&recovery.plan.as_ref().unwrap().aside);
    let as_kept = print(&kept);
    // What production writes since then stays.
    sql(&stage, "INSERT INTO lab.makers VALUES (900, 'since'); TRUNCATE lab.fired");
    let tables = ["lab.makers", "lab.parts", "lab.days", "lab.dropped", "public.orders"];
    let old = ["t.id <> 100", "t.id <= 200", "t.n < 900", "true", "true"];
    let untouched = || -> Vec<String> {
        tables.iter().zip(old).map(|(table, old)| places(&stage, table, old)).collect()
    };
    let before = untouched();

    // Planned, and killed while the kept directory is copied.
    let client = stage.runner(Some("salvage.copying"));
    stage.ask(&client, Command::PlanSalvage);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let Procedure::Parts { sandbox, tables: first, .. } = plan.procedure else { panic!() };
    assert!(first.contains(&String::from("\"lab\".\"parts\"")), "{first:?}");
    let plan_hash = plan.hash.clone();
    stage.ask(&client, Command::PassGate { plan_hash, cluster: CLUSTER.to_owned() });
    stage.go_on(&client);
    stage.until_lost(&client, "salvage.copying");
    let client = after(&stage, Some("parts.before_commit"), "salvage-copy", "copied anew");
    stage.ask(&client, Command::Retry);

    // The question: what lost rows was looked at, as far as the accident has left it.
    let held = stage.wait(&client, "the question", |i| i.status == RunStatus::Held);
    let look = held.parts.look.clone().unwrap();
    let seen: Vec<&str> = look.differences.iter().map(|found| found.table.as_str()).collect();
    assert!(seen.contains(&"lab.days") && seen.contains(&"public.orders"), "{seen:?}");
    assert!(!seen.contains(&"lab.dropped"), "{seen:?}");
    let names = ["makers", "parts", "days"].map(|table| Name::new("lab", table));
    let scope = Scope::Tables(names.to_vec());
    let part = Part::Of(Wanted { database: DATABASE.to_owned(), scope });
    stage.ask(&client, Command::LookAtParts { part });
    let held = client.incident().unwrap();
    let look = held.parts.look.clone().unwrap();
    assert_eq!(look.counts(), (43, 1, 1), "{look:?}");
    let taken = Choice { missing: true, ..Choice::default() };
    let carry = Carry::Of { into: Into::Place(taken) };
    let seen = look.print(&carry);
    let choice = PartsChoice { carry, missing_roles: Missing::Ask, seen };
    let cluster = CLUSTER.to_owned();
    drop(client.submit(Command::CarryParts { choice, cluster }));
    stage.until_lost(&client, "parts.before_commit");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.parts"), "200", "nothing is there");
    let place = Some("parts.after_commit");
    let client = after(&stage, place, "parts-carry", "Nothing of it has happened");
    drop(client.submit(Command::Retry));
    stage.until_lost(&client, "parts.after_commit");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.parts"), "240", "all of it is there");
    let client = after(&stage, None, "parts-carry", "is committed");
    let written = places(&stage, "lab.parts", "true");
    stage.ask(&client, Command::Retry);
    let done = stage.wait(&client, "the end", |i| !i.is_salvaging());

    // Once, to the letter, and nothing else of production.
    assert_eq!(places(&stage, "lab.parts", "true"), written, "it was not written twice");
    assert_eq!(untouched(), before, "production's other rows");
    assert_eq!(text(&stage, "SELECT name FROM lab.makers WHERE id = 3"), "maker 3", "not chosen");
    assert_eq!(text(&stage, "SELECT name FROM lab.makers WHERE id = 100"), "late maker");
    let late = "SELECT sum(gross)::text FROM lab.parts WHERE maker = 100 AND note LIKE 'late %'";
    assert_eq!(text(&stage, late), "984.000", "40 rows, with what is computed of them");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.days_2 WHERE n = 901"), "1");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.fired"), "0", "no trigger fired");
    let next = "INSERT INTO lab.parts (maker, price) VALUES (1, 1) RETURNING (id > 240)::text";
    assert_eq!(text(&stage, next), "true", "the identity goes on behind what came back");
    assert_eq!(print(&kept), as_kept, "the kept directory was only read");
    assert!(!Path::new(&sandbox).exists(), "the copy was taken down");

    // The recovery stands as it was, and the salvage beside it, proven.
    assert_eq!((&done.plan, &done.gate), (&recovery.plan, &recovery.gate));
    assert_eq!((&done.steps, &done.validation), (&recovery.steps, &recovery.validation));
    assert_eq!(done.clocks, recovery.clocks);
    assert_eq!(done.status, RunStatus::Finished);
    let salvage = &done.salvages[0];
    assert!(salvage.has_carried());
    assert!(salvage.steps.iter().all(|step| step.status == StepStatus::Done), "{salvage:#?}");
    let verdict = Verdict::of_all(salvage.checks.iter().map(|check| check.verdict));
    assert_eq!(verdict, Verdict::Verified, "{:#?}", salvage.checks);
    let (runbook, now) = (Runbook::load(None).unwrap(), jiff::Timestamp::now());
    let list = Checklist::of(&done, &runbook, now);
    let line = list.line(LATER_WRITES).unwrap().proposal.clone().unwrap();
    assert!(line.text.contains("43 inserted; committed, by the server's word"), "{}", line.text);
    assert!(line.text.contains("lab.makers (1 changed, 1 newer)"), "{}", line.text);
    assert!(line.text.contains("public.orders in shop (all: "), "{}", line.text);
    assert!(!line.text.contains("lab.days_"), "its partitions were: {}", line.text);
    let statement = Report::from(&done, &runbook, now).data_loss();
    assert!(statement.contains("rows were brought back afterwards"), "{statement}");
    stage.ask(&client, Command::WriteReport);
    journal::verify(&stage.folder.join(journal::FILE)).unwrap();
}

/// Brought back by `lifeboat salvage --incident`: evidence on the line of the checklist, as from the
/// screens; from another directory, or only looked at, it is none.
#[test]
#[ignore = "a minute: make test-kill"]
fn a_salvage_by_the_command_line_counts_on_the_checklist() {
    let (stage, recovery) = stage_and_recovery();
    let id = recovery.declaration.id.clone();
    let fixed = ["salvage", "--cluster", CLUSTER, "--incident", &id, "--into", "in-place"];
    let wanted = ["--table", "lab.makers", "--table", "lab.parts", "--take", "missing"];
    let salvage = |more: &[&str]| {
        let given = [&fixed[..], &wanted[..], more].concat();
        stage.sandbox.lifeboat_as_us(&given).unwrap()
    };
    let line = || {
        let list =
            Checklist::of(&stage.left(), &Runbook::load(None).unwrap(), jiff::Timestamp::now());
        list.line(LATER_WRITES).unwrap().proposal.clone().unwrap()
    };
    salvage(&["--dry-run"]);
    assert!(stage.left().salvages.is_empty(), "only looked at");
    assert_eq!(line().verdict, Verdict::NotRun);

    let told = salvage(&["--confirm", CLUSTER]);
    assert!(told.contains("counts on the incident's checklist"), "{told}");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.parts"), "240");
    let now = stage.left();
    let [done] = now.salvages.as_slice() else { panic!("{:#?}", now.salvages) };
    assert_eq!(done.kept, recovery.plan.as_ref().unwrap().aside);
    assert!(done.has_carried() && !done.is_unsure());
    let verdict = Verdict::of_all(done.checks.iter().map(|check| check.verdict));
    assert_eq!(verdict, Verdict::Verified, "{:#?}", done.checks);
    let proposed = line();
    assert!(
        proposed.text.contains("brought back (VERIFIED): lab.makers, lab.parts"),
        "{proposed:?}"
    );
    assert!(proposed.text.contains("41 inserted"), "{proposed:?}");
    assert!(proposed.text.contains("lab.makers (1 changed"), "what is left is told: {proposed:?}");
    assert_eq!(now.plan, recovery.plan, "the recovery stands as it was");
    journal::verify(&stage.folder.join(journal::FILE)).unwrap();

    // The same rows from a directory that this incident did not keep: written, and no evidence.
    let other = stage.sandbox.root().join("cluster/elsewhere");
    let mut copy = std::process::Command::new("cp");
    let copied = copy.args(["-a", "-T"]).arg(&done.kept).arg(&other).status();
    assert!(copied.unwrap().success());
    let other = other.display().to_string();
    sql(&stage, "DELETE FROM lab.parts WHERE id > 235");
    let told = salvage(&["--kept", &other, "--confirm", CLUSTER]);
    assert!(told.contains("its checklist is not told"), "{told}");
    assert_eq!(text(&stage, "SELECT count(*)::text FROM lab.parts"), "240");
    assert_eq!(stage.left().salvages.len(), 1);
}
