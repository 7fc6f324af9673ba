//! The server waits at the recovery point: where it stands, the tables as they are there, what the
//! probes say, and, once several points were tried, each beside the others. Also which later
//! points are worth offering, and what one costs. Draws and judges; sends nothing.
//!
//! ```text
//! At the recovery point closed to the application ────────────────
//! stands    2026-11-22 14:02:48.004 +00:00, LSN 1/2A4F3C18
//! stopped   just before LSN 1/2A4F3C18
//!                            here             try 1
//!                            14:02:51.312     14:02:48.004
//!   Rows of public.orders  ≠ ✗ 2,777          ✓ 50,988
//! P promote  L later  E earlier  A abandon
//! ```

use super::commands::{self, Id};
use super::paint::{Column, first_row, pad};
use super::theme::Ink;
use super::view::View;
use super::{text, widgets};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Check, Reach, Target, TargetPoint, Try};
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use ratatui::text::Span;

/// The least width of a point's column.
const POINT: usize = 20;
/// The least width of the checks' names beside them.
const NAMES: usize = 26;
/// Stopping and starting the server, seconds.
const AROUND: (f64, f64) = (1.0, 10.0);

/// The server waits for the decision to promote.
#[must_use]
pub fn waits(incident: &Incident) -> bool {
    incident.waits()
}

/// The points tried, the one where the server stands first.
#[must_use]
pub fn newest_first(incident: &Incident) -> Vec<&Try> {
    incident.tries.iter().rev().collect()
}

/// The checks of all points by their ids, in the order of the newest point.
fn ids(tries: &[&Try]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for check in tries.iter().flat_map(|tried| &tried.checks) {
        if !ids.contains(&check.id) {
            ids.push(check.id.clone());
        }
    }
    ids
}

/// How many rows the checks have.
#[must_use]
pub fn rows(incident: &Incident) -> usize {
    ids(&newest_first(incident)).len()
}

/// A check of any point tried, by its row: the newest point that has it.
#[must_use]
pub fn selected(view: &View) -> Option<&Check> {
    let incident = view.incident.as_ref()?;
    let tries = newest_first(incident);
    let ids = ids(&tries);
    let id = ids.get(view.cursor_in(1, ids.len()))?;
    tries.into_iter().find_map(|tried| tried.checks.iter().find(|c| c.id == *id))
}

/// How many of the points do not fit beside the newest.
#[must_use]
pub fn more_points(view: &View) -> bool {
    let tries = view.incident.as_ref().map_or(0, |i| i.tries.len());
    tries > fitting(usize::from(view.size.0.saturating_sub(2)))
}

fn fitting(width: usize) -> usize {
    (width.saturating_sub(NAMES) / (POINT + 1)).clamp(2, 4)
}

pub fn draw(view: &View, incident: &Incident, column: &mut Column<'_>) {
    column.title(view.panel == 1, "At the recovery point", "closed to the application");
    let tries = newest_first(incident);
    let Some(here) = tries.first() else {
        if let Some(state) = incident.current_step() {
            super::restore::notes(state, column);
        }
        keys(view, column);
        return;
    };
    column.field("stands", 10, (Ink::Strong, &stands(view, here)), 2);
    // Where rows are few, the checks come first; what was asked for stands in the report too.
    let all = rows(incident) + 2;
    if tries.len() == 1 || usize::from(column.left()) > all {
        column.field("stopped", 10, (Ink::Text, &here.target.to_string()), 1);
    }
    if let Some((_, words)) = incident
        .current_step()
        .into_iter()
        .flat_map(|s| &s.notes)
        .find(|(name, _)| name == "settings_raised")
    {
        column.field("raised", 10, (Ink::Attention, &text::clean(words)), 2);
    }
    // The key bar names the keys too: the checks go before their words.
    let below = if usize::from(column.left()) >= all + 5 { 4 } else { 0 };
    let room = column.left().saturating_sub(below);
    if tries.len() > 1 {
        beside(view, &tries, room, column);
    } else {
        let area = ratatui::layout::Rect { height: room, ..column.rest() };
        let at = (view.panel == 1).then(|| view.cursor_in(1, here.checks.len()));
        let theme = view.theme;
        widgets::checks::draw(theme, &here.checks, at, area, column.buffer());
        let used = u16::try_from(here.checks.len()).unwrap_or(room).min(room);
        column.skip(used);
    }
    if below > 0 {
        keys(view, column);
    }
}

