//! GameDay drills on a copy of a cluster's backup, by the real program and watched from outside:
//! the source is not changed by a byte, no packet finds a way out, nothing of the copy acts by
//! itself, what is to be masked is, and nothing stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod support;

use lifeboat::engine::drill::inject;
use lifeboat::engine::drill::place;
use lifeboat::engine::drill::processes::pids_of;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{TestCluster, wait_for};

/// A cluster in production: data, a repository, and much that would act if it were let.
struct Town {
    cluster: TestCluster,
    /// Where drills happen and are recorded.
    home: tempfile::TempDir,
    /// What the copy's subscription would connect to.
    publisher: TcpListener,
}

impl Town {
    fn new() -> Self {
        let cluster = TestCluster::init(&[
            "wal_level = logical",
            "archive_mode = on",
            "log_connections = on",
            "autovacuum = off",
            "checkpoint_timeout = 1h",
            "max_logical_replication_workers = 0",
            "max_connections = 70",
        ]);
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let town = Self { cluster, home, publisher: TcpListener::bind("127.0.0.1:0").unwrap() };
        town.publisher.set_nonblocking(true).unwrap();
        for folder in [town.home.path().to_path_buf(), town.boxes(), town.state()] {
            if !folder.exists() {
                fs::create_dir(&folder).unwrap();
            }
            fs::set_permissions(&folder, PermissionsExt::from_mode(0o711)).unwrap();
        }
        let root = town.root();
        town.own(&root.join("master.key"), "the master key of this test\n");
        town.own(&root.join("lifeboat.toml"), &town.settings("master.key", &town.state(), MASKING));
        // The server's user may not be able to enter the folder that the tests are built in.
        let program = root.join("lifeboat");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_lifeboat")).arg(&program).status();
        assert!(copied.unwrap().success());
        let call = format!("{} --config {}/lifeboat.toml", program.display(), root.display());
        town.cluster.append_conf(&[&format!("archive_command = '{call} archive-wal %p'")]);
        town.as_server(&["create-repository", "--cluster", "bank"]);
        town.cluster.start_server();
        town.fill();
        town.as_server(&["backup", "--cluster", "bank"]);
        town.archived();
        town
    }

    /// Waits until production has nothing to archive: from then on only others could write there.
    fn archived(&self) {
        let folder = self.cluster.data.join("pg_wal/archive_status");
        wait_for("everything to be archived", || {
            let mut entries = fs::read_dir(&folder).unwrap().flatten();
            !entries.any(|entry| entry.path().extension().is_some_and(|word| word == "ready"))
        });
    }

    fn root(&self) -> PathBuf {
        self.cluster.root.path().to_owned()
    }

    fn repository(&self) -> PathBuf {
        self.root().join("repository")
    }

    /// Where its tablespaces are, once it has any.
    fn spaces(&self) -> PathBuf {
        self.root().join("spaces")
    }

