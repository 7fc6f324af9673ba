//! What a recognition goes by: the failed step's words and the server's last ones, and questions
//! to the machine that are asked only where a family needs them. Owns both as values and a
//! contract, so that every family is tested without a server.

use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::recovery_watch;
use std::path::PathBuf;

/// What was said.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    pub step: &'a str,
    pub failure: &'a Explanation,
    /// The log's lines since the server was started last, oldest first; empty where the failure is
    /// not of a server's start or running.
    pub lines: Vec<String>,
    /// The server's last words: FATAL or PANIC with detail and hint.
    pub words: String,
}

impl<'a> Scene<'a> {
    #[must_use]
    pub fn new(step: &'a str, failure: &'a Explanation, lines: Vec<String>) -> Self {
        let words = recovery_watch::last_words(lines.iter().map(|line| line.trim_start()));
        Self { step, failure, lines, words: words.unwrap_or_default() }
    }

    /// Whether the failure itself or the server's last words hold the text.
    pub(super) fn says(&self, text: &str) -> bool {
        self.words.contains(text) || self.failure.what.contains(text)
    }

    /// The newest line with the text; the failure's first line where only that has it.
    pub(super) fn line_with(&self, text: &str) -> Option<String> {
        let line = self.lines.iter().rev().find(|line| line.contains(text));
        line.cloned().or_else(|| {
            let mut told = self.failure.what.lines();
            told.find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Whether a line carries the SQLSTATE, which is the same in every language: a word of its own
    /// before the message, as `%e` in `log_line_prefix` writes it.
    pub(super) fn has_state(&self, state: &str) -> bool {
        self.lines.iter().any(|line| {
            let prefix = line.split_once(":  ").map_or("", |(before, _)| before);
            prefix.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == state)
        })
    }

    /// The text in the first double quotes behind `before`.
    pub(super) fn quoted_after(&self, before: &str) -> Option<String> {
        [&*self.words, &*self.failure.what].into_iter().find_map(|text| {
            let rest = text.get(text.find(before)? + before.len()..)?;
            rest.split('"').nth(1).map(str::to_owned)
        })
    }

    /// The file that the server had from the archive last.
    pub(super) fn last_restored(&self) -> Option<String> {
        let restored = |line: &String| {
            let rest = line.split_once("restored log file \"")?.1;
            rest.split('"').next().filter(|name| name.len() == 24).map(str::to_owned)
        };
        self.lines.iter().rev().find_map(restored)
    }
}

/// Where a WAL file is, looked at now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Places that the recovery asks, which give it.
    pub found: Vec<String>,
    /// Places that it does not ask, which have it.
    pub elsewhere: Vec<String>,
    /// Repositories whose copy is not what was written, and why.
    pub damaged: Vec<(String, String)>,
    /// Repositories that could not be asked, and why.
    pub away: Vec<(String, String)>,
}

/// A file or folder that the server cannot use as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub path: PathBuf,
    /// Such as `belongs to user 0`.
    pub why: String,
}

/// Questions to the machine; each only looks. What cannot be told is `None` or an error in words.
pub trait World {
    fn data(&self) -> PathBuf;

    /// Bytes free on the volume of the data directory.
    fn free(&self) -> Option<u64>;

    /// What lies beside the data directory on its volume and could go, with its bytes, largest
    /// first. Never what a recovery still needs.
    fn could_go(&self) -> Vec<(PathBuf, u64)>;

    fn alternative(&self) -> Option<PathBuf>;

    /// At most 500.
    fn strangers(&self) -> Vec<Stranger>;

    /// Whether this process may give files to the server's user.
    fn may_give(&self) -> bool;

    fn owner(&self) -> String;

    fn whereabouts(&self, name: &str) -> Whereabouts;

    /// The name of the file after this one; that of the recovery's first where `None`.
    fn segment_after(&self, name: Option<&str>) -> Option<String>;

    /// Where the first byte of a file stands in the log.
    fn starts(&self, segment: &str) -> Option<Lsn>;

    /// Where replay was expected to end.
    fn expected_end(&self) -> Option<Lsn>;

    fn base(&self) -> String;

    /// Whether `postmaster.pid` is proven to be left over, and how; or why not.
    ///
    /// # Errors
    /// In words for people, with the process where one lives.
    fn pid_file_is_stale(&self) -> Result<String, String>;

    /// Libraries that the configuration loads at the start.
    fn preloaded(&self) -> Vec<String>;

    /// The cluster's own port.
    fn port(&self) -> u16;

    /// The next port above it that nobody listens on.
    fn free_port(&self) -> Option<u16>;

    /// Repositories that the recovery fetches from.
    fn repositories_asked(&self) -> Vec<String>;

    /// Repositories that cannot be asked now, and why.
    fn repositories_away(&self) -> Vec<(String, String)>;
}
