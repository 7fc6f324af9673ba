//! The choice of a full restore (the runbook's Option B): which base backup, into which directory,
//! at which port, and the proof that it can be made, before a byte is copied. Writes nothing.
//!
//! The data is that of the backup's end: the backup needs WAL of its own range alone, so that a
//! hole in later WAL is no hindrance. Where that later WAL is whole it may be replayed on.

mod discard;

use crate::engine::config::{Cluster, Config};
use crate::engine::copies;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{
    BaseSummary, Check, Procedure, Reach, Source, Target, TargetPoint, Verdict,
};
use crate::engine::incident::past::Cost;
use crate::engine::postgres::discovery;
use crate::engine::postgres::{Lsn, control_file};
use crate::engine::recovery_point::opened::{self, OpenedSet};
use crate::engine::recovery_point::reach::{NEW_TABLESPACES, created_tablespaces, passes};
use crate::engine::recovery_point::{Archive, Rates, RepositoryArchive};
use crate::engine::repository::Repository;
use crate::engine::repository::descriptor::SetDescriptor;
use crate::engine::restore::places::vacant::{self, InUse};
use crate::engine::restore::places::{self, BackupSpace};
use crate::engine::restore::steps::Site;
use crate::engine::runner::plan::{Places, Plan};
use crate::engine::runner::protocol::FullRestore;
use crate::engine::runner::step::Standing;
use crate::engine::validate::check::begin;
use crate::engine::wal::Segment;
use crate::engine::wal::inspect::{Layered, Segments, Stretch, tablespaces_created};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use discard::discard;

/// The runbook's alternative port.
pub const PORT: u16 = 5433;
/// The check of where the new cluster goes: another place is named where it fails.
const DESTINATION: (&str, &str) = ("destination", "The new cluster's directory");
/// Ports above it that are tried where it is taken.
const PORTS: u16 = 50;
/// Above so many segments their names alone are looked at: reading them all would take long.
const READ: u64 = 64;

/// Judges a full restore as it was asked for. Where no set is named, those that were read and found
/// `damaged` are passed over, and a check says which newer ones were and why.
///
/// # Errors
/// Where no repository answers, no base backup is there, or it is not known whose it is.
pub fn choose(site: &Site, asked: &FullRestore, damaged: &[String]) -> Result<Reach, Explanation> {
    let (config, cluster) = (&site.config, &site.cluster);
    let (bases, unreadable) = bases(config, cluster)?;
    let known = site.identity().ok().map(|identity| identity.system_identifier);
    let list = candidates(&bases, known, asked.set.as_deref())
        .map_err(|error| unreadable.first().cloned().unwrap_or(error))?;
    let destination = asked.destination.as_deref().map_or_else(
        || beside(site.data()),
        |path| std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path)),
    );
    let port = free_port(asked.port.unwrap_or(PORT), cluster.connection.port)?;
    let place = Place { destination: &destination, port, held: false };
    if let (Some(_), Some(named)) = (&asked.set, list.first()) {
        return judge(site, named, &place, asked);
    }
    newest_that_serves(&list, damaged, |base| judge(site, base, &place, asked))
}

/// The first of the bases, newest first, that is not known as damaged and can be restored; where
/// none can, the verdict on the newest.
fn newest_that_serves(
    list: &[BaseSummary],
    damaged: &[String],
    mut judge: impl FnMut(&BaseSummary) -> Result<Reach, Explanation>,
) -> Result<Reach, Explanation> {
    let (mut passed_over, mut first) = (Vec::new(), None);
    for base in list {
        if damaged.contains(&base.set) {
            passed_over.push(format!("{} was read and found damaged", base.set));
            continue;
        }
        let mut reach = judge(base)?;
        if reach.reachable {
            reach.checks.extend(older(&passed_over));
            return Ok(reach);
        }
        passed_over.push(format!("{}: {}", base.set, why_not(&reach).trim_end_matches('.')));
        first.get_or_insert(reach);
    }
    first.ok_or_else(|| {
        refused(
            format!("No base backup is left: {}.", passed_over.join("; ")),
            "Look for a copy elsewhere and name its repository in lifeboat.toml.",
        )
    })
}

