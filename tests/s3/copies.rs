//! Two repositories of one cluster, one in files beside it and one in a bucket: what the runbook's
//! 3-2-1 rule asks for, on a day on which the nearer one is lost.

use super::*;
use crate::support::{TestCluster, wait_for};
use lifeboat::engine::postgres::child::{self, Finished};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// A cluster that archives into both, each with a master key of its own.
struct Port {
    server: Server,
    cluster: TestCluster,
}

impl Port {
    fn new(server: Server) -> Self {
        let cluster = TestCluster::init(&["wal_level = replica", "archive_mode = on"]);
        let port = Self { server, cluster };
        // By another process: a file that is open for writing here could not be run from a fork.
        let copied = std::process::Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lifeboat"))
            .arg(port.at("lifeboat"))
            .status();
        assert!(copied.unwrap().success());
        for name in ["near", "far"] {
            port.own(&format!("{name}.key"), &format!("the master key of {name} in this test\n"));
        }
        let keys =
            format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
        port.own("credentials", &keys);
        port.own("lifeboat.toml", &port.config());
        let root = port.cluster.root.path().display();
        let archive = format!("{root}/lifeboat --config {root}/lifeboat.toml archive-wal %p");
        port.cluster.append_conf(&[&format!("archive_command = '{archive}'")]);
        port.json(0, &["create-repository"]);
        port.cluster.start_server();
        port
    }

    fn config(&self) -> String {
        let root = self.cluster.root.path().display();
        let connection = toml::to_string(&self.cluster.connection()).unwrap();
        let key = |name: &str| {
            format!(
                "[repositories.encryption]\ncipher = \"aes-256-cbc\"\n\
                 master_key_file = \"{root}/{name}.key\"\n"
            )
        };
        format!(
            "state_directory = \"{root}/state\"\n\
             [[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"{}\"\nrepositories = [\"near\", \"far\"]\n\
             [clusters.connection]\n{connection}\n\
             [clusters.control]\ndriver = \"pg_ctl\"\nbin_directory = \"{}\"\n\
             [[repositories]]\nname = \"near\"\n\
             [repositories.store]\nkind = \"file\"\npath = \"{root}/near\"\n{}\
             [[repositories]]\nname = \"far\"\n\
             [repositories.store]\nkind = \"s3\"\nbucket = \"backups\"\nprefix = \"pg/{{cluster}}\"\n\
             endpoint = \"http://{}\"\nregion = \"eu-central-1\"\n\
             [repositories.store.credentials]\nsource = \"file\"\npath = \"{root}/credentials\"\n{}\
             [repositories.place]\noff_site = true\n",
            self.cluster.data.display(),
            self.cluster.binaries.directory.display(),
            key("near"),
            self.server.address,
            key("far"),
        )
    }

    fn at(&self, name: &str) -> PathBuf {
        self.cluster.root.path().join(name)
    }

    fn own(&self, name: &str, text: &str) {
        let path = secret_file(self.cluster.root.path(), name, text);
        child::give(&path, &self.cluster.owner).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = child::command(self.at("lifeboat"), &self.cluster.owner).unwrap();
        command.arg("--config").arg(self.at("lifeboat.toml")).args(arguments);
        child::run(command, LIMIT).unwrap()
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", done.said());
        serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", done.said()))
    }
}

#[test]
fn the_bucket_alone_brings_a_cluster_back_whose_files_are_gone() {
    let Some(server) = Server::rclone(&[]) else { return };
    let port = Port::new(server);
    let cluster = &port.cluster;
    cluster.sql("CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 20000) g");
    let taken = port.json(0, &["backup"]);
    let set = taken["backup"]["set"].as_str().unwrap().to_owned();
    let outcomes = taken["repositories"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2, "{taken}");
    for name in ["near", "far"] {
        let verified = port.json(0, &["verify", "--repository", name]);
        assert_eq!(
            (&verified["set"], &verified["verdict"]),
            (&taken["backup"]["set"], &"VERIFIED".into())
        );
    }
    // The files lie on the data's own volume and count for nothing; the bucket is another medium,
    // and elsewhere as it was declared; nothing keeps either from being removed.
    let page = port.json(12, &["policy"])["clusters"][0].clone();
    assert_eq!(page["set"], set.as_str(), "{page}");
    let seen = page["repositories"].as_array().unwrap();
    assert!(seen.iter().all(|one| one["newest_set"] == "whole"), "{page}");
    let standing = |id: &str| {
        let rules = page["rules"].as_array().unwrap().iter();
        let rule = rules.clone().find(|rule| rule["id"] == id);
        rule.unwrap_or_else(|| panic!("no rule {id}: {page}"))["standing"].clone()
    };
    for (id, word) in [
        ("copies", "DOES NOT HOLD"),
        ("media", "HOLDS"),
        ("off-site", "DECLARED"),
        ("immutable", "DOES NOT HOLD"),
        ("errors", "HOLDS"),
    ] {
        assert_eq!(standing(id), word, "{id}: {page}");
    }

    let last = cluster.value("SELECT pg_walfile_name(pg_current_wal_lsn())");
    cluster.sql("INSERT INTO orders SELECT g FROM generate_series(30001, 31000) g");
    cluster.sql("SELECT pg_switch_wal()");
    wait_for(&format!("{last} to be archived"), || {
        cluster.value("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= last
    });
    cluster.stop_server("fast");
    fs::rename(port.at("near"), port.at("near.gone")).unwrap();

    let restored = port.at("restored");
    let directory = restored.display().to_string();
    let done = port.json(0, &["restore", "--set", &set, "--target-directory", &directory]);
    assert_eq!(done["copies"], serde_json::json!(["far"]), "{done}");
    cluster.run("pg_verifybackup", &["-n", "-q", &directory], &[]);
    let fetched = port.at("fetched");
    let got = port.run(&["restore-wal", &last, &fetched.display().to_string()]);
    assert!(got.ok(), "{}", got.said());
    assert_eq!(fs::metadata(fetched).unwrap().len(), 16 << 20);
}
