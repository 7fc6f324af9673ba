//! A server's log: made for its user, and its tail. Reads the last part only: logs can be large.

use crate::engine::postgres::discovery::Owner;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes read from the end.
const TAIL: u64 = 64 << 10;

/// The last `count` lines of the log from byte `from` on, oldest first. Empty where it cannot be
/// read: the caller has a better error to show.
#[must_use]
pub fn last_lines(path: &Path, from: u64, count: usize) -> Vec<String> {
    let Ok(text) = tail(path, from) else { return Vec::new() };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(count);
    lines.into_iter().skip(skip).map(|line| line.chars().take(400).collect()).collect()
}

fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log that is shorter than before was cut or replaced: all of it is new.
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL))))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the log where there is none, for the server's user; gives its length.
pub(super) fn open_log(path: &Path, owner: &Owner) -> io::Result<u64> {
    let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(file) => {
            if !owner.is_current() {
                std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
            }
            Ok(0)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(std::fs::metadata(path)?.len())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_after_the_mark_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "old\none\n\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&path, 4, 2), ["two", "three"]);
        assert_eq!(last_lines(&path, 4, 9), ["one", "two", "three"]);
        assert_eq!(last_lines(&path, 1 << 40, 1), ["three"]);
        assert!(last_lines(&folder.path().join("absent"), 0, 9).is_empty());
    }
}
