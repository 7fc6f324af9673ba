//! The matrix: versions × drivers × (plain, encrypted) × (file, S3) × what is done. A row is a
//! server, a column is one way to bring data back; another way is one more line in [`COLUMNS`].
//! `make test-matrix` runs all of it and writes what came of it to `LIFEBOAT_MATRIX`. Of the cells
//! alone run whose name has every word of `LIFEBOAT_MATRIX_ONLY`, which is separated by `+`.

use crate::columns::{COLUMNS, Column};
use crate::servers::Server;
use crate::stage::{Case, Driver, Stage};
use lifeboat::engine::postgres::discovery::{self, Binaries};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// What a version brings that a recovery has to live with.
fn settings(major: u32) -> Vec<&'static str> {
    if major >= 17 { vec!["summarize_wal = on"] } else { Vec::new() }
}

/// The server's programs by version: the folders in `LIFEBOAT_MATRIX_BINS`, else those found.
fn versions() -> Vec<PathBuf> {
    match std::env::var_os("LIFEBOAT_MATRIX_BINS") {
        Some(named) => std::env::split_paths(&named).collect(),
        None => discovery::all_binaries().into_iter().map(|one| one.directory).collect(),
    }
}

fn why(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| String::from("it said nothing"))
}

/// A row: what the cluster is.
struct Row<'a> {
    binaries: &'a Binaries,
    driver: Driver,
    encrypted: bool,
    s3: bool,
}

impl Row<'_> {
    fn name(&self) -> String {
        let cipher = if self.encrypted { "AES-256-CBC" } else { "plain" };
        let store = if self.s3 { "S3" } else { "file" };
        format!("{} | {:?} | {cipher} | {store}", self.binaries.version, self.driver)
    }

    /// What the cell says, and why it failed where it did.
    fn run(&self, column: Column) -> (String, Option<String>) {
        let name = format!("{} | {}", self.name(), column.name);
        let only = std::env::var("LIFEBOAT_MATRIX_ONLY").unwrap_or_default();
        if !only.split('+').all(|word| name.contains(word)) {
            return (String::from("NOT RUN: not asked for"), None);
        }
        // Debian's programs run Debian's servers.
        let debian = self.binaries.directory.starts_with("/usr/lib/postgresql");
        if self.driver == Driver::PgCtlcluster && (!debian || Case::debian().is_none()) {
            return (String::from("NOT RUN: not a server of Debian's"), None);
        }
        let server = self.s3.then(|| Server::rclone(&[]));
        if let Some(None) = server {
            return (String::from("NOT RUN: rclone is not here"), None);
        }
        let case = Case {
            driver: self.driver,
            binaries: self.binaries.clone(),
            encrypted: self.encrypted,
            server: server.flatten(),
            settings: settings(self.binaries.major),
            spaces: column.spaces,
            delta: column.delta,
            ..Case::of(self.driver)
        };
        let begun = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| (column.run)(&Stage::new(case))));
        let seconds = begun.elapsed().as_secs_f64();
        match ran {
            Ok(()) => (format!("VERIFIED ({seconds:.1} s)"), None),
            Err(panic) => {
                let why = why(panic.as_ref());
                let line = why.lines().next().unwrap_or_default();
                (format!("FAILED ({seconds:.1} s): {line}"), Some(format!("{name}: {why}")))
            }
        }
    }
}

#[test]
#[ignore = "an hour and more: make test-matrix"]
fn every_combination_comes_back() {
    let mut table = String::from("| version | driver | cipher | store |");
    let mut line = String::from("|---|---|---|---|");
    for column in COLUMNS {
        write!(table, " {} |", column.name).unwrap();
        line.push_str("---|");
    }
    table = format!("{table}\n{line}\n");
    let mut failed = Vec::new();
    for folder in versions() {
        let binaries = &discovery::inspect(&folder).unwrap();
        for driver in [Driver::PgCtl, Driver::PgCtlcluster, Driver::Systemd, Driver::Command] {
            for (encrypted, s3) in [(false, false), (true, false), (false, true), (true, true)] {
                let row = Row { binaries, driver, encrypted, s3 };
                write!(table, "| {} |", row.name()).unwrap();
                for column in COLUMNS {
                    let (told, why) = row.run(column);
                    eprintln!("{} | {}: {told}", row.name(), column.name);
                    failed.extend(why);
                    write!(table, " {told} |").unwrap();
                }
                table.push('\n');
                if let Some(path) = std::env::var_os("LIFEBOAT_MATRIX") {
                    std::fs::write(path, &table).unwrap();
                }
            }
        }
    }
    println!("{table}");
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The corner that runs each time: what no other test of `make test` drives from end to end.
#[test]
fn a_delta_restore_brings_a_cluster_with_a_tablespace_back() {
    let case = Case { spaces: true, delta: true, ..Case::of(Driver::PgCtl) };
    let column = COLUMNS.iter().find(|one| one.spaces && one.delta).unwrap();
    (column.run)(&Stage::new(case));
}

/// Option B beside an old cluster with a tablespace is refused; once both are lost it brings them
/// back.
#[test]
#[ignore = "a column of make test-matrix"]
fn a_full_restore_with_a_tablespace_waits_until_the_old_one_is_lost() {
    let case = Case { spaces: true, ..Case::of(Driver::PgCtl) };
    let column = COLUMNS.iter().find(|one| one.name == "Option B, tablespace").unwrap();
    (column.run)(&Stage::new(case));
}
