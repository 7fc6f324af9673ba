//! When somebody has to be woken: a backup or archived WAL older than the tier allows. Owns the
//! rules on values; never asks a server or a repository. What could not be learnt is an alarm of
//! its own, never silence.

use super::Job;
use super::calendar;
use super::record::Record;
use crate::engine::runbook::TierTarget;
use crate::engine::wal::settings::{self, ArchiverSettings};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// A daily backup may take this long beyond its day before it is missed.
const DAILY: SignedDuration = SignedDuration::from_hours(26);

/// What is known of a cluster's protection at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    pub at: Timestamp,
    /// When the newest base backup ended; or why that is not known.
    pub newest_backup: Result<Option<Timestamp>, String>,
    /// When the newest WAL file was written to a repository; or why that is not known.
    pub newest_wal: Result<Option<Timestamp>, String>,
    pub archiver: Result<ArchiverSettings, String>,
    /// The server says that this file is archived, and no repository has it.
    pub missing: Option<String>,
    /// What repositories still lack, one alarm each.
    pub debts: Vec<Alarm>,
    /// Repositories that could not be asked, and why: what they hold and lack is not known.
    pub unasked: Vec<(String, String)>,
}

/// One thing that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Stable while the alarm lasts, such as `backup-age`.
    pub id: String,
    pub text: String,
}

fn alarm(id: impl Into<String>, text: impl Into<String>) -> Alarm {
    Alarm { id: id.into(), text: text.into() }
}

/// All alarms of a cluster, the worst first.
#[must_use]
pub fn alarms(health: &Health, record: &Record, tier: &TierTarget) -> Vec<Alarm> {
    let mut found = Vec::new();
    let rpo = SignedDuration::from_secs(i64::try_from(tier.rpo_seconds).unwrap_or(i64::MAX));
    let age = |at: Timestamp| health.at.duration_since(at);
    wal(health, rpo, &mut found);
    match &health.newest_backup {
        Ok(Some(at)) if calendar::is_ahead(*at, health.at) => found.push(alarm(
            "backup-ahead",
            format!("the newest backup lies in the future ({at:.0}): the clock is or was wrong"),
        )),
        Ok(Some(at)) if age(*at) > DAILY => found.push(alarm(
            "backup-age",
            format!("the newest base backup ended {} ago", span(age(*at))),
        )),
        Ok(Some(_)) => {}
        Ok(None) => found.push(alarm("backup-none", "there is no base backup")),
        // Told once, by the repository's own alarm.
        Err(_) if !health.unasked.is_empty() => {}
        Err(why) => found.push(alarm(
            "backup-unknown",
            format!("the base backups could not be looked at: {why}"),
        )),
    }
    for (job, outcome) in &record.jobs {
        if outcome.failures > 0 {
            let times = if outcome.failures == 1 { "" } else { " again and again" };
            found.push(alarm(
                format!("job-{}", job_id(*job)),
                format!("the {} failed{times}: {}", job.word(), outcome.said),
            ));
        }
    }
    found.extend(health.debts.iter().cloned());
    for (name, why) in &health.unasked {
        found.push(alarm(
            format!("repository-{name}"),
            format!("the repository \"{name}\" could not be asked: {why}"),
        ));
    }
    found
}

fn wal(health: &Health, rpo: SignedDuration, found: &mut Vec<Alarm>) {
    let age = |at: Timestamp| health.at.duration_since(at);
    let archiver = match &health.archiver {
        Ok(archiver) => archiver,
        Err(why) => {
            found.push(alarm("server", format!("the server could not be asked: {why}")));
            // Without the server's word only the age of what arrived tells.
            match &health.newest_wal {
                Ok(Some(at)) if age(*at) > rpo => found.push(alarm(
                    "wal-age",
                    format!(
                        "the newest archived WAL is {} old; the tier allows {}",
                        span(age(*at)),
                        span(rpo)
                    ),
                )),
                Ok(Some(_)) => {}
                Ok(None) => found.push(alarm("wal-none", "no WAL was ever archived")),
                Err(_) if !health.unasked.is_empty() => {}
                Err(why) => found.push(alarm(
                    "wal-unknown",
                    format!("the archive could not be looked at: {why}"),
                )),
            }
            return;
        }
    };
    let limit = u64::try_from(rpo.as_secs()).unwrap_or(0);
    for problem in settings::problems(archiver, limit) {
        // The first words stay while the trouble lasts; figures behind them change.
        let words: Vec<&str> = problem.split(' ').take(2).collect();
        found.push(alarm(format!("archiving: {}", words.join(" ")), problem.clone()));
    }
    if let Some(name) = &health.missing {
        found.push(alarm(
            "wal-missing",
            format!("the server says that {name} is archived, and no repository has it"),
        ));
    }
    if let Err(why) = &health.newest_wal
        && health.unasked.is_empty()
    {
        found.push(alarm("wal-unknown", format!("the archive could not be looked at: {why}")));
    }
}

fn job_id(job: Job) -> &'static str {
    match job {
        Job::BaseBackup => "base-backup",
        Job::CatchUp => "catch-up",
        Job::Verification => "verification",
        Job::Cleanup => "cleanup",
        Job::Drill => "drill",
    }
}

