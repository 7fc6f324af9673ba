//! The whole check of one incident's journal: the file, every place that holds anchors of it, and
//! the verdict. Changes nothing.

use super::judge::{self, Finding, Known, Wrong};
use super::keeper;
use super::lines::Lines;
use crate::engine::catalogue::sync;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::journal;
use crate::engine::repository::Repository;
use crate::engine::repository::anchor::Anchored;
use jiff::Timestamp;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a journal was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    pub incident: String,
    pub journal: PathBuf,
    pub verdict: Verdict,
    #[serde(flatten)]
    pub finding: Finding,
    pub places: Vec<Place>,
}

/// One place that anchors are kept in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Such as `repository "near"`.
    pub name: String,
    pub verdict: Verdict,
    pub anchors: usize,
    /// The newest entry that is anchored there, and when it was written.
    pub newest: Option<u64>,
    pub newest_at: Option<Timestamp>,
    pub detail: String,
}

/// What one place answered.
pub type Asked = (String, Result<Anchored, Explanation>);

/// Checks the journal in `folder` against its chain and against all anchors of it. Where the folder
/// does not say of which cluster the incident is, `cluster` does, or else all are asked.
///
/// # Errors
/// Where the file is there and cannot be read, or where there is neither a file nor an anchor.
pub fn check(
    config: &Config,
    incident: &str,
    folder: &Path,
    cluster: Option<&str>,
) -> Result<Audit, Explanation> {
    let mut clusters = match cluster {
        Some(name) => vec![name.to_owned()],
        None => keeper::clusters(folder),
    };
    clusters.retain(|name| config.cluster(name).is_some());
    if clusters.is_empty() {
        clusters = config.clusters.iter().map(|cluster| cluster.name.clone()).collect();
    }
    let path = folder.join(journal::FILE);
    let lines = match fs::read(&path) {
        Ok(bytes) => Some(Lines::of(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Explanation::new(
                Kind::Storage,
                format!("The journal {} could not be read: {error}.", path.display()),
                "Nothing was changed.",
                "Run it as the user whose incident it is, or as root.",
            ));
        }
    };
    let asked = ask(config, incident, &clusters);
    let audit = of(incident, path, lines.as_ref(), asked);
    if lines.is_none() && audit.places.iter().all(|place| place.anchors == 0) {
        return Err(Explanation::new(
            Kind::NotFound,
            format!(
                "There is no incident {incident}: no journal at {}, and no anchor of it in any \
                 repository that could be asked.",
                audit.journal.display()
            ),
            "Nothing was changed.",
            "lifeboat incidents lists what there is on this machine.",
        ));
    }
    Ok(audit)
}

/// Asks each repository of those clusters.
fn ask(config: &Config, incident: &str, clusters: &[String]) -> Vec<Asked> {
    let mut asked = Vec::new();
    for cluster in clusters.iter().filter_map(|name| config.cluster(name)) {
        for settings in cluster.repositories.iter().filter_map(|name| config.repository(name)) {
            let name = if clusters.len() == 1 {
                format!("repository \"{}\"", settings.name)
            } else {
                format!("repository \"{}\" of {}", settings.name, cluster.name)
            };
            let anchored = Repository::open_for_anchors(settings, &cluster.name)
                .and_then(|repository| repository.anchored(incident))
                .map_err(|error| error.explanation());
            asked.push((name, anchored));
        }
    }
    if config.catalogue.is_some() {
        let anchored = sync::anchored(config, incident).map_err(|error| error.explanation());
        asked.push((String::from("catalogue"), anchored));
    }
    asked
}

/// The judgement, on values.
#[must_use]
pub fn of(incident: &str, journal: PathBuf, lines: Option<&Lines>, asked: Vec<Asked>) -> Audit {
    let mut known = Known::new();
    for (name, anchored) in &asked {
        for (seq, hashes) in anchored.iter().flat_map(|anchored| &anchored.entries) {
            let claims = known.entry(*seq).or_default();
            for hash in hashes {
                if !claims.iter().any(|(claimed, _)| claimed == hash) {
                    claims.push((hash.clone(), name.clone()));
                }
            }
        }
    }
    let finding = judge::judge(lines, &known);
    let places: Vec<Place> =
        asked.into_iter().map(|(name, anchored)| placed(name, anchored, lines)).collect();
    let whole = finding.entries > 0 && finding.covered == finding.entries;
    let verdict = if finding.wrong.is_some() {
        Verdict::Failed
    } else if whole && places.iter().all(|place| place.verdict == Verdict::Verified) {
        Verdict::Verified
    } else {
        Verdict::CouldNotVerify
    };
    Audit { incident: incident.to_owned(), journal, verdict, finding, places }
}

