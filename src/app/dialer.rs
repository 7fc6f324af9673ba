//! The real line: incidents from the store, runners through their sockets. Owns the bridge
//! between the runner's client and the terminal UI; never acts on an incident itself.

use super::link::{Dialer, Inbox, Incoming, Wire};
use crate::engine::config::{Cluster, Config};
use crate::engine::drill::master::Desk;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::event::Declaration;
use crate::engine::incident::model::{Phase, RunStatus};
use crate::engine::incident::store::{Listed, Store};
use crate::engine::postgres::discovery;
use crate::engine::readiness::gather as readiness;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::{Command, Message, PROTOCOL};
use crate::engine::runner::spawn;
use crate::screens::view::{ClusterRow, IncidentRow, Listing};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a runner may take to tell its incident for the list.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Where a cluster is that listens at a socket of this machine.
pub(super) const THIS_HOST: &str = "this host";

/// Connects the terminal UI to the incidents below a state directory.
#[derive(Debug)]
pub struct Runners {
    config: Config,
    store: Store,
    state: PathBuf,
    runtime: Handle,
}

impl Runners {
    #[must_use]
    pub fn new(config: Config, state_directory: &Path, runtime: Handle) -> Self {
        let state = state_directory.to_path_buf();
        Self { config, store: Store::new(state_directory), state, runtime }
    }

    /// An incident as its runner tells it, for whoever may not read its journal.
    fn asked(&self, id: &str) -> Option<IncidentRow> {
        let socket = spawn::alive(&self.store.folder(id).ok()?)?;
        let client = Client::connect_blocking(&self.runtime, &socket).ok()?;
        let incident = self.runtime.block_on(client.live(ASK_LIMIT)).ok()?;
        Some(IncidentRow {
            id: id.to_owned(),
            cluster: incident.declaration.cluster.clone(),
            title: incident.declaration.title.clone(),
            declared: incident.clocks.declared.unwrap_or(Timestamp::UNIX_EPOCH),
            phase: incident.phase(),
            status: incident.status,
            drill: incident.declaration.drill.is_some(),
        })
    }

    fn folder(&self, incident: &str) -> Result<PathBuf, Explanation> {
        self.store.folder(incident).map_err(|e| e.explanation())
    }
}

/// The configured clusters, as home lists them.
#[must_use]
pub fn clusters(config: &Config) -> Vec<ClusterRow> {
    let row = |c: &crate::engine::config::Cluster| ClusterRow {
        name: c.name.clone(),
        tier: c.tier,
        environment: c.environment.clone(),
        data_directory: c.data_directory.display().to_string(),
        // A folder is the server's socket on this machine.
        host: if c.connection.host.starts_with('/') {
            THIS_HOST.to_owned()
        } else {
            c.connection.host.clone()
        },
        probes: c.probes.len(),
        state: None,
        readiness: None,
    };
    config.clusters.iter().map(row).collect()
}

/// What an incident on a configured cluster is declared as.
#[must_use]
pub fn declaration(cluster: &Cluster, id: &str, title: &str) -> Declaration {
    Declaration {
        id: id.to_owned(),
        cluster: cluster.name.clone(),
        tier: cluster.tier,
        environment: cluster.environment.clone(),
        title: title.to_owned(),
        identity: discovery::identity(&cluster.data_directory).ok(),
        drill: (cluster.environment == "drill").then(|| String::from("drill")),
    }
}

impl Dialer for Runners {
    fn list(&self) -> Result<Listing, Explanation> {
        let mut listing = Listing { clusters: clusters(&self.config), ..Listing::default() };
        if self.store.is_closed_to_us() {
            listing.incidents =
                self.store.shared().iter().filter_map(|id| self.asked(id)).collect();
            return Ok(listing);
        }
        for listed in self.store.list().map_err(|e| e.explanation())? {
            match listed {
                Listed::Whole(s) => listing.incidents.push(IncidentRow {
                    id: s.id,
                    cluster: s.cluster,
                    title: s.title,
                    declared: s.declared.unwrap_or(Timestamp::UNIX_EPOCH),
                    phase: s.phase,
                    status: s.status,
                    drill: s.drill.is_some(),
                }),
                // One that no runner has journalled yet can be opened all the same.
                Listed::Damaged { id, folder, explanation } => {
                    match crate::engine::incident::store::declaration(&folder) {
                        Ok((d, _)) => listing.incidents.push(IncidentRow {
                            id,
                            cluster: d.cluster,
                            title: d.title,
                            declared: Timestamp::now(),
                            phase: Phase::Assessment,
                            status: RunStatus::Planning,
                            drill: d.drill.is_some(),
                        }),
                        Err(_) => listing.warnings.push(format!("{id}: {}", explanation.what)),
                    }
                }
            }
        }
        for row in &mut listing.clusters {
            let page = readiness::kept(&self.state, &row.name);
            row.state = page.as_ref().map(|page| readiness::in_short(page, Timestamp::now()));
            row.readiness = page;
        }
        // Newest first already; open ones go before closed ones.
        listing.incidents.sort_by_key(|i| i.phase == Phase::Closed);
        Ok(listing)
    }

