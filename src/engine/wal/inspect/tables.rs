//! Which commit changed how many rows of which relation, so that what comes behind any place of
//! the log can be added up by table. Owns the bound on its memory; never names a table.

use super::history::{Fast, RelationFile, Tally};
use crate::engine::postgres::Lsn;
use std::collections::HashMap;

/// Changes kept one by one, about 10 MB. Beyond, the oldest are folded.
const MOST: usize = 400_000;

/// One commit's changes to one relation; compact, for there are many.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// Of the commit record; of the last one where several were folded.
    lsn: Lsn,
    relation: u32,
    inserts: u32,
    updates: u32,
    deletes: u32,
}

/// The changes of all commits, in the log's order.
#[derive(Debug, Default)]
pub struct TableLog {
    relations: Vec<RelationFile>,
    index: HashMap<RelationFile, u32, Fast>,
    changes: Vec<Change>,
    /// Before it changes were folded: sums from a place before it on are not exact.
    folded_before: Option<Lsn>,
}

impl TableLog {
    /// Takes what the commit at `lsn` did to `relation`.
    pub fn add(&mut self, lsn: Lsn, relation: RelationFile, tally: Tally) {
        if tally == Tally::default() {
            return;
        }
        let next = u32::try_from(self.relations.len()).unwrap_or(u32::MAX);
        let known = *self.index.entry(relation).or_insert(next);
        if known == next {
            self.relations.push(relation);
        }
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.changes.push(Change {
            lsn,
            relation: known,
            inserts: small(tally.inserts),
            updates: small(tally.updates),
            deletes: small(tally.deletes),
        });
        if self.changes.len() > MOST {
            self.fold(MOST / 2);
        }
    }

    /// What commits from `lsn` on did, by relation in no order, and whether that is exact.
    #[must_use]
    pub fn from(&self, lsn: Lsn) -> (Vec<(RelationFile, Tally)>, bool) {
        let first = self.changes.partition_point(|c| c.lsn < lsn);
        let mut sums: HashMap<u32, Tally, Fast> = HashMap::default();
        for change in self.changes.iter().skip(first) {
            let sum = sums.entry(change.relation).or_default();
            sum.inserts = sum.inserts.saturating_add(u64::from(change.inserts));
            sum.updates = sum.updates.saturating_add(u64::from(change.updates));
            sum.deletes = sum.deletes.saturating_add(u64::from(change.deletes));
        }
        let named = |(relation, sum): (u32, Tally)| {
            let index = usize::try_from(relation).ok()?;
            self.relations.get(index).map(|relation| (*relation, sum))
        };
        let exact = self.folded_before.is_none_or(|folded| lsn >= folded);
        (sums.into_iter().filter_map(named).collect(), exact)
    }

    /// Folds the older half, in ever longer runs until it is small.
    fn fold(&mut self, half: usize) {
        let (older, newest) = self.changes.split_at(half);
        let mut run = 64;
        let mut folded = in_runs(older, run);
        while folded.len() > half / 2 && run < older.len() {
            run *= 4;
            folded = in_runs(older, run);
        }
        if folded.len() > half / 2 {
            // More relations than places: the least changed go. What is left is not exact anyway.
            folded.sort_by_key(|c| {
                std::cmp::Reverse(
                    u64::from(c.inserts) + u64::from(c.updates) + u64::from(c.deletes),
                )
            });
            folded.truncate(half / 2);
            folded.sort_by_key(|c| c.lsn);
        }
        self.folded_before = newest.first().map(|c| c.lsn);
        self.changes.splice(..half, folded);
    }
}

/// One change for each relation in each run of `run` changes.
fn in_runs(changes: &[Change], run: usize) -> Vec<Change> {
    let mut out: Vec<Change> = Vec::new();
    for run in changes.chunks(run) {
        let Some(end) = run.last().map(|c| c.lsn) else { continue };
        let mut seen: HashMap<u32, Change, Fast> = HashMap::default();
        for change in run {
            seen.entry(change.relation)
                .and_modify(|sum| {
                    sum.inserts = sum.inserts.saturating_add(change.inserts);
                    sum.updates = sum.updates.saturating_add(change.updates);
                    sum.deletes = sum.deletes.saturating_add(change.deletes);
                })
                .or_insert(Change { lsn: end, ..*change });
        }
        out.extend(seen.into_values().map(|change| Change { lsn: end, ..change }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(number: u32) -> RelationFile {
        RelationFile { tablespace: 1663, database: 5, file: number }
    }

    fn total(log: &TableLog, lsn: u64) -> u64 {
        log.from(Lsn(lsn)).0.iter().map(|(_, t)| t.inserts + t.updates + t.deletes).sum()
    }

    proptest! {
        #[test]
        fn what_lies_behind_a_place_is_added_up(
            changes in proptest::collection::vec((16384u32..16390, 0u64..50), 0..200),
            from in 0u64..220,
        ) {
            let mut log = TableLog::default();
            for (at, (relation, rows)) in changes.iter().enumerate() {
                let tally = Tally { deletes: *rows, ..Tally::default() };
                log.add(Lsn(at as u64), file(*relation), tally);
            }
            let (sums, exact) = log.from(Lsn(from));
            prop_assert!(exact);
            for relation in 16384..16390 {
                let rows = |(r, n): &&(u32, u64)| if *r == relation { *n } else { 0 };
                let wanted: u64 = changes.iter().skip(from as usize).map(|c| rows(&c)).sum();
                let found = sums.iter().find(|(r, _)| r.file == relation).map_or(0, |(_, t)| t.deletes);
                prop_assert_eq!(found, wanted);
            }
        }

        #[test]
        fn folding_keeps_every_row_and_says_so(rows in proptest::collection::vec(1u64..9, 40..600)) {
            let mut log = TableLog::default();
            for (at, n) in rows.iter().enumerate() {
                let relation = file(16384 + at as u32 % 3);
                log.add(Lsn(at as u64), relation, Tally { inserts: *n, ..Tally::default() });
            }
            let half = rows.len() / 2;
            log.fold(half);
            prop_assert_eq!(total(&log, 0), rows.iter().sum::<u64>());
            prop_assert!(!log.from(Lsn(0)).1);
            let last = rows.len() as u64 - 1;
            prop_assert_eq!(total(&log, last), rows[rows.len() - 1]);
            prop_assert!(log.from(Lsn(last)).1);
        }
    }
}
