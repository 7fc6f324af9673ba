//! The source of parts: a server of our own beside production, filled from the repository and
//! stopped at a proven target, or begun on a copy of a kept directory. Owns its folder and removes
//! it whole at the end, and nothing else.
//!
//! It can reach nothing: no TCP, a socket in a private folder, its own access rules, no archiving,
//! no subscriptions, no preloaded libraries (and so no scheduler's jobs), no configuration that
//! came with the files. It is taken out of recovery once it stands at the target, which ends the
//! locks of transactions that were under way there; its timeline is never archived.

use super::error::{PartsError, engine};
use super::{copied, session};
use crate::engine::config::{Cluster, Config, Connection, Tls};
use crate::engine::copies;
use crate::engine::drill::place::{self, Place};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::facts::{Reach, Target, TargetPoint, Verdict};
use crate::engine::postgres::child;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::control::{Driver, PgCtl, StartOptions, StartWait, StopMode};
use crate::engine::postgres::control_file::{self, ClusterState, ControlFile};
use crate::engine::postgres::discovery::{self, Binaries, Owner, Running};
use crate::engine::postgres::recovery_settings::{quoted, restore_command, target_setting};
use crate::engine::postgres::recovery_watch::{RecoveryWatch, ReplayState};
use crate::engine::recovery_point::{Landscape, gather, reach};
use crate::engine::restore::base;
use crate::engine::retention::in_use;
use crate::engine::runner::plan::KeptSpace;
use crate::engine::runner::work::Report;
use crate::engine::wal::inspect::{Folder, Stretch, tablespaces_created};
use crate::engine::wal::{rescue, spool};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a replay may take before it is given up.
const REPLAY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 5432;

/// Hears in one line each what is done.
pub type Say<'a> = &'a dyn Fn(&str);

/// What a sandbox is made with.
#[derive(Debug)]
pub struct Means<'a> {
    pub config: &'a Config,
    pub cluster: &'a Cluster,
    /// Where to make its folder; beside the data directory, or else in the first folder for
    /// temporary files that fits.
    pub directory: Option<&'a Path>,
    /// The program that fetches WAL.
    pub program: &'a Path,
    /// One repository alone.
    pub only: Option<&'a str>,
    pub runtime: &'a Runtime,
}

/// A server that is a source of parts; cleared away when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    place: Place,
    owner: Owner,
    binaries: Option<Binaries>,
    user: String,
    cleared: bool,
}

impl Sandbox {
    /// Restores the base that serves `target`, replays to it, and takes writes there, its own.
    ///
    /// # Errors
    /// Where the target is not proven to be reached, or was not reached.
    pub fn recover(
        means: &Means<'_>,
        target: &Target,
        report: Report<'_>,
        say: Say<'_>,
    ) -> Result<Self, PartsError> {
        let mut sandbox = Self::make(means)?;
        let reach = sandbox.prove(means, target)?;
        let base = reach.base.as_ref().ok_or_else(|| unreachable(&reach))?;
        let state = means.config.state_directory();
        // Without the mark the restore is as good; only a cleanup at the same time knows less.
        let _mark = in_use::Mark::restore(&state, &means.cluster.name, &base.set);
        let copies =
            copies::choose(means.config, means.cluster, &base.set, means.only, Some(base))?;
        say(&format!("Restoring {} into {}", base.set, sandbox.place.root().display()));
        let repositories = copies.repositories();
        let descriptor = match repositories.first() {
            Some(first) => first.read_set(&base.set).map_err(engine)?,
            None => return Err(unreachable(&reach)),
        };
        if !descriptor.tablespaces.is_empty() {
            sandbox.folder(&sandbox.spaces())?;
        }
        let spaces = descriptor.tablespaces.iter();
        let spaces = spaces.map(|space| (space.oid, sandbox.spaces().join(space.oid.to_string())));
        let root = nix::unistd::geteuid().is_root();
        let options = base::Options {
            owner: root.then_some((sandbox.owner.uid, sandbox.owner.gid)),
            tablespaces: spaces.collect(),
            ..base::Options::new("parts", report, &|| false)
        };
        base::restore_from(&repositories, &base.set, &sandbox.data(), &options).map_err(engine)?;
        let rescued = sandbox.rescue(means)?;
        let spool = sandbox.spool();
        sandbox.folder(&spool)?;
        let fetch = fetch_command(means, &spool, rescued.as_deref());
        sandbox.start(means, Some((target, &reach, fetch)), say)?;
        say(&format!("Replaying {target}"));
        sandbox.settle(means, target, &reach)?;
        let promoted = sandbox.driver(means)?.promote(Duration::from_secs(600));
        promoted.map_err(engine)?;
        sandbox.open(means)?;
        Ok(sandbox)
    }

