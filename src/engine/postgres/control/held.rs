//! Settings of one start where the program that starts the server takes none: a marked block in
//! `postgresql.auto.conf` of the data directory, taken away again before the next start without
//! them. Owns that block, and the look whether the server took it.
//!
//! A server that is started meanwhile by somebody else (a reboot, a watchdog) has them too: closed
//! stays closed until it is opened.

use super::log::open_log;
use super::{ControlError, Driver, StartOptions};
use crate::engine::postgres::discovery::{Owner, Running};
use crate::engine::postgres::marked::{AUTO_CONF, Marks, read_or_empty};
use crate::engine::postgres::recovery_settings::{quoted, write_owned};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const MARKS: Marks = Marks {
    begin: "# >>> Lifeboat: settings of this start, taken away again before the next",
    end: "# <<< Lifeboat: settings of this start",
};

/// How long a server that has its data directory may take to open its socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(60);

/// Not ours where the server belongs to a service: it is how that one knows its server.
const OF_THE_SERVICE: [&str; 1] = ["external_pid_file"];

/// Writes the settings of this start, or takes away those of an earlier one where there are none.
/// Gives the length of the log before.
pub(super) fn hold(
    data_directory: &Path,
    owner: &Owner,
    options: &StartOptions,
) -> Result<u64, ControlError> {
    let auto = data_directory.join(AUTO_CONF);
    let now = read_or_empty(&auto)?;
    let before = MARKS.strip(&auto, now.clone())?.0;
    let settings = wanted(options);
    let content = if settings.is_empty() {
        before
    } else {
        let mut block = String::new();
        for (name, value) in &settings {
            super::checked(name, value)?;
            block.push_str(&format!("{name} = {}\n", quoted(value)?));
        }
        MARKS.with_block(&before, &block)
    };
    if content != now {
        write_owned(&auto, &content, owner)?;
    }
    let Some(log) = &options.log else { return Ok(0) };
    open_log(log, owner).map_err(|source| ControlError::Log { path: log.clone(), source })
}

/// Whether a start's settings are held in the directory.
pub(super) fn is_held(data_directory: &Path) -> bool {
    read_or_empty(&data_directory.join(AUTO_CONF))
        .is_ok_and(|content| MARKS.block_of(&content).is_some())
}

/// Whether that setting is among them.
pub(super) fn is_held_with(data_directory: &Path, setting: &str) -> bool {
    let block = read_or_empty(&data_directory.join(AUTO_CONF)).ok();
    let block = block.and_then(|content| MARKS.block_of(&content)).unwrap_or_default();
    block.lines().any(|line| line.split(' ').next() == Some(setting))
}

/// The start's settings, with its log as the server's own collector writes it.
fn wanted(options: &StartOptions) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = options
        .settings
        .iter()
        .filter(|(name, _)| !OF_THE_SERVICE.contains(&name.as_str()))
        .cloned()
        .collect();
    if let Some(log) = &options.log {
        let folder = log.parent().map(|path| path.display().to_string());
        let name = log.file_name().map(|name| name.to_string_lossy().replace('%', "%%"));
        let collected = [
            ("logging_collector", String::from("on")),
            ("log_destination", String::from("stderr")),
            ("log_directory", folder.unwrap_or_default()),
            // Escapes of a time stamp are filled in in it.
            ("log_filename", name.unwrap_or_default()),
            ("log_file_mode", String::from("0600")),
            ("log_rotation_age", String::from("0")),
            ("log_rotation_size", String::from("0")),
            ("log_truncate_on_rotation", String::from("off")),
        ];
        all.retain(|(name, _)| !collected.iter().any(|(one, _)| one == name));
        all.extend(collected.map(|(name, value)| (name.to_owned(), value)));
    }
    all
}

