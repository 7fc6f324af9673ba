//! With whose credentials the real repository is read for a drill, and whether they could write there.
//! Owns the choice, the asking and the words of the rail; the reading is `copy::reader`'s. Never
//! holds or passes on a credential.

use super::Rail;
use crate::engine::config::{Config, RepositoryConfig, StoreConfig};
use crate::engine::drill::user;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::store::permission::{self, Permission};
use crate::engine::repository::{RepositoryError, store::StoreFault};
use serde::{Deserialize, Serialize};

/// How a repository was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub repository: String,
    pub by: By,
}

/// With what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum By {
    /// The repository's own credentials: whoever takes backups has the same.
    Repository,
    /// Credentials of the drill's own.
    Drill { asked: Permission },
    /// A folder: the rights of the user who reads.
    User { name: String, asked: Permission },
}

/// The repository as the reader opens it, and whether the credentials are the drill's own.
#[must_use]
pub(super) fn settings_of(
    config: &Config,
    settings: &RepositoryConfig,
) -> (RepositoryConfig, bool) {
    let mut settings = settings.clone();
    let own = config.sandbox.credentials.get(&settings.name);
    if let (Some(own), StoreConfig::S3(s3)) = (own, &mut settings.store) {
        s3.credentials = own.clone();
        return (settings, true);
    }
    (settings, false)
}

/// Asks the place itself, where the answer can be worth something: the repository's own
/// credentials are those that write backups.
#[must_use]
pub(super) fn ask(settings: &RepositoryConfig, cluster: &str, own: bool) -> Access {
    let asked = || permission::to_write(&settings.store, cluster);
    let by = match &settings.store {
        StoreConfig::File { .. } => {
            By::User { name: user::name_of(nix::unistd::geteuid().as_raw()), asked: asked() }
        }
        StoreConfig::S3(_) if own => By::Drill { asked: asked() },
        StoreConfig::S3(_) => By::Repository,
    };
    Access { repository: settings.name.clone(), by }
}

/// Whether the drill's own credentials are to blame, and not a server that cannot be reached: then
/// another copy of the repository does not make up for them.
#[must_use]
pub(super) fn is_to_blame(error: &RepositoryError) -> bool {
    match error {
        RepositoryError::Store(error) => !error.bucket || error.fault == StoreFault::Denied,
        _ => false,
    }
}

#[must_use]
pub(super) fn unusable(name: &str, error: &RepositoryError) -> Explanation {
    let why = error.explanation().what;
    Explanation::new(
        Kind::Config,
        format!("The drill's own credentials for \"{name}\" cannot be used. {why}"),
        "The repository was only asked, and no drill was begun.",
        format!(
            "Correct sandbox.credentials.{name} or what it names. Without it the repository's own \
             credentials are used, and the drill says so."
        ),
    )
}

