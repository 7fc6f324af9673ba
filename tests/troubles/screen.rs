//! What stopped a recovery as it is read on the screen, and cured there by its key: keys that cannot be
//! had, programs that do not fit the machine or the files, and a log that leads to a full restore.

use crate::own::flip_a_bit;
use crate::stage::Stage;
use crate::terminal::Terminal;
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::facts::TargetPoint;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A step of this small cluster, on a machine that does much else.
const SOON: Duration = Duration::from_secs(60);

impl Stage {
    /// The incident's screen, as somebody opens it who was called.
    fn screen(&self) -> Terminal {
        let config = self.sandbox.config().path.display().to_string();
        let program = self.sandbox.program();
        // It begins on the newest incident that is open.
        Terminal::start(&program, &["--config", &config], &[], (160, 45))
    }

    /// Up to just before a step, with a runner that waits there: what it needs to begin may go now.
    fn waiting_before(&self, step: &str, gate: impl FnOnce(&Client)) -> Client {
        let place = format!("step.{step}.before");
        let client = self.runner(Some(&place));
        gate(&client);
        self.go_on(&client);
        self.until_lost(&client, &place);
        let client = self.runner(None);
        self.wait(&client, "what the runner left", |i| i.status == RunStatus::Interrupted);
        client
    }
}

/// The proposed cure is people's: it is accepted by its key, and a yes.
fn look_again(screen: &mut Terminal) {
    screen.press("f");
    screen.wait_for("it is done: look again", SOON);
    screen.press("y");
    screen.wait_until("the answer", SOON, |text| !text.contains("it is done: look again"));
}

/// The cure helps: the step goes on.
fn mended(stage: &Stage, client: &Client, screen: &mut Terminal) {
    look_again(screen);
    stage.wait(client, "the cure to help", |incident| incident.status != RunStatus::Failed);
}

/// The key comes from a command, which does what the file beside it says: `fail`, `wrong`, or nothing.
struct KeyCommand(PathBuf);

