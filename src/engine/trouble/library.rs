//! A library that the server cannot load: an extension that was not installed on this machine.

use super::{
    Ground, LOOK_AGAIN, Scene, WITHOUT_LIBRARY, World, by_lifeboat, by_people, evidence, trouble,
};
use crate::engine::incident::trouble::Trouble;

const SIGNS: [&str; 2] = ["could not access file", "could not load library"];

/// A statement failed for want of a library, in the copy beside production or there: both run on this
/// machine.
pub(super) fn of_statement(scene: &Scene<'_>) -> Option<Trouble> {
    let sign = SIGNS.into_iter().find(|sign| scene.failure.what.contains(sign))?;
    let path = scene.quoted_after(sign)?;
    let install = by_people(
        LOOK_AGAIN,
        &format!("Bring {path} to this machine, then look again"),
        "Install the extension's package for this server's version, or put the file back where the \
         database names it.",
    );
    trouble(
        "missing-library",
        format!(
            "What is carried over calls the library {path}, which is not on this machine. Everything \
             was rolled back: nothing in production was changed."
        ),
        vec![evidence("statement", scene.failure.what.clone())],
        vec![install],
    )
}

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let sign = SIGNS.into_iter().find(|sign| scene.words.contains(sign));
    let line = match sign {
        Some(sign) => scene.line_with(sign)?,
        // In another language: the state "undefined file" and a library that is to be loaded.
        None if scene.has_state("58P01") => {
            let loaded = world.preloaded();
            let is_one = |line: &&String| loaded.iter().any(|l| line.contains(&format!("\"{l}\"")));
            scene.lines.iter().rev().find(is_one)?.clone()
        }
        None => return None,
    };
    let path = line.split('"').nth(1)?.to_owned();
    let name = path.rsplit('/').next()?.trim_end_matches(".so").to_owned();
    let install = by_people(
        LOOK_AGAIN,
        &format!("Install {name} for this server's version, then look again"),
        "Install the extension's package as it is on the damaged server's machine.",
    );
    let loaded = world.preloaded();
    let listed = loaded.iter().find(|l| **l == path || l.rsplit('/').next() == Some(&name));
    let without = listed.map(|listed| {
        by_lifeboat(
            WITHOUT_LIBRARY,
            &format!("Start without {name} for this recovery"),
            "The library is left out of shared_preload_libraries at this recovery's own starts. The \
             configuration is not changed.",
            "seconds; nothing is copied again",
            "what the extension does is off until it is installed, and the server's next start by \
             others needs it: install it before",
        )
        .with(vec![listed.clone()])
    });
    trouble(
        "missing-library",
        format!(
            "{} told to load {name}, which is not on this machine. It ended before it touched any \
             data.",
            match world.ground() {
                Ground::InPlace => String::from("The server is"),
                _ => format!("The server in {} is", world.data().display()),
            }
        ),
        vec![evidence("log", line)],
        without.into_iter().chain([install]).collect(),
    )
}
