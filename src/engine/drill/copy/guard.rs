//! Telling a copy from the cluster that it was made of. Both have the same system identifier, so
//! that number tells nothing: a copy is known by where it runs. Owns the rules, on values that were
//! gathered before the real places were hidden; see docs/decisions/drill-on-a-copy.md.

use crate::engine::config::{Cluster, Config, Encryption, S3Credentials, StoreConfig};
use crate::engine::postgres::discovery::{self, Running};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a cluster is, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub name: String,
    pub data: PathBuf,
    /// Of the data directory, where it is there: device and inode.
    pub node: Option<(u64, u64)>,
    /// Of its postmaster, where one runs.
    pub pid: Option<i32>,
    /// Where its server is reached: a folder of sockets or a host, and the port.
    pub address: (String, u16),
}

impl Place {
    /// The place of a configured cluster.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let real = cluster.data_directory.canonicalize();
        let data = real.unwrap_or_else(|_| cluster.data_directory.clone());
        let node = data.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        let pid = match discovery::running(&data) {
            Ok(Running::Yes(postmaster)) => Some(postmaster.pid),
            _ => None,
        };
        let host = Path::new(&cluster.connection.host).canonicalize();
        let host = host
            .map_or_else(|_| cluster.connection.host.clone(), |real| real.display().to_string());
        Self {
            name: cluster.name.clone(),
            data,
            node,
            pid,
            address: (host, cluster.connection.port),
        }
    }
}

/// Why the cluster at `ours` may be taken for one of `real`, or may be one; empty where neither is.
#[must_use]
pub fn confused(ours: &Place, root: &Path, real: &[Place]) -> Vec<String> {
    let mut found = Vec::new();
    if !ours.data.starts_with(root) {
        found.push(format!("{} is not in the sandbox", ours.data.display()));
    }
    if ours.node.is_none() || ours.pid.is_none() {
        found.push(format!("it is not known where the server of {} runs", ours.data.display()));
    }
    for other in real {
        if ours.data == other.data || ours.node.is_some() && ours.node == other.node {
            found.push(format!("the copy's data directory is that of \"{}\"", other.name));
        }
        if ours.pid.is_some() && ours.pid == other.pid {
            found.push(format!("the copy's server is that of \"{}\"", other.name));
        }
        if ours.address == other.address {
            found.push(format!("the copy is reached where \"{}\" is", other.name));
        }
    }
    found
}

/// What a drill on a copy has no business with: data directories, tablespaces, repositories, keys and sockets of
/// the real clusters. Folders that `keep` lies in are left out: of those only the socket is named.
#[must_use]
pub fn real_places(config: &Config, keep: &[PathBuf]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    for cluster in &config.clusters {
        all.push(cluster.data_directory.clone());
        all.extend(cluster.alternative_data_directory.clone());
        all.extend(outside(&cluster.data_directory));
        all.extend(cluster.tablespace_mapping.values().cloned());
        all.extend(cluster.connection.passfile.clone());
        for connection in std::iter::once(&cluster.connection).chain(&cluster.application) {
            if connection.host.starts_with('/') {
                let folder = PathBuf::from(&connection.host);
                all.push(folder.join(format!(".s.PGSQL.{}", connection.port)));
                if !keep.iter().any(|needed| needed.starts_with(&folder)) {
                    all.push(folder);
                }
            }
        }
    }
    for repository in &config.repositories {
        match &repository.store {
            StoreConfig::File { path } => all.extend(config.clusters.iter().map(|cluster| {
                PathBuf::from(path.to_string_lossy().replace("{cluster}", &cluster.name))
            })),
            StoreConfig::S3(bucket) => {
                if let S3Credentials::File { path, .. } = &bucket.credentials {
                    all.push(path.clone());
                }
            }
        }
        if let Encryption::Aes256Cbc { master_key_file, previous_master_key_file, .. } =
            &repository.encryption
        {
            all.extend(master_key_file.clone());
            all.extend(previous_master_key_file.clone());
        }
    }
    for credentials in config.sandbox.credentials.values() {
        if let S3Credentials::File { path, .. } = credentials {
            all.push(path.clone());
        }
    }
    // Where programs look for a server without being told.
    all.push(PathBuf::from("/run/postgresql"));
    // The deepest first: what is hidden as a whole is not looked into any more.
    all.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    all.dedup();
    all
}

