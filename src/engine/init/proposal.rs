//! Which of a server's settings must change for its WAL to be archived, why, and how each change
//! is made and taken back. Pure: facts and wishes in, changes out.

use super::facts::{Facts, Setting};
use serde::{Deserialize, Serialize};

/// What the operator wants of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// The whole `archive_command`.
    pub archive_command: String,
    /// The longest that WAL may wait in an unfinished segment, seconds.
    pub archive_timeout: u64,
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    Reload,
    Restart,
}

/// One setting to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    /// As the server's files have it now; empty for nothing.
    pub current: String,
    pub proposed: String,
    pub why: String,
    pub takes: Takes,
    /// It takes the place of somebody else's archiving: to be agreed to by itself.
    pub foreign: bool,
    /// The statement that makes it.
    pub statement: String,
    /// The statement that takes it back.
    pub undo: String,
}

/// What has to be done to the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proposal {
    pub changes: Vec<Change>,
    /// Set already, and in force only after a restart.
    pub awaits_restart: Vec<String>,
}

impl Proposal {
    /// Whether the server must be restarted before its WAL is archived.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        !self.awaits_restart.is_empty()
            || self.changes.iter().any(|change| change.takes == Takes::Restart)
    }

    /// Somebody else's archiving that would be replaced.
    #[must_use]
    pub fn foreign(&self) -> Option<&Change> {
        self.changes.iter().find(|change| change.foreign)
    }
}

/// Compares the server with what archiving needs.
#[must_use]
pub fn propose(facts: &Facts, wishes: &Wishes) -> Proposal {
    let mut proposal = Proposal::default();
    let mut want = |name: &str, good: &dyn Fn(&str) -> bool, value: &str, why: &str| {
        let Some(setting) = facts.setting(name) else { return };
        let takes = if matches!(name, "wal_level" | "archive_mode") {
            Takes::Restart
        } else {
            Takes::Reload
        };
        if !good(setting.next()) {
            proposal.changes.push(change(setting, value, why, takes));
        } else if takes == Takes::Restart && !good(&setting.active) {
            proposal.awaits_restart.push(name.to_owned());
        }
    };
    want(
        "wal_level",
        &|value| matches!(value, "replica" | "logical"),
        "replica",
        "the WAL must hold all that a recovery replays",
    );
    want(
        "archive_mode",
        &|value| matches!(value, "on" | "always"),
        "on",
        "without it the server recycles WAL that is in no archive",
    );
    want(
        "archive_library",
        &str::is_empty,
        "",
        "the server archives with one of archive_library and archive_command, not with both",
    );
    want(
        "archive_command",
        &|value| value == wishes.archive_command,
        &wishes.archive_command,
        "every finished WAL segment goes to the repository",
    );
    let timeout = wishes.archive_timeout;
    want(
        "archive_timeout",
        &|value| seconds(value).is_some_and(|now| now > 0 && now <= timeout),
        &timeout.to_string(),
        "a quiet server, too, archives what was committed at least this often (seconds)",
    );
    for change in &mut proposal.changes {
        change.foreign = matches!(change.name.as_str(), "archive_command" | "archive_library")
            && !matches!(change.current.as_str(), "" | "(disabled)");
    }
    proposal
}

/// A setting's seconds: `60`, `60s`, `1min`.
fn seconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let factor = match unit.trim() {
        "" | "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn change(setting: &Setting, value: &str, why: &str, takes: Takes) -> Change {
    let name = &setting.name;
    let undo = match &setting.by_alter_system {
        Some(earlier) => format!("ALTER SYSTEM SET {name} = {}", literal(earlier)),
        None => format!("ALTER SYSTEM RESET {name}"),
    };
    Change {
        name: name.clone(),
        current: setting.next().to_owned(),
        proposed: value.to_owned(),
        why: why.to_owned(),
        takes,
        foreign: false,
        statement: format!("ALTER SYSTEM SET {name} = {}", literal(value)),
        undo,
    }
}

