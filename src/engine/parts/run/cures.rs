//! Troubles of the copy beside production, and their cures. Owns what is looked at for the copy and
//! what follows a cure there; what a trouble is and how it is mended is `engine/trouble`'s. Nothing
//! here touches production.

use super::{Rig, no_copy};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Reach;
use crate::engine::incident::trouble::{By, Cure, NAMED_PLACE, Trouble};
use crate::engine::parts::sandbox::recovered::landscape;
use crate::engine::restore::steps::Site;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::work::Cured;
use crate::engine::trouble::{self, Machine};
use std::path::PathBuf;

/// Only part of the copy's socket's name.
const PORT: u16 = 5432;

impl Rig {
    /// What a failed step's failure is, where it is the copy's.
    #[must_use]
    pub fn recognise(&self, plan: &Plan, step: &str, failure: &Explanation) -> Option<Trouble> {
        let (site, log, socket) = self.seen();
        let machine = Machine::of_copy(&site, plan, &log, &socket);
        trouble::recognise_in_copy(&machine, step, failure)
    }

    /// Carries a cure out in the copy.
    ///
    /// # Errors
    /// Where there is no copy of this plan, the cure no longer fits, or it did not help.
    pub fn cure(
        &self,
        plan: &Plan,
        reach: Option<&Reach>,
        cure: &Cure,
    ) -> Result<Cured, Explanation> {
        // Known by its mark: nothing else is changed.
        let is_there = self.with(|_| Ok(()))?.is_some();
        let needs_none =
            [trouble::WAIT, trouble::OTHER_PLACE, NAMED_PLACE].contains(&cure.id.as_str());
        if !is_there && cure.by != By::People && !needs_none {
            return Err(no_copy());
        }
        // One that waits for more log, or has paused, is told by its next start.
        self.with(|copy| match copy.has_left_recovery() {
            true => Ok(()),
            false => copy.stop(&self.means()),
        })?;
        let (site, log, socket) = self.seen();
        let machine = Machine::of_copy(&site, plan, &log, &socket);
        let landscape =
            || landscape(&self.means(), &self.root, true).map_err(|error| error.explanation());
        match cure.id.as_str() {
            trouble::STOP_AT_GAP => trouble::stop_at_gap(&machine, &landscape()?, cure),
            trouble::OTHER_POINT => trouble::other_point(&machine, &landscape()?, cure),
            trouble::OTHER_BASE => {
                let cured = trouble::other_base(&machine, landscape()?, cure)?;
                self.with(|copy| copy.give_up_spaces())?;
                Ok(cured)
            }
            trouble::OTHER_PLACE | NAMED_PLACE => {
                let reach = reach.ok_or_else(no_copy)?;
                trouble::other_place(&machine, &self.site, reach, cure)
            }
            _ => trouble::carry_out(&machine, cure),
        }
    }

    /// Production's ground, seen from the copy's data directory; the copy's log and the folder of its
    /// socket.
    fn seen(&self) -> (Site, PathBuf, PathBuf) {
        let home = self.root.join("cluster");
        let known = self.with(|copy| Ok((copy.log(), copy.socket().to_owned())));
        let (log, socket) = known.ok().flatten().unwrap_or_else(|| {
            // Where there is none, nothing was said and nothing listens.
            (home.join("server.log"), self.root.join("socket"))
        });
        (self.site.beside(&home.join("data"), PORT), log, socket)
    }
}
