//! Keys: a master rotation that is stopped at any operation loses nothing, what is needed cannot
//! be destroyed, a printed sheet opens everything, a wrong key is not taken for damage; and all of
//! it once with a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "keys/server.rs"]
mod server;
mod throwaway;

use lifeboat::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use lifeboat::engine::crypto::{MasterKey, MasterKeySource};
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::keys::{Holding, KeysError, Place, check, inventory, rotation};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::store::{
    ObjectInfo, ObjectWriter, Store, StoreError, StoreFault, open,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SEGMENT: &str = "000000010000000000000003";

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Two repositories that share a master key, each with data keys and WAL.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(keys: usize) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        secret(&scene.at("old.key"), "the old master key of this test\n");
        secret(&scene.at("new.key"), "the new master key of this test\n");
        for place in scene.places("old.key", None) {
            let repository = Repository::create(&place.config, "shop").unwrap();
            for _ in 0..keys {
                repository.new_protection().unwrap();
            }
            repository.put_wal(SEGMENT, &[7; 4096]).unwrap();
        }
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn places(&self, key: &str, previous: Option<&str>) -> Vec<Place> {
        let place = |name: &str| Place {
            cluster: String::from("shop"),
            config: RepositoryConfig {
                name: name.to_owned(),
                store: StoreConfig::File { path: self.at(name) },
                encryption: Encryption::Aes256Cbc {
                    master_key_file: Some(self.at(key)),
                    master_key_command: None,
                    previous_master_key_file: previous.map(|name| self.at(name)),
                },
                codec: Codec::Gzip,
                level: None,
                workers: None,
                place: Default::default(),
            },
        };
        ["near", "far"].map(place).to_vec()
    }

    /// As it is after a stop: opened anew, and by this master key alone.
    fn all_opens(&self, key: &str) -> bool {
        self.places(key, None).iter().all(|place| {
            let holding = place.open().unwrap();
            let lines = check::all(&holding, holding.ring().unwrap());
            Verdict::of_all(lines.iter().map(|line| line.verdict)) == Verdict::Verified
        })
    }

    fn new_master(&self) -> (MasterKeySource, Arc<MasterKey>) {
        let source = MasterKeySource::File(self.at("new.key"));
        let master = Arc::new(MasterKey::load(&source).unwrap());
        (source, master)
    }
}

/// Lets `left` writes and removals through; from then on nothing at all, as after a kill. The last
/// one that is let through is done, and told as a failure.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Store>,
    left: Arc<AtomicUsize>,
}

impl Failing {
    fn dead(&self) -> Result<(), StoreError> {
        match self.left.load(Ordering::SeqCst) {
            0 => Err(StoreError::new(StoreFault::Unavailable, "stopped")),
            _ => Ok(()),
        }
    }

    fn spend(&self) -> Result<(), StoreError> {
        self.left.fetch_sub(1, Ordering::SeqCst);
        self.dead()
    }
}

impl Store for Failing {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.dead()?;
        self.inner.read(key)
    }

    fn read_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.dead()?;
        self.inner.read_range(key, offset, buffer)
    }

    fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.dead()?;
        self.inner.size(key)
    }

    fn list(&self, folder: &str, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.dead()?;
        self.inner.list(folder, prefix)
    }

    fn folders(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.dead()?;
        self.inner.folders(folder)
    }

    fn create(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        self.dead()?;
        self.inner.create(key)
    }

    fn put(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        self.dead()?;
        self.inner.put(key, content)?;
        self.spend()
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.dead()?;
        self.inner.remove(key)?;
        self.spend()
    }
}

fn holdings(places: &[Place], left: &Arc<AtomicUsize>) -> Vec<Holding> {
    let failing = |place: &Place| Holding {
        place: place.clone(),
        store: Arc::new(Failing {
            inner: open(&place.config.store, &place.cluster).unwrap(),
            left: Arc::clone(left),
        }),
    };
    places.iter().map(failing).collect()
}

