//! Large objects as streams: encrypted and digested as they are written, proven before they are
//! read. Owns the object's outer form (OpenSSL's envelope, or plain bytes where the repository is
//! not encrypted) and the tags of a base backup's members; knows nothing of what is inside.

use super::alternates::Alternates;
use super::member::BLOCK;
use super::open_set::ScanError;
use super::store::{ObjectWriter, Store, StoreError};
use crate::engine::crypto::envelope::{self, Encryptor, HEADER_LEN, SALT_LEN, StreamKey};
use crate::engine::crypto::sha::Sha256;
use crate::engine::crypto::{Decryptor, EnvelopeError, Protection};
use std::io::{self, Read, Write};

/// What a tag of a member is for; part of the tag.
const MEMBER: &str = "base-member";

/// Bytes that are read, proven and handed on at once.
const PIECE: usize = 1 << 20;

/// Why an object could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{key} is not what was written: its SHA-256 does not fit the set's descriptor")]
    Digest { key: String },
    #[error("{key} could not be opened: {source}")]
    Envelope { key: String, source: EnvelopeError },
    #[error("no random bytes: {0}")]
    Random(String),
    #[error("could not write {key}: {source}")]
    Write { key: String, source: io::Error },
}

/// An object's size and digest, as the set's descriptor keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub sha256: [u8; 32],
}

/// The tag of a member: over the set, the member's index, the block before it and its bytes.
#[must_use]
pub fn member_tag(
    protection: &Protection,
    set: &str,
    index: u64,
    previous: &[u8; BLOCK],
    stored: &[u8],
) -> [u8; 32] {
    protection.tag(MEMBER, &[set.as_bytes(), &index.to_be_bytes(), previous, stored])
}

/// Whether `tag` is that of the member.
#[must_use]
pub fn member_fits(
    protection: &Protection,
    set: &str,
    index: u64,
    previous: &[u8; BLOCK],
    stored: &[u8],
    tag: &[u8],
) -> bool {
    protection.verify(MEMBER, &[set.as_bytes(), &index.to_be_bytes(), previous, stored], tag)
}

/// An object that is being written.
pub struct SealedWriter {
    key: String,
    out: Box<dyn ObjectWriter>,
    cipher: Option<Encryptor>,
    stored: Vec<u8>,
    sha: Sha256,
    size: u64,
    /// The newest stored block; before the first, the stream's IV, or zero without encryption.
    previous: [u8; BLOCK],
}

impl std::fmt::Debug for SealedWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedWriter").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A piece as it was stored.
#[derive(Debug)]
pub struct Stored<'a> {
    /// First byte in the object.
    pub offset: u64,
    /// The block before.
    pub previous: [u8; BLOCK],
    pub bytes: &'a [u8],
}

impl SealedWriter {
    /// Begins the object; encrypted where `protection` is a key.
    ///
    /// # Errors
    /// Where the name is taken, or the store does not take it.
    pub fn create(
        store: &dyn Store,
        key: &str,
        protection: &Protection,
    ) -> Result<Self, SealedError> {
        let mut writer = Self {
            key: key.to_owned(),
            out: store.create(key)?,
            cipher: None,
            stored: Vec::new(),
            sha: Sha256::new(),
            size: 0,
            previous: [0; BLOCK],
        };
        if let Some(data_key) = protection.key() {
            let mut salt = [0; SALT_LEN];
            getrandom::fill(&mut salt).map_err(|e| SealedError::Random(e.to_string()))?;
            let stream = StreamKey::derive(data_key.passphrase(), &salt);
            writer.previous = *stream.iv();
            writer.cipher = Some(Encryptor::new(&stream));
            let header = envelope::header(&salt);
            writer.sha.update(header);
            writer.size = HEADER_LEN as u64;
            writer.send(&header)?;
        }
        Ok(writer)
    }

    /// Appends `plain`. What is stored of it at once are whole blocks: all of it, where all that
    /// came before and `plain` itself are.
    ///
    /// # Errors
    /// Where the store does not take it.
    pub fn put(&mut self, plain: &[u8]) -> Result<Stored<'_>, SealedError> {
        let (offset, previous) = (self.size, self.previous);
        let mut stored = std::mem::take(&mut self.stored);
        stored.clear();
        match &mut self.cipher {
            Some(cipher) => cipher.update(plain, &mut stored),
            None => stored.extend_from_slice(plain),
        }
        self.sha.update(&stored);
        let sent = self.send(&stored);
        self.size += stored.len() as u64;
        if let Some(last) = stored.last_chunk::<BLOCK>() {
            self.previous = *last;
        }
        self.stored = stored;
        sent.map(|()| Stored { offset, previous, bytes: &self.stored })
    }

    /// Makes the object durable and visible.
    ///
    /// # Errors
    /// Where the store does not take it.
    pub fn finish(mut self) -> Result<Sum, SealedError> {
        if let Some(cipher) = self.cipher.take() {
            let mut last = Vec::new();
            cipher.finish(&mut last);
            self.sha.update(&last);
            self.size += last.len() as u64;
            self.send(&last)?;
        }
        self.out.finish()?;
        Ok(Sum { key: self.key, size: self.size, sha256: self.sha.finalize() })
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), SealedError> {
        self.out
            .write_all(bytes)
            .map_err(|source| SealedError::Write { key: self.key.clone(), source })
    }
}

