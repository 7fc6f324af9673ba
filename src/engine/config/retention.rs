//! What `lifeboat.toml` may say of how long a cluster's backups and WAL are kept. Owns the types
//! and the defaults by environment; never removes anything.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// `[clusters.retention]`: what is left out has the environment's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Every point of the last so many days stays reachable. 30 in production, else 7.
    #[serde(default)]
    pub days: Option<u32>,
    /// So many of the newest whole backups are kept whatever their age; 2 where absent.
    #[serde(default)]
    pub minimum: Option<u32>,
    /// A backup that has not changed is read again after so many days; 30 where absent.
    #[serde(default)]
    pub verify_every_days: Option<u32>,
}

impl Retention {
    /// Days that stay reachable in a cluster of this environment.
    #[must_use]
    pub fn days(&self, environment: &str) -> u32 {
        self.days.unwrap_or(if environment == "production" { 30 } else { 7 })
    }

    /// The newest whole backups that stay whatever their age; never less than one.
    #[must_use]
    pub fn minimum(&self) -> u32 {
        self.minimum.unwrap_or(2).max(1)
    }

    /// How old the last whole reading of a backup may be.
    #[must_use]
    pub fn verify_every(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.verify_every_days.unwrap_or(30)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_gives_the_days() {
        let silent = Retention::default();
        assert_eq!(silent.days("production"), 30);
        assert_eq!(silent.days("staging"), 7);
        assert_eq!(silent.days("drill"), 7);
        assert_eq!(silent.minimum(), 2);
        let told = Retention { days: Some(90), minimum: Some(0), ..silent };
        assert_eq!((told.days("staging"), told.minimum()), (90, 1));
    }
}
