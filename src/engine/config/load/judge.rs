//! The rules of a configuration beyond its syntax. Owns what must hold between its parts and of
//! the files that it names; never opens a secret.

use super::Problem;
use super::locate::{Into, Into::At, Into::Key, Lines};
use crate::engine::config::masking::Mask;
use crate::engine::config::{
    Cluster, Codec, Config, Connection, Encryption, Probe, RepositoryConfig, Retention,
    StoreConfig, Tls,
};
use crate::engine::restore::{full_plan, plan, step_back};
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What can be judged without touching a file.
pub(super) fn content(config: &Config, lines: &Lines<'_>) -> Vec<Problem> {
    let mut judge = Judge { lines, problems: Vec::new() };
    judge.absolute(&[Key("state_directory")], config.state_directory.as_deref());
    judge.absolute(&[Key("runbook")], config.runbook.as_deref());
    judge.names("clusters", config.clusters.iter().map(|cluster| cluster.name.as_str()));
    judge.names("repositories", config.repositories.iter().map(|one| one.name.as_str()));
    judge.unique("operators", "user", config.operators.iter().map(|one| one.user.as_str()));
    judge.approval(config);
    let signers = config.signatures.allowed_signers.as_deref();
    judge.absolute(&[Key("signatures"), Key("allowed_signers")], signers);
    judge.names("channels", config.channels.iter().map(|one| one.name.as_str()));
    for (at, channel) in config.channels.iter().enumerate() {
        judge.channel(at, channel, config);
    }
    judge.escalation(config);
    judge.catalogue(config);
    judge.sandbox(config);
    for (at, cluster) in config.clusters.iter().enumerate() {
        judge.cluster(at, cluster, config);
    }
    for (at, repository) in config.repositories.iter().enumerate() {
        judge.repository(at, repository, config);
    }
    judge.problems
}

/// What can be judged only by looking at the files.
pub(super) fn files(config: &Config, lines: &Lines<'_>) -> Vec<Problem> {
    let mut judge = Judge { lines, problems: Vec::new() };
    if let Some(path) = &config.runbook {
        judge.readable(&[Key("runbook")], path, "the runbook file");
    }
    judge.catalogue_files(config);
    for (at, channel) in config.channels.iter().enumerate() {
        judge.channel_files(at, channel);
    }
    for (at, repository) in config.repositories.iter().enumerate() {
        if let StoreConfig::S3(s3) = &repository.store {
            judge.s3_files(at, s3);
        }
        let Encryption::Aes256Cbc { master_key_file, previous_master_key_file, .. } =
            &repository.encryption
        else {
            continue;
        };
        for (key, path, what) in [
            ("master_key_file", master_key_file, "the master key file"),
            ("previous_master_key_file", previous_master_key_file, "the previous master key file"),
        ] {
            let Some(path) = path else { continue };
            let place = [Key("repositories"), At(at), Key("encryption"), Key(key)];
            judge.secret(&place, path, what);
        }
    }
    for (at, cluster) in config.clusters.iter().enumerate() {
        if let Some(erasure) = &cluster.erasure {
            let place = [Key("clusters"), At(at), Key("erasure"), Key("list")];
            judge.secret(&place, &erasure.list, "the erasure list");
        }
        for (key, connection) in connections(cluster) {
            if let Some(path) = &connection.passfile {
                let place = [Key("clusters"), At(at), Key(key), Key("passfile")];
                judge.secret(&place, path, "the passfile");
            }
            if let Some(path) = &connection.root_certificate {
                let place = [Key("clusters"), At(at), Key(key), Key("root_certificate")];
                judge.readable(&place, path, "the root certificate");
            }
        }
    }
    judge.problems
}

fn connections(cluster: &Cluster) -> impl Iterator<Item = (&'static str, &Connection)> {
    let application = cluster.application.as_ref().map(|connection| ("application", connection));
    std::iter::once(("connection", &cluster.connection)).chain(application)
}

