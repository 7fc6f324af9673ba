//! Names of tables, schemas and databases as the log's own changes to the catalogs tell them.
//! Owns the copy of those catalog rows that the log showed; never asks a server.

use super::action::Row;
use super::catalog::{Catalog, CatalogChange, ClassRow, oid_and_name};
use super::history::{Fast, RelationFile};
use std::collections::HashMap;

/// Rows of catalogs kept, and names kept; beyond, what is new is not learnt.
const MAX_ROWS: usize = 200_000;

/// A relation as its row in the catalog tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRelation {
    pub oid: u32,
    pub schema: u32,
    pub name: String,
    /// `r` table, `m` materialised view, `p` partitioned table, `i` index, `t` TOAST …
    pub kind: char,
    pub temporary: bool,
}

/// What a transaction did to the catalogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    RelationDropped {
        database: u32,
        file: u32,
        relation: LoggedRelation,
    },
    SchemaDropped {
        database: u32,
        oid: u32,
        name: String,
    },
    DatabaseDropped {
        oid: u32,
        name: String,
    },
    ColumnDropped {
        database: u32,
        relation: Option<u32>,
        name: Option<String>,
        number: Option<u16>,
    },
}

impl Fact {
    /// Whether somebody could miss what is gone: no index, no passing or temporary table.
    #[must_use]
    pub fn matters(&self) -> bool {
        match self {
            Self::RelationDropped { relation, .. } => {
                matches!(relation.kind, 'r' | 'm' | 'p' | 'f' | 'v')
                    && !relation.temporary
                    && !relation.name.starts_with("pg_temp_")
            }
            Self::SchemaDropped { name, .. } => !name.starts_with("pg_"),
            Self::DatabaseDropped { .. } | Self::ColumnDropped { .. } => true,
        }
    }
}

/// Names by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoggedNames {
    /// By database and file.
    pub relations: HashMap<(u32, u32), LoggedRelation>,
    /// By database and OID.
    pub schemas: HashMap<(u32, u32), String>,
    pub databases: HashMap<u32, String>,
}

/// The copy of catalog rows, kept up to date record by record.
#[derive(Debug, Default)]
pub struct Names {
    rows: HashMap<(u32, u32, u32, u16), Vec<u8>, Fast>,
    known: LoggedNames,
    version: u32,
}

impl Names {
    /// Major version of the server whose rows come.
    pub fn version(&mut self, version: u32) {
        self.version = version;
    }

    /// The log has a hole: rows may have changed in it, their names mostly not.
    pub fn interrupted(&mut self) {
        self.rows.clear();
    }

    /// The OID of the relation that has, or had, this file.
    #[must_use]
    pub fn oid(&self, file: RelationFile) -> Option<u32> {
        self.known.relations.get(&(file.database, file.file)).map(|r| r.oid)
    }

    #[must_use]
    pub fn finish(self) -> LoggedNames {
        self.known
    }

    /// Takes a change. What it means for the transaction goes to `fact`. Gives the file of a
    /// catalog that the change moved: database, catalog's OID, file.
    pub fn apply(
        &mut self,
        change: CatalogChange,
        fact: &mut dyn FnMut(Fact),
    ) -> Option<(u32, u32, u32)> {
        match change {
            CatalogChange::Page { catalog, database, file, block, rows } => {
                for (line, row) in rows {
                    self.learn(catalog, database, &row);
                    self.keep((database, file, block, line), row);
                }
                None
            }
            CatalogChange::Insert { catalog, place, row } => {
                let row = row.or_else(|| self.rows.get(&key(place)).cloned())?;
                self.take(catalog, place, row)
            }
            CatalogChange::Update { catalog, old, new, prefix, suffix, middle } => {
                let row = match middle {
                    None => self.rows.get(&key(new)).cloned()?,
                    Some(middle) if prefix == 0 && suffix == 0 => middle,
                    Some(middle) => {
                        let old = self.rows.get(&key(old))?;
                        let tail = old.len().checked_sub(usize::from(suffix))?;
                        [old.get(..usize::from(prefix))?, &middle, old.get(tail..)?].concat()
                    }
                };
                self.take(catalog, new, row)
            }
            CatalogChange::InPlace { catalog, place, row } => self.take(catalog, place, row),
            CatalogChange::Delete { catalog, place } => {
                let row = self.rows.get(&key(place))?;
                let database = place.relation.database;
                match catalog {
                    Catalog::Relations => {
                        let row = ClassRow::parse(row, self.version)?;
                        fact(Fact::RelationDropped {
                            database,
                            file: row.file,
                            relation: logged(row),
                        });
                    }
                    Catalog::Schemas => {
                        let (oid, name) = oid_and_name(row)?;
                        fact(Fact::SchemaDropped { database, oid, name });
                    }
                    Catalog::Databases => {
                        let (oid, name) = oid_and_name(row)?;
                        fact(Fact::DatabaseDropped { oid, name });
                    }
                    Catalog::Columns => {}
                }
                None
            }
            CatalogChange::ColumnDropped { database, relation, name, number } => {
                fact(Fact::ColumnDropped { database, relation, name, number });
                None
            }
        }
    }

