//! `[clusters.erasure]`: the list of what was erased at people's wish and must not come back with a
//! recovery.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// The list: keys, not data. Closed to other users, since keys may name people.
    pub list: PathBuf,
    /// A recovered server is not opened where the list could not be carried out. Without it the
    /// server opens, and the validation says FAILED.
    #[serde(default)]
    pub required: bool,
}
