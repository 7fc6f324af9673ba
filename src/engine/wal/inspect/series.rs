//! Series: many small transactions of the same shape, one after another. Owns how they are told
//! apart and added up; never judges whether a series is damage.

use super::history::{Ending, Fast, RelationFile, Tally};
use crate::engine::postgres::Lsn;
use std::collections::HashMap;

/// Shapes followed at a time; beyond, new ones are not.
const MAX_SHAPES: usize = 20_000;
/// Runs kept of one shape.
const MAX_RUNS: usize = 12;
/// A pause of this many times the usual one ends a run, but no pause shorter than [`LEAST_PAUSE`].
const PAUSE_FACTOR: i64 = 20;
const LEAST_PAUSE: i64 = 2_000_000;
/// Fewer transactions than this are no series.
pub const LEAST: u64 = 5;

/// What the transactions of a series have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The relation that is updated or deleted from.
    pub relation: RelationFile,
    pub deletes: bool,
    /// Everything else that they did, as a number to compare.
    pub rest: u64,
}

/// Transactions of one shape without a long pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Series {
    pub shape: Shape,
    pub first: Ending,
    pub last: Ending,
    pub transactions: u64,
    pub rows: u64,
    /// Transactions of this shape outside of this run, in everything that was read.
    pub others: u64,
    /// The relation alone was touched.
    pub alone: bool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    shapes: HashMap<Shape, Runs, Fast>,
}

#[derive(Debug)]
struct Runs {
    all: u64,
    alone: bool,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: Ending,
    last: Ending,
    transactions: u64,
    rows: u64,
}

impl Book {
    /// A committed transaction and what it did to each relation.
    pub fn add(&mut self, ending: &Ending, relations: &[(RelationFile, Tally)]) {
        // A transaction that touches many relations is a batch of its own kind.
        if relations.len() > 4 {
            return;
        }
        for (relation, tally) in relations {
            for (deletes, rows) in [(true, tally.deletes), (false, tally.updates)] {
                if rows == 0 {
                    continue;
                }
                let rest = rest(relations, *relation, tally.inserts > 0, rows);
                let shape = Shape { relation: *relation, deletes, rest };
                let full = self.shapes.len() >= MAX_SHAPES;
                if full && !self.shapes.contains_key(&shape) {
                    continue;
                }
                let alone = relations.len() == 1 && tally.inserts == 0;
                self.shapes
                    .entry(shape)
                    .or_insert_with(|| Runs { all: 0, alone, runs: Vec::new() })
                    .add(ending, rows);
            }
        }
    }

    pub fn finish(self) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        for (shape, runs) in self.shapes {
            let (total, alone) = (runs.all, runs.alone);
            all.extend(runs.runs.into_iter().filter(|r| r.transactions >= LEAST).map(|run| {
                Series {
                    shape,
                    first: run.first,
                    last: run.last,
                    transactions: run.transactions,
                    rows: run.rows,
                    others: total - run.transactions,
                    alone,
                }
            }));
        }
        all.sort_by_key(|s| s.first.lsn);
        all
    }
}

impl Runs {
    fn add(&mut self, ending: &Ending, rows: u64) {
        self.all += 1;
        if let Some(run) = self.runs.last_mut() {
            let pause = ending.micros - run.last.micros;
            let span = run.last.micros - run.first.micros;
            let steps = i64::try_from(run.transactions.max(2) - 1).unwrap_or(i64::MAX);
            let usual = span / steps;
            if run.transactions < 3 && pause <= 600_000_000
                || pause <= LEAST_PAUSE.max(usual.saturating_mul(PAUSE_FACTOR))
            {
                run.last = *ending;
                run.transactions += 1;
                run.rows += rows;
                return;
            }
        }
        self.runs.push(Run { first: *ending, last: *ending, transactions: 1, rows });
        if self.runs.len() > MAX_RUNS {
            // The smallest tells least; the newest is still growing.
            let older = self.runs.len() - 1;
            let least = (0..older).min_by_key(|i| self.runs.get(*i).map(|r| r.rows));
            if let Some(index) = least {
                self.runs.remove(index);
            }
        }
    }
}

/// One number for everything in a transaction but the relation's own rows.
fn rest(relations: &[(RelationFile, Tally)], own: RelationFile, inserts: bool, rows: u64) -> u64 {
    // Tens and hundreds of rows are of one shape, one and a hundred are not.
    let mut sum = u64::from(rows.ilog2() / 3) * 2 + u64::from(inserts);
    for (relation, tally) in relations.iter().filter(|(r, _)| *r != own) {
        let kinds = u64::from(tally.inserts > 0)
            + 2 * u64::from(tally.updates > 0)
            + 4 * u64::from(tally.deletes > 0);
        // A sum, since the order of relations says nothing.
        let one = (u64::from(relation.file) * 8 + kinds).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum = sum.wrapping_add(one ^ (one >> 31));
    }
    sum
}

impl Series {
    /// Where its first transaction began.
    #[must_use]
    pub fn begins(&self) -> Lsn {
        self.first.first_lsn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(file: u32) -> RelationFile {
        RelationFile { tablespace: 1663, database: 5, file }
    }

    fn ending(second: i64) -> Ending {
        let lsn = Lsn(u64::try_from(second).unwrap() * 100 + 1000);
        Ending {
            micros: second * 1_000_000,
            first_lsn: Lsn(lsn.0 - 50),
            lsn,
            length: 34,
            xid: u32::try_from(second).unwrap() + 700,
            inserts: 0,
            updates: 1,
            deletes: 0,
            commits: 1,
        }
    }

    fn updates(file: u32, rows: u64) -> (RelationFile, Tally) {
        (relation(file), Tally { updates: rows, ..Tally::default() })
    }

    #[test]
    fn a_burst_is_told_from_what_else_is_done_to_the_table() {
        let mut book = Book::default();
        for second in 0..300 {
            // Everyday: two tables at once, every ten seconds.
            if second % 10 == 0 {
                book.add(&ending(second), &[updates(1, 1), updates(2, 1)]);
            }
            // The series: one table alone, a row each second for a minute.
            if (100..160).contains(&second) {
                book.add(&ending(second), &[updates(1, 1)]);
            }
        }
        let found = book.finish();
        let alone: Vec<&Series> = found.iter().filter(|s| s.alone).collect();
        let [series] = alone[..] else { panic!("{found:?}") };
        assert_eq!((series.transactions, series.rows, series.others), (60, 60, 0));
        assert_eq!(series.begins(), ending(100).first_lsn);
        assert_eq!(series.last.lsn, ending(159).lsn);
    }

    #[test]
    fn a_long_pause_parts_two_series() {
        let mut book = Book::default();
        for second in (0..30).chain(4000..4020) {
            book.add(&ending(second), &[updates(1, 1)]);
        }
        let counts: Vec<(u64, u64)> =
            book.finish().iter().map(|s| (s.transactions, s.others)).collect();
        assert_eq!(counts, [(30, 20), (20, 30)]);
    }
}
