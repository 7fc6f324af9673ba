//! Another place for a recovery whose disk is full: whether it can go there, and the confirmed plan with
//! that place. The copy begins again there; what it had filled stays, whole, where the plan says. Makes
//! a value and does nothing.

use super::places;
use super::places::vacant::{self, InUse};
use super::plan::{Draft, after_alternative, no_hash};
use super::rights;
use super::steps::{self, Site};
use crate::engine::copies::{self, Availability};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::facts::{Procedure, Reach, Verdict};
use crate::engine::postgres::layout;
use crate::engine::recovery_point::opened::{self, OpenedSet};
use crate::engine::recovery_point::reach::free_space;
use crate::engine::recovery_point::{Archive, RepositoryArchive};
use crate::engine::runner::plan::{Left, Places, Plan, PlanStep};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Room on the volume of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub needed: u64,
}

/// Whether the plan's recovery can go to `place`; `full` is the directory that it has filled.
///
/// # Errors
/// Says why not. Nothing was touched.
pub fn room(site: &Site, plan: &Plan, full: &Path, place: &Path) -> Result<Room, Explanation> {
    let free = vacant::apart(place, &in_use(site, plan, full));
    free.and_then(|()| vacant::vacant(place)).map_err(|e| unfit(e.what))?;
    if plan.procedure.is_full() && !plan.places.spaces.is_empty() {
        return Err(unfit(String::from(
            "The new cluster's tablespaces lie outside of it and are filled already.",
        )));
    }
    let set = opened_set(site, plan);
    let needed = opened::needed_of(&set, plan.base.size);
    let spaces = plan.places.spaces.iter().filter_map(|placed| {
        let of = set.tablespaces.iter().find(|space| space.oid == placed.oid)?;
        Some((placed.place.clone(), of.size))
    });
    let wal = plan.places.wal.iter().map(|wal| (wal.clone(), places::WAL_ROOM));
    let parts = std::iter::once((place.to_owned(), needed)).chain(spaces).chain(wal);
    match opened::on_volumes(parts, "what is there stays.") {
        (Verdict::Verified, _) => {}
        (_, words) => return Err(unfit(words.join(" "))),
    }
    let free = free_space(place).map_err(|e| steps::io(&e, "ask for free space on", place))?;
    Ok(Room { free, needed })
}

/// What becomes of the directory that is full, in words.
#[must_use]
pub fn kept(plan: &Plan, full: &Path) -> String {
    let shown = full.display();
    match (&plan.procedure, &plan.places) {
        (Procedure::PointInTime, places) if places.contents => format!(
            "What was restored in {shown} is kept whole within it, and the damaged cluster comes back there"
        ),
        (Procedure::PointInTime, places) if places.alternative.is_some() => {
            format!("What was restored in {shown} is kept whole beside it (.abandoned.*)")
        }
        (Procedure::FullRestore { .. }, _) => format!(
            "The old cluster stays where it is. {shown} stays too, until you discard it by its name"
        ),
        (Procedure::Parts { sandbox, .. }, _) => format!(
            "The unfinished copy in {sandbox} is Lifeboat's own by its mark and is taken down; nothing \
             else is removed"
        ),
        (Procedure::PointInTime, _) => format!(
            "What was restored is kept whole as {shown}.abandoned.*, and the damaged cluster comes \
             back to its place"
        ),
    }
}

/// The directories that the recovery uses, and all clusters' own.
fn in_use(site: &Site, plan: &Plan, full: &Path) -> Vec<InUse> {
    let spaces = plan.places.spaces.iter().map(|space| space.place.as_path());
    let kept = plan.places.kept.iter().map(|space| space.folder.as_path());
    let named = [&plan.aside, &plan.rescue].map(Path::new);
    let named = named.into_iter().filter(|path| !path.as_os_str().is_empty());
    let own = [full, site.live()].into_iter().chain(named).chain(spaces).chain(kept);
    let own = own.chain(plan.places.wal.as_deref()).map(InUse::named);
    own.chain(InUse::of_all(&site.config)).collect()
}