/// How the journal stands against one place alone.
fn placed(name: String, anchored: Result<Anchored, Explanation>, lines: Option<&Lines>) -> Place {
    let empty = |verdict, detail| Place {
        name: name.clone(),
        verdict,
        anchors: 0,
        newest: None,
        newest_at: None,
        detail,
    };
    let anchored = match anchored {
        Ok(anchored) if anchored.count == 0 => {
            return empty(Verdict::NotRun, String::from("it has no anchor of this incident"));
        }
        Ok(anchored) => anchored,
        Err(error) => {
            let what = error.what.trim_end_matches('.');
            return empty(Verdict::CouldNotVerify, format!("it could not be asked: {what}"));
        }
    };
    let newest = anchored.entries.keys().next_back().copied();
    let entries = lines.map_or(0, Lines::count);
    let first_wrong = anchored.entries.iter().find(|(seq, hashes)| {
        let line = lines.and_then(|lines| lines.at(**seq));
        hashes.len() > 1 || line.is_none_or(|line| !hashes.contains(&line.hash))
    });
    let (verdict, detail) = match (first_wrong, newest) {
        (Some((seq, _)), _) if *seq > entries => {
            (Verdict::Failed, format!("entry {seq} is anchored there, and missing"))
        }
        (Some((seq, _)), _) => {
            (Verdict::Failed, format!("entry {seq} is not what is anchored there"))
        }
        (None, Some(newest)) if newest < entries => (
            Verdict::CouldNotVerify,
            format!("entries {} to {entries} are not anchored there yet", newest + 1),
        ),
        _ => (Verdict::Verified, String::from("every entry is anchored there")),
    };
    let damaged = match anchored.damaged.len() {
        0 => String::new(),
        many => format!("; {many} of its anchors are damaged, their names were compared"),
    };
    Place {
        name,
        verdict,
        anchors: anchored.count,
        newest,
        newest_at: anchored.newest,
        detail: detail + &damaged,
    }
}

impl Audit {
    /// Why it failed; `None` where it did not.
    #[must_use]
    pub fn failure(&self) -> Option<Explanation> {
        let wrong: &Wrong = self.finding.wrong.as_ref()?;
        Some(Explanation::new(
            Kind::Integrity,
            format!(
                "The journal {} is not what was written. First wrong: {}: {}.",
                self.journal.display(),
                wrong.place(),
                wrong.why
            ),
            "The journal and the anchors were left as they are.",
            "Keep a copy of the incident's folder. What is before that entry stands; what is from \
             it on is no evidence. Lifeboat does not go on from a journal whose chain is broken.",
        ))
    }

    /// One line a finding, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let Finding { entries, head, torn, chain, covered, .. } = &self.finding;
        let mut lines = vec![format!("{}: {entries} entries", self.journal.display())];
        lines.push(match chain {
            Verdict::Verified => format!(
                "VERIFIED          the chain holds from first to last; last line's hash: {}",
                head.as_deref().unwrap_or("none")
            ),
            Verdict::NotRun => String::from("NOT RUN           the chain: there is no journal"),
            _ => String::from("FAILED            the chain is broken"),
        });
        for place in &self.places {
            let anchors = match place.anchors {
                0 => String::new(),
                1 => String::from(" (1 anchor)"),
                many => format!(" ({many} anchors)"),
            };
            lines.push(format!(
                "{:<16}  {}{anchors}: {}",
                place.verdict.word(),
                place.name,
                place.detail
            ));
        }
        if *torn > 0 {
            lines.push(format!(
                "After them stand {torn} bytes of an entry that was being written when the \
                 machine or the runner ended; the next runner sets them aside."
            ));
        }
        if self.verdict == Verdict::CouldNotVerify {
            lines.push(if *covered == 0 {
                String::from(
                    "Nothing outside the journal was compared with it: a tail that was cut off or \
                     a file that was written anew would not show.",
                )
            } else if covered < entries {
                format!(
                    "Entries 1 to {covered} are what was anchored; a change from entry {} on would \
                     not show yet.",
                    covered + 1
                )
            } else {
                format!("All {entries} entries are what was anchored where it could be asked.")
            });
        }
        lines.push(format!("Verdict: {}", self.verdict.word()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, claims: &[(u64, &str)]) -> Asked {
        let mut anchored = Anchored { count: claims.len(), ..Anchored::default() };
        claims.iter().for_each(|(seq, hash)| anchored.claim(*seq, hash));
        (name.to_owned(), Ok(anchored))
    }

    fn audit(asked: Vec<Asked>) -> Audit {
        let line = b"{\"seq\":1,\"at\":\"2025-01-13T10:00:00Z\",\"actor\":{\"user\":\"a\",\"uid\":1,\"role\":\"observer\"},\"kind\":\"run_finished\",\"prev\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}\n";
        of("INC-20250113-001", PathBuf::from("journal.jsonl"), Some(&Lines::of(line)), asked)
    }

    fn head() -> String {
        audit(Vec::new()).finding.head.unwrap()
    }

    #[test]
    fn only_what_every_place_confirms_to_the_last_entry_is_verified() {
        let hash = head();
        let good = || asked("near", &[(1, &hash)]);
        assert_eq!(audit(vec![good(), good()]).verdict, Verdict::Verified);
        let none = audit(vec![good(), asked("far", &[])]);
        assert_eq!(none.verdict, Verdict::CouldNotVerify);
        assert_eq!(none.places[1].verdict, Verdict::NotRun);
        let away = Explanation::new(Kind::Connection, "It is away.", "", "");
        let away = audit(vec![good(), (String::from("far"), Err(away))]);
        assert_eq!(away.places[1].verdict, Verdict::CouldNotVerify);
        assert_eq!(away.verdict, Verdict::CouldNotVerify);
        assert!(away.failure().is_none());
        assert!(away.lines().iter().any(|line| line.contains("It is away")), "{:?}", away.lines());
        assert_eq!(audit(Vec::new()).verdict, Verdict::CouldNotVerify, "nothing was compared");
        let wrong = audit(vec![good(), asked("far", &[(1, &"0".repeat(64))])]);
        assert_eq!(wrong.verdict, Verdict::Failed);
        assert!(wrong.failure().is_some());
        let longer = audit(vec![asked("near", &[(1, &hash), (2, &hash)])]);
        assert!(longer.failure().unwrap().what.contains("ends at entry 1"));
    }
}
