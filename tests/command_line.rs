//! The commands as programs and people call them: exit codes as docs/OPERATIONS.md states them,
//! JSON and nothing else on standard output, reasons on standard error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod patience;

use lifeboat::engine::drill::sandbox::{CLUSTER, Options, Sandbox};
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::seat::Seat;
use lifeboat::engine::postgres::connect::{ConnectOptions, connect};
use patience::wait_within;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

struct Program {
    config: PathBuf,
}

impl Program {
    fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(&self.config).args(arguments).output().unwrap()
    }

    /// Ends well, with one JSON value on standard output.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        self.json_and(0, arguments)
    }

    /// As [`Program::json`], ended with that code.
    #[track_caller]
    fn json_and(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", said(&output)))
    }

    #[track_caller]
    fn well(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails with that code: the reason is on standard error, nothing on standard output.
    #[track_caller]
    fn fails(&self, code: i32, words: &[&str], arguments: &[&str]) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", said(&output));
        let reason = String::from_utf8_lossy(&output.stderr).to_lowercase();
        for word in words {
            assert!(reason.contains(&word.to_lowercase()), "\"{word}\" is not in: {reason}");
        }
        assert!(!reason.contains("panicked"), "{reason}");
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn until(what: &str, holds: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(60), what, holds);
}

#[test]
fn every_command_ends_as_the_documentation_says() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let options = Options {
        size_mb: 16,
        directory: Some(home.path().to_owned()),
        keep: None,
        seed: 9,
        programs: None,
        user: None,
        lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
    };
    let sandbox = Sandbox::create(&options, &Sandbox::make_repository, &|_| {}).unwrap();
    let program = Program { config: sandbox.config().path.clone() };
    let work = home.path().join("work");
    fs::create_dir(&work).unwrap();

    let [first, second] = backups(&program);
    lists(&program, &first, &second);
    suspects(&program, &first, &sandbox);
    server_and_sets(&program, &first, &sandbox);
    restores(&program, &first, &work);
    files(&program, &work);
    reread(&program, &first);
    kept_and_removed(&program, &first, &sandbox);
    copies_and_records(&program);
    incidents(&program, &sandbox, &work);
    wal(&program, &sandbox, &work);
    runbook(&program, [&first, &second], &sandbox, &work);
    configuration(&program, &sandbox, &work);
    scheduled(&program, &sandbox);
    sandbox.close().unwrap();
}

fn backups(program: &Program) -> [Value; 2] {
    program.fails(3, &["no backup", "lifeboat backup"], &["verify"]);
    let empty = program.json(&["list-backups"]);
    assert_eq!(empty["backups"], serde_json::json!([]));
    let taken = program.json(&["backup", "--cluster", CLUSTER]);
    let first = taken["backup"].clone();
    assert!(first["set"].as_str().unwrap().starts_with("set-"), "{taken}");
    let told = program.well(&["backup"]);
    assert!(told.contains("set-"), "{told}");
    let second = program.json(&["list-backups"])["backups"][0].clone();
    assert_ne!(first["set"], second["set"]);
    [first, second]
}

fn lists(program: &Program, first: &Value, second: &Value) {
    let sets = |arguments: &[&str]| -> Vec<Value> {
        let listed = program.json(arguments);
        assert_eq!(listed["faults"], serde_json::json!([]));
        let list = listed["backups"].as_array().unwrap().iter();
        list.map(|backup| backup["set"].clone()).collect()
    };
    let (one, two) = (&first["set"], &second["set"]);
    assert_eq!(sets(&["list-backups"]), [two.clone(), one.clone()], "newest first");
    assert_eq!(sets(&["list-backups", "--limit", "1"]), std::slice::from_ref(two));
    let between = second["finished"].as_str().unwrap();
    assert_eq!(sets(&["list-backups", "--before", between]), std::slice::from_ref(one));
    let early = first["finished"].as_str().unwrap();
    assert_eq!(sets(&["list-backups", "--before", early]), Vec::<Value>::new());
    assert_eq!(program.json(&["find-backup", "--before", "now"])["set"], *two);
    assert_eq!(program.json(&["find-backup", "--before", between])["set"], *one);
    program.fails(3, &["no backup ended before"], &["find-backup", "--before", early]);
    program.fails(2, &["tomorrowish"], &["find-backup", "--before", "tomorrowish"]);
    program.fails(2, &["--before"], &["find-backup"]);
    program.fails(2, &["limit"], &["list-backups", "--limit", "many"]);
}

