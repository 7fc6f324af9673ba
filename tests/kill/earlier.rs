//! At the target the commander goes back to an earlier point: what stands there is set aside whole,
//! the backup is restored anew with nearly all of it from the disk, and a runner killed in the
//! middle changes nothing of that.

use crate::stage::{LIMIT, Stage, kill_runner, until};
use lifeboat::engine::drill::sandbox::CLUSTER;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::incident::facts::{Commit, Reach, Target, TargetPoint};
use lifeboat::engine::incident::model::{RunStatus, StepStatus};
use lifeboat::engine::postgres::closed::ClosedServer;
use lifeboat::engine::postgres::connect::{self, ConnectOptions};
use lifeboat::engine::postgres::control::{self, StopMode};
use lifeboat::engine::postgres::{control_file, discovery};
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::protocol::{Answer, Command};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[test]
fn an_earlier_point_takes_from_the_disk_what_is_equal() {
    // Most of a database is not written to within minutes.
    let stage = Stage::made(
        |sandbox| {
            let fill = async {
                let client = sandbox.server().connect("postgres", DATABASE).await.unwrap();
                let rows = "CREATE TABLE untouched AS SELECT n, repeat(md5(n::text), 20) AS text \
                            FROM generate_series(1, 60000) n";
                client.batch_execute(rows).await.unwrap();
                client.batch_execute("VACUUM untouched").await.unwrap();
            };
            sandbox.runtime().unwrap().block_on(fill);
        },
        |_| {},
    );
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    let first = stage.wait(&client, "the target", |i| i.status == RunStatus::Held);
    let plan = first.plan.clone().unwrap();
    let data = stage.sandbox.server().data.clone();
    let damaged = state_of(Path::new(&plan.aside));
    let target =
        stage.archived_point(&client, &first.reach.clone().unwrap(), Path::new(&plan.aside));

    // The price, before anything is touched.
    let reach = stage.proof(&client, &target);
    let disk = reach.on_disk.clone().expect("what the disk spares");
    let total = disk.unchanged + disk.unsure + disk.gone;
    assert!(disk.unchanged > total / 2 && disk.gone < total / 4, "{disk:?}");
    assert!(reach.checks.iter().any(|c| c.id == "space" && c.detail.contains("are free")));
    let here = stage.proof(&client, &plan.target);
    assert!(here.lost_commits < reach.lost_commits);
    let (all, spared) = (here.base.unwrap().size, disk.gone);
    assert!(spared < all, "{spared} of {all}");

    // The runner dies when what stood is set aside and nothing is restored yet.
    kill_runner(&client);
    stage.watch(&client, "the runner's end", || matches!(client.link(), LinkState::Lost { .. }));
    let client = stage.runner(Some("step.step-back.after"));
    stage.wait(&client, "the question again", |i| i.status == RunStatus::Held);
    let cluster = CLUSTER.to_owned();
    drop(client.submit(Command::MoveTarget { target: target.clone(), cluster }));
    stage.until_lost(&client, "step.step-back.after");
    let moved = stage.left().plan.unwrap();
    let stood = moved.places.stood.clone().expect("what is set aside");
    assert_eq!((&moved.aside, moved.is_sealed()), (&plan.aside, true));
    let later = state_of(&stood.kept);
    assert!(later.len() > 900, "{} files", later.len());

    let client = stage.runner(None);
    stage.wait(&client, "what the runner left", |i| i.status == RunStatus::Interrupted);
    stage.ask(&client, Command::Retry);
    let second = stage.wait(&client, "the earlier target", |i| {
        matches!(i.status, RunStatus::Held | RunStatus::Failed)
    });
    assert_eq!(second.status, RunStatus::Held, "{:?}", second.current_step());
    assert_eq!(second.tries.len(), 2);
    assert_eq!(second.tries[1].target, target);
    assert!(second.tries[1].reached_lsn < second.tries[0].reached_lsn);

    // Most was not fetched, and both directories that are kept are as they were, to the byte.
    let told = second.noted("reused").expect("how much was taken").to_owned();
    let figures = sizes(&told);
    let [taken, whole, fetched] = figures[..] else { panic!("{told}") };
    assert!(taken > whole / 2.0 && fetched < whole / 2.0, "{told}");
    assert!(told.contains("what stood at the later point"), "{told}");
    assert!(second.noted("verifybackup").unwrap().contains("VERIFIED"));
    assert!(state_of(Path::new(&plan.aside)) == damaged, "the damaged directory was changed");
    assert!(state_of(&stood.kept) == later, "what stood at the later point was changed");
    let files = |all: &State| all.values().map(|file| file.inode).collect::<BTreeSet<_>>();
    let shared = files(&state_of(&data)).intersection(&files(&later)).count();
    assert_eq!(shared, 0, "files are shared with what is kept");

    // The same rows as a restore of everything, elsewhere.
    let here = stage.rows_of_all_tables(&data);
    assert!(here.len() > 3, "{here:?}");
    assert_eq!(here, stage.restored_whole(&target));

    stage.ask(&client, Command::Decide { decision: Decision::Promote });
    let last = stage.wait(&client, "the recovery's end", |i| {
        matches!(i.status, RunStatus::Finished | RunStatus::Failed)
    });
    assert_eq!(last.status, RunStatus::Finished, "{:?}", last.current_step());
    assert!(last.steps.iter().all(|step| step.status == StepStatus::Done));
    assert!(
        last.timeline.iter().any(|line| line.text.starts_with("Goes back to an earlier point"))
    );
    assert!(stood.kept.is_dir() && Path::new(&plan.aside).is_dir());
}

