//! What a record means, for the few kinds that tell what happened to tables and where recovery
//! can stop. Owns their layouts from PostgreSQL 12 to 18; everything else is [`Action::Other`].

use super::bytes::{count_at, i32_at, i64_at, u8_at, u16_at, u32_at, u64_at};
use super::history::RelationFile;
use super::record::{BlockRef, Parts, Record, rmgr};
use crate::engine::postgres::Lsn;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names of the five settings that a recovering server needs at least, as PostgreSQL writes them.
pub const STANDBY_SETTINGS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// `wal_level` as a number: minimal 0, replica 1, logical 2 (`access/xlog.h`).
const WAL_LEVEL_MINIMAL: i32 = 0;

/// The meaning of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Commit(Finish),
    Abort(Finish),
    ParameterChange {
        /// In the order of [`STANDBY_SETTINGS`].
        values: [i32; 5],
        /// From here on `wal_level` is `minimal`: replay refuses to go on.
        minimal: bool,
    },
    Checkpoint {
        redo: Lsn,
        timeline: u32,
        previous_timeline: u32,
        at: Option<Timestamp>,
        shutdown: bool,
    },
    RestorePoint {
        at: Option<Timestamp>,
        name: String,
    },
    EndOfRecovery {
        at: Option<Timestamp>,
        timeline: u32,
        previous_timeline: u32,
    },
    Insert {
        relation: RelationFile,
        rows: u64,
    },
    Delete {
        place: Row,
        /// The row moved to another partition.
        moved: bool,
        /// A speculative insert was taken back: no row was there.
        speculative: bool,
    },
    Update {
        relation: RelationFile,
    },
    /// A row rewritten where it stands, outside any transaction's rules.
    InPlace(Row),
    /// TRUNCATE as logical decoding sees it: database and relation OIDs.
    Truncate {
        database: u32,
        relations: Vec<u32>,
    },
    /// Access-exclusive locks: transaction, database, relation OID.
    Lock(Vec<(u32, u32, u32)>),
    StorageCreate {
        relation: RelationFile,
        fork: u32,
    },
    StorageTruncate {
        relation: RelationFile,
        blocks: u32,
    },
    /// A whole page was logged for its own sake; the relation of the first one.
    Page(RelationFile),
    DatabaseCreate {
        database: u32,
    },
    DatabaseDrop {
        database: u32,
    },
    /// Replayed, it uses that very folder again; empty for one inside the data directory.
    TablespaceCreate {
        oid: u32,
        place: String,
    },
    /// Files of catalogs that have no fixed one: (catalog OID, file).
    RelationMap {
        database: u32,
        files: Vec<(u32, u32)>,
    },
    Other,
}

/// A row by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    pub relation: RelationFile,
    pub block: u32,
    pub offset: u16,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    pub at: Timestamp,
    /// The transaction itself; for a prepared one not the record's own.
    pub xid: u32,
    pub subtransactions: Vec<u32>,
    /// Files that are deleted with it.
    pub files: Vec<RelationFile>,
}