    /// Starts a copy of the directory that was kept, and of its tablespaces from where `spaces`
    /// says that they are kept. The kept ones are only read.
    ///
    /// # Errors
    /// Where a server runs in it, it is another cluster's, where a tablespace is kept is not known,
    /// its log would write elsewhere, it does not fit on the volume, or its server cannot start.
    pub fn of_kept(
        means: &Means<'_>,
        kept: &Path,
        spaces: &[KeptSpace],
        say: Say<'_>,
    ) -> Result<Self, PartsError> {
        if matches!(discovery::running(kept).map_err(engine)?, Running::Yes(_)) {
            return Err(PartsError::refused(
                format!("A server runs in {}.", kept.display()),
                "Name a directory that was set aside; a running server is not copied.",
            ));
        }
        let control = control_file::read(kept).map_err(engine)?;
        if let Ok(live) = control_file::read(&means.cluster.data_directory)
            && live.system_identifier != control.system_identifier
        {
            return Err(PartsError::refused(
                format!(
                    "{} belongs to another cluster than {}.",
                    kept.display(),
                    means.cluster.name
                ),
                "Name the directory that was set aside of this cluster.",
            ));
        }
        let needed = copied::size(kept, spaces)?;
        stays_inside(kept, &control)?;
        let mut sandbox = Self::make(means)?;
        let free = reach::free_space(sandbox.place.root())
            .map_err(PartsError::file(sandbox.place.root(), "its free space is unknown"))?;
        if free < needed {
            return Err(PartsError::refused(
                format!("A copy of {} takes {needed} bytes, {free} are free.", kept.display()),
                "Name a folder on another volume with --work-directory.",
            ));
        }
        say(&format!("Copying {} (it is only read)", kept.display()));
        copied::copy(kept, spaces, &sandbox.data(), &sandbox.spaces(), &sandbox.owner)?;
        sandbox.start(means, None, say)?;
        sandbox.open(means)?;
        Ok(sandbox)
    }

