//! The journal: one JSON entry a line, each carrying the hash of the line before, synced before
//! anyone is told. Owns the file, its lock and its repair after a crash. Never rewrites or drops
//! an entry, and never lets two processes write.
//!
//! The chain shows a change to any line but the last: nothing later covers that one yet.

use super::event::{Entry, Event};
use super::facts::Actor;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::runner::failpoint;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The journal's name in the incident's folder.
pub const FILE: &str = "journal.jsonl";
/// Locked by the one writer, whose process id stands in it.
pub const LOCK: &str = "journal.lock";

/// The journal as its one writer holds it. The lock goes with it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    _lock: File,
    seq: u64,
    /// Hash of the last line.
    prev: String,
    /// Bytes of whole lines.
    length: u64,
    /// Set once a write's outcome is unknown: nothing more is written after that.
    broken: Option<String>,
}

/// What opening for writing found.
#[derive(Debug)]
pub struct Opened {
    pub journal: Journal,
    pub entries: Vec<Entry>,
    /// A line that a crash cut short, now in a file of its own.
    pub torn: Option<Torn>,
}

/// The unfinished last line of a writer that died. Nobody was told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub bytes: u64,
    /// Where it is kept; `None` where the journal was only read.
    pub kept: Option<PathBuf>,
}

/// A journal as a reader sees it.
#[derive(Debug)]
pub struct Reading {
    pub entries: Vec<Entry>,
    /// A last line that is unfinished: being written at this moment, or cut short by a crash.
    pub torn: Option<Torn>,
}

/// What a whole, unbroken journal amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// SHA-256, hexadecimal, of the last line: what the next entry would carry.
    pub last: String,
    /// Bytes of an unfinished last line.
    pub torn: Option<u64>,
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}", busy(path, *pid))]
    Busy { path: PathBuf, pid: Option<u32> },
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("entry {entry} of {} is wrong: {fault}", path.display())]
    Wrong { path: PathBuf, entry: u64, fault: String },
    #[error("{} is no longer written since an earlier write failed: {why}", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("an entry could not be put into words: {0}")]
    Encode(#[from] serde_json::Error),
}

fn busy(path: &Path, pid: Option<u32>) -> String {
    let who = pid.map_or_else(|| String::from("another process"), |pid| format!("process {pid}"));
    format!("{who} already writes {}", path.display())
}

impl Explain for JournalError {
    fn explanation(&self) -> Explanation {
        let (kind, untouched, next) = match self {
            Self::Busy { .. } => (
                Kind::Busy,
                "Nothing was written.",
                "Attach to the runner that is there; it can be stopped with SIGTERM.",
            ),
            Self::Io { .. } => (
                Kind::Storage,
                "Every entry written before is kept.",
                "Check space and permissions of the incident's folder, then try again.",
            ),
            Self::Wrong { .. } => (
                Kind::Integrity,
                "The journal was left as it is.",
                "Keep a copy of the folder and compare it with another; Lifeboat does not go on \
                 from a journal that was changed.",
            ),
            Self::Broken { .. } => (
                Kind::Storage,
                "Every entry written before is kept.",
                "Check the disk, then open the incident again.",
            ),
            Self::Encode(_) => (Kind::Internal, "Nothing was written.", ""),
        };
        Explanation::new(kind, format!("{self}."), untouched, next)
    }
}

