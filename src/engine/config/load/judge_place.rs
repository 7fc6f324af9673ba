//! The rules of copies: what must hold between the repositories of one cluster, and of what is
//! declared about where they lie.

use super::judge::Judge;
use super::locate::Into::{At, Key};
use crate::engine::config::{Cluster, Config, Encryption, RepositoryConfig};

impl Judge<'_> {
    /// A backup is copied as it is stored: ciphertext cannot go where there is no key, and plain
    /// bytes would make an encrypted repository a lie.
    pub(super) fn one_cipher(&mut self, at: usize, cluster: &Cluster, config: &Config) {
        let encrypted = |one: &RepositoryConfig| one.encryption != Encryption::None;
        let all = cluster.repositories.iter().filter_map(|name| config.repository(name));
        let Some((plain, sealed)) =
            all.clone().find(|one| !encrypted(one)).zip(all.clone().find(|one| encrypted(one)))
        else {
            return;
        };
        let text = format!(
            "\"{}\" keeps its backups in \"{}\", which is encrypted, and in \"{}\", which is not; \
             copies are identical, so all must be encrypted or none",
            cluster.name, sealed.name, plain.name
        );
        self.problem(&[Key("clusters"), At(at), Key("repositories")], text);
    }

    pub(super) fn place(&mut self, at: usize, repository: &RepositoryConfig) {
        let place = &repository.place;
        let words = [
            ("medium", &place.medium),
            ("host", &place.host),
            ("site", &place.site),
            ("account", &place.account),
            ("region", &place.region),
        ];
        for (key, word) in words {
            if word.as_ref().is_some_and(|word| word.trim().is_empty()) {
                let text = format!("{key} is empty; leave it out where it is not known");
                self.problem(&[Key("repositories"), At(at), Key("place"), Key(key)], text);
            }
        }
    }
}
