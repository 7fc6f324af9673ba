//! Pages that fill from the top: text, tables that go on over a page's end with their header, boxes and
//! lines. Owns where things stand; all measures are points, from the page's upper left corner.

use super::font::Fonts;
use crate::engine::report::ReportError;
use krilla::Document;
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::TextDirection;

const PAGE: (f32, f32) = (595.0, 842.0);
const LEFT: f32 = 48.0;
/// The room between the margins.
pub(super) const WIDTH: f32 = PAGE.0 - 2.0 * LEFT;
const TOP: f32 = 52.0;
const BOTTOM: f32 = PAGE.1 - 56.0;
/// Lines stand this many sizes apart.
const LEADING: f32 = 1.35;
const CELL: f32 = 8.5;
const PAD: f32 = 3.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Text,
    Dim,
    Faint,
    Band,
    Good,
    Bad,
    Attention,
    Machine,
    People,
}

impl Ink {
    fn rgb(self) -> rgb::Color {
        let (red, green, blue) = match self {
            Self::Text => (26, 29, 33),
            Self::Dim => (96, 103, 112),
            Self::Faint => (208, 213, 219),
            Self::Band => (240, 242, 245),
            Self::Good => (26, 127, 75),
            Self::Bad => (179, 38, 30),
            Self::Attention => (154, 98, 0),
            Self::Machine => (47, 111, 181),
            Self::People => (201, 138, 27),
        };
        rgb::Color::new(red, green, blue)
    }
}

enum Mark {
    Text { x: f32, y: f32, size: f32, bold: bool, ink: Ink, text: String },
    Fill { x: f32, y: f32, width: f32, height: f32, ink: Ink },
}

