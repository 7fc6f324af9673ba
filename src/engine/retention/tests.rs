//! Cleanups of small repositories, broken off at every removal.

use super::policy::{Policy, Use};
use super::{Outcome, Plan};
use crate::engine::explain::Kind;
use crate::engine::postgres::Lsn;
use crate::engine::repository::descriptor::{SetObject, base_stem};
use crate::engine::repository::hold::{Hold, WalPoint};
use crate::engine::repository::store::{
    self, ObjectInfo, ObjectWriter, Store, StoreError, StoreFault,
};
use crate::engine::repository::testing::{Place, set_at};
use crate::engine::repository::{Repository, SetDescriptor};
use crate::engine::wal::Segment;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const SIZE: u64 = 1 << 20;
const POLICY: Policy = Policy { days: 30, minimum: 2 };

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// Four backups, four days apart, with ten segments each; the window begins two days after the
/// third. All of it lies ahead of the clock, so that the keys, made now, are old.
struct Stage {
    place: Place,
    sets: Vec<SetDescriptor>,
    now: Timestamp,
}

impl Stage {
    fn new(place: Place) -> Self {
        let repository = place.repository();
        let begin = Timestamp::now() + hours(24 * 60);
        let mut sets = Vec::new();
        for index in 0..4_u64 {
            let started = begin + hours(96 * i64::try_from(index).unwrap());
            let mut set = set_at(&repository, started);
            let first = 10 * index + 3;
            set.segment_size = SIZE;
            set.start_lsn = Lsn(first * SIZE + 40);
            set.stop_lsn = Lsn((first + 2) * SIZE);
            let stem = base_stem(&set.set).unwrap();
            let names = [format!("{stem}.tar.gz"), format!("{stem}.manifest.json")];
            set.objects =
                names.map(|name| SetObject { name, size: 1000, sha256: "00".repeat(32) }).to_vec();
            set.stored_bytes = 2000;
            for object in &set.objects {
                repository.store.put(&object.name, &[7; 1000]).unwrap();
                age(&place.root().join(&object.name), started);
            }
            for number in first..first + 10 {
                let name = Segment { timeline: 1, number }.name(SIZE);
                repository.put_wal(&name, name.as_bytes()).unwrap();
            }
            let folder = place.root().join("wal-archive/0000000100000000");
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let number = Segment::parse(&name[..24], SIZE).unwrap().number;
                if number >= first {
                    let at = i64::try_from(number - first).unwrap();
                    age(&entry.path(), started + hours(9 * at));
                }
            }
            repository.write_set(&set).unwrap();
            sets.push(set);
        }
        let now = sets[2].finished + hours(48 + 24 * 30);
        Self { place, sets, now }
    }

    fn repository(&self) -> Arc<Repository> {
        Arc::new(self.place.repository())
    }

    fn plan(&self, uses: &[Use]) -> Plan {
        Plan::make(&self.repository(), POLICY, uses, self.now).unwrap()
    }

    fn run(&self, plan: &Plan, repository: &Repository) -> Outcome {
        plan.apply(repository, &|| Ok(Vec::new()), &|_| {}, &|| false)
    }

    fn listed(&self) -> Vec<String> {
        self.repository().set_names().unwrap()
    }

    fn segments(&self) -> BTreeSet<u64> {
        let listed = self.repository().list_wal(1, "", usize::MAX).unwrap();
        listed.iter().map(|file| Segment::parse(&file.name, SIZE).unwrap().number).collect()
    }

    #[track_caller]
    fn only_whole_sets(&self) {
        let (repository, segments) = (self.repository(), self.segments());
        for name in self.listed() {
            let set = repository.read_set(&name).unwrap();
            for object in &set.objects {
                assert_eq!(repository.store.size(&object.name).unwrap(), object.size, "{name}");
            }
            for number in set.start_lsn.0 / SIZE..=(set.stop_lsn.0 - 1) / SIZE {
                assert!(segments.contains(&number), "{name} has lost segment {number}");
            }
        }
    }
}

fn age(path: &Path, at: Timestamp) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(at.into()).unwrap();
}

/// A store that lets so many removals through, and answers the next with a fault.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Store>,
    left: AtomicI64,
    fault: StoreFault,
    /// Whether what is denied is locked, too.
    locks: bool,
}

