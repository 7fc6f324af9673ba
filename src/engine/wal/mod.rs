//! The write-ahead log: names, the archive, fetching with prefetch, continuity, inspection.

pub mod names;

pub use names::{Segment, TimelineId, WalFile};