    /// The private way in, as its first superuser.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection {
            host: self.place.socket().display().to_string(),
            port: PORT,
            user: self.user.clone(),
            database: String::from("postgres"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        }
    }

    /// A session for reading rows, which fires nothing.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn session(&self, database: &str) -> Result<Session, PartsError> {
        let session = session::open(&self.connection(), database).await?;
        // Neither event triggers nor any others act on what is moved about in here.
        session
            .batch_execute("SET session_replication_role = replica")
            .await
            .map_err(PartsError::sql("Preparing the sandbox"))?;
        Ok(session)
    }

    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.place.root()
    }

    /// One of the programs of its version.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.as_ref().map_or_else(|| PathBuf::from(name), |found| found.program(name))
    }

    /// Stops it and removes its folder.
    ///
    /// # Errors
    /// Where something of it stays.
    pub fn close(mut self) -> Result<(), PartsError> {
        self.remove()
    }

    fn make(means: &Means<'_>) -> Result<Self, PartsError> {
        let owner = owner_for(means)?;
        let beside = means.cluster.data_directory.parent().filter(|parent| {
            let metadata = parent.metadata();
            rustix::fs::access(*parent, rustix::fs::Access::WRITE_OK).is_ok()
                && metadata.is_ok_and(|metadata| metadata.is_dir())
        });
        let directory = means.directory.or(beside);
        // What a killed one left goes first; it may be what fills the disk.
        let _ = place::sweep(directory);
        let place = Place::make(directory, None, &owner).map_err(engine)?;
        let user = String::from("postgres");
        let sandbox = Self { place, owner, binaries: None, user, cleared: false };
        sandbox.folder(&sandbox.home())?;
        Ok(sandbox)
    }

    fn home(&self) -> PathBuf {
        self.place.root().join("cluster")
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    fn spaces(&self) -> PathBuf {
        self.home().join("tablespaces")
    }

    fn spool(&self) -> PathBuf {
        self.home().join("spool")
    }

    fn log(&self) -> PathBuf {
        self.home().join("server.log")
    }

    fn folder(&self, path: &Path) -> Result<(), PartsError> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .and_then(|()| child::give(path, &self.owner))
            .map_err(PartsError::file(path, "it could not be made"))
    }

    fn prove(&self, means: &Means<'_>, target: &Target) -> Result<Reach, PartsError> {
        let mut inputs = gather::inputs(means.config, means.cluster, means.only);
        // Room is needed here, and the alternative place is not asked for.
        inputs.cluster.data_directory = self.data();
        inputs.cluster.alternative_data_directory = None;
        inputs.cluster.places.under = Some(self.spaces());
        // Nothing is moved aside here: what replay would write into a live tablespace is refused.
        inputs.cluster.places.live = None;
        let landscape = Landscape::build(inputs, &|_| {}, &|| false).map_err(engine)?;
        let reach = landscape.reach(target, &|_| {}, &|| false).map_err(engine)?;
        if reach.reachable { Ok(reach) } else { Err(unreachable(&reach)) }
    }

    /// WAL that no repository has and production's directory holds, copied here.
    fn rescue(&self, means: &Means<'_>) -> Result<Option<PathBuf>, PartsError> {
        let pg_wal = means.cluster.data_directory.join("pg_wal");
        let Ok(control) = control_file::read(&means.cluster.data_directory) else {
            return Ok(None);
        };
        if !pg_wal.is_dir() {
            return Ok(None);
        }
        let into = self.home().join("rescued");
        let archives: Vec<_> = copies::open_all(means.config, means.cluster)
            .into_iter()
            .map(|(_, opened)| opened)
            .collect();
        let request = rescue::RescueRequest {
            pg_wal: &pg_wal,
            system_identifier: control.system_identifier,
            archives: &archives,
            into: &into,
        };
        rescue::rescue(&request, &|_, _| {}).map_err(engine)?;
        Ok(into.is_dir().then_some(into))
    }

    fn start(
        &mut self,
        means: &Means<'_>,
        recovery: Option<(&Target, &Reach, Vec<String>)>,
        say: Say<'_>,
    ) -> Result<(), PartsError> {
        let data = self.data();
        let control = control_file::read(&data).map_err(engine)?;
        let bin = means.cluster.control.bin_directory();
        let found = discovery::binaries(bin, Some(&data)).map_err(engine)?;
        self.binaries = Some(found.clone());
        let home = self.home();
        let (rules, names, settings) =
            (home.join("pg_hba.conf"), home.join("pg_ident.conf"), home.join("postgresql.conf"));
        let text = self.settings(&control, (&rules, &names), recovery.as_ref())?;
        self.write(&rules, b"local all all trust\n")?;
        self.write(&names, b"")?;
        self.write(&settings, text.as_bytes())?;
        // It outweighs every other file and came with the files: archiving, replication, targets.
        self.write(&data.join("postgresql.auto.conf"), b"")?;
        let standby = data.join("standby.signal");
        if standby.exists() {
            fs::remove_file(&standby)
                .map_err(PartsError::file(&standby, "it could not be removed"))?;
        }
        if let Some((target, ..)) = &recovery {
            // To the end of the archive there is no target, and only a standby waits there.
            let end = target.point == TargetPoint::EndOfArchive;
            let signal = if end { "standby.signal" } else { "recovery.signal" };
            self.write(&data.join(signal), b"")?;
        }
        say("Starting it: closed to everybody, archiving nothing");
        let wait = match recovery {
            Some(_) => StartWait::Begun(Duration::from_secs(60)),
            None => StartWait::Ready(REPLAY_LIMIT),
        };
        let options = StartOptions {
            settings: vec![(String::from("config_file"), settings.display().to_string())],
            log: None,
            wait,
        };
        self.driver(means)?.start(&options).map(drop).map_err(engine)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), PartsError> {
        files::replace(path, content, 0o600)
            .and_then(|()| child::give(path, &self.owner))
            .map_err(PartsError::file(path, "it could not be written"))
    }

    fn settings(
        &self,
        control: &ControlFile,
        (rules, names): (&Path, &Path),
        recovery: Option<&(&Target, &Reach, Vec<String>)>,
    ) -> Result<String, PartsError> {
        let text = |path: &Path| path.display().to_string();
        let least = |name: &str, of: i32| {
            let needed = recovery.and_then(|(_, reach, _)| {
                reach.minimum_settings.iter().find(|(known, _)| known == name)
            });
            needed.map_or(i64::from(of), |(_, value)| i64::from(of).max(*value)).to_string()
        };
        let mut all: Vec<(&str, String)> = vec![
            ("listen_addresses", String::new()),
            ("port", PORT.to_string()),
            ("unix_socket_directories", text(self.place.socket())),
            ("unix_socket_permissions", String::from("0700")),
            ("hba_file", text(rules)),
            ("ident_file", text(names)),
            ("ssl", String::from("off")),
            ("archive_mode", String::from("off")),
            ("hot_standby", String::from("on")),
            ("max_connections", least("max_connections", control.max_connections)),
            ("max_worker_processes", least("max_worker_processes", control.max_worker_processes)),
            ("max_wal_senders", least("max_wal_senders", control.max_wal_senders)),
            (
                "max_prepared_transactions",
                least("max_prepared_transactions", control.max_prepared_transactions),
            ),
            (
                "max_locks_per_transaction",
                least("max_locks_per_transaction", control.max_locks_per_transaction),
            ),
            ("max_logical_replication_workers", String::from("0")),
            ("shared_preload_libraries", String::new()),
            ("session_preload_libraries", String::new()),
            ("local_preload_libraries", String::new()),
            ("autovacuum", String::from("off")),
            ("fsync", String::from("off")),
            ("shared_buffers", String::from("64MB")),
            ("huge_pages", String::from("off")),
            ("logging_collector", String::from("off")),
            ("log_destination", String::from("stderr")),
            ("log_line_prefix", String::from("%m [%p] ")),
            ("log_timezone", String::from("UTC")),
            ("lc_messages", String::from("C")),
        ];
        if let Some((target, reach, fetch)) = recovery {
            all.push(("restore_command", restore_command(fetch)));
            if let (Some(name), value) = target_setting(&target.point) {
                all.push((name, value));
            }
            let inclusive = if target.inclusive { "on" } else { "off" };
            all.push(("recovery_target_inclusive", String::from(inclusive)));
            let timeline =
                target.timeline.or(reach.timeline()).map(|timeline| timeline.to_string());
            let latest = || String::from("latest");
            all.push(("recovery_target_timeline", timeline.unwrap_or_else(latest)));
            all.push(("recovery_target_action", String::from("pause")));
        }
        let mut written = String::from("# Lifeboat: a source of parts beside production.\n");
        for (name, value) in all {
            let value = quoted(&value).map_err(engine)?;
            written.push_str(&format!("{name} = {value}\n"));
        }
        Ok(written)
    }

    /// Waits until it stands at the target; anything else is refused.
    fn settle(&self, means: &Means<'_>, target: &Target, reach: &Reach) -> Result<(), PartsError> {
        let mut connection = self.connection();
        connection.user.clone_from(&means.cluster.connection.user);
        let end = reach.last_kept.as_ref().map(|commit| commit.end_lsn);
        let mut watch =
            RecoveryWatch::new(connection, self.data(), self.log(), target.point.clone(), end);
        let state = means.runtime.block_on(watch.until_settled(REPLAY_LIMIT, |_, _| true))?;
        match state {
            ReplayState::AtTarget { .. } => Ok(()),
            ReplayState::PausedFor(why) | ReplayState::Failed(why) => Err(PartsError::Engine(why)),
            _ => Err(PartsError::refused(
                "The sandbox left recovery by itself before it reached the target.",
                "See whether another target is meant.",
            )),
        }
    }

    /// Learns who its first superuser is, and rolls back what others had prepared there: it would
    /// keep its locks.
    fn open(&mut self, means: &Means<'_>) -> Result<(), PartsError> {
        self.user.clone_from(&means.cluster.connection.user);
        let failed = || PartsError::sql("Asking the sandbox");
        let connection = self.connection();
        let (user, prepared) = means.runtime.block_on(async {
            let session = session::open(&connection, &connection.database).await?;
            let query = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = 10";
            let user: String = session
                .query_one(query, &[])
                .await
                .and_then(|row| row.try_get(0))
                .map_err(failed())?;
            let query = "SELECT database::text, gid FROM pg_catalog.pg_prepared_xacts";
            let rows = session.query(query, &[]).await.map_err(failed())?;
            let prepared: Result<Vec<(String, String)>, _> =
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
            Ok::<_, PartsError>((user, prepared.map_err(failed())?))
        })?;
        self.user = user;
        let connection = self.connection();
        means.runtime.block_on(async {
            for (database, name) in prepared {
                let session = session::open(&connection, &database).await?;
                let text = format!("ROLLBACK PREPARED {}", super::names::literal(&name));
                session.batch_execute(&text).await.map_err(failed())?;
            }
            Ok(())
        })
    }

    fn driver(&self, means: &Means<'_>) -> Result<PgCtl, PartsError> {
        let binaries = match &self.binaries {
            Some(found) => found.clone(),
            None => {
                let bin = means.cluster.control.bin_directory();
                discovery::binaries(bin, Some(&self.data())).map_err(engine)?
            }
        };
        Ok(PgCtl::new(binaries, self.owner.clone(), &self.data(), self.log()))
    }

    fn remove(&mut self) -> Result<(), PartsError> {
        if std::mem::replace(&mut self.cleared, true) {
            return Ok(());
        }
        // Whatever this does not stop, the clearing of the folder ends by force.
        if let Some(binaries) = self.binaries.clone() {
            let driver = PgCtl::new(binaries, self.owner.clone(), &self.data(), self.log());
            let _ = driver.stop(StopMode::Fast, STOP_LIMIT);
        }
        let _ = spool::stop(&self.spool(), Duration::from_secs(5));
        self.place.clear().map(drop).map_err(engine)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Nobody is left to hear an error here; the next one's sweep tries again.
        let _ = self.remove();
    }
}

