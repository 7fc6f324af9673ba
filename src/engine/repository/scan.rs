//! Reading a base backup: its manifest as a stream, its members in parallel, every byte proven
//! before it is handed on. Owns the way from object to file parts; where the parts go is the
//! [`Sink`]'s. Memory is a few members a worker, whatever the backup's size.

use super::manifest::{self, Directory, Footer, Header, Member, Record};
use super::member::{BLOCK, Unpacker};
use super::meter::Meter;
use super::sealed::{self, SealedError};
use super::store::Store;
use crate::engine::crypto::envelope::{self, HEADER_LEN, StreamKey};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use super::open_set::{Manifest, OpenSet, ScanError, relation_map, relation_map_from};

/// More workers than this are not faster, and memory is bounded by it.
const MOST_WORKERS: usize = 16;

/// Takes files apart from where they are read. Everything but `directory` and `begin` is called
/// from many threads.
pub trait Sink: Sync {
    /// What the sink keeps of a file while its parts come.
    type File: Send + Sync;
    type Error: From<ScanError> + Send;

    /// A folder; folders come before what is in them.
    ///
    /// # Errors
    /// Ends the scan.
    fn directory(&self, directory: &Directory) -> Result<(), Self::Error>;

    /// A file whose parts will come.
    ///
    /// # Errors
    /// Ends the scan.
    fn begin(&self, file: &manifest::File) -> Result<Self::File, Self::Error>;

    /// Whether this part of the file is needed.
    fn wants(&self, file: &manifest::File, state: &Self::File, member: &Member) -> bool {
        let _ = (file, state, member);
        true
    }

    /// Whether the meter knows the file's bytes already, where they are not needed.
    fn is_counted(&self, state: &Self::File) -> bool {
        let _ = state;
        false
    }

    /// Proven bytes of a file.
    ///
    /// # Errors
    /// Ends the scan.
    fn part(
        &self,
        file: &manifest::File,
        state: &Self::File,
        from: u64,
        bytes: &[u8],
    ) -> Result<(), Self::Error>;

    /// Every part of the file has come, and the whole has the manifest's checksum.
    ///
    /// # Errors
    /// Ends the scan.
    fn end(&self, file: &manifest::File, state: &Self::File) -> Result<(), Self::Error>;

    /// Every part of the member has been taken.
    fn member_done(&self, member: &Member) {
        let _ = member;
    }

    /// A member could not be read, or a file is not what it should be.
    ///
    /// # Errors
    /// Ends the scan; where it is none, the scan goes on without.
    fn failed(&self, error: ScanError) -> Result<(), Self::Error> {
        Err(error.into())
    }
}

/// How a scan is run.
pub struct ScanOptions<'a> {
    pub workers: usize,
    pub meter: &'a Meter<'a>,
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanOptions").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Reads the whole backup into `sink`.
///
/// # Errors
/// The first failure; the sink may hold parts of files then.
pub fn scan<S: Sink>(
    set: &OpenSet<'_>,
    mut manifest: Manifest<'_>,
    sink: &S,
    options: &ScanOptions<'_>,
) -> Result<Footer, S::Error> {
    let source = Source::new(set, manifest.header())?;
    let workers = options.workers.clamp(1, MOST_WORKERS);
    let (jobs, receiver) = sync_channel(workers);
    // Owned by the workers alone: should none be left, the dispatcher notices.
    let receiver = Arc::new(Mutex::new(receiver));
    let shared = Shared {
        source: &source,
        sink,
        meter: options.meter,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (shared, receiver) = (&shared, Arc::clone(&receiver));
            scope.spawn(move || {
                if let Err(error) = work(shared, &receiver) {
                    shared.fail(error);
                }
            });
        }
        drop(receiver);
        if let Err(error) = dispatch(&shared, &mut manifest, jobs, options) {
            shared.fail(error);
        }
    });
    match shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(*manifest.counts()),
    }
}

/// The object that members are read from.
struct Source<'a> {
    set: &'a OpenSet<'a>,
    header: Header,
    size: u64,
    encrypted: bool,
    /// By copy, once its object was looked at: a damaged salt spoils that copy alone.
    keys: Vec<OnceLock<Option<StreamKey>>>,
}

impl<'a> Source<'a> {
    fn new(set: &'a OpenSet<'a>, header: &Header) -> Result<Self, ScanError> {
        let size = set.data_object(header)?.size;
        let source = Self {
            set,
            header: header.clone(),
            size,
            encrypted: set.protection.key().is_some(),
            keys: (0..set.copies.count()).map(|_| OnceLock::new()).collect(),
        };
        let what = || header.object.clone();
        set.copies.attempt(&what, |number, store| source.key(number, store).map(drop))?;
        Ok(source)
    }

    /// The stream's key by that copy, whose object must have the right size.
    fn key(&self, number: usize, store: &dyn Store) -> Result<&Option<StreamKey>, ScanError> {
        let slot = self.keys.get(number);
        let slot = slot.ok_or_else(|| ScanError::Internal(String::from("no such copy")))?;
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let found = store.size(&self.header.object)?;
        if found != self.size {
            let why =
                format!("{} is {found} bytes long instead of {}", self.header.object, self.size);
            return Err(self.set.mismatch(&why));
        }
        let key = sealed::stream_key(store, &self.header.object, &self.set.protection)?;
        Ok(slot.get_or_init(|| key))
    }