/// The time of the last commit that is there, with its offset and in the operator's own zone.
fn stands(view: &View, tried: &Try) -> String {
    let lsn = tried.reached_lsn.map(|lsn| format!("LSN {lsn}"));
    let at = tried.reached_time.map(|at| {
        let utc = at.strftime("%Y-%m-%d %H:%M:%S%.3f +00:00").to_string();
        let own = at.to_zoned(view.zone.clone());
        if own.offset() == jiff::tz::Offset::UTC {
            utc
        } else {
            format!("{utc} ({})", own.strftime("%H:%M:%S %:z"))
        }
    });
    let parts: Vec<String> = at.into_iter().chain(lsn).collect();
    if parts.is_empty() { String::from("not known") } else { parts.join(", ") }
}

/// The points side by side: one row a check, what differs marked.
fn beside(view: &View, tries: &[&Try], rows: u16, column: &mut Column<'_>) {
    let theme = view.theme;
    let fit = fitting(column.width());
    let number = |i: usize| tries.len() - i;
    // The newest stays; the others pass by its side.
    let others = tries.len() - 1;
    let from = view.cursor(2) % others.max(1);
    let shown: Vec<usize> = std::iter::once(0)
        .chain((0..others.min(fit - 1)).map(|i| 1 + (from + i) % others))
        .collect();
    let width = (column.width().saturating_sub(NAMES) / shown.len()).saturating_sub(1);
    let width = width.min(if column.width() < 100 { 22 } else { 28 });
    let names = column.width().saturating_sub((width + 1) * shown.len() + 4);
    let mut head = |name: &str, cell: &dyn Fn(usize, &Try) -> String, ink: Ink| {
        let mut spans = vec![Span::styled(pad(name, names + 4, theme), theme.style(Ink::Dim))];
        for &i in &shown {
            if let Some(tried) = tries.get(i) {
                spans.push(Span::styled(pad(&cell(i, tried), width + 1, theme), theme.style(ink)));
            }
        }
        column.spans(spans);
    };
    let title = |i: usize, _: &Try| match i {
        0 => String::from("here"),
        i => format!("try {} of {}", number(i), tries.len()),
    };
    head("", &title, Ink::Strong);
    let dated = {
        let days = |t: &&Try| t.reached_time.map(|at| at.strftime("%F").to_string());
        tries.iter().map(days).collect::<std::collections::BTreeSet<_>>().len() > 1
    };
    let time = |_: usize, tried: &Try| {
        let form = if dated { "%m-%d %H:%M:%S UTC" } else { "%H:%M:%S%.3f UTC" };
        tried.reached_time.map_or_else(|| String::from("-"), |at| at.strftime(form).to_string())
    };
    head("last commit", &time, Ink::Text);
    let full = usize::from(rows) > ids(tries).len() + 3;
    if full {
        let lsn = |_: usize, t: &Try| t.reached_lsn.map_or_else(|| "-".into(), |l| l.to_string());
        head("LSN", &lsn, Ink::Dim);
    }
    let used = if full { 3 } else { 2 };
    let hidden = others > fit - 1;
    let visible = usize::from(rows.saturating_sub(used + u16::from(hidden)));
    let ids = ids(tries);
    let at = view.cursor_in(1, ids.len());
    let first = first_row(if view.panel == 1 { at } else { 0 }, ids.len(), visible);
    for (row, id) in ids.iter().enumerate().skip(first).take(visible) {
        let of = |i: usize| tries.get(i).and_then(|t| t.checks.iter().find(|c| c.id == *id));
        let title = (0..tries.len()).find_map(of).map_or("", |c| c.title.as_str());
        let mut seen = (0..tries.len()).map(|i| of(i).map(|c| (c.verdict, &c.found)));
        let newest = seen.next();
        let differs = seen.any(|other| Some(other) != newest);
        let mark = if differs { theme.glyph("≠", "#") } else { " " };
        let ink = if differs { Ink::Attention } else { Ink::Text };
        let mut spans = vec![
            Span::styled(
                pad(&text::clean(title), names.saturating_sub(1), theme) + " ",
                theme.style(Ink::Text),
            ),
            Span::styled(format!("{mark} "), theme.style(ink)),
        ];
        for &i in &shown {
            spans.extend(cell(view, of(i), width));
        }
        column.row(view.panel == 1 && row == at, spans);
    }
    if hidden {
        let words = format!("{} points tried; o shows the next of them here", tries.len());
        column.text(Ink::Dim, words);
    }
}

