//! What an incident's journal has to tell, as values: which entries make a message, its importance,
//! and its words for people who do not see the screen. Pure; reads nothing and sends nothing.

use crate::engine::config::channels::Importance;
use crate::engine::incident::approval;
pub(super) use crate::engine::incident::clocks::spoken as minutes;
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::{Check, Severity, Verdict};
use crate::engine::incident::model::{Incident, RunStatus};
use crate::engine::incident::salvage::Salvage;
use crate::engine::runbook::Runbook;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a message is about. Programs may rely on these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    Declared,
    SeveritySet,
    RecoveryStarted,
    DecisionNeeded,
    StepFailed,
    Interrupted,
    Serving,
    Validated,
    PutBack,
    Closed,
    /// A level of the ladder is called, or called again.
    Escalated,
    /// Somebody answers for it.
    Acknowledged,
    /// Lines of the checklist are due.
    ChecklistDue,
    /// Sent by a person to see whether a channel works.
    Test,
}

/// One message, the same for every channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `INC-…/12`: the incident and the journal's entry. The same entry always has the same id,
    /// so that whoever receives it twice can tell.
    pub id: String,
    pub seq: u64,
    pub at: Timestamp,
    pub incident: String,
    pub cluster: String,
    pub environment: String,
    pub drill: bool,
    pub topic: Topic,
    pub importance: Importance,
    /// One line.
    pub headline: String,
    /// More lines; may be empty.
    pub text: String,
}

/// Every message that the journal gives rise to, in its order. Empty where it does not begin with
/// a declaration.
#[must_use]
pub fn messages(entries: &[Entry], runbook: &Runbook) -> Vec<Message> {
    let Some((first, others)) = entries.split_first() else { return Vec::new() };
    let Ok(mut incident) = Incident::begin(first) else { return Vec::new() };
    let mut found: Vec<Message> = of(first, &incident, runbook, None).into_iter().collect();
    for entry in others {
        let served = incident.clocks.serving;
        incident.apply(entry);
        found.extend(of(entry, &incident, runbook, served));
    }
    found
}

/// A message to see whether a channel works.
#[must_use]
pub fn test(user: &str, now: Timestamp) -> Message {
    Message {
        id: format!("test/{}", now.as_millisecond()),
        seq: 0,
        at: now,
        incident: String::from("test"),
        cluster: String::from("none"),
        environment: String::from("test"),
        drill: false,
        topic: Topic::Test,
        importance: Importance::Urgent,
        headline: format!("A test of this channel by {user}"),
        text: String::from("No incident is under way because of this message."),
    }
}

