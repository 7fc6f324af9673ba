//! The judge of a drill: the incident as it was led, by a person or without one, against the truth. Owns
//! the word that comes of it; leads nothing, and asks the recovered server by `drill::score` alone.

use super::auto::{Play, stopped};
use super::card::{self, Moments};
use super::error::DrillError;
use super::inject::When;
use super::outcome::{ABORTED, Outcome};
use super::sandbox::Sandbox;
use super::scenario::{Disaster, Expected};
use super::score;
use crate::engine::checklist::Checklist;
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::incident::journal;
use crate::engine::incident::model::RunStatus;
use crate::engine::report::Report;
use jiff::Timestamp;
use std::path::PathBuf;

/// Where whoever led it left it without a recovery.
const NOT_BEGUN: &str = "No recovery was begun.";

/// Judges an incident that was led to its end, or was not, for the reason in `ended_by`.
///
/// # Errors
/// Where the sandbox has no truth, or its ledger or journal is gone.
pub fn judge(
    sandbox: &Sandbox,
    play: &Play<'_>,
    incident: &Incident,
    ended_by: Option<DrillError>,
) -> Result<Outcome, DrillError> {
    let truth = sandbox.truth().cloned().ok_or_else(|| DrillError::Refused {
        path: sandbox.root().to_path_buf(),
        why: String::from("no incident was staged in it"),
    })?;
    // It is the recovery's, also where a salvage is under way behind it.
    let incident = &*incident.settled();
    let scenario = play.scenario;
    let folder = super::director::newest_incident(sandbox.root());
    let entries = folder
        .and_then(|folder| journal::read(&folder).ok())
        .map_or_else(Vec::new, |reading| reading.entries);
    let earlier = earlier(sandbox);
    let report = Report::from(incident, play.runbook, Timestamp::now());
    let aside = report.recovery.aside.clone().map(PathBuf::from);
    let verifybackup = report.recovery.verifybackup.as_deref();
    let moments = Moments::of(incident, &entries, &truth).counting(&earlier, &truth);
    let mut rto_seconds = moments.rto_seconds().filter(|_| incident.clocks.serving.is_some());
    let (expected, mut reasons) = (play.expected(), Vec::new());
    let said = ended_by.as_ref().filter(|error| is_refusal(error)).map(|e| e.explanation());
    let refusal = match expected {
        // That nothing was begun is no refusal: people have to have met it, for its true reason.
        Expected::Refused => said.zip(met(play, &earlier, &entries)).map(|(said, met)| {
            if said.what == NOT_BEGUN { format!("{met} {NOT_BEGUN}") } else { said.to_string() }
        }),
        Expected::Recovered => said.map(|said| said.to_string()),
    };
    let as_refused = expected == Expected::Refused && refusal.is_some();
    let untouched = incident.steps.iter().all(|step| step.attempts == 0);
    let (tables, mut own, mut rpo_seconds);
    if as_refused {
        (tables, own) = score::of_refusal(sandbox, &truth)?;
        rpo_seconds = None;
        rto_seconds = None;
        own.push(untouched_check(untouched));
    } else {
        match &scenario.incident {
            Disaster::Statement(_) => {
                let salvaged: Vec<_> =
                    incident.salvages.iter().flat_map(|one| one.brought()).collect();
                (tables, own) =
                    score::of_salvaged(sandbox, &truth, aside.as_deref(), verifybackup, &salvaged)?;
                let last_kept = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
                // A recovery point after the bad statement loses no data, and does not help either.
                rpo_seconds = last_kept
                    .map(|kept| truth.struck_at.duration_since(kept.at).as_secs_f64().max(0.0));
            }
            Disaster::Table(_) => {
                (tables, own, rpo_seconds) = score::of_table(sandbox, &truth)?;
                rto_seconds = moments.rto_seconds();
            }
            Disaster::DataDirectory | Disaster::Region => {
                (tables, own, rpo_seconds) = score::of_loss(sandbox, &truth, verifybackup)?;
            }
        }
        if incident.clocks.serving.is_none() && !matches!(scenario.incident, Disaster::Table(_)) {
            rpo_seconds = None;
        }
        if let Some(target) = scenario.rpo_seconds {
            let title = "The recovery point objective is met";
            own.push(objective("drill-rpo", title, rpo_seconds, target));
        }
        let title = "The recovery time objective is met";
        let rto = objective("drill-rto", title, rto_seconds, scenario.rto_seconds);
        let detail = card::detection_left_out(incident, &truth).unwrap_or_default();
        own.push(Check { detail, ..rto });
        if expected == Expected::Refused {
            reasons.push(String::from(if untouched {
                "It was to be refused, and nobody met the refusal: no point was looked at that the \
                 archive refuses for what is wrong with it."
            } else {
                "It was to be refused, and was not: what is called recovered may lack data."
            }));
        }
        if let Some(error) = &ended_by {
            reasons.push(error.explanation().to_string());
        }
    }
    if let Some(copied) = sandbox.copied() {
        let compared = copied.compare(sandbox.server(), sandbox.root());
        own.extend(sandbox.runtime()?.block_on(compared));
    }
    let led_to_the_end = reasons.is_empty();
    // A table that is brought back has no run whose end is validated: the probes say it, where
    // they were asked after it.
    let asked_after = entries.iter().any(|entry| {
        let asks = matches!(entry.event, Event::ProbesRun { .. } | Event::ValidationRun { .. });
        asks && moments.back.is_some_and(|back| entry.at >= back)
    });
    let mut validation: Vec<Check> = match (&scenario.incident, as_refused) {
        (_, true) => Vec::new(),
        (Disaster::Table(_), _) if !asked_after => Vec::new(),
        (Disaster::Table(_), _) if incident.validation.is_empty() => incident.probes.clone(),
        _ => incident.validation.clone(),
    };
    if let Some(copied) = sandbox.copied() {
        copied.put_right(&mut validation);
    }
    if !has_run(&validation) && !as_refused {
        reasons.push(String::from("The recovered cluster was not validated."));
    }
    for inject in play.injects.iter().filter(|inject| inject.strikes != When::Report) {
        if !play.director.struck().contains(&inject.name) {
            reasons.push(format!("The inject {} did not strike.", inject.name));
        }
    }
    reasons.extend(play.director.failure());
    let judged: &[Check] = if as_refused { &own } else { &validation };
    let mut word = verdict(led_to_the_end, judged, &own);
    if !reasons.is_empty() && word == Verdict::Verified {
        word = Verdict::CouldNotVerify;
    }
    // What the configuration leaves out of the validation is listed with the checks, and is not
    // held against the drill; its own checks have to run, all of them.
    let told = validation.iter().filter(|check| check.verdict != Verdict::NotRun);
    for check in told.chain(&own).filter(|check| check.verdict != Verdict::Verified) {
        reasons.push(format!("{}: {}. {}", check.title, check.verdict.word(), check.detail));
    }
    let checklist = Checklist::of(incident, play.runbook, Timestamp::now());
    let kept = if sandbox.is_kept() {
        let reports = incident.reports.iter().map(PathBuf::from);
        let aside = aside.into_iter().filter(|path| path.exists());
        std::iter::once(sandbox.root().to_path_buf()).chain(aside).chain(reports).collect()
    } else {
        Vec::new()
    };
    let mut checks = validation;
    checks.extend(own);
    // A refusal that was right proves nothing of what a recovery would have brought back.
    let proven = if as_refused { Verdict::NotRun } else { word };
    let card = card::of(&earlier, incident, &entries, &truth, &checks, proven);
    Ok(Outcome {
        scenario: scenario.name.clone(),
        outcome: word.word(),
        reasons,
        incident: incident.declaration.id.clone(),
        expected: expected.word(),
        ended: match (&refusal, rto_seconds) {
            (Some(_), _) => "refused",
            (None, Some(_)) if led_to_the_end => "recovered",
            _ => "neither",
        },
        refusal,
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
        hypothesis: scenario.hypothesis.trim().to_owned(),
        card,
        injects: play.director.struck(),
        seed: play.seed,
        seconds: 0.0,
        kept,
        copy: sandbox.copied().map(super::copy::Copied::told),
        limits: Vec::new(),
        teardown: Vec::new(),
    })
}

