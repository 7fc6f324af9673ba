//! The guard rails of a drill: rules on its sandbox's configuration and on who its cluster is.
//! Owns the rules, on values; whoever holds a drill asks them before anything is struck, and a
//! drill that leaves its sandbox is not held.

use crate::engine::config::{Config, Connection, Encryption, StoreConfig};
use crate::engine::postgres::discovery;
use std::path::Path;

/// What of a sandbox leads out of `root`; empty where nothing does.
#[must_use]
pub fn ways_out(config: &Config, root: &Path) -> Vec<String> {
    let inside = |path: &Path| path.starts_with(root) && !path.components().any(is_up);
    let mut found = Vec::new();
    for repository in &config.repositories {
        match &repository.store {
            StoreConfig::File { path } if inside(path) => {}
            StoreConfig::File { path } => found.push(format!(
                "the repository \"{}\" is in {}",
                repository.name,
                path.display()
            )),
            StoreConfig::S3(_) => {
                found.push(format!("the repository \"{}\" is in a bucket", repository.name));
            }
        }
        if let Encryption::Aes256Cbc { master_key_file, master_key_command, .. } =
            &repository.encryption
        {
            if master_key_command.is_some() {
                found.push(format!("the key of \"{}\" comes from a program", repository.name));
            }
            if master_key_file.as_ref().is_some_and(|path| !inside(path)) {
                found.push(format!("the key of \"{}\" lies outside", repository.name));
            }
        }
    }
    for cluster in &config.clusters {
        let mut connections: Vec<&Connection> = vec![&cluster.connection];
        connections.extend(&cluster.application);
        for connection in connections {
            // A folder is a socket's; the sandbox's own may lie beside its folder.
            if !connection.host.starts_with('/') {
                found.push(format!("\"{}\" is reached at {}", cluster.name, connection.host));
            }
        }
        if !inside(&cluster.data_directory) {
            found.push(format!(
                "the data directory of \"{}\" is {}",
                cluster.name,
                cluster.data_directory.display()
            ));
        }
        if let Some(url) = &cluster.health_url {
            found.push(format!("\"{}\" has the health address {url}", cluster.name));
        }
    }
    if !config.channels.is_empty() {
        found.push(String::from("messages would be sent to somebody"));
    }
    if let Some(runbook) = config.runbook.as_ref().filter(|path| !inside(path)) {
        found.push(format!("its runbook is {}", runbook.display()));
    }
    let state = config.state_directory();
    if !inside(&state) {
        found.push(format!("its incidents would be kept in {}", state.display()));
    }
    found
}

fn is_up(part: std::path::Component<'_>) -> bool {
    part == std::path::Component::ParentDir
}

/// System identifiers that no drill may have: those of the clusters that `real` configures, as far
/// as their data directories can be read, and those that it names itself.
#[must_use]
pub fn denied(real: Option<&Config>) -> Vec<u64> {
    let Some(real) = real else { return Vec::new() };
    let known = real.clusters.iter().filter_map(|cluster| {
        discovery::identity(&cluster.data_directory).ok().map(|identity| identity.system_identifier)
    });
    let mut all: Vec<u64> = known.chain(real.sandbox.never.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Why a drill on the cluster of that identifier is not held.
#[must_use]
pub fn refused(identifier: Option<u64>, denied: &[u64]) -> Option<String> {
    match identifier {
        None => Some(String::from("the sandbox's server does not say which system it is")),
        Some(known) if denied.contains(&known) => Some(format!(
            "the system {known} is one that no drill may touch: it is a configured cluster's, or \
             the configuration says so"
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::{Codec, PlaceConfig, RepositoryConfig};
    use std::path::PathBuf;

    fn config(root: &Path) -> Config {
        let store = StoreConfig::File { path: root.join("repository") };
        Config {
            state_directory: Some(root.join("state")),
            runbook: None,
            clusters: Vec::new(),
            repositories: vec![RepositoryConfig {
                name: String::from("local"),
                store,
                encryption: Encryption::None,
                codec: Codec::Gzip,
                level: None,
                workers: None,
                place: PlaceConfig::default(),
            }],
            operators: Vec::new(),
            escalation: Default::default(),
            catalogue: None,
            approval: Default::default(),
            signatures: Default::default(),
            channels: Vec::new(),
            sandbox: crate::engine::config::Sandbox::default(),
            path: root.join("lifeboat.toml"),
        }
    }

    #[test]
    fn whatever_leads_out_of_the_sandbox_is_named() {
        let root = Path::new("/var/tmp/lifeboat-drill-1");
        assert_eq!(ways_out(&config(root), root), Vec::<String>::new());
        for path in ["/var/backups/shop", "/var/tmp/lifeboat-drill-1/../shop"] {
            let mut out = config(root);
            out.repositories[0].store = StoreConfig::File { path: PathBuf::from(path) };
            assert_eq!(ways_out(&out, root).len(), 1, "{path}");
        }
        let mut out = config(root);
        out.state_directory = None;
        assert_eq!(ways_out(&out, root).len(), 1);
        let mut out = config(root);
        out.repositories[0].encryption = Encryption::Aes256Cbc {
            master_key_file: None,
            master_key_command: Some(vec![String::from("fetch-key")]),
            previous_master_key_file: None,
        };
        assert_eq!(ways_out(&out, root).len(), 1);
    }

    #[test]
    fn a_known_system_is_refused_and_an_unknown_answer_too() {
        assert!(refused(Some(7), &[5, 7]).unwrap().contains('7'));
        assert_eq!(refused(Some(8), &[5, 7]), None);
        assert!(refused(None, &[]).is_some());
    }
}
