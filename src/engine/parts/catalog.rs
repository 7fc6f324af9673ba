//! What tables there are and how they are made, as a server's catalogue says. Reads only; every
//! session must have been opened by [`super::session`].

use super::Scope;
use super::error::PartsError;
use super::names::{Name, quote};
use tokio_postgres::Client;

/// Schemas that are the server's own.
pub(super) const NOT_SYSTEM: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// A column as far as rows are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// With its length or precision, such as `numeric(10,2)`.
    pub kind: String,
    /// Computed by the server from others: never carried.
    pub generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: the server lets nobody update it.
    pub identity_always: bool,
}

/// A column of the primary key, and how the index finds it equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    pub name: String,
    pub kind: String,
    /// Such as `OPERATOR(pg_catalog.=)`.
    pub equals: String,
}

impl KeyColumn {
    /// The value as text, the same for values that are equal but print in two ways.
    #[must_use]
    pub fn text(&self) -> String {
        let column = quote(&self.name);
        match self.kind.split('(').next().unwrap_or_default() {
            "numeric" => format!("pg_catalog.trim_scale({column})::text"),
            "character" | "bpchar" => format!("pg_catalog.rtrim({column}::text)"),
            _ => format!("{column}::text"),
        }
    }
}

/// A table, or the root of a partitioned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub oid: u32,
    pub name: Name,
    pub partitioned: bool,
    /// Empty after a crash and on a server that was recovered.
    pub unlogged: bool,
    /// Rewrite rules would have statements do something else.
    pub rules: bool,
    pub columns: Vec<Column>,
    /// Empty where it has no primary key.
    pub key: Vec<KeyColumn>,
}

impl Table {
    /// As it stands in `FROM`: rows of heirs that are tables of their own do not count.
    #[must_use]
    pub fn from(&self) -> String {
        if self.partitioned { self.name.sql() } else { format!("ONLY {}", self.name.sql()) }
    }

    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The tables of a scope, by name. Partitions count with their root, unless they were named.
///
/// # Errors
/// Where the server does not answer. A table that is not there is none: see [`find`].
pub async fn tables(client: &Client, scope: &Scope) -> Result<Vec<Table>, PartsError> {
    let (condition, wanted): (&str, Vec<&str>) = match scope {
        Scope::Tables(names) => {
            let mut found = Vec::new();
            for name in names {
                found.extend(find(client, name).await?);
            }
            return Ok(found);
        }
        Scope::Schema(schema) => ("n.nspname = $1 AND NOT c.relispartition", vec![schema]),
        Scope::All => ("$1 = '' AND NOT c.relispartition", vec![""]),
    };
    list(client, condition, &wanted).await
}

/// One table, where it is there.
///
/// # Errors
/// Where the server does not answer.
pub async fn find(client: &Client, name: &Name) -> Result<Option<Table>, PartsError> {
    let wanted = [name.schema.as_str(), name.table.as_str()];
    Ok(list(client, "n.nspname = $1 AND c.relname = $2", &wanted).await?.pop())
}

async fn list(client: &Client, condition: &str, wanted: &[&str]) -> Result<Vec<Table>, PartsError> {
    let failed = || PartsError::sql("Reading the catalogue");
    let query = format!(
        "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', \
                c.relpersistence = 'u', c.relhasrules \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {NOT_SYSTEM} \
            AND {condition} \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid \
                AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e') \
          ORDER BY 2, 3"
    );
    let wanted: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
        wanted.iter().map(|text| text as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
    let mut tables = Vec::new();
    for row in client.query(&query, &wanted).await.map_err(failed())? {
        let oid: u32 = row.try_get(0).map_err(failed())?;
        let schema: String = row.try_get(1).map_err(failed())?;
        let table: String = row.try_get(2).map_err(failed())?;
        tables.push(Table {
            oid,
            name: Name { schema, table },
            partitioned: row.try_get(3).map_err(failed())?,
            unlogged: row.try_get(4).map_err(failed())?,
            rules: row.try_get(5).map_err(failed())?,
            columns: columns(client, oid).await?,
            key: key(client, oid).await?,
        });
    }
    Ok(tables)
}

async fn columns(client: &Client, table: u32) -> Result<Vec<Column>, PartsError> {
    let failed = || PartsError::sql("Reading the columns of a table");
    let query = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
                        a.attgenerated <> '', a.attidentity = 'a' \
                   FROM pg_catalog.pg_attribute a \
                  WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = client.query(query, &[&table]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Column {
                name: row.try_get(0).map_err(failed())?,
                kind: row.try_get(1).map_err(failed())?,
                generated: row.try_get(2).map_err(failed())?,
                identity_always: row.try_get(3).map_err(failed())?,
            })
        })
        .collect()
}

