//! A stretch of WAL, boiled down to what the ledger needs of it: by transaction, in order. Owns
//! what is kept of a record; needs nothing from before the stretch, so that segments can be read
//! side by side and kept for the next time. Never names a table.

use super::action::{Action, Finish, Row};
use super::catalog::{Catalog, CatalogChange, CatalogFiles, changes};
use super::history::{Fast, RelationFile, Tally};
use super::record::{Record, rmgr};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Files below are catalogs of the system.
const FIRST_USER_FILE: u32 = 16384;

/// What records told. LSNs are plain numbers here, for the sake of size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    pub records: u64,
    pub first_record: Option<u64>,
    pub last_record: Option<u64>,
    /// Records of a known kind whose inside could not be read: how many, and the first.
    pub unreadable: (u64, Option<u64>),
    /// In the log's order.
    pub items: Vec<Item>,
    /// Transactions that did something here and did not end here.
    pub open: Vec<(u32, Part)>,
}

/// One thing that happened, where order matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Item {
    Ended(Ended),
    Parameters {
        lsn: u64,
        values: [i32; 5],
        minimal: bool,
    },
    RestorePoint {
        lsn: u64,
        micros: Option<i64>,
        name: String,
    },
    Checkpoint {
        lsn: u64,
        /// Where replay from it begins.
        redo: u64,
    },
    /// A database's row was changed in place.
    DatabaseInPlace {
        lsn: u64,
        row: Row,
    },
    /// Files of catalogs: (catalog OID, file).
    CatalogFiles {
        database: u32,
        files: Vec<(u32, u32)>,
    },
    Catalog {
        xid: u32,
        lsn: u64,
        change: CatalogChange,
    },
    Tablespace {
        lsn: u64,
        oid: u32,
        place: String,
    },
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub lsn: u64,
    pub end: u64,
    /// Of the record; for a prepared transaction not its own.
    pub record_xid: u32,
    pub xid: u32,
    pub micros: i64,
    pub subtransactions: Vec<u32>,
    /// Files that are deleted with it.
    pub files: Vec<RelationFile>,
    pub committed: bool,
    /// What it and its subtransactions did in this stretch.
    pub part: Option<Box<Part>>,
}

/// What a transaction did in a stretch of WAL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its first record.
    pub first: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// A record of its own was seen, not only its lock in a list of all locks.
    pub own: bool,
    pub relations: Vec<(RelationFile, Tally)>,
    pub created: Vec<RelationFile>,
    /// Access-exclusive locks: (database, relation OID).
    pub locks: Vec<(u32, u32)>,
    /// Rows of the catalog of relations.
    pub catalog: Tally,
    pub schemas_dropped: u64,
    pub databases_dropped: Vec<u32>,
    /// Rows of the catalog of databases that it deleted, and where.
    pub database_rows: Vec<(Row, u64)>,
    /// Where each relation stands in `relations`, once they are many.
    #[serde(skip)]
    index: HashMap<RelationFile, usize, Fast>,
    #[serde(skip)]
    recent: usize,
}

impl Part {
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self {
            first,
            bytes: 0,
            own: false,
            relations: Vec::new(),
            created: Vec::new(),
            locks: Vec::new(),
            catalog: Tally::default(),
            schemas_dropped: 0,
            databases_dropped: Vec::new(),
            database_rows: Vec::new(),
            index: HashMap::default(),
            recent: 0,
        }
    }

    fn tally(&mut self, relation: RelationFile) -> &mut Tally {
        const FEW: usize = 16;
        let known = self.relations.get(self.recent).is_some_and(|(r, _)| *r == relation);
        if !known {
            let many = self.relations.len() >= FEW;
            if many && self.index.len() != self.relations.len() {
                self.index = self.relations.iter().enumerate().map(|(i, (r, _))| (*r, i)).collect();
            }
            let found = if many {
                self.index.get(&relation).copied()
            } else {
                self.relations.iter().position(|(r, _)| *r == relation)
            };
            self.recent = found.unwrap_or(self.relations.len());
            if found.is_none() {
                self.relations.push((relation, Tally::default()));
                if many {
                    self.index.insert(relation, self.recent);
                }
            }
        }
        match self.relations.get_mut(self.recent) {
            Some((_, tally)) => tally,
            None => &mut self.catalog,
        }
    }

    fn lock(&mut self, lock: (u32, u32)) {
        if !self.locks.contains(&lock) {
            self.locks.push(lock);
        }
    }

    /// Adds a later part of the same transaction, or one of its subtransactions.
    pub fn absorb(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.bytes += other.bytes;
        self.own |= other.own;
        for (relation, tally) in other.relations {
            self.tally(relation).add(tally);
        }
        self.created.extend(other.created);
        other.locks.into_iter().for_each(|lock| self.lock(lock));
        self.catalog.add(other.catalog);
        self.schemas_dropped += other.schemas_dropped;
        self.databases_dropped.extend(other.databases_dropped);
        self.database_rows.extend(other.database_rows);
    }
}

/// Boils records down.
#[derive(Debug)]
pub struct Digester<'a> {
    catalogs: &'a CatalogFiles,
    digest: Digest,
    open: HashMap<u32, Part, Fast>,
}

impl<'a> Digester<'a> {
    /// `catalogs` are the catalogs that were rewritten before.
    #[must_use]
    pub fn new(catalogs: &'a CatalogFiles) -> Self {
        Self { catalogs, digest: Digest::default(), open: HashMap::default() }
    }

