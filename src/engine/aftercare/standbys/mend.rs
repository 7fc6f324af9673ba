//! Bringing one local standby behind the recovered server: by `pg_rewind`, or by a fresh copy. Both
//! are made beside it and put in its place when they are whole, so that whatever fails before leaves
//! it as it was; starting it again is tried, and PostgreSQL refuses that where it has heard of the
//! new timeline: then it is said to be down. What it was is kept, whole.

use super::{Local, MADE, address, follows, is_standby, systemctl};
use crate::engine::aftercare::ward::Ward;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::child;
use crate::engine::postgres::control::{
    Driver, PgCtl, StartOptions, StartWait, StopMode, Systemctl, Systemd,
};
use crate::engine::postgres::discovery::{self, Binaries, Owner};
use crate::engine::postgres::layout::DebianCluster;
use crate::engine::restore::plan::beside;
use crate::engine::restore::steps::io;
use crate::engine::runner::failpoint;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const STOP_LIMIT: Duration = Duration::from_secs(120);
const COPY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// The files of a directory's own configuration, which a copy of the primary's would overwrite.
const OWN: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

/// Bringing one local standby behind the recovered server.
pub(super) struct Mend<'a> {
    ward: &'a Ward<'a>,
    standby: &'a Local,
    owner: Owner,
    binaries: Binaries,
    driver: Box<dyn Driver>,
    /// What takes the standby's place.
    made: PathBuf,
}

impl<'a> Mend<'a> {
    pub(super) fn of(ward: &'a Ward<'_>, standby: &'a Local) -> Result<Self, Explanation> {
        let directory = &standby.directory;
        let owner = discovery::owner(&standby.origin).map_err(|e| e.explanation())?;
        let binaries = ward.site.binaries()?;
        let mut log = directory.file_name().unwrap_or_default().to_os_string();
        log.push(".standby.log");
        let log = directory.with_file_name(log);
        // As Debian has it, its configuration is not in the directory.
        let debian = DebianCluster::of(directory).map(|debian| debian.config_file);
        let inner = PgCtl::new(binaries.clone(), owner.clone(), directory, log);
        let inner = inner.configured_by(debian);
        // What a unit runs is stopped and started through it: systemd would start it in between.
        let driver: Box<dyn Driver> = match standby.unit.clone() {
            Some(unit) => {
                let words = systemctl(ward).unwrap_or_else(|| vec![String::from("systemctl")]);
                Box::new(Systemd::new(Systemctl::new(words), unit, owner.clone(), inner))
            }
            None => Box::new(inner),
        };
        let made = beside(directory, MADE, Timestamp::now());
        Ok(Self { ward, standby, owner, binaries, driver, made })
    }

    /// A copy is rewound to the recovered server.
    pub(super) fn rewind(&self, kept: &Path) -> Result<(), Explanation> {
        self.within_itself(
            "a copy of the directory would not keep them, and pg_rewind would change them",
        )?;
        self.confirm()?;
        self.stop()?;
        failpoint::hit("care.standby_stopped");
        let made = self.rewound().and_then(|()| self.put_in_place(kept));
        made.map_err(|why| self.as_before(why))?;
        self.start()
    }

    fn rewound(&self) -> Result<(), Explanation> {
        self.ward.tell("copying the standby", 0, None);
        self.program("cp".into(), |c| {
            c.args(["-a", "--reflink=auto"]).arg(&self.standby.directory).arg(&self.made);
        })?;
        self.ward.tell("pg_rewind", 0, None);
        self.program(self.binaries.program("pg_rewind"), |c| {
            c.arg("--target-pgdata").arg(&self.made).arg("--source-server").arg(self.source());
            self.with_password(c);
        })?;
        self.own_configuration()
    }

    /// A fresh copy is made while the standby goes on.
    pub(super) fn copy(&self, kept: &Path) -> Result<(), Explanation> {
        self.within_itself("a fresh copy would have to go where they are")?;
        self.confirm()?;
        self.ward.tell("copying the recovered server", 0, None);
        let copied = self.program(self.binaries.program("pg_basebackup"), |c| {
            c.arg("-D")
                .arg(&self.made)
                .args(["-X", "stream", "-c", "fast", "-d"])
                .arg(self.source());
            self.with_password(c);
        });
        let ready = copied.and_then(|()| self.own_configuration()).and_then(|()| self.stop());
        let placed = ready.and_then(|()| self.put_in_place(kept));
        placed.map_err(|why| self.as_before(why))?;
        self.start()
    }

    fn stop(&self) -> Result<(), Explanation> {
        if self.standby.at.is_none() {
            return Ok(());
        }
        self.driver.stop(StopMode::Fast, STOP_LIMIT).map(|_| ()).map_err(|e| e.explanation())
    }

    /// What was made takes the place of the directory, which is kept.
    fn put_in_place(&self, kept: &Path) -> Result<(), Explanation> {
        let directory = &self.standby.directory;
        self.confirm()?;
        let was = directory.exists();
        if was {
            std::fs::rename(directory, kept).map_err(|e| io(&e, "move aside", directory))?;
        }
        failpoint::hit("care.standby_moved");
        std::fs::rename(&self.made, directory).map_err(|e| {
            let failed = io(&e, "put in its place", &self.made);
            match was.then(|| std::fs::rename(kept, directory)) {
                Some(Err(e)) => io(&e, "put back", directory),
                _ => failed,
            }
        })
    }

