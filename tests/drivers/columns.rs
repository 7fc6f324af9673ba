//! The ways to bring data back, each from a cluster that is archived and backed up. A way that
//! ends has done what it must.

use crate::stage::{BACKED_UP, NAME, ROWS, SPACE, Stage};
use crate::support::LIMIT;
use lifeboat::engine::postgres::control::StopMode;
use lifeboat::engine::postgres::{control, discovery};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A way to bring data back.
#[derive(Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub spaces: bool,
    pub delta: bool,
    pub run: fn(&Stage),
}

const fn column(name: &'static str, spaces: bool, delta: bool, run: fn(&Stage)) -> Column {
    Column { name, spaces, delta, run }
}

pub const COLUMNS: [Column; 8] = [
    column("Option A", false, false, option_a),
    column("Option A, tablespace", true, false, option_a),
    column("delta", false, true, delta),
    column("delta, tablespace", true, true, delta),
    column("Option B", false, false, option_b),
    column("Option B, tablespace", true, false, option_b),
    column("parts", false, false, parts),
    column("parts, tablespace", true, false, parts),
];

fn option_a(stage: &Stage) {
    stage.lose_a_table();
    let (client, _) = stage.incident();
    stage.recover(&client);
    in_its_tablespace(stage);
}

/// Option A with `delta_restore`: what is equal comes from the damaged directory, which stays as
/// it is.
fn delta(stage: &Stage) {
    stage.lose_a_table();
    let (client, _) = stage.incident();
    let plan = client.incident().unwrap().plan.clone().unwrap();
    assert!(plan.places.reuse);
    let touched = plan.step("restore-base").unwrap().touches.join("\n");
    assert!(touched.contains("(delta_restore)"), "{touched}");
    stage.recover(&client);
    in_its_tablespace(stage);
    let incident = client.incident().unwrap();
    let noted = |name| incident.noted(name).unwrap_or_else(|| panic!("{name}: {incident:#?}"));
    let judge = stage.case.binaries.optional("pg_verifybackup");
    let word = if judge.is_some() { "VERIFIED" } else { "NOT RUN" };
    assert!(noted("verifybackup").contains(word), "{}", noted("verifybackup"));
    let count = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    let (reused, all) = (count(noted("reused")), count(noted("restored")));
    // Of a fresh cluster most files are as they were made. What changed since is fetched.
    assert!(reused * 2 > all && reused < all, "{reused} of {all} files");
    // Nothing is shared with what is kept: a write to one would be one to the other.
    let kept = [Path::new(&plan.aside).to_owned()].into_iter();
    for folder in kept.chain(plan.places.kept.iter().map(|space| space.kept.clone())) {
        for file in files(&folder) {
            let links = std::os::unix::fs::MetadataExt::nlink(&fs::metadata(&file).unwrap());
            assert_eq!(links, 1, "{}", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            all.extend(files(&entry.path()));
        } else if kind.is_file() {
            all.push(entry.path());
        }
    }
    all
}

/// Option B: a new cluster beside the old one, and swapped in. A tablespace of the old cluster
/// would be shared by both: that is refused until the old cluster is lost whole.
fn option_b(stage: &Stage) {
    stage.lose_a_table();
    let mut name = stage.data.file_name().unwrap().to_os_string();
    name.push("-restore");
    let new = stage.data.with_file_name(name);
    let new_text = new.display().to_string();
    let make = ["restore-full", "--target", &new_text, "--latest", "--confirm", NAME, "--json"];
    let refused = |words: &str| {
        let done = stage.try_as_operator(&make);
        assert!(!done.ok() && done.said().contains(words), "{words}: {}", done.said());
        assert!(!new.exists() && control::is_held(&stage.data).eq(&false));
        assert_eq!(stage.sql("SELECT count(*) FROM later"), "1", "the old one serves on");
    };
    if stage.case.spaces {
        refused("which is in use");
        // As after the loss of both: the folder of the tablespace is there, its content is not.
        stage.driver().stop(StopMode::Fast, LIMIT).unwrap();
        fs::rename(&stage.data, stage.data.with_extension("lost")).unwrap();
        let far = stage.root.path().join(SPACE);
        for entry in fs::read_dir(&far).unwrap().flatten() {
            fs::rename(entry.path(), stage.root.path().join("lost-tablespace")).unwrap();
        }
    }
    let done = stage.try_as_operator(&make);
    assert!(done.ok(), "{}", done.said());
    let made: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(made["status"], "held", "{made}");
    assert_ne!(made["verdict"], "FAILED", "{made}");
    if !stage.case.spaces {
        assert_eq!(stage.sql("SELECT count(*) FROM later"), "1", "the old one serves on");
    }
    let swap = ["restore-full", "--target", &new_text, "--swap", "--confirm", NAME, "--json"];
    let done = stage.try_as_operator(&swap);
    assert!(done.ok(), "{}", done.said());
    let done: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done["status"], "finished", "{done}");
    assert_eq!(stage.rows(), Some(BACKED_UP));
    assert_eq!(stage.sql("SELECT to_regclass('later') IS NULL"), "t");
    assert_eq!(stage.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
    assert!(!new.exists());
    if !stage.case.spaces {
        assert!(Path::new(done["kept"].as_str().unwrap()).join("PG_VERSION").exists(), "{done}");
    }
    assert!(!control::is_held(&stage.data), "no setting of the recovery stays");
    assert!(discovery::running(&stage.data).unwrap().postmaster().is_some());
    stage.driver().check().unwrap();
    in_its_tablespace(stage);
}

/// The dropped table comes back beside people's later work, which stays.
fn parts(stage: &Stage) {
    stage.lose_a_table();
    let target = stage.target.borrow().clone().unwrap();
    let lifeboat::engine::incident::facts::TargetPoint::Lsn(lsn) = target.point else {
        panic!("{target}")
    };
    let lsn = lsn.to_string();
    let source = ["restore-parts", "--cluster", NAME, "--lsn", &lsn, "--exclusive", "--json"];
    let what = ["--table", "public.stock", "--into", "in-place", "--take", "missing"];
    let agreed = ["--confirm", NAME];
    let all = [&source[..], &what, &agreed].concat();
    let done = stage.try_lifeboat(&all);
    assert!(done.ok(), "{}", done.said());
    assert_eq!(stage.rows(), Some(ROWS));
    assert_eq!(stage.sql("SELECT count(*) FROM later"), "1", "what came later stays");
    assert_eq!(stage.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "1");
}

fn in_its_tablespace(stage: &Stage) {
    if stage.case.spaces {
        let sql = "SELECT spcname FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace \
                   WHERE relname = 'stock'";
        assert_eq!(stage.sql(sql), SPACE);
    }
}