    fn make_tablespace(&self, name: &str) {
        let folder = self.spaces().join(name);
        for path in [self.spaces(), folder.clone()] {
            if !path.exists() {
                fs::create_dir(&path).unwrap();
                chown(&path, Some(self.cluster.owner.uid), Some(self.cluster.owner.gid)).unwrap();
            }
        }
        self.cluster.sql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display()));
    }

    fn boxes(&self) -> PathBuf {
        self.home.path().join("boxes")
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    fn own(&self, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        chown(path, Some(self.cluster.owner.uid), Some(self.cluster.owner.gid)).unwrap();
    }

    fn settings(&self, key: &str, state: &Path, masking: &str) -> String {
        let (root, data) = (self.root(), self.cluster.data.display());
        let (root, socket) = (root.display(), self.cluster.socket.display());
        format!(
            "state_directory = \"{}\"\n[sandbox]\ndirectory = \"{}\"\n\
             [[clusters]]\nname = \"bank\"\ntier = \"critical\"\nenvironment = \"production\"\n\
             data_directory = \"{data}\"\nrepositories = [\"near\"]\n\
             [clusters.connection]\nhost = \"{socket}\"\nport = {}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n{masking}\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"{root}/repository\"\n[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/{key}\"\n",
            state.display(),
            self.boxes().display(),
            self.cluster.port,
            self.cluster.binaries.directory.display(),
        )
    }

    /// The program as the server's user, which has to succeed.
    fn as_server(&self, arguments: &[&str]) {
        let root = self.root();
        let mut command = Command::new(root.join("lifeboat"));
        command.arg("--config").arg(root.join("lifeboat.toml")).args(arguments).arg("--json");
        command.current_dir("/");
        if nix::unistd::geteuid().is_root() {
            command.uid(self.cluster.owner.uid).gid(self.cluster.owner.gid);
        }
        let done = command.output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {error}\n{}", self.cluster.log_text());
    }

    fn fill(&self) {
        let port = self.publisher.local_addr().unwrap().port();
        for sql in [
            "CREATE DATABASE bank",
            "CREATE DATABASE shop",
            "CREATE ROLE shop_app LOGIN",
            "CREATE ROLE clerk LOGIN PASSWORD 'of the clerk'",
        ] {
            self.cluster.sql(sql);
        }
        self.cluster.sql_in("shop", "CREATE TABLE till AS SELECT generate_series(1, 7) AS n");
        let bank = format!(
            "CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, email varchar(40) UNIQUE,
                 phone text, created_at timestamptz NOT NULL);
             INSERT INTO people SELECT n, 'Person ' || n, 'person' || n || '@example.org',
                 CASE WHEN n % 2 = 0 THEN '0123456' || n END, now() - interval '3 days'
                 FROM generate_series(1, 500) AS n;
             CREATE TABLE accounts (id int PRIMARY KEY, person int REFERENCES people,
                 amount numeric NOT NULL);
             INSERT INTO accounts SELECT n, 1 + n % 500, n FROM generate_series(1, 2000) AS n;
             CREATE UNLOGGED TABLE passing AS SELECT generate_series(1, 9) AS n;
             CREATE MATERIALIZED VIEW known AS SELECT name, email FROM people;
             ANALYZE;
             CREATE SCHEMA cron;
             CREATE TABLE cron.job (jobid bigint PRIMARY KEY, command text, active boolean);
             INSERT INTO cron.job VALUES (1, 'DELETE FROM public.people', true);
             CREATE FOREIGN DATA WRAPPER far; CREATE SERVER partner FOREIGN DATA WRAPPER far;
             CREATE USER MAPPING FOR clerk SERVER partner OPTIONS (password 'of the partner');
             ALTER DATABASE bank SET statement_timeout = '1ms';
             CREATE SUBSCRIPTION rates
                 CONNECTION 'host=127.0.0.1 port={port} dbname=rates password=secret'
                 PUBLICATION rates WITH (connect = false, slot_name = 'rates', enabled = false)"
        );
        for sql in bank.split(";\n") {
            self.cluster.sql_in("bank", sql);
        }
        self.cluster.sql_in("bank", "ALTER SUBSCRIPTION rates ENABLE");
        for sql in self.callers() {
            self.cluster.sql_in("bank", &sql);
        }
        // Stands in the files alone: a server that is started with them would not come up.
        let auto = self.cluster.data.join("postgresql.auto.conf");
        let text = fs::read_to_string(&auto).unwrap();
        self.own(&auto, &format!("{text}shared_preload_libraries = 'a_scheduler'\n"));
        self.cluster.sql("CHECKPOINT");
    }

    /// Triggers of each kind, a rule, an event trigger and a view that would call out: by a line
    /// in a file that the server's user can write.
    fn callers(&self) -> Vec<String> {
        let calls = self.calls();
        self.own(&calls, "");
        let call = format!("COPY (SELECT $d$called$d$) TO PROGRAM ''cat >> {}''", calls.display());
        let body = |before: &str| format!("AS 'BEGIN {before} EXECUTE $c${call}$c$;");
        let mut all = vec![
            format!(
                "CREATE FUNCTION calls() RETURNS trigger LANGUAGE plpgsql {} RETURN NULL; END'",
                body("")
            ),
            format!(
                "CREATE FUNCTION calls_event() RETURNS event_trigger LANGUAGE plpgsql {} END'",
                body("")
            ),
            format!(
                "CREATE FUNCTION calls_out() RETURNS bool LANGUAGE plpgsql {} RETURN true; END'",
                body("IF current_setting(''port'') = ''{port}'' THEN RETURN true; END IF;")
            )
            .replace("{port}", &self.cluster.port.to_string()),
            String::from("CREATE MATERIALIZED VIEW calling AS SELECT calls_out(), email FROM people"),
            String::from("CREATE TABLE letters (person int REFERENCES people ON DELETE CASCADE)"),
            String::from("INSERT INTO letters VALUES (499), (500)"),
            String::from(
                "ALTER TABLE accounts DROP CONSTRAINT accounts_person_fkey, ADD FOREIGN KEY (person)
                     REFERENCES people ON DELETE CASCADE",
            ),
            String::from("CREATE RULE calls AS ON DELETE TO letters DO ALSO SELECT calls_out()"),
        ];
        for (table, how) in [("people", ""), ("people", "ALWAYS"), ("letters", "REPLICA")] {
            all.push(format!(
                "CREATE TRIGGER calls{how} AFTER DELETE OR UPDATE ON {table}
                     FOR EACH ROW EXECUTE FUNCTION calls()"
            ));
            if !how.is_empty() {
                all.push(format!("ALTER TABLE {table} ENABLE {how} TRIGGER calls{how}"));
            }
        }
        for sql in [
            "CREATE EVENT TRIGGER calls ON ddl_command_start EXECUTE FUNCTION calls_event()",
            "ALTER EVENT TRIGGER calls ENABLE ALWAYS",
        ] {
            all.push(sql.to_owned());
        }
        all
    }

    fn calls(&self) -> PathBuf {
        self.root().join("calls")
    }

    /// Somebody of the bank's wants to be forgotten.
    fn forget(&self, person: u32) {
        let line = format!(
            "{{\"format\":\"lifeboat-erasure-list/1\"}}\n\
             {{\"database\":\"bank\",\"table\":\"public.people\",\"column\":\"id\",\
             \"value\":\"{person}\"}}\n"
        );
        let list = self.root().join("erased.jsonl");
        self.own(&list, &line);
        let config = self.root().join("lifeboat.toml");
        let text = fs::read_to_string(&config).unwrap();
        let erasure = format!("[clusters.erasure]\nlist = \"{}\"\n", list.display());
        self.own(
            &config,
            &text.replace("[clusters.connection]", &format!("{erasure}[clusters.connection]")),
        );
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.root().join("lifeboat.toml")).arg("drill");
        command.args(arguments);
        command
    }

    /// What the program says to standard output, however it ends.
    fn says(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.root().join("lifeboat"));
        command.arg("--config").arg(self.root().join("lifeboat.toml")).current_dir("/");
        String::from_utf8(command.args(arguments).output().unwrap().stdout).unwrap()
    }

    fn drill(&self, scenario: &str, more: &[&str]) -> Output {
        let all = [scenario, "--auto", "--json", "--size", "16", "--from-backup", "bank"];
        let command = self.command(&[&all[..], more].concat());
        watched(command, &self.boxes())
    }

    /// A drill that has to be verified, with everything outside as it was.
    #[track_caller]
    fn held(&self, scenario: &str, more: &[&str]) -> Value {
        let before = self.outside();
        let done = self.drill(scenario, more);
        let outcome = outcome(&done);
        assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
        same(&before, &self.outside());
        outcome
    }

    /// Everything that a drill must leave alone: the repository byte by byte with its times, the
    /// server's files, and who connected to it and to the publisher.
    fn outside(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        prints(&self.repository(), true, &mut all);
        prints(&self.cluster.data.join("base"), false, &mut all);
        if self.spaces().is_dir() {
            prints(&self.spaces(), false, &mut all);
        }
        let log = self.cluster.log_text();
        let connected = log.matches("connection received").count();
        all.insert(String::from("connections"), connected.to_string());
        let heard = self.publisher.accept().is_ok();
        all.insert(String::from("publisher"), heard.to_string());
        all
    }

    #[track_caller]
    fn is_clear(&self) {
        assert_eq!(fs::read_dir(self.boxes()).unwrap().count(), 0, "a directory is left");
        assert_eq!(pids_of(self.home.path()), Vec::<i32>::new(), "a process is left");
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        assert!(!sockets.contains(self.home.path().to_str().unwrap()), "a socket is left");
    }
}

