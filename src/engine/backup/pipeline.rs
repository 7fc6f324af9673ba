//! The way of the bytes: laid out in tar order, read and compressed by many threads, put together
//! by one. Owns slots, threads and their order; what is done with a packed member is
//! [`super::assemble`]'s. Memory is the slots', whatever the cluster's size.
//!
//! ```text
//! layout (the caller's thread) ─ slot ─► workers: read, check pages, CRC, compress ─┐
//!      ▲                                                                           │
//!      └───────────── empty slots ◄── assembler: in order, encrypt, tag, store ◄───┘
//! ```

use super::error::BackupError;
use super::layout::Layout;
use super::page::{self, PageState};
use super::tar_layout::TarMeta;
use crate::engine::config::Codec;
use crate::engine::postgres::Lsn;
use crate::engine::repository::manifest::Directory;
use crate::engine::repository::member::{MemberError, Packer};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What all slots together may hold.
const MEMORY: u64 = 30 << 20;
/// More workers than this only wait for the one that encrypts, and each costs a compressor's
/// memory.
const MOST_WORKERS: usize = 8;

/// How often a page with a wrong checksum is read again: the server may be writing it.
const PAGE_READS: u32 = 5;

/// What the pipeline needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub workers: usize,
    /// Most tar bytes in a member.
    pub member_size: u64,
    pub codec: Codec,
    pub level: Option<u32>,
    /// Where the cluster has page checksums.
    pub pages: Option<Pages>,
}

/// What is needed to check pages.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// Bytes.
    pub size: u32,
    /// Pages in one file of a relation.
    pub segment_blocks: u32,
    /// The backup's start.
    pub start: Lsn,
}

/// A file as it stands in the tar.
#[derive(Debug)]
pub struct LaidOut {
    pub path: String,
    /// Where it is on the server.
    pub place: PathBuf,
    pub meta: TarMeta,
    /// Where its data begin in the tar stream.
    pub at: u64,
}

/// A part of a file inside one member.
#[derive(Debug)]
pub struct Piece {
    pub file: Arc<LaidOut>,
    /// First byte in the file.
    pub from: u64,
    /// First byte in the member.
    pub at: usize,
    pub length: usize,
    pub crc32c: u32,
    /// Where the bytes are still to be read.
    pub(super) handle: Option<Arc<File>>,
}

/// A page whose checksum does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPage {
    pub path: String,
    /// Counted from the relation's start.
    pub block: u32,
}

/// A member on its way, and its memory.
#[derive(Debug, Default)]
pub struct Slot {
    pub index: u64,
    /// First byte in the tar stream.
    pub tar_at: u64,
    /// Bytes of the tar stream.
    pub filled: usize,
    pub directories: Vec<Directory>,
    pub pieces: Vec<Piece>,
    pub packed: Vec<u8>,
    pub bad_pages: Vec<BadPage>,
    pub(super) plain: Vec<u8>,
}

/// Takes packed members, in order.
pub trait Assemble: Send {
    /// # Errors
    /// Ends the pipeline.
    fn member(&mut self, slot: &mut Slot) -> Result<(), BackupError>;
}

/// Runs `produce` with a layout while workers and `assembler` do their part; gives back both
/// their results. The pipeline's own failure goes before that of `produce`, which is then only
/// its echo.
///
/// # Errors
/// The first failure of any part.
pub fn run<A: Assemble, T>(
    settings: &Settings,
    mut assembler: A,
    produce: impl FnOnce(&mut Layout) -> Result<T, BackupError>,
) -> Result<(T, A), BackupError> {
    let workers = settings.workers.clamp(1, MOST_WORKERS);
    let slots = slot_count(workers, settings.member_size);
    let (free_sender, free) = channel();
    for _ in 0..slots {
        let plain = vec![0; settings.member_size as usize];
        let _ = free_sender.send(Slot { plain, ..Slot::default() });
    }
    let (jobs, job_receiver) = sync_channel::<Slot>(slots);
    let job_receiver = Mutex::new(job_receiver);
    let (done, finished) = channel();

    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (done, jobs) = (done.clone(), &job_receiver);
            scope.spawn(move || work(settings, jobs, &done));
        }
        drop(done);
        let assembling = scope
            .spawn(move || assemble(&mut assembler, &finished, &free_sender).map(|()| assembler));
        let mut layout = Layout::new(free, jobs, slots, settings.member_size);
        let produced = produce(&mut layout).and_then(|value| layout.end().map(|()| value));
        drop(layout);
        let assembled = assembling
            .join()
            .map_err(|_| BackupError::Internal(String::from("the assembling thread panicked")))?;
        match (assembled, produced) {
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(assembler), Ok(value)) => Ok((value, assembler)),
        }
    })
}

