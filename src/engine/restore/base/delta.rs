//! Delta restore: files of another directory that are proven equal to the backup's are taken from
//! there, and only the rest is fetched. Owns the proof (CRC-32C of the whole content against the
//! authenticated manifest) and how a file is taken. Of a directory that is kept it only reads: no
//! file is ever shared with it, but for blocks where the file system copies on write.
//!
//! A file that changed is known long before its end where a page in it carries an LSN beyond the
//! backup's, and one that has the backup's time of change is copied while it is being proven: what
//! is not equal costs next to nothing, what is equal is read once.
//!
//! One pass over the manifest before the fetch: memory is one bit a file.

use super::destination::Destination;
use super::error::RestoreError;
use super::sink::DataDirectory;
use crate::engine::backup::page;
use crate::engine::backup::walk::CONTROL_FILE;
use crate::engine::incident::facts::OnDisk;
use crate::engine::postgres::Lsn;
use crate::engine::repository::manifest::{self, Record};
use crate::engine::repository::meter::Meter;
use crate::engine::repository::scan::{OpenSet, ScanError, ScanOptions};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

const BUFFER: usize = 1 << 20;

/// A directory whose files may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reuse {
    /// A data directory on which no server runs.
    pub from: PathBuf,
    /// Its server's own folder of each tablespace, by OID; others are fetched.
    pub spaces: BTreeMap<u32, PathBuf>,
    pub take: Take,
    /// Its times of change are those of the server: a file that changed after the backup is not
    /// even compared.
    pub times_hold: bool,
}

/// How an equal file gets to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The directory is kept: blocks are shared by the file system where it can, else copied.
    Copy,
    /// The directory was given up: files are renamed. One that has another name too is copied.
    Move,
}

impl Reuse {
    fn place(&self, path: &str) -> Option<PathBuf> {
        let Some(rest) = path.strip_prefix("pg_tblspc/") else { return Some(self.from.join(path)) };
        let mut parts = rest.splitn(3, '/');
        let oid = parts.next()?.parse().ok()?;
        parts.next()?;
        Some(self.spaces.get(&oid)?.join(parts.next()?))
    }
}

/// What a restore of `set` would find in `reuse`, by the sizes of files and their times of change;
/// no content is read.
///
/// # Errors
/// Where the manifest cannot be read.
pub fn expect(set: &OpenSet<'_>, reuse: &Reuse) -> Result<OnDisk, ScanError> {
    let mut manifest = set.manifest()?;
    let directory = reuse.from.display().to_string();
    let mut disk = OnDisk { directory, unchanged: 0, unsure: 0, gone: 0 };
    while let Some(record) = manifest.next_record()? {
        let Record::File(file) = record else { continue };
        // Of the restore's own making, or with nothing in it.
        if file.path == CONTROL_FILE || file.size == 0 {
            continue;
        }
        let found = reuse.place(&file.path).and_then(|place| fs::symlink_metadata(place).ok());
        let same_length = found.filter(|found| found.is_file() && found.len() == file.size);
        let sum = match same_length {
            // A restore gives each file the backup's time.
            Some(found) if found.mtime() == file.mtime => &mut disk.unchanged,
            Some(found) if reuse.times_hold && found.mtime() > file.mtime => &mut disk.gone,
            Some(_) => &mut disk.unsure,
            None => &mut disk.gone,
        };
        *sum = sum.saturating_add(file.size);
    }
    Ok(disk)
}

/// Which files were taken.
#[derive(Debug, Default)]
pub struct Taken {
    /// By their number in the manifest.
    bits: Vec<u64>,
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files that could not be read where they were.
    pub unreadable: u64,
}

impl Taken {
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), number % 64);
        self.bits.get(word).is_some_and(|bits| bits >> bit & 1 == 1)
    }

    fn add(&mut self, number: u64, bytes: u64) {
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), number % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= 1 << bit;
        }
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Takes every file of the backup that is in `reuse` with the same content to its place.
///
/// # Errors
/// Where the manifest cannot be read, or the destination not be written. A source that cannot be
/// read is none: the file is fetched.
pub fn take(
    set: &OpenSet<'_>,
    reuse: &Reuse,
    sink: &DataDirectory<'_>,
    options: &ScanOptions<'_>,
) -> Result<Taken, RestoreError> {
    let mut manifest = set.manifest()?;
    let (jobs, receiver) = sync_channel::<(u64, manifest::File)>(64);
    let work = Work {
        reuse,
        sink,
        pages: Pages {
            size: usize::try_from(manifest.header().page_size).unwrap_or(0),
            stop: set.descriptor.stop_lsn,
        },
        meter: options.meter,
        taken: Mutex::default(),
        failure: Mutex::default(),
        unreadable: AtomicU64::new(0),
        clones: AtomicBool::new(true),
        stop: AtomicBool::new(false),
    };
    let receiver = Mutex::new(receiver);
    let read = std::thread::scope(|scope| {
        for _ in 0..options.workers.clamp(1, 16) {
            scope.spawn(|| work.run(&receiver));
        }
        let mut number = 0;
        let mut hand_out = || -> Result<(), RestoreError> {
            while let Some(record) = manifest.next_record().map_err(ScanError::from)? {
                if (options.cancelled)() {
                    return Err(ScanError::Cancelled.into());
                }
                match record {
                    Record::Directory(directory) => {
                        crate::engine::repository::scan::Sink::directory(sink, &directory)?;
                    }
                    Record::File(file) => {
                        options.meter.at(&file.path);
                        let wanted = file.size > 0 && !sink.keeps_back(&file.path);
                        if wanted && jobs.send((number, file)).is_err() {
                            return Ok(());
                        }
                        number += 1;
                    }
                    _ => {}
                }
                if work.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
            }
            Ok(())
        };
        let read = hand_out();
        drop(jobs);
        read
    });
    read?;
    if let Some(failure) = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(failure);
    }
    let mut taken = work.taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    taken.unreadable = work.unreadable.load(Ordering::Acquire);
    Ok(taken)
}