    fn declare(&self, cluster: &str, title: &str) -> Result<String, Explanation> {
        let Some(found) = self.config.cluster(cluster) else {
            let what = format!("The configuration has no cluster \"{cluster}\".");
            return Err(Explanation::new(Kind::Config, what, "Nothing was declared.", ""));
        };
        let scenario = self.config.sandbox.scenario.clone();
        let made = self.store.declare(Timestamp::now(), |id| {
            let mut declared = declaration(found, id, title);
            // A sandbox's own configuration says what is played in it.
            declared.drill = declared.drill.map(|drill| scenario.clone().unwrap_or(drill));
            declared
        });
        made.map(|(declaration, _)| declaration.id).map_err(|e| e.explanation())
    }

    fn attach(&self, incident: &str, inbox: Inbox) -> Result<Box<dyn Wire>, Explanation> {
        let folder = self.folder(incident)?;
        let socket =
            spawn::ensure_runner(&self.config.path, &folder).map_err(|e| e.explanation())?;
        attach_at(&self.runtime, &socket, inbox)
    }

    fn attended(&self) -> Option<bool> {
        // The sandbox's configuration lies in its folder.
        self.config.path.parent().and_then(|root| Desk::of(root).attended())
    }
}

/// The newest incident that is not closed; for whoever may not list them, the newest that somebody
/// shares.
#[must_use]
pub fn under_way(store: &Store) -> Option<String> {
    if store.is_closed_to_us() {
        let reached = |id: &String| store.folder(id).is_ok_and(|at| spawn::alive(&at).is_some());
        return store.shared().into_iter().find(reached);
    }
    let listed = store.list().ok()?;
    let open = listed.into_iter().filter_map(|one| match one {
        Listed::Whole(summary) if summary.closed.is_none() => Some(summary),
        _ => None,
    });
    open.max_by_key(|summary| summary.declared).map(|summary| summary.id)
}

/// The sockets of all runners that this person can find.
#[must_use]
pub fn sockets(store: &Store) -> Vec<PathBuf> {
    let own = store.list().unwrap_or_default().into_iter().map(|listed| listed.id().to_owned());
    let mut ids: Vec<_> = own.chain(store.shared()).collect();
    ids.sort();
    ids.dedup();
    ids.iter().filter_map(|id| spawn::alive(&store.folder(id).ok()?)).collect()
}

/// Connects to the runner that listens there.
///
/// # Errors
/// Where nobody does.
pub fn attach_at(
    runtime: &Handle,
    socket: &Path,
    inbox: Inbox,
) -> Result<Box<dyn Wire>, Explanation> {
    let client = Client::connect_blocking(runtime, socket).map_err(|e| e.explanation())?;
    let inbox = Arc::new(inbox);
    inbox(Incoming::Message(Box::new(Message::Hello {
        protocol: PROTOCOL,
        incident: client.incident_id().to_owned(),
        you: client.you().clone(),
        runner_pid: client.runner_pid(),
    })));
    // Somebody is at a screen; where the answer is lost, so is the link.
    drop(client.submit(Command::Attend));
    let mut updates = client.updates();
    let out = Arc::clone(&inbox);
    let watched = client.clone();
    let pump = runtime.spawn(async move {
        while let Some(message) = updates.next().await {
            out(Incoming::Message(Box::new(message)));
        }
        let why = match watched.link() {
            crate::engine::runner::client::LinkState::Lost { reason } => reason,
            _ => String::from("the link ended"),
        };
        out(Incoming::Lost(why));
    });
    Ok(Box::new(Attached { client, inbox, runtime: runtime.clone(), pump }))
}

/// One attached runner.
struct Attached {
    client: Client,
    inbox: Arc<Inbox>,
    runtime: Handle,
    pump: tokio::task::JoinHandle<()>,
}

impl Wire for Attached {
    fn send(&self, id: u64, command: Command) {
        let pending = self.client.submit(command);
        let inbox = Arc::clone(&self.inbox);
        self.runtime.spawn(async move {
            let result = pending.answer().await;
            inbox(Incoming::Message(Box::new(Message::Reply { id, result })));
        });
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Detaches this window alone; the runner goes on.
        self.pump.abort();
    }
}
