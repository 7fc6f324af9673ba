//! What of a data directory goes into a base backup. Owns PostgreSQL's list of what to leave out,
//! and the order of the rest; never opens a file.

use super::error::BackupError;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders whose content the server makes anew, or that belongs to the old server alone.
const EMPTIED: [&str; 8] = [
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
];

/// Files of the data directory itself that describe the running server, or another backup.
const LEFT_OUT: [&str; 13] = [
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "current_logfiles.tmp",
    "lost+found",
    "postgresql.auto.conf.tmp",
    "postmaster.opts",
    "postmaster.pid",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
    "tablespace_map.old",
    crate::engine::restore::base::MARKER,
];

/// The last file of a backup, and of a restore.
pub const CONTROL_FILE: &str = "global/pg_control";

/// A folder or file to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the data directory, with `/`.
    pub path: String,
    /// Where it is now.
    pub place: PathBuf,
    pub kind: FoundKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// `link` is where the folder really is, for a tablespace.
    Directory { mode: u32, mtime: i64, uid: u32, gid: u32, link: Option<PathBuf> },
    /// Size and such are taken when it is opened; `size` is only for the sum.
    File { size: u64 },
}

/// What cannot be backed up and is no reason to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub path: String,
    pub why: &'static str,
}

/// A walk through one data directory.
#[derive(Debug)]
pub struct Walk<'a> {
    pub data_directory: &'a Path,
    /// The folder inside a tablespace that belongs to this server: `PG_15_202209061`.
    pub tablespace_folder: String,
    pub left_out: Vec<LeftOut>,
}

impl Walk<'_> {
    /// Hands every folder, before its content, and every file but `global/pg_control` to `take`,
    /// by name. What vanishes meanwhile is passed over.
    ///
    /// # Errors
    /// Where a folder could not be read, or `take` fails.
    pub fn run(
        &mut self,
        take: &mut dyn FnMut(Found) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let root = self.data_directory.to_path_buf();
        self.folder(&root, "", take)
    }

    fn folder(
        &mut self,
        place: &Path,
        path: &str,
        take: &mut dyn FnMut(Found) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(names) = self.names(place, path)? else { return Ok(()) };
        let unlogged: HashSet<&str> =
            names.iter().filter_map(|name| name.strip_suffix("_init")).collect();
        for name in &names {
            if leave_out(path, name) || is_unlogged(name, &unlogged) {
                continue;
            }
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if below == CONTROL_FILE {
                continue;
            }
            self.one(&place.join(name), &below, take)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        place: &Path,
        path: &str,
        take: &mut dyn FnMut(Found) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(meta) = present(fs::symlink_metadata(place), place)? else { return Ok(()) };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let link = if meta.is_symlink() {
            Some(present(fs::read_link(place), place)?.unwrap_or_default())
        } else {
            None
        };
        let Some(meta) = (if link.is_some() { self.follow(place, path)? } else { Some(meta) })
        else {
            return Ok(());
        };
        let found = |kind| Found { path: path.to_owned(), place: place.to_path_buf(), kind };
        if meta.is_file() && link.is_none() {
            return take(found(FoundKind::File { size: meta.len() }));
        }
        if !meta.is_dir() {
            let why = if link.is_some() {
                "it is a symbolic link; keep a copy of the file that it points to"
            } else {
                "it is neither a file nor a folder"
            };
            self.left_out.push(LeftOut { path: path.to_owned(), why });
            return Ok(());
        }
        let is_tablespace = folder == "pg_tblspc" && link.is_some();
        if link.is_some() && !is_tablespace && path != "pg_wal" && !EMPTIED.contains(&path) {
            let why = "it is a symbolic link, and PostgreSQL makes none of that name";
            self.left_out.push(LeftOut { path: path.to_owned(), why });
            return Ok(());
        }
        let directory = |link| FoundKind::Directory {
            mode: meta.mode() & 0o7777,
            mtime: meta.mtime(),
            uid: meta.uid(),
            gid: meta.gid(),
            link,
        };
        take(found(directory(link.filter(|_| is_tablespace))))?;
        if path == "pg_wal" {
            let status = Found {
                path: String::from("pg_wal/archive_status"),
                place: place.join("archive_status"),
                kind: directory(None),
            };
            return take(status);
        }
        if EMPTIED.contains(&path) {
            return Ok(());
        }
        if is_tablespace {
            // Other servers may keep a folder of theirs beside ours.
            let name = self.tablespace_folder.clone();
            return self.one(&place.join(&name), &format!("{path}/{name}"), take);
        }
        self.folder(place, path, take)
    }

    fn follow(&mut self, place: &Path, path: &str) -> Result<Option<fs::Metadata>, BackupError> {
        let meta = present(fs::metadata(place), place)?;
        if meta.is_none() {
            let why = "it is a symbolic link to nothing";
            self.left_out.push(LeftOut { path: path.to_owned(), why });
        }
        Ok(meta)
    }

    /// The folder's names, sorted; `None` where it vanished.
    fn names(&mut self, place: &Path, path: &str) -> Result<Option<Vec<String>>, BackupError> {
        let Some(entries) = present(fs::read_dir(place), place)? else { return Ok(None) };
        let mut names = Vec::new();
        for entry in entries {
            let Some(entry) = present(entry, place)? else { continue };
            match entry.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => self.left_out.push(LeftOut {
                    path: format!("{path}/{}", name.to_string_lossy()),
                    why: "its name is not UTF-8, and PostgreSQL makes no such names",
                }),
            }
        }
        names.sort_unstable();
        Ok(Some(names))
    }
}

