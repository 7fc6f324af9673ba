//! A store that can only be read: whoever holds it can write, remove and tidy nothing, whatever
//! the store beneath would let them do. Owns the refusal; all else is the store's beneath.

use super::{Hold, ObjectInfo, ObjectWriter, Store, StoreError, StoreFault, Unfinished};
use std::sync::Arc;

/// `store`, to be read alone.
#[must_use]
pub fn read_only(store: Arc<dyn Store>) -> Arc<dyn Store> {
    Arc::new(ReadOnly { inner: store })
}

/// Gives the store beneath to nobody: no caller gets past it.
#[derive(Debug)]
struct ReadOnly {
    inner: Arc<dyn Store>,
}

impl ReadOnly {
    fn refused(&self, verb: &str, key: &str) -> StoreError {
        let place = self.inner.describe();
        let what = format!("{place} is open for reading alone: {key} is not to be {verb} there");
        StoreError::new(StoreFault::Denied, what)
    }
}

impl Store for ReadOnly {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.inner.read(key)
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.inner.size(key)
    }

    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(folder, prefix)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.inner.folders(folder)
    }

    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        Err(self.refused("written", key))
    }

    fn put(&self, key: &str, _: &[u8]) -> Result<(), StoreError> {
        Err(self.refused("written", key))
    }

    /// Syncing is the writer's business; a reader leaves it alone.
    fn settle(&self, key: &str) -> Result<(), StoreError> {
        self.inner.size(key).map(drop)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        Err(self.refused("removed", key))
    }

    fn hold(&self, key: &str) -> Result<Option<Hold>, StoreError> {
        self.inner.hold(key)
    }

    fn unfinished(&self, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
        self.inner.unfinished(folders)
    }

    fn discard(&self, one: &Unfinished) -> Result<bool, StoreError> {
        Err(self.refused("thrown away", &one.key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::posix::FileStore;
    use super::*;

    #[test]
    fn it_reads_what_is_there_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let inner = FileStore::for_tests(&folder.path().join("place"));
        inner.put("base/object", b"content").unwrap();
        let store = read_only(Arc::new(inner.clone()));
        assert_eq!(store.read("base/object").unwrap(), b"content");
        assert_eq!(store.size("base/object").unwrap(), 7);
        assert_eq!(store.list("base/", "").unwrap(), inner.list("base/", "").unwrap());
        store.settle("base/object").unwrap();
        let left = Unfinished {
            key: String::from("base/object"),
            id: String::from("x"),
            bytes: 0,
            active: jiff::Timestamp::UNIX_EPOCH,
            held: false,
        };
        let refused = [
            store.put("base/new", b"x").unwrap_err(),
            store.create("base/new").map(drop).unwrap_err(),
            store.remove("base/object").unwrap_err(),
            store.discard(&left).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.fault, StoreFault::Denied, "{error}");
        }
        assert_eq!(inner.list("base/", "").unwrap().len(), 1);
        assert_eq!(inner.read("base/object").unwrap(), b"content");
    }
}