const MASKING: &str = "[[clusters.masking]]\ntable = \"public.people\"\ncolumn = \"email\"\n\
    rule = \"hash\"\n[[clusters.masking]]\ntable = \"*\"\ncolumn = \"phone\"\nrule = \"hide\"\n\
    [[clusters.masking]]\ntable = \"public.people\"\ncolumn = \"name\"\n\
    rule = { keep_first = 1 }\n";

/// What stands in the networks of a sandbox's servers while a drill runs.
#[derive(Debug, Default)]
struct Seen {
    servers: usize,
    interfaces: BTreeSet<String>,
    sockets: BTreeSet<String>,
}

/// Runs it and looks all the while at every server of the sandboxes in `boxes`.
fn watched(mut command: Command, boxes: &Path) -> Output {
    let ended = AtomicBool::new(false);
    let (done, seen) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = Seen::default();
            while !ended.load(Ordering::SeqCst) {
                for entry in fs::read_dir(boxes).unwrap().flatten() {
                    pids_of(&entry.path()).into_iter().for_each(|pid| look(pid, &mut seen));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        let done = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        ended.store(true, Ordering::SeqCst);
        (done, watch.join().unwrap())
    });
    let told: Option<Value> = serde_json::from_slice(&done.stdout).ok();
    if let Some(rails) = told.as_ref().and_then(|told| told["copy"]["rails"].as_array()) {
        let network = &rails[1];
        if network["enforced"] == true {
            assert_eq!(rails[2]["enforced"], true, "{rails:#?}");
            assert!(seen.servers > 0, "nobody was seen: {seen:?}");
            assert_eq!(seen.interfaces, BTreeSet::from([String::from("lo")]), "{seen:?}");
            assert!(seen.sockets.is_empty(), "{seen:?}");
        } else {
            assert!(!network["detail"].as_str().unwrap().is_empty());
            eprintln!("packets WERE NOT WATCHED: {}", network["detail"]);
        }
    }
    done
}

