//! From a recovery point back to an earlier one: the confirmed plan with that end. The directory
//! that stands at the later point is set aside whole, and what is equal in it is not fetched
//! again. Owns what is added to the plan and what stays of it; makes a value and does nothing.

use super::line;
use super::places::{self, BackupSpace, KEPT, Live, moves};
use super::plan::{beside, fills, no_base, sealed, words};
use crate::engine::copies::Availability;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{Reach, Source};
use crate::engine::runbook::Runbook;
use crate::engine::runner::plan::{Cancel, KeptSpace, Plan, PlanStep, Stood};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The step that sets aside what stands at the later point; it comes right before the copy.
pub const STEP: &str = "step-back";
/// The first step that is done anew behind it.
const COPY: &str = "restore-base";

/// What the plan is made from.
#[derive(Debug)]
pub struct Ground<'a> {
    /// As it was confirmed.
    pub plan: &'a Plan,
    /// The earlier point, proven.
    pub reach: &'a Reach,
    /// Where restored tablespaces go, by where they were.
    pub mapping: &'a BTreeMap<PathBuf, PathBuf>,
    /// The directory where the server stands.
    pub live: &'a Live,
    /// The tablespaces of the base.
    pub spaces: Vec<BackupSpace>,
    pub source: Option<Source>,
    pub available: &'a Availability,
    pub runbook: &'a Runbook,
    /// Names what is set aside.
    pub now: Timestamp,
}

/// Makes the plan.
///
/// # Errors
/// Where no base backup serves the point, or the runbook data has no words for the step.
pub fn make(ground: Ground<'_>) -> Result<Plan, Explanation> {
    let Ground { plan, reach, mapping, live, spaces, source, available, runbook, now } = ground;
    let stamp = places::stamp(now);
    let stood = Stood {
        from: live.data.clone(),
        kept: match live.is_mount {
            true => live.data.join(format!("{KEPT}{stamp}")),
            false => beside(&live.data, "abandoned", now),
        },
        contents: live.is_mount,
        spaces: live
            .spaces
            .iter()
            .map(|space| KeptSpace {
                oid: space.oid,
                folder: space.folder.clone(),
                kept: moves::abandoned(&space.folder, &stamp),
            })
            .collect(),
    };
    let mut back = plan.moved_to(reach).map_err(super::plan::no_hash)?;
    back.base = reach.base.clone().ok_or_else(no_base)?;
    back.repositories.clone_from(&available.open);
    back.source = source.map(|source| line::rest(source, reach.on_disk.as_ref()));
    back.places.spaces = places::placed(&spaces, mapping);
    back.places.wal = live.wal.as_deref().map(|wal| places::fresh_wal(wal, &stamp, false));
    let words = words(runbook, STEP)?;
    let step = PlanStep {
        id: STEP.to_owned(),
        title: words.title.clone(),
        why: words.why.clone(),
        runbook: words.runbook.clone(),
        touches: touches(&stood),
        expected: Some((1.0, 30.0)),
        cancel: Cancel::No(String::from("a server between running and stopped helps nobody")),
        destructive: true,
        undo: Some(format!("what was set aside stays at {}", stood.kept.display())),
    };
    back.places.stood = Some(stood);
    back.steps.retain(|known| known.id != STEP);
    let at = back.steps.iter().position(|known| known.id == COPY).unwrap_or(back.steps.len());
    back.steps.insert(at, step);
    let forecast = reach.forecast.as_ref();
    let touched = fills(&live.data, &back.places, &back.aside);
    let link = back
        .source
        .as_ref()
        .map_or_else(|| super::plan::UNKNOWN_LINK.to_owned(), ToString::to_string);
    for known in &mut back.steps {
        match known.id.as_str() {
            COPY => {
                known.touches = [std::slice::from_ref(&link), &*touched].concat();
                known.expected = forecast.map(|f| match &back.source {
                    Some(source) => line::transfer(f.copy, source),
                    None => f.copy,
                });
                if back.source.is_none() && !forecast.is_some_and(|f| f.measured) {
                    known.expected = None;
                }
            }
            "replay" => {
                let link = back.source.as_ref();
                known.expected = forecast.map(|f| line::replay(f.replay, reach.wal_bytes, link));
            }
            _ => {}
        }
    }
    sealed(back)
}

