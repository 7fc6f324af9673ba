//! A setting that is lower than on the server that wrote the log: the recovering server has ended
//! or waits, with rows missing.

use super::{Ground, Scene, World, by_lifeboat, evidence, trouble};
use crate::engine::incident::trouble::Trouble;
use crate::engine::postgres::recovery_watch::LowSetting;

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let sign = "is a lower setting than on the";
    if !scene.says(sign) {
        return None;
    }
    let line = scene.line_with(sign)?;
    let low = LowSetting::read(&line)?;
    let wanted = format!("{} = {}", low.name, low.needed);
    let raise = by_lifeboat(
        "raise-settings",
        &format!("Raise {wanted} for this recovery, and go on"),
        "The recovering server is stopped, told the higher value and started again. It replays on \
         from where it stood.",
        "seconds; nothing is copied again",
        "none; it may take a little more shared memory",
    )
    .touching(vec![match world.ground() {
        Ground::Copy => format!("the settings of the copy in {}", world.data().display()),
        _ => format!("{}/postgresql.auto.conf (the marked block)", world.data().display()),
    }])
    .with(vec![low.name.clone(), low.needed.to_string()]);
    trouble(
        "low-setting",
        format!(
            "The log asks for {wanted}, and {} has less: it stopped before its target. Nothing was \
             lost; what comes after is not replayed yet.",
            world.server()
        ),
        vec![evidence("log", line)],
        vec![raise],
    )
}
