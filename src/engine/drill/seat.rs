//! The commander's seat of a drill without a person: declares the incident, starts its runner and
//! speaks with it as every front end does. Owns the limits on waiting; knows nothing of what to ask.

use super::error::DrillError;
use super::sandbox::Sandbox;
use super::scenario::Scenario;
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::event::Declaration;
use crate::engine::incident::facts::Survey;
use crate::engine::incident::store::Store;
use crate::engine::postgres::discovery;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::{Answer, Command};
use crate::engine::runner::{failpoint, spawn};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// From the start of the runner to its listening, and from there to its last entry.
const START: Duration = Duration::from_secs(60);

/// A link to the drill's runner.
#[derive(Debug)]
pub struct Seat {
    client: Client,
    runtime: Handle,
    incident: Arc<Incident>,
    runner: Runner,
}

/// How the runner of an incident is started.
#[derive(Debug, Clone)]
struct Runner {
    program: PathBuf,
    config: PathBuf,
    folder: PathBuf,
    failpoint: Option<&'static str>,
}

impl Runner {
    fn of(sandbox: &Sandbox, folder: &Path) -> Self {
        Self {
            program: sandbox.program(),
            config: sandbox.config().path.clone(),
            folder: folder.to_path_buf(),
            failpoint: sandbox.runner_stops_at(),
        }
    }

    fn ensure(&self) -> Result<PathBuf, DrillError> {
        let mut command = std::process::Command::new(&self.program);
        command.arg("runner").arg("--incident").arg(&self.folder);
        command.arg("--config").arg(&self.config);
        if let Some(place) = self.failpoint {
            command.env(failpoint::VARIABLE, place);
        }
        spawn::ensure_runner_with(command, &self.folder, START)
            .map_err(|error| DrillError::Engine(error.explanation()))
    }
}

/// What the incident of a drill is declared as.
#[must_use]
pub fn declaration(sandbox: &Sandbox, scenario: &Scenario, id: &str) -> Declaration {
    let cluster = sandbox.cluster();
    Declaration {
        id: id.to_owned(),
        cluster: cluster.name.clone(),
        tier: cluster.tier,
        environment: cluster.environment.clone(),
        title: scenario.title.clone(),
        identity: discovery::identity(&cluster.data_directory).ok(),
        drill: Some(scenario.name.clone()),
    }
}

/// Starts the runner of the sandbox's incident in `folder`, by the sandbox's own copy of the
/// program, which the server's user can run too; gives its socket.
///
/// # Errors
/// Where it does not come to listen.
pub fn start_runner(sandbox: &Sandbox, folder: &std::path::Path) -> Result<PathBuf, DrillError> {
    Runner::of(sandbox, folder).ensure()
}

impl Seat {
    /// Declares the incident and takes the seat.
    ///
    /// # Errors
    /// Where it cannot be declared, or its runner not be reached.
    pub fn take(sandbox: &Sandbox, scenario: &Scenario) -> Result<Self, DrillError> {
        Self::take_on(sandbox, scenario, &sandbox.cluster().name)
    }

    /// As [`Seat::take`], for a cluster of the sandbox's configuration by its name.
    ///
    /// # Errors
    /// As [`Seat::take`].
    pub fn take_on(
        sandbox: &Sandbox,
        scenario: &Scenario,
        cluster: &str,
    ) -> Result<Self, DrillError> {
        let identity = sandbox
            .config()
            .cluster(cluster)
            .and_then(|cluster| discovery::identity(&cluster.data_directory).ok());
        let store = Store::new(&sandbox.state());
        let (_, folder) = store
            .declare(Timestamp::now(), |id| Declaration {
                cluster: cluster.to_owned(),
                identity: identity.clone(),
                ..declaration(sandbox, scenario, id)
            })
            .map_err(|error| DrillError::Engine(error.explanation()))?;
        Self::at(sandbox, &folder)
    }

    /// Takes the seat of an incident that was declared, starting its runner where none is left.
    ///
    /// # Errors
    /// Where its runner cannot be reached.
    pub fn at(sandbox: &Sandbox, folder: &std::path::Path) -> Result<Self, DrillError> {
        let runner = Runner::of(sandbox, folder);
        let socket = runner.ensure()?;
        let runtime = sandbox.runtime()?.handle().clone();
        let client = Client::connect_blocking(&runtime, &socket)
            .map_err(|error| DrillError::Engine(error.explanation()))?;
        let incident = runtime.block_on(client.live(START)).map_err(DrillError::Engine)?;
        Ok(Self { client, runtime, incident, runner })
    }

    /// Takes the seat again after the runner ended, as one who opens the incident anew.
    ///
    /// # Errors
    /// Where its runner cannot be reached.
    pub fn again(&mut self) -> Result<(), DrillError> {
        let socket = self.runner.ensure()?;
        self.client = Client::connect_blocking(&self.runtime, &socket)
            .map_err(|error| DrillError::Engine(error.explanation()))?;
        self.incident =
            self.runtime.block_on(self.client.live(START)).map_err(DrillError::Engine)?;
        Ok(())
    }

    /// The incident as far as is known.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        &self.incident
    }

    /// The newest survey.
    #[must_use]
    pub fn survey(&self) -> Option<Arc<Survey>> {
        self.client.survey()
    }

    /// Asks and waits for the answer; what it changed is in the incident then.
    ///
    /// # Errors
    /// What the runner answered, where it refused or failed; or that no answer came in time.
    pub fn ask(&mut self, command: Command, limit: Duration) -> Result<Answer, DrillError> {
        let what = format!("the answer to {}", name_of(&command));
        let surveyed = matches!(command, Command::Survey);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, self.client.request(command)).await });
        if surveyed && matches!(answer, Ok(Ok(_))) {
            // The answer says that it is made; it comes by itself, perhaps behind the answer.
            let mut changes = self.client.changes();
            let come = changes.wait_for(|_| self.client.survey().is_some());
            let come = self.runtime.block_on(async { tokio::time::timeout(limit, come).await });
            come.map_err(|_| DrillError::TooLong {
                what: String::from("the survey"),
                seconds: limit.as_secs(),
            })?
            .map(drop)
            .ok();
        }
        self.refresh();
        answer
            .map_err(|_| DrillError::TooLong { what, seconds: limit.as_secs() })?
            .map_err(DrillError::Engine)
    }

    /// Waits until the incident is as `holds` wants it.
    ///
    /// # Errors
    /// Where it is not so within `limit`, or the runner is gone.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl FnMut(&Incident) -> bool,
    ) -> Result<(), DrillError> {
        let waited = self.runtime.block_on(self.client.wait(what, limit, holds));
        self.refresh();
        waited.map(drop).map_err(DrillError::Engine)
    }

    fn refresh(&mut self) {
        if let Some(incident) = self.client.incident() {
            self.incident = incident;
        }
    }
}

fn name_of(command: &Command) -> String {
    serde_json::to_value(command)
        .ok()
        .and_then(|value| value.get("do")?.as_str().map(|name| name.replace('_', " ")))
        .unwrap_or_else(|| String::from("a command"))
}
