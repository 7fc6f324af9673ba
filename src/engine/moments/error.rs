//! Why a text is not taken as a time, and what to write instead. Owns the words; never chooses
//! between two readings.

use super::Typed;
use crate::engine::explain::{Explain, Explanation, Kind};

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
