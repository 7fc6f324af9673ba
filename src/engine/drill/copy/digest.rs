//! The copied databases in figures: rows of every table and a digest over all of them, taken
//! before the accident and again after the recovery. Owns what is counted and how two takings are
//! compared; a table that cannot be read is told and never taken for equal.

use super::super::error::DrillError;
use super::super::shop::DATABASE;
use super::quiet;
use crate::engine::config::Connection;
use crate::engine::incident::facts::Check;
use crate::engine::parts::names::Name;
use crate::engine::validate::check::begin;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A database of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseState {
    pub name: String,
    /// By name; what a table holds, or why that is not known.
    pub tables: BTreeMap<String, Result<TableState, String>>,
}

/// A table of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    pub rows: i64,
    /// Over every column of every row, whatever their order.
    pub digest: String,
}

/// Tables that keep rows of their own. Unlogged ones and other sessions' come back empty from
/// every recovery, as PostgreSQL means them to.
const TABLES: &str = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
      AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2";

/// Everything that was copied, as it is now. The shop's database is the drill's own.
///
/// # Errors
/// Where the server or one of its databases cannot be asked.
pub async fn take(connection: &Connection) -> Result<Vec<DatabaseState>, DrillError> {
    let mut all = Vec::new();
    for name in quiet::databases(connection).await? {
        if name != DATABASE {
            all.push(take_one(connection, name).await?);
        }
    }
    Ok(all)
}

async fn take_one(connection: &Connection, name: String) -> Result<DatabaseState, DrillError> {
    let session = quiet::open(connection, &name).await?;
    quiet::run(&session, "SET timezone = 'UTC'").await?;
    let mut tables = BTreeMap::new();
    for row in quiet::rows(&session, TABLES).await? {
        let table = Name::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let sql = format!(
            "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum( \
             pg_catalog.hashtextextended(t::pg_catalog.text, 0)::pg_catalog.numeric), \
             0)::pg_catalog.text FROM ONLY {} AS t",
            table.sql()
        );
        let state = match session.query_one(&sql, &[]).await {
            Ok(row) => Ok(TableState { rows: row.get(0), digest: row.get(1) }),
            Err(error) => Err(crate::engine::postgres::connect::reason(&error)),
        };
        tables.insert(table.to_string(), state);
    }
    Ok(DatabaseState { name, tables })
}

impl DatabaseState {
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.tables.values().flatten().map(|table| table.rows).sum()
    }

    fn words(&self) -> String {
        let mut sum = Sha256::new();
        for (name, state) in &self.tables {
            let text = match state {
                Ok(table) => format!("{name}\0{}\0{}\n", table.rows, table.digest),
                Err(why) => format!("{name}\0{why}\n"),
            };
            sum.update(text);
        }
        let digest = data_encoding::HEXLOWER.encode(&sum.finalize());
        let short = digest.get(..16).unwrap_or_default();
        format!("{} tables, {} rows, digest {short}", self.tables.len(), self.rows())
    }
}

/// A check for each database that was copied.
#[must_use]
pub fn compare(
    before: &[DatabaseState],
    after: &Result<Vec<DatabaseState>, DrillError>,
) -> Vec<Check> {
    before.iter().map(|one| compare_one(one, after)).collect()
}

fn compare_one(before: &DatabaseState, after: &Result<Vec<DatabaseState>, DrillError>) -> Check {
    let begun = begin(
        format!("copied:{}", before.name),
        format!("Every row of the copied database {} is as it was", before.name),
    )
    .expected(before.words());
    let all = match after {
        Ok(all) => all,
        Err(error) => {
            return begun.could_not_verify(format!("It could not be looked at: {error}."));
        }
    };
    let Some(now) = all.iter().find(|one| one.name == before.name) else {
        return begun.found("no such database").failed("The database did not come back.");
    };
    let begun = begun.found(now.words());
    let differs = |name: &&String| match (before.tables.get(*name), now.tables.get(*name)) {
        (Some(Ok(before)), Some(Ok(now))) => before != now,
        (Some(Err(_)), _) | (_, Some(Err(_))) => false,
        _ => true,
    };
    let names: std::collections::BTreeSet<&String> =
        before.tables.keys().chain(now.tables.keys()).collect();
    let different: Vec<&str> = names.iter().copied().filter(differs).map(String::as_str).collect();
    if !different.is_empty() {
        return begun.failed(format!("Not as before: {}.", some(&different)));
    }
    let unread: Vec<String> = [before, now]
        .into_iter()
        .flat_map(|state| &state.tables)
        .filter_map(|(name, state)| Some(format!("{name} ({})", state.as_ref().err()?)))
        .collect();
    if !unread.is_empty() {
        let unread: Vec<&str> = unread.iter().map(String::as_str).collect();
        return begun.could_not_verify(format!("Not to be read: {}.", some(&unread)));
    }
    begun.verified("Rows and digests of all its tables are equal.")
}

/// The first few of them, and how many more.
fn some(names: &[&str]) -> String {
    const FEW: usize = 5;
    let shown = names.iter().take(FEW).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    fn state(tables: &[(&str, Result<i64, &str>)]) -> DatabaseState {
        let tables = tables.iter().map(|(name, rows)| {
            let state = rows.map(|rows| TableState { rows, digest: rows.to_string() });
            ((*name).to_owned(), state.map_err(str::to_owned))
        });
        DatabaseState { name: String::from("bank"), tables: tables.collect() }
    }

    fn verdict(before: &DatabaseState, after: Vec<DatabaseState>) -> Verdict {
        compare(std::slice::from_ref(before), &Ok(after))[0].verdict
    }

    #[test]
    fn only_what_is_equal_and_was_read_is_verified() {
        let one = state(&[("public.people", Ok(5))]);
        assert_eq!(verdict(&one, vec![one.clone()]), Verdict::Verified);
        assert_eq!(verdict(&one, vec![state(&[("public.people", Ok(4))])]), Verdict::Failed);
        assert_eq!(verdict(&one, vec![state(&[])]), Verdict::Failed);
        assert_eq!(verdict(&one, Vec::new()), Verdict::Failed);
        let more = state(&[("public.people", Ok(5)), ("public.new", Ok(0))]);
        assert_eq!(verdict(&one, vec![more]), Verdict::Failed);
        let unread = state(&[("public.people", Err("no such type"))]);
        assert_eq!(verdict(&unread, vec![unread.clone()]), Verdict::CouldNotVerify);
        assert_eq!(verdict(&one, vec![unread]), Verdict::CouldNotVerify);
        let none = compare(&[one], &Err(DrillError::Interrupted));
        assert_eq!(none[0].verdict, Verdict::CouldNotVerify);
    }

    #[test]
    fn many_names_are_cut_short() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(some(&["a"; 7]), "a, a, a, a, a and 2 more");
    }
}
