//! The catalogue on a real server: away at first, set up, cut off in the middle, each row once; and
//! nothing in it can be changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use jiff::Timestamp;
use lifeboat::engine::incident::event::{Declaration, Event};
use lifeboat::engine::incident::facts::{Actor, Role, Tier, Topic};
use lifeboat::engine::incident::journal::{FILE, Journal};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use support::{LIMIT, TestCluster};

/// More than two batches.
const NOTES: usize = 450;

struct Stage {
    home: tempfile::TempDir,
    server: TestCluster,
}

impl Stage {
    /// The server does not run yet.
    fn new() -> Self {
        let stage = Self { home: tempfile::tempdir().unwrap(), server: TestCluster::init(&[]) };
        let hba = stage.server.data.join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).unwrap();
        fs::write(&hba, format!("local all writer scram-sha-256\n{rules}")).unwrap();
        stage.configure("/run", false);
        stage
    }

    fn configure(&self, cluster_host: &str, known: bool) {
        let root = self.home.path().display();
        let (host, port) = (self.server.socket.display(), self.server.port);
        let text = format!(
            "state_directory = \"{root}/state\"\n\
             [catalogue]\npassword_command = [\"/bin/echo\", \"open sesame\"]\n\
             in_recovered_cluster = {known}\n\
             [catalogue.connection]\nhost = \"{host}\"\nport = {port}\nuser = \"writer\"\n\
             database = \"catalogue\"\n\
             [[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"{root}/data\"\nrepositories = [\"near\"]\n\
             [clusters.connection]\nhost = \"{cluster_host}\"\nport = {port}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\n\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{root}/near\"\n"
        );
        fs::write(self.home.path().join("lifeboat.toml"), text).unwrap();
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.home.path().join("state/incidents").join(id)
    }

    fn declare(&self, id: &str) {
        fs::create_dir_all(self.folder(id).parent().unwrap()).unwrap();
        let mut journal = Journal::open(&self.folder(id)).unwrap().journal;
        let anna = Actor { user: String::from("anna"), uid: 1000, role: Role::Commander };
        let declared = Event::IncidentDeclared(Declaration {
            id: id.to_owned(),
            cluster: String::from("shop"),
            tier: Tier::Standard,
            environment: String::from("drill"),
            title: String::from("orders are gone"),
            identity: None,
            drill: None,
        });
        journal.append(Timestamp::now(), &anna, declared).unwrap();
        for number in 1..NOTES {
            // PostgreSQL's text has no place for the first sign; the journal has.
            let text = format!("\u{0}note {number} it's \"quoted\" \\");
            let note = Event::NoteAdded { topic: Topic::Note, text };
            journal.append(Timestamp::now(), &anna, note).unwrap();
        }
    }

    fn command(&self, failpoint: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.home.path().join("lifeboat.toml")).args(arguments);
        command.env("LIFEBOAT_FAILPOINT", failpoint);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command("", arguments).output().unwrap()
    }

    /// Exit code, and what was said on both outputs.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into());
        (output.status.code().unwrap_or(-1), value)
    }

    fn value(&self, sql: &str) -> String {
        self.server.sql_in("catalogue", sql)[0][0].clone()
    }

    fn rows(&self, id: &str) -> String {
        self.value(&format!(
            "SELECT count(*) || '/' || count(DISTINCT seq) || '/' || coalesce(max(seq), 0) \
               FROM lifeboat.audit_log WHERE incident = '{id}'"
        ))
    }
}

/// Until the process has stopped itself.
fn until_stopped(child: &Child) {
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next()
    };
    support::wait_within(LIMIT, "the stop at the failpoint", || state() == Some('T'));
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn each_row_comes_once_whatever_breaks_and_none_can_be_changed() {
    let stage = Stage::new();
    let (first, second) = ("INC-20250113-001", "INC-20250114-001");
    stage.declare(first);
    let recorded = ["record-recovery", "--success=true", "--rpo-minutes=5", "--rto-minutes=15"];
    assert_eq!(stage.says(&recorded).0, 0);

    // Away: nothing is lost, and nothing is called good.
    for verb in ["sync", "status", "migrate"] {
        let (code, said) = stage.says(&["catalogue", verb]);
        assert_eq!(code, 8, "{verb}: {said}");
        assert!(!said.contains("sesame"), "{said}");
    }

    // There, and without tables yet.
    stage.server.start_server();
    for sql in [
        "CREATE ROLE keeper LOGIN",
        "CREATE ROLE writer LOGIN PASSWORD 'open sesame'",
        "CREATE DATABASE catalogue OWNER keeper",
    ] {
        stage.server.sql(sql);
    }
    assert_eq!(stage.says(&["catalogue", "status"]).0, 12);
    let (code, said) = stage.says(&["catalogue", "sync"]);
    assert!(code == 6 && said.contains("catalogue migrate"), "{code}: {said}");
    let migrate = ["catalogue", "migrate", "--user", "keeper", "--grant-to", "writer"];
    let (code, said) = stage.says(&migrate);
    assert!(code == 0 && said.contains("carried out 1 (tables)"), "{code}: {said}");
    assert!(stage.says(&migrate).1.contains("there already"));

    // Killed before a batch is committed, and after one; then whole.
    assert_eq!(stage.json(&["catalogue", "status"]).1["owed"][0][1], NOTES);
    for (failpoint, there) in
        [("catalogue.before_commit:2", "200/200/200"), ("catalogue.after_batch", "400/400/400")]
    {
        let output = stage.command(failpoint, &["catalogue", "sync"]).output().unwrap();
        assert_eq!(output.status.code(), None, "it was killed at {failpoint}");
        assert_eq!(stage.rows(first), there, "{failpoint}");
    }
    // The repository is not there yet, which is told and keeps nothing else back.
    let (code, synced) = stage.json(&["catalogue", "sync"]);
    assert_eq!((code, &synced["audit_log"]), (12, &50.into()), "{synced}");
    assert_eq!(
        (&synced["recovery_records"], stage.rows(first).as_str()),
        (&1.into(), "450/450/450")
    );
    assert_eq!(stage.says(&["create-repository"]).0, 0);
    let (code, synced) = stage.json(&["catalogue", "sync"]);
    assert_eq!(
        (code, &synced["audit_log"], &synced["recovery_records"]),
        (0, &0.into(), &0.into())
    );
    assert_eq!(stage.says(&["catalogue", "status"]).0, 0);

    // The server dies with a batch under way.
    stage.declare(second);
    let mut child =
        stage.command("stop@catalogue.before_commit:2", &["catalogue", "sync"]).spawn().unwrap();
    until_stopped(&child);
    stage.server.stop_server("immediate");
    signal(&child, "-CONT");
    assert!(!child.wait().unwrap().success());
    stage.server.start_server();
    assert_eq!(stage.rows(second), "200/200/200");
    assert_eq!(stage.json(&["catalogue", "sync"]).0, 0);
    assert_eq!(stage.rows(second), "450/450/450");
    let note = "SELECT detail->>'text' FROM lifeboat.audit_log WHERE seq = 3 LIMIT 1";
    assert_eq!(stage.value(note), "\u{fffd}note 2 it's \"quoted\" \\");

    tampering_is_refused(&stage, first);
    verification(&stage, first);
    a_cluster_of_ours_is_told(&stage);
}

