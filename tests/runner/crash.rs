//! A runner in a process of its own, killed as `kill -9` does, in every place that matters.

use crate::fake::STEPS;
use crate::stage::{LIMIT, Stage, ask, promote, refused, to_run, until, until_begun};
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::protocol::Command;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn signal(client: &Client, signal: Signal) {
    let pid = i32::try_from(client.runner_pid()).unwrap();
    assert_ne!(pid, i32::try_from(std::process::id()).unwrap());
    kill(Pid::from_raw(pid), signal).unwrap();
}

async fn until_lost(client: &Client) {
    let mut changes = client.changes();
    let lost = changes.wait_for(|_| matches!(client.link(), LinkState::Lost { .. }));
    tokio::time::timeout(LIMIT, lost).await.unwrap().unwrap();
}

/// Retries what is interrupted and promotes at the question, until the run has finished.
async fn to_the_end(client: &Client) {
    loop {
        let what = "something to decide";
        let settled = client
            .wait(what, LIMIT, |incident| {
                use RunStatus::{Finished, Held, Interrupted};
                matches!(incident.status, Interrupted | Held | Finished)
            })
            .await
            .unwrap();
        // While it still looks at what it found it says so, and its finding follows.
        let command = match settled.status {
            RunStatus::Finished => return,
            RunStatus::Interrupted => Command::Retry,
            _ => Command::Decide { decision: lifeboat::engine::incident::event::Decision::Promote },
        };
        if let Err(error) = client.request(command).await {
            assert_eq!(error.kind, Kind::Busy, "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_step_the_next_one_says_where_it_stands_and_waits() {
    let stage = Stage::new();
    stage.set("move-aside.block");
    let client = stage.child(None).await;
    to_run(&client).await;
    until_begun(&client, "move-aside").await;
    let clocks = client.incident().unwrap().clocks.clone();
    signal(&client, Signal::SIGKILL);
    until_lost(&client).await;
    stage.unset("move-aside.block");
    let client = stage.child(None).await;
    let found = until(&client, RunStatus::Interrupted).await;
    assert_eq!(found.clocks, clocks);
    assert_eq!(found.steps[1].status, StepStatus::Interrupted);
    let entries = stage.entries();
    let finding = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::StepInterrupted { step, finding } => Some((step.clone(), finding.clone())),
        _ => None,
    });
    let (step, finding) = finding.unwrap();
    assert_eq!(step, "move-aside");
    assert!(finding.contains("it was begun"), "{finding}");
    // Nothing goes on by itself.
    refused(&client, Command::Resume, Kind::Refused).await;
    assert_eq!(stage.effects("move-aside"), 0);
    ask(&client, Command::Retry).await;
    until(&client, RunStatus::Held).await;
    promote(&client).await;
    until(&client, RunStatus::Finished).await;
    assert!(STEPS.iter().all(|step| stage.effects(step) == 1));
    signal(&client, Signal::SIGTERM);
    until_lost(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_boundary_no_effect_comes_twice_and_promotion_is_still_asked_for() {
    let mut places = Vec::new();
    for step in STEPS {
        places.extend(["before", "after_run", "after"].map(|edge| format!("step.{step}.{edge}")));
    }
    // Boundaries of the journal, counted from its first line.
    for nth in [11, 13, 14, 17] {
        let edges = ["before_write", "after_write", "after_sync"];
        places.extend(edges.map(|edge| format!("journal.{edge}:{nth}")));
    }
    for place in places {
        let stage = Stage::new();
        let client = stage.child(Some(&place)).await;
        let killed = async {
            to_run_or_lost(&client).await;
            if !matches!(client.link(), LinkState::Lost { .. }) {
                to_the_end_or_lost(&client).await;
            }
            until_lost(&client).await;
        };
        tokio::time::timeout(LIMIT, killed).await.unwrap_or_else(|_| panic!("{place}"));
        let client = stage.child(None).await;
        let incident = client.live(LIMIT).await.unwrap();
        if incident.status == RunStatus::Ready {
            let plan_hash = incident.plan.clone().unwrap().hash;
            ask(&client, Command::Start { plan_hash }).await;
        }
        to_the_end(&client).await;
        for step in STEPS {
            assert_eq!(stage.effects(step), 1, "{place}: {step}");
        }
        let decided = stage.count(|event| matches!(event, Event::Decided { .. }));
        assert_eq!(decided, 1, "{place}");
        journal::verify(&stage.incident.join(journal::FILE)).unwrap();
        signal(&client, Signal::SIGTERM);
        until_lost(&client).await;
    }
}

async fn to_run_or_lost(client: &Client) {
    let run = tokio::spawn({
        let client = client.clone();
        async move { to_run(&client).await }
    });
    let mut changes = client.changes();
    tokio::select! {
        // A panic in there is the link's end in the midst of an answer.
        _ = run => {}
        _ = changes.wait_for(|_| matches!(client.link(), LinkState::Lost { .. })) => {}
    }
}

async fn to_the_end_or_lost(client: &Client) {
    let run = tokio::spawn({
        let client = client.clone();
        async move { to_the_end(&client).await }
    });
    let mut changes = client.changes();
    tokio::select! {
        _ = run => {}
        _ = changes.wait_for(|_| matches!(client.link(), LinkState::Lost { .. })) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_the_runner_died_with_takes_effect_when_it_is_back() {
    let stage = Stage::new();
    stage.set("move-aside.block");
    let client = stage.child(None).await;
    to_run(&client).await;
    until_begun(&client, "move-aside").await;
    // This step does not stop for it.
    ask(&client, Command::Cancel).await;
    signal(&client, Signal::SIGKILL);
    until_lost(&client).await;
    let client = stage.child(None).await;
    let cancelled = until(&client, RunStatus::Cancelled).await;
    assert_eq!(cancelled.steps[1].status, StepStatus::Cancelled);
    ask(&client, Command::Undo).await;
    until(&client, RunStatus::Undone).await;
    assert_eq!(stage.undone(), "move-aside stop-server");
    signal(&client, Signal::SIGTERM);
    until_lost(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_putting_back_it_goes_on_putting_back() {
    let stage = Stage::new();
    stage.set("replay.fail");
    let client = stage.child(Some("undo.move-aside.after_run")).await;
    to_run(&client).await;
    until(&client, RunStatus::Failed).await;
    // Its answer may or may not come before the end.
    let undo = client.submit(Command::Undo);
    until_lost(&client).await;
    drop(undo);
    let client = stage.child(None).await;
    until(&client, RunStatus::Undoing).await;
    refused(&client, Command::Retry, Kind::Refused).await;
    ask(&client, Command::Undo).await;
    until(&client, RunStatus::Undone).await;
    // Put back twice is put back once: the step's own undo sees to it.
    assert_eq!(stage.undone(), "replay move-aside move-aside stop-server");
    signal(&client, Signal::SIGTERM);
    until_lost(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_changes_nothing_and_two_front_ends_get_one_runner() {
    let stage = Stage::new();
    let (one, other) = tokio::join!(stage.spawn_child(None), stage.spawn_child(None));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    let client = Client::connect(&one).await.unwrap();
    client.live(LIMIT).await.unwrap();
    signal(&client, Signal::SIGHUP);
    ask(&client, Command::ProbeServer).await;
    let started = stage.count(|event| matches!(event, Event::RunnerStarted { .. }));
    assert_eq!(started, 1);
    // It leads a session of its own.
    let pid = Pid::from_raw(i32::try_from(client.runner_pid()).unwrap());
    assert_eq!(nix::unistd::getsid(Some(pid)).unwrap(), pid);
    signal(&client, Signal::SIGTERM);
    until_lost(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_shows_the_log() {
    let stage = Stage::new();
    let error = stage.spawn_child(Some("nonsense:zero")).await.unwrap_err().to_string();
    assert!(error.contains("LIFEBOAT_FAILPOINT is \"nonsense:zero\""), "{error}");
}
