//! The second process of a drill on a copy: it alone opens the real repository, for reading alone,
//! and ends before the drill begins. Owns the words between the two; never writes anywhere but
//! below the sandbox's folder, and never passes on a key or a credential.
//!
//! ```text
//! drill ── order ──► reader       one JSON value a line
//!       ◄── facts ──              which backup, how large
//!       ─── "go" ──►              the drill has looked at them, and stands behind its walls by now
//!       ◄─ brought ─              the files are there
//! ```

use super::access::{self, Access};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::Lsn;
use crate::engine::repository::whole::OwnWal;
use crate::engine::repository::{Repository, RepositoryError, SetDescriptor};
use crate::engine::restore::base;
use crate::engine::wal::inspect::source::Folder;
use crate::engine::wal::inspect::{Stretch, tablespaces_created};
use crate::engine::wal::{Segment, TimelineId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The verb of the second process.
pub const VERB: &str = "drill-reader";
/// What the drill says once it has seen the facts.
pub const GO: &str = "go";
/// Folders at the sandbox's top: the copy's data directory, and its WAL beside it.
pub const DATA: &str = "cluster/data";
pub const WAL: &str = "cluster/copied-wal";
/// Those of its tablespaces.
pub const SPACES: &str = "cluster/tablespaces";
/// The name of the WAL's folder.
pub const WAL_NAME: &str = "copied-wal";

/// What is to be copied, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub cluster: String,
    /// The newest where absent.
    pub set: Option<String>,
    /// One of the cluster's repositories alone.
    pub repository: Option<String>,
    /// Replay up to here; to the backup's own end where absent.
    pub until: Option<Timestamp>,
    /// The sandbox's folder.
    pub root: PathBuf,
    /// Whose the files are to be, where the reader is root.
    pub owner: Option<(u32, u32)>,
}

/// What was found, before a byte of it is copied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    pub set: String,
    /// Those that hold it, in the configuration's order.
    pub repositories: Vec<String>,
    pub system_identifier: u64,
    /// Major version of the server.
    pub version: u32,
    pub finished: Timestamp,
    /// Bytes of the files once they are restored.
    pub data_bytes: u64,
    /// Bytes of the WAL that is copied beside them.
    pub wal_bytes: u64,
    pub tablespaces: usize,
    /// With what each of the repositories was read.
    pub access: Vec<Access>,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    pub files: u64,
    pub bytes: u64,
    pub wal_files: u64,
}

/// Either end of a line between the two.
pub type Answer<T> = Result<T, Explanation>;

/// The second process: takes the order, tells what is there, and copies it when it is told to.
///
/// # Errors
/// Where the drill cannot be heard or spoken to; what the copying met is in the answer.
pub fn serve(config: &Config, input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<()> {
    let order: Order = serde_json::from_str(&line(input)?)?;
    let opened = open(config, &order);
    let facts = opened.as_ref().map(|copy| copy.facts.clone()).map_err(Clone::clone);
    tell(output, &facts)?;
    // Without a word, or with another one, nothing is copied: the drill is gone, or refused.
    if line(input)?.trim() != GO {
        return Ok(());
    }
    if let Ok(copy) = opened {
        tell(output, &copy.bring(&order))?;
    }
    Ok(())
}

fn line(input: &mut dyn BufRead) -> io::Result<String> {
    let mut text = String::new();
    input.read_line(&mut text)?;
    Ok(text)
}

fn tell<T: Serialize>(output: &mut dyn Write, answer: &Answer<T>) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    output.write_all(&text)?;
    output.flush()
}

/// A set that was found, and the places that it can be read from.
struct Copy {
    repositories: Vec<Repository>,
    descriptor: SetDescriptor,
    facts: Facts,
}

