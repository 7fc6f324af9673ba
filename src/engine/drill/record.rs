//! The record of drills: how each one went, what was found in it and who owns that, and the
//! evidence. Owns `<state>/drills.jsonl`, which is only added to, and the folders `<state>/drills/`
//! with each drill's journal, reports and certificate. Never corrects a line.

use super::card::Card;
use super::copy::{Origin, Told};
use super::director::incidents;
use super::error::DrillError;
use super::master::Facilitation;
use super::outcome::Outcome;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::facts::Check;
use crate::engine::ledger::{self, LedgerError, Line};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The record's name in the state directory.
pub const FILE: &str = "drills.jsonl";
/// The evidence's, beside it.
const FOLDER: &str = "drills";
/// The heading of the certificate's last part.
const BY_WHAT: &str = "\n## By what it can be told\n\n";

/// A line of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a record has few lines")]
pub enum Entry {
    Held(Record),
    Found(Finding),
    /// A finding was tested again, or given up, with the reason.
    Settled {
        finding: u64,
        note: String,
        by: String,
    },
}

/// How a drill went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub scenario: String,
    /// `auto`, `live` or `facilitated`.
    pub mode: String,
    /// VERIFIED, FAILED, COULD NOT VERIFY, or ABORTED: ended before its end.
    pub outcome: String,
    pub expected: String,
    pub ended: String,
    pub reasons: Vec<String>,
    pub incident: String,
    pub injects: Vec<String>,
    pub seed: u64,
    pub rpo_seconds: Option<f64>,
    pub rpo_target_seconds: Option<f64>,
    pub rto_seconds: Option<f64>,
    pub rto_target_seconds: f64,
    pub seconds: f64,
    pub card: Card,
    /// The configured cluster whose backups it was held on; `None` for a sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What the copy was of, what was masked in it, and which rails stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What was enforced on time, disk and processors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// SHA-256 of the incident's journal, hexadecimal.
    pub journal: Option<String>,
    /// SHA-256 of every file of the evidence, by name, hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// SHA-256 of the certificate without its last part, which tells of this line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Rows right before the incident, in all tables: how large it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    pub version: String,
    /// The operating-system user.
    pub held_by: String,
    /// What a game master did and saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facilitation: Option<Facilitation>,
}

/// What a drill taught, and who sees to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The drill's line.
    pub drill: u64,
    pub text: String,
    pub owner: String,
    /// When it is tested again.
    pub retest: Option<Date>,
    pub recorded_by: String,
}

/// A finding that nobody settled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenFinding {
    /// Its line, by which it is settled.
    pub number: u64,
    #[serde(flatten)]
    pub finding: Finding,
    /// Its day has come.
    pub due: bool,
}

/// What is kept of the sandbox's incident.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// File names and contents: the journal and the reports.
    pub files: Vec<(String, Vec<u8>)>,
    /// SHA-256 of the journal, hexadecimal; `None` where there is none.
    pub journal: Option<String>,
}

impl Evidence {
    /// Of every incident of the sandbox at `root`, the newest first: the files of the others are named
    /// after them. What cannot be read is not there.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let mut evidence = Self::default();
        for (place, folder) in incidents(root).iter().rev().enumerate() {
            let id = folder.file_name().unwrap_or_default().to_string_lossy();
            let of = if place == 0 { String::new() } else { format!("{id}-") };
            let reports = fs::read_dir(folder.join("report")).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = reports.map(|entry| entry.path()).collect();
            paths.sort();
            paths.insert(0, folder.join(crate::engine::incident::journal::FILE));
            for path in paths {
                if let (Some(name), Ok(content)) = (path.file_name(), fs::read(&path)) {
                    evidence.files.push((format!("{of}{}", name.to_string_lossy()), content));
                }
            }
        }
        let journal = evidence.files.iter().find(|(name, _)| name.ends_with(".jsonl"));
        evidence.journal = journal.map(|(_, text)| digest(text));
        evidence
    }
}

