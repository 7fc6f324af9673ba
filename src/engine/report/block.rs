//! What a record is made of, before it has a form: headings, sentences, tables, lists, and gaps that
//! people have to fill in. Owns these parts and their Markdown; knows no incident.

use super::text::md;

/// A part of a record, in the order in which it is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    Title(String),
    Heading(String),
    Sub(String),
    Text(String),
    /// A sentence that must not be read over.
    Strong(String),
    /// What only people can say: what is asked of them.
    Gap(String),
    Facts(Vec<(String, String)>),
    Table {
        header: Vec<String>,
        /// How wide a column is against the others.
        weights: Vec<f32>,
        rows: Vec<Vec<String>>,
    },
    List(Vec<String>),
    /// A drawing; every figure in it is also written beside it.
    Chart(Chart),
}

/// A drawing of the printed form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Chart {
    /// Moments on one scale: title and seconds from the first.
    Moments(Vec<(String, f64)>),
    /// An actual figure against what is allowed, seconds.
    Objective { name: String, actual: f64, allowed: f64, met: bool },
    /// Parts of a whole: name, share of 1, and whether people's.
    Shares(Vec<(String, f64, Part)>),
    /// Steps with seconds of the machine and of people.
    Steps(Vec<(String, f64, f64)>),
}

/// Whose part it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Machine,
    People,
    Nobody,
}

impl Block {
    pub(super) fn heading(text: &str) -> Self {
        Self::Heading(text.to_owned())
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn gap(text: &str) -> Self {
        Self::Gap(text.to_owned())
    }

    pub(super) fn facts(facts: Vec<(&str, String)>) -> Self {
        Self::Facts(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(super) fn table(columns: &[(&str, f32)], rows: Vec<Vec<String>>) -> Self {
        let (header, weights) =
            columns.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).unzip();
        Self::Table { header, weights, rows }
    }
}

/// The parts as Markdown. Drawings are left out: their figures stand beside them.
pub(super) fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    for block in blocks {
        match block {
            Block::Title(text) => line(&format!("# {}", md(text))),
            Block::Heading(text) => line(&format!("\n## {}", md(text))),
            Block::Sub(text) => line(&format!("\n### {}", md(text))),
            Block::Text(text) => line(&format!("\n{}", md(text))),
            Block::Strong(text) => line(&format!("\n**{}**", md(text))),
            Block::Gap(text) => line(&format!("\n> **TO WRITE:** {}", md(text))),
            Block::Facts(facts) => {
                line("\n| What | Value |\n| --- | --- |");
                facts.iter().for_each(|(name, value)| {
                    line(&format!("| {} | {} |", md(name), md(value)));
                });
            }
            Block::Table { header, rows, .. } => {
                let cells = |row: &[String]| {
                    row.iter().map(|cell| md(cell)).collect::<Vec<_>>().join(" | ")
                };
                line(&format!("\n| {} |", cells(header)));
                line(&format!("|{}", " --- |".repeat(header.len())));
                rows.iter().for_each(|row| line(&format!("| {} |", cells(row))));
            }
            Block::List(items) => {
                line("");
                items.iter().for_each(|item| line(&format!("- {}", md(item))));
            }
            Block::Chart(_) => {}
        }
    }
    out
}
