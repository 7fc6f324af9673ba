//! Objects in S3, at Amazon or at any server that speaks it. A name is written under a condition
//! and looked for right before, so that nothing is overwritten; "not there" is taken for an answer
//! only where the repository's marker has been seen and the server names the key as missing.
//!
//! The contract is synchronous and S3's client is not: one runtime of this module's own carries
//! every request, and the caller waits on a channel. So it works from any thread, with a runtime
//! of its own or without.

mod client;
mod credentials;
mod dispatch;
mod hearing;
pub(super) mod permission;
mod reading;
mod retry;
mod runtime;
mod shared;
mod transport;
mod unfinished;
mod upload;

use super::{
    Hold, MARKER, ObjectInfo, ObjectWriter, Store, StoreError, StoreFault, Unfinished, check_key,
    check_removable,
};
use crate::engine::config::{LockMode, S3Config};
use client::{Client, told};
use credentials::KeyRing;
use runtime::wait;
use rusoto_core::Region;
use shared::Shared;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use transport::{Patience, Roots, Transport};
use upload::S3Writer;

const PARALLEL: usize = 4;

/// How much the store bears before it gives up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// The server may be without a word for this long.
    pub silence: Duration,
    /// Of one request; with 8 the waits between them make about half a minute.
    pub tries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), silence: Duration::from_secs(30), tries: 8 }
    }
}

/// A repository in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    shared: Arc<Shared>,
}

impl S3Store {
    /// The store of `cluster`, whose bucket must be there.
    ///
    /// # Errors
    /// Where the certificate or the access keys cannot be used. The server is not asked yet.
    pub fn open(config: &S3Config, cluster: &str) -> Result<Self, StoreError> {
        Self::open_within(config, cluster, Self::limits_of(config))
    }

    fn limits_of(config: &S3Config) -> Limits {
        let mut limits = Limits::default();
        if let Some(seconds) = config.timeout_seconds {
            limits.silence = Duration::from_secs(seconds);
            limits.connect = limits.connect.min(limits.silence);
        }
        limits
    }

    /// As [`S3Store::open`], with limits of one's own.
    ///
    /// # Errors
    /// As [`S3Store::open`].
    pub fn open_within(
        config: &S3Config,
        cluster: &str,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        check_key(cluster)?;
        let prefix = config.prefix.replace("{cluster}", cluster);
        if !prefix.is_empty() {
            check_key(&prefix)?;
        }
        let endpoint = config
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", config.region));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let mut place = format!("s3://{}/{prefix}", config.bucket);
        if config.endpoint.is_some() {
            place = format!("{place} at {endpoint}");
        }
        let patience = Patience { connect: limits.connect, silence: limits.silence };
        let roots = config.root_certificate.as_deref().map_or(Roots::System, Roots::Only);
        let transport = Transport::new(roots, patience)?;
        let (source, region) = (config.credentials.clone(), config.region.clone());
        let keys = wait(async move { KeyRing::new(&source, &region).await })??;
        let client = Client {
            transport,
            keys,
            region: Region::Custom { name: config.region.clone(), endpoint },
            bucket: config.bucket.clone(),
            lock: config.object_lock,
            tries: limits.tries,
            conditional: AtomicBool::new(true),
        };
        let prefix = if prefix.is_empty() { prefix } else { format!("{prefix}/") };
        let parallel = config.parallel.unwrap_or(PARALLEL).clamp(1, 64);
        let marker_seen = AtomicBool::new(false);
        Ok(Self { shared: Arc::new(Shared { client, prefix, place, marker_seen, parallel }) })
    }

    /// The store of `cluster` in a part of the bucket that holds the marker or nothing.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where it holds something and no marker.
    pub fn make(config: &S3Config, cluster: &str) -> Result<Self, StoreError> {
        let store = Self::open(config, cluster)?;
        let shared = &store.shared;
        let (doing, here) = (format!("look into {}", shared.place), Arc::clone(shared));
        let first = wait(async move { here.client.list(&here.prefix, None, None, Some(1)).await })?;
        let first = first.map_err(|e| told(&doing, e))?;
        if first.contents.is_some_and(|objects| !objects.is_empty())
            && shared.require_marker().is_err()
        {
            let what = format!("{} holds something that is no repository", shared.place);
            return Err(StoreError::new(StoreFault::Exists, what));
        }
        Ok(store)
    }

    /// The retention that every object is written with: mode and days.
    #[must_use]
    pub fn retention(&self) -> Option<(LockMode, u16)> {
        self.shared.client.lock.map(|lock| (lock.mode, lock.days))
    }

