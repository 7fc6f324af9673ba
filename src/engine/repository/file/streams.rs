//! The two ends of a single file's encryption: an input that is hashed as it is read, an output
//! that appears whole or not at all. Knows no key.

use super::FileError;
use crate::engine::crypto::envelope::{self, EnvelopeError};
use crate::engine::files;
use crate::engine::repository::store::posix::rename_new;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const CHUNK: usize = 1 << 20;

/// A file that is read once, and hashed on the way.
pub(super) struct Input {
    pub path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    count: usize,
    pub total: u64,
    pub sha256: Sha256,
}

impl Input {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            buffer: vec![0; CHUNK],
            count: 0,
            total: 0,
            sha256: Sha256::new(),
        })
    }

    pub fn salt(&mut self) -> Result<[u8; envelope::SALT_LEN], FileError> {
        let mut header = [0; envelope::HEADER_LEN];
        let failed = |why| FileError::Envelope { path: self.path.clone(), why };
        self.file.read_exact(&mut header).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => failed(EnvelopeError::Truncated),
            _ => FileError::Read { path: self.path.clone(), source },
        })?;
        let salt = envelope::salt_of(&header).map_err(failed)?;
        self.sha256.update(header);
        self.total = envelope::HEADER_LEN as u64;
        Ok(salt)
    }

    /// Reads on; false at the end.
    pub fn next(&mut self) -> Result<bool, FileError> {
        loop {
            match self.file.read(&mut self.buffer) {
                Ok(count) => {
                    self.count = count;
                    self.total += count as u64;
                    self.sha256.update(self.buffer.get(..count).unwrap_or_default());
                    return Ok(count > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(FileError::Read { path: self.path.clone(), source }),
            }
        }
    }

    pub fn chunk(&self) -> &[u8] {
        self.buffer.get(..self.count).unwrap_or_default()
    }
}

/// A file under its temporary name; gone when dropped unfinished.
pub(super) struct Output {
    pub path: PathBuf,
    temporary: Option<PathBuf>,
    file: File,
    pub total: u64,
    pub sha256: Sha256,
}

impl Output {
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path.to_owned()));
        }
        let temporary = files::temporary_beside(path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|source| FileError::Write { path: path.to_owned(), source })?;
        let (path, temporary) = (path.to_owned(), Some(temporary));
        Ok(Self { path, temporary, file, total: 0, sha256: Sha256::new() })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.total += bytes.len() as u64;
        self.sha256.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|source| FileError::Write { path: self.path.clone(), source })
    }

    pub fn finish(mut self) -> Result<(), FileError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(self.path.clone()),
            _ => FileError::Write { path: self.path.clone(), source },
        };
        self.file.sync_all().map_err(failed)?;
        if let Some(temporary) = &self.temporary {
            rename_new(temporary, &self.path).map_err(failed)?;
        }
        let synced = files::sync_parent(&self.path).map_err(failed);
        self.temporary = None;
        synced
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _ = fs::remove_file(temporary);
        }
    }
}
