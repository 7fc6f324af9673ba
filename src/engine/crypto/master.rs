//! The master key: where it comes from, and why it is refused. Owns reading it from a file, from
//! a command's output or from an escrow sheet; never writes it anywhere.

use super::sheet::{self, SheetError};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::repository::store::{StoreError, StoreFault};
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The shortest master key that is taken, bytes.
pub const SHORTEST: usize = 16;
/// The longest one; `openssl -pass file:` reads no further than this.
const LONGEST: usize = 1000;
/// How long the command may take to print the key.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// A sheet is at most this long, bytes.
const SHEET_LIMIT: u64 = 1 << 20;

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// The first line of a file that nobody else can read.
    File(PathBuf),
    /// The first line that a program prints. The program and its arguments.
    Command(Vec<String>),
    /// A printed sheet that was typed in again; see [`sheet`].
    Sheet(PathBuf),
}

impl std::fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(words) => {
                write!(f, "the command {}", words.first().map_or("", String::as_str))
            }
            Self::Sheet(path) => write!(f, "the sheet {}", path.display()),
        }
    }
}

/// The master key itself. Overwritten when dropped, never printed.
pub struct MasterKey {
    bytes: Zeroizing<Vec<u8>>,
    fingerprint: OnceLock<String>,
}

/// Salt and rounds of the fingerprint: one master key has one, in whatever repository. More rounds
/// than the keys' own, since all who use Lifeboat share the salt.
const FINGERPRINT_SALT: &[u8] = b"lifeboat/1/master key fingerprint";
const FINGERPRINT_ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(29_999);
/// Hexadecimal digits of a fingerprint.
pub const FINGERPRINT_DIGITS: usize = 16;

/// Whether `text` could be a fingerprint.
#[must_use]
pub fn is_fingerprint(text: &str) -> bool {
    text.len() == FINGERPRINT_DIGITS
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the master key file {} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("others can read the master key file {} (its mode is {mode:04o})", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "the master key file {} belongs to user id {owner}, and this process runs as {user}",
        path.display()
    )]
    ForeignOwner { path: PathBuf, owner: u32, user: u32 },
    #[error("{place} does not hold a usable master key: {why}")]
    Unusable { place: String, why: &'static str },
    #[error("the command {program} that gives the master key failed: {why}")]
    Command { program: String, why: String },
    #[error("the master key does not fit the data key {id}: {place} holds another key")]
    WrongMasterKey { id: String, place: String },
    #[error("the data key {id} in {place} is damaged: {why}")]
    Damaged { id: String, place: String, why: String },
    #[error("the data key {id} is not in {place}")]
    Missing { id: String, place: String },
    #[error("the sheet {} could not be read as a master key: {source}", path.display())]
    Sheet { path: PathBuf, source: SheetError },
    #[error("no random bytes could be had from the system: {0}")]
    Random(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Explain for KeyError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Unreadable { .. } => (
                Kind::Config,
                "Check the path in the configuration, and that this user may read the file.",
            ),
            Self::Exposed { path, .. } => {
                return Explanation::new(
                    Kind::Config,
                    format!("A secret is not secret: {self}."),
                    "The key was not used.",
                    format!("Close it with: chmod 600 {}", path.display()),
                );
            }
            Self::ForeignOwner { .. } => {
                (Kind::Config, "Give the file to the user that runs this, or run it as its owner.")
            }
            Self::Unusable { .. } => (
                Kind::Config,
                "Put the key alone on the first line. A new one: openssl rand -hex 32",
            ),
            Self::Command { .. } => (Kind::Config, "Run the command by hand to see what it says."),
            Self::WrongMasterKey { .. } => (
                Kind::Integrity,
                "Look for the master key that was in use when that backup was made.",
            ),
            Self::Damaged { .. } => (
                Kind::Integrity,
                "Take the key object from another copy of the repository. What other data keys \
                 protect is not affected.",
            ),
            Self::Missing { .. } => (
                Kind::NotFound,
                "Take the key object from another copy of the repository: without it, what it \
                 protects cannot be opened.",
            ),
            Self::Sheet { .. } => (
                Kind::Integrity,
                "Compare the lines that are named with the printed sheet, character by character.",
            ),
            Self::Random(_) => (Kind::Internal, "Try again."),
            Self::Store(error) => return error.explanation(),
        };
        Explanation::new(kind, sentence(self), "Nothing was changed.", next)
    }
}

impl KeyError {
    /// Whether another try can help: the store's own passing troubles only.
    #[must_use]
    pub fn fault(&self) -> Option<StoreFault> {
        match self {
            Self::Store(error) => Some(error.fault),
            _ => None,
        }
    }
}