    fn take(&mut self, catalog: Catalog, place: Row, row: Vec<u8>) -> Option<(u32, u32, u32)> {
        let moved = self.learn(catalog, place.relation.database, &row);
        self.keep(key(place), row);
        moved
    }

    fn keep(&mut self, at: (u32, u32, u32, u16), row: Vec<u8>) {
        if self.rows.len() < MAX_ROWS || self.rows.contains_key(&at) {
            self.rows.insert(at, row);
        }
    }

    fn learn(&mut self, catalog: Catalog, database: u32, row: &[u8]) -> Option<(u32, u32, u32)> {
        match catalog {
            Catalog::Relations => {
                let row = ClassRow::parse(row, self.version)?;
                if row.oid < FIRST_USER_OID {
                    return (row.file != 0).then_some((database, row.oid, row.file));
                }
                let passing = row.name.starts_with("pg_temp_");
                let at = (database, row.file);
                let room =
                    self.known.relations.len() < MAX_ROWS || self.known.relations.contains_key(&at);
                // A rewrite's passing table takes the old file with it before it goes.
                if row.file != 0 && !passing && room {
                    self.known.relations.insert(at, logged(row));
                }
            }
            Catalog::Schemas => {
                let (oid, name) = oid_and_name(row)?;
                self.known.schemas.insert((database, oid), name);
            }
            Catalog::Databases => {
                let (oid, name) = oid_and_name(row)?;
                self.known.databases.insert(oid, name);
            }
            Catalog::Columns => {}
        }
        None
    }
}

/// Relations below belong to the system.
const FIRST_USER_OID: u32 = 16384;

fn key(place: Row) -> (u32, u32, u32, u16) {
    let RelationFile { database, file, .. } = place.relation;
    (database, file, place.block, place.offset)
}

fn logged(row: ClassRow) -> LoggedRelation {
    LoggedRelation {
        oid: row.oid,
        schema: row.schema,
        name: row.name,
        kind: row.kind,
        temporary: row.temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_row(oid: u32, name: &str, file: u32) -> Vec<u8> {
        let mut row = vec![0; 150];
        row[..4].copy_from_slice(&oid.to_le_bytes());
        row[4..4 + name.len()].copy_from_slice(name.as_bytes());
        row[68..72].copy_from_slice(&2200_u32.to_le_bytes());
        row[88..92].copy_from_slice(&file.to_le_bytes());
        row[114] = b'p';
        row[115] = b'r';
        row
    }

    fn place(offset: u16) -> Row {
        let relation = RelationFile { tablespace: 1663, database: 5, file: 1259 };
        Row { relation, block: 3, offset }
    }

    #[test]
    fn a_row_is_followed_through_updates_that_tell_their_middle_alone() {
        let mut names = Names::default();
        names.version(15);
        let catalog = Catalog::Relations;
        let rows = vec![(7, class_row(20000, "orders", 20000))];
        let page = CatalogChange::Page { catalog, database: 5, file: 1259, block: 3, rows };
        assert_eq!(names.apply(page, &mut |_| {}), None);
        // A new file number for the same row.
        let new = class_row(20000, "orders", 30000);
        let middle = Some(new[88..92].to_vec());
        let update = CatalogChange::Update {
            catalog,
            old: place(7),
            new: place(9),
            prefix: 88,
            suffix: u16::try_from(new.len() - 92).unwrap(),
            middle,
        };
        names.apply(update, &mut |_| {});
        let mut facts = Vec::new();
        names.apply(CatalogChange::Delete { catalog, place: place(9) }, &mut |f| facts.push(f));
        let [Fact::RelationDropped { database: 5, file: 30000, relation }] = &facts[..] else {
            panic!("{facts:?}")
        };
        assert_eq!((relation.name.as_str(), relation.oid), ("orders", 20000));
        let known = names.finish();
        assert_eq!(known.relations[&(5, 20000)].name, "orders");
        assert_eq!(known.relations[&(5, 30000)].name, "orders");
    }

    #[test]
    fn what_was_never_seen_is_not_guessed() {
        let mut names = Names::default();
        names.version(15);
        let delete = CatalogChange::Delete { catalog: Catalog::Relations, place: place(1) };
        names.apply(delete, &mut |f| panic!("{f:?}"));
    }
}
