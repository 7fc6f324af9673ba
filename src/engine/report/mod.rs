//! The recovery report: Markdown, JSON, one self-contained HTML page, and PDF; and the records that
//! are made of the same value: postmortem's draft, compliance record, data-loss statement. Owns the report's value
//! and its forms; never measures or checks anything anew: what the journal does not say is
//! "not known".

mod approvals;
mod block;
mod build;
mod chart;
pub mod controls;
mod html;
mod markdown;
mod names;
mod outline;
mod past;
mod pdf;
mod postmortem;
mod salvage;
mod shares;
mod statement;
mod text;
mod tried;

pub use names::{People, Roles};

use crate::engine::checklist::Checklist;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
pub use crate::engine::incident::clocks::Mark;
use crate::engine::incident::clocks::Shares;
use crate::engine::incident::facts::{Check, Commit, Severity, Tier, Try, Verdict};
use crate::engine::incident::model::{Phase, StepStatus, TimelineLine, Tone};
use crate::engine::incident::outlook::Outlook;
use crate::engine::incident::past::{Picture, TableLoss};
use crate::engine::incident::salvage::{Left, Rows};
use jiff::Timestamp;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// Bumped when a field of the JSON form changes its meaning.
pub const FORMAT: u32 = 1;

/// Everything that the report says. The same incident, runbook and moment always give the same
/// value, and the same value always gives the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub format: u32,
    pub written: Timestamp,
    pub incident: Subject,
    pub outcome: Outcome,
    pub recovery: Recovery,
    pub rpo: Objective,
    pub rto: Objective,
    /// Only parts came back: the RTO's time is no downtime.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stayed_open: bool,
    pub loss: Loss,
    /// What was brought back of it; `None` where nothing was left behind that could be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salvage: Option<Salvaged>,
    /// The time line from which the recovery point was chosen, where the journal has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub past: Option<Picture>,
    /// The moments of the incident in the order of time, then those that are not known.
    pub marks: Vec<Mark>,
    /// The downtime by whose time it was; `None` where the journal does not say when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
    /// The RTO, and when the database will serve, by the plan alone: a report knows no progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    pub steps: Vec<StepLine>,
    /// Seconds that the steps worked.
    pub machine_seconds: f64,
    /// Seconds that the steps waited for a person.
    pub human_seconds: f64,
    pub prerequisites: Vec<PrerequisiteLine>,
    /// Probes, integrity, proof of reach, validation.
    pub checks: Vec<CheckGroup>,
    /// The points at which the server stopped before it was promoted, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
    pub checklist: Checklist,
    /// Approvals of plans by a second person, and what went without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<approvals::Line>,
    /// Levels of the escalation ladder that were called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<CallLine>,
    /// How people stand in it.
    pub people: People,
    pub notes: Vec<NoteLine>,
    pub timeline: Vec<TimelineLine>,
    pub journal: Journal,
}

impl Report {
    /// What the RTO's time was.
    #[must_use]
    fn waited(&self) -> &'static str {
        if self.stayed_open { "Time until the rows were back" } else { "Downtime" }
    }

    /// The RTO with what its time was.
    #[must_use]
    fn rto_name(&self) -> &'static str {
        if self.stayed_open {
            "RTO (until the rows were back; production stayed open)"
        } else {
            "RTO (downtime)"
        }
    }

    /// The heading over whose time it was.
    #[must_use]
    fn part_of_it(&self) -> &'static str {
        if self.stayed_open {
            "Part of the time until the rows were back"
        } else {
            "Part of the downtime"
        }
    }
}

/// What the incident was about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    pub id: String,
    pub title: String,
    pub cluster: String,
    pub environment: String,
    pub tier: Tier,
    pub tier_title: String,
    pub severity: Option<Severity>,
    /// The scenario's name: this was an exercise.
    pub drill: Option<String>,
    pub host: Option<String>,
    pub data_directory: Option<String>,
    /// As text, because it does not fit the numbers of every JSON reader.
    pub system_identifier: Option<String>,
    pub server_version: Option<u32>,
    pub phase: Phase,
    pub closing: Option<String>,
}

/// How it ended, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// One of the four verdicts once the recovery finished; else the state in capitals.
    pub word: String,
    pub sentence: String,
    pub tone: Tone,
}