/// Makes sure that the running server took the settings: what it was given on its command line
/// outweighs them, and where it listens stands in its pid file.
pub(super) fn verify(driver: &dyn Driver, options: &StartOptions) -> Result<(), ControlError> {
    if let Some(outweighed) = outweighed(driver.data_directory(), options) {
        return Err(outweighed);
    }
    let settings = wanted(options);
    let of = |name: &str| settings.iter().find(|(one, _)| one == name).map(|(_, value)| value);
    let Some(socket) = of("unix_socket_directories") else { return Ok(()) };
    let end = Instant::now() + SOCKET_LIMIT;
    loop {
        // One that ended has its own message in its log; whoever watches it will say so.
        let Running::Yes(postmaster) = driver.status()? else { return Ok(()) };
        if let Some(found) = postmaster.socket_directory {
            return if &found.display().to_string() == socket {
                Ok(())
            } else {
                Err(ControlError::Outweighed {
                    directory: driver.data_directory().to_owned(),
                    name: String::from("unix_socket_directories"),
                    value: found.display().to_string(),
                })
            };
        }
        if Instant::now() >= end {
            return Err(ControlError::Outweighed {
                directory: driver.data_directory().to_owned(),
                name: String::from("unix_socket_directories"),
                value: String::from("not known after a minute"),
            });
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The last setting of the server's last command line that has another value than it is to have.
pub(super) fn outweighed(data_directory: &Path, options: &StartOptions) -> Option<ControlError> {
    let settings = wanted(options);
    let text = fs::read_to_string(data_directory.join("postmaster.opts")).ok()?;
    let given = command_line(&text);
    let clash = given.into_iter().rev().find(|(name, value)| {
        settings.iter().any(|(ours, wanted)| ours == name && wanted != value)
    });
    clash.map(|(name, value)| ControlError::Outweighed {
        directory: data_directory.to_owned(),
        name,
        value,
    })
}

/// The settings of a command line as `postmaster.opts` has it: every argument quoted.
fn command_line(text: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = text.trim().split('"').skip(1).step_by(2).collect();
    let mut all = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut rest = |flag: &str| -> Option<String> {
            let joined = word.strip_prefix(flag)?;
            if joined.is_empty() {
                words.next().map(str::to_owned)
            } else {
                Some(joined.to_owned())
            }
        };
        if let Some(long) = word.strip_prefix("--") {
            if let Some((name, value)) = long.split_once('=') {
                all.push((name.replace('-', "_"), value.to_owned()));
            }
        } else if let Some(setting) = rest("-c") {
            if let Some((name, value)) = setting.split_once('=') {
                all.push((name.to_owned(), value.to_owned()));
            }
        } else if word == "-i" {
            all.push((String::from("listen_addresses"), String::from("*")));
        } else {
            for (flag, name) in
                [("-h", "listen_addresses"), ("-k", "unix_socket_directories"), ("-p", "port")]
            {
                if let Some(value) = rest(flag) {
                    all.push((name.to_owned(), value));
                    break;
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_the_server_writes_it() {
        let text = "/usr/bin/postgres \"-D\" \"/data\" \"-c\" \"hba_file=/etc/hba\" \"-p\" \
                    \"5433\" \"-k/tmp\" \"--log-timezone=UTC\" \"-i\"\n";
        let read = command_line(text);
        let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["hba_file", "port", "unix_socket_directories", "log_timezone", "listen_addresses"]
        );
        assert_eq!(read[0].1, "/etc/hba");
        assert_eq!((read[1].1.as_str(), read[2].1.as_str()), ("5433", "/tmp"));
    }

    #[test]
    fn what_a_command_line_outweighs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("postmaster.opts"),
            "/usr/bin/postgres \"-c\" \"hba_file=/etc/hba\" \"-c\" \"port=5432\"\n",
        )
        .unwrap();
        let options = |settings: &[(&str, &str)]| StartOptions {
            settings: settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..StartOptions::default()
        };
        let same = options(&[("port", "5432"), ("listen_addresses", "")]);
        assert!(outweighed(folder.path(), &same).is_none());
        let other = outweighed(folder.path(), &options(&[("hba_file", "/tmp/hba")])).unwrap();
        assert!(other.to_string().contains("hba_file"), "{other}");
    }

    #[test]
    fn a_start_without_settings_takes_an_earlier_ones_away() {
        let folder = tempfile::tempdir().unwrap();
        let auto = folder.path().join(AUTO_CONF);
        fs::write(&auto, "work_mem = '7MB'\n").unwrap();
        let log = folder.path().join("100%.log");
        let settings =
            [("listen_addresses", ""), ("external_pid_file", ""), ("cluster_name", "it's")];
        let options = StartOptions {
            settings: settings.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
            log: Some(log.clone()),
            ..StartOptions::default()
        };
        let owner = Owner::current();
        assert_eq!(hold(folder.path(), &owner, &options).unwrap(), 0);
        let text = fs::read_to_string(&auto).unwrap();
        assert!(text.starts_with("work_mem = '7MB'\n# >>>"), "{text}");
        for words in ["listen_addresses = ''", "'it''s'", "log_filename = '100%%.log'"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("external_pid_file") && is_held(folder.path()));
        assert!(
            is_held_with(folder.path(), "cluster_name") && !is_held_with(folder.path(), "work_mem")
        );
        assert!(log.exists());
        hold(folder.path(), &owner, &StartOptions::default()).unwrap();
        assert_eq!(fs::read_to_string(&auto).unwrap(), "work_mem = '7MB'\n");
        assert!(!is_held(folder.path()));
    }
}
