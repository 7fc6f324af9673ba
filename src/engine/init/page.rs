//! The page that a set-up ends with: what is protected, what is not, what to do next. Pure; says
//! nothing that was not seen, and leaves out nothing that is known to be missing.

use super::carry_out::Outcome;
use super::proof::Proof;
use crate::engine::explain::count;
use crate::engine::incident::facts::Verdict;
use serde::Serialize;
use std::path::PathBuf;

/// What the page needs to know beside the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    pub cluster: String,
    /// Repositories of the cluster.
    pub copies: usize,
    /// Whether the repository lies on the data directory's volume; `None` where it cannot.
    pub same_volume: Option<bool>,
    pub encrypted: bool,
    /// The master key's file, where it is one.
    pub key: Option<PathBuf>,
    /// The tier's RPO, seconds.
    pub rpo: u64,
    pub config: PathBuf,
    pub record: PathBuf,
    /// The program and its configuration as they are typed.
    pub command: String,
    /// Whether a scheduler runs on this machine; `None` where that could not be looked at.
    pub scheduler: Option<bool>,
    /// Before the command where it must run as another user, such as `sudo -u postgres `.
    pub as_server: String,
    /// The service that must restart the server, where one must.
    pub service: Option<String>,
}

/// The page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    pub headline: String,
    pub protected: Vec<String>,
    pub not_protected: Vec<String>,
    pub next: Vec<String>,
}

/// Makes the page.
#[must_use]
pub fn page(outcome: &Outcome, around: &Circumstances) -> Page {
    Page {
        headline: headline(outcome, around),
        protected: protected(outcome, around),
        not_protected: not_protected(outcome, around),
        next: next(outcome, around),
    }
}

fn headline(outcome: &Outcome, around: &Circumstances) -> String {
    let cluster = &around.cluster;
    if !outcome.awaits_restart.is_empty() {
        return format!("{cluster} is NOT PROTECTED yet: its server must be restarted");
    }
    match (&outcome.backup, outcome.complete(), &outcome.proof) {
        (None, ..) => format!("{cluster} is NOT PROTECTED yet: it has no backup"),
        (Some(_), true, _) => format!("{cluster} is protected, and its backup was proven"),
        (Some(_), false, Some(proof)) => {
            format!("{cluster} has a backup, and its proof is: {}", proof.verdict.word())
        }
        (Some(_), false, None) => format!("{cluster} has a backup that is NOT PROVEN"),
    }
}

fn protected(outcome: &Outcome, around: &Circumstances) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(oldest), Some(_)) = (&outcome.oldest, &outcome.archiving) {
        lines.push(format!(
            "Every moment from {:.0} (UTC) on, to the newest WAL in the archive.",
            oldest.finished
        ));
    }
    if let (Some(base), Some(place)) = (&outcome.backup, &outcome.place) {
        lines.push(format!("The newest backup is {} in {place}.", base.set));
    }
    if let Some(archiving) = &outcome.archiving {
        lines.push(format!("WAL arrives in the repository: {}.", archiving.segment));
    }
    if outcome.backup.is_some() && around.encrypted {
        let key = around
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!("; the master key is in {}", key.display()));
        lines.push(format!("Everything in the repository is encrypted{key}."));
    }
    if outcome.proven_before {
        lines.push(String::from("This backup was proven by a restore in an earlier run."));
    }
    if let Some(proof) = outcome.proof.as_ref().filter(|p| p.verdict == Verdict::Verified) {
        lines.push(proven(proof));
    }
    lines
}

fn proven(proof: &Proof) -> String {
    let tables = proof.checks.iter().filter(|check| check.id.starts_with("rows:")).count();
    let seconds = |milliseconds: u64| std::time::Duration::from_millis(milliseconds).as_secs_f64();
    format!(
        "The backup was restored in {:.1} s, started, and its rows counted in {} ({:.1} s in all).",
        seconds(proof.restore_ms.unwrap_or_default()),
        count(tables, "table"),
        seconds(proof.total_ms)
    )
}

