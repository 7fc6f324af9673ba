//! What a screen does beside the thread that draws for a signature: makes it, and gathers what is
//! signed with. Owns the way from a command to the same command with a signature; asks nobody.

use super::model::Unsigned;
use crate::engine::evidence::{self, From};
use crate::engine::explain::Explanation;
use crate::engine::runner::protocol::Command;
use crate::engine::signature;
use crate::engine::signer::{Made, Signer};
use crate::screens::layers::Source;
use jiff::Timestamp;
use std::path::Path;

/// The command with its signature; as it is, and why, where none could be made. What that means
/// is the runner's policy.
pub fn made(
    signer: &Signer,
    namespace: &str,
    lines: &[String],
    user: &str,
    command: Command,
) -> (Command, Option<Unsigned>) {
    let unsigned = |failed, why| Some(Unsigned { failed, why });
    match signer.sign(namespace, user, signature::text(lines, Timestamp::now())) {
        Made::Signed(own) => {
            let signed = match command {
                Command::Approve { plan_hash, cluster, .. } => {
                    Command::Approve { plan_hash, cluster, signed: Some(own) }
                }
                Command::Sign(sign) => Command::SignWith { sign, signed: own },
                other => other,
            };
            (signed, None)
        }
        Made::NoKey(why) => (command, unsigned(false, why)),
        Made::Failed(why) => (command, unsigned(true, why)),
    }
}

/// What the person at the screen shows: a file that they can read, or a command that they run.
pub fn gathered(from: &Source) -> Result<String, Explanation> {
    match from {
        Source::File(path) => evidence::gather(None, Some(Path::new(path)), None),
        Source::Command(line) => evidence::gather(None, None, Some((line, From::Screen))),
    }
}
