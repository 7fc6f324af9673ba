//! Starting and stopping servers: one contract, one driver a file. Owns what a start, a stop and
//! a promotion mean and how they fail; never decides when they happen.

mod log;
mod pg_ctl;

pub use log::last_lines;
pub use pg_ctl::PgCtl;

use super::discovery::{self, DiscoveryError, Running};
use crate::engine::config::{Cluster, Control};
use crate::engine::explain::{Explain, Explanation, Kind};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Lines of the server's log that an error carries.
pub const LOG_LINES: usize = 15;

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartOptions {
    /// Settings for this start alone, given with `-c`; they outweigh every file.
    pub settings: Vec<(String, String)>,
    /// Instead of the driver's log file.
    pub log: Option<PathBuf>,
    pub wait: StartWait,
}

/// How far a start is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartWait {
    /// Until it takes connections: read-only ones while it replays.
    Ready(Duration),
    /// Until the server process has taken its data directory. What follows is watched by
    /// connecting and by its log; a replay may take hours.
    Begun(Duration),
}

impl Default for StartWait {
    fn default() -> Self {
        Self::Ready(Duration::from_secs(60))
    }
}

/// What a start led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It takes connections.
    Ready,
    /// It takes read-only connections and replays.
    Standby,
    /// It runs and takes no connections yet.
    StartingUp,
    /// It ran before; nothing was done.
    AlreadyRunning,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for sessions to end by themselves.
    Smart,
    /// Ends sessions, rolls back, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers as after a crash. Only ever by a person's choice.
    Immediate,
}

impl StopMode {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// What a stop found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Stopped,
    /// No server ran; nothing was done.
    WasDown,
}

