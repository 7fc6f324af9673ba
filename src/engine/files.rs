//! The one place that writes files durably: write, sync, rename, sync the folder. Never deletes
//! what it did not make.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces `path` by `content`, all or nothing, durable on return.
///
/// # Errors
/// Any I/O error; `path` is then as it was.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Creates `path` with `content`, durable on return.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where the name is taken: what is there stays untouched.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    create_owned(path, content, mode, None)
}

/// As [`create`], with an owner (user and group id) that it has before it takes its name.
///
/// # Errors
/// As [`create`]; where the owner could not be given, and then nothing is there.
pub fn create_owned(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let give = |()| match owner {
        Some((user, group)) => std::os::unix::fs::chown(&temporary, Some(user), Some(group)),
        None => Ok(()),
    };
    let linked = write_synced(&temporary, content, mode)
        .and_then(give)
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    linked.and_then(|()| sync_parent(path))
}

/// Locks an open file or folder for this process alone; false where another has it. The kernel
/// frees it when the process ends, however it ends.
///
/// # Errors
/// Any I/O error.
pub fn lock_alone(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        locked => locked.map(|()| true),
    }
}

/// Syncs the folder that holds `path`, so that a rename or link in it survives a power cut.
///
/// # Errors
/// Any I/O error.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A name in the same folder that no other process of ours uses now.
#[must_use]
pub fn temporary_beside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{unique}.tmp", std::process::id()))
}

/// Removes what processes that were killed in [`replace`] or [`create`] of `path` left beside it.
/// Only for a caller who alone writes `path` now.
///
/// # Errors
/// Any I/O error; a folder that is not there holds nothing.
pub fn sweep(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let entries = match fs::read_dir(parent.unwrap_or_else(|| Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_temporary_of(&name, &entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether `found` is a name that [`temporary_beside`] gives beside a file called `name`.
#[must_use]
pub fn is_temporary_of(name: &str, found: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let inner = found.strip_prefix('.').and_then(|rest| rest.strip_prefix(name));
    inner
        .and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp")?.split_once('.'))
        .is_some_and(|(process, unique)| number(process) && number(unique))
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_never_overwrites_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        create(&path, b"first", 0o600).unwrap();
        let second = create(&path, b"second", 0o600);
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sweep_takes_what_killed_writers_left_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        fs::write(temporary_beside(&path), "half").unwrap();
        fs::write(temporary_beside(&path), "half").unwrap();
        let others = [
            ".object.1.2.tmp.kept",
            ".object.1.tmp",
            ".object.1.x.tmp",
            ".object2.1.2.tmp",
            "object",
            "object.1.2.tmp",
        ];
        for other in others {
            fs::write(folder.path().join(other), "mine").unwrap();
        }
        sweep(&path).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, others);
        sweep(&folder.path().join("missing/object")).unwrap();
    }

    #[test]
    fn replace_swaps_the_whole_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        replace(&path, b"first", 0o600).unwrap();
        replace(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