/// What is known of a drill that was ended, for the reason in `why`. Nothing is compared: whoever
/// ends a drill waits for its clearing. `incident` where one was declared.
#[must_use]
pub fn aborted(
    sandbox: &Sandbox,
    play: &Play<'_>,
    incident: Option<&Incident>,
    why: &str,
) -> Outcome {
    let scenario = play.scenario;
    let folder = super::director::newest_incident(sandbox.root());
    let entries = folder
        .and_then(|folder| journal::read(&folder).ok())
        .map_or_else(Vec::new, |reading| reading.entries);
    let card = sandbox.truth().zip(incident).map(|(truth, incident)| {
        let earlier = earlier(sandbox);
        card::of(&earlier, incident, &entries, truth, &[], Verdict::NotRun)
    });
    let target = incident.map(|incident| Report::from(incident, play.runbook, Timestamp::now()));
    Outcome {
        scenario: scenario.name.clone(),
        outcome: ABORTED,
        reasons: std::iter::once(why.to_owned()).chain(play.director.failure()).collect(),
        incident: incident
            .map_or_else(|| String::from("not declared"), |one| one.declaration.id.clone()),
        expected: play.expected().word(),
        ended: "neither",
        refusal: None,
        target: target.and_then(|report| report.recovery.requested),
        reached_point: None,
        rpo_seconds: None,
        rpo_target_seconds: scenario.rpo_seconds,
        rto_seconds: None,
        rto_target_seconds: scenario.rto_seconds,
        rows_deleted: sandbox.truth().map_or(0, |truth| truth.deleted),
        tables: Vec::new(),
        checks: Vec::new(),
        checklist_open: Vec::new(),
        hypothesis: scenario.hypothesis.trim().to_owned(),
        card: card.unwrap_or_default(),
        injects: play.director.struck(),
        seed: play.seed,
        seconds: 0.0,
        kept: sandbox.is_kept().then(|| sandbox.root().to_path_buf()).into_iter().collect(),
        copy: sandbox.copied().map(super::copy::Copied::told),
        limits: Vec::new(),
        teardown: Vec::new(),
    }
}