/// Why a server could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("{program} could not be run: {source}.")]
    Run { program: PathBuf, source: io::Error },
    #[error("The server's log {path} could not be opened: {source}.")]
    Log { path: PathBuf, source: io::Error },
    #[error("The server in {directory} did not start: {said}{}", with_log(.log))]
    StartFailed { directory: PathBuf, said: String, log: Vec<String> },
    #[error("The server in {directory} still starts after {} s and takes no connections yet.{}", .limit.as_secs(), with_log(.log))]
    StillStarting { directory: PathBuf, limit: Duration, log: Vec<String> },
    #[error("The server in {directory} still runs {} s after a {} stop was asked for.{}", .limit.as_secs(), .mode.word(), with_log(.log))]
    StillRunning { directory: PathBuf, limit: Duration, mode: StopMode, log: Vec<String> },
    #[error("The server in {directory} did not stop: {said}{}", with_log(.log))]
    StopFailed { directory: PathBuf, said: String, log: Vec<String> },
    #[error("The server in {directory} was not promoted: {said}{}", with_log(.log))]
    PromoteFailed { directory: PathBuf, said: String, log: Vec<String> },
    #[error("No server runs in {directory}, so it cannot {action}.")]
    NotRunning { directory: PathBuf, action: &'static str },
    #[error("The server in {directory} did not take its new settings: {said}")]
    ReloadFailed { directory: PathBuf, said: String },
    #[error("The setting \"{name}\" cannot be given to the server: {reason}.")]
    Setting { name: String, reason: &'static str },
}

fn with_log(lines: &[String]) -> String {
    if lines.is_empty() {
        String::new()
    } else {
        format!("\nThe last lines of its log:\n  {}", lines.join("\n  "))
    }
}

impl Explain for ControlError {
    fn explanation(&self) -> Explanation {
        let data = "The files of the data directory were not changed by Lifeboat.";
        let (kind, next) = match self {
            Self::Discovery(inner) => return inner.explanation(),
            Self::Run { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (Kind::Storage, "Run Lifeboat as root or as the owner of the data directory.")
            }
            Self::Run { .. } => (Kind::Server, "Check the programs in bin_directory."),
            Self::Log { .. } => (
                Kind::Storage,
                "Set log in the cluster's control section to a file that the server's user can write.",
            ),
            Self::StartFailed { .. } => (
                Kind::Server,
                "The last FATAL line of the log says why; correct it and start again.",
            ),
            Self::StillStarting { .. } => (
                Kind::Server,
                "It may be replaying WAL: watch its log, and wait longer or stop it.",
            ),
            Self::StillRunning { .. } => (
                Kind::Server,
                "It was not stopped by force. Close the sessions that hold it and stop it again, \
                 or decide to stop it in immediate mode yourself.",
            ),
            Self::StopFailed { .. } | Self::ReloadFailed { .. } => {
                (Kind::Server, "Look at the server's log and try again.")
            }
            Self::PromoteFailed { .. } => (
                Kind::Server,
                "Look at the server's log; the server still stands where it stood, or has ended.",
            ),
            Self::NotRunning { .. } => (Kind::Refused, "Start it first."),
            Self::Setting { .. } => (Kind::Internal, "Report this as a fault of Lifeboat."),
        };
        Explanation::new(kind, self.to_string(), data, next)
    }
}

/// Control of one server. Every method blocks, has a limit, and says what it waited for.
pub trait Driver: Send + Sync + Debug {
    fn data_directory(&self) -> &Path;

    /// Where the server's output goes unless a start says otherwise.
    fn log(&self) -> &Path;

    /// # Errors
    /// Where it cannot be told.
    fn status(&self) -> Result<Running, ControlError> {
        Ok(discovery::running(self.data_directory())?)
    }

    /// # Errors
    /// Where it did not start, with the last lines of its log; [`ControlError::StillStarting`]
    /// where it runs and is not ready within the limit.
    fn start(&self, options: &StartOptions) -> Result<Started, ControlError>;

    /// Never does more than the mode that was asked for.
    ///
    /// # Errors
    /// [`ControlError::StillRunning`] where it runs after the limit.
    fn stop(&self, mode: StopMode, limit: Duration) -> Result<Stopped, ControlError>;

    /// A fast stop and a start with these options; nothing of an earlier start's options stays.
    ///
    /// # Errors
    /// As [`Driver::stop`] and [`Driver::start`].
    fn restart(&self, options: &StartOptions, limit: Duration) -> Result<Started, ControlError> {
        self.stop(StopMode::Fast, limit)?;
        self.start(options)
    }

    /// Ends recovery and waits until the server takes writes.
    ///
    /// # Errors
    /// Where it is not in recovery, or not promoted within the limit.
    fn promote(&self, limit: Duration) -> Result<(), ControlError>;

    /// Makes the server read its settings again.
    ///
    /// # Errors
    /// Where no server runs.
    fn reload(&self) -> Result<(), ControlError>;
}

/// The driver that the cluster's configuration names.
///
/// # Errors
/// Where programs or the data directory's owner cannot be found.
pub fn driver(cluster: &Cluster) -> Result<Box<dyn Driver>, ControlError> {
    driver_for(cluster, &cluster.data_directory)
}

/// As [`driver`], for another data directory of the cluster: the alternative one, or a copy.
///
/// # Errors
/// As [`driver`].
pub fn driver_for(
    cluster: &Cluster,
    data_directory: &Path,
) -> Result<Box<dyn Driver>, ControlError> {
    match &cluster.control {
        Control::PgCtl { bin_directory, log } => {
            let binaries = discovery::binaries(bin_directory.as_deref(), Some(data_directory))?;
            let owner = discovery::owner(data_directory)?;
            let log = log.clone().unwrap_or_else(|| default_log(cluster, data_directory));
            Ok(Box::new(PgCtl::new(binaries, owner, data_directory, log)))
        }
    }
}

fn default_log(cluster: &Cluster, data_directory: &Path) -> PathBuf {
    data_directory.with_file_name(format!("{}.log", cluster.name))
}
