//! Assessment: the runbook's questions, then what the server and the probes say: below them, or
//! beside where it is wide.

use super::frame::server_role;
use super::paint::{Column, first_row, pad};
use super::theme::Ink;
use super::view::View;
use super::widgets::checks;
use super::{columns, commands, only_panel, split_rows, text};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{ServerProbe, Topic};
use commands::Id;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// A question: which command answers it, what it asks, the answer so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub command: Id,
    pub ask: &'static str,
    pub answer: Option<String>,
    pub needed: bool,
}

/// The questions in the order in which they are best answered.
#[must_use]
pub fn questions(view: &View) -> Vec<Asked> {
    let Some(incident) = &view.incident else { return Vec::new() };
    let ask = |command, ask, needed, answer| Asked { command, ask, answer, needed };
    let moment = |at: Option<jiff::Timestamp>| {
        at.map(|at| format!("{} ({})", text::when(at, view.now), text::ago(at, view.now)))
    };
    let note = |topic: Topic| {
        let found = incident.notes.iter().rev().find(|(t, _)| *t == topic);
        found.map(|(_, text)| text::clean(text))
    };
    let severity = incident.severity.map(|s| {
        let means = view.runbook.severity(s).map_or("", |t| t.title.as_str());
        format!("{}: {means}", s.word())
    });
    vec![
        ask(Id::SetSeverity, "How bad is it?", true, severity),
        ask(Id::FirstDetected, "First detected", true, moment(incident.clocks.detected)),
        ask(Id::AskServer, "Does it answer?", false, incident.server.as_ref().map(answers)),
        ask(Id::LastKnownGood, "Last known good", false, moment(incident.clocks.last_known_good)),
        ask(Id::WhatIsWrong, "What is wrong?", false, note(Topic::Symptom)),
        ask(Id::ChangesBefore, "Changes before", false, note(Topic::ChangesBefore)),
        ask(Id::RunProbes, "Integrity probes", false, probes(incident)),
    ]
}

fn answers(probe: &ServerProbe) -> String {
    if probe.reachable { String::from("yes, see Server") } else { String::from("NO, see Server") }
}

fn probes(incident: &Incident) -> Option<String> {
    (!incident.probes.is_empty()).then(|| checks::tally(&incident.probes))
}

/// The question under the cursor.
#[must_use]
pub fn selected(view: &View) -> Option<Asked> {
    let list = questions(view);
    let at = view.cursor_in(0, list.len());
    list.into_iter().nth(at)
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    let Some(incident) = &view.incident else { return };
    match only_panel(view) {
        Some(0) => left(view, incident, area, buf),
        Some(_) => right(view, incident, area, buf),
        None if area.width >= 110 => {
            let (one, two) = columns(area, 54);
            left(view, incident, one, buf);
            right(view, incident, two, buf);
        }
        None => {
            let upper = if area.height >= 28 { area.height - 9 } else { 8 };
            let (one, two) = split_rows(area, upper);
            left(view, incident, one, buf);
            let (two, three) = columns(two, 50);
            server_panel(view, incident, two, buf);
            probes_panel(view, incident, three, buf);
        }
    }
}

fn left(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(view.panel == 0, "Questions", "");
    let list = questions(view);
    let at = view.cursor_in(0, list.len());
    // The selected answer is shown in full where there is room for two rows each.
    let roomy = usize::from(column.left()) >= list.len() * 2 + 6;
    let rows = usize::from(column.left());
    let first = first_row(at, list.len(), rows.max(1));
    for (i, asked) in list.iter().enumerate().skip(first).take(rows) {
        let key = commands::by_id(asked.command).map_or_else(String::new, |c| c.key.to_string());
        let (ink, sign, answer) = match &asked.answer {
            Some(answer) => (Ink::Good, theme.glyph("✓", "+"), answer.clone()),
            None if asked.needed => (Ink::Attention, "!", String::from("needed")),
            None => (Ink::Dim, theme.glyph("○", "o"), String::from("not answered")),
        };
        let room = column.width().saturating_sub(24);
        let words = if asked.answer.is_some() { Ink::Text } else { ink };
        let lines = text::wrap(&answer, room);
        let short = if roomy {
            lines.first().cloned().unwrap_or_default()
        } else {
            text::fit(&answer, room, theme.ellipsis())
        };
        column.row(
            view.panel == 0 && i == at,
            vec![
                Span::styled(key, theme.style(Ink::Key)),
                Span::styled(format!(" {sign} "), theme.style(ink)),
                Span::styled(pad(asked.ask, 17, theme) + " ", theme.style(Ink::Text)),
                Span::styled(short, theme.style(words)),
            ],
        );
        if roomy {
            let second = lines.get(1..).unwrap_or(&[]).join(" ");
            let second = text::fit(&second, room, theme.ellipsis());
            column.spans(vec![Span::raw(" ".repeat(24)), Span::styled(second, theme.style(words))]);
        }
    }
    if column.left() > 4 {
        column.skip(1);
        tier(view, incident, &mut column);
    }
}

