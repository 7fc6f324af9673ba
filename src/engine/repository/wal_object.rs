//! A WAL object's name and packing: what stands in `wal-archive/`. Owns the form of both; reads
//! and writes no store.

use super::RepositoryError;
use crate::engine::config::Codec;
use crate::engine::crypto::Protection;
use crate::engine::crypto::keyring::is_key_id;
use crate::engine::wal::WalFile;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, Read, Write};
use std::sync::LazyLock;

/// The folder of the archive.
pub const FOLDER: &str = "wal-archive/";
/// A WAL file is at most this large, bytes.
pub const LARGEST: u64 = 1 << 30;
/// Bytes of the tag that an object's name carries: half of HMAC-SHA256.
pub(super) const TAG_BYTES: usize = 16;
const PURPOSE: &str = "wal object";
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: u32 = 1;

/// `wal-archive/` for histories; one folder for each 16 leading digits for all else, which is
/// what a segment's name has in common with at most 4,096 others.
pub(super) fn folder_of(name: &str) -> Result<String, RepositoryError> {
    match WalFile::parse(name) {
        Some(WalFile::History { .. }) => Ok(FOLDER.to_owned()),
        Some(_) => Ok(format!("{FOLDER}{}/", name.get(..16).unwrap_or_default())),
        None => {
            let what = "a write-ahead log file";
            Err(RepositoryError::BadName { name: name.to_owned(), what })
        }
    }
}

/// What vouches for an object: over the file's name, the codec and all stored bytes.
pub(super) fn short_tag(
    protection: &Protection,
    name: &str,
    codec: Codec,
    stored: &[u8],
) -> [u8; TAG_BYTES] {
    let parts: [&[u8]; 3] = [name.as_bytes(), suffix_of(codec).as_bytes(), stored];
    protection.tag(PURPOSE, &parts).first_chunk().copied().unwrap_or_default()
}

fn suffix_of(codec: Codec) -> &'static str {
    match codec {
        Codec::Gzip => ".gz",
        Codec::Zstd => ".zst",
    }
}

/// `<file>[.<key id>].<tag>.gz|.zst[.enc]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectName {
    /// The whole key that it was read from.
    pub key: String,
    pub file: String,
    pub key_id: Option<String>,
    pub tag: Vec<u8>,
    pub codec: Codec,
}

impl ObjectName {
    /// Reads a key or a bare file name; `None` where it is no WAL object's.
    pub fn parse(key: &str) -> Option<Self> {
        let name = key.rsplit('/').next()?;
        let (name, encrypted) = match name.strip_suffix(".enc") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (name, codec) = match (name.strip_suffix(".gz"), name.strip_suffix(".zst")) {
            (Some(name), _) => (name, Codec::Gzip),
            (_, Some(name)) => (name, Codec::Zstd),
            _ => return None,
        };
        let (name, tag) = name.rsplit_once('.')?;
        let tag = HEXLOWER.decode(tag.as_bytes()).ok().filter(|t| t.len() == TAG_BYTES)?;
        let (file, key_id) = match encrypted {
            true => {
                name.rsplit_once('.').filter(|(_, id)| is_key_id(id)).map(|(f, i)| (f, Some(i)))?
            }
            false => (name, None),
        };
        let parsed = WalFile::parse(file)?;
        (parsed.to_string() == file).then(|| Self {
            key: key.to_owned(),
            file: file.to_owned(),
            key_id: key_id.map(str::to_owned),
            tag,
            codec,
        })
    }

    /// The name, without the folder.
    pub fn text(&self) -> String {
        let (tag, suffix) = (HEXLOWER.encode(&self.tag), suffix_of(self.codec));
        match &self.key_id {
            Some(id) => format!("{}.{id}.{tag}{suffix}.enc", self.file),
            None => format!("{}.{tag}{suffix}", self.file),
        }
    }
}

pub(super) fn compress(content: &[u8], codec: Codec, level: Option<u32>) -> io::Result<Vec<u8>> {
    match codec {
        Codec::Gzip => {
            let level = Compression::new(level.unwrap_or(GZIP_LEVEL).clamp(1, 9));
            let zeros = match zero_tail(content) {
                count if count > 0 && !ZERO_MEMBER.is_empty() => count,
                _ => 0,
            };
            let (head, _) = content.split_at(content.len() - zeros * ZEROS);
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(head.len() / 3), level);
            encoder.write_all(head)?;
            let mut packed = encoder.finish()?;
            for _ in 0..zeros {
                packed.extend_from_slice(&ZERO_MEMBER);
            }
            Ok(packed)
        }
        Codec::Zstd => {
            let level = i32::try_from(level.unwrap_or(ZSTD_LEVEL)).unwrap_or(i32::MAX).clamp(1, 19);
            let mut encoder = zstd::Encoder::new(Vec::with_capacity(content.len() / 3), level)?;
            encoder.include_checksum(true)?;
            encoder.write_all(content)?;
            encoder.finish()
        }
    }
}

