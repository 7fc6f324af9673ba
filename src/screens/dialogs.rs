//! The layers' faces: each in a box over the dimmed screen. Owns drawing alone.

use super::layers::{
    Choice, Commits, Confirm, Emphasis, Gate, Layer, LineInput, MomentInput, Reader, ReaderKind,
};
use super::moment::{FORMS, Reading};
use super::other_point::Way;
use super::paint::{Column, first_row, wash};
use super::theme::Ink;
use super::view::View;
use super::{commands, frame, other_point, text};
use crate::engine::incident::Incident;
use crate::engine::incident::approval;
use crate::engine::incident::facts::{Commit, Forecast, Procedure, TargetPoint};
use crate::engine::runner::plan::Plan;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Span;
use tui_input::Input;

type Line = Vec<Span<'static>>;

/// Draws one layer.
pub fn draw(view: &View, layer: &Layer, area: Rect, buf: &mut Buffer) {
    // The key bar below stays visible: it says what the keys do in this layer.
    let top = frame::header_rows(view).min(area.height.saturating_sub(1));
    let room = Rect { y: area.y + top, height: area.height.saturating_sub(top + 1), ..area };
    match layer {
        Layer::Reader(reader) => draw_reader(view, reader, room, buf),
        Layer::Line(input) => draw_line(view, input, room, buf),
        Layer::Moment(input) => draw_moment(view, input, room, buf),
        Layer::Choice(choice) => draw_choice(view, choice, room, buf),
        Layer::Confirm(confirm) => draw_confirm(view, confirm, room, buf),
        Layer::Gate(gate) => draw_gate(view, gate, room, buf),
        Layer::Commits(commits) => draw_commits(view, commits, room, buf),
    }
}

/// A centred box with a frame and a title; gives what is inside.
fn boxed(
    view: &View,
    title: &str,
    ink: Ink,
    size: (u16, u16),
    area: Rect,
    buf: &mut Buffer,
) -> Rect {
    let theme = view.theme;
    let width = size.0.min(area.width);
    let height = size.1.min(area.height);
    let outer = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    // Its rows are cleared whole: no halves of words to its left and right.
    wash(buf, Rect { x: area.x, width: area.width, ..outer }, theme.style(Ink::Text));
    if width < 4 || height < 3 {
        return outer;
    }
    let (h, v) = (theme.glyph("─", "-"), theme.glyph("│", "|"));
    let corners = if theme.ascii { ["+"; 4] } else { ["╭", "╮", "╰", "╯"] };
    let style = theme.style(ink);
    let line = h.repeat(usize::from(width) - 2);
    let row = |l: &str, r: &str| format!("{l}{line}{r}");
    buf.set_string(outer.x, outer.y, row(corners[0], corners[1]), style);
    buf.set_string(outer.x, outer.bottom() - 1, row(corners[2], corners[3]), style);
    for y in outer.y + 1..outer.bottom() - 1 {
        buf.set_string(outer.x, y, v, style);
        buf.set_string(outer.right() - 1, y, v, style);
    }
    let title =
        text::fit(&format!(" {} ", text::clean(title)), usize::from(width) - 4, theme.ellipsis());
    buf.set_string(outer.x + 2, outer.y, title, style.add_modifier(Modifier::BOLD));
    Rect { x: outer.x + 2, y: outer.y + 1, width: width - 4, height: height - 2 }
}

fn wrapped(view: &View, ink: Ink, content: &str, width: usize) -> Vec<Line> {
    let style = view.theme.style(ink);
    text::wrap(&text::clean(content), width)
        .into_iter()
        .map(|line| vec![Span::styled(line, style)])
        .collect()
}

fn height(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX - 2).saturating_add(2)
}

/// How many of `total` lines are shown at once in so many rows: one tells that there are more.
fn shown_of(total: usize, rows: u16) -> usize {
    let rows = usize::from(rows);
    if total <= rows { total } else { rows.saturating_sub(1) }
}

