//! The steps before anything is moved: identity and write freeze, rescue of the WAL tail, stop.
//! Deletes nothing and moves nothing.

use super::site::{Site, io};
use crate::engine::aftercare;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::incident::facts::ServerRole;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::control::StopMode;
use crate::engine::postgres::{child, control_file};
use crate::engine::runner::plan::Plan;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use crate::engine::wal::rescue::{self, RescueSummary};
use crate::engine::wal::{Segment, fetch};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Reads the identity again and looks whether anybody still writes.
#[derive(Debug)]
pub struct ConfirmIdentity(pub Arc<Site>);

impl Step for ConfirmIdentity {
    fn id(&self) -> &'static str {
        "confirm-identity"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let plan = context.plan();
        if plan.lost {
            return confirm_lost(&self.0, context);
        }
        self.0.confirm(plan, self.0.data())?;
        let identity = self.0.identity()?;
        context.note(
            "identity",
            &format!(
                "Identity confirmed: system identifier {}, {} on {}",
                identity.system_identifier, identity.data_directory, identity.host
            ),
        )?;
        if identity.role == ServerRole::Standby {
            return Err(Explanation::new(
                Kind::Refused,
                format!("{} is a standby, not the primary.", identity.data_directory),
                "Nothing was touched.",
                "Recover the primary, or promote this server first if the primary is lost.",
            ));
        }
        rehearse_fetch(&self.0, plan)?;
        context.note(
            "rehearsed",
            "The server's user can fetch WAL with the command of the recovery",
        )?;
        let freeze = context.runtime().block_on(freeze(&self.0));
        context.note("write_freeze", &freeze)?;
        aftercare::note_standbys(context, &self.0.cluster.connection)?;
        Ok(Outcome::Done)
    }
}

/// Where the data directory tells nothing, the backup says what the cluster was; the place and
/// the machine are compared, and nothing may run there.
fn confirm_lost(site: &Site, context: &dyn StepContext) -> Result<Outcome, Explanation> {
    let plan = context.plan();
    site.confirm_place(plan)?;
    let why = site.still_lost(context)?;
    context.note(
        "identity",
        &format!(
            "The data directory tells nothing ({why}); by the backup's word this is system \
             identifier {}, {} on {}",
            plan.identity.system_identifier, plan.identity.data_directory, plan.identity.host
        ),
    )?;
    rehearse_fetch(site, plan)?;
    context
        .note("rehearsed", "The server's user can fetch WAL with the command of the recovery")?;
    context.note("write_freeze", "No server answers: nobody writes")?;
    Ok(Outcome::Done)
}

/// How long one WAL file may take.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// Does once what the recovering server will do: as the data directory's owner, with that server's
/// program and configuration, fetches the base backup's first segment. What fails here would fail
/// after the damaged server was stopped and its directory moved.
///
/// # Errors
/// Where it cannot be fetched; in the program's own words.
pub fn rehearse_fetch(site: &Site, plan: &Plan) -> Result<(), Explanation> {
    let owner = site.server_owner()?;
    let size = match control_file::read(site.live()) {
        Ok(control) => u64::from(control.wal_segment_size),
        Err(_) => site.copies(plan)?.segment_size(),
    };
    let name = Segment::holding(plan.base.timeline, plan.base.start_lsn, size).name(size);
    let mut folder = site.data().file_name().unwrap_or_default().to_os_string();
    folder.push(".lifeboat-rehearsal");
    let folder = site.data().with_file_name(folder);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io(&error, "make", &folder));
        }
        _ => child::give(&folder, &owner).map_err(|e| io(&e, "hand over", &folder))?,
    }
    let destination = folder.join(&name);
    let fetched = child::command(&site.executable, &owner).and_then(|mut command| {
        command.arg("--config").arg(&site.config.path).args(["restore-wal", "--cluster"]);
        command.arg(&site.cluster.name);
        for repository in site.asked(plan) {
            command.arg("--repository").arg(repository);
        }
        command.arg(&name).arg(&destination);
        child::run(command, FETCH_LIMIT)
    });
    // Copies, made here a moment ago; what stays where this fails harms nothing.
    let _ = fs::remove_file(&destination);
    let _ = fs::remove_dir(&folder);
    let why = match fetched {
        Ok(finished) if finished.ok() => return Ok(()),
        // Proven absent: then the plan counts on the copy in the data directory, and rescues it.
        Ok(finished)
            if finished.status.code() == Some(i32::from(fetch::EXIT_ABSENT))
                && site.live().join("pg_wal").join(&name).exists() =>
        {
            return Ok(());
        }
        Ok(finished) => told_alone(&finished.said()),
        Err(error) => format!("{} cannot be run: {error}", site.executable.display()),
    };
    Err(Explanation::new(
        Kind::Refused,
        format!(
            "The server's user {} cannot fetch {name}, the first WAL file of the recovery: {}",
            owner.name.clone().unwrap_or_else(|| owner.uid.to_string()),
            sentence(&why)
        ),
        "Nothing was touched: the server still runs as it did.",
        "Let that user read the program, the configuration, the key and the repository, then retry.",
    ))
}

/// A failed fetch's reason without the words that are for a recovering server's log.
fn told_alone(said: &str) -> String {
    let said = said.strip_prefix("restore-wal: ").unwrap_or(said);
    said.split(" The server was not told").next().unwrap_or(said).to_owned()
}

