//! Adds digests up by transaction: who changed how many rows of which file, who dropped or
//! truncated what, when each transaction ended. Owns the bounds on memory; never names a table
//! (a file number is all that it keeps) and never judges.

use super::action::Row;
use super::catalog::CatalogFiles;
use super::digest::{Digest, Ended, Item, Part};
use super::names::{Fact, LoggedNames, Names};
use super::series::{self, Series};
use super::tables::TableLog;
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Endings kept one by one, about 25 MB. Beyond, the oldest are thinned.
pub const MAX_ENDINGS: usize = 400_000;
const MAX_DETAILS: usize = 4_000;
/// Of each relation the transactions that changed most of its rows are kept, however few those
/// are: what is much is the ranking's to say.
const LARGEST: usize = 12;
/// Relations whose largest changes are followed; beyond, [`DETAIL_ROWS`] decides.
const MAX_TOPS: usize = 50_000;
const DETAIL_ROWS: u64 = 50;
/// What one transaction did to the catalogs is told up to this many relations.
const MAX_FACTS: usize = 4_096;
/// An in-place change of a database's row belongs to its DROP only if it is this near, in bytes.
const NEAR: u64 = 16 << 20;

/// A relation by its file, as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RelationFile {
    pub tablespace: u32,
    /// 0 for catalogs that all databases share.
    pub database: u32,
    pub file: u32,
}

/// Rows changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
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
    /// Rows inserted less rows deleted by all commits before it, since the scan began; from its
    /// beginning on, where the file is an emptied table's.
    pub net_before: i64,
    pub origin: Origin,
}

/// Whose rows a file had when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Its own: it was there before, or is a new table's.
    #[default]
    Own,
    /// A rewrite's: those of this file, which was there before.
    Of(RelationFile),
    /// None: the table was emptied.
    Empty,
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
    /// What it did to the catalogs, as far as the log showed the rows.
    pub facts: Vec<Fact>,
    /// Bytes of WAL that it wrote.
    pub bytes: u64,
}

impl Detail {
    pub const RELATIONS: usize = 32;

    fn structural(&self) -> bool {
        !self.dropped.is_empty() || !self.databases_dropped.is_empty() || !self.facts.is_empty()
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
    pub origin: Origin,
    /// Rows that its predecessors gained.
    carried: i64,
}

impl Totals {
    fn net(&self) -> i64 {
        self.carried.saturating_add(net(self.tally))
    }
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
    /// What was changed behind each point of [`super::ScanOptions::after`].
    pub after: Vec<HashMap<RelationFile, Tally, Fast>>,
    /// Many small transactions of one shape, by where they begin.
    pub series: Vec<Series>,
    /// What the log's own changes to the catalogs tell.
    pub names: LoggedNames,
    /// Rows changed by relation, along the log.
    pub tables: TableLog,
    pub restore_points: Vec<RestorePoint>,
    /// Values in the order of [`super::action::STANDBY_SETTINGS`].
    pub parameters: Vec<(Lsn, [i32; 5])>,
    /// Where `wal_level` became `minimal`: replay refuses each such record.
    pub minimal: Vec<Lsn>,
    /// Tablespaces that were created: where, number and folder.
    pub tablespaces: Vec<(Lsn, u32, String)>,
    /// Each checkpoint's record, and where replay from it begins.
    pub checkpoints: Vec<(Lsn, Lsn)>,
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
    part: Part,
    facts: Vec<Fact>,
}

/// The largest changes of one relation so far, ascending: deletes, updates.
type Tops = HashMap<(RelationFile, bool), Vec<u64>, Fast>;

/// Commits outside of it give no details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Focus {
    /// Microseconds since 1970, UTC; both ends belong to it.
    pub from: i64,
    pub to: i64,
    /// A commit's LSN, likewise.
    pub from_lsn: Lsn,
    pub to_lsn: Lsn,
}

impl Default for Focus {
    fn default() -> Self {
        Self { from: i64::MIN, to: i64::MAX, from_lsn: Lsn(0), to_lsn: Lsn(u64::MAX) }
    }
}