/// A table made after the backup and dropped since, by WAL that in part only `pg_wal` has.
fn suspects(program: &Program, first: &Value, sandbox: &Sandbox) {
    let sql = |text: &str| {
        let work = async {
            let connection = &sandbox.cluster().connection;
            let session = connect(connection, &ConnectOptions::default()).await.unwrap();
            session.batch_execute(text).await.unwrap();
        };
        sandbox.runtime().unwrap().block_on(work);
    };
    sql("CREATE TABLE passing AS SELECT generate_series(1, 400) AS n");
    sql("DROP TABLE passing");
    sql("CREATE TABLE kept AS SELECT generate_series(1, 30) AS n");
    let from = first["stop_lsn"].as_str().unwrap();
    let of_table = ["suspects", "--from", from, "--table", "passing", "--kind", "table-gone"];
    let found = program.json(&of_table);
    let top = &found["suspects"][0];
    let reason = top["reason"].as_str().unwrap();
    assert!(reason.contains("dropped public.passing in shop with about 400 rows"), "{found:#}");
    assert_eq!(top["target"]["inclusive"], false);
    let command = found["commands"][0].as_str().unwrap();
    let target = top["target"]["point"]["value"].as_str().unwrap();
    assert!(command.ends_with(&format!("--lsn {target} --exclusive")), "{command}");
    let tables = top["lost"]["tables"].as_array().unwrap();
    let kept = tables.iter().find(|t| t["table"] == "public.kept in shop").unwrap();
    assert_eq!(kept["inserts"], 30);
    let said = program.well(&of_table);
    assert!(said.contains(command) && said.contains(reason), "{said}");
    program.fails(2, &["not an lsn"], &["suspects", "--from", "0/zz"]);
    program.fails(2, &["kind"], &["suspects", "--kind", "odd"]);
}

fn server_and_sets(program: &Program, first: &Value, sandbox: &Sandbox) {
    until("the status is sound", || program.run(&["status"]).status.code() == Some(0));
    let pages = program.json(&["status"]);
    let page = &pages[0];
    assert_eq!(page["cluster"], CLUSTER);
    assert_eq!(page["backups"], 2);
    assert_eq!(page["problems"], serde_json::json!([]));
    assert_eq!(page["server"]["reachable"], true);
    sandbox.server().stop().unwrap();
    let down = program.run(&["status", "--json"]);
    assert_eq!(down.status.code(), Some(12), "{}", said(&down));
    let pages: Value = serde_json::from_slice(&down.stdout).unwrap();
    assert!(pages[0]["problems"][0].as_str().unwrap().contains("does not answer"));
    program.fails(8, &["server"], &["backup", "--json"]);
    sandbox.server().start(&[]).unwrap();

    let verified = program.json(&["verify"]);
    assert_eq!(verified["verdict"], "VERIFIED");
    let set = first["set"].as_str().unwrap();
    assert_eq!(program.json(&["verify", "--backup-set-id", set])["set"], set);
    program.fails(
        3,
        &["set-20010101-000000"],
        &["verify", "--backup-set-id", "set-20010101-000000"],
    );
}

