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
    /// Room for a restore: free and needed, of each place that a restore may go to.
    pub space: Vec<(u64, u64)>,
    /// Drills of the record, newest first: those of other clusters and of sandboxes too.
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
    pub gaps: Vec<String>,
    /// Why nothing can be said of gaps, where nothing can.
    pub unread: Option<String>,
    /// The last verification, and how many newer backups were never verified.
    pub verified: Option<(Verdict, usize)>,
}

/// A drill of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drilled {
    pub scenario: String,
    pub at: Timestamp,
    /// As the record has it: VERIFIED, FAILED, COULD NOT VERIFY or ABORTED.
    pub outcome: String,
    /// Whose backups it was held on a copy of; `None` in a sandbox of its own.
    pub cluster: Option<String>,
}

impl Drilled {
    fn passed(&self) -> bool {
        self.outcome == Verdict::Verified.word()
    }
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        drill(cluster, facts, now),
        scenarios(cluster, facts, now),
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
    let gaps: Vec<String> = facts
        .repositories
        .iter()
        .flat_map(|one| one.gaps.iter().map(move |gap| format!("\"{}\": {gap}", one.name)))
        .collect();
    let unread: Vec<String> = facts
        .repositories
        .iter()
        .filter_map(|one| Some(format!("\"{}\": {}", one.name, one.unread.as_ref()?)))
        .collect();
    let (verdict, text) = match (facts.repositories.is_empty(), gaps.is_empty(), unread.is_empty())
    {
        (true, ..) => (Verdict::CouldNotVerify, String::from("There is no archive.")),
        (_, false, _) => (Verdict::Failed, [gaps, unread].concat().join(" ")),
        (_, true, false) => (Verdict::CouldNotVerify, unread.join(" ")),
        (_, true, true) => (Verdict::Verified, String::from("No WAL file is missing.")),
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
    // The tightest place decides: which one a recovery will take is not known now.
    let tightest = facts.space.iter().min_by_key(|(free, needed)| (free >= needed, *free));
    let (verdict, text) = match tightest {
        None => (Verdict::CouldNotVerify, String::from("Free or needed space is not known.")),
        Some((free, needed)) => (
            if free >= needed { Verdict::Verified } else { Verdict::Failed },
            format!("{} MB are free, a restore needs {} MB.", mega(*free), mega(*needed)),
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

/// Drills on copies of this cluster's backups count; one in a sandbox says nothing of them.
fn drill(cluster: &str, facts: &Facts, now: Timestamp) -> Reason {
    let title = "A drill on a copy of it passed lately";
    if let Some(why) = &facts.record_unreadable {
        return reason("drill", title, 10, Verdict::CouldNotVerify, why.clone());
    }
    let mut own = facts.drills.iter().filter(|one| one.cluster.as_deref() == Some(cluster));
    // One that somebody ended early says nothing either way.
    let newest = own.clone().find(|one| one.outcome != "ABORTED");
    let passed = own.find(|one| one.passed());
    let told = |one: &Drilled| format!("{} {} {}", one.scenario, one.outcome, ago(one, now));
    let (verdict, mut text) = match (newest, passed) {
        (None, _) => (
            Verdict::NotRun,
            String::from(
                "None is recorded: lifeboat drill table-loss --auto --from-backup holds one.",
            ),
        ),
        (Some(one), _) if one.passed() => (
            if fresh(one, now) { Verdict::Verified } else { Verdict::NotRun },
            format!("{}.", told(one)),
        ),
        (Some(one), passed) => {
            let before =
                passed.map_or_else(String::new, |one| format!("; before that {}", told(one)));
            let verdict = if one.outcome == Verdict::CouldNotVerify.word() {
                Verdict::CouldNotVerify
            } else {
                Verdict::Failed
            };
            (verdict, format!("{}{before}.", told(one)))
        }
    };
    if let Some(one) = facts.drills.iter().find(|one| one.cluster.is_none()) {
        text.push_str(&format!(
            " In a sandbox, which proves nothing of its backups: {}.",
            told(one)
        ));
    }
    reason("drill", title, 10, verdict, text)
}

fn ago(one: &Drilled, now: Timestamp) -> String {
    match now.duration_since(one.at).as_hours() / 24 {
        0 => String::from("today"),
        1 => String::from("a day ago"),
        days => format!("{days} days ago"),
    }
}

fn scenarios(cluster: &str, facts: &Facts, now: Timestamp) -> Reason {
    let counts = |one: &Drilled, name: &str| {
        one.scenario == name
            && one.cluster.as_deref() == Some(cluster)
            && one.passed()
            && fresh(one, now)
    };
    let untested: Vec<&str> = facts
        .scenarios
        .iter()
        .filter(|name| !facts.drills.iter().any(|one| counts(one, name)))
        .map(String::as_str)
        .collect();
    let (verdict, text) = if let Some(why) = &facts.record_unreadable {
        (Verdict::CouldNotVerify, why.clone())
    } else if untested.is_empty() {
        (Verdict::Verified, format!("All passed on copies of it within {FRESH_DAYS} days."))
    } else {
        let text =
            format!("Not on a copy of it within {FRESH_DAYS} days: {}.", untested.join(", "));
        (Verdict::NotRun, text)
    };
    reason("scenarios", "Every scenario was tested", 5, verdict, text)
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

    fn drilled(scenario: &str, days: i64, outcome: &str) -> Drilled {
        let at = now() - SignedDuration::from_hours(24 * days);
        let (outcome, cluster) = (outcome.to_owned(), Some(String::from("shop")));
        Drilled { scenario: scenario.to_owned(), at, outcome, cluster }
    }

    fn ready() -> Facts {
        let repository = |name: &str| Repository {
            name: name.to_owned(),
            opened: Ok((100_000_000, 1_000_000_000)),
            gaps: Vec::new(),
            unread: None,
            verified: Some((Verdict::Verified, 0)),
        };
        Facts {
            rto_seconds: 900,
            newest_backup: Some(now() - SignedDuration::from_hours(3)),
            alarms: Vec::new(),
            versions: Some(Ok(())),
            repositories: vec![repository("near"), repository("far")],
            space: vec![(10, 5), (20, 5)],
            drills: vec![drilled("corruption", 5, "VERIFIED")],
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
        assert_eq!(with(&|f| f.space = vec![(50, 10), (5, 10)]), ["space"]);
        assert_eq!(with(&|f| f.versions = Some(Err(String::from("14, not 15.")))), ["versions"]);
        assert_eq!(with(&|f| f.repositories[1].verified = None), ["tested"]);
        assert_eq!(with(&|f| f.repositories[0].gaps.push(String::from("x"))), ["wal"]);
        assert_eq!(
            with(&|f| f.repositories[1].opened = Err(String::from("wrong key."))),
            ["keys", "copies"]
        );
        assert_eq!(with(&|f| f.due_findings = 1), ["findings"]);
        assert_eq!(with(&|f| f.rto_seconds = 9), ["transfer"]);
        let old = vec![drilled("corruption", 91, "VERIFIED")];
        assert_eq!(with(&|f| f.drills = old.clone()), ["drill", "scenarios"]);
    }

    fn of(facts: &Facts, id: &str) -> Reason {
        judge("shop", facts, now()).reasons.into_iter().find(|reason| reason.id == id).unwrap()
    }

    #[test]
    fn an_archive_that_was_not_read_has_not_been_found_whole() {
        let mut facts = ready();
        facts.repositories[1].unread = Some(String::from("It cannot be reached."));
        let told = of(&facts, "wal");
        assert_eq!(told.verdict, Verdict::CouldNotVerify);
        assert_eq!(told.text, "\"far\": It cannot be reached.");
        facts.repositories[0].gaps.push(String::from("a gap."));
        let told = of(&facts, "wal");
        assert_eq!(told.verdict, Verdict::Failed, "what is known to be bad is told as bad");
        assert!(told.text.contains("a gap.") && told.text.contains("reached"), "{}", told.text);
    }

    #[test]
    fn only_drills_on_copies_of_the_cluster_count_and_the_newest_decides() {
        let held = |drills: Vec<Drilled>| {
            let facts = Facts { drills, ..ready() };
            (of(&facts, "drill"), of(&facts, "scenarios").verdict)
        };
        let passed = || drilled("corruption", 5, "VERIFIED");
        let elsewhere = |cluster: Option<&str>| Drilled {
            cluster: cluster.map(str::to_owned),
            ..drilled("corruption", 1, "VERIFIED")
        };
        for other in [elsewhere(None), elsewhere(Some("bank"))] {
            let (drill, scenarios) = held(vec![other]);
            assert_eq!((drill.verdict, scenarios), (Verdict::NotRun, Verdict::NotRun), "{drill:?}");
        }
        let (drill, _) = held(vec![elsewhere(None), passed()]);
        assert_eq!(drill.verdict, Verdict::Verified);
        assert!(
            drill.text.contains("5 days ago") && drill.text.contains("In a sandbox"),
            "{drill:?}"
        );
        let (drill, _) = held(vec![drilled("table-loss", 1, "FAILED"), passed()]);
        assert_eq!(drill.verdict, Verdict::Failed);
        assert!(
            drill.text.starts_with("table-loss FAILED a day ago; before that corruption VERIFIED"),
            "{drill:?}"
        );
        let (drill, _) = held(vec![drilled("table-loss", 1, "COULD NOT VERIFY"), passed()]);
        assert_eq!(drill.verdict, Verdict::CouldNotVerify);
        let (drill, _) = held(vec![drilled("table-loss", 1, "ABORTED"), passed()]);
        assert_eq!(drill.verdict, Verdict::Verified);
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
                    1 => facts.space.clear(),
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
