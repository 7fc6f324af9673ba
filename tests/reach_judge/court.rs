//! The court: for a target, what is said of it, and what a real server then does.

use crate::stage::{CLUSTER, How, Stage};
use crate::throwaway::text;
use lifeboat::engine::incident::facts::{Reach, Target, Verdict};
use lifeboat::engine::postgres::closed::ClosedServer;
use lifeboat::engine::postgres::connect::{self, ConnectOptions};
use lifeboat::engine::postgres::control::{self, StopMode};
use lifeboat::engine::postgres::recovery_watch::{RecoveryWatch, ReplayState};
use lifeboat::engine::postgres::{control_file, discovery};
use lifeboat::engine::recovery_point::{Landscape, gather};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A question, and the answer that is right.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    /// The repository.
    pub archive: &'static str,
    /// `pg_wal` of the damaged directory, where it counts.
    pub tail: Option<PathBuf>,
    pub target: Target,
    pub expected: Expected,
}

/// What is true, by what was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// These rows are there at the target, and no others.
    Rows(BTreeSet<i32>),
    /// Nothing leads there; these rows would be right, where there is such a state at all.
    Unreachable(Option<BTreeSet<i32>>),
}

/// Where a server ended.
#[derive(Debug)]
enum Ended {
    AtTarget(BTreeSet<i32>),
    Elsewhere(String),
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Judges every case, two at a time; the disagreements.
pub fn judge(stage: &Stage, cases: Vec<Case>) -> Vec<String> {
    let queue = Mutex::new(cases.into_iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else { break };
                    let begun = Instant::now();
                    let found = one(stage, &case);
                    eprintln!("{:5.1} s  {}", begun.elapsed().as_secs_f64(), case.name);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

/// What is said of the case against what is true, and against what the server does.
fn one(stage: &Stage, case: &Case) -> Vec<String> {
    let landscape = landscape(stage, case);
    let ask = |target: &Target| landscape.reach(target, &|_| {}, &|| false).unwrap();
    let reach = ask(&case.target);
    let failed: Vec<String> = reach
        .checks
        .iter()
        .filter(|c| c.verdict != Verdict::Verified)
        .map(|c| format!("{} {}: {}", c.id, c.verdict.word(), c.detail))
        .collect();
    let mut wrong = Vec::new();
    let mut disagree = |what: String| wrong.push(format!("{}: {what}\n    {failed:?}", case.name));
    let ended = recover(stage, case, &reach, &case.target);
    match (&case.expected, reach.reachable, &ended) {
        (Expected::Rows(rows), true, Ended::AtTarget(found)) if rows == found => {}
        (Expected::Unreachable(_), false, Ended::Elsewhere(_)) => {}
        (Expected::Unreachable(rows), false, Ended::AtTarget(found))
            if rows.as_ref().is_some_and(|rows| rows != found) => {}
        (expected, said, ended) => {
            disagree(format!("said reachable: {said}; the server: {ended:?}; true: {expected:?}"));
        }
    }
    if !reach.reachable {
        for offer in &reach.nearest {
            let offered = ask(offer);
            if !offered.reachable {
                disagree(format!("{offer} is offered and not reachable"));
                continue;
            }
            if let Ended::Elsewhere(said) = recover(stage, case, &offered, offer) {
                disagree(format!("{offer} is offered; the server: {said}"));
            }
        }
    }
    wrong
}

pub fn landscape(stage: &Stage, case: &Case) -> Landscape {
    let config = stage.config(case.archive);
    let mut inputs = gather::inputs(&config, &config.clusters[0], None);
    inputs.rescue.clone_from(&case.tail);
    inputs.state_directory = stage.path(&format!("state {}", NEXT.fetch_add(1, Ordering::Relaxed)));
    Landscape::build(inputs, &|_| {}, &|| false).unwrap()
}

/// Restores and recovers for real, whatever was said of it. Where no base was named, the oldest
/// is tried.
fn recover(stage: &Stage, case: &Case, reach: &Reach, target: &Target) -> Ended {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let data = stage.path(&format!("recovered {number}"));
    let bases = stage.repository(case.archive).bases().unwrap().0;
    let base = reach.base.as_ref().or(bases.first()).expect("a base");
    let how = How { data: &data, rescue: case.tail.as_deref(), minimums: &reach.minimum_settings };
    // As a plan does it: the server is told the timeline that was proven.
    let proven = reach.timeline().filter(|_| reach.reachable);
    let target = Target { timeline: target.timeline.or(proven), ..target.clone() };
    stage.restore(case.archive, base, &target, &how);
    let ended = run(stage, &data, &target);
    std::fs::remove_dir_all(&data).unwrap();
    ended
}

fn run(stage: &Stage, data: &Path, target: &Target) -> Ended {
    let owner = discovery::owner(data).unwrap();
    let closed = ClosedServer::of(data, &owner, control_file::major_version(data).unwrap());
    closed.prepare().unwrap();
    let log = PathBuf::from(format!("{}.log", text(data)));
    let config = stage.config("near");
    let cluster = config.clusters.iter().find(|c| c.name == CLUSTER).unwrap();
    let driver = control::driver_for(cluster, data).unwrap();
    // What cannot even be started has not got there.
    let ended = match driver.start(&closed.start_recovery(&log)) {
        Ok(_) => watch(&closed.connection(&cluster.connection), data, &log, target),
        Err(e) => Ended::Elsewhere(e.to_string()),
    };
    let _ = driver.stop(StopMode::Immediate, Duration::from_secs(30));
    let _ = closed.remove();
    let _ = std::fs::remove_dir_all(&closed.socket_directory);
    ended
}

fn watch(
    connection: &lifeboat::engine::config::Connection,
    data: &Path,
    log: &Path,
    target: &Target,
) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let watch = RecoveryWatch::new(
        connection.clone(),
        data.to_owned(),
        log.to_owned(),
        target.point.clone(),
        // To the end of the archive it is there when the server finds no more.
        None,
    );
    runtime.block_on(async {
        let mut watch = watch;
        let state = watch.until_settled(Duration::from_secs(60), |_, _| true).await;
        let said = watch.log_lines().join("\n");
        match state {
            Ok(ReplayState::AtTarget { .. }) => Ended::AtTarget(rows(connection).await),
            Ok(other) => Ended::Elsewhere(format!("{}\n{said}", other.words())),
            Err(why) => Ended::Elsewhere(format!("{}\n{said}", why.what)),
        }
    })
}

async fn rows(connection: &lifeboat::engine::config::Connection) -> BTreeSet<i32> {
    let session = connect::connect(connection, &ConnectOptions::default()).await.unwrap();
    let found = session.query("SELECT n FROM rows", &[]).await.unwrap();
    found.iter().map(|row| row.try_get(0).unwrap()).collect()
}
