//! One runner an incident, its start, its end, and where it listens.

use crate::fake::STEPS;
use crate::stage::{LIMIT, Stage, ask, connect, promote, to_run, until, until_begun};
use lifeboat::engine::explain::{Explain, Kind};
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::incident::store::{DECLARATION, Listed, Store};
use lifeboat::engine::incident::{Event, event::Declaration};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use lifeboat::engine::runner::server::{Exit, run};
use lifeboat::engine::runner::spawn;
use std::fs;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_runner_is_refused_and_the_first_is_not_disturbed() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let second = run(stage.options()).await.unwrap_err().explanation();
    assert_eq!(second.kind, Kind::Busy);
    assert!(second.what.contains(&std::process::id().to_string()), "{second}");
    ask(&client, Command::ProbeServer).await;
    assert!(journal::is_written(&stage.incident));
    drop(client);
    runner.stop().await.unwrap();
    // A program that another test begins at this moment holds the lock along until it is itself.
    let begun = std::time::Instant::now();
    while journal::is_written(&stage.incident) {
        assert!(begun.elapsed() < LIMIT, "the journal is still held");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself_when_nobody_is_there_and_nothing_runs() {
    let stage = Stage::new();
    let patience = Duration::from_millis(100);
    let runner = stage.runner_with(|options| options.idle_exit = Some(patience)).await;
    let client = connect(&runner.socket).await;
    stage.set("stop-server.block");
    to_run(&client).await;
    until_begun(&client, "stop-server").await;
    let socket = runner.socket.clone();
    drop(client);
    // A step runs: the runner stays although nobody is attached, while another one that has three
    // times its patience, and nothing to do, begins and ends.
    let other = Stage::new();
    let idle = other.runner_with(|options| options.idle_exit = Some(patience * 3)).await;
    assert_eq!(idle.ended().await.unwrap(), Exit::Idle);
    let client = connect(&socket).await;
    stage.unset("stop-server.block");
    until(&client, RunStatus::Held).await;
    drop(client);
    assert_eq!(runner.ended().await.unwrap(), Exit::Idle);
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_outlives_the_runner() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    to_run(&client).await;
    let held = until(&client, RunStatus::Held).await;
    drop(client);
    assert_eq!(runner.stop().await.unwrap(), Exit::Stopped);
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let asked = |event: &Event| matches!(event, Event::StepHeld { .. });
    client
        .wait("the question again", Duration::from_secs(20), |_| stage.count(asked) == 2)
        .await
        .unwrap();
    let again = until(&client, RunStatus::Held).await;
    assert_eq!(again.clocks, held.clocks);
    assert_eq!(again.steps[2].held_since, held.steps[2].held_since);
    promote(&client).await;
    until(&client, RunStatus::Finished).await;
    assert!(STEPS.iter().all(|step| stage.effects(step) == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_it_stops_at_the_safe_point_and_another_goes_on() {
    let stage = Stage::new();
    stage.set("replay.block");
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    to_run(&client).await;
    until_begun(&client, "replay").await;
    assert_eq!(runner.stop().await.unwrap(), Exit::Stopped);
    stage.unset("replay.block");
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let found = until(&client, RunStatus::Interrupted).await;
    assert_eq!(found.steps[2].status, StepStatus::Interrupted);
    ask(&client, Command::Retry).await;
    until(&client, RunStatus::Held).await;
    assert_eq!((stage.effects("move-aside"), stage.effects("replay")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_path_gets_a_short_socket_and_leaves_nothing_behind() {
    let folder = tempfile::Builder::new().prefix(&"long".repeat(30)).tempdir().unwrap();
    let stage = Stage::in_folder(folder);
    let runner = stage.runner().await;
    assert!(runner.socket.as_os_str().len() <= 100);
    assert!(!runner.socket.starts_with(&stage.incident));
    assert_eq!(spawn::alive(&stage.incident), Some(runner.socket.clone()));
    let socket = runner.socket.clone();
    runner.stop().await.unwrap();
    assert!(!socket.exists() && !socket.parent().unwrap().exists());
    assert_eq!(spawn::alive(&stage.incident), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_other_files_are_not() {
    let stage = Stage::new();
    fs::create_dir(&stage.incident).unwrap();
    let socket = stage.incident.join("runner.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let runner = stage.runner().await;
    connect(&runner.socket).await;
    runner.stop().await.unwrap();
    fs::write(&socket, "not a socket").unwrap();
    assert!(run(stage.options()).await.is_err());
    assert_eq!(fs::read(&socket).unwrap(), b"not a socket");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_line_is_kept_and_noted_and_the_incident_goes_on() {
    let stage = Stage::new();
    stage.runner().await.stop().await.unwrap();
    let path = stage.incident.join(journal::FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"seq\":3,\"at\":\"2025");
    fs::write(&path, &bytes).unwrap();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let (_, note) = client.incident().unwrap().notes[0].clone();
    let kept = note.split_whitespace().find(|word| word.starts_with("journal.torn-")).unwrap();
    let kept = stage.incident.join(kept.trim_end_matches('.'));
    assert_eq!(fs::read(kept).unwrap(), b"{\"seq\":3,\"at\":\"2025");
    ask(&client, Command::ProbeServer).await;
    journal::verify(&path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_journal_is_not_gone_on_from() {
    let stage = Stage::new();
    stage.runner().await.stop().await.unwrap();
    let path = stage.incident.join(journal::FILE);
    let changed = fs::read_to_string(&path).unwrap().replacen("orders are gone", "all well", 1);
    fs::write(&path, &changed).unwrap();
    let refusal = run(stage.options()).await.unwrap_err().explanation();
    assert_eq!(refusal.kind, Kind::Integrity);
    assert_eq!(fs::read_to_string(&path).unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_that_waits_in_the_folder_is_journalled_by_the_first_runner() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let declare = |id: &str| -> Declaration { crate::fake::declaration(id) };
    let (declared, incident) = store.declare(crate::fake::at(), declare).unwrap();
    assert!(matches!(&store.list().unwrap()[..], [Listed::Damaged { .. }]));
    assert!(incident.join(DECLARATION).exists());
    let mut stage = Stage::new();
    stage.incident = incident;
    let runner = stage.runner_with(|options| options.declaration = None).await;
    let client = Client::connect(&runner.socket).await.unwrap();
    let incident = client.live(Duration::from_secs(20)).await.unwrap();
    assert_eq!(incident.declaration, declared);
    let list = store.list().unwrap();
    let [Listed::Whole(summary)] = &list[..] else { panic!("{list:?}") };
    assert!(summary.runner_alive);
    assert_eq!(summary.drill.as_deref(), Some("corruption"));
}
