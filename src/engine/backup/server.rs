//! The server's side of a base backup: the session that keeps it open, and what the server says
//! about itself. Owns the SQL; never reads the data directory.

use super::error::BackupError;
use crate::engine::config::{Cluster, Connection};
use crate::engine::postgres::Lsn;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::repository::manifest::Relation;
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// The advisory lock that one backup of a server holds. Any other number would do; this one
/// spells "lifeboat" in eight bytes.
const LOCK: i64 = i64::from_be_bytes(*b"lifeboat");

/// A connected server, ready to start a backup.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    session: Session,
    connection: Connection,
    /// Major version.
    pub version: u32,
    /// As `server_version_num`, such as 150018.
    pub version_number: u32,
    pub data_directory: PathBuf,
    pub system_identifier: u64,
    pub catalog_version: u32,
    /// A standby.
    pub in_recovery: bool,
    pub tablespaces: Vec<(u32, String)>,
}

/// What the server gave when the backup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub stop: Lsn,
    /// Byte for byte what belongs into `backup_label`.
    pub label: String,
    /// Byte for byte what belongs into `tablespace_map`; empty where there is none.
    pub tablespace_map: String,
    pub timeline: u32,
}

impl Server {
    /// Connects and takes the lock against a second backup.
    ///
    /// # Errors
    /// Where the server cannot be reached, or another backup holds the lock.
    pub fn open(cluster: &Cluster) -> Result<Self, BackupError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lifeboat-session")
            .enable_all()
            .build()
            .map_err(|error| BackupError::Internal(error.to_string()))?;
        // The session is idle for as long as files are copied.
        let options = ConnectOptions::default().statement_limit(None);
        let session = runtime.block_on(connect::connect(&cluster.connection, &options))?;
        let mut server = Self {
            runtime,
            session,
            connection: cluster.connection.clone(),
            version: 0,
            version_number: 0,
            data_directory: PathBuf::new(),
            system_identifier: 0,
            catalog_version: 0,
            in_recovery: false,
            tablespaces: Vec::new(),
        };
        server.learn()?;
        Ok(server)
    }

    fn learn(&mut self) -> Result<(), BackupError> {
        let number = self.value("tell its version", "SHOW server_version_num")?;
        self.version_number = parsed("its version", &number)?;
        self.version = self.version_number / 10_000;
        if self.version < 12 {
            return Err(BackupError::OldServer(self.version));
        }
        self.value(
            "prepare the session",
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN \
             ('statement_timeout', 'lock_timeout', 'idle_session_timeout', \
              'idle_in_transaction_session_timeout')",
        )?;
        self.value(
            "name the session",
            "SELECT set_config('application_name', 'lifeboat backup', false)",
        )?;
        let locked = format!("SELECT pg_try_advisory_lock({LOCK})::text");
        if self.value("lock out other backups", &locked)? != "true" {
            return Err(BackupError::Busy);
        }
        self.data_directory =
            PathBuf::from(self.value("name its data directory", "SHOW data_directory")?);
        let system = "SELECT system_identifier::text FROM pg_control_system()";
        self.system_identifier =
            parsed("its system identifier", &self.value("tell its identity", system)?)?;
        let catalog = "SELECT catalog_version_no::text FROM pg_control_system()";
        self.catalog_version =
            parsed("its catalog version", &self.value("tell its identity", catalog)?)?;
        self.in_recovery = self
            .value("tell whether it is a standby", "SELECT pg_is_in_recovery()::text")?
            == "true";
        let spaces = self.rows(
            "name its tablespaces",
            "SELECT oid::text, pg_tablespace_location(oid) FROM pg_tablespace ORDER BY oid",
        )?;
        for row in spaces {
            if let [oid, location] = &row[..]
                && location.starts_with('/')
            {
                self.tablespaces.push((parsed("a tablespace's OID", oid)?, location.clone()));
            }
        }
        Ok(())
    }

    /// Starts the backup with a checkpoint at once. Gives its start.
    ///
    /// # Errors
    /// Where the server refuses.
    pub fn start(&self, label: &str) -> Result<Lsn, BackupError> {
        let label = label.replace('\'', "''");
        let sql = if self.version >= 15 {
            format!("SELECT pg_backup_start('{label}', true)::text")
        } else {
            format!("SELECT pg_start_backup('{label}', true, false)::text")
        };
        parsed("the backup's start", &self.value("start the backup", &sql)?)
    }

    /// Ends the backup; does not wait for the archive.
    ///
    /// # Errors
    /// Where the session is gone or the server refuses: the backup cannot be used then.
    pub fn stop(&self) -> Result<Stopped, BackupError> {
        let sql = if self.version >= 15 {
            "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)"
        } else {
            "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)"
        };
        let rows = self.rows("end the backup", sql)?;
        let Some([stop, label, map]) = rows.first().map(Vec::as_slice) else {
            return Err(BackupError::Server {
                what: "end the backup",
                why: String::from("nothing"),
            });
        };
        let timeline = label.lines().find_map(|line| line.strip_prefix("START TIMELINE: "));
        Ok(Stopped {
            stop: parsed("the backup's end", stop)?,
            timeline: parsed("the backup's timeline", timeline.unwrap_or_default().trim())?,
            label: label.clone(),
            tablespace_map: map.clone(),
        })
    }

    /// # Errors
    /// Where the session has ended: the server has given the backup up then.
    pub fn alive(&self) -> Result<(), BackupError> {
        if self.session.is_closed() {
            Err(BackupError::SessionLost(String::from("the server closed it")))
        } else {
            Ok(())
        }
    }

    /// Hands every relation of every database that takes connections to `take`. Gives warnings
    /// for databases that could not be read: their relations are then known by number alone.
    ///
    /// # Errors
    /// Where `take` fails, or the list of databases could not be read.
    pub fn relations(
        &self,
        take: &mut dyn FnMut(Relation) -> Result<(), BackupError>,
    ) -> Result<Vec<String>, BackupError> {
        let databases = self.rows(
            "name its databases",
            "SELECT oid::text, datname FROM pg_database WHERE datallowconn ORDER BY oid",
        )?;
        let mut warnings = Vec::new();
        let mut shared = true;
        for row in databases {
            let [oid, name] = &row[..] else { continue };
            let read = self.relations_of(parsed("a database's OID", oid)?, name, shared, take);
            match read {
                Ok(()) => shared = false,
                Err(BackupError::Connect(error)) => {
                    warnings
                        .push(format!("The relations of database {name} have no names: {error}"));
                }
                Err(BackupError::Server { why, .. }) => {
                    warnings
                        .push(format!("The relations of database {name} have no names: {why}."));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(warnings)
    }

    fn relations_of(
        &self,
        database: u32,
        name: &str,
        shared: bool,
        take: &mut dyn FnMut(Relation) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let options = ConnectOptions::default().database(name).statement_limit(None).read_only();
        let session = self.runtime.block_on(connect::connect(&self.connection, &options))?;
        let failed = |error: tokio_postgres::Error| BackupError::Server {
            what: "name its relations",
            why: connect::reason(&error),
        };
        // A cursor: a database can have a million relations.
        let begin = "BEGIN READ ONLY; DECLARE relations NO SCROLL CURSOR FOR \
             SELECT c.relisshared, coalesce(nullif(c.reltablespace, 0), d.dattablespace), \
                    pg_relation_filenode(c.oid), c.oid, n.nspname::text, c.relname::text, \
                    c.relkind::text, c.reltuples::float8 \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_database d ON d.datname = current_database() \
             WHERE pg_relation_filenode(c.oid) IS NOT NULL";
        self.runtime.block_on(session.batch_execute(begin)).map_err(failed)?;
        loop {
            let rows = self.runtime.block_on(session.query("FETCH 2000 FROM relations", &[]));
            let rows = rows.map_err(failed)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let is_shared: bool = row.try_get(0).map_err(failed)?;
                if is_shared && !shared {
                    continue;
                }
                take(Relation {
                    database: if is_shared { 0 } else { database },
                    database_name: if is_shared { String::new() } else { name.to_owned() },
                    tablespace: row.try_get(1).map_err(failed)?,
                    node: row.try_get(2).map_err(failed)?,
                    oid: row.try_get(3).map_err(failed)?,
                    schema: row.try_get(4).map_err(failed)?,
                    name: row.try_get(5).map_err(failed)?,
                    kind: row.try_get(6).map_err(failed)?,
                    rows: row.try_get(7).map_err(failed)?,
                })?;
            }
        }
    }

    /// What the archiver says about its last failure; empty where there is none.
    #[must_use]
    pub fn archiver(&self) -> String {
        let sql = "SELECT current_setting('archive_mode'), coalesce(last_failed_wal, ''), \
                   coalesce(last_failed_time::text, ''), \
                   (last_failed_time > coalesce(last_archived_time, '-infinity'))::text \
                   FROM pg_stat_archiver";
        let rows = self.rows("tell about its archiver", sql).unwrap_or_default();
        match rows.first().map(Vec::as_slice) {
            Some([mode, ..]) if mode == "off" => String::from("; archive_mode is off"),
            Some([_, wal, time, newer]) if newer == "true" => {
                format!("; the server's archive_command last failed for {wal} at {time}")
            }
            _ => String::new(),
        }
    }

    fn value(&self, what: &'static str, sql: &str) -> Result<String, BackupError> {
        let rows = self.rows(what, sql)?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    fn rows(&self, what: &'static str, sql: &str) -> Result<Vec<Vec<String>>, BackupError> {
        let messages = self.runtime.block_on(self.session.simple_query(sql)).map_err(|error| {
            if error.is_closed() || self.session.is_closed() {
                BackupError::SessionLost(connect::reason(&error))
            } else {
                BackupError::Server { what, why: connect::reason(&error) }
            }
        })?;
        let texts = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect()
        };
        Ok(messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(texts(row)),
                _ => None,
            })
            .collect())
    }
}

fn parsed<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, BackupError> {
    text.parse().map_err(|_| BackupError::Internal(format!("{what} is not readable: {text:?}")))
}
