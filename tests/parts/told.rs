//! Commands that stand alone say what a failure is, what mends it, and what the next command is.

use super::{MADE, Scene};
use lifeboat::engine::drill::sandbox::CLUSTER;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn flip_a_bit(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0_u8];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
}

/// The base backups' objects, oldest first, and the names of their sets.
fn bases(repository: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(repository).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<(String, PathBuf)> = paths
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let set = name.strip_prefix("base-")?.strip_suffix(".tar.gz.enc")?;
            Some((format!("set-{set}"), path))
        })
        .collect();
    found.sort();
    found
}

#[test]
#[ignore = "make test-kill"]
fn restore_and_restore_parts_say_what_a_failure_is_and_the_next_command() {
    let scene = Scene::new();
    scene.sql(MADE);
    scene.sandbox.back_up().unwrap();
    // Sets are named by the second.
    let (named, began) = (jiff::Timestamp::now().as_second(), Instant::now());
    while jiff::Timestamp::now().as_second() <= named {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
    scene.sandbox.back_up().unwrap();
    scene.text("SELECT pg_create_restore_point('before')::text");
    scene.sandbox.switch_and_archive().unwrap();
    let root = scene.sandbox.root().to_owned();
    let sets = bases(&root.join("repository"));
    let [(older, _), (newer, newest)] = sets.as_slice() else { panic!("{sets:?}") };
    let data = root.join("cluster/restored").display().to_string();
    let restore =
        ["restore", "--cluster", CLUSTER, "--name", "before", "--target-directory", &data];
    let failed = |arguments: &[&str]| scene.sandbox.lifeboat(arguments).unwrap_err().to_string();
    let says = |told: &str, words: &[&str]| {
        for word in words {
            assert!(told.contains(word), "{word}: {told}");
        }
    };

    // A damaged backup: another set, by name.
    flip_a_bit(newest);
    let told = failed(&restore);
    let other = format!("--set {older}");
    says(&told, &[&format!("The base backup {newer} is damaged"), "What mends it:", &other]);
    says(&told, &["Then: lifeboat --config", "Bring a good copy of it"]);
    let told = scene.parts(&["--schema", "lab", "--dry-run"]).unwrap_err();
    says(&told, &["is damaged in every copy", "What mends it:", "Then: lifeboat --config"]);
    says(&told, &["--set ANOTHER-SET"]);
    // The older one serves, by its name; one that is not there, and one that is too new, do not.
    scene.parts(&["--schema", "lab", "--dry-run", "--set", older]).unwrap();
    flip_a_bit(newest);
    let told = scene.parts(&["--schema", "lab", "--dry-run", "--set", "set-20010101-000000"]);
    says(&told.unwrap_err(), &["set-20010101-000000", "list-backups"]);
    scene.sandbox.back_up().unwrap();
    let sets = bases(&root.join("repository"));
    let (late, _) = sets.last().unwrap();
    let told = scene.parts(&["--schema", "lab", "--dry-run", "--set", late]).unwrap_err();
    says(&told, &["cannot be reached", late]);

    // Another key than the one that the backups were closed with; mended, the same command goes on.
    let key = root.join("keys/master");
    let right = fs::read_to_string(&key).unwrap();
    fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    let told = failed(&restore);
    says(&told, &["The key at hand", "Mend the key", "Then: lifeboat --config"]);
    let told = scene.parts(&["--schema", "lab", "--dry-run"]).unwrap_err();
    says(&told, &["The key at hand", "Mend the key", "Then: lifeboat --config"]);
    fs::write(&key, right).unwrap();
    scene.sandbox.lifeboat(&restore).unwrap();
    scene.parts(&["--schema", "lab", "--dry-run"]).unwrap();
}
