//! What every screen has around it.
//!
//! ```text
//! LIFEBOAT  INC-…  title                                  DRILL  commander  } who and what
//! orders · production · db1:/var/…/main · system 73… · PRIMARY              } identity
//! ✓ Assessment › ● Recovery point › Restore › …                             } phase
//! SEV-2 · outage 12:31 · ● RTO 15 min: 02:29 left · RPO 5 min               } clocks
//! ▸ What to do now: …                                              press g  } guide
//! <the screen's panels>
//! ── Done so far ──                                                         } timeline
//! g gate  m make plan  …  ? help  q quit                                    } key bar
//! ```

use super::commands;
use super::escalation;
use super::guide::{Guide, guide};
use super::paint::{Column, fit_line, wash};
use super::text;
use super::theme::{Ink, Theme};
use super::view::{GameMaster, Page, View};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{ServerRole, Severity};
use crate::engine::incident::model::{Phase, RunStatus, StepStatus, Tone};
use crate::engine::incident::outlook::{Outlook, Standing};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// Rows of the header that no dialog covers: which server this is must stay in sight.
#[must_use]
pub fn header_rows(view: &View) -> u16 {
    match (view.is_small(), incident(view)) {
        (true, incident) => 1 + incident.map_or(0, escalation::rows),
        (false, Some(incident)) => 4 + escalation::rows(incident),
        (false, None) => 2,
    }
}

/// Draws everything but the screen's own panels and gives the area for those.
pub fn draw(view: &View, area: Rect, buf: &mut Buffer) -> Rect {
    let theme = view.theme;
    let mut top = Column::new(theme, area, buf);
    let band = if view.is_small() { small_header(view, &mut top) } else { header(view, &mut top) };
    let used = top.left();
    let header_height = area.height.saturating_sub(used);
    let guide = guide(view);
    let rows = guide_rows(view, &guide, area.width);
    let guide_area = Rect { y: area.y + header_height, height: rows.min(used), ..area };
    buf_band(buf, Rect { height: band, ..area }, theme);
    draw_guide(view, &guide, guide_area, buf);
    let bar = Rect { y: area.bottom().saturating_sub(1), height: 1.min(area.height), ..area };
    draw_bar(view, bar, buf);
    let above = guide_area.bottom();
    let body = Rect { y: above, height: bar.y.saturating_sub(above), ..area };
    place_timeline(view, body, buf)
}

fn buf_band(buf: &mut Buffer, area: Rect, theme: Theme) {
    let style = theme.style(Ink::Header);
    let Some(bg) = style.bg else { return };
    let area = area.intersection(buf.area);
    for position in area.positions() {
        // What has a ground of its own, such as the badge of a drill, keeps it.
        if let Some(cell) = buf.cell_mut(position)
            && cell.bg == ratatui::style::Color::Reset
        {
            cell.bg = bg;
        }
    }
}

