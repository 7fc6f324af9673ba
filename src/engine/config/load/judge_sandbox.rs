//! The rules of the drills' part. Never looks at the keys of drills: one that is missing must not
//! keep anybody from a recovery, and the drill that needs it says so.

use super::judge::Judge;
use super::locate::Into::Key;
use crate::engine::config::{Config, StoreConfig};

impl Judge<'_> {
    pub(super) fn sandbox(&mut self, config: &Config) {
        let sandbox = &config.sandbox;
        self.absolute(&[Key("sandbox"), Key("directory")], sandbox.directory.as_deref());
        for (name, credentials) in &sandbox.credentials {
            let place = [Key("sandbox"), Key("credentials"), Key(name)];
            match config.repository(name).map(|repository| &repository.store) {
                None => {
                    let text = format!(
                        "credentials of drills are there for the repository \"{name}\", which is \
                         not configured"
                    );
                    self.problem(&place, text);
                }
                Some(StoreConfig::File { .. }) => {
                    let text = format!(
                        "the repository \"{name}\" is no bucket: a drill reads its files with the \
                         rights of the user who holds it"
                    );
                    self.problem(&place, text);
                }
                Some(StoreConfig::S3(s3)) if s3.credentials == *credentials => {
                    let text = format!(
                        "these are the credentials of the repository \"{name}\" itself; name some \
                         that can only read"
                    );
                    self.problem(&place, text);
                }
                Some(StoreConfig::S3(_)) => self.s3_credentials(&place, credentials),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::config::load::{load, parse};
    use std::fs;
    use std::path::Path;

    /// A configuration with a bucket, a folder, and this part for drills.
    fn text(sandbox: &str) -> String {
        format!(
            "[[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"/data\"\nrepositories = [\"far\", \"near\"]\n\
             [clusters.connection]\nhost = \"/run\"\n[clusters.control]\ndriver = \"pg_ctl\"\n\
             [[repositories]]\nname = \"far\"\n[repositories.store]\nkind = \"s3\"\n\
             bucket = \"backups\"\nregion = \"eu-central-1\"\n\
             [repositories.store.credentials]\nsource = \"process\"\ncommand = [\"/bin/keys\"]\n\
             [[repositories]]\nname = \"near\"\n[repositories.store]\nkind = \"file\"\n\
             path = \"/backups\"\n[sandbox]\n{sandbox}"
        )
    }

    const FAR: &str = "[sandbox.credentials.far]\n";

    #[test]
    fn credentials_of_drills_belong_to_a_bucket_and_are_not_its_own() {
        for good in ["source = \"file\"\npath = \"/none\"\n", "source = \"ec2\"\n"] {
            let config = parse(&text(&format!("{FAR}{good}")), Path::new("/x.toml")).unwrap();
            assert_eq!(config.sandbox.credentials.len(), 1, "{good}");
        }
        let file = "source = \"file\"\npath = \"keys\"\n";
        let near = "[sandbox.credentials.near]\nsource = \"ec2\"\n";
        let own = "source = \"process\"\ncommand = [\"/bin/keys\"]\n";
        for (sandbox, words) in [
            (format!("{FAR}{file}"), "\"keys\" must be an absolute path"),
            (format!("{FAR}source = \"process\"\ncommand = [\"keys\"]\n"), "absolute path"),
            (format!("{FAR}source = \"wallet\"\n"), "wallet"),
            (format!("{FAR}{file}secret = \"x\"\n"), "secret"),
            (format!("{FAR}{own}"), "the credentials of the repository \"far\" itself"),
            (String::from(near), "\"near\" is no bucket"),
            (near.replace("near", "away"), "\"away\", which is not configured"),
            (String::from("credential = 1\n"), "credential"),
        ] {
            let said = parse(&text(&sandbox), Path::new("/x.toml")).unwrap_err();
            assert!(said.to_string().contains(words), "{words} is not in: {said}");
            assert!(said.problems().iter().all(|one| one.line.is_some()), "{said:?}");
        }
    }

    /// Whoever recovers needs no key of a drill.
    #[test]
    fn a_missing_key_of_drills_keeps_nobody_from_a_recovery() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lifeboat.toml");
        let missing = "source = \"file\"\npath = \"/nowhere/keys\"\n";
        fs::write(&path, text(&format!("{FAR}{missing}"))).unwrap();
        load(Some(&path)).unwrap();
    }
}
