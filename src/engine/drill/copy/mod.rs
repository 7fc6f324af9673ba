//! A drill on a copy of a real cluster's backup. Owns the way from the repository to a server of
//! the sandbox's own: read by a second process that can only read, behind walls, under settings
//! that the copy did not bring, silenced and masked before anyone looks. Never opens the real
//! repository in the process that holds the drill, and never speaks to the real server.
//!
//! ```text
//! order ─ reader ─ facts ─ guard ─ walls ─ copy ─ replay ─ still ─ quiet ─ mask ─ shop ─ digest ─ the drill
//! ```

pub mod access;
pub mod digest;
pub mod guard;
pub mod mask;
pub mod quiet;
pub mod reader;
pub mod settings;
pub mod still;

use super::error::DrillError;
use super::fence;
use super::isolation::{self, Walls};
use super::place::Place as Folder;
use super::processes;
use super::sandbox::Say;
use super::server::Server;
use super::shop::DATABASE;
use crate::engine::config::{Cluster, Config, Connection, Tls};
use crate::engine::drill::rails;
use crate::engine::erasure;
use crate::engine::erasure::replay::{self, Deed};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::postgres::libraries;
use crate::engine::validate::check;
use access::Access;
use digest::DatabaseState;
use guard::Place;
use jiff::Timestamp;
use mask::Masked;
use quiet::Quiet;
use reader::{Answer, Brought, Facts, GO, Order};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// How long the copy may replay.
const REPLAY: Duration = Duration::from_secs(24 * 3_600);
/// A server that is not seen for so long has ended: it did not come up, or its replay failed.
const GONE: Duration = Duration::from_secs(10);
/// Megabytes beside everything that can be counted: programs, logs, WAL that is kept.
const BESIDE_MB: u64 = 1_000;
/// What stands behind the name of a thing of the copy's that the drill needs itself.
const COPIED: &str = "_of_copy";
/// Roles that the shop makes.
const SHOP_ROLES: [&str; 2] = ["shop_app", "app_maintenance"];

/// Which backup a drill is held on.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The real configuration.
    pub config: Config,
    /// The cluster's name in it.
    pub cluster: String,
    /// The newest where absent.
    pub set: Option<String>,
    /// One of the cluster's repositories alone.
    pub repository: Option<String>,
    /// Replay up to here; to the backup's own end where absent.
    pub until: Option<Timestamp>,
    /// Further paths that the process needs after the drill, such as where it is recorded.
    pub keep: Vec<PathBuf>,
}

/// What a drill needs room for.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Of the shop.
    pub size_mb: u64,
    /// Repositories of the sandbox.
    pub repositories: u64,
    /// Bytes that the drill may take.
    pub limit: Option<u64>,
}

/// A copy that was found and not yet brought: the reader waits, and this process stands behind its
/// walls.
#[derive(Debug)]
pub struct Reading {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub facts: Facts,
    pub needed_mb: u64,
    walls: Walls,
    real: Vec<Place>,
    source: Source,
    /// Where the cluster's own server looks for libraries, as far as its files are here.
    folders: Option<String>,
}

/// Looks at the backup, refuses what no drill may be held on, and enters the walls. Nothing is
/// copied yet. Called before this process has other threads.
///
/// # Errors
/// Where there is no such backup, it may not or cannot be drilled on, or there is no room for it.
pub fn begin(
    source: &Source,
    folder: &Folder,
    owner: &Owner,
    program: &Path,
    room: Room,
) -> Result<Reading, DrillError> {
    let root = folder.root();
    let (child, input, output) = call_reader(source, root, program)?;
    let mut reading = Reading {
        child,
        input: Some(input),
        output,
        facts: Facts::default(),
        needed_mb: 0,
        walls: Walls::default(),
        real: source.config.clusters.iter().map(Place::of).collect(),
        source: source.clone(),
        folders: None,
    };
    let is_root = nix::unistd::geteuid().is_root();
    reading.say(&Order {
        cluster: source.cluster.clone(),
        set: source.set.clone(),
        repository: source.repository.clone(),
        until: source.until,
        root: root.to_path_buf(),
        owner: is_root.then_some((owner.uid, owner.gid)),
    })?;
    reading.facts = reading.hear()?;
    reading.judge(root, room)?;
    // From behind the walls its files cannot be seen.
    reading.folders = reading.programs().ok().and_then(|programs| {
        settings::folders_of(source.config.cluster(&source.cluster)?, &programs)
    });
    let mut keep = source.keep.clone();
    keep.extend([root.to_path_buf(), folder.socket().to_path_buf()]);
    keep.extend(std::env::current_exe().ok());
    reading.walls = isolation::enter(&guard::real_places(&source.config, &keep), &keep)?;
    Ok(reading)
}

