//! One WAL record: its header's fields, its blocks and its main data. Owns the layout inside a
//! record; never interprets the main data.

use super::bytes::{u8_at, u16_at, u32_at};
use super::history::RelationFile;
use crate::engine::postgres::Lsn;

/// Resource managers whose records matter here.
pub mod rmgr {
    pub const XLOG: u8 = 0;
    pub const TRANSACTION: u8 = 1;
    pub const STORAGE: u8 = 2;
    pub const DATABASE: u8 = 4;
    pub const TABLESPACE: u8 = 5;
    pub const RELATION_MAP: u8 = 7;
    pub const STANDBY: u8 = 8;
    pub const HEAP2: u8 = 9;
    pub const HEAP: u8 = 10;
}

/// In a block's flags.
pub(super) const HAS_IMAGE: u8 = 0x10;
pub(super) const SAME_RELATION: u8 = 0x80;
/// In an image's.
pub(super) const IMAGE_HAS_HOLE: u8 = 0x01;

/// A record with a verified checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub lsn: Lsn,
    /// The next record begins here, or later.
    pub end: Lsn,
    /// 0 where it belongs to no transaction.
    pub xid: u32,
    pub info: u8,
    pub rmgr: u8,
    /// Major version of the server that wrote it.
    pub version: u32,
    /// Everything after the header.
    pub data: &'a [u8],
}

/// A block that a record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    pub relation: RelationFile,
    /// 0 is the relation's own data.
    pub fork: u8,
    pub block: u32,
}

/// A record's inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The first block, where there is any.
    pub block: Option<BlockRef>,
    /// The top transaction's number, where the record is a subtransaction's and says so.
    pub top_xid: Option<u32>,
    pub main: &'a [u8],
}

impl<'a> Record<'a> {
    /// The rest of the segment is empty after it.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.rmgr == rmgr::XLOG && self.info & 0xF0 == 0x40
    }

    /// Blocks and main data. `None` where the record's inside contradicts itself.
    #[must_use]
    pub fn parts(&self) -> Option<Parts<'a>> {
        let data = self.data;
        let mut parts = Parts { block: None, top_xid: None, main: &[] };
        let mut relation = None;
        let (mut at, mut payload, mut main) = (0_usize, 0_usize, 0_usize);
        // The headers end where as many bytes are left as they have announced.
        while data.len().saturating_sub(at) > payload {
            let id = u8_at(data, at)?;
            at += 1;
            match id {
                255 | 254 => {
                    let width = if id == 255 { 1 } else { 4 };
                    let length = match id {
                        255 => usize::from(u8_at(data, at)?),
                        _ => u32_at(data, at)? as usize,
                    };
                    at += width;
                    main = length;
                    payload = payload.checked_add(length)?;
                    break;
                }
                253 => at += 2,
                252 => {
                    parts.top_xid = Some(u32_at(data, at)?);
                    at += 4;
                }
                0..=32 => {
                    let flags = u8_at(data, at)?;
                    payload = payload.checked_add(usize::from(u16_at(data, at + 1)?))?;
                    at += 3;
                    if flags & HAS_IMAGE != 0 {
                        payload = payload.checked_add(usize::from(u16_at(data, at)?))?;
                        let image = u8_at(data, at + 4)?;
                        at += 5;
                        if image & IMAGE_HAS_HOLE != 0 && image & self.image_compressed() != 0 {
                            at += 2;
                        }
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
                    if parts.block.is_none() {
                        let relation = relation?;
                        parts.block = Some(BlockRef { relation, fork: flags & 0x0F, block });
                    }
                }
                _ => return None,
            }
        }
        if data.len().checked_sub(at)? != payload {
            return None;
        }
        parts.main = data.get(data.len().checked_sub(main)?..)?;
        Some(parts)
    }

    fn image_compressed(&self) -> u8 {
        if self.version < 15 { 0x02 } else { 0x04 | 0x08 | 0x10 }
    }
}