impl Failing {
    fn over(stage: &Stage, removals: i64, fault: StoreFault) -> Repository {
        Self::with(stage, removals, fault, true)
    }

    fn with(stage: &Stage, removals: i64, fault: StoreFault, locks: bool) -> Repository {
        let inner = Arc::clone(&stage.repository().store);
        let failing = Arc::new(Self { inner, left: AtomicI64::new(removals), fault, locks });
        Repository::over(failing, &stage.place.config, "shop").unwrap()
    }
}

impl Store for Failing {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.inner.read(key)
    }
    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_range(key, offset, buffer)
    }
    fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.inner.size(key)
    }
    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(folder, prefix)
    }
    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.inner.folders(folder)
    }
    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.inner.create(key)
    }
    fn remove(&self, key: &str) -> Result<(), StoreError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(StoreError::new(self.fault, format!("{key} stays today")));
        }
        self.inner.remove(key)
    }
    fn hold(&self, key: &str) -> Result<Option<store::Hold>, StoreError> {
        let until = Timestamp::now() + hours(1);
        let locked = match self.fault {
            StoreFault::Exists => key.ends_with(".manifest.json"),
            StoreFault::Denied => self.locks,
            _ => false,
        };
        self.inner.hold(key)?;
        Ok(locked.then(|| store::Hold { mode: String::from("COMPLIANCE"), until }))
    }
}

#[test]
fn a_cleanup_that_breaks_off_at_every_removal_leaves_whole_sets_and_is_finished_by_the_next() {
    for place in Place::both() {
        let stage = Stage::new(place);
        let names: Vec<String> = stage.sets.iter().map(|set| set.set.clone()).collect();
        stage.only_whole_sets();
        let plan = stage.plan(&[]);
        let removed: Vec<_> = plan.sets.iter().map(|set| set.remove).collect();
        assert_eq!(removed, [true, true, false, false], "{:?}", plan.sets);
        assert!(plan.sets.iter().all(|set| !set.why.is_empty()));
        assert_eq!((plan.wal.len(), plan.wal[0].files), (1, 20), "{:?}", plan.wal);
        let stored: u64 = plan.wal[0].bytes + 4000;
        assert_eq!(plan.bytes, stored);
        assert_eq!(stage.listed(), names, "a plan removes nothing");

        let encrypted = stage.repository().keyring().is_some();
        let mut times = 0;
        loop {
            let plan = stage.plan(&[]);
            if plan.is_empty() {
                break;
            }
            // Keys are slow to derive: there it breaks off at every seventh.
            let at = if encrypted { 7 } else { 1 };
            let outcome = stage.run(&plan, &Failing::over(&stage, at, StoreFault::Unavailable));
            stage.only_whole_sets();
            let last = outcome.stopped.is_none();
            assert!(last || i64::try_from(outcome.objects) == Ok(at), "{outcome:?}");
            times += 1;
            assert!(times < 100, "it never ends");
        }
        // Two sets of three objects, 20 WAL files, and the keys of the two.
        assert_eq!(times, if encrypted { 4 } else { 6 + 20 });
        assert_eq!(stage.listed(), names[2..]);
        assert_eq!(stage.segments(), (23..43).collect());
        if let Some(keyring) = stage.repository().keyring() {
            let name = Segment { timeline: 1, number: 23 }.name(SIZE);
            assert!(stage.repository().get_wal(&name).unwrap().is_some());
            let kept: Vec<_> = stage.sets[2..].iter().map(|s| s.key_id.clone().unwrap()).collect();
            assert_eq!(keyring.list().unwrap(), kept);
        }
    }
}

#[test]
fn what_the_store_keeps_is_told_and_the_rest_goes() {
    let stage = Stage::new(Place::plain());
    let plan = stage.plan(&[]);
    // The descriptor goes, its objects do not.
    let outcome = stage.run(&plan, &Failing::over(&stage, 1, StoreFault::Denied));
    assert_eq!(outcome.stopped.map(|fault| fault.kind), Some(Kind::Refused));
    assert_eq!(outcome.left.len(), 1, "the second set's descriptor stayed, so it is whole");
    assert!(outcome.kept_by_store_named.iter().any(|one| one.contains(".tar.gz: ")));
    stage.only_whole_sets();
    assert_eq!(stage.segments().len(), 40, "a set was left: its WAL too");

    // What the store is known to keep is not unpublished at all.
    let locked = Arc::new(Failing::over(&stage, i64::MAX, StoreFault::Exists));
    let plan = Plan::make(&locked, POLICY, &[], stage.now).unwrap();
    assert!(plan.sets.iter().all(|set| !set.remove), "{:?}", plan.sets);
    assert!(plan.sets[0].why.contains("COMPLIANCE"), "{:?}", plan.sets);
    let outcome = stage.run(&plan, &locked);
    assert!(outcome.is_whole(), "{outcome:?}");
    stage.only_whole_sets();
    assert!(stage.segments().is_superset(&(13..15).collect()), "its own WAL");
}