/// A server's network, as the kernel tells it to somebody outside.
fn look(pid: i32, seen: &mut Seen) {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let program = fs::read_link(folder.join("exe")).unwrap_or_default();
    if program.file_name().is_none_or(|name| name != "postgres") {
        return;
    }
    let read = |name: &str| fs::read_to_string(folder.join("net").join(name)).unwrap_or_default();
    let devices = read("dev");
    let names = devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    seen.interfaces.extend(names.map(|name| name.trim().to_owned()));
    for table in ["tcp", "tcp6", "udp6", "raw", "packet"] {
        let lines = read(table);
        seen.sockets.extend(lines.lines().skip(1).map(|line| format!("{table}: {line}")));
    }
    seen.servers += 1;
}

#[track_caller]
fn outcome(done: &Output) -> Value {
    let error = String::from_utf8_lossy(&done.stderr);
    serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{error}"))
}

/// Sizes and digests of everything below `path`; with owners, modes and times where `whole`.
fn prints(path: &Path, whole: bool, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(path).unwrap().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let content = match meta.is_file() {
            true => data_encoding::HEXLOWER.encode(&Sha256::digest(fs::read(&path).unwrap())),
            false => String::new(),
        };
        let mut print = format!("{} {content}", if meta.is_file() { meta.len() } else { 0 });
        if whole {
            let (changed, nanoseconds) = (meta.mtime(), meta.mtime_nsec());
            let state = (meta.ctime(), meta.ctime_nsec());
            print += &format!(
                " {changed}.{nanoseconds} {state:?} {:o} {} {}",
                meta.mode(),
                meta.uid(),
                meta.ino()
            );
        }
        all.insert(path.display().to_string(), print);
        if meta.is_dir() {
            prints(&path, whole, all);
        }
    }
}

#[track_caller]
fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let changed: Vec<_> = changed.map(|name| (name, before.get(name), after.get(name))).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

fn verdict<'a>(outcome: &'a Value, id: &str) -> &'a str {
    let checks = outcome["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["id"] == id);
    found.unwrap_or_else(|| panic!("no check {id}: {checks:#?}"))["verdict"].as_str().unwrap()
}

/// The server of a kept sandbox, asked by `psql` through its socket.
fn ask(town: &Town, kept: &Path, database: &str, sql: &str) -> String {
    let socket = kept.join("socket");
    let entries = fs::read_dir(&socket).unwrap().flatten();
    let names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let port = names.iter().find_map(|name| name.strip_prefix(".s.PGSQL.")?.parse::<u16>().ok());
    let (socket, port) = (socket.display().to_string(), port.unwrap().to_string());
    let words = ["-X", "-A", "-t", "-h", &socket, "-p", &port, "-U", "postgres", "-d", database];
    town.cluster.run("psql", &words, &["-c", sql]).trim().to_owned()
}