/// The place of a real cluster that `path` is, or lies in; `None` where it lies in none. What is not
/// there yet counts where it would be made. The folder of a server's sockets holds others' files as
/// well and counts only as the socket itself.
#[must_use]
pub fn place_around(config: &Config, path: &Path) -> Option<PathBuf> {
    let path = as_made(path);
    let places = real_places(config, std::slice::from_ref(&path));
    places.into_iter().find(|place| path.starts_with(as_made(place)))
}

/// Without links, as far as it is there.
fn as_made(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for there in whole.ancestors() {
        let Ok(mut real) = there.canonicalize() else { continue };
        for part in whole.strip_prefix(there).unwrap_or(Path::new("")).components() {
            match part {
                std::path::Component::ParentDir => drop(real.pop()),
                part => real.push(part),
            }
        }
        return real;
    }
    whole
}

/// Parts of a cluster that lie elsewhere: its tablespaces, and its WAL.
fn outside(data: &Path) -> Vec<PathBuf> {
    let links = std::fs::read_dir(data.join("pg_tblspc")).into_iter().flatten().flatten();
    let links = links.map(|entry| entry.path()).chain([data.join("pg_wal")]);
    let links = links.filter(|path| path.is_symlink());
    links.filter_map(|link| link.canonicalize().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(data: &str, inode: u64, pid: i32, port: u16) -> Place {
        Place {
            name: String::from("bank"),
            data: PathBuf::from(data),
            node: Some((1, inode)),
            pid: Some(pid),
            address: (String::from("/run/postgresql"), port),
        }
    }

    #[test]
    fn nothing_of_a_drill_lies_in_a_real_place() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let at = |name: &str| home.join(name);
        std::fs::create_dir_all(at("bank/shop/wal")).unwrap();
        std::os::unix::fs::symlink(at("bank"), at("vault")).unwrap();
        let text = format!(
            "[[clusters]]\nname = \"shop\"\ntier = \"high\"\nenvironment = \"test\"\n\
             data_directory = \"{0}/data\"\nrepositories = [\"near\"]\n\
             [clusters.connection]\nhost = \"{0}\"\nport = 5432\n\
             [clusters.control]\ndriver = \"pg_ctl\"\n\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{0}/bank/{{cluster}}\"\n[repositories.encryption]\n\
             cipher = \"aes-256-cbc\"\nmaster_key_file = \"{0}/master.key\"\n",
            home.display()
        );
        let config = crate::engine::config::load::parse(&text, Path::new("/x.toml")).unwrap();
        for (path, place) in [
            ("bank/shop", "bank/shop"),
            ("bank/shop/keep", "bank/shop"),
            ("vault/shop/new/deep", "bank/shop"),
            ("bank/../vault/shop/wal", "bank/shop"),
            ("nowhere/../bank/shop/keep", "bank/shop"),
            ("data/pg_wal", "data"),
            ("master.key", "master.key"),
        ] {
            assert_eq!(place_around(&config, &at(path)), Some(at(place)), "{path}");
        }
        for path in ["boxes/keep", "bank/other", "database", "bank/shop-2"] {
            assert_eq!(place_around(&config, &at(path)), None, "{path}");
        }
    }

    #[test]
    fn a_copy_is_known_by_where_it_runs() {
        let root = Path::new("/var/tmp/lifeboat-drill-1");
        let real = [place("/srv/bank", 2, 100, 5432)];
        let ours = place("/var/tmp/lifeboat-drill-1/cluster/data", 3, 200, 40_000);
        assert_eq!(confused(&ours, root, &real), Vec::<String>::new());
        let linked = Place { node: Some((1, 2)), ..ours.clone() };
        assert!(confused(&linked, root, &real)[0].contains("that of \"bank\""));
        let same = Place { pid: Some(100), ..ours.clone() };
        assert_eq!(confused(&same, root, &real).len(), 1);
        let reached = Place { address: real[0].address.clone(), ..ours.clone() };
        assert_eq!(confused(&reached, root, &real).len(), 1);
        let outside = Place { data: PathBuf::from("/srv/other"), ..ours.clone() };
        assert_eq!(confused(&outside, root, &real).len(), 1);
        let unknown = Place { pid: None, ..ours };
        assert_eq!(confused(&unknown, root, &real).len(), 1);
    }
}
