//! Switching off what of a copied database acts outward, before anything else is done in it:
//! subscriptions, jobs, ways to foreign servers, slots, passwords. Owns the statements; what only
//! the server's settings can switch off (libraries, workers, archiving) is `copy::settings`'s.

use super::super::error::DrillError;
use super::still::{self, Stilled};
use crate::engine::config::Connection;
use crate::engine::explain::Explain;
use crate::engine::parts::names::{literal, quote};
use crate::engine::parts::session;
use crate::engine::postgres::connect::Session;
use serde::Serialize;

/// Where a subscription of a copy connects to: nowhere. It takes the shape of an address with a
/// password, which a server asks of subscriptions that are not a superuser's.
const NOWHERE: &str = "host=/nonexistent dbname=none password=none";

/// What was switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Quiet {
    pub subscriptions: u64,
    /// Of pg_cron, whose library is not loaded either.
    pub jobs: u64,
    /// Logins to foreign servers.
    pub user_mappings: u64,
    pub slots: u64,
    pub prepared_transactions: u64,
    /// Of roles; nobody needs one on the sandbox's private socket.
    pub passwords: u64,
    /// Of roles and databases: they could load libraries, end statements, refuse writes.
    pub settings: u64,
}

/// A role, its database, or both: as `ALTER` names them.
const SETTINGS: &str = "SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE r.rolname::text END, \
    d.datname::text FROM pg_catalog.pg_db_role_setting s \
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase";

/// Switches all of it off, holds its triggers still, and makes sure that `postgres` can do everything in it, by a user and a
/// database that the copy is known to have.
///
/// # Errors
/// Where the copy cannot be entered, or something in it not be switched off.
pub async fn switch_off(known: &Connection) -> Result<(Quiet, Vec<Stilled>), DrillError> {
    let (mut quiet, mut stilled) = (Quiet::default(), Vec::new());
    let server = enter(known).await?;
    let roles = "SELECT rolsuper AND rolcanlogin AND rolconnlimit < 0 FROM pg_catalog.pg_roles \
                 WHERE rolname = 'postgres'";
    match rows(&server, roles).await?.first().map(|row| row.get::<_, bool>(0)) {
        Some(true) => {}
        Some(false) => {
            run(&server, "ALTER ROLE postgres SUPERUSER LOGIN CONNECTION LIMIT -1").await?;
        }
        None => run(&server, "CREATE ROLE postgres SUPERUSER LOGIN").await?,
    }
    let there = "SELECT datallowconn AND datconnlimit < 0 FROM pg_catalog.pg_database \
                 WHERE datname = 'postgres'";
    match rows(&server, there).await?.first().map(|row| row.get::<_, bool>(0)) {
        Some(true) => {}
        Some(false) => {
            run(&server, "ALTER DATABASE postgres ALLOW_CONNECTIONS true CONNECTION LIMIT -1")
                .await?;
        }
        None => run(&server, "CREATE DATABASE postgres TEMPLATE template0").await?,
    }
    for row in rows(&server, SETTINGS).await? {
        let (role, database): (Option<String>, Option<String>) = (row.get(0), row.get(1));
        let database = database.as_deref().map(quote);
        let of = match (role.as_deref().map(quote), database) {
            (Some(role), Some(database)) => format!("ROLE {role} IN DATABASE {database}"),
            (Some(role), None) => format!("ROLE {role}"),
            (None, Some(database)) => format!("DATABASE {database}"),
            (None, None) => String::from("ROLE ALL"),
        };
        run(&server, &format!("ALTER {of} RESET ALL")).await?;
        quiet.settings += 1;
    }
    let passwords = "SELECT rolname::text FROM pg_catalog.pg_authid WHERE rolpassword IS NOT NULL";
    for row in rows(&server, passwords).await? {
        let role: String = row.get(0);
        run(&server, &format!("ALTER ROLE {} PASSWORD NULL", quote(&role))).await?;
        quiet.passwords += 1;
    }
    for row in rows(&server, "SELECT slot_name::text FROM pg_catalog.pg_replication_slots").await? {
        let slot: String = row.get(0);
        let drop = format!("SELECT pg_catalog.pg_drop_replication_slot({})", literal(&slot));
        run(&server, &drop).await?;
        quiet.slots += 1;
    }
    drop(server);
    let as_postgres = Connection { user: String::from("postgres"), ..known.clone() };
    for database in databases(&as_postgres).await? {
        // Before anything in it is altered: what it does on a change is held still until it is let
        // go.
        stilled.push(still::hold(&as_postgres, &database).await?);
        in_database(&as_postgres, &database, &mut quiet).await?;
    }
    Ok((quiet, stilled))
}

