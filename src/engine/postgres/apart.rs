//! A copy of a server apart from everything: no TCP, a socket in a private folder, its own access
//! rules, no archiving, no subscriptions, no preloaded libraries, no autovacuum. Owns the files that
//! make it so, none of which came with the data. Never starts a server and never touches another's.

use super::child;
use super::control_file::{self, ControlFile};
use super::discovery::Owner;
use super::recovery_settings::{SettingsError, quoted};
use crate::engine::config::{Connection, Tls};
use crate::engine::files;
use std::fs;
use std::path::{Path, PathBuf};

/// Only part of the socket's name: nothing listens on it.
const PORT: u16 = 5432;

/// Where the copy lies.
#[derive(Debug, Clone, Copy)]
pub struct Apart<'a> {
    /// Gets the configuration.
    pub home: &'a Path,
    pub data: &'a Path,
    /// A private folder with a short path.
    pub socket: &'a Path,
    pub owner: &'a Owner,
}

/// What differs from copy to copy.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The first line of the configuration, as a comment.
    pub heading: &'static str,
    pub shared_buffers: &'static str,
    /// Settings on top; of those that a standby must match the higher value stands.
    pub settings: Vec<(String, String)>,
    /// `recovery.signal`, `standby.signal`, or none: it starts as what it is.
    pub signal: Option<&'static str>,
}

impl Apart<'_> {
    /// Writes the configuration; gives the file that the server is to be started with.
    ///
    /// # Errors
    /// Where a file cannot be written or the control file not be read.
    pub fn furnish(&self, wanted: &Wanted) -> Result<PathBuf, SettingsError> {
        let control = control_file::read(self.data)?;
        let (rules, names) = (self.home.join("pg_hba.conf"), self.home.join("pg_ident.conf"));
        let file = self.home.join("postgresql.conf");
        let text = self.text(&control, (&rules, &names), wanted)?;
        self.write(&rules, b"local all all trust\n")?;
        self.write(&names, b"")?;
        self.write(&file, text.as_bytes())?;
        // It outweighs every other file and came with the data: archiving, replication, targets.
        self.write(&self.data.join("postgresql.auto.conf"), b"")?;
        for signal in ["standby.signal", "recovery.signal"] {
            let path = self.data.join(signal);
            if wanted.signal == Some(signal) {
                self.write(&path, b"")?;
            } else if path.exists() {
                fs::remove_file(&path)
                    .map_err(|source| SettingsError::Io { path: path.clone(), source })?;
            }
        }
        Ok(file)
    }

    /// The way in.
    #[must_use]
    pub fn connection(&self, user: &str, database: &str) -> Connection {
        Connection {
            host: self.socket.display().to_string(),
            port: PORT,
            user: user.to_owned(),
            database: database.to_owned(),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        }
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), SettingsError> {
        files::replace(path, content, 0o600)
            .and_then(|()| child::give(path, self.owner))
            .map_err(|source| SettingsError::Io { path: path.to_owned(), source })
    }

    fn text(
        &self,
        control: &ControlFile,
        (rules, names): (&Path, &Path),
        wanted: &Wanted,
    ) -> Result<String, SettingsError> {
        let text = |path: &Path| path.display().to_string();
        let own: [(&str, String); 25] = [
            ("listen_addresses", String::new()),
            ("port", PORT.to_string()),
            ("unix_socket_directories", text(self.socket)),
            ("unix_socket_permissions", String::from("0700")),
            ("hba_file", text(rules)),
            ("ident_file", text(names)),
            ("ssl", String::from("off")),
            ("archive_mode", String::from("off")),
            ("hot_standby", String::from("on")),
            ("max_connections", control.max_connections.to_string()),
            ("max_worker_processes", control.max_worker_processes.to_string()),
            ("max_wal_senders", control.max_wal_senders.to_string()),
            ("max_prepared_transactions", control.max_prepared_transactions.to_string()),
            ("max_locks_per_transaction", control.max_locks_per_transaction.to_string()),
            ("max_logical_replication_workers", String::from("0")),
            ("shared_preload_libraries", String::new()),
            ("session_preload_libraries", String::new()),
            ("local_preload_libraries", String::new()),
            ("autovacuum", String::from("off")),
            ("fsync", String::from("off")),
            ("shared_buffers", wanted.shared_buffers.to_owned()),
            ("huge_pages", String::from("off")),
            ("logging_collector", String::from("off")),
            ("log_destination", String::from("stderr")),
            ("log_line_prefix", String::from("%m [%p] ")),
        ];
        let words = [("log_timezone", "UTC"), ("lc_messages", "C")];
        let mut all: Vec<(String, String)> =
            own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(words.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (name, value) in &wanted.settings {
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = higher(known, value),
                None => all.push((name.clone(), value.clone())),
            }
        }
        let mut written = format!("# Lifeboat: {}\n", wanted.heading);
        for (name, value) in all {
            written.push_str(&format!("{name} = {}\n", quoted(&value)?));
        }
        Ok(written)
    }
}

/// The higher of two numbers; of other values the newer one.
fn higher(known: &str, wanted: &str) -> String {
    match (known.parse::<i64>(), wanted.parse::<i64>()) {
        (Ok(known), Ok(wanted)) => known.max(wanted).to_string(),
        _ => wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::higher;

    #[test]
    fn a_setting_of_the_log_raises_and_never_lowers() {
        assert_eq!(higher("100", "200"), "200");
        assert_eq!(higher("200", "100"), "200");
        assert_eq!(higher("off", "on"), "on");
    }
}
