//! GameDay drills by the real program, without a person: every scenario, every inject alone with
//! the outcome that its file states, the record of them, and that nothing stays whatever ends one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod patience;
mod terminal;

use lifeboat::engine::drill::inject::{self, Inject};
use lifeboat::engine::drill::processes::{pids_of, runners_of};
use lifeboat::engine::drill::sandbox::{Options, Sandbox};
use lifeboat::engine::drill::scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use patience::wait_within;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use terminal::Terminal;

/// For what a screen answers.
const SOON: Duration = Duration::from_secs(30);
/// Making or clearing a sandbox, or reading its archive, on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// Folders and a configuration that tells the drill to happen there and to be recorded there.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let bench = Self(home);
        for folder in [bench.0.path().to_path_buf(), bench.boxes(), bench.state()] {
            if !folder.exists() {
                fs::create_dir(&folder).unwrap();
            }
            fs::set_permissions(&folder, PermissionsExt::from_mode(0o711)).unwrap();
        }
        let text = format!(
            "state_directory = \"{}\"\n[sandbox]\ndirectory = \"{}\"\nscenarios = \"{}\"\n",
            bench.state().display(),
            bench.boxes().display(),
            bench.0.path().join("scenarios").display()
        );
        fs::write(bench.config(), text).unwrap();
        bench
    }

    fn boxes(&self) -> PathBuf {
        self.0.path().join("boxes")
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("lifeboat.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.config()).arg("drill").args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The command in a terminal.
    fn terminal(&self, arguments: &[&str]) -> Terminal {
        let config = self.config();
        let all = [&["--config", config.to_str().unwrap(), "drill"], arguments].concat();
        Terminal::start(Path::new(env!("CARGO_BIN_EXE_lifeboat")), &all, &[], (80, 24))
    }

    /// The one sandbox there is.
    fn sandbox(&self) -> PathBuf {
        fs::read_dir(self.boxes()).unwrap().next().unwrap().unwrap().path()
    }

    /// Standard output of a command that succeeds.
    #[track_caller]
    fn said(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {error}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// A small drill, which has to be verified; its outcome.
    #[track_caller]
    fn held(&self, scenario: &str, more: &[&str]) -> Value {
        let small = [scenario, "--auto", "--json", "--size", "24"];
        let done = self.run(&[&small[..], more].concat());
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        let outcome: Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|_| panic!("{scenario} {more:?}: {error}"));
        assert!(done.status.success(), "{outcome:#}\n{error}");
        assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
        assert_eq!(outcome["reasons"], serde_json::json!([]));
        assert_eq!(outcome["expected"], outcome["ended"], "{outcome:#}");
        for part in ["processes", "folders", "sockets", "credentials"] {
            let gone = outcome["teardown"].as_array().unwrap().iter().any(|check| {
                check["id"] == format!("teardown-{part}") && check["verdict"] == "VERIFIED"
            });
            assert!(gone, "{part}: {outcome:#}");
        }
        self.is_clear();
        outcome
    }

    #[track_caller]
    fn is_clear(&self) {
        assert_eq!(fs::read_dir(self.boxes()).unwrap().count(), 0, "a directory is left");
        assert_eq!(pids_of(self.0.path()), Vec::<i32>::new(), "a process is left");
    }
}

fn verdict<'a>(outcome: &'a Value, id: &str) -> &'a str {
    let checks = outcome["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["id"] == id);
    found.unwrap_or_else(|| panic!("no check {id}: {checks:#?}"))["verdict"].as_str().unwrap()
}

#[track_caller]
fn until(what: &str, seconds: u64, holds: impl FnMut() -> bool) {
    wait_within(Duration::from_secs(seconds), what, holds);
}

