//! A whole database brought back under a name that production does not have: made beside under a
//! name of our own, filled by `pg_dump` and `pg_restore`, compared with the source, and only then
//! given its name, in one transaction. Never touches a database that is there; at most, where that
//! was asked for, gives it another name.

use super::aside;
use super::commit::{self, Before};
use super::error::PartsError;
use super::names::quote;
use super::roles::{self, Missing};
use super::sandbox::Sandbox;
use super::session::{self, LOCK_WAIT};
use super::transfer::{self, Transfer};
use crate::engine::config::Connection;
use crate::engine::postgres::connect::Session;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio_postgres::Client;

mod sum;

/// How the names begin under which a database is filled. One of them that is there without a run
/// that fills it is a leftover of ours.
pub const FILLING: &str = "lifeboat_filling_";
/// How often the size is asked for, which is the progress.
const MEASURE: Duration = Duration::from_secs(1);

/// What a database of the source is, against production.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    pub database: String,
    pub owner: String,
    pub bytes: u64,
    pub tables: u64,
    pub large_objects: u64,
    /// Production has one of this name.
    pub in_production: bool,
    pub missing_roles: Vec<String>,
    /// Extensions whose files production's server does not have.
    pub missing_extensions: Vec<String>,
    /// Its things go to the default tablespace where one of these was theirs.
    pub missing_tablespaces: Vec<String>,
    /// Not brought along: a subscription would begin to receive again.
    pub subscriptions: Vec<String>,
    /// Their rows are in no backup.
    pub unlogged: Vec<String>,
}

/// How long a session that was told to end may take.
const LEFT_LIMIT: Duration = Duration::from_secs(60);

/// What is to be brought back, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// In the source.
    pub database: &'a str,
    /// In production.
    pub named: &'a str,
    /// The database that has the name now gets this one.
    pub set_aside: Option<&'a str>,
    pub missing_roles: Missing,
    /// The name under which it is filled; see [`FILLING`].
    pub filling: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Brought {
    /// Its name in production.
    pub database: String,
    pub tables: u64,
    pub rows: u64,
    pub large_objects: u64,
    /// What was compared and found equal.
    pub proven: Vec<String>,
    pub notes: Vec<String>,
}

/// Sees how many bytes are there of how many; ends it by `false`.
pub type Watched<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// The databases of the source that can be brought back, and whether production has each.
///
/// # Errors
/// Where a server does not answer.
pub async fn list(source: &Client, production: &Client) -> Result<Vec<(String, bool)>, PartsError> {
    let mut all = Vec::new();
    for name in names(source).await? {
        let there = exists(production, &name).await?;
        all.push((name, there));
    }
    Ok(all)
}

