//! A GameDay scenario: what happens to the sandbox, what the person is told and what they aim
//! for. Owns the reading of `assets/scenarios/`; never acts.

use super::error::DrillError;
use serde::Deserialize;

/// Every scenario, by name. Adding one is a file and a line here.
const SCENARIOS: [(&str, &str); 1] =
    [("corruption", include_str!("../../../assets/scenarios/corruption.toml"))];

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    pub title: String,
    pub objective: String,
    /// Seconds of data that may be lost.
    pub rpo_seconds: f64,
    /// Seconds until the database serves again.
    pub rto_seconds: f64,
    /// What the drill is to prove or refute.
    pub hypothesis: String,
    /// What the person reads before they begin.
    pub briefing: String,
    pub load: Load,
    pub incident: BadStatement,
}

/// The application's traffic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub transactions_per_second: f64,
    /// Seconds of traffic before the incident.
    pub before_incident: f64,
    /// Seconds of traffic after it, before anybody notices.
    pub after_incident: f64,
}

/// The statement that does the damage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadStatement {
    pub role: String,
    pub statement: String,
    pub table: String,
    /// Seconds between the statement and its commit.
    pub open_for: f64,
}

/// The scenario of that name.
///
/// # Errors
/// Where there is none.
pub fn load(name: &str) -> Result<Scenario, DrillError> {
    let text = SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, text)| text);
    let text = text.ok_or_else(|| DrillError::UnknownScenario {
        name: name.to_owned(),
        known: SCENARIOS.map(|(known, _)| known).join(", "),
    })?;
    toml::from_str(text)
        .map_err(|error| DrillError::BadScenario { name: name.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_reads_and_bears_its_name() {
        for (name, _) in SCENARIOS {
            let scenario = load(name).unwrap();
            assert_eq!(scenario.name, name);
            assert!(scenario.rto_seconds > 0.0 && scenario.load.transactions_per_second > 0.0);
        }
    }

    #[test]
    fn the_targets_are_the_runbooks() {
        let scenario = load("corruption").unwrap();
        assert_eq!((scenario.rpo_seconds, scenario.rto_seconds), (300.0, 900.0));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = load("flood").unwrap_err().to_string();
        assert!(error.contains("corruption"), "{error}");
    }
}