/// Left spans, then right spans against the edge, as far as there is room.
fn two_sided(column: &mut Column<'_>, left: Vec<Span<'static>>, right: Vec<Span<'static>>) {
    let of = |spans: &[Span<'_>]| spans.iter().map(|s| text::width(&s.content)).sum::<usize>();
    let room = column.width().saturating_sub(of(&right) + 1);
    let left = fit_line(left, room, column.theme.ellipsis());
    let gap = column.width().saturating_sub(of(&left.spans) + of(&right));
    let mut all = left.spans;
    all.push(Span::raw(" ".repeat(gap)));
    all.extend(right);
    column.spans(all);
}

fn header(view: &View, column: &mut Column<'_>) -> u16 {
    let theme = view.theme;
    let styled = |ink: Ink, s: String| Span::styled(s, theme.style(ink));
    let mut left = Vec::new();
    if let Some(i) = incident(view) {
        let d = &i.declaration;
        let dot = format!(" {} ", theme.dot());
        left.push(styled(Ink::Strong, format!(" {}", text::clean(&d.cluster))));
        left.push(styled(Ink::Dim, dot.clone()));
        left.push(styled(Ink::Text, text::clean(&d.environment)));
        left.push(styled(Ink::Dim, dot));
        left.push(styled(Ink::Text, d.id.clone()));
        if column.width() >= 120 {
            left.push(styled(Ink::Text, format!("  {}", text::clean(&d.title))));
        }
    } else {
        left.push(styled(Ink::Focus, String::from(" LIFEBOAT")));
        left.push(styled(Ink::Text, String::from("  PostgreSQL recovery, step by step")));
    }
    let mut right = Vec::new();
    if let Some(name) = drill(view) {
        let name = if column.width() >= 100 { format!(": {name}") } else { String::new() };
        // Whose data is on the screen; where there is no room, the briefing says so alone.
        let origin = view.briefing.as_ref().and_then(|briefing| briefing.origin.as_ref());
        let wide = column.width() >= 100;
        let name = match origin.filter(|_| wide || view.game_master != GameMaster::There) {
            Some(origin) => {
                let most = if wide { 24 } else { 10 };
                let cluster = text::fit(&origin.cluster, most, theme.ellipsis());
                format!("{name}, copy of {cluster}")
            }
            None => name,
        };
        if view.game_master == GameMaster::There {
            right.push(styled(Ink::Strong, String::from("game master ")));
        }
        right.push(styled(Ink::Drill, format!(" DRILL{name} ")));
        right.push(Span::raw(" "));
    }
    if let Some(you) = &view.you {
        let who = format!("{} ({}) ", text::fit(&you.user, 12, theme.ellipsis()), role(view));
        right.push(styled(Ink::Dim, who));
        let taken: usize = left.iter().chain(&right).map(|s| text::width(&s.content)).sum();
        let others = super::people::others(view, column.width().saturating_sub(taken + 2));
        if !others.is_empty() {
            right.push(styled(Ink::Strong, format!("{others} ")));
        }
    }
    two_sided(column, left, right);
    let Some(incident) = incident(view) else {
        let clock = format!(" {}", text::moment(view.now));
        column.text(Ink::Dim, clock);
        return 2;
    };
    column.spans(identity(view, incident, column.width()));
    // The widest of the separators that fits: no phase is ever cut off.
    let fits = |gap: &&'static str| {
        let spans = phases(view, incident, gap);
        spans.iter().map(|s| text::width(&s.content)).sum::<usize>() <= column.width()
    };
    let gaps = [theme.glyph(" › ", " > "), "  ", " "];
    let gap = gaps.iter().find(|g| fits(g)).copied().unwrap_or(" ");
    column.spans(phases(view, incident, gap));
    // The tier's name gives way first, then since when, then when it will serve: no figure is cut off.
    let forms = Detail::ALL.map(|detail| clocks(view, incident, detail));
    let fits = |spans: &Vec<Span<'_>>| {
        spans.iter().map(|s| text::width(&s.content)).sum::<usize>() <= column.width()
    };
    let fitting = forms.iter().find(|spans| fits(spans)).or(forms.last()).cloned();
    column.spans(fitting.unwrap_or_default());
    4 + escalation::draw(view, incident, column)
}

fn small_header(view: &View, column: &mut Column<'_>) -> u16 {
    let theme = view.theme;
    let mut spans = Vec::new();
    if drill(view).is_some() {
        spans.push(Span::styled(" DRILL ", theme.style(Ink::Drill)));
    }
    match incident(view) {
        Some(i) => {
            spans.push(Span::styled(
                format!(" {} ", i.declaration.cluster),
                theme.style(Ink::Strong),
            ));
            spans.push(Span::styled(format!("{} ", view.page.title()), theme.style(Ink::Accent)));
            let (ink, sign, words) = rto(view, i, column.width() >= 72);
            spans.push(Span::styled(format!("{sign} {words}"), theme.style(ink)));
        }
        None => spans.push(Span::styled(" LIFEBOAT", theme.style(Ink::Focus))),
    }
    column.spans(spans);
    1 + incident(view).map_or(0, |incident| escalation::draw(view, incident, column))
}

