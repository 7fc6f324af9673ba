//! `[[channels]]`: whom an incident's messages go to. Owns the types; secrets are named by the file
//! that holds them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One place that messages go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Unique; also the name of the file that keeps what was delivered.
    pub name: String,
    /// Only incidents of these clusters. Empty: of all.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Messages of less importance are not sent.
    #[serde(default)]
    pub least: Importance,
    /// Drills send nothing, unless this says so.
    #[serde(default)]
    pub drills: bool,
    pub target: ChannelTarget,
}

/// How much a message matters to those who receive it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Importance {
    /// It goes on as it should.
    #[default]
    Info,
    /// Somebody has to decide or to look.
    Attention,
    /// Data or service are in danger.
    Urgent,
}

/// Where a channel's messages go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ChannelTarget {
    /// PagerDuty's Events API, version 2.
    Pagerduty {
        /// Holds the integration's routing key.
        routing_key_file: PathBuf,
        /// Another address that speaks the same, such as a region's or a proxy.
        #[serde(default = "pagerduty_url")]
        url: String,
        #[serde(default)]
        root_certificate: Option<PathBuf>,
    },
    /// An incoming webhook of Slack, or of what speaks like it.
    Slack {
        /// Holds the webhook's address, which is its secret.
        url_file: PathBuf,
        #[serde(default)]
        root_certificate: Option<PathBuf>,
    },
    /// A webhook by the Standard Webhooks specification.
    Webhook {
        url: String,
        /// Holds the signing secret, `whsec_…`.
        secret_file: PathBuf,
        #[serde(default)]
        root_certificate: Option<PathBuf>,
    },
    /// Mail by SMTP.
    Email {
        host: String,
        /// Default: 465 with TLS, 587 with STARTTLS, 25 without.
        #[serde(default)]
        port: Option<u16>,
        #[serde(default)]
        tls: MailTls,
        from: String,
        to: Vec<String>,
        #[serde(default)]
        user: Option<String>,
        #[serde(default)]
        password_file: Option<PathBuf>,
    },
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// Plain at first, then encrypted; nothing is sent where the server does not offer it.
    #[default]
    Starttls,
    /// Encrypted from the start.
    Tls,
    /// Never: a server on this machine.
    None,
}

impl Channel {
    /// Whether messages of that cluster and importance go here.
    #[must_use]
    pub fn takes(&self, cluster: &str, importance: Importance, drill: bool) -> bool {
        (self.clusters.is_empty() || self.clusters.iter().any(|name| name == cluster))
            && importance >= self.least
            && (self.drills || !drill)
    }

    /// The files that hold its secrets, by their key in the configuration.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &PathBuf)> {
        match &self.target {
            ChannelTarget::Pagerduty { routing_key_file, .. } => {
                vec![("routing_key_file", routing_key_file)]
            }
            ChannelTarget::Slack { url_file, .. } => vec![("url_file", url_file)],
            ChannelTarget::Webhook { secret_file, .. } => vec![("secret_file", secret_file)],
            ChannelTarget::Email { password_file, .. } => {
                password_file.iter().map(|path| ("password_file", path)).collect()
            }
        }
    }

    /// The authority that its server's certificate is checked against, where it is a private one.
    #[must_use]
    pub fn root_certificate(&self) -> Option<&PathBuf> {
        match &self.target {
            ChannelTarget::Pagerduty { root_certificate, .. }
            | ChannelTarget::Slack { root_certificate, .. }
            | ChannelTarget::Webhook { root_certificate, .. } => root_certificate.as_ref(),
            ChannelTarget::Email { .. } => None,
        }
    }
}

fn pagerduty_url() -> String {
    String::from("https://events.pagerduty.com/v2/enqueue")
}
