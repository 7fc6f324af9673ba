//! Whether a WAL segment is the one that its name says. Owns the comparison of name and first
//! page; reads no file.

use super::inspect::page::{PageHeader, PageStart};
use super::names::Segment;

/// Segment sizes that PostgreSQL knows: powers of two between these, bytes.
const SMALLEST: u64 = 1 << 20;
const LARGEST: u64 = 1 << 30;

/// What a segment's first page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentIdentity {
    pub system_identifier: u64,
    /// Bytes.
    pub segment_size: u64,
}

/// Why a file is not the segment that its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTheSegment {
    #[error("it has {0} bytes, which no WAL segment has")]
    Size(u64),
    #[error("it has {length} bytes, and its first page says that segments have {expected}")]
    OtherSize { length: u64, expected: u64 },
    #[error("its first page is empty: it was prepared and never written")]
    Empty,
    #[error("its first page is not one of PostgreSQL 12 to 18")]
    Unknown,
    #[error("its first page is that of another segment, at {0}: an old file kept for reuse")]
    Recycled(super::super::postgres::Lsn),
    #[error("its first page is of timeline {0}, which comes after the one in its name")]
    Timeline(u32),
}

/// Compares a segment's name with its length and its first bytes (40 are enough).
///
/// A segment that begins a timeline starts with pages of the one before: an older timeline in the
/// page is right.
///
/// # Errors
/// What does not fit.
pub fn check(name: &str, head: &[u8], length: u64) -> Result<SegmentIdentity, NotTheSegment> {
    if !length.is_power_of_two() || !(SMALLEST..=LARGEST).contains(&length) {
        return Err(NotTheSegment::Size(length));
    }
    let header = match PageHeader::parse(head) {
        PageStart::Header(header) => header,
        PageStart::Zero => return Err(NotTheSegment::Empty),
        PageStart::Unknown { .. } | PageStart::Short => return Err(NotTheSegment::Unknown),
    };
    let long = header.long.ok_or(NotTheSegment::Recycled(header.address))?;
    let expected = u64::from(long.segment_size);
    if expected != length {
        return Err(NotTheSegment::OtherSize { length, expected });
    }
    let segment = Segment::parse(name, length).ok_or(NotTheSegment::Size(length))?;
    if segment.start(length) != header.address {
        return Err(NotTheSegment::Recycled(header.address));
    }
    if header.timeline == 0 || header.timeline > segment.timeline {
        return Err(NotTheSegment::Timeline(header.timeline));
    }
    Ok(SegmentIdentity { system_identifier: long.system_identifier, segment_size: length })
}

#[cfg(test)]
pub(crate) mod made {
    use crate::engine::wal::Segment;

    /// A segment of PostgreSQL 15 with a right first page and nothing but noise after it.
    pub fn segment(name: &str, system_identifier: u64, size: u32) -> Vec<u8> {
        let segment = Segment::parse(name, u64::from(size)).unwrap();
        let mut bytes: Vec<u8> = (0..size / 8)
            .flat_map(|i| (u64::from(i / 5) * (segment.number + 3)).to_le_bytes())
            .collect();
        bytes[0..2].copy_from_slice(&0xD110_u16.to_le_bytes());
        bytes[2..4].copy_from_slice(&2_u16.to_le_bytes());
        bytes[4..8].copy_from_slice(&segment.timeline.to_le_bytes());
        bytes[8..16].copy_from_slice(&segment.start(u64::from(size)).0.to_le_bytes());
        bytes[16..24].fill(0);
        bytes[24..32].copy_from_slice(&system_identifier.to_le_bytes());
        bytes[32..36].copy_from_slice(&size.to_le_bytes());
        bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "000000020000000000000005";

    #[test]
    fn a_segment_is_what_its_name_says() {
        let segment = made::segment(NAME, 77, 1 << 20);
        let judge = |name: &str, bytes: &[u8]| check(name, bytes, bytes.len() as u64);
        let identity = SegmentIdentity { system_identifier: 77, segment_size: 1 << 20 };
        assert_eq!(judge(NAME, &segment), Ok(identity));
        assert_eq!(judge("000000030000000000000005", &segment), Ok(identity), "a fork's first");
        let earlier = judge("000000010000000000000005", &segment);
        assert_eq!(earlier, Err(NotTheSegment::Timeline(2)));
        let other = judge("000000020000000000000006", &segment);
        assert!(matches!(other, Err(NotTheSegment::Recycled(_))));
        assert!(matches!(judge(NAME, &segment[..1000]), Err(NotTheSegment::Size(1000))));
        assert_eq!(judge(NAME, &vec![0; 1 << 20]), Err(NotTheSegment::Empty));
        assert_eq!(judge(NAME, &vec![9; 1 << 20]), Err(NotTheSegment::Unknown));
        let longer = [segment.clone(), segment].concat();
        assert!(matches!(judge(NAME, &longer), Err(NotTheSegment::OtherSize { .. })));
    }
}
