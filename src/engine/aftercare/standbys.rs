//! Standbys: those that followed the damaged server have gone past the recovery point and cannot
//! simply go on. Owns saying which, and, for one on this machine, bringing it behind the new
//! timeline. What brings it back is in `mend`.

mod before;
mod mend;

pub use before::note_connected;

use super::Item;
use super::ward::{Found, Ward, field};
use crate::engine::config::{Connection, Control, Tls};
use crate::engine::incident::care::{Care, Proposal};
use crate::engine::incident::facts::{Check, Role};
use crate::engine::init::discover;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::control::{Systemctl, service_of};
use crate::engine::postgres::control_file;
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::restore::plan::beside;
use crate::engine::validate::check::begin;
use jiff::Timestamp;
use mend::Mend;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) const ITEM: Item = Item {
    id: "standbys",
    title: "Standbys follow the new timeline",
    looks: "Compares standbys of before with those that are connected, and looks at local ones.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

const CONNECTED: &str = "SELECT application_name, coalesce(host(client_addr), 'this host'), state \
     FROM pg_stat_replication ORDER BY 1, 2";

/// What stands in the name of a directory that is kept as it was.
const KEPT: &str = "before-recovery";
/// What stands in the name of a directory that is being made to take the standby's place.
const MADE: &str = "coming-back";
/// What checks of local standbys are called, before their directory.
const LOCAL: &str = "standbys:local:";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let now = ward.ask(CONNECTED).unwrap_or_else(|why| {
        let begun = begin("standbys:server", "Connected standbys can be listed");
        found.check(begun.could_not_verify(why));
        Vec::new()
    });
    for row in &now {
        let (name, host, state) = (field(row, 0), field(row, 1), field(row, 2));
        let begun = begin(format!("standbys:{name}@{host}"), format!("{name} at {host}"));
        found.check(match state {
            "streaming" => begun.found(state).verified("It follows the recovered server."),
            other => {
                begun.found(other).could_not_verify("It is connected and does not follow yet.")
            }
        });
    }
    let back: Vec<String> =
        now.iter().map(|row| format!("{} at {}", field(row, 0), field(row, 1))).collect();
    let notes = ward.incident.steps.iter().flat_map(|step| &step.notes);
    let before = before::Before::of(notes.map(|(name, text)| (name.as_str(), text.as_str())));
    for before in before.standbys.iter().filter(|text| !back.contains(text)) {
        found.check(
            begin(format!("standbys:before:{before}"), format!("{before} (before the recovery)"))
                .found("not connected")
                .failed(
                    "It has gone past the recovery point. On its machine: pg_rewind against this \
                     server, or a fresh copy; then let it follow this one.",
                ),
        );
    }
    match locals(ward) {
        Ok(local) => local.iter().for_each(|standby| judge_local(ward, standby, &mut found)),
        Err(why) => {
            let begun = begin("standbys:local", "Standbys on this machine can be told");
            found.check(begun.could_not_verify(why));
        }
    }
    if let Some(why) = before.unknown {
        found.check(
            begin("standbys:before", "All standbys of before are known")
                .found("not known")
                .could_not_verify(format!(
                    "{}. Ask whoever runs them; each must come behind this server, by pg_rewind or \
                     a fresh copy.",
                    why.trim_end_matches('.')
                )),
        );
    }
    if found.checks.is_empty() {
        found.check(
            begin("standbys", "Standbys follow the new timeline")
                .found("none")
                .verified("None was connected before the recovery, and none runs on this machine."),
        );
    }
    found
}

/// A standby of this cluster on this machine.
#[derive(Debug, Clone)]
struct Local {
    directory: PathBuf,
    /// Where it takes connections: a socket's folder or a host, and a port. `None` while it is down.
    at: Option<(String, u16)>,
    /// Systemd's unit that runs it.
    unit: Option<String>,
    /// The standby as it was: its directory, or what is kept of it where an attempt was broken off
    /// between two moves.
    origin: PathBuf,
}

