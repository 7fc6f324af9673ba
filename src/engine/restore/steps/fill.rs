//! The steps that fill the new data directory: the base backup, then the recovery settings.

use super::beside;
use super::site::{Site, io};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Source, Target};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use crate::engine::postgres::layout;
use crate::engine::postgres::recovery_settings::{self, RecoverySettings};
use crate::engine::recovery_point::rates::Work;
use crate::engine::restore::base;
use crate::engine::restore::base::delta::{Reuse, Take};
use crate::engine::restore::places;
use crate::engine::runner::plan::{KeptSpace, Plan};
use crate::engine::runner::protocol::Progress;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use humansize::{DECIMAL, format_size};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Above this, reading everything again would cost more than the second opinion is worth.
const JUDGE_LIMIT: u64 = 8 << 30;
/// How long that judge may take.
const JUDGE_TIME: Duration = Duration::from_secs(600);

/// Restores the base backup into the empty directory.
#[derive(Debug)]
pub struct RestoreBase(pub Arc<Site>);

impl Step for RestoreBase {
    fn id(&self) -> &'static str {
        "restore-base"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        base::probe(self.0.data(), &context.plan().base.set).map_err(|e| e.explanation())
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        let plan = context.plan();
        if site.beside.is_none() && !plan.lost && !site.is_aside(plan) {
            return Err(Explanation::new(
                Kind::Refused,
                format!("The damaged directory is not at {}.", plan.aside),
                "Nothing was restored.",
                "Cancel this run and put things back, then begin again.",
            ));
        }
        if !matches!(self.probe(context)?, Standing::Done(_)) {
            let copies = site.copies(plan)?;
            for left_out in &copies.notes {
                context.note("copy_left_out", left_out)?;
            }
            context.note("copies", &copies.order())?;
            let owner = nix::unistd::geteuid().is_root().then(|| site.owner(plan)).transpose()?;
            if site.beside.is_some() {
                beside::note_made_anew(site, context)?;
            }
            let cancelled = || context.cancelled();
            let source = copies.source(&site.config, &site.cluster);
            let far = source.as_ref().filter(|source| source.far).map(|source| {
                let region =
                    source.region.as_deref().map_or_else(String::new, |r| format!(" ({r})"));
                format!("from the far copy \"{}\"{region}: ", source.repository)
            });
            let progress = |mut progress: Progress| {
                if let Some(far) = &far {
                    progress.label.insert_str(0, far);
                }
                context.progress(progress);
            };
            // A journal that cannot be written stops the step at its next note.
            let told = |text: &str| drop(context.note("copy_failed", text));
            let spaces = plan.places.spaces.iter();
            let options = base::Options {
                owner,
                tablespaces: spaces.map(|space| (space.oid, space.place.clone())).collect(),
                wal: plan.places.wal.clone(),
                reuse: reuse(plan),
                told: Some(&told),
                ..base::Options::new(self.id(), &progress, &cancelled)
            };
            let set = &plan.base.set;
            let restored = base::restore_from(&copies.repositories(), set, site.data(), &options)
                .map_err(|e| e.explanation())?;
            let bytes = restored.bytes;
            // What is a good deal of both tells nothing of either.
            if restored.reused_bytes.saturating_mul(10) < bytes {
                site.learn(Work::Copy, bytes, restored.seconds);
            } else if restored.reused_bytes.saturating_mul(10) >= bytes.saturating_mul(9) {
                site.learn(Work::Take, bytes, restored.seconds);
            }
            if let Some(from) = reuse(plan) {
                let whose = match plan.places.stood {
                    Some(_) => "what stood at the later point",
                    None => "the damaged directory",
                };
                let text = format!(
                    "{} files, {} of {}, were proven equal and taken from {whose} ({}), which was \
                     only read; {} were fetched",
                    restored.reused_files,
                    format_size(restored.reused_bytes, DECIMAL),
                    format_size(bytes, DECIMAL),
                    from.from.display(),
                    format_size(restored.fetched_bytes, DECIMAL)
                );
                context.note("reused", &text)?;
            }
            context.note(
                "restored",
                &format!(
                    "{} files, {} restored in {:.1} s",
                    restored.files,
                    format_size(restored.bytes, DECIMAL),
                    restored.seconds
                ),
            )?;
            if let Some(source) = source.filter(|_| !restored.resumed) {
                context.note("transfer", &transferred(&source, restored.seconds))?;
            }
            for note in &restored.notes {
                context.note("restore_note", note)?;
            }
        }
        let judged = if plan.base.size <= JUDGE_LIMIT {
            judge(site, plan)?
        } else {
            String::from(
                "pg_verifybackup: NOT RUN (above 8 GiB the authentication tags judge alone)",
            )
        };
        context.note("verifybackup", &judged)?;
        Ok(Outcome::Done)
    }
}

