//! Proof of reach against a real server: whatever is said of a target, the server then tries it,
//! and both must agree with what was written. A table has one row a commit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helpers fail it"
)]

mod court;
mod stage;
#[path = "../throwaway/mod.rs"]
mod throwaway;

use court::{Case, Expected, judge};
use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::incident::facts::{BaseSummary, Target, TargetPoint};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::wal::Segment;
use lifeboat::engine::wal::rescue::{RescueRequest, rescue};
use stage::{CLUSTER, Row, SEGMENT, Server, Stage};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The cluster's first timeline as it was written.
struct Story {
    base: BaseSummary,
    /// In the order of their commits.
    rows: Vec<Row>,
    /// Only in `pg_wal`.
    tail: Row,
    aborted: u32,
    /// Where a transaction was prepared and not committed yet.
    pending: Lsn,
    /// Where a restore point of the name was made, first and again.
    named: [Lsn; 2],
}

impl Story {
    fn tell(stage: &Stage) -> Self {
        let server = &stage.first;
        let sql = |text: &str| stage.sql(server, text);
        let mut rows = vec![stage.add(server, 1), stage.add(server, 2)];
        stage.switch(server);
        let base = stage.back_up("near");
        rows.extend([stage.add(server, 3), stage.add(server, 4)]);
        stage.switch(server);
        let name = || sql("SELECT pg_create_restore_point('twice')").parse().unwrap();
        let first = name();
        rows.push(stage.add(server, 5));
        // Before 15, psql shows the last result alone of several statements that it sends as one.
        let xid = "SELECT pg_current_xact_id()";
        let aborted =
            stage.session(server, &["BEGIN", "INSERT INTO rows VALUES (99)", xid, "ROLLBACK"]);
        rows.push(stage.add(server, 6));
        stage.switch(server);
        rows.push(stage.add(server, 7));
        sql("ALTER SYSTEM SET max_connections = 40");
        stage.cluster.pg_ctl(&server.data, &["restart", "-m", "fast"]);
        rows.push(stage.add(server, 8));
        let again = name();
        sql("BEGIN; INSERT INTO rows VALUES (50); PREPARE TRANSACTION 'p'");
        rows.push(stage.add(server, 9));
        let pending = stage.end_of_log(server);
        sql("COMMIT PREPARED 'p'");
        rows.push(stage.row(server, 50, pending));
        rows.push(stage.add(server, 10));
        stage.switch(server);
        rows.push(stage.add(server, 11));
        stage.switch(server);
        stage.archived(server);
        let tail = stage.add(server, 12);
        Self { base, rows, tail, aborted: aborted.parse().unwrap(), pending, named: [first, again] }
    }

    fn row(&self, n: i32) -> &Row {
        self.rows.iter().find(|row| row.n == n).unwrap()
    }

    /// Rows that were committed when the log ended at `lsn`.
    fn at(&self, lsn: Lsn) -> BTreeSet<i32> {
        stage::numbers(self.rows.iter().filter(|row| row.after <= lsn))
    }

    fn up_to(&self, n: i32) -> BTreeSet<i32> {
        self.at(self.row(n).after)
    }

    fn all(&self) -> BTreeSet<i32> {
        stage::numbers(&self.rows)
    }

    fn last_segment(&self) -> String {
        Segment::holding(1, self.row(11).before, SEGMENT).name(SEGMENT)
    }
}

fn with(mut rows: BTreeSet<i32>, more: &[i32]) -> BTreeSet<i32> {
    rows.extend(more);
    rows
}

fn moment(at: Timestamp, micros: i64) -> TargetPoint {
    TargetPoint::Time(at.checked_add(SignedDuration::from_micros(micros)).unwrap())
}

/// Cases in one archive.
struct Docket {
    cases: Vec<Case>,
    archive: &'static str,
    tail: Option<PathBuf>,
    timeline: Option<u32>,
}

impl Docket {
    fn of(archive: &'static str) -> Self {
        Self { cases: Vec::new(), archive, tail: None, timeline: None }
    }

    fn add(&mut self, name: &str, point: TargetPoint, inclusive: bool, expected: Expected) {
        self.cases.push(Case {
            name: format!("{}: {name}", self.archive),
            archive: self.archive,
            tail: self.tail.clone(),
            target: Target { point, inclusive, timeline: self.timeline },
            expected,
        });
    }

