//! The machine that a recovery runs on, as the families ask for it. Only looks; a question that
//! another machine has to answer has a limit.

use super::pid_file;
use super::scene::{Scene, Stranger, Whereabouts, World};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::control::last_lines;
use crate::engine::postgres::{Lsn, control_file};
use crate::engine::repository::Repository;
use crate::engine::restore::steps::Site;
use crate::engine::runner::plan::Plan;
use crate::engine::wal::{Segment, identity};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// The repositories are asked no longer together.
const PATIENCE: Duration = Duration::from_secs(8);
/// Files that a cure names at most.
const MOST: usize = 500;
/// Log lines that are looked at.
const LINES: usize = 80;

/// The machine as a recovery sees it.
#[derive(Debug)]
pub struct Machine<'a> {
    site: &'a Site,
    plan: &'a Plan,
}

impl<'a> Machine<'a> {
    #[must_use]
    pub fn new(site: &'a Site, plan: &'a Plan) -> Self {
        Self { site, plan }
    }

    /// What the failure says, with the lines that belong to it: a failed start brings its own, and
    /// while the server recovers its log is read from its last start on.
    #[must_use]
    pub fn scene<'s>(&self, step: &'s str, failure: &'s Explanation) -> Scene<'s> {
        let (_, carried) =
            failure.what.split_once("The last lines of its log:").unwrap_or_default();
        let mut lines: Vec<String> = carried.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        let runs = matches!(step, "replay" | "inspect" | "promote" | "start-recovery");
        // What a failed promotion brings is the log of the server as it is when it is open.
        if step == "promote" {
            lines.clear();
        }
        if lines.is_empty() && runs && !failure.what.contains("did not start") {
            lines = since_start(last_lines(&self.site.recovery_log(), 0, LINES));
        }
        Scene::new(step, failure, lines)
    }

    fn segment_size(&self) -> Option<u64> {
        let control = control_file::read(self.site.data());
        let control = control.or_else(|_| control_file::read(Path::new(&self.plan.aside)));
        control.ok().map(|control| u64::from(control.wal_segment_size))
    }
}

/// The lines of the newest start; a line of a fetch before it belongs to the start before.
fn since_start(lines: Vec<String>) -> Vec<String> {
    let start = lines.iter().rposition(|line| line.contains("LOG:  starting PostgreSQL "));
    lines.into_iter().skip(start.unwrap_or(0)).collect()
}

