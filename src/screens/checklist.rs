//! Checklist: the runbook's lines and the safety list by when they are due, each with who settled
//! it, when and on what evidence; what the tool can do itself is run from here.
//!
//! ```text
//! After the recovery 2 of 30 settled
//! Within 1 hour  due in 50 min
//!   ✓ Database accessibility confirmed                 ann 14:20:00
//! ▸ ○ Sequences beyond what was handed out                   FAILED
//! Evidence: FAILED
//! public.orders_id_seq: 41 … y: 1 proposed
//! ```

use super::drill;
use super::paint::{Column, first_row};
use super::text;
use super::theme::Ink;
use super::view::{Page, View};
use crate::engine::aftercare;
use crate::engine::checklist::{Checklist, LATER_WRITES, Line, State, applies};
use crate::engine::incident::Incident;
use crate::engine::incident::care::{CareState, Proposal};
use crate::engine::incident::facts::Verdict;
use crate::engine::runbook::{ChecklistItem, Horizon};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// The name under which a run of an item tells its progress.
const JOB: &str = "care";

/// The lines in the order in which they are due.
#[must_use]
pub fn lines(view: &View) -> Vec<&ChecklistItem> {
    let incident = view.incident.as_ref().map(|incident| incident.settled());
    Horizon::ALL
        .iter()
        .flat_map(|h| view.runbook.checklist().iter().filter(move |i| i.horizon == *h))
        .filter(|item| incident.as_ref().is_none_or(|i| applies(item, i)))
        .collect()
}

/// The line under the cursor.
#[must_use]
pub fn selected(view: &View) -> Option<&ChecklistItem> {
    let list = lines(view);
    let at = view.cursors.get(&(Page::Checklist, 0)).copied().unwrap_or(0);
    list.get(at.min(list.len().saturating_sub(1))).copied()
}

/// The item of the safety list that the selected line executes.
#[must_use]
pub fn selected_item(view: &View) -> Option<&'static aftercare::Item> {
    aftercare::item(&selected(view)?.executes)
}

/// How the selected line's item stands, once it was run.
#[must_use]
pub fn selected_care(view: &View) -> Option<&CareState> {
    view.incident.as_ref()?.care.get(selected_item(view)?.id)
}

/// What the selected line's item proposes now.
#[must_use]
pub fn proposals(view: &View) -> &[Proposal] {
    selected_care(view).map_or(&[], CareState::proposals)
}

/// Whether an item is being run by this incident's runner.
#[must_use]
pub fn running(view: &View) -> bool {
    view.incident.as_ref().is_some_and(|i| i.care.values().any(|care| care.running.is_some()))
}

/// Signed, or waived with a reason.
#[must_use]
pub fn is_settled(incident: &Incident, item: &str) -> bool {
    incident.waived.contains_key(item) || incident.signed.get(item).is_some_and(|s| s.sign.done)
}

/// The first line that is neither signed nor waived; in a drill of those that are part of it.
#[must_use]
pub fn next_open(view: &View) -> Option<&ChecklistItem> {
    let incident = view.incident.as_ref()?;
    lines(view)
        .into_iter()
        .filter(|item| !drill::is_for_earnest(view, item.horizon))
        .find(|item| !is_settled(incident, &item.id))
}

