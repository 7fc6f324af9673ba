//! What Lifeboat refuses or stops, on a real server: the reason and the way out are told, and the
//! damaged cluster is what it was. One sandbox serves all cases, one after the other; each leaves
//! it as it found it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod patience;

use lifeboat::engine::config::{Config, Operator};
use lifeboat::engine::drill::sandbox::{CLUSTER, Options, Sandbox};
use lifeboat::engine::drill::scenario::{self, Scenario};
use lifeboat::engine::drill::seat::Seat;
use lifeboat::engine::drill::server::Server;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::explain::{Explain, Explanation, Kind};
use lifeboat::engine::incident::facts::{Prerequisite, Reach, Role, Target, TargetPoint, Verdict};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::postgres::{Lsn, control_file};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::{Answer, Command};
use lifeboat::engine::runner::spawn;
use lifeboat::engine::wal::Segment;
use patience::wait_within;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);
const SEGMENT: u64 = 16 << 20;

/// A small volume of its own for the sandbox, where this is root; else a plain folder.
struct Volume {
    home: tempfile::TempDir,
    mounted: bool,
}

impl Volume {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut volume = Self { home, mounted: false };
        volume.mounted =
            nix::unistd::geteuid().is_root() && volume.mount("size=3g,mode=711,nr_inodes=100k");
        volume
    }

    fn mount(&self, options: &str) -> bool {
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "lifeboat-test"])
            .arg(self.home.path())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Leaves that many megabytes free; all of it again where `None`.
    fn leave_free(&self, megabytes: Option<u64>) {
        let volume = rustix::fs::statvfs(self.home.path()).unwrap();
        let used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize;
        let size = megabytes.map_or(3 << 30, |free| used + (free << 20));
        assert!(self.mount(&format!("remount,size={size}")));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = std::process::Command::new("umount").arg(self.home.path()).status();
        }
    }
}

/// The damaged cluster, told so that any change shows.
#[derive(Debug, Clone, PartialEq)]
struct Standing {
    inode: u64,
    system_identifier: u64,
    orders: i64,
}

struct Ground {
    seat: Option<Seat>,
    sandbox: Sandbox,
    scenario: Scenario,
    runtime: tokio::runtime::Runtime,
    volume: Volume,
}

impl Ground {
    fn new() -> Self {
        let volume = Volume::new();
        let options = Options {
            size_mb: 40,
            directory: Some(volume.home.path().to_owned()),
            keep: None,
            seed: 3,
            programs: None,
            user: None,
            lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
        };
        let say = |line: &str| eprintln!("{line}");
        let mut sandbox = Sandbox::create(&options, &Sandbox::make_repository, &say).unwrap();
        let scenario = scenario::load("corruption").unwrap();
        let rate = scenario.load.transactions_per_second;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        sandbox.back_up().unwrap();
        sandbox.begin_traffic(&scenario.load).unwrap();
        // Several segments between the backup and the accident.
        for _ in 0..3 {
            sandbox.let_traffic_run(0.5, rate).unwrap();
            execute(&runtime, sandbox.server(), "SELECT pg_switch_wal()");
        }
        sandbox.strike(&scenario.incident).unwrap();
        sandbox.let_traffic_run(0.5, rate).unwrap();
        sandbox.end_traffic();
        let mut ground = Self { seat: None, sandbox, scenario, runtime, volume };
        ground.archive_everything();
        ground.seat = Some(Seat::take(&ground.sandbox, &ground.scenario).unwrap());
        ground
    }

    /// Nothing is left that only the data directory has.
    fn archive_everything(&self) {
        let last = self.text(
            "SELECT pg_walfile_name(pg_current_wal_lsn()) FROM (SELECT pg_switch_wal()) AS s",
        );
        // Twice: the segments before the checkpoint before the last are let go.
        self.execute("CHECKPOINT");
        self.execute("CHECKPOINT");
        let archived =
            format!("SELECT (last_archived_wal >= '{last}')::text FROM pg_stat_archiver");
        until("all WAL is archived", || self.text(&archived) == "true");
        self.execute("CHECKPOINT");
    }

    fn server(&self) -> &Server {
        self.sandbox.server()
    }

    fn seat(&mut self) -> &mut Seat {
        self.seat.as_mut().unwrap()
    }

    fn execute(&self, sql: &str) {
        execute(&self.runtime, self.server(), sql);
    }

