//! What the cluster lived through, and the recoveries that are tried: each into a directory of its
//! own, which is gone with it.

use crate::stage::{CLUSTER, Row, SEGMENT, Server, Stage, numbers};
use crate::throwaway::text;
use lifeboat::engine::incident::facts::BaseSummary;
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::wal::Segment;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first timeline as it was written.
pub struct Story {
    pub base: BaseSummary,
    /// In the order of their commits.
    pub rows: Vec<Row>,
    /// Just before a database was dropped.
    pub dropped: Lsn,
}

impl Story {
    /// Up to where two transactions were prepared and then ended.
    pub fn begin(stage: &Stage) -> Self {
        let server = &stage.first;
        let sql = |text: &str| stage.sql(server, text);
        let mut rows = vec![stage.add(server, 1), stage.add(server, 2)];
        stage.switch(server);
        let base = stage.back_up("near");
        rows.extend([stage.add(server, 3), stage.add(server, 4)]);
        sql("SELECT pg_create_restore_point('one')");
        rows.push(stage.add(server, 5));
        sql("BEGIN; INSERT INTO rows VALUES (99); ROLLBACK");
        rows.push(stage.add(server, 6));
        sql("BEGIN; INSERT INTO rows VALUES (50); SAVEPOINT s; INSERT INTO rows VALUES (51); \
             ROLLBACK TO s; INSERT INTO rows VALUES (52); PREPARE TRANSACTION 'kept'");
        sql("BEGIN; INSERT INTO rows VALUES (60); PREPARE TRANSACTION 'dropped'");
        sql("SELECT pg_create_restore_point('pending')");
        let before = stage.end_of_log(server);
        sql("COMMIT PREPARED 'kept'");
        rows.extend([50, 52].map(|n| stage.row(server, n, before)));
        sql("ROLLBACK PREPARED 'dropped'");
        stage.switch(server);
        stage.archived(server);
        Self { base, rows, dropped: before }
    }

    /// The rest of it.
    pub fn go_on(&mut self, stage: &Stage) {
        let server = &stage.first;
        let sql = |text: &str| stage.sql(server, text);
        self.rows.extend([stage.add(server, 7), stage.add(server, 71)]);
        sql("SELECT pg_create_restore_point('later')");
        stage.switch(server);

        // Up to 14 there is one way to copy a database, and no tablespace in the data directory.
        let new = sql("SELECT current_setting('server_version_num')::int >= 150000") == "t";
        sql("CREATE DATABASE pattern");
        stage.sql_in(server, "pattern", "CREATE TABLE things AS SELECT generate_series(1, 3) AS n");
        for name in ["copied", "logged"] {
            let way = match name {
                "copied" if new => "STRATEGY file_copy",
                "logged" if new => "STRATEGY wal_log",
                _ => "",
            };
            sql(&format!("CREATE DATABASE {name} TEMPLATE pattern {way}"));
        }
        if new {
            sql("ALTER ROLE postgres SET allow_in_place_tablespaces = on");
            sql("CREATE TABLESPACE inside LOCATION ''");
            sql("CREATE DATABASE inside TABLESPACE inside TEMPLATE pattern");
            sql("DROP DATABASE inside");
            sql("DROP TABLESPACE inside");
        }
        self.dropped = stage.end_of_log(server);
        sql("DROP DATABASE copied");
        self.rows.push(stage.add(server, 8));
        stage.switch(server);
        self.tear(stage);
        self.rows.push(stage.add(server, 9));
        stage.switch(server);
        stage.archived(server);
    }

    /// A record crosses into a file that a crash takes away.
    fn tear(&self, stage: &Stage) {
        let server = &stage.first;
        let message = "SELECT pg_logical_emit_message(true, 'torn', repeat('x', 600000))";
        stage.sql(server, message);
        let first = Segment::holding(1, stage.end_of_log(server), SEGMENT);
        stage.sql(server, message);
        let second = Segment::holding(1, stage.end_of_log(server), SEGMENT);
        assert_eq!(second.number, first.number + 1, "it crosses one boundary");
        stage.archived(server);
        stage.cluster.pg_ctl(&server.data, &["stop", "-m", "immediate"]);
        fs::remove_file(server.data.join("pg_wal").join(second.name(SEGMENT))).unwrap();
        stage.cluster.pg_ctl(&server.data, &["start"]);
        // The server says that it gave the record up.
        let log = stage.cluster.log();
        assert!(log.contains("redo done"), "{log}");
    }

    pub fn row(&self, n: i32) -> &Row {
        self.rows.iter().find(|row| row.n == n).unwrap()
    }

    pub fn up_to(&self, n: i32) -> BTreeSet<i32> {
        let last = self.row(n).after;
        numbers(self.rows.iter().filter(|row| row.after <= last))
    }

    pub fn all(&self) -> BTreeSet<i32> {
        numbers(&self.rows)
    }

    /// The file that holds the row's commit.
    pub fn segment_of(&self, n: i32) -> String {
        Segment::holding(1, self.row(n).before, SEGMENT).name(SEGMENT)
    }
}

static NEXT: AtomicU16 = AtomicU16::new(1);

/// One archive of the story's.
pub struct Scene<'a> {
    pub stage: &'a Stage,
    archive: String,
}

