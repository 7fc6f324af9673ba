//! The escalation ladder as a runner walks it, by a clock that the test sets.

use crate::stage::{LIMIT, Runner, Stage, ask, connect, refused, until};
use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that stands until it is set.
#[derive(Clone)]
struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    fn new() -> Self {
        Self(Arc::new(Mutex::new("2026-01-13T10:00:00Z".parse().unwrap())))
    }

    fn pass(&self, minutes: i64) {
        *self.0.lock().unwrap() += SignedDuration::from_mins(minutes);
    }

    async fn runner(&self, stage: &Stage) -> Runner {
        let clock = self.clone();
        stage
            .runner_with(|options| {
                options.clock = Arc::new(move || *clock.0.lock().unwrap());
                options.tick = Duration::from_millis(5);
            })
            .await
    }
}

/// Until a level was called that often.
async fn called(client: &Client, level: &str, times: u32) {
    let what = format!("level {level} to be called {times} times");
    let seen = |incident: &lifeboat::engine::incident::Incident| {
        incident.raised.iter().any(|one| one.raise.level == level && one.raise.times == times)
    };
    client.wait(&what, LIMIT, seen).await.unwrap();
}

fn calls(stage: &Stage) -> Vec<(String, u32)> {
    let of = |entry: lifeboat::engine::incident::Entry| match entry.event {
        Event::LevelRaised(raise) => Some((raise.level, raise.times)),
        _ => None,
    };
    stage.entries().into_iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_called_once_whatever_dies_between_and_again_until_somebody_answers() {
    let (stage, hands) = (Stage::new(), Hands::new());
    stage.set("ladder");
    let first = hands.runner(&stage).await;
    let client = connect(&first.socket).await;
    hands.pass(31);
    called(&client, "2", 1).await;
    drop(client);
    first.stop().await.unwrap();
    // Nobody is there while the next call's time comes and goes.
    hands.pass(11);
    let second = hands.runner(&stage).await;
    let client = connect(&second.socket).await;
    called(&client, "2", 2).await;
    let level = || String::from("2");
    ask(&client, Command::Acknowledge { level: level() }).await;
    let known = client.incident().unwrap().raised[0].acknowledged.clone().unwrap();
    assert_eq!(known.by, client.you().user);
    let again = refused(&client, Command::Acknowledge { level: level() }, Kind::Refused).await;
    assert!(again.what.contains("answers for level 2 already"), "{again}");
    let never = Command::Acknowledge { level: String::from("4") };
    assert!(refused(&client, never, Kind::Refused).await.what.contains("was not called"));
    drop(client);
    second.stop().await.unwrap();
    // What was answered is not called again; the next level is, in its time.
    hands.pass(20);
    let third = hands.runner(&stage).await;
    let client = connect(&third.socket).await;
    called(&client, "3", 1).await;
    let told = |level: &str, times| (level.to_owned(), times);
    assert_eq!(calls(&stage), [told("2", 1), told("2", 2), told("3", 1)]);
    drop(client);
    third.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_called_once_the_database_serves() {
    let (stage, hands) = (Stage::new(), Hands::new());
    stage.set("ladder");
    let runner = hands.runner(&stage).await;
    let client = connect(&runner.socket).await;
    crate::stage::to_run(&client).await;
    until(&client, RunStatus::Held).await;
    // The RTO is over before the level's own time: it is called early, and says so.
    hands.pass(16);
    called(&client, "2", 1).await;
    let why = client.incident().unwrap().raised[0].raise.why.clone();
    assert!(
        why.starts_with("The RTO of 15 min is over") && why.contains("before its time"),
        "{why}"
    );
    crate::stage::promote(&client).await;
    until(&client, RunStatus::Finished).await;
    // Reminders come by the same turn: once one is there, so was the ladder's.
    hands.pass(600);
    let reminded = |incident: &lifeboat::engine::incident::Incident| !incident.reminded.is_empty();
    client.wait("a reminder", LIMIT, reminded).await.unwrap();
    assert_eq!(calls(&stage), [(String::from("2"), 1)]);
    let reminders = |stage: &Stage| stage.count(|e| matches!(e, Event::ChecklistReminded(_)));
    assert_eq!(reminders(&stage), 1);
    // Asked for by a person, it says nothing twice.
    ask(&client, Command::Remind).await;
    assert_eq!(reminders(&stage), 1);
    drop(client);
    runner.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_proven_and_signed_or_says_what_is_missing() {
    let stage = Stage::new();
    stage.set("ladder");
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let prove = |line: &str| Command::Prove { line: line.to_owned() };
    let early = refused(&client, prove("metrics-documented"), Kind::Refused).await;
    assert!(early.what.contains("does not serve yet"), "{early}");
    crate::stage::to_run(&client).await;
    until(&client, RunStatus::Held).await;
    crate::stage::promote(&client).await;
    until(&client, RunStatus::Finished).await;
    ask(&client, prove("metrics-documented")).await;
    let incident = client.incident().unwrap();
    let signed = &incident.signed["metrics-documented"];
    assert!(signed.sign.evidence.starts_with("Proven by Lifeboat: report written"), "{signed:?}");
    assert_eq!(signed.by, client.you().user);
    let twice = refused(&client, prove("metrics-documented"), Kind::Refused).await;
    assert!(twice.what.contains("settled already"), "{twice}");
    // This world's validation knows no application: nothing is signed on less than VERIFIED.
    let missing = refused(&client, prove("database-accessible"), Kind::Refused).await;
    assert!(missing.what.contains("is not proven: NOT RUN"), "{missing}");
    let person = refused(&client, prove("alerts-enabled"), Kind::Refused).await;
    assert!(person.what.contains("cannot be proven by Lifeboat"), "{person}");
    assert_eq!(client.incident().unwrap().signed.len(), 1);
    drop(client);
    runner.stop().await.unwrap();
}
