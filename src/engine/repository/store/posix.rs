//! Objects as files under a folder: temporary name, sync, a rename that never overwrites, sync of
//! every folder up to the repository. Takes "not there" for an answer only while the repository's
//! marker is there: an unmounted volume is an error, not an empty archive.

mod unfinished;

use super::{
    MARKER, ObjectInfo, ObjectWriter, Store, StoreError, StoreFault, Unfinished, check_folder,
    check_key, check_removable,
};
use crate::engine::files;
use jiff::Timestamp;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// A folder that holds a repository.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: PathBuf,
    /// The repository's owner, whom new files are given to when root writes them: the server's
    /// `archive_command` must be able to go on in a repository that root made.
    owner: Option<(u32, u32)>,
}

impl FileStore {
    /// The store in `root`, which must be there.
    ///
    /// # Errors
    /// [`StoreFault::Unavailable`] where it is not: perhaps a volume that is not mounted.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let found = fs::metadata(root).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::new(
                StoreFault::Unavailable,
                format!("there is no folder {}", root.display()),
            ),
            _ => StoreError::io(&format!("look at {}", root.display()), e),
        })?;
        if !found.is_dir() {
            let what = format!("{} is not a folder", root.display());
            return Err(StoreError::new(StoreFault::Unavailable, what));
        }
        let (user, owner) = (rustix::process::geteuid().as_raw(), (found.uid(), found.gid()));
        let owner = (user == 0 && owner != (0, 0)).then_some(owner);
        Ok(Self { root: root.to_owned(), owner })
    }

    /// The store in `root`, which is made where it is missing. Its parents too.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where the folder holds something and no marker; else where it could
    /// not be made.
    pub fn make(root: &Path) -> Result<Self, StoreError> {
        let failed = |e| StoreError::io(&format!("make the folder {}", root.display()), e);
        let mut missing = Vec::new();
        for folder in root.ancestors().filter(|f| !f.as_os_str().is_empty()) {
            match fs::metadata(folder) {
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(folder),
                Err(e) => return Err(failed(e)),
            }
        }
        for folder in missing.into_iter().rev() {
            make_folder(folder, None).and_then(|()| files::sync_parent(folder)).map_err(failed)?;
        }
        let store = Self::open(root)?;
        // A new volume's own folder is nothing that somebody put there.
        let taken = |e: io::Result<fs::DirEntry>| e.map_or(true, |e| e.file_name() != "lost+found");
        if store.require_marker().is_err() && fs::read_dir(root).map_err(failed)?.any(taken) {
            let what = format!("{} holds something that is no repository", root.display());
            return Err(StoreError::new(StoreFault::Exists, what));
        }
        Ok(store)
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A store with a marker that says nothing.
    #[cfg(test)]
    pub(crate) fn for_tests(root: &Path) -> Self {
        let store = Self::make(root).unwrap();
        store.put(MARKER, b"{}").unwrap();
        store
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        check_key(key)?;
        Ok(self.root.join(key))
    }

    fn doing(&self, verb: &str, key: &str) -> String {
        format!("{verb} {key} in {}", self.describe())
    }

    /// Does `act`, and takes "not found" for an answer only where the marker is there and a second
    /// try says the same: between the two the volume may have been mounted.
    fn proven<T>(
        &self,
        verb: &str,
        key: &str,
        act: impl Fn() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let mut result = act();
        if result.as_ref().is_err_and(absent) {
            self.require_marker()?;
            result = act();
        }
        result.map_err(|e| {
            if absent(&e) {
                let what = format!("{key} is not in {}", self.describe());
                StoreError { source: Some(e), ..StoreError::new(StoreFault::NotFound, what) }
            } else {
                StoreError::io(&self.doing(verb, key), e)
            }
        })
    }

    fn require_marker(&self) -> Result<(), StoreError> {
        fs::metadata(self.root.join(MARKER)).map(drop).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                let what = format!(
                    "{} is no repository at this moment: its marker {MARKER} is not there",
                    self.root.display()
                );
                StoreError { source: Some(e), ..StoreError::new(StoreFault::Unavailable, what) }
            }
            _ => StoreError::io(&self.doing("look at", MARKER), e),
        })
    }

    /// Makes the folders between the root and `path` that are missing. Never the root itself.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent().filter(|p| *p != self.root) else { return Ok(()) };
        if !parent.starts_with(&self.root) || parent.is_dir() {
            return Ok(());
        }
        self.make_parents(parent)?;
        make_folder(parent, self.owner)
    }

    /// Syncs the folder of `path` and all above it up to the root: one of them may have been made
    /// a moment ago, by us or by somebody who has not synced it yet.
    fn sync_folders(&self, path: &Path) -> io::Result<()> {
        for folder in path.ancestors().skip(1).take_while(|f| f.starts_with(&self.root)) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn entries(&self, folder: &str) -> Result<Vec<fs::DirEntry>, StoreError> {
        check_folder(folder)?;
        let path = self.root.join(folder);
        let read = || match fs::read_dir(&path) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
            Err(e) => Err(e),
        };
        let shown = if folder.is_empty() { "the repository's folder" } else { folder };
        match self.proven("list", shown, read) {
            Err(e) if e.fault == StoreFault::NotFound => Ok(Vec::new()),
            Ok(entries) if entries.is_empty() => self.require_marker().map(|()| entries),
            other => other,
        }
    }
}