impl Focus {
    #[must_use]
    pub fn holds(&self, ending: &Ending) -> bool {
        (self.from..=self.to).contains(&ending.micros)
            && (self.from_lsn..=self.to_lsn).contains(&ending.lsn)
    }
}

/// Folds digests, in order, into a [`History`].
#[derive(Debug, Default)]
pub struct Ledger {
    history: History,
    open: HashMap<u32, Open, Fast>,
    /// Newest in-place change of each row of the catalog of databases.
    in_place: HashMap<Row, Lsn>,
    names: Names,
    catalogs: CatalogFiles,
    series: series::Book,
    tops: Tops,
    focus: Focus,
    after: Vec<After>,
    most_endings: usize,
}

/// A point behind which changes are added up apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    pub lsn: Lsn,
    /// A transaction that does not count.
    pub but: Option<u32>,
}

impl Ledger {
    /// `catalogs` are the catalogs that were rewritten before the log begins.
    #[must_use]
    pub fn new(
        catalogs: CatalogFiles,
        focus: Focus,
        after: Vec<After>,
        most_endings: usize,
    ) -> Self {
        let mut ledger = Self { catalogs, focus, most_endings, ..Self::default() };
        ledger.history.after = after.iter().map(|_| HashMap::default()).collect();
        ledger.after = after;
        ledger
    }

    /// Where the catalogs are now; a digest made with another list has to be made again.
    #[must_use]
    pub fn catalogs(&self) -> &CatalogFiles {
        &self.catalogs
    }

    /// Takes the next stretch, written by this major version.
    pub fn absorb(&mut self, digest: Digest, version: u32) {
        self.names.version(version);
        let history = &mut self.history;
        history.records += digest.records;
        if let Some(first) = digest.first_record {
            history.first_record.get_or_insert(Lsn(first));
        }
        history.last_record = digest.last_record.map(Lsn).or(history.last_record);
        history.unreadable.0 += digest.unreadable.0;
        if let Some(first) = digest.unreadable.1 {
            history.unreadable.1.get_or_insert(Lsn(first));
        }
        for item in digest.items {
            self.item(item);
        }
        for (xid, part) in digest.open {
            self.goes_on(xid, part);
        }
    }

    /// The log has a hole here: transactions that were open may have ended in it.
    pub fn interrupted(&mut self) {
        self.open.clear();
        self.in_place.clear();
        self.names.interrupted();
    }

    /// What was found so far.
    #[must_use]
    pub fn finish(mut self) -> History {
        self.trim_details(MAX_DETAILS);
        self.history.series = self.series.finish();
        self.history.names = self.names.finish();
        self.history
    }

    fn goes_on(&mut self, xid: u32, part: Part) {
        match self.open.get_mut(&xid) {
            Some(open) => open.part.absorb(part),
            // A list of all locks may name a transaction that has just ended.
            None if !part.own => {}
            None => drop(self.open.insert(xid, Open { part, facts: Vec::new() })),
        }
    }

    fn item(&mut self, item: Item) {
        match item {
            Item::Ended(ended) => self.end(ended),
            Item::Parameters { lsn, values, minimal } => {
                self.history.parameters.push((Lsn(lsn), values));
                self.history.minimal.extend(minimal.then_some(Lsn(lsn)));
            }
            Item::Checkpoint { lsn, redo } => self.history.checkpoints.push((Lsn(lsn), Lsn(redo))),
            Item::Tablespace { lsn, oid, place } => {
                self.history.tablespaces.push((Lsn(lsn), oid, place));
            }
            Item::RestorePoint { lsn, micros, name } => {
                let at = micros.and_then(|m| Timestamp::from_microsecond(m).ok());
                self.history.restore_points.push(RestorePoint { lsn: Lsn(lsn), at, name });
            }
            Item::DatabaseInPlace { lsn, row } => drop(self.in_place.insert(row, Lsn(lsn))),
            Item::CatalogFiles { database, files } => {
                for (catalog, file) in files {
                    self.catalogs.add(database, catalog, file);
                }
            }
            Item::Catalog { xid, lsn, change } => {
                let mut facts = Vec::new();
                if let Some((database, catalog, file)) = self
                    .names
                    .apply(change, &mut |fact| facts.extend(Some(fact).filter(Fact::matters)))
                {
                    self.catalogs.add(database, catalog, file);
                }
                if xid != 0 && !facts.is_empty() {
                    let open = self.open.entry(xid);
                    let open =
                        open.or_insert_with(|| Open { part: Part::new(lsn), facts: Vec::new() });
                    let room = MAX_FACTS.saturating_sub(open.facts.len());
                    open.facts.extend(facts.into_iter().take(room));
                }
            }
        }
    }

