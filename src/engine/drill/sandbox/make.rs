//! The making of a sandbox: folders, key, program and configuration, and the cluster with the shop in
//! it, of its own or in a copy. Owns whose each of them is; never reaches outside the folder.

use super::{CLUSTER, DECOY, Sandbox, Say, Setup};
use crate::engine::config::StoreConfig;
use crate::engine::drill::copy::{self, Reading};
use crate::engine::drill::error::DrillError;
use crate::engine::drill::fence::{self, Folder};
use crate::engine::drill::place::{self, RUNBOOK};
use crate::engine::drill::scenario;
use crate::engine::drill::server::Server;
use crate::engine::drill::shop::{self, LOAD_SETTINGS};
use crate::engine::explain::Explain;
use crate::engine::files;
use crate::engine::postgres::discovery;
use crate::engine::runbook::Runbook;
use rustix::fs::OFlags;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

impl Sandbox {
    pub(super) fn check_space(&self, size_mb: u64) -> Result<(), DrillError> {
        let root = self.root();
        let volume = rustix::fs::statvfs(root)
            .map_err(|error| DrillError::file(root, "its free space is unknown")(error.into()))?;
        let free_mb = volume.f_bavail.saturating_mul(volume.f_frsize) / 1_000_000;
        // The cluster, its backup, the restored cluster, and WAL beside all of them.
        let needed_mb = size_mb.saturating_mul(5) / 2 + 1_000;
        if free_mb < needed_mb {
            return Err(DrillError::Space { path: root.to_path_buf(), free_mb, needed_mb });
        }
        Ok(())
    }

    /// Folders, key, program, configuration: ours where we run or read them as who we are, the
    /// server's user's where the server writes.
    pub(super) fn furnish(&self, lifeboat: &Path, setup: &Setup) -> Result<(), DrillError> {
        let (root, user) = (self.root(), &self.server.user);
        for name in ["bin", "keys", "state"] {
            let folder = root.join(name);
            make_folder(&folder)?;
            lend(&folder, user)?;
        }
        for name in ["repository", "state/archiving"] {
            let folder = root.join(name);
            make_folder(&folder)?;
            give(&folder, user)?;
        }
        make_folder(&root.join("cluster"))?;
        let mut random = [0_u8; 32];
        let key = root.join("keys/master");
        getrandom::fill(&mut random).map_err(|error| {
            DrillError::file(&key, "no key could be made")(std::io::Error::other(error))
        })?;
        let line =
            zeroize::Zeroizing::new(format!("{}\n", data_encoding::HEXLOWER.encode(&random)));
        files::create_owned(&key, line.as_bytes(), 0o600, fence::other(user))
            .map_err(DrillError::file(&key, "it could not be written"))?;
        for repository in &self.config.repositories {
            if let StoreConfig::File { path } = &repository.store
                && !path.is_dir()
            {
                make_folder(path)?;
                give(path, user)?;
            }
        }
        let program = root.join("bin/lifeboat");
        fs::copy(lifeboat, &program)
            .and_then(|_| fs::set_permissions(&program, PermissionsExt::from_mode(0o755)))
            .map_err(DrillError::file(&program, "the program could not be copied there"))?;
        lend(&program, user)?;
        if setup.has_runbook() {
            let theirs = setup.runbook.as_deref();
            let team = theirs.map(fs::read_to_string).transpose().map_err(|error| {
                let path = theirs.unwrap_or(Path::new(RUNBOOK));
                DrillError::file(path, "the team's runbook cannot be read")(error)
            })?;
            let own = root.join(RUNBOOK);
            write_text(&own, scenario::runbook(team.as_deref(), setup.scenario.as_ref()))?;
            lend(&own, user)?;
        }
        write_text(&self.config.path, toml::to_string(&self.config))?;
        lend(&self.config.path, user)
    }

