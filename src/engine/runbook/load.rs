//! Lays a team's own runbook over ours. The team's file is read twice: once into the types, which
//! refuses unknown keys and wrong types with their line, and once as a table, which is merged.

use super::{Proof, Runbook};
use crate::engine::aftercare;
use crate::engine::explain::{Explain, Explanation, Kind};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const BUILT_IN: &str = include_str!("../../../assets/runbook.toml");

/// What each entry of a list must say. Lists whose second field is true are known to the program
/// by their ids, so that a team can change their texts but neither add nor leave out an entry.
const LISTS: [(&str, bool, &[&str]); 10] = [
    ("severities", true, &["id", "title", "definition"]),
    ("assessment", false, &["id", "ask", "why"]),
    ("prerequisites", true, &["id", "title", "ask", "proof"]),
    ("steps", true, &["id", "title", "why", "runbook"]),
    ("horizons", true, &["id", "title", "seconds"]),
    ("checklist", false, &["id", "horizon", "text", "proof"]),
    ("ladder", false, &["id", "who", "from_minutes"]),
    ("troubleshooting", false, &["id", "title", "symptom", "advice"]),
    ("scenarios", false, &["id", "title", "objective", "rto_seconds"]),
    ("probes", false, &["id", "stage", "title", "sql"]),
];

/// Why a runbook file is refused.
#[derive(Debug, thiserror::Error)]
pub enum RunbookError {
    #[error("the runbook {} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The text names the line.
    #[error("the runbook {} does not hold: {what}", path.display())]
    Syntax { path: PathBuf, what: String },
    /// Well written, but it makes no sense.
    #[error("the runbook {} does not hold: {what}", path.display())]
    Content { path: PathBuf, what: String },
    #[error("the built-in runbook does not hold: {0}")]
    BuiltIn(String),
}

impl Explain for RunbookError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Read { .. } => (
                Kind::Config,
                "Check `runbook` in lifeboat.toml and the file's permissions, or take the line out to use the built-in runbook.",
            ),
            Self::Syntax { .. } | Self::Content { .. } => (
                Kind::Config,
                "Correct that place, or take `runbook` out of lifeboat.toml to use the built-in runbook.",
            ),
            Self::BuiltIn(_) => {
                (Kind::Internal, "This copy of Lifeboat is broken: install it again.")
            }
        };
        Explanation::new(kind, sentence(&self.to_string()), "Nothing was changed.", next)
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

impl Runbook {
    /// The built-in runbook, with a team's own file laid over it where `own` names one.
    ///
    /// # Errors
    /// Where the file cannot be read, has an unknown key or a wrong type (with its line), or
    /// leaves an entry incomplete.
    pub fn load(own: Option<&Path>) -> Result<Self, RunbookError> {
        let base: Table = BUILT_IN.parse().map_err(|e| built_in(&e))?;
        let Some(path) = own else {
            return finished(base).map_err(RunbookError::BuiltIn);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| RunbookError::Read { path: path.to_owned(), source })?;
        Self::laid_over(base, path, &text)
    }

    fn laid_over(mut base: Table, path: &Path, text: &str) -> Result<Self, RunbookError> {
        let syntax = |e: toml::de::Error| RunbookError::Syntax {
            path: path.to_owned(),
            what: e.to_string(),
        };
        let content = |what| RunbookError::Content { path: path.to_owned(), what };
        toml::from_str::<Self>(text).map_err(syntax)?;
        let own: Table = text.parse().map_err(syntax)?;
        for (key, value) in own {
            merge_top(&mut base, &key, value).map_err(content)?;
        }
        finished(base).map_err(content)
    }
}

fn built_in(error: &toml::de::Error) -> RunbookError {
    RunbookError::BuiltIn(error.to_string())
}

fn merge_top(base: &mut Table, key: &str, own: Value) -> Result<(), String> {
    let known = LISTS.iter().find(|(name, _, _)| *name == key);
    match (base.get_mut(key), own) {
        (Some(Value::Array(entries)), Value::Array(own)) => {
            let closed = known.is_some_and(|(_, closed, _)| *closed);
            merge_list(key, entries, own, closed)
        }
        (Some(Value::Table(table)), Value::Table(own)) => {
            merge_table(table, own);
            Ok(())
        }
        (_, own) => {
            base.insert(key.to_owned(), own);
            Ok(())
        }
    }
}

