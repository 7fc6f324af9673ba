//! The settings of a copy's server: the sandbox's own, whole, and none of those that came with the
//! data. Owns the files in the data directory that decide what a server does.

use super::super::error::DrillError;
use super::super::fence::{self, Folder};
use super::super::server::Server;
use super::reader::WAL;
use crate::engine::config::Cluster;
use crate::engine::explain::Explain;
use crate::engine::incident::facts::TargetPoint;
use crate::engine::postgres::control_file::{self, ControlFile};
use crate::engine::postgres::discovery::{self, Binaries};
use crate::engine::postgres::recovery_settings::{configured, quoted, target_setting};
use crate::engine::postgres::{layout, libraries};
use jiff::Timestamp;
use std::path::Path;

/// Replaces the data directory's files; `own` are lines of the sandbox's, `folders` those in which
/// it looks for libraries.
///
/// # Errors
/// Where the control file cannot be read or a file not be written.
pub fn write(server: &Server, own: &str, folders: Option<&str>) -> Result<(), DrillError> {
    let control = control_file::read(&server.data)
        .map_err(|error| DrillError::Engine(error.explanation()))?;
    let mut text = String::from("# The drill's sandbox, on a copy; nothing here came with it.\n");
    text.push_str(own);
    text.push_str(&least(&control));
    text.push_str(QUIET);
    if let Some(folders) = folders {
        let folders = quoted(folders).map_err(|error| DrillError::Engine(error.explanation()))?;
        text.push_str(&format!("{} = {folders}\n", libraries::SETTING));
    }
    if server.programs.major >= 17 {
        // One on login would act before anything else can.
        text.push_str("event_triggers = off\n");
    }
    let file = |name: &str, content: &str| put(server, name, content);
    file("postgresql.conf", &text)?;
    // It outweighs every other file, and came with the data.
    file("postgresql.auto.conf", "")?;
    file("pg_hba.conf", "local all all trust\n")?;
    file("pg_ident.conf", "")
}

/// Where the cluster's own server looks for libraries, as its files on this machine have it; `None`
/// where they are not here, or say nothing.
#[must_use]
pub fn folders_of(cluster: &Cluster, programs: &Binaries) -> Option<String> {
    let owner = discovery::owner(&cluster.data_directory).ok()?;
    let file = layout::config_file(cluster);
    let (data, name) = (&cluster.data_directory, libraries::SETTING);
    configured(data, &owner, programs, file.as_deref(), name).ok()
}

/// As [`folders_of`], by the files that came with the copy: to be asked before they are replaced.
#[must_use]
pub fn folders_in(server: &Server) -> Option<String> {
    // The later one outweighs the other.
    ["postgresql.auto.conf", "postgresql.conf"].iter().find_map(|name| {
        let text = fence::read(&server.data.join(name)).ok()?;
        value_in(&text, libraries::SETTING)
    })
}

/// The value that a file gives to a setting at last; what it includes is not read.
fn value_in(text: &str, name: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let line = line.trim_start();
        let (key, rest) = line.split_at_checked(name.len())?;
        let rest = rest.trim_start().trim_start_matches('=').trim_start();
        let value = rest.strip_prefix('\'')?;
        key.eq_ignore_ascii_case(name).then(|| unquoted(value))
    })
}

/// Up to the closing quote; a quote within is doubled or has a backslash before it.
fn unquoted(text: &str) -> String {
    let (mut value, mut letters) = (String::new(), text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.peek() != Some(&'\'') => break,
            '\'' | '\\' => value.extend(letters.next()),
            letter => value.push(letter),
        }
    }
    value
}