    /// DROP DATABASE marks the database's row in place, outside the transaction, before it
    /// deletes that row: what is undone must be undone from there.
    fn begin_at_mark(&mut self, part: &mut Part) {
        for (row, lsn) in &part.database_rows {
            let marked = self.in_place.remove(row);
            if let Some(marked) = marked.filter(|m| Lsn(*lsn).bytes_since(*m) <= NEAR) {
                part.first = part.first.min(marked.0);
            }
        }
    }

    fn end(&mut self, ended: Ended) {
        let mut whole = self
            .open
            .remove(&ended.xid)
            .unwrap_or_else(|| Open { part: Part::new(ended.lsn), facts: Vec::new() });
        if ended.record_xid != ended.xid {
            self.open.remove(&ended.record_xid);
        }
        for sub in &ended.subtransactions {
            if let Some(of_sub) = self.open.remove(sub) {
                whole.part.absorb(of_sub.part);
                whole.facts.extend(of_sub.facts);
            }
        }
        if let Some(part) = ended.part {
            whole.part.absorb(*part);
        }
        let mut sum = Tally::default();
        if ended.committed {
            self.begin_at_mark(&mut whole.part);
            whole.part.relations.iter().for_each(|(_, tally)| sum.add(*tally));
        }
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let ending = Ending {
            micros: ended.micros,
            first_lsn: Lsn(whole.part.first),
            lsn: Lsn(ended.lsn),
            length: small(ended.end.saturating_sub(ended.lsn)),
            xid: ended.xid,
            inserts: small(sum.inserts),
            updates: small(sum.updates),
            deletes: small(sum.deletes),
            commits: u32::from(ended.committed),
        };
        self.history.endings.push(ending);
        if self.history.endings.len() > self.most_endings {
            self.history.thin(self.most_endings);
        }
        if ended.committed {
            self.detail(ending, whole, &ended.files);
        }
    }

