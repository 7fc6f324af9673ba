//! Which PostgreSQL servers run on this machine: from the process table and from the usual data
//! directories. Looks only. What another user's permissions hide is counted, never guessed.

use crate::engine::postgres::discovery::{self, Owner, Running};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose entries, and their `data` and `main`, may be data directories.
const USUAL: [&str; 3] = ["/var/lib/postgresql", "/var/lib/pgsql", "/usr/local/pgsql"];
/// How deep below those a data directory lies: `/var/lib/postgresql/15/main`.
const DEPTH: usize = 2;

/// A running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    pub data_directory: PathBuf,
    /// Major version.
    pub version: u32,
    /// The user that it runs as.
    pub owner: String,
    pub pid: i32,
    pub port: u16,
    /// The first of its socket folders; absent where it has none.
    pub socket_directory: Option<PathBuf>,
}

impl Found {
    /// How to reach it from this machine.
    #[must_use]
    pub fn host(&self) -> String {
        self.socket_directory
            .as_ref()
            .map_or_else(|| String::from("localhost"), |path| path.display().to_string())
    }

    /// A name for the cluster: `main` of Debian says nothing alone.
    #[must_use]
    pub fn suggested_name(&self) -> String {
        suggested_name(&self.data_directory)
    }
}

/// A cluster's name from its data directory, in the characters that a name may have.
#[must_use]
pub fn suggested_name(data_directory: &Path) -> String {
    let usual = |name: &str| {
        matches!(name, "data" | "pgdata" | "postgresql" | "pgsql" | "lib" | "main")
            || name.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let names = data_directory.ancestors().filter_map(Path::file_name).filter_map(|n| n.to_str());
    let clean: String = names
        .take_while(|name| *name != "var" && *name != "tmp")
        .find(|name| !usual(name) && !name.starts_with(['.', '-']))
        .unwrap_or("main")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' })
        .take(63)
        .collect();
    clean.trim_start_matches('-').to_owned()
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Servers {
    /// By data directory.
    pub found: Vec<Found>,
    /// Servers of other users that this one may not look at.
    pub hidden: usize,
}

/// Every running server that can be seen.
#[must_use]
pub fn servers() -> Servers {
    let mut directories = BTreeSet::new();
    let mut hidden = 0;
    for (process, parent_is_server) in server_processes() {
        if parent_is_server {
            continue;
        }
        match fs::read_link(process.join("cwd")) {
            Ok(directory) => drop(directories.insert(directory)),
            Err(_) => hidden += 1,
        }
    }
    let named = std::env::var_os("PGDATA").map(PathBuf::from).filter(|p| p.is_absolute());
    let usual = USUAL.iter().flat_map(|root| below(Path::new(root), DEPTH));
    for directory in named.into_iter().chain(usual) {
        if let Ok(real) = directory.canonicalize() {
            directories.insert(real);
        }
    }
    let found = directories.iter().filter_map(|directory| look(directory)).collect();
    Servers { found, hidden }
}

/// The server of one data directory, where one runs in it.
#[must_use]
pub fn look(data_directory: &Path) -> Option<Found> {
    let version = crate::engine::postgres::control_file::major_version(data_directory).ok()?;
    let owner: Owner = discovery::owner(data_directory).ok()?;
    let Running::Yes(postmaster) = discovery::running(data_directory).ok()? else { return None };
    Some(Found {
        data_directory: data_directory.to_owned(),
        version,
        owner: owner.to_string(),
        pid: postmaster.pid,
        port: postmaster.port.unwrap_or(5432),
        socket_directory: postmaster.socket_directory,
    })
}

/// The folders of the server's processes, and whether each is a child of another of them.
fn server_processes() -> Vec<(PathBuf, bool)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes: Vec<(i32, i32, PathBuf)> = entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, rest) = stat.rsplit_once(") ")?;
            let name = head.split_once('(')?.1;
            let parent = rest.split(' ').nth(1)?.parse().ok()?;
            matches!(name, "postgres" | "postmaster").then(|| (pid, parent, entry.path()))
        })
        .collect();
    let pids: BTreeSet<i32> = processes.iter().map(|(pid, ..)| *pid).collect();
    processes.into_iter().map(|(_, parent, path)| (path, pids.contains(&parent))).collect()
}

fn below(root: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    if depth > 0 {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(below(&entry.path(), depth - 1));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_suggested_from_what_says_something() {
        for (path, name) in [
            ("/var/lib/postgresql/15/main", "main"),
            ("/srv/orders/data", "orders"),
            ("/srv/pgsql/16/sales db", "sales-db"),
            ("/data", "main"),
        ] {
            assert_eq!(suggested_name(Path::new(path)), name, "{path}");
        }
    }

    #[test]
    fn a_folder_without_a_server_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(folder.path()), None);
        fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(look(folder.path()), None);
    }
}