fn merge_table(base: &mut Table, own: Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(table)), Value::Table(own)) => merge_table(table, own),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn merge_list(
    name: &str,
    base: &mut Vec<Value>,
    own: Vec<Value>,
    closed: bool,
) -> Result<(), String> {
    let mut seen = Vec::new();
    for entry in own {
        let Value::Table(mut entry) = entry else {
            return Err(format!("{name} must be written as [[{name}]] tables"));
        };
        let Some(id) = entry.get("id").and_then(Value::as_str).map(str::to_owned) else {
            return Err(format!("an entry of {name} has no id"));
        };
        if seen.contains(&id) {
            return Err(format!("{name} has \"{id}\" twice"));
        }
        let omit = entry.remove("omit").and_then(|v| v.as_bool()).unwrap_or(false);
        let place = base.iter().position(|e| e.get("id").and_then(Value::as_str) == Some(&id));
        match place {
            Some(_) if omit && closed => {
                return Err(format!("{name} \"{id}\" cannot be left out"));
            }
            Some(at) if omit => {
                base.remove(at);
            }
            Some(at) => {
                if let Some(Value::Table(table)) = base.get_mut(at) {
                    // A scenario that is told whole has no RPO where it names none.
                    if name == "scenarios" && is_whole(name, &entry) {
                        *table = entry;
                    } else {
                        merge_table(table, entry);
                    }
                }
            }
            None if omit => {
                return Err(format!("{name} \"{id}\" is left out, but there is none"));
            }
            None if closed => {
                let ids: Vec<_> =
                    base.iter().filter_map(|e| e.get("id").and_then(Value::as_str)).collect();
                return Err(format!("{name} \"{id}\" is not known; there are {}", ids.join(", ")));
            }
            None => base.push(Value::Table(entry)),
        }
        seen.push(id);
    }
    Ok(())
}

/// Whether an entry says all that one of that list must say.
fn is_whole(name: &str, entry: &Table) -> bool {
    let known = LISTS.iter().find(|(list, _, _)| *list == name);
    known.is_some_and(|(_, _, required)| required.iter().all(|key| entry.contains_key(*key)))
}

/// Judges the merged table and gives the typed value. The text says which entry is wrong.
fn finished(table: Table) -> Result<Runbook, String> {
    for (name, _, required) in LISTS {
        let entries = table.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for entry in entries {
            let id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
            for key in required {
                let blank = match entry.get(key) {
                    None => true,
                    Some(Value::String(text)) => text.trim().is_empty(),
                    Some(_) => false,
                };
                if blank {
                    return Err(format!("{name} \"{id}\" says nothing for \"{key}\""));
                }
            }
        }
    }
    let runbook: Runbook = table.try_into().map_err(|e: toml::de::Error| e.to_string())?;
    sensible(&runbook)?;
    Ok(runbook)
}

