//! The tar stream in order: headers, files cut into members, the end. Owns where a member ends;
//! compresses nothing.

use super::error::BackupError;
use super::pipeline::{LaidOut, Piece, Slot, read_or_zero};
use super::tar_layout::{self, TAR_END, TarKind, TarMeta};
use crate::engine::repository::manifest::Directory;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// A member cuts a file only at multiples of this, PostgreSQL's largest page: a page is always
/// whole in one member.
const CUT: u64 = 32 << 10;
/// Less room than this at a member's end is not worth cutting a file for.
const LEAST_CUT: u64 = 64 << 10;
/// A file up to this size is read when it is laid out, so that no handle has to wait for a worker:
/// one member can hold hundreds of small files.
const READ_AT_ONCE: u64 = 64 << 10;
/// Lays folders and files out in tar order and cuts the stream into members.
#[derive(Debug)]
pub struct Layout {
    free: Receiver<Slot>,
    jobs: Option<SyncSender<Slot>>,
    slots: usize,
    /// Free slots that came back while everything was waited for.
    spare: Vec<Slot>,
    current: Option<Slot>,
    index: u64,
    tar_at: u64,
    member_size: u64,
}

impl Layout {
    /// `free` gives empty slots, of which there are `slots`; `jobs` takes full ones.
    pub(super) fn new(
        free: Receiver<Slot>,
        jobs: SyncSender<Slot>,
        slots: usize,
        member_size: u64,
    ) -> Self {
        Self {
            free,
            jobs: Some(jobs),
            slots,
            spare: Vec::new(),
            current: None,
            index: 0,
            tar_at: 0,
            member_size,
        }
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// Where the pipeline has stopped.
    pub fn directory(&mut self, path: &str, meta: &TarMeta) -> Result<(), BackupError> {
        let meta = TarMeta { kind: TarKind::Directory, size: 0, ..*meta };
        self.header(path, &meta)?;
        let directory = Directory { path: path.to_owned(), mode: meta.mode, mtime: meta.mtime };
        self.slot()?.directories.push(directory);
        Ok(())
    }

    /// Adds a file of exactly `meta.size` bytes; where `handle` has less, zeros.
    ///
    /// # Errors
    /// Where a small file could not be read, or the pipeline has stopped.
    pub fn file(
        &mut self,
        path: &str,
        place: PathBuf,
        meta: &TarMeta,
        handle: File,
    ) -> Result<(), BackupError> {
        self.header(path, meta)?;
        let laid_out = LaidOut { path: path.to_owned(), place, meta: *meta, at: self.position() };
        let (file, handle) = (Arc::new(laid_out), Arc::new(handle));
        let mut from = 0;
        loop {
            let rest = meta.size - from;
            let space = self.space();
            let take = if rest <= space { rest } else { space / CUT * CUT };
            if take < rest.min(LEAST_CUT) {
                self.flush()?;
                continue;
            }
            let slot = self.slot()?;
            let (at, length) = (slot.filled, take as usize);
            let mut piece =
                Piece { file: Arc::clone(&file), from, at, length, crc32c: 0, handle: None };
            if meta.size <= READ_AT_ONCE {
                let bytes = slot.plain.get_mut(at..at + length).unwrap_or_default();
                read_or_zero(&handle, bytes, from)
                    .map_err(|source| BackupError::Read { path: file.place.clone(), source })?;
            } else {
                piece.handle = Some(Arc::clone(&handle));
            }
            slot.pieces.push(piece);
            slot.filled += length;
            from += take;
            if from >= meta.size {
                break;
            }
        }
        self.raw(&[0; 512][..tar_layout::fill_up(meta.size)])
    }

    /// Adds a small file whose content is known.
    ///
    /// # Errors
    /// Where the pipeline has stopped.
    pub fn bytes(&mut self, path: &str, meta: &TarMeta, content: &[u8]) -> Result<(), BackupError> {
        let meta = TarMeta { kind: TarKind::File, size: content.len() as u64, ..*meta };
        self.header(path, &meta)?;
        let (place, at) = (PathBuf::from(path), self.position());
        let file = Arc::new(LaidOut { path: path.to_owned(), place, meta, at });
        let mut from = 0;
        loop {
            let rest = content.get(from..).unwrap_or_default();
            if self.space() == 0 {
                self.flush()?;
            }
            let (part, _) = rest.split_at(rest.len().min(self.space() as usize));
            let slot = self.slot()?;
            slot.pieces.push(Piece {
                file: Arc::clone(&file),
                from: from as u64,
                at: slot.filled,
                length: part.len(),
                crc32c: 0,
                handle: None,
            });
            self.raw(part)?;
            from += part.len();
            if from >= content.len() {
                break;
            }
        }
        self.raw(&[0; 512][..tar_layout::fill_up(meta.size)])
    }

    /// Waits until everything so far is assembled.
    ///
    /// # Errors
    /// Where the pipeline has stopped.
    pub fn drain(&mut self) -> Result<(), BackupError> {
        self.flush()?;
        self.spare.extend(self.current.take());
        while self.spare.len() < self.slots {
            let slot = self.free.recv().map_err(|_| stopped())?;
            self.spare.push(slot);
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        self.raw(&[0; TAR_END])?;
        self.flush()?;
        self.jobs = None;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.tar_at + self.current.as_ref().map_or(0, |slot| slot.filled as u64)
    }

    fn space(&self) -> u64 {
        self.member_size - self.current.as_ref().map_or(0, |slot| slot.filled as u64)
    }

    fn header(&mut self, path: &str, meta: &TarMeta) -> Result<(), BackupError> {
        let bytes = tar_layout::header(path, meta).map_err(BackupError::Write)?;
        self.raw(&bytes)
    }

    /// Bytes that no member boundary may cut, or that may be cut anywhere when they fit none.
    fn raw(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        if bytes.len() as u64 > self.space() {
            self.flush()?;
        }
        let slot = self.slot()?;
        let end = slot.filled + bytes.len();
        let Some(to) = slot.plain.get_mut(slot.filled..end) else {
            return Err(BackupError::Internal(String::from("a header is longer than a member")));
        };
        to.copy_from_slice(bytes);
        slot.filled = end;
        Ok(())
    }

    fn slot(&mut self) -> Result<&mut Slot, BackupError> {
        let slot = match self.current.take() {
            Some(slot) => slot,
            None => self.free_slot()?,
        };
        Ok(self.current.insert(slot))
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        let Some(mut slot) = self.current.take() else { return Ok(()) };
        if slot.filled == 0 {
            self.current = Some(slot);
            return Ok(());
        }
        slot.index = self.index;
        slot.tar_at = self.tar_at;
        self.index += 1;
        self.tar_at += slot.filled as u64;
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(slot).is_ok());
        if sent { Ok(()) } else { Err(stopped()) }
    }

    fn free_slot(&mut self) -> Result<Slot, BackupError> {
        match self.spare.pop() {
            Some(slot) => Ok(slot),
            None => self.free.recv().map_err(|_| stopped()),
        }
    }
}

/// Never seen by anybody: the failure that stopped the pipeline goes before it.
fn stopped() -> BackupError {
    BackupError::Internal(String::from("the backup's pipeline stopped"))
}