    fn detail(&mut self, ending: Ending, whole: Open, files: &[RelationFile]) {
        let Open { part, facts } = whole;
        for (relation, tally) in &part.relations {
            self.history.tables.add(ending.lsn, *relation, *tally);
        }
        let totals = &mut self.history.totals;
        for relation in &part.created {
            totals.entry(*relation).or_default().created = true;
        }
        let mut touched: Vec<Touched> = Vec::new();
        for (relation, tally) in &part.relations {
            let total = totals.entry(*relation).or_default();
            let (net_before, origin) = (total.net(), total.origin);
            total.tally.add(*tally);
            total.deleting += u64::from(tally.deletes > 0);
            total.updating += u64::from(tally.updates > 0);
            touched.push(Touched { relation: *relation, tally: *tally, net_before, origin });
        }
        succeed(totals, &self.names, &part, files);
        for (after, sums) in self.after.iter().zip(&mut self.history.after) {
            if ending.lsn >= after.lsn && after.but != Some(ending.xid) {
                for (relation, tally) in &part.relations {
                    sums.entry(*relation).or_default().add(*tally);
                }
            }
        }
        // What is everyday shows outside of the focus too.
        let first_file = |relation: RelationFile| match totals.get(&relation).map(|t| t.origin) {
            Some(Origin::Of(first)) => first,
            _ => relation,
        };
        let relations: Vec<(RelationFile, Tally)> =
            part.relations.iter().map(|(r, tally)| (first_file(*r), *tally)).collect();
        self.series.add(&ending, &relations);
        if !self.focus.holds(&ending) {
            return;
        }
        let mut dropped: Vec<RelationFile> =
            files.iter().copied().filter(|f| !part.created.contains(f)).collect();
        dropped.sort_unstable();
        dropped.dedup();
        let databases_dropped =
            if part.database_rows.is_empty() { Vec::new() } else { part.databases_dropped };
        let structural = !dropped.is_empty() || !databases_dropped.is_empty() || !facts.is_empty();
        let large = touched.iter().filter(|t| is_among_largest(&mut self.tops, t)).count() > 0;
        if !structural && !large {
            return;
        }
        // Rows that were in a dropped table, as far as this range of the log can tell.
        for file in &dropped {
            if let Some(total) = totals.get(file)
                && !touched.iter().any(|t| t.relation == *file)
            {
                let (net_before, origin) = (total.net(), total.origin);
                touched.push(Touched {
                    relation: *file,
                    tally: Tally::default(),
                    net_before,
                    origin,
                });
            }
        }
        touched.sort_by_key(|t| std::cmp::Reverse(t.tally.deletes + t.tally.updates));
        touched.truncate(Detail::RELATIONS);
        let created = part.created.into_iter().filter(|f| !files.contains(f)).collect();
        self.history.details.push(Detail {
            ending,
            touched,
            dropped,
            created,
            locks: part.locks,
            catalog: part.catalog,
            schemas_dropped: part.schemas_dropped,
            databases_dropped,
            facts,
            bytes: part.bytes,
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
        // What is known to be gone before what may be a rewrite, and the newest of each.
        structural.sort_by_key(|d| (!d.facts.is_empty(), d.ending.lsn));
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
    /// Folds the older half of the endings into one for each minute, then for more. In place: a
    /// second list beside the first would be the most memory of the whole reading.
    fn thin(&mut self, most: usize) {
        let half = self.endings.len() / 2;
        let (older, newest) = self.endings.split_at(half);
        let mut span = 60_000_000;
        let mut thinned = folded(older, span);
        while thinned.len() > most / 4 && thinned.len() > 1 {
            span *= 4;
            thinned = folded(older, span);
        }
        self.thinned_before = newest.first().map(|e| e.lsn);
        self.endings.splice(..half, thinned);
    }
}

/// A table that gets a new file keeps its rows, or loses them all: the new file's count goes on
/// from there. Told from each other as a rewrite leaves a passing table behind, TRUNCATE none.
fn succeed(
    totals: &mut HashMap<RelationFile, Totals, Fast>,
    names: &Names,
    part: &Part,
    files: &[RelationFile],
) {
    for new in &part.created {
        let Some(oid) = names.oid(*new) else { continue };
        let same = |old: &&RelationFile| {
            old.database == new.database && *old != new && names.oid(**old) == Some(oid)
        };
        let Some(old) = files.iter().find(same) else { continue };
        let before = totals.get(old).copied().unwrap_or_default();
        let written = part.relations.iter().find(|(r, _)| r == new).map_or(0, |(_, t)| net(*t));
        let emptied = part.catalog.deletes == 0 && old.tablespace == new.tablespace;
        let after = totals.entry(*new).or_default();
        if emptied {
            after.origin = Origin::Empty;
        } else {
            after.origin = match before.origin {
                Origin::Own if before.created => Origin::Own,
                Origin::Own => Origin::Of(*old),
                origin => origin,
            };
            // What the rewrite wrote is what was there.
            after.carried = before.net().saturating_sub(written);
        }
    }
}

/// Whether a change is among the largest of its relation so far; takes note of it.
fn is_among_largest(tops: &mut Tops, touched: &Touched) -> bool {
    let Tally { updates, deletes, .. } = touched.tally;
    let mut among = false;
    for (rows, key) in [(deletes, (touched.relation, true)), (updates, (touched.relation, false))] {
        if rows == 0 {
            continue;
        }
        if tops.len() >= MAX_TOPS && !tops.contains_key(&key) {
            among |= rows >= DETAIL_ROWS;
            continue;
        }
        let top = tops.entry(key).or_default();
        let at = top.partition_point(|t| *t < rows);
        if top.len() < LARGEST {
            top.insert(at, rows);
            among = true;
        } else if at > 0 {
            top.remove(0);
            top.insert(at - 1, rows);
            among = true;
        }
    }
    among
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