    fn text(&self, sql: &str) -> String {
        self.runtime.block_on(async {
            let client = self.server().connect("postgres", DATABASE).await.unwrap();
            client.query_one(sql, &[]).await.unwrap().get(0)
        })
    }

    fn orders(&self) -> i64 {
        self.text("SELECT count(*)::text FROM public.orders").parse().unwrap()
    }

    /// Also proves that the damaged server runs and answers.
    fn standing(&self) -> Standing {
        let data = &self.server().data;
        Standing {
            inode: fs::metadata(data).unwrap().ino(),
            system_identifier: control_file::read(data).unwrap().system_identifier,
            orders: self.orders(),
        }
    }

    fn server_pid(&self) -> String {
        let text = fs::read_to_string(self.server().data.join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    fn ask(&mut self, command: Command) -> Result<Answer, Explanation> {
        self.seat().ask(command, LIMIT).map_err(|error| error.explanation())
    }

    fn done(&mut self, command: Command) {
        let told = format!("{command:?}");
        self.ask(command).unwrap_or_else(|error| panic!("{told}: {error}"));
    }

    fn refused(&mut self, command: Command) -> Explanation {
        let told = format!("{command:?}");
        match self.ask(command) {
            Ok(answer) => panic!("{told} was not refused: {answer:?}"),
            Err(explanation) => explanation,
        }
    }

    fn survey_and_choose(&mut self, target: Target) -> Result<Answer, Explanation> {
        self.ask(Command::Survey)?;
        self.ask(Command::ChooseTarget { target })
    }

    /// Just before the bad statement.
    fn good_target(&self) -> Target {
        at(TargetPoint::Time(self.sandbox.truth().unwrap().struck_at))
    }

    fn answer_people(&mut self) {
        for prerequisite in [
            Prerequisite::IncidentDeclared,
            Prerequisite::MaintenanceWindow,
            Prerequisite::TargetConfirmed,
        ] {
            let note = String::from("in a test");
            self.done(Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
    }

    /// Up to a plan; gives its hash.
    fn plan(&mut self) -> String {
        let target = self.good_target();
        self.survey_and_choose(target).unwrap();
        self.answer_people();
        self.done(Command::VerifyIntegrity);
        self.done(Command::MakePlan);
        self.plan_hash()
    }

    fn plan_hash(&mut self) -> String {
        self.seat().incident().plan.as_ref().unwrap().hash.clone()
    }

    /// Up to a plan that was confirmed at the gate.
    fn confirmed(&mut self) -> String {
        let plan_hash = self.plan();
        self.done(Command::PassGate { plan_hash: plan_hash.clone(), cluster: CLUSTER.to_owned() });
        plan_hash
    }

    /// Starts the run, which has to fail; gives the failed step and why.
    fn start(&mut self, plan_hash: String) -> (String, Explanation) {
        self.done(Command::Start { plan_hash });
        self.seat()
            .wait_until("the end of the run", LIMIT, |incident| {
                !matches!(incident.status, RunStatus::Running | RunStatus::Ready)
            })
            .unwrap();
        let incident = self.seat().incident();
        assert_eq!(incident.status, RunStatus::Failed, "{:#?}", incident.steps);
        let step = incident.steps.iter().find(|step| step.failure.is_some()).unwrap();
        (step.id.clone(), step.failure.clone().unwrap())
    }

    fn put_back(&mut self) {
        self.done(Command::Undo);
        self.seat()
            .wait_until("putting back", LIMIT, |incident| incident.status != RunStatus::Undoing)
            .unwrap();
        let incident = self.seat().incident();
        assert_eq!(incident.status, RunStatus::Undone, "{:?}", incident.undo_failure);
    }

    /// A new runner with another configuration.
    fn with_config(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.sandbox.config().clone();
        change(&mut config);
        fs::write(self.sandbox.root().join("lifeboat.toml"), toml::to_string(&config).unwrap())
            .unwrap();
        let folder = self.folder();
        let socket = spawn::alive(&folder).unwrap();
        let pid =
            self.runtime.block_on(async { Client::connect(&socket).await.unwrap().runner_pid() });
        self.seat = None;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        until("the runner has ended", || spawn::alive(&folder).is_none());
        self.seat = Some(Seat::at(&self.sandbox, &folder).unwrap());
    }

    fn folder(&self) -> PathBuf {
        let incidents = fs::read_dir(self.sandbox.state().join("incidents")).unwrap();
        // Beside them are the sockets that others reach.
        let mut folders: Vec<_> = incidents
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("journal.jsonl").is_file())
            .collect();
        assert_eq!(folders.len(), 1);
        folders.remove(0)
    }

    fn base_object(&self) -> PathBuf {
        let repository = self.sandbox.root().join("repository");
        let mut found = fs::read_dir(repository).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.to_string_lossy().ends_with(".tar.gz.enc")).unwrap()
    }

    /// The archive's object of a segment between the base and the target; commits lie before it.
    fn middle_segment(&mut self) -> PathBuf {
        let target = self.good_target();
        let Ok(Answer::Reach(reach)) = self.ask(Command::CheckReach { target }) else {
            panic!("no answer on reach");
        };
        let base = reach.base.unwrap();
        let first = Segment::holding(base.timeline, base.stop_lsn, SEGMENT);
        let name = first.next().next().name(SEGMENT);
        let folder = self.sandbox.root().join("repository/wal-archive").join(&name[..16]);
        let pg_wal = self.server().data.join("pg_wal").join(&name);
        assert!(!pg_wal.exists(), "{name} is still in the data directory");
        let mut found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |path: &PathBuf| {
            path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}."))
        };
        found.find(is_it).unwrap()
    }

    /// The recovery has not been ended, and the server that began it does not run.
    fn not_promoted(&self) {
        let data = &self.server().data;
        assert!(data.join("recovery.signal").exists());
        assert_eq!(control_file::read(data).unwrap().checkpoint.timeline, 1);
    }
}

fn at(point: TargetPoint) -> Target {
    Target { point, inclusive: true, timeline: None }
}

fn execute(runtime: &tokio::runtime::Runtime, server: &Server, sql: &str) {
    runtime.block_on(async {
        let client = server.connect("postgres", DATABASE).await.unwrap();
        client.batch_execute(sql).await.unwrap();
    });
}

#[track_caller]
fn until(what: &str, holds: impl FnMut() -> bool) {
    wait_within(LIMIT, what, holds);
}

/// Every file below a folder: inode, size, time of change.
fn print_of(folder: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            if m.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        }
    }
    found
}

