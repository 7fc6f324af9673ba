//! Recovery point: where to go back to, what that costs, and the proof that it can be done.
//!
//! ```text
//! ▸ Points to go back to
//! ▸ ✓ just before DELETE …                                31 s to 45 s
//!   ○ 15 minutes before detection
//! ── The past ── (picture; Tab leads to it, the arrows move its cursor)
//! when  2026-11-22 14:02:51 UTC
//! here  between transaction 74210 (3.3 s before) and 74211 (0.2 s after)
//! What you would lose                Proof: ✓ … ✓ …
//! ```
//!
//! In a window of 80 columns the panel that takes the keys has the room of the others.

use super::paint::{Column, first_row, pad};
use super::theme::Ink;
use super::view::{Candidate, View};
use super::widgets::{checks, past};
use super::{columns, only_panel, split_rows, text};
use crate::engine::incident::facts::{
    Commit, Forecast, Reach, Suspect, Target, TargetPoint, Verdict,
};
use crate::engine::incident::past::TableLoss;
use crate::engine::moments;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// A target in a few words.
#[must_use]
pub fn name(target: &Target, suspect: Option<&Suspect>) -> String {
    let edge = if target.inclusive { "Up to" } else { "Just before" };
    if let Some(suspect) = suspect {
        let edge = if target.inclusive { "With" } else { edge };
        return format!("{edge}: {}", suspect.what);
    }
    match &target.point {
        TargetPoint::Time(at) => format!("{edge} {}", text::moment(*at)),
        TargetPoint::Lsn(lsn) => format!("{edge} LSN {lsn}"),
        TargetPoint::Xid(xid) => format!("{edge} transaction {xid}"),
        TargetPoint::Name(name) => format!("Restore point \"{name}\""),
        TargetPoint::EndOfArchive => String::from("Everything: the end of the archive"),
        TargetPoint::EndOfBase => String::from("The end of the base backup itself"),
    }
}

/// Why a target cannot be reached: the worst check's own words.
#[must_use]
pub fn why_not(reach: &Reach) -> String {
    let worst = reach
        .checks
        .iter()
        .find(|c| c.verdict == Verdict::Failed)
        .or_else(|| reach.checks.iter().find(|c| c.verdict != Verdict::Verified));
    let words = worst.map_or("", |c| if c.detail.is_empty() { &c.title } else { &c.detail });
    let words = text::clean(words);
    let words = words.trim_end();
    if words.is_empty() || words.ends_with('.') { words.to_owned() } else { format!("{words}.") }
}

/// Whether the point that is looked at lacks room where the data directory is.
#[must_use]
pub fn lacks_room(view: &View) -> bool {
    let Some(candidate) = view.candidate() else { return false };
    let lacks = |reach: &Reach| {
        reach.checks.iter().any(|check| check.id == "space" && check.verdict == Verdict::Failed)
    };
    matches!(view.reach(&candidate.target), Some(Ok(reach)) if lacks(reach))
}

/// The nearest reachable target of a selected one that is not.
#[must_use]
pub fn nearest(view: &View) -> Option<Target> {
    let candidate = view.candidate()?;
    match view.reach(&candidate.target)? {
        Ok(reach) if !reach.reachable => reach.nearest.first().cloned(),
        _ => None,
    }
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    match only_panel(view) {
        Some(0) => points(view, area, buf),
        Some(1) => explored(view, area, buf),
        Some(2) => cost(view, area, buf),
        Some(_) => proof(view, area, buf),
        None if area.width >= 96 && area.height >= 26 => {
            let list = u16::try_from(view.candidates().len().max(1)).unwrap_or(4);
            let most = area.height.saturating_sub(26);
            let warned = view.survey.as_ref().map_or(0, |s| s.warnings.len().min(3) * 2);
            let warned = u16::try_from(warned).unwrap_or(0);
            // With their reasons where all of them have room, else a row each.
            let all = list * 3 + 2 + warned;
            let rows = if all <= most { all } else { (list + 2 + warned).min(most) };
            let (above, rest) = split_rows(area, rows.max(5));
            let (middle, below) = split_rows(rest, 12);
            let (one, two) = columns(below, 55);
            points(view, above, buf);
            picture(view, middle, buf);
            cost(view, one, buf);
            proof(view, two, buf);
        }
        None => {
            let list = view.candidates().len().max(1);
            let rows = u16::try_from(list).unwrap_or(4).clamp(2, 4) + 1;
            let (above, below) = split_rows(area, rows);
            // The panel that takes the keys gets the picture's rows, too.
            match view.panel {
                1 => explored(view, area, buf),
                2 => {
                    points(view, above, buf);
                    cost(view, below, buf);
                }
                3 => {
                    points(view, above, buf);
                    proof(view, below, buf);
                }
                _ => {
                    points(view, above, buf);
                    let (middle, rest) = split_rows(below, 5);
                    picture(view, middle, buf);
                    cost(view, rest, buf);
                }
            }
        }
    }
}

