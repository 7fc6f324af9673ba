//! Roles that a part needs and production lacks: owners, those with grants, those of policies and
//! settings. Owns finding them and the two ways to go on; decides nothing, and carries no password
//! and no membership over.

use super::Scope;
use super::error::PartsError;
use super::names::quote;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

/// What becomes of roles that production lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Nothing is carried over before somebody has said so.
    #[default]
    Ask,
    /// They are made: without login, without a password, members of nothing.
    Create,
    /// Their things go to whoever carries over; their grants are left out.
    LeaveOut,
}

/// Everything of the database that is connected to.
const OF_DATABASE: &str = "\
    SELECT d.refobjid FROM pg_catalog.pg_shdepend d, pg_catalog.pg_database b \
     WHERE b.datname = pg_catalog.current_database() \
       AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
       AND (d.dbid = b.oid OR (d.dbid = 0 AND d.objid = b.oid \
            AND d.classid = 'pg_catalog.pg_database'::pg_catalog.regclass)) \
    UNION SELECT s.setrole FROM pg_catalog.pg_db_role_setting s, pg_catalog.pg_database b \
     WHERE b.datname = pg_catalog.current_database() AND s.setdatabase = b.oid AND s.setrole <> 0";

/// Everything of a schema, by its name.
const OF_SCHEMA: &str = "\
    SELECT d.refobjid FROM pg_catalog.pg_shdepend d, pg_catalog.pg_namespace n \
     WHERE n.nspname = $1 AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
       AND d.dbid = (SELECT oid FROM pg_catalog.pg_database \
                      WHERE datname = pg_catalog.current_database()) \
       AND ((d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objid = n.oid) \
         OR (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid IN \
             (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)) \
         OR (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid IN \
             (SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid)) \
         OR (d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid IN \
             (SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typnamespace = n.oid)) \
         OR (d.classid = 'pg_catalog.pg_default_acl'::pg_catalog.regclass AND d.objid IN \
             (SELECT a.oid FROM pg_catalog.pg_default_acl a WHERE a.defaclnamespace = n.oid)) \
         OR (d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid IN \
             (SELECT y.oid FROM pg_catalog.pg_policy y JOIN pg_catalog.pg_class c \
                ON c.oid = y.polrelid WHERE c.relnamespace = n.oid)))";

/// Everything of tables, by their names as SQL: their partitions, sequences and policies too.
const OF_TABLES: &str = "\
    WITH wanted AS (SELECT r::pg_catalog.regclass::oid AS oid FROM pg_catalog.unnest($1::text[]) r), \
         tables AS (SELECT oid FROM wanted UNION SELECT p.relid FROM wanted w, \
             pg_catalog.pg_partition_tree(w.oid::pg_catalog.regclass) p), \
         things AS (SELECT oid FROM tables UNION SELECT d.objid FROM pg_catalog.pg_depend d \
             JOIN tables t ON t.oid = d.refobjid \
             WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
               AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')) \
    SELECT d.refobjid FROM pg_catalog.pg_shdepend d \
     WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
       AND d.dbid = (SELECT oid FROM pg_catalog.pg_database \
                      WHERE datname = pg_catalog.current_database()) \
       AND ((d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             AND d.objid IN (SELECT oid FROM things)) \
         OR (d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid IN \
             (SELECT y.oid FROM pg_catalog.pg_policy y JOIN tables t ON t.oid = y.polrelid)))";

/// The roles of the whole database, in the source's word.
///
/// # Errors
/// Where the source does not answer.
pub async fn of_database(source: &Client) -> Result<Vec<String>, PartsError> {
    named(source, OF_DATABASE, &[]).await
}

/// The roles of what is to be made anew: a schema, or these tables.
///
/// # Errors
/// Where the source does not answer.
pub async fn of_scope(
    source: &Client,
    scope: &Scope,
    tables: &[String],
) -> Result<Vec<String>, PartsError> {
    match scope {
        Scope::Schema(schema) => named(source, OF_SCHEMA, &[schema]).await,
        _ => named(source, OF_TABLES, &[&tables]).await,
    }
}

