//! Words of GameDay drills and of readiness.

use clap::{Args, Subcommand};
use std::path::PathBuf;

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
    /// Ends the drill where its sandbox takes more; eight times the size and 4000 MB where absent, on
    /// a copy twice what it needs.
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