fn incident(view: &View) -> Option<&Incident> {
    view.incident.as_ref().filter(|_| view.page != Page::Home)
}

fn drill(view: &View) -> Option<String> {
    let name = incident(view)?.declaration.drill.as_ref()?;
    Some(text::clean(name))
}

fn role(view: &View) -> &'static str {
    match commands::who(view.role()) {
        "everyone" => "observer",
        other => other,
    }
}

/// Host and directory, system identifier, role: the directory gives way.
fn identity(view: &View, incident: &Incident, columns: usize) -> Vec<Span<'static>> {
    let theme = view.theme;
    let d = &incident.declaration;
    let known = incident
        .server
        .as_ref()
        .and_then(|s| s.identity.as_ref())
        .or(d.identity.as_ref())
        .or(incident.plan.as_ref().map(|p| &p.identity));
    let dot = format!(" {} ", theme.dot());
    let (place, system, role) = match known {
        Some(id) => (
            (id.host.clone(), id.data_directory.clone()),
            format!("system {}", id.system_identifier),
            // What was seen before the recovery is not how it is since.
            meanwhile(incident).unwrap_or(match (id.role, incident.clocks.serving) {
                (ServerRole::Down, Some(_)) => "SERVES",
                (role, _) => server_role(role),
            }),
        ),
        None => {
            let row = view.listing.clusters.iter().find(|c| c.name == d.cluster);
            let place = row.map_or((String::new(), String::from("directory not known yet")), |r| {
                (r.host.clone(), r.data_directory.clone())
            });
            (place, String::from("system not read"), "ROLE UNKNOWN")
        }
    };
    let fixed = text::width(&system) + text::width(role) + 2 * text::width(&dot) + 2;
    let room = columns.saturating_sub(fixed);
    let host_room = (room / 2).max(8);
    let host = text::shorten(&place.0, host_room, theme.ellipsis());
    let colon = if host.is_empty() { "" } else { ":" };
    let dir_room = room.saturating_sub(text::width(&host) + colon.len());
    let directory = text::shorten(&place.1, dir_room, theme.ellipsis());
    let role_ink = if matches!(role, "PRIMARY" | "SERVES") { Ink::Good } else { Ink::Attention };
    let dim = theme.style(Ink::Dim);
    vec![
        Span::styled(format!(" {host}{colon}{directory}"), theme.style(Ink::Text)),
        Span::styled(dot.clone(), dim),
        Span::styled(system, theme.style(Ink::Text)),
        Span::styled(dot, dim),
        Span::styled(role, theme.style(role_ink)),
    ]
}

/// What a run has made of the server since it was looked at; `None` where nothing.
fn meanwhile(incident: &Incident) -> Option<&'static str> {
    let given_up = matches!(incident.status, RunStatus::Undone);
    let in_place = incident.plan.as_ref().is_some_and(|p| p.procedure.is_point_in_time());
    if given_up || !in_place || incident.clocks.serving.is_some() {
        return None;
    }
    let stands = |id: &str, as_one_of: &[StepStatus]| {
        incident.steps.iter().any(|step| step.id == id && as_one_of.contains(&step.status))
    };
    match () {
        () if stands("start-recovery", &[StepStatus::Running, StepStatus::Done]) => {
            // Whether it still runs when a step behind that has failed, nobody has looked.
            let broken = matches!(incident.status, RunStatus::Failed | RunStatus::Interrupted);
            Some(if broken { server_role(ServerRole::Unknown) } else { "RECOVERING" })
        }
        () if stands("stop-server", &[StepStatus::Done]) => Some("STOPPED"),
        () => None,
    }
}

