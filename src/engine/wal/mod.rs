//! The write-ahead log: names, the archive, fetching with prefetch, continuity, inspection.

pub mod archive;
pub mod continuity;
pub mod fetch;
pub mod identity;
pub mod inspect;
pub mod names;
pub mod prefetch;
pub mod rescue;
pub mod spool;

pub use names::{Segment, TimelineId, WalFile};
