//! Progress bars and charts of rates, in blocks or in ASCII.

use crate::screens::theme::{Ink, Theme};
use ratatui::text::Span;

/// A bar of that many columns, `share` from 0 to 1 of it full.
#[must_use]
pub fn progress(theme: Theme, share: f64, columns: usize) -> Vec<Span<'static>> {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "columns of a terminal"
    )]
    let full = ((share * columns as f64).floor() as usize).min(columns);
    vec![
        Span::styled(theme.glyph("█", "#").repeat(full), theme.style(Ink::Accent)),
        Span::styled(theme.glyph("░", ".").repeat(columns - full), theme.style(Ink::Dim)),
    ]
}

const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII: [&str; 5] = [" ", ".", ":", "|", "#"];

/// A chart of `rows` rows, the newest value at the right; upper rows first.
#[must_use]
pub fn chart(theme: Theme, values: &[f64], columns: usize, rows: usize) -> Vec<String> {
    let shown = &values[values.len().saturating_sub(columns)..];
    let most = shown.iter().copied().filter(|v| v.is_finite()).fold(0.0_f64, f64::max);
    let steps: &[&str] = if theme.ascii { &ASCII } else { &BLOCKS };
    let top = steps.len() - 1;
    (0..rows)
        .rev()
        .map(|row| {
            let bars = shown.iter().map(|v| {
                let share =
                    if most > 0.0 && v.is_finite() { (v / most).clamp(0.0, 1.0) } else { 0.0 };
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "rows of a terminal"
                )]
                let units = (share * (rows * top) as f64).ceil() as usize;
                steps.get(units.saturating_sub(row * top).min(top)).copied().unwrap_or(" ")
            });
            let lead = " ".repeat(columns.saturating_sub(shown.len()));
            lead + &bars.collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn always_as_wide_as_asked(
            values in proptest::collection::vec(any::<f64>(), 0..150),
            columns in 0usize..100,
            rows in 1usize..5,
        ) {
            let theme = Theme::default();
            for line in chart(theme, &values, columns, rows) {
                prop_assert_eq!(line.chars().count(), columns);
            }
            let share = values.first().copied().unwrap_or(0.5);
            let width: usize =
                progress(theme, share, columns).iter().map(|s| s.content.chars().count()).sum();
            prop_assert_eq!(width, columns);
        }
    }
}
