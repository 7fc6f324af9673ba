//! Written, read, changed, cut short: what the chain says to each.

use crate::events::{KINDS, actor, event, number};
use jiff::Timestamp;
use lifeboat::engine::explain::{Explain, Kind};
use lifeboat::engine::incident::event::{Entry, Event};
use lifeboat::engine::incident::facts::{Actor, Role};
use lifeboat::engine::incident::journal::{self, Journal, JournalError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn at() -> Timestamp {
    "2025-01-13T10:00:00.000000001Z".parse().unwrap()
}

fn anna() -> Actor {
    Actor { user: String::from("anna"), uid: 1000, role: Role::Commander }
}

/// A journal of `count` entries and its path.
fn written(folder: &Path, count: usize) -> PathBuf {
    let mut journal = Journal::open(folder).unwrap().journal;
    for number in 0..count {
        let event = Event::StepFinished { step: format!("step-{number}") };
        journal.append(at(), &anna(), event).unwrap();
    }
    journal.path().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_survives_its_line(event in event(), actor in actor()) {
        let entry = Entry { seq: u64::MAX, at: at(), actor, event, prev: String::from("00") };
        let line = serde_json::to_string(&entry).unwrap();
        prop_assert!(!line.contains('\n'));
        let read: Entry = serde_json::from_str(&line).unwrap();
        if let Event::PlanMade(plan) = &read.event {
            prop_assert!(plan.is_sealed());
        }
        prop_assert_eq!(&read, &entry);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_is_read_again_in_order(
        events in prop::collection::vec((event(), actor()), 1..12)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Vec::new();
        // Half of it by another writer, as after a restart.
        for half in events.chunks(events.len().div_ceil(2)) {
            let mut journal = Journal::open(folder.path()).unwrap().journal;
            for (event, actor) in half {
                kept.push(journal.append(at(), actor, event.clone()).unwrap());
            }
        }
        let read = journal::read(folder.path()).unwrap();
        prop_assert_eq!(&read.entries, &kept);
        prop_assert_eq!(read.torn, None);
        let verified = journal::verify(&folder.path().join(journal::FILE)).unwrap();
        prop_assert_eq!(verified.entries, events.len() as u64);
    }

    #[test]
    fn cut_anywhere_in_the_last_line_only_that_line_goes_and_it_is_kept(cut in 1_usize..120) {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 3);
        let whole = fs::read(&path).unwrap();
        let last = whole.iter().rposition(|byte| *byte != b'\n').unwrap();
        let last = whole[..last].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        let cut = whole.len() - cut.min(whole.len() - last - 1);
        fs::write(&path, &whole[..cut]).unwrap();
        prop_assert_eq!(journal::read(folder.path()).unwrap().entries.len(), 2);
        let mut opened = Journal::open(folder.path()).unwrap();
        let torn = opened.torn.unwrap();
        prop_assert_eq!(fs::read(torn.kept.unwrap()).unwrap(), &whole[last..cut]);
        let event = Event::RunFinished;
        prop_assert_eq!(opened.journal.append(at(), &anna(), event).unwrap().seq, 3);
        prop_assert_eq!(journal::verify(&path).unwrap().entries, 3);
    }

    #[test]
    fn any_byte_changed_before_the_last_line_is_found(place in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 4);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        let place = place.index(last);
        bytes[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
        fs::write(&path, &bytes).unwrap();
        let is_found = matches!(journal::verify(&path), Err(JournalError::Wrong { .. }));
        prop_assert!(is_found);
        prop_assert!(Journal::open(folder.path()).is_err());
        prop_assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn the_generator_makes_every_kind() {
    let mut runner = TestRunner::deterministic();
    let mut seen = [false; KINDS];
    for _ in 0..3000 {
        seen[number(&event().new_tree(&mut runner).unwrap().current())] = true;
    }
    assert_eq!(seen, [true; KINDS]);
}

#[test]
fn the_first_wrong_entry_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 5);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let first_wrong = |lines: &[&str]| {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        match journal::verify(&path) {
            Err(error @ JournalError::Wrong { .. }) => {
                assert_eq!(error.explanation().kind, Kind::Integrity);
                let JournalError::Wrong { entry, .. } = error else { unreachable!() };
                Some(entry)
            }
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    };
    assert_eq!(first_wrong(&lines), None);
    // A hole, a swap, a word changed, a line that this version does not know at the very end.
    assert_eq!(first_wrong(&[lines[0], lines[2], lines[3]]), Some(2));
    assert_eq!(first_wrong(&[lines[0], lines[1], lines[3], lines[2]]), Some(3));
    let changed = lines[1].replace("step-1", "step-9");
    assert_eq!(first_wrong(&[lines[0], &changed, lines[2]]), Some(3));
    let unknown = lines[2].replace("step_finished", "step_imagined");
    assert_eq!(first_wrong(&[lines[0], lines[1], &unknown]), Some(3));
    // Not JSON, but not at the end either.
    assert_eq!(first_wrong(&[lines[0], "{\"seq\":2", lines[2]]), Some(2));
}

#[test]
fn a_second_writer_is_told_who_writes_and_a_reader_is_not_held_up() {
    let folder = tempfile::tempdir().unwrap();
    let incident = folder.path().join("INC-20250113-001");
    let opened = Journal::open(&incident).unwrap();
    assert!(journal::is_written(&incident));
    let refusal = Journal::open(&incident).unwrap_err();
    assert!(
        matches!(refusal, JournalError::Busy { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert!(journal::read(&incident).unwrap().entries.is_empty());
    drop(opened);
    assert!(!journal::is_written(&incident));
    Journal::open(&incident).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&incident), mode(&incident.join(journal::FILE))), (0o700, 0o600));
}

#[test]
fn a_file_of_zeros_at_the_end_as_after_a_power_cut_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), 2);
    let mut bytes = fs::read(&path).unwrap();
    let whole = bytes.clone();
    bytes.extend_from_slice(&[0; 4096]);
    fs::write(&path, bytes).unwrap();
    let torn = Journal::open(folder.path()).unwrap().torn.unwrap();
    assert_eq!(torn.bytes, 4096);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_full_disk_leaves_the_journal_as_it_was() {
    // The process's own limit on a file's size stands in for the disk's end.
    use nix::sys::signal::{SigHandler, Signal, signal};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let folder = tempfile::tempdir().unwrap();
    if std::env::var_os("LIFEBOAT_TEST_FULL").is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "chain::a_full_disk_leaves_the_journal_as_it_was"])
            .env("LIFEBOAT_TEST_FULL", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let path = written(folder.path(), 2);
    let mut journal = Journal::open(folder.path()).unwrap().journal;
    let length = path.metadata().unwrap().len();
    let before = getrlimit(Resource::Fsize);
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let limit = Rlimit { current: Some(length + 10), maximum: before.maximum };
    setrlimit(Resource::Fsize, limit).unwrap();
    let full = journal.append(at(), &anna(), Event::RunFinished).unwrap_err();
    assert_eq!(full.explanation().kind, Kind::Storage);
    assert_eq!(path.metadata().unwrap().len(), length);
    setrlimit(Resource::Fsize, before).unwrap();
    assert_eq!(journal.append(at(), &anna(), Event::RunFinished).unwrap().seq, 3);
    drop(journal);
    assert_eq!(journal::verify(&path).unwrap().entries, 3);
}
