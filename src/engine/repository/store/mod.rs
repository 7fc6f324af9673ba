//! Where objects are kept: one contract, several stores. Owns the contract's words; a store
//! never interprets an object's content, and never overwrites one.

pub mod posix;

use std::io::Write;

/// What a failure means for the caller; retry is decided by this and in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    NotFound,
    /// The object is there already; it was not touched.
    Exists,
    Throttled,
    TimedOut,
    Denied,
    NoSpace,
    /// Neither proven there nor proven absent.
    Unavailable,
}

/// A store's failure. The text names the object and the place, never a credential.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    pub fault: StoreFault,
    pub what: String,
    #[source]
    pub source: Option<std::io::Error>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// From the repository's prefix, with `/`.
    pub key: String,
    pub size: u64,
}

/// An object being written. Dropped without [`finish`](ObjectWriter::finish), nothing of it stays.
pub trait ObjectWriter: Write + Send {
    /// Makes it durable and visible, all at once.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where the name is taken: the object there is untouched.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// A place for objects. Keys are relative, with `/`, without `.` and `..` parts.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Such as `file:///var/backups/shop`, for messages.
    fn describe(&self) -> String;

    /// # Errors
    /// [`StoreFault::NotFound`] only where the store is reachable and proves the absence.
    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError>;

    /// Fills `buffer` from `offset`; a short object is an error.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

    /// # Errors
    /// As [`Store::read`].
    fn size(&self, key: &str) -> Result<u64, StoreError>;

    /// Objects right under `folder` (empty, or ending in `/`) whose name begins with `prefix`.
    /// Folders below are not entered. A folder that is not there is empty.
    ///
    /// # Errors
    /// Where it could not be listed whole.
    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Folders right under `folder`, without their slash.
    ///
    /// # Errors
    /// Where it could not be listed whole.
    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Begins an object.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where the name is taken.
    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError>;

    /// Writes a small object whole.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where the name is taken: the object there is untouched.
    fn put(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut writer = self.create(key)?;
        writer.write_all(content).map_err(|source| StoreError {
            fault: StoreFault::Unavailable,
            what: format!("could not write {key} to {}: {source}", self.describe()),
            source: Some(source),
        })?;
        writer.finish()
    }
}
