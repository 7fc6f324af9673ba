//! Puts anchors beside the recovery: a thread for each repository of the cluster that follows the
//! journal's file. Owns `<incident>/anchors/`, where it notes how far each repository is. A
//! repository that is away is owed its anchors; nothing else waits for it.

use super::lines;
use super::points;
use crate::engine::config::{Config, RepositoryConfig};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::journal;
use crate::engine::incident::store::{self, Listed, Store};
use crate::engine::incident::{Entry, Event};
use crate::engine::repository::Repository;
use crate::engine::repository::anchor::Anchor;
use crate::engine::schedule::run::Stop;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The folder in the incident's folder.
const FOLDER: &str = "anchors";
/// How often the journal's length is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The first pause after a failure; it doubles up to [`LONGEST`].
const PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST: SignedDuration = SignedDuration::from_secs(300);

/// How far one repository is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every entry up to this one is anchored there.
    pub done: u64,
    /// Hash of that entry.
    pub hash: String,
    /// When the newest anchor was put.
    #[serde(default)]
    pub last: Option<Timestamp>,
    /// Failures in a row, why, and when it is tried again.
    #[serde(default)]
    pub tries: u32,
    #[serde(default)]
    pub why: Option<String>,
    #[serde(default)]
    pub next: Option<Timestamp>,
}

/// The threads of one incident's runner.
#[derive(Debug)]
pub struct Keeper {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// Begins for each repository of the incident's cluster.
    #[must_use]
    pub fn begin(config: &Config, cluster: &str, incident: &Path) -> Self {
        let stop = Arc::new(Stop::default());
        let threads = repositories(config, cluster)
            .filter_map(|settings| {
                let (settings, cluster) = (settings.clone(), cluster.to_owned());
                let (incident, ended) = (incident.to_owned(), Arc::clone(&stop));
                std::thread::Builder::new()
                    .name(String::from("anchors"))
                    .spawn(move || follow(&settings, &cluster, &incident, &ended))
                    .ok()
            })
            .collect();
        Self { stop, threads }
    }

    /// Ends within about `limit`. What a repository lacks by then it gets from the next runner, or
    /// from the scheduler.
    pub fn end(self, limit: Duration) {
        self.stop.ask();
        let until = Instant::now() + limit;
        while self.threads.iter().any(|one| !one.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn repositories<'a>(
    config: &'a Config,
    cluster: &str,
) -> impl Iterator<Item = &'a RepositoryConfig> {
    let names = config.cluster(cluster).map(|cluster| cluster.repositories.as_slice());
    names.unwrap_or_default().iter().filter_map(|name| config.repository(name))
}

fn follow(settings: &RepositoryConfig, cluster: &str, incident: &Path, stop: &Stop) {
    let file = incident.join(journal::FILE);
    let length = || fs::metadata(&file).map_or(0, |found| found.len());
    let (mut seen, mut looked, mut waits) = (0, Instant::now(), false);
    loop {
        let ending = stop.wait(LOOK);
        let now = length();
        let again = waits && looked.elapsed().as_secs() >= PAUSE.as_secs().unsigned_abs();
        if now != seen || ending || again {
            (seen, looked) = (now, Instant::now());
            // What cannot be read or put now is looked at again.
            waits = bring(settings, cluster, incident, Timestamp::now(), ending)
                .map_or(true, |owes| owes);
        }
        if ending {
            return;
        }
    }
}

/// Puts what the repository lacks, as far as that goes now; whether it lacks anything still.
///
/// # Errors
/// Where the journal or the note of what was put cannot be read or kept.
pub fn bring(
    settings: &RepositoryConfig,
    cluster: &str,
    incident: &Path,
    now: Timestamp,
    ending: bool,
) -> Result<bool, Explanation> {
    let bytes = fs::read(incident.join(journal::FILE)).map_err(|e| kept(incident, &e))?;
    // A journal that does not hold is not anchored: that would vouch for it.
    let entries = journal::read(incident).map_err(|e| e.explanation())?.entries;
    // The file only grows: what came between the two readings is anchored the next time.
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|l| l.strip_suffix(b"\n"));
    let hashes: Vec<String> = whole.take(entries.len()).map(lines::hash).collect();
    let entries = entries.get(..hashes.len()).unwrap_or_default();
    let Some(Entry { event: Event::IncidentDeclared(declaration), .. }) = entries.first() else {
        return Ok(false);
    };
    let path = place(incident, &settings.name);
    let mut progress = read(&path).map_err(|e| kept(&path, &e))?;
    if !continues(&progress, &hashes) {
        return Err(Explanation::new(
            Kind::Integrity,
            format!(
                "The journal {} is not the one that was anchored up to entry {}.",
                incident.join(journal::FILE).display(),
                progress.done
            ),
            "It was not anchored again.",
            format!("Look at it: lifeboat journal verify {}.", declaration.id),
        ));
    }
    if progress.next.is_some_and(|next| next > now) && !ending {
        return Ok(true);
    }
    let due = points::due(entries, progress.done, progress.last, now, ending);
    let head = hashes.len() as u64;
    if due.is_empty() {
        return Ok(progress.done < head);
    }
    let before = progress.clone();
    let put = Repository::open_for_anchors(settings, cluster)
        .map_err(|e| e.explanation())
        .and_then(|repository| {
            for seq in due {
                let first = progress.done + 1;
                let anchor = anchor(entries, &hashes, &declaration.cluster, first, seq, now);
                let Some(anchor) = anchor.map(|a| Anchor { incident: declaration.id.clone(), ..a })
                else {
                    continue;
                };
                repository.put_anchor(&anchor).map_err(|e| e.explanation())?;
                progress = Progress {
                    done: seq,
                    hash: anchor.hash,
                    last: Some(now),
                    ..Progress::default()
                };
            }
            Ok(())
        });
    if let Err(error) = put {
        let pause = PAUSE.saturating_mul(1 << before.tries.min(8)).min(LONGEST);
        progress.tries = before.tries.saturating_add(1);
        progress.why = Some(error.what);
        progress.next = now.checked_add(pause).ok();
    }
    let owes = progress.done < head;
    keep(&path, &progress).map_err(|e| kept(&path, &e))?;
    Ok(owes)
}

