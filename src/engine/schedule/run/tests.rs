//! The loop on a made-up clock and made-up jobs: nothing here waits or asks anybody.

use super::*;
use crate::engine::config::schedule::Schedule;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is done where no drill is wanted.
const DAILY: [Job; 4] = [Job::BaseBackup, Job::CatchUp, Job::Verification, Job::Cleanup];

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cluster() -> Cluster {
    let text = r#"
        name = "shop"
        tier = "high"
        environment = "production"
        data_directory = "/nowhere"
        repositories = []
        [connection]
        host = "/nowhere"
        [control]
        driver = "pg_ctl"
    "#;
    toml::from_str(text).unwrap()
}

/// Jobs that are noted instead of done.
#[derive(Default)]
struct Noted {
    done: Mutex<Vec<Job>>,
    failing: AtomicBool,
    newest: Mutex<Option<Option<Timestamp>>>,
    alarms: Mutex<Vec<Alarm>>,
    /// A job lasts until the alarms were asked for.
    lasting: AtomicBool,
    asked: Stop,
}

impl Chores for Noted {
    fn perform(
        &self,
        _: &Cluster,
        job: Job,
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<String, Explanation> {
        self.done.lock().unwrap().push(job);
        if self.lasting.load(Ordering::SeqCst) {
            assert!(self.asked.wait(Duration::from_secs(60)), "nobody looked");
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err(Explanation::new(Kind::Storage, "Full.", "Nothing.", "Make room."));
        }
        Ok(String::from("done"))
    }

    fn newest_backup(&self, _: &Cluster) -> Option<Option<Timestamp>> {
        *self.newest.lock().unwrap()
    }

    fn alarms(&self, _: &Cluster, _: &Record) -> Vec<Alarm> {
        self.asked.ask();
        self.alarms.lock().unwrap().clone()
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    clusters: Vec<Cluster>,
    chores: Noted,
    told: RefCell<Vec<Told>>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clusters: vec![cluster()],
            chores: Noted::default(),
            told: RefCell::default(),
        }
    }

    fn passes(&self, moments: &[&str]) -> Vec<Timestamp> {
        let tell = |told: &Told| self.told.borrow_mut().push(told.clone());
        let mut scheduler = Scheduler::new(&self.clusters, self.folder.path(), &self.chores, &tell);
        moments.iter().map(|now| scheduler.pass(&|| at(now), &|| false).unwrap()).collect()
    }

    fn done(&self) -> Vec<Job> {
        std::mem::take(&mut self.chores.done.lock().unwrap())
    }
}

#[test]
fn everything_is_done_once_and_then_waits_for_its_time() {
    let fixture = Fixture::new();
    let next = fixture.passes(&["2026-01-13T01:00:00Z", "2026-01-13T01:00:10Z"]);
    assert_eq!(fixture.done(), DAILY);
    assert_eq!(next[1], at("2026-01-13T01:15:00Z"), "copies are compared often");
    fixture.passes(&["2026-01-13T02:00:00Z"]);
    assert_eq!(fixture.done(), [Job::BaseBackup, Job::CatchUp]);
}

#[test]
fn a_restart_repeats_nothing() {
    let fixture = Fixture::new();
    fixture.passes(&["2026-01-13T09:00:00Z"]);
    fixture.done();
    fixture.passes(&["2026-01-13T09:01:00Z"]);
    assert_eq!(fixture.done(), [], "the notes are kept on disk");
}

#[test]
fn a_backup_by_somebody_else_counts() {
    let fixture = Fixture::new();
    *fixture.chores.newest.lock().unwrap() = Some(Some(at("2026-01-13T02:01:00Z")));
    fixture.passes(&["2026-01-13T09:00:00Z"]);
    assert!(!fixture.done().contains(&Job::BaseBackup));
    // And one that is gone does not.
    *fixture.chores.newest.lock().unwrap() = Some(None);
    fixture.passes(&["2026-01-13T09:00:30Z"]);
    assert_eq!(fixture.done(), [Job::BaseBackup]);
}

#[test]
fn a_drill_is_held_where_one_is_wanted_and_its_failure_is_forgotten_where_none_is() {
    let mut fixture = Fixture::new();
    let sunday = ["2026-01-18T06:00:00Z", "2026-01-18T06:00:10Z"];
    fixture.clusters[0].schedule.drill = Some("sunday 06:00".parse().unwrap());
    fixture.passes(&["2026-01-17T06:00:00Z"]);
    assert_eq!(fixture.done(), DAILY, "it is Saturday");
    fixture.chores.failing.store(true, Ordering::SeqCst);
    fixture.passes(&sunday);
    assert_eq!(fixture.done().last(), Some(&Job::Drill));
    let record = Record::load(fixture.folder.path(), "shop");
    assert_eq!(record.of(Job::Drill).failures, 1);
    let record = record.wanted_by(&Schedule::default());
    assert_eq!(record.of(Job::Drill), Outcome::default());
}

