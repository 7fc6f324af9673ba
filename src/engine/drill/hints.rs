//! A scenario's hints: for which part of the work each is, and which comes next where an incident
//! stands. Owns that choice, on values, and the words by which the journal keeps what was told.
//!
//! A hint is a text, told in the order of the file, or `{ at = "plan", text = "…" }`, told only while
//! the incident stands there.

use super::card::HINT;
use crate::engine::incident::Incident;
use crate::engine::incident::model::{Phase, RunStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The part of the work that a hint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// Before the incident is declared, too.
    Assessment,
    RecoveryPoint,
    /// Prerequisites, plan and gate.
    Plan,
    /// From the start of the run to its end, the question at the target included.
    Restore,
    Validation,
    Checklist,
    /// Report and end.
    End,
}

impl At {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Assessment => "Assessment",
            Self::RecoveryPoint => "Recovery point",
            Self::Plan => "Plan and gate",
            Self::Restore => "Restore",
            Self::Validation => "Validation",
            Self::Checklist => "Checklist",
            Self::End => "Report and end",
        }
    }
}

/// One hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Hint {
    /// `None`: told in its turn, wherever the incident stands.
    pub at: Option<At>,
    pub text: String,
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self { at: None, text: text.to_owned() }
    }
}

/// As it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a hint is a text, or { at = \"…\", text = \"…\" } with at one of assessment, \
                 recovery-point, plan, restore, validation, checklist, end"
)]
enum Written {
    Plain(String),
    For(For),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct For {
    at: At,
    text: String,
}

impl From<Written> for Hint {
    fn from(written: Written) -> Self {
        match written {
            Written::Plain(text) => Self { at: None, text },
            Written::For(For { at, text }) => Self { at: Some(at), text },
        }
    }
}

impl From<Hint> for Written {
    fn from(Hint { at, text }: Hint) -> Self {
        match at {
            None => Self::Plain(text),
            Some(at) => Self::For(For { at, text }),
        }
    }
}

/// The parts that hints may be for where an incident stands, the best first.
#[must_use]
pub fn here(incident: Option<&Incident>) -> &'static [At] {
    let Some(incident) = incident else { return &[At::Assessment] };
    match (incident.phase(), incident.status) {
        (Phase::Assessment, _) => &[At::Assessment],
        (Phase::RecoveryPoint, _) if incident.server.is_none() => {
            &[At::Assessment, At::RecoveryPoint]
        }
        (Phase::RecoveryPoint, _) => &[At::RecoveryPoint, At::Assessment],
        (Phase::Restore, RunStatus::Planning | RunStatus::Ready) => &[At::Plan],
        (Phase::Restore, RunStatus::Undone) => &[At::RecoveryPoint],
        (Phase::Restore, _) => &[At::Restore],
        (Phase::Validation, _) => &[At::Validation],
        // The run itself validates, too: then the verdicts are still to be read.
        (Phase::Checklist, _) if incident.reports.is_empty() => {
            &[At::Validation, At::Checklist, At::End]
        }
        (Phase::Checklist, _) => &[At::End, At::Checklist],
        (Phase::Closed, _) => &[At::End],
    }
}

/// The place of the hint that comes next for whoever asks: one for where they stand, else the first
/// that is for no part. `told`: the places of those that were told.
#[must_use]
pub fn next(hints: &[Hint], told: &BTreeSet<usize>, here: &[At]) -> Option<usize> {
    let first = |at: Option<At>| {
        hints.iter().enumerate().find(|(n, hint)| hint.at == at && !told.contains(n))
    };
    let fitting = here.iter().find_map(|at| first(Some(*at)));
    fitting.or_else(|| first(None)).map(|(n, _)| n)
}

/// The same for a game master, who may give any: where none fits, one of what is ahead before one of
/// what is past.
#[must_use]
pub fn next_of_all(hints: &[Hint], told: &BTreeSet<usize>, here: &[At]) -> Option<usize> {
    let now = here.first().copied();
    let untold = || hints.iter().enumerate().filter(|(n, _)| !told.contains(n));
    next(hints, told, here)
        .or_else(|| untold().find(|(_, hint)| hint.at > now).map(|(n, _)| n))
        .or_else(|| untold().next().map(|(n, _)| n))
}

