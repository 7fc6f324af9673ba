//! The ladder, on values: who is called when, by what has passed and by what is foretold.

use super::*;
use crate::engine::config::escalation::Escalation;
use crate::engine::incident::event::Event;
use crate::engine::incident::fixture::{at, declared, finish, progress, running, start, tell};
use crate::engine::runner::protocol::Progress;
use proptest::prelude::*;

fn ladder() -> Ladder {
    let contact = |level: &str, name: &str| Contact {
        level: level.to_owned(),
        name: name.to_owned(),
        reach: String::from("+49 30 1"),
        clusters: Vec::new(),
    };
    let runbook = Runbook::load(None).unwrap();
    Ladder {
        levels: runbook.ladder.clone(),
        contacts: vec![contact("2", "Rota of the SREs"), contact("4", "Crisis line")],
        again: SignedDuration::from_mins(10),
        rto_seconds: 900,
        heard: true,
    }
}

#[test]
fn a_drill_goes_by_its_scenarios_rto() {
    let config: Config = toml::from_str("").unwrap();
    let runbook = Runbook::load(None).unwrap();
    let mut incident = declared();
    let of_tier = Ladder::new(&config, &runbook, &incident).rto_seconds();
    for scenario in ["corruption", "cross-region", "complete-loss"] {
        incident.declaration.drill = Some(scenario.to_owned());
        let limit = runbook.scenario(scenario).unwrap().rto_seconds;
        assert_eq!(Ladder::new(&config, &runbook, &incident).rto_seconds(), limit, "{scenario}");
    }
    incident.declaration.drill = Some(String::from("one-of-the-teams-own"));
    assert_eq!(Ladder::new(&config, &runbook, &incident).rto_seconds(), of_tier);
}

/// One look: the call is journalled, as the runner does it.
fn look(
    ladder: &Ladder,
    incident: &mut Incident,
    watch: &mut Watch,
    progress: Option<&Progress>,
    time: &str,
) -> Option<Raise> {
    let now = at(time);
    let outlook = Outlook::of(incident, ladder.rto_seconds, progress, now);
    let raise = ladder.call(incident, outlook.as_ref(), watch, now)?;
    tell(incident, time, Event::LevelRaised(raise.clone()));
    Some(raise)
}

fn said(raise: &Option<Raise>) -> Option<(&str, Because, u32)> {
    raise.as_ref().map(|raise| (raise.level.as_str(), raise.because, raise.times))
}

/// An incident whose tier has so long an RTO that time alone decides.
fn patient() -> Ladder {
    Ladder { rto_seconds: 86_400, ..ladder() }
}

#[test]
fn each_level_is_called_once_when_its_time_has_come() {
    let (ladder, mut incident, mut watch) = (patient(), declared(), Watch::default());
    let mut seen = Vec::new();
    for minute in 0..180 {
        let time = format!("{:02}:{:02}:00", 10 + minute / 60, minute % 60);
        if let Some(raise) = look(&ladder, &mut incident, &mut watch, None, &time) {
            let level = raise.level.clone();
            seen.push((time.clone(), raise.level, raise.who));
            tell(&mut incident, &time, Event::LevelAcknowledged { level });
        }
    }
    let told: Vec<(&str, &str, &str)> = seen
        .iter()
        .map(|(time, level, who)| (time.as_str(), level.as_str(), who.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("10:30:00", "2", "Senior site reliability engineer"),
            ("11:00:00", "3", "Database vendor's support"),
            ("12:00:00", "4", "Emergency response team"),
        ]
    );
}

#[test]
fn what_nobody_acknowledges_is_called_again_and_what_somebody_did_is_not() {
    let (ladder, mut incident, mut watch) = (patient(), declared(), Watch::default());
    let mut look =
        |incident: &mut Incident, time: &str| look(&ladder, incident, &mut watch, None, time);
    let first = look(&mut incident, "10:30:00");
    assert_eq!(said(&first), Some(("2", Because::Elapsed, 1)));
    assert_eq!(first.unwrap().contacts, ["Rota of the SREs, +49 30 1"]);
    assert_eq!(look(&mut incident, "10:39:59"), None);
    let second = look(&mut incident, "10:40:00");
    assert_eq!(said(&second), Some(("2", Because::Elapsed, 2)));
    let third = look(&mut incident, "10:50:00").unwrap();
    assert_eq!(third.times, 3);
    assert_eq!(
        third.why,
        "Nobody has answered since 10:30 UTC. It was called for this: It has lasted 30 min since \
         the declaration."
    );
    tell(&mut incident, "10:51:00", Event::LevelAcknowledged { level: String::from("2") });
    assert_eq!(look(&mut incident, "10:59:59"), None);
    let answered = incident.raised[0].acknowledged.as_ref().unwrap();
    assert_eq!((answered.by.as_str(), answered.at), ("ada", at("10:51:00")));
    assert_eq!((incident.raised[0].at, incident.raised[0].last), (at("10:30:00"), at("10:50:00")));
}

