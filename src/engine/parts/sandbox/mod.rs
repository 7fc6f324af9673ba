//! The source of parts: a server of our own beside production, filled from the repository and
//! stopped at a proven target ([`recovered`]), or begun on a copy of a kept directory ([`kept`]).
//! Owns its folder and removes it whole at the end, and nothing else.
//!
//! It can reach nothing: see [`crate::engine::postgres::apart`]. It is taken out of recovery once
//! it stands at the target, which ends the locks of transactions that were under way there; its
//! timeline is never archived.

pub mod kept;
pub mod recovered;

use super::error::{PartsError, engine};
use super::{names, session};
use crate::engine::config::{Cluster, Config, Connection};
use crate::engine::drill::place::{self, Holds, Place};
use crate::engine::postgres::apart::{Apart, Wanted};
use crate::engine::postgres::child;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::control::{Driver, PgCtl, StartOptions, StartWait, StopMode};
use crate::engine::postgres::discovery::{self, Binaries, Owner, Running};
use crate::engine::postgres::{layout, libraries, recovery_settings};
use crate::engine::wal::spool;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a replay may take before it is given up.
const REPLAY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
const STOP_LIMIT: Duration = Duration::from_secs(60);

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
    pub runtime: &'a Handle,
}

/// A server that is a source of parts. Cleared away when it is dropped, unless it was made at a
/// place of its own name: that one outlives its maker and is found again there.
#[derive(Debug)]
pub struct Sandbox {
    place: Place,
    owner: Owner,
    binaries: Option<Binaries>,
    user: String,
    /// Nothing is to be removed when it is dropped.
    stays: bool,
}

impl Sandbox {
    /// Makes its folder at `root`, which is not there yet or empty, to stay until it is closed.
    ///
    /// # Errors
    /// Where something is there already, or it cannot be made.
    pub fn make_at(means: &Means<'_>, root: &Path) -> Result<Self, PartsError> {
        let owner = owner_for(means)?;
        let place = Place::make(None, Some(root), &owner, Holds::Data).map_err(engine)?;
        Self::at_place(place, owner, means, true)
    }

    /// The one that was made at `root`; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be told, or what is there bears another mark.
    pub fn find_at(means: &Means<'_>, root: &Path) -> Result<Option<Self>, PartsError> {
        let owner = owner_for(means)?;
        match Place::again(root).map_err(engine)? {
            Some(place) => Self::at_place(place, owner, means, true).map(Some),
            None => Ok(None),
        }
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
        let place = Place::make(directory, None, &owner, Holds::Data).map_err(engine)?;
        Self::at_place(place, owner, means, false)
    }

    fn at_place(
        place: Place,
        owner: Owner,
        means: &Means<'_>,
        stays: bool,
    ) -> Result<Self, PartsError> {
        let user = means.cluster.connection.user.clone();
        let sandbox = Self { place, owner, binaries: None, user, stays };
        if !sandbox.home().is_dir() {
            sandbox.folder(&sandbox.home())?;
        }
        Ok(sandbox)
    }

    /// The private way in, as its first superuser once it is open.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.apart(&self.home(), &self.data()).connection(&self.user, "postgres")
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

    /// Whether its server runs.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn runs(&self) -> Result<bool, PartsError> {
        if !self.data().is_dir() {
            return Ok(false);
        }
        let running = discovery::running(&self.data()).map_err(engine)?;
        Ok(matches!(running, Running::Yes(_)))
    }

    /// Stops its server, where it runs.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&self, means: &Means<'_>) -> Result<(), PartsError> {
        if self.runs()? {
            self.driver(means)?.stop(StopMode::Fast, STOP_LIMIT).map_err(engine)?;
        }
        Ok(())
    }

    /// Stops it and removes its folder.
    ///
    /// # Errors
    /// Where something of it stays.
    pub fn close(mut self) -> Result<(), PartsError> {
        self.stays = true;
        self.remove()
    }

    /// The folder of its server's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.place.socket()
    }

    /// Sets aside, in its own folder, what was restored of tablespaces.
    ///
    /// # Errors
    /// Where it cannot be renamed.
    pub fn give_up_spaces(&self) -> Result<(), PartsError> {
        let (from, now) = (self.spaces(), jiff::Timestamp::now());
        if !from.is_dir() {
            return Ok(());
        }
        let kept = crate::engine::restore::plan::beside(&from, "abandoned", now);
        fs::rename(&from, kept).map_err(PartsError::file(&from, "it could not be set aside"))
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

    /// What its server says.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.home().join("server.log")
    }

    fn folder(&self, path: &Path) -> Result<(), PartsError> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(path)
            .and_then(|()| child::give(path, &self.owner))
            .map_err(PartsError::file(path, "it could not be made"))
    }

    fn apart<'a>(&'a self, home: &'a Path, data: &'a Path) -> Apart<'a> {
        Apart { home, data, socket: self.place.socket(), owner: &self.owner }
    }

    /// Starts it apart from everything.
    fn start(
        &mut self,
        means: &Means<'_>,
        mut settings: Vec<(String, String)>,
        signal: Option<&'static str>,
    ) -> Result<(), PartsError> {
        let (home, data) = (self.home(), self.data());
        let bin = means.cluster.control.bin_directory();
        self.binaries = Some(discovery::binaries(bin, Some(&data)).map_err(engine)?);
        settings.extend(self.libraries(means).map(|path| (libraries::SETTING.to_owned(), path)));
        let recovers = signal.is_some();
        let wanted = Wanted {
            heading: "a source of parts beside production.",
            shared_buffers: "64MB",
            settings,
            signal,
        };
        let file = self.apart(&home, &data).furnish(&wanted).map_err(engine)?;
        let wait = match recovers {
            true => StartWait::Begun(Duration::from_secs(60)),
            false => StartWait::Ready(REPLAY_LIMIT),
        };
        let options = StartOptions {
            settings: vec![(String::from("config_file"), file.display().to_string())],
            log: None,
            wait,
        };
        self.driver(means)?.start(&options).map(drop).map_err(engine)
    }

    /// Where production's server looks for libraries, so that the copy finds those that its tables
    /// need, and no others.
    fn libraries(&self, means: &Means<'_>) -> Option<String> {
        let file = layout::config_file(means.cluster);
        let (live, binaries) = (&means.cluster.data_directory, self.binaries.as_ref()?);
        let asked = libraries::SETTING;
        // Where production does not tell it, the copy has PostgreSQL's own folder alone.
        let told =
            recovery_settings::configured(live, &self.owner, binaries, file.as_deref(), asked);
        libraries::carried(&told.ok()?, self.root())
    }

    /// Learns who its first superuser is, and rolls back what others had prepared there: it would
    /// keep its locks.
    fn open(&mut self, means: &Means<'_>) -> Result<(), PartsError> {
        self.user.clone_from(&means.cluster.connection.user);
        let bin = means.cluster.control.bin_directory();
        self.binaries = Some(discovery::binaries(bin, Some(&self.data())).map_err(engine)?);
        let failed = || PartsError::sql("Asking the sandbox");
        let connection = self.connection();
        let (user, prepared) = means.runtime.block_on(async {
            let session = session::open_any(&connection).await?;
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
                let text = format!("ROLLBACK PREPARED {}", names::literal(&name));
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

    fn remove(&self) -> Result<(), PartsError> {
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
        if !self.stays {
            // Nobody is left to hear an error here; the next one's sweep tries again.
            let _ = self.remove();
        }
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