impl World for Machine<'_> {
    fn data(&self) -> PathBuf {
        self.site.data().to_owned()
    }

    fn free(&self) -> Option<u64> {
        free(self.site.data())
    }

    fn could_go(&self) -> Vec<(PathBuf, u64)> {
        let data = self.site.data();
        let (Some(folder), Some(name)) = (data.parent(), data.file_name()) else {
            return Vec::new();
        };
        let needed = [&*self.plan.aside, &*self.plan.rescue].map(PathBuf::from);
        let volume = fs::metadata(folder).map(|m| m.dev()).ok();
        let name = name.to_string_lossy().into_owned();
        let left =
            [".abandoned.", ".damaged.", ".rescued-wal."].map(|word| format!("{name}{word}"));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<(PathBuf, u64)> = entries
            .map(|entry| entry.path())
            .filter(|path| !needed.contains(path))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                left.iter().any(|start| name.starts_with(start))
            })
            .filter(|path| fs::metadata(path).map(|m| m.dev()).ok() == volume)
            .map(|path| {
                let bytes = size_of(&path);
                (path, bytes)
            })
            .collect();
        found.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        found
    }

    fn alternative(&self) -> Option<PathBuf> {
        self.site.cluster.alternative_data_directory.clone()
    }

    fn strangers(&self) -> Vec<Stranger> {
        let Ok((uid, _)) = self.site.owner(self.plan) else { return Vec::new() };
        strangers(self.site.data(), uid)
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
        let asked = |repository: &String| asked.contains(&repository);
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
        let aside = Path::new(&self.plan.aside).join("pg_wal").join(name);
        if proven_absent && holds(&aside, name) {
            place.elsewhere.push(String::from("the directory set aside"));
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

    fn pid_file_is_stale(&self) -> Result<String, String> {
        let closed = self.site.closed().map_err(|e| e.what)?;
        pid_file::stale(self.site.data(), &closed.socket_directory)
    }

    fn preloaded(&self) -> Vec<String> {
        self.site.preloaded().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        self.site.cluster.connection.port
    }

    fn free_port(&self) -> Option<u16> {
        let own = self.port();
        (own.checked_add(1)?..=own.saturating_add(200)).find(|port| is_free(*port))
    }

    fn repositories_asked(&self) -> Vec<String> {
        self.site.asked(self.plan).into_iter().cloned().collect()
    }

    fn repositories_away(&self) -> Vec<(String, String)> {
        let answers = self.ask_all(|_| Ok(true));
        answers.into_iter().filter_map(|(name, answer)| Some((name, answer.err()?.what))).collect()
    }
}

impl Machine<'_> {
    /// Asks every repository of the cluster side by side; one that does not answer in time counts
    /// as away.
    fn ask_all(
        &self,
        ask: impl Fn(&Repository) -> Result<bool, Explanation> + Clone + Send + 'static,
    ) -> Vec<(String, Result<bool, Explanation>)>
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

pub(super) fn free(path: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(path).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

pub(super) fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
}

fn size_of(path: &Path) -> u64 {
    walk(path, &mut |_, _| true).1
}

/// What the server's user cannot use in its data directory: other owners, modes without the
/// owner's rights, a directory that is open to others. A symbolic link is not followed.
pub(super) fn strangers(data: &Path, uid: u32) -> Vec<Stranger> {
    let mut found = Vec::new();
    if let Ok(metadata) = fs::metadata(data)
        && metadata.uid() == uid
        && metadata.mode() & 0o027 != 0
    {
        let why = format!("is open to others (mode {:04o})", metadata.mode() & 0o7777);
        found.push(Stranger { path: data.to_owned(), why });
    }
    walk(data, &mut |path, metadata| {
        if let Some(why) = strange(metadata, uid) {
            found.push(Stranger { path: path.to_owned(), why });
        }
        found.len() < MOST
    });
    found
}

fn strange(metadata: &fs::Metadata, uid: u32) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o7777;
    let least = if metadata.is_dir() { 0o700 } else { 0o600 };
    match metadata.uid() {
        other if other != uid => Some(format!("belongs to user {other}")),
        _ if metadata.is_symlink() || mode & least == least => None,
        _ => Some(format!("has mode {mode:04o}")),
    }
}

/// Visits a folder and everything below it until `visit` says no; gives the bytes seen.
fn walk(path: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> bool) -> (bool, u64) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return (true, 0) };
    if !visit(path, &metadata) {
        return (false, metadata.len());
    }
    let mut bytes = metadata.len();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let (more, size) = walk(&entry.path(), visit);
            bytes += size;
            if !more {
                return (false, bytes);
            }
        }
    }
    (true, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_server_cannot_use_is_named() {
        let data = tempfile::tempdir().unwrap();
        let uid = fs::metadata(data.path()).unwrap().uid();
        fs::set_permissions(data.path(), PermissionsExt::from_mode(0o700)).unwrap();
        for (name, mode) in [("good", 0o600), ("read", 0o640), ("closed", 0o000)] {
            let path = data.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let names = |found: &[Stranger]| -> Vec<String> {
            found
                .iter()
                .map(|s| s.path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(names(&strangers(data.path(), uid)), ["closed"]);
        assert_eq!(strangers(data.path(), uid + 1).len(), 4, "each belongs to another");
        fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(strangers(data.path(), uid).len(), 2);
    }

    #[test]
    fn lines_of_an_earlier_start_are_no_evidence() {
        let lines = ["FATAL:  old", "x LOG:  starting PostgreSQL 15", "FATAL:  new"];
        let kept = since_start(lines.iter().map(|l| (*l).to_owned()).collect());
        assert_eq!(kept, lines[1..]);
    }
}
