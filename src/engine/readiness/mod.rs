//! Readiness: what a recovery that begins now would meet. Owns the questions, their weights and
//! the score, as rules on values; [`gather`] asks. A question that could not be answered counts as
//! one that was answered badly: nothing is ready by not being known.

pub mod gather;

use crate::engine::incident::facts::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A drill that passed longer ago proves nothing of today.
pub const FRESH_DAYS: i64 = 90;

/// What is known of a cluster. Bytes and seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub rto_seconds: u64,
    pub newest_backup: Option<Timestamp>,
    /// Why the newest backup is older than its tier allows, where it is.
    pub alarms: Vec<String>,
    /// The server's programs here and the backup's version, where they differ or cannot be told.
    pub versions: Option<Result<(), String>>,
    pub repositories: Vec<Repository>,
    /// Room for a restore: free and needed.
    pub space: Option<(u64, u64)>,
    /// Drills of the record, newest first.
    pub drills: Vec<Drilled>,
    /// Why the record of drills could not be read.
    pub record_unreadable: Option<String>,
    /// Every scenario that there is.
    pub scenarios: Vec<String>,
    /// Findings whose day of testing again has come.
    pub due_findings: usize,
}

/// What a repository answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    pub name: String,
    /// The newest backup was opened with the keys at hand, and a part of it read at so many bytes a
    /// second, of so many stored; or why not.
    pub opened: Result<(u64, u64), String>,
    /// What is missing of its WAL; or why that is not known.
    pub gaps: Result<Vec<String>, String>,
    /// The last verification, and how many newer backups were never verified.
    pub verified: Option<(Verdict, usize)>,
}

/// A drill of the record that was led to its end; of another cluster's backups it says nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    pub scenario: String,
    pub at: Timestamp,
    pub passed: bool,
    /// Held on a copy of this cluster's backups; on a throwaway cluster where not.
    pub on_copy: bool,
}

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    pub cluster: String,
    pub at: Timestamp,
    /// From 0 to 100: the weights of what was verified, of all.
    pub score: u8,
    /// The heaviest that is not verified comes first.
    pub reasons: Vec<Reason>,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub id: String,
    pub title: String,
    pub verdict: Verdict,
    pub text: String,
    pub weight: u8,
}

/// Judges what is known.
#[must_use]
pub fn judge(cluster: &str, facts: &Facts, now: Timestamp) -> Readiness {
    let mut reasons = vec![
        backup(facts, now),
        keys(facts),
        wal(facts),
        versions(facts),
        space(facts),
        transfer(facts),
        copies(facts),
        tested(facts),
        drill(facts, now),
        scenarios(facts, now),
        findings(facts),
    ];
    let all: u32 = reasons.iter().map(|reason| u32::from(reason.weight)).sum();
    let good: u32 = reasons
        .iter()
        .filter(|reason| reason.verdict == Verdict::Verified)
        .map(|reason| u32::from(reason.weight))
        .sum();
    reasons.sort_by_key(|reason| {
        (reason.verdict == Verdict::Verified, std::cmp::Reverse(reason.weight))
    });
    let score = (good * 100).checked_div(all).unwrap_or(0);
    let score = u8::try_from(score).unwrap_or(100);
    Readiness { cluster: cluster.to_owned(), at: now, score, reasons }
}

fn reason(id: &str, title: &str, weight: u8, verdict: Verdict, text: impl Into<String>) -> Reason {
    let (id, title) = (id.to_owned(), title.to_owned());
    Reason { id, title, verdict, text: text.into(), weight }
}

fn backup(facts: &Facts, now: Timestamp) -> Reason {
    let (verdict, text) = match facts.newest_backup {
        None => (Verdict::Failed, String::from("There is no backup that can be read.")),
        Some(_) if !facts.alarms.is_empty() => (Verdict::Failed, facts.alarms.join(" ")),
        Some(at) => {
            let hours = now.duration_since(at).as_hours();
            (Verdict::Verified, format!("The newest is {hours} hours old, as the tier allows."))
        }
    };
    reason("backup", "A backup as new as the tier asks", 20, verdict, text)
}

