//! The proof of a backup: it is restored into a folder of our own, checked by PostgreSQL's own
//! judge, started closed, replayed to where it is consistent, and counted. Owns that folder and
//! removes it whole at the end, and nothing else.
//!
//! The copy can reach nothing: no TCP, a socket in a private folder, its own access rules, no
//! archiving, no subscriptions, no preloaded libraries, no autovacuum. It has a configuration of
//! its own making, so that it starts wherever the cluster keeps its own, and none that came with
//! the backup. It is never promoted: it makes no timeline.

use super::Say;
use super::error::InitError;
use super::rows::{self, Count};
use crate::engine::config::{Cluster, Config, Connection};
use crate::engine::drill::place::{self, Holds, Place};
use crate::engine::explain::Explain;
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::postgres::apart::{Apart, Wanted};
use crate::engine::postgres::child;
use crate::engine::postgres::control::{Driver, PgCtl, StartOptions, StartWait, StopMode};
use crate::engine::postgres::discovery::{self, Binaries, Owner};
use crate::engine::postgres::recovery_settings::restore_command;
use crate::engine::repository::Repository;
use crate::engine::restore::base;
use crate::engine::runner::work::Report;
use crate::engine::validate::check::begin;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long the copy may replay.
const REPLAY_LIMIT: Duration = Duration::from_secs(3_600);
const VERIFY_LIMIT: Duration = Duration::from_secs(24 * 3_600);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What a proof found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub set: String,
    /// The worst of the checks that could be run: a program of PostgreSQL's that is not installed
    /// leaves its check NOT RUN, which the page says.
    pub verdict: Verdict,
    pub checks: Vec<Check>,
    /// The restore alone, milliseconds; absent where it failed.
    pub restore_ms: Option<u64>,
    /// From the first byte to the last count, milliseconds.
    pub total_ms: u64,
}

/// What is to be proven, and with what.
#[derive(Debug)]
pub struct Subject<'a> {
    pub config: &'a Config,
    pub cluster: &'a Cluster,
    pub repository: &'a Repository,
    /// `set-YYYYMMDD-HHMMSS`.
    pub set: &'a str,
    /// The server's counts before the backup; empty where it was not taken in this run.
    pub before: &'a [Count],
    /// The program that fetches WAL for the copy.
    pub program: &'a Path,
    /// Where to make the folder; the first for temporary files that fits where absent.
    pub directory: Option<&'a Path>,
}

/// Restores the set and looks at it. Never fails: what could not be done is a check that says so.
#[must_use]
pub fn prove(subject: &Subject<'_>, runtime: &Runtime, report: Report<'_>, say: Say<'_>) -> Proof {
    let begun = Instant::now();
    let mut proof = Proof {
        set: subject.set.to_owned(),
        verdict: Verdict::NotRun,
        checks: Vec::new(),
        restore_ms: None,
        total_ms: 0,
    };
    let clock = begin("sandbox", "The backup can be restored and started");
    match Copy::make(subject) {
        Ok(copy) => {
            if let Err(error) = copy.examine(subject, runtime, report, say, &mut proof) {
                proof.checks.push(clock.could_not_verify(error.explanation().to_string()));
            }
            if let Err(error) = copy.clear() {
                let text = error.explanation().to_string();
                proof.checks.push(begin("cleared", "The copy is gone").could_not_verify(text));
            }
        }
        Err(error) => proof.checks.push(clock.could_not_verify(error.explanation().to_string())),
    }
    proof.verdict = Verdict::overall(proof.checks.iter().map(|check| check.verdict));
    proof.total_ms = milliseconds(begun);
    proof
}

/// The restored copy in its folder; cleared away when it is dropped.
struct Copy {
    place: Place,
    owner: Owner,
    cleared: bool,
}

impl Copy {
    fn make(subject: &Subject<'_>) -> Result<Self, InitError> {
        let owner = Owner::current();
        // What a killed proof or drill left goes first; it may be what fills the disk.
        let _ = place::sweep(subject.directory);
        let place = Place::make(subject.directory, None, &owner, Holds::Data)
            .map_err(|e| e.explanation())?;
        let copy = Self { place, owner, cleared: false };
        let folder = copy.folder();
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(InitError::file(&folder, "it could not be made"))?;
        Ok(copy)
    }

    fn folder(&self) -> PathBuf {
        self.place.root().join("cluster")
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("server.log")
    }

