//! Names of tables from the running server. Owns the questions; changes nothing there, and waits
//! for no lock.

use super::archive::{Relation, Relations};
use crate::engine::config::Connection;
use crate::engine::postgres::connect::{self, ConnectOptions};
use std::time::Duration;

/// Relations read of one database; what is beyond is named by the backup or the WAL alone.
const MOST: i64 = 200_000;

/// What the server's catalogues say, and why some of it could not be read.
pub async fn relations(connection: &Connection) -> (Relations, Vec<String>) {
    let (mut all, mut warnings) = (Relations::default(), Vec::new());
    let databases = match databases(connection).await {
        Ok(databases) => databases,
        Err(why) => {
            warnings.push(format!("The running server could not be asked for names: {why}"));
            return (all, warnings);
        }
    };
    for (oid, name) in databases {
        if let Err(why) = of_database(connection, oid, &name, &mut all).await {
            warnings
                .push(format!("The running server's tables in {name} could not be read: {why}"));
        }
        all.databases.insert(oid, name);
    }
    (all, warnings)
}

fn options() -> ConnectOptions {
    ConnectOptions::default()
        .read_only()
        .connect_limit(Duration::from_secs(3))
        .statement_limit(Some(Duration::from_secs(15)))
}

async fn databases(connection: &Connection) -> Result<Vec<(u32, String)>, String> {
    let session = connect::connect(connection, &options()).await.map_err(|e| e.to_string())?;
    let sql = "SELECT oid, datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate";
    let rows = session.query(sql, &[]).await.map_err(|e| connect::reason(&e))?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(|e| connect::reason(&e))
}

async fn of_database(
    connection: &Connection,
    oid: u32,
    name: &str,
    all: &mut Relations,
) -> Result<(), String> {
    let session =
        connect::connect(connection, &options().database(name)).await.map_err(|e| e.to_string())?;
    let read = async {
        for row in session.query("SELECT oid, nspname::text FROM pg_namespace", &[]).await? {
            all.schemas.insert((oid, row.try_get(0)?), row.try_get(1)?);
        }
        // The file's number as it stands in the catalogue: asking the server for it takes locks.
        let sql = "SELECT relfilenode, c.oid, n.nspname::text, relname::text, relkind::text \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
                   WHERE relfilenode >= 16384 AND relpersistence <> 't' LIMIT $1";
        for row in session.query(sql, &[&MOST]).await? {
            let at = (oid, row.try_get(0)?);
            let kind: String = row.try_get(4)?;
            if matches!(kind.as_str(), "r" | "m") {
                let (schema, table) = (row.try_get(2)?, row.try_get(3)?);
                // What the planner counts now says nothing of before the damage.
                let rows = -1.0;
                all.files.insert(at, Relation { oid: row.try_get(1)?, schema, table, rows });
            } else {
                all.others.insert(at);
            }
        }
        Ok::<(), tokio_postgres::Error>(())
    };
    read.await.map_err(|e| connect::reason(&e))
}
