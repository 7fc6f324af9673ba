//! Validation of a recovered cluster: counts, foreign keys, indexes, plans, application. Owns what
//! is asked and how an answer is judged; a question that could not be asked is never a pass. The
//! one thing that it changes is the planner's statistics (`ANALYZE`), as the runbook asks.
//!
//! Every database of the server is asked, by several sessions at once, each statement with a
//! limit. On a server that is still in recovery what needs writing is NOT RUN.

mod application;
mod catalog;
pub mod check;
mod job;

use crate::engine::assess;
use crate::engine::config::{Cluster, Connection};
use crate::engine::erasure;
use crate::engine::explain::Explain;
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::runner::protocol::{Progress, Unit};
use catalog::Database;
use check::begin;
use jiff::Timestamp;
use job::Job;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How the server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For each statement.
    pub statement: Duration,
    /// For `ANALYZE` of one database.
    pub analyze: Duration,
    /// Sessions at once in one database.
    pub sessions: usize,
    /// For the application's health address.
    pub health: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(60),
            analyze: Duration::from_secs(600),
            sessions: 4,
            health: Duration::from_secs(10),
        }
    }
}

/// How many rows a table should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    Exactly(u64),
    AtLeast(u64),
    /// An estimate, such as `reltuples` at the backup: fewer than half of it is a failure.
    About(u64),
}

/// What is known beforehand about a recovered cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// Database, `schema.table` as the server quotes it, rows, and where that is known from.
    pub counts: Vec<(String, String, Rows, String)>,
    /// Database and `schema.index` as the server quotes it.
    pub indexes: Vec<(String, String)>,
    /// The moment that was recovered to: recent rows are those of the hour before it. `now()`
    /// where absent.
    pub recovered_to: Option<Timestamp>,
}

/// The server to validate.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// As a superuser: the private socket while it is closed.
    pub connection: &'a Connection,
    pub cluster: &'a Cluster,
    /// Whether the application can reach it by now.
    pub open: bool,
}

/// Runs the whole validation. Never fails: what could not be asked is a check that says so.
pub async fn run(
    subject: &Subject<'_>,
    expectations: &Expectations,
    limits: &Limits,
    report: &(dyn Fn(Progress) + Sync),
) -> Vec<Check> {
    let mut tally = Tally::new(report);
    let options = ConnectOptions::default().statement_limit(Some(limits.statement));
    let session = match connect::connect(subject.connection, &options).await {
        Ok(session) => session,
        Err(error) => {
            let begun = begin("connection", "The recovered server can be asked");
            tally.add(begun.could_not_verify(error.explanation().to_string()));
            return tally.checks;
        }
    };
    match catalog::databases(&session).await {
        Ok(databases) => {
            tally.add(catalog::invalid_databases(&databases));
            for database in databases.into_iter().filter(|database| database.usable) {
                validate_database(subject, &database, expectations, limits, &mut tally).await;
            }
        }
        Err(error) => {
            let begun = begin("databases", "Every database can be asked");
            tally.add(begun.could_not_verify(connect::reason(&error)));
        }
    }
    tally.add(catalog::checksum_failures(&session).await);
    drop(session);
    for check in erasure::check::checks(subject.connection, subject.cluster).await {
        tally.add(check);
    }
    if !subject.cluster.probes.is_empty() {
        for check in assess::run_probes_on(subject.connection, subject.cluster).await {
            tally.add(check);
        }
    }
    tally.add(application::connection(subject).await);
    tally.add(application::health(subject, limits.health).await);
    tally.checks
}

async fn validate_database(
    subject: &Subject<'_>,
    database: &Database,
    expectations: &Expectations,
    limits: &Limits,
    tally: &mut Tally<'_>,
) {
    let name = &database.name;
    let options = ConnectOptions::default().database(name).statement_limit(Some(limits.statement));
    let prefix =
        if *name == subject.connection.database { String::new() } else { format!("{name}/") };
    let session = match connect::connect(subject.connection, &options).await {
        Ok(session) => session,
        Err(error) => {
            let begun = begin(format!("database:{name}"), format!("Database {name} can be asked"));
            tally.add(begun.could_not_verify(error.explanation().to_string()));
            return;
        }
    };
    tally.add(analyze(&session, name, limits).await);
    tally.add(catalog::indexes(&session, name, expectations).await);
    let wanted: &[String] = if prefix.is_empty() { &subject.cluster.tables } else { &[] };
    match catalog::jobs(&session, &prefix, database, wanted, expectations).await {
        Ok((jobs, missing)) => {
            missing.into_iter().for_each(|check| tally.add(check));
            run_jobs(subject.connection, &options, jobs, limits.sessions, tally).await;
        }
        Err(error) => {
            let begun = begin(format!("catalog:{name}"), format!("Tables of {name} can be listed"));
            tally.add(begun.could_not_verify(connect::reason(&error)));
        }
    }
}

