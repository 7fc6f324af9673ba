//! The score card of a drill: how long each stage took, what was a wrong turn, which help was
//! taken. Owns the figures and what they mean, over the incident's journal; looks at no server.

use super::hints;
use super::strike::Truth;
use crate::engine::incident::Incident;
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::{Check, Target, Topic, Verdict};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A hint's note in the journal begins so.
pub const HINT: &str = "Hint ";
/// A salvage that was begun and ended without carrying anything over.
const GIVEN_UP: &str = "A salvage was begun and given up";
/// A note of parts that were brought back holds this; see `restore-parts`.
const PARTS_DONE: &str = ": done, ";

/// Figures of how a drill went. Seconds; `None` where the journal does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Whether what the drill was to prove is proven; `None` where it could not be verified.
    pub hypothesis_held: Option<bool>,
    /// From the incident to its detection.
    pub detect_seconds: Option<f64>,
    /// From detection to the declaration.
    pub declare_seconds: Option<f64>,
    /// From the declaration to the choice of what to do.
    pub decide_seconds: Option<f64>,
    /// From the choice to serving again, or to the parts being back.
    pub restore_seconds: Option<f64>,
    /// From there to the last validation.
    pub validate_seconds: Option<f64>,
    /// What had to be taken back or was refused, in words.
    pub wrong_turns: Vec<String>,
    pub hints_used: u32,
    /// Checks that nobody or nothing ran.
    pub not_run: Vec<String>,
}

/// Moments that the stages are counted from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moments {
    pub detected: Option<Timestamp>,
    pub declared: Option<Timestamp>,
    pub decided: Option<Timestamp>,
    /// Serving again, or the parts are back.
    pub back: Option<Timestamp>,
    pub validated: Option<Timestamp>,
}

impl Moments {
    /// From what the journal says. Detection is what was stated, where it lies between the
    /// incident and the declaration; else the declaration.
    #[must_use]
    pub fn of(incident: &Incident, entries: &[Entry], truth: &Truth) -> Self {
        let clocks = &incident.clocks;
        let declared = clocks.declared;
        let detected = clocks
            .detected
            .filter(|at| *at >= truth.struck_at && declared.is_none_or(|d| *at <= d))
            .or(declared);
        // By the screens an event says it, by the command line a note does.
        let parts = entries.iter().filter(|entry| match &entry.event {
            Event::PartsCarried(_) => true,
            Event::NoteAdded { topic: Topic::Note, text } => text.contains(PARTS_DONE),
            _ => false,
        });
        let parts_back = parts.map(|entry| entry.at).next_back();
        let begun = entries.iter().find(|entry| match &entry.event {
            Event::PartsChosen(_) => true,
            Event::NoteAdded { topic: Topic::Note, text } => text.ends_with(" goes ahead"),
            _ => false,
        });
        Self {
            detected,
            declared,
            decided: clocks.decided.or(begun.map(|entry| entry.at)),
            back: clocks.serving.or(parts_back),
            validated: clocks.validated,
        }
    }

    /// The same where incidents were declared before it: the clocks run from the first of them.
    #[must_use]
    pub fn counting(mut self, earlier: &[Vec<Entry>], truth: &Truth) -> Self {
        for entries in earlier {
            let Ok(incident) = Incident::replay(entries) else { continue };
            let its = Self::of(&incident, entries, truth);
            let first = |one: Option<Timestamp>, other| [one, other].into_iter().flatten().min();
            self.detected = first(self.detected, its.detected);
            self.declared = first(self.declared, its.declared);
        }
        self
    }

    /// Seconds of service or of data that people waited: from detection to being back.
    #[must_use]
    pub fn rto_seconds(&self) -> Option<f64> {
        between(self.detected, self.back)
    }
}