fn flip_a_bit(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0_u8];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
}

/// `words` all occur, whatever their case; the text ends in what to do.
#[track_caller]
fn says(explanation: &Explanation, kind: Kind, words: &[&str]) {
    assert_eq!(explanation.kind, kind, "{explanation}");
    let text = explanation.to_string().to_lowercase();
    for word in words {
        assert!(text.contains(&word.to_lowercase()), "\"{word}\" is not in: {explanation}");
    }
    assert!(!explanation.untouched.is_empty(), "not what is untouched: {explanation}");
    assert!(!explanation.next.is_empty(), "not what to do: {explanation}");
}

type Case = fn(&mut Ground);

#[test]
fn what_is_refused_is_refused_with_a_reason_and_nothing_is_lost() {
    let mut ground = Ground::new();
    let before = ground.standing();
    let cases: [(&str, Case); 12] = [
        ("targets that cannot be reached", unreachable_targets),
        ("a segment is missing", missing_segment),
        ("the gate", gate),
        ("an observer", observer),
        ("a bit of the base is wrong", flipped_bit),
        ("another master key", wrong_key),
        ("no permission", no_permission),
        ("the configuration points elsewhere", wrong_directory),
        ("another cluster in the place", wrong_identity),
        ("a bit goes wrong after it was verified", flipped_after_verification),
        ("a segment goes missing after the plan", missing_after_plan),
        ("a full disk", full_disk),
    ];
    for (name, case) in cases {
        let begun = Instant::now();
        eprintln!("-- {name}");
        case(&mut ground);
        assert_eq!(ground.standing(), before, "after: {name}");
        eprintln!("   {:.1} s", begun.elapsed().as_secs_f64());
    }
    ground.seat = None;
    ground.sandbox.close().unwrap();
}

