//! What the time line of the past shows, and what stopping at a place of it costs by table and by
//! base. Owns how places in the log become moments; never reads anything itself, never judges
//! whether a target can be reached.

use super::archive::Relations;
use super::reach::{self, Ground};
use super::trace::Trace;
use super::{Landscape, timelines};
use crate::engine::incident::facts::{BaseSummary, Reach, Verdict};
use crate::engine::incident::past::{
    BaseChoice, Cost, Fork, Gap, Landmarks, MOST_COLUMNS, RestorePoint, TableLoss, Window,
};
use crate::engine::postgres::Lsn;
use crate::engine::wal::inspect::{Ending, RelationFile, Tally};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Restore points, gaps and forks that are told of, newest of each.
const MOST: usize = 200;
/// Tables listed by name.
const TABLES: usize = 12;
/// Bases compared, newest first.
const BASES: usize = 8;
/// Commits told one by one on each side of a moment.
const NEAR: usize = 32;

/// Restore points, forks, gaps and the moments that people stated.
pub fn landmarks(landscape: &Landscape) -> Landmarks {
    let trace = &landscape.main;
    let restore_points = &trace.scan.history.restore_points;
    let skipped = restore_points.len().saturating_sub(MOST);
    let first_read = trace.scan.history.endings.iter().find(|e| e.committed());
    Landmarks {
        restore_points: restore_points
            .iter()
            .skip(skipped)
            .map(|p| RestorePoint { name: p.name.clone(), at: p.at, lsn: p.lsn })
            .collect(),
        forks: forks(landscape),
        gaps: gaps(landscape),
        read_from: first_read.map(Ending::at),
        detected: landscape.inputs.detected,
        last_known_good: landscape.inputs.last_known_good,
    }
}

