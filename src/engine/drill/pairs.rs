//! Which injects can be in one drill together. Owns the rules, on values: a drill is judged by every
//! inject that it has, so that one which could never be met would spoil it, whatever people do.

use super::inject::Inject;
use super::scenario::Expected;

/// Why two injects cannot be in one drill, in a sentence's end; `None` where they can. `led`: a game
/// master releases those that can wait, and judges by what happens which comes next.
#[must_use]
pub fn clash(one: &Inject, other: &Inject, led: bool) -> Option<String> {
    if one.name == other.name {
        return None;
    }
    if one.first_report.is_some() && other.first_report.is_some() {
        return Some(format!(
            "{} and {} both are the first report, and only one can be heard",
            one.name, other.name
        ));
    }
    let ends = |first: &Inject, then: &Inject| {
        let never_met = first.expected == Expected::Refused && then.met > first.met;
        (never_met && !led).then(|| {
            format!(
                "with {} the recovery is refused before anybody comes to meet {}",
                first.name, then.name
            )
        })
    };
    ends(one, other).or_else(|| ends(other, one))
}

/// The first reason why these injects cannot be in one drill.
#[must_use]
pub fn first_clash(all: &[Inject], led: bool) -> Option<String> {
    let pairs = all
        .iter()
        .enumerate()
        .flat_map(|(at, one)| all.iter().skip(at + 1).map(move |other| (one, other)));
    pairs.into_iter().find_map(|(one, other)| clash(one, other, led))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::inject;

    fn named(name: &str) -> Inject {
        inject::load(name).unwrap()
    }

    /// Every pair there is: those that are refused are these and no others.
    #[test]
    fn every_pair_is_allowed_or_refused_by_rule() {
        let one_report = [
            ("wrong-report", "time-zone"),
            ("wrong-report", "misleading-names"),
            ("time-zone", "misleading-names"),
        ];
        let never_met = [
            ("archive-gap", "damaged-backup"),
            ("archive-gap", "key-denied"),
            ("archive-gap", "repository-down"),
            ("archive-gap", "commander-absent"),
            ("archive-gap", "server-wont-start"),
        ];
        let is = |pairs: &[(&str, &str)], one: &Inject, other: &Inject| {
            pairs.contains(&(&one.name, &other.name)) || pairs.contains(&(&other.name, &one.name))
        };
        let all = inject::all();
        let mut allowed = 0;
        for one in &all {
            for other in &all {
                let found = clash(one, other, false);
                let back = clash(other, one, false);
                assert_eq!(found.is_some(), back.is_some(), "whichever comes first");
                let word = if is(&one_report, one, other) {
                    Some("only one can be heard")
                } else if is(&never_met, one, other) {
                    Some("is refused before")
                } else {
                    None
                };
                match (word, &found) {
                    (None, None) => allowed += usize::from(one.name < other.name),
                    (Some(word), Some(why)) => {
                        assert!(why.contains(word), "{why}");
                        assert!(why.contains(&one.name) && why.contains(&other.name), "{why}");
                    }
                    _ => panic!("{} with {}: {found:?}", one.name, other.name),
                }
            }
        }
        assert_eq!(allowed, 45 - one_report.len() - never_met.len());
    }

    #[test]
    fn a_game_master_may_hold_back_what_would_end_a_drill() {
        let all = ["archive-gap", "key-denied", "disk-too-small"].map(named);
        assert_eq!(first_clash(&all, true), None);
        assert!(first_clash(&all, false).is_some_and(|why| why.contains("key-denied")));
        let reports = ["key-denied", "wrong-report", "time-zone"].map(named);
        assert!(first_clash(&reports, true).is_some(), "nobody holds a first report back");
    }
}
