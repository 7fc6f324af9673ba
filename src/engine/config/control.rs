//! How a server is started and stopped, as `lifeboat.toml` says it. Owns the words; what they do
//! is in `postgres::control`, one file a driver.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The driver and what it needs to know.
///
/// `config_file` is where `postgresql.conf` is, where that is not the data directory itself.
/// `bin_directory` is where `pg_ctl` and `postgres` are; discovered where absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// PostgreSQL's own `pg_ctl`.
    PgCtl {
        #[serde(default)]
        bin_directory: Option<PathBuf>,
        /// Where the server's output goes; `<data directory>/../<name>.log` where absent.
        #[serde(default)]
        log: Option<PathBuf>,
        #[serde(default)]
        config_file: Option<PathBuf>,
    },
    /// Debian's `pg_ctlcluster`: configuration in `/etc/postgresql/VERSION/CLUSTER`, log in
    /// `/var/log/postgresql`.
    PgCtlcluster {
        version: u32,
        cluster: String,
        #[serde(default)]
        bin_directory: Option<PathBuf>,
    },
    /// A unit of systemd's.
    Systemd {
        /// Such as `postgresql@15-main`; looked for where absent.
        #[serde(default)]
        unit: Option<String>,
        /// The program and what comes before the verb, such as `["sudo", "-n", "systemctl"]`.
        #[serde(default = "default_systemctl")]
        systemctl: Vec<String>,
        #[serde(default)]
        bin_directory: Option<PathBuf>,
        /// Where the server writes its log, for the last lines in an error.
        #[serde(default)]
        log: Option<PathBuf>,
        #[serde(default)]
        config_file: Option<PathBuf>,
    },
    /// One's own programs.
    Command(Box<Commands>),
}

/// Programs of one's own, each with its arguments. In every argument `{data_directory}`,
/// `{bin_directory}`, `{log}`, `{cluster}`, `{mode}` (smart, fast, immediate) and `{seconds}` (how
/// long it may take) are filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    pub start: Vec<String>,
    pub stop: Vec<String>,
    /// Read and not used: nothing of Lifeboat's has a server read its settings again by it. A file
    /// that has it is still one.
    #[serde(default, rename = "reload", skip_serializing)]
    pub unused_reload: Option<Vec<String>>,
    /// `pg_ctl promote` where absent.
    #[serde(default)]
    pub promote: Option<Vec<String>>,
    /// Each command is one text for `/bin/sh -c`; what is filled in is quoted.
    #[serde(default)]
    pub shell: bool,
    /// Run as the data directory's owner and not as Lifeboat's own user.
    #[serde(default)]
    pub as_server: bool,
    #[serde(default)]
    pub bin_directory: Option<PathBuf>,
    /// Where the server writes its log, for the last lines in an error.
    #[serde(default)]
    pub log: Option<PathBuf>,
    #[serde(default)]
    pub config_file: Option<PathBuf>,
}

impl Commands {
    /// Every command that is configured, with its key.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let always = [("start", &self.start), ("stop", &self.stop)];
        always.into_iter().chain(self.promote.iter().map(|one| ("promote", one)))
    }
}

/// What is filled in in a command of one's own.
pub const PLACEHOLDERS: [&str; 6] =
    ["data_directory", "bin_directory", "log", "cluster", "mode", "seconds"];

fn default_systemctl() -> Vec<String> {
    vec![String::from("systemctl")]
}

impl Control {
    /// PostgreSQL's own driver, with everything found by itself.
    #[must_use]
    pub fn pg_ctl() -> Self {
        Self::PgCtl { bin_directory: None, log: None, config_file: None }
    }

    /// The unit of systemd's of that name.
    #[must_use]
    pub fn unit(name: &str, config_file: Option<PathBuf>) -> Self {
        Self::Systemd {
            unit: Some(name.to_owned()),
            systemctl: default_systemctl(),
            bin_directory: None,
            log: None,
            config_file,
        }
    }

    /// The driver's name as the configuration has it.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self {
            Self::PgCtl { .. } => "pg_ctl",
            Self::PgCtlcluster { .. } => "pg_ctlcluster",
            Self::Systemd { .. } => "systemd",
            Self::Command(_) => "command",
        }
    }

    /// As configured.
    #[must_use]
    pub fn bin_directory(&self) -> Option<&Path> {
        match self {
            Self::PgCtl { bin_directory, .. }
            | Self::PgCtlcluster { bin_directory, .. }
            | Self::Systemd { bin_directory, .. } => bin_directory.as_deref(),
            Self::Command(commands) => commands.bin_directory.as_deref(),
        }
    }

    /// As configured.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Self::PgCtl { log, .. } | Self::Systemd { log, .. } => log.as_deref(),
            Self::PgCtlcluster { .. } => None,
            Self::Command(commands) => commands.log.as_deref(),
        }
    }

    /// As configured; see `postgres::layout` for where it is found.
    #[must_use]
    pub fn config_file(&self) -> Option<&Path> {
        match self {
            Self::PgCtl { config_file, .. } | Self::Systemd { config_file, .. } => {
                config_file.as_deref()
            }
            Self::PgCtlcluster { .. } => None,
            Self::Command(commands) => commands.config_file.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_reload_of_its_own_is_still_one() {
        let text = "driver = \"command\"\nstart = [\"/up\"]\nstop = [\"/down\"]\n\
                    reload = [\"/again\"]\npromote = [\"/promote\"]\n";
        let Control::Command(commands) = toml::from_str(text).unwrap() else { panic!("{text}") };
        let keys: Vec<&str> = commands.all().map(|(key, _)| key).collect();
        assert_eq!(keys, ["start", "stop", "promote"]);
        let written = toml::to_string(&Control::Command(commands)).unwrap();
        assert!(!written.contains("reload"), "{written}");
    }
}