/// A file as it is.
#[derive(Debug, PartialEq)]
struct File {
    inode: u64,
    length: u64,
    changed: (i64, i64),
    sum: u32,
}

type State = BTreeMap<PathBuf, File>;

fn state_of(directory: &Path) -> State {
    let mut all = State::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            if found.is_dir() {
                folders.push(path);
            } else if found.is_file() {
                let file = File {
                    inode: found.ino(),
                    length: found.len(),
                    changed: (found.mtime(), found.mtime_nsec()),
                    sum: crc32c::crc32c(&std::fs::read(&path).unwrap()),
                };
                all.insert(path.strip_prefix(directory).unwrap().to_owned(), file);
            }
        }
    }
    all
}

/// The sizes in a sentence, in bytes, as "12.3 MB" says them.
fn sizes(text: &str) -> Vec<f64> {
    let words: Vec<&str> = text.split([' ', ',', ';']).collect();
    let unit = |word: &str| match word {
        "B" => Some(1.0),
        "kB" => Some(1e3),
        "MB" => Some(1e6),
        "GB" => Some(1e9),
        _ => None,
    };
    let pair = |pair: &[&str]| Some(pair[0].parse::<f64>().ok()? * unit(pair[1])?);
    words.windows(2).filter_map(pair).collect()
}

impl Stage {
    fn proof(&self, client: &Client, target: &Target) -> Reach {
        let command = Command::CheckReach { target: target.clone() };
        let Ok(Answer::Reach(reach)) = self.answer(client, command) else { panic!("no proof") };
        assert!(reach.reachable, "{reach:#?}");
        reach
    }

    /// Just before a transaction in a segment that was archived whole.
    fn archived_point(&self, client: &Client, here: &Reach, aside: &Path) -> Target {
        let kept = here.last_kept.clone().unwrap();
        let command = Command::CommitsAround { at: kept.at, count: 2_000 };
        let Ok(Answer::Commits(commits)) = self.answer(client, command) else {
            panic!("no commits")
        };
        let size = u64::from(control_file::read(aside).unwrap().wal_segment_size);
        let archived = |commit: &&Commit| commit.end_lsn.0 / size < kept.lsn.0 / size;
        let commit = commits.iter().rfind(archived).expect("a commit before the last segment");
        Target { point: TargetPoint::Lsn(commit.first_lsn), inclusive: false, timeline: None }
    }

    /// Everything that the tables of the shop hold, by table, as a server in recovery shows it.
    fn rows_of_all_tables(&self, data: &Path) -> BTreeMap<String, String> {
        let owner = discovery::owner(data).unwrap();
        let closed = ClosedServer::of(data, &owner, control_file::major_version(data).unwrap());
        let connection = closed.connection(&self.sandbox.cluster().connection);
        let read = async {
            let options = ConnectOptions::default();
            let client = connect::connect(&connection, &options).await.unwrap();
            let names = "SELECT relname::text FROM pg_class WHERE relkind = 'r' \
                         AND relnamespace = 'public'::regnamespace";
            let mut all = BTreeMap::new();
            for row in client.query(names, &[]).await.unwrap() {
                let name: String = row.try_get(0).unwrap();
                let content = format!(
                    "SELECT count(*)::text || ' ' || coalesce(md5(string_agg(md5(t::text), '' \
                     ORDER BY md5(t::text))), '') FROM public.\"{name}\" t"
                );
                let found = client.query(&content, &[]).await.unwrap();
                all.insert(name, found[0].try_get(0).unwrap());
            }
            all
        };
        self.on(async { tokio::time::timeout(LIMIT, read).await.expect("an answer in time") })
    }

    /// The rows of a restore into another directory, which takes nothing from this disk.
    fn restored_whole(&self, target: &Target) -> BTreeMap<String, String> {
        let TargetPoint::Lsn(lsn) = target.point else { panic!("{target}") };
        let data = self.sandbox.server().data.with_file_name("whole");
        let (lsn, place) = (lsn.to_string(), data.display().to_string());
        let arguments = ["restore", "--exclusive", "--lsn", &lsn, "--target-directory", &place];
        self.sandbox.lifeboat(&arguments).unwrap();
        let owner = discovery::owner(&data).unwrap();
        let closed = ClosedServer::of(&data, &owner, control_file::major_version(&data).unwrap());
        closed.prepare().unwrap();
        let log = data.with_extension("log");
        let driver = control::driver_for(self.sandbox.cluster(), &data).unwrap();
        driver.start(&closed.start_recovery(&log)).unwrap();
        let connection = closed.connection(&self.sandbox.cluster().connection);
        until("the other server's stop at the target", || {
            let asked = async {
                let client =
                    connect::connect(&connection, &ConnectOptions::default()).await.ok()?;
                let state = "SELECT pg_get_wal_replay_pause_state()";
                client.query(state, &[]).await.ok()?.first()?.try_get::<_, String>(0).ok()
            };
            self.on(asked).is_some_and(|state| state == "paused")
        });
        let rows = self.rows_of_all_tables(&data);
        driver.stop(StopMode::Fast, LIMIT).unwrap();
        closed.remove().unwrap();
        rows
    }
}
