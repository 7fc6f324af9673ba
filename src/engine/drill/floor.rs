//! The floor of a facilitated drill: what a game master asked for and noted so far. Owns what
//! becomes of an order, on values; whoever directs carries out what has to be done in the sandbox.

use super::cast::Cast;
use super::error::DrillError;
use super::hints::{self, At};
use super::master::{ANSWERS, Answered, Desk, LONGEST, Observation, Order, Stage, Wants};
use super::scenario::{BadStatement, Scenario};
use super::strike::Truth;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;

/// Begins what the participants are told from outside, as the journal keeps it.
pub const CALL: &str = "Called in: ";

/// What a game master is to know from the beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Programme {
    pub scenario: Scenario,
    pub struck_at: Timestamp,
    /// What really happened, in a sentence.
    pub truth: String,
}

impl Programme {
    #[must_use]
    pub fn of(scenario: &Scenario, truth: &Truth, root: &Path) -> Self {
        let what = match scenario.incident.statement() {
            Some(bad) => format!("{} ran \"{}\": {}.", bad.role, bad.statement, damage(bad, truth)),
            None => scenario.first_report.clone() + ".",
        };
        let scenario = Scenario { hints: scenario.hints_in(root), ..scenario.clone() };
        Self { scenario, struck_at: truth.struck_at, truth: what }
    }
}

/// What the statement did. A row that was changed is still there.
fn damage(bad: &BadStatement, truth: &Truth) -> String {
    let verb = bad.statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let (rows, table) = (truth.deleted, &bad.table);
    match verb.as_str() {
        "DELETE" | "TRUNCATE" => format!("{rows} rows of {table} are gone"),
        "DROP" => format!("{table} is gone, with all of its rows"),
        "UPDATE" => format!("{rows} rows of {table} are changed, none is gone"),
        _ => format!("{table} is damaged"),
    }
}

/// What is to be done in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Cure(String),
    End(String),
}

/// What an order is judged by that the incident's journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The places of the hints that were told.
    pub told: BTreeSet<usize>,
    /// Where the incident stands.
    pub here: &'static [At],
}

#[derive(Debug)]
pub struct Floor {
    pub desk: Desk,
    programme: Programme,
    begun: Timestamp,
    time_limit_seconds: u64,
    observations: Vec<Observation>,
    /// What the participants are to be told, the first one first.
    untold: Vec<String>,
    answers: Vec<Answered>,
    shown: Option<Stage>,
}

impl Floor {
    #[must_use]
    pub fn new(
        desk: Desk,
        programme: Programme,
        begun: Timestamp,
        time_limit_seconds: u64,
    ) -> Self {
        Self {
            desk,
            programme,
            begun,
            time_limit_seconds,
            observations: Vec::new(),
            untold: Vec::new(),
            answers: Vec::new(),
            shown: None,
        }
    }

    #[must_use]
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// What becomes of an order. `known`: what the incident's journal says.
    pub fn obey(
        &mut self,
        cast: &mut Cast,
        (name, order): (String, Order),
        known: &Known,
        now: Timestamp,
    ) -> Option<Deed> {
        let mut deed = None;
        let done = match order.wants {
            Wants::Release { inject } => cast.release(&inject, now),
            Wants::Cure { inject } => cast.may_cure(&inject).map(|()| {
                deed = Some(Deed::Cure(inject));
            }),
            Wants::Observe { text } => short(&text).map(|text| {
                self.observations.push(Observation { at: now, by: order.by, text });
            }),
            Wants::Say { text } => short(&text).map(|text| self.tell(&text)),
            Wants::Hint => self.hint(known),
            Wants::Abort => {
                deed = Some(Deed::End(String::from("The game master ended the drill.")));
                Ok(())
            }
        };
        self.answers.push(Answered { order: name, refused: done.err() });
        let old = self.answers.len().saturating_sub(ANSWERS);
        self.answers.drain(..old);
        deed
    }

    fn hint(&mut self, known: &Known) -> Result<(), String> {
        let hints = &self.programme.scenario.hints;
        let told = known.told.union(&self.hints_waiting()).copied().collect();
        let next = hints::next_of_all(hints, &told, known.here);
        let note = next.and_then(|next| hints::note(hints, next));
        // As the screens' own: counted alike, and told once.
        self.untold.push(note.ok_or_else(|| String::from("Every hint was given."))?);
        Ok(())
    }

    fn hints_waiting(&self) -> BTreeSet<usize> {
        self.untold.iter().filter_map(|text| hints::place(text)).collect()
    }

    /// Something that the participants are to hear.
    pub fn tell(&mut self, text: &str) {
        self.untold.push(format!("{CALL}{text}"));
    }

    /// What they are to be told next.
    #[must_use]
    pub fn next_to_tell(&self) -> Option<&str> {
        self.untold.first().map(String::as_str)
    }

    /// It was told.
    pub fn was_told(&mut self) {
        if !self.untold.is_empty() {
            self.untold.remove(0);
        }
    }

    /// Shows the windows what changed.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn show(&mut self, cast: &Cast, over: Option<&str>) -> Result<(), DrillError> {
        let stage = self.stage(cast, over);
        if self.shown.as_ref() != Some(&stage) {
            self.desk.show(&stage)?;
            self.shown = Some(stage);
        }
        Ok(())
    }

    fn stage(&self, cast: &Cast, over: Option<&str>) -> Stage {
        let Programme { scenario, struck_at, truth } = &self.programme;
        Stage {
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            hypothesis: scenario.hypothesis.trim().to_owned(),
            truth: truth.clone(),
            begun: self.begun,
            struck_at: *struck_at,
            time_limit_seconds: self.time_limit_seconds,
            rto_seconds: scenario.rto_seconds,
            rpo_seconds: scenario.rpo_seconds,
            hints: scenario.hints.clone(),
            hints_waiting: self.hints_waiting(),
            cues: cast.cues().to_vec(),
            observations: self.observations.clone(),
            untold: self.untold.len(),
            answers: self.answers.clone(),
            over: over.map(str::to_owned),
        }
    }
}