impl Record {
    /// What an outcome leaves in the record.
    #[must_use]
    pub fn of(outcome: &Outcome, mode: &str, evidence: &Evidence, held_by: &str) -> Self {
        Self {
            scenario: outcome.scenario.clone(),
            mode: mode.to_owned(),
            outcome: outcome.outcome.to_owned(),
            expected: outcome.expected.to_owned(),
            ended: outcome.ended.to_owned(),
            reasons: outcome.reasons.clone(),
            incident: outcome.incident.clone(),
            injects: outcome.injects.clone(),
            seed: outcome.seed,
            rpo_seconds: outcome.rpo_seconds,
            rpo_target_seconds: outcome.rpo_target_seconds,
            rto_seconds: outcome.rto_seconds,
            rto_target_seconds: outcome.rto_target_seconds,
            seconds: outcome.seconds,
            card: outcome.card.clone(),
            cluster: outcome.copy.as_ref().map(|copy| copy.cluster.clone()),
            origin: outcome.copy.as_ref().map(Told::origin),
            limits: outcome.limits.clone(),
            journal: evidence.journal.clone(),
            files: evidence
                .files
                .iter()
                .map(|(name, content)| (name.clone(), digest(content)))
                .collect(),
            certificate: None,
            rows: (!outcome.tables.is_empty())
                .then(|| outcome.tables.iter().map(|table| table.before).sum()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            held_by: held_by.to_owned(),
            facilitation: None,
        }
    }

    /// Whether the times of both can be compared: held in the same way, with the same in the way, on
    /// the same ground and about as large.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let injects = |record: &Self| record.injects.iter().cloned().collect::<BTreeSet<_>>();
        let as_large = match (self.rows, other.rows) {
            (Some(one), Some(other)) => one.abs_diff(other) <= one.max(other).unsigned_abs() / 4,
            (None, None) => true,
            _ => false,
        };
        self.mode == other.mode
            && injects(self) == injects(other)
            && self.cluster == other.cluster
            && as_large
    }

    /// Passed: verified, and nothing else.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome == "VERIFIED"
    }
}

