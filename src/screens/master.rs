//! The game master's window on a facilitated drill. Draws a snapshot; what a key does is
//! `app::master`'s. Nothing of it is ever in the participants' own screens.
//!
//! ```text
//! GAME MASTER  corruption: Recent data corruption                    DRILL  } which drill
//! Running 04:12 of 4 h · struck 03:58 ago · ● RTO 15 min: 11:02 left        } clocks
//! What happened: app_maintenance ran "DELETE …"                             } the truth
//! ── The participants ──  INC-…, recovery point …, what was done last
//! ── Injects ──           ▸ struck  key-denied  The key is denied  12:04:31
//! ── Observed ──          12:05:02 Nobody asked for the key
//! r release  u undo  o observe  g give hint  t tell them  ? help  q quit    } key bar
//! ```

use super::commands::{self, Command, Id};
use super::paint::{Column, first_row, pad, wash};
use super::theme::{Ink, Theme};
use super::view::View;
use super::{dialogs, frame, text};
use crate::engine::drill::cast::{Cue, Standing};
use crate::engine::drill::hints::{self, Hint};
use crate::engine::drill::inject::When;
use crate::engine::drill::master::Stage;
use crate::engine::incident::Incident;
use crate::engine::incident::model::Tone;
use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use std::collections::BTreeSet;

const NO_INJECTS: &str = "This drill was begun without injects. --inject NAME adds one to the next; lifeboat drill show SCENARIO lists those that fit.";

/// What the window shows.
#[derive(Debug, Clone)]
pub struct MasterView {
    /// Time, size, theme, dialogs, the newest notice, and the participants' incident.
    pub view: View,
    pub stage: Stage,
    /// The selected inject.
    pub selected: usize,
}

impl MasterView {
    #[must_use]
    pub fn cue(&self) -> Option<&Cue> {
        self.stage.cues.get(self.selected.min(self.stage.cues.len().saturating_sub(1)))
    }

    /// Hints that the participants have.
    #[must_use]
    pub fn hints(&self) -> usize {
        hints::told(self.view.incident.as_ref()).len()
    }

    /// The hint that would be given now.
    #[must_use]
    pub fn next_hint(&self) -> Option<&Hint> {
        let incident = self.view.incident.as_ref();
        let told: BTreeSet<usize> =
            hints::told(incident).union(&self.stage.hints_waiting).copied().collect();
        let next = hints::next_of_all(&self.stage.hints, &told, hints::here(incident))?;
        self.stage.hints.get(next)
    }

    /// Whether a command would do something now.
    #[must_use]
    pub fn available(&self, id: Id) -> bool {
        let standing = self.cue().map(Cue::standing);
        match id {
            Id::ReleaseInject => standing == Some(Standing::Waiting),
            Id::UndoInject => {
                standing == Some(Standing::Struck)
                    && self.cue().is_some_and(|cue| cue.inject.relief.is_some())
            }
            Id::GiveHint => self.next_hint().is_some(),
            _ => true,
        }
    }

    /// Why a command that is not available does nothing now.
    #[must_use]
    pub fn why_not(&self, id: Id) -> String {
        let Some(cue) = self.cue() else {
            return match id {
                Id::GiveHint => String::from("Every hint was given."),
                _ => String::from(NO_INJECTS),
            };
        };
        String::from(match (id, cue.standing()) {
            (Id::GiveHint, _) => "Every hint was given.",
            (Id::ReleaseInject, Standing::Released) => "It was released; it strikes at its moment.",
            (Id::ReleaseInject, _) => "It has struck already.",
            (_, Standing::Waiting | Standing::Released) => "It has not struck yet.",
            (_, Standing::Struck) => "Nobody else undoes it: they are to find the way out.",
            (_, Standing::Cured) => "It was undone already.",
        })
    }

    /// What the key bar shows.
    #[must_use]
    pub fn bar(&self) -> Vec<&'static Command> {
        if !self.view.layers.is_empty() {
            return commands::bar(&self.view);
        }
        let mut list: Vec<_> = commands::of_master()
            .into_iter()
            .filter(|c| c.rank <= 90 && self.available(c.id))
            .collect();
        list.sort_by_key(|c| c.rank);
        list
    }
}