impl Write for SealedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The stream key of an object, by its first bytes; `None` where it is not encrypted.
///
/// # Errors
/// Where it could not be read, or is no envelope.
pub fn stream_key(
    store: &dyn Store,
    key: &str,
    protection: &Protection,
) -> Result<Option<StreamKey>, SealedError> {
    let Some(data_key) = protection.key() else { return Ok(None) };
    let mut header = [0; HEADER_LEN];
    store.read_range(key, 0, &mut header)?;
    let salt = envelope::salt_of(&header)
        .map_err(|source| SealedError::Envelope { key: key.to_owned(), source })?;
    Ok(Some(StreamKey::derive(data_key.passphrase(), &salt)))
}

/// Reads an object as a stream, of which no byte is handed out unproven and no more than a piece
/// is held: a first pass compares the whole with the descriptor's digest and keeps a digest of
/// each piece, the second compares each piece with its own before it is used.
pub struct SealedReader<'a> {
    copies: &'a Alternates<'a>,
    sum: Sum,
    pieces: Vec<[u8; 32]>,
    next: usize,
    cipher: Option<Decryptor>,
    plain: Vec<u8>,
    at: usize,
    ended: bool,
}

impl std::fmt::Debug for SealedReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedReader").field("key", &self.sum.key).finish_non_exhaustive()
    }
}

impl<'a> SealedReader<'a> {
    /// Reads the whole object once and proves it.
    ///
    /// # Errors
    /// Where no copy of it could be read or is what the descriptor says.
    pub fn open(
        copies: &'a Alternates<'_>,
        sum: Sum,
        protection: &Protection,
    ) -> Result<Self, ScanError> {
        let what = || sum.key.clone();
        let (pieces, cipher) = copies.attempt(&what, |_, store| {
            let (mut whole, mut pieces) = (Sha256::new(), Vec::new());
            while let Some(piece) = fetch(store, &sum, pieces.len())? {
                whole.update(&piece);
                pieces.push(Sha256::digest(&piece));
            }
            let whole: [u8; 32] = whole.finalize();
            if whole != sum.sha256 || store.size(&sum.key)? != sum.size {
                return Err(SealedError::Digest { key: sum.key.clone() }.into());
            }
            let key = stream_key(store, &sum.key, protection)?;
            Ok((pieces, key.map(|key| Decryptor::new(&key))))
        })?;
        Ok(Self { copies, pieces, next: 0, cipher, plain: Vec::new(), at: 0, ended: false, sum })
    }

    fn refill(&mut self) -> Result<(), ScanError> {
        self.plain.clear();
        self.at = 0;
        if self.next >= self.pieces.len() {
            self.ended = true;
            if let Some(cipher) = self.cipher.take() {
                let failed = |source| SealedError::Envelope { key: self.sum.key.clone(), source };
                cipher.finish(&mut self.plain).map_err(failed)?;
            }
            return Ok(());
        }
        let what = || format!("piece {} of {}", self.next, self.sum.key);
        let piece = self.copies.attempt(&what, |_, store| {
            let piece = fetch(store, &self.sum, self.next)?.unwrap_or_default();
            let found: [u8; 32] = Sha256::digest(&piece);
            if self.pieces.get(self.next) == Some(&found) {
                Ok(piece)
            } else {
                Err(SealedError::Digest { key: self.sum.key.clone() }.into())
            }
        })?;
        let skip = if self.next == 0 && self.cipher.is_some() { HEADER_LEN } else { 0 };
        let content = piece.get(skip..).unwrap_or_default();
        match &mut self.cipher {
            Some(cipher) => cipher.update(content, &mut self.plain),
            None => self.plain.extend_from_slice(content),
        }
        self.next += 1;
        Ok(())
    }
}

/// A piece as it is stored; `None` after the last.
fn fetch(store: &dyn Store, sum: &Sum, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let from = (index as u64).saturating_mul(PIECE as u64);
    let length = sum.size.saturating_sub(from).min(PIECE as u64);
    if length == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; length as usize];
    store.read_range(&sum.key, from, &mut piece)?;
    Ok(Some(piece))
}

impl Read for SealedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.plain.len() && !self.ended {
            self.refill().map_err(io::Error::other)?;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let take = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..take), rest.get(..take)) {
            to.copy_from_slice(from);
        }
        self.at += take;
        Ok(take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::store::posix::FileStore;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn reads_back_as_written(
            pieces in prop::collection::vec((any::<u8>(), 0usize..900_000), 0..5),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let store = FileStore::for_tests(folder.path());
            let mut writer =
                SealedWriter::create(&store, "object", &Protection::Digest).unwrap();
            let mut content = Vec::new();
            for (byte, length) in pieces {
                let piece = vec![byte; length];
                writer.write_all(&piece).unwrap();
                content.extend_from_slice(&piece);
            }
            let sum = writer.finish().unwrap();
            let copies = Alternates::one(&store);
            let mut reader = SealedReader::open(&copies, sum, &Protection::Digest).unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            prop_assert!(read == content);
        }
    }

    #[test]
    fn a_change_between_the_passes_is_seen_before_its_bytes_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::for_tests(folder.path());
        let mut writer = SealedWriter::create(&store, "object", &Protection::Digest).unwrap();
        writer.write_all(&vec![7; 3 << 20]).unwrap();
        let sum = writer.finish().unwrap();
        let copies = Alternates::one(&store);
        let mut reader = SealedReader::open(&copies, sum.clone(), &Protection::Digest).unwrap();
        let path = folder.path().join("object");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2 << 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut read = Vec::new();
        assert!(reader.read_to_end(&mut read).is_err());
        assert_eq!(read.len(), 2 << 20, "the changed piece was not handed out");
        let again = SealedReader::open(&copies, sum, &Protection::Digest);
        assert!(matches!(again, Err(ScanError::Sealed(SealedError::Digest { .. }))));
    }
}