struct Work<'a> {
    reuse: &'a Reuse,
    sink: &'a DataDirectory<'a>,
    pages: Pages,
    meter: &'a Meter<'a>,
    taken: Mutex<Taken>,
    failure: Mutex<Option<RestoreError>>,
    unreadable: AtomicU64,
    /// Until the file system says that it cannot share blocks.
    clones: AtomicBool,
    stop: AtomicBool,
}

impl Work<'_> {
    fn run(&self, jobs: &Mutex<Receiver<(u64, manifest::File)>>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((number, file)) = job else { return };
            if self.stop.load(Ordering::Acquire) {
                // Emptied, so that nobody waits for room.
                continue;
            }
            match self.one(&file, &mut buffer) {
                Ok(true) => {
                    let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                    taken.add(number, file.size);
                    drop(taken);
                    self.meter.add(file.size);
                }
                Ok(false) => {}
                Err(error) => {
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(error);
                    self.stop.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Whether the file is in its place now, proven.
    fn one(&self, file: &manifest::File, buffer: &mut [u8]) -> Result<bool, RestoreError> {
        let to = self.sink.destination().place(&file.path);
        if fs::symlink_metadata(&to).is_ok() {
            // Of an earlier attempt: whole, or gone on with by the fetch.
            let whole = open(&to, file).and_then(|found| self.is_equal(&found, file, buffer));
            return match whole {
                Ok(true) => self.sink.dress(file, &to).map(|()| true),
                _ => Ok(false),
            };
        }
        let Some(from) = self.reuse.place(&file.path) else { return Ok(false) };
        let opened = match open(&from, file) {
            Ok(opened) => opened,
            Err(error) => return Ok(self.unread(&error)),
        };
        let meta = match opened.metadata() {
            Ok(meta) => meta,
            Err(error) => return Ok(self.unread(&error)),
        };
        if self.reuse.times_hold && meta.mtime() > file.mtime {
            return Ok(false);
        }
        let taken = match self.reuse.take {
            Take::Move if meta.nlink() == 1 => self.rename(&opened, &from, &to, file, buffer)?,
            _ => None,
        };
        let taken = match taken {
            Some(taken) => taken,
            None => self.copy(&opened, meta.mtime() == file.mtime, &to, file, buffer)?,
        };
        if taken {
            self.sink.dress(file, &to)?;
        }
        Ok(taken)
    }

    /// `None` where it cannot be renamed there.
    fn rename(
        &self,
        opened: &File,
        from: &Path,
        to: &Path,
        file: &manifest::File,
        buffer: &mut [u8],
    ) -> Result<Option<bool>, RestoreError> {
        match self.is_equal(opened, file, buffer) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(false)),
            Err(error) => return Ok(Some(self.unread(&error))),
        }
        match fs::rename(from, to) {
            Ok(()) => Ok(Some(true)),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(None),
            Err(error) => Err(RestoreError::io("move here", to)(error)),
        }
    }

    /// `same_time`: it has the backup's time of change, so that it is most likely equal.
    fn copy(
        &self,
        from: &File,
        same_time: bool,
        to: &Path,
        file: &manifest::File,
        buffer: &mut [u8],
    ) -> Result<bool, RestoreError> {
        if self.clones.load(Ordering::Acquire) {
            let made = self.sink.create(file, to)?;
            if rustix::fs::ioctl_ficlone(&made, from).is_ok() {
                let cloned = open(to, file).and_then(|cloned| self.is_equal(&cloned, file, buffer));
                return if matches!(cloned, Ok(true)) { Ok(true) } else { forget(to) };
            }
            self.clones.store(false, Ordering::Release);
            forget(to)?;
        }
        // A copy that turns out to be none costs more than to read twice.
        if !same_time {
            match self.is_equal(from, file, buffer) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => return Ok(self.unread(&error)),
            }
        }
        let made = self.sink.create(file, to)?;
        let mut failure = None;
        let equal = self.prove(from, file, buffer, &mut |bytes| {
            (&made).write_all(bytes).map_err(|error| failure.insert(error).kind().into())
        });
        match (failure, equal) {
            (Some(error), _) => Err(RestoreError::io("write", to)(error)),
            (None, Ok(true)) => Ok(true),
            (None, Ok(false)) => forget(to),
            (None, Err(error)) => {
                forget(to)?;
                Ok(self.unread(&error))
            }
        }
    }

    fn is_equal(&self, found: &File, file: &manifest::File, buffer: &mut [u8]) -> io::Result<bool> {
        self.prove(found, file, buffer, &mut |_| Ok(()))
    }

    /// Whether the content is the backup's; what was read is given to `each`. Ends at the first
    /// page that is newer than the backup.
    fn prove(
        &self,
        mut found: &File,
        file: &manifest::File,
        buffer: &mut [u8],
        each: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let has_pages = self.pages.are_in(&file.path);
        io::Seek::rewind(&mut found)?;
        let mut sum = 0;
        loop {
            let read = fill(found, buffer)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(sum == file.crc32c);
            }
            if has_pages && self.pages.one_is_newer(bytes) {
                return Ok(false);
            }
            sum = crc32c::crc32c_append(sum, bytes);
            each(bytes)?;
        }
    }

    fn unread(&self, error: &io::Error) -> bool {
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) {
            self.unreadable.fetch_add(1, Ordering::AcqRel);
        }
        false
    }
}

