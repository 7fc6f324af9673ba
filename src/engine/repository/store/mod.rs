//! Where objects are kept: one contract, several stores. Owns the contract's words; a store
//! never interprets an object's content, and never overwrites one.

pub mod counting;
pub mod permission;
pub mod posix;
mod read_only;
pub mod s3;
mod slowed;
#[cfg(test)]
pub mod suite;

use crate::engine::config::StoreConfig;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

pub use read_only::read_only;
pub use slowed::slowed;

/// The object that says that a place is a repository. A store without it proves nothing: an
/// unmounted volume looks just like an empty archive.
pub const MARKER: &str = "lifeboat-repository.json";

/// The store of `cluster`, which must be there.
///
/// # Errors
/// Where it is not, or cannot be reached.
pub fn open(config: &StoreConfig, cluster: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        StoreConfig::File { path } => Arc::new(posix::FileStore::open(&root(path, cluster)?)?),
        StoreConfig::S3(s3) => Arc::new(s3::S3Store::open(s3, cluster)?),
    })
}

/// The store of `cluster`, made where it is missing: a place that holds the marker or nothing.
///
/// # Errors
/// [`StoreFault::Exists`] where it holds something else.
pub fn make(config: &StoreConfig, cluster: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config {
        StoreConfig::File { path } => Arc::new(posix::FileStore::make(&root(path, cluster)?)?),
        StoreConfig::S3(s3) => Arc::new(s3::S3Store::make(s3, cluster)?),
    })
}

/// The path with the cluster's name in the place of `{cluster}`.
fn root(path: &std::path::Path, cluster: &str) -> Result<PathBuf, StoreError> {
    check_key(cluster)?;
    match path.to_str() {
        Some(text) => Ok(PathBuf::from(text.replace("{cluster}", cluster))),
        None => Ok(path.to_owned()),
    }
}

/// Refuses a key that is not relative, or could leave the repository.
///
/// # Errors
/// [`StoreFault::Denied`].
pub fn check_key(key: &str) -> Result<(), StoreError> {
    let part_is_good = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.len() <= 200 && !part.contains('\\')
    };
    if key.len() <= 900 && !key.contains(char::is_control) && key.split('/').all(part_is_good) {
        return Ok(());
    }
    let what = format!("{key:?} is not a name that an object in a repository can have");
    Err(StoreError::new(StoreFault::Denied, what))
}

/// Refuses a key whose object must never be removed.
///
/// # Errors
/// [`StoreFault::Denied`].
pub fn check_removable(key: &str) -> Result<(), StoreError> {
    check_key(key)?;
    if key == MARKER {
        let what = format!("{MARKER} makes the place a repository; it is never removed");
        return Err(StoreError::new(StoreFault::Denied, what));
    }
    Ok(())
}

/// Refuses a folder that is neither empty (the repository itself) nor `name/`.
///
/// # Errors
/// [`StoreFault::Denied`].
pub fn check_folder(folder: &str) -> Result<(), StoreError> {
    match folder.strip_suffix('/') {
        Some(key) => check_key(key),
        None if folder.is_empty() => Ok(()),
        None => check_key(""),
    }
}

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
    /// A server over a network said it, or did not answer; else it was a volume of this machine.
    pub bucket: bool,
    #[source]
    pub source: Option<io::Error>,
}

impl StoreFault {
    /// What an I/O error other than "not found" means.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unavailable,
        }
    }
}

impl StoreError {
    /// `doing` such as "write wal-archive/… to file:///var/backups".
    #[must_use]
    pub fn io(doing: &str, source: io::Error) -> Self {
        let what = format!("could not {doing}: {source}");
        // A writer's failure may come through `Write`.
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Self>());
        let (fault, bucket) = match inner {
            Some(inner) => (inner.fault, inner.bucket),
            None => (StoreFault::of(&source), false),
        };
        Self { fault, what, bucket, source: Some(source) }
    }

    #[must_use]
    pub fn new(fault: StoreFault, what: impl Into<String>) -> Self {
        Self { fault, what: what.into(), bucket: false, source: None }
    }

    /// As [`StoreError::new`], of a server that keeps buckets.
    #[must_use]
    pub fn of_bucket(fault: StoreFault, what: impl Into<String>) -> Self {
        Self { bucket: true, ..Self::new(fault, what) }
    }
}

