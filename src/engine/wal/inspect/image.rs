//! Page images inside records, and the rows on them. Owns the block headers in full and the three
//! compressions of images; never tells a catalog from a table.

use super::bytes::{u8_at, u16_at, u32_at};
use super::history::RelationFile;
use super::record::{HAS_IMAGE, IMAGE_HAS_HOLE, Record, SAME_RELATION};

/// Bytes of a data page, as every packaged server has it. A server built otherwise yields no rows,
/// not wrong ones.
const PAGE: usize = 8192;
const HAS_DATA: u8 = 0x20;

/// One block of a record, with what the record carries for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    pub relation: RelationFile,
    /// 0 is the relation's own data.
    pub fork: u8,
    pub block: u32,
    pub image: Option<Image<'a>>,
    pub data: &'a [u8],
}

/// A page as it was after the record, without the hole in its middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    bytes: &'a [u8],
    hole_offset: usize,
    hole_length: usize,
    packing: Packing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Pglz,
    Lz4,
    Zstd,
}

struct Head {
    relation: RelationFile,
    fork: u8,
    block: u32,
    data: usize,
    image: Option<(usize, usize, usize, Packing)>,
}

/// Every block of `record`. `None` where its inside contradicts itself.
#[must_use]
pub fn blocks<'a>(record: &Record<'a>) -> Option<Vec<Block<'a>>> {
    let data = record.data;
    let mut heads: Vec<Head> = Vec::new();
    let mut relation = None;
    let (mut at, mut payload) = (0_usize, 0_usize);
    while data.len().saturating_sub(at) > payload {
        let id = u8_at(data, at)?;
        at += 1;
        match id {
            // The main data is announced last.
            255 => {
                at += 1;
                break;
            }
            254 => {
                at += 4;
                break;
            }
            253 => at += 2,
            252 => at += 4,
            0..=32 => {
                let flags = u8_at(data, at)?;
                let length = usize::from(u16_at(data, at + 1)?);
                at += 3;
                let mut image = None;
                if flags & HAS_IMAGE != 0 {
                    let stored = usize::from(u16_at(data, at)?);
                    let offset = usize::from(u16_at(data, at + 2)?);
                    let info = u8_at(data, at + 4)?;
                    at += 5;
                    let packing = packing(info, record.version);
                    let hole = if info & IMAGE_HAS_HOLE == 0 {
                        0
                    } else if packing == Packing::None {
                        PAGE.checked_sub(stored)?
                    } else {
                        at += 2;
                        usize::from(u16_at(data, at - 2)?)
                    };
                    payload = payload.checked_add(stored)?;
                    image = Some((stored, offset, hole, packing));
                }
                if flags & SAME_RELATION == 0 {
                    relation = Some(RelationFile {
                        tablespace: u32_at(data, at)?,
                        database: u32_at(data, at + 4)?,
                        file: u32_at(data, at + 8)?,
                    });
                    at += 12;
                }
                let block = u32_at(data, at)?;
                at += 4;
                payload = payload.checked_add(length)?;
                let length = if flags & HAS_DATA == 0 { 0 } else { length };
                let relation = relation?;
                heads.push(Head { relation, fork: flags & 0x0F, block, data: length, image });
            }
            _ => return None,
        }
    }
    let mut take = |length: usize| {
        let part = data.get(at..at.checked_add(length)?)?;
        at += length;
        Some(part)
    };
    heads
        .into_iter()
        .map(|head| {
            let image = match head.image {
                Some((stored, hole_offset, hole_length, packing)) => {
                    Some(Image { bytes: take(stored)?, hole_offset, hole_length, packing })
                }
                None => None,
            };
            let data = take(head.data)?;
            Some(Block { relation: head.relation, fork: head.fork, block: head.block, image, data })
        })
        .collect()
}

fn packing(info: u8, version: u32) -> Packing {
    match (version < 15, info) {
        (true, i) if i & 0x02 != 0 => Packing::Pglz,
        (false, i) if i & 0x04 != 0 => Packing::Pglz,
        (false, i) if i & 0x08 != 0 => Packing::Lz4,
        (false, i) if i & 0x10 != 0 => Packing::Zstd,
        _ => Packing::None,
    }
}

impl Image<'_> {
    /// The whole page. `None` where it does not unpack to one.
    #[must_use]
    pub fn page(&self) -> Option<Vec<u8>> {
        let length = PAGE.checked_sub(self.hole_length)?;
        let mut page = match self.packing {
            Packing::None => self.bytes.to_vec(),
            Packing::Pglz => pglz(self.bytes, length)?,
            Packing::Lz4 => lz4(self.bytes, length)?,
            Packing::Zstd => zstd::bulk::decompress(self.bytes, length).ok()?,
        };
        if page.len() != length || self.hole_offset > length {
            return None;
        }
        let tail = page.split_off(self.hole_offset);
        page.resize(page.len() + self.hole_length, 0);
        page.extend_from_slice(&tail);
        Some(page)
    }
}