async fn analyze(session: &Session, name: &str, limits: &Limits) -> Check {
    let begun =
        begin(format!("analyze:{name}"), format!("{name}: statistics are up to date (ANALYZE)"));
    let told = |error: tokio_postgres::Error| connect::reason(&error);
    let replaying = session
        .query_one("SELECT pg_is_in_recovery()", &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0));
    match replaying {
        Ok(false) => {}
        Ok(true) => return begun.not_run("The server is still in recovery and takes no writes."),
        Err(error) => return begun.could_not_verify(told(error)),
    }
    let limit = limits.analyze.as_millis();
    let set = session.batch_execute(&format!("SET statement_timeout = {limit}")).await;
    let done = match set {
        Ok(()) => session.batch_execute("ANALYZE").await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => begun.verified("ANALYZE has run."),
        Err(error) => begun.could_not_verify(format!("ANALYZE did not finish: {}", told(error))),
    }
}

/// Each session takes the next job until none is left.
async fn run_jobs(
    connection: &Connection,
    options: &ConnectOptions,
    jobs: Vec<Job>,
    sessions: usize,
    tally: &mut Tally<'_>,
) {
    tally.total += jobs.len() as u64;
    let workers = sessions.clamp(1, jobs.len().max(1));
    let queue = Arc::new(Mutex::new(VecDeque::from(jobs)));
    let (sender, mut receiver) = mpsc::channel(16);
    for _ in 0..workers {
        let (connection, options) = (connection.clone(), options.clone());
        let (queue, sender) = (Arc::clone(&queue), sender.clone());
        tokio::spawn(async move {
            let mut session = None;
            while let Some(job) = next(&queue) {
                let check = job.run(&connection, &options, &mut session).await;
                if sender.send(check).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    while let Some((check, at)) = receiver.recv().await {
        tally.total = tally.total.saturating_sub(1);
        tally.insert(check, at);
    }
    tally.in_order();
}

fn next(queue: &Mutex<VecDeque<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// The checks so far, reported as they come and kept in the catalogue's order.
struct Tally<'a> {
    checks: Vec<Check>,
    waiting: Vec<(usize, Check)>,
    total: u64,
    started: Timestamp,
    report: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Tally<'a> {
    fn new(report: &'a (dyn Fn(Progress) + Sync)) -> Self {
        let started = Timestamp::now();
        Self { checks: Vec::new(), waiting: Vec::new(), total: 0, started, report }
    }

    fn add(&mut self, check: Check) {
        let line = said(&check);
        self.checks.push(check);
        self.tell(line);
    }

    fn insert(&mut self, check: Check, at: usize) {
        let line = said(&check);
        self.waiting.push((at, check));
        self.tell(line);
    }

    fn in_order(&mut self) {
        self.waiting.sort_by_key(|(at, _)| *at);
        self.checks.extend(self.waiting.drain(..).map(|(_, check)| check));
    }

    fn tell(&self, line: String) {
        let done = (self.checks.len() + self.waiting.len()) as u64;
        (self.report)(Progress {
            job: String::from("validate"),
            label: line.clone(),
            started: self.started,
            done,
            total: Some(done.saturating_add(self.total)),
            unit: Unit::Checks,
            rate: None,
            eta: None,
            history: Vec::new(),
            lsn: None,
            replayed_until: None,
            log: vec![line],
        });
    }
}

fn said(check: &Check) -> String {
    let Check { title, verdict, found, .. } = check;
    match (found, verdict) {
        (Some(found), Verdict::Verified | Verdict::Failed) => {
            format!("{} {title}: {found}", verdict.word())
        }
        _ => format!("{} {title}", verdict.word()),
    }
}
