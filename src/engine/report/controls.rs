//! The compliance record: which controls of SOC 2, ISO 22301 and DORA this recovery is evidence for,
//! and which it is not. Owns that judgement; what the journal does not show is never evidence, and no
//! record of one recovery is a whole control.

use super::Report;
use super::block::{self, Block};
use super::text::{duration, maybe_duration, moment};
use crate::engine::checklist::State;
use crate::engine::incident::facts::Verdict;
use jiff::Timestamp;
use serde::Serialize;

/// How far this record goes for a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// What the control asks for happened here, and the journal shows it.
    Evidence,
    /// A part of it.
    Part,
    /// Nothing in this record shows it.
    NotEvidence,
}

impl Standing {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Evidence => "EVIDENCE",
            Self::Part => "IN PART",
            Self::NotEvidence => "NOT EVIDENCE",
        }
    }
}

/// One control and what this record says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Control {
    pub framework: &'static str,
    pub clause: &'static str,
    /// What it asks for, in few words of our own.
    pub asks: &'static str,
    pub standing: Standing,
    /// What the journal shows, or what is missing.
    pub because: String,
}

/// Every control that a recovery touches, and those that it is easily mistaken for.
#[must_use]
pub fn controls(report: &Report) -> Vec<Control> {
    let seen = Seen::of(report);
    let soc2 = ("SOC 2 (Trust Services Criteria)", "A1.3");
    let iso = "ISO 22301:2019";
    let dora = "DORA, Regulation (EU) 2022/2554";
    let control = |(framework, clause), asks, (standing, because)| Control {
        framework,
        clause,
        asks,
        standing,
        because,
    };
    vec![
        control(
            soc2,
            "Recovery plan procedures are tested, so that the system can be recovered to meet its objectives",
            seen.tested("tested here", "An incident is not a test that was planned"),
        ),
        control(
            (iso, "8.4.5"),
            "Documented processes restore and return activities after a disruption",
            seen.restored(),
        ),
        control(
            (iso, "8.5"),
            "An exercise programme tests the continuity plans over time",
            seen.exercised(),
        ),
        control(
            (iso, "8.6"),
            "Capabilities are evaluated by reviews, exercises and reports after incidents",
            seen.measured(),
        ),
        control(
            (iso, "10.1"),
            "Nonconformities are acted on, and their causes removed",
            seen.improved(report),
        ),
        control(
            (dora, "Art. 12(1)"),
            "Backup policies and restoration procedures are developed and documented",
            seen.documented(report),
        ),
        control(
            (dora, "Art. 12(2)"),
            "Backup, restoration and recovery procedures are tested periodically",
            seen.tested(
                "restored from backup here",
                "A recovery in an incident is not a periodic test",
            ),
        ),
        control(
            (dora, "Art. 12(3)"),
            "Own systems that restore backups are segregated from the source systems and protected",
            (
                Standing::NotEvidence,
                String::from(
                    "The journal does not show how networks, hosts and accounts are separated.",
                ),
            ),
        ),
        control(
            (dora, "Art. 12(4), 12(5)"),
            "Redundant capacities; secondary sites of central securities depositories",
            (Standing::NotEvidence, String::from("Nothing of this is seen by a recovery.")),
        ),
        control(
            (dora, "Art. 12(6)"),
            "Recovery time and recovery point objectives are set by how critical a function is",
            seen.objectives(report),
        ),
        control(
            (dora, "Art. 12(7)"),
            "When recovering, checks ensure the highest level of data integrity",
            seen.checked(report),
        ),
    ]
}

/// What of a recovery the controls ask about.
struct Seen {
    drill: Option<String>,
    /// The recovery finished, and the database serves.
    served: bool,
    validation: Verdict,
    rpo: Option<f64>,
    rto: Option<f64>,
}

