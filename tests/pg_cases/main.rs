//! The cases of PostgreSQL's own recovery tests (`src/test/recovery`), rebuilt against
//! `lifeboat restore`: what it refuses is refused before a byte is copied, what it restores stops
//! where the server is told to, with the rows that were written. `docs/PG_CASES.md` lists them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

#[path = "../reach_judge/stage.rs"]
#[allow(dead_code, reason = "a part of it is for the proof's own tests")]
mod stage;
mod story;
#[path = "../throwaway/mod.rs"]
mod throwaway;

use stage::Stage;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use story::{Scene, Story};

fn rows<const N: usize>(list: [i32; N]) -> BTreeSet<i32> {
    BTreeSet::from(list)
}

/// What needs no server, and the case that the other tests of `make test` do not have.
#[test]
fn wrong_targets_are_refused_and_prepared_transactions_survive() {
    let stage = Stage::new();
    let story = Story::begin(&stage);
    let scene = Scene::of(&stage, "near");
    refusals(&scene, &story);
    prepared_transactions(&scene);
}

/// All of it: `make test-pg-cases`.
#[test]
#[ignore = "a minute and more of recoveries"]
fn every_case_ends_as_the_servers_own_tests_have_it() {
    let stage = Stage::new();
    let mut story = Story::begin(&stage);
    story.go_on(&stage);
    stage.copy("near", "plain");
    let plain = Scene::of(&stage, "plain");
    type Case = fn(&Scene<'_>, &Story);
    let cases: [(&str, Case); 9] = [
        ("refusals", refusals),
        ("prepared transactions", |scene, _| prepared_transactions(scene)),
        ("every kind of target", every_kind),
        ("a target that never comes", never_reached),
        ("the archive's end", archive_end),
        ("a missing segment", missing_segment),
        ("databases and tablespaces in the log", databases),
        ("a record torn by a crash", torn_record),
        ("a kill after the promotion", killed_after_promotion),
    ];
    let mut failed = Vec::new();
    let only = std::env::var("PG_CASES").unwrap_or_default();
    let mut run = |name: &'static str, case: &mut dyn FnMut()| {
        if !name.contains(&only) {
            return;
        }
        let ran = catch_unwind(AssertUnwindSafe(case));
        eprintln!("{} {name}", if ran.is_ok() { "VERIFIED" } else { "FAILED" });
        failed.extend(ran.is_err().then_some(name));
    };
    for (name, case) in cases {
        run(name, &mut || case(&plain, &story));
    }
    run("timelines", &mut || timelines(&stage, &story));
    run("wal_level minimal", &mut || minimal(&stage, &mut story));
    run("a tablespace outside", &mut || tablespace(&stage, &mut story));
    assert!(failed.is_empty(), "{failed:?}");
}

/// 003: several targets at once, one before consistency, one that is not in the log.
fn refusals(scene: &Scene<'_>, story: &Story) {
    let several = ["--xid", "700", "--name", "one"];
    let said = scene.refused(&several);
    assert!(said.contains("cannot be used with"), "{said}");

    let start = story.base.start_lsn.to_string();
    let early = story.row(1).at.to_string();
    for before in [["--lsn", &start], ["--time", &early]] {
        let said = scene.refused(&before);
        assert!(said.contains("Recovery cannot stop before a backup's own end"), "{said}");
    }

    for never in [["--xid", "4000000000"], ["--name", "never"], ["--lsn", "FF/0"]] {
        let said = scene.refused(&never);
        assert!(said.contains("--unproven"), "the way to insist is told: {said}");
    }
    let said = scene.refused(&["--timeline", "9"]);
    assert!(said.contains("Timeline 9 is not in the archive"), "{said}");
}

/// 009, 012, 023: transactions that wait at the target, one with a part rolled back, are there
/// after the promotion and can be ended either way; a kill later they are as they were ended.
fn prepared_transactions(scene: &Scene<'_>) {
    let server = scene.restored(&["--name", "pending"]).paused();
    let waiting = "SELECT string_agg(gid, ',' ORDER BY gid) FROM pg_prepared_xacts";
    assert_eq!(server.rows(), rows([1, 2, 3, 4, 5, 6]));
    server.promote();
    assert_eq!(server.sql(waiting), "dropped,kept");
    server.sql("COMMIT PREPARED 'kept'");
    server.kill();
    server.start();
    assert_eq!(server.sql(waiting), "dropped");
    server.sql("ROLLBACK PREPARED 'dropped'");
    server.kill();
    server.start();
    assert_eq!(server.sql(waiting), "");
    assert_eq!(server.rows(), rows([1, 2, 3, 4, 5, 6, 50, 52]));
}