fn call_reader(
    source: &Source,
    root: &Path,
    program: &Path,
) -> Result<(Child, ChildStdin, BufReader<ChildStdout>), DrillError> {
    let fail = || DrillError::file(program, "the reader of the backup could not be started");
    let mut command = std::process::Command::new(program);
    command.arg("--config").arg(&source.config.path).arg(reader::VERB);
    // Names the sandbox, so that whoever clears that ends the reader too.
    command.arg("--sandbox").arg(root.join("lifeboat.toml"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    child::end_with_us(&mut command);
    let mut child = command.spawn().map_err(fail())?;
    let pipes = (child.stdin.take(), child.stdout.take());
    let (Some(input), Some(output)) = pipes else {
        return Err(fail()(std::io::Error::other("it has no pipes")));
    };
    Ok((child, input, BufReader::new(output)))
}

impl Reading {
    /// The programs of the copy's version.
    ///
    /// # Errors
    /// Where they are not on this machine.
    pub fn programs(&self) -> Result<discovery::Binaries, DrillError> {
        use crate::engine::explain::Explain;
        let cluster = self.source.config.cluster(&self.source.cluster);
        let bin = cluster.and_then(|cluster| cluster.control.bin_directory());
        discovery::binaries_of(bin, None, Some(self.facts.version))
            .map_err(|error| DrillError::Engine(error.explanation()))
    }

    /// What speaks against this copy, and against its size.
    fn judge(&mut self, root: &Path, room: Room) -> Result<(), DrillError> {
        let never = &self.source.config.sandbox.never;
        if let Some(why) = rails::refused(Some(self.facts.system_identifier), never) {
            return Err(DrillError::Rail(why));
        }
        self.needed_mb = needed_mb(&self.facts, room);
        if let Some(limit) = room.limit.filter(|limit| limit / 1_000_000 < self.needed_mb) {
            return Err(DrillError::Over {
                why: format!(
                    "A drill on {} needs about {} MB, and it may take {} MB; nothing was copied",
                    self.facts.set,
                    self.needed_mb,
                    limit / 1_000_000
                ),
            });
        }
        let volume = rustix::fs::statvfs(root)
            .map_err(|error| DrillError::file(root, "its free space is unknown")(error.into()))?;
        let free_mb = volume.f_bavail.saturating_mul(volume.f_frsize) / 1_000_000;
        if free_mb < self.needed_mb {
            return Err(DrillError::Space {
                path: root.to_path_buf(),
                free_mb,
                needed_mb: self.needed_mb,
            });
        }
        Ok(())
    }

    /// Has it copied, and waits until the reader is gone.
    fn bring(&mut self) -> Result<Brought, DrillError> {
        self.say_line(GO)?;
        let brought = self.hear();
        self.input = None;
        let ended = self.child.wait();
        let brought = brought?;
        match ended {
            Ok(status) if status.success() => Ok(brought),
            _ => Err(self.silent()),
        }
    }

    fn say<T: Serialize>(&mut self, value: &T) -> Result<(), DrillError> {
        let text = serde_json::to_string(value).map_err(|_| self.silent())?;
        self.say_line(&text)
    }

    fn say_line(&mut self, text: &str) -> Result<(), DrillError> {
        let said = self.input.as_mut().map(|input| writeln!(input, "{text}"));
        match said {
            Some(Ok(())) => Ok(()),
            _ => Err(self.silent()),
        }
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T, DrillError> {
        let mut text = String::new();
        self.output.read_line(&mut text).map_err(|_| self.silent())?;
        let answer: Answer<T> = serde_json::from_str(&text).map_err(|_| self.silent())?;
        answer.map_err(DrillError::Engine)
    }

    fn silent(&self) -> DrillError {
        DrillError::Engine(Explanation::new(
            Kind::Internal,
            "The process that reads the backup ended without an answer.",
            "The repository was only read, and no drill was begun.",
            "Look at its words above, and start the drill again.",
        ))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // It has nothing to finish: what it wrote is the sandbox's, and goes with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The copy, what is moved aside of it, its backups, its WAL; the shop three times over.
fn needed_mb(facts: &Facts, room: Room) -> u64 {
    let copies = facts.data_bytes.saturating_mul(2 + room.repositories.max(1));
    let bytes = copies.saturating_add(facts.wal_bytes);
    let shop = room.size_mb.saturating_mul(3);
    (bytes / 1_000_000).saturating_add(shop).saturating_add(BESIDE_MB)
}

/// A copy that stands in the sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Copied {
    facts: Facts,
    cluster: String,
    brought: Brought,
    walls: Walls,
    real: Vec<Place>,
    quiet: Quiet,
    erased: u64,
    masked: Vec<Masked>,
    renamed: Vec<String>,
    needed_mb: u64,
    /// Where it looks for libraries, beside the server's own folder.
    folders: Option<String>,
    /// As it was before the accident.
    before: Vec<DatabaseState>,
}

/// Where a copy is brought to.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    pub server: &'a Server,
    pub root: &'a Path,
    /// The sandbox's settings.
    pub own: &'a str,
    /// Lets the server's user into the folder of the cluster, once everything is in it.
    pub open: &'a dyn Fn() -> Result<(), DrillError>,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Copies, replays, silences and masks; the server runs afterwards, archiving nothing yet.
///
/// # Errors
/// Where any of it fails; nobody is to look at the copy then.
pub fn bring(
    mut reading: Reading,
    bench: &Bench<'_>,
    runtime: &tokio::runtime::Runtime,
    say: Say<'_>,
) -> Result<Copied, DrillError> {
    let Bench { server, root, own, open } = *bench;
    tell_rails(&reading.facts.access, &reading.walls, say);
    let facts = reading.facts.clone();
    let megabytes = facts.data_bytes / 1_000_000;
    say(&format!("Copying {} of {} ({megabytes} MB)", facts.set, reading.source.cluster));
    let brought = reading.bring()?;
    let folders = reading.folders.take().or_else(|| settings::folders_in(server));
    let folders = folders.and_then(|folders| libraries::carried(&folders, root));
    settings::write(server, own, folders.as_deref())?;
    settings::recover(server, root, reading.source.until)?;
    open()?;
    say("Starting the copy: closed to everybody, archiving nothing");
    server.begin()?;
    let known = known(server, &reading.source);
    runtime.block_on(out_of_recovery(server, &known))?;
    let (quiet, stilled) = runtime.block_on(quiet::switch_off(&known))?;
    let as_postgres = inside(server, "postgres");
    let cluster = reading.source.config.cluster(&reading.source.cluster);
    let erased = cluster.map_or(Ok(0), |cluster| erase(cluster, &as_postgres, runtime))?;
    let rules = cluster.map_or(&[][..], |cluster| cluster.masking.as_slice());
    if !rules.is_empty() {
        say("Masking the copy's rows, before anyone looks at them");
    }
    let masked = runtime.block_on(mask::apply(&as_postgres, rules))?;
    for one in stilled {
        runtime.block_on(one.let_go(&as_postgres))?;
    }
    let renamed = runtime.block_on(make_way(&as_postgres))?;
    // Nothing of the source stays but what the drill is about.
    fence::Folder::open(root)
        .and_then(|root| root.below("cluster"))
        .and_then(|cluster| cluster.remove(reader::WAL_NAME))
        .map_err(DrillError::file(&root.join(reader::WAL), "it could not be removed"))?;
    Ok(Copied {
        facts,
        cluster: reading.source.cluster.clone(),
        brought,
        walls: reading.walls.clone(),
        real: std::mem::take(&mut reading.real),
        quiet,
        erased,
        masked,
        renamed,
        needed_mb: reading.needed_mb,
        folders,
        before: Vec::new(),
    })
}

fn tell_rails(access: &[Access], walls: &Walls, say: Say<'_>) {
    for Rail { rail, enforced, detail } in access.iter().map(Access::rail) {
        let word = if enforced { "" } else { "NOT ENFORCED: " };
        say(&format!("{word}{rail}: {detail}"));
    }
    match &walls.open {
        None => say("Walls: a network namespace with the loopback alone; real places are hidden"),
        Some(why) => say(&format!("NOT ENFORCED: a network namespace of the drill's own: {why}")),
    }
    if walls.open.is_none() {
        for (path, why) in &walls.seen {
            say(&format!("NOT ENFORCED: {} can still be seen: {why}", path.display()));
        }
    }
}

/// What was erased at people's wish is erased again, as before every recovered server is opened.
fn erase(
    cluster: &Cluster,
    connection: &Connection,
    runtime: &tokio::runtime::Runtime,
) -> Result<u64, DrillError> {
    let refused = |why: String| {
        DrillError::Engine(Explanation::new(
            Kind::Refused,
            format!("The erasure list could not be carried out on the copy: {why}."),
            "The drill was not opened, nobody saw a row of the copy, and it was cleared away.",
            "Correct the list, then start the drill again.",
        ))
    };
    let list = erasure::check::list_of(cluster).map_err(|error| refused(error.what))?;
    let Some((_, list)) = list else { return Ok(0) };
    let done = runtime.block_on(replay::go_through(connection, &list, Deed::Erase));
    match done.iter().find_map(|one| Some((one, one.failed.clone()?))) {
        Some((one, why)) => Err(refused(format!("{}: {why}", one.database))),
        None => Ok(done.iter().map(replay::Outcome::rows).sum()),
    }
}

/// The way into the sandbox's server as a user of the copy's.
fn known(server: &Server, source: &Source) -> Connection {
    let real = source.config.cluster(&source.cluster).map(|cluster| &cluster.connection);
    let database = real.map_or("postgres", |real| real.database.as_str());
    Connection {
        user: real.map_or_else(|| String::from("postgres"), |real| real.user.clone()),
        ..inside(server, database)
    }
}

fn inside(server: &Server, database: &str) -> Connection {
    Connection {
        host: server.socket.display().to_string(),
        port: server.port,
        user: String::from("postgres"),
        database: database.to_owned(),
        passfile: None,
        tls: Tls::Off,
        root_certificate: None,
    }
}

/// Waits for the promotion that follows the replay.
async fn out_of_recovery(server: &Server, known: &Connection) -> Result<(), DrillError> {
    let as_postgres = Connection { user: String::from("postgres"), ..known.clone() };
    let (begun, mut alive) = (Instant::now(), Instant::now());
    loop {
        if matches!(discovery::running(&server.data), Ok(discovery::Running::Yes(_))) {
            alive = Instant::now();
        }
        if alive.elapsed() > GONE {
            let output = format!("it ended in its replay; its log ends: {}", server.log_end());
            return Err(DrillError::Program { program: String::from("the copy's server"), output });
        }
        for connection in [known, &as_postgres] {
            let Ok(session) = crate::engine::parts::session::open_any(connection).await else {
                continue;
            };
            let row = session.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await;
            if row.is_ok_and(|row| !row.get::<_, bool>(0)) {
                return Ok(());
            }
        }
        if begun.elapsed() > REPLAY {
            let what = String::from("the replay of the copy");
            return Err(DrillError::TooLong { what, seconds: REPLAY.as_secs() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives other names to what the shop is about to make.
async fn make_way(connection: &Connection) -> Result<Vec<String>, DrillError> {
    let session = quiet::open(connection, "postgres").await?;
    let mut renamed = Vec::new();
    let rename = async |kind: &str, catalogue: &str, name: &str| {
        let there = session.query(catalogue, &[&name]).await;
        let there = there.map_err(DrillError::sql("the copy could not be asked"))?;
        if there.is_empty() {
            return Ok(false);
        }
        quiet::run(&session, &format!("ALTER {kind} {name} RENAME TO {name}{COPIED}")).await?;
        Ok::<_, DrillError>(true)
    };
    let databases = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1::pg_catalog.text";
    if rename("DATABASE", databases, DATABASE).await? {
        renamed.push(format!("database {DATABASE}"));
    }
    let roles = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1::pg_catalog.text";
    for role in SHOP_ROLES {
        if rename("ROLE", roles, role).await? {
            renamed.push(format!("role {role}"));
        }
    }
    Ok(renamed)
}

/// What a drill on a copy tells of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    pub cluster: String,
    pub set: String,
    pub repositories: Vec<String>,
    /// When the backup was finished.
    pub finished: Timestamp,
    pub files: u64,
    pub bytes: u64,
    pub databases: usize,
    /// In the sandbox, wherever they were.
    pub tablespaces: usize,
    pub tables: usize,
    pub rows: i64,
    pub switched_off: Quiet,
    /// Rows that were erased at people's wish, and were in the backup still.
    pub erased: u64,
    pub masked: Vec<Masked>,
    /// What has another name in the copy, because the shop has it.
    pub renamed: Vec<String>,
    pub rails: Vec<Rail>,
}

/// What a copy is of and what protects it, for the drill's screens, record and certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub cluster: String,
    pub set: String,
    /// When the backup was finished.
    pub finished: Timestamp,
    /// Columns that were masked, with database and table.
    pub masked: Vec<String>,
    pub rails: Vec<Rail>,
}

impl Origin {
    /// What this machine does not hold up, in words.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        open(&self.rails)
    }
}

/// Those of `rails` that do not hold, in words.
#[must_use]
pub fn open(rails: &[Rail]) -> Vec<String> {
    let open = rails.iter().filter(|rail| !rail.enforced);
    open.map(|rail| format!("{}: {}", rail.rail, rail.detail)).collect()
}

impl Told {
    #[must_use]
    pub fn origin(&self) -> Origin {
        let column =
            |one: &Masked| format!("{}: {}, column {}", one.database, one.table, one.column);
        Origin {
            cluster: self.cluster.clone(),
            set: self.set.clone(),
            finished: self.finished,
            masked: self.masked.iter().map(column).collect(),
            rails: self.rails.clone(),
        }
    }
}

/// A rail, and whether this machine holds it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rail {
    pub rail: String,
    pub enforced: bool,
    pub detail: String,
}

impl Copied {
    /// Whether this is the copy that was looked at, and no other cluster: asked before anything
    /// strikes.
    ///
    /// # Errors
    /// Where it may be another one.
    pub fn guard(&self, server: &Server, root: &Path) -> Result<(), DrillError> {
        use crate::engine::explain::Explain;
        let identity = discovery::identity(&server.data)
            .map_err(|error| DrillError::Engine(error.explanation()))?;
        let mut reasons = Vec::new();
        if identity.system_identifier != self.facts.system_identifier {
            reasons.push(format!(
                "the copy is of system {} and not of {}",
                identity.system_identifier, self.facts.system_identifier
            ));
        }
        let ours = place_of(server);
        reasons.extend(guard::confused(&ours, root, &self.real));
        if self.walls.open.is_none() {
            let strangers = isolation::outside(&processes::pids_of(root));
            if !strangers.is_empty() {
                reasons.push(format!("outside the drill's network: {}", strangers.join(", ")));
            }
            for (name, _) in isolation::interfaces().iter().filter(|(name, _)| name != "lo") {
                reasons.push(format!("the drill's network has the interface {name}"));
            }
        }
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(DrillError::Rail(reasons.join("; "))),
        }
    }

    /// Counts what is there, before the accident.
    ///
    /// # Errors
    /// Where the copy cannot be read.
    pub async fn note(&mut self, server: &Server) -> Result<(), DrillError> {
        self.before = digest::take(&inside(server, "postgres")).await?;
        Ok(())
    }

    /// Where it looks for libraries, where the cluster it is of looks elsewhere than is usual.
    #[must_use]
    pub fn folders(&self) -> Option<&str> {
        self.folders.as_deref()
    }

    /// Bytes that a drill on it may take where nobody said how many.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.needed_mb.saturating_mul(2_000_000)
    }

    /// A check a database, whether everything that was copied is as it was; and one of the walls,
    /// where this machine has any.
    pub async fn compare(&self, server: &Server, root: &Path) -> Vec<Check> {
        let after = digest::take(&inside(server, "postgres")).await;
        let mut checks = digest::compare(&self.before, &after);
        if self.walls.open.is_none() {
            let begun =
                check::begin("copied-walls", "Nothing of the drill could leave its network")
                    .expected("the loopback alone, every process in it, nobody listening");
            let strangers = isolation::outside(&processes::pids_of(root));
            let names: Vec<String> =
                isolation::interfaces().into_iter().map(|(name, _)| name).collect();
            let listening = isolation::listeners();
            let begun = begun.found(format!(
                "interfaces {}; outside: {}; listening: {listening}",
                names.join(", "),
                strangers.len()
            ));
            checks.push(match names == ["lo"] && strangers.is_empty() && listening == 0 {
                true => begun.verified("No packet had a way out."),
                false => begun.failed("The walls are not what they were."),
            });
        }
        checks
    }

    /// A copy is of an earlier hour, in which nobody wrote since: that its tables have no rows of
    /// the last hour says nothing. All of their rows are compared instead.
    pub fn put_right(&self, validation: &mut [Check]) {
        let of_copy = |id: &str| {
            let rest = id.strip_prefix("recent:").unwrap_or_default();
            self.before.iter().any(|one| {
                rest.strip_prefix(one.name.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        for check in validation.iter_mut().filter(|check| of_copy(&check.id)) {
            if check.verdict == Verdict::CouldNotVerify {
                check.verdict = Verdict::NotRun;
                check.detail = String::from(
                    "The copy is of an earlier hour; all its rows are compared instead.",
                );
            }
        }
    }

    #[must_use]
    pub fn told(&self) -> Told {
        Told {
            cluster: self.cluster.clone(),
            set: self.facts.set.clone(),
            repositories: self.facts.repositories.clone(),
            finished: self.facts.finished,
            files: self.brought.files,
            bytes: self.brought.bytes,
            databases: self.before.len(),
            tablespaces: self.facts.tablespaces,
            tables: self.before.iter().map(|one| one.tables.len()).sum(),
            rows: self.before.iter().map(DatabaseState::rows).sum(),
            switched_off: self.quiet.clone(),
            erased: self.erased,
            masked: self.masked.clone(),
            renamed: self.renamed.clone(),
            rails: rails_of(&self.facts.access, &self.walls),
        }
    }
}

fn place_of(server: &Server) -> Place {
    use std::os::unix::fs::MetadataExt;
    let data = server.data.canonicalize().unwrap_or_else(|_| server.data.clone());
    let node = data.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let pid = match discovery::running(&data) {
        Ok(discovery::Running::Yes(postmaster)) => Some(postmaster.pid),
        _ => None,
    };
    let address = (server.socket.display().to_string(), server.port);
    Place { name: String::from("the copy"), data, node, pid, address }
}

fn rails_of(access: &[Access], walls: &Walls) -> Vec<Rail> {
    let rail = |rail: &str, open: Option<String>, detail: &str| Rail {
        rail: rail.to_owned(),
        enforced: open.is_none(),
        detail: open.unwrap_or_else(|| detail.to_owned()),
    };
    let seen = walls.seen.iter().map(|(path, why)| format!("{}: {why}", path.display()));
    let seen: Vec<String> = seen.collect();
    let hidden = format!("{} places", walls.hidden.len());
    let mut rails: Vec<Rail> = access.iter().map(Access::rail).collect();
    rails.extend([
        rail(
            "no network but the loopback",
            walls.open.clone(),
            "a network namespace, entered before the copy's server was started",
        ),
        rail(
            "data directories, repositories, keys and sockets of real clusters are out of sight",
            (!seen.is_empty()).then(|| seen.join("; ")),
            &hidden,
        ),
        rail(
            "the server listens on no address, and its settings are the sandbox's own",
            None,
            "no library is preloaded, no worker came with the copy, and of its settings only \
             where it looks for libraries",
        ),
    ]);
    rails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_needed_for_every_copy_of_the_copy() {
        let facts = Facts { data_bytes: 10_000_000_000, wal_bytes: 32_000_000, ..Facts::default() };
        let room = Room { size_mb: 50, repositories: 1, limit: None };
        assert_eq!(needed_mb(&facts, room), 30_000 + 32 + 150 + 1_000);
        let far = Room { repositories: 2, ..room };
        assert_eq!(needed_mb(&facts, far), 40_000 + 32 + 150 + 1_000);
        let huge = Facts { data_bytes: u64::MAX, ..facts };
        assert!(needed_mb(&huge, room) > 1_000_000);
    }

    #[test]
    fn a_rail_that_does_not_hold_says_why() {
        let all = rails_of(&[], &Walls::default());
        assert!(all.iter().all(|rail| rail.enforced));
        let open = Walls { open: Some(String::from("no namespaces here")), ..Walls::default() };
        let network = rails_of(&[], &open).remove(0);
        assert!(!network.enforced && network.detail == "no namespaces here");
        let seen = vec![(PathBuf::from("/srv/bank"), String::from("busy"))];
        let places = rails_of(&[], &Walls { seen, ..Walls::default() }).remove(1);
        assert!(!places.enforced && places.detail == "/srv/bank: busy");
    }
}
