//! `init`: from a running cluster to a proven backup, by questions or by flags. Owns the order of
//! questions and the words around them; what is decided and done is the engine's.

mod ask;
mod questions;

use super::args::Init;
use super::output::{self, Bar};
use super::runtime;
use crate::engine::config::{self, Cluster, Config, Encryption, Operator, RepositoryConfig};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Role, Verdict};
use crate::engine::init::config_text::Addition;
use crate::engine::init::driver;
use crate::engine::init::errand::{self, Answer, Errand};
use crate::engine::init::page::{self, Circumstances, Page};
use crate::engine::init::proposal::{self, Proposal, Takes};
use crate::engine::init::{Facts, InitError, Order, Outcome, Wishes, carry_out};
use crate::engine::init::{furnish, record, restart};
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::runbook::Runbook;
use crate::engine::schedule::run::Alone;
use ask::Asker;
use questions::Server;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit code where it ended well and something is left to be done; `status` has it too.
const UNFINISHED: u8 = 12;

/// The ground that everything stands on.
struct Ground<'a> {
    args: &'a Init,
    asker: Asker,
    owner: Owner,
    program: PathBuf,
    config_path: PathBuf,
    /// The configuration's text before.
    before: String,
    config: Option<Config>,
    runbook: Runbook,
}

pub(super) fn init(path: Option<&Path>, args: &Init) -> Result<ExitCode, Explanation> {
    let asker = Asker::new(args.yes, args.json);
    let server = questions::server(&asker, args)?;
    let ground = Ground::survey(path, args, asker, &server).map_err(|e| e.explanation())?;
    let looked = Errand::Look {
        connection: server.connection.clone(),
        data_directory: server.data_directory.clone(),
    };
    let Answer::Facts(facts) = ground.send(&looked)? else {
        return Err(no_answer());
    };
    let (cluster, repository, addition) = ground.wanted(&server, &facts)?;
    let wishes = Wishes {
        archive_command: carry_out::archive_command(
            &ground.program,
            &ground.config_path,
            &cluster.name,
        ),
        archive_timeout: args.archive_timeout,
    };
    let proposal = proposal::propose(&facts, &wishes);
    let restart = ground.agree(&facts, &proposal, addition.as_ref())?;
    let record = ground.furnish(&cluster, &repository, addition.as_ref())?;
    let order = Order {
        config: ground.config_path.clone(),
        cluster: cluster.name.clone(),
        repository: repository.name.clone(),
        program: ground.program.clone(),
        wishes,
        changes: proposal.changes,
        restart,
        record: record.clone(),
        proof: !args.no_proof,
        proof_directory: args.proof_directory.clone(),
        archive_wait: args.archive_wait,
    };
    let Answer::Outcome(outcome) = ground.send(&Errand::CarryOut(Box::new(order)))? else {
        return Err(no_answer());
    };
    let around = ground.circumstances(&cluster, &repository, record);
    tell(args, &outcome, &around, &page::page(&outcome, &around))
}