/// Those that run, and those that an earlier look has seen and that are down by now.
fn locals(ward: &Ward<'_>) -> Result<Vec<Local>, String> {
    let system = ward.site.identity().map_err(|why| why.to_string())?.system_identifier;
    let data = ward.site.data().canonicalize().unwrap_or_else(|_| ward.site.data().to_owned());
    let mut all: Vec<Local> = discover::servers()
        .found
        .into_iter()
        .filter(|found| found.data_directory != data && is_standby(&found.data_directory, system))
        .map(|found| Local {
            at: Some((found.host(), found.port)),
            unit: service_of(&found.data_directory),
            origin: found.data_directory.clone(),
            directory: found.data_directory,
        })
        .collect();
    let before = ward.incident.care.get(ITEM.id).and_then(|state| state.last.as_ref());
    for directory in before.map(seen).unwrap_or_default() {
        let known = directory == data || all.iter().any(|one| one.directory == directory);
        let Some(origin) = origin(&directory, system).filter(|_| !known) else { continue };
        all.push(Local { at: None, unit: unit_of(ward, &directory), origin, directory });
    }
    Ok(all)
}

/// The directories of standbys that a look has seen.
fn seen(care: &Care) -> BTreeSet<PathBuf> {
    let checks = care.checks.iter().filter_map(|check| check.id.strip_prefix(LOCAL));
    let proposed = care.proposals.iter().map(|proposal| &proposal.key);
    let keys = proposed.chain(&care.agreed).filter_map(|key| Some(key.split_once(':')?.1));
    checks.chain(keys).map(PathBuf::from).collect()
}

/// Where the standby of a directory is, as it was.
fn origin(directory: &Path, system: u64) -> Option<PathBuf> {
    if is_standby(directory, system) {
        return Some(directory.to_owned());
    }
    // By their names, the newest last.
    named(directory, KEPT).into_iter().rev().find(|kept| is_standby(kept, system))
}

/// What stands beside a directory by its name and that word, in order.
fn named(directory: &Path, word: &str) -> Vec<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let before = format!("{name}.{word}.");
    let beside = directory.parent().and_then(|parent| parent.read_dir().ok());
    let mut all: Vec<PathBuf> = beside
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&before)))
        .collect();
    all.sort();
    all
}

/// The unit of a standby that is down, where the cluster's own is systemd's too.
fn unit_of(ward: &Ward<'_>, directory: &Path) -> Option<String> {
    let words = systemctl(ward)?;
    Systemctl::new(words).find(directory, control_file::major_version(directory).ok()).ok()
}

/// How systemd is asked, where the cluster's own server is a unit's.
fn systemctl(ward: &Ward<'_>) -> Option<Vec<String>> {
    match &ward.site.cluster.control {
        Control::Systemd { systemctl, .. } => Some(systemctl.clone()),
        _ => None,
    }
}

fn is_standby(directory: &Path, system: u64) -> bool {
    directory.join("standby.signal").exists()
        && control_file::read(directory).is_ok_and(|control| control.system_identifier == system)
}

fn judge_local(ward: &Ward<'_>, standby: &Local, found: &mut Found) {
    let place = standby.directory.display().to_string();
    let begun = begin(format!("{LOCAL}{place}"), format!("The standby in {place}"));
    let runs = matches!(discovery::running(&standby.directory), Ok(Running::Yes(_)));
    let state = match (&standby.at, runs) {
        (Some(_), _) => match (ward.site.timeline(), follows(ward, standby)) {
            (Ok(ours), Ok(Some(theirs))) if ours == theirs => {
                found.check(begun.found(format!("timeline {theirs}")).verified("It follows."));
                return;
            }
            (Err(why), _) => return found.check(begun.could_not_verify(why.to_string())),
            (_, Err(why)) => return found.check(begun.could_not_verify(why)),
            (Ok(_), Ok(_)) => "does not follow",
        },
        (None, true) => {
            return found.check(begun.could_not_verify("It runs, and cannot be looked at."));
        }
        (None, false) if standby.origin == standby.directory => "is down",
        (None, false) => "is down, and its directory is not in its place",
    };
    let whole = standby.origin == standby.directory;
    let rewindable = whole
        && control_file::read(&standby.directory)
            .is_ok_and(|control| control.wal_log_hints || control.data_checksum_version > 0);
    let group = Some(place.clone());
    let by = match &standby.unit {
        Some(unit) => format!(" (through its unit {unit})"),
        None => String::new(),
    };
    let mut propose = |key: String, text: String| {
        found.proposals.push(Proposal { key, text, group: group.clone() });
    };
    if rewindable {
        propose(
            format!("rewind:{place}"),
            format!(
                "Stop the standby{by}, pg_rewind a copy of {place} to this server, start that in \
                 its place"
            ),
        );
    }
    propose(
        format!("copy:{place}"),
        format!("Make a fresh copy of this server, start it in the place of {place}{by}"),
    );
    let how = match (whole, rewindable) {
        (true, true) => "pg_rewind can bring it back, or a fresh copy.",
        (true, false) => {
            "It has neither page checksums nor wal_log_hints, so only a fresh copy helps."
        }
        (false, _) => "A fresh copy brings it back, with the configuration that is kept.",
    };
    let left = named(&standby.directory, MADE);
    let left = match left.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
            format!(" Left by an attempt that was broken off, and of no use: {}.", names.join(", "))
        }
    };
    found.check(begun.found(state).failed(format!(
        "It has gone past the recovery point. {how} What it was is kept beside it.{left}"
    )));
}

