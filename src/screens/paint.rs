//! Putting lines on a buffer from the top down, without ever leaving the area given.

use super::text;
use super::theme::{Ink, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// A column of lines: each call takes the next row until there is none.
#[derive(Debug)]
pub struct Column<'a> {
    buf: &'a mut Buffer,
    pub area: Rect,
    y: u16,
    pub theme: Theme,
}

impl<'a> Column<'a> {
    pub fn new(theme: Theme, area: Rect, buf: &'a mut Buffer) -> Self {
        let area = area.intersection(buf.area);
        Self { buf, area, y: 0, theme }
    }

    /// Rows that are left.
    #[must_use]
    pub fn left(&self) -> u16 {
        self.area.height.saturating_sub(self.y)
    }

    #[must_use]
    pub fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    /// What is left, as an area.
    #[must_use]
    pub fn rest(&self) -> Rect {
        Rect { y: self.area.y + self.y, height: self.left(), ..self.area }
    }

    pub fn buffer(&mut self) -> &mut Buffer {
        self.buf
    }

    pub fn skip(&mut self, rows: u16) {
        self.y = self.y.saturating_add(rows).min(self.area.height);
    }

    pub fn spans(&mut self, spans: Vec<Span<'_>>) {
        if self.left() > 0 {
            let line = fit_line(spans, self.width(), self.theme.ellipsis());
            self.buf.set_line(self.area.x, self.area.y + self.y, &line, self.area.width);
            self.y += 1;
        }
    }

    pub fn text(&mut self, ink: Ink, content: impl Into<String>) {
        let style = self.theme.style(ink);
        self.spans(vec![Span::styled(content.into(), style)]);
    }

    /// Wrapped over at most `rows` rows, `indent` columns in from the second row on.
    pub fn wrapped(&mut self, ink: Ink, content: &str, indent: u16, rows: u16) {
        let style = self.theme.style(ink);
        let room = self.width().saturating_sub(usize::from(indent)).max(1);
        for line in self.in_rows(content, room, rows) {
            let lead = " ".repeat(usize::from(indent));
            self.spans(vec![Span::raw(lead), Span::styled(line, style)]);
        }
    }

    /// A name in a fixed width and its value, wrapped under itself over at most `rows` rows.
    pub fn field(&mut self, name: &str, columns: usize, value: (Ink, &str), rows: u16) {
        let room = self.width().saturating_sub(columns).max(1);
        for (i, line) in self.in_rows(value.1, room, rows).into_iter().enumerate() {
            let label = if i == 0 { text::fit(name, columns, "") } else { String::new() };
            let label = format!("{label:columns$}");
            self.spans(vec![
                Span::styled(label, self.theme.style(Ink::Dim)),
                Span::styled(line, self.theme.style(value.0)),
            ]);
        }
    }

    /// A text wrapped into at most `rows` rows, and into what is left: what does not fit is marked.
    fn in_rows(&self, content: &str, room: usize, rows: u16) -> Vec<String> {
        let mut lines = text::wrap(content, room);
        let most = usize::from(rows.min(self.left()));
        if lines.len() > most {
            lines.truncate(most);
            if let Some(last) = lines.last_mut() {
                let mark = self.theme.ellipsis();
                *last = text::fit(last, room - text::width(mark).min(room), "") + mark;
            }
        }
        lines
    }

    /// A row of a list: a selected one has a pointer and a band behind it.
    pub fn row(&mut self, selected: bool, mut spans: Vec<Span<'_>>) {
        let y = self.area.y + self.y;
        let lead = if selected { self.theme.pointer() } else { " " };
        spans.insert(0, Span::styled(format!("{lead} "), self.theme.style(Ink::Accent)));
        let free = self.left() > 0;
        self.spans(spans);
        if selected && free {
            let band = Rect { y, height: 1, ..self.area };
            self.buf.set_style(band, self.theme.style(Ink::Selected));
        }
    }

    /// A title with a rule to the right edge.
    pub fn title(&mut self, focus: bool, title: &str, note: &str) {
        let ink = if focus { Ink::Focus } else { Ink::Strong };
        let lead = if focus { format!("{} ", self.theme.pointer()) } else { String::new() };
        let head = format!("{lead}{title} ");
        let note = if note.is_empty() { String::new() } else { format!("{note} ") };
        let used = text::width(&head) + text::width(&note);
        let rule = self.theme.rule().repeat(self.width().saturating_sub(used));
        let (title_style, dim) = (self.theme.style(ink), self.theme.style(Ink::Dim));
        self.spans(vec![
            Span::styled(head, title_style),
            Span::styled(note, dim),
            Span::styled(rule, dim),
        ]);
    }
}

/// A line cut to `columns` with a mark, its styles kept.
#[must_use]
pub fn fit_line<'a>(spans: Vec<Span<'a>>, columns: usize, ellipsis: &str) -> Line<'a> {
    let whole: usize = spans.iter().map(|s| text::width(&s.content)).sum();
    if whole <= columns {
        return Line::from(spans);
    }
    let mut room = columns;
    let mut kept = Vec::new();
    for span in spans {
        let needed = text::width(&span.content);
        if needed < room {
            room -= needed;
            kept.push(span);
            continue;
        }
        let style = span.style;
        // A mark is due even where this span would just fit: something follows it.
        let cut = format!("{}{ellipsis}", span.content);
        kept.push(Span::styled(text::fit(&cut, room, ellipsis), style));
        break;
    }
    Line::from(kept)
}

/// Spaces or a cut so that the text is exactly `columns` wide.
#[must_use]
pub fn pad(content: &str, columns: usize, theme: Theme) -> String {
    let cut = text::fit(content, columns, theme.ellipsis());
    let gap = columns.saturating_sub(text::width(&cut));
    cut + &" ".repeat(gap)
}

/// As [`pad`], against the right edge.
#[must_use]
pub fn pad_left(content: &str, columns: usize, theme: Theme) -> String {
    let cut = text::fit(content, columns, theme.ellipsis());
    " ".repeat(columns.saturating_sub(text::width(&cut))) + &cut
}

/// Clears an area and gives it a style.
pub fn wash(buf: &mut Buffer, area: Rect, style: Style) {
    let area = area.intersection(buf.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buf.cell_mut((x, y)) {
                cell.reset();
            }
        }
    }
    buf.set_style(area, style);
}

/// The first row to show so that `selected` is visible among `rows` rows.
#[must_use]
pub fn first_row(selected: usize, total: usize, rows: usize) -> usize {
    if total <= rows {
        return 0;
    }
    selected.saturating_sub(rows / 2).min(total - rows)
}
