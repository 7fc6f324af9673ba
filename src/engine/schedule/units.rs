//! The systemd unit of the scheduler. Owns its text (from `assets/systemd`) and where it goes;
//! never enables or starts anything, and never overwrites a unit that somebody changed.

use crate::engine::config::load;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::files;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The unit's name.
pub const UNIT: &str = "lifeboat-schedule.service";
const TEMPLATE: &str = include_str!("../../../assets/systemd/lifeboat-schedule.service");
/// The first line of each unit that was written from here.
const OURS: &str = "# Written by lifeboat install-units";

/// Has the service manager make `/var/lib/lifeboat` and give it to the unit's user.
const STATE: &str = "StateDirectory=lifeboat\nStateDirectoryMode=0700\n";

/// What the unit has to know.
#[derive(Debug, Clone)]
pub struct Unit {
    /// This program.
    pub program: PathBuf,
    pub config: PathBuf,
    /// The operating-system user that it runs as.
    pub user: String,
    /// Where it keeps its notes.
    pub state_directory: PathBuf,
    /// Paths that it writes to.
    pub writes: Vec<PathBuf>,
}

/// What came of writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Installed {
    Written,
    /// It was there already, word for word.
    Unchanged,
}

impl Unit {
    /// The unit file's text.
    ///
    /// # Errors
    /// Where a path cannot be written in a unit file.
    pub fn text(&self) -> Result<String, Explanation> {
        let writes: Vec<String> =
            self.writes.iter().map(|path| optional(path)).collect::<Result<_, _>>()?;
        let body = TEMPLATE
            .replace("@PROGRAM@", &quoted(&self.program)?)
            .replace("@CONFIG@", &quoted(&self.config)?)
            .replace("@USER@", &self.user)
            .replace("@STATE@", if self.system_state() { STATE } else { "" })
            .replace("@WRITES@", &writes.join(" "));
        Ok(format!("{OURS}; change it with systemctl edit {UNIT}.\n{body}"))
    }

    /// Whether the service manager can make the state directory and give it to the user.
    #[must_use]
    pub fn system_state(&self) -> bool {
        self.state_directory == Path::new(load::SYSTEM_STATE)
    }

    /// Writes the unit into `folder`.
    ///
    /// # Errors
    /// Where there is another unit of that name, or the folder cannot be written.
    pub fn install(&self, folder: &Path) -> Result<Installed, Explanation> {
        let (path, text) = (folder.join(UNIT), self.text()?);
        let failed = |error: io::Error| {
            Explanation::new(
                Kind::Storage,
                format!("{} could not be written: {error}.", path.display()),
                "Units that were there are untouched.",
                "Run it as root, or give another folder with --directory.",
            )
        };
        match fs::read_to_string(&path) {
            Ok(there) if there == text => return Ok(Installed::Unchanged),
            Ok(there) if !there.starts_with(OURS) => {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!("{} is there and was not written by Lifeboat.", path.display()),
                    "It was left as it is.",
                    "Move it away first, or give another folder with --directory.",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        files::replace(&path, text.as_bytes(), 0o644).map_err(failed)?;
        Ok(Installed::Written)
    }
}

/// A path of a list; one that is not there, such as a volume that is not mounted, does not keep
/// the unit from starting.
fn optional(path: &Path) -> Result<String, Explanation> {
    let text = quoted(path)?;
    Ok(match text.strip_prefix('"') {
        Some(rest) => format!("\"-{rest}"),
        None => format!("-{text}"),
    })
}

/// A path as a unit file has it: `%` begins a specifier there, and blanks end a word.
fn quoted(path: &Path) -> Result<String, Explanation> {
    let refused = || {
        Explanation::new(
            Kind::Config,
            format!("{} cannot be written in a unit file.", path.display()),
            "Nothing was written.",
            "Use a path of ordinary characters.",
        )
    };
    let text = path.to_str().ok_or_else(refused)?;
    if text.chars().any(|c| c.is_control() || c == '"' || c == '\\' || c == '\'') {
        return Err(refused());
    }
    let text = text.replace('%', "%%").replace('$', "$$");
    Ok(if text.contains(' ') { format!("\"{text}\"") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        Unit {
            program: "/usr/local/bin/lifeboat".into(),
            config: "/etc/lifeboat/life boat.toml".into(),
            user: "postgres".into(),
            state_directory: "/var/lib/lifeboat".into(),
            writes: vec!["/var/backups/lifeboat".into(), "/var/lib/lifeboat".into()],
        }
    }

    #[test]
    fn the_unit_names_everything_and_leaves_no_gap() {
        let text = unit().text().unwrap();
        assert!(!text.contains('@'), "{text}");
        assert!(text.contains(
            "ExecStart=/usr/local/bin/lifeboat --config \"/etc/lifeboat/life boat.toml\" schedule"
        ), "{text}");
        assert!(text.contains("User=postgres"), "{text}");
        assert!(
            text.contains("ReadWritePaths=-/var/backups/lifeboat -/var/lib/lifeboat"),
            "{text}"
        );
        assert!(text.contains("RuntimeDirectory=lifeboat-schedule\n"), "{text}");
        assert!(text.contains("Environment=TMPDIR=%t/lifeboat-schedule\n"), "{text}");
        assert!(!text.contains("PrivateTmp"), "sockets in /tmp stay to be seen");
        assert!(text.contains("\nStateDirectory=lifeboat\nStateDirectoryMode=0700\n"), "{text}");
        let own = Unit {
            state_directory: "/srv/state".into(),
            writes: vec!["/srv/two words".into()],
            ..unit()
        };
        let text = own.text().unwrap();
        assert!(!text.contains("StateDirectory"), "{text}");
        assert!(text.contains("\nReadWritePaths=\"-/srv/two words\"\n"), "{text}");
        let odd = Unit { program: "/opt/\"x\"".into(), ..unit() };
        assert_eq!(odd.text().unwrap_err().kind, Kind::Config);
        let percent = Unit { program: "/opt/100%".into(), ..unit() };
        assert!(percent.text().unwrap().contains("ExecStart=/opt/100%% "));
    }

    #[test]
    fn a_unit_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(unit().install(folder.path()).unwrap(), Installed::Written);
        assert_eq!(unit().install(folder.path()).unwrap(), Installed::Unchanged);
        let changed = Unit { user: "other".into(), ..unit() };
        assert_eq!(changed.install(folder.path()).unwrap(), Installed::Written);
        let path = folder.path().join(UNIT);
        fs::write(&path, "[Unit]\n").unwrap();
        assert_eq!(unit().install(folder.path()).unwrap_err().kind, Kind::Refused);
        assert_eq!(fs::read_to_string(&path).unwrap(), "[Unit]\n");
    }
}
