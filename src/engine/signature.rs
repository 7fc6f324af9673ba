//! Signatures with a person's SSH key, through OpenSSH's `ssh-keygen -Y`: an approval or a sign-off
//! can be proven later without trusting this machine. Owns the texts that are signed and what is
//! found of a signature; never sees a private key, and never takes an unknown one for good.
//!
//! Anybody can check one without Lifeboat: the journal has the text and the signature, and
//! `ssh-keygen -Y verify -f allowed_signers -I USER -n lifeboat@approval -s FILE < TEXT` says the
//! same.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::SignOff;
use crate::engine::postgres::child::{self, Finished};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What an approval is signed for.
pub const APPROVAL: &str = "lifeboat@approval";
/// What a line of the checklist is signed for.
pub const CHECKLIST: &str = "lifeboat@checklist";

const PROGRAM: &str = "ssh-keygen";
/// Signing may wait for a passphrase or for a finger on a token.
const SIGN_LIMIT: Duration = Duration::from_secs(120);
const VERIFY_LIMIT: Duration = Duration::from_secs(20);
/// A signature is given at once: its own time may be off by that much.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// A text and its signature, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    pub text: String,
    /// Armoured, as `ssh-keygen` writes it.
    pub signature: String,
}

/// What was found of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", content = "words", rename_all = "snake_case")]
pub enum Found {
    /// By a key that the list has for this person; the key's fingerprint.
    Good(String),
    /// It fits the text, and the list does not have the key for this person: not counted.
    Unknown(String),
    /// It does not fit the text, or is none.
    Bad(String),
    /// It could not be checked: not counted.
    NotChecked(String),
}

impl Found {
    /// Whether it counts as signed.
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self, Self::Good(_))
    }

    /// In words, for a line of text.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Good(key) => format!("signed, VERIFIED ({key})"),
            Self::Unknown(why) => format!("NOT counted as signed: unknown key ({why})"),
            Self::Bad(why) => format!("signature FAILED: {why}"),
            Self::NotChecked(why) => format!("signature COULD NOT BE VERIFIED: {why}"),
        }
    }
}

/// A signature as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    #[serde(flatten)]
    pub signed: Signed,
    /// What the runner found when it took it.
    pub when_taken: Found,
}

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("{PROGRAM} could not be run: {0}")]
    Run(io::Error),
    #[error("{PROGRAM} did not sign with {}: {said}", key.display())]
    Refused { key: PathBuf, said: String },
}

impl Explain for SignError {
    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Run(_) => "Install OpenSSH's client (openssh-client), or go on without --key.",
            Self::Refused { .. } => {
                "Name a private key, or a public key whose private half your agent holds \
                 (ssh-add -l)."
            }
        };
        Explanation::new(Kind::Refused, format!("{self}."), "Nothing was approved or signed.", next)
    }
}

/// What somebody signs who approves a plan.
#[must_use]
pub fn approval(incident: &str, cluster: &str, plan_hash: &str, user: &str) -> Vec<String> {
    vec![
        String::from("Lifeboat: I approve this plan."),
        format!("incident: {incident}"),
        format!("cluster: {cluster}"),
        format!("plan: {plan_hash}"),
        format!("user: {user}"),
    ]
}

/// What somebody signs who signs a line of the checklist off, or reopens it.
#[must_use]
pub fn sign_off(incident: &str, sign: &SignOff, user: &str) -> Vec<String> {
    // One line each, whatever was typed.
    let evidence = serde_json::Value::String(sign.evidence.clone());
    vec![
        String::from("Lifeboat: I sign this line of the checklist."),
        format!("incident: {incident}"),
        format!("line: {}", sign.item),
        format!("done: {}", sign.done),
        format!("evidence: {evidence}"),
        format!("user: {user}"),
    ]
}

/// The lines as the text that is signed at that moment.
#[must_use]
pub fn text(lines: &[String], at: Timestamp) -> String {
    format!("{}\nat: {at:.0}\n", lines.join("\n"))
}

/// Signs with a key file, or with the agent's half of a public key. Asks for a passphrase on the
/// terminal where there is one.
///
/// # Errors
/// Where the program is absent or does not sign.
pub fn sign(key: &Path, namespace: &str, text: String) -> Result<Signed, SignError> {
    signed(key, namespace, text, |_| ())
}

/// As [`sign`], and asks nothing: the terminal shows a screen. A key with a passphrase signs only
/// where the agent holds it.
///
/// # Errors
/// As [`sign`].
pub fn sign_unasked(key: &Path, namespace: &str, text: String) -> Result<Signed, SignError> {
    signed(key, namespace, text, |command| {
        child::without_terminal(command);
        command.env("SSH_ASKPASS_REQUIRE", "never").env_remove("DISPLAY");
    })
}

