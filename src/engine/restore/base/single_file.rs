//! A backup of the older kind: one compressed tar in one file, perhaps encrypted by
//! `openssl enc -aes-256-cbc -pbkdf2`, without a manifest. Read from its start to its end on one
//! thread; owns that reading, and shares the destination's rules.

use super::Options;
use super::destination::{Claim, Destination};
use super::error::RestoreError;
use super::sink::DataDirectory;
use crate::engine::backup::walk::CONTROL_FILE;
use crate::engine::crypto::Decryptor;
use crate::engine::crypto::envelope::{self, HEADER_LEN, MAGIC, StreamKey};
use crate::engine::repository::manifest::{self, Directory};
use crate::engine::repository::meter::Meter;
use crate::engine::repository::scan::{ScanError, Sink};
use crate::engine::runner::protocol::Unit;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What the operator must hear before such a backup is restored.
pub const UNAUTHENTICATED: &str = "This backup has no manifest. It cannot be proven that it is \
     complete, that nobody changed it, or that it fits the archived WAL; only its compression's \
     own checksum guards it. Use it only where nothing better is left.";

/// What is read and written at once.
const PIECE: usize = 256 << 10;

/// A restored backup of the older kind.
#[derive(Debug, Clone, PartialEq)]
pub struct SingleFileSummary {
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    pub seconds: f64,
    /// Names in the tar that were not restored, such as links.
    pub left_out: Vec<String>,
}

/// Restores `file` into `destination`, which must be empty or missing, or an unfinished restore of
/// the same file, which then begins again. `passphrase` is needed where the file is encrypted.
/// Show [`UNAUTHENTICATED`] first. Blocks.
///
/// # Errors
/// In every case `global/pg_control` is missing, so that nothing can be started by mistake.
pub fn restore_single_file(
    file: &Path,
    passphrase: Option<&[u8]>,
    destination: &Path,
    options: &Options<'_>,
) -> Result<SingleFileSummary, RestoreError> {
    let size = std::fs::metadata(file).map_err(RestoreError::io("read", file))?.len();
    let meter = Meter::new(options.progress, options.job, Unit::Bytes, size);
    meter.phase("reading the backup");
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let opened = File::open(file).map_err(RestoreError::io("read", file))?;
    let counted = Counted { inner: opened, meter: &meter, cancelled: options.cancelled };
    let plain = decrypted(BufReader::with_capacity(PIECE, counted), passphrase)?;
    let tar = inflated(plain)?;
    // How much it becomes is not known before it is read; its own size is the least.
    let claim = Claim {
        set: &name,
        total: size,
        spaces: BTreeMap::new(),
        owner: options.owner,
        version: 0,
        wal: None,
    };
    let place = Destination::claim(destination, claim)?;
    let sink = DataDirectory::new(&place);
    let mut unpack = Unpack { sink: &sink, strip: None, made: Vec::new(), files: 0, bytes: 0 };
    let left_out = unpack.all(tar)?;
    let Unpack { files, bytes, .. } = unpack;
    meter.phase("making sure that everything is on the disk");
    sink.finish()?;
    Ok(SingleFileSummary { files, bytes, seconds: meter.seconds(), left_out })
}

struct Counted<'a> {
    inner: File,
    meter: &'a Meter<'a>,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::other(ScanError::Cancelled));
        }
        let read = self.inner.read(buffer)?;
        self.meter.add(read as u64);
        Ok(read)
    }
}

/// Reads through OpenSSL's envelope, if there is one.
fn decrypted<'a, R: BufRead + 'a>(
    mut input: R,
    passphrase: Option<&[u8]>,
) -> Result<Box<dyn BufRead + 'a>, RestoreError> {
    let mut header = [0; HEADER_LEN];
    if !input.fill_buf().map_err(unreadable)?.starts_with(MAGIC) {
        return Ok(Box::new(input));
    }
    input.read_exact(&mut header).map_err(unreadable)?;
    let failed = |error: envelope::EnvelopeError| RestoreError::NoDataDirectory(error.to_string());
    let salt = envelope::salt_of(&header).map_err(failed)?;
    let passphrase = passphrase.ok_or_else(|| {
        RestoreError::NoDataDirectory(String::from("it is encrypted, and no key was given"))
    })?;
    let cipher = Some(Decryptor::new(&StreamKey::derive(passphrase, &salt)));
    let reader = Decrypting { input, cipher, plain: Vec::new(), at: 0 };
    Ok(Box::new(BufReader::with_capacity(PIECE, reader)))
}

struct Decrypting<R> {
    input: R,
    cipher: Option<Decryptor>,
    plain: Vec<u8>,
    at: usize,
}

