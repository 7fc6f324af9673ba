//! The terminal UI as one call. Owns what is put together at its start and said at its end.

use super::dialer::{Runners, clusters};
use super::link::Dialer;
use super::model::App;
use super::runtime::{self, Ending};
use super::terminal::{self, Screen};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::model::RunStatus;
use crate::engine::runbook::Runbook;
use crate::engine::signer::Signer;
use crate::screens::theme::Theme;
use crate::screens::view::{Briefing, GameMaster, View};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// How it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// The incident to open; home where absent.
    pub incident: Option<String>,
    /// Told in a layer before a drill begins.
    pub briefing: Option<Briefing>,
    /// Where incidents live.
    pub state_directory: PathBuf,
    /// How it looks; by the environment where absent.
    pub theme: Option<Theme>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReason {
    pub ending: Ending,
    /// The incident that was open, and whether its recovery goes on without the window.
    pub incident: Option<(String, bool)>,
}

impl std::fmt::Display for ExitReason {
    /// What to say once the terminal is free again.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.incident {
            Some((id, true)) => write!(
                f,
                "The recovery of {id} goes on without this window. Start lifeboat again to see it."
            ),
            Some((id, false)) => write!(f, "{id} stays open. Start lifeboat again to go on."),
            None => write!(f, "Nothing was left running."),
        }
    }
}

/// The terminal UI could not run.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    #[error("the terminal does not do as asked: {0}")]
    Terminal(#[source] io::Error),
    #[error("the threads of the terminal UI could not be started: {0}")]
    Runtime(#[source] io::Error),
}

impl Explain for TuiError {
    fn explanation(&self) -> Explanation {
        Explanation::new(
            Kind::Internal,
            format!("{self}."),
            "No incident and no server was touched; what runs goes on.",
            "Use a terminal, or the commands without a screen (lifeboat --help).",
        )
    }
}

/// Runs the terminal UI until the operator leaves. Leaving stops nothing that runs.
///
/// # Errors
/// Where there is no terminal, or it goes while it is drawn to.
pub fn run(config: &Config, runbook: Runbook, start: Start) -> Result<ExitReason, TuiError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(TuiError::Runtime)?;
    let handle = runtime.handle().clone();
    let dialer: Arc<dyn Dialer> =
        Arc::new(Runners::new(config.clone(), &start.state_directory, handle.clone()));
    let ended = run_with(&dialer, config, runbook, start, &handle);
    // Nothing that this process still waits for keeps the operator from leaving.
    runtime.shutdown_background();
    ended
}

/// As [`run`], against any dialer.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    dialer: &Arc<dyn Dialer>,
    config: &Config,
    runbook: Runbook,
    start: Start,
    signals: &tokio::runtime::Handle,
) -> Result<ExitReason, TuiError> {
    let theme = start.theme.unwrap_or_else(|| terminal::theme(|name| std::env::var(name).ok()));
    let mut view = View::new(Timestamp::now(), TimeZone::system(), theme, runbook);
    view.listing.clusters = clusters(config);
    if start.briefing.is_some() {
        view.game_master = GameMaster::of(dialer.attended());
    }
    view.briefing = start.briefing;
    let signer =
        Signer::of(|name| std::env::var_os(name), config.signatures.allowed_signers.clone());
    let mut app = App::new(view);
    app.signs = signer.is_set_up();
    let first = app.start(start.incident);
    let mut screen = Screen::take().map_err(TuiError::Terminal)?;
    let ended = runtime::run(&mut screen, &mut app, dialer, signer, first, signals);
    drop(screen);
    let incident = app.open.clone().map(|id| {
        let status = app.view.incident.as_ref().map(|i| i.status);
        let runs = matches!(
            status,
            Some(RunStatus::Running | RunStatus::Held | RunStatus::Paused | RunStatus::Undoing)
        );
        (id, runs)
    });
    Ok(ExitReason { ending: ended.map_err(TuiError::Terminal)?, incident })
}