fn open(config: &Config, order: &Order) -> Answer<Copy> {
    let cluster = config.cluster(&order.cluster).ok_or_else(|| {
        refuse(
            Kind::NotFound,
            format!("There is no cluster \"{}\" in the configuration.", order.cluster),
            "Name one of those in lifeboat.toml.",
        )
    })?;
    let mut failure = None;
    let mut repositories = Vec::new();
    for name in names(cluster, order) {
        let Some(settings) = config.repository(name) else { continue };
        let (settings, own) = access::settings_of(config, settings);
        match Repository::open_read_only(&settings, &cluster.name) {
            Ok(repository) => repositories.push(repository),
            Err(error) if own && access::is_to_blame(&error) => {
                return Err(access::unusable(name, &error));
            }
            Err(error) => failure = failure.or(Some(error.explanation())),
        }
    }
    let (descriptor, repositories) = holding(repositories, order)
        .map_err(|error| error.or(failure).unwrap_or_else(|| none(order)))?;
    let mut facts =
        facts(&descriptor, &repositories, order).map_err(|error| error.explanation())?;
    // Last: nobody is asked for the sake of a copy that is not made.
    let own = |name: &String| config.sandbox.credentials.contains_key(name);
    let asked = repositories.iter().map(|one| &one.config);
    facts.access = asked.map(|one| access::ask(one, &cluster.name, own(&one.name))).collect();
    Ok(Copy { repositories, descriptor, facts })
}

fn names<'a>(cluster: &'a Cluster, order: &'a Order) -> impl Iterator<Item = &'a String> {
    let only = order.repository.as_ref();
    cluster.repositories.iter().filter(move |name| only.is_none_or(|only| only == *name))
}

/// The set that is meant, with the repositories that hold the same one.
fn holding(
    repositories: Vec<Repository>,
    order: &Order,
) -> Result<(SetDescriptor, Vec<Repository>), Option<Explanation>> {
    let mut failure = None;
    let mut newest: Option<SetDescriptor> = None;
    for repository in &repositories {
        let found = match &order.set {
            Some(set) => repository.read_set(set).map(Some),
            None => {
                repository.find_base(order.until.unwrap_or(Timestamp::MAX)).map(|(found, _)| found)
            }
        };
        match found {
            Ok(Some(set)) if newest.as_ref().is_none_or(|best| best.finished < set.finished) => {
                newest = Some(set);
            }
            Ok(_) => {}
            Err(error) => failure = failure.or(Some(error.explanation())),
        }
    }
    let Some(newest) = newest else { return Err(failure) };
    let same = |repository: &Repository| {
        repository.read_set(&newest.set).is_ok_and(|descriptor| descriptor == newest)
    };
    Ok((newest.clone(), repositories.into_iter().filter(same).collect()))
}

fn facts(
    set: &SetDescriptor,
    repositories: &[Repository],
    order: &Order,
) -> Result<Facts, RepositoryError> {
    let mut segments = OwnWal::count(&set.own_wal());
    if order.until.is_some() {
        let first = first_segment(set).name(set.segment_size);
        for repository in repositories {
            let listed = repository.list_wal(set.timeline, &first, usize::MAX)?;
            segments = segments.max(listed.len() as u64);
        }
    }
    Ok(Facts {
        set: set.set.clone(),
        repositories: repositories.iter().map(|one| one.config.name.clone()).collect(),
        system_identifier: set.system_identifier,
        version: set.server_version_num / 10_000,
        finished: set.finished,
        data_bytes: set.data_bytes,
        wal_bytes: segments.saturating_mul(set.segment_size),
        tablespaces: set.tablespaces.len(),
        access: Vec::new(),
    })
}

fn first_segment(set: &SetDescriptor) -> Segment {
    let (timeline, start): (TimelineId, Lsn) = (set.timeline, set.start_lsn);
    Segment::holding(timeline, start, set.segment_size)
}

impl Copy {
    fn bring(&self, order: &Order) -> Answer<Brought> {
        let copies: Vec<&Repository> = self.repositories.iter().collect();
        let wal_files = self.bring_wal(order)?;
        self.stays_inside(order)?;
        let options = base::Options {
            owner: order.owner,
            tablespaces: self.spaces(order)?,
            ..base::Options::new("copy", &|_| {}, &|| false)
        };
        let restored =
            base::restore_from(&copies, &self.descriptor.set, &order.root.join(DATA), &options)
                .map_err(|error| error.explanation())?;
        Ok(Brought { files: restored.files, bytes: restored.bytes, wal_files })
    }

