//! The configuration of a sandbox: its clusters, repositories, probes and who commands. Owns what it
//! says, on values; names nothing outside the sandbox.

use super::{CLUSTER, DECOY, FAR, REPOSITORY, Setup};
use crate::engine::config::{
    Cluster, Codec, Config, Connection, Control, Encryption, Operator, PlaceConfig, Probe,
    RepositoryConfig, Retention, StoreConfig, Tls,
};
use crate::engine::drill::place::RUNBOOK;
use crate::engine::drill::server::Server;
use crate::engine::drill::shop::{DATABASE, TABLES, Volume};
use crate::engine::drill::user::name_of;
use crate::engine::incident::facts::{Role, Tier};
use jiff::Timestamp;
use std::path::Path;

pub(super) fn shop_cluster(server: &Server, volume: Volume) -> Cluster {
    let connection = |user: &str| Connection {
        host: server.socket.display().to_string(),
        port: server.port,
        user: user.to_owned(),
        database: DATABASE.to_owned(),
        passfile: None,
        tls: Tls::Off,
        root_certificate: None,
    };
    Cluster {
        name: CLUSTER.to_owned(),
        tier: Tier::High,
        environment: String::from("drill"),
        data_directory: server.data.clone(),
        alternative_data_directory: None,
        tablespace_mapping: Default::default(),
        delta_restore: false,
        connection: connection("postgres"),
        control: Control::PgCtl {
            bin_directory: Some(server.programs.directory.clone()),
            log: Some(server.log.clone()),
            config_file: None,
        },
        repositories: vec![REPOSITORY.to_owned()],
        probes: probes(volume),
        tables: TABLES.map(str::to_owned).to_vec(),
        health_url: None,
        application: Some(connection("shop_app")),
        archiving: crate::engine::config::Archiving::default(),
        retention: Retention::default(),
        schedule: crate::engine::config::schedule::Schedule::default(),
        masking: Vec::new(),
        erasure: None,
    }
}

pub(super) fn configuration(root: &Path, cluster: &Cluster, setup: &Setup) -> Config {
    let repository = |name: &str, folder: &str, place: PlaceConfig| RepositoryConfig {
        name: name.to_owned(),
        store: StoreConfig::File { path: root.join(folder) },
        encryption: Encryption::Aes256Cbc {
            master_key_file: Some(root.join("keys/master")),
            master_key_command: None,
            previous_master_key_file: None,
        },
        codec: Codec::Gzip,
        level: None,
        workers: None,
        place,
    };
    let mut repositories = vec![repository(REPOSITORY, "repository", PlaceConfig::default())];
    let mut cluster = cluster.clone();
    if setup.far {
        let overseas = PlaceConfig {
            site: Some(String::from("overseas")),
            region: Some(String::from("overseas")),
            off_site: Some(true),
            ..PlaceConfig::default()
        };
        repositories.push(repository(FAR, FAR, overseas));
        cluster.repositories.push(FAR.to_owned());
    }
    let mut clusters = vec![cluster.clone()];
    if setup.decoy {
        clusters.insert(0, decoy(root, &cluster));
        repositories.push(repository("old", "cluster/primary-backups", PlaceConfig::default()));
    }
    let us = name_of(nix::unistd::geteuid().as_raw());
    Config {
        state_directory: Some(root.join("state")),
        runbook: setup.has_runbook().then(|| root.join(RUNBOOK)),
        clusters,
        repositories,
        operators: vec![Operator { user: us, role: Role::Commander }],
        // A drill is one person's.
        approval: crate::engine::config::approval::Approval::default(),
        signatures: crate::engine::config::approval::Signatures::default(),
        // A drill sends nothing to anybody.
        channels: Vec::new(),
        escalation: Default::default(),
        catalogue: None,
        sandbox: crate::engine::config::Sandbox {
            scenario: setup.scenario.as_ref().map(|scenario| scenario.name.clone()),
            ..crate::engine::config::Sandbox::default()
        },
        path: root.join("lifeboat.toml"),
    }
}

/// Another server with a name that sounds like the shop's; no server runs there.
fn decoy(root: &Path, cluster: &Cluster) -> Cluster {
    let mut decoy = cluster.clone();
    decoy.name = DECOY.to_owned();
    decoy.data_directory = root.join("cluster/primary");
    decoy.connection.port = cluster.connection.port.checked_sub(1).unwrap_or(1_024);
    decoy.application = None;
    decoy.repositories = vec![String::from("old")];
    decoy.probes.clear();
    decoy
}

/// What the shop's owner would ask the database to see whether it is whole.
fn probes(volume: Volume) -> Vec<Probe> {
    let least = |name: &str, sql: &str, rows: u64| Probe {
        name: name.to_owned(),
        database: None,
        sql: sql.to_owned(),
        expect: None,
        at_least: i64::try_from(rows).ok(),
        at_most: None,
        mask: None,
    };
    let orphans = Probe {
        name: String::from("orders without a customer"),
        database: None,
        sql: String::from(
            "SELECT count(*) FROM public.orders o LEFT JOIN public.customers c \
             ON c.id = o.customer_id WHERE c.id IS NULL",
        ),
        expect: Some(String::from("0")),
        at_least: None,
        at_most: None,
        mask: None,
    };
    // Fixed times, so that the answer is the same however long the drill takes.
    let until = Timestamp::now();
    let since = until - jiff::SignedDuration::from_mins(55);
    let recent = format!(
        "SELECT count(*) FROM public.orders WHERE created_at BETWEEN '{since:.0}' AND '{until:.0}'"
    );
    vec![
        least(
            &format!("orders of the hour before {} UTC", until.strftime("%H:%M")),
            &recent,
            volume.last_hour() * 17 / 20,
        ),
        least("customers", "SELECT count(*) FROM public.customers", volume.customers),
        orphans,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::user;
    use crate::engine::postgres::discovery;
    use std::path::PathBuf;

    #[test]
    fn the_configuration_survives_being_written_and_read() {
        let user = user::choose(None).unwrap();
        let server = Server {
            programs: discovery::Binaries {
                directory: PathBuf::from("/programs"),
                major: 15,
                version: String::from("15.1"),
            },
            data: PathBuf::from("/box/cluster/data"),
            socket: PathBuf::from("/box/socket"),
            port: 5433,
            log: PathBuf::from("/box/cluster/shop.log"),
            user,
        };
        let config = configuration(
            Path::new("/box"),
            &shop_cluster(&server, Volume::of(100)),
            &Setup {
                far: true,
                decoy: true,
                runbook: Some(PathBuf::from("/etc/team.toml")),
                ..Setup::default()
            },
        );
        assert_eq!(config.runbook, Some(PathBuf::from("/box/runbook.toml")), "its own copy");
        let text = toml::to_string(&config).unwrap();
        let read: Config = toml::from_str(&text).unwrap();
        assert_eq!(read, Config { path: PathBuf::new(), ..config });
    }
}
