//! What is done as the server's user. Where the program runs as that user it is done here; where
//! it runs as root, a second process of the same program does it, which took that user's
//! identity for good: the server takes its login, and files that it makes are that user's.
//!
//! The question goes in on standard input, one JSON value; the answer comes back on standard
//! output, one JSON value; what is told meanwhile goes to standard error.

use super::Say;
use super::carry_out::{self, Order, Outcome};
use super::error::InitError;
use super::facts::{self, Facts};
use crate::engine::config::Connection;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use crate::engine::runner::work::Report;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::runtime::Runtime;

/// The verb of the second process.
pub const VERB: &str = "init-errand";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    Look { connection: Connection, data_directory: PathBuf },
    CarryOut(Box<Order>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Facts(Box<Facts>),
    Outcome(Box<Outcome>),
}

/// Does it as the user that this process runs as.
///
/// # Errors
/// As the errand's own parts.
pub fn run(
    errand: &Errand,
    runtime: &Runtime,
    report: Report<'_>,
    say: Say<'_>,
) -> Result<Answer, InitError> {
    Ok(match errand {
        Errand::Look { connection, data_directory } => {
            let facts = runtime.block_on(facts::ask(connection, data_directory))?;
            Answer::Facts(Box::new(facts))
        }
        Errand::CarryOut(order) => {
            Answer::Outcome(Box::new(carry_out::carry_out(order, runtime, report, say)?))
        }
    })
}

/// Has it done by a second process of `program` that runs as `owner`. `quiet`: it tells nothing.
///
/// # Errors
/// The errand's own, or that the process could not be run.
pub fn send(
    errand: &Errand,
    program: &Path,
    owner: &Owner,
    quiet: bool,
) -> Result<Answer, InitError> {
    let failed = |why: String| InitError::Errand { user: owner.to_string(), why };
    let question = serde_json::to_vec(errand).map_err(|error| failed(error.to_string()))?;
    let run = || -> io::Result<Vec<u8>> {
        let mut command = child::command(program, owner)?;
        command.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(if quiet { Stdio::null() } else { Stdio::inherit() });
        if quiet {
            command.arg("--quiet");
        }
        let mut process = command.spawn()?;
        if let Some(mut input) = process.stdin.take() {
            input.write_all(&question)?;
        }
        // A backup takes as long as it takes.
        Ok(process.wait_with_output()?.stdout)
    };
    let said = run().map_err(|error| failed(error.to_string()))?;
    let answer: Result<Answer, Explanation> =
        serde_json::from_slice(&said).map_err(|error| failed(error.to_string()))?;
    Ok(answer?)
}

/// The second process: reads the question, does it, gives the answer.
///
/// # Errors
/// Where it cannot be read or answered; what the errand itself met is in the answer.
pub fn serve(
    input: &mut dyn io::Read,
    output: &mut dyn Write,
    runtime: &Runtime,
    report: Report<'_>,
    say: Say<'_>,
) -> io::Result<()> {
    let mut question = Vec::new();
    input.read_to_end(&mut question)?;
    let errand: Errand = serde_json::from_slice(&question)?;
    let answer = run(&errand, runtime, report, say).map_err(|error| error.explanation());
    output.write_all(&serde_json::to_vec(&answer)?)?;
    output.flush()
}
