//! The scheduler as a program, on a real server: what is due is done once, a failure is noted and
//! tried again, a signal ends it cleanly, a crash is caught up, and one runs at a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod throwaway;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use throwaway::patience::{wait_or, wait_within};
use throwaway::{Cluster, text};

const LIMIT: Duration = Duration::from_secs(60);

/// A cluster that archives through the program into two repositories.
struct Scene {
    cluster: Cluster,
    root: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start(1);
        let root = cluster.root.path().to_owned();
        // The server's user may not be able to enter the folder that the tests are built in.
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(root.join("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        let scene = Self { cluster, root };
        scene.configure("");
        for name in ["near", "far"] {
            scene.json(0, &["create-repository", "--repository", name]);
        }
        let program = scene.root.join("lifeboat");
        let archive =
            format!("{} --config {} archive-wal %p", program.display(), scene.config().display());
        scene.archive_by(&archive);
        scene
    }

    fn config(&self) -> PathBuf {
        self.root.join("lifeboat.toml")
    }

    fn configure(&self, head: &str) {
        let (root, data) = (self.root.display(), self.cluster.data.display());
        let mut text = format!(
            "state_directory = \"{root}/state\"\n{head}\n[[clusters]]\nname = \"test\"\n\
             tier = \"critical\"\nenvironment = \"drill\"\ndata_directory = \"{data}\"\n\
             repositories = [\"near\", \"far\"]\n[clusters.connection]\nhost = \"{root}\"\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n",
            self.cluster.bin.display()
        );
        for name in ["near", "far"] {
            text.push_str(&format!(
                "[[repositories]]\nname = \"{name}\"\n[repositories.store]\nkind = \"file\"\n\
                 path = \"{root}/{name}\"\n[repositories.encryption]\ncipher = \"none\"\n"
            ));
        }
        fs::write(self.config(), text).unwrap();
    }

    fn archive_by(&self, command: &str) {
        let data = &self.cluster.data;
        self.cluster.configure(data, &format!("archive_command = '{command}'"));
        self.cluster.configure(data, "archive_timeout = 60");
        self.cluster.pg_ctl(data, &["reload"]);
    }

    /// The program, as the server's user.
    fn command(&self, arguments: &[&str]) -> Command {
        let owner = fs::metadata(&self.cluster.data).unwrap();
        let mut command = Command::new(self.root.join("lifeboat"));
        command.current_dir("/").arg("--config").arg(self.config()).args(arguments);
        if nix::unistd::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command
    }

    /// Ends with that code; the JSON lines on standard output.
    #[track_caller]
    fn lines(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}{told}");
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends well; what it said.
    #[track_caller]
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn once(&self, code: i32) -> Vec<Value> {
        self.lines(code, &["schedule", "--once", "--json"])
    }

    fn status(&self, code: i32) -> Value {
        self.json(code, &["status"])[0].take()
    }

    fn sets(&self) -> Vec<PathBuf> {
        named(&self.root.join("near"), "set-")
    }

    /// As if the tries that are on record had been made an hour earlier.
    fn an_hour_passes(&self) {
        let path = self.root.join("state/schedule/test.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (_, outcome) in record["jobs"].as_object_mut().unwrap() {
            let tried: jiff::Timestamp = outcome["last_try"].as_str().unwrap().parse().unwrap();
            let earlier = tried - jiff::SignedDuration::from_hours(1);
            outcome["last_try"] = earlier.to_string().into();
        }
        fs::write(&path, record.to_string()).unwrap();
    }

    /// Many files that a backup takes a while for.
    fn ballast(&self) -> PathBuf {
        let folder = self.cluster.data.join("ballast");
        let user = fs::metadata(&self.cluster.data).unwrap();
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(user.uid()), Some(user.gid())).unwrap();
        for number in 0..600 {
            let path = folder.join(number.to_string());
            fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
            std::os::unix::fs::chown(&path, Some(user.uid()), Some(user.gid())).unwrap();
        }
        folder
    }