/// A server's role in capitals.
#[must_use]
pub fn server_role(role: ServerRole) -> &'static str {
    match role {
        ServerRole::Primary => "PRIMARY",
        ServerRole::Standby => "STANDBY",
        ServerRole::Down => "DOWN",
        ServerRole::Unknown => "ROLE UNKNOWN",
    }
}

fn phases(view: &View, incident: &Incident, gap: &'static str) -> Vec<Span<'static>> {
    let theme = view.theme;
    let now = incident.phase();
    let at = Page::of(now);
    let mut spans = vec![Span::raw(" ")];
    for (i, page) in Page::INCIDENT.into_iter().enumerate() {
        if i > 0 {
            spans.push(Span::styled(gap, theme.style(Ink::Dim)));
        }
        let done = match page {
            Page::Report => !incident.reports.is_empty(),
            _ if now == Phase::Closed => was_done(incident, page),
            _ => page < at,
        };
        let (ink, sign) = if page == at && now != Phase::Closed {
            (Ink::Accent, theme.glyph("●", "*"))
        } else if done {
            (Ink::Good, theme.glyph("✓", "+"))
        } else {
            (Ink::Dim, "")
        };
        let gap = if sign.is_empty() { "" } else { " " };
        spans.push(Span::styled(format!("{sign}{gap}"), theme.style(ink)));
        let mut style = theme.style(ink);
        if page == view.page {
            // The page that is up is underlined, whatever the incident's own standing is.
            style = style.add_modifier(
                ratatui::style::Modifier::UNDERLINED | ratatui::style::Modifier::BOLD,
            );
        }
        let title = if page == view.page && theme.palette == super::theme::Palette::Mono {
            format!("[{}]", page.title())
        } else {
            page.title().to_owned()
        };
        spans.push(Span::styled(title, style));
    }
    spans
}

/// Whether the part was gone through before the incident was closed; one may be closed with
/// nothing done.
fn was_done(incident: &Incident, page: Page) -> bool {
    match page {
        Page::Assessment => incident.severity.is_some(),
        Page::RecoveryPoint => incident.reach.is_some(),
        Page::Validation => !incident.validation.is_empty(),
        _ => incident.status == RunStatus::Finished,
    }
}

/// How much the line of clocks says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    All,
    /// Without the tier's name.
    Figures,
    /// Without since when, so that when it will serve has room.
    Ahead,
    /// Without when it will serve.
    Least,
}

impl Detail {
    const ALL: [Self; 4] = [Self::All, Self::Figures, Self::Ahead, Self::Least];
}

fn clocks(view: &View, incident: &Incident, detail: Detail) -> Vec<Span<'static>> {
    let theme = view.theme;
    let dot = || Span::styled(format!(" {} ", theme.dot()), theme.style(Ink::Dim));
    let severity = match incident.severity {
        Some(s @ Severity::Sev1) => (Ink::Bad, s.word()),
        Some(s) => (Ink::Attention, s.word()),
        None => (Ink::Dim, "no severity"),
    };
    let mut spans = vec![Span::styled(format!(" {}", severity.1), theme.style(severity.0)), dot()];
    let c = &incident.clocks;
    let (word, since) = match c.detected {
        Some(at) => ("Detected", Some(at)),
        None => ("Declared", c.declared),
    };
    let since = since.map_or_else(String::new, |at| {
        let seconds = view.now.duration_since(at).as_secs_f64().max(0.0);
        format!("{word} {} ago", text::clock(seconds))
    });
    if detail != Detail::Ahead {
        spans.push(Span::styled(since, theme.style(Ink::Text)));
        spans.push(dot());
    }
    let (ink, sign, words) = rto(view, incident, detail < Detail::Least);
    spans.push(Span::styled(format!("{sign} {words}"), theme.style(ink)));
    let name = match (detail, view.tier()) {
        (Detail::All, _) if incident.declaration.drill.is_some() => String::from("this drill, "),
        (Detail::All, Some(tier)) => format!("{} tier, ", tier.title),
        _ => String::new(),
    };
    if let Some(rpo) = view.targets_of(incident).rpo_seconds {
        spans.push(dot());
        #[allow(clippy::cast_precision_loss, reason = "minutes")]
        let rpo = text::span(rpo as f64);
        spans.push(Span::styled(format!("{name}RPO {rpo}"), theme.style(Ink::Text)));
    }
    spans
}

