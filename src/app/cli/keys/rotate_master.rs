//! `keys rotate-master`: a new master key beside the old one, then the old one gone. Owns the order,
//! what is said of it and what is left to do by hand; the configuration is changed only with --apply.

use super::{opened, show_lines, told};
use crate::app::cli::args::RotateMaster;
use crate::app::cli::output;
use crate::engine::config::Config;
use crate::engine::crypto::{MasterKey, MasterKeySource};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::keys::check::Line;
use crate::engine::keys::configuration::{self, Change};
use crate::engine::keys::{self, KeysError, Shared, escrow, rotation};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const PREVIOUS: &str = "previous_master_key_file";

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

pub(super) fn rotate(config: &Config, args: &RotateMaster) -> Result<ExitCode, Explanation> {
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