pub(super) struct Sheet<'a> {
    pub fonts: &'a Fonts,
    pages: Vec<Vec<Mark>>,
    y: f32,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(fonts: &'a Fonts) -> Self {
        Self { fonts, pages: vec![Vec::new()], y: TOP }
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    fn turn(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    /// Turns the page where less than that is left of it.
    pub(super) fn room(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.turn();
        }
    }

    pub(super) fn space(&mut self, height: f32) {
        if self.y > TOP {
            self.y += height;
        }
    }

    /// Text over the whole width, and that much room below it.
    pub(super) fn text(&mut self, text: &str, size: f32, bold: bool, ink: Ink, below: f32) {
        for line in self.fonts.wrap(text, size, bold, WIDTH) {
            self.room(size * LEADING);
            self.put(0.0, self.y + size, size, bold, ink, &line);
            self.y += size * LEADING;
        }
        self.y += below;
    }

    /// One line at a place right of the margin, by its base line.
    pub(super) fn put(&mut self, x: f32, y: f32, size: f32, bold: bool, ink: Ink, text: &str) {
        let text = self.fonts.shown(text);
        self.mark(Mark::Text { x: LEFT + x, y, size, bold, ink, text });
    }

    pub(super) fn fill(&mut self, x: f32, y: f32, width: f32, height: f32, ink: Ink) {
        self.mark(Mark::Fill { x: LEFT + x, y, width, height, ink });
    }

    pub(super) fn rule(&mut self) {
        self.fill(0.0, self.y, WIDTH, 0.75, Ink::Faint);
        self.y += 6.0;
    }

    /// A table; without a header its first column names the second.
    pub(super) fn table(&mut self, header: &[String], weights: &[f32], rows: &[Vec<String>]) {
        let whole: f32 = weights.iter().sum();
        let widths: Vec<f32> = weights.iter().map(|weight| weight / whole * WIDTH).collect();
        let head = |sheet: &mut Self| {
            if !header.is_empty() {
                sheet.row(header, &widths, true, Some(Ink::Band));
            }
        };
        self.room(CELL * LEADING * 3.0 + PAD * 4.0);
        head(self);
        for row in rows {
            if self.height(row, &widths, false) + self.y > BOTTOM && self.y > TOP {
                self.turn();
                head(self);
            }
            self.row(row, &widths, false, None);
        }
        self.y += 6.0;
    }

    fn cells(&self, row: &[String], widths: &[f32], bold: bool) -> Vec<Vec<String>> {
        let cells = row.iter().zip(widths);
        cells.map(|(cell, width)| self.fonts.wrap(cell, CELL, bold, width - 2.0 * PAD)).collect()
    }

    fn height(&self, row: &[String], widths: &[f32], bold: bool) -> f32 {
        let lines = self.cells(row, widths, bold).iter().map(Vec::len).max().unwrap_or(1);
        #[allow(clippy::cast_precision_loss, reason = "lines of a cell")]
        let lines = lines as f32;
        lines * CELL * LEADING + 2.0 * PAD
    }

    /// A row that is higher than a page goes on over it, line by line.
    fn row(&mut self, row: &[String], widths: &[f32], bold: bool, band: Option<Ink>) {
        let cells = self.cells(row, widths, bold);
        if let Some(ink) = band {
            self.fill(0.0, self.y, WIDTH, self.height(row, widths, bold), ink);
        }
        let lines = cells.iter().map(Vec::len).max().unwrap_or(1);
        self.y += PAD;
        for index in 0..lines {
            self.room(CELL * LEADING);
            let mut x = 0.0;
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                if let Some(line) = cell.get(index) {
                    let named = column == 0 && cells.len() == 2 && !bold;
                    let ink = if named { Ink::Dim } else { ink_of(line) };
                    self.put(x + PAD, self.y + CELL, CELL, bold, ink, line);
                }
                x += width;
            }
            self.y += CELL * LEADING;
        }
        self.y += PAD;
        self.fill(0.0, self.y, WIDTH, 0.5, Ink::Faint);
    }

    /// Room for a drawing of that height: gives its top.
    pub(super) fn frame(&mut self, height: f32) -> f32 {
        self.room(height + 8.0);
        let top = self.y;
        self.y += height + 8.0;
        top
    }

    /// The file, with a foot and a number on each page.
    pub(super) fn finish(self, title: &str, foot: &str) -> Result<Vec<u8>, ReportError> {
        let mut document = Document::new();
        document.set_metadata(
            Metadata::new()
                .title(title.to_owned())
                .language(String::from("en"))
                .creator(format!("Lifeboat {}", env!("CARGO_PKG_VERSION"))),
        );
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1)
            .ok_or_else(|| ReportError::Pdf(String::from("no page of that size")))?;
        let count = self.pages.len();
        for (index, marks) in (1..).zip(&self.pages) {
            let mut page = document.start_page_with(settings.clone());
            let mut surface = page.surface();
            for mark in marks {
                draw(&mut surface, self.fonts, mark);
            }
            let number = format!("Page {index} of {count}");
            let width = self.fonts.width(&number, 7.5, false);
            let y = PAGE.1 - 30.0;
            for (x, text) in [(LEFT, foot.to_owned()), (LEFT + WIDTH - width, number)] {
                let text = self.fonts.shown(&text);
                let mark = Mark::Text { x, y, size: 7.5, bold: false, ink: Ink::Dim, text };
                draw(&mut surface, self.fonts, &mark);
            }
            surface.finish();
            page.finish();
        }
        document.finish().map_err(|error| ReportError::Pdf(format!("{error:?}")))
    }
}

/// Verdicts stand out, as they do on the screens.
fn ink_of(line: &str) -> Ink {
    match line {
        "VERIFIED" | "MET" | "done" | "confirmed" => Ink::Good,
        "FAILED" | "MISSED" | "failed" | "OVERDUE" => Ink::Bad,
        "NOT RUN" | "COULD NOT VERIFY" | "NOT KNOWN" | "WAIVED" => Ink::Attention,
        _ => Ink::Text,
    }
}

fn draw(surface: &mut Surface<'_>, fonts: &Fonts, mark: &Mark) {
    let paint = |ink: Ink| Some(Fill { paint: ink.rgb().into(), ..Fill::default() });
    match mark {
        Mark::Text { x, y, size, bold, ink, text } => {
            surface.set_fill(paint(*ink));
            let font = if *bold { &fonts.bold } else { &fonts.regular };
            let at = Point::from_xy(*x, *y);
            surface.draw_text(at, font.clone(), *size, text, false, TextDirection::LeftToRight);
        }
        Mark::Fill { x, y, width, height, ink } => {
            let Some(area) = Rect::from_xywh(*x, *y, width.max(0.1), height.max(0.1)) else {
                return;
            };
            let mut path = PathBuilder::new();
            path.push_rect(area);
            if let Some(path) = path.finish() {
                surface.set_fill(paint(*ink));
                surface.draw_path(&path);
            }
        }
    }
}
