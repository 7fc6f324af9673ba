//! The step that keeps the damaged cluster: its directory, its tablespaces' folders. Deletes
//! nothing; what is renamed is renamed whole, and each rename can be the last before a power cut.

use super::leave;
use super::prepare::copy_tail;
use super::site::{Site, io, now};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::postgres::control::StopMode;
use crate::engine::postgres::control_file;
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
        if plan.places.left.is_some() && !leave::is_made(plan, context) {
            return partial("the move to another place is not finished");
        }
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
        leave::leave(site, context)?;
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
            if plan.places.alternative.is_some() {
                require_empty(new)?;
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
        leave::note_made(plan, context)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        leave::leave(&self.0, context)?;
        put_back(&self.0, context.plan())
    }
}

/// Sets what was restored aside, and puts the damaged cluster back in its place. Called again, it goes
/// on.
pub(super) fn put_back(site: &Site, plan: &Plan) -> Result<String, Explanation> {
    let aside = Path::new(&plan.aside);
    let new = plan.places.alternative.as_deref().unwrap_or(site.data());
    let own = own_folder(plan, &[new, aside, &moves::under_way(aside), site.data()]);
    if plan.places.contents {
        let standing = moves::standing(aside);
        if standing == Contents::There {
            return Ok(String::from("the damaged directory was not moved"));
        }
        site.stop_recovered(plan)?;
        set_restored_spaces_aside(&plan.places, own.as_deref(), new)?;
        match standing {
            Contents::There => {}
            Contents::Kept if !is_empty(site.data())? => {
                moves::keep_contents(site.data(), &moves::abandoned(aside, &stamp()))?;
            }
            // Not all of it had left: the rest follows, then all comes back.
            Contents::Leaving => moves::keep_contents(site.data(), aside)?,
            Contents::Kept | Contents::Returning => {}
        }
        put_spaces_back(&plan.places)?;
        moves::put_contents_back(site.data(), aside)?;
        return Ok(format!("{} holds the damaged cluster again", site.data().display()));
    }
    if plan.places.alternative.is_some() {
        site.stop_recovered(plan)?;
        give_back(&plan.places, own.as_deref(), new, live::is_mount(new))?;
        return Ok(format!("{} was left where it is", plan.aside));
    }
    if !site.is_aside(plan) {
        return Ok(String::from("the damaged directory was not moved"));
    }
    site.stop_recovered(plan)?;
    set_restored_spaces_aside(&plan.places, own.as_deref(), new)?;
    let restored = give_up(new, false)?;
    // While there is no data directory: no server can start on another one's tablespaces.
    put_spaces_back(&plan.places)?;
    failpoint::hit("move.one");
    moves::rename_whole(aside, &real(site, plan))?;
    let back = format!("{} is the damaged directory again", site.data().display());
    Ok(match restored {
        Some(kept) => format!("{back}; what was restored is kept at {}", kept.display()),
        None => back,
    })
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

/// Where another directory was recovered into, the damaged one never left its place and lacks its
/// tablespaces alone: those come back whatever else fails, and what failed is told at the end.
/// Called again, it goes on.
fn give_back(
    places: &Places,
    own: Option<&str>,
    new: &Path,
    is_mount: bool,
) -> Result<(), Explanation> {
    let restored = set_restored_spaces_aside(places, own, new);
    let given_up = give_up(new, is_mount).map_err(|why| Explanation {
        untouched: format!(
            "{} The damaged cluster has its tablespaces again; what was restored in {} leads into \
             them, and no server may be started there.",
            why.untouched,
            new.display()
        ),
        ..why
    });
    put_spaces_back(places)?;
    given_up.map(drop).and(restored)
}

/// Sets what was restored aside: the directory beside itself, or, where it is a mount point, its
/// content within it. An empty mount point stays. Gives where it is kept.
pub(super) fn give_up(new: &Path, is_mount: bool) -> Result<Option<PathBuf>, Explanation> {
    if !new.exists() {
        return Ok(None);
    }
    match (is_empty(new)?, is_mount) {
        (true, true) => Ok(None),
        (true, false) => {
            fs::remove_dir(new).map_err(|e| io(&e, "remove empty", new))?;
            Ok(None)
        }
        (false, true) => {
            let kept = new.join(format!("{}abandoned.{}", places::KEPT, stamp()));
            moves::keep_contents(new, &kept)?;
            Ok(Some(kept))
        }
        (false, false) => {
            failpoint::hit("move.one");
            let kept = plan::beside(new, "abandoned", now());
            moves::rename_whole(new, &kept)?;
            Ok(Some(kept))
        }
    }
}

/// Gives up what was restored there and leaves the directory empty, to be filled anew.
fn emptied(
    directory: &Path,
    is_mount: bool,
    owner: (u32, u32),
) -> Result<Option<PathBuf>, Explanation> {
    let kept = give_up(directory, is_mount)?;
    if !is_mount {
        make_empty(directory, owner)?;
    }
    Ok(kept)
}

/// Puts the folders of tablespaces back; what was restored or replayed there is set aside. One that
/// cannot be put back keeps none of the others away.
fn put_spaces_back(places: &Places) -> Result<(), Explanation> {
    let stamp = stamp();
    let each = places.kept.iter().map(|space| moves::put_space_back(space, &stamp));
    // All are tried before the first failure is told.
    let each: Vec<Result<(), Explanation>> = each.collect();
    each.into_iter().collect()
}

/// The name of the server's own folder in a tablespace, `PG_15_202209061`, by whichever of its
/// directories still tells its catalog's version.
pub(super) fn own_folder(plan: &Plan, directories: &[&Path]) -> Option<String> {
    let told = directories.iter().find_map(|directory| control_file::read(directory).ok());
    let kept = || plan.places.kept.first()?.folder.file_name()?.to_str().map(str::to_owned);
    told.map(|control| format!("PG_{}_{}", plan.base.version, control.catalog_version))
        .or_else(kept)
}

/// Sets aside what was restored into folders that held nothing before: those that the restored
/// directory leads to, and of these the server's `own` alone. Other servers, of other versions too,
/// have theirs beside it.
pub(super) fn set_restored_spaces_aside(
    places: &Places,
    own: Option<&str>,
    data: &Path,
) -> Result<(), Explanation> {
    let Some(own) = own else { return Ok(()) };
    let stamp = stamp();
    for space in &places.spaces {
        let link = data.join("pg_tblspc").join(space.oid.to_string());
        let is_ours = fs::read_link(&link).is_ok_and(|to| to == space.place);
        let folder = space.place.join(own);
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let is_back = places.kept.iter().any(|kept| kept.folder == folder || kept.folder == real);
        if is_ours && folder.is_dir() && !is_back {
            moves::rename_whole(&folder, &moves::abandoned(&folder, &stamp))?;
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
        if self.beside.is_none() && !self.is_aside(plan) {
            return Err(Explanation::new(
                Kind::Refused,
                format!("The damaged directory is not at {}.", plan.aside),
                "Nothing was moved.",
                back,
            ));
        }
        // Where the directory itself lies is no hindrance: another one that was recovered into, or a
        // mount point.
        let places = Places {
            reuse: false,
            stood: None,
            left: None,
            alternative: None,
            contents: false,
            ..plan.places.clone()
        };
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
        // Never the damaged one, which stays in its place where another is recovered into.
        let recovered = self.recovered(plan);
        let kept = emptied(recovered.data(), live::is_mount(recovered.data()), owner)?;
        Ok(match kept {
            Some(kept) => format!("what was restored so far is kept at {}", kept.display()),
            None => String::from("nothing of it was restored so far"),
        })
    }
}

fn stamp() -> String {
    places::stamp(now())
}

/// Refuses where the alternative directory has come to hold something since the plan was made.
pub(super) fn require_empty(alternative: &Path) -> Result<(), Explanation> {
    if !alternative.exists() || is_empty(alternative)? {
        return Ok(());
    }
    Err(Explanation::new(
        Kind::Refused,
        format!("{} is not empty any more.", alternative.display()),
        "Nothing of it was touched, and the damaged directory is where it was.",
        "Empty it or name another alternative_data_directory, and make the plan anew.",
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::runner::plan::{KeptSpace, PlacedSpace};

    const OWN: &str = "PG_15_202209061";

    /// A damaged directory's tablespace, kept and filled anew, one that held nothing before, and
    /// the directory that was recovered into.
    struct Ground {
        home: tempfile::TempDir,
        places: Places,
    }

    impl Ground {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let at = |name: &str| home.path().join(name);
            for name in ["far", "fresh"] {
                fs::create_dir_all(at(name).join(OWN)).unwrap();
                fs::write(at(name).join(OWN).join("1"), "restored").unwrap();
            }
            fs::create_dir_all(at(&format!("far/{OWN}.damaged.1"))).unwrap();
            fs::write(at(&format!("far/{OWN}.damaged.1/1")), "damaged").unwrap();
            for name in ["new/global", "new/pg_tblspc"] {
                fs::create_dir_all(at(name)).unwrap();
            }
            fs::write(at("new/global/pg_control"), "restored").unwrap();
            for (oid, name) in [(7, "far"), (8, "fresh")] {
                let link = at("new/pg_tblspc").join(oid.to_string());
                std::os::unix::fs::symlink(at(name), link).unwrap();
            }
            let folder = at("far").canonicalize().unwrap().join(OWN);
            let kept = at("far").canonicalize().unwrap().join(format!("{OWN}.damaged.1"));
            let space = |oid, name: &str| PlacedSpace { oid, place: at(name), moved: false };
            let places = Places {
                kept: vec![KeptSpace { oid: 7, folder, kept }],
                spaces: vec![space(7, "far"), space(8, "fresh")],
                alternative: Some(at("new")),
                ..Places::default()
            };
            Self { home, places }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }

        fn back(&self, is_mount: bool) -> Result<(), Explanation> {
            give_back(&self.places, Some(OWN), &self.at("new"), is_mount)
        }

        fn is_whole(&self) -> bool {
            fs::read_to_string(self.at("far").join(OWN).join("1")).is_ok_and(|is| is == "damaged")
        }

        fn names(&self, folder: &str) -> Vec<String> {
            let entries = fs::read_dir(self.at(folder)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    #[test]
    fn what_was_recovered_into_a_mount_point_is_given_up_within_it() {
        let ground = Ground::new();
        ground.back(true).unwrap();
        assert!(ground.is_whole());
        let kept = ground.names("new");
        assert!(kept.len() == 1 && kept[0].starts_with("lifeboat-kept.abandoned."), "{kept:?}");
        assert!(ground.at("new").join(&kept[0]).join("global/pg_control").exists());
        assert!(is_empty(&ground.at("new")).unwrap(), "another recovery may take it");
        assert!(ground.names("fresh").iter().all(|name| name.contains(".abandoned.")));
        ground.back(true).unwrap();
        assert!(ground.is_whole());
    }

    #[test]
    fn a_copy_that_begins_anew_finds_its_directory_empty_and_what_was_there_is_kept() {
        let us = crate::engine::postgres::discovery::Owner::current();
        let again = |is_mount| {
            let ground = Ground::new();
            let new = ground.at("new");
            let kept = emptied(&new, is_mount, (us.uid, us.gid)).unwrap().unwrap();
            assert!(is_empty(&new).unwrap() && kept.join("global/pg_control").exists());
            assert_eq!(kept.starts_with(&new), is_mount, "{}", kept.display());
            // Called again, there is nothing more to keep.
            assert_eq!(emptied(&new, is_mount, (us.uid, us.gid)).unwrap(), None);
            assert!(is_empty(&new).unwrap());
        };
        again(true);
        again(false);
    }

    #[test]
    fn elsewhere_it_is_given_up_beside_itself() {
        let ground = Ground::new();
        ground.back(false).unwrap();
        assert!(ground.is_whole() && !ground.at("new").exists());
        assert!(ground.names("").iter().any(|name| name.starts_with("new.abandoned.")));
    }

    #[test]
    fn a_failure_keeps_no_tablespace_away() {
        let ground = Ground::new();
        // What cannot be set aside: a file in the place of the directory.
        fs::rename(ground.at("new"), ground.at("other")).unwrap();
        fs::write(ground.at("new"), "").unwrap();
        let told = ground.back(false).unwrap_err();
        assert!(ground.is_whole(), "{told}");
        assert!(told.untouched.contains("no server may be started there"), "{told}");
        // With two tablespaces, of which the first cannot come back.
        let mut ground = Ground::new();
        let stuck = KeptSpace {
            oid: 9,
            folder: ground.at("nowhere").join(OWN),
            kept: ground.at("fresh").join(OWN),
        };
        ground.places.kept.insert(0, stuck);
        ground.places.spaces.pop();
        assert!(ground.back(false).is_err());
        assert!(ground.is_whole());
    }

    #[test]
    fn another_servers_folder_in_a_tablespace_is_not_touched() {
        let ground = Ground::new();
        let others = ["PG_15_202209062", "PG_15_202209061.by_hand", "PG_16_202307071"];
        for other in others {
            fs::create_dir(ground.at("fresh").join(other)).unwrap();
        }
        ground.back(false).unwrap();
        for other in others {
            assert!(ground.at("fresh").join(other).exists(), "{other}");
        }
        assert!(!ground.at("fresh").join(OWN).exists());
    }
}
