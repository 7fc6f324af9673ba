//! The one place where the tar stream becomes the stored object: members in order, encrypted,
//! tagged, written, and noted in both manifests. Owns the order of the manifest's lines.

use super::error::BackupError;
use super::pg_manifest::PgManifest;
use super::pipeline::{Assemble, BadPage, LaidOut, Piece, Slot};
use super::tar_layout::TarMeta;
use crate::engine::crypto::Protection;
use crate::engine::repository::manifest::{self, ManifestWriter, Member};
use crate::engine::repository::meter::Meter;
use crate::engine::repository::sealed::{self, SealedWriter};
use flate2::write::GzEncoder;
use std::sync::{Arc, Mutex, PoisonError};

/// Bad pages that are named one by one; the rest are counted.
const BAD_PAGES_NAMED: usize = 100;

/// The set's manifest as it is written.
pub type SetManifest = ManifestWriter<GzEncoder<SealedWriter>>;

/// PostgreSQL's manifest while data files are read. The caller takes it out to end it.
pub type SharedPgManifest = Arc<Mutex<Option<PgManifest>>>;

/// Puts members together.
#[derive(Debug)]
pub struct Assembler<'a> {
    pub set: String,
    pub protection: Protection,
    pub object: SealedWriter,
    pub manifest: SetManifest,
    pub pg_manifest: SharedPgManifest,
    pub meter: &'a Meter<'a>,
    pub bad_pages: BadPages,
    /// The file whose end has not come yet, with its checksum so far.
    pub open_file: Option<OpenFile>,
    /// Members that wait for that file's line.
    pub held: Vec<Member>,
}

/// Pages whose checksum did not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadPages {
    pub count: u64,
    /// The first of them.
    pub named: Vec<BadPage>,
}

/// A file of which a part has come.
#[derive(Debug)]
pub struct OpenFile {
    file: Arc<LaidOut>,
    crc32c: u32,
    done: u64,
}

impl Assemble for Assembler<'_> {
    fn member(&mut self, slot: &mut Slot) -> Result<(), BackupError> {
        let stored = self.object.put(&slot.packed)?;
        let member = Member {
            index: slot.index,
            offset: stored.offset,
            length: stored.bytes.len() as u64,
            tar: slot.tar_at,
            tar_length: slot.filled as u64,
            tag: sealed::member_tag(
                &self.protection,
                &self.set,
                slot.index,
                &stored.previous,
                stored.bytes,
            ),
        };
        for directory in slot.directories.drain(..) {
            self.manifest.directory(directory)?;
        }
        let mut bytes = 0;
        for piece in &slot.pieces {
            bytes += piece.length as u64;
            self.piece(piece)?;
        }
        self.held.push(member);
        self.release()?;
        self.bad_pages.count += slot.bad_pages.len() as u64;
        let room = BAD_PAGES_NAMED.saturating_sub(self.bad_pages.named.len());
        self.bad_pages.named.extend(slot.bad_pages.drain(..).take(room));
        self.meter.add(bytes);
        Ok(())
    }
}

impl Assembler<'_> {
    fn piece(&mut self, piece: &Piece) -> Result<(), BackupError> {
        let mut open = match self.open_file.take() {
            Some(open) => open,
            None => OpenFile { file: Arc::clone(&piece.file), crc32c: 0, done: 0 },
        };
        open.crc32c = if open.done == 0 {
            piece.crc32c
        } else {
            crc32c::crc32c_combine(open.crc32c, piece.crc32c, piece.length)
        };
        open.done += piece.length as u64;
        if open.done < open.file.meta.size {
            self.open_file = Some(open);
            return Ok(());
        }
        let LaidOut { path, meta: TarMeta { size, mode, mtime, .. }, at, .. } = &*open.file;
        let (size, mode, mtime) = (*size, *mode, *mtime);
        let mut pg = self.pg_manifest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pg) = &mut *pg {
            pg.file(path, size, mtime, open.crc32c).map_err(BackupError::spool)?;
        }
        drop(pg);
        self.manifest.file(manifest::File {
            path: path.clone(),
            size,
            mode,
            mtime,
            crc32c: open.crc32c,
            at: *at,
        })?;
        self.release()
    }

    /// Writes the members that every file's line has come for.
    fn release(&mut self) -> Result<(), BackupError> {
        if self.open_file.is_none() {
            for member in self.held.drain(..) {
                self.manifest.member(member)?;
            }
        }
        Ok(())
    }
}
