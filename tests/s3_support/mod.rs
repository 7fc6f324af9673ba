//! S3 servers of a test's own, and a proxy that does to requests what a bad day does.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const ID: &str = "LIFEBOATTESTKEY";
pub const SECRET: &str = "a-secret-of-this-test-alone";
const LIMIT: Duration = Duration::from_secs(20);

/// A server on the loopback with one bucket, `backups`. Gone when dropped.
pub struct Server {
    pub address: String,
    pub folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program by the variable that names it, from `.tools`, or on the path.
pub fn program(name: &str, variable: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(PathBuf::from(named));
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools)
        .chain(std::env::split_paths(&path).map(|folder| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

impl Server {
    /// rclone's, which checks signatures and digests. `None` with a word where it is not here.
    pub fn rclone(more: &[&str]) -> Option<Self> {
        let Some(rclone) = program("rclone", "LIFEBOAT_RCLONE") else {
            println!("not run: rclone is not here; scripts/ensure-s3.sh installs it");
            return None;
        };
        let keys = format!("{ID},{SECRET}");
        Some(Self::start(|address, folder| {
            let mut command = Command::new(&rclone);
            command.args(["serve", "s3", "--config", "/dev/null"]);
            command.args(["--auth-key", &keys, "--addr", address]).args(more).arg(folder);
            command
        }))
    }

    /// The second implementation, for the heavy target.
    pub fn s3s_fs() -> Option<Self> {
        let Some(s3s) = program("s3s-fs", "LIFEBOAT_S3S_FS") else {
            println!("not run: s3s-fs is not here; make test-heavy installs it");
            return None;
        };
        Some(Self::start(|address, folder| {
            let (host, port) = address.split_once(':').unwrap();
            let mut command = Command::new(&s3s);
            command.args(["--host", host, "--port", port]);
            command.args(["--access-key", ID, "--secret-key", SECRET]).arg(folder);
            command
        }))
    }

    fn start(command: impl Fn(&str, &Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("backups")).unwrap();
        let started = Instant::now();
        loop {
            // Somebody else may take the port before the server does: then once more.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = port.to_string();
            let mut child = command(&address, folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            while child.try_wait().unwrap().is_none() {
                if TcpStream::connect(&address).is_ok() {
                    return Self { address, folder, child };
                }
                assert!(started.elapsed() < LIMIT, "the S3 server does not listen");
                std::thread::yield_now();
            }
            assert!(started.elapsed() < LIMIT, "the S3 server does not start");
        }
    }
}

/// What the proxy does with a request.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Answers itself, with this status and S3's word for it; the server never hears of it.
    Say(u16, &'static str),
    /// Passes so much of the answer on, and closes.
    Cut(usize),
    /// Passes so much of the answer on, and falls silent until the client goes away.
    Stall(usize),
    /// The server does it all; the client hears nothing.
    LoseAnswer,
    /// Passes the answer on in small pieces, with a pause before each.
    Slow,
}

/// The proxy, and what it has seen.
pub struct Proxy {
    pub address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    deeds: Mutex<VecDeque<(String, Deed)>>,
    /// `METHOD /path?query` of every request, with ` if absent` after it where that is asked for.
    seen: Mutex<Vec<String>>,
    /// Every request's head, in small letters.
    heads: Mutex<Vec<String>>,
}

impl Proxy {
    pub fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let (target, shared) = (server.address.clone(), Arc::clone(&state));
        // Both end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                std::thread::spawn(move || serve(client, &target, &shared));
            }
        });
        Self { address, state }
    }

    /// The next request whose line holds `what` is treated so; each deed is done once, in order.
    pub fn next(&self, what: &str, deed: Deed) {
        self.state.deeds.lock().unwrap().push_back((what.to_owned(), deed));
    }

    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }

    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// Deeds that are still to be done.
    pub fn left(&self) -> usize {
        self.state.deeds.lock().unwrap().len()
    }
}

