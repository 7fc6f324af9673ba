//! Adds records up by transaction: who changed how many rows of which file, who dropped or
//! truncated what, when each transaction ended. Owns the bounds on memory; never names a table
//! (a file number is all that the log knows) and never judges.

use super::action::{Action, Finish, Row};
use super::record::{Record, rmgr};
use super::tables::TableLog;
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Catalogs whose rows tell what a transaction did to tables. Their files bear the number of the
/// catalog itself until something rewrites them.
const PG_CLASS: u32 = 1259;
const PG_DATABASE: u32 = 1262;
const PG_NAMESPACE: u32 = 2615;
/// Files below are catalogs of the system.
const FIRST_USER_FILE: u32 = 16384;
/// Endings kept one by one, about 25 MB. Beyond, the oldest are thinned.
const MAX_ENDINGS: usize = 400_000;
const MAX_DETAILS: usize = 2_000;
/// Fewer changed rows of one file than this are no detail worth keeping.
const DETAIL_ROWS: u64 = 50;
/// An in-place change of a database's row belongs to its DROP only if it is this near, in bytes.
const NEAR: u64 = 16 << 20;

/// A relation by its file, as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationFile {
    pub tablespace: u32,
    /// 0 for catalogs that all databases share.
    pub database: u32,
    pub file: u32,
}

/// Rows changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.inserts = self.inserts.saturating_add(other.inserts);
        self.updates = self.updates.saturating_add(other.updates);
        self.deletes = self.deletes.saturating_add(other.deletes);
    }
}

/// The end of a transaction: a place where recovery can stop. Compact, for there are millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Microseconds since 1970, UTC.
    pub micros: i64,
    pub first_lsn: Lsn,
    pub lsn: Lsn,
    /// Bytes of the commit or abort record, with padding.
    pub length: u32,
    pub xid: u32,
    pub inserts: u32,
    pub updates: u32,
    pub deletes: u32,
    /// 1, or how many commits this one stands for where older ones were thinned. 0: an abort.
    pub commits: u32,
}

impl Ending {
    #[must_use]
    pub fn committed(&self) -> bool {
        self.commits > 0
    }

    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_microsecond(self.micros).unwrap_or_default()
    }

    #[must_use]
    pub fn end_lsn(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_add(u64::from(self.length)))
    }
}

/// What one transaction did to one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub relation: RelationFile,
    pub tally: Tally,
    /// Rows inserted less rows deleted by all commits before it, since the scan began.
    pub net_before: i64,
}

/// A committed transaction that dropped, truncated or changed many rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    pub ending: Ending,
    /// Largest first, at most [`Detail::RELATIONS`].
    pub touched: Vec<Touched>,
    /// Files that it deleted and that were there before it.
    pub dropped: Vec<RelationFile>,
    /// Files that it created and kept.
    pub created: Vec<RelationFile>,
    /// Access-exclusive locks: (database, relation OID).
    pub locks: Vec<(u32, u32)>,
    /// Rows of the catalog of relations.
    pub catalog: Tally,
    pub schemas_dropped: u64,
    pub databases_dropped: Vec<u32>,
}

impl Detail {
    pub const RELATIONS: usize = 32;

    fn structural(&self) -> bool {
        !self.dropped.is_empty() || !self.databases_dropped.is_empty()
    }

    fn weight(&self) -> u64 {
        self.touched.first().map_or(0, |t| t.tally.updates + t.tally.deletes)
    }
}

/// All commits' changes to one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub tally: Tally,
    /// Transactions that deleted rows.
    pub deleting: u64,
    /// Transactions that updated rows.
    pub updating: u64,
    /// It was created within the range read.
    pub created: bool,
}

/// A named restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    pub lsn: Lsn,
    pub at: Option<Timestamp>,
    pub name: String,
}

/// Everything that a range of WAL told.
#[derive(Debug, Default)]
pub struct History {
    /// In the log's order; the order of times can differ a little.
    pub endings: Vec<Ending>,
    pub details: Vec<Detail>,
    /// Details that were let go to bound memory.
    pub details_dropped: u64,
    pub totals: HashMap<RelationFile, Totals, Fast>,
    /// Rows changed by relation, along the log.
    pub tables: TableLog,
    pub restore_points: Vec<RestorePoint>,
    /// Values in the order of [`super::action::STANDBY_SETTINGS`].
    pub parameters: Vec<(Lsn, [i32; 5])>,
    pub records: u64,
    pub first_record: Option<Lsn>,
    pub last_record: Option<Lsn>,
    /// Endings before it were thinned to one a minute or fewer.
    pub thinned_before: Option<Lsn>,
    /// Records of a known kind whose inside could not be read: how many, and the first.
    pub unreadable: (u64, Option<Lsn>),
}