fn cell(view: &View, check: Option<&Check>, width: usize) -> Vec<Span<'static>> {
    let theme = view.theme;
    let Some(check) = check else {
        return vec![Span::styled(pad("- not asked", width + 1, theme), theme.style(Ink::Dim))];
    };
    let (ink, sign) = theme.verdict(check.verdict);
    let found = text::clean(check.found.as_deref().unwrap_or(check.verdict.word()));
    // Of a moment the time of day is what tells points apart.
    let found = match (check.id.starts_with("newest:"), found.split_once(' ')) {
        (true, Some((_, time))) if text::width(&found) + 2 > width => time.to_owned(),
        _ => found,
    };
    vec![
        Span::styled(format!("{sign} "), theme.style(ink)),
        Span::styled(
            pad(&found, width.saturating_sub(2), theme) + " ",
            theme.style(if ink == Ink::Good { Ink::Text } else { ink }),
        ),
    ]
}

fn keys(view: &View, column: &mut Column<'_>) {
    for (id, words) in [
        (Id::Promote, "the data is right: open the database"),
        (Id::GoLater, "a later point: the server goes on, nothing is copied"),
        (Id::GoEarlier, "an earlier point: restored anew, what is equal from this disk"),
        (Id::Abandon, "stop here and decide later what to do"),
    ] {
        let key = commands::by_id(id).map_or_else(String::new, |c| c.key.to_string());
        column.spans(vec![
            Span::styled(key, view.theme.style(Ink::Key)),
            Span::styled(format!("  {words}"), view.theme.style(Ink::Text)),
        ]);
    }
}

/// Up to where the server has replayed; it cannot go back behind that.
#[must_use]
pub fn stands_at(incident: &Incident) -> Option<Lsn> {
    incident.stands_at()
}

/// A later point that is offered.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub target: Target,
    pub title: String,
    pub why: String,
}

/// Later points that stand out, the nearest first: just after the first transaction that is not
/// kept, before the next suspects, restore points, and the end of all log.
#[must_use]
pub fn later_points(view: &View) -> Vec<Offer> {
    let Some(incident) = &view.incident else { return Vec::new() };
    let Some(stands) = stands_at(incident) else { return Vec::new() };
    let target = |point, inclusive| Target { point, inclusive, timeline: None };
    let suspects = view.survey.as_ref().map_or(&[][..], |survey| &survey.suspects);
    let mut list: Vec<(Lsn, Offer)> = Vec::new();
    let next = incident.reach.as_ref().and_then(|reach| reach.first_lost.as_ref());
    if let Some(commit) = next.filter(|commit| commit.end_lsn > stands) {
        let what = suspects.iter().find(|s| s.commit.xid == commit.xid).map(|s| s.what.as_str());
        list.push((
            commit.end_lsn,
            Offer {
                target: target(TargetPoint::Xid(commit.xid), true),
                title: format!("Just after transaction {}", commit.xid),
                why: format!(
                    "{}: {}.",
                    text::when(commit.at, view.now),
                    what.unwrap_or("the first that is not here")
                ),
            },
        ));
    }
    for suspect in suspects {
        let commit = &suspect.commit;
        if commit.first_lsn > stands && next.is_none_or(|n| n.xid != commit.xid) {
            let why = format!("{}: {}.", text::when(commit.at, view.now), suspect.what);
            let title = format!("Just before suspect {}", commit.xid);
            list.push((commit.first_lsn, Offer { target: suspect.target.clone(), title, why }));
        }
    }
    let points = view.survey.as_ref().map_or(&[][..], |s| &s.landmarks.restore_points);
    for point in points.iter().filter(|point| point.lsn > stands) {
        let at =
            point.at.map_or_else(String::new, |at| format!("about {}", text::when(at, view.now)));
        list.push((
            point.lsn,
            Offer {
                target: target(TargetPoint::Name(point.name.clone()), true),
                title: format!("Restore point \"{}\"", text::clean(&point.name)),
                why: at,
            },
        ));
    }
    list.sort_by_key(|(lsn, _)| *lsn);
    let mut list: Vec<Offer> = list.into_iter().map(|(_, offer)| offer).take(8).collect();
    if incident.plan.as_ref().is_some_and(|p| p.target.point != TargetPoint::EndOfArchive) {
        list.push(Offer {
            target: target(TargetPoint::EndOfArchive, true),
            title: String::from("The end of the archive"),
            why: String::from("Everything that was archived or rescued, the damage too."),
        });
    }
    list
}