/// What was brought over, against what the measured rate had promised.
fn transferred(source: &Source, seconds: f64) -> String {
    let size = |bytes: u64| format_size(bytes, DECIMAL);
    let rate = (source.stored as f64 / seconds.max(0.001)) as u64;
    format!(
        "{} in {seconds:.1} s, {}/s in all; before it: {source}",
        size(source.stored),
        size(rate)
    )
}

/// The directory on this host whose equal files are not fetched: what stood at a later point, which
/// was restored a short while ago, before the damaged cluster.
fn reuse(plan: &Plan) -> Option<Reuse> {
    let by_oid =
        |spaces: &[KeptSpace]| spaces.iter().map(|space| (space.oid, space.kept.clone())).collect();
    let places = &plan.places;
    match &places.stood {
        Some(stood) => Some(Reuse {
            from: stood.kept.clone(),
            spaces: by_oid(&stood.spaces),
            take: Take::Copy,
            // Restored files have the backup's times, and a clock may have been set since.
            times_hold: false,
        }),
        None => places.reuse.then(|| Reuse {
            from: plan.aside.clone().into(),
            spaces: by_oid(&places.kept),
            take: Take::Copy,
            times_hold: true,
        }),
    }
}

/// PostgreSQL's own `pg_verifybackup` over what was restored. A disagreement stops the recovery.
fn judge(site: &Site, plan: &Plan) -> Result<String, Explanation> {
    let Some(program) = site.binaries()?.optional("pg_verifybackup") else {
        return Ok(String::from("pg_verifybackup: NOT RUN (the program is not installed)"));
    };
    let judged = child::command(program, &site.data_owner()?).and_then(|mut command| {
        command.args(["--no-parse-wal", "--exit-on-error", "--quiet"]);
        // Written anew for where the tablespaces are now.
        if plan.places.spaces.iter().any(|space| space.moved) {
            command.arg("--ignore=tablespace_map");
        }
        for kept in kept_inside(site.data()) {
            command.arg(format!("--ignore={kept}"));
        }
        // It follows the links, and finds what is kept beside the server's own folder.
        for space in &plan.places.spaces {
            for kept in kept_inside(&space.place) {
                command.arg(format!("--ignore=pg_tblspc/{}/{kept}", space.oid));
            }
        }
        command.arg(site.data());
        child::run(command, JUDGE_TIME)
    });
    match judged {
        Ok(finished) if finished.ok() => Ok(String::from(
            "pg_verifybackup: VERIFIED, the restored files are those of the backup",
        )),
        Ok(finished) => Err(Explanation::new(
            Kind::Integrity,
            format!("pg_verifybackup does not agree with the restored files: {}.", finished.said()),
            "The damaged directory is kept aside, untouched.",
            "Cancel, put things back, and choose another base backup.",
        )),
        Err(error) => Ok(format!("pg_verifybackup: COULD NOT VERIFY ({error})")),
    }
}

