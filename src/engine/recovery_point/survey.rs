//! The survey: what the landscape looks like in one picture, and what to pre-fill. Owns the
//! order of the suggestions; never reads anything itself.

use super::suspects::{Found, rank};
use super::trace::Trace;
use super::words::grouped;
use super::{Landscape, reach};
use crate::engine::incident::facts::{
    Suggestion, Survey, Suspect, Target, TargetPoint, WalStretch,
};
use crate::engine::postgres::Lsn;
use crate::engine::wal::Segment;
use crate::engine::wal::inspect::Ending;
use jiff::{SignedDuration, Timestamp};

/// Slices of the density picture, at most.
const SLICES: i64 = 120;
const RUNBOOK_MINUTES: i64 = 15;
/// Of the first suspect's score.
const NOISE: f64 = 0.1;

pub fn survey(landscape: &Landscape) -> Survey {
    let trace = &landscape.main;
    let mut found = found(landscape);
    // On a screen, what stands far behind the first is noise.
    let least = found.first().map_or(0.0, |top| top.score * NOISE);
    found.retain(|f| f.score >= least);
    Survey {
        at: landscape.at,
        current_lsn: landscape.inputs.cluster.current_lsn,
        bases: landscape.bases.clone(),
        wal: stretches(landscape),
        newest_commit: trace.newest_commit().map(|e| trace.commit(e)),
        density: density(&trace.scan.history.endings),
        landmarks: super::picture::landmarks(landscape),
        suspects: found.iter().map(|f| suspect(f, trace)).collect(),
        suggestions: suggestions(landscape, &found),
        warnings: warnings(landscape),
    }
}

/// Suspects on what was read, best first.
pub fn found(landscape: &Landscape) -> Vec<Found> {
    rank(
        &landscape.main.scan.history,
        &landscape.relations,
        landscape.inputs.detected,
        &landscape.inputs.symptom,
    )
}

fn suspect(found: &Found, trace: &Trace) -> Suspect {
    let commit = trace.commit(&found.ending);
    let target = before_first(&found.ending);
    Suspect {
        commit,
        relation: found.relation.clone(),
        what: found.what.clone(),
        score: found.score,
        target,
    }
}

/// Just before a transaction: its first record, exclusive.
pub fn before_first(ending: &Ending) -> Target {
    Target { point: TargetPoint::Lsn(ending.first_lsn), inclusive: false, timeline: None }
}

fn suggestions(landscape: &Landscape, found: &[Found]) -> Vec<Suggestion> {
    let trace = &landscape.main;
    let mut out = Vec::new();
    if let Some(top) = found.first() {
        let ending = &top.ending;
        out.push(Suggestion {
            target: before_first(ending),
            why: match top.transactions {
                1 => format!(
                    "Just before transaction {} of {:.0} (UTC), which {}.",
                    ending.xid,
                    ending.at(),
                    top.what
                ),
                n => format!(
                    "Just before the first of {} transactions from {:.0} (UTC) on, which {}.",
                    grouped(n),
                    ending.at(),
                    top.what
                ),
            },
        });
        // While a slow statement ran, others committed. Without its commit it is undone anyway.
        let first = trace.before(ending.first_lsn);
        let commit = trace.before(ending.lsn);
        let between = trace.commits_after(first).saturating_sub(trace.commits_after(commit));
        if between > 0 && top.transactions == 1 && !top.harm.takes_effect_before_commit() {
            let point = TargetPoint::Lsn(ending.lsn);
            out.push(Suggestion {
                target: Target { point, inclusive: false, timeline: None },
                why: format!(
                    "Just before that transaction's commit: keeps {} more commits that others made while it ran.",
                    grouped(between)
                ),
            });
        }
    }
    out.extend(runbook(landscape));
    let end = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    let end = Suggestion {
        target: end,
        why: String::from(
            "Everything that was archived or can be rescued: for a lost disk or server, not for bad data.",
        ),
    };
    // Where the data directory is gone, what was done before to its tables did not do that.
    let at = if is_lost(&landscape.inputs.cluster) { 0 } else { out.len() };
    out.insert(at, end);
    out
}

/// Neither the server nor `pg_control` tells anything: all that is known is from a backup.
fn is_lost(cluster: &super::ClusterFacts) -> bool {
    cluster.wal_block_size.is_none() && cluster.settings.is_empty() && cluster.current_lsn.is_none()
}

/// The runbook's own suggestion, or the reachable moment that is nearest to it.
fn runbook(landscape: &Landscape) -> Option<Suggestion> {
    let (moment, of) = match landscape.inputs.detected {
        Some(detected) => (detected, "the incident was first detected"),
        None => (landscape.at, "now"),
    };
    let before = SignedDuration::from_mins(RUNBOOK_MINUTES);
    let wanted = moment.saturating_sub(before).ok()?;
    let at = |time: Timestamp| Target {
        point: TargetPoint::Time(time),
        inclusive: true,
        timeline: None,
    };
    let rule = format!("{RUNBOOK_MINUTES} minutes before {of}");
    let proven = prove(landscape, &at(wanted));
    if proven.reachable {
        let lost = reach::loss_in_words(&proven);
        let why = format!("The runbook's suggestion: {rule}; {lost}.");
        return Some(Suggestion { target: at(wanted), why });
    }
    let nearest = proven.nearest.into_iter().next()?;
    let kept = prove(landscape, &nearest).last_kept;
    let moment = kept.map_or_else(String::new, |c| format!(", the commit of {:.0} (UTC)", c.at));
    let why = format!(
        "The runbook's suggestion, {rule}, cannot be reached; this is the nearest that can{moment}."
    );
    Some(Suggestion { target: nearest, why })
}

