//! S3 servers of a test's own, on the loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// Says so past the harness, which keeps what a test that passes prints.
pub fn not_run(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test} WAS NOT RUN: {why}");
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
            not_run("rclone is not here; scripts/ensure-s3.sh installs it");
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
            not_run("s3s-fs is not here; make test-s3 builds it");
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

    /// One that keeps locks and versions, and takes any keys. Its bucket is made here, with both.
    pub fn moto() -> Option<Self> {
        let Some(moto) = program("moto_server", "LIFEBOAT_MOTO") else {
            not_run("moto is not here; make test-s3 gets it");
            return None;
        };
        let server = Self::start(|address, _| {
            let (host, port) = address.split_once(':').unwrap();
            let mut command = Command::new(&moto);
            command.args(["-H", host, "-p", port]);
            command
        });
        let mut asked = TcpStream::connect(&server.address).unwrap();
        let request = format!(
            "PUT /backups HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\
             x-amz-bucket-object-lock-enabled: true\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={ID}/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=00\r\n\r\n",
            server.address
        );
        asked.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        asked.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(server)
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
