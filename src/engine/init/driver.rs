//! Which control driver a new cluster gets. Pure but for one look at how its server was started.

use crate::engine::config::Control;
use crate::engine::postgres::control::service_of;
use crate::engine::postgres::layout::DebianCluster;
use std::path::{Path, PathBuf};

/// How a server is kept on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The systemd unit that runs it.
    pub service: Option<String>,
    /// The cluster that it is for Debian.
    pub debian: Option<DebianCluster>,
}

impl Found {
    /// Looks.
    #[must_use]
    pub fn of(data_directory: &Path) -> Self {
        let debian = DebianCluster::of(data_directory);
        Self { service: service_of(data_directory), debian }
    }
}

/// Whoever watches over the server starts and stops it: systemd first, else Debian's program, else
/// `pg_ctl`. `config_file` is `postgresql.conf` where it is not in the data directory.
#[must_use]
pub fn choose(found: &Found, config_file: Option<&PathBuf>) -> Control {
    if let Some(service) = &found.service {
        let name = service.strip_suffix(".service").unwrap_or(service);
        // What Debian's unit says of it needs not be said twice.
        let known = found.debian.as_ref().map(|debian| &debian.config_file) == config_file;
        return Control::unit(name, config_file.filter(|_| !known).cloned());
    }
    match &found.debian {
        Some(debian) if Some(&debian.config_file) == config_file => Control::PgCtlcluster {
            version: debian.version,
            cluster: debian.name.clone(),
            bin_directory: None,
        },
        _ => Control::PgCtl { bin_directory: None, log: None, config_file: config_file.cloned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_over_the_server_is_chosen() {
        let debian = DebianCluster::named(15, "main");
        let (etc, own) = (debian.config_file.clone(), PathBuf::from("/srv/etc/postgresql.conf"));
        let unit = Some(String::from("postgresql@15-main.service"));
        let found = |service: &Option<String>, debian: Option<&DebianCluster>| Found {
            service: service.clone(),
            debian: debian.cloned(),
        };
        assert_eq!(choose(&found(&None, None), None), Control::pg_ctl());
        assert_eq!(
            choose(&found(&unit, Some(&debian)), Some(&etc)),
            Control::unit("postgresql@15-main", None)
        );
        assert_eq!(
            choose(&found(&Some("postgresql-15.service".into()), None), Some(&own)),
            Control::unit("postgresql-15", Some(own.clone()))
        );
        assert_eq!(choose(&found(&None, Some(&debian)), Some(&etc)).driver(), "pg_ctlcluster");
        // Started by hand with another configuration than Debian's.
        let by_hand = choose(&found(&None, Some(&debian)), Some(&own));
        assert_eq!((by_hand.driver(), by_hand.config_file()), ("pg_ctl", Some(own.as_path())));
    }
}
