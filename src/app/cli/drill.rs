//! `drill`: a GameDay in a sandbox, with a person in the screens or without one. The sandbox has
//! its own copy of the program, which the server's user can run wherever this one is; screens and
//! runner are that copy's.

mod abort;
mod books;
mod live;
mod master;
mod told;

use self::abort::abort;
use self::told::{fold, told};
use super::args;
use super::output;
use crate::engine::config::{self, Config, ConfigError};
use crate::engine::drill::outcome::ABORTED;
use crate::engine::drill::record::{self, Record};
use crate::engine::drill::sandbox::DEFAULT_SIZE_MB;
use crate::engine::drill::scenario::{self, Link};
use crate::engine::drill::{
    self, Held, Options, Outcome, Wish, cast, copy, cpu, inject, junit, place, user,
};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::screens::view::{Briefing, Targets};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Megabytes beside the data that a drill may take where no limit is given.
const BESIDE: u64 = 4_000;
/// Megabytes of the shop beside a copy, where no size is given: it is not what the room is for.
const BESIDE_A_COPY: u64 = 50;
/// Columns of a terminal that every result line fits in.
const WIDTH: usize = 80;

pub(super) fn drill(config: Option<&Path>, args: &args::Drill) -> Result<ExitCode, Explanation> {
    let real = match known(config, args) {
        // A drill is ended whatever its configuration has become: those in the usual folders are.
        Err(why) if matches!(args.verb, Some(args::DrillVerb::Abort)) => {
            output::warn(&format!("only the usual folders are looked at: {}", why.what));
            None
        }
        known => known?,
    };
    match (&args.verb, &args.scenario) {
        (Some(args::DrillVerb::Abort), _) => abort(real.as_ref()),
        (Some(args::DrillVerb::Master { sandbox }), _) => {
            master::attend(real.as_ref(), sandbox.as_deref())
        }
        (Some(verb), _) => books::run(real.as_ref(), verb),
        (None, Some(name)) => hold(real.as_ref(), args, name),
        (None, None) => Err(Explanation::new(
            Kind::Config,
            "No scenario is named.",
            "Nothing was made.",
            "See them with lifeboat drill list.",
        )),
    }
}

/// The configuration, looked for as everywhere. A drill needs none: where none is found there is
/// none. Keys are needed for a copy alone.
fn known(path: Option<&Path>, args: &args::Drill) -> Result<Option<Config>, Explanation> {
    let of_copy = args.from_backup.is_some();
    match if of_copy { config::load(path) } else { config::load_for_server(path) } {
        Ok(real) => Ok(Some(real)),
        Err(ConfigError::NotFound { .. }) if path.is_none() => Ok(None),
        Err(error) => Err(error.explanation()),
    }
}

fn hold(real: Option<&Config>, args: &args::Drill, name: &str) -> Result<ExitCode, Explanation> {
    let mut options = Options::usual().map_err(|e| e.explanation())?;
    options.size_mb = size(args);
    options.seed = args.seed;
    options.keep.clone_from(&args.keep);
    if let Some(real) = real {
        options.directory.clone_from(&real.sandbox.directory);
        options.user.clone_from(&real.sandbox.user);
    }
    if let Some(real) = real {
        apart(real, args, options.directory.as_deref())?;
    }
    let book = Book::of(real, args)?;
    book.without_outcome(name, "The drill did not come to its end.")?;
    let mut wish = wish(real, args, name)?;
    wish.source = source(real, args, &book)?;
    cpu::sweep();
    // Held to the end; what the drill starts inherits it.
    let limit = cpu::limit(args.cpu_limit.unwrap_or_else(|| cpu::usual(cpu::there())));
    limit.words().clone_into(&mut wish.cpu);
    if args.auto {
        alone(args, wish, &options, &book)
    } else {
        live::run(args, wish, &options, &book)
    }
}

/// Refuses to make anything where a real cluster has its data, backups or keys.
fn apart(real: &Config, args: &args::Drill, directory: Option<&Path>) -> Result<(), Explanation> {
    let named = [
        ("sandbox.directory", directory),
        ("--keep", args.keep.as_deref()),
        ("--record", args.record.as_deref()),
        ("--junit", args.junit.as_deref()),
    ];
    for (what, path) in named {
        let Some(path) = path else { continue };
        if let Some(place) = copy::guard::place_around(real, path) {
            return Err(Explanation::new(
                Kind::Refused,
                format!(
                    "{what} is {}, which is part of a real cluster's own: {}.",
                    path.display(),
                    place.display()
                ),
                "Nothing was made.",
                "Name a place that no configured cluster has its data, backups or keys in.",
            ));
        }
    }
    Ok(())
}

/// Megabytes of the shop.
fn size(args: &args::Drill) -> u64 {
    let usual = if args.from_backup.is_some() { BESIDE_A_COPY } else { DEFAULT_SIZE_MB };
    args.size.unwrap_or(usual)
}

