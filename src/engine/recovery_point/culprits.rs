//! Suspects in full: why, the target just before each, and what comes after it that would be lost.
//! Owns the shape that `lifeboat suspects` prints; changes nothing.

use super::suspects::{Found, Harm};
use super::{Landscape, LandscapeError, OnScan, Symptom, survey};
use crate::engine::incident::facts::{Commit, Target};
use crate::engine::wal::inspect::{After, RelationFile, Tally};
use jiff::Timestamp;
use serde::Serialize;

/// Tables named of what would be lost, most rows first.
const TABLES: usize = 50;

/// Suspects, best first, and what they were looked for in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Culprits {
    pub symptom: Symptom,
    /// Bytes of WAL that were read.
    pub wal_bytes: u64,
    pub transactions: u64,
    pub first_commit: Option<Timestamp>,
    pub last_commit: Option<Timestamp>,
    pub suspects: Vec<Culprit>,
    /// What could not be read and why.
    pub warnings: Vec<String>,
}

/// A suspect and what going back to just before it means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Culprit {
    /// When, who and what, in plain words.
    pub reason: String,
    pub kind: Harm,
    pub relation: String,
    /// Higher is more suspicious; only the order means something.
    pub score: f64,
    /// 1, or how many transactions of a series it is.
    pub transactions: u64,
    /// The deed; of a series the first.
    pub commit: Commit,
    /// The last of a series.
    pub last: Option<Commit>,
    /// Bytes of WAL that the deed wrote; of a series not known.
    pub bytes: Option<u64>,
    /// Just before its first record.
    pub target: Target,
    pub lost: Loss,
}

/// What was committed after a point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loss {
    /// Commits of others behind the suspect's first record.
    pub commits: u64,
    /// From the last commit before the point to the newest one.
    pub seconds: Option<f64>,
    /// Rows by table, without those of a single culprit; a series' own are among them.
    pub tables: Vec<LostRows>,
    /// Tables beyond those named.
    pub more_tables: u64,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostRows {
    pub table: String,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
}

impl Landscape {
    /// At most `limit` suspects in full. Reads the WAL once more, for what comes after each.
    ///
    /// # Errors
    /// Where WAL could not be fetched.
    pub fn culprits(
        &self,
        limit: usize,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Culprits, LandscapeError> {
        let mut found = survey::found(self);
        found.truncate(limit);
        let after = found
            .iter()
            .map(|f| After {
                lsn: f.ending.first_lsn,
                but: (f.transactions == 1).then_some(f.ending.xid),
            })
            .collect::<Vec<_>>();
        let sums = if after.is_empty() {
            Vec::new()
        } else {
            let reading = self.reading(after);
            let (timeline, from) = (self.main.timeline, self.main.scan.start);
            reading.trace(timeline, from, progress, cancelled)?.scan.history.after
        };
        let suspects =
            found.iter().zip(sums).map(|(f, sums)| self.culprit(f, sums.into_iter().collect()));
        let suspects = suspects.collect();
        let endings = &self.main.scan.history.endings;
        let mut commits = endings.iter().filter(|e| e.committed());
        Ok(Culprits {
            symptom: self.inputs.symptom.clone(),
            wal_bytes: self.main.scan.bytes,
            transactions: endings.iter().map(|e| u64::from(e.commits)).sum(),
            first_commit: commits.next().map(|e| e.at()),
            last_commit: self.main.newest_commit().map(|e| e.at()),
            suspects,
            warnings: survey::warnings(self),
        })
    }

    fn culprit(&self, found: &Found, mut rows: Vec<(RelationFile, Tally)>) -> Culprit {
        let trace = &self.main;
        let kept = trace.before(found.ending.first_lsn);
        rows.retain(|(file, _)| !self.relations.others.contains(&(file.database, file.file)));
        rows.sort_by_key(|(file, t)| (std::cmp::Reverse(t.inserts + t.updates + t.deletes), *file));
        let more_tables = rows.len().saturating_sub(TABLES) as u64;
        let tables = rows.into_iter().take(TABLES).map(|(file, tally)| LostRows {
            table: self.relations.title(file),
            inserts: tally.inserts,
            updates: tally.updates,
            deletes: tally.deletes,
        });
        let seconds = match (trace.last_commit(kept), trace.newest_commit()) {
            (Some(kept), Some(newest)) => {
                Some(newest.at().duration_since(kept.at()).as_secs_f64().max(0.0))
            }
            _ => None,
        };
        let several = found.transactions > 1;
        Culprit {
            reason: found.reason(),
            kind: found.harm,
            relation: found.relation.clone(),
            score: found.score,
            transactions: found.transactions,
            commit: trace.commit(&found.ending),
            last: several.then(|| trace.commit(&found.last)),
            bytes: found.bytes,
            target: survey::before_first(&found.ending),
            lost: Loss {
                commits: trace.commits_after(kept).saturating_sub(found.transactions),
                seconds,
                tables: tables.collect(),
                more_tables,
            },
        }
    }
}
