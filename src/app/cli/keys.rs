//! `keys list | rotate | rotate-master | destroy | escrow | check | restore-master`.

mod rotate_master;

use super::args::{Keys, Which};
use super::output;
use crate::engine::config::Config;
use crate::engine::crypto::{MasterKey, MasterKeySource};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::keys::check::{self, Line, WrapState};
use crate::engine::keys::escrow::{self, Sheet};
use crate::engine::keys::inventory::{self, Inventory};
use crate::engine::keys::{self, Holding, KeysError, Place};
use jiff::Timestamp;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub(super) fn run(
    config: impl Fn() -> Result<Config, Explanation>,
    verb: Keys,
) -> Result<ExitCode, Explanation> {
    match verb {
        Keys::List { which, json } => list(&config()?, &which, json),
        Keys::Rotate { which, json } => rotate(&config()?, &which, json),
        Keys::RotateMaster(args) => rotate_master::rotate(&config()?, &args),
        Keys::Check { which, escrow, json } => {
            check_all(&config()?, &which, escrow.as_deref(), json)
        }
        Keys::Destroy { id, which, json } => destroy(&config()?, &id, &which, json),
        Keys::Escrow { repository, output, show, json } => {
            escrow_sheet(&config()?, repository.as_deref(), output.as_deref(), show, json)
        }
        Keys::RestoreMaster { from_sheet, output, json } => {
            restore_master(&from_sheet, &output, json)
        }
    }
}

fn told(error: KeysError) -> Explanation {
    error.explanation()
}

/// Every place that is meant.
fn meant(config: &Config, which: &Which) -> Result<Vec<Place>, Explanation> {
    keys::places(config, which.cluster.as_deref(), which.repository.as_deref()).map_err(told)
}

/// The one place that is meant.
fn one(config: &Config, which: &Which) -> Result<Place, Explanation> {
    let mut places = meant(config, which)?;
    match (places.pop(), places.is_empty()) {
        (Some(only), true) => Ok(only),
        (last, _) => {
            let all: Vec<String> = places.iter().chain(&last).map(ToString::to_string).collect();
            Err(Explanation::new(
                Kind::Config,
                format!("Several repositories could be meant: {}.", all.join(", ")),
                "Nothing was touched.",
                "Say which with --cluster and --repository.",
            ))
        }
    }
}

fn opened(places: &[Place]) -> Result<Vec<Holding>, Explanation> {
    places.iter().map(|place| place.open().map_err(told)).collect()
}

