//! The machine that a recovery runs on, as the families ask for it. Only looks; a question that
//! another machine has to answer has a limit.

use super::key;
use super::local::{free, is_free, is_free_in, size_of, strangers, used, volume};
use super::moved::given_up;
use super::pid_file;
use super::scene::{Ground, OtherPlace, Scene, Stranger, Whereabouts, World};
use crate::engine::config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Procedure, TargetPoint};
use crate::engine::postgres::control::last_lines;
use crate::engine::postgres::{Lsn, control_file};
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::restore::other_place;
use crate::engine::restore::steps::{Site, rehearse_fetch};
use crate::engine::runner::plan::Plan;
use crate::engine::wal::{Segment, identity};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The repositories are asked no longer together.
const PATIENCE: Duration = Duration::from_secs(8);
/// Who is told of beside the repositories where a key does not open.
const SERVERS_USER: &str = "as the server's user";
/// Log lines that are looked at.
const LINES: usize = 80;

/// The machine as a recovery sees it.
#[derive(Debug)]
pub struct Machine<'a> {
    site: &'a Site,
    plan: &'a Plan,
    ground: Ground,
    /// Of a server that is started otherwise than a recovery's: its log and its socket's folder.
    server: Option<(PathBuf, PathBuf)>,
}

impl<'a> Machine<'a> {
    /// For the server in the data directory of `site`.
    #[must_use]
    pub fn new(site: &'a Site, plan: &'a Plan, ground: Ground) -> Self {
        Self { site, plan, ground, server: None }
    }

    /// For the copy beside production; `site` is production's, seen from the copy's data directory.
    #[must_use]
    pub fn of_copy(site: &'a Site, plan: &'a Plan, log: &Path, socket: &Path) -> Self {
        let server = Some((log.to_owned(), socket.to_owned()));
        Self { site, plan, ground: Ground::Copy, server }
    }

    pub(super) fn site(&self) -> &'a Site {
        self.site
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.plan
    }

    fn log(&self) -> PathBuf {
        self.server.as_ref().map_or_else(|| self.site.recovery_log(), |(log, _)| log.clone())
    }

    fn socket_folder(&self) -> Result<PathBuf, Explanation> {
        match &self.server {
            Some((_, socket)) => Ok(socket.clone()),
            None => self.site.closed().map(|closed| closed.socket_directory),
        }
    }

    /// The directory that may have log files which no repository has.
    pub(super) fn old(&self) -> &Path {
        match self.ground {
            Ground::InPlace | Ground::Swapped => Path::new(&self.plan.aside),
            Ground::Beside | Ground::Old | Ground::Copy => self.site.live(),
        }
    }

    /// What the failure says, with the lines that belong to it: a failed start brings its own, and
    /// while the server recovers its log is read from its last start on.
    #[must_use]
    pub fn scene<'s>(&self, step: &'s str, failure: &'s Explanation) -> Scene<'s> {
        let (_, carried) =
            failure.what.split_once("The last lines of its log:").unwrap_or_default();
        let mut lines: Vec<String> = carried.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        let runs = matches!(
            step,
            "replay" | "inspect" | "promote" | "promote-beside" | "start-recovery" | "parts-replay"
        );
        // What a failed promotion brings is the log of the server as it is when it is open.
        if step == "promote" {
            lines.clear();
        }
        if lines.is_empty() && runs && !failure.what.contains("did not start") {
            lines = since_start(last_lines(&self.log(), 0, LINES));
        }
        Scene::new(step, failure, lines)
    }

    /// The place that a directory is for this plan: the copy for parts gets a folder of its own in it,
    /// which goes again with the copy.
    pub(super) fn place_in(&self, named: &Path) -> PathBuf {
        match &self.plan.procedure {
            Procedure::Parts { sandbox, .. } if named.is_dir() => {
                named.join(Path::new(sandbox).file_name().unwrap_or_default())
            }
            _ => named.to_owned(),
        }
    }

    /// The directory as another place for the recovery.
    ///
    /// # Errors
    /// Says why it is none.
    pub(super) fn as_other_place(&self, path: &Path) -> Result<OtherPlace, Explanation> {
        let (site, plan) = (self.site, self.plan);
        let copy = plan.step("restore-base").or_else(|| plan.step("parts-restore"));
        Ok(OtherPlace {
            path: path.to_owned(),
            room: other_place::room(site, plan, site.data(), path)?,
            copy: copy.and_then(|step| step.expected),
            kept: other_place::kept(plan, site.data()),
        })
    }

    fn segment_size(&self) -> Option<u64> {
        let control = control_file::read(self.site.data());
        let control = control.or_else(|_| control_file::read(self.old()));
        control.ok().map(|control| u64::from(control.wal_segment_size))
    }
}

