//! Reading the times that people type, strictly. Owns the accepted forms and the words that show
//! what was understood. Never guesses: where a text has two readings, both are offered.
//!
//! Accepted: `now` · `15 minutes ago`, `2h ago`, `1h 30m ago` · `10:00`, `10:00:05`,
//! `today 10:00`, `yesterday 14:00` · `2026-01-13 10:00[:00[.000000]]`, `2026-01-13T10:00:00Z`.
//! After a time of day: an offset (`+01`, `+01:00`, `+0100`, attached or not), `UTC`, or a zone by
//! its name (`Europe/Berlin`) or its city alone (`Berlin`, `New York`) where only one zone has it.
//! Without one the zone is the caller's, and the echo says so.

use crate::engine::explain::{Explain, Explanation, Kind};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A time as understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    pub at: Timestamp,
    /// The zone it was read in.
    pub zone: TimeZone,
    /// The text named no zone: `zone` is the caller's default.
    pub zone_assumed: bool,
    /// The text named no day: it was taken as today.
    pub day_assumed: bool,
}

impl Typed {
    /// What was understood, to the second or as exact as typed, with its offset.
    #[must_use]
    pub fn echo(&self) -> String {
        echo(self.at, &self.zone)
    }
}

/// A moment in UTC and, where that differs, on the clock of `zone`; always with the offset.
#[must_use]
pub fn echo(at: Timestamp, zone: &TimeZone) -> String {
    let utc = format!("{} UTC", civil(Offset::UTC.to_datetime(at)));
    let offset = zone.to_offset(at);
    let name = zone.iana_name().filter(|name| !matches!(*name, "UTC" | "Etc/UTC"));
    if offset == Offset::UTC && name.is_none() {
        return format!("{}+00:00 (UTC)", civil(Offset::UTC.to_datetime(at)));
    }
    let local = format!("{}{}", civil(offset.to_datetime(at)), signed(offset));
    match name {
        Some(name) => format!("{utc} = {local} {name}"),
        None => format!("{utc} = {local}"),
    }
}

/// Why a text is not taken as a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    #[error("no time was given")]
    Empty,
    #[error("\"{text}\" is not a time that can be read")]
    NotATime { text: String },
    #[error("\"{text}\" names a day but no time of day")]
    NoTimeOfDay { text: String },
    #[error(
        "\"{word}\" is a time zone's abbreviation, and those mean different things in different places"
    )]
    Abbreviation { word: String },
    #[error("the time zone \"{name}\" is not known on this machine")]
    UnknownZone { name: String },
    #[error("\"{word}\" is in several time zones: {}", names.join(", "))]
    WhichCity { word: String, names: Vec<String> },
    #[error("\"{word}\" belongs to a 12-hour clock")]
    TwelveHours { word: String },
    #[error("\"{text}\" lies outside the times that can be handled")]
    OutOfRange { text: String },
    /// The text has several readings: the person chooses.
    #[error("{} Did you mean {}?", why.sentence(text), readings.iter().map(Typed::echo).collect::<Vec<_>>().join(" or "))]
    Which {
        text: String,
        why: Why,
        /// Earliest first.
        readings: Vec<Typed>,
    },
}

/// Why a text has several readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Clocks were set back: the time of day happened twice.
    Twice,
    /// Clocks were set forward: the time of day never happened.
    Skipped,
    /// Today it is still to come.
    Future,
}

impl Why {
    fn sentence(self, text: &str) -> String {
        match self {
            Self::Twice => format!("\"{text}\" happened twice, because clocks were set back."),
            Self::Skipped => {
                format!("\"{text}\" never happened, because clocks were set forward.")
            }
            Self::Future => format!("\"{text}\" is still to come today."),
        }
    }
}

impl MomentError {
    /// The readings to choose from; empty where the text has none.
    #[must_use]
    pub fn readings(&self) -> &[Typed] {
        match self {
            Self::Which { readings, .. } => readings,
            _ => &[],
        }
    }
}