/// Columns that the picture has in this window: what is asked of the runner.
#[must_use]
pub fn picture_columns(view: &View) -> usize {
    usize::from(super::frame::body_width(view).saturating_sub(2)).max(1)
}

/// Whether the point that is looked at lies before the log that was read.
#[must_use]
pub fn before_read(view: &View) -> bool {
    let Some(survey) = view.survey.as_ref().filter(|_| view.points.by_cursor) else { return false };
    let at = view.points.cursor.as_ref().map(|c| c.at);
    survey.landmarks.read_from.is_some_and(|from| at.is_some_and(|at| at < from))
}

/// Whether it waits to be read and proven, which may take long.
#[must_use]
pub fn unread(view: &View) -> bool {
    let Some(candidate) = view.candidate().filter(|_| before_read(view)) else { return false };
    view.reach(&candidate.target).is_none() && view.points.prove.as_ref() != Some(&candidate.target)
}

/// Whether it can be reached, as colour and sign.
fn standing(view: &View, candidate: &Candidate) -> (Ink, &'static str) {
    let theme = view.theme;
    match view.reach(&candidate.target) {
        None => (Ink::Dim, theme.glyph("○", "o")),
        Some(Ok(reach)) if reach.reachable => (Ink::Good, theme.glyph("✓", "+")),
        Some(Ok(_)) => (Ink::Bad, theme.glyph("✗", "x")),
        Some(Err(_)) => (Ink::Attention, "?"),
    }
}

fn points(view: &View, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let list = view.candidates();
    let lsn = view
        .survey
        .as_ref()
        .and_then(|s| s.current_lsn)
        .or_else(|| view.incident.as_ref()?.server.as_ref()?.current_lsn);
    let note = lsn.map_or_else(String::new, |lsn| format!("server's log now at LSN {lsn}"));
    column.title(view.panel == 0, "Points to go back to", &note);
    if let Some(survey) = &view.survey {
        for warning in survey.warnings.iter().take(if area.height > 8 { 3 } else { 0 }) {
            column.wrapped(Ink::Attention, &format!("! {}", text::clean(warning)), 2, 2);
        }
    }
    if list.is_empty() {
        let words = match &view.progress {
            Some(p) if p.job == "survey" => text::clean(&p.label),
            _ if view.survey.is_none() => String::from("Reading backups and archived log."),
            _ => String::from("Nothing stands out in the log. Press k to give a point."),
        };
        column.wrapped(Ink::Dim, &words, 0, 2);
        return;
    }
    let chosen = view.incident.as_ref().and_then(|i| i.reach.as_ref()).map(|r| &r.target);
    let at = view.cursor_in(0, list.len());
    let roomy = usize::from(column.left()) >= list.len() * 3 && area.height > 8;
    let each = if roomy { 3 } else { 1 };
    let rows = usize::from(column.left()) / each;
    let first = first_row(at, list.len(), rows.max(1));
    for (i, candidate) in list.iter().enumerate().skip(first).take(rows.max(1)) {
        let (ink, sign) = standing(view, candidate);
        let mark = if chosen == Some(&candidate.target) { " CHOSEN" } else { "" };
        let takes = takes(view, candidate, column.width());
        let room = column.width().saturating_sub(4 + mark.len() + text::width(&takes));
        column.row(
            view.panel == 0 && i == at,
            vec![
                Span::styled(format!("{sign} "), theme.style(ink)),
                Span::styled(
                    pad(&text::clean(&candidate.title), room, theme),
                    theme.style(if i == at { Ink::Strong } else { Ink::Text }),
                ),
                Span::styled(takes, theme.style(Ink::Dim)),
                Span::styled(mark, theme.style(Ink::Good)),
            ],
        );
        if roomy {
            let suspect = candidate.suspect.as_ref().map_or_else(String::new, |s| {
                format!("{} UTC, transaction {}. ", text::time(s.commit.at), s.commit.xid)
            });
            let why = text::clean(&format!("{suspect}{}", candidate.why));
            let lines = text::wrap(&why, column.width().saturating_sub(4));
            let more = lines.len() > 2;
            for (n, line) in lines.into_iter().take(2).enumerate() {
                let mark = if more && n == 1 { theme.ellipsis() } else { "" };
                column.spans(vec![
                    Span::raw("    "),
                    Span::styled(line + mark, theme.style(Ink::Dim)),
                ]);
            }
        }
    }
}

