//! Repositories that lie elsewhere: the network is lost and comes back, the near copy is gone
//! before a recovery or in the middle of one, and the far one brings the cluster back over a slow
//! line, in about the time that was forecast. S3 servers on the loopback, behind proxies.

use crate::proxy::{Deed, Proxy};
use crate::server::{ID, SECRET, Server};
use crate::stage::Stage;
use crate::walk::verified;
use lifeboat::engine::drill::sandbox::{CLUSTER, Sandbox};
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::trouble::By;
use lifeboat::engine::postgres::child;
use lifeboat::engine::runner::client::Client;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// The line to the far copy, bytes a second.
const LINE: u64 = 1_000_000;
/// A forecast by one measured read is right within this factor.
const FACTOR: f64 = 2.0;

/// Two S3 servers, each behind a proxy.
struct Places {
    near: Proxy,
    far: Proxy,
    _servers: [Server; 2],
}

impl Places {
    /// A server that is not here is no reason to pass: `make test-troubles` installs it.
    fn new() -> Self {
        let server = || Server::rclone(&[]).expect("rclone is here");
        let servers = [server(), server()];
        let [near, far] = [0, 1].map(|n: usize| Proxy::before(&servers[n]));
        Self { near, far, _servers: servers }
    }

    /// The cluster archives into these from now on, and no more into the drill's own folder.
    fn instead(&self, sandbox: &Sandbox, names: &[&str]) {
        let root = sandbox.root();
        let keys = root.join("keys/s3");
        let text =
            format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
        fs::write(&keys, text).unwrap();
        fs::set_permissions(&keys, PermissionsExt::from_mode(0o600)).unwrap();
        child::give(&keys, &sandbox.server().user).unwrap();
        let path = &sandbox.config().path;
        let mut config: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let cluster = config["clusters"][0].as_table_mut().unwrap();
        cluster["repositories"] = toml::Value::try_from(names).unwrap();
        let more = names.iter().map(|name| self.repository(name, root)).collect();
        config.insert(String::from("repositories"), toml::Value::Array(more));
        fs::write(path, toml::to_string(&config).unwrap()).unwrap();
        for name in names {
            let make = ["create-repository", "--cluster", CLUSTER, "--repository", name];
            sandbox.lifeboat(&make).unwrap();
        }
    }

    fn repository(&self, name: &str, root: &Path) -> toml::Value {
        let proxy = if name == "far" { &self.far } else { &self.near };
        let root = root.display();
        let off_site = if name == "far" { "off_site = true\nregion = \"eu-west-1\"\n" } else { "" };
        let text = format!(
            "name = \"{name}\"\n[store]\nkind = \"s3\"\nbucket = \"backups\"\n\
             prefix = \"pg/{{cluster}}\"\nendpoint = \"http://{}\"\nregion = \"eu-central-1\"\n\
             timeout_seconds = 2\n[store.credentials]\nsource = \"file\"\n\
             path = \"{root}/keys/s3\"\n[encryption]\ncipher = \"aes-256-cbc\"\n\
             master_key_file = \"{root}/keys/master\"\n[place]\n{off_site}",
            proxy.address
        );
        toml::from_str(&text).unwrap()
    }
}

/// A store that is gone is asked again and again before it counts as gone, each time anew.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits longer than [`Stage::wait`] for the run's next stop.
fn until_stopped(stage: &Stage, client: &Client) {
    let stopped = client.wait("a stop", PATIENCE, |incident| {
        matches!(incident.status, RunStatus::Failed | RunStatus::Held | RunStatus::Finished)
    });
    stage.on(stopped).unwrap();
}

fn note<'a>(incident: &'a Incident, step: &str, name: &str) -> Option<&'a str> {
    let step = incident.steps.iter().find(|one| one.id == step)?;
    step.notes.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
}

/// What a line of notes says that the copy took, in seconds.
fn took(incident: &Incident) -> f64 {
    let told = note(incident, "restore-base", "transfer").expect("the transfer is told");
    let seconds = told.split_once(" in ").unwrap().1.split(' ').next().unwrap();
    seconds.parse().unwrap()
}

