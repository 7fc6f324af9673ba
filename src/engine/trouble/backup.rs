//! A base backup that is not what was written, found while it is restored or by the server.

use super::{
    FULL_RESTORE, LOOK_AGAIN, Scene, World, by_people, evidence, full_restore, other_base_cure,
    trouble,
};
use crate::engine::explain::Kind;
use crate::engine::incident::trouble::Trouble;

/// What the server says of files that do not fit each other.
const SIGNS: [&str; 4] = [
    "WAL contains references to invalid pages",
    "invalid data in file \"backup_label\"",
    "incorrect checksum in control file",
    "pg_verifybackup does not agree",
];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let restoring = matches!(scene.step, "restore-base" | "parts-restore")
        && scene.failure.kind == Kind::Integrity;
    let sign = SIGNS.into_iter().find(|sign| scene.says(sign));
    if !restoring && sign.is_none() {
        return None;
    }
    let line = sign.and_then(|sign| scene.line_with(sign));
    let told = evidence("file", line.unwrap_or_else(|| scene.failure.what.clone()));
    let set = world.base();
    // Where no other backup is left, the cure that would take one says so.
    let whole = full_restore(world, false).filter(|cure| cure.id == FULL_RESTORE);
    let good = by_people(
        LOOK_AGAIN,
        "Bring a good copy of it, then look again",
        "Copy the damaged object from another copy of the repository. What is restored and whole is \
         not copied again.",
    );
    trouble(
        "damaged-backup",
        format!(
            "The base backup {set} is damaged in every copy that could be read. Nothing of it was \
             used unchecked, and no server can start on what was restored."
        ),
        vec![told],
        [other_base_cure(world), good].into_iter().chain(whole).collect(),
    )
}