/// What was asked for and what was reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// The procedure began.
    pub started: Option<Timestamp>,
    /// The database was accessible.
    pub completed: Option<Timestamp>,
    /// Which of the runbook's procedures; `None` where no plan was made.
    pub procedure: Option<String>,
    pub requested: Option<String>,
    /// Option B: which data the new cluster has, in words.
    pub data_is: Option<String>,
    /// From which copy the base came, and how fast.
    pub transfer: Option<String>,
    /// What was taken from a directory on this host instead, and what was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused: Option<String>,
    /// Where what stood at a later point is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stood: Option<String>,
    pub reached_lsn: Option<String>,
    /// As the server said it.
    pub reached_time: Option<String>,
    pub reached_xid: Option<String>,
    /// The server's own line on where it stopped.
    pub stop_line: Option<String>,
    /// What `pg_verifybackup` said of the restored base.
    pub verifybackup: Option<String>,
    pub base: Option<Base>,
    pub plan_hash: Option<String>,
    pub gate_passed_by: Option<String>,
    /// Where the damaged directory is kept.
    pub aside: Option<String>,
    /// Where the rescued WAL is kept.
    pub rescue: Option<String>,
}

/// The base backup that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    pub set: String,
    pub repository: String,
    pub finished: Timestamp,
    /// Bytes in the data directory.
    pub size: u64,
    pub encrypted: bool,
}

/// An objective and how it was met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objective {
    /// Seconds; `None` where it is not known.
    pub actual_seconds: Option<f64>,
    /// It still grows: the database does not serve yet.
    pub ongoing: bool,
    /// How the figure was computed, in words.
    pub how: String,
    pub against: Vec<Against>,
}

/// A limit and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Against {
    /// Such as "tier High".
    pub what: String,
    pub target_seconds: u64,
    /// `None` where it cannot be told.
    pub met: Option<bool>,
}

/// What is not in the recovered database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loss {
    /// Committed transactions after the recovery point; `None` where not known.
    pub commits: Option<u64>,
    /// It was counted while the server still took writes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_be_more: bool,
    /// From the last kept commit to the newest commit known.
    pub seconds: Option<f64>,
    pub last_kept: Option<Commit>,
    pub first_lost: Option<Commit>,
    /// Rows given up by table, most first; `None` where not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableLoss>>,
    /// Further tables, which are not listed.
    pub more_tables: u64,
}

impl Loss {
    /// The commits in words.
    #[must_use]
    pub fn told(&self) -> String {
        match (self.commits, self.may_be_more) {
            (None, _) => String::from("not known"),
            (Some(count), false) => count.to_string(),
            (Some(count), true) => {
                format!(
                    "{count} counted; what was written after that, or never archived, is not in it"
                )
            }
        }
    }
}

/// What was brought back from the directory that the recovery kept, and what was not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Salvaged {
    /// Oldest first.
    pub runs: Vec<SalvageLine>,
    /// As far as it was looked at.
    pub left: Left,
    pub left_in_words: String,
}

/// One salvage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SalvageLine {
    pub begun: Timestamp,
    pub ended: Timestamp,
    pub by: String,
    /// The directory that it came from.
    pub kept: String,
    pub carried: bool,
    pub what: String,
    /// Rows that were brought back, by table that production had.
    pub rows: Vec<Rows>,
    pub verdict: Verdict,
    pub checks: Vec<Check>,
    pub notes: Vec<String>,
}

/// One step of the plan and how it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepLine {
    pub id: String,
    pub title: String,
    /// The runbook's own command.
    pub runbook: String,
    pub status: StepStatus,
    pub attempts: u32,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// Seconds of work; `None` for a step that did not start.
    pub machine_seconds: Option<f64>,
    /// Seconds of waiting for a person.
    pub human_seconds: Option<f64>,
    pub failure: Option<String>,
    pub notes: Vec<(String, String)>,
}

/// One of Option A's prerequisites and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrerequisiteLine {
    pub title: String,
    /// `None`: nobody answered.
    pub met: Option<bool>,
    pub note: String,
    pub by: Option<String>,
    pub at: Option<Timestamp>,
}

/// Checks that were run together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckGroup {
    pub id: &'static str,
    pub title: String,
    pub verdict: Verdict,
    pub checks: Vec<Check>,
}

/// A level of the ladder that was called, by role; how people are reached stays in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallLine {
    pub level: String,
    pub who: String,
    pub at: Timestamp,
    /// How often, until somebody answered.
    pub times: u32,
    pub why: String,
    pub acknowledged: Option<Timestamp>,
    pub acknowledged_by: Option<String>,
}

/// A free-text answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoteLine {
    pub topic: &'static str,
    pub text: String,
}

