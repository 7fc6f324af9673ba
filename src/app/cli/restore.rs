//! `restore`: proves that the target can be reached, then puts a base backup into an empty
//! directory, with recovery configured, and says how to start it. Starts nothing.

use super::args;
use super::diagnosis::{self, Again};
use super::output::{self, Bar};
use super::suspects::told;
use super::{cluster, delta, no_set, repository_config, time};
use crate::engine::config::{Cluster, Config};
use crate::engine::copies;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::incident::facts::{BaseSummary, Check, Reach, Target, TargetPoint, Verdict};
use crate::engine::incident::trouble::{Cure, LOOK_AGAIN, NAMED_PLACE};
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::postgres::recovery_settings::{self, RecoverySettings};
use crate::engine::recovery_point::reach::NEW_TABLESPACES;
use crate::engine::recovery_point::{Landscape, Means, PlacesFacts, gather};
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::restore::base;
use crate::engine::restore::base::delta::Reuse;
use crate::engine::restore::places::mapped;
use crate::engine::retention::in_use;
use crate::engine::runner::guard;
use crate::engine::trouble::{self, Errand};
use crate::engine::wal::inspect::ScanProgress;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn restore(config: &Config, args: &args::Restore) -> Result<ExitCode, Explanation> {
    let mut met = Met::default();
    carry_out(config, args, &mut met).map_err(|failure| met.diagnosed(config, args, failure))
}

/// What was known when a restore failed.
#[derive(Debug, Default)]
struct Met {
    bases: Vec<BaseSummary>,
    base: Option<BaseSummary>,
    reach: Option<Reach>,
    target: Option<Target>,
}

impl Met {
    /// The failure with what it is and with the next command, where that is known.
    fn diagnosed(
        &self,
        config: &Config,
        args: &args::Restore,
        failure: Explanation,
    ) -> Explanation {
        let Ok(cluster) = cluster(config, args.common.cluster.as_deref()) else { return failure };
        let errand = Errand {
            config,
            cluster,
            only: args.common.repository.as_deref(),
            data: &args.target_directory,
            base: self.base.as_ref(),
            reach: self.reach.as_ref(),
            copy: None,
        };
        let Some(trouble) = errand.recognise("restore-base", &failure) else { return failure };
        let again = Again::now();
        diagnosis::of_command(&trouble, failure, &|cure| self.next(cluster, &again, cure))
    }

    /// What is to be run once a trouble is mended; where another command mends it, that one.
    fn next(&self, cluster: &Cluster, again: &Again, cure: &Cure) -> Option<String> {
        match cure.id.as_str() {
            LOOK_AGAIN | trouble::WAIT => Some(again.line()),
            trouble::WITHOUT => {
                let left = cluster.repositories.iter().find(|name| !cure.with.contains(name))?;
                Some(again.with("--repository", left))
            }
            trouble::OTHER_DISK | NAMED_PLACE => {
                Some(again.with("--target-directory", "DIRECTORY"))
            }
            trouble::OTHER_PLACE => Some(again.with("--target-directory", cure.with.first()?)),
            trouble::OTHER_BASE => {
                let failed = self.base.as_ref().map(|base| &base.set);
                let mut others: Vec<BaseSummary> = self.bases.clone();
                others.retain(|base| Some(&base.set) != failed);
                let other = choose(&others, None, self.target.as_ref()?).ok()?;
                Some(again.with("--set", &other.set))
            }
            _ => None,
        }
    }
}