fn tier(view: &View, incident: &Incident, column: &mut Column<'_>) {
    let (tier, targets) = (view.runbook.tier(incident.declaration.tier), view.targets_of(incident));
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let (rpo, rto) = (
        targets.rpo_seconds.map(|rpo| text::span(rpo as f64)),
        text::span(targets.rto_seconds as f64),
    );
    match incident.declaration.drill {
        Some(_) => column.title(false, "This drill", "its own targets"),
        None => column.title(false, &format!("{} tier", tier.title), &tier.use_cases),
    }
    let rpo = rpo.unwrap_or_else(|| String::from("none"));
    column.text(Ink::Text, format!("  RPO {rpo}: how much data may be lost"));
    column.text(Ink::Text, format!("  RTO {rto}: how long it may be down"));
}

fn right(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let (above, below) = split_rows(area, 8);
    server_panel(view, incident, above, buf);
    probes_panel(view, incident, below, buf);
}

fn server_panel(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    column.title(view.panel == 1, "Server", "");
    match &incident.server {
        None if view.busy("asking the server") => column.text(Ink::Accent, "Asking the server."),
        None => column.wrapped(Ink::Dim, "Not asked yet: press e. Asking changes nothing.", 0, 2),
        Some(probe) => server(view, probe, &mut column),
    }
}

fn probes_panel(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(false, "Integrity probes", "");
    if incident.probes.is_empty() {
        let words = if view.busy("running the probes") {
            "Running."
        } else {
            "Not run: press p. The cluster's own questions to its data; they only read."
        };
        column.wrapped(Ink::Dim, words, 0, 2);
        return;
    }
    let rest = column.rest();
    let at = (view.panel == 1).then(|| view.cursor_in(1, incident.probes.len()));
    checks::draw(theme, &incident.probes, at, rest, buf);
}

fn server(view: &View, probe: &ServerProbe, column: &mut Column<'_>) {
    const NAME: usize = 10;
    if probe.reachable {
        let version = probe.version.as_deref().unwrap_or("answers, version unknown");
        // The platform and the packager's suffix say nothing tonight; the number does.
        let short = version.split(" (").next().and_then(|v| v.split(" on ").next());
        column.field("answers", NAME, (Ink::Good, &text::clean(short.unwrap_or(version))), 1);
        if let Some(now) = probe.now {
            let skew = now.duration_since(probe.at).as_secs_f64();
            let note = if skew.abs() < 2.0 {
                text::when(now, view.now)
            } else {
                format!("{} ({} off from here!)", text::when(now, view.now), text::span(skew))
            };
            let ink = if skew.abs() < 2.0 { Ink::Text } else { Ink::Attention };
            column.field("its time", NAME, (ink, &note), 1);
        }
        if let Some(lsn) = probe.current_lsn {
            column.field("log at", NAME, (Ink::Text, &format!("LSN {lsn}")), 1);
        }
        if let Some(sessions) = probe.sessions {
            let ink = if sessions > 0 { Ink::Attention } else { Ink::Text };
            column.field("sessions", NAME, (ink, &format!("{sessions} other clients")), 1);
        }
    } else {
        let why = probe.error.as_deref().unwrap_or("no reason given");
        // A socket's path is long, and where it was looked for is what helps.
        let rows = column.left().saturating_sub(u16::from(probe.identity.is_some())).max(1);
        column.field("NO ANSWER", NAME, (Ink::Bad, &text::clean(why)), rows);
    }
    if let Some(id) = &probe.identity {
        let words =
            format!("{} {} timeline {}", server_role(id.role), view.theme.dot(), id.timeline);
        column.field("control", NAME, (Ink::Text, &words), 1);
    }
}
