//! What happens in a sandbox before anybody recovers it: traffic, the incident, the line to the far
//! repository. Owns the staging; what an inject does is `drill::act`'s.

use super::{FAR, Sandbox, make::write_text};
use crate::engine::config::Line;
use crate::engine::drill::act::{self, Ground};
use crate::engine::drill::aside::SPACES;
use crate::engine::drill::error::DrillError;
use crate::engine::drill::fence::Folder;
use crate::engine::drill::place;
use crate::engine::drill::scenario::{Disaster, Link, Load, Scenario};
use crate::engine::drill::shop::DATABASE;
use crate::engine::drill::strike::{Truth, lose, strike};
use crate::engine::drill::traffic::Traffic;
use crate::engine::files;
use std::fs;
use std::time::{Duration, Instant};

impl Sandbox {
    /// Starts the application's traffic.
    ///
    /// # Errors
    /// Where it cannot start.
    pub fn begin_traffic(&mut self, load: &Load) -> Result<(), DrillError> {
        let handle = self.runtime()?.handle().clone();
        let rate = load.transactions_per_second;
        let traffic = Traffic::start(&self.server, &self.ledger(), rate, self.seed, &handle)?;
        self.traffic = Some(traffic);
        Ok(())
    }

    /// Waits until the traffic has committed for `seconds` more at `rate` a second.
    ///
    /// # Errors
    /// Where it makes no headway.
    pub fn let_traffic_run(&self, seconds: f64, rate: f64) -> Result<(), DrillError> {
        let Some(traffic) = &self.traffic else { return Ok(()) };
        let whole = Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0));
        let limit = whole * 10 + Duration::from_secs(30);
        let begun = Instant::now();
        // A slow machine still gets half of what was planned, in its own time.
        let least = traffic.committed() + Duration::from_secs_f64(seconds * rate / 2.0).as_secs();
        while begun.elapsed() < whole || traffic.committed() < least {
            if begun.elapsed() > limit || !traffic.runs() {
                return Err(DrillError::TooLong {
                    what: String::from("the application's traffic"),
                    seconds: begun.elapsed().as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The incident. What was there before is kept in `truth.json`.
    ///
    /// # Errors
    /// Where it cannot be staged.
    pub fn strike(&mut self, incident: &Disaster) -> Result<(), DrillError> {
        let Some(bad) = incident.statement() else {
            return self.lose(*incident == Disaster::Region);
        };
        let gate = self.traffic.as_ref().map(Traffic::gate).unwrap_or_default();
        let truth = self.runtime()?.block_on(strike(&self.server, &gate, bad))?;
        self.keep_truth(truth)
    }

    fn keep_truth(&mut self, truth: Truth) -> Result<(), DrillError> {
        let path = self.root().join("truth.json");
        let text = serde_json::to_vec_pretty(&truth)
            .map_err(|error| DrillError::file(&path, "it could not be written")(error.into()))?;
        files::create(&path, &text, 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))?;
        self.truth = Some(truth);
        Ok(())
    }

    /// The server dies, and its data directory is gone; where `region` is, the near repository
    /// too. What was there before is kept in `truth.json`.
    ///
    /// # Errors
    /// Where it cannot be staged.
    pub fn lose(&mut self, region: bool) -> Result<(), DrillError> {
        let gate = self.traffic.as_ref().map(Traffic::gate).unwrap_or_default();
        let truth = self.runtime()?.block_on(lose(&self.server, &gate))?;
        self.end_traffic();
        self.keep_truth(truth)?;
        let away = self.root().join("away");
        place::make_private(&away).map_err(DrillError::file(&away, "it could not be made"))?;
        let data = &self.server.data;
        Folder::open(self.root())
            .and_then(|root| root.below("cluster"))
            .and_then(|cluster| lose_all(&cluster))
            .map_err(DrillError::file(data, "it could not be removed"))?;
        if region {
            let near = self.root().join("repository");
            fs::rename(&near, away.join("near"))
                .map_err(DrillError::file(&near, "it could not be moved"))?;
        }
        Ok(())
    }

    /// The server parts with a WAL file of its own, so that its loss from the archive makes a gap:
    /// from now on the inject does. See `drill::act`.
    ///
    /// # Errors
    /// Where the server does not part with it.
    pub fn part_with_wal(&self, name: &str) -> Result<(), DrillError> {
        self.runtime()?.block_on(async {
            let client = self.server.connect("postgres", DATABASE).await?;
            let done = client.batch_execute("CHECKPOINT").await;
            done.map_err(DrillError::sql("it made no checkpoint"))
        })?;
        let own = self.server.data.join("pg_wal").join(name);
        if own.exists() {
            return Err(DrillError::Refused {
                path: own,
                why: String::from("the server still keeps it, so that no gap can be made there"),
            });
        }
        Ground { root: self.root().to_path_buf() }.mark_gap(name)
    }

    /// From now on the far repository is at the end of this line.
    ///
    /// # Errors
    /// Where the configuration cannot be written.
    pub fn lay_line(&mut self, link: Link) -> Result<(), DrillError> {
        let bytes = (link.megabytes_per_second * 1e6).clamp(1.0, 1e12) as u64;
        let line = Line { bytes_per_second: bytes, latency_ms: link.latency_ms };
        for repository in self.config.repositories.iter_mut().filter(|one| one.name == FAR) {
            repository.place.line = Some(line);
        }
        act::write_config(&self.config.path, &self.config)
    }

    /// What the screens read of the scenario, where it may be a team's own.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_scenario(&self, scenario: &Scenario) -> Result<(), DrillError> {
        write_text(&self.root().join("scenario.toml"), toml::to_string(scenario))
    }

    /// What the screens tell of a copy; nothing in a sandbox without one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_origin(&self) -> Result<(), DrillError> {
        let Some(copied) = &self.copied else { return Ok(()) };
        let text = serde_json::to_string_pretty(&copied.told().origin());
        write_text(&self.root().join(place::COPY), text)
    }

    /// Asks the server for a row with one text; for the drill's own staging.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn ask(&self, sql: &str) -> Result<String, DrillError> {
        self.runtime()?.block_on(async {
            let client = self.server.connect("postgres", DATABASE).await?;
            let row = client.query_one(sql, &[]).await;
            Ok(row.map_err(DrillError::sql("it could not be asked"))?.get(0))
        })
    }

    /// Begins a new WAL file and waits until the one before it is archived. Gives its name.
    ///
    /// # Errors
    /// Where it is not archived in time.
    pub fn switch_and_archive(&self) -> Result<String, DrillError> {
        let limit = Duration::from_secs(60);
        let name = self.ask("SELECT pg_walfile_name(pg_switch_wal())")?;
        let begun = Instant::now();
        let sql = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";
        while self.ask(sql)? < name {
            if begun.elapsed() > limit {
                return Err(DrillError::TooLong {
                    what: format!("the archiving of {name}"),
                    seconds: limit.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(name)
    }

    /// Ends the traffic where it still runs; gives the transactions that were acknowledged.
    pub fn end_traffic(&mut self) -> u64 {
        let Some(mut traffic) = self.traffic.take() else { return 0 };
        if let Some(runtime) = &self.runtime {
            traffic.stop(runtime.handle());
        }
        traffic.committed()
    }
}

/// Removes the data directory, and what is in the tablespaces of a copy.
fn lose_all(cluster: &Folder) -> std::io::Result<()> {
    cluster.remove("data")?;
    if !cluster.has_folder(SPACES) {
        return Ok(());
    }
    let spaces = cluster.below(SPACES)?;
    spaces.names()?.into_iter().try_for_each(|oid| spaces.remove(oid))
}