/// What the report was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journal {
    /// Entries that went into the report.
    pub entries: u64,
    /// SHA-256 of the last of them, hexadecimal.
    pub head: Option<String>,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the report {} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("\"{0}\" is no incident's id, so no report can be named after it")]
    Name(String),
    #[error("the report could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the report could not be written as PDF: {0}")]
    Pdf(String),
}

impl Explain for ReportError {
    fn explanation(&self) -> Explanation {
        let untouched = "An earlier report is still there; the journal holds everything.";
        let (kind, what, next) = match self {
            Self::Write { path, source } => (
                Kind::Storage,
                format!("The report {} could not be written: {source}.", path.display()),
                "Free space or correct the folder's permissions, then write it again.",
            ),
            Self::Name(id) => (
                Kind::Refused,
                format!("\"{id}\" is no incident's id, so no report can be named after it."),
                "Incidents are called INC-YYYYMMDD-NNN.",
            ),
            Self::Pdf(error) => (
                Kind::Internal,
                format!("The report could not be written as PDF: {error}."),
                "Use its other forms, and report this as a fault of Lifeboat.",
            ),
            Self::Json(error) => (
                Kind::Internal,
                format!("The report could not be written as JSON: {error}."),
                "Keep the incident's folder and report this as a fault of Lifeboat.",
            ),
        };
        Explanation::new(kind, what, untouched, next)
    }
}

impl Report {
    /// The hash of the journal's last entry that the report was made from.
    #[must_use]
    pub fn with_journal_head(mut self, head: impl Into<String>) -> Self {
        self.journal.head = Some(head.into());
        self
    }

    /// For documents and tickets.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }

    /// For programs.
    ///
    /// # Errors
    /// Where a value cannot be written as JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        Ok(json)
    }

    /// For print.
    ///
    /// # Errors
    /// Where it cannot be laid out.
    pub fn pdf(&self) -> Result<Vec<u8>, ReportError> {
        pdf::render(self)
    }

    /// The postmortem's draft, with gaps that people fill in. Markdown.
    #[must_use]
    pub fn postmortem(&self) -> String {
        postmortem::markdown(self)
    }

    /// Which controls it is evidence for, and which not. Markdown.
    #[must_use]
    pub fn compliance(&self) -> String {
        controls::markdown(self)
    }

    /// The same for programs.
    ///
    /// # Errors
    /// Where a figure cannot be written as JSON.
    pub fn compliance_json(&self) -> Result<String, serde_json::Error> {
        controls::json(self)
    }

    /// What is not in the recovered database, by table. Markdown.
    #[must_use]
    pub fn data_loss(&self) -> String {
        statement::markdown(self)
    }

    /// One page that asks nothing of any network.
    #[must_use]
    pub fn html(&self) -> String {
        html::render(self)
    }
}

/// Writes `<id>.md`, `<id>.json`, `<id>.html` and `<id>.pdf` into `folder`, each all or nothing, in the place
/// of earlier ones; gives their paths in that order.
///
/// # Errors
/// Where one could not be written; those before it are then new, the others as they were.
pub fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let id = &report.incident.id;
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if id.is_empty() || !plain {
        return Err(ReportError::Name(id.clone()));
    }
    std::fs::create_dir_all(folder)
        .map_err(|source| ReportError::Write { path: folder.to_owned(), source })?;
    let forms = [
        ("md", report.markdown().into_bytes()),
        ("json", report.json()?.into_bytes()),
        ("html", report.html().into_bytes()),
        ("pdf", report.pdf()?),
    ];
    let mut paths = Vec::with_capacity(forms.len());
    for (extension, content) in forms {
        let path = folder.join(format!("{id}.{extension}"));
        files::replace(&path, &content, 0o640)
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        paths.push(path);
    }
    Ok(paths)
}

/// The calls of the ladder as a table's rows.
fn escalation_rows(report: &Report) -> Vec<Vec<String>> {
    let row = |call: &CallLine| {
        let times = if call.times > 1 { format!(", {} times", call.times) } else { String::new() };
        let answered = match (&call.acknowledged, &call.acknowledged_by) {
            (Some(at), Some(by)) => format!("{by}, {}", text::moment(*at)),
            _ => String::from("nobody answered"),
        };
        let called = format!("{}{times}", text::moment(call.at));
        vec![call.level.clone(), call.who.clone(), called, call.why.clone(), answered]
    };
    report.escalation.iter().map(row).collect()
}

/// The header of those rows.
const ESCALATION: [&str; 5] = ["Level", "Who", "Called (UTC)", "Why", "Answered"];
