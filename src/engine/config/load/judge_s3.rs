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
        self.s3_credentials(&here(at, "credentials"), &s3.credentials);
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

    pub(super) fn s3_credentials(&mut self, place: &[Into<'_>], credentials: &S3Credentials) {
        let here = |key| [place, &[Key(key)]].concat();
        match credentials {
            S3Credentials::File { path, .. } => self.absolute(&here("path"), Some(path)),
            S3Credentials::WebIdentity { token_file, .. } => {
                self.absolute(&here("token_file"), Some(token_file));
            }
            S3Credentials::Process { command } => {
                if !command.first().is_some_and(|program| program.starts_with('/')) {
                    let text =
                        String::from("the command must begin with a program's absolute path");
                    self.problem(&here("command"), text);
                }
            }
            S3Credentials::Chain { .. } | S3Credentials::Ecs | S3Credentials::Ec2 => {}
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

#[cfg(test)]
mod tests {
    use crate::engine::config::load;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A configuration with this store; `@` stands for the folder that it lies in.
    fn text(folder: &Path, store: &str) -> String {
        let store = store.replace('@', &folder.display().to_string());
        format!(
            "[[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"/data\"\nrepositories = [\"far\"]\n\
             [clusters.connection]\nhost = \"/run\"\n[clusters.control]\ndriver = \"pg_ctl\"\n\
             [[repositories]]\nname = \"far\"\n[repositories.store]\nkind = \"s3\"\n{store}"
        )
    }

    /// What is said of that store: nothing where it holds.
    fn said(store: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("keys", 0o600), ("open", 0o644), ("ca.pem", 0o644)] {
            let path = folder.path().join(name);
            fs::write(&path, "not a real one\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = folder.path().join("lifeboat.toml");
        fs::write(&path, text(folder.path(), store)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        load(Some(&path)).map_or_else(|error| error.to_string(), |_| String::new())
    }

    const GOOD: &str = "bucket = \"backups\"\nregion = \"eu-central-1\"\n";

    #[test]
    fn stores_that_hold_are_taken() {
        for more in [
            "",
            "prefix = \"\"\n",
            "prefix = \"a/{cluster}/b\"\n",
            "endpoint = \"http://127.0.0.1:9000\"\n",
            "endpoint = \"https://[::1]:9000\"\nroot_certificate = \"@/ca.pem\"\n",
            "parallel = 64\ntimeout_seconds = 3600\n",
            "[repositories.store.object_lock]\nmode = \"governance\"\ndays = 36500\n",
            "[repositories.store.credentials]\nsource = \"chain\"\nprofile = \"far\"\n",
            "[repositories.store.credentials]\nsource = \"file\"\npath = \"@/keys\"\n",
            "[repositories.store.credentials]\nsource = \"process\"\ncommand = [\"/bin/keys\"]\n",
            "[repositories.store.credentials]\nsource = \"web_identity\"\nrole_arn = \"a\"\n\
             token_file = \"/run/token\"\n",
            "[repositories.store.credentials]\nsource = \"ecs\"\n",
            "[repositories.store.credentials]\nsource = \"ec2\"\n",
        ] {
            assert_eq!(said(&format!("{GOOD}{more}")), "", "{more}");
        }
    }

    #[test]
    fn stores_that_cannot_work_are_refused_in_words() {
        let credentials = "[repositories.store.credentials]\n";
        let lock = "[repositories.store.object_lock]\n";
        for (more, words) in [
            ("prefix = \"/a\"\n".to_owned(), "the prefix is words"),
            ("prefix = \"a/../b\"\n".to_owned(), "the prefix is words"),
            ("endpoint = \"s3.example.net\"\n".to_owned(), "https://host"),
            ("endpoint = \"https://s3.example.net/bucket\"\n".to_owned(), "https://host"),
            ("endpoint = \"https://me:secret@host\"\n".to_owned(), "https://host"),
            ("endpoint = \"http://h\"\nroot_certificate = \"@/ca.pem\"\n".to_owned(), "not https"),
            ("root_certificate = \"ca.pem\"\n".to_owned(), "absolute"),
            ("root_certificate = \"@/nothing\"\n".to_owned(), "cannot be read"),
            ("parallel = 0\n".to_owned(), "parallel is 1 to 64"),
            ("timeout_seconds = 3601\n".to_owned(), "the time-out is 1"),
            ("access_key = \"x\"\n".to_owned(), "access_key"),
            (format!("{lock}mode = \"compliance\"\ndays = 0\n"), "the days of a retention"),
            (format!("{lock}mode = \"compliance\"\ndays = 36501\n"), "the days of a retention"),
            (format!("{lock}mode = \"forever\"\ndays = 1\n"), "forever"),
            (format!("{credentials}source = \"file\"\npath = \"keys\"\n"), "absolute"),
            (format!("{credentials}source = \"file\"\npath = \"@/open\"\n"), "chmod 600"),
            (format!("{credentials}source = \"file\"\npath = \"@/none\"\n"), "cannot be read"),
            (format!("{credentials}source = \"process\"\ncommand = []\n"), "absolute path"),
            (format!("{credentials}source = \"process\"\ncommand = [\"keys\"]\n"), "absolute path"),
            (format!("{credentials}source = \"wallet\"\n"), "wallet"),
        ] {
            let said = said(&format!("{GOOD}{more}"));
            assert!(said.contains(words), "{more}: \"{words}\" is not in: {said}");
        }
        for (from, to, words) in [
            ("\"backups\"", "\"a\"", "no bucket's name"),
            ("\"backups\"", "\"a/b/c\"", "no bucket's name"),
            ("eu-central-1", "", "the region is a word"),
            ("eu-central-1", "eu central", "the region is a word"),
        ] {
            let said = said(&GOOD.replace(from, to));
            assert!(said.contains(words), "{to}: \"{words}\" is not in: {said}");
        }
    }
}
