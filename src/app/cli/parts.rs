//! `restore-parts` and `salvage`: the differences first, then what the operator chose of them, in
//! one transaction. Notes both in the incident's journal where one is named.

mod outcome;

use super::args::{self, ClassWord, IntoWord};
use super::output::{self, Bar};
use super::{cluster, repository_config, runtime, time};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Target, TargetPoint, Topic};
use crate::engine::incident::store::Store;
use crate::engine::masking::Masking;
use crate::engine::parts::apply::{self, Ends};
use crate::engine::parts::carry;
use crate::engine::parts::catalog::{self, Table};
use crate::engine::parts::commit;
use crate::engine::parts::compare::{Difference, compare};
use crate::engine::parts::copied;
use crate::engine::parts::dump::Of;
use crate::engine::parts::names::Name;
use crate::engine::parts::pairs::Pair;
use crate::engine::parts::sandbox::{Means, Sandbox};
use crate::engine::parts::session::{self, LOCK_WAIT};
use crate::engine::parts::{Choice, Class, PartsError, Scope};
use crate::engine::runner::client::Client;
use crate::engine::runner::plan::KeptSpace;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use jiff::Timestamp;
use outcome::{Outcome, counts, shown, told};
use sha2::{Digest, Sha256};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::runtime::Runtime;

pub(super) fn restore_parts(
    config: &Config,
    args: &args::RestoreParts,
) -> Result<ExitCode, Explanation> {
    let point = if let Some(text) = &args.time {
        TargetPoint::Time(time(text)?)
    } else if let Some(text) = &args.lsn {
        TargetPoint::Lsn(text.parse().map_err(|error| wrong(&format!("{error}.")))?)
    } else if let Some(xid) = args.xid {
        TargetPoint::Xid(xid)
    } else if let Some(name) = &args.name {
        TargetPoint::Name(name.clone())
    } else {
        TargetPoint::EndOfArchive
    };
    let target = Target { point, inclusive: !args.exclusive, timeline: args.timeline };
    if args.parts.tables.is_empty() && args.parts.schema.is_none() {
        return Err(wrong("Say what to bring back: --table or --schema."));
    }
    let title = format!("Parts as they were {target}");
    work(config, &args.common, &args.parts, title, |means, json| {
        let bar = Bar::new(json);
        let made = Sandbox::recover(means, &target, &|progress| bar.show(&progress), &say(json));
        bar.finish();
        made
    })
}

pub(super) fn salvage(config: &Config, args: &args::Salvage) -> Result<ExitCode, Explanation> {
    let store = Store::new(&config.state_directory());
    let (kept, spaces) = match (&args.kept, &args.parts.incident) {
        (Some(kept), _) => (kept.clone(), spaces_of(&store, kept)?),
        (None, Some(id)) => {
            let incident = store.load(id).map_err(|e| e.explanation())?;
            let plan = incident.plan.ok_or_else(|| wrong("The incident has no plan."))?;
            (PathBuf::from(plan.aside), plan.places.kept)
        }
        (None, None) => return Err(wrong("Name the kept directory: --kept.")),
    };
    let title = format!("Salvage from {}", kept.display());
    work(config, &args.common, &args.parts, title, |means, json| {
        Sandbox::of_kept(means, &kept, &spaces, &say(json))
    })
}

