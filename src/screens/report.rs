//! Report: the key facts as they stand, and where the report was written.

use super::paint::Column;
use super::theme::{Ink, Theme};
use super::view::View;
use super::widgets::checks;
use super::{drill, text};
use crate::engine::checklist::LATER_WRITES;
use crate::engine::incident::Incident;
use crate::engine::incident::model::RunStatus;
use crate::engine::runner::plan::Plan;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const NAME: usize = 23;

enum Row {
    Title(String),
    Fact(String, Ink, String),
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    let Some(incident) = &view.incident else { return };
    // It is the recovery's, whatever is under way.
    let incident = &*incident.settled();
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(false, "Report", "as it stands now");
    let mut lines: Vec<(Ink, String, Ink, String)> = Vec::new();
    let room = column.width().saturating_sub(NAME).max(8);
    for row in rows(view, incident) {
        match row {
            Row::Title(title) => {
                lines.push((Ink::Text, String::new(), Ink::Text, String::new()));
                lines.push((Ink::Strong, title, Ink::Text, String::new()));
            }
            Row::Fact(name, ink, value) => {
                // A path is there to be opened: all of it, over as many rows as it needs.
                let wrapped = if value.starts_with('/') {
                    text::broken(&value, room)
                } else {
                    text::wrap(&value, room)
                };
                for (i, part) in wrapped.into_iter().enumerate() {
                    let name = if i == 0 { name.clone() } else { String::new() };
                    lines.push((Ink::Dim, name, ink, part));
                }
            }
        }
    }
    let visible = usize::from(column.left());
    let scroll = view.cursor(0).min(lines.len().saturating_sub(visible));
    let more = lines.len() > scroll + visible;
    let shown = if more { visible.saturating_sub(1) } else { visible };
    for (name_ink, name, ink, value) in lines.into_iter().skip(scroll).take(shown) {
        fact(&mut column, theme, name_ink, &name, ink, &value);
    }
    if more {
        column.text(Ink::Dim, format!("{} more: arrow down", theme.glyph("↓", "v")));
    }
}

fn fact(column: &mut Column<'_>, theme: Theme, name_ink: Ink, name: &str, ink: Ink, value: &str) {
    let name =
        if value.is_empty() { name.to_owned() } else { super::paint::pad(name, NAME, theme) };
    column.spans(vec![
        ratatui::text::Span::styled(name, theme.style(name_ink)),
        ratatui::text::Span::styled(value.to_owned(), theme.style(ink)),
    ]);
}

