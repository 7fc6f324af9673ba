//! Incidents of another machine, through the system's `ssh`: Lifeboat is asked there over one
//! session, and a runner's socket is forwarded to here. Owns that session and what goes over it;
//! never opens a port, never handles a password, and never decides who somebody is: they are who
//! they are on the other machine.
//!
//! The session is the connection's master: when this program ends, its input ends there, and with
//! it the connection.

use crate::engine::explain::{Explanation, Kind};
use crate::engine::runner::protocol::PROTOCOL;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Another file than OpenSSH's own `ssh_config`.
pub const SSH_CONFIG: &str = "LIFEBOAT_SSH_CONFIG";
const PROGRAM: &str = "ssh";
/// Somebody may have to find a password, a token or their glasses.
const LOGIN_LIMIT: Duration = Duration::from_secs(180);
/// A runner that has to be started reads its journal first.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const CONTROL_LIMIT: Duration = Duration::from_secs(20);

/// The first line of the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Its version.
    pub lifeboat: String,
    pub protocol: u32,
    /// Who this person is there.
    pub user: String,
}

/// What is asked of the other side; each answer is one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "far", rename_all = "snake_case")]
pub enum Request {
    /// Its clusters and incidents.
    List,
    /// Declares an incident; answers its number.
    Declare { cluster: String, title: String },
    /// Sees to the runner of an incident; answers its socket.
    Attach { incident: String },
    /// The incident that is under way, if any; answers its number.
    UnderWay,
    /// The sockets of all runners that this person can find.
    Sockets,
}

/// Another machine.
#[derive(Debug)]
pub struct Far {
    host: String,
    program: String,
    config: Option<PathBuf>,
    session: Mutex<Session>,
}

#[derive(Debug)]
struct Session {
    ssh: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// What ssh and the other side said besides, and who reads it.
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Private: the control socket and the forwarded ones.
    folder: tempfile::TempDir,
    forwarded: u32,
    greeting: Greeting,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Its input ends with this value; where it does not go by itself, it is ended.
        let _ = self.ssh.kill();
        let _ = self.ssh.wait();
    }
}

impl Far {
    /// Logs in; ssh asks on the terminal what it has to ask.
    ///
    /// # Errors
    /// Where there is no ssh, no way in, or no Lifeboat of this version there.
    pub fn open(host: &str, program: &str, config: Option<&Path>) -> Result<Self, Explanation> {
        if host.is_empty() || host.starts_with('-') {
            return Err(Explanation::new(
                Kind::Config,
                format!("\"{host}\" is no host's name."),
                "Nothing was asked.",
                "Name it as you would for ssh: db1, or user@db1.example.",
            ));
        }
        let session = login(host, program, config, false)?;
        let (host, program) = (host.to_owned(), program.to_owned());
        let config = config.map(Path::to_owned);
        Ok(Self { host, program, config, session: Mutex::new(session) })
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Who this person is there.
    #[must_use]
    pub fn user(&self) -> String {
        self.lock().greeting.user.clone()
    }

    /// Asks the other side. A session that has ended is begun again, without asking anything on the
    /// terminal: there may be a screen on it.
    ///
    /// # Errors
    /// The other side's refusal, or that it cannot be reached.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Explanation> {
        let mut session = self.lock();
        if session.ssh.try_wait().is_ok_and(|ended| ended.is_some()) {
            *session = login(&self.host, &self.program, self.config.as_deref(), true)?;
        }
        let line = serde_json::to_string(request).map_err(|e| self.garbled(&e.to_string()))?;
        let wrote = writeln!(session.input, "{line}").and_then(|()| session.input.flush());
        wrote.map_err(|_| self.lost(&mut session))?;
        let answer = match session.lines.recv_timeout(ANSWER_LIMIT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => return Err(self.lost(&mut session)),
            Err(RecvTimeoutError::Timeout) => {
                return Err(Explanation::new(
                    Kind::Connection,
                    format!("{} did not answer within {} s.", self.host, ANSWER_LIMIT.as_secs()),
                    "A recovery that runs there goes on.",
                    "Try again.",
                ));
            }
        };
        let answer: Result<T, Explanation> =
            serde_json::from_str(&answer).map_err(|e| self.garbled(&e.to_string()))?;
        answer
    }

