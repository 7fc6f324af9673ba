//! The renames that keep what is there, and those that put it back. Each can be cut off between
//! any two renames and be called again. Never copies, and deletes empty folders of its own alone.

use super::KEPT;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::KeptSpace;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// The folder whose file says which cluster it is. It goes first and comes back last, so that no
/// server starts on a half.
const FIRST: &str = "global";

/// Made by a file system, not by people.
const HARMLESS: &str = "lost+found";

/// How far the content of a mount point has been moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    There,
    /// Some of it is in the folder; see [`under_way`].
    Leaving,
    Kept,
    Returning,
}

/// Looks how far [`keep_contents`] or [`put_contents_back`] came.
#[must_use]
pub fn standing(kept: &Path) -> Contents {
    if kept.exists() {
        Contents::Kept
    } else if under_way(kept).exists() {
        Contents::Leaving
    } else if coming_back(kept).exists() {
        Contents::Returning
    } else {
        Contents::There
    }
}

/// What holds the first part of a content that is being moved to `kept`.
#[must_use]
pub fn under_way(kept: &Path) -> PathBuf {
    with_suffix(kept, ".moving")
}

fn coming_back(kept: &Path) -> PathBuf {
    with_suffix(kept, ".returning")
}

/// Moves everything in `folder` into `kept`, which lies in it. `kept` has that name once all is
/// in it.
///
/// # Errors
/// Where a rename fails; called again, it goes on.
pub fn keep_contents(folder: &Path, kept: &Path) -> Result<(), Explanation> {
    if kept.exists() {
        return Ok(());
    }
    let to = under_way(kept);
    let meta = fs::metadata(folder).map_err(|e| io(&e, "look at", folder))?;
    match DirBuilder::new().mode(0o700).create(&to) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(&e, "make", &to)),
        _ => {}
    }
    if nix::unistd::geteuid().is_root() {
        chown(&to, Some(meta.uid()), Some(meta.gid())).map_err(|e| io(&e, "hand over", &to))?;
    }
    let mut names = names(folder)?;
    names.sort_by_key(|name| name != FIRST);
    for name in names {
        failpoint::hit("move.one");
        rename(&folder.join(&name), &to.join(&name))?;
    }
    sync(&to)?;
    failpoint::hit("move.one");
    rename(&to, kept)?;
    sync(folder)
}

/// Moves what is in `kept` back into `folder`, which must be empty but for what is kept in it.
///
/// # Errors
/// Where a rename fails; called again, it goes on.
pub fn put_contents_back(folder: &Path, kept: &Path) -> Result<(), Explanation> {
    let from = coming_back(kept);
    if kept.exists() {
        rename(kept, &from)?;
        sync(folder)?;
    }
    if !from.exists() {
        return Ok(());
    }
    let mut names = names(&from)?;
    names.sort_by_key(|name| name == FIRST);
    for name in names {
        failpoint::hit("move.one");
        rename(&from.join(&name), &folder.join(&name))?;
    }
    sync(folder)?;
    fs::remove_dir(&from).map_err(|e| io(&e, "remove empty", &from))
}

/// Renames a tablespace's folder of the damaged server, beside itself.
///
/// # Errors
/// Where it cannot be renamed.
pub fn keep_space(space: &KeptSpace) -> Result<(), Explanation> {
    if space.kept.exists() || !space.folder.exists() {
        return Ok(());
    }
    failpoint::hit("move.one");
    rename_whole(&space.folder, &space.kept)
}

/// Puts a tablespace's folder back; what was restored there is set aside.
///
/// # Errors
/// Where something cannot be renamed; called again, it goes on.
pub fn put_space_back(space: &KeptSpace, stamp: &str) -> Result<(), Explanation> {
    if !space.kept.exists() {
        return Ok(());
    }
    if space.folder.exists() {
        failpoint::hit("move.one");
        rename_whole(&space.folder, &abandoned(&space.folder, stamp))?;
    }
    failpoint::hit("move.one");
    rename_whole(&space.kept, &space.folder)
}

/// The name under which restored files that are given up are set aside.
#[must_use]
pub fn abandoned(folder: &Path, stamp: &str) -> PathBuf {
    with_suffix(folder, &format!(".abandoned.{stamp}"))
}

/// Renames a directory and makes the rename survive a power cut.
///
/// # Errors
/// Where the new name is taken, or the directory cannot be renamed.
pub fn rename_whole(from: &Path, to: &Path) -> Result<(), Explanation> {
    rename(from, to)?;
    files::sync_parent(to).map_err(|e| io(&e, "sync the folder of", to))
}

