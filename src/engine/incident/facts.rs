//! The vocabulary of an incident: the values that events carry and the model keeps.
//! Owns no behaviour beyond naming; never reads a clock, a file or a server.

use super::past::{Cost, Landmarks, TableLoss};
use crate::engine::explain::Kind;
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person does in an incident. The runner checks it by the kernel's word on who is at the
/// other end of the socket. Roles have no order: see [`Role::covers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Observer,
    /// Keeps the notes.
    Scribe,
    /// Writes the text for people outside.
    Communications,
    /// Assesses, probes, answers, signs checklist lines.
    Operator,
    /// Approves plans made by others.
    Approver,
    /// Decides: target, gate, start, cancel, promote, close.
    Commander,
}

impl Role {
    pub const ALL: [Self; 6] = [
        Self::Commander,
        Self::Operator,
        Self::Communications,
        Self::Scribe,
        Self::Approver,
        Self::Observer,
    ];

    /// Whether somebody of this role may do what needs the other. The commander may do everything;
    /// that nobody approves their own plan is another rule. Everybody at work may write a note.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        match (self, needed) {
            (Self::Commander, _) | (_, Self::Observer) => true,
            (Self::Operator | Self::Communications | Self::Approver, Self::Scribe) => true,
            (own, needed) => own == needed,
        }
    }

    /// The role in a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Scribe => "scribe",
            Self::Communications => "communications",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Commander => "commander",
        }
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Operating-system user name, or `lifeboat` for the runner itself.
    pub user: String,
    pub uid: u32,
    pub role: Role,
}

/// The runbook's severity levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    #[serde(rename = "SEV-1")]
    Sev1,
    #[serde(rename = "SEV-2")]
    Sev2,
    #[serde(rename = "SEV-3")]
    Sev3,
}

/// The service tiers of the runbook; their RPO and RTO stand in `assets/runbook.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Critical,
    High,
    Standard,
    Archive,
}

/// The identity that is read again before every destructive step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// From `pg_control`; unique for each initdb.
    pub system_identifier: u64,
    pub host: String,
    pub data_directory: String,
    pub role: ServerRole,
    /// Major version, such as 15.
    pub version: u32,
    /// Timeline of the last checkpoint.
    pub timeline: TimelineId,
}

/// Whether the server takes writes, replays, or is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    Primary,
    Standby,
    Down,
    Unknown,
}

/// Moments that people state and the tool cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    FirstDetected,
    LastKnownGood,
}

/// Free-text answers of the assessment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// What changed before the issue.
    ChangesBefore,
    /// What is wrong: which rows, tables, since when.
    Symptom,
    /// Anything else worth keeping.
    Note,
}

/// The runbook's four prerequisites of Option A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prerequisite {
    IncidentDeclared,
    MaintenanceWindow,
    /// Answered by the tool itself, never by a person.
    BackupIntegrity,
    TargetConfirmed,
}

impl Prerequisite {
    pub const ALL: [Self; 4] = [
        Self::IncidentDeclared,
        Self::MaintenanceWindow,
        Self::BackupIntegrity,
        Self::TargetConfirmed,
    ];
}

/// What the server said when it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerProbe {
    pub at: Timestamp,
    pub reachable: bool,
    /// `version()`, where reachable.
    pub version: Option<String>,
    /// The server's own `now()`.
    pub now: Option<Timestamp>,
    /// `pg_current_wal_lsn()` on a primary, the replay LSN on a standby.
    pub current_lsn: Option<Lsn>,
    /// Client backends other than our own.
    pub sessions: Option<u32>,
    /// From `pg_control`, which also answers while the server is down.
    pub identity: Option<Identity>,
    /// Why it could not be reached.
    pub error: Option<String>,
}

/// Four different words; a check that could not run never reads as passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    Verified,
    Failed,
    NotRun,
    CouldNotVerify,
}