pub(super) struct Judge<'a> {
    lines: &'a Lines<'a>,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    pub(super) fn problem(&mut self, place: &[Into<'_>], text: String) {
        self.problems.push(Problem { line: self.lines.of_value(place), text });
    }

    pub(super) fn absolute(&mut self, place: &[Into<'_>], path: Option<&Path>) {
        if let Some(path) = path
            && !path.is_absolute()
        {
            let text = format!("\"{}\" must be an absolute path", path.display());
            self.problem(place, text);
        }
    }

    fn names<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str> + Clone) {
        for (at, name) in names.clone().enumerate() {
            // Names are typed at the gate and become parts of paths.
            let good = !name.is_empty()
                && name.len() <= 63
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !name.starts_with(['.', '-']);
            if !good {
                let text = format!(
                    "the name \"{name}\" must be letters, digits, '-', '_' or '.', at most 63, \
                     and begin with a letter, digit or '_'"
                );
                self.problem(&[Key(list), At(at), Key("name")], text);
            }
        }
        self.unique(list, "name", names);
    }

    fn unique<'n>(&mut self, list: &str, key: &str, values: impl Iterator<Item = &'n str>) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (at, value) in values.enumerate() {
            if let Some(earlier) = first.get(value) {
                let line = self.lines.of_value(&[Key(list), At(*earlier), Key(key)]);
                let where_ = line.map(|line| format!(" (first on line {line})"));
                let text =
                    format!("\"{value}\" is there twice in {list}{}", where_.unwrap_or_default());
                self.problem(&[Key(list), At(at), Key(key)], text);
            } else {
                first.insert(value, at);
            }
        }
    }

    /// A word that fits nothing would leave a plan without the second person that somebody wants.
    fn approval(&mut self, config: &Config) {
        let steps = || {
            let own = full_plan::ORDER.iter().filter(|id| !plan::ORDER.contains(id));
            plan::ORDER.iter().chain(own).chain(std::iter::once(&step_back::STEP))
        };
        for (at, step) in config.approval.steps.iter().enumerate() {
            if !steps().any(|known| *known == step.as_str()) {
                let text = format!(
                    "\"{step}\" is no step of a recovery; they are: {}",
                    steps().copied().collect::<Vec<_>>().join(", ")
                );
                self.problem(&[Key("approval"), Key("steps"), At(at)], text);
            }
        }
        if config.signatures.required && config.signatures.allowed_signers.is_none() {
            let text = String::from("signatures are required, and allowed_signers names no file");
            self.problem(&[Key("signatures"), Key("required")], text);
        }
        for (at, environment) in config.approval.environments.iter().enumerate() {
            if !config.clusters.iter().any(|cluster| cluster.environment == *environment) {
                let text = format!("no cluster is in the environment \"{environment}\"");
                self.problem(&[Key("approval"), Key("environments"), At(at)], text);
            }
        }
    }

    fn cluster(&mut self, at: usize, cluster: &Cluster, config: &Config) {
        let here = |key| [Key("clusters"), At(at), Key(key)];
        let name = &cluster.name;
        self.absolute(&here("data_directory"), Some(&cluster.data_directory));
        let alternative = cluster.alternative_data_directory.as_deref();
        self.absolute(&here("alternative_data_directory"), alternative);
        if alternative == Some(cluster.data_directory.as_path()) {
            let text = String::from("the alternative data directory is the data directory itself");
            self.problem(&here("alternative_data_directory"), text);
        }
        for (from, to) in &cluster.tablespace_mapping {
            let place = here("tablespace_mapping");
            for path in [from, to] {
                self.absolute(&place, Some(path));
            }
            if to.starts_with(&cluster.data_directory) {
                let text =
                    format!("the tablespace {} would lie in the data directory", to.display());
                self.problem(&place, text);
            }
        }
        if let Some(other) = config
            .clusters
            .iter()
            .take(at)
            .find(|other| other.data_directory == cluster.data_directory)
        {
            let text = format!("\"{name}\" has the same data directory as \"{}\"", other.name);
            self.problem(&here("data_directory"), text);
        }
        self.control(at, cluster);
        for (key, connection) in connections(cluster) {
            self.connection(at, key, connection);
        }
        self.retention(at, cluster.retention);
        self.masking(at, cluster);
        let list = cluster.erasure.as_ref().map(|erasure| erasure.list.as_path());
        self.absolute(&[Key("clusters"), At(at), Key("erasure"), Key("list")], list);
        if cluster.repositories.is_empty() {
            let text = format!("\"{name}\" names no repository, so nothing could be restored");
            self.problem(&here("repositories"), text);
        }
        for (index, repository) in cluster.repositories.iter().enumerate() {
            let place = [Key("clusters"), At(at), Key("repositories"), At(index)];
            if config.repository(repository).is_none() {
                let text = format!(
                    "\"{name}\" names the repository \"{repository}\", which is not configured"
                );
                self.problem(&place, text);
            }
            if cluster.repositories.iter().take(index).any(|earlier| earlier == repository) {
                self.problem(&place, format!("\"{name}\" names \"{repository}\" twice"));
            }
        }
        let copies = cluster.archiving.copies;
        if copies == 0 || copies > cluster.repositories.len().max(1) {
            let text = format!(
                "copies = {copies} cannot be kept: \"{name}\" has {} repositories, and one copy is \
                 the least",
                cluster.repositories.len()
            );
            self.problem(&[Key("clusters"), At(at), Key("archiving"), Key("copies")], text);
        }
        self.one_cipher(at, cluster, config);
        if let Some(url) = &cluster.health_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            let text = String::from("the health address must begin with http:// or https://");
            self.problem(&here("health_url"), text);
        }
        for (index, table) in cluster.tables.iter().enumerate() {
            if !table.contains('.') {
                let place = [Key("clusters"), At(at), Key("tables"), At(index)];
                self.problem(&place, format!("\"{table}\" must be written as schema.table"));
            }
        }
        for (index, probe) in cluster.probes.iter().enumerate() {
            let place = [Key("clusters"), At(at), Key("probes"), At(index)];
            let earlier = cluster.probes.iter().take(index);
            if earlier.into_iter().any(|other| other.name == probe.name) {
                self.problem(&place, format!("the probe \"{}\" is there twice", probe.name));
            }
            if let Some(text) = probe_problem(probe) {
                self.problem(&place, format!("the probe \"{}\" {text}", probe.name));
            }
        }
    }

    fn retention(&mut self, at: usize, retention: Retention) {
        let Retention { days, minimum, verify_every_days } = retention;
        for (key, value) in
            [("days", days), ("minimum", minimum), ("verify_every_days", verify_every_days)]
        {
            if value.is_some_and(|value| !(1..=36_500).contains(&value)) {
                let place = [Key("clusters"), At(at), Key("retention"), Key(key)];
                self.problem(&place, format!("{key} must be between 1 and 36500"));
            }
        }
    }

    fn connection(&mut self, at: usize, key: &str, connection: &Connection) {
        self.connection_at(&[Key("clusters"), At(at), Key(key)], connection);
    }

    pub(super) fn connection_at(&mut self, place: &[Into<'_>], connection: &Connection) {
        let here = |inner| [place, &[Key(inner)]].concat();
        self.absolute(&here("passfile"), connection.passfile.as_deref());
        self.absolute(&here("root_certificate"), connection.root_certificate.as_deref());
        if connection.host.is_empty() {
            let text = String::from("the host is empty; write a host or the socket's directory");
            self.problem(&here("host"), text);
        } else if connection.host.contains('/') && !connection.host.starts_with('/') {
            self.problem(&here("host"), String::from("a socket's directory is an absolute path"));
        }
        let socket = connection.host.starts_with('/');
        if socket && connection.tls == Tls::Required {
            let text = String::from("tls = \"required\" has no meaning on a Unix socket");
            self.problem(&here("tls"), text);
        }
        if connection.tls == Tls::Off && connection.root_certificate.is_some() {
            let text =
                String::from("root_certificate is set while tls is off; set tls = \"required\"");
            self.problem(&here("root_certificate"), text);
        }
        if connection.port == 0 {
            self.problem(&here("port"), String::from("the port is 0"));
        }
    }

    fn repository(&mut self, at: usize, repository: &RepositoryConfig, config: &Config) {
        let here = |key| [Key("repositories"), At(at), Key(key)];
        let name = &repository.name;
        match &repository.encryption {
            Encryption::None => {
                for key in ["master_key_file", "master_key_command", "previous_master_key_file"] {
                    if self.lines.has(&[Key("repositories"), At(at), Key("encryption"), Key(key)]) {
                        let text = format!("{key} is set, but cipher is \"none\"");
                        self.problem(&here("encryption"), text);
                    }
                }
            }
            Encryption::Aes256Cbc {
                master_key_file,
                master_key_command,
                previous_master_key_file,
            } => {
                match (master_key_file, master_key_command) {
                    (Some(_), Some(_)) => self.problem(
                        &here("encryption"),
                        format!("\"{name}\" has two sources of the master key; keep one"),
                    ),
                    (None, None) => self.problem(
                        &here("encryption"),
                        format!("\"{name}\" needs master_key_file or master_key_command"),
                    ),
                    _ => {}
                }
                let inner = |key| [Key("repositories"), At(at), Key("encryption"), Key(key)];
                self.absolute(&inner("master_key_file"), master_key_file.as_deref());
                let previous = previous_master_key_file.as_deref();
                self.absolute(&inner("previous_master_key_file"), previous);
                let program = master_key_command.as_ref().map(|command| command.first());
                if let Some(program) = program
                    && !program.is_some_and(|program| program.starts_with('/'))
                {
                    let text = String::from(
                        "master_key_command must begin with a program's absolute path",
                    );
                    self.problem(&inner("master_key_command"), text);
                }
            }
        }
        let levels = match repository.codec {
            Codec::Gzip => 1..=9,
            Codec::Zstd => 1..=22,
        };
        if let Some(level) = repository.level
            && !levels.contains(&level)
        {
            let text =
                format!("level {level} is not between {} and {}", levels.start(), levels.end());
            self.problem(&here("level"), text);
        }
        if repository.workers == Some(0) {
            self.problem(&here("workers"), String::from("workers must be 1 or more"));
        }
        self.place(at, repository);
        self.store(at, repository, config);
    }

    fn store(&mut self, at: usize, repository: &RepositoryConfig, config: &Config) {
        let key = match &repository.store {
            StoreConfig::File { .. } => "path",
            StoreConfig::S3(_) => "prefix",
        };
        let place = [Key("repositories"), At(at), Key("store"), Key(key)];
        let name = &repository.name;
        let path = match &repository.store {
            StoreConfig::File { path } => {
                self.absolute(&place, Some(path));
                path.display().to_string()
            }
            StoreConfig::S3(s3) => {
                self.s3(at, s3);
                s3.prefix.clone()
            }
        };
        let users: Vec<&str> = config
            .clusters
            .iter()
            .filter(|cluster| cluster.repositories.contains(name))
            .map(|cluster| cluster.name.as_str())
            .collect();
        if users.len() > 1 && !path.contains("{cluster}") {
            let text = format!(
                "\"{name}\" serves {}, so its {key} must contain {{cluster}}, or their WAL would mix",
                users.join(" and ")
            );
            self.problem(&place, text);
        }
        let earlier = config.repositories.iter().take(at);
        if let Some(other) = earlier.into_iter().find(|other| other.store == repository.store) {
            let text = format!("\"{name}\" lies at the same path as \"{}\"", other.name);
            self.problem(&place, text);
        }
        let StoreConfig::File { path } = &repository.store else { return };
        if let Some(cluster) =
            config.clusters.iter().find(|cluster| path.starts_with(&cluster.data_directory))
        {
            let text = format!(
                "\"{name}\" lies inside the data directory of \"{}\", which a restore moves aside",
                cluster.name
            );
            self.problem(&place, text);
        }
    }

    pub(super) fn readable(&mut self, place: &[Into<'_>], path: &Path, what: &str) -> bool {
        let opened = File::open(path).and_then(|file| file.metadata());
        match opened {
            Ok(metadata) if metadata.is_file() => true,
            Ok(_) => {
                self.problem(place, format!("{what} {} is not a plain file", path.display()));
                false
            }
            Err(error) => {
                self.problem(place, format!("{what} {} cannot be read: {error}", path.display()));
                false
            }
        }
    }

    pub(super) fn secret(&mut self, place: &[Into<'_>], path: &Path, what: &str) {
        if !self.readable(place, path, what) {
            return;
        }
        let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
        if mode & 0o077 != 0 {
            let text = format!(
                "{what} {} is open to other users (mode {mode:04o}); run: chmod 600 '{0}'",
                path.display()
            );
            self.problem(place, text);
        }
    }
}

fn probe_problem(probe: &Probe) -> Option<&'static str> {
    if probe.name.trim().is_empty() {
        return Some("has no name");
    }
    if probe.sql.trim().is_empty() {
        return Some("asks nothing: sql is empty");
    }
    if probe.mask == Some(Mask::KeepFirst(0)) {
        return Some("has a mask that keeps nothing; write mask = \"hide\"");
    }
    match (probe.at_least, probe.at_most) {
        (Some(least), Some(most)) if least > most => Some("can never hold: at_least > at_most"),
        _ if probe.expect.is_some() && (probe.at_least.is_some() || probe.at_most.is_some()) => {
            Some("has expect and a bound; keep one of them")
        }
        _ => None,
    }
}