/// Takes away what was made here a moment ago and is not what it should be.
fn forget(made: &Path) -> Result<bool, RestoreError> {
    fs::remove_file(made).map_err(RestoreError::io("remove the copy", made))?;
    Ok(false)
}

/// Opens a plain file of the right size; `InvalidData` where it is something else.
fn open(path: &Path, file: &manifest::File) -> io::Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    let meta = opened.metadata()?;
    if meta.is_file() && meta.len() == file.size {
        Ok(opened)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Reads until the buffer is full or the file ends, so that pages stay whole.
fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What the pages of relations tell about a file that changed.
#[derive(Debug, Clone, Copy)]
struct Pages {
    /// Bytes; 0 where it is not known.
    size: usize,
    /// Where the backup ended: no page of it is newer.
    stop: Lsn,
}

impl Pages {
    fn are_in(&self, path: &str) -> bool {
        self.size > 0 && BUFFER.is_multiple_of(self.size) && page::first_block(path, 0).is_some()
    }

    /// Whether a page in there was changed after the backup's end. That none was proves nothing:
    /// hints change a page without a new LSN.
    fn one_is_newer(&self, bytes: &[u8]) -> bool {
        bytes
            .chunks_exact(self.size)
            .any(|content| page::lsn(content).is_some_and(|lsn| lsn > self.stop))
    }
}

impl DataDirectory<'_> {
    fn destination(&self) -> &Destination {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_a_file_says_what_was_taken() {
        let mut taken = Taken::default();
        for number in [0, 63, 64, 1000] {
            taken.add(number, 10);
        }
        assert!([0, 63, 64, 1000].iter().all(|number| taken.has(*number)));
        assert!([1, 62, 65, 999, 5000].iter().all(|number| !taken.has(*number)));
        assert_eq!((taken.files, taken.bytes), (4, 40));
    }

    #[test]
    fn a_page_beyond_the_backups_end_tells_that_its_file_changed() {
        let pages = Pages { size: 8192, stop: Lsn(0x1_0000_0200) };
        let page = |high: u32, low: u32| {
            let mut page = vec![0xff; 8192];
            page[..4].copy_from_slice(&high.to_le_bytes());
            page[4..8].copy_from_slice(&low.to_le_bytes());
            page
        };
        let empty = vec![0; 8192];
        assert!(!pages.one_is_newer(&empty));
        assert!(!pages.one_is_newer(&[page(1, 0x200), empty, page(0, u32::MAX)].concat()));
        assert!(pages.one_is_newer(&[page(1, 0x200), page(1, 0x201)].concat()));
        assert!(pages.one_is_newer(&page(2, 0)));
        // Half a page is none.
        assert!(!pages.one_is_newer(&page(2, 0)[..4096]));
        for (path, has) in [
            ("base/5/16402", true),
            ("base/5/16402_vm.1", true),
            ("pg_tblspc/16400/PG_15_1/5/16402", true),
            ("base/5/pg_filenode.map", false),
            ("pg_xact/0000", false),
        ] {
            assert_eq!(pages.are_in(path), has, "{path}");
        }
        assert!(!Pages { size: 0, ..pages }.are_in("base/5/16402"));
    }

    #[test]
    fn a_tablespaces_file_is_looked_for_in_its_kept_folder() {
        let reuse = Reuse {
            from: PathBuf::from("/kept"),
            spaces: BTreeMap::from([(16400, PathBuf::from("/far/PG_15_1.damaged.x"))]),
            take: Take::Copy,
            times_hold: true,
        };
        assert_eq!(reuse.place("base/5/1"), Some(PathBuf::from("/kept/base/5/1")));
        assert_eq!(
            reuse.place("pg_tblspc/16400/PG_15_1/5/16402"),
            Some(PathBuf::from("/far/PG_15_1.damaged.x/5/16402"))
        );
        assert_eq!(reuse.place("pg_tblspc/16401/PG_15_1/5/16402"), None);
    }
}
