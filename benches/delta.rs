//! A restore by delta against one anew, by the share of the files that is equal: a cluster of ten
//! tables of the same size is backed up, then one after another is rewritten; after each the backup
//! is restored whole and, in turns with that, with `--delta-from` the stopped cluster, by the program
//! itself. The time is that of the copy, best of some. Tables are rewritten in two ways: every row,
//! which makes their files longer, and one row in a thousand into the room beside it, which leaves
//! them as long as they were, so that their content has to tell. `LIFEBOAT_BENCH_MB` is the
//! cluster's size (500), `LIFEBOAT_BENCH_ROUNDS` how often each is done (3).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

#[path = "../tests/support/mod.rs"]
mod support;

use lifeboat::engine::postgres::child;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use support::TestCluster;

const TABLES: usize = 10;
/// How many tables are as the backup has them, in the order in which they are rewritten.
const EQUAL: [usize; 4] = [TABLES, 9, 5, 0];

fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let megabytes = number("LIFEBOAT_BENCH_MB").unwrap_or(500);
    let rounds = number("LIFEBOAT_BENCH_ROUNDS").unwrap_or(3).max(1);
    let ground = Ground::new(megabytes);
    println!("{megabytes} MB, best of {rounds}, in turns; the damaged cluster is only read");
    let (head, rate) = ("seconds", "MB/s");
    println!("{:44}{head:>10}{rate:>10}{:>12}{:>12}", "", "reused", "of anew");
    for way in [Rewrite::InPlace, Rewrite::Whole] {
        let mut rewritten = 0;
        for equal in EQUAL {
            ground.rewrite(rewritten..TABLES - equal, way);
            rewritten = TABLES - equal;
            let (anew, by_delta) = ground.in_turns(rounds);
            line("restore anew", &anew, &anew);
            let share = equal * 100 / TABLES;
            line(
                &format!("delta, {share} % of the tables equal, {}", way.said()),
                &by_delta,
                &anew,
            );
        }
        if way == Rewrite::InPlace {
            ground.lifeboat_backup();
        }
    }
}

/// How rows get another version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rewrite {
    /// Some, in the room that their pages have: files keep their lengths.
    InPlace,
    /// All: files become longer.
    Whole,
}

impl Rewrite {
    fn said(self) -> &'static str {
        match self {
            Self::InPlace => "rest in place",
            Self::Whole => "rest longer",
        }
    }
}

/// What a restore tells of itself.
struct Told {
    seconds: f64,
    bytes: f64,
    reused: f64,
}

fn line(what: &str, told: &Told, anew: &Told) {
    let (rate, share) = (told.bytes / 1e6 / told.seconds, 100.0 * told.reused / told.bytes);
    let ratio = told.seconds / anew.seconds;
    println!("{what:44}{:>10.2}{rate:>10.0}{share:>10.0} %{ratio:>12.2}", told.seconds);
}

struct Ground {
    cluster: TestCluster,
    config: PathBuf,
    program: PathBuf,
}

impl Ground {
    /// A backed up cluster that runs no more.
    fn new(megabytes: usize) -> Self {
        let cluster =
            TestCluster::init(&["wal_level = replica", "archive_mode = on", "max_wal_size = 4GB"]);
        let root = cluster.root.path().to_owned();
        let program = root.join("lifeboat");
        fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let config = root.join("lifeboat.toml");
        let key = root.join("master.key");
        fs::write(&key, "a key for a benchmark\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        child::give(&key, &cluster.owner).unwrap();
        fs::write(&config, text(&cluster, &root, &key)).unwrap();
        let ground = Self { cluster, config, program };
        let archive = format!(
            "archive_command = '{} --config {} archive-wal %p'",
            ground.program.display(),
            ground.config.display()
        );
        ground.cluster.append_conf(&[&archive]);
        ground.lifeboat(&["create-repository"]);
        ground.cluster.start_server();
        let rows = megabytes * 5200 / TABLES;
        for table in 0..TABLES {
            ground.cluster.sql(&format!(
                "CREATE TABLE orders_{table} WITH (fillfactor = 90) AS SELECT g AS id, g % 9973 AS customer, \
                 md5((g * {table})::text) AS code, now() - g * interval '1 s' AS at, 'a note on \
                 order ' || g || ' of nobody' AS note, (g % 1000) / 7.0 AS price \
                 FROM generate_series(1, {rows}) AS g"
            ));
            ground.cluster.sql(&format!("ALTER TABLE orders_{table} ADD PRIMARY KEY (id)"));
        }
        ground.lifeboat(&["backup"]);
        ground.cluster.stop_server("fast");
        ground
    }

    /// A backup of what is there now.
    fn lifeboat_backup(&self) {
        self.cluster.start_server();
        self.lifeboat(&["backup"]);
        self.cluster.stop_server("fast");
    }

    fn lifeboat(&self, arguments: &[&str]) -> String {
        let mut command = child::command(&self.program, &self.cluster.owner).unwrap();
        command.arg("--config").arg(&self.config).args(arguments);
        let done = child::run(command, std::time::Duration::from_secs(600)).unwrap();
        assert!(done.ok(), "{arguments:?}: {}", done.said());
        done.stdout
    }

    /// Rows of these tables get another version: their files are others then.
    fn rewrite(&self, tables: std::ops::Range<usize>, way: Rewrite) {
        if tables.is_empty() {
            return;
        }
        self.cluster.start_server();
        for table in tables {
            let rows = if way == Rewrite::InPlace { "WHERE id % 1000 = 0" } else { "" };
            self.cluster.sql(&format!("UPDATE orders_{table} SET price = price + 1 {rows}"));
        }
        self.cluster.sql("CHECKPOINT");
        self.cluster.stop_server("fast");
    }

    /// The best of each, anew and by delta, one after the other so that both meet the same machine.
    fn in_turns(&self, rounds: usize) -> (Told, Told) {
        let best = |a: Told, b: Told| if b.seconds < a.seconds { b } else { a };
        let both =
            (0..rounds).map(|_| (self.restore(None), self.restore(Some(&self.cluster.data))));
        both.reduce(|a, b| (best(a.0, b.0), best(a.1, b.1))).unwrap()
    }

    /// To the backup's own end, whatever came later: the copy alone is of interest.
    fn restore(&self, from: Option<&Path>) -> Told {
        let to = self.cluster.root.path().join("restored");
        let to_text = to.display().to_string();
        let mut arguments = vec!["restore", "--json", "--unproven", "--target-directory", &to_text];
        let from = from.map(|from| from.display().to_string());
        if let Some(from) = &from {
            arguments.extend(["--delta-from", from]);
        }
        let told: serde_json::Value = serde_json::from_str(&self.lifeboat(&arguments)).unwrap();
        fs::remove_dir_all(&to).unwrap();
        let number = |name: &str| told[name].as_f64().unwrap();
        Told { seconds: number("seconds"), bytes: number("bytes"), reused: number("reused_bytes") }
    }
}

fn text(cluster: &TestCluster, root: &Path, key: &Path) -> String {
    let (root, key) = (root.display(), key.display());
    format!(
        "state_directory = \"{root}/state\"\n\
         [[clusters]]\nname = \"bench\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
         data_directory = \"{}\"\nrepositories = [\"near\"]\n\
         [clusters.connection]\nhost = \"{}\"\nport = {}\n\
         [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n\
         [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
         path = \"{root}/repository\"\n[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
         master_key_file = \"{key}\"\n",
        cluster.data.display(),
        cluster.socket.display(),
        cluster.port,
        cluster.binaries.directory.display(),
    )
}