/// How many lines are settled, in words; in a drill those that are part of it.
#[must_use]
pub fn tally(view: &View) -> String {
    let Some(incident) = &view.incident else { return String::new() };
    let list = lines(view);
    let (earnest, here): (Vec<_>, Vec<_>) =
        list.into_iter().partition(|item| drill::is_for_earnest(view, item.horizon));
    let settled = here.iter().filter(|item| is_settled(incident, &item.id)).count();
    let left = match earnest.len() {
        0 => String::new(),
        count => format!("; {count} more are for real incidents alone"),
    };
    format!("{settled} of {} settled{left}", here.len())
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    enum Row<'a> {
        Heading(Horizon),
        Line(usize, &'a Line),
    }
    let Some(incident) = &view.incident else { return };
    let checklist = Checklist::of(incident, &view.runbook, view.now);
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let list: Vec<(Horizon, &Line)> = checklist
        .parts
        .iter()
        .flat_map(|part| part.lines.iter().map(|line| (part.horizon, line)))
        .collect();
    column.title(false, "After the recovery", &tally(view));
    for waiver in &checklist.waivers {
        column.text(Ink::Bad, format!("! {}", text::clean(waiver)));
    }
    let at = view.cursor_in(0, list.len());
    let mut rows = Vec::new();
    let mut before = None;
    let mut at_row = 0;
    for (i, (horizon, line)) in list.iter().enumerate() {
        if before != Some(*horizon) {
            rows.push(Row::Heading(*horizon));
            before = Some(*horizon);
        }
        if i == at {
            at_row = rows.len();
        }
        rows.push(Row::Line(i, line));
    }
    // The selected line's evidence has the last rows: as many as its words need, as far as the list
    // keeps half of them.
    let said = list.get(at).map(|(_, line)| evidence(view, incident, line));
    let needed = said.as_ref().map_or(0, |(_, words)| text::wrap(words, column.width()).len() + 1);
    let least = if column.left() >= 20 { 6 } else { 3 };
    let below = u16::try_from(needed).unwrap_or(u16::MAX).min(column.left() / 2).max(least);
    let visible = usize::from(column.left().saturating_sub(below));
    let first = first_row(at_row, rows.len(), visible);
    for row in rows.iter().skip(first).take(visible) {
        match row {
            Row::Heading(horizon) => heading(view, &checklist, *horizon, &mut column),
            Row::Line(i, line) => draw_line(view, incident, line, *i == at, &mut column),
        }
    }
    let used = column.left().saturating_sub(below);
    column.skip(used);
    if let (Some((_, line)), Some((ink, words))) = (list.get(at), said) {
        detail(incident, line, (ink, &words), &mut column);
    }
}

fn heading(view: &View, checklist: &Checklist, horizon: Horizon, column: &mut Column<'_>) {
    let theme = view.theme;
    let Some(part) = checklist.parts.iter().find(|part| part.horizon == horizon) else { return };
    let open = part.lines.iter().any(|line| !line.is_settled());
    let (ink, words) = match part.due {
        _ if open && drill::is_for_earnest(view, horizon) => {
            (Ink::Dim, String::from("in earnest alone; not part of this drill"))
        }
        Some(at) if open && at < view.now => {
            (Ink::Attention, format!("! was due {}", text::ago(at, view.now)))
        }
        Some(at) if open => (Ink::Dim, format!("due {}", text::ago(at, view.now))),
        Some(_) => (Ink::Good, String::from("all settled")),
        None => (Ink::Dim, String::from("from when the database serves again")),
    };
    column.spans(vec![
        Span::styled(format!("{}  ", part.title), theme.style(Ink::Strong)),
        Span::styled(words, theme.style(ink)),
    ]);
}

fn draw_line(
    view: &View,
    incident: &Incident,
    line: &Line,
    selected: bool,
    column: &mut Column<'_>,
) {
    let theme = view.theme;
    let who = |by: &str| text::fit(by, 10, theme.ellipsis());
    let (ink, sign, by) = match &line.state {
        State::Signed { by, at, .. } => {
            (Ink::Good, theme.glyph("✓", "+"), format!("{} {}", who(by), text::time(*at)))
        }
        State::Waived { by, .. } => {
            (Ink::Attention, theme.glyph("–", "-"), format!("{} waived", who(by)))
        }
        State::Open | State::Overdue if incident.signed.contains_key(&line.id) => {
            (Ink::Attention, "!", String::from("reopened"))
        }
        State::Open | State::Overdue => {
            let (ink, word) = standing(view, incident, line);
            (ink, theme.glyph("○", "o"), word)
        }
    };
    let room = column.width().saturating_sub(4 + text::width(&by) + 1);
    column.row(
        selected,
        vec![
            Span::styled(format!("{sign} "), theme.style(ink)),
            Span::styled(super::paint::pad(&line.text, room, theme), theme.style(Ink::Text)),
            Span::styled(format!(" {by}"), theme.style(ink)),
        ],
    );
}

