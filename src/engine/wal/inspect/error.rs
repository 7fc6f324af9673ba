//! What can go wrong while WAL is read. Owns the words; never decides whether a damaged tail is
//! simply the end of the log: that is the scan's, which knows what follows.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::Lsn;

/// A failure while reading WAL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The bytes at `lsn` are not what PostgreSQL wrote.
    #[error("the WAL is damaged at {lsn}: {what}")]
    Damaged { lsn: Lsn, what: String },
    /// A segment of another cluster, another segment size, or a version that is not known.
    #[error("the WAL segment that begins at {lsn} does not belong here: {what}")]
    Foreign { lsn: Lsn, what: String },
    /// A segment could not be fetched; whether it exists is not known.
    #[error("{0}")]
    Source(Explanation),
    #[error("reading the WAL was cancelled")]
    Cancelled,
}

impl Explain for InspectError {
    fn explanation(&self) -> Explanation {
        let untouched = "Nothing was changed; WAL was only read.";
        match self {
            Self::Damaged { .. } => Explanation::new(
                Kind::Integrity,
                self.to_string(),
                untouched,
                "Choose a recovery point before that position, or fetch the segment from another copy of the archive.",
            ),
            Self::Foreign { .. } => Explanation::new(
                Kind::Integrity,
                self.to_string(),
                untouched,
                "Check that the archive and the data directory are those of this cluster.",
            ),
            Self::Source(explanation) => explanation.clone(),
            Self::Cancelled => Explanation::new(Kind::Cancelled, self.to_string(), untouched, ""),
        }
    }
}
