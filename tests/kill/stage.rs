//! The ground of these tests: a small sandbox that was struck, an incident led up to the gate, and
//! its runner as a process of its own.

use lifeboat::engine::drill::sandbox::{CLUSTER, Options, Sandbox};
use lifeboat::engine::drill::scenario::{self, Disaster, Load};
use lifeboat::engine::drill::seat::declaration;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::explain::Explanation;
use lifeboat::engine::incident::event::{Decision, Entry};
use lifeboat::engine::incident::facts::{Moment, Prerequisite, Severity, Target};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::store::Store;
use lifeboat::engine::incident::{Incident, journal};
use lifeboat::engine::postgres::discovery::{self, Running};
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::failpoint;
use lifeboat::engine::runner::protocol::{Answer, Command};
use lifeboat::engine::runner::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// No step of this small cluster takes longer, on a machine that does much else.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Segments of WAL between the backup and the incident, so that there is a while of replay.
const SEGMENTS: u32 = 6;

pub struct Stage {
    pub sandbox: Sandbox,
    /// The incident's.
    pub folder: PathBuf,
    handle: Handle,
    _home: tempfile::TempDir,
}

impl Stage {
    /// A struck sandbox and an incident that is declared and has no runner yet.
    pub fn new() -> Self {
        Self::prepared(|_| {})
    }

    /// As [`Stage::new`]; `between` happens after the backup and before the traffic.
    pub fn prepared(between: impl FnOnce(&Sandbox)) -> Self {
        Self::made(|_| {}, between)
    }

    /// As [`Stage::prepared`]; `before` happens before the backup.
    pub fn made(before: impl FnOnce(&Sandbox), between: impl FnOnce(&Sandbox)) -> Self {
        Self::made_with(before, between, true)
    }

