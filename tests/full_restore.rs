//! The runbook's Option B on a real cluster: a new cluster beside the old one, discarded by name;
//! another one checked and swapped in, with a kill between the two renames; and both options where
//! the data directory is lost whole. One sandbox serves all of it, one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod patience;

use lifeboat::engine::drill::sandbox::{CLUSTER, Options, Sandbox};
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::seat::Seat;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::incident::facts::{Prerequisite, Target, TargetPoint};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::store::Store;
use lifeboat::engine::runner::failpoint;
use lifeboat::engine::runner::protocol::Command;
use patience::wait_within;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

struct Ground {
    sandbox: Sandbox,
    _home: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let options = Options {
            size_mb: 8,
            directory: Some(home.path().to_owned()),
            keep: None,
            seed: 5,
            programs: None,
            user: None,
            lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
        };
        let say = |line: &str| eprintln!("{line}");
        let sandbox = Sandbox::create(&options, &Sandbox::make_repository, &say).unwrap();
        sandbox.back_up().unwrap();
        Self { sandbox, _home: home }
    }

    fn data(&self) -> &Path {
        &self.sandbox.server().data
    }

    /// A name beside the data directory.
    fn beside(&self, more: &str) -> PathBuf {
        let mut name = self.data().file_name().unwrap().to_os_string();
        name.push(more);
        self.data().with_file_name(name)
    }

    fn sql(&self, sql: &str) -> Result<String, String> {
        let server = self.sandbox.server();
        self.sql_at(&server.socket.display().to_string(), server.port, sql)
    }

    fn sql_at(&self, host: &str, port: u16, sql: &str) -> Result<String, String> {
        let port = port.to_string();
        let arguments = ["-h", host, "-p", &port, "-U", "postgres", "-d", DATABASE];
        let server = self.sandbox.server();
        let asked = server.run("psql", &[&arguments[..], &["-XAtqc", sql]].concat());
        asked.map(|text| text.trim().to_owned()).map_err(|error| error.to_string())
    }

    fn restore_full(&self, kill_at: Option<&str>, arguments: &[&str]) -> (i32, String) {
        let mut command = std::process::Command::new(self.sandbox.program());
        command.arg("--config").arg(&self.sandbox.config().path).arg("restore-full");
        command.args(arguments).args(["--cluster", CLUSTER, "--json"]);
        command.env_remove(failpoint::VARIABLE);
        if let Some(place) = kill_at {
            command.env(failpoint::VARIABLE, place);
        }
        let done = command.output().unwrap();
        let code = done.status.code().unwrap();
        let text = if code == 0 { &done.stdout } else { &done.stderr };
        (code, String::from_utf8_lossy(text).into_owned())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let (code, text) = self.restore_full(None, arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn timeline(&self) -> u32 {
        self.sql("SELECT timeline_id FROM pg_control_checkpoint()").unwrap().parse().unwrap()
    }

    fn lose_the_directory(&self) {
        self.sandbox.server().stop().unwrap();
        fs::remove_dir_all(self.data()).unwrap();
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn number(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_full_restore_is_discarded_or_swapped_in_and_never_guesses() {
    let ground = Ground::new();
    // After the backup: what a full restore to the backup's end does not have.
    ground.sql("CREATE TABLE later AS SELECT 1 AS id; SELECT pg_switch_wal()").unwrap();
    refuses_before_a_byte(&ground);
    discards_what_it_made_alone(&ground);
    tells_what_a_failure_is(&ground);
    swaps_in_across_a_kill(&ground);
    brings_a_lost_directory_back(&ground);
    option_a_brings_a_lost_directory_back(&ground);
}

fn refuses_before_a_byte(ground: &Ground) {
    let full = ground.beside("-full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("somebody's"), "file").unwrap();
    let inside = ground.data().join("inside");
    let nowhere = ground.beside("-none").join("deeper");
    for (place, reason) in [
        (&full, "not empty"),
        (&inside, "lie in each other"),
        (&nowhere, "does not exist"),
        (&ground.data().to_owned(), "lie in each other"),
    ] {
        let (code, told) = ground
            .restore_full(None, &["--target", &text(place), "--latest", "--confirm", CLUSTER]);
        assert_ne!(code, 0, "{}", place.display());
        assert!(told.contains(reason), "{reason}: {told}");
    }
    assert!(!inside.exists() && !nowhere.exists());
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    // A wrong name at the gate begins nothing.
    let new = ground.beside("-restore");
    let (code, told) =
        ground.restore_full(None, &["--target", &text(&new), "--latest", "--confirm", "shopp"]);
    assert_ne!(code, 0);
    assert!(told.contains("shopp"), "{told}");
    assert!(!new.exists());
    assert_eq!(ground.sql("SELECT count(*) FROM later").unwrap(), "1");
}

fn discards_what_it_made_alone(ground: &Ground) {
    let new = ground.beside("-try");
    // The runbook's own spelling; its port is taken.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let made = ground.json(&[
        &format!("--target={}", text(&new)),
        "--latest",
        "--port",
        &port.to_string(),
        "--confirm",
        CLUSTER,
    ]);
    assert_eq!(made["status"], "held", "{made}");
    assert!(made["port"].as_u64().unwrap() > u64::from(port), "the next free one: {made}");
    assert_ne!(made["verdict"], "FAILED", "{made}");
    assert!(made["data_is"].as_str().unwrap().contains("end of set-"), "{made}");
    // The new one is closed, has the backup's data, and stands on a timeline of its own.
    let way_in = made["way_in"].as_str().unwrap();
    let host = way_in.split(' ').nth(2).unwrap();
    assert_eq!(fs::metadata(host).unwrap().mode() & 0o077, 0, "closed to others");
    let port = u16::try_from(made["port"].as_u64().unwrap()).unwrap();
    let asked = |sql| ground.sql_at(host, port, sql).unwrap();
    assert_eq!(asked("SELECT to_regclass('later') IS NULL"), "t");
    assert_eq!(asked("SELECT pg_is_in_recovery()"), "f");
    assert_eq!(asked("SHOW archive_command"), "", "it archives nothing");
    assert_eq!(asked("SHOW listen_addresses"), "");
    assert_eq!(asked("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
    // The old one serves all the while.
    assert_eq!(ground.sql("SELECT count(*) FROM later").unwrap(), "1");

    let (code, told) = ground.restore_full(None, &["--target", &text(ground.data()), "--discard"]);
    assert_ne!(code, 0, "{told}");
    ground.json(&["--target", &text(&new), "--discard"]);
    assert!(!new.exists(), "what was made is gone");
    assert!(!Path::new(host).exists(), "and its socket's folder");
    assert_eq!(ground.sql("SELECT count(*) FROM later").unwrap(), "1", "the old one serves on");
    assert_eq!(ground.timeline(), 1);
}

/// Recognised in the new cluster, told with what mends it; the old one is as it was.
fn tells_what_a_failure_is(ground: &Ground) {
    let new = ground.beside("-told");
    let place = "step.start-recovery.before";
    let arguments = ["--target", &text(&new), "--latest", "--confirm", CLUSTER];
    let (code, told) = ground.restore_full(Some(place), &arguments);
    assert_ne!(code, 0, "the runner was killed: {told}");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = fs::metadata(ground.data()).unwrap().mode();
    let swap = ["--target", &text(&new), "--swap", "--confirm", CLUSTER];
    let (code, told) = ground.restore_full(None, &swap);
    assert_ne!(code, 0, "{told}");
    for word in [&*text(&new), "cannot be used by the server's user", "What mends it", "Give these"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(fs::metadata(&new).unwrap().mode() & 0o777, 0o755, "nobody has accepted a cure");
    ground.json(&["--target", &text(&new), "--discard"]);
    assert!(!new.exists() && fs::metadata(ground.data()).unwrap().mode() == mode);
}

fn swaps_in_across_a_kill(ground: &Ground) {
    let new = ground.beside("-restore");
    let (code, told) = ground.restore_full(
        Some("swap.between"),
        &["--target", &text(&new), "--latest", "--confirm", CLUSTER],
    );
    assert_eq!(code, 0, "{told}");
    let (old_one, new_one) = (number(ground.data()), number(&new));
    let failed = ground.beside(".failed");

    let swap = ["--target", &text(&new), "--swap", "--confirm", CLUSTER];
    let (code, told) = ground.restore_full(None, &swap);
    assert_ne!(code, 0, "the runner was killed between the renames: {told}");
    assert!(!ground.data().exists());
    assert_eq!((number(&failed), number(&new)), (old_one, new_one));

    let done = ground.json(&swap);
    assert_eq!(done["status"], "finished", "{done}");
    assert_eq!((number(&failed), number(ground.data())), (old_one, new_one));
    assert!(!new.exists());
    assert_eq!(done["kept"], text(&failed));
    assert_eq!(ground.sql("SELECT to_regclass('later') IS NULL").unwrap(), "t");
    assert_eq!(ground.timeline(), 2);
    // It archives again, on its own timeline.
    ground.sql("CREATE TABLE after_swap AS SELECT 1 AS id; SELECT pg_switch_wal()").unwrap();
    archived(ground, "00000002");
    let reports = done["reports"].as_array().unwrap();
    let page = reports.iter().find_map(|path| path.as_str().filter(|p| p.ends_with(".md")));
    let page = fs::read_to_string(page.unwrap()).unwrap();
    assert!(page.contains("Option B: full restore beside the old cluster"), "{page}");
    assert!(page.contains("the stop of the old server, which took writes until then"), "{page}");
    assert!(page.contains(&text(&failed)), "{page}");
    let found = incident(ground, done["incident"].as_str().unwrap());
    let told: Vec<_> = found.timeline.iter().map(|line| line.text.as_str()).collect();
    assert!(told.iter().any(|line| line.contains("not in its place yet")), "{told:#?}");
}

fn brings_a_lost_directory_back(ground: &Ground) {
    ground.lose_the_directory();
    let new = ground.beside("-restore");
    let arguments = ["--target", &text(&new), "--latest", "--to-end", "--confirm", CLUSTER];
    let made = ground.json(&arguments);
    assert!(made["data_is"].as_str().unwrap().contains("end of the whole archive"), "{made}");
    let done = ground.json(&["--target", &text(&new), "--swap", "--confirm", CLUSTER]);
    assert_eq!(done["status"], "finished", "{done}");
    assert!(
        done["kept"].as_str().is_some_and(|path| !Path::new(path).exists()),
        "nothing was left"
    );
    assert_eq!(ground.sql("SELECT count(*) FROM after_swap").unwrap(), "1", "replayed on");
    assert_eq!(ground.timeline(), 3, "above every history in the archive");
    ground.sql("CREATE TABLE twice AS SELECT 1 AS id; SELECT pg_switch_wal()").unwrap();
    archived(ground, "00000003");
}

fn option_a_brings_a_lost_directory_back(ground: &Ground) {
    ground.lose_the_directory();
    let scenario = scenario::load("corruption").unwrap();
    let mut seat = Seat::take(&ground.sandbox, &scenario).unwrap();
    let ask = |seat: &mut Seat, command: Command| seat.ask(command, LIMIT).unwrap();
    ask(&mut seat, Command::Survey);
    let target = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    ask(&mut seat, Command::ChooseTarget { target });
    for prerequisite in [
        Prerequisite::IncidentDeclared,
        Prerequisite::MaintenanceWindow,
        Prerequisite::TargetConfirmed,
    ] {
        let note = String::new();
        ask(&mut seat, Command::AnswerPrerequisite { prerequisite, met: true, note });
    }
    ask(&mut seat, Command::VerifyIntegrity);
    ask(&mut seat, Command::MakePlan);
    let plan = seat.incident().plan.clone().unwrap();
    assert!(plan.lost);
    let (plan_hash, cluster) = (plan.hash, CLUSTER.to_owned());
    ask(&mut seat, Command::PassGate { plan_hash: plan_hash.clone(), cluster });
    ask(&mut seat, Command::Start { plan_hash });
    settled(&mut seat, RunStatus::Held);
    ask(&mut seat, Command::Decide { decision: Decision::Promote });
    settled(&mut seat, RunStatus::Finished);
    assert_eq!(ground.sql("SELECT count(*) FROM twice").unwrap(), "1");
    assert!(!Path::new(&plan.aside).exists(), "nothing was left to set aside");
    assert_eq!(ground.timeline(), 4);
}

fn settled(seat: &mut Seat, wanted: RunStatus) {
    let runs = |status| matches!(status, RunStatus::Running | RunStatus::Ready);
    let before = seat.incident().status;
    seat.wait_until("the run", LIMIT, |i| !runs(i.status) && (i.status != before || runs(before)))
        .unwrap();
    let incident = seat.incident();
    assert_eq!(incident.status, wanted, "{:#?}", incident.current_step());
}

fn incident(ground: &Ground, id: &str) -> lifeboat::engine::incident::Incident {
    Store::new(&ground.sandbox.state()).load(id).unwrap()
}

/// Waits until a segment of that timeline is archived.
fn archived(ground: &Ground, timeline: &str) {
    wait_within(LIMIT, &format!("WAL of timeline {timeline}"), || {
        let last = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";
        let last = ground.sql(last).unwrap();
        last.starts_with(timeline) && !last.ends_with("history")
    });
}
