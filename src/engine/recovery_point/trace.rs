//! One timeline's line of WAL as it was read: its endings, holes and where a target falls on it.
//! Owns how PostgreSQL compares each kind of target with records; never judges backups.

use super::timelines::{Line, holding};
use crate::engine::incident::facts::{Commit, Target, TargetPoint};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use crate::engine::wal::inspect::scan::Break;
use crate::engine::wal::inspect::{Ending, Scan};

/// WAL along one line, read from some segment to the end.
#[derive(Debug)]
pub struct Trace {
    pub timeline: TimelineId,
    pub line: Line,
    /// Where the line's last timeline begins is known from its history file, or it is the first.
    pub has_history: bool,
    pub scan: Scan,
}

/// Where a target falls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The record at which recovery stops.
    pub stop: Lsn,
    /// How many endings lie before the stop.
    pub kept: usize,
    /// What proves that recovery stops there.
    pub proof: String,
    pub warning: Option<String>,
    /// Recovery stops somewhere from here to `stop`: the commits between are known as one alone.
    pub folded_from: Option<Lsn>,
}

impl Trace {
    fn endings(&self) -> &[Ending] {
        &self.scan.history.endings
    }

    /// In the words of the screens.
    #[must_use]
    pub fn commit(&self, ending: &Ending) -> Commit {
        Commit {
            at: ending.at(),
            xid: ending.xid,
            first_lsn: ending.first_lsn,
            lsn: ending.lsn,
            end_lsn: ending.end_lsn(),
            timeline: holding(&self.line, ending.lsn),
            inserts: u64::from(ending.inserts),
            updates: u64::from(ending.updates),
            deletes: u64::from(ending.deletes),
            stands_for: u64::from(ending.commits.max(1)),
        }
    }

    /// The last commit among the first `kept` endings.
    #[must_use]
    pub fn last_commit(&self, kept: usize) -> Option<&Ending> {
        self.endings().get(..kept)?.iter().rev().find(|e| e.committed())
    }

    /// The first commit behind the first `kept` endings.
    #[must_use]
    pub fn next_commit(&self, kept: usize) -> Option<&Ending> {
        self.endings().get(kept..)?.iter().find(|e| e.committed())
    }

    #[must_use]
    pub fn newest_commit(&self) -> Option<&Ending> {
        self.last_commit(self.endings().len())
    }

    /// Commits behind the first `kept` endings.
    #[must_use]
    pub fn commits_after(&self, kept: usize) -> u64 {
        self.endings().iter().skip(kept).map(|e| u64::from(e.commits)).sum()
    }

    /// How many endings begin before `lsn`.
    #[must_use]
    pub fn before(&self, lsn: Lsn) -> usize {
        self.endings().partition_point(|e| e.lsn < lsn)
    }

    /// The first ending from `from` on at which a time target would stop.
    #[must_use]
    pub fn first_later(&self, micros: i64, inclusive: bool, from: Lsn) -> Option<usize> {
        let stops = |e: &Ending| if inclusive { e.micros > micros } else { e.micros >= micros };
        let first = self.before(from);
        self.endings().get(first..)?.iter().position(stops).map(|index| index + first)
    }

    /// Where a timeline begins along this line.
    #[must_use]
    pub fn begins_at(&self, timeline: TimelineId) -> Option<Lsn> {
        self.line.iter().find(|(t, _)| *t == timeline).map(|(_, at)| *at)
    }

    /// Whether the log holds the checkpoint that a backup from `start` to `stop` begins with.
    #[must_use]
    pub fn begins_backup(&self, start: Lsn, stop: Lsn) -> bool {
        let checkpoints = &self.scan.history.checkpoints;
        checkpoints.iter().any(|(lsn, redo)| *redo == start && *lsn < stop)
    }

    /// The last timeline and where it begins, where nothing of it is there: a server would go on
    /// along the timeline before it, past the fork.
    fn without_its_wal(&self) -> Option<(TimelineId, Lsn)> {
        let (timeline, begins) = self.line.last().filter(|_| self.line.len() > 1)?;
        (self.scan.end <= *begins).then_some((*timeline, *begins))
    }

    /// The first hole between two positions.
    #[must_use]
    pub fn broken_between(&self, from: Lsn, to: Lsn) -> Option<&Break> {
        self.scan.breaks.iter().find(|b| b.resume > from && b.at < to)
    }

    /// Where the WAL that can be followed from `from` ends.
    #[must_use]
    pub fn reaches_to(&self, from: Lsn) -> Lsn {
        self.scan.breaks.iter().find(|b| b.resume > from).map_or(self.scan.end, |b| b.at)
    }

