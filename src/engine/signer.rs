//! The key that a person at a screen signs with: the one that they name, else one that their agent
//! holds and the list has for them. Owns that choice; never asks for anything on the terminal, which
//! shows a screen, and never sees a private key.

use super::postgres::child;
use super::signature::{self, Signed};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Names a private key, or a public one whose private half the agent holds.
pub const KEY: &str = "LIFEBOAT_SIGNING_KEY";
const AGENT: &str = "SSH_AUTH_SOCK";
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Where a person's key may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signer {
    key: Option<PathBuf>,
    agent: bool,
    /// Whose keys are known, where this machine has the list.
    allowed: Option<PathBuf>,
}

/// What came of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    Signed(Signed),
    /// This person has no key here; why.
    NoKey(String),
    /// They have one, and it did not sign; why, and what to do.
    Failed(String),
}

impl Signer {
    /// By the environment and the configuration.
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<OsString>, allowed: Option<PathBuf>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self { key: set(KEY).map(PathBuf::from), agent: set(AGENT).is_some(), allowed }
    }

    /// Whether anything is to be signed: a key is named, or keys are known by a list.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.key.is_some() || self.allowed.is_some()
    }

    /// Signs the text. Blocks while a token waits for its finger.
    #[must_use]
    pub fn sign(&self, namespace: &str, user: &str, text: String) -> Made {
        if let Some(key) = &self.key {
            return made(key, namespace, text);
        }
        let Some(allowed) = &self.allowed else {
            return Made::NoKey(format!("{KEY} names no key"));
        };
        match self.of_agent(allowed, user) {
            Ok(Some(public)) => with_public(&public, namespace, text),
            Ok(None) => Made::NoKey(format!(
                "{KEY} names no key, and no agent holds one that {} has for {user}",
                allowed.display()
            )),
            Err(why) => Made::NoKey(format!("{KEY} names no key, and {why}")),
        }
    }

    /// The public half of the agent's key that the list has for this person.
    fn of_agent(&self, allowed: &Path, user: &str) -> Result<Option<String>, String> {
        if !self.agent {
            return Ok(None);
        }
        let list = std::fs::read_to_string(allowed)
            .map_err(|error| format!("{} cannot be read: {error}", allowed.display()))?;
        let mut command = Command::new("ssh-add");
        command.arg("-L");
        child::without_terminal(&mut command);
        let told = child::run(command, ASK_LIMIT)
            .map_err(|error| format!("the agent could not be asked: {error}"))?;
        // It fails where the agent holds no key at all.
        let held = if told.ok() { told.stdout } else { String::new() };
        Ok(held.lines().find(|key| is_listed(&list, user, key)).map(str::to_owned))
    }
}

/// Whether `allowed_signers` has that public key in a line of that person.
fn is_listed(list: &str, user: &str, public: &str) -> bool {
    let Some(blob) = public.split_whitespace().nth(1) else { return false };
    list.lines().any(|line| {
        let mut fields = line.split_whitespace();
        let people = fields.next().unwrap_or_default().trim_matches('"');
        people.split(',').any(|one| one == user) && fields.any(|field| field == blob)
    })
}

fn with_public(public: &str, namespace: &str, text: String) -> Made {
    let kept = tempfile::NamedTempFile::new().and_then(|mut file| {
        writeln!(file, "{public}")?;
        file.flush()?;
        Ok(file)
    });
    match kept {
        Ok(file) => made(file.path(), namespace, text),
        Err(error) => Made::Failed(format!("The agent's key could not be named: {error}.")),
    }
}

fn made(key: &Path, namespace: &str, text: String) -> Made {
    match signature::sign_unasked(key, namespace, text) {
        Ok(signed) => Made::Signed(signed),
        Err(error) => Made::Failed(format!(
            "{error}. No passphrase is asked for on a screen: put the key into an agent (ssh-add), \
             or sign in a shell with --key."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_for_the_people_of_its_line_alone() {
        let list = "# keys\nann,bea namespaces=\"lifeboat@approval\" ssh-ed25519 AAAA1 x\n\
                    \"cid\" ssh-ed25519 AAAA2\n";
        let listed = |user, key: &str| is_listed(list, user, &format!("ssh-ed25519 {key} y"));
        assert!(listed("ann", "AAAA1") && listed("bea", "AAAA1") && listed("cid", "AAAA2"));
        assert!(!listed("ann", "AAAA2") && !listed("an", "AAAA1") && !listed("ann", "AAAA"));
        assert!(!is_listed(list, "ann", ""));
    }

    #[test]
    fn nothing_is_to_be_signed_where_nobody_has_set_it_up() {
        let agent = |name: &str| (name == AGENT).then(|| OsString::from("/run/agent"));
        assert!(!Signer::of(agent, None).is_set_up());
        assert!(Signer::of(agent, Some(PathBuf::from("/list"))).is_set_up());
        let named = |name: &str| (name == KEY).then(|| OsString::from("/key"));
        assert!(Signer::of(named, None).is_set_up());
        let nothing = Signer::of(|_| None, None);
        assert!(matches!(nothing.sign("x", "ann", String::new()), Made::NoKey(_)));
    }
}