/// A server that did not end in order replays its log from the last checkpoint, and what creates a
/// tablespace there does so by the absolute path: in the recovered server's own folder.
fn stays_inside(kept: &Path, control: &ControlFile) -> Result<(), PartsError> {
    if control.state == ClusterState::ShutDown {
        return Ok(());
    }
    let stretch = Stretch {
        timeline: control.checkpoint.timeline,
        from: control.checkpoint.redo,
        until: None,
        segment_size: u64::from(control.wal_segment_size),
        system_identifier: control.system_identifier,
    };
    let log = Folder::new(kept.join("pg_wal"));
    let created = tablespaces_created(&log, &stretch)?;
    match created.iter().find(|(.., place)| !place.is_empty()) {
        None => Ok(()),
        Some((lsn, oid, place)) => Err(PartsError::refused(
            format!(
                "The server in {} did not end in order, and at LSN {lsn} its log creates tablespace \
                 {oid} in {place}: a copy that is started would write there.",
                kept.display()
            ),
            "Start a copy of it on another machine.",
        )),
    }
}

/// The owner of the cluster's data directory, else the user who runs this.
fn owner_for(means: &Means<'_>) -> Result<Owner, PartsError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Owner::current());
    }
    if let Ok(owner) = discovery::owner(&means.cluster.data_directory) {
        return Ok(owner);
    }
    Owner::named(means.config.sandbox.user.as_deref().unwrap_or("postgres")).map_err(engine)
}

