//! What a failure is, in the words of a command: recognised in two lines, what mends it, and where it
//! is accepted or what the next command is. Owns these words; recognises nothing itself.

use crate::engine::explain::Explanation;
use crate::engine::incident::model::StepState;
use crate::engine::incident::trouble::{By, Cure, Trouble};
use crate::engine::trouble::WAIT;
use std::ffi::OsString;
use std::path::Path;

/// The failure of a step of an incident's run; where it was recognised, with what it is and what mends
/// it.
pub(super) fn of_step(step: &StepState) -> Option<Explanation> {
    let failure = step.failure.clone()?;
    let Some(trouble) = &step.trouble else { return Some(failure) };
    let cures: Vec<&str> = trouble.cures.iter().map(|cure| cure.title.as_str()).collect();
    let next = match cures.as_slice() {
        [] => failure.next.clone(),
        _ => format!(
            "What mends it, in the incident's screens (f, F): {}. {}",
            cures.join("; or: "),
            failure.next
        ),
    };
    Some(told(trouble, failure, next))
}

/// The failure of a command that stands alone. `command` gives the next command for a cure, `None`
/// where no command does it: such a cure is not told.
pub(super) fn of_command(
    trouble: &Trouble,
    failure: Explanation,
    command: &dyn Fn(&Cure) -> Option<String>,
) -> Explanation {
    let told_cures: Vec<String> = trouble
        .cures
        .iter()
        .filter_map(|cure| {
            let next = command(cure)?;
            // What people have to do is in its words; what Lifeboat would do, the command does.
            let does = match cure.by {
                By::People => format!(" {}", screenless(&cure.does)),
                By::Lifeboat | By::LifeboatByName => String::new(),
            };
            // A command asks once.
            let title = match cure.id.as_str() {
                WAIT => "Wait until it answers again",
                _ => &cure.title,
            };
            Some(format!("{title}.{does} Then: {next}"))
        })
        .collect();
    let next = match told_cures.as_slice() {
        [] => failure.next.clone(),
        _ => format!("What mends it: {}", told_cures.join("\n  Or: ")),
    };
    told(trouble, failure, next)
}

fn told(trouble: &Trouble, failure: Explanation, next: String) -> Explanation {
    let next = next.trim_end().to_owned();
    Explanation { what: format!("{}\n{}", trouble.what, failure.what), next, ..failure }
}

/// Without sentences that name keys of the screens, which a command has not.
fn screenless(does: &str) -> String {
    let sentences = does.split_inclusive(". ");
    let is_key =
        |text: &&str| ["(X)", "(U)", "(U:", "(r)", "(2)"].iter().any(|key| text.contains(key));
    sentences.filter(|text| !is_key(text)).collect::<String>().trim_end().to_owned()
}

/// The command as it was given, for another go at it.
#[derive(Debug)]
pub(super) struct Again(Vec<String>);

impl Again {
    pub(super) fn now() -> Self {
        Self::of(std::env::args_os())
    }

    fn of(given: impl Iterator<Item = OsString>) -> Self {
        let mut words: Vec<String> =
            given.map(|word| word.to_string_lossy().into_owned()).collect();
        if let Some(program) = words.first_mut() {
            let name = Path::new(program.as_str()).file_name();
            *program = name.map_or_else(|| program.clone(), |n| n.to_string_lossy().into_owned());
        }
        Self(words)
    }

    pub(super) fn line(&self) -> String {
        self.0.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
    }

    /// With another value of a flag, or that flag where it was not given.
    pub(super) fn with(&self, flag: &str, value: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut given = self.0.iter();
        let joined = format!("{flag}=");
        while let Some(word) = given.next() {
            if word == flag {
                given.next();
            } else if !word.starts_with(&joined) {
                words.push(word.clone());
            }
        }
        words.extend([flag.to_owned(), value.to_owned()]);
        Self(words).line()
    }
}

fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::explain::Kind;
    use crate::engine::incident::trouble::LOOK_AGAIN;

    fn again(words: &[&str]) -> Again {
        Again::of(words.iter().map(OsString::from))
    }

    #[test]
    fn the_next_command_is_the_one_that_was_given_with_what_differs() {
        let given =
            ["/opt/bin/lifeboat", "restore", "--time", "2026-01-13 10:00+00", "--set=set-1"];
        let given = again(&given);
        let line = "lifeboat restore --time '2026-01-13 10:00+00' --set=set-1";
        assert_eq!(given.line(), line);
        let other = "lifeboat restore --time '2026-01-13 10:00+00' --set set-2";
        assert_eq!(given.with("--set", "set-2"), other);
        let dir = again(&["lifeboat", "restore", "--target-directory", "/a b", "--delta"]);
        let moved = dir.with("--target-directory", "/c");
        assert_eq!(moved, "lifeboat restore --delta --target-directory /c");
    }

    #[test]
    fn a_failure_is_told_with_what_it_is_and_with_the_next_command_alone() {
        let cure = |id: &str, by| Cure {
            id: id.to_owned(),
            title: format!("Do {id}"),
            does: String::from("See to it. Cancel (X), put everything back (U). It goes on."),
            touches: Vec::new(),
            cost: String::new(),
            risk: String::new(),
            by,
            with: Vec::new(),
        };
        let trouble = Trouble {
            name: String::from("no-space"),
            what: String::from("The disk is full."),
            evidence: Vec::new(),
            cures: vec![cure(LOOK_AGAIN, By::People), cure("own-files", By::Lifeboat)],
        };
        let failure = Explanation::new(Kind::Storage, "Could not write.", "Nothing.", "Try again.");
        let command = |cure: &Cure| (cure.id == LOOK_AGAIN).then(|| String::from("lifeboat x"));
        let told = of_command(&trouble, failure.clone(), &command);
        assert_eq!(told.what, "The disk is full.\nCould not write.");
        assert_eq!(
            told.next,
            "What mends it: Do look-again. See to it. It goes on. Then: lifeboat x"
        );
        assert_eq!((told.kind, &told.untouched), (Kind::Storage, &failure.untouched));
        // Where no command mends it, what was said before stands.
        assert_eq!(of_command(&trouble, failure, &|_| None).next, "Try again.");
    }
}