    /// The scheduler in the foreground.
    fn foreground(&self) -> Foreground {
        self.begun(&["schedule", "--json"])
    }

    fn begun(&self, arguments: &[&str]) -> Foreground {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Foreground { child, lines }
    }
}

fn named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

struct Foreground {
    child: Child,
    lines: Receiver<String>,
}

impl Foreground {
    /// The next event of that kind; what comes before it is passed over.
    #[track_caller]
    fn told(&self, event: &str, job: &str) -> Value {
        let until = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < until, "{event} of {job} was not told");
            let told: Value = serde_json::from_str(&self.line()).unwrap();
            if told["event"] == event && told["job"] == job {
                return told;
            }
        }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).unwrap()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_within(LIMIT, "the scheduler's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the events of that kind: job and one field.
fn of<'a>(told: &'a [Value], event: &str, field: &str) -> Vec<(&'a str, &'a str)> {
    let events = told.iter().filter(|one| one["event"] == event);
    events.map(|one| (one["job"].as_str().unwrap(), one[field].as_str().unwrap_or(""))).collect()
}

fn each(reason: &'static str) -> [(&'static str, &'static str); 4] {
    ["base-backup", "catch-up", "verification", "cleanup"].map(|job| (job, reason))
}

#[test]
fn what_is_due_is_done_once_and_a_failure_is_tried_again() {
    let scene = Scene::new();
    let page = scene.status(12);
    assert_eq!(page["schedule"]["ever"], false);
    assert_eq!(page["schedule"]["next"], serde_json::json!([]));

    // Both repositories are away.
    for name in ["near", "far"] {
        fs::rename(scene.root.join(name), scene.root.join(format!("{name} away"))).unwrap();
    }
    let told = scene.once(12);
    assert_eq!(of(&told, "begins", "reason"), each("first"), "{told:#?}");
    assert_eq!(of(&told, "failed", "job").len(), 4, "{told:#?}");
    let page = scene.status(12);
    assert_eq!(page["schedule"]["next"][0]["last"]["failures"], 1, "{page:#}");
    assert_eq!(page["backups"], Value::Null, "not known is not none");
    assert_eq!(page["repositories"][1]["backups"], Value::Null);
    assert!(page["problems"].to_string().contains("could not be asked"), "{page:#}");
    // Within the pause nothing is tried.
    assert_eq!(of(&scene.once(12), "begins", "reason"), []);

    for name in ["near", "far"] {
        fs::rename(scene.root.join(format!("{name} away")), scene.root.join(name)).unwrap();
    }
    scene.an_hour_passes();
    let told = scene.once(0);
    assert_eq!(of(&told, "begins", "reason"), each("retry"), "{told:#?}");
    assert_eq!(of(&told, "done", "job").len(), 4, "{told:#?}");
    assert!(of(&told, "done", "said")[0].1.contains("copied to \"far\""), "{told:#?}");
    assert!(of(&told, "done", "said")[2].1.contains("2 sets VERIFIED"), "{told:#?}");

    // What a recovery would meet was kept for the home screen at the end of the first run.
    let kept = fs::read(scene.root.join("state/readiness/test.json")).unwrap();
    let ready: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(ready["cluster"], "test");
    assert!(ready["reasons"].as_array().unwrap().iter().any(|one| one["id"] == "backup"));

    // All is done: nothing more, and the page says so.
    assert_eq!(scene.once(0), Vec::<Value>::new());
    let page = scene.status(0);
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["schedule"]["runs"], false);
    let next = page["schedule"]["next"].as_array().unwrap();
    assert!(next.len() == 4 && next.iter().all(|run| run["overdue"].is_null()), "{page:#}");
    for one in page["repositories"].as_array().unwrap() {
        assert_eq!((&one["backups"], &one["gaps"]), (&1.into(), &serde_json::json!([])));
        assert_eq!(one["verified"]["verdict"], "VERIFIED", "{one:#}");
        assert_eq!(one["window"]["set"], one["newest_backup"]["set"], "{one:#}");
    }
    let shown = scene.command(&["status"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().count() <= 40, "{shown}");

    monitoring_gets_the_same(&scene);
    waiting_wal_is_an_alarm(&scene);
}

