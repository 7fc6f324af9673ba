//! The words of a reminder of the checklist.

use crate::engine::incident::care::Reminder;
use crate::engine::incident::event::Declaration;
use crate::engine::incident::model::Incident;
use crate::engine::runbook::Runbook;

pub(super) fn headline(declaration: &Declaration, reminder: &Reminder) -> String {
    let told = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 line {word}")),
        count => Some(format!("{count} lines {word}")),
    };
    let parts = [told(reminder.overdue.len(), "overdue"), told(reminder.soon.len(), "due soon")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}: checklist of {}: {}", declaration.cluster, declaration.id, parts.join(", "))
}

/// Each line with whose task it is, overdue ones first, and how to settle them.
pub(super) fn text(incident: &Incident, runbook: &Runbook, reminder: &Reminder) -> String {
    let mut lines = Vec::new();
    for (word, items) in [("OVERDUE", &reminder.overdue), ("Due soon", &reminder.soon)] {
        for id in items {
            let item = runbook.checklist().iter().find(|item| item.id == *id);
            let text = item.map_or(id.as_str(), |item| item.text.as_str());
            let owner = incident.owners.get(id).map(|owner| format!(" ({owner})"));
            lines.push(format!("{word}: {text}{}", owner.unwrap_or_default()));
        }
    }
    lines.push(format!("Settle them with: lifeboat checklist {}", incident.declaration.id));
    lines.join("\n")
}