fn forks(landscape: &Landscape) -> Vec<Fork> {
    let mut found: BTreeMap<u32, Fork> = BTreeMap::new();
    let line = &landscape.main.line;
    for timeline in landscape.coverage.stretches.iter().map(|s| s.timeline) {
        let Some(steps) = landscape.timelines.line(timeline) else { continue };
        for (before, (timeline, lsn)) in steps.iter().zip(steps.iter().skip(1)) {
            found.entry(*timeline).or_insert_with(|| Fork {
                parent: before.0,
                timeline: *timeline,
                lsn: *lsn,
                at: moment_before(landscape, *lsn),
                followed: timelines::end_of(line, *timeline).is_some(),
            });
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.drain(..found.len().saturating_sub(MOST));
    found
}

/// Holes on the way to the latest timeline: missing segments by their names, and damaged ones
/// where the log was read.
fn gaps(landscape: &Landscape) -> Vec<Gap> {
    let trace = &landscape.main;
    let size = landscape.coverage.segment_size.max(1);
    let gap = |from: Lsn, to: Lsn, why: String| Gap {
        from,
        to,
        segments: (to.0.saturating_sub(1) / size).saturating_sub(from.0 / size).saturating_add(1),
        after: moment_before(landscape, from),
        before: moment_after(landscape, to),
        why,
    };
    let mut found: Vec<Gap> =
        trace.scan.breaks.iter().map(|b| gap(b.at, b.resume, b.why.clone())).collect();
    let oldest = landscape.bases.first().map_or(Lsn(0), |b| b.start_lsn);
    let path = landscape.coverage.path(&trace.line, oldest);
    for (a, b) in path.pieces.iter().zip(path.pieces.iter().skip(1)) {
        let from = Lsn(a.last.saturating_add(1).saturating_mul(size));
        let to = Lsn(b.first.saturating_mul(size));
        // Behind the start of reading the scan itself has found it.
        if from < to && from < trace.scan.start {
            let count = (to.0 - from.0) / size;
            let words = if count == 1 { "segment is" } else { "segments are" };
            found.push(gap(from, to, format!("{count} {words} missing from the archive")));
        }
    }
    found.sort_by_key(|g| g.from);
    found.drain(..found.len().saturating_sub(MOST));
    found
}

/// The last moment known at or before a place in the log.
fn moment_before(landscape: &Landscape, lsn: Lsn) -> Option<Timestamp> {
    let trace = &landscape.main;
    let commit = trace.last_commit(trace.before(lsn)).map(Ending::at);
    let base = landscape.bases.iter().filter(|b| b.stop_lsn <= lsn).map(|b| b.finished).max();
    commit.max(base)
}

/// The first moment known at or behind a place in the log.
fn moment_after(landscape: &Landscape, lsn: Lsn) -> Option<Timestamp> {
    let trace = &landscape.main;
    let commit = trace.next_commit(trace.before(lsn)).map(Ending::at);
    let base = landscape.bases.iter().filter(|b| b.start_lsn >= lsn).map(|b| b.started).min();
    [commit, base].into_iter().flatten().min()
}

/// Commits of a window in columns, and those nearest to `around`.
pub fn window(
    trace: &Trace,
    endings: &[Ending],
    (from, to): (Timestamp, Timestamp),
    columns: u32,
    around: Timestamp,
) -> Window {
    let columns = usize::try_from(columns.clamp(1, MOST_COLUMNS)).unwrap_or(1);
    let to = to.max(from);
    let mut commits = vec![0_u64; columns];
    let mut exact = true;
    for ending in endings.iter().filter(|e| e.committed()) {
        let at = ending.at();
        let column = crate::engine::incident::past::column(from, to, at, columns);
        if let Some(cell) = column.and_then(|x| commits.get_mut(x)) {
            *cell = cell.saturating_add(u64::from(ending.commits));
            exact &= ending.commits == 1;
        }
    }
    let micros = around.as_microsecond();
    let middle = endings.iter().position(|e| e.micros > micros).unwrap_or(endings.len());
    let (before, after) = endings.split_at(middle);
    let mut near: Vec<_> =
        before.iter().rev().filter(|e| e.committed()).take(NEAR).map(|e| trace.commit(e)).collect();
    near.reverse();
    near.extend(after.iter().filter(|e| e.committed()).take(NEAR).map(|e| trace.commit(e)));
    Window { from, to, commits, near, exact }
}

/// What `reach` costs beyond what it says already.
pub fn cost(reach: &Reach, ground: &Ground<'_>, relations: &Relations) -> Cost {
    let trace = ground.trace;
    let from = reach.bases_start();
    let position = trace.position(&reach.target, from).ok();
    let lost_from = position.as_ref().map(|position| {
        trace.scan.history.endings.get(position.kept).map_or(Lsn(u64::MAX), |e| e.lsn)
    });
    let (tables, exact) = match lost_from {
        Some(lsn) => {
            let (sums, exact) = trace.scan.history.tables.from(lsn);
            (Some(by_name(sums, relations)), exact)
        }
        None => (None, false),
    };
    let more = tables.as_ref().map_or(0, |t| t.len().saturating_sub(TABLES));
    Cost {
        tables: tables.map(|mut all| {
            all.truncate(TABLES);
            all
        }),
        more_tables: u64::try_from(more).unwrap_or(u64::MAX),
        exact,
        bases: bases(reach, ground),
        picture: None,
    }
}

impl Reach {
    fn bases_start(&self) -> Lsn {
        self.base.as_ref().map_or(Lsn(0), |b| b.start_lsn)
    }
}

/// Most rows first. Files without a name are told of as one: they are oversized values of tables,
/// and tables that are newer than the backups.
fn by_name(sums: Vec<(RelationFile, Tally)>, relations: &Relations) -> Vec<TableLoss> {
    let mut named: BTreeMap<String, Tally> = BTreeMap::new();
    let mut unnamed = (0_u64, Tally::default());
    let add = |sum: &mut Tally, tally: Tally| {
        sum.inserts = sum.inserts.saturating_add(tally.inserts);
        sum.updates = sum.updates.saturating_add(tally.updates);
        sum.deletes = sum.deletes.saturating_add(tally.deletes);
    };
    let several = relations.databases.values().filter(|d| *d != "postgres").count() > 1;
    for (file, tally) in sums {
        match relations.named(file) {
            Some(relation) => {
                let database = relations.databases.get(&file.database);
                let other = database.filter(|d| several && *d != "postgres");
                let place = other.map_or_else(String::new, |d| format!(" in {d}"));
                let name = format!("{}.{}{place}", relation.schema, relation.table);
                add(named.entry(name).or_default(), tally);
            }
            None => {
                unnamed.0 += 1;
                add(&mut unnamed.1, tally);
            }
        }
    }
    let loss = |(relation, tally): (String, Tally)| TableLoss {
        relation,
        inserts: tally.inserts,
        updates: tally.updates,
        deletes: tally.deletes,
    };
    let mut all: Vec<TableLoss> = named.into_iter().map(loss).collect();
    all.sort_by_key(|t| std::cmp::Reverse(t.rows()));
    if unnamed.0 > 0 {
        // Never first: a table that a person knows says more.
        let files = if unnamed.0 == 1 { "file" } else { "files" };
        let name = format!("{} {files} that no backup names", super::words::grouped(unnamed.0));
        all.insert(all.len().min(TABLES - 1), loss((name, unnamed.1)));
    }
    all
}

fn bases(reach: &Reach, ground: &Ground<'_>) -> Vec<BaseChoice> {
    let choice = |base: &BaseSummary| {
        let tried = reach::with_base(&reach.target, base, ground);
        let read = ground.trace.scan.start <= base.start_lsn;
        let failed = tried.checks.iter().find(|c| c.verdict == Verdict::Failed);
        let chosen = reach.reachable && reach.base.as_ref().is_some_and(|b| b.set == base.set);
        let (serves, why) = match (tried.reachable, read) {
            (true, _) => (Some(true), String::new()),
            (false, false) => (None, String::from("the log that it needs was not read")),
            (false, true) => (Some(false), failed.map_or_else(String::new, |c| c.detail.clone())),
        };
        let forecast = ground.rates.forecast(base.size, tried.wal_bytes);
        BaseChoice {
            set: base.set.clone(),
            serves,
            why,
            wal_bytes: tried.wal_bytes,
            forecast,
            chosen,
        }
    };
    ground.bases.iter().rev().take(BASES).map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::archive::Relation;
    use super::*;
    use crate::engine::wal::inspect::Scan;

    fn ending(seconds: i64, commits: u32) -> Ending {
        Ending {
            micros: seconds * 1_000_000,
            first_lsn: Lsn(seconds as u64),
            lsn: Lsn(seconds as u64 + 1),
            length: 48,
            xid: seconds as u32,
            inserts: 1,
            updates: 0,
            deletes: 0,
            commits,
        }
    }

    fn trace(endings: Vec<Ending>) -> Trace {
        let mut scan = Scan::default();
        scan.history.endings = endings;
        Trace { timeline: 1, line: vec![(1, Lsn(0))], has_history: true, scan }
    }

    #[test]
    fn a_window_counts_what_lies_in_it_and_names_the_nearest() {
        let trace = trace((0..1000).map(|s| ending(s, u32::from(s % 10 != 5))).collect());
        let at = |s| Timestamp::from_second(s).unwrap();
        let window = window(&trace, &trace.scan.history.endings, (at(100), at(199)), 10, at(150));
        assert_eq!(window.commits.iter().sum::<u64>(), 90, "aborts are no commits");
        assert!(window.exact);
        assert_eq!(window.near.len(), 2 * NEAR);
        assert!(window.near.is_sorted_by_key(|c| c.lsn));
        let before = window.near.iter().filter(|c| c.at <= at(150)).count();
        assert_eq!(before, NEAR);
        let wide =
            super::window(&trace, &trace.scan.history.endings, (at(0), at(999)), 1_000_000, at(0));
        assert_eq!(wide.commits.len(), MOST_COLUMNS as usize, "bounded");
    }

    #[test]
    fn folded_commits_are_counted_and_said_so() {
        let trace = trace(vec![ending(10, 500), ending(20, 1)]);
        let at = |s| Timestamp::from_second(s).unwrap();
        let all = window(&trace, &trace.scan.history.endings, (at(0), at(30)), 3, at(30));
        assert_eq!((all.commits, all.exact), (vec![0, 500, 1], false));
        assert!(window(&trace, &trace.scan.history.endings, (at(15), at(30)), 3, at(30)).exact);
    }

    #[test]
    fn tables_are_named_and_the_largest_is_first() {
        let file = |file| RelationFile { tablespace: 1663, database: 5, file };
        let mut relations = Relations::default();
        for (number, table) in [(1, "small"), (2, "large")] {
            let relation =
                Relation { oid: number, schema: "public".into(), table: table.into(), rows: 9.0 };
            relations.files.insert((5, number), relation);
        }
        let tally = |deletes| Tally { deletes, ..Tally::default() };
        let sums = vec![
            (file(1), tally(3)),
            (file(2), tally(70)),
            (file(8), tally(900)),
            (file(9), tally(1)),
        ];
        let found = by_name(sums, &relations);
        let names: Vec<&str> = found.iter().map(|t| t.relation.as_str()).collect();
        assert_eq!(names, ["public.large", "public.small", "2 files that no backup names"]);
        assert_eq!(found[2].deletes, 901);
    }
}