/// Where a standby takes connections by now.
fn address(directory: &Path) -> Option<(String, u16)> {
    let mut all = discover::servers().found.into_iter();
    all.find(|found| found.data_directory == directory).map(|found| (found.host(), found.port))
}

/// The timeline that a standby receives; `None` where it receives none.
fn follows(ward: &Ward<'_>, standby: &Local) -> Result<Option<u32>, String> {
    let (host, port) = standby.at.clone().ok_or("It is down.")?;
    let connection = Connection {
        host,
        port,
        passfile: ward.connection.passfile.clone(),
        tls: Tls::Off,
        root_certificate: None,
        ..ward.site.cluster.connection.clone()
    };
    let sql = "SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    let ask = async {
        let options = ConnectOptions::default();
        let session =
            connect::connect(&connection, &options).await.map_err(|error| error.to_string())?;
        let row = session.query_opt(sql, &[]).await.map_err(|e| connect::reason(&e))?;
        Ok(row.and_then(|row| row.try_get::<_, i32>(0).ok()).and_then(|n| u32::try_from(n).ok()))
    };
    ward.runtime.block_on(ask)
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let all = match locals(ward) {
        Ok(all) => all,
        Err(why) => {
            let begun = begin("standbys:did", "Standbys are brought back");
            return vec![begun.could_not_verify(why)];
        }
    };
    let each = proposals.iter().filter_map(|proposal| {
        let (how, place) = proposal.key.split_once(':')?;
        let begun = begin(format!("standbys:did:{place}"), format!("{place}: {how}"));
        let Some(standby) = all.iter().find(|one| one.directory == Path::new(place)) else {
            return Some(begun.not_run("It is not there any more. Look again."));
        };
        let kept = beside(&standby.directory, KEPT, Timestamp::now());
        let done = Mend::of(ward, standby)
            .and_then(|mend| if how == "rewind" { mend.rewind(&kept) } else { mend.copy(&kept) });
        let kept = kept.exists().then(|| format!(" What it was is kept in {}.", kept.display()));
        let kept = kept.unwrap_or_default();
        Some(match done {
            Ok(()) => begun.verified(format!("It follows the recovered server.{kept}")),
            Err(why) => begun.failed(format!("{why}{kept}")),
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    #[test]
    fn every_standby_that_a_look_has_seen_is_remembered() {
        let check = |id: &str| begin(id, "").end(Verdict::Failed, "");
        let proposal =
            |key: &str| Proposal { key: key.to_owned(), text: String::new(), group: None };
        let care = Care {
            item: String::from("standbys"),
            agreed: vec![String::from("rewind:/a: b")],
            checks: vec![
                check("standbys:local:/c"),
                check("standbys:before"),
                check("standbys:did:/d"),
            ],
            proposals: vec![proposal("copy:/e"), proposal("rewind:/e")],
        };
        let expected = ["/a: b", "/c", "/e"].map(PathBuf::from);
        assert_eq!(seen(&care), BTreeSet::from(expected));
    }

    #[test]
    fn what_is_kept_of_a_standby_is_found_by_its_own_name() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in
            ["a.before-recovery.2", "a.before-recovery.1", "ab.before-recovery.1", "a.other.1"]
        {
            std::fs::create_dir(at(name)).unwrap();
        }
        assert_eq!(named(&at("a"), KEPT), [at("a.before-recovery.1"), at("a.before-recovery.2")]);
        // None of them is a standby's.
        assert_eq!(origin(&at("a"), 7), None);
    }
}
