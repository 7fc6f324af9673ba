//! What is told of the RTO ahead of time, on values.

use super::super::event::{Decision, Event};
use super::super::fixture::{at, declared, detected, finish, progress, running, start, tell};
use super::*;

const LIMIT: u64 = 900;

fn seen(incident: &Incident, progress: Option<&Progress>, now: &str) -> Outlook {
    Outlook::of(incident, LIMIT, progress, at(now)).unwrap()
}

#[test]
fn the_countdown_begins_with_the_detection_and_nothing_is_foretold_from_nothing() {
    let mut incident = declared();
    detected(&mut incident, "09:58:00");
    let outlook = seen(&incident, None, "10:08:00");
    assert_eq!(outlook.limit, at("10:13:00"));
    assert!((outlook.left_seconds - 300.0).abs() < 1e-9);
    assert_eq!((outlook.serves, outlook.standing), (None, Standing::Within));
    assert_eq!(outlook.warning(at("10:08:00")), None);
    assert_eq!(seen(&incident, None, "10:13:01").standing, Standing::Over);
}

#[test]
fn a_plan_that_would_end_too_late_is_told_before_it_starts() {
    let mut incident = declared();
    tell(&mut incident, "10:02:00", Event::PlanMade(super::super::fixture::plan()));
    // 91 to 181 seconds, people not counted.
    assert_eq!(seen(&incident, None, "10:11:00").standing, Standing::Within);
    let outlook = seen(&incident, None, "10:12:30");
    assert_eq!(outlook.standing, Standing::AtRisk);
    assert_eq!(
        outlook.warning(at("10:12:30")).unwrap(),
        "Started now, it may serve as late as 10:15 UTC, 31 s after the RTO."
    );
    let outlook = seen(&incident, None, "10:14:00");
    assert_eq!(outlook.standing, Standing::Late);
    assert_eq!(
        outlook.warning(at("10:14:00")).unwrap(),
        "Started now, it serves at 10:15 UTC at the earliest, 31 s after the RTO."
    );
}

#[test]
fn a_running_step_is_told_by_its_own_pace() {
    let mut incident = declared();
    running(&mut incident, "10:02:00");
    start(&mut incident, "10:02:00", "restore-base");
    finish(&mut incident, "10:03:00", "restore-base");
    start(&mut incident, "10:03:00", "replay");
    let slow = progress("replay", Some(1380.0));
    let outlook = seen(&incident, Some(&slow), "10:03:00");
    assert_eq!(outlook.standing, Standing::Late);
    assert_eq!(
        outlook.warning(at("10:03:00")).unwrap(),
        "At this rate it serves at 10:26 UTC, 11 min after the RTO."
    );
    assert_eq!(outlook.short(at("10:03:00")).unwrap(), "serves 10:26 UTC, 11 min late");
    // What another job does says nothing of the step, which is then told by its plan.
    let other = progress("survey", Some(9000.0));
    let outlook = seen(&incident, Some(&other), "10:03:10");
    let serves = outlook.serves.unwrap();
    assert_eq!((serves.earliest, serves.latest), (at("10:03:31"), at("10:04:01")));
    // A forecast that was overrun is not negative.
    let serves = seen(&incident, None, "10:06:00").serves.unwrap();
    assert_eq!((serves.earliest, serves.latest), (at("10:06:01"), at("10:06:01")));
}

#[test]
fn a_question_is_told_as_if_it_were_answered_now() {
    let mut incident = declared();
    running(&mut incident, "10:02:00");
    for step in ["restore-base", "replay"] {
        start(&mut incident, "10:02:00", step);
        finish(&mut incident, "10:03:00", step);
    }
    start(&mut incident, "10:03:00", "inspect");
    let question = String::from("Promote?");
    let step = || String::from("inspect");
    tell(&mut incident, "10:03:00", Event::StepHeld { step: step(), question });
    let outlook = seen(&incident, None, "10:15:00");
    assert_eq!(outlook.standing, Standing::Late);
    assert_eq!(
        outlook.warning(at("10:15:00")).unwrap(),
        "Answered now, it serves at 10:15 UTC, 1 s after the RTO."
    );
    let decision = Decision::Promote;
    tell(&mut incident, "10:10:00", Event::Decided { step: step(), decision });
    finish(&mut incident, "10:10:00", "inspect");
    start(&mut incident, "10:10:00", "open");
    finish(&mut incident, "10:10:01", "open");
    assert_eq!(seen(&incident, None, "11:00:00").standing, Standing::Met);
    assert_eq!(seen(&incident, None, "11:00:00").serves, None);
}

#[test]
fn what_failed_is_not_foretold_and_another_day_is_named() {
    let mut incident = declared();
    running(&mut incident, "10:02:00");
    start(&mut incident, "10:02:00", "restore-base");
    tell(&mut incident, "10:03:00", Event::RunCancelled { step: None });
    assert_eq!(seen(&incident, None, "10:04:00").serves, None);
    let tomorrow = at("23:59:59") + SignedDuration::from_secs(61);
    assert_eq!(at_utc(tomorrow, at("10:00:00")), "2026-01-14 00:01 UTC");
}

mod shares {
    use super::*;

    #[test]
    fn every_second_of_the_downtime_is_somebodys() {
        let mut incident = declared();
        detected(&mut incident, "09:58:00");
        running(&mut incident, "10:05:00");
        start(&mut incident, "10:05:00", "restore-base");
        finish(&mut incident, "10:06:00", "restore-base");
        start(&mut incident, "10:06:00", "replay");
        // The runner dies some time after that, and is started again at 10:09.
        let started = Event::RunnerStarted { pid: 1, version: String::new(), resumed: true };
        tell(&mut incident, "10:09:00", started);
        let finding = String::new();
        let step = String::from("replay");
        tell(&mut incident, "10:09:01", Event::StepInterrupted { step, finding });
        start(&mut incident, "10:11:01", "replay");
        let half = incident.shares(at("10:12:00")).unwrap();
        assert!((half.machine - (60.0 + 1.0 + 59.0)).abs() < 1e-9, "{half:?}");
        finish(&mut incident, "10:12:01", "replay");
        start(&mut incident, "10:12:01", "open");
        finish(&mut incident, "10:12:02", "open");
        tell(&mut incident, "10:30:00", Event::RunFinished);
        let shares = incident.shares(at("12:00:00")).unwrap();
        let expected = (420.0, 120.0, 60.0 + 1.0 + 60.0 + 1.0, 180.0);
        assert_eq!((shares.deciding, shares.waiting, shares.machine, shares.unattended), expected);
        assert_eq!(Some(shares.total), incident.clocks.rto_seconds(at("12:00:00")));
        assert!((shares.percent(shares.human()) - 540.0 / 842.0 * 100.0).abs() < 1e-9);
    }
}
