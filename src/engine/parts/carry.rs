//! Whole tables and schemas that production does not have: their definitions before the rows,
//! the rows by `COPY`, sequences, then indexes, keys and triggers, and each table's rows compared
//! with the source's. All within the caller's transaction.

use super::apply::{Far, Told};
use super::catalog::{self, Table};
use super::compare::Heard;
use super::dump::{self, Of};
use super::error::PartsError;
use super::lines::Lines;
use super::names::{Name, literal, quote};
use super::sandbox::Sandbox;
use super::session;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use serde::{Deserialize, Serialize};
use std::pin::pin;
use tokio_postgres::Client;

/// Bytes that go to production at once.
const BATCH: usize = 64 << 10;

/// A table that was made and filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub table: String,
    pub rows: u64,
}

/// Makes and fills what `of` names: `tables` are its tables in the source. `told` hears of every
/// table before its rows.
///
/// # Errors
/// Any; the caller rolls back then.
pub async fn carry(
    sandbox: &Sandbox,
    ends: (&Client, &Client),
    of: &Of<'_>,
    tables: &[Table],
    owners: bool,
    database: &str,
    told: Told<'_>,
) -> Result<Vec<Carried>, PartsError> {
    let (source, writer) = ends;
    let made = match of {
        Of::Schema(schema) => extensions(source, writer, schema).await?,
        Of::Tables(_) => None,
    };
    let definitions = dump::definitions(sandbox, database, of, owners, made.as_deref())?;
    let failed = || PartsError::sql("Making the tables");
    writer.batch_execute(&definitions.before).await.map_err(failed())?;
    session::again(writer).await?;
    let mut carried = Vec::new();
    let mut leaves = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let mut rows = 0;
        let stages = u64::try_from(at).ok().zip(u64::try_from(tables.len()).ok());
        let far = stages.map(|(over, of)| Far::Stages(over, of));
        told(&format!("Carrying the rows of {}", table.name), far);
        for leaf in catalog::leaves(source, table).await? {
            let heard = |more: u64| {
                told(&format!("{} rows of {} carried so far", rows + more, table.name), far);
            };
            rows += copy(source, writer, &leaf, &heard).await?;
            leaves.push(leaf);
        }
        carried.push(Carried { table: table.name.to_string(), rows });
    }
    sequences(source, writer, of, tables).await?;
    let failed = PartsError::sql("Making indexes, keys and triggers");
    writer.batch_execute(&definitions.after).await.map_err(failed)?;
    session::again(writer).await?;
    for leaf in &leaves {
        let (here, there) = (digest(source, leaf).await?, digest(writer, leaf).await?);
        if here != there {
            return Err(PartsError::NotTheSame(format!(
                "The rows of {leaf} are not those of the source: {} there, {} here.",
                here.0, there.0
            )));
        }
    }
    Ok(carried)
}

/// Extensions that lie in the schema are not in its dump: they are made first, in it. Gives the
/// schema as the server quotes it, where it was made for that.
async fn extensions(
    source: &Client,
    writer: &Client,
    schema: &str,
) -> Result<Option<String>, PartsError> {
    let failed = || PartsError::sql("Making the extensions of the schema");
    let query = "SELECT e.extname::text, pg_catalog.quote_ident($1::text) \
                   FROM pg_catalog.pg_extension e \
                   JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
                  WHERE n.nspname = $1::text ORDER BY e.oid";
    let mut made = None;
    for row in source.query(query, &[&schema]).await.map_err(failed())? {
        let (extension, quoted): (String, String) =
            (row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?);
        let mut text = String::new();
        if made.is_none() {
            text = format!("CREATE SCHEMA {quoted}; ");
        }
        text.push_str(&format!("CREATE EXTENSION {} SCHEMA {quoted}", quote(&extension)));
        writer.batch_execute(&text).await.map_err(failed())?;
        made = Some(quoted);
    }
    Ok(made)
}

async fn copy(
    source: &Client,
    writer: &Client,
    name: &Name,
    heard: Heard<'_>,
) -> Result<u64, PartsError> {
    let doing = format!("Carrying the rows of {name}");
    let failed = || PartsError::sql(doing.as_str());
    let Some(table) = catalog::find(source, name).await? else {
        return Err(PartsError::NotFound(format!("{name} is not in the source.")));
    };
    let columns = table.columns.iter().filter(|column| !column.generated);
    let columns: Vec<String> = columns.map(|column| quote(&column.name)).collect();
    let columns = columns.join(", ");
    let query = format!("SELECT {columns} FROM {}", table.from());
    let mut rows = Lines::read(source, &query, 0, &doing).await?;
    let listed = if columns.is_empty() { String::new() } else { format!("({columns})") };
    let into = format!("COPY {} {listed} FROM STDIN", name.sql());
    let mut sink = pin!(writer.copy_in::<_, Bytes>(&into).await.map_err(failed())?);
    let (mut full, mut sent) = (BytesMut::new(), 0);
    while let Some(row) = rows.next().await? {
        full.put_slice(&row.body);
        full.put_u8(b'\n');
        sent += 1;
        if full.len() >= BATCH {
            sink.send(full.split().freeze()).await.map_err(failed())?;
            heard(sent);
        }
    }
    sink.send(full.freeze()).await.map_err(failed())?;
    sink.finish().await.map_err(failed())
}

