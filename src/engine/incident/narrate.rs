//! Each event in one plain line, as the timeline and the report show it. Owns wording only.

use super::event::{Decision, Event};
use super::facts::{Moment, Prerequisite, Verdict};
use super::model::{Incident, Tone};

/// The line for an event, or `None` where it is no news to a person. `before` is the model
/// without the event.
#[must_use]
pub fn line(event: &Event, before: &Incident) -> Option<(String, Tone)> {
    use Tone::{Attention, Bad, Good, Plain};
    let title = |id: &str| step_title(id, before);
    let told = match event {
        Event::IncidentDeclared(d) => {
            (format!("Incident {} declared on {}: {}", d.id, d.cluster, d.title), Attention)
        }
        Event::RunnerStarted { resumed: false, .. } => return None,
        Event::RunnerStarted { .. } => {
            (String::from("Lifeboat was started again and took the incident over"), Attention)
        }
        Event::SeveritySet { severity } => (format!("Severity set to {}", severity.word()), Plain),
        Event::MomentStated { moment, at } => match moment {
            Moment::FirstDetected => (format!("First detected at {at:.0} (UTC)"), Plain),
            Moment::LastKnownGood => (format!("Last known good at {at:.0} (UTC)"), Plain),
        },
        Event::NoteAdded { text, .. } => (format!("Note: {text}"), Plain),
        Event::ServerProbed(probe) if probe.reachable => {
            (String::from("The server was asked and answered"), Plain)
        }
        Event::ServerProbed(_) => (String::from("The server was asked and did not answer"), Bad),
        Event::ProbesRun { checks } => tally("Integrity probes of the cluster", checks),
        Event::PrerequisiteAnswered { prerequisite, met, .. } => {
            let answer = if *met { "confirmed" } else { "not met" };
            let tone = if *met { Good } else { Attention };
            (format!("Prerequisite {answer}: {}", prerequisite.title()), tone)
        }
        Event::IntegrityChecked { set, checks } => {
            tally(&format!("Backup integrity of {set}"), checks)
        }
        Event::TargetChosen(reach) => (format!("Recovery point chosen: {}", reach.target), Plain),
        Event::PlanMade(plan) => {
            (format!("Plan made: {} steps, {}", plan.steps.len(), short(&plan.hash)), Plain)
        }
        Event::GatePassed { plan_hash } => {
            (format!("Gate passed for plan {}", short(plan_hash)), Attention)
        }
        Event::CommandRefused { command, reason } => {
            (format!("Refused: {command} ({reason})"), Attention)
        }
        Event::RunStarted { .. } => (String::from("Recovery started"), Attention),
        Event::StepStarted { step, attempt: 1 } => (format!("Started: {}", title(step)), Plain),
        Event::StepStarted { step, attempt } => {
            (format!("Started again, attempt {attempt}: {}", title(step)), Attention)
        }
        Event::StepNoted { text, .. } => (text.clone(), Plain),
        Event::StepFinished { step } => (format!("Done: {}", title(step)), Good),
        Event::StepHeld { question, .. } => (format!("Waiting: {question}"), Attention),
        Event::StepFailed { step, explanation } => {
            (format!("Failed: {}: {}", title(step), explanation.what), Bad)
        }
        Event::StepInterrupted { step, finding } => {
            (format!("Interrupted: {}: {finding}", title(step)), Attention)
        }
        Event::Decided { decision: Decision::Promote, .. } => {
            (String::from("Decided: promote"), Attention)
        }
        Event::Decided { decision: Decision::Abandon, .. } => {
            (String::from("Decided: abandon this recovery"), Attention)
        }
        Event::PauseRequested => (String::from("Pause asked for"), Attention),
        Event::Paused { before_step } => {
            (format!("Paused before: {}", title(before_step)), Attention)
        }
        Event::Resumed => (String::from("Resumed"), Plain),
        Event::CancelRequested => (String::from("Cancel asked for"), Attention),
        Event::RunCancelled { .. } => (String::from("Recovery cancelled"), Attention),
        Event::UndoStarted => (String::from("Putting back what was there before"), Attention),
        Event::StepUndone { step, text } => (format!("Put back: {}: {text}", title(step)), Plain),
        Event::UndoFailed { step, explanation } => {
            (format!("Could not put back: {}: {}", title(step), explanation.what), Bad)
        }
        Event::UndoFinished => (String::from("Everything is as it was before"), Good),
        Event::RunFinished => (String::from("Recovery finished"), Good),
        Event::ValidationRun { checks } => tally("Validation", checks),
        Event::ChecklistSigned(sign) if sign.done => {
            (format!("Checklist signed: {}", sign.item), Good)
        }
        Event::ChecklistSigned(sign) => (format!("Checklist reopened: {}", sign.item), Attention),
        Event::ReportWritten { path } => (format!("Report written: {path}"), Plain),
        Event::IncidentClosed { .. } => (String::from("Incident closed"), Good),
    };
    Some(told)
}

fn step_title(id: &str, incident: &Incident) -> String {
    incident
        .plan
        .as_ref()
        .and_then(|plan| plan.step(id))
        .map_or_else(|| id.to_owned(), |step| step.title.clone())
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn tally(what: &str, checks: &[super::facts::Check]) -> (String, Tone) {
    let verdict = Verdict::of_all(checks.iter().map(|c| c.verdict));
    let good = checks.iter().filter(|c| c.verdict == Verdict::Verified).count();
    let tone = match verdict {
        Verdict::Verified => Tone::Good,
        Verdict::Failed => Tone::Bad,
        Verdict::NotRun | Verdict::CouldNotVerify => Tone::Attention,
    };
    (format!("{what}: {} ({good} of {} checks verified)", verdict.word(), checks.len()), tone)
}

impl super::facts::Severity {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sev1 => "SEV-1",
            Self::Sev2 => "SEV-2",
            Self::Sev3 => "SEV-3",
        }
    }
}

impl Prerequisite {
    /// The runbook's own wording.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::IncidentDeclared => "Incident declared and escalated",
            Self::MaintenanceWindow => "Maintenance window established",
            Self::BackupIntegrity => "Backup integrity verified",
            Self::TargetConfirmed => "Recovery target time confirmed",
        }
    }
}
