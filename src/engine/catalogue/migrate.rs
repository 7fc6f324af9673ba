//! The catalogue's schema and its versions. Owns `lifeboat.migrations`; each migration is carried
//! out once, whole or not at all, and one that was carried out is never changed.

use super::CatalogueError;
use crate::engine::audit::lines::hash;
use crate::engine::parts::names::quote;
use crate::engine::postgres::connect::Session;

/// Version, name, text. Only ever added to.
const MIGRATIONS: [(i32, &str, &str); 1] =
    [(1, "tables", include_str!("../../../assets/sql/catalogue/0001_tables.sql"))];

/// The version that this program works with.
pub const WANTED: i32 = 1;

/// What holds two migrations at the same moment apart; any number that nobody else uses.
const LOCK: i64 = 0x4c69_6665_626f_6174;

/// Tables that a writer adds to.
const TABLES: [&str; 3] = ["audit_log", "backup_metadata", "recovery_records"];

/// The version that is there; 0 where there is none.
///
/// # Errors
/// Where it cannot be asked.
pub async fn version(session: &Session) -> Result<i32, CatalogueError> {
    let doing = "Asking for the catalogue's version";
    let there = session
        .query_one("SELECT to_regclass('lifeboat.migrations') IS NOT NULL", &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(CatalogueError::sql(doing))?;
    if !there {
        return Ok(0);
    }
    session
        .query_one("SELECT coalesce(max(version), 0) FROM lifeboat.migrations", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(CatalogueError::sql(doing))
}

/// Brings the schema to [`WANTED`]; the names of what was carried out. `writer` may add rows then.
///
/// # Errors
/// Where a migration fails: then nothing of this call stays.
pub async fn migrate(
    session: &mut Session,
    writer: Option<&str>,
) -> Result<Vec<String>, CatalogueError> {
    let doing = "Preparing the catalogue's schema";
    let work = session.transaction().await.map_err(CatalogueError::sql(doing))?;
    work.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await
        .map_err(CatalogueError::sql(doing))?;
    work.batch_execute(
        "CREATE SCHEMA IF NOT EXISTS lifeboat;
         CREATE TABLE IF NOT EXISTS lifeboat.migrations (
             version integer PRIMARY KEY,
             name text NOT NULL,
             digest text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now(),
             applied_by text NOT NULL DEFAULT current_user);",
    )
    .await
    .map_err(CatalogueError::sql(doing))?;
    let rows = work
        .query("SELECT version, digest FROM lifeboat.migrations ORDER BY version", &[])
        .await
        .map_err(CatalogueError::sql(doing))?;
    let mut known = Vec::new();
    for row in rows {
        let version: i32 = row.try_get(0).map_err(CatalogueError::sql(doing))?;
        let digest: String = row.try_get(1).map_err(CatalogueError::sql(doing))?;
        if version > WANTED {
            let server = String::from("at that address");
            return Err(CatalogueError::Newer { server, found: version, wanted: WANTED });
        }
        known.push((version, digest));
    }
    let mut done = Vec::new();
    for (version, name, text) in MIGRATIONS {
        let digest = hash(text.as_bytes());
        match known.iter().find(|(known, _)| *known == version) {
            Some((_, there)) if *there == digest => continue,
            Some(_) => return Err(CatalogueError::OtherMigration { version }),
            None => {}
        }
        let doing = format!("The migration {version} ({name})");
        work.batch_execute(text).await.map_err(CatalogueError::sql(doing.clone()))?;
        work.execute(
            "INSERT INTO lifeboat.migrations (version, name, digest) VALUES ($1, $2, $3)",
            &[&version, &name, &digest],
        )
        .await
        .map_err(CatalogueError::sql(doing))?;
        done.push(format!("{version} ({name})"));
    }
    if let Some(writer) = writer {
        let to = quote(writer);
        let mut grants = format!(
            "GRANT USAGE ON SCHEMA lifeboat TO {to}; GRANT SELECT ON lifeboat.migrations TO {to};"
        );
        for table in TABLES {
            grants += &format!("GRANT SELECT, INSERT ON lifeboat.{table} TO {to};");
        }
        let doing = format!("Granting {writer} to add rows");
        work.batch_execute(&grants).await.map_err(CatalogueError::sql(doing))?;
    }
    work.commit().await.map_err(CatalogueError::sql(doing))?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_hole_and_end_with_the_wanted_one() {
        let versions: Vec<i32> = MIGRATIONS.iter().map(|(version, _, _)| *version).collect();
        assert_eq!(versions, (1..=WANTED).collect::<Vec<_>>());
    }
}