/// Whether sessions still write, in words: the commander has set the maintenance window; what is
/// still connected ends with the stop, and what it wrote stays in the directory set aside.
async fn freeze(site: &Site) -> String {
    let client = match connect::connect(&site.cluster.connection, &ConnectOptions::default()).await
    {
        Ok(client) => client,
        Err(_) => return String::from("The server takes no connections: nobody writes"),
    };
    let ask = "SELECT count(*), pg_current_wal_insert_lsn()::text FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut seen: Vec<(i64, String)> = Vec::new();
    for round in 0..2 {
        if round > 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        match client.query_one(ask, &[]).await {
            Ok(row) => seen.push((row.get(0), row.get(1))),
            Err(_) => return String::from("Could not see whether sessions still write"),
        }
    }
    match seen.as_slice() {
        [(_, before), (sessions, after)] if before == after => {
            format!("No writes seen; {sessions} sessions are connected and end with the stop")
        }
        [_, (sessions, _)] => format!(
            "Writes still arrive from some of {sessions} sessions; they end with the stop, and what \
             they wrote is kept"
        ),
        _ => String::from("Could not see whether sessions still write"),
    }
}

/// Copies the WAL that the archive lacks out of the damaged directory.
#[derive(Debug)]
pub struct RescueWal(pub Arc<Site>);

impl Step for RescueWal {
    fn id(&self) -> &'static str {
        "rescue-wal"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        // Copying again is cheap and finds what was written since.
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        if context.plan().lost && !site.data().join("pg_wal").is_dir() {
            context.note("rescued", "Nothing is left of the data directory to rescue WAL from")?;
            return Ok(Outcome::Done);
        }
        if context.runtime().block_on(switch_segment(site)) {
            context.note("switched", "The server was asked to finish its current WAL segment")?;
        }
        let summary = copy_tail(site, context, site.data())?;
        context.note("rescued", &summary)?;
        Ok(Outcome::Done)
    }
}

async fn switch_segment(site: &Site) -> bool {
    match connect::connect(&site.cluster.connection, &ConnectOptions::default()).await {
        Ok(client) => client.execute("SELECT pg_switch_wal()", &[]).await.is_ok(),
        Err(_) => false,
    }
}

pub(super) fn copy_tail(
    site: &Site,
    context: &dyn StepContext,
    directory: &Path,
) -> Result<String, Explanation> {
    let plan = context.plan();
    let request = rescue::RescueRequest {
        pg_wal: &directory.join("pg_wal"),
        system_identifier: plan.identity.system_identifier,
        archives: &site.archives(),
        into: Path::new(&plan.rescue),
    };
    let rescued = rescue::rescue(&request, &|_, _| {}).map_err(|e| e.explanation())?;
    open_to_owner(site, plan, Path::new(&plan.rescue))?;
    Ok(told(&rescued))
}

/// A rescue in one line.
fn told(rescued: &RescueSummary) -> String {
    let mut text = match (&rescued.first, &rescued.last) {
        (Some(first), Some(last)) if first == last => {
            format!("Rescued 1 WAL segment that was not archived: {first}")
        }
        (Some(first), Some(last)) => format!(
            "Rescued {} WAL files that were not archived, {first} to {last}",
            rescued.rescued.len()
        ),
        _ => format!("All {} WAL files are in the archive; nothing to rescue", rescued.archived),
    };
    if let Some(note) = rescued.different.first() {
        text.push_str(&format!(
            ". ATTENTION: {} files differ from the archive's, such as {} ({}); the archive's are \
             used, the others stay in the damaged directory",
            rescued.different.len(),
            note.name,
            note.why
        ));
    }
    text
}

/// The server reads rescued segments as its own user, who must get at them and nothing else.
fn open_to_owner(
    site: &Site,
    plan: &crate::engine::runner::plan::Plan,
    folder: &Path,
) -> Result<(), Explanation> {
    if !nix::unistd::geteuid().is_root() || !folder.exists() {
        return Ok(());
    }
    let (uid, gid) = site.owner(plan)?;
    chown(folder, Some(uid), Some(gid)).map_err(|e| io(&e, "hand over", folder))?;
    for entry in fs::read_dir(folder).map_err(|e| io(&e, "read", folder))? {
        let path = entry.map_err(|e| io(&e, "read", folder))?.path();
        chown(&path, Some(uid), Some(gid)).map_err(|e| io(&e, "hand over", &path))?;
    }
    Ok(())
}

/// The note that the server ran, so that putting back starts it again.
const RAN: &str = "server_ran";

/// Stops the damaged server.
#[derive(Debug)]
pub struct StopServer(pub Arc<Site>);

impl Step for StopServer {
    fn id(&self) -> &'static str {
        "stop-server"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        if self.0.has_moved(context.plan()) {
            return Ok(Standing::Done(String::from("the damaged directory is set aside already")));
        }
        Ok(if self.0.stays_down()? {
            Standing::Done(String::from("the server is down"))
        } else {
            Standing::NotStarted
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        if site.has_moved(context.plan()) || site.stays_down()? {
            context.note("stopped", "The server is down")?;
            return Ok(Outcome::Done);
        }
        site.confirm(context.plan(), site.data())?;
        // Before the stop: whoever puts back must know it, also after a kill in between.
        context.note(RAN, "The server ran when the recovery stopped it")?;
        site.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        context.note("stopped", "The server is stopped; no write arrives any more")?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let site = &self.0;
        if site.running()? {
            return Ok(String::from("the server runs already"));
        }
        // Whoever had stopped it before had a reason: damage may go on once it runs.
        if context.noted(RAN).is_none() {
            return Ok(String::from("the server was down when the recovery began, and stays down"));
        }
        site.confirm(context.plan(), site.data())?;
        site.start_open()?;
        Ok(String::from("the server was started again"))
    }
}

/// How long a fast shutdown may take before it counts as failed.
pub const STOP_LIMIT: Duration = Duration::from_secs(120);