fn keys(facts: &Facts) -> Reason {
    let closed: Vec<String> = facts
        .repositories
        .iter()
        .filter_map(|one| Some(format!("\"{}\": {}", one.name, one.opened.as_ref().err()?)))
        .collect();
    let (verdict, text) = match (facts.repositories.is_empty(), closed.is_empty()) {
        (true, _) => (Verdict::Failed, String::from("No repository is configured.")),
        (false, false) => (Verdict::Failed, closed.join(" ")),
        (false, true) => {
            (Verdict::Verified, String::from("Every repository's newest backup opens now."))
        }
    };
    reason("keys", "The keys open the newest backups", 15, verdict, text)
}

fn wal(facts: &Facts) -> Reason {
    let (mut gaps, mut unknown) = (Vec::new(), Vec::new());
    for one in &facts.repositories {
        match &one.gaps {
            Ok(found) => gaps.extend(found.iter().map(|gap| format!("\"{}\": {gap}", one.name))),
            Err(why) => unknown.push(format!("\"{}\": {why}", one.name)),
        }
    }
    let (verdict, text) = if facts.repositories.is_empty() {
        (Verdict::CouldNotVerify, String::from("There is no archive."))
    } else if !gaps.is_empty() {
        (Verdict::Failed, gaps.join(" "))
    } else if !unknown.is_empty() {
        (Verdict::CouldNotVerify, unknown.join(" "))
    } else {
        (Verdict::Verified, String::from("No WAL file is missing."))
    };
    reason("wal", "The archive has no gap", 10, verdict, text)
}

fn versions(facts: &Facts) -> Reason {
    let (verdict, text) = match &facts.versions {
        None => (Verdict::CouldNotVerify, String::from("Without a backup nothing compares.")),
        Some(Ok(())) => {
            (Verdict::Verified, String::from("The server's programs here fit the backup."))
        }
        Some(Err(why)) => (Verdict::Failed, why.clone()),
    };
    reason("versions", "The versions match", 10, verdict, text)
}

fn space(facts: &Facts) -> Reason {
    let mega = |bytes: u64| bytes / 1_000_000;
    let (verdict, text) = match facts.space {
        None => (Verdict::CouldNotVerify, String::from("Free or needed space is not known.")),
        Some((free, needed)) => (
            if free >= needed { Verdict::Verified } else { Verdict::Failed },
            format!("{} MB are free, a restore needs {} MB.", mega(free), mega(needed)),
        ),
    };
    reason("space", "There is room for a restore", 10, verdict, text)
}

fn transfer(facts: &Facts) -> Reason {
    let measured = facts.repositories.iter().filter_map(|one| {
        let (rate, stored) = *one.opened.as_ref().ok()?;
        (rate > 0).then(|| (stored.div_ceil(rate), rate, &one.name))
    });
    let (verdict, text) = match measured.min() {
        None => (Verdict::CouldNotVerify, String::from("No bandwidth could be measured.")),
        Some((seconds, rate, name)) => (
            if seconds <= facts.rto_seconds { Verdict::Verified } else { Verdict::Failed },
            format!(
                "\"{name}\" gives {} MB/s: {seconds} s for the newest backup, of {} s that the \
                 tier has for everything.",
                rate / 1_000_000,
                facts.rto_seconds
            ),
        ),
    };
    reason("transfer", "The transfer fits the tier's time", 5, verdict, text)
}

fn copies(facts: &Facts) -> Reason {
    let good = facts.repositories.iter().filter(|one| one.opened.is_ok()).count();
    let verdict = if good > 1 { Verdict::Verified } else { Verdict::Failed };
    let text = format!("{good} repositories hold the newest backup and answer.");
    reason("copies", "There is a second copy", 5, verdict, text)
}

fn tested(facts: &Facts) -> Reason {
    let mut bad = Vec::new();
    for one in &facts.repositories {
        match &one.verified {
            None => bad.push(format!("\"{}\" was never verified.", one.name)),
            Some((verdict, _)) if *verdict != Verdict::Verified => {
                bad.push(format!("\"{}\" is {}.", one.name, verdict.word()));
            }
            Some((_, newer)) if *newer > 0 => {
                bad.push(format!("\"{}\" has {newer} backups that were not verified.", one.name));
            }
            Some(_) => {}
        }
    }
    let (verdict, text) = match (facts.repositories.is_empty(), bad.is_empty()) {
        (true, _) => (Verdict::NotRun, String::from("There is nothing to verify.")),
        (_, false) => (Verdict::NotRun, bad.join(" ")),
        (_, true) => (Verdict::Verified, String::from("Every copy was read whole.")),
    };
    reason("tested", "Every copy was verified", 10, verdict, text)
}