/// Enough that every worker has one while others wait to be assembled, within the memory.
fn slot_count(workers: usize, member_size: u64) -> usize {
    let most = usize::try_from(MEMORY / (2 * member_size).max(1)).unwrap_or(usize::MAX);
    (2 * workers + 2).min(most).max(2)
}

fn assemble(
    assembler: &mut impl Assemble,
    finished: &Receiver<Result<Slot, BackupError>>,
    free: &Sender<Slot>,
) -> Result<(), BackupError> {
    let mut waiting = std::collections::BTreeMap::new();
    let mut next = 0;
    for slot in finished {
        let slot = slot?;
        waiting.insert(slot.index, slot);
        while let Some(mut slot) = waiting.remove(&next) {
            assembler.member(&mut slot)?;
            slot.filled = 0;
            slot.pieces.clear();
            slot.directories.clear();
            slot.bad_pages.clear();
            // The layout may have ended already.
            let _ = free.send(slot);
            next += 1;
        }
    }
    Ok(())
}

fn work(
    settings: &Settings,
    jobs: &Mutex<Receiver<Slot>>,
    done: &Sender<Result<Slot, BackupError>>,
) {
    let _told = ToldOfPanic(done);
    let mut packer = match Packer::new(settings.codec, settings.level) {
        Ok(packer) => packer,
        Err(error) => {
            let _ = done.send(Err(error.into()));
            return;
        }
    };
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut slot) = job else { return };
        let packed = fill(&mut slot, settings.pages).and_then(|()| {
            let plain = slot.plain.get(..slot.filled).unwrap_or_default();
            packer.pack(plain, &mut slot.packed).map_err(|e: MemberError| e.into())
        });
        if done.send(packed.map(|()| slot)).is_err() {
            return;
        }
    }
}

/// A worker that panics takes its slot along, and everybody else would wait for it.
struct ToldOfPanic<'a>(&'a Sender<Result<Slot, BackupError>>);

impl Drop for ToldOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = BackupError::Internal(String::from("a worker panicked"));
            let _ = self.0.send(Err(error));
        }
    }
}

/// Reads what is not read yet, checks pages, and takes checksums.
fn fill(slot: &mut Slot, pages: Option<Pages>) -> Result<(), BackupError> {
    for piece in &mut slot.pieces {
        let Some(bytes) = slot.plain.get_mut(piece.at..piece.at + piece.length) else {
            return Err(BackupError::Internal(String::from("a piece is outside its member")));
        };
        if let Some(handle) = &piece.handle {
            read_or_zero(handle, bytes, piece.from)
                .map_err(|source| BackupError::Read { path: piece.file.place.clone(), source })?;
        }
        if let Some(pages) = pages {
            check_pages(piece, bytes, pages, &mut slot.bad_pages)?;
        }
        piece.crc32c = crc32c::crc32c(bytes);
        piece.handle = None;
    }
    Ok(())
}

fn check_pages(
    piece: &Piece,
    bytes: &mut [u8],
    pages: Pages,
    bad: &mut Vec<BadPage>,
) -> Result<(), BackupError> {
    let Some(first) = page::first_block(&piece.file.path, pages.segment_blocks) else {
        return Ok(());
    };
    let size = pages.size as usize;
    let before = u32::try_from(piece.from / u64::from(pages.size)).unwrap_or(u32::MAX);
    for (number, page) in bytes.chunks_exact_mut(size).enumerate() {
        let block = first.wrapping_add(before).wrapping_add(number as u32);
        if page::judge(page, block, pages.start) != PageState::Bad {
            continue;
        }
        let from = piece.from + (number * size) as u64;
        if !read_again(piece, page, from, block, pages.start)? {
            bad.push(BadPage { path: piece.file.path.clone(), block });
        }
    }
    Ok(())
}

/// A page that was half written when it was read is whole a moment later.
fn read_again(
    piece: &Piece,
    page: &mut [u8],
    from: u64,
    block: u32,
    start: Lsn,
) -> Result<bool, BackupError> {
    let failed = |source| BackupError::Read { path: piece.file.place.clone(), source };
    let opened;
    let handle = match &piece.handle {
        Some(handle) => handle.as_ref(),
        None => match File::open(&piece.file.place) {
            Ok(file) => {
                opened = file;
                &opened
            }
            // Dropped meanwhile: replay drops it too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed(error)),
        },
    };
    for attempt in 0..PAGE_READS {
        std::thread::sleep(std::time::Duration::from_millis(u64::from(attempt)));
        read_or_zero(handle, page, from).map_err(failed)?;
        if page::judge(page, block, start) != PageState::Bad {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fills `bytes` from the file; zero where the file has become shorter. Replay shortens it too.
pub(super) fn read_or_zero(file: &File, mut bytes: &mut [u8], mut from: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.read_at(bytes, from) {
            Ok(0) => {
                bytes.fill(0);
                return Ok(());
            }
            Ok(read) => {
                from += read as u64;
                bytes = bytes.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
