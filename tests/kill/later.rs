//! At the target the commander goes on to a later point: the server is stopped, told and started
//! again, nothing is copied anew, and a runner killed in the middle changes nothing of that.

use crate::stage::{LIMIT, Stage, kill_runner};
use lifeboat::engine::drill::sandbox::CLUSTER;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::incident::facts::{Check, Survey, Target, TargetPoint, Try, Verdict};
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::restore::plan::ORDER;
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::protocol::{Answer, Command};

#[test]
fn a_later_point_is_reached_without_copying_again() {
    let stage = Stage::new();
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    let first = stage.wait(&client, "the target", |i| i.status == RunStatus::Held);
    let before = first.tries.last().unwrap().clone();
    let target = first.plan.as_ref().unwrap().target.clone();
    assert_eq!(before.target, target);
    assert!(before.reached_lsn.is_some() && !before.checks.is_empty(), "{before:?}");
    // The table that the damage will hit still has the rows that it will delete.
    let orders = counted(&before, "rows:public.orders");
    assert_ne!(orders.verdict, Verdict::Failed, "{orders:?}");

    // Not later, not the typed name: nothing moves.
    let cluster = CLUSTER.to_owned();
    let same = Command::MoveTarget { target, cluster: cluster.clone() };
    assert!(refusal(&stage, &client, same).contains("not later"));
    let everything = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    let other = Command::MoveTarget { target: everything.clone(), cluster: "other".into() };
    assert!(refusal(&stage, &client, other).contains("not the cluster"));
    assert_eq!(client.incident().unwrap().plan, first.plan);

    // The server was told the proven timeline, by its number.
    let auto = stage.sandbox.server().data.join("postgresql.auto.conf");
    let settings = std::fs::read_to_string(&auto).unwrap();
    assert!(settings.contains("recovery_target_timeline = '1'"), "{settings}");
    // Read anew meanwhile, the archive ends where it ended: the rescued tail counts, the restored
    // directory's own WAL does not.
    let before_stop = client.survey().unwrap();
    stage.ask(&client, Command::Survey);
    stage.watch(&client, "the new survey", || {
        client.survey().is_some_and(|survey| survey.at != before_stop.at)
    });
    let now = client.survey().unwrap();
    let newest = |survey: &Survey| survey.newest_commit.as_ref().unwrap().lsn;
    assert!(newest(&now) >= newest(&before_stop), "{:#?}", now.warnings);
    // A later point needs no room for a copy; an earlier one does.
    let reach = |target: &Target| {
        let command = Command::CheckReach { target: target.clone() };
        let Ok(Answer::Reach(reach)) = stage.answer(&client, command) else { panic!("no reach") };
        reach
    };
    let room = |target: &Target| {
        let checks = reach(target).checks;
        checks.into_iter().find(|check| check.id == "space").unwrap().detail
    };
    assert!(room(&everything).contains("No further copy"), "{}", room(&everything));
    let here = reach(&first.plan.as_ref().unwrap().target);
    assert!(!room(&here.target).contains("No further copy"));

    // Just after the culprit: its deletes are there, and what came after it is not.
    let culprit = stage.sandbox.truth().unwrap().xid;
    let after = Target { point: TargetPoint::Xid(culprit), inclusive: true, timeline: None };
    stage.ask(&client, Command::MoveTarget { target: after.clone(), cluster: cluster.clone() });
    kill_runner(&client);
    stage.watch(&client, "the runner's end", || matches!(client.link(), LinkState::Lost { .. }));
    let client = stage.runner(None);
    let looked = stage.wait(&client, "a look at what the runner left", |i| {
        matches!(i.status, RunStatus::Interrupted | RunStatus::Held)
    });
    if looked.status == RunStatus::Interrupted {
        stage.ask(&client, Command::Retry);
    }
    let second = stage
        .wait(&client, "the later target", |i| i.status == RunStatus::Held && i.tries.len() == 2);
    assert_eq!(second.tries[1].target, after);
    // Asked again at the later point, where the rows are gone.
    let gone = counted(&second.tries[1], "rows:public.orders");
    assert!(rows_of(&gone) < rows_of(&orders), "{gone:?} against {orders:?}");
    assert!(second.tries[1].reached_lsn > before.reached_lsn);
    assert_ne!(second.plan.as_ref().unwrap().hash, first.plan.as_ref().unwrap().hash);

    // And on to the very end.
    stage.ask(&client, Command::MoveTarget { target: everything, cluster });
    let third =
        stage.wait(&client, "the end", |i| i.status == RunStatus::Held && i.tries.len() == 3);
    // What was said to be lost by stopping at the first point is what came since, row by row.
    let lost = here.cost.tables.unwrap();
    let named = |relation: &str| relation == format!("public.orders in {DATABASE}");
    let lost = lost.iter().find(|table| named(&table.relation)).expect("the table is named");
    let at_end = rows_of(&counted(&third.tries[2], "rows:public.orders"));
    assert!(here.cost.exact && lost.deletes > 0, "{lost:?}");
    assert_eq!(rows_of(&orders) + lost.inserts - lost.deletes, at_end, "{lost:?}");
    stage.ask(&client, Command::Decide { decision: Decision::Promote });
    let last = stage.wait(&client, "the recovery's end", |i| {
        matches!(i.status, RunStatus::Finished | RunStatus::Failed)
    });
    assert_eq!(last.status, RunStatus::Finished, "{:?}", last.current_step());
    for id in &ORDER[..ORDER.iter().position(|id| *id == "replay").unwrap()] {
        let step = last.steps.iter().find(|step| step.id == *id).unwrap();
        assert_eq!((step.attempts, step.status), (1, StepStatus::Done), "{id} ran again");
    }

    // Everything is there, the damage too: what the application was told is committed.
    let truth = stage.sandbox.truth().unwrap();
    let orders = truth.tables.iter().find(|table| table.name == truth.damaged_table).unwrap().rows;
    let rows = stage.rows("SELECT count(*) FROM public.orders");
    let deleted = i64::try_from(truth.deleted).unwrap();
    assert!(rows >= orders - deleted && rows < orders, "{rows} of {orders}, {deleted} deleted");
    let late = "SELECT count(*) FROM public.orders WHERE created_at > to_timestamp($1)";
    let committed = truth.committed_at.as_millisecond() as f64 / 1000.0;
    let after_it = stage.rows_with(late, committed);
    assert!(after_it > 0, "what came after the damage is there");
}

