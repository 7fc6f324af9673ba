//! Proof that a target can be reached, before a byte is copied. Owns the checks and which base
//! serves; never restores, never changes anything.

use super::ClusterFacts;
use super::rates::Rates;
use super::trace::{Position, Trace};
use super::words::{bytes, grouped};
use crate::engine::drill::place;
use crate::engine::incident::facts::{
    BaseSummary, Check, Procedure, Reach, Target, TargetPoint, Verdict,
};
use crate::engine::incident::past::Cost;
use crate::engine::postgres::Lsn;
use crate::engine::restore::places;
use crate::engine::wal::continuity::{BaseRange, Useless};
use crate::engine::wal::inspect::Created;
use crate::engine::wal::inspect::action::STANDBY_SETTINGS;
use std::path::Path;

/// What a proof rests on.
#[derive(Debug)]
pub struct Ground<'a> {
    pub trace: &'a Trace,
    /// Of this cluster, oldest first.
    pub bases: &'a [BaseSummary],
    pub cluster: &'a ClusterFacts,
    pub rates: &'a Rates,
    /// WAL from here on is only in the damaged data directory.
    pub rescued_from: Option<Lsn>,
    /// A recovering server has replayed up to here and goes on: nothing is copied again.
    pub goes_on_from: Option<Lsn>,
    /// Where recovery to this target stops, when it falls among commits that are kept as one at
    /// this place.
    pub exact: Option<(&'a Target, usize, Lsn)>,
}

/// Judges `target`.
#[must_use]
pub fn prove(target: &Target, ground: &Ground<'_>) -> Reach {
    let trace = ground.trace;
    // Each base replays other WAL; a restore point's name can lie before one and behind another.
    let mut best: Option<Reach> = None;
    for base in ground.bases.iter().rev() {
        let reach = with_base(target, base, ground);
        if reach.reachable {
            return reach;
        }
        let passed = |r: &Reach| r.checks.iter().filter(|c| c.verdict == Verdict::Verified).count();
        if best.as_ref().is_none_or(|b| passed(&reach) > passed(b)) {
            best = Some(reach);
        }
    }
    let mut reach = best.unwrap_or_else(|| {
        let mut reach = blank(target);
        reach.checks.push(check(
            "base",
            "A base backup that ended before the target",
            Verdict::Failed,
            "The repository holds no usable base backup of this cluster.",
        ));
        reach
    });
    reach.nearest = nearest(target, ground);
    if let Ok(position) = trace.position(target, Lsn(0)) {
        losses(&mut reach, &position, trace);
    }
    reach
}

