//! The repository: where a cluster's base backups, WAL and keys are kept, in format version 1
//! (docs/REPOSITORY_FORMAT.md). Owns names and formats; never runs a server.

pub mod store;

use crate::engine::config::RepositoryConfig;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::BaseSummary;
use store::Store;

/// An open repository of one cluster.
#[derive(Debug)]
pub struct Repository {
    pub store: Box<dyn Store>,
    pub config: RepositoryConfig,
}

/// What went wrong in a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Explain for RepositoryError {
    fn explanation(&self) -> Explanation {
        todo!()
    }
}

/// Whether a WAL file was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutWal {
    Stored,
    /// The same content was there and is durable.
    AlreadyThere,
}

/// A WAL file in the archive, by its listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalObject {
    /// `000000010000000000000003`, `00000002.history`, …
    pub name: String,
    pub key: String,
    /// Stored bytes.
    pub size: u64,
}

impl Repository {
    /// Opens the repository of `cluster`.
    ///
    /// # Errors
    /// Where it is not one (the marker object is missing: an unmounted volume looks like an
    /// empty archive and must never be taken for one), or its keys do not open.
    pub fn open(config: &RepositoryConfig, cluster: &str) -> Result<Self, RepositoryError> {
        let _ = (config, cluster);
        todo!()
    }

    /// Makes a new repository for `cluster`, or opens the one that is there.
    ///
    /// # Errors
    /// Where the place holds something else.
    pub fn create(config: &RepositoryConfig, cluster: &str) -> Result<Self, RepositoryError> {
        let _ = (config, cluster);
        todo!()
    }

    /// Published sets, oldest first, with what could not be read or authenticated.
    ///
    /// # Errors
    /// Where the repository could not be listed.
    pub fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), RepositoryError> {
        todo!()
    }

    /// Archives one file of `pg_wal`. Durable when it returns. Never overwrites.
    ///
    /// # Errors
    /// Where another content is there under the same name, or it could not be written.
    pub fn put_wal(&self, name: &str, content: &[u8]) -> Result<PutWal, RepositoryError> {
        let _ = (name, content);
        todo!()
    }

    /// One WAL file's content. `None` only where the archive is there and proves that it does
    /// not hold the file; every doubt is an error.
    ///
    /// # Errors
    /// Where it could not be read, or is not what was written.
    pub fn get_wal(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let _ = name;
        todo!()
    }

    /// Segments of one timeline from `from` (a segment's name) on, by name, at most `limit`.
    /// Reads only the folders that it must.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn list_wal(
        &self,
        timeline: u32,
        from: &str,
        limit: usize,
    ) -> Result<Vec<WalObject>, RepositoryError> {
        let _ = (timeline, from, limit);
        todo!()
    }

    /// Every timeline that has a `.history` file or a segment in the archive, ascending.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn timelines(&self) -> Result<Vec<u32>, RepositoryError> {
        todo!()
    }
}
