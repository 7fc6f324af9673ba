//! An incident's folder, a world, and runners on it.

use crate::fake::{self, FakeWork};
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::event::{Decision, Entry, Event};
use lifeboat::engine::incident::facts::Prerequisite;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::{Incident, journal};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::{Answer, Command};
use lifeboat::engine::runner::server::{Exit, RunnerError, RunnerOptions, run};
use lifeboat::engine::runner::spawn;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const ID: &str = "INC-20250113-001";
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Stage {
    _folder: tempfile::TempDir,
    pub incident: PathBuf,
    pub world: PathBuf,
}

/// A runner in this process.
pub struct Runner {
    pub socket: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Exit, RunnerError>>,
}

impl Runner {
    pub async fn stop(self) -> Result<Exit, RunnerError> {
        drop(self.stop);
        self.task.await.unwrap()
    }

    pub async fn ended(self) -> Result<Exit, RunnerError> {
        let ended = tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap();
        drop(self.stop);
        ended
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    pub fn in_folder(folder: tempfile::TempDir) -> Self {
        let incident = folder.path().join(ID);
        let world = folder.path().join("world");
        fs::create_dir(&world).unwrap();
        Self { _folder: folder, incident, world }
    }

    pub fn options(&self) -> RunnerOptions {
        let work = Arc::new(FakeWork { world: self.world.clone() });
        let mut options = RunnerOptions::new(self.incident.clone(), work);
        options.declaration = Some(fake::declaration(ID));
        options.signals = false;
        options
    }

    pub async fn runner(&self) -> Runner {
        self.runner_with(|_| {}).await
    }

    pub async fn runner_with(&self, change: impl FnOnce(&mut RunnerOptions)) -> Runner {
        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let mut options = self.options();
        options.ready = Some(ready);
        options.stop = Some(stopped);
        change(&mut options);
        let task = tokio::spawn(run(options));
        let socket = listening.await.expect("the runner listens");
        Runner { socket, stop, task }
    }

    /// A runner in a process of its own: the test program, running [`crate::child_runner`] alone.
    pub async fn child(&self, failpoint: Option<&str>) -> Client {
        Client::connect(&self.spawn_child(failpoint).await.unwrap()).await.unwrap()
    }

    pub async fn spawn_child(&self, failpoint: Option<&str>) -> Result<PathBuf, spawn::SpawnError> {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_runner", "--nocapture"]);
        command.env("LIFEBOAT_TEST_INCIDENT", &self.incident);
        command.env("LIFEBOAT_TEST_WORLD", &self.world);
        command.env_remove("LIFEBOAT_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("LIFEBOAT_FAILPOINT", failpoint);
        }
        fs::create_dir_all(&self.incident).unwrap();
        let incident = self.incident.clone();
        tokio::task::spawn_blocking(move || spawn::ensure_runner_with(command, &incident, LIMIT))
            .await
            .unwrap()
    }

    pub fn set(&self, name: &str) {
        fs::write(self.world.join(name), "").unwrap();
    }

    pub fn unset(&self, name: &str) {
        fs::remove_file(self.world.join(name)).unwrap();
    }

    pub fn has(&self, name: &str) -> bool {
        self.world.join(name).exists()
    }

    /// How often a step had its effect.
    pub fn effects(&self, step: &str) -> usize {
        fs::read_to_string(self.world.join(format!("{step}.effects"))).unwrap_or_default().len()
    }

    pub fn undone(&self) -> String {
        fs::read_to_string(self.world.join("undone")).unwrap_or_default().trim().to_owned()
    }

    pub fn entries(&self) -> Vec<Entry> {
        journal::read(&self.incident).unwrap().entries
    }

    pub fn count(&self, is_it: impl Fn(&Event) -> bool) -> usize {
        self.entries().iter().filter(|entry| is_it(&entry.event)).count()
    }
}

pub async fn ask(client: &Client, command: Command) {
    assert_eq!(client.request(command.clone()).await, Ok(Answer::Done), "{command:?}");
}

pub async fn refused(client: &Client, command: Command, kind: Kind) -> Explanation {
    let refusal = client.request(command.clone()).await.expect_err(&format!("{command:?}"));
    assert_eq!(refusal.kind, kind, "{refusal}");
    refusal
}

pub async fn connect(socket: &Path) -> Client {
    let client = Client::connect(socket).await.unwrap();
    client.live(LIMIT).await.unwrap();
    client
}

/// From declaration to the plan, every prerequisite met; gives the plan's hash.
pub async fn to_plan(client: &Client) -> String {
    ask(client, Command::ChooseTarget { target: fake::target() }).await;
    for prerequisite in [
        Prerequisite::IncidentDeclared,
        Prerequisite::MaintenanceWindow,
        Prerequisite::TargetConfirmed,
    ] {
        let note = String::new();
        ask(client, Command::AnswerPrerequisite { prerequisite, met: true, note }).await;
    }
    ask(client, Command::VerifyIntegrity).await;
    ask(client, Command::MakePlan).await;
    client.incident().unwrap().plan.clone().unwrap().hash
}

/// From declaration to a run that has begun.
pub async fn to_run(client: &Client) {
    let plan_hash = to_plan(client).await;
    let cluster = String::from("orders");
    ask(client, Command::PassGate { plan_hash: plan_hash.clone(), cluster }).await;
    ask(client, Command::Start { plan_hash }).await;
}

pub async fn until(client: &Client, status: RunStatus) -> Arc<Incident> {
    let what = format!("the status {status:?}");
    client.wait(&what, LIMIT, |incident| incident.status == status).await.unwrap()
}

/// Until the step is inside its `run`, by its own note.
pub async fn until_begun(client: &Client, step: &str) {
    let begun = |incident: &Incident| incident.noted("begun") == Some(step);
    client.wait(&format!("{step} to begin"), LIMIT, begun).await.unwrap();
}

pub async fn promote(client: &Client) {
    ask(client, Command::Decide { decision: Decision::Promote }).await;
}
