//! A new cluster that was given up: removed as the operator names its directory, with what this
//! restore filled outside of it. Owns what counts as its own; removes nothing else.

use super::refused;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::Procedure;
use crate::engine::restore::base;
use crate::engine::restore::places::live;
use crate::engine::restore::steps::{self, Site};
use crate::engine::runner::plan::Plan;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Removes the directory that this restore made, as the operator names it; the folders that the plan
/// gave its tablespaces and its WAL, as far as this restore filled them; and the log, spool and
/// socket folder that belong to it. Nothing else. Gives what was removed outside the directory.
///
/// # Errors
/// Where that directory is another one than was made, is in use, or could not be removed. Called
/// again, it goes on.
pub fn discard(
    site: &Site,
    plan: &Plan,
    made: &str,
    named: &Path,
) -> Result<Vec<PathBuf>, Explanation> {
    let Procedure::FullRestore { destination, port } = &plan.procedure else {
        return Err(refused(String::from("That was no full restore."), ""));
    };
    // The directory that was given up because its disk was full is this restore's, too.
    let is_named = |path: &Path| steps::resolved(named) == steps::resolved(path);
    let left = plan.places.left.as_ref().filter(|left| is_named(&left.from));
    let new = left.map_or(Path::new(destination), |left| &left.from);
    let made = left.map_or(made, |left| left.number.as_deref().unwrap_or_default());
    let shown = new.display();
    if !is_named(new) {
        return Err(refused(
            format!("This restore made {shown}, not {}.", named.display()),
            "Name the directory that it made.",
        ));
    }
    if !new.exists() {
        return Ok(Vec::new());
    }
    let is_made = steps::beside::number(new).is_some_and(|number| number == made);
    if !is_made || steps::resolved(new) == steps::resolved(site.live()) {
        return Err(refused(
            format!("{shown} is not the directory that this restore made: it was replaced."),
            "Look at what it is, and remove it yourself where nobody needs it.",
        ));
    }
    let ground = site.beside(new, *port);
    if ground.running()? {
        return Err(refused(
            format!("A server runs in {shown}."),
            "Put the run back first (U in the screens): that stops it.",
        ));
    }
    let outside = filled(plan, new)?;
    require_not_live(&outside, site.live())?;
    ground.clear_spool();
    // Of a restore that never had a server there is none.
    let _ = ground.clear_closed();
    let remove =
        |path: &Path| fs::remove_dir_all(path).map_err(|error| steps::io(&error, "remove", path));
    // The directory goes last: its links say which of them are this restore's.
    for folder in &outside {
        remove(folder)?;
    }
    remove(new)?;
    let _ = fs::remove_file(ground.recovery_log());
    crate::engine::files::sync_parent(new).map_err(|error| steps::io(&error, "remove", new))?;
    Ok(outside)
}

/// What this restore filled outside the new directory: of the plan's places those that the directory
/// links to, or that an unfinished restore in it has taken; and in a tablespace's folder, which other
/// versions' servers share, the server's own folder alone.
fn filled(plan: &Plan, new: &Path) -> Result<Vec<PathBuf>, Explanation> {
    let taken = base::taken(new);
    let is_ours = |link: &Path, place: &PathBuf| {
        fs::read_link(link).is_ok_and(|to| to == *place) || taken.contains(place)
    };
    let mut all = Vec::new();
    for space in &plan.places.spaces {
        let link = new.join("pg_tblspc").join(space.oid.to_string());
        if !is_ours(&link, &space.place) {
            continue;
        }
        let entries = match fs::read_dir(&space.place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(steps::io(&error, "read", &space.place)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| steps::io(&error, "read", &space.place))?;
            if is_version_folder(&entry.file_name().to_string_lossy(), plan.base.version) {
                all.push(entry.path());
            }
        }
    }
    let wal = plan.places.wal.iter().filter(|wal| is_ours(&new.join("pg_wal"), wal));
    all.extend(wal.filter(|wal| wal.is_dir()).cloned());
    Ok(all)
}

/// Whether a folder in a tablespace is that of a server of this major version, in use and not kept.
fn is_version_folder(name: &str, major: u32) -> bool {
    name.strip_prefix(&format!("PG_{major}_"))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// No folder of the old cluster is ever among them; where it tells of its own, that is looked at
/// once more.
fn require_not_live(outside: &[PathBuf], live: &Path) -> Result<(), Explanation> {
    let Ok(old) = live::look(live) else { return Ok(()) };
    let is_of_old = |folder: &&PathBuf| {
        let real = folder.canonicalize().unwrap_or_else(|_| (*folder).clone());
        old.spaces.iter().any(|space| space.folder == real) || old.wal.as_ref() == Some(&real)
    };
    match outside.iter().find(is_of_old) {
        None => Ok(()),
        Some(folder) => Err(refused(
            format!("{} is the old cluster's own.", folder.display()),
            "Look at who linked it into the new directory, and remove that yourself.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_folder_alone_is_this_restores() {
        assert!(is_version_folder("PG_15_202209061", 15));
        for other in [
            "PG_14_202107181",
            "PG_15_",
            "PG_15_202209061.damaged.20260101-120000",
            "PG_15_202209061.abandoned.20260101-120000",
            "lost+found",
        ] {
            assert!(!is_version_folder(other, 15), "{other}");
        }
    }

    #[test]
    fn the_old_clusters_folder_is_never_removed() {
        let root = tempfile::tempdir().unwrap();
        let wal = root.path().join("wal");
        let live = root.path().join("live");
        fs::create_dir(&wal).unwrap();
        fs::create_dir(&live).unwrap();
        std::os::unix::fs::symlink(&wal, live.join("pg_wal")).unwrap();
        let other = root.path().join("wal.20260101-120000");
        fs::create_dir(&other).unwrap();
        assert!(require_not_live(&[other], &live).is_ok());
        assert!(require_not_live(&[wal], &live).is_err());
    }
}
