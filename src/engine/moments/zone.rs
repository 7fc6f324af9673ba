//! Time zones as people name them: an offset, UTC, a zone's name, a city. Owns what is refused for
//! meaning different things in different places; never looks at a day or a time of day.

use super::clock::digits;
use super::error::MomentError;
use jiff::tz::{Offset, TimeZone};

pub(super) fn read_zone(word: &str) -> Result<TimeZone, MomentError> {
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
pub(super) fn city(word: &str) -> Result<Option<TimeZone>, MomentError> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::{read, stamp};
    use super::*;
    use crate::engine::explain::Explain;

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
}
