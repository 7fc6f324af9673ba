//! The rules of channels: names, addresses, and files that hold their secrets.

use super::judge::Judge;
use super::locate::Into::{At, Key};
use crate::engine::config::Config;
use crate::engine::config::channels::{Channel, ChannelTarget, MailTls};

impl Judge<'_> {
    pub(super) fn channel(&mut self, at: usize, channel: &Channel, config: &Config) {
        for name in &channel.clusters {
            if config.cluster(name).is_none() {
                let text = format!(
                    "\"{}\" names the cluster \"{name}\", which is not there",
                    channel.name
                );
                self.problem(&[Key("channels"), At(at), Key("clusters")], text);
            }
        }
        let target = |key| [Key("channels"), At(at), Key("target"), Key(key)];
        for (key, path) in channel.secrets() {
            self.absolute(&target(key), Some(path));
        }
        self.absolute(&target("root_certificate"), channel.root_certificate().map(|p| p.as_path()));
        match &channel.target {
            ChannelTarget::Pagerduty { url, .. } | ChannelTarget::Webhook { url, .. } => {
                if !(url.starts_with("https://") || is_local(url)) {
                    let text = format!(
                        "the address of \"{}\" is not https://; in the clear, messages go to this \
                         machine alone (http://127.0.0.1…)",
                        channel.name
                    );
                    self.problem(&target("url"), text);
                }
            }
            ChannelTarget::Slack { .. } => {}
            ChannelTarget::Email { from, to, user, password_file, tls, host, .. } => {
                if host.trim().is_empty() {
                    self.problem(&target("host"), String::from("host is empty"));
                }
                if !from.contains('@') {
                    self.problem(&target("from"), format!("from: \"{from}\" is no address"));
                }
                match to.iter().find(|address| !address.contains('@')) {
                    Some(wrong) => {
                        self.problem(&target("to"), format!("to: \"{wrong}\" is no address"));
                    }
                    None if to.is_empty() => {
                        self.problem(&target("to"), String::from("to names nobody"));
                    }
                    None => {}
                }
                if user.is_some() != password_file.is_some() {
                    let text = String::from("user and password_file go together");
                    self.problem(&target("user"), text);
                }
                if *tls == MailTls::None && password_file.is_some() {
                    let text = String::from("a password is not sent in the clear: set tls");
                    self.problem(&target("tls"), text);
                }
            }
        }
    }

    pub(super) fn channel_files(&mut self, at: usize, channel: &Channel) {
        for (key, path) in channel.secrets() {
            let place = [Key("channels"), At(at), Key("target"), Key(key)];
            self.secret(&place, path, "the channel's secret");
        }
        if let Some(path) = channel.root_certificate() {
            let place = [Key("channels"), At(at), Key("target"), Key("root_certificate")];
            self.readable(&place, path, "the root certificate");
        }
    }
}

fn is_local(url: &str) -> bool {
    ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|here| {
        url.strip_prefix(here).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn what_is_this_machine() {
        for url in ["http://127.0.0.1:80/x", "http://localhost/", "http://[::1]:9"] {
            assert!(is_local(url), "{url}");
        }
        for url in ["http://127.0.0.1.example.org/", "http://localhosts/", "http://10.0.0.1/"] {
            assert!(!is_local(url), "{url}");
        }
    }
}
