//! Screens as text, with their styles: what a terminal would show.

use lifeboat::app::model::{App, Event};
use lifeboat::app::update::update;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

/// The window as it is drawn at that size.
pub fn draw(app: &mut App, width: u16, height: u16) -> Buffer {
    update(app, Event::Resize(width, height));
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    lifeboat::screens::draw(&app.view, area, &mut buffer);
    buffer
}

/// Its rows, without blanks at their ends.
pub fn rows(buffer: &Buffer) -> Vec<String> {
    let area = buffer.area;
    (0..area.height)
        .map(|y| {
            let row: String = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
            row.trim_end().to_owned()
        })
        .collect()
}

pub fn text(buffer: &Buffer) -> String {
    rows(buffer).join("\n")
}

/// Runs of cells with one style, by row: `12-18 f114 b236 bold`. Blanks without a background and
/// plain text are left out.
pub fn styles(buffer: &Buffer, plain: Color) -> String {
    let area = buffer.area;
    let mut out = String::new();
    for y in 0..area.height {
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for x in 0..area.width {
            let style = style(&buffer[(x, y)], plain);
            match runs.last_mut() {
                Some((_, to, same)) if *same == style => *to = x,
                _ => runs.push((x, x, style)),
            }
        }
        runs.retain(|(_, _, style)| !style.is_empty());
        if !runs.is_empty() {
            let runs: Vec<_> = runs.iter().map(|(a, b, s)| format!("{a}-{b}{s}")).collect();
            out.push_str(&format!("{y}: {}\n", runs.join(", ")));
        }
    }
    out
}

fn style(cell: &Cell, plain: Color) -> String {
    let mut out = String::new();
    let blank = cell.symbol() == " ";
    if let Color::Indexed(i) = cell.fg
        && !blank
        && cell.fg != plain
    {
        out.push_str(&format!(" f{i}"));
    }
    if let Color::Indexed(i) = cell.bg {
        out.push_str(&format!(" b{i}"));
    }
    for (modifier, word) in
        [(Modifier::BOLD, "bold"), (Modifier::UNDERLINED, "line"), (Modifier::REVERSED, "reverse")]
    {
        if cell.modifier.contains(modifier) && !(blank && modifier == Modifier::BOLD) {
            out.push_str(&format!(" {word}"));
        }
    }
    out
}

/// Whether any cell has a colour of its own.
pub fn has_colour(buffer: &Buffer) -> bool {
    buffer.content.iter().any(|c| c.fg != Color::Reset || c.bg != Color::Reset)
}
