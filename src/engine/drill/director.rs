//! The director of a drill: lets injects strike at their moment, has others undo them once they
//! were noticed, and ends a drill that takes too long or too much room. Owns one thread that looks
//! at the sandbox's processes and at the incident's journal, as somebody at the back of the room
//! would; it commands nothing of the recovery. In a facilitated drill it holds injects back until a
//! game master releases them, and undoes none by itself: that is the game master's then.

use super::act::Ground;
use super::card;
use super::cast::{Cast, Cue, Standing};
use super::error::DrillError;
use super::floor::{CALL, Deed, Floor, Known, Programme};
use super::hints;
use super::inject::{Inject, When};
use super::master::{Desk, Facilitation, Played};
use super::processes;
use crate::engine::incident::Incident;
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::{Prerequisite, Topic};
use crate::engine::incident::journal;
use crate::engine::incident::store::Store;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Where the runner is stopped for an inject that strikes at the restore; see `runner::failpoint`.
pub const STOPS_AT: &str = "stop@step.restore-base.before,stop@step.parts-restore.before";
/// Whoever holds the drill has so long to end it, before this process is asked to.
const GRACE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a game master's words wait where no runner could be reached.
const TELL_AGAIN: Duration = Duration::from_secs(5);
/// How the proof of a point calls the space that a restore needs.
const NO_ROOM: &str = "Room for";

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
    /// A game master releases the injects that can wait.
    held: bool,
    begun: Instant,
    scene: Mutex<Scene>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Scene {
    cast: Cast,
    /// When an inject was noticed.
    noticed: Vec<(String, Instant)>,
    /// What is to be undone now, instead of when it is due.
    cure: Vec<String>,
    /// What was undone, and whoever asked for it was told.
    relieved: Vec<String>,
    /// Where a game master can come in.
    floor: Option<Floor>,
    /// Not before then is the next thing told.
    tell_at: Option<Instant>,
    stop: bool,
    failure: Option<String>,
    over: Option<String>,
}