/// `None` where it vanished, as files of a running server do.
fn present<T>(result: io::Result<T>, place: &Path) -> Result<Option<T>, BackupError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BackupError::Read { path: place.to_path_buf(), source }),
    }
}

fn leave_out(folder: &str, name: &str) -> bool {
    name.starts_with("pgsql_tmp")
        || name.starts_with("pg_internal.init")
        || (folder.is_empty() && LEFT_OUT.contains(&name))
        // What a recovery into a mount point has kept of the cluster before it.
        || (folder.is_empty() && name.starts_with(crate::engine::restore::places::KEPT))
        || is_temporary_relation(name)
}

/// `t3_16402`, `t3_16402_fsm.1`: relations of one session, gone when the server starts.
fn is_temporary_relation(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some((session, rest)) = name.strip_prefix('t').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    let (rest, segment) = rest.split_once('.').unwrap_or((rest, "0"));
    let (node, fork) = rest.split_once('_').unwrap_or((rest, "vm"));
    digits(session) && digits(node) && digits(segment) && matches!(fork, "fsm" | "vm")
}

/// Whether the file belongs to an unlogged relation, whose init fork alone is kept: the server
/// makes the others from it.
fn is_unlogged(name: &str, unlogged: &HashSet<&str>) -> bool {
    let fork = name.split_once('.').map_or(name, |(fork, _)| fork);
    match fork.split_once('_') {
        Some((_, "init")) => false,
        Some((node, _)) => unlogged.contains(node),
        None => unlogged.contains(fork),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn walk(root: &Path) -> (BTreeMap<String, FoundKind>, Vec<String>, Vec<LeftOut>) {
        let mut walk = Walk {
            data_directory: root,
            tablespace_folder: String::from("PG_15_1"),
            left_out: Vec::new(),
        };
        let (mut found, mut order) = (BTreeMap::new(), Vec::new());
        walk.run(&mut |one| {
            order.push(one.path.clone());
            found.insert(one.path, one.kind);
            Ok(())
        })
        .unwrap();
        (found, order, walk.left_out)
    }

    fn make(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }

    #[test]
    fn leaves_out_what_postgresql_says() {
        let root = tempfile::tempdir().unwrap();
        let kept = [
            "PG_VERSION",
            "base/5/16402",
            "base/5/16402.1",
            "base/5/16410_init",
            "base/5/t1_table",
            "global/1262",
            "log/server.log",
            "pg_xact/0000",
        ];
        let out = [
            "postmaster.pid",
            "postmaster.opts",
            "backup_label.old",
            "lifeboat-kept.20260101-120000/global/1262",
            "base/5/16410",
            "base/5/16410.1",
            "base/5/16410_fsm",
            "base/5/pg_internal.init",
            "base/5/t3_16402",
            "base/5/t3_16402_vm.2",
            "base/pgsql_tmp/pgsql_tmp77.0",
            "global/pg_control",
            "global/pg_internal.init.99",
            "pg_replslot/one/state",
            "pg_stat_tmp/global.stat",
            "pg_subtrans/0000",
            "pg_wal/000000010000000000000001",
            "recovery.signal",
        ];
        make(root.path(), &kept);
        make(root.path(), &out);
        let (found, order, left_out) = walk(root.path());
        for path in kept {
            assert!(found.contains_key(path), "{path} is missing");
        }
        for path in out {
            assert!(!found.contains_key(path), "{path} is there");
        }
        for folder in ["pg_wal", "pg_wal/archive_status", "pg_replslot", "pg_subtrans"] {
            assert!(matches!(found.get(folder), Some(FoundKind::Directory { .. })), "{folder}");
        }
        assert!(left_out.is_empty());
        let at = |path| order.iter().position(|other| other == path).unwrap();
        assert!(at("base") < at("base/5") && at("base/5") < at("base/5/16402"));
    }

    #[test]
    fn a_tablespace_is_followed_into_its_own_servers_folder() {
        let root = tempfile::tempdir().unwrap();
        let space = tempfile::tempdir().unwrap();
        make(space.path(), &["PG_15_1/5/16500", "PG_14_9/5/16500"]);
        fs::create_dir(root.path().join("pg_tblspc")).unwrap();
        std::os::unix::fs::symlink(space.path(), root.path().join("pg_tblspc/16499")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("stray")).unwrap();
        let (found, _, left_out) = walk(root.path());
        assert!(found.contains_key("pg_tblspc/16499/PG_15_1/5/16500"));
        assert!(!found.keys().any(|path| path.contains("PG_14_9")));
        let link = Some(space.path().to_path_buf());
        assert!(
            matches!(found.get("pg_tblspc/16499"), Some(FoundKind::Directory { link: to, .. }) if *to == link)
        );
        assert_eq!(left_out.len(), 1, "{left_out:?}");
    }
}