#[test]
fn scenarios_are_listed_shown_and_judged() {
    let bench = Bench::new();
    let folder = bench.0.path().join("scenarios");
    fs::create_dir(&folder).unwrap();
    let own = include_str!("../assets/scenarios/table-loss.toml")
        .replace("name = \"table-loss\"", "name = \"monday\"");
    fs::write(folder.join("monday.toml"), own.replace("public.audit_log", "public.gone")).unwrap();
    let list = bench.said(&["list"]);
    for word in ["corruption", "table-loss", "complete-loss", "cross-region", "monday"] {
        assert!(list.contains(word), "{list}");
    }
    assert!(list.contains("cannot be used: ") && list.contains("incident.table"), "{list}");
    let file = folder.join("monday.toml");
    let file = file.to_str().unwrap();
    let refused = bench.run(&["validate", file]);
    assert_eq!(refused.status.code(), Some(2));
    fs::write(folder.join("monday.toml"), &own).unwrap();
    let tried = bench.said(&["validate", file]);
    assert!(tried.contains("monday: a scenario that can be held."), "{tried}");
    assert!(tried.contains("rows of public.audit_log are gone"), "{tried}");
    let statement = "TRUNCATE public.audit_log";
    for (instead, why) in [
        ("UPDATE public.audit_log SET nobody = 1", "cannot be run by postgres: "),
        ("DELETE FROM public.audit_log WHERE actor = 'no such'", "changes nothing in the shop"),
    ] {
        let other = own.replace(statement, instead);
        assert_ne!(other, own);
        fs::write(folder.join("monday.toml"), other).unwrap();
        let done = bench.run(&["validate", file]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(2) && said.contains(why), "{instead}: {said}");
    }
    bench.is_clear();
    let two = "injects = [\"wrong-report\", \"time-zone\"]\nhints = [";
    fs::write(folder.join("monday.toml"), own.replacen("hints = [", two, 1)).unwrap();
    let refused = bench.run(&["validate", file]);
    let error = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert!(error.contains("wrong-report and time-zone both are the first report"), "{error}");
    let shown = bench.said(&["show", "cross-region"]);
    for word in ["RTO 60 minutes", "20 MB/s, 80 ms", "key-denied", "disk-too-small"] {
        assert!(shown.contains(word), "{shown}");
    }
    assert!(!shown.contains("damaged-backup"), "one that does not fit: {shown}");
    // What an inject does is told when the drill is over.
    let json = bench.said(&["show", "corruption", "--json"]);
    assert!(!json.contains("was taken away"), "{json}");
}

#[test]
fn what_cannot_be_held_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    for (arguments, code, word) in [
        (&["flood", "--auto"][..], 3, "cross-region"),
        (&["corruption", "--auto", "--inject", "earthquake"], 3, "key-denied"),
        (&["cross-region", "--auto", "--inject", "damaged-backup"], 2, "does not fit"),
        (
            &["corruption", "--auto", "--inject", "key-denied", "--inject", "archive-gap"],
            2,
            "refused before anybody comes to meet key-denied",
        ),
        (
            &["corruption", "--inject", "wrong-report", "--inject", "time-zone"],
            2,
            "only one can be heard",
        ),
        (&["corruption", "--auto", "--link-speed", "5"], 2, "no far repository"),
        (&["corruption"], 2, "terminal"),
        (&["finding", "7", "text", "--owner", "dba"], 3, "no drill with the number 7"),
    ] {
        let done = bench.run(arguments);
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    // What an earlier drill left in the file does not read as this one's.
    let junit = bench.0.path().join("drill.xml");
    fs::write(&junit, "<testsuite tests=\"1\" failures=\"0\" errors=\"0\"/>").unwrap();
    let unfit = ["cross-region", "--auto", "--inject", "damaged-backup", "--junit"];
    assert!(!bench.run(&[&unfit[..], &[junit.to_str().unwrap()]].concat()).status.success());
    let told = fs::read_to_string(&junit).unwrap();
    assert!(told.contains("errors=\"1\""), "{told}");
    bench.is_clear();
}

/// The table comes back by parts while the shop stays open; what was held is recorded.
#[test]
fn one_table_comes_back_and_the_drill_is_recorded() {
    let bench = Bench::new();
    let junit = bench.0.path().join("drill.xml");
    let outcome = bench.held("table-loss", &["--junit", junit.to_str().unwrap()]);
    assert_eq!(outcome["rpo_seconds"], 0.0, "{outcome:#}");
    for table in ["public.customers", "public.orders", "public.audit_log"] {
        assert_eq!(verdict(&outcome, &format!("drill-kept:{table}")), "VERIFIED");
    }
    assert_eq!(verdict(&outcome, "drill-rows:public.audit_log"), "VERIFIED");
    let card = &outcome["card"];
    assert_eq!(card["hypothesis_held"], true);
    for stage in ["detect", "declare", "decide", "restore"] {
        assert!(card[format!("{stage}_seconds")].as_f64().is_some(), "{stage}: {card:#}");
    }
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("failures=\"0\" errors=\"0\""), "{xml}");

    let history = bench.said(&["history"]);
    assert!(history.contains("table-loss") && history.contains("VERIFIED"), "{history}");
    let evidence = bench.state().join("drills/drill-00001");
    let certificate = fs::read_to_string(evidence.join("certificate.md")).unwrap();
    assert!(certificate.contains("**VERIFIED**: scenario table-loss"), "{certificate}");
    assert!(evidence.join("journal.jsonl").exists());
    bench.said(&[
        "finding",
        "1",
        "Nobody knew the command",
        "--owner",
        "dba",
        "--retest",
        "2020-01-01",
    ]);
    assert!(bench.said(&["findings"]).contains("DUE since 2020-01-01"));
    bench.said(&["settle", "2", "shown to all"]);
    assert!(bench.said(&["findings"]).contains("No finding is open."));
}

