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
//!   lifeboat.toml
//!   ledger.jsonl, truth.json      for scoring alone
//! ```
//!
//! Made by root, the folder stays root's, and so do program, configuration and incidents: root runs
//! and reads them. The server's user owns what the server writes: cluster, repositories, sockets,
//! what archiving notes. See `drill::fence`.

use super::act::Ground;
use super::aside::SPACES;
use super::copy::{self, Copied, Reading, Room};
use super::director::Limits;
use super::error::DrillError;
use super::fence::{self, Folder};
use super::limits::{Watch, Why};
use super::place::{self, Cleared, Holds, Place};
use super::scenario::{Disaster, Link, Load, Scenario};
use super::server::Server;
use super::shop::{self, DATABASE, LOAD_SETTINGS, TABLES, Volume};
use super::strike::{Truth, lose, strike};
use super::traffic::Traffic;
use super::user::{self, name_of};
use crate::engine::config::{
    Cluster, Codec, Config, Connection, Control, Encryption, Line, Operator, PlaceConfig, Probe,
    RepositoryConfig, Retention, StoreConfig, Tls,
};
use crate::engine::explain::{Explain, Kind};
use crate::engine::files;
use crate::engine::incident::facts::{Role, Tier};
use crate::engine::postgres::{child, discovery};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use rustix::fs::OFlags;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
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
    /// The scenario's name, for its own configuration.
    pub scenario: Option<String>,
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
        sandbox.furnish(&options.lifeboat, setup.runbook.as_deref())?;
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

    /// Starts the application's traffic.
    ///
    /// # Errors
    /// Where it cannot start.
    pub fn begin_traffic(&mut self, load: &Load) -> Result<(), DrillError> {
        let handle = self.runtime()?.handle().clone();
        let rate = load.transactions_per_second;
        let traffic = Traffic::start(&self.server, &self.ledger(), rate, self.seed, &handle)?;
        self.traffic = Some(traffic);
        Ok(())
    }

    /// Waits until the traffic has committed for `seconds` more at `rate` a second.
    ///
    /// # Errors
    /// Where it makes no headway.
    pub fn let_traffic_run(&self, seconds: f64, rate: f64) -> Result<(), DrillError> {
        let Some(traffic) = &self.traffic else { return Ok(()) };
        let whole = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let limit = whole * 10 + Duration::from_secs(30);
        let begun = Instant::now();
        // A slow machine still gets half of what was planned, in its own time.
        let least = traffic.committed() + Duration::from_secs_f64(seconds * rate / 2.0).as_secs();
        while begun.elapsed() < whole || traffic.committed() < least {
            if begun.elapsed() > limit || !traffic.runs() {
                return Err(DrillError::TooLong {
                    what: String::from("the application's traffic"),
                    seconds: begun.elapsed().as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The incident. What was there before is kept in `truth.json`.
    ///
    /// # Errors
    /// Where it cannot be staged.
    pub fn strike(&mut self, incident: &Disaster) -> Result<(), DrillError> {
        let Some(bad) = incident.statement() else {
            return self.lose(*incident == Disaster::Region);
        };
        let gate = self.traffic.as_ref().map(Traffic::gate).unwrap_or_default();
        let truth = self.runtime()?.block_on(strike(&self.server, &gate, bad))?;
        self.keep_truth(truth)
    }

    fn keep_truth(&mut self, truth: Truth) -> Result<(), DrillError> {
        let path = self.root().join("truth.json");
        let text = serde_json::to_vec_pretty(&truth)
            .map_err(|error| DrillError::file(&path, "it could not be written")(error.into()))?;
        files::create(&path, &text, 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))?;
        self.truth = Some(truth);
        Ok(())
    }

    /// The server dies, and its data directory is gone; where `region` is, the near repository
    /// too. What was there before is kept in `truth.json`.
    ///
    /// # Errors
    /// Where it cannot be staged.
    pub fn lose(&mut self, region: bool) -> Result<(), DrillError> {
        let gate = self.traffic.as_ref().map(Traffic::gate).unwrap_or_default();
        let truth = self.runtime()?.block_on(lose(&self.server, &gate))?;
        self.end_traffic();
        self.keep_truth(truth)?;
        let away = self.root().join("away");
        place::make_private(&away).map_err(DrillError::file(&away, "it could not be made"))?;
        let data = &self.server.data;
        Folder::open(self.root())
            .and_then(|root| root.below("cluster"))
            .and_then(|cluster| lose_all(&cluster))
            .map_err(DrillError::file(data, "it could not be removed"))?;
        if region {
            let near = self.root().join("repository");
            fs::rename(&near, away.join("near"))
                .map_err(DrillError::file(&near, "it could not be moved"))?;
        }
        Ok(())
    }

    /// The server parts with a WAL file of its own, so that its loss from the archive makes a gap:
    /// from now on the inject does. See `drill::act`.
    ///
    /// # Errors
    /// Where the server does not part with it.
    pub fn part_with_wal(&self, name: &str) -> Result<(), DrillError> {
        self.runtime()?.block_on(async {
            let client = self.server.connect("postgres", DATABASE).await?;
            let done = client.batch_execute("CHECKPOINT").await;
            done.map_err(DrillError::sql("it made no checkpoint"))
        })?;
        let own = self.server.data.join("pg_wal").join(name);
        if own.exists() {
            return Err(DrillError::Refused {
                path: own,
                why: String::from("the server still keeps it, so that no gap can be made there"),
            });
        }
        Ground { root: self.root().to_path_buf() }.mark_gap(name)
    }

    /// From now on the far repository is at the end of this line.
    ///
    /// # Errors
    /// Where the configuration cannot be written.
    pub fn lay_line(&mut self, link: Link) -> Result<(), DrillError> {
        let bytes = (link.megabytes_per_second * 1e6).clamp(1.0, 1e12) as u64;
        let line = Line { bytes_per_second: bytes, latency_ms: link.latency_ms };
        for repository in self.config.repositories.iter_mut().filter(|one| one.name == FAR) {
            repository.place.line = Some(line);
        }
        super::act::write_config(&self.config.path, &self.config)
    }

    /// What the screens read of the scenario, where it may be a team's own.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_scenario(&self, scenario: &Scenario) -> Result<(), DrillError> {
        let path = self.root().join("scenario.toml");
        let text = toml::to_string(scenario).map_err(|error| {
            DrillError::file(&path, "it could not be written")(std::io::Error::other(error))
        })?;
        files::create(&path, text.as_bytes(), 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))
    }

    /// What the screens tell of a copy; nothing in a sandbox without one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_origin(&self) -> Result<(), DrillError> {
        let Some(copied) = &self.copied else { return Ok(()) };
        let path = self.root().join(place::COPY);
        let text = serde_json::to_vec_pretty(&copied.told().origin())
            .map_err(|error| DrillError::file(&path, "it could not be written")(error.into()))?;
        files::create(&path, &text, 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))
    }

    /// Asks the server for a row with one text; for the drill's own staging.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn ask(&self, sql: &str) -> Result<String, DrillError> {
        self.runtime()?.block_on(async {
            let client = self.server.connect("postgres", DATABASE).await?;
            let row = client.query_one(sql, &[]).await;
            Ok(row.map_err(DrillError::sql("it could not be asked"))?.get(0))
        })
    }

    /// Begins a new WAL file and waits until the one before it is archived. Gives its name.
    ///
    /// # Errors
    /// Where it is not archived in time.
    pub fn switch_and_archive(&self) -> Result<String, DrillError> {
        let limit = Duration::from_secs(60);
        let name = self.ask("SELECT pg_walfile_name(pg_switch_wal())")?;
        let begun = Instant::now();
        let sql = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";
        while self.ask(sql)? < name {
            if begun.elapsed() > limit {
                return Err(DrillError::TooLong {
                    what: format!("the archiving of {name}"),
                    seconds: limit.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// Ends the traffic where it still runs; gives the transactions that were acknowledged.
    pub fn end_traffic(&mut self) -> u64 {
        let Some(mut traffic) = self.traffic.take() else { return 0 };
        if let Some(runtime) = &self.runtime {
            traffic.stop(runtime.handle());
        }
        traffic.committed()
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

    fn check_space(&self, size_mb: u64) -> Result<(), DrillError> {
        let root = self.root();
        let volume = rustix::fs::statvfs(root)
            .map_err(|error| DrillError::file(root, "its free space is unknown")(error.into()))?;
        let free_mb = volume.f_bavail.saturating_mul(volume.f_frsize) / 1_000_000;
        // The cluster, its backup, the restored cluster, and WAL beside all of them.
        let needed_mb = size_mb.saturating_mul(5) / 2 + 1_000;
        if free_mb < needed_mb {
            return Err(DrillError::Space { path: root.to_path_buf(), free_mb, needed_mb });
        }
        Ok(())
    }

    /// Folders, key, program, configuration: ours where we run or read them as who we are, the
    /// server's user's where the server writes.
    fn furnish(&self, lifeboat: &Path, runbook: Option<&Path>) -> Result<(), DrillError> {
        let (root, user) = (self.root(), &self.server.user);
        for name in ["bin", "keys", "state"] {
            let folder = root.join(name);
            make_folder(&folder)?;
            lend(&folder, user)?;
        }
        for name in ["repository", "state/archiving"] {
            let folder = root.join(name);
            make_folder(&folder)?;
            give(&folder, user)?;
        }
        make_folder(&root.join("cluster"))?;
        let mut random = [0_u8; 32];
        let key = root.join("keys/master");
        getrandom::fill(&mut random).map_err(|error| {
            DrillError::file(&key, "no key could be made")(std::io::Error::other(error))
        })?;
        let line =
            zeroize::Zeroizing::new(format!("{}\n", data_encoding::HEXLOWER.encode(&random)));
        files::create_owned(&key, line.as_bytes(), 0o600, fence::other(user))
            .map_err(DrillError::file(&key, "it could not be written"))?;
        for repository in &self.config.repositories {
            if let StoreConfig::File { path } = &repository.store
                && !path.is_dir()
            {
                make_folder(path)?;
                give(path, user)?;
            }
        }
        if let (Some(own), Some(theirs)) = (&self.config.runbook, runbook) {
            let text = fs::read(theirs)
                .map_err(DrillError::file(theirs, "the team's runbook cannot be read"))?;
            files::create(own, &text, 0o600)
                .map_err(DrillError::file(own, "it could not be written"))?;
            lend(own, user)?;
        }
        let program = root.join("bin/lifeboat");
        fs::copy(lifeboat, &program)
            .and_then(|_| fs::set_permissions(&program, PermissionsExt::from_mode(0o755)))
            .map_err(DrillError::file(&program, "the program could not be copied there"))?;
        lend(&program, user)?;
        let path = &self.config.path;
        let text = toml::to_string(&self.config).map_err(|error| {
            DrillError::file(path, "it could not be written")(std::io::Error::other(error))
        })?;
        files::create(path, text.as_bytes(), 0o600)
            .map_err(DrillError::file(path, "it could not be written"))?;
        lend(path, user)
    }

    /// Lets the server's user into the cluster's folder. Until then only we can enter it: what is
    /// copied into it as root is written where we mean it.
    fn open_cluster(&self) -> Result<(), DrillError> {
        give(&self.root().join("cluster"), &self.server.user)
    }

    fn fill(&self, say: Say<'_>) -> Result<(), DrillError> {
        let server = &self.server;
        self.open_cluster()?;
        server.initdb()?;
        self.configure_server()?;
        let (orders, customers) = (self.volume.orders, self.volume.customers);
        say(&format!("Filling the shop: {customers} customers, {orders} orders"));
        server.start(&LOAD_SETTINGS)?;
        self.runtime()?.block_on(shop::fill(server, self.volume, self.seed))?;
        server.stop()?;
        // The load did not wait for the disk; the drill begins on durable data.
        let data = server.data.display().to_string();
        server.run("initdb", &["--sync-only", "-D", &data]).map(drop)
    }

    /// A copy instead of a cluster of its own, and the shop beside what was copied.
    fn bring(&mut self, reading: Reading, say: Say<'_>) -> Result<(), DrillError> {
        let (server, own) = (&self.server, self.settings());
        let open = || self.open_cluster();
        let bench = copy::Bench { server, root: self.root(), own: &own, open: &open };
        let copied = copy::bring(reading, &bench, self.runtime()?, say)?;
        let (orders, customers) = (self.volume.orders, self.volume.customers);
        say(&format!("Filling the shop beside it: {customers} customers, {orders} orders"));
        self.runtime()?.block_on(shop::fill(server, self.volume, self.seed))?;
        server.stop()?;
        // The copy did not wait for the disk; the drill begins on durable data.
        let data = server.data.display().to_string();
        server.run("initdb", &["--sync-only", "-D", &data])?;
        copy::settings::write(server, &own)?;
        copy::settings::offer_histories(server)?;
        self.copied = Some(copied);
        Ok(())
    }

    fn configure_server(&self) -> Result<(), DrillError> {
        self.append_conf(&self.settings())
    }

    fn settings(&self) -> String {
        let (root, server) = (self.root().display(), &self.server);
        format!(
            "\n# The drill's sandbox.\n\
             listen_addresses = ''\n\
             port = {port}\n\
             unix_socket_directories = '{socket}'\n\
             archive_mode = on\n\
             archive_command = '\"{root}/bin/lifeboat\" --config \"{root}/lifeboat.toml\" archive-wal --cluster {CLUSTER} \"%p\"'\n\
             archive_timeout = 10s\n\
             wal_level = replica\n\
             fsync = on\n\
             max_wal_size = 1GB\n\
             max_connections = 40\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %q%u@%d '\n",
            port = server.port,
            socket = server.socket.display(),
        )
    }

    /// A cluster that was made long ago and that nobody uses.
    fn make_decoy(&self) -> Result<(), DrillError> {
        let decoy = Server { data: self.root().join("cluster/primary"), ..self.server.clone() };
        decoy.initdb()?;
        let make = ["create-repository", "--cluster", DECOY, "--json"];
        self.lifeboat(&make).map(drop)
    }

    fn append_conf(&self, settings: &str) -> Result<(), DrillError> {
        let path = self.server.data.join("postgresql.conf");
        Folder::open(self.root())
            .and_then(|root| root.below("cluster/data"))
            .and_then(|data| data.file("postgresql.conf", OFlags::WRONLY | OFlags::APPEND))
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .map_err(DrillError::file(&path, "the server's settings cannot be written"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nobody is left to hear an error here; the next drill's sweep tries again.
        let _ = self.finish();
    }
}

/// What asks a process to end: an interrupt, a polite word, a terminal that is gone, a quit key.
const ENDS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

async fn clear_on_signal(root: PathBuf, keep: bool, asked: Arc<AtomicBool>, why: Why) {
    use tokio::signal::unix::{SignalKind, signal};
    // Whoever began it under nohup wants it to go on without a terminal.
    let deaf = ignores_hangup();
    let heard = ENDS.into_iter().filter(|one| *one != Signal::SIGHUP || !deaf);
    let mut heard: Vec<_> =
        heard.filter_map(|one| signal(SignalKind::from_raw(one as i32)).ok()).collect();
    if heard.is_empty() {
        return;
    }
    std::future::poll_fn(|context| {
        let any = heard.iter_mut().any(|one| one.poll_recv(context).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
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

/// Whether this process was begun with the wish to outlive its terminal.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    // The first bit is the first signal's, which is this one.
    bits.is_some_and(|bits| bits & 1 == 1)
}

/// Removes the data directory, and what is in the tablespaces of a copy.
fn lose_all(cluster: &Folder) -> std::io::Result<()> {
    cluster.remove("data")?;
    if !cluster.has_folder(SPACES) {
        return Ok(());
    }
    let spaces = cluster.below(SPACES)?;
    spaces.names()?.into_iter().try_for_each(|oid| spaces.remove(oid))
}

fn make_folder(path: &Path) -> Result<(), DrillError> {
    place::make_private(path).map_err(DrillError::file(path, "it could not be made"))
}

fn give(path: &Path, user: &discovery::Owner) -> Result<(), DrillError> {
    fence::give(path, user).map_err(DrillError::file(path, "its owner could not be set"))
}

fn lend(path: &Path, user: &discovery::Owner) -> Result<(), DrillError> {
    fence::lend(path, user).map_err(DrillError::file(path, "its mode could not be set"))
}

/// A port that nobody has now. The server listens on no network: the number only names its
/// socket, and must still not be somebody's who looks for a server on the network.
fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn shop_cluster(server: &Server, volume: Volume) -> Cluster {
    let connection = |user: &str| Connection {
        host: server.socket.display().to_string(),
        port: server.port,
        user: user.to_owned(),
        database: DATABASE.to_owned(),
        passfile: None,
        tls: Tls::Off,
        root_certificate: None,
    };
    Cluster {
        name: CLUSTER.to_owned(),
        tier: Tier::High,
        environment: String::from("drill"),
        data_directory: server.data.clone(),
        alternative_data_directory: None,
        tablespace_mapping: Default::default(),
        delta_restore: false,
        connection: connection("postgres"),
        control: Control::PgCtl {
            bin_directory: Some(server.programs.directory.clone()),
            log: Some(server.log.clone()),
            config_file: None,
        },
        repositories: vec![REPOSITORY.to_owned()],
        probes: probes(volume),
        tables: TABLES.map(str::to_owned).to_vec(),
        health_url: None,
        application: Some(connection("shop_app")),
        archiving: crate::engine::config::Archiving::default(),
        retention: Retention::default(),
        schedule: crate::engine::config::schedule::Schedule::default(),
        masking: Vec::new(),
        erasure: None,
    }
}

fn configuration(root: &Path, cluster: &Cluster, setup: &Setup) -> Config {
    let repository = |name: &str, folder: &str, place: PlaceConfig| RepositoryConfig {
        name: name.to_owned(),
        store: StoreConfig::File { path: root.join(folder) },
        encryption: Encryption::Aes256Cbc {
            master_key_file: Some(root.join("keys/master")),
            master_key_command: None,
            previous_master_key_file: None,
        },
        codec: Codec::Gzip,
        level: None,
        workers: None,
        place,
    };
    let mut repositories = vec![repository(REPOSITORY, "repository", PlaceConfig::default())];
    let mut cluster = cluster.clone();
    if setup.far {
        let overseas = PlaceConfig {
            site: Some(String::from("overseas")),
            region: Some(String::from("overseas")),
            off_site: Some(true),
            ..PlaceConfig::default()
        };
        repositories.push(repository(FAR, FAR, overseas));
        cluster.repositories.push(FAR.to_owned());
    }
    let mut clusters = vec![cluster.clone()];
    if setup.decoy {
        clusters.insert(0, decoy(root, &cluster));
        repositories.push(repository("old", "cluster/primary-backups", PlaceConfig::default()));
    }
    let us = name_of(nix::unistd::geteuid().as_raw());
    Config {
        state_directory: Some(root.join("state")),
        runbook: setup.runbook.as_ref().map(|_| root.join(place::RUNBOOK)),
        clusters,
        repositories,
        operators: vec![Operator { user: us, role: Role::Commander }],
        // A drill is one person's.
        approval: crate::engine::config::approval::Approval::default(),
        signatures: crate::engine::config::approval::Signatures::default(),
        // A drill sends nothing to anybody.
        channels: Vec::new(),
        escalation: Default::default(),
        catalogue: None,
        sandbox: crate::engine::config::Sandbox {
            scenario: setup.scenario.clone(),
            ..crate::engine::config::Sandbox::default()
        },
        path: root.join("lifeboat.toml"),
    }
}

/// Another server with a name that sounds like the shop's; no server runs there.
fn decoy(root: &Path, cluster: &Cluster) -> Cluster {
    let mut decoy = cluster.clone();
    decoy.name = DECOY.to_owned();
    decoy.data_directory = root.join("cluster/primary");
    decoy.connection.port = cluster.connection.port.checked_sub(1).unwrap_or(1_024);
    decoy.application = None;
    decoy.repositories = vec![String::from("old")];
    decoy.probes.clear();
    decoy
}

/// What the shop's owner would ask the database to see whether it is whole.
fn probes(volume: Volume) -> Vec<Probe> {
    let least = |name: &str, sql: &str, rows: u64| Probe {
        name: name.to_owned(),
        database: None,
        sql: sql.to_owned(),
        expect: None,
        at_least: i64::try_from(rows).ok(),
        at_most: None,
        mask: None,
    };
    let orphans = Probe {
        name: String::from("orders without a customer"),
        database: None,
        sql: String::from(
            "SELECT count(*) FROM public.orders o LEFT JOIN public.customers c \
             ON c.id = o.customer_id WHERE c.id IS NULL",
        ),
        expect: Some(String::from("0")),
        at_least: None,
        at_most: None,
        mask: None,
    };
    // Fixed times, so that the answer is the same however long the drill takes.
    let until = Timestamp::now();
    let since = until - jiff::SignedDuration::from_mins(55);
    let recent = format!(
        "SELECT count(*) FROM public.orders WHERE created_at BETWEEN '{since:.0}' AND '{until:.0}'"
    );
    vec![
        least(
            &format!("orders of the hour before {} UTC", until.strftime("%H:%M")),
            &recent,
            volume.last_hour() * 17 / 20,
        ),
        least("customers", "SELECT count(*) FROM public.customers", volume.customers),
        orphans,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_being_written_and_read() {
        let user = user::choose(None).unwrap();
        let server = Server {
            programs: discovery::Binaries {
                directory: PathBuf::from("/programs"),
                major: 15,
                version: String::from("15.1"),
            },
            data: PathBuf::from("/box/cluster/data"),
            socket: PathBuf::from("/box/socket"),
            port: 5433,
            log: PathBuf::from("/box/cluster/shop.log"),
            user,
        };
        let config = configuration(
            Path::new("/box"),
            &shop_cluster(&server, Volume::of(100)),
            &Setup {
                far: true,
                decoy: true,
                runbook: Some(PathBuf::from("/etc/team.toml")),
                ..Setup::default()
            },
        );
        assert_eq!(config.runbook, Some(PathBuf::from("/box/runbook.toml")), "its own copy");
        let text = toml::to_string(&config).unwrap();
        let read: Config = toml::from_str(&text).unwrap();
        assert_eq!(read, Config { path: PathBuf::new(), ..config });
    }
}
