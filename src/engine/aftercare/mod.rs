//! What a recovered cluster needs once it is promoted: the safety list of the checklist, one item
//! a file, one table. Owns what each item looks at, how it is judged and what it proposes; a look
//! changes no data, and what an item changes it does only where its own proposal was agreed to.
//! Never signs a line of the checklist: evidence is kept in the journal, people sign.
//!
//! ```text
//! key ─ RunCare ─ look ─ checks, proposals ─┐ journal
//!                  ▲                        │
//!                  └── act ◄── agreed keys ─┘   only what a new look still proposes
//! ```
//!
//! Looking again is the probe: an item that was killed in the middle is simply run again.

mod archiving;
mod collations;
pub mod erasure;
mod first_backup;
pub mod hold;
mod indexes;
mod jobs;
mod libraries;
pub mod next_start;
mod outreach;
mod prepared;
mod publications;
mod sequences;
mod slots;
mod standbys;
mod statistics;
mod subscriptions;
mod timeline;
mod ward;

pub use standbys::note_connected as note_standbys;
pub use ward::Ward;

use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::care::{Care, Proposal};
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;
use ward::Found;

/// What carries proposals out; a check for each says how it went.
type Act = fn(&Ward<'_>, &[Proposal]) -> Vec<Check>;

/// One item of the safety list.
#[derive(Debug)]
pub struct Item {
    /// Stable: the journal and the runbook data name it.
    pub id: &'static str,
    pub title: &'static str,
    /// What looking does, in one sentence.
    pub looks: &'static str,
    /// The least role that may agree to what it proposes.
    pub agrees: Role,
    look: fn(&Ward<'_>) -> Found,
    /// Carries out proposals that still hold.
    act: Option<Act>,
    /// Acting is itself the look: a look alone could not see as much.
    act_proves: bool,
}

/// The safety list, in the order in which it is best worked through.
pub const ITEMS: &[Item] = &[
    timeline::ITEM,
    next_start::ITEM,
    archiving::ITEM,
    prepared::ITEM,
    libraries::ITEM,
    outreach::ITEM,
    erasure::ITEM,
    sequences::ITEM,
    collations::ITEM,
    indexes::ITEM,
    statistics::ITEM,
    first_backup::ITEM,
    slots::ITEM,
    standbys::ITEM,
    publications::ITEM,
    subscriptions::ITEM,
    jobs::ITEM,
];

/// What is looked at by itself before the server opens.
pub const BEFORE_OPENING: [&str; 3] = ["prepared", "libraries", "outreach"];

/// The item of that id.
#[must_use]
pub fn item(id: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.id == id)
}

/// The least role for running an item: looking is the operator's.
#[must_use]
pub fn role(id: &str, agreed: bool) -> Role {
    match item(id) {
        Some(item) if agreed => item.agrees,
        _ => Role::Operator,
    }
}

/// Runs an item: carries out what was agreed to as far as a new look still proposes it, then
/// looks. Blocks.
///
/// # Errors
/// Where there is no such item.
pub fn run(ward: &Ward<'_>, id: &str, agreed: &[String]) -> Result<Care, Explanation> {
    let Some(item) = item(id) else { return Err(unknown(id)) };
    let mut checks = Vec::new();
    let mut done = Vec::new();
    if let Some(act) = item.act.filter(|_| !agreed.is_empty()) {
        let fresh = (item.look)(ward).proposals;
        let (still, gone) = sift(&fresh, agreed);
        checks.extend(gone.into_iter().map(|key| {
            begin(format!("{id}:gone:{key}"), "What was agreed to is still what is needed")
                .found(key)
                .not_run("It is not proposed any more, so nothing was done for it. Look again.")
        }));
        done = still.iter().map(|proposal| proposal.key.clone()).collect();
        if !still.is_empty() {
            ward.same_server()?;
            checks.extend(act(ward, &still));
            if item.act_proves {
                let (item, proposals) = (id.to_owned(), Vec::new());
                return Ok(Care { item, agreed: done, checks, proposals });
            }
        }
    }
    let found = (item.look)(ward);
    checks.extend(found.checks);
    Ok(Care { item: id.to_owned(), agreed: done, checks, proposals: found.proposals })
}

/// Those of the agreed keys that are still proposed, and those that are not.
fn sift<'a>(fresh: &[Proposal], agreed: &'a [String]) -> (Vec<Proposal>, Vec<&'a str>) {
    let mut still: Vec<Proposal> = Vec::new();
    let mut gone = Vec::new();
    for key in agreed {
        match fresh.iter().find(|proposal| proposal.key == *key) {
            // Of a group one is done, whoever let two pass.
            Some(one) if one.group.is_none() || still.iter().all(|s| s.group != one.group) => {
                still.push(one.clone());
            }
            _ => gone.push(key.as_str()),
        }
    }
    (still, gone)
}

/// Whether these keys can be agreed to together, of what is proposed.
///
/// # Errors
/// In words, for the person who asked.
pub fn agreeable(proposals: &[Proposal], agreed: &[String]) -> Result<(), String> {
    let mut groups = Vec::new();
    for key in agreed {
        let Some(proposal) = proposals.iter().find(|proposal| proposal.key == *key) else {
            return Err(format!("\"{key}\" is not proposed."));
        };
        if let Some(group) = &proposal.group {
            if groups.contains(&group) {
                return Err(format!("For {group} there are two answers; only one can be given."));
            }
            groups.push(group);
        }
    }
    Ok(())
}

fn unknown(id: &str) -> Explanation {
    let known: Vec<&str> = ITEMS.iter().map(|item| item.id).collect();
    Explanation::new(
        Kind::NotFound,
        format!("There is no item \"{id}\" on the safety list."),
        "Nothing was done.",
        format!("There are: {}.", known.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(key: &str, group: Option<&str>) -> Proposal {
        Proposal { key: key.to_owned(), text: String::new(), group: group.map(str::to_owned) }
    }

    #[test]
    fn what_is_not_proposed_any_more_is_not_done() {
        let fresh = [proposal("a", None), proposal("commit:x", Some("x"))];
        let agreed = ["a", "b", "commit:x"].map(String::from);
        let (still, gone) = sift(&fresh, &agreed);
        assert_eq!(still.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["a", "commit:x"]);
        assert_eq!(gone, ["b"]);
    }

    #[test]
    fn of_two_answers_to_one_question_one_is_given() {
        let fresh = [proposal("commit:x", Some("x")), proposal("rollback:x", Some("x"))];
        let both = ["commit:x", "rollback:x"].map(String::from);
        assert!(agreeable(&fresh, &both).is_err());
        assert_eq!(sift(&fresh, &both).0.len(), 1);
        assert_eq!(agreeable(&fresh, &both[..1]), Ok(()));
        assert!(agreeable(&fresh, &[String::from("drop")]).is_err());
    }

    #[test]
    fn every_item_is_named_once_and_what_is_agreed_to_has_a_doer() {
        for (i, one) in ITEMS.iter().enumerate() {
            assert!(ITEMS.iter().skip(i + 1).all(|other| other.id != one.id), "{}", one.id);
            assert!(one.looks.ends_with('.'), "{}", one.id);
        }
        assert!(BEFORE_OPENING.iter().all(|id| item(id).is_some()));
        assert_eq!(role("prepared", true), Role::Commander);
        assert_eq!(role("prepared", false), Role::Operator);
    }
}