/// By grants for who writes, by a trigger for everybody else.
fn tampering_is_refused(stage: &Stage, first: &str) {
    let acts = [
        "UPDATE lifeboat.audit_log SET actor = 'eve' WHERE seq = 1",
        "DELETE FROM lifeboat.audit_log WHERE seq = 1",
        "TRUNCATE lifeboat.audit_log",
        "UPDATE lifeboat.recovery_records SET rpo_met = true",
        "DELETE FROM lifeboat.backup_metadata",
    ];
    for (role, act) in ["writer", "keeper"].into_iter().flat_map(|role| acts.map(|a| (role, a))) {
        let refused =
            stage.server.try_sql_in("catalogue", &format!("SET ROLE {role}; {act}")).unwrap_err();
        assert!(refused.contains("permission denied"), "{role}: {act}: {refused}");
    }
    let grant = "GRANT ALL ON ALL TABLES IN SCHEMA lifeboat TO keeper";
    for (role, act) in
        [("keeper", acts[0]), ("keeper", acts[1]), ("keeper", acts[2]), ("postgres", acts[0])]
    {
        let text = format!("SET ROLE keeper; {grant}; SET ROLE {role}; {act}");
        let refused = stage.server.try_sql_in("catalogue", &text).unwrap_err();
        assert!(refused.contains("rows are only ever added"), "{role}: {act}: {refused}");
    }
    let replica = format!("SET session_replication_role = replica; {}", acts[1]);
    let refused = stage.server.try_sql_in("catalogue", &replica).unwrap_err();
    assert!(refused.contains("rows are only ever added"), "{refused}");
    assert_eq!(stage.rows(first), "450/450/450");
}

/// The catalogue's rows are anchors; a journal that differs from them is not sent.
fn verification(stage: &Stage, first: &str) {
    let catalogue = |audit: &Value| {
        audit["places"].as_array().unwrap().iter().find(|p| p["name"] == "catalogue").cloned()
    };
    let (code, audit) = stage.json(&["journal", "verify", first]);
    let place = catalogue(&audit).unwrap();
    assert_eq!((&place["verdict"], &place["anchors"]), (&"VERIFIED".into(), &NOTES.into()));
    assert_eq!(code, 12, "the repository has no anchor of it");
    let path = stage.folder(first).join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let short: String = text.lines().take(NOTES - 3).map(|line| format!("{line}\n")).collect();
    fs::write(&path, short).unwrap();
    let (code, audit) = stage.json(&["journal", "verify", first]);
    assert_eq!((code, &audit["wrong"]["tampering"]), (4, &"truncated".into()), "{audit:#}");
    let (code, synced) = stage.json(&["catalogue", "sync"]);
    assert_eq!(code, 12);
    assert!(synced["left_out"][0]["what"].as_str().unwrap().contains(first), "{synced}");
    assert_eq!(stage.rows(first), "450/450/450");
    fs::write(&path, text).unwrap();
    stage.server.stop_server("fast");
    let (code, audit) = stage.json(&["journal", "verify", first]);
    assert_eq!((code, &catalogue(&audit).unwrap()["verdict"]), (12, &"COULD_NOT_VERIFY".into()));
    stage.server.start_server();
}

fn a_cluster_of_ours_is_told(stage: &Stage) {
    let host = stage.server.socket.clone();
    let host = Path::new(&host).display().to_string();
    stage.configure(&host, false);
    let (code, said) = stage.says(&["catalogue", "status"]);
    assert!(code == 2 && said.contains("in_recovered_cluster"), "{code}: {said}");
    stage.configure(&host, true);
    let (code, said) = stage.says(&["catalogue", "status"]);
    assert!(code == 0 && said.contains("takes it back"), "{code}: {said}");
}
