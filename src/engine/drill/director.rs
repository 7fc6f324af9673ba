//! The director of a drill: lets injects strike at their moment, has others undo them once they
//! were noticed, and ends a drill that takes too long or too much room. Owns one thread that looks
//! at the sandbox's processes and at the incident's journal, as somebody at the back of the room
//! would; it commands nothing of the recovery.

use super::act::Ground;
use super::error::DrillError;
use super::inject::{Inject, When};
use super::processes;
use crate::engine::incident::event::Event;
use crate::engine::incident::facts::Topic;
use crate::engine::incident::journal;
use crate::engine::incident::store::Store;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Where the runner is stopped for an inject that strikes at the restore; see `runner::failpoint`.
pub const STOPS_AT: &str = "stop@step.restore-base.before";
/// Whoever holds the drill has so long to end it, before this process is asked to.
const GRACE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the sandbox's size is added up.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// What a drill may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub time: Duration,
    /// Bytes of the sandbox's folder.
    pub disk: u64,
}

/// The running director; it ends when dropped.
#[derive(Debug)]
pub struct Director {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ground: Ground,
    injects: Vec<Inject>,
    limits: Limits,
    begun: Instant,
    scene: Mutex<Scene>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Scene {
    struck: Vec<String>,
    /// When an inject was noticed.
    noticed: Vec<(String, Instant)>,
    relieved: Vec<String>,
    /// Undo at once what was struck, instead of when it is due.
    hurry: bool,
    stop: bool,
    failure: Option<String>,
    over: Option<String>,
}

impl Director {
    /// Begins. `runtime` serves the notes to the incident.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn begin(
        root: &Path,
        injects: &[Inject],
        limits: Limits,
        runtime: Handle,
    ) -> Result<Self, DrillError> {
        let shared = Arc::new(Shared {
            ground: Ground { root: root.to_path_buf() },
            injects: injects.to_vec(),
            limits,
            begun: Instant::now(),
            scene: Mutex::default(),
            changed: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(String::from("director"))
            .spawn(move || ours.direct(&runtime))
            .map_err(DrillError::file(root, "no director could be started"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether a runner has to be stopped at the restore for an inject.
    #[must_use]
    pub fn stops_runner(&self) -> bool {
        self.shared.injects.iter().any(|inject| inject.strikes == When::Restore)
    }

    /// Lets strike what strikes at the incident, or before it.
    ///
    /// # Errors
    /// Where one could not be done.
    pub fn strike(&self, when: When) -> Result<(), DrillError> {
        for inject in self.shared.injects.iter().filter(|inject| inject.strikes == when) {
            self.shared.ground.strike(&inject.name)?;
            self.shared.scene().struck.push(inject.name.clone());
        }
        Ok(())
    }

    /// What struck so far, by name.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        self.shared.scene().struck.clone()
    }

    /// Why the drill has to end, where it has.
    #[must_use]
    pub fn over(&self) -> Option<String> {
        self.shared.scene().over.clone()
    }

    /// What could not be done.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.scene().failure.clone()
    }

    /// Has what struck undone now, and waits until it is. False where there was nothing to undo.
    #[must_use]
    pub fn relieve(&self, limit: Duration) -> bool {
        let mut scene = self.shared.scene();
        let wanted: Vec<String> = self
            .shared
            .injects
            .iter()
            .filter(|inject| inject.relief.is_some() && scene.struck.contains(&inject.name))
            .map(|inject| inject.name.clone())
            .collect();
        let open = |scene: &Scene| wanted.iter().any(|name| !scene.relieved.contains(name));
        if wanted.is_empty() || !open(&scene) {
            return false;
        }
        scene.hurry = true;
        let begun = Instant::now();
        while open(&scene) && scene.failure.is_none() && begun.elapsed() < limit {
            let waited = self.shared.changed.wait_timeout(scene, LOOK_EVERY);
            scene = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !open(&scene)
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.shared.scene().stop = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Nobody is to stay stopped whom we stopped.
        for pid in processes::runners_of(&self.shared.ground.root) {
            go_on(pid);
        }
    }
}

impl Shared {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn direct(&self, runtime: &Handle) {
        let mut measured = Instant::now();
        let mut over: Option<Instant> = None;
        loop {
            if self.scene().stop {
                return;
            }
            if over.is_some_and(|since| since.elapsed() > GRACE) {
                // As an abort from outside does: the sandbox clears itself away.
                over = None;
                let _ = kill(Pid::this(), Signal::SIGTERM);
            }
            if let Err(error) = self.let_strike().and_then(|()| self.let_relieve(runtime)) {
                self.scene().failure.get_or_insert(error.to_string());
            }
            if let Some(why) = self.limit(&mut measured) {
                let mut scene = self.scene();
                if scene.over.is_none() {
                    scene.over = Some(why);
                    over = Some(Instant::now());
                }
            }
            self.changed.notify_all();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A runner that stands still was stopped for us.
    fn let_strike(&self) -> Result<(), DrillError> {
        if !self.injects.iter().any(|inject| inject.strikes == When::Restore) {
            return Ok(());
        }
        for pid in processes::runners_of(&self.ground.root) {
            if !processes::is_stopped(pid) {
                continue;
            }
            let mut done = Ok(());
            for inject in self.injects.iter().filter(|inject| inject.strikes == When::Restore) {
                if self.scene().struck.contains(&inject.name) {
                    continue;
                }
                done = done.and(self.ground.strike(&inject.name));
                self.scene().struck.push(inject.name.clone());
            }
            go_on(pid);
            done?;
        }
        Ok(())
    }

    fn let_relieve(&self, runtime: &Handle) -> Result<(), DrillError> {
        for inject in self.injects.iter().filter(|inject| inject.relief.is_some()) {
            let (open, hurry) = {
                let scene = self.scene();
                let struck = scene.struck.contains(&inject.name);
                (struck && !scene.relieved.contains(&inject.name), scene.hurry)
            };
            if !open || !(hurry || self.is_due(inject)) {
                continue;
            }
            self.ground.relieve(&inject.name)?;
            self.scene().relieved.push(inject.name.clone());
            if let Some(text) = &inject.relief {
                self.tell(runtime, text);
            }
        }
        Ok(())
    }

    /// Whether it was noticed long enough ago.
    fn is_due(&self, inject: &Inject) -> bool {
        let seconds = Duration::from_secs(inject.relief_seconds);
        let known = self.scene().noticed.iter().find(|(name, _)| *name == inject.name).cloned();
        if let Some((_, at)) = known {
            return at.elapsed() >= seconds;
        }
        let Some(folder) = newest_incident(&self.ground.root) else { return false };
        let Ok(reading) = journal::read(&folder) else { return false };
        let noticed = reading.entries.iter().any(|entry| match inject.strikes {
            // Refused by role, or seen as soon as anybody looks.
            When::Beforehand => matches!(entry.event, Event::CommandRefused { .. }),
            When::Restore => matches!(entry.event, Event::StepFailed { .. }),
            When::Incident | When::Report => matches!(entry.event, Event::IncidentDeclared(_)),
        });
        if noticed {
            self.scene().noticed.push((inject.name.clone(), Instant::now()));
        }
        false
    }

    /// A line in the incident: somebody calls the room. Lost where no runner listens.
    fn tell(&self, runtime: &Handle, text: &str) {
        let Some(folder) = newest_incident(&self.ground.root) else { return };
        let mut command = std::process::Command::new(self.ground.root.join("bin/lifeboat"));
        command.arg("runner").arg("--incident").arg(&folder);
        command.arg("--config").arg(self.ground.root.join("lifeboat.toml"));
        command.env(crate::engine::runner::failpoint::VARIABLE, self.failpoint());
        let told = spawn::ensure_runner_with(command, &folder, Duration::from_secs(20))
            .ok()
            .and_then(|socket| Client::connect_blocking(runtime, &socket).ok());
        if let Some(client) = told {
            let note = Command::AddNote { topic: Topic::Note, text: text.to_owned() };
            let asked = client.request(note);
            let limit = Duration::from_secs(10);
            let _ = runtime.block_on(async { tokio::time::timeout(limit, asked).await });
        }
    }

    fn failpoint(&self) -> &'static str {
        let stops = self.injects.iter().any(|inject| inject.strikes == When::Restore);
        if stops { STOPS_AT } else { "" }
    }

    fn limit(&self, measured: &mut Instant) -> Option<String> {
        let elapsed = self.begun.elapsed();
        if elapsed > self.limits.time {
            return Some(format!(
                "The drill took longer than {} minutes.",
                self.limits.time.as_secs() / 60
            ));
        }
        if measured.elapsed() < MEASURE_EVERY {
            return None;
        }
        *measured = Instant::now();
        let size = size_of(&self.ground.root);
        (size > self.limits.disk).then(|| {
            format!(
                "The drill's sandbox takes {} MB, and it may take {}.",
                size / 1_000_000,
                self.limits.disk / 1_000_000
            )
        })
    }
}

/// The newest incident of the sandbox at `root`.
#[must_use]
pub fn newest_incident(root: &Path) -> Option<PathBuf> {
    let store = Store::new(&root.join("state"));
    let newest = store.list().ok()?.into_iter().map(|one| one.id().to_owned()).max()?;
    store.folder(&newest).ok()
}

fn go_on(pid: i32) {
    // Gone already is no fault.
    let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
}

/// Bytes of all files below; what goes away meanwhile counts nothing.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::inject;

    fn limits() -> Limits {
        Limits { time: Duration::from_secs(60), disk: u64::MAX }
    }

    #[test]
    fn what_struck_is_undone_on_request_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        std::fs::write(folder.path().join("keys/master"), "secret").unwrap();
        let injects = [inject::load("key-denied").unwrap()];
        let director =
            Director::begin(folder.path(), &injects, limits(), runtime.handle().clone()).unwrap();
        assert!(director.stops_runner());
        assert!(!director.relieve(Duration::from_secs(1)), "nothing struck yet");
        director.strike(When::Restore).unwrap();
        assert_eq!(director.struck(), ["key-denied"]);
        assert!(director.relieve(Duration::from_secs(30)));
        assert!(folder.path().join("keys/master").exists());
        assert!(!director.relieve(Duration::from_secs(1)));
        assert_eq!(director.failure(), None);
    }

    #[test]
    fn a_drill_that_takes_too_long_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let limits = Limits { time: Duration::ZERO, ..limits() };
        let director =
            Director::begin(folder.path(), &[], limits, runtime.handle().clone()).unwrap();
        let begun = Instant::now();
        while director.over().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!director.stops_runner());
    }
}
