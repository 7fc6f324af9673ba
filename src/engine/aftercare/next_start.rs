//! Where the next start takes place, after a recovery into the alternative directory: whoever starts
//! the server at boot may still know the damaged one. Reads what says so; changes nothing. What cannot
//! be read is never a pass.

use super::Item;
use super::ward::{Found, Ward};
use crate::engine::config::{self, Cluster, Control};
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::control::{Systemctl, UnitState};
use crate::engine::postgres::discovery;
use crate::engine::postgres::layout::{DebianCluster, stated_data_directory};
use crate::engine::restore::plan::after_alternative;
use crate::engine::restore::steps::resolved;
use crate::engine::validate::check::begin;
use std::path::Path;

/// Its id in the runbook data.
pub const ID: &str = "next-start";

pub(super) const ITEM: Item = Item {
    id: ID,
    title: "The next start is in the directory that was recovered",
    looks: "Reads lifeboat.toml and what starts the server at boot, and compares their directory.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

/// Whether it is a question at all: another directory than the configured one was recovered.
#[must_use]
pub fn applies(incident: &Incident) -> bool {
    incident.plan.as_ref().is_some_and(|plan| plan.places.alternative.is_some())
}

/// What tells where a keeper starts the server.
enum Told {
    /// A file names that directory; `None` where it names none, or cannot be read.
    File(String, Option<std::path::PathBuf>),
    /// A unit, and the process of the server in the recovered directory.
    Unit(String, Result<UnitState, String>, Option<i32>),
    /// Nothing that can be read.
    Nobody,
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let alternative = ward.incident.plan.as_ref().and_then(|plan| plan.places.alternative.clone());
    let Some(data) = alternative else {
        let begun = begin(ID, "The next start is in the directory that was recovered");
        return begun.not_run("The cluster was recovered in its configured directory.").into();
    };
    let (site, name) = (ward.site, &ward.site.cluster.name);
    let old = Path::new(&ward.incident.plan.as_ref().map_or("", |plan| &plan.aside)).to_owned();
    let read = config::load(Some(&site.config.path)).map_err(|error| error.explanation().what);
    let fresh = read.and_then(|config| {
        let missing = || format!("{} has no cluster \"{name}\"", site.config.path.display());
        config.cluster(name).cloned().ok_or_else(missing)
    });
    found.check(configured(&fresh, &site.config.path, &data));
    let cluster = fresh.as_ref().unwrap_or(&site.cluster);
    found.check(keeper(&told(cluster, &data), &cluster.control, &data, &old));
    found
}

fn configured(read: &Result<Cluster, String>, file: &Path, data: &Path) -> Check {
    let begun = begin(format!("{ID}:lifeboat"), "lifeboat.toml names the recovered directory");
    match read {
        Err(why) => begun.could_not_verify(why.clone()),
        Ok(cluster) if resolved(&cluster.data_directory) == resolved(data) => {
            begun.verified(format!("{} is the data directory in it.", data.display()))
        }
        Ok(cluster) => begun.found(cluster.data_directory.display().to_string()).failed(format!(
            "Name {} as data_directory in {}, and take alternative_data_directory out or name another.",
            data.display(),
            file.display()
        )),
    }
}

fn told(cluster: &Cluster, data: &Path) -> Told {
    let file = |debian: DebianCluster| {
        let stated = stated_data_directory(&debian.config_file);
        Told::File(debian.config_file.display().to_string(), stated)
    };
    match &cluster.control {
        Control::PgCtlcluster { version, cluster, .. } => {
            file(DebianCluster::named(*version, cluster))
        }
        Control::Systemd { unit: Some(unit), systemctl, .. } => {
            match DebianCluster::of_unit(unit) {
                Some(one) => file(one),
                None => {
                    let state = Systemctl::new(systemctl.clone()).show(unit);
                    let running = discovery::running(data).ok();
                    let pid =
                        running.as_ref().and_then(|running| running.postmaster()).map(|p| p.pid);
                    Told::Unit(unit.clone(), state.map_err(|e| e.explanation().what), pid)
                }
            }
        }
        Control::Systemd { unit: None, .. } | Control::PgCtl { .. } | Control::Command(_) => {
            Told::Nobody
        }
    }
}

/// `old` is the damaged directory, where the next start must not be.
fn keeper(told: &Told, control: &Control, data: &Path, old: &Path) -> Check {
    let begun = begin(format!("{ID}:boot"), "What starts the server at boot knows that directory");
    let change = || {
        let words = after_alternative(control, data);
        format!("Until then a reboot starts {}, the damaged one: {words}.", old.display())
    };
    match told {
        Told::File(file, Some(stated)) if resolved(stated) == resolved(data) => {
            begun.found(stated.display().to_string()).verified(format!("{file} names it."))
        }
        Told::File(_, Some(stated)) => begun.found(stated.display().to_string()).failed(change()),
        Told::File(file, None) => begun.could_not_verify(format!(
            "{file} names no data directory, or cannot be read. {}",
            change()
        )),
        Told::Unit(unit, Ok(state), pid) => {
            let runs = pid.is_some() && state.main_pid == *pid;
            let says = state.names(data) && !state.names(old);
            match (runs, says) {
                (true, _) => begun.found(unit.clone()).verified(
                    "The server in it is the unit's own process: the unit starts it there.",
                ),
                (false, true) => begun.found(unit.clone()).verified(
                    "The unit's environment and commands name it, and not the damaged one.",
                ),
                (false, false) => begun.found(unit.clone()).failed(change()),
            }
        }
        Told::Unit(unit, Err(why), _) => {
            begun.could_not_verify(format!("{unit} could not be asked: {why} {}", change()))
        }
        Told::Nobody => begun.could_not_verify(format!(
            "What starts the server at boot is not known here, look there yourself. {}",
            change()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    fn judged(told: Told) -> Verdict {
        let control = Control::PgCtlcluster {
            version: 15,
            cluster: String::from("main"),
            bin_directory: None,
        };
        keeper(&told, &control, Path::new("/srv/other"), Path::new("/srv/main")).verdict
    }

    fn unit(words: &str, main_pid: Option<i32>) -> Result<UnitState, String> {
        Ok(UnitState { words: words.to_owned(), main_pid, ..UnitState::default() })
    }

    #[test]
    fn only_what_names_the_recovered_directory_is_a_pass() {
        let file = |stated: Option<&str>| {
            judged(Told::File(
                String::from("postgresql.conf"),
                stated.map(std::path::PathBuf::from),
            ))
        };
        assert_eq!(file(Some("/srv/other")), Verdict::Verified);
        assert_eq!(file(Some("/srv/main")), Verdict::Failed);
        assert_eq!(file(None), Verdict::CouldNotVerify);
        assert_eq!(judged(Told::Nobody), Verdict::CouldNotVerify);

        let of = |state, pid| judged(Told::Unit(String::from("pg"), state, pid));
        assert_eq!(of(unit("PGDATA=/srv/other", None), None), Verdict::Verified);
        assert_eq!(of(unit("PGDATA=/srv/main", None), Some(7)), Verdict::Failed);
        assert_eq!(of(unit("", Some(7)), Some(7)), Verdict::Verified);
        assert_eq!(of(unit("", Some(8)), Some(7)), Verdict::Failed, "another process");
        assert_eq!(of(unit("", None), None), Verdict::Failed, "neither runs");
        // One word of the recovered directory is no proof where the damaged one is named as well.
        let both = "PGDATA=/srv/other\n-D /srv/main";
        assert_eq!(of(unit(both, None), Some(7)), Verdict::Failed);
        assert_eq!(of(Err(String::from("no bus")), Some(7)), Verdict::CouldNotVerify);
    }
}
