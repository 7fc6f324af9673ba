//! `--host` through the system's ssh, against a real sshd on the loopback that this test starts with
//! a key, a configuration and a port of its own. As root, the sshd runs as the server's user, and
//! whoever comes over it is that user. Says NOT RUN where there is no sshd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "../support/mod.rs"]
mod support;
#[path = "../terminal/mod.rs"]
mod terminal;

use lifeboat::engine::incident::event::{Entry, Event};
use lifeboat::engine::incident::journal;
use lifeboat::engine::postgres::child;
use lifeboat::engine::postgres::discovery::Owner;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use terminal::Terminal;

const LIMIT: Duration = Duration::from_secs(60);
const PROGRAM: &str = env!("CARGO_BIN_EXE_lifeboat");

/// A machine behind ssh, which is this one under the name `db1`.
struct Machine {
    sshd: Child,
    program: PathBuf,
    root: tempfile::TempDir,
    owner: Owner,
    user: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
        // Runners that were started over ssh end with the folder that they are for.
        for pid in runners(&self.path("state")) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
    }
}

/// Runners of the incidents below a state directory, by what they wrote down themselves.
fn runners(state: &Path) -> Vec<i32> {
    let folders = fs::read_dir(state.join("incidents")).into_iter().flatten().flatten();
    let told = folders.filter_map(|folder| fs::read(folder.path().join("runner.json")).ok());
    told.filter_map(|told| {
        let told: serde_json::Value = serde_json::from_slice(&told).ok()?;
        i32::try_from(told["pid"].as_i64()?).ok()
    })
    .collect()
}

fn sshd_program() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/openssh/usr/sbin/sshd");
    [PathBuf::from("/usr/sbin/sshd"), own].into_iter().find(|path| path.exists())
}

/// Begins to listen, with a log of its own.
fn sshd(program: &Path, owner: &Owner, root: &Path) -> Child {
    let mut command = child::command(program, owner).unwrap();
    command.args(["-D", "-e", "-f"]).arg(root.join("sshd_config"));
    let beside = program.parent().unwrap().join("../lib/x86_64-linux-gnu");
    command.env("LD_LIBRARY_PATH", beside);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(root.join("sshd.log")).unwrap());
    command.spawn().unwrap()
}

/// The ssh processes that a process has begun and that go on.
fn ssh_of(parent: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten();
    let children = threads.filter_map(|one| fs::read_to_string(one.path().join("children")).ok());
    let pids: Vec<i32> = children
        .flat_map(|all| {
            all.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    let is_ssh = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ssh")
    };
    pids.into_iter().filter(is_ssh).collect()
}

fn keygen(path: &Path) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
    fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}

