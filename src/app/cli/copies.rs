//! `backup` into all repositories, `catch-up`, `policy`: one cluster, several repositories.

use super::args::{CatchUp, Common, Policy};
use super::output::{self, Bar};
use super::{backups, cluster};
use crate::engine::backup;
use crate::engine::config::{Cluster, Config};
use crate::engine::copies::catch_up::{self, Caught};
use crate::engine::copies::debts;
use crate::engine::copies::survey::{self, Page};
use crate::engine::copies::{self, CopiedSet, State};
use crate::engine::desk;
use crate::engine::explain::{Explanation, count};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use std::process::ExitCode;

/// The exit code where a repository still lacks a copy; no kind of failure has it.
const OWED: u8 = 13;
/// The exit code where a page shows a problem, as `status` has it.
const PROBLEM: u8 = 12;

/// A backup into the first repository that is up, and copies in all others.
pub(super) fn back_up(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let bar = Bar::new(common.json);
    let progress = |progress| bar.show(&progress);
    let options = backup::Options::default();
    let spread = copies::back_up(config, cluster, &options, &progress, &|| false);
    bar.finish();
    let spread = spread?;
    let taken = &spread.backup;
    let base = taken.descriptor.summary(&spread.repository.name);
    if common.json {
        output::json(&serde_json::json!({
            "backup": base,
            "files": taken.files,
            "seconds": taken.seconds,
            "warnings": taken.warnings,
            "bad_pages": taken.bad_pages,
            "repositories": spread.outcomes,
        }))?;
    } else {
        output::line(&format!("{} in {:.1} s", backups::row(&base), taken.seconds))?;
        for warning in &taken.warnings {
            output::line(&format!("! {warning}"))?;
        }
        for one in &spread.outcomes {
            match &one.state {
                State::Taken if spread.outcomes.len() == 1 => {}
                State::Taken => output::line(&format!("\"{}\": taken", one.repository))?,
                State::Copied(copied) => tell(copied)?,
                State::Owed { why } => {
                    output::line(&format!("! \"{}\" has no copy: {why}", one.repository))?;
                }
            }
        }
        if spread.owes() {
            output::line("The backup is good. Bring the missing copies with: lifeboat catch-up")?;
        }
    }
    Ok(if spread.owes() { ExitCode::from(OWED) } else { ExitCode::SUCCESS })
}

fn tell(copied: &CopiedSet) -> Result<(), Explanation> {
    let CopiedSet { set, from, to, .. } = copied;
    output::line(&if copied.already_there && copied.bytes > 0 {
        let bytes = format_size(copied.bytes, DECIMAL);
        format!("\"{to}\": {set} was not whole, {bytes} copied anew from \"{from}\"")
    } else if copied.already_there {
        format!("\"{to}\": {set} was there already")
    } else {
        format!(
            "\"{to}\": {set} copied from \"{from}\", {} in {:.1} s{}",
            format_size(copied.bytes, DECIMAL),
            copied.seconds,
            match copied.kept {
                0 => String::new(),
                kept => format!(", {kept} objects were there already"),
            }
        )
    })?;
    copied.notes.iter().try_for_each(|note| output::line(&format!("! {note}")))
}

pub(super) fn catch_up(config: &Config, args: &CatchUp) -> Result<ExitCode, Explanation> {
    let mut all = Vec::new();
    for cluster in chosen(config, args.cluster.as_deref())? {
        all.push(if args.dry_run {
            catch_up::owed(config, cluster)
        } else {
            let bar = Bar::new(args.json);
            let caught = catch_up::catch_up(config, cluster, &|p| bar.show(&p), &|| false);
            bar.finish();
            caught
        });
    }
    if args.json {
        output::json(&serde_json::json!({ "clusters": all }))?;
    } else {
        all.iter().try_for_each(show_caught)?;
    }
    let whole = all.iter().all(Caught::whole);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(OWED) })
}

fn show_caught(caught: &Caught) -> Result<(), Explanation> {
    output::line(&caught.cluster)?;
    if !caught.wal.paid.is_empty() {
        output::line(&format!("{} copied", count(caught.wal.paid.len(), "WAL file")))?;
    }
    caught.wal.told_gone().iter().try_for_each(|line| output::line(&format!("! {line}")))?;
    for (repository, file, why) in &caught.wal.failed {
        output::line(&format!("! {file} could not be copied to \"{repository}\": {why}"))?;
    }
    caught.wal_owed.iter().try_for_each(|line| output::line(&format!("! {line}")))?;
    for (repository, why) in &caught.wal_unasked {
        output::line(&format!(
            "! \"{repository}\" could not be asked which WAL the others lack. {why}"
        ))?;
    }
    caught.paid.iter().try_for_each(tell)?;
    for catch_up::Owed { debt, why } in &caught.owed {
        let why = why.as_ref().map_or_else(String::new, |why| format!(" {why}"));
        output::line(&format!("! \"{}\" owes {}.{why}", debt.repository, debt.set))?;
    }
    for one in &caught.unasked {
        let count = one.may_owe.len();
        output::line(&format!(
            "! \"{}\" could not be asked; it may owe up to {count} sets. {}",
            one.repository, one.why
        ))?;
    }
    let nothing =
        caught.paid.is_empty() && caught.wal.paid.is_empty() && caught.wal.gone.is_empty();
    if caught.whole() && nothing {
        output::line("Every repository has everything that it should have.")?;
    }
    Ok(())
}

/// The named cluster, or all of them.
fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a Cluster>, Explanation> {
    match name {
        Some(name) => Ok(vec![desk::named(config, name)?]),
        None => Ok(config.clusters.iter().collect()),
    }
}

pub(super) fn policy(config: &Config, args: &Policy) -> Result<ExitCode, Explanation> {
    let mut pages = Vec::new();
    for cluster in chosen(config, args.cluster.as_deref())? {
        let since = debts::retained_since(cluster, Timestamp::now());
        pages.push(survey::page(config, cluster, since));
    }
    let holds = pages.iter().all(|page| page.holds && page.debts.none());
    if args.json {
        output::json(&serde_json::json!({ "holds": holds, "clusters": pages }))?;
    } else {
        pages.iter().try_for_each(show_page)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
}

fn show_page(page: &Page) -> Result<(), Explanation> {
    let set = page.set.as_deref().unwrap_or("no backup");
    let mut lines = vec![format!("{}: {set}", page.cluster)];
    for rule in &page.rules {
        lines.push(format!("  {:17} {:24} {}", rule.standing.word(), rule.title, rule.detail));
    }
    for shared in &page.shared {
        lines.push(format!(
            "  one failure       of the {} {} takes {}",
            shared.domain,
            shared.name,
            shared.members.join(" and ")
        ));
    }
    lines.extend(page.debts.lines().into_iter().map(|debt| format!("  DEBT              {debt}")));
    lines.extend(page.notes.iter().map(|note| format!("  note              {note}")));
    let word = if page.holds { "holds" } else { "does NOT hold" };
    lines.push(format!("  3-2-1-1-0 {word} for {}.", page.cluster));
    output::line(&lines.join("\n"))
}
