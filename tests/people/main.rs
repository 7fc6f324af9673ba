//! Two people on one machine, each in a terminal of their own: the commander as root, the approver
//! as another user of the system. On a real server, up to the recovery point. Needs root and
//! `setpriv`, and says NOT RUN without them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "../patience/mod.rs"]
mod patience;
#[path = "../terminal/mod.rs"]
mod terminal;

use lifeboat::engine::config::Operator;
use lifeboat::engine::config::approval::{Approval, Signatures};
use lifeboat::engine::drill::sandbox::{CLUSTER, Options, Sandbox};
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::seat::Seat;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Prerequisite, Role, Target, TargetPoint};
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::protocol::Command;
use patience::{wait_or, wait_within};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use terminal::Terminal;

const LIMIT: Duration = Duration::from_secs(120);
const SECOND: &str = "nobody";
const SETPRIV: &str = "/usr/bin/setpriv";

/// The program as another user of this machine, who may read no key.
fn as_second(sandbox: &Sandbox, arguments: &[&str]) -> (Vec<String>, PathBuf) {
    let program = sandbox.program();
    let own = [
        "--reuid",
        SECOND,
        "--regid",
        "nogroup",
        "--clear-groups",
        program.to_str().unwrap(),
        "--config",
        &config_path(sandbox),
    ];
    let all = own.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    (all, PathBuf::from(SETPRIV))
}

fn config_path(sandbox: &Sandbox) -> String {
    sandbox.root().join("lifeboat.toml").to_str().unwrap().to_owned()
}

