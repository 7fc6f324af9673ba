//! Days, times of day and spans, word by word. Owns their accepted forms; knows no zone and not what
//! time it is now.

use jiff::civil::{Date, Time};

pub(super) enum Day {
    Unsaid,
    Today,
    Yesterday,
    On(Date),
}

/// The day, and the words after it. `None` where the text begins with neither day nor time.
pub(super) fn split_day<'a>(words: &[&'a str]) -> Option<(Day, Vec<&'a str>)> {
    let (first, rest) = words.split_first()?;
    if first.eq_ignore_ascii_case("today") {
        return Some((Day::Today, rest.to_vec()));
    }
    if first.eq_ignore_ascii_case("yesterday") {
        return Some((Day::Yesterday, rest.to_vec()));
    }
    if let Some((date, clock)) = first.split_once(['T', 't']) {
        let mut words = vec![clock];
        words.extend(rest);
        return Some((Day::On(read_date(date)?), words));
    }
    if let Some(date) = read_date(first) {
        return Some((Day::On(date), rest.to_vec()));
    }
    let clock = first.contains(':').then(|| words.to_vec())?;
    Some((Day::Unsaid, clock))
}

/// `YYYY-MM-DD` and nothing else.
fn read_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let year = i16::try_from(digits(year)?).ok()?;
    let month = i8::try_from(digits(month)?).ok()?;
    let day = i8::try_from(digits(day)?).ok()?;
    Date::new(year, month, day).ok()
}

/// A time of day, and what is attached to it (an offset or `Z`, or nothing).
pub(super) fn split_clock(text: &str) -> Option<(Time, &str)> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (clock, attached) = text.split_at(end);
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = whole.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next());
    let lengths = (1..=2).contains(&hour.len())
        && minute.len() == 2
        && second.is_none_or(|s| s.len() == 2)
        && parts.next().is_none();
    if !lengths || (fraction.is_some() && second.is_none()) {
        return None;
    }
    let part = |text: &str| i8::try_from(digits(text)?).ok();
    let nanoseconds = match fraction {
        // PostgreSQL keeps microseconds: more digits would be dropped in silence.
        Some(text) if (1..=6).contains(&text.len()) => {
            let scale = 10_i32.checked_pow(u32::try_from(9 - text.len()).ok()?)?;
            i32::try_from(digits(text)?).ok()?.checked_mul(scale)?
        }
        Some(_) => return None,
        None => 0,
    };
    let time = Time::new(part(hour)?, part(minute)?, part(second.unwrap_or("0"))?, nanoseconds);
    Some((time.ok()?, attached))
}

pub(super) fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Seconds of `15 minutes`, `2h`, `1 h 30 min`, … A day is 24 hours.
pub(super) fn ago_seconds(words: &[&str]) -> Option<i64> {
    let joined = words.concat();
    let mut rest = joined.as_str();
    let mut total: i64 = 0;
    let mut smallest = i64::MAX;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, tail) = rest.split_at(number);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            _ => return None,
        };
        // Largest unit first, each once: "5 minutes 2 hours" is a slip of the keyboard.
        if seconds >= smallest {
            return None;
        }
        smallest = seconds;
        total = total.checked_add(i64::from(digits(count)?).checked_mul(seconds)?)?;
        rest = tail;
    }
    (smallest != i64::MAX).then_some(total)
}
