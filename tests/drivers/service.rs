//! Under the stand-in for systemd: what it restarts, what it is asked, what is never stopped.

use crate::stage::{Case, Driver, Stage};
use crate::support::{LIMIT, wait_for};
use lifeboat::engine::postgres::control::{self, ControlError, StartOptions, StopMode, Stopped};
use lifeboat::engine::postgres::discovery;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

fn pid(stage: &Stage) -> Option<i32> {
    discovery::running(&stage.data).unwrap().postmaster().map(|postmaster| postmaster.pid)
}

#[test]
fn a_service_is_recovered_through_systemd_and_stays_down_meanwhile() {
    let stage = Stage::new(Case::of(Driver::Systemd));
    // It does watch over its server: what is killed comes back.
    let first = pid(&stage).unwrap();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("the service to be started again", || pid(&stage).is_some_and(|now| now != first));
    wait_for("the server to be ready", || {
        let running = discovery::running(&stage.data).unwrap();
        running.postmaster().is_some_and(|one| one.readiness == discovery::Readiness::Ready)
    });
    stage.lose_a_table();
    let (client, _) = stage.incident();
    stage.recover(&client);
    // It is the service's again.
    let main = fs::read_to_string(stage.unit().join("main")).unwrap();
    assert_eq!(main.trim().parse().ok(), pid(&stage));

    // A unit of another server is never stopped for ours.
    let driver = stage.driver();
    driver.check().unwrap();
    let data = stage.root.path().join("other");
    fs::create_dir(&data).unwrap();
    lifeboat::engine::postgres::child::give(&data, &stage.owner).unwrap();
    fs::write(data.join("PG_VERSION"), format!("{}\n", stage.case.binaries.major)).unwrap();
    let other = lifeboat::engine::config::Cluster { data_directory: data, ..stage.cluster.clone() };
    let refused = control::driver(&other).unwrap().stop(StopMode::Fast, LIMIT).unwrap_err();
    assert!(matches!(refused, ControlError::OtherServer { .. }), "{refused}");
    assert!(pid(&stage).is_some());

    // A unit that waits for its next attempt has no server, and is not down.
    let conf = stage.data.join("postgresql.conf");
    let good = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{good}shared_buffers = nonsense\n")).unwrap();
    kill(Pid::from_raw(pid(&stage).unwrap()), Signal::SIGKILL).unwrap();
    wait_for("systemd to give up", || {
        fs::read_to_string(stage.unit().join("active")).unwrap().trim() == "failed"
    });
    assert!(driver.stays_down().unwrap());
    assert_eq!(driver.stop(StopMode::Fast, LIMIT).unwrap(), Stopped::WasDown);
    let error = driver.start(&StartOptions::default()).unwrap_err();
    assert!(error.to_string().contains("postgresql-test failed"), "{error}");
    fs::write(&conf, good).unwrap();
    driver.start(&StartOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(driver.stop(StopMode::Fast, LIMIT).unwrap(), Stopped::Stopped);
    assert!(driver.stays_down().unwrap());
}
