//! How a message reaches one channel. Owns what a delivery can come to; each kind of channel is a
//! file of its own that makes one request a message. Secrets are read anew for each delivery and
//! stand in no error.

mod http;
mod mail;
mod pagerduty;
mod slack;
mod webhook;

use super::Message;
use crate::engine::config::channels::{Channel, ChannelTarget};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// No delivery takes longer.
pub const LIMIT: Duration = Duration::from_secs(15);
/// Longer secrets are a mistake.
const LONGEST: u64 = 4096;

/// Why a message did not arrive. The words hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may arrive later: the network, a server that is busy or broken.
    #[error("{why}")]
    Later {
        why: String,
        /// The server's own wish.
        after: Option<Duration>,
    },
    /// It will not arrive as it is: refused, or the channel is set up wrong.
    #[error("{0}")]
    Never(String),
}

impl DeliveryError {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), after: None }
    }
}

/// Brings the message to the channel. Blocks for at most about [`LIMIT`].
///
/// # Errors
/// Where it did not arrive for certain.
pub fn deliver(channel: &Channel, message: &Message) -> Result<(), DeliveryError> {
    match &channel.target {
        ChannelTarget::Pagerduty { routing_key_file, url, root_certificate } => {
            let key = secret(routing_key_file)?;
            for body in pagerduty::bodies(message, &key) {
                http::post(url, root_certificate.as_deref(), &[], &body?)?;
            }
            Ok(())
        }
        ChannelTarget::Slack { url_file, root_certificate } => {
            let url = secret(url_file)?;
            let body = slack::body(message)?;
            http::post(&url, root_certificate.as_deref(), &[], &body)
        }
        ChannelTarget::Webhook { url, secret_file, root_certificate } => {
            let signed = webhook::signed(message, &secret(secret_file)?, jiff::Timestamp::now())?;
            http::post(url, root_certificate.as_deref(), &signed.headers, &signed.body)
        }
        ChannelTarget::Email { password_file, .. } => {
            let password = password_file.as_deref().map(secret).transpose()?;
            mail::send(&channel.target, message, password)
        }
    }
}

/// The file's first line. A file that others can read is refused: what it holds is no secret.
fn secret(path: &Path) -> Result<Zeroizing<String>, DeliveryError> {
    let fault = |why: String| {
        // It can be put right while the message waits.
        DeliveryError::later(format!("the secret in {} cannot be used: {why}", path.display()))
    };
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| fault(error.to_string()))?;
    let found = file.metadata().map_err(|error| fault(error.to_string()))?;
    if !found.is_file() {
        return Err(fault(String::from("it is not a plain file")));
    }
    if found.mode() & 0o077 != 0 {
        return Err(fault(format!(
            "it is open to other users (mode {:04o}); run: chmod 600",
            found.mode() & 0o777
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(fault(String::from("its first line is empty"))),
    }
}

/// A value as the JSON body of a request.
fn json(value: &serde_json::Value) -> Result<Vec<u8>, DeliveryError> {
    serde_json::to_vec(value).map_err(|error| DeliveryError::Never(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_one_line_of_a_closed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let put = |content: &str, mode: u32| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let told =
            |result: Result<Zeroizing<String>, DeliveryError>| result.unwrap_err().to_string();
        put("hunter2 \nsecond\n", 0o600);
        assert_eq!(*secret(&path).unwrap(), "hunter2");
        put("hunter2\n", 0o640);
        let words = told(secret(&path));
        assert!(words.contains("open to other users (mode 0640)"), "{words}");
        assert!(!words.contains("hunter2"));
        put("\n", 0o600);
        assert!(told(secret(&path)).contains("empty"));
        assert!(told(secret(folder.path())).contains("not a plain file"));
    }
}
