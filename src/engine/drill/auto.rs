//! The drill without a person: the same commands over the same socket, in the order in which the
//! screens lead, taking what they recommend. It never looks at the truth; scoring does, at the
//! end.

use super::error::DrillError;
use super::sandbox::{CLUSTER, Sandbox, Say};
use super::scenario::Scenario;
use super::score::{self, TableScore};
use super::seat::Seat;
use crate::engine::checklist::Checklist;
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{
    Check, Moment, Prerequisite, Severity, SignOff, Target, Topic, Verdict,
};
use crate::engine::incident::model::RunStatus;
use crate::engine::report::Report;
use crate::engine::runbook::Runbook;
use crate::engine::runner::protocol::{Answer, Command};
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For what answers from memory.
const SHORT: Duration = Duration::from_secs(60);
/// For what reads a repository or a whole cluster.
const LONG: Duration = Duration::from_secs(4 * 3_600);
/// How long the bad transaction may take to reach the archive.
const ARCHIVED: Duration = Duration::from_secs(60);

/// How a drill ended: one JSON object for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub scenario: String,
    /// VERIFIED, FAILED or COULD NOT VERIFY.
    pub outcome: &'static str,
    /// Why it is not VERIFIED; empty where it is.
    pub reasons: Vec<String>,
    pub incident: String,
    /// What was asked for, in words.
    pub target: Option<String>,
    /// The server's own word on where it stopped.
    pub reached_point: Option<String>,
    /// From the recovery point to the bad statement: good data that was given up.
    pub rpo_seconds: Option<f64>,
    pub rpo_target_seconds: f64,
    /// From detection to serving again.
    pub rto_seconds: Option<f64>,
    pub rto_target_seconds: f64,
    /// Rows that the bad statement deleted.
    pub rows_deleted: u64,
    pub tables: Vec<TableScore>,
    /// The validation's and then the drill's own.
    pub checks: Vec<Check>,
    /// Checklist lines that are left to people.
    pub checklist_open: Vec<String>,
    /// From the first command to the last.
    pub seconds: f64,
    /// What is left on disk, where the sandbox is kept.
    pub kept: Vec<PathBuf>,
}

impl Outcome {
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.outcome == Verdict::Verified.word()
    }
}

/// Leads the incident from assessment to report, then scores it. A recovery that fails is an
/// outcome, not an error.
///
/// # Errors
/// Where the drill itself breaks: no truth was recorded, or its ledger is gone.
pub fn run_auto(
    sandbox: &mut Sandbox,
    scenario: &Scenario,
    seat: &mut Seat,
    runbook: &Runbook,
    say: Say<'_>,
) -> Result<Outcome, DrillError> {
    let begun = Instant::now();
    let mut reasons = Vec::new();
    if let Err(error) = lead(seat, runbook, say) {
        reasons.push(error.explanation().to_string());
    }
    sandbox.end_traffic();
    say("Comparing the recovered cluster with what was there before the incident");
    let outcome = judge(sandbox, scenario, seat.incident(), runbook, reasons)?;
    Ok(Outcome { seconds: begun.elapsed().as_secs_f64(), ..outcome })
}

/// The way of the screens.
fn lead(seat: &mut Seat, runbook: &Runbook, say: Say<'_>) -> Result<(), DrillError> {
    assess(seat, say)?;
    choose(seat, say)?;
    prepare(seat, say)?;
    recover(seat, say)?;
    conclude(seat, runbook, say)
}

fn assess(seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    say("Assessment");
    let note = |topic, text: &str| Command::AddNote { topic, text: text.to_owned() };
    let moment = Moment::FirstDetected;
    seat.ask(Command::SetSeverity { severity: Severity::Sev2 }, SHORT)?;
    seat.ask(Command::StateMoment { moment, at: Timestamp::now() }, SHORT)?;
    seat.ask(note(Topic::Symptom, "Orders of the last hour cannot be found"), SHORT)?;
    seat.ask(note(Topic::ChangesBefore, "A maintenance job ran a short while ago"), SHORT)?;
    seat.ask(Command::ProbeServer, SHORT)?;
    seat.ask(Command::RunProbes, LONG)?;
    Ok(())
}

