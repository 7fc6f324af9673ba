//! The runner killed at every edge of every step, and in the middle of the long ones.

use crate::outcome::{as_undisturbed, clocks_go_on};
use crate::stage::{Stage, kill_runner};
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::restore::plan::ORDER;
use lifeboat::engine::runner::client::Client;

/// Where a runner is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// The step's begin is in the journal, and nothing of it was done.
    Before,
    Middle,
    /// All of it was done, and nothing of that is in the journal.
    AfterRun,
    /// Its end is in the journal.
    After,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    step: &'static str,
    edge: Edge,
}

impl Place {
    fn all() -> Vec<Self> {
        // A replay of so little can be over before anybody sees it begin.
        let long = ["restore-base"];
        let edges = [Edge::Before, Edge::Middle, Edge::AfterRun, Edge::After];
        ORDER
            .iter()
            .flat_map(|step| edges.map(|edge| Self { step, edge }))
            .filter(|place| place.edge != Edge::Middle || long.contains(&place.step))
            .collect()
    }

    /// `None` where the runner is killed from outside.
    fn failpoint(self) -> Option<String> {
        let edge = match self.edge {
            Edge::Before => "before",
            Edge::Middle => return None,
            Edge::AfterRun => "after_run",
            Edge::After => "after",
        };
        Some(format!("step.{}.{edge}", self.step))
    }
}

#[test]
fn the_next_runner_opens_at_the_same_step_and_the_outcome_is_the_same() {
    let stage = Stage::new();
    let places = Place::all();
    let mut next = places.iter().skip(1).copied().map(Some).chain([None]);
    let mut client = stage.runner(places[0].failpoint().as_deref());
    stage.to_gate(&client);
    let mut clocks = client.incident().unwrap().clocks.clone();
    for place in &places {
        stage.go_on(&client);
        if place.edge == Edge::Middle {
            let is_in_it =
                || client.progress().is_some_and(|now| now.job == place.step && now.done > 0);
            stage.watch(&client, &format!("{place:?}"), is_in_it);
            kill_runner(&client);
        }
        stage.until_lost(&client, &format!("{place:?}"));
        let left = stage.left();
        client = stage.runner(next.next().flatten().and_then(Place::failpoint).as_deref());
        let found = stage.wait(&client, &format!("the finding at {place:?}"), |incident| {
            incident.seq >= left.seq + 2 && incident.status != RunStatus::Running
        });
        opened_again(&stage, *place, &left, &found);
        clocks_go_on(&clocks, &found.clocks);
        clocks = found.clocks.clone();
    }
    nothing_runs_by_itself(&client);
    as_undisturbed(&stage);
}

fn nothing_runs_by_itself(client: &Client) {
    assert_eq!(client.incident().unwrap().status, RunStatus::Finished);
    assert!(client.progress().is_none());
}

/// What the next runner says: the same step, the same clocks, and how far it came.
fn opened_again(stage: &Stage, place: Place, left: &Incident, found: &Incident) {
    assert_eq!(found.clocks, left.clocks, "{place:?}");
    let at = ORDER.iter().position(|step| *step == place.step).unwrap();
    let done = |until: usize| found.steps[..until].iter().all(|s| s.status == StepStatus::Done);
    match (place.step, place.edge) {
        ("inspect", Edge::After) => {
            assert_eq!(found.status, RunStatus::Held);
            assert_eq!(found.steps[at].status, StepStatus::Held);
            assert_eq!(found.steps[at].question, left.steps[at].question);
            assert!(done(at));
            return;
        }
        ("validate", Edge::After) => {
            assert_eq!(found.status, RunStatus::Finished);
            return;
        }
        _ => {}
    }
    let at = if place.edge == Edge::After { at + 1 } else { at };
    assert_eq!(found.status, RunStatus::Interrupted, "{place:?}");
    assert_eq!(found.steps[at].status, StepStatus::Interrupted, "{place:?}");
    assert!(done(at), "{place:?}");
    let entries = stage.entries();
    let told = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::StepInterrupted { step, finding } => Some((step.clone(), finding.clone())),
        _ => None,
    });
    let (step, finding) = told.unwrap();
    assert_eq!(step, ORDER[at], "{place:?}: {finding}");
    let begin = match (place.step, place.edge) {
        (_, Edge::After) => "It had not begun.",
        ("restore-base", Edge::Middle) => "Part of it has happened",
        ("stop-server" | "move-aside" | "start-recovery" | "promote", Edge::AfterRun)
        | ("restore-base", Edge::AfterRun) => "It is done",
        ("stop-server" | "move-aside" | "restore-base" | "start-recovery", Edge::Before) => {
            "Nothing of it has happened yet"
        }
        // These look for themselves when they run again.
        _ => "",
    };
    assert!(finding.starts_with(begin), "{place:?}: {finding}");
    assert!(!finding.contains("could not be told"), "{place:?}: {finding}");
}
