//! Rescue of the WAL that the archive does not hold, from the `pg_wal` of a damaged data
//! directory. Owns the rescue folder: plain files, synced, never overwritten. Reads the damaged
//! directory and changes nothing in it.

use super::identity::{self, NotTheSegment};
use super::names::WalFile;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::files;
use crate::engine::repository::Repository;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Where earlier rescues of a file go that the server has written to since.
const SUPERSEDED: &str = "superseded";

/// What a rescue found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RescueSummary {
    /// Files in the rescue folder that no archive holds, by name; those of an earlier run too.
    pub rescued: Vec<String>,
    /// Bytes of these files.
    pub bytes: u64,
    /// Lowest and highest name of a rescued segment, by name.
    pub first: Option<String>,
    pub last: Option<String>,
    /// Files that an archive holds with the same content.
    pub archived: u64,
    /// Files that an archive holds with **another** content. They were not copied.
    pub different: Vec<Note>,
    /// Files that were rescued although an archive could not be asked for them.
    pub unproven: Vec<Note>,
    /// Files that were left alone, and why.
    pub skipped: Vec<Note>,
}

/// A file and a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub name: String,
    pub why: String,
}

/// Why the rescue did not finish. Files rescued before stay.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{name} in {} belongs to the cluster with system identifier {found}, not {expected}",
        folder.display()
    )]
    OtherCluster { folder: PathBuf, name: String, found: u64, expected: u64 },
}

impl Explain for RescueError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Read { .. } => (
                Kind::Storage,
                "Read what can be read: copy pg_wal by hand to another volume, and go on from \
                 there.",
            ),
            Self::Write { .. } => (Kind::Storage, "Make room, or name another rescue folder."),
            Self::OtherCluster { .. } => (Kind::Refused, "Check the data directory."),
        };
        let untouched = "The damaged data directory was only read.";
        Explanation::new(kind, sentence(self), untouched, next)
    }
}

/// What [`rescue`] is asked.
#[derive(Debug)]
pub struct RescueRequest<'a> {
    /// The damaged directory's `pg_wal`.
    pub pg_wal: &'a Path,
    /// The cluster's, from its `pg_control`.
    pub system_identifier: u64,
    /// The archives, or why one cannot be asked.
    pub archives: &'a [Result<Repository, Explanation>],
    /// Made where it is missing. Where root rescues, it is given to the owner of `pg_wal`, as
    /// whom the recovering server reads it.
    pub into: &'a Path,
}

/// Copies what no archive holds. Again after the server has stopped, it copies what was written
/// since. `progress` hears files looked at, and all of them.
///
/// # Errors
/// Where a file cannot be read or written, or belongs to another cluster. It can be run again.
pub fn rescue(
    request: &RescueRequest<'_>,
    progress: &dyn Fn(usize, usize),
) -> Result<RescueSummary, RescueError> {
    let found = fs::metadata(request.pg_wal)
        .map_err(|source| RescueError::Read { path: request.pg_wal.to_owned(), source })?;
    let is_root = rustix::process::geteuid().is_root();
    let into = Into { folder: request.into, owner: is_root.then(|| (found.uid(), found.gid())) };
    into.make(request.into)?;
    let mut summary = RescueSummary::default();
    let names = names(request.pg_wal)?;
    for (i, name) in names.iter().enumerate() {
        progress(i, names.len());
        one(request, &into, name, &mut summary)?;
    }
    progress(names.len(), names.len());
    let is_segment = |name: &&String| matches!(WalFile::parse(name), Some(WalFile::Segment { .. }));
    summary.first = summary.rescued.iter().find(is_segment).cloned();
    summary.last = summary.rescued.iter().rfind(is_segment).cloned();
    Ok(summary)
}