/// Lines that scroll, with what lies below and above where there are more.
fn scrolling(view: &View, lines: Vec<Line>, scroll: usize, inner: Rect, buf: &mut Buffer) {
    let total = lines.len();
    let shown = shown_of(total, inner.height);
    if shown == total {
        let mut column = Column::new(view.theme, inner, buf);
        lines.into_iter().for_each(|l| column.spans(l));
        return;
    }
    let first = scroll.min(total - shown);
    let mut column = Column::new(view.theme, inner, buf);
    for line in lines.into_iter().skip(first).take(shown) {
        column.spans(line);
    }
    let theme = view.theme;
    let (up, down) = (theme.glyph("↑", "^"), theme.glyph("↓", "v"));
    match total - first - shown {
        0 => column.text(Ink::Dim, format!("{up} the end; {first} lines above: PgUp")),
        1 => column.text(Ink::Attention, format!("{down} 1 more line below: PgDn")),
        below => column.text(Ink::Attention, format!("{down} {below} more lines below: PgDn")),
    }
}

/// The most that a reader can be scrolled, so that keys do not run past the end.
#[must_use]
pub fn reader_length(view: &View, reader: &Reader) -> usize {
    let width = usize::from(wide(view).saturating_sub(4)).max(1);
    reader_lines(view, reader, width).len()
}

fn wide(view: &View) -> u16 {
    view.size.0.saturating_sub(6).clamp(20, 110)
}

fn draw_reader(view: &View, reader: &Reader, area: Rect, buf: &mut Buffer) {
    let width = wide(view).min(area.width);
    let lines = reader_lines(view, reader, usize::from(width.saturating_sub(4)).max(1));
    let inner = boxed(view, &reader.title, Ink::Accent, (width, height(lines.len())), area, buf);
    let visible = usize::from(inner.height).saturating_sub(1);
    let scroll = match reader.kind {
        ReaderKind::Timeline | ReaderKind::Log => {
            lines.len().saturating_sub(visible).saturating_sub(reader.scroll)
        }
        _ => reader.scroll,
    };
    scrolling(view, lines, scroll, inner, buf);
}

fn reader_lines(view: &View, reader: &Reader, width: usize) -> Vec<Line> {
    match &reader.kind {
        ReaderKind::Help => help_lines(view, width),
        ReaderKind::Timeline => {
            let mut out = Vec::new();
            for line in view.incident.iter().flat_map(|i| &i.timeline) {
                let mut spans = frame::timeline_spans(view, line);
                let head: usize = spans.iter().take(2).map(|s| text::width(&s.content)).sum();
                let who = spans.pop();
                let parts = text::wrap(&text::clean(&line.text), width.saturating_sub(head + 10));
                let style = spans.get(2).map_or_else(Style::new, |s| s.style);
                spans.truncate(2);
                for (i, part) in parts.into_iter().enumerate() {
                    let mut row =
                        if i == 0 { spans.clone() } else { vec![Span::raw(" ".repeat(head))] };
                    row.push(Span::styled(part, style));
                    if i == 0
                        && let Some(who) = &who
                    {
                        row.push(who.clone());
                    }
                    out.push(row);
                }
            }
            out
        }
        ReaderKind::Log => {
            let log = view.progress.as_ref().map_or(&[][..], |p| &p.log);
            log.iter().flat_map(|l| wrapped(view, Ink::Text, l, width)).collect()
        }
        ReaderKind::People => text_lines(view, &super::people::page(view), width),
        ReaderKind::Text(paragraphs) => text_lines(view, paragraphs, width),
    }
}

fn text_lines(view: &View, paragraphs: &[(Emphasis, String)], width: usize) -> Vec<Line> {
    let theme = view.theme;
    paragraphs
        .iter()
        .flat_map(|(emphasis, content)| {
            let ink = match emphasis {
                Emphasis::Plain => Ink::Text,
                Emphasis::Heading => Ink::Strong,
                Emphasis::Dim => Ink::Dim,
                Emphasis::Bad => Ink::Bad,
                Emphasis::Good => Ink::Good,
            };
            let style = theme.style(ink);
            text::wrap(content, width)
                .into_iter()
                .map(move |l| vec![Span::styled(text::clean(&l), style)])
                .collect::<Vec<_>>()
        })
        .collect()
}