    /// The runbook that its configuration names.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn runbook(&self) -> Result<Runbook, DrillError> {
        Runbook::load(self.config.runbook.as_deref())
            .map_err(|error| DrillError::Engine(error.explanation()))
    }

    /// Lets the server's user into the cluster's folder. Until then only we can enter it: what is
    /// copied into it as root is written where we mean it.
    fn open_cluster(&self) -> Result<(), DrillError> {
        give(&self.root().join("cluster"), &self.server.user)
    }

    pub(super) fn fill(&self, say: Say<'_>) -> Result<(), DrillError> {
        let server = &self.server;
        self.open_cluster()?;
        server.initdb()?;
        self.configure_server()?;
        let (orders, customers) = (self.volume.orders, self.volume.customers);
        say(&format!("Filling the shop: {customers} customers, {orders} orders"));
        server.start(&LOAD_SETTINGS)?;
        self.runtime()?.block_on(shop::fill(server, self.volume, self.seed))?;
        server.stop()?;
        // The load did not wait for the disk; the drill begins on durable data.
        let data = server.data.display().to_string();
        server.run("initdb", &["--sync-only", "-D", &data]).map(drop)
    }

    /// A copy instead of a cluster of its own, and the shop beside what was copied.
    pub(super) fn bring(&mut self, reading: Reading, say: Say<'_>) -> Result<(), DrillError> {
        let (server, own) = (&self.server, self.settings());
        let open = || self.open_cluster();
        let bench = copy::Bench { server, root: self.root(), own: &own, open: &open };
        let copied = copy::bring(reading, &bench, self.runtime()?, say)?;
        let (orders, customers) = (self.volume.orders, self.volume.customers);
        say(&format!("Filling the shop beside it: {customers} customers, {orders} orders"));
        self.runtime()?.block_on(shop::fill(server, self.volume, self.seed))?;
        server.stop()?;
        // The copy did not wait for the disk; the drill begins on durable data.
        let data = server.data.display().to_string();
        server.run("initdb", &["--sync-only", "-D", &data])?;
        copy::settings::write(server, &own, copied.folders())?;
        copy::settings::offer_histories(server)?;
        self.copied = Some(copied);
        Ok(())
    }

    fn configure_server(&self) -> Result<(), DrillError> {
        self.append_conf(&self.settings())
    }

    fn settings(&self) -> String {
        let (root, server) = (self.root().display(), &self.server);
        format!(
            "\n# The drill's sandbox.\n\
             listen_addresses = ''\n\
             port = {port}\n\
             unix_socket_directories = '{socket}'\n\
             archive_mode = on\n\
             archive_command = '\"{root}/bin/lifeboat\" --config \"{root}/lifeboat.toml\" archive-wal --cluster {CLUSTER} \"%p\"'\n\
             archive_timeout = 10s\n\
             wal_level = replica\n\
             fsync = on\n\
             max_wal_size = 1GB\n\
             max_connections = 40\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %q%u@%d '\n",
            port = server.port,
            socket = server.socket.display(),
        )
    }

    /// A cluster that was made long ago and that nobody uses.
    pub(super) fn make_decoy(&self) -> Result<(), DrillError> {
        let decoy = Server { data: self.root().join("cluster/primary"), ..self.server.clone() };
        decoy.initdb()?;
        let make = ["create-repository", "--cluster", DECOY, "--json"];
        self.lifeboat(&make).map(drop)
    }

    pub(super) fn append_conf(&self, settings: &str) -> Result<(), DrillError> {
        let path = self.server.data.join("postgresql.conf");
        Folder::open(self.root())
            .and_then(|root| root.below("cluster/data"))
            .and_then(|data| data.file("postgresql.conf", OFlags::WRONLY | OFlags::APPEND))
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .map_err(DrillError::file(&path, "the server's settings cannot be written"))
    }
}

/// A new file of ours with that text.
pub(super) fn write_text<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    text: Result<String, E>,
) -> Result<(), DrillError> {
    let fail = || DrillError::file(path, "it could not be written");
    let text = text.map_err(|error| fail()(std::io::Error::other(error)))?;
    files::create(path, text.as_bytes(), 0o600).map_err(fail())
}

fn make_folder(path: &Path) -> Result<(), DrillError> {
    place::make_private(path).map_err(DrillError::file(path, "it could not be made"))
}

fn give(path: &Path, user: &discovery::Owner) -> Result<(), DrillError> {
    fence::give(path, user).map_err(DrillError::file(path, "its owner could not be set"))
}

fn lend(path: &Path, user: &discovery::Owner) -> Result<(), DrillError> {
    fence::lend(path, user).map_err(DrillError::file(path, "its mode could not be set"))
}
