//! Home: the clusters above, the incidents below, open ones first.

use super::commands::{self, Id};
use super::frame::standing;
use super::paint::{Column, first_row, pad};
use super::theme::Ink;
use super::view::{ClusterRow, IncidentRow, View};
use super::{only_panel, readiness, split_rows, text};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::model::{Phase, Tone};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

#[must_use]
pub fn selected_cluster(view: &View) -> Option<&ClusterRow> {
    view.listing.clusters.get(view.cursor_in(0, view.listing.clusters.len()))
}

#[must_use]
pub fn selected_incident(view: &View) -> Option<&IncidentRow> {
    view.listing.incidents.get(view.cursor_in(1, view.listing.incidents.len()))
}

/// The newest open incident of the selected cluster.
#[must_use]
pub fn open_incident(view: &View) -> Option<&IncidentRow> {
    let cluster = selected_cluster(view)?;
    view.listing.incidents.iter().find(|i| i.cluster == cluster.name && i.phase != Phase::Closed)
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    match only_panel(view) {
        Some(0) => clusters(view, area, buf),
        Some(_) => incidents(view, area, buf),
        None => {
            let rows = u16::try_from(view.listing.clusters.len()).unwrap_or(u16::MAX);
            let rows = rows.saturating_add(u16::from(readiness::selected(view).is_some()));
            let upper = rows.saturating_add(3).clamp(5, (area.height / 2).max(5));
            let (above, below) = split_rows(area, upper);
            clusters(view, above, buf);
            incidents(view, below, buf);
        }
    }
}

fn clusters(view: &View, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    column.title(view.panel == 0, "Clusters", "");
    if view.listing.clusters.is_empty() {
        column.wrapped(Ink::Dim, "None is configured.", 0, 1);
        return;
    }
    let name = widest(view.listing.clusters.iter().map(|c| c.name.as_str()), 8, 24);
    let environments = view.listing.clusters.iter().map(|c| c.environment.as_str());
    let environment = widest(environments, 5, 14);
    let place = column.width().saturating_sub(name + environment + 9 + 6 + 15).clamp(10, 70);
    let head = format!(
        "  {} {} {} {} {}",
        pad("cluster", name, theme),
        pad("tier", 9, theme),
        pad("for", environment, theme),
        pad("where", place, theme),
        "state"
    );
    column.text(Ink::Dim, head);
    // The last row is the selected cluster's.
    let told = usize::from(readiness::selected(view).is_some() && column.left() > 1);
    let rows = usize::from(column.left()) - told;
    let at = view.cursor_in(0, view.listing.clusters.len());
    let first = first_row(at, view.listing.clusters.len(), rows);
    for (i, c) in view.listing.clusters.iter().enumerate().skip(first).take(rows) {
        let open =
            view.listing.incidents.iter().any(|x| x.cluster == c.name && x.phase != Phase::Closed);
        let (ink, state) = if open {
            (Ink::Attention, String::from("! open incident"))
        } else {
            (Ink::Dim, c.state.clone().unwrap_or_else(|| String::from("no incident")))
        };
        let host = text::shorten(&c.host, place / 2, theme.ellipsis());
        let room = place.saturating_sub(text::width(&host) + 1);
        let directory = text::shorten(&c.data_directory, room, theme.ellipsis());
        let at_place = format!("{host}:{directory}");
        column.row(
            view.panel == 0 && i == at,
            vec![
                Span::styled(pad(&c.name, name, theme) + " ", theme.style(Ink::Strong)),
                Span::styled(
                    pad(&view.runbook.tier(c.tier).title, 9, theme) + " ",
                    theme.style(Ink::Text),
                ),
                Span::styled(pad(&c.environment, environment, theme) + " ", theme.style(Ink::Text)),
                Span::styled(pad(&at_place, place, theme) + " ", theme.style(Ink::Dim)),
                Span::styled(text::clean(&state), theme.style(ink)),
            ],
        );
    }
    if told > 0 {
        why_not_ready(view, &mut column);
    }
}

/// Why the selected cluster's score is what it is: the worst reason, and the key that shows all.
fn why_not_ready(view: &View, column: &mut Column<'_>) {
    let theme = view.theme;
    let Some((cluster, page)) = readiness::selected(view) else { return };
    let key = commands::by_id(Id::Readiness).map_or_else(String::new, |one| one.key.to_string());
    let key = format!("  {key}: all reasons");
    let (verdict, what) = match readiness::worst(page) {
        Some(worst) => (worst.verdict, format!("{}: {}", worst.verdict.word(), worst.title)),
        None => (Verdict::Verified, String::from("all that was asked is VERIFIED")),
    };
    let (ink, sign) = theme.verdict(verdict);
    let ink = if ink == Ink::Dim { Ink::Attention } else { ink };
    let name = text::shorten(&cluster.name, 24, theme.ellipsis());
    let room = column.width().saturating_sub(4 + text::width(&key));
    let what = text::shorten(&format!("{name}: {}", text::clean(&what)), room, theme.ellipsis());
    column.spans(vec![
        Span::styled(format!("  {sign} "), theme.style(ink)),
        Span::styled(what, theme.style(Ink::Text)),
        Span::styled(key, theme.style(Ink::Dim)),
    ]);
}

fn incidents(view: &View, area: Rect, buf: &mut Buffer) {
    let theme = view.theme;
    let mut column = Column::new(theme, area, buf);
    let open = view.listing.incidents.iter().filter(|i| i.phase != Phase::Closed).count();
    let note = format!("{open} open, {} in all", view.listing.incidents.len());
    column.title(view.panel == 1, "Incidents", &note);
    for warning in view.listing.warnings.iter().take(2) {
        column.wrapped(Ink::Attention, &format!("! {}", text::clean(warning)), 0, 2);
    }
    if view.listing.incidents.is_empty() {
        column.wrapped(Ink::Dim, "None so far. May it stay that way.", 0, 1);
        return;
    }
    let rows = usize::from(column.left());
    let at = view.cursor_in(1, view.listing.incidents.len());
    let first = first_row(at, view.listing.incidents.len(), rows);
    for (i, incident) in view.listing.incidents.iter().enumerate().skip(first).take(rows) {
        let (tone, words) = standing(incident.phase, incident.status);
        let (ink, sign) = theme.tone(tone);
        let ink = if tone == Tone::Good { Ink::Dim } else { ink };
        let wide = column.width() >= 110;
        let when = if wide {
            format!("  {}", text::ago(incident.declared, view.now))
        } else {
            String::new()
        };
        let right = format!(" {words}{when}");
        let badge = if incident.drill { "DRILL " } else { "" };
        let room = column.width().saturating_sub(4 + 18 + badge.len() + text::width(&right));
        let what = format!("{}: {}", incident.cluster, text::clean(&incident.title));
        let spans = vec![
            Span::styled(format!("{sign} "), theme.style(ink)),
            Span::styled(pad(&incident.id, 17, theme) + " ", theme.style(Ink::Strong)),
            Span::styled(badge, theme.style(Ink::Attention)),
            Span::styled(pad(&what, room, theme), theme.style(Ink::Text)),
            Span::styled(right, theme.style(ink)),
        ];
        column.row(view.panel == 1 && i == at, spans);
    }
}

fn widest<'a>(names: impl Iterator<Item = &'a str>, least: usize, most: usize) -> usize {
    names.map(text::width).max().unwrap_or(0).clamp(least, most)
}
