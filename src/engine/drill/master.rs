//! The game master's side of a facilitated drill: what they see of it, what they may ask for, and
//! the files by which a window of theirs and the director speak. Owns those values and files;
//! decides nothing: that is the director's, by the rules of `drill::cast`.
//!
//! ```text
//! a window ── master/orders/<when>-<who>.json ──▸ director
//!          ◂──────── master/stage.json ──────────
//! ```
//! Files, and no line between two processes: either side may be killed and come back, and an order
//! that was given is carried out once. The folder is its maker's alone: the server's user cannot
//! read it, and the drill's screens look at nothing but whether a window is open.

use super::cast::Cue;
use super::error::DrillError;
use super::hints::Hint;
use super::place;
use crate::engine::files;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder in the sandbox.
const FOLDER: &str = "master";
/// Begins the name of a file that stands for an open window; its process's number follows.
const THERE: &str = "there-";
/// Answers that are kept for the window that asked.
pub const ANSWERS: usize = 8;
/// The longest text of an observation or a message, in characters.
pub const LONGEST: usize = 500;

/// What a game master sees of the drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub scenario: String,
    pub title: String,
    pub hypothesis: String,
    /// What really happened: the participants are to find out.
    pub truth: String,
    pub begun: Timestamp,
    pub struck_at: Timestamp,
    pub time_limit_seconds: u64,
    pub rto_seconds: f64,
    pub rpo_seconds: Option<f64>,
    pub hints: Vec<Hint>,
    /// The places of hints that were given and wait for the participants' incident.
    #[serde(default)]
    pub hints_waiting: BTreeSet<usize>,
    pub cues: Vec<Cue>,
    pub observations: Vec<Observation>,
    /// What is to be told to the participants, and waits for their incident.
    pub untold: usize,
    /// The newest at the end.
    pub answers: Vec<Answered>,
    /// Why the drill ends, where it does.
    pub over: Option<String>,
}

/// What a game master saw, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub at: Timestamp,
    pub by: String,
    pub text: String,
}

/// What a window asks of the director.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub by: String,
    #[serde(flatten)]
    pub wants: Wants,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Wants {
    /// Let an inject strike.
    Release { inject: String },
    /// Undo it, as others would who were told.
    Cure { inject: String },
    /// Note what was seen.
    Observe { text: String },
    /// Tell the participants something, as somebody who calls them.
    Say { text: String },
    /// Give the participants the hint that comes next where they stand.
    Hint,
    /// End the drill and clear it away.
    Abort,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The order's name.
    pub order: String,
    /// Why it was not carried out.
    pub refused: Option<String>,
}

/// What is kept of a facilitated drill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facilitation {
    pub injects: Vec<Played>,
    pub observations: Vec<Observation>,
}

/// When an inject did what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    pub name: String,
    pub released: Option<Timestamp>,
    pub struck: Option<Timestamp>,
    pub cured: Option<Timestamp>,
}

impl Played {
    #[must_use]
    pub fn of(cue: &Cue) -> Self {
        Self {
            name: cue.inject.name.clone(),
            released: cue.released,
            struck: cue.struck,
            cured: cue.cured,
        }
    }
}

/// The folder by which a game master and the director of the drill at `root` speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desk {
    folder: PathBuf,
}