/// Where a person left the incident before its end; `None` where it was led there.
#[must_use]
pub fn left_off(incident: &Incident, play: &Play<'_>) -> Option<DrillError> {
    use crate::engine::explain::{Explanation, Kind};
    let incident = &*incident.settled();
    let begun = incident.steps.iter().any(|step| step.attempts > 0);
    match (&play.scenario.incident, incident.status) {
        (_, RunStatus::Finished) => None,
        (Disaster::Table(_), _) if !begun => None,
        _ if play.expected() == Expected::Refused && !begun => {
            Some(DrillError::Engine(Explanation::new(
                Kind::Unreachable,
                NOT_BEGUN,
                "The server was left as the incident left it.",
                "",
            )))
        }
        (_, RunStatus::Failed) => Some(stopped(incident)),
        _ => {
            let how = if begun { "left before its end" } else { "not begun" };
            Some(DrillError::Engine(Explanation::new(
                Kind::Cancelled,
                format!("The recovery was {how}."),
                "What was done stands in the journal.",
                "Hold the drill again; D on its screens gives a hint.",
            )))
        }
    }
}

/// The journals of the incidents before the newest: those of one drill all count.
fn earlier(sandbox: &Sandbox) -> Vec<Vec<Entry>> {
    let mut folders = super::director::incidents(sandbox.root());
    folders.pop();
    let read = folders.iter().filter_map(|folder| journal::read(folder).ok());
    read.map(|reading| reading.entries).collect()
}