    fn examine(
        &self,
        subject: &Subject<'_>,
        runtime: &Runtime,
        report: Report<'_>,
        say: Say<'_>,
        proof: &mut Proof,
    ) -> Result<(), InitError> {
        say(&format!("Proving {}: restoring it into {}", subject.set, self.place.root().display()));
        let clock = begin("restore", "The backup restores");
        let started = Instant::now();
        let descriptor = subject.repository.read_set(subject.set)?;
        let spaces = descriptor.tablespaces.iter().map(|space| {
            (space.oid, self.folder().join("tablespaces").join(space.oid.to_string()))
        });
        let options = base::Options {
            tablespaces: spaces.collect(),
            ..base::Options::new("proof", report, &|| false)
        };
        let restored = base::restore(subject.repository, subject.set, &self.data(), &options)
            .map_err(|error| error.explanation())?;
        proof.restore_ms = Some(milliseconds(started));
        proof.checks.push(
            clock
                .found(format!("{} files, {} bytes", restored.files, restored.bytes))
                .verified("Every byte's tag was checked before it was used."),
        );
        let bin_directory = subject.cluster.control.bin_directory();
        let binaries = discovery::binaries(bin_directory, Some(&self.data()))?;
        proof.checks.push(self.judge(&binaries));
        let connection = self.start(subject, &binaries, say)?;
        proof.checks.push(
            begin("consistent", "It starts and replays to where it is consistent")
                .verified("It takes connections, which a server in recovery does only then."),
        );
        proof.checks.extend(runtime.block_on(compare(subject, &connection)));
        Ok(())
    }

    /// PostgreSQL's own judgement of the files, before the server touches them.
    fn judge(&self, binaries: &Binaries) -> Check {
        let begun = begin("pg_verifybackup", "pg_verifybackup finds every file as it was");
        let Some(program) = binaries.optional("pg_verifybackup") else {
            return begun.not_run("This installation of PostgreSQL has no pg_verifybackup.");
        };
        let ran = child::command(&program, &self.owner).and_then(|mut command| {
            // The WAL that it would look for is in the repository and not in the copy.
            command.arg("--no-parse-wal").arg("--quiet").arg(self.data());
            child::run(command, VERIFY_LIMIT)
        });
        match ran {
            Ok(ended) if ended.ok() => begun.verified("Sizes and checksums of all files hold."),
            Ok(ended) => begun.failed(ended.said()),
            Err(error) => begun.could_not_verify(error.to_string()),
        }
    }

    fn start(
        &self,
        subject: &Subject<'_>,
        binaries: &Binaries,
        say: Say<'_>,
    ) -> Result<Connection, InitError> {
        let fetch = [
            subject.program.display().to_string(),
            String::from("--config"),
            subject.config.path.display().to_string(),
            String::from("restore-wal"),
            String::from("--cluster"),
            subject.cluster.name.clone(),
            String::from("%f"),
            String::from("%p"),
        ];
        let settings = [
            ("restore_command", restore_command(&fetch)),
            ("recovery_target", String::from("immediate")),
            ("recovery_target_action", String::from("pause")),
        ];
        let wanted = Wanted {
            heading: "the copy that proves a backup.",
            shared_buffers: "32MB",
            settings: settings.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            signal: Some("recovery.signal"),
        };
        let (folder, data) = (self.folder(), self.data());
        let apart =
            Apart { home: &folder, data: &data, socket: self.place.socket(), owner: &self.owner };
        let file = apart.furnish(&wanted).map_err(|error| error.explanation())?;
        say("Starting the copy: closed to everybody, archiving nothing");
        self.driver(binaries).start(&StartOptions {
            settings: vec![(String::from("config_file"), file.display().to_string())],
            log: None,
            wait: StartWait::Ready(REPLAY_LIMIT),
        })?;
        let live = &subject.cluster.connection;
        Ok(apart.connection(&live.user, &live.database))
    }

    fn driver(&self, binaries: &Binaries) -> PgCtl {
        PgCtl::new(binaries.clone(), self.owner.clone(), &self.data(), self.log())
    }

    fn clear(mut self) -> Result<(), InitError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), InitError> {
        if std::mem::replace(&mut self.cleared, true) {
            return Ok(());
        }
        // Whatever this does not stop, the clearing of the folder ends by force.
        if let Ok(binaries) = discovery::binaries(None, Some(&self.data())) {
            let _ = self.driver(&binaries).stop(StopMode::Fast, STOP_LIMIT);
        }
        self.place.clear().map(drop).map_err(|error| InitError::Engine(error.explanation()))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The copy's rows against the server's.
async fn compare(subject: &Subject<'_>, copy: &Connection) -> Vec<Check> {
    let live = &subject.cluster.connection;
    let tables = if subject.before.is_empty() {
        match rows::count_some(live).await {
            Ok(tables) => tables,
            Err(reason) => {
                let begun = begin("rows", "Tables have their rows");
                return vec![begun.could_not_verify(reason)];
            }
        }
    } else {
        subject.before.to_vec()
    };
    let now = rows::count_again(live, &tables).await;
    let restored = rows::count_again(copy, &tables).await;
    tables
        .iter()
        .zip(now.iter().zip(&restored))
        .map(|(of, (now, restored))| {
            let before = (!subject.before.is_empty()).then_some(of);
            rows::judge(before, now, restored, of)
        })
        .collect()
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
