//! Connections to PostgreSQL: by socket or TCP, with a passfile, with TLS, always with a limit.
//! Owns the words for why a server could not be reached. Never puts a password anywhere but into
//! the connection.

use crate::engine::config::{Connection, Tls};
use crate::engine::explain::{Explain, Explanation, Kind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use zeroize::Zeroizing;

mod passfile;
mod tls;

/// The name under which Lifeboat's sessions are seen in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "lifeboat";

/// What a connection may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Instead of the connection's own database.
    pub database: Option<String>,
    pub connect_limit: Duration,
    /// `statement_timeout` of the session.
    pub statement_limit: Option<Duration>,
    /// Whether every transaction of the session is read only.
    pub read_only: bool,
    /// In place of a passfile's.
    password: Option<Password>,
}

/// A password on its way into a connection; never shown.
#[derive(Clone, PartialEq, Eq)]
struct Password(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            database: None,
            connect_limit: Duration::from_secs(5),
            statement_limit: Some(Duration::from_secs(30)),
            read_only: false,
            password: None,
        }
    }
}

impl ConnectOptions {
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    #[must_use]
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.connect_limit = limit;
        self
    }

    /// No limit where `None`.
    #[must_use]
    pub fn statement_limit(mut self, limit: Option<Duration>) -> Self {
        self.statement_limit = limit;
        self
    }

    /// The password is the text's first line.
    #[must_use]
    pub fn password(mut self, text: Zeroizing<Vec<u8>>) -> Self {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        self.password = Some(Password(Zeroizing::new(line.to_vec())));
        self
    }

    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

/// A session. When it is dropped, it takes leave of the server and ends.
#[derive(Debug)]
pub struct Session {
    client: Client,
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Why a server could not be reached. `server` names it: `host:port/database as user`.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("No server answers at {server}: {reason}.")]
    Refused { server: String, reason: String },
    #[error("{server} did not answer within {} s.", .limit.as_secs_f64())]
    TimedOut { server: String, limit: Duration },
    #[error("{server} is not ready: {reason}.")]
    NotReady { server: String, reason: String },
    #[error("{server} refused the login: {reason}.")]
    Login { server: String, reason: String },
    #[error("{server}: {reason}.")]
    NoDatabase { server: String, reason: String },
    #[error("{server} has no connection left: {reason}.")]
    Full { server: String, reason: String },
    #[error("No encrypted connection to {server}: {reason}.")]
    Tls { server: String, reason: String },
    #[error("The root certificate {path} could not be used: {reason}.")]
    Certificate { path: PathBuf, reason: String },
    #[error("The passfile {path} {reason}.")]
    Passfile { path: PathBuf, reason: String },
    #[error("{server}: {reason}.")]
    Server { server: String, reason: String },
}

impl ConnectError {
    /// Whether waiting may help: no answer yet, or the server is starting, recovering, stopping.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::TimedOut { .. } | Self::NotReady { .. })
    }
}

impl Explain for ConnectError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Refused { .. } => (
                Kind::Connection,
                "Check that the server runs, and host and port in the cluster's connection.",
            ),
            Self::TimedOut { .. } => {
                (Kind::Connection, "Check host and port, and whether a firewall drops the packets.")
            }
            Self::NotReady { .. } => {
                (Kind::Connection, "It may still be starting or replaying; try again in a moment.")
            }
            Self::Login { .. } => {
                (Kind::Connection, "Check the user, the passfile and the server's pg_hba.conf.")
            }
            Self::NoDatabase { .. } => {
                (Kind::Connection, "Check the database's name; it may be what was lost.")
            }
            Self::Full { .. } => (
                Kind::Connection,
                "Close sessions, or connect as a superuser, who has reserved ones.",
            ),
            Self::Tls { .. } => (
                Kind::Connection,
                "Check that the server has ssl = on, and that its certificate names this host and \
                 comes from root_certificate or an authority the system trusts.",
            ),
            Self::Certificate { .. } => (Kind::Config, "Correct root_certificate."),
            Self::Passfile { .. } => (Kind::Config, "Correct the passfile (chmod 600)."),
            Self::Server { .. } => (Kind::Connection, "See the server's log."),
        };
        Explanation::new(kind, self.to_string(), "Nothing was changed.", next)
    }
}

