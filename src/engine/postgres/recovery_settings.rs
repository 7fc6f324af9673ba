//! The recovery configuration of a restored data directory: the signal file and a marked block at
//! the end of `postgresql.auto.conf`. Owns its words and their quoting. Never touches
//! `postgresql.conf`, and takes the block away again byte for byte.
//!
//! A restored directory may carry the settings of an earlier recovery or of a standby. Two
//! recovery targets are fatal to the server, an inherited `primary_conninfo` would follow the
//! damaged server, an inherited `archive_cleanup_command` could delete WAL: the block therefore
//! sets every one of them, those that are not wanted to nothing.

use super::child;
use super::control_file::{self, ControlFileError};
use super::discovery::{Binaries, DiscoveryError, Owner};
use super::marked::{AUTO_CONF, Marks, read_or_empty};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::facts::{Target, TargetPoint};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RECOVERY_SIGNAL: &str = "recovery.signal";
const STANDBY_SIGNAL: &str = "standby.signal";
/// What a `standby.signal` that came with the backup is renamed to.
const STANDBY_ASIDE: &str = "standby.signal.from-backup";

const MARKS: Marks = Marks {
    begin: "# >>> Lifeboat: recovery settings, taken away again after promotion",
    end: "# <<< Lifeboat: recovery settings",
};

/// What stays of a recovery while prepared transactions wait for their end.
const KEPT: Marks = Marks {
    begin: "# >>> Lifeboat: room for prepared transactions, until they are decided",
    end: "# <<< Lifeboat: room for prepared transactions",
};
const PREPARED: &str = "max_prepared_transactions";

/// Settings that may come with a backup and must not act in this recovery.
const SILENCED: [&str; 4] =
    ["primary_conninfo", "primary_slot_name", "archive_cleanup_command", "recovery_end_command"];

/// The five that a hot standby must not have lower than the server whose WAL it replays.
pub const STANDBY_MINIMUMS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// What a recovery needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverySettings {
    /// Program and arguments; the arguments `%f` and `%p` are filled in by the server. See
    /// [`restore_command`].
    pub restore_command: Vec<String>,
    pub target: Target,
    /// Least values of [`STANDBY_MINIMUMS`] that the WAL asks for.
    pub minimums: Vec<(String, i64)>,
}

/// What became of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Removed,
    /// There was none.
    NotThere,
}

/// Why recovery could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{path} could not be read or written: {source}.")]
    Io { path: PathBuf, source: io::Error },
    #[error("\"{what}\" cannot be written into a PostgreSQL setting: it has a line break.")]
    LineBreak { what: String },
    #[error("{path} holds the beginning of Lifeboat's recovery settings without their end.")]
    Torn { path: PathBuf },
    #[error("{path} is still there: the server has not been promoted.")]
    StillInRecovery { path: PathBuf },
    #[error("The server's own settings could not be read: {said}.")]
    Ask { said: String },
    #[error(transparent)]
    ControlFile(#[from] ControlFileError),
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("{path} is there and is not a folder of {owner} closed to others.")]
    NotOurs { path: PathBuf, owner: String },
}

impl Explain for SettingsError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::ControlFile(inner) => return inner.explanation(),
            Self::Discovery(inner) => return inner.explanation(),
            Self::Io { .. } => (Kind::Storage, "Check the disk and the directory's owner."),
            Self::LineBreak { .. } => (Kind::Config, "Use a name or path without line breaks."),
            Self::Torn { .. } => {
                (Kind::Integrity, "Look at the end of the file and take the block away by hand.")
            }
            Self::StillInRecovery { .. } => (Kind::Refused, "Promote the server first."),
            Self::Ask { .. } => {
                (Kind::Server, "Correct the setting that the server names and try again.")
            }
            Self::NotOurs { .. } => {
                (Kind::Refused, "See who made it; move it away if nobody needs it.")
            }
        };
        Explanation::new(kind, self.to_string(), "postgresql.conf was not touched.", next)
    }
}

