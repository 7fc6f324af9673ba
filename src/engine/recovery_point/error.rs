//! Why no picture could be made, and what to do then. Owns the words; that a target is out of reach
//! is no error.

use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::wal::inspect::InspectError;

/// Why no picture could be made.
#[derive(Debug, thiserror::Error)]
pub enum LandscapeError {
    #[error("no repository could be read: {}", .0.what)]
    NoRepository(Explanation),
    #[error("the cluster's WAL segment size is not known")]
    NoSegmentSize,
    #[error("timeline {0} is not in the archive")]
    NoTimeline(u32),
    #[error(transparent)]
    Wal(#[from] InspectError),
}

impl Explain for LandscapeError {
    fn explanation(&self) -> Explanation {
        let untouched = "Nothing was changed; everything was only read.";
        match self {
            Self::NoRepository(inner) => Explanation {
                what: sentence(self),
                untouched: untouched.to_owned(),
                ..inner.clone()
            },
            Self::NoSegmentSize => Explanation::new(
                Kind::NotFound,
                sentence(self),
                untouched,
                "It stands in pg_control: check that the data directory is the right one and readable.",
            ),
            Self::NoTimeline(_) => Explanation::new(
                Kind::NotFound,
                sentence(self),
                untouched,
                "Choose one of the timelines shown, or none to follow the latest.",
            ),
            Self::Wal(inner) => inner.explanation(),
        }
    }
}
