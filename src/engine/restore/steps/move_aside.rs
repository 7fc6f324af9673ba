//! The step that keeps the damaged cluster: its directory, its tablespaces' folders. Deletes
//! nothing; what is renamed is renamed whole, and each rename can be the last before a power cut.

use super::prepare::copy_tail;
use super::site::{Site, io, now};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::postgres::control::StopMode;
use crate::engine::restore::places::moves::{self, Contents};
use crate::engine::restore::places::{self, live};
use crate::engine::restore::plan;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::{Places, Plan};
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Renames the damaged directory, whole, and makes an empty one in its place; then the folders of
/// its tablespaces, which no server can miss any more.
#[derive(Debug)]
pub struct MoveAside(pub Arc<Site>);

impl Step for MoveAside {
    fn id(&self) -> &'static str {
        "move-aside"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        let partial = |text: &str| Ok(Standing::Partial(String::from(text)));
        if let Some(alternative) = &plan.places.alternative {
            if !alternative.exists() {
                return Ok(Standing::NotStarted);
            }
        } else if !site.has_moved(plan) {
            return Ok(Standing::NotStarted);
        } else if !site.is_aside(plan) {
            return partial("a part of the data directory's content is moved, the rest is there");
        } else if !site.data().exists() {
            return partial("renamed, but the new directory is not made yet");
        }
        if plan.places.kept.iter().any(|space| space.folder.exists() && !space.kept.exists()) {
            return partial("the data directory is set aside; folders of tablespaces are not yet");
        }
        Ok(Standing::Done(format!("the damaged directory is at {}", plan.aside)))
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        let owner = site.owner(plan)?;
        if !site.has_moved(plan) {
            site.confirm(plan, site.data())?;
            self.require_alone(plan)?;
            // What the server wrote until its last moment is not in the first rescue.
            let summary = copy_tail(site, context, site.data())?;
            context.note("rescued", &summary)?;
        }
        let aside = Path::new(&plan.aside);
        let new = plan.places.alternative.as_deref().unwrap_or(site.data());
        if plan.places.contents {
            moves::keep_contents(site.data(), aside)?;
        } else {
            if plan.places.alternative.is_none() && !site.is_aside(plan) {
                failpoint::hit("move.one");
                moves::rename_whole(&real(site, plan), aside)?;
            }
            if plan.places.alternative.is_some() && new.exists() && !is_empty(new)? {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!("{} is not empty any more.", new.display()),
                    "Nothing of it was touched, and the damaged directory is where it was.",
                    "Empty it or name another alternative_data_directory, and make the plan anew.",
                ));
            }
            failpoint::hit("move.one");
            make_empty(new, owner)?;
        }
        for space in &plan.places.kept {
            moves::keep_space(space)?;
        }
        context.note("aside", &format!("The damaged directory is kept at {}", plan.aside))?;
        for space in &plan.places.kept {
            let text = format!("Tablespace {} is kept at {}", space.oid, space.kept.display());
            context.note("space_aside", &text)?;
        }
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        let aside = Path::new(&plan.aside);
        let new = plan.places.alternative.as_deref().unwrap_or(site.data());
        if plan.places.contents {
            let standing = moves::standing(aside);
            if standing == Contents::There {
                return Ok(String::from("the damaged directory was not moved"));
            }
            site.stop_recovered(plan)?;
            set_restored_spaces_aside(plan, new)?;
            match standing {
                Contents::There => {}
                Contents::Kept if !is_empty(site.data())? => {
                    moves::keep_contents(site.data(), &moves::abandoned(aside, &stamp()))?;
                }
                // Not all of it had left: the rest follows, then all comes back.
                Contents::Leaving => moves::keep_contents(site.data(), aside)?,
                Contents::Kept | Contents::Returning => {}
            }
            put_spaces_back(plan)?;
            moves::put_contents_back(site.data(), aside)?;
            return Ok(format!("{} holds the damaged cluster again", site.data().display()));
        }
        if plan.places.alternative.is_none() && !site.is_aside(plan) {
            return Ok(String::from("the damaged directory was not moved"));
        }
        site.stop_recovered(plan)?;
        set_restored_spaces_aside(plan, new)?;
        if new.exists() {
            if is_empty(new)? {
                fs::remove_dir(new).map_err(|e| io(&e, "remove empty", new))?;
            } else {
                let abandoned = plan::beside(new, "abandoned", now());
                failpoint::hit("move.one");
                moves::rename_whole(new, &abandoned)?;
            }
        }
        // While there is no data directory: no server can start on another one's tablespaces.
        put_spaces_back(plan)?;
        if plan.places.alternative.is_some() {
            return Ok(format!("{} was left where it is", plan.aside));
        }
        failpoint::hit("move.one");
        moves::rename_whole(aside, &real(site, plan))?;
        Ok(format!("{} is the damaged directory again", site.data().display()))
    }
}