/// Found where every other command finds it; and what is named in it is not built on.
#[test]
fn the_configuration_counts_without_being_named_and_a_repository_is_no_place_for_a_drill() {
    let bench = Bench::new();
    let scenarios = bench.0.path().join("scenarios");
    fs::create_dir(&scenarios).unwrap();
    let own = fs::read_to_string("assets/scenarios/corruption.toml").unwrap();
    let own = own.replace("name = \"corruption\"", "name = \"monday\"");
    fs::write(scenarios.join("monday.toml"), own).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.env("LIFEBOAT_CONFIG", bench.config()).arg("drill").args(arguments);
        let done = command.output().unwrap();
        let said = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        (done.status.code(), said.concat())
    };
    assert!(run(&["list"]).1.contains("monday"));
    assert_eq!(run(&["history"]), (Some(0), String::from("No drill was recorded.\n")));
    assert!(
        run(&["corruption", "--auto", "--from-backup", "bank"]).1.contains("no cluster \"bank\"")
    );

    let bank = bench.0.path().join("bank");
    fs::create_dir(&bank).unwrap();
    let home = bench.0.path().display();
    let text = fs::read_to_string(bench.config()).unwrap();
    let cluster = format!(
        "{text}[[clusters]]\nname = \"bank\"\ntier = \"high\"\nenvironment = \"production\"\n\
         data_directory = \"{home}/data\"\nrepositories = [\"near\"]\n[clusters.connection]\n\
         host = \"{home}\"\nport = 5432\n[clusters.control]\ndriver = \"pg_ctl\"\n\
         [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
         path = \"{}\"\n",
        bank.display()
    );
    fs::write(bench.config(), &cluster).unwrap();
    let inside = bank.join("drills");
    let inside = inside.to_str().unwrap();
    for (option, path) in [("--keep", inside), ("--record", inside), ("--junit", inside)] {
        let (code, said) = run(&["corruption", "--auto", option, path]);
        assert!(
            code != Some(0) && said.contains("part of a real cluster's own"),
            "{option}: {said}"
        );
    }
    let boxes = format!("directory = \"{}\"", bench.boxes().display());
    fs::write(
        bench.config(),
        cluster.replace(&boxes, &format!("directory = \"{}\"", bank.display())),
    )
    .unwrap();
    let (_, said) = run(&["corruption", "--auto"]);
    assert!(said.contains("sandbox.directory is"), "{said}");
    assert_eq!(fs::read_dir(&bank).unwrap().count(), 0);
    bench.is_clear();
}

/// The terminal of an unattended drill is closed, while its base backup is made.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_drill_whose_terminal_is_gone_leaves_nothing() {
    for signal in [Signal::SIGHUP, Signal::SIGQUIT] {
        let bench = Bench::new();
        let mut drill = begun(&bench);
        kill(Pid::from_raw(i32::try_from(drill.id()).unwrap()), signal).unwrap();
        assert_eq!(drill.wait().unwrap().code(), Some(10), "{signal}");
        bench.is_clear();
    }
    // One can be ended whatever became of the configuration.
    let bench = Bench::new();
    fs::write(bench.config(), "nonsense").unwrap();
    let done = bench.run(&["abort"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("only the usual folders"), "{said}");
}

/// Asked to end in the middle: the next look finds nothing of it. Ends every drill of this user, so
/// that it has no place beside others.
#[test]
#[ignore = "see make test-drills"]
fn an_aborted_drill_leaves_nothing() {
    let bench = Bench::new();
    let mut drill = begun(&bench);
    let abort = bench.said(&["abort"]);
    assert!(abort.contains("Ended."), "{abort}");
    let status = drill.wait().unwrap();
    assert_eq!(status.code(), Some(10));
    bench.is_clear();
    assert!(bench.said(&["abort"]).contains("No drill ran."));
}

/// Waits for the drill's story, which comes before everything else, and leaves it.
fn read_the_briefing(screen: &mut Terminal) {
    screen.wait_for("This is a drill", LONG);
    screen.press("\x1b");
    // A key that comes right behind Esc would be one with Alt.
    screen.wait_until("the briefing to close", SOON, |text| !text.contains("This is a drill"));
    screen.wait_for("Select it and declare an", SOON);
}

/// Declares an incident in the participants' screens.
fn declare(screen: &mut Terminal) {
    screen.press("d");
    screen.wait_for("Declare an incident on shop", SOON);
    screen.press("Orders are missing\r");
    screen.wait_for("Say how bad it is.", SOON);
}