impl Desk {
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self { folder: root.join(FOLDER) }
    }

    fn orders(&self) -> PathBuf {
        self.folder.join("orders")
    }

    fn stage(&self) -> PathBuf {
        self.folder.join("stage.json")
    }

    /// Makes it, for this user alone.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn furnish(&self) -> Result<(), DrillError> {
        for folder in [self.folder.clone(), self.orders()] {
            place::make_private(&folder)
                .map_err(DrillError::file(&folder, "it could not be made"))?;
        }
        Ok(())
    }

    /// Shows the windows how the drill stands.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn show(&self, stage: &Stage) -> Result<(), DrillError> {
        let path = self.stage();
        write(&path, stage)
    }

    /// How the drill stands; `None` where it is none with a game master, or is gone.
    #[must_use]
    pub fn look(&self) -> Option<Stage> {
        serde_json::from_slice(&fs::read(self.stage()).ok()?).ok()
    }

    /// Gives an order; its name, under which it is answered.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn order(&self, order: &Order) -> Result<String, DrillError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{:020}-{}-{}",
            Timestamp::now().as_nanosecond(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        write(&self.orders().join(format!("{name}.json")), order)?;
        Ok(name)
    }

    /// Says that a game master is there, until what this gives is dropped.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn come_in(&self) -> Result<Attendance, DrillError> {
        let path = self.folder.join(format!("{THERE}{}", std::process::id()));
        files::replace(&path, b"", 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))?;
        Ok(Attendance { path })
    }

    /// Whether a game master is there; `None` where the drill has none, or that cannot be seen by
    /// this user. A window that was killed is not there.
    #[must_use]
    pub fn attended(&self) -> Option<bool> {
        let listed = fs::read_dir(&self.folder).ok()?;
        let window = |name: &str| name.strip_prefix(THERE)?.parse::<u32>().ok();
        Some(listed.flatten().any(|entry| {
            let pid = window(&entry.file_name().to_string_lossy());
            pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists())
        }))
    }

    /// Takes the orders that were given, the first one first. One that cannot be read is taken
    /// away and not carried out.
    #[must_use]
    pub fn take(&self) -> Vec<(String, Order)> {
        let listed = fs::read_dir(self.orders()).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = listed
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // Those that begin with a dot are still being written.
                name.ends_with(".json") && !name.starts_with('.')
            })
            .collect();
        paths.sort();
        let mut taken = Vec::new();
        for path in paths {
            let text = fs::read(&path);
            // What cannot be taken away would be carried out again and again.
            if fs::remove_file(&path).is_err() {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(order) = text.ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                taken.push((name, order));
            }
        }
        taken
    }
}

/// A game master's window that is open.
#[derive(Debug)]
pub struct Attendance {
    path: PathBuf,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        // Gone with the sandbox already is what was wanted.
        let _ = fs::remove_file(&self.path);
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), DrillError> {
    let fail = |error: std::io::Error| DrillError::file(path, "it could not be written")(error);
    let text = serde_json::to_vec(value).map_err(|error| fail(error.into()))?;
    files::replace(path, &text, 0o600).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn orders_are_taken_once_and_in_their_order() {
        let root = tempfile::tempdir().unwrap();
        let desk = Desk::of(root.path());
        assert_eq!(desk.look(), None);
        desk.furnish().unwrap();
        for folder in [root.path().join(FOLDER), desk.orders()] {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
        let order = |wants| Order { by: String::from("ann"), wants };
        let first = order(Wants::Release { inject: String::from("key-denied") });
        let second = order(Wants::Observe { text: String::from("Nobody asked for the key") });
        let names = [desk.order(&first).unwrap(), desk.order(&second).unwrap()];
        fs::write(desk.orders().join("0.json"), "half a w").unwrap();
        let taken = desk.take();
        assert_eq!(taken, [(names[0].clone(), first), (names[1].clone(), second)]);
        assert_eq!(desk.take(), []);
        assert_eq!(fs::read_dir(desk.orders()).unwrap().count(), 0);
    }

    #[test]
    fn a_window_is_there_while_it_is_open_and_its_process_lives() {
        let root = tempfile::tempdir().unwrap();
        let desk = Desk::of(root.path());
        assert_eq!(desk.attended(), None, "a drill without a game master");
        desk.furnish().unwrap();
        assert_eq!(desk.attended(), Some(false));
        let there = desk.come_in().unwrap();
        assert_eq!(desk.attended(), Some(true));
        drop(there);
        assert_eq!(desk.attended(), Some(false));
        // No process has the largest number.
        fs::write(desk.folder.join(format!("{THERE}{}", u32::MAX)), "").unwrap();
        assert_eq!(desk.attended(), Some(false), "one that was killed is not there");
        assert_eq!(desk.take(), []);
    }
}
