//! What there is to ask: databases, tables, foreign keys, indexes, read from the server's
//! catalogues. Owns the statements; every name in them is quoted by the server itself.

use super::check::begin;
use super::job::{Job, Kind};
use super::{Expectations, Rows};
use crate::engine::incident::facts::Check;
use crate::engine::postgres::connect::{self, Session};
use std::collections::HashMap;
use tokio_postgres::Error;

/// Tables smaller than this many pages are read whole with good reason.
const BIG_PAGES: i32 = 100;
/// Plans are looked at for the biggest tables only.
const PLANS: usize = 20;

#[derive(Debug, Clone)]
pub(super) struct Database {
    pub name: String,
    pub usable: bool,
}

/// Every database that takes connections, and those that a broken DROP left behind.
pub(super) async fn databases(session: &Session) -> Result<Vec<Database>, Error> {
    let sql = "SELECT datname::text, datconnlimit <> -2 FROM pg_database
               WHERE datallowconn AND NOT datistemplate ORDER BY 1";
    let rows = session.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(Database { name: row.try_get(0)?, usable: row.try_get(1)? })).collect()
}

/// A database with `datconnlimit = -2` was being dropped where recovery stopped: it is lost.
pub(super) fn invalid_databases(databases: &[Database]) -> Check {
    let begun = begin("databases", "Every database can be used").expected("0 invalid");
    let invalid: Vec<&str> =
        databases.iter().filter(|d| !d.usable).map(|d| d.name.as_str()).collect();
    let begun = begun.found(format!("{} of {} invalid", invalid.len(), databases.len()));
    if invalid.is_empty() {
        begun.verified("No database was left half dropped.")
    } else {
        begun.failed(format!(
            "Recovery stopped inside DROP DATABASE; recover to an earlier point: {}.",
            invalid.join(", ")
        ))
    }
}

/// Damaged pages that the server has met so far.
pub(super) async fn checksum_failures(session: &Session) -> Check {
    let begun = begin("checksums", "No damaged page was met").expected("0 failures");
    let sql = "SELECT sum(checksum_failures)::bigint FROM pg_stat_database";
    match session.query_one(sql, &[]).await.and_then(|row| row.try_get::<_, Option<i64>>(0)) {
        Ok(Some(0)) => {
            begun.found("0").verified("Of the pages read so far; not every page was read.")
        }
        Ok(Some(count)) => begun
            .found(count.to_string())
            .failed("Pages are damaged: the server's log names them. Check the disk."),
        Ok(None) => begun.not_run("Data checksums are off in this cluster."),
        Err(error) => begun.could_not_verify(connect::reason(&error)),
    }
}

/// Whether indexes are there and valid.
pub(super) async fn indexes(
    session: &Session,
    database: &str,
    expectations: &Expectations,
) -> Check {
    let begun =
        begin(format!("indexes:{database}"), format!("{database}: indexes are there and valid"));
    let sql = "SELECT format('%I.%I', n.nspname, c.relname), i.indisvalid AND i.indisready
               FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                    JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname !~ '^pg_toast' ORDER BY 1";
    let mut all: HashMap<String, bool> = HashMap::new();
    match session.query(sql, &[]).await {
        Ok(rows) => {
            for row in &rows {
                match (row.try_get(0), row.try_get(1)) {
                    (Ok(name), Ok(valid)) => drop(all.insert(name, valid)),
                    (Err(error), _) | (_, Err(error)) => {
                        return begun.could_not_verify(connect::reason(&error));
                    }
                }
            }
        }
        Err(error) => return begun.could_not_verify(connect::reason(&error)),
    }
    let mut invalid: Vec<&str> =
        all.iter().filter(|(_, valid)| !**valid).map(|(name, _)| name.as_str()).collect();
    invalid.sort_unstable();
    let expected = expectations.indexes.iter().filter(|(d, _)| d == database);
    let missing: Vec<&str> =
        expected.map(|(_, name)| name.as_str()).filter(|name| !all.contains_key(*name)).collect();
    let begun = begun.expected("0 invalid, 0 missing").found(format!(
        "{} invalid, {} missing",
        invalid.len(),
        missing.len()
    ));
    match (invalid.is_empty(), missing.is_empty()) {
        (true, true) => begun.verified(format!("{} indexes, all valid.", all.len())),
        (false, _) => begun.failed(format!("Rebuild with REINDEX: {}.", invalid.join(", "))),
        (true, false) => begun.failed(format!("Missing: {}.", missing.join(", "))),
    }
}