/// What is known of when the database serves, against the RTO.
#[must_use]
pub fn outlook(view: &View, incident: &Incident) -> Option<Outlook> {
    let limit = view.targets_of(incident).rto_seconds;
    Outlook::of(incident, limit, view.progress.as_ref(), view.now)
}

/// The RTO clock: colour, sign and words. `ahead`: with when it will serve, where that is too late.
#[must_use]
pub fn rto(view: &View, incident: &Incident, ahead: bool) -> (Ink, &'static str, String) {
    let theme = view.theme;
    let Some(outlook) = outlook(view, incident) else {
        return (Ink::Dim, theme.glyph("○", "o"), String::from("RTO clock not started"));
    };
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = outlook.limit_seconds as f64;
    let name = format!("RTO {}", text::span(limit));
    let left = outlook.left_seconds;
    let (clock, taken) = (text::clock(left), text::clock((limit - left).max(0.0)));
    let bad = theme.glyph("✗", "x");
    let told = |plain: &str| match outlook.short(view.now).filter(|_| ahead) {
        Some(words) => format!(", {words}"),
        None => plain.to_owned(),
    };
    match outlook.standing {
        Standing::Met => (Ink::Good, theme.glyph("✓", "+"), format!("{name}: met in {taken}")),
        Standing::Missed => (Ink::Bad, bad, format!("{name}: missed, {taken}")),
        Standing::Over => (Ink::Bad, bad, format!("{name}: breached by {clock}{}", told(""))),
        Standing::Late => (Ink::Bad, "!", format!("{name}: {clock} left{}", told(", too late"))),
        Standing::AtRisk => {
            (Ink::Attention, "!", format!("{name}: {clock} left{}", told(", at risk")))
        }
        Standing::Within if left < limit / 5.0 => {
            (Ink::Attention, "!", format!("{name}: {clock} left, at risk"))
        }
        Standing::Within => (Ink::Good, theme.glyph("●", "*"), format!("{name}: {clock} left")),
    }
}

fn guide_text(view: &View, guide: &Guide) -> String {
    let lead = match guide.tone {
        Tone::Bad => theme_sign(view.theme, Tone::Bad),
        Tone::Attention => "!",
        _ => view.theme.pointer(),
    };
    format!("{lead} {}", text::clean(&guide.text))
}

fn theme_sign(theme: Theme, tone: Tone) -> &'static str {
    theme.tone(tone).1
}

fn press(guide: &Guide) -> String {
    guide.command.and_then(commands::by_id).map_or_else(String::new, |c| format!(" {} ", c.key))
}

fn guide_rows(view: &View, guide: &Guide, width: u16) -> u16 {
    let key = text::width(&press(guide)) + 9;
    let room = usize::from(width).saturating_sub(key + 2).max(10);
    let lines = text::wrap(&guide_text(view, guide), room).len();
    // Two rows always, so that the screen below does not jump from one guide to the next.
    let least = if view.is_small() { 1 } else { 2 };
    u16::try_from(lines).unwrap_or(3).clamp(least, 3)
}

