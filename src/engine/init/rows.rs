//! Row counts of some tables, on the server and on a restored copy, and what their comparison
//! proves. Reads only. A live server goes on writing: only counts that stood still are judged to
//! the row.

use crate::engine::config::Connection;
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::validate::check::begin;
use std::time::Duration;

/// Tables counted in one database.
const IN_A_DATABASE: i64 = 3;
/// Databases looked at.
const DATABASES: i64 = 8;
/// Larger tables are left out: counting them would take longer than it proves. Bytes.
const LARGEST: i64 = 2_000_000_000;
const COUNT_LIMIT: Duration = Duration::from_secs(60);

/// One table's count at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub database: String,
    /// `schema.table`, quoted by the server.
    pub table: String,
    pub rows: u64,
    /// Rows that were ever inserted, updated and deleted, where the server counts them.
    pub writes: Option<i64>,
}

/// Counts the largest tables that are not too large in the first databases. A database without
/// tables of its own gives `pg_catalog.pg_class`.
///
/// # Errors
/// The first that could not be counted, in words.
pub async fn count_some(connection: &Connection) -> Result<Vec<Count>, String> {
    let session = open(connection, &connection.database).await?;
    let rows = session
        .query(
            "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate
             ORDER BY pg_database_size(oid) DESC LIMIT $1",
            &[&DATABASES],
        )
        .await
        .map_err(|error| connect::reason(&error))?;
    let mut counts = Vec::new();
    for row in &rows {
        let database: String = row.try_get(0).map_err(|error| connect::reason(&error))?;
        let session = open(connection, &database).await?;
        for table in chosen(&session).await? {
            counts.push(count(&session, &database, &table).await?);
        }
    }
    Ok(counts)
}

/// Counts the same tables again, on this server or on another; `None` for one that is not there
/// or could not be counted, with the reason.
pub async fn count_again(connection: &Connection, of: &[Count]) -> Vec<Result<Count, String>> {
    let mut counts = Vec::with_capacity(of.len());
    let mut at: Option<(String, Session)> = None;
    for one in of {
        if at.as_ref().is_none_or(|(database, _)| *database != one.database) {
            match open(connection, &one.database).await {
                Ok(session) => at = Some((one.database.clone(), session)),
                Err(reason) => {
                    counts.push(Err(reason));
                    continue;
                }
            }
        }
        let Some((database, session)) = &at else { continue };
        counts.push(count(session, database, &one.table).await);
    }
    counts
}

/// What a table's three counts prove. `before` is absent where the backup was not taken in this
/// run.
#[must_use]
pub fn judge(
    before: Option<&Count>,
    now: &Result<Count, String>,
    restored: &Result<Count, String>,
    of: &Count,
) -> Check {
    let title = format!("{}: {} has its rows", of.database, of.table);
    let begun = begin(format!("rows:{}/{}", of.database, of.table), title);
    let restored = match restored {
        Ok(count) => count.rows,
        Err(reason) => {
            return begun
                .could_not_verify(format!("It could not be counted in the copy: {reason}"));
        }
    };
    let begun = begun.found(restored.to_string());
    let now = match now {
        Ok(count) => count,
        Err(reason) => {
            return begun
                .could_not_verify(format!("It could not be counted on the server: {reason}"));
        }
    };
    let Some(before) = before else {
        let begun = begun.expected(format!("about {}", now.rows));
        return if now.rows == restored {
            begun.verified("The copy and the server have the same number.")
        } else {
            begun.could_not_verify("The server has written since the backup.")
        };
    };
    let (least, most) = (before.rows.min(now.rows), before.rows.max(now.rows));
    let still = least == most && before.writes.is_some() && before.writes == now.writes;
    let expected =
        if least == most { least.to_string() } else { format!("from {least} to {most}") };
    let begun = begun.expected(expected);
    let verdict = if (least..=most).contains(&restored) {
        Verdict::Verified
    } else if still {
        Verdict::Failed
    } else {
        Verdict::CouldNotVerify
    };
    let detail = match verdict {
        Verdict::Verified if least == most => "As on the server before and after the backup.",
        Verdict::Verified => "Between the server's counts before and after the backup.",
        Verdict::Failed => "Nobody wrote to it while it was backed up, and the copy differs.",
        _ => "It was written to while it was backed up.",
    };
    begun.end(verdict, detail)
}