/// How long a point takes, beside it, where there is room to compare points by it.
fn takes(view: &View, candidate: &Candidate, width: usize) -> String {
    if width < 96 {
        return String::new();
    }
    match view.reach(&candidate.target) {
        Some(Ok(reach)) if reach.reachable => reach.forecast.map_or_else(String::new, |f| {
            let guess = if f.measured { "" } else { ", a guess" };
            format!("  {}{guess}", text::span_range(f.total()))
        }),
        _ => String::new(),
    }
}

fn picture(view: &View, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    let Some(survey) = &view.survey else {
        column.text(Ink::Dim, "Not read yet.");
        return;
    };
    if area.height <= 5 {
        past::draw(view, survey, &mut column, area.height);
        return;
    }
    column.title(view.panel == 1, "The past", &shown_words(view));
    let rows = column.left().saturating_sub(2);
    past::draw(view, survey, &mut column, rows);
    if view.points.by_cursor {
        place(view, &mut column);
    } else {
        column.text(Ink::Dim, "Tab, then the arrow keys: pick any other point on this picture.");
    }
}

/// How far a step goes and how much is shown.
fn shown_words(view: &View) -> String {
    let Some(survey) = &view.survey else { return String::new() };
    let (from, to) = view.points.shown.unwrap_or_else(|| survey.bounds());
    let span = text::span(to.duration_since(from).as_secs_f64());
    let shown = match view.points.shown {
        Some(_) => format!("{span} shown"),
        None => format!("all of it, {span}"),
    };
    match view.points.cursor.as_ref().filter(|_| view.points.by_cursor) {
        Some(cursor) => format!("{shown}; one step: {}", cursor.unit.word()),
        None => shown,
    }
}

/// When the cursor is and what is there.
fn place(view: &View, column: &mut Column<'_>) {
    let (Some(survey), Some(cursor)) = (&view.survey, &view.points.cursor) else { return };
    column.field("when", NAME, (Ink::Strong, &moments::echo(cursor.at, &view.zone)), 1);
    let (ink, words) = past::here(view, survey);
    column.field("here", NAME, (ink, &words), if view.size.0 < 96 { 2 } else { 1 });
}

/// The picture with all that is known of the place under the cursor, in one panel.
fn explored(view: &View, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    column.title(view.panel == 1, "The past", &shown_words(view));
    let Some(survey) = &view.survey else {
        column.text(Ink::Dim, "Not read yet.");
        return;
    };
    let spare = area.height.saturating_sub(15);
    past::draw(view, survey, &mut column, (5 + spare).min(7));
    place(view, &mut column);
    outcome(view, &mut column);
}

const NAME: usize = 11;

/// What stopping at the point costs, or why it cannot be.
fn outcome(view: &View, column: &mut Column<'_>) {
    let theme = view.theme;
    let Some(candidate) = view.candidate() else {
        column.text(Ink::Dim, "No point selected.");
        return;
    };
    let reach = match view.reach(&candidate.target) {
        None if unread(view) => {
            let words = "y reads the log this far back and proves the point. Minutes, perhaps; it only reads.";
            column.wrapped(Ink::Attention, words, 0, 2);
            return;
        }
        None => {
            column.text(Ink::Dim, format!("Being worked out{}", theme.ellipsis()));
            return;
        }
        Some(Err(e)) => {
            column.wrapped(Ink::Attention, &format!("? {}", text::clean(&e.to_string())), 2, 4);
            return;
        }
        Some(Ok(reach)) => reach,
    };
    if !reach.reachable {
        let words = format!("CANNOT BE REACHED. {}", why_not(reach));
        column.wrapped(Ink::Bad, &words, 0, 3);
        for near in reach.nearest.iter().take(2) {
            let words = nearest_words(reach, near);
            column.field("nearest", NAME, (Ink::Text, &words), 1);
        }
        return;
    }
    let (ink, lost) = lost(view, reach);
    column.field("lost", NAME, (ink, &lost), 2);
    let tables = by_table(reach);
    let most = if column.left() > 8 { 3 } else { 2 };
    if view.panel == 1 || column.left() > 6 {
        column.field("by table", NAME, (Ink::Text, &tables), most);
    }
    let kept = |column: &mut Column<'_>| {
        if let Some(kept) = &reach.last_kept {
            let words = format!("{}, {}", text::when(kept.at, view.now), which(kept));
            column.field("last kept", NAME, (Ink::Text, &words), 1);
        }
        if let Some(gone) = &reach.first_lost {
            let words = format!(
                "{}, {} ({})",
                text::when(gone.at, view.now),
                which(gone),
                rows(gone.inserts, gone.updates, gone.deletes)
            );
            column.field("first lost", NAME, (Ink::Text, &words), 1);
        }
    };
    // Under the cursor its own place says as much; forecast and base come first there.
    let cursor_first = view.points.by_cursor && column.left() < 8;
    if !cursor_first {
        kept(column);
    }
    if let Some(forecast) = &reach.forecast {
        let (ink, words) = duration(view, forecast);
        column.field("takes", NAME, (ink, &words), 2);
    }
    if let Some(base) = &reach.base {
        let mut words = format!(
            "{}, {} + {} of log to replay",
            base.set,
            text::bytes(base.size),
            text::bytes(reach.wal_bytes)
        );
        if let Some(other) = reach.cost.quicker() {
            let range = text::span_range(other.forecast.total());
            words.push_str(&format!("; {} could be quicker: {range}", other.set));
        }
        column.field("from", NAME, (Ink::Text, &words), 2);
    }
    if cursor_first {
        kept(column);
    }
    if column.left() > 0 {
        column.field("exactly", NAME, (Ink::Dim, &reach.target.to_string()), 2);
    }
    bases(reach, column);
}

