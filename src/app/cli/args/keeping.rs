//! Words of what goes on all day: set-up, schedule, backups kept and copied, figures and messages.

use super::Common;
use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is not given is asked; with --yes the proposed answers are taken.
#[derive(Debug, Args)]
pub struct Init {
    /// The server's data directory; the running servers are offered where absent.
    #[arg(long, value_name = "DIR")]
    pub data_directory: Option<PathBuf>,
    /// The socket's folder, or a host name.
    #[arg(long)]
    pub host: Option<String>,
    #[arg(long)]
    pub port: Option<u16>,
    /// A superuser of the server.
    #[arg(long)]
    pub user: Option<String>,
    #[arg(long)]
    pub database: Option<String>,
    /// The cluster's name, typed at the gate before a recovery.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// critical, high, standard or archive.
    #[arg(long)]
    pub tier: Option<String>,
    /// production, staging, …
    #[arg(long)]
    pub environment: Option<String>,
    /// Keep backups in this folder; {cluster} stands for the cluster's name.
    #[arg(long, value_name = "DIR", conflicts_with = "s3_bucket")]
    pub repository_path: Option<PathBuf>,
    /// Keep backups in this S3 bucket, which must be there.
    #[arg(long, value_name = "BUCKET", requires = "s3_region")]
    pub s3_bucket: Option<String>,
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// https://host[:port]; Amazon's own where absent.
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// A file of mode 0600 with the access keys; the usual places are searched where absent.
    #[arg(long, value_name = "FILE")]
    pub s3_credentials_file: Option<PathBuf>,
    /// Where the master key is, or is made.
    #[arg(long, value_name = "FILE", conflicts_with = "no_encryption")]
    pub master_key_file: Option<PathBuf>,
    /// Keep backups in the clear.
    #[arg(long)]
    pub no_encryption: bool,
    /// The longest that WAL may wait in an unfinished segment.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub archive_timeout: u64,
    /// Take the place of another program that archives this server's WAL.
    #[arg(long)]
    pub replace_archive_command: bool,
    /// Restart the server where a setting needs it.
    #[arg(long)]
    pub restart: bool,
    /// Do not restore the backup to prove it.
    #[arg(long)]
    pub no_proof: bool,
    /// Where the backup is restored to for its proof, and removed again.
    #[arg(long, value_name = "DIR")]
    pub proof_directory: Option<PathBuf>,
    /// The longest wait for a WAL segment to arrive.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub archive_wait: u64,
    /// The program that the server archives with; this one where absent.
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Ask nothing: agree to what is proposed, except what has a flag of its own.
    #[arg(long)]
    pub yes: bool,
    /// One JSON object on standard output, nothing else.
    #[arg(long, requires = "yes")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Schedule {
    /// Only this cluster; all of them where absent.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Does what is due now, and ends.
    #[arg(long)]
    pub once: bool,
    /// One JSON object a line for each thing that happens.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Messages {
    /// The incident's number.
    #[arg(value_name = "INCIDENT", required_unless_present = "test")]
    pub incident: Option<String>,
    /// Tries those that wait now.
    #[arg(long)]
    pub deliver: bool,
    /// Prints a status text for people outside, to copy.
    #[arg(long, conflicts_with_all = ["deliver", "json"])]
    pub public: bool,
    /// Writes the words for people outside, which --public prints with the rest.
    #[arg(long, value_name = "TEXT", requires = "incident", conflicts_with_all = ["deliver", "json", "public"])]
    pub say: Option<String>,
    /// Sends one message to that channel, which says that it is a test.
    #[arg(long, value_name = "CHANNEL", conflicts_with = "incident")]
    pub test: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").multiple(true))]
pub struct Metrics {
    /// Writes them to this file, whole or not at all: NAME.prom in the collector's folder.
    #[arg(long, value_name = "FILE", group = "where")]
    pub textfile: Option<PathBuf>,
    /// Answers at http://ADDRESS:PORT/metrics until it is stopped. There is no password and no
    /// encryption: an address of this machine, such as 127.0.0.1:9743.
    #[arg(long, value_name = "ADDRESS:PORT", group = "where")]
    pub listen: Option<SocketAddr>,
    /// Gathers again after so many seconds until it is stopped; 60 with --listen.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(requires = "where")]
    pub every: Option<u64>,
}

#[derive(Debug, Args)]
pub struct InstallUnits {
    /// Where units are.
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub directory: PathBuf,
    /// The operating-system user that it runs as; the owner of the data directories where absent.
    #[arg(long)]
    pub user: Option<String>,
    /// Prints the unit instead of writing it.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub common: Common,
    /// set-YYYYMMDD-HHMMSS; the newest where absent.
    #[arg(long, value_name = "SET", group = "which")]
    pub backup_set_id: Option<String>,
    /// Every set in every repository of the cluster, or in the one that is named.
    #[arg(long, group = "which")]
    pub all: bool,
    /// So many in a hundred of the sets, whose last verification is the oldest; they are read
    /// whether or not they changed.
    #[arg(long, group = "which", value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub sample: Option<u8>,
    /// Reads also what has not changed since it was last verified.
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Places a hold, in every repository of the cluster that has the set.
    Add {
        /// set-YYYYMMDD-HHMMSS
        set: String,
        /// Such as the number of a case; one name may hold several sets.
        #[arg(long)]
        name: String,
        /// After this time the hold keeps nothing.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Also all WAL from the set to what is archived now.
        #[arg(long)]
        with_wal: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Lists holds.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Takes every hold of a name away; cleanup may then remove what it held.
    Release {
        #[arg(long)]
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub struct CatchUp {
    /// This cluster alone; all of them where absent.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Says what is owed, and copies nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON object on standard output, nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Policy {
    /// This cluster alone; all of them where absent.
    #[arg(long)]
    pub cluster: Option<String>,
    /// One JSON object on standard output, nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RecordRecovery {
    /// Whether the data were recovered.
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        default_missing_value = "true",
        required_unless_present = "list"
    )]
    pub success: Option<bool>,
    /// Minutes of data that were lost; parts are allowed.
    #[arg(long, value_name = "N", value_parser = minutes, required_unless_present = "list")]
    pub rpo_minutes: Option<f64>,
    /// Minutes without service; parts are allowed.
    #[arg(long, value_name = "N", value_parser = minutes, required_unless_present = "list")]
    pub rto_minutes: Option<f64>,
    #[arg(long, value_name = "INC-…")]
    pub incident_id: Option<String>,
    #[arg(long)]
    pub note: Option<String>,
    /// May be left out where there is one, or where the incident on this machine says it.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Shows what was recorded, oldest first; records nothing.
    #[arg(long, conflicts_with_all = ["success", "rpo_minutes", "rto_minutes", "note", "incident_id"])]
    pub list: bool,
    /// One JSON object on standard output, nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Up to a hundred years.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=52_560_000.0).contains(&minutes) => Ok(minutes),
        _ => Err(String::from("write minutes as a number such as 5 or 0.5")),
    }
}