impl Journal {
    /// Opens the folder's journal for writing, makes both where they are missing, and puts the
    /// unfinished line of a writer that died into a file `journal.torn-…`.
    ///
    /// # Errors
    /// [`JournalError::Busy`] where another process writes it; [`JournalError::Wrong`] where an
    /// entry other than an unfinished last one does not fit.
    pub fn open(folder: &Path) -> Result<Opened, JournalError> {
        let path = folder.join(FILE);
        if !folder.is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| fault("make", folder, source))?;
            files::sync_parent(folder).map_err(|source| fault("sync", folder, source))?;
        }
        let lock = lock(folder)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| fault("open", &path, source))?;
        if is_new {
            files::sync_parent(&path).map_err(|source| fault("sync", &path, source))?;
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|source| fault("read", &path, source))?;
        let parsed = parse(&path, &bytes)?;
        let torn = match parsed.torn {
            [] => None,
            torn => Some(set_torn_aside(&path, &file, parsed.length, torn)?),
        };
        let seq = parsed.entries.last().map_or(0, |entry| entry.seq);
        let journal = Self {
            path,
            file,
            _lock: lock,
            seq,
            prev: parsed.prev,
            length: parsed.length,
            broken: None,
        };
        Ok(Opened { journal, entries: parsed.entries, torn })
    }

    /// Appends an event; it is on disk when this returns.
    ///
    /// # Errors
    /// Where it could not be written: the journal then ends where it ended before, or, where even
    /// that cannot be told, takes nothing more.
    pub fn append(
        &mut self,
        at: Timestamp,
        actor: &Actor,
        event: Event,
    ) -> Result<Entry, JournalError> {
        if let Some(why) = &self.broken {
            return Err(JournalError::Broken { path: self.path.clone(), why: why.clone() });
        }
        let entry =
            Entry { seq: self.seq + 1, at, actor: actor.clone(), event, prev: self.prev.clone() };
        let mut line = serde_json::to_vec(&entry)?;
        let hash = digest(&line);
        line.push(b'\n');
        failpoint::hit("journal.before_write");
        if let Err(source) = self.file.write_all(&line) {
            // Part of the line may be there: the next append must not continue it.
            if let Err(cut) = self.file.set_len(self.length) {
                self.broken = Some(cut.to_string());
            }
            return Err(fault("write", &self.path, source));
        }
        failpoint::hit("journal.after_write");
        if let Err(source) = self.file.sync_data() {
            // The kernel may have dropped the pages: what the disk holds is unknown now.
            self.broken = Some(source.to_string());
            return Err(fault("sync", &self.path, source));
        }
        failpoint::hit("journal.after_sync");
        self.seq = entry.seq;
        self.prev = hash;
        self.length += line.len() as u64;
        Ok(entry)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a folder's journal without taking the lock.
///
/// # Errors
/// Where it cannot be read or an entry does not fit.
pub fn read(folder: &Path) -> Result<Reading, JournalError> {
    let path = folder.join(FILE);
    let bytes = fs::read(&path).map_err(|source| fault("read", &path, source))?;
    let parsed = parse(&path, &bytes)?;
    let torn =
        (!parsed.torn.is_empty()).then_some(Torn { bytes: parsed.torn.len() as u64, kept: None });
    Ok(Reading { entries: parsed.entries, torn })
}

/// Checks every hash and sequence number of a journal file.
///
/// # Errors
/// Names the first wrong entry.
pub fn verify(path: &Path) -> Result<Verified, JournalError> {
    let bytes = fs::read(path).map_err(|source| fault("read", path, source))?;
    let parsed = parse(path, &bytes)?;
    let torn = (!parsed.torn.is_empty()).then_some(parsed.torn.len() as u64);
    Ok(Verified { entries: parsed.entries.len() as u64, last: parsed.prev, torn })
}

/// Whether a process holds the folder's journal for writing, found by its lock.
#[must_use]
pub fn is_written(folder: &Path) -> bool {
    // A shared lock, dropped at once: `lock` below waits it out.
    File::open(folder.join(LOCK)).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

struct Parsed<'a> {
    entries: Vec<Entry>,
    prev: String,
    length: u64,
    torn: &'a [u8],
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Parsed<'a>, JournalError> {
    let mut parsed = Parsed { entries: Vec::new(), prev: digest(b""), length: 0, torn: &[] };
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let Some((line, after)) = end.and_then(|end| rest.split_at_checked(end + 1)) else {
            parsed.torn = rest;
            break;
        };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let expected = parsed.entries.len() as u64 + 1;
        let wrong =
            |fault: String| JournalError::Wrong { path: path.to_owned(), entry: expected, fault };
        let entry: Entry = match serde_json::from_slice(line) {
            Ok(entry) => entry,
            // Good JSON that this version does not know is never taken for a torn line.
            Err(error)
                if after.is_empty()
                    && matches!(error.classify(), Category::Syntax | Category::Eof) =>
            {
                parsed.torn = rest;
                break;
            }
            Err(error) => return Err(wrong(format!("it cannot be understood ({error})"))),
        };
        if entry.seq != expected {
            return Err(wrong(format!("its number is {}, not {expected}", entry.seq)));
        }
        if entry.prev != parsed.prev {
            return Err(wrong(String::from(
                "the entry before it is not the one that it was written after",
            )));
        }
        parsed.prev = digest(line);
        parsed.length += line.len() as u64 + 1;
        parsed.entries.push(entry);
        rest = after;
    }
    Ok(parsed)
}

fn set_torn_aside(
    path: &Path,
    file: &File,
    length: u64,
    torn: &[u8],
) -> Result<Torn, JournalError> {
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S%.6f").to_string();
    let kept = path.with_file_name(format!("journal.torn-{stamp}"));
    files::create(&kept, torn, 0o600).map_err(|source| fault("write", &kept, source))?;
    file.set_len(length)
        .and_then(|()| file.sync_all())
        .map_err(|source| fault("cut the unfinished line off", path, source))?;
    Ok(Torn { bytes: torn.len() as u64, kept: Some(kept) })
}

fn lock(folder: &Path) -> Result<File, JournalError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| fault("open", &path, source))?;
    let mut tries = 0_u32;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(fault("lock", &path, error.into()));
        }
        // `is_written` holds it for microseconds; a writer holds it for long.
        tries += 1;
        if tries == 20 {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(JournalError::Busy { path: folder.join(FILE), pid });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| fault("write", &path, source))?;
    Ok(file)
}

fn digest(line: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(line))
}

fn fault(doing: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { doing, path: path.to_owned(), source }
}
