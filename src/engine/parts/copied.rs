//! A copy of a kept data directory, to be started in its stead. Reads the kept one and writes
//! nothing into it; where the file system can, the copies share their blocks until they change.

use super::error::PartsError;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use crate::engine::runner::plan::KeptSpace;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a running or recovering server that a copy must not begin with.
const LEFT_OUT: [&str; 4] =
    ["postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"];

/// Where the content of a kept directory's tablespace is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Space {
    /// Its name below `pg_tblspc`.
    name: OsString,
    from: PathBuf,
    /// The folder's name within the tablespace; `None` where `from` is the whole of it.
    folder: Option<OsString>,
}

/// Bytes of everything below `kept`, what its links lead to included: those of tablespaces to where
/// `spaces` says that they are kept.
///
/// # Errors
/// Where something cannot be read, or where a tablespace is kept is not known.
pub fn size(kept: &Path, spaces: &[KeptSpace]) -> Result<u64, PartsError> {
    let mut total = below(kept)?;
    for space in found(kept, spaces)? {
        total += below(&space.from)?;
    }
    Ok(total)
}

fn below(folder: &Path) -> Result<u64, PartsError> {
    let mut total = 0;
    for entry in fs::read_dir(folder).map_err(PartsError::file(folder, "it cannot be listed"))? {
        let path = entry.map_err(PartsError::file(folder, "it cannot be listed"))?.path();
        // Tablespaces are looked at by who calls this.
        if path.file_name().is_some_and(|name| name == "pg_tblspc") {
            continue;
        }
        let meta = path.metadata().map_err(PartsError::file(&path, "it cannot be read"))?;
        total += if meta.is_dir() { below(&path)? } else { meta.len() };
    }
    Ok(total)
}

/// Whether `kept` has tablespaces outside of it.
#[must_use]
pub fn has_linked_spaces(kept: &Path) -> bool {
    let entries = fs::read_dir(kept.join("pg_tblspc")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().is_symlink())
}

/// Every tablespace of `kept`, with where it is now. Its link is not followed: that leads to where
/// the recovered server keeps its own.
fn found(kept: &Path, spaces: &[KeptSpace]) -> Result<Vec<Space>, PartsError> {
    let links = kept.join("pg_tblspc");
    let mut all = Vec::new();
    for entry in fs::read_dir(&links).map_err(PartsError::file(&links, "it cannot be listed"))? {
        let entry = entry.map_err(PartsError::file(&links, "it cannot be listed"))?;
        let (name, path) = (entry.file_name(), entry.path());
        if !path.is_symlink() {
            all.push(Space { name, from: path, folder: None });
            continue;
        }
        let oid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        let space = spaces.iter().find(|space| Some(space.oid) == oid && space.kept.is_dir());
        let Some(space) = space else { return Err(unknown(kept, &name.to_string_lossy())) };
        let folder = space.folder.file_name().map(ToOwned::to_owned);
        all.push(Space { name, from: space.kept.clone(), folder });
    }
    Ok(all)
}

fn unknown(kept: &Path, name: &str) -> PartsError {
    PartsError::refused(
        format!(
            "{} has a tablespace, {name}, and no incident's plan says where its files are kept: its \
             link leads to where the recovered server keeps its own.",
            kept.display()
        ),
        "Name the incident (--incident) that set it aside; or start a copy of it by hand, with its \
         links led to the kept folders.",
    )
}

/// Hears of each file before it is copied, with the bytes that were; ends the copying by `false`.
pub type Watched<'a> = &'a mut dyn FnMut(&Path, u64) -> bool;

/// Copies `kept` to `copy`. A linked `pg_wal` becomes a folder; tablespaces go into `into`, from
/// where `spaces` says that they are kept.
///
/// # Errors
/// Where something cannot be read or written, or it was ended ([`Kind::Cancelled`]); `kept` is as it
/// was.
pub fn copy(
    kept: &Path,
    spaces: &[KeptSpace],
    (copy, into): (&Path, &Path),
    owner: &Owner,
    watched: Watched<'_>,
) -> Result<(), PartsError> {
    let found = found(kept, spaces)?;
    let mut copying = Copying { owner, done: 0, watched };
    copying.folder(kept, copy)?;
    for space in found {
        make(into, owner)?;
        let place = into.join(&space.name);
        make(&place, owner)?;
        let to = space.folder.map_or_else(|| place.clone(), |name| place.join(name));
        copying.folder(&space.from, &to)?;
        let link = copy.join("pg_tblspc").join(&space.name);
        std::os::unix::fs::symlink(&place, &link)
            .map_err(PartsError::file(&link, "it could not be made"))?;
    }
    for name in LEFT_OUT {
        let path = copy.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(PartsError::file(&path, "it could not be left out"))?;
        }
    }
    Ok(())
}