impl Seen {
    fn of(report: &Report) -> Self {
        let validation = report.checks.iter().find(|group| group.id == "validation");
        Self {
            drill: report.incident.drill.clone(),
            served: report.recovery.completed.is_some(),
            validation: validation.map_or(Verdict::NotRun, |group| group.verdict),
            rpo: report.rpo.actual_seconds,
            rto: report.rto.actual_seconds.filter(|_| !report.rto.ongoing),
        }
    }

    fn no_recovery(&self) -> Option<(Standing, String)> {
        (!self.served).then(|| {
            let text = "No recovery was brought to its end here: the database does not serve.";
            (Standing::NotEvidence, text.to_owned())
        })
    }

    fn tested(&self, what: &str, real: &str) -> (Standing, String) {
        if let Some(none) = self.no_recovery() {
            return none;
        }
        match &self.drill {
            Some(scenario) => (
                if self.validation == Verdict::Verified {
                    Standing::Evidence
                } else {
                    Standing::Part
                },
                format!(
                    "A drill (scenario {scenario}), {what} and measured; the recovered data: {}. \
                     That tests are repeated is shown by the history of drills alone.",
                    self.validation.word()
                ),
            ),
            None => (
                Standing::Part,
                format!(
                    "The procedures were carried out and measured. {real}: show drills for that."
                ),
            ),
        }
    }

    fn restored(&self) -> (Standing, String) {
        if let Some(none) = self.no_recovery() {
            return none;
        }
        let standing = if self.drill.is_some() { Standing::Part } else { Standing::Evidence };
        let what = if self.drill.is_some() { "In a drill: the" } else { "The" };
        let text = format!(
            "{what} plan that was confirmed is what ran; each step stands in the journal with its \
             time. How the business went on meanwhile is not in it."
        );
        (standing, text)
    }

    fn exercised(&self) -> (Standing, String) {
        match &self.drill {
            Some(scenario) => (
                Standing::Part,
                format!("One exercise (scenario {scenario}); a programme is more than one."),
            ),
            None => (Standing::NotEvidence, String::from("This was an incident, not an exercise.")),
        }
    }

    fn measured(&self) -> (Standing, String) {
        if self.rpo.is_none() && self.rto.is_none() {
            return (Standing::NotEvidence, String::from("Neither RPO nor RTO is known."));
        }
        let text = format!(
            "RPO {} and RTO {} were measured. The evaluation itself is people's: the postmortem.",
            maybe_duration(self.rpo),
            maybe_duration(self.rto)
        );
        (Standing::Part, text)
    }

    fn improved(&self, report: &Report) -> (Standing, String) {
        let signed = |id: &str| {
            let line = report.checklist.line(id)?;
            match &line.state {
                State::Signed { at, evidence, .. } => Some((*at, evidence.clone())),
                _ => None,
            }
        };
        match signed("improvements-identified") {
            Some((at, evidence)) => (
                Standing::Part,
                format!("Improvements were signed off at {}: {evidence}", moment(at)),
            ),
            None => (
                Standing::NotEvidence,
                String::from("No improvement is signed off in the checklist."),
            ),
        }
    }

    fn documented(&self, report: &Report) -> (Standing, String) {
        if report.steps.is_empty() {
            return (Standing::NotEvidence, String::from("No plan was made here."));
        }
        let text = "The restoration procedure that was followed is in this record, step by step. \
                    The policies for backups and their frequency are documents of their own.";
        (Standing::Part, text.to_owned())
    }

    fn objectives(&self, report: &Report) -> (Standing, String) {
        let allowed = |objective: &super::Objective| {
            let against = objective.against.first();
            against.map(|against| super::text::limit(against.target_seconds)).unwrap_or_default()
        };
        let text = format!(
            "Measured against the tier {}: RPO at most {}, RTO at most {}. Why the function has that \
             tier is not in this record.",
            report.incident.tier_title,
            allowed(&report.rpo),
            allowed(&report.rto)
        );
        (Standing::Part, text)
    }

