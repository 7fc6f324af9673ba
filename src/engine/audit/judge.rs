//! The rules by which a journal is judged: its chain, and what was anchored of it. Works on values;
//! reads nothing and asks nobody.
//!
//! The chain alone shows an edit, a swap or a hole in the middle. It shows nothing of the last
//! line, of a tail that was cut off, or of a file that was written anew as a whole with new hashes:
//! those show against anchors.

use super::lines::Lines;
use crate::engine::incident::facts::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was done to a journal, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tampering {
    /// An entry is not what was written.
    Edited,
    /// Entries stand in another order.
    Reordered,
    /// Entries are missing before others.
    Deleted,
    /// An entry stands there that was not written there.
    Inserted,
    /// Entries are missing at the end.
    Truncated,
    /// From its first entry on it is another journal.
    Replaced,
    /// The file is gone.
    Missing,
    /// Two different entries were anchored under one number.
    TwoHistories,
}

/// The first entry that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// The number of the first wrong entry, or of the first that may be.
    pub entry: u64,
    /// The same, or the last of those of which one is the first wrong entry.
    pub last: u64,
    pub tampering: Tampering,
    pub why: String,
}

impl Wrong {
    fn at(entry: u64, tampering: Tampering, why: String) -> Self {
        Self { entry, last: entry, tampering, why }
    }

    /// `entry 7`, or `one of the entries 4 to 7`.
    #[must_use]
    pub fn place(&self) -> String {
        if self.entry == self.last {
            format!("entry {}", self.entry)
        } else {
            format!("one of the entries {} to {}", self.entry, self.last)
        }
    }
}

/// Entries by number with every hash that is known of them, and where from.
pub type Known = BTreeMap<u64, Vec<(String, String)>>;

/// What the journal amounts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub entries: u64,
    /// Hash of the last whole line.
    pub head: Option<String>,
    /// Bytes of an unfinished last line.
    pub torn: u64,
    /// Whether the chain by itself is unbroken.
    pub chain: Verdict,
    pub wrong: Option<Wrong>,
    /// Up to this entry the journal is what was anchored.
    pub covered: u64,
}

/// Judges the file's lines; `None` where there is no file.
#[must_use]
pub fn judge(lines: Option<&Lines>, known: &Known) -> Finding {
    let empty = Lines::default();
    let file = lines.unwrap_or(&empty);
    let chain = chain(file, known);
    let missing =
        || Wrong::at(1, Tampering::Missing, String::from("the journal's file is not there"));
    let found = match lines {
        None => Some(missing()),
        Some(_) => earliest(chain.clone(), anchors(file, known)),
    };
    let covered = known.keys().next_back().copied().filter(|_| found.is_none()).unwrap_or(0);
    Finding {
        entries: file.count(),
        head: file.lines.last().map(|line| line.hash.clone()),
        torn: file.torn,
        chain: match (lines, &chain) {
            (None, _) => Verdict::NotRun,
            (_, None) => Verdict::Verified,
            (_, Some(_)) => Verdict::Failed,
        },
        wrong: found,
        covered,
    }
}

/// The first break of the chain.
fn chain(file: &Lines, known: &Known) -> Option<Wrong> {
    let mut before = super::lines::hash(b"");
    for (number, line) in (1_u64..).zip(&file.lines) {
        let entry = match &line.entry {
            Ok(entry) => entry,
            Err(why) => {
                let why = format!("it cannot be understood ({why})");
                return Some(Wrong::at(number, Tampering::Edited, why));
            }
        };
        if entry.seq > number {
            let later = file.lines.iter().skip(usize::try_from(number).unwrap_or(usize::MAX));
            let is_later =
                later.filter_map(|line| line.entry.as_ref().ok()).any(|entry| entry.seq == number);
            let (tampering, why) = if is_later {
                (Tampering::Reordered, format!("entry {} stands in its place", entry.seq))
            } else {
                (Tampering::Deleted, format!("it is missing; entry {} follows", entry.seq))
            };
            return Some(Wrong::at(number, tampering, why));
        }
        if entry.seq < number {
            let why = format!("a second entry with the number {} stands there", entry.seq);
            return Some(Wrong::at(number, Tampering::Inserted, why));
        }
        if entry.prev != before {
            return Some(broken_link(file, number, known));
        }
        before.clone_from(&line.hash);
    }
    None
}