fn restores(program: &Program, first: &Value, work: &Path) {
    let empty = work.join("restored");
    let directory = empty.to_str().unwrap();
    let set = first["set"].as_str().unwrap();
    let restored = program.json(&["restore", "--set", set, "--target-directory", directory]);
    assert_eq!(restored["set"], set);
    assert_eq!(restored["proven"], true, "{restored:#}");
    let settings = fs::read_to_string(empty.join("postgresql.auto.conf")).unwrap();
    assert!(settings.contains("recovery_target_timeline = '1'"), "{settings}");
    // To the end of the archive, and waiting there.
    assert!(empty.join("standby.signal").exists() && empty.join("global/pg_control").exists());
    let before = fs::read(empty.join("postgresql.auto.conf")).unwrap();
    program.fails(
        6,
        &[directory, "empty"],
        &["restore", "--set", set, "--target-directory", directory, "--json"],
    );
    assert_eq!(fs::read(empty.join("postgresql.auto.conf")).unwrap(), before);
    let other = work.join("other");
    let other = other.to_str().unwrap();
    program.fails(
        3,
        &["no set set-20010101-000000"],
        &["restore", "--set", "set-20010101-000000", "--target-directory", other],
    );
    let early = first["started"].as_str().unwrap();
    program.fails(
        5,
        &["cannot reach it"],
        &["restore", "--set", set, "--time", early, "--target-directory", other],
    );
    assert!(!Path::new(other).exists());
}

fn files(program: &Program, work: &Path) {
    let path = |name: &str| work.join(name).display().to_string();
    let (plain, sealed, opened) = (path("plain"), path("sealed"), path("opened"));
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&plain, &content).unwrap();
    program.well(&["encrypt", &plain, &sealed]);
    assert_ne!(fs::read(&sealed).unwrap(), content);
    program.well(&["decrypt", &sealed, &opened]);
    assert_eq!(fs::read(&opened).unwrap(), content);
    let (pass, wrong) = (path("pass"), path("wrong"));
    for (file, text) in [(&pass, "a long passphrase\n"), (&wrong, "another passphrase\n")] {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let (sealed, opened) = (path("sealed-2"), path("opened-2"));
    program.well(&["encrypt", &plain, &sealed, "--passphrase-file", &pass]);
    program.fails(4, &[], &["decrypt", &sealed, &opened, "--passphrase-file", &wrong]);
    assert!(!Path::new(&opened).exists(), "nothing is left of a file that did not open");
    program.well(&["decrypt", &sealed, &opened, "--passphrase-file", &pass]);
    assert_eq!(fs::read(&opened).unwrap(), content);
    let missing = path("missing");
    program.fails(7, &[&missing], &["decrypt", &missing, &path("opened-3")]);
}

fn reread(program: &Program, first: &Value) {
    let all = program.json(&["verify", "--all"]);
    assert_eq!((&all["verdict"], &all["faults"]), (&"VERIFIED".into(), &serde_json::json!([])));
    assert_eq!(all["results"].as_array().unwrap().len(), 2);
    // Nothing changed since, so that nothing is read; unless it is asked for.
    let set = first["set"].as_str().unwrap();
    let again = program.json(&["verify", "--backup-set-id", set]);
    assert_eq!(again["bytes_read"], 0);
    assert!(again["unchanged_since"].is_string(), "{again}");
    let full = program.json(&["verify", "--backup-set-id", set, "--full"]);
    assert!(full["bytes_read"].as_u64().unwrap() > 0 && full["unchanged_since"].is_null());
    let sample = program.json(&["verify", "--sample", "50"]);
    let [one] = &sample["results"].as_array().unwrap()[..] else { panic!("{sample}") };
    assert_ne!(one["set"], set, "the other one was read longer ago");
    assert!(one["bytes_read"].as_u64().unwrap() > 0);
    program.fails(2, &["sample"], &["verify", "--sample", "0"]);
    program.fails(2, &["--all"], &["verify", "--all", "--sample", "5"]);
}

