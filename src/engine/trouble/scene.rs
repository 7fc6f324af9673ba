//! What a recognition goes by: the failed step's words and the server's last ones, and questions
//! to the machine that are asked only where a family needs them. Owns both as values and a
//! contract, so that every family is tested without a server.

use super::repository::{WAIT, WITHOUT};
use super::{
    FETCH_ELSEWHERE, FREE_PORT, OTHER_BASE, OTHER_PLACE, OTHER_POINT, OTHER_PORT, STOP_AT_GAP,
    WITHOUT_LIBRARY,
};
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::Procedure;
use crate::engine::incident::trouble::{By, Cure, NAMED_PLACE};
use crate::engine::postgres::Lsn;
use crate::engine::postgres::recovery_watch;
use crate::engine::restore::other_place::Room;
use crate::engine::runner::plan::Plan;
use std::path::{Path, PathBuf};

/// Whose trouble it is, and with that what a cure may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The cluster that is recovered in the damaged one's place.
    InPlace,
    /// A new cluster beside the old one, of which nothing is touched.
    Beside,
    /// The old cluster, while a new one stands beside it or is about to.
    Old,
    /// The new cluster in the old one's place.
    Swapped,
    /// The copy beside production that parts come from.
    Copy,
}

impl Ground {
    /// Of a step of the plan.
    #[must_use]
    pub fn of(plan: &Plan, step: &str) -> Self {
        match (&plan.procedure, step) {
            (Procedure::PointInTime, _) => Self::InPlace,
            (Procedure::Parts { .. }, _) => Self::Copy,
            // Before it is made there is nothing of the new cluster's own.
            (
                Procedure::FullRestore { .. },
                "prepare-beside" | "rescue-wal" | "stop-old" | "swap",
            ) => Self::Old,
            (Procedure::FullRestore { .. }, "open" | "validate") => Self::Swapped,
            (Procedure::FullRestore { .. }, _) => Self::Beside,
        }
    }

    /// Whether a cure may be carried out here: what touches the old cluster or production, or has no
    /// meaning, is not even offered.
    #[must_use]
    pub fn permits(self, cure: &Cure) -> bool {
        if cure.by == By::People {
            return true;
        }
        let id = cure.id.as_str();
        match self {
            Self::InPlace => id != OTHER_PORT,
            Self::Beside => id != FREE_PORT,
            Self::Old => id == WAIT,
            // It is promoted: what begins the recovery anew comes too late.
            Self::Swapped => {
                let anew = [OTHER_BASE, OTHER_PLACE, NAMED_PLACE, OTHER_POINT, STOP_AT_GAP];
                id != OTHER_PORT && !anew.contains(&id)
            }
            // It loads no library, listens nowhere, and asks at each start whichever repository
            // answers then.
            Self::Copy => {
                let none = [FREE_PORT, OTHER_PORT, WITHOUT_LIBRARY, WITHOUT, FETCH_ELSEWHERE];
                !none.contains(&id)
            }
        }
    }
}

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

/// Another place that the recovery can go to.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherPlace {
    pub path: PathBuf,
    pub room: Room,
    /// Expected seconds of the copy, least and most; `None` where nobody knows.
    pub copy: Option<(f64, f64)>,
    /// What becomes of the place that is full.
    pub kept: String,
}

/// Questions to the machine; each only looks. What cannot be told is `None` or an error in words.
pub trait World {
    fn ground(&self) -> Ground;

    /// Whether the plan ends with the base backup, whichever one that is.
    fn ends_with_base(&self) -> bool;

    /// The directory that may have log files which no repository has, in words.
    fn old_directory(&self) -> &'static str {
        match self.ground() {
            Ground::InPlace | Ground::Swapped => "the directory set aside",
            Ground::Beside | Ground::Old => "the old cluster's directory",
            Ground::Copy => "production's directory",
        }
    }

    /// The server that the trouble is of, named where it is not the only one.
    fn server(&self) -> String {
        match self.ground() {
            Ground::InPlace => String::from("this server"),
            _ => format!("the server in {}", self.data().display()),
        }
    }

    fn data(&self) -> PathBuf;

    /// Bytes free on the volume that holds the path.
    fn free(&self, place: &Path) -> Option<u64>;

    /// Whether the path is one that is filled, and lies on another volume than the data directory.
    fn is_elsewhere(&self, place: &Path) -> bool;

    /// What lies beside the data directory on its volume and could go, with its bytes, largest
    /// first. Never what a recovery still needs.
    fn could_go(&self) -> Vec<(PathBuf, u64)>;

    /// The configured alternative directory as another place for the recovery, or why it is none;
    /// `None` where none is configured.
    fn other_place(&self) -> Option<Result<OtherPlace, Explanation>>;

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

    /// Base backups that failed in this run, the plan's last.
    fn failed_bases(&self) -> Vec<String>;

    /// Base backups of this cluster that did not fail in this run, as far as their repositories answer;
    /// `None` where none is seen and a repository did not answer.
    fn other_bases(&self) -> Option<Vec<String>>;

    /// Whether `postmaster.pid` is proven to be left over, and how; or why not.
    ///
    /// # Errors
    /// In words for people, with the process where one lives.
    fn pid_file_is_stale(&self) -> Result<String, String>;

    /// Libraries that the configuration loads at the start.
    fn preloaded(&self) -> Vec<String>;

    /// The port of the server: the cluster's own, or that of a new cluster beside it.
    fn port(&self) -> u16;

    /// The next port above it that nobody listens on.
    fn free_port(&self) -> Option<u16>;

    /// Repositories that the recovery fetches from.
    fn repositories_asked(&self) -> Vec<String>;

    /// Whose keys do not open now, and why: repositories that are asked, and the server's own user.
    fn keys_denied(&self) -> Vec<(String, String)>;

    /// Repositories that cannot be asked now, and why.
    fn repositories_away(&self) -> Vec<(String, String)>;
}
