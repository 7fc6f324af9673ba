//! Writes proven parts of files to their place, keeps `global/pg_control` back, and notes how far
//! the disk is. Owns modes, owners and times of what it writes.

use super::delta::Taken;
use super::destination::{Destination, Space};
use super::error::RestoreError;
use crate::engine::backup::walk::CONTROL_FILE;
use crate::engine::files;
use crate::engine::repository::manifest::{self, Directory, Member};
use crate::engine::repository::scan::Sink;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

pub(super) const TABLESPACE_MAP: &str = "tablespace_map";

/// A data directory that is being restored.
#[derive(Debug)]
pub struct DataDirectory<'a> {
    pub(super) place: &'a Destination,
    /// Files that are in their place already, proven.
    taken: Taken,
    /// The number in the manifest of the file that comes next.
    number: AtomicU64,
    /// Bytes that came from the repository.
    written: AtomicU64,
    /// Files that are written by [`DataDirectory::finish`].
    kept_back: Mutex<BTreeMap<String, KeptBack>>,
    prefix: Mutex<Prefix>,
}

#[derive(Debug)]
struct KeptBack {
    content: Vec<u8>,
    mode: u32,
    mtime: i64,
}

/// How far the members have come without a hole.
#[derive(Debug, Default)]
struct Prefix {
    next: u64,
    tar: u64,
    /// Members that came early: where they end in the tar stream.
    early: BTreeMap<u64, u64>,
}

/// A file on its way.
#[derive(Debug)]
pub enum Target {
    Written {
        place: PathBuf,
        handle: Mutex<Option<Arc<File>>>,
        /// An earlier attempt wrote it, or its beginning.
        trusted: bool,
        /// It is whole already, proven.
        taken: bool,
    },
    KeptBack,
}

impl<'a> DataDirectory<'a> {
    #[must_use]
    pub fn new(place: &'a Destination) -> Self {
        Self {
            place,
            taken: Taken::default(),
            number: AtomicU64::new(0),
            written: AtomicU64::new(0),
            kept_back: Mutex::default(),
            prefix: Mutex::default(),
        }
    }

    /// Bytes of files that came from the repository so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Leaves these files as they are.
    pub fn leave(&mut self, taken: Taken) {
        self.taken = taken;
    }

    /// Whether the file is written by [`DataDirectory::finish`].
    #[must_use]
    pub fn keeps_back(&self, path: &str) -> bool {
        let moved = || self.place.spaces.values().any(|space| space.moved);
        path == CONTROL_FILE || (path == TABLESPACE_MAP && moved())
    }