/// The backup that is to be copied, where one is.
fn source(
    real: Option<&Config>,
    args: &args::Drill,
    book: &Book,
) -> Result<Option<copy::Source>, Explanation> {
    let Some(cluster) = &args.from_backup else { return Ok(None) };
    let refused =
        |kind, what: String, next: &str| Explanation::new(kind, what, "Nothing was made.", next);
    let config = real.ok_or_else(|| {
        refused(
            Kind::Config,
            String::from("Without a configuration it is not known where the backups are."),
            "Name it with --config.",
        )
    })?;
    if config.cluster(cluster).is_none() {
        return Err(refused(
            Kind::NotFound,
            format!("There is no cluster \"{cluster}\" in the configuration."),
            "Name one of those in lifeboat.toml.",
        ));
    }
    let until = args.until.as_deref().map(super::time).transpose()?;
    let kept = [&book.state, &book.junit, &args.keep];
    Ok(Some(copy::Source {
        config: config.clone(),
        cluster: cluster.clone(),
        set: args.set.clone(),
        repository: args.repository.clone(),
        until,
        keep: kept.into_iter().flatten().cloned().collect(),
    }))
}

/// The process that reads the backup for a drill on a copy.
pub(super) fn read(config: &Config) -> Result<ExitCode, Explanation> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    copy::reader::serve(config, &mut input, &mut output).map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("The drill could not be heard or answered: {error}."),
            "The repository was only read.",
            "This verb is called by lifeboat drill alone.",
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn wish(real: Option<&Config>, args: &args::Drill, name: &str) -> Result<Wish, Explanation> {
    let mut wish = Wish::of(name, real).map_err(|e| e.explanation())?;
    wish.facilitated = args.facilitated;
    for name in &args.inject {
        let one = match name.as_str() {
            "random" => inject::by_seed(args.seed, &wish.scenario.incident),
            name => inject::load(name),
        };
        one.and_then(|one| wish.add(one)).map_err(|e| e.explanation())?;
    }
    if args.facilitated && args.inject.is_empty() {
        // All that a game master can hold back; what is never released never happens.
        let offered = inject::all().into_iter().filter(cast::can_wait);
        for one in offered.filter(|one| one.fits_led(&wish.scenario.incident)).collect::<Vec<_>>() {
            wish.add(one).map_err(|e| e.explanation())?;
        }
    }
    if args.link_speed.is_some() || args.link_latency.is_some() {
        let Some(own) = wish.scenario.link else {
            return Err(Explanation::new(
                Kind::Config,
                format!("The scenario {name} has no far repository."),
                "Nothing was made.",
                "Leave --link-speed and --link-latency out, or take cross-region.",
            ));
        };
        wish.link = Some(Link {
            megabytes_per_second: args.link_speed.unwrap_or(own.megabytes_per_second),
            latency_ms: args.link_latency.unwrap_or(own.latency_ms),
        });
        wish.scenario.link = wish.link;
        let problems = scenario::problems(&wish.scenario);
        if !problems.is_empty() {
            return Err(Explanation::new(
                Kind::Config,
                format!("{}.", problems.join("; ")),
                "Nothing was made.",
                "Give other figures for the line.",
            ));
        }
    }
    wish.limits.time = Duration::from_secs(args.time_limit * 60);
    // How large a copy is, the drill knows once it has looked at the backup.
    wish.limits.disk = match (args.disk_limit, &args.from_backup) {
        (None, Some(_)) => u64::MAX,
        (limit, _) => limit.unwrap_or(size(args) * 8 + BESIDE).saturating_mul(1_000_000),
    };
    Ok(wish)
}

/// Where a drill is recorded.
struct Book {
    /// `None` where there is no configuration and no folder was named.
    state: Option<PathBuf>,
    junit: Option<PathBuf>,
}