impl Verdict {
    /// The word on screens and in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Failed => "FAILED",
            Self::NotRun => "NOT RUN",
            Self::CouldNotVerify => "COULD NOT VERIFY",
        }
    }

    /// Of a check that ended with a trouble of this kind: damage, absence and content that is not
    /// what it should be are failures; everything else only stood in the way.
    #[must_use]
    pub fn of(trouble: Kind) -> Self {
        match trouble {
            Kind::Integrity | Kind::NotFound | Kind::Refused => Self::Failed,
            _ => Self::CouldNotVerify,
        }
    }

    /// The worst of many: a failure beats what could not be verified, that beats what was not
    /// run. No checks at all is NOT RUN.
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let rank = |v: Self| match v {
            Self::Verified => 0,
            Self::NotRun => 1,
            Self::CouldNotVerify => 2,
            Self::Failed => 3,
        };
        verdicts.into_iter().max_by_key(|v| rank(*v)).unwrap_or(Self::NotRun)
    }

    /// The headline over many checks: the worst of those that were configured to run. What the
    /// configuration leaves out does not make a sound recovery look doubtful; whoever shows this
    /// word says beside it what was NOT RUN. Where nothing ran at all it is NOT RUN. What must be
    /// proven whole, such as a backup's integrity, goes by [`Verdict::of_all`].
    pub fn overall(verdicts: impl IntoIterator<Item = Self>) -> Self {
        Self::of_all(verdicts.into_iter().filter(|v| *v != Self::NotRun))
    }
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable within its group: `counts:public.orders`, `fk:orders_customer_id_fkey`.
    pub id: String,
    /// One line for a person.
    pub title: String,
    pub verdict: Verdict,
    pub expected: Option<String>,
    pub found: Option<String>,
    /// What it means and, where it failed, what to do.
    pub detail: String,
    pub duration_ms: u64,
}

/// Where recovery stops, in PostgreSQL's terms. At most one kind can be set on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum TargetPoint {
    /// `recovery_target_time`.
    Time(Timestamp),
    /// `recovery_target_lsn`.
    Lsn(Lsn),
    /// `recovery_target_xid`; matches by equality alone.
    Xid(u32),
    /// `recovery_target_name`; the first restore point of that name.
    Name(String),
    /// Everything that the archive and the rescued tail hold.
    EndOfArchive,
    /// `recovery_target = 'immediate'`: as soon as the base backup is consistent, which is its end.
    EndOfBase,
}

/// A recovery target as the operator chose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub point: TargetPoint,
    /// `recovery_target_inclusive`. False means "just before".
    pub inclusive: bool,
    /// The timeline to follow; `None` is `latest`.
    pub timeline: Option<TimelineId>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let edge = if self.inclusive { "up to and including" } else { "just before" };
        match &self.point {
            TargetPoint::Time(t) => write!(f, "{edge} {t:.3} (UTC)"),
            TargetPoint::Lsn(lsn) => write!(f, "{edge} LSN {lsn}"),
            TargetPoint::Xid(xid) => write!(f, "{edge} transaction {xid}"),
            TargetPoint::Name(name) => write!(f, "restore point \"{name}\""),
            TargetPoint::EndOfArchive => write!(f, "everything that was archived or rescued"),
            TargetPoint::EndOfBase => write!(f, "at the end of the base backup itself"),
        }?;
        match self.timeline {
            Some(timeline) => write!(f, " on timeline {timeline}"),
            None => Ok(()),
        }
    }
}

/// Which of the runbook's procedures brings the data back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "option", rename_all = "snake_case")]
pub enum Procedure {
    /// Option A: the damaged directory is set aside and its place filled anew.
    #[default]
    PointInTime,
    /// Option B: a new cluster beside the old one, swapped in once it is found good.
    FullRestore {
        /// The new cluster's directory, until it takes the old one's place.
        destination: String,
        /// The port that it has meanwhile.
        port: u16,
    },
    /// Production stays up: single tables, schemas or databases are brought to it from a copy that
    /// is recovered beside it.
    Parts {
        /// The copy's folder, until it is taken down.
        sandbox: String,
        /// Where the tables are that are looked at first; the connection's own where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        database: Option<String>,
        /// As `schema.table`, in double quotes where needed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tables: Vec<String>,
        /// Salvage: the directory that a recovery set aside, of which the copy is made. Absent: the
        /// copy is recovered from a backup.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<String>,
    },
}

