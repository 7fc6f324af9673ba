//! Evidence that a person signs a line with: what was seen, a file by its digest, a command by how it
//! ended and what it said. Owns the words that are signed; judges nothing, and signs nothing.

use crate::engine::explain::{Explanation, Kind};
use crate::engine::postgres::child;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Characters of a command's output that are signed.
const OUTPUT: usize = 2_000;
/// Bytes that a command may say: whoever has more to show signs a file.
pub const MOST: u64 = 1 << 20;
/// How long a command may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where a command of the person's own is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From a shell: it may ask on the terminal, as it would there.
    Shell,
    /// From a screen, which has the terminal: it can ask nothing.
    Screen,
}

/// The evidence as the text that is signed.
///
/// # Errors
/// Where there is none, a file cannot be read, or a command fails: a failed command is no evidence.
pub fn gather(
    text: Option<&str>,
    file: Option<&Path>,
    command: Option<(&str, From)>,
) -> Result<String, Explanation> {
    let mut parts: Vec<String> = text.map(str::to_owned).into_iter().collect();
    if let Some(path) = file {
        parts.push(digested(path)?);
    }
    if let Some((command, from)) = command {
        parts.push(said(command, from, LIMIT)?);
    }
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(Explanation::new(
            Kind::Refused,
            "A line is not signed without evidence.",
            "Nothing was signed.",
            "Say what you saw with --evidence, --file or --command.",
        ));
    }
    Ok(parts.join("; "))
}

/// Reads a file in pieces, however large it is.
fn digested(path: &Path) -> Result<String, Explanation> {
    let unreadable = |error: std::io::Error| {
        Explanation::new(
            Kind::Storage,
            format!("{} could not be read: {error}.", path.display()),
            "Nothing was signed.",
            "Name a file that you can read.",
        )
    };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let (mut size, mut buffer) = (0_u64, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        size += u64::try_from(read).unwrap_or_default();
    }
    let digest = data_encoding::HEXLOWER.encode(&digest.finalize());
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(format!("file {} ({size} bytes, sha256 {digest})", path.display()))
}

/// Runs a command of the person's own.
fn said(command: &str, from: From, limit: Duration) -> Result<String, Explanation> {
    let refused =
        |why: String, next: &str| Explanation::new(Kind::Refused, why, "Nothing was signed.", next);
    let ran = run(command, from, limit).map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::FileTooLarge => {
                "Run it by itself, keep what it says in a file, and sign that file."
            }
            _ => "",
        };
        refused(format!("`{command}` could not be run to its end: {error}."), next)
    })?;
    let text = String::from_utf8_lossy(&ran.said).into_owned();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    let shown: String = text.trim().chars().take(OUTPUT).collect();
    if !ran.status.success() {
        return Err(refused(
            format!("`{command}` did not end well ({}): {shown}", ran.status),
            "A failed command is no evidence that the line is done.",
        ));
    }
    Ok(format!("`{command}` ended well (output sha256 {digest}): {shown}"))
}

struct Ran {
    status: std::process::ExitStatus,
    /// Standard output, then standard error.
    said: Vec<u8>,
}

fn run(command: &str, from: From, limit: Duration) -> io::Result<Ran> {
    let end = Instant::now() + limit;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if from == From::Screen {
        child::without_terminal(&mut shell);
    }
    let mut child = shell.spawn()?;
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = child::wait(&mut child, limit);
    // What it has left behind in its own group ends with it: it may hold the outputs open.
    let stop = |child: &mut std::process::Child| {
        if from == From::Screen
            && let Ok(group) = i32::try_from(child.id())
        {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    };
    let late = || {
        let what = format!("it was not finished after {} s", limit.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, what)
    };
    let Some(status) = status? else {
        stop(&mut child);
        return Err(late());
    };
    let mut said = Vec::new();
    for output in [out, err] {
        let left = end.saturating_duration_since(Instant::now());
        match output.recv_timeout(left) {
            Ok(bytes) => said.extend(bytes),
            Err(_) => {
                stop(&mut child);
                return Err(late());
            }
        }
    }
    if u64::try_from(said.len()).unwrap_or(u64::MAX) > MOST {
        let what = format!("it said more than {} KiB", MOST >> 10);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(Ran { status, said })
}

/// Reads an output to its end, and keeps no more of it than is needed to say that it is too much.
fn reader<R: Read + Send + 'static>(source: Option<R>) -> Receiver<Vec<u8>> {
    let (told, kept) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is still worth showing.
            let _ = source.by_ref().take(MOST + 1).read_to_end(&mut bytes);
            let _ = io::copy(&mut source, &mut io::sink());
        }
        let _ = told.send(bytes);
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_signed_by_its_digest_and_a_command_by_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shot.png");
        std::fs::write(&path, "abc").unwrap();
        let told = gather(Some("seen"), Some(&path), Some(("printf hello", From::Shell))).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(told.starts_with("seen; file "), "{told}");
        assert!(told.contains(&format!("shot.png (3 bytes, sha256 {abc})")), "{told}");
        assert!(told.ends_with("): hello"), "{told}");
    }

    #[test]
    fn nothing_and_a_failed_command_are_no_evidence() {
        assert!(gather(Some("  "), None, None).unwrap_err().what.contains("without evidence"));
        let failed =
            gather(Some("seen"), None, Some(("echo no >&2; exit 3", From::Screen))).unwrap_err();
        assert!(failed.what.contains("did not end well") && failed.what.contains("no"), "{failed}");
        assert!(gather(None, Some(Path::new("/nowhere/at/all")), None).is_err());
    }

    #[test]
    fn a_command_that_does_not_end_or_says_too_much_is_no_evidence() {
        let short = Duration::from_millis(300);
        for from in [From::Shell, From::Screen] {
            let late = said("sleep 100", from, short).unwrap_err();
            assert!(late.what.contains("not finished"), "{late}");
            let much = "head -c 1200000 /dev/zero";
            let much = said(much, from, LIMIT).unwrap_err();
            assert!(much.what.contains("more than 1024 KiB"), "{much}");
        }
        // It leaves a child behind that holds its output: no screen waits for that one.
        let left = said("sleep 100 & echo begun", From::Screen, short).unwrap_err();
        assert!(left.what.contains("not finished"), "{left}");
        // On a screen nothing can be asked.
        let asks = said("read x < /dev/tty", From::Screen, LIMIT).unwrap_err();
        assert!(asks.what.contains("did not end well"), "{asks}");
    }
}