/// 003: each kind of target, with and without the target itself.
fn every_kind(scene: &Scene<'_>, story: &Story) {
    let five = story.row(5);
    let (xid, at) = (five.xid.to_string(), five.at.to_string());
    let (before, after) = (five.before.to_string(), five.after.to_string());
    let four = rows([1, 2, 3, 4]);
    let with_five = rows([1, 2, 3, 4, 5]);
    for (arguments, expected) in [
        (&["--xid", &xid][..], &with_five),
        (&["--xid", &xid, "--exclusive"], &four),
        (&["--time", &at], &with_five),
        (&["--time", &at, "--exclusive"], &four),
        (&["--name", "one"], &four),
        (&["--lsn", &before, "--exclusive"], &four),
        (&["--lsn", &after, "--exclusive"], &with_five),
    ] {
        assert_eq!(&scene.restored(arguments).paused().rows(), expected, "{arguments:?}");
    }
    // Consistency alone is where a full restore stops.
    assert_eq!(scene.at_consistency(), rows([1, 2]));
}

/// 003: what the server does with a target that is not in the log, and what is said before.
fn never_reached(scene: &Scene<'_>, story: &Story) {
    for never in [["--xid", "4000000000"], ["--name", "never"]] {
        scene.refused(&never);
        let insisted = scene.restored(&[&never[..], &["--unproven"]].concat());
        let said = insisted.ends();
        assert!(said.contains("ended before configured recovery target was reached"), "{said}");
    }
    // Time alone compares commits: behind the last of them no later one tells the server to stop.
    let newest = story.rows.last().unwrap();
    let beyond = (newest.at + jiff::SignedDuration::from_secs(60)).to_string();
    scene.refused(&["--time", &beyond]);
}

/// 002, 003: no target; the server waits at the end for a decision.
fn archive_end(scene: &Scene<'_>, story: &Story) {
    let server = scene.restored(&[]).replayed(story.rows.last().unwrap().after);
    assert_eq!(server.rows(), story.all());
    server.promote();
    assert_eq!(server.rows(), story.all());
    assert_eq!(server.timeline(), "2");
}

/// 020, 024: a file that the archive lost.
fn missing_segment(scene: &Scene<'_>, story: &Story) {
    let hole = scene.copy("hole");
    let name = story.segment_of(7);
    assert!(hole.stage.remove("hole", &[&name]) > 0);
    let seven = story.row(7).xid.to_string();
    let said = hole.refused(&["--xid", &seven]);
    assert!(said.contains(&name), "{said}");
    let said = hole.restored(&["--xid", &seven, "--unproven"]).ends();
    assert!(said.contains("ended before configured recovery target was reached"), "{said}");
    let four = story.row(4).xid.to_string();
    assert_eq!(hole.restored(&["--xid", &four]).paused().rows(), rows([1, 2, 3, 4]));
}

/// 033, 034, 037: databases made both ways, a tablespace in the data directory that comes and
/// goes, and a database that is dropped.
fn databases(scene: &Scene<'_>, story: &Story) {
    let there = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database \
                 WHERE datname IN ('copied', 'logged', 'inside')";
    let dropped = story.dropped.to_string();
    let server = scene.restored(&["--lsn", &dropped, "--exclusive"]).paused();
    assert_eq!(server.sql(there), "copied,logged");
    assert_eq!(server.sql_in("copied", "SELECT count(*) FROM things"), "3");
    assert_eq!(server.sql_in("logged", "SELECT count(*) FROM things"), "3");
    drop(server);
    let eight = story.row(8).xid.to_string();
    let server = scene.restored(&["--xid", &eight]).paused();
    assert_eq!(server.sql(there), "logged");
    assert_eq!(server.rows(), story.up_to(8));
}

/// 026: a record that a crash tore in two; the server marks it as given up and goes on.
fn torn_record(scene: &Scene<'_>, story: &Story) {
    let nine = story.row(9);
    let (xid, after) = (nine.xid.to_string(), nine.after.to_string());
    for arguments in [&["--xid", &xid][..], &["--lsn", &after, "--exclusive"]] {
        let server = scene.restored(arguments).paused();
        assert_eq!(server.rows(), story.up_to(9), "{arguments:?}");
    }
}

/// 041: the server is killed before its first checkpoint on the new timeline.
fn killed_after_promotion(scene: &Scene<'_>, story: &Story) {
    let seven = story.row(7).xid.to_string();
    let server = scene.restored(&["--xid", &seven]).paused();
    server.promote();
    server.sql("INSERT INTO rows VALUES (900)");
    server.kill();
    server.start();
    let mut expected = story.up_to(7);
    expected.insert(900);
    assert_eq!(server.rows(), expected);
    assert_eq!(server.timeline(), "2");
}

