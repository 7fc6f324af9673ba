//! `status`: shows one page a cluster. What is on it is [`crate::engine::status`]'s.

use super::args::Common;
use super::{output, repository_config, runtime};
use crate::engine::config::{Cluster, Config};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation, count};
use crate::engine::runbook::Runbook;
use crate::engine::schedule::alarm::span;
use crate::engine::status::repository::{KnownBy, RepositoryStatus};
use crate::engine::status::{ClusterStatus, Drill, ScheduleStatus, Volume, gather};
use humansize::{DECIMAL, format_size};
use jiff::{SignedDuration, Timestamp};
use std::process::ExitCode;

/// The exit code where a page shows a problem; no kind of failure has it.
pub(super) const PROBLEM: u8 = 12;
/// Columns of the page.
const WIDTH: usize = 80;
/// Where the text begins.
const LABEL: usize = 19;
/// Stretches of WAL that are shown.
const MOST_STRETCHES: usize = 3;

pub(super) fn status(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let chosen: Vec<&Cluster> = match &common.cluster {
        Some(name) => vec![desk::named(config, name)?],
        None => config.clusters.iter().collect(),
    };
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let mut pages = Vec::new();
    for cluster in chosen {
        let repository = common.repository.as_deref();
        if repository.is_some() {
            repository_config(config, cluster, repository)?;
        }
        pages.push(gather(config, cluster, repository, &runbook, runtime.handle()));
    }
    if common.json {
        output::json(&pages)?;
    } else {
        for (at, page) in pages.iter().enumerate() {
            let between = if at > 0 { "\n" } else { "" };
            output::line(&format!("{between}{}", lines(page).join("\n")))?;
        }
    }
    let sound = pages.iter().all(|page| page.problems.is_empty());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
}

/// The page's lines.
fn lines(page: &ClusterStatus) -> Vec<String> {
    let allows = span(seconds(page.rpo_seconds));
    let mut lines = vec![format!(
        "{}   tier {}: it allows to lose the commits of {allows}",
        page.cluster, page.tier_title
    )];
    let mut add = |label: &str, text: &str| entry(&mut lines, 2, label, text);
    add("server", &server(page));
    if let Some(identity) = &page.server.identity {
        add("data directory", &identity.data_directory);
    }
    add("archiving", &archiving(page));
    for one in &page.repositories {
        repository(one, page.at, &mut lines);
    }
    let mut add = |label: &str, text: &str| entry(&mut lines, 2, label, text);
    add("copies", &copies(page));
    for volume in &page.space {
        add("restore space", &restore_space(volume));
    }
    for text in schedule(&page.schedule, page.at) {
        add("schedule", &text);
    }
    add("last drill", &drill(&page.last_drill, page.at));
    if page.problems.is_empty() {
        add("problems", "none seen");
    }
    for problem in &page.problems {
        add("PROBLEM", problem);
    }
    once(lines)
}

/// A label and its text, broken into lines that fit where words allow it.
fn entry(lines: &mut Vec<String>, indent: usize, label: &str, text: &str) {
    let mut line = format!("{:indent$}{label:width$}", "", width = LABEL - indent);
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(LABEL)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
}

/// A label that repeats is written once.
fn once(lines: Vec<String>) -> Vec<String> {
    let mut last = String::new();
    lines
        .into_iter()
        .map(|line| {
            let Some((label, text)) = line.split_at_checked(LABEL) else { return line };
            let repeats = label == last && label.trim() == "schedule";
            if !label.trim().is_empty() {
                label.clone_into(&mut last);
            }
            if repeats { format!("{}{text}", " ".repeat(LABEL)) } else { line }
        })
        .collect()
}

fn server(page: &ClusterStatus) -> String {
    match (&page.server.version, &page.server.identity) {
        (Some(version), Some(identity)) => {
            let short: Vec<&str> = version.split(' ').take(2).collect();
            format!(
                "{}, timeline {}, identifier {}",
                short.join(" "),
                identity.timeline,
                identity.system_identifier
            )
        }
        (Some(version), None) => version.clone(),
        (None, Some(identity)) => {
            format!("no answer; by its files: identifier {}", identity.system_identifier)
        }
        (None, None) => String::from("no answer"),
    }
}