/// Says that a newer backup than this one was passed over: the data ends earlier than it could, which
/// somebody has to know before the gate. The restore itself is no less proven.
fn older(passed_over: &[String]) -> Option<Check> {
    if passed_over.is_empty() {
        return None;
    }
    let begun = begin("newer", "The newest backup serves");
    Some(begun.could_not_verify(format!(
        "An older one is taken, whose data ends earlier. Passed over: {}.",
        passed_over.join("; ")
    )))
}

/// The plan's restore from the newest other base backup that serves, into the directory that it has
/// made already. `judged` reads the log, as in [`weigh`].
///
/// # Errors
/// Where the plan is no full restore, no repository answers, or there is no other backup.
pub fn from_another(
    site: &Site,
    plan: &Plan,
    failed: &[String],
    judged: &dyn Fn(&Target) -> Result<Reach, Explanation>,
) -> Result<Reach, Explanation> {
    let Procedure::FullRestore { destination, port } = &plan.procedure else {
        return Err(refused(String::from("That was no full restore."), ""));
    };
    let place = Place { destination: Path::new(destination), port: *port, held: true };
    let asked = FullRestore { to_end: plan.procedure_is_to_end(), ..FullRestore::default() };
    let (bases, _) = bases(&site.config, &site.cluster)?;
    let known = Some(plan.identity.system_identifier);
    let mut best = None;
    for base in candidates(&bases, known, None)?.iter().filter(|b| !failed.contains(&b.set)) {
        let mut reach = judge(site, base, &place, &asked)?;
        weigh(&mut reach, judged);
        if reach.reachable {
            return Ok(reach);
        }
        best.get_or_insert(reach);
    }
    best.ok_or_else(|| none_left(failed))
}

/// That every base backup there is was tried and has failed.
#[must_use]
pub fn none_left(failed: &[String]) -> Explanation {
    let which = match failed {
        [one] => format!("{one} has"),
        several => format!("{} have", several.join(" and ")),
    };
    refused(
        format!("No other base backup is left: {which} failed in this plan."),
        "Bring a good copy of one from elsewhere, or name a repository that has another one in \
         lifeboat.toml; then look again.",
    )
}

/// The runbook's own name for it: `<data directory>-restore`.
#[must_use]
pub fn beside(data_directory: &Path) -> PathBuf {
    let mut name = data_directory.file_name().unwrap_or_default().to_os_string();
    name.push("-restore");
    data_directory.with_file_name(name)
}

/// The bases of all repositories that answer, newest first, each once, and what was unreadable.
///
/// # Errors
/// Where no repository answers.
pub fn bases(
    config: &Config,
    cluster: &Cluster,
) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
    let (mut bases, mut faults): (Vec<BaseSummary>, _) = (Vec::new(), Vec::new());
    let (mut answered, mut failure) = (false, None);
    for (_, opened) in copies::open_all(config, cluster) {
        match opened.and_then(|repository| repository.bases().map_err(|e| e.explanation())) {
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
    // Stable: of the copies of one set the nearest stays.
    bases.sort_by(|a, b| b.set.cmp(&a.set));
    bases.dedup_by(|a, b| a.set == b.set);
    Ok((bases, faults))
}

/// The bases that may serve, newest first: the named one alone, or all of this cluster.
fn candidates(
    bases: &[BaseSummary],
    known: Option<u64>,
    set: Option<&str>,
) -> Result<Vec<BaseSummary>, Explanation> {
    if let Some(set) = set {
        let found = bases.iter().find(|base| base.set == set);
        return found.map(|base| vec![base.clone()]).ok_or_else(|| {
            refused(
                format!("No repository of the cluster holds {set}."),
                "See lifeboat list-backups.",
            )
        });
    }
    let newest = bases.first().ok_or_else(|| {
        refused(
            String::from("No repository of the cluster holds a base backup."),
            "Look for a copy elsewhere and name its repository in lifeboat.toml.",
        )
    })?;
    let meant = match known {
        Some(known) => known,
        // Nothing of the cluster itself is left to ask.
        None => {
            match bases.iter().find(|base| base.system_identifier != newest.system_identifier) {
                None => newest.system_identifier,
                Some(other) => {
                    return Err(refused(
                        format!(
                            "The repositories hold backups of several clusters ({} is of system \
                         identifier {}, {} of {}), and the data directory cannot tell which is meant.",
                            newest.set,
                            newest.system_identifier,
                            other.set,
                            other.system_identifier
                        ),
                        "Name the backup: --backup-set-id.",
                    ));
                }
            }
        }
    };
    let own: Vec<_> =
        bases.iter().filter(|base| base.system_identifier == meant).cloned().collect();
    if own.is_empty() {
        return Err(refused(
            format!(
                "Every base backup belongs to another cluster than the data directory (system \
                 identifier {meant})."
            ),
            "Check the configured data directory and repositories.",
        ));
    }
    Ok(own)
}

/// The wanted port, or the next above it that nobody listens on and that is not the cluster's own.
fn free_port(wanted: u16, own: u16) -> Result<u16, Explanation> {
    (wanted..wanted.saturating_add(PORTS))
        .find(|port| *port != own && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| {
            refused(format!("No port from {wanted} on is free."), "Name another one: --port.")
        })
}

/// Where the new cluster goes.
struct Place<'a> {
    destination: &'a Path,
    port: u16,
    /// It is made already, and this restore's own.
    held: bool,
}

