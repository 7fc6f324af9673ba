//! Fetching WAL ahead of a server that replays it. Owns the prefetcher's process: what it fetches
//! next, how far ahead, and when it ends. Never says that a file is not there; see [`super::spool`]
//! for what it fills.

use super::fetch::{FetchError, Sources, WalSource, fetch_to};
use super::names::Segment;
use super::spool::{POLL, Spool, lock, spools};
use crate::engine::config::RepositoryConfig;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two tries of a segment that was not there or could not be had.
const AGAIN: Duration = Duration::from_secs(1);

/// The bounds of a prefetcher.
#[derive(Debug, Clone)]
pub struct PrefetchOptions {
    /// Segments in the spool at most.
    pub segments: usize,
    /// Bytes in the spool at most; one segment is always kept, whatever its size.
    pub bytes: u64,
    pub workers: usize,
    /// It ends by itself when nobody has used it for so long.
    pub idle: Duration,
}

impl Default for PrefetchOptions {
    fn default() -> Self {
        Self { segments: 16, bytes: 512 << 20, workers: 2, idle: Duration::from_secs(20) }
    }
}

/// What a prefetcher did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefetchSummary {
    /// Segments put into the spool.
    pub fetched: u64,
    /// False where another prefetcher works on this spool already.
    pub ran: bool,
}

/// The whole of `lifeboat prefetch-wal`: leaves the server's session and process group, and works
/// until nobody uses it. Its exit code.
#[must_use]
pub fn prefetch_main(
    cluster: &str,
    repositories: &[RepositoryConfig],
    rescue: Option<&Path>,
    spool: &Path,
    options: &PrefetchOptions,
) -> u8 {
    // Refused only where this process leads its group already, which is as good.
    let _ = rustix::process::setsid();
    let sources = Sources::new(cluster, repositories, rescue);
    let spool = Spool::new(spool, &sources.fingerprint());
    u8::from(run_prefetcher(&sources, &spool, options).is_err())
}

/// Keeps the spool filled with the segments after the cursor, and ends when nobody has used it
/// for `options.idle`, when it is told to stop, or when the spool is gone. Leaves no segment.
///
/// # Errors
/// Where the spool could not be made.
pub fn run_prefetcher(
    source: &dyn WalSource,
    spool: &Spool,
    options: &PrefetchOptions,
) -> io::Result<PrefetchSummary> {
    spool.make()?;
    let Some(_lock) = lock(spool)? else { return Ok(PrefetchSummary::default()) };
    for other in spool.folder.parent().map(spools).unwrap_or_default() {
        if other.folder != spool.folder && other.is_private() && !other.is_running() {
            other.empty();
        }
    }
    let state = Mutex::new(State::new(spool, options));
    std::thread::scope(|scope| {
        for _ in 0..options.workers.max(1) {
            scope.spawn(|| work(source, &state));
        }
    });
    spool.empty();
    let fetched = locked(&state).fetched;
    Ok(PrefetchSummary { fetched, ran: true })
}

fn locked<'a, 'b>(state: &'a Mutex<State<'b>>) -> std::sync::MutexGuard<'a, State<'b>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(source: &dyn WalSource, state: &Mutex<State<'_>>) {
    loop {
        let claimed = {
            let mut state = locked(state);
            state.look();
            if state.ended {
                return;
            }
            state.claim()
        };
        let Some((segment, name)) = claimed else {
            std::thread::sleep(POLL);
            continue;
        };
        let temporary = locked(state).spool.fetching(&name);
        let outcome = fetch_to(source, &name, &temporary);
        locked(state).settle(segment, &name, &temporary, outcome.map(drop));
    }
}

struct State<'a> {
    spool: &'a Spool,
    options: &'a PrefetchOptions,
    /// The cursor as it was last read, its segment, and the segment size.
    cursor: Option<(String, Segment, u64)>,
    next: Option<Segment>,
    ready: BTreeSet<String>,
    on_their_way: BTreeSet<Segment>,
    not_before: Option<Instant>,
    last_use: Instant,
    fetched: u64,
    ended: bool,
}

impl<'a> State<'a> {
    fn new(spool: &'a Spool, options: &'a PrefetchOptions) -> Self {
        Self {
            spool,
            options,
            cursor: None,
            next: None,
            ready: BTreeSet::new(),
            on_their_way: BTreeSet::new(),
            not_before: None,
            last_use: Instant::now(),
            fetched: 0,
            ended: false,
        }
    }

    /// What the server took since, and where it went.
    fn look(&mut self) {
        if self.spool.folder.join("stop").exists() {
            self.ended = true;
        }
        let Ok(ready) = self.spool.ready() else {
            self.ended = true;
            return;
        };
        if self.ready.iter().any(|name| !ready.contains(name)) {
            self.last_use = Instant::now();
        }
        self.ready = ready;
        let cursor = self.spool.cursor();
        if cursor.is_some() && cursor != self.cursor {
            self.cursor = cursor;
            self.next = self.cursor.as_ref().map(|(_, segment, _)| *segment);
            self.not_before = None;
            self.last_use = Instant::now();
            self.drop_what_is_behind();
        }
        if self.last_use.elapsed() >= self.options.idle {
            self.ended = true;
        }
    }

