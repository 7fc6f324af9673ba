//! The journal's evidence: anchors in every repository and signatures of people, each way of
//! tampering named by the program and by a script in another language, and a repository that is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::audit::keeper;
use lifeboat::engine::audit::lines::hash;
use lifeboat::engine::config::{self, Config};
use lifeboat::engine::incident::approval::Given;
use lifeboat::engine::incident::event::{Declaration, Event};
use lifeboat::engine::incident::facts::{Actor, Role, SignOff, Tier, Topic};
use lifeboat::engine::incident::journal::{FILE, Journal};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::signature::{self, Found, Kept, Signed};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const INCIDENT: &str = "INC-20250113-001";
const NAMES: [&str; 2] = ["near", "far"];

struct Stage {
    home: tempfile::TempDir,
    config: Config,
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().display();
        let mut text = format!(
            "state_directory = \"{root}/state\"\n\
             [[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"production\"\n\
             data_directory = \"{root}/data\"\nrepositories = [\"near\", \"far\"]\n\
             [clusters.connection]\nhost = \"/run\"\n[clusters.control]\ndriver = \"pg_ctl\"\n"
        );
        for name in NAMES {
            text += &format!(
                "[[repositories]]\nname = \"{name}\"\n[repositories.store]\nkind = \"file\"\n\
                 path = \"{root}/{name}\"\n"
            );
        }
        text += &format!("[signatures]\nallowed_signers = \"{root}/allowed_signers\"\n");
        fs::write(home.path().join("lifeboat.toml"), text).unwrap();
        let config = config::load(Some(&home.path().join("lifeboat.toml"))).unwrap();
        for name in NAMES {
            Repository::create(config.repository(name).unwrap(), "shop").unwrap();
        }
        let stage = Self { home, config };
        fs::create_dir_all(stage.folder().parent().unwrap()).unwrap();
        stage.write_journal();
        stage
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("state/incidents").join(INCIDENT)
    }

    fn journal(&self) -> PathBuf {
        self.folder().join(FILE)
    }

    fn anchors(&self, name: &str) -> PathBuf {
        self.home.path().join(name).join("anchors").join(INCIDENT)
    }

    fn write_journal(&self) {
        let declared = Event::IncidentDeclared(Declaration {
            id: INCIDENT.to_owned(),
            cluster: String::from("shop"),
            tier: Tier::Standard,
            environment: String::from("production"),
            title: String::from("orders are gone"),
            identity: None,
            drill: None,
        });
        let mut events = vec![declared];
        events.extend((1..=5).map(note));
        events.push(Event::GatePassed { plan_hash: String::from("ab") });
        events.extend((6..=8).map(note));
        events.push(Event::RunFinished);
        events.push(Event::IncidentClosed { summary: String::from("the orders are back") });
        self.append(events);
    }

    fn append(&self, events: Vec<Event>) {
        let mut journal = Journal::open(&self.folder()).unwrap().journal;
        let anna = Actor { user: String::from("anna"), uid: 1000, role: Role::Commander };
        for event in events {
            journal.append(Timestamp::now(), &anna, event).unwrap();
        }
    }

    /// Puts what the repository lacks; whether it still lacks anything.
    fn bring(&self, name: &str, now: Timestamp, ending: bool) -> bool {
        let settings = self.config.repository(name).unwrap();
        keeper::bring(settings, "shop", &self.folder(), now, ending).unwrap()
    }

    fn bring_all(&self) {
        for name in NAMES {
            assert!(!self.bring(name, Timestamp::now(), true), "{name}");
        }
    }

    fn verify(&self) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .arg("--config")
            .arg(self.home.path().join("lifeboat.toml"))
            .args(["journal", "verify", INCIDENT, "--json"])
            .output()
            .unwrap();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| told(&output));
        (output.status.code().unwrap(), value)
    }

    /// The script's exit code and words; `None` where there is no Python here.
    fn script(&self) -> Option<(i32, String)> {
        let mut command = Command::new("python3");
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify_journal.py"))
            .arg(self.journal())
            .arg("--allowed-signers")
            .arg(self.home.path().join("allowed_signers"));
        for name in NAMES {
            command.arg("--anchors").arg(self.anchors(name));
        }
        let Ok(output) = command.output() else {
            eprintln!("NOT RUN: the independent script, since python3 is not there");
            return None;
        };
        let words = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.stderr.is_empty(), "{}", told(&output));
        Some((output.status.code().unwrap(), words))
    }
}

