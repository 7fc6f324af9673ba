//! The ground that the items stand on: the recovered server, the incident, and how to ask. Owns
//! no judgement.

use crate::engine::config::Connection;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::restore::steps::Site;
use crate::engine::runner::protocol::{Progress, Unit};
use crate::engine::runner::work::Report;
use crate::engine::validate::check::begin;
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_postgres::SimpleQueryMessage;

/// For an ordinary question.
pub const ASK: Duration = Duration::from_secs(60);

/// The name under which progress is told.
pub const JOB: &str = "care";

/// What a look found.
#[derive(Debug, Default)]
pub struct Found {
    pub checks: Vec<Check>,
    pub proposals: Vec<Proposal>,
}

impl Found {
    pub fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    pub fn propose(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.proposals.push(Proposal { key: key.into(), text: text.into(), group: None });
    }
}

impl From<Check> for Found {
    fn from(check: Check) -> Self {
        Self { checks: vec![check], proposals: Vec::new() }
    }
}

/// Rows as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// A field of a row of [`Rows`]; empty where it is NULL.
pub fn field(row: &[Option<String>], at: usize) -> &str {
    row.get(at).and_then(Option::as_deref).unwrap_or_default()
}

/// The recovered server and what is known about it.
#[allow(missing_debug_implementations, reason = "it holds a closure")]
pub struct Ward<'a> {
    pub site: &'a Site,
    pub incident: &'a Incident,
    /// As a superuser: the private way in while the server is closed.
    pub connection: Connection,
    pub runtime: &'a Handle,
    pub report: Report<'a>,
    started: Timestamp,
}

impl<'a> Ward<'a> {
    #[must_use]
    pub fn new(
        site: &'a Site,
        incident: &'a Incident,
        connection: Connection,
        runtime: &'a Handle,
        report: Report<'a>,
    ) -> Self {
        Self { site, incident, connection, runtime, report, started: Timestamp::now() }
    }

    /// A session in a database, the connection's own where none is named.
    pub fn open(&self, database: Option<&str>, limit: Duration) -> Result<Session, String> {
        let mut options = ConnectOptions::default().statement_limit(Some(limit));
        options.database = database.map(str::to_owned);
        self.runtime
            .block_on(connect::connect(&self.connection, &options))
            .map_err(|error| error.to_string())
    }

    pub fn rows(&self, session: &Session, sql: &str) -> Result<Rows, String> {
        let told = self.runtime.block_on(session.simple_query(sql));
        let row = |message: SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        };
        told.map(|all| all.into_iter().filter_map(row).collect())
            .map_err(|error| connect::reason(&error))
    }

    /// One statement, or several in one transaction.
    pub fn execute(&self, session: &Session, sql: &str) -> Result<(), String> {
        self.runtime.block_on(session.batch_execute(sql)).map_err(|error| connect::reason(&error))
    }

    /// Rows of the connection's own database.
    pub fn ask(&self, sql: &str) -> Result<Rows, String> {
        self.rows(&self.open(None, ASK)?, sql)
    }

    /// Whether the server that answers is the recovered one's: an address can lead elsewhere.
    ///
    /// # Errors
    /// Where it is another, or that cannot be told: nothing may be changed then.
    pub fn same_server(&self) -> Result<(), Explanation> {
        let own = self.site.identity()?.system_identifier.to_string();
        let refused = |what: String| {
            Explanation::new(
                Kind::Refused,
                what,
                "Nothing was changed.",
                "Look at the cluster's connection in lifeboat.toml, then run the line again.",
            )
        };
        let told = self
            .ask("SELECT system_identifier::text FROM pg_control_system()")
            .map_err(|why| refused(format!("The server could not be asked who it is: {why}.")))?;
        let other = told.first().map_or("", |row| field(row, 0));
        if other == own {
            return Ok(());
        }
        Err(refused(format!(
            "The server that answers has the system identifier {other}, the recovered directory \
             has {own}: it is another cluster."
        )))
    }

    /// Databases that can be connected to.
    pub fn databases(&self) -> Result<Vec<String>, String> {
        let sql = "SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 \
                   ORDER BY datname";
        Ok(self.ask(sql)?.iter().map(|row| field(row, 0).to_owned()).collect())
    }

    /// Asks every database; one that cannot be asked is a check that says so.
    pub fn in_each(
        &self,
        item: &str,
        found: &mut Found,
        mut ask: impl FnMut(&Self, &str, &Session, &mut Found) -> Result<(), String>,
    ) {
        let databases = match self.databases() {
            Ok(databases) => databases,
            Err(why) => {
                found.check(
                    begin(format!("{item}:server"), "The server can be asked")
                        .could_not_verify(why),
                );
                return;
            }
        };
        let of = databases.len() as u64;
        for (done, name) in databases.iter().enumerate() {
            self.tell(&format!("database {name}"), done as u64, Some(of));
            let asked =
                self.open(Some(name), ASK).and_then(|session| ask(self, name, &session, found));
            if let Err(why) = asked {
                let begun =
                    begin(format!("{item}:{name}"), format!("Database {name} can be asked"));
                found.check(begun.could_not_verify(why));
            }
        }
    }

    /// Lossy progress.
    pub fn tell(&self, label: &str, done: u64, total: Option<u64>) {
        (self.report)(Progress {
            job: JOB.to_owned(),
            label: label.to_owned(),
            started: self.started,
            done,
            total,
            unit: Unit::Checks,
            rate: None,
            eta: None,
            history: Vec::new(),
            lsn: None,
            replayed_until: None,
            log: Vec::new(),
        });
    }

    /// Another job's progress under this one's name.
    pub fn pass_on(&self, progress: Progress) {
        (self.report)(Progress { job: JOB.to_owned(), ..progress });
    }

    /// The damaged directory, where it is kept and is this cluster's.
    #[must_use]
    pub fn aside(&self) -> Option<PathBuf> {
        let plan = self.incident.plan.as_ref()?;
        self.site.is_aside(plan).then(|| PathBuf::from(&plan.aside))
    }

    /// Since when the database serves again.
    #[must_use]
    pub fn serving(&self) -> Option<Timestamp> {
        self.incident.clocks.serving.or(self.incident.clocks.promoted)
    }
}

/// A list that is not cut off in silence.
pub fn listed(all: &[String], most: usize) -> String {
    let shown = all.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
