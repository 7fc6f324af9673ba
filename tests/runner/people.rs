//! Several people on one machine: approvals by a second person, and what each is refused. A client
//! is another user for real: its thread takes that user's identity before it connects, and the
//! kernel tells the runner so. Needs root; without it these tests say NOT RUN.

use crate::fake::{WAITS_AT, at, lsn_target, target};
use crate::stage::{
    LIMIT, Runner, Stage, ask, connect, promote, refused, to_plan, until, until_begun,
};
use jiff::Timestamp;
use lifeboat::engine::config::Operator;
use lifeboat::engine::config::approval::Approval;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::approval::{Standing, standing};
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Role, Severity, Topic};
use lifeboat::engine::incident::model::{RunStatus, Tone};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::path::Path;

const CLUSTER: &str = "orders";

/// Two users that every system has, beside root.
pub const SECOND: &str = "nobody";
pub const THIRD: &str = "daemon";

pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("NOT RUN: becoming another user needs root");
    }
    root
}

/// A connection by another user of this machine.
pub fn dial(socket: &Path, user: &str) -> std::os::unix::net::UnixStream {
    let uid = nix::unistd::User::from_name(user).unwrap().unwrap().uid.as_raw();
    let socket = socket.to_owned();
    // The identity of this one thread alone, which ends with it.
    std::thread::spawn(move || {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        std::os::unix::net::UnixStream::connect(&socket).unwrap()
    })
    .join()
    .unwrap()
}

pub async fn connect_as(socket: &Path, user: &str) -> Client {
    let stream = dial(socket, user);
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::UnixStream::from_std(stream).unwrap();
    let client = Client::over(stream, socket).await.unwrap();
    client.live(LIMIT).await.unwrap();
    assert_eq!(client.you().user, user);
    client
}

pub fn operators(list: &[(&str, Role)]) -> Vec<Operator> {
    list.iter().map(|(user, role)| Operator { user: (*user).to_owned(), role: *role }).collect()
}

/// The cluster of these tests is in the environment `drill`.
fn everywhere() -> Approval {
    Approval { environments: vec![String::from("drill")], ..Approval::default() }
}

async fn three(stage: &Stage, approval: Approval) -> (Runner, Client, Client, Client) {
    let runner = stage
        .runner_with(|options| {
            options.operators = operators(&[
                ("root", Role::Commander),
                (SECOND, Role::Approver),
                (THIRD, Role::Operator),
            ]);
            options.approval = approval;
        })
        .await;
    let commander = connect(&runner.socket).await;
    let second = connect_as(&runner.socket, SECOND).await;
    let third = connect_as(&runner.socket, THIRD).await;
    (runner, commander, second, third)
}

fn gate(plan_hash: &str) -> Command {
    Command::PassGate { plan_hash: plan_hash.to_owned(), cluster: CLUSTER.to_owned() }
}

fn start(plan_hash: &str) -> Command {
    Command::Start { plan_hash: plan_hash.to_owned() }
}

fn approve(plan_hash: &str) -> Command {
    Command::Approve { plan_hash: plan_hash.to_owned(), cluster: CLUSTER.to_owned() }
}

fn refusals(stage: &Stage) -> Vec<(String, String)> {
    let told = |entry: lifeboat::engine::incident::Entry| match entry.event {
        Event::CommandRefused { command, .. } => Some((entry.actor.user, command)),
        _ => None,
    };
    stage.entries().into_iter().filter_map(told).collect()
}