fn help_lines(view: &View, width: usize) -> Vec<Line> {
    let theme = view.theme;
    let mut out = Vec::new();
    for (heading, list) in commands::help(view.page) {
        if !out.is_empty() {
            out.push(Vec::new());
        }
        out.push(vec![Span::styled(heading, theme.style(Ink::Strong))]);
        for c in list {
            let mine = view.may(c.role).is_ok();
            let ink = if mine { Ink::Text } else { Ink::Dim };
            let who = match commands::who(c.role) {
                "everyone" => String::new(),
                who if mine => format!(" ({who})"),
                who => format!(" (not you: {who})"),
            };
            let words = text::wrap(&format!("{}{who}", c.help), width.saturating_sub(13));
            for (i, part) in words.into_iter().enumerate() {
                let key = if i == 0 { c.key.to_string() } else { String::new() };
                let pad = " ".repeat(11_usize.saturating_sub(text::width(&key)));
                out.push(vec![
                    Span::raw(" "),
                    Span::styled(key, theme.style(Ink::Focus)),
                    Span::raw(pad + " "),
                    Span::styled(part, theme.style(ink)),
                ]);
            }
        }
    }
    out.push(Vec::new());
    out.push(vec![Span::styled("Words", theme.style(Ink::Strong))]);
    for (word, means) in WORDS {
        for (i, part) in text::wrap(means, width.saturating_sub(13)).into_iter().enumerate() {
            let word = if i == 0 { *word } else { "" };
            out.push(vec![
                Span::styled(format!(" {word:<12}"), theme.style(Ink::Dim)),
                Span::styled(part, theme.style(Ink::Text)),
            ]);
        }
    }
    out
}

/// The field's words, for someone who meets them tonight.
const WORDS: &[(&str, &str)] = &[
    (
        "log, WAL",
        "PostgreSQL's write-ahead log: every change in order. Replaying it on a backup brings the database to any moment after that backup.",
    ),
    ("LSN", "A position in that log, such as 16/B374D848."),
    ("base backup", "A copy of the whole data directory. A recovery starts from one."),
    ("timeline", "A line of history. Each recovery that was opened began a new one."),
    ("promote", "End the replay and let the database take writes."),
    ("RPO", "How much data may be lost, as time."),
    ("RTO", "How long the service may be down."),
];

/// A text field in one row, the cursor shown reversed and, without style, by a bar.
fn field(view: &View, input: &Input, column: &mut Column<'_>) {
    let theme = view.theme;
    let width = column.width().saturating_sub(4).max(1);
    let scroll = input.visual_scroll(width.saturating_sub(1));
    let cursor = input.visual_cursor().saturating_sub(scroll);
    let mut shown: Vec<String> = Vec::new();
    let mut at = 0;
    for c in text::clean(input.value()).chars() {
        let w = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if at >= scroll && at + w <= scroll + width {
            shown.push(c.to_string());
        }
        at += w;
    }
    let mut spans = vec![Span::styled(format!("{} ", theme.pointer()), theme.style(Ink::Accent))];
    let mut x = 0;
    let mut placed = false;
    for c in shown {
        let style = if x == cursor {
            placed = true;
            theme.style(Ink::Strong).add_modifier(Modifier::REVERSED)
        } else {
            theme.style(Ink::Strong)
        };
        x += text::width(&c);
        spans.push(Span::styled(c, style));
    }
    if !placed {
        spans.push(Span::styled("_", theme.style(Ink::Accent).add_modifier(Modifier::SLOW_BLINK)));
    }
    column.spans(spans);
}

fn draw_line(view: &View, input: &LineInput, area: Rect, buf: &mut Buffer) {
    let width = wide(view).min(76).min(area.width);
    let inner_width = usize::from(width.saturating_sub(4)).max(1);
    let prompt = wrapped(view, Ink::Text, &input.prompt, inner_width);
    let hint = if input.hint.is_empty() {
        Vec::new()
    } else {
        wrapped(view, Ink::Dim, &input.hint, inner_width)
    };
    let error = input
        .error
        .as_ref()
        .map_or_else(Vec::new, |e| wrapped(view, Ink::Bad, &format!("! {e}"), inner_width));
    let rows = prompt.len() + hint.len() + error.len() + 3;
    let inner = boxed(view, &input.title, Ink::Accent, (width, height(rows)), area, buf);
    let mut column = Column::new(view.theme, inner, buf);
    prompt.into_iter().for_each(|l| column.spans(l));
    column.skip(1);
    field(view, &input.input, &mut column);
    column.skip(1);
    error.into_iter().for_each(|l| column.spans(l));
    hint.into_iter().for_each(|l| column.spans(l));
}