/// The network is lost before the base is copied: it is recognised, waited for and asked again
/// until it is back; then it is lost once more while the server is promoted.
#[test]
#[ignore = "make test-troubles"]
fn a_network_that_was_lost_is_waited_for() {
    let places = Places::new();
    let stage = Stage::made(|sandbox| places.instead(sandbox, &["near"]), |_| {});
    let client = stage.spoiled_before("restore-base", |_| places.near.outage(Deed::Cut(0)));
    let (step, trouble) = stage.next_trouble(&client).expect("a trouble");
    assert_eq!((&*step, &*trouble.name), ("restore-base", "repository-away"), "{trouble:#?}");
    assert!(trouble.what.contains("\"near\" cannot be reached now"), "{}", trouble.what);
    // The only one cannot be given up.
    assert!(!trouble.cures.iter().any(|cure| cure.id == "without-repository"), "{trouble:#?}");
    std::thread::scope(|scope| {
        // Once it was asked in vain, the network is there again.
        let asked = places.near.seen().len();
        let places = &places;
        scope.spawn(move || {
            crate::stage::until("a question in vain", || places.near.seen().len() > asked + 1);
            places.near.mended();
        });
        stage.accept(&client, &trouble.cures[0]);
    });
    let end = stage.to_the_end(&client);
    assert!(note(&end, "restore-base", "restored").is_some());
}

/// The near copy is gone before anything is planned: the far one's way is measured, its time is
/// forecast, and it takes about that.
#[test]
#[ignore = "make test-troubles"]
fn the_far_copy_brings_a_cluster_back_in_about_the_time_that_was_forecast() {
    let places = Places::new();
    let stage = Stage::made(|sandbox| places.instead(sandbox, &["near", "far"]), |_| {});
    places.near.outage(Deed::Say(503, "SlowDown"));
    places.far.at_most(LINE);
    let client = stage.runner(None);
    stage.to_gate(&client);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let source = plan.source.clone().expect("its way was measured");
    assert_eq!((&*source.repository, source.far), ("far", true), "{source}");
    assert!(source.to_string().contains("eu-west-1"), "{source}");
    assert_eq!(plan.repositories, ["far"]);
    let line = LINE as f64;
    let measured = source.bytes_per_second as f64;
    assert!(line / FACTOR < measured && measured < line * FACTOR, "{source}");
    let step = plan.steps.iter().find(|step| step.id == "restore-base").unwrap();
    assert!(step.touches.iter().any(|line| line.contains("the far copy \"far\"")), "{step:#?}");

    stage.go_on(&client);
    until_stopped(&stage, &client);
    let end = stage.to_the_end(&client);
    let (forecast, took) = (source.seconds(), took(&end));
    eprintln!(
        "-- {} bytes over the line: {forecast:.1} s forecast, {took:.1} s taken",
        source.stored
    );
    assert!(forecast / FACTOR < took && took < forecast * FACTOR, "{forecast} against {took}");
    verified(&end);
}

/// The near copy goes while it is read: the copy goes on from the far one. Until somebody decides
/// to go on without it, nobody is told that the log ends.
#[test]
#[ignore = "make test-troubles"]
fn the_near_copy_goes_in_the_middle_and_the_far_one_goes_on() {
    let places = Places::new();
    let stage = Stage::made(|sandbox| places.instead(sandbox, &["near", "far"]), |_| {});
    places.far.at_most(8 * LINE);
    let client = stage.spoiled_before("restore-base", |incident| {
        let plan = incident.plan.as_ref().unwrap();
        assert_eq!(plan.repositories, ["near", "far"]);
        assert_eq!(plan.source.as_ref().unwrap().repository, "near");
        // The measured read, the manifest, and then one read of the data.
        places.near.outage_from("/base-", 4, Deed::Cut(0));
    });
    until_stopped(&stage, &client);
    if client.incident().unwrap().status == RunStatus::Held {
        // All of the log that the point needs is in the far one. That there is no other timeline
        // has to be told by both.
        stage.go_on(&client);
        let gone = |incident: &Incident| incident.status == RunStatus::Failed;
        stage.on(client.wait("the end of the promotion", PATIENCE, gone)).unwrap();
    }
    let (step, trouble) = stage.next_trouble(&client).expect("a trouble");
    assert_eq!(trouble.name, "repository-away", "{step}: {trouble:#?}");
    let left = stage.left();
    let failed = note(&left, "restore-base", "copy_failed").expect("the copy failed in between");
    assert!(failed.contains("\"near\"") && failed.contains("\"far\""), "{failed}");
    let cure = trouble.cures.iter().find(|cure| cure.id == "without-repository");
    let cure = cure.unwrap_or_else(|| panic!("{trouble:#?}"));
    assert_eq!((cure.by, &*cure.with), (By::LifeboatByName, &[String::from("near")][..]));
    // Not by a slip.
    let command =
        lifeboat::engine::runner::protocol::Command::Cure { cure: cure.id.clone(), cluster: None };
    assert!(stage.answer(&client, command).unwrap_err().what.contains("not the cluster"));
    stage.accept(&client, cure);
    until_stopped(&stage, &client);
    let end = stage.to_the_end(&client);
    verified(&end);
    assert_eq!(end.adjustments.without_repositories, ["near"]);
}