fn unreachable_targets(ground: &mut Ground) {
    ground.done(Command::Survey);
    let survey = ground.seat().survey().unwrap();
    let base = survey.bases[0].clone();
    let minute = jiff::SignedDuration::from_mins(1);
    let struck = ground.sandbox.truth().unwrap().struck_at;
    let cases = [
        ("before the base's end", TargetPoint::Time(base.finished - minute), "ended at"),
        ("after the last commit", TargetPoint::Time(struck + minute * 60), "newest known"),
        ("beyond the WAL", TargetPoint::Lsn(Lsn(base.stop_lsn.0 + (1 << 40))), "the wal ends at"),
        ("an unknown transaction", TargetPoint::Xid(4_000_000_000), "no transaction 4000000000"),
        ("an unknown restore point", TargetPoint::Name("nowhere".into()), "no restore point"),
    ];
    for (name, point, word) in cases {
        let explanation = ground.refused(Command::ChooseTarget { target: at(point.clone()) });
        eprintln!("   {name}: {explanation}");
        says(&explanation, Kind::Unreachable, &["cannot be reached", word, "targets that can be"]);
        let reach = reach(ground, at(point));
        assert!(!reach.reachable && !reach.nearest.is_empty(), "{name}: {reach:#?}");
        for near in reach.nearest {
            let again = self::reach(ground, near.clone());
            assert!(again.reachable, "{name}: offered {near}, {:#?}", again.checks);
        }
    }
    let early = reach(ground, at(TargetPoint::Time(base.finished - minute)));
    assert!(matches!(early.nearest[0].point, TargetPoint::Time(_)), "{:?}", early.nearest);
    assert!(ground.seat().incident().reach.is_none());
}

fn reach(ground: &mut Ground, target: Target) -> Reach {
    match ground.ask(Command::CheckReach { target }) {
        Ok(Answer::Reach(reach)) => reach,
        other => panic!("{other:?}"),
    }
}

fn missing_segment(ground: &mut Ground) {
    let object = ground.middle_segment();
    let hidden = ground.sandbox.root().join("hidden");
    fs::rename(&object, &hidden).unwrap();
    let target = ground.good_target();
    let explanation = ground.survey_and_choose(target.clone()).unwrap_err();
    eprintln!("   {explanation}");
    let says_which = object.file_name().unwrap().to_string_lossy()[..24].to_owned();
    says(&explanation, Kind::Unreachable, &["cannot be reached", "without a gap", &says_which]);
    assert!(explanation.next.contains("Targets that can be reached"), "{explanation}");
    let reach = reach(ground, target);
    let failed: Vec<_> =
        reach.checks.iter().filter(|c| c.verdict == Verdict::Failed).map(|c| &c.id).collect();
    assert!(failed.iter().any(|id| *id == "wal"), "{:#?}", reach.checks);
    for near in reach.nearest {
        assert!(self::reach(ground, near).reachable);
    }
    fs::rename(&hidden, &object).unwrap();
}

fn gate(ground: &mut Ground) {
    let early = ground.refused(Command::PassGate {
        plan_hash: String::from("none"),
        cluster: CLUSTER.to_owned(),
    });
    says(&early, Kind::Refused, &["no plan", "make the plan"]);
    let target = ground.good_target();
    ground.survey_and_choose(target).unwrap();
    let forged = ground.refused(Command::AnswerPrerequisite {
        prerequisite: Prerequisite::BackupIntegrity,
        met: true,
        note: String::from("trust me"),
    });
    says(&forged, Kind::Refused, &["never answered by a person"]);
    ground.done(Command::MakePlan);
    let plan_hash = ground.plan_hash();
    let pass = |plan_hash: &str, cluster: &str| Command::PassGate {
        plan_hash: plan_hash.to_owned(),
        cluster: cluster.to_owned(),
    };
    let open = ground.refused(pass(&plan_hash, CLUSTER));
    says(&open, Kind::Refused, &["prerequisites are not met", "maintenance window", "integrity"]);
    ground.answer_people();
    ground.done(Command::VerifyIntegrity);
    let other = ground.refused(pass(&plan_hash, "Shop"));
    says(&other, Kind::Refused, &["\"Shop\"", "exactly"]);
    let wrong = ground.refused(pass(&plan_hash.replace(['0', '1', '2', '3'], "f"), CLUSTER));
    says(&wrong, Kind::Refused, &["the plan has changed", "read the plan again"]);
    let unconfirmed = ground.refused(Command::Start { plan_hash });
    says(&unconfirmed, Kind::Refused, &["not been confirmed", "gate"]);
}

