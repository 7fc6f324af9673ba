//! What a typed time means, as the dialog shows it while it is typed. Owns the answer's shape;
//! the reading itself is `engine::moments`.

use crate::engine::explain::Explain;
use crate::engine::moments::{self, Typed};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a text means so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    Empty,
    /// The possible meanings, each as it is echoed: one, or several to choose from.
    Meant(Vec<(Timestamp, String)>),
    /// Not understood, and why.
    Wrong(String),
}

/// The forms, for the dialog.
pub const FORMS: &str =
    "now, 14:05, 14:05:30 UTC, yesterday 23:50, 15 minutes ago, 2026-01-31 14:05:30+01:00";

/// Reads `text`; what has happened lies in the past, so only such meanings count.
#[must_use]
pub fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Reading {
    let meanings = match moments::parse(text, now, zone) {
        Ok(typed) => vec![typed],
        Err(moments::MomentError::Empty) => return Reading::Empty,
        Err(error) if error.readings().is_empty() => {
            let told = error.explanation();
            return Reading::Wrong(format!("{} {}", told.what, told.next));
        }
        Err(error) => error.readings().to_vec(),
    };
    let past: Vec<_> = meanings.iter().filter(|t| t.at <= now).map(|t| (t.at, words(t))).collect();
    if past.is_empty() {
        return Reading::Wrong(String::from("That time is in the future."));
    }
    Reading::Meant(past)
}

fn words(typed: &Typed) -> String {
    let utc = typed.zone.to_offset(typed.at) == jiff::tz::Offset::UTC;
    if typed.zone_assumed && !utc {
        format!("{} (this machine's zone; write UTC after it if you meant that)", typed.echo())
    } else {
        typed.echo()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        "2026-03-29T14:20:00Z".parse().unwrap()
    }

    fn berlin() -> TimeZone {
        // Written out, so that the test needs no zone database.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_time_of_day_to_come_is_yesterdays() {
        let Reading::Meant(list) = read("23:50", now(), &TimeZone::UTC) else { panic!() };
        let times: Vec<_> = list.iter().map(|(at, _)| at.to_string()).collect();
        assert_eq!(times, ["2026-03-28T23:50:00Z"]);
    }

    #[test]
    fn a_local_time_says_the_utc_that_it_means() {
        let Reading::Meant(list) = read("13:05", now(), &berlin()) else { panic!() };
        assert!(list[0].1.contains("2026-03-29 11:05:00 UTC"), "{list:?}");
        assert!(list[0].1.contains("write UTC after it"), "{list:?}");
    }

    #[test]
    fn an_hour_that_came_twice_is_asked() {
        let later: Timestamp = "2026-10-25T12:00:00Z".parse().unwrap();
        let Reading::Meant(list) = read("2026-10-25 02:30", later, &berlin()) else { panic!() };
        assert_eq!(list.len(), 2, "{list:?}");
    }

    #[test]
    fn what_is_no_time_or_yet_to_come_is_refused() {
        for text in ["yesterday", "25:00", "1405", "5 moons ago", "2026-03-29 14:21 UTC"] {
            assert!(matches!(read(text, now(), &TimeZone::UTC), Reading::Wrong(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_lies_in_the_future(h in 0u8..24, m in 0u8..60) {
            if let Reading::Meant(list) = read(&format!("{h}:{m:02}"), now(), &berlin()) {
                prop_assert!(list.iter().all(|(at, _)| *at <= now()));
            }
        }
    }
}
