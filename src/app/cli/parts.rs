//! `restore-parts` and `salvage`: the differences first, then what the operator chose of them, in
//! one transaction. Notes both in the incident's journal where one is named.

mod journal;
mod outcome;
mod whole;

use super::args::{self, ClassWord, IntoWord};
use super::diagnosis::{self, Again};
use super::output::{self, Bar};
use super::restore::target;
use super::{cluster, repository_config, runtime};
use crate::engine::config::{Cluster, Config};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::store::Store;
use crate::engine::incident::trouble::{Cure, LOOK_AGAIN, NAMED_PLACE};
use crate::engine::masking::Masking;
use crate::engine::parts::names::Name;
use crate::engine::parts::roles::Missing;
use crate::engine::parts::sandbox::{Means, Sandbox};
use crate::engine::parts::work::{self, How, Into, Wanted};
use crate::engine::parts::{Choice, PartsError, Scope, commit, copied};
use crate::engine::runner::plan::KeptSpace;
use crate::engine::trouble;
use journal::{Journal, Of};
use outcome::{Outcome, shown, told};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::runtime::Runtime;

pub(super) fn restore_parts(
    config: &Config,
    args: &args::RestoreParts,
) -> Result<ExitCode, Explanation> {
    let target = target(&args.point, "See --help.")?;
    let recover = |means: &Means<'_>, json| {
        let bar = Bar::new(json);
        let show = |progress| bar.show(&progress);
        let made = Sandbox::recover(means, &target, args.set.as_deref(), &show, &say(json));
        bar.finish();
        made
    };
    if let Some(database) = &args.whole_database {
        return whole::bring(config, args, database, &target, recover);
    }
    if args.parts.tables.is_empty() && args.parts.schema.is_none() {
        return Err(wrong("Say what to bring back: --table, --schema or --whole-database."));
    }
    let title = format!("Parts as they were {target}");
    bring(config, &args.common, &args.parts, (title, Of::Other), recover)
}

