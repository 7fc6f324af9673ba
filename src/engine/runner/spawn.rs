//! Starts the runner of an incident, or finds the one that is there. Owns the start alone: from
//! then on it lives by itself and outlives whoever started it.

use super::protocol::Message;
use super::socket::Address;
use crate::engine::explain::{Explain, Explanation, Kind};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The runner's own output, in the incident's folder.
pub const LOG: &str = "runner.log";
/// From start to hello.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long one that listens may take to say hello.
const HELLO_LIMIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of the log that an error shows.
const TAIL: usize = 2000;

/// Why there is no runner.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the runner ended at once ({status}); its log says:\n{tail}")]
    Ended { status: ExitStatus, tail: String },
    #[error("waited {} s for the runner to listen; its log says:\n{tail}", limit.as_secs())]
    NotListening { limit: Duration, tail: String },
}

impl Explain for SpawnError {
    fn explanation(&self) -> Explanation {
        if let Self::Io { source, path, .. } = self
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            return Explanation::new(
                Kind::Refused,
                format!(
                    "No runner of this incident listens, and you may not start it ({}).",
                    path.display()
                ),
                "Nothing was run; the incident's journal is kept.",
                "Whoever owns the incident opens it (lifeboat); then try again.",
            );
        }
        let kind = match self {
            Self::Io { .. } => Kind::Storage,
            Self::Ended { status, .. } if status.code() == Some(9) => Kind::Busy,
            Self::Ended { .. } | Self::NotListening { .. } => Kind::Internal,
        };
        Explanation::new(
            kind,
            format!("{self}"),
            "Nothing was run; the incident's journal is kept.",
            format!(
                "Remove the reason, then open the incident again. The whole log is {LOG} in \
                     the incident's folder."
            ),
        )
    }
}

/// The socket of the incident's runner, which is started where none is alive. Blocks.
///
/// # Errors
/// Where it could not be started, or does not listen in time; with the end of its log.
pub fn ensure_runner(config: &Path, incident_dir: &Path) -> Result<PathBuf, SpawnError> {
    let io = |doing, path: &Path, source| SpawnError::Io { doing, path: path.to_owned(), source };
    let program =
        std::env::current_exe().map_err(|source| io("find", Path::new("this program"), source))?;
    // The runner works elsewhere than where it was called.
    let config = fs::canonicalize(config).map_err(|source| io("find", config, source))?;
    let folder =
        fs::canonicalize(incident_dir).map_err(|source| io("find", incident_dir, source))?;
    let mut command = Command::new(program);
    command.arg("runner").arg("--incident").arg(&folder).arg("--config").arg(config);
    ensure_runner_with(command, &folder, START_LIMIT)
}

/// [`ensure_runner`] with a command of one's own. The command must call [`detach`] first.
///
/// # Errors
/// As [`ensure_runner`].
pub fn ensure_runner_with(
    mut command: Command,
    incident_dir: &Path,
    limit: Duration,
) -> Result<PathBuf, SpawnError> {
    if let Some(socket) = alive(incident_dir) {
        return Ok(socket);
    }
    let log = incident_dir.join(LOG);
    let io = |source| SpawnError::Io { doing: "write", path: log.clone(), source };
    let out = OpenOptions::new().append(true).create(true).mode(0o600).open(&log).map_err(io)?;
    let begin = out.metadata().map_err(io)?.len();
    let err = out.try_clone().map_err(io)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
    let program = PathBuf::from(command.get_program());
    let mut child = command.spawn().map_err(|source| SpawnError::Io {
        doing: "start",
        path: program,
        source,
    })?;
    let found = wait(&mut child, incident_dir, &log, begin, limit);
    // Its end is noticed, lest it stay in the process table while this program lives.
    std::thread::spawn(move || {
        let _ = child.wait();
    });
    found
}

/// Leaves the session of whoever started this process, so that the end of a terminal is not its
/// own. To be called first in the runner's process.
pub fn detach() {
    // Fails where it leads a session already, as under systemd: then nothing is left to leave.
    let _ = rustix::process::setsid();
}

/// The socket of the runner that answers now.
#[must_use]
pub fn alive(incident_dir: &Path) -> Option<PathBuf> {
    let socket = Address::read(incident_dir)?.socket;
    let stream = UnixStream::connect(&socket).ok()?;
    stream.set_read_timeout(Some(HELLO_LIMIT)).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    matches!(serde_json::from_str(&line), Ok(Message::Hello { .. })).then_some(socket)
}

fn wait(
    child: &mut Child,
    incident_dir: &Path,
    log: &Path,
    begin: u64,
    limit: Duration,
) -> Result<PathBuf, SpawnError> {
    let until = Instant::now() + limit;
    let mut ended = None;
    loop {
        if let Some(socket) = alive(incident_dir) {
            return Ok(socket);
        }
        // One that found the incident taken ends; the other one may just be starting.
        if let Some(status) = ended.filter(|status: &ExitStatus| status.code() != Some(9)) {
            return Err(SpawnError::Ended { status, tail: tail(log, begin) });
        }
        if Instant::now() >= until {
            return Err(match ended {
                Some(status) => SpawnError::Ended { status, tail: tail(log, begin) },
                None => SpawnError::NotListening { limit, tail: tail(log, begin) },
            });
        }
        ended = ended.or_else(|| child.try_wait().ok().flatten());
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The end of what was logged since `begin`.
fn tail(log: &Path, begin: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let begin = usize::try_from(begin).unwrap_or(usize::MAX).max(bytes.len().saturating_sub(TAIL));
    let text = String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned();
    if text.trim().is_empty() { String::from("(nothing)") } else { text }
}