/// Every sequence that came with the tables stands where the source's stands.
async fn sequences(
    source: &Client,
    writer: &Client,
    of: &Of<'_>,
    tables: &[Table],
) -> Result<(), PartsError> {
    let failed = || PartsError::sql("Setting sequences");
    let schema = if let Of::Schema(schema) = of { *schema } else { "" };
    let mut roots = Vec::new();
    for table in tables {
        for (name, _) in catalog::tree(source, table).await? {
            roots.push(name.sql());
        }
    }
    let query = "SELECT DISTINCT n.nspname::text, s.relname::text FROM pg_catalog.pg_class s \
                   JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
                  WHERE s.relkind = 'S' AND (n.nspname = $1 OR EXISTS (\
                    SELECT FROM pg_catalog.pg_depend d WHERE d.objid = s.oid \
                       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                       AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') \
                       AND d.refobjid IN (SELECT r::pg_catalog.regclass \
                                            FROM pg_catalog.unnest($2::text[]) r)))";
    for row in source.query(query, &[&schema, &roots]).await.map_err(failed())? {
        let name = Name {
            schema: row.try_get(0).map_err(failed())?,
            table: row.try_get(1).map_err(failed())?,
        };
        let query = format!("SELECT last_value, is_called FROM {}", name.sql());
        let state = source.query_one(&query, &[]).await.map_err(failed())?;
        let (last, called): (i64, bool) =
            (state.try_get(0).map_err(failed())?, state.try_get(1).map_err(failed())?);
        let text = literal(&name.sql());
        let set =
            format!("SELECT pg_catalog.setval({text}::pg_catalog.regclass, {last}, {called})");
        writer.batch_execute(&set).await.map_err(failed())?;
    }
    Ok(())
}

/// How many rows, and a sum over the content of each, computed columns included.
pub(super) async fn digest(client: &Client, name: &Name) -> Result<(i64, String), PartsError> {
    let failed = || PartsError::sql(format!("Comparing the rows of {name}"));
    let query = format!(
        "SELECT count(*), coalesce(sum(pg_catalog.hashtextextended(t::text, 0)::numeric), 0)::text \
           FROM ONLY {} t",
        name.sql()
    );
    let row = client.query_one(&query, &[]).await.map_err(failed())?;
    Ok((row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?))
}

/// Views of other schemas that read `tables` or what is in `schema` in the source: where those were
/// dropped with CASCADE, production has lost the views too.
///
/// # Errors
/// Where the sandbox does not answer.
pub async fn views(
    source: &Client,
    tables: &[Table],
    schema: Option<&str>,
) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Reading which views read the tables");
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let schema = schema.unwrap_or_default();
    let query = "SELECT DISTINCT n.nspname || '.' || v.relname FROM pg_catalog.pg_depend d \
                   JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid \
                   JOIN pg_catalog.pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') \
                   JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace \
                   JOIN pg_catalog.pg_class c ON c.oid = d.refobjid \
                   JOIN pg_catalog.pg_namespace m ON m.oid = c.relnamespace \
                  WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                    AND v.oid <> c.oid AND n.nspname <> $2::text \
                    AND (c.oid = ANY($1) OR m.nspname = $2::text) ORDER BY 1";
    let rows = source.query(query, &[&oids, &schema]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// Foreign keys of other tables that lead to `tables` in the source: where such a table was
/// dropped with CASCADE, production has lost them. As statements that bring them back.
///
/// # Errors
/// Where the sandbox does not answer.
pub async fn referring(source: &Client, tables: &[Table]) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Reading who refers to the tables");
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let query = "SELECT n.nspname::text, c.relname::text, k.conname::text, \
                        pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k \
                   JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY($1) \
                    AND NOT k.conrelid = ANY($1) ORDER BY 1, 2, 3";
    let rows = source.query(query, &[&oids]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            let name = Name {
                schema: row.try_get(0).map_err(failed())?,
                table: row.try_get(1).map_err(failed())?,
            };
            let (key, made): (String, String) =
                (row.try_get(2).map_err(failed())?, row.try_get(3).map_err(failed())?);
            Ok(format!("ALTER TABLE {} ADD CONSTRAINT {} {made}", name.sql(), quote(&key)))
        })
        .collect()
}