impl MasterKey {
    /// Reads the key.
    ///
    /// # Errors
    /// Where it cannot be read, others can read it, or it is no usable key.
    pub fn load(source: &MasterKeySource) -> Result<Self, KeyError> {
        let text = match source {
            MasterKeySource::File(path) => read_secret_file(path)?,
            MasterKeySource::Command(words) => read_command(words, COMMAND_LIMIT)?,
            MasterKeySource::Sheet(path) => return Self::from_sheet(path),
        };
        let key = first_line(&text)
            .map_err(|why| KeyError::Unusable { place: source.to_string(), why })?;
        if key.len() < SHORTEST {
            let why = "it is shorter than 16 characters";
            return Err(KeyError::Unusable { place: source.to_string(), why });
        }
        Ok(Self::of(key))
    }

    /// A new one: 64 hexadecimal digits by chance.
    ///
    /// # Errors
    /// Where the system has no random bytes.
    pub fn make() -> Result<Self, KeyError> {
        let chance = super::keyring::random::<32>()?;
        Ok(Self::of(Zeroizing::new(data_encoding::HEXLOWER.encode(&chance[..]).into_bytes())))
    }

    fn from_sheet(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        let file = File::open(path).map_err(unreadable)?;
        file.take(SHEET_LIMIT).read_to_string(&mut text).map_err(unreadable)?;
        let wrong = |source| KeyError::Sheet { path: path.to_owned(), source };
        let (bytes, told) = sheet::decode(&text).map_err(wrong)?;
        let key = Self::of(bytes);
        match told {
            Some(told) if told != key.fingerprint() => Err(wrong(SheetError::OtherFingerprint)),
            _ => Ok(key),
        }
    }

    fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes, fingerprint: OnceLock::new() }
    }

    /// The key itself, for a cipher or a sheet; never for a message.
    pub(in crate::engine) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// 16 hexadecimal digits that tell one master key from another and give nothing of it away.
    /// Made slowly, and once.
    pub fn fingerprint(&self) -> &str {
        self.fingerprint.get_or_init(|| {
            let mut digest = [0; FINGERPRINT_DIGITS / 2];
            let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA256;
            let (rounds, salt) = (FINGERPRINT_ROUNDS, FINGERPRINT_SALT);
            ring::pbkdf2::derive(algorithm, rounds, salt, &self.bytes, &mut digest);
            data_encoding::HEXLOWER.encode(&digest)
        })
    }

    /// Whether both are the same key.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        super::tag::same(&self.bytes, &other.bytes)
    }
}

/// The first line of a passphrase file that nobody else can read: for a single file that was
/// encrypted by hand. No shortest length, since the passphrase is somebody else's.
///
/// # Errors
/// As [`MasterKey::load`].
pub fn read_passphrase(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    first_line(&read_secret_file(path)?)
        .map_err(|why| KeyError::Unusable { place: path.display().to_string(), why })
}

/// As `openssl -pass file:` takes it: up to the first line feed.
fn first_line(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    match line {
        [] => Err("its first line is empty"),
        line if line.len() > LONGEST => Err("its first line is longer than 1,000 characters"),
        line if line.contains(&0) => Err("its first line holds a zero byte"),
        [.., b'\r'] => Err("its first line ends in a carriage return, which OpenSSL would take \
                            for a part of the key"),
        line => Ok(Zeroizing::new(line.to_vec())),
    }
}

fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    // A pipe in the place of the file must not hang us at the open.
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    let user = rustix::process::geteuid().as_raw();
    if user != 0 && found.uid() != user {
        return Err(KeyError::ForeignOwner { path: path.to_owned(), owner: found.uid(), user });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
    file.take(LONGEST as u64 + 2).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// What a program prints that was named as the source of a secret.
///
/// # Errors
/// Where it cannot be run, fails, or takes more than half a minute.
pub fn command_output(words: &[String]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    read_command(words, COMMAND_LIMIT)
}

/// What the command says on standard error is not kept: it may hold a secret.
fn read_command(words: &[String], limit: Duration) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let [program, arguments @ ..] = words else {
        return Err(KeyError::Command { program: String::new(), why: "none is named".to_owned() });
    };
    let failed = |why: String| KeyError::Command { program: program.clone(), why };
    let began = Instant::now();
    // A process group of its own, so that what it started ends with it.
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let Some(output) = child.stdout.take() else {
        return Err(failed("its output could not be read".to_owned()));
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        let read = output.take(LONGEST as u64 + 2).read_to_end(&mut text).map(|_| text);
        let _ = sender.send(read);
    });
    let late = |mut child: std::process::Child| {
        if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
        failed(format!("it gave no key within {} s", limit.as_secs_f32()))
    };
    let Ok(read) = receiver.recv_timeout(limit) else { return Err(late(child)) };
    // It may have closed its output and go on.
    let status = loop {
        match child.try_wait().map_err(|e| failed(e.to_string()))? {
            Some(status) => break status,
            None if began.elapsed() >= limit => return Err(late(child)),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Err(failed(format!("it ended with {status}")));
    }
    read.map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn file_with(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn the_first_line_of_a_private_file_is_the_key() {
        for mode in [0o600, 0o400] {
            let (_folder, path) = file_with(b"a key of good length\nand a comment\n", mode);
            let key = MasterKey::load(&MasterKeySource::File(path)).unwrap();
            assert_eq!(key.bytes(), b"a key of good length");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_by_name() {
        for mode in [0o640, 0o604, 0o660, 0o644] {
            let (_folder, path) = file_with(b"a key of good length\n", mode);
            let refused = MasterKey::load(&MasterKeySource::File(path.clone())).unwrap_err();
            assert!(matches!(refused, KeyError::Exposed { .. }), "{mode:o}: {refused}");
            let text = refused.explanation().to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(!text.contains("good length"), "the key is in the message");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [&b""[..], b"\nsecond line is no key\n", b"short\n", b"0123456789abcdef\r\n"] {
            let (_folder, path) = file_with(text, 0o600);
            let refused = MasterKey::load(&MasterKeySource::File(path)).unwrap_err();
            assert!(matches!(refused, KeyError::Unusable { .. }), "{text:?}: {refused}");
        }
        let missing = MasterKeySource::File(PathBuf::from("/nonexistent/master.key"));
        assert!(matches!(MasterKey::load(&missing), Err(KeyError::Unreadable { .. })));
    }

    #[test]
    fn a_command_gives_the_key_or_an_error() {
        let run = |script: &str| {
            let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
            MasterKey::load(&MasterKeySource::Command(words))
        };
        assert_eq!(run("echo a key of good length").unwrap().bytes(), b"a key of good length");
        assert!(matches!(run("echo a key of good length; exit 3"), Err(KeyError::Command { .. })));
        assert!(matches!(run("true"), Err(KeyError::Unusable { .. })));
        let said = run("echo sesame-stays-inside >&2; exit 1").unwrap_err();
        let said = format!("{said} {said:?} {}", said.explanation());
        assert!(said.contains("exit status: 1"), "{said}");
        assert!(
            !said.contains("sesame"),
            "what it says on standard error is not passed on: {said}"
        );
        assert!(matches!(run("yes 0123456789 | tr -d '\\n'"), Err(KeyError::Command { .. })));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        for script in [
            "sleep 600 & echo $! > PIDS; wait",
            "sleep 600 <&- >&- & echo $! > PIDS; exec >&-; wait",
        ] {
            let script = script.replace("PIDS", pids.to_str().unwrap());
            let words = ["/bin/sh", "-c", &script].map(str::to_owned);
            let mut limit = Duration::from_millis(300);
            let pid = loop {
                let _ = fs::remove_file(&pids);
                let refused = read_command(&words, limit).unwrap_err();
                let told = format!("within {} s", limit.as_secs_f64());
                assert!(refused.to_string().contains(&told), "{refused}");
                match fs::read_to_string(&pids) {
                    Ok(pid) if pid.ends_with('\n') => break pid,
                    // Ended before it came so far: a busy machine needs longer.
                    _ => limit *= 2,
                }
                assert!(limit < Duration::from_secs(60), "it never began: {script}");
            };
            // Gone, or only waiting for whoever adopted it to take notice.
            let gone = || {
                let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
                state.is_err() || state.is_ok_and(|s| s.contains(") Z"))
            };
            let until = Instant::now() + Duration::from_secs(20);
            while !gone() {
                assert!(Instant::now() < until, "it lives on: {script}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_fingerprint_is_the_keys_own_and_shows_nothing_of_it() {
        let keys: Vec<MasterKey> = ["a key of good length", "another of good length"]
            .iter()
            .map(|text| {
                let (_folder, path) = file_with(text.as_bytes(), 0o600);
                MasterKey::load(&MasterKeySource::File(path)).unwrap()
            })
            .collect();
        assert!(is_fingerprint(keys[0].fingerprint()));
        assert_ne!(keys[0].fingerprint(), keys[1].fingerprint());
        assert!(!keys[0].same(&keys[1]) && keys[0].same(&keys[0]));
        assert_ne!(MasterKey::make().unwrap().bytes(), MasterKey::make().unwrap().bytes());
    }
}