fn make(path: &Path, owner: &Owner) -> Result<(), PartsError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir(path)
        .and_then(|()| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        })
        .and_then(|()| child::give(path, owner))
        .map_err(PartsError::file(path, "it could not be made"))
}

/// A copy on its way.
struct Copying<'a> {
    owner: &'a Owner,
    /// Bytes.
    done: u64,
    watched: Watched<'a>,
}

impl Copying<'_> {
    fn folder(&mut self, from: &Path, to: &Path) -> Result<(), PartsError> {
        make(to, self.owner)?;
        for entry in fs::read_dir(from).map_err(PartsError::file(from, "it cannot be listed"))? {
            let entry = entry.map_err(PartsError::file(from, "it cannot be listed"))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            // Tablespaces are copied by who calls this.
            let space = from.file_name().is_some_and(|name| name == "pg_tblspc");
            let meta = source.metadata().map_err(PartsError::file(&source, "it cannot be read"))?;
            if space {
                continue;
            }
            if meta.is_dir() {
                self.folder(&source, &target)?;
            } else if meta.is_file() {
                if !(self.watched)(&source, self.done) {
                    return Err(cancelled());
                }
                fs::copy(&source, &target)
                    .and_then(|_| child::give(&target, self.owner))
                    .map_err(PartsError::file(&target, "it could not be copied"))?;
                self.done = self.done.saturating_add(meta.len());
            }
        }
        Ok(())
    }
}

fn cancelled() -> PartsError {
    PartsError::Engine(Explanation::new(
        Kind::Cancelled,
        "Copying the kept directory was cancelled.",
        "The kept directory and production are as they were.",
        "Retry copies it anew.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::explain::Explain;

    #[test]
    fn a_copy_has_its_own_tablespaces_and_wal_and_no_servers_traces() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let folders = ["kept/pg_tblspc/78", "kept/base/1", "wal", "space/PG_15", "space/PG_15.old"];
        for name in folders {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("kept/base/1/2"), "rows").unwrap();
        fs::write(at("kept/pg_tblspc/78/4"), "in").unwrap();
        fs::write(at("kept/postmaster.pid"), "1").unwrap();
        fs::write(at("kept/standby.signal"), "").unwrap();
        fs::write(at("wal/1"), "log").unwrap();
        fs::write(at("space/PG_15.old/3"), "far").unwrap();
        fs::write(at("space/PG_15/3"), "the recovered server's").unwrap();
        std::os::unix::fs::symlink(at("wal"), at("kept/pg_wal")).unwrap();
        std::os::unix::fs::symlink(at("space"), at("kept/pg_tblspc/77")).unwrap();
        let space = |oid| KeptSpace { oid, folder: at("space/PG_15"), kept: at("space/PG_15.old") };
        // Nothing is guessed where no plan says where it is kept.
        let owner = Owner::current();
        for known in [vec![], vec![space(76)]] {
            let no = at("no");
            let refused = copy(&at("kept"), &known, (&no, &no), &owner, &mut |_, _| true);
            assert!(refused.unwrap_err().to_string().contains("tablespace, 77"));
            assert!(size(&at("kept"), &known).is_err() && !at("no").exists());
        }
        let known = [space(77)];
        assert!(has_linked_spaces(&at("kept")) && !has_linked_spaces(&at("space")));
        assert_eq!(size(&at("kept"), &known).unwrap(), 13);
        // Ended before a file, it says so and copies no more.
        let (once, spaces) = (at("once"), at("once-spaces"));
        let ended = copy(&at("kept"), &known, (&once, &spaces), &owner, &mut |_, done| done == 0);
        assert_eq!(ended.unwrap_err().explanation().kind, Kind::Cancelled);
        let (to, spaces) = (at("copy"), at("spaces"));
        let mut heard = 0;
        let mut watched = |_: &Path, done| {
            heard = done;
            true
        };
        copy(&at("kept"), &known, (&to, &spaces), &owner, &mut watched).unwrap();
        assert!(heard > 0 && heard < 13, "{heard}");
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(read("copy/base/1/2"), "rows");
        assert_eq!(read("copy/pg_wal/1"), "log");
        assert!(!at("copy/pg_wal").is_symlink());
        assert_eq!(read("copy/pg_tblspc/77/PG_15/3"), "far");
        assert_eq!(read("copy/pg_tblspc/78/4"), "in");
        assert_eq!(fs::read_link(at("copy/pg_tblspc/77")).unwrap(), at("spaces/77"));
        assert!(!at("copy/postmaster.pid").exists() && !at("copy/standby.signal").exists());
        assert!(at("kept/postmaster.pid").exists() && at("kept/standby.signal").exists());
    }
}