impl Record<'_> {
    /// What it means. `None` where a record of a known kind contradicts itself.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        match self.rmgr {
            rmgr::HEAP | rmgr::HEAP2 => self.heap(),
            rmgr::TRANSACTION => self.transaction(),
            rmgr::XLOG => self.xlog(),
            rmgr::STORAGE => storage(self.info, self.parts()?.main),
            rmgr::STANDBY => standby(self.info, self.parts()?.main),
            rmgr::DATABASE => self.database(),
            rmgr::TABLESPACE => tablespace(self.info, self.parts()?.main),
            rmgr::RELATION_MAP => relation_map(self.info, self.parts()?.main),
            _ => Some(Action::Other),
        }
    }

    fn heap(&self) -> Option<Action> {
        let operation = self.info & 0x70;
        if self.rmgr == rmgr::HEAP2 {
            if operation != 0x50 {
                return Some(self.page_alone());
            }
            let (parts, block) = self.first_block()?;
            let rows = u64::from(u16_at(parts.main, 2)?);
            return Some(Action::Insert { relation: block.relation, rows });
        }
        let row = |parts: &Parts<'_>, block: BlockRef, at: usize| {
            let offset = u16_at(parts.main, at)?;
            Some(Row { relation: block.relation, block: block.block, offset })
        };
        Some(match operation {
            0x00 => {
                let (_, block) = self.first_block()?;
                Action::Insert { relation: block.relation, rows: 1 }
            }
            0x10 => {
                let (parts, block) = self.first_block()?;
                let flags = u8_at(parts.main, 7)?;
                Action::Delete {
                    place: row(&parts, block, 4)?,
                    moved: flags & 0x10 != 0,
                    speculative: flags & 0x08 != 0,
                }
            }
            0x20 | 0x40 => {
                let (_, block) = self.first_block()?;
                Action::Update { relation: block.relation }
            }
            0x30 => truncate(self.parts()?.main)?,
            0x70 => {
                let (parts, block) = self.first_block()?;
                Action::InPlace(row(&parts, block, 0)?)
            }
            _ => self.page_alone(),
        })
    }

    /// A record that changes no row, but may carry its page whole.
    fn page_alone(&self) -> Action {
        self.first_block().map_or(Action::Other, |(_, block)| Action::Page(block.relation))
    }

    fn first_block(&self) -> Option<(Parts<'_>, BlockRef)> {
        let parts = self.parts()?;
        Some((parts, parts.block?))
    }

    fn transaction(&self) -> Option<Action> {
        let operation = self.info & 0x70;
        let committed = matches!(operation, 0x00 | 0x30);
        if !committed && !matches!(operation, 0x20 | 0x40) {
            return Some(Action::Other);
        }
        let finish = self.finish(self.parts()?.main, committed)?;
        Some(if committed { Action::Commit(finish) } else { Action::Abort(finish) })
    }

    /// The body of a commit or abort record: a time, then what its flags announce, in this order.
    fn finish(&self, main: &[u8], committed: bool) -> Option<Finish> {
        let mut finish = Finish {
            at: time(i64_at(main, 0)?)?,
            xid: self.xid,
            subtransactions: Vec::new(),
            files: Vec::new(),
        };
        if self.info & 0x80 == 0 {
            return Some(finish);
        }
        let flags = u32_at(main, 8)?;
        let mut at = 12_usize;
        if flags & 0x01 != 0 {
            at += 8;
        }
        if flags & 0x02 != 0 {
            let list = counted(main, &mut at, 4)?;
            finish.subtransactions = list.chunks_exact(4).filter_map(|c| u32_at(c, 0)).collect();
        }
        if flags & 0x04 != 0 {
            let list = counted(main, &mut at, 12)?;
            finish.files = list.chunks_exact(12).filter_map(file).collect();
        }
        if flags & 0x100 != 0 {
            counted(main, &mut at, if self.version < 18 { 12 } else { 16 })?;
        }
        if committed && flags & 0x08 != 0 {
            counted(main, &mut at, 16)?;
        }
        if flags & 0x10 != 0 {
            finish.xid = u32_at(main, at)?;
        }
        Some(finish)
    }

    fn xlog(&self) -> Option<Action> {
        let operation = self.info & 0xF0;
        if matches!(operation, 0xA0 | 0xB0) {
            return Some(self.page_alone());
        }
        if !matches!(operation, 0x00 | 0x10 | 0x60 | 0x70 | 0x90) {
            return Some(Action::Other);
        }
        let main = self.parts()?.main;
        Some(match operation {
            0x60 => {
                let mut values = [0; 5];
                for (index, value) in values.iter_mut().enumerate() {
                    *value = i32_at(main, index * 4)?;
                }
                Action::ParameterChange { values, minimal: i32_at(main, 20)? == WAL_LEVEL_MINIMAL }
            }
            0x70 => {
                let name: Vec<u8> =
                    main.get(8..)?.iter().copied().take_while(|b| *b != 0).collect();
                Action::RestorePoint {
                    at: time(i64_at(main, 0)?),
                    name: String::from_utf8_lossy(&name).into_owned(),
                }
            }
            0x90 => Action::EndOfRecovery {
                at: time(i64_at(main, 0)?),
                timeline: u32_at(main, 8)?,
                previous_timeline: u32_at(main, 12)?,
            },
            _ => Action::Checkpoint {
                redo: Lsn(u64_at(main, 0)?),
                timeline: u32_at(main, 8)?,
                previous_timeline: u32_at(main, 12)?,
                at: i64_at(main, 64).and_then(|s| Timestamp::from_second(s).ok()),
                shutdown: operation == 0x00,
            },
        })
    }

    fn database(&self) -> Option<Action> {
        let database = u32_at(self.parts()?.main, 0)?;
        let drop = if self.version < 15 { 0x10 } else { 0x20 };
        Some(if self.info & 0xF0 == drop {
            Action::DatabaseDrop { database }
        } else {
            Action::DatabaseCreate { database }
        })
    }
}

