//! Sessions that print values in one and the same way on both servers. Owns the settings that
//! decide how a value looks as text; a session with them never reads a table by a short name.

use super::error::{PartsError, engine};
use crate::engine::config::Connection;
use crate::engine::postgres::connect::{ConnectOptions, Session, connect};
use std::time::Duration;

/// How long a lock in production is waited for before the whole is given up.
pub const LOCK_WAIT: &str = "SET lock_timeout = '15s'";

/// The empty path, so that every name is full and no function of a stranger's is found.
const SAME_WORDS: &str = "SET search_path = ''; SET client_encoding = 'UTF8'; \
    SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; \
    SET extra_float_digits = 1; SET lc_monetary = 'C'; SET xmloption = 'content'; \
    SET row_security = off; SET jit = off; SET statement_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0";

/// A session in `database` for reading and carrying rows.
///
/// # Errors
/// Where the server cannot be reached.
pub async fn open(connection: &Connection, database: &str) -> Result<Session, PartsError> {
    let options = ConnectOptions::default()
        .database(database)
        .connect_limit(Duration::from_secs(20))
        .statement_limit(None);
    let session = connect(connection, &options).await.map_err(engine)?;
    session.batch_execute(SAME_WORDS).await.map_err(PartsError::sql("Preparing a session"))?;
    Ok(session)
}

/// A session in whichever database there is: the connection's own may be what was lost.
///
/// # Errors
/// The first one's reason, where none can be entered.
pub async fn open_any(connection: &Connection) -> Result<Session, PartsError> {
    let mut first = None;
    for database in [connection.database.as_str(), "postgres", "template1"] {
        match open(connection, database).await {
            Ok(session) => return Ok(session),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| PartsError::refused("No database was named.", "")))
}

/// Sets the session up again after a program's statements have changed it.
///
/// # Errors
/// Where the server refuses.
pub async fn again(session: &tokio_postgres::Client) -> Result<(), PartsError> {
    let text = format!("{SAME_WORDS}; {LOCK_WAIT}");
    session.batch_execute(&text).await.map_err(PartsError::sql("Preparing a session"))
}

/// Whether `writer` is with a primary of the same origin as `source`.
///
/// # Errors
/// Where it is not: nothing may be written then.
pub async fn same_system(
    source: &tokio_postgres::Client,
    writer: &tokio_postgres::Client,
) -> Result<(), PartsError> {
    of_one_origin(source, &[writer]).await.map(drop)
}

/// Whether all sessions are with servers of one and the same origin, and the `writers` with one
/// that takes writes, in an encoding whose bytes sort as ours do.
///
/// # Errors
/// Where they are not: nothing may be written then.
pub async fn same_cluster(
    source: &tokio_postgres::Client,
    writers: &[&tokio_postgres::Client],
) -> Result<(), PartsError> {
    let seen = of_one_origin(source, writers).await?;
    match seen.iter().find(|encoding| *encoding != "UTF8") {
        Some(encoding) => Err(PartsError::refused(
            format!("The database's encoding is {encoding}; rows are compared in UTF8 alone."),
            "Bring the rows over by pg_dump from a restored copy.",
        )),
        None => Ok(()),
    }
}

/// The encodings of all sessions, where they are of one origin and the writers take writes.
async fn of_one_origin(
    source: &tokio_postgres::Client,
    writers: &[&tokio_postgres::Client],
) -> Result<Vec<String>, PartsError> {
    let query = "SELECT c.system_identifier::text, pg_catalog.pg_is_in_recovery(), \
                        pg_catalog.current_setting('server_encoding') \
                   FROM pg_catalog.pg_control_system() c";
    let failed = || PartsError::sql("Asking who the server is");
    let mut seen = Vec::new();
    for session in std::iter::once(&source).chain(writers) {
        let row = session.query_one(query, &[]).await.map_err(failed())?;
        let (origin, recovers, encoding): (String, bool, String) = (
            row.try_get(0).map_err(failed())?,
            row.try_get(1).map_err(failed())?,
            row.try_get(2).map_err(failed())?,
        );
        seen.push((origin, recovers, encoding));
    }
    let Some(((origin, _, _), others)) = seen.split_first() else { return Ok(Vec::new()) };
    if let Some((other, _, _)) = others.iter().find(|(other, _, _)| other != origin) {
        return Err(PartsError::refused(
            format!(
                "The server that answers for production has the system identifier {other}, the \
                 backup has {origin}: it is another cluster."
            ),
            "Look at the connection in lifeboat.toml: a pooler or an address may lead elsewhere.",
        ));
    }
    if others.iter().any(|(_, recovers, _)| *recovers) {
        return Err(PartsError::refused(
            "The server that answers for production is in recovery.",
            "Name the primary in lifeboat.toml.",
        ));
    }
    Ok(seen.into_iter().map(|(_, _, encoding)| encoding).collect())
}