/// Configures the restored directory for recovery. May be called again, with another target too.
///
/// To the end of the archive there is no target, and a server that recovers without one promotes
/// itself at the first file that it cannot get. It is made a standby instead, which waits.
///
/// # Errors
/// Where files cannot be read or written, or the server's programs do not accept its settings.
pub fn write(
    data_directory: &Path,
    owner: &Owner,
    binaries: &Binaries,
    settings: &RecoverySettings,
) -> Result<(), SettingsError> {
    write_configured(data_directory, owner, binaries, settings, None)
}

/// As [`write`], for a server whose `postgresql.conf` is at `config_file`: it is read and never
/// written.
///
/// # Errors
/// As [`write`].
pub fn write_configured(
    data_directory: &Path,
    owner: &Owner,
    binaries: &Binaries,
    settings: &RecoverySettings,
    config_file: Option<&Path>,
) -> Result<(), SettingsError> {
    let auto = data_directory.join(AUTO_CONF);
    let whole = read_or_empty(&auto)?;
    let before = MARKS.strip(&auto, whole.clone())?.0;
    let ask = |name: &str| configured(data_directory, owner, binaries, config_file, name);
    let mut lifted = lifted_minimums(data_directory, &settings.minimums, ask)?;
    // What an earlier block lifted looks like the configuration's own value. It is lifted still:
    // the block may have been written for an earlier target, or have come with a backup.
    for (name, value) in lifted_by(&whole) {
        let least = lifted.entry(name).or_insert(value);
        *least = value.max(*least);
    }
    let block = block(settings, &lifted, binaries.major)?;
    let content = MARKS.with_block(&before, &block);
    if read_or_empty(&auto)? != content {
        write_owned(&auto, &content, owner)?;
    }
    let end = settings.target.point == TargetPoint::EndOfArchive;
    let (wanted, unwanted) =
        if end { (STANDBY_SIGNAL, RECOVERY_SIGNAL) } else { (RECOVERY_SIGNAL, STANDBY_SIGNAL) };
    set_aside(&data_directory.join(unwanted), &data_directory.join(STANDBY_ASIDE))?;
    let signal = data_directory.join(wanted);
    if !signal.exists() {
        write_owned(&signal, b"", owner)?;
    }
    Ok(())
}

/// Whether the directory is configured for recovery by Lifeboat.
///
/// # Errors
/// Where it cannot be read.
pub fn is_written(data_directory: &Path) -> Result<bool, SettingsError> {
    let auto = data_directory.join(AUTO_CONF);
    let (_, found) = MARKS.strip(&auto, read_or_empty(&auto)?)?;
    Ok(found && signal(data_directory).is_some())
}

/// Takes the block away after promotion: the file is then what it was before.
///
/// # Errors
/// [`SettingsError::StillInRecovery`] while a signal file is there.
pub fn remove(data_directory: &Path, owner: &Owner) -> Result<Removed, SettingsError> {
    let auto = data_directory.join(AUTO_CONF);
    let there = MARKS.block_of(&read_or_empty(&auto)?).is_some();
    remove_but(data_directory, owner, false)?;
    Ok(if there { Removed::Removed } else { Removed::NotThere })
}

/// As [`remove`]; with `prepared`, room for prepared transactions stays where the block had made
/// it, in a block of its own. Gives the number that stays.
///
/// # Errors
/// As [`remove`].
pub fn remove_but(
    data_directory: &Path,
    owner: &Owner,
    prepared: bool,
) -> Result<Option<i64>, SettingsError> {
    if let Some(path) = signal(data_directory) {
        return Err(SettingsError::StillInRecovery { path });
    }
    let auto = data_directory.join(AUTO_CONF);
    let whole = read_or_empty(&auto)?;
    let room = lifted_by(&whole).remove(PREPARED).filter(|_| prepared);
    let (mut content, found) = MARKS.strip(&auto, whole)?;
    if found {
        if let Some(room) = room {
            // One of an earlier recovery may have come with the backup.
            content = KEPT.strip(&auto, content)?.0;
            content = KEPT.with_block(&content, &format!("{PREPARED} = '{room}'\n"));
        }
        write_owned(&auto, &content, owner)?;
    }
    Ok(kept_room(data_directory)?.filter(|_| prepared))
}