    fn checked(&self, report: &Report) -> (Standing, String) {
        let tally = |word: Verdict| {
            let checks = report.checks.iter().filter(|group| group.id == "validation");
            checks.flat_map(|group| &group.checks).filter(|check| check.verdict == word).count()
        };
        match self.validation {
            Verdict::NotRun => (
                Standing::NotEvidence,
                String::from("The recovered data was not validated: NOT RUN."),
            ),
            Verdict::Verified => (
                Standing::Evidence,
                format!(
                    "{} checks of the recovered data VERIFIED, {} NOT RUN. Reconciliation with \
                     other systems is not in this record.",
                    tally(Verdict::Verified),
                    tally(Verdict::NotRun)
                ),
            ),
            other => (
                Standing::Part,
                format!(
                    "Checks were made; their verdict is {}: {} VERIFIED, {} FAILED, {} COULD NOT \
                     VERIFY.",
                    other.word(),
                    tally(Verdict::Verified),
                    tally(Verdict::Failed),
                    tally(Verdict::CouldNotVerify)
                ),
            ),
        }
    }
}

/// The record in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    block::markdown(&blocks(report))
}

/// The record for programs.
#[derive(Debug, Serialize)]
struct Record<'a> {
    incident: &'a str,
    cluster: &'a str,
    environment: &'a str,
    /// The scenario, in a drill.
    drill: Option<&'a str>,
    outcome: &'a str,
    rto_seconds: Option<f64>,
    rpo_seconds: Option<f64>,
    written: Timestamp,
    journal_entries: u64,
    /// Hash of the journal's last line.
    journal_head: Option<&'a str>,
    controls: Vec<Control>,
}

/// The record as JSON.
pub(super) fn json(report: &Report) -> Result<String, serde_json::Error> {
    let subject = &report.incident;
    serde_json::to_string_pretty(&Record {
        incident: &subject.id,
        cluster: &subject.cluster,
        environment: &subject.environment,
        drill: subject.drill.as_deref(),
        outcome: &report.outcome.word,
        rto_seconds: report.rto.actual_seconds,
        rpo_seconds: report.rpo.actual_seconds,
        written: report.written,
        journal_entries: report.journal.entries,
        journal_head: report.journal.head.as_deref(),
        controls: controls(report),
    })
}

fn blocks(report: &Report) -> Vec<Block> {
    let subject = &report.incident;
    let head = report.journal.head.clone().unwrap_or_else(|| String::from("not known"));
    let rows = controls(report).into_iter().map(|control| {
        vec![
            format!("{} {}", control.framework, control.clause),
            control.asks.to_owned(),
            control.standing.word().to_owned(),
            control.because,
        ]
    });
    let kind = match &subject.drill {
        Some(scenario) => format!("Drill, scenario {scenario}"),
        None => String::from("Incident"),
    };
    vec![
        Block::Title(format!("Compliance record {}", subject.id)),
        Block::text(
            "What this one recovery is evidence for, and what not. It is no assessment of a whole \
             control: that is the auditor's.",
        ),
        Block::facts(vec![
            ("Kind", kind),
            ("Cluster", format!("{} ({})", subject.cluster, subject.environment)),
            ("Outcome", format!("{}: {}", report.outcome.word, report.outcome.sentence)),
            (
                if report.stayed_open { "Rows back after (RTO)" } else { "Downtime (RTO)" },
                maybe_duration(report.rto.actual_seconds),
            ),
            ("Data loss (RPO)", maybe_duration(report.rpo.actual_seconds)),
            ("Time of people", report.shares.map_or_else(String::new, |s| duration(s.human()))),
            ("Written", moment(report.written)),
            ("Journal", format!("{} entries, last hash {head}", report.journal.entries)),
        ]),
        Block::heading("Controls"),
        Block::table(
            &[("Control", 2.0), ("Asks for", 3.0), ("This record", 1.3), ("Because", 4.0)],
            rows.collect(),
        ),
        Block::heading("How to check it"),
        Block::text(format!(
            "lifeboat journal verify {} proves that the journal\u{2019}s chain holds and gives the \
             hash of its last line; it must be the one above, or stand further on in the same chain.",
            subject.id
        )),
    ]
}
