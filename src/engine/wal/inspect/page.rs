//! The header of a WAL page. Owns its layout and which server version wrote it; never looks past
//! the header.
//!
//! ```text
//! 0      2      4          8              16        20    24
//! | magic| info | timeline | page address | rem_len | pad |            short
//! |                                                       | system id | segment size | page size |
//! 24                                                                  32             36          40
//! ```

use super::bytes::{u16_at, u32_at, u64_at};
use crate::engine::postgres::Lsn;

const CONTINUES_RECORD: u16 = 0x1;
const LONG: u16 = 0x2;
const OVERWRITES_RECORD: u16 = 0x8;
const ALL_FLAGS: u16 = 0xF;

/// PostgreSQL major version by the magic number of its WAL pages.
#[must_use]
pub fn version_of(magic: u16) -> Option<u32> {
    Some(match magic {
        0xD101 => 12,
        0xD106 => 13,
        0xD10D => 14,
        0xD110 => 15,
        0xD113 => 16,
        0xD116 => 17,
        0xD118 => 18,
        _ => return None,
    })
}

/// A page's header, as far as it was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Major version.
    pub version: u32,
    pub timeline: u32,
    /// Where the page says that it lies.
    pub address: Lsn,
    /// Bytes of a record begun earlier that are still to come, from this page's first byte on;
    /// zero where a record does not cross into it.
    pub remaining: u32,
    pub continues_record: bool,
    /// The record that was cut off before this page never ended: the server crashed in it.
    pub overwrites_record: bool,
    pub long: Option<LongHeader>,
}

/// What the first page of every segment carries beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    pub system_identifier: u64,
    /// Bytes.
    pub segment_size: u32,
    /// Bytes.
    pub page_size: u32,
}

/// What the first bytes of a page are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    Header(PageHeader),
    /// Never written: all zero.
    Zero,
    /// No header of a known version.
    Unknown {
        magic: u16,
    },
    /// Fewer bytes than a header.
    Short,
}

impl PageHeader {
    /// Bytes before the page's first record data.
    #[must_use]
    pub fn size(&self) -> usize {
        if self.long.is_some() { 40 } else { 24 }
    }

    /// Reads the header at the beginning of `page`.
    #[must_use]
    pub fn parse(page: &[u8]) -> PageStart {
        Self::fields(page).unwrap_or(PageStart::Short)
    }

    fn fields(page: &[u8]) -> Option<PageStart> {
        let magic = u16_at(page, 0)?;
        let info = u16_at(page, 2)?;
        let Some(version) = version_of(magic).filter(|_| info & !ALL_FLAGS == 0) else {
            let zero = page.iter().take(24).all(|b| *b == 0);
            return Some(if zero { PageStart::Zero } else { PageStart::Unknown { magic } });
        };
        let long = if info & LONG == 0 {
            None
        } else {
            Some(LongHeader {
                system_identifier: u64_at(page, 24)?,
                segment_size: u32_at(page, 32)?,
                page_size: u32_at(page, 36)?,
            })
        };
        Some(PageStart::Header(Self {
            version,
            timeline: u32_at(page, 4)?,
            address: Lsn(u64_at(page, 8)?),
            remaining: u32_at(page, 16)?,
            continues_record: info & CONTINUES_RECORD != 0,
            overwrites_record: info & OVERWRITES_RECORD != 0,
            long,
        }))
    }
}