/// Participants and a game master, each in a terminal: what is released strikes, what is seen is
/// kept, the master's window can be killed, and nothing of it is in the participants' screens.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_game_master_leads_a_drill_from_a_window_of_their_own() {
    let bench = Bench::new();
    let none = bench.run(&["master"]);
    assert_eq!(none.status.code(), Some(3));
    let mut people = bench.terminal(&["corruption", "--facilitated", "--size", "24"]);
    read_the_briefing(&mut people);
    // Not without a terminal: a program releases nothing.
    assert_eq!(bench.run(&["master"]).status.code(), Some(2));
    let mut master = bench.terminal(&["master"]);
    let five_wait = |text: &str| text.matches("waiting").count() == 5;
    master.wait_until("the injects, none of them released", SOON, |text| {
        text.contains("GAME MASTER")
            && text.contains("rows of public.orders are gone")
            && text.contains("No incident is declared yet.")
            && five_wait(text)
    });

    // The last one of the list, the disk; no lets it wait.
    master.press("\x1b[F");
    master.wait_for("▸ ○ waiting             disk-too-small", SOON);
    master.press("r");
    master.wait_for("Release disk-too-small?", SOON);
    master.press("n");
    master.wait_until("it waits on", SOON, |text| {
        !text.contains("Release disk-too-small?") && five_wait(text)
    });
    master.press("r");
    master.wait_for("Release disk-too-small?", SOON);
    master.press("y");
    master.wait_for("! struck", SOON);
    master.press("o");
    master.wait_for("What do you see?", SOON);
    master.press("They read the report aloud\r");
    // Among the observations, with its time, and no longer in the field where it was typed.
    let noted = |text: &str| {
        text.lines().any(|line| {
            let time = line.trim_start().split_once(' ').filter(|(time, _)| time.contains(':'));
            time.is_some_and(|(_, text)| text.trim_end() == "They read the report aloud")
        })
    };
    master.wait_until("the observation", SOON, noted);
    let window = master.pid();
    master.kill();
    assert!(!pids_of(&bench.sandbox()).contains(&window), "the window is no part of the drill");

    // Attached again, all that went before is there.
    let mut master = bench.terminal(&["master"]);
    master.wait_until("what went before", SOON, |text| {
        noted(text) && text.contains("! struck") && text.matches("waiting").count() == 4
    });
    master.press("g");
    master.wait_for("Give this hint?", SOON);
    master.press("y");
    master.wait_for("1 to be told once there is an incident", SOON);
    assert!(people.text().contains("Select it and declare an"), "nothing is seen of it");

    // The hint waited for the incident; the disk is met when the proof is read.
    declare(&mut people);
    people.wait_for("Hint 1 of 7: Assessment", LONG);
    people.press("\x1b");
    let closed = |text: &str| !text.contains("Hint 1 of 7: Assessment");
    people.wait_until("the hint to close", SOON, closed);
    master.wait_for("hints 1 of 7", SOON);
    people.press("2");
    people.wait_for("CANNOT BE REACHED. Only 4 MB are free", LONG);
    master.press("\x1b[F");
    master.wait_for("u undoes it", SOON);
    master.press("u");
    master.wait_for("Undo disk-too-small?", SOON);
    master.press("y");
    master.wait_for("✓ cured", SOON);
    people.wait_for("Somebody calls", LONG);
    people.wait_for("The storage team: the volume has been enlarged.", SOON);
    for word in ["GAME MASTER", "disk-too-small", "They read"] {
        assert!(!people.text().contains(word), "{word}: {}", people.text());
    }

    people.press("\x1b");
    people.wait_until("the call to close", SOON, |text| !text.contains("Somebody calls"));

    // Left as it stands: scored by what was released, and kept with what was seen.
    people.press("q");
    people.wait_for("End the drill?", SOON);
    people.press("y");
    people.wait_for("recorded as drill 1", LONG);
    assert!(!people.wait_end(LONG), "a recovery that was not begun has not passed");
    master.wait_for("The drill is over.", LONG);
    assert!(master.wait_end(SOON));
    assert!(bench.said(&["history"]).contains("facilitated"));
    let evidence = bench.state().join("drills/drill-00001");
    let certificate = fs::read_to_string(evidence.join("certificate.md")).unwrap();
    assert!(certificate.contains(": They read the report aloud"), "{certificate}");
    assert!(certificate.contains("| key-denied | - | - | - |"), "{certificate}");
    assert!(certificate.contains("Hints used: 1."), "{certificate}");
    let disk = certificate.lines().find(|line| line.starts_with("| disk-too-small"));
    assert_eq!(disk.unwrap().matches(':').count(), 6, "three times of day: {certificate}");
    bench.is_clear();
}