#[test]
fn a_failure_is_told_and_tried_again_later() {
    let fixture = Fixture::new();
    fixture.chores.failing.store(true, Ordering::SeqCst);
    let next = fixture.passes(&["2026-01-13T09:00:00Z", "2026-01-13T09:00:10Z"]);
    assert_eq!(fixture.done(), DAILY, "not again at once");
    assert_eq!(next[1], at("2026-01-13T09:15:00Z"));
    let failed = |told: &Told| matches!(told, Told::Failed { .. });
    assert_eq!(fixture.told.borrow().iter().filter(|t| failed(t)).count(), 4);
    fixture.chores.failing.store(false, Ordering::SeqCst);
    fixture.passes(&["2026-01-13T09:15:00Z"]);
    assert_eq!(fixture.done(), DAILY);
}

#[test]
fn an_alarm_is_told_when_it_comes_each_hour_and_when_it_goes() {
    let fixture = Fixture::new();
    let tell = |told: &Told| fixture.told.borrow_mut().push(told.clone());
    let mut scheduler =
        Scheduler::new(&fixture.clusters, fixture.folder.path(), &fixture.chores, &tell);
    let mut look = |now: &str| {
        fixture.told.borrow_mut().clear();
        scheduler.look(&fixture.clusters[0], at(now));
        fixture.told.borrow().iter().map(|t| matches!(t, Told::Alarm { .. })).collect::<Vec<_>>()
    };
    let alarm = Alarm { id: "wal-age".into(), text: "WAL waits".into() };
    *fixture.chores.alarms.lock().unwrap() = vec![alarm];
    assert_eq!(look("2026-01-13T09:00:00Z"), [true]);
    assert!(look("2026-01-13T09:59:59Z").is_empty());
    assert_eq!(look("2026-01-13T10:00:00Z"), [true]);
    fixture.chores.alarms.lock().unwrap().clear();
    assert_eq!(look("2026-01-13T10:01:00Z"), [false], "it is over");
    assert!(look("2026-01-13T10:02:00Z").is_empty());
}

#[test]
fn an_alarm_is_told_while_a_job_runs() {
    let fixture = Fixture::new();
    let alarm = Alarm { id: "wal-age".into(), text: "WAL waits".into() };
    *fixture.chores.alarms.lock().unwrap() = vec![alarm];
    fixture.chores.lasting.store(true, Ordering::SeqCst);
    let tell = |told: &Told| fixture.told.borrow_mut().push(told.clone());
    let mut scheduler =
        Scheduler::new(&fixture.clusters, fixture.folder.path(), &fixture.chores, &tell);
    scheduler.look_every = Duration::from_millis(1);
    scheduler.pass(&|| at("2026-01-13T09:00:00Z"), &|| false).unwrap();
    let told = fixture.told.borrow();
    let alarm = told.iter().position(|told| matches!(told, Told::Alarm { .. }));
    let done = told.iter().position(|told| matches!(told, Told::Done { .. }));
    assert!(alarm.is_some() && alarm < done, "{told:?}");
}

#[test]
fn a_newest_backup_that_lies_ahead_stops_no_backup() {
    let fixture = Fixture::new();
    *fixture.chores.newest.lock().unwrap() = Some(Some(at("2031-01-13T02:01:00Z")));
    fixture.passes(&["2026-01-13T09:00:00Z"]);
    assert!(fixture.done().contains(&Job::BaseBackup));
    fixture.passes(&["2026-01-13T09:01:00Z"]);
    assert!(!fixture.done().contains(&Job::BaseBackup), "once a day");
    fixture.chores.failing.store(true, Ordering::SeqCst);
    fixture.passes(&["2026-01-14T02:00:00Z"]);
    fixture.done();
    fixture.passes(&["2026-01-14T02:15:00Z"]);
    assert!(fixture.done().contains(&Job::BaseBackup), "a failure is tried again");
}

#[test]
fn the_next_runs_say_what_is_overdue() {
    let mut record = Record::default();
    let begun = at("2026-01-12T05:00:00Z");
    let outcome = record.of(Job::Cleanup).after(begun, &Ok(String::from("nothing to remove")));
    record.jobs.insert(Job::Cleanup, outcome);
    let newest = Some(Some(at("2026-01-13T02:00:01Z")));
    let runs = next_runs(&cluster(), &record, newest, at("2026-01-13T09:00:00Z"));
    let of = |job| runs.iter().find(|run| run.job == job).unwrap();
    assert_eq!(of(Job::BaseBackup).at, at("2026-01-14T02:00:00Z"));
    assert_eq!(of(Job::Cleanup).overdue, Some(Reason::Missed));
    assert_eq!(of(Job::Verification).overdue, Some(Reason::First));
    assert_eq!(cluster().schedule, Schedule::default());
}

#[test]
fn two_schedulers_never_run_on_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let first = Alone::take(folder.path()).unwrap();
    assert_eq!(Alone::take(folder.path()).unwrap_err().kind, Kind::Busy);
    drop(first);
    Alone::take(folder.path()).unwrap();
}

#[test]
fn a_stop_wakes_the_loop() {
    let stop = std::sync::Arc::new(Stop::default());
    let asked = std::sync::Arc::clone(&stop);
    let waiting = std::thread::spawn(move || asked.wait(Duration::from_secs(60)));
    stop.ask();
    assert!(waiting.join().unwrap());
}