fn drill(facts: &Facts, now: Timestamp) -> Reason {
    let title = "A drill passed lately";
    if let Some(why) = &facts.record_unreadable {
        return reason("drill", title, 10, Verdict::CouldNotVerify, why.clone());
    }
    let days = |drill: &Drilled| now.duration_since(drill.at).as_hours() / 24;
    let passed = facts.drills.iter().find(|drill| drill.passed);
    let (verdict, text) = match (facts.drills.first(), passed) {
        (_, None) => (Verdict::NotRun, String::from("No drill that passed is recorded.")),
        (Some(newest), Some(passed)) if !newest.passed => (
            Verdict::Failed,
            format!(
                "The newest, {}, did not pass {} days ago; before it {} passed {} days ago.",
                newest.scenario,
                days(newest),
                passed.scenario,
                days(passed)
            ),
        ),
        (_, Some(drill)) => {
            let ground = match drill.on_copy {
                true => "on a copy of its backups",
                false => "on a throwaway cluster",
            };
            let copy = facts.drills.iter().any(|one| one.on_copy && one.passed && fresh(one, now));
            let none = if copy { "" } else { " None on a copy of its backups passed lately." };
            (
                if fresh(drill, now) { Verdict::Verified } else { Verdict::NotRun },
                format!("{} passed {} days ago, {ground}.{none}", drill.scenario, days(drill)),
            )
        }
    };
    reason("drill", title, 10, verdict, text)
}

fn scenarios(facts: &Facts, now: Timestamp) -> Reason {
    let title = "Every scenario was tested";
    if let Some(why) = &facts.record_unreadable {
        return reason("scenarios", title, 5, Verdict::CouldNotVerify, why.clone());
    }
    // The newest of each counts: one that did not pass since is not tested.
    let newest = |name: &str| facts.drills.iter().find(|drill| drill.scenario == name);
    let tested = |name: &str| newest(name).is_some_and(|drill| drill.passed && fresh(drill, now));
    let untested: Vec<&str> =
        facts.scenarios.iter().filter(|name| !tested(name)).map(String::as_str).collect();
    let (verdict, text) = if untested.is_empty() {
        (Verdict::Verified, format!("All passed within {FRESH_DAYS} days."))
    } else {
        let text = format!("Not passed within {FRESH_DAYS} days: {}.", untested.join(", "));
        (Verdict::NotRun, text)
    };
    reason("scenarios", title, 5, verdict, text)
}

fn findings(facts: &Facts) -> Reason {
    let (verdict, text) = match (&facts.record_unreadable, facts.due_findings) {
        (Some(why), _) => (Verdict::CouldNotVerify, why.clone()),
        (_, 0) => (Verdict::Verified, String::from("None is due.")),
        (_, due) => (Verdict::Failed, format!("{due} findings were to be tested again by today.")),
    };
    reason("findings", "Findings of drills were tested again", 5, verdict, text)
}