impl Explain for MomentError {
    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Which { .. } => "Write it with its offset, as shown.",
            Self::Abbreviation { .. } => {
                "Write the offset (+01:00), UTC, or the zone's name (Europe/Berlin)."
            }
            Self::WhichCity { .. } => {
                "Write the zone's whole name, as shown, or the offset (+01:00)."
            }
            Self::UnknownZone { .. } => {
                "Check its spelling (Region/City), or write the offset (+01:00)."
            }
            Self::TwelveHours { .. } => "Write the hour from 0 to 23: 14:00 and not 2:00 pm.",
            Self::NoTimeOfDay { .. } => "Write the time too: 2026-01-13 10:00 UTC.",
            Self::Empty | Self::NotATime { .. } | Self::OutOfRange { .. } => {
                "Write 2026-01-13 10:00:00+00, 10:00, yesterday 14:00, 15 minutes ago or now."
            }
        };
        let mut what = self.to_string();
        if let Some(first) = what.get(..1).map(str::to_uppercase) {
            what.replace_range(..1, &first);
        }
        if !what.ends_with(['.', '?']) {
            what.push('.');
        }
        Explanation::new(Kind::Config, what, "Nothing was changed.", next)
    }
}

/// Reads `text`. `now` is what "ago" and "today" count from; `zone` is where times without a zone
/// are.
///
/// # Errors
/// Where the text is no time, or has several readings: see [`MomentError::readings`].
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Typed, MomentError> {
    let text = text.trim();
    let not_a_time = || MomentError::NotATime { text: text.to_owned() };
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    let typed_words: Vec<&str> = text.split_ascii_whitespace().collect();
    let relative = |at| Typed { at, zone: zone.clone(), zone_assumed: true, day_assumed: false };
    match words.as_slice() {
        [] => return Err(MomentError::Empty),
        // To the last digit that PostgreSQL knows: a backup that ended a moment ago ended before.
        ["now"] => {
            return Ok(relative(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)));
        }
        [quantity @ .., "ago"] => {
            let seconds = ago_seconds(quantity).ok_or_else(not_a_time)?;
            let at = whole_seconds(now)
                .checked_sub(SignedDuration::from_secs(seconds))
                .map_err(|_| MomentError::OutOfRange { text: text.to_owned() })?;
            return Ok(relative(at));
        }
        _ => {}
    }
    let (day, rest) = split_day(&typed_words).ok_or_else(not_a_time)?;
    let (clock, zone_word) = match (rest.as_slice(), &day) {
        ([clock], _) => (*clock, None),
        ([clock, zone_words @ ..], _) if !zone_words.is_empty() => {
            (*clock, Some(zone_words.join("_")))
        }
        ([], Day::Today | Day::Yesterday | Day::On(_)) => {
            return Err(MomentError::NoTimeOfDay { text: text.to_owned() });
        }
        _ => return Err(not_a_time()),
    };
    let (time, attached) = split_clock(clock).ok_or_else(not_a_time)?;
    let named = match (attached, zone_word) {
        ("", None) => None,
        ("", Some(word)) if rest.len() > 2 => Some(city(&word)?.ok_or_else(not_a_time)?),
        ("", Some(word)) => Some(read_zone(&word)?),
        (offset, None) => Some(read_zone(offset)?),
        (_, Some(_)) => return Err(not_a_time()),
    };
    let zone_assumed = named.is_none();
    let zone = named.unwrap_or_else(|| zone.clone());
    let today = zone.to_datetime(now).date();
    let resolve = |date: Date| {
        let day_assumed = matches!(day, Day::Unsaid);
        resolve(text, date.to_datetime(time), &zone, zone_assumed, day_assumed)
    };
    let yesterday =
        || today.yesterday().map_err(|_| MomentError::OutOfRange { text: text.to_owned() });
    match day {
        Day::On(date) => resolve(date),
        Day::Today => resolve(today),
        Day::Yesterday => resolve(yesterday()?),
        Day::Unsaid => {
            let read = resolve(today);
            let to_come = match &read {
                Ok(typed) => typed.at > now,
                Err(error) => error.readings().iter().any(|typed| typed.at > now),
            };
            if !to_come {
                return read;
            }
            let mut readings = choices(resolve(yesterday()?));
            readings.extend(choices(read));
            Err(MomentError::Which { text: text.to_owned(), why: Why::Future, readings })
        }
    }
}