    /// After a failure: what was made goes, and what was stopped is started again.
    fn as_before(&self, why: Explanation) -> Explanation {
        let removed = !self.made.exists() || std::fs::remove_dir_all(&self.made).is_ok();
        let left = match removed {
            true => String::new(),
            false => format!(" What was begun is left in {}.", self.made.display()),
        };
        let untouched = match (&self.standby.at, self.driver.status()) {
            (None, _) => {
                "The recovered server is untouched, and the standby is as it was.".to_owned()
            }
            (Some(_), Ok(discovery::Running::Yes(_))) => {
                String::from("The recovered server is untouched, and the standby runs as before.")
            }
            (Some(_), _) => {
                let wait = StartWait::Ready(FOLLOW_LIMIT);
                match self.driver.start(&StartOptions { wait, ..Default::default() }) {
                    Ok(_) => String::from(
                        "The recovered server is untouched; the standby was started again as it was.",
                    ),
                    Err(error) => format!(
                        "The recovered server is untouched. The standby is as it was, and is DOWN: {error}"
                    ),
                }
            }
        };
        Explanation { untouched: format!("{untouched}{left}"), ..why }
    }

    /// Refuses a directory whose WAL or tablespaces lie elsewhere, before anything is stopped.
    fn within_itself(&self, why: &str) -> Result<(), Explanation> {
        let directory = &self.standby.origin;
        let linked = directory.join("pg_wal").is_symlink()
            || std::fs::read_dir(directory.join("pg_tblspc"))
                .map_or(true, |mut entries| entries.next().is_some());
        if !linked {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Refused,
            format!("Parts of {} lie outside it: {why}.", directory.display()),
            "Nothing was touched.",
            "Take a fresh copy of the standby by hand.",
        ))
    }

    /// It is still a standby of this cluster, and not the recovered server itself.
    fn confirm(&self) -> Result<(), Explanation> {
        let (directory, origin) = (&self.standby.directory, &self.standby.origin);
        let own = self.ward.site.identity()?;
        if is_standby(origin, own.system_identifier) && directory != Path::new(&own.data_directory)
        {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Refused,
            format!("{} is not the standby that was looked at.", directory.display()),
            "It was not changed.",
            "Look again.",
        ))
    }

    /// libpq's words for the recovered server, without a secret.
    fn source(&self) -> String {
        let connection = &self.ward.site.cluster.connection;
        let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        format!(
            "host={} port={} user={} dbname={} application_name=lifeboat",
            quoted(&connection.host),
            connection.port,
            quoted(&connection.user),
            quoted(&connection.database)
        )
    }

    fn with_password(&self, command: &mut std::process::Command) {
        if let Some(passfile) = &self.ward.site.cluster.connection.passfile {
            command.env("PGPASSFILE", passfile);
        }
    }

    fn program(
        &self,
        program: PathBuf,
        arguments: impl FnOnce(&mut std::process::Command),
    ) -> Result<(), Explanation> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ran = child::command(&program, &self.owner).and_then(|mut command| {
            arguments(&mut command);
            child::run(command, COPY_LIMIT)
        });
        let said = match ran {
            Ok(finished) if finished.ok() => return Ok(()),
            Ok(finished) => finished.said(),
            Err(error) => error.to_string(),
        };
        Err(Explanation::new(
            Kind::Server,
            format!("{name} did not bring the standby back: {said}"),
            "The recovered server is untouched.",
            "Look at the reason, then look again: what can be done is proposed anew.",
        ))
    }

    /// What the standby was configured with before, and the word to be one.
    fn own_configuration(&self) -> Result<(), Explanation> {
        for name in OWN.iter().chain(&["standby.signal"]) {
            let (from, to) = (self.standby.origin.join(name), self.made.join(name));
            if !from.exists() {
                continue;
            }
            std::fs::copy(&from, &to)
                .and_then(|_| child::give(&to, &self.owner))
                .map_err(|e| io(&e, "put back", &to))?;
        }
        Ok(())
    }

    fn start(&self) -> Result<(), Explanation> {
        self.ward.tell("starting the standby", 0, None);
        let options = StartOptions { wait: StartWait::Ready(FOLLOW_LIMIT), ..Default::default() };
        self.driver.start(&options).map_err(|e| e.explanation())?;
        let ours = self.ward.site.timeline()?;
        let end = Instant::now() + FOLLOW_LIMIT;
        loop {
            let at = address(&self.standby.directory);
            let told = follows(self.ward, &Local { at, ..self.standby.clone() });
            if told == Ok(Some(ours)) {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Explanation::new(
                    Kind::Server,
                    format!(
                        "The standby runs and does not follow after {} s.",
                        FOLLOW_LIMIT.as_secs()
                    ),
                    "The recovered server is untouched.",
                    "Its log says why: a slot that is not there yet, or a primary_conninfo that \
                     leads elsewhere.",
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }
}