/// The figures of `metrics`: once, into a file, over HTTP; what is not known has no figure.
fn monitoring_gets_the_same(scene: &Scene) {
    let told = scene.told(&["metrics"]);
    let newest: jiff::Timestamp =
        scene.status(0)["newest_backup"]["finished"].as_str().unwrap().parse().unwrap();
    for name in ["near", "far"] {
        let of = |what: &str| {
            figure(&told, &format!("lifeboat_{what}{{cluster=\"test\",repository=\"{name}\"}}"))
        };
        assert_eq!(of("repository_up"), Some(1.0), "{told}");
        assert_eq!(of("backups"), Some(1.0));
        assert_eq!(of("wal_gaps"), Some(0.0));
        assert_eq!(of("verified_ok"), Some(1.0));
        let finished = of("backup_newest_timestamp_seconds").unwrap();
        assert!((finished - newest.as_millisecond() as f64 / 1000.0).abs() < 0.002, "{told}");
    }
    assert_eq!(figure(&told, "lifeboat_problems{cluster=\"test\"}"), Some(0.0));
    assert_eq!(figure(&told, "lifeboat_wal_owed_files{cluster=\"test\"}"), Some(0.0));
    assert!(told.ends_with("# EOF\n"), "{told}");
    promtool(&["check", "metrics"], &told);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/monitoring/lifeboat-alerts.yml");
    promtool(&["check", "rules", rules], "");
    every_figure_of_the_assets_is_told(&told);
    let near = "lifeboat_anchors_owed_entries{cluster=\"test\",repository=\"near\"}";
    assert_eq!(figure(&told, near), Some(0.0), "{told}");
    owed_anchors_are_an_alarm_once_they_last(&scene.root, rules);

    // A repository that is away: it says so, and nothing else of it is told.
    fs::rename(scene.root.join("far"), scene.root.join("far away")).unwrap();
    let file = scene.root.join("state/lifeboat.prom");
    scene.told(&["metrics", "--textfile", &text(&file)]);
    let told = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    let far = "{cluster=\"test\",repository=\"far\"}";
    assert_eq!(figure(&told, &format!("lifeboat_repository_up{far}")), Some(0.0), "{told}");
    assert_eq!(figure(&told, &format!("lifeboat_backups{far}")), None, "not known is not none");
    assert_eq!(figure(&told, "lifeboat_backups_owed{cluster=\"test\"}"), None, "{told}");
    fs::rename(scene.root.join("far away"), scene.root.join("far")).unwrap();

    let mut running = scene.begun(&["metrics", "--listen", "127.0.0.1:0"]);
    let said = running.line();
    let address = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let answers = |path: &str, begins: &str| ask(&address, path).starts_with(begins);
    scene.cluster.wait_for("the figures over HTTP", || answers("/metrics", "HTTP/1.1 200"));
    let told = ask(&address, "/metrics");
    assert!(told.contains("application/openmetrics-text; version=1.0.0"), "{told}");
    assert!(told.contains("lifeboat_repository_up{cluster=\"test\",repository=\"far\"} 1.0"));
    assert!(answers("/", "HTTP/1.1 404"));
    running.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(running.ended(), Some(0));
}

