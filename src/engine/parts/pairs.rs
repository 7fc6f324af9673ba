//! Two definitions of one table, side by side: which columns both have, what has changed of columns
//! and primary key since, and the queries that read the same rows in the same order from both. Of
//! other things of a table it knows nothing. Never asks a server.

use super::catalog::{KeyColumn, Table};
use super::error::PartsError;
use super::names::{Name, quote};

/// What a comparison of a table that both sides have does not see.
pub const ROWS_ALONE: &str = "Columns, primary key and rows alone: indexes, other constraints, \
    defaults, triggers and grants of a table that was there are neither compared nor brought back.";

/// A table as it is in the source and in production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub source: Table,
    pub production: Table,
    /// Columns that are compared and carried: in both, of the same type, not generated.
    pub columns: Vec<String>,
    /// What has changed of columns and primary key since, one line each; see [`ROWS_ALONE`].
    pub changes: Vec<String>,
    /// What compares rows; empty where they are compared as a whole.
    pub key: Vec<KeyColumn>,
}

impl Pair {
    /// Lays two definitions side by side.
    #[must_use]
    pub fn of(source: Table, production: Table) -> Self {
        let mut changes = Vec::new();
        let mut columns = Vec::new();
        for column in &source.columns {
            match production.column(&column.name) {
                None => changes.push(format!("{}: dropped in production", column.name)),
                Some(now) if now.kind != column.kind => changes.push(format!(
                    "{}: was {}, is {} in production",
                    column.name, column.kind, now.kind
                )),
                Some(now) if now.generated != column.generated => {
                    changes.push(format!("{}: computed on one side alone", column.name));
                }
                Some(now) if !now.generated => columns.push(column.name.clone()),
                Some(_) => {}
            }
        }
        for column in &production.columns {
            if source.column(&column.name).is_none() {
                changes.push(format!("{}: added in production", column.name));
            }
        }
        let same_key =
            source.key.iter().map(|key| &key.name).eq(production.key.iter().map(|key| &key.name))
                && production.key.iter().all(|key| columns.contains(&key.name));
        if !same_key {
            changes.push(String::from("the primary key is another one"));
        }
        let key = if same_key { production.key.clone() } else { Vec::new() };
        Self { source, production, columns, changes, key }
    }

    #[must_use]
    pub fn name(&self) -> &Name {
        &self.production.name
    }

    /// How many fields at the front of a row are its key.
    #[must_use]
    pub fn key_fields(&self) -> usize {
        self.key.len().max(1)
    }

    /// The rows of `table`, key first, in the order of the key's bytes: the same on servers with
    /// different collations.
    #[must_use]
    pub fn query(&self, table: &Table) -> String {
        let columns = self.list("");
        let keys: Vec<String> = if self.key.is_empty() {
            vec![format!("ROW({columns})::text")]
        } else {
            self.key.iter().map(KeyColumn::text).collect()
        };
        let order: Vec<String> = keys.iter().map(|key| format!("({key}) COLLATE \"C\"")).collect();
        let body = if columns.is_empty() { String::new() } else { format!(", {columns}") };
        format!(
            "SELECT {}{body} FROM {} ORDER BY {}",
            keys.join(", "),
            table.from(),
            order.join(", ")
        )
    }

    /// The carried columns, each with `before` in front.
    #[must_use]
    pub fn list(&self, before: &str) -> String {
        let quoted = self.columns.iter().map(|name| format!("{before}{}", quote(name)));
        quoted.collect::<Vec<_>>().join(", ")
    }

    /// Refuses what cannot be carried in place as it was chosen.
    ///
    /// # Errors
    /// Says why.
    pub fn check(&self, choice: super::Choice) -> Result<(), PartsError> {
        let name = self.name();
        let side = "Take the table into a side schema and bring the rows over by hand.";
        if !self.changes.is_empty() && !choice.common_columns {
            return Err(PartsError::refused(
                format!("The definition of {name} has changed since: {}.", self.changes.join("; ")),
                "Carry the columns that both have with --common-columns, or take the table into a \
                 side schema.",
            ));
        }
        if self.columns.is_empty() {
            return Err(PartsError::refused(format!("{name} has no column in common."), side));
        }
        if self.production.rules {
            return Err(PartsError::refused(
                format!("{name} has rewrite rules, which make statements do something else."),
                side,
            ));
        }
        if self.key.is_empty() && (choice.changed || choice.newer) {
            return Err(PartsError::refused(
                format!(
                    "{name} has no primary key that both sides share: a row cannot be told from a \
                     changed one."
                ),
                "Take its missing rows alone (--take missing), or take it into a side schema.",
            ));
        }
        let fixed = self.production.columns.iter().find(|column| {
            column.identity_always && !self.key.iter().any(|key| key.name == column.name)
        });
        if let (true, Some(column)) = (choice.changed, fixed) {
            return Err(PartsError::refused(
                format!(
                    "{name}.{} is GENERATED ALWAYS and no key: no row of it can be overwritten.",
                    column.name
                ),
                side,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Choice;
    use super::super::catalog::Column;
    use super::*;

    fn table(columns: &[(&str, &str)], key: &[&str]) -> Table {
        Table {
            oid: 1,
            name: Name::new("public", "t"),
            partitioned: false,
            unlogged: false,
            rules: false,
            columns: columns
                .iter()
                .map(|(name, kind)| Column {
                    name: (*name).to_owned(),
                    kind: (*kind).to_owned(),
                    generated: kind.starts_with("generated"),
                    identity_always: false,
                })
                .collect(),
            key: key
                .iter()
                .map(|name| KeyColumn {
                    name: (*name).to_owned(),
                    kind: String::from("integer"),
                    equals: String::from("OPERATOR(\"pg_catalog\".=)"),
                })
                .collect(),
        }
    }

    #[test]
    fn only_columns_that_are_the_same_on_both_sides_are_carried() {
        let was = table(
            &[("id", "integer"), ("a", "text"), ("b", "integer"), ("g", "generated")],
            &["id"],
        );
        let is = table(
            &[("id", "integer"), ("b", "bigint"), ("c", "text"), ("g", "generated")],
            &["id"],
        );
        let pair = Pair::of(was, is);
        assert_eq!(pair.columns, ["id"]);
        assert_eq!(
            pair.changes,
            [
                "a: dropped in production",
                "b: was integer, is bigint in production",
                "c: added in production"
            ]
        );
        let take = Choice { missing: true, ..Choice::default() };
        assert!(pair.check(take).unwrap_err().to_string().contains("a: dropped"));
        assert!(pair.check(Choice { common_columns: true, ..take }).is_ok());
    }

    #[test]
    fn without_a_key_rows_are_compared_whole_and_only_missing_ones_can_be_taken() {
        let bare = table(&[("a", "text"), ("b", "text")], &[]);
        let pair = Pair::of(bare.clone(), bare);
        let query = pair.query(&pair.source);
        assert!(query.contains("ORDER BY (ROW(\"a\", \"b\")::text) COLLATE \"C\""), "{query}");
        assert!(pair.check(Choice { missing: true, ..Choice::default() }).is_ok());
        assert!(pair.check(Choice { changed: true, ..Choice::default() }).is_err());
        assert!(pair.check(Choice { newer: true, ..Choice::default() }).is_err());
    }

    #[test]
    fn a_key_that_is_another_one_compares_no_rows() {
        let columns = [("id", "integer"), ("no", "integer")];
        let pair = Pair::of(table(&columns, &["id"]), table(&columns, &["no"]));
        assert!(pair.key.is_empty());
        assert_eq!(pair.changes, ["the primary key is another one"]);
    }
}
