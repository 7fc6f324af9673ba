//! Masking of the copy's rows themselves, by the cluster's rules, before anyone looks at them.
//! Owns the statements; which rule holds for a column is [`crate::engine::masking`]'s. A rule that
//! cannot be applied ends the drill before it begins.

use super::super::error::DrillError;
use super::quiet;
use crate::engine::config::Connection;
use crate::engine::config::masking::{Mask, MaskingRule};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::masking::{HIDDEN, Masking};
use crate::engine::parts::names::{Name, literal, quote};
use crate::engine::postgres::connect::{Session, reason};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A column whose values were replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Masked {
    pub database: String,
    pub table: String,
    pub column: String,
    /// Of the table, all of which were gone through.
    pub rows: u64,
}

/// A column as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    /// Its values are text of some kind.
    text: bool,
    /// As a cast wants it.
    kind: String,
    /// Letters that fit, where that is limited.
    most: Option<i32>,
    nullable: bool,
    generated: bool,
}

/// A table with its columns.
#[derive(Debug)]
struct Table {
    name: Name,
    partitioned: bool,
    partition: bool,
    columns: Vec<Column>,
}

const COLUMNS: &str = "SELECT n.nspname::text, c.relname::text, c.relkind = 'p', c.relispartition, \
    a.attname::text, t.typcategory = 'S', pg_catalog.format_type(a.atttypid, a.atttypmod), \
    CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END, \
    NOT a.attnotnull, a.attgenerated <> '' \
    FROM pg_catalog.pg_attribute a \
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
    WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
      AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' \
    ORDER BY 1, 2, a.attnum";

/// Replaces the values of every column that a rule names, in every database of the copy.
///
/// # Errors
/// Where a rule names nothing that is there, or could not be applied.
pub async fn apply(
    connection: &Connection,
    rules: &[MaskingRule],
) -> Result<Vec<Masked>, DrillError> {
    let masking = Masking::of(rules);
    let (mut all, mut used) = (Vec::new(), BTreeSet::new());
    if rules.is_empty() {
        return Ok(all);
    }
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| refused(&error.to_string()))?;
    let salt = data_encoding::HEXLOWER.encode(&random);
    for database in quiet::databases(connection).await? {
        let session = quiet::open(connection, &database).await?;
        // Triggers and foreign keys are not asked: the rows are the same ones as before.
        quiet::run(&session, "SET session_replication_role = replica").await?;
        let before = all.len();
        for table in tables(&session).await? {
            let wanted = wanted(&table, &masking, &salt, &mut used)?;
            if wanted.is_empty() {
                continue;
            }
            let rows = rewrite(&session, &table, &wanted, &masking).await?;
            all.extend(wanted.into_keys().map(|column| Masked {
                database: database.clone(),
                table: table.name.to_string(),
                column,
                rows,
            }));
        }
        if all.len() > before {
            empty_views(&session, &masking).await?;
        }
    }
    match rules.iter().enumerate().find(|(at, _)| !used.contains(at)) {
        Some((_, rule)) => {
            Err(refused(&format!("no database has a column {} in {}", rule.column, rule.table)))
        }
        None => Ok(all),
    }
}

async fn tables(session: &Session) -> Result<Vec<Table>, DrillError> {
    let mut all: Vec<Table> = Vec::new();
    for row in quiet::rows(session, COLUMNS).await? {
        let name = Name::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let column = Column {
            name: row.get(4),
            text: row.get(5),
            kind: row.get(6),
            most: row.get(7),
            nullable: row.get(8),
            generated: row.get(9),
        };
        match all.last_mut().filter(|table| table.name == name) {
            Some(table) => table.columns.push(column),
            None => all.push(Table {
                name,
                partitioned: row.get(2),
                partition: row.get(3),
                columns: vec![column],
            }),
        }
    }
    Ok(all)
}

/// The new value of each column that is masked, as SQL.
fn wanted(
    table: &Table,
    masking: &Masking,
    salt: &str,
    used: &mut BTreeSet<usize>,
) -> Result<BTreeMap<String, String>, DrillError> {
    let name = table.name.to_string();
    let mut values = BTreeMap::new();
    for column in &table.columns {
        let Some((at, rule)) = masking.rule_of(&name, &column.name) else { continue };
        // The whole of a partitioned table is gone through by its own name.
        if table.partition && rule.table == "*" {
            continue;
        }
        used.insert(at);
        if column.generated && rule.column == "*" {
            continue;
        }
        let value = value(column, &rule.rule, salt).map_err(|why| {
            refused(&format!("{name}, column {} ({}): {why}", column.name, column.kind))
        })?;
        values.insert(column.name.clone(), value);
    }
    Ok(values)
}

/// What the column is set to; NULL stays NULL, as in what is shown of masked values.
fn value(column: &Column, rule: &Mask, salt: &str) -> Result<String, &'static str> {
    if column.generated {
        return Err("it is computed from other columns; mask those");
    }
    let old = format!("{}::pg_catalog.text", quote(&column.name));
    let new = match (rule, column.text) {
        (Mask::Hide, true) => literal(HIDDEN),
        (Mask::Hide, false) if column.nullable => return Ok(String::from("NULL")),
        (Mask::Hide, false) => {
            return Err("it is no text and may not be NULL; give it a constant");
        }
        (Mask::Hash, true) => format!(
            "'#' || left(encode(sha256(convert_to({} || {old}, 'UTF8')), 'hex'), 12)",
            literal(salt)
        ),
        (Mask::KeepFirst(most), true) => {
            let most = i32::try_from(*most).unwrap_or(i32::MAX);
            format!("left({old}, least({most}, length({old}) / 2)) || '***'")
        }
        (Mask::Hash | Mask::KeepFirst(_), false) => {
            return Err("only text can be hashed or cut short; hide it or give it a constant");
        }
        (Mask::Constant(text), _) => literal(text),
    };
    let new = match column.most {
        Some(most) => format!("left({new}, {most})"),
        None => format!("({new})"),
    };
    let column_name = quote(&column.name);
    Ok(format!("CASE WHEN {column_name} IS NULL THEN NULL ELSE {new}::{} END", column.kind))
}