    /// Forwards a socket of the other machine; gives where it can be reached here.
    ///
    /// # Errors
    /// Where ssh does not forward it.
    pub fn forward(&self, socket: &Path) -> Result<PathBuf, Explanation> {
        let mut session = self.lock();
        session.forwarded += 1;
        let here = session.folder.path().join(format!("{}.sock", session.forwarded));
        let mut command = ssh();
        command.arg("-S").arg(control(session.folder.path())).args(["-O", "forward", "-L"]);
        command.arg(format!("{}:{}", here.display(), socket.display())).arg("--").arg(&self.host);
        let done = crate::engine::postgres::child::run(command, CONTROL_LIMIT);
        match done {
            Ok(done) if done.ok() => Ok(here),
            Ok(done) => Err(self.no_forward(&done.said())),
            Err(error) => Err(self.no_forward(&error.to_string())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn garbled(&self, why: &str) -> Explanation {
        Explanation::new(
            Kind::Internal,
            format!("Lifeboat on {} said what was not understood: {why}.", self.host),
            "Nothing was changed.",
            "Use the same version of Lifeboat on both machines.",
        )
    }

    fn lost(&self, session: &mut Session) -> Explanation {
        let said = session.said.lock().unwrap_or_else(PoisonError::into_inner).trim().to_owned();
        let said = if said.is_empty() { String::new() } else { format!(" ssh says: {said}") };
        Explanation::new(
            Kind::Connection,
            format!("The connection to {} is lost.{said}", self.host),
            "A recovery that runs there goes on without it.",
            "Try again when the network is back.",
        )
    }

    fn no_forward(&self, why: &str) -> Explanation {
        Explanation::new(
            Kind::Connection,
            format!("ssh does not forward the runner's socket from {}: {why}.", self.host),
            "A recovery that runs there goes on.",
            "sshd there has to allow it: AllowStreamLocalForwarding yes.",
        )
    }
}

fn ssh() -> Command {
    let mut command = Command::new(PROGRAM);
    if let Some(file) = std::env::var_os(SSH_CONFIG).filter(|file| !file.is_empty()) {
        command.arg("-F").arg(file);
    }
    command
}

fn control(folder: &Path) -> PathBuf {
    folder.join("c")
}

fn login(
    host: &str,
    program: &str,
    config: Option<&Path>,
    quiet: bool,
) -> Result<Session, Explanation> {
    let failed = |what: String, next: &str| {
        Explanation::new(Kind::Connection, what, "Nothing was asked of any runner.", next)
    };
    let folder = tempfile::Builder::new()
        .prefix("lifeboat-")
        .tempdir_in(short_folder())
        .map_err(|e| failed(format!("No folder for the connection: {e}."), "Look at /tmp."))?;
    let mut words = vec![quoted(program)];
    if let Some(config) = config {
        words.extend([String::from("--config"), quoted(&config.to_string_lossy())]);
    }
    words.push(String::from("far"));
    let mut command = ssh();
    command.args(["-T", "-M", "-S"]).arg(control(folder.path()));
    command.args(["-o", "ControlPersist=no", "-o", "ServerAliveInterval=15"]);
    if quiet {
        command.args(["-o", "BatchMode=yes"]);
    }
    command.arg("--").arg(host).arg(words.join(" ")).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ssh = command.spawn().map_err(|error| {
        failed(
            format!("The program ssh could not be run: {error}."),
            "Install OpenSSH's client (openssh-client).",
        )
    })?;
    let said = Arc::new(Mutex::new(String::new()));
    let reader = ssh.stderr.take().map(|stderr| {
        let said = Arc::clone(&said);
        std::thread::spawn(move || keep(stderr, &said))
    });
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = ssh.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let Some(input) = ssh.stdin.take() else {
        return Err(failed(String::from("ssh takes no input."), ""));
    };
    let greeting = Greeting { lifeboat: String::new(), protocol: 0, user: String::new() };
    let mut session = Session { ssh, input, lines, said, reader, folder, forwarded: 0, greeting };
    session.greeting = greeted(&mut session, host, program)?;
    let theirs = session.greeting.protocol;
    if theirs != PROTOCOL {
        return Err(failed(
            format!(
                "Lifeboat on {host} is version {} and speaks version {theirs} of the runner's \
                 protocol, this one is {} and speaks version {PROTOCOL}.",
                session.greeting.lifeboat,
                env!("CARGO_PKG_VERSION"),
            ),
            "Use the same version on both machines, or log in and use the one that is there.",
        ));
    }
    Ok(session)
}

/// Waits for the other side's first line; what a login shell says before it is passed over.
fn greeted(session: &mut Session, host: &str, program: &str) -> Result<Greeting, Explanation> {
    loop {
        match session.lines.recv_timeout(LOGIN_LIMIT) {
            Ok(line) => {
                if let Ok(greeting) = serde_json::from_str(&line) {
                    return Ok(greeting);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("{host} let nobody in within {} s.", LOGIN_LIMIT.as_secs());
                return Err(why_not(&what, "Try: ssh -v, to see where it waits."));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = session.ssh.wait().ok();
                // ssh has ended, so its reader does, and what it said is complete then.
                if let Some(reader) = session.reader.take() {
                    let _ = reader.join();
                }
                let said = session.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(told(host, program, status, said.trim()));
            }
        }
    }
}

fn why_not(what: &str, next: &str) -> Explanation {
    Explanation::new(Kind::Connection, what, "Nothing was asked of any runner.", next)
}

/// What ssh's end means.
fn told(host: &str, program: &str, status: Option<ExitStatus>, said: &str) -> Explanation {
    let last = said.lines().last().unwrap_or("ssh said nothing").trim_end_matches('.');
    let all: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let all: String = all.trim_end_matches('.').chars().take(600).collect();
    let has = |words: &str| said.contains(words);
    match status.and_then(|status| status.code()) {
        Some(127 | 126) => why_not(
            &format!("There is no Lifeboat on {host} as \"{program}\": {last}."),
            "Install it there, or say where it is with --host-program.",
        ),
        Some(255) if has("Host key verification failed") => why_not(
            &format!("{host} is not who it was, or nobody knows it yet: {last}."),
            "Log in once with ssh and compare the key that it shows with the one on that machine. \
             Never go on with a key that nobody can explain.",
        ),
        Some(255) if has("Permission denied") => why_not(
            &format!("{host} does not let you in: {last}."),
            "Try ssh to that host by itself; your key may not be in the agent (ssh-add -l).",
        ),
        Some(255) if has("Could not resolve") => why_not(
            &format!("Nobody knows the name {host}: {last}."),
            "Check the name, or your ssh_config.",
        ),
        Some(255) => why_not(
            &format!("ssh does not reach {host}: {last}."),
            "Try ssh to that host by itself; a recovery that runs there goes on.",
        ),
        code => why_not(
            &format!(
                "Lifeboat on {host} ended at once ({}): {all}.",
                code.map_or_else(
                    || String::from("by a signal"),
                    |code| format!("exit code {code}")
                )
            ),
            "Log in there and start lifeboat to see why. It may be an older version, which does \
             not know --host.",
        ),
    }
}

fn keep(mut stderr: impl Read, said: &Mutex<String>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut bytes) {
        let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned();
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        // The end is what matters.
        if said.len() > 8192 {
            said.clear();
        }
        said.push_str(&text);
    }
}

/// The kernel takes at most 107 bytes for a socket's path.
fn short_folder() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = base.filter(|base| base.is_dir() && base.as_os_str().len() < 60);
    base.unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// For the shell of the other machine.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32) -> Option<ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        Some(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn each_way_in_which_it_fails_is_told_with_the_way_out() {
        let cases = [
            (255, "Host key verification failed.", "is not who it was", "compare the key"),
            (255, "ann@db1: Permission denied (publickey).", "does not let you in", "ssh-add"),
            (255, "ssh: connect to host db1 port 22: Connection refused", "does not reach", "ssh"),
            (255, "ssh: Could not resolve hostname db1: no", "knows the name", "ssh_config"),
            (127, "sh: 1: lifeboat: not found", "no Lifeboat on db1", "--host-program"),
            (2, "error: unrecognized subcommand 'far'", "ended at once", "older version"),
        ];
        for (code, said, what, next) in cases {
            let told = told("db1", "lifeboat", ended(code), said);
            assert_eq!(told.kind, Kind::Connection);
            assert!(told.what.contains(what), "{}", told.what);
            assert!(told.next.contains(next), "{}", told.next);
        }
    }

    #[test]
    fn words_reach_the_other_shell_as_they_are() {
        assert_eq!(quoted("/opt/life boat/it's"), "'/opt/life boat/it'\\''s'");
        assert!(Far::open("-oProxyCommand=x", "lifeboat", None).is_err());
    }
}
