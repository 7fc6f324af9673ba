//! A GameDay scenario: what happens to the sandbox, what the person is told and what they aim
//! for. Owns the reading and judging of scenario files, the built-in ones of `assets/scenarios/`
//! and a team's own; never acts.

use super::error::DrillError;
use super::hints::Hint;
use super::{inject, pairs};
use crate::engine::runbook::ScenarioTarget;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every built-in scenario, by name, in the runbook's order. Adding one is a file and a line here.
const SCENARIOS: [(&str, &str); 4] = [
    ("corruption", include_str!("../../../assets/scenarios/corruption.toml")),
    ("table-loss", include_str!("../../../assets/scenarios/table-loss.toml")),
    ("complete-loss", include_str!("../../../assets/scenarios/complete-loss.toml")),
    ("cross-region", include_str!("../../../assets/scenarios/cross-region.toml")),
];
/// Words of the command line, which no scenario can be named.
const RESERVED: [&str; 10] = [
    "list", "show", "validate", "history", "finding", "findings", "settle", "abort", "master",
    "help",
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    pub title: String,
    pub objective: String,
    /// Seconds of data that may be lost, where there is a target.
    #[serde(default)]
    pub rpo_seconds: Option<f64>,
    /// Seconds until the database serves again.
    pub rto_seconds: f64,
    /// How it is to end where all goes well.
    #[serde(default)]
    pub expected: Expected,
    /// What the drill is to prove or refute.
    pub hypothesis: String,
    /// What the person reads before they begin.
    pub briefing: String,
    /// What whoever noticed it says, in one line.
    pub first_report: String,
    /// What was changed shortly before, in one line.
    pub changes: String,
    /// Told one by one, on request; see `drill::hints`. `{lifeboat}` stands for the sandbox's own
    /// command.
    #[serde(default)]
    pub hints: Vec<Hint>,
    /// What else goes wrong, by name, without being asked for.
    #[serde(default)]
    pub injects: Vec<String>,
    pub load: Load,
    /// The line to a second, far repository, where the scenario has one.
    #[serde(default)]
    pub link: Option<Link>,
    pub incident: Disaster,
}

impl Scenario {
    /// The hints as they are told in the sandbox at `root`.
    #[must_use]
    pub fn hints_in(&self, root: &Path) -> Vec<Hint> {
        let (program, config) = (root.join("bin/lifeboat"), root.join("lifeboat.toml"));
        let lifeboat = format!("{} --config {}", program.display(), config.display());
        let told = |hint: &Hint| Hint { text: hint.text.replace("{lifeboat}", &lifeboat), ..*hint };
        self.hints.iter().map(told).collect()
    }

    /// What it is measured by, as a runbook says it. Whole seconds.
    #[must_use]
    pub fn target(&self) -> ScenarioTarget {
        ScenarioTarget {
            id: self.name.clone(),
            title: self.title.clone(),
            objective: self.objective.clone(),
            rpo_seconds: self.rpo_seconds.map(|seconds| seconds.round() as u64),
            rto_seconds: self.rto_seconds.round() as u64,
            omit: false,
        }
    }
}

/// The runbook of a drill: the team's own, where it has one, and the scenario's targets laid over it.
/// All that looks at an incident of the drill goes by it. The text of a file.
///
/// # Errors
/// Where the team's cannot be read, or it cannot be written down.
pub fn runbook(team: Option<&str>, scenario: Option<&Scenario>) -> io::Result<String> {
    let mut whole: toml::Table = team.unwrap_or("").parse().map_err(io::Error::other)?;
    if let Some(scenario) = scenario {
        let own = toml::Value::try_from(scenario.target()).map_err(io::Error::other)?;
        let all = whole.entry("scenarios").or_insert_with(|| toml::Value::Array(Vec::new()));
        let all = all.as_array_mut().ok_or_else(|| io::Error::other("scenarios is no list"))?;
        all.retain(|one| one.get("id") != own.get("id"));
        all.push(own);
    }
    toml::to_string(&whole).map_err(io::Error::other)
}

/// How a drill is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// The data is back, proven.
    #[default]
    Recovered,
    /// What cannot be done is refused, with the true reason, and nothing was touched.
    Refused,
}

impl Expected {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Refused => "refused",
        }
    }
}

/// The application's traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub transactions_per_second: f64,
    /// Seconds of traffic before the incident.
    pub before_incident: f64,
    /// Seconds of traffic after it, before anybody notices.
    pub after_incident: f64,
}

