//! The runbook's commands as facts, compared with the runbook itself where it is at hand, and with
//! what docs/OPERATIONS.md says of them.

use crate::server::not_run;
use serde::Deserialize;
use std::fs;
use std::path::Path;

const FACTS: &str = include_str!("commands.toml");
/// In the documentation the table stands between these.
const BEGIN: &str = "<!-- The runbook's commands: tests/runbook/commands.toml. -->\n";
const END: &str = "<!-- The runbook's commands end here. -->\n";
/// Set where the table is to be written into the documentation.
const WRITE: &str = "LIFEBOAT_WRITE_DOCS";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Program,
    Same,
    Meant,
    Plan,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    pub runbook: String,
    pub how: How,
    #[serde(default)]
    pub with: String,
    #[serde(default)]
    pub note: String,
}

#[derive(Deserialize)]
struct Facts {
    command: Vec<Command>,
}

pub fn all() -> Vec<Command> {
    toml::from_str::<Facts>(FACTS).unwrap().command
}

/// A command of a Python service under our program's name; `None` where it calls no service.
pub fn renamed(runbook: &str) -> Option<String> {
    let rest = runbook.strip_prefix("python ")?;
    let (service, rest) = rest.split_once(".py ")?;
    service.ends_with("_service").then(|| format!("lifeboat {rest}"))
}

/// Lines that are commands: no blanks, no remarks.
fn lines(text: &str) -> Vec<String> {
    let remark = |line: &str| line.starts_with('#') || line.starts_with("-- ");
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !remark(line))
        .map(str::to_owned)
        .collect()
}

/// What the runbook has in its blocks of shell and SQL.
fn of_runbook(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.flat_map(|block| lines(block.split_once('\n').unwrap().1)).collect()
}

#[test]
fn the_facts_are_the_runbooks_commands_word_for_word() {
    let facts: Vec<String> = all().iter().flat_map(|command| lines(&command.runbook)).collect();
    assert!(facts.len() >= 70, "{}", facts.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/runbook.md");
    let Ok(text) = fs::read_to_string(&path) else {
        return not_run("the runbook is not beside the project");
    };
    assert_eq!(facts, of_runbook(&text));
}

#[test]
fn each_service_command_is_ours_but_for_the_programs_name() {
    let mut services = 0;
    for command in all() {
        let renamed = renamed(&command.runbook);
        assert_eq!(renamed.is_some(), command.how == How::Program, "{}", command.runbook);
        if let Some(ours) = renamed {
            services += 1;
            assert_eq!(ours, command.with);
        }
    }
    // And `restore-wal`, in the recovery's settings.
    assert_eq!(services, 10);
    let restore_wal = all().into_iter().filter(|c| c.runbook.contains("restore-wal %f %p"));
    assert_eq!(restore_wal.count(), 1);
}

#[test]
fn the_documentation_has_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let docs = fs::read_to_string(&path).unwrap();
    let (before, rest) = docs.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(written == table, "{WRITE}=1 writes this table into {}:\n{table}", path.display());
}

fn table() -> String {
    let mut table = String::from("| in the runbook | with Lifeboat | |\n|---|---|---|\n");
    for command in all() {
        let with = match command.how {
            How::Same => String::from("as it stands"),
            _ if command.with.starts_with('`') => command.with.clone(),
            _ => code(&command.with),
        };
        let note = command.note.replace('|', "\\|");
        let row = format!("| {} | {with} | {note} |\n", code(&command.runbook));
        table.push_str(&row);
    }
    table
}

/// A cell: the first line, and whether more follow.
fn code(text: &str) -> String {
    let text = text.trim();
    let (first, more) = match text.split_once('\n') {
        Some((first, _)) => (first.trim(), " …"),
        None => (text, ""),
    };
    format!("`{}`{more}", first.replace('|', "\\|"))
}
