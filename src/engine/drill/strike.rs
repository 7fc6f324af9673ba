//! The incident itself, and the truth about it: what was there right before the bad statement.
//! The truth is for scoring after the drill; no screen and no suggestion may read it.

use super::error::DrillError;
use super::scenario::BadStatement;
use super::server::Server;
use super::shop::{DATABASE, TABLES};
use super::traffic::Gate;
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::{Client, GenericClient, Transaction};

/// So many of the newest rows may still be changed by the application: five times what it does.
const STILL_CHANGED: i64 = 1_000;

/// What only the one who set the drill knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Every commit acknowledged before this moment precedes the bad statement.
    pub struck_at: Timestamp,
    /// When the bad statement was committed.
    pub committed_at: Timestamp,
    /// Its transaction.
    pub xid: u32,
    /// End of the WAL right before it.
    pub lsn_before: Lsn,
    /// Rows that are gone by it.
    pub deleted: u64,
    pub damaged_table: String,
    /// Rows created after this moment are compared one by one; of older ones there is one digest.
    pub recent_since: Timestamp,
    pub tables: Vec<TableState>,
}

/// A table, told in figures that two servers must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    pub name: String,
    pub rows: i64,
    /// Over every column of every row that nobody touches any more, whatever their order.
    pub settled: String,
    /// Newer ids than this are not among them: the application still changes those.
    pub settled_until: i64,
    /// Every other row, by id: a digest over all of its columns.
    pub recent: BTreeMap<i64, i64>,
}

impl TableState {
    /// Rows under the one digest.
    #[must_use]
    pub fn settled_rows(&self) -> i64 {
        self.rows - i64::try_from(self.recent.len()).unwrap_or(i64::MAX)
    }

    /// Ids of the rows beside that digest which are not the same in both.
    #[must_use]
    pub fn differing(&self, other: &Self) -> BTreeSet<i64> {
        let ids = self.recent.keys().chain(other.recent.keys()).copied();
        ids.filter(|id| self.recent.get(id) != other.recent.get(id)).collect()
    }

    /// Rows and digests, short enough to be read.
    #[must_use]
    pub fn words(&self) -> String {
        let mut sum = Sha256::new();
        sum.update(format!("{}\0{:?}", self.settled, self.recent));
        let digest = data_encoding::HEXLOWER.encode(&sum.finalize());
        format!("{} rows with digest {}", self.rows, digest.get(..16).unwrap_or_default())
    }
}

/// The shop right before the accident, while the gate is closed.
struct Before {
    recent_since: Timestamp,
    tables: Vec<TableState>,
    lsn_before: Lsn,
    struck_at: Timestamp,
}

async fn before(watcher: &Client) -> Result<Before, DrillError> {
    let recent_since = Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let mut tables = Vec::new();
    for table in TABLES {
        tables.push(state_of(watcher, table, recent_since).await?);
    }
    let what = "the incident could not be staged";
    let lsn: String = watcher
        .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
        .await
        .map_err(DrillError::sql(what))?
        .get(0);
    let lsn_before =
        lsn.parse().map_err(|error: crate::engine::postgres::lsn::LsnParseError| {
            DrillError::Sql { what: what.to_owned(), why: error.to_string() }
        })?;
    Ok(Before { recent_since, tables, lsn_before, struck_at: Timestamp::now() })
}

/// Runs the bad statement amid the traffic. Counting and the statement's first record happen
/// while the gate is closed, so that the figures are exact; its commit comes later, and others
/// commit in between, as in life.
///
/// # Errors
/// Where the server refuses; nothing is deleted then.
pub async fn strike(server: &Server, gate: &Gate, bad: &BadStatement) -> Result<Truth, DrillError> {
    let fail = || DrillError::sql("the incident could not be staged");
    let watcher = server.connect("postgres", DATABASE).await?;
    let mut job = server.connect(&bad.role, DATABASE).await?;
    let closed = gate.write().await;
    let Before { recent_since, tables, lsn_before, struck_at } = before(&watcher).await?;
    let mut transaction = job.transaction().await.map_err(fail())?;
    let counted = transaction.execute(bad.statement.as_str(), &[]).await.map_err(fail())?;
    let xid: i64 = transaction
        .query_one("SELECT (pg_current_xact_id()::text::bigint % 4294967296)", &[])
        .await
        .map_err(fail())?
        .get(0);
    let before = tables.iter().find(|table: &&TableState| table.name == bad.table);
    let left = left(&mut transaction, before, recent_since).await;
    let harmless =
        || DrillError::Harmless { statement: bad.statement.clone(), table: bad.table.clone() };
    if left.is_some() && left.as_ref() == before {
        return Err(harmless());
    }
    drop(closed);
    tokio::time::sleep(Duration::from_secs_f64(bad.open_for.clamp(0.0, 60.0))).await;
    transaction.commit().await.map_err(fail())?;
    let deleted = match (left, before) {
        (Some(left), Some(before)) => gone(before, left.rows),
        // The role may not look at what it does, or the table is no more.
        (None, Some(before)) => {
            let gone = gone(before, rows_of(&watcher, before, struck_at).await);
            if gone == 0 && counted == 0 {
                return Err(harmless());
            }
            gone
        }
        _ => counted,
    };
    Ok(Truth {
        struck_at,
        committed_at: Timestamp::now(),
        xid: u32::try_from(xid).unwrap_or_default(),
        lsn_before,
        deleted,
        damaged_table: bad.table.clone(),
        recent_since,
        tables,
    })
}

