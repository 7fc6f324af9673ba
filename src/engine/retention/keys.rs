//! Data keys that nothing needs any more. Owns the caution: a key that is gone cannot be made
//! again, and what it protects is lost with it.

use super::inventory::Seen;
use super::plan::{Plan, Removal};
use crate::engine::crypto::master::KeyError;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::keys::inventory::Usage;
use crate::engine::repository::Repository;
use crate::engine::repository::descriptor::set_time;
use crate::engine::repository::store::{StoreError, StoreFault};
use std::collections::BTreeSet;

/// Keys that might go: those that turn out to be needed are taken out.
#[derive(Debug, Default)]
pub struct Spare {
    ids: BTreeSet<String>,
}

impl Spare {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn needed(&mut self, id: Option<&str>) {
        if let Some(id) = id {
            self.ids.remove(id);
        }
    }

    #[must_use]
    pub fn into_removals(self) -> Vec<Removal> {
        let removal = |id: String| Removal {
            key: id,
            bytes: 0,
            why: String::from("no backup and no WAL file that is kept is encrypted with it"),
        };
        self.ids.into_iter().map(removal).collect()
    }
}

/// Keys that no kept set names. The newest is never among them, nor a young one, nor one that a
/// file outside the repository needs.
///
/// # Errors
/// Where they could not be listed.
pub fn unneeded_by_sets(
    repository: &Repository,
    seen: &Seen,
    plan: &Plan,
) -> Result<Spare, Explanation> {
    let Some(keyring) = repository.keyring() else { return Ok(Spare::default()) };
    let ids = keyring.list().map_err(|e| e.explanation())?;
    let unpublished = seen.unpublished();
    let staying = unpublished.keys().filter(|set| {
        let stem = set.replacen("set-", "base-", 1);
        !plan.unpublished.iter().any(|one| one.key.starts_with(&stem))
    });
    // As if what goes were gone already. WAL is looked at later, folder by folder.
    let mut kept = Usage {
        newest: ids.last().cloned(),
        pinned: repository.pinned_keys().map_err(|e| e.explanation())?,
        unreadable_sets: seen.inventory.unreadable.iter().map(|one| one.set.clone()).collect(),
        unpublished_since: staying.filter_map(|set| set_time(set)).min(),
        ..Usage::default()
    };
    for line in plan.sets.iter().filter(|line| !line.remove) {
        let descriptor = seen.descriptors.get(&line.set);
        if let Some(id) = descriptor.and_then(|descriptor| descriptor.key_id.clone()) {
            kept.sets.entry(id).or_default().push(line.set.clone());
        }
    }
    let spare = |id: &String| kept.why_needed(id, plan.as_of).is_none();
    Ok(Spare { ids: ids.into_iter().filter(spare).collect() })
}

/// Removes a data key from the repository.
///
/// # Errors
/// As [`crate::engine::repository::store::Store::remove`].
pub fn remove(repository: &Repository, id: &str) -> Result<(), StoreError> {
    let Some(keyring) = repository.keyring() else {
        let what = format!("there is no data key {id}: the repository is not encrypted");
        return Err(StoreError::new(StoreFault::NotFound, what));
    };
    keyring.remove(id).map_err(|error| match error {
        KeyError::Store(error) => error,
        missing @ KeyError::Missing { .. } => {
            StoreError::new(StoreFault::NotFound, missing.to_string())
        }
        other => StoreError::new(StoreFault::Unavailable, other.to_string()),
    })
}