/// The note of Option B of the moment until which the old server took writes.
pub const OLD_RAN_UNTIL: &str = "old_ran_until";

impl Procedure {
    #[must_use]
    pub fn is_point_in_time(&self) -> bool {
        *self == Self::PointInTime
    }

    /// Option B.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::FullRestore { .. })
    }

    /// Only parts are brought back.
    #[must_use]
    pub fn is_parts(&self) -> bool {
        matches!(self, Self::Parts { .. })
    }

    /// What came after a recovery point is brought back from the directory that was set aside.
    #[must_use]
    pub fn is_salvage(&self) -> bool {
        matches!(self, Self::Parts { kept: Some(_), .. })
    }

    /// What has to be answered before the gate: a part is carried over while production serves,
    /// and its backup is proven by the copy that is recovered from it. A salvage needs neither
    /// point nor backup, and its incident is declared.
    #[must_use]
    pub fn prerequisites(&self) -> &'static [Prerequisite] {
        match self {
            Self::Parts { kept: Some(_), .. } => &[],
            Self::Parts { .. } => &[Prerequisite::IncidentDeclared, Prerequisite::TargetConfirmed],
            _ => &Prerequisite::ALL,
        }
    }

    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::PointInTime => "Option A: point-in-time recovery",
            Self::FullRestore { .. } => "Option B: full restore beside the old cluster",
            Self::Parts { kept: Some(_), .. } => {
                "Salvage: brought to production from a copy of the kept directory"
            }
            Self::Parts { .. } => "Only parts: brought to production from a copy beside it",
        }
    }
}

/// From where a base backup comes, and how fast a small read of it was. Whole numbers, so that a
/// plan's hash survives JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub repository: String,
    /// Where it is declared or known to lie: the region, else the site.
    pub region: Option<String>,
    /// Nearer repositories of the cluster that do not serve, or the copy lies off site.
    pub far: bool,
    /// Measured.
    pub bytes_per_second: u64,
    /// Bytes to bring over.
    pub stored: u64,
}

impl Source {
    /// Seconds that the transfer takes at the measured rate.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a forecast needs no exact count")]
    pub fn seconds(&self) -> f64 {
        self.stored as f64 / self.bytes_per_second.max(1) as f64
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let copy = if self.far { "the far copy" } else { "the copy" };
        let rate = humansize::format_size(self.bytes_per_second, humansize::DECIMAL);
        write!(f, "from {copy} \"{}\"", self.repository)?;
        if let Some(region) = &self.region {
            write!(f, " ({region})")?;
        }
        let seconds = self.seconds();
        let takes = if seconds < 90.0 {
            format!("about {} s", seconds.ceil())
        } else {
            format!("about {} minutes", (seconds / 60.0).ceil())
        };
        write!(f, ", {rate}/s measured, {takes}")
    }
}

/// A committed transaction as the WAL tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub at: Timestamp,
    pub xid: u32,
    /// Start of the transaction's first record.
    pub first_lsn: Lsn,
    /// Start of its commit record.
    pub lsn: Lsn,
    /// End of its commit record.
    pub end_lsn: Lsn,
    pub timeline: TimelineId,
    pub inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    /// 1, or how many commits this one stands for where there are too many to keep each: it is
    /// the last of them, its first LSN and its rows are of all of them.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub stands_for: u64,
}

fn one() -> u64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_one(n: &u64) -> bool {
    *n == 1
}

/// A transaction that may have done the damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    pub commit: Commit,
    /// Schema-qualified where the relation map knows it, else `database 16384, file 16402`.
    pub relation: String,
    /// Such as "deleted 48,211 of about 51,000 rows of public.orders".
    pub what: String,
    /// Higher is more suspicious.
    pub score: f64,
    /// Just before it: its first record, exclusive.
    pub target: Target,
}