fn truncate(main: &[u8]) -> Option<Action> {
    let mut at = 4;
    let count = u32_at(main, at)? as usize;
    at += 8;
    let list = main.get(at..at.checked_add(count.checked_mul(4)?)?)?;
    Some(Action::Truncate {
        database: u32_at(main, 0)?,
        relations: list.chunks_exact(4).filter_map(|c| u32_at(c, 0)).collect(),
    })
}

fn storage(info: u8, main: &[u8]) -> Option<Action> {
    Some(match info & 0xF0 {
        0x10 => Action::StorageCreate { relation: file(main)?, fork: u32_at(main, 12)? },
        0x20 => {
            let relation = file(main.get(4..)?)?;
            Action::StorageTruncate { relation, blocks: u32_at(main, 0)? }
        }
        _ => Action::Other,
    })
}

fn tablespace(info: u8, main: &[u8]) -> Option<Action> {
    if info & 0xF0 != 0x00 {
        return Some(Action::Other);
    }
    let place = main.get(4..)?.iter().copied().take_while(|b| *b != 0).collect::<Vec<u8>>();
    let place = String::from_utf8_lossy(&place).into_owned();
    Some(Action::TablespaceCreate { oid: u32_at(main, 0)?, place })
}

fn standby(info: u8, main: &[u8]) -> Option<Action> {
    if info & 0xF0 != 0x00 {
        return Some(Action::Other);
    }
    let mut at = 0;
    let list = counted(main, &mut at, 12)?;
    let lock = |c: &[u8]| Some((u32_at(c, 0)?, u32_at(c, 4)?, u32_at(c, 8)?));
    Some(Action::Lock(list.chunks_exact(12).filter_map(lock).collect()))
}

fn relation_map(info: u8, main: &[u8]) -> Option<Action> {
    if info & 0xF0 != 0x00 {
        return Some(Action::Other);
    }
    let database = u32_at(main, 0)?;
    let mut at = 16;
    let list = counted(main, &mut at, 8)?;
    let pair = |c: &[u8]| Some((u32_at(c, 0)?, u32_at(c, 4)?));
    Some(Action::RelationMap { database, files: list.chunks_exact(8).filter_map(pair).collect() })
}

/// A count, then that many items of `width` bytes; moves `at` behind them.
fn counted<'a>(main: &'a [u8], at: &mut usize, width: usize) -> Option<&'a [u8]> {
    let from = at.checked_add(4)?;
    let to = from.checked_add(count_at(main, *at)?.checked_mul(width)?)?;
    *at = to;
    main.get(from..to)
}

fn file(bytes: &[u8]) -> Option<RelationFile> {
    Some(RelationFile {
        tablespace: u32_at(bytes, 0)?,
        database: u32_at(bytes, 4)?,
        file: u32_at(bytes, 8)?,
    })
}

/// PostgreSQL counts microseconds from the first of January 2000.
fn time(microseconds: i64) -> Option<Timestamp> {
    const EPOCH: i64 = 946_684_800_000_000;
    Timestamp::from_microsecond(microseconds.checked_add(EPOCH)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_content_panics(
            rmgr in 0u8..12, info: u8, version in 12u32..=18,
            data in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let lsn = Lsn(0x100_0028);
            let record = Record { lsn, end: lsn, xid: 7, info, rmgr, version, data: &data };
            let _ = record.action();
            // The same bytes as one well-formed piece of main data reach every layout.
            let mut wrapped = vec![254];
            wrapped.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            wrapped.extend(&data);
            let record = Record { data: &wrapped, ..record };
            prop_assert_eq!(record.parts().map(|p| p.main.len()), Some(data.len()));
            let _ = record.action();
        }
    }

    #[test]
    fn times_count_from_the_year_2000() {
        assert_eq!(time(0).unwrap().to_string(), "2000-01-01T00:00:00Z");
        assert_eq!(time(i64::MAX), None);
    }
}
