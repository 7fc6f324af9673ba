//! A target put to the test, by the means that are to bring the server there. Owns which bases are
//! asked, what is tried for real and how far back the log is read for it; each check's rule is
//! [`super::reach`]'s or [`super::opened`]'s.

use super::{
    Archive, ClusterFacts, Landscape, LandscapeError, OnScan, Rates, Trace, opened, picture, reach,
    timelines,
};
use crate::engine::incident::facts::{BaseSummary, Reach, Target, TargetPoint};
use crate::engine::postgres::Lsn;
use crate::engine::restore::base::delta::Reuse;
use crate::engine::wal::Segment;
use std::borrow::Cow;
use std::sync::Arc;

/// What may bring the server to a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Means {
    /// A restore of whichever base serves.
    #[default]
    AnyBase,
    /// A restore of this set.
    Base(String),
    /// The server that was restored from `base` and has replayed up to `at`: to a later point it
    /// goes on, to an earlier one any base is restored anew, taking from `over`, the directory
    /// where it stands, what is equal. `None`: all is fetched.
    Standing { base: BaseSummary, at: Lsn, over: Option<Reuse> },
}

impl Means {
    /// The cluster as a restore by these means finds it: where a server stands already, it goes into
    /// that server's place and into no other.
    fn ground<'a>(&self, cluster: &'a ClusterFacts) -> Cow<'a, ClusterFacts> {
        match self {
            Self::Standing { over: Some(over), .. } if over.from != cluster.data_directory => {
                Cow::Owned(ClusterFacts {
                    data_directory: over.from.clone(),
                    alternative_data_directory: None,
                    ..cluster.clone()
                })
            }
            _ => Cow::Borrowed(cluster),
        }
    }
}