/// A base backup in the few figures that screens and plans need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseSummary {
    /// `set-YYYYMMDD-HHMMSS`.
    pub set: String,
    pub repository: String,
    pub started: Timestamp,
    pub finished: Timestamp,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    pub timeline: TimelineId,
    pub system_identifier: u64,
    /// Server major version.
    pub version: u32,
    /// Bytes in the data directory.
    pub size: u64,
    /// Bytes in the repository.
    pub stored: u64,
    pub encrypted: bool,
}

/// Seconds, as a range. `measured` is false where no rate of this machine is known yet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub copy: (f64, f64),
    pub replay: (f64, f64),
    pub measured: bool,
}

impl Forecast {
    /// Copy and replay together, least and most seconds.
    #[must_use]
    pub fn total(&self) -> (f64, f64) {
        (self.copy.0 + self.replay.0, self.copy.1 + self.replay.1)
    }
}

/// What of a base backup's files a directory on this host still holds, told by sizes and times of
/// change alone: only a comparison of the content proves it. Bytes of the backup's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDisk {
    /// Where the directory was when it was looked at.
    pub directory: String,
    /// Not written to since they were restored.
    pub unchanged: u64,
    /// As long as the backup's and written to since: whether they are equal is known once they are
    /// read.
    pub unsure: u64,
    /// Missing, or of another length: fetched in any case.
    pub gone: u64,
}

impl OnDisk {
    /// Least and most bytes that are fetched.
    #[must_use]
    pub fn fetched(&self) -> (u64, u64) {
        (self.gone, self.gone.saturating_add(self.unsure))
    }

    /// Bytes of files that are read and compared.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.unchanged.saturating_add(self.unsure)
    }
}

/// Whether a target can be reached, proven before a byte is copied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    pub target: Target,
    pub reachable: bool,
    /// Base before target, unbroken WAL, a commit beyond, keys, version, space, settings.
    pub checks: Vec<Check>,
    pub base: Option<BaseSummary>,
    /// The last commit that would be kept.
    pub last_kept: Option<Commit>,
    /// The first commit that would be lost.
    pub first_lost: Option<Commit>,
    pub lost_commits: Option<u64>,
    /// From the last kept commit to the newest commit known.
    pub lost_seconds: Option<f64>,
    /// Where unreachable: the nearest targets that can be reached.
    pub nearest: Vec<Target>,
    /// WAL to replay, bytes.
    pub wal_bytes: u64,
    /// Highest values of the five settings over the WAL range, by setting name.
    pub minimum_settings: Vec<(String, i64)>,
    pub forecast: Option<Forecast>,
    /// The timeline that this was proven for, behind its ancestors: each with the LSN at which it
    /// begins. Empty where a server cannot be told it by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<(TimelineId, Lsn)>,
    /// What is lost by table, and the bases compared.
    #[serde(default)]
    pub cost: Cost,
    /// Which procedure goes there.
    #[serde(default, skip_serializing_if = "Procedure::is_point_in_time")]
    pub procedure: Procedure,
    /// From a recovery point to an earlier one: what the directory that stands there spares of the
    /// fetch. The forecast counts with it. `None` where everything is fetched, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<OnDisk>,
    /// The directory that is recovered into, where the data directory's volume cannot hold the
    /// restore: the proof was made for it, and the plan uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<std::path::PathBuf>,
}

/// What lies behind a recovery point and is given up by going there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The last commit that is kept.
    pub last_kept: Option<Commit>,
    pub first_lost: Option<Commit>,
    pub commits: Option<u64>,
    /// From the last kept commit to the newest commit known.
    pub seconds: Option<f64>,
    /// Most rows first; `None` where it is not known.
    pub tables: Option<Vec<TableLoss>>,
    /// Tables that are not listed.
    pub more_tables: u64,
}