/// One request a connection: both sides are told to close.
fn serve(mut client: TcpStream, target: &str, state: &State) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let condition = head.to_lowercase().contains("\r\nif-none-match: *\r\n");
    let seen = format!("{line}{}", if condition { " if absent" } else { "" });
    state.seen.lock().unwrap().push(seen);
    state.heads.lock().unwrap().push(head.to_lowercase());
    let length = head.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    let deed = {
        let mut deeds = state.deeds.lock().unwrap();
        let found = deeds.iter().position(|(what, _)| line.contains(what.as_str()));
        found.and_then(|at| deeds.remove(at)).map(|(_, deed)| deed)
    };
    if let Some(Deed::Say(status, code)) = deed {
        let text = format!("<Error><Code>{code}</Code><Message>so be it</Message></Error>");
        let mut answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n", text.len());
        let _ = write!(answer, "Connection: close\r\n\r\n");
        if !line.starts_with("HEAD") {
            answer.push_str(&text);
        }
        return client.write_all(answer.as_bytes()).ok();
    }
    let mut server = TcpStream::connect(target).ok()?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    let (most, piece) = match deed {
        Some(Deed::Cut(most) | Deed::Stall(most)) => (most, 64 << 10),
        Some(Deed::LoseAnswer) => (0, 64 << 10),
        Some(Deed::Slow) => (usize::MAX, 16 << 10),
        _ => (usize::MAX, 64 << 10),
    };
    if matches!(deed, Some(Deed::LoseAnswer)) {
        std::io::copy(&mut server, &mut std::io::sink()).ok()?;
    }
    // Nothing is ever sent on it: receiving from it is how the slow server takes its time.
    let (_keep, never): (Sender<()>, Receiver<()>) = channel();
    let (mut passed, mut buffer) = (0, vec![0; piece]);
    while passed < most {
        let size = server.read(&mut buffer).ok()?.min(most - passed);
        if size == 0 {
            break;
        }
        if matches!(deed, Some(Deed::Slow)) {
            let _ = never.recv_timeout(Duration::from_millis(20));
        }
        client.write_all(&buffer[..size]).ok()?;
        passed += size;
    }
    if matches!(deed, Some(Deed::Stall(_))) {
        // Until the client goes away.
        let _ = client.read(&mut buffer);
    }
    client.shutdown(Shutdown::Both).ok()
}

/// What a machine in a cloud asks for its keys: EC2's metadata (with a token, as version 2 wants),
/// the address that ECS names, and the service that takes web identities.
pub struct Cloud {
    pub address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Cloud {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::default());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                answer(client, &shared);
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let line = head.lines().next()?.trim_end_matches(" http/1.1").to_owned();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
    let json = format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"{end}\",\
         \"AccessKeyId\":\"{ID}\",\"SecretAccessKey\":\"{SECRET}\",\"Token\":\"of-a-session\",\
         \"Expiration\":\"{end}\"}}"
    );
    let trusted = head.contains("x-aws-ec2-metadata-token: the-token");
    let role = "/latest/meta-data/iam/security-credentials";
    let (status, text) = match line.split_once(' ')? {
        ("put", "/latest/api/token") => (200, "the-token".to_owned()),
        ("get", path) if path.starts_with(role) && !trusted => (401, String::new()),
        ("get", path) if path.trim_end_matches('/') == role => (200, "the-role".to_owned()),
        ("get", path) if path == format!("{role}/the-role") => (200, json),
        ("get", "/task") => (200, json),
        ("post", "/") if body.contains("WebIdentityToken=who-i-am") => (
            200,
            format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
                 <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>\
                 <AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>\
                 <Credentials><AccessKeyId>{ID}</AccessKeyId>\
                 <SecretAccessKey>{SECRET}</SecretAccessKey>\
                 <SessionToken>of-a-session</SessionToken><Expiration>{end}</Expiration>\
                 </Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>"
            ),
        ),
        _ => (404, String::new()),
    };
    seen.lock().unwrap().push(line);
    let mut answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n", text.len());
    let _ = write!(answer, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
    let _ = write!(answer, "Connection: close\r\n\r\n{text}");
    client.write_all(answer.as_bytes()).ok()
}
