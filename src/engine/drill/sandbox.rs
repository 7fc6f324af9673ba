//! The sandbox: a throwaway cluster of real, relational data, backed up and archiving into its
//! own encrypted repository, in one folder that goes away whole. Owns its making and clearing;
//! never reaches outside its folder, and its configuration names nothing but itself.
//!
//! ```text
//! lifeboat-drill-1f2e3d4c/
//!   bin/lifeboat       the program, where the server's user can run it
//!   cluster/data       the data directory; what a recovery moves aside lands beside it
//!   cluster/tablespaces           those of a copy, by their numbers
//!   keys/master        the repository's master key, 0600
//!   repository/        base backups and WAL
//!   far/               where the scenario has one: a second repository, at the end of a line
//!   away/              what a disaster or an inject took away
//!   master/            where a drill has a game master: theirs alone
//!   state/             incidents
//!   socket/            the server's sockets; there is no port on the network
//!   lifeboat.toml, runbook.toml
//!   ledger.jsonl, truth.json      for scoring alone
//! ```
//!
//! Made by root, the folder stays root's, and so do program, configuration and incidents: root runs
//! and reads them. The server's user owns what the server writes: cluster, repositories, sockets,
//! what archiving notes. See `drill::fence`.

mod make;
mod settings;
mod stage;

use super::copy::{self, Copied, Reading, Room};
use super::director::Limits;
use super::error::DrillError;
use super::limits::{Watch, Why};
use super::place::{self, Cleared, Holds, Place};
use super::scenario::Scenario;
use super::server::Server;
use super::shop::Volume;
use super::strike::Truth;
use super::traffic::Traffic;
use super::user;
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Kind};
use crate::engine::postgres::{child, discovery};
use settings::{configuration, shop_cluster};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The cluster's name in the sandbox's configuration.
pub const CLUSTER: &str = "shop";
/// The repository's name in it.
pub const REPOSITORY: &str = "local";
/// The far repository's, where there is one.
pub const FAR: &str = "far";
/// A cluster that nobody uses, for an inject.
pub const DECOY: &str = "shop-primary";
/// Megabytes (10^6 bytes) where none are asked for.
pub const DEFAULT_SIZE_MB: u64 = 500;

/// How long the clearing away may take once the process was asked to end.
const CLEARING: Duration = Duration::from_secs(60);

/// How a sandbox is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of the database, in megabytes (10^6 bytes), roughly.
    pub size_mb: u64,
    /// Where to make it; the system's folder for temporary files where absent.
    pub directory: Option<PathBuf>,
    /// Make it here and leave it there at the end.
    pub keep: Option<PathBuf>,
    /// The same seed makes the same data and the same choices of the traffic.
    pub seed: u64,
    /// Where the server's programs are; found where absent.
    pub programs: Option<PathBuf>,
    /// The user of the server where we are root.
    pub user: Option<String>,
    /// The `lifeboat` program that archives WAL; it is copied into the sandbox.
    pub lifeboat: PathBuf,
}

/// What a scenario wants of its sandbox beside the shop.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Setup {
    /// The scenario: its name and its targets are in the sandbox's configuration.
    pub scenario: Option<Scenario>,
    /// A second repository.
    pub far: bool,
    /// A second cluster, with a name that misleads.
    pub decoy: bool,
    /// A library that the server's configuration names and that is not there.
    pub missing_library: bool,
    /// The backup that the shop is made in a copy of; a cluster of its own where absent.
    pub source: Option<copy::Source>,
    /// Bytes that the drill may take, where that is to hold before a copy is made.
    pub disk: Option<u64>,
    /// How long the drill may take, its making included.
    pub time: Option<Duration>,
    /// The team's own runbook.
    pub runbook: Option<PathBuf>,
}

impl Setup {
    /// Whether the built-in runbook is not the drill's: the scenario's targets are laid over the
    /// team's own.
    fn has_runbook(&self) -> bool {
        self.scenario.is_some() || self.runbook.is_some()
    }
}