/// A value as SQL has it, however the server reads backslashes.
fn literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', r"\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// Whether one of `changes` changes how the server archives.
#[must_use]
pub fn archiving_changed(changes: &[Change]) -> bool {
    let archiving = ["archive_mode", "archive_command", "archive_library"];
    changes.iter().any(|change| archiving.contains(&change.name.as_str()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    pub fn setting(name: &str, active: &str, configured: Option<&str>) -> Setting {
        Setting {
            name: name.to_owned(),
            active: active.to_owned(),
            configured: configured.map(str::to_owned),
            by_alter_system: None,
            source: String::from("default"),
        }
    }

    pub fn facts(settings: Vec<Setting>) -> Facts {
        Facts {
            server: String::from("/run:5432/postgres as postgres"),
            version: 15,
            data_directory: PathBuf::from("/srv/data"),
            config_file: PathBuf::from("/srv/data/postgresql.conf"),
            system_identifier: 7,
            checksums: true,
            settings,
            sessions: 0,
            size: 1,
            tablespaces: Vec::new(),
            unlogged: 0,
        }
    }

    fn fresh() -> Vec<Setting> {
        vec![
            setting("archive_command", "(disabled)", None),
            setting("archive_library", "", None),
            setting("archive_mode", "off", None),
            setting("archive_timeout", "0", None),
            setting("wal_level", "replica", None),
        ]
    }

    fn wishes() -> Wishes {
        Wishes { archive_command: String::from("lifeboat archive-wal \"%p\""), archive_timeout: 60 }
    }

    fn names(proposal: &Proposal) -> Vec<&str> {
        proposal.changes.iter().map(|change| change.name.as_str()).collect()
    }

    #[test]
    fn a_fresh_server_needs_three_changes_and_one_restart() {
        let proposal = propose(&facts(fresh()), &wishes());
        assert_eq!(names(&proposal), ["archive_mode", "archive_command", "archive_timeout"]);
        assert!(proposal.needs_restart());
        assert_eq!(proposal.foreign(), None);
        assert_eq!(proposal.changes[0].undo, "ALTER SYSTEM RESET archive_mode");
    }

    #[test]
    fn a_minimal_wal_level_is_raised_and_a_higher_one_is_kept() {
        for (value, changed) in [("minimal", true), ("replica", false), ("logical", false)] {
            let mut settings = fresh();
            settings[4].active = value.to_owned();
            let proposal = propose(&facts(settings), &wishes());
            assert_eq!(names(&proposal).contains(&"wal_level"), changed, "{value}");
        }
    }

    #[test]
    fn what_is_set_and_not_in_force_awaits_the_restart_and_is_not_set_again() {
        let settings = vec![
            setting("archive_command", "(disabled)", Some("lifeboat archive-wal \"%p\"")),
            setting("archive_mode", "off", Some("on")),
            setting("archive_timeout", "1min", Some("60")),
            setting("wal_level", "minimal", Some("replica")),
        ];
        let proposal = propose(&facts(settings), &wishes());
        assert_eq!(proposal.changes, []);
        assert_eq!(proposal.awaits_restart, ["wal_level", "archive_mode"]);
        assert!(proposal.needs_restart());
    }

    #[test]
    fn when_all_is_in_force_nothing_is_proposed() {
        let settings = vec![
            setting("archive_command", "lifeboat archive-wal \"%p\"", None),
            setting("archive_mode", "always", None),
            setting("archive_timeout", "30s", None),
            setting("wal_level", "logical", None),
        ];
        assert_eq!(propose(&facts(settings), &wishes()), Proposal::default());
    }

    #[test]
    fn somebody_elses_archiving_is_named_also_while_it_is_masked() {
        let mut settings = fresh();
        settings[0] = setting("archive_command", "(disabled)", Some("cp %p /else/%f"));
        let proposal = propose(&facts(settings), &wishes());
        assert_eq!(proposal.foreign().map(|c| c.current.as_str()), Some("cp %p /else/%f"));
        let mut settings = fresh();
        settings[1] = setting("archive_library", "basic_archive", Some("basic_archive"));
        let proposal = propose(&facts(settings), &wishes());
        assert_eq!(proposal.foreign().map(|c| c.name.as_str()), Some("archive_library"));
    }

    #[test]
    fn what_alter_system_set_before_is_put_back_by_the_undo() {
        let mut settings = fresh();
        settings[3].configured = Some(String::from("600"));
        settings[3].by_alter_system = Some(String::from("600"));
        let proposal = propose(&facts(settings), &wishes());
        let change = proposal.changes.iter().find(|c| c.name == "archive_timeout").unwrap();
        assert_eq!(change.current, "600");
        assert_eq!(change.undo, "ALTER SYSTEM SET archive_timeout = '600'");
    }

    #[test]
    fn seconds_are_read_in_every_unit() {
        for (text, value) in
            [("0", Some(0)), ("60", Some(60)), ("1min", Some(60)), ("2h", Some(7200)), ("x", None)]
        {
            assert_eq!(seconds(text), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_ends_where_it_should(value in "[a-z'\\\\ %\"/]{0,24}") {
            let text = literal(&value);
            let escaped = text.starts_with('E');
            let inner = text.trim_start_matches('E');
            prop_assert!(inner.starts_with('\'') && inner.ends_with('\''));
            let inner = &inner[1..inner.len() - 1];
            let read = inner.replace("''", "'");
            let read = if escaped { read.replace(r"\\", r"\") } else { read };
            prop_assert_eq!(read, value);
        }
    }
}