/// Hashes the small integers that keys are made of; garbage cannot do worse than be slow.
#[derive(Debug, Clone, Copy, Default)]
pub struct FastHasher(u64);

/// For maps keyed by transaction or file numbers.
pub type Fast = BuildHasherDefault<FastHasher>;

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A transaction that has not ended yet.
#[derive(Debug)]
struct Open {
    first: Lsn,
    relations: Vec<(RelationFile, Tally)>,
    /// Where each relation stands in `relations`, once they are many.
    index: HashMap<RelationFile, usize, Fast>,
    recent: usize,
    created: Vec<RelationFile>,
    locks: Vec<(u32, u32)>,
    catalog: Tally,
    schemas_dropped: u64,
    databases: Vec<u32>,
    database_row_deleted: bool,
}

impl Open {
    fn new(first: Lsn) -> Self {
        Self {
            first,
            relations: Vec::new(),
            index: HashMap::default(),
            recent: 0,
            created: Vec::new(),
            locks: Vec::new(),
            catalog: Tally::default(),
            schemas_dropped: 0,
            databases: Vec::new(),
            database_row_deleted: false,
        }
    }

    fn tally(&mut self, relation: RelationFile) -> &mut Tally {
        const FEW: usize = 16;
        let known = self.relations.get(self.recent).is_some_and(|(r, _)| *r == relation);
        if !known {
            let found = if self.index.is_empty() {
                self.relations.iter().position(|(r, _)| *r == relation)
            } else {
                self.index.get(&relation).copied()
            };
            self.recent = found.unwrap_or(self.relations.len());
            if found.is_none() {
                self.relations.push((relation, Tally::default()));
                if self.relations.len() == FEW {
                    self.index =
                        self.relations.iter().enumerate().map(|(i, (r, _))| (*r, i)).collect();
                } else if self.relations.len() > FEW {
                    self.index.insert(relation, self.recent);
                }
            }
        }
        match self.relations.get_mut(self.recent) {
            Some((_, tally)) => tally,
            None => &mut self.catalog,
        }
    }

    fn absorb(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        for (relation, tally) in other.relations {
            self.tally(relation).add(tally);
        }
        self.created.extend(other.created);
        self.locks.extend(other.locks);
        self.catalog.add(other.catalog);
        self.schemas_dropped += other.schemas_dropped;
        self.databases.extend(other.databases);
        self.database_row_deleted |= other.database_row_deleted;
    }
}

/// Folds records, in order, into a [`History`].
#[derive(Debug, Default)]
pub struct Ledger {
    history: History,
    open: HashMap<u32, Open, Fast>,
    /// Newest in-place change of each row of the catalog of databases.
    in_place: HashMap<Row, Lsn>,
    /// File of the catalog of relations, where it is no more the first one.
    class_files: HashMap<u32, u32, Fast>,
}

impl Ledger {
    /// Takes the next record.
    pub fn observe(&mut self, record: &Record<'_>) {
        self.history.records += 1;
        self.history.first_record.get_or_insert(record.lsn);
        self.history.last_record = Some(record.lsn);
        let telling = matches!(
            record.rmgr,
            rmgr::HEAP
                | rmgr::HEAP2
                | rmgr::TRANSACTION
                | rmgr::XLOG
                | rmgr::STORAGE
                | rmgr::STANDBY
                | rmgr::DATABASE
                | rmgr::RELATION_MAP
        );
        if !telling {
            if record.xid != 0 {
                self.open(record.xid, record.lsn);
            }
            return;
        }
        match record.action() {
            Some(action) => self.apply(record, action),
            None => {
                self.history.unreadable.0 += 1;
                self.history.unreadable.1.get_or_insert(record.lsn);
            }
        }
    }

    /// The log has a hole here: transactions that were open may have ended in it.
    pub fn interrupted(&mut self) {
        self.open.clear();
        self.in_place.clear();
    }

    /// What was found so far.
    #[must_use]
    pub fn finish(mut self) -> History {
        self.trim_details(MAX_DETAILS);
        self.history
    }

    fn open(&mut self, xid: u32, lsn: Lsn) -> &mut Open {
        self.open.entry(xid).or_insert_with(|| Open::new(lsn))
    }