/// Over a dialog with half a note in it, and with its runner killed.
#[test]
#[ignore = "heavy: see make test-drills"]
fn one_key_and_a_yes_end_a_drill_from_anywhere() {
    let bench = Bench::new();
    let mut people = bench.terminal(&["corruption", "--size", "24"]);
    read_the_briefing(&mut people);
    declare(&mut people);
    people.press("a");
    people.wait_for("It is written into the journal", SOON);
    people.press("half a no");
    for pid in runners_of(&bench.sandbox()) {
        // One that ended meanwhile is as good.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    people.press("\x18");
    people.wait_for("Abort the drill?", SOON);
    people.press("n");
    people.wait_until("back in the note", SOON, |text| {
        !text.contains("Abort the drill?") && text.contains("half a no")
    });
    people.press("\x18");
    people.wait_for("Abort the drill?", SOON);
    people.press("y");
    people.wait_for("The sandbox is gone", LONG);
    people.wait_for("aborted from its screens", SOON);
    assert!(!people.wait_end(SOON));
    assert_eq!(aborted(&bench, "live"), "The drill was aborted from its screens.");
    bench.is_clear();
}

/// Why the one drill in the record was ended; it has not passed.
#[track_caller]
fn aborted(bench: &Bench, mode: &str) -> String {
    let history = bench.said(&["history", "--json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let drills = history["drills"].as_array().unwrap();
    assert_eq!(drills.len(), 1, "{history:#}");
    let one = &drills[0]["entry"];
    let one = if one.is_null() { &drills[0] } else { one };
    assert_eq!((&one["outcome"], &one["mode"]), (&"ABORTED".into(), &mode.into()), "{one:#}");
    assert!(one["incident"].as_str().unwrap().starts_with("INC-"), "{one:#}");
    assert!(one["journal"].is_string(), "the journal is kept: {one:#}");
    one["reasons"][0].as_str().unwrap().to_owned()
}

/// By a user who is not root, to whom the server belongs too; ended by the game master, and kept in
/// the record as every drill that is ended.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_plain_user_holds_one_with_a_game_master_who_ends_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: only root can start a drill as another user");
        return;
    }
    let bench = Bench::new();
    let plain = lifeboat::engine::postgres::discovery::Owner::named("nobody").unwrap();
    let program = bench.0.path().join("lifeboat");
    fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &program).unwrap();
    for path in [bench.boxes(), bench.state()] {
        std::os::unix::fs::chown(path, Some(plain.uid), Some(plain.gid)).unwrap();
    }
    let home = bench.state();
    let (user, group) = (format!("--reuid={}", plain.uid), format!("--regid={}", plain.gid));
    let config = bench.config();
    let begin = |arguments: &[&str]| {
        let as_plain = [user.as_str(), &group, "--clear-groups", program.to_str().unwrap()];
        let drill = ["--config", config.to_str().unwrap(), "drill"];
        let all = [&as_plain[..], &drill, arguments].concat();
        let home = [("HOME", home.to_str().unwrap())];
        Terminal::start(Path::new("setpriv"), &all, &home, (80, 24))
    };
    let mut people = begin(&["corruption", "--facilitated", "--size", "24"]);
    read_the_briefing(&mut people);
    let mut master = begin(&["master"]);
    master.wait_for("GAME MASTER", SOON);
    master.press("\x1b[F");
    master.wait_for("▸ ○ waiting             disk-too-small", SOON);
    master.press("r");
    master.wait_for("Release disk-too-small?", SOON);
    master.press("y");
    master.wait_for("! struck", SOON);
    master.press("o");
    master.wait_for("What do you see?", SOON);
    master.press("Nobody asks why\r");
    declare(&mut people);
    people.press("2");
    people.wait_for("CANNOT BE REACHED. Only 4 MB are free", LONG);
    master.press("\x18");
    master.wait_for("Abort the drill?", SOON);
    master.press("y");
    people.wait_for("recorded as drill 1", LONG);
    assert!(!people.wait_end(LONG));
    master.wait_until("its end", LONG, |text| text.contains("Nobody asks why"));
    assert!(master.wait_end(LONG));
    assert!(aborted(&bench, "facilitated").contains("game master"));
    let evidence = bench.state().join("drills/drill-00001");
    let certificate = fs::read_to_string(evidence.join("certificate.md")).unwrap();
    assert!(certificate.contains("**ABORTED**") && certificate.contains(": Nobody asks why"));
    assert!(certificate.contains("| disk-too-small | "), "{certificate}");
    assert!(evidence.join("journal.jsonl").exists());
    bench.is_clear();
}

/// Killed in the middle: the next start clears what is left, processes, folders and key.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_killed_drill_is_cleared_by_the_next_start() {
    let bench = Bench::new();
    let mut drill = begun(&bench);
    drill.kill().unwrap();
    drill.wait().unwrap();
    let left = bench.sandbox();
    assert!(left.join("keys/master").exists() && !pids_of(&left).is_empty());
    let abort = bench.said(&["abort"]);
    assert!(abort.contains("Cleared away: "), "{abort}");
    for part in ["No process", "folders are gone", "No socket or port", "keys and passwords"] {
        let told = abort.lines().any(|line| line.contains(part) && line.contains(": VERIFIED"));
        assert!(told, "{part}: {abort}");
    }
    bench.is_clear();
}

/// Held to one processor, it and its server with it.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_drill_takes_no_more_processors_than_it_may() {
    let bench = Bench::new();
    let mut drill = begun_with(&bench, &["--cpu-limit", "1"]);
    let file = bench.sandbox().join("cluster/data/postmaster.pid");
    let mut server = 0_i32;
    until("the server's number", 60, || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        server = text.lines().next().and_then(|line| line.parse().ok()).unwrap_or_default();
        server > 0
    });
    let of = |file: &str| fs::read_to_string(format!("/proc/{server}/{file}")).unwrap();
    let status = of("status");
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let one = !allowed.contains(['-', ',']);
    assert!(one || of("cgroup").contains("lifeboat-drill-"), "{allowed}");
    bench.said(&["abort"]);
    assert_eq!(drill.wait().unwrap().code(), Some(10));
    bench.is_clear();
}