pub(super) fn with_base(target: &Target, base: &BaseSummary, ground: &Ground<'_>) -> Reach {
    let trace = ground.trace;
    let mut reach = blank(target);
    let mut position = trace.position(target, base.start_lsn);
    if let (Ok(position), Some((of, place, stop))) = (&mut position, ground.exact)
        && (of, place) == (target, position.kept)
    {
        (position.stop, position.folded_from) = (stop, None);
    }
    let checks = &mut reach.checks;
    checks.push(ended_before(target, base, position.as_ref().ok()));
    checks.push(on_line(base, trace));
    checks.push(unbroken(base, position.as_ref().ok(), ground));
    checks.push(match &position {
        Ok(p) => {
            let text =
                p.warning.clone().unwrap_or_else(|| format!("Recovery stops there: {}.", p.proof));
            check("beyond", beyond_title(target), Verdict::Verified, text)
        }
        Err(why) => check("beyond", beyond_title(target), Verdict::Failed, why.clone()),
    });
    checks.push(check(
        "key",
        "The backup opens with the keys at hand",
        Verdict::Verified,
        if base.encrypted {
            "Its descriptor was authenticated with its key."
        } else {
            "It is not encrypted."
        },
    ));
    checks.push(same_version(base, ground.cluster));
    checks.push(match ground.goes_on_from {
        Some(from) => no_copy(from),
        None if ground.cluster.has_begun => super::opened::room_is_taken(),
        None => space(base, ground.cluster),
    });
    let stop = position.as_ref().map_or(trace.scan.end, |p| p.stop);
    let replayed_from = base.start_lsn.max(ground.goes_on_from.unwrap_or_default());
    // A recovery that goes on moves nothing aside any more.
    let moves = ground.goes_on_from.is_none().then_some(ground.cluster);
    checks.push(new_tablespaces(replayed_from, stop, trace, moves));
    checks.extend(written_minimally(replayed_from, stop, trace));
    reach.minimum_settings = minimum_settings(base.start_lsn, stop, ground);
    reach.checks.push(settings_check(base, stop, ground, &reach.minimum_settings));
    reach.reachable = passes(&reach.checks);
    // A server can be told the number of a timeline whose history it can fetch, and no other.
    reach.line = if trace.has_history { trace.line.clone() } else { Vec::new() };
    reach.wal_bytes = stop.bytes_since(replayed_from);
    let copied = if ground.goes_on_from.is_some() { 0 } else { base.size };
    reach.forecast = Some(ground.rates.forecast(copied, reach.wal_bytes));
    reach.base = Some(base.clone());
    if let Ok(position) = &position {
        losses(&mut reach, position, trace);
    }
    reach
}

/// Whether nothing failed, and nothing that decides is left unproven.
pub fn passes(checks: &[Check]) -> bool {
    let core = ["base", "timeline", "wal", "beyond", "key"];
    checks.iter().all(|c| {
        c.verdict == Verdict::Verified
            || (c.verdict == Verdict::CouldNotVerify && !core.contains(&c.id.as_str()))
    })
}

fn losses(reach: &mut Reach, position: &Position, trace: &Trace) {
    let kept = trace.last_commit(position.kept);
    reach.last_kept = kept.map(|e| trace.commit(e));
    reach.first_lost = trace.next_commit(position.kept).map(|e| trace.commit(e));
    let lost = trace.commits_after(position.kept);
    reach.lost_commits = Some(lost);
    reach.lost_seconds = match (kept, trace.newest_commit()) {
        _ if lost == 0 => Some(0.0),
        (Some(kept), Some(newest)) => {
            Some(newest.at().duration_since(kept.at()).as_secs_f64().max(0.0))
        }
        _ => None,
    };
}

/// A target earlier than the end of the backup can end with newer data in it, without an error:
/// never left to the server.
fn ended_before(target: &Target, base: &BaseSummary, position: Option<&Position>) -> Check {
    let mut late = position.is_some_and(|p| p.stop < base.stop_lsn);
    if let TargetPoint::Time(at) = target.point {
        // The copy began behind the backup's checkpoint: what was committed later is in its WAL,
        // where the position was compared. Of what was committed before, some may be too new.
        late |= base.started > at || position.is_none() && base.finished > at;
    }
    // A minute's commits as one tell of none of them on which side of the backup's end it lies.
    let folded = position.and_then(|p| p.folded_from);
    let unsure = folded.is_some_and(|from| from < base.stop_lsn);
    let (verdict, text) = if unsure && !late {
        let text = format!(
            "{} ended at LSN {}, among commits that are only known by the minute: whether the target lies before its end cannot be told. Give the LSN, or let an older backup serve.",
            base.set, base.stop_lsn
        );
        (Verdict::CouldNotVerify, text)
    } else if late {
        let text = format!(
            "{} ended at {:.0} (UTC), LSN {}, after the target. Recovery cannot stop before a backup's own end.",
            base.set, base.finished, base.stop_lsn
        );
        (Verdict::Failed, text)
    } else {
        let text =
            format!("{} ended at {:.0} (UTC), LSN {}.", base.set, base.finished, base.stop_lsn);
        // Without a position there is nothing that it could be compared with but a time.
        let compared = position.is_some() || matches!(target.point, TargetPoint::Time(_));
        (if compared { Verdict::Verified } else { Verdict::CouldNotVerify }, text)
    };
    check("base", "A base backup that ended before the target", verdict, text)
}