fn judge(
    site: &Site,
    base: &BaseSummary,
    place: &Place<'_>,
    asked: &FullRestore,
) -> Result<Reach, Explanation> {
    let (config, cluster) = (&site.config, &site.cluster);
    let (destination, port) = (place.destination, place.port);
    let chosen = copies::choose(config, cluster, &base.set, None, None);
    let source = chosen.as_ref().ok().and_then(|chosen| chosen.source(config, cluster));
    let mut base = base.clone();
    if let Some(source) = &source {
        base.repository.clone_from(&source.repository);
    }
    let set = descriptor(config, cluster, &base.set);
    let places = places(&site.configured(), set.as_ref());
    let mut checks = vec![
        whose(site, &base),
        copy(&chosen.map(|_| source.clone())),
        own_wal(config, cluster, &base, set.as_ref()),
        version(site, &base),
        self::destination(site, place, &base),
        room(site, destination, &base, &places),
        spaces(set.as_ref(), site.live(), destination, &places, asked.to_end),
        created(config, cluster, set.as_ref()),
    ];
    if let Err(why) = super::plan::configuration_found(&site.configured()) {
        checks.push(
            begin("configuration", "The server's configuration is where the new cluster finds it")
                .failed(why.what),
        );
    }
    let reachable = passes(&checks) && checks.iter().all(writes_nowhere_else);
    let point = if asked.to_end { TargetPoint::EndOfArchive } else { TargetPoint::EndOfBase };
    // Without it the server would look for the newest timeline, which may leave before this
    // backup's end.
    let timeline = (!asked.to_end).then_some(base.timeline);
    let wal_bytes = base.stop_lsn.bytes_since(base.start_lsn);
    let rates = Rates::load(&config.state_directory());
    let forecast =
        super::line::over(rates.forecast(base.size, wal_bytes), wal_bytes, source.as_ref());
    Ok(Reach {
        target: Target { point, inclusive: true, timeline },
        reachable,
        checks,
        last_kept: None,
        first_lost: None,
        lost_commits: None,
        lost_seconds: None,
        nearest: Vec::new(),
        wal_bytes,
        minimum_settings: Vec::new(),
        forecast: Some(forecast),
        cost: Cost::default(),
        line: Vec::new(),
        procedure: Procedure::FullRestore { destination: destination.display().to_string(), port },
        on_disk: None,
        alternative: None,
        base: Some(base),
    })
}

/// A set's descriptor, from the first repository that tells it.
fn descriptor(config: &Config, cluster: &Cluster, set: &str) -> Option<SetDescriptor> {
    copies::open_all(config, cluster)
        .into_iter()
        .filter_map(|(_, opened)| opened.ok())
        .find_map(|repository| repository.read_set(set).ok())
}

fn whose(site: &Site, base: &BaseSummary) -> Check {
    let begun = begin("base", "A base backup of this cluster");
    match site.identity() {
        Ok(identity) if identity.system_identifier == base.system_identifier => {
            begun.verified(format!("{}, finished {:.0} (UTC).", base.set, base.finished))
        }
        Ok(identity) => begun.failed(format!(
            "{} belongs to the cluster with system identifier {}, the data directory holds {}.",
            base.set, base.system_identifier, identity.system_identifier
        )),
        // Taken for this cluster by the configuration's word; the gate says so before it is typed.
        Err(why) => begun.found("by the repository's word").verified(format!(
            "{}, system identifier {}. The data directory cannot confirm it: {why}",
            base.set, base.system_identifier
        )),
    }
}

