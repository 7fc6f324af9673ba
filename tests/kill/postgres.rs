//! PostgreSQL killed: together with the runner, as a power cut does, in every step in which it
//! runs; and alone, in the middle of a step that goes on without it.

use crate::outcome::{as_undisturbed, clocks_go_on};
use crate::stage::{LIMIT, Stage, signal, until};
use lifeboat::engine::incident::model::RunStatus;
use nix::sys::signal::Signal;
use std::fs;
use std::time::Instant;

/// Where the server of the damaged directory, then that of the restored one, runs when the power
/// goes.
const CUTS: [&str; 11] = [
    "step.rescue-wal.after_run",
    "step.start-recovery.after_run",
    "step.replay.before",
    "step.replay.after_run",
    "step.inspect.before",
    "step.inspect.after",
    "step.promote.before",
    "step.promote.after_run",
    "step.open.before",
    "step.open.after_run",
    "step.validate.after_run",
];

/// Those of each time: while the data is moved, while it is replayed, while it is opened.
const FEW: [&str; 5] = [
    "step.rescue-wal.after_run",
    "step.replay.after_run",
    "step.inspect.after",
    "step.promote.after_run",
    "step.open.before",
];

#[test]
fn after_a_power_cut_the_recovery_goes_on_to_the_same_end() {
    power_cuts(&FEW);
}

#[test]
#[ignore = "a minute and more: make test-kill"]
fn after_a_power_cut_in_any_step_the_recovery_goes_on_to_the_same_end() {
    power_cuts(&CUTS);
}

fn power_cuts(cuts: &[&'static str]) {
    let stage = Stage::new();
    let mut next = cuts.iter().skip(1).copied().map(Some).chain([None]);
    let mut client = stage.runner(cuts.first().copied());
    stage.to_gate(&client);
    let mut clocks = client.incident().unwrap().clocks.clone();
    for cut in cuts {
        stage.go_on(&client);
        stage.until_lost(&client, cut);
        if stage.postmaster().is_some() {
            stage.kill_postgres();
        } else {
            // A server that an earlier cut ended is started by the step, not by its edge.
            assert!(cut.ends_with("before"), "{cut}: no server runs");
        }
        let left = stage.left();
        client = stage.runner(next.next().flatten());
        let found = stage.wait(&client, &format!("the finding at {cut}"), |incident| {
            incident.seq >= left.seq + 2 && incident.status != RunStatus::Running
        });
        let held = *cut == "step.inspect.after";
        let expected = if held { RunStatus::Held } else { RunStatus::Interrupted };
        assert_eq!(found.status, expected, "{cut}");
        let step = cut.split('.').nth(1).unwrap();
        assert_eq!(found.current_step().unwrap().id, step, "{cut}");
        assert_eq!(found.clocks, left.clocks, "{cut}");
        clocks_go_on(&clocks, &found.clocks);
        clocks = found.clocks.clone();
    }
    stage.go_on(&client);
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    as_undisturbed(&stage);
}

/// Steps in which the server is killed while the runner lives; the first is the damaged server's.
const ALONE: [&str; 3] = ["rescue-wal", "replay", "validate"];

#[test]
#[ignore = "most of a minute: make test-kill"]
fn a_server_that_is_killed_alone_in_a_step_and_at_the_question_changes_nothing() {
    let stage = Stage::new();
    // Some steps can be over before anybody looks: the runner waits in each for the kill.
    let stops: Vec<String> = ALONE.iter().map(|step| format!("stop@step.{step}.before")).collect();
    let client = stage.runner(Some(&stops.join(",")));
    let runner = i32::try_from(client.runner_pid()).unwrap();
    stage.to_gate(&client);
    let mut clocks = client.incident().unwrap().clocks.clone();
    let mut killed = Vec::new();
    let (mut retries, mut asked) = (0, 0);
    let begun = Instant::now();
    loop {
        let incident = client.incident().unwrap();
        clocks_go_on(&clocks, &incident.clocks);
        clocks = incident.clocks.clone();
        let step = incident.current_step().map(|step| step.id.clone()).unwrap_or_default();
        if is_stopped(runner) {
            stage.kill_postgres();
            killed.push(ALONE[killed.len()]);
            signal(runner, Signal::SIGCONT);
            until("the runner to go on", || !is_stopped(runner));
        }
        match incident.status {
            RunStatus::Finished => break,
            RunStatus::Failed if asked < incident.seq => {
                let failure = incident.current_step().unwrap().failure.clone().unwrap();
                retries += 1;
                assert!(retries < 20, "{step} fails again and again: {failure}");
                assert!(!failure.what.is_empty() && !failure.next.is_empty(), "{failure:?}");
                asked = incident.seq;
                stage.go_on(&client);
            }
            RunStatus::Ready | RunStatus::Held if asked < incident.seq => {
                // At the question: the promotion finds no server.
                if incident.status == RunStatus::Held && stage.postmaster().is_some() {
                    stage.kill_postgres();
                }
                // The answer may come only after the next stop.
                asked = incident.seq;
                stage.go_on(&client);
            }
            _ => {}
        }
        assert!(begun.elapsed() < 4 * LIMIT, "{step}: {:?}", incident.status);
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    assert_eq!(killed, ALONE);
    as_undisturbed(&stage);
}

/// Whether a process was stopped by a signal.
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
}

/// A promotion takes `recovery.signal` away before its end: a server killed then would, at an
/// ordinary start, replay the bad transaction too.
#[test]
fn a_promotion_that_was_broken_off_goes_back_to_the_target_first() {
    let stage = Stage::new();
    let client = stage.runner(Some("step.promote.before"));
    stage.to_gate(&client);
    stage.go_on(&client);
    stage.wait(&client, "the question", |incident| incident.status == RunStatus::Held);
    stage.go_on(&client);
    stage.until_lost(&client, "promote");
    stage.kill_postgres();
    let data = &stage.sandbox.server().data;
    fs::remove_file(data.join("recovery.signal")).unwrap();
    let client = stage.runner(None);
    let found = stage.wait(&client, "the finding", |i| i.status == RunStatus::Interrupted);
    assert_eq!(found.current_step().unwrap().id, "promote");
    stage.go_on(&client);
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);
    assert!(client.incident().unwrap().noted("promotion_broken_off").is_some());
    until("the server", || stage.postmaster().is_some());
    as_undisturbed(&stage);
}
