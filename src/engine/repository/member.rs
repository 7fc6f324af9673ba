//! Members: the pieces that a base backup's tar stream is cut into. Owns how a piece is
//! compressed on its own and padded to whole cipher blocks; never encrypts, and touches no store.
//!
//! A gzip member is padded through its header's extra field, a zstd frame by a skippable frame
//! after it, so that `gunzip` and `zstd` read the pieces, one after another, as one file.

use crate::engine::config::Codec;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Every packed member is a multiple of this: the cipher's block.
pub const BLOCK: usize = 16;

/// Levels where the operator chose none: gzip 3 packs twice as fast as gzip's own 6 and loses
/// about four per cent; zstd 3 is zstd's own.
const DEFAULT_LEVEL: u32 = 3;

/// Bytes of a gzip member's header without an extra field, and of its trailer.
const GZIP_HEADER: usize = 10;
const GZIP_TRAILER: usize = 8;
const GZIP_EXTRA_FLAG: u8 = 4;
/// Room kept in front of the deflated bytes for the longest header.
const RESERVED: usize = 32;

/// The extra field's own length and one subfield's header.
const EXTRA_LEAST: usize = 6;
/// Magic number and length.
const SKIPPABLE_LEAST: usize = 8;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

/// Why a member could not be packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error("the compressor failed: {0}")]
    Pack(String),
    #[error("the compressed bytes are not what was written: {0}")]
    Unpack(String),
}

/// Compresses members, one at a time. Costs about half a megabyte; one a thread.
pub struct Packer {
    kind: PackerKind,
}

enum PackerKind {
    Gzip(Compress),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// # Errors
    /// Where the codec does not know the level.
    pub fn new(codec: Codec, level: Option<u32>) -> Result<Self, MemberError> {
        let level = level.unwrap_or(DEFAULT_LEVEL);
        let kind = match codec {
            Codec::Gzip if level <= 9 => {
                PackerKind::Gzip(Compress::new(Compression::new(level), false))
            }
            Codec::Gzip => return Err(MemberError::Pack(format!("gzip has no level {level}"))),
            Codec::Zstd => {
                let bad = |_| MemberError::Pack(format!("zstd has no level {level}"));
                let level_number = i32::try_from(level).unwrap_or(i32::MAX);
                let mut compressor = zstd::bulk::Compressor::new(level_number)
                    .map_err(|e| MemberError::Pack(e.to_string()))?;
                compressor.include_checksum(true).map_err(bad)?;
                PackerKind::Zstd(compressor)
            }
        };
        Ok(Self { kind })
    }

    /// Replaces `packed` by `plain`, compressed and padded to whole blocks.
    ///
    /// # Errors
    /// Where the codec fails.
    pub fn pack(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> Result<(), MemberError> {
        packed.clear();
        match &mut self.kind {
            PackerKind::Gzip(deflate) => pack_gzip(deflate, plain, packed),
            PackerKind::Zstd(compressor) => pack_zstd(compressor, plain, packed),
        }
    }
}

fn pack_gzip(
    deflate: &mut Compress,
    plain: &[u8],
    packed: &mut Vec<u8>,
) -> Result<(), MemberError> {
    deflate.reset();
    packed.resize(RESERVED, 0);
    packed.reserve(plain.len() + plain.len() / 64 + 1024);
    loop {
        let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = plain.get(read..).unwrap_or_default();
        let status = deflate
            .compress_vec(rest, packed, FlushCompress::Finish)
            .map_err(|e| MemberError::Pack(e.to_string()))?;
        match status {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => packed.reserve(64 << 10),
        }
    }
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    packed.extend_from_slice(&crc.sum().to_le_bytes());
    packed.extend_from_slice(&crc.amount().to_le_bytes());

    let bare = GZIP_HEADER + packed.len() - RESERVED;
    let extra = padding(bare, EXTRA_LEAST);
    let mut header = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    if extra > 0 {
        header[3] = GZIP_EXTRA_FLAG;
        // At most 21 bytes: each length fits its two bytes.
        header.extend_from_slice(&[(extra - 2) as u8, 0, b'L', b'B', (extra - EXTRA_LEAST) as u8]);
        header.resize(GZIP_HEADER + extra, 0);
    }
    packed.splice(..RESERVED, header);
    Ok(())
}

fn pack_zstd(
    compressor: &mut zstd::bulk::Compressor<'static>,
    plain: &[u8],
    packed: &mut Vec<u8>,
) -> Result<(), MemberError> {
    packed.reserve(zstd::zstd_safe::compress_bound(plain.len()) + 2 * BLOCK);
    compressor.compress_to_buffer(plain, packed).map_err(|e| MemberError::Pack(e.to_string()))?;
    let skip = padding(packed.len(), SKIPPABLE_LEAST);
    if skip > 0 {
        let rest = skip - SKIPPABLE_LEAST;
        packed.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        packed.extend_from_slice(&(rest as u32).to_le_bytes());
        packed.resize(packed.len() + rest, 0);
    }
    Ok(())
}

/// Bytes that make `length` a multiple of the block; zero, or at least `least`.
fn padding(length: usize, least: usize) -> usize {
    let bare = (BLOCK - length % BLOCK) % BLOCK;
    if bare == 0 || bare >= least { bare } else { bare + BLOCK }
}

/// Decompresses members, one at a time; one a thread.
pub struct Unpacker {
    kind: UnpackerKind,
}

enum UnpackerKind {
    Gzip(Decompress),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// # Errors
    /// Where the codec cannot be set up.
    pub fn new(codec: Codec) -> Result<Self, MemberError> {
        let kind = match codec {
            Codec::Gzip => UnpackerKind::Gzip(Decompress::new(false)),
            Codec::Zstd => UnpackerKind::Zstd(
                zstd::bulk::Decompressor::new().map_err(|e| MemberError::Unpack(e.to_string()))?,
            ),
        };
        Ok(Self { kind })
    }

