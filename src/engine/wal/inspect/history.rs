//! What a range of WAL told: transactions' ends, what they did to which files, and the sums. Owns
//! the values and the thinning of old ends; never reads a record.

use super::names::{Fact, LoggedNames};
use super::series::Series;
use super::tables::TableLog;
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

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

    pub(super) fn structural(&self) -> bool {
        !self.dropped.is_empty() || !self.databases_dropped.is_empty() || !self.facts.is_empty()
    }

    pub(super) fn weight(&self) -> u64 {
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
    pub(super) carried: i64,
}

impl Totals {
    pub(super) fn net(&self) -> i64 {
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

impl History {
    /// Folds the older half of the endings into one for each minute, then for more. In place: a
    /// second list beside the first would be the most memory of the whole reading.
    pub(super) fn thin(&mut self, most: usize) {
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

pub(super) fn net(tally: Tally) -> i64 {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    signed(tally.inserts).saturating_sub(signed(tally.deletes))
}
