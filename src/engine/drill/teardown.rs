//! The proof that nothing of a sandbox is left: no process, no folder, no socket or port, no key or
//! password. Looks and says; what removes is `drill::place`'s.

use super::processes;
use crate::engine::config::Config;
use crate::engine::incident::facts::{Check, Verdict};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what ends by itself is waited for.
const MOMENT: Duration = Duration::from_secs(5);

/// What there is to look for afterwards: noted while the sandbox stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    root: PathBuf,
    /// Where the server's sockets are.
    sockets: PathBuf,
    /// Numbers by which the server would be found.
    ports: Vec<u16>,
    /// Whose the server was.
    user: u32,
    /// Keys and passwords, each with how many names it has on the disk.
    credentials: Vec<(PathBuf, u64)>,
}

impl Traces {
    /// `user`: whose the server was.
    #[must_use]
    pub fn of(root: &Path, sockets: &Path, user: u32) -> Self {
        let config = fs::read_to_string(root.join("lifeboat.toml")).ok();
        let config = config.and_then(|text| toml::from_str::<Config>(&text).ok());
        let clusters = config.map_or_else(Vec::new, |config| config.clusters);
        let mut ports: Vec<u16> = clusters.iter().map(|one| one.connection.port).collect();
        ports.sort_unstable();
        ports.dedup();
        Self {
            root: root.to_path_buf(),
            sockets: sockets.to_path_buf(),
            ports,
            user,
            credentials: credentials(root),
        }
    }

    /// One check each, after the sandbox was cleared away. `left`: what was in it and is nobody's
    /// to remove.
    #[must_use]
    pub fn gone(&self, left: &[PathBuf]) -> Vec<Check> {
        vec![
            judged("processes", "No process of the sandbox is left", || self.processes()),
            judged("folders", "The sandbox's folders are gone", || self.folders(left)),
            judged("sockets", "No socket or port of the sandbox is open", || self.open()),
            judged("credentials", "The sandbox's keys and passwords are gone", || self.secrets()),
        ]
    }

    fn processes(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            let found = processes::at_work_in(&self.root)
                .map_err(|error| Fault::Unknown(format!("/proc cannot be listed: {error}.")))?;
            if found.is_empty() {
                return Ok(());
            }
            // What a server called ends a moment after it.
            if begun.elapsed() > MOMENT {
                let all: Vec<String> =
                    found.iter().map(|(pid, name)| format!("{pid} ({name})")).collect();
                return Err(Fault::Left(format!("Still there: {}.", all.join(", "))));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn folders(&self, left: &[PathBuf]) -> Result<(), Fault> {
        let there = [&self.root, &self.sockets].into_iter().find(|path| {
            let others = left.iter().any(|other| other.starts_with(path));
            !others && fs::symlink_metadata(path).is_ok()
        });
        there.map_or(Ok(()), |path| Err(Fault::Left(format!("{} is still there.", path.display()))))
    }

    fn open(&self) -> Result<(), Fault> {
        let unix = read("/proc/net/unix")?;
        if let Some(path) = open_below(&unix, &[&self.root, &self.sockets]) {
            return Err(Fault::Left(format!("The socket {path} is still open.")));
        }
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            // A machine without the sixth version has no such file.
            let Ok(text) = read(table) else { continue };
            if let Some(port) = self.ports.iter().find(|port| listens(&text, **port, self.user)) {
                let text = format!("The server's user listens on the port {port}.");
                return Err(Fault::Left(text));
            }
        }
        Ok(())
    }

    fn secrets(&self) -> Result<(), Fault> {
        for (path, names) in &self.credentials {
            if fs::symlink_metadata(path).is_ok() {
                return Err(Fault::Left(format!("{} is still there.", path.display())));
            }
            if *names > 1 {
                let text = format!("{} had another name elsewhere on the disk.", path.display());
                return Err(Fault::Left(text));
            }
        }
        Ok(())
    }
}

/// Why nothing is proven.
enum Fault {
    Left(String),
    /// It could not be looked for.
    Unknown(String),
}

fn judged(id: &str, title: &str, look: impl FnOnce() -> Result<(), Fault>) -> Check {
    let begun = Instant::now();
    let (verdict, detail) = match look() {
        Ok(()) => (Verdict::Verified, String::new()),
        Err(Fault::Left(what)) => (Verdict::Failed, what),
        Err(Fault::Unknown(why)) => (Verdict::CouldNotVerify, why),
    };
    Check {
        id: format!("teardown-{id}"),
        title: title.to_owned(),
        verdict,
        expected: None,
        found: None,
        detail,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Keys that are in their place or were taken away, and files of passwords.
fn credentials(root: &Path) -> Vec<(PathBuf, u64)> {
    let files = |folder: PathBuf| {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    let is_secret = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name == "master" || name.contains("pgpass") || name.contains("passfile")
    };
    let keys = files(root.join("keys"));
    let others = files(root.join("away")).chain(files(root.to_path_buf())).filter(is_secret);
    keys.chain(others)
        .filter_map(|path| {
            let meta = path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
            Some((path, meta.nlink()))
        })
        .collect()
}

fn read(path: &str) -> Result<String, Fault> {
    fs::read_to_string(path)
        .map_err(|error| Fault::Unknown(format!("{path} cannot be read: {error}.")))
}

/// A socket of the kernel's table whose path is below one of these.
fn open_below<'a>(table: &'a str, folders: &[&Path]) -> Option<&'a str> {
    let paths = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(7));
    paths.into_iter().find(|path| folders.iter().any(|folder| Path::new(path).starts_with(folder)))
}

