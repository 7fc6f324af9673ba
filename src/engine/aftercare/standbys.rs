//! Standbys: those that followed the damaged server have gone past the recovery point and cannot
//! simply go on. Owns saying which, and, for one on this machine, bringing it behind the new
//! timeline: by `pg_rewind`, or by a fresh copy. What it was before is kept beside it, whole.

mod before;

pub use before::note_connected;

use super::Item;
use super::ward::{Found, Ward, field};
use crate::engine::config::{Connection, Tls};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::init::discover;
use crate::engine::postgres::child;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::control::{Driver, PgCtl, StartOptions, StartWait, StopMode};
use crate::engine::postgres::control_file;
use crate::engine::postgres::discovery::{self, Binaries, Owner};
use crate::engine::postgres::layout::DebianCluster;
use crate::engine::restore::plan::beside;
use crate::engine::restore::steps::io;
use crate::engine::validate::check::begin;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const ITEM: Item = Item {
    id: "standbys",
    title: "Standbys follow the new timeline",
    looks: "Compares standbys of before with those that are connected, and looks at local ones.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

const CONNECTED: &str = "SELECT application_name, coalesce(host(client_addr), 'this host'), state \
     FROM pg_stat_replication ORDER BY 1, 2";

const STOP_LIMIT: Duration = Duration::from_secs(120);
const COPY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);

/// The files of a directory's own configuration, which a copy of the primary's would overwrite.
const OWN: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let now = match ward.ask(CONNECTED) {
        Ok(rows) => rows,
        Err(why) => {
            let begun = begin("standbys:server", "Connected standbys can be listed");
            return begun.could_not_verify(why).into();
        }
    };
    for row in &now {
        let (name, host, state) = (field(row, 0), field(row, 1), field(row, 2));
        let begun = begin(format!("standbys:{name}@{host}"), format!("{name} at {host}"));
        found.check(match state {
            "streaming" => begun.found(state).verified("It follows the recovered server."),
            other => {
                begun.found(other).could_not_verify("It is connected and does not follow yet.")
            }
        });
    }
    let back: Vec<String> =
        now.iter().map(|row| format!("{} at {}", field(row, 0), field(row, 1))).collect();
    let notes = ward.incident.steps.iter().flat_map(|step| &step.notes);
    let before = before::Before::of(notes.map(|(name, text)| (name.as_str(), text.as_str())));
    for before in before.standbys.iter().filter(|text| !back.contains(text)) {
        found.check(
            begin(format!("standbys:before:{before}"), format!("{before} (before the recovery)"))
                .found("not connected")
                .failed(
                    "It has gone past the recovery point. On its machine: pg_rewind against this \
                     server, or a fresh copy; then let it follow this one.",
                ),
        );
    }
    let local = locals(ward);
    for standby in &local {
        judge_local(ward, standby, &mut found);
    }
    if let Some(why) = before.unknown {
        found.check(
            begin("standbys:before", "All standbys of before are known")
                .found("not known")
                .could_not_verify(format!(
                    "{}. Ask whoever runs them; each must come behind this server, by pg_rewind or \
                     a fresh copy.",
                    why.trim_end_matches('.')
                )),
        );
    }
    if found.checks.is_empty() {
        found.check(
            begin("standbys", "Standbys follow the new timeline")
                .found("none")
                .verified("None was connected before the recovery, and none runs on this machine."),
        );
    }
    found
}

/// A standby of this cluster on this machine.
#[derive(Debug, Clone)]
struct Local {
    directory: PathBuf,
    host: String,
    port: u16,
}

fn locals(ward: &Ward<'_>) -> Vec<Local> {
    let Ok(own) = ward.site.identity() else { return Vec::new() };
    let data = ward.site.data().canonicalize().unwrap_or_else(|_| ward.site.data().to_owned());
    discover::servers()
        .found
        .into_iter()
        .filter(|found| found.data_directory != data && is_standby(&found.data_directory))
        .filter(|found| {
            control_file::read(&found.data_directory)
                .is_ok_and(|control| control.system_identifier == own.system_identifier)
        })
        .map(|found| Local {
            host: found.host(),
            port: found.port,
            directory: found.data_directory,
        })
        .collect()
}

fn is_standby(directory: &Path) -> bool {
    directory.join("standby.signal").exists()
}

fn judge_local(ward: &Ward<'_>, standby: &Local, found: &mut Found) {
    let place = standby.directory.display().to_string();
    let begun = begin(format!("standbys:local:{place}"), format!("The standby in {place}"));
    let timeline = ward.site.timeline();
    let follows = follows(ward, standby);
    match (timeline, follows) {
        (Ok(ours), Ok(Some(theirs))) if ours == theirs => {
            found.check(begun.found(format!("timeline {theirs}")).verified("It follows."));
        }
        (Err(why), _) => found.check(begun.could_not_verify(why.to_string())),
        (_, Err(why)) => found.check(begun.could_not_verify(why)),
        (Ok(_), Ok(_)) => {
            let rewindable = control_file::read(&standby.directory)
                .is_ok_and(|control| control.wal_log_hints || control.data_checksum_version > 0);
            let group = Some(place.clone());
            let mut propose = |key: String, text: String| {
                found.proposals.push(Proposal { key, text, group: group.clone() });
            };
            if rewindable {
                propose(
                    format!("rewind:{place}"),
                    format!("Copy {place} aside, then pg_rewind it to this server and start it"),
                );
            }
            propose(
                format!("copy:{place}"),
                format!("Move {place} aside and fill it with a fresh copy of this server"),
            );
            let how = if rewindable {
                "pg_rewind can bring it back, or a fresh copy."
            } else {
                "It has neither page checksums nor wal_log_hints, so only a fresh copy helps."
            };
            found.check(begun.found("does not follow").failed(format!(
                "It has gone past the recovery point. {how} What it is now is kept beside it."
            )));
        }
    }
}