impl KeyCommand {
    fn of(sandbox: &Sandbox) -> Self {
        let folder = sandbox.root().join("keys");
        let (key, does) = (folder.join("master"), folder.join("does"));
        let program = sandbox.root().join("bin/give-key");
        let script = format!(
            "#!/bin/sh\ncase $(cat '{does}') in\n  fail) echo 'the vault is sealed' >&2; exit 3 ;;\n  \
             wrong) printf '%s\\n' {wrong} ;;\n  *) cat '{key}' ;;\nesac\n",
            does = does.display(),
            key = key.display(),
            wrong = "0123456789abcdef".repeat(4),
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(&does, "").unwrap();
        fs::set_permissions(&does, PermissionsExt::from_mode(0o644)).unwrap();
        let config = &sandbox.config().path;
        let text = fs::read_to_string(config).unwrap();
        let line = text.lines().find(|line| line.starts_with("master_key_file")).unwrap();
        let command = format!("master_key_command = [\"{}\"]", program.display());
        fs::write(config, text.replace(line, &command)).unwrap();
        Self(does)
    }

    fn does(&self, what: &str) {
        fs::write(&self.0, what).unwrap();
    }
}

/// Met where Lifeboat opens the backup itself, in place or beside the old cluster.
fn denied_by_a_command(beside: bool) {
    let mut key = None;
    let stage = Stage::made_with(|sandbox| key = Some(KeyCommand::of(sandbox)), |_| {}, !beside);
    let key = key.unwrap();
    let client = stage.waiting_before("restore-base", |client| match beside {
        true => stage.to_full_gate(client, true),
        false => stage.to_gate(client),
    });
    key.does("fail");
    stage.ask(&client, Command::Retry);
    let (step, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!((&*step, &*trouble.name), ("restore-base", "denied-key"), "{trouble:#?}");
    let mut screen = stage.screen();
    screen.wait_for("The key that opens the backups (the master key) cannot be had.", SOON);
    let shown = screen.wait_for("key failed: it ended with", SOON);
    assert!(shown.contains("f: Mend the key, then look again"), "{shown}");
    // Still failing, and then another key: each is tried, and neither goes on.
    look_again(&mut screen);
    screen.wait_for("That was not done", SOON);
    screen.wait_for("It did not help: The key still does not open", SOON);
    screen.press("\x1b");
    screen.wait_until("the answer", SOON, |text| !text.contains("That was not done"));
    key.does("wrong");
    look_again(&mut screen);
    screen.wait_for("does not fit the data key", SOON);
    screen.press("\x1b");
    screen.wait_until("the answer", SOON, |text| !text.contains("That was not done"));
    assert_eq!(client.incident().unwrap().status, RunStatus::Failed);
    // Once more: what is told is now that it is another key.
    stage.ask(&client, Command::Retry);
    screen.wait_for("The key at hand (the master key) is not the one", SOON);
    key.does("");
    mended(&stage, &client, &mut screen);
    if beside {
        stage.old_serves();
    }
    stage.to_the_end(&client);
    screen.kill();
}

#[test]
#[ignore = "make test-troubles"]
fn a_command_that_gives_no_key_or_another_one_is_mended_in_place() {
    denied_by_a_command(false);
}

#[test]
#[ignore = "make test-troubles"]
fn a_command_that_gives_no_key_or_another_one_is_mended_beside() {
    denied_by_a_command(true);
}

/// The server's own fetch is what fails: the command is asked anew for each file.
#[test]
#[ignore = "make test-troubles"]
fn a_command_that_gives_no_key_to_the_server_is_mended() {
    let mut key = None;
    let stage = Stage::made(|sandbox| key = Some(KeyCommand::of(sandbox)), |_| {});
    let key = key.unwrap();
    let client = stage.waiting_before("start-recovery", |client| stage.to_gate(client));
    key.does("wrong");
    stage.ask(&client, Command::Retry);
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "denied-key", "{trouble:#?}");
    let mut screen = stage.screen();
    screen.wait_for("f: Mend the key, then look again", SOON);
    key.does("");
    mended(&stage, &client, &mut screen);
    stage.to_the_end(&client);
    screen.kill();
}

/// A folder of programs of its own, which the configuration names: links to the sandbox's.
struct Programs {
    folder: PathBuf,
    right: PathBuf,
}

impl Programs {
    fn of(sandbox: &Sandbox) -> Self {
        let right = sandbox.server().programs.directory.clone();
        let folder = sandbox.root().join("programs");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        let config = &sandbox.config().path;
        let text = fs::read_to_string(config).unwrap();
        let line = text.lines().find(|line| line.starts_with("bin_directory")).unwrap();
        let own = format!("bin_directory = \"{}\"", folder.display());
        fs::write(config, text.replace(line, &own)).unwrap();
        let made = Self { folder, right };
        made.link(&made.right);
        made
    }

    fn link(&self, to: &Path) {
        for entry in fs::read_dir(to).unwrap() {
            let program = entry.unwrap().path();
            let here = self.folder.join(program.file_name().unwrap());
            let _ = fs::remove_file(&here);
            symlink(program, here).unwrap();
        }
    }

    fn mend(&self) {
        self.link(&self.right);
    }

