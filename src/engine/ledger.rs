//! A record that is only ever added to: one JSON object a line, each with its number, its time and
//! the SHA-256 of the line before, synced before anyone is told. Owns the file, its lock and the
//! check of its chain; never rewrites or drops a line. As in the journal, nothing covers the last
//! line yet.

use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::files;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<T> {
    /// From 1, without a hole.
    pub seq: u64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub entry: T,
    /// SHA-256, hexadecimal, of the line before without its line feed; of nothing for the first.
    pub prev: String,
}

/// Why a record cannot be read or added to.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("line {line} of {} is wrong: {why}", path.display())]
    Wrong { path: PathBuf, line: u64, why: String },
    #[error("the entry could not be put into words: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Explain for LedgerError {
    fn explanation(&self) -> Explanation {
        let (kind, untouched, next) = match self {
            Self::Io { .. } => (
                Kind::Storage,
                "Every line written before is kept.",
                "Check space and permissions of that folder, then try again.",
            ),
            Self::Wrong { .. } => (
                Kind::Integrity,
                "The record was left as it is; nothing was added.",
                "Compare it with a copy from a backup of this machine. To begin a new one, move \
                 this one aside and keep it.",
            ),
            Self::Encode(_) => (Kind::Internal, "Nothing was written.", "Report this."),
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}

/// Adds an entry; it is on the disk when this returns. The folder is made where it is missing.
///
/// # Errors
/// Where an earlier line does not fit, or it could not be written: the record then ends where it
/// ended before.
pub fn append<T: Serialize + DeserializeOwned>(
    path: &Path,
    entry: T,
) -> Result<Line<T>, LedgerError> {
    let failed = |doing| io_error(doing, path);
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.and_then(|()| files::sync_parent(folder)).map_err(failed("make the folder of"))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open"))?;
    // Released when the file is closed; a writer holds it for milliseconds.
    flock(&file, FlockOperation::LockExclusive).map_err(|e| failed("lock")(e.into()))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed("read"))?;
    let parsed = parse::<T>(path, &bytes)?;
    if !parsed.torn.is_empty() {
        set_torn_aside(path, &file, &parsed)?;
    }
    let seq = parsed.lines.last().map_or(0, |line| line.seq) + 1;
    let line = Line { seq, at: Timestamp::now(), entry, prev: parsed.last };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if let Err(source) = written {
        // What is left of it would be set aside by the next writer anyway.
        let _ = file.set_len(parsed.length);
        return Err(failed("write")(source));
    }
    files::sync_parent(path).map_err(failed("sync"))?;
    Ok(line)
}

/// Every line, oldest first, the chain checked. A record that is not there is empty; an
/// unfinished last line was never told to anyone and is left out.
///
/// # Errors
/// Names the first line that does not fit.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<Line<T>>, LedgerError> {
    match fs::read(path) {
        Ok(bytes) => Ok(parse(path, &bytes)?.lines),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

struct Parsed<'a, T> {
    lines: Vec<Line<T>>,
    /// Hash of the last line.
    last: String,
    /// Bytes of whole lines.
    length: u64,
    torn: &'a [u8],
}

fn parse<'a, T: DeserializeOwned>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<Parsed<'a, T>, LedgerError> {
    let mut parsed = Parsed { lines: Vec::new(), last: digest(b""), length: 0, torn: &[] };
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = piece.strip_suffix(b"\n") else {
            parsed.torn = piece;
            break;
        };
        let number = parsed.lines.len() as u64 + 1;
        let wrong = |why: String| LedgerError::Wrong { path: path.to_owned(), line: number, why };
        let line: Line<T> = serde_json::from_slice(text)
            .map_err(|error| wrong(format!("it cannot be understood ({error})")))?;
        if line.seq != number {
            return Err(wrong(format!("its number is {}, not {number}", line.seq)));
        }
        if line.prev != parsed.last {
            return Err(wrong(String::from(
                "the line before it is not the one that it was written after",
            )));
        }
        parsed.last = digest(text);
        parsed.length += piece.len() as u64;
        parsed.lines.push(line);
    }
    Ok(parsed)
}

fn set_torn_aside<T>(path: &Path, file: &File, parsed: &Parsed<'_, T>) -> Result<(), LedgerError> {
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S%.6f");
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".torn-{stamp}"));
    let kept = path.with_file_name(name);
    files::create(&kept, parsed.torn, 0o600).map_err(io_error("write", &kept))?;
    file.set_len(parsed.length)
        .and_then(|()| file.sync_all())
        .map_err(io_error("cut the unfinished line off", path))
}

fn digest(line: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(line))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Entry {
        text: String,
    }

    fn entry(text: &str) -> Entry {
        Entry { text: text.to_owned() }
    }

    #[test]
    fn lines_are_chained_and_a_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/record.jsonl");
        assert_eq!(read::<Entry>(&path).unwrap(), []);
        for text in ["one", "two", "three"] {
            append(&path, entry(text)).unwrap();
        }
        let lines = read::<Entry>(&path).unwrap();
        assert_eq!(lines.iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(lines[2].entry, entry("three"));
        let text = fs::read_to_string(&path).unwrap();
        for changed in [
            text.replace("\"two\"", "\"tow\""),
            text.lines().skip(1).map(|l| format!("{l}\n")).collect(),
            text.replacen("\"seq\":2", "\"seq\":4", 1),
        ] {
            fs::write(&path, changed).unwrap();
            assert!(matches!(read::<Entry>(&path), Err(LedgerError::Wrong { .. })));
            assert!(matches!(append(&path, entry("four")), Err(LedgerError::Wrong { .. })));
        }
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_kept_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.jsonl");
        append(&path, entry("one")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\":2,\"at\"").unwrap();
        assert_eq!(read::<Entry>(&path).unwrap().len(), 1);
        append(&path, entry("two")).unwrap();
        assert_eq!(read::<Entry>(&path).unwrap().len(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the torn line is kept");
    }

    #[test]
    fn writers_at_the_same_time_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.jsonl");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..10 {
                        append(path, entry(&format!("of {writer}"))).unwrap();
                    }
                });
            }
        });
        assert_eq!(read::<Entry>(&path).unwrap().len(), 40);
    }
}