fn signed(
    key: &Path,
    namespace: &str,
    text: String,
    prepare: impl Fn(&mut Command),
) -> Result<Signed, SignError> {
    let mut command = Command::new(PROGRAM);
    command.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(key);
    prepare(&mut command);
    let said = fed(command, &text, SIGN_LIMIT).map_err(SignError::Run)?;
    if !said.ok() {
        return Err(SignError::Refused { key: key.to_owned(), said: said.said() });
    }
    Ok(Signed { text, signature: said.stdout })
}

/// Whether a text is the one that had to be signed, and was signed about then.
///
/// # Errors
/// In what it differs.
pub fn is_about(signed: &Signed, lines: &[String], at: Timestamp) -> Result<(), String> {
    let told = signed.text.strip_suffix('\n').unwrap_or(&signed.text);
    let (what, when) = told.rsplit_once("\nat: ").unwrap_or((told, ""));
    if what != lines.join("\n") {
        return Err(String::from("what was signed is another text"));
    }
    let when: Timestamp = when.parse().map_err(|_| String::from("it names no time"))?;
    match when.duration_since(at).abs() <= FRESH {
        true => Ok(()),
        false => Err(format!("it was made at {when:.0}, not about {at:.0}")),
    }
}

/// Checks a signature of a person against the list of known keys, as of that moment.
#[must_use]
pub fn verify(
    signed: &Signed,
    namespace: &str,
    user: &str,
    allowed: Option<&Path>,
    at: Timestamp,
) -> Found {
    let Some(allowed) = allowed else {
        return Found::NotChecked(String::from("no allowed_signers is configured"));
    };
    if let Err(error) = File::open(allowed) {
        return Found::NotChecked(format!("{} cannot be read: {error}", allowed.display()));
    }
    checked(signed, namespace, user, allowed, at)
        .unwrap_or_else(|error| Found::NotChecked(format!("{PROGRAM} could not be run: {error}")))
}

fn checked(
    signed: &Signed,
    namespace: &str,
    user: &str,
    allowed: &Path,
    at: Timestamp,
) -> io::Result<Found> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(signed.signature.as_bytes())?;
    file.flush()?;
    // Whether it fits the text at all, by whatever key.
    let mut fits = itself_of("check-novalidate", file.path());
    fits.args(["-n", namespace]);
    let fits = fed(fits, &signed.text, VERIFY_LIMIT)?;
    if !fits.ok() {
        return Ok(Found::Bad(one_line(&fits.said())));
    }
    let mut command = itself_of("verify", file.path());
    // Keys come and go: what counts is the list as of that moment.
    let then = format!("-Overify-time={}", at.strftime("%Y%m%d%H%M%S"));
    command.env("TZ", "UTC").arg(&then).args(["-n", namespace, "-I", user, "-f"]).arg(allowed);
    let known = fed(command, &signed.text, VERIFY_LIMIT)?;
    let key = |said: &Finished| {
        let all = said.said();
        let key = all.split_once(" with ").map_or(all.as_str(), |(_, key)| key);
        one_line(key)
    };
    if known.ok() {
        return Ok(Found::Good(key(&known)));
    }
    // One that the list has for somebody else is no forgotten key: something is wrong.
    let mut whose = itself_of("find-principals", file.path());
    whose.env("TZ", "UTC").arg(&then).arg("-f").arg(allowed);
    let whose = fed(whose, &signed.text, VERIFY_LIMIT)?;
    let others: Vec<&str> = match whose.ok() {
        true => whose.stdout.split_whitespace().collect(),
        false => Vec::new(),
    };
    let pattern = |one: &&str| one.contains(['*', '?', '!']);
    if others.is_empty() || others.contains(&user) || others.iter().any(pattern) {
        let list = allowed.display();
        return Ok(Found::Unknown(format!("{} for {user} in {list}", key(&fits))));
    }
    Ok(Found::Bad(format!("it is by the key of {}, not of {user}", others.join(", "))))
}

fn itself_of(mode: &str, signature: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["-Y", mode, "-s"]).arg(signature);
    command
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs a program on a text.
fn fed(mut command: Command, text: &str, limit: Duration) -> io::Result<Finished> {
    let mut input = tempfile::tempfile()?;
    input.write_all(text.as_bytes())?;
    io::Seek::rewind(&mut input)?;
    command.stdin(Stdio::from(input)).env("LC_ALL", "C");
    child::run(command, limit)
}
