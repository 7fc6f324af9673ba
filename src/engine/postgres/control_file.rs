//! `global/pg_control` and `PG_VERSION`, read natively for PostgreSQL 12 to 18.
//!
//! Owns the layout of the control file. Never writes it, and never believes one whose checksum
//! does not hold.

use super::Lsn;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::wal::TimelineId;
use jiff::Timestamp;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the control file lies inside a data directory.
pub const RELATIVE_PATH: &str = "global/pg_control";

/// Oldest and newest major version that is understood.
pub const SUPPORTED: std::ops::RangeInclusive<u32> = 12..=18;

/// A server that rewrites the file while it is read shows a checksum that does not hold: read
/// again this often before it is called damaged.
const READS: u32 = 10;

/// What the server's last words in the control file were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    StartingUp,
    ShutDown,
    ShutDownInRecovery,
    ShuttingDown,
    InCrashRecovery,
    InArchiveRecovery,
    InProduction,
}

impl ClusterState {
    /// Whether the server ended in order. A clean state proves nothing about a server that runs
    /// now.
    #[must_use]
    pub fn is_clean(self) -> bool {
        matches!(self, Self::ShutDown | Self::ShutDownInRecovery)
    }

    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::StartingUp,
            1 => Self::ShutDown,
            2 => Self::ShutDownInRecovery,
            3 => Self::ShuttingDown,
            4 => Self::InCrashRecovery,
            5 => Self::InArchiveRecovery,
            6 => Self::InProduction,
            _ => return None,
        })
    }
}

/// The last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where its record starts.
    pub lsn: Lsn,
    /// Where replay from it begins.
    pub redo: Lsn,
    pub timeline: TimelineId,
    pub previous_timeline: TimelineId,
    /// With its epoch.
    pub next_xid: u64,
    pub oldest_xid: u32,
    /// Whole seconds.
    pub time: Timestamp,
}

/// `wal_level` as the control file keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WalLevel {
    Minimal,
    Replica,
    Logical,
}

/// The content of a control file that belongs to a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    pub system_identifier: u64,
    /// Layout number: 1201, 1300, 1700 or 1800.
    pub control_version: u32,
    pub catalog_version: u32,
    pub state: ClusterState,
    /// When the file was last written, whole seconds.
    pub written: Timestamp,
    pub checkpoint: Checkpoint,
    /// Replay must reach this before the data is consistent; zero where nothing is required.
    pub minimum_recovery_point: Lsn,
    pub minimum_recovery_timeline: TimelineId,
    /// Set while a base backup is being recovered.
    pub backup_start: Lsn,
    pub backup_end: Lsn,
    pub backup_end_required: bool,
    pub wal_level: WalLevel,
    pub wal_log_hints: bool,
    pub max_connections: i32,
    pub max_worker_processes: i32,
    pub max_wal_senders: i32,
    pub max_prepared_transactions: i32,
    pub max_locks_per_transaction: i32,
    pub track_commit_timestamp: bool,
    /// Bytes.
    pub block_size: u32,
    /// Blocks in one file of a relation.
    pub relation_segment_blocks: u32,
    /// Bytes.
    pub wal_block_size: u32,
    /// Bytes; a power of two from 1 MB to 1 GB.
    pub wal_segment_size: u32,
    /// Zero where data pages carry no checksums.
    pub data_checksum_version: u32,
}

/// Why a control file or `PG_VERSION` could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlFileError {
    #[error("{path} could not be read: {source}.")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is too short: {length} bytes.")]
    Short { path: PathBuf, length: usize },
    #[error("{path} was written on a machine with another byte order.")]
    ByteOrder { path: PathBuf },
    #[error("{path} has layout {version}, which this version of Lifeboat does not know.")]
    Layout { path: PathBuf, version: u32 },
    #[error("{path} is damaged: its checksum does not hold.")]
    Checksum { path: PathBuf },
    #[error("{path} holds a value that cannot be: {what}.")]
    Value { path: PathBuf, what: String },
    #[error("{path} does not name a PostgreSQL version: \"{text}\".")]
    Version { path: PathBuf, text: String },
    #[error("{path} says PostgreSQL {major}; Lifeboat knows 12 to 18.")]
    Unsupported { path: PathBuf, major: u32 },
}