    /// The server went somewhere else: what it will not ask for makes room.
    fn drop_what_is_behind(&mut self) {
        let Some((_, _, size)) = self.cursor else { return };
        let stale: Vec<String> = self
            .ready
            .iter()
            .filter(|name| !Segment::parse(name, size).is_some_and(|s| self.is_ahead(s)))
            .cloned()
            .collect();
        for name in stale {
            let _ = fs::remove_file(self.spool.folder.join(&name));
            self.ready.remove(&name);
        }
    }

    fn is_ahead(&self, segment: Segment) -> bool {
        let window = self.window();
        self.cursor.as_ref().is_some_and(|(_, cursor, _)| {
            segment.timeline == cursor.timeline
                && segment.number >= cursor.number
                // The window moves on as the server takes from it; far beyond it is elsewhere.
                && self.next.is_none_or(|next| {
                    segment.number < next.number.saturating_add(window as u64)
                })
        })
    }

    fn window(&self) -> usize {
        let size = self.cursor.as_ref().map_or(1, |(_, _, size)| *size).max(1);
        let by_bytes = usize::try_from(self.options.bytes / size).unwrap_or(usize::MAX);
        self.options.segments.min(by_bytes).max(1)
    }

    fn claim(&mut self) -> Option<(Segment, String)> {
        let size = self.cursor.as_ref()?.2;
        if self.not_before.is_some_and(|time| Instant::now() < time) {
            return None;
        }
        loop {
            if self.ready.len() + self.on_their_way.len() >= self.window() {
                return None;
            }
            let segment = self.next?;
            self.next = Some(segment.next());
            let name = segment.name(size);
            if !self.ready.contains(&name) && self.on_their_way.insert(segment) {
                return Some((segment, name));
            }
        }
    }