/// On what was read already; a suggestion reads nothing more.
fn prove(landscape: &Landscape, target: &Target) -> crate::engine::incident::facts::Reach {
    let rates = super::Rates::load(&landscape.inputs.state_directory);
    let ground = reach::Ground {
        trace: &landscape.main,
        bases: &landscape.bases,
        cluster: &landscape.inputs.cluster,
        rates: &rates,
        rescued_from: landscape.rescued_from,
        goes_on_from: None,
        exact: None,
    };
    reach::prove(target, &ground)
}

fn stretches(landscape: &Landscape) -> Vec<WalStretch> {
    let trace = &landscape.main;
    let coverage = &landscape.coverage;
    let size = coverage.segment_size;
    let line = &trace.line;
    let last = coverage.path(line, Lsn(0)).pieces.last().copied();
    coverage
        .stretches
        .iter()
        .map(|stretch| {
            let segment = |number| Segment { timeline: stretch.timeline, number };
            let from = segment(stretch.first).start(size);
            let mut to = segment(stretch.last).end(size);
            if last.is_some_and(|l| l.timeline == stretch.timeline && l.last == stretch.last) {
                to = to.min(trace.scan.end).max(from);
            }
            let on_path = |e: &&Ending| {
                e.lsn >= from
                    && e.lsn < to
                    && super::timelines::holding(line, e.lsn) == stretch.timeline
            };
            let mut commits =
                trace.scan.history.endings.iter().filter(|e| e.committed()).filter(on_path);
            let first_commit = commits.next().map(Ending::at);
            WalStretch {
                timeline: stretch.timeline,
                from,
                to,
                segments: stretch.last.saturating_sub(stretch.first).saturating_add(1),
                first_commit,
                last_commit: commits.next_back().map(Ending::at).or(first_commit),
            }
        })
        .collect()
}

/// Commits in at most [`SLICES`] equal slices of a round width.
fn density(endings: &[Ending]) -> Vec<(Timestamp, u64)> {
    const WIDTHS: [i64; 14] =
        [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];
    let commits = || endings.iter().filter(|e| e.committed());
    let (Some(first), Some(last)) =
        (commits().map(|e| e.micros).min(), commits().map(|e| e.micros).max())
    else {
        return Vec::new();
    };
    let seconds = (last - first) / 1_000_000;
    let width =
        WIDTHS.into_iter().find(|w| seconds / w < SLICES - 1).unwrap_or(seconds / SLICES + 1);
    let width = width * 1_000_000;
    let start = first.div_euclid(width);
    let count = usize::try_from(last.div_euclid(width) - start).unwrap_or(0) + 1;
    let mut slices = vec![0_u64; count];
    for ending in commits() {
        let index = usize::try_from(ending.micros.div_euclid(width) - start).unwrap_or(0);
        if let Some(slice) = slices.get_mut(index) {
            *slice += u64::from(ending.commits);
        }
    }
    let at = |index: usize| {
        let index = i64::try_from(index).unwrap_or(0);
        Timestamp::from_microsecond((start + index) * width).unwrap_or_default()
    };
    slices.into_iter().enumerate().map(|(index, commits)| (at(index), commits)).collect()
}

pub fn warnings(landscape: &Landscape) -> Vec<String> {
    let scan = &landscape.main.scan;
    let mut out = landscape.warnings.clone();
    for hole in &scan.breaks {
        out.push(format!(
            "WAL cannot be followed from {} to {}: {}.",
            hole.at, hole.resume, hole.why
        ));
    }
    if let Some(rescued) = landscape.rescued_from {
        out.push(format!(
            "WAL from {rescued} on was not archived; it is only in the data directory and is rescued first."
        ));
    }
    if let (unread @ 1.., Some(first)) = scan.history.unreadable {
        out.push(format!(
            "{} WAL records were not understood, the first at {first}: suspects may be missing.",
            grouped(unread)
        ));
    }
    if scan.history.details_dropped > 0 {
        out.push(format!(
            "{} smaller suspects were left out to bound memory.",
            grouped(scan.history.details_dropped)
        ));
    }
    if let Some(before) = scan.history.thinned_before {
        out.push(format!(
            "Before {before} commits are shown by the minute, not one by one: there are too many."
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{ClusterFacts, PlacesFacts};
    use super::*;

    #[test]
    fn a_cluster_is_lost_where_nothing_but_a_backup_tells_of_it() {
        let of_backup = ClusterFacts {
            segment_size: 16 << 20,
            system_identifier: Some(7),
            timeline: Some(1),
            settings: Vec::new(),
            current_lsn: None,
            binaries_major: None,
            program_blocks: None,
            wal_block_size: None,
            data_directory: std::path::PathBuf::from("/nowhere"),
            alternative_data_directory: None,
            has_begun: false,
            places: PlacesFacts::default(),
        };
        assert!(is_lost(&of_backup));
        assert!(!is_lost(&ClusterFacts { wal_block_size: Some(8_192), ..of_backup.clone() }));
        assert!(!is_lost(&ClusterFacts { current_lsn: Some(Lsn(1)), ..of_backup }));
    }
}
