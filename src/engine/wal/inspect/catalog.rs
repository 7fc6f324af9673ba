//! Changes to the few catalogs that give tables, schemas and databases their names. Owns their
//! rows' layout from PostgreSQL 14 to 18 and how a record tells a row; keeps nothing.

use super::action::Row;
use super::bytes::{u8_at, u16_at, u32_at};
use super::history::RelationFile;
use super::image::{self, Block};
use super::record::{Record, rmgr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A catalog that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Catalog {
    Relations,
    Columns,
    Schemas,
    Databases,
}

impl Catalog {
    /// By the catalog's OID, which is also its first file's number.
    #[must_use]
    pub fn of(oid: u32) -> Option<Self> {
        Some(match oid {
            1259 => Self::Relations,
            1249 => Self::Columns,
            2615 => Self::Schemas,
            1262 => Self::Databases,
            _ => return None,
        })
    }
}

/// Files of catalogs that were rewritten and so have no more the number that they began with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CatalogFiles(BTreeMap<(u32, u32), Catalog>);

impl CatalogFiles {
    /// Adds a catalog's file; says whether that is news.
    pub fn add(&mut self, database: u32, oid: u32, file: u32) -> bool {
        match Catalog::of(oid) {
            Some(catalog) if file != oid && file != 0 => {
                self.0.insert((database, file), catalog) != Some(catalog)
            }
            _ => false,
        }
    }

    #[must_use]
    pub fn get(&self, relation: RelationFile) -> Option<Catalog> {
        let fixed = || {
            let catalog = Catalog::of(relation.file)?;
            ((catalog == Catalog::Databases) == (relation.database == 0)).then_some(catalog)
        };
        let moved = || self.0.get(&(relation.database, relation.file)).copied();
        if self.0.is_empty() { fixed() } else { moved().or_else(fixed) }
    }
}

/// A change, as far as one record tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogChange {
    /// Rows that stood on a page after the record, by line number.
    Page {
        catalog: Catalog,
        database: u32,
        file: u32,
        block: u32,
        rows: Vec<(u16, Vec<u8>)>,
    },
    /// A row's content; `None` where it is on the page told just before.
    Insert {
        catalog: Catalog,
        place: Row,
        row: Option<Vec<u8>>,
    },
    /// The new row is `prefix` bytes of the old one, `middle`, and the last `suffix` bytes of the
    /// old one; `None` where it is on the page told just before.
    Update {
        catalog: Catalog,
        old: Row,
        new: Row,
        prefix: u16,
        suffix: u16,
        middle: Option<Vec<u8>>,
    },
    InPlace {
        catalog: Catalog,
        place: Row,
        row: Vec<u8>,
    },
    Delete {
        catalog: Catalog,
        place: Row,
    },
    /// A column was dropped: the table's OID and the column's former name where the record has
    /// them, and its number.
    ColumnDropped {
        database: u32,
        relation: Option<u32>,
        name: Option<String>,
        number: Option<u16>,
    },
}

/// What `record`, whose first block is of `catalog`, changes. Empty where nothing that matters.
#[must_use]
pub fn changes(record: &Record<'_>, catalog: Catalog) -> Vec<CatalogChange> {
    let Some(blocks) = image::blocks(record) else { return Vec::new() };
    if catalog == Catalog::Columns {
        return column(record, &blocks).into_iter().collect();
    }
    let mut out = Vec::new();
    for block in blocks.iter().filter(|b| b.fork == 0) {
        if let Some(page) = block.image.and_then(|i| i.page()) {
            let rows = image::rows(&page).into_iter().map(|(n, row)| (n, row.to_vec())).collect();
            out.push(CatalogChange::Page {
                catalog,
                database: block.relation.database,
                file: block.relation.file,
                block: block.block,
                rows,
            });
        }
    }
    out.extend(row(record, catalog, &blocks));
    out
}

fn row(record: &Record<'_>, catalog: Catalog, blocks: &[Block<'_>]) -> Option<CatalogChange> {
    if record.rmgr != rmgr::HEAP {
        return None;
    }
    let main = record.parts()?.main;
    let first = blocks.first()?;
    let place =
        |block: &Block<'_>, offset| Row { relation: block.relation, block: block.block, offset };
    let whole = first.image.is_some();
    Some(match record.info & 0x70 {
        0x00 => {
            let row = if whole { None } else { Some(tuple(first.data)?.to_vec()) };
            CatalogChange::Insert { catalog, place: place(first, u16_at(main, 0)?), row }
        }
        0x10 => CatalogChange::Delete { catalog, place: place(first, u16_at(main, 4)?) },
        0x20 | 0x40 => {
            let flags = u8_at(main, 7)?;
            let old = place(blocks.get(1).unwrap_or(first), u16_at(main, 4)?);
            let new = place(first, u16_at(main, 12)?);
            let (mut prefix, mut suffix, mut middle) = (0, 0, None);
            if !whole {
                let mut at = 0;
                let mut length = |there: bool| {
                    let value = if there { u16_at(first.data, at)? } else { 0 };
                    at += if there { 2 } else { 0 };
                    Some(value)
                };
                prefix = length(flags & 0x20 != 0)?;
                suffix = length(flags & 0x40 != 0)?;
                middle = Some(tuple(first.data.get(at..)?)?.to_vec());
            }
            CatalogChange::Update { catalog, old, new, prefix, suffix, middle }
        }
        0x70 if !whole => {
            let place = place(first, u16_at(main, 0)?);
            CatalogChange::InPlace { catalog, place, row: first.data.to_vec() }
        }
        _ => return None,
    })
}

