//! `lifeboat.toml`: what it may say. Owns the types; reading and judging the file is in
//! [`load`]. Never holds a secret: keys and passwords are named by the file that holds them.

pub mod approval;
pub mod archiving;
pub mod catalogue;
pub mod channels;
pub mod control;
pub mod erasure;
pub mod escalation;
pub mod load;
pub mod masking;
pub mod place;
pub mod retention;
pub mod s3;
pub mod schedule;

use crate::engine::incident::facts::{Role, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use archiving::Archiving;
pub use control::{Commands, Control};
pub use load::{ConfigError, example, load, load_for_server};
pub use place::{Immutability, Line, Place, PlaceConfig};
pub use retention::Retention;
pub use s3::{LockMode, ObjectLock, S3Config, S3Credentials};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where incidents, measured rates and spools live. Default: the user's data directory, or
    /// `/var/lib/lifeboat` for root.
    #[serde(default)]
    pub state_directory: Option<PathBuf>,
    /// A team's own runbook data, laid over `assets/runbook.toml`.
    #[serde(default)]
    pub runbook: Option<PathBuf>,
    #[serde(default)]
    pub clusters: Vec<Cluster>,
    #[serde(default)]
    pub repositories: Vec<RepositoryConfig>,
    #[serde(default)]
    pub operators: Vec<Operator>,
    /// Which plans need a second person.
    #[serde(default, skip_serializing_if = "approval::Approval::is_empty")]
    pub approval: approval::Approval,
    /// Whose SSH keys are known, for signed approvals and sign-offs.
    #[serde(default, skip_serializing_if = "approval::Signatures::is_empty")]
    pub signatures: approval::Signatures,
    /// Whom an incident's messages go to.
    #[serde(default)]
    pub channels: Vec<channels::Channel>,
    /// Who is called when a recovery lasts.
    #[serde(default)]
    pub escalation: escalation::Escalation,
    /// A database that keeps a second record; never needed for recovering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<catalogue::Catalogue>,
    #[serde(default)]
    pub sandbox: Sandbox,
    /// The file that this was read from; never in the file itself.
    #[serde(skip)]
    pub path: PathBuf,
}

/// A PostgreSQL cluster (one server, one data directory).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    pub name: String,
    pub tier: Tier,
    /// `production`, `staging`, `drill`, …
    pub environment: String,
    pub data_directory: PathBuf,
    /// Used where the data directory's volume cannot hold the restore.
    #[serde(default)]
    pub alternative_data_directory: Option<PathBuf>,
    /// Where restored tablespaces go, by where they were; absolute paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tablespace_mapping: BTreeMap<PathBuf, PathBuf>,
    /// A recovery copies what is proven equal from the damaged directory and fetches the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delta_restore: bool,
    pub connection: Connection,
    pub control: Control,
    /// Names of repositories, nearest first.
    pub repositories: Vec<String>,
    /// SELECTs that each return one row; see [`Probe`].
    #[serde(default)]
    pub probes: Vec<Probe>,
    /// Tables whose counts validation must see, `schema.table`. Empty: all of them.
    #[serde(default)]
    pub tables: Vec<String>,
    /// The application's health address, `http://` or `https://`.
    #[serde(default)]
    pub health_url: Option<String>,
    /// How the application connects, where it is not as above.
    #[serde(default)]
    pub application: Option<Connection>,
    #[serde(default)]
    pub archiving: Archiving,
    /// How long backups and WAL are kept.
    #[serde(default)]
    pub retention: Retention,
    /// When the scheduler does what.
    #[serde(default)]
    pub schedule: schedule::Schedule,
    /// Columns whose values are not shown as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masking: Vec<masking::MaskingRule>,
    /// What was erased at people's wish, and is erased again after a recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<erasure::Erasure>,
}