/// Databases that can be entered, by name.
///
/// # Errors
/// Where the server does not say.
pub async fn databases(connection: &Connection) -> Result<Vec<String>, DrillError> {
    let server = open(connection, "postgres").await?;
    let sql = "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1";
    Ok(rows(&server, sql).await?.iter().map(|row| row.get(0)).collect())
}

async fn in_database(
    connection: &Connection,
    database: &str,
    quiet: &mut Quiet,
) -> Result<(), DrillError> {
    let session = open(connection, database).await?;
    run(&session, "SET session_replication_role = replica").await?;
    let prepared = "SELECT gid FROM pg_catalog.pg_prepared_xacts \
                    WHERE database = pg_catalog.current_database()";
    for row in rows(&session, prepared).await? {
        let name: String = row.get(0);
        run(&session, &format!("ROLLBACK PREPARED {}", literal(&name))).await?;
        quiet.prepared_transactions += 1;
    }
    let subscriptions = "SELECT s.subname::text FROM pg_catalog.pg_subscription s \
        JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
        WHERE d.datname = pg_catalog.current_database()";
    for row in rows(&session, subscriptions).await? {
        let name = quote(&row.get::<_, String>(0));
        for change in [
            String::from("DISABLE"),
            // Without a slot's name nothing that is done to it later reaches the publisher.
            String::from("SET (slot_name = NONE)"),
            format!("CONNECTION {}", literal(NOWHERE)),
        ] {
            run(&session, &format!("ALTER SUBSCRIPTION {name} {change}")).await?;
        }
        quiet.subscriptions += 1;
    }
    let mappings = "SELECT srvname::text, CASE WHEN umuser = 0 THEN NULL ELSE usename::text END \
                    FROM pg_catalog.pg_user_mappings";
    for row in rows(&session, mappings).await? {
        let (server, role): (String, Option<String>) = (row.get(0), row.get(1));
        let role = role.as_deref().map_or_else(|| String::from("PUBLIC"), quote);
        run(&session, &format!("DROP USER MAPPING FOR {role} SERVER {}", quote(&server))).await?;
        quiet.user_mappings += 1;
    }
    let cron = rows(&session, "SELECT pg_catalog.to_regclass('cron.job') IS NOT NULL").await?;
    if cron.first().is_some_and(|row| row.get(0)) {
        let done = session
            .execute("UPDATE cron.job SET active = false WHERE active", &[])
            .await
            .map_err(DrillError::sql("its scheduled jobs could not be switched off"))?;
        quiet.jobs += done;
    }
    Ok(())
}

/// By the user of the configuration, else by `postgres`; in whichever database there is.
async fn enter(known: &Connection) -> Result<Session, DrillError> {
    let as_postgres = Connection { user: String::from("postgres"), ..known.clone() };
    let mut first = None;
    for connection in [known, &as_postgres] {
        match session::open_any(connection).await {
            Ok(session) => return Ok(session),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let why = first.map_or_else(String::new, |error| error.to_string());
    Err(DrillError::Sql { what: String::from("the copy cannot be entered"), why })
}

pub(super) async fn open(connection: &Connection, database: &str) -> Result<Session, DrillError> {
    let opened = session::open(connection, database).await;
    opened.map_err(|error| DrillError::Engine(error.explanation()))
}

pub(super) async fn rows(
    session: &Session,
    sql: &str,
) -> Result<Vec<tokio_postgres::Row>, DrillError> {
    session.query(sql, &[]).await.map_err(DrillError::sql("the copy could not be asked"))
}

pub(super) async fn run(session: &Session, sql: &str) -> Result<(), DrillError> {
    // The statement's first words: a later one may hold a name, and none holds a secret.
    let words: Vec<&str> = sql.split_whitespace().take(3).collect();
    let what = format!("{} failed in the copy", words.join(" "));
    session.batch_execute(sql).await.map_err(DrillError::sql(&what))
}