/// How a line stands that nobody has settled: by its item's run, else whose task it is.
fn standing(view: &View, incident: &Incident, line: &Line) -> (Ink, String) {
    let owned = || line.owner.clone().unwrap_or_else(|| String::from("open"));
    if aftercare::item(&line.executes).is_none() {
        return (Ink::Dim, text::fit(&owned(), 14, view.theme.ellipsis()));
    }
    match incident.care.get(&line.executes) {
        None => (Ink::Dim, String::from("not run")),
        Some(care) if care.running.is_some() => (Ink::Attention, String::from("running")),
        Some(care) if care.interrupted => (Ink::Attention, String::from("broken off")),
        Some(care) => {
            let verdict = care.verdict();
            (ink_of(verdict), verdict.word().to_owned())
        }
    }
}

fn ink_of(verdict: Verdict) -> Ink {
    match verdict {
        Verdict::Verified => Ink::Good,
        Verdict::Failed => Ink::Bad,
        Verdict::NotRun | Verdict::CouldNotVerify => Ink::Attention,
    }
}

fn detail(incident: &Incident, line: &Line, said: (Ink, &str), column: &mut Column<'_>) {
    let care = incident.care.get(&line.executes);
    let owner = line.owner.as_ref().map(|owner| format!("task of {}", text::clean(owner)));
    let word = care.filter(|care| care.last.is_some()).map(|care| care.verdict().word().to_owned());
    let right: Vec<String> = [word, owner].into_iter().flatten().collect();
    column.title(false, "Evidence", &right.join(", "));
    let rows = column.left();
    column.wrapped(said.0, said.1, 0, rows);
}

/// What a line was settled with, or what is known of it.
fn evidence(view: &View, incident: &Incident, line: &Line) -> (Ink, String) {
    match &line.state {
        State::Signed { by, at, evidence, .. } => {
            (Ink::Text, format!("{} ({by}, {})", text::clean(evidence), text::when(*at, view.now)))
        }
        State::Waived { by, at, reason } => (
            Ink::Text,
            format!("Waived: {} ({by}, {})", text::clean(reason), text::when(*at, view.now)),
        ),
        State::Open | State::Overdue => match incident.care.get(&line.executes) {
            Some(care) => run_of(view, line, care),
            None if line.id == LATER_WRITES => left_behind(line),
            None => (Ink::Dim, hint(line)),
        },
    }
}

/// What is in the kept directory alone, and what came back of it.
fn left_behind(line: &Line) -> (Ink, String) {
    let Some(proposal) = &line.proposal else { return (Ink::Dim, hint(line)) };
    let ways = "B: bring back; w: give up, with the reason";
    (ink_of(proposal.verdict), format!("{}. {ways}", text::clean(&proposal.text)))
}

fn hint(line: &Line) -> String {
    match aftercare::item(&line.executes) {
        Some(item) => format!("x: {} What counts: {}", item.looks, line.hint),
        None => format!("What counts: {}", line.hint),
    }
}

/// What a run does now, or what the last one found.
fn run_of(view: &View, line: &Line, care: &CareState) -> (Ink, String) {
    if care.running.is_some() {
        let progress = view.progress.as_ref().filter(|progress| progress.job == JOB);
        let words = progress.map(|p| match p.total {
            Some(total) if total > 0 => {
                format!("{} ({} of {total})", text::clean(&p.label), text::count(p.done))
            }
            _ => text::clean(&p.label),
        });
        let words = words.unwrap_or_else(|| String::from("begun"));
        return (Ink::Attention, format!("Running: {words}. It goes on if you leave."));
    }
    if care.interrupted {
        let words = "The runner ended in the middle of it. x looks what was done and goes on.";
        return (Ink::Attention, String::from(words));
    }
    let Some(last) = &care.last else { return (Ink::Dim, hint(line)) };
    // What stands out comes first.
    let worst = care.verdict();
    let mut words: Vec<String> = last
        .checks
        .iter()
        .filter(|check| check.verdict == worst)
        .take(3)
        .map(|check| match &check.found {
            Some(found) => format!("{}: {}", text::clean(&check.title), text::clean(found)),
            None => text::clean(&check.title),
        })
        .collect();
    match care.proposals().len() {
        0 => words.push(String::from("d shows all")),
        count => words.insert(0, format!("y: {count} proposed")),
    }
    (ink_of(worst), words.join("; "))
}