fn digest(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

fn path(state_directory: &Path) -> PathBuf {
    state_directory.join(FILE)
}

/// Adds a drill to the record, with its evidence and certificate in a folder of its own, which is
/// given back.
///
/// # Errors
/// Where the record was changed by others, or something could not be written.
pub fn keep(
    state_directory: &Path,
    record: Record,
    checks: &[Check],
    evidence: &Evidence,
) -> Result<(Line<Entry>, PathBuf), DrillError> {
    let mut record = record;
    record.certificate = Some(digest(content_of(&record, checks).as_bytes()));
    let line = ledger::append(&path(state_directory), Entry::Held(record)).map_err(told)?;
    let folder = state_directory.join(FOLDER).join(format!("drill-{:05}", line.seq));
    let make = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    make.map_err(DrillError::file(&folder, "the evidence's folder could not be made"))?;
    let write = |name: &str, content: &[u8]| {
        let file = folder.join(name);
        files::create(&file, content, 0o600)
            .map_err(DrillError::file(&file, "the evidence could not be written"))
    };
    for (name, content) in &evidence.files {
        write(name, content)?;
    }
    write("certificate.md", certificate(&line, checks).as_bytes())?;
    Ok((line, folder))
}

/// Adds a finding to a drill that is in the record.
///
/// # Errors
/// Where there is no such drill, or the record cannot be read or written.
pub fn find(state_directory: &Path, finding: Finding) -> Result<Line<Entry>, DrillError> {
    let lines = history(state_directory)?;
    let is_it =
        |line: &Line<Entry>| line.seq == finding.drill && matches!(line.entry, Entry::Held(_));
    if !lines.iter().any(is_it) {
        return Err(unknown("drill", finding.drill, "lifeboat drill history"));
    }
    ledger::append(&path(state_directory), Entry::Found(finding)).map_err(told)
}

/// Settles a finding.
///
/// # Errors
/// Where it is not open, or the record cannot be read or written.
pub fn settle(
    state_directory: &Path,
    number: u64,
    note: &str,
    by: &str,
) -> Result<Line<Entry>, DrillError> {
    let lines = history(state_directory)?;
    if !open_findings(&lines, None).iter().any(|one| one.number == number) {
        return Err(unknown("open finding", number, "lifeboat drill findings"));
    }
    let settled = Entry::Settled { finding: number, note: note.to_owned(), by: by.to_owned() };
    ledger::append(&path(state_directory), settled).map_err(told)
}

/// The whole record, oldest first.
///
/// # Errors
/// Where it was changed by others, or could not be read.
pub fn history(state_directory: &Path) -> Result<Vec<Line<Entry>>, DrillError> {
    ledger::read(&path(state_directory)).map_err(told)
}

/// The drills of a record, oldest first, with their lines' numbers and times.
pub fn drills(lines: &[Line<Entry>]) -> impl DoubleEndedIterator<Item = (&Line<Entry>, &Record)> {
    lines.iter().filter_map(|line| match &line.entry {
        Entry::Held(record) => Some((line, record)),
        _ => None,
    })
}

/// Findings that nobody settled; due where their day is `today` or before.
#[must_use]
pub fn open_findings(lines: &[Line<Entry>], today: Option<Date>) -> Vec<OpenFinding> {
    let settled = |number: u64| {
        lines
            .iter()
            .any(|line| matches!(&line.entry, Entry::Settled { finding, .. } if *finding == number))
    };
    lines
        .iter()
        .filter_map(|line| match &line.entry {
            Entry::Found(finding) if !settled(line.seq) => Some(OpenFinding {
                number: line.seq,
                due: finding.retest.zip(today).is_some_and(|(day, today)| day <= today),
                finding: finding.clone(),
            }),
            _ => None,
        })
        .collect()
}

/// The way of a scenario over its drills: by how many seconds the last one that passed was slower
/// (or, negative, faster) than the one before it that passed and is like it. `None` where none is:
/// a person's time says nothing of a program's, nor a large cluster's of a small one's.
#[must_use]
pub fn trend(lines: &[Line<Entry>], scenario: &str) -> Option<f64> {
    let mut passed = drills(lines)
        .rev()
        .map(|(_, record)| record)
        .filter(|record| record.scenario == scenario && record.passed())
        .filter_map(|record| Some((record, record.rto_seconds?)));
    let (last, seconds) = passed.next()?;
    let (_, before) = passed.find(|(record, _)| record.is_like(last))?;
    Some(seconds - before)
}

/// What an auditor gets: what was held, what came of it, check by check, and by what it can be
/// told that nothing was changed since.
#[must_use]
pub fn certificate(line: &Line<Entry>, checks: &[Check]) -> String {
    let Entry::Held(record) = &line.entry else { return String::new() };
    let mut out = content_of(record, checks);
    let journal = match &record.journal {
        Some(hash) => format!(
            "its journal has the SHA-256 `{hash}` and lies beside this file, chained line by line"
        ),
        None => String::from("no journal of it was kept"),
    };
    let _ = writeln!(
        out,
        "{BY_WHAT}Recorded on {} (UTC). Line {} of the record of drills (`{FILE}`), behind the line \
         with SHA-256 `{}`. That line has the SHA-256 of all before the empty line above this heading \
         (`certificate`) and of every file beside this one (`files`). Incident {}; \
         {journal}.",
        line.at.strftime("%Y-%m-%d %H:%M:%S"),
        line.seq,
        line.prev,
        record.incident,
    );
    out
}

/// The certificate up to the part that tells of its line: what the line's digest covers.
fn content_of(record: &Record, checks: &[Check]) -> String {
    let mut out = String::new();
    let seconds = |value: Option<f64>| {
        value.map_or_else(|| String::from("not known"), |value| format!("{value:.1} s"))
    };
    let target = |value: Option<f64>| {
        value.map_or_else(|| String::from("none"), |value| format!("{value:.0} s"))
    };
    let injects =
        if record.injects.is_empty() { String::from("none") } else { record.injects.join(", ") };
    let ground = match &record.cluster {
        Some(cluster) => {
            let set =
                record.origin.as_ref().map_or_else(String::new, |one| format!(" {}", one.set));
            format!("on a copy of the backup{set} of \"{cluster}\"")
        }
        None => String::from("on a throwaway cluster, not on a production system"),
    };
    let _ = write!(
        out,
        "# Evidence of a recovery drill\n\n\
         **{}**: scenario {}, {ground}, {} by {}, with Lifeboat {}.\n\n\
         | | reached | target |\n|---|---|---|\n\
         | data lost (RPO) | {} | {} |\n| time to serve again (RTO) | {} | {} |\n\n\
         How it was to end: {}. How it ended: {}. Injects: {injects}. Seed: {}.\n\n",
        record.outcome,
        record.scenario,
        if record.mode == "auto" { "held without a person, started" } else { "led" },
        record.held_by,
        record.version,
        seconds(record.rpo_seconds),
        target(record.rpo_target_seconds),
        seconds(record.rto_seconds),
        target(Some(record.rto_target_seconds)),
        record.expected,
        record.ended,
        record.seed,
    );
    out.push_str(&ground_of(record));
    if !record.reasons.is_empty() {
        out.push_str("## Why it is not VERIFIED\n\n");
        for reason in &record.reasons {
            let _ = writeln!(out, "- {}", reason.replace('\n', " "));
        }
        out.push('\n');
    }
    let card = &record.card;
    let held = match card.hypothesis_held {
        Some(true) => "held",
        Some(false) => "refuted",
        None if record.ended == "refused" => "not put to the test, as the recovery was refused",
        None => "could not be verified",
    };
    let _ = write!(
        out,
        "## Score\n\nHypothesis: {held}. Detect {}, declare {}, decide {}, restore {}, validate {}. \
         Wrong turns: {}. Hints used: {}. Checks not run: {}.\n\n## Checks\n\n",
        seconds(card.detect_seconds),
        seconds(card.declare_seconds),
        seconds(card.decide_seconds),
        seconds(card.restore_seconds),
        seconds(card.validate_seconds),
        card.wrong_turns.len(),
        card.hints_used,
        card.not_run.len(),
    );
    if checks.is_empty() {
        out.push_str("None was run.\n");
    }
    for check in checks {
        let _ = writeln!(out, "- {}: {}", check.verdict.word(), check.title.replace('\n', " "));
    }
    if let Some(rto) = checks.iter().find(|one| one.id == "drill-rto" && !one.detail.is_empty()) {
        let _ = writeln!(out, "\nThe time to serve again: {}", rto.detail.replace('\n', " "));
    }
    if !card.wrong_turns.is_empty() {
        out.push_str("\n## Wrong turns\n\n");
    }
    for turn in &card.wrong_turns {
        let _ = writeln!(out, "- {}", turn.replace('\n', " "));
    }
    if let Some(facilitation) = &record.facilitation {
        out.push_str(&observed(facilitation));
    }
    out
}

/// What the drill was held on, and what kept it there.
fn ground_of(record: &Record) -> String {
    let mut out = String::new();
    if !record.limits.is_empty() {
        let _ = writeln!(out, "Limits: {}.\n", record.limits.join("; "));
    }
    let Some(origin) = &record.origin else { return out };
    let _ = write!(
        out,
        "## The copy\n\nOf backup {} of \"{}\", finished on {} (UTC). ",
        origin.set,
        origin.cluster,
        origin.finished.strftime("%Y-%m-%d %H:%M:%S"),
    );
    match origin.masked.as_slice() {
        [] => out.push_str("No column of it was masked.\n\n"),
        columns => {
            out.push_str("Masked before anybody looked:\n\n");
            let rows: Vec<String> = columns.iter().map(|one| format!("- {one}\n")).collect();
            out.push_str(&rows.concat());
            out.push('\n');
        }
    }
    for rail in &origin.rails {
        let word = if rail.enforced { "enforced" } else { "NOT ENFORCED" };
        let _ = writeln!(out, "- {word}: {} ({})", rail.rail, rail.detail);
    }
    out.push('\n');
    out
}

/// What a game master released, and what they saw.
fn observed(facilitation: &Facilitation) -> String {
    let mut out = String::from("\n## The game master\n\n");
    let clock = |at: Option<Timestamp>| {
        at.map_or_else(|| String::from("-"), |at| at.strftime("%H:%M:%S").to_string())
    };
    if !facilitation.injects.is_empty() {
        out.push_str("| inject | released | struck | undone (UTC) |\n|---|---|---|---|\n");
    }
    for one in &facilitation.injects {
        let (released, struck) = (clock(one.released), clock(one.struck));
        let _ = writeln!(out, "| {} | {released} | {struck} | {} |", one.name, clock(one.cured));
    }
    if facilitation.observations.is_empty() {
        out.push_str("\nNo observation was noted.\n");
        return out;
    }
    out.push_str("\nObserved (UTC):\n\n");
    for one in &facilitation.observations {
        let _ = writeln!(out, "- {} {}: {}", clock(Some(one.at)), one.by, one.text);
    }
    out
}

fn told(error: LedgerError) -> DrillError {
    DrillError::Engine(error.explanation())
}

fn unknown(what: &str, number: u64, look: &str) -> DrillError {
    DrillError::Engine(Explanation::new(
        Kind::NotFound,
        format!("The record has no {what} with the number {number}."),
        "Nothing was added.",
        format!("See the numbers with {look}."),
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    pub fn outcome(word: &'static str) -> Outcome {
        let check = Check {
            id: String::from("drill-rto"),
            title: String::from("The recovery time objective is met"),
            verdict: Verdict::Verified,
            expected: None,
            found: None,
            detail: String::new(),
            duration_ms: 5,
        };
        Outcome {
            scenario: String::from("corruption"),
            outcome: word,
            reasons: if word == "VERIFIED" { Vec::new() } else { vec![String::from("Not run.")] },
            incident: String::from("INC-20270115-001"),
            expected: "recovered",
            ended: "recovered",
            refusal: None,
            target: None,
            reached_point: None,
            rpo_seconds: Some(0.5),
            rpo_target_seconds: Some(300.0),
            rto_seconds: Some(20.0),
            rto_target_seconds: 900.0,
            rows_deleted: 5,
            tables: Vec::new(),
            checks: vec![check],
            checklist_open: Vec::new(),
            hypothesis: String::from("It comes back."),
            card: Card::default(),
            injects: Vec::new(),
            seed: 1,
            seconds: 30.0,
            kept: Vec::new(),
            copy: None,
            limits: Vec::new(),
            teardown: Vec::new(),
        }
    }

    #[test]
    fn a_drill_that_leaves_something_has_not_passed() {
        let mut outcome = outcome("VERIFIED");
        let check = outcome.checks[0].clone();
        outcome.torn_down(vec![check.clone()]);
        assert!(outcome.is_verified());
        outcome.torn_down(vec![Check { verdict: Verdict::Failed, ..check }]);
        assert_eq!((outcome.outcome, outcome.reasons.len()), ("FAILED", 1));
    }

    fn held(word: &'static str, rto: f64) -> Record {
        let outcome = Outcome { rto_seconds: Some(rto), ..outcome(word) };
        Record::of(&outcome, "auto", &Evidence::default(), "root")
    }

    #[test]
    fn drills_findings_and_their_settling_are_kept() {
        let state = tempfile::tempdir().unwrap();
        let evidence = Evidence {
            files: vec![(String::from("journal.jsonl"), b"{}\n".to_vec())],
            journal: Some(String::from("abc")),
        };
        let checks = outcome("VERIFIED").checks;
        let (line, folder) =
            keep(state.path(), held("VERIFIED", 30.0), &checks, &evidence).unwrap();
        assert_eq!((line.seq, fs::read_dir(&folder).unwrap().count()), (1, 2));
        let text = fs::read_to_string(folder.join("certificate.md")).unwrap();
        assert!(text.contains("**VERIFIED**: scenario corruption"), "{text}");
        assert!(text.contains("VERIFIED: The recovery time objective is met"), "{text}");
        assert!(!text.contains("NOT ENFORCED"), "{text}");
        keep(state.path(), held("FAILED", 5.0), &[], &evidence).unwrap();
        keep(state.path(), held("VERIFIED", 20.0), &[], &evidence).unwrap();

        let finding = |drill| Finding {
            drill,
            text: String::from("The key holder was not reached"),
            owner: String::from("dba"),
            retest: Some(jiff::civil::date(2027, 2, 1)),
            recorded_by: String::from("root"),
        };
        assert!(find(state.path(), finding(9)).is_err());
        let number = find(state.path(), finding(2)).unwrap().seq;
        assert!(find(state.path(), finding(number)).is_err(), "a finding is no drill");
        let lines = history(state.path()).unwrap();
        assert_eq!(trend(&lines, "corruption"), Some(-10.0), "one that failed is no measure");
        assert_eq!(trend(&lines, "table-loss"), None);
        let due = |day| open_findings(&lines, Some(jiff::civil::date(2027, 2, day)))[0].due;
        assert!(due(1) && due(2));
        assert!(!open_findings(&lines, Some(jiff::civil::date(2027, 1, 31)))[0].due);
        settle(state.path(), number, "reached at once", "root").unwrap();
        assert!(settle(state.path(), number, "again", "root").is_err());
        assert_eq!(open_findings(&history(state.path()).unwrap(), None), []);
    }

    /// Whatever is changed in the folder, the record's line tells.
    #[test]
    fn the_line_binds_certificate_and_files() {
        let state = tempfile::tempdir().unwrap();
        let report = (String::from("report.md"), b"As it was.\n".to_vec());
        let evidence = Evidence { files: vec![report], journal: None };
        let mut outcome = outcome("VERIFIED");
        outcome.card.wrong_turns = vec![String::from("The run was put back")];
        let record = Record::of(&outcome, "live", &evidence, "ann");
        let (line, folder) = keep(state.path(), record, &outcome.checks, &evidence).unwrap();
        let Entry::Held(kept) = &line.entry else { panic!("{line:?}") };
        let file = fs::read(folder.join("report.md")).unwrap();
        assert_eq!(kept.files.get("report.md"), Some(&digest(&file)));
        let text = fs::read_to_string(folder.join("certificate.md")).unwrap();
        let (content, _) = text.split_once(BY_WHAT).unwrap();
        assert_eq!(kept.certificate, Some(digest(content.as_bytes())));
        assert!(content.contains("- The run was put back"), "{text}");
        assert_eq!(history(state.path()).unwrap(), [line]);
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let one = held("VERIFIED", 20.0);
        let with = |change: &dyn Fn(&mut Record)| {
            let mut other = one.clone();
            change(&mut other);
            one.is_like(&other)
        };
        assert!(with(&|_| {}));
        assert!(!with(&|one| one.mode = String::from("live")));
        assert!(!with(&|one| one.injects.push(String::from("key-denied"))));
        assert!(!with(&|one| one.cluster = Some(String::from("bank"))));
        assert!(!with(&|one| one.rows = Some(5)));
        let sized = |rows| Record { rows: Some(rows), ..one.clone() };
        assert!(sized(100).is_like(&sized(80)) && !sized(100).is_like(&sized(70)));
        let state = tempfile::tempdir().unwrap();
        for (mode, rto) in [("auto", 30.0), ("live", 300.0), ("auto", 20.0)] {
            let record = Record { mode: mode.to_owned(), ..held("VERIFIED", rto) };
            keep(state.path(), record, &[], &Evidence::default()).unwrap();
        }
        assert_eq!(trend(&history(state.path()).unwrap(), "corruption"), Some(-10.0));
    }

    /// Of a drill in which an incident was declared twice, nothing is missing.
    #[test]
    fn every_incident_of_a_drill_is_evidence() {
        let root = tempfile::tempdir().unwrap();
        for (id, text) in [("INC-20270115-001", "first\n"), ("INC-20270115-002", "second\n")] {
            let folder = root.path().join("state/incidents").join(id);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(crate::engine::incident::journal::FILE), text).unwrap();
        }
        let evidence = Evidence::of(root.path());
        let names: Vec<&str> = evidence.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["journal.jsonl", "INC-20270115-001-journal.jsonl"]);
        assert_eq!(evidence.journal, Some(digest(b"second\n")));
    }

    #[test]
    fn what_a_game_master_saw_stands_in_the_record_and_in_the_certificate() {
        use crate::engine::drill::master::{Observation, Played};
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let (name, by) = (String::from("key-denied"), String::from("ann"));
        let facilitation = Facilitation {
            injects: vec![Played { name, released: Some(at), struck: Some(at), cured: None }],
            observations: vec![Observation { at, by, text: String::from("Nobody read it aloud") }],
        };
        let record = Record { facilitation: Some(facilitation), ..held("VERIFIED", 1.0) };
        let state = tempfile::tempdir().unwrap();
        let (_, folder) = keep(state.path(), record.clone(), &[], &Evidence::default()).unwrap();
        let text = fs::read_to_string(folder.join("certificate.md")).unwrap();
        for line in ["| key-denied | 08:00:00 | 08:00:00 | - |", "- 08:00:00 ann: Nobody read it"] {
            assert!(text.contains(line), "{text}");
        }
        let lines = history(state.path()).unwrap();
        let (_, kept) = drills(&lines).next().unwrap();
        assert_eq!(kept, &Record { certificate: kept.certificate.clone(), ..record });
    }

    /// What was not there is not claimed.
    #[test]
    fn a_certificate_says_what_is_missing() {
        let record = Record { cluster: Some(String::from("orders")), ..held("ABORTED", 1.0) };
        let state = tempfile::tempdir().unwrap();
        let (_, folder) = keep(state.path(), record, &[], &Evidence::default()).unwrap();
        let text = fs::read_to_string(folder.join("certificate.md")).unwrap();
        for words in [
            "**ABORTED**",
            "on a copy of the backup of \"orders\"",
            "None was run.",
            "no journal of it was kept",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("lies beside"), "{text}");
    }

    #[test]
    fn what_a_copy_was_of_and_which_rails_stood_stands_in_the_certificate() {
        use crate::engine::drill::copy::Rail;
        let rail = |rail: &str, enforced, detail: &str| Rail {
            rail: rail.to_owned(),
            enforced,
            detail: detail.to_owned(),
        };
        let origin = Origin {
            cluster: String::from("bank"),
            set: String::from("set-20270115-020000"),
            finished: Timestamp::from_second(1_800_000_000).unwrap(),
            masked: vec![String::from("bank: public.people, column email")],
            rails: vec![rail("no network", false, "no namespaces"), rail("read", true, "a store")],
        };
        assert_eq!(origin.open(), ["no network: no namespaces"]);
        let limits = vec![String::from("240 minutes")];
        let record = Record { origin: Some(origin), limits, ..held("VERIFIED", 1.0) };
        let state = tempfile::tempdir().unwrap();
        let (_, folder) = keep(state.path(), record.clone(), &[], &Evidence::default()).unwrap();
        let text = fs::read_to_string(folder.join("certificate.md")).unwrap();
        for line in [
            "Of backup set-20270115-020000 of \"bank\"",
            "- bank: public.people, column email",
            "- NOT ENFORCED: no network (no namespaces)",
            "- enforced: read (a store)",
            "Limits: 240 minutes.",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let lines = history(state.path()).unwrap();
        let (_, kept) = drills(&lines).next().unwrap();
        assert_eq!(kept, &Record { certificate: kept.certificate.clone(), ..record });
    }

    #[test]
    fn a_drill_that_could_not_be_verified_has_not_passed() {
        assert!(held("VERIFIED", 1.0).passed());
        assert!(!held("COULD NOT VERIFY", 1.0).passed());
        assert!(!held("FAILED", 1.0).passed());
    }
}
