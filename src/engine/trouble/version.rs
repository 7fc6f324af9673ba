//! Programs and files that do not belong together: another major version, another catalogue,
//! another machine's architecture.

use super::{LOOK_AGAIN, Scene, World, by_people, evidence, trouble};
use crate::engine::incident::trouble::Trouble;

const EXEC: &str = "Exec format error";
const SIGNS: [&str; 6] = [
    "database files are incompatible with server",
    "is not compatible with this version",
    "but the data directory needs",
    "PostgreSQL's programs of version",
    EXEC,
    "(os error 8)",
];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let sign = SIGNS.into_iter().find(|sign| scene.says(sign))?;
    let told = match sign {
        EXEC | "(os error 8)" => "The line names the program that this kind of machine cannot run.",
        _ => "The line names both versions.",
    };
    trouble(
        "wrong-version",
        format!(
            "The server's programs do not fit the files in {}: another version, or another kind of \
             machine. The files were not touched.",
            world.data().display()
        ),
        vec![evidence("log", scene.line_with(sign)?), evidence("log", scene.words.clone())],
        vec![by_people(
            LOOK_AGAIN,
            "Install the programs that fit, then look again",
            format!(
                "{told} Install the version that the files need for this machine, or set bin_directory \
                 in the cluster's control section to where it is."
            ),
        )],
    )
}