    /// Where the members begin.
    fn first(&self) -> u64 {
        if self.encrypted { HEADER_LEN as u64 } else { 0 }
    }

    /// Where they end: encryption adds one block at the end.
    fn end(&self) -> u64 {
        let padding = if self.encrypted { BLOCK as u64 } else { 0 };
        self.size.saturating_sub(padding)
    }
}

/// Reads members: one a worker.
struct MemberReader<'a> {
    source: &'a Source<'a>,
    unpacker: Unpacker,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl MemberReader<'_> {
    /// The member's tar bytes, proven, from the first copy that gives them.
    fn read(&mut self, member: &Member, holds: &dyn Fn() -> String) -> Result<(), ScanError> {
        let source = self.source;
        let what =
            || format!("bytes {} to {} of {}", member.offset, member.end(), source.header.object);
        source
            .set
            .copies
            .attempt(&what, |number, store| self.read_from(number, store, member, holds))
    }

    fn read_from(
        &mut self,
        number: usize,
        store: &dyn Store,
        member: &Member,
        holds: &dyn Fn() -> String,
    ) -> Result<(), ScanError> {
        let key = self.source.key(number, store)?;
        let Source { set, header, .. } = self.source;
        // With the block before it, which is the member's IV; the first has the stream's own.
        let before = if member.index == 0 { 0 } else { BLOCK as u64 };
        let from = member.offset.checked_sub(before);
        let from = from.ok_or_else(|| set.mismatch("a member lies before the object's start"))?;
        let length = usize::try_from(member.length + before)
            .map_err(|_| set.mismatch("a member is too long"))?;
        self.stored.resize(length, 0);
        store.read_range(&header.object, from, &mut self.stored)?;
        let own_iv = || key.as_ref().map_or([0; BLOCK], |key| *key.iv());
        let (previous, stored) = match self.stored.split_first_chunk_mut::<BLOCK>() {
            Some((previous, stored)) if before > 0 => (*previous, stored),
            _ => (own_iv(), &mut self.stored[..]),
        };
        let index = member.index;
        if !sealed::member_fits(&set.protection, &header.set, index, &previous, stored, &member.tag)
        {
            return Err(ScanError::Tag {
                object: header.object.clone(),
                from: member.offset,
                to: member.end(),
                holds: holds(),
            });
        }
        if let Some(key) = key {
            envelope::decrypt_blocks(key.key(), &previous, stored)
                .map_err(|source| SealedError::Envelope { key: header.object.clone(), source })?;
        }
        // Checked by the manifest's reader against the header.
        let tar_length = usize::try_from(member.tar_length).unwrap_or(usize::MAX);
        self.unpacker.unpack(stored, tar_length, &mut self.plain).map_err(|source| {
            ScanError::Unpack {
                object: header.object.clone(),
                from: member.offset,
                to: member.end(),
                source,
            }
        })
    }
}

/// A file whose parts are under way.
struct Pending<F> {
    file: manifest::File,
    state: F,
    missing: AtomicU64,
    /// Parts were left out, so that the whole's checksum is not known.
    partial: AtomicBool,
    checksums: Mutex<Vec<(u64, u64, u32)>>,
}

impl<F> Pending<F> {
    fn end(&self) -> u64 {
        self.file.at.saturating_add(self.file.size)
    }

    /// Counts bytes off; true where they were the last.
    fn count(&self, length: u64) -> bool {
        self.missing.fetch_sub(length, Ordering::AcqRel) == length
    }

    fn checksum_fits(&self) -> bool {
        let mut parts = self.checksums.lock().unwrap_or_else(PoisonError::into_inner);
        parts.sort_unstable();
        let whole = parts.iter().fold(0, |whole, (_, length, crc)| {
            crc32c::crc32c_combine(whole, *crc, usize::try_from(*length).unwrap_or(usize::MAX))
        });
        self.partial.load(Ordering::Acquire) || whole == self.file.crc32c
    }
}

/// A part of a file in a member.
struct Part<F> {
    pending: Arc<Pending<F>>,
    /// In the file.
    from: u64,
    /// In the member.
    at: usize,
    length: usize,
}

struct Task<F> {
    member: Member,
    parts: Vec<Part<F>>,
}

struct Shared<'a, S: Sink> {
    source: &'a Source<'a>,
    sink: &'a S,
    meter: &'a Meter<'a>,
    stop: AtomicBool,
    failure: Mutex<Option<S::Error>>,
}

impl<S: Sink> Shared<'_, S> {
    /// The first failure counts; the others follow from it.
    fn fail(&self, error: S::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.store(true, Ordering::Release);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn ended(&self, pending: &Pending<S::File>) -> Result<(), S::Error> {
        if pending.checksum_fits() {
            self.sink.end(&pending.file, &pending.state)
        } else {
            self.sink.failed(ScanError::Checksum { path: pending.file.path.clone() })
        }
    }
}