/// Which volume gets how much; where no repository tells, the place is asked for all.
fn opened_set(site: &Site, plan: &Plan) -> OpenedSet {
    if plan.places.spaces.is_empty() {
        return OpenedSet::default();
    }
    let archives = copies::open_all(&site.config, &site.cluster).into_iter();
    let mut opened = archives.filter_map(|(_, one)| one.ok()).filter_map(|one| {
        RepositoryArchive::new(Arc::new(one)).open_set(&plan.base.set).ok().flatten()
    });
    opened.next().unwrap_or_default()
}

fn unfit(what: String) -> Explanation {
    Explanation::new(
        Kind::Refused,
        what,
        "Nothing was changed: what was done so far is kept.",
        "Name an empty directory with room, or make room where the recovery stands.",
    )
}

/// What the plan with another place is made from.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The ground of the damaged cluster, as the configuration has it.
    pub site: &'a Site,
    /// As it was confirmed.
    pub plan: &'a Plan,
    pub reach: &'a Reach,
    pub place: &'a Path,
    /// Names what is made anew.
    pub now: Timestamp,
}

/// Makes the plan, and the proof that goes with it.
///
/// # Errors
/// Where the rights for it are lacking, or the plan is one that cannot go elsewhere.
pub fn make(ground: &Ground<'_>) -> Result<(Reach, Plan), Explanation> {
    match ground.plan.procedure {
        Procedure::PointInTime => in_place(ground),
        Procedure::FullRestore { .. } => beside(ground),
        Procedure::Parts { .. } => of_copy(ground),
    }
}

fn in_place(ground: &Ground<'_>) -> Result<(Reach, Plan), Explanation> {
    let Ground { site, plan, place, .. } = ground;
    let cluster = site.configured();
    let old = &plan.places;
    let nothing_kept = plan.lost && !Path::new(&plan.aside).exists();
    let left = Left {
        from: old.alternative.clone().unwrap_or_else(|| cluster.data_directory.clone()),
        aside: match nothing_kept || old.alternative.is_some() {
            true => String::new(),
            false => plan.aside.clone(),
        },
        number: None,
        contents: old.contents,
        was_alternative: old.alternative.is_some(),
    };
    let stamp = places::stamp(ground.now);
    let places = Places {
        contents: false,
        wal: old.wal.as_deref().map(|wal| places::fresh_wal(wal, &stamp, false)),
        alternative: Some(place.to_path_buf()),
        stood: None,
        left: Some(left),
        ..old.clone()
    };
    rights::require_places(&cluster, &places)?;
    // What else was found out for the first place is true of this one.
    let config_file = layout::config_file(&cluster);
    let footing = &rights::Ground { config_file, unverified: Vec::new() };
    let reach = Reach { alternative: Some(place.to_path_buf()), ..ground.reach.clone() };
    // It stays in its place, as in a plan that was made for the other one from the first.
    let aside = plan.identity.data_directory.clone();
    let mut moved = Plan { aside: aside.clone(), places: places.clone(), ..(*plan).clone() };
    let draft = Draft {
        data: place,
        places: &places,
        cluster: &cluster,
        available: &Availability::default(),
        aside: Path::new(&aside),
        rescue: Path::new(&plan.rescue),
        reach: &reach,
        lost: plan.lost,
        link: plan.source.as_ref(),
        footing,
    };
    moved.steps.retain(|step| step.id != super::step_back::STEP);
    for step in moved.steps.iter_mut().skip_while(|step| step.id != "move-aside") {
        let known = std::mem::take(&mut step.touches);
        step.touches = draft.touches(&step.id);
        step.touches.extend(known.into_iter().filter(|text| stays_true(text)));
        step.expected = draft.expected(&step.id);
        step.undo = draft.undo(&step.id);
    }
    Ok((reach, moved.seal().map_err(no_hash)?))
}