fn list(config: &Config, which: &Which, json: bool) -> Result<ExitCode, Explanation> {
    let now = Timestamp::now();
    let mut inventories = Vec::new();
    for holding in opened(&meant(config, which)?)? {
        inventories.push(inventory::list(&holding, now).map_err(told)?);
    }
    if json {
        #[derive(Serialize)]
        struct Listing<'a> {
            repositories: &'a [Inventory],
        }
        output::json(&Listing { repositories: &inventories })?;
    } else {
        for inventory in &inventories {
            show_inventory(inventory)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_inventory(inventory: &Inventory) -> Result<(), Explanation> {
    let Inventory { cluster, repository, place, master, .. } = inventory;
    output::line(&format!("{cluster}, repository \"{repository}\" at {place}"))?;
    let before = inventory.previous_master.as_ref();
    let before = before.map_or_else(String::new, |one| format!(", before it {one}"));
    output::line(&format!("  master key {master}{before}"))?;
    if inventory.keys.is_empty() {
        output::line("  no data key yet")?;
    }
    for key in &inventory.keys {
        let days = key.age_seconds.unwrap_or_default() / 86_400;
        output::line(&format!("  {}  {days} days old", key.id))?;
        for object in &key.objects {
            let whose = object.master.as_deref().unwrap_or("not known");
            let state = match &object.state {
                WrapState::Opens => String::from("opens"),
                WrapState::OpensWithPrevious => String::from("opens with the master key before"),
                WrapState::OtherMaster => String::from("another master key's"),
                WrapState::Damaged(why) => format!("DAMAGED: {why}"),
            };
            output::line(&format!("    wrapped for {whose:16}  {state}"))?;
        }
        if !key.sets.is_empty() {
            output::line(&format!("    {}", key.sets.join(", ")))?;
        }
        if let Some(wal) = &key.wal {
            let count = wal.objects;
            output::line(&format!("    WAL {} to {} ({count} files)", wal.first, wal.last))?;
        }
        if key.sets.is_empty() && key.wal.is_none() {
            output::line("    nothing that is kept needs it")?;
        }
    }
    for set in &inventory.unreadable_sets {
        output::line(&format!("  ! which key {set} needs is not readable"))?;
    }
    Ok(())
}

fn rotate(config: &Config, which: &Which, json: bool) -> Result<ExitCode, Explanation> {
    let holding = one(config, which)?.open().map_err(told)?;
    let id = inventory::rotate(&holding).map_err(told)?;
    if json {
        output::json(&serde_json::json!({
            "cluster": holding.place.cluster,
            "repository": holding.place.config.name,
            "key": id,
        }))?;
    } else {
        output::line(&format!("{id} is the newest data key; WAL from here on is under it."))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn destroy(config: &Config, id: &str, which: &Which, json: bool) -> Result<ExitCode, Explanation> {
    let holding = one(config, which)?.open().map_err(told)?;
    inventory::destroy(&holding, id, Timestamp::now()).map_err(told)?;
    if json {
        output::json(&serde_json::json!({ "destroyed": id }))?;
    } else {
        output::line(&format!("{id} is destroyed in {}.", holding.place))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_all(
    config: &Config,
    which: &Which,
    sheet: Option<&Path>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let places = match sheet {
        // A sheet is one master key's, and is to open all that this master key opens.
        Some(_) if which.cluster.is_none() && which.repository.is_none() => {
            keys::sharing(config, None).map_err(told)?.places
        }
        _ => meant(config, which)?,
    };
    let given = sheet
        .map(|path| {
            let source = MasterKeySource::Sheet(path.to_owned());
            MasterKey::load(&source).map(|master| (source, Arc::new(master)))
        })
        .transpose()
        .map_err(|e| e.explanation())?;
    let mut lines: Vec<Line> = Vec::new();
    for place in &places {
        let outcome = place.open().and_then(|holding| {
            let ring = match &given {
                Some((source, master)) => holding.ring_of(source, master),
                None => holding.ring()?,
            };
            Ok(check::all(&holding, ring))
        });
        match outcome {
            Ok(found) => lines.extend(found),
            Err(error) => lines.push(check::unopened(place, &error)),
        }
    }
    let verdict = Verdict::of_all(lines.iter().map(|line| line.verdict));
    if json {
        output::json(&serde_json::json!({ "verdict": verdict, "checks": lines }))?;
    } else {
        show_lines(&lines)?;
        let what = match &given {
            Some((_, master)) => format!("The sheet's key {}", master.fingerprint()),
            None => String::from("All keys"),
        };
        output::line(&format!("{what}: {}", verdict.word()))?;
    }
    Ok(match verdict {
        Verdict::Verified => ExitCode::SUCCESS,
        _ => ExitCode::from(Kind::Integrity.exit_code()),
    })
}

fn show_lines(lines: &[Line]) -> Result<(), Explanation> {
    for line in lines {
        let place = format!("{}/{}", line.cluster, line.repository);
        let word = line.verdict.word();
        output::line(&format!("{word:17} {place}  {}  {}", line.subject, line.detail))?;
    }
    Ok(())
}

fn escrow_sheet(
    config: &Config,
    repository: Option<&str>,
    path: Option<&Path>,
    show: bool,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let shared = keys::sharing(config, repository).map_err(told)?;
    let mut places = Vec::new();
    for place in &shared.places {
        let at = place.open().map_err(told)?.store.describe();
        places.push((place.clone(), at));
    }
    let sheet = Sheet { master: &shared.master, places: &places, now: Timestamp::now() };
    let written = match path {
        Some(path) => sheet.write(path).map_err(told)?,
        None => Vec::new(),
    };
    let fingerprint = shared.master.fingerprint();
    if json {
        output::json(&serde_json::json!({ "fingerprint": fingerprint, "written": written }))?;
    } else if show {
        output::line(&sheet.text())?;
    } else {
        for path in &written {
            output::line(&format!("{}", path.display()))?;
        }
        output::line(&format!(
            "The sheet of the master key {fingerprint}. Print it, remove the files, and prove the \
             print by typing it in: lifeboat keys check --escrow FILE"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn restore_master(sheet: &Path, output: &Path, json: bool) -> Result<ExitCode, Explanation> {
    let source = MasterKeySource::Sheet(sheet.to_owned());
    let master = MasterKey::load(&source).map_err(|e| e.explanation())?;
    escrow::write_key(&master, output, None).map_err(told)?;
    let fingerprint = master.fingerprint();
    if json {
        output::json(&serde_json::json!({ "fingerprint": fingerprint, "written": output }))?;
    } else {
        output::line(&format!("{} holds the master key {fingerprint}.", output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