fn kept_and_removed(program: &Program, first: &Value, sandbox: &Sandbox) {
    let set = first["set"].as_str().unwrap();
    assert_eq!(program.json(&["hold", "list"])["holds"], serde_json::json!([]));
    let hold = ["hold", "add", set, "--name", "case 7", "--with-wal"];
    let placed = program.json(&hold);
    assert_eq!(placed["repositories"], serde_json::json!(["local"]));
    let held = program.json(&["hold", "list"])["holds"][0].clone();
    assert_eq!((&held["set"], &held["counts"]), (&first["set"], &Value::Bool(true)));
    assert_eq!(held["hold"]["name"], "case 7");
    program.fails(3, &["set-20010101-000000"], &["hold", "add", "set-20010101-000000", "--name=x"]);
    program.fails(2, &["name"], &["hold", "add", set, "--name", " "]);

    // What a backup that was broken off left long ago.
    let left = sandbox.root().join("repository/base-20200101-020000.tar.gz.enc");
    fs::write(&left, b"half of it").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(90 * 86_400);
    fs::File::options().write(true).open(&left).unwrap().set_modified(long_ago).unwrap();
    // What writers left that were killed: one long ago, one that may live on another host.
    let half = |name: &str| sandbox.root().join("repository").join(name);
    let (killed, young) = (
        half(".base-20200101-030000.tar.gz.enc.00112233445566aa.tmp"),
        half(".base-20200101-040000.tar.gz.enc.00112233445566bb.tmp"),
    );
    fs::write(&killed, b"half").unwrap();
    fs::write(&young, b"half").unwrap();
    fs::File::options().write(true).open(&killed).unwrap().set_modified(long_ago).unwrap();
    let dry = program.json(&["cleanup", "--dry-run"]);
    let unfinished = dry["plans"][0]["unfinished"].as_array().unwrap();
    assert_eq!(unfinished.len(), 1, "{dry}");
    assert_eq!(unfinished[0]["key"], "base-20200101-030000.tar.gz.enc");
    let plan = &dry["plans"][0];
    assert_eq!(plan["unpublished"][0]["key"], "base-20200101-020000.tar.gz.enc", "{dry}");
    let line = plan["sets"].as_array().unwrap().iter().find(|line| line["set"] == set).unwrap();
    assert!(line["remove"] == false && line["why"].as_str().unwrap().contains("case 7"), "{line}");
    let told = program.well(&["cleanup", "--dry-run"]);
    assert!(told.contains("base-20200101-020000"), "{told}");
    assert!(told.contains("what is left of base-20200101-030000"), "{told}");
    assert!(told.contains("1 unfinished writes stay"), "{told}");
    program.fails(6, &["nobody can be asked", "--yes"], &["cleanup", "--json"]);
    let asked = program.run(&["cleanup"]);
    assert_eq!(asked.status.code(), Some(6), "{}", said(&asked));
    program.fails(2, &["--yes"], &["cleanup", "--dry-run", "--yes"]);
    assert!(left.exists(), "nothing of this removed it");
    let done = program.json(&["cleanup", "--yes"]);
    assert!(done["outcomes"][0]["objects"].as_u64().unwrap() >= 1, "{done}");
    assert_eq!(done["outcomes"][0]["sets"], serde_json::json!([]));
    assert!(!left.exists() && !killed.exists() && young.exists());
    fs::remove_file(young).unwrap();
    assert!(program.well(&["cleanup", "--yes"]).contains("Nothing to remove"));

    let released = program.json(&["hold", "release", "--name", "case 7"]);
    assert_eq!(released["released"], serde_json::json!([["local", set]]));
    program.fails(3, &["case 7"], &["hold", "release", "--name", "case 7"]);
}

fn copies_and_records(program: &Program) {
    for arguments in [&["catch-up"][..], &["catch-up", "--dry-run"]] {
        let caught = program.json(arguments);
        assert_eq!(caught["clusters"][0]["cluster"], CLUSTER);
        assert_eq!(caught["clusters"][0]["owed"], serde_json::json!([]));
    }
    // One copy in one place.
    let policy = program.json_and(12, &["policy"]);
    assert_eq!(policy["holds"], false);
    assert_eq!(policy["clusters"][0]["cluster"], CLUSTER);
    let told = program.run(&["policy"]);
    assert!(said(&told).contains("does NOT hold"), "{}", said(&told));

    program.fails(2, &["--success"], &["record-recovery", "--rpo-minutes=5", "--rto-minutes=15"]);
    let words = ["record-recovery", "--success=true", "--rpo-minutes=5", "--rto-minutes=15"];
    let line = program.json(&words);
    assert!(line.to_string().contains("\"rpo_met\":true"), "{line}");
    assert!(program.well(&words).starts_with("Recorded: "));
    let listed = program.json(&["record-recovery", "--list"]);
    assert_eq!(listed["recoveries"].as_array().unwrap().len(), 2);

    let keys = program.json(&["keys", "list"]);
    let keys = &keys["repositories"][0]["keys"];
    assert_eq!(keys[0]["objects"][0]["state"], "opens", "{keys}");
    let checked = program.json(&["keys", "check"]);
    assert_eq!(checked["verdict"], "VERIFIED", "{checked}");
    assert!(program.well(&["keys", "check"]).contains("All keys: VERIFIED"));
}