impl Explain for StoreError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self.fault {
            StoreFault::NotFound => (Kind::NotFound, "Look in another copy of the repository."),
            StoreFault::Exists => (Kind::Refused, "Find out who wrote it before anything else."),
            StoreFault::Throttled => (Kind::Connection, "Wait a little and try again."),
            StoreFault::TimedOut => (Kind::Connection, "Check the way to the repository."),
            StoreFault::Denied if self.bucket => {
                (Kind::Storage, "Check the access keys and what they may do there, and try again.")
            }
            StoreFault::Denied => {
                (Kind::Storage, "Give this user access to the repository, and try again.")
            }
            StoreFault::NoSpace if self.bucket => {
                (Kind::Storage, "Make room in the store, and try again.")
            }
            StoreFault::NoSpace => {
                (Kind::Storage, "Make room on the repository's volume, and try again.")
            }
            StoreFault::Unavailable if self.bucket => (
                Kind::Connection,
                "Check that the store's server answers and has the bucket, and try again.",
            ),
            StoreFault::Unavailable => {
                (Kind::Storage, "Check that the repository's volume is mounted and healthy.")
            }
        };
        Explanation::new(kind, sentence(self), "Objects that were there are untouched.", next)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// From the repository's prefix, with `/`.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When the store says that it was written; `None` where it does not say.
    pub written: Option<Timestamp>,
}

/// What a store itself promises of an object: nobody, whatever their rights here, removes it
/// before then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The store's own word for it, such as `COMPLIANCE`.
    pub mode: String,
    pub until: Timestamp,
}

/// An object being written. Dropped without [`finish`](ObjectWriter::finish), nothing of it stays.
pub trait ObjectWriter: Write + Send {
    /// Makes it durable and visible, all at once.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where the name is taken: the object there is untouched.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// A write that was begun and neither finished nor given up: of a writer that still works, or of
/// one that was killed. No object yet, and in no listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The object that it would have become.
    pub key: String,
    /// The store's own name for it, which tells it from others of the same key.
    pub id: String,
    /// Stored bytes.
    pub bytes: u64,
    /// When the newest of it was written.
    pub active: Timestamp,
    /// Its writer has it open, or whether it has cannot be told.
    pub held: bool,
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
        writer
            .write_all(content)
            .map_err(|e| StoreError::io(&format!("write {key} to {}", self.describe()), e))?;
        writer.finish()
    }

    /// Makes sure that an object that was found would survive a power cut: whoever wrote it may
    /// have been stopped between naming it and syncing the folder. Nothing to do for a store whose
    /// objects are durable once they can be seen.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn settle(&self, key: &str) -> Result<(), StoreError> {
        let _ = key;
        Ok(())
    }

    /// Removes an object for good, durably. For what the operator or the retention policy named,
    /// and for nothing else; the marker is never removed.
    ///
    /// # Errors
    /// [`StoreFault::NotFound`] where it is not there, [`StoreFault::Denied`] where the store keeps
    /// it. Then nothing of it is gone.
    fn remove(&self, key: &str) -> Result<(), StoreError>;

    /// What keeps the object in the store, where the store can say.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn hold(&self, key: &str) -> Result<Option<Hold>, StoreError> {
        self.size(key).map(|_| None)
    }

    /// Writes of this store's own that have not ended, right under the repository and anywhere
    /// below `folders` (each ending in `/`).
    ///
    /// # Errors
    /// Where they could not be listed whole.
    fn unfinished(&self, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
        let _ = folders;
        Ok(Vec::new())
    }

    /// Throws away what was written of it, once the caller has judged that its writer is gone.
    /// False where it has ended, or goes on, since it was listed: then it is untouched.
    ///
    /// # Errors
    /// Where it could not be looked at again, or not be removed.
    fn discard(&self, one: &Unfinished) -> Result<bool, StoreError> {
        let _ = one;
        Ok(false)
    }
}
