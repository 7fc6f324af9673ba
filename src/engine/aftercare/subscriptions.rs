//! Subscriptions that were held before the server opened. An open one would connect to a live
//! publisher at once, ask for changes from the recovery point's position, and lose or repeat rows.
//! One that is on is watched for a while: its worker may fail at the first row, again and again.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::explain::count;
use crate::engine::incident::care::{HeldKind, Proposal};
use crate::engine::incident::facts::{Check, Role, Verdict};
use crate::engine::validate::check::begin;
use std::time::{Duration, Instant};

pub(super) const ITEM: Item = Item {
    id: "subscriptions",
    title: "Subscriptions are released",
    looks: "Compares subscriptions with those held before opening; watches whether they receive.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

/// How long a worker is waited for, and watched once it receives. A worker that fails is started
/// again after 5 s (`wal_retrieve_retry_interval`), and lives for milliseconds.
const APPEAR: Duration = Duration::from_secs(15);
const WATCH: Duration = Duration::from_secs(3);
/// After a failure a worker has to live longer than that, to be past what it failed at.
const PAST: u64 = 30;
const PAUSE: Duration = Duration::from_millis(200);

/// Of every subscription: database, name, whether it is on, its worker, whether that has heard of
/// its publisher and for how many seconds it lives, and how often applying and copying failed.
fn list(version: u32) -> String {
    let (errors, of) = match version {
        150_000.. => (
            "e.apply_error_count, e.sync_error_count",
            "LEFT JOIN pg_stat_subscription_stats e ON e.subid = s.oid",
        ),
        _ => ("NULL, NULL", ""),
    };
    // One that helps with a large transaction has a leader.
    let leads = if version >= 160_000 { "AND w.leader_pid IS NULL" } else { "" };
    format!(
        "SELECT d.datname, s.subname, s.subenabled, w.pid, w.received_lsn IS NOT NULL, \
             floor(extract(epoch FROM clock_timestamp() - a.backend_start))::bigint, {errors} \
         FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         LEFT JOIN pg_stat_subscription w ON w.subid = s.oid AND w.relid IS NULL {leads} \
         LEFT JOIN pg_stat_activity a ON a.pid = w.pid {of} ORDER BY 1, 2"
    )
}

/// A subscription as the server tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Now {
    database: String,
    name: String,
    enabled: bool,
    /// The worker that applies.
    pid: Option<String>,
    /// Whether it has heard of its publisher.
    heard: bool,
    /// Seconds.
    lives: u64,
    /// How often applying and copying failed; `None` before PostgreSQL 15.
    errors: Option<(u64, u64)>,
}

impl Now {
    fn from_row(row: &[Option<String>]) -> Self {
        let number = |at| field(row, at).parse::<u64>().ok();
        Self {
            database: field(row, 0).to_owned(),
            name: field(row, 1).to_owned(),
            enabled: field(row, 2) == "t",
            pid: Some(field(row, 3).to_owned()).filter(|pid| !pid.is_empty()),
            heard: field(row, 4) == "t",
            lives: number(5).unwrap_or_default(),
            errors: number(6).zip(number(7)),
        }
    }

    fn failures(&self) -> u64 {
        self.errors.map_or(0, |(apply, copy)| apply + copy)
    }

    fn is_at_work(&self) -> bool {
        self.pid.is_some() && self.heard
    }

