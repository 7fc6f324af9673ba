//! A real cluster whose backups and WAL live in a bucket, through days good and bad: what comes
//! back is what was there, or somebody is told why not.

use super::*;
use crate::support::{TestCluster, free_port, wait_for, wait_within};
use lifeboat::engine::postgres::child::{self, Finished};
use serde_json::Value;

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(120);
const MASTER: &str = "the master key of this test";
const ALL: &str =
    "SELECT count(*) || ' ' || coalesce(sum(hashtext(o::text)::bigint), 0) FROM orders AS o";

/// A cluster with the program and its settings beside it, in its user's hands.
struct Town {
    server: Server,
    proxy: Proxy,
    cluster: TestCluster,
}

impl Town {
    fn new(server: Server) -> Self {
        let proxy = Proxy::before(&server);
        let cluster = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let town = Self { server, proxy, cluster };
        // The server's user may not be able to enter the folder that the tests are built in.
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(town.at("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        town.own("master.key", &format!("{MASTER}\n"));
        // Every session is another one: its token says so.
        let keys = format!(
            "printf '{{\"Version\":1,\"AccessKeyId\":\"{ID}\",\"SecretAccessKey\":\"{SECRET}\",\
             \"SessionToken\":\"session-%s\",\"Expiration\":\"2099-01-01T00:00:00Z\"}}' \
             \"$(date +%s%N)-$$\"\n"
        );
        town.own("keys.sh", &keys);
        town.write_config("lifeboat.toml", &town.proxy.address);
        let archive = format!("archive_command = '{} archive-wal %p'", town.program());
        town.cluster.append_conf(&[&archive, "archive_timeout = 0"]);
        town
    }

    fn at(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    fn own(&self, name: &str, text: &str) {
        let path = secret_file(self.cluster.root.path(), name, text);
        child::give(&path, &self.cluster.owner).unwrap();
    }

    fn write_config(&self, name: &str, address: &str) {
        let root = self.cluster.root.path().display();
        let connection = toml::to_string(&self.cluster.connection()).unwrap();
        let text = format!(
            "state_directory = \"{root}/state\"\n\
             [[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"{}\"\nrepositories = [\"far\"]\n\
             [clusters.connection]\n{connection}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n\
             [[repositories]]\nname = \"far\"\n\
             [repositories.store]\nkind = \"s3\"\nbucket = \"backups\"\nprefix = \"pg/{{cluster}}\"\n\
             endpoint = \"http://{address}\"\nregion = \"eu-central-1\"\ntimeout_seconds = 1\n\
             [repositories.store.credentials]\nsource = \"process\"\n\
             command = [\"/bin/sh\", \"{root}/keys.sh\"]\n\
             [repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/master.key\"\n",
            self.cluster.data.display(),
            self.cluster.binaries.directory.display(),
        );
        self.own(name, &text);
    }

    /// Has drills read the bucket with the keys in that file.
    fn reads_with(&self, name: &str, keys: &str) {
        let text = text(&self.at(name));
        let keys = self.at(keys);
        let own = format!(
            "[sandbox.credentials.far]\nsource = \"file\"\npath = \"{}\"\n",
            keys.display()
        );
        self.own(name, &format!("{text}{own}"));
    }

    /// As the server calls it.
    fn program(&self) -> String {
        let root = self.cluster.root.path().display();
        format!("{root}/lifeboat --config {root}/lifeboat.toml")
    }

    fn command(&self, config: &str, arguments: &[&str]) -> Command {
        let mut command = child::command(self.at("lifeboat"), &self.cluster.owner).unwrap();
        command.arg("--config").arg(self.at(config)).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        child::run(self.command("lifeboat.toml", arguments), LIMIT).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert!(done.ok(), "{arguments:?}: {}", done.said());
        serde_json::from_str(&done.stdout).unwrap()
    }

    /// Waits until all WAL up to now is in the archive; the last segment's name.
    fn archive_all(&self) -> String {
        let last = self.cluster.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
        self.cluster.sql("SELECT pg_current_xact_id()");
        self.cluster.sql("SELECT pg_switch_wal()");
        wait_for(&format!("{last} to be archived"), || {
            self.cluster.value("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")
                >= last
        });
        last
    }

    fn verify_backup(&self, data: &Path) {
        self.cluster.run("pg_verifybackup", &["-n", "-q", &data.display().to_string()], &[]);
    }

    /// Starts a restored cluster beside the first; whether it came up.
    fn start(&self, data: &Path, port: &str, log: &Path) -> bool {
        let server = format!(
            "-p {port} -c listen_addresses='' -c archive_mode=off -c unix_socket_directories='{}'",
            self.cluster.socket.display()
        );
        let (data, log) = (data.display().to_string(), log.display().to_string());
        let arguments = ["start", "-s", "-w", "-t", "60", "-D", &data, "-l", &log, "-o", &server];
        self.cluster.try_run("pg_ctl", &arguments).ok()
    }

    fn ask(&self, port: &str, sql: &str) -> String {
        let socket = self.cluster.socket.display().to_string();
        let whom = ["-h", &socket, "-p", port, "-U", "postgres", "-XAtc", sql, "postgres"];
        self.cluster.try_run("psql", &whom).stdout.trim().to_owned()
    }
}

/// The page that `status` shows through a server of that kind, with Object Lock configured.
fn status_with_locks(town: &Town, deed: Option<Deed>) -> Value {
    let proxy = Proxy::before(&town.server);
    if let Some(deed) = deed {
        proxy.outage(deed);
    }
    town.write_config("locked.toml", &proxy.address);
    let text = text(&town.at("locked.toml"));
    let lock = "[repositories.store.object_lock]\nmode = \"governance\"\ndays = 7\n";
    town.own("locked.toml", &format!("{text}{lock}"));
    let done = child::run(town.command("locked.toml", &["status", "--json"]), LIMIT).unwrap();
    let pages: Value = serde_json::from_str(&done.stdout).unwrap();
    pages[0].clone()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_cluster_comes_back_from_a_bucket_on_a_bad_day() {
    let Some(server) = Server::rclone(&[]) else { return };
    let begun = Instant::now();
    let town = Town::new(server);
    let cluster = &town.cluster;
    town.json(&["create-repository"]);
    assert_eq!(town.json(&["list-backups"])["backups"], serde_json::json!([]));
    // From here on a request in four has bad luck.
    town.proxy.storm(Some(1));
    cluster.start_server();
    cluster.sql(
        "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS code FROM generate_series(1, 20000) g;
         CREATE TABLE ballast AS SELECT string_agg(md5(g::text || h::text), '') AS text
         FROM generate_series(1, 200) g, generate_series(1, 1700) h GROUP BY g",
    );
    let set = town.json(&["backup"])["backup"]["set"].as_str().unwrap().to_owned();
    cluster.sql("INSERT INTO orders SELECT g, 'later' FROM generate_series(30001, 31000) g");
    let expected = cluster.value(ALL);
    let target = cluster.value("SELECT pg_current_wal_insert_lsn()");
    let last = cluster.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    cluster.sql("DELETE FROM orders");
    town.archive_all();
    cluster.stop_server("fast");
    let requests = town.proxy.seen().len();
    println!("{:?}: backup and archive through a storm, {requests} requests", begun.elapsed());

    // Meanwhile, a server that throttles without end: the server is told to stop, not that the
    // archive ends here.
    let busy = Proxy::before(&town.server);
    busy.outage(Deed::Say(503, "SlowDown"));
    town.write_config("busy.toml", &busy.address);
    let nowhere = town.at("nowhere").display().to_string();
    let mut throttled = town.command("busy.toml", &["restore-wal", &last, &nowhere]);
    let throttled = throttled.stderr(std::process::Stdio::piped()).spawn().unwrap();

    let restored = town.at("restored");
    let directory = restored.display().to_string();
    let point = ["restore", "--lsn", &target, "--target-directory", &directory];
    // A listing from before the backup: nothing is found, and that is said.
    town.proxy.stale(Some("prefix=pg%2Fshop%2Fset-"));
    let refused = town.run(&point);
    assert_eq!(refused.status.code(), Some(5), "{}", refused.said());
    assert!(refused.stderr.contains("no usable base backup"), "{}", refused.said());
    assert!(!restored.exists());
    town.proxy.stale(None);
    let done = town.json(&point);
    assert_eq!(done["set"], set.as_str());
    town.verify_backup(&restored);
    println!("{:?}: restored through a storm", begun.elapsed());

    // A listing from before the last segment was archived: the server must not come up as if all
    // were there.
    let (port, log) = (free_port().to_string(), town.at("restored.log"));
    town.proxy.stale(Some(&last));
    let up = town.start(&restored, &port, &log);
    // A request that the storm swallows is waited for and asked again, more than once.
    wait_within(2 * LIMIT, "the server to give up", || !restored.join("postmaster.pid").exists());
    let said = text(&log);
    assert!(!up || said.contains("FATAL"), "{said}");
    assert!(said.contains("recovery ended before configured recovery target"), "{said}");
    assert!(!said.contains("selected new timeline ID"), "{said}");
    town.proxy.stale(None);
    // The same directory, once the listing is true again.
    assert!(town.start(&restored, &port, &log), "{}", text(&log));
    wait_for("the target", || {
        town.ask(&port, "SELECT pg_get_wal_replay_pause_state()") == "paused"
    });
    assert_eq!(town.ask(&port, ALL), expected);
    cluster.run("pg_ctl", &["stop", "-s", "-w", "-D", &directory, "-m", "immediate"], &[]);
    println!("{:?}: recovered to the target through a storm", begun.elapsed());

    // Sessions that end after a few requests, in the middle of a restore.
    town.proxy.storm(None);
    town.proxy.sessions_of(6);
    let before = town.proxy.sessions();
    let again = town.at("again");
    town.json(&["restore", "--set", &set, "--target-directory", &again.display().to_string()]);
    town.verify_backup(&again);
    let sessions = town.proxy.sessions() - before;
    assert!(sessions >= 2, "{sessions} sessions");

    town.proxy.sessions_of(usize::MAX);
    let page = status_with_locks(&town, None);
    assert_eq!(page["newest_backup_hold"], Value::Null, "{page}");
    assert!(page["problems"].to_string().contains("shows no lock"), "{page}");
    let kept = "x-amz-object-lock-mode: GOVERNANCE\r\n\
                x-amz-object-lock-retain-until-date: 2099-01-02T03:04:05Z\r\n";
    let page = status_with_locks(&town, Some(Deed::Add(kept)));
    assert_eq!(page["newest_backup_hold"]["mode"], "GOVERNANCE", "{page}");
    assert!(!page["problems"].to_string().contains("lock"), "{page}");

    let throttled = throttled.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&throttled.stderr).into_owned();
    assert_eq!(throttled.status.code(), Some(200), "{said}");
    assert!(said.contains("SlowDown") && said.contains("tried 8 times"), "{said}");
    println!("{:?}: {sessions} sessions in one restore", begun.elapsed());
    opens_without_lifeboat(&town, &set, &last);
}

/// A drill on a copy needs no right but to read: the server takes no write, and hears of none.
#[test]
#[ignore = "heavy: see make test-s3"]
fn a_drill_on_a_copy_only_reads_its_bucket() {
    let (Some(server), Some(closed)) = (Server::rclone(&[]), Server::rclone(&["--read-only"]))
    else {
        return;
    };
    let town = Town::new(server);
    town.json(&["create-repository"]);
    town.cluster.start_server();
    town.cluster.sql("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 999) AS n");
    town.json(&["backup"]);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(town.server.folder.path().join("backups/pg"))
        .arg(closed.folder.path().join("backups"))
        .status();
    assert!(copied.unwrap().success());
    let proxy = Proxy::before(&closed);
    town.write_config("reading.toml", &proxy.address);
    let refused = child::run(town.command("reading.toml", &["backup"]), LIMIT).unwrap();
    assert!(!refused.ok(), "the bucket takes a backup: {}", refused.said());

    let before = proxy.seen().len();
    let drill =
        ["drill", "table-loss", "--auto", "--json", "--size", "16", "--from-backup", "shop"];
    let done = child::run(town.command("reading.toml", &drill), 3 * LIMIT).unwrap();
    assert!(done.ok(), "{}", done.said());
    let outcome: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
    assert_eq!(outcome["copy"]["rows"], 999, "{outcome:#}");
    let asked = proxy.seen().split_off(before);
    assert!(asked.len() > 3, "{asked:?}");
    let reads = |line: &String| line.starts_with("GET ") || line.starts_with("HEAD ");
    assert!(asked.iter().all(reads), "{asked:#?}");
    let words = "the repository's own; only the program keeps it from writing";
    assert_eq!(rail(&outcome), (true, String::from(words)));

    // Credentials of its own are asked what they may, and the bucket refuses both questions.
    town.own("reader.keys", &keys_file(ID, SECRET));
    town.write_config("reader.toml", &proxy.address);
    town.reads_with("reader.toml", "reader.keys");
    for _ in 0..2 {
        proxy.next("?uploads", Deed::Say(403, "AccessDenied"));
    }
    let before = proxy.seen().len();
    let done = child::run(town.command("reader.toml", &drill), 3 * LIMIT).unwrap();
    assert!(done.ok(), "{}", done.said());
    let outcome: Value = serde_json::from_str(&done.stdout).unwrap();
    let words = "read-only credentials of their own (proven: a write was refused)";
    assert_eq!(rail(&outcome), (true, String::from(words)));
    let asked = proxy.seen().split_off(before);
    let (questions, rest): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|line| line.contains("?uploads"));
    assert_eq!(questions.len(), 2, "{questions:#?}");
    assert!(rest.iter().all(reads), "{rest:#?}");

    // Keys that are not there, or not right: told, and nothing is made.
    let boxes = town.at("boxes");
    town.cluster.make_folder(&boxes, 0o700);
    for (keys, words) in
        [(None, "gone.keys"), (Some(keys_file(ID, "a-wrong-secret")), "SignatureDoesNotMatch")]
    {
        match keys {
            Some(keys) => town.own("gone.keys", &keys),
            None => drop(fs::remove_file(town.at("gone.keys"))),
        }
        town.write_config("wrong.toml", &closed.address);
        town.reads_with("wrong.toml", "gone.keys");
        let mut command = town.command("wrong.toml", &drill);
        command.env("TMPDIR", &boxes);
        let done = child::run(command, LIMIT).unwrap();
        assert_eq!(done.status.code(), Some(2), "{}", done.said());
        for word in [words, "The drill's own credentials for \"far\"", "no drill was begun"] {
            assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
        }
        assert!(!done.stderr.contains("a-wrong-secret"), "{}", done.stderr);
        assert_eq!(fs::read_dir(&boxes).unwrap().count(), 0, "something was made");
    }
}

fn keys_file(id: &str, secret: &str) -> String {
    format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")
}

/// Whether the rail of the repository holds, and what is said of it.
fn rail(outcome: &Value) -> (bool, String) {
    let rails = outcome["copy"]["rails"].as_array().unwrap();
    let of_it = |one: &&Value| one["rail"].as_str().unwrap().starts_with("\"far\" is opened");
    let found = rails.iter().find(of_it).unwrap_or_else(|| panic!("{rails:#?}"));
    (found["enforced"].as_bool().unwrap(), found["detail"].as_str().unwrap().to_owned())
}

/// A bucket that takes a write with the drill's own credentials: the drill is held, the rail is told
/// as open where it begins and where it ends, and nothing stays of the question.
#[test]
#[ignore = "heavy: see make test-s3"]
fn a_drill_whose_own_credentials_can_write_says_so() {
    let more = ["--auth-key", "DRILLKEY,a-secret-of-drills"];
    let Some(server) = Server::rclone(&more) else { return };
    let town = Town::new(server);
    town.json(&["create-repository"]);
    town.cluster.start_server();
    town.cluster.sql("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 999) AS n");
    town.json(&["backup"]);
    town.own("drill.keys", &keys_file("DRILLKEY", "a-secret-of-drills"));
    town.write_config("drill.toml", &town.server.address);
    town.reads_with("drill.toml", "drill.keys");
    let drill =
        ["drill", "table-loss", "--auto", "--json", "--size", "16", "--from-backup", "shop"];
    let done = child::run(town.command("drill.toml", &drill), 3 * LIMIT).unwrap();
    assert!(done.ok(), "{}", done.said());
    let outcome: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
    let (enforced, detail) = rail(&outcome);
    assert!(!enforced && detail.contains("that may write: an upload of"), "{detail}");
    let told = "NOT ENFORCED: \"far\" is opened for reading alone";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert!(!done.said().contains("a-secret-of-drills"), "{}", done.said());
    let folder = town.server.folder.path().join("backups/pg/shop");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert!(names.len() > 2 && names.iter().all(|name| !name.contains("drill")), "{names:?}");
    let store = store_at(&town.server, &town.server.address);
    match store.unfinished(&["wal-archive/"]) {
        Ok(left) => assert_eq!(left, []),
        // Of a bucket without any it says so.
        Err(error) => assert!(error.what.contains("NoSuchUpload"), "{error}"),
    }
}

/// On the second implementation, with good luck alone.
#[test]
#[ignore = "heavy: s3s-fs is built first, see make test-s3"]
fn a_cluster_comes_back_from_s3s_fs_too() {
    let town = Town::new(Server::s3s_fs().expect("s3s-fs is needed"));
    let cluster = &town.cluster;
    town.json(&["create-repository"]);
    cluster.start_server();
    cluster.sql("CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 20000) g");
    let set = town.json(&["backup"])["backup"]["set"].as_str().unwrap().to_owned();
    let last = town.archive_all();
    assert_eq!(town.json(&["verify", "--backup-set-id", &set])["verdict"], "VERIFIED");
    let restored = town.at("restored");
    town.json(&["restore", "--set", &set, "--target-directory", &restored.display().to_string()]);
    town.verify_backup(&restored);
    opens_without_lifeboat(&town, &set, &last);
}

/// The bucket as Amazon's own program fetches it, opened by `openssl` and `tar` alone.
fn opens_without_lifeboat(town: &Town, set: &str, segment: &str) {
    let Some(aws) = program("aws", "LIFEBOAT_AWS") else {
        return not_run("its last part needs aws, which is not here; scripts/ensure-s3.sh gets it");
    };
    let place = town.at("fetched");
    town.cluster.make_folder(&place, 0o700);
    let mut fetch = Command::new(aws);
    fetch.args(["--endpoint-url", &format!("http://{}", town.server.address)]);
    fetch.args(["s3", "cp", "--recursive", "--only-show-errors", "s3://backups/pg/shop", "."]);
    fetch.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET);
    fetch.env("AWS_DEFAULT_REGION", "eu-central-1").env("AWS_EC2_METADATA_DISABLED", "true");
    let fetched = fetch.current_dir(&place).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let set = set.trim_start_matches("set-");
    let script = format!(
        "set -eu; umask 077; mkdir opened data
         for object in keys/*.json; do
           sed -n 's/.*\"wrapped\": *\"\\([^\"]*\\)\".*/\\1/p' \"$object\" |
             openssl enc -d -aes-256-cbc -pbkdf2 -a -A -pass file:{key} \
               > \"opened/$(basename \"$object\" .json).key\"
         done
         id=$(grep -o '\"key_id\": *\"[^\"]*\"' set-{set}.json | head -n 1 | cut -d '\"' -f 4)
         openssl enc -d -aes-256-cbc -pbkdf2 -pass file:opened/$id.key -in base-{set}.tar.gz.enc |
           tar xz -C data
         object=$(ls wal-archive/*/{segment}.????????T*.gz.enc); id=${{object##*/{segment}.}}; id=${{id%%.*}}
         openssl enc -d -aes-256-cbc -pbkdf2 -pass file:opened/$id.key -in \"$object\" |
           gunzip > {segment}",
        key = town.at("master.key").display(),
    );
    let opened = Command::new("sh").args(["-c", &script]).current_dir(&place).output().unwrap();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    for path in [place.clone(), place.join("data")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut own = Command::new("chown");
    own.args(["-R", &town.cluster.owner.uid.to_string(), "."]).current_dir(&place);
    assert!(own.status().unwrap().success());
    town.verify_backup(&place.join("data"));
    let archived = fs::read(place.join(segment)).unwrap();
    assert_eq!(archived.len(), 16 << 20);
}
