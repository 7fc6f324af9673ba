//! From a recovery point back to an earlier one: the confirmed plan with that end. The directory
//! that stands at the later point is set aside whole, and what is equal in it is not fetched
//! again. Owns what is added to the plan and what stays of it; makes a value and does nothing.

use super::full::transfer;
use super::places::{self, BackupSpace, KEPT, Live, moves};
use super::plan::{beside, fills, no_base, sealed, words};
use crate::engine::config::Cluster;
use crate::engine::copies::Availability;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{OnDisk, Reach, Source};
use crate::engine::runbook::Runbook;
use crate::engine::runner::plan::{Cancel, KeptSpace, Plan, PlanStep, Stood};
use jiff::Timestamp;

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
    pub cluster: &'a Cluster,
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
    let Ground { plan, reach, cluster, live, spaces, source, available, runbook, now } = ground;
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
    back.source = source.map(|source| rest_of(source, reach.on_disk.as_ref()));
    back.places.spaces = places::placed(&spaces, &cluster.tablespace_mapping);
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
    let link: Vec<String> = back.source.iter().map(ToString::to_string).collect();
    for known in &mut back.steps {
        match known.id.as_str() {
            COPY => {
                known.touches = [&*link, &*touched].concat();
                known.expected = forecast.map(|f| match &back.source {
                    Some(source) => transfer(f.copy, source),
                    None => f.copy,
                });
            }
            "replay" => known.expected = forecast.map(|f| f.replay),
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

/// What is brought over at most, where the disk has a part of it.
fn rest_of(source: Source, disk: Option<&OnDisk>) -> Source {
    let Some(disk) = disk else { return source };
    let (_, most) = disk.fetched();
    let whole = most.saturating_add(disk.unchanged).max(1);
    let stored = u128::from(source.stored) * u128::from(most) / u128::from(whole);
    Source { stored: u64::try_from(stored).unwrap_or(source.stored), ..source }
}
