//! Ownership and modes: files that the server's user cannot read or write, or that PostgreSQL
//! refuses for being open to others. Mends only files that it named.

use super::{LOOK_AGAIN, Scene, World, by_lifeboat, by_people, evidence, trouble};
use crate::engine::incident::trouble::Trouble;

const SIGNS: [&str; 5] = [
    "has wrong ownership",
    "has invalid permissions",
    "Permission denied",
    "(os error 13)",
    "Operation not permitted",
];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let sign = SIGNS.iter().find(|sign| scene.says(sign));
    if sign.is_none() && !scene.has_state("42501") {
        return None;
    }
    let line = sign.and_then(|sign| scene.line_with(sign));
    let mut shown = vec![evidence("log", line.unwrap_or_else(|| scene.failure.what.clone()))];
    let data = world.data();
    let strangers = world.strangers();
    let Some(first) = strangers.first() else {
        return trouble(
            "wrong-rights",
            format!(
                "A file could not be used for want of rights, and everything in {} is as the \
                 server's user needs it: the file lies elsewhere.",
                data.display()
            ),
            shown,
            vec![by_people(
                LOOK_AGAIN,
                "Let the server's user at that file, then look again",
                "The line names the file. Correct its owner and mode, and those of the folders above it.",
            )],
        );
    };
    let owner = world.owner();
    shown.push(evidence("file", format!("{} {}", first.path.display(), first.why)));
    let what = format!(
        "{} of {} cannot be used by the server's user {owner}. Their content is untouched.",
        match strangers.len() {
            1 => String::from("One file or folder"),
            n => format!("{n} files or folders"),
        },
        data.display()
    );
    let paths: Vec<String> = strangers.iter().map(|s| s.path.display().to_string()).collect();
    if !world.may_give() && strangers.iter().any(|s| s.why.contains("belongs to")) {
        let command = format!("chown {owner} {}", paths.first().map_or("", String::as_str));
        return trouble(
            "wrong-rights",
            what,
            shown,
            vec![
                by_people(
                    LOOK_AGAIN,
                    "Give the files to the server's user as root, then look again",
                    format!("For each of them: {command}"),
                )
                .touching(paths),
            ],
        );
    }
    let mend = by_lifeboat(
        "own-files",
        &format!("Give these {} to {owner}, closed to others", strangers.len()),
        "Owner and mode of the named files and folders are set to what the server needs. No other \
         file is touched, and no content.",
        "less than a second",
        "none for the data",
    )
    .touching(paths.clone())
    .with(paths);
    trouble("wrong-rights", what, shown, vec![mend])
}