/// The room for prepared transactions that a recovery has left behind, until [`let_go`].
///
/// # Errors
/// Where the file cannot be read.
pub fn kept_room(data_directory: &Path) -> Result<Option<i64>, SettingsError> {
    let content = read_or_empty(&data_directory.join(AUTO_CONF))?;
    let Some(text) = KEPT.block_of(&content) else { return Ok(None) };
    let value = text.lines().find_map(|line| line.strip_prefix(PREPARED)?.strip_prefix(" = "));
    Ok(value.and_then(|value| value.trim_matches('\'').parse().ok()))
}

/// Whether room of that size stands in the file without its marks: ALTER SYSTEM writes the file
/// anew and leaves comments out.
///
/// # Errors
/// Where the file cannot be read.
pub fn unmarked_room(data_directory: &Path, room: i64) -> Result<bool, SettingsError> {
    let content = read_or_empty(&data_directory.join(AUTO_CONF))?;
    Ok(KEPT.block_of(&content).is_none() && without_last_room(&content, room).is_some())
}

/// The file without its last line of that setting, where that has this value: the one that counts.
fn without_last_room(content: &[u8], room: i64) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let value = |line: &[u8]| {
        let text = std::str::from_utf8(line).ok()?.trim();
        Some(text.strip_prefix(PREPARED)?.trim_start().strip_prefix('=')?.trim().to_owned())
    };
    let (last, found) =
        lines.iter().enumerate().rev().find_map(|(at, line)| Some((at, value(line)?)))?;
    let same = found.trim_matches('\'').parse() == Ok(room);
    let kept = lines.iter().enumerate().filter(|(at, _)| *at != last);
    same.then(|| kept.flat_map(|(_, line)| line.iter().copied()).collect())
}

/// Takes that room out; the next start is without it. `unmarked` is its size where it may stand
/// without its marks: see [`unmarked_room`].
///
/// # Errors
/// Where the file cannot be read or written.
pub fn let_go(
    data_directory: &Path,
    owner: &Owner,
    unmarked: Option<i64>,
) -> Result<Removed, SettingsError> {
    let auto = data_directory.join(AUTO_CONF);
    let (content, found) = KEPT.strip(&auto, read_or_empty(&auto)?)?;
    let content = if found {
        content
    } else {
        match unmarked.and_then(|room| without_last_room(&content, room)) {
            Some(content) => content,
            None => return Ok(Removed::NotThere),
        }
    };
    write_owned(&auto, &content, owner)?;
    Ok(Removed::Removed)
}

/// A program and its arguments as `restore_command` wants them: quoted for the shell, `%` doubled,
/// except in the arguments that are exactly `%f` (the file's name) or `%p` (where it goes).
#[must_use]
pub fn restore_command(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments
        .iter()
        .map(|argument| match argument.as_str() {
            // The server's own paths are relative to the data directory and hold no blanks.
            "%f" | "%p" => format!("\"{argument}\""),
            other => format!("'{}'", other.replace('\'', r"'\''").replace('%', "%%")),
        })
        .collect();
    quoted.join(" ")
}

/// The value of a setting as the server's configuration files have it, without a server.
/// `config_file` is `postgresql.conf` where it is not in the directory.
///
/// # Errors
/// Where the server's program refuses its configuration.
pub fn configured(
    data_directory: &Path,
    owner: &Owner,
    binaries: &Binaries,
    config_file: Option<&Path>,
    name: &str,
) -> Result<String, SettingsError> {
    let ask = |error: io::Error| SettingsError::Ask { said: error.to_string() };
    let mut command = child::command(binaries.program("postgres"), owner).map_err(ask)?;
    command.arg("-C").arg(name).arg("-D").arg(data_directory);
    if let Some(file) = config_file {
        // It may name a data directory of its own.
        for (name, path) in [("config_file", file), ("data_directory", data_directory)] {
            command.arg("-c").arg(format!("{name}={}", path.display()));
        }
    }
    let finished = child::run(command, Duration::from_secs(30)).map_err(ask)?;
    if finished.ok() {
        Ok(finished.stdout.trim().to_owned())
    } else {
        Err(SettingsError::Ask { said: finished.said() })
    }
}

