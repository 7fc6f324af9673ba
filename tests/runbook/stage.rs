//! The runbook from its first command to its last, as an administrator types it: on a real server
//! whose backups lie in a bucket under the runbook's own name. What a test changes in a command is
//! where things are and when they happened, and each change is written down in [`Stage::words`].

use crate::commands::{self, Command, How, renamed};
use crate::server::{ID, SECRET, Server, not_run, program};
use crate::support::{TestCluster, wait_for};
use lifeboat::engine::postgres::child;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

const BUCKET: &str = "samia-tarot-backups";
/// The incident of the runbook's example.
const INCIDENT: &str = "INC-20250113-001";
/// A query's whole answer, by which two states of the database are told apart.
const ROWS: &str = "SELECT (SELECT count(*) FROM profiles) || ' ' || (SELECT count(*) FROM orders)";

struct Stage {
    server: Server,
    cluster: TestCluster,
    aws: PathBuf,
    /// The set of the one backup, without `set-`.
    set: String,
    /// When the data were as they should be, in UTC.
    target: String,
    /// As they were then.
    rows: String,
}

impl Stage {
    /// `None` with a word where the bucket's server or Amazon's program is not here.
    fn new() -> Option<Self> {
        let Some(aws) = program("aws", "LIFEBOAT_AWS") else {
            not_run("aws is not here; scripts/ensure-s3.sh gets it");
            return None;
        };
        let server = Server::rclone(&[])?;
        fs::create_dir(server.folder.path().join(BUCKET)).unwrap();
        let cluster = TestCluster::init(&["archive_mode = on", "archive_timeout = 60"]);
        let (set, target, rows) = Default::default();
        let mut stage = Self { server, cluster, aws, set, target, rows };
        stage.furnish();
        stage.sh("lifeboat create-repository");
        stage.cluster.start_server();
        stage.have_a_past();
        Some(stage)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    /// Programs, keys and configuration, in the server's user's hands.
    fn furnish(&self) {
        let root = self.cluster.root.path().display().to_string();
        self.cluster.make_folder(&self.at("bin"), 0o755);
        self.cluster.make_folder(&self.at("tmp"), 0o755);
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(self.at("bin/lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        let as_owner = if nix::unistd::geteuid().is_root() {
            let (uid, gid) = (self.cluster.owner.uid, self.cluster.owner.gid);
            format!("setpriv --reuid={uid} --regid={gid} --clear-groups ")
        } else {
            String::new()
        };
        let (bin, data) = (self.cluster.binaries.directory.display(), self.cluster.data.display());
        let log = self.cluster.log.display();
        self.write("bin/sudo", "#!/bin/sh\nexec \"$@\"\n", 0o755);
        let systemctl = format!(
            "#!/bin/sh -e\n[ \"$2\" = postgresql ]\ncd /\ncase $1 in\n\
             start) : >{log}; chmod 666 {log}; exec {as_owner}{bin}/pg_ctl -s -w -t 60 -D {data} \
             -l {log} start >/dev/null 2>&1 ;;\n\
             stop) exec {as_owner}{bin}/pg_ctl -s -w -t 60 -D {data} -m fast stop ;;\n\
             *) exit 1 ;;\nesac\n"
        );
        self.write("bin/systemctl", &systemctl, 0o755);
        self.write("master.key", "the master key of this test\n", 0o600);
        let keys =
            format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
        self.write("credentials", &keys, 0o600);
        let connection = toml::to_string(&self.cluster.connection()).unwrap();
        let me = lifeboat::engine::postgres::discovery::Owner::current();
        let users = [me.name, self.cluster.owner.name.clone()];
        let mut users: Vec<String> = users.into_iter().flatten().collect();
        users.dedup();
        let operators: String = users
            .iter()
            .map(|user| format!("[[operators]]\nuser = \"{user}\"\nrole = \"commander\"\n"))
            .collect();
        let config = format!(
            "state_directory = \"{root}/state\"\n\
             [[clusters]]\nname = \"main\"\ntier = \"standard\"\nenvironment = \"production\"\n\
             data_directory = \"{data}\"\nrepositories = [\"bucket\"]\n\
             [clusters.connection]\n{connection}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{bin}\"\nlog = \"{log}\"\n\
             [[repositories]]\nname = \"bucket\"\n\
             [repositories.store]\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nprefix = \"\"\n\
             endpoint = \"http://{}\"\nregion = \"eu-central-1\"\n\
             [repositories.store.credentials]\nsource = \"file\"\npath = \"{root}/credentials\"\n\
             [repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/master.key\"\n{operators}",
            self.server.address,
        );
        self.write("lifeboat.toml", &config, 0o644);
        let archive = format!("{root}/bin/lifeboat --config {root}/lifeboat.toml archive-wal %p");
        self.cluster.append_conf(&[&format!("archive_command = '{archive}'")]);
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.at(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        child::give(&path, &self.cluster.owner).unwrap();
    }

    /// The runbook's tables, a backup, more rows, and then the accident.
    fn have_a_past(&mut self) {
        let cluster = &self.cluster;
        cluster.sql(
            "CREATE TABLE profiles (id int PRIMARY KEY, email text, created_at timestamptz
                DEFAULT now());
             CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES profiles,
                created_at timestamptz DEFAULT now());
             CREATE TABLE audit_log (created_at timestamptz DEFAULT now());
             CREATE TABLE backup_metadata (created_at timestamptz DEFAULT now());
             INSERT INTO profiles SELECT g, g || '@example.com' FROM generate_series(1, 500) g;
             INSERT INTO orders SELECT g, g FROM generate_series(1, 400) g",
        );
        let told = self.json("lifeboat backup --json");
        let set = told["backup"]["set"].as_str().unwrap().to_owned();
        self.set = set.strip_prefix("set-").unwrap().to_owned();
        let cluster = &self.cluster;
        cluster.sql("INSERT INTO orders SELECT g, g FROM generate_series(401, 500) g");
        self.rows = cluster.value(ROWS);
        self.target = cluster.value(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
        );
        cluster.sql("DELETE FROM orders");
        self.archive_all();
    }

    /// Ends the segment, and waits until it is archived; its name.
    fn archive_all(&self) -> String {
        let last = self.cluster.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        self.cluster.sql("SELECT pg_switch_wal()");
        wait_for(&format!("{last} to be archived"), || {
            self.cluster.value("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")
                >= last
        });
        last
    }

    /// What this stage has in the place of the runbook's hosts, folders, names and times.
    fn words(&self, command: &str) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        let owner = format!("{}:{}", self.cluster.owner.uid, self.cluster.owner.gid);
        let mut words = vec![
            ("/var/log/postgresql/postgresql-14-main.log", text(self.cluster.log.clone())),
            ("/var/lib/postgresql/14/main", text(self.cluster.data.clone())),
            ("/var/lib/postgresql/", text(self.at(""))),
            ("/mnt/recovery/postgresql", text(self.at("recovery"))),
            ("postgres:postgres", owner),
            ("/tmp/", text(self.at("tmp/"))),
            ("[HOST]", text(self.cluster.socket.clone())),
            ("20250113-020000", self.set.clone()),
            ("2025-01-13 10:00:00", self.target.clone()),
            ("2025-01-13 08:00:00", self.target.clone()),
            ("2025-01-13 02:00:00", self.target.clone()),
            ("00000001000000010000", String::from("00000001000000000000")),
        ];
        if command.contains(INCIDENT) {
            let listed = self.json("lifeboat incidents --json");
            words.push((INCIDENT, listed[0]["id"].as_str().unwrap().to_owned()));
        }
        words
    }

