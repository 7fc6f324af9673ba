//! What a statement on one table would set off beside it: the application's triggers, which are
//! kept quiet within the transaction unless asked for, and keys that would take other tables' rows
//! along. Foreign keys are always checked: they are the server's own triggers.

use super::error::PartsError;
use super::names::{Name, quote};
use super::pairs::Pair;
use tokio_postgres::Client;

/// A trigger that was disabled and how it was enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiet {
    table: Name,
    trigger: String,
    always: bool,
}

/// Disables the application's triggers that would fire, of the table and its partitions.
///
/// # Errors
/// Where the server refuses; it takes the table's owner.
pub async fn hush(writer: &Client, pair: &Pair) -> Result<Vec<Quiet>, PartsError> {
    let failed = || PartsError::sql(format!("Keeping the triggers of {} quiet", pair.name()));
    let query = "SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled = 'A' \
                   FROM pg_catalog.pg_trigger t \
                   JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE (t.tgrelid = $1 OR t.tgrelid IN (SELECT p.relid \
                         FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass) p)) \
                    AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') ORDER BY 1, 2, 3";
    let mut quiet = Vec::new();
    for row in writer.query(query, &[&pair.production.oid]).await.map_err(failed())? {
        quiet.push(Quiet {
            table: Name {
                schema: row.try_get(0).map_err(failed())?,
                table: row.try_get(1).map_err(failed())?,
            },
            trigger: row.try_get(2).map_err(failed())?,
            always: row.try_get(3).map_err(failed())?,
        });
    }
    for one in &quiet {
        alter(writer, one, "DISABLE TRIGGER").await?;
    }
    Ok(quiet)
}

/// Enables them as they were.
///
/// # Errors
/// Where the server refuses.
pub async fn wake(writer: &Client, quiet: &[Quiet]) -> Result<(), PartsError> {
    for one in quiet {
        let word = if one.always { "ENABLE ALWAYS TRIGGER" } else { "ENABLE TRIGGER" };
        alter(writer, one, word).await?;
    }
    Ok(())
}

/// Of one table alone: a partition's trigger may stand otherwise than its root's.
async fn alter(writer: &Client, one: &Quiet, word: &str) -> Result<(), PartsError> {
    let text = format!("ALTER TABLE ONLY {} {word} {}", one.table.sql(), quote(&one.trigger));
    let failed = PartsError::sql(format!("{word} {} of {}", one.trigger, one.table));
    writer.batch_execute(&text).await.map_err(failed)
}

/// Refuses to remove or overwrite rows of which other tables' rows would go or change along.
///
/// # Errors
/// Names the foreign keys.
pub async fn check_alone(
    writer: &Client,
    pair: &Pair,
    removing: bool,
    changing: bool,
) -> Result<(), PartsError> {
    let failed = || PartsError::sql(format!("Reading who refers to {}", pair.name()));
    // An update leaves the primary key alone: only keys that refer to other columns can follow it.
    let query = "SELECT k.conname::text, n.nspname::text, c.relname::text \
                   FROM pg_catalog.pg_constraint k \
                   JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE k.contype = 'f' AND k.confrelid = $1 \
                    AND (($2 AND k.confdeltype IN ('c', 'n', 'd')) \
                      OR ($3 AND k.confupdtype IN ('c', 'n', 'd') AND NOT EXISTS (\
                          SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = $1 \
                             AND i.indisprimary AND k.confkey <@ i.indkey::int2[]))) ORDER BY 1";
    let rows = writer
        .query(query, &[&pair.production.oid, &removing, &changing])
        .await
        .map_err(failed())?;
    let mut named = Vec::new();
    for row in rows {
        let (key, schema, table): (String, String, String) = (
            row.try_get(0).map_err(failed())?,
            row.try_get(1).map_err(failed())?,
            row.try_get(2).map_err(failed())?,
        );
        named.push(format!("{schema}.{table} ({key})"));
    }
    if named.is_empty() {
        return Ok(());
    }
    Err(PartsError::refused(
        format!(
            "Rows of other tables would be removed or changed along with those of {}: {}.",
            pair.name(),
            named.join(", ")
        ),
        "Leave that class of rows out, or take the table into a side schema.",
    ))
}