fn touches(stood: &Stood) -> Vec<String> {
    let (from, kept) = (stood.from.display(), stood.kept.display());
    let mut all = vec![
        format!("server on {from}: stopped"),
        match stood.contents {
            true => format!("{from} is a mount point: everything restored in it goes to {kept}"),
            false => format!("{from} becomes {kept}, whole"),
        },
    ];
    all.extend(stood.spaces.iter().map(|space| {
        let (folder, kept) = (space.folder.display(), space.kept.display());
        format!("tablespace {}: {folder} becomes {kept}, whole", space.oid)
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::{
        BaseSummary, Commit, Forecast, Identity, OnDisk, ServerRole, Target, TargetPoint,
    };
    use crate::engine::postgres::Lsn;
    use crate::engine::restore::places::live::LiveSpace;
    use crate::engine::runner::plan::Places;
    use std::path::Path;

    fn base(set: &str) -> BaseSummary {
        BaseSummary {
            set: set.to_owned(),
            repository: String::from("near"),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            start_lsn: Lsn(0x100),
            stop_lsn: Lsn(0x200),
            timeline: 1,
            system_identifier: 7,
            version: 15,
            size: 1000,
            stored: 400,
            encrypted: true,
        }
    }

    fn plan() -> Plan {
        let step = |id: &str| PlanStep {
            id: id.to_owned(),
            title: String::new(),
            why: String::new(),
            runbook: String::new(),
            touches: vec![format!("as {id} did")],
            expected: Some((100.0, 200.0)),
            cancel: Cancel::AtOnce,
            destructive: false,
            undo: None,
        };
        let plan = Plan {
            incident: String::from("INC-1"),
            cluster: String::from("orders"),
            identity: Identity {
                system_identifier: 7,
                host: String::from("db1"),
                data_directory: String::from("/srv/pg/main"),
                role: ServerRole::Primary,
                version: 15,
                timeline: 1,
            },
            target: Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None },
            timeline: Some(1),
            base: base("set-2"),
            aside: String::from("/srv/pg/main.damaged.1"),
            rescue: String::from("/srv/pg/main.rescued-wal.1"),
            repositories: Vec::new(),
            places: Places {
                wal: Some(PathBuf::from("/wal/main.20260101-110000")),
                ..Places::default()
            },
            replay_until: Some(Lsn(0x900)),
            ends_at: Some(Lsn(0x900)),
            minimum_settings: vec![(String::from("max_connections"), 200)],
            procedure: Default::default(),
            lost: false,
            source: None,
            steps: ["move-aside", "restore-base", "replay", "inspect"].map(step).to_vec(),
            hash: String::new(),
        };
        plan.seal().unwrap()
    }

    fn reach() -> Reach {
        let lsn = Lsn(0x400);
        Reach {
            target: Target { point: TargetPoint::Lsn(lsn), inclusive: false, timeline: None },
            reachable: true,
            checks: Vec::new(),
            base: Some(base("set-1")),
            last_kept: Some(Commit {
                at: Timestamp::UNIX_EPOCH,
                xid: 700,
                first_lsn: Lsn(0x380),
                lsn: Lsn(0x3a0),
                end_lsn: Lsn(0x3c0),
                timeline: 1,
                inserts: 1,
                updates: 0,
                deletes: 0,
                stands_for: 1,
            }),
            first_lost: None,
            lost_commits: Some(9),
            lost_seconds: None,
            nearest: Vec::new(),
            wal_bytes: 0x300,
            minimum_settings: vec![(String::from("max_connections"), 150)],
            forecast: Some(Forecast { copy: (4.0, 8.0), replay: (1.0, 2.0), measured: true }),
            line: vec![(1, Lsn(0))],
            cost: Default::default(),
            procedure: Default::default(),
            alternative: None,
            on_disk: Some(OnDisk {
                directory: String::from("/srv/pg/main"),
                unchanged: 750,
                unsure: 150,
                gone: 100,
            }),
        }
    }

    #[test]
    fn a_line_counts_for_what_is_brought_over_it() {
        let link = Source {
            repository: String::from("far"),
            region: None,
            far: true,
            bytes_per_second: 10,
            stored: 400,
        };
        let weighed = |mut reach: Reach| {
            line::weigh(&mut reach, &link);
            reach.forecast.unwrap()
        };
        // A quarter of the files at most: 100 bytes at 10 a second.
        let some = weighed(reach());
        assert_eq!(some.copy, (5.0, 13.0));
        assert!((some.replay.1 - 76.8).abs() < 1e-9 && some.replay.0 <= 1.0, "{some:?}");
        let all = weighed(Reach { on_disk: None, ..reach() });
        assert_eq!(all.copy, (20.0, 52.0));
        // Where the server goes on nothing is copied, and the log comes over the line all the same.
        let none = Forecast { copy: (0.0, 0.0), replay: (1.0, 2.0), measured: true };
        let on = weighed(Reach { forecast: Some(none), on_disk: None, ..reach() });
        assert!(on.copy == (0.0, 0.0) && on.replay.1 > 76.0, "{on:?}");
    }

    fn back(plan: &Plan, is_mount: bool, now: &str) -> Plan {
        let live = Live {
            data: PathBuf::from("/srv/pg/main"),
            is_mount,
            spaces: vec![LiveSpace {
                oid: 16400,
                location: PathBuf::from("/srv/far"),
                folder: PathBuf::from("/srv/far/PG_15_1"),
            }],
            wal: plan.places.wal.clone(),
            wal_is_mount: false,
        };
        let space = BackupSpace { oid: 16400, location: PathBuf::from("/srv/far") };
        let source = Source {
            repository: String::from("near"),
            region: None,
            far: false,
            bytes_per_second: 1_000_000,
            stored: 400,
        };
        make(Ground {
            plan,
            reach: &reach(),
            mapping: &BTreeMap::new(),
            live: &live,
            spaces: vec![space],
            source: Some(source),
            available: &Availability { open: vec![String::from("near")], closed: Vec::new() },
            runbook: &Runbook::load(None).unwrap(),
            now: now.parse().unwrap(),
        })
        .unwrap()
    }

    #[test]
    fn what_stands_is_set_aside_and_only_what_comes_behind_it_is_new() {
        let before = plan();
        let plan = back(&before, false, "2026-01-01T12:00:00Z");
        assert!(plan.is_sealed() && plan.hash != before.hash);
        assert_eq!((&plan.aside, &plan.rescue), (&before.aside, &before.rescue));
        assert_eq!((plan.base.set.as_str(), plan.replay_until), ("set-1", Some(Lsn(0x3c0))));
        assert_eq!(plan.ends_at, None, "it ends at its target");
        assert_eq!(plan.minimum_settings, before.minimum_settings, "never lowered");
        let stood = plan.places.stood.clone().unwrap();
        assert_eq!(stood.kept, Path::new("/srv/pg/main.abandoned.20260101-120000"));
        assert_eq!(stood.spaces[0].kept, Path::new("/srv/far/PG_15_1.abandoned.20260101-120000"));
        assert_eq!(plan.places.wal.as_deref(), Some(Path::new("/wal/main.20260101-120000")));
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(ids, ["move-aside", STEP, "restore-base", "replay", "inspect"]);
        assert_eq!(plan.steps[0], before.steps[0]);
        assert!(plan.steps[1].destructive);
        let copy = &plan.steps[2];
        assert_eq!(copy.expected, Some((4.0, 8.0)), "as the disk spares it");
        assert!(copy.touches.iter().any(|text| text.contains("reads /srv/pg/main.abandoned.")));
        // A quarter of the set is brought over at most.
        assert_eq!(plan.source.unwrap().stored, 100);
    }

    #[test]
    fn a_second_way_back_sets_aside_what_stands_then() {
        let first = back(&plan(), false, "2026-01-01T12:00:00Z");
        let second = back(&first, false, "2026-01-01T12:10:00Z");
        let kept = |plan: &Plan| plan.places.stood.clone().unwrap().kept;
        assert_ne!(kept(&first), kept(&second));
        assert_eq!(second.steps.iter().filter(|step| step.id == STEP).count(), 1);
        assert_eq!(second.places.wal.as_deref(), Some(Path::new("/wal/main.20260101-121000")));
    }

    #[test]
    fn the_content_of_a_mount_point_stays_on_its_volume() {
        let stood = back(&plan(), true, "2026-01-01T12:00:00Z").places.stood.unwrap();
        assert!(stood.contents);
        assert_eq!(stood.kept, Path::new("/srv/pg/main/lifeboat-kept.20260101-120000"));
    }
}
