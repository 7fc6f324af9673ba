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
    Command::Approve { plan_hash: plan_hash.to_owned(), cluster: CLUSTER.to_owned(), signed: None }
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
    let typed = Command::Approve { plan_hash: hash.clone(), cluster, signed: None };
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
}

fn hand(to: &str, task: Option<&str>) -> Command {
    let note = String::from("I am off at 6");
    Command::HandOver { to: to.to_owned(), task: task.map(str::to_owned), note }
}

fn answer(task: Option<&str>, accept: bool) -> Command {
    let reason = String::from("in the middle of something else");
    Command::AnswerHandover { task: task.map(str::to_owned), accept, reason }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_is_handed_over_when_it_is_taken_and_one_has_it_from_then_on() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let runner = stage
        .runner_with(|options| {
            options.operators = operators(&[
                ("root", Role::Commander),
                (SECOND, Role::Commander),
                (THIRD, Role::Operator),
            ]);
        })
        .await;
    let first = connect(&runner.socket).await;
    let second = connect_as(&runner.socket, SECOND).await;
    let third = connect_as(&runner.socket, THIRD).await;
    says(&refused(&first, hand("nobody-such", None), Kind::Refused).await, &["no user"]);
    says(&refused(&first, hand(THIRD, None), Kind::Refused).await, &["is operator", "commander"]);
    says(&refused(&third, hand(SECOND, None), Kind::Refused).await, &["needs commander"]);
    // Nobody answers what was not offered to them.
    says(&refused(&second, answer(None, true), Kind::Refused).await, &["Nobody hands"]);
    ask(&first, hand(SECOND, None)).await;
    says(&refused(&third, answer(None, true), Kind::Refused).await, &["Nobody hands"]);
    // It stays with the one who has it until it is taken.
    ask(&second, answer(None, false)).await;
    ask(&first, Command::ChooseTarget { target: target() }).await;
    ask(&first, hand(SECOND, None)).await;
    ask(&second, answer(None, true)).await;
    let choose = Command::ChooseTarget { target: target() };
    says(&refused(&first, choose.clone(), Kind::Refused).await, &["nobody has the command"]);
    ask(&second, choose.clone()).await;
    // What others do is still theirs, and a task has an owner once it is taken.
    let line = Some("database-accessible");
    ask(&second, hand(THIRD, line)).await;
    ask(&third, answer(line, true)).await;
    assert_eq!(third.incident().unwrap().owners["database-accessible"], THIRD);
    let take = |reason: &str| Command::TakeCommand { reason: reason.to_owned() };
    says(&refused(&third, take("I want to decide"), Kind::Refused).await, &["needs commander"]);
    says(&refused(&first, take("now"), Kind::Refused).await, &["shorter"]);
    ask(&first, take("no answer from nobody since 20 minutes")).await;
    ask(&first, choose.clone()).await;
    says(&refused(&second, choose, Kind::Refused).await, &["root has the command"]);
    let timeline = &first.incident().unwrap().timeline;
    for words in ["Hands the command to nobody", "Takes the command", "Took the command without"] {
        assert!(timeline.iter().any(|line| line.text.contains(words)), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_a_screen_is_shown_while_they_are() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let (_runner, commander, second, third) = three(&stage, Approval::default()).await;
    ask(&commander, Command::Attend).await;
    ask(&second, Command::Attend).await;
    // Asked twice it is one screen; who only asks something is at none.
    ask(&second, Command::Attend).await;
    let present = |client: &Client, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let client = client.clone();
        async move {
            let mut changes = client.changes();
            let come =
                changes.wait_for(|_| client.present().iter().map(|one| &one.user).eq(names.iter()));
            tokio::time::timeout(LIMIT, come).await.expect("those people").unwrap();
        }
    };
    present(&third, &["root", SECOND]).await;
    assert_eq!(third.present()[1].role, Role::Approver);
    assert_eq!(third.present()[1].screens, 1);
    drop(second);
    present(&third, &["root"]).await;
    present(&commander, &["root"]).await;
}

/// Every command and the role that it needs, as the documentation has it.
fn table(hash: &str) -> Vec<(Command, Role)> {
    use lifeboat::engine::incident::event::Decision;
    use lifeboat::engine::incident::facts::{Moment, Prerequisite, SignOff};
    use lifeboat::engine::runner::protocol::FullRestore;
    let text = || String::from("a text that is long enough");
    let sign = SignOff { item: text(), done: true, evidence: text() };
    vec![
        (Command::SetSeverity { severity: Severity::Sev1 }, Role::Operator),
        (Command::StateMoment { moment: Moment::FirstDetected, at: at() }, Role::Operator),
        (Command::AddNote { topic: Topic::Note, text: text() }, Role::Scribe),
        (Command::ProbeServer, Role::Operator),
        (Command::RunProbes, Role::Operator),
        (Command::ChooseTarget { target: target() }, Role::Commander),
        (Command::ChooseFull(FullRestore::default()), Role::Commander),
        (Command::ChooseInto { target: target(), directory: text() }, Role::Commander),
        (
            Command::AnswerPrerequisite {
                prerequisite: Prerequisite::MaintenanceWindow,
                met: true,
                note: text(),
            },
            Role::Operator,
        ),
        (Command::VerifyIntegrity, Role::Operator),
        (Command::MakePlan, Role::Commander),
        (gate(hash), Role::Commander),
        (start(hash), Role::Commander),
        (Command::Pause, Role::Commander),
        (Command::Resume, Role::Commander),
        (Command::Cancel, Role::Commander),
        (Command::Retry, Role::Commander),
        (Command::Cure { cure: text(), cluster: None }, Role::Commander),
        (Command::Decide { decision: Decision::Promote }, Role::Commander),
        (Command::MoveTarget { target: target(), cluster: CLUSTER.to_owned() }, Role::Commander),
        (Command::Undo, Role::Commander),
        (Command::Validate, Role::Operator),
        (Command::Sign(sign), Role::Operator),
        (Command::Waive { item: text(), reason: text() }, Role::Commander),
        (Command::Assign { item: text(), owner: text() }, Role::Operator),
        (Command::RunCare { item: text(), agreed: Vec::new() }, Role::Operator),
        (approve(hash), Role::Approver),
        (Command::DeclineApproval { plan_hash: hash.to_owned(), reason: text() }, Role::Approver),
        (Command::WaiveApproval { plan_hash: hash.to_owned(), reason: text() }, Role::Commander),
        (hand("root", None), Role::Commander),
        (Command::TakeCommand { reason: text() }, Role::Commander),
        (Command::WriteStatusText { text: text() }, Role::Communications),
        (Command::WriteReport, Role::Operator),
        (Command::Close { summary: text() }, Role::Commander),
        (Command::PlanSalvage, Role::Commander),
    ]
}

/// Line by line over the raw socket: what the request says of itself counts for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn each_forbidden_act_over_the_raw_socket_is_refused_and_recorded() {
    use std::io::{BufRead, BufReader, Write};
    if !is_root() {
        return;
    }
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Commander) {
        let stage = Stage::new();
        let runner = stage
            .runner_with(|options| {
                options.operators = operators(&[("root", Role::Commander), (SECOND, role)]);
            })
            .await;
        let forbidden: Vec<_> =
            table("00").into_iter().filter(|(_, needed)| !role.covers(*needed)).collect();
        let stream = dial(&runner.socket, SECOND);
        let asked = forbidden.clone();
        let replies = tokio::task::spawn_blocking(move || {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            for (id, (command, _)) in (1_u64..).zip(&asked) {
                let mut request = serde_json::json!({
                    "id": id, "role": "commander", "actor": {"user": "root", "uid": 0},
                    "command": command,
                });
                request["command"]["role"] = "commander".into();
                writeln!(&stream, "{request}").unwrap();
            }
            let lines = BufReader::new(&stream)
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
            lines
                .filter(|message| message["message"] == "reply")
                .take(asked.len())
                .map(|reply| reply["value"]["result"]["Err"]["kind"].clone())
                .collect::<Vec<_>>()
        })
        .await
        .unwrap();
        assert!(replies.iter().all(|kind| kind == "refused"), "{role:?}: {replies:?}");
        let name = |command: &Command| {
            serde_json::to_value(command).unwrap()["do"].as_str().unwrap().to_owned()
        };
        let mut expected: Vec<_> =
            forbidden.iter().map(|(command, _)| (SECOND.to_owned(), name(command))).collect();
        let mut recorded = refusals(&stage);
        expected.sort();
        recorded.sort();
        assert_eq!(recorded, expected, "{role:?}");
    }
}