/// Draws the whole window.
pub fn draw(master: &MasterView, area: Rect, buf: &mut Buffer) {
    let view = &master.view;
    let area = area.intersection(buf.area);
    wash(buf, area, view.theme.style(Ink::Text));
    if area.width < 40 || area.height < 12 {
        let mut column = Column::new(view.theme, area, buf);
        column.wrapped(Ink::Attention, "Please make this window larger.", 0, area.height);
        return;
    }
    let head = header(master, area, buf);
    let bar = Rect { y: area.bottom() - 1, height: 1, ..area };
    draw_bar(master, bar, buf);
    let body = Rect {
        x: area.x + 1,
        y: area.y + head,
        width: area.width - 2,
        height: area.height.saturating_sub(head + 1),
    };
    if area.width >= 120 {
        let (left, right) = super::columns(body, 52);
        let (above, below) = super::split_rows(left, left.height / 2);
        participants(master, above, buf);
        observed(master, below, buf);
        injects(master, right, buf);
    } else {
        // What they do gives way first: their own screens show it, too.
        let cues = u16::try_from(master.stage.cues.len()).unwrap_or(u16::MAX);
        let (above, rest) = super::split_rows(body, (body.height / 4).clamp(5, 8));
        let wanted = cues.saturating_add(7).min(rest.height.saturating_sub(4));
        let (middle, below) = super::split_rows(rest, wanted);
        participants(master, above, buf);
        injects(master, middle, buf);
        observed(master, below, buf);
    }
    for layer in &view.layers {
        dialogs::draw(view, layer, area, buf);
    }
}

fn since(view: &View, at: Timestamp) -> f64 {
    view.now.duration_since(at).as_secs_f64().max(0.0)
}

/// Gives the rows that it took.
fn header(master: &MasterView, area: Rect, buf: &mut Buffer) -> u16 {
    let (view, stage) = (&master.view, &master.stage);
    let theme = view.theme;
    wash(buf, Rect { height: 2.min(area.height), ..area }, theme.style(Ink::Header));
    let mut column = Column::new(theme, area, buf);
    let mark = " DRILL ";
    let name = format!("  {}: {}", text::clean(&stage.scenario), text::clean(&stage.title));
    let room = column.width().saturating_sub(12 + mark.len() + 1);
    column.spans(vec![
        Span::styled(" GAME MASTER", theme.style(Ink::Focus)),
        Span::styled(pad(&name, room, theme), theme.style(Ink::Text)),
        Span::styled(mark, theme.style(Ink::Drill)),
    ]);
    let dot = || Span::styled(format!(" {} ", theme.dot()), theme.style(Ink::Dim));
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = stage.time_limit_seconds as f64;
    let of = match column.width() >= 100 {
        true => format!(", ends by itself after {}", text::span(limit)),
        false => String::new(),
    };
    let mut spans = vec![Span::styled(
        format!(" Running {}{of}", text::clock(since(view, stage.begun))),
        theme.style(Ink::Text),
    )];
    spans.push(dot());
    let struck = format!("struck {} ago", text::clock(since(view, stage.struck_at)));
    spans.push(Span::styled(struck, theme.style(Ink::Text)));
    spans.push(dot());
    spans.push(rto(master));
    spans.push(dot());
    let hints = format!("hints {} of {}", master.hints(), stage.hints.len());
    spans.push(Span::styled(hints, theme.style(Ink::Text)));
    column.spans(spans);
    column.wrapped(Ink::Attention, &format!(" What happened: {}", text::clean(&stage.truth)), 1, 2);
    area.height - column.left()
}

fn rto(master: &MasterView) -> Span<'static> {
    let (view, stage) = (&master.view, &master.stage);
    let theme = view.theme;
    let (ink, words) = match &view.incident {
        Some(incident) => {
            let (ink, sign, words) = frame::rto(view, incident, false);
            (ink, format!("{sign} {words}"))
        }
        None => (Ink::Dim, format!("RTO {}: not begun", text::span(stage.rto_seconds))),
    };
    Span::styled(words, theme.style(ink))
}

fn draw_bar(master: &MasterView, area: Rect, buf: &mut Buffer) {
    let view = &master.view;
    let theme = view.theme;
    wash(buf, area, theme.style(Ink::Header));
    let mut column = Column::new(theme, area, buf);
    let notice = view.notice.as_ref().filter(|n| n.until > view.now && view.layers.is_empty());
    if let Some(notice) = notice {
        let (ink, sign) = theme.tone(if notice.bad { Tone::Bad } else { Tone::Good });
        let ink = if notice.bad { ink } else { Ink::Strong };
        column.text(ink, format!(" {sign} {}", text::clean(&notice.text)));
        return;
    }
    column.spans(frame::key_bar(&master.bar(), theme, usize::from(area.width)));
}

