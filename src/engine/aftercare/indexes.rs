//! `amcheck` over the indexes of the tables that matter: each entry in order, and every row of
//! the table in its index. Where the extension is absent it is made in a transaction that is
//! taken back, and only after agreement.

use super::Item;
use super::ward::{Found, Rows, Ward, field};
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::connect::Session;
use crate::engine::validate::check::begin;
use std::time::Duration;

pub(super) const ITEM: Item = Item {
    id: "indexes",
    title: "Indexes of the tables that matter are sound",
    looks: "Checks B-tree indexes with amcheck, every row against its index.",
    agrees: Role::Operator,
    look,
    act: Some(act),
    act_proves: true,
};

/// For one index.
const LIMIT: Duration = Duration::from_secs(1_800);
/// Where the throwaway extension lives until it is taken back.
const SCHEMA: &str = "lifeboat_amcheck";

const EXTENSION: &str = "SELECT (SELECT quote_ident(n.nspname) FROM pg_extension e \
     JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'), \
     EXISTS (SELECT FROM pg_available_extensions WHERE name = 'amcheck')";

/// B-tree indexes of the configured tables and of their partitions, or of all, smallest first.
fn list(tables: &[String]) -> String {
    let only = if tables.is_empty() {
        String::new()
    } else {
        // A partitioned table has none of its own.
        let each = tables.iter().map(|table| {
            let table = regclass(table);
            format!("SELECT {table} UNION SELECT relid FROM pg_partition_tree({table})")
        });
        format!("AND i.indrelid IN ({})", each.collect::<Vec<_>>().join(" UNION "))
    };
    format!(
        "SELECT c.oid::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree' \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') {only} \
         ORDER BY c.relpages, 2"
    )
}

fn counted(number: usize) -> String {
    if number == 1 { String::from("1 index") } else { format!("{number} indexes") }
}

fn regclass(table: &str) -> String {
    format!("to_regclass('{}')", table.replace('\'', "''"))
}

/// A finding for each configured table that the database does not have.
fn missing(
    ward: &Ward<'_>,
    session: &Session,
    database: &str,
    tables: &[String],
) -> Result<Vec<Check>, String> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let each: Vec<String> =
        tables.iter().map(|table| format!("{} IS NULL", regclass(table))).collect();
    let rows = ward.rows(session, &format!("SELECT {}", each.join(", ")))?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let lacking = tables.iter().enumerate().filter(|(at, _)| field(row, *at) != "f");
    let found = |(_, table): (usize, &String)| {
        begin(format!("indexes:missing:{table}"), format!("{database}: {table} is there"))
            .found("no such table")
            .failed(
                "lifeboat.toml names it among the tables that matter. It is lost at this recovery \
                 point, was renamed, or the name is wrong.",
            )
    };
    Ok(lacking.map(found).collect())
}

/// The tables that the configuration names are of the connection's own database.
fn tables<'a>(ward: &'a Ward<'_>, database: &str) -> Option<&'a [String]> {
    let tables = &ward.site.cluster.tables;
    (tables.is_empty() || database == ward.connection.database).then_some(tables.as_slice())
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    ward.in_each("indexes", &mut found, |ward, name, session, found| {
        let Some(tables) = tables(ward, name) else { return Ok(()) };
        let missing = missing(ward, session, name, tables)?;
        let all_are_missing = !missing.is_empty() && missing.len() == tables.len();
        found.checks.extend(missing);
        if all_are_missing {
            return Ok(());
        }
        let indexes = ward.rows(session, &list(tables))?;
        let begun = begin(format!("indexes:{name}"), format!("{name}: indexes are sound"));
        if indexes.is_empty() {
            found.check(begun.found("no index").verified("There is no B-tree index to check."));
            return Ok(());
        }
        let rows = ward.rows(session, EXTENSION)?;
        let row = rows.first().map_or(&[][..], Vec::as_slice);
        let of = counted(indexes.len());
        match (field(row, 0), field(row, 1) == "t") {
            ("", true) => {
                found.propose(
                    name,
                    format!(
                        "Make amcheck in {name} within a transaction, check {of}, take it back"
                    ),
                );
                found.check(begun.found(of).could_not_verify(
                    "The extension amcheck is not in this database. Agree, and it is made for \
                     this check alone.",
                ));
            }
            ("", false) => found.check(begun.found(of).could_not_verify(
                "amcheck is not installed on this machine: it comes with PostgreSQL's contrib \
                 package.",
            )),
            (schema, _) => {
                let session = ward.open(Some(name), LIMIT)?;
                found.check(check_all(ward, &session, name, schema, &indexes, false));
            }
        }
        Ok(())
    });
    found
}

