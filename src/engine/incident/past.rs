//! The past of a cluster as values: what a time line of it shows, and what stopping at one place
//! of it costs. Owns their shape and what of it goes into the journal; never reads WAL.

use super::facts::{Commit, Forecast, Survey};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Columns that one question about a window can ask for.
pub const MOST_COLUMNS: u32 = 400;
/// Backups, gaps, forks, restore points and suspects that the journal keeps of each.
const KEPT: usize = 32;
/// Slices of commits that the journal keeps.
const SLICES: usize = 120;

/// A place that was named with `pg_create_restore_point()`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    pub name: String,
    /// `None` where the log does not tell.
    pub at: Option<Timestamp>,
    pub lsn: Lsn,
}

/// Where one timeline left another: somebody recovered and opened the database there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    pub parent: TimelineId,
    /// The timeline that begins here.
    pub timeline: TimelineId,
    pub lsn: Lsn,
    /// The last commit before it; `None` where that was not read.
    pub at: Option<Timestamp>,
    /// Recovery to the latest timeline goes this way.
    pub followed: bool,
}

/// Log that is missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from: Lsn,
    /// Where log goes on.
    pub to: Lsn,
    /// Segments that it touches.
    pub segments: u64,
    /// The last moment known before it, and the first behind it.
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub why: String,
}

/// What a time line shows beside backups, log, commits and suspects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landmarks {
    pub restore_points: Vec<RestorePoint>,
    pub forks: Vec<Fork>,
    pub gaps: Vec<Gap>,
    /// The log was read from here on; before it only backups are known. `None`: none was read.
    pub read_from: Option<Timestamp>,
    pub detected: Option<Timestamp>,
    pub last_known_good: Option<Timestamp>,
}

/// Rows of one table that are not in the recovered database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLoss {
    /// Schema-qualified where the relation map knows it.
    pub relation: String,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl TableLoss {
    /// Rows that were inserted, updated or deleted.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.inserts.saturating_add(self.updates).saturating_add(self.deletes)
    }
}

/// One base backup, asked whether and how quickly it would serve a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaseChoice {
    pub set: String,
    /// `None` where the log that it needs was not read.
    pub serves: Option<bool>,
    /// Why it does not, in one sentence; empty where it does.
    pub why: String,
    /// WAL to replay from it, bytes.
    pub wal_bytes: u64,
    pub forecast: Forecast,
    /// The one that the plan would take.
    pub chosen: bool,
}

/// What stopping at a target costs beyond counts and times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Most rows first; `None` where it is not known.
    pub tables: Option<Vec<TableLoss>>,
    /// Tables that are not listed.
    pub more_tables: u64,
    /// The counts are exact: nothing of that stretch was folded to bound memory.
    pub exact: bool,
    /// Newest first.
    pub bases: Vec<BaseChoice>,
    /// The time line when the target was chosen; only in the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Box<Picture>>,
}

impl Cost {
    /// The quickest base that serves, where that is not the chosen one, by the worse case.
    #[must_use]
    pub fn quicker(&self) -> Option<&BaseChoice> {
        let chosen = self.bases.iter().find(|b| b.chosen)?;
        let most = |b: &BaseChoice| b.forecast.total().1;
        self.bases
            .iter()
            .filter(|b| b.serves == Some(true) && most(b) < most(chosen))
            .min_by(|a, b| most(a).total_cmp(&most(b)))
    }
}

/// A part of the past in columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Commits in equal parts of the window, earliest first.
    pub commits: Vec<u64>,
    /// The commits nearest to the moment that was asked about, in the log's order.
    pub near: Vec<Commit>,
    /// Each commit of this window is known by itself.
    pub exact: bool,
}

/// The time line as the journal keeps it, from the moment at which a target was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Ends of base backups: name and time.
    pub bases: Vec<(String, Timestamp)>,
    /// Log without a gap, by first and last commit.
    pub log: Vec<(Timestamp, Timestamp)>,
    pub landmarks: Landmarks,
    /// When, and what was done; most suspicious first.
    pub suspects: Vec<(Timestamp, String)>,
    /// Slices of equal length: start and commits.
    pub density: Vec<(Timestamp, u64)>,
}

