//! `hold add`, `list` and `release`. Owns the words; a hold is an object of the repository.

use super::args::{Common, Hold as Args};
use super::output;
use super::{cluster, no_set, opened, repository_names, time};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::hold::{Held, Hold};
use crate::engine::repository::store::StoreFault;
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::retention::held_wal;
use jiff::Timestamp;
use nix::unistd::{User, getuid};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

pub(super) fn hold(config: &Config, args: &Args) -> Result<ExitCode, Explanation> {
    match args {
        Args::Add { set, name, until, with_wal, common } => {
            let until = until.as_deref().map(time).transpose()?;
            let mut hold = Hold::new(name, set, Timestamp::now(), &user());
            hold.until = until;
            add(config, common, hold, *with_wal)
        }
        Args::List { common } => list(config, common),
        Args::Release { name, common } => release(config, common, name),
    }
}

/// Each repository that was asked for, or why it does not open.
type Opened = (String, Result<Arc<Repository>, Explanation>);

fn repositories(config: &Config, common: &Common) -> Result<Vec<Opened>, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let names = repository_names(config, cluster, common.repository.as_deref())?;
    let open = |name: String| {
        let opened = opened(config, cluster, Some(&name)).map(Arc::new);
        (name, opened)
    };
    Ok(names.into_iter().map(open).collect())
}

/// A repository in which it could not be done.
#[derive(Serialize)]
struct Fault {
    repository: String,
    fault: Explanation,
}

/// Tells the faults of some repositories, after what was done in the others; gives the exit code.
fn tell(faults: &[Fault], json: bool) -> Result<ExitCode, Explanation> {
    if !json {
        for one in faults {
            output::line(&format!("! {}: {}", one.repository, one.fault))?;
        }
    }
    let code = faults.first().map_or(0, |one| one.fault.kind.exit_code());
    Ok(ExitCode::from(code))
}

fn add(
    config: &Config,
    common: &Common,
    mut hold: Hold,
    with_wal: bool,
) -> Result<ExitCode, Explanation> {
    if hold.name.trim().is_empty() {
        return Err(Explanation::new(
            Kind::Config,
            "A hold needs a name.",
            "Nothing was changed.",
            "Give it one with --name, such as the number of the case.",
        ));
    }
    let (mut placed, mut faults) = (Vec::new(), Vec::new());
    for (name, opened) in repositories(config, common)? {
        match opened.and_then(|repository| place(&repository, &mut hold, with_wal)) {
            Ok(true) => placed.push(name),
            Ok(false) => {}
            Err(fault) => faults.push(Fault { repository: name, fault }),
        }
    }
    if placed.is_empty() && faults.is_empty() {
        return Err(no_set(&hold.set));
    }
    if common.json {
        output::json(&serde_json::json!({
            "hold": hold, "repositories": placed, "faults": faults,
        }))?;
    } else if !placed.is_empty() {
        let place = placed.join(" and ");
        output::line(&format!("{} is held as \"{}\" in {place}.", hold.set, hold.name))?;
    }
    tell(&faults, common.json)
}

/// Whether the repository has the set; then it is held there.
fn place(
    repository: &Arc<Repository>,
    hold: &mut Hold,
    with_wal: bool,
) -> Result<bool, Explanation> {
    let told = |e: RepositoryError| e.explanation();
    if !repository.set_names().map_err(told)?.contains(&hold.set) {
        return Ok(false);
    }
    hold.wal_to = if with_wal { Some(held_wal(repository, &hold.set)?) } else { None };
    match repository.place_hold(hold) {
        // Tried again after another repository was down: here it is as it should be.
        Err(e) if e.fault() == Some(StoreFault::Exists) => {
            let there = repository.holds_of(&hold.set).map_err(told)?;
            if there.iter().any(|held| held.says(hold)) { Ok(true) } else { Err(told(e)) }
        }
        placed => placed.map(|()| true).map_err(told),
    }
}

#[derive(Serialize)]
struct Line {
    repository: String,
    set: String,
    /// Whether it keeps its set now.
    counts: bool,
    hold: Option<Hold>,
    fault: Option<Explanation>,
}

fn list(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let (mut lines, mut faults, now) = (Vec::new(), Vec::new(), Timestamp::now());
    for (name, opened) in repositories(config, common)? {
        let found = opened.and_then(|repository| {
            let holds = repository.holds().map_err(|e| e.explanation())?;
            Ok((repository, holds))
        });
        let (repository, holds) = match found {
            Ok(found) => found,
            Err(fault) => {
                faults.push(Fault { repository: name, fault });
                continue;
            }
        };
        for held in holds {
            let set = held.set().to_owned();
            let (counts, hold, fault) = match held {
                Held::Known(hold) => (hold.holds_at(now), Some(hold), None),
                Held::Unreadable { reason, .. } => (true, None, Some(reason)),
            };
            let repository = repository.config.name.clone();
            lines.push(Line { repository, set, counts, hold, fault });
        }
    }
    let unread = lines.iter().any(|line| line.fault.is_some());
    if common.json {
        output::json(&serde_json::json!({ "holds": lines, "faults": faults }))?;
    } else if lines.is_empty() && faults.is_empty() {
        output::line("No hold.")?;
    } else {
        for line in &lines {
            output::line(&row(line))?;
        }
    }
    let code = tell(&faults, common.json)?;
    Ok(if unread { ExitCode::from(Kind::Integrity.exit_code()) } else { code })
}

fn row(line: &Line) -> String {
    let place = format!("{}  {}", line.set, line.repository);
    match (&line.hold, &line.fault) {
        (Some(hold), _) => {
            let until = match hold.until {
                Some(until) if line.counts => format!(", until {until:.0} (UTC)"),
                Some(until) => format!(", ran out on {until:.0} (UTC)"),
                None => String::new(),
            };
            let wal = if hold.wal_to.is_some() { ", with WAL" } else { "" };
            format!(
                "{place}  \"{}\", placed by {} on {:.0} (UTC){until}{wal}",
                hold.name, hold.placed_by, hold.placed
            )
        }
        (None, Some(fault)) => format!("{place}  ! {fault}"),
        (None, None) => place,
    }
}

fn release(config: &Config, common: &Common, name: &str) -> Result<ExitCode, Explanation> {
    let (mut released, mut faults) = (Vec::new(), Vec::new());
    for (repository, opened) in repositories(config, common)? {
        match opened.and_then(|one| one.release_hold(name).map_err(|e| e.explanation())) {
            Ok(sets) => released.extend(sets.into_iter().map(|set| (repository.clone(), set))),
            Err(fault) => faults.push(Fault { repository, fault }),
        }
    }
    if released.is_empty() && faults.is_empty() {
        return Err(Explanation::new(
            Kind::NotFound,
            format!("There is no hold named \"{name}\"."),
            "Nothing was changed.",
            "See what there is: lifeboat hold list.",
        ));
    }
    if common.json {
        output::json(&serde_json::json!({
            "name": name, "released": released, "faults": faults,
        }))?;
    } else {
        for (repository, set) in &released {
            output::line(&format!("{set} in {repository} is not held as \"{name}\" any more."))?;
        }
    }
    tell(&faults, common.json)
}

fn user() -> String {
    let user = User::from_uid(getuid()).ok().flatten();
    user.map_or_else(|| getuid().to_string(), |user| user.name)
}
