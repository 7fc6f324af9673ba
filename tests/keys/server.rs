//! Keys with a real server that archives by them: everything is rotated between two backups, and
//! both come back; and a wrong master key is told from damage by every command that opens a set.

use crate::throwaway::{Cluster, text};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A cluster that archives through the program, as its own user, into an encrypted repository.
struct Town {
    cluster: Cluster,
}

impl Town {
    fn new() -> Self {
        let cluster = Cluster::start(1);
        let town = Self { cluster };
        let (root, data) = (town.root().display().to_string(), text(&town.cluster.data));
        // The server's user may not be able to enter the folder that the tests are built in.
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(town.at("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        let make = "umask 077; mkdir keys; echo 'the first master key of this test' > keys/old.key";
        town.cluster.run("/bin/sh", &["-c", &format!("cd {root}; {make}")]);
        let config = format!(
            "state_directory = \"{root}/state\"\n[[clusters]]\nname = \"test\"\n\
             tier = \"standard\"\nenvironment = \"drill\"\ndata_directory = \"{data}\"\n\
             repositories = [\"near\"]\n[clusters.connection]\nhost = \"{root}\"\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{root}/near\"\n[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/keys/old.key\"\n",
            town.cluster.bin.display()
        );
        fs::write(town.at("lifeboat.toml"), config).unwrap();
        town.served(&["create-repository"]);
        let command = format!("{root}/lifeboat --config {root}/lifeboat.toml archive-wal %p");
        town.cluster.configure(&town.cluster.data, &format!("archive_command = '{command}'"));
        town.cluster.pg_ctl(&town.cluster.data, &["reload"]);
        town.cluster.sql("CREATE TABLE rows (n int)");
        town
    }

    fn root(&self) -> &Path {
        self.cluster.root.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The program as the server's user; the JSON that it printed.
    #[track_caller]
    fn served(&self, words: &[&str]) -> Value {
        let config = text(&self.at("lifeboat.toml"));
        let words = [&["--config", &config], words, &["--json"]].concat();
        let output = self.cluster.run(&text(&self.at("lifeboat")), &words);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The program as the one who runs the test, who may be root.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.at("lifeboat.toml")).args(words);
        command.current_dir(self.root()).output().unwrap()
    }

    #[track_caller]
    fn well(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        let (said, told) = (&output.stderr, &output.stdout);
        let said = [said.as_slice(), told].map(String::from_utf8_lossy).concat();
        assert!(output.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// More rows, and all WAL so far in the archive.
    fn write(&self) {
        self.cluster.sql("INSERT INTO rows SELECT generate_series(1, 2000)");
        let last = self.cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        self.cluster.sql("SELECT pg_switch_wal()");
        self.cluster.wait_for(&format!("{last} in the archive"), || {
            self.cluster.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= last
        });
    }

    fn back_up(&self) -> String {
        let taken = self.served(&["backup"]);
        taken["backup"]["set"].as_str().unwrap().to_owned()
    }

    fn newest_key(&self) -> String {
        let listed = self.well(&["keys", "list"]);
        let keys = listed["repositories"][0]["keys"].as_array().unwrap();
        keys.last().unwrap()["id"].as_str().unwrap().to_owned()
    }

    /// The lines of `keys check`, all of them VERIFIED.
    #[track_caller]
    fn checked(&self) -> Vec<(String, String)> {
        let checked = self.served(&["keys", "check"]);
        assert_eq!(checked["verdict"], "VERIFIED", "{checked}");
        let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
        let lines = checked["checks"].as_array().unwrap().iter();
        lines.map(|line| (word(line, "subject"), word(line, "detail"))).collect()
    }

    /// Restores a set and proves it with PostgreSQL's own program; where.
    fn restored(&self, set: &str) -> PathBuf {
        let to = self.at(&format!("restored-{set}"));
        self.well(&["restore", "--set", set, "--target-directory", &text(&to)]);
        self.cluster.run("pg_verifybackup", &["-n", "-q", &text(&to)]);
        to
    }

    /// The rows that a restored cluster has at the end of the archive.
    fn rows_of(&self, data: &Path, expected: &str) {
        let log = text(&self.at("restored.log"));
        let settings = "-p 5433 -c archive_mode=off -c shared_buffers=16MB";
        let started = self.cluster.try_ctl(data, &["-o", settings, "start"], &log);
        assert!(started.status.success(), "{}", fs::read_to_string(&log).unwrap_or_default());
        let _stopped = Stopped { town: self, data };
        let root = text(self.root());
        let ask = "SELECT count(*) || ' ' || sum(n) FROM rows";
        let words = ["-XAt", "-h", &root, "-p", "5433", "-U", "postgres", "-c", ask, "postgres"];
        let rows = || {
            let output = self.cluster.run("psql", &words);
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        self.cluster.wait_for(&format!("all rows in {}", data.display()), || rows() == expected);
    }
}

/// A restored server that ends with the test, however that ends.
struct Stopped<'a> {
    town: &'a Town,
    data: &'a Path,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let log = text(&self.town.at("restored.log"));
        let _ = self.town.cluster.try_ctl(self.data, &["stop", "-m", "immediate"], &log);
    }
}

#[test]
fn all_keys_are_replaced_between_backups_and_everything_comes_back() {
    let town = Town::new();
    let first = town.back_up();
    let rotated = town.served(&["keys", "rotate"])["key"].as_str().unwrap().to_owned();
    assert_eq!(town.newest_key(), rotated);
    town.write();
    let second = town.back_up();
    let lines = town.checked();
    for set in [&first, &second] {
        let proven = |(subject, detail): &(String, String)| {
            subject == set && detail.contains("descriptor, manifest, first range")
        };
        assert!(lines.iter().any(proven), "{lines:?}");
    }

    let old_key = fs::read(town.at("keys/old.key")).unwrap();
    let begun = town.well(&[
        "keys",
        "rotate-master",
        "--new-key-file",
        "keys/new.key",
        "--make",
        "--apply",
    ]);
    assert_eq!(begun["rewrapped"][0]["written"], begun["rewrapped"][0]["keys"]);
    let [old, new] = ["old", "new"].map(|name| town.at(&format!("keys/{name}.key")));
    let [old, new] = [old, new].map(|path| fs::metadata(path).unwrap());
    assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()), "the server's user can read it");
    assert_eq!(new.permissions().mode() & 0o777, 0o600);
    // The server archives on, now with both.
    town.write();
    town.checked();
    let ended = town.well(&["keys", "rotate-master", "--retire", "--apply"]);
    assert!(ended["retired"][0]["removed"].as_u64().unwrap() > 0, "{ended}");
    fs::remove_file(town.at("keys/old.key")).unwrap();
    town.write();
    let lines = town.checked();
    assert!(lines.iter().any(|(subject, _)| *subject == first), "{lines:?}");

    let expected = town.cluster.sql("SELECT count(*) || ' ' || sum(n) FROM rows");
    for set in [&first, &second] {
        town.rows_of(&town.restored(set), &expected);
    }
    told_apart(&town, [&first, &second], &old_key);
}

/// What each command that opens sets says of the keys as they are now, and that it fails for it.
#[track_caller]
fn all_say(town: &Town, set: &str, newest: bool, says: &str, never: &str) {
    let nowhere = text(&town.at("nowhere"));
    let commands: [(i32, &[&str]); 4] = [
        (4, &["list-backups"]),
        (4, if newest { &["verify"] } else { &["verify", "--full", "--backup-set-id", set] }),
        (4, &["restore", "--set", set, "--target-directory", &nowhere]),
        (12, &["status"]),
    ];
    for (code, words) in commands {
        let output = town.run(words);
        let told = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
        // Pages break their lines.
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
        assert!(told.contains(says), "{words:?} does not say \"{says}\": {told}");
        assert!(!told.contains(never), "{words:?} says \"{never}\": {told}");
    }
    assert!(!Path::new(&nowhere).exists());
}

/// `old_key` opens nothing any more.
fn told_apart(town: &Town, [first, second]: [&str; 2], old_key: &[u8]) {
    const OTHER: &str = "holds another key";
    const DAMAGED: &str = "is damaged";
    let key = town.at("keys/new.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, old_key).unwrap();
    all_say(town, second, true, OTHER, DAMAGED);
    fs::write(&key, &right).unwrap();

    let folder = town.at("near/keys");
    let descriptor = fs::read_to_string(town.at(&format!("near/{first}.json"))).unwrap();
    let descriptor: Value = serde_json::from_str(&descriptor).unwrap();
    let of_first = descriptor["key_id"].as_str().unwrap().to_owned();
    let object_of = |id: &str| {
        let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found = found.filter(|path| {
            path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{id}."))
        });
        let one = found.next().unwrap();
        assert_eq!(found.next(), None, "one object is left of {id}");
        one
    };
    // One data key that another master key has wrapped: the sets beside it open.
    let object = object_of(&of_first);
    let whole = fs::read(&object).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("key"), "a master key of somebody else\n").unwrap();
    fs::set_permissions(elsewhere.path().join("key"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&object, wrapped_by_another(&elsewhere.path().join("key"), &of_first)).unwrap();
    all_say(town, first, false, OTHER, DAMAGED);
    let listed = town.run(&["list-backups"]);
    let told = String::from_utf8(listed.stdout).unwrap();
    assert!(told.contains(second) && told.contains(&format!("{first} cannot be opened")), "{told}");
    town.well(&["verify", "--backup-set-id", second]);

    // The same one, damaged.
    let mut bytes = whole.clone();
    let at = String::from_utf8(whole.clone()).unwrap().find("\"wrapped\"").unwrap() + 20;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    fs::write(&object, bytes).unwrap();
    all_say(town, first, false, DAMAGED, OTHER);
    fs::write(&object, &whole).unwrap();
    town.checked();
}

/// A key object of that id under the master key in `file`.
fn wrapped_by_another(file: &Path, id: &str) -> Vec<u8> {
    use lifeboat::engine::crypto::{MasterKey, MasterKeySource, wrap};
    let master = MasterKey::load(&MasterKeySource::File(file.to_owned())).unwrap();
    let salt = [9; lifeboat::engine::crypto::envelope::SALT_LEN];
    wrap::wrap(&master, &salt, id, jiff::Timestamp::now(), "ab".repeat(32).as_bytes()).unwrap()
}
