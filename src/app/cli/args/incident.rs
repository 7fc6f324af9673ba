//! Words of what belongs to an incident: people, checklist, journal, reports, records.

use clap::{Args, Subcommand};
use std::path::PathBuf;

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
