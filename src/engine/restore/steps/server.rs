//! The server between stop and opening: closed to everybody but Lifeboat, then open again. Owns
//! how it is started, reached and watched meanwhile; decides nothing.

use super::answered::Answered;
use super::site::{Site, io};
use crate::engine::config::{Connection, Control};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::TargetPoint;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::closed::{self, ClosedServer};
use crate::engine::postgres::control::{self, StartOptions, StartWait, Systemctl};
use crate::engine::postgres::control_file::{self, ClusterState, ControlFile};
use crate::engine::postgres::discovery::{self, Binaries, Owner, Running};
use crate::engine::postgres::recovery_watch::RecoveryWatch;
use crate::engine::postgres::{layout, recovery_settings};
use crate::engine::runner::plan::Plan;
use crate::engine::wal::{TimelineId, spool};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The setting that names libraries to load at the start.
const PRELOAD: &str = "shared_preload_libraries";

/// What stands before the number in the note of the room that stays for prepared transactions.
const RAISED_TO: &str = "raised to ";

/// The number in that note.
#[must_use]
pub fn raised_to(note: &str) -> Option<i64> {
    note.split_once(RAISED_TO)?.1.split(' ').next()?.parse().ok()
}

/// How long an ordinary start may take.
const OPEN_LIMIT: Duration = Duration::from_secs(120);