    fn apply(&mut self, record: &Record<'_>, action: Action) {
        let (xid, lsn) = (record.xid, record.lsn);
        match action {
            Action::Commit(finish) => return self.end(record, finish, true),
            Action::Abort(finish) => return self.end(record, finish, false),
            Action::ParameterChange(values) => self.history.parameters.push((lsn, values)),
            Action::RestorePoint { at, name } => {
                self.history.restore_points.push(RestorePoint { lsn, at, name });
            }
            Action::InPlace(row)
                if row.relation.database == 0 && row.relation.file == PG_DATABASE =>
            {
                self.in_place.insert(row, lsn);
            }
            Action::RelationMap { database, files } => {
                for (catalog, file) in files {
                    if catalog == PG_CLASS {
                        self.class_files.insert(database, file);
                    }
                }
            }
            Action::Lock(locks) => {
                for (owner, database, relation) in locks {
                    // A snapshot of running transactions repeats the locks of others.
                    if owner == xid || self.open.contains_key(&owner) {
                        let open = self.open(owner, lsn);
                        if !open.locks.contains(&(database, relation)) {
                            open.locks.push((database, relation));
                        }
                    }
                }
            }
            _ if xid == 0 => {}
            Action::Insert { relation, rows } => {
                self.change(xid, lsn, relation, |t| t.inserts += rows)
            }
            Action::Update { relation } => self.change(xid, lsn, relation, |t| t.updates += 1),
            Action::Delete { place, moved, speculative } => {
                if moved {
                    self.change(xid, lsn, place.relation, |t| t.updates += 1);
                } else if !speculative {
                    self.change(xid, lsn, place.relation, |t| t.deletes += 1);
                }
                self.database_row(xid, lsn, place);
            }
            Action::StorageCreate { relation, fork: 0 } => {
                self.open(xid, lsn).created.push(relation);
            }
            Action::DatabaseDrop { database } => self.open(xid, lsn).databases.push(database),
            _ => {
                self.open(xid, lsn);
            }
        }
        if xid != 0 {
            self.open(xid, lsn);
        }
    }

    fn change(
        &mut self,
        xid: u32,
        lsn: Lsn,
        relation: RelationFile,
        with: impl FnOnce(&mut Tally),
    ) {
        let file = relation.file;
        if file < FIRST_USER_FILE || self.class_files.get(&relation.database) == Some(&file) {
            let class = self.class_files.get(&relation.database).copied().unwrap_or(PG_CLASS);
            let open = self.open(xid, lsn);
            if file == class {
                with(&mut open.catalog);
            } else if file == PG_NAMESPACE {
                let mut schemas = Tally::default();
                with(&mut schemas);
                open.schemas_dropped += schemas.deletes;
            }
            return;
        }
        with(self.open(xid, lsn).tally(relation));
    }

    /// DROP DATABASE marks the database's row in place, outside the transaction, before it
    /// deletes that row: what is undone must be undone from there.
    fn database_row(&mut self, xid: u32, lsn: Lsn, row: Row) {
        if row.relation.database != 0 || row.relation.file != PG_DATABASE {
            return;
        }
        let marked = self.in_place.remove(&row).filter(|m| lsn.bytes_since(*m) <= NEAR);
        let open = self.open(xid, lsn);
        open.database_row_deleted = true;
        if let Some(marked) = marked {
            open.first = open.first.min(marked);
        }
    }

    fn end(&mut self, record: &Record<'_>, finish: Finish, committed: bool) {
        let mut whole = self.open.remove(&finish.xid).unwrap_or_else(|| Open::new(record.lsn));
        if finish.xid != record.xid {
            // The record that ends a prepared transaction can bear another number.
            self.open.remove(&record.xid);
        }
        for sub in &finish.subtransactions {
            if let Some(part) = self.open.remove(sub) {
                whole.absorb(part);
            }
        }
        let mut sum = Tally::default();
        if committed {
            whole.relations.iter().for_each(|(_, tally)| sum.add(*tally));
        }
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let ending = Ending {
            micros: finish.at.as_microsecond(),
            first_lsn: whole.first,
            lsn: record.lsn,
            length: small(record.end.bytes_since(record.lsn)),
            xid: finish.xid,
            inserts: small(sum.inserts),
            updates: small(sum.updates),
            deletes: small(sum.deletes),
            commits: u32::from(committed),
        };
        self.history.endings.push(ending);
        if self.history.endings.len() > MAX_ENDINGS {
            self.history.thin();
        }
        if committed {
            self.detail(ending, whole, &finish.files);
        }
    }

