//! Where a server's configuration lies: in its data directory, or elsewhere as Debian has it.
//! Owns what Debian's folders look like. Looks only; never writes a configuration file.

use crate::engine::config::{Cluster, Control};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian keeps the configuration of `VERSION/CLUSTER`.
const DEBIAN: &str = "/etc/postgresql";
/// The name of the configuration file everywhere.
pub const CONFIG_FILE: &str = "postgresql.conf";

/// A cluster as Debian's `pg_createcluster` made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianCluster {
    pub version: u32,
    pub name: String,
    pub config_file: PathBuf,
}

impl DebianCluster {
    /// Of that version and name, whether it is there or not.
    #[must_use]
    pub fn named(version: u32, name: &str) -> Self {
        let folder = Path::new(DEBIAN).join(version.to_string()).join(name);
        Self { version, name: name.to_owned(), config_file: folder.join(CONFIG_FILE) }
    }

    /// That which has this data directory.
    #[must_use]
    pub fn of(data_directory: &Path) -> Option<Self> {
        Self::find(Path::new(DEBIAN), data_directory)
    }

    /// That which a systemd unit is about: `postgresql@15-main`, with or without `.service`.
    #[must_use]
    pub fn of_unit(unit: &str) -> Option<Self> {
        let instance = unit.strip_suffix(".service").unwrap_or(unit).strip_prefix("postgresql@")?;
        let (version, name) = instance.split_once('-')?;
        Some(Self::named(version.parse().ok()?, name))
    }

    fn find(root: &Path, data_directory: &Path) -> Option<Self> {
        let wanted = resolved(data_directory);
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let versions = folders(root)
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
        versions
            .flat_map(|(version, path): (u32, PathBuf)| {
                folders(&path).filter_map(move |entry| {
                    let name = entry.file_name().into_string().ok()?;
                    let config_file = entry.path().join(CONFIG_FILE);
                    Some(Self { version, name, config_file })
                })
            })
            .find(|one| {
                stated_data_directory(&one.config_file).is_some_and(|p| resolved(&p) == wanted)
            })
    }
}

/// `postgresql.conf` of a cluster where it is not in the data directory, as the driver knows it.
#[must_use]
pub fn config_file(cluster: &Cluster) -> Option<PathBuf> {
    if let Some(named) = cluster.control.config_file() {
        return Some(named.to_owned());
    }
    match &cluster.control {
        Control::PgCtlcluster { version, cluster, .. } => {
            Some(DebianCluster::named(*version, cluster).config_file)
        }
        Control::Systemd { unit, .. } => {
            let named = unit.as_deref().and_then(DebianCluster::of_unit);
            let debian = named.or_else(|| DebianCluster::of(&cluster.data_directory));
            debian.map(|debian| debian.config_file).filter(|path| path.exists())
        }
        Control::PgCtl { .. } | Control::Command(_) => None,
    }
}

/// The data directory that a configuration file names; the last line of a setting wins, so it is
/// looked at first.
#[must_use]
pub fn stated_data_directory(config_file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(config_file).ok()?;
    let mut values = text.lines().rev().filter_map(|line| {
        let line = line.trim_start();
        let rest = line.get(..14).filter(|name| name.eq_ignore_ascii_case("data_directory"));
        let value = line.get(rest?.len()..)?.trim_start();
        let value = value.strip_prefix('=').unwrap_or(value).trim_start();
        let inner = value.strip_prefix('\'')?;
        let end = inner.rfind('\'')?;
        Some(inner.get(..end)?.replace("''", "'"))
    });
    values.next().map(PathBuf::from)
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_found_by_the_data_directory_that_its_configuration_names() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("lib/main");
        fs::create_dir_all(&data).unwrap();
        let etc = folder.path().join("etc");
        for (place, text) in [
            ("9.6/old", "data_directory = '/elsewhere'\n"),
            ("15/other", "#data_directory = 'ConfigDir'\n"),
            ("15/main", &format!("port = 1\nDATA_DIRECTORY '{}' # here\n", data.display())),
        ] {
            fs::create_dir_all(etc.join(place)).unwrap();
            fs::write(etc.join(place).join(CONFIG_FILE), text).unwrap();
        }
        let found = DebianCluster::find(&etc, &data).unwrap();
        assert_eq!((found.version, found.name.as_str()), (15, "main"));
        assert_eq!(found.config_file, etc.join("15/main").join(CONFIG_FILE));
        assert_eq!(DebianCluster::find(&etc, folder.path()), None);
        assert_eq!(DebianCluster::find(folder.path(), &data), None);
    }

    #[test]
    fn a_units_name_says_which_cluster() {
        let main = DebianCluster::of_unit("postgresql@15-my-main.service").unwrap();
        assert_eq!((main.version, main.name.as_str()), (15, "my-main"));
        assert_eq!(main.config_file, Path::new("/etc/postgresql/15/my-main/postgresql.conf"));
        for other in ["postgresql", "postgresql-15", "postgresql@main", "ssh@15-main"] {
            assert_eq!(DebianCluster::of_unit(other), None, "{other}");
        }
    }
}
