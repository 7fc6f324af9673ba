//! The words that a set-up adds to `lifeboat.toml`. Owns their form; what was in the file before
//! stays byte for byte, and the whole is read again as the program will read it.

use super::error::InitError;
use crate::engine::config::{Cluster, Config, Encryption, Operator, RepositoryConfig, load};
use serde::Serialize;
use std::path::Path;

/// What is to be added.
#[derive(Debug, Clone, PartialEq)]
pub struct Addition {
    pub cluster: Cluster,
    /// Absent where the cluster goes into a repository that the file has.
    pub repository: Option<RepositoryConfig>,
    /// For a new file alone.
    pub operators: Vec<Operator>,
}

const HEADER: &str = "\
# Lifeboat's configuration, written by lifeboat init. Every key is explained in the documentation
# (OPERATIONS.md). No secret stands here: keys and passwords are named by the file that holds them.
";

/// The text to add to `before`, which is empty for a new file.
///
/// # Errors
/// Where a value cannot be written in TOML.
pub fn addition(before: &str, wanted: &Addition, path: &Path) -> Result<String, InitError> {
    let unwritable = |error: toml::ser::Error| InitError::DoesNotFit {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let mut text = String::new();
    if before.is_empty() {
        text.push_str(HEADER);
        // Said, because what is not said differs by user, and the scheduler may be another one.
        text.push_str("\n# Incidents and the scheduler's notes, of all who use this file.\n");
        let state = load::default_state_directory();
        push(&mut text, "state_directory", &state).map_err(unwritable)?;
    } else if !before.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&cluster(&wanted.cluster).map_err(unwritable)?);
    if let Some(repository) = &wanted.repository {
        text.push_str(&self::repository(repository).map_err(unwritable)?);
    }
    if before.is_empty() {
        for operator in &wanted.operators {
            text.push_str("\n[[operators]]\n");
            push(&mut text, "user", &operator.user).map_err(unwritable)?;
            push(&mut text, "role", &operator.role).map_err(unwritable)?;
        }
    }
    Ok(text)
}

/// Reads the whole file as it would be, and checks that nothing that was there means something
/// else now.
///
/// # Errors
/// Where it does not hold, with the lines.
pub fn check(before: &str, after: &str, path: &Path) -> Result<Config, InitError> {
    let why = |why: String| InitError::DoesNotFit { path: path.to_owned(), why };
    let new = load::parse(after, path).map_err(|error| {
        let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        why(if problems.is_empty() { error.to_string() } else { problems.join("; ") })
    })?;
    if !before.is_empty() {
        let old = load::parse(before, path)?;
        let kept = new.clusters.starts_with(&old.clusters)
            && new.repositories.starts_with(&old.repositories)
            && new.operators == old.operators
            && new.sandbox == old.sandbox
            && new.state_directory == old.state_directory
            && new.runbook == old.runbook;
        if !kept {
            return Err(why(String::from("it would change the meaning of what is there")));
        }
    }
    Ok(new)
}

fn cluster(cluster: &Cluster) -> Result<String, toml::ser::Error> {
    let mut text = String::from("\n[[clusters]]\n# Typed at the gate before a recovery starts.\n");
    push(&mut text, "name", &cluster.name)?;
    push(&mut text, "tier", &cluster.tier)?;
    push(&mut text, "environment", &cluster.environment)?;
    push(&mut text, "data_directory", &cluster.data_directory)?;
    text.push_str("# By name, nearest first.\n");
    push(&mut text, "repositories", &cluster.repositories)?;
    push(&mut text, "connection", &cluster.connection)?;
    push(&mut text, "control", &cluster.control)?;
    Ok(text)
}

fn repository(repository: &RepositoryConfig) -> Result<String, toml::ser::Error> {
    let mut text = String::from("\n[[repositories]]\n");
    push(&mut text, "name", &repository.name)?;
    text.push_str("# {cluster} stands for the cluster's name.\n");
    push(&mut text, "store", &repository.store)?;
    push(&mut text, "codec", &repository.codec)?;
    if !matches!(repository.encryption, Encryption::None) {
        text.push_str(
            "# Without this key no backup opens, with or without Lifeboat: keep a copy elsewhere.\n",
        );
    }
    push(&mut text, "encryption", &repository.encryption)?;
    Ok(text)
}