/// A connection to PostgreSQL. A password comes from a passfile in PostgreSQL's own format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// A host name, an address, or the directory of the Unix socket.
    pub host: String,
    #[serde(default = "default_port")]
    pub port: u16,
    #[serde(default = "default_name")]
    pub user: String,
    #[serde(default = "default_name")]
    pub database: String,
    #[serde(default)]
    pub passfile: Option<PathBuf>,
    #[serde(default)]
    pub tls: Tls,
    /// PEM file of the certificate authority; the system's where absent.
    #[serde(default)]
    pub root_certificate: Option<PathBuf>,
}

fn default_port() -> u16 {
    5432
}

fn default_name() -> String {
    String::from("postgres")
}

/// Whether the connection is encrypted. The server's certificate is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    #[default]
    Off,
    Required,
}

/// A question to the cluster: a SELECT that returns one row with one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub name: String,
    #[serde(default)]
    pub database: Option<String>,
    pub sql: String,
    /// The value as text, where it is known beforehand.
    #[serde(default)]
    pub expect: Option<String>,
    /// A lower bound for a number.
    #[serde(default)]
    pub at_least: Option<i64>,
    /// An upper bound for a number.
    #[serde(default)]
    pub at_most: Option<i64>,
    /// How its answer is shown; by the masking rules where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<masking::Mask>,
}

/// Where backups and WAL are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryConfig {
    pub name: String,
    /// `{cluster}` in a path stands for the cluster's name, so that clusters can share an entry.
    pub store: StoreConfig,
    #[serde(default)]
    pub encryption: Encryption,
    #[serde(default)]
    pub codec: Codec,
    /// Compression level; the codec's own default where absent.
    #[serde(default)]
    pub level: Option<u32>,
    /// Worker threads; the machine's cores where absent.
    #[serde(default)]
    pub workers: Option<usize>,
    /// Where it lies and what keeps it, for the 3-2-1-1-0 rule.
    #[serde(default)]
    pub place: PlaceConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StoreConfig {
    File {
        path: PathBuf,
    },
    /// A bucket at Amazon or at any server that speaks S3.
    S3(Box<S3Config>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "cipher", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Encryption {
    /// No encryption; digests stay.
    #[default]
    None,
    /// AES-256-CBC in OpenSSL's form, with HMAC-SHA256. Exactly one source of the master key.
    #[serde(rename = "aes-256-cbc")]
    Aes256Cbc {
        /// A file of mode 0600 with the key on its first line.
        #[serde(default)]
        master_key_file: Option<PathBuf>,
        /// A program and its arguments that print the key on the first line.
        #[serde(default)]
        master_key_command: Option<Vec<String>>,
        /// While the master key is being replaced: a file with the one before. What it wraps
        /// still opens, and new data keys are wrapped by both.
        #[serde(default)]
        previous_master_key_file: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    #[default]
    Gzip,
    Zstd,
}

/// An operating-system user and what that person may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    pub user: String,
    pub role: Role,
}

/// Where drills happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Default: the system's folder for temporary files.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// The user that the sandbox's server runs as when Lifeboat is root. Default: `postgres`
    /// where it exists, else `nobody`.
    #[serde(default)]
    pub user: Option<String>,
    /// A folder with a team's own scenarios, `NAME.toml` each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<PathBuf>,
    /// With what a drill on a copy reads the bucket of a repository, by the repository's name: keys
    /// that may read and do nothing else. The repository's own where absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, S3Credentials>,
    /// System identifiers that no drill may touch, beside those of the configured clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<u64>,
    /// In a sandbox's own configuration: the scenario that is held in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
}

impl Config {
    /// Where incidents, measured rates and spools live: as configured, else `/var/lib/lifeboat`
    /// for root and the user's own data folder for others.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.state_directory.clone().unwrap_or_else(load::default_state_directory)
    }

    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.name == name)
    }

    #[must_use]
    pub fn repository(&self, name: &str) -> Option<&RepositoryConfig> {
        self.repositories.iter().find(|r| r.name == name)
    }
}