    fn detail(&mut self, ending: Ending, whole: Open, files: &[RelationFile]) {
        for (relation, tally) in &whole.relations {
            self.history.tables.add(ending.lsn, *relation, *tally);
        }
        let totals = &mut self.history.totals;
        for relation in &whole.created {
            totals.entry(*relation).or_default().created = true;
        }
        let mut touched: Vec<Touched> = Vec::new();
        for (relation, tally) in &whole.relations {
            let total = totals.entry(*relation).or_default();
            let net_before = net(total.tally);
            total.tally.add(*tally);
            total.deleting += u64::from(tally.deletes > 0);
            total.updating += u64::from(tally.updates > 0);
            touched.push(Touched { relation: *relation, tally: *tally, net_before });
        }
        let mut dropped: Vec<RelationFile> =
            files.iter().copied().filter(|f| !whole.created.contains(f)).collect();
        dropped.sort_unstable();
        dropped.dedup();
        let databases_dropped =
            if whole.database_row_deleted { whole.databases } else { Vec::new() };
        let large = |t: &Touched| t.tally.deletes.max(t.tally.updates) >= DETAIL_ROWS;
        if dropped.is_empty() && databases_dropped.is_empty() && !touched.iter().any(large) {
            return;
        }
        // Rows that were in a dropped table, as far as this range of the log can tell.
        for file in &dropped {
            if let Some(total) = totals.get(file)
                && !touched.iter().any(|t| t.relation == *file)
            {
                let net_before = net(total.tally);
                touched.push(Touched { relation: *file, tally: Tally::default(), net_before });
            }
        }
        touched.sort_by_key(|t| std::cmp::Reverse(t.tally.deletes + t.tally.updates));
        touched.truncate(Detail::RELATIONS);
        let created = whole.created.into_iter().filter(|f| !files.contains(f)).collect();
        self.history.details.push(Detail {
            ending,
            touched,
            dropped,
            created,
            locks: whole.locks,
            catalog: whole.catalog,
            schemas_dropped: whole.schemas_dropped,
            databases_dropped,
        });
        if self.history.details.len() > 2 * MAX_DETAILS {
            self.trim_details(MAX_DETAILS);
        }
    }

    /// Keeps the newest of those that dropped something, and the largest of the others.
    fn trim_details(&mut self, keep: usize) {
        let details = &mut self.history.details;
        if details.len() <= keep {
            return;
        }
        let before = details.len();
        let (mut structural, mut mass): (Vec<Detail>, Vec<Detail>) =
            details.drain(..).partition(Detail::structural);
        structural.drain(..structural.len().saturating_sub(keep / 2));
        mass.sort_by_key(|d| std::cmp::Reverse(d.weight()));
        mass.truncate(keep / 2);
        details.append(&mut structural);
        details.append(&mut mass);
        details.sort_by_key(|d| d.ending.lsn);
        self.history.details_dropped += (before - details.len()) as u64;
    }
}

impl History {
    /// Folds the older half of the endings into one for each minute, then for more.
    fn thin(&mut self) {
        let half = self.endings.len() / 2;
        let newest = self.endings.split_off(half);
        let older = std::mem::take(&mut self.endings);
        let mut span = 60_000_000;
        let mut thinned = folded(&older, span);
        while thinned.len() > MAX_ENDINGS / 4 {
            span *= 4;
            thinned = folded(&older, span);
        }
        self.thinned_before = newest.first().map(|e| e.lsn);
        self.endings = thinned;
        self.endings.extend(newest);
    }
}

/// One ending for each `span` of microseconds: the last commit in it stands for all.
fn folded(endings: &[Ending], span: i64) -> Vec<Ending> {
    let mut out: Vec<Ending> = Vec::new();
    for ending in endings.iter().filter(|e| e.committed()) {
        match out.last_mut() {
            Some(last) if last.micros.div_euclid(span) == ending.micros.div_euclid(span) => {
                *last = Ending {
                    commits: last.commits.saturating_add(ending.commits),
                    first_lsn: last.first_lsn.min(ending.first_lsn),
                    inserts: last.inserts.saturating_add(ending.inserts),
                    updates: last.updates.saturating_add(ending.updates),
                    deletes: last.deletes.saturating_add(ending.deletes),
                    ..*ending
                };
            }
            _ => out.push(*ending),
        }
    }
    out
}

fn net(tally: Tally) -> i64 {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    signed(tally.inserts).saturating_sub(signed(tally.deletes))
}