fn make_folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => owner.map_or(Ok(()), |(user, group)| {
            std::os::unix::fs::chown(path, Some(user), Some(group))
        }),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
    }
}

/// Renames without ever overwriting, also where the file system knows no such rename.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => other,
    }
}

impl Store for FileStore {
    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(key)?;
        self.proven("read", key, || fs::read(&path))
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let file = self.proven("read", key, || File::open(&path))?;
        file.read_exact_at(buffer, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                let what = format!(
                    "{key} in {} is too short: it does not hold {} bytes from byte {offset} on",
                    self.describe(),
                    buffer.len()
                );
                StoreError { source: Some(e), ..StoreError::new(StoreFault::Unavailable, what) }
            }
            _ => StoreError::io(&self.doing("read", key), e),
        })
    }

    fn size(&self, key: &str) -> Result<u64, StoreError> {
        let path = self.path(key)?;
        self.proven("look at", key, || {
            let found = fs::metadata(&path)?;
            if found.is_dir() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found.len()) }
        })
    }

    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut objects = Vec::new();
        for entry in self.entries(folder)? {
            // A name that is no UTF-8, or begins with a dot, is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || !name.starts_with(prefix) {
                continue;
            }
            let key = format!("{folder}{name}");
            match fs::metadata(entry.path()) {
                Ok(found) if found.is_dir() => {}
                Ok(found) => {
                    let written = found.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
                    objects.push(ObjectInfo { key, size: found.len(), written });
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io(&self.doing("look at", &key), e)),
            }
        }
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut folders = Vec::new();
        for entry in self.entries(folder)? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let is_folder = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).map(|m| m.is_dir()),
                kind => kind.map(|k| k.is_dir()),
            };
            match is_folder {
                Ok(true) => folders.push(name),
                Ok(false) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(StoreError::io(&self.doing("look at", &name), e)),
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let path = self.path(key)?;
        let failed = |e| StoreError::io(&self.doing("write", key), e);
        if key != MARKER {
            self.require_marker()?;
        }
        if path.symlink_metadata().is_ok() {
            return Err(exists(self, key));
        }
        self.make_parents(&path).map_err(failed)?;
        // By chance and not by process id: hosts and containers that share a volume share ids.
        let chance = crate::engine::crypto::keyring::random::<8>()
            .map_err(|e| StoreError::new(StoreFault::Unavailable, e.to_string()))?;
        let name = key.rsplit('/').next().unwrap_or(key);
        let temporary = path.with_file_name(unfinished::name(name, &chance));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)
            .map_err(failed)?;
        unfinished::claim(&file);
        let writer = FileWriter {
            store: self.clone(),
            key: key.to_owned(),
            file,
            path,
            temporary: Some(temporary),
        };
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::fchown(&writer.file, Some(user), Some(group)).map_err(failed)?;
        }
        Ok(Box::new(writer))
    }

    fn settle(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let file = self.proven("read", key, || File::open(&path))?;
        file.sync_all()
            .and_then(|()| self.sync_folders(&path))
            .map_err(|e| StoreError::io(&self.doing("sync", key), e))
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        check_removable(key)?;
        let path = self.path(key)?;
        self.proven("remove", key, || fs::remove_file(&path))?;
        self.sync_folders(&path).map_err(|e| StoreError::io(&self.doing("remove", key), e))
    }

    fn unfinished(&self, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
        unfinished::list(self, folders)
    }

    fn discard(&self, one: &Unfinished) -> Result<bool, StoreError> {
        unfinished::discard(self, one)
    }
}

