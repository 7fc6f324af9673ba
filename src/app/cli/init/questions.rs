//! What a person is asked in a set-up: which server, its name and tier, where backups go. Owns
//! the words and the defaults.

use super::super::args::Init;
use super::ask::Asker;
use crate::engine::config::{
    Cluster, Codec, Config, Connection, Control, Encryption, RepositoryConfig, S3Config,
    S3Credentials, StoreConfig, Tls,
};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Tier;
use crate::engine::init::discover::{self, Found, Servers};
use crate::engine::init::{Facts, InitError, furnish};
use crate::engine::postgres::discovery::Owner;
use crate::engine::runbook::Runbook;
use std::path::{Path, PathBuf};

/// The server that is set up.
#[derive(Debug)]
pub struct Server {
    pub data_directory: PathBuf,
    pub connection: Connection,
}

/// Which server: the named one, the only one that runs, or the one that is chosen.
pub fn server(asker: &Asker, args: &Init) -> Result<Server, Explanation> {
    let found = match &args.data_directory {
        Some(directory) => {
            let directory = directory.canonicalize().map_err(|source| {
                let unreadable = InitError::NotAllowed {
                    path: directory.clone(),
                    user: Owner::current().to_string(),
                };
                if source.kind() == std::io::ErrorKind::PermissionDenied {
                    unreadable.explanation()
                } else {
                    missing(directory, &source.to_string())
                }
            })?;
            discover::look(&directory).ok_or(directory)
        }
        None => choose(asker, &discover::servers())?,
    };
    match found {
        Ok(found) => Ok(Server {
            connection: connection(args, &found.host(), found.port),
            data_directory: found.data_directory,
        }),
        Err(directory) => {
            let good = |text: &str| {
                if text.is_empty() { Err(String::from("it is empty")) } else { Ok(()) }
            };
            let socket = "/var/run/postgresql";
            let host = asker.text(
                args.host.as_deref(),
                "--host",
                "The server's socket folder or host",
                socket,
                &good,
            )?;
            Ok(Server { connection: connection(args, &host, 5432), data_directory: directory })
        }
    }
}

fn missing(directory: &Path, why: &str) -> Explanation {
    Explanation::new(
        Kind::NotFound,
        format!("There is no data directory {}: {why}.", directory.display()),
        "Nothing was changed.",
        "See what the server says: SHOW data_directory.",
    )
}

fn connection(args: &Init, host: &str, port: u16) -> Connection {
    let or_postgres = |name: &Option<String>| name.clone().unwrap_or_else(|| "postgres".into());
    Connection {
        host: args.host.clone().unwrap_or_else(|| host.to_owned()),
        port: args.port.unwrap_or(port),
        user: or_postgres(&args.user),
        database: or_postgres(&args.database),
        passfile: None,
        tls: Tls::Off,
        root_certificate: None,
    }
}

/// A running server, or the data directory of one that was not found running.
fn choose(asker: &Asker, servers: &Servers) -> Result<Result<Found, PathBuf>, Explanation> {
    if servers.hidden > 0 {
        asker.say(&format!(
            "{} more servers run as other users: only root or their user may set them up.",
            servers.hidden
        ))?;
    }
    let refused = |what: &str| {
        Explanation::new(
            Kind::Config,
            what,
            "Nothing was changed.",
            "Name it with --data-directory.",
        )
    };
    if servers.found.is_empty() && !asker.asks() {
        return Err(refused("No running server was found that this user may look at."));
    }
    if servers.found.len() > 1 && !asker.asks() {
        let all: Vec<String> =
            servers.found.iter().map(|f| f.data_directory.display().to_string()).collect();
        return Err(refused(&format!("Several servers run here: {}.", all.join(", "))));
    }
    for (at, found) in servers.found.iter().enumerate() {
        asker.say(&format!(
            "  {}. {}  PostgreSQL {}, port {}, runs as {}",
            at + 1,
            found.data_directory.display(),
            found.version,
            found.port,
            found.owner
        ))?;
    }
    let (question, default) = if servers.found.is_empty() {
        ("No running server was found. The data directory", "")
    } else {
        ("Which server? Its number, or a data directory", "1")
    };
    let pick = |text: &str| -> Option<Result<Found, PathBuf>> {
        if let Ok(number) = text.parse::<usize>() {
            return servers.found.get(number.checked_sub(1)?).cloned().map(Ok);
        }
        let path = Path::new(text).canonicalize().ok().filter(|path| path.is_dir())?;
        Some(discover::look(&path).ok_or(path))
    };
    let good = |text: &str| pick(text).map(drop).ok_or_else(|| String::from("it is not there"));
    let answer = asker.text(None, "--data-directory", question, default, &good)?;
    pick(&answer).ok_or_else(|| refused("No server was chosen."))
}

