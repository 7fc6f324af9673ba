//! What a repository still owes: the sets that another one has and it has not. Owns the rule and
//! the listing; pays nothing by itself (see [`super::pay`]), and calls a repository that could
//! not be asked neither complete nor in debt, but not known.

use super::Opened;
use crate::engine::config::Cluster;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::descriptor::set_time;
use crate::engine::retention;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a repository holds, by its listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub repository: String,
    pub asked: Result<Listed, Explanation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// When the repository was made.
    pub created: Timestamp,
    /// Names of published sets.
    pub sets: BTreeSet<String>,
}

/// A set that a repository owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetDebt {
    pub set: String,
    /// That owes it.
    pub repository: String,
    /// That have it, in the configuration's order.
    pub sources: Vec<String>,
}

/// A repository that could not be asked: what it owes is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unasked {
    pub repository: String,
    pub why: Explanation,
    /// What it owes at most, oldest first.
    pub may_owe: Vec<String>,
}

/// What the repositories of a cluster owe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Debts {
    pub cluster: String,
    /// By age of the set, oldest first.
    pub sets: Vec<SetDebt>,
    pub unasked: Vec<Unasked>,
}

impl Debts {
    /// Nothing is owed, and every repository was asked.
    #[must_use]
    pub fn none(&self) -> bool {
        self.sets.is_empty() && self.unasked.is_empty()
    }

    /// A line for each, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let owed = self
            .sets
            .iter()
            .map(|debt| format!("\"{}\" has no copy of {} yet.", debt.repository, debt.set));
        let unasked = self.unasked.iter().map(|one| {
            let count = one.may_owe.len();
            let newest =
                one.may_owe.last().map_or(String::new(), |set| format!(", {set} among them"));
            format!(
                "\"{}\" could not be asked what it lacks (up to {count} sets{newest}): {}",
                one.repository, one.why.what
            )
        });
        owed.chain(unasked).collect()
    }
}

