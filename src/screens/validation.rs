//! Validation: every check with one of four words, grouped, and the totals above.

use super::paint::Column;
use super::text;
use super::theme::Ink;
use super::view::View;
use super::widgets::checks;
use crate::engine::incident::facts::{Check, Verdict};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// The check under the cursor.
#[must_use]
pub fn selected(view: &View) -> Option<&Check> {
    let incident = view.incident.as_ref()?;
    let list = checks::ordered(incident.validated());
    list.get(view.cursor_in(0, list.len())).copied()
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    let Some(incident) = &view.incident else { return };
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let note = incident
        .clocks
        .validated
        .map_or_else(String::new, |at| format!("made {}", text::when(at, view.now)));
    column.title(false, "Checks of the recovered data", &note);
    if let Some(p) = view.progress.as_ref().filter(|p| p.job == "validate") {
        column.text(Ink::Accent, format!("{} ({})", text::clean(&p.label), p.done));
    }
    if incident.validated().is_empty() {
        let words = "No check has been made yet. They are made when the database serves again: counts, orphans, recent rows, indexes, plans, statistics, the application's own connection.";
        column.wrapped(Ink::Dim, words, 0, 4);
        return;
    }
    let mut totals = Vec::new();
    for verdict in [Verdict::Verified, Verdict::Failed, Verdict::CouldNotVerify, Verdict::NotRun] {
        let count = incident.validated().iter().filter(|c| c.verdict == verdict).count();
        let (ink, sign) = theme.verdict(verdict);
        let ink = if count == 0 { Ink::Dim } else { ink };
        totals.push(Span::styled(format!("{sign} {count} {}", verdict.word()), theme.style(ink)));
        totals.push(Span::raw("    "));
    }
    column.spans(totals);
    let rest = column.rest();
    // The selected check in full has a place where there is room for it.
    let (list, detail) = if rest.height >= 20 {
        super::split_rows(rest, rest.height - 7)
    } else if rest.height >= 9 {
        super::split_rows(rest, rest.height - 2)
    } else {
        (rest, Rect { height: 0, ..rest })
    };
    let at = view.cursor_in(0, incident.validated().len());
    checks::draw_grouped(theme, incident.validated(), at, list, buf);
    if let Some(check) = selected(view).filter(|_| detail.height > 0) {
        let mut column = Column::new(theme, detail, buf);
        column.title(false, &text::clean(&check.title), check.verdict.word());
        let rows = column.left();
        column.wrapped(Ink::Text, &text::clean(&check.detail), 0, rows);
    }
}
