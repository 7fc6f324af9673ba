//! The real line to another machine: incidents and runners of a host behind ssh. Owns the bridge
//! between [`Far`] and the terminal UI, and the answers of the other side; never acts on an incident
//! itself.

use super::dialer::{self, Runners};
use super::link::{Dialer, Inbox, Wire};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::far::{Far, Greeting, Request};
use crate::engine::incident::store::Store;
use crate::engine::runner::peer;
use crate::engine::runner::protocol::PROTOCOL;
use crate::engine::runner::spawn;
use crate::screens::view::Listing;
use serde_json::Value;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Connects the terminal UI to the incidents of another machine.
#[derive(Debug)]
pub struct FarRunners {
    far: Arc<Far>,
    runtime: Handle,
}

impl FarRunners {
    #[must_use]
    pub fn new(far: Arc<Far>, runtime: Handle) -> Self {
        Self { far, runtime }
    }
}

impl Dialer for FarRunners {
    fn list(&self) -> Result<Listing, Explanation> {
        let mut listing: Listing = self.far.ask(&Request::List)?;
        for cluster in &mut listing.clusters {
            if cluster.host == dialer::THIS_HOST {
                self.far.host().clone_into(&mut cluster.host);
            }
        }
        Ok(listing)
    }

    fn declare(&self, cluster: &str, title: &str) -> Result<String, Explanation> {
        let (cluster, title) = (cluster.to_owned(), title.to_owned());
        self.far.ask(&Request::Declare { cluster, title })
    }

    fn attach(&self, incident: &str, inbox: Inbox) -> Result<Box<dyn Wire>, Explanation> {
        let incident = incident.to_owned();
        let there: PathBuf = self.far.ask(&Request::Attach { incident })?;
        let here = self.far.forward(&there)?;
        dialer::attach_at(&self.runtime, &here, inbox)
    }
}

/// The other side: greets, then answers each line until its input ends.
///
/// # Errors
/// Where it cannot be written to standard output.
pub fn answer(config: &Config, runtime: &Handle) -> Result<(), std::io::Error> {
    let runners = Runners::new(config.clone(), &config.state_directory(), runtime.clone());
    let user = peer::actor(nix::unistd::geteuid().as_raw(), &[]).user;
    let greeting =
        Greeting { lifeboat: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL, user };
    say(&greeting)?;
    for line in std::io::stdin().lock().lines() {
        let answered = match serde_json::from_str(&line?) {
            Ok(request) => answered(config, &runners, &request),
            Err(error) => Err(Explanation::new(
                crate::engine::explain::Kind::Config,
                format!("A request was not understood: {error}."),
                "Nothing was changed.",
                "Use the same version of Lifeboat on both machines.",
            )),
        };
        say(&answered)?;
    }
    Ok(())
}

fn say(value: &impl serde::Serialize) -> Result<(), std::io::Error> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn answered(config: &Config, runners: &Runners, request: &Request) -> Result<Value, Explanation> {
    let store = Store::new(&config.state_directory());
    let value = match request {
        Request::List => serde_json::to_value(runners.list()?),
        Request::Declare { cluster, title } => {
            serde_json::to_value(runners.declare(cluster, title)?)
        }
        Request::Attach { incident } => {
            let folder = store.folder(incident).map_err(|e| e.explanation())?;
            let socket = spawn::ensure_runner(&config.path, &folder);
            serde_json::to_value(socket.map_err(|e| e.explanation())?)
        }
        Request::UnderWay => serde_json::to_value(dialer::under_way(&store)),
        Request::Sockets => serde_json::to_value(dialer::sockets(&store)),
    };
    value.map_err(|error| {
        Explanation::new(
            crate::engine::explain::Kind::Internal,
            format!("An answer could not be put into words: {error}."),
            "Nothing was changed.",
            "",
        )
    })
}