/// Bytes of zeros that one ready-made gzip member stands for.
const ZEROS: usize = 1 << 20;

/// A segment that was switched early is mostly zeros: its tail costs nothing, and less room than
/// the fastest level would give it.
static ZERO_MEMBER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(&vec![0; ZEROS]);
    // Writing into memory does not fail; where it did, no tail is cut off.
    written.and_then(|()| encoder.finish()).unwrap_or_default()
});

/// How many times [`ZEROS`] bytes of zeros `content` ends in.
fn zero_tail(content: &[u8]) -> usize {
    let is_zero = |chunk: &&[u8]| chunk.iter().all(|b| *b == 0);
    content.rchunks_exact(ZEROS).take_while(|c| c.chunks(4096).all(|p| is_zero(&p))).count()
}

/// Which side failed.
#[derive(Debug)]
pub(super) enum Inflate {
    Input(io::Error),
    Output(io::Error),
    TooLong,
}

/// Unpacks to `output`, at most `limit` bytes.
pub(super) fn inflate(
    stored: &[u8],
    codec: Codec,
    limit: u64,
    output: &mut dyn Write,
) -> Result<u64, Inflate> {
    match codec {
        Codec::Gzip => copy(MultiGzDecoder::new(stored), limit, output),
        Codec::Zstd => {
            copy(zstd::Decoder::with_buffer(stored).map_err(Inflate::Input)?, limit, output)
        }
    }
}

fn copy(mut input: impl Read, limit: u64, output: &mut dyn Write) -> Result<u64, Inflate> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0_u64;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Inflate::Input(e)),
        };
        total += count as u64;
        if total > limit {
            return Err(Inflate::TooLong);
        }
        output.write_all(buffer.get(..count).unwrap_or_default()).map_err(Inflate::Output)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_reads_back(
            file in "0000000[1-9A-F](\\.history|[0-9A-F]{16}(\\.partial|\\.[0-9A-F]{8}\\.backup)?)",
            encrypted: bool,
            zstd: bool,
            tag: [u8; TAG_BYTES],
        ) {
            let codec = if zstd { Codec::Zstd } else { Codec::Gzip };
            let key_id = encrypted.then(|| "20250113T020000-9f3a2b1c".to_owned());
            let mut name =
                ObjectName { key: String::new(), file, key_id, tag: tag.to_vec(), codec };
            name.key = format!("{}{}", folder_of(&name.file).unwrap(), name.text());
            prop_assert_eq!(ObjectName::parse(&name.key), Some(name.clone()));
        }

        #[test]
        fn no_name_panics(name in ".*") {
            let _ = ObjectName::parse(&name);
            let _ = folder_of(&name);
        }

        #[test]
        fn packing_reads_back(content in proptest::collection::vec(any::<u8>(), 0..50_000)) {
            for codec in [Codec::Gzip, Codec::Zstd] {
                let mut output = Vec::new();
                let packed = compress(&content, codec, None).unwrap();
                prop_assert_eq!(inflate(&packed, codec, LARGEST, &mut output).ok(), Some(content.len() as u64));
                prop_assert_eq!(&output, &content);
            }
        }
    }

    #[test]
    fn names_of_other_things_are_none() {
        let tag = "00112233445566778899aabbccddeeff";
        for name in [
            "000000010000000000000003".to_owned(),
            format!("000000010000000000000003.{tag}.gz.enc"),
            format!("000000010000000000000003.20250113T020000-9f3a2b1c.{tag}.gz"),
            format!("000000010000000000000003.{tag}"),
            format!("000000010000000000000003.{}.gz", &tag[2..]),
            format!(".000000010000000000000003.{tag}.gz.0a1b.tmp"),
        ] {
            assert_eq!(ObjectName::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn a_tail_of_zeros_takes_no_room() {
        let mut segment = vec![0; 16 << 20];
        segment[..100_000].fill(7);
        for codec in [Codec::Gzip, Codec::Zstd] {
            let packed = compress(&segment, codec, None).unwrap();
            assert!(packed.len() < 40_000, "{codec:?}: {} bytes", packed.len());
            let mut output = Vec::new();
            assert_eq!(inflate(&packed, codec, LARGEST, &mut output).ok(), Some(16 << 20));
            assert!(output == segment);
        }
        assert_eq!(zero_tail(&segment), 15);
        assert_eq!(zero_tail(&vec![0; ZEROS - 1]), 0);
        assert_eq!(zero_tail(&vec![0; ZEROS]), 1);
    }

    #[test]
    fn what_unpacks_without_end_is_stopped() {
        let bomb = compress(&vec![0; 1 << 20], Codec::Zstd, None).unwrap().repeat(3);
        let stopped = inflate(&bomb, Codec::Zstd, (3 << 20) - 1, &mut io::sink());
        assert!(matches!(stopped, Err(Inflate::TooLong)));
    }
}