fn copy(source: &Result<Option<Source>, Explanation>) -> Check {
    let begun = begin("key", "The backup opens with the keys at hand");
    match source {
        Ok(Some(source)) => begun.verified(format!("It comes {source}.")),
        Ok(None) => begun.verified("Its descriptor was authenticated."),
        Err(why) => begun.failed(why.to_string()),
    }
}

/// The WAL between the backup's begin and its end, without which it is not consistent.
fn own_wal(
    config: &Config,
    cluster: &Cluster,
    base: &BaseSummary,
    set: Option<&SetDescriptor>,
) -> Check {
    let begun = begin("wal", "The WAL that the backup itself needs");
    let Some(set) = set else {
        return begun.failed("The backup's descriptor could not be read.");
    };
    let size = set.segment_size;
    let first = Segment::holding(base.timeline, base.start_lsn, size);
    let last = Segment::holding(base.timeline, Lsn(base.stop_lsn.0.saturating_sub(1)), size);
    let archives: Vec<Repository> =
        copies::open_all(config, cluster).into_iter().filter_map(|(_, one)| one.ok()).collect();
    let all = last.number.saturating_sub(first.number) + 1;
    let (mut at, mut fault) = (first, None);
    while at.number <= last.number {
        let name = at.name(size);
        let held = archives.iter().any(|repository| {
            let looked = if all <= READ {
                repository.get_wal(&name).map(|content| content.is_some())
            } else {
                repository.find_wal(&name).map(|found| !found.is_empty())
            };
            looked.unwrap_or_else(|error| {
                fault = Some(error.explanation());
                false
            })
        });
        if !held {
            let why = fault.map_or_else(
                || String::from("it is in no repository that answers"),
                |fault| fault.what,
            );
            return begun.failed(format!(
                "{name} is missing or damaged: {why}. Without it the backup never becomes consistent."
            ));
        }
        at = at.next();
    }
    let how = if all <= READ { "read and authenticated" } else { "there by name" };
    begun.verified(format!("{all} segments from {} on, {how}.", first.name(size)))
}

fn version(site: &Site, base: &BaseSummary) -> Check {
    let begun = begin("version", "PostgreSQL of the backup's version");
    match site.binaries_of(base.version) {
        Ok(found) => begun.verified(format!("{} in {}.", found.version, found.directory.display())),
        Err(why) => begun.failed(why.to_string()),
    }
}

fn destination(site: &Site, place: &Place<'_>, base: &BaseSummary) -> Check {
    let begun = begin(DESTINATION.0, DESTINATION.1);
    let destination = place.destination;
    if place.held {
        return begun.verified(format!("{} is this restore's own.", destination.display()));
    }
    match may_take(site, destination, &base.set) {
        Ok(()) => begun.verified(format!("{} is free.", destination.display())),
        Err(why) => begun.failed(format!("{} {}", why.what, why.next)),
    }
}

/// Whether a new cluster may be made in `destination`, and swapped in from there.
///
/// # Errors
/// As [`may_fill`], and where it lies on another volume.
pub fn may_take(site: &Site, destination: &Path, set: &str) -> Result<(), Explanation> {
    may_fill(site, destination, set)?;
    same_volume(&super::steps::resolved(site.live()), destination)
}

