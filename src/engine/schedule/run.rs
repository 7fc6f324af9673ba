//! The scheduler's loop: what is due is done, one job at a time, and told. Owns the lock that
//! keeps it alone on its machine; never decides what a job does.

use super::Job;
use super::alarm::Alarm;
use super::calendar::{self, Due, Reason};
use super::record::{self, Outcome, Record};
use crate::engine::config::Cluster;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The alarms are looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// Tries for the lock: who only looks whether it is held has it for a moment.
const LOOKED_AT: u32 = 5;
/// An alarm that lasts is told again this often.
const REPEAT: SignedDuration = SignedDuration::from_hours(1);

/// What the scheduler has done for it. The alarms are asked for while a job runs.
pub trait Chores: Sync {
    /// Does one job and says what came of it.
    ///
    /// # Errors
    /// What the job's own module says.
    fn perform(
        &self,
        cluster: &Cluster,
        job: Job,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<String, Explanation>;

    /// When the newest base backup began, by the repositories' own word: it counts whoever took
    /// it. `None` where they could not be asked.
    fn newest_backup(&self, cluster: &Cluster) -> Option<Option<Timestamp>>;

    /// What somebody has to look at.
    fn alarms(&self, cluster: &Cluster, record: &Record) -> Vec<Alarm>;
}

/// What happens, for a log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Told {
    Begins { at: Timestamp, cluster: String, job: Job, reason: Reason },
    Done { at: Timestamp, cluster: String, job: Job, seconds: f64, said: String },
    Failed { at: Timestamp, cluster: String, job: Job, seconds: f64, error: Explanation },
    Alarm { at: Timestamp, cluster: String, alarm: Alarm },
    Cleared { at: Timestamp, cluster: String, alarm: Alarm },
    Next { at: Timestamp, cluster: String, job: Job, due: Timestamp },
}

/// A job and when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextRun {
    pub job: Job,
    /// In the past where it is due now.
    pub at: Timestamp,
    pub overdue: Option<Reason>,
    /// What the last try came to.
    pub last: Outcome,
}

/// Ends the loop, from a signal.
#[derive(Debug, Default)]
pub struct Stop {
    asked: Mutex<bool>,
    woken: Condvar,
}

impl Stop {
    pub fn ask(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_all();
    }

    #[must_use]
    pub fn asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; true where the end was asked for meanwhile.
    pub fn wait(&self, limit: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (asked, _) = self
            .woken
            .wait_timeout_while(asked, limit, |asked| !*asked)
            .unwrap_or_else(PoisonError::into_inner);
        *asked
    }
}

/// Held while a scheduler runs; the kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code, reason = "held for its lock")] File);