/// A key pair of its own in that folder; gives the private key's path and the public line.
fn key(folder: &Path, name: &str) -> (std::path::PathBuf, String) {
    let path = folder.join(name);
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    (path.clone(), std::fs::read_to_string(path.with_extension("pub")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_required_only_a_known_key_on_that_very_plan_counts() {
    use lifeboat::engine::config::approval::Signatures;
    use lifeboat::engine::signature::{self, Found, Signed};
    if !is_root() {
        return;
    }
    if std::process::Command::new("ssh-keygen").arg("-?").output().is_err() {
        eprintln!("NOT RUN: signing needs ssh-keygen");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (known, public) = key(folder.path(), "known");
    let (unknown, _) = key(folder.path(), "unknown");
    let allowed = folder.path().join("allowed_signers");
    std::fs::write(&allowed, format!("{SECOND} {public}")).unwrap();
    let stage = Stage::new();
    let runner = stage
        .runner_with(|options| {
            options.operators = operators(&[("root", Role::Commander), (SECOND, Role::Approver)]);
            options.approval = everywhere();
            options.signatures =
                Signatures { allowed_signers: Some(allowed.clone()), required: true };
        })
        .await;
    let commander = connect(&runner.socket).await;
    let second = connect_as(&runner.socket, SECOND).await;
    let hash = to_plan(&commander).await;
    let lines = |hash: &str| signature::approval(crate::stage::ID, CLUSTER, hash, SECOND);
    let signed = |key: &Path, hash: &str, at: Timestamp| {
        signature::sign(key, signature::APPROVAL, signature::text(&lines(hash), at)).unwrap()
    };
    let approve = |signed: Option<Signed>| Command::Approve {
        plan_hash: hash.clone(),
        cluster: CLUSTER.to_owned(),
        signed,
    };
    let now = Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    says(&refused(&second, approve(None), Kind::Refused).await, &["this one is not", "--key"]);
    let other = signed(&known, "0000", now);
    says(&refused(&second, approve(Some(other)), Kind::Refused).await, &["another text"]);
    let old = signed(&known, &hash, now.checked_sub(hour).unwrap());
    says(&refused(&second, approve(Some(old)), Kind::Refused).await, &["it was made at"]);
    let strange = signed(&unknown, &hash, now);
    let why = refused(&second, approve(Some(strange.clone())), Kind::Refused).await;
    says(&why, &["NOT counted", "unknown key"]);
    let good = signed(&known, &hash, now);
    let forged = Signed { text: good.text.clone(), signature: strange.signature };
    // Made by another key for a text of the same second it would fit; here the times differ.
    let later = signature::text(
        &lines(&hash),
        now.checked_add(jiff::SignedDuration::from_secs(3)).unwrap(),
    );
    let forged = Signed { text: later, ..forged };
    says(&refused(&second, approve(Some(forged)), Kind::Refused).await, &["does not count"]);
    ask(&second, approve(Some(good.clone()))).await;
    ask(&commander, gate(&hash)).await;
    let given = second.incident().unwrap().approvals.given.last().unwrap().clone();
    let kept = given.what.signed.unwrap();
    assert!(matches!(&kept.when_taken, Found::Good(key) if key.contains("SHA256:")), "{kept:?}");
    assert_eq!(kept.signed, good);
    // All that were refused are in the journal.
    assert_eq!(refusals(&stage).iter().filter(|(who, _)| who == SECOND).count(), 5);
    // Offline, by OpenSSH alone: the text and the signature from the journal.
    let file = folder.path().join("signature");
    std::fs::write(&file, &kept.signed.signature).unwrap();
    let verify = |text: &str| {
        let input = folder.path().join("text");
        std::fs::write(&input, text).unwrap();
        std::process::Command::new("ssh-keygen")
            .args(["-Y", "verify", "-I", SECOND, "-n", signature::APPROVAL, "-f"])
            .arg(&allowed)
            .arg("-s")
            .arg(&file)
            .stdin(std::fs::File::open(&input).unwrap())
            .status()
            .unwrap()
            .success()
    };
    assert!(verify(&kept.signed.text));
    assert!(!verify(&kept.signed.text.replace("orders", "0rders")));
}

/// On values alone, where time can be given: what has begun under an approval goes on after its end.
#[test]
fn an_approval_counts_until_something_was_changed_under_it_and_for_named_steps_to_the_end() {
    use lifeboat::engine::incident::approval::{Asked, Given, before_step, holds};
    use lifeboat::engine::incident::facts::Actor;
    use lifeboat::engine::incident::{Entry, Incident};
    use lifeboat::engine::runner::work::Work;
    let work = crate::fake::FakeWork { world: std::path::PathBuf::from("/nowhere") };
    let minute = |n: i64| at().checked_add(jiff::SignedDuration::from_mins(n)).unwrap();
    let entry = |seq: u64, user: &str, event: Event| Entry {
        seq,
        at: minute(i64::try_from(seq).unwrap()),
        actor: Actor { user: user.to_owned(), uid: 1, role: Role::Commander },
        event,
        prev: String::new(),
    };
    let declared = Event::IncidentDeclared(crate::fake::declaration(crate::stage::ID));
    let mut incident = Incident::begin(&entry(1, "ann", declared)).unwrap();
    let plan = work.plan(&incident).unwrap();
    let plan_hash = plan.hash.clone();
    incident.apply(&entry(2, "ann", Event::PlanMade(plan)));
    assert!(holds(&incident, minute(2)).is_ok(), "nobody asked");
    let asked = Asked {
        plan_hash: plan_hash.clone(),
        steps: vec![String::from("promote")],
        ..Asked::default()
    };
    incident.apply(&entry(3, "lifeboat", Event::ApprovalAsked(asked)));
    assert!(holds(&incident, minute(3)).is_err());
    let given = |until| Given { plan_hash: plan_hash.clone(), until, signed: None };
    // Whoever made the plan is no second person, whatever a journal says.
    incident.apply(&entry(4, "ann", Event::ApprovalGiven(given(minute(99)))));
    assert!(holds(&incident, minute(4)).is_err());
    incident.apply(&entry(5, "ben", Event::ApprovalGiven(given(minute(10)))));
    assert!(holds(&incident, minute(10)).is_ok() && holds(&incident, minute(11)).is_err());
    // In the fake world moving the directory aside is what changes something.
    assert!(before_step(&incident, "stop-server", minute(11)).is_ok());
    assert!(before_step(&incident, "move-aside", minute(11)).is_err());
    let begun = |step: &str| Event::StepStarted { step: step.to_owned(), attempt: 1 };
    incident.apply(&entry(8, "lifeboat", begun("move-aside")));
    assert!(before_step(&incident, "move-aside", minute(11)).is_ok(), "it may be tried again");
    assert!(before_step(&incident, "replay", minute(60)).is_ok());
    assert!(before_step(&incident, "promote", minute(10)).is_ok());
    assert!(before_step(&incident, "promote", minute(11)).is_err(), "the policy names it");
    // The same plan made again by the one who approved it: nobody else has.
    let again = incident.plan.clone().unwrap();
    incident.apply(&entry(12, "ben", Event::PlanMade(again)));
    assert!(holds(&incident, minute(9)).is_ok(), "ann approved ben's then");
    incident.apply(&entry(
        13,
        "ben",
        Event::ApprovalDeclined { plan_hash: plan_hash.clone(), reason: String::from("no") },
    ));
    assert!(holds(&incident, minute(9)).is_err());
}
