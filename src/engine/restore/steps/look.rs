//! The tables that matter, counted where the recovering server stopped. Owns which tables those
//! are and what is asked of them. Reads only, within a limit of its own, and never waits for a
//! lock: a transaction that is under way at that point may hold one for good.

use crate::engine::config::Connection;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Check, NEWEST, ROWS};
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::recovery_point::words::grouped;
use crate::engine::validate::check::{Begun, begin};
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// All tables together take no longer.
const LIMIT: Duration = Duration::from_secs(10);
/// One statement takes no longer.
const EACH: Duration = Duration::from_secs(4);
/// Tables that are looked at.
const MOST: usize = 6;
/// Columns that tell when a row came, the likeliest first.
const CAME: [&str; 8] = [
    "created_at",
    "inserted_at",
    "created",
    "created_on",
    "creation_time",
    "ts",
    "updated_at",
    "modified_at",
];

/// A table to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// As the log's reading names it: `schema.table`, or `schema.table in database`.
    name: String,
    /// It cannot hold fewer rows here: so many that were there were deleted afterwards.
    at_least: Option<u64>,
}

/// Rows and newest row of the tables that lose most after this point, of those that earlier
/// points were judged by, of the suspects' and of the configured ones. `reached` is the time of
/// the last replayed commit.
pub(super) async fn tables(
    connection: &Connection,
    configured: &[String],
    incident: &Incident,
    reached: Option<Timestamp>,
) -> Vec<Check> {
    let end = Instant::now() + LIMIT;
    let known = names(connection).await;
    let mut checks = Vec::new();
    for table in wanted(incident, configured, &known, &connection.database) {
        checks.extend(look(connection, &table, reached, end).await);
    }
    checks
}

