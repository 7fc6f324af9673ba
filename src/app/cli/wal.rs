//! `archive-wal`, `restore-wal` and its prefetcher: the commands that a PostgreSQL server calls.
//! Their exit codes are PostgreSQL's contract (docs/OPERATIONS.md): a failed archiving stays below
//! 126 so that the server counts and repeats it; a failed fetch is above 125 so that the server
//! stops instead of taking it for the end of the archive.

use super::args::{PrefetchWal, RestoreWal};
use super::output;
use super::{cluster, repository_config};
use crate::engine::config::{self, Cluster, Config, RepositoryConfig};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::wal::archive;
use crate::engine::wal::fetch::{self, FetchError, FetchRequest, Fetched, Sources};
use crate::engine::wal::prefetch::{self, PrefetchOptions};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// The verb that a recovering server calls.
pub(super) const FETCH: &str = "restore-wal";

pub(super) fn archive(config: Option<&Path>, name: Option<&str>, file: &Path) -> ExitCode {
    let attempt = || -> Result<(), (Explanation, u8)> {
        let config = loaded(config).map_err(below_126)?;
        let cluster = cluster(&config, name).map_err(below_126)?;
        archive::archive_file(&config, cluster, file)
            .map(|archived| tell(&archived))
            .map_err(|error| (error.explanation(), error.exit_code()))
    };
    match attempt() {
        Ok(()) => ExitCode::SUCCESS,
        Err((explanation, code)) => {
            output::fail(&explanation);
            ExitCode::from(code)
        }
    }
}

/// Another repository's key or another cluster's password file is no concern of this call.
fn loaded(path: Option<&Path>) -> Result<Config, Explanation> {
    config::load_for_server(path).map_err(|e| e.explanation())
}

/// A line in the server's log when a repository is found to be away, or has caught up; not one
/// for each segment in between.
fn tell(archived: &archive::Archived) {
    use std::io::Write;
    let mut text = String::new();
    for lacking in archived.owed.iter().filter(|lacking| lacking.asked) {
        text.push_str(&format!(
            "lifeboat: {} is archived, but not in {}; the debt is written down. {}\n",
            archived.name, lacking.repository, lacking.why
        ));
    }
    for (repository, file) in &archived.paid {
        text.push_str(&format!("lifeboat: {repository} has {file} now, which it lacked.\n"));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn below_126(explanation: Explanation) -> (Explanation, u8) {
    let code = explanation.kind.exit_code().clamp(1, 125);
    (explanation, code)
}

/// Why a file was not fetched: before the fetch began, or in it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Before(Explanation),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Explain for Refusal {
    fn explanation(&self) -> Explanation {
        match self {
            Self::Before(explanation) => explanation.clone(),
            Self::Fetch(error) => error.explanation(),
        }
    }
}

pub(super) fn fetch(config: Option<&Path>, args: &RestoreWal) -> ExitCode {
    let code = fetch::exit_code_of(
        || fetch_one(config, args),
        |refusal: &Refusal| match refusal {
            Refusal::Before(_) => fetch::EXIT_STOP,
            Refusal::Fetch(error) => error.exit_code(),
        },
    );
    ExitCode::from(code)
}

fn fetch_one(config: Option<&Path>, args: &RestoreWal) -> Result<Fetched, Refusal> {
    let config = loaded(config).map_err(Refusal::Before)?;
    let cluster = cluster(&config, args.cluster.as_deref()).map_err(Refusal::Before)?;
    let repositories =
        repositories(&config, cluster, &args.repositories).map_err(Refusal::Before)?;
    let sources = Sources::new(&cluster.name, &repositories, args.rescue.as_deref());
    let prefetcher = args.spool.as_deref().map(|spool| prefetcher(&config, cluster, spool, args));
    let request = FetchRequest {
        name: &args.name,
        destination: &args.destination,
        sources: &sources,
        spool: args.spool.as_deref(),
        prefetcher: prefetcher.as_deref().unwrap_or_default(),
    };
    Ok(fetch::fetch_file(&request)?)
}

/// Those that were named, or all; nearest first either way.
fn repositories(
    config: &Config,
    cluster: &Cluster,
    named: &[String],
) -> Result<Vec<RepositoryConfig>, Explanation> {
    for name in named {
        repository_config(config, cluster, Some(name))?;
    }
    let all = cluster.repositories.iter();
    let asked = all.filter(|name| named.is_empty() || named.contains(name));
    Ok(asked.filter_map(|name| config.repository(name)).cloned().collect())
}

/// The command line of the prefetcher with the same places.
fn prefetcher(
    config: &Config,
    cluster: &Cluster,
    spool: &Path,
    args: &RestoreWal,
) -> Vec<OsString> {
    let Ok(program) = std::env::current_exe() else { return Vec::new() };
    let mut line: Vec<OsString> = vec![
        program.into(),
        "--config".into(),
        config.path.clone().into(),
        "prefetch-wal".into(),
        "--cluster".into(),
        cluster.name.clone().into(),
        "--spool".into(),
        spool.into(),
    ];
    if let Some(rescue) = &args.rescue {
        line.extend(["--rescue".into(), rescue.into()]);
    }
    for name in &args.repositories {
        line.extend(["--repository".into(), name.into()]);
    }
    line
}

pub(super) fn prefetch(config: Option<&Path>, args: &PrefetchWal) -> ExitCode {
    let prepared = loaded(config).and_then(|config| {
        let cluster = cluster(&config, args.cluster.as_deref())?.clone();
        Ok((repositories(&config, &cluster, &args.repositories)?, cluster.name))
    });
    match prepared {
        Ok((repositories, name)) => ExitCode::from(prefetch::prefetch_main(
            &name,
            &repositories,
            args.rescue.as_deref(),
            &args.spool,
            &PrefetchOptions::default(),
        )),
        Err(explanation) => output::fail(&explanation),
    }
}
