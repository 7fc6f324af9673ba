//! Delta restore: files of another directory that are proven equal to the backup's are taken from
//! there, and only the rest is fetched. Owns the proof (CRC-32C of the whole content against the
//! authenticated manifest) and how a file is taken. Of a directory that is kept it only reads: no
//! file is ever shared with it, but for blocks where the file system copies on write.
//!
//! One pass over the manifest before the fetch: memory is one bit a file.

use super::destination::Destination;
use super::error::RestoreError;
use super::sink::DataDirectory;
use crate::engine::backup::walk::CONTROL_FILE;
use crate::engine::incident::facts::OnDisk;
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
            let whole = open(&to, file).and_then(|found| Ok(sum(found, buffer)? == file.crc32c));
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
            None => self.copy(opened, &to, file, buffer)?,
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
        match sum(opened, buffer) {
            Ok(found) if found == file.crc32c => {}
            Ok(_) => return Ok(Some(false)),
            Err(error) => return Ok(Some(self.unread(&error))),
        }
        match fs::rename(from, to) {
            Ok(()) => Ok(Some(true)),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(None),
            Err(error) => Err(RestoreError::io("move here", to)(error)),
        }
    }

    fn copy(
        &self,
        mut from: File,
        to: &Path,
        file: &manifest::File,
        buffer: &mut [u8],
    ) -> Result<bool, RestoreError> {
        let clones = self.clones.load(Ordering::Acquire);
        // A copy that turns out to be none costs more than to read twice.
        if !clones {
            match sum(&from, buffer) {
                Ok(found) if found == file.crc32c => {}
                Ok(_) => return Ok(false),
                Err(error) => return Ok(self.unread(&error)),
            }
        }
        let mut made = self.sink.create(file, to)?;
        if clones {
            if rustix::fs::ioctl_ficlone(&made, &from).is_ok() {
                let found = open(to, file).and_then(|cloned| sum(cloned, buffer));
                if found.is_ok_and(|found| found == file.crc32c) {
                    return Ok(true);
                }
                return forget(to);
            }
            self.clones.store(false, Ordering::Release);
            forget(to)?;
            return self.copy(from, to, file, buffer);
        }
        rewind(&mut from).map_err(RestoreError::io("read again for", to))?;
        let mut found = 0;
        loop {
            let read = match from.read(buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    forget(to)?;
                    return Ok(self.unread(&error));
                }
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            found = crc32c::crc32c_append(found, bytes);
            made.write_all(bytes).map_err(RestoreError::io("write", to))?;
        }
        if found == file.crc32c { Ok(true) } else { forget(to) }
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

fn rewind(file: &mut File) -> io::Result<()> {
    io::Seek::rewind(file)
}

/// CRC-32C of a whole file.
fn sum(file: impl std::borrow::Borrow<File>, buffer: &mut [u8]) -> io::Result<u32> {
    let mut file = file.borrow();
    io::Seek::rewind(&mut file)?;
    let mut sum = 0;
    loop {
        match file.read(buffer)? {
            0 => return Ok(sum),
            read => sum = crc32c::crc32c_append(sum, buffer.get(..read).unwrap_or_default()),
        }
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