/// The lines of the newest start; a line of a fetch before it belongs to the start before.
fn since_start(lines: Vec<String>) -> Vec<String> {
    let start = lines.iter().rposition(|line| line.contains("LOG:  starting PostgreSQL "));
    lines.into_iter().skip(start.unwrap_or(0)).collect()
}

impl World for Machine<'_> {
    fn ground(&self) -> Ground {
        self.ground
    }

    fn ends_with_base(&self) -> bool {
        self.plan.target.point == TargetPoint::EndOfBase
    }

    fn data(&self) -> PathBuf {
        self.site.data().to_owned()
    }

    fn free(&self, place: &Path) -> Option<u64> {
        free(place)
    }

    fn is_elsewhere(&self, place: &Path) -> bool {
        let data = self.site.data();
        let places = &self.plan.places;
        let spaces = places.spaces.iter().map(|space| &*space.place);
        let filled = spaces.chain(places.wal.as_deref()).chain([data]);
        // A message may name a program, too.
        filled.into_iter().any(|folder| place.starts_with(folder))
            && volume(place).is_some_and(|found| volume(data) != Some(found))
    }

    fn could_go(&self) -> Vec<(PathBuf, u64)> {
        let data = self.site.data();
        let live = self.site.live();
        let needed = [&*self.plan.aside, &*self.plan.rescue].map(PathBuf::from);
        let words = [".abandoned.", ".damaged.", ".rescued-wal."];
        // Beside the old cluster's directory, and beside a new one of another name.
        let places = [data, live].into_iter().filter_map(|directory| {
            let name = directory.file_name()?.to_string_lossy().into_owned();
            Some((directory.parent()?.to_owned(), words.map(|word| format!("{name}{word}"))))
        });
        let mut places: Vec<(PathBuf, [String; 3])> = places.collect();
        places.dedup();
        let volume = volume(data);
        let named = |(folder, left): (PathBuf, [String; 3])| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let entries = entries.map(|entry| entry.path());
            entries
                .filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    left.iter().any(|start| name.starts_with(start))
                })
                .collect::<Vec<_>>()
        };
        let mut found: Vec<(PathBuf, u64)> = places
            .into_iter()
            .flat_map(named)
            .filter(|path| !needed.contains(path))
            .filter(|path| fs::metadata(path).map(|m| m.dev()).ok() == volume)
            .map(|path| {
                let bytes = size_of(&path);
                (path, bytes)
            })
            .collect();
        found.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        found
    }

    fn other_place(&self) -> Option<Result<OtherPlace, Explanation>> {
        // Somebody may have named one since the recovery began.
        let now = config::load(Some(&self.site.config.path)).ok();
        let cluster = now.as_ref().and_then(|now| now.cluster(&self.site.cluster.name));
        let cluster = cluster.unwrap_or(&self.site.cluster);
        let named = cluster.alternative_data_directory.clone()?;
        let here = match &self.plan.procedure {
            // It takes from a directory that a recovery kept, beside that.
            Procedure::Parts { kept: Some(_), .. } => return None,
            Procedure::Parts { sandbox, .. } => Path::new(sandbox),
            _ => self.site.data(),
        };
        let path = self.place_in(&named);
        // The recovery may be there already.
        (path != here).then(|| self.as_other_place(&path))
    }

    fn strangers(&self) -> Vec<Stranger> {
        let Ok((uid, _)) = self.site.owner(self.plan) else { return Vec::new() };
        strangers(&used(self.site.data(), self.plan), uid)
    }

    fn may_give(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn owner(&self) -> String {
        let Ok((uid, _)) = self.site.owner(self.plan) else { return String::from("its owner") };
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
        user.ok().flatten().map_or_else(|| format!("user {uid}"), |user| user.name)
    }

    fn whereabouts(&self, name: &str) -> Whereabouts {
        let mut place = Whereabouts::default();
        let asked = self.site.asked(self.plan);
        let copy = self.ground == Ground::Copy;
        let asked = |repository: &String| copy || asked.contains(&repository);
        let wanted = name.to_owned();
        for (repository, answer) in self.ask_all(move |repository| has(repository, &wanted)) {
            match answer {
                Ok(true) if asked(&repository) => place.found.push(format!("\"{repository}\"")),
                Ok(true) => place.elsewhere.push(format!("\"{repository}\"")),
                Ok(false) => {}
                Err(e) if e.kind == Kind::Integrity => place.damaged.push((repository, e.what)),
                Err(e) => place.away.push((repository, e.what)),
            }
        }
        let proven_absent = place.damaged.is_empty() && place.away.is_empty();
        if proven_absent && holds(&Path::new(&self.plan.rescue).join(name), name) {
            place.found.push(String::from("the rescued files"));
        }
        // Only where every repository says that it is absent the recovery looks beside them.
        let old = self.old().join("pg_wal").join(name);
        if proven_absent && holds(&old, name) {
            let told = self.old_directory().to_owned();
            // The copy looks there itself, at each start.
            match self.ground {
                Ground::Copy => place.found.push(told),
                _ => place.elsewhere.push(told),
            }
        }
        place
    }

    fn segment_after(&self, name: Option<&str>) -> Option<String> {
        let size = self.segment_size()?;
        let base = &self.plan.base;
        match name {
            Some(name) => Some(Segment::parse(name, size)?.next().name(size)),
            None => Some(Segment::holding(base.timeline, base.start_lsn, size).name(size)),
        }
    }

    fn starts(&self, segment: &str) -> Option<Lsn> {
        let size = self.segment_size()?;
        Some(Segment::parse(segment, size)?.start(size))
    }

    fn expected_end(&self) -> Option<Lsn> {
        self.plan.replay_until
    }

    fn base(&self) -> String {
        self.plan.base.set.clone()
    }

    fn failed_bases(&self) -> Vec<String> {
        given_up(&self.site.adjusted, self.plan)
    }

    fn other_bases(&self) -> Option<Vec<String>> {
        let failed = self.failed_bases();
        let (mut found, mut silent) = (Vec::new(), false);
        for (_, answer) in
            self.ask_all(|repository| repository.bases().map_err(|e| e.explanation()))
        {
            let Ok((bases, unreadable)) = answer else {
                silent = true;
                continue;
            };
            silent |= !unreadable.is_empty();
            found.extend(bases.into_iter().map(|base| base.set));
        }
        found.retain(|set| !failed.contains(set));
        found.sort_unstable();
        found.dedup();
        (!found.is_empty() || !silent).then_some(found)
    }

    fn pid_file_is_stale(&self) -> Result<String, String> {
        let folder = self.socket_folder().map_err(|e| e.what)?;
        pid_file::stale(self.site.data(), &folder)
    }

    fn preloaded(&self) -> Vec<String> {
        if self.ground == Ground::Copy {
            return Vec::new();
        }
        self.site.preloaded().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        match &self.site.beside {
            Some(beside) if self.ground == Ground::Beside => beside.port,
            _ => self.site.cluster.connection.port,
        }
    }

    fn free_port(&self) -> Option<u16> {
        let own = self.port();
        let all = own.checked_add(1)?..=own.saturating_add(200);
        if self.ground == Ground::Beside {
            let folder = self.socket_folder().ok()?;
            let live = self.site.cluster.connection.port;
            return all.into_iter().find(|port| *port != live && is_free_in(&folder, *port));
        }
        all.into_iter().find(|port| is_free(*port))
    }

    fn repositories_asked(&self) -> Vec<String> {
        self.site.asked(self.plan).into_iter().cloned().collect()
    }

    fn keys_denied(&self) -> Vec<(String, String)> {
        let set = self.plan.base.set.clone();
        let opened = self.ask_all(move |repository| match repository.read_set(&set) {
            Ok(_) | Err(RepositoryError::NoSuchSet(_) | RepositoryError::BadName { .. }) => Ok(()),
            Err(error) => Err(error.explanation()),
        });
        let asked = self.repositories_asked();
        let mut denied: Vec<(String, String)> = opened
            .into_iter()
            .filter(|(name, _)| asked.contains(name))
            .filter_map(|(name, answer)| Some((name, answer.err()?.what)))
            .filter(|(_, why)| key::tells(why))
            .collect();
        // What this process may read, the server's user perhaps may not.
        if denied.is_empty()
            && let Err(refused) = rehearse_fetch(self.site, self.plan)
            && key::tells(&refused.what)
        {
            denied.push((String::from(SERVERS_USER), refused.what));
        }
        denied
    }

    fn repositories_away(&self) -> Vec<(String, String)> {
        let answers = self.ask_all(|_| Ok(true));
        answers.into_iter().filter_map(|(name, answer)| Some((name, answer.err()?.what))).collect()
    }
}