    /// A new, empty file in its place.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(&self, file: &manifest::File, place: &Path) -> Result<File, RestoreError> {
        self.open(file, place)
    }

    /// Gives a file that is in its place owner, mode and time.
    ///
    /// # Errors
    /// Where it cannot be given them.
    pub fn dress(&self, file: &manifest::File, place: &Path) -> Result<(), RestoreError> {
        let opened = self.open(file, place)?;
        self.attributes(&opened, place, file_mode(file.mode), file.mtime)
    }

    /// Runs `work`; meanwhile syncs and notes again and again how far the disk is, and once
    /// more where `work` failed.
    ///
    /// # Errors
    /// As `work`. A note that could not be written is no failure: it only costs time later.
    pub fn while_noting<T>(
        &self,
        every: Duration,
        work: impl FnOnce() -> Result<T, RestoreError>,
    ) -> Result<T, RestoreError> {
        let ended = (Mutex::new(false), Condvar::new());
        let wait = || {
            let guard = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = ended.1.wait_timeout_while(guard, every, |ended| !*ended);
            *waited.unwrap_or_else(PoisonError::into_inner).0
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut noted = self.place.done;
                while !wait() {
                    noted = self.note(noted);
                }
            });
            let outcome = work();
            *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            ended.1.notify_all();
            if outcome.is_err() {
                self.note(self.place.done);
            }
            outcome
        })
    }

    /// Gives what is noted now.
    fn note(&self, noted: u64) -> u64 {
        let tar = self.prefix.lock().unwrap_or_else(PoisonError::into_inner).tar;
        let done = tar > noted && self.place.sync().is_ok() && self.place.note(tar).is_ok();
        if done { tar } else { noted }
    }

    /// Puts everything on the disk, then `global/pg_control`, then takes the marker away.
    ///
    /// # Errors
    /// Where something could not be written or synced; the marker stays then.
    pub fn finish(&self) -> Result<Vec<String>, RestoreError> {
        let place = self.place;
        let mut kept = self.kept_back.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notes = Vec::new();
        if let Some(mut map) = kept.remove(TABLESPACE_MAP) {
            map.content = tablespace_map(&place.spaces);
            self.write_late(TABLESPACE_MAP, &map)?;
            notes.push(String::from(
                "Tablespaces were moved, so tablespace_map differs from the backup's: \
                 pg_verifybackup needs --ignore=tablespace_map.",
            ));
        }
        place.sync()?;
        let control = kept.remove(CONTROL_FILE).ok_or_else(|| {
            RestoreError::NoDataDirectory(String::from("it has no global/pg_control"))
        })?;
        self.write_late(CONTROL_FILE, &control)?;
        place.give(&place.root)?;
        place.sync()?;
        place.release()?;
        Ok(notes)
    }

    fn write_late(&self, path: &str, file: &KeptBack) -> Result<(), RestoreError> {
        let to = self.place.root.join(path);
        files::replace(&to, &file.content, file.mode).map_err(RestoreError::io("write", &to))?;
        let handle = File::options().write(true).open(&to);
        let handle = handle.map_err(RestoreError::io("open", &to))?;
        self.attributes(&handle, &to, file.mode, file.mtime)?;
        handle.sync_all().map_err(RestoreError::io("sync", &to))
    }

    fn attributes(
        &self,
        file: &File,
        path: &Path,
        mode: u32,
        mtime: i64,
    ) -> Result<(), RestoreError> {
        let set = || -> io::Result<()> {
            file.set_permissions(Permissions::from_mode(mode))?;
            if let Some((user, group)) = self.place.owner {
                fchown(file, Some(user), Some(group))?;
            }
            let since = Duration::from_secs(u64::try_from(mtime).unwrap_or(0));
            file.set_modified(SystemTime::UNIX_EPOCH + since)
        };
        set().map_err(RestoreError::io("set owner, mode and time of", path))
    }

    fn open(&self, file: &manifest::File, place: &Path) -> Result<File, RestoreError> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(file_mode(file.mode))
            // What is written here is never reached through a link.
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(place)
            .map_err(RestoreError::io("write", place))?;
        let there = opened.metadata().map_err(RestoreError::io("look at", place))?.len();
        if there > file.size {
            opened.set_len(file.size).map_err(RestoreError::io("shorten", place))?;
        }
        Ok(opened)
    }

    /// Whether an earlier attempt wrote the file, as far as it says it had come.
    fn is_there(&self, file: &manifest::File, place: &Path) -> bool {
        let done = self.place.done;
        if done <= file.at {
            return false;
        }
        let Ok(found) = fs::symlink_metadata(place) else { return false };
        let whole = file.at.saturating_add(file.size) <= done;
        if whole {
            found.is_file() && found.len() == file.size && found.mtime() == file.mtime
        } else {
            found.is_file() && found.len() <= file.size
        }
    }
}