#[test]
fn a_rotation_that_is_stopped_at_any_write_or_removal_loses_nothing() {
    let (keys, repositories) = (1, 2);
    let all = keys * repositories;
    // Each stop goes on from where the one before left it, which is one operation further.
    let scene = Scene::new(keys);
    let (source, new) = scene.new_master();
    let mut done = 0;
    loop {
        let left = Arc::new(AtomicUsize::new(1));
        let begun =
            rotation::begin(&holdings(&scene.places("old.key", None), &left), &source, &new);
        assert!(scene.all_opens("old.key"), "after {done} writes");
        if begun.is_ok() {
            break;
        }
        assert!(!matches!(begun, Err(KeysError::NotProven(_))) || done == all);
        done += 1;
        assert!(done <= all, "it comes to an end");
    }
    assert_eq!(done, all, "every write was a place to stop");
    assert!(scene.all_opens("new.key") && scene.all_opens("old.key"));

    // A host with the old key alone makes a data key meanwhile, one with both another.
    let (old, both) = (scene.places("old.key", None), scene.places("new.key", Some("old.key")));
    let theirs = Repository::open(&old[0].config, "shop").unwrap();
    let straggler = theirs.new_protection().unwrap().key_id().unwrap().to_owned();
    assert!(!scene.all_opens("new.key"), "nobody has wrapped it yet");
    let ours = Repository::open(&both[0].config, "shop").unwrap();
    ours.keyring().unwrap().open(&straggler).unwrap();
    let made = ours.new_protection().unwrap().key_id().unwrap().to_owned();
    let theirs = Repository::open(&old[0].config, "shop").unwrap();
    theirs.keyring().unwrap().open(&made).unwrap();

    let mut stops = 0;
    loop {
        let left = Arc::new(AtomicUsize::new(1));
        let retired = rotation::retire(&holdings(&both, &left));
        if stops > 0 {
            assert!(scene.all_opens("new.key"), "after {stops} operations");
        }
        if let Ok((retired, _)) = retired {
            assert!(retired.iter().all(|one| one.removed == 0 && one.left.is_empty()));
            break;
        }
        stops += 1;
    }
    // The straggler's second object, and all of the old master key's: one a key.
    assert_eq!(stops, 1 + all + 2);
    assert!(scene.all_opens("new.key") && !scene.all_opens("old.key"));
    let refused = Repository::open(&old[0].config, "shop").unwrap_err();
    assert!(refused.to_string().contains("does not fit"), "told apart from damage: {refused}");
}

#[test]
fn nothing_is_retired_that_is_not_proven() {
    let scene = Scene::new(2);
    let (source, new) = scene.new_master();
    let plenty = Arc::new(AtomicUsize::new(usize::MAX));
    let old = scene.places("old.key", None);
    assert!(matches!(
        rotation::retire(&holdings(&old, &plenty)),
        Err(KeysError::NoPrevious { .. })
    ));
    rotation::begin(&holdings(&old, &plenty), &source, &new).unwrap();
    // A damaged WAL object in the second repository: in the first nothing goes either.
    let archive = scene.at("far/wal-archive/0000000100000000");
    let object = fs::read_dir(archive).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&object).unwrap();
    bytes[40] ^= 1;
    fs::write(&object, bytes).unwrap();
    let both = scene.places("new.key", Some("old.key"));
    let refused = rotation::retire(&holdings(&both, &plenty)).unwrap_err();
    assert!(matches!(&refused, KeysError::NotProven(why) if why.contains(SEGMENT)), "{refused}");
    let first = old[0].open().unwrap();
    let lines = check::all(&first, first.ring().unwrap());
    assert!(lines.iter().all(|line| line.verdict == Verdict::Verified), "{lines:#?}");
}

#[test]
fn a_key_that_is_needed_or_may_be_is_not_destroyed() {
    let scene = Scene::new(2);
    let holding = scene.places("old.key", None)[0].open().unwrap();
    let ids = holding.ring().unwrap().list().unwrap();
    let now = jiff::Timestamp::now();
    let later = now + jiff::SignedDuration::from_hours(100);
    let refused = |id: &str, at, why: &str| {
        let refused = inventory::destroy(&holding, id, at).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    };
    refused(&ids[1], later, "newest");
    refused(&ids[0], now, "younger than 48 hours");
    let set = format!("{{\"key_id\": \"{}\"}}", ids[0]);
    fs::write(scene.at("near/set-20250113-020000.json"), set).unwrap();
    refused(&ids[0], later, "set-20250113-020000 cannot be opened without it");
    fs::write(scene.at("near/set-20250113-020000.json"), "damaged").unwrap();
    refused(&ids[0], later, "may be this one");
    fs::remove_file(scene.at("near/set-20250113-020000.json")).unwrap();
    inventory::rotate(&holding).unwrap();
    refused(&ids[1], later, &format!("1 WAL files from {SEGMENT}"));
    inventory::destroy(&holding, &ids[0], later).unwrap();
    assert_eq!(holding.ring().unwrap().list().unwrap().len(), 2);
}

/// The program with a configuration of its own.
struct Program {
    scene: Scene,
    config: PathBuf,
}

impl Program {
    fn new() -> Self {
        let scene = Scene::new(3);
        let config = scene.at("lifeboat.toml");
        let mut text = String::from(
            "[[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"/nowhere\"\nrepositories = [\"near\", \"far\"]\n\
             [clusters.connection]\nhost = \"/run\"\n[clusters.control]\ndriver = \"pg_ctl\"\n",
        );
        for name in ["near", "far"] {
            text.push_str(&format!(
                "[[repositories]]\nname = \"{name}\"\n[repositories.store]\nkind = \"file\"\n\
                 path = \"{}\"\n[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
                 master_key_file = \"{}\" # closed\n",
                scene.at(name).display(),
                scene.at("old.key").display()
            ));
        }
        fs::write(&config, text).unwrap();
        Self { scene, config }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&self.config).arg("keys").args(words);
        command.current_dir(self.scene.folder.path());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn well(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}{told}");
        told
    }
}

