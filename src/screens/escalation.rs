//! The line that says that a level of the ladder was called and nobody has answered yet. It stands on
//! every screen of the incident, under the clocks, until somebody does.

use super::paint::Column;
use super::text;
use super::theme::Ink;
use super::view::View;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Role;
use crate::engine::incident::raised::{Because, Raised};
use ratatui::style::Modifier;
use ratatui::text::Span;

/// The level that waits for an answer: the highest that was called.
#[must_use]
pub fn unanswered(incident: &Incident) -> Option<&Raised> {
    let open = incident.clocks.serving.is_none() && incident.closing.is_none();
    incident.raised.last().filter(|raised| open && raised.acknowledged.is_none())
}

/// Rows that the line takes.
#[must_use]
pub fn rows(incident: &Incident) -> u16 {
    u16::from(unanswered(incident).is_some())
}

/// Draws the line, where there is one; gives the rows that it took.
pub fn draw(view: &View, incident: &Incident, column: &mut Column<'_>) -> u16 {
    let Some(raised) = unanswered(incident) else { return 0 };
    let key = if view.role().covers(Role::Operator) { "K: I answer" } else { "" };
    let raise = &raised.raise;
    let since = text::clock(view.now.duration_since(raised.at).as_secs_f64().max(0.0));
    let times = if raise.times > 1 { format!(" {}x", raise.times) } else { String::new() };
    let why = match raise.because {
        Because::Elapsed => "",
        Because::Breached => ", RTO is over",
        Because::Forecast => ", it will serve too late",
    };
    let who = text::clean(&raise.who);
    // What gives way first is why, then for how long.
    let forms = [
        format!(" ! LEVEL {} CALLED{times} {since} ago: {who}{why}", raise.level),
        format!(" ! LEVEL {} CALLED{times} {since} ago: {who}", raise.level),
        format!(" ! LEVEL {} CALLED: {who}", raise.level),
    ];
    let gap = if key.is_empty() { 0 } else { text::width(key) + 2 };
    let room = column.width().saturating_sub(gap);
    let fitting = forms.iter().find(|form| text::width(form) <= room).or(forms.last());
    let words = fitting.map(|form| text::fit(form, room, view.theme.ellipsis()));
    let words = super::paint::pad(&words.unwrap_or_default(), room, view.theme);
    let style = view.theme.style(Ink::Attention).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    let tail = if key.is_empty() { String::new() } else { format!(" {key} ") };
    column.spans(vec![Span::styled(words, style), Span::styled(tail, style)]);
    1
}
