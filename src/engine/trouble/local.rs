//! What this machine's own files and ports tell: room and volumes, what a server's user cannot use,
//! whether a port is free. Reads only.

use super::scene::Stranger;
use crate::engine::runner::plan::Plan;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files that a cure names at most.
const MOST: usize = 500;

/// The path itself, or the nearest folder above it that is there.
pub(super) fn ancestor(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists())
}

pub(super) fn free(path: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(ancestor(path)?).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// The device that holds the path, or will.
pub(super) fn volume(path: &Path) -> Option<u64> {
    fs::metadata(ancestor(path)?).ok().map(|found| found.dev())
}

pub(super) fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// Whether a closed server could have that port, which is part of its socket's name.
pub(super) fn is_free_in(folder: &Path, port: u16) -> bool {
    let lock = folder.join(format!(".s.PGSQL.{port}.lock"));
    is_free(port) && fs::symlink_metadata(lock).is_err()
}

pub(super) fn size_of(path: &Path) -> u64 {
    walk(path, &mut |_, _| true).1
}

/// The data directory, and the folders elsewhere that the plan has filled for it. Links in it are
/// not asked: the server's user makes them, and root may mend what is named here.
pub(super) fn used(data: &Path, plan: &Plan) -> Vec<PathBuf> {
    let mut folders = vec![data.to_owned()];
    folders.extend(plan.places.wal.clone());
    let version = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
    let own = format!("PG_{}_", version.trim());
    for space in &plan.places.spaces {
        let entries = fs::read_dir(&space.place).into_iter().flatten().flatten();
        // A folder of another major version is another server's.
        let entries = entries.filter(|one| one.file_name().to_string_lossy().starts_with(&own));
        folders.extend(entries.map(|entry| entry.path()));
    }
    folders
}

/// What the server's user cannot use in these, the first of which is its data directory: other
/// owners, modes without the owner's rights, a data directory that is open to others. A symbolic
/// link is not followed.
pub(super) fn strangers(folders: &[PathBuf], uid: u32) -> Vec<Stranger> {
    let mut found = Vec::new();
    let Some(data) = folders.first() else { return found };
    if let Ok(metadata) = fs::metadata(data)
        && metadata.uid() == uid
        && metadata.mode() & 0o027 != 0
    {
        let why = format!("is open to others (mode {:04o})", metadata.mode() & 0o7777);
        found.push(Stranger { path: data.to_owned(), why });
    }
    for folder in folders {
        walk(folder, &mut |path, metadata| {
            if let Some(why) = strange(metadata, uid) {
                found.push(Stranger { path: path.to_owned(), why });
            }
            found.len() < MOST
        });
    }
    found
}

fn strange(metadata: &fs::Metadata, uid: u32) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o7777;
    let least = if metadata.is_dir() { 0o700 } else { 0o600 };
    match metadata.uid() {
        other if other != uid => Some(format!("belongs to user {other}")),
        _ if metadata.is_symlink() || mode & least == least => None,
        _ => Some(format!("has mode {mode:04o}")),
    }
}

/// Visits a folder and everything below it until `visit` says no; gives the bytes seen.
pub(super) fn walk(
    path: &Path,
    visit: &mut dyn FnMut(&Path, &fs::Metadata) -> bool,
) -> (bool, u64) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return (true, 0) };
    if !visit(path, &metadata) {
        return (false, metadata.len());
    }
    let mut bytes = metadata.len();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (more, size) = walk(&entry.path(), visit);
            bytes += size;
            if !more {
                return (false, bytes);
            }
        }
    }
    (true, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_cannot_use_is_named() {
        let data = tempfile::tempdir().unwrap();
        let uid = fs::metadata(data.path()).unwrap().uid();
        fs::set_permissions(data.path(), PermissionsExt::from_mode(0o700)).unwrap();
        for (name, mode) in [("good", 0o600), ("read", 0o640), ("closed", 0o000)] {
            let path = data.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let here = [data.path().to_owned()];
        let names = |found: &[Stranger]| -> Vec<String> {
            found
                .iter()
                .map(|s| s.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(names(&strangers(&here, uid)), ["closed"]);
        assert_eq!(strangers(&here, uid + 1).len(), 4, "each belongs to another");
        fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(strangers(&here, uid).len(), 2);
    }
}
