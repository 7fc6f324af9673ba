//! The command line's words. Owns names, flags and help; never does anything.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Guided point-in-time recovery for PostgreSQL.
///
/// Without a command it opens the screens, on the incident that is under way if there is one.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// The configuration to use, instead of the user's or the system's lifeboat.toml.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Takes a base backup of a running cluster and publishes it as a set.
    Backup(Common),

    /// Archives one WAL file; for the server's archive_command.
    ArchiveWal {
        /// The file, as the server gives it in %p.
        path: PathBuf,
        #[arg(long)]
        cluster: Option<String>,
    },

    /// Fetches one WAL file; for the server's restore_command.
    RestoreWal(RestoreWal),

    /// Keeps the next segments ready while a server replays; started by restore-wal.
    #[command(hide = true)]
    PrefetchWal(PrefetchWal),

    /// Restores a base backup into an empty directory, ready to recover to a target.
    Restore(Restore),

    /// One page a cluster: server, newest backup, archive, reachable window.
    Status(Common),

    /// Lists base backups, newest first.
    ListBackups {
        #[command(flatten)]
        common: Common,
        /// Only sets that ended before this time.
        #[arg(long, value_name = "TIME")]
        before: Option<String>,
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },

    /// The base backup that serves a recovery to a time.
    FindBackup {
        #[command(flatten)]
        common: Common,
        #[arg(long, value_name = "TIME")]
        before: String,
    },

    /// Reads, authenticates and inflates a whole set.
    Verify {
        #[command(flatten)]
        common: Common,
        /// set-YYYYMMDD-HHMMSS; the newest where absent.
        #[arg(long, value_name = "SET")]
        backup_set_id: Option<String>,
    },

    /// Which transaction may have done the damage, and the recovery target just before it.
    Suspects(Suspects),

    /// Makes an empty repository for a cluster, or confirms the one that is there.
    CreateRepository(Common),

    /// Decrypts an object of a repository, or a file made by `openssl enc`.
    Decrypt(Crypt),

    /// Encrypts a file as the repository does.
    Encrypt(Crypt),

    /// Writes the report of an incident as Markdown, JSON and HTML.
    RecoveryReport {
        #[arg(long, value_name = "INC-…")]
        incident_id: String,
        /// Where to write; the incident's own folder where absent.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },

    /// Incidents on this machine.
    Incidents {
        #[arg(long)]
        json: bool,
    },

    /// Checks an incident's journal from the first line to the last.
    #[command(subcommand)]
    Journal(Journal),

    /// A GameDay drill on a throwaway cluster that it makes, breaks and removes.
    Drill(Drill),

    /// The screens with a drill's briefing; started by drill in its sandbox.
    #[command(hide = true)]
    Screens {
        #[arg(long)]
        scenario: String,
    },

    /// The process that owns one incident; started by the screens.
    #[command(hide = true)]
    Runner {
        #[arg(long)]
        incident: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Common {
    /// The cluster's name; may be left out where the configuration has one cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// The repository's name; the cluster's first where absent.
    #[arg(long)]
    pub repository: Option<String>,
    /// One JSON object on standard output, nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Suspects {
    #[command(flatten)]
    pub common: Common,
    /// The damage was committed at this time (with its offset) or LSN, or later.
    #[arg(long, value_name = "TIME|LSN")]
    pub from: Option<String>,
    /// The damage was committed at this time (with its offset) or LSN, or earlier.
    #[arg(long, value_name = "TIME|LSN")]
    pub to: Option<String>,
    /// The damaged table: its name, with its schema or without.
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub table: Option<String>,
    /// What is seen of the damage.
    #[arg(long, value_enum, default_value_t = SymptomWord::Unknown)]
    pub kind: SymptomWord,
    /// Suspects shown.
    #[arg(long, default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=20))]
    pub limit: usize,
}

/// What is seen of the damage, as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SymptomWord {
    RowsGone,
    RowsWrong,
    TableGone,
    DatabaseGone,
    Unknown,
}

#[derive(Debug, Args)]
pub struct RestoreWal {
    /// The file's name, as the server gives it in %f.
    pub name: String,
    /// Where to put it, as the server gives it in %p.
    pub destination: PathBuf,
    #[arg(long)]
    pub cluster: Option<String>,
    /// A folder on the data directory's volume for segments fetched ahead.
    #[arg(long)]
    pub spool: Option<PathBuf>,
    /// A folder of plain WAL files rescued from a damaged data directory.
    #[arg(long)]
    pub rescue: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PrefetchWal {
    #[arg(long)]
    pub cluster: Option<String>,
    #[arg(long)]
    pub spool: PathBuf,
    #[arg(long)]
    pub rescue: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub common: Common,
    /// set-YYYYMMDD-HHMMSS; the one that serves the target where absent.
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
    /// An empty directory, or one that does not exist yet.
    #[arg(long, value_name = "DIR")]
    pub target_directory: PathBuf,
    /// Recover to this time (with its offset).
    #[arg(long, value_name = "TIME", group = "point")]
    pub time: Option<String>,
    /// Recover to this LSN.
    #[arg(long, value_name = "LSN", group = "point")]
    pub lsn: Option<String>,
    /// Recover to this transaction.
    #[arg(long, value_name = "XID", group = "point")]
    pub xid: Option<u32>,
    /// Recover to this restore point.
    #[arg(long, value_name = "NAME", group = "point")]
    pub name: Option<String>,
    /// Stop just before the target instead of just after it.
    #[arg(long)]
    pub exclusive: bool,
    /// The timeline to follow; the newest where absent.
    #[arg(long)]
    pub timeline: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Crypt {
    pub input: PathBuf,
    pub output: PathBuf,
    #[arg(long)]
    pub cluster: Option<String>,
    #[arg(long)]
    pub repository: Option<String>,
    /// A passphrase file, for files that are in no repository.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Names the first wrong line, or says that all hold.
    Verify {
        #[arg(value_name = "INC-…")]
        incident: String,
    },
}

#[derive(Debug, Args)]
pub struct Drill {
    /// The scenario's name, such as corruption.
    pub scenario: String,
    /// Without a person: takes what the screens recommend.
    #[arg(long)]
    pub auto: bool,
    /// With --auto: one JSON object on standard output.
    #[arg(long, requires = "auto")]
    pub json: bool,
    /// Megabytes of data in the sandbox.
    #[arg(long, default_value_t = 500, value_name = "MB", value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    pub size: u64,
    /// Make the sandbox here and keep it.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
