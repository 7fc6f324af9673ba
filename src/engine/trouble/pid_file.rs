//! Whether a `postmaster.pid` is left over. A proof, not a guess: the process that it names is no
//! server of this directory, no other process works in the directory, its shared memory has no
//! user, and the file was written on this host, in this view of its processes. Only looks.

use crate::engine::postgres::discovery::{self, Running};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The first process namespace of a machine; from it every process is seen.
const INITIAL: &str = "pid:[4026531836]";

/// File systems that another host may write: NFS, SMB, CIFS, FUSE, Ceph, GFS2, OCFS2, Lustre.
const SHARED: [u64; 9] = [
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x6573_5546,
    0x00C3_6400,
    0x0116_1970,
    0x7461_636F,
    0x0BD0_0BD0,
];

/// How it is proven to be left over. `ours` is the socket folder of the recovering server: a file
/// that names it was written here, by a server that this recovery started.
///
/// # Errors
/// Why it is not proven, for people.
pub(super) fn stale(data: &Path, ours: &Path) -> Result<String, String> {
    let path = data.join("postmaster.pid");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{} could not be read ({error})", path.display()))?;
    let pid = match discovery::running(data) {
        Ok(Running::Yes(postmaster)) => {
            return Err(format!("process {} is that server, and lives", postmaster.pid));
        }
        Ok(Running::No) => return Err(String::from("the file has gone meanwhile")),
        Ok(Running::Stale { pid: 0 }) => {
            return Err(String::from("the file names no process, and may be half written"));
        }
        Ok(Running::Stale { pid }) => pid,
        Err(error) => return Err(format!("it could not be told who it belongs to ({error})")),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let by_us = lines.get(4).is_some_and(|folder| Path::new(folder) == ours);
    if !by_us {
        sees_everything(data)?;
    }
    if let Some(other) = works_in(data)? {
        return Err(format!("process {other} works in this directory"));
    }
    let segment = lines.get(6).and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = segment.filter(|id| is_attached(id)) {
        return Err(format!("the server's shared memory {id} is still in use"));
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    let now = name.map_or_else(
        |_| format!("process {pid} does not exist"),
        |name| format!("process {pid} is \"{}\", no server", name.trim()),
    );
    let written =
        if by_us { "written by this recovery's own server" } else { "written on this host" };
    Ok(format!("{now}; no process works in the directory; the file was {written}"))
}

/// Whether all processes that could hold the directory are seen from here.
fn sees_everything(data: &Path) -> Result<(), String> {
    let here = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if here != Path::new(INITIAL) {
        return Err(String::from(
            "Lifeboat runs in a container and does not see the processes of others",
        ));
    }
    let kind = rustix::fs::statfs(data)
        .map_err(|error| format!("its file system is not known ({error})"))?;
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "a magic number's bits")]
    let kind = kind.f_type as u64 & 0xFFFF_FFFF;
    if SHARED.contains(&kind) {
        return Err(String::from("the directory is on a file system that other hosts may use"));
    }
    Ok(())
}

/// A process whose working directory is the data directory, as every server's is.
fn works_in(data: &Path) -> Result<Option<i32>, String> {
    let told = |error| format!("the processes could not be looked at ({error})");
    let own = fs::metadata(data).map_err(told)?;
    for entry in fs::read_dir("/proc").map_err(told)?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        match fs::metadata(entry.path().join("cwd")) {
            Ok(folder) if (folder.dev(), folder.ino()) == (own.dev(), own.ino()) => {
                return Ok(Some(pid));
            }
            // Where even root may not look at another's process, a server says it by its command.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                match serves(&entry.path(), (own.dev(), own.ino())) {
                    Some(true) => return Ok(Some(pid)),
                    Some(false) => {}
                    None => return Err(format!("server process {pid} may not be looked at")),
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Whether a process that hides its folder is the server of the directory; `None` where it is a
/// server and does not say of which one.
fn serves(process: &Path, directory: (u64, u64)) -> Option<bool> {
    let is_server = |process: &Path| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        matches!(name.trim(), "postgres" | "postmaster")
    };
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let mut rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let parent = rest.nth(1).unwrap_or_default();
    // The children of a server are not counted: their parent is.
    if !is_server(process) || is_server(&Path::new("/proc").join(parent)) {
        return Some(false);
    }
    let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    let mut words = command.split('\0').skip_while(|word| *word != "-D");
    let folder = fs::metadata(words.nth(1)?).ok()?;
    Some((folder.dev(), folder.ino()) == directory)
}

/// Whether a System V shared memory segment has a process attached.
fn is_attached(id: &str) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(1) == Some(&id) && fields.get(6).is_some_and(|attached| *attached != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pid: u32, folder: &str) -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        let text = format!("{pid}\n{}\n1\n5432\n{folder}\n\n1 2\nready\n", data.path().display());
        fs::write(data.path().join("postmaster.pid"), text).unwrap();
        data
    }

    #[test]
    fn another_programs_number_is_no_server() {
        let mut sleeper =
            std::process::Command::new("sleep").arg("60").current_dir("/").spawn().unwrap();
        let data = written(sleeper.id(), "/tmp/ours");
        let proof = stale(data.path(), Path::new("/tmp/ours"));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(proof.as_ref().is_ok_and(|proof| proof.contains("no server")), "{proof:?}");
    }

    #[test]
    fn whoever_works_in_the_directory_may_hold_it() {
        let data = written(999_999_999, "/tmp/ours");
        let mut at_work =
            std::process::Command::new("sleep").arg("60").current_dir(data.path()).spawn().unwrap();
        let proof = stale(data.path(), Path::new("/tmp/ours"));
        at_work.kill().unwrap();
        at_work.wait().unwrap();
        assert!(proof.as_ref().is_err_and(|why| why.contains("works in")), "{proof:?}");
    }

    #[test]
    fn a_half_written_file_proves_nothing() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postmaster.pid"), "").unwrap();
        assert!(stale(data.path(), Path::new("/tmp/ours")).is_err());
    }
}