    /// Replaces `plain` by the member's content, which must be `length` bytes.
    ///
    /// # Errors
    /// Where the bytes are not one whole member of that length with a fitting checksum.
    pub fn unpack(
        &mut self,
        packed: &[u8],
        length: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), MemberError> {
        plain.clear();
        plain.reserve(length);
        match &mut self.kind {
            UnpackerKind::Gzip(inflate) => unpack_gzip(inflate, packed, length, plain)?,
            UnpackerKind::Zstd(decompressor) => {
                // The skippable frame after the member holds nothing; zstd passes over it.
                decompressor
                    .decompress_to_buffer(packed, plain)
                    .map_err(|e| MemberError::Unpack(e.to_string()))?;
            }
        }
        if plain.len() == length {
            Ok(())
        } else {
            Err(MemberError::Unpack(format!("{} bytes instead of {length}", plain.len())))
        }
    }
}

fn unpack_gzip(
    inflate: &mut Decompress,
    packed: &[u8],
    length: usize,
    plain: &mut Vec<u8>,
) -> Result<(), MemberError> {
    let wrong = |what: &str| MemberError::Unpack(what.to_owned());
    let no_header = || wrong("no gzip header of ours");
    let (header, mut rest) = packed.split_at_checked(GZIP_HEADER).ok_or_else(no_header)?;
    match header {
        [0x1F, 0x8B, 8, 0, ..] => {}
        [0x1F, 0x8B, 8, GZIP_EXTRA_FLAG, ..] => {
            let (size, after) = rest.split_first_chunk::<2>().ok_or_else(no_header)?;
            let size = usize::from(u16::from_le_bytes(*size));
            rest = after.get(size..).ok_or_else(no_header)?;
        }
        _ => return Err(no_header()),
    }
    inflate.reset(false);
    // One byte more than needed, so that a longer content is seen and not cut off.
    plain.reserve(length + 1);
    let status = inflate
        .decompress_vec(rest, plain, FlushDecompress::Finish)
        .map_err(|e| MemberError::Unpack(e.to_string()))?;
    if status != Status::StreamEnd {
        return Err(wrong("the member ends early or is longer than its entry says"));
    }
    let read = usize::try_from(inflate.total_in()).unwrap_or(usize::MAX);
    let trailer = rest.get(read..).unwrap_or_default();
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    let expected = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()].concat();
    if trailer.len() == GZIP_TRAILER && trailer == expected {
        Ok(())
    } else {
        Err(wrong("the member's checksum does not fit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read;

    fn standard_reader<'a>(codec: Codec, bytes: &'a [u8]) -> Box<dyn Read + 'a> {
        match codec {
            Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        }
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            (any::<u8>(), 0usize..200_000).prop_map(|(byte, count)| vec![byte; count]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn members_are_whole_blocks_and_any_tool_reads_them(
            pieces in prop::collection::vec(content(), 1..5),
            zstd: bool,
        ) {
            let codec = if zstd { Codec::Zstd } else { Codec::Gzip };
            let mut packer = Packer::new(codec, None).unwrap();
            let mut unpacker = Unpacker::new(codec).unwrap();
            let (mut packed, mut plain, mut stream) = (Vec::new(), Vec::new(), Vec::new());
            for piece in &pieces {
                packer.pack(piece, &mut packed).unwrap();
                prop_assert_eq!(packed.len() % BLOCK, 0);
                unpacker.unpack(&packed, piece.len(), &mut plain).unwrap();
                prop_assert_eq!(&plain, piece);
                prop_assert!(unpacker.unpack(&packed, piece.len() + 1, &mut plain).is_err());
                stream.extend_from_slice(&packed);
            }
            let mut whole = Vec::new();
            standard_reader(codec, &stream).read_to_end(&mut whole).unwrap();
            prop_assert_eq!(whole, pieces.concat());
        }

        #[test]
        fn damaged_members_are_errors_never_panics(
            piece in prop::collection::vec(any::<u8>(), 1..3000),
            at: prop::sample::Index,
            bit in 0u8..8,
            cut: prop::sample::Index,
        ) {
            let mut packed = Vec::new();
            Packer::new(Codec::Gzip, None).unwrap().pack(&piece, &mut packed).unwrap();
            let mut unpacker = Unpacker::new(Codec::Gzip).unwrap();
            let mut plain = Vec::new();
            let cut = cut.index(packed.len());
            prop_assert!(unpacker.unpack(&packed[..cut], piece.len(), &mut plain).is_err());
            let at = at.index(packed.len());
            packed[at] ^= 1 << bit;
            // Flips in unused header bytes change nothing; no other flip gives other content.
            if unpacker.unpack(&packed, piece.len(), &mut plain).is_ok() {
                prop_assert_eq!(plain, piece);
            }
        }
    }

    #[test]
    fn a_longer_content_than_said_is_refused() {
        for codec in [Codec::Gzip, Codec::Zstd] {
            let mut packed = Vec::new();
            Packer::new(codec, None).unwrap().pack(&[7; 5000], &mut packed).unwrap();
            let mut plain = Vec::new();
            assert!(Unpacker::new(codec).unwrap().unpack(&packed, 4999, &mut plain).is_err());
        }
    }

    #[test]
    fn levels_that_do_not_exist_are_refused() {
        assert!(Packer::new(Codec::Gzip, Some(10)).is_err());
    }
}
