//! A store that counts what is read through it. Owns the count; all else is the store's beneath.

use super::{Hold, ObjectInfo, ObjectWriter, Store, StoreError, Unfinished};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of objects that were read; listings are not counted.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<dyn Store>,
    read: AtomicU64,
}

impl Counting {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, read: AtomicU64::new(0) }
    }

    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Store for Counting {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let content = self.inner.read(key)?;
        self.count(content.len());
        Ok(content)
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_range(key, offset, buffer)?;
        self.count(buffer.len());
        Ok(())
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
        self.inner.create(key)
    }

    fn put(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        self.inner.put(key, content)
    }

    fn settle(&self, key: &str) -> Result<(), StoreError> {
        self.inner.settle(key)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.inner.remove(key)
    }

    fn hold(&self, key: &str) -> Result<Option<Hold>, StoreError> {
        self.inner.hold(key)
    }

    fn unfinished(&self, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
        self.inner.unfinished(folders)
    }

    fn discard(&self, one: &Unfinished) -> Result<bool, StoreError> {
        self.inner.discard(one)
    }
}
