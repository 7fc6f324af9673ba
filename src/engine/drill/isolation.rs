//! The walls around a drill on a copy: a network namespace with the loopback alone, and a mount
//! namespace in which the places of real clusters are empty. Owns the entering, for the thread that
//! calls and for all that it starts from there on; what a machine does not allow is told and never
//! passed over in silence.

use super::error::DrillError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What stands between a drill and everything else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walls {
    /// Why there is no namespace; `None` where there is.
    pub open: Option<String>,
    /// What is empty from inside.
    pub hidden: Vec<PathBuf>,
    /// What can still be seen, and why.
    pub seen: Vec<(PathBuf, String)>,
}

/// Enters namespaces of our own and hides `hide` in them. What is in `keep` stays to be seen.
///
/// # Errors
/// Where namespaces were entered and could not be furnished: nothing may go on in them then.
pub fn enter(hide: &[PathBuf], keep: &[PathBuf]) -> Result<Walls, DrillError> {
    let root = nix::unistd::geteuid().is_root();
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut wanted = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if !root {
        wanted |= CloneFlags::CLONE_NEWUSER;
    }
    if let Err(errno) = unshare(wanted) {
        let seen = hide.iter().map(|path| (path.clone(), why_not(errno, root)));
        return Ok(Walls {
            open: Some(why_not(errno, root)),
            hidden: Vec::new(),
            seen: seen.collect(),
        });
    }
    let fail = |what: &str, why: String| DrillError::Rail(format!("{what}: {why}"));
    if !root {
        for (file, text) in [
            ("setgroups", String::from("deny")),
            ("uid_map", format!("{user} {user} 1")),
            ("gid_map", format!("{group} {group} 1")),
        ] {
            fs::write(Path::new("/proc/self").join(file), text)
                .map_err(|error| fail("the drill's user namespace", error.to_string()))?;
        }
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| fail("the drill's mount namespace", errno.to_string()))?;
    loopback_up().map_err(|errno| fail("the drill's loopback", errno.to_string()))?;
    let mut walls = Walls::default();
    for path in hide {
        match hide_one(path, keep) {
            Ok(true) => walls.hidden.push(path.clone()),
            Ok(false) => {}
            Err(why) => walls.seen.push((path.clone(), why)),
        }
    }
    Ok(walls)
}

fn why_not(errno: Errno, root: bool) -> String {
    match errno {
        Errno::EPERM | Errno::EACCES if root => {
            String::from("this machine gives root no namespaces here (CAP_SYS_ADMIN is missing)")
        }
        Errno::EPERM | Errno::EACCES | Errno::ENOSPC | Errno::EUSERS => {
            String::from("this machine gives users no namespaces of their own")
        }
        other => format!("no namespace could be made ({other})"),
    }
}

/// Whether there was something to hide.
fn hide_one(path: &Path, keep: &[PathBuf]) -> Result<bool, String> {
    let Ok(real) = path.canonicalize() else { return Ok(false) };
    let meta = fs::metadata(&real).map_err(|error| error.to_string())?;
    // What is not there yet will be made in the nearest folder that is.
    let there = |path: &PathBuf| path.ancestors().find_map(|part| part.canonicalize().ok());
    if let Some(needed) = keep.iter().filter_map(there).find(|path| path.starts_with(&real)) {
        return Err(format!("the drill works in {}", needed.display()));
    }
    let none = None::<&str>;
    let done = if meta.is_dir() {
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("lifeboat"), &real, Some("tmpfs"), flags, Some("size=4k,mode=0755"))
    } else {
        mount(Some("/dev/null"), &real, none, MsFlags::MS_BIND, none)
    };
    done.map(|()| true).map_err(|errno| errno.to_string())
}

