//! Tables moved into a side schema within the sandbox, so that `pg_dump` names them there, and back
//! again. Owns a record of each move in the sandbox's database itself, written in the same
//! transaction: whoever was killed over it, or failed, finds the way back. Never acts in production.

use super::Scope;
use super::catalog::{self, Table};
use super::error::PartsError;
use super::names::{Name, literal, quote};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Where the record is, in a database of the sandbox alone.
const RECORD: &str = "lifeboat_aside";

/// Moves the tables, or all of a schema, into `side`. Gives the foreign keys that lead elsewhere,
/// which are left out: in a side schema they would tie production's tables.
///
/// # Errors
/// Where two tables have one name, or the sandbox refuses.
pub async fn move_aside(
    source: &Client,
    scope: &Scope,
    tables: &[Table],
    side: &str,
) -> Result<Vec<String>, PartsError> {
    let mut statements = Vec::new();
    let mut record = Vec::new();
    if let Scope::Schema(schema) = scope {
        statements.push(format!("ALTER SCHEMA {} RENAME TO {}", quote(schema), quote(side)));
        record.push(format!("ALTER SCHEMA {} RENAME TO {}", quote(side), quote(schema)));
    } else {
        statements.push(format!("CREATE SCHEMA {}", quote(side)));
        record.push(format!("DROP SCHEMA {}", quote(side)));
        let mut taken: BTreeMap<String, Name> = BTreeMap::new();
        for table in tables {
            for (name, _) in catalog::tree(source, table).await? {
                if let Some(other) = taken.insert(name.table.clone(), name.clone()) {
                    return Err(PartsError::refused(
                        format!("{other} and {name} have one name and do not fit in one schema."),
                        "Take them one after the other.",
                    ));
                }
                let there = Name::new(side, name.table.clone());
                let schema = quote(&name.schema);
                statements.push(format!("ALTER TABLE {} SET SCHEMA {}", name.sql(), quote(side)));
                record.push(format!("ALTER TABLE {} SET SCHEMA {schema}", there.sql()));
            }
        }
    }
    let failed = || PartsError::sql("Moving tables aside in the sandbox");
    source.batch_execute("BEGIN").await.map_err(failed())?;
    let moved = async {
        source.batch_execute(&statements.join("; ")).await.map_err(failed())?;
        let mut left_out = Vec::new();
        for (name, key, made) in leading_out(source, side).await? {
            let text = format!("ALTER TABLE {} DROP CONSTRAINT {}", name.sql(), quote(&key));
            source.batch_execute(&text).await.map_err(failed())?;
            record.push(format!(
                "ALTER TABLE {} ADD CONSTRAINT {} {made}",
                name.sql(),
                quote(&key)
            ));
            left_out.push(format!("{key} of {name}: {made}"));
        }
        let mut text =
            format!("CREATE SCHEMA {RECORD}; CREATE TABLE {RECORD}.back (at int, sql text)");
        for (at, back) in record.iter().enumerate() {
            text.push_str(&format!("; INSERT INTO {RECORD}.back VALUES ({at}, {})", literal(back)));
        }
        text.push_str("; COMMIT");
        source.batch_execute(&text).await.map_err(failed())?;
        Ok(left_out)
    };
    let outcome = moved.await;
    if outcome.is_err() {
        // What the first error says counts; the transaction ends with the session in any case.
        let _ = source.batch_execute("ROLLBACK").await;
    }
    outcome
}

/// Undoes a move, where there is one.
///
/// # Errors
/// Where the sandbox refuses; it stays moved then.
pub async fn move_back(source: &Client) -> Result<(), PartsError> {
    if !catalog::has_schema(source, RECORD).await? {
        return Ok(());
    }
    let failed = || PartsError::sql("Moving tables back in the sandbox");
    let query = format!("SELECT sql FROM {RECORD}.back ORDER BY at DESC");
    let mut text = String::from("BEGIN");
    for row in source.query(&query, &[]).await.map_err(failed())? {
        let back: String = row.try_get(0).map_err(failed())?;
        text.push_str("; ");
        text.push_str(&back);
    }
    text.push_str(&format!("; DROP SCHEMA {RECORD} CASCADE; COMMIT"));
    source.batch_execute(&text).await.map_err(failed())
}

async fn leading_out(
    source: &Client,
    side: &str,
) -> Result<Vec<(Name, String, String)>, PartsError> {
    let failed = || PartsError::sql("Reading foreign keys in the sandbox");
    let query = "SELECT n.nspname::text, c.relname::text, k.conname::text, \
                        pg_catalog.pg_get_constraintdef(k.oid) \
                   FROM pg_catalog.pg_constraint k \
                   JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                   JOIN pg_catalog.pg_class f ON f.oid = k.confrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_catalog.pg_namespace e ON e.oid = f.relnamespace \
                  WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname = $1 \
                    AND e.nspname <> $1 ORDER BY 2, 3";
    let rows = source.query(query, &[&side]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            let name = Name {
                schema: row.try_get(0).map_err(failed())?,
                table: row.try_get(1).map_err(failed())?,
            };
            Ok((name, row.try_get(2).map_err(failed())?, row.try_get(3).map_err(failed())?))
        })
        .collect()
}