/// Their incident as it stands, and what they did last.
fn participants(master: &MasterView, area: Rect, buf: &mut Buffer) {
    let view = &master.view;
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(false, "The participants", "");
    let Some(incident) = &view.incident else {
        column.wrapped(Ink::Dim, "No incident is declared yet.", 2, 2);
        return;
    };
    for line in standing(view, incident) {
        column.spans(line);
    }
    let rows = usize::from(column.left());
    let lines: Vec<_> = incident.timeline.iter().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(rows)) {
        let mut spans = frame::timeline_spans(view, line);
        spans.insert(0, Span::raw("  "));
        column.spans(spans);
    }
}

fn standing(view: &View, incident: &Incident) -> Vec<Vec<Span<'static>>> {
    let theme = view.theme;
    let (tone, words) = frame::standing(incident.phase(), incident.status);
    let (ink, sign) = theme.tone(tone);
    let severity = incident.severity.map_or("no severity", |severity| severity.word());
    let first = vec![
        Span::styled(format!("  {}  ", incident.declaration.id), theme.style(Ink::Strong)),
        Span::styled(format!("{severity}  "), theme.style(Ink::Text)),
        Span::styled(format!("{sign} {words}"), theme.style(ink)),
    ];
    let clocks = &incident.clocks;
    let moments = [
        ("detected", clocks.detected),
        ("declared", clocks.declared),
        ("decided", clocks.decided),
        ("serving", clocks.serving),
        ("validated", clocks.validated),
    ];
    let told: Vec<String> = moments
        .into_iter()
        .filter_map(|(word, at)| Some(format!("{word} {}", text::time(at?))))
        .collect();
    let second = vec![Span::styled(
        format!("  {}", told.join(&format!(" {} ", theme.dot()))),
        theme.style(Ink::Dim),
    )];
    let mut lines = vec![first, second];
    if let Some(step) = incident.current_step() {
        let failed = step.failure.as_ref().map(|failure| format!(": {}", failure.what));
        let ink = if failed.is_some() { Ink::Bad } else { Ink::Text };
        let planned = incident.plan.iter().flat_map(|plan| &plan.steps);
        let title = planned.into_iter().find(|one| one.id == step.id);
        let title = title.map_or(step.id.as_str(), |one| one.title.as_str());
        let words = format!("  Step: {title}{}", failed.unwrap_or_default());
        lines.push(vec![Span::styled(text::clean(&words), theme.style(ink))]);
    }
    lines
}

fn look(theme: Theme, standing: Standing) -> (Ink, &'static str) {
    match standing {
        Standing::Waiting => (Ink::Dim, theme.glyph("○", "o")),
        Standing::Released => (Ink::Attention, theme.glyph("●", "*")),
        Standing::Struck => (Ink::Bad, "!"),
        Standing::Cured => (Ink::Good, theme.glyph("✓", "+")),
    }
}

fn injects(master: &MasterView, area: Rect, buf: &mut Buffer) {
    let (view, stage) = (&master.view, &master.stage);
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(true, "Injects", "");
    if stage.cues.is_empty() {
        let left = column.left();
        column.wrapped(Ink::Dim, NO_INJECTS, 2, left);
        return;
    }
    let at = master.selected.min(stage.cues.len() - 1);
    let about = if column.width() >= 70 { 4 } else { 8 };
    let rows = usize::from(column.left()).saturating_sub(about.min(usize::from(column.left()) / 2));
    let first = first_row(at, stage.cues.len(), rows.max(1));
    let clock = |cue: &Cue| cue.since().filter(|_| cue.standing() != Standing::Waiting);
    for (i, cue) in stage.cues.iter().enumerate().skip(first).take(rows.max(1)) {
        let (ink, sign) = look(theme, cue.standing());
        let when = clock(cue).map_or_else(|| String::from("        "), text::time);
        let word = format!("{sign} {:<9}", cue.standing().word());
        column.row(
            i == at,
            vec![
                Span::styled(word, theme.style(ink)),
                Span::styled(format!(" {when}  "), theme.style(Ink::Dim)),
                Span::styled(format!("{:<17} ", cue.inject.name), theme.style(Ink::Strong)),
                Span::styled(cue.inject.title.clone(), theme.style(Ink::Text)),
            ],
        );
    }
    let Some(cue) = master.cue() else { return };
    column.wrapped(Ink::Accent, &format!("  {}", next(cue)), 2, 2);
    let left = column.left();
    column.wrapped(Ink::Text, &format!("  {}", cue.inject.what), 2, left.min(about_rows(area)));
    let left = column.left();
    column.wrapped(Ink::Dim, &format!("  The way out: {}", cue.inject.cure), 2, left);
}