fn one(
    request: &RescueRequest<'_>,
    into: &Into<'_>,
    name: &str,
    summary: &mut RescueSummary,
) -> Result<(), RescueError> {
    let note = |why: String| Note { name: name.to_owned(), why };
    let path = request.pg_wal.join(name);
    let content = match fs::read(&path) {
        // A running server renames and removes files while they are listed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            summary.skipped.push(note("it went away while it was looked at".to_owned()));
            return Ok(());
        }
        read => read.map_err(|source| RescueError::Read { path: path.clone(), source })?,
    };
    match WalFile::parse(name) {
        Some(WalFile::Segment { .. }) => {
            match identity::check(name, &content, content.len() as u64) {
                Ok(found) if found.system_identifier != request.system_identifier => {
                    return Err(RescueError::OtherCluster {
                        folder: request.pg_wal.to_owned(),
                        name: name.to_owned(),
                        found: found.system_identifier,
                        expected: request.system_identifier,
                    });
                }
                Ok(_) => {}
                Err(why @ (NotTheSegment::Recycled(_) | NotTheSegment::Empty)) => {
                    summary.skipped.push(note(why.to_string()));
                    return Ok(());
                }
                // Damage: it may still be all that is left of these transactions. It is kept in
                // the damaged directory, and named here; a server could not replay it.
                Err(why) => {
                    summary.skipped.push(note(format!("{why}; look at it by hand")));
                    return Ok(());
                }
            }
        }
        Some(WalFile::Partial { .. }) => {
            summary.skipped.push(note("a partial segment is never replayed by itself".to_owned()));
            return Ok(());
        }
        Some(WalFile::History { .. } | WalFile::BackupLabel { .. }) => {}
        None => {
            summary.skipped.push(note("it is not a write-ahead log file".to_owned()));
            return Ok(());
        }
    }
    match compare(request.archives, name, &content) {
        Standing::Archived => summary.archived += 1,
        Standing::Different(place) => summary.different.push(note(format!(
            "{place} holds another content under this name; the one in {} was not copied and \
             stays where it is",
            request.pg_wal.display()
        ))),
        Standing::Absent(doubt) => {
            into.keep(name, &content)?;
            summary.rescued.push(name.to_owned());
            summary.bytes += content.len() as u64;
            if let Some(why) = doubt {
                summary.unproven.push(note(why));
            }
        }
    }
    Ok(())
}

enum Standing {
    Archived,
    /// In which archive.
    Different(String),
    /// Not in any that could be asked; and why one could not.
    Absent(Option<String>),
}

fn compare(archives: &[Result<Repository, Explanation>], name: &str, content: &[u8]) -> Standing {
    let (mut same, mut doubt) = (false, None);
    for archive in archives {
        match archive {
            Err(why) => drop(doubt.get_or_insert_with(|| why.what.clone())),
            Ok(repository) => match repository.get_wal(name) {
                Ok(Some(archived)) if archived == content => same = true,
                Ok(Some(_)) => return Standing::Different(repository.store.describe()),
                Ok(None) => {}
                Err(e) => drop(doubt.get_or_insert_with(|| e.explanation().what)),
            },
        }
    }
    if same { Standing::Archived } else { Standing::Absent(doubt) }
}

/// The rescue folder.
struct Into<'a> {
    folder: &'a Path,
    /// Whom all in it is given to.
    owner: Option<(u32, u32)>,
}

