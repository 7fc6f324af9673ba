//! Whether a recovery in place can be carried out by whoever runs it: who may stop, move, fill,
//! configure and start, and whether the server's configuration is where the driver takes it. Looked
//! at when the plan is made, before a byte is touched. Looks only.

use crate::engine::config::{Cluster, Control};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::child;
use crate::engine::postgres::closed::ClosedServer;
use crate::engine::postgres::control::{self, StartOptions};
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::postgres::{control_file, layout, recovery_settings};
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a question to sudo or polkit may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Steps that only the data directory's owner and root can do.
const OF_THE_OWNER: [&str; 8] = [
    "rescue-wal",
    "stop-server",
    "move-aside",
    "restore-base",
    "configure-recovery",
    "start-recovery",
    "promote",
    "open",
];
/// Steps that start or stop the server.
const OF_THE_DRIVER: [&str; 3] = ["stop-server", "start-recovery", "open"];

/// What is known of the rights of one step; steps that are not named have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub step: &'static str,
    pub finding: Finding,
}

/// Why a step's rights are no matter of course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It would fail.
    Lacking(String),
    /// It could not be found out beforehand.
    CouldNotVerify(String),
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ground {
    /// `postgresql.conf` where it is not in the data directory, and stays where it is.
    pub config_file: Option<PathBuf>,
    /// The steps whose rights could not be verified, with the reason.
    pub unverified: Vec<(&'static str, String)>,
}

/// Looks at everything.
///
/// # Errors
/// Where a step would lack rights, or the configuration is not where the driver takes it: with
/// every such step named.
pub fn check(cluster: &Cluster) -> Result<Ground, Explanation> {
    let data = &cluster.data_directory;
    // What a lost directory was is known from the backups alone; its steps say what they lack.
    if !data.join("PG_VERSION").exists() {
        return Ok(Ground { config_file: layout::config_file(cluster), ..Ground::default() });
    }
    let owner = discovery::owner(data).map_err(|e| e.explanation())?;
    let rights = rights(cluster, &Owner::current(), &owner);
    let lacking: Vec<String> = rights
        .iter()
        .filter_map(|right| match &right.finding {
            Finding::Lacking(why) => Some(format!("{} ({why})", right.step)),
            Finding::CouldNotVerify(_) => None,
        })
        .collect();
    if !lacking.is_empty() {
        return Err(refused(
            format!("{} lacks rights for: {}.", Owner::current(), lacking.join(", ")),
            advice(cluster, &owner),
        ));
    }
    let config_file = configuration(cluster, &owner)?;
    let driver = control::driver(cluster).map_err(|e| e.explanation())?;
    driver.check().map_err(|e| e.explanation())?;
    let closed = closed_options(data, &owner)?;
    if let Some(outweighed) = control::outweighed(driver.as_ref(), &closed) {
        return Err(outweighed.explanation());
    }
    let unverified = rights.into_iter().filter_map(|right| match right.finding {
        Finding::CouldNotVerify(why) => Some((right.step, why)),
        Finding::Lacking(_) => None,
    });
    Ok(Ground { config_file, unverified: unverified.collect() })
}

/// The rights that are no matter of course for `us`.
#[must_use]
pub fn rights(cluster: &Cluster, us: &Owner, owner: &Owner) -> Vec<Right> {
    let lacking = |step, why: &str| Right { step, finding: Finding::Lacking(why.to_owned()) };
    let mut all = Vec::new();
    if us.uid != 0 && us.uid != owner.uid {
        let why = format!("only {owner} and root may");
        return OF_THE_OWNER.iter().map(|step| lacking(step, &why)).collect();
    }
    if us.uid != 0
        && let Some(beside) = cluster.data_directory.parent()
        && access(beside, Access::WRITE_OK | Access::EXEC_OK).is_err()
    {
        let why = format!("{us} cannot write to {}", beside.display());
        all.extend(["rescue-wal", "move-aside", "restore-base"].map(|step| lacking(step, &why)));
    }
    let driver = driver_rights(&cluster.control, us);
    all.extend(
        driver
            .iter()
            .flat_map(|finding| OF_THE_DRIVER.map(|step| Right { step, finding: finding.clone() })),
    );
    all
}

fn driver_rights(control: &Control, us: &Owner) -> Option<Finding> {
    match control {
        Control::PgCtl { .. } | Control::PgCtlcluster { .. } => None,
        Control::Systemd { unit, systemctl, .. } if us.uid != 0 => {
            Some(systemd_rights(unit.as_deref(), systemctl, us)).flatten()
        }
        Control::Systemd { .. } => None,
        Control::Command(commands) => commands
            .all()
            .filter(|_| !commands.shell)
            .filter_map(|(_, words)| words.first())
            .filter(|program| program.starts_with('/'))
            .find(|program| access(program.as_str(), Access::EXEC_OK).is_err())
            .map(|program| Finding::Lacking(format!("{us} cannot run {program}"))),
    }
}

fn systemd_rights(unit: Option<&str>, systemctl: &[String], us: &Owner) -> Option<Finding> {
    let unit = unit.unwrap_or("postgresql");
    let sudo = systemctl.first().is_some_and(|word| Path::new(word).ends_with("sudo"));
    if sudo {
        let rest: Vec<&String> =
            systemctl.iter().skip(1).filter(|word| word.as_str() != "-n").collect();
        let words = ["--no-ask-password", "--no-block", "stop", unit];
        let mut command = Command::new(systemctl.first()?);
        command.args(["-n", "-l"]).args(rest).args(words);
        return match answers(command) {
            Some(true) => None,
            Some(false) => Some(Finding::Lacking(format!("sudo does not let {us} stop {unit}"))),
            None => Some(Finding::CouldNotVerify(String::from("sudo gave no answer"))),
        };
    }
    let mut command = Command::new("pkcheck");
    command.args(["--action-id", "org.freedesktop.systemd1.manage-units"]);
    command.args(["--detail", "unit", unit, "--detail", "verb", "stop"]);
    command.args(["--process", &std::process::id().to_string()]);
    match answers(command) {
        Some(true) => None,
        Some(false) => Some(Finding::Lacking(format!("polkit does not let {us} stop {unit}"))),
        None => Some(Finding::CouldNotVerify(format!(
            "whether {us} may have systemd stop {unit} cannot be asked"
        ))),
    }
}

/// Whether a question was answered with yes; nothing where it could not be asked.
fn answers(mut command: Command) -> Option<bool> {
    command.stdin(Stdio::null());
    child::run(command, ASK_LIMIT).ok().map(|finished| finished.ok())
}

fn advice(cluster: &Cluster, owner: &Owner) -> String {
    let mut command = Command::new("sudo");
    command.args(["-n", "-u", &owner.to_string(), "true"]);
    if answers(command) == Some(true) {
        return format!("You may become {owner} without a password: sudo -u {owner} lifeboat");
    }
    match &cluster.control {
        Control::Systemd { .. } => format!(
            "Run Lifeboat as root, or as {owner} with systemctl = [\"sudo\", \"-n\", \
             \"systemctl\"] in the control section and a rule of sudo's that permits it."
        ),
        _ => format!("Run Lifeboat as root or as {owner}: sudo -u {owner} lifeboat"),
    }
}

/// Where the configuration is that a recovery leaves as it is; nothing where it comes with the
/// restored directory.
fn configuration(cluster: &Cluster, owner: &Owner) -> Result<Option<PathBuf>, Explanation> {
    let data = &cluster.data_directory;
    let Some(config_file) = layout::config_file(cluster) else {
        if data.join(layout::CONFIG_FILE).exists() {
            return Ok(None);
        }
        let debian = layout::DebianCluster::of(data);
        let next = match debian {
            Some(one) => format!(
                "It is Debian's cluster {}/{}: control = {{ driver = \"pg_ctlcluster\", version = \
                 {}, cluster = \"{}\" }}",
                one.version, one.name, one.version, one.name
            ),
            None => String::from(
                "If the file was lost, put one there and make the plan again. Where it is \
                 elsewhere, name it: config_file in the cluster's control section.",
            ),
        };
        return Err(refused(
            format!(
                "{} has no postgresql.conf, and the control section of lifeboat.toml names none.",
                data.display()
            ),
            next,
        ));
    };
    // As the server's user with the server's program: what fails here would fail after the move.
    let binaries = discovery::binaries(cluster.control.bin_directory(), Some(data))
        .map_err(|e| e.explanation())?;
    recovery_settings::configured(data, owner, &binaries, Some(&config_file), "data_directory")
        .map_err(|error| {
            refused(
                format!("The configuration {} cannot be used: {error}", config_file.display()),
                String::from("Mend it, or correct the cluster's control section."),
            )
        })?;
    Ok(Some(config_file))
}

fn closed_options(data: &Path, owner: &Owner) -> Result<StartOptions, Explanation> {
    let major = control_file::major_version(data).map_err(|e| e.explanation())?;
    // Only its settings are looked at.
    Ok(ClosedServer::of(data, owner, major).start_recovery(Path::new("/dev/null")))
}

fn refused(what: String, next: String) -> Explanation {
    Explanation::new(Kind::Refused, what, "No plan was made and nothing was touched.", next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::load;

    fn cluster(data: &Path, control: Control) -> Cluster {
        let example = load::parse(&load::example(), Path::new("example.toml")).unwrap();
        let cluster = example.clusters.into_iter().next().unwrap();
        Cluster { data_directory: data.to_owned(), control, ..cluster }
    }

    fn user(uid: u32) -> Owner {
        Owner { uid, gid: uid, name: None }
    }

    #[test]
    fn root_and_the_owner_may_and_others_are_told_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster(&folder.path().join("data"), Control::pg_ctl());
        assert_eq!(rights(&cluster, &user(0), &user(70)), []);
        assert_eq!(rights(&cluster, &user(70), &user(70)), []);
        let steps: Vec<&str> =
            rights(&cluster, &user(71), &user(70)).iter().map(|right| right.step).collect();
        assert_eq!(steps, OF_THE_OWNER);
    }

    #[test]
    fn a_program_that_cannot_be_run_is_lacking_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let control = "driver = \"command\"\nstart = [\"/bin/sh\"]\nstop = [\"/nowhere/stop\"]\n";
        let control: Control = toml::from_str(control).unwrap();
        let found = rights(&cluster(&folder.path().join("data"), control), &user(0), &user(70));
        assert_eq!(found.iter().map(|right| right.step).collect::<Vec<_>>(), OF_THE_DRIVER);
        assert!(matches!(&found[0].finding, Finding::Lacking(why) if why.contains("/nowhere")));
    }

    #[test]
    fn what_systemd_permits_an_unprivileged_user_is_asked_and_never_assumed() {
        let folder = tempfile::tempdir().unwrap();
        let sudo = "driver = \"systemd\"\nunit = \"postgresql\"\nsystemctl = [\"/nowhere/sudo\"]\n";
        for control in [Control::unit("postgresql", None), toml::from_str(sudo).unwrap()] {
            let cluster = cluster(&folder.path().join("data"), control);
            assert_eq!(rights(&cluster, &user(0), &user(70)), []);
            assert_eq!(rights(&cluster, &user(70), &user(70)).len(), OF_THE_DRIVER.len());
        }
    }
}
