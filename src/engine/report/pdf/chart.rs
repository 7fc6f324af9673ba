//! The printed report's drawings. Owns their shape; every figure in them also stands in a table.

use super::sheet::{Ink, Sheet, WIDTH};
use crate::engine::report::block::{Chart, Part};
use crate::engine::report::text::duration;

const SIZE: f32 = 8.0;

pub(super) fn draw(sheet: &mut Sheet<'_>, chart: &Chart) {
    match chart {
        Chart::Moments(moments) => self::moments(sheet, moments),
        Chart::Objective { name, actual, allowed, met } => {
            objective(sheet, name, *actual, *allowed, *met);
        }
        Chart::Shares(parts) => shares(sheet, parts),
        Chart::Steps(steps) => self::steps(sheet, steps),
    }
}

/// Labels stand right of their line, earliest on top, so that no line crosses one.
fn moments(sheet: &mut Sheet<'_>, moments: &[(String, f64)]) {
    let row = 13.0;
    let height = row * count(moments.len()) + 14.0;
    let top = sheet.frame(height);
    let axis = top + height - 6.0;
    let last = moments.iter().map(|(_, at)| *at).fold(0.0, f64::max);
    let right = WIDTH - 210.0;
    sheet.fill(0.0, axis, right, 1.0, Ink::Dim);
    for (index, (title, at)) in moments.iter().enumerate() {
        let x = right * share(*at, last);
        let y = top + row * count(index);
        sheet.fill(x, y + 2.0, 0.6, axis - y - 2.0, Ink::Faint);
        sheet.fill(x - 1.5, axis - 1.5, 3.6, 3.6, Ink::Machine);
        let text = format!("{title}  +{}", duration(*at));
        sheet.put(x + 4.0, y + SIZE + 1.0, SIZE, false, Ink::Text, &text);
    }
}

fn objective(sheet: &mut Sheet<'_>, name: &str, actual: f64, allowed: f64, met: bool) {
    let top = sheet.frame(20.0);
    let (left, room) = (40.0, WIDTH - 200.0);
    let whole = actual.max(allowed) * 1.1;
    sheet.put(0.0, top + 12.0, 9.5, true, Ink::Text, name);
    sheet.fill(left, top + 4.0, room, 10.0, Ink::Band);
    let ink = if met { Ink::Good } else { Ink::Bad };
    sheet.fill(left, top + 4.0, room * share(actual, whole), 10.0, ink);
    sheet.fill(left + room * share(allowed, whole), top, 1.2, 18.0, Ink::Text);
    let words = format!("{} of {} allowed", duration(actual), duration(allowed));
    sheet.put(left + room + 8.0, top + 12.0, SIZE, false, Ink::Text, &words);
}

fn shares(sheet: &mut Sheet<'_>, parts: &[(String, f64, Part)]) {
    let top = sheet.frame(30.0);
    let mut x = 0.0;
    for (_, part, whose) in parts.iter().filter(|(_, part, _)| *part > 0.0) {
        let width = WIDTH * share(*part, 1.0);
        sheet.fill(x, top, width, 12.0, ink(*whose));
        x += width;
    }
    let mut x = 0.0;
    for (name, part, whose) in parts.iter().filter(|(_, part, _)| *part > 0.0) {
        sheet.fill(x, top + 18.0, 7.0, 7.0, ink(*whose));
        let words = format!("{name} {:.0} %", part * 100.0);
        sheet.put(x + 11.0, top + 25.0, SIZE, false, Ink::Text, &words);
        x += sheet.fonts.width(&words, SIZE, false) + 26.0;
    }
}

fn steps(sheet: &mut Sheet<'_>, steps: &[(String, f64, f64)]) {
    let most = steps.iter().map(|(_, machine, people)| machine + people).fold(0.0, f64::max);
    let (left, room) = (170.0, WIDTH - 260.0);
    for (title, machine, people) in steps {
        let top = sheet.frame(5.0);
        let lines = sheet.fonts.wrap(title, SIZE, false, left - 8.0);
        sheet.put(0.0, top + SIZE, SIZE, false, Ink::Text, lines.first().map_or("", |line| line));
        let (first, second) = (room * share(*machine, most), room * share(*people, most));
        sheet.fill(left, top + 1.0, first, 8.0, Ink::Machine);
        sheet.fill(left + first, top + 1.0, second, 8.0, Ink::People);
        let words = duration(machine + people);
        sheet.put(left + first + second + 5.0, top + SIZE, SIZE, false, Ink::Dim, &words);
    }
    sheet.space(6.0);
}

fn ink(part: Part) -> Ink {
    match part {
        Part::Machine => Ink::Machine,
        Part::People => Ink::People,
        Part::Nobody => Ink::Bad,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a share of a page's width")]
fn share(part: f64, whole: f64) -> f32 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) as f32 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "rows of a drawing")]
fn count(rows: usize) -> f32 {
    rows as f32
}