fn draw_moment(view: &View, input: &MomentInput, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let width = wide(view).min(76).min(area.width);
    let inner_width = usize::from(width.saturating_sub(4)).max(1);
    let prompt = wrapped(view, Ink::Text, &input.prompt, inner_width);
    let mut below: Vec<(bool, Vec<Line>)> = Vec::new();
    match &input.reading {
        Reading::Empty => {
            below.push((
                false,
                wrapped(view, Ink::Dim, &format!("For example: {FORMS}"), inner_width),
            ));
        }
        Reading::Wrong(why) => {
            below.push((false, wrapped(view, Ink::Attention, &format!("? {why}"), inner_width)));
        }
        Reading::Meant(list) => {
            let several = list.len() > 1;
            if several {
                let ask = "Two clocks could be meant. Choose with the arrow keys:";
                below.push((false, wrapped(view, Ink::Attention, ask, inner_width)));
            }
            for (i, (at, words)) in list.iter().enumerate() {
                let ago = text::ago(*at, view.now);
                let words = format!("= {words}, {ago}");
                let lines = wrapped(view, Ink::Good, &words, inner_width.saturating_sub(2));
                below.push((several && i == input.selected.min(list.len() - 1), lines));
            }
        }
    }
    let rows = prompt.len() + 3 + below.iter().map(|(_, l)| l.len()).sum::<usize>();
    let inner = boxed(view, &input.title, Ink::Accent, (width, height(rows.max(7))), area, buf);
    let mut column = Column::new(theme, inner, buf);
    prompt.into_iter().for_each(|l| column.spans(l));
    column.skip(1);
    field(view, &input.input, &mut column);
    column.skip(1);
    let choosing = below.iter().any(|(selected, _)| *selected);
    for (selected, lines) in below {
        for line in lines {
            if choosing { column.row(selected, line) } else { column.spans(line) }
        }
    }
}

fn draw_choice(view: &View, choice: &Choice, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let width = wide(view).min(90).min(area.width);
    let inner_width = usize::from(width.saturating_sub(4)).max(1);
    let prompt = wrapped(view, Ink::Text, &choice.prompt, inner_width);
    let at = choice.selected.min(choice.options.len().saturating_sub(1));
    let mut rows: Vec<(bool, Line)> = Vec::new();
    let mut first_of = 0;
    for (i, (_, label, means)) in choice.options.iter().enumerate() {
        if i == at {
            first_of = rows.len();
        }
        rows.push((i == at, vec![Span::styled(label.clone(), theme.style(Ink::Strong))]));
        for line in text::wrap(&text::clean(means), inner_width.saturating_sub(4)) {
            if !line.is_empty() {
                rows.push((false, vec![Span::styled(format!("  {line}"), theme.style(Ink::Dim))]));
            }
        }
    }
    let above = if choice.prompt.is_empty() { 0 } else { prompt.len() + 1 };
    let total = above + rows.len();
    let inner = boxed(view, &choice.title, Ink::Accent, (width, height(total)), area, buf);
    let mut column = Column::new(theme, inner, buf);
    if !choice.prompt.is_empty() {
        prompt.into_iter().for_each(|l| column.spans(l));
        column.skip(1);
    }
    let visible = usize::from(column.left());
    let first = first_row(first_of, rows.len(), visible);
    for (selected, line) in rows.into_iter().skip(first).take(visible) {
        column.row(selected, line);
    }
}

fn draw_confirm(view: &View, confirm: &Confirm, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let width = wide(view).min(76).min(area.width);
    let inner_width = usize::from(width.saturating_sub(4)).max(1);
    let mut lines: Vec<Line> = Vec::new();
    for paragraph in &confirm.body {
        for line in paragraph.split('\n') {
            lines.extend(wrapped(view, Ink::Text, line, inner_width));
        }
        lines.push(Vec::new());
    }
    let answer = |key: &'static str, words: &str| -> Line {
        vec![
            Span::styled(format!(" {key} "), theme.style(Ink::Key)),
            Span::styled(format!("  {words}"), theme.style(Ink::Text)),
        ]
    };
    lines.push(answer("y", &confirm.yes));
    lines.push(answer("n", &confirm.no));
    let size = (width, height(lines.len()));
    let inner = boxed(view, &confirm.title, Ink::Attention, size, area, buf);
    let mut column = Column::new(theme, inner, buf);
    // The answers are never cut off: what is too long gives way above them.
    let visible = usize::from(column.left());
    let skip = lines.len().saturating_sub(visible);
    let keep = lines.len().saturating_sub(2 + skip);
    let tail = lines.split_off(lines.len().saturating_sub(2));
    lines.truncate(keep);
    lines.into_iter().chain(tail).for_each(|l| column.spans(l));
}