impl Machine<'_> {
    /// Asks every repository of the cluster side by side; one that does not answer in time counts
    /// as away.
    fn ask_all<T: Send + 'static>(
        &self,
        ask: impl Fn(&Repository) -> Result<T, Explanation> + Clone + Send + 'static,
    ) -> Vec<(String, Result<T, Explanation>)>
    where
        Self: Sized,
    {
        // One that was given up is asked no more: each answer would take its time.
        let given_up = &self.site.adjusted.without_repositories;
        let names = self.site.cluster.repositories.iter();
        let names: Vec<&String> = names.filter(|name| !given_up.contains(name)).collect();
        let (sender, receiver) = channel();
        for (i, settings) in names.iter().enumerate() {
            let Some(settings) = self.site.config.repository(settings).cloned() else { continue };
            let (sender, cluster, ask) =
                (sender.clone(), self.site.cluster.name.clone(), ask.clone());
            // Not scoped: one that hangs must not be waited for. It ends with its own time-outs.
            std::thread::spawn(move || {
                let opened = Repository::open(&settings, &cluster).map_err(|e| e.explanation());
                let _ = sender.send((i, opened.and_then(|repository| ask(&repository))));
            });
        }
        drop(sender);
        let end = Instant::now() + PATIENCE;
        let mut answers: Vec<_> = names.iter().map(|_| None).collect();
        while let Ok((i, answer)) =
            receiver.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if let Some(slot) = answers.get_mut(i) {
                *slot = Some(answer);
            }
        }
        let silent = || {
            let what = format!("no answer within {} s", PATIENCE.as_secs());
            Err(Explanation::new(Kind::Connection, what, "", ""))
        };
        names
            .into_iter()
            .cloned()
            .zip(answers.into_iter().map(|a| a.unwrap_or_else(silent)))
            .collect()
    }
}

/// Whether the repository gives the file, whole and authentic.
fn has(repository: &Repository, name: &str) -> Result<bool, Explanation> {
    let read = repository.read_wal(name, &mut io::sink());
    read.map(|found| found.is_some()).map_err(|e| e.explanation())
}

/// Whether a plain file is that segment.
fn holds(path: &Path, name: &str) -> bool {
    let Ok(mut file) = fs::File::open(path) else { return false };
    let mut head = [0; 40];
    let length = file.metadata().map(|m| m.len()).unwrap_or_default();
    file.read_exact(&mut head).is_ok() && identity::check(name, &head, length).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_earlier_start_are_no_evidence() {
        let lines = ["FATAL:  old", "x LOG:  starting PostgreSQL 15", "FATAL:  new"];
        let kept = since_start(lines.iter().map(|l| (*l).to_owned()).collect());
        assert_eq!(kept, lines[1..]);
    }
}