/// The message of one entry, where it makes one. `incident` is the model with the entry in it, and
/// `served` since when the database served before it.
fn of(
    entry: &Entry,
    incident: &Incident,
    runbook: &Runbook,
    served: Option<Timestamp>,
) -> Option<Message> {
    use Importance::{Attention, Info, Urgent};
    let declaration = &incident.declaration;
    let who = &entry.actor.user;
    let title = |step: &str| {
        runbook.step(step).map_or_else(|| step.to_owned(), |words| words.title.clone())
    };
    let what = if incident.is_salvaging() { "salvage" } else { "recovery" };
    let (topic, importance, headline, text) = match &entry.event {
        Event::IncidentDeclared(declaration) => {
            let tier = runbook.tier(declaration.tier);
            (
                Topic::Declared,
                Urgent,
                format!("Incident on {}: {}", declaration.cluster, declaration.title),
                format!(
                    "Declared by {who}. The tier {} allows {} of downtime and {} of lost data.",
                    tier.title,
                    minutes(tier.rto_seconds),
                    minutes(tier.rpo_seconds)
                ),
            )
        }
        Event::SeveritySet { severity } => (
            Topic::SeveritySet,
            if *severity == Severity::Sev1 { Urgent } else { Attention },
            format!("{} is {} now", declaration.cluster, severity_word(*severity)),
            format!("Set by {who}."),
        ),
        Event::RunStarted { .. } if incident.procedure().is_parts() => (
            Topic::RecoveryStarted,
            Attention,
            format!("{}: bringing rows back has begun", declaration.cluster),
            format!("Started by {who}. The database serves meanwhile."),
        ),
        Event::RunStarted { .. } => {
            let target = incident.plan.as_ref().map(|plan| plan.target.to_string());
            (
                Topic::RecoveryStarted,
                Attention,
                format!("The recovery of {} has begun", declaration.cluster),
                format!(
                    "Started by {who}{}. The database does not serve until it is done.",
                    target.map(|to| format!(", to {to}")).unwrap_or_default()
                ),
            )
        }
        Event::StepHeld { question, .. } => (
            Topic::DecisionNeeded,
            Urgent,
            format!("{}: the {what} waits for the commander's decision", declaration.cluster),
            question.clone(),
        ),
        Event::ApprovalAsked(asked) => (
            Topic::DecisionNeeded,
            Urgent,
            format!("{}: a plan waits for an approval by a second person", declaration.cluster),
            format!(
                "{} ({}). On the database's host: {}",
                approval::who_may(asked),
                asked.why.join(", "),
                approval::command(incident)
            ),
        ),
        Event::StepFailed { step, explanation } => (
            Topic::StepFailed,
            Urgent,
            format!("{}: \"{}\" failed", declaration.cluster, title(step)),
            explanation.to_string(),
        ),
        Event::StepInterrupted { step, finding } => (
            Topic::Interrupted,
            Urgent,
            format!("{}: the {what} was interrupted in \"{}\"", declaration.cluster, title(step)),
            format!("{finding} It can go on: open Lifeboat on the database's host."),
        ),
        // Whichever step it is that opens the database.
        Event::StepFinished { .. } if incident.clocks.serving != served => (
            Topic::Serving,
            Attention,
            format!("{} serves again", declaration.cluster),
            serving(incident),
        ),
        Event::ValidationRun { checks } => {
            let verdict = Verdict::overall(checks.iter().map(|check| check.verdict));
            let importance = if verdict == Verdict::Verified { Info } else { Urgent };
            let compared = match incident.is_salvaging() {
                true => "what was salvaged, compared once more:",
                false => "validation",
            };
            (
                Topic::Validated,
                importance,
                format!("{}: {compared} {}", declaration.cluster, verdict.word()),
                not_verified(checks),
            )
        }
        // The recovery itself has finished: what was given up was a salvage.
        Event::UndoFinished if incident.status == RunStatus::Finished => (
            Topic::PutBack,
            Attention,
            format!("{}: the salvage has ended before its time", declaration.cluster),
            incident.salvages.last().map(Salvage::words).unwrap_or_default(),
        ),
        Event::UndoFinished => (
            Topic::PutBack,
            Attention,
            format!("The recovery of {} was given up and put back", declaration.cluster),
            String::from("Everything is as it was before the recovery began."),
        ),
        Event::LevelRaised(raise) => (
            Topic::Escalated,
            Urgent,
            escalation::headline(declaration, raise),
            escalation::text(&declaration.id, raise),
        ),
        Event::LevelAcknowledged { level } => (
            Topic::Acknowledged,
            Attention,
            format!("{}: level {level} is acknowledged", declaration.cluster),
            format!("By {who}."),
        ),
        Event::ChecklistReminded(reminder) => (
            Topic::ChecklistDue,
            Attention,
            reminders::headline(declaration, reminder),
            reminders::text(incident, runbook, reminder),
        ),
        Event::IncidentClosed { summary } => (
            Topic::Closed,
            Info,
            format!("The incident on {} is closed", declaration.cluster),
            format!("Closed by {who}: {summary}"),
        ),
        _ => return None,
    };
    let drill = declaration.drill.is_some();
    Some(Message {
        id: format!("{}/{}", declaration.id, entry.seq),
        seq: entry.seq,
        at: entry.at,
        incident: declaration.id.clone(),
        cluster: declaration.cluster.clone(),
        environment: declaration.environment.clone(),
        drill,
        topic,
        importance,
        headline: if drill { format!("DRILL: {headline}") } else { headline },
        text,
    })
}

fn serving(incident: &Incident) -> String {
    let clocks = &incident.clocks;
    let took = clocks
        .serving
        .zip(clocks.outage_began())
        .map(|(end, begun)| end.duration_since(begun).as_secs().max(0));
    match took.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => {
            format!("It was away for {}. The validation comes next.", minutes(seconds))
        }
        None => String::from("The validation comes next."),
    }
}

/// The checks that did not pass, by name.
fn not_verified(checks: &[Check]) -> String {
    let bad: Vec<String> = checks
        .iter()
        .filter(|check| matches!(check.verdict, Verdict::Failed | Verdict::CouldNotVerify))
        .map(|check| format!("{}: {}", check.verdict.word(), check.title))
        .collect();
    if bad.is_empty() { format!("{} checks.", checks.len()) } else { bad.join("\n") }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Sev1 => "SEV-1",
        Severity::Sev2 => "SEV-2",
        Severity::Sev3 => "SEV-3",
    }
}

mod escalation;
#[cfg(test)]
pub(super) mod fixture;
mod reminders;
#[cfg(test)]
mod tests;