/// Has the server recover to where the copy is to begin, by WAL that lies in the sandbox.
///
/// # Errors
/// Where a file cannot be written.
pub fn recover(server: &Server, root: &Path, until: Option<Timestamp>) -> Result<(), DrillError> {
    let source = format!("cp \"{}/%f\" \"%p\"", root.join(WAL).display());
    let source = quoted(&source).map_err(|error| DrillError::Engine(error.explanation()))?;
    let target = match target_setting(&until.map_or(TargetPoint::EndOfBase, TargetPoint::Time)) {
        (Some(name), value) => format!("{name} = '{value}'"),
        (None, _) => String::new(),
    };
    let conf = server.data.join("postgresql.conf");
    let mut text = fence::read(&conf)
        .map_err(DrillError::file(&conf, "the server's settings cannot be read"))?;
    text.push_str(&format!(
        "restore_command = {source}\n{target}\nrecovery_target_action = 'promote'\n\
         recovery_target_timeline = 'current'\narchive_mode = off\nfsync = off\n\
         # A server that takes questions meanwhile would stop where the log raises a limit.\n\
         hot_standby = off\n"
    ));
    put(server, "postgresql.conf", &text)?;
    let standby = server.data.join("standby.signal");
    Folder::open(&server.data)
        .and_then(|data| data.remove("standby.signal"))
        .map_err(DrillError::file(&standby, "it could not be removed"))?;
    put(server, "recovery.signal", "")
}

/// Makes the archiver take the copy's own timeline history, which a server that did not archive
/// yet at its promotion would keep to itself.
///
/// # Errors
/// Where it cannot be noted.
pub fn offer_histories(server: &Server) -> Result<(), DrillError> {
    let wal = server.data.join("pg_wal");
    let listed = Folder::open(&server.data)
        .and_then(|data| data.below("pg_wal"))
        .and_then(|wal| wal.names())
        .map_err(DrillError::file(&wal, "it cannot be listed"))?;
    for name in listed {
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".history") {
            put(server, &format!("pg_wal/archive_status/{name}.ready"), "")?;
        }
    }
    Ok(())
}

fn put(server: &Server, name: &str, content: &str) -> Result<(), DrillError> {
    let path = Path::new(name);
    let (folder, file) = (path.parent().unwrap_or(Path::new("")), path.file_name());
    Folder::open(&server.data)
        .and_then(|data| data.below(folder))
        .and_then(|folder| {
            let (file, owner) = (file.unwrap_or_default(), fence::other(&server.user));
            folder.replace(file, content.as_bytes(), 0o600, owner)
        })
        .map_err(DrillError::file(&server.data.join(name), "it could not be written"))
}

/// What a server in recovery may not have less of than the one that wrote the WAL.
fn least(control: &ControlFile) -> String {
    let commit_times = if control.track_commit_timestamp { "on" } else { "off" };
    format!(
        "max_connections = {}\nmax_worker_processes = {}\nmax_wal_senders = {}\n\
         max_prepared_transactions = {}\nmax_locks_per_transaction = {}\n\
         track_commit_timestamp = {commit_times}\n",
        // The drill's own sessions, whatever the real server had.
        control.max_connections.max(40),
        control.max_worker_processes.max(8),
        control.max_wal_senders.max(10),
        control.max_prepared_transactions,
        control.max_locks_per_transaction,
    )
}

/// Nothing acts by itself, and nothing is loaded that came with the data.
const QUIET: &str = "shared_preload_libraries = ''\n\
    session_preload_libraries = ''\n\
    local_preload_libraries = ''\n\
    max_logical_replication_workers = 0\n\
    primary_conninfo = ''\n\
    primary_slot_name = ''\n\
    synchronous_standby_names = ''\n\
    ssl = off\n\
    huge_pages = off\n\
    logging_collector = off\n\
    log_destination = 'stderr'\n\
    lc_messages = 'C'\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_as_the_server_reads_it() {
        let of = |text: &str| value_in(text, libraries::SETTING);
        assert_eq!(of(""), None);
        assert_eq!(of("#dynamic_library_path = '$libdir'\n"), None);
        assert_eq!(of("dynamic_library_path_2 = 'x'\n"), None);
        let two = "dynamic_library_path = '/a'\n Dynamic_Library_Path='$libdir:/b' # why\n";
        assert_eq!(of(two).as_deref(), Some("$libdir:/b"));
        assert_eq!(of("dynamic_library_path '/a''b\\'c'").as_deref(), Some("/a'b'c"));
    }
}