    /// Whether it receives, by how it was [`WATCH`] later; `copying` are its tables that are not
    /// whole yet.
    fn judge(&self, later: &Self, copying: &Result<u64, String>) -> (String, Verdict, String) {
        let failures = later.failures();
        let failed = match failures {
            0 => String::new(),
            n => format!(", {} since the recovery", count_of(n, "failure")),
        };
        let told = |found: &str, verdict, detail: String| {
            (format!("enabled, {found}{failed}"), verdict, detail)
        };
        let log = "The server's log says why. Mend that: copy the tables anew, or skip what cannot \
                   be applied.";
        if later.pid.is_none() || self.pid != later.pid || failures > self.failures() {
            return told(
                "no worker that stays",
                Verdict::Failed,
                format!(
                    "It does not receive: its worker ends again and again, or is not there. {log}"
                ),
            );
        }
        if !later.heard {
            let detail = "Its worker runs and has heard nothing of its publisher yet. Look again.";
            return told("waiting for its publisher", Verdict::CouldNotVerify, detail.to_owned());
        }
        match copying {
            Err(why) => {
                let detail = format!("Whether its tables are whole could not be asked: {why}.");
                return told("receiving", Verdict::CouldNotVerify, detail);
            }
            Ok(0) => {}
            Ok(tables) => {
                let found = format!("{} still copied", count_of(*tables, "table"));
                let broken = later.errors.is_some_and(|(_, copy)| copy > 0);
                let verdict = if broken { Verdict::Failed } else { Verdict::CouldNotVerify };
                let detail = match broken {
                    true => format!("Copying has failed. {log}"),
                    false => String::from("Look again when the copy is over."),
                };
                return told(&found, verdict, detail);
            }
        }
        if failures > 0 && later.lives <= PAST {
            let detail = format!(
                "It has failed before, and lives for {} s by now. Look again.",
                later.lives
            );
            return told("receiving", Verdict::CouldNotVerify, detail);
        }
        let detail = "Its worker was seen to receive from its publisher, and every table is whole.";
        told("receiving", Verdict::Verified, detail.to_owned())
    }
}

fn count_of(n: u64, what: &str) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), what)
}

fn listed(ward: &Ward<'_>) -> Result<Vec<Now>, String> {
    let version = ward.ask("SHOW server_version_num")?;
    let version = version.first().map(|row| field(row, 0)).unwrap_or_default();
    let version = version.parse().map_err(|_| format!("\"{version}\" is no version"))?;
    Ok(ward.ask(&list(version))?.iter().map(|row| Now::from_row(row)).collect())
}

/// Every subscription, twice: as soon as the workers of those that are on receive, and then later.
fn watched(ward: &Ward<'_>) -> Result<Vec<(Now, Now)>, String> {
    let begun = Instant::now();
    let first = loop {
        let now = listed(ward)?;
        let waiting = now.iter().any(|one| one.enabled && !one.is_at_work());
        if !waiting || begun.elapsed() >= APPEAR {
            break now;
        }
        ward.tell("waiting for subscriptions' workers", 0, None);
        std::thread::sleep(PAUSE);
    };
    let end = Instant::now() + WATCH;
    loop {
        let later = listed(ward)?;
        let pair = |one: &Now| {
            let same = later.iter().find(|l| l.database == one.database && l.name == one.name);
            (one.clone(), same.cloned().unwrap_or_default())
        };
        let pairs: Vec<_> = first.iter().map(pair).collect();
        let steady = |(one, later): &(Now, Now)| !one.enabled || one.pid == later.pid;
        if Instant::now() >= end
            || !pairs.iter().any(|pair| pair.0.enabled)
            || !pairs.iter().all(steady)
        {
            return Ok(pairs);
        }
        ward.tell("watching subscriptions' workers", 0, None);
        std::thread::sleep(PAUSE);
    }
}

