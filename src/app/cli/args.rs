//! The command line's words. Owns names, flags and help; never does anything.

mod drill;
mod incident;
mod keeping;
mod keys;
mod recovery;

pub use drill::{Drill, DrillVerb, Readiness};
pub use incident::{
    Approve, Catalogue, Checklist, ChecklistAct, Erasure, Escalation, Handover, Journal, Report,
    ReportFormat,
};
pub use keeping::{
    CatchUp, Hold, Init, InstallUnits, Messages, Metrics, Policy, RecordRecovery, Schedule, Verify,
};
pub use keys::{Crypt, Keys, RotateMaster, Which};
pub use recovery::{
    ClassWord, IntoWord, MissingRolesWord, Parts, Point, PrefetchWal, Restore, RestoreFull,
    RestoreParts, RestoreWal, Salvage, Suspects, SymptomWord,
};

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
