//! A recovery into the alternative directory, back to an earlier point in it, and what the plan says
//! has to be done afterwards, done: the driver that is configured then keeps the server there. Root
//! alone can make a volume that is too small.

use crate::servers::not_run;
use crate::stage::{BACKED_UP, Case, Driver, NAME, Stage};
use crate::support::LIMIT;
use lifeboat::engine::config;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::incident::facts::{Target, TargetPoint, Verdict};
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::postgres::control::{self, StartOptions, StopMode};
use lifeboat::engine::postgres::{control_file, discovery};
use lifeboat::engine::runner::client::Client;
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[test]
#[ignore = "make test-drivers"]
fn pg_ctl_goes_on_in_the_alternative_directory() {
    of(Some(Case::of(Driver::PgCtl)));
}

#[test]
#[ignore = "make test-drivers"]
fn a_unit_takes_over_in_the_alternative_directory() {
    of(Some(Case::of(Driver::Systemd)));
}

#[test]
#[ignore = "make test-drivers"]
fn debians_cluster_goes_on_in_the_alternative_directory() {
    of(Case::debian());
}

#[test]
#[ignore = "make test-drivers"]
fn own_commands_go_on_in_the_alternative_directory() {
    of(Some(Case::of(Driver::Command)));
}

/// Given up at the earlier point: the old server runs again where it never left, and both directories
/// of the recovery are kept.
#[test]
#[ignore = "make test-drivers"]
fn what_was_restored_there_is_put_aside_and_the_old_server_runs_again() {
    let Some(stage) = ground(Some(Case::of(Driver::Systemd))) else { return };
    let (client, _) = stage.incident();
    stage.start(&client);
    stage.until(&client, "the target", |incident| incident.status == RunStatus::Held);
    let back = go_back(&stage, &client);
    let stood = back.plan.clone().unwrap().places.stood.unwrap();
    stage.ask(&client, Command::Decide { decision: Decision::Abandon });
    stage.until(&client, "the end", |incident| incident.status == RunStatus::Cancelled);
    stage.ask(&client, Command::Undo);
    stage.until(&client, "all to be put back", |incident| incident.status == RunStatus::Undone);
    assert_eq!(stage.rows(), None, "the table is lost again");
    assert_eq!(stage.sql("SELECT count(*) FROM later"), "1");
    assert_eq!(stage.sql("SHOW data_directory"), stage.data.display().to_string());
    assert!(!stage.elsewhere().exists(), "it is free for another recovery");
    assert!(stood.kept.join("global/pg_control").exists());
    stage.driver().check().unwrap();
}

/// A cluster on a volume that is too small, with a point before the accident's other work.
fn ground(case: Option<Case>) -> Option<Stage> {
    let case = case?;
    if !nix::unistd::geteuid().is_root() {
        not_run("only root can mount a volume that is too small");
        return None;
    }
    let stage = Stage::new(Case { small: true, ..case });
    stage.sql("SELECT pg_create_restore_point('backed_up')");
    stage.lose_a_table();
    Some(stage)
}

/// From the target back to the earlier point.
fn go_back(stage: &Stage, client: &Client) -> Arc<Incident> {
    let point = TargetPoint::Name(String::from("backed_up"));
    let target = Target { point, inclusive: true, timeline: None };
    stage.ask(client, Command::MoveTarget { target, cluster: NAME.to_owned() });
    stage.until(client, "the earlier point", |incident| {
        incident.tries.len() == 2 && incident.status == RunStatus::Held
    })
}

