//! Sets that a repository has published and does not hold whole any more: an object is gone, or a
//! verification has FAILED. Owns finding them and bringing what is missing from a whole copy. Never
//! overwrites: an object with another content stays until a person has moved it away.

use super::debts::SetDebt;
use super::error::CopyError;
use super::{CopiedSet, Opened, Report, pay_by, set};
use crate::engine::config::Cluster;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::descriptor::set_time;
use crate::engine::repository::{Repository, RepositoryError};
use jiff::Timestamp;

/// The sets, begun since `not_before`, that a repository does not hold whole and that another has
/// published. One that cannot be asked tells nothing of its own.
#[must_use]
pub fn incomplete(cluster: &Cluster, opened: &[Opened<'_>], not_before: Timestamp) -> Vec<SetDebt> {
    let asked: Vec<(&String, &Repository)> = cluster
        .repositories
        .iter()
        .filter_map(|name| {
            let (settings, one) = opened.iter().find(|(settings, _)| settings.name == *name)?;
            Some((&settings.name, one.as_ref().ok()?))
        })
        .collect();
    let published: Vec<Vec<String>> =
        asked.iter().map(|(_, one)| one.set_names().unwrap_or_default()).collect();
    let mut found = Vec::new();
    for ((name, repository), sets) in asked.iter().zip(&published) {
        for set in sets.iter().filter(|set| set_time(set).is_some_and(|at| at >= not_before)) {
            let sources: Vec<String> = asked
                .iter()
                .zip(&published)
                .filter(|((other, _), sets)| other != name && sets.contains(set))
                .map(|((other, _), _)| (*other).clone())
                .collect();
            // What cannot be told now is told by whoever verifies it.
            if !sources.is_empty() && is_incomplete(repository, set).unwrap_or(false) {
                let (set, repository) = (set.clone(), (*name).clone());
                found.push(SetDebt { set, repository, sources });
            }
        }
    }
    found
}

fn is_incomplete(repository: &Repository, set: &str) -> Result<bool, RepositoryError> {
    let descriptor = repository.read_set(set)?;
    if descriptor.fault_of_objects(|name| repository.size_of(name))?.is_some() {
        return Ok(true);
    }
    if repository.first_missing(descriptor.own_wal())?.is_some() {
        return Ok(true);
    }
    let last = repository.newest_verification(set)?;
    Ok(last.is_some_and(|last| last.verdict == Verdict::Failed))
}

/// Brings what is missing from the first repository that has it whole; every object that is there
/// is read and compared.
///
/// # Errors
/// The last source's reason; [`Kind::Integrity`] with the object's name where it has another
/// content than was written.
pub fn mend(
    debt: &SetDebt,
    opened: &[Opened<'_>],
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<CopiedSet, Explanation> {
    pay_by(debt, opened, &|error| told(debt, error), &|from, to| {
        set::mend_set(from, to, &debt.set, progress, cancelled)
    })
}

fn told(debt: &SetDebt, error: &CopyError) -> Explanation {
    let CopyError::Different { name, to } = error else { return error.explanation() };
    Explanation::new(
        Kind::Integrity,
        format!("{name} in \"{to}\", which {} needs, is not what was written.", debt.set),
        "It was not overwritten; the other copies were only read.",
        format!(
            "Move that object out of \"{to}\" (keep it until the set is VERIFIED again) and run \
             lifeboat catch-up: it is copied anew from \"{}\".",
            debt.sources.join("\" or \"")
        ),
    )
}