/// A drill whose sandbox has a server with a backup on its way.
fn begun(bench: &Bench) -> Child {
    begun_with(bench, &[])
}

fn begun_with(bench: &Bench, more: &[&str]) -> Child {
    let arguments = [&["corruption", "--auto", "--json", "--size", "24"], more].concat();
    let child =
        bench.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let serves = || {
        let boxes = fs::read_dir(bench.boxes()).unwrap().flatten();
        boxes.map(|entry| entry.path()).any(|root| {
            root.join("repository/lifeboat-repository.json").exists()
                && root.join("cluster/data/postmaster.pid").exists()
        })
    };
    until("the sandbox's server", 60, serves);
    child
}

#[test]
#[ignore = "heavy: see make test-drills"]
fn every_scenario_is_verified() {
    let bench = Bench::new();
    for one in scenario::list(None) {
        let outcome = bench.held(&one.name, &[]);
        let rto = outcome["rto_seconds"].as_f64().unwrap();
        assert!(rto <= outcome["rto_target_seconds"].as_f64().unwrap(), "{outcome:#}");
        eprintln!("{}: RTO {rto:.1} s, RPO {}", one.name, outcome["rpo_seconds"]);
    }
}

/// The line counts: the same transfer takes longer over a slower one.
#[test]
#[ignore = "heavy: see make test-drills"]
fn the_line_to_the_far_repository_has_the_speed_that_was_set() {
    let bench = Bench::new();
    let rto = |speed: &str, latency: &str| {
        let line = ["--link-speed", speed, "--link-latency", latency];
        bench.held("cross-region", &line)["rto_seconds"].as_f64().unwrap()
    };
    let (fast, slow) = (rto("1000", "0"), rto("0.5", "50"));
    assert!(slow > fast + 5.0, "{fast} s and {slow} s");
}

#[test]
#[ignore = "heavy: see make test-drills"]
fn every_inject_alone_ends_as_its_file_says() {
    let bench = Bench::new();
    for inject in inject::all() {
        alone(&bench, &inject);
    }
}

fn alone(bench: &Bench, inject: &Inject) {
    for scenario in ["corruption", "complete-loss"] {
        if !inject.fits(&scenario::load(scenario).unwrap().incident) {
            continue;
        }
        let outcome = bench.held(scenario, &["--inject", &inject.name]);
        assert_eq!(outcome["ended"], inject.expected.word(), "{scenario}: {outcome:#}");
        assert_eq!(outcome["injects"], serde_json::json!([inject.name]));
        if inject.strikes == inject::When::Report {
            // It was believed, contradicted by what was found, and dropped.
            let check = format!("drill-report:{}", inject.name);
            assert_eq!(verdict(&outcome, &check), "VERIFIED", "{scenario}: {outcome:#}");
        }
    }
}

/// Two at once: each is met where it is alone, and each is undone for itself.
#[test]
#[ignore = "heavy: see make test-drills"]
fn pairs_of_injects_end_as_their_files_say() {
    let bench = Bench::new();
    for (scenario, [one, other]) in [
        ("corruption", ["commander-absent", "key-denied"]),
        ("corruption", ["key-denied", "repository-down"]),
        ("corruption", ["misleading-names", "commander-absent"]),
        ("corruption", ["archive-gap", "disk-too-small"]),
        ("complete-loss", ["commander-absent", "disk-too-small"]),
        ("complete-loss", ["damaged-backup", "server-wont-start"]),
    ] {
        let outcome = bench.held(scenario, &["--inject", one, "--inject", other]);
        let refused = [one, other]
            .iter()
            .any(|name| inject::load(name).unwrap().expected == scenario::Expected::Refused);
        let expected = if refused { "refused" } else { "recovered" };
        assert_eq!(outcome["ended"], expected, "{scenario}: {one} with {other}: {outcome:#}");
        assert_eq!(outcome["injects"], serde_json::json!([one, other]));
    }
}

/// Whatever looks at its incident goes by the targets of the file, and not by the tier's.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_teams_own_scenario_is_measured_by_its_own_targets() {
    let bench = Bench::new();
    let folder = bench.0.path().join("scenarios");
    fs::create_dir(&folder).unwrap();
    let own = include_str!("../assets/scenarios/corruption.toml")
        .replace("name = \"corruption\"", "name = \"monday\"")
        .replace("title = \"Recent data corruption\"", "title = \"Monday\"")
        .replace("rpo_seconds = 300", "rpo_seconds = 222")
        .replace("rto_seconds = 900", "rto_seconds = 444");
    fs::write(folder.join("monday.toml"), own).unwrap();
    let outcome = bench.held("monday", &[]);
    assert_eq!(outcome["rto_target_seconds"], 444.0);
    let evidence = bench.state().join("drills/drill-00001");
    let id = outcome["incident"].as_str().unwrap();
    let report = fs::read_to_string(evidence.join(format!("{id}.json"))).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    for (figure, target) in [("rpo", 222), ("rto", 444)] {
        let against = report[figure]["against"].as_array().unwrap();
        let ours = against.iter().find(|one| one["what"] == "scenario Monday");
        let ours = ours.unwrap_or_else(|| panic!("{figure}: {against:#?}"));
        assert_eq!(ours["target_seconds"], target, "{figure}");
        assert_eq!(ours["met"], true, "{figure}");
    }
}