fn rows(view: &View, incident: &Incident) -> Vec<Row> {
    let theme = view.theme;
    let clocks = &incident.clocks;
    let fact = |name: &str, ink: Ink, value: String| Row::Fact(name.to_owned(), ink, value);
    let at = |time: Option<jiff::Timestamp>| {
        time.map_or((Ink::Dim, String::from("not yet")), |t| (Ink::Text, text::moment(t)))
    };
    let mut rows = Vec::new();
    let (ink, words) = at(clocks.outage_began());
    let open = incident.stays_open();
    rows.push(fact(if open { "noticed" } else { "outage began" }, ink, words));
    let (ink, words) = at(clocks.run_started);
    rows.push(fact("recovery started", ink, words));
    let (ink, words) = at(clocks.serving);
    rows.push(fact(if open { "rows are back" } else { "database serves" }, ink, words));
    let asked = incident
        .reach
        .as_ref()
        .map_or((Ink::Dim, String::from("not chosen")), |r| (Ink::Text, r.target.to_string()));
    rows.push(fact("asked for", asked.0, asked.1));
    let lsn = incident.noted("reached_lsn").map(|lsn| format!("LSN {lsn}"));
    let until = incident.noted("reached_time").map(str::to_owned);
    let parts: Vec<String> = [until, lsn].into_iter().flatten().collect();
    let reached = if parts.is_empty() {
        (Ink::Dim, String::from("not yet"))
    } else {
        (Ink::Text, text::clean(&parts.join(", ")))
    };
    rows.push(fact("reached", reached.0, reached.1));
    let targets = view.targets_of(incident);
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limits = (targets.rpo_seconds.map(|rpo| rpo as f64), targets.rto_seconds as f64);
    if let Some(lost) = incident.actual_rpo().seconds {
        let (ink, sign) = held(theme, limits.0.is_none_or(|limit| lost <= limit));
        let allowed =
            limits.0.map_or_else(String::new, |limit| format!(" of {} allowed", text::span(limit)));
        let known = if incident.has_lost_server() { "up to " } else { "" };
        let words = format!("{sign} {known}{}{allowed}", text::span(lost));
        rows.push(fact("RPO (data lost)", ink, words));
    }
    if let Some(lost) = incident.reach.as_ref().and_then(|r| r.lost_commits) {
        let more = match (incident.has_lost_server(), incident.may_lose_more()) {
            (true, _) => ", or more: what only the lost server had",
            (false, true) => ", or more: writes went on",
            (false, false) => "",
        };
        rows.push(fact("commits lost", Ink::Text, text::count(lost) + more));
    }
    let elapsed = clocks.rto_seconds(view.now).unwrap_or(0.0).max(0.0);
    let (ink, sign) = held(theme, elapsed <= limits.1);
    let so_far = if clocks.serving.is_none() { " so far" } else { "" };
    let words =
        format!("{sign} {}{so_far} of {} allowed", text::span(elapsed), text::span(limits.1));
    if open {
        let stays = "stayed open: the RTO is the time until the rows were back";
        rows.push(fact("production", Ink::Good, stays.to_owned()));
    }
    rows.push(fact(if open { "RTO (rows back)" } else { "RTO (downtime)" }, ink, words));
    if let Some(shares) = incident.shares(view.now) {
        let part = |seconds| format!("{} ({:.0} %)", text::span(seconds), shares.percent(seconds));
        rows.push(fact("  by the machine", Ink::Text, part(shares.machine)));
        let (before, after) = (text::span(shares.deciding), text::span(shares.waiting));
        let people = format!("{}: {before} to the gate, {after} after it", part(shares.human()));
        rows.push(fact("  by people", Ink::Text, people));
        if shares.unattended > 0.0 {
            rows.push(fact("  no runner alive", Ink::Attention, part(shares.unattended)));
        }
    }
    if let Some(ahead) = super::frame::outlook(view, incident).and_then(|o| o.warning(view.now)) {
        rows.push(fact("ahead", Ink::Bad, ahead));
    }
    let verdict = crate::engine::incident::facts::Verdict::overall(
        incident.validation.iter().map(|c| c.verdict),
    );
    let (ink, sign) = theme.verdict(verdict);
    rows.push(fact("validation", ink, format!("{sign} {}", checks::tally(&incident.validation))));
    rows.push(fact("checklist", Ink::Text, super::checklist::tally(view)));
    rows.push(Row::Title(String::from("Written")));
    if incident.reports.is_empty() {
        rows.push(fact("report", Ink::Dim, String::from("not written yet: press w")));
    }
    for path in &incident.reports {
        let kind = path.rsplit('.').next().unwrap_or("file");
        rows.push(fact(&format!("report ({kind})"), Ink::Text, text::clean(path)));
    }
    rows.push(Row::Title(String::from("Clocks")));
    for mark in incident.marks() {
        let (ink, words) = match (mark.at, mark.id) {
            // These do not come later by themselves.
            (None, "fault") => (Ink::Dim, String::from("no commit was given up")),
            (None, "last_known_good" | "detected") => (Ink::Dim, String::from("not stated")),
            (None, "closed" | "validated") => at(None),
            (None, _) if incident.status == RunStatus::Finished => {
                (Ink::Dim, String::from("not in this recovery"))
            }
            (known, _) => at(known),
        };
        let began = clocks.outage_began().zip(mark.at).map(|(began, at)| {
            let seconds = at.duration_since(began).as_secs_f64();
            let sign = if seconds < 0.0 { "-" } else { "+" };
            format!("  {sign}{}", text::clock(seconds.abs()))
        });
        let title = mark.title.split_once(": ").map_or(mark.title, |(title, _)| title);
        rows.push(fact(title, ink, words + &began.unwrap_or_default()));
    }
    if !incident.salvages.is_empty() {
        rows.push(Row::Title(String::from("Brought back")));
        for ended in &incident.salvages {
            let ink = if ended.has_carried() { Ink::Text } else { Ink::Dim };
            rows.push(fact(&text::when(ended.ended, view.now), ink, text::clean(&ended.words())));
        }
        let left = incident.left();
        let ink = if left.is_nothing() { Ink::Good } else { Ink::Attention };
        rows.push(fact("not brought back", ink, text::clean(&left.words())));
    }
    // Of a directory that was lost whole nothing was left to keep.
    let kept = |plan: &&Plan| {
        let aside = |text: &str| text.contains(&plan.aside);
        !plan.aside.is_empty() && (!plan.lost || incident.noted("aside").is_some_and(aside))
    };
    if let Some(plan) = incident.plan.as_ref().filter(kept) {
        rows.push(Row::Title(String::from("Kept")));
        rows.push(fact("damaged directory", Ink::Text, text::clean(&plan.aside)));
        // Whoever sees that commits are lost sees here that they need not stay so.
        if incident.left_behind() || !incident.salvages.is_empty() {
            let words = match incident.closing {
                None if super::checklist::is_settled(incident, LATER_WRITES) => {
                    String::from("settled on the checklist; reopened there, B brings it back")
                }
                None => String::from("B brings it back, as far as you choose"),
                Some(_) => format!("lifeboat salvage --incident {}", incident.declaration.id),
            };
            rows.push(fact("what is only in it", Ink::Text, words));
        }
        rows.push(fact("rescued log", Ink::Text, text::clean(&plan.rescue)));
    }
    if let Some(result) = drill::result(view) {
        rows.push(Row::Title(String::from("The drill")));
        for (good, words) in result {
            let (ink, sign) = held(theme, good);
            rows.push(fact("", ink, format!("{sign} {words}")));
        }
    }
    if let Some(closing) = &incident.closing {
        rows.push(Row::Title(String::from("Closed")));
        rows.push(fact("", Ink::Text, text::clean(closing)));
    }
    rows
}

fn held(theme: Theme, good: bool) -> (Ink, &'static str) {
    if good { (Ink::Good, theme.glyph("✓", "+")) } else { (Ink::Bad, theme.glyph("✗", "x")) }
}
