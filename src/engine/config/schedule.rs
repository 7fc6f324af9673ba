//! What `lifeboat.toml` may say of a cluster's schedule. Owns the types; when a job is due is
//! [`crate::engine::schedule`]'s to say.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// When the scheduler does what, each day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// The daily base backup.
    pub base_backup: ClockTime,
    /// The daily check of what was written: what is new, and what was not read for long.
    pub verification: ClockTime,
    /// The daily removal of what retention no longer keeps.
    pub cleanup: ClockTime,
    /// The pause before a failed job is tried again, in minutes; it doubles up to eight times this.
    pub retry_minutes: u32,
    /// The weekly drill on a copy of the cluster's newest backup; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<WeekTime>,
    /// Its scenarios, in turn; empty: all that there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drill_scenarios: Vec<String>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            base_backup: ClockTime { hour: 2, minute: 0 },
            verification: ClockTime { hour: 4, minute: 0 },
            cleanup: ClockTime { hour: 5, minute: 0 },
            retry_minutes: 15,
            drill: None,
            drill_scenarios: Vec::new(),
        }
    }
}

/// A time of day in UTC, written `02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockTime {
    hour: u8,
    minute: u8,
}

impl ClockTime {
    /// `None` where there is no such time.
    #[must_use]
    pub fn new(hour: u8, minute: u8) -> Option<Self> {
        (hour < 24 && minute < 60).then_some(Self { hour, minute })
    }

    /// Seconds since midnight.
    #[must_use]
    pub fn seconds(self) -> i64 {
        i64::from(self.hour) * 3600 + i64::from(self.minute) * 60
    }
}

impl std::fmt::Display for ClockTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl std::str::FromStr for ClockTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |part: &str| {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse().ok())
                .flatten()
        };
        let (hour, minute) = text.split_once(':').unwrap_or_default();
        digits(hour)
            .zip(digits(minute))
            .and_then(|(hour, minute)| Self::new(hour, minute))
            .ok_or_else(|| {
                format!("\"{text}\" is not a time of day in UTC, such as \"02:00\" or \"23:45\"")
            })
    }
}

impl Serialize for ClockTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A day of the week and a time of it in UTC, written `sunday 06:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekTime {
    /// 0 is Monday.
    day: u8,
    pub clock: ClockTime,
}

const DAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl WeekTime {
    /// Days since Monday, 0 to 6.
    #[must_use]
    pub fn day(self) -> i64 {
        i64::from(self.day)
    }
}

impl std::fmt::Display for WeekTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = DAYS.get(usize::from(self.day)).copied().unwrap_or_default();
        write!(f, "{day} {}", self.clock)
    }
}

impl std::str::FromStr for WeekTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (day, clock) = text.split_once(' ').unwrap_or_default();
        DAYS.iter()
            .position(|name| name.eq_ignore_ascii_case(day))
            .and_then(|at| u8::try_from(at).ok())
            .zip(clock.parse().ok())
            .map(|(day, clock)| Self { day, clock })
            .ok_or_else(|| {
                format!("\"{text}\" is no day and time of day in UTC, such as \"sunday 06:00\"")
            })
    }
}

impl Serialize for WeekTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WeekTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_with_a_time_of_it_is_taken() {
        let time: WeekTime = "Sunday 06:00".parse().unwrap();
        assert_eq!((time.day(), time.to_string().as_str()), (6, "sunday 06:00"));
        for text in ["", "sunday", "06:00", "sun 06:00", "sunday  06:00", "sunday 24:00"] {
            assert!(text.parse::<WeekTime>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_a_time_of_day_is_taken() {
        for (text, seconds) in [("00:00", 0), ("02:00", 7200), ("23:59", 86_340)] {
            let time: ClockTime = text.parse().unwrap();
            assert_eq!(time.seconds(), seconds);
            assert_eq!(time.to_string(), text);
        }
        for text in ["", "2", "2:00", "24:00", "12:60", "02:00:00", "02:00 UTC", "-1:00", "+1:00"] {
            assert!(text.parse::<ClockTime>().is_err(), "{text:?}");
        }
    }
}
