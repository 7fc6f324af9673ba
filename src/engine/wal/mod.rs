//! The write-ahead log: names, the archive, fetching with prefetch, continuity, inspection.

mod ahead;
pub mod archive;
pub mod continuity;
pub mod debts;
pub mod fetch;
pub mod identity;
pub mod inspect;
pub mod names;
pub mod notes;
mod offer;
pub mod prefetch;
pub mod rescue;
pub mod settings;
pub mod spool;

pub use names::{Segment, TimelineId, WalFile};
