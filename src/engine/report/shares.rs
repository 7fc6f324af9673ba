//! Whose time the downtime was: the machine's or people's. Owns its words and its bar; the figures
//! are [`Shares`].

use super::chart::{self, WIDTH};
use super::text::duration;
use crate::engine::incident::clocks::Shares;
use std::fmt::Write;

/// Each part with its name, its seconds and its share; the whole last.
pub(super) fn rows(shares: &Shares, whole: &'static str) -> Vec<Vec<String>> {
    let mut parts = vec![
        ("Machine: steps, cures, putting back", shares.machine),
        ("People: assessment, choice, gate", shares.deciding),
        ("People: questions, failures, pauses", shares.waiting),
    ];
    if shares.unattended > 0.0 {
        parts.push(("No runner was alive", shares.unattended));
    }
    parts.push((whole, shares.total));
    let row = |(name, seconds): (&str, f64)| {
        vec![name.to_owned(), duration(seconds), format!("{:.0} %", shares.percent(seconds))]
    };
    parts.into_iter().map(row).collect()
}

/// The bar's colours: class, name, seconds.
fn colours(shares: &Shares) -> [(&'static str, &'static str, f64); 3] {
    [
        ("machine", "machine", shares.machine),
        ("human", "people", shares.human()),
        ("outage", "no runner", shares.unattended),
    ]
}

/// What the bar's colours are, with their shares.
pub(super) fn legend(shares: &Shares) -> String {
    let told = colours(shares).into_iter().filter(|(_, _, seconds)| *seconds > 0.0);
    let told = told.map(|(class, name, seconds)| {
        format!("<span class=\"key {class}\"></span>{name} {:.0} %", shares.percent(seconds))
    });
    format!("\n<p class=\"dim\">{}</p>\n", told.collect::<Vec<_>>().join(" "))
}

/// One bar over the whole width, in the colours of the steps' chart.
pub(super) fn bar(shares: &Shares, whole: &str) -> String {
    let mut svg = chart::open(&format!("{whole}: whose time it was"), 30.0);
    let mut x = 0.0;
    for (class, title, seconds) in colours(shares) {
        let width = shares.percent(seconds) / 100.0 * WIDTH;
        if width > 0.0 {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"4\" width=\"{width:.1}\" height=\"20\">\
                 <title>{title}: {}</title></rect>",
                duration(seconds)
            );
        }
        x += width;
    }
    svg.push_str("</svg>");
    svg
}