impl Explain for ControlFileError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                (Kind::NotFound, "Check that the path is a PostgreSQL data directory.")
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                (Kind::Storage, "Run Lifeboat as root or as the owner of the data directory.")
            }
            Self::Read { .. } => (Kind::Storage, "Check the disk that holds the data directory."),
            Self::Short { .. } | Self::Checksum { .. } | Self::Value { .. } => (
                Kind::Integrity,
                "The data directory is damaged; take its identity from a backup set instead.",
            ),
            Self::ByteOrder { .. } | Self::Layout { .. } | Self::Unsupported { .. } => {
                (Kind::Refused, "Use a version of Lifeboat that supports this server.")
            }
            Self::Version { .. } => {
                (Kind::Integrity, "Check that the path is a PostgreSQL data directory.")
            }
        };
        Explanation::new(kind, self.to_string(), "Nothing was changed.", next)
    }
}

/// Reads and checks `<data directory>/global/pg_control`.
///
/// # Errors
/// Where it cannot be read, its checksum does not hold after several reads, or its layout is
/// unknown.
pub fn read(data_directory: &Path) -> Result<ControlFile, ControlFileError> {
    let path = data_directory.join(RELATIVE_PATH);
    for attempt in 1..=READS {
        let bytes = fs::read(&path)
            .map_err(|source| ControlFileError::Read { path: path.clone(), source })?;
        match parse(&bytes, &path) {
            // A running server may have been writing: give it a moment.
            Err(ControlFileError::Checksum { .. }) if attempt < READS => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
    Err(ControlFileError::Checksum { path })
}

/// Reads a control file's bytes; `path` only names it in errors.
///
/// # Errors
/// As [`read`], without another look.
pub fn parse(bytes: &[u8], path: &Path) -> Result<ControlFile, ControlFileError> {
    let fields = Fields { bytes, path };
    let control_version = fields.u32(8)?;
    let crc_at = match control_version {
        1201 | 1300 | 1700 => 288,
        1800 => 292,
        other if matches!(other.swap_bytes(), 1201 | 1300 | 1700 | 1800) => {
            return Err(ControlFileError::ByteOrder { path: path.to_owned() });
        }
        version => return Err(ControlFileError::Layout { path: path.to_owned(), version }),
    };
    let covered = bytes.get(..crc_at).ok_or_else(|| fields.short())?;
    if crc32c::crc32c(covered) != fields.u32(crc_at)? {
        return Err(ControlFileError::Checksum { path: path.to_owned() });
    }
    let state = fields.u32(16)?;
    let wal_level = fields.u32(172)?;
    let file = ControlFile {
        system_identifier: fields.u64(0)?,
        control_version,
        catalog_version: fields.u32(12)?,
        state: ClusterState::from_number(state)
            .ok_or_else(|| fields.impossible(format!("state {state}")))?,
        written: fields.time(24)?,
        checkpoint: Checkpoint {
            lsn: Lsn(fields.u64(32)?),
            redo: Lsn(fields.u64(40)?),
            timeline: fields.u32(48)?,
            previous_timeline: fields.u32(52)?,
            next_xid: fields.u64(64)?,
            oldest_xid: fields.u32(84)?,
            time: fields.time(104)?,
        },
        minimum_recovery_point: Lsn(fields.u64(136)?),
        minimum_recovery_timeline: fields.u32(144)?,
        backup_start: Lsn(fields.u64(152)?),
        backup_end: Lsn(fields.u64(160)?),
        backup_end_required: fields.bool(168)?,
        wal_level: match wal_level {
            0 => WalLevel::Minimal,
            1 => WalLevel::Replica,
            2 => WalLevel::Logical,
            _ => return Err(fields.impossible(format!("wal_level {wal_level}"))),
        },
        wal_log_hints: fields.bool(176)?,
        max_connections: fields.i32(180)?,
        max_worker_processes: fields.i32(184)?,
        max_wal_senders: fields.i32(188)?,
        max_prepared_transactions: fields.i32(192)?,
        max_locks_per_transaction: fields.i32(196)?,
        track_commit_timestamp: fields.bool(200)?,
        block_size: fields.u32(216)?,
        relation_segment_blocks: fields.u32(220)?,
        wal_block_size: fields.u32(224)?,
        wal_segment_size: fields.u32(228)?,
        data_checksum_version: fields.u32(252)?,
    };
    let segment = file.wal_segment_size;
    if !segment.is_power_of_two() || !(1 << 20..=1 << 30).contains(&segment) {
        return Err(fields.impossible(format!("WAL segment size {segment}")));
    }
    if file.checkpoint.timeline == 0 {
        return Err(fields.impossible(String::from("timeline 0")));
    }
    Ok(file)
}

/// The major version that `<data directory>/PG_VERSION` names.
///
/// # Errors
/// Where it cannot be read or names a version outside 12 to 18.
pub fn major_version(data_directory: &Path) -> Result<u32, ControlFileError> {
    let path = data_directory.join("PG_VERSION");
    let text = fs::read_to_string(&path)
        .map_err(|source| ControlFileError::Read { path: path.clone(), source })?;
    let text = text.trim();
    match text.parse::<u32>() {
        Ok(major) if SUPPORTED.contains(&major) => Ok(major),
        Ok(major) => Err(ControlFileError::Unsupported { path, major }),
        // Up to 9.6 the major version had a dot.
        Err(_) => {
            let text = text.chars().take(40).collect();
            Err(ControlFileError::Version { path, text })
        }
    }
}

struct Fields<'a> {
    bytes: &'a [u8],
    path: &'a Path,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], ControlFileError> {
        self.bytes
            .get(at..at + N)
            .and_then(|slice| slice.try_into().ok())
            .ok_or_else(|| self.short())
    }

    fn u32(&self, at: usize) -> Result<u32, ControlFileError> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn i32(&self, at: usize) -> Result<i32, ControlFileError> {
        self.array(at).map(i32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, ControlFileError> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn bool(&self, at: usize) -> Result<bool, ControlFileError> {
        self.array::<1>(at).map(|[byte]| byte != 0)
    }

    fn time(&self, at: usize) -> Result<Timestamp, ControlFileError> {
        let seconds = self.array(at).map(i64::from_le_bytes)?;
        Timestamp::from_second(seconds)
            .map_err(|_| self.impossible(format!("time {seconds} seconds")))
    }

    fn short(&self) -> ControlFileError {
        ControlFileError::Short { path: self.path.to_owned(), length: self.bytes.len() }
    }

    fn impossible(&self, what: String) -> ControlFileError {
        ControlFileError::Value { path: self.path.to_owned(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(control_version: u32) -> Vec<u8> {
        let mut bytes = vec![0_u8; 8192];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &7_123_456_789_012_345_678_u64.to_le_bytes());
        put(8, &control_version.to_le_bytes());
        put(16, &6_u32.to_le_bytes());
        put(24, &1_736_762_400_i64.to_le_bytes());
        put(32, &0x3000_0060_u64.to_le_bytes());
        put(40, &0x3000_0028_u64.to_le_bytes());
        put(48, &3_u32.to_le_bytes());
        put(104, &1_736_762_399_i64.to_le_bytes());
        put(172, &1_u32.to_le_bytes());
        put(180, &100_u32.to_le_bytes());
        put(228, &(64_u32 << 20).to_le_bytes());
        let crc_at = if control_version == 1800 { 292 } else { 288 };
        let crc = crc32c::crc32c(&bytes[..crc_at]);
        bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_every_known_layout() {
        for version in [1201, 1300, 1700, 1800] {
            let file = parse(&made(version), Path::new("pg_control")).unwrap();
            assert_eq!(file.system_identifier, 7_123_456_789_012_345_678);
            assert_eq!(file.state, ClusterState::InProduction);
            assert_eq!(file.checkpoint.lsn, Lsn(0x3000_0060));
            assert_eq!(file.checkpoint.timeline, 3);
            assert_eq!(file.wal_segment_size, 64 << 20);
            assert_eq!(file.max_connections, 100);
        }
    }

    #[test]
    fn a_changed_byte_is_damage_and_another_layout_is_named() {
        let path = Path::new("pg_control");
        let mut bytes = made(1300);
        bytes[50] ^= 1;
        assert!(matches!(parse(&bytes, path), Err(ControlFileError::Checksum { .. })));
        assert!(matches!(
            parse(&made(1900), path),
            Err(ControlFileError::Layout { version: 1900, .. })
        ));
        assert!(matches!(
            parse(&made(1300_u32.swap_bytes()), path),
            Err(ControlFileError::ByteOrder { .. })
        ));
        assert!(matches!(parse(&made(1300)[..200], path), Err(ControlFileError::Short { .. })));
    }

    #[test]
    fn a_directory_that_is_none_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error.explanation().kind, Kind::NotFound);
        fs::write(folder.path().join("PG_VERSION"), "9.6\n").unwrap();
        assert!(matches!(major_version(folder.path()), Err(ControlFileError::Version { .. })));
        fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(major_version(folder.path()).unwrap(), 15);
    }

    proptest! {
        #[test]
        fn no_content_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, Path::new("pg_control"));
        }
    }
}