impl Landscape {
    /// Whether and how `target` can be reached. Reads older WAL where the target needs it.
    ///
    /// # Errors
    /// Where it could not be judged; an unreachable target is no error.
    pub fn reach(
        &self,
        target: &Target,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reach, LandscapeError> {
        self.reach_by(target, &Means::AnyBase, progress, cancelled)
    }

    /// As [`Landscape::reach`], by the means given.
    ///
    /// # Errors
    /// As [`Landscape::reach`].
    pub fn reach_by(
        &self,
        target: &Target,
        means: &Means,
        progress: OnScan<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Reach, LandscapeError> {
        let timeline = match target.timeline {
            // The server would look for its history, and not start without.
            Some(timeline) if timeline > 1 && self.timelines.line(timeline).is_none() => {
                return Err(LandscapeError::NoTimeline(timeline));
            }
            Some(timeline) => timeline,
            None => self.main.timeline,
        };
        let rates = Rates::load(&self.inputs.state_directory);
        let only: Vec<BaseSummary> = match means {
            Means::AnyBase => Vec::new(),
            Means::Base(set) => self.bases.iter().filter(|b| b.set == *set).cloned().collect(),
            Means::Standing { base, .. } => vec![base.clone()],
        };
        let goes_on = |trace: &Trace| match means {
            Means::Standing { base, at, .. } => trace
                .position(target, base.start_lsn)
                .is_ok_and(|position| position.stop > *at)
                .then_some(*at),
            _ => None,
        };
        let cluster = means.ground(&self.inputs.cluster);
        let judge = |trace: &Trace| {
            let goes_on_from = goes_on(trace);
            // Behind where the server stands, every base may serve, by a restore of its own.
            let any = match means {
                Means::AnyBase => true,
                Means::Base(_) => false,
                Means::Standing { .. } => goes_on_from.is_none(),
            };
            let exact = self.exact_stop(trace, target);
            let ground = reach::Ground {
                trace,
                exact: exact.map(|(place, stop)| (target, place, stop)),
                bases: if any { &self.bases } else { &only },
                cluster: &cluster,
                rates: &rates,
                rescued_from: self.rescued_from,
                goes_on_from,
            };
            let mut reach = reach::prove(target, &ground);
            reach.cost = picture::cost(&reach, &ground, &self.relations);
            let mut reach = self.opened(reach, &ground);
            if let (Means::Standing { at, over: Some(over), .. }, None) = (means, goes_on_from) {
                self.spare(&mut reach, over, *at, &rates);
            }
            reach
        };
        let near = self.trace_from(timeline, self.main.scan.start, progress, cancelled)?;
        let judged = judge(&near);
        let from = match means {
            // An earlier point may need an older base than the one that was restored.
            Means::Standing { base, .. } if goes_on(&near).is_some() => {
                self.needed_from(target).max(base.start_lsn)
            }
            _ => self.needed_from(target),
        };
        if judged.reachable || from >= near.scan.start {
            return Ok(judged);
        }
        let far = self.trace_from(timeline, from, progress, cancelled)?;
        Ok(judge(&far))
    }

    /// Counts what the directory where the server stands spares of a restore anew. Where that cannot
    /// be told, everything counts as fetched.
    fn spare(&self, reach: &mut Reach, over: &Reuse, at: Lsn, rates: &Rates) {
        let Some(set) = reach.base.as_ref().map(|base| base.set.clone()) else { return };
        let known = self.on_disk.lock().ok().and_then(|known| known.clone());
        let known = known.filter(|(of, stands, _)| (of, *stands) == (&set, at));
        let found = known.map(|(.., found)| found).or_else(|| {
            let ask = |archive: &Arc<dyn Archive>| archive.on_disk(&set, over).ok().flatten();
            self.inputs.archives.iter().find_map(ask)
        });
        let Some(found) = found else { return };
        let forecast = rates.forecast_over(&found, reach.wal_bytes);
        reach.forecast = Some(forecast);
        for choice in reach.cost.bases.iter_mut().filter(|choice| choice.set == set) {
            choice.forecast = forecast;
        }
        reach.on_disk = Some(found.clone());
        if let Ok(mut known) = self.on_disk.lock() {
            *known = Some((set, at, found));
        }
    }

    /// Tries for real what a verdict's base needs: its keys, its folders, the programs.
    fn opened(&self, mut reach: Reach, ground: &reach::Ground<'_>) -> Reach {
        let trace = ground.trace;
        let Some(base) = reach.base.clone() else { return reach };
        let archives = &self.inputs.archives;
        let (own, others): (Vec<_>, Vec<_>) =
            archives.iter().partition(|archive| archive.name() == base.repository);
        let mut set = None;
        // What was restored already is not opened again.
        let stands = ground.goes_on_from;
        for archive in own.into_iter().chain(others).filter(|_| stands.is_none()) {
            match (archive.open_set(&base.set).transpose(), &set) {
                (Some(Ok(found)), _) => {
                    set = Some(Ok(found));
                    break;
                }
                (Some(failed), None) => set = Some(failed),
                _ => {}
            }
        }
        let from = base.start_lsn.max(stands.unwrap_or_default());
        let newest = from.0.saturating_add(reach.wal_bytes);
        let newest = Lsn(newest.saturating_sub(1));
        let held = timelines::holding(&trace.line, newest);
        let size = self.coverage.segment_size;
        let name = Segment::holding(held, newest, size).name(size);
        let wal = archives.iter().find_map(|archive| archive.open_wal(&name).transpose());
        let wal = wal.map(|key| (name, key.map(|id| (!id.is_empty()).then_some(id))));
        let mut checks = vec![match stands {
            Some(_) => opened::wal_key(wal.as_ref()),
            None => opened::keys(&base, set.as_ref(), wal.as_ref()),
        }];
        if let Some(Ok(set)) = &set {
            let cluster = ground.cluster;
            checks.push(opened::blocks(set, cluster));
            checks.push(opened::tablespaces(set, cluster));
            checks.extend(opened::keepable(cluster));
            reach.alternative = opened::alternative(set, cluster, base.size);
            if opened::has_several_places(set, cluster) {
                let other = reach.alternative.as_deref();
                checks.push(opened::room(set, cluster, base.size, other));
            }
        }
        opened::replace(&mut reach.checks, checks);
        reach.reachable = reach::passes(&reach.checks);
        reach
    }

    /// From where WAL must be read to judge a target: a base that can serve must lie in it.
    fn needed_from(&self, target: &Target) -> Lsn {
        let oldest = self.bases.first().map_or(Lsn(u64::MAX), |b| b.start_lsn);
        let serving = |before: &dyn Fn(&BaseSummary) -> bool| {
            self.bases.iter().rev().find(|b| before(b)).map_or(oldest, |b| b.start_lsn)
        };
        match &target.point {
            TargetPoint::Time(at) => serving(&|b| b.finished <= *at),
            TargetPoint::Lsn(lsn) => serving(&|b| b.stop_lsn <= *lsn),
            TargetPoint::Xid(_) | TargetPoint::Name(_) => oldest,
            TargetPoint::EndOfArchive | TargetPoint::EndOfBase => Lsn(u64::MAX),
        }
    }
}
