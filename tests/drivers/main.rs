//! Recoveries in place under every control driver, on real servers: Debian's own programs, a
//! stand-in for systemd (`systemctl.sh`), programs of one's own, `pg_ctl`. Given a cluster that is
//! archived and backed up, when a table is dropped, then it comes back, the server is closed to
//! applications until it is opened, and the damaged directory is kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "../s3/server.rs"]
#[allow(dead_code, reason = "a part of it is for the store's own tests")]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod columns;
mod elsewhere;
mod matrix;
mod rights;
mod service;
mod stage;

use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::runner::protocol::Command;
use stage::{Case, Driver, Stage};

/// Beyond the machine's own server: as it comes.
#[test]
fn debians_cluster_is_recovered_in_place_and_put_back_as_it_was() {
    let Some(case) = Case::debian() else { return };
    let stage = Stage::new(case);
    stage.lose_a_table();
    let (client, folder) = stage.incident();
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let touched = plan.step("configure-recovery").unwrap().touches.join("\n");
    assert!(touched.contains("/etc/postgresql/"), "{touched}");
    let before = stage.configuration();

    stage.start(&client);
    stage.until(&client, "the target", |incident| incident.status == RunStatus::Held);
    stage.is_closed();
    stage.ask(&client, Command::Decide { decision: Decision::Abandon });
    stage.until(&client, "the end", |incident| incident.status == RunStatus::Cancelled);
    stage.ask(&client, Command::Undo);
    stage.until(&client, "all to be put back", |incident| incident.status == RunStatus::Undone);
    // The table is lost again, and the server is open as it was.
    assert_eq!(stage.rows(), None);
    assert!(!std::path::Path::new(&plan.aside).exists());
    drop((client, folder));

    let (client, _) = stage.incident();
    stage.recover(&client);
    assert_eq!(stage.configuration(), before, "what is in /etc is read and never written");
}

#[test]
fn own_commands_start_and_stop_the_server_and_keep_it_closed() {
    let stage = Stage::new(Case::of(Driver::Command));
    stage.lose_a_table();
    let (client, _) = stage.incident();
    stage.recover(&client);
}

/// The other drivers' turn comes with `make test-matrix`.
#[test]
fn a_full_restore_comes_into_the_place_of_a_units_server() {
    let stage = Stage::new(Case::of(Driver::Systemd));
    stage.lose_a_table();
    stage.restore_full();
}

#[test]
#[ignore = "make test-drivers"]
fn a_full_restore_comes_into_the_place_of_a_server_of_debians_and_of_own_commands() {
    for case in [Case::debian(), Some(Case::of(Driver::Command))].into_iter().flatten() {
        let stage = Stage::new(case);
        stage.lose_a_table();
        stage.restore_full();
    }
}