impl Access {
    /// A rail of its own, for each repository. That the program does not write holds always; it is
    /// open where credentials that were to be read-only are not, or may not be.
    #[must_use]
    pub(super) fn rail(&self) -> Rail {
        const ALONE: &str = "only the program keeps it from writing";
        let (enforced, detail) = match &self.by {
            By::Repository => (true, format!("the repository's own; {ALONE}")),
            By::Drill { asked: Permission::Refused(_) } => (
                true,
                String::from("read-only credentials of their own (proven: a write was refused)"),
            ),
            By::Drill { asked: Permission::Granted(what) } => {
                (false, format!("credentials of their own that may write: {what}; {ALONE}"))
            }
            By::Drill { asked: Permission::Unknown(why) } => (
                false,
                format!(
                    "credentials of their own; that they cannot write was not proven: {why}; {ALONE}"
                ),
            ),
            By::User { name, asked: Permission::Refused(_) } => (
                true,
                format!("the rights of {name}, who may not write there (proven: by its folders)"),
            ),
            By::User { name, asked: Permission::Granted(_) } => {
                (true, format!("the rights of {name}, who may write there; {ALONE}"))
            }
            By::User { name, asked: Permission::Unknown(why) } => (
                true,
                format!(
                    "the rights of {name}; whether they may write is not known: {why}; {ALONE}"
                ),
            ),
        };
        let rail =
            format!("\"{}\" is opened for reading alone, by a process that ended", self.repository);
        Rail { rail, enforced, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::{S3Credentials, load};
    use crate::engine::repository::store::StoreError;
    use std::path::Path;

    fn config(sandbox: &str) -> Config {
        let text = format!(
            "[[clusters]]\nname = \"shop\"\ntier = \"standard\"\nenvironment = \"drill\"\n\
             data_directory = \"/data\"\nrepositories = [\"far\"]\n\
             [clusters.connection]\nhost = \"/run\"\n[clusters.control]\ndriver = \"pg_ctl\"\n\
             [[repositories]]\nname = \"far\"\n[repositories.store]\nkind = \"s3\"\n\
             bucket = \"backups\"\nregion = \"eu-central-1\"\n{sandbox}"
        );
        load::parse(&text, Path::new("/x.toml")).unwrap()
    }

    fn credentials(config: &Config) -> (S3Credentials, bool) {
        let (settings, own) = settings_of(config, &config.repositories[0]);
        let StoreConfig::S3(s3) = settings.store else { unreachable!() };
        (s3.credentials, own)
    }

    #[test]
    fn the_drills_own_credentials_take_the_place_of_the_repositorys() {
        assert_eq!(credentials(&config("")), (S3Credentials::default(), false));
        let own = config("[sandbox.credentials.far]\nsource = \"ec2\"\n");
        assert_eq!(credentials(&own), (S3Credentials::Ec2, true));
        // The repository itself is untouched: a recovery takes its own.
        let StoreConfig::S3(s3) = &own.repositories[0].store else { unreachable!() };
        assert_eq!(s3.credentials, S3Credentials::default());
    }

    #[test]
    fn keys_of_a_drill_are_hidden_from_its_copy() {
        let file = "[sandbox.credentials.far]\nsource = \"file\"\npath = \"/etc/drill.keys\"\n";
        let hidden = super::super::guard::real_places(&config(file), &[]);
        assert!(hidden.contains(&Path::new("/etc/drill.keys").to_path_buf()), "{hidden:?}");
    }

    #[test]
    fn only_a_refusal_by_the_place_itself_is_a_proof() {
        let rail = |by: By| Access { repository: String::from("far"), by }.rail();
        let said = String::from;
        let drill = |asked: Permission| rail(By::Drill { asked });
        let proven = drill(Permission::Refused(said("403")));
        assert!(proven.enforced);
        let words = "read-only credentials of their own (proven: a write was refused)";
        assert_eq!(proven.detail, words);
        for open in [Permission::Granted(said("begun")), Permission::Unknown(said("silent"))] {
            let rail = drill(open.clone());
            assert!(!rail.enforced, "{open:?}");
            assert!(!rail.detail.contains("(proven"), "{}", rail.detail);
            assert!(rail.detail.contains("only the program keeps it"), "{}", rail.detail);
        }
        let own = rail(By::Repository);
        assert!(own.enforced);
        assert_eq!(own.detail, "the repository's own; only the program keeps it from writing");
        let user = |asked: Permission| rail(By::User { name: said("ann"), asked }).detail;
        assert!(
            user(Permission::Refused(said("no"))).contains("ann, who may not write there (pro")
        );
        let may = user(Permission::Granted(said("yes")));
        assert!(may.contains("ann, who may write there; only the program"), "{may}");
    }

    #[test]
    fn a_server_that_is_away_is_not_the_credentials_fault() {
        let blamed = |error: StoreError| is_to_blame(&RepositoryError::Store(error));
        // The server's word, and a file on this machine.
        assert!(blamed(StoreError::of_bucket(StoreFault::Denied, "403")));
        assert!(blamed(StoreError::new(StoreFault::Unavailable, "no such file")));
        for fault in [StoreFault::Unavailable, StoreFault::TimedOut, StoreFault::Throttled] {
            assert!(!blamed(StoreError::of_bucket(fault, "away")), "{fault:?}");
        }
    }
}