impl Alone {
    /// # Errors
    /// [`Kind::Busy`] where another scheduler runs on this machine.
    pub fn take(state_directory: &Path) -> Result<Self, Explanation> {
        let folder = record::folder(state_directory);
        let path = folder.join("lock");
        let failed = |error: io::Error| {
            Explanation::new(
                Kind::Storage,
                format!("{} could not be used: {error}.", path.display()),
                "Nothing was run.",
                "Give this user the state directory.",
            )
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        for tried in 0..LOOKED_AT {
            if tried > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            if files::lock_alone(&file).map_err(failed)? {
                return Ok(Self(file));
            }
        }
        Err(Explanation::new(
            Kind::Busy,
            format!("Another scheduler runs already: it holds {}.", path.display()),
            "Nothing was run.",
            "Let it do the work, or end it first.",
        ))
    }

    /// Whether a scheduler runs on this machine now; `None` where that cannot be looked at.
    #[must_use]
    pub fn runs(state_directory: &Path) -> Option<bool> {
        let file = match File::open(record::folder(state_directory).join("lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
            Err(_) => return None,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Some(false),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => Some(true),
            Err(_) => None,
        }
    }
}

/// When each job of a cluster runs next.
#[must_use]
pub fn next_runs(
    cluster: &Cluster,
    record: &Record,
    newest_backup: Option<Option<Timestamp>>,
    now: Timestamp,
) -> Vec<NextRun> {
    Job::ALL
        .into_iter()
        .filter_map(|job| {
            let last = known(record, job, newest_backup, now);
            match calendar::due(job, &cluster.schedule, &last, now) {
                Due::Now(reason) => Some(NextRun { job, at: now, overdue: Some(reason), last }),
                Due::At(at) => Some(NextRun { job, at, overdue: None, last }),
                Due::Never => None,
            }
        })
        .collect()
}

/// What is known of a job: for a base backup the repository's word goes before our own note.
fn known(
    record: &Record,
    job: Job,
    newest_backup: Option<Option<Timestamp>>,
    now: Timestamp,
) -> Outcome {
    let mut past = record.of(job);
    if let (Job::BaseBackup, Some(newest)) = (job, newest_backup) {
        past.last_success = newest;
        // One that lies ahead was not taken after the last try, whatever it says.
        let newest = newest.filter(|at| !calendar::is_ahead(*at, now));
        if newest.is_some_and(|at| past.last_try.is_some_and(|tried| at > tried)) {
            past.failures = 0;
        }
    }
    past
}

/// The loop and its memory.
pub struct Scheduler<'a> {
    pub clusters: &'a [Cluster],
    pub state_directory: &'a Path,
    pub chores: &'a dyn Chores,
    pub tell: &'a dyn Fn(&Told),
    /// By cluster and alarm: when it was last told.
    raised: BTreeMap<(String, String), (Timestamp, Alarm)>,
    /// The next runs as they were last told.
    announced: BTreeMap<(String, Job), Timestamp>,
    /// How often the alarms are looked at while a job runs.
    look_every: Duration,
}

impl std::fmt::Debug for Scheduler<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("raised", &self.raised).finish_non_exhaustive()
    }
}

impl<'a> Scheduler<'a> {
    #[must_use]
    pub fn new(
        clusters: &'a [Cluster],
        state_directory: &'a Path,
        chores: &'a dyn Chores,
        tell: &'a dyn Fn(&Told),
    ) -> Self {
        Self {
            clusters,
            state_directory,
            chores,
            tell,
            raised: BTreeMap::new(),
            announced: BTreeMap::new(),
            look_every: LOOK,
        }
    }

    /// Goes on until `stop` is asked.
    ///
    /// # Errors
    /// Where what was done cannot be noted: going on would do it again and again.
    pub fn run(&mut self, stop: &Stop) -> Result<(), Explanation> {
        loop {
            let next = self.pass(&Timestamp::now, &|| stop.asked())?;
            self.announce(Timestamp::now());
            let until = next.duration_since(Timestamp::now());
            let until = Duration::try_from(until).unwrap_or_default();
            // Never in a tight loop, whatever the calendar says.
            if stop.wait(until.clamp(Duration::from_secs(1), LOOK)) {
                return Ok(());
            }
        }
    }

    /// Whether nothing is wrong as of the last pass.
    #[must_use]
    pub fn sound(&self) -> bool {
        self.raised.is_empty()
    }