fn on_line(base: &BaseSummary, trace: &Trace) -> Check {
    let range = BaseRange { timeline: base.timeline, start: base.start_lsn, stop: base.stop_lsn };
    let (own, followed) = (base.timeline, trace.timeline);
    let (verdict, text) = match range.is_on(&trace.line) {
        // A timeline's number can be used again; the first one's cannot.
        Ok(()) if own > 1 && !trace.begins_backup(base.start_lsn, base.stop_lsn) => (
            Verdict::Failed,
            format!(
                "The WAL of timeline {own} does not hold the checkpoint that the backup begins with, at LSN {}: the timeline's number was used again by another recovery, or that WAL is missing.",
                base.start_lsn
            ),
        ),
        Ok(()) => (
            Verdict::Verified,
            format!("The backup's timeline {own} leads to timeline {followed}."),
        ),
        Err(Useless::Forked(_)) => (
            Verdict::Failed,
            format!(
                "Timeline {followed} left timeline {own} before the backup ended at LSN {}.",
                base.stop_lsn
            ),
        ),
        Err(Useless::Reused(_)) => (
            Verdict::Failed,
            format!(
                "Timeline {own} of the archive begins behind the backup, at LSN {}: the number was used again by another recovery, and the backup is of the one before.",
                trace.begins_at(own).unwrap_or_default()
            ),
        ),
        Err(_) => (
            Verdict::Failed,
            format!("The backup's timeline {own} is not an ancestor of timeline {followed}."),
        ),
    };
    check("timeline", "The backup lies on the way to the target's timeline", verdict, text)
}

fn unbroken(base: &BaseSummary, position: Option<&Position>, ground: &Ground<'_>) -> Check {
    let title = "WAL without a gap from the backup to the target";
    let trace = ground.trace;
    let from = base.start_lsn;
    let to = position.map_or(trace.scan.end, |p| p.stop);
    if trace.scan.bytes == 0 {
        return check("wal", title, Verdict::Failed, "There is no WAL on this timeline.");
    }
    if trace.scan.start > from {
        let text =
            format!("The WAL begins at {}, but the backup needs it from {from}.", trace.scan.start);
        return check("wal", title, Verdict::Failed, text);
    }
    let ends_early = trace.reaches_to(from) < base.stop_lsn;
    if let Some(hole) = trace.broken_between(from, to) {
        let text = format!("It can be followed to {} only: {}.", hole.at, hole.why);
        return check("wal", title, Verdict::Failed, text);
    }
    if ends_early {
        let text = format!(
            "It ends at {}, before the backup's own end at {}: the backup can never become consistent.",
            trace.scan.end, base.stop_lsn
        );
        return check("wal", title, Verdict::Failed, text);
    }
    let mut text = format!("Every record from {from} to {to} was read and its checksum is right.");
    let kept = trace.scan.kept_segments;
    if kept > 0 {
        text.push_str(&format!(
            " {} of the segments were read on an earlier occasion; the archive lists them under the same tag.",
            grouped(kept)
        ));
    }
    if let Some(rescued) = ground.rescued_from.filter(|r| *r <= to) {
        text.push_str(&format!(
            " From {rescued} on it is only in the data directory; the plan rescues it before anything else."
        ));
    }
    check("wal", title, Verdict::Verified, text)
}

fn beyond_title(target: &Target) -> &'static str {
    match target.point {
        TargetPoint::Time(_) => "A commit or abort later than the target time",
        TargetPoint::Lsn(_) => "A record at or beyond the target LSN",
        TargetPoint::Xid(_) => "The end of the target transaction",
        TargetPoint::Name(_) => "The named restore point",
        TargetPoint::EndOfArchive => "The end of the WAL",
        TargetPoint::EndOfBase => "The end of the base backup",
    }
}