/// A value as it stands between quotes in a configuration file.
///
/// # Errors
/// Where it has a line break.
pub fn quoted(value: &str) -> Result<String, SettingsError> {
    if value.contains(['\n', '\r', '\0']) {
        return Err(SettingsError::LineBreak { what: value.escape_debug().to_string() });
    }
    Ok(format!("'{}'", value.replace('\\', r"\\").replace('\'', "''")))
}

/// The setting that names a target, and its value; none for the end of the archive.
#[must_use]
pub fn target_setting(point: &TargetPoint) -> (Option<&'static str>, String) {
    match point {
        // A numeric offset: names of zones mean different moments on different servers.
        TargetPoint::Time(time) => {
            let time = time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string();
            (Some("recovery_target_time"), time)
        }
        TargetPoint::Lsn(lsn) => (Some("recovery_target_lsn"), lsn.to_string()),
        TargetPoint::Xid(xid) => (Some("recovery_target_xid"), xid.to_string()),
        TargetPoint::Name(name) => (Some("recovery_target_name"), name.clone()),
        TargetPoint::EndOfBase => (Some("recovery_target"), String::from("immediate")),
        TargetPoint::EndOfArchive => (None, String::new()),
    }
}

fn block(
    settings: &RecoverySettings,
    lifted: &BTreeMap<String, i64>,
    major: u32,
) -> Result<String, SettingsError> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| -> Result<(), SettingsError> {
        lines.push((name.to_owned(), quoted(value)?));
        Ok(())
    };
    set("restore_command", &restore_command(&settings.restore_command))?;
    for name in SILENCED {
        set(name, "")?;
    }
    set("recovery_min_apply_delay", "0")?;
    // Gone in 16; unknown settings are fatal.
    if major <= 15 {
        set("promote_trigger_file", "")?;
    }
    let (wanted, value) = target_setting(&settings.target.point);
    let targets = ["", "_time", "_xid", "_lsn", "_name"].map(|t| format!("recovery_target{t}"));
    // The server checks in the order of the file: emptying one after another was set is fatal.
    for name in targets.iter().filter(|name| Some(name.as_str()) != wanted) {
        set(name, "")?;
    }
    if let Some(name) = wanted {
        set(name, &value)?;
    }
    set("recovery_target_inclusive", if settings.target.inclusive { "on" } else { "off" })?;
    // Decimal: the hexadecimal of a file's name would be read as another number.
    let timeline = settings.target.timeline.map(|timeline| timeline.to_string());
    set("recovery_target_timeline", timeline.as_deref().unwrap_or("latest"))?;
    set("recovery_target_action", "pause")?;
    set("hot_standby", "on")?;
    for (name, value) in lifted {
        set(name, &value.to_string())?;
    }
    let text: String = lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    Ok(text)
}

/// The minimums that the configuration does not reach, with the value needed.
fn lifted_minimums(
    data_directory: &Path,
    needed: &[(String, i64)],
    configured: impl Fn(&str) -> Result<String, SettingsError>,
) -> Result<BTreeMap<String, i64>, SettingsError> {
    let control = control_file::read(data_directory)?;
    let mut least = BTreeMap::from([
        ("max_connections", i64::from(control.max_connections)),
        ("max_worker_processes", i64::from(control.max_worker_processes)),
        ("max_wal_senders", i64::from(control.max_wal_senders)),
        ("max_prepared_transactions", i64::from(control.max_prepared_transactions)),
        ("max_locks_per_transaction", i64::from(control.max_locks_per_transaction)),
    ]);
    for (name, value) in needed {
        if let Some(known) = least.get_mut(name.as_str()) {
            *known = (*known).max(*value);
        }
    }
    let mut lifted = BTreeMap::new();
    for (name, value) in least {
        let now = configured(name)?;
        let now: i64 =
            now.parse().map_err(|_| SettingsError::Ask { said: format!("{name} is \"{now}\"") })?;
        if now < value {
            lifted.insert(name.to_owned(), value);
        }
    }
    Ok(lifted)
}