/// 004, 025, 028: two promotions, each of a point before the other's end, into one archive.
fn timelines(stage: &Stage, story: &Story) {
    let near = Scene::of(stage, "near");
    let fork = story.row(71).after.to_string();
    let two = near.restored(&["--lsn", &fork, "--exclusive"]).archiving().paused();
    two.promote();
    assert_eq!(two.timeline(), "2");
    let kept = stage.add(&two.server, 201);
    let left = stage.add(&two.server, 202);
    stage.switch(&two.server);
    stage.archived(&two.server);
    drop(two);

    let second = kept.after.to_string();
    let three = near.restored(&["--lsn", &second, "--exclusive"]).archiving().paused();
    three.promote();
    assert_eq!(three.timeline(), "3");
    let newest = stage.add(&three.server, 301);
    stage.switch(&three.server);
    stage.archived(&three.server);
    drop(three);

    stage.copy("near", "forked");
    let forked = Scene::of(stage, "forked");
    let with = |more: &[i32]| {
        let mut all = story.up_to(71);
        all.extend(more);
        all
    };
    let end = |arguments: &[&str], lsn, expected| {
        let server = forked.restored(arguments).replayed(lsn);
        assert_eq!(server.rows(), expected, "{arguments:?}");
    };
    end(&[], newest.after, with(&[201, 301]));
    end(&["--timeline", "3"], newest.after, with(&[201, 301]));
    end(&["--timeline", "2"], left.after, with(&[201, 202]));
    end(&["--timeline", "1"], story.rows.last().unwrap().after, story.all());
    // A transaction's number is given again behind a fork: it means the one on the line followed.
    assert_eq!(left.xid, newest.xid);
    let (xid, at) = (newest.xid.to_string(), left.at.to_string());
    let stops = |arguments: &[&str], expected| {
        assert_eq!(forked.restored(arguments).paused().rows(), expected, "{arguments:?}");
    };
    stops(&["--xid", &xid], with(&[201, 301]));
    stops(&["--xid", &xid, "--timeline", "2"], with(&[201, 202]));
    // What a line left out is not on it.
    stops(&["--time", &at], with(&[201]));
    forked.refused(&["--name", "later", "--timeline", "2"]);
    forked.refused(&["--timeline", "9"]);

    // The file in which the first timeline forked is there as the second one's alone: it begins
    // with the same records, and the target is among them.
    let higher = forked.copy("higher");
    let name = story.segment_of(71);
    assert_eq!(name, story.segment_of(7));
    assert!(stage.remove("higher", &[&name]) > 0);
    let seven = story.row(7).xid.to_string();
    assert_eq!(higher.restored(&["--xid", &seven]).paused().rows(), story.up_to(7));
}

/// 024: log that was written with `wal_level = minimal` cannot be replayed, complete as it is.
fn minimal(stage: &Stage, story: &mut Story) {
    let mine = &stage.first;
    let set = |line: &&str| {
        stage.sql(mine, &format!("ALTER SYSTEM SET {line}"));
    };
    ["wal_level = minimal", "archive_mode = off", "max_wal_senders = 0"].iter().for_each(set);
    let restart = || stage.cluster.pg_ctl(&mine.data, &["restart", "-m", "fast"]);
    restart();
    stage.sql(mine, "CREATE TABLE passing AS SELECT 1 AS n");
    ["wal_level = replica", "archive_mode = on", "max_wal_senders = 3"].iter().for_each(set);
    restart();
    story.rows.push(stage.add(mine, 10));
    stage.switch(mine);
    stage.archived(mine);
    stage.copy("near", "minimal");
    let scene = Scene::of(stage, "minimal");
    let ten = story.row(10).xid.to_string();
    let said = scene.refused(&["--xid", &ten, "--timeline", "1"]);
    assert!(said.contains("wal_level = minimal"), "{said}");
    // Insisted on, the server tells the same, and serves nothing.
    let said = scene.restored(&["--xid", &ten, "--timeline", "1", "--unproven"]).ends();
    assert!(said.contains("wal_level=minimal"), "{said}");
}

/// 033: a tablespace outside the data directory that the log creates: beside the damaged cluster
/// the replay would write into the live one. In place it is recovered: `tests/tablespaces`.
fn tablespace(stage: &Stage, story: &mut Story) {
    let mine = &stage.first;
    let base = stage.back_up("near");
    let far: PathBuf = stage.path("far");
    let far = throwaway::text(&far);
    stage.cluster.run("/bin/mkdir", &[&far]);
    stage.sql(mine, &format!("CREATE TABLESPACE far LOCATION '{far}'"));
    stage.sql(mine, "CREATE TABLE far_rows TABLESPACE far AS SELECT 1 AS n");
    story.rows.push(stage.add(mine, 11));
    stage.switch(mine);
    stage.archived(mine);
    let scene = Scene::of(stage, "near");
    let eleven = story.row(11).xid.to_string();
    let files = || stage.cluster.run("/usr/bin/find", &[&far, "-printf", "%p %s %T@\n"]).stdout;
    let before = files();
    let said = scene.refused(&["--xid", &eleven, "--timeline", "1", "--set", &base.set]);
    assert!(said.contains("replay creates tablespace"), "{said}");
    assert_eq!(files(), before, "the live one's files are as they were");
}