/// Whether a new cluster may be made in `destination`.
///
/// # Errors
/// Where it lies in or around the live directory, holds anything, or belongs to another user.
pub fn may_fill(site: &Site, destination: &Path, set: &str) -> Result<(), Explanation> {
    let shown = destination.display();
    let mut used = InUse::of_all(&site.config);
    let live = site.live();
    used.push(InUse {
        what: format!("the live data directory {}", live.display()),
        path: live.to_owned(),
    });
    vacant::apart(destination, &used)?;
    let owner = site.server_owner()?;
    if let Ok(metadata) = std::fs::symlink_metadata(destination) {
        if !metadata.is_dir() {
            return Err(refused(format!("{shown} is no directory."), "Name another place."));
        }
        let unfinished = matches!(super::base::probe(destination, set), Ok(Standing::Partial(_)));
        let mut entries = std::fs::read_dir(destination)
            .map_err(|e| super::steps::io(&e, "read", destination))?;
        if entries.next().is_some() && !unfinished {
            let holds = control_file::read(destination).map_or_else(
                |_| String::from("It is not empty"),
                |control| {
                    format!(
                        "It holds a cluster with system identifier {}",
                        control.system_identifier
                    )
                },
            );
            return Err(refused(
                format!("{shown} cannot be taken. {holds}."),
                "Move what is there to another name, or name an empty place: in the screens, or with \
                 lifeboat restore-full --target DIR --latest.",
            ));
        }
        let of_root = metadata.uid() == 0 && nix::unistd::geteuid().is_root();
        if metadata.uid() != owner.uid && !of_root {
            return Err(refused(
                format!("{shown} belongs to user {}, the server runs as {owner}.", metadata.uid()),
                "Give it to that user, or name a directory that does not exist.",
            ));
        }
    } else {
        vacant::has_folder_above(destination)?;
    }
    Ok(())
}

/// The swap is made of renames, which stay on one volume.
fn same_volume(live: &Path, destination: &Path) -> Result<(), Explanation> {
    let volume = |path: &Path| {
        path.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|found| found.dev())
    };
    let is_mount = live.parent().is_some_and(|above| {
        live.exists() && volume(live).is_some() && volume(live) != volume(above)
    });
    if is_mount {
        return Err(refused(
            format!("{} is a mount point, which cannot be renamed.", live.display()),
            "Restore with lifeboat restore --target-directory, and set the server to that directory.",
        ));
    }
    let above = live.parent().unwrap_or(live);
    if volume(above) == volume(destination) {
        return Ok(());
    }
    Err(refused(
        format!(
            "{} lies on another volume than {}: it could not be swapped in by renaming.",
            destination.display(),
            live.display()
        ),
        "Name a directory beside the data directory.",
    ))
}

/// Where the parts of the new cluster go that lie outside its directory.
fn places(cluster: &Cluster, set: Option<&SetDescriptor>) -> Places {
    let spaces = set.iter().flat_map(|set| &set.tablespaces);
    let spaces = spaces
        .map(|space| BackupSpace { oid: space.oid, location: PathBuf::from(&space.path) })
        .collect::<Vec<_>>();
    super::full_plan::places_of(cluster, &spaces, jiff::Timestamp::now())
}

/// Room on the volume of the new directory, and on those of what lies outside it.
fn room(site: &Site, destination: &Path, base: &BaseSummary, places: &Places) -> Check {
    let begun = begin("space", "Room for the new cluster beside the old one");
    let set = if places.spaces.is_empty() {
        OpenedSet::default()
    } else {
        let archives = copies::open_all(&site.config, &site.cluster).into_iter();
        let archives = archives.filter_map(|(_, one)| one.ok());
        let mut opened = archives.filter_map(|one| {
            RepositoryArchive::new(Arc::new(one)).open_set(&base.set).ok().flatten()
        });
        // Which volume gets how much is not known where none opened; the directory's is asked for all.
        opened.next().unwrap_or_default()
    };
    let (verdict, words) = on_volumes(destination, base.size, &set, places);
    let words = words.join(" ");
    match verdict {
        Verdict::Verified => begun.verified(words),
        Verdict::Failed => begun.failed(words),
        _ => begun.could_not_verify(words),
    }
}

fn on_volumes(
    destination: &Path,
    size: u64,
    set: &OpenedSet,
    places: &Places,
) -> (Verdict, Vec<String>) {
    let spaces = places.spaces.iter().filter_map(|placed| {
        let of = set.tablespaces.iter().find(|space| space.oid == placed.oid)?;
        Some((placed.place.clone(), of.size))
    });
    let wal = places.wal.iter().map(|wal| (wal.clone(), places::WAL_ROOM));
    let main = (destination.to_owned(), opened::needed_of(set, size));
    opened::on_volumes(
        std::iter::once(main).chain(spaces).chain(wal),
        "both clusters are there until you decide.",
    )
}