/// Whether that user listens on the port, by the kernel's table of connections.
fn listens(table: &str, port: u16, user: u32) -> bool {
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(uid)) = (fields.get(1), fields.get(3), fields.get(7))
        else {
            return false;
        };
        let here = local.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
        here == Some(port) && *state == "0A" && uid.parse() == Ok(user)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read_as_they_are() {
        let unix = "Num RefCount Protocol Flags Type St Inode Path\n\
                    0: 00000002 00000000 00010000 0001 01 31 /var/tmp/box-1/socket/.s.PGSQL.5433\n\
                    0: 00000003 00000000 00000000 0001 03 32\n";
        let below = |folder: &str| open_below(unix, &[Path::new(folder)]);
        assert_eq!(below("/var/tmp/box-1"), Some("/var/tmp/box-1/socket/.s.PGSQL.5433"));
        assert_eq!(below("/var/tmp/box"), None, "another folder's name begins alike");
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid\n\
                   0: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000 104\n\
                   1: 0100007F:153A 0100007F:9999 01 00000000:00000000 00:00000000 00000000 104\n";
        assert!(listens(tcp, 5433, 104));
        assert!(!listens(tcp, 5433, 7), "somebody else's");
        assert!(!listens(tcp, 5434, 104), "a connection is no listener");
    }

    #[test]
    fn what_stays_is_named_and_what_is_gone_is_verified() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("box");
        fs::create_dir_all(root.join("keys")).unwrap();
        fs::create_dir_all(root.join("away")).unwrap();
        let key = root.join("keys/master");
        fs::write(&key, "secret").unwrap();
        fs::write(root.join("away/near"), "no secret").unwrap();
        let traces = Traces::of(&root, &root.join("socket"), 0);
        assert_eq!(traces.credentials, [(key.clone(), 1)]);
        let verdict = |id: &str| {
            let all = traces.gone(&[]);
            all.into_iter().find(|check| check.id == format!("teardown-{id}")).unwrap().verdict
        };
        assert_eq!(verdict("folders"), Verdict::Failed);
        assert_eq!(verdict("credentials"), Verdict::Failed);
        let copy = home.path().join("copy");
        fs::hard_link(&key, &copy).unwrap();
        let seen = Traces::of(&root, &root.join("socket"), 0);
        fs::remove_dir_all(&root).unwrap();
        for id in ["processes", "folders", "sockets", "credentials"] {
            assert_eq!(verdict(id), Verdict::Verified, "{id}");
        }
        let unknown = judged("x", "X", || Err(Fault::Unknown(String::from("no look"))));
        assert_eq!(unknown.verdict, Verdict::CouldNotVerify);
        let told = &seen.gone(&[])[3];
        assert!(
            told.verdict == Verdict::Failed && told.detail.contains("another name"),
            "{told:?}"
        );
    }
}