    /// The command with this stage's words, each where the runbook has its own.
    fn here(&self, command: &str) -> String {
        let words = self.words(command);
        let (mut rest, mut here) = (command.trim(), String::new());
        while let Some(next) = rest.chars().next() {
            match words.iter().find(|(theirs, _)| rest.starts_with(theirs)) {
                Some((theirs, ours)) => {
                    here.push_str(ours);
                    rest = &rest[theirs.len()..];
                }
                None => {
                    here.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        here
    }

    /// A line of shell with the surroundings that an administrator has.
    fn shell(&self, line: &str) -> std::process::Command {
        let mut path = vec![self.at("bin"), self.cluster.binaries.directory.clone()];
        path.extend(self.aws.parent().map(Path::to_owned));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line]).current_dir(self.at("tmp")).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("LIFEBOAT_CONFIG", self.at("lifeboat.toml"))
            .env("PGHOST", &self.cluster.socket)
            .env("PGPORT", self.cluster.port.to_string())
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.server.address))
            .env("AWS_ACCESS_KEY_ID", ID)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_DEFAULT_REGION", "eu-central-1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn try_sh(&self, line: &str) -> Output {
        self.shell(line).output().unwrap()
    }

    /// Ends well; what it said.
    #[track_caller]
    fn sh(&self, line: &str) -> String {
        let output = self.try_sh(line);
        assert!(output.status.success(), "{line}\n{output:?}\n{}", self.cluster.log_text());
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.sh(line)).unwrap()
    }
}

