//! What a server says about itself that a set-up depends on. Read only: it asks and changes
//! nothing. Times are none, sizes are bytes.

use super::error::InitError;
use crate::engine::config::Connection;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The settings that are looked at.
pub const NAMES: [&str; 5] =
    ["wal_level", "archive_mode", "archive_command", "archive_library", "archive_timeout"];

/// One setting as it is and as the server's files have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub name: String,
    /// In force now. `archive_command` reads `(disabled)` while `archive_mode` is off.
    pub active: String,
    /// The last value in the server's files, which the next start takes; absent where no file
    /// has it.
    pub configured: Option<String>,
    /// The value that an earlier ALTER SYSTEM set; absent where none did.
    pub by_alter_system: Option<String>,
    /// Where the value in force comes from, such as `configuration file` or `command line`.
    pub source: String,
}

impl Setting {
    /// What the next start would take.
    #[must_use]
    pub fn next(&self) -> &str {
        self.configured.as_deref().unwrap_or(&self.active)
    }
}

/// A server's answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `host:port/database as user`.
    pub server: String,
    /// Major version.
    pub version: u32,
    pub data_directory: PathBuf,
    pub config_file: PathBuf,
    pub system_identifier: u64,
    pub checksums: bool,
    pub settings: Vec<Setting>,
    /// Sessions of clients other than ours.
    pub sessions: u64,
    /// Bytes of all databases.
    pub size: u64,
    /// Locations of tablespaces outside the data directory.
    pub tablespaces: Vec<String>,
    /// Unlogged tables of the database that was asked.
    pub unlogged: u64,
}

impl Facts {
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }

    /// The value in force; empty where the server has no such setting.
    #[must_use]
    pub fn active(&self, name: &str) -> &str {
        self.setting(name).map_or("", |setting| setting.active.as_str())
    }

    /// Whether `postgresql.conf` lies outside the data directory, as Debian has it.
    #[must_use]
    pub fn configured_elsewhere(&self) -> bool {
        !self.config_file.starts_with(&self.data_directory)
    }
}

/// Asks the server.
///
/// # Errors
/// Where it does not answer, is a standby, is not that of `data_directory`, or the user is no
/// superuser.
pub async fn ask(connection: &Connection, data_directory: &Path) -> Result<Facts, InitError> {
    let options = ConnectOptions::default().read_only();
    let server = connect::describe(connection, &options);
    let session = connect::connect(connection, &options).await?;
    let failed = |error: tokio_postgres::Error| InitError::Server {
        server: server.clone(),
        what: String::from("a question could not be asked"),
        why: connect::reason(&error),
    };
    let row = session
        .query_one(
            "SELECT current_setting('server_version_num')::int / 10000,
                    current_setting('is_superuser') = 'on', pg_is_in_recovery(),
                    current_setting('data_checksums') = 'on',
                    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
                        AND application_name <> $1),
                    (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database),
                    (SELECT count(*) FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r')",
            &[&connect::APPLICATION_NAME],
        )
        .await
        .map_err(failed)?;
    let version: i32 = row.try_get(0).map_err(failed)?;
    if !row.try_get::<_, bool>(1).map_err(failed)? {
        return Err(InitError::NotSuperuser { user: connection.user.clone(), server });
    }
    if row.try_get::<_, bool>(2).map_err(failed)? {
        return Err(InitError::Standby { server });
    }
    let (sessions, size, unlogged): (i64, i64, i64) = (
        row.try_get(4).map_err(failed)?,
        row.try_get(5).map_err(failed)?,
        row.try_get(6).map_err(failed)?,
    );
    let checksums: bool = row.try_get(3).map_err(failed)?;
    let places = session
        .query_one(
            "SELECT current_setting('data_directory'), current_setting('config_file'),
                    (SELECT system_identifier::text FROM pg_control_system()),
                    ARRAY(SELECT l FROM pg_tablespace, pg_tablespace_location(oid) AS l
                          WHERE l LIKE '/%' ORDER BY 1)",
            &[],
        )
        .await
        .map_err(failed)?;
    let actual = PathBuf::from(places.try_get::<_, String>(0).map_err(failed)?);
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if resolved(&actual) != resolved(data_directory) {
        return Err(InitError::OtherDirectory { server, actual, named: data_directory.to_owned() });
    }
    let identifier: String = places.try_get(2).map_err(failed)?;
    Ok(Facts {
        version: u32::try_from(version).unwrap_or_default(),
        config_file: PathBuf::from(places.try_get::<_, String>(1).map_err(failed)?),
        system_identifier: identifier.parse().unwrap_or_default(),
        tablespaces: places.try_get(3).map_err(failed)?,
        data_directory: resolved(&actual),
        checksums,
        settings: settings(&session).await.map_err(failed)?,
        sessions: u64::try_from(sessions).unwrap_or_default(),
        size: u64::try_from(size).unwrap_or_default(),
        unlogged: u64::try_from(unlogged).unwrap_or_default(),
        server,
    })
}

/// The settings of [`NAMES`] that the server knows.
///
/// # Errors
/// Where it could not be asked.
pub async fn settings(session: &Session) -> Result<Vec<Setting>, tokio_postgres::Error> {
    // In the files a value stands as it will be read; in pg_settings archive_command is masked
    // while archiving is off. The last line of a setting wins, ALTER SYSTEM's file is the last.
    let rows = session
        .query(
            "SELECT s.name, current_setting(s.name), s.source,
                    (SELECT f.setting FROM pg_file_settings f WHERE lower(f.name) = s.name
                      ORDER BY f.seqno DESC LIMIT 1),
                    (SELECT f.setting FROM pg_file_settings f WHERE lower(f.name) = s.name
                        AND f.sourcefile LIKE '%/postgresql.auto.conf'
                      ORDER BY f.seqno DESC LIMIT 1)
             FROM pg_settings s WHERE s.name = ANY($1) ORDER BY s.name",
            &[&NAMES.as_slice()],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Setting {
                name: row.try_get(0)?,
                active: row.try_get(1)?,
                source: row.try_get(2)?,
                configured: row.try_get(3)?,
                by_alter_system: row.try_get(4)?,
            })
        })
        .collect()
}