async fn named(
    source: &Client,
    oids: &str,
    of: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<String>, PartsError> {
    let query = format!(
        "SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid IN ({oids}) ORDER BY 1"
    );
    let failed = || PartsError::sql("Reading which roles the part needs");
    let rows = source.query(&query, of).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// Those of `needed` that a server does not have.
///
/// # Errors
/// Where it does not answer.
pub async fn absent(server: &Client, needed: &[String]) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Reading the roles of production");
    let query = "SELECT n FROM pg_catalog.unnest($1::text[]) n WHERE NOT EXISTS \
                 (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = n) ORDER BY 1";
    let rows = server.query(query, &[&needed]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// Why nothing is carried over as long as nobody has said what becomes of them.
#[must_use]
pub fn asked_for(absent: &[String]) -> PartsError {
    PartsError::refused(
        format!("Production lacks roles that own something of it or have grants: {}.", {
            absent.join(", ")
        }),
        "Say what becomes of them: --missing-roles create makes them without login and password; \
         --missing-roles leave-out gives their things to who connects and leaves their grants out. \
         Or make them yourself first.",
    )
}

/// Makes them in production: without login, so that nobody can enter by them.
///
/// # Errors
/// Where the server refuses.
pub async fn create(server: &Client, absent: &[String]) -> Result<(), PartsError> {
    for role in absent {
        let text = format!("CREATE ROLE {} NOLOGIN", quote(role));
        let failed = PartsError::sql(format!("Making the role {role}"));
        server.batch_execute(&text).await.map_err(failed)?;
    }
    Ok(())
}

/// Those of `named` that are there as [`create`] makes them and own nothing: an attempt's that did
/// not reach its end.
///
/// # Errors
/// Where the server does not answer.
pub async fn of_ours(server: &Client, named: &[String]) -> Result<Vec<String>, PartsError> {
    let failed = || PartsError::sql("Reading the roles of production");
    let query = "SELECT r.rolname::text FROM pg_catalog.pg_roles r \
                  WHERE r.rolname = ANY($1::text[]::name[]) AND NOT r.rolcanlogin \
                    AND NOT r.rolsuper AND NOT EXISTS (SELECT FROM pg_catalog.pg_shdepend d \
                      WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
                        AND d.refobjid = r.oid) \
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m \
                      WHERE r.oid IN (m.roleid, m.member)) ORDER BY 1";
    let rows = server.query(query, &[&named]).await.map_err(failed())?;
    rows.iter().map(|row| row.try_get(0).map_err(failed())).collect()
}

/// Takes them out of the source's database: it is the sandbox's, and its definitions then name
/// them no more.
///
/// # Errors
/// Where the sandbox refuses, as for a role that the system itself needs.
pub async fn leave_out(source: &Client, absent: &[String]) -> Result<(), PartsError> {
    for role in absent {
        let name = quote(role);
        let text = format!(
            "REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; \
             ALTER ROLE {name} IN DATABASE {} RESET ALL",
            quote(&current(source).await?)
        );
        let failed = PartsError::sql(format!("Leaving the role {role} out"));
        source.batch_execute(&text).await.map_err(failed)?;
    }
    Ok(())
}

async fn current(source: &Client) -> Result<String, PartsError> {
    let failed = || PartsError::sql("Asking for the database's name");
    let query = "SELECT pg_catalog.current_database()::text";
    source.query_one(query, &[]).await.and_then(|row| row.try_get(0)).map_err(failed())
}

/// What became of them, for people.
#[must_use]
pub fn told(absent: &[String], missing: Missing) -> Vec<String> {
    absent
        .iter()
        .map(|role| match missing {
            Missing::LeaveOut => format!(
                "Production lacks the role {role}: its things belong to who carried them over, its \
                 grants were left out"
            ),
            _ => format!(
                "The role {role} was made without login and password; give it what it needs: ALTER \
                 ROLE {} LOGIN …",
                quote(role)
            ),
        })
        .collect()
}