/// The runbook's commands, word for word but for the program's name.
fn runbook(program: &Program, [first, second]: [&Value; 2], sandbox: &Sandbox, work: &Path) {
    program.fails(3, &["2025-01-13"], &["find-backup", "--before=2025-01-13 10:00:00"]);
    let none = ["list-backups", "--before=2025-01-13 02:00:00", "--limit=3"];
    assert_eq!(program.well(&none), "No backup.\n");
    let set = first["set"].as_str().unwrap();
    let verified = program.well(&["verify", &format!("--backup-set-id={set}")]);
    assert!(verified.contains("VERIFIED"), "{verified}");
    program.well(&["cleanup", "--dry-run"]);
    let incident = program.json(&["incidents"])[0]["id"].as_str().unwrap().to_owned();
    program.well(&["recovery-report", &format!("--incident-id={incident}")]);

    let base = set.replace("set-", "base-") + ".tar.gz";
    let sealed = sandbox.root().join("repository").join(format!("{base}.enc"));
    let opened = work.join("base-backup.tar.gz");
    program.well(&["decrypt", sealed.to_str().unwrap(), opened.to_str().unwrap()]);
    let listed = Command::new("tar").arg("-tzf").arg(&opened).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("global/pg_control"));

    let words = ["--from=2025-01-13 08:00:00", "--to=2025-01-13 10:00:00"];
    let answer = program.json_and(5, &["check-wal-continuity", words[0], words[1]]);
    assert_eq!(answer["whole"], false);
    let mark = |name: &str, of: &Value| format!("--{name}={}", of.as_str().unwrap());
    let (from, to) = (mark("from", &first["stop_lsn"]), mark("to", &second["start_lsn"]));
    let answer = program.json(&["check-wal-continuity", &from, &to]);
    assert_eq!(answer["gaps"], serde_json::json!([]));
}

