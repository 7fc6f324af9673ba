//! A real systemd of a test's own (`systemd.sh`), gone when dropped.

use crate::support::LIMIT;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// Set where a test that cannot have a systemd fails instead of saying so.
const NEEDED: &str = "LIFEBOAT_NEED_SYSTEMD";

#[derive(Debug)]
pub struct Machine {
    folder: PathBuf,
    parent: Child,
    /// As seen from outside.
    pid: String,
}

impl Machine {
    /// With `folder` as the only place where it can write. `None` with a word where this machine
    /// has no systemd, or its kernel refuses one.
    pub fn boot(folder: &Path) -> Option<Self> {
        match Self::try_boot(folder) {
            Ok(machine) => Some(machine),
            Err(why) => {
                assert!(std::env::var_os(NEEDED).is_none(), "{why}");
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                let _ = writeln!(std::io::stderr(), "{test} WAS NOT RUN: {why}");
                None
            }
        }
    }

    fn try_boot(folder: &Path) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("a systemd needs root".into());
        }
        for program in ["/lib/systemd/systemd", "/usr/bin/nsenter", "/usr/bin/unshare"] {
            if !Path::new(program).exists() {
                return Err(format!("{program} is not here"));
            }
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/units/systemd.sh");
        let said = folder.join("boot.log");
        let log =
            || Stdio::from(fs::File::options().create(true).append(true).open(&said).unwrap());
        let parent = Command::new("bash")
            .args([script, "boot"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let mut machine = Self { folder: folder.to_owned(), parent, pid: String::new() };
        let began = Instant::now();
        loop {
            let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
            if let Some(status) = machine.parent.try_wait().unwrap() {
                return Err(format!(
                    "no systemd here ({status}): {}{}",
                    text("boot.log"),
                    text("console")
                ));
            }
            // Written whole, with its line feed.
            if text("pid").ends_with('\n') {
                machine.pid = text("pid").trim().to_owned();
                let state = machine.run(&["systemctl", "is-system-running"]);
                if String::from_utf8_lossy(&state.stdout).trim() == "running" {
                    return Ok(machine);
                }
            }
            if began.elapsed() > LIMIT {
                return Err(format!("no systemd came up: {}{}", text("boot.log"), text("console")));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// A command in it, as root.
    pub fn run(&self, line: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-a", "-t", &self.pid])
            .args(line)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// One that ends well; what it said.
    #[track_caller]
    pub fn well(&self, line: &[&str]) -> String {
        let output = self.run(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{line:?}: {:?}\n{}{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr),
            fs::read_to_string(self.folder.join("console")).unwrap_or_default()
        );
        text(&output.stdout)
    }

    /// A property of a unit.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let told = self.well(&["systemctl", "show", unit, "--value", "-p", name]);
        told.trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let Ok(branch) = fs::read_to_string(self.folder.join("branch")) else { return };
        // Its processes are ended by the kernel, which takes a moment.
        let began = Instant::now();
        while !remove_branch(Path::new(branch.trim())) && began.elapsed() < LIMIT {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The cgroups from the leaves on: folders that only their own removal empties.
fn remove_branch(branch: &Path) -> bool {
    for entry in fs::read_dir(branch).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_branch(&entry.path());
        }
    }
    fs::remove_dir(branch).is_ok() || !branch.exists()
}