/// Whatever a program says of itself: the kernel's word on who it is counts.
fn observer(ground: &mut Ground) {
    let us = ground.sandbox.config().operators[0].user.clone();
    ground.with_config(|config| {
        config.operators = vec![
            Operator { user: us, role: Role::Observer },
            Operator { user: String::from("somebody-else"), role: Role::Commander },
        ];
    });
    let plan_hash = ground.plan_hash();
    let socket = spawn::alive(&ground.folder()).unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let pass = serde_json::json!({"id": 7, "role": "commander", "command": {
        "do": "pass_gate", "plan_hash": plan_hash, "cluster": CLUSTER, "role": "commander"}});
    stream.write_all(format!("{pass}\n").as_bytes()).unwrap();
    let reply = BufReader::new(&stream)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap())
        .find(|message| message["message"] == "reply")
        .unwrap();
    assert_eq!(reply["value"]["id"], 7);
    let refusal = &reply["value"]["result"]["Err"];
    assert_eq!(refusal["kind"], "refused", "{reply}");
    let what = refusal["what"].as_str().unwrap();
    assert!(what.contains("is observer here") && what.contains("commander"), "{what}");
    assert!(refusal["next"].as_str().unwrap().contains("operators"));
    // Seeing is allowed.
    let target = ground.good_target();
    ground.done(Command::Survey);
    assert!(reach(ground, target).reachable);
    let start = ground.refused(Command::VerifyIntegrity);
    says(&start, Kind::Refused, &["is observer here, this needs operator"]);
    let refusals = ground.seat().incident().timeline.iter();
    assert!(refusals.filter(|line| line.text.contains("observer")).count() >= 2);
    ground.with_config(|_| {});
}

fn flipped_bit(ground: &mut Ground) {
    let base = ground.base_object();
    flip_a_bit(&base);
    let target = ground.good_target();
    ground.survey_and_choose(target).unwrap();
    ground.answer_people();
    ground.done(Command::VerifyIntegrity);
    let integrity = ground.seat().incident().integrity.clone().unwrap().1;
    let failed: Vec<_> = integrity.iter().filter(|c| c.verdict == Verdict::Failed).collect();
    assert!(!failed.is_empty(), "{integrity:#?}");
    ground.done(Command::MakePlan);
    let plan_hash = ground.plan_hash();
    let gate = ground.refused(Command::PassGate { plan_hash, cluster: CLUSTER.to_owned() });
    says(&gate, Kind::Refused, &["prerequisites are not met", "backup integrity"]);
    flip_a_bit(&base);
}

fn wrong_key(ground: &mut Ground) {
    let key = ground.sandbox.root().join("keys/master");
    let right = fs::read(&key).unwrap();
    let plan_hash = ground.confirmed();
    let wrong = "00".repeat(32) + "\n";
    fs::write(&key, &wrong).unwrap();
    let target = ground.good_target();
    let explanation = ground.survey_and_choose(target).unwrap_err();
    eprintln!("   {explanation}");
    says(
        &explanation,
        Kind::Integrity,
        &["no repository could be read", "master key", "another key"],
    );
    let pid = ground.server_pid();
    let (step, explanation) = ground.start(plan_hash);
    eprintln!("   {explanation}");
    assert_eq!(step, "confirm-identity");
    says(&explanation, Kind::Refused, &["cannot fetch", "key", "retry"]);
    assert_eq!(ground.server_pid(), pid, "the server was not even stopped");
    fs::write(&key, &right).unwrap();
    ground.put_back();
}

fn no_permission(ground: &mut Ground) {
    let root = ground.sandbox.root().to_path_buf();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let (config, program) = (root.join("lifeboat.toml"), root.join("bin"));
    // As it was: the server's user reads it by its group.
    let before = config.metadata().unwrap().permissions().mode();
    mode(&config, 0o000);
    cannot_fetch(ground, &["lifeboat.toml", "permission denied"], || mode(&config, before));
    if nix::unistd::geteuid().is_root() {
        // Root's alone, as a program in somebody's home would be.
        nix::unistd::chown(&program, Some(0.into()), Some(0.into())).unwrap();
        mode(&program, 0o700);
        cannot_fetch(ground, &["bin/lifeboat", "permission denied"], || mode(&program, 0o755));
    }
    assert!(!root.join("cluster/data.lifeboat-rehearsal").exists());
}

fn cannot_fetch(ground: &mut Ground, words: &[&str], mend: impl FnOnce()) {
    let plan_hash = ground.confirmed();
    let pid = ground.server_pid();
    let (step, explanation) = ground.start(plan_hash);
    mend();
    eprintln!("   {explanation}");
    assert_eq!(step, "confirm-identity");
    says(&explanation, Kind::Refused, &["cannot fetch", "retry"]);
    says(&explanation, Kind::Refused, words);
    assert_eq!(ground.server_pid(), pid, "the server was not even stopped");
    ground.put_back();
}