#[test]
fn a_rotation_killed_at_any_time_goes_on_and_docs_commands_open_the_end() {
    let program = Program::new();
    let begin = ["rotate-master", "--new-key-file", "new.key", "--apply"];
    let end = ["rotate-master", "--retire", "--apply"];
    for (step, words) in [(0, &begin[..]), (1, &end[..])] {
        for stop in 0..6_u64 {
            let mut child =
                program.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let until = Instant::now() + Duration::from_millis(stop * 60);
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = child.kill();
            child.wait().unwrap();
            program.well(&["check"]);
        }
        let text = fs::read_to_string(&program.config).unwrap();
        let begun = text.contains("new.key");
        let ended = begun && !text.contains("previous_master_key_file");
        if (step == 0 && !begun) || (step == 1 && !ended) {
            program.well(words);
        }
    }
    program.well(&["check"]);
    assert!(program.scene.all_opens("new.key") && !program.scene.all_opens("old.key"));
    let text = fs::read_to_string(&program.config).unwrap();
    assert!(text.contains("new.key\" # closed") && !text.contains("previous"), "{text}");

    // The block of the documentation, word for word.
    let format = include_str!("../docs/REPOSITORY_FORMAT.md");
    let block = format.split("## Without Lifeboat\n").nth(1).unwrap();
    let block = block.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let block = block.replace("file:master.key", "file:../new.key");
    let output = Command::new("/bin/sh")
        .args(["-ec", &block])
        .current_dir(program.scene.at("near"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(program.scene.at("near").join(SEGMENT)).unwrap(), [7; 4096]);
}

#[test]
fn a_sheet_is_proven_and_brings_the_key_back() {
    let program = Program::new();
    let at = |name: &str| program.scene.at(name);
    fs::create_dir(at("sheets")).unwrap();
    let told = program.well(&["escrow", "--output", "sheets"]);
    assert!(!told.contains("master key of this test") && !told.contains("B1/"), "{told}");
    let mut sheets: Vec<PathBuf> =
        fs::read_dir(at("sheets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sheets.sort();
    assert_eq!(sheets.len(), 2);
    for sheet in &sheets {
        assert_eq!(fs::metadata(sheet).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!program.run(&["escrow", "--output", sheets[0].to_str().unwrap()]).status.success());
    assert!(program.well(&["escrow", "--show"]).contains("B1/"));
    assert!(fs::read_to_string(&sheets[0]).unwrap().contains("<svg"));

    // As somebody types it: the lines alone, in capitals, with other spaces.
    let printed = fs::read_to_string(&sheets[1]).unwrap();
    let typed: Vec<String> = printed
        .lines()
        .filter(|line| line.starts_with('B') && line.contains(':'))
        .map(|line| line.to_uppercase().replace("  ", " "))
        .collect();
    fs::write(at("typed.txt"), typed.join("\n")).unwrap();
    assert!(program.well(&["check", "--escrow", "typed.txt"]).contains("VERIFIED"));
    program.well(&["restore-master", "--from-sheet", "typed.txt", "--output", "again.key"]);
    assert_eq!(fs::read(at("again.key")).unwrap(), fs::read(at("old.key")).unwrap());
    assert_eq!(fs::metadata(at("again.key")).unwrap().permissions().mode() & 0o777, 0o600);

    let wrong = typed[1].replacen(": ", ": 7", 1).replacen(": 7", ": ", 1);
    let flipped: String = wrong
        .char_indices()
        .map(|(i, c)| if i == 6 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect();
    fs::write(at("slip.txt"), typed.join("\n").replace(&typed[1], &flipped)).unwrap();
    let refused = program.run(&["check", "--escrow", "slip.txt"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in line 2 the checksum"));

    // Another master key's sheet is a wrong key, and nothing is damaged.
    fs::write(at("other.txt"), &*lifeboat::engine::crypto::sheet::encode(b"0123456789abcdef"))
        .unwrap();
    let other = program.run(&["check", "--escrow", "other.txt", "--json"]);
    assert_eq!(other.status.code(), Some(4));
    let told = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(told.contains("holds another key") && !told.contains("is damaged"), "{told}");
    // Damage is damage, and no wrong key.
    let id = program.scene.places("old.key", None)[0].open().unwrap().ring().unwrap();
    let object = at(&format!("near/keys/{}.json", id.list().unwrap()[0]));
    let text = fs::read_to_string(&object).unwrap();
    fs::write(&object, text.replacen("created\": \"2", "created\": \"3", 1)).unwrap();
    let damaged = program.run(&["check"]);
    assert_eq!(damaged.status.code(), Some(4));
    let told = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert!(told.contains("is damaged") && !told.contains("holds another key"), "{told}");
    program.well(&["list", "--json"]);
}

#[test]
fn two_rotations_at_once_are_one_too_many() {
    let program = Program::new();
    let begin = ["rotate-master", "--new-key-file", "made.key", "--make", "--apply"];
    let other = rotation::Alone::take(&program.config).unwrap();
    let refused = program.run(&begin);
    assert_eq!(refused.status.code(), Some(9));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another rotation") || said.contains("Another rotation"), "{said}");
    assert!(!program.scene.at("made.key").exists(), "it did nothing at all");
    drop(other);
    program.well(&begin);
    assert!(program.scene.all_opens("made.key"));
}