fn draw_guide(view: &View, guide: &Guide, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    wash(buf, area, theme.style(Ink::Guide));
    let press = press(guide);
    let key = if press.is_empty() { 0 } else { text::width(&press) + 8 };
    let room = usize::from(area.width).saturating_sub(key + 2).max(10);
    let ink = match guide.tone {
        Tone::Bad => Ink::Bad,
        Tone::Attention => Ink::Attention,
        Tone::Plain | Tone::Good => Ink::Strong,
    };
    let style = theme.style(Ink::Guide).patch(theme.style(ink));
    let lines = text::wrap(&guide_text(view, guide), room);
    let count = lines.len();
    for (i, line) in lines.into_iter().enumerate().take(usize::from(area.height)) {
        let cut = i + 1 == usize::from(area.height) && i + 1 < count;
        let line = if cut { line + theme.ellipsis() } else { line };
        let lead = if i == 0 { " " } else { "   " };
        let y = area.y + u16::try_from(i).unwrap_or(0);
        if area.contains(ratatui::layout::Position { x: area.x, y }) {
            buf.set_stringn(area.x, y, format!("{lead}{line}"), usize::from(area.width), style);
        }
    }
    if !press.is_empty() && area.height > 0 && usize::from(area.width) > key {
        let x = area.right().saturating_sub(u16::try_from(key).unwrap_or(0));
        let (x, _) = buf.set_stringn(x, area.y, "press ", 6, theme.style(Ink::Guide));
        buf.set_stringn(x, area.y, &press, text::width(&press), theme.style(Ink::Key));
    }
}

/// Keys from the table, as many as fit; help and quit always.
fn draw_bar(view: &View, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    wash(buf, area, theme.style(Ink::Header));
    let mut column = Column::new(theme, area, buf);
    if let Some(notice) =
        view.notice.as_ref().filter(|n| n.until > view.now && view.layers.is_empty())
    {
        let (ink, sign) = theme.tone(if notice.bad { Tone::Bad } else { Tone::Good });
        let ink = if notice.bad { ink } else { Ink::Strong };
        column.text(ink, format!(" {sign} {}", text::clean(&notice.text)));
        return;
    }
    column.spans(key_bar(&commands::bar(view), theme, usize::from(area.width)));
}

/// Keys and their words, as many as fit.
#[must_use]
pub fn key_bar(list: &[&commands::Command], theme: Theme, width: usize) -> Vec<Span<'static>> {
    let cost = |c: &commands::Command| text::width(&format!("{}", c.key)) + c.label.len() + 3;
    // The last ones (help, quit, back) keep their place; those before fill what is left.
    let fixed: usize = list.iter().filter(|c| c.rank >= 80).map(|c| cost(c)).sum();
    let mut room = width.saturating_sub(fixed + 1);
    let mut full = false;
    let mut spans = vec![Span::raw(" ")];
    for c in list {
        if c.rank < 80 {
            full = full || cost(c) > room;
            if full {
                continue;
            }
            room -= cost(c);
        }
        spans.push(Span::styled(format!("{}", c.key), theme.style(Ink::Key)));
        spans.push(Span::styled(format!(" {}  ", c.label), theme.style(Ink::Text)));
    }
    spans
}

/// The timeline's place: at the right where it is wide, else below; none where it is small.
/// From so many columns on, what was done stands beside the screen and not under it.
const BESIDE: u16 = 132;

fn beside(width: u16) -> u16 {
    (width / 3).min(56)
}

/// Columns that are left for a screen in this window.
#[must_use]
pub fn body_width(view: &View) -> u16 {
    let width = view.size.0;
    let side = width >= BESIDE && !view.is_small() && incident(view).is_some();
    if side { width - beside(width) - 2 } else { width }
}

fn place_timeline(view: &View, body: Rect, buf: &mut Buffer) -> Rect {
    let Some(incident) = incident(view) else { return body };
    if view.is_small() || body.height < 8 {
        return body;
    }
    // Who explores the past in a small window needs its rows.
    let exploring = view.page == Page::RecoveryPoint && view.panel == 1;
    if exploring && body.width < BESIDE && body.height < 24 {
        return body;
    }
    if body.width >= BESIDE {
        let width = beside(body.width);
        let side = Rect { x: body.right() - width, width: width - 1, ..body };
        draw_timeline(view, incident, side, buf);
        return Rect { width: body.width - width - 2, ..body };
    }
    let height = if body.height >= 24 { 6 } else { 3 };
    let strip = Rect {
        x: body.x + 1,
        y: body.bottom() - height,
        width: body.width.saturating_sub(2),
        height,
    };
    draw_timeline(view, incident, strip, buf);
    Rect { height: body.height - height, ..body }
}

