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
mod retry;
mod transport;
mod unfinished;
mod upload;

use super::{
    Hold, MARKER, ObjectInfo, ObjectWriter, Store, StoreError, StoreFault, Unfinished,
    check_folder, check_key, check_removable,
};
use crate::engine::config::{LockMode, S3Config};
use bytes::Bytes;
use client::{Client, told};
use credentials::KeyRing;
use futures_util::{StreamExt, TryStreamExt};
use retry::{Again, Failure};
use rusoto_core::Region;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use transport::{Patience, Roots, Transport};
use upload::S3Writer;

/// A large range is read in pieces of this size, several at the same time.
const PIECE: u64 = 8 << 20;
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

/// What the store and its writers have in common.
#[derive(Debug)]
struct Shared {
    client: Client,
    /// Before every key: empty, or ending in a slash.
    prefix: String,
    place: String,
    marker_seen: AtomicBool,
    parallel: usize,
}

impl S3Store {
    /// The store of `cluster`, whose bucket must be there.
    ///
    /// # Errors
    /// Where the certificate or the access keys cannot be used. The server is not asked yet.
    pub fn open(config: &S3Config, cluster: &str) -> Result<Self, StoreError> {
        let mut limits = Limits::default();
        if let Some(seconds) = config.timeout_seconds {
            limits.silence = Duration::from_secs(seconds);
            limits.connect = limits.connect.min(limits.silence);
        }
        Self::open_within(config, cluster, limits)
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

    /// Reads `length` bytes from `start`, or all, and gives them to `take` with their place in the
    /// object, in any order.
    fn fetch(
        &self,
        key: &str,
        start: u64,
        length: Option<u64>,
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        check_key(key)?;
        let shared = Arc::clone(&self.shared);
        let (whole, doing) = (shared.whole(key), shared.doing("read", key));
        // Without a bound of its own: the caller's buffer bounds it.
        let (send, pieces) = channel::<(u64, Bytes)>();
        let (result, _) = spawn(async move {
            let ranges = ranges(start, length);
            let (shared, whole, send) = (&shared, &whole, &send);
            futures_util::stream::iter(ranges)
                .map(|(from, length)| async move {
                    let mut at = from;
                    let mut sink = |piece: Bytes| {
                        let size = piece.len() as u64;
                        // The receiver is gone only where nobody waits any more.
                        let _ = send.send((at, piece));
                        at = at.saturating_add(size);
                    };
                    shared.client.get(whole, from, length, &mut sink).await
                })
                .buffer_unordered(shared.parallel)
                .try_collect::<()>()
                .await
        })?;
        for (at, piece) in pieces {
            take(at, &piece);
        }
        let result = result.recv().map_err(|_| lost())?;
        self.shared.proven(key, &doing, result)
    }

    /// Every page of a listing right under `folder`.
    fn pages(
        &self,
        folder: &str,
        prefix: &str,
        mut each: impl FnMut(rusoto_s3::ListObjectsV2Output),
    ) -> Result<(), StoreError> {
        check_folder(folder)?;
        let place = if folder.is_empty() { "the repository" } else { folder };
        let doing = self.shared.doing("list", place);
        let whole = format!("{}{folder}{prefix}", self.shared.prefix);
        let mut token = None;
        loop {
            let (shared, whole, from) = (Arc::clone(&self.shared), whole.clone(), token.clone());
            let page =
                wait(async move { shared.client.list(&whole, Some("/"), from, None).await })?;
            let page = page.map_err(|e| told(&doing, e))?;
            let (more, next) = (page.is_truncated, page.next_continuation_token.clone());
            each(page);
            if more != Some(true) {
                return Ok(());
            }
            if next.is_none() || next == token {
                let what = "the server says that there is more, and not where it goes on";
                let failure = Failure::new(StoreFault::Unavailable, Again::Never, what);
                return Err(told(&doing, failure));
            }
            token = next;
        }
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

impl S3Store {
    fn new_writer(&self) -> Result<String, StoreError> {
        let chance = crate::engine::crypto::keyring::random::<16>()
            .map_err(|e| StoreError::new(StoreFault::Unavailable, e.to_string()))?;
        Ok(data_encoding::HEXLOWER.encode(&chance[..]))
    }
}

impl Shared {
    /// The name in the bucket.
    fn whole(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn doing(&self, verb: &str, key: &str) -> String {
        format!("{verb} {key} in {}", self.place)
    }

    fn exists(&self, key: &str) -> StoreError {
        let what = format!("{key} is already in {}; it is never overwritten", self.place);
        StoreError::new(StoreFault::Exists, what)
    }

    fn short(&self, key: &str, offset: u64, length: u64) -> StoreError {
        let what = format!(
            "{key} in {} is too short: it does not hold {length} bytes from byte {offset} on",
            self.place
        );
        StoreError::of_bucket(StoreFault::Unavailable, what)
    }

    /// "Not there" is an answer only where there is a repository.
    fn proven<T>(
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

    fn require_marker(self: &Arc<Self>) -> Result<(), StoreError> {
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

    fn require_absent(self: &Arc<Self>, key: &str) -> Result<(), StoreError> {
        let (shared, whole) = (Arc::clone(self), self.whole(key));
        match wait(async move { shared.client.head(&whole).await })? {
            Ok(_) => Err(self.exists(key)),
            Err(e) if e.fault == StoreFault::NotFound => Ok(()),
            Err(e) => Err(told(&self.doing("look at", key), e)),
        }
    }
}

/// The pieces of a range; one without an end where the length is not known.
fn ranges(start: u64, length: Option<u64>) -> Vec<(u64, Option<u64>)> {
    let Some(length) = length else { return vec![(start, None)] };
    let count = length.div_ceil(PIECE);
    let piece = |n: u64| (start.saturating_add(n * PIECE), Some(PIECE.min(length - n * PIECE)));
    (0..count).map(piece).collect()
}

/// The runtime of all S3 stores, made at the first use. It is never dropped: that could block.
fn handle() -> Result<Handle, StoreError> {
    static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.handle().clone());
    }
    let made = Builder::new_multi_thread().worker_threads(2).thread_name("s3").enable_all().build();
    let made = made.map_err(|e| StoreError::io("start the threads that speak to S3", e))?;
    Ok(runtime.insert(made).handle().clone())
}

/// What a task gives back, and the task.
type Task<T> = (Receiver<T>, tokio::task::AbortHandle);

fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<Task<T>, StoreError> {
    let (send, receive) = sync_channel(1);
    let task = handle()?.spawn(async move {
        // Nobody waits any more: then nobody wants it.
        let _ = send.send(task.await);
    });
    Ok((receive, task.abort_handle()))
}

/// Waits for a request. Every request has its limits, so this ends.
fn wait<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    spawn(task)?.0.recv().map_err(|_| lost())
}

/// The task broke down: rusoto panics over some answers.
fn lost() -> StoreError {
    let what = "a request to S3 broke down over the server's answer";
    StoreError::of_bucket(StoreFault::Unavailable, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_without_gaps() {
        for (start, length) in [(0, 1), (5, PIECE), (7, PIECE + 1), (0, 3 * PIECE + 17)] {
            let pieces = ranges(start, Some(length));
            let mut at = start;
            for (from, size) in pieces {
                assert_eq!(from, at);
                at += size.unwrap();
            }
            assert_eq!(at, start + length);
        }
        assert_eq!(ranges(9, None), [(9, None)]);
    }
}