fn of(case: Option<Case>) {
    let Some(stage) = ground(case) else { return };
    let (client, _) = stage.incident();
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let new = stage.elsewhere();
    assert_eq!(plan.places.alternative.as_deref(), Some(new.as_path()));
    assert_eq!(Path::new(&plan.aside), stage.data, "it stays where it is");
    let told = plan.step("open").unwrap().touches.join("\n");
    let changed = match stage.case.driver {
        Driver::PgCtl => "what starts the server at boot",
        Driver::PgCtlcluster => "data_directory in /etc/postgresql/",
        Driver::Systemd => "PGDATA",
        Driver::Command => "{data_directory}",
    };
    assert!(told.contains(changed), "{told}");
    let by_others = stage.case.driver != Driver::PgCtl;
    assert_eq!(told.contains("does not watch over it"), by_others, "{told}");

    stage.start(&client);
    stage.until(&client, "the target", |incident| incident.status == RunStatus::Held);
    let is_recovering = || {
        assert!(discovery::running(&new).unwrap().postmaster().is_some());
        assert!(discovery::running(&stage.data).unwrap().postmaster().is_none());
    };
    is_recovering();
    let damaged = control_file::read(&stage.data).unwrap();

    // What stands at the later point is kept beside the alternative directory.
    let back = go_back(&stage, &client);
    is_recovering();
    let places = back.plan.clone().unwrap().places;
    let stood = places.stood.unwrap();
    assert_eq!((places.alternative.as_deref(), &stood.from), (Some(new.as_path()), &new));
    assert_eq!(stood.kept.parent(), new.parent());
    assert!(stood.kept.join("global/pg_control").exists());

    stage.ask(&client, Command::Decide { decision: Decision::Promote });
    let last = stage.until(&client, "the end", |i| i.status == RunStatus::Finished);
    let overall = Verdict::overall(last.validation.iter().map(|check| check.verdict));
    assert_eq!(overall, Verdict::Verified, "{:#?}", last.validation);
    assert_eq!(stage.rows(), Some(BACKED_UP));
    assert_eq!(stage.sql("SHOW data_directory"), new.display().to_string());
    assert!(!control::is_held(&new), "no setting of the recovery stays");
    assert_eq!(control_file::read(&stage.data).unwrap(), damaged, "nobody wrote to it");
    // What comes after a recovery looks at the server that was recovered, before anything is changed.
    stage.ask(&client, Command::Validate);
    stage.ask(&client, Command::RunCare { item: String::from("archiving"), agreed: Vec::new() });
    let looked = stage.until(&client, "the look at the archive", |incident| {
        incident.care.get("archiving").is_some_and(|care| care.last.is_some())
    });
    assert_eq!(looked.care["archiving"].verdict(), Verdict::Verified, "{:#?}", looked.care);
    // A reboot would start the damaged directory, and the safety list says so.
    let next_start = || {
        stage.ask(&client, Command::RunCare { item: String::from("next-start"), agreed: vec![] });
        let incident = client.incident().unwrap();
        let care = &incident.care["next-start"];
        (care.verdict(), format!("{care:#?}"))
    };
    let (verdict, shown) = next_start();
    assert_eq!(verdict, Verdict::Failed, "{shown}");
    assert!(shown.contains(&format!("Name {} as data_directory", new.display())), "{shown}");
    kept_there_from_now_on(&stage, &new);
    let (verdict, shown) = next_start();
    let told = matches!(stage.case.driver, Driver::PgCtlcluster | Driver::Systemd);
    let wanted = if told { Verdict::Verified } else { Verdict::CouldNotVerify };
    assert_eq!(verdict, wanted, "{shown}");
    drop(client);
    let driver = control::driver(&stage.cluster_in(&new)).unwrap();
    driver.stop(StopMode::Fast, LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert!(driver.stays_down().unwrap());
}

/// As the plan says: the new place is named in `lifeboat.toml` and to whoever starts the server.
fn kept_there_from_now_on(stage: &Stage, new: &Path) {
    let (old, new_text) = (stage.data.display().to_string(), new.display().to_string());
    let edit = |path: &Path, change: &dyn Fn(String) -> String| {
        let before = fs::read_to_string(path).unwrap();
        let after = change(before.clone());
        assert_ne!(before, after, "{}", path.display());
        fs::write(path, after).unwrap();
    };
    edit(&stage.config, &|text| {
        let is_other = |line: &&str| !line.starts_with("alternative_data_directory");
        let text: Vec<&str> = text.lines().filter(is_other).collect();
        let named = |path: &str| format!("\ndata_directory = \"{path}\"");
        text.join("\n").replace(&named(&old), &named(&new_text))
    });
    match stage.case.driver {
        Driver::PgCtlcluster => {
            let file = stage.configuration().into_iter().map(|(path, _)| path);
            let file = file.into_iter().find(|path| path.ends_with("postgresql.conf")).unwrap();
            let named = |path: &str| format!("data_directory = '{path}'");
            edit(&file, &|text| text.replace(&named(&old), &named(&new_text)));
        }
        Driver::Systemd => edit(&stage.unit().join("unit"), &|text| {
            text.replace(&format!("DATA='{old}'"), &format!("DATA='{new_text}'"))
        }),
        Driver::PgCtl | Driver::Command => {}
    }
    let read = config::load(Some(&stage.config)).unwrap_or_else(|error| panic!("{error}"));
    let driver = control::driver(&read.clusters[0]).unwrap_or_else(|error| panic!("{error}"));
    driver.check().unwrap_or_else(|error| panic!("{error}"));
    driver.restart(&StartOptions::default(), LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(stage.rows(), Some(BACKED_UP));
    assert_eq!(stage.sql("SHOW data_directory"), new_text);
    let running = discovery::running(new).unwrap();
    let pid = running.postmaster().unwrap().pid;
    if stage.case.driver == Driver::Systemd {
        let main = fs::read_to_string(stage.unit().join("main")).unwrap();
        assert_eq!(main.trim().parse(), Ok(pid), "it is the unit's again");
    }
}

impl Stage {
    /// The cluster with its data directory there, as `lifeboat.toml` has it otherwise.
    fn cluster_in(&self, data: &Path) -> config::Cluster {
        let read = config::load(Some(&self.config)).unwrap_or_else(|error| panic!("{error}"));
        let mut cluster = read.clusters[0].clone();
        cluster.data_directory = data.to_owned();
        cluster
    }
}
