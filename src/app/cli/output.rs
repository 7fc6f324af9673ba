//! How a command speaks: JSON for programs, lines and a progress bar for people. Owns no content.

use crate::engine::explain::Explanation;
use crate::engine::runner::protocol::{Progress, Unit};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;

/// Prints one JSON value on standard output.
///
/// # Errors
/// Where it cannot be written, as an explanation.
pub fn json(value: &impl Serialize) -> Result<(), Explanation> {
    let text = serde_json::to_string_pretty(value).map_err(|e| broken(&e.to_string()))?;
    line(&text)
}

/// Prints one JSON value on one line of standard output.
///
/// # Errors
/// As [`json`].
pub fn json_line(value: &impl Serialize) -> Result<(), Explanation> {
    let text = serde_json::to_string(value).map_err(|e| broken(&e.to_string()))?;
    line(&text)
}

/// Tells something on standard error, at once; standard output stays the result's.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "lifeboat: {text}");
}

/// Prints a line on standard output; a closed pipe is no fault.
///
/// # Errors
/// Any other failure to write.
pub fn line(text: &str) -> Result<(), Explanation> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(broken(&error.to_string()))
        }
        _ => Ok(()),
    }
}

fn broken(why: &str) -> Explanation {
    Explanation::new(
        crate::engine::explain::Kind::Storage,
        format!("Could not write to standard output: {why}."),
        "",
        "",
    )
}

/// Prints an explanation on standard error and gives its exit code.
pub fn fail(explanation: &Explanation) -> ExitCode {
    let mut text = format!("lifeboat: {}\n", explanation.what);
    for more in [&explanation.untouched, &explanation.next] {
        if !more.is_empty() {
            text.push_str("  ");
            text.push_str(more);
            text.push('\n');
        }
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(explanation.kind.exit_code())
}

/// A progress bar on standard error where that is a terminal, else nothing.
#[derive(Debug)]
pub struct Bar(Option<Mutex<ProgressBar>>);

impl Bar {
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        Self(shown.then(|| Mutex::new(ProgressBar::new(0))))
    }

    pub fn show(&self, progress: &Progress) {
        let Some(bar) = &self.0 else { return };
        let Ok(bar) = bar.lock() else { return };
        let template = match progress.unit {
            Unit::Bytes => "{msg:32} {bar:30} {bytes:>10}/{total_bytes:10} {bytes_per_sec} {eta}",
            _ => "{msg:32} {bar:30} {pos:>8}/{len:8} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━ "));
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_message(progress.label.clone());
        bar.set_position(progress.done);
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.0
            && let Ok(bar) = bar.lock()
        {
            bar.finish_and_clear();
        }
    }
}