/// Where the tablespaces of a kept directory are, by the newest plan that set it aside and whose
/// folders are there. What no plan says is not known. Without tablespaces no plan is asked.
fn spaces_of(store: &Store, kept: &Path) -> Result<Vec<KeptSpace>, Explanation> {
    if !copied::has_linked_spaces(kept) {
        return Ok(Vec::new());
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let kept = real(kept);
    let all = store.list().map_err(|e| e.explanation())?;
    let plans = all.iter().filter_map(|listed| store.load(listed.id()).ok()?.plan);
    let spaces = plans
        .filter(|plan| real(Path::new(&plan.aside)) == kept)
        .map(|plan| plan.places.kept)
        .find(|spaces| !spaces.is_empty() && spaces.iter().all(|space| space.kept.is_dir()));
    Ok(spaces.unwrap_or_default())
}

fn say(json: bool) -> impl Fn(&str) {
    move |text| {
        if !json {
            output::warn(text);
        }
    }
}

fn wrong(what: &str) -> Explanation {
    Explanation::new(Kind::Config, what, "Nothing was touched.", "See --help.")
}

fn work(
    config: &Config,
    common: &args::Common,
    parts: &args::Parts,
    title: String,
    make: impl FnOnce(&Means<'_>, bool) -> Result<Sandbox, PartsError>,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    if common.repository.is_some() {
        repository_config(config, cluster, common.repository.as_deref())?;
    }
    let scope = scope(parts)?;
    let choice = choice(parts)?;
    let runtime = runtime()?;
    let program = std::env::current_exe().map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("Lifeboat cannot tell where its own program is: {error}."),
            "Nothing was touched.",
            "Start it by its full path.",
        )
    })?;
    let means = Means {
        config,
        cluster,
        directory: parts.work_directory.as_deref(),
        program: &program,
        only: common.repository.as_deref(),
        runtime: &runtime,
    };
    let sandbox = make(&means, common.json).map_err(|e| e.explanation())?;
    let database = parts.database.clone().unwrap_or_else(|| cluster.connection.database.clone());
    let masking = Masking::of(&cluster.masking);
    let job =
        Job { config, cluster, parts, scope, choice, database, runtime: &runtime, title, masking };
    let done = job.run(&sandbox, common.json);
    let cleared = sandbox.close().map_err(|e| e.explanation());
    let mut outcome = done?;
    if let Err(error) = cleared {
        outcome.notes.push(error.to_string());
    }
    if common.json {
        output::json(&outcome)?;
    } else {
        told(&outcome)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn scope(parts: &args::Parts) -> Result<Scope, Explanation> {
    if let Some(schema) = &parts.schema {
        return Ok(Scope::Schema(schema.clone()));
    }
    if parts.tables.is_empty() {
        return Ok(Scope::All);
    }
    let names: Result<Vec<Name>, PartsError> =
        parts.tables.iter().map(|text| Name::parse(text)).collect();
    names.map(Scope::Tables).map_err(|e| e.explanation())
}

fn choice(parts: &args::Parts) -> Result<Choice, Explanation> {
    let takes = |word| parts.take.contains(&word);
    let choice = Choice {
        missing: takes(ClassWord::Missing),
        changed: takes(ClassWord::Changed),
        newer: takes(ClassWord::Newer),
        triggers: parts.fire_triggers,
        common_columns: parts.common_columns,
    };
    if parts.into == IntoWord::Schema && choice.any() {
        return Err(wrong("--take goes with --into in-place; a new schema gets all rows."));
    }
    Ok(choice)
}

struct Job<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    parts: &'a args::Parts,
    scope: Scope,
    choice: Choice,
    database: String,
    runtime: &'a Runtime,
    title: String,
    masking: Masking,
}

/// What was looked at before anything is written.
struct Seen {
    pairs: Vec<Pair>,
    absent: Vec<Table>,
    differences: Vec<Difference>,
}

impl Seen {
    /// A digest of the rows of the chosen classes and of the tables that are absent.
    fn print(&self, choice: Choice) -> String {
        let mut digest = Sha256::new();
        let mut put = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        for found in &self.differences {
            put(&found.table);
            for class in Class::ALL.into_iter().filter(|class| choice.takes(*class)) {
                put(class.word());
                put(found.print(class));
            }
        }
        self.absent.iter().for_each(|table| put(&format!("absent {}", table.name)));
        data_encoding::HEXLOWER.encode(&digest.finalize())
    }
}