impl<R: BufRead> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.plain.len() {
            self.plain.clear();
            self.at = 0;
            let Some(cipher) = &mut self.cipher else { return Ok(0) };
            let input = self.input.fill_buf()?;
            let length = input.len();
            if length > 0 {
                cipher.update(input, &mut self.plain);
                self.input.consume(length);
            } else if let Some(cipher) = self.cipher.take() {
                cipher.finish(&mut self.plain).map_err(io::Error::other)?;
            }
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let read = (&mut &*rest).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

fn inflated<'a>(mut input: Box<dyn BufRead + 'a>) -> Result<Box<dyn Read + 'a>, RestoreError> {
    let start = input.fill_buf().map_err(unreadable)?;
    match start {
        [0x1F, 0x8B, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(unreadable)?;
            Ok(Box::new(decoder))
        }
        bytes if bytes.get(257..262) == Some(&b"ustar"[..]) => Ok(Box::new(input)),
        _ => Err(RestoreError::NoDataDirectory(String::from(
            "it is neither gzip nor zstd nor tar; the key may be another one's",
        ))),
    }
}

struct Unpack<'a, 'b> {
    sink: &'a DataDirectory<'b>,
    /// The folder around the data directory in the tar, once known; empty where there is none.
    strip: Option<String>,
    made: Vec<String>,
    files: u64,
    bytes: u64,
}

impl Unpack<'_, '_> {
    fn all(&mut self, tar: Box<dyn Read + '_>) -> Result<Vec<String>, RestoreError> {
        let mut archive = tar::Archive::new(tar);
        let mut left_out = Vec::new();
        let mut control = false;
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let name = entry.path().map_err(unreadable)?.into_owned();
            let Some(path) = self.inside(&name, entry.header().entry_type()) else { continue };
            let header = entry.header();
            let mode = header.mode().map_err(unreadable)?;
            let mtime = i64::try_from(header.mtime().map_err(unreadable)?).unwrap_or(0);
            match header.entry_type() {
                tar::EntryType::Directory => {
                    self.parents(&format!("{path}/."))?;
                    self.sink.directory(&Directory { path, mode, mtime })?;
                }
                tar::EntryType::Regular | tar::EntryType::GNUSparse => {
                    self.parents(&path)?;
                    control |= path == CONTROL_FILE;
                    let size = entry.size();
                    let file = manifest::File { path, size, mode, mtime, crc32c: 0, at: 0 };
                    self.file(&file, &mut entry)?;
                }
                _ => left_out.push(name.display().to_string()),
            }
        }
        // What comes after the tar's end still has to be read: its checksum is there.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
        if !control {
            let why = String::from("it has no global/pg_control");
            return Err(RestoreError::NoDataDirectory(why));
        }
        // A server finds these missing where a backup left out what is in them.
        for folder in ["pg_wal", "pg_wal/archive_status", "pg_notify", "pg_replslot", "pg_stat_tmp"]
        {
            let path = String::from(folder);
            self.sink.directory(&Directory { path, mode: 0o700, mtime: 0 })?;
        }
        Ok(left_out)
    }

    fn file(&mut self, file: &manifest::File, input: &mut dyn Read) -> Result<(), RestoreError> {
        let target = self.sink.begin(file)?;
        let mut buffer = vec![0; PIECE];
        let mut from = 0;
        while from < file.size {
            let read = input.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            self.sink.part(file, &target, from, buffer.get(..read).unwrap_or_default())?;
            from += read as u64;
        }
        self.sink.end(file, &target)?;
        self.files += 1;
        self.bytes += file.size;
        Ok(())
    }

    /// The path relative to the data directory; `None` for the data directory itself. A tar made
    /// of the folder and not of its content has that folder's name before every path.
    fn inside(&mut self, name: &Path, kind: tar::EntryType) -> Option<String> {
        let clean: PathBuf = name
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)))
            .collect();
        if name.components().any(|part| part == std::path::Component::ParentDir) {
            return None;
        }
        let text = clean.to_str()?.to_owned();
        let first = text.split('/').next()?;
        let strip = self.strip.get_or_insert_with(|| {
            let known = ["PG_VERSION", "base", "global", "backup_label", "tablespace_map", "log"];
            let is_inside = known.contains(&first) || first.starts_with("pg_");
            let is_around = text.contains('/') || kind.is_dir();
            if is_around && !is_inside { first.to_owned() } else { String::new() }
        });
        let rest = if strip.is_empty() {
            text.as_str()
        } else {
            text.strip_prefix(strip.as_str())?.trim_start_matches('/')
        };
        (!rest.is_empty()).then(|| rest.to_owned())
    }

    /// Makes the folders above a path that the tar has not named.
    fn parents(&mut self, path: &str) -> Result<(), RestoreError> {
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            if !self.made.iter().any(|made| made == parent) {
                let path = parent.to_owned();
                self.made.push(path.clone());
                self.sink.directory(&Directory { path, mode: 0o700, mtime: 0 })?;
            }
        }
        Ok(())
    }
}

fn unreadable(error: io::Error) -> RestoreError {
    let cancelled = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ScanError>())
        .is_some_and(|inner| matches!(inner, ScanError::Cancelled));
    if cancelled { ScanError::Cancelled.into() } else { RestoreError::Unreadable(error) }
}
