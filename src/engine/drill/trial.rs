//! Trying the statement of a scenario before anybody holds it: on a small shop of its own, by the
//! role that is to run it, in a transaction that is rolled back. Owns what is found out by that;
//! what can be told by the file alone is `drill::scenario`'s.

use super::error::DrillError;
use super::sandbox::{Options, Sandbox, Say};
use super::scenario::{BadStatement, Disaster, Scenario};
use super::server::Server;
use super::shop::{DATABASE, TABLES};
use std::collections::BTreeMap;
use tokio_postgres::Transaction;

/// Megabytes of the shop that it is tried on.
const SIZE_MB: u64 = 16;

/// Rows and a digest of each table that is there.
type Shop = BTreeMap<&'static str, (i64, String)>;

/// What the statement does to the shop, or why the scenario cannot be held with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// In words; empty where the scenario has no statement.
    pub does: String,
    pub problems: Vec<String>,
}

/// Tries it.
///
/// # Errors
/// Where it could not be tried: then nothing is known of it.
pub fn of(scenario: &Scenario, options: &Options, say: Say<'_>) -> Result<Trial, DrillError> {
    let Some(bad) = scenario.incident.statement() else {
        return Ok(Trial { does: String::new(), problems: Vec::new() });
    };
    let options = Options { size_mb: SIZE_MB, keep: None, ..options.clone() };
    // It archives into nothing, and lives for a few seconds.
    let sandbox = Sandbox::create(&options, &|_| Ok(()), say)?;
    let tried = sandbox.runtime()?.block_on(run(sandbox.server(), bad));
    sandbox.close()?;
    Ok(match tried? {
        Ok((before, after)) => judge(&scenario.incident, bad, &before, &after),
        Err(why) => Trial {
            does: String::new(),
            problems: vec![format!("incident.statement cannot be run by {}: {why}", bad.role)],
        },
    })
}

/// The shop before and after; within it, why the server refuses the statement.
async fn run(
    server: &Server,
    bad: &BadStatement,
) -> Result<Result<(Shop, Shop), String>, DrillError> {
    let fail = || DrillError::sql("the statement could not be tried");
    let mut client = server.connect("postgres", DATABASE).await?;
    let work = client.transaction().await.map_err(fail())?;
    let before = shop(&work).await?;
    let role = format!(
        "SET LOCAL statement_timeout = '60s'; SET LOCAL SESSION AUTHORIZATION {}",
        crate::engine::parts::names::quote(&bad.role)
    );
    let did = match work.batch_execute(&role).await {
        Ok(()) => work.execute(bad.statement.as_str(), &[]).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = did {
        return Ok(Err(crate::engine::postgres::connect::reason(&error)));
    }
    work.batch_execute("RESET SESSION AUTHORIZATION").await.map_err(fail())?;
    let after = shop(&work).await?;
    work.rollback().await.map_err(fail())?;
    Ok(Ok((before, after)))
}

async fn shop(work: &Transaction<'_>) -> Result<Shop, DrillError> {
    let fail = || DrillError::sql("the shop could not be counted");
    let mut all = Shop::new();
    for table in TABLES {
        let there = work
            .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table])
            .await
            .map_err(fail())?;
        if !there.get::<_, bool>(0) {
            continue;
        }
        let sql = format!(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text
             FROM {table} AS t"
        );
        let row = work.query_one(&sql, &[]).await.map_err(fail())?;
        all.insert(table, (row.get(0), row.get(1)));
    }
    Ok(all)
}

fn judge(incident: &Disaster, bad: &BadStatement, before: &Shop, after: &Shop) -> Trial {
    let changed: Vec<&str> =
        TABLES.into_iter().filter(|table| before.get(table) != after.get(table)).collect();
    let does: Vec<String> = changed
        .iter()
        .map(|table| match (before.get(table), after.get(table)) {
            (Some(_), None) => format!("{table} is gone"),
            (Some((were, _)), Some((are, _))) if were == are => {
                format!("rows of {table} are changed, none is gone")
            }
            (Some((were, _)), Some((are, _))) if are < were => {
                format!("{} of {were} rows of {table} are gone", were - are)
            }
            _ => format!("{table} has rows more than before"),
        })
        .collect();
    let mut problems = Vec::new();
    if changed.is_empty() {
        problems.push(String::from(
            "incident.statement changes nothing in the shop: there would be no accident",
        ));
    } else if !changed.contains(&bad.table.as_str()) {
        problems.push(format!(
            "incident.table is {}, and the statement leaves that table as it is; it changes {}",
            bad.table,
            changed.join(", ")
        ));
    }
    let others: Vec<&str> = changed.into_iter().filter(|table| *table != bad.table).collect();
    if matches!(incident, Disaster::Table(_)) && problems.is_empty() && !others.is_empty() {
        problems.push(format!(
            "incident.statement also changes {}, and with kind \"table\" only {} is brought back; \
             take kind \"statement\"",
            others.join(", "),
            bad.table
        ));
    }
    Trial { does: does.join("; "), problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad() -> BadStatement {
        BadStatement {
            role: String::from("postgres"),
            statement: String::new(),
            table: String::from("public.orders"),
            open_for: 0.1,
        }
    }

    fn shop(figures: [Option<(i64, &str)>; 3]) -> Shop {
        let each = TABLES.into_iter().zip(figures);
        each.filter_map(|(table, one)| one.map(|(rows, digest)| (table, (rows, digest.to_owned()))))
            .collect()
    }

    #[test]
    fn what_a_statement_does_is_told_and_what_makes_no_accident_is_refused() {
        let before = shop([Some((9, "c")), Some((90, "o")), Some((900, "l"))]);
        let judged = |table: bool, after: &Shop| {
            let incident = if table { Disaster::Table(bad()) } else { Disaster::Statement(bad()) };
            judge(&incident, &bad(), &before, after)
        };
        let deleted = shop([Some((9, "c")), Some((80, "p")), Some((900, "l"))]);
        let told = judged(true, &deleted);
        assert_eq!(told.does, "10 of 90 rows of public.orders are gone");
        assert!(told.problems.is_empty(), "{told:?}");
        let updated = shop([Some((9, "c")), Some((90, "p")), Some((900, "l"))]);
        assert!(judged(false, &updated).does.contains("none is gone"));
        let dropped = shop([Some((9, "c")), None, Some((900, "l"))]);
        assert_eq!(judged(false, &dropped).does, "public.orders is gone");
        assert!(judged(false, &before).problems[0].contains("changes nothing"));
        let another = shop([Some((8, "d")), Some((90, "o")), Some((900, "l"))]);
        assert!(judged(false, &another).problems[0].contains("leaves that table as it is"));
        let more = shop([Some((9, "c")), Some((80, "p")), Some((0, ""))]);
        assert!(judged(false, &more).problems.is_empty());
        assert!(judged(true, &more).problems[0].contains("public.audit_log"));
    }
}