/// Such as `3 h 05 min`, `12 min`, `40 s`.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match (seconds / 86_400, seconds / 3600, seconds / 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {:02} min", minutes % 60),
        (days, hours, _) => format!("{days} d {:02} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::explain::{Explanation, Kind};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn sound() -> Health {
        Health {
            at: at("2026-01-13T12:00:00Z"),
            newest_backup: Ok(Some(at("2026-01-13T02:10:00Z"))),
            newest_wal: Ok(Some(at("2026-01-13T11:00:00Z"))),
            archiver: Ok(ArchiverSettings {
                archive_mode: "on".into(),
                archive_command: "lifeboat archive-wal %p".into(),
                archive_library: String::new(),
                archive_timeout: 60,
                wal_level: "replica".into(),
                in_recovery: false,
                last_archived: None,
                last_archived_at: None,
                last_failed: None,
                last_failed_at: None,
                failed_count: 0,
                waiting: Some(0),
                waiting_since: None,
                at: at("2026-01-13T12:00:00Z"),
            }),
            missing: None,
            debts: Vec::new(),
            unasked: Vec::new(),
        }
    }

    fn ids(health: &Health) -> Vec<String> {
        let tier = TierTarget { rpo_seconds: 300, ..TierTarget::default() };
        alarms(health, &Record::default(), &tier).into_iter().map(|a| a.id).collect()
    }

    fn archiver(change: impl FnOnce(&mut ArchiverSettings)) -> Health {
        let mut health = sound();
        if let Ok(archiver) = &mut health.archiver {
            change(archiver);
        }
        health
    }

    #[test]
    fn a_quiet_server_with_everything_archived_wakes_nobody() {
        assert_eq!(ids(&sound()), Vec::<String>::new());
        let waiting = archiver(|a| a.waiting_since = Some(at("2026-01-13T11:56:00Z")));
        assert_eq!(ids(&waiting), Vec::<String>::new(), "within the RPO");
    }

    #[test]
    fn each_trouble_has_its_alarm() {
        let cases = [
            (
                archiver(|a| a.waiting_since = Some(at("2026-01-13T11:50:00Z"))),
                "archiving: WAL has",
            ),
            (archiver(|a| a.archive_mode = "off".into()), "archiving: archive_mode is"),
            (archiver(|a| a.archive_timeout = 0), "archiving: archive_timeout is"),
            (archiver(|a| a.archive_timeout = 900), "archiving: archive_timeout is"),
            (
                archiver(|a| a.last_failed_at = Some(at("2026-01-13T11:59:00Z"))),
                "archiving: The last",
            ),
            (Health { missing: Some("00000001000000000000000A".into()), ..sound() }, "wal-missing"),
            (Health { newest_backup: Ok(None), ..sound() }, "backup-none"),
            (Health { newest_backup: Err("down".into()), ..sound() }, "backup-unknown"),
            (Health { newest_wal: Err("down".into()), ..sound() }, "wal-unknown"),
            (
                Health { newest_backup: Ok(Some(at("2026-01-12T02:10:00Z"))), ..sound() },
                "backup-age",
            ),
            (
                Health { debts: vec![alarm("debt-b-wal", "b lacks 3 WAL files")], ..sound() },
                "debt-b-wal",
            ),
            (
                // One that is down is told once.
                Health {
                    newest_backup: Err("down".into()),
                    newest_wal: Err("down".into()),
                    unasked: vec![("b".into(), "down".into())],
                    ..sound()
                },
                "repository-b",
            ),
        ];
        let ahead = Ok(Some(at("2031-01-13T02:10:00Z")));
        assert_eq!(ids(&Health { newest_backup: ahead, ..sound() }), ["backup-ahead"]);
        for (health, id) in cases {
            assert_eq!(ids(&health), [id]);
        }
    }

    #[test]
    fn without_the_server_the_age_of_what_arrived_tells() {
        let mut health = Health { archiver: Err("no answer".into()), ..sound() };
        assert_eq!(ids(&health), ["server", "wal-age"]);
        health.newest_wal = Ok(Some(at("2026-01-13T11:59:00Z")));
        assert_eq!(ids(&health), ["server"]);
        health.newest_wal = Ok(None);
        assert_eq!(ids(&health), ["server", "wal-none"]);
    }

    #[test]
    fn a_job_that_fails_is_an_alarm_until_it_succeeds() {
        let failed =
            Explanation::new(Kind::Storage, "The volume is full.", "Nothing.", "Make room.");
        let begun = at("2026-01-13T05:00:00Z");
        let mut record = Record::default();
        let outcome = record.of(Job::Cleanup).after(begun, &Err(failed));
        record.jobs.insert(Job::Cleanup, outcome.clone());
        let found =
            alarms(&sound(), &record, &TierTarget { rpo_seconds: 300, ..TierTarget::default() });
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("The volume is full."), "{found:?}");
        record.jobs.insert(Job::Cleanup, outcome.after(begun, &Ok(String::new())));
        let tier = TierTarget { rpo_seconds: 300, ..TierTarget::default() };
        assert!(alarms(&sound(), &record, &tier).is_empty());
    }

    #[test]
    fn spans_are_short() {
        let cases =
            [(5, "5 s"), (65, "1 min"), (3 * 3600 + 300, "3 h 05 min"), (90_000, "1 d 01 h")];
        for (seconds, said) in cases {
            assert_eq!(span(SignedDuration::from_secs(seconds)), said);
        }
    }
}