fn about_rows(area: Rect) -> u16 {
    if area.width >= 70 { 2 } else { 4 }
}

/// What a key would do with it.
fn next(cue: &Cue) -> &'static str {
    match (cue.standing(), cue.inject.strikes, cue.inject.relief.is_some()) {
        (Standing::Waiting, When::Restore, _) => {
            "r releases it: it strikes just before a base backup is read, or at once behind that."
        }
        (Standing::Waiting, ..) => "r releases it: it strikes at once.",
        (Standing::Released, When::Restore, _) => "It strikes just before a base backup is read.",
        (Standing::Released, ..) => "It strikes now.",
        (Standing::Struck, _, true) => "u undoes it: you are the others whom they call.",
        (Standing::Struck, _, false) => "Nobody else undoes it: they are to find the way out.",
        (Standing::Cured, ..) => "It was undone, and they were told.",
    }
}

fn observed(master: &MasterView, area: Rect, buf: &mut Buffer) {
    let (view, stage) = (&master.view, &master.stage);
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let waits = match stage.untold {
        0 => String::new(),
        count => format!("{count} to be told once there is an incident"),
    };
    column.title(false, "Observed", &waits);
    if stage.observations.is_empty() {
        column.text(Ink::Dim, "  Nothing yet: o notes what you see.");
        return;
    }
    // The newest at the end, wrapped: walk back until the rows are used up.
    let room = column.width().saturating_sub(11).max(10);
    let rows = usize::from(column.left());
    let (mut blocks, mut used) = (Vec::new(), 0);
    for one in stage.observations.iter().rev() {
        let lines = text::wrap(&text::clean(&one.text), room);
        used += lines.len().min(3);
        if used > rows {
            break;
        }
        blocks.push((one, lines));
    }
    for (one, lines) in blocks.into_iter().rev() {
        let more = lines.len() > 3;
        for (i, line) in lines.into_iter().take(3).enumerate() {
            let head = if i == 0 { format!("  {} ", text::time(one.at)) } else { " ".repeat(11) };
            let end = if more && i == 2 { theme.ellipsis() } else { "" };
            column.spans(vec![
                Span::styled(head, theme.style(Ink::Dim)),
                Span::styled(format!("{line}{end}"), theme.style(Ink::Text)),
            ]);
        }
    }
}

/// Where the next key goes.
#[must_use]
pub fn context(master: &MasterView) -> commands::Context {
    match master.view.layers.last() {
        None => commands::Context::Master,
        Some(_) => commands::context(&master.view),
    }
}

/// The help of this window.
#[must_use]
pub fn help(master: &MasterView) -> Vec<(super::layers::Emphasis, String)> {
    use super::layers::Emphasis;
    let mut lines = vec![
        (
            Emphasis::Plain,
            String::from(
                "You lead this drill, and the participants work in another window as in earnest. Nothing that you release, note or see here is shown to them before it strikes. Leaving this window ends nothing: lifeboat drill master comes back to it.",
            ),
        ),
        (Emphasis::Plain, String::new()),
    ];
    let without = master.stage.cues.is_empty();
    let of_injects = |id| matches!(id, Id::ReleaseInject | Id::UndoInject);
    if without {
        lines.push((Emphasis::Plain, String::from(NO_INJECTS)));
        lines.push((Emphasis::Plain, String::new()));
    }
    let told = |c: &&Command| c.rank != 93 && c.rank != 92 && !(without && of_injects(c.id));
    for command in commands::of_master().into_iter().filter(|c| told(c)) {
        lines.push((Emphasis::Heading, format!("{}  {}", command.key, command.label)));
        lines.push((Emphasis::Plain, format!("    {}", command.help)));
    }
    lines
}