async fn key(client: &Client, table: u32) -> Result<Vec<KeyColumn>, PartsError> {
    let failed = || PartsError::sql("Reading the primary key of a table");
    let query = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, NULL), \
                        o.oprname::text, n.nspname::text \
                   FROM pg_catalog.pg_index i \
                  CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) \
                             WITH ORDINALITY AS k(number, class, at) \
                   JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
                   JOIN pg_catalog.pg_opclass c ON c.oid = k.class \
                   JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily \
                        AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype \
                        AND m.amopstrategy = 3 \
                   JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr \
                   JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace \
                  WHERE i.indrelid = $1 AND i.indisprimary AND k.at <= i.indnkeyatts \
                  ORDER BY k.at";
    let rows = client.query(query, &[&table]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            let (name, schema): (String, String) =
                (row.try_get(2).map_err(failed())?, row.try_get(3).map_err(failed())?);
            Ok(KeyColumn {
                name: row.try_get(0).map_err(failed())?,
                kind: row.try_get(1).map_err(failed())?,
                equals: format!("OPERATOR({}.{name})", quote(&schema)),
            })
        })
        .collect()
}

/// The tables of a tree that hold rows themselves: the table, or its leaf partitions.
///
/// # Errors
/// Where the server does not answer.
pub async fn leaves(client: &Client, table: &Table) -> Result<Vec<Name>, PartsError> {
    Ok(tree(client, table).await?.into_iter().filter(|(_, leaf)| *leaf).map(|(n, _)| n).collect())
}

/// The table and all of its partitions, roots first, and which of them hold rows.
///
/// # Errors
/// Where the server does not answer.
pub async fn tree(client: &Client, table: &Table) -> Result<Vec<(Name, bool)>, PartsError> {
    if !table.partitioned {
        return Ok(vec![(table.name.clone(), true)]);
    }
    let failed = || PartsError::sql("Reading the partitions of a table");
    let query = "SELECT n.nspname::text, c.relname::text, c.relkind = 'r' \
                   FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass) t \
                   JOIN pg_catalog.pg_class c ON c.oid = t.relid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  ORDER BY t.level, 1, 2";
    let rows = client.query(query, &[&table.oid]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            let schema: String = row.try_get(0).map_err(failed())?;
            let name: String = row.try_get(1).map_err(failed())?;
            Ok((Name { schema, table: name }, row.try_get(2).map_err(failed())?))
        })
        .collect()
}

/// Those of the named tables that are there, a partition as the table that it is of, each once and
/// in their order.
///
/// # Errors
/// Where the server does not answer.
pub async fn roots(client: &Client, tables: &[Name]) -> Result<Vec<Name>, PartsError> {
    let failed = || PartsError::sql("Looking for tables");
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let query = "SELECT n.nspname::text, r.relname::text \
                   FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY w(name, at) \
                   JOIN pg_catalog.pg_class c ON c.relkind IN ('r', 'p') \
                   JOIN pg_catalog.pg_namespace o \
                     ON o.oid = c.relnamespace AND o.nspname || '.' || c.relname = w.name \
                   JOIN pg_catalog.pg_class r \
                     ON r.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid) \
                   JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace \
                  GROUP BY 1, 2 ORDER BY min(w.at)";
    let rows = client.query(query, &[&names]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Name {
                schema: row.try_get(0).map_err(failed())?,
                table: row.try_get(1).map_err(failed())?,
            })
        })
        .collect()
}

/// Whether a schema is there.
///
/// # Errors
/// Where the server does not answer.
pub async fn has_schema(client: &Client, schema: &str) -> Result<bool, PartsError> {
    let failed = || PartsError::sql("Looking for a schema");
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    client.query_one(query, &[&schema]).await.and_then(|row| row.try_get(0)).map_err(failed())
}

/// The schemas of a database that are not the server's own, nor an extension's.
///
/// # Errors
/// Where it does not answer.
pub async fn schemas(client: &Client) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Listing the schemas");
    let query = format!(
        "SELECT n.nspname::text FROM pg_catalog.pg_namespace n WHERE {NOT_SYSTEM} \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = n.oid \
                AND d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
                AND d.deptype = 'e') ORDER BY 1"
    );
    let rows = client.query(&query, &[]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// The names of a database's tables, partitions left out.
///
/// # Errors
/// Where it does not answer.
pub async fn names(client: &Client) -> Result<Vec<Name>, PartsError> {
    let failed = || PartsError::sql("Listing the tables");
    let query = format!(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition \
            AND {NOT_SYSTEM} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                WHERE d.objid = c.oid AND d.deptype = 'e' \
                AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass) ORDER BY 1, 2"
    );
    let rows = client.query(&query, &[]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Name {
                schema: row.try_get(0).map_err(failed())?,
                table: row.try_get(1).map_err(failed())?,
            })
        })
        .collect()
}

/// Those of `relations` (`schema.name`, to the letter) that a server does not have.
///
/// # Errors
/// Where it does not answer.
pub async fn lacking(client: &Client, relations: &[String]) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Looking for relations");
    let query = "SELECT w FROM pg_catalog.unnest($1::text[]) w WHERE NOT EXISTS \
                 (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                    ON n.oid = c.relnamespace WHERE n.nspname || '.' || c.relname = w) ORDER BY 1";
    let rows = client.query(query, &[&relations]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}