/// `number` does not carry the hash of the line before it: one of the two is not what was written.
fn broken_link(file: &Lines, number: u64, known: &Known) -> Wrong {
    let Some(previous) = number.checked_sub(1).filter(|previous| *previous > 0) else {
        let why = String::from("it does not begin a chain: an entry stood before it");
        return Wrong::at(1, Tampering::Deleted, why);
    };
    let is_known = |of: u64| {
        let line = file.at(of)?;
        let hashes = known.get(&of)?;
        Some(hashes.iter().any(|(hash, _)| *hash == line.hash))
    };
    let foreign = || {
        let why = format!("it was not written after entry {previous}, which is as anchored");
        Wrong::at(number, Tampering::Edited, why)
    };
    let changed = |sure: &str| {
        let why = format!(
            "it was changed after entry {number} was written behind it, which carries its \
             hash{sure}"
        );
        Wrong::at(previous, Tampering::Edited, why)
    };
    match (is_known(previous), is_known(number)) {
        (Some(true), _) => foreign(),
        (Some(false), _) | (_, Some(true)) => changed(""),
        _ => Wrong {
            last: number,
            ..changed(&format!(" (or entry {number} is not the one that followed)"))
        },
    }
}

/// The first entry that is not what was anchored.
fn anchors(file: &Lines, known: &Known) -> Option<Wrong> {
    let mut agreed = 0;
    for (number, hashes) in known {
        if let [(one, here), (other, there), ..] = hashes.as_slice() {
            let why = format!(
                "two different entries are anchored under its number: {} in {here}, {} in {there}",
                short(one),
                short(other)
            );
            return Some(Wrong::at(*number, Tampering::TwoHistories, why));
        }
        let Some((hash, place)) = hashes.first() else { continue };
        let first = agreed + 1;
        match file.at(*number) {
            Some(line) if line.hash == *hash => agreed = *number,
            Some(line) => {
                let tampering = if first == 1 { Tampering::Replaced } else { Tampering::Edited };
                let why = format!(
                    "entry {number} was anchored in {place} as {}, and is {} now",
                    short(hash),
                    short(&line.hash)
                );
                return Some(Wrong { entry: first, last: *number, tampering, why });
            }
            None => {
                let end = file.count();
                let last = known.keys().next_back().copied().unwrap_or(*number);
                let why = format!(
                    "the journal ends at entry {end}, and entry {last} was anchored in {place}"
                );
                return Some(Wrong::at(end + 1, Tampering::Truncated, why));
            }
        }
    }
    None
}