/// A hint as the journal keeps it.
#[must_use]
pub fn note(hints: &[Hint], place: usize) -> Option<String> {
    let hint = hints.get(place)?;
    Some(format!("{HINT}{} of {}: {}", place + 1, hints.len(), hint.text))
}

/// The place of the hint that a note tells; `None` where it is another note.
#[must_use]
pub fn place(note: &str) -> Option<usize> {
    let (number, rest) = note.strip_prefix(HINT)?.split_once(" of ")?;
    rest.split_once(": ")?.0.parse::<usize>().ok()?;
    number.parse::<usize>().ok()?.checked_sub(1)
}

/// The places of the hints that an incident's journal has.
#[must_use]
pub fn told(incident: Option<&Incident>) -> BTreeSet<usize> {
    let notes = incident.map_or(&[][..], |incident| &incident.notes);
    notes.iter().filter_map(|(_, text)| place(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints() -> Vec<Hint> {
        let staged = |at, text: &str| Hint { at: Some(at), text: text.to_owned() };
        vec![
            staged(At::Assessment, "Declare it."),
            staged(At::RecoveryPoint, "Look at the suspects."),
            Hint::from("Breathe."),
            staged(At::RecoveryPoint, "Press p."),
            staged(At::End, "w writes the report."),
        ]
    }

    fn set(places: &[usize]) -> BTreeSet<usize> {
        places.iter().copied().collect()
    }

    #[test]
    fn the_hint_is_one_for_where_the_incident_stands() {
        let hints = hints();
        let point = &[At::RecoveryPoint, At::Assessment][..];
        assert_eq!(next(&hints, &set(&[]), point), Some(1), "not the first of the file");
        assert_eq!(next(&hints, &set(&[1]), point), Some(3));
        assert_eq!(
            next(&hints, &set(&[1, 3]), point),
            Some(0),
            "the assessment may lack something"
        );
        assert_eq!(next(&hints, &set(&[0, 1, 3]), point), Some(2), "one for any part comes last");
        assert_eq!(next(&hints, &set(&[0, 1, 2, 3]), point), None, "what is ahead is not told");
        assert_eq!(next_of_all(&hints, &set(&[0, 1, 2, 3]), point), Some(4));
        assert_eq!(next_of_all(&hints, &set(&[4]), &[At::End]), Some(2));
        assert_eq!(
            next_of_all(&hints, &set(&[2, 4]), &[At::End]),
            Some(0),
            "what is past, at last"
        );
        assert_eq!(next_of_all(&hints, &set(&[0, 1, 2, 3, 4]), &[At::End]), None);
    }

    #[test]
    fn texts_alone_are_told_in_their_order() {
        let hints = ["One.", "Two."].map(Hint::from);
        assert_eq!(next(&hints, &set(&[]), &[At::Restore]), Some(0));
        assert_eq!(next(&hints, &set(&[0]), &[At::Assessment]), Some(1));
        assert_eq!(next(&hints, &set(&[0, 1]), &[At::Assessment]), None);
    }

    #[test]
    fn the_journal_tells_which_was_told() {
        let hints = hints();
        let kept = note(&hints, 3).unwrap();
        assert_eq!(kept, "Hint 4 of 5: Press p.");
        assert_eq!(place(&kept), Some(3));
        for other in ["Hint of the day", "Hint 0 of 5: x", "Hint a of 5: x", "We took a hint"] {
            assert_eq!(place(other), None, "{other}");
        }
        assert_eq!(note(&hints, 5), None);
    }

    #[test]
    fn a_file_may_have_both_forms_and_is_told_what_is_wrong() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            hints: Vec<Hint>,
        }
        let text = "hints = [\"Old.\", { at = \"recovery-point\", text = \"New.\" }]";
        let read: File = toml::from_str(text).unwrap();
        let expected = Hint { at: Some(At::RecoveryPoint), text: String::from("New.") };
        assert_eq!(read.hints, [Hint::from("Old."), expected]);
        let again: File = toml::from_str(&toml::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
        let wrong = "hints = [{ at = \"lunch\", text = \"x\" }]";
        let error = toml::from_str::<File>(wrong).unwrap_err().to_string();
        assert!(error.contains("recovery-point, plan, restore"), "{error}");
    }
}
