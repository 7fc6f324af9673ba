//! The end of a carrying over: its commit, and what became of it where the answer was lost. Owns
//! telling committed, rolled back and not known apart; never takes a lost answer for any of them.

use super::error::PartsError;
use super::session;
use crate::engine::config::Connection;
use crate::engine::postgres::connect;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// How long the server is asked for what became of a commit. A server that crashed has to
/// recover first.
pub const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// By what a transaction is found again: its number, and the server that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub xid: String,
    origin: Origin,
}

/// The same number on another timeline is another transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    system: String,
    timeline: String,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Origin { system, timeline } = &self.origin;
        write!(f, "transaction {} on timeline {timeline} of system {system}", self.xid)
    }
}

impl Mark {
    /// Reads what its `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let ["transaction", xid, "on", "timeline", timeline, "of", "system", system] = words[..]
        else {
            return None;
        };
        let origin = Origin { system: system.to_owned(), timeline: timeline.to_owned() };
        Some(Self { xid: xid.to_owned(), origin })
    }
}

/// Hears of a transaction before its COMMIT is sent; its error rolls back.
pub type Before<'a> = &'a mut (dyn FnMut(&Mark) -> Result<(), PartsError> + Send);

/// What a server says of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Committed,
    RolledBack,
    /// Its session has not noticed yet that nobody listens.
    UnderWay,
    /// So old that it is forgotten.
    Forgotten,
}

/// Commits the writer's transaction, of which `before` hears first. Where the answer is lost, asks
/// on a new connection; then the text says so.
///
/// # Errors
/// Where it was rolled back; [`PartsError::NotKnown`] where nobody says within `limit` whether it
/// was committed.
pub async fn commit(
    writer: &Client,
    connection: &Connection,
    database: &str,
    limit: Duration,
    before: Before<'_>,
) -> Result<Option<String>, PartsError> {
    let mark = mark(writer).await?;
    if let Some(mark) = &mark {
        before(mark)?;
    }
    let Err(error) = writer.batch_execute("COMMIT").await else { return Ok(None) };
    let Some(mark) = mark.filter(|_| !is_answer(&error)) else {
        return Err(PartsError::sql("Committing")(error));
    };
    let lost = connect::reason(&error);
    let not_known = |why: String| PartsError::NotKnown { xid: mark.xid.clone(), lost, why };
    match ask(&mark, connection, database, limit).await {
        Ok(Status::Committed) => Ok(Some(format!(
            "The answer to COMMIT was lost; asked again, the server says that transaction {} is \
             committed",
            mark.xid
        ))),
        Ok(Status::RolledBack) => Err(PartsError::sql("Committing")(error)),
        Ok(Status::UnderWay) => Err(not_known(String::from("the server is still at it"))),
        Ok(Status::Forgotten) => Err(not_known(String::from("the server has forgotten it"))),
        Err(why) => Err(not_known(why)),
    }
}

/// `None` where the transaction has written nothing: then nothing hangs on its end.
async fn mark(writer: &Client) -> Result<Option<Mark>, PartsError> {
    let failed = || PartsError::sql("Asking for the transaction's number");
    let query = format!("SELECT pg_current_xact_id_if_assigned()::text, {ORIGIN}");
    let row = writer.query_one(&query, &[]).await.map_err(failed())?;
    let xid: Option<String> = row.try_get(0).map_err(failed())?;
    let origin = origin(&row, 1).map_err(failed())?;
    Ok(xid.map(|xid| Mark { xid, origin }))
}

const ORIGIN: &str = "(SELECT system_identifier::text FROM pg_catalog.pg_control_system()), \
     pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8)";

fn origin(row: &tokio_postgres::Row, at: usize) -> Result<Origin, Error> {
    Ok(Origin { system: row.try_get(at)?, timeline: row.try_get(at + 1)? })
}

/// Whether the server itself said that the transaction failed. The words of a server that goes
/// down may come before or behind the commit.
fn is_answer(error: &Error) -> bool {
    error.as_db_error().is_some_and(|db| answers(db.code()))
}

fn answers(code: &SqlState) -> bool {
    // 08: the connection; 57P: an operator's hand, a shutdown, a crash.
    !code.code().starts_with("08") && !code.code().starts_with("57P")
}

/// Asks until the server knows, at most for `limit` and at least once.
///
/// # Errors
/// Why it could not be learnt; that says nothing of what became of it.
pub async fn ask(
    mark: &Mark,
    connection: &Connection,
    database: &str,
    limit: Duration,
) -> Result<Status, String> {
    let end = Instant::now() + limit;
    loop {
        let asked = ask_once(mark, connection, database).await;
        let settled = !matches!(asked, Err(_) | Ok(Status::UnderWay));
        if settled || Instant::now() >= end {
            return asked;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask_once(mark: &Mark, connection: &Connection, database: &str) -> Result<Status, String> {
    let mut connection = connection.clone();
    database.clone_into(&mut connection.database);
    let session = session::open_any(&connection).await.map_err(|error| error.to_string())?;
    // A server in recovery has no place where it writes, and fails here.
    let query = format!("SELECT {ORIGIN}");
    let row = session.query_one(&query, &[]).await.map_err(|error| connect::reason(&error))?;
    let now = origin(&row, 0).map_err(|error| connect::reason(&error))?;
    if now != mark.origin {
        return Err(format!(
            "another server answers by now (system identifier {} on timeline {}, before {} on {})",
            now.system, now.timeline, mark.origin.system, mark.origin.timeline
        ));
    }
    let query = "SELECT pg_catalog.pg_xact_status($1::text::xid8)";
    let row =
        session.query_one(query, &[&mark.xid]).await.map_err(|error| connect::reason(&error))?;
    let told: Option<String> = row.try_get(0).map_err(|error| connect::reason(&error))?;
    status(told.as_deref())
}

fn status(told: Option<&str>) -> Result<Status, String> {
    match told {
        Some("committed") => Ok(Status::Committed),
        Some("aborted") => Ok(Status::RolledBack),
        Some("in progress") => Ok(Status::UnderWay),
        None => Ok(Status::Forgotten),
        Some(other) => Err(format!("the server says \"{other}\" of it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_again_as_it_was_written() {
        let origin = Origin { system: String::from("73"), timeline: String::from("0000000A") };
        let mark = Mark { xid: String::from("4294967999"), origin };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        assert_eq!(Mark::parse("transaction 1"), None);
    }

    #[test]
    fn only_the_servers_own_word_counts_as_an_end() {
        assert_eq!(status(Some("committed")), Ok(Status::Committed));
        assert_eq!(status(Some("aborted")), Ok(Status::RolledBack));
        assert_eq!(status(Some("in progress")), Ok(Status::UnderWay));
        assert_eq!(status(None), Ok(Status::Forgotten));
        assert!(status(Some("prepared")).is_err());
    }

    #[test]
    fn a_server_that_goes_down_has_not_answered() {
        assert!(answers(&SqlState::FOREIGN_KEY_VIOLATION));
        assert!(answers(&SqlState::T_R_SERIALIZATION_FAILURE));
        assert!(!answers(&SqlState::ADMIN_SHUTDOWN));
        assert!(!answers(&SqlState::CRASH_SHUTDOWN));
        assert!(!answers(&SqlState::CONNECTION_FAILURE));
    }
}