/// One statement a table; triggers and rules are held still by [`super::still`]. Then the table is written anew, so that no older
/// version of a row and no statistics of the old values stay.
async fn rewrite(
    session: &Session,
    table: &Table,
    values: &BTreeMap<String, String>,
    masking: &Masking,
) -> Result<u64, DrillError> {
    let name = table.name.sql();
    let fail = |error: tokio_postgres::Error| {
        let why = masking.server_words(&reason(&error)).into_owned();
        refused(&format!("{}: {why}", table.name))
    };
    let sets: Vec<String> =
        values.iter().map(|(column, value)| format!("{} = {value}", quote(column))).collect();
    let only = if table.partitioned { "" } else { "ONLY " };
    let update = format!("UPDATE {only}{name} SET {}", sets.join(", "));
    let rows = session.execute(update.as_str(), &[]).await.map_err(fail)?;
    let vacuum = format!("VACUUM (FULL, ANALYZE) {name}");
    session.batch_execute(&vacuum).await.map_err(fail)?;
    Ok(rows)
}

/// Materialized views keep what they were made from, in rows and in statistics. They are emptied:
/// making them anew would run their own functions, and nothing of the copy's is to run.
async fn empty_views(session: &Session, masking: &Masking) -> Result<(), DrillError> {
    let views = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind = 'm' ORDER BY c.oid";
    for row in quiet::rows(session, views).await? {
        let name = Name::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let (view, text) = (name.sql(), literal(&name.sql()));
        let sql = format!(
            "REFRESH MATERIALIZED VIEW {view} WITH NO DATA; \
             DELETE FROM pg_catalog.pg_statistic \
             WHERE starelid = {text}::pg_catalog.regclass"
        );
        session.batch_execute(&sql).await.map_err(|error| {
            let why = masking.server_words(&reason(&error)).into_owned();
            refused(&format!("the materialized view {name}: {why}"))
        })?;
    }
    Ok(())
}

fn refused(why: &str) -> DrillError {
    DrillError::Engine(Explanation::new(
        Kind::Refused,
        format!("The copy could not be masked as the cluster's rules say: {why}."),
        "The drill was not opened, nobody saw a row of the copy, and it was cleared away.",
        "Mend the rule in lifeboat.toml ([[clusters.masking]]), then start the drill again.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(text: bool, nullable: bool) -> Column {
        Column {
            name: String::from("e mail"),
            text,
            kind: String::from(if text { "text" } else { "integer" }),
            most: None,
            nullable,
            generated: false,
        }
    }

    #[test]
    fn what_cannot_be_applied_is_refused_and_null_stays_null() {
        let text = column(true, false);
        for rule in [Mask::Hide, Mask::Hash, Mask::KeepFirst(2), Mask::Constant("x".into())] {
            let sql = value(&text, &rule, "salt").unwrap();
            assert!(sql.starts_with("CASE WHEN \"e mail\" IS NULL THEN NULL ELSE "), "{sql}");
        }
        let number = column(false, false);
        assert_eq!(value(&column(false, true), &Mask::Hide, "s").unwrap(), "NULL");
        assert!(value(&number, &Mask::Hide, "s").is_err());
        assert!(value(&number, &Mask::Hash, "s").is_err());
        assert!(value(&number, &Mask::KeepFirst(1), "s").is_err());
        assert!(value(&number, &Mask::Constant("7".into()), "s").unwrap().contains("E'7'"));
        let computed = Column { generated: true, ..column(true, true) };
        assert!(value(&computed, &Mask::Hide, "s").is_err());
    }

    #[test]
    fn a_short_column_takes_what_fits() {
        let short =
            Column { most: Some(4), kind: String::from("varchar(4)"), ..column(true, true) };
        let sql = value(&short, &Mask::Hide, "s").unwrap();
        assert!(sql.contains("left(E'(hidden)', 4)::varchar(4)"), "{sql}");
    }

    #[test]
    fn a_rule_for_every_table_leaves_partitions_to_their_whole() {
        let rule = |table: &str| MaskingRule {
            table: table.to_owned(),
            column: String::from("e mail"),
            rule: Mask::Hide,
        };
        let mut table = Table {
            name: Name::new("public", "people_1"),
            partitioned: false,
            partition: true,
            columns: vec![column(true, true)],
        };
        let of = |table: &Table, rule| {
            let mut used = BTreeSet::new();
            let found = wanted(table, &Masking::of(&[rule]), "s", &mut used).unwrap();
            (found.len(), used.len())
        };
        assert_eq!(of(&table, rule("*")), (0, 0));
        assert_eq!(of(&table, rule("public.people_1")), (1, 1));
        assert_eq!(of(&table, rule("public.other")), (0, 0));
        table.partition = false;
        assert_eq!(of(&table, rule("*")), (1, 1));
    }
}
