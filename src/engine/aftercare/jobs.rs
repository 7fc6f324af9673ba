//! Jobs of pg_cron that were held before the server opened: they would run at once on data of the
//! recovery point, and send, bill or delete a second time.

use super::ward::{ASK, Found, Ward, field};
use super::{Item, hold};
use crate::engine::incident::care::{HeldKind, Proposal};
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;

pub(super) const ITEM: Item = Item {
    id: "jobs",
    title: "Scheduled jobs are released",
    looks: "Compares pg_cron's jobs with those that were held before the server opened.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let begun = begin("jobs", "Jobs of pg_cron are released");
    let database = match hold::cron_database(ward) {
        Ok(Some(database)) => database,
        Ok(None) => {
            return begun.not_run("pg_cron is not at work in this server. Jobs outside it (cron, systemd, the application's own) cannot be seen from here.").into();
        }
        Err(why) => return begun.could_not_verify(why).into(),
    };
    let sql = "SELECT jobid, active, schedule, left(command, 60) FROM cron.job ORDER BY jobid";
    let rows = match ward.open(Some(&database), ASK).and_then(|session| ward.rows(&session, sql)) {
        Ok(rows) => rows,
        Err(why) => return begun.could_not_verify(why).into(),
    };
    if rows.is_empty() {
        return begun.found("no job").verified("pg_cron has nothing to run.").into();
    }
    for row in &rows {
        let id = field(row, 0);
        let held =
            ward.incident.held.iter().any(|held| held.what == HeldKind::CronJob && held.name == id);
        let begun = begin(format!("jobs:{id}"), format!("Job {id}: {}", field(row, 3)))
            .found(field(row, 2));
        let check = match (field(row, 1) == "t", held) {
            (true, _) => begun.verified("It is active."),
            (false, true) => {
                found.propose(id, format!("cron.job {id}: active = true ({})", field(row, 3)));
                begun.not_run("It was switched off before the server opened.")
            }
            (false, false) => begun.verified("It was not active at the recovery point either."),
        };
        found.check(check);
    }
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let held = ward.incident.held.iter().filter(|held| held.what == HeldKind::CronJob);
    held.filter(|held| proposals.iter().any(|proposal| proposal.key == held.name))
        .map(|held| {
            let begun = begin(format!("jobs:did:{}", held.name), format!("Job {}", held.name));
            match release(ward, &held.database, &held.name) {
                Ok(()) => begun.verified("It is active again."),
                Err(why) => begun.failed(why),
            }
        })
        .collect()
}

fn release(ward: &Ward<'_>, database: &str, id: &str) -> Result<(), String> {
    let id: i64 = id.parse().map_err(|_| format!("{id} is no job's number"))?;
    let session = ward.open(Some(database), ASK)?;
    ward.execute(&session, &format!("UPDATE cron.job SET active = true WHERE jobid = {id}"))
}