/// Whether the folder holds anything; one that is not there holds nothing. What a file system makes
/// and what a recovery has kept there are not in the way.
fn in_use(folder: &Path) -> std::io::Result<bool> {
    let counts = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.map_or(true, |entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name != "lost+found" && !places::is_kept(&name)
        })
    };
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.any(counts)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tablespaces lie outside the data directory: two clusters of one origin would share them, but for
/// those that the configuration maps elsewhere.
fn spaces(
    set: Option<&SetDescriptor>,
    live: &Path,
    destination: &Path,
    places: &Places,
    to_end: bool,
) -> Check {
    let begun = begin("tablespaces", "No tablespace of the old cluster is touched");
    let Some(set) = set else { return begun.could_not_verify("The backup could not be read.") };
    let mut filled = Vec::new();
    for space in &set.tablespaces {
        let placed = places.spaces.iter().find(|placed| placed.oid == space.oid);
        let place =
            placed.map_or_else(|| PathBuf::from(&space.path), |placed| placed.place.clone());
        let shown = place.display();
        if place.starts_with(live) || place.starts_with(destination) {
            return begun.failed(format!(
                "Tablespace {} would go to {shown}, inside a data directory. Name a folder outside \
                 by tablespace_mapping in lifeboat.toml.",
                space.oid
            ));
        }
        match in_use(&place) {
            Ok(false) => {}
            Ok(true) => {
                return begun.failed(format!(
                    "Tablespace {} would go to {shown}, which is in use. Name another, empty folder \
                     for {} by tablespace_mapping in lifeboat.toml; or take Option A, which sets the \
                     old cluster aside first.",
                    space.oid, space.path
                ));
            }
            Err(error) => {
                return begun.could_not_verify(format!("{shown} could not be looked at: {error}."));
            }
        }
        filled.push(format!("{} goes to {shown}", space.oid));
    }
    let has_some = match in_use(&live.join("pg_tblspc")) {
        Ok(found) => found,
        Err(error) => {
            return begun.could_not_verify(format!(
                "The old cluster's tablespaces could not be looked at: {error}."
            ));
        }
    };
    if to_end && has_some {
        return begun.failed(
            "The old cluster has tablespaces, which replaying on could write into. Take the \
             backup's own end, or Option A.",
        );
    }
    if filled.is_empty() {
        return begun
            .verified("Neither the backup nor the replay writes outside the new directory.");
    }
    begun.verified(format!("Each has an empty folder: tablespace {}.", filled.join(", ")))
}

/// Whether the log of the backup's own range creates a tablespace where files are. Nothing of the
/// old cluster is moved aside for a full restore.
fn created(config: &Config, cluster: &Cluster, set: Option<&SetDescriptor>) -> Check {
    let begun = || begin(NEW_TABLESPACES.0, NEW_TABLESPACES.1);
    let Some(set) = set else { return begun().could_not_verify("The backup could not be read.") };
    let stretch = Stretch {
        timeline: set.timeline,
        from: set.start_lsn,
        until: Some(set.stop_lsn),
        segment_size: set.segment_size,
        system_identifier: set.system_identifier,
    };
    let archives = copies::open_all(config, cluster).into_iter().filter_map(|(_, one)| one.ok());
    let archives = archives
        .map(|one| Arc::new(RepositoryArchive::new(Arc::new(one))) as Arc<dyn Segments>)
        .collect();
    match tablespaces_created(&Layered::new(archives), &stretch) {
        Ok(created) => created_tablespaces(&created, None),
        Err(why) => begun().could_not_verify(why.what),
    }
}

/// Whether the check is none of those that keep a full restore out of the old cluster's folders, or
/// is verified: what could not be looked at is no reason to go on.
fn writes_nowhere_else(check: &Check) -> bool {
    let guards = ["tablespaces", NEW_TABLESPACES.0];
    !guards.contains(&check.id.as_str()) || check.verdict == Verdict::Verified
}

/// Looks again whether the restore would write outside the new directory: a folder may have come
/// into use since the plan was made.
///
/// # Errors
/// Where it would, or that cannot be told.
pub fn still_writes_nowhere_else(site: &Site, plan: &Plan) -> Result<(), Explanation> {
    let (config, cluster) = (&site.config, &site.cluster);
    let set = descriptor(config, cluster, &plan.base.set);
    let checks = [
        spaces(set.as_ref(), site.live(), site.data(), &plan.places, plan.procedure_is_to_end()),
        created(config, cluster, set.as_ref()),
    ];
    match checks.iter().find(|check| !writes_nowhere_else(check)) {
        None => Ok(()),
        Some(check) => Err(refused(
            format!("{}: {}. {}", check.title, check.verdict.word(), check.detail),
            "Mend what it says, then retry the step; or cancel and choose anew.",
        )),
    }
}

