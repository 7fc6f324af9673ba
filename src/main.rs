//! The program: reads the command line, hands over to the front end that serves it, and turns
//! the outcome into words and an exit code.

use lifeboat::app::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