/// The log asks for a higher setting than the recovering server was given: it stops with rows
/// missing, says so, and a retry raises the setting and goes on.
#[test]
fn later_a_setting_that_the_plan_missed_is_raised_by_a_retry() {
    let stage = Stage::prepared(|sandbox| {
        sandbox.server().stop().unwrap();
        sandbox.server().start(&[("max_connections", RAISED)]).unwrap();
    });
    let client = stage.runner(Some("step.start-recovery.before"));
    stage.to_gate(&client);
    stage.go_on(&client);
    stage.until_lost(&client, "step.start-recovery.before");
    // As if nobody had known what the log asks for.
    let auto = stage.sandbox.server().data.join("postgresql.auto.conf");
    let settings = std::fs::read_to_string(&auto).unwrap();
    let line = format!("max_connections = '{RAISED}'\n");
    assert!(settings.contains(&line), "{settings}");
    std::fs::write(&auto, settings.replace(&line, "")).unwrap();

    let client = stage.runner(None);
    stage.wait(&client, "what the runner left", |i| i.status == RunStatus::Interrupted);
    stage.ask(&client, Command::Retry);
    let stopped = stage.wait(&client, "the stop on the way", |i| {
        matches!(i.status, RunStatus::Failed | RunStatus::Held)
    });
    let failure = stopped.current_step().and_then(|step| step.failure.clone()).unwrap();
    assert_eq!((stopped.status, failure.kind), (RunStatus::Failed, Kind::Config), "{failure}");
    assert!(failure.what.contains("max_connections"), "{failure}");
    assert!(failure.next.contains(&format!("raised to {RAISED}")), "{failure}");
    stage.ask(&client, Command::Retry);
    let held = stage.wait(&client, "the target", |i| {
        i.status == RunStatus::Held
            || (i.status == RunStatus::Failed && i.current_step().is_some_and(|s| s.attempts > 1))
    });
    assert_eq!(held.status, RunStatus::Held, "{:?}", held.current_step());
    assert!(held.noted("settings_raised").is_some_and(|text| text.contains(RAISED)));
    let counted = held.tries[0].checks.iter().find(|c| c.id == "rows:public.orders").unwrap();
    assert!(rows_of(counted) > 0 && counted.verdict != Verdict::Failed, "{counted:?}");
}

/// More than the sandbox's servers are configured with.
const RAISED: &str = "173";

fn counted(tried: &Try, id: &str) -> Check {
    tried.checks.iter().find(|check| check.id == id).expect("the table was looked at").clone()
}

fn rows_of(check: &Check) -> u64 {
    check.found.as_ref().unwrap().replace(',', "").parse().unwrap()
}

fn refusal(stage: &Stage, client: &Client, command: Command) -> String {
    let refused = stage.answer(client, command).unwrap_err();
    assert_eq!(refused.kind, Kind::Refused, "{refused}");
    refused.what
}

impl Stage {
    fn rows(&self, sql: &str) -> i64 {
        self.block_on(async {
            let client = self.sandbox.server().connect("postgres", DATABASE).await.unwrap();
            client.query_one(sql, &[]).await.unwrap().get(0)
        })
    }

    fn rows_with(&self, sql: &str, seconds: f64) -> i64 {
        self.block_on(async {
            let client = self.sandbox.server().connect("postgres", DATABASE).await.unwrap();
            client.query_one(sql, &[&seconds]).await.unwrap().get(0)
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.on(async { tokio::time::timeout(LIMIT, work).await.expect("an answer in time") })
    }
}