impl Machine {
    /// `None`, and why, where it cannot be.
    fn start() -> Option<Self> {
        let Some(program) = sshd_program() else {
            eprintln!("NOT RUN: there is no sshd");
            return None;
        };
        let owner = support::server_user();
        let account = nix::unistd::User::from_uid(owner.uid.into()).unwrap().unwrap();
        if account.shell.ends_with("nologin") || account.shell.ends_with("false") {
            eprintln!("NOT RUN: {} has no login shell", account.name);
            return None;
        }
        let root = support::folder(&owner);
        let at = |name: &str| root.path().join(name);
        let host_key = keygen(&at("host_key"));
        let own_key = keygen(&at("own_key"));
        fs::write(at("authorized"), format!("{own_key}\n")).unwrap();
        let port = support::free_port();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        fs::write(
            at("sshd_config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\n",
                text(&at("host_key")),
                text(&at("authorized")),
            ),
        )
        .unwrap();
        fs::write(at("known"), format!("[127.0.0.1]:{port} {host_key}\n")).unwrap();
        let wrong = keygen(&at("other_key"));
        fs::write(at("changed"), format!("[127.0.0.1]:{port} {wrong}\n")).unwrap();
        let host = |name: &str, port: u16, known: &str| {
            format!(
                "Host {name}\nHostName 127.0.0.1\nPort {port}\nUser {}\nIdentityFile {}\n\
                 IdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {}\n\
                 GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n\n",
                account.name,
                text(&at("own_key")),
                text(&at(known)),
            )
        };
        let closed = support::free_port();
        let hosts = [
            host("db1", port, "known"),
            host("db1-changed", port, "changed"),
            host("db1-closed", closed, "known"),
        ];
        fs::write(at("ssh_config"), hosts.concat()).unwrap();
        fs::write(at("lifeboat.toml"), configuration(root.path(), &account.name)).unwrap();
        let older =
            "#!/bin/sh\necho '{\"lifeboat\":\"9.9.9\",\"protocol\":999,\"user\":\"x\"}'\ncat\n";
        fs::write(at("older"), older).unwrap();
        fs::set_permissions(at("older"), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["host_key", "lifeboat.toml", "authorized"] {
            child::give(&at(name), &owner).unwrap();
        }
        let sshd = sshd(&program, &owner, root.path());
        let mut machine = Self { sshd, program, user: account.name, owner, root };
        if let Some(status) = machine.listens() {
            eprintln!("NOT RUN: sshd ended at once ({status}): {}", machine.log());
            return None;
        }
        Some(machine)
    }

    /// Waits until it listens; how it ended where it does not.
    fn listens(&mut self) -> Option<std::process::ExitStatus> {
        let mut ended = None;
        support::wait_within(LIMIT, "sshd to listen", || {
            ended = self.sshd.try_wait().unwrap();
            ended.is_some() || self.log().contains("Server listening")
        });
        ended
    }

    /// Lets nobody in any more; who is in stays.
    fn close(&mut self) {
        self.sshd.kill().unwrap();
        self.sshd.wait().unwrap();
    }

    /// Lets people in again.
    fn open(&mut self) {
        self.sshd = sshd(&self.program, &self.owner, self.root.path());
        assert_eq!(self.listens(), None, "{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn ssh_config(&self) -> String {
        self.path("ssh_config").to_str().unwrap().to_owned()
    }

    fn config(&self) -> String {
        self.path("lifeboat.toml").to_str().unwrap().to_owned()
    }

    fn says(&self, host: &str, program: &str, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(["--host", host, "--host-program", program, "--config", &self.config()])
            .args(arguments)
            .env("LIFEBOAT_SSH_CONFIG", self.ssh_config())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn refuses(&self, host: &str, program: &str, arguments: &[&str], words: &[&str]) {
        let said = self.says(host, program, arguments);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success(), "{text}");
        for word in words {
            assert!(text.contains(word), "\"{word}\" in: {text}");
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let folders = fs::read_dir(self.path("state/incidents")).unwrap();
        let folder = folders
            .map(|entry| entry.unwrap().path())
            .find(|path| path.join(journal::FILE).exists())
            .unwrap();
        journal::read(&folder).unwrap().entries
    }
}

/// One cluster that is not there; what is asked of it is not what this test is about.
fn configuration(root: &Path, user: &str) -> String {
    let root = root.display();
    format!(
        "state_directory = \"{root}/state\"\n\
         [[clusters]]\nname = \"orders\"\ntier = \"high\"\nenvironment = \"staging\"\n\
         data_directory = \"{root}/data\"\nrepositories = [\"local\"]\n\
         [clusters.connection]\nhost = \"{root}\"\n\
         [clusters.control]\ndriver = \"pg_ctl\"\n\
         [[repositories]]\nname = \"local\"\n\
         [repositories.store]\nkind = \"file\"\npath = \"{root}/repository\"\n\
         [[operators]]\nuser = \"{user}\"\nrole = \"commander\"\n\
         [[operators]]\nuser = \"somebody-else\"\nrole = \"approver\"\n"
    )
}

#[test]
fn an_incident_of_another_machine_is_declared_and_worked_on_as_who_one_is_there() {
    let Some(machine) = Machine::start() else { return };
    let config = machine.config();
    let ssh_config = machine.ssh_config();
    let arguments = ["--host", "db1", "--host-program", PROGRAM, "--config", &config];
    let environment = [("LIFEBOAT_SSH_CONFIG", ssh_config.as_str())];
    let mut screen = Terminal::start(Path::new(PROGRAM), &arguments, &environment, (100, 30));
    let home = screen.wait_for("orders", LIMIT);
    assert!(home.contains("db1"), "{home}");
    screen.press("d");
    screen.wait_for("Declare an incident on orders", LIMIT);
    screen.press("Orders are missing\r");
    screen.wait_for(&format!("{} (commander)", machine.user), LIMIT);
    screen.press("s");
    screen.wait_for("SEV-1", LIMIT);
    screen.press("\r");
    screen.wait_for("SEV-1", LIMIT);
    screen.wait_for("Severity set to SEV-1", LIMIT);
    let entries = machine.entries();
    let set = entries.iter().find(|entry| matches!(entry.event, Event::SeveritySet { .. }));
    assert_eq!(set.unwrap().actor.uid, machine.owner.uid, "who one is there, not here");
    let Event::IncidentDeclared(declared) = &entries[0].event else { panic!("{entries:?}") };
    let id = declared.id.clone();

    // Without a screen, as the same person; what it prints came over the forwarded socket.
    machine.refuses("db1", PROGRAM, &["approve", &id], &["has no plan yet"]);
    machine.refuses("db1", PROGRAM, &["approve"], &["No plan on that machine waits"]);
    machine.refuses("db1", PROGRAM, &["handover", &id, "--accept"], &["Nobody hands the command"]);
    let text = "We are looking into it";
    let said = machine.says("db1", PROGRAM, &["messages", &id, "--say", text]);
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && out.contains(text), "{out}{said:?}");
    screen.wait_for("For people outside: We are looking", LIMIT);
    screen.press("q");
    assert!(screen.wait_end(LIMIT));
}

#[test]
fn what_stands_in_the_way_is_told_with_the_way_out() {
    let Some(machine) = Machine::start() else { return };
    let approve = ["approve"];
    let other = ["is not who it was", "compare the key"];
    machine.refuses("db1-changed", PROGRAM, &approve, &other);
    machine.refuses("db1-closed", PROGRAM, &approve, &["does not reach db1-closed", "refused"]);
    machine.refuses(
        "db1",
        "/nowhere/lifeboat",
        &approve,
        &["no Lifeboat on db1", "--host-program"],
    );
    let older = machine.path("older");
    let versions = ["version 9.9.9", "version 999", "same version"];
    machine.refuses("db1", older.to_str().unwrap(), &approve, &versions);
    machine.refuses("db1", PROGRAM, &["status"], &["works for the screens", "ssh db1"]);
    fs::write(machine.path("authorized"), "").unwrap();
    machine.refuses("db1", PROGRAM, &approve, &["does not let you in", "Permission denied"]);
    let nowhere = Command::new(PROGRAM)
        .args(["--host", "db1", "approve"])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(text.contains("ssh could not be run") && text.contains("openssh-client"), "{text}");
}

#[test]
fn a_connection_that_is_cut_is_told_and_made_again_and_the_runner_goes_on() {
    let Some(mut machine) = Machine::start() else { return };
    let config = machine.config();
    let ssh_config = machine.ssh_config();
    let arguments = ["--host", "db1", "--host-program", PROGRAM, "--config", &config];
    let environment = [("LIFEBOAT_SSH_CONFIG", ssh_config.as_str())];
    let mut screen = Terminal::start(Path::new(PROGRAM), &arguments, &environment, (100, 30));
    screen.wait_for("orders", LIMIT);
    screen.press("d");
    screen.wait_for("Declare an incident on orders", LIMIT);
    screen.press("Orders are missing\r");
    screen.wait_for(&format!("{} (commander)", machine.user), LIMIT);
    let before = runners(&machine.path("state"));
    assert_eq!(before.len(), 1);

    // Nobody gets in any more, and the line that there is is cut.
    machine.close();
    let cut = ssh_of(screen.pid());
    assert!(!cut.is_empty());
    for pid in cut {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    screen.wait_for("Lost the runner", LIMIT);
    // It tries by itself, and says why that fails. Keys that need the runner send nothing.
    screen.wait_for("does not reach db1", LIMIT);
    screen.press("s");
    screen.wait_for("Not connected to the runner", LIMIT);
    let told = |entries: &[Entry]| {
        entries.iter().filter(|one| matches!(one.event, Event::SeveritySet { .. })).count()
    };
    assert_eq!(told(&machine.entries()), 0);
    let alive = |pid: i32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
    assert!(alive(before[0]), "the runner ended with somebody's connection");

    machine.open();
    screen.wait_until("the line to be back", LIMIT, |text| !text.contains("Lost the runner"));
    support::wait_within(LIMIT, "the severities", || {
        if screen.text().contains("SEV-1") {
            return true;
        }
        screen.press("s");
        false
    });
    screen.press("\r");
    support::wait_within(LIMIT, "the severity in the journal", || told(&machine.entries()) == 1);
    assert_eq!(runners(&machine.path("state")), before, "the same runner all the time");
    screen.press("q");
    assert!(screen.wait_end(LIMIT));
}