fn draw_timeline(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    let waiting = view.waiting.values().find(|w| !w.label.is_empty());
    let note = waiting
        .map_or_else(|| String::from("UTC"), |w| format!("{}{}", w.label, view.theme.ellipsis()));
    column.title(false, "Done so far", &note);
    let rows = usize::from(column.left());
    let lines: Vec<_> = incident.timeline.iter().collect();
    let wide = area.width >= 40 && area.height > 10;
    if !wide {
        for line in lines.iter().skip(lines.len().saturating_sub(rows)) {
            column.spans(timeline_spans(view, line));
        }
        return;
    }
    // Wrapped, newest at the end: walk back until the rows are used up.
    let room = usize::from(area.width).saturating_sub(11).max(10);
    let mut blocks = Vec::new();
    let mut used = 0;
    for line in lines.iter().rev() {
        let wrapped = text::wrap(&text::clean(&line.text), room);
        used += wrapped.len().min(2);
        if used > rows {
            break;
        }
        blocks.push((line, wrapped));
    }
    for (line, wrapped) in blocks.into_iter().rev() {
        let (ink, sign) = view.theme.tone(line.tone);
        let ink = if ink == Ink::Dim { Ink::Text } else { ink };
        let more = wrapped.len() > 2;
        for (i, part) in wrapped.into_iter().take(2).enumerate() {
            let head =
                if i == 0 { format!("{} {sign} ", text::time(line.at)) } else { " ".repeat(11) };
            let part = if more && i == 1 {
                text::fit(&(part + view.theme.ellipsis()), room, view.theme.ellipsis())
            } else {
                part
            };
            column.spans(vec![
                Span::styled(head, view.theme.style(Ink::Dim)),
                Span::styled(part, view.theme.style(ink)),
            ]);
        }
    }
}

/// One line of the timeline: time, sign, words.
#[must_use]
pub fn timeline_spans(
    view: &View,
    line: &crate::engine::incident::model::TimelineLine,
) -> Vec<Span<'static>> {
    let (ink, sign) = view.theme.tone(line.tone);
    let words = if ink == Ink::Dim { Ink::Text } else { ink };
    vec![
        Span::styled(format!("{} ", text::time(line.at)), view.theme.style(Ink::Dim)),
        Span::styled(format!("{sign} "), view.theme.style(ink)),
        Span::styled(text::clean(&line.text), view.theme.style(words)),
        Span::styled(
            format!("  {}", if line.who == "lifeboat" { "" } else { &line.who }),
            view.theme.style(Ink::Dim),
        ),
    ]
}

/// The phase and status of an incident in a few words.
#[must_use]
pub fn standing(phase: Phase, status: RunStatus) -> (Tone, &'static str) {
    match (phase, status) {
        (Phase::Closed, _) => (Tone::Good, "closed"),
        (_, RunStatus::Running) => (Tone::Attention, "restore runs"),
        (_, RunStatus::Held) => (Tone::Attention, "waits for a decision"),
        (_, RunStatus::Paused) => (Tone::Attention, "paused"),
        (_, RunStatus::Failed) => (Tone::Bad, "a step failed"),
        (_, RunStatus::Interrupted) => (Tone::Attention, "interrupted"),
        (_, RunStatus::Cancelled) => (Tone::Attention, "cancelled"),
        (_, RunStatus::Undoing) => (Tone::Attention, "being put back"),
        (Phase::Assessment, _) => (Tone::Attention, "assessment"),
        (Phase::RecoveryPoint, _) => (Tone::Attention, "recovery point"),
        (Phase::Restore, _) => (Tone::Attention, "before the gate"),
        (Phase::Validation, _) => (Tone::Attention, "validation"),
        (Phase::Checklist, _) => (Tone::Attention, "checklist"),
    }
}