/// Of two findings the one that comes first; the chain's own words where both are of one place.
fn earliest(chain: Option<Wrong>, anchors: Option<Wrong>) -> Option<Wrong> {
    match (chain, anchors) {
        (Some(chain), Some(anchors)) if anchors.last < chain.entry => Some(anchors),
        (Some(chain), _) => Some(chain),
        (None, anchors) => anchors,
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::event::{Entry, Event};
    use crate::engine::incident::facts::{Actor, Role};
    use proptest::prelude::*;

    /// A journal of these texts, chained.
    fn chained(texts: &[String]) -> Vec<String> {
        let mut prev = super::super::lines::hash(b"");
        let mut all = Vec::new();
        for (seq, text) in (1..).zip(texts) {
            let entry = Entry {
                seq,
                at: "2025-01-13T10:00:00Z".parse().unwrap(),
                actor: Actor { user: "anna".into(), uid: 1000, role: Role::Commander },
                event: Event::StepFinished { step: text.clone() },
                prev,
            };
            let line = serde_json::to_string(&entry).unwrap();
            prev = super::super::lines::hash(line.as_bytes());
            all.push(line);
        }
        all
    }

    fn texts(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("step-{n}")).collect()
    }

    fn read(lines: &[String]) -> Lines {
        Lines::of(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes())
    }

    /// Anchors of these entries of a journal.
    fn known(lines: &[String], of: impl IntoIterator<Item = u64>) -> Known {
        let lines = read(lines);
        let claim =
            |seq| (seq, vec![(lines.at(seq).unwrap().hash.clone(), String::from("\"near\""))]);
        of.into_iter().map(claim).collect()
    }

    fn wrong(lines: &[String], known: &Known) -> Option<(u64, u64, Tampering)> {
        judge(Some(&read(lines)), known).wrong.map(|w| (w.entry, w.last, w.tampering))
    }

    #[test]
    fn a_sound_journal_is_covered_up_to_its_newest_anchor() {
        let sound = chained(&texts(8));
        let found = judge(Some(&read(&sound)), &known(&sound, [3, 6]));
        assert_eq!((found.wrong, found.covered, found.chain), (None, 6, Verdict::Verified));
        let found = judge(Some(&read(&sound)), &Known::new());
        assert_eq!((found.wrong, found.covered, found.entries), (None, 0, 8));
    }

    #[test]
    fn each_tampering_is_named_by_its_first_wrong_entry() {
        let sound = chained(&texts(8));
        let all = known(&sound, 1..=8);
        // An edit that leaves the chain as it is.
        let mut edited = sound.clone();
        edited[4] = edited[4].replace("step-5", "step-x");
        assert_eq!(wrong(&edited, &Known::new()), Some((5, 6, Tampering::Edited)));
        assert_eq!(wrong(&edited, &all), Some((5, 5, Tampering::Edited)));
        // The last line's, which nothing but an anchor shows.
        let mut last = sound.clone();
        last[7] = last[7].replace("step-8", "step-x");
        assert_eq!(wrong(&last, &Known::new()), None);
        assert_eq!(wrong(&last, &all), Some((8, 8, Tampering::Edited)));
        // Order and holes.
        let mut swapped = sound.clone();
        swapped.swap(2, 3);
        assert_eq!(wrong(&swapped, &Known::new()), Some((3, 3, Tampering::Reordered)));
        assert_eq!(wrong(&swapped, &all), Some((3, 3, Tampering::Reordered)));
        let mut hole = sound.clone();
        hole.remove(2);
        assert_eq!(wrong(&hole, &all), Some((3, 3, Tampering::Deleted)));
        assert_eq!(wrong(&sound[1..], &all), Some((1, 1, Tampering::Deleted)));
        let mut twice = sound.clone();
        twice.insert(4, sound[3].clone());
        assert_eq!(wrong(&twice, &all), Some((5, 5, Tampering::Inserted)));
        // The tail.
        assert_eq!(wrong(&sound[..5], &Known::new()), None);
        assert_eq!(wrong(&sound[..5], &known(&sound, [4, 7])), Some((6, 6, Tampering::Truncated)));
        // Written anew with a chain that holds.
        let mut other = texts(8);
        other[4] = String::from("step-x");
        let forged = chained(&other);
        assert_eq!(wrong(&forged, &Known::new()), None);
        assert_eq!(wrong(&forged, &all), Some((5, 5, Tampering::Edited)));
        assert_eq!(wrong(&forged, &known(&sound, [3, 8])), Some((4, 8, Tampering::Edited)));
        let replaced = chained(&texts(3).into_iter().map(|t| t + "x").collect::<Vec<_>>());
        assert_eq!(wrong(&replaced, &all), Some((1, 1, Tampering::Replaced)));
        let gone = judge(None, &all).wrong.unwrap();
        assert_eq!((gone.entry, gone.tampering), (1, Tampering::Missing));
        // Two journals were anchored.
        let mut both = all.clone();
        both.get_mut(&6).unwrap().push(("0".repeat(64), String::from("\"far\"")));
        assert_eq!(wrong(&sound, &both), Some((6, 6, Tampering::TwoHistories)));
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_no_tampering() {
        let sound = chained(&texts(4));
        let mut bytes = sound.join("\n").into_bytes();
        bytes.truncate(bytes.len() - 9);
        let found = judge(Some(&Lines::of(&bytes)), &known(&sound, 1..=3));
        assert_eq!((found.wrong, found.entries), (None, 3));
        assert!(found.torn > 0);
    }

    proptest! {
        #[test]
        fn whatever_byte_of_an_anchored_journal_is_changed_is_found(
            place in any::<prop::sample::Index>(), to in any::<u8>()
        ) {
            let sound = chained(&texts(5));
            let mut bytes = (sound.join("\n") + "\n").into_bytes();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != to);
            let line = bytes[..place].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            bytes[place] = to;
            let found = judge(Some(&Lines::of(&bytes)), &known(&sound, 1..=5));
            let wrong = found.wrong.unwrap();
            prop_assert!(wrong.entry <= line && line <= wrong.last.max(line));
            prop_assert_eq!(wrong.entry, line);
        }
    }
}
