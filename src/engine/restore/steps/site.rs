//! The ground that the steps stand on: configuration, cluster, paths, and the guard that reads the
//! target's identity again. Owns no step.

use crate::engine::config::{Cluster, Config};
use crate::engine::copies::{self, Chosen};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Identity;
use crate::engine::incident::trouble::Adjustments;
use crate::engine::postgres::control::{self, Driver};
use crate::engine::postgres::discovery::Owner;
use crate::engine::postgres::{control_file, discovery};
use crate::engine::recovery_point::Rates;
use crate::engine::recovery_point::rates::Work;
use crate::engine::repository::{Repository, descriptor};
use crate::engine::restore::places::{BackupSpace, moves};
use crate::engine::runner::plan::Plan;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// What every step is given when it is made.
#[derive(Debug, Clone)]
pub struct Site {
    pub config: Config,
    pub cluster: Cluster,
    /// The program that the server's restore_command calls.
    pub executable: PathBuf,
    /// The incident's folder.
    pub folder: PathBuf,
    /// In what this recovery differs from its plan because of cures.
    pub adjusted: Adjustments,
    /// Set where `cluster.data_directory` is that of a new cluster beside the configured one.
    pub beside: Option<Beside>,
    /// The data directory that the configuration names, where `cluster.data_directory` is another
    /// one: that of a new cluster, or the alternative.
    pub configured: Option<PathBuf>,
}

/// A cluster beside the configured one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The configured data directory.
    pub live: PathBuf,
    pub port: u16,
}

impl Site {
    /// The same ground as cures have changed it.
    #[must_use]
    pub fn adjusted_by(&self, adjusted: &Adjustments) -> Self {
        let mut site = Self { adjusted: adjusted.clone(), ..self.clone() };
        if let Some(port) = adjusted.port {
            site.cluster.connection.port = port;
        }
        site
    }

