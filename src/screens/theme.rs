//! How things look: palettes, and the signs that carry the meaning where there is no colour.
//! Owns colours and glyphs; never decides what is good or bad: that comes with the model.

use crate::engine::incident::facts::Verdict;
use crate::engine::incident::model::{StepStatus, Tone};
use ratatui::style::{Color, Modifier, Style};

/// Which colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Palette {
    #[default]
    Dark,
    Light,
    /// No colour at all, as under `NO_COLOR`: bold and reverse, and words and signs.
    Mono,
}

/// A palette and whether the terminal may be given more than ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Theme {
    pub palette: Palette,
    pub ascii: bool,
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Text,
    /// Less important than text.
    Dim,
    Strong,
    Accent,
    Good,
    Attention,
    Bad,
    /// The band at the top.
    Header,
    /// A key to press.
    Key,
    /// The selected row.
    Selected,
    /// The badge of a drill.
    Drill,
    /// The line that says what to do now.
    Guide,
    /// The title of the panel that takes the arrow keys.
    Focus,
}

impl Theme {
    #[must_use]
    pub fn style(self, ink: Ink) -> Style {
        match self.palette {
            Palette::Mono => mono(ink),
            Palette::Dark => coloured(ink, &DARK),
            Palette::Light => coloured(ink, &LIGHT),
        }
    }

    /// `unicode` where the terminal can show it, else `ascii`.
    #[must_use]
    pub fn glyph(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }

    #[must_use]
    pub fn rule(self) -> &'static str {
        self.glyph("─", "-")
    }

    #[must_use]
    pub fn dot(self) -> &'static str {
        self.glyph("·", "|")
    }

    #[must_use]
    pub fn dash(self) -> &'static str {
        self.glyph("–", "-")
    }

    #[must_use]
    pub fn ellipsis(self) -> &'static str {
        self.glyph("…", "..")
    }

    #[must_use]
    pub fn pointer(self) -> &'static str {
        self.glyph("▸", ">")
    }

    #[must_use]
    pub fn tone(self, tone: Tone) -> (Ink, &'static str) {
        match tone {
            Tone::Plain => (Ink::Dim, self.glyph("·", ".")),
            Tone::Good => (Ink::Good, self.glyph("✓", "+")),
            Tone::Attention => (Ink::Attention, "!"),
            Tone::Bad => (Ink::Bad, self.glyph("✗", "x")),
        }
    }

    /// Colour and sign of a verdict; its word is the verdict's own.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> (Ink, &'static str) {
        match verdict {
            Verdict::Verified => (Ink::Good, self.glyph("✓", "+")),
            Verdict::Failed => (Ink::Bad, self.glyph("✗", "x")),
            Verdict::NotRun => (Ink::Dim, self.glyph("○", "o")),
            Verdict::CouldNotVerify => (Ink::Attention, "?"),
        }
    }

    /// Colour, sign and word of a step's status.
    #[must_use]
    pub fn step(self, status: StepStatus) -> (Ink, &'static str, &'static str) {
        match status {
            StepStatus::Pending => (Ink::Dim, self.glyph("○", "o"), "to do"),
            StepStatus::Running => (Ink::Accent, self.glyph("▶", ">"), "running"),
            StepStatus::Held => (Ink::Attention, "?", "waits for you"),
            StepStatus::Done => (Ink::Good, self.glyph("✓", "+"), "done"),
            StepStatus::Failed => (Ink::Bad, self.glyph("✗", "x"), "failed"),
            StepStatus::Interrupted => (Ink::Attention, "!", "interrupted"),
            StepStatus::Cancelled => (Ink::Attention, self.glyph("■", "#"), "cancelled"),
            StepStatus::Undone => (Ink::Dim, self.glyph("↶", "u"), "put back"),
        }
    }
}

struct Colours {
    text: Color,
    dim: Color,
    strong: Color,
    accent: Color,
    good: Color,
    attention: Color,
    bad: Color,
    band: Color,
    selected: Color,
    key: Color,
    key_text: Color,
    drill: Color,
    drill_text: Color,
    guide: Color,
}

// From the 256 colours that every terminal of the last twenty years has.
const DARK: Colours = Colours {
    text: Color::Indexed(252),
    dim: Color::Indexed(245),
    strong: Color::Indexed(255),
    accent: Color::Indexed(110),
    good: Color::Indexed(114),
    attention: Color::Indexed(221),
    bad: Color::Indexed(210),
    band: Color::Indexed(236),
    selected: Color::Indexed(238),
    key: Color::Indexed(110),
    key_text: Color::Indexed(234),
    drill: Color::Indexed(140),
    drill_text: Color::Indexed(234),
    guide: Color::Indexed(24),
};

const LIGHT: Colours = Colours {
    text: Color::Indexed(235),
    dim: Color::Indexed(242),
    strong: Color::Indexed(232),
    accent: Color::Indexed(25),
    good: Color::Indexed(22),
    attention: Color::Indexed(94),
    bad: Color::Indexed(124),
    band: Color::Indexed(254),
    selected: Color::Indexed(252),
    key: Color::Indexed(25),
    key_text: Color::Indexed(231),
    drill: Color::Indexed(54),
    drill_text: Color::Indexed(231),
    guide: Color::Indexed(153),
};

fn coloured(ink: Ink, c: &Colours) -> Style {
    let plain = Style::new();
    match ink {
        Ink::Text => plain.fg(c.text),
        Ink::Dim => plain.fg(c.dim),
        Ink::Strong => plain.fg(c.strong).add_modifier(Modifier::BOLD),
        Ink::Accent => plain.fg(c.accent),
        Ink::Good => plain.fg(c.good),
        Ink::Attention => plain.fg(c.attention).add_modifier(Modifier::BOLD),
        Ink::Bad => plain.fg(c.bad).add_modifier(Modifier::BOLD),
        Ink::Header => plain.fg(c.text).bg(c.band),
        Ink::Key => plain.fg(c.key_text).bg(c.key).add_modifier(Modifier::BOLD),
        Ink::Selected => plain.bg(c.selected).add_modifier(Modifier::BOLD),
        Ink::Drill => plain.fg(c.drill_text).bg(c.drill).add_modifier(Modifier::BOLD),
        Ink::Guide => plain.fg(c.strong).bg(c.guide),
        Ink::Focus => plain.fg(c.accent).add_modifier(Modifier::BOLD),
    }
}

fn mono(ink: Ink) -> Style {
    let plain = Style::new();
    match ink {
        Ink::Text | Ink::Dim | Ink::Accent | Ink::Good | Ink::Header | Ink::Guide => plain,
        Ink::Strong | Ink::Attention | Ink::Bad | Ink::Selected | Ink::Focus => {
            plain.add_modifier(Modifier::BOLD)
        }
        Ink::Key | Ink::Drill => plain.add_modifier(Modifier::BOLD.union(Modifier::REVERSED)),
    }
}
