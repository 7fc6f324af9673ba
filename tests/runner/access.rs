//! Who may what, and what comes over the socket.

use crate::fake::{at, target};
use crate::stage::{ID, LIMIT, Stage, ask, connect, refused, to_run, until, until_begun};
use lifeboat::engine::config::Operator;
use lifeboat::engine::explain::Kind;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Moment, Role, Severity, Topic};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::protocol::{Answer, Command, Message};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

fn severity() -> Command {
    Command::SetSeverity { severity: Severity::Sev1 }
}

async fn as_role(stage: &Stage, role: Role) -> (crate::stage::Runner, Client) {
    let operators = vec![Operator { user: me(), role }];
    let runner = stage.runner_with(|options| options.operators = operators).await;
    let client = connect(&runner.socket).await;
    (runner, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_sees_all_and_changes_nothing() {
    let stage = Stage::new();
    let (_runner, client) = as_role(&stage, Role::Observer).await;
    assert_eq!(client.you().role, Role::Observer);
    refused(&client, severity(), Kind::Refused).await;
    refused(&client, Command::VerifyIntegrity, Kind::Refused).await;
    refused(&client, Command::Start { plan_hash: String::new() }, Kind::Refused).await;
    ask(&client, Command::Survey).await;
    let reach = client.request(Command::CheckReach { target: target() }).await;
    assert!(matches!(reach, Ok(Answer::Reach(reach)) if reach.reachable));
    let commits = client.request(Command::CommitsAround { at: at(), count: 3 }).await;
    assert_eq!(commits, Ok(Answer::Commits(Vec::new())));
    let entries = stage.entries();
    let refusals: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::CommandRefused { command, .. } => Some((&*entry.actor.user, &**command)),
            _ => None,
        })
        .collect();
    let me = me();
    assert_eq!(refusals, [(&*me, "set_severity"), (&*me, "verify_integrity"), (&*me, "start")]);
    assert!(client.incident().unwrap().severity.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_assesses_and_does_not_decide() {
    let stage = Stage::new();
    let (_runner, client) = as_role(&stage, Role::Operator).await;
    ask(&client, severity()).await;
    ask(&client, Command::StateMoment { moment: Moment::FirstDetected, at: at() }).await;
    refused(&client, Command::ChooseTarget { target: target() }, Kind::Refused).await;
    let entries = stage.entries();
    let by = entries.iter().find(|entry| matches!(entry.event, Event::SeveritySet { .. }));
    let by = &by.unwrap().actor;
    assert_eq!(
        (&*by.user, by.uid, by.role),
        (&*me(), nix::unistd::geteuid().as_raw(), Role::Operator)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_listed_only_watches_and_others_reach_the_socket_only_when_listed() {
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let stage = Stage::new();
    let runner = stage.runner().await;
    assert_eq!((mode(&stage.incident), mode(&runner.socket)), (0o700, 0o600));
    runner.stop().await.unwrap();
    let operators = vec![Operator { user: String::from("somebody-else"), role: Role::Commander }];
    let runner = stage.runner_with(|options| options.operators = operators).await;
    assert_eq!((mode(&stage.incident), mode(&runner.socket)), (0o711, 0o666));
    let client = connect(&runner.socket).await;
    assert_eq!(client.you().role, Role::Observer);
    assert_eq!(mode(&stage.incident.join("journal.jsonl")), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_see_the_same_and_a_late_one_sees_all() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let first = connect(&runner.socket).await;
    to_run(&first).await;
    let held = until(&first, RunStatus::Held).await;
    let second = connect(&runner.socket).await;
    assert_eq!(*second.incident().unwrap(), *held);
    ask(&second, severity()).await;
    let seen = first.wait("the severity", LIMIT, |incident| incident.severity.is_some()).await;
    assert_eq!(*seen.unwrap(), *second.incident().unwrap());
    let mut updates = second.updates();
    let mut entries = 0;
    while let Some(message) = updates.next().await {
        match message {
            Message::Entry(entry) => {
                entries += 1;
                assert_eq!(entry.seq, entries);
            }
            Message::Live => break,
            other => panic!("{other:?} before all entries"),
        }
    }
    assert_eq!(entries as usize, stage.entries().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_requests_is_answered_in_full_though_nobody_reads_the_updates() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    let updates = client.updates();
    let text = "n".repeat(4096);
    let pending: Vec<_> = (0..300)
        .map(|_| client.submit(Command::AddNote { topic: Topic::Note, text: text.clone() }))
        .collect();
    for answer in pending {
        assert_eq!(answer.answer().await, Ok(Answer::Done));
    }
    assert_eq!(client.incident().unwrap().notes.len(), 300);
    drop(updates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped_and_slows_nobody() {
    let stage = Stage::new();
    // Whoever reads on a busy machine must be quicker than this.
    let limit = Duration::from_secs(1);
    let runner = stage.runner_with(|options| options.write_limit = limit).await;
    let mut deaf = UnixStream::connect(&runner.socket).await.unwrap();
    let client = connect(&runner.socket).await;
    let text = "n".repeat(200 * 1024);
    for _ in 0..20 {
        let note = Command::AddNote { topic: Topic::Note, text: text.clone() };
        ask(&client, note).await;
    }
    // Writing to it fails once the runner has hung up; nothing was read from it until then.
    let hung_up = tokio::time::timeout(LIMIT, async {
        while deaf.write_all(b"\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert!(hung_up.await.is_ok());
    ask(&client, severity()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_lossy_and_never_holds_the_step_up() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    stage.set("stop-server.chatter");
    stage.set("stop-server.block");
    to_run(&client).await;
    let mut changes = client.changes();
    let last =
        changes.wait_for(|_| client.progress().is_some_and(|progress| progress.done == 20_000));
    tokio::time::timeout(LIMIT, last).await.unwrap().unwrap();
    stage.unset("stop-server.block");
    until(&client, RunStatus::Held).await;
    let mut changes = client.changes();
    let gone = changes.wait_for(|_| client.progress().is_none());
    tokio::time::timeout(LIMIT, gone).await.unwrap().unwrap();
}

async fn raw(socket: &std::path::Path) -> BufReader<UnixStream> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await.unwrap());
    let mut line = String::new();
    while !line.contains("\"live\"") {
        line.clear();
        assert!(stream.read_line(&mut line).await.unwrap() > 0);
    }
    stream
}

async fn reply(stream: &mut BufReader<UnixStream>) -> (u64, Kind) {
    let mut line = String::new();
    loop {
        line.clear();
        let read = tokio::time::timeout(LIMIT, stream.read_line(&mut line)).await.unwrap();
        assert!(read.unwrap() > 0, "hung up without an answer");
        match serde_json::from_str(&line).unwrap() {
            Message::Reply { id, result: Err(refusal) } => return (id, refusal.kind),
            Message::Reply { .. } => panic!("{line}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_too_much_ends_the_link() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let mut stream = raw(&runner.socket).await;
    stream.write_all(b"{\"id\":7,\"command\":{\"do\":\"drop_everything\"}}\n").await.unwrap();
    assert_eq!(reply(&mut stream).await, (7, Kind::Config));
    stream.write_all(b"\xff\xfe nonsense\n").await.unwrap();
    assert_eq!(reply(&mut stream).await, (0, Kind::Config));
    let long = vec![b'x'; 300 * 1024];
    stream.write_all(&long).await.unwrap();
    assert_eq!(reply(&mut stream).await, (0, Kind::Config));
    let client = connect(&runner.socket).await;
    assert_eq!(client.incident_id(), ID);
    ask(&client, severity()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_answers_what_was_asked_and_says_so() {
    let stage = Stage::new();
    let runner = stage.runner().await;
    let client = connect(&runner.socket).await;
    stage.set("stop-server.block");
    to_run(&client).await;
    until_begun(&client, "stop-server").await;
    stage.set("probe.block");
    let pending = client.submit(Command::ProbeServer);
    let begun = async {
        while !stage.has("probe.begun") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, begun).await.unwrap();
    let stopping = tokio::spawn(runner.stop());
    // The step ends at its safe point; the job only reads, and is not waited for long.
    until(&client, RunStatus::Interrupted).await;
    let answer = tokio::time::timeout(LIMIT, pending.answer()).await.unwrap();
    stage.unset("probe.block");
    assert_eq!(answer.unwrap_err().kind, Kind::Connection);
    assert!(matches!(client.link(), LinkState::Lost { .. }));
    let refusal = client.request(severity()).await.unwrap_err();
    assert_eq!(refusal.kind, Kind::Connection);
    stopping.await.unwrap().unwrap();
}
