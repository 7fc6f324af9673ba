//! Finding, reading and judging `lifeboat.toml`. Every error names the file and, where there is
//! one, the line. Never changes a file and never reads a secret's content.
//!
//! Looked for in this order: the path given with `--config`, `$LIFEBOAT_CONFIG`, the user's
//! configuration folder, `/etc/lifeboat/lifeboat.toml`. A path that was asked for by name must be
//! there: nothing else is taken in its place. Paths in the file are absolute: what they mean must
//! not depend on where somebody stands.

mod judge;
mod judge_catalogue;
mod judge_channels;
mod judge_control;
mod judge_escalation;
mod judge_masking;
mod judge_place;
mod judge_s3;
mod judge_sandbox;
mod locate;

use super::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use locate::Lines;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Names a configuration file.
pub const VARIABLE: &str = "LIFEBOAT_CONFIG";

const SYSTEM: &str = "/etc/lifeboat/lifeboat.toml";
/// Where root keeps incidents.
pub const SYSTEM_STATE: &str = "/var/lib/lifeboat";

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1; absent where it belongs to no line.
    pub line: Option<usize>,
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}")]
    Refused(String),
    #[error("There is no configuration file; looked for {}.", paths(.looked))]
    NotFound { looked: Vec<PathBuf> },
    #[error("The configuration file {path} could not be read: {source}.")]
    Read { path: PathBuf, source: io::Error },
    #[error("The configuration file {path} can be changed by everybody (mode {mode:04o}).")]
    Writable { path: PathBuf, mode: u32 },
    #[error("The configuration file {path} is not usable: {}.", joined(.problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

impl ConfigError {
    /// What is wrong, line by line.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    all.join(", ")
}

fn joined(problems: &[Problem]) -> String {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl Explain for ConfigError {
    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Refused(_) => String::new(),
            Self::NotFound { .. } => String::from(
                "Write one (the example in the documentation is complete), or name it with --config.",
            ),
            Self::Read { .. } => String::from("Check the path and its permissions."),
            Self::Writable { path, .. } => {
                format!("Check what it says, then run: chmod go-w '{}'", path.display())
            }
            Self::Invalid { .. } => String::from("Correct the file and start again."),
        };
        Explanation::new(Kind::Config, self.to_string(), "Nothing was changed.", next)
    }
}

/// Reads the configuration: `explicit` where given, else the user's, else the system's.
///
/// # Errors
/// Where there is none, or it does not hold.
pub fn load(explicit: Option<&Path>) -> Result<Config, ConfigError> {
    let (config, text) = read(explicit)?;
    let problems = judge::files(&config, &Lines::of(&text));
    let path = config.path.clone();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { path, problems }) }
}

/// As [`load`], without a look at the files that it names. For the commands that a server calls:
/// the key of one repository that cannot be read must not keep WAL from all others. Whoever uses
/// such a file says what is wrong with it.
///
/// # Errors
/// Where there is none, or it does not hold.
pub fn load_for_server(explicit: Option<&Path>) -> Result<Config, ConfigError> {
    read(explicit).map(|(config, _)| config)
}

/// The configuration and its text.
fn read(explicit: Option<&Path>) -> Result<(Config, String), ConfigError> {
    let path = find(explicit, std::env::var_os(VARIABLE).map(PathBuf::from), &well_known())?;
    let read = |source| ConfigError::Read { path: path.clone(), source };
    let mode = fs::metadata(&path).map_err(read)?.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        return Err(ConfigError::Writable { path, mode });
    }
    let text = fs::read_to_string(&path).map_err(read)?;
    Ok((parse(&text, &path)?, text))
}

/// Reads a configuration's text and judges all that can be judged without touching the files that
/// it names.
///
/// # Errors
/// With every problem found, by line.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
    let lines = Lines::of(text);
    let mut config: Config = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| lines.at(span.start));
        invalid(vec![Problem { line, text: one_line(error.message()) }])
    })?;
    config.path = path.to_owned();
    let problems = judge::content(&config, &lines);
    if problems.is_empty() { Ok(config) } else { Err(invalid(problems)) }
}

/// Where the configuration is, or where a new one belongs: at the path that was asked for, else
/// where one is found, else the system's for root and the user's own for others.
///
/// # Errors
/// Where one is there and cannot be looked at.
pub fn place(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let known = well_known();
    match find(explicit, std::env::var_os(VARIABLE).map(PathBuf::from), &known) {
        Err(ConfigError::NotFound { .. }) => {
            let root = nix::unistd::Uid::effective().is_root();
            let own = known.into_iter().next().filter(|_| !root);
            Ok(own.unwrap_or_else(|| PathBuf::from(SYSTEM)))
        }
        found => found,
    }
}

/// A complete configuration with comments, as the documentation shows it.
#[must_use]
pub fn example() -> String {
    include_str!("../../../assets/lifeboat.example.toml").to_owned()
}

/// Where incidents are kept when the configuration does not say.
#[must_use]
pub fn default_state_directory() -> PathBuf {
    if nix::unistd::Uid::effective().is_root() {
        return PathBuf::from(SYSTEM_STATE);
    }
    folders().map_or_else(|| PathBuf::from(SYSTEM_STATE), |own| own.data_dir().to_owned())
}

fn folders() -> Option<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "lifeboat")
}

fn well_known() -> Vec<PathBuf> {
    let own = folders().map(|own| own.config_dir().join("lifeboat.toml"));
    own.into_iter().chain([PathBuf::from(SYSTEM)]).collect()
}

fn find(
    explicit: Option<&Path>,
    variable: Option<PathBuf>,
    well_known: &[PathBuf],
) -> Result<PathBuf, ConfigError> {
    let named = explicit.map(Path::to_owned).or(variable.filter(|p| !p.as_os_str().is_empty()));
    if let Some(path) = named {
        return std::path::absolute(&path).map_err(|source| ConfigError::Read { path, source });
    }
    for path in well_known {
        match fs::metadata(path) {
            Ok(_) => return Ok(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // One that is there and cannot be looked at must not be passed over.
            Err(source) => return Err(ConfigError::Read { path: path.clone(), source }),
        }
    }
    Err(ConfigError::NotFound { looked: well_known.to_vec() })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_wins_and_nothing_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let known = folder.path().join("known.toml");
        fs::write(&known, "").unwrap();
        let all = [folder.path().join("absent.toml"), known.clone()];
        let given = Path::new("/given.toml");
        let variable = || Some(PathBuf::from("/variable.toml"));
        assert_eq!(find(Some(given), variable(), &all).unwrap(), given);
        assert_eq!(find(None, variable(), &all).unwrap(), Path::new("/variable.toml"));
        assert_eq!(find(None, Some(PathBuf::new()), &all).unwrap(), known);
        let none = find(None, None, &all[..1]).unwrap_err();
        assert!(none.to_string().contains("absent.toml"), "{none}");
    }

    #[test]
    fn the_example_holds() {
        let config = parse(&example(), Path::new("example.toml")).unwrap();
        assert!(!config.clusters.is_empty() && !config.repositories.is_empty());
    }
}