    fn reached(&mut self, name: &str, point: TargetPoint, inclusive: bool, rows: BTreeSet<i32>) {
        self.add(name, point, inclusive, Expected::Rows(rows));
    }

    fn refused(&mut self, name: &str, point: TargetPoint, rows: Option<BTreeSet<i32>>) {
        self.add(name, point, true, Expected::Unreachable(rows));
    }
}

fn end() -> TargetPoint {
    TargetPoint::EndOfArchive
}

/// Every kind of target, in an archive without a fault. The first few are the corner that runs
/// each time.
fn plain(story: &Story, short: bool) -> Vec<Case> {
    let mut near = Docket::of("near");
    let (three, ten) = (story.row(3), story.row(10));
    let newest = story.row(11);
    near.reached("at a commit, with it", moment(ten.at, 0), true, story.up_to(10));
    near.refused("beyond the last commit", moment(newest.at, 5_000_000), None);
    near.refused("a time before the backup", moment(story.row(1).at, 0), Some(BTreeSet::from([1])));
    near.reached("within the backup", moment(story.base.started, 0), true, story.up_to(2));
    near.reached("prepared only", TargetPoint::Lsn(story.pending), false, story.up_to(9));
    let name = || TargetPoint::Name(String::from("twice"));
    near.reached("a name twice", name(), true, story.at(story.named[0]));
    if short {
        return near.cases;
    }
    assert!(story.named[0] < story.named[1]);
    near.reached("at a commit, without it", moment(ten.at, 0), false, story.up_to(50));
    near.reached("just before a commit", moment(ten.at, -1), true, story.up_to(50));
    near.reached("at the last commit, without it", moment(newest.at, 0), false, story.up_to(10));
    near.refused("at the last commit, with it", moment(newest.at, 0), None);
    near.reached("after the backup's end", moment(story.base.finished, 0), true, story.up_to(2));
    let lsn = TargetPoint::Lsn;
    near.refused("the backup's start", lsn(story.base.start_lsn), None);
    near.reached("the backup's end", lsn(story.base.stop_lsn), false, story.up_to(2));
    near.reached("the backup's end, with it", lsn(story.base.stop_lsn), true, story.up_to(2));
    near.reached("before a commit", lsn(three.before), false, story.up_to(2));
    near.reached("behind a commit", lsn(three.after), false, story.up_to(3));
    near.refused("an LSN far beyond", lsn(Lsn(1 << 50)), None);
    let xid = TargetPoint::Xid;
    near.reached("a transaction", xid(story.row(7).xid), true, story.up_to(7));
    near.reached("before a transaction", xid(story.row(7).xid), false, story.up_to(6));
    near.reached("the last transaction", xid(newest.xid), true, story.all());
    near.reached("one rolled back", xid(story.aborted), true, story.up_to(5));
    near.reached("one that was prepared", xid(story.row(50).xid), true, story.up_to(50));
    near.reached("before one that was prepared", xid(story.row(50).xid), false, story.up_to(9));
    near.refused("a transaction never seen", xid(4_000_000_000), None);
    near.refused("a transaction before the backup", xid(story.row(1).xid), None);
    near.refused("a name never given", TargetPoint::Name(String::from("never")), None);
    near.reached("the end", end(), true, story.all());
    near.cases
}

/// Around each commit record itself; where it lies is asked of the log.
fn records(stage: &Stage, story: &Story) -> Vec<Case> {
    let mut near = Docket::of("near");
    near.refused("ask", TargetPoint::Xid(1), None);
    let landscape = court::landscape(stage, &near.cases.remove(0));
    for n in [6, 50] {
        let row = story.row(n);
        let target = Target { point: TargetPoint::Xid(row.xid), inclusive: true, timeline: None };
        let reach = landscape.reach(&target, &|_| {}, &|| false).unwrap();
        let commit = reach.last_kept.unwrap();
        assert_eq!(commit.xid, row.xid);
        let without: BTreeSet<i32> = story.up_to(n).into_iter().filter(|m| *m != n).collect();
        let lsn = |by: i64| TargetPoint::Lsn(Lsn(commit.lsn.0.saturating_add_signed(by)));
        near.reached("a commit record, with it", lsn(0), true, story.up_to(n));
        near.reached("a commit record, without it", lsn(0), false, without.clone());
        // In the middle of a record the next one is meant.
        near.reached("the byte before a commit record", lsn(-1), true, story.up_to(n));
        near.reached("the byte before, exclusive", lsn(-1), false, without);
    }
    near.cases
}

