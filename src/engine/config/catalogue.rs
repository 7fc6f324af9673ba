//! `[catalogue]`: the database that keeps a second record of incidents, backups and recoveries.
//! Optional, and never needed for recovering.

use super::{Cluster, Connection};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// A password comes from its passfile, or from the command below.
    pub connection: Connection,
    /// A program and its arguments that print the password on the first line.
    #[serde(default)]
    pub password_command: Option<Vec<String>>,
    /// Says that it is known to lie in a cluster that Lifeboat recovers: a recovery of that cluster
    /// takes the catalogue back with it.
    #[serde(default)]
    pub in_recovered_cluster: bool,
}

impl Catalogue {
    /// Whether it is at the address of this cluster.
    #[must_use]
    pub fn is_at(&self, cluster: &Cluster) -> bool {
        let (ours, theirs) = (&self.connection, &cluster.connection);
        ours.port == theirs.port && ours.host == theirs.host
    }
}