fn told(output: &Output) -> Value {
    Value::String(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn note(number: usize) -> Event {
    Event::NoteAdded { topic: Topic::Note, text: format!("note {number}") }
}

/// The lines with numbers and hashes made anew, so that the chain holds.
fn chained(lines: &[String]) -> Vec<String> {
    let mut prev = hash(b"");
    let renumbered = (1..).zip(lines).map(|(seq, line): (u64, _)| {
        let mut entry: Value = serde_json::from_str(line).unwrap();
        let was = entry["prev"].as_str().unwrap().to_owned();
        let old = format!("\"seq\":{}", entry["seq"]);
        let new = line.replacen(&old, &format!("\"seq\":{seq}"), 1).replace(&was, &prev);
        entry["seq"] = seq.into();
        prev = hash(new.as_bytes());
        new
    });
    renumbered.collect()
}

#[test]
fn each_way_of_tampering_is_named_by_the_program_and_by_the_script() {
    let stage = Stage::new();
    stage.bring_all();
    let sound = fs::read_to_string(stage.journal()).unwrap();
    let lines: Vec<String> = sound.lines().map(str::to_owned).collect();
    let (code, audit) = stage.verify();
    assert_eq!((code, &audit["verdict"]), (0, &"VERIFIED".into()), "{audit:#}");
    assert_eq!((&audit["covered"], &audit["entries"]), (&12.into(), &12.into()));
    if let Some((code, words)) = stage.script() {
        assert_eq!(code, 0, "{words}");
    }
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = lines.clone();
        change(&mut changed);
        changed
    };
    let edit = |at: usize| {
        move |lines: &mut Vec<String>| lines[at - 1] = lines[at - 1].replace("note", "rote")
    };
    let other: Vec<String> = lines.iter().map(|line| line.replace("anna", "eve")).collect();
    let cases: [(&str, u64, &str, Vec<String>); 11] = [
        ("an edit", 4, "edited", with(&edit(4))),
        ("an edit with a new chain", 4, "edited", chained(&with(&edit(4)))),
        (
            "an edit of the last line",
            12,
            "edited",
            with(&|l| l[11] = l[11].replace("back", "gone")),
        ),
        ("two swapped", 3, "reordered", with(&|l| l.swap(2, 3))),
        ("two swapped with a new chain", 3, "edited", chained(&with(&|l| l.swap(2, 3)))),
        ("one taken out", 5, "deleted", with(&|l| drop(l.remove(4)))),
        ("one taken out, a new chain", 5, "edited", chained(&with(&|l| drop(l.remove(4))))),
        ("one put in", 6, "inserted", with(&|l| l.insert(5, l[4].clone()))),
        ("the tail cut off", 8, "truncated", lines[..7].to_vec()),
        ("another journal", 1, "replaced", chained(&other)),
        ("nothing left", 1, "truncated", Vec::new()),
    ];
    for (name, entry, tampering, changed) in cases {
        let text: String = changed.iter().map(|line| format!("{line}\n")).collect();
        fs::write(stage.journal(), text).unwrap();
        let (code, audit) = stage.verify();
        assert_eq!(code, 4, "{name}: {audit:#}");
        assert_eq!(audit["wrong"]["entry"], entry, "{name}: {audit:#}");
        assert_eq!(audit["wrong"]["tampering"], tampering, "{name}: {audit:#}");
        if let Some((code, words)) = stage.script() {
            assert_eq!(code, 4, "{name}: {words}");
            assert!(words.contains(&format!("first wrong is entry {entry}:")), "{name}: {words}");
        }
        // Such a journal is not vouched for.
        let settings = stage.config.repository("near").unwrap();
        let brought = keeper::bring(settings, "shop", &stage.folder(), Timestamp::now(), true);
        assert!(brought.is_err() || brought == Ok(false), "{name}: {brought:?}");
    }
    fs::remove_file(stage.journal()).unwrap();
    let (code, audit) = stage.verify();
    assert_eq!((code, &audit["wrong"]["tampering"]), (4, &"missing".into()), "{audit:#}");
    assert!(stage.script().is_none_or(|(code, _)| code == 4));
    // The whole incident is gone, and the anchors still tell that it was there.
    fs::remove_dir_all(stage.folder()).unwrap();
    assert_eq!(stage.verify().0, 4);
    for name in NAMES {
        assert_eq!(fs::read_dir(stage.anchors(name)).unwrap().count(), 3, "{name}");
    }
}

#[test]
fn a_repository_that_is_away_is_owed_its_anchors_and_is_no_pass() {
    let stage = Stage::new();
    let (there, away) = (stage.home.path().join("far"), stage.home.path().join("away"));
    fs::rename(&there, &away).unwrap();
    let now = Timestamp::now();
    assert!(!stage.bring("near", now, true));
    assert!(stage.bring("far", now, false), "it is owed");
    let owed = keeper::progress(&stage.folder(), "far");
    assert_eq!((owed.done, owed.tries), (0, 1));
    assert!(owed.why.is_some() && owed.next > Some(now), "{owed:?}");
    let (code, audit) = stage.verify();
    assert_eq!((code, &audit["verdict"]), (12, &"COULD_NOT_VERIFY".into()), "{audit:#}");
    assert_eq!(audit["places"][0]["verdict"], "VERIFIED", "{audit:#}");
    assert_eq!(audit["places"][1]["verdict"], "COULD_NOT_VERIFY", "{audit:#}");
    assert!(stage.script().is_none_or(|(code, _)| code == 12));

    // Back again: what was owed comes, once, and only when its turn has come.
    fs::rename(&away, &there).unwrap();
    assert!(stage.bring("far", now, false), "not yet");
    let later = now + SignedDuration::from_secs(6);
    assert!(!stage.bring("far", later, false));
    assert_eq!(stage.verify().0, 0);
    let count = |name| fs::read_dir(stage.anchors(name)).unwrap().count();
    assert_eq!((count("near"), count("far")), (3, 3));
    assert!(!stage.bring("far", later, true));
    assert_eq!(count("far"), 3, "each anchor once");

    // What is written later is not covered until it is anchored, and nothing calls it verified.
    stage.append(vec![note(9)]);
    let (code, audit) = stage.verify();
    assert_eq!((code, &audit["covered"]), (12, &12.into()), "{audit:#}");
    assert!(stage.bring("near", later, false), "the head waits for its minute");
    keeper::bring_left(&stage.config);
    assert_eq!(stage.verify().0, 0);
}

#[test]
fn without_any_anchor_the_chain_alone_is_no_pass() {
    let stage = Stage::new();
    let (code, audit) = stage.verify();
    assert_eq!((code, &audit["chain"]), (12, &"VERIFIED".into()), "{audit:#}");
    assert!(audit["places"].as_array().unwrap().iter().all(|p| p["verdict"] == "NOT_RUN"));
}

/// A key pair of its own: the private key's path and the public line.
fn key(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public)
}

