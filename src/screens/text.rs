//! Text as a terminal measures it: shortening, wrapping, and how quantities are written.
//! Widths are columns, not characters. Owns no words of its own beyond units.

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that the text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Control characters out, so that no log line or name can move the cursor.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most `columns` wide; what is cut off at the end is marked.
#[must_use]
pub fn fit(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mark = if width(ellipsis) <= columns { ellipsis } else { "" };
    let mut kept = head(text, columns - width(mark));
    kept.truncate(kept.trim_end().len());
    kept + mark
}

/// At most `columns` wide, cut in the middle: a path keeps its end, where its name is.
#[must_use]
pub fn shorten(text: &str, columns: usize, ellipsis: &str) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mark = if width(ellipsis) < columns { ellipsis } else { "" };
    let room = columns - width(mark);
    let front = room / 3;
    let back: String = {
        let mut taken = 0;
        let mut end: Vec<char> = Vec::new();
        for c in text.chars().rev() {
            let w = c.width().unwrap_or(0);
            if taken + w > room - front {
                break;
            }
            taken += w;
            end.push(c);
        }
        end.into_iter().rev().collect()
    };
    head(text, front) + mark + &back
}

fn head(text: &str, columns: usize) -> String {
    let mut taken = 0;
    text.chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken <= columns
        })
        .collect()
}

/// Lines of at most `columns`, broken between words; a word longer than a line is cut.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let mut word = word;
            let gap = usize::from(!line.is_empty());
            if width(&line) + gap + width(word) <= columns {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(word);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            while width(word) > columns {
                let piece = head(word, columns);
                let cut = if piece.is_empty() { first_char(word) } else { piece.len() };
                lines.push(word.get(..cut).unwrap_or(word).to_owned());
                word = word.get(cut..).unwrap_or("");
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

fn first_char(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// `48,211`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal units: `1.4 GB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    humansize::format_size(number, humansize::DECIMAL)
}

/// A length of time for a person: `45 s`, `12 min 31 s`, `3 h 05 min`, `2 d 4 h`.
#[must_use]
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds > 1.0e9 {
        return String::from("unknown");
    }
    if seconds.abs() < 10.0 && seconds.fract().abs() > 0.05 {
        return format!("{seconds:.1} s");
    }
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    let whole = seconds.round() as i64;
    let (sign, s) = if whole < 0 { ("-", -whole) } else { ("", whole) };
    match s {
        0..60 => format!("{sign}{s} s"),
        60..3600 if s % 60 == 0 => format!("{sign}{} min", s / 60),
        60..3600 => format!("{sign}{} min {:02} s", s / 60, s % 60),
        3600..86_400 => format!("{sign}{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{sign}{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A running clock: `12:31`, `1:02:31`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return String::from("--:--");
    }
    #[allow(clippy::cast_possible_truncation, reason = "clamped")]
    let s = seconds.abs().min(1.0e9) as i64;
    if s < 3600 {
        format!("{:02}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s % 3600 / 60, s % 60)
    }
}

/// `20 s` to `35 s` as one phrase.
#[must_use]
pub fn span_range(range: (f64, f64)) -> String {
    let (least, most) = (span(range.0), span(range.1));
    if least == most { format!("about {least}") } else { format!("{least} to {most}") }
}

/// `14:03:12`; the panel's title says UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// `2026-11-22 14:03:12 UTC`.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The time alone where it is the same day as `now`, else with its date.
#[must_use]
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let day = |t: Timestamp| t.strftime("%Y-%m-%d").to_string();
    if day(at) == day(now) { at.strftime("%H:%M:%S UTC").to_string() } else { moment(at) }
}

/// `12 min ago`, `in 5 min`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs_f64().round();
    if seconds < 0.0 { format!("in {}", span(-seconds)) } else { format!("{} ago", span(seconds)) }
}

/// A text without spaces in rows of `width` columns, nothing of it left out; broken behind a slash
/// where that wastes little.
#[must_use]
pub fn broken(value: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut rows, mut row) = (Vec::new(), String::new());
    for c in clean(value).chars() {
        let mut bytes = [0; 4];
        if self::width(&row) + self::width(c.encode_utf8(&mut bytes)) > width {
            let slash = row.rfind('/').map(|at| at + 1);
            let at = slash.filter(|at| *at < row.len() && *at * 2 > row.len());
            let rest = at.map_or_else(String::new, |at| row.split_off(at));
            rows.push(std::mem::replace(&mut row, rest));
        }
        row.push(c);
    }
    rows.push(row);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in "\\PC{0,80}", columns in 0usize..60) {
            prop_assert!(width(&fit(&text, columns, "…")) <= columns);
            prop_assert!(width(&shorten(&text, columns, "…")) <= columns);
        }

        #[test]
        fn wrapping_keeps_every_letter(text in "[a-zé漢 ]{0,120}", columns in 2usize..40) {
            let lines = wrap(&text, columns);
            prop_assert!(lines.iter().all(|l| width(l) <= columns));
            let bare = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }
    }

    #[test]
    fn a_shortened_path_keeps_its_end() {
        let short = shorten("/var/lib/postgresql/15/main.damaged.20261122", 24, "…");
        assert!(short.ends_with("damaged.20261122"), "{short}");
        assert!(short.starts_with("/var"), "{short}");
    }

    #[test]
    fn quantities_as_people_write_them() {
        assert_eq!(count(1_048_211), "1,048,211");
        assert_eq!(span(751.0), "12 min 31 s");
        assert_eq!(span(900.0), "15 min");
        assert_eq!(span(3.24), "3.2 s");
        assert_eq!(clock(3751.0), "1:02:31");
        assert_eq!(clean("a\u{1b}[2J\tb"), "a [2J b");
    }

    #[test]
    fn a_path_is_broken_and_never_cut() {
        let path =
            "/var/tmp/lifeboat-drill-1234/state/INC-20261127-001/report-20261127-002859.html";
        for width in [1, 7, 20, 54, 200] {
            let rows = broken(path, width);
            assert!(rows.iter().all(|row| super::width(row) <= width), "{rows:?}");
            assert_eq!(rows.concat(), path);
        }
        assert_eq!(broken("/state/report.html", 10), ["/state/", "report.htm", "l"]);
        assert_eq!(broken("", 5), [""]);
    }
}
