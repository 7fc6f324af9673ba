//! Words of finding a recovery point and of every way to bring data back.

use super::Common;
use crate::engine::restore::places;
use clap::Args;
use std::path::PathBuf;

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

/// The point to go back to; the end of the archive where none is named.
#[derive(Debug, Args)]
pub struct Point {
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
    #[command(flatten)]
    pub point: Point,
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
// The point in other words than a restore's: production itself is not recovered to it.
#[command(
    mut_arg("time", |arg| arg.help("As they were at this time (with its offset)")),
    mut_arg("lsn", |arg| arg.help("As they were at this LSN")),
    mut_arg("xid", |arg| arg.help("As they were at this transaction")),
    mut_arg("name", |arg| arg.help("As they were at this restore point")),
    mut_arg("exclusive", |arg| arg.help("Just before the target instead of just after it"))
)]
pub struct RestoreParts {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub parts: Parts,
    /// set-YYYYMMDD-HHMMSS; the one that serves the target where absent.
    #[arg(long, value_name = "SET")]
    pub set: Option<String>,
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
    #[command(flatten)]
    pub point: Point,
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