fn scheduled(program: &Program, sandbox: &Sandbox) {
    let unit = program.well(&["install-units", "--dry-run"]);
    assert!(unit.contains("ExecStart=") && unit.contains("schedule"), "{unit}");
    let output = program.run(&["schedule", "--once", "--json"]);
    let lines: Vec<Value> = String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = |job: &str| lines.iter().any(|line| line["event"] == "done" && line["job"] == job);
    assert!(done("verification") && done("cleanup") && done("catch-up"), "{}", said(&output));
    let alarmed = lines.iter().any(|line| line["event"] == "alarm");
    let code = if alarmed { 12 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    assert!(sandbox.state().join("schedule").is_dir());
}

/// Each form and record of an incident, its ladder and its reminders.
fn records(program: &Program, id: &str, work: &Path) {
    for (form, begins) in [
        ("md", "# Recovery report "),
        ("html", "<!DOCTYPE html>"),
        ("json", "{"),
        ("postmortem", "# Postmortem "),
        ("compliance", "# Compliance record "),
        ("data-loss", "# Data-loss statement "),
    ] {
        let told = program.well(&["report", id, "--format", form]);
        assert!(told.starts_with(begins), "{form}: {told}");
    }
    let print = program.run(&["report", id, "--format", "pdf"]);
    assert!(print.status.success() && print.stdout.starts_with(b"%PDF-"), "{}", said(&print));
    // What people have written into a draft is not written over.
    let draft = work.join("postmortem.md").display().to_string();
    let words = ["report", id, "--format", "postmortem", "--output", &draft];
    assert_eq!(program.well(&words).trim(), draft);
    program.fails(6, &["is there already"], &words);
    let ladder = program.json(&["escalation", id]);
    assert_eq!(ladder["levels"].as_array().unwrap().len(), 4, "{ladder}");
    assert!(program.well(&["escalation", id]).contains("nobody is configured for it"));
    program.fails(6, &["No level was called"], &["escalation", id, "--acknowledge"]);
    assert!(program.well(&["checklist", "--remind"]).starts_with("Nothing is due"));
    program.fails(2, &["No incident is named"], &["checklist"]);
}

fn incidents(program: &Program, sandbox: &Sandbox, work: &Path) {
    assert_eq!(program.json(&["incidents"]), serde_json::json!([]));
    let seat = Seat::take(sandbox, &scenario::load("corruption").unwrap()).unwrap();
    let id = seat.incident().declaration.id.clone();
    assert_eq!(program.json(&["incidents"]).as_array().unwrap().len(), 1);
    let report = program.json(&["recovery-report", "--incident-id", &id]);
    assert_eq!(report["incident"]["id"], id.as_str());
    let folder = work.join("report");
    let told = program.well(&[
        "recovery-report",
        "--incident-id",
        &id,
        "--output",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(told.lines().count(), 4);
    assert!(told.lines().all(|path| Path::new(path).is_file()), "{told}");
    records(program, &id, work);
    // Until its runner has put the first anchor, the chain alone is no pass.
    until("the first anchor", || {
        let verified = program.run(&["journal", "verify", &id]);
        let told = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(told.contains("the chain holds"), "{}", said(&verified));
        let anchored = verified.status.code() == Some(0);
        assert!(anchored || verified.status.code() == Some(12), "{}", said(&verified));
        assert!(!anchored || told.contains("every entry is anchored"), "{told}");
        anchored
    });
    for arguments in [
        ["recovery-report", "--incident-id", "INC-20010101-001"],
        ["journal", "verify", "INC-20010101-001"],
    ] {
        program.fails(3, &["INC-20010101-001"], &arguments);
    }
    let copy = sandbox.state().join("incidents/INC-20010101-002");
    fs::create_dir(&copy).unwrap();
    let journal =
        fs::read_to_string(sandbox.state().join("incidents").join(&id).join("journal.jsonl"));
    let changed = journal.unwrap().replacen("corruption", "corruptiom", 1);
    fs::write(copy.join("journal.jsonl"), changed).unwrap();
    program.fails(4, &["journal"], &["journal", "verify", "INC-20010101-002"]);
    fs::remove_dir_all(copy).unwrap();
}

/// PostgreSQL takes 1 to 125 for "not in the archive", which ends a recovery early: only a proven
/// absence may say so.
fn wal(program: &Program, sandbox: &Sandbox, work: &Path) {
    let archive = sandbox.root().join("repository/wal-archive");
    let folder = fs::read_dir(archive).unwrap().map(|entry| entry.unwrap().path());
    let folder = folder.filter(|path| path.is_dir()).min().unwrap();
    let object = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).min().unwrap();
    let name = object.to_str().unwrap()[..24].to_owned();
    let destination = work.join("fetched").display().to_string();
    let (name, to) = (name.as_str(), destination.as_str());
    let listed = program.json(&["list-wal", &name[..20]]);
    let files = listed["files"].as_array().unwrap();
    assert_eq!((&files[0]["name"], &listed["repository"]), (&name.into(), &"local".into()));
    assert!(files[0]["object"].as_str().unwrap().ends_with(object.to_str().unwrap()));
    let told = program.well(&["list-wal", name]);
    let words: Vec<&str> = told.split_whitespace().collect();
    assert_eq!(words[2..4], [files[0]["bytes"].to_string().as_str(), name], "{told}");
    assert!(program.well(&["list-wal"]).lines().count() >= files.len());
    program.fails(3, &["begins with 0000000F"], &["list-wal", "0000000F"]);
    program.well(&["restore-wal", name, to]);
    assert_eq!(fs::metadata(to).unwrap().len(), 16 << 20);
    fs::remove_file(to).unwrap();
    program.fails(1, &["in no repository"], &["restore-wal", "0000000100000FFF000000AA", to]);
    program.fails(1, &["in no repository"], &["restore-wal", "00000002.history", to]);
    let stops: [(&[&str], &str); 7] = [
        (&["restore-wal"], "required"),
        (&["restore-wal", name], "required"),
        (&["restore-wal", name, to, "--nonsense"], "--nonsense"),
        (&["restore-wal", name, to, "and", "more"], "unexpected"),
        (&["restore-wal", "--cluster", "nobody", name, to], "nobody"),
        (&["restore-wal", "not-a-segment", to], "not-a-segment"),
        (&["restore-wal", name, "/no/such/folder/file"], "/no/such/folder"),
    ];
    for (arguments, word) in stops {
        program.fails(200, &[word], arguments);
    }
    let nowhere = Program { config: work.join("nowhere.toml") };
    nowhere.fails(200, &["nowhere.toml"], &["restore-wal", name, to]);
    nowhere.fails(2, &["nowhere.toml"], &["archive-wal", to]);
    // A repository that is not there is no empty archive.
    let (here, away) = (sandbox.root().join("repository"), sandbox.root().join("unmounted"));
    fs::rename(&here, &away).unwrap();
    fs::create_dir(&here).unwrap();
    program.fails(200, &[], &["restore-wal", "0000000100000FFF000000AA", to]);
    fs::remove_dir(&here).unwrap();
    program.fails(200, &[], &["restore-wal", "0000000100000FFF000000AA", to]);
    fs::rename(&away, &here).unwrap();
    let help = program.run(&["restore-wal", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(!Path::new(to).exists());
    let missing = work.join("000000010000000000000001").display().to_string();
    let archived = program.run(&["archive-wal", &missing]);
    assert!((1..126).contains(&archived.status.code().unwrap()), "{}", said(&archived));
}

fn configuration(program: &Program, sandbox: &Sandbox, work: &Path) {
    for verb in ["backup", "list-backups", "status", "verify", "create-repository"] {
        program.fails(
            2,
            &["no cluster \"nobody\"", CLUSTER],
            &[verb, "--cluster", "nobody", "--json"],
        );
        let nowhere = Program { config: work.join("nowhere.toml") };
        nowhere.fails(2, &["nowhere.toml"], &[verb, "--json"]);
    }
    program.fails(2, &["no repository \"cellar\""], &["list-backups", "--repository", "cellar"]);
    program.fails(2, &["unrecognized", "sail"], &["sail"]);
    program.fails(2, &["json"], &["drill", "corruption", "--json"]);
    program.fails(3, &["no-such-scenario"], &["drill", "no-such-scenario", "--auto"]);
    let text = fs::read_to_string(&program.config).unwrap();
    let broken = Program { config: work.join("broken.toml") };
    fs::write(&broken.config, format!("{text}\n[nonsense]\nkey = 1\n")).unwrap();
    fs::set_permissions(&broken.config, PermissionsExt::from_mode(0o600)).unwrap();
    broken.fails(2, &["broken.toml", "nonsense"], &["status"]);
    // Another key opens nothing, and says so.
    let key = sandbox.root().join("keys/master");
    let right = fs::read(&key).unwrap();
    fs::write(&key, "11".repeat(32) + "\n").unwrap();
    program.fails(4, &["key"], &["list-backups", "--json"]);
    program.fails(200, &["key"], &["restore-wal", "0000000100000FFF000000AA", "/nowhere"]);
    fs::write(&key, right).unwrap();
    assert_eq!(program.json(&["list-backups"])["backups"].as_array().unwrap().len(), 2);
    assert!(program.well(&["--version"]).starts_with("lifeboat "));
    assert!(program.well(&["--help"]).contains("restore-wal"));
}