fn archiving(page: &ClusterStatus) -> String {
    let Some(found) = &page.archiving else { return String::from("not known") };
    let last = match (&found.last_archived, found.last_archived_at) {
        (Some(name), Some(at)) => format!("{name} was archived last, {}", ago(at, page.at)),
        _ => String::from("nothing was archived since the server's statistics began"),
    };
    let waiting = match found.waiting {
        Some(0) => String::from("no file waits"),
        Some(1) => String::from("1 file waits"),
        Some(count) => format!("{count} files wait"),
        None => String::from("how many files wait is not known"),
    };
    format!("{last}; {waiting}")
}

fn repository(one: &RepositoryStatus, now: Timestamp, lines: &mut Vec<String>) {
    let place = one.place.strip_prefix("file://").unwrap_or(&one.place);
    entry(lines, 2, &format!("in \"{}\"", one.name), place);
    let mut add = |label: &str, text: &str| entry(lines, 4, label, text);
    if let Some(why) = &one.trouble {
        add("not known", &format!("it could not be asked: {}", why.what));
        return;
    }
    add(
        "newest backup",
        &match (&one.newest_backup, one.backups) {
            (Some(base), count) => format!(
                "{}, ended {}, {}; {}",
                base.set,
                ago(base.finished, now),
                format_size(base.size, DECIMAL),
                match count {
                    Some(1) => String::from("the only one"),
                    Some(count) => format!("{count} in all"),
                    None => String::from("how many there are is not known"),
                }
            ),
            (None, Some(0)) => String::from("none"),
            (None, _) => String::from("none that can be read"),
        },
    );
    add(
        "newest WAL",
        &match &one.newest_wal {
            Some(newest) => match newest.written {
                Some(at) => format!("{}, {}", newest.name, ago(at, now)),
                None => newest.name.clone(),
            },
            None => String::from("none"),
        },
    );
    match one.stretches.as_slice() {
        [] => {}
        [_] => add("WAL", "no gap since the oldest backup"),
        several => {
            let hidden = several.len().saturating_sub(MOST_STRETCHES);
            if hidden > 0 {
                add("WAL", &format!("{hidden} older stretches, see check-wal-continuity"));
            }
            several.iter().skip(hidden).for_each(|stretch| add("WAL", stretch));
        }
    }
    add("reachable", &window(one));
    add("verified", &verified(one, now));
    match &one.data_keys {
        Some(keys) => add(
            "data keys",
            &match keys.newest {
                Some(at) => format!("{}; the newest was made {}", keys.count, ago(at, now)),
                None => String::from("none yet"),
            },
        ),
        None if one.encrypted => add("data keys", "not known"),
        None => add("data keys", "none: this repository is not encrypted"),
    }
    if let Some(hold) = &one.hold {
        add("kept until", &format!("{} at least, {}", utc(hold.until), hold.mode));
    }
    if let Some(space) = &one.space {
        let wal = space.wal_about.map_or_else(String::new, |bytes| {
            format!(", WAL about {}", format_size(bytes, DECIMAL))
        });
        let free = space.free.map_or_else(String::new, |bytes| {
            format!("; {} free there", format_size(bytes, DECIMAL))
        });
        add("space", &format!("backups {}{wal}{free}", format_size(space.backups, DECIMAL)));
    }
}

fn window(one: &RepositoryStatus) -> String {
    let Some(window) = &one.window else {
        return String::from("NOTHING that is known: no backup and WAL that fit together");
    };
    if window.to_known_by == KnownBy::Backup {
        let end = utc(window.from);
        return format!("{end}, the end of a backup; no later commit is archived");
    }
    let to = match (window.to, window.to_known_by) {
        (Some(at), KnownBy::Commit | KnownBy::Backup) => {
            format!("{} (newest archived commit)", utc(at))
        }
        (Some(at), KnownBy::Written) => {
            format!("the last commit archived before {} (newest WAL file)", utc(at))
        }
        (None, _) => String::from("the newest WAL file"),
    };
    let older = match window.older {
        0 => String::new(),
        1 => String::from("; 1 older backup does not reach that far"),
        count => format!("; {count} older backups do not reach that far"),
    };
    format!("{} to {to}{older}", utc(window.from))
}

fn verified(one: &RepositoryStatus, now: Timestamp) -> String {
    let Some(last) = &one.verified else {
        return String::from("NOT RUN: no backup was read whole here since it was written");
    };
    let which = match last.newer {
        0 => String::from("the newest backup"),
        1 => format!("{}; the newest not yet", last.set),
        count => format!("{}; {count} newer ones not yet", last.set),
    };
    format!("{} {}: {which}", last.verdict.word(), ago(last.at, now))
}