fn same_version(base: &BaseSummary, cluster: &ClusterFacts) -> Check {
    let (verdict, text) = match cluster.binaries_major {
        Some(major) if major == base.version => {
            (Verdict::Verified, format!("Both are PostgreSQL {major}."))
        }
        Some(major) => (
            Verdict::Failed,
            format!(
                "The programs are of PostgreSQL {major}, the backup is of {}. Install PostgreSQL {} on this host.",
                base.version, base.version
            ),
        ),
        None => (
            Verdict::CouldNotVerify,
            format!("The server's programs were not found; PostgreSQL {} is needed.", base.version),
        ),
    };
    check("version", "Server programs of the backup's major version", verdict, text)
}

fn no_copy(from: Lsn) -> Check {
    let text = format!("No further copy is made: the server goes on from LSN {from}.");
    check("space", "Room for the restore beside the damaged data", Verdict::Verified, text)
}

fn new_tablespaces(from: Lsn, stop: Lsn, trace: &Trace, moves: Option<&ClusterFacts>) -> Check {
    let all = trace.scan.history.tablespaces.iter();
    let created = all.filter(|(lsn, ..)| *lsn >= from && *lsn < stop);
    created_tablespaces(&created.cloned().collect::<Vec<_>>(), moves)
}

/// A server with `wal_level = minimal` logs too little to be replayed, and says so once, when it
/// starts with it: replay ends there, whatever else the archive has.
fn written_minimally(from: Lsn, stop: Lsn, trace: &Trace) -> Option<Check> {
    let lsn = trace.scan.history.minimal.iter().find(|lsn| **lsn >= from && **lsn < stop)?;
    let text = format!(
        "At LSN {lsn} the server was started with wal_level = minimal. Replay refuses to go beyond it: choose a point before it, or a backup that was taken after it."
    );
    Some(check("wal-level", "WAL that can be replayed", Verdict::Failed, text))
}

/// The name of the check of [`created_tablespaces`].
pub const NEW_TABLESPACES: (&str, &str) = ("new-tablespaces", "Tablespaces created within the WAL");

/// Whether replay would create a tablespace where files are that nobody moves aside: it writes
/// over them.
#[must_use]
pub fn created_tablespaces(created: &[Created], moves: Option<&ClusterFacts>) -> Check {
    let (id, title) = NEW_TABLESPACES;
    let made = |verdict, text: String| check(id, title, verdict, text);
    if created.is_empty() {
        return made(Verdict::Verified, String::from("None: replay writes to no folder outside."));
    }
    let mut words = Vec::new();
    for (lsn, oid, place) in created.iter().filter(|(.., place)| !place.is_empty()) {
        let what = format!("At LSN {lsn} replay creates tablespace {oid} in {place}");
        if moves.is_some_and(|cluster| super::opened::is_live(Path::new(place), cluster)) {
            words.push(format!("{what}, whose files the plan moves aside first."));
            continue;
        }
        // What an earlier recovery has kept there has another name than replay gives.
        let counts = |entry: &std::io::Result<std::fs::DirEntry>| {
            entry.as_ref().map_or(true, |e| !places::is_kept(&e.file_name().to_string_lossy()))
        };
        let entries = std::fs::read_dir(place).map(|mut all| all.find(counts).transpose());
        match entries.and_then(|first| first) {
            Ok(None) => words.push(format!("{what}, which is empty.")),
            Ok(Some(found)) => {
                return made(
                    Verdict::Failed,
                    format!(
                        "{what}, which holds {}: that may be the damaged cluster's own data, and replay would write over it. Recover on another host, choose a point before it, or, once the cluster is stopped, move the folder's content aside and ask again.",
                        found.file_name().to_string_lossy()
                    ),
                );
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return made(
                    Verdict::Failed,
                    format!(
                        "{what}, which is not there: the server would stop. Make that folder, empty and owned by the server's user, and ask again."
                    ),
                );
            }
            Err(e) => {
                return made(
                    Verdict::CouldNotVerify,
                    format!("{what}, which could not be looked into: {e}."),
                );
            }
        }
    }
    if words.is_empty() {
        words.push(String::from("They lie inside the data directory."));
    }
    made(Verdict::Verified, words.join(" "))
}