    /// The data directory that is being recovered.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.cluster.data_directory
    }

    /// The same ground for a new cluster in `destination`, which listens at `port`, or at another
    /// one where a cure has given it that.
    #[must_use]
    pub fn beside(&self, destination: &Path, port: u16) -> Self {
        let mut site = self.clone();
        let port = self.adjusted.beside_port.unwrap_or(port);
        site.beside = Some(Beside { live: self.live().to_owned(), port });
        site.configured = Some(self.configured().data_directory);
        destination.clone_into(&mut site.cluster.data_directory);
        site
    }

    /// The data directory that the configuration names.
    #[must_use]
    pub fn live(&self) -> &Path {
        self.beside.as_ref().map_or_else(|| self.data(), |beside| &beside.live)
    }

    /// The user that the cluster's files belong to, also where its directory is gone: the
    /// directory's owner, else that of the folder above it, else whom a restore is run for.
    ///
    /// # Errors
    /// Where no such user is on this machine.
    pub fn server_owner(&self) -> Result<Owner, Explanation> {
        let live = self.live();
        let above = live.parent().unwrap_or(live);
        if let Some(owner) = [live, above].iter().find_map(|path| discovery::owner(path).ok()) {
            return Ok(owner);
        }
        if !nix::unistd::geteuid().is_root() {
            return Ok(Owner::current());
        }
        let name = self.config.sandbox.user.as_deref().unwrap_or("postgres");
        Owner::named(name).map_err(|e| e.explanation())
    }

    /// Where segments fetched ahead wait: beside the data directory, on the same volume, so that
    /// handing one over is a rename.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        let mut name = self.data().file_name().unwrap_or_default().to_os_string();
        name.push(".lifeboat-spool");
        self.data().with_file_name(name)
    }

    /// The cluster as the configuration has it: a service knows that directory alone, and where
    /// the server's configuration is follows from it.
    #[must_use]
    pub fn configured(&self) -> Cluster {
        let mut cluster = self.cluster.clone();
        if let Some(configured) = &self.configured {
            cluster.data_directory.clone_from(configured);
        }
        cluster
    }

    /// For the server in [`Site::data`]: the configured driver where that is the configured
    /// directory, else `pg_ctl`.
    ///
    /// # Errors
    /// Where the cluster's control driver cannot be made (no binaries of its version).
    pub fn driver(&self) -> Result<Box<dyn Driver>, Explanation> {
        control::driver_for(&self.configured(), self.data()).map_err(|e| e.explanation())
    }

    /// Every copy of the plan's base in the cluster's repositories, fastest first.
    ///
    /// # Errors
    /// Where none of them has it as it was when the plan was made.
    pub fn copies(&self, plan: &Plan) -> Result<Chosen, Explanation> {
        let base = &plan.base;
        copies::choose(&self.config, &self.cluster, &base.set, None, Some(base))
    }

    /// The repositories that the recovery fetches WAL from: the plan's, as cures have changed them.
    #[must_use]
    pub fn asked(&self, plan: &Plan) -> Vec<&String> {
        let all = plan.repositories.is_empty() || self.adjusted.all_repositories;
        let named = self.cluster.repositories.iter();
        named
            .filter(|name| all || plan.repositories.contains(name))
            .filter(|name| !self.adjusted.without_repositories.contains(name))
            .collect()
    }

    /// Every repository of the cluster, or why it cannot be asked.
    #[must_use]
    pub fn archives(&self) -> Vec<Result<Repository, Explanation>> {
        self.cluster
            .repositories
            .iter()
            .filter_map(|name| self.config.repository(name))
            .map(|r| Repository::open(r, &self.cluster.name).map_err(|e| e.explanation()))
            .collect()
    }

    /// The tablespaces of a backup, from the first repository that has it.
    ///
    /// # Errors
    /// The first repository's reason, where none has it.
    pub fn backup_spaces(&self, set: &str) -> Result<Vec<BackupSpace>, Explanation> {
        let mut reason = None;
        for archive in self.archives() {
            let read = archive.and_then(|a| a.read_set(set).map_err(|e| e.explanation()));
            match read {
                Ok(found) => {
                    let space = |space: &descriptor::Tablespace| BackupSpace {
                        oid: space.oid,
                        location: PathBuf::from(&space.path),
                    };
                    return Ok(found.tablespaces.iter().map(space).collect());
                }
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        reason.map_or_else(|| Ok(Vec::new()), Err)
    }

    /// The same ground, seen from the directory that the plan recovers into.
    #[must_use]
    pub fn recovered(&self, plan: &Plan) -> Self {
        let mut site = self.clone();
        if let Some(alternative) = &plan.places.alternative {
            site.configured = Some(self.configured().data_directory);
            site.cluster.data_directory.clone_from(alternative);
        }
        site
    }

    /// The owner that restored files get: that of the damaged directory.
    ///
    /// # Errors
    /// Where neither directory can be looked at.
    pub fn owner(&self, plan: &Plan) -> Result<(u32, u32), Explanation> {
        use std::os::unix::fs::MetadataExt;
        let aside = Path::new(&plan.aside);
        if self.beside.is_some() || (plan.lost && !aside.exists()) {
            return self.server_owner().map(|owner| (owner.uid, owner.gid));
        }
        let place = if aside.exists() { aside } else { self.data() };
        let metadata = std::fs::metadata(place).map_err(|e| io(&e, "look at", place))?;
        Ok((metadata.uid(), metadata.gid()))
    }

    /// Reads the identity of `directory` again and compares it with the plan's.
    ///
    /// # Errors
    /// Where it is another host, another cluster, or cannot be read: nothing may be changed then.
    pub fn confirm(&self, plan: &Plan, directory: &Path) -> Result<(), Explanation> {
        self.confirm_place(plan)?;
        let control = control_file::read(directory).map_err(|e| e.explanation())?;
        if control.system_identifier != plan.identity.system_identifier {
            return Err(other(format!(
                "{} holds the cluster with system identifier {}, but the plan was confirmed for {}.",
                directory.display(),
                control.system_identifier,
                plan.identity.system_identifier
            )));
        }
        Ok(())
    }

    /// Whether this is the machine and the configured place of the plan.
    ///
    /// # Errors
    /// Where it is another one: nothing may be changed then.
    pub fn confirm_place(&self, plan: &Plan) -> Result<(), Explanation> {
        let host = discovery::host_name();
        if host != plan.identity.host {
            return Err(other(format!(
                "This machine is {host}, but the plan was confirmed for {}.",
                plan.identity.host
            )));
        }
        let here = resolved(self.live());
        let is_alternative = plan.places.alternative.as_deref() == Some(self.live());
        if here != Path::new(&plan.identity.data_directory) && !is_alternative {
            return Err(other(format!(
                "lifeboat.toml now names the data directory {}, but the plan was confirmed for {}.",
                self.live().display(),
                plan.identity.data_directory
            )));
        }
        Ok(())
    }

    /// Remembers how fast this machine copied or replayed, for the next forecast. A forecast is no
    /// reason to fail a recovery.
    pub fn learn(&self, work: Work, bytes: u64, seconds: f64) {
        let state = self.config.state_directory();
        let mut rates = Rates::load(&state);
        rates.learn(work, bytes, seconds);
        let _ = rates.save(&state);
    }

    /// # Errors
    /// Where it cannot be told what the data directory is.
    pub fn identity(&self) -> Result<Identity, Explanation> {
        discovery::identity(self.data()).map_err(|e| e.explanation())
    }

    /// Why the configured data directory tells nothing of its cluster: gone, empty, or its control
    /// file is missing or damaged. `None` where it does tell.
    ///
    /// # Errors
    /// Where it may be there and cannot be looked at, or a server runs in it.
    pub fn lost(&self) -> Result<Option<String>, Explanation> {
        use crate::engine::postgres::control_file::ControlFileError as E;
        let live = self.live();
        let why = match control_file::read(live) {
            Ok(_) => return Ok(None),
            Err(E::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                match live.exists() {
                    false => format!("{} is gone", live.display()),
                    true => format!("{} has no global/pg_control", live.display()),
                }
            }
            Err(error @ (E::Short { .. } | E::Checksum { .. } | E::Value { .. })) => {
                error.to_string().trim_end_matches('.').to_owned()
            }
            Err(error) => return Err(error.explanation()),
        };
        let running = discovery::running(live).map_err(|e| e.explanation())?;
        if running.postmaster().is_some() {
            return Err(Explanation::new(
                Kind::Refused,
                format!("{why}, and its server still runs."),
                "Nothing was touched.",
                "Stop that server first.",
            ));
        }
        Ok(Some(why))
    }

    /// PostgreSQL's programs of a version that a backup names.
    ///
    /// # Errors
    /// Where none of that version are found.
    pub fn binaries_of(&self, major: u32) -> Result<discovery::Binaries, Explanation> {
        discovery::binaries_of(self.cluster.control.bin_directory(), None, Some(major))
            .map_err(|e| e.explanation())
    }

    /// The damaged cluster is where the plan keeps it, whole.
    #[must_use]
    pub fn is_aside(&self, plan: &Plan) -> bool {
        // What tells nothing of itself is known by its place alone.
        if plan.lost {
            return Path::new(&plan.aside).exists();
        }
        is_of(plan, Path::new(&plan.aside))
    }

    /// The damaged cluster has left its directory, wholly or in part, as the plan says.
    #[must_use]
    pub fn has_moved(&self, plan: &Plan) -> bool {
        let aside = Path::new(&plan.aside);
        plan.places.alternative.is_none()
            && (is_of(plan, aside) || plan.places.contents && is_of(plan, &moves::under_way(aside)))
    }
}

fn is_of(plan: &Plan, directory: &Path) -> bool {
    control_file::read(directory)
        .is_ok_and(|c| c.system_identifier == plan.identity.system_identifier)
}

/// A directory's real path, also where it is gone and the folder above it is there.
#[must_use]
pub fn resolved(directory: &Path) -> PathBuf {
    let above = || {
        let parent = directory.parent()?.canonicalize().ok()?;
        Some(parent.join(directory.file_name()?))
    };
    directory.canonicalize().ok().or_else(above).unwrap_or_else(|| directory.to_owned())
}

pub(super) fn other(what: String) -> Explanation {
    Explanation::new(
        Kind::Refused,
        format!("{what} This is not the target of the plan."),
        "Nothing was touched.",
        "Check where you are. If this is the right place, make a new plan.",
    )
}

/// An I/O error in an operator's words.
#[must_use]
pub fn io(error: &std::io::Error, verb: &str, path: &Path) -> Explanation {
    let next = match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            "Run Lifeboat as root or as the owner of the data directory, then retry the step."
        }
        std::io::ErrorKind::StorageFull => "Free space on that volume, then retry the step.",
        _ => "Mend the cause, then retry the step.",
    };
    Explanation::new(
        Kind::Storage,
        format!("Could not {verb} {}: {error}.", path.display()),
        "What was there is untouched.",
        next,
    )
}

/// The moment now, for names and notes.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