/// Rows on a heap page: line number and content behind the row's header.
#[must_use]
pub fn rows(page: &[u8]) -> Vec<(u16, &[u8])> {
    let lower = usize::from(u16_at(page, 12).unwrap_or(0)).min(page.len());
    let lines = lower.saturating_sub(24) / 4;
    let row = |index: usize| {
        let line = u32_at(page, 24 + index * 4)?;
        let (at, state, length) = (line & 0x7FFF, (line >> 15) & 3, line >> 17);
        if state != 1 {
            return None;
        }
        let whole = page.get(at as usize..(at as usize).checked_add(length as usize)?)?;
        let content = whole.get(usize::from(u8_at(whole, 22)?)..)?;
        Some((u16::try_from(index + 1).ok()?, content))
    };
    (0..lines).filter_map(row).collect()
}

/// PostgreSQL's own compression: a byte of eight flags, then a literal or a distance for each.
fn pglz(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut at = 0;
    while at < bytes.len() && out.len() < length {
        let flags = u8_at(bytes, at)?;
        at += 1;
        for bit in 0..8 {
            if at >= bytes.len() || out.len() >= length {
                break;
            }
            if flags & (1 << bit) == 0 {
                out.push(u8_at(bytes, at)?);
                at += 1;
                continue;
            }
            let (low, high) = (u8_at(bytes, at)?, u8_at(bytes, at + 1)?);
            at += 2;
            let mut count = usize::from(low & 0x0F) + 3;
            let distance = (usize::from(low & 0xF0) << 4) | usize::from(high);
            if count == 18 {
                count += usize::from(u8_at(bytes, at)?);
                at += 1;
            }
            let room = length - out.len();
            repeat(&mut out, distance, count.min(room))?;
        }
    }
    (out.len() == length).then_some(out)
}

/// One LZ4 block: literals and a distance by turns.
fn lz4(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    let mut at = 0;
    let long = |at: &mut usize, short: u8| {
        let mut total = usize::from(short);
        if short == 15 {
            loop {
                let more = u8_at(bytes, *at)?;
                *at += 1;
                total += usize::from(more);
                if more != 255 {
                    break;
                }
            }
        }
        Some(total)
    };
    while at < bytes.len() {
        let token = u8_at(bytes, at)?;
        at += 1;
        let literals = long(&mut at, token >> 4)?;
        out.extend_from_slice(bytes.get(at..at.checked_add(literals)?)?);
        at += literals;
        if at >= bytes.len() {
            break; // The last sequence has literals alone.
        }
        let distance = usize::from(u16_at(bytes, at)?);
        at += 2;
        let count = long(&mut at, token & 0x0F)? + 4;
        if out.len().checked_add(count)? > length {
            return None;
        }
        repeat(&mut out, distance, count)?;
    }
    (out.len() == length).then_some(out)
}

fn repeat(out: &mut Vec<u8>, distance: usize, count: usize) -> Option<()> {
    let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
    for index in from..from + count {
        let byte = *out.get(index)?;
        out.push(byte);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::Lsn;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_content_panics(
            version in 14u32..=18, data in proptest::collection::vec(any::<u8>(), 0..600),
            length in 0usize..9000,
        ) {
            let lsn = Lsn(0x100_0028);
            let record = Record { lsn, end: lsn, xid: 7, info: 0, rmgr: 10, version, data: &data };
            if let Some(found) = blocks(&record) {
                for image in found.iter().filter_map(|b| b.image) {
                    let _ = image.page();
                }
            }
            let _ = rows(&data);
            for out in [pglz(&data, length), lz4(&data, length)].into_iter().flatten() {
                prop_assert_eq!(out.len(), length);
            }
        }
    }

    #[test]
    fn repeated_bytes_unpack() {
        // Three literals, then 18 + 2 bytes from three back.
        let packed = [0b1000, b'a', b'b', b'c', 0x0F, 3, 2];
        assert_eq!(pglz(&packed, 23).unwrap(), b"abcabcabcabcabcabcabcab");
        // Three literals, then 4 + 15 + 1 bytes from three back, then no literal.
        let packed = [0x3F, b'a', b'b', b'c', 3, 0, 1, 0x00];
        assert_eq!(lz4(&packed, 23).unwrap(), b"abcabcabcabcabcabcabcab");
    }
}