/// How long all steps take; people's time at the point is theirs.
fn takes(plan: &Plan, forecast: &Forecast) -> String {
    let sum = |steps: &mut dyn Iterator<Item = (f64, f64)>| {
        steps.fold((0.0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1))
    };
    let of = |id: &str| plan.step(id).and_then(|step| step.expected);
    // The plan knows more than the forecast of its point, such as the line that it comes by.
    let parts = of("restore-base").zip(of("replay"));
    let most =
        parts.map_or(forecast.total(), |(copy, replay)| sum(&mut [copy, replay].into_iter()));
    let all = sum(&mut plan.steps.iter().filter_map(|step| step.expected));
    if parts.is_none() || all.1 <= most.1 {
        return text::span_range(most);
    }
    format!("{}, copy and replay {}", text::span_range(all), text::span_range(most))
}

/// What is about to happen and what stays, as the gate shows it.
fn gate_lines(view: &View, incident: &Incident, width: usize) -> Vec<Line> {
    let theme = view.theme;
    let Some(plan) = &incident.plan else { return Vec::new() };
    if plan.procedure.is_parts() {
        return super::parts::plan_lines(view, incident, plan, width);
    }
    let mut out: Vec<Line> = Vec::new();
    let mut fact = |name: &str, value: String, ink: Ink| {
        let value = if value.starts_with('/') {
            vec![text::shorten(&value, width.saturating_sub(14), theme.ellipsis())]
        } else {
            text::wrap(&value, width.saturating_sub(14))
        };
        for (i, part) in value.into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            out.push(vec![
                Span::styled(format!("{name:<14}"), theme.style(Ink::Dim)),
                Span::styled(text::clean(&part), theme.style(ink)),
            ]);
        }
    };
    for (name, words, ink) in super::people::approval(view, incident) {
        fact(name, words, ink);
    }
    let id = &plan.identity;
    fact(
        "cluster",
        format!("{} ({})", plan.cluster, incident.declaration.environment),
        Ink::Strong,
    );
    fact(
        "on host",
        format!("{}, system {}, {}", id.host, id.system_identifier, frame::server_role(id.role)),
        Ink::Text,
    );
    fact("directory", id.data_directory.clone(), Ink::Text);
    if plan.lost {
        let words = "! lost: whose it is, is the backup's word. Be sure.";
        fact("", words.to_owned(), Ink::Attention);
    }
    let full = match &plan.procedure {
        Procedure::FullRestore { destination, port } => Some((destination.clone(), *port)),
        _ => None,
    };
    if let Some((destination, port)) = &full {
        fact(
            "full restore",
            format!("a new cluster, at port {port} until it is swapped in:"),
            Ink::Strong,
        );
        fact("", destination.clone(), Ink::Text);
    }
    let back = match incident.reach.as_ref().filter(|reach| reach.target == plan.target) {
        Some(reach) if reach.target.point != TargetPoint::EndOfBase => {
            super::guide::when_and_where(view, reach)
        }
        _ => super::full_restore::goes_back(plan),
    };
    fact("goes back to", back, Ink::Strong);
    if let Some(reach) = &incident.reach {
        let read = incident
            .reach_read
            .map_or_else(String::new, |at| format!(", as of {}", text::when(at, view.now)));
        let lost = match (reach.lost_commits, reach.lost_seconds) {
            (Some(n), Some(s)) => {
                format!("{} commits, the last {}{read}", text::count(n), text::span(s))
            }
            // No commit is kept to count the time from.
            (Some(n), None) => format!("{} commits{read}", text::count(n)),
            _ => String::from("not known"),
        };
        let lost = if plan.lost { approval::with_uncounted(&lost, incident) } else { lost };
        fact("lost by it", lost, Ink::Attention);
        if let Some(f) = &reach.forecast {
            fact("takes", takes(plan, f), Ink::Text);
        }
    }
    if plan.target.point != TargetPoint::EndOfBase {
        fact("from backup", plan.base.set.clone(), Ink::Text);
    }
    if let Some(source) = plan.source.as_ref().filter(|source| source.far) {
        fact("comes", source.to_string(), Ink::Attention);
    }
    if full.is_some() {
        fact("stops", String::from("nothing, before you decide to swap"), Ink::Good);
        let kept = if plan.lost {
            "what is left of the old directory, once it is swapped:"
        } else {
            "the old directory, whole, once it is swapped:"
        };
        fact("stays kept", kept.to_owned(), Ink::Good);
        fact("", plan.aside.clone(), Ink::Text);
        return out;
    }
    fact("stops", String::from("the server; nobody can write from then on"), Ink::Attention);
    fact(
        "stays kept",
        String::from(if plan.lost {
            "what is left of the directory and its log, if anything:"
        } else {
            "the damaged directory, whole, and its log not archived yet:"
        }),
        Ink::Good,
    );
    fact("", plan.aside.clone(), Ink::Text);
    fact("", plan.rescue.clone(), Ink::Text);
    fact(
        "steps",
        format!("{}, plan {}", plan.steps.len(), plan.hash.get(..8).unwrap_or("")),
        Ink::Text,
    );
    out
}

