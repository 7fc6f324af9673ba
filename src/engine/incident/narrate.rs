//! Each event in one plain line, as the timeline and the report show it. Owns wording only.

use super::event::{Decision, Event};
use super::facts::{Check, Moment, Prerequisite, Procedure, Verdict};
use super::model::{Incident, Tone};
use super::parts::Carry;
use super::people::thing;
use crate::engine::aftercare::{self, hold};
use crate::engine::parts::Class;
use crate::engine::parts::work::Into;
use crate::engine::runner::plan::Plan;

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
            Moment::FirstDetected => (format!("First detected at {}", utc(*at)), Plain),
            Moment::LastKnownGood => (format!("Last known good at {}", utc(*at)), Plain),
        },
        Event::NoteAdded { text, .. } => (format!("Note: {text}"), Plain),
        Event::ServerProbed(probe) if probe.reachable => {
            (String::from("The server was asked and answered"), Plain)
        }
        Event::ServerProbed(_) => (String::from("The server was asked and did not answer"), Bad),
        Event::ProbesRun { checks } => {
            tally("Integrity probes of the cluster", overall(checks), checks)
        }
        Event::PrerequisiteAnswered { prerequisite, met, .. } => {
            let answer = if *met { "confirmed" } else { "not met" };
            let tone = if *met { Good } else { Attention };
            (format!("Prerequisite {answer}: {}", prerequisite.title()), tone)
        }
        Event::IntegrityChecked { set, checks } => {
            // A backup is whole or it is not: nothing may be left out.
            let verdict = Verdict::of_all(checks.iter().map(|c| c.verdict));
            tally(&format!("Backup integrity of {set}"), verdict, checks)
        }
        Event::TargetChosen(reach) if !reach.procedure.is_point_in_time() => {
            let set = reach.base.as_ref().map_or("no backup", |base| base.set.as_str());
            let (option, target) = (reach.procedure.title(), &reach.target);
            (format!("{option}, of {set}, {target}"), Attention)
        }
        Event::TargetChosen(reach) => (format!("Recovery point chosen: {}", reach.target), Plain),
        Event::PlanMade(plan) if plan.procedure.is_salvage() => {
            (format!("Salvage planned, from {}: {}", plan.aside, short(&plan.hash)), Attention)
        }
        Event::PlanMade(plan) => {
            (format!("Plan made: {} steps, {}", plan.steps.len(), short(&plan.hash)), Plain)
        }
        Event::GatePassed { plan_hash } => {
            (format!("Gate passed for plan {}", short(plan_hash)), Attention)
        }
        // By the archive, and not by role: see the runner's `met_refusal`.
        Event::CommandRefused { reason, .. } if reason.contains("cannot be reached") => {
            (reason.clone(), Attention)
        }
        Event::CommandRefused { command, reason } => {
            (format!("Refused: {command} ({reason})"), Attention)
        }
        Event::RunStarted { .. } => (format!("{} started", run(before)), Attention),
        Event::StepStarted { step, attempt: 1 } => (format!("Started: {}", title(step)), Plain),
        Event::StepStarted { step, attempt } => {
            (format!("Started again, attempt {attempt}: {}", title(step)), Attention)
        }
        Event::StepNoted { name, text, .. } => match name.as_str() {
            "reached_lsn" => (format!("Replay stopped at LSN {text}"), Plain),
            "reached_time" => (format!("Last transaction kept: {text} (UTC)"), Plain),
            "stop_line" => (format!("The server says: {text}"), Plain),
            "at_target" => (format!("At the target, {text}"), Plain),
            _ => (text.clone(), Plain),
        },
        Event::StepFinished { step } => (format!("Done: {}", title(step)), Good),
        Event::StepHeld { question, .. } => (format!("Waiting: {question}"), Attention),
        Event::StepFailed { step, explanation } => {
            (format!("Failed: {}: {}", title(step), explanation.what), Bad)
        }
        Event::TroubleFound { trouble, .. } => {
            let cure = trouble.cures.first();
            let cure = cure.map_or_else(String::new, |c| format!(" Proposed: {}", c.title));
            (format!("Recognised: {}{cure}", trouble.what), Attention)
        }
        Event::CureAccepted { cure, .. } => (format!("Cure accepted: {}", cure.title), Attention),
        Event::CureDone { text, .. } => (format!("Cure carried out: {text}"), Good),
        Event::CureFailed { explanation, .. } => {
            (format!("The cure did not help: {}", explanation.what), Bad)
        }
        Event::StepInterrupted { step, finding } => {
            (format!("Interrupted: {}: {finding}", title(step)), Attention)
        }
        Event::Decided { decision: Decision::Promote, .. } => {
            (String::from("Decided: promote"), Attention)
        }
        Event::LossCounted(loss) => (
            match (loss.commits, loss.seconds) {
                (Some(0), _) => String::from(
                    "Counted with the server stopped: nothing that was archived or rescued is given up",
                ),
                (Some(commits), Some(seconds)) => format!(
                    "Counted with the server stopped: {commits} commits of the last {seconds:.0} s \
                     are given up"
                ),
                _ => String::from("Counted with the server stopped: what is given up is not known"),
            },
            Plain,
        ),
        Event::TargetTried(tried) => {
            let (content, of) = tried.content();
            (
                format!(
                    "Looked at the database {}: {content} of {of} probes are content",
                    tried.target
                ),
                Plain,
            )
        }
        Event::TargetMoved { reach, plan } => {
            let stood = |plan: &Plan| plan.places.stood.clone();
            let words = match before.plan.as_ref().and_then(stood) == stood(plan) {
                true => "Goes on to a later point",
                false => "Goes back to an earlier point, by a restore anew",
            };
            let text = match elsewhere(before.plan.as_ref(), plan) {
                Some(place) => format!("Goes on in another place: {place}"),
                None => format!("{words}: {}", reach.target),
            };
            (text, Attention)
        }
        Event::Decided { decision: Decision::Abandon, .. } if before.is_salvaging() => {
            (String::from("Decided: bring nothing back by this salvage"), Attention)
        }
        Event::Decided { decision: Decision::Abandon, .. } => {
            (String::from("Decided: abandon this recovery"), Attention)
        }
        Event::PartsSeen(look) => {
            let (missing, changed, newer) = look.counts();
            let words = match (&look.whole, look.absent.len()) {
                (Some(whole), _) if whole.in_production => {
                    String::from("production has one of that name")
                }
                (Some(_), _) => String::from("not in production"),
                (None, 0) => {
                    format!(
                        "{missing} rows missing in production, {changed} changed, {newer} newer"
                    )
                }
                (None, absent) => format!(
                    "{missing} rows missing in production, {changed} changed, {newer} newer; {absent} \
                     tables not there"
                ),
            };
            (format!("Compared {}: {words}", look.part.words()), Plain)
        }
        Event::PartsChosen(choice) => {
            let words = match &choice.carry {
                Carry::Database { named, set_aside: None } => format!("as the database {named}"),
                Carry::Database { named, set_aside: Some(aside) } => {
                    format!("as the database {named}; the one there becomes {aside}")
                }
                Carry::Of { into: Into::Side } => String::from("into a schema of its own"),
                Carry::Of { into: Into::Place(taken) } => {
                    let classes = Class::ALL.into_iter().filter(|class| taken.takes(*class));
                    let classes: Vec<_> = classes.map(Class::word).collect();
                    match classes.is_empty() {
                        true => String::from("what production lacks, in place"),
                        false => format!("{} rows, in place", classes.join(", ")),
                    }
                }
            };
            (format!("Decided: carry over {words}"), Attention)
        }
        Event::PartsCarried(done) => (format!("Carried over: {}", done.words()), Good),
        Event::SalvagedByCommand(salvaged) => {
            (format!("Brought back on the command line: {}", salvaged.done.words()), Good)
        }
        Event::PauseRequested => (String::from("Pause asked for"), Attention),
        Event::Paused { before_step } => {
            (format!("Paused before: {}", title(before_step)), Attention)
        }
        Event::Resumed => (String::from("Resumed"), Plain),
        Event::CancelRequested => (String::from("Cancel asked for"), Attention),
        Event::RunCancelled { .. } => (format!("{} cancelled", run(before)), Attention),
        Event::UndoStarted if before.is_salvaging() => {
            (String::from("Taking the copy beside production down"), Attention)
        }
        Event::UndoFinished if before.is_salvaging() => {
            (String::from("The salvage has ended; its copy is gone"), Good)
        }
        Event::UndoStarted => (String::from("Putting back what was there before"), Attention),
        Event::StepUndone { step, text } => (format!("Put back: {}: {text}", title(step)), Plain),
        Event::UndoFailed { step, explanation } => {
            (format!("Could not put back: {}: {}", title(step), explanation.what), Bad)
        }
        Event::UndoFinished => (String::from("Everything is as it was before"), Good),
        Event::RunFinished => (format!("{} finished", run(before)), Good),
        Event::ValidationRun { checks } if before.is_salvaging() => {
            tally("What was salvaged, compared once more", overall(checks), checks)
        }
        Event::ValidationRun { checks } => tally("Validation", overall(checks), checks),
        Event::ChecklistSigned(sign) if sign.done => {
            (format!("Checklist signed: {}", sign.item), Good)
        }
        Event::ChecklistSigned(sign) => (format!("Checklist reopened: {}", sign.item), Attention),
        Event::ChecklistWaived { item, reason } => {
            (format!("Checklist waived: {item}: {reason}"), Attention)
        }
        Event::ChecklistAssigned { item, owner } if owner.is_empty() => {
            (format!("Checklist: {item} is nobody's task any more"), Plain)
        }
        Event::ChecklistAssigned { item, owner } => {
            (format!("Checklist: {item} is the task of {owner}"), Plain)
        }
        Event::ServiceHeld(held) => {
            (format!("Held until it is released: {}", hold::name(held)), Attention)
        }
        Event::CareBegun { agreed, .. } if agreed.is_empty() => return None,
        Event::CareBegun { item, agreed } => {
            (format!("Agreed to for {}: {}", care_title(item), agreed.join(", ")), Attention)
        }
        Event::CareDone(care) => tally(&care_title(&care.item), care.verdict(), &care.checks),
        Event::ApprovalAsked(asked) => {
            let why = asked.why.join(", ");
            let hash = short(&asked.plan_hash);
            let before = asked.before_step.as_ref().map(|step| format!(" before: {}", title(step)));
            let before = before.unwrap_or_default();
            (format!("Plan {hash} needs an approval by somebody else{before} ({why})"), Attention)
        }
        Event::ApprovalGiven(given) => {
            let signed = given.signed.as_ref().map(|kept| format!("; {}", kept.when_taken.told()));
            let (hash, until) = (short(&given.plan_hash), utc(given.until));
            let signed = signed.unwrap_or_default();
            (format!("Plan {hash} approved, counts until {until}{signed}"), Good)
        }
        Event::SignOffSigned { item, kept } => {
            let tone = if kept.when_taken.counts() { Good } else { Attention };
            (format!("Checklist line {item}: {}", kept.when_taken.told()), tone)
        }
        Event::ApprovalDeclined { plan_hash, reason } => {
            (format!("Plan {} was not approved: {reason}", short(plan_hash)), Bad)
        }
        Event::ApprovalWaived { plan_hash, reason } => (
            format!(
                "APPROVAL WAIVED, plan {} runs without a second person: {reason}",
                short(plan_hash)
            ),
            Bad,
        ),
        Event::HandoverOffered { to, task, note } => {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            (format!("Hands {} to {to}{note}", thing(task.as_deref())), Attention)
        }
        Event::HandoverAccepted { task: None } => {
            (String::from("Takes the command; from now on this person decides"), Good)
        }
        Event::HandoverAccepted { task } => (format!("Takes {}", thing(task.as_deref())), Good),
        Event::HandoverDeclined { task, reason } => {
            (format!("Does not take {}: {reason}", thing(task.as_deref())), Bad)
        }
        Event::CommandTaken { reason } => {
            (format!("Took the command without a handover: {reason}"), Attention)
        }
        Event::StatusTextWritten { text } => (format!("For people outside: {text}"), Plain),
        Event::ReportWritten { path } => (format!("Report written: {path}"), Plain),
        Event::ChecklistReminded(reminder) => {
            let told = |n: usize, word: &str| match n {
                0 => None,
                1 => Some(format!("1 line {word}")),
                n => Some(format!("{n} lines {word}")),
            };
            let (soon, overdue) = (reminder.soon.len(), reminder.overdue.len());
            let parts: Vec<_> =
                [told(overdue, "overdue"), told(soon, "due soon")].into_iter().flatten().collect();
            (format!("Reminded of the checklist: {}", parts.join(", ")), Attention)
        }
        Event::LevelRaised(raise) => {
            let again = if raise.times > 1 { " again" } else { "" };
            (format!("Level {} called{again}: {}. {}", raise.level, raise.who, raise.why), Bad)
        }
        Event::LevelAcknowledged { level } => (format!("Level {level} acknowledged"), Good),
        Event::IncidentClosed { .. } => (String::from("Incident closed"), Good),
    };
    Some(told)
}

