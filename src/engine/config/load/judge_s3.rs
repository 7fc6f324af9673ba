//! The rules of a repository in S3. Never asks the server, and never opens a secret.

use super::judge::Judge;
use super::locate::{Into, Into::At, Into::Key};
use crate::engine::config::{S3Config, S3Credentials};

/// Object Lock takes no more than a hundred years.
const MOST_DAYS: u16 = 36_500;

fn here<'k>(at: usize, key: &'k str) -> [Into<'k>; 4] {
    [Key("repositories"), At(at), Key("store"), Key(key)]
}

fn inner<'k>(at: usize, outer: &'k str, key: &'k str) -> [Into<'k>; 5] {
    [Key("repositories"), At(at), Key("store"), Key(outer), Key(key)]
}

impl Judge<'_> {
    pub(super) fn s3(&mut self, at: usize, s3: &S3Config) {
        let name_is_good = |name: &str| {
            name.len() >= 3
                && name.len() <= 63
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !name_is_good(&s3.bucket) {
            let text = format!(
                "\"{}\" is no bucket's name: 3 to 63 letters, digits, '-', '_' and '.'",
                s3.bucket
            );
            self.problem(&here(at, "bucket"), text);
        }
        let part_is_good = |part: &str| !part.is_empty() && !part.starts_with('.');
        let prefix_is_good = s3.prefix.split('/').all(part_is_good)
            && !s3.prefix.contains(|c: char| c.is_control() || c == '\\');
        if !s3.prefix.is_empty() && !prefix_is_good {
            let text = String::from(
                "the prefix is words with a slash between them, none at its ends, and no word \
                 begins with a dot",
            );
            self.problem(&here(at, "prefix"), text);
        }
        let region_is_good =
            !s3.region.is_empty() && s3.region.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if !region_is_good {
            let text = String::from("the region is a word such as eu-central-1");
            self.problem(&here(at, "region"), text);
        }
        if let Some(endpoint) = &s3.endpoint {
            let host = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://"));
            let good = |host: &str| {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
            };
            if !host.is_some_and(good) {
                let text = String::from("the endpoint is https://host or https://host:port");
                self.problem(&here(at, "endpoint"), text);
            }
            if endpoint.starts_with("http://") && s3.root_certificate.is_some() {
                let text = String::from("root_certificate is set, but the endpoint is not https");
                self.problem(&here(at, "root_certificate"), text);
            }
        }
        self.absolute(&here(at, "root_certificate"), s3.root_certificate.as_deref());
        match &s3.credentials {
            S3Credentials::File { path, .. } => {
                self.absolute(&inner(at, "credentials", "path"), Some(path));
            }
            S3Credentials::WebIdentity { token_file, .. } => {
                self.absolute(&inner(at, "credentials", "token_file"), Some(token_file));
            }
            S3Credentials::Process { command } => {
                if !command.first().is_some_and(|program| program.starts_with('/')) {
                    let text =
                        String::from("the command must begin with a program's absolute path");
                    self.problem(&inner(at, "credentials", "command"), text);
                }
            }
            S3Credentials::Chain { .. } | S3Credentials::Ecs | S3Credentials::Ec2 => {}
        }
        if let Some(lock) = s3.object_lock
            && !(1..=MOST_DAYS).contains(&lock.days)
        {
            let text = format!("the days of a retention are 1 to {MOST_DAYS}");
            self.problem(&inner(at, "object_lock", "days"), text);
        }
        if s3.parallel.is_some_and(|n| !(1..=64).contains(&n)) {
            self.problem(&here(at, "parallel"), String::from("parallel is 1 to 64"));
        }
        if s3.timeout_seconds.is_some_and(|n| !(1..=3600).contains(&n)) {
            self.problem(&here(at, "timeout_seconds"), String::from("the time-out is 1 to 3600 s"));
        }
    }

    pub(super) fn s3_files(&mut self, at: usize, s3: &S3Config) {
        if let Some(path) = &s3.root_certificate {
            self.readable(&here(at, "root_certificate"), path, "the root certificate");
        }
        if let S3Credentials::File { path, .. } = &s3.credentials {
            self.secret(&inner(at, "credentials", "path"), path, "the credentials file");
        }
    }
}