fn not_protected(outcome: &Outcome, around: &Circumstances) -> Vec<String> {
    let facts = &outcome.facts;
    let mut lines = Vec::new();
    if !outcome.awaits_restart.is_empty() {
        lines.push(format!(
            "NOTHING yet: {} {} effect at the next restart. Until then no WAL is archived.",
            outcome.awaits_restart.join(" and "),
            if outcome.awaits_restart.len() == 1 { "takes" } else { "take" }
        ));
    }
    if let Some(proof) = &outcome.proof {
        for check in proof.checks.iter().filter(|check| check.verdict != Verdict::Verified) {
            lines.push(format!("{}: {}. {}", check.verdict.word(), check.title, check.detail));
        }
    } else if outcome.backup.is_some() && !outcome.proven_before {
        lines.push(String::from("NOT PROVEN: nobody has restored this backup."));
    }
    lines.extend(outcome.warnings.iter().cloned());
    if around.copies < 2 {
        lines.push(String::from("There is one copy: with the repository, all backups are lost."));
    }
    if around.same_volume == Some(true) {
        lines.push(String::from(
            "The repository lies on the data directory's own volume: one failed disk takes both.",
        ));
    }
    match (&around.key, around.encrypted) {
        (_, false) => lines.push(String::from(
            "The backups are not encrypted: whoever reads the repository reads the data.",
        )),
        (Some(key), true) => lines.push(format!(
            "The master key {}: without it no backup opens. Lifeboat knows of no copy elsewhere.",
            key.display()
        )),
        (None, true) => {}
    }
    lines.extend(schedule(around));
    match facts.active("archive_timeout") {
        "0" | "" => lines.push(String::from(
            "archive_timeout is 0: on a quiet server WAL can stay unarchived for any time.",
        )),
        timeout => lines.push(format!(
            "What was committed in the last {timeout} is on this machine alone (the tier allows \
             {} s).",
            around.rpo
        )),
    }
    if facts.unlogged > 0 {
        lines.push(format!(
            "{} unlogged tables (in the database asked): a recovery leaves them empty.",
            facts.unlogged
        ));
    }
    if !facts.tablespaces.is_empty() {
        lines.push(format!(
            "Tablespaces are in the backup, and a recovery in place is refused while these hold \
             them: {}.",
            facts.tablespaces.join(", ")
        ));
    }
    if facts.configured_elsewhere() {
        lines.push(format!(
            "The server's configuration lies outside the data directory ({}): it is in no backup. \
             A recovery in place leaves it as it is; keep a copy of it for a new machine.",
            facts.config_file.display()
        ));
    } else {
        lines.push(String::from(
            "Files outside the data directory (certificates, scripts, the service's own) are in \
             no backup.",
        ));
    }
    if !facts.checksums {
        lines.push(String::from(
            "Data checksums are off: damage on the disk is backed up unseen (pg_checksums turns \
             them on while the server is down).",
        ));
    }
    lines
}

fn schedule(around: &Circumstances) -> Option<String> {
    match around.scheduler {
        Some(true) => None,
        Some(false) => Some(String::from(
            "No scheduler runs on this machine: until one does, nothing takes the next backup by \
             itself.",
        )),
        None => Some(String::from(
            "Whether a scheduler runs could not be looked at: without one, nothing takes the next \
             backup by itself.",
        )),
    }
}