fn choices(read: Result<Typed, MomentError>) -> Vec<Typed> {
    match read {
        Ok(typed) => vec![typed],
        Err(error) => error.readings().to_vec(),
    }
}

enum Day {
    Unsaid,
    Today,
    Yesterday,
    On(Date),
}

/// The day, and the words after it. `None` where the text begins with neither day nor time.
fn split_day<'a>(words: &[&'a str]) -> Option<(Day, Vec<&'a str>)> {
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
fn split_clock(text: &str) -> Option<(Time, &str)> {
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

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn read_zone(word: &str) -> Result<TimeZone, MomentError> {
    if ["utc", "z", "gmt"].iter().any(|utc| word.eq_ignore_ascii_case(utc)) {
        return Ok(TimeZone::UTC);
    }
    if word.starts_with(['+', '-']) {
        let offset = read_offset(word);
        return offset
            .map(TimeZone::fixed)
            .ok_or_else(|| MomentError::NotATime { text: word.to_owned() });
    }
    if word.eq_ignore_ascii_case("am") || word.eq_ignore_ascii_case("pm") {
        return Err(MomentError::TwelveHours { word: word.to_owned() });
    }
    // Short names without a region (EDT, IST, CET) are refused although some are in the zone
    // database: PostgreSQL, the database and people disagree about them.
    if !word.contains('/') {
        if let Some(zone) = city(word)? {
            return Ok(zone);
        }
        let abbreviation = word.len() <= 5 && word.bytes().all(|b| b.is_ascii_alphabetic());
        return Err(if abbreviation {
            MomentError::Abbreviation { word: word.to_owned() }
        } else {
            MomentError::UnknownZone { name: word.to_owned() }
        });
    }
    TimeZone::get(word).map_err(|_| MomentError::UnknownZone { name: word.to_owned() })
}

/// The zone of a city by its name alone; `None` where no zone has that city.
fn city(word: &str) -> Result<Option<TimeZone>, MomentError> {
    if !word.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-')) {
        return Ok(None);
    }
    let database = jiff::tz::db();
    let mut names: Vec<String> = database
        .available()
        .map(|name| name.as_str().to_owned())
        .filter(|name| {
            let mut parts = name.split('/');
            let region = parts.next().unwrap_or_default();
            // Links of the past (US/Pacific) and fixed offsets (Etc/GMT+1) are no cities.
            let real = !matches!(region, "Etc" | "US" | "Canada" | "Mexico" | "Brazil" | "Chile");
            // States under their initials or a point of the compass: WEST and ACT are also how
            // clocks elsewhere are called.
            let state = matches!(
                name.as_str(),
                "Australia/ACT"
                    | "Australia/LHI"
                    | "Australia/NSW"
                    | "Australia/North"
                    | "Australia/South"
                    | "Australia/West"
            );
            real && !state && parts.next_back().is_some_and(|last| last.eq_ignore_ascii_case(word))
        })
        .collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => Ok(None),
        [name] => Ok(TimeZone::get(name).ok()),
        _ => Err(MomentError::WhichCity { word: word.to_owned(), names }),
    }
}

/// `+01`, `+0130` or `+01:30`, up to 15:59 either way, as PostgreSQL allows.
fn read_offset(text: &str) -> Option<Offset> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let body = text.get(1..)?;
    let (hours, minutes) = match body.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None if body.len() == 4 => (body.get(..2)?, body.get(2..)?),
        None => (body, "00"),
    };
    if hours.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 15 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    Offset::from_seconds(sign * seconds).ok()
}