pub(super) fn salvage(config: &Config, args: &args::Salvage) -> Result<ExitCode, Explanation> {
    if args.common.repository.is_some() {
        return Err(wrong("A salvage reads the kept directory alone: leave --repository out."));
    }
    let store = Store::new(&config.state_directory());
    let plan = match &args.parts.incident {
        Some(id) => {
            let incident = store.load(id).map_err(|e| e.explanation())?;
            // The recovery's, also while the screens have a salvage under way.
            let plan = incident.settled().plan.clone();
            Some(plan.ok_or_else(|| wrong("The incident has no plan."))?)
        }
        None => None,
    };
    let (kept, spaces) = match (&args.kept, &plan) {
        (Some(kept), _) => (kept.clone(), spaces_of(&store, kept)?),
        (None, Some(plan)) => (PathBuf::from(&plan.aside), plan.places.kept.clone()),
        (None, None) => return Err(wrong("Name the kept directory: --kept.")),
    };
    let of = match plan {
        Some(plan) if real(Path::new(&plan.aside)) == real(&kept) => Of::Kept(plan.aside),
        Some(_) => Of::AnotherKept,
        None => Of::Other,
    };
    let title = format!("Salvage from {}", kept.display());
    bring(config, &args.common, &args.parts, (title, of), |means, json| {
        Sandbox::of_kept(means, &kept, &spaces, &say(json))
    })
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Where the tablespaces of a kept directory are, by the newest plan that set it aside and whose
/// folders are there. What no plan says is not known. Without tablespaces no plan is asked.
fn spaces_of(store: &Store, kept: &Path) -> Result<Vec<KeptSpace>, Explanation> {
    if !copied::has_linked_spaces(kept) {
        return Ok(Vec::new());
    }
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

fn bring(
    config: &Config,
    common: &args::Common,
    parts: &args::Parts,
    (title, of): (String, Of),
    make: impl FnOnce(&Means<'_>, bool) -> Result<Sandbox, PartsError>,
) -> Result<ExitCode, Explanation> {
    let scope = scope(parts)?;
    let choice = choice(parts)?;
    let runtime = runtime()?;
    within(config, common, parts, &runtime, make, |cluster, sandbox| {
        let database = parts.database.clone();
        let database = database.unwrap_or_else(|| cluster.connection.database.clone());
        let wanted = Wanted { database, scope };
        let job = Job { config, cluster, parts, wanted, choice, runtime: &runtime, title, of };
        job.run(sandbox, common.json)
    })
    .and_then(|(mut outcome, left)| {
        outcome.notes.extend(left);
        if common.json {
            output::json(&outcome)?;
        } else {
            told(&outcome)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Makes the closed server, does the work in it, and clears it away; gives what of it is left too.
fn within<T>(
    config: &Config,
    common: &args::Common,
    parts: &args::Parts,
    runtime: &Runtime,
    make: impl FnOnce(&Means<'_>, bool) -> Result<Sandbox, PartsError>,
    work: impl FnOnce(&Cluster, &Sandbox) -> Result<T, Explanation>,
) -> Result<(T, Option<String>), Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    if common.repository.is_some() {
        repository_config(config, cluster, common.repository.as_deref())?;
    }
    // Where a cure has opened the recovered server on another port, it is asked there.
    let cluster = &match &parts.incident {
        Some(id) => {
            let store = Store::new(&config.state_directory());
            let incident = store.load(id).map_err(|e| e.explanation())?;
            desk::at_its_port(cluster, &incident.settled())
        }
        None => cluster.clone(),
    };
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
        runtime: runtime.handle(),
    };
    let again = Again::now();
    let next = |cure: &Cure| next_command(cluster, &again, cure);
    let sandbox = make(&means, common.json).map_err(|error| match error {
        PartsError::Recognised(met) => diagnosis::of_command(&met.1, met.0, &next),
        other => other.explanation(),
    })?;
    let done = work(cluster, &sandbox).map_err(|failure| {
        let known = trouble::recognise_statement(&failure);
        match known {
            Some(trouble) => diagnosis::of_command(&trouble, failure, &next),
            None => failure,
        }
    });
    let cleared = sandbox.close().map_err(|e| e.explanation());
    Ok((done?, cleared.err().map(|error| error.to_string())))
}

/// What is to be run once a trouble is mended; where another command mends it, that one.
fn next_command(cluster: &Cluster, again: &Again, cure: &Cure) -> Option<String> {
    match cure.id.as_str() {
        LOOK_AGAIN | trouble::WAIT | trouble::GO_ON => Some(again.line()),
        trouble::WITHOUT => {
            let left = cluster.repositories.iter().find(|name| !cure.with.contains(name))?;
            Some(again.with("--repository", left))
        }
        trouble::OTHER_DISK | NAMED_PLACE => Some(again.with("--work-directory", "DIRECTORY")),
        trouble::OTHER_PLACE => Some(again.with("--work-directory", cure.with.first()?)),
        trouble::STOP_AT_GAP => Some(again.with("--time", "EARLIER")),
        trouble::OTHER_POINT => Some(again.with("--time", "LATER")),
        trouble::OTHER_BASE => Some(again.with("--set", "ANOTHER-SET")),
        // Done in a copy that stays: the command's own is taken down.
        "raise-settings" => {
            Some(String::from("lifeboat, whose screens bring parts back too and carry this out"))
        }
        _ => None,
    }
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
    wanted: Wanted,
    choice: Choice,
    runtime: &'a Runtime,
    title: String,
    of: Of,
}

impl Job<'_> {
    fn run(&self, sandbox: &Sandbox, json: bool) -> Result<Outcome, Explanation> {
        let production = &self.cluster.connection;
        let masking = Masking::of(&self.cluster.masking);
        let shown_rows = (self.parts.samples, &masking);
        let looking = work::look(sandbox, production, &self.wanted, shown_rows, &|_, _, _| {});
        let seen = self.runtime.block_on(looking).map_err(|e| masked(&e, &masking))?;
        let begun = jiff::Timestamp::now();
        let mut outcome = Outcome {
            title: self.title.clone(),
            cluster: self.cluster.name.clone(),
            database: self.wanted.database.clone(),
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
        if let (Scope::Schema(schema), true) = (&self.wanted.scope, seen.schema_absent) {
            outcome.notes.push(format!("The schema {schema} is not in production"));
        }
        let side = self.parts.into == IntoWord::Schema;
        // A salvage of everything is asked what there is; nothing was named to be made.
        let nothing = if side {
            self.wanted.scope == Scope::All
        } else {
            !self.choice.any() && seen.absent.is_empty() && !seen.schema_absent
        };
        if self.parts.dry_run || nothing {
            let lacking = seen.missing_roles.iter();
            outcome.notes.extend(lacking.map(|role| format!("Production lacks the role {role}")));
            outcome.notes.push(String::from("Nothing was written."));
            return Ok(outcome);
        }
        if !side {
            if !json {
                shown(&outcome)?;
            }
            agree(self.cluster, self.parts.confirm.as_deref(), json)?;
        }
        let journal =
            Journal { config: self.config, parts: self.parts, runtime: self.runtime, masking };
        journal.note(&format!("{}: {} goes ahead", self.title, self.words(&outcome)))?;
        let how = How {
            into: if side { Into::Side } else { Into::Place(self.choice) },
            owners: !self.parts.no_owner,
            missing_roles: missing_roles(self.parts),
        };
        let mut before = |_: &commit::Mark| Ok(());
        let writing =
            work::write(sandbox, production, &self.wanted, &seen, how, &|_, _| {}, &mut before);
        let written = journal.told(&self.title, self.runtime.block_on(writing))?;
        // It is done and committed: a journal that fails now is told, not a failure.
        if let Err(error) = journal.note(&format!("{}: done, {}", self.title, written.counts())) {
            outcome.notes.push(error.to_string());
        }
        outcome.notes.extend(self.recorded(&journal, sandbox, seen, (begun, how), &written));
        outcome.schema = written.schema;
        outcome.carried = written.carried;
        outcome.applied = written.applied;
        outcome.notes.extend(written.notes);
        Ok(outcome)
    }

    fn words(&self, outcome: &Outcome) -> String {
        let mut tables: Vec<&str> =
            outcome.differences.iter().map(|one| one.table.as_str()).collect();
        tables.extend(outcome.absent.iter().map(String::as_str));
        tables.truncate(20);
        format!("{} of database {}", tables.join(", "), self.wanted.database)
    }
}

fn missing_roles(parts: &args::Parts) -> Missing {
    match parts.missing_roles {
        args::MissingRolesWord::Ask => Missing::Ask,
        args::MissingRolesWord::Create => Missing::Create,
        args::MissingRolesWord::LeaveOut => Missing::LeaveOut,
    }
}

/// An error in words, without the values that the server quoted where columns are masked.
fn masked(error: &PartsError, masking: &Masking) -> Explanation {
    let mut explanation = error.explanation();
    explanation.what = masking.server_words(&explanation.what).into_owned();
    explanation
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