fn holes(stage: &Stage, story: &Story) -> Vec<Case> {
    let segment = |lsn: Lsn| Segment::holding(1, lsn, SEGMENT).name(SEGMENT);
    stage.copy("near", "hole");
    assert!(stage.remove("hole", &[&segment(story.row(7).before)]) > 0);
    let mut hole = Docket::of("hole");
    hole.reached("before the hole", moment(story.row(4).at, 0), true, story.up_to(4));
    let behind = story.row(10);
    hole.refused("a time behind the hole", moment(behind.at, 0), Some(story.up_to(10)));
    hole.refused("an LSN behind the hole", TargetPoint::Lsn(behind.after), Some(story.up_to(10)));
    hole.refused("the end behind a hole", end(), Some(story.all()));

    stage.copy("near", "broken");
    assert!(stage.remove("broken", &[&segment(story.base.start_lsn)]) > 0);
    let mut broken = Docket::of("broken");
    broken.refused("a hole in the backup's own range", moment(behind.at, 0), Some(story.up_to(10)));

    stage.copy("near", "partial");
    let last = story.last_segment();
    let content = stage.repository("near").get_wal(&last).unwrap().unwrap();
    assert!(stage.remove("partial", &[&last]) > 0);
    stage.repository("partial").put_wal(&format!("{last}.partial"), &content).unwrap();
    let mut partial = Docket::of("partial");
    let newest = TargetPoint::Xid(story.row(11).xid);
    partial.refused("in the partial segment", newest, Some(story.all()));
    partial.reached("the end before the partial segment", end(), true, story.up_to(10));
    [hole.cases, broken.cases, partial.cases].concat()
}

fn tails(stage: &Stage, story: &Story, folder: PathBuf) -> Vec<Case> {
    let mut tail = Docket::of("near");
    let last = TargetPoint::Xid(story.tail.xid);
    let whole = with(story.all(), &[12]);
    tail.refused("in the tail, which is lost", last.clone(), Some(whole.clone()));
    tail.tail = Some(folder.clone());
    tail.reached("in the tail", last, true, whole.clone());
    tail.reached("the end of the tail", end(), true, whole.clone());
    tail.refused("beyond the tail", moment(story.tail.at, 5_000_000), None);
    // Only the tail has what the archive lost.
    stage.copy("near", "late");
    assert!(stage.remove("late", &[&story.last_segment()]) > 0);
    let mut late = Docket::of("late");
    late.tail = Some(folder);
    late.refused("the tail does not follow the archive", end(), Some(whole));
    [tail.cases, late.cases].concat()
}

fn rescued(stage: &Stage, server: &Server) -> PathBuf {
    let (pg_wal, into) = (server.data.join("pg_wal"), stage.path("rescued"));
    let control = lifeboat::engine::postgres::control_file::read(&server.data).unwrap();
    let archives = [Ok(stage.repository("near"))];
    let request = RescueRequest {
        pg_wal: &pg_wal,
        system_identifier: control.system_identifier,
        archives: &archives,
        into: &into,
    };
    rescue(&request, &|_, _| {}).unwrap();
    into
}