/// What the repositories of `cluster` owe by their listings now. Sets that were begun before
/// `not_before` are not asked for, the newest excepted.
#[must_use]
pub fn debts(cluster: &Cluster, opened: &[Opened<'_>], not_before: Timestamp) -> Debts {
    let holdings: Vec<Holding> = opened.iter().map(holding).collect();
    owed(&cluster.name, &holdings, Some(not_before))
}

/// Before this moment the cluster's retention asks for no backup.
#[must_use]
pub fn retained_since(cluster: &Cluster, now: Timestamp) -> Timestamp {
    retention::policy_of(cluster).window(now)
}

fn holding((settings, opened): &Opened<'_>) -> Holding {
    let listed = opened.as_ref().map_err(Clone::clone).and_then(|repository| {
        let list = || {
            let created = repository.read_marker()?.created;
            Ok(Listed { created, sets: repository.set_names()?.into_iter().collect() })
        };
        list().map_err(|e: crate::engine::repository::RepositoryError| e.explanation())
    });
    Holding { repository: settings.name.clone(), asked: listed }
}

/// The rule, on values: a repository owes the newest set of all, and each set begun since it was
/// made and since `not_before` that another has.
#[must_use]
pub fn owed(cluster: &str, holdings: &[Holding], not_before: Option<Timestamp>) -> Debts {
    let listed =
        || holdings.iter().filter_map(|one| one.asked.as_ref().ok().map(|l| (&one.repository, l)));
    let all: BTreeSet<&String> = listed().flat_map(|(_, listed)| &listed.sets).collect();
    // Names sort by time.
    let newest = all.last().copied();
    let needed = |set: &str, created: Option<Timestamp>| {
        let begun = set_time(set);
        newest.is_some_and(|newest| newest == set)
            || [created, not_before].iter().flatten().all(|since| {
                // A name has whole seconds.
                begun.is_some_and(|begun| begun.as_second() >= since.as_second())
            })
    };
    let mut debts = Debts { cluster: cluster.to_owned(), sets: Vec::new(), unasked: Vec::new() };
    for set in &all {
        for (repository, there) in listed() {
            if !there.sets.contains(*set) && needed(set, Some(there.created)) {
                let has = |(name, other): (&String, &Listed)| {
                    other.sets.contains(*set).then(|| name.clone())
                };
                debts.sets.push(SetDebt {
                    set: (*set).clone(),
                    repository: repository.clone(),
                    sources: listed().filter_map(has).collect(),
                });
            }
        }
    }
    for one in holdings {
        if let Err(why) = &one.asked {
            let may_owe = all.iter().filter(|set| needed(set, None)).map(|s| (*s).clone());
            debts.unasked.push(Unasked {
                repository: one.repository.clone(),
                why: why.clone(),
                may_owe: may_owe.collect(),
            });
        }
    }
    debts
}

/// None of the sources can be asked any more.
pub(super) fn nobody(debt: &SetDebt) -> Explanation {
    Explanation::new(
        Kind::Connection,
        format!("Nobody can give {} to \"{}\" now.", debt.set, debt.repository),
        "Nothing was written.",
        "Run lifeboat catch-up again when the repositories answer.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::descriptor::set_name;
    use proptest::prelude::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn has(repository: &str, created: i64, minutes: &[i64]) -> Holding {
        let sets = minutes.iter().map(|minute| set_name(at(*minute))).collect();
        let listed = Listed { created: at(created), sets };
        Holding { repository: repository.to_owned(), asked: Ok(listed) }
    }

    fn down(repository: &str) -> Holding {
        let why = Explanation::new(Kind::Storage, "It is not mounted.", "", "");
        Holding { repository: repository.to_owned(), asked: Err(why) }
    }

    fn pairs(debts: &Debts) -> Vec<(String, String)> {
        debts.sets.iter().map(|d| (d.repository.clone(), d.set.clone())).collect()
    }

    #[test]
    fn what_another_has_is_owed() {
        let debts = owed("shop", &[has("near", 0, &[1, 2, 3]), has("far", 0, &[2])], None);
        let far = |minute| (String::from("far"), set_name(at(minute)));
        assert_eq!(pairs(&debts), [far(1), far(3)]);
        assert_eq!(debts.sets[0].sources, ["near"]);
        assert!(!debts.none());
        assert!(owed("shop", &[has("near", 0, &[1]), has("far", 0, &[1])], None).none());
    }

    #[test]
    fn a_new_repository_owes_the_newest_alone() {
        let debts = owed("shop", &[has("near", 0, &[1, 2, 3]), has("new", 10, &[])], None);
        assert_eq!(pairs(&debts), [(String::from("new"), set_name(at(3)))]);
    }

    #[test]
    fn what_retention_has_removed_is_not_asked_for_again() {
        let held = [has("near", 0, &[1, 20, 30]), has("far", 0, &[30])];
        assert_eq!(owed("shop", &held, Some(at(20))).sets.len(), 1);
        assert_eq!(owed("shop", &held, Some(at(21))).sets.len(), 0);
    }

    #[test]
    fn who_could_not_be_asked_is_not_complete() {
        let debts = owed("shop", &[has("near", 0, &[1, 2]), down("far")], None);
        assert!(!debts.none() && debts.sets.is_empty());
        assert_eq!(debts.unasked[0].may_owe.len(), 2);
        assert!(debts.lines()[0].contains("not mounted"), "{:?}", debts.lines());
        assert!(!owed("shop", &[down("near"), down("far")], None).none());
    }

    proptest! {
        #[test]
        fn paying_all_debts_leaves_none(
            held in prop::collection::vec(
                (0_i64..40, prop::collection::btree_set(0_i64..60, 0..8)),
                1..4,
            ),
            kept in prop::option::of(0_i64..60),
        ) {
            let mut holdings: Vec<Holding> = held
                .iter()
                .enumerate()
                .map(|(i, (created, sets))| {
                    has(&format!("r{i}"), *created, &sets.iter().copied().collect::<Vec<_>>())
                })
                .collect();
            let debts = owed("shop", &holdings, kept.map(at));
            for debt in &debts.sets {
                prop_assert!(!debt.sources.is_empty() && !debt.sources.contains(&debt.repository));
                let holding = holdings.iter_mut().find(|h| h.repository == debt.repository).unwrap();
                let Ok(listed) = &mut holding.asked else { unreachable!() };
                prop_assert!(listed.sets.insert(debt.set.clone()), "it had it already");
            }
            prop_assert!(owed("shop", &holdings, kept.map(at)).none());
            // The newest of all is everywhere now.
            let sets = |h: &Holding| h.asked.as_ref().unwrap().sets.last().cloned();
            prop_assert!(holdings.iter().all(|h| sets(h) == sets(&holdings[0])));
        }
    }
}
