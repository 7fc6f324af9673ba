//! What on this machine reads a repository now: open incidents, and restores from the command
//! line. Owns the marks of those restores, `<state>/in-use/<cluster>/`; a mark counts while the
//! process that made it lives.

use super::policy::Use;
use crate::engine::config::{Cluster, Config, load};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::store::{Listed, Store};
use crate::engine::repository::descriptor::set_time;
use nix::unistd::{Uid, User};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A restore from the command line, while it lives.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    _lock: File,
}

impl Mark {
    /// Says that `set` of `cluster` is being restored, until this is dropped or the process ends.
    ///
    /// # Errors
    /// Where the mark could not be made.
    pub fn restore(state_directory: &Path, cluster: &str, set: &str) -> io::Result<Self> {
        let folder = folder(state_directory, cluster);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{set}.{}", std::process::id()));
        let lock = File::create(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // One that stays behind is not locked any more, and counts for nothing.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder(state_directory: &Path, cluster: &str) -> PathBuf {
    state_directory.join("in-use").join(cluster)
}

/// Everything on this machine that needs a backup of `cluster`.
///
/// # Errors
/// Where that could not be told: then nothing may be removed.
pub fn uses(state_directory: &Path, cluster: &str) -> Result<Vec<Use>, Explanation> {
    let mut uses = incidents(state_directory, cluster)?;
    let folder = folder(state_directory, cluster);
    let unreadable = |error: io::Error| {
        Explanation::new(
            Kind::Storage,
            format!(
                "Whether a restore is under way could not be told: {}: {error}.",
                folder.display()
            ),
            "Nothing was removed.",
            "Check the permissions of the state directory.",
        )
    };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(uses),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((set, process)) = name.rsplit_once('.') else { continue };
        if set_time(set).is_none() {
            continue;
        }
        let file = match File::open(entry.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => uses.push(Use {
                set: Some(set.to_owned()),
                by: format!("a restore on this machine (process {process})"),
            }),
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
    }
    Ok(uses)
}

/// Everything on this machine that needs a backup of `cluster`, whoever runs it: where the
/// configuration names no state directory, each user has their own, and all of them are looked at.
///
/// # Errors
/// As [`uses`]; also where another user's state directory cannot be looked into.
pub fn uses_of(config: &Config, cluster: &Cluster) -> Result<Vec<Use>, Explanation> {
    let own = config.state_directory();
    let mut all = uses(&own, &cluster.name)?;
    if config.state_directory.is_none() {
        for other in usual(config).into_iter().filter(|other| *other != own) {
            all.extend(foreign(&other, &cluster.name)?);
        }
    }
    Ok(all)
}

/// Where root, the owners of the data directories and the operators keep incidents by default.
fn usual(config: &Config) -> Vec<PathBuf> {
    let owners = config.clusters.iter().filter_map(|cluster| {
        let owner = fs::metadata(&cluster.data_directory).ok()?.uid();
        User::from_uid(Uid::from_raw(owner)).ok().flatten()
    });
    let operators =
        config.operators.iter().filter_map(|one| User::from_name(&one.user).ok().flatten());
    let homes = owners
        .chain(operators)
        .filter(|user| !user.uid.is_root())
        .map(|user| user.dir.join(".local/share/lifeboat"));
    let mut all: Vec<PathBuf> = homes.chain([PathBuf::from(load::SYSTEM_STATE)]).collect();
    all.sort();
    all.dedup();
    all
}

/// What another user's state directory says; nothing where it is not there.
fn foreign(folder: &Path, cluster: &str) -> Result<Vec<Use>, Explanation> {
    let unreadable = |why: String| {
        Explanation::new(
            Kind::Refused,
            format!(
                "Whether an incident or a restore of another user needs a backup could not be \
                 told: {}: {why}",
                folder.display()
            ),
            "Nothing was removed.",
            "Name one state_directory in the configuration, for all who use it; or run the \
             cleanup as root.",
        )
    };
    match fs::metadata(folder) {
        Ok(_) => uses(folder, cluster).map_err(|error| unreadable(error.what)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(unreadable(format!("{error}."))),
    }
}

/// Incidents that are not closed. One whose journal cannot be read may be about any cluster.
fn incidents(state_directory: &Path, cluster: &str) -> Result<Vec<Use>, Explanation> {
    let store = Store::new(state_directory);
    let mut uses = Vec::new();
    for listed in store.list().map_err(|e| e.explanation())? {
        match listed {
            Listed::Damaged { id, .. } => uses.push(Use {
                set: None,
                by: format!("the incident {id}, whose journal cannot be read,"),
            }),
            Listed::Whole(summary) if summary.closed.is_some() || summary.cluster != cluster => {}
            Listed::Whole(summary) => {
                let incident = store.load(&summary.id).map_err(|e| e.explanation())?;
                let by = format!("the open incident {}", summary.id);
                let planned = incident.plan.as_ref().map(|plan| plan.base.set.clone());
                let chosen = incident.reach.as_ref().and_then(|reach| reach.base.as_ref());
                let chosen = chosen.map(|base| base.set.clone());
                let mut sets: Vec<String> = planned.into_iter().chain(chosen).collect();
                sets.dedup();
                if sets.is_empty() {
                    uses.push(Use { set: None, by: by.clone() });
                }
                uses.extend(sets.into_iter().map(|set| Use { set: Some(set), by: by.clone() }));
            }
        }
    }
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = "set-20250113-020000";

    #[test]
    fn a_restore_counts_while_it_lives() {
        let state = tempfile::tempdir().unwrap();
        assert!(uses(state.path(), "shop").unwrap().is_empty());
        let mark = Mark::restore(state.path(), "shop", SET).unwrap();
        let seen = uses(state.path(), "shop").unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].set.as_deref(), Some(SET));
        assert!(uses(state.path(), "bank").unwrap().is_empty());
        drop(mark);
        assert!(uses(state.path(), "shop").unwrap().is_empty());
        // Left behind by a process that was killed.
        fs::write(folder(state.path(), "shop").join(format!("{SET}.1")), "").unwrap();
        assert!(uses(state.path(), "shop").unwrap().is_empty());
    }

    #[test]
    fn what_another_user_does_counts_and_what_cannot_be_seen_refuses() {
        let state = tempfile::tempdir().unwrap();
        assert!(foreign(&state.path().join("none"), "shop").unwrap().is_empty());
        let _mark = Mark::restore(state.path(), "shop", SET).unwrap();
        assert_eq!(foreign(state.path(), "shop").unwrap().len(), 1);
        // Something that is there and is no folder of marks.
        fs::write(state.path().join("in-use/bank"), "").unwrap();
        let refused = foreign(state.path(), "bank").unwrap_err();
        assert_eq!(refused.kind, Kind::Refused, "{refused}");
        assert!(refused.next.contains("state_directory"), "{refused}");
    }

    #[test]
    fn an_incident_that_cannot_be_read_may_need_anything() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("incidents/INC-20250113-001");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("journal.jsonl"), "{\n").unwrap();
        let seen = uses(state.path(), "shop").unwrap();
        assert!(matches!(&seen[..], [Use { set: None, .. }]), "{seen:?}");
    }
}
