//! The rules of the catalogue's section: a connection that holds, one source of the password, and
//! no cluster of ours unless that is said.

use super::judge::Judge;
use super::locate::Into::Key;
use crate::engine::config::Config;

impl Judge<'_> {
    pub(super) fn catalogue(&mut self, config: &Config) {
        let Some(catalogue) = &config.catalogue else { return };
        let place = |key| [Key("catalogue"), Key("connection"), Key(key)];
        let connection = &catalogue.connection;
        self.connection_at(&[Key("catalogue"), Key("connection")], connection);
        if let Some(words) = &catalogue.password_command {
            let here = [Key("catalogue"), Key("password_command")];
            if !words.first().is_some_and(|program| program.starts_with('/')) {
                let text =
                    String::from("password_command must begin with a program's absolute path");
                self.problem(&here, text);
            }
            if connection.passfile.is_some() {
                let text = String::from("the catalogue has two sources of its password; keep one");
                self.problem(&here, text);
            }
        }
        let inside = config.clusters.iter().find(|cluster| catalogue.is_at(cluster));
        if let Some(cluster) = inside.filter(|_| !catalogue.in_recovered_cluster) {
            let text = format!(
                "the catalogue lies in the cluster \"{}\", whose recovery would take it back too; \
                 use another server, or say in_recovered_cluster = true",
                cluster.name
            );
            self.problem(&place("host"), text);
        }
    }

    pub(super) fn catalogue_files(&mut self, config: &Config) {
        let Some(catalogue) = &config.catalogue else { return };
        let place = |key| [Key("catalogue"), Key("connection"), Key(key)];
        if let Some(path) = &catalogue.connection.passfile {
            self.secret(&place("passfile"), path, "the passfile");
        }
        if let Some(path) = &catalogue.connection.root_certificate {
            self.readable(&place("root_certificate"), path, "the root certificate");
        }
    }
}
