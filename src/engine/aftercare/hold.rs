//! Holding what would act by itself as soon as the server opens: subscriptions and pg_cron's
//! jobs. Owns the switching off, between promotion and opening; each is told before it is
//! switched off, so that none is forgotten by whoever releases them.

use super::ward::{ASK, Ward, field};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::care::{Held, HeldKind};
use crate::engine::postgres::closed::{LEFT_OUT, RUNS_JOBS};

/// Switches off what is on, telling each to `told` first. May be called again.
///
/// # Errors
/// Where something could not be listed, told or switched off: the server must not be opened.
pub fn hold(
    ward: &Ward<'_>,
    told: &dyn Fn(&Held) -> Result<(), Explanation>,
) -> Result<Vec<Held>, Explanation> {
    let held = active(ward).map_err(|why| failed(&why))?;
    for one in &held {
        told(one)?;
        switch_off(ward, one).map_err(|why| failed(&format!("{}: {why}", name(one))))?;
    }
    Ok(held)
}

/// In words, for people.
#[must_use]
pub fn name(held: &Held) -> String {
    match held.what {
        HeldKind::Subscription => {
            format!("subscription \"{}\" of database {}", held.name, held.database)
        }
        HeldKind::CronJob => format!("job {} of pg_cron in database {}", held.name, held.database),
    }
}

fn active(ward: &Ward<'_>) -> Result<Vec<Held>, String> {
    let sql = "SELECT d.datname, s.subname FROM pg_subscription s \
               JOIN pg_database d ON d.oid = s.subdbid WHERE s.subenabled ORDER BY 1, 2";
    let mut all: Vec<Held> = ward
        .ask(sql)?
        .iter()
        .map(|row| Held {
            what: HeldKind::Subscription,
            database: field(row, 0).to_owned(),
            name: field(row, 1).to_owned(),
        })
        .collect();
    if let Some(database) = cron_database(ward)? {
        let session = ward.open(Some(&database), ASK)?;
        let jobs = ward.rows(&session, "SELECT jobid FROM cron.job WHERE active ORDER BY 1")?;
        all.extend(jobs.iter().map(|row| Held {
            what: HeldKind::CronJob,
            database: database.clone(),
            name: field(row, 0).to_owned(),
        }));
    }
    Ok(all)
}

/// Where pg_cron keeps its jobs; `None` where it is not at work, and would not be in the open server.
pub(super) fn cron_database(ward: &Ward<'_>) -> Result<Option<String>, String> {
    let sql = format!(
        "SELECT current_setting('cron.database_name', true), \
         current_setting('shared_preload_libraries') LIKE '%{RUNS_JOBS}%' \
         OR coalesce(current_setting('{LEFT_OUT}', true) = '{RUNS_JOBS}', false)"
    );
    let rows = ward.ask(&sql)?;
    let Some(row) = rows.first().filter(|row| field(row, 1) == "t") else { return Ok(None) };
    let database = match field(row, 0) {
        "" => String::from("postgres"),
        name => name.to_owned(),
    };
    let session = ward.open(Some(&database), ASK)?;
    let there = ward.rows(&session, "SELECT to_regclass('cron.job') IS NOT NULL")?;
    Ok(there.first().is_some_and(|row| field(row, 0) == "t").then_some(database))
}

fn switch_off(ward: &Ward<'_>, held: &Held) -> Result<(), String> {
    let session = ward.open(Some(&held.database), ASK)?;
    match held.what {
        HeldKind::Subscription => {
            let name = held.name.replace('"', "\"\"");
            ward.execute(&session, &format!("ALTER SUBSCRIPTION \"{name}\" DISABLE"))
        }
        HeldKind::CronJob => {
            let id: i64 =
                held.name.parse().map_err(|_| format!("{} is no job's number", held.name))?;
            // Its trigger needs the library, which the closed server goes without, and tells a
            // scheduler that does not run.
            let sql = format!(
                "SET session_replication_role = replica; \
                 UPDATE cron.job SET active = false WHERE jobid = {id}"
            );
            ward.execute(&session, &sql)
        }
    }
}

fn failed(why: &str) -> Explanation {
    Explanation::new(
        Kind::Server,
        format!("Subscriptions and scheduled jobs could not be held back: {why}."),
        "The server is promoted and still closed to everybody; nothing of them has acted.",
        "Remove the reason, then retry the step: it goes on from where it stands.",
    )
}