impl Options {
    /// The usual ones, with the program that runs now.
    ///
    /// # Errors
    /// Where the system does not say which program this is.
    pub fn usual() -> Result<Self, DrillError> {
        let lifeboat = std::env::current_exe()
            .map_err(DrillError::file(Path::new("lifeboat"), "it cannot be found"))?;
        Ok(Self {
            size_mb: DEFAULT_SIZE_MB,
            directory: None,
            keep: None,
            seed: 1,
            programs: None,
            user: None,
            lifeboat,
        })
    }
}

/// Told in one line each, as it happens.
pub type Say<'a> = &'a dyn Fn(&str);

/// A living sandbox. Dropped without [`Sandbox::close`], it clears itself away all the same,
/// unless it is to be kept. Made and used on a thread that may block.
#[derive(Debug)]
pub struct Sandbox {
    place: Place,
    keep: bool,
    config: Config,
    cluster: Cluster,
    server: Server,
    volume: Volume,
    copied: Option<Copied>,
    traffic: Option<Traffic>,
    truth: Option<Truth>,
    runtime: Option<Runtime>,
    begun: Instant,
    seed: u64,
    closed: bool,
    runner_stops_at: Option<&'static str>,
    /// The process was asked to end: what fails from here on fails because of that.
    asked: Arc<AtomicBool>,
    /// Clears the sandbox away when the process is asked to end.
    watch: Option<tokio::task::JoinHandle<()>>,
}

impl Sandbox {
    /// Makes the cluster, fills it and starts it, archiving. `make_repository` is called before
    /// the server first archives.
    ///
    /// # Errors
    /// Where it could not be made; what was made of it is cleared away then.
    pub fn create(
        options: &Options,
        make_repository: &dyn Fn(&Self) -> Result<(), DrillError>,
        say: Say<'_>,
    ) -> Result<Self, DrillError> {
        Self::create_for(options, &Setup::default(), make_repository, say)
    }