/// By each of the signals, at another moment: it is kept as ABORTED with its journal, and is gone.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_drill_that_a_signal_ends_is_kept_as_aborted() {
    use nix::sys::signal::Signal;
    for (signal, moment) in [
        (Signal::SIGTERM, "Recovery point"),
        (Signal::SIGINT, "Recovery\n"),
        (Signal::SIGHUP, "Comparing what is there"),
    ] {
        let bench = Bench::new();
        let [told, said] = ["told", "said"].map(|name| bench.0.path().join(name));
        let mut drill = bench
            .command(&["corruption", "--auto", "--json", "--size", "24"])
            .stdout(fs::File::create(&said).unwrap())
            .stderr(fs::File::create(&told).unwrap())
            .spawn()
            .unwrap();
        until(moment, LONG.as_secs(), || {
            fs::read_to_string(&told).unwrap_or_default().contains(moment)
        });
        let pid = nix::unistd::Pid::from_raw(i32::try_from(drill.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let status = drill.wait().unwrap();
        let error = fs::read_to_string(&told).unwrap();
        assert_eq!(status.code(), Some(10), "{signal}: {error}");
        let why = format!("The drill was ended from outside, by {signal}.");
        assert!(error.contains(&why), "{error}");
        let outcome: Value =
            serde_json::from_str(&fs::read_to_string(&said).unwrap()).expect("one JSON object");
        assert_eq!(
            (&outcome["outcome"], &outcome["ended"]),
            (&"ABORTED".into(), &"neither".into())
        );
        for check in outcome["teardown"].as_array().unwrap() {
            assert_eq!(check["verdict"], "VERIFIED", "{signal}: {check:#}");
        }
        assert_eq!(outcome["teardown"].as_array().unwrap().len(), 4, "{outcome:#}");
        assert_eq!(aborted(&bench, "auto"), why);
        let evidence = bench.state().join("drills/drill-00001");
        let certificate = fs::read_to_string(evidence.join("certificate.md")).unwrap();
        assert!(certificate.contains("**ABORTED**"), "{certificate}");
        let journal = fs::read_to_string(evidence.join("journal.jsonl")).unwrap();
        assert!(journal.contains("incident_declared"), "{journal}");
        bench.is_clear();
    }
}

/// Refused with the true reason, and nothing was touched.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_gap_in_the_archive_is_refused_and_nothing_is_touched() {
    let bench = Bench::new();
    let outcome = bench.held("corruption", &["--inject", "archive-gap"]);
    assert_eq!(outcome["ended"], "refused");
    let refusal = outcome["refusal"].as_str().unwrap();
    assert!(refusal.contains("is missing") && refusal.contains("can be reached"), "{refusal}");
    assert_eq!(verdict(&outcome, "drill-no-step"), "VERIFIED");
    assert_eq!(verdict(&outcome, "drill-untouched:public.customers"), "VERIFIED");
}

/// Nobody looked at a point: nothing was refused, and nothing is proven.
#[test]
#[ignore = "heavy: see make test-drills"]
fn declaring_and_leaving_is_no_refusal() {
    let bench = Bench::new();
    let gap = ["corruption", "--inject", "archive-gap", "--size", "24"];
    let mut people = bench.terminal(&gap);
    read_the_briefing(&mut people);
    declare(&mut people);
    assert!(!leave(&mut people, 1), "nothing was refused");
    let left = the_last(&bench);
    assert_eq!((&left["outcome"], &left["ended"]), (&"FAILED".into(), &"neither".into()));
    assert_eq!(left["card"]["hypothesis_held"], false, "{left:#}");
    let reasons = left["reasons"].to_string();
    assert!(reasons.contains("nobody met the refusal"), "{reasons}");

    // The same drill, and somebody looks: the archive's own word is in the journal.
    let mut people = bench.terminal(&gap);
    read_the_briefing(&mut people);
    declare(&mut people);
    people.press("2");
    people.wait_for("CANNOT BE REACHED", LONG);
    assert!(leave(&mut people, 2), "it was refused, and nothing was touched");
    let refused = the_last(&bench);
    assert_eq!((&refused["outcome"], &refused["ended"]), (&"VERIFIED".into(), &"refused".into()));
    assert_eq!(refused["card"]["hypothesis_held"], Value::Null, "it was not put to the test");
    bench.is_clear();
}