    /// Where recovery to `target` would stop, replaying from `base_start` on.
    ///
    /// # Errors
    /// Why it would not stop at all, in plain words.
    pub fn position(&self, target: &Target, from: Lsn) -> Result<Position, String> {
        let found = |stop, kept, proof: String| {
            Ok(Position { stop, kept, proof, warning: None, folded_from: None })
        };
        match &target.point {
            TargetPoint::Time(at) => {
                let Some(index) = self.first_later(at.as_microsecond(), target.inclusive, from)
                else {
                    return Err(match self.endings().iter().map(|e| e.micros).max() {
                        Some(_) => format!(
                            "No transaction ended later than that. A time is only reached when a later commit or abort follows it; the newest known is of {}.",
                            self.newest_ending()
                                .map_or_else(String::new, |e| format!("{:.3} (UTC)", e.at()))
                        ),
                        None => {
                            String::from("The WAL holds no commit or abort to compare a time with.")
                        }
                    });
                };
                let Some(ending) = self.endings().get(index) else { return Err(String::new()) };
                let what = if ending.committed() { "commit" } else { "abort" };
                let proof = format!(
                    "the {what} of transaction {} at {:.3} (UTC), LSN {}",
                    ending.xid,
                    ending.at(),
                    ending.lsn
                );
                let folded_from = (ending.commits > 1).then_some(ending.first_lsn);
                let found = found(ending.lsn, index, proof);
                found.map(|position| Position { folded_from, ..position })
            }
            TargetPoint::Lsn(lsn) => {
                let last = self.scan.history.last_record;
                if last.is_none_or(|last| last < *lsn) {
                    return Err(format!(
                        "The WAL ends at {} ({}), before that position.",
                        self.scan.end,
                        self.why_it_ends()
                    ));
                }
                let mut kept = self.before(*lsn);
                if target.inclusive && self.endings().get(kept).is_some_and(|e| e.lsn == *lsn) {
                    kept += 1;
                }
                found(*lsn, kept, format!("WAL goes on to {}", self.scan.end))
            }
            TargetPoint::Xid(xid) => {
                // The first that replay meets; numbers come again after a very long time.
                let first = self.before(from);
                let (earlier, met) = self.endings().split_at(first.min(self.endings().len()));
                let ours = |e: &Ending| e.xid == *xid;
                let met = met.iter().position(ours).map(|index| index + first);
                let Some(index) = met.or_else(|| earlier.iter().rposition(ours)) else {
                    let thinned = self.scan.history.thinned_before.map_or_else(String::new, |lsn| {
                        format!(" Before {lsn} there are too many transactions to keep each one; choose a time or an LSN there.")
                    });
                    return Err(format!(
                        "No transaction {xid} ended in this WAL. A subtransaction's number is never reached; use the whole transaction's.{thinned}"
                    ));
                };
                let Some(ending) = self.endings().get(index) else { return Err(String::new()) };
                let kept = if target.inclusive { index + 1 } else { index };
                let what = if ending.committed() { "committed" } else { "rolled back" };
                let proof = format!("it {what} at {:.3} (UTC), LSN {}", ending.at(), ending.lsn);
                found(ending.lsn, kept, proof)
            }
            TargetPoint::Name(name) => {
                let mut points = self
                    .scan
                    .history
                    .restore_points
                    .iter()
                    .filter(|p| p.name == *name && p.lsn >= from);
                let Some(first) = points.next() else {
                    return Err(format!("There is no restore point \"{name}\" in this WAL."));
                };
                let warning = points.next().map(|second| {
                    format!(
                        "The name \"{name}\" exists more than once; recovery stops at the first, LSN {}, not at LSN {}.",
                        first.lsn, second.lsn
                    )
                });
                let kept = self.before(first.lsn);
                let proof = format!("the restore point is at LSN {}", first.lsn);
                Ok(Position { stop: first.lsn, kept, proof, warning, folded_from: None })
            }
            TargetPoint::EndOfBase => Err(String::from(
                "The end of a backup is no point in the log: a full restore (Option B) goes there.",
            )),
            TargetPoint::EndOfArchive => {
                if let Some((timeline, begins)) = self.without_its_wal() {
                    return Err(format!(
                        "Timeline {timeline} begins at LSN {begins}, and none of its WAL is there. The server would go on along the older timeline. Name the older timeline, or a time or LSN before the fork."
                    ));
                }
                let proof = format!("the WAL ends at {} ({})", self.scan.end, self.why_it_ends());
                found(self.scan.end, self.endings().len(), proof)
            }
        }
    }

    /// The ending with the latest time.
    #[must_use]
    pub fn newest_ending(&self) -> Option<&Ending> {
        self.endings().iter().max_by_key(|e| e.micros)
    }

    fn why_it_ends(&self) -> &str {
        if self.scan.ending.is_empty() { "the last segment is full" } else { &self.scan.ending }
    }
}
