//! A session with the catalogue. Owns where its password comes from; never keeps it.

use super::CatalogueError;
use super::migrate;
use crate::engine::config::Config;
use crate::engine::config::catalogue::Catalogue;
use crate::engine::crypto::master;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::postgres::control_file;
use std::time::Duration;

/// It is not worth a long wait.
const CONNECT: Duration = Duration::from_secs(5);
const STATEMENT: Duration = Duration::from_secs(30);

/// The configured catalogue.
///
/// # Errors
/// [`CatalogueError::NotConfigured`].
pub fn configured(config: &Config) -> Result<&Catalogue, CatalogueError> {
    config.catalogue.as_ref().ok_or(CatalogueError::NotConfigured)
}

/// Connects, as another user where one is given.
///
/// # Errors
/// Where the password cannot be had, or the server not be reached.
pub async fn open(catalogue: &Catalogue, user: Option<&str>) -> Result<Session, CatalogueError> {
    let mut connection = catalogue.connection.clone();
    if let Some(user) = user {
        user.clone_into(&mut connection.user);
    }
    let mut options =
        ConnectOptions::default().connect_limit(CONNECT).statement_limit(Some(STATEMENT));
    if let Some(words) = catalogue.password_command.clone() {
        // It may take its time; the session's limit begins behind it.
        let read = tokio::task::spawn_blocking(move || master::command_output(&words));
        let text = read
            .await
            .map_err(|error| CatalogueError::Password(error.to_string()))?
            .map_err(|error| CatalogueError::Password(error.to_string()))?;
        options = options.password(text);
    }
    Ok(connect::connect(&connection, &options).await?)
}

/// As [`open`], where the tables are those of this version.
///
/// # Errors
/// As [`open`]; where they are not.
pub async fn ready(catalogue: &Catalogue) -> Result<Session, CatalogueError> {
    let session = open(catalogue, None).await?;
    let server = server(catalogue);
    let (found, wanted) = (migrate::version(&session).await?, migrate::WANTED);
    if found < wanted {
        return Err(CatalogueError::NotMigrated { server, found, wanted });
    }
    if found > wanted {
        return Err(CatalogueError::Newer { server, found, wanted });
    }
    Ok(session)
}

/// The server in words.
#[must_use]
pub fn server(catalogue: &Catalogue) -> String {
    connect::describe(&catalogue.connection, &ConnectOptions::default())
}

/// The cluster of ours that the catalogue lies in, by its address or by the server's own identity;
/// `None` where it is in none, as far as can be told.
pub async fn inside(config: &Config, catalogue: &Catalogue, session: &Session) -> Option<String> {
    if let Some(cluster) = config.clusters.iter().find(|cluster| catalogue.is_at(cluster)) {
        return Some(cluster.name.clone());
    }
    let asked = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    let row = session.query_one(asked, &[]).await.ok()?;
    let identifier: u64 = row.try_get::<_, String>(0).ok()?.parse::<i64>().ok()?.cast_unsigned();
    config
        .clusters
        .iter()
        .find(|cluster| {
            control_file::read(&cluster.data_directory)
                .is_ok_and(|control| control.system_identifier == identifier)
        })
        .map(|cluster| cluster.name.clone())
}
