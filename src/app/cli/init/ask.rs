//! Questions in line mode: a default in brackets, an answer a line. Works on a terminal and on a
//! pipe. Decides nothing.

use super::super::output;
use crate::engine::explain::{Explanation, Kind};
use std::io::{BufRead, Write};

/// Asks a person, or takes what is proposed where nobody is to be asked.
#[derive(Debug)]
pub struct Asker {
    /// Take what is proposed.
    yes: bool,
    /// Say nothing on standard output.
    quiet: bool,
}

impl Asker {
    #[must_use]
    pub fn new(yes: bool, quiet: bool) -> Self {
        Self { yes, quiet }
    }

    #[must_use]
    pub fn asks(&self) -> bool {
        !self.yes
    }

    /// A line for the person.
    pub fn say(&self, text: &str) -> Result<(), Explanation> {
        if self.quiet { Ok(()) } else { output::line(text) }
    }

    /// A text: `given` by a flag, else asked, until `good` takes it.
    pub fn text(
        &self,
        given: Option<&str>,
        flag: &str,
        question: &str,
        default: &str,
        good: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String, Explanation> {
        let wrong = |why: String| {
            Explanation::new(
                Kind::Config,
                format!("{question}: {why}."),
                "Nothing was changed.",
                format!("Give another one with {flag}."),
            )
        };
        if let Some(given) = given {
            return good(given).map(|()| given.to_owned()).map_err(wrong);
        }
        if self.yes {
            return good(default).map(|()| default.to_owned()).map_err(wrong);
        }
        loop {
            let answer = self.line(&format!("{question} [{default}]: "), flag)?;
            let answer = if answer.is_empty() { default.to_owned() } else { answer };
            match good(&answer) {
                Ok(()) => return Ok(answer),
                Err(why) => self.say(&format!("  That does not do: {why}."))?,
            }
        }
    }

    /// Yes or no. With `--yes` the answer is `unasked`.
    pub fn agree(&self, question: &str, default: bool, unasked: bool) -> Result<bool, Explanation> {
        if self.yes {
            return Ok(unasked);
        }
        let hint = if default { "Y/n" } else { "y/N" };
        loop {
            let answer = self.line(&format!("{question} [{hint}]: "), "--yes")?;
            match answer.to_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("  Type y or n.")?,
            }
        }
    }

    fn line(&self, prompt: &str, flag: &str) -> Result<String, Explanation> {
        let mut out = std::io::stdout().lock();
        let written = write!(out, "{prompt}").and_then(|()| out.flush());
        drop(out);
        let mut answer = String::new();
        let read = written.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
        match read {
            Ok(0) | Err(_) => Err(Explanation::new(
                Kind::Config,
                format!("Nobody answered \"{}\".", prompt.trim_end_matches([':', ' '])),
                "Nothing was changed by this question.",
                format!("Answer it, or give {flag} (with --yes nothing is asked)."),
            )),
            Ok(_) => Ok(answer.trim().to_owned()),
        }
    }
}