#[test]
fn every_command_of_the_runbook_does_its_work() {
    let Some(stage) = Stage::new() else { return };
    for command in commands::all() {
        let begun = std::time::Instant::now();
        match command.how {
            How::Same => as_it_stands(&stage, &command.runbook),
            How::Program => service(&stage, &command),
            How::Meant => meant(&stage, &command),
            How::Plan => planned(&stage, &command),
        }
        println!("{:?}: {}", begun.elapsed(), command.runbook.trim());
    }
}

fn as_it_stands(stage: &Stage, runbook: &str) {
    let line = stage.here(runbook);
    if line.contains("tail -f") {
        return follows(stage, &line);
    }
    if line == "sudo systemctl start postgresql" {
        // As the runbook's section on permission errors has it, before it comes to that.
        stage.sh(&stage.here("sudo chmod 700 /var/lib/postgresql/14/main"));
    }
    let statement = ["SELECT", "EXPLAIN", "ANALYZE"].iter().any(|word| runbook.starts_with(word));
    let said = if statement {
        stage.sh(&format!("psql -U postgres -c \"{line}\""))
    } else {
        stage.sh(&line)
    };
    if line.contains("pg_last_wal_replay_lsn") {
        // The recovery is over, and is what was meant.
        assert!(said.contains("recovery_lsn"), "{said}");
        assert_eq!(stage.cluster.value(ROWS), stage.rows);
        assert_eq!(stage.cluster.value("SELECT pg_is_in_recovery()"), "f");
    }
}

/// Until the message for which the runbook says to wait.
fn follows(stage: &Stage, line: &str) {
    let message = "database system is ready to accept connections";
    let mut tail = stage.shell(&format!("exec {line}")).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = lines.map_while(Result::ok);
        let _ = tell.send(lines.any(|line| line.contains(message)));
    });
    let told = told.recv_timeout(crate::support::LIMIT);
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(told, Ok(true), "{}", stage.cluster.log_text());
}

fn service(stage: &Stage, command: &Command) {
    let line = stage.here(&renamed(&command.runbook).unwrap());
    let set = format!("set-{}", stage.set);
    let verb = line.split(' ').nth(1).unwrap();
    if verb == "check-wal-continuity" {
        // A later commit, and its segment in the archive: the proof that the moment is reached.
        stage.cluster.sql("SELECT pg_current_xact_id()");
        stage.archive_all();
    }
    let said = match verb {
        "restore-full" => stage.sh(&format!("{line} --confirm main")),
        _ => stage.sh(&line),
    };
    let has = |word: &str| assert!(said.contains(word), "{line}: \"{word}\" is not in: {said}");
    match verb {
        "status" | "find-backup" | "list-backups" => has(&set),
        "decrypt" => has("base-backup.tar.gz"),
        "restore-full" => has("--swap"),
        "recovery-report" => said.lines().for_each(|path| assert!(Path::new(path).is_file())),
        "record-recovery" => has("Recorded: "),
        "check-wal-continuity" => has("Every point of it can be reached."),
        "verify" => has("VERIFIED"),
        "cleanup" => has(&set),
        other => panic!("nothing is known of {other}"),
    }
}