/// What a second person is asked to approve.
fn sheet_lines(view: &View, incident: &Incident, width: usize) -> Vec<Line> {
    let theme = view.theme;
    let mut out: Vec<Line> = Vec::new();
    for fact in approval::sheet(incident) {
        let room = width.saturating_sub(14);
        let parts = if fact.text.starts_with('/') {
            vec![text::shorten(&fact.text, room, theme.ellipsis())]
        } else {
            text::wrap(&fact.text, room)
        };
        for (i, part) in parts.into_iter().enumerate() {
            let name = if i == 0 { fact.name } else { "" };
            let loud = matches!(fact.name, "cluster" | "goes back to" | "lost by it");
            let ink = if loud { Ink::Strong } else { Ink::Text };
            out.push(vec![
                Span::styled(format!("{name:<14}"), theme.style(Ink::Dim)),
                Span::styled(text::clean(&part), theme.style(ink)),
            ]);
        }
    }
    out
}

/// What a gate shows and asks.
struct Page {
    lines: Vec<Line>,
    title: &'static str,
    /// What the name is typed for.
    begin: &'static str,
    /// What Enter and Esc do.
    words: &'static str,
}

fn gate_width(view: &View) -> u16 {
    wide(view).min(96)
}

/// How far a gate has to be scrolled for its end to be shown.
#[must_use]
pub fn gate_end(view: &View, gate: &Gate) -> usize {
    let Some(incident) = &view.incident else { return 0 };
    let width = gate_width(view).min(view.size.0);
    let total = gate_page(view, incident, gate, width).lines.len();
    let room = view.size.1.saturating_sub(frame::header_rows(view) + 1);
    let rows = height(total + ASKED).min(room).saturating_sub(2).saturating_sub(4);
    total - shown_of(total, rows)
}

/// Rows of a gate below what is to be read: a rule, the question, the field, what the keys do.
const ASKED: usize = 4;

fn gate_page(view: &View, incident: &Incident, gate: &Gate, width: u16) -> Page {
    let inner_width = usize::from(width.saturating_sub(4)).max(1);
    let (lines, title, begin, words) = match &gate.point {
        _ if gate.approve => (
            sheet_lines(view, incident, inner_width),
            "What you are asked to approve",
            "approve",
            "Enter approves it in your name. Esc leaves it as it is.",
        ),
        _ if gate.parts.is_some() => (
            gate.parts.as_ref().map_or_else(Vec::new, |choice| {
                super::parts::carry_lines(view, incident, choice, inner_width)
            }),
            "Into production: nothing of it has been touched so far",
            "carry it over",
            "Enter carries it over. Esc goes back.",
        ),
        Some(target) => {
            let lines = other_point::lines(view, incident, target, inner_width);
            let stay = "Enter goes to that point. Esc stays at this one.";
            match other_point::way(view, incident, target) {
                Some(Way::Later) => (
                    lines,
                    "On to a later point: nothing is copied again",
                    "go on",
                    "Enter goes on to that point. Esc stays at this one.",
                ),
                Some(Way::Earlier) => {
                    (lines, "Back to an earlier point: restored anew", "go back", stay)
                }
                None => (lines, "To another point", "go there", stay),
            }
        }
        None => (
            gate_lines(view, incident, inner_width),
            "The gate: nothing has been touched so far",
            "begin",
            match super::people::waits(view, incident) {
                true => "It stays closed until somebody else approves. Esc goes back.",
                false if incident.is_salvaging() => "Enter begins the salvage. Esc goes back.",
                false => "Enter begins the recovery. Esc goes back.",
            },
        ),
    };
    Page { lines, title, begin, words }
}