impl<'a> Scene<'a> {
    pub fn of(stage: &'a Stage, archive: &str) -> Self {
        Self { stage, archive: archive.to_owned() }
    }

    pub fn copy(&self, to: &str) -> Self {
        self.stage.copy(&self.archive, to);
        Self::of(self.stage, to)
    }

    fn restore(&self, arguments: &[&str]) -> (PathBuf, u16, std::process::Output) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data = self.stage.path(&format!("recovered-{number}"));
        let to = text(&data);
        let fixed = ["restore", "--json", "--cluster", CLUSTER, "--target-directory", &to];
        let done = self.stage.try_program(&self.archive, &[&fixed[..], arguments].concat());
        (data, 5600 + number, done)
    }

    /// What is said where nothing is restored.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let (data, _, done) = self.restore(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{arguments:?} is not refused: {said}");
        assert!(!data.exists(), "{arguments:?}: nothing was made");
        said
    }

    #[track_caller]
    pub fn restored(&self, arguments: &[&str]) -> Recovered<'a> {
        let (data, port, done) = self.restore(arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {said}");
        Recovered { stage: self.stage, server: Server { data, port }, archives: false }
    }

    /// The rows of a new cluster beside the old one, which is given up again.
    pub fn at_consistency(&self) -> BTreeSet<i32> {
        let to = text(&self.stage.path("beside"));
        let run = |more: &[&str]| {
            let all = [&["restore-full", "--json", "--target", &to], more].concat();
            let done = self.stage.try_program(&self.archive, &all);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            serde_json::from_slice::<serde_json::Value>(&done.stdout).unwrap()
        };
        let made = run(&["--latest", "--confirm", CLUSTER]);
        // psql -h FOLDER -p PORT
        let way_in: Vec<&str> = made["way_in"].as_str().unwrap().split(' ').collect();
        let sql = "SELECT n FROM rows";
        let all = [&way_in[1..], &["-XqAtU", "postgres", "-d", "postgres", "-c", sql]].concat();
        let found =
            parsed(&String::from_utf8(self.stage.cluster.run("psql", &all).stdout).unwrap());
        run(&["--discard"]);
        found
    }
}

fn parsed(lines: &str) -> BTreeSet<i32> {
    lines.lines().map(|line| line.trim().parse().unwrap()).collect()
}

/// A restored directory, not started yet or its server.
pub struct Recovered<'a> {
    stage: &'a Stage,
    pub server: Server,
    archives: bool,
}

impl Recovered<'_> {
    fn log_file(&self) -> String {
        format!("{}.log", text(&self.server.data))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn try_start(&self) -> bool {
        let archive = if self.archives { "" } else { " -c archive_mode=off" };
        let options = format!("-p {}{archive}", self.server.port);
        let action = ["start", "-o", &options];
        self.stage.cluster.try_ctl(&self.server.data, &action, &self.log_file()).status.success()
    }

    pub fn start(&self) {
        assert!(self.try_start(), "{}", self.log());
    }

    /// Once promoted it archives into its repository, as the server that it is to replace.
    pub fn archiving(mut self) -> Self {
        self.archives = true;
        self
    }

    /// Started, and at its target.
    pub fn paused(self) -> Self {
        self.start();
        self.stage.cluster.wait_for("the target", || {
            self.sql("SELECT pg_get_wal_replay_pause_state()") == "paused"
        });
        self
    }

    /// Started, and everything up to there is replayed.
    pub fn replayed(self, until: Lsn) -> Self {
        self.start();
        self.stage.cluster.wait_for("the end of the archive", || {
            self.sql("SELECT pg_last_wal_replay_lsn()").parse::<Lsn>().unwrap() >= until
        });
        self
    }

    /// Started, and ended by itself: what its log says.
    pub fn ends(self) -> String {
        let started = self.try_start();
        let pid_file = self.server.data.join("postmaster.pid");
        self.stage.cluster.wait_for("the server's end", || !pid_file.exists());
        let log = self.log();
        assert!(!started || log.contains("FATAL"), "{log}");
        log
    }

    pub fn promote(&self) {
        self.sql("SELECT pg_promote()");
        self.stage
            .cluster
            .wait_for("the promotion", || self.sql("SELECT pg_is_in_recovery()") == "f");
    }

    /// As a crash ends it.
    pub fn kill(&self) {
        self.stage.cluster.pg_ctl(&self.server.data, &["stop", "-m", "immediate"]);
    }

    pub fn sql(&self, sql: &str) -> String {
        self.stage.sql(&self.server, sql)
    }

    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.stage.sql_in(&self.server, database, sql)
    }

    pub fn rows(&self) -> BTreeSet<i32> {
        parsed(&self.sql("SELECT n FROM rows"))
    }

    pub fn timeline(&self) -> String {
        // The checkpoint of a fresh promotion may still be on its way.
        self.sql(
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int",
        )
    }
}

impl Drop for Recovered<'_> {
    fn drop(&mut self) {
        let stop = ["stop", "-m", "immediate"];
        let _ = self.stage.cluster.try_ctl(&self.server.data, &stop, &self.log_file());
        let _ = fs::remove_dir_all(&self.server.data);
    }
}
