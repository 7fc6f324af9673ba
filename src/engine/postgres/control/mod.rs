//! Starting and stopping servers: one contract, one driver a file. Owns what a start, a stop and
//! a promotion mean and how they fail; never decides when they happen.

mod command;
mod error;
mod held;
mod log;
mod pg_ctl;
mod pg_ctlcluster;
mod systemd;
mod unit;
mod wait;

pub use command::Command;
pub use error::ControlError;
pub use log::last_lines;
pub use pg_ctl::PgCtl;
pub use pg_ctlcluster::PgCtlcluster;
pub use systemd::Systemd;
pub use unit::{Systemctl, UnitState, service_of};

use super::control_file;
use super::discovery::{self, Binaries, DiscoveryError, Owner, Readiness, Running};
use super::layout::{self, DebianCluster};
use crate::engine::config::{Cluster, Control};
use std::fmt::Debug;
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

/// What a program is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Look,
    Stop,
    Start,
    Promote,
}

/// A program that a driver runs as Lifeboat's own user, word for word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub purpose: Purpose,
    pub words: Vec<String>,
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

    /// Whether the driver stands for the server of its data directory, as far as that can be told
    /// without touching it.
    ///
    /// # Errors
    /// Where it does not.
    fn check(&self) -> Result<(), ControlError> {
        Ok(())
    }

    /// Whether no server runs and nothing starts one by itself. A service that waits for its next
    /// attempt would start one in a directory that is being filled.
    ///
    /// # Errors
    /// Where it cannot be told.
    fn stays_down(&self) -> Result<bool, ControlError> {
        Ok(!matches!(self.status()?, Running::Yes(_)))
    }

    /// Whether settings of one start are kept in the data directory, because what starts the
    /// server takes none: a value on the server's own command line would outweigh them.
    fn keeps_settings(&self) -> bool {
        false
    }

    /// The programs that it runs as Lifeboat's own user to look, stop, start and promote: what
    /// somebody else may have to permit.
    fn calls(&self) -> Vec<Call> {
        Vec::new()
    }

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

    /// # Errors
    /// Where no server runs.
    fn expect_running(&self, action: &'static str) -> Result<(), ControlError> {
        if matches!(self.status()?, Running::Yes(_)) {
            return Ok(());
        }
        Err(ControlError::NotRunning { directory: self.data_directory().to_owned(), action })
    }

    /// A promotion that did not happen, with the end of the server's log.
    fn promote_failed(&self, said: String) -> ControlError {
        let log = last_lines(self.log(), 0, LOG_LINES);
        ControlError::PromoteFailed { directory: self.data_directory().to_owned(), said, log }
    }
}

/// The driver that the cluster's configuration names.
///
/// # Errors
/// Where programs or the data directory's owner cannot be found.
pub fn driver(cluster: &Cluster) -> Result<Box<dyn Driver>, ControlError> {
    driver_for(cluster, &cluster.data_directory)
}

/// As [`driver`], for another data directory of the cluster: the alternative one, or a copy. A
/// service knows its own directory alone, so that others are started by `pg_ctl`.
///
/// # Errors
/// As [`driver`].
pub fn driver_for(
    cluster: &Cluster,
    data_directory: &Path,
) -> Result<Box<dyn Driver>, ControlError> {
    let owner = discovery::owner(data_directory)?;
    let named = cluster.control.bin_directory();
    made(cluster, data_directory, owner, &|| discovery::binaries(named, Some(data_directory)))
}

/// What the cluster's driver will run, also while its data directory is lost.
///
/// # Errors
/// Where that cannot be told.
pub fn calls(cluster: &Cluster) -> Result<Vec<Call>, ControlError> {
    let directory = &cluster.data_directory;
    if directory.exists() {
        return Ok(driver(cluster)?.calls());
    }
    // They are words alone: neither whose it will be nor which programs it gets matters for them.
    let named = cluster.control.bin_directory();
    let binaries = || discovery::binaries(named, None);
    Ok(made(cluster, directory, Owner::current(), &binaries)?.calls())
}

fn made(
    cluster: &Cluster,
    data_directory: &Path,
    owner: Owner,
    binaries: &dyn Fn() -> Result<Binaries, DiscoveryError>,
) -> Result<Box<dyn Driver>, ControlError> {
    let configured = data_directory == cluster.data_directory;
    let inner = || {
        let binaries = binaries()?;
        // A service's log is written by the service, and perhaps by nobody else.
        let own = configured || matches!(cluster.control, Control::PgCtl { .. });
        let log = cluster.control.log().filter(|_| own).map(Path::to_owned);
        let log = log.unwrap_or_else(|| default_log(cluster, data_directory));
        let config_file = layout::config_file(cluster);
        let made = PgCtl::new(binaries, owner.clone(), data_directory, log);
        Ok::<_, ControlError>(made.configured_by(config_file))
    };
    if !configured {
        return Ok(Box::new(inner()?));
    }
    Ok(match &cluster.control {
        Control::PgCtl { .. } => Box::new(inner()?),
        Control::PgCtlcluster { version, cluster: name, bin_directory } => {
            let debian = DebianCluster::named(*version, name);
            Box::new(PgCtlcluster::new(debian, bin_directory.clone(), owner, data_directory)?)
        }
        Control::Systemd { unit, systemctl, .. } => {
            let systemctl = Systemctl::new(systemctl.clone());
            let unit = match unit {
                Some(unit) => unit.clone(),
                None => systemctl
                    .find(data_directory, control_file::major_version(data_directory).ok())?,
            };
            Box::new(Systemd::new(systemctl, unit, owner.clone(), inner()?))
        }
        Control::Command(commands) => {
            let commands = commands.as_ref().clone();
            Box::new(Command::new(commands, &cluster.name, owner.clone(), inner()?))
        }
    })
}

/// The first setting of `options` that the server's last command line outweighs, where this
/// driver keeps settings in the data directory.
#[must_use]
pub fn outweighed(driver: &dyn Driver, options: &StartOptions) -> Option<ControlError> {
    let keeps = driver.keeps_settings();
    held::outweighed(driver.data_directory(), options).filter(|_| keeps)
}

/// Whether settings of one start are kept in the data directory.
#[must_use]
pub fn is_held(data_directory: &Path) -> bool {
    held::is_held(data_directory)
}

/// Whether that setting is among those that an earlier start has left in the data directory.
#[must_use]
pub fn is_held_with(data_directory: &Path, setting: &str) -> bool {
    held::is_held_with(data_directory, setting)
}

fn default_log(cluster: &Cluster, data_directory: &Path) -> PathBuf {
    data_directory.with_file_name(format!("{}.log", cluster.name))
}

fn started(readiness: Readiness) -> Started {
    match readiness {
        Readiness::Ready => Started::Ready,
        Readiness::Standby => Started::Standby,
        Readiness::Starting | Readiness::Stopping | Readiness::Unknown => Started::StartingUp,
    }
}

/// A setting's name and value that can be nothing else.
fn checked(name: &str, value: &str) -> Result<(), ControlError> {
    let fail = |reason| Err(ControlError::Setting { name: name.to_owned(), reason });
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    if name.is_empty() || !name.bytes().all(known) {
        return fail("its name has other characters than letters, digits, '_' and '.'");
    }
    if value.contains(['\0', '\n']) {
        return fail("its value has a line break");
    }
    Ok(())
}
