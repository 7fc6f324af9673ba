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
use std::time::Duration;
use tokio_postgres::Client;

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
    /// Rows that it deleted.
    pub deleted: u64,
    pub damaged_table: String,
    /// Rows created after this moment are compared one by one; older ones are counted.
    pub recent_since: Timestamp,
    pub tables: Vec<TableState>,
}

/// A table, told in figures that two servers must agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    pub name: String,
    pub rows: i64,
    pub recent_rows: i64,
    /// Over every column of the recent rows, whatever their order.
    pub recent_digest: String,
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
    let transaction = job.transaction().await.map_err(fail())?;
    let deleted = transaction.execute(bad.statement.as_str(), &[]).await.map_err(fail())?;
    let xid: i64 = transaction
        .query_one("SELECT (pg_current_xact_id()::text::bigint % 4294967296)", &[])
        .await
        .map_err(fail())?
        .get(0);
    drop(closed);
    tokio::time::sleep(Duration::from_secs_f64(bad.open_for.clamp(0.0, 60.0))).await;
    transaction.commit().await.map_err(fail())?;
    // Emptying a table tells no count.
    let before = tables.iter().find(|table: &&TableState| table.name == bad.table);
    let deleted = match (deleted, before) {
        (0, Some(before)) => u64::try_from(before.rows).unwrap_or_default(),
        _ => deleted,
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
    client: &Client,
    table: &str,
    recent_since: Timestamp,
) -> Result<TableState, DrillError> {
    let sql = format!(
        "SELECT count(*),
                count(*) FILTER (WHERE created_at > $1),
                coalesce(sum(CASE WHEN created_at > $1
                    THEN hashtextextended(t::text, 0)::numeric END), 0)::text
         FROM {table} AS t"
    );
    let fail = || DrillError::sql("its tables could not be counted");
    client.batch_execute("SET timezone = 'UTC'").await.map_err(fail())?;
    let row = client.query_one(&sql, &[&recent_since]).await.map_err(fail())?;
    Ok(TableState {
        name: table.to_owned(),
        rows: row.get(0),
        recent_rows: row.get(1),
        recent_digest: row.get(2),
    })
}
