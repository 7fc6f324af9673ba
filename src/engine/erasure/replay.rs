//! Carries the list out on a server, or counts what it would find. One transaction a database:
//! where one row cannot be erased, nothing of that database is.

use super::list::{Keys, List, Target};
use crate::engine::config::Connection;
use crate::engine::explain::count;
use crate::engine::parts::names::quote;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use serde::Serialize;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

/// For one statement; hashes are compared with every row.
const STATEMENT: Duration = Duration::from_secs(3600);
/// How long a lock of somebody else's is waited for.
const LOCK_WAIT: &str = "SET lock_timeout = '30s'; SET row_security = off";
/// Keys of one statement.
const BATCH: usize = 1000;

/// What came of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub table: String,
    pub column: String,
    pub keys: usize,
    /// Rows that were erased, or that were found.
    pub rows: u64,
    /// The table is not there: there is nothing to erase in it.
    pub absent: bool,
}

/// What came of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub database: String,
    pub tables: Vec<Counted>,
    /// Why nothing of it was done, or could be counted. Holds no key.
    pub failed: Option<String>,
}

impl Outcome {
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|one| one.rows).sum()
    }

    /// `3 rows by 2 keys (public.orders 2, public.customers 1)`.
    #[must_use]
    pub fn told(&self) -> String {
        let keys: usize = self.tables.iter().map(|one| one.keys).sum();
        let each = self.tables.iter().map(|one| {
            let rows = if one.absent { String::from("not there") } else { one.rows.to_string() };
            format!("{} {rows}", one.table)
        });
        let rows = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        let each = each.collect::<Vec<_>>().join(", ");
        format!("{} by {} ({each})", count(rows, "row"), count(keys, "key"))
    }
}

/// What is done with the rows that a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// They are counted, in a transaction that only reads.
    Count,
    Erase,
}

/// Goes through the list, database by database. Never fails as a whole: each says how it went.
pub async fn go_through(connection: &Connection, list: &List, deed: Deed) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for database in list.databases() {
        let targets: Vec<&Target> =
            list.targets.iter().filter(|target| target.database == database).collect();
        let (tables, failed) = match in_database(connection, database, &targets, deed).await {
            Ok(tables) => (tables, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        outcomes.push(Outcome { database: database.to_owned(), tables, failed });
    }
    outcomes
}

async fn in_database(
    connection: &Connection,
    database: &str,
    targets: &[&Target],
    deed: Deed,
) -> Result<Vec<Counted>, String> {
    let mut options = ConnectOptions::default().database(database).statement_limit(Some(STATEMENT));
    if deed == Deed::Count {
        options = options.read_only();
    }
    let mut session =
        connect::connect(connection, &options).await.map_err(|error| error.to_string())?;
    session.batch_execute(LOCK_WAIT).await.map_err(|error| words(&error))?;
    let work = session.transaction().await.map_err(|error| words(&error))?;
    if deed == Deed::Erase {
        // Keys that may wait are looked at once all rows are gone.
        work.batch_execute("SET CONSTRAINTS ALL DEFERRED").await.map_err(|error| words(&error))?;
    }
    let mut done = Vec::new();
    for target in targets {
        done.push(on_table(&work, target, deed).await?);
    }
    work.commit().await.map_err(|error| words(&error))?;
    Ok(done)
}

async fn on_table(
    work: &tokio_postgres::Transaction<'_>,
    target: &Target,
    deed: Deed,
) -> Result<Counted, String> {
    let table = target.table.sql();
    let mut counted = Counted {
        table: target.table.to_string(),
        column: target.column.clone(),
        keys: target.keys.count(),
        rows: 0,
        absent: false,
    };
    let there = work
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(|error| words(&error))?;
    if !there {
        counted.absent = true;
        return Ok(counted);
    }
    // Without the type's own length, to which a key would be cut.
    let kind = work
        .query_opt(
            "SELECT format_type(a.atttypid, -1) FROM pg_catalog.pg_attribute a \
              WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped \
                AND a.attnum > 0",
            &[&table, &target.column],
        )
        .await
        .map_err(|error| words(&error))?
        .and_then(|row| row.try_get::<_, String>(0).ok())
        .ok_or_else(|| format!("{} has no column {}", target.table, target.column))?;
    let column = quote(&target.column);
    let condition = match &target.keys {
        Keys::Values(_) => format!("{column} = ANY (($1::text[])::{kind}[])"),
        Keys::Hashes { .. } => format!(
            "encode(sha256(convert_to($2::text || {column}::text, 'UTF8')), 'hex') = ANY ($1::text[])"
        ),
    };
    let (keys, salt) = match &target.keys {
        Keys::Values(all) => (all, None),
        Keys::Hashes { salt, hashes } => (hashes, Some(salt)),
    };
    for keys in keys.chunks(BATCH) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut given: Vec<&(dyn ToSql + Sync)> = vec![&keys];
        given.extend(salt.as_ref().map(|salt| *salt as &(dyn ToSql + Sync)));
        let rows = match deed {
            Deed::Erase => {
                work.execute(&format!("DELETE FROM {table} WHERE {condition}"), &given).await
            }
            Deed::Count => work
                .query_one(&format!("SELECT count(*) FROM {table} WHERE {condition}"), &given)
                .await
                .and_then(|row| row.try_get::<_, i64>(0))
                .map(i64::unsigned_abs),
        };
        counted.rows += rows.map_err(|error| format!("{}: {}", target.table, words(&error)))?;
    }
    Ok(counted)
}

/// A failure without any key: the server's details quote them, and so do its words on a value that
/// a column's type does not take.
fn words(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else { return connect::reason(error) };
    let code = db.code();
    if *code == SqlState::FOREIGN_KEY_VIOLATION {
        return format!(
            "rows of {} refer to one that is to be erased (foreign key {}): put them on the list \
             before it",
            db.table().unwrap_or("another table"),
            db.constraint().unwrap_or("of unknown name")
        );
    }
    if code.code().starts_with("22") {
        return format!("a key on the list is no value of its column's type ({})", code.code());
    }
    if code.code().starts_with("23") {
        return format!(
            "the constraint {} of {} stands in the way ({})",
            db.constraint().unwrap_or("of unknown name"),
            db.table().unwrap_or("a table"),
            code.code()
        );
    }
    db.message().to_owned()
}

/// Whether the server is in recovery still: then nothing can be erased.
pub(super) async fn replays(session: &Session) -> Result<bool, String> {
    session
        .query_one("SELECT pg_is_in_recovery()", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| words(&error))
}