/// Takes the first suggestion, once a suspect is known: until then the bad transaction has not
/// reached the archive, and the screen says to look again.
fn choose(seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    say("Recovery point");
    let begun = Instant::now();
    let target = loop {
        seat.ask(Command::Survey, LONG)?;
        let survey = seat.survey();
        let suspected = survey.as_ref().is_some_and(|survey| !survey.suspects.is_empty());
        let first = survey.as_ref().and_then(|survey| survey.suggestions.first());
        match first {
            Some(first) if suspected || begun.elapsed() > ARCHIVED => break first.target.clone(),
            None if begun.elapsed() > ARCHIVED => {
                return Err(DrillError::TooLong {
                    what: String::from("a first suggestion of a recovery point"),
                    seconds: ARCHIVED.as_secs(),
                });
            }
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    };
    say(&format!("Chosen: {target}"));
    match seat.ask(Command::CheckReach { target: target.clone() }, LONG)? {
        Answer::Reach(reach) if reach.reachable => {}
        Answer::Reach(reach) => return Err(unreachable(&target, &reach.checks)),
        other => return Err(unexpected(&other)),
    }
    seat.ask(Command::ChooseTarget { target }, LONG)?;
    Ok(())
}

fn prepare(seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    say("Prerequisites");
    let by_people = [
        (Prerequisite::IncidentDeclared, "Declared by the drill; nobody else is affected"),
        (Prerequisite::MaintenanceWindow, "The sandbox has no other users"),
        (Prerequisite::TargetConfirmed, "As suggested"),
    ];
    for (prerequisite, note) in by_people {
        let note = note.to_owned();
        seat.ask(Command::AnswerPrerequisite { prerequisite, met: true, note }, SHORT)?;
    }
    seat.ask(Command::VerifyIntegrity, LONG)?;
    seat.ask(Command::MakePlan, LONG)?;
    Ok(())
}

fn recover(seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    let plan = seat.incident().plan.as_ref().map(|plan| plan.hash.clone());
    let plan_hash = plan.ok_or_else(|| stopped(seat.incident()))?;
    let gate = Command::PassGate { plan_hash: plan_hash.clone(), cluster: CLUSTER.to_owned() };
    seat.ask(gate, SHORT)?;
    say("Recovery");
    seat.ask(Command::Start { plan_hash }, SHORT)?;
    seat.wait_until("the recovery up to its target", LONG, |incident| {
        !matches!(incident.status, RunStatus::Running | RunStatus::Ready)
    })?;
    if seat.incident().status == RunStatus::Held {
        // Promoting what the checks refuted would be no recommendation of any screen.
        let refuted = seat.incident().validation.iter().any(|c| c.verdict == Verdict::Failed);
        if refuted {
            return Err(stopped(seat.incident()));
        }
        say("At the target: promoting");
        seat.ask(Command::Decide { decision: Decision::Promote }, SHORT)?;
        seat.wait_until("the promotion", LONG, |incident| {
            !matches!(incident.status, RunStatus::Running | RunStatus::Held)
        })?;
    }
    match seat.incident().status {
        RunStatus::Finished => Ok(()),
        _ => Err(stopped(seat.incident())),
    }
}

fn conclude(seat: &mut Seat, runbook: &Runbook, say: Say<'_>) -> Result<(), DrillError> {
    if seat.incident().validation.is_empty() {
        say("Validation");
        seat.ask(Command::Validate, LONG)?;
    }
    say("Checklist and report");
    let checklist = Checklist::of(seat.incident(), runbook, Timestamp::now());
    let proven: Vec<SignOff> = checklist
        .open()
        .filter_map(|line| {
            let proposal = line.proposal.as_ref()?;
            (proposal.verdict == Verdict::Verified).then(|| SignOff {
                item: line.id.clone(),
                done: true,
                evidence: proposal.text.clone(),
            })
        })
        .collect();
    for sign in proven {
        seat.ask(Command::Sign(sign), SHORT)?;
    }
    seat.ask(Command::WriteReport, LONG)?;
    Ok(())
}

fn judge(
    sandbox: &Sandbox,
    scenario: &Scenario,
    incident: &Incident,
    runbook: &Runbook,
    mut reasons: Vec<String>,
) -> Result<Outcome, DrillError> {
    let truth = sandbox.truth().cloned().ok_or_else(|| DrillError::Refused {
        path: sandbox.root().to_path_buf(),
        why: String::from("no incident was staged in it"),
    })?;
    let led_to_the_end = reasons.is_empty();
    let report = Report::from(incident, runbook, Timestamp::now());
    let aside = report.recovery.aside.clone().map(PathBuf::from);
    let verifybackup = report.recovery.verifybackup.as_deref();
    let (tables, mut own) = score::of(sandbox, &truth, aside.as_deref(), verifybackup)?;
    let rto_seconds = report.rto.actual_seconds.filter(|_| !report.rto.ongoing);
    let last_kept = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
    // A recovery point after the bad statement loses no data, and does not help either.
    let rpo_seconds =
        last_kept.map(|kept| truth.struck_at.duration_since(kept.at).as_secs_f64().max(0.0));
    own.push(objective(
        "drill-rpo",
        "The recovery point objective is met",
        rpo_seconds,
        scenario.rpo_seconds,
    ));
    own.push(objective(
        "drill-rto",
        "The recovery time objective is met",
        rto_seconds,
        scenario.rto_seconds,
    ));
    if incident.validation.is_empty() {
        reasons.push(String::from("The recovered cluster was not validated."));
    }
    let word = verdict(led_to_the_end, &incident.validation, &own);
    // What the configuration leaves out of the validation is listed with the checks, and is not
    // held against the drill; its own checks have to run, all of them.
    let told = incident.validation.iter().filter(|check| check.verdict != Verdict::NotRun);
    for check in told.chain(&own).filter(|check| check.verdict != Verdict::Verified) {
        reasons.push(format!("{}: {}. {}", check.title, check.verdict.word(), check.detail));
    }
    let checklist = Checklist::of(incident, runbook, Timestamp::now());
    let kept = if sandbox.is_kept() {
        let reports = incident.reports.iter().map(PathBuf::from);
        std::iter::once(sandbox.root().to_path_buf()).chain(aside).chain(reports).collect()
    } else {
        Vec::new()
    };
    let mut checks = incident.validation.clone();
    checks.extend(own);
    Ok(Outcome {
        scenario: scenario.name.clone(),
        outcome: word.word(),
        reasons,
        incident: incident.declaration.id.clone(),
        target: report.recovery.requested.clone(),
        reached_point: report.recovery.stop_line.clone().or(report.recovery.reached_lsn.clone()),
        rpo_seconds,
        rpo_target_seconds: scenario.rpo_seconds,
        rto_seconds,
        rto_target_seconds: scenario.rto_seconds,
        rows_deleted: truth.deleted,
        tables,
        checks,
        checklist_open: checklist.open().map(|line| line.id.clone()).collect(),
        seconds: 0.0,
        kept,
    })
}

fn verdict(led_to_the_end: bool, validation: &[Check], own: &[Check]) -> Verdict {
    if !led_to_the_end {
        return Verdict::Failed;
    }
    if validation.is_empty() || own.is_empty() {
        return Verdict::CouldNotVerify;
    }
    let configured = validation.iter().map(|c| c.verdict).filter(|v| *v != Verdict::NotRun);
    match Verdict::of_all(configured.chain(own.iter().map(|c| c.verdict))) {
        Verdict::NotRun => Verdict::CouldNotVerify,
        word => word,
    }
}

fn objective(id: &str, title: &str, actual: Option<f64>, target: f64) -> Check {
    let verdict = match actual {
        Some(actual) if actual <= target => Verdict::Verified,
        Some(_) => Verdict::Failed,
        None => Verdict::CouldNotVerify,
    };
    Check {
        id: id.to_owned(),
        title: title.to_owned(),
        verdict,
        expected: Some(format!("at most {target} s")),
        found: actual.map(|actual| format!("{actual:.3} s")),
        detail: String::new(),
        duration_ms: 0,
    }
}

fn stopped(incident: &Incident) -> DrillError {
    use crate::engine::explain::{Explanation, Kind};
    let failure = incident.current_step().and_then(|step| step.failure.clone());
    DrillError::Engine(failure.unwrap_or_else(|| {
        Explanation::new(
            Kind::Server,
            format!("The recovery ended as {:?}.", incident.status),
            "The damaged directory is kept.",
            "Run the drill again with --keep DIR and read the incident's journal.",
        )
    }))
}

fn unreachable(target: &Target, checks: &[Check]) -> DrillError {
    use crate::engine::explain::{Explanation, Kind};
    let failed = checks.iter().filter(|check| check.verdict != Verdict::Verified);
    let why: Vec<String> = failed.map(|c| format!("{}: {}", c.title, c.detail)).collect();
    DrillError::Engine(Explanation::new(
        Kind::Unreachable,
        format!("The first suggestion, {target}, cannot be reached: {}.", why.join("; ")),
        "Nothing was copied.",
        "",
    ))
}

fn unexpected(answer: &Answer) -> DrillError {
    use crate::engine::explain::{Explanation, Kind};
    DrillError::Engine(Explanation::new(
        Kind::Internal,
        format!("The runner answered something else than asked: {answer:?}."),
        "",
        "",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(verdict: Verdict) -> Check {
        Check { verdict, ..objective("x", "x", Some(1.0), 2.0) }
    }

    #[test]
    fn only_a_whole_proof_is_verified() {
        use Verdict::{CouldNotVerify, Failed, NotRun, Verified};
        let good = [with(Verified)];
        assert_eq!(verdict(true, &good, &good), Verified);
        assert_eq!(verdict(true, &[with(Verified), with(NotRun)], &good), Verified);
        assert_eq!(verdict(true, &[], &good), CouldNotVerify);
        assert_eq!(verdict(true, &good, &[with(NotRun)]), CouldNotVerify);
        assert_eq!(verdict(true, &[with(NotRun)], &[with(NotRun)]), CouldNotVerify);
        assert_eq!(verdict(true, &good, &[with(Failed)]), Failed);
        assert_eq!(verdict(true, &[with(CouldNotVerify)], &good), CouldNotVerify);
        assert_eq!(verdict(false, &good, &good), Failed);
    }

    #[test]
    fn an_unknown_figure_never_meets_an_objective() {
        assert_eq!(objective("x", "x", None, 300.0).verdict, Verdict::CouldNotVerify);
        assert_eq!(objective("x", "x", Some(301.0), 300.0).verdict, Verdict::Failed);
    }
}
