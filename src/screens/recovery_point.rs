//! Recovery point: where to go back to, what that costs, and the proof that it can be done.
//!
//! ```text
//! ▸ Points to go back to
//! ▸ ✓ just before DELETE …
//!   ○ 15 minutes before detection
//! What you would lose                Proof: ✓ … ✓ …
//! ── The past ── (picture)
//! ```

use super::paint::{Column, first_row};
use super::theme::Ink;
use super::view::{Candidate, View, Zoom};
use super::widgets::{checks, past};
use super::{columns, only_panel, split_rows, text};
use crate::engine::incident::facts::{Reach, Suspect, Target, TargetPoint, Verdict};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// A target in a few words.
#[must_use]
pub fn name(target: &Target, suspect: Option<&Suspect>) -> String {
    if let Some(suspect) = suspect {
        return format!("Just before: {}", suspect.what);
    }
    let edge = if target.inclusive { "Up to" } else { "Just before" };
    match &target.point {
        TargetPoint::Time(at) => format!("{edge} {}", text::moment(*at)),
        TargetPoint::Lsn(lsn) => format!("{edge} LSN {lsn}"),
        TargetPoint::Xid(xid) => format!("{edge} transaction {xid}"),
        TargetPoint::Name(name) => format!("Restore point \"{name}\""),
        TargetPoint::EndOfArchive => String::from("Everything: the end of the archive"),
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
        Some(1) => cost(view, area, buf),
        Some(_) => proof(view, area, buf),
        None if area.width >= 96 && area.height >= 26 => {
            let list = u16::try_from(view.candidates().len().max(1)).unwrap_or(4);
            let most = area.height.saturating_sub(18);
            let (above, rest) = split_rows(area, (list * 3 + 2).min(most));
            let (middle, below) = split_rows(rest, 10);
            let (one, two) = columns(middle, 50);
            points(view, above, buf);
            cost(view, one, buf);
            proof(view, two, buf);
            picture(view, below, buf);
        }
        None => {
            let list = view.candidates().len().max(1);
            let rows = u16::try_from(list).unwrap_or(4).clamp(2, 4) + 1;
            let (above, below) = split_rows(area, rows);
            points(view, above, buf);
            // The panel that takes the keys gets the picture's rows, too.
            match view.panel {
                1 => cost(view, below, buf),
                2 => proof(view, below, buf),
                _ => {
                    let (middle, rest) = split_rows(below, 5);
                    picture(view, middle, buf);
                    cost(view, rest, buf);
                }
            }
        }
    }
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
        let room = column.width().saturating_sub(4 + mark.len());
        column.row(
            view.panel == 0 && i == at,
            vec![
                Span::styled(format!("{sign} "), theme.style(ink)),
                Span::styled(
                    text::fit(&text::clean(&candidate.title), room, theme.ellipsis()),
                    theme.style(if i == at { Ink::Strong } else { Ink::Text }),
                ),
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

fn picture(view: &View, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    let zoom = match view.points.zoom {
        Zoom::All => "everything; z zooms in",
        Zoom::Day => "a day around the point",
        Zoom::Hour => "an hour around the point",
        Zoom::TenMinutes => "ten minutes around the point",
    };
    if area.height > 5 {
        column.title(false, "The past", zoom);
    }
    match &view.survey {
        Some(survey) => past::draw(view, survey, &mut column),
        None => column.text(Ink::Dim, "Not read yet."),
    }
}

fn cost(view: &View, area: Rect, buf: &mut Buffer) {
    const NAME: usize = 11;
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(view.panel == 1, "What you would lose", "");
    let Some(candidate) = view.candidate() else {
        column.text(Ink::Dim, "No point selected.");
        return;
    };
    let reach = match view.reach(&candidate.target) {
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
        if let Some(near) = reach.nearest.first() {
            column.field("nearest", NAME, (Ink::Text, &near.to_string()), 2);
        }
        return;
    }
    let (ink, lost) = lost(view, reach);
    column.field("lost", NAME, (ink, &lost), 2);
    if let Some(kept) = &reach.last_kept {
        let words = format!("{}, transaction {}", text::when(kept.at, view.now), kept.xid);
        column.field("last kept", NAME, (Ink::Text, &words), 1);
    }
    if let Some(gone) = &reach.first_lost {
        let words = format!(
            "{}, transaction {} ({})",
            text::when(gone.at, view.now),
            gone.xid,
            rows(gone.inserts, gone.updates, gone.deletes)
        );
        column.field("first lost", NAME, (Ink::Text, &words), 1);
    }
    if let Some(forecast) = &reach.forecast {
        let (ink, words) = duration(view, forecast);
        column.field("takes", NAME, (ink, &words), 2);
    }
    if let Some(base) = &reach.base {
        let words = format!(
            "{}, {} + {} of log to replay",
            base.set,
            text::bytes(base.size),
            text::bytes(reach.wal_bytes)
        );
        column.field("from", NAME, (Ink::Text, &words), 2);
    }
    column.field("exactly", NAME, (Ink::Dim, &reach.target.to_string()), 2);
}

/// What is lost, in the RPO's light.
fn lost(view: &View, reach: &Reach) -> (Ink, String) {
    let commits = reach.lost_commits.map(text::count);
    let tier = view.tier().map_or(0, |t| t.rpo_seconds);
    match (commits, reach.lost_seconds) {
        (Some(commits), Some(seconds)) => {
            #[allow(clippy::cast_precision_loss, reason = "minutes")]
            let over = seconds > tier as f64;
            let note = if over { "! beyond the tier's RPO" } else { "within the tier's RPO" };
            let ink = if over { Ink::Attention } else { Ink::Good };
            (ink, format!("{commits} commits, the last {} ({note})", text::span(seconds)))
        }
        (Some(commits), None) => (Ink::Text, format!("{commits} commits")),
        (None, Some(seconds)) => (Ink::Text, format!("the last {}", text::span(seconds))),
        (None, None) => (Ink::Attention, String::from("? not known")),
    }
}

fn rows(inserts: u64, updates: u64, deletes: u64) -> String {
    let part = |n: u64, word: &str| (n > 0).then(|| format!("{} {word}", text::count(n)));
    let parts: Vec<String> =
        [part(inserts, "inserted"), part(updates, "updated"), part(deletes, "deleted")]
            .into_iter()
            .flatten()
            .collect();
    if parts.is_empty() { String::from("no rows") } else { parts.join(", ") }
}

/// How long it takes, against what is left of the RTO.
fn duration(view: &View, forecast: &crate::engine::incident::facts::Forecast) -> (Ink, String) {
    let total = forecast.total();
    let basis =
        if forecast.measured { "by measured rates" } else { "a guess: not measured here yet" };
    let incident = view.incident.as_ref();
    let elapsed = incident.and_then(|i| i.clocks.rto_seconds(view.now)).unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = view.tier().map_or(0.0, |t| t.rto_seconds as f64);
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
    column.title(view.panel == 2, "Proof", "checked before anything is touched");
    let reach = view.candidate().and_then(|c| view.reach(&c.target).cloned());
    match reach {
        Some(Ok(reach)) => {
            let rest = column.rest();
            let at = (view.panel == 2).then(|| view.cursor_in(2, reach.checks.len()));
            checks::draw(theme, &reach.checks, at, rest, buf);
        }
        _ => column.text(Ink::Dim, "Not proven yet."),
    }
}