/// A line that is slower than a local disk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// 10^6 bytes.
    pub megabytes_per_second: f64,
    /// Of each question and its answer.
    pub latency_ms: u32,
}

/// What happens to the shop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Disaster {
    /// A statement damages one table; the whole cluster goes back to before it.
    Statement(BadStatement),
    /// A statement empties one table; that table alone is brought back, and the shop stays open.
    Table(BadStatement),
    /// The server dies and its data directory is gone.
    DataDirectory,
    /// The same, and the near repository is gone with it.
    Region,
}

impl Disaster {
    /// The statement that does the damage, where one does.
    #[must_use]
    pub fn statement(&self) -> Option<&BadStatement> {
        match self {
            Self::Statement(bad) | Self::Table(bad) => Some(bad),
            Self::DataDirectory | Self::Region => None,
        }
    }
}

/// The statement that does the damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadStatement {
    pub role: String,
    pub statement: String,
    pub table: String,
    /// Seconds between the statement and its commit.
    pub open_for: f64,
}

/// A scenario and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    pub name: String,
    pub title: String,
    /// The file of a team's own; `None` for a built-in one.
    pub file: Option<PathBuf>,
    /// Why a file cannot be used; empty where it can.
    pub problems: Vec<String>,
}

/// The built-in scenario of that name.
///
/// # Errors
/// Where there is none.
pub fn load(name: &str) -> Result<Scenario, DrillError> {
    load_from(name, None)
}

/// The scenario of that name: a team's own in `folder` before a built-in one.
///
/// # Errors
/// Where there is none, or it cannot be used.
pub fn load_from(name: &str, folder: Option<&Path>) -> Result<Scenario, DrillError> {
    if let Some(folder) = folder {
        let path = folder.join(format!("{name}.toml"));
        if is_name(name) && path.is_file() {
            return read(&path);
        }
    }
    let text = SCENARIOS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    let text = text.ok_or_else(|| DrillError::UnknownScenario {
        name: name.to_owned(),
        known: list(folder).into_iter().map(|one| one.name).collect::<Vec<_>>().join(", "),
    })?;
    judged(name, text)
}

/// The scenario in a file, judged.
///
/// # Errors
/// Where it cannot be read, or used.
pub fn read(path: &Path) -> Result<Scenario, DrillError> {
    let text =
        fs::read_to_string(path).map_err(DrillError::file(path, "the scenario cannot be read"))?;
    let scenario = judged(&path.display().to_string(), &text)?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    if stem != Some(scenario.name.as_str()) {
        return Err(DrillError::BadScenario {
            name: path.display().to_string(),
            why: format!("its name is \"{}\" and its file is not called so", scenario.name),
        });
    }
    Ok(scenario)
}

/// The scenario that a sandbox keeps for its screens, whatever the file is called.
///
/// # Errors
/// Where it cannot be read, or used.
pub fn read_kept(path: &Path) -> Result<Scenario, DrillError> {
    let text =
        fs::read_to_string(path).map_err(DrillError::file(path, "the scenario cannot be read"))?;
    judged(&path.display().to_string(), &text)
}

/// Every scenario, the runbook's first; files that cannot be used are told with the reason.
#[must_use]
pub fn list(folder: Option<&Path>) -> Vec<Listed> {
    let mut all: Vec<Listed> = SCENARIOS
        .iter()
        .filter_map(|(name, text)| judged(name, text).ok())
        .map(|one| Listed { name: one.name, title: one.title, file: None, problems: Vec::new() })
        .collect();
    let mut own: Vec<PathBuf> = folder
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    own.sort();
    for path in own {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (title, problems) = match read(&path) {
            Ok(scenario) => (scenario.title, Vec::new()),
            Err(error) => (String::new(), vec![error.to_string()]),
        };
        // A team's file of the same name stands in the built-in one's place.
        all.retain(|one| one.name != stem);
        all.push(Listed { name: stem, title, file: Some(path), problems });
    }
    all
}

fn judged(name: &str, text: &str) -> Result<Scenario, DrillError> {
    let bad = |why: String| DrillError::BadScenario { name: name.to_owned(), why };
    let scenario: Scenario = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
    let problems = problems(&scenario);
    if problems.is_empty() { Ok(scenario) } else { Err(bad(problems.join("; "))) }
}