impl Site {
    /// Whether a server runs in the data directory.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn running(&self) -> Result<bool, Explanation> {
        discovery::running(self.data())
            .map(|running| matches!(running, Running::Yes(_)))
            .map_err(|e| e.explanation())
    }

    /// Whether no server runs in the data directory and nothing starts one by itself.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn stays_down(&self) -> Result<bool, Explanation> {
        if self.running()? {
            return Ok(false);
        }
        match (&self.cluster.control, self.driver()) {
            (_, Ok(driver)) => driver.stays_down().map_err(|e| e.explanation()),
            // So damaged that not even its version can be read; nobody starts it but us.
            (
                Control::PgCtl { .. } | Control::PgCtlcluster { .. } | Control::Command(_),
                Err(_),
            ) => Ok(true),
            // A service would, whatever its directory is; it knows without it.
            (Control::Systemd { unit: Some(unit), systemctl, .. }, Err(_)) => {
                let state = Systemctl::new(systemctl.clone()).show(unit);
                state.map(|state| state.is_down()).map_err(|e| e.explanation())
            }
            (_, Err(error)) => Err(error),
        }
    }

    /// PostgreSQL's programs for the data directory.
    ///
    /// # Errors
    /// Where none of its version are found.
    pub fn binaries(&self) -> Result<Binaries, Explanation> {
        let bin_directory = self.cluster.control.bin_directory();
        discovery::binaries(bin_directory, Some(self.data())).map_err(|e| e.explanation())
    }

    /// The private place of the recovering server.
    ///
    /// # Errors
    /// Where the data directory cannot be looked at.
    pub fn closed(&self) -> Result<ClosedServer, Explanation> {
        let owner = self.data_owner()?;
        let major = control_file::major_version(self.data()).map_err(|e| e.explanation())?;
        let mut closed = ClosedServer::of(self.data(), &owner, major);
        if let Some(beside) = &self.beside {
            closed.port = beside.port;
        }
        Ok(closed)
    }

    /// # Errors
    /// Where the data directory cannot be looked at.
    pub fn data_owner(&self) -> Result<Owner, Explanation> {
        discovery::owner(self.data()).map_err(|e| e.explanation())
    }

    /// Where the recovering server writes what it does.
    #[must_use]
    pub fn recovery_log(&self) -> PathBuf {
        let mut name = self.data().file_name().unwrap_or_default().to_os_string();
        name.push(".recovery.log");
        self.data().with_file_name(name)
    }

    /// Starts the restored server so that nobody else can reach it; it may replay for long.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start_closed(&self) -> Result<(), Explanation> {
        let closed = self.closed()?;
        closed.prepare().map_err(|e| e.explanation())?;
        let mut options = closed.start_recovery(&self.recovery_log());
        options.settings.extend(self.closed_settings()?);
        self.driver()?.start(&options).map(|_| ()).map_err(|e| e.explanation())
    }

    /// As [`Site::adjusted_settings`], and without what runs jobs by itself: pg_cron starts them the
    /// moment recovery ends, and before 1.5 has no setting that keeps it from that.
    fn closed_settings(&self) -> Result<Vec<(String, String)>, Explanation> {
        // Where the configuration cannot be read, the start itself says why.
        let Ok(configured) = self.preloaded() else { return self.adjusted_settings() };
        let is_jobs = |library: &String| library.rsplit('/').next() == Some(closed::RUNS_JOBS);
        // An interrupted start may have left its settings where the configuration is read from.
        let earlier = control::is_held_with(self.data(), closed::LEFT_OUT);
        let jobs = configured.iter().any(is_jobs) || earlier;
        let without = &self.adjusted.without_libraries;
        if !jobs && without.is_empty() {
            return Ok(Vec::new());
        }
        let left: Vec<String> = configured
            .into_iter()
            .filter(|library| !without.contains(library) && !is_jobs(library))
            .collect();
        let mut settings = vec![(PRELOAD.to_owned(), left.join(","))];
        if jobs {
            settings.push((closed::LEFT_OUT.to_owned(), closed::RUNS_JOBS.to_owned()));
        }
        Ok(settings)
    }

    /// Starts the server as its own configuration says.
    ///
    /// # Errors
    /// Where it does not start, or takes no connections within the limit.
    pub fn start_open(&self) -> Result<(), Explanation> {
        let mut settings = self.adjusted_settings()?;
        settings.extend(self.adjusted.port.map(|port| ("port".to_owned(), port.to_string())));
        let options =
            StartOptions { settings, wait: StartWait::Ready(OPEN_LIMIT), ..Default::default() };
        self.driver()?.start(&options).map(|_| ()).map_err(|e| e.explanation())
    }

    /// Settings of a start that cures have changed.
    fn adjusted_settings(&self) -> Result<Vec<(String, String)>, Explanation> {
        let without = &self.adjusted.without_libraries;
        if without.is_empty() {
            return Ok(Vec::new());
        }
        let left: Vec<String> =
            self.preloaded()?.into_iter().filter(|library| !without.contains(library)).collect();
        Ok(vec![(PRELOAD.to_owned(), left.join(","))])
    }

    /// The libraries that the data directory's configuration loads at the start.
    ///
    /// # Errors
    /// Where the server's programs cannot be asked.
    pub fn preloaded(&self) -> Result<Vec<String>, Explanation> {
        let (owner, binaries) = (self.data_owner()?, self.binaries()?);
        let file = layout::config_file(&self.configured());
        let file = file.as_deref();
        let value = recovery_settings::configured(self.data(), &owner, &binaries, file, PRELOAD)
            .map_err(|e| e.explanation())?;
        let names = value.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        Ok(names.filter(|name| !name.is_empty()).collect())
    }

    /// Ends fetching ahead and takes its empty folder away. What could not be cleared stays and
    /// harms nothing: it holds copies alone.
    pub fn clear_spool(&self) {
        let folder = self.spool();
        if spool::stop(&folder, Duration::from_secs(5)) {
            let inner = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            for one in inner {
                let _ = std::fs::remove_dir_all(one.path());
            }
            let _ = std::fs::remove_dir(&folder);
        }
    }

    /// Takes the private place of the recovering server away once it runs there no more. One that
    /// was killed has left its socket behind.
    ///
    /// # Errors
    /// Where something of it could not be removed.
    pub fn clear_closed(&self) -> Result<(), Explanation> {
        let closed = self.closed()?;
        let name = format!(".s.PGSQL.{}", closed.port);
        for left in [format!("{name}.lock"), name] {
            let path = closed.socket_directory.join(left);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(&error, "remove", &path));
                }
                _ => {}
            }
        }
        closed.remove().map_err(|e| e.explanation())
    }

    /// A watch on the recovering server.
    ///
    /// # Errors
    /// Where the data directory cannot be looked at.
    pub fn watch(&self, plan: &Plan) -> Result<RecoveryWatch, Explanation> {
        Ok(RecoveryWatch::new(
            self.closed()?.connection(&self.cluster.connection),
            self.data().to_owned(),
            self.recovery_log(),
            plan.target.point.clone(),
            self.expected_end(plan),
        ))
    }

    /// Where the WAL ends for a recovery to the end of the archive: the shutdown checkpoint of the
    /// directory set aside where its server was stopped in order, else the last commit known.
    fn expected_end(&self, plan: &Plan) -> Option<Lsn> {
        if plan.target.point != TargetPoint::EndOfArchive {
            return plan.replay_until;
        }
        if plan.ends_at.is_some() {
            return plan.ends_at;
        }
        control_file::read(Path::new(&plan.aside))
            .ok()
            .filter(|control| control.state == ClusterState::ShutDown)
            // Of another timeline than the one that is followed it says nothing.
            .filter(|control| plan.timeline.is_none_or(|t| t == control.checkpoint.timeline))
            .map(|control| control.checkpoint.lsn)
            .max(plan.replay_until)
    }

    /// Whether the server in the data directory has left recovery for good.
    ///
    /// A promotion takes the signal file away first and writes its end into `pg_control` last. A
    /// server that was killed between the two is not promoted: an ordinary start would replay all
    /// that lies in `pg_wal`, past the target.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn is_promoted(
        &self,
        plan: &Plan,
        runtime: &tokio::runtime::Handle,
    ) -> Result<bool, Explanation> {
        if self.is_told_to_recover() {
            return Ok(false);
        }
        if !self.running()? {
            let control = control_file::read(self.data()).map_err(|e| e.explanation())?;
            let ended = !matches!(
                control.state,
                ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery
            );
            return Ok(ended && timeline_of(&control) > plan.base.timeline);
        }
        for connection in self.ways_in()? {
            if let Some(told) = self.told_by_own(&connection, runtime) {
                return Ok(!told.in_recovery);
            }
        }
        Ok(false)
    }

    /// Whether the server's next start goes on recovering.
    #[must_use]
    pub fn is_told_to_recover(&self) -> bool {
        ["recovery.signal", "standby.signal"].iter().any(|name| self.data().join(name).exists())
    }

    /// The timeline that the server in the data directory is on, running or not.
    ///
    /// # Errors
    /// Where `pg_control` cannot be read.
    pub fn timeline(&self) -> Result<TimelineId, Explanation> {
        let control = control_file::read(self.data()).map_err(|e| e.explanation())?;
        Ok(timeline_of(&control))
    }

    /// Whether the server takes connections as the application makes them.
    #[must_use]
    pub fn is_open(&self, runtime: &tokio::runtime::Handle) -> bool {
        let told = self.told_by_own(&self.cluster.connection, runtime);
        told.is_some_and(|told| !told.in_recovery)
    }

    /// What the server in the data directory says through `connection`; nothing where it does not
    /// run, nobody answers, or another server does: that one says nothing of this one.
    fn told_by_own(
        &self,
        connection: &Connection,
        runtime: &tokio::runtime::Handle,
    ) -> Option<Answered> {
        let running = discovery::running(self.data()).ok()?;
        let own = running.postmaster()?;
        let system = control_file::read(self.data()).ok()?.system_identifier;
        let told = runtime.block_on(Answered::by(connection))?;
        told.is_of(system, own).then_some(told)
    }

    /// Takes the recovery's settings out. Where prepared transactions wait, or that cannot be told,
    /// room for them stays: a server with less refuses to start. Says so then.
    ///
    /// # Errors
    /// Where it recovers still, or the file cannot be read or written.
    pub(super) fn take_out_settings(&self) -> Result<Option<String>, Explanation> {
        let waiting = self.prepared()?;
        let kept = waiting != Waiting::None;
        let kept = recovery_settings::remove_but(self.data(), &self.data_owner()?, kept)
            .map_err(|e| e.explanation())?;
        let Some(value) = kept else { return Ok(None) };
        let who = match waiting {
            Waiting::Some(1) => String::from("1 prepared transaction waits for its end"),
            Waiting::Some(count) => format!("{count} prepared transactions wait for their end"),
            Waiting::None | Waiting::Unknown => {
                String::from("prepared transactions may wait for their end")
            }
        };
        Ok(Some(format!(
            "{who}, so max_prepared_transactions stays {RAISED_TO}{value} in postgresql.auto.conf: with \
             less the server would refuse to start. Once they are decided, the safety list takes it \
             out"
        )))
    }

    /// The prepared transactions in the data directory of a server that is down.
    fn prepared(&self) -> Result<Waiting, Explanation> {
        let control = control_file::read(self.data()).map_err(|e| e.explanation())?;
        // Only a shutdown in order has written all of them into their folder.
        if self.running()? || control.state != ClusterState::ShutDown {
            return Ok(Waiting::Unknown);
        }
        let folder = self.data().join("pg_twophase");
        let entries = std::fs::read_dir(&folder).map_err(|e| io(&e, "read", &folder))?;
        Ok(match entries.count() {
            0 => Waiting::None,
            count => Waiting::Some(count),
        })
    }

    /// Whether another server than this one answers where the application looks for it.
    pub(super) fn is_another(&self, runtime: &tokio::runtime::Handle) -> bool {
        let connection = &self.cluster.connection;
        runtime.block_on(Answered::by(connection)).is_some()
            && self.told_by_own(connection, runtime).is_none()
    }

    /// The private way in and the ordinary one.
    fn ways_in(&self) -> Result<[Connection; 2], Explanation> {
        let ordinary = self.cluster.connection.clone();
        Ok([self.closed()?.connection(&ordinary), ordinary])
    }
}

/// Prepared transactions that nobody has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    None,
    Some(usize),
    Unknown,
}

/// The last checkpoint's, or where replay and promotion have gone since.
fn timeline_of(control: &ControlFile) -> TimelineId {
    control.checkpoint.timeline.max(control.minimum_recovery_timeline)
}
