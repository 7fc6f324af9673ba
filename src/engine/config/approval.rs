//! `[approval]`: which plans need a second person before they run, and for how long that person's
//! word holds. `[signatures]`: whose SSH keys are known. Owns the policy as values; who approved and
//! signed what is the journal's.

use crate::engine::incident::facts::{Severity, Tier};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How long an approval holds where the configuration does not say, in minutes.
const VALID_MINUTES: u32 = 60;

/// A plan that fits any of the rules needs an approval. Without rules none does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Incidents on clusters of these environments, such as `production`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environments: Vec<String>,
    /// Incidents on clusters of these tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
    /// Incidents of these severities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub severities: Vec<Severity>,
    /// Plans with one of these steps; the approval must hold when such a step begins, whatever
    /// has begun before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// Minutes for which an approval holds; 60 where absent. A run that has begun to change things
    /// under it is not stopped by its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_minutes: Option<u32>,
}

impl Approval {
    /// Whether no plan needs one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How long an approval holds.
    #[must_use]
    pub fn valid(&self) -> SignedDuration {
        SignedDuration::from_mins(i64::from(self.valid_minutes.unwrap_or(VALID_MINUTES)))
    }
}

/// `[signatures]`: whose SSH keys are known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// OpenSSH's `allowed_signers` file; its principals are operating-system users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_signers: Option<PathBuf>,
    /// An approval without a good signature does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

impl Signatures {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
