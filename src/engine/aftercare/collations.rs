//! Collation versions: a C library that sorts otherwise than the one that built an index makes
//! that index wrong in silence. Rebuilds the indexes that are concerned and says so to the server.

use super::Item;
use super::ward::{ASK, Found, Rows, Ward, field, listed};
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::connect::Session;
use crate::engine::validate::check::begin;
use std::time::Duration;

pub(super) const ITEM: Item = Item {
    id: "collations",
    title: "Texts sort as their indexes were built",
    looks: "Compares the collation versions of databases and collations with this machine's.",
    agrees: Role::Operator,
    look,
    act: Some(act),
    act_proves: false,
};

/// For rebuilding one index.
const LIMIT: Duration = Duration::from_secs(6 * 3_600);

/// The database's own default collation.
const DEFAULT: &str = "100";

/// OID, name, version in the catalogue, version of this machine; by server version.
fn differing(major: u32) -> String {
    let used = "SELECT c.oid::text, quote_ident(n.nspname) || '.' || quote_ident(c.collname), \
                c.collversion, pg_collation_actual_version(c.oid) \
                FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace \
                WHERE c.collversion IS NOT NULL AND c.collencoding IN (-1, (SELECT encoding \
                FROM pg_database WHERE datname = current_database())) \
                AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid)";
    if major < 15 {
        return used.to_owned();
    }
    format!(
        "SELECT '{DEFAULT}', 'the database''s own', datcollversion, \
         pg_database_collation_actual_version(oid) FROM pg_database \
         WHERE datname = current_database() AND datcollversion IS NOT NULL \
         AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) \
         UNION ALL {used} ORDER BY 1"
    )
}

fn indexes(oid: &str) -> String {
    format!(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.indisexclusion \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
         AND {oid} = ANY (i.indcollation) ORDER BY 1"
    )
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let major = match ward.site.identity() {
        Ok(identity) => identity.version,
        Err(why) => {
            let begun = begin("collations:server", "The server's version is known");
            return begun.could_not_verify(why.to_string()).into();
        }
    };
    ward.in_each("collations", &mut found, |ward, name, session, found| {
        let rows = ward.rows(session, &differing(major))?;
        let begun = begin(format!("collations:{name}"), format!("{name}: collation versions fit"));
        if rows.is_empty() && major < 15 {
            found.check(begun.could_not_verify(
                "Its collations fit. This server does not record the version of a database's own \
                 default: where the machine's C library is another, rebuild text indexes.",
            ));
            return Ok(());
        }
        if rows.is_empty() {
            found
                .check(begun.verified("This machine sorts as the one did that built the indexes."));
            return Ok(());
        }
        found.check(
            begun
                .found(format!("{} differ", rows.len()))
                .failed("Their indexes may miss rows or take duplicates until they are rebuilt."),
        );
        for row in &rows {
            concerned(ward, name, session, row, found)?;
        }
        Ok(())
    });
    found
}

fn concerned(
    ward: &Ward<'_>,
    database: &str,
    session: &Session,
    row: &[Option<String>],
    found: &mut Found,
) -> Result<(), String> {
    let (oid, collation) = (field(row, 0), field(row, 1));
    let (was, is) = (field(row, 2), field(row, 3));
    let concerned = ward.rows(session, &indexes(oid))?;
    let names: Vec<String> = concerned.iter().map(|row| field(row, 0).to_owned()).collect();
    found.check(
        begin(format!("collations:{database}/{collation}"), format!("{database}: {collation}"))
            .expected(was)
            .found(is)
            .failed(format!("{} to rebuild: {}.", indexes_of(names.len()), listed(&names, 6))),
    );
    found.propose(
        format!("{database}/{oid}={is}"),
        format!(
            "REINDEX {}, then {} (database {database})",
            indexes_of(names.len()),
            refresh(database, oid, collation)
        ),
    );
    Ok(())
}

fn indexes_of(count: usize) -> String {
    if count == 1 { String::from("1 index") } else { format!("{count} indexes") }
}

fn refresh(database: &str, oid: &str, collation: &str) -> String {
    if oid == DEFAULT {
        let database = database.replace('"', "\"\"");
        format!("ALTER DATABASE \"{database}\" REFRESH COLLATION VERSION")
    } else {
        format!("ALTER COLLATION {collation} REFRESH VERSION")
    }
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    proposals.iter().filter_map(|proposal| rebuild(ward, &proposal.key)).collect()
}

fn rebuild(ward: &Ward<'_>, key: &str) -> Option<Check> {
    let (place, _) = key.rsplit_once('=')?;
    let (database, oid) = place.rsplit_once('/')?;
    let begun =
        begin(format!("collations:did:{place}"), format!("{database}: indexes are rebuilt"));
    let done = ward.open(Some(database), LIMIT).and_then(|session| {
        let all: Rows = ward.rows(&session, &indexes(oid))?;
        let of = all.len() as u64;
        for (done, row) in all.iter().enumerate() {
            let name = field(row, 0);
            ward.tell(&format!("rebuilding {name}"), done as u64, Some(of));
            // An exclusion constraint's cannot be rebuilt beside its users.
            let beside = if field(row, 1) == "t" { "" } else { "CONCURRENTLY " };
            ward.execute(&session, &format!("REINDEX INDEX {beside}{name}"))
                .map_err(|why| format!("{name}: {why}"))?;
        }
        let name = if oid == DEFAULT { String::new() } else { named(ward, database, oid)? };
        ward.execute(&session, &refresh(database, oid, &name))?;
        Ok(all.len())
    });
    Some(match done {
        Ok(rebuilt) => begun
            .found(indexes_of(rebuilt))
            .verified("Rebuilt with this machine's order, and the version is recorded."),
        Err(why) => begun.failed(format!("{why}. Rebuilt indexes stay; run it again.")),
    })
}

fn named(ward: &Ward<'_>, database: &str, oid: &str) -> Result<String, String> {
    let session = ward.open(Some(database), ASK)?;
    let sql = format!("SELECT {oid}::oid::regcollation::text");
    let rows = ward.rows(&session, &sql)?;
    rows.first().map(|row| field(row, 0).to_owned()).ok_or_else(|| String::from("it is gone"))
}
