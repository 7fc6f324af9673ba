//! The report on paper: A4 pages with the same parts as the other forms, and its drawings. Owns the
//! layout; the words come from [`super::outline`], and the bytes are krilla's to write.

mod chart;
mod font;
mod sheet;

use super::block::Block;
use super::text::moment;
use super::{Report, ReportError, outline};
use font::Fonts;
use sheet::{Ink, Sheet};

/// The report as a PDF. The same report always gives the same bytes.
///
/// # Errors
/// Where it cannot be written as one.
pub(super) fn render(report: &Report) -> Result<Vec<u8>, ReportError> {
    let fonts = Fonts::load().ok_or_else(|| ReportError::Pdf(String::from("no font")))?;
    let mut sheet = Sheet::new(&fonts);
    for block in outline::blocks(report) {
        put(&mut sheet, &block);
    }
    let id = &report.incident.id;
    let head = report.journal.head.as_deref().unwrap_or("not known");
    let short = head.get(..16).unwrap_or(head);
    let foot = format!("{id}, written {}, journal {short}", moment(report.written));
    sheet.finish(&format!("Recovery report {id}"), &foot)
}

fn put(sheet: &mut Sheet<'_>, block: &Block) {
    match block {
        Block::Title(text) => sheet.text(text, 20.0, true, Ink::Text, 10.0),
        Block::Heading(text) => {
            // A heading does not end a page.
            sheet.room(70.0);
            sheet.space(14.0);
            sheet.text(text, 13.5, true, Ink::Text, 3.0);
            sheet.rule();
        }
        Block::Sub(text) => {
            sheet.room(50.0);
            sheet.space(8.0);
            sheet.text(text, 10.5, true, Ink::Text, 4.0);
        }
        Block::Text(text) => sheet.text(text, 9.5, false, Ink::Text, 5.0),
        Block::Strong(text) => sheet.text(text, 10.5, true, Ink::Text, 6.0),
        Block::Gap(text) => {
            sheet.text(&format!("TO WRITE: {text}"), 9.5, true, Ink::Attention, 6.0);
        }
        Block::Facts(facts) => {
            let rows = facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
            sheet.table(&[], &[1.0, 2.4], &rows.collect::<Vec<_>>());
        }
        Block::Table { header, weights, rows } => sheet.table(header, weights, rows),
        Block::List(items) => {
            for item in items {
                sheet.text(&format!("• {item}"), 9.5, false, Ink::Text, 3.0);
            }
        }
        Block::Chart(chart) => chart::draw(sheet, chart),
    }
}
