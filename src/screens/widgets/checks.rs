//! A list of checks with their four words, grouped by the part of the id before the colon.

use crate::engine::incident::facts::{Check, Verdict};
use crate::screens::paint::{Column, first_row};
use crate::screens::text;
use crate::screens::theme::{Ink, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// `12 VERIFIED, 1 FAILED`: only the words that occur.
#[must_use]
pub fn tally(checks: &[Check]) -> String {
    let of = |v: Verdict| checks.iter().filter(|c| c.verdict == v).count();
    let parts: Vec<String> =
        [Verdict::Verified, Verdict::Failed, Verdict::CouldNotVerify, Verdict::NotRun]
            .into_iter()
            .filter(|v| of(*v) > 0)
            .map(|v| format!("{} {}", of(v), v.word()))
            .collect();
    if parts.is_empty() { String::from(Verdict::NotRun.word()) } else { parts.join(", ") }
}

/// The group of a check: what its id says before the colon.
#[must_use]
pub fn group(check: &Check) -> &str {
    check.id.split_once(':').map_or("", |(group, _)| group)
}

/// A group's heading in words.
#[must_use]
pub fn heading(group: &str) -> String {
    match group {
        "" => String::from("Checks"),
        "counts" => String::from("Row counts"),
        "fk" => String::from("Foreign keys: rows without a parent"),
        "rows" => String::from("Tables as they are here"),
        "newest" => String::from("Newest rows"),
        "recent" => String::from("Recent rows"),
        "indexes" | "index" => String::from("Indexes"),
        "plans" | "plan" => String::from("Query plans"),
        "analyze" => String::from("Table statistics"),
        "application" | "app" => String::from("Application"),
        "probe" | "probes" => String::from("Integrity probes"),
        other => {
            let mut words = other.replace(['-', '_'], " ");
            if let Some(first) = words.get_mut(0..1) {
                first.make_ascii_uppercase();
            }
            words
        }
    }
}

/// Draws them as rows; `selected` has the pointer.
pub fn draw(theme: Theme, checks: &[Check], selected: Option<usize>, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(theme, area, buf);
    let rows = usize::from(column.left());
    let first = first_row(selected.unwrap_or(0), checks.len(), rows);
    for (i, check) in checks.iter().enumerate().skip(first).take(rows) {
        row(&mut column, check, selected == Some(i));
    }
}

/// Grouped, each group under its heading, in the order of first appearance.
pub fn draw_grouped(theme: Theme, checks: &[Check], selected: usize, area: Rect, buf: &mut Buffer) {
    enum Row<'a> {
        Heading(&'a str),
        Check(usize, &'a Check),
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut at = 0;
    for (i, check) in ordered(checks).into_iter().enumerate() {
        let here = group(check);
        let before = rows.iter().rev().find_map(|r| match r {
            Row::Check(_, c) => Some(group(c)),
            Row::Heading(_) => None,
        });
        if before != Some(here) {
            rows.push(Row::Heading(here));
        }
        if i == selected {
            at = rows.len();
        }
        rows.push(Row::Check(i, check));
    }
    let mut column = Column::new(theme, area, buf);
    let visible = usize::from(column.left());
    let first = first_row(at, rows.len(), visible);
    for r in rows.iter().skip(first).take(visible) {
        match r {
            Row::Heading(name) => column.text(Ink::Strong, heading(name)),
            Row::Check(i, check) => row(&mut column, check, *i == selected),
        }
    }
}

/// The checks with those of one group together.
#[must_use]
pub fn ordered(checks: &[Check]) -> Vec<&Check> {
    let mut groups: Vec<&str> = Vec::new();
    for check in checks {
        if !groups.contains(&group(check)) {
            groups.push(group(check));
        }
    }
    let place = |c: &&Check| groups.iter().position(|g| *g == group(c));
    let mut list: Vec<&Check> = checks.iter().collect();
    list.sort_by_key(place);
    list
}

fn row(column: &mut Column<'_>, check: &Check, selected: bool) {
    let theme = column.theme;
    let (ink, sign) = theme.verdict(check.verdict);
    // What was counted with nothing to compare it with was run, whatever the verdict's word says.
    let counted = check.verdict == Verdict::NotRun && check.found.is_some();
    let word = if counted { "counted" } else { check.verdict.word() };
    let room = column.width().saturating_sub(2);
    // The word has a column of its own at the right, as wide as the longest of the four.
    let words = if room >= 60 { 17 } else { text::width(word) + 1 };
    let found = match (&check.expected, &check.found) {
        (Some(e), Some(f)) if e != f => format!("{f}, expected {e}"),
        (_, Some(f)) => f.clone(),
        (Some(e), None) => format!("expected {e}"),
        (None, None) => String::new(),
    };
    let found = text::clean(&found);
    let left = room.saturating_sub(words + 2);
    let title_wants = text::width(&text::clean(&check.title)) + 1;
    let most = (left / 2).max(left.saturating_sub(title_wants));
    // Cut in the middle it says nothing: what was found comes before what was expected.
    let found = match &check.found {
        Some(alone) if text::width(&found) > most => text::clean(alone),
        _ => found,
    };
    let found_room = text::width(&found).min(most);
    let title_room = left.saturating_sub(found_room + usize::from(found_room > 0));
    let title = super::super::paint::pad(&text::clean(&check.title), title_room, theme);
    let found = text::fit(&found, found_room, theme.ellipsis());
    let gap = if found_room > 0 { " " } else { "" };
    column.row(
        selected,
        vec![
            Span::styled(format!("{sign} "), theme.style(ink)),
            Span::styled(title, theme.style(Ink::Text)),
            Span::styled(format!("{gap}{found}"), theme.style(Ink::Dim)),
            Span::styled(format!(" {word}"), theme.style(ink)),
        ],
    );
}