/// The card of a drill's newest incident; `hypothesis_held` follows from `outcome`. What was taken back
/// in the incidents that were declared before it counts, too.
#[must_use]
pub fn of(
    earlier: &[Vec<Entry>],
    incident: &Incident,
    entries: &[Entry],
    truth: &Truth,
    checks: &[Check],
    outcome: Verdict,
) -> Card {
    let moments = Moments::of(incident, entries, truth).counting(earlier, truth);
    let all = || earlier.iter().map(Vec::as_slice).chain([entries]);
    Card {
        hypothesis_held: match outcome {
            Verdict::Verified => Some(true),
            Verdict::Failed => Some(false),
            Verdict::NotRun | Verdict::CouldNotVerify => None,
        },
        detect_seconds: between(Some(truth.struck_at), moments.detected),
        declare_seconds: between(moments.detected, moments.declared),
        decide_seconds: between(moments.declared, moments.decided),
        restore_seconds: between(moments.decided, moments.back),
        validate_seconds: between(moments.back, moments.validated),
        wrong_turns: all().flat_map(wrong_turns).collect(),
        hints_used: all().map(hints).sum(),
        not_run: checks
            .iter()
            .filter(|check| check.verdict == Verdict::NotRun)
            .map(|check| check.title.clone())
            .collect(),
    }
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<f64> {
    Some(to?.duration_since(from?).as_secs_f64().max(0.0))
}

/// What the archive refused, and why, where an entry tells it: see the runner's `met_refusal`.
#[must_use]
pub fn unreached(event: &Event) -> Option<&str> {
    match event {
        Event::CommandRefused { reason, .. } if reason.contains("cannot be reached") => {
            Some(reason)
        }
        _ => None,
    }
}

/// Why the detection that was stated is not the one that counts; `None` where it is, or none was.
#[must_use]
pub fn detection_left_out(incident: &Incident, truth: &Truth) -> Option<String> {
    let clocks = &incident.clocks;
    let stated = clocks.detected?;
    let why = if stated < truth.struck_at {
        "lies before the incident"
    } else if clocks.declared.is_some_and(|declared| stated > declared) {
        "lies behind the declaration"
    } else {
        return None;
    };
    let stated = stated.strftime("%H:%M:%S");
    Some(format!(
        "Counted from the declaration: the detection that was stated, {stated} UTC, {why}."
    ))
}

/// Hints that were taken, or given by a game master.
#[must_use]
pub fn hints(entries: &[Entry]) -> u32 {
    let taken = entries.iter().filter(
        |entry| matches!(&entry.event, Event::NoteAdded { text, .. } if hints::place(text).is_some()),
    );
    u32::try_from(taken.count()).unwrap_or(u32::MAX)
}

/// A failed step is no wrong turn, nor is a point that the archive refuses: what fails is the machine.
/// What somebody took back is one. A salvage is a plan of its own behind the recovery: given up, it is
/// one, whatever was taken back in it and however often it was tried.
fn wrong_turns(entries: &[Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let (mut chosen, mut carried, mut salvage) = (None::<&Target>, 0_u32, false);
    let mut incident = entries.first().and_then(|first| Incident::begin(first).ok());
    for entry in entries {
        if let Some(incident) = incident.as_mut().filter(|one| one.seq < entry.seq) {
            incident.apply(entry);
        }
        // One that touched nothing is gone with its cancelling: known by the plan that was.
        let is_salvage = salvage_of(&entry.event).unwrap_or(salvage);
        let ends = incident.as_ref().is_some_and(|incident| !incident.is_salvaging());
        match &entry.event {
            event if unreached(event).is_some() => {}
            Event::CommandRefused { command, reason } => {
                found.push(format!("\"{command}\" was refused: {reason}"));
            }
            Event::TargetChosen(reach) => {
                // The same point by another way is no other point.
                let before = chosen.replace(&reach.target);
                if before.is_some_and(|before| *before != reach.target) {
                    found.push(format!("The recovery point was chosen anew: {}", reach.target));
                }
            }
            // The same point in another place is no other point.
            Event::TargetMoved { reach, plan }
                if plan.places.left.is_some() && chosen == Some(&reach.target) => {}
            Event::TargetMoved { reach, .. } => {
                found.push(format!("At the target another point was chosen: {}", reach.target));
            }
            Event::RunCancelled { .. } | Event::UndoStarted if is_salvage => {
                let turn = String::from(GIVEN_UP);
                if !found.contains(&turn) {
                    found.push(turn);
                }
            }
            Event::PartsChosen(_) if is_salvage => {}
            Event::PartsChosen(_) => {
                carried += 1;
                if carried > 1 {
                    found.push(String::from("Parts were carried over more than once"));
                }
            }
            Event::RunCancelled { .. } => found.push(String::from("The run was cancelled")),
            Event::UndoStarted => found.push(String::from("The run was put back")),
            _ => {}
        }
        salvage = is_salvage && !ends;
    }
    found
}

/// Whether a plan is a salvage's; `None` where the entry makes none.
fn salvage_of(event: &Event) -> Option<bool> {
    match event {
        Event::PlanMade(plan) => Some(plan.procedure.is_salvage()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::event::Declaration;
    use crate::engine::incident::facts::{Actor, Moment, Role, Tier};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn entry(second: i64, event: Event) -> Entry {
        let actor = Actor { user: String::from("root"), uid: 0, role: Role::Commander };
        Entry { seq: 1, at: at(second), actor, event, prev: String::new() }
    }

    fn journal(mut more: Vec<Entry>) -> Vec<Entry> {
        let declaration = Declaration {
            id: String::from("INC-20270115-001"),
            cluster: String::from("shop"),
            tier: Tier::High,
            environment: String::from("drill"),
            title: String::from("Orders are missing"),
            identity: None,
            drill: Some(String::from("corruption")),
        };
        let mut all = vec![entry(60, Event::IncidentDeclared(declaration))];
        all.append(&mut more);
        for (number, entry) in (1_u64..).zip(&mut all) {
            entry.seq = number;
        }
        all
    }

    fn truth() -> Truth {
        Truth {
            struck_at: at(0),
            committed_at: at(0),
            xid: 1,
            lsn_before: "0/1".parse().unwrap(),
            deleted: 1,
            damaged_table: String::from("public.orders"),
            recent_since: at(-3_600),
            tables: Vec::new(),
        }
    }

    fn note(second: i64, text: &str) -> Entry {
        entry(second, Event::NoteAdded { topic: Topic::Note, text: text.to_owned() })
    }

    #[test]
    fn stages_hints_and_wrong_turns_are_counted() {
        let detected = Event::MomentStated { moment: Moment::FirstDetected, at: at(30) };
        let refused = Event::CommandRefused {
            command: String::from("make_plan"),
            reason: String::from("an operator may not"),
        };
        let entries = journal(vec![
            entry(61, detected),
            note(70, "Hint 1 of 3: look at the suspects"),
            entry(80, refused),
            note(100, "Parts as they were just before: public.audit_log goes ahead"),
            note(130, "Parts as they were just before: done, 5 missing"),
        ]);
        let incident = Incident::replay(&entries).unwrap();
        let card = of(&[], &incident, &entries, &truth(), &[], Verdict::Verified);
        assert_eq!(card.hypothesis_held, Some(true));
        assert_eq!(card.detect_seconds, Some(30.0));
        assert_eq!(card.declare_seconds, Some(30.0));
        assert_eq!(card.decide_seconds, Some(40.0));
        assert_eq!(card.restore_seconds, Some(30.0));
        assert_eq!((card.hints_used, card.wrong_turns.len()), (1, 1));
        assert_eq!(Moments::of(&incident, &entries, &truth()).rto_seconds(), Some(100.0));
    }

    /// A run of the recovery, and salvages behind it: two that were given up, one of which had touched
    /// nothing, and one that was carried over.
    #[test]
    fn a_salvage_that_was_given_up_is_one_wrong_turn_and_none_of_the_recovery() {
        use crate::engine::incident::facts::Procedure;
        use crate::engine::incident::fixture::plan;
        use crate::engine::incident::parts::{Carry, PartsChoice};
        use crate::engine::parts::roles::Missing;
        use crate::engine::parts::work::Into;
        let plan_hash = || plan().hash;
        let mut salvage = plan();
        salvage.procedure = Procedure::Parts {
            sandbox: String::from("/srv/salvage"),
            database: None,
            tables: Vec::new(),
            kept: Some(plan().aside),
        };
        let first = salvage.steps.first().unwrap().id.clone();
        let choice = || {
            let carry = Carry::Of { into: Into::Place(Default::default()) };
            Event::PartsChosen(PartsChoice {
                carry,
                missing_roles: Missing::Ask,
                seen: String::new(),
            })
        };
        let recovery = vec![
            entry(70, Event::PlanMade(plan())),
            entry(71, Event::RunStarted { plan_hash: plan_hash() }),
            entry(72, Event::RunFinished),
        ];
        let begun = |second| {
            vec![
                entry(second, Event::PlanMade(salvage.clone())),
                entry(second, Event::RunStarted { plan_hash: plan_hash() }),
                entry(second, Event::StepStarted { step: first.clone(), attempt: 1 }),
            ]
        };
        let given_up = |second| {
            [
                begun(second),
                vec![
                    entry(second, Event::RunCancelled { step: Some(first.clone()) }),
                    entry(second, Event::UndoStarted),
                    entry(second, Event::UndoFinished),
                ],
            ]
            .concat()
        };
        let untouched = vec![
            entry(90, Event::PlanMade(salvage.clone())),
            entry(91, Event::RunCancelled { step: None }),
        ];
        let carried = |second| {
            [begun(second), vec![entry(second, choice()), entry(second, Event::RunFinished)]]
                .concat()
        };
        let turns = |parts: &[Vec<Entry>]| wrong_turns(&journal(parts.concat()));
        assert_eq!(turns(&[recovery.clone(), carried(80), carried(85)]), Vec::<String>::new());
        let all = [recovery.clone(), given_up(80), untouched.clone(), carried(95)];
        assert_eq!(turns(&all), [GIVEN_UP]);
        assert_eq!(turns(&[recovery.clone(), untouched.clone()]), [GIVEN_UP]);
        // What is taken back of the recovery counts as before, also behind a salvage.
        let again = vec![entry(99, Event::RunCancelled { step: None })];
        assert_eq!(
            turns(&[recovery, untouched, again.clone()]),
            [GIVEN_UP, "The run was cancelled"]
        );
        assert_eq!(turns(&[again]), ["The run was cancelled"]);
    }

    /// Parts that the screens brought back say so by an event, not by a note.
    #[test]
    fn parts_of_the_screens_end_the_restore() {
        use crate::engine::incident::parts::PartsDone;
        use crate::engine::parts::work::Written;
        let (carried, applied, notes) = (Vec::new(), Vec::new(), Vec::new());
        let done = PartsDone::Of(Written { schema: None, carried, applied, notes });
        let entries = journal(vec![entry(130, Event::PartsCarried(done))]);
        let incident = Incident::replay(&entries).unwrap();
        let moments = Moments::of(&incident, &entries, &truth());
        assert_eq!((moments.back, moments.rto_seconds()), (Some(at(130)), Some(70.0)));
    }

    /// Whoever declares anew begins nothing anew: clocks, hints and wrong turns are the drill's.
    #[test]
    fn a_second_incident_wipes_nothing() {
        let turn = Event::CommandRefused {
            command: String::from("make_plan"),
            reason: String::from("an operator may not"),
        };
        let first = journal(vec![note(70, "Hint 1 of 3: look"), entry(80, turn)]);
        let mut second = journal(vec![note(230, "Hint 2 of 3: look again")]);
        second[0].at = at(200);
        let incident = Incident::replay(&second).unwrap();
        let card = of(&[first], &incident, &second, &truth(), &[], Verdict::Failed);
        assert_eq!((card.hints_used, card.wrong_turns.len()), (2, 1));
        assert_eq!((card.detect_seconds, card.declare_seconds), (Some(60.0), Some(0.0)));
    }

    fn chosen(second: i64, lsn: &str) -> Entry {
        use crate::engine::incident::facts::TargetPoint;
        let point = TargetPoint::Lsn(lsn.parse().unwrap());
        let target = Target { point, inclusive: false, timeline: None };
        let reach = serde_json::json!({
            "target": target, "reachable": true, "checks": [], "base": null, "last_kept": null,
            "first_lost": null, "lost_commits": null, "lost_seconds": null, "nearest": [],
            "wal_bytes": 0, "minimum_settings": [], "forecast": null,
        });
        entry(second, Event::TargetChosen(serde_json::from_value(reach).unwrap()))
    }

    #[test]
    fn the_same_point_by_another_way_and_a_refusal_of_the_archive_are_no_wrong_turns() {
        let reason = String::from("The target \"0/1\" cannot be reached. A gap.");
        let refused = Event::CommandRefused { command: String::from("check_reach"), reason };
        assert!(unreached(&refused).is_some_and(|why| why.contains("A gap")));
        let mut entries = journal(vec![entry(70, refused), chosen(80, "0/5"), chosen(90, "0/5")]);
        assert_eq!(wrong_turns(&entries), Vec::<String>::new());
        entries.push(chosen(100, "0/6"));
        assert_eq!(wrong_turns(&entries).len(), 1);
    }

    #[test]
    fn a_detection_that_does_not_count_is_told() {
        let stated = |second| {
            let event = Event::MomentStated { moment: Moment::FirstDetected, at: at(second) };
            let incident = Incident::replay(&journal(vec![entry(61, event)])).unwrap();
            detection_left_out(&incident, &truth())
        };
        assert!(stated(-5).is_some_and(|why| why.contains("before the incident")));
        assert!(stated(61).is_some_and(|why| why.contains("behind the declaration")));
        assert_eq!(stated(30), None);
    }

    #[test]
    fn a_detection_outside_the_incident_counts_from_the_declaration() {
        let wrong = Event::MomentStated { moment: Moment::FirstDetected, at: at(-10_800) };
        let entries = journal(vec![entry(61, wrong)]);
        let incident = Incident::replay(&entries).unwrap();
        let card = of(&[], &incident, &entries, &truth(), &[], Verdict::CouldNotVerify);
        assert_eq!(card.detect_seconds, Some(60.0));
        assert_eq!((card.hypothesis_held, card.restore_seconds), (None, None));
    }
}
