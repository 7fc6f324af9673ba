//! What else goes wrong in a drill: hidden until it strikes, and the same again for the same seed.
//! Owns the definitions, which are data in `assets/injects/`, and their choice; what is done to
//! the sandbox is in `drill::act`, and when is `drill::director`'s.

use super::error::DrillError;
use super::scenario::{Disaster, Expected};
use serde::{Deserialize, Serialize};

/// Every inject, by name. Adding one is a file, a line here, and what it does in `act`.
const INJECTS: [(&str, &str); 10] = [
    ("wrong-report", include_str!("../../../assets/injects/wrong-report.toml")),
    ("time-zone", include_str!("../../../assets/injects/time-zone.toml")),
    ("archive-gap", include_str!("../../../assets/injects/archive-gap.toml")),
    ("damaged-backup", include_str!("../../../assets/injects/damaged-backup.toml")),
    ("key-denied", include_str!("../../../assets/injects/key-denied.toml")),
    ("repository-down", include_str!("../../../assets/injects/repository-down.toml")),
    ("disk-too-small", include_str!("../../../assets/injects/disk-too-small.toml")),
    ("misleading-names", include_str!("../../../assets/injects/misleading-names.toml")),
    ("commander-absent", include_str!("../../../assets/injects/commander-absent.toml")),
    ("server-wont-start", include_str!("../../../assets/injects/server-wont-start.toml")),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    pub name: String,
    pub title: String,
    /// The kinds of incident that it can come on top of.
    pub fits: Vec<String>,
    /// Those that it can come on top of where a game master releases it: nobody plays them alone.
    #[serde(default)]
    pub fits_held: Vec<String>,
    pub strikes: When,
    pub met: Met,
    /// Takes the place of the scenario's.
    #[serde(default)]
    pub first_report: Option<String>,
    /// What it was: told when the drill is over.
    pub what: String,
    /// What is the right thing to do.
    pub cure: String,
    /// What others do about it once it was noticed, in a line that the incident then shows.
    #[serde(default)]
    pub relief: Option<String>,
    /// Seconds from its being noticed to that.
    #[serde(default)]
    pub relief_seconds: u64,
    /// Where it is to be refused: what the refusal has to name, as the proof of reach calls it.
    #[serde(default)]
    pub refused_for: Option<String>,
    pub expected: Expected,
}

/// When it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// It is in what people are told, and nowhere else.
    Report,
    /// Before the first backup.
    Beforehand,
    /// Right after the incident.
    Incident,
    /// Just before the base backup is read.
    Restore,
}

/// Where in a recovery people come to meet it, in the order in which they get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Met {
    /// What they are told first.
    Report,
    /// The proof that a point can be reached.
    Proof,
    /// The choice of the point, which not everybody may make.
    Choice,
    /// The check of the base backup.
    Backup,
    /// The copying of the base backup.
    Restore,
    /// The start of what was restored.
    Start,
}

impl Inject {
    #[must_use]
    pub fn fits(&self, incident: &Disaster) -> bool {
        self.fits.iter().any(|fit| fit == kind(incident))
    }

    /// Whether it fits a drill that a game master leads.
    #[must_use]
    pub fn fits_led(&self, incident: &Disaster) -> bool {
        self.fits(incident) || self.fits_held.iter().any(|fit| fit == kind(incident))
    }
}

fn kind(incident: &Disaster) -> &'static str {
    match incident {
        Disaster::Statement(_) => "statement",
        Disaster::Table(_) => "table",
        Disaster::DataDirectory => "data-directory",
        Disaster::Region => "region",
    }
}

/// The inject of that name.
///
/// # Errors
/// Where there is none.
pub fn load(name: &str) -> Result<Inject, DrillError> {
    let found = INJECTS.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| DrillError::UnknownInject {
        name: name.to_owned(),
        known: INJECTS.map(|(known, _)| known).join(", "),
    })?;
    toml::from_str(text)
        .map_err(|error| DrillError::BadScenario { name: name.to_owned(), why: error.to_string() })
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Inject> {
    INJECTS.iter().filter_map(|(name, _)| load(name).ok()).collect()
}

/// One that fits, for the seed: the same seed gives the same.
///
/// # Errors
/// Where none fits.
pub fn by_seed(seed: u64, incident: &Disaster) -> Result<Inject, DrillError> {
    let mut fit: Vec<Inject> = all().into_iter().filter(|one| one.fits(incident)).collect();
    if fit.is_empty() {
        return Err(DrillError::UnknownInject {
            name: String::from("random"),
            known: INJECTS.map(|(known, _)| known).join(", "),
        });
    }
    // Neighbouring seeds are not to give neighbouring injects.
    let mixed = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let at = usize::try_from(mixed).unwrap_or_default() % fit.len();
    Ok(fit.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::scenario;

    #[test]
    fn every_inject_reads_bears_its_name_and_fits_something() {
        for (name, _) in INJECTS {
            let inject = load(name).unwrap();
            assert_eq!(inject.name, name);
            assert!(!inject.what.is_empty() && !inject.cure.is_empty(), "{name}");
            let refused = inject.expected == Expected::Refused;
            assert_eq!(refused, inject.refused_for.is_some(), "{name}");
            let fits = ["corruption", "table-loss", "complete-loss", "cross-region"]
                .iter()
                .filter(|name| inject.fits(&scenario::load(name).unwrap().incident))
                .count();
            assert!(fits == inject.fits.len() && fits > 0, "{name}");
        }
    }

    #[test]
    fn a_led_drill_of_every_scenario_has_something_to_release() {
        use crate::engine::drill::cast::can_wait;
        for name in ["corruption", "table-loss", "complete-loss", "cross-region"] {
            let incident = scenario::load(name).unwrap().incident;
            let led = |one: &Inject| one.fits_led(&incident) && can_wait(one);
            assert!(all().iter().filter(|one| led(one)).count() >= 2, "{name}");
        }
        let table = scenario::load("table-loss").unwrap().incident;
        assert!(!load("key-denied").unwrap().fits(&table), "nobody plays it alone");
    }

    #[test]
    fn the_same_seed_chooses_the_same_and_seeds_differ() {
        let incident = scenario::load("corruption").unwrap().incident;
        let names: Vec<String> =
            (0..40).map(|seed| by_seed(seed, &incident).unwrap().name).collect();
        let again: Vec<String> =
            (0..40).map(|seed| by_seed(seed, &incident).unwrap().name).collect();
        assert_eq!(names, again);
        let mut distinct = names;
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() >= 8, "{distinct:?}");
    }
}