impl Sink for DataDirectory<'_> {
    type File = Target;
    type Error = RestoreError;

    fn directory(&self, directory: &Directory) -> Result<(), RestoreError> {
        let link = self.place.root.join(&directory.path);
        let space = self.place.space_of_link(&directory.path).map(|space| &space.place);
        let wal = self.place.wal.as_ref().filter(|_| directory.path == "pg_wal");
        if let Some(to) = space.or(wal) {
            let made = std::os::unix::fs::symlink(to, &link);
            let same = || fs::read_link(&link).is_ok_and(|target| target == *to);
            return match made {
                Ok(()) => self.place.give(&link),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && same() => Ok(()),
                Err(error) => Err(RestoreError::io("link", link)(error)),
            };
        }
        let place = self.place.place(&directory.path);
        let mode = folder_mode(directory.mode);
        match DirBuilder::new().mode(mode).create(&place) {
            Ok(()) => {}
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) => {}
            Err(error) => return Err(RestoreError::io("make", place)(error)),
        }
        fs::set_permissions(&place, Permissions::from_mode(mode))
            .map_err(RestoreError::io("set the mode of", &place))?;
        self.place.give(&place)
    }

    fn begin(&self, file: &manifest::File) -> Result<Target, RestoreError> {
        let number = self.number.fetch_add(1, Ordering::AcqRel);
        if self.keeps_back(&file.path) {
            let size = usize::try_from(file.size).ok().filter(|size| *size <= 1 << 20);
            let size = size.ok_or_else(|| {
                RestoreError::Internal(format!("{} is too long to be one", file.path))
            })?;
            let kept =
                KeptBack { content: vec![0; size], mode: file_mode(file.mode), mtime: file.mtime };
            let mut all = self.kept_back.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(file.path.clone(), kept);
            return Ok(Target::KeptBack);
        }
        let place = self.place.place(&file.path);
        let taken = self.taken.has(number);
        let trusted = taken || self.is_there(file, &place);
        Ok(Target::Written { place, handle: Mutex::new(None), trusted, taken })
    }

    fn wants(&self, _: &manifest::File, target: &Target, member: &Member) -> bool {
        match target {
            Target::KeptBack => true,
            Target::Written { taken: true, .. } => false,
            Target::Written { trusted, .. } => !trusted || member.tar_end() > self.place.done,
        }
    }

    fn is_counted(&self, target: &Target) -> bool {
        matches!(target, Target::Written { taken: true, .. })
    }

    fn part(
        &self,
        file: &manifest::File,
        target: &Target,
        from: u64,
        bytes: &[u8],
    ) -> Result<(), RestoreError> {
        self.written.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        match target {
            Target::KeptBack => {
                let mut all = self.kept_back.lock().unwrap_or_else(PoisonError::into_inner);
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let kept = all.get_mut(&file.path);
                let end = from.saturating_add(bytes.len());
                match kept.and_then(|kept| kept.content.get_mut(from..end)) {
                    Some(to) => to.copy_from_slice(bytes),
                    None => return Err(RestoreError::Internal(file.path.clone())),
                }
                Ok(())
            }
            Target::Written { place, handle, .. } => {
                let opened = {
                    let mut handle = handle.lock().unwrap_or_else(PoisonError::into_inner);
                    match &*handle {
                        Some(opened) => Arc::clone(opened),
                        None => Arc::clone(handle.insert(Arc::new(self.open(file, place)?))),
                    }
                };
                opened.write_all_at(bytes, from).map_err(RestoreError::io("write", place))
            }
        }
    }

    fn end(&self, file: &manifest::File, target: &Target) -> Result<(), RestoreError> {
        let Target::Written { place, handle, trusted, .. } = target else { return Ok(()) };
        let opened = handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let opened = match opened {
            Some(opened) => opened,
            None if *trusted => return Ok(()),
            None => Arc::new(self.open(file, place)?),
        };
        self.attributes(&opened, place, file_mode(file.mode), file.mtime)
    }

    fn member_done(&self, member: &Member) {
        let mut prefix = self.prefix.lock().unwrap_or_else(PoisonError::into_inner);
        prefix.early.insert(member.index, member.tar_end());
        while let Some(end) = {
            let next = prefix.next;
            prefix.early.remove(&next)
        } {
            prefix.tar = end;
            prefix.next += 1;
        }
    }
}

/// 0700, and group's rights where the cluster gave them.
fn folder_mode(mode: u32) -> u32 {
    0o700 | (mode & 0o050)
}

/// 0600, and group's right to read where the cluster gave it.
fn file_mode(mode: u32) -> u32 {
    0o600 | (mode & 0o040)
}

/// PostgreSQL makes the links from this file when it starts, whatever links are there.
fn tablespace_map(spaces: &BTreeMap<u32, Space>) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut map = Vec::new();
    for (oid, space) in spaces {
        map.extend_from_slice(format!("{oid} ").as_bytes());
        for byte in space.place.as_os_str().as_bytes() {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                map.push(b'\\');
            }
            map.push(*byte);
        }
        map.push(b'\n');
    }
    map
}