impl From<Reach> for Loss {
    fn from(reach: Reach) -> Self {
        Self {
            last_kept: reach.last_kept,
            first_lost: reach.first_lost,
            commits: reach.lost_commits,
            seconds: reach.lost_seconds,
            tables: reach.cost.tables,
            more_tables: reach.cost.more_tables,
        }
    }
}

impl Reach {
    /// Takes what was counted later and by more of the log.
    pub fn recount(&mut self, loss: &Loss) {
        self.last_kept.clone_from(&loss.last_kept);
        self.first_lost.clone_from(&loss.first_lost);
        (self.lost_commits, self.lost_seconds) = (loss.commits, loss.seconds);
        self.cost.tables.clone_from(&loss.tables);
        self.cost.more_tables = loss.more_tables;
    }

    /// The timeline that this was proven for; `None` where it cannot be told by number.
    #[must_use]
    pub fn timeline(&self) -> Option<TimelineId> {
        self.line.last().map(|(timeline, _)| *timeline)
    }
}

/// A point at which the recovering server stopped, and what the database is like there. Several
/// of them can be compared before one is promoted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Try {
    pub target: Target,
    /// How far the server replayed.
    pub reached_lsn: Option<Lsn>,
    /// The time of the last replayed commit.
    pub reached_time: Option<Timestamp>,
    /// The tables that matter, counted there, and the cluster's own probes as they answer there.
    pub checks: Vec<Check>,
}

/// How the ids of a try's counts of tables begin; the table's name follows.
pub const ROWS: &str = "rows:";
/// How the ids of a try's newest rows begin; the table's name follows.
pub const NEWEST: &str = "newest:";

impl Try {
    /// The cluster's own probes, without the tables that were looked at.
    pub fn probes(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| !c.id.starts_with(ROWS) && !c.id.starts_with(NEWEST))
    }

    /// How many of the probes are content, and of how many.
    #[must_use]
    pub fn content(&self) -> (usize, usize) {
        let good = self.probes().filter(|c| c.verdict == Verdict::Verified).count();
        (good, self.probes().count())
    }
}

/// A stretch of WAL without a gap on one timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WalStretch {
    pub timeline: TimelineId,
    pub from: Lsn,
    pub to: Lsn,
    pub segments: u64,
    pub first_commit: Option<Timestamp>,
    pub last_commit: Option<Timestamp>,
}

/// What the repository and the server offer: the ground for choosing a recovery point.
/// A snapshot, not a fact: it is recomputed on request and never journalled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    pub at: Timestamp,
    pub current_lsn: Option<Lsn>,
    pub bases: Vec<BaseSummary>,
    pub wal: Vec<WalStretch>,
    pub newest_commit: Option<Commit>,
    /// Commits counted in equal slices of time, oldest first: (slice start, commits).
    pub density: Vec<(Timestamp, u64)>,
    /// Restore points, forks, gaps, stated moments.
    #[serde(default)]
    pub landmarks: Landmarks,
    pub suspects: Vec<Suspect>,
    /// What the screen pre-fills, best first, each with its reason.
    pub suggestions: Vec<Suggestion>,
    /// What could not be read and why; never silently left out.
    pub warnings: Vec<String>,
}

/// A target worth offering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    pub target: Target,
    pub why: String,
}

/// A signed, waived or proven line of the checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOff {
    /// The line's id in the runbook data.
    pub item: String,
    pub done: bool,
    /// What was seen, or why it was waived.
    pub evidence: String,
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, CouldNotVerify, Failed, NotRun, Verified};

    #[test]
    fn what_was_not_set_up_does_not_darken_the_headline() {
        assert_eq!(Verdict::overall([Verified, NotRun]), Verified);
        assert_eq!(Verdict::of_all([Verified, NotRun]), NotRun);
        assert_eq!(Verdict::overall([Verified, NotRun, CouldNotVerify]), CouldNotVerify);
        assert_eq!(Verdict::overall([CouldNotVerify, Failed, NotRun]), Failed);
        assert_eq!(Verdict::overall([NotRun]), NotRun);
        assert_eq!(Verdict::overall([]), NotRun);
    }
}