/// The questions to one database's tables and keys, and a failed check for each table that should
/// be there and is not. `wanted` narrows the counts to these tables, where it is not empty.
pub(super) async fn jobs(
    session: &Session,
    prefix: &str,
    database: &Database,
    wanted: &[String],
    expectations: &Expectations,
) -> Result<(Vec<Job>, Vec<Check>), Error> {
    let mut list = List { prefix, jobs: Vec::new() };
    let expected: HashMap<&str, (Rows, String)> = expectations
        .counts
        .iter()
        .filter(|(of, ..)| *of == database.name)
        .map(|(_, table, rows, source)| (table.as_str(), (*rows, source.clone())))
        .collect();
    let tables = tables(session).await?;
    let is_wanted =
        |t: &Table| wanted.is_empty() || wanted.iter().any(|w| *w == t.name || *w == t.plain);
    for table in tables.iter().filter(|table| is_wanted(table)) {
        let expected = expected.get(table.name.as_str()).cloned();
        let name = &table.name;
        let kind = match table.logged {
            true => Kind::Count { expected },
            false => Kind::NotAskable(String::from(
                "It is unlogged: every recovery brings it back empty, as PostgreSQL means it to.",
            )),
        };
        list.push(
            format!("counts:{prefix}{name}"),
            format!("{name}: rows"),
            kind,
            format!("SELECT count(*) FROM {name}"),
        );
    }
    let mut missing = Vec::new();
    let known = |name: &str| tables.iter().any(|t| t.name == name || t.plain == name);
    let counted = expected.keys().copied();
    for name in wanted.iter().map(String::as_str).chain(counted).filter(|name| !known(name)) {
        let begun = begin(format!("counts:{prefix}{name}"), format!("{name}: rows"));
        let check = begun.expected("the table").found("no such table");
        missing.push(check.failed("The table is not there."));
    }
    missing.dedup_by(|a, b| a.id == b.id);
    foreign_keys(session, &mut list).await?;
    for table in tables.iter().filter(|table| table.created_at && table.logged) {
        let name = &table.name;
        list.push(
            format!("recent:{prefix}{name}"),
            format!("{name}: recent rows"),
            Kind::Recent { until: expectations.recovered_to },
            format!(
                "SELECT count(*) FILTER (WHERE created_at > coalesce($1, now()) - interval '1 hour'
                                           AND created_at <= coalesce($1, now())),
                        max(created_at) FROM {name}"
            ),
        );
    }
    let mut big: Vec<&Table> = tables.iter().filter(|table| table.pages >= BIG_PAGES).collect();
    big.sort_by_key(|table| std::cmp::Reverse(table.pages));
    for (table, key) in big.iter().filter_map(|t| Some((t, t.key.as_ref()?))).take(PLANS) {
        let name = &table.name;
        list.push(
            format!("plan:{prefix}{name}"),
            format!("{name}: lookup by primary key"),
            Kind::Plan,
            format!("PREPARE lifeboat_plan AS SELECT * FROM {name} WHERE {key} = $1"),
        );
    }
    Ok((list.jobs, missing))
}

struct List<'a> {
    prefix: &'a str,
    jobs: Vec<Job>,
}

impl List<'_> {
    fn push(&mut self, id: String, title: String, kind: Kind, sql: String) {
        self.jobs.push(Job { at: self.jobs.len(), id, title, kind, sql });
    }
}

struct Table {
    /// Quoted where it must be.
    name: String,
    /// As people write it in the configuration.
    plain: String,
    pages: i32,
    /// Whether it has `created_at timestamptz`.
    created_at: bool,
    /// The first column of the primary key, quoted.
    key: Option<String>,
    /// Its rows are in the WAL; of others a recovery brings back none.
    logged: bool,
}

