//! What `lifeboat.toml` may say of a repository in S3. Owns the types; never holds a secret: keys
//! come from a file of mode 0600, a program, the environment or the machine itself.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A bucket, and the part of it that is the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// It must be there: Lifeboat never makes a bucket.
    pub bucket: String,
    /// Before every object's name, without slashes at its ends; `{cluster}` stands for the
    /// cluster's name. May be empty.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// `https://host[:port]`; Amazon's own for the region where absent. Buckets are addressed in
    /// the path (`https://host/bucket/object`).
    #[serde(default)]
    pub endpoint: Option<String>,
    pub region: String,
    /// PEM file of the certificate authority; then it alone is trusted for the endpoint. The
    /// system's where absent.
    #[serde(default)]
    pub root_certificate: Option<PathBuf>,
    #[serde(default)]
    pub credentials: S3Credentials,
    /// Every object is written with this retention; the bucket must have Object Lock on.
    #[serde(default)]
    pub object_lock: Option<ObjectLock>,
    /// Requests at the same time for one large object; 4 where absent.
    #[serde(default)]
    pub parallel: Option<usize>,
    /// How long the server may be silent, in seconds; 30 where absent.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
}

fn default_prefix() -> String {
    String::from("{cluster}")
}

/// Where the access keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum S3Credentials {
    /// As the AWS command line looks for them: environment, profile (with its
    /// `credential_process` or role), web identity, ECS, EC2.
    Chain {
        #[serde(default)]
        profile: Option<String>,
    },
    /// A file of mode 0600 in the form of `~/.aws/credentials`.
    File {
        path: PathBuf,
        /// `default` where absent.
        #[serde(default)]
        profile: Option<String>,
    },
    /// A program and its arguments that print the keys as `credential_process` does.
    Process { command: Vec<String> },
    /// A role taken on with a token from a file, as in Kubernetes.
    WebIdentity {
        role_arn: String,
        token_file: PathBuf,
        #[serde(default)]
        session_name: Option<String>,
    },
    /// The task's role, from ECS or EKS.
    Ecs,
    /// The instance's role, from EC2 (IMDSv2).
    Ec2,
}

impl Default for S3Credentials {
    fn default() -> Self {
        Self::Chain { profile: None }
    }
}

/// A retention that S3 Object Lock keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectLock {
    pub mode: LockMode,
    /// From the writing on.
    pub days: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Whoever has a special permission may still delete.
    Governance,
    /// Nobody may delete before its day, the account's owner included.
    Compliance,
}

impl LockMode {
    /// As S3 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}