/// Connects. The session is called `lifeboat`, sends times in UTC, and obeys the limits.
///
/// # Errors
/// Says which of the many reasons it was.
pub async fn connect(
    connection: &Connection,
    options: &ConnectOptions,
) -> Result<Session, ConnectError> {
    let server = describe(connection, options);
    let limit = options.connect_limit;
    match tokio::time::timeout(limit, attempt(connection, options, &server)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::TimedOut { server, limit }),
    }
}

/// Tries until the server takes connections, at most `limit`. Gives up at once on what waiting
/// does not mend, such as a wrong password.
///
/// # Errors
/// The last attempt's reason.
pub async fn connect_within(
    connection: &Connection,
    options: &ConnectOptions,
    limit: Duration,
) -> Result<Session, ConnectError> {
    let end = tokio::time::Instant::now() + limit;
    loop {
        match connect(connection, options).await {
            Err(error) if error.may_pass() && tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcome => return outcome,
        }
    }
}

/// The server in words: `host:port/database as user`. Holds no secret.
#[must_use]
pub fn describe(connection: &Connection, options: &ConnectOptions) -> String {
    let database = options.database.as_deref().unwrap_or(&connection.database);
    let Connection { host, port, user, .. } = connection;
    format!("{host}:{port}/{database} as {user}")
}

/// An error of a statement with what the server says about it, which its `Display` leaves out.
#[must_use]
pub fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let detail = db.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        return format!("{}{detail}", db.message());
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn attempt(
    connection: &Connection,
    options: &ConnectOptions,
    server: &str,
) -> Result<Session, ConnectError> {
    let database = options.database.as_deref().unwrap_or(&connection.database);
    let mut config = tokio_postgres::Config::new();
    let socket = Path::new(&connection.host).is_absolute();
    if socket {
        config.host_path(&connection.host);
    } else {
        config.host(&connection.host);
    }
    config
        .port(connection.port)
        .user(&connection.user)
        .dbname(database)
        .application_name(APPLICATION_NAME)
        .options(session_options(options))
        .keepalives_idle(Duration::from_secs(30));
    if let Some(Password(password)) = &options.password {
        config.password(password.as_slice());
    } else if let Some(path) = &connection.passfile
        && let Some(password) = passfile::password(path, connection, database)?
    {
        config.password(password.as_bytes());
    }
    // A Unix socket does not leave the machine and PostgreSQL has no TLS on it.
    if connection.tls == Tls::Required && !socket {
        config.ssl_mode(SslMode::Require);
        let connector = tls::connector(connection.root_certificate.as_deref())?;
        let connected = config.connect(connector).await;
        let (client, driver) = connected.map_err(|error| judge(&error, server))?;
        tokio::spawn(driver);
        Ok(Session { client })
    } else {
        config.ssl_mode(SslMode::Disable);
        let connected = config.connect(NoTls).await;
        let (client, driver) = connected.map_err(|error| judge(&error, server))?;
        tokio::spawn(driver);
        Ok(Session { client })
    }
}

fn session_options(options: &ConnectOptions) -> String {
    let mut text = String::from("-c timezone=UTC");
    if let Some(limit) = options.statement_limit {
        // Zero would mean no limit at all.
        let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128);
        text.push_str(&format!(" -c statement_timeout={milliseconds}"));
    }
    if options.read_only {
        text.push_str(" -c default_transaction_read_only=on");
    }
    text
}

fn judge(error: &tokio_postgres::Error, server: &str) -> ConnectError {
    let server = server.to_owned();
    let reason = self::reason(error);
    if let Some(db) = error.as_db_error() {
        let code = db.code();
        return if *code == SqlState::CANNOT_CONNECT_NOW
            || *code == SqlState::ADMIN_SHUTDOWN
            || *code == SqlState::CRASH_SHUTDOWN
        {
            ConnectError::NotReady { server, reason }
        } else if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            || *code == SqlState::INSUFFICIENT_PRIVILEGE
        {
            ConnectError::Login { server, reason }
        } else if *code == SqlState::INVALID_CATALOG_NAME {
            ConnectError::NoDatabase { server, reason }
        } else if *code == SqlState::TOO_MANY_CONNECTIONS {
            ConnectError::Full { server, reason }
        } else {
            ConnectError::Server { server, reason }
        };
    }
    let text = error.to_string();
    if text.contains("TLS") {
        return ConnectError::Tls { server, reason };
    }
    if reason.contains("password missing") || text.contains("authentication") {
        return ConnectError::Login { server, reason };
    }
    // Whatever is left happened before the server said a word: refused, no socket, no such host,
    // or a server that closed the line while it went down.
    ConnectError::Refused { server, reason }
}
