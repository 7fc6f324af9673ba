//! The real line: incidents from the store, runners through their sockets. Owns the bridge
//! between the runner's client and the terminal UI; never acts on an incident itself.

use super::link::{Dialer, Inbox, Incoming, Wire};
use crate::engine::config::{Cluster, Config};
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
use tokio::runtime::Handle;

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
            String::from("this host")
        } else {
            c.connection.host.clone()
        },
        probes: c.probes.len(),
        state: None,
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
            row.state = page.map(|page| readiness::in_short(&page, Timestamp::now()));
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
        let client =
            Client::connect_blocking(&self.runtime, &socket).map_err(|e| e.explanation())?;
        let inbox = Arc::new(inbox);
        inbox(Incoming::Message(Box::new(Message::Hello {
            protocol: PROTOCOL,
            incident: client.incident_id().to_owned(),
            you: client.you().clone(),
            runner_pid: client.runner_pid(),
        })));
        let mut updates = client.updates();
        let out = Arc::clone(&inbox);
        let watched = client.clone();
        let pump = self.runtime.spawn(async move {
            while let Some(message) = updates.next().await {
                out(Incoming::Message(Box::new(message)));
            }
            let why = match watched.link() {
                crate::engine::runner::client::LinkState::Lost { reason } => reason,
                _ => String::from("the link ended"),
            };
            out(Incoming::Lost(why));
        });
        Ok(Box::new(Attached { client, inbox, runtime: self.runtime.clone(), pump }))
    }
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