/// The text of those lines, signed now.
fn signed(key: &Path, namespace: &str, lines: &[String]) -> Signed {
    signature::sign(key, namespace, signature::text(lines, Timestamp::now())).unwrap()
}

#[test]
fn a_signature_that_is_forged_altered_or_somebody_elses_is_named_by_both() {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        eprintln!("NOT RUN: signing needs ssh-keygen");
        return;
    }
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let ((anna, anna_public), (bea, bea_public)) =
        (key(folder.path(), "anna"), key(folder.path(), "bea"));
    let (strange, _) = key(folder.path(), "strange");
    let list = format!("anna {anna_public}bea {bea_public}");
    fs::write(stage.home.path().join("allowed_signers"), list).unwrap();

    let plan = "c0ffee00c0ffee00";
    let approval = |plan: &str| signature::approval(INCIDENT, "shop", plan, "anna");
    let sign = SignOff {
        item: String::from("alerts-enabled"),
        done: true,
        // One line in what is signed, whatever was typed.
        evidence: String::from("seen: \"all\" is\ngreen \u{1}\t\u{e4}\u{1f600}"),
    };
    let sign_off = signature::sign_off(INCIDENT, &sign, "anna");
    let by = |approved: Signed, checked: Signed| {
        let when_taken = Found::NotChecked(String::from("in a test"));
        let kept = |signed| Kept { signed, when_taken: when_taken.clone() };
        fs::remove_file(stage.journal()).unwrap();
        stage.write_journal();
        stage.append(vec![
            Event::ApprovalGiven(Given {
                plan_hash: plan.to_owned(),
                until: Timestamp::now(),
                signed: Some(kept(approved)),
            }),
            Event::ChecklistSigned(sign.clone()),
            Event::SignOffSigned { item: sign.item.clone(), kept: kept(checked) },
        ]);
    };
    let approve = |key: &Path, plan: &str| signed(key, signature::APPROVAL, &approval(plan));
    let check = |key: &Path| signed(key, signature::CHECKLIST, &sign_off);
    // The entry that both name, how they end, and words that both use of it.
    let named = |name: &str, entry: u64, code: i32, words: &str| {
        let (ended, told) = stage.verify();
        let found = told["signatures"].as_array().map(|all| {
            let own = all.iter().find(|one| one["entry"] == entry).unwrap();
            assert_eq!(own["counts"], code == 0, "{name}: {own}");
            own["found"].as_str().unwrap().to_owned()
        });
        let told = found.unwrap_or_else(|| told.to_string());
        assert!(
            ended == if code == 0 { 12 } else { code } && told.contains(words),
            "{name}: {ended} {told}"
        );
        let Some((ended, told)) = stage.script() else { return };
        let verdict = match code {
            0 => "VERIFIED",
            4 => "FAILED",
            _ => "COULD NOT VERIFY",
        };
        let line = told.lines().find(|line| line.contains(&format!(": entry {entry},")));
        let line = line.unwrap_or_else(|| panic!("{name}: {told}"));
        assert!(line.starts_with(verdict) && line.contains(words), "{name}: {told}");
        assert_eq!(ended, if code == 0 { 12 } else { code }, "{name}: {told}");
    };

    by(approve(&anna, plan), check(&anna));
    named("good", 13, 0, "SHA256:");
    named("good", 15, 0, "SHA256:");
    let good: Vec<String> =
        fs::read_to_string(stage.journal()).unwrap().lines().map(str::to_owned).collect();

    by(approve(&anna, "another plan"), check(&anna));
    named("for another plan", 13, 4, "another text");
    by(approve(&bea, plan), check(&anna));
    named("by somebody else", 13, 4, "by the key of bea, not of anna");
    by(approve(&anna, plan), check(&strange));
    named("by nobody known", 15, 12, "SHA256:");
    by(approve(&anna, plan), signed(&anna, signature::APPROVAL, &sign_off));
    named("for another purpose", 15, 4, "");

    // Altered afterwards by somebody who makes the chain anew: no hash tells, the signature does.
    let altered = |name: &str, from: &str, to: &str, entries: &[usize], named_entry: u64| {
        let mut lines = good.clone();
        for at in entries {
            assert!(lines[at - 1].contains(from), "{name}: {}", lines[at - 1]);
            lines[at - 1] = lines[at - 1].replace(from, to);
        }
        let text: String = chained(&lines).iter().map(|line| format!("{line}\n")).collect();
        fs::write(stage.journal(), text).unwrap();
        named(name, named_entry, 4, "");
    };
    altered("another plan", plan, "deadbeefdeadbeef", &[13], 13);
    altered("other evidence", "green", "red", &[14], 15);
    altered("other evidence, text and all", "green", "red", &[14, 15], 15);
    altered("another line", "alerts-enabled", "jobs", &[14, 15], 15);
    altered("another person", "\"user\":\"anna\"", "\"user\":\"bea\"", &[13], 13);
    altered("another person, text and all", "anna", "bea", &[13], 13);
}
