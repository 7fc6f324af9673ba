//! Units of systemd's: which one runs a server, and what `systemctl` says of it. Asks, and hands a
//! verb on; decides nothing.

use super::ControlError;
use super::wait::Helper;
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{self, Owner, Postmaster, Running};
use crate::engine::postgres::layout::DebianCluster;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a question may take.
const ASK_LIMIT: Duration = Duration::from_secs(15);
const PROPERTIES: &str =
    "--property=LoadState,ActiveState,MainPID,Result,Type,Environment,ExecStart";

/// The program, with what comes before its verbs.
#[derive(Debug, Clone)]
pub struct Systemctl(Vec<String>);

/// What stands before a verb. A start and a stop are not waited for here: a replay may take longer
/// than a unit's limit.
fn options(verb: &str) -> &'static [&'static str] {
    match verb {
        "show" => &[PROPERTIES],
        "start" | "stop" => &["--no-block"],
        _ => &[],
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `activating`, `inactive`, `failed`, …
    pub active: String,
    /// `success`, `exit-code`, …
    pub result: String,
    pub kind: String,
    pub main_pid: Option<i32>,
    /// Its environment and command lines, which name the data directory where anything does.
    pub words: String,
}

impl UnitState {
    /// Whether systemd leaves it down: neither running nor waiting for another attempt.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }

    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "LoadState" => value.clone_into(&mut state.load),
                "ActiveState" => value.clone_into(&mut state.active),
                "Result" => value.clone_into(&mut state.result),
                "Type" => value.clone_into(&mut state.kind),
                "MainPID" => state.main_pid = value.parse().ok().filter(|pid| *pid > 0),
                "Environment" | "ExecStart" => {
                    state.words.push_str(value);
                    state.words.push('\n');
                }
                _ => {}
            }
        }
        state
    }

    /// Whether it says that it runs the server of that data directory.
    #[must_use]
    pub fn names(&self, data_directory: &Path) -> bool {
        let path = data_directory.display().to_string();
        let end = |rest: &str| {
            let rest = rest.trim_start_matches('/');
            rest.is_empty() || rest.starts_with([' ', '"', '\'', ';', '\n'])
        };
        self.words
            .match_indices(&path)
            .any(|(at, found)| self.words.get(at + found.len()..).is_some_and(end))
    }
}

impl Systemctl {
    #[must_use]
    pub fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    fn program(&self) -> PathBuf {
        PathBuf::from(self.0.first().map_or("systemctl", String::as_str))
    }

    /// The words of a verb about a unit, the program first. It never asks for a password: nobody
    /// would answer.
    pub(super) fn words(&self, verb: &str, unit: &str) -> Vec<String> {
        let program = self.program().display().to_string();
        let before = self.0.iter().skip(1).cloned();
        let about = [verb, unit];
        let own = ["--no-ask-password"].iter().chain(options(verb)).chain(&about);
        std::iter::once(program).chain(before).chain(own.map(|word| (*word).to_owned())).collect()
    }

    pub(super) fn command(&self, verb: &str, unit: &str) -> Result<Command, ControlError> {
        let program = self.program();
        let mut command = child::command(&program, &Owner::current())
            .map_err(|source| ControlError::Run { program, source })?;
        command.args(self.words(verb, unit).iter().skip(1));
        Ok(command)
    }

    /// Has it done and waits until systemd says that it is.
    pub(super) fn run(&self, verb: &str, unit: &str, limit: Duration) -> Result<(), ControlError> {
        let (ok, said) = Helper::begin(self.command(verb, unit)?)?.finish(limit)?;
        let (verb, unit) = (verb.to_owned(), unit.to_owned());
        if ok { Ok(()) } else { Err(ControlError::Systemctl { verb, unit, said }) }
    }

    /// # Errors
    /// Where systemd cannot be asked, or has no such unit.
    pub fn show(&self, unit: &str) -> Result<UnitState, ControlError> {
        let state = self.look(unit)?;
        if state.load == "loaded" {
            return Ok(state);
        }
        let said = format!("its LoadState is {}", state.load);
        Err(ControlError::Systemctl { verb: String::from("show"), unit: unit.to_owned(), said })
    }

