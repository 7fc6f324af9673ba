//! The spool: a private folder on the data directory's volume where the next segments lie ready,
//! so that `restore-wal` only renames. Owns its layout and who may use it. A spool is a
//! convenience: whatever is wrong with it, the file is fetched directly.
//!
//! ```text
//! <spool>/<places and boot>/lock       held by the one prefetcher that works here
//!                          /cursor     the segment that the server will ask for next, and its size
//!                          /stop       asks the prefetcher to end
//!                          /.N.fetching, N    segments on their way, and ready
//! ```

use super::names::{Segment, WalFile};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long `restore-wal` waits for a segment that is on its way before it fetches it itself.
const ON_ITS_WAY: Duration = Duration::from_secs(5);
pub(super) const POLL: Duration = Duration::from_millis(4);

/// The spool for one set of places.
#[derive(Debug, Clone)]
pub struct Spool {
    pub(super) folder: PathBuf,
}

impl Spool {
    /// Touches nothing. What was spooled before the machine was last started is never used: it was
    /// not synced, and may be anything now.
    #[must_use]
    pub fn new(root: &Path, fingerprint: &str) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        Self { folder: root.join(format!("{fingerprint}-{boot}")) }
    }

    /// Where the segments lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Renames a segment that is ready to `destination`; waits a little for one that is on its
    /// way. False where it is not to be had here.
    pub(super) fn take(&self, name: &str, destination: &Path) -> bool {
        if !self.is_private() {
            return false;
        }
        let until = Instant::now() + ON_ITS_WAY;
        loop {
            let on_its_way = self.fetching(name).exists();
            if fs::rename(self.folder.join(name), destination).is_ok() {
                return true;
            }
            if !on_its_way || Instant::now() >= until || !self.is_running() {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether the folder is ours alone: anybody else could have put false WAL into it.
    pub(super) fn is_private(&self) -> bool {
        let user = rustix::process::geteuid().as_raw();
        fs::symlink_metadata(&self.folder)
            .is_ok_and(|m| m.is_dir() && m.uid() == user && m.mode() & 0o077 == 0)
    }

    pub(super) fn is_running(&self) -> bool {
        File::options()
            .write(true)
            .open(self.folder.join("lock"))
            .is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    pub(super) fn fetching(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".{name}.fetching"))
    }

    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if self.is_private() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can write into the spool"))
    }

    pub(super) fn set_cursor(&self, next: Segment, size: u64) -> io::Result<()> {
        let temporary = self.folder.join(format!(".cursor.{}", std::process::id()));
        fs::write(&temporary, format!("{} {size}", next.name(size)))?;
        fs::rename(temporary, self.folder.join("cursor"))
    }

    pub(super) fn cursor(&self) -> Option<(String, Segment, u64)> {
        let text = fs::read_to_string(self.folder.join("cursor")).ok()?;
        let (name, size) = text.split_once(' ')?;
        let size = size.parse().ok().filter(|s: &u64| s.is_power_of_two() && *s >= 1 << 20)?;
        let segment = Segment::parse(name, size)?;
        Some((text, segment, size))
    }

    /// Names of the segments that lie ready.
    pub(super) fn ready(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string()
                && matches!(WalFile::parse(&name), Some(WalFile::Segment { .. }))
            {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Removes what a prefetcher left: segments ready and on their way, which are copies. Nothing
    /// else that may lie here.
    pub(super) fn empty(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let segment =
                name.strip_prefix('.').and_then(|n| n.strip_suffix(".fetching")).unwrap_or(&name);
            if matches!(WalFile::parse(segment), Some(WalFile::Segment { .. })) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Asks every prefetcher on `root` to end, empties the spool, and waits at most `limit`. False
/// where one still runs then.
#[must_use]
pub fn stop(root: &Path, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let mut all = true;
    for spool in spools(root) {
        let _ = fs::write(spool.folder.join("stop"), "");
        while spool.is_running() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        if spool.is_running() {
            all = false;
        } else {
            spool.empty();
        }
    }
    all
}

/// The folders in `root` that are spools by their name.
pub(super) fn spools(root: &Path) -> Vec<Spool> {
    let is_ours = |name: &str| {
        let hex = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        name.split_once('-').is_some_and(|(places, boot)| hex(places) && hex(boot))
    };
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .map(|entry| Spool { folder: entry.path() })
        .collect()
}

/// Sees to it that a prefetcher works ahead of `name`, which the server has just got. A failure
/// is no matter: the next file is then fetched directly.
pub(super) fn ensure(spool: &Spool, program: &[OsString], name: &str, size: u64, missed: bool) {
    let Some(segment) = Segment::parse(name, size) else { return };
    let running = spool.is_running();
    if running && !missed {
        return;
    }
    if spool.make().and_then(|()| spool.set_cursor(segment.next(), size)).is_err() || running {
        return;
    }
    let Some((program, arguments)) = program.split_first() else { return };
    let _ = fs::remove_file(spool.folder.join("stop"));
    keep_files_from_children();
    let _ = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

/// Files that the server left open across its own `exec` must not stay open in a prefetcher that
/// outlives this process.
fn keep_files_from_children() {
    let names = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> =
        names.filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok())).collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        // SAFETY: the number was open a moment ago and is only flagged here, never closed or kept;
        // where it is closed by now, the call fails and changes nothing.
        let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        let _ = rustix::io::fcntl_setfd(file, rustix::io::FdFlags::CLOEXEC);
    }
}

/// `restore-wal` holds the lock for a moment when it looks whether one runs: try for a while.
pub(super) fn lock(spool: &Spool) -> io::Result<Option<File>> {
    let path = spool.folder.join("lock");
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(POLL),
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(None)
}
