//! The matrix: versions × drivers × (plain, encrypted) × (file, S3) × what is done. A row is a
//! server, a column is one way to bring data back; another way is one more line in [`COLUMNS`].
//! `make test-matrix` runs all of it and writes what came of it to `LIFEBOAT_MATRIX`.

use crate::servers::Server;
use crate::stage::{Case, Driver, Stage};
use lifeboat::engine::postgres::discovery;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

/// A way to bring data back, from a cluster that is archived and backed up.
type Column = (&'static str, fn(&Stage));

const COLUMNS: [Column; 2] = [("Option A", option_a), ("Option B", option_b)];

fn option_a(stage: &Stage) {
    stage.lose_a_table();
    let (client, _) = stage.incident();
    stage.recover(&client);
}

fn option_b(stage: &Stage) {
    stage.lose_a_table();
    stage.restore_full();
}

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

#[test]
#[ignore = "minutes: make test-matrix"]
fn every_combination_comes_back() {
    let mut table = String::from("| version | driver | cipher | store |");
    let mut line = String::from("|---|---|---|---|");
    for (name, _) in COLUMNS {
        write!(table, " {name} |").unwrap();
        line.push_str("---|");
    }
    table = format!("{table}\n{line}\n");
    let mut failed = Vec::new();
    for folder in versions() {
        let binaries = discovery::inspect(&folder).unwrap();
        for driver in [Driver::PgCtl, Driver::PgCtlcluster, Driver::Systemd, Driver::Command] {
            for (encrypted, s3) in [(false, false), (true, false), (false, true), (true, true)] {
                let cipher = if encrypted { "AES-256-CBC" } else { "plain" };
                let store = if s3 { "S3" } else { "file" };
                write!(table, "| {} | {driver:?} | {cipher} | {store} |", binaries.version)
                    .unwrap();
                for (name, column) in COLUMNS {
                    // Debian's programs run Debian's servers.
                    let debian = folder.starts_with("/usr/lib/postgresql");
                    let base = match driver {
                        Driver::PgCtlcluster if !debian => None,
                        Driver::PgCtlcluster => Case::debian(),
                        _ => Some(Case::of(driver)),
                    };
                    let server = s3.then(|| Server::rclone(&[]));
                    let told = match (base, server) {
                        (None, _) => String::from("NOT RUN: not a server of Debian's"),
                        (_, Some(None)) => String::from("NOT RUN: rclone is not here"),
                        (Some(base), server) => {
                            let case = Case {
                                driver,
                                binaries: binaries.clone(),
                                encrypted,
                                server: server.flatten(),
                                settings: settings(binaries.major),
                            };
                            drop(base);
                            let begun = Instant::now();
                            let ran = catch_unwind(AssertUnwindSafe(|| column(&Stage::new(case))));
                            let seconds = begun.elapsed().as_secs_f64();
                            match ran {
                                Ok(()) => format!("VERIFIED ({seconds:.1} s)"),
                                Err(panic) => {
                                    let why = why(panic.as_ref());
                                    failed.push(format!(
                                        "{} {driver:?} {cipher} {store} {name}: {why}",
                                        binaries.version
                                    ));
                                    let line = why.lines().next().unwrap_or_default();
                                    format!("FAILED ({seconds:.1} s): {line}")
                                }
                            }
                        }
                    };
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