impl Book {
    fn of(real: Option<&Config>, args: &args::Drill) -> Result<Self, Explanation> {
        if let Some(path) = &args.junit
            && path
                .parent()
                .is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            return Err(Explanation::new(
                Kind::Config,
                format!("{} is in no folder that is there.", path.display()),
                "Nothing was made.",
                "Make the folder, or name another file with --junit.",
            ));
        }
        let state = args.record.clone().or_else(|| real.map(Config::state_directory));
        if let Some(state) = &state
            && let Some(there) = state.ancestors().find(|folder| folder.exists())
            && rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err()
        {
            return Err(Explanation::new(
                Kind::Config,
                format!(
                    "The drill would be recorded in {}, where you cannot write.",
                    state.display()
                ),
                "Nothing was made.",
                "Name a folder of your own for it with --record.",
            ));
        }
        Ok(Self { state, junit: args.junit.clone() })
    }

    /// Writes JUnit's file for a drill that has no outcome, or none yet: what an earlier one left there
    /// is not this one's.
    fn without_outcome(&self, scenario: &str, why: &str) -> Result<(), Explanation> {
        let Some(path) = &self.junit else { return Ok(()) };
        files::replace(path, junit::without_outcome(scenario, why).as_bytes(), 0o644).map_err(
            |error| {
                Explanation::new(
                    Kind::Storage,
                    format!("{} could not be written: {error}.", path.display()),
                    "Nothing was made.",
                    "Name another file with --junit.",
                )
            },
        )
    }

    /// Keeps what was held; what cannot be kept is told, and costs the outcome nothing.
    fn keep(&self, held: &Held, mode: &str) -> Result<(), Explanation> {
        // A file that cannot be written costs the record nothing.
        let junit = self.junit.as_ref().map_or(Ok(()), |path| {
            files::replace(path, junit::xml(&held.outcome).as_bytes(), 0o644).map_err(|error| {
                Explanation::new(
                    Kind::Storage,
                    format!("{} could not be written: {error}.", path.display()),
                    "The drill was held; its outcome is told all the same.",
                    "Name another file with --junit.",
                )
            })
        });
        let Some(state) = &self.state else {
            output::warn("not recorded: there is no configuration; --record DIR keeps it");
            return junit;
        };
        let by = user::name_of(nix::unistd::geteuid().as_raw());
        let mut one = Record::of(&held.outcome, mode, &held.evidence, &by);
        one.facilitation.clone_from(&held.facilitation);
        let all = [&held.outcome.checks[..], &held.outcome.teardown].concat();
        let (line, folder) =
            record::keep(state, one, &all, &held.evidence).map_err(|e| e.explanation())?;
        output::warn(&format!("recorded as drill {}, evidence in {}", line.seq, folder.display()));
        junit
    }
}

fn alone(
    args: &args::Drill,
    wish: Wish,
    options: &Options,
    book: &Book,
) -> Result<ExitCode, Explanation> {
    let begun = Instant::now();
    let say = |text: &str| tell(begun, text);
    let name = wish.scenario.name.clone();
    let held = drill::run(wish, options, &say).map_err(|e| {
        let why = e.explanation();
        // Whatever it was, it is told; the file says already that the drill did not come to its end.
        let _ = book.without_outcome(&name, &why.to_string());
        why
    })?;
    if args.json {
        output::json(&held.outcome)?;
    } else {
        told(&held.outcome)?;
    }
    let kept = book.keep(&held, "auto");
    if held.outcome.outcome == ABORTED {
        // What cannot be kept changes nothing of the drill's end.
        kept.unwrap_or_else(|error| output::warn(&format!("not recorded: {}", error.what)));
        return Err(Explanation::new(
            Kind::Cancelled,
            held.outcome.reasons.first().cloned().unwrap_or_default(),
            "Nothing outside the sandbox was touched.",
            "Start it again when you like.",
        ));
    }
    kept?;
    if !args.json {
        next(book)?;
    }
    Ok(code(&held.outcome))
}

/// What is left to do once a drill is in the record.
fn next(book: &Book) -> Result<(), Explanation> {
    if book.state.is_none() {
        return Ok(());
    }
    fold(
        2,
        "What it taught is kept with lifeboat drill finding; lifeboat drill history shows how the \
         times change.",
    )
}

fn code(outcome: &Outcome) -> ExitCode {
    if outcome.is_verified() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Kind::Integrity.exit_code())
    }
}

/// What the person is told first: of the scenario in the sandbox that the configuration is of.
pub(super) fn briefing(name: &str, config: &Config) -> Result<Briefing, Explanation> {
    let root = config.path.parent().unwrap_or(Path::new("/"));
    let own = root.join("scenario.toml");
    let scenario = if own.is_file() {
        scenario::read_kept(&own).map_err(|e| e.explanation())?
    } else {
        scenario::load(name).map_err(|e| e.explanation())?
    };
    let hints = scenario.hints_in(root);
    let target = scenario.target();
    Ok(Briefing {
        title: scenario.title,
        story: scenario.briefing.lines().map(str::to_owned).collect(),
        objective: scenario.objective,
        hints,
        targets: Targets { rpo_seconds: target.rpo_seconds, rto_seconds: target.rto_seconds },
        origin: origin(&root.join(place::COPY))?,
    })
}

/// What the sandbox says that it is a copy of; `None` where it is none.
fn origin(path: &Path) -> Result<Option<copy::Origin>, Explanation> {
    let broken = |why: String| {
        Explanation::new(
            Kind::Storage,
            format!("{} cannot be read: {why}.", path.display()),
            "The screens were not opened.",
            "Without it nobody is told whose data they see: end the drill with lifeboat drill abort.",
        )
    };
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(error.to_string())),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| broken(e.to_string())),
    }
}

fn tell(begun: Instant, text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{:6.1} s  {text}", begun.elapsed().as_secs_f64());
}
