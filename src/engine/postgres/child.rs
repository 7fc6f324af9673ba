//! Programs of PostgreSQL as child processes: as the data directory's owner where Lifeboat is
//! root, in a clean environment, with a limit on how long they may take. Never passes a secret.

use super::discovery::Owner;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};
use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Variables that a server or its `restore_command` may need; all others stay behind, above all
/// `PG*`, which change what PostgreSQL's programs do.
const PASSED_ON: [&str; 6] =
    ["PATH", "LD_LIBRARY_PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_BACKTRACE"];

/// How a program ended, with everything that it said.
#[derive(Debug, Clone)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// Both outputs, trimmed; how it ended where it said nothing.
    #[must_use]
    pub fn said(&self) -> String {
        let (out, err) = (self.stdout.trim(), self.stderr.trim());
        match (out.is_empty(), err.is_empty()) {
            (false, false) => format!("{out}\n{err}"),
            (false, true) => out.to_owned(),
            (true, false) => err.to_owned(),
            (true, true) => match (self.status.code(), self.status.signal()) {
                (Some(code), _) => format!("exit code {code}, no output"),
                (None, Some(signal)) => format!("ended by signal {signal}, no output"),
                (None, None) => String::from("no output"),
            },
        }
    }
}

/// A command that will run as `owner`, where that is another user than ours: with that user's
/// groups, in `/`, which every user can enter, and in a clean environment with messages in
/// English.
///
/// # Errors
/// Where Lifeboat is neither root nor that user, or the user's groups cannot be read.
pub fn command(program: impl AsRef<OsStr>, owner: &Owner) -> io::Result<Command> {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null()).env_clear();
    for (name, value) in std::env::vars_os() {
        let known = name
            .to_str()
            .is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("LIFEBOAT_"));
        if known {
            command.env(name, value);
        }
    }
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    }
    // LC_ALL would outweigh LC_MESSAGES and is left behind; what the locale of the data is
    // stands in the data directory.
    command.env("LC_MESSAGES", "C");
    let user = User::from_uid(Uid::from_raw(owner.uid)).ok().flatten();
    if let Some(user) = &user {
        command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    }
    if !owner.is_current() {
        become_user(&mut command, owner, user.as_ref())?;
    }
    Ok(command)
}

/// Has it killed where this process ends, however that ends. For a program that holds nothing of
/// its own and must not go on alone. The thread that starts it has to wait for it.
pub fn end_with_us(command: &mut Command) {
    // SAFETY: between fork and exec one system call is made and nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(io::Error::from)
        });
    }
}

/// Takes it out of our terminal, into a session and a process group of its own: it can ask nobody
/// anything there, and no key that is pressed reaches it.
pub fn without_terminal(command: &mut Command) {
    command.stdin(Stdio::null());
    // SAFETY: between fork and exec one system call is made and nothing is allocated.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from));
    }
}

/// Runs it to its end, or kills it after `limit`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where it took longer; any error of starting it.
pub fn run(mut command: Command, limit: Duration) -> io::Result<Finished> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let status = match wait(&mut child, limit)? {
        Some(status) => status,
        None => {
            child.kill()?;
            child.wait()?;
            let what = format!("not finished after {} s", limit.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
    };
    let text = |handle: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&handle.join().unwrap_or_default()).into_owned()
    };
    Ok(Finished { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Waits for a child at most `limit`; `None` where it still runs.
///
/// # Errors
/// Where it cannot be waited for.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Gives a path to the user, where Lifeboat is root and it is another's.
///
/// # Errors
/// Any error of changing the owner.
pub fn give(path: &Path, owner: &Owner) -> io::Result<()> {
    if owner.is_current() {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))
}

fn reader<R: Read + Send + 'static>(source: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read before an error is still worth showing.
            let _ = source.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn become_user(command: &mut Command, owner: &Owner, user: Option<&User>) -> io::Result<()> {
    if !Uid::effective().is_root() {
        let what = format!("only root can act as {owner}; Lifeboat runs as {}", Owner::current());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let groups = match user {
        Some(user) => {
            let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
            getgrouplist(&name, gid)?
        }
        None => vec![gid],
    };
    // SAFETY: between fork and exec only system calls are made and nothing is allocated; the list
    // of groups was made before. std's own uid() and gid() cannot set supplementary groups.
    unsafe {
        command.pre_exec(move || {
            setgroups(&groups)?;
            setgid(gid)?;
            setuid(uid)?;
            Ok(())
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_exit_are_kept() {
        let mut made = command("/bin/sh", &Owner::current()).unwrap();
        made.args(["-c", "echo out; echo err >&2; pwd; exit 3"]);
        let finished = run(made, Duration::from_secs(20)).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, "out\n/\n");
        assert_eq!(finished.said(), "out\n/\nerr");
    }

    #[test]
    fn what_takes_too_long_is_stopped_and_said() {
        let mut made = command("/bin/sh", &Owner::current()).unwrap();
        made.args(["-c", "exec sleep 100"]);
        let error = run(made, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_environment_is_clean() {
        let mut made = command("/usr/bin/env", &Owner::current()).unwrap();
        made.env("PGHOST", "kept: set for this command");
        let finished = run(made, Duration::from_secs(20)).unwrap();
        let names: Vec<&str> =
            finished.stdout.lines().filter_map(|line| line.split_once('=')).map(|p| p.0).collect();
        assert!(names.contains(&"LC_MESSAGES"), "{names:?}");
        let inherited = names.iter().filter(|name| name.starts_with("CARGO")).count();
        assert_eq!(inherited, 0, "cargo sets CARGO_* for every test: {names:?}");
    }
}
