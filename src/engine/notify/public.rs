//! A status text for people outside, ready to copy: what is known, what is done about it, and when
//! there will be news, in plain words. Names no host, table, position or person.

use super::message::minutes;
use crate::engine::incident::model::{Incident, Phase, RunStatus};
use crate::engine::moments;
use crate::engine::runbook::Runbook;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How long until there is news, by the book of most status pages.
const NEWS: SignedDuration = SignedDuration::from_mins(30);

/// The text as it is right at `now`.
#[must_use]
pub fn text(incident: &Incident, runbook: &Runbook, now: Timestamp) -> String {
    let service = &incident.declaration.cluster;
    let at = |at: Timestamp| moments::echo(at, &TimeZone::UTC);
    let clocks = &incident.clocks;
    let since = clocks.outage_began().map(|begun| format!(" since {}", at(begun)));
    let since = since.unwrap_or_default();
    let drill = incident.declaration.drill.is_some();
    let mut lines = Vec::new();
    if drill {
        lines.push(String::from("THIS IS A DRILL: no service is affected."));
    }
    match (incident.phase(), clocks.serving) {
        (Phase::Closed, Some(serving)) => {
            lines.push(format!("RESOLVED: {service} works again since {}.", at(serving)));
            lines.push(String::from("We checked the restored data and have closed the incident."));
        }
        (Phase::Closed, None) => {
            lines.push(format!("RESOLVED: the problem with {service} is closed."));
        }
        (_, Some(serving)) => {
            lines.push(format!("MONITORING: {service} works again since {}.", at(serving)));
            lines.push(match clocks.validated {
                Some(_) => String::from("The restored data was checked; we keep watching."),
                None => String::from("We are checking the restored data."),
            });
        }
        (_, None) if is_recovering(incident.status) => {
            lines.push(format!("IDENTIFIED: {service} is not available{since}."));
            lines.push(String::from(
                "We know what happened and are restoring the data to the moment before it.",
            ));
            if let Some(until) = expected(incident) {
                lines.push(format!("We expect it to work again around {}.", at(until)));
            }
        }
        (_, None) => {
            lines.push(format!("INVESTIGATING: we see a problem with {service}{since}."));
            lines.push(String::from("We are finding out what happened and what is affected."));
        }
    }
    if let Some(loss) = loss(incident) {
        lines.push(loss);
    }
    if let Some((words, _, written)) = &incident.people.status_text {
        lines.push(format!("{words} (as of {})", at(*written)));
    }
    if incident.phase() != Phase::Closed {
        let news = now.checked_add(NEWS).unwrap_or(now);
        lines.push(format!("Next news by {}.", at(news)));
    }
    let tier = runbook.tier(incident.declaration.tier);
    if clocks.serving.is_none() && !tier.use_cases.is_empty() {
        lines.push(format!("Affected may be: {}.", tier.use_cases));
    }
    lines.join("\n")
}

fn is_recovering(status: RunStatus) -> bool {
    !matches!(
        status,
        RunStatus::Planning | RunStatus::Undone | RunStatus::Cancelled | RunStatus::Undoing
    )
}

/// When copy and replay should be through, by the forecast that the plan was made with.
fn expected(incident: &Incident) -> Option<Timestamp> {
    let started = incident.clocks.run_started?;
    let forecast = incident.reach.as_ref()?.forecast.as_ref()?;
    let most = forecast.copy.1 + forecast.replay.1;
    started.checked_add(SignedDuration::try_from_secs_f64(most).ok()?).ok()
}

/// Only once it is certain: what was promised too early is worse than what came late.
fn loss(incident: &Incident) -> Option<String> {
    incident.clocks.serving?;
    let reach = incident.reach.as_ref()?;
    match (reach.lost_commits?, reach.lost_seconds) {
        (0, _) => Some(String::from("Nothing that was saved before the outage is lost.")),
        (_, Some(seconds)) => {
            let seconds = std::time::Duration::try_from_secs_f64(seconds).ok()?.as_secs();
            Some(format!(
                "What was saved in the last {} before the outage may have to be entered again.",
                minutes(seconds.max(60))
            ))
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::notify::message::fixture::{journal, runbook};

    #[test]
    fn each_stage_has_its_word_and_names_nothing_inside() {
        let entries = journal();
        let now: Timestamp = "2026-01-13T10:40:00Z".parse().unwrap();
        let mut seen = Vec::new();
        for most in 1..=entries.len() {
            let incident = Incident::replay(&entries[..most]).unwrap();
            let text = text(&incident, &runbook(), now);
            for inside in ["db1", "/var/lib", "public.", "alice", "0/"] {
                assert!(!text.contains(inside), "{inside} stands in:\n{text}");
            }
            assert_eq!(text.contains("Next news"), !text.starts_with("RESOLVED"), "{text}");
            let word = text.split(':').next().unwrap().to_owned();
            if seen.last() != Some(&word) {
                seen.push(word);
            }
        }
        assert_eq!(seen, ["INVESTIGATING", "IDENTIFIED", "MONITORING", "RESOLVED"]);
    }
}