/// The tables of the connection's own database, for finding them in the suspects' words.
async fn names(connection: &Connection) -> Vec<String> {
    let sql = "SELECT n.nspname || '.' || c.relname
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
                 AND n.nspname <> 'information_schema' LIMIT 10000";
    let asked = async {
        let session = open(connection, None).await.ok()?;
        let rows = session.query(sql, &[]).await.ok()?;
        Some(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    };
    // Without them the suspects' tables are found by the rows that they lose.
    asked.await.unwrap_or_default()
}

fn wanted(
    incident: &Incident,
    configured: &[String],
    known: &[String],
    database: &str,
) -> Vec<Wanted> {
    // One table has one name, whoever names it.
    let own = format!(" in {database}");
    let mut list: Vec<Wanted> = Vec::new();
    let mut add = |name: &str, at_least: Option<u64>| {
        let name = name.strip_suffix(&own).unwrap_or(name);
        if list.len() < MOST && !list.iter().any(|w| w.name == name) {
            list.push(Wanted { name: name.to_owned(), at_least });
        }
    };
    // What an earlier point was judged by is asked again, or nothing could be compared.
    let before: Vec<&str> = incident
        .tries
        .iter()
        .flat_map(|tried| &tried.checks)
        .filter_map(|check| check.id.strip_prefix(ROWS))
        .collect();
    let cost = incident.reach.as_ref().map(|reach| &reach.cost);
    let lost = cost.and_then(|cost| cost.tables.as_deref()).unwrap_or_default();
    let least = |name: &str| {
        let exact = cost.is_some_and(|cost| cost.exact);
        let plain = |name: &str| name.strip_suffix(&own).unwrap_or(name).to_owned();
        let table =
            lost.iter().find(|table| plain(&table.relation) == plain(name)).filter(|_| exact)?;
        Some(table.deletes.saturating_sub(table.inserts)).filter(|least| *least > 0)
    };
    before.iter().for_each(|name| add(name, least(name)));
    lost.iter().take(MOST / 2).for_each(|table| add(&table.relation, least(&table.relation)));
    let picture = cost.and_then(|cost| cost.picture.as_deref());
    for (_, what) in picture.iter().flat_map(|picture| picture.suspects.iter().take(2)) {
        let words = || what.split(|c: char| c.is_whitespace() || ",;()".contains(c));
        let said = |name: &&String| words().any(|word| word == name.as_str());
        known.iter().filter(said).for_each(|name| add(name, least(name)));
    }
    configured.iter().for_each(|name| add(name, least(name)));
    lost.iter().for_each(|table| add(&table.relation, least(&table.relation)));
    list
}

/// `schema.table in database`, in its parts.
fn parts(name: &str) -> Option<(&str, &str, Option<&str>)> {
    let (table, database) =
        name.rsplit_once(" in ").map_or((name, None), |(table, database)| (table, Some(database)));
    let (schema, table) = table.split_once('.')?;
    Some((schema, table, database))
}

enum Seen {
    NotThere,
    Counted { rows: u64, newest: Option<(String, Option<Timestamp>)> },
}

enum Unseen {
    Locked,
    /// With the rows that the last statistics tell of.
    TooLong(Option<u64>),
    Other(String),
}

async fn look(
    connection: &Connection,
    wanted: &Wanted,
    reached: Option<Timestamp>,
    end: Instant,
) -> Vec<Check> {
    let name = &wanted.name;
    let mut begun = begin(format!("{ROWS}{name}"), format!("Rows of {name}"));
    if let Some(least) = wanted.at_least {
        begun = begun.expected(format!("at least {}", grouped(least)));
    }
    let Some((schema, table, database)) = parts(name) else {
        return vec![begun.could_not_verify("Only its file is known, not its name.")];
    };
    let left = end.saturating_duration_since(Instant::now());
    let asked = tokio::time::timeout(left, ask(connection, schema, table, database)).await;
    let newest = begin(format!("{NEWEST}{name}"), format!("Newest row of {name}"));
    match asked {
        Err(_) => vec![begun.could_not_verify("The time for looking at tables was used up.")],
        Ok(Err(Unseen::Locked)) => vec![begun.found("locked").could_not_verify(
            "It is locked by the transaction that is under way at this point, and cannot be read \
             here. A point just before that transaction's first record has no such lock.",
        )],
        Ok(Err(Unseen::TooLong(about))) => {
            let begun = match about {
                Some(rows) => begun.found(format!("about {}", grouped(rows))),
                None => begun,
            };
            vec![begun.could_not_verify(
                "Counting it takes too long; what is shown is from its last statistics.",
            )]
        }
        Ok(Err(Unseen::Other(reason))) => vec![begun.could_not_verify(reason)],
        Ok(Ok(Seen::NotThere)) => vec![not_there(begun, wanted)],
        Ok(Ok(Seen::Counted { rows, newest: came })) => {
            let mut checks = vec![counted(begun, wanted, rows)];
            checks.extend(came.map(|(column, at)| newest_row(newest, &column, at, reached)));
            checks
        }
    }
}

fn not_there(begun: Begun, wanted: &Wanted) -> Check {
    let begun = begun.found("not there");
    if wanted.at_least.is_some() {
        return begun.failed("Rows of it were deleted after this point, so it should be here.");
    }
    begun.could_not_verify(
        "No table of that name is here: it was made after this point, or dropped before it.",
    )
}

fn counted(begun: Begun, wanted: &Wanted, rows: u64) -> Check {
    let begun = begun.found(grouped(rows));
    match wanted.at_least {
        Some(least) if rows >= least => {
            begun.verified("The rows that are deleted after this point are here.")
        }
        Some(_) => begun.failed(
            "Rows that are deleted after this point are not here: something was lost earlier. \
             Look for an earlier transaction.",
        ),
        None => begun.not_run("Counted alone: how many there should be is not known."),
    }
}

fn newest_row(
    begun: Begun,
    column: &str,
    at: Option<Timestamp>,
    reached: Option<Timestamp>,
) -> Check {
    let text = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S%.3f+00").to_string();
    let begun = match reached {
        Some(reached) => begun.expected(format!("not after {}", text(reached))),
        None => begun,
    };
    let Some(at) = at else {
        return begun.found("none").not_run(format!("No row has a time in {column}."));
    };
    let begun = begun.found(text(at));
    match reached {
        Some(reached) if at <= reached => {
            begun.verified(format!("By {column}: not after the last transaction that is here."))
        }
        Some(_) => begun.could_not_verify(format!(
            "By {column}: after the last transaction that is here; another clock wrote it, or it \
             is a date to come."
        )),
        None => begun.not_run(format!("By {column}; when the last transaction was is not known.")),
    }
}

async fn open(connection: &Connection, database: Option<&str>) -> Result<Session, Unseen> {
    let mut options = ConnectOptions::default()
        .read_only()
        .connect_limit(Duration::from_secs(2))
        .statement_limit(Some(EACH));
    options.database = database.map(ToOwned::to_owned);
    connect::connect(connection, &options).await.map_err(|error| Unseen::Other(error.to_string()))
}

async fn ask(
    connection: &Connection,
    schema: &str,
    table: &str,
    database: Option<&str>,
) -> Result<Seen, Unseen> {
    let other = |error: tokio_postgres::Error| Unseen::Other(connect::reason(&error));
    let session = open(connection, database).await?;
    session.batch_execute("SET lock_timeout = '500ms'").await.map_err(other)?;
    let sql = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
                      c.reltuples::float8,
                      (SELECT a.attname::text FROM pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                          AND a.atttypid = 'timestamptz'::regtype
                          AND a.attname::text = ANY($3)
                        ORDER BY array_position($3, a.attname::text) LIMIT 1)
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'm')";
    let came = CAME.map(String::from).to_vec();
    let found = session.query_opt(sql, &[&schema, &table, &came]).await.map_err(other)?;
    let Some(found) = found else { return Ok(Seen::NotThere) };
    let relation: String = found.try_get(0).map_err(other)?;
    let about: f64 = found.try_get(1).map_err(other)?;
    let column: Option<String> = found.try_get(2).map_err(other)?;
    let newest = column.as_ref().map_or_else(
        || String::from("NULL::timestamptz"),
        |column| format!("max(\"{}\")", column.replace('"', "\"\"")),
    );
    // One pass for both.
    let row = session
        .query_one(&format!("SELECT count(*), {newest} FROM {relation}"), &[])
        .await
        .map_err(|error| unseen(&error, about))?;
    let rows: i64 = row.try_get(0).map_err(other)?;
    // A time without end is none for people.
    let at = row.try_get::<_, Option<Timestamp>>(1).ok().flatten();
    let newest = column.map(|column| (column, at));
    Ok(Seen::Counted { rows: u64::try_from(rows).unwrap_or(0), newest })
}

