//! What `lifeboat.toml` may declare of where a repository lies: medium, host, site, account,
//! region, and what keeps its objects from being removed. Owns the types and what follows from
//! the store where nothing is declared; never measures anything (see `copies::policy`).

use super::s3::LockMode;
use super::{RepositoryConfig, StoreConfig};
use crate::engine::postgres::discovery;
use serde::{Deserialize, Serialize};

/// As declared; what is absent follows from the store, see [`RepositoryConfig::place`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceConfig {
    /// `disk`, `object-storage`, `tape`, …: two different words are two media.
    #[serde(default)]
    pub medium: Option<String>,
    /// The machine or server that holds the bytes.
    #[serde(default)]
    pub host: Option<String>,
    /// The building or data centre.
    #[serde(default)]
    pub site: Option<String>,
    /// True where that is not the site of the cluster's server.
    #[serde(default)]
    pub off_site: Option<bool>,
    /// Whose password or contract can empty it.
    #[serde(default)]
    pub account: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    /// Not reachable over any network except while a copy is made: a tape or disk in a safe.
    #[serde(default)]
    pub offline: bool,
    #[serde(default)]
    pub immutability: Immutability,
    /// The line to it is no faster than this: for drills of a far copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
}

/// A line between this machine and a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub bytes_per_second: u64,
    /// Of each question and its answer, in milliseconds.
    #[serde(default)]
    pub latency_ms: u32,
}

/// What keeps objects from being removed or changed before their day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Immutability {
    #[default]
    None,
    /// S3 Object Lock; each object can be asked what keeps it.
    ObjectLock { mode: LockMode, days: u16 },
    /// Media or a file system that is written once; nothing that Lifeboat could ask.
    Worm,
}

/// Where a repository lies, with what follows from its store filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub medium: String,
    /// `None` where nobody knows.
    pub host: Option<String>,
    pub site: Option<String>,
    pub off_site: Option<bool>,
    pub account: Option<String>,
    pub region: Option<String>,
    pub offline: bool,
    pub immutability: Immutability,
}

impl RepositoryConfig {
    /// Where it lies: as declared, else as its store tells. Files are taken to lie on this host
    /// and at its site, S3 on its endpoint in its region.
    #[must_use]
    pub fn place(&self) -> Place {
        let declared = self.place.clone();
        let (medium, host, region, off_site, immutability) = match &self.store {
            StoreConfig::File { .. } => {
                ("disk", discovery::host_name(), None, Some(false), Immutability::None)
            }
            StoreConfig::S3(s3) => {
                let amazon = || format!("s3.{}.amazonaws.com", s3.region);
                let host = s3.endpoint.as_deref().map_or_else(amazon, host_of);
                let lock = s3.object_lock.map_or(Immutability::None, |lock| {
                    Immutability::ObjectLock { mode: lock.mode, days: lock.days }
                });
                ("object-storage", host, Some(s3.region.clone()), None, lock)
            }
        };
        let elsewhere = declared.host.is_some() || declared.site.is_some();
        Place {
            medium: declared.medium.unwrap_or_else(|| medium.to_owned()),
            host: declared.host.or_else(|| (!declared.offline).then_some(host)),
            site: declared.site,
            // Somebody who names another host or a site has not yet said whether that is away.
            off_site: declared.off_site.or(off_site.filter(|_| !elsewhere)),
            account: declared.account,
            region: declared.region.or(region),
            offline: declared.offline,
            immutability: match declared.immutability {
                Immutability::None => immutability,
                declared => declared,
            },
        }
    }
}

/// `https://host:port/` without what is not the host.
fn host_of(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let name = rest.split('/').next().unwrap_or(rest);
    match name.strip_prefix('[').and_then(|name| name.split_once(']')) {
        Some((address, _)) => address.to_owned(),
        None => name.split(':').next().unwrap_or(name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::load::parse;
    use std::path::Path;

    fn place(text: &str) -> Place {
        let text = format!("[[repositories]]\nname = \"one\"\n{text}");
        let config = parse(&text, Path::new("test.toml")).unwrap_or_else(|e| panic!("{e}"));
        config.repositories[0].place()
    }

    const FILE: &str = "[repositories.store]\nkind = \"file\"\npath = \"/backups\"\n";
    const S3: &str = "[repositories.store]\nkind = \"s3\"\nbucket = \"safe\"\n\
                      region = \"eu-1\"\nendpoint = \"https://s3.example.net:9000\"\n";

    #[test]
    fn files_lie_here_and_s3_at_its_endpoint() {
        let here = place(FILE);
        assert_eq!((here.medium.as_str(), here.off_site), ("disk", Some(false)));
        assert_eq!(here.host, Some(discovery::host_name()));
        let there = place(S3);
        assert_eq!(there.host.as_deref(), Some("s3.example.net"));
        assert_eq!((there.region.as_deref(), there.off_site), (Some("eu-1"), None));
        let locked =
            format!("{S3}[repositories.store.object_lock]\nmode = \"compliance\"\ndays = 30\n");
        let kept = Immutability::ObjectLock { mode: LockMode::Compliance, days: 30 };
        assert_eq!(place(&locked).immutability, kept);
    }

    #[test]
    fn what_is_declared_wins() {
        let declared = format!(
            "{FILE}[repositories.place]\nmedium = \"tape\"\noffline = true\nsite = \"vault\"\n\
             immutability = {{ kind = \"worm\" }}\n"
        );
        let tape = place(&declared);
        assert_eq!(tape.medium, "tape");
        assert_eq!((tape.host, tape.off_site, tape.offline), (None, None, true));
        assert_eq!(tape.immutability, Immutability::Worm);
    }

    #[test]
    fn hosts_of_endpoints() {
        for (endpoint, host) in [
            ("http://one:1/", "one"),
            ("https://two.example", "two.example"),
            ("https://[::1]:9", "::1"),
        ] {
            assert_eq!(host_of(endpoint), host);
        }
    }
}