fn rename(from: &Path, to: &Path) -> Result<(), Explanation> {
    if to.symlink_metadata().is_ok() {
        return Err(Explanation::new(
            Kind::Refused,
            format!("{} exists already.", to.display()),
            format!("{} was not moved.", from.display()),
            "Rename what is there, then retry the step.",
        ));
    }
    fs::rename(from, to).map_err(|error| match error.kind() {
        std::io::ErrorKind::CrossesDevices | std::io::ErrorKind::ResourceBusy => Explanation::new(
            Kind::Storage,
            format!("{} is a mount point and cannot be renamed: {error}.", from.display()),
            "It was not moved.",
            "Put things back and make the plan again: it is made for what is mounted now.",
        ),
        _ => io(&error, "rename", from),
    })
}

/// Whether nothing is in a folder but what was kept there and what a file system makes.
///
/// # Errors
/// Where it cannot be read.
pub fn is_empty(folder: &Path) -> std::io::Result<bool> {
    let mut entries = fs::read_dir(folder)?;
    Ok(!entries.any(|entry| entry.is_ok_and(|entry| counts(&entry.file_name()))))
}

fn names(folder: &Path) -> Result<Vec<OsString>, Explanation> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| io(&e, "read", folder))? {
        let name = entry.map_err(|e| io(&e, "read", folder))?.file_name();
        if counts(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn counts(name: &std::ffi::OsStr) -> bool {
    name != HARMLESS && !name.to_string_lossy().starts_with(KEPT)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

fn sync(folder: &Path) -> Result<(), Explanation> {
    fs::File::open(folder).and_then(|opened| opened.sync_all()).map_err(|e| io(&e, "sync", folder))
}

fn io(error: &std::io::Error, verb: &str, path: &Path) -> Explanation {
    crate::engine::restore::steps::io(error, verb, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(folder: &Path, mark: &str) {
        for name in ["base", "global", "pg_wal"] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("file"), mark).unwrap();
        }
        fs::write(folder.join("PG_VERSION"), "15").unwrap();
    }

    fn mark(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join("global/file")).ok()
    }

    #[test]
    fn a_content_is_moved_and_put_back_whole() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join(format!("{KEPT}20260101-120000"));
        fs::create_dir(root.path().join(HARMLESS)).unwrap();
        fill(root.path(), "old");
        assert_eq!(standing(&kept), Contents::There);
        keep_contents(root.path(), &kept).unwrap();
        assert_eq!(standing(&kept), Contents::Kept);
        assert!(is_empty(root.path()).unwrap());
        assert_eq!(mark(&kept).as_deref(), Some("old"));
        fill(root.path(), "new");
        // What was restored is kept too, before the old comes back.
        let given_up = with_suffix(&kept, ".abandoned");
        keep_contents(root.path(), &given_up).unwrap();
        put_contents_back(root.path(), &kept).unwrap();
        assert_eq!(standing(&kept), Contents::There);
        assert_eq!(mark(root.path()).as_deref(), Some("old"));
        assert_eq!(mark(&given_up).as_deref(), Some("new"));
    }

    #[test]
    fn a_move_that_was_cut_off_anywhere_goes_on() {
        for cut in 0..4 {
            let root = tempfile::tempdir().unwrap();
            let kept = root.path().join(format!("{KEPT}20260101-120000"));
            fill(root.path(), "old");
            // As many renames as were done when the power went.
            fs::create_dir(under_way(&kept)).unwrap();
            for name in ["global", "PG_VERSION", "base"].iter().take(cut) {
                fs::rename(root.path().join(name), under_way(&kept).join(name)).unwrap();
            }
            assert_eq!(standing(&kept), Contents::Leaving);
            keep_contents(root.path(), &kept).unwrap();
            assert_eq!(names(&kept).unwrap().len(), 4, "{cut}");
            fs::rename(&kept, coming_back(&kept)).unwrap();
            for name in ["PG_VERSION", "base", "pg_wal"].iter().take(cut) {
                fs::rename(coming_back(&kept).join(name), root.path().join(name)).unwrap();
            }
            assert_eq!(standing(&kept), Contents::Returning);
            put_contents_back(root.path(), &kept).unwrap();
            assert_eq!(names(root.path()).unwrap().len(), 4, "{cut}");
            assert_eq!(standing(&kept), Contents::There);
        }
    }

    #[test]
    fn a_tablespaces_folder_goes_beside_itself_and_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("PG_15_202209061");
        let kept = root.path().join("PG_15_202209061.damaged.1");
        let space = KeptSpace { oid: 16400, folder: folder.clone(), kept: kept.clone() };
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("old"), "").unwrap();
        keep_space(&space).unwrap();
        keep_space(&space).unwrap();
        assert!(kept.join("old").exists() && !folder.exists());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("new"), "").unwrap();
        keep_space(&space).unwrap();
        put_space_back(&space, "2").unwrap();
        put_space_back(&space, "2").unwrap();
        assert!(folder.join("old").exists() && !kept.exists());
        assert!(abandoned(&folder, "2").join("new").exists());
    }

    #[test]
    fn a_name_that_is_taken_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("a"), root.path().join("b"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        let refused = rename_whole(&from, &to).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        assert!(from.exists() && to.exists());
    }
}