/// Recoveries that went on beside the first timeline.
fn forks(stage: &Stage, story: &Story) -> Vec<Case> {
    let one = stage.fork("fork", &story.base, story.row(6), 5433);
    let mut first = vec![stage.add(&one, 201), stage.add(&one, 202)];
    stage.switch(&one);
    let later = stage.back_up("fork");
    assert_eq!(later.timeline, 2);
    first.push(stage.add(&one, 203));
    stage.switch(&one);
    stage.archived(&one);
    stage.stop(&one);
    let two = stage.fork("other", &story.base, story.row(8), 5434);
    let second = [stage.add(&two, 301), stage.add(&two, 302)];
    stage.switch(&two);
    stage.archived(&two);
    stage.stop(&two);

    let line = with(story.up_to(6), &[201, 202, 203]);
    let mut fork = Docket::of("fork");
    fork.reached("the end of the fork", end(), true, line.clone());
    let on_fork = moment(first[1].at, 0);
    fork.reached("a time on the fork", on_fork, true, with(story.up_to(6), &[201, 202]));
    let left = moment(story.row(10).at, 0);
    fork.reached("a time that the fork left out", left.clone(), true, story.up_to(6));
    fork.refused("a transaction that the fork left out", TargetPoint::Xid(story.row(11).xid), None);
    fork.timeline = Some(1);
    fork.reached("a time on the older timeline", left.clone(), true, story.up_to(10));
    fork.reached("the end of the older timeline", end(), true, story.all());
    fork.timeline = Some(2);
    fork.reached("before the fork, by number", moment(story.row(4).at, 0), true, story.up_to(4));

    // The history got lost, its WAL and a backup of its own did not.
    stage.copy("fork", "lost history");
    assert!(stage.remove("lost history", &["00000002.history"]) > 0);
    let mut lost = Docket::of("lost history");
    lost.reached("the end, from a backup of its own", end(), true, line.clone());
    // The server would end there with newer rows and say nothing.
    let early = moment(story.row(4).at, 0);
    lost.refused("a time before that backup", early, Some(story.up_to(4)));

    // The history arrived, the WAL behind it did not.
    stage.copy("fork", "bare");
    stage.remove("bare", &["set-", "base-"]);
    stage.merge("near", "bare");
    let names = |repository: &str| stage.repository(repository).list_wal(2, "", 99).unwrap();
    let gone: Vec<String> = names("bare")
        .into_iter()
        .map(|o| o.name)
        .filter(|name| !name.ends_with(".history"))
        .collect();
    assert!(!gone.is_empty());
    stage.remove("bare", &gone.iter().map(String::as_str).collect::<Vec<_>>());
    let mut bare = Docket::of("bare");
    bare.refused("the end of a fork without its WAL", end(), Some(line.clone()));
    let beyond = TargetPoint::Lsn(story.row(10).before);
    bare.refused("an LSN behind a fork without its WAL", beyond, Some(line));
    bare.reached("a time before it", moment(story.row(4).at, 0), true, story.up_to(4));
    bare.timeline = Some(1);
    bare.reached("the older timeline beside it", left, true, story.up_to(10));

    // Another recovery has made timeline 2 anew, and the backup is of the first one's.
    stage.copy("other", "reused");
    stage.merge("fork", "backups of fork");
    stage.remove("backups of fork", &["0000000"]);
    stage.merge("backups of fork", "reused");
    let mut reused = Docket::of("reused");
    let whole = with(story.up_to(8), &[301, 302]);
    reused.reached("the end, beside a backup of the other one", end(), true, whole);
    let at = moment(second[0].at, 0);
    reused.reached("a time on it", at, true, with(story.up_to(8), &[301]));

    [fork.cases, lost.cases, bare.cases, reused.cases].concat()
}

fn agree(disagreements: &[String]) {
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

#[test]
fn a_verdict_is_what_the_server_does() {
    let stage = Stage::new();
    let story = Story::tell(&stage);
    agree(&judge(&stage, plain(&story, true)));
}

/// All of it: `make test-reach`.
#[test]
#[ignore = "minutes of recoveries"]
fn every_verdict_is_what_the_server_does() {
    let stage = Stage::new();
    let story = Story::tell(&stage);
    let tail = rescued(&stage, &stage.first);
    let mut cases = plain(&story, false);
    cases.extend(records(&stage, &story));
    cases.extend(holes(&stage, &story));
    cases.extend(tails(&stage, &story, tail));
    cases.extend(forks(&stage, &story));
    if let Ok(only) = std::env::var("REACH") {
        cases.retain(|case| case.name.contains(&only));
    }
    let count = cases.len();
    let disagreements = judge(&stage, cases);
    eprintln!("{count} targets of the cluster {CLUSTER}");
    agree(&disagreements);
}