fn second_terminal(sandbox: &Sandbox, arguments: &[&str], size: (u16, u16)) -> Terminal {
    let (words, program) = as_second(sandbox, arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Terminal::start(&program, &words, &[("HOME", "/")], size)
}

fn second_says(sandbox: &Sandbox, arguments: &[&str]) -> (bool, String) {
    let (words, program) = as_second(sandbox, arguments);
    let ran = std::process::Command::new(program).args(words).env("HOME", "/").output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The sandbox with its backup, its accident and its incident, and a policy that asks for two.
fn ground(home: &Path) -> (Sandbox, Seat) {
    let options = Options {
        size_mb: 20,
        directory: Some(home.to_owned()),
        keep: None,
        seed: 11,
        programs: None,
        user: None,
        lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
    };
    let say = |line: &str| eprintln!("{line}");
    let mut sandbox = Sandbox::create(&options, &Sandbox::make_repository, &say).unwrap();
    // A configuration and a program where everybody finds them, as on a real machine.
    let open = || PermissionsExt::from_mode(0o711);
    fs::set_permissions(sandbox.root(), open()).unwrap();
    fs::set_permissions(sandbox.program().parent().unwrap(), open()).unwrap();
    let scenario = scenario::load("corruption").unwrap();
    sandbox.back_up().unwrap();
    sandbox.begin_traffic(&scenario.load).unwrap();
    sandbox.let_traffic_run(0.5, scenario.load.transactions_per_second).unwrap();
    sandbox.strike(&scenario.incident).unwrap();
    sandbox.end_traffic();
    let mut config = sandbox.config().clone();
    config.operators = [("root", Role::Commander), (SECOND, Role::Approver)]
        .map(|(user, role)| Operator { user: user.to_owned(), role })
        .to_vec();
    config.approval = Approval { environments: vec![String::from("drill")], ..Approval::default() };
    let (_, public) = key(home);
    let allowed = home.join("allowed_signers");
    fs::write(&allowed, format!("{SECOND} {public}")).unwrap();
    config.signatures = Signatures { allowed_signers: Some(allowed), required: false };
    fs::write(config_path(&sandbox), toml::to_string(&config).unwrap()).unwrap();
    fs::set_permissions(config_path(&sandbox), PermissionsExt::from_mode(0o644)).unwrap();
    let seat = Seat::take(&sandbox, &scenario).unwrap();
    (sandbox, seat)
}

/// The second user's SSH key, made where it is not there; gives its path and its public line.
fn key(home: &Path) -> (PathBuf, String) {
    let folder = home.join("second");
    let path = folder.join("id_ed25519");
    if !path.exists() {
        fs::create_dir(&folder).unwrap();
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", SECOND, "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        let user = nix::unistd::User::from_name(SECOND).unwrap().unwrap();
        for own in [&folder, &path] {
            nix::unistd::chown(own, Some(user.uid), None).unwrap();
        }
    }
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public)
}

/// An ssh-agent of the second user that has taken their key over from the disk.
struct Agent {
    process: std::process::Child,
    socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    fn with_the_key_alone(home: &Path) -> Self {
        let (key, _) = key(home);
        let socket = home.join("second/agent");
        let second = |program: &str| {
            let mut command = std::process::Command::new(SETPRIV);
            command.args(["--reuid", SECOND, "--regid", "nogroup", "--clear-groups", program]);
            command.env("HOME", "/").env("SSH_AUTH_SOCK", &socket);
            command
        };
        let mut agent = second("ssh-agent");
        agent.args(["-D", "-a"]).arg(&socket).stdout(std::process::Stdio::null());
        let agent = Self { process: agent.spawn().unwrap(), socket: socket.clone() };
        wait_within(LIMIT, "an agent that takes a key", || {
            second("ssh-add").arg("-q").arg(&key).status().unwrap().success()
        });
        fs::remove_file(&key).unwrap();
        agent
    }
}

fn to_plan(seat: &mut Seat, sandbox: &Sandbox) -> String {
    let struck_at = sandbox.truth().unwrap().struck_at;
    let target = Target { point: TargetPoint::Time(struck_at), inclusive: true, timeline: None };
    let mut ask = |command: Command| {
        let told = format!("{command:?}");
        seat.ask(command, LIMIT).unwrap_or_else(|why| panic!("{told}: {why}"));
    };
    ask(Command::Survey);
    ask(Command::ChooseTarget { target });
    for prerequisite in [
        Prerequisite::IncidentDeclared,
        Prerequisite::MaintenanceWindow,
        Prerequisite::TargetConfirmed,
    ] {
        let note = String::from("in a test");
        ask(Command::AnswerPrerequisite { prerequisite, met: true, note });
    }
    ask(Command::VerifyIntegrity);
    ask(Command::MakePlan);
    seat.incident().plan.as_ref().unwrap().hash.clone()
}

#[test]
#[ignore = "heavy: see make test-people"]
fn the_gate_opens_for_the_commander_once_another_user_has_approved_in_a_terminal_of_their_own() {
    if !nix::unistd::geteuid().is_root() || !Path::new(SETPRIV).exists() {
        eprintln!("NOT RUN: a second user's terminal needs root and setpriv");
        return;
    }
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let (sandbox, mut seat) = ground(home.path());
    let hash = to_plan(&mut seat, &sandbox);
    let id = seat.incident().declaration.id.clone();

    // The commander's screen says who has to type what, and the gate stays closed.
    let config = config_path(&sandbox);
    let mut commander = Terminal::start(&sandbox.program(), &["--config", &config], &[], (100, 30));
    commander.wait_for("They type: lifeboat approve", LIMIT);
    commander.press("g");
    commander.wait_for("waits for somebody else", LIMIT);
    commander.press(CLUSTER);
    commander.press("\r");
    commander.wait_for("The gate stays closed", LIMIT);
    commander.press("\x1b");

    // The other user may not read the journal, and sees all the same what is to be approved.
    let folder = sandbox.state().join("incidents").join(&id);
    let (read, said) = second_says(&sandbox, &["journal", "verify", &id]);
    assert!(!read, "{said}");
    let (well, told) = second_says(&sandbox, &["approve", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}"));
    assert!(well && told["plan_hash"] == *hash && told["approval"] == "waiting", "{told}");
    assert_eq!(told["you"], SECOND);
    let mut reader = second_terminal(&sandbox, &["approve"], (100, 50));
    let shown = reader.wait_for("type the cluster's name", LIMIT);
    for words in ["goes back to", "stays kept", "1. ", &hash, "asked by      root"] {
        assert!(shown.contains(words), "{words}:\n{shown}");
    }
    reader.press("\r");
    reader.wait_for("Nothing was approved", LIMIT);
    assert!(!reader.wait_end(LIMIT));

    // Approved at the screen, signed by the agent: the key itself is on no disk any more.
    let agent = Agent::with_the_key_alone(home.path());
    let socket = agent.socket.to_str().unwrap().to_owned();
    let environment = [("HOME", "/"), ("SSH_AUTH_SOCK", socket.as_str())];
    let (words, program) = as_second(&sandbox, &[]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut approver = Terminal::start(&program, &words, &environment, (100, 50));
    approver.wait_for("approve", LIMIT);
    approver.wait_for("nobody (approver)", LIMIT);
    approver.press("V");
    approver.wait_for("stays kept", LIMIT);
    approver.press(&format!("{CLUSTER}\r"));
    let given = || {
        let entries = journal::read(&folder).unwrap().entries;
        entries.iter().any(|entry| matches!(entry.event, Event::ApprovalGiven(_)))
    };
    wait_or(LIMIT, given, || format!("not approved:\n{}", approver.text()));
    assert!(!approver.text().contains("Not signed"), "{}", approver.text());
    approver.press("q");

    // Signed with that person's key, and found good by whoever verifies the journal.
    let verified = std::process::Command::new(sandbox.program())
        .args(["--config", &config, "journal", "verify", &id])
        .output()
        .unwrap();
    let verified = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.contains("by nobody: signed, VERIFIED"), "{verified}");

    // At once on the commander's screen, who passes the gate; both see the same run.
    commander.wait_for("Read the plan, then open the gate", LIMIT);
    let mut watching = second_terminal(&sandbox, &[], (100, 30));
    watching.wait_for("nobody (approver)", LIMIT);
    commander.wait_for("with nobody (approver)", LIMIT);
    commander.press("g");
    commander.wait_for("given by nobody", LIMIT);
    commander.press(&format!("{CLUSTER}\r"));
    commander.wait_for("Promote it?", LIMIT);
    watching.wait_for("Waiting for the commander", LIMIT);
    watching.press("P");
    watching.wait_for("is for the commander", LIMIT);

    // Nothing that the second user tried is missing from the journal.
    let refused = second_says(&sandbox, &["handover", &id, "--take", "because I would like to"]);
    assert!(!refused.0 && refused.1.contains("needs commander"), "{}", refused.1);
    let entries = journal::read(&folder).unwrap().entries;
    assert_eq!(Incident::replay(&entries).unwrap().status, RunStatus::Held);
    let by = |user: &str, is_it: &dyn Fn(&Event) -> bool| {
        entries.iter().any(|entry| entry.actor.user == user && is_it(&entry.event))
    };
    assert!(by(SECOND, &|event| matches!(event, Event::ApprovalGiven(_))));
    assert!(by("root", &|event| matches!(event, Event::GatePassed { .. })));
    let took = |event: &Event| matches!(event, Event::CommandRefused { command, .. } if command == "take_command");
    assert!(by(SECOND, &took));
    watching.press("q");
    commander.press("q");
}
