//! Which entries of a journal are anchored, and when. Owns the rule, on values.
//!
//! At once: the gate, the beginning and end of each destructive step, decisions and other ends at
//! the target, a database that serves, undoing, a finished or cancelled run, the validation, and
//! the incident's end. Whatever else was written is anchored with the head, once a minute at most,
//! and when the runner ends.

use crate::engine::incident::{Entry, Event};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// Between two anchors of nothing but the head.
pub const EVERY: SignedDuration = SignedDuration::from_secs(60);
/// The step at whose end the database serves.
const OPEN: &str = "open";

/// Numbers of the entries that are anchored for what they are.
#[must_use]
pub fn marked(entries: &[Entry]) -> Vec<u64> {
    let mut destructive = BTreeSet::new();
    let mut marked = Vec::new();
    for entry in entries {
        let plan = match &entry.event {
            Event::PlanMade(plan) | Event::TargetMoved { plan, .. } => Some(plan),
            _ => None,
        };
        if let Some(plan) = plan {
            let steps = plan.steps.iter().filter(|step| step.destructive);
            destructive = steps.map(|step| step.id.clone()).collect();
        }
        let is_marked = match &entry.event {
            Event::GatePassed { .. }
            | Event::TargetMoved { .. }
            | Event::Decided { .. }
            | Event::UndoStarted
            | Event::UndoFinished
            | Event::RunCancelled { .. }
            | Event::RunFinished
            | Event::ValidationRun { .. }
            | Event::IncidentClosed { .. } => true,
            Event::StepStarted { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepUndone { step, .. } => destructive.contains(step),
            Event::StepFinished { step } => destructive.contains(step) || step == OPEN,
            _ => false,
        };
        if is_marked {
            marked.push(entry.seq);
        }
    }
    marked
}

/// Numbers of the entries to anchor now. `done` is the newest that was anchored, `last` when.
#[must_use]
pub fn due(
    entries: &[Entry],
    done: u64,
    last: Option<Timestamp>,
    now: Timestamp,
    ending: bool,
) -> Vec<u64> {
    let mut due: Vec<u64> = marked(entries).into_iter().filter(|seq| *seq > done).collect();
    let head = entries.last().map_or(0, |entry| entry.seq);
    let rested = last.is_none_or(|last| now.duration_since(last) >= EVERY);
    if head > done && due.last() != Some(&head) && (ending || (rested && due.is_empty())) {
        due.push(head);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::{Actor, Role, Topic};

    fn journal(events: Vec<Event>) -> Vec<Entry> {
        let actor = Actor { user: "anna".into(), uid: 1, role: Role::Commander };
        let at = "2025-01-13T10:00:00Z".parse().unwrap();
        let entry =
            |(seq, event)| Entry { seq, at, actor: actor.clone(), event, prev: String::new() };
        (1..).zip(events).map(entry).collect()
    }

    fn note() -> Event {
        Event::NoteAdded { topic: Topic::Note, text: String::from("a note") }
    }

    #[test]
    fn what_matters_is_anchored_at_once_and_the_rest_now_and_then() {
        let entries = journal(vec![
            note(),
            Event::GatePassed { plan_hash: String::new() },
            Event::StepStarted { step: String::from("look"), attempt: 1 },
            Event::StepFinished { step: String::from("open") },
            note(),
        ]);
        assert_eq!(marked(&entries), [2, 4]);
        let now: Timestamp = "2025-01-13T10:00:30Z".parse().unwrap();
        assert_eq!(due(&entries, 0, None, now, false), [2, 4]);
        assert_eq!(due(&entries, 0, None, now, true), [2, 4, 5]);
        // The head waits for its minute.
        let before = now - SignedDuration::from_secs(59);
        assert!(due(&entries, 4, Some(before), now, false).is_empty());
        assert_eq!(due(&entries, 4, Some(now - EVERY), now, false), [5]);
        assert_eq!(due(&entries, 4, Some(before), now, true), [5]);
        assert!(due(&entries, 5, Some(now - EVERY), now, true).is_empty());
        assert!(due(&[], 0, None, now, true).is_empty());
    }
}
