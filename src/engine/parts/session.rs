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

/// Sets the session up again after a program's statements have changed it.
///
/// # Errors
/// Where the server refuses.
pub async fn again(session: &tokio_postgres::Client) -> Result<(), PartsError> {
    let text = format!("{SAME_WORDS}; {LOCK_WAIT}");
    session.batch_execute(&text).await.map_err(PartsError::sql("Preparing a session"))
}