/// What recoveries have kept in a folder that a restore fills, and what a file system makes there.
fn kept_inside(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| places::is_kept(name) || name == "lost+found")
        .collect()
}

/// Writes `recovery.signal` and the settings of the recovery.
#[derive(Debug)]
pub struct ConfigureRecovery(pub Arc<Site>);

impl Step for ConfigureRecovery {
    fn id(&self) -> &'static str {
        "configure-recovery"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        // Writing the same settings again changes nothing.
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let plan = context.plan();
        self.0.configure(plan, &plan.target)?;
        for name in left_out(&self.0, plan) {
            let why = if self.0.adjusted.without_repositories.contains(name) {
                "which could not be reached and was left out by a decision"
            } else {
                "which could not be asked when the plan was made"
            };
            let text = format!("WAL is not fetched from \"{name}\", {why}");
            context.note("copy_left_out", &text)?;
        }
        let target = &plan.target;
        context.note("configured", &format!("Recovery is set to stop {target}"))?;
        context.note(super::recover::AIMED, &plan.hash)?;
        Ok(Outcome::Done)
    }
}

impl Site {
    /// Writes the plan's recovery settings anew: somebody may have changed them.
    ///
    /// # Errors
    /// Where they cannot be written, or the server's programs refuse them.
    pub fn configure_anew(&self, plan: &Plan) -> Result<(), Explanation> {
        self.confirm(plan, self.data())?;
        self.configure(plan, &plan.target)
    }

    /// Tells the server in the data directory to recover to `target`. May be called again.
    ///
    /// # Errors
    /// Where it cannot be written, or the server's programs refuse it.
    pub(super) fn configure(&self, plan: &Plan, target: &Target) -> Result<(), Explanation> {
        let mut target = target.clone();
        // `latest` is looked up anew at each start, and may be another than the proven one by then.
        target.timeline = target.timeline.or(plan.timeline);
        let settings = RecoverySettings {
            restore_command: restore_command(self, plan),
            target,
            minimums: [&*plan.minimum_settings, &*self.adjusted.minimums].concat(),
        };
        let (owner, binaries) = (self.data_owner()?, self.binaries()?);
        make_spool(&self.spool(), &owner)?;
        let config_file = layout::config_file(&self.configured());
        let (data, config_file) = (self.data(), config_file.as_deref());
        recovery_settings::write_configured(data, &owner, &binaries, &settings, config_file)
            .map_err(|e| e.explanation())
    }
}

/// Made here, because the server's user need not be allowed to make it.
fn make_spool(spool: &Path, owner: &Owner) -> Result<(), Explanation> {
    match DirBuilder::new().mode(0o700).create(spool) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(io(&error, "make", spool))
        }
        _ => child::give(spool, owner).map_err(|e| io(&e, "hand over", spool)),
    }
}

/// What the recovering server calls for each file, with its two placeholders.
fn restore_command(site: &Site, plan: &Plan) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![
        text(&site.executable),
        String::from("--config"),
        text(&site.config.path),
        String::from("restore-wal"),
        String::from("--cluster"),
        site.cluster.name.clone(),
        String::from("--spool"),
        text(&site.spool()),
    ];
    // Where nothing was rescued by plan, a folder that is not there would stop the server.
    let unrescued = site.beside.is_some() || plan.lost;
    if !unrescued || Path::new(&plan.rescue).is_dir() {
        command.extend([String::from("--rescue"), plan.rescue.clone()]);
    }
    let asked = site.asked(plan);
    if asked.len() < site.cluster.repositories.len() {
        for name in asked {
            command.extend([String::from("--repository"), name.clone()]);
        }
    }
    command.extend(["%f", "%p"].map(String::from));
    command
}

/// The cluster's repositories that the recovery does without.
pub fn left_out<'a>(site: &'a Site, plan: &Plan) -> Vec<&'a String> {
    let asked = site.asked(plan);
    site.cluster.repositories.iter().filter(|name| !asked.contains(name)).collect()
}