    /// As [`Stage::made`], struck or not: then what is recovered to the end of the log is whole.
    pub fn made_with(
        before: impl FnOnce(&Sandbox),
        between: impl FnOnce(&Sandbox),
        struck: bool,
    ) -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let options = Options {
            size_mb: 20,
            directory: Some(home.path().to_owned()),
            keep: None,
            seed: 11,
            programs: None,
            user: None,
            lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
        };
        let mut scenario = scenario::load("corruption").unwrap();
        // An hour of so small a shop would not stand out as a mass change.
        if let Disaster::Statement(bad) = &mut scenario.incident {
            bad.statement = bad.statement.replace("1 hour", "48 hours");
        }
        let say = |line: &str| eprintln!("{line}");
        let mut sandbox = Sandbox::create(&options, &Sandbox::make_repository, &say).unwrap();
        before(&sandbox);
        sandbox.back_up().unwrap();
        between(&sandbox);
        let load =
            Load { transactions_per_second: 50.0, before_incident: 0.5, after_incident: 0.5 };
        sandbox.begin_traffic(&load).unwrap();
        let handle = sandbox.runtime().unwrap().handle().clone();
        handle.block_on(write_segments(&sandbox));
        sandbox.let_traffic_run(load.before_incident, load.transactions_per_second).unwrap();
        if struck {
            sandbox.strike(&scenario.incident).unwrap();
        }
        sandbox.let_traffic_run(load.after_incident, load.transactions_per_second).unwrap();
        let store = Store::new(&sandbox.state());
        let now = jiff::Timestamp::now();
        let (_, folder) = store.declare(now, |id| declaration(&sandbox, &scenario, id)).unwrap();
        Self { sandbox, folder, handle, _home: home }
    }

    /// A new runner of the incident, killed at `failpoint` where one is given.
    pub fn runner(&self, failpoint: Option<&str>) -> Client {
        let mut command = std::process::Command::new(self.sandbox.program());
        command.arg("runner").arg("--incident").arg(&self.folder);
        command.arg("--config").arg(&self.sandbox.config().path);
        command.env_remove(failpoint::VARIABLE);
        if let Some(failpoint) = failpoint {
            command.env(failpoint::VARIABLE, failpoint);
        }
        let socket = spawn::ensure_runner_with(command, &self.folder, LIMIT).unwrap();
        self.link(&socket)
    }

    /// One more front end of the runner that is alive.
    pub fn another_link(&self) -> Client {
        self.link(&spawn::alive(&self.folder).expect("the runner is alive"))
    }

    fn link(&self, socket: &Path) -> Client {
        let client = Client::connect_blocking(&self.handle, socket).unwrap();
        self.handle.block_on(client.live(LIMIT)).unwrap();
        client
    }

    /// From assessment to a passed gate: nothing runs yet.
    pub fn to_gate(&self, client: &Client) {
        self.to_gate_by(client, |target| Command::ChooseTarget { target });
    }

    /// As [`Stage::to_gate`], by a choice of one's own of the first point that is suggested.
    pub fn to_gate_by(&self, client: &Client, choose: impl FnOnce(Target) -> Command) {
        let (severity, moment) = (Severity::Sev2, Moment::FirstDetected);
        self.ask(client, Command::SetSeverity { severity });
        self.ask(client, Command::StateMoment { moment, at: jiff::Timestamp::now() });
        self.ask(client, Command::ProbeServer);
        until("the bad transaction to be found", || {
            self.ask(client, Command::Survey);
            client.survey().is_some_and(|survey| !survey.suspects.is_empty())
        });
        let target = client.survey().unwrap().suggestions[0].target.clone();
        self.ask(client, choose(target));
        for prerequisite in [
            Prerequisite::IncidentDeclared,
            Prerequisite::MaintenanceWindow,
            Prerequisite::TargetConfirmed,
        ] {
            let note = String::new();
            self.ask(client, Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
        self.ask(client, Command::VerifyIntegrity);
        self.ask(client, Command::MakePlan);
        let plan_hash = client.incident().unwrap().plan.clone().unwrap().hash;
        self.ask(client, Command::PassGate { plan_hash, cluster: CLUSTER.to_owned() });
    }

    /// Asks for what leads on from where the incident stands; the answer may never come.
    pub fn go_on(&self, client: &Client) {
        drop(client.submit(next_command(&client.incident().unwrap())));
    }

    pub fn ask(&self, client: &Client, command: Command) {
        assert_eq!(self.answer(client, command.clone()), Ok(Answer::Done), "{command:?}");
    }

    pub fn answer(&self, client: &Client, command: Command) -> Result<Answer, Explanation> {
        let asked = client.request(command.clone());
        let answer = self.handle.block_on(async { tokio::time::timeout(LIMIT, asked).await });
        answer.unwrap_or_else(|_| panic!("no answer to {command:?}"))
    }

    pub fn on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }

    pub fn wait(
        &self,
        client: &Client,
        what: &str,
        holds: impl FnMut(&Incident) -> bool,
    ) -> Arc<Incident> {
        let waited = self.handle.block_on(client.wait(what, LIMIT, holds));
        waited.unwrap_or_else(|error| panic!("{error}; {}", standing(client)))
    }

    /// Waits until `holds`, asked again with every news of the runner.
    pub fn watch(&self, client: &Client, what: &str, mut holds: impl FnMut() -> bool) {
        let mut changes = client.changes();
        let seen = changes.wait_for(|_| holds());
        self.handle
            .block_on(async { tokio::time::timeout(LIMIT, seen).await })
            .unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}; {}", standing(client)))
            .unwrap();
    }

    pub fn until_lost(&self, client: &Client, place: &str) {
        let lost = || matches!(client.link(), LinkState::Lost { .. });
        self.watch(client, &format!("the end of the runner at {place}"), lost);
    }

    /// What stands in the journal, folded: all that a killed runner leaves.
    pub fn left(&self) -> Incident {
        Incident::replay(&self.entries()).unwrap()
    }

    pub fn entries(&self) -> Vec<Entry> {
        journal::read(&self.folder).unwrap().entries
    }

    /// The timeline that the data directory is on.
    pub fn timeline(&self) -> u32 {
        discovery::identity(&self.sandbox.server().data).unwrap().timeline
    }

    /// The process of the server in the data directory, where one runs.
    pub fn postmaster(&self) -> Option<i32> {
        match discovery::running(&self.sandbox.server().data) {
            Ok(Running::Yes(postmaster)) => Some(postmaster.pid),
            _ => None,
        }
    }

    /// Kills the server as the kernel does when memory runs out; waits until it is gone.
    pub fn kill_postgres(&self) {
        let pid = self.postmaster().expect("a server runs");
        signal(pid, Signal::SIGKILL);
        // Until nobody has taken note of its end, a new server takes it for alive.
        let process = PathBuf::from(format!("/proc/{pid}"));
        until("the server's end", || self.postmaster() != Some(pid) && !process.exists());
    }
}

/// What leads on from where the incident stands.
pub fn next_command(incident: &Incident) -> Command {
    match incident.status {
        RunStatus::Ready => {
            let plan_hash = incident.plan.clone().unwrap().hash;
            Command::Start { plan_hash }
        }
        RunStatus::Held => Command::Decide { decision: Decision::Promote },
        RunStatus::Paused => Command::Resume,
        RunStatus::Failed | RunStatus::Interrupted => Command::Retry,
        other => panic!("nothing leads on from {other:?}"),
    }
}

fn standing(client: &Client) -> String {
    let incident = client.incident().unwrap();
    format!("{:?}, {:#?}", incident.status, incident.current_step())
}

pub fn kill_runner(client: &Client) {
    signal(i32::try_from(client.runner_pid()).unwrap(), Signal::SIGKILL);
}

pub fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1 && pid != i32::try_from(std::process::id()).unwrap());
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Waits for a condition that nobody tells of.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Fills segments of WAL that change no row.
async fn write_segments(sandbox: &Sandbox) {
    let client = sandbox.server().connect("postgres", DATABASE).await.unwrap();
    for _ in 0..SEGMENTS {
        let message = "SELECT pg_logical_emit_message(false, 'filling', repeat('x', 1000000))";
        client.query_one(message, &[]).await.unwrap();
        client.query_one("SELECT pg_switch_wal()", &[]).await.unwrap();
    }
}