fn check_all(
    ward: &Ward<'_>,
    session: &Session,
    database: &str,
    schema: &str,
    indexes: &Rows,
    in_transaction: bool,
) -> Check {
    let begun = begin(
        format!("indexes:{}{database}", if in_transaction { "did:" } else { "" }),
        format!("{database}: indexes are sound (amcheck)"),
    );
    let of = indexes.len() as u64;
    let (mut damaged, mut unread) = (Vec::new(), Vec::new());
    for (done, row) in indexes.iter().enumerate() {
        let (oid, name) = (field(row, 0), field(row, 1));
        ward.tell(&format!("checking {name}"), done as u64, Some(of));
        if in_transaction && let Err(why) = ward.execute(session, "SAVEPOINT one") {
            unread.push(format!("{name}: {why}"));
            continue;
        }
        match ward.runtime.block_on(
            session.simple_query(&format!("SELECT {schema}.bt_index_check({oid}::regclass, true)")),
        ) {
            Ok(_) => {}
            Err(error) => {
                let why = crate::engine::postgres::connect::reason(&error);
                // XX002 is what amcheck says of a damaged index, XX001 of a damaged table.
                let corrupt = error.code().is_some_and(|code| code.code().starts_with("XX"));
                if corrupt { &mut damaged } else { &mut unread }.push(format!("{name}: {why}"));
                if in_transaction {
                    let _ = ward.execute(session, "ROLLBACK TO SAVEPOINT one");
                }
            }
        }
    }
    let begun = begun.found(format!("{} checked", counted(indexes.len())));
    match (damaged.as_slice(), unread.as_slice()) {
        ([], []) => begun.verified("Every entry is in order, and every row is in its index."),
        ([], [first, ..]) => begun.could_not_verify(format!(
            "{} could not be checked: {first}",
            counted(unread.len())
        )),
        ([first, ..], _) => begun.failed(format!(
            "{} damaged: {first}. Rebuild it with REINDEX INDEX CONCURRENTLY, and look at the disk.",
            counted(damaged.len())
        )),
    }
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let each = proposals.iter().map(|proposal| {
        throwaway(ward, &proposal.key).unwrap_or_else(|why| {
            let begun =
                begin(format!("indexes:did:{}", proposal.key), "Indexes are sound (amcheck)");
            vec![begun.could_not_verify(why)]
        })
    });
    each.flatten().collect()
}

/// Makes the extension, checks and takes everything back, in one transaction.
fn throwaway(ward: &Ward<'_>, database: &str) -> Result<Vec<Check>, String> {
    let Some(tables) = tables(ward, database) else {
        return Err(String::from("No table of this database is configured."));
    };
    let session = ward.open(Some(database), LIMIT)?;
    let mut checks = missing(ward, &session, database, tables)?;
    let indexes = ward.rows(&session, &list(tables))?;
    let make = format!("BEGIN; CREATE SCHEMA {SCHEMA}; CREATE EXTENSION amcheck SCHEMA {SCHEMA}");
    ward.execute(&session, &make)?;
    checks.push(check_all(ward, &session, database, SCHEMA, &indexes, true));
    ward.execute(&session, "ROLLBACK")?;
    Ok(checks)
}
