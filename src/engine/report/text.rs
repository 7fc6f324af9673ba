//! How the report writes times, durations and sizes, and how text that people typed is made
//! harmless in each form.

use crate::engine::incident::facts::Commit;
use crate::engine::incident::model::StepStatus;
use jiff::Timestamp;
use jiff::tz::Offset;

pub(super) const NOT_KNOWN: &str = "not known";

/// To the second, in UTC, with the offset.
pub(super) fn moment(at: Timestamp) -> String {
    Offset::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M:%S+00:00").to_string()
}

pub(super) fn maybe_moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NOT_KNOWN.to_owned(), moment)
}

pub(super) fn commit(commit: Option<&Commit>) -> String {
    commit.map_or_else(
        || NOT_KNOWN.to_owned(),
        |c| {
            let at = Offset::UTC.to_datetime(c.at).strftime("%Y-%m-%d %H:%M:%S%.6f+00:00");
            format!("{at}, transaction {}, LSN {}", c.xid, c.lsn)
        },
    )
}

/// `0.4 s`, `12.3 s`, `1 min 05 s`, `2 h 03 min`, `3 d 04 h`.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return NOT_KNOWN.to_owned();
    }
    let tenths = (seconds.max(0.0) * 10.0).round();
    if tenths < 600.0 {
        return format!("{:.1} s", tenths / 10.0);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast of what is too large saturates"
    )]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3600 % 24),
    }
}

pub(super) fn maybe_duration(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| NOT_KNOWN.to_owned(), duration)
}

/// A limit, without the decimals that nobody promised.
pub(super) fn limit(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut said = Vec::new();
    for (size, unit) in parts {
        if rest >= size {
            said.push(format!("{} {unit}", rest / size));
            rest %= size;
        }
    }
    if said.is_empty() { String::from("0 s") } else { said.join(" ") }
}

pub(super) fn met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "MET",
        Some(false) => "MISSED",
        None => "NOT KNOWN",
    }
}

pub(super) fn status(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Pending => "not started",
        StepStatus::Running => "running",
        StepStatus::Held => "waiting for a decision",
        StepStatus::Done => "done",
        StepStatus::Failed => "failed",
        StepStatus::Interrupted => "interrupted",
        StepStatus::Cancelled => "cancelled",
        StepStatus::Undone => "put back",
    }
}

pub(super) fn bytes(size: u64) -> String {
    humansize::format_size(size, humansize::DECIMAL)
}

/// Text for Markdown, safe in a table's cell: one line, no markup, no raw HTML.
pub(super) fn md(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '{' | '}' | '|' | '~' | '#' | '!' | '$' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}

/// Text for HTML, safe between tags and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if is_unsafe(c) => safe.push('\u{fffd}'),
            _ => safe.push(c),
        }
    }
    safe
}

/// Line ends become spaces, and what cannot be seen is shown as a replacement character.
fn one_line(text: &str) -> String {
    let flat = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(flat).collect::<String>().trim().to_owned()
}

/// Control characters, and those that turn the direction of text round.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        let said = [0.0, 0.44, 12.34, 59.96, 65.0, 3725.0, 100_000.0].map(duration);
        assert_eq!(
            said,
            ["0.0 s", "0.4 s", "12.3 s", "1 min 00 s", "1 min 05 s", "1 h 02 min", "1 d 03 h"]
        );
        assert_eq!(duration(f64::NAN), NOT_KNOWN);
        assert_eq!(duration(f64::INFINITY), NOT_KNOWN);
        assert_eq!([60, 900, 5400, 0].map(limit), ["1 min", "15 min", "1 h 30 min", "0 s"]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_table_or_becomes_markup(text in ".{0,60}") {
            let safe = md(&text);
            prop_assert!(!safe.contains(['\n', '\r', '<', '>']));
            let mut escaped = false;
            for c in safe.chars() {
                if !escaped {
                    prop_assert!(!"|`*_[]{}~#!$".contains(c), "{safe}");
                }
                escaped = c == '\\' && !escaped;
            }
            prop_assert!(!escaped, "a backslash at the end would eat the cell's own border: {safe}");
        }

        #[test]
        fn no_text_leaves_its_place_in_html(text in any::<String>()) {
            let safe = html(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            prop_assert!(!safe.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
            for (at, _) in safe.match_indices('&') {
                let entity = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
                prop_assert!(entity.iter().any(|e| safe[at..].starts_with(e)));
            }
        }
    }
}
