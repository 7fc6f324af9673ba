//! `[escalation]`: who is called when a recovery lasts. Owns the types; the levels and their times
//! are the runbook's.

use serde::{Deserialize, Serialize};

/// Who is called, and how often until somebody answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Escalation {
    /// Minutes after which a level that nobody acknowledged is called again.
    pub again_after_minutes: u32,
    pub contacts: Vec<Contact>,
}

impl Default for Escalation {
    fn default() -> Self {
        Self { again_after_minutes: 10, contacts: Vec::new() }
    }
}

/// Somebody of a level, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The level's id in the runbook: `1` to `4`, where a team's own runbook says nothing else.
    pub level: String,
    /// Of a person, a rota or a company.
    pub name: String,
    /// A telephone number, an address, a contract's number.
    #[serde(default)]
    pub reach: String,
    /// Only for incidents of these clusters. Empty: of all.
    #[serde(default)]
    pub clusters: Vec<String>,
}

impl Contact {
    /// Whether it is for incidents of that cluster.
    #[must_use]
    pub fn is_for(&self, cluster: &str) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|name| name == cluster)
    }
}

impl std::fmt::Display for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.reach.is_empty() { Ok(()) } else { write!(f, ", {}", self.reach) }
    }
}