/// The refusal that people met and that names what is wrong, where the injects say what that is.
fn met(play: &Play<'_>, earlier: &[Vec<Entry>], entries: &[Entry]) -> Option<String> {
    let to_refuse = play.injects.iter().filter(|one| one.expected == Expected::Refused);
    let causes: Vec<&str> = to_refuse.filter_map(|one| one.refused_for.as_deref()).collect();
    refused_for(&causes, earlier.iter().flatten().chain(entries))
}

fn refused_for<'e>(causes: &[&str], entries: impl Iterator<Item = &'e Entry>) -> Option<String> {
    let mut told = entries.filter_map(|entry| card::unreached(&entry.event));
    let names = |why: &&str| causes.is_empty() || causes.iter().any(|cause| why.contains(cause));
    told.find(names).map(str::to_owned)
}

/// Whether it says no for a reason of the data or of safety, and not because something broke.
fn is_refusal(error: &DrillError) -> bool {
    use crate::engine::explain::Kind;
    let kind = error.explanation().kind;
    matches!(kind, Kind::Unreachable | Kind::Refused | Kind::Integrity)
}

fn untouched_check(untouched: bool) -> Check {
    Check {
        id: String::from("drill-no-step"),
        title: String::from("No step of a recovery was begun"),
        verdict: if untouched { Verdict::Verified } else { Verdict::Failed },
        expected: None,
        found: None,
        detail: String::new(),
        duration_ms: 0,
    }
}

/// Whether any of the checks ran: what is left out as a whole proves nothing.
fn has_run(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.verdict != Verdict::NotRun)
}

fn verdict(led_to_the_end: bool, validation: &[Check], own: &[Check]) -> Verdict {
    if !led_to_the_end {
        return Verdict::Failed;
    }
    if !has_run(validation) || own.is_empty() {
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
        assert_eq!(verdict(true, &[with(NotRun), with(NotRun)], &good), CouldNotVerify);
        assert_eq!(verdict(true, &good, &[with(NotRun)]), CouldNotVerify);
        assert_eq!(verdict(true, &[with(NotRun)], &[with(NotRun)]), CouldNotVerify);
        assert_eq!(verdict(true, &good, &[with(Failed)]), Failed);
        assert_eq!(verdict(true, &[with(CouldNotVerify)], &good), CouldNotVerify);
        assert_eq!(verdict(false, &good, &good), Failed);
    }

    /// Declaring and leaving is no refusal, nor is one by role or for another reason.
    #[test]
    fn a_refusal_counts_where_it_was_met_for_its_true_reason() {
        use crate::engine::incident::facts::{Actor, Role};
        let entry = |command: &str, reason: &str| Entry {
            seq: 2,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor { user: String::from("ann"), uid: 0, role: Role::Commander },
            event: Event::CommandRefused { command: command.to_owned(), reason: reason.to_owned() },
            prev: String::new(),
        };
        let gap = "WAL without a gap";
        let met = |causes: &[&str], entries: &[Entry]| refused_for(causes, entries.iter());
        assert_eq!(met(&[gap], &[]), None);
        let role = entry("choose_target", "choosing the point is for a commander");
        let space = entry("check_reach", "The target \"x\" cannot be reached. Room for it: none");
        assert_eq!(met(&[gap], &[role.clone(), space.clone()]), None);
        assert_eq!(met(&[], std::slice::from_ref(&role)), None);
        assert!(met(&[], &[role, space.clone()]).is_some());
        let why =
            "The target \"x\" cannot be reached. WAL without a gap from the backup: 7 is missing";
        let met = met(&[gap], &[space, entry("check_reach", why)]);
        assert_eq!(met.as_deref(), Some(why));
    }

    #[test]
    fn an_unknown_figure_never_meets_an_objective() {
        assert_eq!(objective("x", "x", None, 300.0).verdict, Verdict::CouldNotVerify);
        assert_eq!(objective("x", "x", Some(301.0), 300.0).verdict, Verdict::Failed);
    }
}