/// The other base backups, compared, where there is room.
fn bases(reach: &Reach, column: &mut Column<'_>) {
    if reach.cost.bases.len() < 2 || column.left() < 3 {
        return;
    }
    column.text(Ink::Dim, "Other backups for this point:");
    for base in reach.cost.bases.iter().filter(|b| !b.chosen) {
        let words = match base.serves {
            Some(true) => format!(
                "{}, {} of log",
                text::span_range(base.forecast.total()),
                text::bytes(base.wal_bytes)
            ),
            Some(false) => format!("cannot serve: {}", text::clean(&base.why)),
            None => String::from("not known: older log was not read"),
        };
        column.field(&format!("  {} ", base.set), 22, (Ink::Dim, &words), 1);
    }
}

fn nearest_words(reach: &Reach, near: &Target) -> String {
    let side = match (&near.point, &reach.target.point) {
        (TargetPoint::Time(a), TargetPoint::Time(b)) if a < b => " (before)",
        (TargetPoint::Time(a), TargetPoint::Time(b)) if a > b => " (after)",
        _ => "",
    };
    format!("{near}{side}")
}

/// A transaction by its number, or how many commits are only known together.
#[must_use]
pub fn which(commit: &Commit) -> String {
    match commit.stands_for {
        1 => format!("transaction {}", commit.xid),
        n => format!("the last of {} commits known as one", text::count(n)),
    }
}

/// Rows lost by table, most first.
fn by_table(reach: &Reach) -> String {
    let Some(tables) = &reach.cost.tables else { return String::from("tables are not known") };
    if tables.is_empty() {
        return String::from("no rows of any table");
    }
    let about = if reach.cost.exact { "" } else { "about " };
    let one = |t: &TableLoss| {
        format!("{} {about}{}", text::clean(&t.relation), rows(t.inserts, t.updates, t.deletes))
    };
    let mut words: Vec<String> = tables.iter().map(one).collect();
    if reach.cost.more_tables > 0 {
        words.push(format!("{} more tables", text::count(reach.cost.more_tables)));
    }
    words.join("; ")
}

fn cost(view: &View, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    // Where the proof has no panel of its own beside this, its outcome is told here.
    let hidden = view.size.0 < 96 || view.size.1 < 36;
    let tally = unproven(view).filter(|_| hidden);
    column.title(view.panel == 2, "What you would lose", &tally.unwrap_or_default());
    outcome(view, &mut column);
}

/// How many proofs of the point that is looked at are not VERIFIED, and where they are read.
fn unproven(view: &View) -> Option<String> {
    let reach = view.reach(&view.candidate()?.target)?.as_ref().ok()?;
    let open = reach.checks.iter().any(|check| check.verdict != Verdict::Verified);
    open.then(|| format!("proof: {} (Tab)", checks::tally(&reach.checks)))
}

/// A point as people confirm it: when it is first, then exactly which.
#[must_use]
pub fn in_time(view: &View, reach: &Reach) -> String {
    let exactly = super::full_restore::point(reach);
    match (&reach.target.point, &reach.last_kept) {
        (TargetPoint::Time(at), _) => format!("{}: {exactly}", moments::echo(*at, &view.zone)),
        (TargetPoint::EndOfBase, _) | (_, None) => exactly,
        (_, Some(kept)) => {
            let at = moments::echo(kept.at, &view.zone);
            let which = match reach.target.point {
                TargetPoint::EndOfArchive => "the newest transaction that was found",
                _ => "the last transaction that is kept",
            };
            format!("{at}, {which}: {exactly}")
        }
    }
}