impl Director {
    /// Begins. `runtime` serves the notes to the incident; `held`: a game master releases the
    /// injects that can wait.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn begin(
        root: &Path,
        injects: &[Inject],
        limits: Limits,
        held: bool,
        runtime: Handle,
    ) -> Result<Self, DrillError> {
        Self::begin_since(root, injects, limits, held, runtime, Instant::now())
    }

    /// As [`Director::begin`], for a sandbox that was begun before: the limits count from then.
    ///
    /// # Errors
    /// As [`Director::begin`].
    pub fn begin_since(
        root: &Path,
        injects: &[Inject],
        limits: Limits,
        held: bool,
        runtime: Handle,
        begun: Instant,
    ) -> Result<Self, DrillError> {
        let cast = Cast::of(injects, held, Timestamp::now());
        let shared = Arc::new(Shared {
            ground: Ground { root: root.to_path_buf() },
            injects: injects.to_vec(),
            limits,
            held,
            begun,
            scene: Mutex::new(Scene { cast, ..Scene::default() }),
            changed: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(String::from("director"))
            .spawn(move || ours.direct(&runtime))
            .map_err(DrillError::file(root, "no director could be started"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on a game master can come in.
    ///
    /// # Errors
    /// Where their folder cannot be made.
    pub fn let_master_in(&self, programme: Programme) -> Result<(), DrillError> {
        let desk = Desk::of(&self.shared.ground.root);
        desk.furnish()?;
        let begun = Timestamp::now() - self.shared.begun.elapsed();
        let limit = self.shared.limits.time.as_secs();
        let mut floor = Floor::new(desk, programme, begun, limit);
        let mut scene = self.shared.scene();
        floor.show(&scene.cast, scene.over.as_deref())?;
        scene.floor = Some(floor);
        Ok(())
    }

    /// What a game master did and saw; `None` where none could come in.
    #[must_use]
    pub fn facilitation(&self) -> Option<Facilitation> {
        let scene = self.shared.scene();
        let floor = scene.floor.as_ref()?;
        Some(Facilitation {
            injects: scene.cast.cues().iter().map(Played::of).collect(),
            observations: floor.observations().to_vec(),
        })
    }

    /// The injects that the drill is judged by.
    #[must_use]
    pub fn in_play(&self) -> Vec<Inject> {
        self.shared.scene().cast.in_play()
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
        let due = self.shared.scene().cast.due(when);
        due.iter().try_for_each(|name| self.shared.let_one_strike(name))
    }

    /// What struck so far, by name.
    #[must_use]
    pub fn struck(&self) -> Vec<String> {
        let scene = self.shared.scene();
        let struck = scene.cast.cues().iter().filter(|cue| cue.struck.is_some());
        struck.map(|cue| cue.inject.name.clone()).collect()
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

    /// Has what struck at `when` undone now, and waits until it is. True where something of it is
    /// undone that no call before was told of, whether for this call or because it was due; false
    /// where there was nothing, or the drill is over.
    #[must_use]
    pub fn relieve(&self, when: When, limit: Duration) -> bool {
        let mut scene = self.shared.scene();
        let of_it = |cue: &&Cue| cue.inject.strikes == when;
        let open = |scene: &Scene| {
            let open = scene.cast.cues().iter().filter(of_it).filter(|cue| can_be_relieved(cue));
            open.map(|cue| cue.inject.name.clone()).collect::<Vec<_>>()
        };
        let wanted = open(&scene);
        scene.cure.extend(wanted);
        let begun = Instant::now();
        let goes_on = |scene: &Scene| scene.failure.is_none() && scene.over.is_none();
        while !open(&scene).is_empty() && goes_on(&scene) && begun.elapsed() < limit {
            let waited = self.shared.changed.wait_timeout(scene, LOOK_EVERY);
            scene = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !open(&scene).is_empty() || scene.over.is_some() {
            return false;
        }
        let Scene { cast, relieved, .. } = &mut *scene;
        let cured = cast.cues().iter().filter(of_it).filter(|cue| cue.cured.is_some());
        let before = relieved.len();
        for cue in cured {
            if !relieved.contains(&cue.inject.name) {
                relieved.push(cue.inject.name.clone());
            }
        }
        relieved.len() > before
    }

    /// By which the drill can be ended from another thread.
    #[must_use]
    pub fn ender(&self) -> Ender {
        Ender { shared: Arc::clone(&self.shared) }
    }
}

/// Ends a drill from another thread.
#[derive(Debug, Clone)]
pub struct Ender {
    shared: Arc<Shared>,
}

impl Ender {
    /// The drill is over, for this reason unless there was one before.
    pub fn end(&self, why: &str) {
        self.shared.scene().over.get_or_insert_with(|| why.to_owned());
        self.shared.changed.notify_all();
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
        let (mut over, mut asked): (Option<Instant>, bool) = (None, false);
        loop {
            if self.scene().stop {
                return;
            }
            if over.is_some_and(|since| since.elapsed() > GRACE) {
                // As an abort from outside does: the sandbox clears itself away.
                over = None;
                let _ = kill(Pid::this(), Signal::SIGTERM);
            }
            let done = self.let_strike().and_then(|()| self.let_relieve(runtime));
            if let Err(error) = done.and_then(|()| self.serve_master(runtime)) {
                self.scene().failure.get_or_insert(error.to_string());
            }
            if let Some(why) = self.limits.broken(self.begun, &self.ground.root, &mut measured) {
                self.scene().over.get_or_insert(why);
            }
            if self.scene().over.is_some() && !asked {
                asked = true;
                over = Some(Instant::now());
            }
            self.changed.notify_all();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn let_one_strike(&self, name: &str) -> Result<(), DrillError> {
        // Struck once, whatever comes of it.
        self.scene().cast.struck(name, Timestamp::now());
        self.ground.strike(name)
    }

    /// A runner that stands still was stopped for us. What was released behind its moment strikes
    /// now.
    fn let_strike(&self) -> Result<(), DrillError> {
        let mut done = Ok(());
        if self.scene().floor.is_some() {
            let overdue = self.scene().cast.overdue();
            for name in overdue {
                done = done.and(self.let_one_strike(&name));
            }
        }
        if !self.injects.iter().any(|inject| inject.strikes == When::Restore) {
            return done;
        }
        for pid in processes::runners_of(&self.ground.root) {
            if !processes::is_stopped(pid) {
                continue;
            }
            let due = {
                let mut scene = self.scene();
                scene.cast.begin_restore();
                scene.cast.due(When::Restore)
            };
            for name in due {
                done = done.and(self.let_one_strike(&name));
            }
            go_on(pid);
        }
        done
    }

    fn let_relieve(&self, runtime: &Handle) -> Result<(), DrillError> {
        for inject in self.injects.iter().filter(|inject| inject.relief.is_some()) {
            let (open, now) = {
                let scene = self.scene();
                let cue = scene.cast.cues().iter().find(|cue| cue.inject.name == inject.name);
                (cue.is_some_and(can_be_relieved), scene.cure.contains(&inject.name))
            };
            if !open || !(now || (!self.held && self.is_due(inject))) {
                continue;
            }
            self.ground.relieve(&inject.name)?;
            let mut scene = self.scene();
            scene.cast.cured(&inject.name, Timestamp::now());
            let Some(text) = &inject.relief else { continue };
            match &mut scene.floor {
                Some(floor) => floor.tell(text),
                None => {
                    drop(scene);
                    let _ = self.tell(runtime, &format!("{CALL}{text}"));
                }
            }
        }
        Ok(())
    }

    /// Carries out what the game master asked for, and shows them how the drill stands.
    fn serve_master(&self, runtime: &Handle) -> Result<(), DrillError> {
        let Some(desk) = self.scene().floor.as_ref().map(|floor| floor.desk.clone()) else {
            return Ok(());
        };
        let orders = desk.take();
        let known = self.known(!orders.is_empty());
        for order in orders {
            let mut scene = self.scene();
            let Scene { floor: Some(floor), cast, .. } = &mut *scene else { continue };
            match floor.obey(cast, order, &known, Timestamp::now()) {
                Some(Deed::Cure(name)) => scene.cure.push(name),
                Some(Deed::End(why)) => {
                    scene.over.get_or_insert(why);
                }
                None => {}
            }
        }
        self.tell_what_waits(runtime);
        let mut scene = self.scene();
        let Scene { floor, cast, over, .. } = &mut *scene;
        floor.as_mut().map_or(Ok(()), |floor| floor.show(cast, over.as_deref()))
    }

    /// What the incident's journal says for an order; it is read where there is one.
    fn known(&self, asked: bool) -> Known {
        let folder = newest_incident(&self.ground.root).filter(|_| asked);
        let reading = folder.and_then(|folder| journal::read(&folder).ok());
        let incident = reading.and_then(|reading| Incident::replay(&reading.entries).ok());
        Known { told: hints::told(incident.as_ref()), here: hints::here(incident.as_ref()) }
    }

    fn tell_what_waits(&self, runtime: &Handle) {
        let next = {
            let scene = self.scene();
            let wait = scene.tell_at.is_some_and(|at| Instant::now() < at);
            let next = scene.floor.as_ref().and_then(Floor::next_to_tell);
            next.filter(|_| !wait).map(str::to_owned)
        };
        let Some(text) = next else { return };
        let told = self.tell(runtime, &text);
        let mut scene = self.scene();
        scene.tell_at = (!told).then(|| Instant::now() + TELL_AGAIN);
        if let (true, Some(floor)) = (told, &mut scene.floor) {
            floor.was_told();
        }
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
        let noticed = is_noticed(inject.strikes, &reading.entries);
        if noticed {
            self.scene().noticed.push((inject.name.clone(), Instant::now()));
        }
        false
    }

    /// A line in the incident: somebody calls the room. False where no incident or no runner is
    /// there to be told.
    fn tell(&self, runtime: &Handle, text: &str) -> bool {
        let Some(folder) = newest_incident(&self.ground.root) else { return false };
        let mut command = std::process::Command::new(self.ground.root.join("bin/lifeboat"));
        command.arg("runner").arg("--incident").arg(&folder);
        command.arg("--config").arg(self.ground.root.join("lifeboat.toml"));
        command.env(crate::engine::runner::failpoint::VARIABLE, self.failpoint());
        let told = spawn::ensure_runner_with(command, &folder, Duration::from_secs(20))
            .ok()
            .and_then(|socket| Client::connect_blocking(runtime, &socket).ok());
        let Some(client) = told else { return false };
        let note = Command::AddNote { topic: Topic::Note, text: text.to_owned() };
        let asked = client.request(note);
        let limit = Duration::from_secs(10);
        // A refusal, or an answer that is late, comes of an order that was taken: not once more.
        let _ = runtime.block_on(async { tokio::time::timeout(limit, asked).await });
        true
    }

    fn failpoint(&self) -> &'static str {
        let stops = self.injects.iter().any(|inject| inject.strikes == When::Restore);
        if stops { STOPS_AT } else { "" }
    }
}

/// It struck, and others can undo it.
fn can_be_relieved(cue: &Cue) -> bool {
    cue.inject.relief.is_some() && cue.standing() == Standing::Struck
}

/// The newest incident of the sandbox at `root`.
#[must_use]
pub fn newest_incident(root: &Path) -> Option<PathBuf> {
    incidents(root).pop()
}

/// Every incident of the sandbox at `root`, the oldest first.
#[must_use]
pub fn incidents(root: &Path) -> Vec<PathBuf> {
    let store = Store::new(&root.join("state"));
    let mut ids: Vec<String> =
        store.list().into_iter().flatten().map(|one| one.id().to_owned()).collect();
    ids.sort();
    ids.iter().filter_map(|id| store.folder(id).ok()).collect()
}

/// Whether the journal tells that an inject was noticed by those who have to.
fn is_noticed(strikes: When, entries: &[Entry]) -> bool {
    let any = |holds: &dyn Fn(&Event) -> bool| entries.iter().any(|entry| holds(&entry.event));
    match strikes {
        // Refused by role, and told to somebody then: a refusal alone calls nobody.
        When::Beforehand => {
            let mut rest = entries.iter().map(|entry| &entry.event);
            let by_role = |event: &Event| {
                matches!(event, Event::CommandRefused { .. }) && card::unreached(event).is_none()
            };
            rest.any(by_role) && rest.any(escalates)
        }
        When::Restore => any(&|event| matches!(event, Event::StepFailed { .. })),
        // What the proof of a point says; that an incident was declared tells nothing of it.
        When::Incident => {
            any(&|event| card::unreached(event).is_some_and(|why| why.contains(NO_ROOM)))
        }
        When::Report => any(&|event| matches!(event, Event::IncidentDeclared(_))),
    }
}

/// A level of the ladder is called or answers, or somebody writes down whom they called.
fn escalates(event: &Event) -> bool {
    match event {
        Event::LevelRaised(_) | Event::LevelAcknowledged { .. } => true,
        Event::PrerequisiteAnswered { prerequisite, met, .. } => {
            *prerequisite == Prerequisite::IncidentDeclared && *met
        }
        Event::NoteAdded { topic: Topic::Note, text } => {
            hints::place(text).is_none() && !text.starts_with(CALL)
        }
        _ => false,
    }
}

fn go_on(pid: i32) {
    // Gone already is no fault.
    let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
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
            Director::begin(folder.path(), &injects, limits(), false, runtime.handle().clone())
                .unwrap();
        assert!(director.stops_runner());
        let relieve = |when, seconds| director.relieve(when, Duration::from_secs(seconds));
        assert!(!relieve(When::Restore, 1), "nothing struck yet");
        director.strike(When::Restore).unwrap();
        assert_eq!(director.struck(), ["key-denied"]);
        assert!(!relieve(When::Incident, 1), "what did not strike then is left");
        assert!(!folder.path().join("keys/master").exists());
        assert!(relieve(When::Restore, 30));
        assert!(folder.path().join("keys/master").exists());
        assert!(!relieve(When::Restore, 1), "told once");
        assert_eq!(director.failure(), None);
    }

    /// Nobody enlarges a volume that nobody asked for, and no role comes of a refusal alone.
    #[test]
    fn what_strikes_is_noticed_by_what_people_meet() {
        use crate::engine::incident::facts::{Actor, Role};
        let entry = |event: Event| Entry {
            seq: 2,
            at: Timestamp::UNIX_EPOCH,
            actor: Actor { user: String::from("ann"), uid: 0, role: Role::Operator },
            event,
            prev: String::new(),
        };
        let refused = |command: &str, reason: &str| {
            let (command, reason) = (command.to_owned(), reason.to_owned());
            entry(Event::CommandRefused { command, reason })
        };
        let note = |text: &str| {
            let (topic, text) = (Topic::Note, text.to_owned());
            entry(Event::NoteAdded { topic, text })
        };
        let gap =
            refused("check_reach", "The target \"x\" cannot be reached. WAL without a gap: no");
        let space = refused(
            "check_reach",
            "The target \"x\" cannot be reached. Room for the restore: Only 4 MB are free.",
        );
        assert!(is_noticed(When::Incident, &[gap.clone(), space.clone()]));
        assert!(!is_noticed(When::Incident, std::slice::from_ref(&gap)));
        let role = refused("choose_target", "choosing the point is for a commander");
        let called = entry(Event::LevelAcknowledged { level: String::from("2") });
        let absent = |entries: &[Entry]| is_noticed(When::Beforehand, entries);
        assert!(!absent(&[called.clone(), role.clone()]), "called for something else");
        assert!(!absent(&[role.clone(), note("Hint 1 of 3: look")]));
        assert!(!absent(&[gap, called.clone()]), "refused by the archive, not by role");
        assert!(absent(&[role.clone(), called]));
        assert!(absent(&[role, note("Called the lead, who deputises")]));
    }

    #[test]
    fn a_drill_that_takes_too_long_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let limits = Limits { time: Duration::ZERO, ..limits() };
        let director =
            Director::begin(folder.path(), &[], limits, false, runtime.handle().clone()).unwrap();
        let begun = Instant::now();
        while director.over().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!director.stops_runner());
    }

    /// The orders come by files, and so they do without any window.
    #[test]
    fn what_a_game_master_holds_back_strikes_and_is_undone_at_their_word() {
        use crate::engine::drill::master::{Order, Wants};
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        std::fs::create_dir(folder.path().join("keys")).unwrap();
        let key = folder.path().join("keys/master");
        std::fs::write(&key, "secret").unwrap();
        let injects = [inject::load("key-denied").unwrap()];
        let handle = runtime.handle().clone();
        let director = Director::begin(folder.path(), &injects, limits(), true, handle).unwrap();
        director.strike(When::Restore).unwrap();
        assert_eq!(director.struck(), Vec::<String>::new(), "held back");
        assert_eq!(director.facilitation(), None);
        let scenario = crate::engine::drill::scenario::load("corruption").unwrap();
        let (struck_at, truth) = (Timestamp::now(), String::new());
        director.let_master_in(Programme { scenario, struck_at, truth }).unwrap();
        // As when a recovery passed the place: from here on it strikes at once.
        director.shared.scene().cast.begin_restore();
        let desk = Desk::of(folder.path());
        let give = |wants| desk.order(&Order { by: String::from("ann"), wants }).unwrap();
        let until = |what: &str, holds: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !holds() {
                assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        give(Wants::Observe { text: String::from("They read the report aloud") });
        give(Wants::Release { inject: String::from("key-denied") });
        until("the key goes", &|| !key.exists() && director.struck() == ["key-denied"]);
        give(Wants::Cure { inject: String::from("key-denied") });
        until("the key comes back", &|| key.exists());
        give(Wants::Abort);
        until("the drill is over", &|| director.over().is_some());
        let kept = director.facilitation().unwrap();
        assert_eq!(kept.observations.len(), 1);
        let played = &kept.injects[0];
        assert!(played.released <= played.struck && played.struck.is_some(), "{played:?}");
        assert_eq!(director.in_play().len(), 1);
        assert_eq!(director.failure(), None);
    }
}