#[test]
fn what_is_denied_without_a_lock_is_a_fault_and_ends_it() {
    let stage = Stage::new(Place::plain());
    let plan = stage.plan(&[]);
    let store = Failing::with(&stage, 1, StoreFault::Denied, false);
    let outcome = stage.run(&plan, &store);
    assert_eq!(outcome.stopped.map(|fault| fault.kind), Some(Kind::Storage));
    assert_eq!((outcome.kept_by_store, outcome.objects), (0, 1));
    stage.only_whole_sets();
}

#[test]
fn a_key_that_came_into_use_after_the_plan_stays() {
    let stage = Stage::new(Place::encrypted());
    let plan = stage.plan(&[]);
    assert_eq!(plan.keys.len(), 2);
    let needed = &plan.keys[0].key;
    // As a copy from another repository publishes it.
    let set = format!("{{\"key_id\": \"{needed}\"}}");
    fs::write(stage.place.root().join("set-20250113-020000.json"), set).unwrap();
    let outcome = stage.run(&plan, &stage.repository());
    assert!(outcome.stopped.is_none() && !outcome.is_whole(), "{outcome:?}");
    let keys = stage.repository().keyring().unwrap().list().unwrap();
    assert!(keys.contains(needed) && !keys.contains(&plan.keys[1].key), "{keys:?}");
}

#[test]
fn an_old_repository_under_a_clock_that_ran_ahead_is_told_and_not_cleaned_up_by_itself() {
    let stage = Stage::new(Place::plain());
    let newest = stage.sets[3].finished + hours(9 * 9);
    let plan = |now| Plan::make(&stage.repository(), POLICY, &[], now).unwrap();
    let ahead = plan(newest + hours(24 * 40));
    assert!(!ahead.is_empty());
    assert_eq!(ahead.unattended().unwrap_err().kind, Kind::Refused);
    assert!(ahead.notes.iter().any(|note| note.contains("clock")), "{:?}", ahead.notes);
    let soon = plan(newest + hours(24));
    soon.unattended().unwrap();
    assert!(!soon.notes.iter().any(|note| note.contains("clock")), "{:?}", soon.notes);
}

#[test]
fn holds_and_uses_keep_their_sets_whole_until_they_end() {
    let stage = Stage::new(Place::plain());
    let repository = stage.repository();
    let [first, second] = [&stage.sets[0].set, &stage.sets[1].set];
    let wal_to = Some(WalPoint { timeline: 1, lsn: Lsn(7 * SIZE) });
    let hold = Hold { wal_to, ..Hold::new("case 7", first, stage.now, "ada") };
    repository.place_hold(&hold).unwrap();
    let used = Use { set: Some(second.clone()), by: String::from("the open incident INC-1") };
    let plan = stage.plan(std::slice::from_ref(&used));
    assert!(plan.is_empty() || plan.sets.iter().all(|set| !set.remove));
    assert!(plan.sets[0].why.contains("case 7") && plan.sets[1].why.contains("INC-1"));
    let outcome = stage.run(&plan, &repository);
    assert!(outcome.is_whole());
    // Segment 7 is the hold's last; all from the used set on stays.
    assert_eq!(stage.segments(), (3..=7).chain(13..43).collect());
    stage.only_whole_sets();

    // Something that has not said what it needs may need anything.
    let unsaid = Use { set: None, by: String::from("the open incident INC-2") };
    assert!(stage.plan(&[unsaid]).is_empty());

    // An incident that opened after the plan was made.
    let plan = stage.plan(&[]);
    assert!(plan.sets[1].remove);
    let late = || Ok(vec![used.clone()]);
    let outcome = plan.apply(&repository, &late, &|_| {}, &|| false);
    assert_eq!(outcome.left.len(), 1);
    assert_eq!(outcome.stopped.map(|fault| fault.kind), Some(Kind::Refused));
    assert_eq!(stage.segments().len(), 35);
    stage.only_whole_sets();

    repository.release_hold("case 7").unwrap();
    let outcome = stage.run(&stage.plan(&[]), &repository);
    assert!(outcome.is_whole());
    assert_eq!(stage.segments(), (23..43).collect());
    assert_eq!(stage.listed().len(), 2);
}