/// One table of the shop is lost and comes back; the kept sandbox shows what became of the copy.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_table_comes_back_on_a_copy_that_is_masked_and_silent() {
    let town = Town::new();
    town.forget(500);
    let kept = town.boxes().join("kept");
    let outcome = town.held("table-loss", &["--keep", kept.to_str().unwrap()]);
    let copy = &outcome["copy"];
    assert_eq!(copy["cluster"], "bank");
    // One row by its key, and one with it; and no trigger, rule or function of the copy's ran.
    assert_eq!(copy["erased"], 1, "{copy:#}");
    assert_eq!(fs::read_to_string(town.calls()).unwrap(), "");
    let off = &copy["switched_off"];
    for (what, count) in
        [("subscriptions", 1), ("jobs", 1), ("user_mappings", 1), ("passwords", 1), ("settings", 1)]
    {
        assert_eq!(off[what], count, "{what}: {off:#}");
    }
    assert_eq!(copy["masked"].as_array().unwrap().len(), 3, "{copy:#}");
    assert_eq!(copy["renamed"], serde_json::json!(["database shop", "role shop_app"]));
    for id in
        ["copied:bank", "copied:shop_of_copy", "copied:postgres", "drill-rows:public.audit_log"]
    {
        assert_eq!(verdict(&outcome, id), "VERIFIED", "{id}");
    }
    let bank = |sql: &str| ask(&town, &kept, "bank", sql);
    assert_eq!(
        bank(
            "SELECT count(*), count(DISTINCT email), min(length(email)) FROM people
        WHERE email LIKE '#%' AND name = 'P***'"
        ),
        "499|499|13"
    );
    assert_eq!(
        bank(
            "SELECT count(*), count(phone) FROM people
        WHERE coalesce(phone, '(hidden)') = '(hidden)'"
        ),
        "499|249"
    );
    assert_eq!(bank("SELECT count(*) FROM pg_class WHERE relkind = 'm' AND relispopulated"), "0");
    assert_eq!(bank("SELECT string_agg(person::text, ' ') FROM letters"), "499");
    assert_eq!(
        bank(
            "SELECT string_agg(tgname || ':' || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger
        WHERE NOT tgisinternal"
        ),
        "calls:O callsalways:A callsreplica:R"
    );
    assert_eq!(bank("SELECT evtenabled FROM pg_event_trigger"), "A");
    assert_eq!(bank("SELECT ev_enabled FROM pg_rewrite WHERE rulename = 'calls'"), "O");
    assert_eq!(bank("SELECT count(*) FROM accounts WHERE person = 500"), "0");
    // They would have: whoever changes a row now hears of it.
    bank("UPDATE people SET phone = NULL WHERE id = 1");
    assert!(fs::read_to_string(town.calls()).unwrap().contains("called"));
    assert_eq!(
        bank(
            "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND (most_common_vals::text LIKE '%@%'
        OR histogram_bounds::text LIKE '%@%')"
        ),
        "0"
    );
    assert_eq!(
        bank(
            "SELECT subenabled, subslotname IS NULL, subconninfo LIKE '%secret%'
        FROM pg_subscription"
        ),
        "f|t|f"
    );
    assert_eq!(bank("SELECT active FROM cron.job"), "f");
    assert_eq!(bank("SELECT count(*) FROM pg_user_mappings"), "0");
    assert_eq!(bank("SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL"), "0");
    assert_eq!(bank("SHOW shared_preload_libraries"), "");
    assert_eq!(bank("SHOW listen_addresses"), "");
    assert_eq!(
        bank(
            "SELECT count(*) FROM pg_stat_activity
        WHERE backend_type LIKE 'logical replication%'"
        ),
        "0"
    );
    // The source's key, and its configuration, never came near.
    let sandbox = fs::read_to_string(kept.join("lifeboat.toml")).unwrap();
    assert!(!sandbox.contains(town.root().to_str().unwrap()), "{sandbox}");
    place::clear(&kept).unwrap();
    town.is_clear();
}

