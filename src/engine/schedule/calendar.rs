//! When a job is due. Owns rules on values alone; never reads a clock.

use super::Job;
use super::record::Outcome;
use crate::engine::config::schedule::{ClockTime, Schedule, WeekTime};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

const DAY: i64 = 24 * 3600;
/// What was day 0, 1970-01-01, in a week that begins on Monday.
const THURSDAY: i64 = 3;
/// A drill takes room and processors: it begins within this of its time of day, or on another day.
const WITHIN: SignedDuration = SignedDuration::from_hours(4);
/// Later than this after its time, a run counts as caught up.
const LATE: SignedDuration = SignedDuration::from_hours(1);
/// Clocks may differ by this much; what lies further ahead was noted by a wrong clock.
pub const SLACK: SignedDuration = SignedDuration::from_mins(5);
/// How often copies are compared, whatever the day's times are.
const CATCH_UP: SignedDuration = SignedDuration::from_mins(15);

/// Why a job runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its time has come.
    Regular,
    /// Its time passed while nobody ran it.
    Missed,
    /// It failed, and the pause is over.
    Retry,
    /// It was never done.
    First,
}

impl Reason {
    /// For a log line; empty where there is nothing to say.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Regular => "",
            Self::Missed => " (its time was missed)",
            Self::Retry => " (again, after a failure)",
            Self::First => " (for the first time)",
        }
    }
}

/// Whether a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    Now(Reason),
    At(Timestamp),
    /// Nobody wants it.
    Never,
}

/// Judges one job of a cluster.
#[must_use]
pub fn due(job: Job, schedule: &Schedule, past: &Outcome, now: Timestamp) -> Due {
    if job == Job::Drill {
        return schedule.drill.map_or(Due::Never, |wanted| drill(wanted, past, now));
    }
    if past.failures > 0
        && let Some(tried) = past.last_try
    {
        let next = tried.saturating_add(pause(schedule, past.failures)).unwrap_or(now);
        // A clock that was set back must not stop the retries.
        return if next <= now || tried > now { Due::Now(Reason::Retry) } else { Due::At(next) };
    }
    let clock = match job {
        Job::BaseBackup => schedule.base_backup,
        Job::Verification => schedule.verification,
        Job::Cleanup => schedule.cleanup,
        Job::CatchUp => {
            return match past.last_success {
                None => Due::Now(Reason::First),
                Some(at) if at > now => Due::Now(Reason::Regular),
                Some(at) => match at.saturating_add(CATCH_UP).unwrap_or(now) {
                    next if next <= now => Due::Now(Reason::Regular),
                    next => Due::At(next),
                },
            };
        }
        Job::Drill => return Due::Never,
    };
    let slot = latest(clock, now);
    let believed = |at: &Timestamp| !is_ahead(*at, now);
    // A success that lies ahead says nothing of when it was; our own last try does, so that the
    // job runs once a day and not again and again.
    let success = match past.last_success {
        Some(at) if !believed(&at) => past.last_try.filter(believed),
        success => success,
    };
    match success {
        None if past.last_success.is_some() => Due::Now(Reason::Regular),
        None => Due::Now(Reason::First),
        Some(at) if at < slot => Due::Now(match now.duration_since(slot) > LATE {
            true => Reason::Missed,
            false => Reason::Regular,
        }),
        Some(_) => Due::At(next(clock, now)),
    }
}

/// A drill is held on its day. One that was missed, or did not pass, is held at the same time of
/// another day; never at any other hour, when somebody may need the machine.
fn drill(wanted: WeekTime, past: &Outcome, now: Timestamp) -> Due {
    let believed = |at: &Timestamp| !is_ahead(*at, now);
    let (week, day) = (latest_in_week(wanted, now), latest(wanted.clock, now));
    let (success, tried) = (past.last_success.filter(believed), past.last_try.filter(believed));
    let next_week = week.saturating_add(SignedDuration::from_secs(7 * DAY)).unwrap_or(now);
    if success.is_some_and(|at| at >= week) {
        return Due::At(next_week);
    }
    let late = now.duration_since(day) > WITHIN;
    // Of one that was never tried it is not known that a week was missed.
    if tried.is_none() && success.is_none() && (late || day != week) {
        return Due::At(next_week);
    }
    if late || tried.is_some_and(|at| at >= day) {
        return Due::At(next(wanted.clock, now));
    }
    Due::Now(match (success, tried) {
        (None, None) => Reason::First,
        _ if past.failures > 0 => Reason::Retry,
        _ if day == week => Reason::Regular,
        _ => Reason::Missed,
    })
}

