//! Files that are being written: their temporary names, and the lock by which a writer on this
//! machine is known to live. Owns the finding and removing of those that a killed writer left;
//! never takes another name for one of them.

use super::super::{StoreError, StoreFault, Unfinished, check_key};
use super::FileStore;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Folders below one that is named; `debts/<repository>/<16 digits>/` is the deepest.
const DEPTH: usize = 3;
const CHANCE: usize = 8;

/// The temporary name of the object `name`.
pub(super) fn name(name: &str, chance: &[u8; CHANCE]) -> String {
    format!(".{name}.{}.tmp", HEXLOWER.encode(chance))
}

/// The object's name in a temporary one; `None` where it is no name of ours.
fn object_of(temporary: &str) -> Option<&str> {
    let (name, chance) = temporary.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let ours = chance.len() == 2 * CHANCE
        && chance.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (ours && check_key(name).is_ok()).then_some(name)
}

/// Says for as long as the file is open that somebody writes it. On file systems without locks
/// nothing is said, and then nothing is removed either.
pub(super) fn claim(file: &File) {
    let _ = file.try_lock();
}

pub(super) fn list(store: &FileStore, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
    store.require_marker()?;
    let mut found = Vec::new();
    collect(store, "", 0, &mut found)?;
    for folder in folders {
        collect(store, folder, DEPTH, &mut found)?;
    }
    found.sort_unstable_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
    Ok(found)
}

fn collect(
    store: &FileStore,
    folder: &str,
    depth: usize,
    found: &mut Vec<Unfinished>,
) -> Result<(), StoreError> {
    for entry in store.entries(folder)? {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if let Some(object) = object_of(&name) {
            found.extend(look(store, &format!("{folder}{object}"), &name)?);
        }
    }
    if depth > 0 {
        for below in super::Store::folders(store, folder)? {
            collect(store, &format!("{folder}{below}/"), depth - 1, found)?;
        }
    }
    Ok(())
}

/// One as it is now; `None` where it has ended.
fn look(store: &FileStore, key: &str, id: &str) -> Result<Option<Unfinished>, StoreError> {
    let path = store.path(key)?.with_file_name(id);
    let failed = |e| StoreError::io(&store.doing("look at", id), e);
    match opened(&path) {
        Ok(Some(file)) => {
            let found = file.metadata().map_err(failed)?;
            let active = found.modified().map_err(failed)?;
            Ok(Some(Unfinished {
                key: key.to_owned(),
                id: id.to_owned(),
                bytes: found.len(),
                active: Timestamp::try_from(active).unwrap_or(Timestamp::MAX),
                held: file.try_lock_shared().is_err(),
            }))
        }
        Ok(None) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// `None` where it is no regular file.
fn opened(path: &Path) -> io::Result<Option<File>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

pub(super) fn discard(store: &FileStore, one: &Unfinished) -> Result<bool, StoreError> {
    let path = store.path(&one.key)?.with_file_name(&one.id);
    let expected = one.key.rsplit('/').next();
    if object_of(&one.id) != expected {
        let what = format!("{} is not the name of an unfinished write of {}", one.id, one.key);
        return Err(StoreError::new(StoreFault::Denied, what));
    }
    let failed = |e| StoreError::io(&store.doing("remove", &one.id), e);
    let file = match opened(&path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(failed(e)),
    };
    // The lock is kept until the file is gone: whoever comes for it now finds it taken.
    if file.try_lock_shared().is_err() {
        return Ok(false);
    }
    let now = look(store, &one.key, &one.id)?;
    let same_file = |there: fs::Metadata| {
        file.metadata().is_ok_and(|f| (f.dev(), f.ino()) == (there.dev(), there.ino()))
    };
    if now.as_ref() != Some(one) || !fs::symlink_metadata(&path).is_ok_and(same_file) {
        return Ok(false);
    }
    fs::remove_file(&path).map_err(failed)?;
    store.sync_folders(&path).map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use std::io::Write;

    fn store() -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::for_tests(&folder.path().join("repository"));
        (folder, store)
    }

    #[test]
    fn only_names_of_ours_are_taken_for_unfinished() {
        assert_eq!(object_of(&name("base-x.tar.gz", &[7; 8])), Some("base-x.tar.gz"));
        for other in [
            "base-x.0707070707070707.tmp",
            ".base-x.tmp",
            ".base-x.07070707.tmp",
            ".base-x.070707070707070G.tmp",
            ".base-x.0707070707070707.tmp.bak",
            ".0707070707070707.tmp",
            "..0707070707070707.tmp",
        ] {
            assert_eq!(object_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_found_and_removed() {
        let (_folder, store) = store();
        let folders = ["wal-archive/"];
        store.put("wal-archive/0000000100000000/whole", b"content").unwrap();
        let mut writer = store.create("wal-archive/0000000100000000/left").unwrap();
        writer.write_all(b"half").unwrap();
        let other = store.create("elsewhere/of-somebody").unwrap();
        let lives = store.unfinished(&folders).unwrap();
        assert_eq!(lives.len(), 1, "{lives:?}");
        assert!(lives[0].held, "its writer lives");
        assert_eq!(lives[0].key, "wal-archive/0000000100000000/left");
        assert!(!store.discard(&lives[0]).unwrap());
        // As after a kill: nobody has it open, and nobody removed it.
        let path = store.root().join("wal-archive/0000000100000000").join(&lives[0].id);
        let kept = store.root().join("wal-archive/0000000100000000").join("kept");
        fs::hard_link(&path, &kept).unwrap();
        drop(writer);
        fs::rename(&kept, &path).unwrap();
        let left = store.unfinished(&folders).unwrap();
        assert_eq!((left[0].bytes, left[0].held), (4, false), "{left:?}");
        // It was written to since it was judged.
        let older = Unfinished { bytes: 3, ..left[0].clone() };
        assert!(!store.discard(&older).unwrap());
        assert!(path.exists());
        assert!(store.discard(&left[0]).unwrap());
        assert!(!path.exists() && !store.discard(&left[0]).unwrap());
        assert_eq!(store.read("wal-archive/0000000100000000/whole").unwrap(), b"content");
        let odd = Unfinished { id: "whole".to_owned(), ..left[0].clone() };
        assert_eq!(store.discard(&odd).unwrap_err().fault, StoreFault::Denied);
        drop(other);
    }
}
