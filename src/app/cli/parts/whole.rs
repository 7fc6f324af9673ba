//! `restore-parts --whole-database`: a database that was dropped, or a second one beside it.

use super::super::args;
use super::super::output;
use super::{Journal, agree, missing_roles, runtime, within};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Target;
use crate::engine::masking::Masking;
use crate::engine::parts::database::{self, Asked, Brought, Found};
use crate::engine::parts::roles::Missing;
use crate::engine::parts::sandbox::{Means, Sandbox};
use crate::engine::parts::{PartsError, commit, session};
use humansize::{DECIMAL, format_size};
use serde::Serialize;
use std::process::ExitCode;

/// What came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    title: String,
    cluster: String,
    found: Found,
    /// Absent where nothing was written.
    brought: Option<Brought>,
    notes: Vec<String>,
}

pub(super) fn bring(
    config: &Config,
    args: &args::RestoreParts,
    name: &str,
    target: &Target,
    make: impl FnOnce(&Means<'_>, bool) -> Result<Sandbox, PartsError>,
) -> Result<ExitCode, Explanation> {
    let (common, parts) = (&args.common, &args.parts);
    let runtime = runtime()?;
    let named = args.named.as_deref().unwrap_or(name);
    let title = format!("The database {name} as it was {target}");
    let filling = database::filling().map_err(|e| e.explanation())?;
    let asked = Asked {
        database: name,
        named,
        set_aside: args.set_aside.as_deref(),
        missing_roles: missing_roles(parts),
        filling: &filling,
    };
    if !parts.dry_run {
        // Before anything is recovered: that takes long.
        let cluster = super::cluster(config, common.cluster.as_deref())?;
        let free = async {
            let there = session::open_any(&cluster.connection).await?;
            database::free(&there, &asked).await
        };
        runtime.block_on(free).map_err(|e| e.explanation())?;
    }
    let (mut outcome, left) = within(config, common, parts, &runtime, make, |cluster, sandbox| {
        let production = &cluster.connection;
        let finding = database::find(sandbox, production, name);
        let found = runtime.block_on(finding).map_err(|e| e.explanation())?;
        let mut outcome = Outcome {
            title: title.clone(),
            cluster: cluster.name.clone(),
            found,
            brought: None,
            notes: Vec::new(),
        };
        if parts.dry_run {
            outcome.notes.push(String::from("Nothing was written."));
            return Ok(outcome);
        }
        let checked = database::check(&outcome.found, &asked, production);
        runtime.block_on(checked).map_err(|e| e.explanation())?;
        if !common.json {
            shown(&outcome, &asked)?;
        }
        agree(cluster, parts.confirm.as_deref(), common.json)?;
        let masking = Masking::of(&cluster.masking);
        let journal = Journal { config, parts, runtime: &runtime, masking };
        journal.note(&format!("{title}: goes ahead, as {named}"))?;
        let mut before = |_: &commit::Mark| Ok(());
        let brought = database::bring(
            sandbox,
            production,
            &asked,
            runtime.handle(),
            &mut |_, _| true,
            &mut before,
        );
        let brought = journal.told(&title, brought)?;
        let done = format!("{title}: done, {} rows in {} tables", brought.rows, brought.tables);
        // It is done and committed: a journal that fails now is told, not a failure.
        if let Err(error) = journal.note(&done) {
            outcome.notes.push(error.to_string());
        }
        outcome.brought = Some(brought);
        Ok(outcome)
    })?;
    outcome.notes.extend(left);
    if common.json {
        output::json(&outcome)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &outcome.brought {
        None => shown(&outcome, &asked)?,
        Some(brought) => {
            output::line(&format!(
                "Made {}, and found it the same as the source:",
                brought.database
            ))?;
            for proven in &brought.proven {
                output::line(&format!("  {proven}"))?;
            }
        }
    }
    let notes = outcome.brought.iter().flat_map(|brought| &brought.notes).chain(&outcome.notes);
    for note in notes {
        output::line(&format!("Note: {note}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is in the source and what becomes of it, before anything is written.
fn shown(outcome: &Outcome, asked: &Asked<'_>) -> Result<(), Explanation> {
    let found = &outcome.found;
    output::line(&outcome.title)?;
    output::line(&format!(
        "  {}, {} tables, {} large objects, owner {}",
        format_size(found.bytes, DECIMAL),
        found.tables,
        found.large_objects,
        found.owner
    ))?;
    let there = if found.in_production { "has" } else { "lacks" };
    output::line(&format!("  Production {there} a database {}.", found.database))?;
    if let Some(aside) = asked.set_aside.filter(|_| found.in_production) {
        output::line(&format!("  The one that is there is renamed to {aside}, whole."))?;
    }
    output::line(&format!("  It comes back as {}.", asked.named))?;
    if !found.missing_roles.is_empty() {
        let becomes = match asked.missing_roles {
            Missing::Ask => "say what becomes of them by --missing-roles",
            Missing::Create => "they are made without login and password",
            Missing::LeaveOut => "their things go to who connects, their grants are left out",
        };
        let roles = found.missing_roles.join(", ");
        output::line(&format!("  ! Production lacks these roles: {roles} ({becomes})"))?;
    }
    for (what, names) in [
        ("Production lacks these extensions", &found.missing_extensions),
        ("Production lacks these tablespaces", &found.missing_tablespaces),
        ("These subscriptions are left out", &found.subscriptions),
        ("These tables are unlogged, their rows are in no backup", &found.unlogged),
    ] {
        if !names.is_empty() {
            output::line(&format!("  ! {what}: {}", names.join(", ")))?;
        }
    }
    Ok(())
}
