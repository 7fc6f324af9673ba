//! Screens: pure functions of a snapshot that they cannot change. They draw and return nothing;
//! what a key does is `app::update`'s.

pub mod assessment;
pub mod at_target;
pub mod available;
pub mod checklist;
pub mod commands;
pub mod cursor;
pub mod dialogs;
pub mod drill;
pub mod escalation;
pub mod frame;
pub mod full_restore;
pub mod guide;
pub mod home;
pub mod layers;
pub mod master;
pub mod moment;
pub mod other_point;
pub mod paint;
pub mod parts;
pub mod people;
pub mod readiness;
pub mod reasons;
pub mod recovery_point;
pub mod report;
pub mod restore;
pub mod text;
pub mod theme;
pub mod validation;
pub mod view;
pub mod widgets;

use paint::Column;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use theme::Ink;
use view::{Page, View};

/// Draws the whole window.
pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    let area = area.intersection(buf.area);
    paint::wash(buf, area, view.theme.style(Ink::Text));
    if area.width < 20 || area.height < 6 {
        let mut column = Column::new(view.theme, area, buf);
        column.wrapped(Ink::Attention, "Please make this window larger.", 0, area.height);
        return;
    }
    let body = frame::draw(view, area, buf);
    let body = Rect { x: body.x + 1, width: body.width.saturating_sub(2), ..body };
    let body = if view.is_small() { one_panel_hint(view, body, buf) } else { body };
    match view.page {
        Page::Home => home::draw(view, body, buf),
        Page::Assessment => assessment::draw(view, body, buf),
        Page::RecoveryPoint => recovery_point::draw(view, body, buf),
        Page::Restore => restore::draw(view, body, buf),
        Page::Validation => validation::draw(view, body, buf),
        Page::Checklist => checklist::draw(view, body, buf),
        Page::Report => report::draw(view, body, buf),
    }
    for layer in &view.layers {
        dialogs::draw(view, layer, area, buf);
    }
}

/// In a small window one panel is shown; the last row says how to reach the others.
fn one_panel_hint(view: &View, body: Rect, buf: &mut Buffer) -> Rect {
    let panels = view.page.panels();
    if body.height < 3 || panels.len() < 2 {
        return body;
    }
    let last = Rect { y: body.bottom() - 1, height: 1, ..body };
    let at = view.panel.min(panels.len() - 1);
    let hint = format!("Small window: panel {} of {}. Tab shows the next.", at + 1, panels.len());
    Column::new(view.theme, last, buf).text(Ink::Dim, hint);
    Rect { height: body.height - 1, ..body }
}

/// The panel to draw alone in a small window; `None` where all have room.
fn only_panel(view: &View) -> Option<usize> {
    let panels = view.page.panels().len();
    (view.is_small() && panels > 1).then(|| view.panel.min(panels - 1))
}

/// Two columns with a gutter, the left one of that share (of 100).
fn columns(area: Rect, share: u16) -> (Rect, Rect) {
    let width = area.width.saturating_sub(2);
    let left = u16::try_from(u32::from(width) * u32::from(share) / 100).unwrap_or(width / 2);
    (
        Rect { width: left, ..area },
        Rect { x: area.x + left + 2, width: width.saturating_sub(left), ..area },
    )
}

/// The upper rows and the rest.
fn split_rows(area: Rect, upper: u16) -> (Rect, Rect) {
    let upper = upper.min(area.height);
    (
        Rect { height: upper, ..area },
        Rect { y: area.y + upper, height: area.height - upper, ..area },
    )
}