async fn open(connection: &Connection, database: &str) -> Result<Session, String> {
    let options =
        ConnectOptions::default().database(database).statement_limit(Some(COUNT_LIMIT)).read_only();
    connect::connect(connection, &options).await.map_err(|error| error.to_string())
}

/// Tables of users, permanent ones alone: a copy in recovery has no rows of others.
async fn chosen(session: &Session) -> Result<Vec<String>, String> {
    let rows = session
        .query(
            "SELECT format('%I.%I', n.nspname, c.relname)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind = 'r' AND c.relpersistence = 'p'
               AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
               AND pg_relation_size(c.oid) <= $1
             ORDER BY pg_relation_size(c.oid) DESC, 1 LIMIT $2",
            &[&LARGEST, &IN_A_DATABASE],
        )
        .await
        .map_err(|error| connect::reason(&error))?;
    let tables: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let tables = tables.map_err(|error| connect::reason(&error))?;
    Ok(if tables.is_empty() { vec![String::from("pg_catalog.pg_class")] } else { tables })
}

async fn count(session: &Session, database: &str, table: &str) -> Result<Count, String> {
    let told = |error: tokio_postgres::Error| connect::reason(&error);
    let row =
        session.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.map_err(told)?;
    let rows: i64 = row.try_get(0).map_err(told)?;
    let row = session
        .query_opt(
            "SELECT (n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_all_tables
             WHERE relid = $1::text::regclass",
            &[&table],
        )
        .await
        .map_err(told)?;
    let writes = match row {
        Some(row) => row.try_get(0).map_err(told)?,
        None => None,
    };
    Ok(Count {
        database: database.to_owned(),
        table: table.to_owned(),
        rows: u64::try_from(rows).unwrap_or_default(),
        writes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rows: u64, writes: i64) -> Count {
        Count {
            database: String::from("shop"),
            table: String::from("public.orders"),
            rows,
            writes: Some(writes),
        }
    }

    fn verdict(before: Option<Count>, now: Count, restored: Result<Count, String>) -> Verdict {
        let of = counted(0, 0);
        judge(before.as_ref(), &Ok(now), &restored, &of).verdict
    }

    #[test]
    fn a_quiet_table_is_judged_to_the_row() {
        let same = || counted(10, 10);
        assert_eq!(verdict(Some(same()), same(), Ok(counted(10, 0))), Verdict::Verified);
        assert_eq!(verdict(Some(same()), same(), Ok(counted(9, 0))), Verdict::Failed);
        assert_eq!(
            verdict(Some(same()), same(), Err(String::from("no such table"))),
            Verdict::CouldNotVerify
        );
    }

    #[test]
    fn a_busy_table_fails_nobody_and_passes_within_its_bounds() {
        let (before, now) = (counted(10, 10), counted(20, 20));
        for (rows, expected) in
            [(10, Verdict::Verified), (15, Verdict::Verified), (21, Verdict::CouldNotVerify)]
        {
            let found = verdict(Some(before.clone()), now.clone(), Ok(counted(rows, 0)));
            assert_eq!(found, expected, "{rows}");
        }
        // Rows that came and went leave the count and move the writes.
        let found = verdict(Some(counted(10, 10)), counted(10, 30), Ok(counted(12, 0)));
        assert_eq!(found, Verdict::CouldNotVerify);
    }

    #[test]
    fn without_a_count_before_only_equality_proves() {
        assert_eq!(verdict(None, counted(5, 5), Ok(counted(5, 0))), Verdict::Verified);
        assert_eq!(verdict(None, counted(6, 6), Ok(counted(5, 0))), Verdict::CouldNotVerify);
    }
}