/// The new cluster is made in the other place and stays there: the old one is not renamed, since there
/// is no renaming over two volumes.
fn beside(ground: &Ground<'_>) -> Result<(Reach, Plan), Explanation> {
    let Ground { site, plan, place, .. } = ground;
    let Procedure::FullRestore { destination, port } = &plan.procedure else {
        return Err(unfit(String::from("This plan makes no new cluster.")));
    };
    let cluster = site.configured();
    let from = PathBuf::from(destination);
    let stamp = places::stamp(ground.now);
    let places = Places {
        wal: plan.places.wal.as_deref().map(|wal| places::fresh_wal(wal, &stamp, false)),
        alternative: Some(place.to_path_buf()),
        left: Some(Left {
            number: steps::beside::number(&from),
            from,
            aside: String::new(),
            contents: false,
            was_alternative: false,
        }),
        ..plan.places.clone()
    };
    rights::require_places(&cluster, &places)?;
    let new = place.display().to_string();
    let live = cluster.data_directory.display();
    let stays = format!("{live} stays where it is, whole and unchanged, its server down");
    let procedure = Procedure::FullRestore { destination: new.clone(), port: *port };
    let mut moved = Plan {
        aside: plan.identity.data_directory.clone(),
        places,
        procedure: procedure.clone(),
        ..(*plan).clone()
    };
    for step in &mut moved.steps {
        renamed(step, destination, &new);
        match step.id.as_str() {
            "prepare-beside" => step.touches.push(format!(
                "server on {destination}: stopped; what is in it stays until you discard it by its name"
            )),
            "swap" => {
                step.touches = vec![stays.clone(), format!("{new} is the cluster from then on")];
                step.undo = Some(String::from("nothing: no directory is renamed"));
            }
            "open" => {
                step.touches = vec![
                    format!("{new}/postgresql.auto.conf: the marked block is taken out"),
                    format!("server on {new}: started by pg_ctl at its own port, open, archiving"),
                    after_alternative(&cluster.control, place),
                ];
            }
            _ => {}
        }
    }
    let alternative = Some(place.to_path_buf());
    let reach = Reach { procedure, alternative, ..ground.reach.clone() };
    Ok((reach, moved.seal().map_err(no_hash)?))
}

/// The copy for parts is made anew there, and the unfinished one is taken down.
fn of_copy(ground: &Ground<'_>) -> Result<(Reach, Plan), Explanation> {
    let Ground { plan, place, .. } = ground;
    let mut procedure = plan.procedure.clone();
    let Procedure::Parts { sandbox, .. } = &mut procedure else {
        return Err(unfit(String::from("This plan makes no copy.")));
    };
    let new = place.display().to_string();
    let old = std::mem::replace(sandbox, new.clone());
    let mut moved = Plan { procedure: procedure.clone(), ..(*plan).clone() };
    moved.places.left = Some(Left {
        from: PathBuf::from(&old),
        aside: String::new(),
        number: None,
        contents: false,
        was_alternative: false,
    });
    for step in &mut moved.steps {
        renamed(step, &old, &new);
        if step.id == "parts-restore" {
            step.touches.push(format!("{old}: the unfinished copy in it is taken down"));
        }
    }
    let reach = Reach { procedure, ..ground.reach.clone() };
    Ok((reach, moved.seal().map_err(no_hash)?))
}

/// The step's words with the other place's name.
fn renamed(step: &mut PlanStep, old: &str, new: &str) {
    for text in step.touches.iter_mut().chain(&mut step.undo) {
        *text = with_path(text, old, new);
    }
}

/// A text with another path in the place of `old`, alone or as the begin of longer ones; a path that
/// merely has the same letters in it stays.
fn with_path(text: &str, old: &str, new: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let (mut told, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(old) {
        let begins = !before.ends_with(is_name);
        let mut next = after.chars();
        let ends = match next.next() {
            None | Some('/') => true,
            Some('.') => !next.next().is_some_and(char::is_alphanumeric),
            Some(c) => !is_name(c),
        };
        told.push_str(before);
        told.push_str(if begins && ends { new } else { old });
        rest = after;
    }
    told + rest
}

/// Of what a step was said to touch: what has nothing to do with the place.
fn stays_true(text: &str) -> bool {
    ["rights: ", "WAL is not fetched from "].iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::with_path;

    #[test]
    fn only_the_place_itself_gets_another_name() {
        let of = |text: &str| with_path(text, "/srv/new", "/mnt/other");
        assert_eq!(of("fills /srv/new"), "fills /mnt/other");
        assert_eq!(
            of("/srv/new/postgresql.auto.conf: a block"),
            "/mnt/other/postgresql.auto.conf: a block"
        );
        assert_eq!(of("In /srv/new."), "In /mnt/other.");
        assert_eq!(of("server on /srv/new: started"), "server on /mnt/other: started");
        for other in ["/srv/new-old: kept", "/srv/new.failed.1", "in /far/srv/new"] {
            assert_eq!(of(other), other);
        }
    }
}