impl Into<'_> {
    /// Puts a file there, durably. One that is there with another content is an earlier state of
    /// the segment that the server was writing: it is put aside, never overwritten.
    fn keep(&self, name: &str, content: &[u8]) -> Result<(), RescueError> {
        let path = self.folder.join(name);
        let failed = |source| RescueError::Write { path: path.clone(), source };
        match fs::read(&path) {
            Ok(earlier) if earlier == content => {}
            Ok(_) => {
                self.put_aside(name)?;
                files::create(&path, content, 0o600).map_err(failed)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                files::create(&path, content, 0o600).map_err(failed)?;
            }
            Err(e) => return Err(failed(e)),
        }
        // An earlier run may have been stopped between naming the file and all this.
        self.give(&path)
            .and_then(|()| fs::File::open(&path)?.sync_all())
            .and_then(|()| files::sync_parent(&path))
            .map_err(failed)
    }

    fn put_aside(&self, name: &str) -> Result<(), RescueError> {
        let folder = self.folder.join(SUPERSEDED);
        self.make(&folder)?;
        for count in 1..=10_000_u32 {
            let aside = folder.join(format!("{name}.{count}"));
            let failed = |source| RescueError::Write { path: aside.clone(), source };
            match fs::hard_link(self.folder.join(name), &aside) {
                Ok(()) => {
                    files::sync_parent(&aside).map_err(failed)?;
                    return fs::remove_file(self.folder.join(name)).map_err(failed);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        let source = io::Error::other("too many earlier rescues of this file");
        Err(RescueError::Write { path: folder.join(name), source })
    }

    fn make(&self, path: &Path) -> Result<(), RescueError> {
        let failed = |source| RescueError::Write { path: path.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .and_then(|()| self.give(path))
            .and_then(|()| files::sync_parent(path))
            .map_err(failed)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

/// Files right in `pg_wal`, by name.
fn names(pg_wal: &Path) -> Result<Vec<String>, RescueError> {
    let failed = |source| RescueError::Read { path: pg_wal.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(pg_wal).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // `archive_status` and `summaries` are folders.
        if !entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::testing::Place;
    use crate::engine::wal::Segment;
    use crate::engine::wal::identity::made;

    const SIZE: u32 = 1 << 20;
    const SYSTEM: u64 = 7;

    fn name(number: u64) -> String {
        Segment { timeline: 1, number }.name(u64::from(SIZE))
    }

    struct Damaged {
        folder: tempfile::TempDir,
        place: Place,
    }

    impl Damaged {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("pg_wal/archive_status")).unwrap();
            Self { folder, place: Place::encrypted() }
        }

        fn put(&self, name: &str, content: &[u8]) {
            fs::write(self.folder.path().join("pg_wal").join(name), content).unwrap();
        }

        fn rescued(&self, name: &str) -> Option<Vec<u8>> {
            fs::read(self.folder.path().join("rescue").join(name)).ok()
        }

        fn run(&self, archives: &[Result<Repository, Explanation>]) -> RescueSummary {
            self.try_run(archives).unwrap()
        }

        fn try_run(
            &self,
            archives: &[Result<Repository, Explanation>],
        ) -> Result<RescueSummary, RescueError> {
            let request = RescueRequest {
                pg_wal: &self.folder.path().join("pg_wal"),
                system_identifier: SYSTEM,
                archives,
                into: &self.folder.path().join("rescue"),
            };
            rescue(&request, &|_, _| {})
        }
    }

    fn segment(number: u64) -> Vec<u8> {
        made::segment(&name(number), SYSTEM, SIZE)
    }

    #[test]
    fn what_the_archive_lacks_is_copied_and_nothing_else() {
        let damaged = Damaged::new();
        let repository = damaged.place.repository();
        for number in 1..=3 {
            damaged.put(&name(number), &segment(number));
        }
        repository.put_wal(&name(1), &segment(1)).unwrap();
        damaged.put("00000002.history", b"1\t0/300000\tno reason\n");
        damaged.put(&format!("{}.partial", name(2)), b"partial");
        damaged.put(&name(4), &segment(1));
        damaged.put(&name(5), &vec![0; SIZE as usize]);
        let summary = damaged.run(&[Ok(repository)]);
        assert_eq!(summary.rescued, [name(2), name(3), "00000002.history".to_owned()]);
        assert_eq!((summary.first, summary.last), (Some(name(2)), Some(name(3))));
        assert_eq!((summary.archived, summary.different.len()), (1, 0));
        let skipped: Vec<_> = summary.skipped.iter().map(|n| n.name.clone()).collect();
        assert_eq!(skipped, [format!("{}.partial", name(2)), name(4), name(5)]);
        assert_eq!(damaged.rescued(&name(3)).unwrap(), segment(3));
        assert_eq!(damaged.rescued(&name(1)), None);
        assert_eq!(damaged.rescued(&name(4)), None, "a recycled file");
    }

    #[test]
    fn a_second_run_takes_what_was_written_since_and_keeps_the_first() {
        let damaged = Damaged::new();
        let mut early = segment(1);
        early[500_000..].fill(0);
        damaged.put(&name(1), &early);
        assert_eq!(damaged.run(&[Ok(damaged.place.repository())]).rescued, [name(1)]);
        damaged.put(&name(1), &segment(1));
        for _ in 0..2 {
            let summary = damaged.run(&[Ok(damaged.place.repository())]);
            assert_eq!((summary.rescued, summary.bytes), (vec![name(1)], u64::from(SIZE)));
            assert_eq!(damaged.rescued(&name(1)).unwrap(), segment(1));
            let aside = damaged.rescued(&format!("superseded/{}.1", name(1)));
            assert_eq!(aside.unwrap(), early);
            assert_eq!(damaged.rescued(&format!("superseded/{}.2", name(1))), None);
        }
    }

    #[test]
    fn another_content_in_the_archive_is_told_and_nothing_overwritten() {
        let damaged = Damaged::new();
        let repository = damaged.place.repository();
        let mut other = segment(1);
        other[900_000] ^= 1;
        repository.put_wal(&name(1), &other).unwrap();
        damaged.put(&name(1), &segment(1));
        let summary = damaged.run(&[Ok(repository)]);
        assert_eq!((summary.different.len(), summary.rescued.len()), (1, 0));
        assert_eq!(damaged.place.repository().get_wal(&name(1)).unwrap().unwrap(), other);
    }

    #[test]
    fn an_archive_that_cannot_be_asked_is_no_reason_to_lose_anything() {
        let damaged = Damaged::new();
        damaged.put(&name(1), &segment(1));
        let why = Explanation::new(Kind::Storage, "The volume is not mounted.", "", "");
        let summary = damaged.run(&[Err(why)]);
        assert_eq!(summary.rescued, [name(1)]);
        assert_eq!(summary.unproven[0].why, "The volume is not mounted.");
    }

    #[test]
    fn another_clusters_directory_is_refused() {
        let damaged = Damaged::new();
        damaged.put(&name(1), &made::segment(&name(1), SYSTEM + 1, SIZE));
        let refused = damaged.try_run(&[]).unwrap_err();
        assert!(matches!(refused, RescueError::OtherCluster { .. }), "{refused}");
        assert_eq!(damaged.rescued(&name(1)), None);
    }
}