fn says(why: &Explanation, words: &[&str]) {
    let all = why.to_string();
    for word in words {
        assert!(all.contains(word), "\"{word}\" in: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_waits_for_somebody_else_and_runs_once_that_person_approved() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (_runner, commander, second, third) = three(&stage, everywhere()).await;
    let hash = to_plan(&commander).await;
    let closed = refused(&commander, gate(&hash), Kind::Refused).await;
    says(
        &closed,
        &["waits for an approval", "environment drill", "nobody types: lifeboat approve"],
    );
    // Neither who made the plan, nor who has another role, nor another plan or name.
    says(&refused(&commander, approve(&hash), Kind::Refused).await, &["root made this plan"]);
    says(&refused(&third, approve(&hash), Kind::Refused).await, &["needs approver"]);
    says(&refused(&second, approve("0000"), Kind::Refused).await, &["has changed"]);
    let cluster = String::from("Orders");
    let typed = Command::Approve { plan_hash: hash.clone(), cluster };
    says(&refused(&second, typed, Kind::Refused).await, &["\"Orders\"", "exactly"]);
    says(&refused(&second, gate(&hash), Kind::Refused).await, &["needs commander"]);
    let told: Vec<_> = refusals(&stage);
    let told: Vec<_> = told.iter().map(|(who, what)| (&**who, &**what)).collect();
    let expected = [
        ("root", "pass_gate"),
        ("root", "approve"),
        (THIRD, "approve"),
        (SECOND, "approve"),
        (SECOND, "approve"),
        (SECOND, "pass_gate"),
    ];
    assert_eq!(told, expected);
    ask(&second, approve(&hash)).await;
    ask(&commander, gate(&hash)).await;
    ask(&commander, start(&hash)).await;
    until(&commander, RunStatus::Held).await;
    let entries = stage.entries();
    let given = entries.iter().find(|entry| matches!(entry.event, Event::ApprovalGiven(_)));
    assert_eq!(given.unwrap().actor.user, SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_over_or_for_another_plan_opens_nothing() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let policy = Approval { valid_minutes: Some(0), ..everywhere() };
    let (runner, commander, second, third) = three(&stage, policy).await;
    let hash = to_plan(&commander).await;
    ask(&second, approve(&hash)).await;
    says(&refused(&commander, gate(&hash), Kind::Refused).await, &["by nobody", "is over"]);
    drop((commander, second, third));
    runner.stop().await.unwrap();
    // An hour from now on; the plan that stands is another one after it was made anew.
    let (_runner, commander, second, _third) = three(&stage, everywhere()).await;
    ask(&second, approve(&hash)).await;
    ask(&commander, Command::ChooseTarget { target: lsn_target(WAITS_AT) }).await;
    let confirmed = lifeboat::engine::incident::facts::Prerequisite::TargetConfirmed;
    let met =
        Command::AnswerPrerequisite { prerequisite: confirmed, met: true, note: String::new() };
    ask(&commander, met).await;
    ask(&commander, Command::MakePlan).await;
    let other = commander.incident().unwrap().plan.clone().unwrap().hash;
    assert_ne!(hash, other);
    says(&refused(&commander, gate(&other), Kind::Refused).await, &["waits for an approval"]);
    let no = Command::DeclineApproval {
        plan_hash: other.clone(),
        reason: String::from("that is the wrong hour"),
    };
    ask(&second, no).await;
    let told = refused(&commander, gate(&other), Kind::Refused).await;
    says(&told, &["nobody said no: that is the wrong hour"]);
    ask(&second, approve(&other)).await;
    ask(&commander, gate(&other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_second_person_only_a_written_reason_opens_and_it_stands_out() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let policy = Approval { severities: vec![Severity::Sev1], ..Approval::default() };
    let (_runner, commander, second, _third) = three(&stage, policy).await;
    let hash = to_plan(&commander).await;
    says(&refused(&second, approve(&hash), Kind::Refused).await, &["No rule asks"]);
    ask(&commander, Command::SetSeverity { severity: Severity::Sev1 }).await;
    says(&refused(&commander, gate(&hash), Kind::Refused).await, &["severity SEV-1"]);
    let waive = |reason: &str| Command::WaiveApproval {
        plan_hash: hash.clone(),
        reason: reason.to_owned(),
    };
    says(&refused(&commander, waive("urgent"), Kind::Refused).await, &["shorter than"]);
    let why = "nobody else answers the phone at 3 in the morning";
    says(&refused(&second, waive(why), Kind::Refused).await, &["needs commander"]);
    ask(&commander, waive(why)).await;
    ask(&commander, gate(&hash)).await;
    let incident = commander.incident().unwrap();
    let line = incident.timeline.iter().find(|line| line.text.contains("WAIVED")).unwrap();
    assert_eq!((line.tone, line.who.as_str()), (Tone::Bad, "root"));
    assert!(line.text.contains(why));
    let runbook = lifeboat::engine::runbook::Runbook::load(None).unwrap();
    let report = lifeboat::engine::report::Report::from(&incident, &runbook, at());
    for form in [report.markdown(), report.html(), report.json().unwrap()] {
        assert!(form.contains("APPROVAL WAIVED by root") && form.contains(why), "{form}");
    }
    assert_eq!(report.checklist.waivers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runner_looks_again_before_a_step_whatever_was_passed_before() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let policy = Approval { severities: vec![Severity::Sev1], ..Approval::default() };
    let (_runner, commander, second, _third) = three(&stage, policy).await;
    let hash = to_plan(&commander).await;
    ask(&commander, gate(&hash)).await;
    stage.set("stop-server.block");
    ask(&commander, start(&hash)).await;
    until_begun(&commander, "stop-server").await;
    // From now on the rule asks: the step that runs ends, the next one does not begin.
    ask(&commander, Command::SetSeverity { severity: Severity::Sev1 }).await;
    stage.unset("stop-server.block");
    let paused = until(&commander, RunStatus::Paused).await;
    assert!(matches!(standing(&paused, Timestamp::now()), Standing::Waiting { .. }));
    assert_eq!(stage.effects("move-aside"), 0);
    says(&refused(&commander, Command::Resume, Kind::Refused).await, &["waits for an approval"]);
    ask(&second, approve(&hash)).await;
    ask(&commander, Command::Resume).await;
    until(&commander, RunStatus::Held).await;
    assert_eq!(stage.effects("move-aside"), 1);
    // A later point is another plan.
    let later = lsn_target(Lsn(WAITS_AT.0 + 0x1000));
    let cluster = CLUSTER.to_owned();
    ask(&commander, Command::MoveTarget { target: later, cluster }).await;
    let paused = until(&commander, RunStatus::Paused).await;
    let moved = paused.plan.as_ref().unwrap().hash.clone();
    assert_ne!(moved, hash);
    says(&refused(&second, approve(&hash), Kind::Refused).await, &["has changed"]);
    ask(&second, approve(&moved)).await;
    ask(&commander, Command::Resume).await;
    until(&commander, RunStatus::Held).await;
    promote(&commander).await;
    until(&commander, RunStatus::Finished).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_takes_back_a_plan_that_was_asked_about_still_needs() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (runner, commander, second, third) = three(&stage, everywhere()).await;
    let hash = to_plan(&commander).await;
    drop((commander, second, third));
    runner.stop().await.unwrap();
    let (_runner, commander, second, third) = three(&stage, Approval::default()).await;
    says(&refused(&commander, gate(&hash), Kind::Refused).await, &["waits for an approval"]);
    // Whoever may approve may write a note as well, and not assess.
    ask(&second, Command::AddNote { topic: Topic::Note, text: String::from("read it") }).await;
    let severity = Command::SetSeverity { severity: Severity::Sev2 };
    refused(&second, severity.clone(), Kind::Refused).await;
    ask(&third, severity).await;
    ask(&third, Command::CheckReach { target: target() }).await;
}
