//! Adds digests up by transaction: who changed how many rows of which file, who dropped or
//! truncated what, when each transaction ended. Owns the bounds on memory; never names a table
//! (a file number is all that it keeps) and never judges.

use super::action::Row;
use super::catalog::CatalogFiles;
use super::digest::{Digest, Ended, Item, Part};
use super::history::{
    Detail, Ending, Fast, History, Origin, RelationFile, RestorePoint, Tally, Totals, Touched, net,
};
use super::names::{Fact, Names};
use super::series;
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use std::collections::HashMap;

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