/// The minimums that a block in the file lifts.
fn lifted_by(content: &[u8]) -> BTreeMap<String, i64> {
    let Some(text) = MARKS.block_of(content) else { return BTreeMap::new() };
    let pairs = text.lines().filter_map(|line| line.split_once(" = "));
    pairs
        .filter(|(name, _)| STANDBY_MINIMUMS.contains(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim_matches('\'').parse().ok()?)))
        .collect()
}

fn signal(data_directory: &Path) -> Option<PathBuf> {
    [RECOVERY_SIGNAL, STANDBY_SIGNAL]
        .iter()
        .map(|name| data_directory.join(name))
        .find(|path| path.exists())
}

fn set_aside(path: &Path, aside: &Path) -> Result<(), SettingsError> {
    match fs::rename(path, aside).and_then(|()| files::sync_parent(path)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SettingsError::Io { path: path.to_owned(), source }),
    }
}

/// Replaces a file, all or nothing, as the server's user owns it from its first moment. What a
/// process that was killed in the middle of this left goes, so that no backup takes it along.
pub(crate) fn write_owned(path: &Path, content: &[u8], owner: &Owner) -> Result<(), SettingsError> {
    let temporary = files::temporary_beside(path);
    let write = || -> io::Result<()> {
        files::sweep(path)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        child::give(&temporary, owner)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        files::sync_parent(path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        SettingsError::Io { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::Lsn;
    use proptest::prelude::*;

    fn settings(point: TargetPoint) -> RecoverySettings {
        RecoverySettings {
            restore_command: [
                "/opt/life boat",
                "--config",
                "/e/100%.toml",
                "restore-wal",
                "%f",
                "%p",
            ]
            .map(String::from)
            .to_vec(),
            target: Target { point, inclusive: false, timeline: None },
            minimums: Vec::new(),
        }
    }

    fn made(point: TargetPoint) -> String {
        block(&settings(point), &BTreeMap::new(), 15).unwrap()
    }

    #[test]
    fn the_wanted_target_comes_last_and_the_others_are_emptied() {
        let text = made(TargetPoint::Lsn(Lsn(0x16_B374_D848)));
        let names = ["", "_time", "_xid", "_lsn", "_name"].map(|t| format!("recovery_target{t} ="));
        let targets: Vec<&str> = text
            .lines()
            .filter(|line| names.iter().any(|name| line.starts_with(name.as_str())))
            .collect();
        assert_eq!(targets.len(), 5, "{text}");
        assert_eq!(targets[4], "recovery_target_lsn = '16/B374D848'");
        assert!(targets[..4].iter().all(|line| line.ends_with("= ''")), "{text}");
        assert!(text.contains("recovery_target_inclusive = 'off'\n"));
        assert!(text.contains("recovery_target_timeline = 'latest'\n"));
        assert!(text.contains("recovery_target_action = 'pause'\n"));
    }

    #[test]
    fn a_timeline_is_told_by_its_decimal_number() {
        for point in [TargetPoint::Lsn(Lsn(1)), TargetPoint::EndOfArchive] {
            let mut settings = settings(point);
            // 0000001A in the names of its files.
            settings.target.timeline = Some(26);
            let text = block(&settings, &BTreeMap::new(), 15).unwrap();
            assert!(text.contains("recovery_target_timeline = '26'\n"), "{text}");
        }
    }

    #[test]
    fn a_time_has_a_numeric_offset_and_microseconds() {
        let time = "2025-01-13T10:00:00.123456Z".parse().unwrap();
        let text = made(TargetPoint::Time(time));
        assert!(
            text.contains("recovery_target_time = '2025-01-13 10:00:00.123456+00'\n"),
            "{text}"
        );
    }

    #[test]
    fn names_and_commands_are_quoted() {
        let text = made(TargetPoint::Name(String::from(r"it's \ done")));
        assert!(text.contains(r"recovery_target_name = 'it''s \\ done'"), "{text}");
        assert!(
            text.contains(
                r#"restore_command = '''/opt/life boat'' ''--config'' ''/e/100%%.toml'' ''restore-wal'' "%f" "%p"'"#
            ),
            "{text}"
        );
        let broken = settings(TargetPoint::Name(String::from("a\nb")));
        assert!(block(&broken, &BTreeMap::new(), 15).is_err());
    }

    #[test]
    fn what_a_block_lifts_is_read_back() {
        let lifted = BTreeMap::from([(String::from("max_connections"), 130)]);
        let written = block(&settings(TargetPoint::EndOfArchive), &lifted, 15).unwrap();
        let content = MARKS.with_block(b"max_worker_processes = '9'\n", &written);
        assert_eq!(lifted_by(&content), lifted);
        assert_eq!(lifted_by(b"max_connections = '130'\n"), BTreeMap::new());
    }

    #[test]
    fn room_for_prepared_transactions_stays_while_they_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (data, owner) = (folder.path(), Owner::current());
        let auto = data.join(AUTO_CONF);
        let before = b"max_prepared_transactions = '2'\n";
        let lifted =
            BTreeMap::from([(String::from("max_connections"), 130), (String::from(PREPARED), 7)]);
        let block = block(&settings(TargetPoint::EndOfArchive), &lifted, 15).unwrap();
        let written = MARKS.with_block(before, &block);
        fs::write(&auto, &written).unwrap();
        assert_eq!(remove_but(data, &owner, true).unwrap(), Some(7));
        let text = fs::read_to_string(&auto).unwrap();
        assert!(!text.contains("max_connections") && !text.contains("restore_command"), "{text}");
        assert!(text.lines().any(|line| line == "max_prepared_transactions = '7'"), "{text}");
        // Called again, it says the same; let go, the file is what it was.
        assert_eq!(remove_but(data, &owner, true).unwrap(), Some(7));
        assert_eq!(kept_room(data).unwrap(), Some(7));
        assert_eq!(let_go(data, &owner, None).unwrap(), Removed::Removed);
        assert_eq!(fs::read(&auto).unwrap(), before);
        assert_eq!(
            (let_go(data, &owner, None).unwrap(), kept_room(data).unwrap()),
            (Removed::NotThere, None)
        );
        // Where none waits, and where nothing was raised, nothing stays.
        fs::write(&auto, &written).unwrap();
        assert_eq!(remove_but(data, &owner, false).unwrap(), None);
        assert_eq!(fs::read(&auto).unwrap(), before);
        assert_eq!(remove_but(data, &owner, true).unwrap(), None);
    }

    #[test]
    fn room_whose_marks_alter_system_left_out_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let (data, owner) = (folder.path(), Owner::current());
        let auto = data.join(AUTO_CONF);
        // As ALTER SYSTEM leaves it: no comment, the configuration's own line before ours.
        let own = "# Do not edit\nmax_prepared_transactions = '2'\n";
        fs::write(&auto, format!("{own}max_prepared_transactions = '7'\nwork_mem = '5MB'\n"))
            .unwrap();
        assert_eq!(kept_room(data).unwrap(), None);
        assert!(unmarked_room(data, 7).unwrap() && !unmarked_room(data, 8).unwrap());
        assert_eq!(let_go(data, &owner, None).unwrap(), Removed::NotThere);
        assert_eq!(let_go(data, &owner, Some(7)).unwrap(), Removed::Removed);
        assert_eq!(fs::read_to_string(&auto).unwrap(), format!("{own}work_mem = '5MB'\n"));
        // What counts now is the configuration's own, and stays.
        assert!(!unmarked_room(data, 7).unwrap());
        assert_eq!(let_go(data, &owner, Some(7)).unwrap(), Removed::NotThere);
    }

    proptest! {
        #[test]
        fn a_shell_gives_back_what_was_quoted(argument in "[ -~]{0,40}") {
            prop_assume!(argument != "%f" && argument != "%p");
            let command = restore_command(&[String::from("printf"), String::from("%s"), argument.clone()]);
            // What the server does with it before the shell sees it.
            let command = command.replace("%%", "%");
            let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), argument);
        }
    }
}
