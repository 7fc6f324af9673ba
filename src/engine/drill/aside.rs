//! A server on the directory that a recovery moved aside, for a look at what is in it. Owns the way
//! to the tablespaces that were kept with it: the directory's links lead to where others are now,
//! and a server that followed them would write into the recovered cluster.

use super::error::DrillError;
use super::fence::{self, Folder};
use super::sandbox::Sandbox;
use super::server::Server;
use super::shop::DATABASE;
use crate::engine::postgres::discovery::Owner;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Where a copy's tablespaces are, in the sandbox's folder of the cluster.
pub const SPACES: &str = "tablespaces";
/// Where the kept ones have their old names while they are looked at.
const LOOKED_AT: &str = "tablespaces-aside";
/// What stands in a name between what was moved aside and when.
const DAMAGED: &str = ".damaged.";

/// How many rows `table` has in the directory that was moved aside.
///
/// # Errors
/// Where a server does not start on it, or its tablespaces were not kept.
pub fn rows_in(sandbox: &Sandbox, aside: &Path, table: &str) -> Result<i64, DrillError> {
    let server = Server {
        data: aside.to_path_buf(),
        // Another number, so that its socket is another one; nobody knows it.
        port: sandbox.server().port.checked_add(1).unwrap_or(1_025),
        log: sandbox.server().log.with_file_name("damaged.log"),
        ..sandbox.server().clone()
    };
    let port = server.port.to_string();
    let links = Links::lead_to_kept(sandbox.root(), aside, &server.user)
        .map_err(DrillError::file(aside, "its tablespaces cannot be reached"))?;
    let begun = server.start(&[
        ("port", &port),
        ("archive_mode", "off"),
        ("autovacuum", "off"),
        // Its configuration may name a library that is not here.
        ("shared_preload_libraries", "''"),
    ]);
    let counted = begun.and_then(|()| {
        let counted = sandbox.runtime().and_then(|runtime| {
            runtime.block_on(async {
                let client = server.connect("postgres", DATABASE).await?;
                let sql = format!("SELECT count(*) FROM {table}");
                let row = client
                    .query_one(&sql, &[])
                    .await
                    .map_err(DrillError::sql("its rows could not be counted"))?;
                Ok(row.get(0))
            })
        });
        server.stop().and(counted)
    });
    let back = links
        .lead_back()
        .map_err(DrillError::file(aside, "its tablespaces do not lead back to where they were"));
    back.and(counted)
}

/// Links that lead elsewhere than they did.
struct Links {
    changed: Vec<(OsString, PathBuf)>,
    open: Option<(Folder, Folder)>,
    owner: Option<(u32, u32)>,
}

impl Links {
    /// Has the links of `aside` lead to the folders that were kept with it.
    fn lead_to_kept(root: &Path, aside: &Path, user: &Owner) -> io::Result<Self> {
        let owner = fence::other(user);
        let mut all = Self { changed: Vec::new(), open: None, owner };
        let home = root.join("cluster");
        let sandbox = Folder::open(root)?;
        let cluster = sandbox.below("cluster")?;
        let name = aside.strip_prefix(&home).map_err(io::Error::other)?;
        let links = cluster.below(name)?.below("pg_tblspc")?;
        // One that lies in the data directory itself was moved with it.
        let oids: Vec<_> =
            links.names()?.into_iter().filter(|oid| !links.has_folder(oid)).collect();
        if oids.is_empty() {
            return Ok(all);
        }
        let text = name.to_string_lossy().into_owned();
        let stamp = text.split_once(DAMAGED).map_or("", |(_, stamp)| stamp);
        cluster.remove(LOOKED_AT)?;
        let looked_at = cluster.make(LOOKED_AT, owner)?;
        let mut planned = Vec::new();
        for oid in oids {
            let was = links.link(&oid)?;
            let Ok(below) = was.strip_prefix(root) else {
                let what = format!("the tablespace {} is in {}", oid.display(), was.display());
                return Err(io::Error::other(what));
            };
            let (own, kept) = kept_in(&sandbox.below(below)?, stamp)?;
            let to = home.join(LOOKED_AT).join(&oid);
            looked_at.make(&oid, owner)?.set_link(own, &was.join(kept), owner)?;
            planned.push((oid, was, to));
        }
        all.open = Some((cluster, links));
        for (oid, was, to) in planned {
            if let Err(error) = all.set(&oid, &to) {
                all.lead_back()?;
                return Err(error);
            }
            all.changed.push((oid, was));
        }
        Ok(all)
    }

    fn set(&self, oid: &OsString, to: &Path) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |(_, links)| links.set_link(oid, to, self.owner))
    }

    fn lead_back(self) -> io::Result<()> {
        // All are tried before the first failure is told.
        let each: Vec<io::Result<()>> =
            self.changed.iter().map(|(oid, was)| self.set(oid, was)).collect();
        each.into_iter().collect::<io::Result<()>>()?;
        self.open.map_or(Ok(()), |(cluster, _)| cluster.remove(LOOKED_AT))
    }
}

/// The name of the server's own folder in a tablespace, and the one under which it was kept.
fn kept_in(space: &Folder, stamp: &str) -> io::Result<(String, String)> {
    let end = format!("{DAMAGED}{stamp}");
    let names = space.names()?.into_iter().map(|name| name.to_string_lossy().into_owned());
    let kept = names.filter_map(|name| Some((name.strip_suffix(&end)?.to_owned(), name.clone())));
    kept.into_iter().next().ok_or_else(|| io::Error::other("what was in a tablespace was not kept"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_links_lead_to_what_was_kept_and_back() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        let at = |name: &str| root.join("cluster").join(name);
        let aside = at("data.damaged.20260101-120000");
        fs::create_dir_all(aside.join("pg_tblspc")).unwrap();
        let lead = || Links::lead_to_kept(&root, &aside, &Owner::current());
        lead().unwrap().lead_back().unwrap();
        symlink(at("tablespaces/77"), aside.join("pg_tblspc/77")).unwrap();
        fs::create_dir_all(at("tablespaces/77/PG_15_1")).unwrap();
        assert!(lead().is_err(), "nothing was kept of it");
        let kept = at("tablespaces/77/PG_15_1.damaged.20260101-120000");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "damaged").unwrap();
        let links = lead().unwrap();
        let through = aside.join("pg_tblspc/77/PG_15_1/file");
        assert_eq!(fs::read(&through).unwrap(), b"damaged");
        links.lead_back().unwrap();
        assert_eq!(fs::read_link(aside.join("pg_tblspc/77")).unwrap(), at("tablespaces/77"));
        assert!(!through.exists() && !at(LOOKED_AT).exists());
        // One in the data directory itself, one elsewhere in the sandbox, and one outside of it.
        fs::create_dir(aside.join("pg_tblspc/78")).unwrap();
        fs::create_dir_all(root.join("far/PG_15_1.damaged.20260101-120000")).unwrap();
        symlink(root.join("far"), aside.join("pg_tblspc/79")).unwrap();
        let links = lead().unwrap();
        assert!(aside.join("pg_tblspc/79/PG_15_1").exists());
        links.lead_back().unwrap();
        assert!(aside.join("pg_tblspc/78").is_dir());
        symlink("/srv/elsewhere", aside.join("pg_tblspc/80")).unwrap();
        assert!(lead().is_err(), "it is nobody's of the sandbox");
    }
}