/// The damaged directory stays where the volume is, so the restore needs room beside it.
fn space(base: &BaseSummary, cluster: &ClusterFacts) -> Check {
    let title = "Room for the restore beside the damaged data";
    let needed = needed_space(base.size);
    let (verdict, text) = match free_space(&cluster.data_directory) {
        Ok(free) if free >= needed => {
            (Verdict::Verified, format!("{} are free, {} are needed.", bytes(free), bytes(needed)))
        }
        Ok(free) => {
            let alternative = cluster.alternative_data_directory.as_deref().map_or_else(
                || String::from("Free some space, or name an alternative data directory."),
                |path| match free_space(path) {
                    Ok(free) => {
                        format!("The alternative {} has {} free.", path.display(), bytes(free))
                    }
                    Err(e) => format!("The alternative {} could not be read: {e}.", path.display()),
                },
            );
            let text = format!(
                "Only {} are free, {} are needed; the damaged data is kept. {alternative}",
                bytes(free),
                bytes(needed)
            );
            (Verdict::Failed, text)
        }
        Err(e) => (
            Verdict::CouldNotVerify,
            format!(
                "The volume of {} could not be asked: {e}. {} are needed.",
                cluster.data_directory.display(),
                bytes(needed)
            ),
        ),
    };
    check("space", title, verdict, text)
}

/// Bytes that a restore of `size` bytes needs: some for WAL and what replay adds.
#[must_use]
pub fn needed_space(size: u64) -> u64 {
    size.saturating_add(size / 20).saturating_add(256 << 20)
}

/// Bytes that may still be written on the volume of `path`, or of its nearest parent that exists.
///
/// # Errors
/// Where no volume could be asked.
pub fn free_space(path: &Path) -> std::io::Result<u64> {
    let there = path
        .ancestors()
        .find(|p| p.exists())
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let volume = rustix::fs::statvfs(there)?;
    let free = volume.f_bavail.saturating_mul(volume.f_frsize);
    // A drill may tell of a smaller volume, of its own sandbox alone.
    Ok(place::pretended_free(there).map_or(free, |told| told.min(free)))
}

/// The highest value of each setting from the backup to `stop`; a lower one would pause or refuse
/// recovery. What was in force when the backup began counts too: settings may have been lowered
/// since.
fn minimum_settings(from: Lsn, stop: Lsn, ground: &Ground<'_>) -> Vec<(String, i64)> {
    let changes = &ground.trace.scan.history.parameters;
    let behind = changes.partition_point(|(lsn, _)| *lsn < from);
    let (before, since) = changes.split_at(behind);
    STANDBY_SETTINGS
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let value = |(_, values): &(Lsn, [i32; 5])| values.get(index).map(|v| i64::from(*v));
            let now = ground.cluster.settings.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
            let at_backup = before.last().and_then(value);
            let within = since.iter().filter(|(lsn, _)| *lsn <= stop).filter_map(value).max();
            // Unchanged since the backup, the cluster's present value is the backup's.
            let at_backup = if since.is_empty() { at_backup.max(now) } else { at_backup };
            at_backup.max(within).or(now).map(|highest| ((*name).to_owned(), highest))
        })
        .collect()
}

