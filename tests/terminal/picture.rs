//! A terminal's screen as an SVG picture, for the README: what a person saw in a real run.

use std::fmt::Write;

const CELL_WIDTH: f64 = 8.4;
const CELL_HEIGHT: f64 = 18.0;

/// The screen's characters with their colours, on a dark ground.
pub fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let width = f64::from(columns) * CELL_WIDTH + 24.0;
    let height = f64::from(rows) * CELL_HEIGHT + 24.0;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#11151c\"/>\n"
    );
    for row in 0..rows {
        line(&mut picture, screen, row, columns);
    }
    picture.push_str("</svg>\n");
    picture
}

fn line(picture: &mut String, screen: &vt100::Screen, row: u16, columns: u16) {
    let top = f64::from(row) * CELL_HEIGHT + 12.0;
    let mut column = 0;
    while column < columns {
        let Some(cell) = screen.cell(row, column) else { break };
        let style = Style::of(cell);
        let begin = column;
        let mut text = String::new();
        while let Some(cell) = screen.cell(row, column).filter(|c| Style::of(c) == style) {
            if !cell.is_wide_continuation() {
                text.push_str(if cell.has_contents() { cell.contents() } else { " " });
            }
            column += 1;
        }
        let left = f64::from(begin) * CELL_WIDTH + 12.0;
        let wide = f64::from(column - begin) * CELL_WIDTH;
        if let Some(ground) = &style.ground {
            let _ = writeln!(
                picture,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" \
                 height=\"{CELL_HEIGHT}\" fill=\"{ground}\"/>"
            );
        }
        if text.trim().is_empty() {
            continue;
        }
        let weight = if style.bold { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            picture,
            "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{wide:.1}\" \
             lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\" fill=\"{}\"{weight}>{}</text>",
            top + 13.5,
            style.ink,
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        );
    }
}

#[derive(PartialEq)]
struct Style {
    ink: String,
    ground: Option<String>,
    bold: bool,
}

impl Style {
    fn of(cell: &vt100::Cell) -> Self {
        let ink = colour(cell.fgcolor()).unwrap_or_else(|| String::from("#c9d1d9"));
        let ground = colour(cell.bgcolor());
        let (ink, ground) = if cell.inverse() {
            (ground.unwrap_or_else(|| String::from("#11151c")), Some(ink))
        } else {
            (ink, ground)
        };
        Self { ink, ground, bold: cell.bold() }
    }
}

fn colour(colour: vt100::Color) -> Option<String> {
    const NAMED: [&str; 16] = [
        "#30363d", "#e5626a", "#7cc48a", "#d9b45b", "#6ea8e6", "#b58fd8", "#66c2cd", "#c9d1d9",
        "#6e7681", "#f08a90", "#9bd9a6", "#e8cc85", "#93c1f2", "#cdb0e8", "#93dbe3", "#f0f6fc",
    ];
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        vt100::Color::Idx(index @ 0..=15) => Some(NAMED[usize::from(index)].to_owned()),
        vt100::Color::Idx(index @ 16..=231) => {
            let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
            let index = index - 16;
            let (r, g, b) = (level(index / 36), level(index / 6 % 6), level(index % 6));
            Some(format!("#{r:02x}{g:02x}{b:02x}"))
        }
        vt100::Color::Idx(index) => {
            let grey = 8 + 10 * (index - 232);
            Some(format!("#{grey:02x}{grey:02x}{grey:02x}"))
        }
    }
}