/// Sets the flag UP on the interface that every network namespace has: old servers want it for
/// their statistics.
fn loopback_up() -> Result<(), Errno> {
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let mut question = Vec::with_capacity(32);
    question.extend(32_u32.to_ne_bytes());
    // RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK.
    question.extend(16_u16.to_ne_bytes());
    question.extend(5_u16.to_ne_bytes());
    question.extend(1_u32.to_ne_bytes());
    question.extend(0_u32.to_ne_bytes());
    // Family, padding, type; then which one, the flags, and which of them change.
    question.extend([0; 4]);
    question.extend(LOOPBACK.to_ne_bytes());
    question.extend(UP.to_ne_bytes());
    question.extend(UP.to_ne_bytes());
    let descriptor = socket.as_raw_fd();
    sendto(descriptor, &question, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0_u8; 512];
    let length = recv(descriptor, &mut answer, MsgFlags::empty())?;
    let code = answer.get(16..20).filter(|_| length >= 20).and_then(|code| code.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw(-code)),
        None => Err(Errno::EPROTO),
    }
}

/// The network namespace of a process or of one of its threads, by its number; `None` where it is
/// gone or not ours to see.
#[must_use]
pub fn network_of(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

/// Threads of this process, and those of `processes`, that stand outside our network namespace.
#[must_use]
pub fn outside(processes: &[i32]) -> Vec<String> {
    let ours = network_of("thread-self");
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let threads = threads.map(|entry| format!("self/task/{}", entry.file_name().display()));
    let others = processes.iter().map(i32::to_string);
    threads
        .chain(others)
        // One that ended in between is nowhere.
        .filter(|process| network_of(process).is_some_and(|its| Some(its) != ours))
        .collect()
}

/// Interfaces of our network namespace with the packets that they sent.
#[must_use]
pub fn interfaces() -> Vec<(String, u64)> {
    interfaces_in(&fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default())
}

/// TCP sockets that listen in our network namespace.
#[must_use]
pub fn listeners() -> usize {
    let listens = |line: &str| line.split_whitespace().nth(3) == Some("0A");
    let tables = ["tcp", "tcp6"].map(|name| format!("/proc/thread-self/net/{name}"));
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.map(|text| text.lines().filter(|line| listens(line)).count()).sum()
}

fn interfaces_in(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| {
            let (name, figures) = line.split_once(':')?;
            let sent = figures.split_whitespace().nth(9)?.parse().ok()?;
            Some((name.trim().to_owned(), sent))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_with_what_they_sent() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes packets\n    \
            lo: 100 2 0 0 0 0 0 0 100 7 0 0 0 0 0 0\n  eth0:5 1 0 0 0 0 0 0 9 3 0 0 0 0 0 0\n";
        assert_eq!(interfaces_in(text), [(String::from("lo"), 7), (String::from("eth0"), 3)]);
    }

    /// In a thread of its own, which ends with the test: as root it stands alone there, others
    /// cannot enter from a process with threads, and are told so.
    #[test]
    fn a_thread_enters_with_the_loopback_alone_or_is_told_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let (hidden, kept) = (folder.path().join("hidden"), folder.path().join("kept"));
        for path in [&hidden, &kept] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "content").unwrap();
        }
        let (inner, own) = (hidden.clone(), kept.clone());
        let (walls, seen) = std::thread::spawn(move || {
            let gone = inner.with_file_name("gone");
            let walls = enter(&[inner.clone(), own.clone(), gone], &[own.join("file")]).unwrap();
            if walls.open.is_none() {
                assert_eq!(interfaces(), [(String::from("lo"), 0)]);
                let network = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                assert!(network.send_to(b"x", "192.0.2.1:9").is_err(), "there is a way out");
            }
            (walls, (inner.join("file").exists(), own.join("file").exists()))
        })
        .join()
        .unwrap();
        if walls.open.is_some() {
            assert_eq!((walls.seen.len(), seen), (3, (true, true)));
        } else {
            assert_eq!(walls.hidden, std::slice::from_ref(&hidden));
            assert_eq!(walls.seen.len(), 1, "{:?}", walls.seen);
            assert_eq!(seen, (false, true));
        }
        assert!(hidden.join("file").exists(), "outside all is as it was");
    }
}