/// Reads the manifest and hands out members with the file parts that they hold.
fn dispatch<S: Sink>(
    shared: &Shared<'_, S>,
    manifest: &mut Manifest<'_>,
    jobs: SyncSender<Task<S::File>>,
    options: &ScanOptions<'_>,
) -> Result<(), S::Error> {
    let Shared { source, sink, .. } = shared;
    let mismatch = |why: &str| source.set.mismatch(why);
    let mut open: Vec<Arc<Pending<S::File>>> = Vec::new();
    let (mut offset, mut tar) = (source.first(), 0);
    while let Some(record) = manifest.next_record().map_err(ScanError::from)? {
        if shared.stopped() {
            return Ok(());
        }
        if (options.cancelled)() {
            return Err(ScanError::Cancelled.into());
        }
        match record {
            Record::Directory(directory) => sink.directory(&directory)?,
            Record::File(file) => {
                if file.at < tar {
                    return Err(mismatch("a file lies before its members").into());
                }
                options.meter.at(&file.path);
                let state = sink.begin(&file)?;
                let pending = Pending {
                    missing: AtomicU64::new(file.size),
                    partial: AtomicBool::new(false),
                    checksums: Mutex::default(),
                    file,
                    state,
                };
                if pending.file.size == 0 {
                    shared.ended(&pending)?;
                } else {
                    open.push(Arc::new(pending));
                }
            }
            Record::Member(member) => {
                if member.offset != offset {
                    return Err(mismatch("its members are not one after another").into());
                }
                (offset, tar) = (member.end(), member.tar_end());
                let parts = parts(shared, &open, &member)?;
                open.retain(|pending| pending.end() > tar);
                if parts.is_empty() {
                    sink.member_done(&member);
                } else if jobs.send(Task { member, parts }).is_err() {
                    return Ok(());
                }
            }
            Record::Header(_) | Record::Relation(_) | Record::Footer(_) => {}
        }
    }
    if !open.is_empty() || offset != source.end() {
        return Err(mismatch("its members do not hold all of its files").into());
    }
    Ok(())
}

/// The wanted parts of open files in a member. Others are counted off.
fn parts<S: Sink>(
    shared: &Shared<'_, S>,
    open: &[Arc<Pending<S::File>>],
    member: &Member,
) -> Result<Vec<Part<S::File>>, S::Error> {
    let mut parts = Vec::new();
    for pending in open {
        let from = pending.file.at.max(member.tar);
        let to = pending.end().min(member.tar_end());
        if from >= to {
            continue;
        }
        let (length, Ok(at)) = (to - from, usize::try_from(from - member.tar)) else { continue };
        if shared.sink.wants(&pending.file, &pending.state, member) {
            let from = from - pending.file.at;
            let Ok(length) = usize::try_from(length) else { continue };
            parts.push(Part { pending: Arc::clone(pending), from, at, length });
        } else {
            pending.partial.store(true, Ordering::Release);
            if !shared.sink.is_counted(&pending.state) {
                shared.meter.skip(length);
            }
            if pending.count(length) {
                shared.ended(pending)?;
            }
        }
    }
    Ok(parts)
}

fn work<S: Sink>(
    shared: &Shared<'_, S>,
    jobs: &Mutex<Receiver<Task<S::File>>>,
) -> Result<(), S::Error> {
    let source = shared.source;
    let unpacker =
        Unpacker::new(source.header.codec).map_err(|error| ScanError::Internal(error.to_string()));
    let mut reader =
        MemberReader { source, unpacker: unpacker?, stored: Vec::new(), plain: Vec::new() };
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { member, parts }) = job else { return Ok(()) };
        if shared.stopped() {
            // Emptied, so that the dispatcher does not wait for room.
            continue;
        }
        if let Err(error) = take(shared, &mut reader, &member, &parts) {
            shared.fail(error);
        }
    }
}

fn take<S: Sink>(
    shared: &Shared<'_, S>,
    reader: &mut MemberReader<'_>,
    member: &Member,
    parts: &[Part<S::File>],
) -> Result<(), S::Error> {
    if let Err(error) = reader.read(member, &|| holds(parts)) {
        return shared.sink.failed(error);
    }
    for Part { pending, from, at, length } in parts {
        let Some(bytes) = reader.plain.get(*at..at + length) else {
            return Err(shared.source.set.mismatch("a file lies outside its member").into());
        };
        shared.sink.part(&pending.file, &pending.state, *from, bytes)?;
        let checksum = (*from, *length as u64, crc32c::crc32c(bytes));
        pending.checksums.lock().unwrap_or_else(PoisonError::into_inner).push(checksum);
        shared.meter.add(*length as u64);
        if pending.count(*length as u64) {
            shared.ended(pending)?;
        }
    }
    shared.sink.member_done(member);
    Ok(())
}

/// What a member holds, in words.
fn holds<F>(parts: &[Part<F>]) -> String {
    let names = parts.iter().take(3).map(|part| part.pending.file.path.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    match parts.len() {
        0 => String::from("no file that is needed"),
        1..=3 => names,
        more => format!("{names} and {} more", more - 3),
    }
}