impl Picture {
    /// What is worth keeping of a survey, bounded.
    #[must_use]
    pub fn of(survey: &Survey) -> Self {
        let newest = |n: usize| n.saturating_sub(KEPT);
        let mut landmarks = survey.landmarks.clone();
        landmarks.restore_points.drain(..newest(survey.landmarks.restore_points.len()));
        landmarks.gaps.drain(..newest(survey.landmarks.gaps.len()));
        landmarks.forks.drain(..newest(survey.landmarks.forks.len()));
        let bases = survey.bases.iter().skip(newest(survey.bases.len()));
        let log: Vec<_> =
            survey.wal.iter().filter_map(|w| w.first_commit.zip(w.last_commit)).collect();
        let (from, to) = survey.bounds();
        Self {
            from,
            to,
            bases: bases.map(|b| (b.set.clone(), b.finished)).collect(),
            log: log.get(newest(log.len())..).unwrap_or_default().to_vec(),
            landmarks,
            suspects: survey
                .suspects
                .iter()
                .take(KEPT)
                .map(|s| (s.commit.at, s.what.clone()))
                .collect(),
            density: thinned(&survey.density),
        }
    }
}

/// At most [`SLICES`] slices, neighbours added together.
fn thinned(density: &[(Timestamp, u64)]) -> Vec<(Timestamp, u64)> {
    let each = density.len().div_ceil(SLICES).max(1);
    let sum = |slices: &[(Timestamp, u64)]| {
        let total = slices.iter().fold(0_u64, |sum, (_, n)| sum.saturating_add(*n));
        slices.first().map(|(at, _)| (*at, total))
    };
    density.chunks(each).filter_map(sum).collect()
}

impl Survey {
    /// From the oldest thing known to now.
    #[must_use]
    pub fn bounds(&self) -> (Timestamp, Timestamp) {
        let oldest = self
            .bases
            .iter()
            .map(|b| b.started)
            .chain(self.wal.iter().filter_map(|w| w.first_commit))
            .min();
        // To the last digit that PostgreSQL knows.
        let to = Timestamp::from_microsecond(self.at.as_microsecond()).unwrap_or(self.at);
        let from = oldest.unwrap_or(to).min(to);
        (Timestamp::from_microsecond(from.as_microsecond()).unwrap_or(from), to)
    }
}

/// The column of `at` among `columns` equal parts of a stretch; `None` outside it.
#[must_use]
pub fn column(from: Timestamp, to: Timestamp, at: Timestamp, columns: usize) -> Option<usize> {
    if at < from || at > to || columns == 0 {
        return None;
    }
    let whole = to.as_microsecond().abs_diff(from.as_microsecond()).max(1);
    let part = at.as_microsecond().abs_diff(from.as_microsecond());
    let index = u128::from(part) * columns as u128 / u128::from(whole);
    Some(usize::try_from(index).unwrap_or(usize::MAX).min(columns - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(value: i64) -> Timestamp {
        Timestamp::from_microsecond(value).unwrap()
    }

    proptest! {
        #[test]
        fn columns_lie_inside_and_in_order(
            from in 0i64..1_000_000_000_000,
            length in 0i64..1_000_000_000_000,
            a in 0.0f64..1.0,
            b in 0.0f64..1.0,
            columns in 1usize..400,
        ) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let place = |share: f64| micros(from + (length as f64 * share) as i64);
            let (start, end) = (micros(from), micros(from + length));
            let of = |at| column(start, end, at, columns).unwrap();
            prop_assert!(of(place(a)) < columns);
            prop_assert!(a > b || of(place(a)) <= of(place(b)));
            prop_assert_eq!(of(start), 0);
            prop_assert_eq!(of(end), if length == 0 { 0 } else { columns - 1 });
            prop_assert_eq!(column(start, end, micros(from + length + 1), columns), None);
        }

        #[test]
        fn thinning_keeps_every_commit(counts in proptest::collection::vec(0u64..1000, 0..900)) {
            let density: Vec<_> =
                counts.iter().enumerate().map(|(i, n)| (micros(i as i64), *n)).collect();
            let kept = thinned(&density);
            prop_assert!(kept.len() <= SLICES);
            prop_assert_eq!(kept.iter().map(|(_, n)| n).sum::<u64>(), counts.iter().sum::<u64>());
        }
    }
}