fn settings_check(
    base: &BaseSummary,
    stop: Lsn,
    ground: &Ground<'_>,
    minimum: &[(String, i64)],
) -> Check {
    let title = "Least values of the settings that recovery needs";
    let changed = ground
        .trace
        .scan
        .history
        .parameters
        .iter()
        .any(|(lsn, _)| *lsn >= base.start_lsn && *lsn <= stop);
    let list: Vec<String> = minimum.iter().map(|(n, v)| format!("{n} {v}")).collect();
    let (verdict, text) = if minimum.len() < STANDBY_SETTINGS.len() {
        (
            Verdict::CouldNotVerify,
            String::from(
                "The cluster's control file could not be read; the backup's own values are used.",
            ),
        )
    } else if changed {
        (
            Verdict::Verified,
            format!(
                "They changed within the WAL; the highest are used: {}. The backup's own count too: they are read from it when it is restored.",
                list.join(", ")
            ),
        )
    } else {
        (Verdict::Verified, format!("They did not change within the WAL: {}.", list.join(", ")))
    };
    Check { found: Some(list.join(", ")), ..check("settings", title, verdict, text) }
}

/// The nearest targets before and after that pass every check.
fn nearest(target: &Target, ground: &Ground<'_>) -> Vec<Target> {
    let trace = ground.trace;
    let endings = &trace.scan.history.endings;
    let from = ground.bases.first().map_or(Lsn(0), |b| b.start_lsn);
    let place = match (&target.point, trace.position(target, from)) {
        (_, Ok(position)) => position.kept,
        // Past the end, or nowhere: what is nearest then is the newest that there is.
        (_, Err(_)) => endings.len(),
    };
    let asked_by_time = matches!(target.point, TargetPoint::Time(_));
    let reachable = |index: usize| {
        let ending = endings.get(index).filter(|e| e.committed())?;
        let target = Target {
            point: TargetPoint::Lsn(ending.lsn),
            inclusive: true,
            timeline: target.timeline,
        };
        let serves =
            |target: &Target| ground.bases.iter().any(|b| with_base(target, b, ground).reachable);
        // Who asked by time is answered by time, where that keeps the same.
        let at = Target { point: TargetPoint::Time(ending.at()), ..target.clone() };
        let same = trace.position(&at, from).is_ok_and(|position| position.kept == index + 1);
        if asked_by_time && same && serves(&at) {
            return Some(at);
        }
        serves(&target).then_some(target)
    };
    // A hole or a backup's end parts the endings; only its edges need a proof.
    let mut edges: Vec<usize> = Vec::new();
    for hole in &trace.scan.breaks {
        let index = trace.before(hole.at.max(Lsn(1)));
        edges.extend([index.saturating_sub(1), index]);
    }
    for base in ground.bases {
        edges.push(trace.before(base.stop_lsn));
    }
    edges.extend([place.saturating_sub(1), place, endings.len().saturating_sub(1)]);
    edges.extend(trace.last_commit(endings.len()).map(|e| trace.before(e.lsn)));
    edges.sort_unstable();
    edges.dedup();
    let before = edges.iter().rev().filter(|i| **i < place).find_map(|i| reachable(*i));
    let after = edges.iter().filter(|i| **i >= place).find_map(|i| reachable(*i));
    before.into_iter().chain(after).collect()
}

fn blank(target: &Target) -> Reach {
    Reach {
        target: target.clone(),
        reachable: false,
        checks: Vec::new(),
        base: None,
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

pub(super) fn check(id: &str, title: &str, verdict: Verdict, detail: impl Into<String>) -> Check {
    Check {
        id: id.to_owned(),
        title: title.to_owned(),
        verdict,
        expected: None,
        found: None,
        detail: detail.into(),
        duration_ms: 0,
    }
}

/// What a reach loses, in one line.
#[must_use]
pub fn loss_in_words(reach: &Reach) -> String {
    match reach.lost_commits {
        Some(0) => String::from("nothing is lost"),
        Some(1) => String::from("1 transaction is lost"),
        Some(n) => format!("{} transactions are lost", grouped(n)),
        None => String::from("what is lost is not known"),
    }
}