    fn new_writer(&self) -> Result<String, StoreError> {
        let chance = crate::engine::crypto::keyring::random::<16>()
            .map_err(|e| StoreError::new(StoreFault::Unavailable, e.to_string()))?;
        Ok(data_encoding::HEXLOWER.encode(&chance[..]))
    }
}

impl Store for S3Store {
    fn describe(&self) -> String {
        self.shared.place.clone()
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        self.fetch(key, 0, None, |_, piece| content.extend_from_slice(piece))?;
        Ok(content)
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let length = buffer.len() as u64;
        if length == 0 {
            return match self.size(key)? {
                size if size >= offset => Ok(()),
                _ => Err(self.shared.short(key, offset, 0)),
            };
        }
        let mut filled = 0;
        self.fetch(key, offset, Some(length), |at, piece| {
            let at = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
            let room = buffer.get_mut(at..at.saturating_add(piece.len()));
            if let Some(room) = room {
                room.copy_from_slice(piece);
                filled += piece.len() as u64;
            }
        })?;
        if filled == length { Ok(()) } else { Err(self.shared.short(key, offset, length)) }
    }

    fn size(&self, key: &str) -> Result<u64, StoreError> {
        check_key(key)?;
        let (shared, whole) = (Arc::clone(&self.shared), self.shared.whole(key));
        let found = wait(async move {
            match shared.client.head(&whole).await {
                // A HEAD cannot say whether it is the object or the bucket that is missing.
                Err(e) if e.fault == StoreFault::NotFound => {
                    match shared.client.get(&whole, 0, Some(1), &mut |_| {}).await {
                        Err(e) => Err(e),
                        // It has appeared meanwhile.
                        Ok(()) => shared.client.head(&whole).await,
                    }
                }
                found => found,
            }
        })?;
        let size = found.map(|head| head.size);
        self.shared.proven(key, &self.shared.doing("look at", key), size)
    }

    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut objects = Vec::new();
        self.pages(folder, prefix, |page| {
            for object in page.contents.into_iter().flatten() {
                let key = object.key.as_deref().and_then(|k| k.strip_prefix(&self.shared.prefix));
                let Some(key) = key.filter(|key| check_key(key).is_ok()) else { continue };
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                let written = object.last_modified.and_then(|at| at.parse().ok());
                objects.push(ObjectInfo { key: key.to_owned(), size, written });
            }
        })?;
        if objects.is_empty() {
            self.shared.require_marker()?;
        }
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut folders = BTreeSet::new();
        let above = format!("{}{folder}", self.shared.prefix);
        self.pages(folder, "", |page| {
            for common in page.common_prefixes.into_iter().flatten() {
                let name = common.prefix.as_deref().and_then(|p| p.strip_prefix(&above));
                let name = name.map(|name| name.trim_end_matches('/'));
                if let Some(name) = name.filter(|name| check_key(name).is_ok()) {
                    folders.insert(name.to_owned());
                }
            }
        })?;
        if folders.is_empty() {
            self.shared.require_marker()?;
        }
        Ok(folders.into_iter().collect())
    }

    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        check_key(key)?;
        if key != MARKER {
            self.shared.require_marker()?;
        }
        self.shared.require_absent(key)?;
        Ok(Box::new(S3Writer::new(Arc::clone(&self.shared), key, self.new_writer()?)))
    }

    fn put(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        check_key(key)?;
        if key != MARKER {
            self.shared.require_marker()?;
        }
        // The writer looks itself whether the name is taken, right before it writes; what goes in
        // parts is not sent in vain.
        if content.len() > upload::SMALLEST_PART {
            self.shared.require_absent(key)?;
        }
        let mut writer = Box::new(S3Writer::new(Arc::clone(&self.shared), key, self.new_writer()?));
        let failed = |e| StoreError::io(&self.shared.doing("write", key), e);
        std::io::Write::write_all(&mut writer, content).map_err(failed)?;
        writer.finish()
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        check_removable(key)?;
        // A DELETE answers the same whether there was anything.
        self.size(key)?;
        let (shared, whole) = (Arc::clone(&self.shared), self.shared.whole(key));
        let removed = wait(async move { shared.client.remove(&whole).await })?;
        self.shared.proven(key, &self.shared.doing("remove", key), removed)
    }

    fn hold(&self, key: &str) -> Result<Option<Hold>, StoreError> {
        self.size(key)?;
        let (shared, whole) = (Arc::clone(&self.shared), self.shared.whole(key));
        let head = wait(async move { shared.client.head(&whole).await })?;
        let head = self.shared.proven(key, &self.shared.doing("look at", key), head)?;
        Ok(head.hold)
    }

    fn unfinished(&self, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
        unfinished::list(self, folders)
    }

    fn discard(&self, one: &Unfinished) -> Result<bool, StoreError> {
        unfinished::discard(self, one)
    }
}