fn fetch_command(means: &Means<'_>, spool: &Path, rescued: Option<&Path>) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![
        text(means.program),
        String::from("--config"),
        text(&means.config.path),
        String::from("restore-wal"),
        String::from("--cluster"),
        means.cluster.name.clone(),
        String::from("--spool"),
        text(spool),
    ];
    if let Some(rescued) = rescued {
        command.extend([String::from("--rescue"), text(rescued)]);
    }
    for name in copies::available(means.config, means.cluster).open {
        command.extend([String::from("--repository"), name]);
    }
    command.extend(["%f", "%p"].map(String::from));
    command
}

fn unreachable(reach: &Reach) -> PartsError {
    let bad = reach.checks.iter().filter(|check| check.verdict != Verdict::Verified);
    let why: Vec<String> = bad
        .map(|check| format!("{}: {} ({})", check.title, check.verdict.word(), check.detail))
        .collect();
    let nearest: Vec<String> = reach.nearest.iter().map(ToString::to_string).collect();
    let next = if nearest.is_empty() {
        String::from("Choose another target: lifeboat check-wal-continuity shows what is there.")
    } else {
        format!("The nearest that can be reached: {}.", nearest.join("; "))
    };
    PartsError::Engine(Explanation::new(
        Kind::Unreachable,
        format!("The target ({}) cannot be reached. {}", reach.target, why.join(" ")),
        "Nothing in production was changed.",
        next,
    ))
}
