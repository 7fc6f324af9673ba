//! Reading the times that people type, strictly. Owns the accepted forms and the words that show
//! what was understood. Never guesses: where a text has two readings, both are offered.
//!
//! Accepted: `now` · `15 minutes ago`, `2h ago`, `1h 30m ago` · `10:00`, `10:00:05`,
//! `today 10:00`, `yesterday 14:00` · `2026-01-13 10:00[:00[.000000]]`, `2026-01-13T10:00:00Z`.
//! After a time of day: an offset (`+01`, `+01:00`, `+0100`, attached or not), `UTC`, or a zone by
//! its name (`Europe/Berlin`) or its city alone (`Berlin`, `New York`) where only one zone has it.
//! Without one the zone is the caller's, and the echo says so.

mod clock;
mod error;
mod zone;

pub use error::{MomentError, Why};

use clock::{Day, ago_seconds, split_clock, split_day};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use zone::{city, read_zone};

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
    use crate::engine::explain::Explain;
    use proptest::prelude::*;

    pub(super) fn stamp(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        stamp("2026-01-13T10:30:00Z")
    }

    /// Central European time without the machine's zone database.
    fn central() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    pub(super) fn read(text: &str) -> Result<Typed, MomentError> {
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
    fn now_is_after_what_ended_in_the_same_second() {
        let now = stamp("2026-01-13T10:30:00.987654321Z");
        let typed = parse("now", now, &TimeZone::UTC).unwrap();
        assert_eq!(typed.at, stamp("2026-01-13T10:30:00.987654Z"));
        let ago = parse("5 minutes ago", now, &TimeZone::UTC).unwrap();
        assert_eq!(ago.at, stamp("2026-01-13T10:25:00Z"), "nobody means a fraction");
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