/// What is wrong with a scenario that could be read.
#[must_use]
pub fn problems(scenario: &Scenario) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |is: bool, what: &str| {
        if is {
            found.push(what.to_owned());
        }
    };
    wrong(!is_name(&scenario.name), "name has other characters than a-z, 0-9 and -");
    wrong(
        RESERVED.contains(&scenario.name.as_str()),
        "name is a word of the command line: list, show, validate, …",
    );
    let sane = |seconds: f64, most: f64| seconds.is_finite() && (0.0..=most).contains(&seconds);
    let day = 86_400.0;
    wrong(
        !sane(scenario.rto_seconds, 30.0 * day) || scenario.rto_seconds < 1.0,
        "rto_seconds is no time",
    );
    wrong(scenario.rpo_seconds.is_some_and(|rpo| !sane(rpo, 30.0 * day)), "rpo_seconds is no time");
    let load = &scenario.load;
    wrong(
        !sane(load.transactions_per_second, 10_000.0) || load.transactions_per_second < 0.1,
        "load.transactions_per_second is not between 0.1 and 10000",
    );
    wrong(
        !sane(load.before_incident, 3_600.0) || !sane(load.after_incident, 3_600.0),
        "load.before_incident and load.after_incident are at most an hour",
    );
    for (text, what) in [
        (&scenario.title, "title is empty"),
        (&scenario.hypothesis, "hypothesis is empty"),
        (&scenario.briefing, "briefing is empty"),
        (&scenario.first_report, "first_report is empty"),
    ] {
        wrong(text.trim().is_empty(), what);
    }
    wrong(scenario.hints.iter().any(|hint| hint.text.trim().is_empty()), "a hint is empty");
    if let Some(link) = scenario.link {
        wrong(
            !link.megabytes_per_second.is_finite() || link.megabytes_per_second < 0.01,
            "link.megabytes_per_second is less than 0.01",
        );
        wrong(link.latency_ms > 10_000, "link.latency_ms is more than ten seconds");
    }
    wrong(
        scenario.incident == Disaster::Region && scenario.link.is_none(),
        "an incident of kind region needs a [link] to the far repository",
    );
    if let Some(bad) = scenario.incident.statement() {
        wrong(!sane(bad.open_for, 60.0), "incident.open_for is at most a minute");
        wrong(bad.statement.trim().is_empty(), "incident.statement is empty");
        wrong(
            !super::shop::ROLES.contains(&bad.role.as_str()),
            "incident.role is none of the shop's: postgres, shop_app, app_maintenance",
        );
        wrong(
            !super::shop::TABLES.contains(&bad.table.as_str()),
            "incident.table is none of the shop's: public.customers, public.orders, public.audit_log",
        );
    }
    let mut injects = Vec::new();
    for name in &scenario.injects {
        match inject::load(name) {
            Ok(inject) if !inject.fits(&scenario.incident) => {
                found.push(format!("the inject {name} does not fit this kind of incident"));
            }
            Ok(inject) => injects.push(inject),
            Err(error) => found.push(error.to_string()),
        }
    }
    found.extend(pairs::first_clash(&injects, false));
    found
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 40 && name.chars().all(fits) && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::hints::At;

    #[test]
    fn every_scenario_reads_and_bears_its_name() {
        for (name, _) in SCENARIOS {
            let scenario = load(name).unwrap();
            assert_eq!(scenario.name, name);
            // Whoever is stuck finds a word, wherever that is.
            for at in [
                At::Assessment,
                At::RecoveryPoint,
                At::Plan,
                At::Restore,
                At::Validation,
                At::Checklist,
                At::End,
            ] {
                let of_it = |hint: &Hint| hint.at == Some(at);
                assert!(scenario.hints.iter().any(of_it), "{name}: {at:?}");
            }
            assert_eq!(scenario.expected, Expected::Recovered);
        }
        assert_eq!(list(None).len(), SCENARIOS.len());
    }

    #[test]
    fn the_targets_are_the_runbooks() {
        let runbook = crate::engine::runbook::Runbook::load(None).unwrap();
        for (name, _) in SCENARIOS {
            let (ours, theirs) = (load(name).unwrap(), runbook.scenario(name).unwrap());
            assert_eq!(ours.rto_seconds as u64, theirs.rto_seconds, "{name}");
            assert_eq!(ours.rpo_seconds.map(|s| s as u64), theirs.rpo_seconds, "{name}");
        }
    }

    /// Whatever looks at an incident goes by the scenario's own targets, be it a team's, and be it one
    /// that stands in a built-in one's place.
    #[test]
    fn a_drill_is_measured_by_its_scenario_in_every_place() {
        use crate::engine::config::Config;
        use crate::engine::escalation::Ladder;
        use crate::engine::incident::Incident;
        use crate::engine::incident::event::{Declaration, Entry, Event};
        use crate::engine::incident::facts::{Actor, Moment, Role, Tier};
        use crate::engine::report::Report;
        use crate::engine::runbook::Runbook;
        use jiff::Timestamp;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runbook.toml");
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for name in ["monday", "corruption"] {
            let mut own = load("corruption").unwrap();
            own.name = name.to_owned();
            own.title = String::from("Ours");
            own.rto_seconds = 420.0;
            own.rpo_seconds = None;
            fs::write(&path, runbook(None, Some(&own)).unwrap()).unwrap();
            let runbook = Runbook::load(Some(&path)).unwrap();
            assert_eq!(runbook.scenario(name), Some(&own.target()));
            let declaration = Declaration {
                id: String::from("INC-20270115-001"),
                cluster: String::from("shop"),
                tier: Tier::High,
                environment: String::from("drill"),
                title: String::from("Orders are missing"),
                identity: None,
                drill: Some(name.to_owned()),
            };
            let moment = Event::MomentStated { moment: Moment::FirstDetected, at: at(0) };
            let entries: Vec<Entry> = [Event::IncidentDeclared(declaration), moment]
                .into_iter()
                .zip(1_u64..)
                .map(|(event, seq)| Entry {
                    seq,
                    at: at(0),
                    actor: Actor { user: String::from("root"), uid: 0, role: Role::Commander },
                    event,
                    prev: String::new(),
                })
                .collect();
            let incident = Incident::replay(&entries).unwrap();
            let config: Config = toml::from_str("").unwrap();
            assert_eq!(Ladder::new(&config, &runbook, &incident).rto_seconds(), 420, "{name}");
            let report = Report::from(&incident, &runbook, at(500));
            let ours = |what: &str| what == "scenario Ours";
            let rto = report.rto.against.iter().find(|one| ours(&one.what)).unwrap();
            assert_eq!((rto.target_seconds, rto.met), (420, Some(false)));
            assert!(!report.rpo.against.iter().any(|one| ours(&one.what)), "it has no RPO");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = load("flood").unwrap_err().to_string();
        assert!(error.contains("corruption") && error.contains("cross-region"), "{error}");
    }

    #[test]
    fn a_teams_own_scenario_stands_beside_and_before_the_built_in_ones() {
        let folder = tempfile::tempdir().unwrap();
        let text = SCENARIOS[0].1;
        let own = text.replace("name = \"corruption\"", "name = \"monday\"");
        fs::write(folder.path().join("monday.toml"), &own).unwrap();
        let theirs = text.replace("Recent data corruption", "Ours");
        fs::write(folder.path().join("corruption.toml"), theirs).unwrap();
        fs::write(folder.path().join("broken.toml"), "name = 3").unwrap();
        fs::write(folder.path().join("other.toml"), &own).unwrap();
        assert_eq!(load_from("monday", Some(folder.path())).unwrap().name, "monday");
        assert_eq!(load_from("corruption", Some(folder.path())).unwrap().title, "Ours");
        let listed = list(Some(folder.path()));
        let problems =
            |name: &str| listed.iter().find(|one| one.name == name).unwrap().problems.len();
        assert_eq!((listed.len(), problems("monday")), (7, 0));
        assert_eq!((problems("broken"), problems("other")), (1, 1), "its file has another name");
        assert!(load_from("../monday", Some(folder.path())).is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let mut scenario = load("cross-region").unwrap();
        scenario.link = None;
        scenario.name = String::from("list");
        scenario.rto_seconds = f64::NAN;
        scenario.injects = vec![String::from("earthquake")];
        scenario.hints.push(Hint::from("  "));
        scenario.incident = Disaster::Statement(BadStatement {
            role: String::from("nobody_here"),
            statement: String::from("DELETE FROM public.orders"),
            table: String::from("public.orders"),
            open_for: 0.1,
        });
        let found = problems(&scenario).join("\n");
        for word in [
            "a hint is empty",
            "incident.role",
            "word of the command line",
            "rto_seconds",
            "earthquake",
        ] {
            assert!(found.contains(word), "{word}: {found}");
        }
        scenario.injects = ["key-denied", "wrong-report", "time-zone"].map(str::to_owned).to_vec();
        let found = problems(&scenario).join("\n");
        assert!(found.contains("wrong-report and time-zone both are"), "{found}");
    }
}
