//! A server that is closed to the application: no TCP, a socket in a private folder, its own
//! access rules, nothing archived. Owns that folder and the start options. The data directory's
//! own files are not changed: a restart without these options opens the server again.

use super::child;
use super::control::{StartOptions, StartWait};
use super::discovery::Owner;
use super::recovery_settings::{SettingsError, write_owned};
use crate::engine::config::Connection;
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The library that runs jobs by itself; a closed server is started without it.
pub const RUNS_JOBS: &str = "pg_cron";
/// The setting, of nobody's but Lifeboat's, that says that a closed server goes without it.
pub const LEFT_OUT: &str = "lifeboat.left_out";

/// Only part of the socket's name here: nothing listens on it.
const PORT: u16 = 5432;

const HBA: &str = "# Lifeboat: a server closed to the application. Whoever can enter this folder \
                   may connect.\nlocal all all trust\n";

/// Where a closed server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedServer {
    pub socket_directory: PathBuf,
    pub port: u16,
    owner: Owner,
    major: u32,
}

impl ClosedServer {
    /// The name of its access rules in its private folder.
    pub const RULES: &str = "pg_hba.conf";

    /// For the server of a data directory; the same for the same directory, so that it is found
    /// again after an interruption. `major` is the server's version.
    #[must_use]
    pub fn of(data_directory: &Path, owner: &Owner, major: u32) -> Self {
        let resolved = data_directory.canonicalize();
        let path = resolved.as_deref().unwrap_or(data_directory);
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let short = data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default());
        // A socket's path may have 107 bytes at most: not below the state directory.
        let socket_directory = Path::new("/tmp").join(format!("lifeboat-{}-{short}", owner.uid));
        Self { socket_directory, port: PORT, owner: owner.clone(), major }
    }

    /// Makes the private folder and its access rules. May be called again.
    ///
    /// # Errors
    /// Where something else is there under that name.
    pub fn prepare(&self) -> Result<(), SettingsError> {
        let path = &self.socket_directory;
        let io = |source| SettingsError::Io { path: path.clone(), source };
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => child::give(path, &self.owner).map_err(io)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io(error)),
        }
        // The folder's name can be known beforehand, and others can write beside it.
        let metadata = fs::symlink_metadata(path).map_err(io)?;
        let ours = metadata.uid() == self.owner.uid || metadata.uid() == Owner::current().uid;
        if !metadata.is_dir() || !ours || metadata.mode() & 0o077 != 0 {
            let owner = self.owner.to_string();
            return Err(SettingsError::NotOurs { path: path.clone(), owner });
        }
        // Where an earlier call ended between making it and giving it away.
        child::give(path, &self.owner).map_err(io)?;
        write_owned(&self.hba(), HBA.as_bytes(), &self.owner)
    }

    /// How to start the server closed, with its output in `log`.
    #[must_use]
    pub fn start_options(&self, log: &Path, wait: StartWait) -> StartOptions {
        let socket = self.socket_directory.display().to_string();
        let hba = self.hba().display().to_string();
        let port = self.port.to_string();
        let mut settings: Vec<(&str, &str)> = vec![
            ("listen_addresses", ""),
            ("port", &port),
            ("unix_socket_directories", &socket),
            ("unix_socket_permissions", "0700"),
            ("unix_socket_group", ""),
            ("hba_file", &hba),
            ("external_pid_file", ""),
            // Archiving stays on, so that finished segments are kept for it, and does nothing
            // until the server is opened.
            ("archive_command", ""),
            // Nobody is there to confirm a commit, and nothing is to be fetched from elsewhere.
            ("synchronous_standby_names", ""),
            ("max_logical_replication_workers", "0"),
            // The library is left out where the configuration names it; this is for one that is
            // loaded otherwise. A server without pg_cron takes the name for a setting of nobody's.
            ("cron.launch_active_jobs", "off"),
            // Its log is read: one file, in English, in UTC.
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
            ("log_min_messages", "warning"),
            ("log_line_prefix", "%m [%p] "),
            ("log_timezone", "UTC"),
            ("lc_messages", "C"),
        ];
        if self.major >= 15 {
            settings.push(("archive_library", ""));
        } else {
            // Its own folder: a configuration that two servers share may name one for both.
            settings.push(("stats_temp_directory", "pg_stat_tmp"));
        }
        StartOptions {
            settings: settings.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            log: Some(log.to_owned()),
            wait,
        }
    }

    /// How to start it closed without waiting for its replay.
    #[must_use]
    pub fn start_recovery(&self, log: &Path) -> StartOptions {
        self.start_options(log, StartWait::Begun(Duration::from_secs(60)))
    }

    /// As the cluster's own connection, through the private socket.
    #[must_use]
    pub fn connection(&self, of_cluster: &Connection) -> Connection {
        Connection {
            host: self.socket_directory.display().to_string(),
            port: self.port,
            user: of_cluster.user.clone(),
            database: of_cluster.database.clone(),
            passfile: None,
            tls: crate::engine::config::Tls::Off,
            root_certificate: None,
        }
    }

    /// Takes the private folder away once the server is opened or stopped: its own access rules,
    /// and the folder where it is empty then.
    ///
    /// # Errors
    /// Where it could not be removed; a missing one is none.
    pub fn remove(&self) -> Result<(), SettingsError> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Somebody else's file in it: the folder stays with that.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        };
        gone(fs::remove_file(self.hba()))
            .and_then(|()| gone(fs::remove_dir(&self.socket_directory)))
            .map_err(|source| SettingsError::Io { path: self.socket_directory.clone(), source })
    }

    fn hba(&self) -> PathBuf {
        self.socket_directory.join(Self::RULES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_short_and_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let closed = ClosedServer::of(folder.path(), &Owner::current(), 15);
        assert_eq!(closed, ClosedServer::of(folder.path(), &Owner::current(), 15));
        closed.prepare().unwrap();
        closed.prepare().unwrap();
        let socket = closed.socket_directory.join(".s.PGSQL.5432");
        assert!(socket.as_os_str().len() < 107, "{}", socket.display());
        assert_eq!(fs::metadata(&closed.socket_directory).unwrap().mode() & 0o777, 0o700);
        closed.remove().unwrap();
        assert!(!closed.socket_directory.exists());
        closed.remove().unwrap();
    }

    #[test]
    fn what_another_made_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let closed = ClosedServer::of(folder.path(), &Owner::current(), 15);
        std::os::unix::fs::symlink(folder.path(), &closed.socket_directory).unwrap();
        let refused = closed.prepare();
        fs::remove_file(&closed.socket_directory).unwrap();
        assert!(matches!(refused, Err(SettingsError::NotOurs { .. })), "{refused:?}");
    }
}