#[test]
fn a_forecast_beyond_the_rto_calls_earlier_and_says_so() {
    let (ladder, mut incident, mut watch) = (ladder(), declared(), Watch::default());
    running(&mut incident, "10:02:00");
    start(&mut incident, "10:02:00", "restore-base");
    // 35 minutes to copy: it will serve at 10:38, when level 2 is in charge.
    let slow = progress("restore-base", Some(2100.0));
    // The first seconds of a copy measure nothing.
    assert_eq!(look(&ladder, &mut incident, &mut watch, Some(&slow), "10:02:10"), None);
    let fast = progress("restore-base", Some(30.0));
    assert_eq!(look(&ladder, &mut incident, &mut watch, Some(&fast), "10:02:30"), None);
    assert_eq!(look(&ladder, &mut incident, &mut watch, Some(&slow), "10:02:40"), None);
    let called = look(&ladder, &mut incident, &mut watch, Some(&slow), "10:03:10");
    assert_eq!(said(&called), Some(("2", Because::Forecast, 1)));
    assert_eq!(
        called.unwrap().why,
        "At this rate it serves at 10:38 UTC, 23 min after the RTO. Called before its time, which \
         is 10:30 UTC."
    );
    // A worse forecast calls the level that will be in charge then, and those between.
    let worse = progress("restore-base", Some(9000.0));
    let called = look(&ladder, &mut incident, &mut watch, Some(&worse), "10:04:00").unwrap();
    assert_eq!((called.level.as_str(), called.because), ("4", Because::Forecast));
    assert_eq!(called.who, "Database vendor's support, Emergency response team");
    assert_eq!(called.contacts, ["Crisis line, +49 30 1"]);
    // A better one takes nothing back.
    assert_eq!(look(&ladder, &mut incident, &mut watch, Some(&fast), "10:05:00"), None);
}

#[test]
fn an_rto_that_is_over_calls_the_second_level_whatever_the_time() {
    let (ladder, mut incident, mut watch) =
        (Ladder { rto_seconds: 300, ..ladder() }, declared(), Watch::default());
    assert_eq!(look(&ladder, &mut incident, &mut watch, None, "10:05:00"), None);
    let called = look(&ladder, &mut incident, &mut watch, None, "10:05:01").unwrap();
    assert_eq!((called.level.as_str(), called.because), ("2", Because::Breached));
    assert_eq!(
        called.why,
        "The RTO of 5 min is over since 10:05 UTC. Called before its time, which is 10:30 UTC."
    );
}

#[test]
fn nobody_is_called_once_the_database_serves() {
    let (ladder, mut incident, mut watch) = (patient(), declared(), Watch::default());
    assert!(look(&ladder, &mut incident, &mut watch, None, "10:30:00").is_some());
    assert!(ladder.awaits(&incident, at("10:30:00")) && !ladder.awaits(&incident, at("12:20:00")));
    running(&mut incident, "10:31:00");
    start(&mut incident, "10:31:00", "open");
    finish(&mut incident, "10:32:00", "open");
    assert_eq!(look(&ladder, &mut incident, &mut watch, None, "13:00:00"), None);
    assert!(!ladder.awaits(&incident, at("10:33:00")));
}

#[test]
fn a_ladder_without_levels_calls_nobody() {
    let ladder = Ladder { levels: Vec::new(), ..ladder() };
    let mut incident = declared();
    assert_eq!(look(&ladder, &mut incident, &mut Watch::default(), None, "23:00:00"), None);
}

#[test]
fn the_configuration_gives_contacts_by_cluster() {
    let text = r#"
        again_after_minutes = 5
        [[contacts]]
        level = "2"
        name = "Rota"
        [[contacts]]
        level = "2"
        name = "Another team's"
        reach = "rota@example.org"
        clusters = ["other"]
    "#;
    let read: Escalation = toml::from_str(text).unwrap();
    assert_eq!(read.again_after_minutes, 5);
    assert!(read.contacts[0].is_for("orders") && !read.contacts[1].is_for("orders"));
    assert_eq!(read.contacts[1].to_string(), "Another team's, rota@example.org");
    assert_eq!(Escalation::default().again_after_minutes, 10);
}

proptest! {
    /// Whatever the order of looks, deaths and answers: no level is called as new twice, levels
    /// only rise, and a second call never comes before its time.
    #[test]
    fn a_level_is_new_once(steps in proptest::collection::vec((1_i64..900, 0..4_u8, 0..4000_u32), 1..60)) {
        let (ladder, mut incident, mut watch) = (ladder(), declared(), Watch::default());
        running(&mut incident, "10:00:30");
        start(&mut incident, "10:00:30", "restore-base");
        let mut now = at("10:01:00");
        let mut fresh: Vec<String> = Vec::new();
        let mut last: Option<(String, Timestamp)> = None;
        for (pass, what, eta) in steps {
            now += SignedDuration::from_secs(pass);
            let progress = progress("restore-base", Some(eta.into()));
            let outlook = Outlook::of(&incident, ladder.rto_seconds, Some(&progress), now);
            let raise = ladder.call(&incident, outlook.as_ref(), &mut watch, now);
            let mut tell = |event| {
                let entry = crate::engine::incident::fixture::entry("10:00:00", event);
                incident.apply(&crate::engine::incident::Entry { at: now, ..entry });
            };
            if let Some(raise) = raise {
                if raise.times == 1 {
                    prop_assert!(!fresh.contains(&raise.level));
                    prop_assert!(fresh.last().is_none_or(|below| *below < raise.level));
                    fresh.push(raise.level.clone());
                } else {
                    let (level, then) = last.clone().unwrap();
                    prop_assert_eq!(&level, &raise.level);
                    prop_assert!(now.duration_since(then) >= SignedDuration::from_mins(10));
                }
                last = Some((raise.level.clone(), now));
                tell(Event::LevelRaised(raise));
            }
            match what {
                // A runner died: the next one remembers what the journal says.
                0 => watch = Watch::default(),
                1 => {
                    if let Some(level) = fresh.last().cloned() {
                        tell(Event::LevelAcknowledged { level });
                    }
                }
                _ => {}
            }
        }
    }
}
