//! `keys list | rotate | rotate-master | destroy | escrow | check | restore-master`.

use super::args::{Keys, RotateMaster};
use super::output;
use crate::engine::config::Config;
use crate::engine::crypto::{MasterKey, MasterKeySource};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::keys::check::{self, Line, WrapState};
use crate::engine::keys::configuration::{self, Change};
use crate::engine::keys::escrow::{self, Sheet};
use crate::engine::keys::inventory::{self, Inventory};
use crate::engine::keys::{self, Holding, KeysError, Place, Shared, rotation};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

pub(super) fn run(
    config: impl Fn() -> Result<Config, Explanation>,
    verb: Keys,
) -> Result<ExitCode, Explanation> {
    match verb {
        Keys::List { cluster, repository, json } => {
            list(&config()?, cluster.as_deref(), repository.as_deref(), json)
        }
        Keys::Rotate { cluster, repository, json } => {
            rotate(&config()?, cluster.as_deref(), repository.as_deref(), json)
        }
        Keys::RotateMaster(args) => rotate_master(&config()?, &args),
        Keys::Check { cluster, repository, escrow, json } => {
            let (cluster, repository) = (cluster.as_deref(), repository.as_deref());
            check_all(&config()?, cluster, repository, escrow.as_deref(), json)
        }
        Keys::Destroy { id, cluster, repository, json } => {
            destroy(&config()?, &id, cluster.as_deref(), repository.as_deref(), json)
        }
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

/// The one place that is meant.
fn one(
    config: &Config,
    cluster: Option<&str>,
    repository: Option<&str>,
) -> Result<Place, Explanation> {
    let mut places = keys::places(config, cluster, repository).map_err(told)?;
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

fn list(
    config: &Config,
    cluster: Option<&str>,
    repository: Option<&str>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let now = Timestamp::now();
    let mut inventories = Vec::new();
    for holding in opened(&keys::places(config, cluster, repository).map_err(told)?)? {
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

fn rotate(
    config: &Config,
    cluster: Option<&str>,
    repository: Option<&str>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let holding = one(config, cluster, repository)?.open().map_err(told)?;
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

fn destroy(
    config: &Config,
    id: &str,
    cluster: Option<&str>,
    repository: Option<&str>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let holding = one(config, cluster, repository)?.open().map_err(told)?;
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
    cluster: Option<&str>,
    repository: Option<&str>,
    sheet: Option<&Path>,
    json: bool,
) -> Result<ExitCode, Explanation> {
    let places = match sheet {
        // A sheet is one master key's, and is to open all that this master key opens.
        Some(_) if cluster.is_none() && repository.is_none() => {
            keys::sharing(config, None).map_err(told)?.places
        }
        _ => keys::places(config, cluster, repository).map_err(told)?,
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

/// What `rotate-master` did, for programs.
#[derive(Debug, Default, Serialize)]
struct Rotated {
    master: String,
    previous_master: Option<String>,
    rewrapped: Vec<rotation::Rewrapped>,
    retired: Vec<rotation::Retired>,
    checks: Vec<Line>,
    /// The configuration's old text, where it was changed.
    old_configuration: Vec<PathBuf>,
    /// What is left to do by hand.
    next: Vec<String>,
}

fn rotate_master(config: &Config, args: &RotateMaster) -> Result<ExitCode, Explanation> {
    let _alone = rotation::Alone::take(&config.path).map_err(told)?;
    // As it is now that no other rotation changes it.
    let config = &crate::engine::config::load(Some(&config.path)).map_err(|e| e.explanation())?;
    let shared = keys::sharing(config, args.repository.as_deref()).map_err(told)?;
    let mut done = Rotated::default();
    let mut ended = None;
    if let Some((source, new)) = new_master(&shared.source, args)? {
        begin(config, &shared, &source, &new, args, &mut done)?;
        if args.retire {
            ended = Some(crate::engine::config::load(Some(&config.path)));
        }
    }
    let config = ended.transpose().map_err(|e| e.explanation())?.unwrap_or_else(|| config.clone());
    if args.retire {
        let shared = keys::sharing(&config, args.repository.as_deref()).map_err(told)?;
        retire(&config, &shared, args, &mut done)?;
    }
    if args.json {
        output::json(&done)?;
    } else {
        show_rotated(&done)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The new master key, made first where that was asked for.
fn new_master(
    old: &MasterKeySource,
    args: &RotateMaster,
) -> Result<Option<(MasterKeySource, Arc<MasterKey>)>, Explanation> {
    let source = match (&args.new_key_file, &args.new_key_command) {
        (Some(path), _) => {
            let path = std::path::absolute(path)
                .map_err(|source| told(KeysError::File { path: path.clone(), source }))?;
            if args.make {
                let made = MasterKey::make().map_err(|e| e.explanation())?;
                let like = match old {
                    MasterKeySource::File(path) => Some(path.as_path()),
                    _ => None,
                };
                escrow::write_key(&made, &path, like)
                    .map_err(|error| already_made(&path, error))?;
            }
            MasterKeySource::File(path)
        }
        (None, Some(words)) => MasterKeySource::Command(words.clone()),
        (None, None) => return Ok(None),
    };
    let master = MasterKey::load(&source).map_err(|e| e.explanation())?;
    Ok(Some((source, Arc::new(master))))
}

fn already_made(path: &Path, error: KeysError) -> Explanation {
    let mut explanation = told(error);
    if path.exists() {
        explanation.next =
            String::from("To go on with the key file that is there, say the same without --make.");
    }
    explanation
}

fn begin(
    config: &Config,
    shared: &Shared,
    source: &MasterKeySource,
    new: &Arc<MasterKey>,
    args: &RotateMaster,
    done: &mut Rotated,
) -> Result<(), Explanation> {
    if new.same(&shared.master) {
        return Err(told(KeysError::SameMaster));
    }
    let change = match source {
        MasterKeySource::File(path) => {
            shared.places.first().map(|place| Change::begin(place, path)).transpose()
        }
        _ => Ok(None),
    };
    // Whether --apply can be kept is found out before anything is written.
    let change = match (change, args.apply) {
        (Ok(Some(change)), _) => Some(change),
        (Err(error), true) => return Err(told(error)),
        (Ok(None), true) => {
            let what = "a master key that a command prints is named in the configuration by hand";
            return Err(told(KeysError::Config(what.to_owned())));
        }
        (_, false) => None,
    };
    let holdings = opened(&shared.places)?;
    let (rewrapped, checks) = rotation::begin(&holdings, source, new).map_err(told)?;
    done.master = new.fingerprint().to_owned();
    done.previous_master = Some(shared.master.fingerprint().to_owned());
    done.rewrapped = rewrapped;
    done.checks = checks;
    match (change, args.apply) {
        (Some(change), true) => {
            let kept =
                configuration::apply(&config.path, &names(shared), &change, Timestamp::now());
            done.old_configuration.push(kept.map_err(told)?);
        }
        (change, _) => {
            let lines = change.map_or_else(
                || format!("{source} as the master key, and the one before as {PREVIOUS}"),
                |change| change.told(),
            );
            done.next.push(format!(
                "In {}, under [repositories.encryption] of {}:\n{lines}",
                config.path.display(),
                quoted(shared)
            ));
        }
    }
    if !args.retire {
        done.next.push(String::from(
            "Give the new key and the changed configuration to every other host that uses these \
             repositories, and print the new sheet: lifeboat keys escrow",
        ));
        done.next.push(String::from(
            "When all hosts have it: lifeboat keys rotate-master --retire --apply",
        ));
    }
    Ok(())
}

const PREVIOUS: &str = "previous_master_key_file";

fn retire(
    config: &Config,
    shared: &Shared,
    args: &RotateMaster,
    done: &mut Rotated,
) -> Result<(), Explanation> {
    let holdings = opened(&shared.places)?;
    let (retired, checks) = rotation::retire(&holdings).map_err(told)?;
    done.master = shared.master.fingerprint().to_owned();
    let late = retired.iter().any(|one| !one.late.is_empty());
    done.retired = retired;
    done.checks.extend(checks);
    if late {
        done.next.push(String::from(
            "A host made a data key under the old master key while this went on. Give it the new \
             one, then again: lifeboat keys rotate-master --retire --apply",
        ));
        return Ok(());
    }
    if args.apply {
        let now = Timestamp::now();
        let kept = configuration::apply(&config.path, &names(shared), &Change::End, now);
        done.old_configuration.push(kept.map_err(told)?);
    } else {
        done.next.push(format!(
            "In {}, take {PREVIOUS} out of [repositories.encryption] of {}",
            config.path.display(),
            quoted(shared)
        ));
    }
    done.next.push(String::from(
        "Keep the old key and its sheet as long as any copy of these repositories from before is \
         kept somewhere; then destroy both",
    ));
    Ok(())
}

fn names(shared: &Shared) -> BTreeSet<String> {
    shared.places.iter().map(|place| place.config.name.clone()).collect()
}

fn quoted(shared: &Shared) -> String {
    let names: Vec<String> = names(shared).iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

fn show_rotated(done: &Rotated) -> Result<(), Explanation> {
    for one in &done.rewrapped {
        output::line(&format!(
            "{}/{}: {} data keys open with {} ({} wrapped now)",
            one.cluster, one.repository, one.keys, done.master, one.written
        ))?;
    }
    show_lines(&done.checks)?;
    for one in &done.retired {
        output::line(&format!(
            "{}/{}: {} objects of the old master key removed",
            one.cluster, one.repository, one.removed
        ))?;
        for name in &one.left {
            output::line(&format!("! {name} opens with neither master key, and was left"))?;
        }
        for id in &one.late {
            output::line(&format!("! {id} was made under the old master key meanwhile"))?;
        }
    }
    for path in &done.old_configuration {
        output::line(&format!("The configuration was changed; as it was: {}", path.display()))?;
    }
    for (number, next) in done.next.iter().enumerate() {
        output::line(&format!("{}. {next}", number + 1))?;
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