    /// Where each tablespace of the copy goes: into the sandbox, wherever it was.
    fn spaces(&self, order: &Order) -> Answer<BTreeMap<u32, PathBuf>> {
        let folder = order.root.join(SPACES);
        if !self.descriptor.tablespaces.is_empty() {
            make(&folder, order)?;
        }
        let all = self.descriptor.tablespaces.iter();
        Ok(all.map(|space| (space.oid, folder.join(space.oid.to_string()))).collect())
    }

    /// A replay makes the tablespaces that were made within the WAL by their absolute paths: there
    /// the real server has its own.
    fn stays_inside(&self, order: &Order) -> Answer<()> {
        let set = &self.descriptor;
        let stretch = Stretch {
            timeline: set.timeline,
            from: set.start_lsn,
            until: order.until.is_none().then_some(set.stop_lsn),
            segment_size: set.segment_size,
            system_identifier: set.system_identifier,
        };
        let created = tablespaces_created(&Folder::new(order.root.join(WAL)), &stretch)?;
        match created.iter().find(|(.., place)| !place.is_empty()) {
            None => Ok(()),
            Some((lsn, oid, place)) => Err(refuse(
                Kind::Refused,
                format!(
                    "At LSN {lsn} the WAL that follows {} makes the tablespace {oid} in {place}: a \
                     replay would write there, outside the sandbox.",
                    set.set
                ),
                match order.until {
                    Some(_) => {
                        "Take a backup that was made after that (--set), or the backup's own end: \
                         without --until."
                    }
                    None => "Take a backup that was made after that: --set.",
                },
            )),
        }
    }

    /// The WAL that the replay needs, and every history: the copy's own timeline then gets a
    /// number that none of them has.
    fn bring_wal(&self, order: &Order) -> Answer<u64> {
        let folder = order.root.join(WAL);
        make(&folder, order)?;
        let mut count = 0;
        for repository in &self.repositories {
            for file in repository.history_files().map_err(|error| error.explanation())? {
                let there = folder.join(&file.name).exists();
                count += u64::from(!there && self.bring_file(&file.name, &folder, order)?);
            }
        }
        let own = self.descriptor.own_wal();
        for name in own.names() {
            if !self.bring_file(&name, &folder, order)? {
                return Err(refuse(
                    Kind::Unreachable,
                    format!("{name}, which {} needs, is in no repository.", self.descriptor.set),
                    "Name another backup with --set.",
                ));
            }
            count += 1;
        }
        let mut next = Segment {
            number: first_segment(&self.descriptor).number.saturating_add(OwnWal::count(&own)),
            timeline: self.descriptor.timeline,
        };
        while order.until.is_some()
            && self.bring_file(&next.name(self.descriptor.segment_size), &folder, order)?
        {
            next = next.next();
            count += 1;
        }
        Ok(count)
    }

    /// Whether any repository has it.
    fn bring_file(&self, name: &str, folder: &Path, order: &Order) -> Answer<bool> {
        let mut failure = None;
        for repository in &self.repositories {
            let path = folder.join(name);
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| storage(&path, &error))?;
            match repository.read_wal(name, &mut file) {
                Ok(Some(_)) => {
                    give(&path, order).map_err(|error| storage(&path, &error))?;
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error.explanation())),
            }
            fs::remove_file(&path).map_err(|error| storage(&path, &error))?;
        }
        failure.map_or(Ok(false), Err)
    }
}

fn make(folder: &Path, order: &Order) -> Answer<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .and_then(|()| give(folder, order))
        .map_err(|error| storage(folder, &error))
}

fn give(path: &Path, order: &Order) -> io::Result<()> {
    match order.owner {
        Some((user, group)) => std::os::unix::fs::lchown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

fn storage(path: &Path, error: &io::Error) -> Explanation {
    refuse(
        Kind::Storage,
        format!("{} could not be written: {error}.", path.display()),
        "Make room, or set sandbox.directory to another folder.",
    )
}

fn none(order: &Order) -> Explanation {
    refuse(
        Kind::NotFound,
        match &order.repository {
            Some(name) => format!("\"{name}\" holds no backup of {} to copy.", order.cluster),
            None => format!("No repository holds a backup of {} to copy.", order.cluster),
        },
        "lifeboat list-backups shows what is there.",
    )
}

fn refuse(kind: Kind, what: String, next: &str) -> Explanation {
    Explanation::new(kind, what, "The repository was only read, and no drill was begun.", next)
}