    /// As [`Sandbox::create`], with what a scenario wants beside the shop.
    ///
    /// # Errors
    /// As [`Sandbox::create`].
    pub fn create_for(
        options: &Options,
        setup: &Setup,
        make_repository: &dyn Fn(&Self) -> Result<(), DrillError>,
        say: Say<'_>,
    ) -> Result<Self, DrillError> {
        let programs = discovery::binaries(options.programs.as_deref(), None)
            .map_err(|error| DrillError::Engine(error.explanation()))?;
        let user = user::choose(options.user.as_deref())?;
        let swept = place::sweep(options.directory.as_deref())?;
        for gone in &swept.removed {
            say(&format!("Cleared away what an earlier drill left: {}", gone.display()));
        }
        for check in &swept.proof {
            say(&format!("  {}: {} {}", check.title, check.verdict.word(), check.detail));
        }
        let (directory, keep) = (options.directory.as_deref(), options.keep.as_deref());
        let begun = Instant::now();
        let place = Place::make(directory, keep, &user, Holds::Programs)?;
        let root = place.root().to_path_buf();
        // Before there are threads: what is entered here holds for those that come.
        let reading = match Self::look(options, setup, &place, &user) {
            Ok(reading) => reading,
            Err(error) => {
                // What cannot be cleared is left to the next drill; the reason is told.
                let _ = place.clear();
                return Err(error);
            }
        };
        let programs = match &reading {
            Some(reading) => reading.programs()?,
            None => programs,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("drill")
            .enable_all()
            .build()
            .map_err(DrillError::file(&root, "no runtime could be made"))?;
        let server = Server {
            programs,
            data: root.join("cluster/data"),
            socket: place.socket().to_path_buf(),
            port: free_port().map_err(DrillError::file(&root, "no port is free"))?,
            log: root.join("cluster/shop.log"),
            user,
        };
        let volume = Volume::of(options.size_mb);
        let cluster = shop_cluster(&server, volume);
        let config = configuration(&root, &cluster, setup);
        let cluster = config.cluster(CLUSTER).cloned().unwrap_or(cluster);
        // From here on the guard clears away what there is, whatever fails.
        let (asked, why) = (Arc::new(AtomicBool::new(false)), Why::default());
        let watch = runtime.spawn(clear_on_signal(
            root.clone(),
            // A copy that is interrupted may not be masked yet.
            options.keep.is_some() && setup.source.is_none(),
            Arc::clone(&asked),
            Arc::clone(&why),
        ));
        // A copy may take what it needs twice over, where nobody said how much.
        let needed = reading.as_ref().map(|one| one.needed_mb.saturating_mul(2_000_000));
        let limits = Limits {
            time: setup.time.unwrap_or(Duration::MAX),
            disk: setup.disk.unwrap_or(u64::MAX).min(needed.unwrap_or(u64::MAX)),
        };
        let within = Watch::begin(limits, begun, &root, &why);
        let mut sandbox = Self {
            place,
            keep: options.keep.is_some(),
            config,
            cluster,
            server,
            volume,
            copied: None,
            traffic: None,
            truth: None,
            runtime: Some(runtime),
            begun,
            seed: options.seed,
            closed: false,
            runner_stops_at: None,
            asked,
            watch: Some(watch),
        };
        // To the end of this function; whoever holds the drill looks from there on.
        let _within = within?;
        if reading.is_none() {
            sandbox.check_space(options.size_mb)?;
        }
        sandbox.furnish(&options.lifeboat, setup)?;
        match reading {
            Some(reading) => {
                if let Err(error) = sandbox.bring(reading, say) {
                    // Nobody is to look at what may not be masked.
                    sandbox.keep = false;
                    return Err(error);
                }
            }
            None => sandbox.fill(say)?,
        }
        if setup.decoy {
            sandbox.make_decoy()?;
        }
        make_repository(&sandbox)?;
        sandbox.server.start(&[])?;
        if setup.missing_library {
            // The running server goes on without it; whoever starts next finds it missing.
            sandbox.append_conf("shared_preload_libraries = 'shop_audit'\n")?;
        }
        Ok(sandbox)
    }

    /// The backup that a drill is to be held on a copy of, where it is.
    fn look(
        options: &Options,
        setup: &Setup,
        place: &Place,
        user: &discovery::Owner,
    ) -> Result<Option<Reading>, DrillError> {
        let Some(source) = &setup.source else { return Ok(None) };
        let room = Room {
            size_mb: options.size_mb,
            repositories: 1 + u64::from(setup.far),
            limit: setup.disk,
        };
        let reading = copy::begin(source, place, user, &options.lifeboat, room)?;
        reading.programs()?;
        Ok(Some(reading))
    }

    /// What was copied, where the shop stands in a copy.
    #[must_use]
    pub fn copied(&self) -> Option<&Copied> {
        self.copied.as_ref()
    }

    /// Takes the figures of what was copied, which have to be the same after the recovery.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub fn note_copied(&mut self) -> Result<(), DrillError> {
        let handle = self.runtime()?.handle().clone();
        let Some(copied) = &mut self.copied else { return Ok(()) };
        handle.block_on(copied.note(&self.server))
    }

    /// When its folder was made.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.place.root()
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The one cluster of its configuration.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    #[must_use]
    pub fn truth(&self) -> Option<&Truth> {
        self.truth.as_ref()
    }

