//! An object on its way into S3: in one request where it is small, else in parts, several at the
//! same time. Owns how large a part is and that nothing of an unfinished object stays; memory is
//! bounded by a few parts. Never overwrites.

use super::super::{ObjectWriter, StoreError, StoreFault};
use super::client::{Part, Written, told};
use super::retry::Failure;
use super::runtime::{lost, spawn, wait};
use super::shared::Shared;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// The first thousand parts; an object up to this is written in one request.
pub const SMALLEST_PART: usize = 8 << 20;
/// Parts on their way at the same time hold at most this much, or are one.
const IN_FLIGHT: usize = 32 << 20;
/// How long giving up waits for the server to throw the parts away.
const FAREWELL: Duration = Duration::from_secs(20);

/// The size of part `number` (from 1): doubled every thousand parts, so that 10,000, the most that
/// S3 takes, hold more than the 5 TiB that an object may have, and small objects cost little
/// memory. An object below 8 GB has equal parts.
fn part_size(number: i64) -> usize {
    let doublings = (number.max(1) - 1) / 1000;
    SMALLEST_PART << doublings.clamp(0, 9)
}

/// An object being written.
pub struct S3Writer {
    store: Arc<Shared>,
    /// From the repository's prefix.
    key: String,
    /// By chance: tells this writer's object from everybody else's.
    writer: String,
    buffer: Vec<u8>,
    /// Bytes taken.
    size: u64,
    upload: Option<Upload>,
}

struct Upload {
    id: String,
    done: Vec<Part>,
    in_flight: VecDeque<Sending>,
    next: i64,
}

struct Sending {
    result: Receiver<Result<Part, Failure>>,
    task: tokio::task::AbortHandle,
}

impl S3Writer {
    pub fn new(store: Arc<Shared>, key: &str, writer: String) -> Self {
        Self { store, key: key.to_owned(), writer, buffer: Vec::new(), size: 0, upload: None }
    }

    fn doing(&self) -> String {
        format!("write {} to {}", self.key, self.store.place)
    }

    fn next_size(&self) -> usize {
        part_size(self.upload.as_ref().map_or(1, |upload| upload.next))
    }

    /// Sends what is in the buffer as the next part.
    fn ship(&mut self) -> Result<(), StoreError> {
        let (doing, size) = (self.doing(), self.next_size());
        let (store, key) = (Arc::clone(&self.store), self.store.whole(&self.key));
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let (store, key, writer) = (Arc::clone(&store), key.clone(), self.writer.clone());
                let begun = wait(async move { store.client.begin(&key, &writer).await })?;
                let id = begun.map_err(|e| told(&doing, e))?;
                none.insert(Upload { id, done: vec![], in_flight: VecDeque::new(), next: 1 })
            }
        };
        while upload.in_flight.len() >= (IN_FLIGHT / size).clamp(1, 3) {
            upload.collect_one(&doing)?;
        }
        let content = Bytes::from(std::mem::take(&mut self.buffer));
        let (id, number) = (upload.id.clone(), upload.next);
        let (result, task) =
            spawn(async move { store.client.part(&key, &id, number, content).await })?;
        upload.in_flight.push_back(Sending { result, task });
        upload.next += 1;
        Ok(())
    }

    fn publish(&mut self) -> Result<Written, StoreError> {
        let (doing, size) = (self.doing(), self.size);
        let (store, writer) = (Arc::clone(&self.store), self.writer.clone());
        let key = store.whole(&self.key);
        let Some(upload) = &mut self.upload else {
            let content = Bytes::from(std::mem::take(&mut self.buffer));
            let put = wait(async move { store.client.put(&key, content, &writer).await })?;
            return put.map_err(|e| told(&doing, e));
        };
        while !upload.in_flight.is_empty() {
            upload.collect_one(&doing)?;
        }
        let (id, parts) = (upload.id.clone(), upload.done.clone());
        let completed =
            wait(async move { store.client.complete(&key, &id, &parts, size, &writer).await })?;
        completed.map_err(|e| told(&doing, e))
    }
}

impl Upload {
    fn collect_one(&mut self, doing: &str) -> Result<(), StoreError> {
        let Some(sending) = self.in_flight.pop_front() else { return Ok(()) };
        let sent = sending.result.recv().map_err(|_| lost())?;
        self.done.push(sent.map_err(|e| told(doing, e))?);
        Ok(())
    }
}

impl Write for S3Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.next_size();
        // Only once there is more: an object of one part's size is written in one request.
        if self.buffer.len() >= size && !bytes.is_empty() {
            self.ship().map_err(as_io)?;
        }
        let take = size.saturating_sub(self.buffer.len()).min(bytes.len());
        let (taken, _) = bytes.split_at(take);
        self.buffer.extend_from_slice(taken);
        self.size = self.size.saturating_add(take as u64);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for S3Writer {
    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.upload.is_some() && !self.buffer.is_empty() {
            self.ship()?;
        }
        // Not every server knows conditional writes; for those this is what never overwrites.
        self.store.require_absent(&self.key)?;
        let written = match self.publish() {
            Err(e) if e.fault == StoreFault::Exists => return Err(self.store.exists(&self.key)),
            other => other?,
        };
        self.upload = None;
        if written.proven {
            return Ok(());
        }
        let (store, key) = (Arc::clone(&self.store), self.store.whole(&self.key));
        let found = wait(async move { store.client.head(&key).await })?;
        let found = found.map_err(|e| told(&self.doing(), e))?;
        if found.size != self.size {
            let what = format!(
                "{} in {} has {} bytes, and {} were written",
                self.key, self.store.place, found.size, self.size
            );
            return Err(StoreError::of_bucket(StoreFault::Unavailable, what));
        }
        Ok(())
    }
}

impl Drop for S3Writer {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        // A part that arrives after the abort would stay.
        for sending in &upload.in_flight {
            sending.task.abort();
        }
        for sending in upload.in_flight {
            let _ = sending.result.recv_timeout(FAREWELL);
        }
        let (store, key) = (Arc::clone(&self.store), self.store.whole(&self.key));
        // Where it fails the parts stay unseen, until the bucket's own rule removes them.
        if let Ok((aborted, _)) = spawn(async move { store.client.abort(&key, &upload.id).await }) {
            let _ = aborted.recv_timeout(FAREWELL);
        }
    }
}

/// For `Write`, so that the caller can still tell the kinds apart.
fn as_io(error: StoreError) -> io::Error {
    let kind = match error.fault {
        StoreFault::NotFound => io::ErrorKind::NotFound,
        StoreFault::Exists => io::ErrorKind::AlreadyExists,
        StoreFault::TimedOut => io::ErrorKind::TimedOut,
        StoreFault::Denied => io::ErrorKind::PermissionDenied,
        StoreFault::NoSpace => io::ErrorKind::StorageFull,
        StoreFault::Throttled | StoreFault::Unavailable => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_the_largest_object() {
        let all: u64 = (1..=10_000).map(|number| part_size(number) as u64).sum();
        assert!(all > 5 << 40, "{all}");
        let gigabytes: u64 = (1..=1000).map(|number| part_size(number) as u64).sum();
        assert_eq!(gigabytes, 1000 * SMALLEST_PART as u64);
        assert!((1..=10_000).all(|n| (5 << 20..=5 << 30).contains(&part_size(n))));
    }
}