/// Whether the journal still is what the note says was anchored.
fn continues(progress: &Progress, hashes: &[String]) -> bool {
    let at = usize::try_from(progress.done).unwrap_or(usize::MAX);
    at.checked_sub(1).is_none_or(|at| hashes.get(at) == Some(&progress.hash))
}

fn anchor(
    entries: &[Entry],
    hashes: &[String],
    cluster: &str,
    first: u64,
    seq: u64,
    now: Timestamp,
) -> Option<Anchor> {
    let (from, to) = (usize::try_from(first - 1).ok()?, usize::try_from(seq).ok()?);
    let entry = entries.get(to.checked_sub(1)?)?;
    let kind = serde_json::to_value(&entry.event).ok();
    let kind = kind.as_ref().and_then(|value| value.get("kind")?.as_str());
    let anchor = Anchor::new("", cluster, entry.at, first, hashes.get(from..to)?);
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    Some(Anchor {
        kind: kind.unwrap_or_default().to_owned(),
        anchored: now,
        host: host.unwrap_or_default(),
        user: me.map(|me| me.name).unwrap_or_default(),
        ..anchor
    })
}

/// Puts what earlier runners left, of every incident without one.
pub fn bring_left(config: &Config) {
    let Ok(listed) = Store::new(&config.state_directory()).list() else { return };
    for one in listed {
        let Listed::Whole(summary) = one else { continue };
        if summary.runner_alive {
            continue;
        }
        for settings in repositories(config, &summary.cluster) {
            let now = Timestamp::now();
            let progress = read(&place(&summary.folder, &settings.name)).unwrap_or_default();
            if progress.next.is_none_or(|next| next <= now) {
                // Tried again at the next turn.
                let _ = bring(settings, &summary.cluster, &summary.folder, now, true);
            }
        }
    }
}

/// What a repository is owed of an incident's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    pub cluster: String,
    pub incident: String,
    pub repository: String,
    /// Entries that are in no anchor there.
    pub entries: u64,
}

/// What every repository is owed, of all incidents that can be read; 0 where it has all.
#[must_use]
pub fn owed(config: &Config) -> Vec<Owed> {
    let listed = Store::new(&config.state_directory()).list().unwrap_or_default();
    let mut all = Vec::new();
    for one in listed {
        let Listed::Whole(summary) = one else { continue };
        let Ok(bytes) = fs::read(summary.folder.join(journal::FILE)) else { continue };
        let count = lines::Lines::of(&bytes).count();
        for settings in repositories(config, &summary.cluster) {
            let done = progress(&summary.folder, &settings.name).done;
            all.push(Owed {
                cluster: summary.cluster.clone(),
                incident: summary.id.clone(),
                repository: settings.name.clone(),
                entries: count.saturating_sub(done),
            });
        }
    }
    all
}

/// How far a repository is with an incident; nothing where nothing is on record.
#[must_use]
pub fn progress(incident: &Path, repository: &str) -> Progress {
    read(&place(incident, repository)).unwrap_or_default()
}

/// The clusters that an incident's folder says it is about: by its journal and by the declaration
/// beside it, which are the same unless somebody changed one.
#[must_use]
pub fn clusters(incident: &Path) -> Vec<String> {
    let journalled = fs::read(incident.join(journal::FILE)).ok().and_then(|bytes| {
        let lines = lines::Lines::of(&bytes);
        match &lines.lines.first()?.entry {
            Ok(Entry { event: Event::IncidentDeclared(declared), .. }) => {
                Some(declared.cluster.clone())
            }
            _ => None,
        }
    });
    let declared = store::declared(incident).map(|declaration| declaration.cluster);
    let mut all: Vec<String> = journalled.into_iter().chain(declared).collect();
    all.dedup();
    all
}

fn place(incident: &Path, repository: &str) -> PathBuf {
    incident.join(FOLDER).join(format!("{repository}.json"))
}

fn read(path: &Path) -> io::Result<Progress> {
    match fs::read(path) {
        // A note that cannot be understood is made anew: anchors are put once, however often.
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
        Err(error) => Err(error),
    }
}

fn keep(path: &Path, progress: &Progress) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    files::replace(path, &serde_json::to_vec(progress)?, 0o600)
}

fn kept(path: &Path, error: &io::Error) -> Explanation {
    Explanation::new(
        Kind::Storage,
        format!("{} could not be read or kept: {error}.", path.display()),
        "The recovery goes on; the journal is whole.",
        "Check space and permissions of the incident's folder.",
    )
}