/// Earlier points that stand out, the nearest first: where the server stood before, just before the
/// last transaction that is kept, before earlier suspects, and restore points.
#[must_use]
pub fn earlier_points(view: &View) -> Vec<Offer> {
    let Some(incident) = &view.incident else { return Vec::new() };
    let Some(stands) = stands_at(incident) else { return Vec::new() };
    let mut list: Vec<(Lsn, Offer)> = Vec::new();
    let number = incident.tries.len();
    for (at, tried) in incident.tries.iter().enumerate().take(number.saturating_sub(1)) {
        let Some(lsn) = tried.reached_lsn.filter(|lsn| *lsn < stands) else { continue };
        let (good, of) = tried.content();
        let why = format!("{}: {good} of {of} probes were content there.", tried.target);
        let title = format!("Try {} again", at + 1);
        list.push((lsn, Offer { target: tried.target.clone(), title, why }));
    }
    let kept = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
    if let Some(commit) = kept {
        let point = TargetPoint::Lsn(commit.first_lsn);
        let target = Target { point, inclusive: false, timeline: None };
        let title = format!("Just before transaction {}", commit.xid);
        let why = format!("{}: the last that is here.", text::when(commit.at, view.now));
        list.push((commit.first_lsn, Offer { target, title, why }));
    }
    let survey = view.survey.as_ref();
    for suspect in survey.map_or(&[][..], |survey| &survey.suspects) {
        let commit = &suspect.commit;
        let is_kept = kept.is_some_and(|kept| commit.end_lsn <= kept.end_lsn);
        if is_kept && kept.is_none_or(|kept| kept.xid != commit.xid) {
            let why = format!("{}: {}.", text::when(commit.at, view.now), suspect.what);
            let title = format!("Just before suspect {}", commit.xid);
            list.push((commit.first_lsn, Offer { target: suspect.target.clone(), title, why }));
        }
    }
    let points = survey.map_or(&[][..], |survey| &survey.landmarks.restore_points);
    for point in points.iter().filter(|p| kept.is_some_and(|kept| p.lsn < kept.lsn)) {
        let at =
            point.at.map_or_else(String::new, |at| format!("about {}", text::when(at, view.now)));
        let target = Target {
            point: TargetPoint::Name(point.name.clone()),
            inclusive: true,
            timeline: None,
        };
        let title = format!("Restore point \"{}\"", text::clean(&point.name));
        list.push((point.lsn, Offer { target, title, why: at }));
    }
    list.sort_by_key(|(lsn, _)| std::cmp::Reverse(*lsn));
    list.into_iter().map(|(_, offer)| offer).take(8).collect()
}

/// What a restore anew fetches and what it takes from this disk, in two sentences: the first of
/// what is fetched, the second of what is taken.
#[must_use]
pub fn spared(reach: &Reach) -> Option<(String, String)> {
    let Some(disk) = &reach.on_disk else {
        let size = reach.base.as_ref()?.size;
        let fetched = format!("all of it, {}", text::bytes(size));
        return Some((fetched, String::from("it cannot be told what of it is equal")));
    };
    let (least, most) = disk.fetched();
    let fetched = match (least, most) {
        (least, most) if least == most => format!("about {}", text::bytes(least)),
        (least, most) => format!(
            "{} to {}: what was written to since the restore is compared first",
            text::bytes(least),
            text::bytes(most)
        ),
    };
    let taken = format!(
        "about {} were not written to since the restore; each file is proven by its checksum",
        text::bytes(disk.unchanged)
    );
    Some((fetched, taken))
}

/// Around when the server stands, for listing the transactions that come next.
#[must_use]
pub fn around(incident: &Incident) -> Option<Timestamp> {
    let next = incident.reach.as_ref().and_then(|r| r.first_lost.as_ref()).map(|c| c.at);
    next.or_else(|| incident.tries.last().and_then(|tried| tried.reached_time))
}

/// Log between here and there, bytes, and about how long it takes: replay at the measured rate,
/// the server stopped and started. `None` where the proof does not tell.
#[must_use]
pub fn price(incident: &Incident, reach: &Reach) -> Option<(u64, (f64, f64), bool)> {
    let until = reach.last_kept.as_ref()?.end_lsn;
    let bytes = until.bytes_since(stands_at(incident)?);
    let forecast = reach.forecast.as_ref()?;
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    let share = (bytes as f64 / reach.wal_bytes.max(1) as f64).min(1.0);
    let (least, most) = forecast.replay;
    let seconds = (AROUND.0 + least * share, AROUND.1 + most * share);
    Some((bytes, seconds, forecast.measured))
}
