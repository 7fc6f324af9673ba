//! Checklist: the runbook's lines by when they are due, each with who signed it, when and on what
//! evidence.

use super::paint::{Column, first_row};
use super::text;
use super::theme::Ink;
use super::view::{Page, View};
use crate::engine::incident::Incident;
use crate::engine::runbook::{ChecklistItem, Horizon};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// The lines in the order in which they are due.
#[must_use]
pub fn lines(view: &View) -> Vec<&ChecklistItem> {
    Horizon::ALL
        .iter()
        .flat_map(|h| view.runbook.checklist().iter().filter(move |i| i.horizon == *h))
        .collect()
}

/// The line under the cursor.
#[must_use]
pub fn selected(view: &View) -> Option<&ChecklistItem> {
    let list = lines(view);
    let at = view.cursors.get(&(Page::Checklist, 0)).copied().unwrap_or(0);
    list.get(at.min(list.len().saturating_sub(1))).copied()
}

#[must_use]
pub fn is_signed(incident: &Incident, item: &str) -> bool {
    incident.signed.get(item).is_some_and(|s| s.sign.done)
}

/// The first line that nobody has signed.
#[must_use]
pub fn next_open(view: &View) -> Option<&ChecklistItem> {
    let incident = view.incident.as_ref()?;
    lines(view).into_iter().find(|i| !is_signed(incident, &i.id))
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    enum Row<'a> {
        Heading(Horizon),
        Line(usize, &'a ChecklistItem),
    }
    let Some(incident) = &view.incident else { return };
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let list = lines(view);
    let signed = list.iter().filter(|i| is_signed(incident, &i.id)).count();
    column.title(false, "After the recovery", &format!("{signed} of {} signed", list.len()));
    let at = view.cursor_in(0, list.len());
    let mut rows = Vec::new();
    let mut before = None;
    let mut at_row = 0;
    for (i, item) in list.iter().enumerate() {
        if before != Some(item.horizon) {
            rows.push(Row::Heading(item.horizon));
            before = Some(item.horizon);
        }
        if i == at {
            at_row = rows.len();
        }
        rows.push(Row::Line(i, item));
    }
    // The selected line's evidence has the last rows.
    let below = if column.left() >= 20 { 5 } else { 2 };
    let visible = usize::from(column.left().saturating_sub(below));
    let first = first_row(at_row, rows.len(), visible);
    for row in rows.iter().skip(first).take(visible) {
        match row {
            Row::Heading(horizon) => heading(view, incident, *horizon, &mut column),
            Row::Line(i, item) => line(view, incident, item, *i == at, &mut column),
        }
    }
    let used = column.left().saturating_sub(below);
    column.skip(used);
    if let Some(item) = list.get(at) {
        detail(view, incident, item, &mut column);
    }
}

fn heading(view: &View, incident: &Incident, horizon: Horizon, column: &mut Column<'_>) {
    let theme = view.theme;
    let texts = view.runbook.horizon(horizon);
    let title = texts.map_or("", |t| t.title.as_str());
    let due = match (incident.clocks.serving, texts) {
        (Some(from), Some(t)) => {
            let span =
                jiff::SignedDuration::from_secs(i64::try_from(t.seconds).unwrap_or(i64::MAX));
            from.checked_add(span).ok()
        }
        _ => None,
    };
    let open = lines(view).into_iter().any(|i| i.horizon == horizon && !is_signed(incident, &i.id));
    let (ink, words) = match due {
        Some(at) if open && at < view.now => {
            (Ink::Attention, format!("! was due {}", text::ago(at, view.now)))
        }
        Some(at) if open => (Ink::Dim, format!("due {}", text::ago(at, view.now))),
        Some(_) => (Ink::Good, String::from("all signed")),
        None => (Ink::Dim, String::from("from when the database serves again")),
    };
    column.spans(vec![
        Span::styled(format!("{title}  "), theme.style(Ink::Strong)),
        Span::styled(words, theme.style(ink)),
    ]);
}

fn line(
    view: &View,
    incident: &Incident,
    item: &ChecklistItem,
    selected: bool,
    column: &mut Column<'_>,
) {
    let theme = view.theme;
    let (ink, sign, by) = match incident.signed.get(&item.id) {
        Some(s) if s.sign.done => {
            let who = text::fit(&s.by, 10, theme.ellipsis());
            (Ink::Good, theme.glyph("✓", "+"), format!("{who} {}", text::time(s.at)))
        }
        Some(_) => (Ink::Attention, "!", String::from("reopened")),
        None => (Ink::Dim, theme.glyph("○", "o"), String::from("open")),
    };
    let room = column.width().saturating_sub(4 + text::width(&by) + 1);
    column.row(
        selected,
        vec![
            Span::styled(format!("{sign} "), theme.style(ink)),
            Span::styled(super::paint::pad(&item.text, room, theme), theme.style(Ink::Text)),
            Span::styled(format!(" {by}"), theme.style(ink)),
        ],
    );
}

fn detail(view: &View, incident: &Incident, item: &ChecklistItem, column: &mut Column<'_>) {
    column.title(false, "Evidence", "");
    match incident.signed.get(&item.id) {
        Some(s) => {
            let words = format!(
                "{} ({}, {})",
                text::clean(&s.sign.evidence),
                s.by,
                text::when(s.at, view.now)
            );
            let rows = column.left();
            column.wrapped(Ink::Text, &words, 0, rows);
        }
        None => {
            let rows = column.left();
            column.wrapped(Ink::Dim, &format!("What counts: {}", item.hint), 0, rows);
        }
    }
}
