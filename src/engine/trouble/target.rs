//! The point itself: it lies before the data is consistent, or on a timeline that does not come
//! from this base backup.

use super::{
    OTHER_POINT, Scene, TELL_AGAIN, World, by_lifeboat, choose_again, evidence, other_base_cure,
    trouble,
};
use crate::engine::incident::trouble::Trouble;

const EARLY: &str = "requested recovery stop point is before consistent recovery point";

const TIMELINE: [&str; 3] = [
    "is not a child of this server's history",
    "does not contain minimum recovery point",
    "recovery target timeline",
];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    if let (true, Some(sign)) =
        (world.ends_with_base(), TIMELINE.into_iter().chain([EARLY]).find(|sign| scene.says(sign)))
    {
        return told_another(scene, sign, world);
    }
    if scene.says(EARLY) {
        let later = by_lifeboat(
            OTHER_POINT,
            "Go on to the nearest later point that can be reached",
            "The archive is read again and the nearest point behind the end of the base backup is \
             proven. The server goes on to it.",
            "nothing is copied again; it is shown before it is promoted",
            "the data is later than you asked for: see at the point whether the damage is in it",
        )
        .by_name();
        return trouble(
            "before-consistency",
            format!(
                "The point lies before the end of the base backup {}, which cannot be entered in \
                 its middle. The server stopped and gave nothing out.",
                world.base()
            ),
            vec![evidence("log", scene.line_with(EARLY)?)],
            vec![
                other_base_cure(world),
                later,
                choose_again(world, "Choose another point", "A later point can be reached."),
            ],
        );
    }
    let sign = TIMELINE.into_iter().find(|sign| scene.words.contains(sign))?;
    let follow = by_lifeboat(
        OTHER_POINT,
        "Follow the timeline that this base backup belongs to",
        "The point is proven again on the base backup's own timeline (line of history), and the \
         server is told that one by its number.",
        "seconds; nothing is copied again",
        "transactions of the other timeline are not in it",
    )
    .by_name()
    .with(vec![String::from("own-timeline")]);
    trouble(
        "wrong-timeline",
        format!(
            "The timeline (line of history) that was asked for does not come from the base backup \
             {}: it forked off earlier, or is not there.",
            world.base()
        ),
        vec![evidence("log", scene.line_with(sign)?)],
        vec![
            follow,
            choose_again(world, "Choose another timeline", "The archive may hold others."),
        ],
    )
}

/// A restore that ends with its backup names no other point and no other timeline.
fn told_another(scene: &Scene<'_>, sign: &str, world: &dyn World) -> Option<Trouble> {
    let again = by_lifeboat(
        TELL_AGAIN,
        "Write the recovery's settings anew, as the plan has them, and go on",
        "The server is told once more to end with the base backup, on the backup's own timeline.",
        "seconds; nothing is copied again",
        "none",
    )
    .touching(vec![format!("{}/postgresql.auto.conf (the marked block)", world.data().display())]);
    let name = if sign == EARLY { "before-consistency" } else { "wrong-timeline" };
    trouble(
        name,
        format!(
            "The server in {} was told another end than the plan's, which is the end of the base \
             backup {}. It stopped and gave nothing out.",
            world.data().display(),
            world.base()
        ),
        vec![evidence("log", scene.line_with(sign)?)],
        vec![again],
    )
}