/// Says what a full restore gives up, by the archived log as `judged` reads it; and where the log
/// is to be replayed on, whether it can be.
pub fn weigh(reach: &mut Reach, judged: &dyn Fn(&Target) -> Result<Reach, Explanation>) {
    let Some(base) = reach.base.clone() else { return };
    let to_end = reach.target.point == TargetPoint::EndOfArchive;
    let wanted = if to_end {
        reach.target.clone()
    } else {
        let (point, timeline) = (TargetPoint::Lsn(base.stop_lsn), Some(base.timeline));
        Target { point, inclusive: false, timeline }
    };
    let read = judged(&wanted);
    if let Ok(read) = &read {
        reach.last_kept.clone_from(&read.last_kept);
        reach.first_lost.clone_from(&read.first_lost);
        (reach.lost_commits, reach.lost_seconds) = (read.lost_commits, read.lost_seconds);
        reach.cost.tables.clone_from(&read.cost.tables);
        reach.cost.more_tables = read.cost.more_tables;
    }
    if !to_end {
        return;
    }
    let begun = begin("beyond", "The log is whole from the backup to the end of the archive");
    let check = match &read {
        Err(why) => begun.failed(why.to_string()),
        Ok(read) if !read.reachable => begun.failed(why_not(read)),
        Ok(read) if read.base.as_ref().is_none_or(|other| other.set != base.set) => begun.failed(
            "It is proven from another backup than this one; name that one, or stop at this backup's \
             own end.",
        ),
        Ok(read) if read.last_kept.as_ref().is_none_or(|kept| kept.end_lsn <= base.stop_lsn) => begun
            .failed("No transaction after the backup is known: stop at the backup's own end."),
        Ok(read) => {
            reach.wal_bytes = read.wal_bytes;
            reach.line.clone_from(&read.line);
            reach.minimum_settings.clone_from(&read.minimum_settings);
            if let (Some(forecast), Some(read)) = (&mut reach.forecast, &read.forecast) {
                forecast.replay = read.replay;
            }
            begun.verified("Replay ends with the last transaction that was archived or rescued.")
        }
    };
    reach.reachable &= check.verdict == Verdict::Verified;
    reach.checks.push(check);
}

/// What a refusal of a full restore tells of its directory: another one may be named then.
#[must_use]
pub fn told_of_destination(refusal: &Explanation) -> Option<String> {
    let (_, told) = refusal.what.split_once(&format!("{}: ", DESTINATION.1))?;
    // What else was in the way stands behind it.
    let told = told.split("; ").next().unwrap_or(told).trim_end_matches('.');
    Some(format!("{told}."))
}

fn why_not(reach: &Reach) -> String {
    let open = reach.checks.iter().filter(|check| check.verdict != Verdict::Verified);
    let told: Vec<_> = open.map(|check| format!("{}: {}", check.title, check.detail)).collect();
    told.join(" ")
}

/// Who the cluster is by the backup's word, where its directory tells nothing.
#[must_use]
pub fn identity_of(site: &Site, base: &BaseSummary) -> crate::engine::incident::facts::Identity {
    crate::engine::incident::facts::Identity {
        system_identifier: base.system_identifier,
        host: discovery::host_name(),
        data_directory: super::steps::resolved(site.live()).display().to_string(),
        role: crate::engine::incident::facts::ServerRole::Down,
        version: base.version,
        timeline: base.timeline,
    }
}