async fn tables(session: &Session) -> Result<Vec<Table>, Error> {
    // Foreign tables lie elsewhere; partitions are counted with their parent.
    let sql = "SELECT format('%I.%I', n.nspname, c.relname), n.nspname || '.' || c.relname,
                      c.relpages,
                      EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                               AND a.attname = 'created_at' AND NOT a.attisdropped
                               AND a.atttypid = 'timestamptz'::regtype),
                      (SELECT format('%I', a.attname) FROM pg_index i
                         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = c.oid AND i.indisprimary),
                      c.relpersistence = 'p'
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND c.relpersistence <> 't'
                 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               ORDER BY 1";
    let rows = session.query(sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Table {
                name: row.try_get(0)?,
                plain: row.try_get(1)?,
                pages: row.try_get(2)?,
                created_at: row.try_get(3)?,
                key: row.try_get(4)?,
                logged: row.try_get(5)?,
            })
        })
        .collect()
}

/// Every foreign key once: those of partitions are parts of their parents'.
async fn foreign_keys(session: &Session, list: &mut List<'_>) -> Result<(), Error> {
    // The server assembles the statement, so that names are quoted by its own rules and each pair
    // of columns is compared with the key's own operator. A key binds the very table, without the
    // children that inherit from it; only partitioned tables stand for their parts.
    let sql = "SELECT k.conname::text, format('%I.%I', cn.nspname, c.relname),
                      k.convalidated,
                      coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false),
                      coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true),
                      format('SELECT count(*) FROM %s%I.%I AS c WHERE (%s) AND NOT EXISTS (SELECT 1 FROM %s%I.%I AS p WHERE %s)%s',
                             CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END, cn.nspname, c.relname,
                             pairs.filled,
                             CASE WHEN p.relkind = 'p' THEN '' ELSE 'ONLY ' END, pn.nspname, p.relname,
                             pairs.equal,
                             CASE WHEN k.confmatchtype = 'f'
                                  THEN format(' OR ((%s) AND NOT (%s))', pairs.partly, pairs.filled)
                                  ELSE '' END)
               FROM pg_constraint k
                    JOIN pg_class c ON c.oid = k.conrelid
                    JOIN pg_namespace cn ON cn.oid = c.relnamespace
                    JOIN pg_class p ON p.oid = k.confrelid
                    JOIN pg_namespace pn ON pn.oid = p.relnamespace
                    CROSS JOIN LATERAL (
                      SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ' ORDER BY u.at) AS filled,
                             string_agg(format('c.%I IS NOT NULL', a.attname), ' OR ' ORDER BY u.at) AS partly,
                             string_agg(format('p.%I OPERATOR(%I.%s) c.%I', b.attname, opn.nspname, o.oprname, a.attname),
                                        ' AND ' ORDER BY u.at) AS equal
                      FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS u(child, parent, op, at)
                           JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.child
                           JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.parent
                           JOIN pg_operator o ON o.oid = u.op
                           JOIN pg_namespace opn ON opn.oid = o.oprnamespace) AS pairs
               WHERE k.contype = 'f' AND k.conparentid = 0
               ORDER BY 2, 1";
    let rows = session.query(sql, &[]).await?;
    let mut names: HashMap<String, usize> = HashMap::new();
    for row in &rows {
        *names.entry(row.try_get(0)?).or_default() += 1;
    }
    for row in &rows {
        let (name, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (validated, period, enforced): (bool, bool, bool) =
            (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let kind = if period {
            Kind::NotAskable(String::from("Keys over periods of time are not checked."))
        } else if enforced {
            Kind::ForeignKey { enforced: validated }
        } else {
            Kind::NotAskable(String::from("The key is NOT ENFORCED."))
        };
        // Names are unique only within a table.
        let twice = names.get(&name).is_some_and(|count| *count > 1);
        let of = if twice { format!("{table}.{name}") } else { name.clone() };
        let id = format!("fk:{}{of}", list.prefix);
        list.push(id, format!("{table}: foreign key {name}"), kind, row.try_get(5)?);
    }
    Ok(())
}
