//! A store at the end of a slow line, for drills of a copy that is far away. Owns the pace, which
//! all threads of a process share; all else is the store's beneath.

use super::{Hold, ObjectInfo, ObjectWriter, Store, StoreError, Unfinished};
use crate::engine::config::Line;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `store` behind `line`, or as it is where there is none.
#[must_use]
pub fn slowed(store: Arc<dyn Store>, line: Option<Line>) -> Arc<dyn Store> {
    match line {
        Some(line) => Arc::new(Slowed { inner: store, pace: Arc::new(Pace::new(line)) }),
        None => store,
    }
}

#[derive(Debug)]
struct Slowed {
    inner: Arc<dyn Store>,
    pace: Arc<Pace>,
}

/// When the line is free again: bytes take their turn, whoever sends them.
#[derive(Debug)]
struct Pace {
    line: Line,
    free: Mutex<Instant>,
}

impl Pace {
    fn new(line: Line) -> Self {
        Self { line, free: Mutex::new(Instant::now()) }
    }

    /// How long `bytes` keep the line busy.
    fn time_of(&self, bytes: usize) -> Duration {
        let rate = self.line.bytes_per_second.max(1) as f64;
        Duration::from_secs_f64(bytes as f64 / rate)
    }

    fn answer(&self, bytes: usize) {
        self.send(bytes);
        std::thread::sleep(Duration::from_millis(u64::from(self.line.latency_ms)));
    }

    fn send(&self, bytes: usize) {
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*free).max(Instant::now());
            *free = begin + self.time_of(bytes);
            *free
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

impl Store for Slowed {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let content = self.inner.read(key);
        self.pace.answer(content.as_ref().map_or(0, Vec::len));
        content
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let read = self.inner.read_range(key, offset, buffer);
        self.pace.answer(buffer.len());
        read
    }

    fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.pace.answer(0);
        self.inner.size(key)
    }

    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.pace.answer(0);
        self.inner.list(folder, prefix)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.pace.answer(0);
        self.inner.folders(folder)
    }

    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.pace.answer(0);
        let inner = self.inner.create(key)?;
        Ok(Box::new(Writer { inner, pace: Arc::clone(&self.pace) }))
    }

    fn settle(&self, key: &str) -> Result<(), StoreError> {
        self.inner.settle(key)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.pace.answer(0);
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

struct Writer {
    inner: Box<dyn ObjectWriter>,
    pace: Arc<Pace>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pace.send(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl ObjectWriter for Writer {
    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        self.pace.answer(0);
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_one_after_another() {
        let pace = Pace::new(Line { bytes_per_second: 1_000_000, latency_ms: 0 });
        assert_eq!(pace.time_of(500_000), Duration::from_millis(500));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| pace.answer(25_000));
            }
        });
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    }
}