/// The timeline that a standby receives; `None` where it receives none.
fn follows(ward: &Ward<'_>, standby: &Local) -> Result<Option<u32>, String> {
    let connection = Connection {
        host: standby.host.clone(),
        port: standby.port,
        passfile: ward.connection.passfile.clone(),
        tls: Tls::Off,
        root_certificate: None,
        ..ward.site.cluster.connection.clone()
    };
    let sql = "SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    let ask = async {
        let options = ConnectOptions::default();
        let session =
            connect::connect(&connection, &options).await.map_err(|error| error.to_string())?;
        let row = session.query_opt(sql, &[]).await.map_err(|e| connect::reason(&e))?;
        Ok(row.and_then(|row| row.try_get::<_, i32>(0).ok()).and_then(|n| u32::try_from(n).ok()))
    };
    ward.runtime.block_on(ask)
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let all = locals(ward);
    let each = proposals.iter().filter_map(|proposal| {
        let (how, place) = proposal.key.split_once(':')?;
        let standby = all.iter().find(|one| one.directory == Path::new(place))?;
        let begun = begin(format!("standbys:did:{place}"), format!("{place}: {how}"));
        let mend = Mend::of(ward, standby);
        let kept = beside(&standby.directory, "before-recovery", Timestamp::now());
        let done = mend
            .and_then(|mend| if how == "rewind" { mend.rewind(&kept) } else { mend.copy(&kept) });
        let kept = kept.exists().then(|| format!("What it was is kept in {}.", kept.display()));
        let kept = kept.unwrap_or_default();
        Some(match done {
            Ok(()) => begun.verified(format!("It follows the recovered server. {kept}")),
            Err(why) => begun.failed(format!("{why} {kept}")),
        })
    });
    each.collect()
}

/// Bringing one local standby behind the recovered server.
struct Mend<'a> {
    ward: &'a Ward<'a>,
    standby: &'a Local,
    owner: Owner,
    binaries: Binaries,
    driver: PgCtl,
}

impl<'a> Mend<'a> {
    fn of(ward: &'a Ward<'_>, standby: &'a Local) -> Result<Self, Explanation> {
        let directory = &standby.directory;
        let owner = discovery::owner(directory).map_err(|e| e.explanation())?;
        let binaries = ward.site.binaries()?;
        let mut log = directory.file_name().unwrap_or_default().to_os_string();
        log.push(".standby.log");
        let log = directory.with_file_name(log);
        // As Debian has it, its configuration is not in the directory.
        let debian = DebianCluster::of(directory).map(|debian| debian.config_file);
        let driver = PgCtl::new(binaries.clone(), owner.clone(), directory, log);
        let driver = driver.configured_by(debian);
        Ok(Self { ward, standby, owner, binaries, driver })
    }

    /// A copy is kept, then the blocks that differ are taken from the recovered server.
    fn rewind(&self, kept: &Path) -> Result<(), Explanation> {
        let directory = &self.standby.directory;
        self.within_itself(
            "a copy of the directory would not keep them, and pg_rewind would change them",
        )?;
        self.confirm()?;
        self.driver.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        self.ward.tell("copying the standby aside", 0, None);
        self.program("cp".into(), |c| {
            c.args(["-a", "--reflink=auto"]).arg(directory).arg(kept);
        })?;
        self.confirm()?;
        self.ward.tell("pg_rewind", 0, None);
        self.program(self.binaries.program("pg_rewind"), |c| {
            c.arg("--target-pgdata").arg(directory).arg("--source-server").arg(self.source());
            self.with_password(c);
        })?;
        self.own_configuration(kept)?;
        self.start()
    }

    /// The directory is moved aside, then filled from the recovered server.
    fn copy(&self, kept: &Path) -> Result<(), Explanation> {
        let directory = &self.standby.directory;
        self.within_itself("a fresh copy would have to go where they are")?;
        self.confirm()?;
        self.driver.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        self.confirm()?;
        std::fs::rename(directory, kept).map_err(|e| io(&e, "move aside", directory))?;
        self.ward.tell("copying the recovered server", 0, None);
        let copied = self.program(self.binaries.program("pg_basebackup"), |c| {
            c.arg("-D")
                .arg(directory)
                .args(["-X", "stream", "-c", "fast", "-d"])
                .arg(self.source());
            self.with_password(c);
        });
        if let Err(why) = copied {
            // pg_basebackup takes away what it began. Then the standby gets its directory back.
            if !directory.exists() {
                std::fs::rename(kept, directory).map_err(|e| io(&e, "put back", directory))?;
            }
            return Err(why);
        }
        self.own_configuration(kept)?;
        self.start()
    }

    /// Refuses a directory whose WAL or tablespaces lie elsewhere, before anything is stopped.
    fn within_itself(&self, why: &str) -> Result<(), Explanation> {
        let directory = &self.standby.directory;
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
        let directory = &self.standby.directory;
        let control = control_file::read(directory).map_err(|e| e.explanation())?;
        let own = self.ward.site.identity()?;
        if control.system_identifier == own.system_identifier
            && is_standby(directory)
            && directory != Path::new(&own.data_directory)
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
    fn own_configuration(&self, kept: &Path) -> Result<(), Explanation> {
        let directory = &self.standby.directory;
        for name in OWN.iter().chain(&["standby.signal"]) {
            let (from, to) = (kept.join(name), directory.join(name));
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
            let told = follows(self.ward, self.standby);
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
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