    /// Does all that is due, looks at the alarms, and says when to come again.
    ///
    /// # Errors
    /// As [`Scheduler::run`].
    pub fn pass(
        &mut self,
        clock: &dyn Fn() -> Timestamp,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Timestamp, Explanation> {
        let mut next = clock().saturating_add(SignedDuration::from_hours(24)).unwrap_or_default();
        for cluster in self.clusters {
            for job in Job::ALL {
                if cancelled() {
                    return Ok(next);
                }
                let record = Record::load(self.state_directory, &cluster.name);
                let newest = match job {
                    Job::BaseBackup => self.chores.newest_backup(cluster),
                    _ => None,
                };
                let past = known(&record, job, newest, clock());
                match calendar::due(job, &cluster.schedule, &past, clock()) {
                    Due::Never => {}
                    Due::At(at) => next = next.min(at),
                    Due::Now(reason) => {
                        self.perform(cluster, job, reason, record, clock, cancelled)?;
                        next = clock();
                    }
                }
            }
            self.look(cluster, clock());
        }
        Ok(next)
    }

    /// Does the job on a thread of its own and looks at all alarms meanwhile: a backup of hours
    /// must not hide that archiving stopped.
    fn watched(
        &mut self,
        cluster: &Cluster,
        job: Job,
        clock: &dyn Fn() -> Timestamp,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<String, Explanation> {
        let chores = self.chores;
        std::thread::scope(|scope| {
            let (ends, ended) = mpsc::channel::<()>();
            let worker = scope.spawn(move || {
                // Dropped at its end, however it ends.
                let _ends = ends;
                chores.perform(cluster, job, cancelled)
            });
            while ended.recv_timeout(self.look_every) == Err(RecvTimeoutError::Timeout) {
                for cluster in self.clusters {
                    self.look(cluster, clock());
                }
            }
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn perform(
        &mut self,
        cluster: &Cluster,
        job: Job,
        reason: Reason,
        mut record: Record,
        clock: &dyn Fn() -> Timestamp,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Explanation> {
        let (begun, timer) = (clock(), Instant::now());
        let name = cluster.name.clone();
        (self.tell)(&Told::Begins { at: begun, cluster: name.clone(), job, reason });
        let result = self.watched(cluster, job, clock, cancelled);
        let (at, seconds) = (clock(), timer.elapsed().as_secs_f64());
        // The end of the scheduler is no failure of the job.
        let stopped = result.as_ref().is_err_and(|e| e.kind == Kind::Cancelled) && cancelled();
        let outcome = record.of(job).after(begun, &result);
        (self.tell)(&match result {
            Ok(said) => Told::Done { at, cluster: name.clone(), job, seconds, said },
            Err(error) => Told::Failed { at, cluster: name.clone(), job, seconds, error },
        });
        if stopped {
            return Ok(());
        }
        record.jobs.insert(job, outcome);
        record.save(self.state_directory, &name)
    }

    /// Tells alarms that are new or last, and those that are over.
    fn look(&mut self, cluster: &Cluster, now: Timestamp) {
        let record = Record::load(self.state_directory, &cluster.name);
        let found = self.chores.alarms(cluster, &record);
        let name = &cluster.name;
        for alarm in &found {
            let key = (name.clone(), alarm.id.clone());
            let told = self.raised.get(&key).map(|(at, _)| *at);
            if told.is_none_or(|at| now.duration_since(at) >= REPEAT) {
                (self.tell)(&Told::Alarm { at: now, cluster: name.clone(), alarm: alarm.clone() });
                self.raised.insert(key, (now, alarm.clone()));
            }
        }
        let over: Vec<_> = self
            .raised
            .keys()
            .filter(|(of, id)| of == name && !found.iter().any(|alarm| alarm.id == *id))
            .cloned()
            .collect();
        for key in over {
            if let Some((_, alarm)) = self.raised.remove(&key) {
                (self.tell)(&Told::Cleared { at: now, cluster: name.clone(), alarm });
            }
        }
    }

    /// Tells the next runs where they changed.
    fn announce(&mut self, now: Timestamp) {
        for cluster in self.clusters {
            let record = Record::load(self.state_directory, &cluster.name);
            let newest = self.chores.newest_backup(cluster);
            for run in next_runs(cluster, &record, newest, now) {
                let key = (cluster.name.clone(), run.job);
                // Copies are compared too often to be worth a line each time.
                if run.job == Job::CatchUp || run.overdue.is_some() {
                    continue;
                }
                if self.announced.insert(key, run.at) != Some(run.at) {
                    (self.tell)(&Told::Next {
                        at: now,
                        cluster: cluster.name.clone(),
                        job: run.job,
                        due: run.at,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