/// A cluster with tablespaces: they come into the sandbox, and back with every row; nothing is
/// written where the real ones are. One that is made within the WAL is refused.
#[test]
#[ignore = "heavy: see make test-drills"]
fn tablespaces_are_copied_into_the_sandbox_and_come_back() {
    let town = Town::new();
    town.make_tablespace("fast");
    town.make_tablespace("slow");
    let bank = |sql: &str| {
        town.cluster.sql_in("bank", &format!("SET statement_timeout = 0; {sql}"));
    };
    bank(
        "CREATE TABLE moves TABLESPACE fast AS SELECT n, repeat('x', 90) AS note FROM generate_series(1, 20000) AS n",
    );
    bank("CREATE INDEX ON moves (n) TABLESPACE slow");
    bank("ALTER TABLE accounts SET TABLESPACE slow");
    town.cluster.sql("CREATE DATABASE archive TABLESPACE fast");
    town.cluster.sql_in("archive", "CREATE TABLE old AS SELECT generate_series(1, 700) AS n");
    town.cluster.sql("CHECKPOINT");
    town.as_server(&["backup", "--cluster", "bank"]);
    town.archived();
    for scenario in ["corruption", "table-loss", "complete-loss"] {
        let outcome = town.held(scenario, &[]);
        assert_eq!(outcome["copy"]["tablespaces"], 2, "{outcome:#}");
        for database in ["bank", "archive"] {
            assert_eq!(verdict(&outcome, &format!("copied:{database}")), "VERIFIED", "{scenario}");
        }
        town.is_clear();
    }
    // As the drill has ended, its server's files are gone: what is kept shows where they were.
    let kept = town.boxes().join("kept");
    town.held("table-loss", &["--keep", kept.to_str().unwrap()]);
    let places = ask(
        &town,
        &kept,
        "bank",
        "SELECT count(*) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '%/kept/cluster/tablespaces/%'",
    );
    assert_eq!(places, "2");
    place::clear(&kept).unwrap();
    town.is_clear();

    town.make_tablespace("late");
    bank("CREATE TABLE new TABLESPACE late AS SELECT 1 AS n");
    let until = town.cluster.value(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    bank("INSERT INTO new VALUES (2)");
    town.cluster.sql("SELECT pg_switch_wal()");
    town.archived();
    let before = town.outside();
    let refused = town.drill("table-loss", &["--until", &until]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(6), "{error}");
    assert!(error.contains("/spaces/late") && error.contains("outside the sandbox"), "{error}");
    same(&before, &town.outside());
    town.is_clear();
    town.held("table-loss", &[]);
}

/// Every inject alone, on a copy: what goes wrong is the sandbox's own, and the source stays as it
/// is, byte for byte.
#[test]
#[ignore = "heavy: see make test-drills"]
fn every_inject_strikes_the_copy_and_nothing_else() {
    let town = Town::new();
    for one in inject::all() {
        let scenario = match one.fits.iter().any(|fit| fit == "statement") {
            true => "corruption",
            false => "complete-loss",
        };
        let begun = Instant::now();
        let outcome = town.held(scenario, &["--inject", &one.name]);
        assert_eq!(outcome["injects"], serde_json::json!([one.name]), "{outcome:#}");
        assert_eq!(outcome["ended"], outcome["expected"], "{}: {outcome:#}", one.name);
        assert_eq!(verdict(&outcome, "copied:bank"), "VERIFIED", "{}", one.name);
        town.is_clear();
        eprintln!("{}: {:.0} s", one.name, begun.elapsed().as_secs_f64());
    }
}

/// The whole copied cluster is lost, once with its near repository, and every row is back.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_lost_copy_comes_back_with_every_row() {
    let town = Town::new();
    for scenario in ["complete-loss", "cross-region"] {
        let outcome = town.held(scenario, &[]);
        for id in ["copied:bank", "copied:shop_of_copy", "drill-whole:public.orders"] {
            assert_eq!(verdict(&outcome, id), "VERIFIED", "{scenario}, {id}");
        }
        town.is_clear();
    }
    let history = town.command(&["history", "--json"]).output().unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("\"cluster\": \"bank\""), "{history}");
}

/// A column whose type is found only where the cluster's `dynamic_library_path` leads: the copy, and
/// what is recovered of it, read its rows all the same.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_copy_finds_libraries_where_its_cluster_looks_for_them() {
    let town = Town::new();
    let own = Command::new(town.cluster.binaries.directory.join("pg_config"))
        .arg("--pkglibdir")
        .output()
        .unwrap();
    let own = PathBuf::from(String::from_utf8(own.stdout).unwrap().trim());
    let folder = town.home.path().join("libraries");
    fs::create_dir(&folder).unwrap();
    let library = folder.join("shaped.so");
    if fs::copy(own.join("cube.so"), &library).is_err() {
        eprintln!("NOT RUN: {} has no cube.so, of PostgreSQL's contrib", own.display());
        return;
    }
    for path in [&folder, &library] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("$libdir:{}", folder.display());
    town.cluster.sql(&format!("ALTER SYSTEM SET dynamic_library_path = '{path}'"));
    town.cluster.sql("SELECT pg_reload_conf()");
    wait_for("the folder", || town.cluster.value("SHOW dynamic_library_path") == path);
    for sql in [
        "CREATE TYPE shaped",
        "CREATE FUNCTION shaped_in(cstring) RETURNS shaped AS 'shaped', 'cube_in'
             LANGUAGE c IMMUTABLE STRICT",
        "CREATE FUNCTION shaped_out(shaped) RETURNS cstring AS 'shaped', 'cube_out'
             LANGUAGE c IMMUTABLE STRICT",
        "CREATE TYPE shaped (INTERNALLENGTH = variable, INPUT = shaped_in, OUTPUT = shaped_out,
             ALIGNMENT = double)",
        "CREATE TABLE shapes AS SELECT '(1,2)'::shaped AS at FROM generate_series(1, 9)",
    ] {
        town.cluster.sql_in("shop", sql);
    }
    town.as_server(&["backup", "--cluster", "bank"]);
    town.archived();
    let kept = town.boxes().join("kept");
    let outcome = town.held("complete-loss", &["--keep", kept.to_str().unwrap()]);
    assert_eq!(verdict(&outcome, "copied:shop_of_copy"), "VERIFIED", "{outcome:#}");
    assert_eq!(ask(&town, &kept, "shop_of_copy", "SHOW dynamic_library_path"), path);
    place::clear(&kept).unwrap();
    town.is_clear();
}