fn next(outcome: &Outcome, around: &Circumstances) -> Vec<String> {
    let (command, as_server) = (&around.command, &around.as_server);
    let cluster = &around.cluster;
    let mut lines = Vec::new();
    if !outcome.awaits_restart.is_empty() {
        match &around.service {
            Some(service) => lines.push(format!("systemctl restart {service}")),
            None => lines.push(String::from("restart the server")),
        }
        lines.push(format!("{command} init --cluster-name {cluster}"));
        return lines;
    }
    if let (Some(key), true) = (&around.key, around.encrypted) {
        lines.push(format!(
            "put {} into a safe on another machine, or on paper: {command} keys escrow --help",
            key.display()
        ));
    }
    match around.scheduler {
        Some(true) => lines.push(String::from(
            "the scheduler that runs reads lifeboat.toml when it starts: systemctl restart \
             lifeboat-schedule.service",
        )),
        _ => lines.push(format!(
            "daily backups, copies, verification and cleanup: sudo {command} install-units (or, \
             without systemd, {as_server}{command} schedule)"
        )),
    }
    lines.push(format!("{as_server}{command} status --cluster {cluster}"));
    if around.copies > 1 {
        lines.push(format!("{as_server}{command} policy --cluster {cluster}"));
    } else {
        lines.push(String::from(
            "name a second repository in lifeboat.toml, on another machine; then lifeboat \
             create-repository and lifeboat catch-up",
        ));
    }
    lines.push(String::from("lifeboat drill corruption"));
    if !outcome.changed.is_empty() {
        lines.push(format!(
            "to take the settings back, the statements are in {}",
            around.record.display()
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::init::archiving::Archiving;
    use crate::engine::init::proposal::tests as samples;

    fn outcome() -> Outcome {
        let settings = vec![samples::setting("archive_timeout", "1min", None)];
        Outcome {
            facts: samples::facts(settings),
            changed: Vec::new(),
            awaits_restart: Vec::new(),
            restarted: false,
            place: Some(String::from("file:///backups/orders")),
            archiving: Some(Archiving {
                segment: String::from("000000010000000000000001"),
                was_working: false,
                milliseconds: 20,
            }),
            oldest: None,
            backup: None,
            backup_taken: false,
            warnings: Vec::new(),
            proven_before: false,
            proof: None,
        }
    }

    fn around() -> Circumstances {
        Circumstances {
            cluster: String::from("orders"),
            copies: 1,
            same_volume: Some(true),
            encrypted: true,
            key: Some(PathBuf::from("/etc/lifeboat/master.key")),
            rpo: 300,
            config: PathBuf::from("/etc/lifeboat/lifeboat.toml"),
            record: PathBuf::from("/etc/lifeboat/init-orders.jsonl"),
            command: String::from("lifeboat"),
            scheduler: Some(false),
            as_server: String::from("sudo -u postgres "),
            service: None,
        }
    }

    fn says(lines: &[String], words: &str) -> bool {
        lines.iter().any(|line| line.contains(words))
    }

    #[test]
    fn what_is_missing_is_said() {
        let page = page(&outcome(), &around());
        assert!(says(&page.next, "sudo -u postgres lifeboat status"), "{page:#?}");
        assert!(page.headline.contains("NOT PROTECTED"), "{page:?}");
        for words in ["one copy", "own volume", "master key", "No scheduler", "1min"] {
            assert!(says(&page.not_protected, words), "{words}: {page:#?}");
        }
        assert!(!says(&page.not_protected, "checksums"));
        assert!(!says(&page.protected, "Every moment"), "there is no backup");
    }

    #[test]
    fn another_volume_and_a_second_copy_are_not_missed() {
        let around = Circumstances { copies: 2, same_volume: Some(false), ..around() };
        let page = page(&outcome(), &around);
        assert!(!says(&page.not_protected, "one copy") && !says(&page.not_protected, "own volume"));
        assert!(says(&page.next, "policy") && !says(&page.next, "second repository"), "{page:#?}");
    }

    #[test]
    fn a_scheduler_is_missed_until_one_runs() {
        let with = |scheduler| page(&outcome(), &Circumstances { scheduler, ..around() });
        for missed in [Some(false), None] {
            assert!(says(&with(missed).next, "lifeboat install-units"));
            assert!(says(&with(missed).not_protected, "takes the next backup"));
        }
        let runs = with(Some(true));
        assert!(!says(&runs.next, "install-units") && says(&runs.next, "restart"), "{runs:#?}");
        assert!(!says(&runs.not_protected, "takes the next backup"));
        assert!(says(&runs.next, "keys escrow"));
    }

    #[test]
    fn a_restart_that_is_due_comes_first_in_both_lists() {
        let mut outcome = outcome();
        outcome.archiving = None;
        outcome.awaits_restart = vec![String::from("archive_mode")];
        let around =
            Circumstances { service: Some(String::from("postgresql@15-main.service")), ..around() };
        let page = page(&outcome, &around);
        assert!(page.not_protected[0].contains("archive_mode"), "{page:#?}");
        assert!(page.next[0].contains("systemctl restart postgresql@15-main"), "{page:#?}");
        assert!(page.next[1].contains("init --cluster-name orders"));
    }

    #[test]
    fn a_layout_outside_the_data_directory_and_missing_checksums_are_said() {
        let mut outcome = outcome();
        outcome.facts.config_file = PathBuf::from("/etc/postgresql/15/main/postgresql.conf");
        outcome.facts.checksums = false;
        outcome.facts.unlogged = 2;
        let page = page(&outcome, &around());
        for words in ["/etc/postgresql/15/main", "checksums are off", "2 unlogged"] {
            assert!(says(&page.not_protected, words), "{words}: {page:#?}");
        }
    }
}