/// By Prometheus' own test of rules.
fn owed_anchors_are_an_alarm_once_they_last(root: &Path, rules: &str) {
    let test = root.join("owed.yml");
    let series = "lifeboat_anchors_owed_entries{cluster=\"test\",repository=\"far\"}";
    fs::write(
        &test,
        format!(
            "rule_files: [{rules}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  \
             input_series:\n  - {{series: '{series}', values: '0x9 3x60 0x60'}}\n  \
             alert_rule_test:\n  \
             - {{eval_time: 30m, alertname: LifeboatAnchorsOwed, exp_alerts: []}}\n  \
             - eval_time: 45m\n    alertname: LifeboatAnchorsOwed\n    exp_alerts:\n    \
             - exp_labels: {{severity: ticket, cluster: test, repository: far}}\n      \
             exp_annotations:\n        \
             summary: 'test: far is owed anchors of a journal'\n        \
             description: 'Until it has them, a changed journal would not show there: lifeboat \
             journal verify; the scheduler brings them once the repository answers.'\n  \
             - {{eval_time: 90m, alertname: LifeboatAnchorsOwed, exp_alerts: []}}\n"
        ),
    )
    .unwrap();
    promtool(&["test", "rules", &text(&test)], "");
}

/// The value behind the name and labels.
fn figure(told: &str, name: &str) -> Option<f64> {
    told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn ask(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

/// Rules and dashboard name no figure that does not exist.
fn every_figure_of_the_assets_is_told(told: &str) {
    // Told only once something of the kind happened.
    let later = ["lifeboat_alarm", "lifeboat_drill_", "lifeboat_recovery_", "lifeboat_incident_"];
    let monitoring = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/monitoring");
    let mut seen = 0;
    for entry in fs::read_dir(monitoring).unwrap() {
        let asset = fs::read_to_string(entry.unwrap().path()).unwrap();
        let names = asset.match_indices("lifeboat_").map(|(at, _)| {
            let end = asset[at..].find(|c: char| c != '_' && !c.is_ascii_lowercase());
            &asset[at..at + end.unwrap()]
        });
        for name in names.filter(|name| !later.iter().any(|prefix| name.starts_with(prefix))) {
            let told_of = told.lines().any(|line| line.split('{').next() == Some(name))
                || told.lines().any(|line| line.split(' ').next() == Some(name));
            assert!(told_of, "{name} is not told:\n{told}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Prometheus' own judge, where it can be had.
fn promtool(arguments: &[&str], given: &str) {
    use std::io::Write;
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/promtool");
    let program = if fetched.exists() { fetched } else { PathBuf::from("promtool") };
    let begun = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut judge) = begun else {
        eprintln!("promtool is not there: {arguments:?} was not judged by it");
        return;
    };
    judge.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let said = judge.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.success(),
        "{arguments:?}: {words}{}",
        String::from_utf8_lossy(&said.stdout)
    );
}

/// With a runbook of the team's own that allows little.
fn waiting_wal_is_an_alarm(scene: &Scene) {
    let runbook = scene.root.join("runbook.toml");
    fs::write(&runbook, "[tiers.critical]\nrpo_seconds = 2\n").unwrap();
    scene.configure(&format!("runbook = \"{}\"", text(&runbook)));
    scene.cluster.configure(&scene.cluster.data, "archive_timeout = 1");
    scene.cluster.configure(&scene.cluster.data, "archive_command = 'false'");
    scene.cluster.pg_ctl(&scene.cluster.data, &["reload"]);
    scene.cluster.sql("CREATE TABLE waits (n int)");
    scene.cluster.sql("SELECT pg_switch_wal()");
    let waits = |told: &[Value]| {
        told.iter().any(|one| one["event"] == "alarm" && one["alarm"]["id"] == "archiving: WAL has")
    };
    wait_or(LIMIT, || waits(&scene.once(12)), || format!("no alarm: {}", scene.status(12)));
    let page = scene.status(12);
    assert!(page["problems"].to_string().contains("WAL has waited"), "{page:#}");

    scene.configure("");
    let archive = format!(
        "{} --config {} archive-wal %p",
        text(&scene.root.join("lifeboat")),
        text(&scene.config())
    );
    scene.archive_by(&archive);
    let over = || scene.command(&["schedule", "--once"]).status().unwrap().code() == Some(0);
    scene.cluster.wait_for("the end of the alarm", over);
}

#[test]
fn a_signal_ends_it_cleanly_and_a_crash_is_caught_up() {
    use nix::sys::signal::Signal;
    let scene = Scene::new();
    let ballast = scene.ballast();
    let copying = || {
        let parts = fs::read_dir(scene.root.join("near")).unwrap().flatten();
        let paths = parts.map(|entry| entry.path()).filter(|path| path.is_file());
        let folders = fs::read_dir(scene.root.join("near")).unwrap().flatten();
        let inside = folders
            .filter(|entry| entry.path().is_dir())
            .flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten())
            .map(|entry| entry.path());
        paths.chain(inside).any(|path| fs::metadata(&path).is_ok_and(|f| f.len() > 100_000))
    };
    let in_backup = || {
        scene.cluster.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lifeboat%' AND \
             pid <> pg_backend_pid()",
        )
    };

    let mut first = scene.foreground();
    assert_eq!(first.told("begins", "base-backup")["reason"], "first");
    scene.cluster.wait_for("the backup's data", copying);
    // Two at once are refused.
    let refused = scene.command(&["schedule", "--once"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(9), "{refused:?}");
    assert_eq!(scene.status(12)["schedule"]["runs"], true);
    first.signal(Signal::SIGTERM);
    assert_eq!(first.ended(), Some(0));
    assert_eq!(first.told("failed", "base-backup")["error"]["kind"], "cancelled");
    assert_eq!(scene.sets(), Vec::<PathBuf>::new());
    assert_eq!(in_backup(), "0");

    // Its end was no failure; the next one begins anew, and is killed.
    let mut second = scene.foreground();
    assert_eq!(second.told("begins", "base-backup")["reason"], "first");
    scene.cluster.wait_for("the backup's data", copying);
    second.signal(Signal::SIGKILL);
    assert_eq!(second.ended(), None);
    assert_eq!(scene.sets(), Vec::<PathBuf>::new());

    fs::remove_dir_all(ballast).unwrap();
    let mut third = scene.foreground();
    assert_eq!(third.told("begins", "base-backup")["reason"], "first");
    third.told("done", "base-backup");
    assert!(third.told("next", "base-backup")["due"].as_str().unwrap().contains("T02:00:00"));
    third.signal(Signal::SIGTERM);
    assert_eq!(third.ended(), Some(0));
    assert_eq!(scene.sets().len(), 1);

    the_unit_is_one_that_systemd_takes(&scene);
}

fn the_unit_is_one_that_systemd_takes(scene: &Scene) {
    let directory = scene.root.join("units");
    fs::create_dir(&directory).unwrap();
    let install = || {
        let mut command = Command::new(scene.root.join("lifeboat"));
        command.arg("--config").arg(scene.config());
        command.arg("install-units").arg("--directory").arg(&directory).output().unwrap()
    };
    for word in ["is written", "is there already"] {
        let output = install();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains(word), "{said}");
        assert!(said.contains("systemctl enable --now lifeboat-schedule.service"), "{said}");
    }
    let unit = directory.join("lifeboat-schedule.service");
    let written = fs::read_to_string(&unit).unwrap();
    let owner = fs::metadata(&scene.cluster.data).unwrap().uid();
    let user = nix::unistd::User::from_uid(owner.into()).unwrap().unwrap().name;
    assert!(written.contains(&format!("User={user}\n")), "{written}");
    assert!(written.contains(&format!("-{}", text(&scene.root.join("state")))), "{written}");
    if let Ok(judged) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() {
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    }
    fs::write(&unit, "[Unit]\nDescription=of somebody else\n").unwrap();
    assert_eq!(install().status.code(), Some(6));
}