/// A row's content behind the short header that records carry, and behind its null map.
fn tuple(data: &[u8]) -> Option<&[u8]> {
    const FIXED: usize = 23;
    let offset = usize::from(u8_at(data, 4)?);
    data.get(5 + offset.checked_sub(FIXED)?..)
}

/// DROP COLUMN keeps the column's row and renames it.
fn column(record: &Record<'_>, blocks: &[Block<'_>]) -> Option<CatalogChange> {
    const MARK: &[u8] = b"pg.dropped.";
    if record.rmgr != rmgr::HEAP || !matches!(record.info & 0x70, 0x20 | 0x40) {
        return None;
    }
    let main = record.parts()?.main;
    let first = blocks.first()?;
    let database = first.relation.database;
    let number = |row: &[u8]| {
        let at = row.windows(MARK.len()).position(|w| w == MARK)? + MARK.len();
        let digits = row.get(at..)?.iter().take_while(|b| b.is_ascii_digit());
        digits
            .map(|b| u16::from(b - b'0'))
            .try_fold(0_u16, |n, d| n.checked_mul(10)?.checked_add(d))
    };
    let dropped = |relation, name, number| {
        Some(CatalogChange::ColumnDropped { database, relation, name, number })
    };
    let Some(page) = first.image.and_then(|i| i.page()) else {
        let there = number(first.data)?;
        let prefixed = u8_at(main, 7)? & 0x20 != 0;
        let relation = if prefixed { None } else { tuple(first.data).and_then(|t| u32_at(t, 0)) };
        return dropped(relation, None, Some(there));
    };
    let rows = image::rows(&page);
    let find = |line: u16| rows.iter().find(|(n, _)| *n == line).map(|(_, row)| *row);
    let new = find(u16_at(main, 12)?)?;
    let there = number(new.get(..68)?)?;
    // The old row still stands on the page, unless the new one had no room beside it.
    let old = if blocks.len() == 1 { find(u16_at(main, 4)?) } else { None };
    let old = old.filter(|row| row.get(..4) == new.get(..4)).and_then(|row| text(row, 4));
    dropped(u32_at(new, 0), old.filter(|n| !n.contains("pg.dropped.")), Some(there))
}

/// A row of the catalog of relations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRow {
    pub oid: u32,
    pub name: String,
    pub schema: u32,
    /// 0 where the file stands in the relation map instead.
    pub file: u32,
    /// `r` table, `m` materialised view, `p` partitioned table, `i` index, `t` TOAST …
    pub kind: char,
    pub temporary: bool,
}

impl ClassRow {
    /// From a row's content. `None` where it is none.
    #[must_use]
    pub fn parse(row: &[u8], version: u32) -> Option<Self> {
        let flags = if version >= 18 { 116 } else { 112 };
        Some(Self {
            oid: u32_at(row, 0)?,
            name: text(row, 4)?,
            schema: u32_at(row, 68)?,
            file: u32_at(row, 88)?,
            kind: char::from(u8_at(row, flags + 3).filter(u8::is_ascii_alphabetic)?),
            temporary: u8_at(row, flags + 2)? == b't',
        })
    }
}

/// OID and name of a row of the catalogs of schemas and of databases.
#[must_use]
pub fn oid_and_name(row: &[u8]) -> Option<(u32, String)> {
    Some((u32_at(row, 0)?, text(row, 4)?))
}

/// A name: 64 bytes, filled up with zeros.
fn text(row: &[u8], at: usize) -> Option<String> {
    let bytes = row.get(at..at + 64)?;
    let name = bytes.split(|b| *b == 0).next().filter(|n| !n.is_empty())?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::Lsn;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_content_panics(
            info: u8, version in 14u32..=18,
            data in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let lsn = Lsn(0x100_0028);
            let record = Record { lsn, end: lsn, xid: 7, info, rmgr: rmgr::HEAP, version, data: &data };
            for catalog in [Catalog::Relations, Catalog::Columns] {
                let _ = changes(&record, catalog);
            }
            let _ = (ClassRow::parse(&data, version), oid_and_name(&data), tuple(&data));
        }
    }

    #[test]
    fn rewritten_catalogs_are_known_by_their_new_file() {
        let mut files = CatalogFiles::default();
        let file = |database, file| RelationFile { tablespace: 1663, database, file };
        assert!(!files.add(5, 1259, 1259));
        assert!(files.add(5, 1259, 20000));
        assert!(!files.add(5, 1259, 20000), "known already");
        assert_eq!(files.get(file(5, 20000)), Some(Catalog::Relations));
        assert_eq!(files.get(file(6, 20000)), None);
        assert_eq!(files.get(file(6, 1259)), Some(Catalog::Relations));
        assert_eq!(files.get(file(5, 1262)), None, "databases are listed once for all");
    }
}