/// One line of text, and not too much of it.
fn short(text: &str) -> Result<String, String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.trim();
    match clean.chars().count() {
        0 => Err(String::from("There is no text.")),
        count if count > LONGEST => Err(format!("At most {LONGEST} characters.")),
        _ => Ok(clean.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::{inject, scenario};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn floor(root: &Path) -> Floor {
        let scenario = scenario::load("corruption").unwrap();
        let programme =
            Programme { scenario, struck_at: at(0), truth: String::from("Rows are gone.") };
        let desk = Desk::of(root);
        desk.furnish().unwrap();
        Floor::new(desk, programme, at(0), 60)
    }

    fn obey(floor: &mut Floor, cast: &mut Cast, wants: Wants) -> (Option<Deed>, Option<String>) {
        let order = Order { by: String::from("ann"), wants };
        let known = Known { told: BTreeSet::from([0]), here: &[At::Plan] };
        let deed = floor.obey(cast, (String::from("1"), order), &known, at(30));
        (deed, floor.answers.last().unwrap().refused.clone())
    }

    #[test]
    fn orders_are_obeyed_or_refused_and_all_of_it_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let (mut floor, injects) = (floor(root.path()), [inject::load("disk-too-small").unwrap()]);
        let mut cast = Cast::of(&injects, true, at(0));
        floor.show(&cast, None).unwrap();
        let name = || String::from("disk-too-small");
        let told = obey(&mut floor, &mut cast, Wants::Cure { inject: name() });
        assert!(told.1.unwrap().contains("has not struck"), "first things first");
        assert_eq!(obey(&mut floor, &mut cast, Wants::Release { inject: name() }), (None, None));
        cast.struck(&name(), at(31));
        let cured = obey(&mut floor, &mut cast, Wants::Cure { inject: name() });
        assert_eq!(cured, (Some(Deed::Cure(name())), None));
        let text = String::from("Nobody\nlooked at the free space");
        assert_eq!(obey(&mut floor, &mut cast, Wants::Observe { text }), (None, None));
        assert!(obey(&mut floor, &mut cast, Wants::Observe { text: String::new() }).1.is_some());
        let ended = obey(&mut floor, &mut cast, Wants::Abort).0;
        assert!(matches!(ended, Some(Deed::End(_))));
        floor.show(&cast, Some("It is over.")).unwrap();
        // A window that is opened anew sees all that went before.
        let stage = Desk::of(root.path()).look().unwrap();
        assert_eq!(stage.observations.len(), 1);
        assert_eq!(stage.observations[0].text, "Nobody looked at the free space");
        assert_eq!(stage.cues[0].released, Some(at(30)));
        assert_eq!(stage.over.as_deref(), Some("It is over."));
    }

    #[test]
    fn a_game_master_reads_what_the_statement_did_and_no_more() {
        let truth = Truth {
            struck_at: at(0),
            committed_at: at(1),
            xid: 7,
            lsn_before: "0/1".parse().unwrap(),
            deleted: 40,
            damaged_table: String::from("public.orders"),
            recent_since: at(0),
            tables: Vec::new(),
        };
        let told = |statement: &str| {
            let bad = BadStatement {
                role: String::from("postgres"),
                statement: statement.to_owned(),
                table: String::from("public.orders"),
                open_for: 0.1,
            };
            damage(&bad, &truth)
        };
        assert_eq!(told("delete from x"), "40 rows of public.orders are gone");
        assert_eq!(
            told("UPDATE x SET y = 0"),
            "40 rows of public.orders are changed, none is gone"
        );
        assert_eq!(told("DROP TABLE x"), "public.orders is gone, with all of its rows");
        assert_eq!(told("WITH x AS (…) SELECT"), "public.orders is damaged");
    }

    #[test]
    fn a_hint_is_for_where_they_stand_and_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let (mut floor, mut cast) = (floor(root.path()), Cast::default());
        let hints = ["Look.", "Think.", "Act."].map(hints::Hint::from);
        floor.programme.scenario.hints = hints.to_vec();
        floor.programme.scenario.hints[2].at = Some(At::Plan);
        // One stands in the journal: taken by the participants themselves.
        assert_eq!(obey(&mut floor, &mut cast, Wants::Hint), (None, None));
        assert_eq!(floor.next_to_tell(), Some("Hint 3 of 3: Act."));
        assert_eq!(obey(&mut floor, &mut cast, Wants::Hint), (None, None));
        assert!(obey(&mut floor, &mut cast, Wants::Hint).1.unwrap().contains("Every hint"));
        floor.show(&cast, None).unwrap();
        let stage = Desk::of(root.path()).look().unwrap();
        assert_eq!(stage.hints_waiting, BTreeSet::from([1, 2]));
        floor.was_told();
        assert_eq!(floor.next_to_tell(), Some("Hint 2 of 3: Think."));
        let text = String::from("The support desk: customers can order again");
        assert_eq!(obey(&mut floor, &mut cast, Wants::Say { text }), (None, None));
        floor.was_told();
        assert!(floor.next_to_tell().unwrap().starts_with("Called in: The support desk"));
    }
}