fn refused(what: String, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was touched.", next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::recovery_point::opened::Space;
    use crate::engine::runner::plan::PlacedSpace;
    use jiff::Timestamp;

    fn base(set: &str) -> BaseSummary {
        BaseSummary {
            set: set.to_owned(),
            repository: String::from("near"),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            start_lsn: Lsn(1),
            stop_lsn: Lsn(2),
            timeline: 1,
            system_identifier: 1,
            version: 15,
            size: 1,
            stored: 1,
            encrypted: false,
        }
    }

    fn judged(base: &BaseSummary, reachable: bool) -> Reach {
        let wal = begin("wal", "The WAL");
        Reach {
            target: Target { point: TargetPoint::EndOfBase, inclusive: true, timeline: None },
            reachable,
            checks: vec![if reachable { wal.verified("") } else { wal.failed("It is missing.") }],
            base: Some(base.clone()),
            last_kept: None,
            first_lost: None,
            lost_commits: None,
            lost_seconds: None,
            nearest: Vec::new(),
            wal_bytes: 0,
            minimum_settings: Vec::new(),
            forecast: None,
            line: Vec::new(),
            cost: Cost::default(),
            procedure: Procedure::default(),
            on_disk: None,
            alternative: None,
        }
    }

    #[test]
    fn an_older_backup_is_never_taken_without_a_word() {
        let list = ["set-3", "set-2", "set-1"].map(base);
        let chosen = |damaged: &[&str], serves: &[&str]| {
            let damaged: Vec<String> = damaged.iter().map(|set| (*set).to_owned()).collect();
            newest_that_serves(&list, &damaged, |b| Ok(judged(b, serves.contains(&&*b.set))))
        };
        let set = |reach: &Reach| reach.base.as_ref().unwrap().set.clone();
        let told = |reach: &Reach| {
            let check = reach.checks.iter().find(|check| check.id == "newer");
            check.map(|check| check.detail.clone())
        };
        let newest = chosen(&[], &["set-3", "set-2"]).unwrap();
        assert_eq!((set(&newest), told(&newest)), (String::from("set-3"), None));
        // One that was read and found damaged is not offered again; one that fails is named.
        let older = chosen(&["set-3"], &["set-3", "set-1"]).unwrap();
        assert_eq!(set(&older), "set-1");
        let words = told(&older).unwrap();
        for word in ["set-3 was read and found damaged", "set-2", "It is missing"] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(older.reachable);
        let none = chosen(&["set-3"], &[]).unwrap();
        assert_eq!((set(&none), none.reachable), (String::from("set-2"), false));
        let all = ["set-3", "set-2", "set-1"];
        assert!(chosen(&all, &all).unwrap_err().what.contains("set-1 was read"));
    }

    /// What the screens go by when they ask for another place.
    #[test]
    fn a_refusal_for_the_directorys_sake_is_told_from_others() {
        let refusal = |check: Check| {
            let mut reach = judged(&base("set-1"), false);
            reach.checks.insert(0, check);
            crate::engine::runner::guard::unreachable(&reach)
        };
        let taken = begin(DESTINATION.0, DESTINATION.1).failed("/srv/new cannot be taken.");
        let told = told_of_destination(&refusal(taken));
        assert_eq!(told.as_deref(), Some("/srv/new cannot be taken."));
        let free = begin(DESTINATION.0, DESTINATION.1).verified("/srv/new is free.");
        assert_eq!(told_of_destination(&refusal(free)), None);
    }

    #[test]
    fn each_volume_is_asked_for_what_lies_on_it() {
        let root = tempfile::tempdir().unwrap();
        let huge = 1 << 60;
        let space = |size| OpenedSet {
            tablespaces: vec![Space { oid: 7, place: PathBuf::from("/far"), size }],
            ..OpenedSet::default()
        };
        let placed = |place: PathBuf| Places {
            spaces: vec![PlacedSpace { oid: 7, place, moved: true }],
            ..Places::default()
        };
        let here = root.path().join("new");
        let there = PathBuf::from("/dev/shm/lifeboat-not-there");
        let verdict = |size, total, place: &Path| {
            on_volumes(&here, total, &space(size), &placed(place.to_owned()))
        };
        assert_eq!(verdict(1, 2, &there).0, Verdict::Verified);
        let (found, words) = verdict(huge, huge, &there);
        assert_eq!(found, Verdict::Failed);
        assert!(words.iter().any(|one| one.starts_with("Only") && one.contains("/dev/shm")));
    }

    #[test]
    fn what_a_recovery_has_kept_is_not_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        assert!(!in_use(&root.path().join("none")).unwrap());
        std::fs::create_dir(root.path().join("lost+found")).unwrap();
        std::fs::create_dir(root.path().join("PG_15_202209061.damaged.20260101-120000")).unwrap();
        assert!(!in_use(root.path()).unwrap());
        std::fs::create_dir(root.path().join("PG_15_202209061")).unwrap();
        assert!(in_use(root.path()).unwrap());
    }
}