impl MoveAside {
    /// Nobody else may use what is about to be renamed.
    fn require_alone(&self, plan: &Plan) -> Result<(), Explanation> {
        let site = &self.0;
        if !site.stays_down()? {
            return Err(Explanation::new(
                Kind::Refused,
                format!("The server on {} runs again, or is about to.", site.data().display()),
                "Nothing was moved.",
                "Keep whatever restarts it (systemd, a watchdog) from doing so, then cancel \
                 and begin again.",
            ));
        }
        let now = live::look(site.data()).map_err(|e| e.explanation())?;
        live::require_unshared(&now).map_err(|e| e.explanation())?;
        let planned = |space: &live::LiveSpace| {
            plan.places.kept.iter().any(|kept| kept.folder == space.folder)
        };
        if now.spaces.iter().all(planned) {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Refused,
            "A tablespace has come to the cluster since the plan was made.",
            "Nothing was moved.",
            "Put things back, which starts the server again, and make the plan anew.",
        ))
    }
}

/// The directory itself, where the configured path is a link to it.
fn real(site: &Site, plan: &Plan) -> PathBuf {
    let real = Path::new(&plan.identity.data_directory);
    if real.as_os_str().is_empty() { site.data().to_owned() } else { real.to_owned() }
}

/// Puts the folders of tablespaces back; what was restored or replayed there is set aside.
fn put_spaces_back(plan: &Plan) -> Result<(), Explanation> {
    let stamp = stamp();
    plan.places.kept.iter().try_for_each(|space| moves::put_space_back(space, &stamp))
}

/// Sets aside what was restored into folders that held nothing before: those that the restored
/// directory leads to.
fn set_restored_spaces_aside(plan: &Plan, data: &Path) -> Result<(), Explanation> {
    let stamp = stamp();
    for space in &plan.places.spaces {
        let link = data.join("pg_tblspc").join(space.oid.to_string());
        let is_ours = fs::read_link(&link).is_ok_and(|to| to == space.place);
        let is_back = |folder: &Path| {
            let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            plan.places.kept.iter().any(|kept| kept.folder == folder || kept.folder == real)
        };
        if !is_ours {
            continue;
        }
        for entry in fs::read_dir(&space.place).into_iter().flatten().flatten() {
            let folder = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = format!("PG_{}_", plan.base.version);
            if name.starts_with(&version) && !places::is_kept(&name) && !is_back(&folder) {
                moves::rename_whole(&folder, &moves::abandoned(&folder, &stamp))?;
            }
        }
    }
    Ok(())
}

impl Site {
    /// Stops the server that recovers in the place of the damaged directory, where one still runs: a
    /// way back that was given up before it began has undone nothing of it.
    ///
    /// # Errors
    /// Where it cannot be stopped.
    pub(super) fn stop_recovered(&self, plan: &Plan) -> Result<(), Explanation> {
        let recovered = self.recovered(plan);
        if !recovered.data().exists() || !recovered.running()? {
            return Ok(());
        }
        recovered.confirm(plan, recovered.data())?;
        let driver = recovered.driver()?;
        driver.stop(StopMode::Fast, super::prepare::STOP_LIMIT).map_err(|e| e.explanation())?;
        Ok(())
    }

    /// Sets what was restored so far aside and makes the data directory empty again; says where it
    /// is kept.
    ///
    /// # Errors
    /// Where the damaged directory is not set aside, parts of the cluster lie elsewhere, or a
    /// rename fails.
    pub fn begin_anew(&self, plan: &Plan) -> Result<String, Explanation> {
        let back = "Cancel this run and put things back, then begin again.";
        if !self.is_aside(plan) {
            return Err(Explanation::new(
                Kind::Refused,
                format!("The damaged directory is not at {}.", plan.aside),
                "Nothing was moved.",
                back,
            ));
        }
        let places = Places { reuse: false, stood: None, ..plan.places.clone() };
        if !places.is_plain() {
            return Err(Explanation::new(
                Kind::Refused,
                "Parts of this cluster lie outside its data directory: what was restored of them \
                 cannot be set aside here.",
                "Nothing was moved.",
                back,
            ));
        }
        let owner = self.owner(plan)?;
        let abandoned = plan::beside(self.data(), "abandoned", now());
        moves::rename_whole(self.data(), &abandoned)?;
        make_empty(self.data(), owner)?;
        Ok(format!("what was restored so far is kept at {}", abandoned.display()))
    }
}

fn stamp() -> String {
    places::stamp(now())
}

pub(super) fn is_empty(directory: &Path) -> Result<bool, Explanation> {
    moves::is_empty(directory).map_err(|e| io(&e, "read", directory))
}

pub(super) fn make_empty(directory: &Path, (uid, gid): (u32, u32)) -> Result<(), Explanation> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io(&error, "make", directory));
        }
        _ => {}
    }
    if nix::unistd::geteuid().is_root() {
        chown(directory, Some(uid), Some(gid)).map_err(|e| io(&e, "hand over", directory))?;
    }
    files::sync_parent(directory).map_err(|e| io(&e, "sync the folder of", directory))
}