    /// Takes the next record.
    pub fn observe(&mut self, record: &Record<'_>) {
        let lsn = record.lsn.0;
        self.digest.records += 1;
        self.digest.first_record.get_or_insert(lsn);
        self.digest.last_record = Some(lsn);
        if record.xid != 0 {
            let part = self.open.entry(record.xid).or_insert_with(|| Part::new(lsn));
            part.own = true;
            part.bytes += record.end.bytes_since(record.lsn);
        }
        let telling = matches!(
            record.rmgr,
            rmgr::HEAP
                | rmgr::HEAP2
                | rmgr::TRANSACTION
                | rmgr::XLOG
                | rmgr::STORAGE
                | rmgr::STANDBY
                | rmgr::DATABASE
                | rmgr::TABLESPACE
                | rmgr::RELATION_MAP
        );
        if !telling {
            return;
        }
        match record.action() {
            Some(action) => self.apply(record, action),
            None => {
                self.digest.unreadable.0 += 1;
                self.digest.unreadable.1.get_or_insert(lsn);
            }
        }
    }

    #[must_use]
    pub fn finish(mut self) -> Digest {
        self.digest.open = self.open.into_iter().collect();
        self.digest.open.sort_by_key(|(xid, part)| (part.first, *xid));
        self.digest
    }

    fn apply(&mut self, record: &Record<'_>, action: Action) {
        let (xid, lsn) = (record.xid, record.lsn.0);
        match action {
            Action::Commit(finish) => self.end(record, finish, true),
            Action::Abort(finish) => self.end(record, finish, false),
            Action::ParameterChange { values, minimal } => {
                self.digest.items.push(Item::Parameters { lsn, values, minimal });
            }
            Action::Checkpoint { redo, .. } => {
                self.digest.items.push(Item::Checkpoint { lsn, redo: redo.0 });
            }
            Action::RestorePoint { at, name } => {
                let micros = at.map(|at| at.as_microsecond());
                self.digest.items.push(Item::RestorePoint { lsn, micros, name });
            }
            Action::InPlace(row) => {
                if self.catalogs.get(row.relation) == Some(Catalog::Databases) {
                    self.digest.items.push(Item::DatabaseInPlace { lsn, row });
                }
                self.catalog(record, row.relation);
            }
            Action::RelationMap { database, files } => {
                self.digest.items.push(Item::CatalogFiles { database, files });
            }
            Action::Lock(locks) => {
                for (owner, database, relation) in locks {
                    // A list of all locks repeats those of others.
                    let part = self.open.entry(owner).or_insert_with(|| Part::new(lsn));
                    part.lock((database, relation));
                }
            }
            Action::Insert { relation, rows } => {
                self.change(record, relation, |t| t.inserts += rows);
            }
            Action::Update { relation } => self.change(record, relation, |t| t.updates += 1),
            Action::Delete { place, moved, speculative } => {
                if moved {
                    self.change(record, place.relation, |t| t.updates += 1);
                } else if !speculative {
                    self.change(record, place.relation, |t| t.deletes += 1);
                }
                if self.catalogs.get(place.relation) == Some(Catalog::Databases)
                    && let Some(part) = self.open.get_mut(&xid)
                {
                    part.database_rows.push((place, lsn));
                }
            }
            Action::Page(relation) => self.catalog(record, relation),
            Action::StorageCreate { relation, fork: 0 } => {
                if let Some(part) = self.open.get_mut(&xid) {
                    part.created.push(relation);
                }
            }
            Action::TablespaceCreate { oid, place } => {
                self.digest.items.push(Item::Tablespace { lsn, oid, place });
            }
            Action::DatabaseDrop { database } => {
                if let Some(part) = self.open.get_mut(&xid) {
                    part.databases_dropped.push(database);
                }
            }
            _ => {}
        }
    }

    fn change(
        &mut self,
        record: &Record<'_>,
        relation: RelationFile,
        with: impl FnOnce(&mut Tally),
    ) {
        let Some(part) = self.open.get_mut(&record.xid) else {
            return self.catalog(record, relation);
        };
        match self.catalogs.get(relation) {
            None if relation.file >= FIRST_USER_FILE => return with(part.tally(relation)),
            None => return,
            Some(Catalog::Relations) => with(&mut part.catalog),
            Some(Catalog::Schemas) => {
                let mut schemas = Tally::default();
                with(&mut schemas);
                part.schemas_dropped += schemas.deletes;
            }
            Some(Catalog::Columns | Catalog::Databases) => {}
        }
        self.catalog(record, relation);
    }

    fn catalog(&mut self, record: &Record<'_>, relation: RelationFile) {
        let Some(catalog) = self.catalogs.get(relation) else { return };
        let (xid, lsn) = (record.xid, record.lsn.0);
        let told = changes(record, catalog);
        self.digest.items.extend(told.into_iter().map(|change| Item::Catalog { xid, lsn, change }));
    }

    fn end(&mut self, record: &Record<'_>, finish: Finish, committed: bool) {
        let mut part = self.open.remove(&finish.xid);
        if finish.xid != record.xid {
            // The record that ends a prepared transaction can bear another number.
            self.open.remove(&record.xid);
        }
        for sub in &finish.subtransactions {
            if let Some(of_sub) = self.open.remove(sub) {
                match &mut part {
                    Some(part) => part.absorb(of_sub),
                    None => part = Some(of_sub),
                }
            }
        }
        let ended = Ended {
            lsn: record.lsn.0,
            end: record.end.0,
            record_xid: record.xid,
            xid: finish.xid,
            micros: finish.at.as_microsecond(),
            subtransactions: finish.subtransactions,
            files: finish.files,
            committed,
            part: part.map(Box::new),
        };
        self.digest.items.push(Item::Ended(ended));
    }
}