fn carry_out(
    config: &Config,
    args: &args::Restore,
    met: &mut Met,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, args.common.cluster.as_deref())?;
    let only = args.common.repository.as_deref();
    if only.is_some() {
        repository_config(config, cluster, only)?;
    }
    let mut target = target(&args.point, "")?;
    let (bases, faults) = bases(config, cluster, only, args.set.as_deref())?;
    met.bases.clone_from(&bases);
    met.target = Some(target.clone());
    let chosen = choose(&bases, args.set.as_deref(), &target);
    // What cannot be opened is not absent, and may be the very one.
    let chosen = chosen.map_err(|error| faults.first().cloned().unwrap_or(error));
    let chosen = if args.set.is_some() { Ok(chosen?) } else { chosen };
    let bar = Bar::new(args.common.json);
    let proof = prove(config, cluster, args, &target, &bar);
    bar.finish();
    let (reach, unproven) = proven(proof, args.unproven)?;
    let no_start = match &unproven {
        Some(_) => writes_elsewhere(reach.as_ref().map_or(&[], |reach| &reach.checks))?,
        None => None,
    };
    if let Some(why) = &unproven {
        output::warn(why);
    }
    let served = reach.as_ref().filter(|reach| reach.reachable).and_then(|r| r.base.clone());
    let base = served.map_or(chosen, Ok)?;
    met.base = Some(base.clone());
    met.reach.clone_from(&reach);
    if let Some(reach) = &reach {
        target.timeline = target.timeline.or(reach.timeline());
    }
    let minimums = reach.as_ref().map(|reach| reach.minimum_settings.clone()).unwrap_or_default();
    let copies = copies::choose(config, cluster, &base.set, only, None)?;
    let owner = owner_for(config, cluster)?;
    let spaces = spaces(cluster, args, copies.repositories().first().copied(), &base.set)?;
    let reuse = delta::reuse(config, args, &base)?;
    // Without the mark the restore is as good; only a cleanup at the same time knows less.
    let in_use = in_use::Mark::restore(&config.state_directory(), &cluster.name, &base.set);
    let unmarked = in_use.as_ref().err().map(|error| {
        format!(
            "That this restore is under way could not be noted in {} ({error}): let no cleanup run \
             on this machine meanwhile.",
            config.state_directory().display()
        )
    });
    if let Some(note) = &unmarked {
        output::warn(note);
    }
    let bar = Bar::new(args.common.json);
    let progress = |progress| bar.show(&progress);
    let options = base::Options {
        owner: nix::unistd::geteuid().is_root().then_some((owner.uid, owner.gid)),
        tablespaces: spaces,
        wal: args.wal_directory.clone(),
        reuse: reuse.clone(),
        ..base::Options::new("restore", &progress, &|| false)
    };
    let repositories = copies.repositories();
    let restored = base::restore_from(&repositories, &base.set, &args.target_directory, &options);
    bar.finish();
    let restored = restored.map_err(|e| e.explanation())?;
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let bin_directory = cluster.control.bin_directory();
    let binaries = discovery::binaries(bin_directory, Some(args.target_directory.as_path()))
        .map_err(|e| e.explanation())?;
    let available = copies::available(config, cluster);
    let settings = RecoverySettings {
        restore_command: restore_command(config, cluster, &available.open)?,
        target: target.clone(),
        minimums,
    };
    recovery_settings::write(&args.target_directory, &owner, &binaries, &settings)
        .map_err(|e| e.explanation())?;
    let not_asked = available.told();
    let notes: Vec<&String> = faults
        .iter()
        .chain(&copies.notes)
        .chain(&restored.notes)
        .chain(&not_asked)
        .chain(&unmarked)
        .chain(&unproven)
        .collect();
    let directory = args.target_directory.display();
    if args.common.json {
        output::json(&serde_json::json!({
            "set": restored.set,
            "files": restored.files,
            "bytes": restored.bytes,
            "reused_files": restored.reused_files,
            "reused_bytes": restored.reused_bytes,
            "seconds": restored.seconds,
            "directory": args.target_directory,
            "target": target,
            "copies": repositories.iter().map(|one| &one.config.name).collect::<Vec<_>>(),
            "proven": unproven.is_none(),
            "not_to_be_started": no_start,
            "proof": reach.as_ref().map(|reach| &reach.checks),
            "notes": notes,
        }))?;
    } else {
        output::line(&format!(
            "Restored {} into {directory} in {:.1} s: {} files.",
            restored.set, restored.seconds, restored.files
        ))?;
        if let Some(Reuse { from, .. }) = &reuse {
            output::line(&format!(
                "{} files, {}, were proven equal and taken from {}; the rest was fetched.",
                restored.reused_files,
                humansize::format_size(restored.reused_bytes, humansize::DECIMAL),
                from.display()
            ))?;
        }
        if repositories.len() > 1 {
            output::line(&format!("Copies, fastest first: {}.", copies.order()))?;
        }
        for note in notes {
            output::line(&format!("Note: {note}"))?;
        }
        output::line(&format!("It is set to recover {target}, and to wait there."))?;
        if let Some(why) = &no_start {
            output::line(&format!("Nothing was started, and no command for it is given: {why}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::line("Nothing was started. Start it with its own port, and look at it:")?;
        // Promoted, it would archive a timeline of its own beside the cluster's.
        output::line(&format!(
            "  {} -D {directory} -o '-p 5433 -c archive_mode=off' start",
            binaries.program("pg_ctl").display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The configured mapping of tablespaces, and over it the one that was asked for.
fn mapping(cluster: &Cluster, args: &args::Restore) -> BTreeMap<PathBuf, PathBuf> {
    let mut mapping = cluster.tablespace_mapping.clone();
    mapping.extend(args.tablespace_mapping.iter().cloned());
    mapping
}

/// Where the backup's tablespaces go, by OID. A mapping of one that it does not have is an error,
/// for it is most likely mistyped.
fn spaces(
    cluster: &Cluster,
    args: &args::Restore,
    repository: Option<&Repository>,
    set: &str,
) -> Result<BTreeMap<u32, PathBuf>, Explanation> {
    let read = repository.map(|r| r.read_set(set).map_err(|e| e.explanation())).transpose()?;
    let found = read.map(|set| set.tablespaces).unwrap_or_default();
    for (old, _) in &args.tablespace_mapping {
        if !found.iter().any(|space| Path::new(&space.path) == old) {
            let known: Vec<&str> = found.iter().map(|space| space.path.as_str()).collect();
            return Err(Explanation::new(
                Kind::Config,
                format!("{set} has no tablespace at {}.", old.display()),
                "Nothing was touched.",
                format!("It has these: {}.", known.join(", ")),
            ));
        }
    }
    let mapping = mapping(cluster, args);
    Ok(found.iter().map(|s| (s.oid, mapped(Path::new(&s.path), &mapping))).collect())
}

/// The proof of reach that the screens make too, for a restore into that directory. WAL that only
/// the damaged directory holds does not count: nobody rescues it here.
fn prove(
    config: &Config,
    cluster: &Cluster,
    args: &args::Restore,
    target: &Target,
    bar: &Bar,
) -> Result<Reach, Explanation> {
    let mut inputs = gather::inputs(config, cluster, args.common.repository.as_deref());
    inputs.rescue = None;
    inputs.cluster.data_directory.clone_from(&args.target_directory);
    inputs.cluster.alternative_data_directory = None;
    // Beside the damaged cluster, whose own folders stay as they are.
    inputs.cluster.places =
        PlacesFacts { mapping: mapping(cluster, args), ..PlacesFacts::default() };
    let means = args.set.clone().map_or(Means::AnyBase, Means::Base);
    let progress = |scan: ScanProgress| bar.show(&told(scan, "proof"));
    Landscape::build(inputs, &progress, &|| false)
        .and_then(|landscape| landscape.reach_by(target, &means, &progress, &|| false))
        .map_err(|e| e.explanation())
}

/// What a proof that failed means: the end, or loud words where it is to go on all the same.
fn proven(
    proof: Result<Reach, Explanation>,
    all_the_same: bool,
) -> Result<(Option<Reach>, Option<String>), Explanation> {
    let (reach, why) = match proof {
        Ok(reach) if reach.reachable => return Ok((Some(reach), None)),
        Ok(reach) => {
            let why = guard::unreachable(&reach);
            (Some(reach), why)
        }
        Err(why) => (None, why),
    };
    if !all_the_same {
        let next = format!("{} To restore all the same: --unproven.", why.next);
        return Err(Explanation { next: next.trim_start().to_owned(), ..why });
    }
    let words = format!(
        "NOT PROVEN, restored all the same as --unproven says: {} The server may end before the \
         target or never stop: look at what it holds before anybody uses it.",
        sentence(&why.what)
    );
    Ok((reach, Some(words)))
}

/// Whether a server on what is restored unproven may write into another cluster's tablespace, as
/// replaying the creation of one does. `--unproven` never switches that guard off; where it could
/// not be asked, the words say why no start is proposed.
fn writes_elsewhere(checks: &[Check]) -> Result<Option<String>, Explanation> {
    let guards = ["tablespaces", NEW_TABLESPACES.0];
    let found = |id: &str| checks.iter().find(|check| check.id == id);
    let failed = guards.iter().filter_map(|id| found(id));
    if let Some(check) = failed.into_iter().find(|check| check.verdict == Verdict::Failed) {
        return Err(Explanation::new(
            Kind::Refused,
            format!("{}: {}", check.title, check.detail),
            "Nothing was restored.",
            "--unproven does not switch this off: a live cluster's files could be written over. Choose \
             a point before it, another folder (--tablespace-mapping), or another host.",
        ));
    }
    let why = match found(NEW_TABLESPACES.0) {
        Some(check) if check.verdict == Verdict::Verified => return Ok(None),
        Some(check) => check.detail.clone(),
        None => String::from("the log could not be read for it."),
    };
    Ok(Some(format!(
        "whether its replay would write into the tablespace of a cluster on this host could not be \
         told: {why}"
    )))
}

/// What the command line says of the point; `next` says what to do about an LSN that is none.
pub(super) fn target(args: &args::Point, next: &str) -> Result<Target, Explanation> {
    let point = if let Some(text) = &args.time {
        TargetPoint::Time(time(text)?)
    } else if let Some(text) = &args.lsn {
        TargetPoint::Lsn(text.parse().map_err(|error| {
            Explanation::new(Kind::Config, format!("{error}."), "Nothing was touched.", next)
        })?)
    } else if let Some(xid) = args.xid {
        TargetPoint::Xid(xid)
    } else if let Some(name) = &args.name {
        TargetPoint::Name(name.clone())
    } else {
        TargetPoint::EndOfArchive
    };
    Ok(Target { point, inclusive: !args.exclusive, timeline: args.timeline })
}

/// The sets of every repository that answers, oldest first, each once; and why others cannot be
/// opened, or the named one where one is.
fn bases(
    config: &Config,
    cluster: &Cluster,
    only: Option<&str>,
    set: Option<&str>,
) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
    let (mut bases, mut failure): (Vec<BaseSummary>, _) = (Vec::new(), None);
    let (mut answered, mut faults) = (false, Vec::new());
    for (settings, opened) in copies::open_all(config, cluster) {
        if only.is_some_and(|only| only != settings.name) {
            continue;
        }
        let looked = opened.and_then(|repository| match set {
            None => repository.bases().map_err(|e| e.explanation()),
            Some(set) => match repository.read_set(set) {
                Ok(found) => Ok((vec![found.summary(&settings.name)], Vec::new())),
                Err(RepositoryError::NoSuchSet(_) | RepositoryError::BadName { .. }) => {
                    Ok((Vec::new(), Vec::new()))
                }
                Err(error) => Ok((Vec::new(), vec![error.of_set(set)])),
            },
        });
        match looked {
            Ok((found, unreadable)) => {
                answered = true;
                bases.extend(found);
                faults.extend(unreadable);
            }
            Err(reason) => failure = failure.or(Some(reason)),
        }
    }
    if let (false, Some(failure)) = (answered, failure) {
        return Err(failure);
    }
    bases.sort_by(|a, b| a.set.cmp(&b.set));
    bases.dedup_by(|a, b| a.set == b.set);
    Ok((bases, faults))
}

/// The named set, or the newest that ended before the target.
fn choose(
    bases: &[BaseSummary],
    set: Option<&str>,
    target: &Target,
) -> Result<BaseSummary, Explanation> {
    let serves = |base: &&BaseSummary| match &target.point {
        TargetPoint::Time(at) => base.finished < *at,
        TargetPoint::Lsn(lsn) => base.stop_lsn <= *lsn,
        TargetPoint::Xid(_)
        | TargetPoint::Name(_)
        | TargetPoint::EndOfArchive
        | TargetPoint::EndOfBase => true,
    };
    let found = match set {
        Some(set) => bases.iter().find(|base| base.set == set),
        None => bases.iter().rev().find(serves),
    };
    let found = found.ok_or_else(|| match set {
        Some(set) => no_set(set),
        None => Explanation::new(
            Kind::Unreachable,
            format!("No backup ended before the target ({target})."),
            "Nothing was touched.",
            "The earliest reachable time is the end of the oldest backup: lifeboat list-backups.",
        ),
    })?;
    if !serves(&found) {
        return Err(Explanation::new(
            Kind::Unreachable,
            format!("{} ended after the target ({target}) and cannot reach it.", found.set),
            "Nothing was touched.",
            "Take an older set, or leave --set out.",
        ));
    }
    Ok(found.clone())
}

/// Whose the restored files are: of the user who runs this; where that is root, of the owner of the
/// cluster's data directory.
fn owner_for(config: &Config, cluster: &Cluster) -> Result<Owner, Explanation> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Owner::current());
    }
    if let Ok(owner) = discovery::owner(&cluster.data_directory) {
        return Ok(owner);
    }
    let name = config.sandbox.user.as_deref().unwrap_or("postgres");
    Owner::named(name).map_err(|e| e.explanation())
}

/// Asks the `repositories` that are open now: a server that asks one that is not can never be
/// promoted, since no history's absence is proven.
fn restore_command(
    config: &Config,
    cluster: &Cluster,
    repositories: &[String],
) -> Result<Vec<String>, Explanation> {
    let program = std::env::current_exe().map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("Lifeboat cannot tell where its own program is: {error}."),
            "The files are restored; recovery is not configured.",
            "Start it by its full path.",
        )
    })?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![
        text(&program),
        String::from("--config"),
        text(&config.path),
        String::from("restore-wal"),
        String::from("--cluster"),
        cluster.name.clone(),
    ];
    for name in repositories {
        command.extend([String::from("--repository"), name.clone()]);
    }
    command.extend(["%f", "%p"].map(String::from));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::validate::check::begin;

    #[test]
    fn unproven_never_switches_the_guard_of_tablespaces_off() {
        let guard = || begin(NEW_TABLESPACES.0, NEW_TABLESPACES.1);
        let missing = || begin("wal", "WAL without a gap").failed("It is missing.");
        assert_eq!(writes_elsewhere(&[missing(), guard().verified("None.")]), Ok(None));
        let refused =
            writes_elsewhere(&[missing(), guard().failed("It holds files.")]).unwrap_err();
        assert_eq!(refused.kind, Kind::Refused);
        let taken = begin("tablespaces", "Folders").failed("It holds files.");
        assert!(writes_elsewhere(&[guard().verified("None."), taken]).is_err());
        // Not asked is not free of it: the files are restored, and no start is proposed.
        let unknown = writes_elsewhere(&[guard().could_not_verify("No answer.")]).unwrap().unwrap();
        assert!(unknown.contains("No answer."), "{unknown}");
        assert!(writes_elsewhere(&[]).unwrap().is_some());
    }
}