fn draw_gate(view: &View, gate: &Gate, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let Some(incident) = &view.incident else { return };
    let width = gate_width(view).min(area.width);
    let Page { lines, title, begin, words } = gate_page(view, incident, gate, width);
    let words = match gate.seen < gate_end(view, gate) {
        true => "Enter shows what is below first. Esc goes back.",
        false => words,
    };
    let ask = format!("To {begin}, type the cluster's name: {}", gate.cluster);
    let error = gate.error.clone().unwrap_or_default();
    let rows = lines.len() + ASKED;
    let inner = boxed(view, title, Ink::Attention, (width, height(rows)), area, buf);
    let (above, below) = super::split_rows(inner, inner.height.saturating_sub(4));
    scrolling(view, lines, gate.scroll, above, buf);
    let mut column = Column::new(theme, below, buf);
    column.title(false, "", "");
    column.wrapped(Ink::Strong, &ask, 0, 1);
    field(view, &gate.input, &mut column);
    if error.is_empty() {
        column.text(Ink::Dim, words);
    } else {
        column.wrapped(Ink::Bad, &format!("! {error}"), 0, 1);
    }
}

fn draw_commits(view: &View, commits: &Commits, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let width = wide(view).min(100).min(area.width);
    let title = format!("Transactions around {}", text::when(commits.around, view.now));
    let Some(list) = &commits.list else {
        let inner = boxed(view, &title, Ink::Accent, (width, 3), area, buf);
        Column::new(theme, inner, buf).text(Ink::Dim, "Reading the archived log.");
        return;
    };
    let rows = list.len().max(1) + 2;
    let inner = boxed(view, &title, Ink::Accent, (width, height(rows)), area, buf);
    let mut column = Column::new(theme, inner, buf);
    if list.is_empty() {
        column.text(Ink::Dim, "None was found near that time.");
        return;
    }
    column.text(
        Ink::Dim,
        format!(
            "  {:<13} {:>10} {:>9} {:>9} {:>9}  LSN",
            "committed UTC", "xid", "inserted", "updated", "deleted"
        ),
    );
    let visible = usize::from(column.left().saturating_sub(1));
    let at = commits.selected.min(list.len() - 1);
    let first = first_row(at, list.len(), visible);
    for (i, c) in list.iter().enumerate().skip(first).take(visible) {
        let ink = if c.deletes > 1000 { Ink::Attention } else { Ink::Text };
        column.row(
            i == at,
            vec![
                Span::styled(
                    format!("{:<13}", c.at.strftime("%H:%M:%S%.3f")),
                    theme.style(Ink::Text),
                ),
                Span::styled(format!(" {:>10}", which(c)), theme.style(Ink::Dim)),
                Span::styled(
                    format!(
                        " {:>9} {:>9} {:>9}",
                        text::count(c.inserts),
                        text::count(c.updates),
                        text::count(c.deletes)
                    ),
                    theme.style(ink),
                ),
                Span::styled(format!("  {}", c.first_lsn), theme.style(Ink::Dim)),
            ],
        );
    }
    let words = match list.get(at).map_or(1, |c| c.stands_for) {
        1 => String::from("Enter takes the point just before the selected transaction."),
        n => {
            format!("{} commits in one row. Enter: just before the first of them.", text::count(n))
        }
    };
    column.text(Ink::Dim, words);
}

/// A transaction's number, or how many commits are only known together.
fn which(commit: &Commit) -> String {
    match commit.stands_for {
        1 => commit.xid.to_string(),
        n => format!("{} in 1", text::count(n)),
    }
}