/// How many tables of a subscription are not whole yet.
fn copying(ward: &Ward<'_>, of: &Now) -> Result<u64, String> {
    let session = ward.open(Some(&of.database), ASK)?;
    let sql = format!(
        "SELECT count(*) FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid \
         JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
         WHERE s.subname = '{}' AND r.srsubstate <> 'r'",
        of.name.replace('\'', "''")
    );
    let rows = ward.rows(&session, &sql)?;
    let told = rows.first().map(|row| field(row, 0)).unwrap_or_default();
    told.parse().map_err(|_| format!("\"{told}\" is no number"))
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let all = match watched(ward) {
        Ok(all) => all,
        Err(why) => {
            let begun = begin("subscriptions:server", "Subscriptions can be listed");
            return begun.could_not_verify(why).into();
        }
    };
    if all.is_empty() {
        let begun = begin("subscriptions", "Subscriptions are released");
        return begun.found("none").verified("There is no subscription in this server.").into();
    }
    for (one, later) in &all {
        let (database, name) = (&one.database, &one.name);
        let held = ward.incident.held.iter().any(|held| {
            held.what == HeldKind::Subscription && held.database == *database && held.name == *name
        });
        let begun =
            begin(format!("subscriptions:{database}/{name}"), format!("{database}: \"{name}\""));
        if !one.enabled && held {
            found.propose(
                format!("{database}/{name}"),
                format!("ALTER SUBSCRIPTION \"{}\" ENABLE (database {database})", quoted(name)),
            );
        }
        found.check(match (one.enabled, held, one.failures()) {
            (true, _, _) => {
                let (text, verdict, detail) = one.judge(later, &copying(ward, one));
                begun.found(text).end(verdict, detail)
            }
            (false, _, failures) if failures > 0 => begun
                .found(format!("disabled, {} since the recovery", count_of(failures, "failure")))
                .failed(
                    "It was released and has failed since: the server's log says why. Mend that, \
                     then enable it again.",
                ),
            (false, true, _) => begun.found("held").not_run(
                "It was switched off before the server opened. Its publisher has gone on: \
                 compare the tables or copy them anew, then release it.",
            ),
            (false, false, _) => begun
                .found("disabled")
                .verified("It was disabled at the recovery point already and is left as it is."),
        });
    }
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let held = ward.incident.held.iter().filter(|held| held.what == HeldKind::Subscription);
    held.filter(|held| {
        let key = format!("{}/{}", held.database, held.name);
        proposals.iter().any(|proposal| proposal.key == key)
    })
    .map(|held| {
        let (database, name) = (&held.database, &held.name);
        let begun = begin(
            format!("subscriptions:did:{database}/{name}"),
            format!("{database}: \"{name}\" is released"),
        );
        let sql = format!("ALTER SUBSCRIPTION \"{}\" ENABLE", quoted(name));
        let done = ward.open(Some(database), ASK).and_then(|session| ward.execute(&session, &sql));
        match done {
            Ok(()) => begun.verified("Its worker starts by itself."),
            Err(why) => begun.failed(why),
        }
    })
    .collect()
}

fn quoted(name: &str) -> String {
    name.replace('"', "\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_work(pid: &str, lives: u64, errors: Option<(u64, u64)>) -> Now {
        let pid = (!pid.is_empty()).then(|| pid.to_owned());
        Now { enabled: true, heard: pid.is_some(), pid, lives, errors, ..Now::default() }
    }

    #[test]
    fn only_one_whose_worker_stays_and_hears_receives() {
        let judged = |one: &Now, later: &Now| one.judge(later, &Ok(0)).1;
        for errors in [None, Some((0, 0))] {
            let steady = at_work("7", 9, errors);
            assert_eq!(judged(&steady, &steady), Verdict::Verified);
            let none = at_work("", 0, errors);
            assert_eq!(judged(&none, &none), Verdict::Failed, "no worker");
            assert_eq!(judged(&steady, &none), Verdict::Failed, "it ended");
            assert_eq!(judged(&steady, &at_work("8", 0, errors)), Verdict::Failed, "another");
            let deaf = Now { heard: false, ..steady.clone() };
            assert_eq!(judged(&deaf, &deaf), Verdict::CouldNotVerify);
        }
        // The enabled bit alone, which is all that a dropped one leaves.
        assert_eq!(judged(&at_work("7", 9, None), &Now::default()), Verdict::Failed);
    }

    #[test]
    fn a_failure_counts_until_the_worker_has_lived_past_it() {
        let after = |lives, errors| at_work("7", lives, Some(errors));
        let judged = |one: Now, later: Now| one.judge(&later, &Ok(0)).1;
        assert_eq!(judged(after(3, (4, 0)), after(6, (5, 0))), Verdict::Failed, "it fails now");
        assert_eq!(judged(after(3, (4, 0)), after(6, (4, 0))), Verdict::CouldNotVerify);
        assert_eq!(judged(after(60, (4, 0)), after(63, (4, 0))), Verdict::Verified);
    }

    #[test]
    fn tables_that_are_not_whole_are_no_pass() {
        let steady = at_work("7", 60, Some((0, 0)));
        assert_eq!(steady.judge(&steady, &Ok(1)).1, Verdict::CouldNotVerify);
        let broken = at_work("7", 60, Some((0, 2)));
        assert_eq!(broken.judge(&broken, &Ok(1)).1, Verdict::Failed);
        let unknown = steady.judge(&steady, &Err(String::from("gone")));
        assert_eq!(unknown.1, Verdict::CouldNotVerify);
        assert!(unknown.0.starts_with("enabled, receiving"), "{}", unknown.0);
    }
}