impl Job<'_> {
    fn run(&self, sandbox: &Sandbox, json: bool) -> Result<Outcome, Explanation> {
        let seen = self.runtime.block_on(self.look(sandbox)).map_err(|e| self.told(&e))?;
        let mut outcome = Outcome {
            title: self.title.clone(),
            cluster: self.cluster.name.clone(),
            database: self.database.clone(),
            differences: seen.differences.clone(),
            absent: seen.absent.iter().map(|table| table.name.to_string()).collect(),
            seen: seen.print(self.choice),
            schema: None,
            carried: Vec::new(),
            applied: Vec::new(),
            notes: Vec::new(),
        };
        if let Some(given) = &self.parts.seen
            && *given != outcome.seen
        {
            return Err(refused(
                "What differs now is not what --seen stands for.",
                "Look again with --dry-run and the same --take, and give what it says.",
            ));
        }
        let tables = seen.pairs.iter().map(|pair| &pair.source).chain(&seen.absent);
        for table in tables.filter(|table| table.unlogged) {
            outcome.notes.push(format!("{} is unlogged: its rows are in no backup", table.name));
        }
        let side = self.parts.into == IntoWord::Schema;
        // A salvage of everything is asked what there is; nothing was named to be made.
        let nothing = if side {
            self.scope == Scope::All
        } else {
            !self.choice.any() && seen.absent.is_empty()
        };
        if self.parts.dry_run || nothing {
            outcome.notes.push(String::from("Nothing was written."));
            return Ok(outcome);
        }
        if !side {
            if !json {
                shown(&outcome)?;
            }
            agree(self.cluster, self.parts.confirm.as_deref(), json)?;
        }
        self.note(&format!("{}: {} goes ahead", self.title, self.words(&outcome)))?;
        let written = self.runtime.block_on(self.write(sandbox, &seen, side, &mut outcome));
        match written {
            Ok(told) => {
                outcome.notes.extend(told);
                // It is done and committed: a journal that fails now is told, not a failure.
                if let Err(error) =
                    self.note(&format!("{}: done, {}", self.title, counts(&outcome)))
                {
                    outcome.notes.push(error.to_string());
                }
                Ok(outcome)
            }
            Err(error) => {
                let explanation = self.told(&error);
                let told = match error {
                    PartsError::NotKnown { .. } => {
                        format!("{}: NOT KNOWN whether it was done. {explanation}", self.title)
                    }
                    _ => format!("{}: not done, rolled back. {}", self.title, explanation.what),
                };
                if let Err(unnoted) = self.note(&told) {
                    output::warn(&unnoted.to_string());
                }
                Err(explanation)
            }
        }
    }

    /// An error in words, without the values that the server quoted where columns are masked.
    fn told(&self, error: &PartsError) -> Explanation {
        let mut explanation = error.explanation();
        explanation.what = self.masking.server_words(&explanation.what).into_owned();
        explanation
    }

    async fn look(&self, sandbox: &Sandbox) -> Result<Seen, PartsError> {
        let source = sandbox.session(&self.database).await?;
        let production = session::open(&self.cluster.connection, &self.database).await?;
        if let Scope::Schema(schema) = &self.scope
            && !catalog::has_schema(&source, schema).await?
        {
            return Err(PartsError::NotFound(format!("{schema} is no schema in the source.")));
        }
        let tables = catalog::tables(&source, &self.scope).await?;
        if let Scope::Tables(names) = &self.scope {
            for name in names {
                if !tables.iter().any(|table| table.name == *name) {
                    return Err(PartsError::NotFound(format!("{name} is no table in the source.")));
                }
            }
        }
        let (pairs, absent) = apply::pair_up(&production, tables).await?;
        let mut differences = Vec::new();
        for pair in &pairs {
            let found =
                compare(&source, &production, pair, self.parts.samples, &self.masking, None)
                    .await?;
            differences.push(found);
        }
        Ok(Seen { pairs, absent, differences })
    }

    async fn write(
        &self,
        sandbox: &Sandbox,
        seen: &Seen,
        side: bool,
        outcome: &mut Outcome,
    ) -> Result<Option<String>, PartsError> {
        let source = sandbox.session(&self.database).await?;
        let reader = session::open(&self.cluster.connection, &self.database).await?;
        let writer = session::open(&self.cluster.connection, &self.database).await?;
        let begin = format!("{LOCK_WAIT}; BEGIN");
        writer.batch_execute(&begin).await.map_err(PartsError::sql("Beginning"))?;
        session::same_cluster(&source, &[&reader, &writer]).await?;
        let owners = !self.parts.no_owner;
        if side {
            let name = Timestamp::now().strftime("recovered_%Y%m%d_%H%M%S").to_string();
            let before = catalog::tables(&source, &self.scope).await?;
            outcome.notes.extend(
                carry::move_aside(&source, &self.scope, &before, &name)
                    .await?
                    .into_iter()
                    .map(|key| format!("Left out, because it leads elsewhere: {key}")),
            );
            let moved = catalog::tables(&source, &Scope::Schema(name.clone())).await?;
            let of = Of::Schema(&name);
            outcome.carried =
                carry::carry(sandbox, &source, &writer, &of, &moved, owners, &self.database)
                    .await?;
            outcome.schema = Some(name);
        } else {
            if self.choice.any() && !seen.pairs.is_empty() {
                let ends = Ends { source: &source, reader: &reader, writer: &writer };
                outcome.applied =
                    apply::apply(ends, &seen.pairs, self.choice, &seen.differences).await?;
            }
            // Afterwards: its keys may lead to rows that have just come back.
            if !seen.absent.is_empty() {
                self.make_absent(sandbox, &source, &writer, seen, outcome).await?;
            }
        }
        let connection = &self.cluster.connection;
        commit::commit(&writer, connection, &self.database, commit::ASK_LIMIT).await
    }

    async fn make_absent(
        &self,
        sandbox: &Sandbox,
        source: &tokio_postgres::Client,
        writer: &tokio_postgres::Client,
        seen: &Seen,
        outcome: &mut Outcome,
    ) -> Result<(), PartsError> {
        let owners = !self.parts.no_owner;
        let whole = match &self.scope {
            Scope::Schema(schema) if !catalog::has_schema(writer, schema).await? => Some(schema),
            _ => None,
        };
        let mut names = Vec::new();
        for table in &seen.absent {
            names.extend(catalog::tree(source, table).await?.into_iter().map(|(name, _)| name));
        }
        let of = whole.map_or(Of::Tables(&names), |schema| Of::Schema(schema));
        outcome.carried =
            carry::carry(sandbox, source, writer, &of, &seen.absent, owners, &self.database)
                .await?;
        let referring = carry::referring(source, &seen.absent).await?;
        outcome.notes.extend(referring.into_iter().map(|key| {
            format!("Referred to the table before; make it again where you want it: {key}")
        }));
        Ok(())
    }

    fn words(&self, outcome: &Outcome) -> String {
        let mut tables: Vec<&str> =
            outcome.differences.iter().map(|one| one.table.as_str()).collect();
        tables.extend(outcome.absent.iter().map(String::as_str));
        tables.truncate(20);
        format!("{} of database {}", tables.join(", "), self.database)
    }

    /// Through the incident's runner, which alone writes its journal.
    fn note(&self, text: &str) -> Result<(), Explanation> {
        let Some(id) = &self.parts.incident else { return Ok(()) };
        let store = Store::new(&self.config.state_directory());
        let folder = store.folder(id).map_err(|e| e.explanation())?;
        let socket =
            spawn::ensure_runner(&self.config.path, &folder).map_err(|e| e.explanation())?;
        self.runtime.block_on(async {
            let client = Client::connect(&socket).await.map_err(|e| e.explanation())?;
            let note = Command::AddNote { topic: Topic::Note, text: text.to_owned() };
            client.request(note).await.map(drop)
        })
    }
}

fn refused(what: &str, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing in production was changed.", next)
}

/// The cluster's name, typed or given.
fn agree(cluster: &Cluster, given: Option<&str>, json: bool) -> Result<(), Explanation> {
    let refused = |what: &str, next: &str| Err(refused(what, next));
    if let Some(given) = given {
        return if given == cluster.name {
            Ok(())
        } else {
            refused("--confirm does not name this cluster.", "Give its name to the letter.")
        };
    }
    if json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return refused(
            "Nobody can be asked whether this may be written to production.",
            "See what differs with --dry-run, then run it with --confirm and the cluster's name.",
        );
    }
    let mut out = std::io::stdout().lock();
    let asked = write!(out, "Type {} to write this to production: ", cluster.name)
        .and_then(|()| out.flush());
    let mut answer = String::new();
    match asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer)) {
        Ok(_) if answer.trim() == cluster.name => Ok(()),
        _ => refused("It was not agreed to.", "Run it again to see the differences again."),
    }
}
