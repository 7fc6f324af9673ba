//! What somebody is reminded of: lines whose time is nearly over, and lines whose time is over, each
//! once. Owns that rule; sends nothing.

use super::{Checklist, State};
use crate::engine::incident::Incident;
use crate::engine::incident::care::Reminder;
use crate::engine::runbook::Runbook;
use jiff::Timestamp;

/// What to remind of at `now`: a line is due soon in the last quarter of its time. `None` where there
/// is nothing, or it was told before; closed incidents remind of nothing.
#[must_use]
pub fn reminder(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Option<Reminder> {
    incident.clocks.serving?;
    if incident.closing.is_some() {
        return None;
    }
    let list = Checklist::of(incident, runbook, now);
    let since = list.since?;
    let mut reminder = Reminder::default();
    for line in list.open() {
        let Some(due) = line.due else { continue };
        let told = incident.reminded.get(&line.id).copied().unwrap_or_default();
        let quarter = due.duration_since(since) / 4;
        if line.state == State::Overdue {
            if told.overdue.is_none() {
                reminder.overdue.push(line.id.clone());
            }
        } else if told.soon.is_none() && due.duration_since(now) <= quarter {
            reminder.soon.push(line.id.clone());
        }
    }
    (reminder != Reminder::default()).then_some(reminder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::event::Event;
    use crate::engine::incident::fixture::{at, declared, finish, running, start, tell};

    fn serving() -> Incident {
        let mut incident = declared();
        running(&mut incident, "10:05:00");
        start(&mut incident, "10:05:00", "open");
        finish(&mut incident, "10:10:00", "open");
        incident
    }

    fn look(incident: &mut Incident, time: &str) -> Option<Reminder> {
        let reminder = reminder(incident, &Runbook::load(None).unwrap(), at(time))?;
        tell(incident, time, Event::ChecklistReminded(reminder.clone()));
        Some(reminder)
    }

    #[test]
    fn a_line_is_named_once_before_and_once_after_its_time() {
        let mut incident = serving();
        let item = || String::from("jobs");
        tell(
            &mut incident,
            "10:20:00",
            Event::ChecklistWaived { item: item(), reason: String::from("none") },
        );
        assert_eq!(look(&mut incident, "10:54:59"), None);
        let first = look(&mut incident, "10:55:00").unwrap();
        assert_eq!((first.soon.len(), first.overdue.len()), (13, 0));
        assert!(!first.soon.contains(&item()));
        assert_eq!(look(&mut incident, "11:10:00"), None);
        let second = look(&mut incident, "11:10:01").unwrap();
        assert_eq!((second.soon.len(), second.overdue.len()), (0, 13));
        assert_eq!(look(&mut incident, "12:00:00"), None);
        // What is reopened after its time is named, since it was not before.
        let reason = String::from("there are some");
        tell(
            &mut incident,
            "12:00:00",
            Event::ChecklistSigned(crate::engine::incident::facts::SignOff {
                item: item(),
                done: false,
                evidence: reason,
            }),
        );
        assert_eq!(look(&mut incident, "12:00:01").unwrap().overdue, [item()]);
    }

    #[test]
    fn nobody_is_reminded_before_the_database_serves_or_once_all_is_closed() {
        let mut incident = declared();
        assert_eq!(look(&mut incident, "23:00:00"), None);
        let mut incident = serving();
        let summary = String::from("done");
        tell(&mut incident, "10:30:00", Event::IncidentClosed { summary });
        assert_eq!(look(&mut incident, "23:00:00"), None);
    }
}