fn unseen(error: &tokio_postgres::Error, about: f64) -> Unseen {
    match error.code() {
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => Unseen::Locked,
        Some(code) if *code == SqlState::QUERY_CANCELED => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "statistics, not negative"
            )]
            let rows = (about >= 0.0).then_some(about as u64);
            Unseen::TooLong(rows)
        }
        _ => Unseen::Other(connect::reason(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    fn of(at_least: Option<u64>) -> Wanted {
        Wanted { name: String::from("public.orders"), at_least }
    }

    #[test]
    fn a_count_passes_only_against_what_is_known() {
        let verdict = |least, rows| counted(begin("t", "t"), &of(least), rows).verdict;
        assert_eq!(verdict(Some(10), 10), Verdict::Verified);
        assert_eq!(verdict(Some(10), 9), Verdict::Failed);
        assert_eq!(verdict(None, 9), Verdict::NotRun, "counted, not judged");
        assert_eq!(not_there(begin("t", "t"), &of(None)).verdict, Verdict::CouldNotVerify);
        assert_eq!(not_there(begin("t", "t"), &of(Some(1))).verdict, Verdict::Failed);
    }

    #[test]
    fn a_row_from_after_the_point_is_no_proof() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let verdict = |newest, reached| newest_row(begin("n", "n"), "c", newest, reached).verdict;
        assert_eq!(verdict(Some(at(5)), Some(at(5))), Verdict::Verified);
        assert_eq!(verdict(Some(at(6)), Some(at(5))), Verdict::CouldNotVerify);
        assert_eq!(verdict(Some(at(6)), None), Verdict::NotRun);
        assert_eq!(verdict(None, Some(at(5))), Verdict::NotRun);
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(parts("public.orders"), Some(("public", "orders", None)));
        assert_eq!(parts("public.orders in shop"), Some(("public", "orders", Some("shop"))));
        assert_eq!(parts("database 5, file 16402"), None);
    }
}