/// What runs.
fn run(incident: &Incident) -> &'static str {
    if incident.is_salvaging() { "Salvage" } else { "Recovery" }
}

/// The place that a plan goes on in instead of the first one's.
fn elsewhere(before: Option<&Plan>, plan: &Plan) -> Option<String> {
    if before.is_none_or(|before| before.places.left == plan.places.left) {
        return None;
    }
    match &plan.procedure {
        Procedure::Parts { sandbox, .. } => Some(sandbox.clone()),
        _ => plan.places.alternative.as_ref().map(|place| place.display().to_string()),
    }
}

fn utc(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn step_title(id: &str, incident: &Incident) -> String {
    incident
        .plan
        .as_ref()
        .and_then(|plan| plan.step(id))
        .map_or_else(|| id.to_owned(), |step| step.title.clone())
}

fn care_title(item: &str) -> String {
    aftercare::item(item).map_or_else(|| item.to_owned(), |known| known.title.to_owned())
}

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn overall(checks: &[Check]) -> Verdict {
    Verdict::overall(checks.iter().map(|c| c.verdict))
}

fn tally(what: &str, verdict: Verdict, checks: &[Check]) -> (String, Tone) {
    let good = checks.iter().filter(|c| c.verdict == Verdict::Verified).count();
    let tone = match verdict {
        Verdict::Verified => Tone::Good,
        Verdict::Failed => Tone::Bad,
        Verdict::NotRun | Verdict::CouldNotVerify => Tone::Attention,
    };
    let left_out = checks.iter().filter(|c| c.verdict == Verdict::NotRun).count();
    let left_out = if left_out > 0 { format!(", {left_out} not run") } else { String::new() };
    let count = format!("{good} of {} checks verified{left_out}", checks.len());
    (format!("{what}: {} ({count})", verdict.word()), tone)
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
