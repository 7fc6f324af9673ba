//! Why a cluster's folders cannot be kept and filled anew. Every one of these is told before
//! anything is touched.

use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::postgres::control_file::ControlFileError;
use std::io;
use std::path::PathBuf;

/// Why a cluster's folders cannot be kept and filled anew.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    #[error("{mount}, inside the data directory, is a mount point of its own")]
    Nested { mount: PathBuf },
    #[error("{folder}, the server's own folder of tablespace {oid}, is a mount point")]
    SpaceIsMount { oid: u32, folder: PathBuf },
    #[error("{folder} belongs to tablespace {oid} and is used by the server that runs in {by}")]
    InUse { oid: u32, folder: PathBuf, by: PathBuf },
    #[error("could not {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Control(#[from] ControlFileError),
}

impl Explain for PlacesError {
    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Nested { .. } => {
                "A part of the data directory that is mounted cannot be kept with the rest. Mount \
                 that volume elsewhere and link to a folder on it (pg_wal -> /wal/main), or restore \
                 beside the cluster: lifeboat restore --target-directory DIR."
            }
            Self::SpaceIsMount { .. } => {
                "Mount that volume one level higher, as the tablespace's own folder, or restore \
                 beside the cluster: lifeboat restore --target-directory DIR."
            }
            Self::InUse { .. } => {
                "Two data directories link to the same tablespace, as a copied one does. Stop that \
                 server if it is the copy, or correct the links in pg_tblspc; a replay would write \
                 into its files."
            }
            Self::Io { .. } => "Mend the cause, then make the plan again.",
            Self::Control(error) => return error.explanation(),
        };
        Explanation::new(Kind::Refused, sentence(self), "Nothing was touched.", next)
    }
}