/// The cluster's entry in the configuration, without its repositories.
pub fn cluster(
    asker: &Asker,
    args: &Init,
    server: &Server,
    config: Option<&Config>,
    runbook: &Runbook,
) -> Result<Cluster, Explanation> {
    let taken = |name: &str| config.is_some_and(|config| config.cluster(name).is_some());
    let name_good = |name: &str| -> Result<(), String> {
        let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if name.is_empty() || name.len() > 63 || !letters || name.starts_with(['.', '-']) {
            return Err(String::from(
                "a name is letters, digits, '-', '_' and '.', at most 63, and begins with a \
                 letter, digit or '_'",
            ));
        }
        if taken(name) {
            return Err(format!("the configuration has a cluster \"{name}\" already"));
        }
        Ok(())
    };
    let suggested = discover::suggested_name(&server.data_directory);
    let name = asker.text(
        args.cluster_name.as_deref(),
        "--cluster-name",
        "The cluster's name (typed before every recovery)",
        &suggested,
        &name_good,
    )?;
    let tiers = [Tier::Critical, Tier::High, Tier::Standard, Tier::Archive];
    if asker.asks() && args.tier.is_none() {
        for tier in tiers {
            let target = runbook.tier(tier);
            asker.say(&format!(
                "  {:9} at most {} of data lost, {} down: {}",
                word(tier),
                minutes(target.rpo_seconds),
                minutes(target.rto_seconds),
                target.use_cases
            ))?;
        }
    }
    let of = |text: &str| tiers.into_iter().find(|tier| word(*tier) == text);
    let tier_good = |text: &str| {
        of(text).map(drop).ok_or_else(|| String::from("critical, high, standard or archive"))
    };
    let tier = asker.text(args.tier.as_deref(), "--tier", "Its tier", "high", &tier_good)?;
    let filled = |text: &str| {
        if text.trim().is_empty() { Err(String::from("it is empty")) } else { Ok(()) }
    };
    let environment = asker.text(
        args.environment.as_deref(),
        "--environment",
        "Its environment",
        "production",
        &filled,
    )?;
    Ok(Cluster {
        name,
        tier: of(&tier).unwrap_or(Tier::High),
        environment,
        data_directory: server.data_directory.clone(),
        alternative_data_directory: None,
        tablespace_mapping: Default::default(),
        delta_restore: false,
        connection: server.connection.clone(),
        control: Control::pg_ctl(),
        repositories: Vec::new(),
        probes: Vec::new(),
        tables: Vec::new(),
        health_url: None,
        application: None,
        archiving: Default::default(),
        retention: Default::default(),
        schedule: Default::default(),
        masking: Vec::new(),
        erasure: None,
    })
}

fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::Critical => "critical",
        Tier::High => "high",
        Tier::Standard => "standard",
        Tier::Archive => "archive",
    }
}

fn minutes(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}

/// Where backups go, and what protects them. The second value: the configuration has it already.
pub fn repository(
    asker: &Asker,
    args: &Init,
    cluster: &str,
    facts: &Facts,
    config: Option<&Config>,
    config_path: &Path,
) -> Result<(RepositoryConfig, bool), Explanation> {
    let named = args.repository_path.is_some() || args.s3_bucket.is_some();
    let shared = config.and_then(|config| config.repositories.iter().find(|r| shareable(r)));
    if let Some(shared) = shared.filter(|_| !named) {
        let question = format!("Keep its backups in the repository \"{}\" too?", shared.name);
        if asker.agree(&question, true, true)? {
            return Ok((shared.clone(), true));
        }
    }
    let store = store(asker, args, cluster, facts)?;
    let encryption = encryption(asker, args, config_path)?;
    let stem = if matches!(store, StoreConfig::S3(_)) { "far" } else { "local" };
    let free = |name: &str| config.is_none_or(|config| config.repository(name).is_none());
    let name = std::iter::once(stem.to_owned())
        .chain((2..1_000).map(|number| format!("{stem}-{number}")))
        .find(|name| free(name))
        .unwrap_or_else(|| stem.to_owned());
    let made = RepositoryConfig {
        name,
        store,
        encryption,
        codec: Codec::Gzip,
        level: None,
        workers: None,
        place: Default::default(),
    };
    Ok((made, false))
}