fn sensible(runbook: &Runbook) -> Result<(), String> {
    let tiers = &runbook.tiers;
    let tiers = [
        ("critical", &tiers.critical),
        ("high", &tiers.high),
        ("standard", &tiers.standard),
        ("archive", &tiers.archive),
    ];
    for (name, tier) in tiers {
        if tier.rpo_seconds == 0 || tier.rto_seconds == 0 {
            return Err(format!("the RPO and RTO of tier \"{name}\" must be above zero"));
        }
    }
    if runbook.suggestion.minutes_before == 0 {
        return Err(String::from("suggestion.minutes_before must be above zero"));
    }
    let at = &runbook.schedule.full_backup_at;
    if jiff::civil::Time::strptime("%H:%M", at).is_err() {
        return Err(format!("schedule.full_backup_at is \"{at}\", not a time such as 02:00"));
    }
    for item in &runbook.checklist {
        if (item.proof == Proof::Tool) == item.shown_by.is_empty() {
            let id = &item.id;
            return Err(format!(
                "checklist \"{id}\": \"shown_by\" belongs to proof = \"tool\", and to it alone"
            ));
        }
        if !item.executes.is_empty() && aftercare::item(&item.executes).is_none() {
            return Err(format!(
                "checklist \"{}\": there is no item \"{}\" that it could execute",
                item.id, item.executes
            ));
        }
    }
    for level in &runbook.ladder {
        if level.until_minutes.is_some_and(|until| until <= level.from_minutes) {
            return Err(format!("ladder \"{}\" ends before it begins", level.id));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ChecklistItem, Horizon, Stage};
    use super::*;
    use crate::engine::incident::facts::{Prerequisite, Severity, Tier};

    /// The lines of the book itself, without the safety list and what a recovery left behind.
    fn own(book: &Runbook) -> impl Iterator<Item = &ChecklistItem> {
        let ours = |item: &&ChecklistItem| item.executes.is_empty() && item.id != "later-writes";
        book.checklist().iter().filter(ours)
    }

    #[test]
    fn every_item_of_the_safety_list_has_its_line() {
        let book = Runbook::load(None).unwrap();
        for item in aftercare::ITEMS {
            let lines = book.checklist.iter().filter(|line| line.executes == item.id);
            let shown = format!("care:{}", item.id);
            assert_eq!(lines.filter(|l| l.shown_by == [shown.as_str()]).count(), 1, "{}", item.id);
        }
    }

    fn over(text: &str) -> Result<Runbook, RunbookError> {
        let base: Table = BUILT_IN.parse().unwrap();
        Runbook::laid_over(base, Path::new("team.toml"), text)
    }

    #[test]
    fn the_built_in_runbook_has_the_books_figures() {
        let book = Runbook::load(None).unwrap();
        let figures = [Tier::Critical, Tier::High, Tier::Standard, Tier::Archive]
            .map(|t| (book.tier(t).rpo_seconds, book.tier(t).rto_seconds));
        assert_eq!(figures, [(60, 300), (300, 900), (900, 1800), (3600, 7200)]);
        let counts = Horizon::ALL.map(|h| own(&book).filter(|item| item.horizon == h).count());
        assert_eq!(counts, [5, 5, 5]);
        assert_eq!(book.schedule.retention_days_production, 30);
        assert_eq!(book.suggestion.minutes_before, 15);
        for severity in [Severity::Sev1, Severity::Sev2, Severity::Sev3] {
            assert!(book.severity(severity).is_some());
        }
        for which in Prerequisite::ALL {
            let text = book.prerequisite(which).unwrap();
            assert_eq!(text.title, which.title());
            let tool = which == Prerequisite::BackupIntegrity;
            assert_eq!(text.proof == Proof::Tool, tool);
        }
        assert_eq!(book.scenario("corruption").unwrap().rto_seconds, 900);
        assert_eq!(book.queries(Stage::Validation).count(), 6);
    }

    #[test]
    fn every_step_of_the_plan_has_its_texts_in_order() {
        let book = Runbook::load(None).unwrap();
        let ids: Vec<_> = book.steps.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "confirm-identity",
                "rescue-wal",
                "stop-server",
                "move-aside",
                "step-back",
                "restore-base",
                "configure-recovery",
                "start-recovery",
                "replay",
                "inspect",
                "promote",
                "open",
                "validate",
                "prepare-beside",
                "promote-beside",
                "decide-swap",
                "stop-old",
                "swap",
                "parts-restore",
                "parts-replay",
                "parts-choose",
                "parts-carry",
                "parts-prove",
                "parts-clear",
                "salvage-copy",
                "salvage-start"
            ]
        );
    }

    #[test]
    fn the_ladder_climbs_with_time() {
        let book = Runbook::load(None).unwrap();
        let at = |minutes| book.level_after(minutes).unwrap().id.clone();
        assert_eq!([at(0), at(29), at(30), at(60), at(500)], ["1", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_teams_file_changes_only_what_it_says() {
        let book = over(
            "[tiers.high]\nrto_seconds = 600\n\
             [[checklist]]\nid = \"stakeholders-notified\"\ntext = \"Status page updated\"\n\
             [[checklist]]\nid = \"training-conducted\"\nomit = true\n\
             [[checklist]]\nid = \"legal\"\nhorizon = \"day\"\ntext = \"Legal told\"\nproof = \"person\"\n",
        )
        .unwrap();
        assert_eq!(book.tiers.high.rto_seconds, 600);
        assert_eq!(book.tiers.high.rpo_seconds, 300);
        let by_id = |id: &str| book.checklist.iter().find(|i| i.id == id);
        assert_eq!(by_id("stakeholders-notified").unwrap().text, "Status page updated");
        assert_eq!(by_id("stakeholders-notified").unwrap().horizon, Horizon::Hour);
        assert!(by_id("training-conducted").is_none());
        assert_eq!(book.checklist.last().unwrap().id, "legal");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = over("[tiers.high]\nrto_seconds = 600\nrto_minutes = 10\n").unwrap_err();
        assert!(matches!(error, RunbookError::Syntax { .. }));
        let text = error.to_string();
        assert!(text.contains("line 3") && text.contains("rto_minutes"), "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |text: &str, part: &str| {
            let told = over(text).unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        };
        refused("[tiers.high]\nrto_seconds = 0\n", "tier \"high\"");
        refused("[[checklist]]\nid = \"new\"\ntext = \"x\"\n", "checklist \"new\"");
        refused("[[steps]]\nid = \"delete-everything\"\n", "delete-everything");
        refused("[[steps]]\nid = \"replay\"\nomit = true\n", "cannot be left out");
        refused("[[ladder]]\nwho = \"x\"\n", "no id");
        refused("[schedule]\nfull_backup_at = \"25:00\"\n", "25:00");
        refused("[[checklist]]\nid = \"database-accessible\"\nproof = \"person\"\n", "shown_by");
        refused("[[probes]]\nid = \"nope\"\nomit = true\n", "there is none");
    }
}
