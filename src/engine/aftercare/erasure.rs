//! The erasure list after a recovery: whether anybody on it is back, and erasing them again. Counts
//! rows in every database on the list; its evidence has what the recovery itself erased before it
//! opened the server. Tells no key.

use super::Item;
use super::ward::{Found, Ward};
use crate::engine::erasure::check;
use crate::engine::erasure::list::List;
use crate::engine::erasure::replay::{self, Deed, Outcome};
use crate::engine::explain::Explanation;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::restore::steps::ERASED;
use crate::engine::validate::check::begin;

/// The item's id: its line is one only where the journal has an erasure list.
pub const ID: &str = "erasure";

pub(super) const ITEM: Item = Item {
    id: ID,
    title: "Nobody on the erasure list is back",
    looks: "Counts the rows that the erasure list names, in every database on it.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let list = match listed(ward) {
        Ok(list) => list,
        Err(check) => return (*check).into(),
    };
    for text in ward.incident.notes(ERASED) {
        let begun = begin("erasure:recovery", "Erased by the recovery itself, before it opened");
        found
            .check(begun.found(text).verified("The counts are of the recovery's own transaction."));
    }
    ward.tell("counting rows of the erasure list", 0, None);
    let outcomes = ward.runtime.block_on(replay::go_through(&ward.connection, &list, Deed::Count));
    for one in &outcomes {
        found.check(check::check(one));
        if one.failed.is_none() && one.rows() > 0 {
            let text = format!("Erase again in {}: {}", one.database, one.told());
            found.propose(one.database.as_str(), text);
        }
    }
    if outcomes.is_empty() {
        let begun = begin("erasure:list", ITEM.title).found("0 keys");
        found.check(begun.verified("The list names nobody."));
    }
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let mut list = match listed(ward) {
        Ok(list) => list,
        Err(check) => return vec![*check],
    };
    list.targets.retain(|target| proposals.iter().any(|one| one.key == target.database));
    let outcomes = ward.runtime.block_on(replay::go_through(&ward.connection, &list, Deed::Erase));
    outcomes.iter().map(erased).collect()
}

fn erased(outcome: &Outcome) -> Check {
    let database = &outcome.database;
    let begun = begin(format!("erasure:did:{database}"), format!("{database}: erased again"));
    match &outcome.failed {
        None => begun.found(outcome.told()).verified("In one transaction."),
        Some(why) => begun.failed(format!("Nothing of it was erased: {why}")),
    }
}

/// The list; a check that says why there is none.
fn listed(ward: &Ward<'_>) -> Result<List, Box<Check>> {
    let begun = || begin("erasure:list", "The erasure list can be read");
    match check::list_of(&ward.site.cluster) {
        Ok(Some((_, list))) => Ok(list),
        Ok(None) => Err(Box::new(begun().not_run("The configuration names no erasure list."))),
        Err(Explanation { what, .. }) => Err(Box::new(begun().could_not_verify(what))),
    }
}
