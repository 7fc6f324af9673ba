//! The terminal UI killed while each step runs or waits: the runner goes on, and a new window
//! opens on the same incident and shows the same step.

use crate::outcome::as_undisturbed;
use crate::stage::{Stage, next_command};
use crate::window::Window;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::collections::BTreeSet;

#[test]
fn a_new_window_shows_the_same_step_and_the_recovery_never_notices() {
    let stage = Stage::new();
    let client = stage.runner(None);
    stage.to_gate(&client);
    let mut seen = BTreeSet::new();
    loop {
        let before = client.incident().unwrap();
        let window = open(&stage, &before);
        // What leads on is asked by a second front end, so that the window only looks; and to
        // stop before the step after the next, which is refused where that is too late.
        stage.ask(&client, next_command(&before));
        let pause = client.submit(Command::Pause);
        let running = stage.wait(&client, "a step to begin", |incident| {
            incident.seq > before.seq
                && (incident.status != RunStatus::Running || incident.current_step().is_some())
        });
        window.kill();
        seen.extend(running.current_step().map(|step| step.id.clone()));
        drop(pause);
        let settled =
            stage.wait(&client, "the step's end", |incident| incident.status != RunStatus::Running);
        assert_eq!(client.runner_pid(), runner_of(&stage), "another runner took over");
        assert_eq!(attempts(&settled), 1, "a step ran twice");
        if settled.status == RunStatus::Finished {
            open(&stage, &settled).kill();
            break;
        }
    }
    // A step too short to be caught is passed with the one before it.
    for step in ["confirm-identity", "rescue-wal", "restore-base", "inspect"] {
        assert!(seen.contains(step), "{step} is not among {seen:?}");
    }
    as_undisturbed(&stage);
}

/// A window on the incident that is under way, once it shows where that stands.
fn open(stage: &Stage, incident: &Incident) -> Window {
    let window = Window::open(&stage.sandbox.program(), &stage.sandbox.config().path);
    let done = incident.steps.iter().filter(|step| step.status == StepStatus::Done).count();
    let whole = incident.steps.len();
    let wanted = match incident.status {
        RunStatus::Ready => String::from("Prerequisites and plan"),
        RunStatus::Finished => incident.declaration.id.clone(),
        _ => format!("{done} of {whole} steps done"),
    };
    window.wait(&format!("\"{wanted}\""), |text| text.contains(&wanted));
    if incident.status == RunStatus::Held {
        window.wait("the question", |text| text.contains("At the recovery point"));
    }
    window
}

fn runner_of(stage: &Stage) -> u32 {
    let client: Client = stage.another_link();
    client.runner_pid()
}

/// The most that any step has begun.
fn attempts(incident: &Incident) -> u32 {
    incident.steps.iter().map(|step| step.attempts).max().unwrap()
}
