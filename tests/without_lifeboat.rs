//! A backup opened without Lifeboat, by the very commands that the README gives: the blocks of its
//! section are run as they stand there, with the paths of this test in the place of the README's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

mod patience;

use lifeboat::engine::drill::sandbox::{Options, Sandbox};
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::server::Server;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::postgres::child;
use lifeboat::engine::postgres::discovery::Owner;
use patience::wait_within;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const README: &str = include_str!("../README.md");
const LIMIT: Duration = Duration::from_secs(120);

/// The fenced blocks of the README's section, in their order.
fn blocks() -> Vec<String> {
    let section = README.split("## Restore without Lifeboat\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap().1.to_owned()).collect()
}

/// Runs a block as the server's user, in `folder`, as one script.
fn shell(script: &str, folder: &Path, owner: &Owner, path: &str) -> String {
    let mut command = child::command("sh", owner).unwrap();
    let text = format!("set -e; cd '{}'\n{script}", folder.display());
    command.args(["-c", &text]).env("PATH", path);
    let finished = child::run(command, LIMIT).unwrap();
    assert!(finished.ok(), "{}\nin:\n{script}", finished.said());
    finished.stdout
}

/// Puts this test's words in the place of the README's; each must be there.
fn with(block: &str, changes: &[(&str, &str)]) -> String {
    let mut text = block.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the README no longer has \"{from}\" in:\n{block}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn the_readmes_commands_alone_bring_everything_back() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let options = Options {
        size_mb: 16,
        directory: Some(home.path().to_owned()),
        keep: None,
        seed: 5,
        programs: None,
        user: None,
        lifeboat: PathBuf::from(env!("CARGO_BIN_EXE_lifeboat")),
    };
    let mut sandbox = Sandbox::create(&options, &Sandbox::make_repository, &|_| {}).unwrap();
    let scenario = scenario::load("corruption").unwrap();
    let rate = scenario.load.transactions_per_second;
    sandbox.back_up().unwrap();
    sandbox.begin_traffic(&scenario.load).unwrap();
    sandbox.let_traffic_run(1.0, rate).unwrap();
    sandbox.end_traffic();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let text = |server: &Server, sql: &str| -> String {
        runtime.block_on(async {
            let client = server.connect("postgres", DATABASE).await.unwrap();
            client.query_one(sql, &[]).await.unwrap().get(0)
        })
    };
    let server = sandbox.server().clone();
    let all = "SELECT concat_ws(' ',
        (SELECT concat(count(*), ':', sum(hashtextextended(o::text, 0)::numeric)) FROM orders o),
        (SELECT concat(count(*), ':', sum(hashtextextended(c::text, 0)::numeric)) FROM customers c))";
    let expected = text(&server, all);
    let after = text(&server, "SELECT clock_timestamp()::text");
    // A later commit, and its segment in the archive: the proof that the moment is reached.
    text(&server, "SELECT pg_current_xact_id()::text");
    let last = text(
        &server,
        "SELECT pg_walfile_name(pg_current_wal_lsn()) FROM (SELECT pg_switch_wal()) s",
    );
    let archived = format!("SELECT (last_archived_wal >= '{last}')::text FROM pg_stat_archiver");
    wait_within(LIMIT, &format!("{last} in the archive"), || text(&server, &archived) == "true");
    server.stop().unwrap();

    // The master key was replaced once, and for a second time it is about to be: some data keys
    // have no object by their first name, and two by others.
    // Who replaces it may write the configuration, which in a sandbox is not the server's user.
    let root = sandbox.root();
    let theirs = [root.to_owned(), root.join("lifeboat.toml"), root.join("keys")];
    let before = theirs.clone().map(|path| (path.metadata().unwrap(), path));
    for path in &theirs {
        child::give(path, &server.user).unwrap();
    }
    for (name, words) in [("second", &["--retire"][..]), ("third", &[])] {
        let key = root.join("keys").join(name).display().to_string();
        let begin = ["keys", "rotate-master", "--apply", "--make", "--new-key-file", &key];
        sandbox.lifeboat(&[&begin, words].concat()).unwrap();
    }
    for (meta, path) in before {
        std::os::unix::fs::chown(&path, Some(meta.uid()), Some(meta.gid())).unwrap();
    }

    // From here on no Lifeboat.
    fs::remove_file(sandbox.program()).unwrap();
    let place = sandbox.root().join("by-hand");
    fs::create_dir(&place).unwrap();
    child::give(&place, &server.user).unwrap();
    let path = format!(
        "{}:{}",
        server.programs.directory.display(),
        std::env::var("PATH").unwrap_or_else(|_| String::from("/usr/bin:/bin"))
    );
    let (repository, key) = (sandbox.root().join("repository"), sandbox.root().join("keys/third"));
    let repository = repository.display().to_string();
    let sets = fs::read_dir(&repository).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        Some(name.strip_prefix("set-")?.strip_suffix(".json")?.to_owned())
    });
    let set: Vec<String> = sets.collect();
    assert_eq!(set.len(), 1);

    let blocks = blocks();
    let [open, fetch, start] = blocks.as_slice() else {
        panic!("the README's section has {} blocks instead of 3", blocks.len());
    };
    let places = [
        ("/var/backups/lifeboat/orders", repository.as_str()),
        ("/etc/lifeboat/master.key", key.to_str().unwrap()),
        ("20260113-020000", set[0].as_str()),
    ];
    // The key's name is read off by the person in between.
    let open = with(open, &places);
    let (first, second) = open.split_once("mkdir -m 0700 data").unwrap();
    let said = shell(first, &place, &server.user, &path);
    let key_id = said.split('"').rfind(|part| !part.trim().is_empty()).unwrap();
    let second = format!(
        "repository='{repository}'; set={}\nmkdir -m 0700 data{}",
        set[0],
        with(second, &[("KEY_ID", key_id)])
    );
    shell(&second, &place, &server.user, &path);

    let opened = place.join("opened").display().to_string();
    let script = with(fetch, &[places[0], ("/root/opened", &opened)]);
    let program = place.join("fetch-wal");
    fs::write(&program, script).unwrap();
    child::give(&program, &server.user).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();

    let port = server.port;
    let socket = server.socket.display().to_string();
    let psql = format!("psql -qAtX -h {socket} -p {port} -U postgres -d {DATABASE} -c");
    let start = with(
        start,
        &[
            ("/root/fetch-wal", program.to_str().unwrap()),
            ("2026-01-13 10:00:00+00", &after),
            ("pg_ctl -D data -w start", "pg_ctl -D data -w -s -l log start"),
            ("psql -c", &psql),
        ],
    );
    let (start, rest) = start.split_once("\npsql").unwrap();
    shell(start, &place, &server.user, &path);
    let by_hand = Server { data: place.join("data"), ..server.clone() };
    // It waits at the target; look, then let it go, in the README's own order.
    wait_within(LIMIT, "the pause at the target", || {
        text(&by_hand, "SELECT pg_get_wal_replay_pause_state()") == "paused"
    });
    assert_eq!(text(&by_hand, all), expected);
    shell(&format!("psql{rest}"), &place, &server.user, &path);
    wait_within(LIMIT, "the promotion", || {
        text(&by_hand, "SELECT pg_is_in_recovery()::text") == "false"
    });
    assert_eq!(text(&by_hand, all), expected);
    by_hand.stop().unwrap();
    sandbox.close().unwrap();
}