/// The second process, as the server's user.
pub(super) fn errand(quiet: bool) -> Result<ExitCode, Explanation> {
    let runtime = runtime()?;
    let say = |text: &str| progress(quiet, text);
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let bar = Bar::new(quiet);
    let report = |progress| bar.show(&progress);
    let served = errand::serve(&mut input, &mut output, &runtime, &report, &say);
    bar.finish();
    served.map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("The errand could not be read or answered: {error}."),
            "Nothing was changed.",
            "This verb is called by lifeboat init alone.",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn progress(quiet: bool, text: &str) {
    if !quiet {
        let _ = writeln!(std::io::stderr(), "… {text}");
    }
}

fn no_answer() -> Explanation {
    Explanation::new(Kind::Internal, "The errand answered something else.", "", "Run it again.")
}

impl<'a> Ground<'a> {
    /// Who owns the server, whether that user can run this program, and what is configured.
    fn survey(
        path: Option<&Path>,
        args: &'a Init,
        asker: Asker,
        server: &Server,
    ) -> Result<Self, InitError> {
        let owner = discovery::owner(&server.data_directory)?;
        let us = Owner::current();
        if us.uid != 0 && !owner.is_current() {
            let path = server.data_directory.clone();
            return Err(InitError::NotAllowed { path, user: us.to_string() });
        }
        let program = match &args.program {
            Some(program) => std::path::absolute(program),
            None => std::env::current_exe(),
        };
        let program = program.map_err(|source| InitError::File {
            path: PathBuf::from("lifeboat"),
            what: String::from("the program cannot be found"),
            source,
        })?;
        furnish::check_program(&program, &owner)?;
        let config_path = config::load::place(path)?;
        let before = furnish::read_config(&config_path)?;
        let config = if before.is_empty() { None } else { Some(config::load(Some(&config_path))?) };
        let own = config.as_ref().and_then(|config| config.runbook.clone());
        let runbook = Runbook::load(own.as_deref()).map_err(|error| error.explanation())?;
        Ok(Self { args, asker, owner, program, config_path, before, config, runbook })
    }

    fn send(&self, errand: &Errand) -> Result<Answer, Explanation> {
        let quiet = self.args.json;
        if !self.owner.is_current() {
            return errand::send(errand, &self.program, &self.owner, quiet)
                .map_err(|error| error.explanation());
        }
        let bar = Bar::new(quiet);
        let say = |text: &str| progress(quiet, text);
        let done = errand::run(errand, &runtime()?, &|progress| bar.show(&progress), &say);
        bar.finish();
        done.map_err(|error| error.explanation())
    }

    /// The cluster and its repository as the configuration will have them, and what must be
    /// added to it; nothing where it has the cluster.
    fn wanted(
        &self,
        server: &Server,
        facts: &Facts,
    ) -> Result<(Cluster, RepositoryConfig, Option<Addition>), Explanation> {
        let (args, asker) = (self.args, &self.asker);
        if let Some(config) = &self.config
            && let Some(known) = config
                .clusters
                .iter()
                .find(|known| same_path(&known.data_directory, &server.data_directory))
        {
            asker.say(&format!(
                "{} has this cluster: \"{}\".",
                self.config_path.display(),
                known.name
            ))?;
            let repository = super::repository_config(config, known, None)?;
            return Ok((known.clone(), repository.clone(), None));
        }
        if let (Some(config), Some(name)) = (&self.config, &args.cluster_name)
            && let Some(other) = config.cluster(name)
        {
            let taken = InitError::NameTaken {
                path: self.config_path.clone(),
                name: name.clone(),
                directory: other.data_directory.clone(),
            };
            return Err(taken.explanation());
        }
        let config = self.config.as_ref();
        let mut cluster = questions::cluster(asker, args, server, config, &self.runbook)?;
        let (repository, there) =
            questions::repository(asker, args, &cluster.name, facts, config, &self.config_path)?;
        cluster.repositories = vec![repository.name.clone()];
        cluster.control = driver::choose(
            &driver::Found::of(&facts.data_directory),
            facts.configured_elsewhere().then_some(&facts.config_file),
        );
        let addition = Addition {
            cluster: cluster.clone(),
            repository: (!there).then(|| repository.clone()),
            operators: self.operators(),
        };
        Ok((cluster, repository, Some(addition)))
    }

    /// Root, and the server's user, who may sit at the machine.
    fn operators(&self) -> Vec<Operator> {
        let server = self.owner.name.clone().filter(|name| name != "root");
        std::iter::once(String::from("root"))
            .chain(server)
            .map(|user| Operator { user, role: Role::Commander })
            .collect()
    }

    /// Shows everything that will be done; gives whether the server may be restarted.
    fn agree(
        &self,
        facts: &Facts,
        proposal: &Proposal,
        addition: Option<&Addition>,
    ) -> Result<bool, Explanation> {
        let (args, asker) = (self.args, &self.asker);
        if let Some(addition) = addition {
            let text = crate::engine::init::config_text::addition(
                &self.before,
                addition,
                &self.config_path,
            )
            .map_err(|error| error.explanation())?;
            let verb = if self.before.is_empty() { "New" } else { "Added at the end of" };
            asker.say(&format!("\n{verb} {}:", self.config_path.display()))?;
            for line in text.lines() {
                asker.say(&format!("  | {line}"))?;
            }
        }
        if proposal.changes.is_empty() {
            asker.say("\nThe server's settings need no change.")?;
        } else {
            asker.say("\nThe server's settings:")?;
        }
        for change in &proposal.changes {
            let takes = match change.takes {
                Takes::Reload => "at once",
                Takes::Restart => "after a RESTART",
            };
            let current = if change.current.is_empty() { "(nothing)" } else { &change.current };
            asker.say(&format!(
                "  {}: {current} → {} ({takes})\n      {}",
                change.name, change.proposed, change.why
            ))?;
        }
        if let Some(foreign) = proposal.foreign()
            && !args.replace_archive_command
        {
            let question = format!(
                "{} is \"{}\": another program archives this server's WAL. Replace it?",
                foreign.name, foreign.current
            );
            if !asker.agree(&question, false, false)? {
                let refused = InitError::ForeignArchiving {
                    name: foreign.name.clone(),
                    current: foreign.current.clone(),
                };
                return Err(refused.explanation());
            }
        }
        let nothing = proposal.changes.is_empty() && addition.is_none();
        if !nothing && !asker.agree("\nDo all this?", true, true)? {
            return Err(Explanation::new(
                Kind::Cancelled,
                "It was not agreed to.",
                "Nothing was changed.",
                "",
            ));
        }
        if !proposal.needs_restart() {
            return Ok(false);
        }
        if let Some(service) = restart::service_of(&facts.data_directory) {
            asker.say(&format!(
                "The server must be restarted; {service} does that, not Lifeboat."
            ))?;
            return Ok(false);
        }
        let question = format!(
            "The server must be restarted: all {} sessions are cut and it is down for some \
             seconds, longer where a checkpoint takes long. Restart it now?",
            facts.sessions
        );
        if args.restart { Ok(true) } else { asker.agree(&question, false, false) }
    }

    /// Key, folder, configuration, record.
    fn furnish(
        &self,
        cluster: &Cluster,
        repository: &RepositoryConfig,
        addition: Option<&Addition>,
    ) -> Result<PathBuf, Explanation> {
        let record = record::path(&self.config_path, &cluster.name);
        let make = || -> Result<(), InitError> {
            if let Some(key) = key_of(repository) {
                furnish::master_key(&key, &self.owner)?;
            }
            if let Some(addition) = addition {
                furnish::write_config(&self.config_path, &self.before, addition)?;
            }
            furnish::repository_folder(&repository.store, &cluster.name, &self.owner)?;
            record::prepare(&record, &self.owner)
        };
        make().map_err(|error| error.explanation())?;
        Ok(record)
    }

    fn circumstances(
        &self,
        cluster: &Cluster,
        repository: &RepositoryConfig,
        record: PathBuf,
    ) -> Circumstances {
        let folder = furnish::folder_of(&repository.store, &cluster.name);
        let data = &cluster.data_directory;
        Circumstances {
            cluster: cluster.name.clone(),
            copies: cluster.repositories.len(),
            same_volume: folder.and_then(|folder| furnish::same_volume(&folder, data)),
            encrypted: repository.encryption != Encryption::None,
            key: key_of(repository),
            rpo: self.runbook.tier(cluster.tier).rpo_seconds,
            config: self.config_path.clone(),
            record,
            command: format!("{} --config {}", self.program.display(), self.config_path.display()),
            as_server: if self.owner.is_current() {
                String::new()
            } else {
                format!("sudo -u {} ", self.owner)
            },
            scheduler: Alone::runs(
                &self
                    .config
                    .as_ref()
                    .map_or_else(config::load::default_state_directory, Config::state_directory),
            ),
            service: restart::service_of(data),
        }
    }
}

fn same_path(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}

fn key_of(repository: &RepositoryConfig) -> Option<PathBuf> {
    match &repository.encryption {
        Encryption::Aes256Cbc { master_key_file, .. } => master_key_file.clone(),
        Encryption::None => None,
    }
}

fn tell(
    args: &Init,
    outcome: &Outcome,
    around: &Circumstances,
    page: &Page,
) -> Result<ExitCode, Explanation> {
    if args.json {
        output::json(&serde_json::json!({
            "cluster": around.cluster,
            "config": around.config,
            "record": around.record,
            "repository": outcome.place,
            "changed": outcome.changed,
            "awaits_restart": outcome.awaits_restart,
            "restarted": outcome.restarted,
            "archiving": outcome.archiving,
            "backup": outcome.backup,
            "backup_taken": outcome.backup_taken,
            "proof": outcome.proof,
            "proven_before": outcome.proven_before,
            "complete": outcome.complete(),
            "page": page,
        }))?;
    } else {
        output::line(&format!("\n{}", page.headline))?;
        for (title, lines) in [
            ("Protected", &page.protected),
            ("Not protected", &page.not_protected),
            ("Next", &page.next),
        ] {
            output::line(&format!("\n{title}:"))?;
            if lines.is_empty() {
                output::line("  nothing")?;
            }
            for line in lines {
                output::line(&format!("  - {line}"))?;
            }
        }
    }
    let failed = outcome.proof.as_ref().is_some_and(|proof| proof.verdict == Verdict::Failed);
    let left_out = args.no_proof && outcome.backup.is_some();
    Ok(match (failed, outcome.complete() || left_out) {
        (true, _) => ExitCode::from(Kind::Integrity.exit_code()),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(UNFINISHED),
    })
}