/// Makes a cluster with another identity beside the sandbox's own.
fn other_cluster(ground: &Ground) -> PathBuf {
    let other = ground.sandbox.root().join("cluster/other");
    let server = Server { data: other.clone(), ..ground.server().clone() };
    server.initdb().unwrap();
    other
}

fn wrong_directory(ground: &mut Ground) {
    let plan_hash = ground.confirmed();
    let other = other_cluster(ground);
    let before = print_of(&other);
    let named = other.clone();
    ground.with_config(|config| config.clusters[0].data_directory = named);
    let pid = ground.server_pid();
    let (step, explanation) = ground.start(plan_hash);
    assert_eq!(step, "confirm-identity");
    let planned = ground.server().data.display().to_string();
    let here = other.display().to_string();
    says(&explanation, Kind::Refused, &["now names", &here, &planned, "make a new plan"]);
    assert_eq!(print_of(&other), before);
    assert_eq!(ground.server_pid(), pid);
    ground.with_config(|_| {});
    ground.put_back();
}

fn wrong_identity(ground: &mut Ground) {
    let plan_hash = ground.confirmed();
    let data = ground.server().data.clone();
    let (other, real) = (data.with_file_name("other"), data.with_file_name("data.real"));
    ground.server().stop().unwrap();
    fs::rename(&data, &real).unwrap();
    fs::rename(&other, &data).unwrap();
    let before = (print_of(&data), print_of(&real));
    let (step, explanation) = ground.start(plan_hash);
    assert_eq!(step, "confirm-identity");
    let stranger = control_file::read(&data).unwrap().system_identifier.to_string();
    says(&explanation, Kind::Refused, &["system identifier", &stranger, "not the target"]);
    assert_eq!((print_of(&data), print_of(&real)), before);
    fs::rename(&data, &other).unwrap();
    fs::rename(&real, &data).unwrap();
    ground.server().start(&[]).unwrap();
    ground.put_back();
}

fn flipped_after_verification(ground: &mut Ground) {
    let plan_hash = ground.confirmed();
    let base = ground.base_object();
    flip_a_bit(&base);
    // Somebody has stopped it, so that the damage goes no further: it is put back as it was.
    ground.server().stop().unwrap();
    let (step, explanation) = ground.start(plan_hash);
    eprintln!("   {explanation}");
    assert_eq!(step, "restore-base");
    says(&explanation, Kind::Integrity, &["base-"]);
    ground.put_back();
    assert!(!ground.server().data.join("postmaster.pid").exists(), "it was started");
    ground.server().start(&[]).unwrap();
    flip_a_bit(&base);
}

fn missing_after_plan(ground: &mut Ground) {
    let plan_hash = ground.confirmed();
    let object = ground.middle_segment();
    let hidden = ground.sandbox.root().join("hidden");
    fs::rename(&object, &hidden).unwrap();
    let (step, explanation) = ground.start(plan_hash);
    eprintln!("   {explanation}");
    assert_eq!(step, "replay");
    assert!(!explanation.untouched.is_empty() && !explanation.next.is_empty(), "{explanation}");
    let said = explanation.to_string().to_lowercase();
    assert!(said.contains("wal") && said.contains("target"), "{explanation}");
    ground.not_promoted();
    ground.put_back();
    fs::rename(&hidden, &object).unwrap();
}

fn full_disk(ground: &mut Ground) {
    if !ground.volume.mounted {
        println!("not run: a full disk needs a volume of its own, which only root can mount");
        return;
    }
    ground.volume.leave_free(Some(120));
    let target = ground.good_target();
    let explanation = ground.survey_and_choose(target).unwrap_err();
    eprintln!("   {explanation}");
    says(&explanation, Kind::Unreachable, &["only", "are free", "are needed", "free some space"]);
    ground.volume.leave_free(None);
    let plan_hash = ground.confirmed();
    // Enough to rescue WAL and to stop, not to restore.
    ground.volume.leave_free(Some(60));
    let (step, explanation) = ground.start(plan_hash);
    eprintln!("   {explanation}");
    ground.volume.leave_free(None);
    assert_eq!(step, "restore-base");
    says(&explanation, Kind::Storage, &["bytes free", "make room"]);
    ground.put_back();
}