fn push(text: &mut String, key: &str, value: &impl Serialize) -> Result<(), toml::ser::Error> {
    let value = toml::Value::try_from(value)?;
    text.push_str(&format!("{key} = {value}\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::{Codec, Connection, Control, S3Config, StoreConfig, Tls};
    use crate::engine::incident::facts::{Role, Tier};
    use std::path::PathBuf;

    fn wanted(name: &str, repository: &str) -> Addition {
        Addition {
            cluster: Cluster {
                name: name.to_owned(),
                tier: Tier::High,
                environment: String::from("it's \"production\""),
                data_directory: PathBuf::from(format!("/srv/{name}/data")),
                alternative_data_directory: None,
                tablespace_mapping: Default::default(),
                delta_restore: false,
                connection: Connection {
                    host: String::from("/run/postgresql"),
                    port: 5433,
                    user: String::from("postgres"),
                    database: String::from("postgres"),
                    passfile: None,
                    tls: Tls::Off,
                    root_certificate: None,
                },
                control: Control::pg_ctl(),
                repositories: vec![repository.to_owned()],
                probes: Vec::new(),
                tables: Vec::new(),
                health_url: None,
                application: None,
                archiving: Default::default(),
                retention: Default::default(),
                schedule: Default::default(),
                masking: Vec::new(),
                erasure: None,
            },
            repository: Some(RepositoryConfig {
                name: repository.to_owned(),
                store: StoreConfig::File {
                    path: PathBuf::from(format!("/backups/{repository}/{{cluster}}")),
                },
                encryption: Encryption::Aes256Cbc {
                    master_key_file: Some(PathBuf::from("/etc/lifeboat/master.key")),
                    master_key_command: None,
                    previous_master_key_file: None,
                },
                codec: Codec::Gzip,
                level: None,
                workers: None,
                place: Default::default(),
            }),
            operators: vec![Operator { user: String::from("root"), role: Role::Commander }],
        }
    }

    #[test]
    fn a_new_file_says_what_was_wanted() {
        let path = Path::new("/etc/lifeboat/lifeboat.toml");
        let wanted = wanted("orders", "local");
        let text = addition("", &wanted, path).unwrap();
        let read = check("", &text, path).unwrap();
        assert_eq!(read.clusters, [wanted.cluster]);
        assert_eq!(Some(&read.repositories[0]), wanted.repository.as_ref());
        assert_eq!(read.operators, wanted.operators);
        assert_eq!(read.state_directory, Some(load::default_state_directory()));
    }

    #[test]
    fn what_was_there_keeps_its_bytes_and_its_meaning() {
        let path = Path::new("/etc/lifeboat/lifeboat.toml");
        for before in [load::example(), load::example().trim_end().to_owned()] {
            let wanted = wanted("bank", "second");
            let text = addition(&before, &wanted, path).unwrap();
            let after = format!("{before}{text}");
            let read = check(&before, &after, path).unwrap();
            assert_eq!(read.clusters.last(), Some(&wanted.cluster));
            assert_eq!(read.clusters.len(), 2);
            assert_eq!(read.operators.len(), 2, "operators are the file's own");
        }
    }

    #[test]
    fn a_file_that_cannot_be_added_to_is_refused() {
        let path = Path::new("/etc/lifeboat/lifeboat.toml");
        let before = "clusters = []\n";
        let text = addition(before, &wanted("bank", "second"), path).unwrap();
        let refused = check(before, &format!("{before}{text}"), path).unwrap_err();
        assert!(matches!(refused, InitError::DoesNotFit { .. }), "{refused}");
    }

    #[test]
    fn a_bucket_is_written_whole() {
        let path = Path::new("/etc/lifeboat/lifeboat.toml");
        let mut wanted = wanted("orders", "far");
        let repository = wanted.repository.as_mut().unwrap();
        repository.store = StoreConfig::S3(Box::new(S3Config {
            bucket: String::from("backups"),
            prefix: String::from("{cluster}"),
            endpoint: Some(String::from("https://s3.example.net")),
            region: String::from("eu-1"),
            root_certificate: None,
            credentials: crate::engine::config::S3Credentials::File {
                path: PathBuf::from("/etc/lifeboat/s3"),
                profile: None,
            },
            object_lock: None,
            parallel: None,
            timeout_seconds: None,
        }));
        let text = addition("", &wanted, path).unwrap();
        let read = check("", &text, path).unwrap();
        assert_eq!(Some(&read.repositories[0]), wanted.repository.as_ref());
    }
}