    /// `postgres` as it is for a kind of machine that this one is not: the head of such a file alone.
    fn foreign(&self) {
        // 64 bits, little end first, version 1; a program, for PA-RISC (15), version 1.
        let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [2_u16, 15] {
            head.extend(half.to_le_bytes());
        }
        head.extend(1_u32.to_le_bytes());
        head.resize(64, 0);
        let postgres = self.folder.join("postgres");
        fs::remove_file(&postgres).unwrap();
        fs::write(&postgres, head).unwrap();
        fs::set_permissions(&postgres, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// `spoil` makes the programs unfit before `step`; the screen says so, and they are brought back.
fn unfit(step: &str, beside: bool, spoil: impl FnOnce(&Programs), words: &str) {
    let mut programs = None;
    let stage = Stage::made_with(|sandbox| programs = Some(Programs::of(sandbox)), |_| {}, !beside);
    let programs = programs.unwrap();
    let client = stage.waiting_before(step, |client| match beside {
        true => stage.to_full_gate(client, true),
        false => stage.to_gate(client),
    });
    spoil(&programs);
    stage.ask(&client, Command::Retry);
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "wrong-version", "{trouble:#?}");
    let mut screen = stage.screen();
    screen.wait_for("The server's programs do not fit the files", SOON);
    let shown = screen.wait_for(words, SOON);
    assert!(shown.contains("f: Install the programs that fit, then look again"), "{shown}");
    // Nobody is helped by a full restore: it needs the same programs, which the key says.
    if !beside {
        screen.press("O");
        screen.wait_for("A full restore would not help", SOON);
    }
    programs.mend();
    mended(&stage, &client, &mut screen);
    stage.to_the_end(&client);
    screen.kill();
}

#[test]
#[ignore = "make test-troubles"]
fn programs_for_another_kind_of_machine_are_told_and_replaced() {
    unfit("start-recovery", false, Programs::foreign, "Exec format error");
}

#[test]
#[ignore = "make test-troubles"]
fn programs_for_another_kind_of_machine_are_told_and_replaced_beside() {
    unfit("start-recovery", true, Programs::foreign, "Exec format error");
}

/// Another major version, as it comes with an upgrade of the machine.
#[test]
#[ignore = "make test-troubles"]
fn programs_of_another_major_version_are_told_and_replaced() {
    let fetched = |version: &str| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ensure-version.sh");
        let done = std::process::Command::new(script).arg(version).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        PathBuf::from(String::from_utf8(done.stdout).unwrap().trim())
    };
    let spoil = |programs: &Programs| {
        let said = std::process::Command::new(programs.right.join("postgres"))
            .arg("--version")
            .output()
            .unwrap();
        let own = String::from_utf8(said.stdout).unwrap();
        let other = if own.contains("(PostgreSQL) 14") { "15" } else { "14" };
        programs.link(&fetched(other));
    };
    unfit("start-recovery", false, spoil, "holds PostgreSQL");
}

/// A damaged log file leads to the runbook's last resort by the keys that the screen names: the run is
/// put back, a backup is chosen, and its plan waits at the gate.
#[test]
#[ignore = "make test-troubles"]
fn a_damaged_log_leads_to_a_full_restore_by_keys() {
    let stage = Stage::new();
    let client = stage.spoiled_before("start-recovery", |incident| {
        flip_a_bit(&stage.archived(&stage.middle_segment(incident)));
    });
    let (_, trouble) = stage.next_trouble(&client).unwrap();
    assert_eq!(trouble.name, "damaged-wal", "{trouble:#?}");
    let mut screen = stage.screen();
    screen.wait_for("(O: Option B): the log (WAL) is damaged", SOON);
    screen.press("O");
    screen.wait_for("Give this run up for a full restore?", SOON);
    screen.press("y");
    screen.wait_for("Full restore beside the old cluster (Option B)", SOON);
    screen.press("\r");
    screen.wait_for("Prerequisites and plan of a full restore", SOON);
    // What was confirmed before the first run still is; the point is another one.
    screen.press("c");
    screen.wait_for("Enter accept", SOON);
    screen.press("the owner agrees\r");
    screen.wait_until("the answer", SOON, |text| !text.contains("Enter accept"));
    screen.press("m");
    screen.wait_for("Read the plan, then open the gate", SOON);
    let incident = client.incident().unwrap();
    let plan = incident.plan.as_ref().unwrap();
    assert!(plan.procedure.is_full(), "{:?}", plan.procedure);
    assert_eq!(plan.target.point, TargetPoint::EndOfBase);
    assert_eq!(plan.cluster, CLUSTER);
    screen.kill();
}