/// Ends the drill as it stands; gives whether it passed.
fn leave(people: &mut Terminal, number: u32) -> bool {
    people.press("q");
    people.wait_for("End the drill?", SOON);
    people.press("y");
    people.wait_for(&format!("recorded as drill {number}"), LONG);
    people.wait_end(LONG)
}

/// The newest drill of the record.
#[track_caller]
fn the_last(bench: &Bench) -> Value {
    let history: Value = serde_json::from_str(&bench.said(&["history", "--json"])).unwrap();
    let last = history["drills"].as_array().unwrap().last().unwrap();
    if last["entry"].is_null() { last.clone() } else { last["entry"].clone() }
}

/// Whatever became of the screens, what is told behind them stands in lines, on a terminal that is
/// the person's again.
#[test]
#[ignore = "heavy: see make test-drills"]
fn screens_that_are_killed_leave_a_terminal_that_can_be_read() {
    let bench = Bench::new();
    let mut people = bench.terminal(&["corruption", "--size", "24"]);
    read_the_briefing(&mut people);
    let is_screens = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("\0screens\0")
    };
    let screens = pids_of(&bench.sandbox()).into_iter().find(is_screens).unwrap();
    kill(Pid::from_raw(screens), Signal::SIGKILL).unwrap();
    people.wait_for("No incident was declared", LONG);
    people.wait_end(LONG);
    let told = people.text();
    assert!(told.lines().any(|line| line.starts_with("The sandbox is gone")), "{told}");
    bench.is_clear();
}

/// A team's own accidents: one that spoils old rows, which have to come back as they were, and one
/// that does nothing, which cannot be recovered from.
#[test]
#[ignore = "heavy: see make test-drills"]
fn an_accident_of_ones_own_is_judged_by_what_it_did() {
    let bench = Bench::new();
    let own = bench.0.path().join("scenarios");
    fs::create_dir(&own).unwrap();
    let usual = include_str!("../assets/scenarios/table-loss.toml");
    let write = |name: &str, statement: &str| {
        let text = usual
            .replace("name = \"table-loss\"", &format!("name = \"{name}\""))
            .replace("TRUNCATE public.audit_log", statement);
        fs::write(own.join(format!("{name}.toml")), text).unwrap();
    };
    write(
        "spoiled",
        "UPDATE public.audit_log SET actor = 'nobody' WHERE created_at < now() - interval '2 hours'",
    );
    write("harmless", "DELETE FROM public.audit_log WHERE actor = 'no such'");
    let outcome = bench.held("spoiled", &[]);
    assert_eq!(outcome["rows_deleted"], 0, "{outcome:#}");
    for table in ["customers", "orders", "audit_log"] {
        assert_eq!(verdict(&outcome, &format!("drill-rows:public.{table}")), "VERIFIED");
    }
    let done = bench.run(&["harmless", "--auto", "--json", "--size", "24"]);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "{error}");
    assert!(error.contains("changed nothing in public.audit_log"), "{error}");
    bench.is_clear();
}

/// More than it may take: it ends itself.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_drill_over_its_limit_ends_itself() {
    let bench = Bench::new();
    let small = ["corruption", "--auto", "--size", "24", "--disk-limit", "20"];
    let done = bench.run(&small);
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(10), "{error}");
    assert!(error.contains("it may take 20"), "{error}");
    bench.is_clear();
}

/// A throwaway cluster as a configured one: what is there is found, what was never done is missed.
#[test]
#[ignore = "heavy: see make test-drills"]
fn readiness_tells_what_is_there_and_what_was_never_done() {
    let bench = Bench::new();
    let options = Options {
        size_mb: 8,
        directory: Some(bench.boxes()),
        keep: None,
        seed: 3,
        programs: None,
        user: None,
        lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
    };
    let sandbox = Sandbox::create(&options, &Sandbox::make_repository, &|_| {}).unwrap();
    sandbox.back_up().unwrap();
    let page = || -> Value {
        let done = Command::new(sandbox.program())
            .arg("--config")
            .arg(&sandbox.config().path)
            .args(["readiness", "--json"])
            .output()
            .unwrap();
        let pages: Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
        pages[0].clone()
    };
    let verdict = |page: &Value, id: &str| -> String {
        let reasons = page["reasons"].as_array().unwrap();
        let found = reasons.iter().find(|reason| reason["id"] == id).unwrap();
        found["verdict"].as_str().unwrap().to_owned()
    };
    let told = page();
    for id in ["backup", "keys", "wal", "versions", "space", "transfer"] {
        assert_eq!(verdict(&told, id), "VERIFIED", "{id}: {told:#}");
    }
    for id in ["drill", "scenarios", "tested"] {
        assert_eq!(verdict(&told, id), "NOT_RUN", "{id}: {told:#}");
    }
    sandbox.close().unwrap();
    bench.is_clear();
}
