//! Sequences behind carried rows: moved beyond the highest number that was carried, never back.
//! A sequence obeys no transaction; moving one on is harmless, so it is done last.

use super::error::PartsError;
use super::names::{Name, quote};
use super::pairs::Pair;
use tokio_postgres::Client;

/// Moves the sequences that `pair`'s columns own beyond what `staged` holds as missing rows;
/// gives a line for each that moved.
///
/// # Errors
/// Where the server refuses.
pub async fn move_on(
    writer: &Client,
    pair: &Pair,
    staged: &str,
    class: &str,
) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql(format!("Moving the sequences of {}", pair.name()));
    let query = "SELECT n.nspname::text, s.relname::text, a.attname::text, q.seqincrement \
                   FROM pg_catalog.pg_depend d \
                   JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
                   JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid \
                        AND a.attnum = d.refobjsubid \
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                    AND d.refclassid = d.classid AND d.refobjid = $1 AND d.deptype IN ('a', 'i')";
    let mut moved = Vec::new();
    for row in writer.query(query, &[&pair.production.oid]).await.map_err(failed())? {
        let sequence = Name {
            schema: row.try_get(0).map_err(failed())?,
            table: row.try_get(1).map_err(failed())?,
        };
        let column: String = row.try_get(2).map_err(failed())?;
        let step: i64 = row.try_get(3).map_err(failed())?;
        if !pair.columns.contains(&column) {
            continue;
        }
        let (end, beyond) = if step > 0 { ("max", ">=") } else { ("min", "<=") };
        let setting = format!(
            "WITH staged AS (SELECT pg_catalog.{end}({column})::bigint AS far FROM {staged} \
                              WHERE {class} = 'm') \
             SELECT pg_catalog.setval({sequence}::pg_catalog.regclass, far) FROM staged, {name} \
              WHERE far {beyond} CASE WHEN is_called THEN last_value + ({step}) ELSE last_value END",
            column = quote(&column),
            class = quote(class),
            sequence = super::names::literal(&sequence.sql()),
            name = sequence.sql(),
        );
        if let Some(row) = writer.query_opt(&setting, &[]).await.map_err(failed())? {
            let to: i64 = row.try_get(0).map_err(failed())?;
            moved.push(format!("{sequence} moved on to {to}"));
        }
    }
    Ok(moved)
}