#[test]
fn doubt_keeps_what_it_may_be_about() {
    let stage = Stage::new(Place::encrypted());
    // The second set's descriptor has rotted.
    let path = stage.place.root().join(format!("{}.json", stage.sets[1].set));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"timeline\": 1", "\"timeline\": 2")).unwrap();
    let plan = stage.plan(&[]);
    let removed: Vec<_> = plan.sets.iter().map(|set| set.remove).collect();
    assert_eq!(removed, [true, false, false, false], "{:?}", plan.sets);
    assert!(plan.keys.is_empty(), "it may name any key");
    assert!(plan.notes.iter().any(|note| note.contains(&stage.sets[1].set)), "{:?}", plan.notes);
    assert!(stage.run(&plan, &stage.repository()).is_whole());
    // All that lies behind the end of the set before it.
    assert_eq!(stage.segments(), (5..43).collect());

    // A clock that is behind the backups.
    let early = stage.sets[0].started;
    let refused = Plan::make(&stage.repository(), POLICY, &[], early).unwrap_err();
    assert_eq!(refused.kind, Kind::Refused, "{refused}");
}

#[test]
fn a_damaged_set_is_no_set_to_rely_on() {
    let stage = Stage::new(Place::plain());
    // The one that the window begins with: the one before takes its place.
    let object = &stage.sets[2].objects[0].name;
    fs::write(stage.place.root().join(object), "short").unwrap();
    let plan = stage.plan(&[]);
    let removed: Vec<_> = plan.sets.iter().map(|set| set.remove).collect();
    assert_eq!(removed, [true, false, false, false], "{:?}", plan.sets);
    assert!(plan.sets[2].why.contains("bytes long"), "{:?}", plan.sets[2]);
    assert!(stage.run(&plan, &stage.repository()).is_whole());
    assert_eq!(stage.segments(), (13..43).collect());
}

#[test]
fn unpublished_objects_go_when_nobody_can_be_writing_them() {
    let stage = Stage::new(Place::plain());
    let repository = stage.repository();
    for (name, at) in [
        ("base-20250113-020000.tar.gz", stage.now - hours(25)),
        ("base-20250114-020000.tar.gz", stage.now - hours(23)),
    ] {
        repository.store.put(name, b"half").unwrap();
        age(&stage.place.root().join(name), at);
    }
    let plan = stage.plan(&[]);
    let keys: Vec<_> = plan.unpublished.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["base-20250113-020000.tar.gz"]);
    assert!(plan.notes.iter().any(|note| note.contains("set-20250114-020000")));
    assert!(stage.run(&plan, &repository).is_whole());
    assert!(!stage.place.root().join("base-20250113-020000.tar.gz").exists());
    assert!(stage.place.root().join("base-20250114-020000.tar.gz").exists());
}

#[test]
fn a_cancelled_cleanup_stops_and_says_so() {
    let stage = Stage::new(Place::plain());
    let (plan, asked) = (stage.plan(&[]), AtomicBool::new(false));
    // After the first removal.
    let cancelled = || asked.swap(true, Ordering::SeqCst);
    let outcome = plan.apply(&stage.repository(), &|| Ok(Vec::new()), &|_| {}, &cancelled);
    assert_eq!(outcome.objects, 1);
    assert_eq!(outcome.stopped.map(|fault| fault.kind), Some(Kind::Cancelled));
    stage.only_whole_sets();
}

#[test]
fn a_key_that_a_file_outside_needs_stays() {
    let stage = Stage::new(Place::encrypted());
    let id = stage.sets[0].key_id.clone().unwrap();
    stage.repository().pin_key(&id).unwrap();
    let keys: Vec<_> = stage.plan(&[]).keys.into_iter().map(|one| one.key).collect();
    assert_eq!(keys, [stage.sets[1].key_id.clone().unwrap()]);
}
