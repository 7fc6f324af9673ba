//! All that the repositories of a cluster owe, paid: WAL first, which the next recovery needs
//! most, then whole sets. Owns the order; what is owed and how it is paid is
//! [`crate::engine::wal::debts`]' and [`super::debts`]'.

use super::debts::{self, SetDebt, Unasked};
use super::{CopiedSet, Report, mend, open_all, pay};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::wal::debts as wal_debts;
use crate::engine::wal::debts::{Limits, Paid};
use jiff::Timestamp;
use serde::Serialize;

/// WAL files that are copied at the same time.
const WORKERS: usize = 4;

/// What catching up came to, or with nothing paid what is owed.
#[derive(Debug, Serialize)]
pub struct Caught {
    pub cluster: String,
    pub wal: Paid,
    /// WAL that is owed still, one line a repository.
    pub wal_owed: Vec<String>,
    /// Repositories that could not be asked which WAL the others owe, with the reason.
    pub wal_unasked: Vec<(String, Explanation)>,
    pub paid: Vec<CopiedSet>,
    /// Still owed; with the reason where it was tried.
    pub owed: Vec<Owed>,
    pub unasked: Vec<Unasked>,
}

/// A set that is owed still.
#[derive(Debug, Serialize)]
pub struct Owed {
    #[serde(flatten)]
    pub debt: SetDebt,
    pub why: Option<Explanation>,
}

impl Caught {
    /// Nothing is owed any more, and every repository was asked.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.owed.is_empty()
            && self.unasked.is_empty()
            && self.wal_owed.is_empty()
            && self.wal_unasked.is_empty()
    }
}

/// Says what is owed, and pays nothing.
#[must_use]
pub fn owed(config: &Config, cluster: &Cluster) -> Caught {
    let opened = open_all(config, cluster);
    let since = debts::retained_since(cluster, Timestamp::now());
    let debts = debts::debts(cluster, &opened, since);
    let incomplete = mend::incomplete(cluster, &opened, since);
    let (wal_owed, wal_unasked) = wal_owed(config, cluster);
    Caught {
        cluster: cluster.name.clone(),
        wal: Paid::default(),
        wal_owed,
        wal_unasked,
        paid: Vec::new(),
        owed: debts
            .sets
            .into_iter()
            .map(|debt| Owed { debt, why: None })
            .chain(incomplete.into_iter().map(not_whole))
            .collect(),
        unasked: debts.unasked,
    }
}

/// Pays what can be paid now.
#[must_use]
pub fn catch_up(
    config: &Config,
    cluster: &Cluster,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Caught {
    let wal = if cluster.repositories.len() > 1 {
        wal_debts::pay(config, cluster, Limits::all(WORKERS), cancelled)
    } else {
        Paid::default()
    };
    let opened = open_all(config, cluster);
    let since = debts::retained_since(cluster, Timestamp::now());
    let debts = debts::debts(cluster, &opened, since);
    let incomplete = mend::incomplete(cluster, &opened, since);
    let (mut paid, mut owed) = (Vec::new(), Vec::new());
    for debt in incomplete {
        match mend::mend(&debt, &opened, progress, cancelled) {
            Ok(mended) => paid.push(mended),
            Err(why) => owed.push(Owed { debt, why: Some(why) }),
        }
    }
    for debt in debts.sets {
        match pay(&debt, &opened, progress, cancelled) {
            Ok(copied) => paid.push(copied),
            Err(why) => owed.push(Owed { debt, why: Some(why) }),
        }
    }
    let (wal_owed, wal_unasked) = wal_owed(config, cluster);
    Caught {
        cluster: cluster.name.clone(),
        wal,
        wal_owed,
        wal_unasked,
        paid,
        owed,
        unasked: debts.unasked,
    }
}

/// Published there, and not whole.
fn not_whole(debt: SetDebt) -> Owed {
    let why = Explanation::new(
        Kind::Integrity,
        format!("{} is published in \"{}\" and not whole there.", debt.set, debt.repository),
        "Nothing was written.",
        "lifeboat catch-up brings what is missing; what is damaged it names and leaves.",
    );
    Owed { debt, why: Some(why) }
}

fn wal_owed(config: &Config, cluster: &Cluster) -> (Vec<String>, Vec<(String, Explanation)>) {
    if cluster.repositories.len() < 2 {
        return (Vec::new(), Vec::new());
    }
    let ledger = wal_debts::owed(config, cluster);
    (ledger.owed.iter().map(wal_debts::Owed::told).collect(), ledger.unasked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_asked_is_not_paid() {
        let mut caught = Caught {
            cluster: String::from("shop"),
            wal: Paid::default(),
            wal_owed: Vec::new(),
            wal_unasked: Vec::new(),
            paid: Vec::new(),
            owed: Vec::new(),
            unasked: Vec::new(),
        };
        assert!(caught.whole());
        let why = Explanation::new(Kind::Storage, "No answer.", "", "");
        caught.wal_unasked.push((String::from("near"), why));
        assert!(!caught.whole());
    }
}
