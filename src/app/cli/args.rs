//! The command line's words. Owns names, flags and help; never does anything.

use crate::engine::restore::places;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
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

    /// Works on the incidents of another machine, through ssh; for the screens, approve and
    /// handover. --config then names a file there.
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,

    /// What Lifeboat is called on that machine.
    #[arg(
        long,
        global = true,
        value_name = "PROGRAM",
        default_value = "lifeboat",
        hide_short_help = true
    )]
    pub host_program: String,

    #[command(subcommand)]
    pub command: Option<Verb>,
}

/// Another machine, and what Lifeboat is called there.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub program: String,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Sets up a cluster that runs: configuration, keys, WAL archiving, a first backup, its proof.
    Init(Box<Init>),

    /// The part of init that runs as the server's user.
    #[command(hide = true)]
    InitErrand {
        #[arg(long)]
        quiet: bool,
    },

    /// Takes a base backup of a running cluster and copies it to all of its repositories.
    ///
    /// With --repository, into that one alone. Ends with 13 where the backup is good and a
    /// repository lacks its copy; catch-up brings it.
    Backup(Common),

    /// Brings repositories what they lack: backups that another repository of the cluster has.
    CatchUp(CatchUp),

    /// Where the 3-2-1-1-0 rule holds and where not, by cluster. Ends with 12 where it does not.
    Policy(Policy),

    /// Adds a recovery or drill to the compliance record, against the cluster's RPO and RTO.
    RecordRecovery(RecordRecovery),

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

    /// A whole new cluster beside the old one (the runbook's Option B), to be swapped in or
    /// discarded.
    ///
    /// Restores a base backup into DIR, starts it at the alternative port, closed to applications,
    /// checks it, and waits. Then: restore-full --target DIR --swap, or --discard.
    RestoreFull(RestoreFull),
    /// Brings single tables or a schema back from a backup, beside production or in place.
    ///
    /// They are recovered to the target in a closed server of its own first. Shows what differs;
    /// with --into schema (where nothing else is said) they come into a new schema, with
    /// --into in-place the rows that --take names go into production's tables.
    RestoreParts(Box<RestoreParts>),

    /// Lists what a kept damaged directory holds and production does not, and brings it back.
    Salvage(Box<Salvage>),

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

    /// Lists the objects of the WAL archive, by name, as one list without folders.
    ///
    /// Each line: when it was written, stored bytes, the WAL file, the object. Ends with 3 where
    /// PREFIX is given and nothing begins with it.
    ListWal {
        /// Only files whose names begin so; of the archive only what can hold such names is listed.
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
        #[command(flatten)]
        common: Common,
    },

    /// Whether every point between two times or LSNs can be recovered to.
    ///
    /// Lists WAL without a hole, gaps, forks, which backups serve, and what is reachable. Ends
    /// with 0 only where all of it is.
    CheckWalContinuity {
        #[command(flatten)]
        common: Common,
        /// A time or an LSN.
        #[arg(long, value_name = "TIME|LSN")]
        from: String,
        /// A time or an LSN.
        #[arg(long, value_name = "TIME|LSN")]
        to: String,
    },

    /// Reads, authenticates and inflates whole sets, and records the result.
    Verify(Verify),

    /// Removes what the retention policy does not keep.
    Cleanup {
        #[command(flatten)]
        common: Common,
        /// Says what would go, why and how much; removes nothing.
        #[arg(long)]
        dry_run: bool,
        /// Does not ask; needed where nobody can be asked.
        #[arg(long, conflicts_with = "dry_run")]
        yes: bool,
    },

    /// Keeps a set whatever its age, under a name, until the name is released.
    #[command(subcommand)]
    Hold(Hold),
    /// Which transaction may have done the damage, and the recovery target just before it.
    Suspects(Suspects),

    /// Makes an empty repository for a cluster, or confirms the one that is there.
    CreateRepository(Common),

    /// What an incident's messages came to, channel by channel; or a status text for people outside.
    ///
    /// Ends with 12 where one did not arrive.
    Messages(Messages),

    /// Figures for monitoring in the OpenMetrics text form: backups, WAL, drills, recoveries.
    ///
    /// Once to standard output; into a file for node_exporter's textfile collector; or over HTTP.
    Metrics(Metrics),

    /// Takes backups, catches up copies, verifies and cleans up by schedule, in the foreground.
    Schedule(Schedule),

    /// Writes the systemd unit that runs the schedule.
    InstallUnits(InstallUnits),

    /// Decrypts an object of a repository, or a file made by `openssl enc`.
    Decrypt(Crypt),

    /// Encrypts a file as the repository does.
    Encrypt(Crypt),

    /// Data keys and the master key: list, rotate, escrow, check.
    #[command(subcommand)]
    Keys(Keys),

    /// An incident's report, or a record made from it, in one form.
    Report(Report),

    /// Writes the report of an incident as Markdown, JSON, HTML and PDF.
    RecoveryReport {
        #[arg(long, value_name = "INC-…")]
        incident_id: String,
        /// Where to write; the incident's own folder where absent.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// People by their names; by role where absent.
        #[arg(long)]
        names: bool,
        #[arg(long)]
        json: bool,
    },

    /// Incidents on this machine.
    Incidents {
        #[arg(long)]
        json: bool,
    },

    /// Approves a plan as the second person: shows what it does, then takes the cluster's name.
    Approve(Approve),

    /// The other side of --host: answers lines on standard input.
    #[command(hide = true)]
    Far,

    /// Hands the command or a task to somebody, answers such an offer, or takes the command over.
    Handover(Handover),

    /// An incident's checklist, on any later day: what is open, run the safety list, sign, waive.
    Checklist(Checklist),

    /// Who is called when a recovery lasts: the ladder, who was called, and who answers.
    Escalation(Escalation),

    /// Checks an incident's journal from the first line to the last.
    #[command(subcommand)]
    Journal(Journal),

    /// People who were erased at their wish: whether they are back, and erasing them again.
    #[command(subcommand)]
    Erasure(Erasure),

    /// The database that keeps a second record of incidents, backups and recoveries.
    #[command(subcommand)]
    Catalogue(Catalogue),

    /// What a recovery that begins now would meet, as a score with its reasons.
    Readiness(Readiness),

    /// A GameDay drill on a throwaway cluster that it makes, breaks and removes.
    Drill(Drill),

    /// Reads a backup for a drill on a copy of it; started by drill.
    #[command(hide = true)]
    DrillReader {
        /// The configuration of the sandbox that it reads for.
        #[arg(long)]
        sandbox: PathBuf,
    },

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
pub struct Common {
    /// The cluster's name; may be left out where the configuration has one cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// The repository's name. Where absent: all of them to back up, the best to restore, the first
    /// that answers else.
    #[arg(long)]
    pub repository: Option<String>,
    /// One JSON object on standard output, nothing else.
    #[arg(long)]
    pub json: bool,
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
    /// Asks this repository; may be given several times. All of the cluster's where absent.
    #[arg(long = "repository", value_name = "NAME")]
    pub repositories: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PrefetchWal {
    #[arg(long)]
    pub cluster: Option<String>,
    #[arg(long)]
    pub spool: PathBuf,
    #[arg(long)]
    pub rescue: Option<PathBuf>,
    #[arg(long = "repository", value_name = "NAME")]
    pub repositories: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub common: Common,
    /// set-YYYYMMDD-HHMMSS; the one that serves the target where absent.
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
    /// An empty directory, or one that does not exist yet; with --delta also an older restore.
    #[arg(long, value_name = "DIR")]
    pub target_directory: PathBuf,
    /// Takes what is proven equal out of what the target directory holds, and fetches the rest.
    /// The directory is first renamed to DIR.replaced.…, whose equal files are used up.
    #[arg(long, conflicts_with = "delta_from")]
    pub delta: bool,
    /// Copies what is proven equal from this stopped data directory, which is only read.
    #[arg(long, value_name = "DIR")]
    pub delta_from: Option<PathBuf>,
    /// Puts the tablespace that was at OLD at NEW, both absolute; may be given several times.
    #[arg(long, value_name = "OLD=NEW", value_parser = places::parse_mapping)]
    pub tablespace_mapping: Vec<(PathBuf, PathBuf)>,
    /// A new, empty directory that pg_wal leads to.
    #[arg(long, value_name = "DIR")]
    pub wal_directory: Option<PathBuf>,
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
    /// Restore although it is not proven that the target can be reached. The server may end before
    /// it, never stop, or stop with other rows than were meant.
    #[arg(long)]
    pub unproven: bool,
}

/// What of the source, and what becomes of it.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub struct Parts {
    /// A table, as schema.table; may be given several times. Names with capitals or other signs
    /// stand in double quotes.
    #[arg(long = "table", value_name = "TABLE", conflicts_with = "schema")]
    pub tables: Vec<String>,
    /// All tables of a schema.
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Option<String>,
    /// The database, in the source and in production; the cluster's own where absent.
    #[arg(long, value_name = "DATABASE")]
    pub database: Option<String>,
    #[arg(long, value_enum, default_value_t = IntoWord::Schema)]
    pub into: IntoWord,
    /// With --into in-place: which rows to write. "newer" removes what only production has.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CLASSES")]
    pub take: Vec<ClassWord>,
    /// Lets production's triggers fire for rows that are brought back.
    #[arg(long)]
    pub fire_triggers: bool,
    /// Carries the columns that both definitions have, where they differ.
    #[arg(long)]
    pub common_columns: bool,
    /// Leaves owners and grants out of definitions that are made.
    #[arg(long)]
    pub no_owner: bool,
    /// What becomes of roles that what is made needs and production lacks.
    #[arg(long, value_enum, default_value_t = MissingRolesWord::Ask)]
    pub missing_roles: MissingRolesWord,
    /// Shows the differences; writes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The cluster's name, where nobody can be asked to type it.
    #[arg(long, value_name = "CLUSTER")]
    pub confirm: Option<String>,
    /// Writes only where the differences are exactly those that a --dry-run with the same --take
    /// showed: what it calls "seen".
    #[arg(long, value_name = "DIGEST")]
    pub seen: Option<String>,
    /// Notes what is done in this incident's journal.
    #[arg(long, value_name = "INC-…")]
    pub incident: Option<String>,
    /// How many rows of each class to show.
    #[arg(long, default_value_t = 5)]
    pub samples: usize,
    /// Where the closed server gets its folder.
    #[arg(long, value_name = "DIR")]
    pub work_directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum IntoWord {
    Schema,
    InPlace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MissingRolesWord {
    /// Nothing is written; they are listed.
    Ask,
    /// They are made without login and password.
    Create,
    /// Their things go to who connects, their grants are left out.
    LeaveOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ClassWord {
    Missing,
    Changed,
    Newer,
}

#[derive(Debug, Args)]
pub struct RestoreParts {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub parts: Parts,
    /// A whole database, with everything in it, under its own name or --as. One that production
    /// has is not touched.
    #[arg(
        long,
        value_name = "DATABASE",
        conflicts_with_all = ["tables", "schema", "database", "into", "take", "fire_triggers",
            "common_columns", "no_owner", "seen"]
    )]
    pub whole_database: Option<String>,
    /// With --whole-database: the name that it gets.
    #[arg(long = "as", value_name = "NAME", requires = "whole_database")]
    pub named: Option<String>,
    /// With --whole-database: the database that has the name now is renamed to this, whole.
    #[arg(long, value_name = "NAME", requires = "whole_database")]
    pub set_aside: Option<String>,
    /// As they were at this time (with its offset).
    #[arg(long, value_name = "TIME", group = "point")]
    pub time: Option<String>,
    /// As they were at this LSN.
    #[arg(long, value_name = "LSN", group = "point")]
    pub lsn: Option<String>,
    /// As they were at this transaction.
    #[arg(long, value_name = "XID", group = "point")]
    pub xid: Option<u32>,
    /// As they were at this restore point.
    #[arg(long, value_name = "NAME", group = "point")]
    pub name: Option<String>,
    /// Just before the target instead of just after it.
    #[arg(long)]
    pub exclusive: bool,
    /// The timeline to follow; the newest where absent.
    #[arg(long)]
    pub timeline: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Salvage {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub parts: Parts,
    /// The directory that was set aside; that of the incident's plan where absent.
    #[arg(long, value_name = "DIR", required_unless_present = "incident")]
    pub kept: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(id = "deed", multiple = false, required = true, args = ["latest", "backup_set_id", "swap", "discard"])]
pub struct RestoreFull {
    #[command(flatten)]
    pub common: Common,
    /// The new cluster's directory: empty, or not there yet, on the data directory's volume.
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,
    /// The newest set whose WAL is whole and which verifies.
    #[arg(long)]
    pub latest: bool,
    /// This set: set-YYYYMMDD-HHMMSS.
    #[arg(long, value_name = "SET")]
    pub backup_set_id: Option<String>,
    /// Stops the old server, keeps its directory as .failed, and puts the new one in its place.
    #[arg(long)]
    pub swap: bool,
    /// Stops the new cluster and removes its directory, and nothing else.
    #[arg(long)]
    pub discard: bool,
    /// Replays on to the end of the archive, where the log is whole. Without it the data is that
    /// of the backup's end.
    #[arg(long)]
    pub to_end: bool,
    /// The alternative port; the next free one where it is taken.
    #[arg(long, default_value_t = 5433)]
    pub port: u16,
    /// The cluster's name, typed once more: the gate. Asked for on a terminal where absent.
    #[arg(long, value_name = "CLUSTER")]
    pub confirm: Option<String>,
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

#[derive(Debug, Args)]
pub struct Handover {
    #[arg(value_name = "INC-…")]
    pub incident: String,
    /// To whom: an operating-system user.
    #[arg(long, value_name = "USER", conflicts_with_all = ["accept", "decline", "take"])]
    pub to: Option<String>,
    /// A line of the checklist; the command itself where absent.
    #[arg(long, value_name = "LINE", conflicts_with = "take")]
    pub task: Option<String>,
    /// What the other person should know.
    #[arg(long, value_name = "TEXT", requires = "to")]
    pub note: Option<String>,
    /// Takes what was offered to you.
    #[arg(long, conflicts_with_all = ["decline", "take"])]
    pub accept: bool,
    /// Does not take what was offered to you, and why.
    #[arg(long, value_name = "REASON", conflicts_with = "take")]
    pub decline: Option<String>,
    /// As a commander: takes the command without being offered it, and why.
    #[arg(long, value_name = "REASON")]
    pub take: Option<String>,
}

#[derive(Debug, Args)]
pub struct Approve {
    /// The incident; the only one whose plan waits for an approval where absent.
    #[arg(value_name = "INC-…")]
    pub incident: Option<String>,
    /// Says no, with the reason.
    #[arg(long, value_name = "REASON", conflicts_with = "waive")]
    pub decline: Option<String>,
    /// As the commander, in an emergency: goes on without a second person, with the reason.
    #[arg(long, value_name = "REASON")]
    pub waive: Option<String>,
    /// For programs: prints what is to be approved; decides only with --plan and --cluster.
    #[arg(long)]
    pub json: bool,
    /// Signs the approval with this SSH key: a private key, or the public half of one in the agent.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["decline", "waive"])]
    pub key: Option<PathBuf>,
    /// The hash of the plan that was read; another one is refused.
    #[arg(long, value_name = "HASH", requires = "cluster")]
    pub plan: Option<String>,
    /// The cluster's name, in place of typing it.
    #[arg(long, value_name = "NAME", requires = "plan")]
    pub cluster: Option<String>,
}

#[derive(Debug, Args)]
pub struct Report {
    #[arg(value_name = "INC-…")]
    pub incident: String,
    #[arg(long, value_enum, default_value = "md")]
    pub format: ReportFormat,
    /// People by their names; by role where absent. What people wrote themselves stays as it is.
    #[arg(long)]
    pub names: bool,
    /// Where to write it; standard output where absent.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The forms and the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// The report in Markdown.
    Md,
    /// One page with drawings that asks nothing of any network.
    Html,
    /// For programs.
    Json,
    /// For print.
    Pdf,
    /// A draft with the facts filled in, and gaps for people. Markdown.
    Postmortem,
    /// Which controls of SOC 2, ISO 22301 and DORA it is evidence for, and which not. Markdown.
    Compliance,
    /// The same for programs. JSON.
    ComplianceJson,
    /// What is not in the recovered database, by table. Markdown.
    DataLoss,
}

#[derive(Debug, Args)]
pub struct Escalation {
    #[arg(value_name = "INC-…")]
    pub incident: String,
    /// Answers for the level that was called, in your name.
    #[arg(long)]
    pub acknowledge: bool,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Checklist {
    /// May be left out with --remind.
    #[arg(value_name = "INC-…")]
    pub incident: Option<String>,
    /// Reminds by message of what is due, each line once; of every open incident, or of the one.
    #[arg(long)]
    pub remind: bool,
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub act: Option<ChecklistAct>,
}

#[derive(Debug, Subcommand)]
pub enum ChecklistAct {
    /// Runs a line of the safety list: looks, and says what it proposes. Changes no data by itself.
    Run {
        /// The line, such as sequences; the list shows which can be run.
        item: String,
        /// Carries out what the last run proposed under this key; can be given several times.
        #[arg(long, value_name = "KEY")]
        agree: Vec<String>,
        /// Carries out all that the last run proposed.
        #[arg(long, conflicts_with = "agree")]
        agree_all: bool,
    },
    /// Signs a line in your name.
    Sign {
        line: String,
        /// What you saw.
        #[arg(long, value_name = "TEXT")]
        evidence: Option<String>,
        /// A file that shows it: its size and SHA-256 are signed with it.
        #[arg(long, value_name = "FILE")]
        file: Option<std::path::PathBuf>,
        /// A command that shows it, run by a shell as you: its output is signed.
        #[arg(long, value_name = "COMMAND")]
        command: Option<String>,
        /// Signs it with this SSH key: a private key, or the public half of one in the agent.
        #[arg(long, value_name = "FILE")]
        key: Option<std::path::PathBuf>,
    },
    /// Has Lifeboat prove a line: runs what shows it, and signs it where all is VERIFIED.
    Prove { line: String },
    /// Takes a signature or a waiver back.
    Reopen {
        line: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Settles a line without doing it.
    Waive {
        line: String,
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Says whose task a line is; an empty name takes it back.
    Give { line: String, owner: String },
    /// Closes the incident, once every line is signed or waived.
    Close {
        #[arg(long, value_name = "TEXT")]
        summary: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Names the first wrong entry, by the chain and by the anchors in all repositories.
    ///
    /// Ends with 4 where the journal is not what was written, and with 12 where it could not be
    /// compared with every repository up to its last entry.
    Verify {
        #[arg(value_name = "INC-…")]
        incident: String,
        /// Whose repositories to ask, where the incident's folder does not say it.
        #[arg(long)]
        cluster: Option<String>,
        /// One JSON object on standard output, nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Erasure {
    /// Counts the rows of the running cluster that are on its erasure list. Changes nothing.
    ///
    /// Ends with 12 where there are any, or where they could not be counted.
    Check {
        #[arg(long)]
        cluster: Option<String>,
        /// One JSON object on standard output, nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Erases them, in one transaction a database, and counts them.
    ///
    /// Ends with 12 where a database was left as it was.
    Run {
        #[arg(long)]
        cluster: Option<String>,
        /// The cluster's name, typed once more.
        #[arg(long, value_name = "CLUSTER")]
        confirm: String,
        /// One JSON object on standard output, nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Catalogue {
    /// Makes its tables, or brings them to this version.
    Migrate {
        /// The role that owns the tables; the connection's user where absent.
        #[arg(long, value_name = "ROLE")]
        user: Option<String>,
        /// A role that may add and read rows, and nothing else.
        #[arg(long, value_name = "ROLE")]
        grant_to: Option<String>,
    },
    /// Whether it can be used, and what it lacks. Ends with 12 where it lacks anything.
    Status {
        /// One JSON object on standard output, nothing else.
        #[arg(long)]
        json: bool,
    },
    /// Sends what it lacks now. Ends with 12 where something was left out.
    Sync {
        /// One JSON object on standard output, nothing else.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct Readiness {
    /// One cluster alone.
    #[arg(long)]
    pub cluster: Option<String>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Drill {
    #[command(subcommand)]
    pub verb: Option<DrillVerb>,
    /// The scenario's name, such as corruption.
    #[arg(required = true)]
    pub scenario: Option<String>,
    /// Without a person: takes what the screens recommend.
    #[arg(long)]
    pub auto: bool,
    /// With --auto: one JSON object on standard output.
    #[arg(long, requires = "auto")]
    pub json: bool,
    /// With a game master, who attaches by lifeboat drill master from a terminal of their own and
    /// releases the injects; all that fit and can wait, where none is named.
    #[arg(long, conflicts_with = "auto")]
    pub facilitated: bool,
    /// Megabytes of the shop's data; 500, or 50 beside a copy, where absent.
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    pub size: Option<u64>,
    /// Hold it on a copy of this cluster's backup, which is only read; the shop is made beside what
    /// was copied.
    #[arg(long, value_name = "CLUSTER")]
    pub from_backup: Option<String>,
    /// The backup to copy; the newest where absent.
    #[arg(long, value_name = "SET", requires = "from_backup")]
    pub set: Option<String>,
    /// Copy from this one of the cluster's repositories alone.
    #[arg(long, value_name = "NAME", requires = "from_backup")]
    pub repository: Option<String>,
    /// The copy is as the cluster was then; as at the end of its backup where absent.
    #[arg(long, value_name = "TIME", requires = "from_backup")]
    pub until: Option<String>,
    /// Make the sandbox here and keep it.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Something more that goes wrong, by name, or random for one by the seed; can be repeated.
    #[arg(long, value_name = "NAME")]
    pub inject: Vec<String>,
    /// The same seed gives the same data, traffic and random inject.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// The line to a far repository: megabytes a second.
    #[arg(long, value_name = "MB/S")]
    pub link_speed: Option<f64>,
    /// The line to a far repository: milliseconds of each answer.
    #[arg(long, value_name = "MS")]
    pub link_latency: Option<u32>,
    /// Ends the drill after so many minutes.
    #[arg(long, default_value_t = 240, value_name = "MIN", value_parser = clap::value_parser!(u64).range(1..=10_080))]
    pub time_limit: u64,
    /// Ends the drill where its sandbox takes more; eight times the size where absent.
    #[arg(long, value_name = "MB")]
    pub disk_limit: Option<u64>,
    /// Processors that the drill may take, such as 1.5; all but one where absent, of two or fewer all.
    #[arg(long, value_name = "N", value_parser = processors)]
    pub cpu_limit: Option<f64>,
    /// Also write the outcome as JUnit's XML.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Keep the record of drills in this folder, not in the configuration's state directory.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
}

fn processors(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(count) if (0.1..=4_096.0).contains(&count) => Ok(count),
        _ => Err(String::from("write a number of processors from 0.1 on, such as 1.5")),
    }
}

#[derive(Debug, Subcommand)]
pub enum DrillVerb {
    /// The scenarios: the runbook's, and a team's own from sandbox.scenarios.
    List {
        #[arg(long)]
        json: bool,
    },

    /// One scenario, with what can go wrong on top of it.
    Show {
        scenario: String,
        #[arg(long)]
        json: bool,
    },

    /// Judges a scenario file.
    Validate {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// The drills that were held, what came of them, and how the times change.
    History {
        /// The folder with the record, where it is not the configuration's state directory.
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },

    /// Keeps what a drill taught, with an owner and a day on which it is tested again.
    Finding {
        /// The drill's number in the history.
        #[arg(value_name = "DRILL")]
        drill: u64,
        text: String,
        #[arg(long)]
        owner: String,
        /// YYYY-MM-DD.
        #[arg(long, value_name = "DATE")]
        retest: Option<jiff::civil::Date>,
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
    },

    /// Settles a finding: it was tested again, or given up.
    Settle {
        /// The finding's number.
        #[arg(value_name = "FINDING")]
        finding: u64,
        /// What came of it.
        note: String,
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
    },

    /// Findings that are open, those whose day has come first.
    Findings {
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },

    /// Ends every drill of yours that runs now, and clears what ended ones left.
    Abort,

    /// The game master's screen on a facilitated drill of yours: what the participants see, the
    /// injects, observations.
    Master {
        /// The drill's sandbox, where several run.
        #[arg(value_name = "DIR")]
        sandbox: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Every data key: who can open it, and which backups and WAL need it.
    List {
        #[arg(long)]
        cluster: Option<String>,
        #[arg(long)]
        repository: Option<String>,
        #[arg(long)]
        json: bool,
    },

    /// Makes a data key now; WAL from here on is under it. Every backup makes one by itself.
    Rotate {
        #[arg(long)]
        cluster: Option<String>,
        #[arg(long)]
        repository: Option<String>,
        #[arg(long)]
        json: bool,
    },

    /// Replaces the master key in every repository that has it, in two steps.
    ///
    /// With --new-key-file everything opens with both keys afterwards, and the configuration names
    /// both. With --retire, when every host has the new one, the old one opens nothing any more.
    /// It can be stopped at any moment and started again.
    RotateMaster(RotateMaster),

    /// Destroys a data key that nothing needs.
    Destroy {
        /// As `keys list` shows it.
        #[arg(value_name = "KEY")]
        id: String,
        #[arg(long)]
        cluster: Option<String>,
        #[arg(long)]
        repository: Option<String>,
        #[arg(long)]
        json: bool,
    },

    /// Writes the master key as a sheet to print and lock away.
    Escrow {
        /// A repository that has the master key, where there are several master keys.
        #[arg(long)]
        repository: Option<String>,
        /// A folder for text and page, or one file (.html, else text). Mode 0600.
        #[arg(long, value_name = "DIR|FILE", required_unless_present = "show")]
        output: Option<PathBuf>,
        /// Print the sheet here, key and all.
        #[arg(long, conflicts_with = "json")]
        show: bool,
        #[arg(long)]
        json: bool,
    },

    /// Proves that every key, every backup and the newest WAL open.
    Check {
        #[arg(long)]
        cluster: Option<String>,
        #[arg(long)]
        repository: Option<String>,
        /// With the key of a printed sheet that was typed into this file, and no other.
        #[arg(long, value_name = "FILE")]
        escrow: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },

    /// Writes the master key file again from a printed sheet.
    RestoreMaster {
        /// The sheet's lines, typed into a file.
        #[arg(long, value_name = "FILE")]
        from_sheet: PathBuf,
        /// The key file to make, of mode 0600; nothing may be there.
        #[arg(long, value_name = "KEYFILE")]
        output: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct RotateMaster {
    /// The file with the new master key.
    #[arg(long, value_name = "FILE", group = "what", conflicts_with = "new_key_command")]
    pub new_key_file: Option<PathBuf>,
    /// Make the new key file; nothing may be there.
    #[arg(long, requires = "new_key_file")]
    pub make: bool,
    /// A program and its arguments that print the new master key.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., group = "what")]
    pub new_key_command: Option<Vec<String>>,
    /// Remove what only the old master key opens, once everything is proven to open without.
    #[arg(long, group = "what")]
    pub retire: bool,
    /// Change lifeboat.toml too; its old text is kept beside it.
    #[arg(long)]
    pub apply: bool,
    /// A repository that has the master key, where there are several master keys.
    #[arg(long)]
    pub repository: Option<String>,
    #[arg(long)]
    pub json: bool,
}