/// As somebody who may read the repository and nothing else there, and who is not root.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_reader_without_any_right_to_write_can_hold_one() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("NOT RUN: only root can start a drill as another user");
        return;
    }
    let town = Town::new();
    let reader = lifeboat::engine::postgres::discovery::Owner::named("nobody").unwrap();
    let granted = Command::new("chmod").args(["-R", "a+rX"]).arg(town.repository()).status();
    assert!(granted.unwrap().success());
    let home = town.home.path().join("reader");
    fs::create_dir(&home).unwrap();
    fs::copy(town.root().join("master.key"), town.root().join("reader.key")).unwrap();
    let config = home.join("lifeboat.toml");
    fs::write(&config, town.settings("reader.key", &home, MASKING)).unwrap();
    for path in [&home, &config, &town.boxes(), &town.root().join("reader.key")] {
        chown(path, Some(reader.uid), Some(reader.gid)).unwrap();
    }
    let before = town.outside();
    let mut command = Command::new(town.root().join("lifeboat"));
    command.arg("--config").arg(&config);
    command.args(["drill", "corruption", "--auto", "--json", "--size", "16"]);
    command.args(["--from-backup", "bank"]).current_dir("/");
    command.uid(reader.uid).gid(reader.gid).env("HOME", &home);
    let done = watched(command, &town.boxes());
    let outcome = outcome(&done);
    assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
    assert_eq!(verdict(&outcome, "copied:bank"), "VERIFIED");
    let rail = &outcome["copy"]["rails"][0];
    assert_eq!(rail["rail"], "\"near\" is opened for reading alone, by a process that ended");
    let words = "the rights of nobody, who may not write there (proven: by its folders)";
    assert_eq!((&rail["enforced"], &rail["detail"]), (&true.into(), &words.into()));
    same(&before, &town.outside());
    town.is_clear();
}

/// Killed where a drill can be: while it reads, and once its server runs. The next look clears it.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_killed_drill_on_a_copy_leaves_nothing_to_the_next() {
    let town = Town::new();
    let before = town.outside();
    for file in ["cluster/data/PG_VERSION", "cluster/data/postmaster.pid"] {
        let mut drill =
            town.command(&["complete-loss", "--auto", "--size", "16", "--from-backup", "bank"]);
        let mut drill = drill.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let there = || {
            let mut boxes = fs::read_dir(town.boxes()).unwrap().flatten();
            boxes.any(|entry| entry.path().join(file).exists())
        };
        wait_for(file, there);
        drill.kill().unwrap();
        drill.wait().unwrap();
        let abort = town.command(&["abort"]).output().unwrap();
        let said = String::from_utf8_lossy(&abort.stdout).into_owned();
        assert!(said.contains("Cleared away: "), "{said}");
        town.is_clear();
    }
    same(&before, &town.outside());
}

/// Held by the scheduler at its time, once; recorded; and the source is only read.
#[test]
#[ignore = "heavy: see make test-drills"]
fn the_schedule_holds_a_drill_on_a_copy_each_week() {
    let town = Town::new();
    let pass = |schedule: &str| {
        let settings = format!("{MASKING}[clusters.schedule]\n{schedule}");
        town.own(
            &town.root().join("lifeboat.toml"),
            &town.settings("master.key", &town.state(), &settings),
        );
        let said = town.says(&["schedule", "--once", "--json"]);
        let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["job"] == "drill").collect::<Vec<Value>>()
    };
    assert!(pass("").is_empty(), "nobody wants one");
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let wanted = format!(
        "drill = \"{}:00\"\ndrill_scenarios = [\"table-loss\"]\n",
        now.strftime("%A %H").to_string().to_lowercase()
    );
    let before = town.outside();
    let told = pass(&wanted);
    let events: Vec<&str> = told.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["begins", "done"], "{told:#?}");
    let said = told[1]["said"].as_str().unwrap();
    assert!(said.starts_with("table-loss on ") && said.contains(": VERIFIED"), "{said}");
    assert!(pass(&wanted).is_empty(), "it was held already");
    // The alarms ask the server itself; nothing else of it is touched.
    let mut after = town.outside();
    after.insert(String::from("connections"), before["connections"].clone());
    same(&before, &after);
    town.is_clear();
    let status: Value = serde_json::from_str(&town.says(&["status", "--json"])).unwrap();
    let drill = &status[0]["last_drill"];
    assert_eq!((&drill["scenario"], &drill["outcome"]), (&"table-loss".into(), &"VERIFIED".into()));
    let next = status[0]["schedule"]["next"].as_array().unwrap();
    assert!(next.iter().any(|run| run["job"] == "drill" && run["overdue"].is_null()), "{next:#?}");
}