    /// The sandbox's copy of the program, which its server's user can run.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.root().join("bin/lifeboat")
    }

    /// Where its incidents are.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root().join("ledger.jsonl")
    }

    /// Whether it stays after the end.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    #[must_use]
    pub fn volume(&self) -> Volume {
        self.volume
    }

    /// What runs in the sandbox runs here.
    ///
    /// # Errors
    /// Where the sandbox is closed.
    pub fn runtime(&self) -> Result<&Runtime, DrillError> {
        self.runtime.as_ref().ok_or(DrillError::Interrupted)
    }

    /// Runs the sandbox's own `lifeboat` as the server's user, as a scheduler would.
    ///
    /// # Errors
    /// Where it ends with another status than 0.
    pub fn lifeboat(&self, arguments: &[&str]) -> Result<String, DrillError> {
        let program = self.program();
        let fail = || DrillError::file(&program, "it could not be run");
        let mut command = child::command(&program, &self.server.user).map_err(fail())?;
        command.arg("--config").arg(&self.config.path).args(arguments);
        let finished = child::run(command, Duration::from_secs(3_600)).map_err(fail())?;
        if finished.ok() {
            return Ok(finished.stdout);
        }
        let program = format!("lifeboat {}", arguments.join(" "));
        Err(DrillError::Program { program, output: finished.said() })
    }

    /// Runs the sandbox's own `lifeboat` as ourselves, as the person at the screens would.
    ///
    /// # Errors
    /// Where it ends with another status than 0; the error is what it said.
    pub fn lifeboat_as_us(&self, arguments: &[&str]) -> Result<String, DrillError> {
        let program = self.program();
        let mut command = std::process::Command::new(&program);
        command.arg("--config").arg(&self.config.path).args(arguments);
        let finished = child::run(command, Duration::from_secs(3_600))
            .map_err(DrillError::file(&program, "it could not be run"))?;
        if finished.ok() {
            return Ok(finished.stdout);
        }
        let program = format!("lifeboat {}", arguments.join(" "));
        Err(DrillError::Program { program, output: finished.said() })
    }

    /// Where the runner of its incident stops for an inject, from now on.
    pub fn stop_runner_at(&mut self, place: Option<&'static str>) {
        self.runner_stops_at = place;
    }

    #[must_use]
    pub fn runner_stops_at(&self) -> Option<&'static str> {
        self.runner_stops_at
    }

    /// Makes the sandbox's repository, by its own program.
    ///
    /// # Errors
    /// As [`Sandbox::lifeboat`].
    pub fn make_repository(&self) -> Result<(), DrillError> {
        for repository in &self.cluster.repositories {
            let place = ["--repository", repository.as_str()];
            let make = ["create-repository", "--cluster", CLUSTER, "--json"];
            self.lifeboat(&[&make[..], &place].concat())?;
        }
        Ok(())
    }

    /// Takes a base backup, by the sandbox's own program.
    ///
    /// # Errors
    /// As [`Sandbox::lifeboat`].
    pub fn back_up(&self) -> Result<(), DrillError> {
        self.lifeboat(&["backup", "--cluster", CLUSTER, "--json"]).map(drop)
    }

    /// From here on whoever holds the sandbox minds interrupts and the request to end; until here
    /// the sandbox cleared itself away on one and ended the process.
    pub fn leave_signals(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }

    /// Ends everything; removes the sandbox unless it is to be kept.
    ///
    /// # Errors
    /// Where something of it could not be ended or removed.
    pub fn close(mut self) -> Result<Cleared, DrillError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Cleared, DrillError> {
        if std::mem::replace(&mut self.closed, true) {
            return Ok(Cleared::default());
        }
        if self.watch.is_some() && self.asked.load(Ordering::SeqCst) {
            // The watch clears the sandbox and ends the process; its exit code is the true one.
            let begun = Instant::now();
            while begun.elapsed() < CLEARING {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.leave_signals();
        self.end_traffic();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if self.keep {
            return Ok(Cleared::default());
        }
        let cleared = self.place.clear()?;
        match place::traces(self.place.root(), self.place.socket()) {
            // What is not ours stays, and is told by whoever cleared.
            left if left.is_empty() || !cleared.left.is_empty() => Ok(cleared),
            left => Err(DrillError::Refused {
                path: self.place.root().to_path_buf(),
                why: format!("it was cleared away, and there is still {}", left.join(", ")),
            }),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nobody is left to hear an error here; the next drill's sweep tries again.
        let _ = self.finish();
    }
}

async fn clear_on_signal(root: PathBuf, keep: bool, asked: Arc<AtomicBool>, why: Why) {
    super::watch::Asked::new().first().await;
    asked.store(true, Ordering::SeqCst);
    let cleared = tokio::task::spawn_blocking(move || {
        if keep { Ok(Cleared::default()) } else { place::clear(&root) }
    });
    // What could not be cleared is left to the next drill; the process ends all the same.
    let _ = cleared.await;
    super::cpu::leave();
    let why = why.lock().ok().and_then(|mut why| why.take());
    if let Some(why) = why {
        let told = DrillError::Over { why }.explanation();
        let _ = writeln!(std::io::stderr(), "lifeboat: {told}");
    }
    std::process::exit(i32::from(Kind::Cancelled.exit_code()));
}

/// A port that nobody has now. The server listens on no network: the number only names its
/// socket, and must still not be somebody's who looks for a server on the network.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
