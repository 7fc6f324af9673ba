//! Names of write-ahead log files. Owns parsing and arithmetic of names; never touches a file.
//!
//! A segment's name is 24 hexadecimal digits: timeline, and the segment's number cut in two by
//! the segment size (1 MB to 1 GB since PostgreSQL 11, always a power of two).

use crate::engine::postgres::Lsn;
use std::fmt;

/// A timeline's number. Hexadecimal in file names, decimal in settings.
pub type TimelineId = u32;

/// One WAL segment: its timeline and its number from the start of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    pub timeline: TimelineId,
    pub number: u64,
}

impl Segment {
    /// The segment that holds the byte at `lsn`. `size` is the cluster's segment size in bytes.
    #[must_use]
    pub fn holding(timeline: TimelineId, lsn: Lsn, size: u64) -> Self {
        Self { timeline, number: lsn.0 / size.max(1) }
    }

    /// The segment's first byte.
    #[must_use]
    pub fn start(self, size: u64) -> Lsn {
        Lsn(self.number.saturating_mul(size))
    }

    /// The first byte after the segment.
    #[must_use]
    pub fn end(self, size: u64) -> Lsn {
        Lsn(self.number.saturating_add(1).saturating_mul(size))
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self { timeline: self.timeline, number: self.number.saturating_add(1) }
    }

    /// The file's name for the cluster's segment size in bytes.
    #[must_use]
    pub fn name(self, size: u64) -> String {
        let per_id = 0x1_0000_0000_u64 / size.max(1);
        let per_id = per_id.max(1);
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number / per_id, self.number % per_id)
    }

    /// Reads a 24-digit name; `None` where it is not one, or not possible at this segment size.
    #[must_use]
    pub fn parse(name: &str, size: u64) -> Option<Self> {
        if name.len() != 24 || !is_upper_hex(name) {
            return None;
        }
        let per_id = (0x1_0000_0000_u64 / size.max(1)).max(1);
        let timeline = u32::from_str_radix(name.get(..8)?, 16).ok()?;
        let high = u64::from_str_radix(name.get(8..16)?, 16).ok()?;
        let low = u64::from_str_radix(name.get(16..)?, 16).ok()?;
        (timeline > 0 && low < per_id).then_some(Self { timeline, number: high * per_id + low })
    }
}

/// What a file in `pg_wal` or in the archive is, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalFile {
    /// A whole segment. Kept as text: its number depends on the segment size.
    Segment { timeline: TimelineId, name: String },
    /// A segment's copy at a promotion, never asked for by itself.
    Partial { timeline: TimelineId, name: String },
    /// A timeline's ancestry.
    History { timeline: TimelineId },
    /// A base backup's label: `<segment>.<offset>.backup`.
    BackupLabel { timeline: TimelineId, name: String },
}

impl WalFile {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let timeline = u32::from_str_radix(name.get(..8).filter(|t| is_upper_hex(t))?, 16).ok()?;
        if timeline == 0 {
            return None;
        }
        let owned = || name.to_owned();
        match (name.get(..24).is_some_and(is_upper_hex), name.get(8..)) {
            (_, Some(".history")) => Some(Self::History { timeline }),
            (true, _) => match name.get(24..)? {
                "" => Some(Self::Segment { timeline, name: owned() }),
                ".partial" => Some(Self::Partial { timeline, name: owned() }),
                rest => {
                    let offset = rest.strip_prefix('.')?.strip_suffix(".backup")?;
                    (offset.len() == 8 && is_upper_hex(offset))
                        .then(|| Self::BackupLabel { timeline, name: owned() })
                }
            },
            _ => None,
        }
    }
}

impl fmt::Display for WalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { name, .. }
            | Self::Partial { name, .. }
            | Self::BackupLabel { name, .. } => f.write_str(name),
            Self::History { timeline } => write!(f, "{timeline:08X}.history"),
        }
    }
}

fn is_upper_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_segment_reads_back(timeline in 1u32.., shift in 20u32..=30, lsn: u64) {
            let size = 1u64 << shift;
            let segment = Segment::holding(timeline, Lsn(lsn), size);
            prop_assert_eq!(Segment::parse(&segment.name(size), size), Some(segment));
            prop_assert!(segment.start(size).0 <= lsn);
        }

        #[test]
        fn every_known_name_prints_as_it_was_read(name in "[0-9A-F]{8}(\\.history|[0-9A-F]{16}(\\.partial|\\.[0-9A-F]{8}\\.backup)?)") {
            if let Some(file) = WalFile::parse(&name) {
                prop_assert_eq!(file.to_string(), name);
            }
        }

        #[test]
        fn no_name_panics(name in ".*") {
            let _ = WalFile::parse(&name);
            let _ = Segment::parse(&name, 16 << 20);
        }
    }

    #[test]
    fn names_as_postgresql_writes_them() {
        let size = 16 << 20;
        let segment = Segment::holding(1, Lsn(0x1_0300_0000), size);
        assert_eq!(segment.name(size), "000000010000000100000003");
        assert_eq!(Segment::parse("000000010000000100000100", size), None, "beyond 0xFF at 16 MB");
        assert_eq!(WalFile::parse("00000002.history"), Some(WalFile::History { timeline: 2 }));
        assert_eq!(WalFile::parse("archive_status"), None);
    }
}