/// The last time of the week `wanted` at or before `now`.
fn latest_in_week(wanted: WeekTime, now: Timestamp) -> Timestamp {
    let today = now.as_second().div_euclid(DAY);
    let since = ((today + THURSDAY).rem_euclid(7) - wanted.day()).rem_euclid(7);
    let at = (today - since) * DAY + wanted.clock.seconds();
    let at = if at <= now.as_second() { at } else { at - 7 * DAY };
    Timestamp::from_second(at).unwrap_or(now)
}

/// Whether a moment lies further ahead of `now` than clocks may differ.
#[must_use]
pub fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) > SLACK
}

/// The pause after so many failures in a row.
fn pause(schedule: &Schedule, failures: u32) -> SignedDuration {
    let doubled = 1_i64 << failures.saturating_sub(1).min(3);
    SignedDuration::from_mins(i64::from(schedule.retry_minutes.max(1)) * doubled)
}

/// The last time of day `clock` at or before `now`.
fn latest(clock: ClockTime, now: Timestamp) -> Timestamp {
    let today = now.as_second().div_euclid(DAY) * DAY + clock.seconds();
    let at = if today <= now.as_second() { today } else { today - DAY };
    Timestamp::from_second(at).unwrap_or(now)
}

/// The next time of day `clock` after `now`.
fn next(clock: ClockTime, now: Timestamp) -> Timestamp {
    latest(clock, now).saturating_add(SignedDuration::from_secs(DAY)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn done(text: &str) -> Outcome {
        Outcome { last_success: Some(at(text)), ..Outcome::default() }
    }

    fn backup(past: &Outcome, now: &str) -> Due {
        due(Job::BaseBackup, &Schedule::default(), past, at(now))
    }

    #[test]
    fn a_base_backup_is_taken_once_a_day_at_its_time() {
        let past = done("2026-01-13T02:00:05Z");
        assert_eq!(backup(&past, "2026-01-13T09:00:00Z"), Due::At(at("2026-01-14T02:00:00Z")));
        assert_eq!(backup(&past, "2026-01-14T01:59:59Z"), Due::At(at("2026-01-14T02:00:00Z")));
        assert_eq!(backup(&past, "2026-01-14T02:00:00Z"), Due::Now(Reason::Regular));
        // One by hand in the evening does not replace the night's.
        let past = done("2026-01-13T22:00:00Z");
        assert_eq!(backup(&past, "2026-01-14T02:00:10Z"), Due::Now(Reason::Regular));
    }

    #[test]
    fn what_was_missed_is_caught_up_at_once() {
        let past = done("2026-01-10T02:00:05Z");
        assert_eq!(backup(&past, "2026-01-13T14:00:00Z"), Due::Now(Reason::Missed));
        assert_eq!(backup(&Outcome::default(), "2026-01-13T14:00:00Z"), Due::Now(Reason::First));
    }

    #[test]
    fn a_failure_is_tried_again_after_a_pause_that_grows_to_a_limit() {
        let tried = at("2026-01-13T02:00:00Z");
        let pauses: Vec<i64> = (1..=6)
            .map(|failures| {
                let past = Outcome {
                    last_success: Some(at("2026-01-12T02:00:00Z")),
                    last_try: Some(tried),
                    failures,
                    ..Outcome::default()
                };
                match backup(&past, "2026-01-13T02:00:01Z") {
                    Due::At(next) => next.duration_since(tried).as_mins(),
                    Due::Now(_) | Due::Never => 0,
                }
            })
            .collect();
        assert_eq!(pauses, [15, 30, 60, 120, 120, 120]);
    }

    #[test]
    fn a_failure_during_the_day_does_not_wait_for_the_night() {
        let past = Outcome {
            last_success: Some(at("2026-01-12T02:00:00Z")),
            last_try: Some(at("2026-01-13T02:00:00Z")),
            failures: 1,
            ..Outcome::default()
        };
        assert_eq!(backup(&past, "2026-01-13T02:15:00Z"), Due::Now(Reason::Retry));
    }

    #[test]
    fn a_success_that_lies_ahead_stops_nothing_and_is_done_once_a_day() {
        let mut past = done("2031-01-13T02:00:05Z");
        for job in [Job::BaseBackup, Job::Verification, Job::Cleanup] {
            let due = due(job, &Schedule::default(), &past, at("2026-01-13T09:00:00Z"));
            assert_eq!(due, Due::Now(Reason::Regular));
        }
        // The repository's newest backup lies ahead still; the last try was ours.
        past.last_try = Some(at("2026-01-13T09:00:00Z"));
        assert_eq!(backup(&past, "2026-01-13T09:20:00Z"), Due::At(at("2026-01-14T02:00:00Z")));
        assert_eq!(backup(&past, "2026-01-14T02:00:00Z"), Due::Now(Reason::Regular));
        past.last_try = past.last_success;
        assert_eq!(backup(&past, "2026-01-13T09:20:00Z"), Due::Now(Reason::Regular));
        // Clocks that differ a little.
        let past = done("2026-01-13T02:03:00Z");
        assert_eq!(backup(&past, "2026-01-13T02:00:00Z"), Due::At(at("2026-01-14T02:00:00Z")));
    }

    fn drill_at(past: &Outcome, now: &str) -> Due {
        let schedule =
            Schedule { drill: Some("sunday 06:00".parse().unwrap()), ..Schedule::default() };
        due(Job::Drill, &schedule, past, at(now))
    }

    #[test]
    fn a_drill_is_held_on_its_day_and_only_where_one_is_wanted() {
        let none = Outcome::default();
        assert_eq!(
            due(Job::Drill, &Schedule::default(), &none, at("2026-01-18T06:00:00Z")),
            Due::Never
        );
        // 2026-01-18 is a Sunday.
        let sunday = Due::At(at("2026-01-18T06:00:00Z"));
        assert_eq!(drill_at(&none, "2026-01-13T06:00:00Z"), sunday);
        assert_eq!(drill_at(&none, "2026-01-18T05:59:59Z"), sunday);
        assert_eq!(drill_at(&none, "2026-01-18T06:00:00Z"), Due::Now(Reason::First));
        let next = Due::At(at("2026-01-25T06:00:00Z"));
        assert_eq!(drill_at(&none, "2026-01-18T10:00:01Z"), next, "its hours are over");
        let held = done("2026-01-18T06:00:02Z");
        assert_eq!(drill_at(&held, "2026-01-19T06:00:00Z"), next);
        assert_eq!(drill_at(&held, "2026-01-25T06:00:00Z"), Due::Now(Reason::Regular));
    }

    #[test]
    fn a_drill_that_failed_or_was_missed_waits_for_its_hour_of_another_day() {
        let failed = Outcome {
            last_try: Some(at("2026-01-18T06:00:02Z")),
            last_success: Some(at("2026-01-11T06:00:02Z")),
            failures: 1,
            ..Outcome::default()
        };
        let monday = Due::At(at("2026-01-19T06:00:00Z"));
        assert_eq!(drill_at(&failed, "2026-01-18T06:20:00Z"), monday);
        assert_eq!(drill_at(&failed, "2026-01-19T07:00:00Z"), Due::Now(Reason::Retry));
        // The machine was down on Sunday.
        let missed = done("2026-01-11T06:00:02Z");
        let tuesday = Due::At(at("2026-01-20T06:00:00Z"));
        assert_eq!(drill_at(&missed, "2026-01-19T12:00:00Z"), tuesday);
        assert_eq!(drill_at(&missed, "2026-01-20T06:01:00Z"), Due::Now(Reason::Missed));
    }

    proptest! {
        #[test]
        fn whatever_happened_a_job_is_due_within_a_day(
            now in 0_i64..4_000_000_000, success in proptest::option::of(-200_000_i64..200_000),
            tried in proptest::option::of(-200_000_i64..200_000), failures in 0_u32..40,
        ) {
            let stamp = |offset: i64| Timestamp::from_second(now + offset).unwrap();
            let past = Outcome {
                last_success: success.map(stamp), last_try: tried.map(stamp), failures,
                ..Outcome::default()
            };
            let now = stamp(0);
            for job in Job::ALL.into_iter().filter(|job| *job != Job::Drill) {
                if let Due::At(next) = due(job, &Schedule::default(), &past, now) {
                    prop_assert!(next > now);
                    prop_assert!(next.duration_since(now) <= SignedDuration::from_secs(DAY));
                }
            }
        }

        #[test]
        fn the_last_slot_is_within_a_day_and_at_its_time(
            now in 0_i64..4_000_000_000, hour in 0_u8..24, minute in 0_u8..60,
        ) {
            let clock = ClockTime::new(hour, minute).unwrap();
            let now = Timestamp::from_second(now).unwrap();
            let slot = latest(clock, now);
            prop_assert!(slot <= now && now.duration_since(slot).as_secs() < DAY);
            prop_assert_eq!(slot.as_second().rem_euclid(DAY), clock.seconds());
        }
    }
}
