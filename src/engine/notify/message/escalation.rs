//! The words of a call for a level of the ladder.

use crate::engine::incident::event::Declaration;
use crate::engine::incident::raised::Raise;

pub(super) fn headline(declaration: &Declaration, raise: &Raise) -> String {
    let (cluster, level, who) = (&declaration.cluster, &raise.level, &raise.who);
    match raise.times {
        0 | 1 => format!("{cluster}: level {level} is called: {who}"),
        times => format!("{cluster}: level {level} is called again ({times}): {who}"),
    }
}

/// Why, whom, and how to answer.
pub(super) fn text(incident: &str, raise: &Raise) -> String {
    let mut lines = vec![raise.why.clone()];
    lines.extend(raise.contacts.iter().map(|contact| format!("Call {contact}")));
    lines.push(format!(
        "Answer for it with K on any screen, or: lifeboat escalation {incident} --acknowledge"
    ));
    lines.join("\n")
}