    fn settle(
        &mut self,
        segment: Segment,
        name: &str,
        temporary: &Path,
        outcome: Result<(), FetchError>,
    ) {
        self.on_their_way.remove(&segment);
        let wanted = self.is_ahead(segment);
        if outcome.is_ok() && wanted && fs::rename(temporary, self.spool.folder.join(name)).is_ok()
        {
            self.ready.insert(name.to_owned());
            self.fetched += 1;
            return;
        }
        let _ = fs::remove_file(temporary);
        if wanted {
            // Not there yet, or not to be had: `restore-wal` says which when it is asked for it.
            self.next = self.next.map(|next| next.min(segment));
            self.not_before = Some(Instant::now() + AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wal::fetch::{FetchRequest, Fetched, fetch_file};
    use crate::engine::wal::identity::made;
    use crate::engine::wal::spool::{ensure, stop};
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    const SIZE: u64 = 1 << 20;

    fn name(number: u64) -> String {
        Segment { timeline: 1, number }.name(SIZE)
    }

    /// An archive of the segments 1 to `last` that fails from `broken` on, and gives nothing while
    /// it is `held`.
    struct Archive {
        last: u64,
        broken: AtomicU64,
        asked: AtomicBool,
        held: AtomicBool,
    }

    impl Archive {
        fn new(last: u64) -> Self {
            let (asked, held) = (AtomicBool::new(false), AtomicBool::new(false));
            Self { last, broken: AtomicU64::new(u64::MAX), asked, held }
        }
    }

    impl WalSource for Archive {
        fn fetch(
            &self,
            name: &str,
            _: &[String],
            output: &mut dyn Write,
        ) -> Result<Fetched, FetchError> {
            self.asked.store(true, Ordering::SeqCst);
            wait_for("the archive to answer", || !self.held.load(Ordering::SeqCst));
            let segment = Segment::parse(name, SIZE).unwrap();
            if segment.number >= self.broken.load(Ordering::SeqCst) {
                output.write_all(b"half of it").unwrap();
                return Err(FetchError::NoRepository(name.to_owned()));
            }
            if segment.number > self.last || segment.timeline != 1 {
                return Err(FetchError::Absent(name.to_owned()));
            }
            output.write_all(&made::segment(name, 7, SIZE as u32)).unwrap();
            Ok(Fetched::Repository("near".to_owned()))
        }
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < until, "waited 20 s for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Runs `act` beside a prefetcher, and gives what the prefetcher did.
    fn beside(
        archive: &Archive,
        options: &PrefetchOptions,
        act: impl FnOnce(&Spool, &Path),
    ) -> PrefetchSummary {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path(), "0123456789abcdef");
        std::thread::scope(|scope| {
            let prefetcher = scope.spawn(|| run_prefetcher(archive, &spool, options).unwrap());
            wait_for("the prefetcher", || spool.is_running());
            act(&spool, &folder.path().join("RECOVERYXLOG"));
            assert!(stop(folder.path(), Duration::from_secs(20)), "the prefetcher ends when told");
            assert!(spool.ready().unwrap().is_empty(), "segments stayed in the spool");
            prefetcher.join().unwrap()
        })
    }

    #[test]
    fn segments_come_in_order_and_never_more_than_the_window() {
        let options = PrefetchOptions { segments: 4, ..PrefetchOptions::default() };
        let summary = beside(&Archive::new(40), &options, |spool, destination| {
            spool.set_cursor(Segment { timeline: 1, number: 2 }, SIZE).unwrap();
            for number in 2..=40 {
                wait_for("the segment", || spool.ready().unwrap().contains(&name(number)));
                let ready = spool.ready().unwrap();
                assert!(ready.len() <= 4, "{ready:?}");
                assert!(ready.iter().all(|n| *n >= name(number)), "{ready:?}");
                assert!(spool.take(&name(number), destination));
                let content = fs::read(destination).unwrap();
                assert_eq!(content, made::segment(&name(number), 7, SIZE as u32));
                ensure(spool, &[], &name(number), SIZE, false);
            }
            assert!(!spool.take(&name(41), destination), "beyond the archive");
        });
        assert_eq!(summary, PrefetchSummary { fetched: 39, ran: true });
    }

    #[test]
    fn the_window_is_bounded_by_bytes_too() {
        let options = PrefetchOptions { bytes: 2 * SIZE + 5, ..PrefetchOptions::default() };
        beside(&Archive::new(40), &options, |spool, destination| {
            spool.set_cursor(Segment { timeline: 1, number: 1 }, SIZE).unwrap();
            for number in 1..10 {
                wait_for("two segments", || spool.ready().unwrap().len() == 2);
                assert!(spool.take(&name(number), destination));
            }
        });
    }

    #[test]
    fn a_server_that_goes_elsewhere_is_followed() {
        beside(&Archive::new(200), &PrefetchOptions::default(), |spool, destination| {
            for number in [1, 100, 50, 51] {
                ensure(spool, &[], &name(number), SIZE, true);
                wait_for("the segment", || spool.take(&name(number + 1), destination));
                wait_for("what is behind to go", || {
                    spool
                        .ready()
                        .unwrap()
                        .iter()
                        .all(|n| (name(number + 2)..=name(number + 20)).contains(n))
                });
            }
        });
    }

    #[test]
    fn an_archive_that_fails_leaves_nothing_and_is_tried_again() {
        let archive = Archive::new(40);
        archive.broken.store(5, Ordering::SeqCst);
        beside(&archive, &PrefetchOptions::default(), |spool, destination| {
            spool.set_cursor(Segment { timeline: 1, number: 3 }, SIZE).unwrap();
            wait_for("what can be had", || spool.ready().unwrap().len() == 2);
            assert!(!spool.take(&name(5), destination), "half a file was taken");
            assert!(!destination.exists());
            archive.broken.store(u64::MAX, Ordering::SeqCst);
            wait_for("the archive again", || spool.ready().unwrap().contains(&name(5)));
        });
    }

    #[test]
    fn it_ends_by_itself_and_two_do_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path(), "0123456789abcdef");
        let archive = Archive::new(40);
        // Held up in the middle of a fetch the first one runs, however long the second needs.
        archive.held.store(true, Ordering::SeqCst);
        let idle = Duration::from_millis(300);
        let options = PrefetchOptions { idle, ..PrefetchOptions::default() };
        spool.make().unwrap();
        spool.set_cursor(Segment { timeline: 1, number: 1 }, SIZE).unwrap();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| run_prefetcher(&archive, &spool, &options).unwrap());
            wait_for("the first fetch", || archive.asked.load(Ordering::SeqCst));
            let second = run_prefetcher(&archive, &spool, &options).unwrap();
            assert_eq!(second, PrefetchSummary { fetched: 0, ran: false });
            archive.held.store(false, Ordering::SeqCst);
            let first = first.join().unwrap();
            // How many it fetched before it ended is the machine's affair.
            assert!(first.ran && first.fetched <= 16, "{first:?}");
        });
        assert!(spool.ready().unwrap().is_empty());
    }

    #[test]
    fn a_spool_that_others_can_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources::new("shop", &[], Some(folder.path()));
        let spool = Spool::new(folder.path(), &sources.fingerprint());
        spool.make().unwrap();
        fs::write(spool.folder.join(name(1)), made::segment(&name(1), 7, SIZE as u32)).unwrap();
        fs::set_permissions(&spool.folder, fs::Permissions::from_mode(0o770)).unwrap();
        let destination = folder.path().join("RECOVERYXLOG");
        let request = FetchRequest {
            name: &name(1),
            destination: &destination,
            sources: &sources,
            spool: Some(folder.path()),
            prefetcher: &[],
        };
        assert!(matches!(fetch_file(&request), Err(FetchError::NoRepository(_))));
        fs::set_permissions(&spool.folder, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fetch_file(&request).unwrap(), Fetched::Spool);
    }
}
