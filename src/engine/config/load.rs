//! Finding, reading and judging `lifeboat.toml`. Every error names the file and, where there is
//! one, the line.

use super::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use std::path::Path;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}")]
    Refused(String),
}

impl Explain for ConfigError {
    fn explanation(&self) -> Explanation {
        Explanation::new(Kind::Config, self.to_string(), "Nothing was changed.", "")
    }
}

/// Reads the configuration: `explicit` where given, else the user's, else the system's.
///
/// # Errors
/// Where there is none, or it does not hold.
pub fn load(explicit: Option<&Path>) -> Result<Config, ConfigError> {
    let _ = explicit;
    todo!()
}
