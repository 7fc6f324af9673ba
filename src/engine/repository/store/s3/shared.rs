//! What a store and its writers have in common: the client, the place in the bucket, and whether a
//! repository was seen there. Owns when "not there" is an answer; never writes.

use super::super::{MARKER, StoreError, StoreFault};
use super::client::{Client, told};
use super::retry::Failure;
use super::runtime::wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the store and its writers have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub client: Client,
    /// Before every key: empty, or ending in a slash.
    pub prefix: String,
    pub place: String,
    pub marker_seen: AtomicBool,
    pub parallel: usize,
}

impl Shared {
    /// The name in the bucket.
    pub fn whole(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub fn doing(&self, verb: &str, key: &str) -> String {
        format!("{verb} {key} in {}", self.place)
    }

    pub fn exists(&self, key: &str) -> StoreError {
        let what = format!("{key} is already in {}; it is never overwritten", self.place);
        StoreError::new(StoreFault::Exists, what)
    }

    pub fn short(&self, key: &str, offset: u64, length: u64) -> StoreError {
        let what = format!(
            "{key} in {} is too short: it does not hold {length} bytes from byte {offset} on",
            self.place
        );
        StoreError::of_bucket(StoreFault::Unavailable, what)
    }

    /// "Not there" is an answer only where there is a repository.
    pub fn proven<T>(
        self: &Arc<Self>,
        key: &str,
        doing: &str,
        result: Result<T, Failure>,
    ) -> Result<T, StoreError> {
        match result {
            Ok(done) => {
                if key == MARKER {
                    self.marker_seen.store(true, Ordering::Relaxed);
                }
                Ok(done)
            }
            Err(e) if e.fault == StoreFault::NotFound && e.code == "NoSuchKey" => {
                self.require_marker()?;
                let what = format!("{key} is not in {}", self.place);
                Err(StoreError::new(StoreFault::NotFound, what))
            }
            Err(e) => {
                // A 404 that does not say what is missing proves nothing.
                let absent = e.fault == StoreFault::NotFound;
                let fault = if absent { StoreFault::Unavailable } else { e.fault };
                Err(told(doing, Failure { fault, ..e }))
            }
        }
    }

    pub fn require_marker(self: &Arc<Self>) -> Result<(), StoreError> {
        if self.marker_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (shared, whole) = (Arc::clone(self), self.whole(MARKER));
        match wait(async move { shared.client.head(&whole).await })? {
            Ok(_) => {
                self.marker_seen.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(e) if e.fault == StoreFault::NotFound => {
                let what = format!(
                    "there is no repository at {}: no such bucket, or no {MARKER} in it",
                    self.place
                );
                Err(StoreError::of_bucket(StoreFault::Unavailable, what))
            }
            Err(e) => Err(told(&self.doing("look at", MARKER), e)),
        }
    }

    pub fn require_absent(self: &Arc<Self>, key: &str) -> Result<(), StoreError> {
        let (shared, whole) = (Arc::clone(self), self.whole(key));
        match wait(async move { shared.client.head(&whole).await })? {
            Ok(_) => Err(self.exists(key)),
            Err(e) if e.fault == StoreFault::NotFound => Ok(()),
            Err(e) => Err(told(&self.doing("look at", key), e)),
        }
    }
}