fn copies(page: &ClusterStatus) -> String {
    let sets = page.set_debts.sets.len();
    let wal: usize = page.debts.owed.iter().map(|owed| owed.files).sum();
    let unasked = page.set_debts.unasked.len();
    let names = page.copies;
    let mut said = match (names, sets, wal) {
        (0 | 1, 0, 0) => String::from("one repository: nothing to compare it with"),
        (_, 0, 0) => String::from("no repository is known to lack what another has"),
        _ => {
            format!("still to be copied: {}, {}", count(sets, "backup"), count(wal, "WAL file"))
        }
    };
    if unasked > 0 && names > 1 {
        said.push_str(&format!("; {unasked} could not be asked"));
    }
    said
}

fn restore_space(volume: &Volume) -> String {
    let path = volume.path.display();
    let free = volume.free.map(|bytes| format_size(bytes, DECIMAL));
    match (free, volume.needed) {
        (Some(free), Some(needed)) => {
            let short = volume.free.is_some_and(|free| free < needed);
            let verdict = if short { "NOT ENOUGH: " } else { "" };
            format!(
                "{verdict}{free} free at {path}; a restore beside what is there needs {}",
                format_size(needed, DECIMAL)
            )
        }
        (Some(free), None) => format!("{free} free at {path}; what a restore needs is not known"),
        (None, _) => format!("not known: {path} cannot be looked at"),
    }
}

fn schedule(schedule: &ScheduleStatus, now: Timestamp) -> Vec<String> {
    let mut lines = vec![String::from(match (schedule.runs, schedule.ever) {
        (Some(true), _) => "a scheduler runs on this machine",
        (Some(false), true) => "NO scheduler runs now (lifeboat install-units sets one up)",
        (Some(false), false) => {
            "no scheduler has run on this machine (lifeboat install-units sets one up)"
        }
        (None, _) => "whether a scheduler runs cannot be looked at by this user",
    })];
    for run in &schedule.next {
        let due = match run.overdue {
            Some(reason) => format!("due now{}", reason.words()),
            None => format!("{}, in {}", utc(run.at), span(run.at.duration_since(now))),
        };
        let failed = if run.last.failures > 0 { "; the last try FAILED" } else { "" };
        lines.push(format!("{}: {due}{failed}", run.job.word()));
    }
    lines
}

fn drill(drill: &Drill, now: Timestamp) -> String {
    match drill {
        Drill::Never => String::from("never, as far as this machine knows"),
        Drill::Unknown { why } => format!("not known: {why}"),
        Drill::OnCopy { drill, scenario, at, outcome } => {
            format!("{drill}, {scenario} on a copy, {outcome} {}", ago(*at, now))
        }
        Drill::Held { incident, scenario, declared, closed } => {
            let when = declared.map_or_else(String::new, |at| format!(" {}", ago(at, now)));
            let open = if closed.is_none() { "; it is not closed" } else { "" };
            format!("{incident}, {scenario},{when}{open}")
        }
    }
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Such as `3 h 05 min ago (2026-01-13 02:10:11 UTC)`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago ({})", span(now.duration_since(at)), utc(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_where_words_end() {
        let mut lines = Vec::new();
        entry(&mut lines, 2, "PROBLEM", &"word ".repeat(40));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(lines[0].starts_with("  PROBLEM          word word"), "{lines:?}");
        assert!(lines[1].starts_with(&format!("{}word", " ".repeat(LABEL))), "{lines:?}");
        // What has no blanks stays in one piece.
        let long = "/a".repeat(60);
        lines.clear();
        entry(&mut lines, 2, "data directory", &long);
        assert!(lines.len() == 1 && lines[0].ends_with(&long), "{lines:?}");
    }

    #[test]
    fn nobody_ran_is_not_nothing_is_due() {
        let now: Timestamp = "2026-01-13T12:00:00Z".parse().unwrap();
        let none = ScheduleStatus { runs: Some(false), ever: false, next: Vec::new() };
        assert!(schedule(&none, now)[0].contains("no scheduler has run on this machine"));
        let unknown = ScheduleStatus { runs: None, ..none };
        assert!(schedule(&unknown, now)[0].contains("cannot be looked at"));
    }
}