/// What a drill on a copy must not begin: told beforehand, with nothing copied.
#[test]
#[ignore = "heavy: see make test-drills"]
fn what_may_not_or_cannot_be_copied_is_refused() {
    let town = Town::new();
    let before = town.outside();
    let identifier = town.cluster.value("SELECT system_identifier::text FROM pg_control_system()");
    let with = |masking: &str, never: &str| {
        let text = town.settings("master.key", &town.state(), masking);
        let text = text.replace("[sandbox]\n", &format!("[sandbox]\n{never}"));
        town.own(&town.root().join("lifeboat.toml"), &text);
    };
    let refused = |more: &[&str], code: i32, words: &[&str]| {
        let done = town.drill("table-loss", more);
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{more:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{more:?}: {error}");
        }
        assert!(!error.contains("@example"), "{error}");
        town.is_clear();
    };
    refused(&["--set", "set-20200101-000000"], 3, &["set-20200101-000000"]);
    refused(&["--repository", "far"], 3, &["far"]);
    refused(&["--disk-limit", "500"], 10, &["nothing was copied"]);
    refused(&["--until", "2020-01-01T00:00:00Z"], 3, &["No repository holds"]);
    with("", &format!("never = [{identifier}]\n"));
    refused(&[], 6, &[&identifier, "no drill may touch"]);
    let rule = |column: &str, rule: &str| {
        format!(
            "[[clusters.masking]]\ntable = \"public.people\"\ncolumn = \"{column}\"\nrule = {rule}\n"
        )
    };
    // A name that is nowhere, a number that cannot be hidden, and values that have to differ.
    with(&rule("e_mail", "\"hide\""), "");
    refused(&[], 6, &["no database has a column e_mail"]);
    with(&rule("id", "\"hash\""), "");
    refused(&[], 6, &["column id (integer)", "only text"]);
    with(&rule("email", "{ constant = \"x\" }"), "");
    refused(&[], 6, &["public.people: ", "unique"]);
    let (mut now, mut then) = (town.outside(), before);
    // This test itself asked the server who it is.
    now.remove("connections");
    then.remove("connections");
    same(&then, &now);
}

/// A copy as the cluster was at a moment between its backup and now.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_copy_can_be_of_a_later_moment_than_its_backup() {
    let town = Town::new();
    let bank = |sql: &str| town.cluster.sql_in("bank", sql);
    bank("SET statement_timeout = 0; INSERT INTO accounts VALUES (9001, 1, 1)");
    let until = town.cluster.value(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    bank("SET statement_timeout = 0; INSERT INTO accounts VALUES (9002, 1, 1)");
    town.cluster.sql("SELECT pg_switch_wal()");
    town.archived();
    let kept = town.boxes().join("kept");
    let begun = Instant::now();
    let outcome = town.held("table-loss", &["--until", &until, "--keep", kept.to_str().unwrap()]);
    assert_eq!(verdict(&outcome, "copied:bank"), "VERIFIED", "after {:?}", begun.elapsed());
    let rows =
        ask(&town, &kept, "bank", "SELECT string_agg(id::text, ',') FROM accounts WHERE id > 9000");
    assert_eq!(rows, "9001");
    place::clear(&kept).unwrap();
    town.is_clear();
}

/// Without a server: what is wrong is told before anything is made.
#[test]
fn a_copy_needs_a_configuration_and_a_cluster_in_it() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("lifeboat.toml");
    fs::write(&config, "").unwrap();
    let run = |config: Option<&Path>, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        let done =
            command.args(["drill", "table-loss", "--auto"]).args(arguments).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, error) = run(None, &["--from-backup", "bank"]);
    assert!(code == Some(2) && error.contains("Without a configuration"), "{error}");
    let (code, error) = run(Some(&config), &["--from-backup", "bank"]);
    assert!(code == Some(3) && error.contains("no cluster \"bank\""), "{error}");
    let (code, error) = run(Some(&config), &["--set", "set-20260101-000000"]);
    assert!(code == Some(2) && error.contains("--from-backup"), "{error}");
}