    fn look(&self, unit: &str) -> Result<UnitState, ControlError> {
        let command = self.command("show", unit)?;
        let (ok, said) = Helper::begin(command)?.finish(ASK_LIMIT)?;
        if ok {
            return Ok(UnitState::parse(&said));
        }
        Err(ControlError::Systemctl { verb: String::from("show"), unit: unit.to_owned(), said })
    }

    /// The unit that runs the server of a data directory: that of its running process, else the
    /// first of the usual names that says so by itself.
    ///
    /// # Errors
    /// Where there is none; says which names were looked for.
    pub fn find(&self, data_directory: &Path, major: Option<u32>) -> Result<String, ControlError> {
        if let Some(service) = service_of(data_directory) {
            return Ok(service);
        }
        let debian = DebianCluster::of(data_directory);
        let own = debian.map(|one| format!("postgresql@{}-{}", one.version, one.name));
        let by_version = major.map(|major| format!("postgresql-{major}"));
        let looked: Vec<String> =
            own.iter().cloned().chain(by_version).chain([String::from("postgresql")]).collect();
        for unit in &looked {
            let state = self.look(unit)?;
            let ours = Some(unit) == own.as_ref() || state.names(data_directory);
            // Debian's postgresql.service runs nothing: it stands for all clusters.
            if state.load == "loaded" && state.kind != "oneshot" && ours {
                return Ok(unit.clone());
            }
        }
        Err(ControlError::NoUnit { directory: data_directory.to_owned(), looked })
    }
}

/// The systemd service that runs a server, where one does.
#[must_use]
pub fn service_of(data_directory: &Path) -> Option<String> {
    let Running::Yes(Postmaster { pid, .. }) = discovery::running(data_directory).ok()? else {
        return None;
    };
    service_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// A service of PostgreSQL's in a process's control groups: others (a shell's session, a
/// container's, a builder's) started the server and do not watch over it.
fn service_in(cgroups: &str) -> Option<String> {
    let parts = cgroups.lines().flat_map(|line| line.rsplit('/'));
    parts
        .filter_map(|part| part.strip_suffix(".service"))
        .find(|name| name.contains("postgres") || name.contains("pgsql"))
        .map(|name| format!("{name}.service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_service_of_postgresql_counts() {
        let service = "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n";
        assert_eq!(service_in(service), Some(String::from("postgresql@15-main.service")));
        for other in ["0::/\n", "0::/user.slice/session-3.scope\n", "0::/system.slice/ssh.service"]
        {
            assert_eq!(service_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_verb_is_asked_for_as_sudo_may_have_it_word_for_word() {
        let sudo = ["sudo", "-n", "/usr/bin/systemctl"].map(String::from).to_vec();
        let said = |verb| Systemctl::new(sudo.clone()).words(verb, "postgresql").join(" ");
        let before = "sudo -n /usr/bin/systemctl --no-ask-password";
        assert_eq!(said("stop"), format!("{before} --no-block stop postgresql"));
        assert_eq!(said("reset-failed"), format!("{before} reset-failed postgresql"));
        assert!(said("show").starts_with(&format!("{before} --property=LoadState,")));
    }

    #[test]
    fn properties_are_read() {
        let text = "LoadState=loaded\nActiveState=activating\nMainPID=0\nResult=exit-code\n\
                    Type=notify\nEnvironment=PGDATA=/var/lib/pgsql/15/data/\n\
                    ExecStart={ path=/usr/pgsql-15/bin/postgres ; argv[]=postgres -D ${PGDATA} }\n";
        let state = UnitState::parse(text);
        assert_eq!((state.main_pid, state.is_down()), (None, false));
        assert!(state.names(Path::new("/var/lib/pgsql/15/data")));
        for other in ["/var/lib/pgsql/15/dat", "/var/lib/pgsql/15", "/var/lib/pgsql/15/data2"] {
            assert!(!state.names(Path::new(other)), "{other}");
        }
        let gone = UnitState::parse("LoadState=not-found\nActiveState=inactive\nMainPID=0\n");
        assert!(gone.is_down() && gone.load == "not-found");
    }
}