/// What is lost, in the RPO's light.
fn lost(view: &View, reach: &Reach) -> (Ink, String) {
    let commits = reach.lost_commits.map(text::count);
    let limit = view.targets().and_then(|targets| targets.rpo_seconds);
    let whose = match view.incident.as_ref().and_then(|i| i.declaration.drill.as_ref()) {
        Some(_) => "the drill's",
        None => "the tier's",
    };
    match (commits, reach.lost_seconds) {
        (Some(commits), Some(seconds)) => {
            #[allow(clippy::cast_precision_loss, reason = "minutes")]
            let over = limit.is_some_and(|limit| seconds > limit as f64);
            let note = match (over, limit) {
                (true, _) => format!(" (! beyond {whose} RPO)"),
                (false, Some(_)) => format!(" (within {whose} RPO)"),
                (false, None) => String::new(),
            };
            let ink = if over { Ink::Attention } else { Ink::Good };
            let edges = [&reach.last_kept, &reach.first_lost];
            let folded = edges.into_iter().flatten().any(|commit| commit.stands_for > 1);
            let about = if folded { "about " } else { "" };
            if commits == "0" && matches!(reach.target.point, TargetPoint::EndOfArchive) {
                // What only the server had is in no log that was read.
                let words = String::from("nothing that was archived or can be rescued");
                let incident = view.incident.as_ref();
                let kept = reach.last_kept.as_ref();
                let gap = kept.and_then(|kept| incident?.seconds_uncounted(kept.at));
                return match gap {
                    Some(gap) => {
                        let gap = text::span(gap);
                        (ink, format!("{words}; it ends {gap} before the incident was noticed"))
                    }
                    None => (ink, words),
                };
            }
            (ink, format!("{about}{commits} commits, the last {}{note}", text::span(seconds)))
        }
        (Some(commits), None) => (Ink::Text, format!("{commits} commits")),
        (None, Some(seconds)) => (Ink::Text, format!("the last {}", text::span(seconds))),
        (None, None) => (Ink::Attention, String::from("? not known")),
    }
}

/// Rows in words.
#[must_use]
pub fn rows(inserts: u64, updates: u64, deletes: u64) -> String {
    let part = |n: u64, word: &str| (n > 0).then(|| format!("{} {word}", text::count(n)));
    let parts: Vec<String> =
        [part(inserts, "inserted"), part(updates, "updated"), part(deletes, "deleted")]
            .into_iter()
            .flatten()
            .collect();
    if parts.is_empty() { String::from("no rows") } else { parts.join(", ") }
}

/// How long it takes, against what is left of the RTO.
fn duration(view: &View, forecast: &Forecast) -> (Ink, String) {
    let total = forecast.total();
    let basis = if forecast.measured { "by measured rates" } else { "a guess" };
    let incident = view.incident.as_ref();
    let elapsed = incident.and_then(|i| i.clocks.rto_seconds(view.now)).unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = view.targets().map_or(0.0, |t| t.rto_seconds as f64);
    let (ink, note) = if elapsed + total.1 <= limit {
        (Ink::Good, "within the RTO")
    } else if elapsed + total.0 <= limit {
        (Ink::Attention, "! the RTO is at risk")
    } else {
        (Ink::Bad, "! beyond the RTO")
    };
    (ink, format!("{} to copy and replay ({note}; {basis})", text::span_range(total)))
}

fn proof(view: &View, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(view.panel == 3, "Proof", "checked before anything is touched");
    let reach = view.candidate().and_then(|c| view.reach(&c.target).cloned());
    match reach {
        Some(Ok(reach)) => {
            let rest = column.rest();
            let at = (view.panel == 3).then(|| view.cursor_in(3, reach.checks.len()));
            let said = at
                .and_then(|at| reach.checks.get(at))
                .filter(|check| check.verdict != Verdict::Verified && !check.detail.is_empty());
            // What a proof that failed has to say comes below the list.
            let (list, below) = match said {
                Some(_) => split_rows(rest, rest.height.saturating_sub(2)),
                None => split_rows(rest, rest.height),
            };
            checks::draw(theme, &reach.checks, at, list, buf);
            if let Some(check) = said {
                let mut column = Column::new(theme, below, buf);
                column.wrapped(Ink::Attention, &text::clean(&check.detail), 0, 2);
            }
        }
        _ => column.text(Ink::Dim, "Not proven yet."),
    }
}