/// The databases of a server that can be connected to, by name.
///
/// # Errors
/// Where it does not answer.
pub async fn names(client: &Client) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Listing the databases");
    let query = "SELECT datname::text FROM pg_catalog.pg_database \
                  WHERE NOT datistemplate AND datallowconn ORDER BY 1";
    let rows = client.query(query, &[]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// Looks at a database of the source; changes nothing.
///
/// # Errors
/// Where the source has none of that name, or a server does not answer.
pub async fn find(
    sandbox: &Sandbox,
    production: &Connection,
    database: &str,
) -> Result<Found, PartsError> {
    let outer = session::open_any(&sandbox.connection()).await?;
    if !exists(&outer, database).await? {
        return Err(PartsError::NotFound(format!("{database} is no database in the source.")));
    }
    let source = sandbox.session(database).await?;
    aside::move_back(&source).await?;
    let there = session::open_any(production).await?;
    let failed = || PartsError::sql(format!("Looking at the database {database}"));
    let row = source
        .query_one(
            "SELECT pg_catalog.pg_get_userbyid(b.datdba)::text, pg_catalog.pg_database_size(b.oid), \
                    (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) \
               FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(failed())?;
    let (bytes, objects): (i64, i64) =
        (row.try_get(1).map_err(failed())?, row.try_get(2).map_err(failed())?);
    let tables = super::catalog::tables(&source, &super::Scope::All).await?;
    let extensions = strings(&source, "SELECT extname::text FROM pg_catalog.pg_extension").await?;
    let available =
        strings(&there, "SELECT name::text FROM pg_catalog.pg_available_extensions").await?;
    let query = "SELECT DISTINCT s.spcname::text FROM pg_catalog.pg_tablespace s WHERE s.oid IN \
                 (SELECT c.reltablespace FROM pg_catalog.pg_class c UNION SELECT b.dattablespace \
                    FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())";
    let spaces = strings(&source, query).await?;
    let known = strings(&there, "SELECT spcname::text FROM pg_catalog.pg_tablespace").await?;
    let subscriptions = "SELECT s.subname::text FROM pg_catalog.pg_subscription s JOIN \
                         pg_catalog.pg_database b ON b.oid = s.subdbid \
                         WHERE b.datname = pg_catalog.current_database()";
    let lacks = |all: Vec<String>, has: &[String]| {
        all.into_iter().filter(|one| !has.contains(one)).collect::<Vec<_>>()
    };
    Ok(Found {
        database: database.to_owned(),
        owner: row.try_get(0).map_err(failed())?,
        bytes: u64::try_from(bytes).unwrap_or_default(),
        tables: tables.len() as u64,
        large_objects: u64::try_from(objects).unwrap_or_default(),
        in_production: exists(&there, database).await?,
        missing_roles: roles::absent(&there, &roles::of_database(&source).await?).await?,
        missing_extensions: lacks(extensions, &available),
        missing_tablespaces: lacks(spaces, &known),
        subscriptions: strings(&source, subscriptions).await?,
        unlogged: tables
            .iter()
            .filter(|table| table.unlogged)
            .map(|table| table.name.to_string())
            .collect(),
    })
}

/// Why a database cannot be brought back as it was asked for, if so; asked again before anything is
/// made.
///
/// # Errors
/// That reason, or that a server does not answer.
pub async fn check(
    found: &Found,
    asked: &Asked<'_>,
    production: &Connection,
) -> Result<(), PartsError> {
    if asked.named.is_empty() || asked.named.len() > 63 || asked.named.starts_with(FILLING) {
        return Err(PartsError::refused(
            format!("\"{}\" is no name for a database.", asked.named),
            "Give one of 1 to 63 bytes.",
        ));
    }
    if !found.missing_extensions.is_empty() {
        return Err(PartsError::refused(
            format!(
                "The database has extensions whose files production's server lacks: {}.",
                found.missing_extensions.join(", ")
            ),
            "Install their packages on production's machine; run it again.",
        ));
    }
    if !found.missing_roles.is_empty() && asked.missing_roles == Missing::Ask {
        return Err(roles::asked_for(&found.missing_roles));
    }
    let there = session::open_any(production).await?;
    free(&there, asked).await
}

/// Whether the name is free, or is to be made free.
///
/// # Errors
/// A refusal where it is not.
pub async fn free(there: &Client, asked: &Asked<'_>) -> Result<(), PartsError> {
    let taken = exists(there, asked.named).await?;
    let Some(aside) = asked.set_aside.filter(|_| taken) else {
        return if taken {
            Err(PartsError::refused(
                format!("Production has a database {} already; it is not touched.", asked.named),
                "Give the one that comes back another name: --as NAME. Or have the one that is \
                 there renamed: --set-aside NAME.",
            ))
        } else {
            Ok(())
        };
    };
    if aside == asked.named || exists(there, aside).await? {
        return Err(PartsError::refused(
            format!("Production has a database {aside} already."),
            "Give another name for the one that is set aside.",
        ));
    }
    Ok(())
}

/// Brings it back. Until the last moment production has it under a name of our own alone.
///
/// # Errors
/// Where anything stands in the way: what was made by then is removed. Only where the answer to the
/// last COMMIT was lost, and nobody says what became of it, everything stays as it is.
pub fn bring(
    sandbox: &Sandbox,
    production: &Connection,
    asked: &Asked<'_>,
    runtime: &Handle,
    watched: Watched<'_>,
    before: Before<'_>,
) -> Result<Brought, PartsError> {
    let found = runtime.block_on(async {
        own_leftover(sandbox, production, asked).await?;
        let found = find(sandbox, production, asked.database).await?;
        check(&found, asked, production).await?;
        Ok::<_, PartsError>(found)
    })?;
    let made = fill(sandbox, production, asked, &found, runtime, watched);
    // The source has its name again, for whoever tries once more.
    let again = runtime.block_on(rename_source(sandbox, asked.filling, asked.database));
    let outcome = made.and_then(|brought| {
        again?;
        let told = runtime.block_on(name_it(production, asked, before))?;
        Ok((brought, told))
    });
    match outcome {
        Ok((mut brought, told)) => {
            brought.notes.extend(told);
            brought.notes.extend(notes(&found, asked));
            Ok(brought)
        }
        Err(error @ PartsError::NotKnown { .. }) => Err(error),
        Err(error) => {
            let cleared = runtime.block_on(take_back(production, asked, &found));
            match cleared {
                Ok(()) => Err(error),
                Err(left) => Err(PartsError::Sql {
                    doing: String::from("Bringing the database back"),
                    reason: format!("{error} And what was made is still there: {left}"),
                }),
            }
        }
    }
}

fn fill(
    sandbox: &Sandbox,
    production: &Connection,
    asked: &Asked<'_>,
    found: &Found,
    runtime: &Handle,
    watched: Watched<'_>,
) -> Result<Brought, PartsError> {
    let (maintenance, sums, there) = runtime.block_on(async {
        let there = session::open_any(production).await?;
        if asked.missing_roles == Missing::Create {
            roles::create(&there, &found.missing_roles).await?;
        }
        let source = sandbox.session(asked.database).await?;
        session::same_system(&source, &there).await?;
        if asked.missing_roles == Missing::LeaveOut {
            roles::leave_out(&source, &found.missing_roles).await?;
        }
        let sums = sum::of(&source).await?;
        drop(source);
        rename_source(sandbox, asked.database, asked.filling).await?;
        let query = "SELECT pg_catalog.current_database()::text";
        let maintenance = strings(&there, query).await?.pop().unwrap_or_default();
        Ok::<_, PartsError>((maintenance, sums, there))
    })?;
    let mut measured = Instant::now();
    let mut bytes = 0;
    let mut tick = || {
        if measured.elapsed() >= MEASURE {
            measured = Instant::now();
            bytes = runtime.block_on(size(&there, asked.filling)).unwrap_or(bytes);
        }
        watched(bytes.min(found.bytes), found.bytes)
    };
    let transfer =
        Transfer { database: asked.filling, no_tablespaces: !found.missing_tablespaces.is_empty() };
    transfer::whole(sandbox, production, &maintenance, transfer, &mut tick)?;
    runtime.block_on(async {
        let copy = session::open(production, asked.filling).await?;
        let proven = sums.same_as(&sum::of(&copy).await?)?;
        Ok(Brought {
            database: asked.named.to_owned(),
            tables: sums.tables(),
            rows: sums.rows(),
            large_objects: found.large_objects,
            proven,
            notes: Vec::new(),
        })
    })
}

/// Gives it its name, in one transaction with the other's new one.
async fn name_it(
    production: &Connection,
    asked: &Asked<'_>,
    before: Before<'_>,
) -> Result<Option<String>, PartsError> {
    let there = session::open_any(production).await?;
    let failed = || PartsError::sql(format!("Giving the database the name {}", asked.named));
    there.batch_execute(&format!("{LOCK_WAIT}; BEGIN")).await.map_err(failed())?;
    if let Some(aside) = asked.set_aside
        && exists(&there, asked.named).await?
    {
        rename(&there, asked.named, aside).await?;
    }
    rename(&there, asked.filling, asked.named).await?;
    commit::commit(&there, production, &production.database, commit::ASK_LIMIT, before).await
}

/// What an attempt before this one left under our name.
async fn own_leftover(
    sandbox: &Sandbox,
    production: &Connection,
    asked: &Asked<'_>,
) -> Result<(), PartsError> {
    rename_source(sandbox, asked.filling, asked.database).await?;
    let there = session::open_any(production).await?;
    drop_filling(&there, asked.filling).await
}

async fn take_back(
    production: &Connection,
    asked: &Asked<'_>,
    found: &Found,
) -> Result<(), PartsError> {
    let there = session::open_any(production).await?;
    drop_filling(&there, asked.filling).await?;
    if asked.missing_roles == Missing::Create {
        for role in roles::of_ours(&there, &found.missing_roles).await? {
            let text = format!("DROP ROLE {}", quote(&role));
            let failed = PartsError::sql(format!("Removing the role {role} again"));
            there.batch_execute(&text).await.map_err(failed)?;
        }
    }
    Ok(())
}

/// Which of two names is that for filling.
fn asked_name<'a>(from: &'a str, to: &'a str) -> &'a str {
    if from.starts_with(FILLING) { from } else { to }
}

/// Ends what is left of programs that filled it: a server may be at their last statement still,
/// after they were killed. Waits until it is over.
async fn end_sessions(client: &Client, filling: &str) -> Result<(), PartsError> {
    let failed = || PartsError::sql("Ending what an attempt before left");
    let query = "SELECT count(pg_catalog.pg_terminate_backend(pid)) \
                   FROM pg_catalog.pg_stat_activity WHERE application_name = $1::text";
    let end = Instant::now() + LEFT_LIMIT;
    loop {
        let left: i64 = client
            .query_one(query, &[&filling])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(failed())?;
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(PartsError::refused(
                format!("{left} sessions called {filling} do not end."),
                "Look at them in pg_stat_activity; run it again once they are gone.",
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Removes the unfinished copy, and never another database: its name says that it is ours.
async fn drop_filling(there: &Client, filling: &str) -> Result<(), PartsError> {
    end_sessions(there, filling).await?;
    if !filling.starts_with(FILLING) || !exists(there, filling).await? {
        return Ok(());
    }
    let failed = || PartsError::sql(format!("Removing the unfinished copy {filling}"));
    let text = format!("DROP DATABASE {} WITH (FORCE)", quote(filling));
    there.batch_execute(&text).await.map_err(failed())
}

async fn rename_source(sandbox: &Sandbox, from: &str, to: &str) -> Result<(), PartsError> {
    let mut connection = sandbox.connection();
    // Nobody renames the database that he is in.
    if [from, to].contains(&connection.database.as_str()) {
        connection.database = String::from("template1");
    }
    let outer = session::open_any(&connection).await?;
    end_sessions(&outer, asked_name(from, to)).await?;
    if !exists(&outer, from).await? {
        return Ok(());
    }
    rename(&outer, from, to).await
}

async fn rename(client: &Client, from: &str, to: &str) -> Result<(), PartsError> {
    let text = format!("ALTER DATABASE {} RENAME TO {}", quote(from), quote(to));
    let failed = PartsError::sql(format!("Renaming the database {from} to {to}"));
    client.batch_execute(&text).await.map_err(failed)
}

/// Whether a server has a database of that name.
///
/// # Errors
/// Where it does not answer.
pub async fn exists(client: &Client, name: &str) -> Result<bool, PartsError> {
    let failed = || PartsError::sql("Looking for a database");
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1::text)";
    client.query_one(query, &[&name]).await.and_then(|row| row.try_get(0)).map_err(failed())
}

async fn size(client: &Session, name: &str) -> Result<u64, PartsError> {
    let query = "SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database \
                  WHERE datname = $1::text";
    let failed = PartsError::sql("Asking for the size of the copy");
    let row = client.query_opt(query, &[&name]).await.map_err(failed)?;
    let bytes: i64 = row.and_then(|row| row.try_get(0).ok()).unwrap_or_default();
    Ok(u64::try_from(bytes).unwrap_or_default())
}

async fn strings(client: &Client, query: &str) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Reading the catalogue");
    let rows = client.query(query, &[]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

fn notes(found: &Found, asked: &Asked<'_>) -> Vec<String> {
    let mut notes = roles::told(&found.missing_roles, asked.missing_roles);
    if let Some(aside) = asked.set_aside.filter(|_| asked.database == asked.named) {
        notes.push(format!("The database that was there is called {aside} now"));
    }
    if !found.missing_tablespaces.is_empty() {
        notes.push(format!(
            "Production lacks tablespaces ({}): everything went to the default one",
            found.missing_tablespaces.join(", ")
        ));
    }
    for name in &found.subscriptions {
        notes.push(format!(
            "The subscription {name} was left out: it would receive again; make it where it is wanted"
        ));
    }
    for name in &found.unlogged {
        notes.push(format!("{name} is unlogged: its rows are in no backup"));
    }
    notes
}

/// A name for filling that no other run uses.
///
/// # Errors
/// Where the system has no random numbers.
pub fn filling() -> Result<String, PartsError> {
    let mut random = [0_u8; 6];
    getrandom::fill(&mut random).map_err(|error| PartsError::File {
        path: std::path::PathBuf::from("/dev/urandom"),
        what: "no random name could be made",
        source: std::io::Error::other(error),
    })?;
    Ok(filling_of(&data_encoding::HEXLOWER.encode(&random)))
}

/// The name for filling of a run that is known by `of`, the same for the same run.
#[must_use]
pub fn filling_of(of: &str) -> String {
    format!("{FILLING}{}", of.chars().take(12).collect::<String>())
}