fn fresh(drill: &Drilled, now: Timestamp) -> bool {
    now.duration_since(drill.at) <= SignedDuration::from_hours(24 * FRESH_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn drilled(scenario: &str, days: i64, passed: bool) -> Drilled {
        let at = now() - SignedDuration::from_hours(24 * days);
        Drilled { scenario: scenario.to_owned(), at, passed, on_copy: false }
    }

    fn ready() -> Facts {
        let repository = |name: &str| Repository {
            name: name.to_owned(),
            opened: Ok((100_000_000, 1_000_000_000)),
            gaps: Ok(Vec::new()),
            verified: Some((Verdict::Verified, 0)),
        };
        Facts {
            rto_seconds: 900,
            newest_backup: Some(now() - SignedDuration::from_hours(3)),
            alarms: Vec::new(),
            versions: Some(Ok(())),
            repositories: vec![repository("near"), repository("far")],
            space: Some((10, 5)),
            drills: vec![drilled("corruption", 5, true)],
            record_unreadable: None,
            scenarios: vec![String::from("corruption")],
            due_findings: 0,
        }
    }

    fn not_verified(facts: &Facts) -> Vec<String> {
        let judged = judge("shop", facts, now());
        let bad = judged.reasons.iter().filter(|r| r.verdict != Verdict::Verified);
        bad.map(|reason| reason.id.clone()).collect()
    }

    #[test]
    fn all_good_is_a_hundred_and_nothing_known_is_next_to_nothing() {
        assert_eq!(judge("shop", &ready(), now()).score, 100);
        let nothing = judge("shop", &Facts::default(), now());
        assert!(nothing.score <= 10, "{nothing:#?}");
    }

    #[test]
    fn each_lack_is_named_by_its_reason() {
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = ready();
            change(&mut facts);
            not_verified(&facts)
        };
        assert_eq!(with(&|f| f.space = Some((5, 10))), ["space"]);
        assert_eq!(with(&|f| f.versions = Some(Err(String::from("14, not 15.")))), ["versions"]);
        assert_eq!(with(&|f| f.repositories[1].verified = None), ["tested"]);
        let gaps =
            |gaps: Result<Vec<String>, String>| with(&|f| f.repositories[0].gaps.clone_from(&gaps));
        assert_eq!(gaps(Ok(vec![String::from("x")])), ["wal"]);
        assert_eq!(gaps(Err(String::from("it could not be read"))), ["wal"], "unknown is no pass");
        assert_eq!(
            with(&|f| f.repositories[1].opened = Err(String::from("wrong key."))),
            ["keys", "copies"]
        );
        assert_eq!(with(&|f| f.due_findings = 1), ["findings"]);
        assert_eq!(with(&|f| f.rto_seconds = 9), ["transfer"]);
        let drills = |all: &[Drilled]| with(&|f| f.drills = all.to_vec());
        assert_eq!(drills(&[drilled("corruption", 91, true)]), ["drill", "scenarios"]);
        // One that did not pass since is not made good by one that passed before.
        let since = [drilled("corruption", 1, false), drilled("corruption", 5, true)];
        assert_eq!(drills(&since), ["drill", "scenarios"]);
        let other = [drilled("flood", 1, false), drilled("corruption", 5, true)];
        assert_eq!(drills(&other), ["drill"]);
        let unreadable = with(&|f| f.record_unreadable = Some(String::from("changed")));
        assert_eq!(unreadable, ["drill", "scenarios", "findings"]);
    }

    #[test]
    fn the_page_tells_what_the_newest_drill_was_held_on() {
        let said = |drills: Vec<Drilled>| {
            let facts = Facts { drills, ..ready() };
            drill(&facts, now()).text
        };
        let copy = Drilled { on_copy: true, ..drilled("corruption", 2, true) };
        let sandbox = drilled("corruption", 5, true);
        let told = said(vec![sandbox.clone()]);
        assert!(told.contains("on a throwaway cluster. None on a copy"), "{told}");
        let told = said(vec![copy.clone(), sandbox.clone()]);
        assert!(told.ends_with("2 days ago, on a copy of its backups."), "{told}");
        assert!(!said(vec![sandbox, copy]).contains("None on a copy"));
    }

    proptest! {
        /// Taking something good away never makes a cluster readier.
        #[test]
        fn less_is_never_more(lacks in proptest::collection::vec(0_usize..8, 0..8)) {
            let mut facts = ready();
            let mut before = judge("shop", &facts, now()).score;
            for lack in lacks {
                match lack {
                    0 => facts.newest_backup = None,
                    1 => facts.space = None,
                    2 => facts.versions = None,
                    3 => {
                        facts.record_unreadable = Some(String::from("unreadable"));
                        facts.drills.clear();
                    }
                    4 => facts.due_findings += 1,
                    5 => { facts.repositories.pop(); }
                    6 => facts.scenarios.push(String::from("flood")),
                    _ => facts.alarms.push(String::from("too old")),
                }
                let score = judge("shop", &facts, now()).score;
                prop_assert!(score <= before, "{lack}: {before} to {score}");
                before = score;
            }
        }
    }
}