fn resolve(
    text: &str,
    local: DateTime,
    zone: &TimeZone,
    zone_assumed: bool,
    day_assumed: bool,
) -> Result<Typed, MomentError> {
    let out_of_range = |_| MomentError::OutOfRange { text: text.to_owned() };
    let typed = |at| Typed { at, zone: zone.clone(), zone_assumed, day_assumed };
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let why = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            return ambiguous.compatible().map(typed).map_err(out_of_range);
        }
        AmbiguousOffset::Gap { .. } => Why::Skipped,
        AmbiguousOffset::Fold { .. } => Why::Twice,
    };
    let earlier = ambiguous.earlier().map_err(out_of_range)?;
    let later = ambiguous.later().map_err(out_of_range)?;
    let readings = vec![typed(earlier), typed(later)];
    Err(MomentError::Which { text: text.to_owned(), why, readings })
}

/// Nobody means a fraction who says "ago".
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Seconds of `15 minutes`, `2h`, `1 h 30 min`, … A day is 24 hours.
fn ago_seconds(words: &[&str]) -> Option<i64> {
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

fn civil(local: DateTime) -> String {
    if local.subsec_nanosecond() == 0 {
        return local.strftime("%Y-%m-%d %H:%M:%S").to_string();
    }
    local.strftime("%Y-%m-%d %H:%M:%S%.f").to_string()
}

/// `+01:00`; with seconds only where a zone of the past has them.
fn signed(offset: Offset) -> String {
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, rest) =
        (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    if rest == 0 {
        format!("{sign}{hours:02}:{minutes:02}")
    } else {
        format!("{sign}{hours:02}:{minutes:02}:{rest:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        stamp("2026-01-13T10:30:00Z")
    }

    /// Central European time without the machine's zone database.
    fn central() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn read(text: &str) -> Result<Typed, MomentError> {
        parse(text, now(), &TimeZone::UTC)
    }

    #[test]
    fn every_accepted_form_means_what_it_says() {
        let cases = [
            ("now", "2026-01-13T10:30:00Z"),
            ("  NOW ", "2026-01-13T10:30:00Z"),
            ("15 minutes ago", "2026-01-13T10:15:00Z"),
            ("2h ago", "2026-01-13T08:30:00Z"),
            ("1h 30m ago", "2026-01-13T09:00:00Z"),
            ("1 hour 30 minutes ago", "2026-01-13T09:00:00Z"),
            ("2 days ago", "2026-01-11T10:30:00Z"),
            ("10:00", "2026-01-13T10:00:00Z"),
            ("9:05:07", "2026-01-13T09:05:07Z"),
            ("today 10:00", "2026-01-13T10:00:00Z"),
            ("today 23:00", "2026-01-13T23:00:00Z"),
            ("yesterday 14:00", "2026-01-12T14:00:00Z"),
            ("10:00 +05:30", "2026-01-13T04:30:00Z"),
            ("2026-01-13 10:00", "2026-01-13T10:00:00Z"),
            ("2026-01-13 10:00:00+00", "2026-01-13T10:00:00Z"),
            ("2026-01-13 10:00:00 UTC", "2026-01-13T10:00:00Z"),
            ("2026-01-13 10:00:00.25-0530", "2026-01-13T15:30:00.25Z"),
            ("2026-01-13T10:00:00Z", "2026-01-13T10:00:00Z"),
            ("2026-01-13t10:00:00.123456+01:00", "2026-01-13T09:00:00.123456Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).map(|t| t.at), Ok(stamp(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "noon",
            "10",
            "10:0",
            "24:00",
            "10:60",
            "23:59:60",
            "10:00:00.1234567",
            "13.01.2026 10:00",
            "01/13/2026 10:00",
            "2026-1-13 10:00",
            "2026-02-30 10:00",
            "26-01-13 10:00",
            "2026-01-13 10:00+1",
            "2026-01-13 10:00+16:00",
            "2026-01-13 10:00+00 UTC",
            "2026-01-13 10:00 UTC now",
            "ago",
            "minutes ago",
            "5 ago",
            "-5 minutes ago",
            "5 minutes 2 hours ago",
            "5 lightyears ago",
            "tomorrow 10:00",
            "2026-01-13T",
            "99999999999 hours ago",
        ] {
            assert!(
                matches!(read(text), Err(MomentError::NotATime { .. })),
                "{text}: {:?}",
                read(text)
            );
        }
        assert_eq!(read("  "), Err(MomentError::Empty));
        assert!(matches!(read("2026-01-13"), Err(MomentError::NoTimeOfDay { .. })));
        assert!(matches!(read("yesterday"), Err(MomentError::NoTimeOfDay { .. })));
        assert!(matches!(read("2:00 pm"), Err(MomentError::TwelveHours { .. })));
        assert!(matches!(read("999999999 days ago"), Err(MomentError::OutOfRange { .. })));
    }

    #[test]
    fn abbreviations_are_refused_with_the_reason() {
        for zone in ["EDT", "EST", "CET", "IST", "bst", "WEST", "ACT"] {
            let error = read(&format!("2026-01-13 10:00 {zone}")).unwrap_err();
            assert_eq!(error, MomentError::Abbreviation { word: zone.to_owned() });
            assert!(error.explanation().to_string().contains("different things"));
        }
        let unknown = read("2026-01-13 10:00 Europe/Nowhere").unwrap_err();
        assert_eq!(unknown, MomentError::UnknownZone { name: String::from("Europe/Nowhere") });
    }

    #[test]
    fn now_is_after_what_ended_in_the_same_second() {
        let now = stamp("2026-01-13T10:30:00.987654321Z");
        let typed = parse("now", now, &TimeZone::UTC).unwrap();
        assert_eq!(typed.at, stamp("2026-01-13T10:30:00.987654Z"));
        let ago = parse("5 minutes ago", now, &TimeZone::UTC).unwrap();
        assert_eq!(ago.at, stamp("2026-01-13T10:25:00Z"), "nobody means a fraction");
    }

    #[test]
    fn a_zone_by_name_is_shown_with_its_offset() {
        // Named zones need the machine's zone database; without one they are refused by name.
        match read("2026-07-01 10:00 Europe/Berlin") {
            Ok(typed) => {
                assert_eq!(typed.at, stamp("2026-07-01T08:00:00Z"));
                assert_eq!(
                    typed.echo(),
                    "2026-07-01 08:00:00 UTC = 2026-07-01 10:00:00+02:00 Europe/Berlin"
                );
                assert!(!typed.zone_assumed);
            }
            Err(error) => {
                assert!(!std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists());
                assert_eq!(error, MomentError::UnknownZone { name: "Europe/Berlin".to_owned() });
            }
        }
    }

    #[test]
    fn a_city_alone_is_enough_where_it_is_the_only_one() {
        if !std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
            return; // Cities come from the machine's zone database.
        }
        for (text, expected) in [
            ("yesterday 14:00 Berlin", "2026-01-12T13:00:00Z"),
            ("2026-07-01 10:00 berlin", "2026-07-01T08:00:00Z"),
            ("yesterday 14:00 New York", "2026-01-12T19:00:00Z"),
            ("today 09:00 Tokyo", "2026-01-13T00:00:00Z"),
        ] {
            assert_eq!(read(text).map(|t| t.at), Ok(stamp(expected)), "{text}");
        }
        let echo = read("yesterday 14:00 Berlin").unwrap().echo();
        assert_eq!(echo, "2026-01-12 13:00:00 UTC = 2026-01-12 14:00:00+01:00 Europe/Berlin");
        // Two zones of the database end with this name.
        let which = read("10:00 Louisville").unwrap_err();
        let MomentError::WhichCity { names, .. } = &which else { panic!("{which:?}") };
        assert!(names.contains(&String::from("America/Kentucky/Louisville")), "{names:?}");
        assert!(which.explanation().to_string().contains("America/Louisville"));
        assert!(matches!(read("10:00 Atlantis"), Err(MomentError::UnknownZone { .. })));
    }

    #[test]
    fn a_local_time_that_happened_twice_or_never_is_asked_about() {
        let twice = parse("2025-10-26 02:30", now(), &central()).unwrap_err();
        let at: Vec<_> = twice.readings().iter().map(|t| t.at).collect();
        assert_eq!(at, [stamp("2025-10-26T00:30:00Z"), stamp("2025-10-26T01:30:00Z")]);
        let told = twice.explanation().to_string();
        assert!(told.contains("+02:00") && told.contains("+01:00"), "{told}");

        let never = parse("2025-03-30 02:30", now(), &central()).unwrap_err();
        assert!(matches!(never, MomentError::Which { why: Why::Skipped, .. }));
        assert_eq!(never.readings().len(), 2);

        let said = parse("2025-10-26 02:30+01", now(), &central()).unwrap();
        assert_eq!(said.at, stamp("2025-10-26T01:30:00Z"));
    }

    #[test]
    fn a_bare_time_still_to_come_is_asked_about() {
        let error = read("10:31").unwrap_err();
        assert!(matches!(error, MomentError::Which { why: Why::Future, .. }));
        let at: Vec<_> = error.readings().iter().map(|t| t.at).collect();
        assert_eq!(at, [stamp("2026-01-12T10:31:00Z"), stamp("2026-01-13T10:31:00Z")]);
        assert!(read("10:30").unwrap().day_assumed);
    }

    #[test]
    fn today_is_the_day_of_the_zone() {
        let late = stamp("2026-01-13T23:30:00Z");
        let typed = parse("0:15", late, &central()).unwrap();
        assert_eq!(typed.at, stamp("2026-01-13T23:15:00Z"));
    }

    #[test]
    fn the_echo_always_has_an_offset() {
        assert_eq!(read("10:00").unwrap().echo(), "2026-01-13 10:00:00+00:00 (UTC)");
        assert_eq!(
            read("10:00:00.5 -03:30").map(|t| t.echo()).unwrap_err().readings()[0].echo(),
            "2026-01-12 13:30:00.5 UTC = 2026-01-12 10:00:00.5-03:30"
        );
    }

    proptest! {
        #[test]
        fn an_exact_text_is_read_back_exactly(
            micros in 631_152_000_000_000_i64..4_102_444_800_000_000,
            minutes in -959_i32..=959,
        ) {
            let at = Timestamp::from_microsecond(micros).unwrap();
            let offset = Offset::from_seconds(minutes * 60).unwrap();
            let local = offset.to_datetime(at);
            for text in [
                format!("{}{}", local.strftime("%Y-%m-%d %H:%M:%S%.6f"), signed(offset)),
                format!("{} {}", local.strftime("%Y-%m-%dT%H:%M:%S%.6f"), signed(offset)),
                at.to_string(),
            ] {
                let typed = read(&text).unwrap();
                prop_assert_eq!(typed.at, at);
            }
        }

        #[test]
        fn the_echos_local_part_is_read_as_the_same_moment(
            second in 631_152_000_i64..4_102_444_800,
        ) {
            let at = Timestamp::from_second(second).unwrap();
            let shown = echo(at, &central());
            let (_, local) = shown.split_once(" = ").unwrap();
            prop_assert_eq!(read(local).unwrap().at, at);
        }

        #[test]
        fn a_local_time_has_one_reading_or_asks(
            second in 631_152_000_i64..4_102_444_800,
        ) {
            let local = Timestamp::from_second(second).unwrap().to_zoned(TimeZone::UTC).datetime();
            let text = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
            match parse(&text, now(), &central()) {
                Ok(typed) => prop_assert_eq!(central().to_datetime(typed.at), local),
                Err(error) => {
                    prop_assert_eq!(error.readings().len(), 2);
                    prop_assert!(error.readings()[0].at < error.readings()[1].at);
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            if let Ok(typed) = read(&text) {
                prop_assert!(typed.echo().contains("UTC"));
            }
        }

        #[test]
        fn no_near_miss_panics(text in "(20[0-9]{2}-[0-9]{1,2}-[0-9]{1,2}[ T])?[0-9:.]{1,12}[-+ ]?[0-9:A-Z]{0,6}") {
            if let Err(error) = read(&text) {
                prop_assert!(!error.explanation().what.is_empty());
            }
        }
    }
}