/// Whether several clusters can share the entry.
fn shareable(repository: &RepositoryConfig) -> bool {
    match &repository.store {
        StoreConfig::File { path } => path.to_string_lossy().contains("{cluster}"),
        StoreConfig::S3(s3) => s3.prefix.contains("{cluster}"),
    }
}

fn store(
    asker: &Asker,
    args: &Init,
    cluster: &str,
    facts: &Facts,
) -> Result<StoreConfig, Explanation> {
    let default = if nix::unistd::geteuid().is_root() {
        String::from("/var/backups/lifeboat/{cluster}")
    } else {
        let home = std::env::var("HOME").unwrap_or_else(|_| String::from("/var/tmp"));
        format!("{home}/lifeboat-backups/{{cluster}}")
    };
    let good = |text: &str| {
        let inside = Path::new(text).starts_with(&facts.data_directory);
        match (text.strip_prefix("s3:"), Path::new(text).is_absolute()) {
            (Some(""), _) => Err(String::from("a bucket's name follows s3:")),
            (Some(_), _) => Ok(()),
            (None, false) => Err(String::from("write an absolute path, or s3:BUCKET")),
            (None, true) if inside => {
                Err(String::from("it lies inside the data directory, which a restore moves aside"))
            }
            (None, true) => Ok(()),
        }
    };
    let given = args.repository_path.as_ref().map(|path| path.display().to_string());
    let given = given.or_else(|| args.s3_bucket.as_ref().map(|bucket| format!("s3:{bucket}")));
    let place = asker.text(
        given.as_deref(),
        "--repository-path or --s3-bucket",
        "Where to keep backups: a folder, or s3:BUCKET",
        &default,
        &good,
    )?;
    let Some(bucket) = place.strip_prefix("s3:") else {
        let store = StoreConfig::File { path: PathBuf::from(place) };
        let folder = furnish::folder_of(&store, cluster).unwrap_or_default();
        if furnish::same_volume(&folder, &facts.data_directory) == Some(true) {
            asker.say(
                "  WARNING: that is the data directory's own volume; one failed disk takes both.",
            )?;
        }
        return Ok(store);
    };
    let any = |_: &str| Ok(());
    let filled = |text: &str| {
        if text.is_empty() { Err(String::from("it is empty")) } else { Ok(()) }
    };
    let region =
        asker.text(args.s3_region.as_deref(), "--s3-region", "Its region", "us-east-1", &filled)?;
    let endpoint = asker.text(
        args.s3_endpoint.as_deref(),
        "--s3-endpoint",
        "Its endpoint (empty: Amazon's)",
        "",
        &any,
    )?;
    let keys = args.s3_credentials_file.as_ref().map(|path| path.display().to_string());
    let keys = asker.text(
        keys.as_deref(),
        "--s3-credentials-file",
        "The file with its access keys, mode 0600 (empty: as the AWS command line finds them)",
        "",
        &any,
    )?;
    Ok(StoreConfig::S3(Box::new(S3Config {
        bucket: bucket.to_owned(),
        prefix: String::from("{cluster}"),
        endpoint: (!endpoint.is_empty()).then_some(endpoint),
        region,
        root_certificate: None,
        credentials: if keys.is_empty() {
            S3Credentials::default()
        } else {
            S3Credentials::File { path: PathBuf::from(keys), profile: None }
        },
        object_lock: None,
        parallel: None,
        timeout_seconds: None,
    })))
}

fn encryption(asker: &Asker, args: &Init, config: &Path) -> Result<Encryption, Explanation> {
    if args.no_encryption {
        return Ok(Encryption::None);
    }
    let given = args.master_key_file.as_ref().map(|path| path.display().to_string());
    let default = config.with_file_name("master.key").display().to_string();
    let good = |text: &str| {
        if text == "none" || Path::new(text).is_absolute() {
            Ok(())
        } else {
            Err(String::from("write an absolute path, or none"))
        }
    };
    let key = asker.text(
        given.as_deref(),
        "--master-key-file",
        "The master key's file, made where it is missing (none: no encryption)",
        &default,
        &good,
    )?;
    if key == "none" {
        return Ok(Encryption::None);
    }
    asker.say(
        "  WARNING: without this key no backup opens, with or without Lifeboat. Keep a copy of it \
         on another machine.",
    )?;
    Ok(Encryption::Aes256Cbc {
        master_key_file: Some(PathBuf::from(key)),
        master_key_command: None,
        previous_master_key_file: None,
    })
}
