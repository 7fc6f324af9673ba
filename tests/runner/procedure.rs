//! Plan, gate, steps: in order, and out of order refused.

use crate::fake::{SALVAGE, STEP_BACK, STEPS, WAITS_AT, lsn_target, out_of_reach, target};
use crate::stage::{
    LIMIT, Stage, ask, connect, promote, refused, to_plan, to_run, until, until_begun,
};
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::{Decision, Event};
use lifeboat::engine::incident::facts::{Prerequisite, Target, TargetPoint, Topic, Verdict};
use lifeboat::engine::incident::model::{Phase, RunStatus, StepStatus};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;

async fn begin() -> (Stage, crate::stage::Runner, Client) {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    (stage, runner, client)
}

fn gate(hash: &str, cluster: &str) -> Command {
    Command::PassGate { plan_hash: hash.to_owned(), cluster: cluster.to_owned() }
}

fn start(hash: &str) -> Command {
    Command::Start { plan_hash: hash.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_runs_from_declaration_to_close() {
    let (stage, runner, client) = begin().await;
    ask(&client, Command::ProbeServer).await;
    ask(&client, Command::RunProbes).await;
    ask(&client, Command::Survey).await;
    let survey = client.changes().wait_for(|_| client.survey().is_some()).await.is_ok();
    assert!(survey);
    to_run(&client).await;
    let held = until(&client, RunStatus::Held).await;
    assert_eq!(held.current_step().unwrap().question.as_deref(), Some("Promote here?"));
    assert!(held.clocks.writes_stopped.is_some());
    assert!(held.clocks.replayed.is_some() && held.clocks.promoted.is_none());
    assert!(!stage.has("promote.done"));
    promote(&client).await;
    let finished = until(&client, RunStatus::Finished).await;
    assert!(finished.steps.iter().all(|step| step.status == StepStatus::Done));
    assert_eq!(finished.phase(), Phase::Validation);
    // The time at the question is the commander's, not replay's.
    assert_eq!(finished.clocks.replayed, held.clocks.replayed);
    ask(&client, Command::Validate).await;
    ask(&client, Command::WriteReport).await;
    ask(&client, Command::Close { summary: String::from("all rows are back") }).await;
    assert_eq!(client.incident().unwrap().phase(), Phase::Closed);
    for step in STEPS {
        assert_eq!(stage.effects(step), 1, "{step}");
    }
    let note = Command::AddNote { topic: Topic::Note, text: String::from("late") };
    ask(&client, note).await;
    refused(&client, Command::MakePlan, Kind::Refused).await;
    drop(client);
    runner.stop().await.unwrap();
    assert!(stage.entries().len() > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_salvage_is_a_second_plan_behind_its_own_gate_and_leaves_the_recovery_as_it_was() {
    let (stage, runner, client) = begin().await;
    refused(&client, Command::PlanSalvage, Kind::Refused).await;
    to_run(&client).await;
    until(&client, RunStatus::Held).await;
    refused(&client, Command::PlanSalvage, Kind::Refused).await;
    promote(&client).await;
    let recovered = until(&client, RunStatus::Finished).await;
    ask(&client, Command::Validate).await;

    // Planned and left again; then planned, and killed before its start.
    ask(&client, Command::PlanSalvage).await;
    let planned = client.incident().unwrap();
    assert!(planned.is_salvaging() && planned.status == RunStatus::Planning);
    refused(&client, Command::MakePlan, Kind::Refused).await;
    ask(&client, Command::Cancel).await;
    let left = client.incident().unwrap();
    assert_eq!((&left.plan, left.status), (&recovered.plan, RunStatus::Finished));
    assert_eq!(left.phase(), Phase::Checklist);
    ask(&client, Command::PlanSalvage).await;
    let hash = client.incident().unwrap().plan.clone().unwrap().hash;
    refused(&client, gate(&hash, "other"), Kind::Refused).await;
    ask(&client, gate(&hash, "orders")).await;
    drop(client);
    runner.stop().await.unwrap();

    // The next runner takes it over; a step that fails is put back, and the recovery stands.
    stage.set("salvage-copy.fail");
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    ask(&client, start(&hash)).await;
    until(&client, RunStatus::Failed).await;
    refused(&client, Command::Close { summary: String::from("done") }, Kind::Refused).await;
    ask(&client, Command::Undo).await;
    let back = until(&client, RunStatus::Finished).await;
    assert_eq!((&back.plan, &back.steps), (&recovered.plan, &recovered.steps));
    assert_eq!(back.clocks.serving, recovered.clocks.serving);
    assert_eq!(stage.effects("salvage-copy"), 0);

    // And one to its end.
    stage.unset("salvage-copy.fail");
    ask(&client, Command::PlanSalvage).await;
    ask(&client, gate(&hash, "orders")).await;
    ask(&client, start(&hash)).await;
    let done = until(&client, RunStatus::Finished).await;
    assert_eq!(done.salvages.len(), 3);
    assert_eq!((&done.plan, &done.steps), (&recovered.plan, &recovered.steps));
    for step in SALVAGE.iter().chain(&STEPS) {
        assert_eq!(stage.effects(step), 1, "{step}");
    }
    ask(&client, Command::Validate).await;
    ask(&client, Command::Close { summary: String::from("all is back") }).await;
    drop(client);
    runner.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_opens_only_for_the_plan_the_name_and_the_prerequisites() {
    let (stage, _runner, client) = begin().await;
    refused(&client, Command::MakePlan, Kind::Refused).await;
    refused(&client, gate("", "orders"), Kind::Refused).await;
    let hash = to_plan(&client).await;
    refused(&client, start(&hash), Kind::Refused).await;
    refused(&client, gate(&hash, "Orders"), Kind::Refused).await;
    refused(&client, gate("0123", "orders"), Kind::Refused).await;
    let answer = |met| Command::AnswerPrerequisite {
        prerequisite: Prerequisite::MaintenanceWindow,
        met,
        note: String::new(),
    };
    ask(&client, answer(false)).await;
    let open = refused(&client, gate(&hash, "orders"), Kind::Refused).await;
    assert!(open.what.contains("Maintenance window"), "{open}");
    ask(&client, answer(true)).await;
    ask(&client, gate(&hash, "orders")).await;
    // Taken back after the gate: the run does not start either.
    ask(&client, answer(false)).await;
    refused(&client, start(&hash), Kind::Refused).await;
    ask(&client, answer(true)).await;
    refused(&client, start("0123"), Kind::Refused).await;
    // A new plan is a new confirmation.
    ask(&client, Command::MakePlan).await;
    refused(&client, start(&hash), Kind::Refused).await;
    assert_eq!(stage.count(|event| matches!(event, Event::RunStarted { .. })), 0);
    assert_eq!(stage.effects("stop-server"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn integrity_is_the_tools_word_and_never_read_as_passed_when_unsure() {
    let (stage, _runner, client) = begin().await;
    refused(&client, Command::VerifyIntegrity, Kind::Refused).await;
    let by_hand = Command::AnswerPrerequisite {
        prerequisite: Prerequisite::BackupIntegrity,
        met: true,
        note: String::new(),
    };
    refused(&client, by_hand, Kind::Refused).await;
    stage.set("integrity.bad");
    let hash = to_plan(&client).await;
    let refusal = refused(&client, gate(&hash, "orders"), Kind::Refused).await;
    assert!(refusal.what.contains("Backup integrity"), "{refusal}");
    let incident = client.incident().unwrap();
    assert_eq!(incident.integrity.as_ref().unwrap().1[0].verdict, Verdict::CouldNotVerify);
    stage.unset("integrity.bad");
    ask(&client, Command::VerifyIntegrity).await;
    ask(&client, gate(&hash, "orders")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_is_refused_with_the_nearest_and_recorded_nowhere() {
    let (stage, _runner, client) = begin().await;
    let choose = Command::ChooseTarget { target: out_of_reach() };
    let refusal = refused(&client, choose, Kind::Unreachable).await;
    assert!(refusal.next.contains(&target().to_string()), "{refusal}");
    assert_eq!(stage.count(|event| matches!(event, Event::TargetChosen(_))), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_a_true_hash_is_not_taken() {
    let (stage, _runner, client) = begin().await;
    stage.set("plan.unsealed");
    ask(&client, Command::ChooseTarget { target: target() }).await;
    refused(&client, Command::MakePlan, Kind::Internal).await;
    assert!(client.incident().unwrap().plan.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_holds_before_the_next_step_and_resume_goes_on() {
    let (stage, _runner, client) = begin().await;
    refused(&client, Command::Pause, Kind::Refused).await;
    stage.set("stop-server.block");
    to_run(&client).await;
    until_begun(&client, "stop-server").await;
    ask(&client, Command::Pause).await;
    stage.unset("stop-server.block");
    until(&client, RunStatus::Paused).await;
    assert_eq!((stage.effects("stop-server"), stage.effects("move-aside")), (1, 0));
    refused(&client, Command::Retry, Kind::Refused).await;
    ask(&client, Command::Resume).await;
    until(&client, RunStatus::Held).await;
    assert_eq!((stage.effects("stop-server"), stage.effects("move-aside")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_stops_at_the_safe_point_and_undo_puts_back_newest_first() {
    let (stage, _runner, client) = begin().await;
    stage.set("replay.block");
    to_run(&client).await;
    until_begun(&client, "replay").await;
    refused(&client, Command::Undo, Kind::Refused).await;
    ask(&client, Command::Cancel).await;
    let cancelled = until(&client, RunStatus::Cancelled).await;
    assert_eq!(cancelled.steps[2].status, StepStatus::Cancelled);
    assert_eq!(stage.effects("replay"), 0);
    // What it has moved stands in the way of another plan.
    refused(&client, Command::MakePlan, Kind::Refused).await;
    ask(&client, Command::Undo).await;
    let undone = until(&client, RunStatus::Undone).await;
    assert_eq!(stage.undone(), "replay move-aside stop-server");
    assert!(undone.clocks.writes_stopped.is_none());
    refused(&client, Command::Undo, Kind::Refused).await;
    // And then all over again, to the end.
    stage.unset("replay.block");
    to_run(&client).await;
    until(&client, RunStatus::Held).await;
    promote(&client).await;
    until(&client, RunStatus::Finished).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_be_cancelled_ends_before_the_cancel() {
    let (stage, _runner, client) = begin().await;
    stage.set("move-aside.block");
    to_run(&client).await;
    until_begun(&client, "move-aside").await;
    ask(&client, Command::Cancel).await;
    assert_eq!(client.incident().unwrap().status, RunStatus::Running);
    stage.unset("move-aside.block");
    let cancelled = until(&client, RunStatus::Cancelled).await;
    assert_eq!(cancelled.steps[1].status, StepStatus::Done);
    assert_eq!((stage.effects("move-aside"), stage.effects("replay")), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_is_retried_and_earlier_ones_are_not() {
    let (stage, _runner, client) = begin().await;
    stage.set("move-aside.fail");
    to_run(&client).await;
    let failed = until(&client, RunStatus::Failed).await;
    assert_eq!(failed.steps[1].failure.as_ref().unwrap().kind, Kind::Server);
    refused(&client, Command::Close { summary: String::from("x") }, Kind::Refused).await;
    stage.unset("move-aside.fail");
    ask(&client, Command::Retry).await;
    let held = until(&client, RunStatus::Held).await;
    assert_eq!(held.steps[1].attempts, 2);
    assert_eq!((stage.effects("stop-server"), stage.effects("move-aside")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_can_be_cancelled_instead() {
    let (stage, _runner, client) = begin().await;
    stage.set("stop-server.fail");
    to_run(&client).await;
    until(&client, RunStatus::Failed).await;
    ask(&client, Command::Cancel).await;
    assert_eq!(client.incident().unwrap().status, RunStatus::Cancelled);
    refused(&client, Command::Retry, Kind::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_step_is_a_failure_and_the_runner_lives() {
    let (stage, _runner, client) = begin().await;
    stage.set("move-aside.panic");
    to_run(&client).await;
    let failed = until(&client, RunStatus::Failed).await;
    let failure = failed.steps[1].failure.clone().unwrap();
    assert_eq!(failure.kind, Kind::Internal);
    assert!(failure.what.contains("the step fell over"), "{failure}");
    stage.unset("move-aside.panic");
    ask(&client, Command::Retry).await;
    until(&client, RunStatus::Held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_job_is_an_answer_and_the_job_can_be_asked_again() {
    let (stage, _runner, client) = begin().await;
    stage.set("probes.panic");
    refused(&client, Command::RunProbes, Kind::Internal).await;
    stage.unset("probes.panic");
    ask(&client, Command::RunProbes).await;
    stage.set("survey.fail");
    refused(&client, Command::Survey, Kind::Connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoning_ends_the_run_and_nothing_is_promoted() {
    let (stage, _runner, client) = begin().await;
    refused(&client, Command::Decide { decision: Decision::Promote }, Kind::Refused).await;
    to_run(&client).await;
    until(&client, RunStatus::Held).await;
    // Looking at the data before the decision is what holding is for.
    ask(&client, Command::Validate).await;
    ask(&client, Command::Decide { decision: Decision::Abandon }).await;
    assert_eq!(client.incident().unwrap().status, RunStatus::Cancelled);
    assert!(!stage.has("promote.done"));
    ask(&client, Command::Undo).await;
    until(&client, RunStatus::Undone).await;
    assert_eq!(stage.undone(), "replay move-aside stop-server");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_back_after_promotion() {
    let (stage, _runner, client) = begin().await;
    stage.set("open.fail");
    to_run(&client).await;
    until(&client, RunStatus::Held).await;
    promote(&client).await;
    until(&client, RunStatus::Failed).await;
    let refusal = refused(&client, Command::Undo, Kind::Refused).await;
    assert!(refusal.what.contains("promoted"), "{refusal}");
    assert_eq!(stage.undone(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_fails_goes_on_where_it_stopped_and_never_forward() {
    let (stage, _runner, client) = begin().await;
    stage.set("replay.fail");
    stage.set("move-aside.no-undo");
    to_run(&client).await;
    until(&client, RunStatus::Failed).await;
    ask(&client, Command::Undo).await;
    let what = "the undo to fail";
    client.wait(what, LIMIT, |incident| incident.undo_failure.is_some()).await.unwrap();
    assert_eq!(stage.undone(), "replay");
    refused(&client, Command::Retry, Kind::Refused).await;
    stage.unset("move-aside.no-undo");
    ask(&client, Command::Undo).await;
    until(&client, RunStatus::Undone).await;
    assert_eq!(stage.undone(), "replay move-aside stop-server");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integrity_result_for_another_target_is_not_recorded() {
    let (stage, _runner, client) = begin().await;
    ask(&client, Command::ChooseTarget { target: target() }).await;
    stage.set("integrity.block");
    let late = client.submit(Command::VerifyIntegrity);
    let until_progress = client
        .changes()
        .wait_for(|_| client.progress().is_some_and(|progress| progress.job == "integrity"))
        .await
        .is_ok();
    assert!(until_progress);
    refused(&client, Command::VerifyIntegrity, Kind::Busy).await;
    let mut other = target();
    other.inclusive = true;
    ask(&client, Command::ChooseTarget { target: other }).await;
    stage.unset("integrity.block");
    assert_eq!(late.answer().await.unwrap_err().kind, Kind::Refused);
    assert!(client.incident().unwrap().integrity.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_for_an_answer_can_be_stopped() {
    let (stage, _runner, client) = begin().await;
    stage.set("reading.block");
    let wrong = Command::CheckReach { target: Target { point: TargetPoint::Xid(9), ..target() } };
    for question in [wrong, Command::Survey] {
        let begun = stage.world.join("reading.begun");
        let _ = std::fs::remove_file(&begun);
        let late = client.submit(question);
        let limit = std::time::Instant::now() + LIMIT;
        while !begun.exists() {
            assert!(std::time::Instant::now() < limit, "it never began to read");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        ask(&client, Command::StopReading).await;
        assert_eq!(late.answer().await.unwrap_err().kind, Kind::Cancelled);
    }
    stage.unset("reading.block");
    ask(&client, Command::Survey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_target_a_later_point_is_tried_with_the_same_plan() {
    let (stage, _runner, client) = begin().await;
    let later = |lsn: u64, cluster: &str| Command::MoveTarget {
        target: lsn_target(Lsn(lsn)),
        cluster: cluster.to_owned(),
    };
    let far = WAITS_AT.0 + 0x100;
    refused(&client, later(far, "orders"), Kind::Refused).await;
    to_run(&client).await;
    let waits = until(&client, RunStatus::Held).await;
    let plan = waits.plan.clone().unwrap();
    let wrong = [
        (later(far, "order"), "not the cluster"),
        (later(WAITS_AT.0, "orders"), "not later"),
        (Command::MoveTarget { target: target(), cluster: "orders".into() }, "cannot be told"),
    ];
    for (command, why) in wrong {
        let refusal = refused(&client, command, Kind::Refused).await;
        assert!(refusal.what.contains(why), "{refusal}");
    }
    let branch = Target { timeline: Some(2), ..lsn_target(Lsn(far)) };
    let branch = Command::MoveTarget { target: branch, cluster: "orders".into() };
    let refusal = refused(&client, branch, Kind::Refused).await;
    assert!(refusal.what.contains("another branch"), "{refusal}");
    let unreachable = Command::MoveTarget { target: out_of_reach(), cluster: "orders".into() };
    refused(&client, unreachable, Kind::Unreachable).await;
    assert_eq!(client.incident().unwrap().plan, Some(plan.clone()));

    ask(&client, later(far, "orders")).await;
    let again = client
        .wait("the question again", LIMIT, |i| {
            i.status == RunStatus::Held && i.steps[2].attempts == 2
        })
        .await
        .unwrap();
    let moved = again.plan.clone().unwrap();
    assert_eq!((&moved.target, moved.replay_until), (&lsn_target(Lsn(far)), Some(Lsn(far))));
    assert!(moved.is_sealed() && moved.hash != plan.hash);
    assert_eq!((&moved.steps, &moved.aside, &moved.base), (&plan.steps, &plan.aside, &plan.base));
    assert_eq!(again.gate.as_ref().map(|(hash, _)| hash), Some(&moved.hash));
    assert_eq!([stage.effects("stop-server"), stage.effects("move-aside")], [1, 1]);
    promote(&client).await;
    until(&client, RunStatus::Finished).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_target_an_earlier_point_sets_aside_what_stands_and_begins_anew() {
    let (stage, _runner, client) = begin().await;
    let to = |lsn: u64| Command::MoveTarget {
        target: lsn_target(Lsn(lsn)),
        cluster: String::from("orders"),
    };
    to_run(&client).await;
    until(&client, RunStatus::Held).await;
    ask(&client, to(WAITS_AT.0 + 0x100)).await;
    let waits = client.wait("the later point", LIMIT, |i| {
        i.status == RunStatus::Held && i.steps[2].attempts == 2
    });
    let before = waits.await.unwrap();
    ask(&client, to(WAITS_AT.0 + 0x50)).await;
    let set_aside = |i: &Incident| i.steps.iter().filter(|s| s.id == STEP_BACK).count();
    let waits = client
        .wait("the earlier point", LIMIT, |i| i.status == RunStatus::Held && set_aside(i) == 1);
    let after = waits.await.unwrap();
    let ids: Vec<&str> = after.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["stop-server", "move-aside", STEP_BACK, "replay", "promote", "open"]);
    let (old, new) = (before.plan.clone().unwrap(), after.plan.clone().unwrap());
    assert!(new.is_sealed() && new.hash != old.hash);
    assert_eq!((&new.aside, new.replay_until), (&old.aside, Some(Lsn(WAITS_AT.0 + 0x50))));
    assert_eq!(after.gate.as_ref().map(|(hash, _)| hash), Some(&new.hash));
    // What came before it stands; what comes behind it is begun anew.
    assert_eq!(["stop-server", "move-aside", STEP_BACK].map(|id| stage.effects(id)), [1, 1, 1]);
    assert_eq!((after.steps[1].attempts, after.steps[3].attempts), (1, 1));
    assert_eq!(after.steps[1], before.steps[1]);

    ask(&client, Command::Decide { decision: Decision::Abandon }).await;
    until(&client, RunStatus::Cancelled).await;
    ask(&client, Command::Undo).await;
    until(&client, RunStatus::Undone).await;
    assert_eq!(stage.undone(), format!("replay {STEP_BACK} move-aside stop-server"));
}