fn gone(before: &TableState, now: i64) -> u64 {
    u64::try_from(before.rows - now).unwrap_or_default()
}

/// The table as the transaction leaves it; `None` where its role may not look, or it is no more.
async fn left(
    transaction: &mut Transaction<'_>,
    before: Option<&TableState>,
    recent_since: Timestamp,
) -> Option<TableState> {
    let before = before?;
    let look = transaction.savepoint("look").await.ok()?;
    let state = state_like(&look, &before.name, recent_since, before.settled_until).await;
    match state {
        Ok(state) => look.commit().await.ok().map(|()| state),
        Err(_) => look.rollback().await.ok().and(None),
    }
}

/// Rows of the table that were there before the strike; none where there is no such table.
async fn rows_of(watcher: &Client, before: &TableState, struck_at: Timestamp) -> i64 {
    let sql = format!("SELECT count(*) FROM {} WHERE created_at <= $1", before.name);
    watcher.query_one(&sql, &[&struck_at]).await.map_or(0, |row| row.get(0))
}

/// The server dies as when its power goes; what was there right before is the truth.
///
/// # Errors
/// Where it could not be asked or not be stopped.
pub async fn lose(server: &Server, gate: &Gate) -> Result<Truth, DrillError> {
    let watcher = server.connect("postgres", DATABASE).await?;
    let closed = gate.write().await;
    let Before { recent_since, tables, lsn_before, struck_at } = before(&watcher).await?;
    server.die()?;
    drop(closed);
    Ok(Truth {
        struck_at,
        committed_at: struck_at,
        xid: 0,
        lsn_before,
        deleted: 0,
        damaged_table: String::new(),
        recent_since,
        tables,
    })
}

/// A table's figures now.
///
/// # Errors
/// Where the server refuses.
pub async fn state_of(
    client: &impl GenericClient,
    table: &str,
    recent_since: Timestamp,
) -> Result<TableState, DrillError> {
    let sql = format!("SELECT coalesce(max(id), 0) FROM {table} AS t");
    let newest: i64 = client
        .query_one(&sql, &[])
        .await
        .map_err(DrillError::sql("its tables could not be counted"))?
        .get(0);
    state_like(client, table, recent_since, newest - STILL_CHANGED).await
}

/// The same, to be compared with figures that had this `settled_until`.
///
/// # Errors
/// Where the server refuses.
pub async fn state_like(
    client: &impl GenericClient,
    table: &str,
    recent_since: Timestamp,
    settled_until: i64,
) -> Result<TableState, DrillError> {
    // One without a time or a number is settled: it counts, whatever became of it.
    let recent = "((created_at > $1 OR id > $2) IS TRUE)";
    let settled = format!(
        "SELECT count(*), coalesce(sum(CASE WHEN NOT {recent}
             THEN hashtextextended(t::text, 0)::numeric END), 0)::text
         FROM {table} AS t"
    );
    let one_by_one =
        format!("SELECT id, hashtextextended(t::text, 0) FROM {table} AS t WHERE {recent}");
    let fail = || DrillError::sql("its tables could not be counted");
    client.batch_execute("SET timezone = 'UTC'").await.map_err(fail())?;
    let row = client.query_one(&settled, &[&recent_since, &settled_until]).await.map_err(fail())?;
    let newer = client.query(&one_by_one, &[&recent_since, &settled_until]).await;
    Ok(TableState {
        name: table.to_owned(),
        rows: row.get(0),
        settled: row.get(1),
        settled_until,
        recent: newer.map_err(fail())?.iter().map(|row| (row.get(0), row.get(1))).collect(),
    })
}