fn exists(store: &FileStore, key: &str) -> StoreError {
    let what = format!("{key} is already in {}; it is never overwritten", store.describe());
    StoreError::new(StoreFault::Exists, what)
}

/// An object under its temporary name.
struct FileWriter {
    store: FileStore,
    key: String,
    file: File,
    path: PathBuf,
    temporary: Option<PathBuf>,
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ObjectWriter for FileWriter {
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let doing = self.store.doing("write", &self.key);
        let failed = |e| StoreError::io(&doing, e);
        self.file.sync_all().map_err(failed)?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        rename_new(temporary, &self.path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.store, &self.key),
            _ => failed(e),
        })?;
        self.temporary = None;
        self.store.sync_folders(&self.path).map_err(failed)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::store::suite;

    fn store() -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::for_tests(&folder.path().join("new/repository"));
        (folder, store)
    }

    #[test]
    fn keeps_the_contract_of_a_store() {
        let (_folder, store) = store();
        suite::run(&store);
    }

    #[test]
    fn a_volume_that_is_not_mounted_proves_nothing() {
        let (_folder, store) = store();
        store.put("wal-archive/a", b"content").unwrap();
        fs::rename(store.root(), store.root().with_extension("mounted")).unwrap();
        for error in suite::every_reading(&store, "wal-archive/a") {
            assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
        }
        // The empty mount point is no better, and nothing is written into it.
        fs::create_dir(store.root()).unwrap();
        for error in suite::every_reading(&store, "wal-archive/a") {
            assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
        }
        assert_eq!(store.put("b", b"").unwrap_err().fault, StoreFault::Unavailable);
        assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_but_the_objects_stays_on_disk() {
        let (_folder, store) = store();
        drop(store.create("folder/unfinished").unwrap());
        let writer = store.create("folder/late").unwrap();
        store.put("folder/late", b"first").unwrap();
        assert_eq!(writer.finish().unwrap_err().fault, StoreFault::Exists);
        assert_eq!(store.read("folder/late").unwrap(), b"first");
        let names: Vec<_> = fs::read_dir(store.root().join("folder"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, ["late"]);
    }

    #[test]
    fn others_cannot_read_what_is_written() {
        let (_folder, store) = store();
        store.put("folder/object", b"content").unwrap();
        let mode = |path: &str| fs::metadata(store.root().join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("folder"), mode("folder/object")), (0o700, 0o600));
    }

    #[test]
    fn a_full_disk_is_told_from_other_troubles() {
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert_eq!(StoreFault::of(&full), StoreFault::NoSpace);
        let (_folder, store) = store();
        // A file that refuses every byte as a full disk does.
        let Ok(file) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let path = store.root().join("object");
        let mut writer =
            FileWriter { store: store.clone(), key: "object".into(), file, path, temporary: None };
        let error = writer.write_all(b"content").unwrap_err();
        assert_eq!(StoreFault::of(&error), StoreFault::NoSpace);
    }
}
