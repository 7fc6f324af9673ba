//! The record of a set-up: what was changed on the server, when, and the statement that takes it
//! back; and which backups were proven. One JSON object a line, synced before the change is
//! made, never rewritten. It lies beside the configuration.

use super::error::InitError;
use crate::engine::files;
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Entry {
    /// A statement that is about to be run, and the one that takes it back.
    Setting { statement: String, undo: String },
    /// The server is about to be restarted.
    Restart,
    /// A restore of the set into a sandbox answered as it should.
    Proven { set: String },
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    #[serde(flatten)]
    entry: Entry,
}

/// Where the record of a cluster lies.
#[must_use]
pub fn path(config: &Path, cluster: &str) -> PathBuf {
    config.with_file_name(format!("init-{cluster}.jsonl"))
}

/// Makes an empty record for the server's user where there is none.
///
/// # Errors
/// Where it cannot be made.
pub fn prepare(path: &Path, owner: &Owner) -> Result<(), InitError> {
    match files::create(path, b"", 0o640) {
        Ok(()) => child::give(path, owner).map_err(InitError::file(path, "it could not be given")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(InitError::file(path, "the record could not be made")(error)),
    }
}

/// Adds an entry; it is on the disk on return.
///
/// # Errors
/// Where it cannot be written.
pub fn add(path: &Path, entry: Entry) -> Result<(), InitError> {
    let failed = |error| InitError::file(path, "the record could not be written")(error);
    let line = Line { at: Timestamp::now(), entry };
    let mut text = serde_json::to_string(&line).map_err(|e| failed(e.into()))?;
    text.push('\n');
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed)
}

/// Every entry, oldest first. A line that cannot be read is passed over: the record informs, and
/// nothing is undone by it.
///
/// # Errors
/// Where the file cannot be read; a missing one has no entries.
pub fn entries(path: &Path) -> Result<Vec<Entry>, InitError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(InitError::file(path, "the record could not be read")(error)),
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines.map(|line| line.entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_added_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("lifeboat.toml"), "orders");
        assert_eq!(entries(&path).unwrap(), []);
        prepare(&path, &Owner::current()).unwrap();
        let setting = Entry::Setting {
            statement: String::from("ALTER SYSTEM SET archive_mode = 'on'"),
            undo: String::from("ALTER SYSTEM RESET archive_mode"),
        };
        let proven = Entry::Proven { set: String::from("set-20260113-020000") };
        for entry in [&setting, &proven] {
            add(&path, entry.clone()).unwrap();
        }
        prepare(&path, &Owner::current()).unwrap();
        assert_eq!(entries(&path).unwrap(), [setting, proven]);
    }
}