fn meant(stage: &Stage, command: &Command) {
    if command.runbook.contains("restore_command") {
        return configured(stage, command);
    }
    if command.runbook.contains("wal-archive/") {
        return listed(stage, command);
    }
    // The view has no such column.
    let refused = stage.try_sh(&format!("psql -U postgres -c \"{}\"", command.runbook.trim()));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("tablename"), "{refused:?}");
    assert!(stage.sh(&format!("psql -U postgres -c \"{}\"", command.with)).contains("profiles"));
}

/// By hand and by our command; the server goes on from what was done by hand.
fn configured(stage: &Stage, command: &Command) {
    let elsewhere = "/mnt/recovery/postgresql";
    stage.sh(&stage.here(&command.with.replace("/var/lib/postgresql/14/main", elsewhere)));
    let elsewhere = PathBuf::from(stage.here(elsewhere));
    assert!(elsewhere.join("recovery.signal").exists());
    fs::remove_dir_all(&elsewhere).unwrap();

    let data = &stage.cluster.data;
    let inside = command.runbook.split("<<EOF\n").nth(1).unwrap().split("EOF").next().unwrap();
    let service = "python /opt/samia-tarot/postgres_pitr_service.py";
    assert!(inside.contains(service), "{inside}");
    let program = stage.at("bin/lifeboat").display().to_string();
    let config = stage.at("lifeboat.toml").display().to_string();
    let ours = format!("{program} --config {config}");
    let inside = stage.here(inside).replace(service, &ours);
    let settings = data.join("postgresql.auto.conf");
    let before = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{before}{inside}\n")).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    child::give(&data.join("recovery.signal"), &stage.cluster.owner).unwrap();
}

/// Our list is the one that Amazon's program gives of the whole archive, and the runbook's own
/// line finds nothing, as the documentation says.
fn listed(stage: &Stage, command: &Command) {
    let as_it_stands = stage.here(&command.runbook);
    assert!(!stage.try_sh(&as_it_stands).status.success());
    let whole = as_it_stands.replace("aws s3 ls ", "aws s3 ls --recursive ");
    assert!(command.note.contains(&command.runbook.replace("s3 ls ", "s3 ls --recursive ")));
    // Date, time, size, key.
    let theirs = stage.sh(&whole);
    let mut theirs: Vec<(&str, &str)> = theirs
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[2], words[3])
        })
        .collect();
    let ours = stage.sh(&stage.here(&command.with));
    // Date, time, size, file, key.
    let mut ours: Vec<(&str, &str)> = ours
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[2], words[4])
        })
        .collect();
    assert!(ours.len() >= 2, "{ours:?}");
    theirs.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
}

fn planned(stage: &Stage, command: &Command) {
    if !command.with.ends_with("--swap") {
        return;
    }
    let new = stage.here("/var/lib/postgresql/14/main-restore");
    assert!(Path::new(&new).join("PG_VERSION").exists());
    let told = stage.json(&stage.here(&format!("{} --confirm main --json", command.with)));
    assert_eq!(told["status"], "finished", "{told}");
    // The backup's own end: what came after it is not there.
    assert_eq!(stage.cluster.value(ROWS), "500 400");
    assert!(!Path::new(&new).exists());
    let failed = stage.here("/var/lib/postgresql/14/main.failed");
    assert!(Path::new(&failed).join("PG_VERSION").exists());
}
