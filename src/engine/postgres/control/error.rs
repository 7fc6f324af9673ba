//! How starting and stopping fails, in an operator's words.

use super::StopMode;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::discovery::DiscoveryError;
use crate::engine::postgres::recovery_settings::SettingsError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    #[error(
        "The server in {directory} has {name} = {value} from its command line, which outweighs \
         what Lifeboat writes into postgresql.auto.conf: it would not be closed to applications."
    )]
    Outweighed { directory: PathBuf, name: String, value: String },
    #[error(
        "{config_file} of the cluster {cluster} {}, not {directory}.", named(.found)
    )]
    OtherCluster {
        cluster: String,
        config_file: PathBuf,
        found: Option<PathBuf>,
        directory: PathBuf,
    },
    #[error("The unit {unit} runs process {pid}, which is not the server in {directory}.")]
    OtherServer { unit: String, pid: i32, directory: PathBuf },
    #[error("No unit of systemd's was found for {directory}; looked for {}.", .looked.join(", "))]
    NoUnit { directory: PathBuf, looked: Vec<String> },
    #[error("systemctl {verb} {unit} failed: {said}")]
    Systemctl { verb: String, unit: String, said: String },
    #[error("{driver} has no {} stop.", .mode.word())]
    Mode { driver: &'static str, mode: StopMode },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("The setting \"{name}\" cannot be given to the server: {reason}.")]
    Setting { name: String, reason: &'static str },
}

fn named(found: &Option<PathBuf>) -> String {
    match found {
        Some(path) => format!("names the data directory {}", path.display()),
        None => String::from("is not there or names no data directory"),
    }
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
            Self::Run { .. } => {
                (Kind::Server, "Check the program's path in the cluster's control section.")
            }
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
            Self::StopFailed { .. } => (Kind::Server, "Look at the server's log and try again."),
            Self::PromoteFailed { .. } => (
                Kind::Server,
                "Look at the server's log; the server still stands where it stood, or has ended.",
            ),
            Self::NotRunning { .. } => (Kind::Refused, "Start it first."),
            Self::Settings(inner) => return inner.explanation(),
            Self::Outweighed { .. } => (
                Kind::Refused,
                "Take the setting out of the service's command line (the server was left stopped, \
                 or was not started), or name another driver in the cluster's control section.",
            ),
            Self::OtherCluster { .. } => (
                Kind::Config,
                "Correct version and cluster in the cluster's control section; pg_lsclusters \
                 shows what there is.",
            ),
            Self::OtherServer { .. } => {
                (Kind::Refused, "Correct unit in the cluster's control section.")
            }
            Self::NoUnit { .. } => {
                (Kind::Config, "Name it: unit = \"…\" in the cluster's control section.")
            }
            Self::Systemctl { .. } => (
                Kind::Server,
                "See: systemctl status and journalctl. Only root may, or whom polkit or sudo \
                 lets: systemctl = [\"sudo\", \"-n\", \"systemctl\"].",
            ),
            Self::Mode { .. } => (Kind::Refused, "Stop it by hand in that mode."),
            Self::Setting { .. } => (Kind::Internal, "Report this as a fault of Lifeboat."),
        };
        Explanation::new(kind, self.to_string(), data, next)
    }
}
