//! Metrics for monitoring, in the OpenMetrics text form: what protects each cluster now, and what
//! its last drill and recovery came to. Owns the names and what they mean; asks nobody
//! ([`gather`] does), and leaves out what is not known instead of calling it zero.
//!
//! Ages are told as the moment at which something happened: an age that was computed when the
//! figures were gathered would stand still where gathering stops, and monitoring would see a young
//! backup for ever. The alert rules in `assets/monitoring` subtract from the present.

pub mod gather;
mod incidents;
pub mod serve;

pub use incidents::{Incidents, LastDrill, LastRecovery, OpenIncident};

use crate::engine::audit::keeper::Owed;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Verdict;
use crate::engine::status::repository::RepositoryStatus;
use crate::engine::status::{ClusterStatus, Drill};
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

/// What every name begins with.
const PREFIX: &str = "lifeboat";

/// Everything that the metrics say.
#[derive(Debug)]
pub struct Figures {
    pub at: Timestamp,
    pub clusters: Vec<ClusterStatus>,
    pub incidents: Incidents,
    /// What repositories are owed of the incidents' journals.
    pub anchors: Vec<Owed>,
}

/// Why metrics could not be given.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("The metrics could not be written as text.")]
    Text,
    #[error("The metrics could not be written to {}: {source}.", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("Lifeboat cannot listen on {address}: {source}.")]
    Listen { address: SocketAddr, source: io::Error },
}

impl Explain for MetricsError {
    fn explanation(&self) -> Explanation {
        let (kind, left, next) = match self {
            Self::Text => (
                Kind::Internal,
                "Nothing was written.",
                "Report this as a fault of Lifeboat; lifeboat status shows the same facts.",
            ),
            Self::Write { .. } => (
                Kind::Storage,
                "What stood there before is still there.",
                "Name a file in the folder that node_exporter's textfile collector reads, which \
                 this user may write.",
            ),
            Self::Listen { .. } => (
                Kind::Refused,
                "Nothing was changed.",
                "Name a free port of this machine with --listen ADDRESS:PORT.",
            ),
        };
        Explanation::new(kind, self.to_string(), left, next)
    }
}

type Labels = Vec<(&'static str, String)>;
type Numbers = Family<Labels, Gauge<f64, AtomicU64>>;

/// The figures in the OpenMetrics text form. It is valid for Prometheus and, as a `.prom` file, for
/// node_exporter's textfile collector: every metric is a gauge.
///
/// # Errors
/// Where the text cannot be made.
pub fn text(figures: &Figures) -> Result<String, MetricsError> {
    let mut book = Book::new();
    book.set("build_info", "The program that gathered these figures.", 1.0, || {
        vec![("version", env!("CARGO_PKG_VERSION").to_owned())]
    });
    book.time(
        "collected_timestamp_seconds",
        "When these figures were gathered.",
        Some(figures.at),
        Vec::new,
    );
    for page in &figures.clusters {
        cluster(&mut book, page);
        for one in &page.repositories {
            repository(&mut book, &page.cluster, one);
        }
    }
    past(&mut book, &figures.incidents);
    anchors(&mut book, figures);
    let mut text = String::new();
    encode(&mut text, &book.registry).map_err(|_| MetricsError::Text)?;
    Ok(text)
}

fn cluster(book: &mut Book, page: &ClusterStatus) {
    let named = || vec![("cluster", page.cluster.clone())];
    book.set(
        "rpo_target_seconds",
        "What the cluster's tier allows to lose.",
        page.rpo_seconds as f64,
        || {
            let mut labels = named();
            labels.push(("tier", page.tier_title.clone()));
            labels
        },
    );
    book.flag("server_up", "Whether the server answers.", page.server.reachable, named);
    book.set(
        "problems",
        "What `lifeboat status` shows as problems.",
        page.problems.len() as f64,
        named,
    );
    for alarm in &page.alarms {
        book.set("alarm", "An alarm of the cluster's protection that lasts.", 1.0, || {
            let mut labels = named();
            labels.push(("alarm", alarm.id.clone()));
            labels
        });
    }
    // What could not be asked is not known to be paid.
    if page.debts.unasked.is_empty() {
        book.set(
            "wal_owed_files",
            "Archived WAL files that one repository lacks and another holds.",
            page.debts.owed.iter().map(|owed| owed.files).sum::<usize>() as f64,
            named,
        );
    }
    if page.set_debts.unasked.is_empty() {
        book.set(
            "backups_owed",
            "Backups that one repository lacks and another holds.",
            page.set_debts.sets.len() as f64,
            named,
        );
    }
    for volume in &page.space {
        let on = || {
            let mut labels = named();
            labels.push(("path", volume.path.display().to_string()));
            labels
        };
        book.known("restore_free_bytes", "Free where a restore would go.", volume.free, on);
        book.known(
            "restore_needed_bytes",
            "What a restore of the newest backup needs beside what is there.",
            volume.needed,
            on,
        );
    }
    if let Some(runs) = page.schedule.runs {
        book.flag("scheduler_up", "Whether `lifeboat schedule` runs on this machine.", runs, named);
    }
    if let Drill::Unknown { .. } = page.last_drill {
        book.flag(
            "incidents_readable",
            "Whether the incidents of this machine can be read.",
            false,
            named,
        );
    }
}

fn repository(book: &mut Book, cluster: &str, one: &RepositoryStatus) {
    let named = || vec![("cluster", cluster.to_owned()), ("repository", one.name.clone())];
    book.flag("repository_up", "Whether the repository answers.", one.trouble.is_none(), named);
    if one.trouble.is_some() {
        return;
    }
    book.known(
        "backups",
        "Backups that can be read and authenticated.",
        one.backups.map(|n| n as u64),
        named,
    );
    book.set(
        "backups_unreadable",
        "Backups that cannot be read or are not authentic.",
        one.unreadable.len() as f64,
        named,
    );
    book.time(
        "backup_newest_timestamp_seconds",
        "When the newest base backup ended.",
        one.newest_backup.as_ref().map(|base| base.finished),
        named,
    );
    book.known(
        "backup_newest_bytes",
        "Size of the data directory in the newest base backup.",
        one.newest_backup.as_ref().map(|base| base.size),
        named,
    );
    book.time(
        "wal_newest_timestamp_seconds",
        "When the newest WAL file was written to the archive.",
        one.newest_wal.as_ref().and_then(|wal| wal.written),
        named,
    );
    book.set("wal_gaps", "Places where archived WAL is missing.", one.gaps.len() as f64, named);
    if let Some(window) = &one.window {
        book.time(
            "window_start_timestamp_seconds",
            "The oldest moment that can be recovered to.",
            Some(window.from),
            named,
        );
        book.time(
            "window_end_timestamp_seconds",
            "The newest moment that can be recovered to.",
            window.to,
            named,
        );
    }
    if let Some(last) = &one.verified {
        book.time(
            "verified_timestamp_seconds",
            "When a backup was last verified.",
            Some(last.at),
            named,
        );
        book.flag(
            "verified_ok",
            "Whether that verification came to VERIFIED; any other verdict is 0.",
            last.verdict == Verdict::Verified,
            named,
        );
        book.set(
            "backups_not_verified",
            "Newer backups that were never verified.",
            last.newer as f64,
            named,
        );
    }
    book.time(
        "data_key_newest_timestamp_seconds",
        "When the data key that protects new WAL was made.",
        one.data_keys.as_ref().and_then(|keys| keys.newest),
        named,
    );
    if let Some(space) = &one.space {
        book.known(
            "repository_backup_bytes",
            "Stored bytes of all backups.",
            Some(space.backups),
            named,
        );
        book.known("repository_free_bytes", "Free on the repository's volume.", space.free, named);
    }
}

fn past(book: &mut Book, incidents: &Incidents) {
    book.set(
        "incidents_damaged",
        "Incidents of this machine whose journal cannot be read.",
        incidents.damaged as f64,
        Vec::new,
    );
    for open in &incidents.open {
        let named = || {
            vec![
                ("cluster", open.cluster.clone()),
                ("incident", open.id.clone()),
                ("drill", open.drill.to_string()),
            ]
        };
        book.time(
            "incident_open_declared_timestamp_seconds",
            "When an incident that is not closed yet was declared.",
            open.declared,
            named,
        );
        book.set(
            "incident_checklist_overdue",
            "Lines of its checklist whose time is over.",
            open.overdue as f64,
            named,
        );
    }
    for last in &incidents.recoveries {
        let named = || vec![("cluster", last.cluster.clone()), ("incident", last.incident.clone())];
        book.time(
            "recovery_last_timestamp_seconds",
            "When the last recovery in earnest served again.",
            last.at,
            named,
        );
        book.real("recovery_last_rpo_seconds", "What it lost.", last.rpo_seconds, named);
        book.real("recovery_last_rto_seconds", "How long it took.", last.rto_seconds, named);
        book.flag("recovery_last_verified", "Whether every check passed.", last.verified, named);
    }
    for last in &incidents.drills {
        let named = || vec![("cluster", last.cluster.clone()), ("scenario", last.scenario.clone())];
        book.time("drill_last_timestamp_seconds", "When the last drill was held.", last.at, named);
        book.flag("drill_last_verified", "Whether every check of it passed.", last.verified, named);
        book.real("drill_last_rpo_seconds", "What it lost.", last.rpo_seconds, named);
        book.real("drill_last_rto_seconds", "How long it took.", last.rto_seconds, named);
    }
}

/// One figure a cluster and repository, so that its number does not grow with the incidents.
fn anchors(book: &mut Book, figures: &Figures) {
    let mut sums = BTreeMap::new();
    for page in &figures.clusters {
        sums.extend(page.repositories.iter().map(|one| ((&page.cluster, &one.name), 0)));
    }
    for one in &figures.anchors {
        *sums.entry((&one.cluster, &one.repository)).or_insert(0) += one.entries;
    }
    for ((cluster, repository), entries) in sums {
        book.set(
            "anchors_owed_entries",
            "Entries of journals whose anchors a repository has not taken yet.",
            entries as f64,
            || vec![("cluster", cluster.clone()), ("repository", repository.clone())],
        );
    }
}

/// A registry that makes each metric when its first value comes.
struct Book {
    registry: Registry,
    numbers: Vec<(&'static str, Numbers)>,
}

impl Book {
    fn new() -> Self {
        Self { registry: Registry::with_prefix(PREFIX), numbers: Vec::new() }
    }

    fn set(&mut self, name: &'static str, help: &str, value: f64, labels: impl Fn() -> Labels) {
        let numbers = match self.numbers.iter().find(|(known, _)| *known == name) {
            Some((_, numbers)) => numbers.clone(),
            None => {
                let numbers = Numbers::default();
                // The library adds the full stop.
                self.registry.register(name, help.trim_end_matches('.'), numbers.clone());
                self.numbers.push((name, numbers.clone()));
                numbers
            }
        };
        numbers.get_or_create(&labels()).set(value);
    }

    fn flag(&mut self, name: &'static str, help: &str, yes: bool, labels: impl Fn() -> Labels) {
        self.set(name, help, f64::from(u8::from(yes)), labels);
    }

    fn real(
        &mut self,
        name: &'static str,
        help: &str,
        value: Option<f64>,
        labels: impl Fn() -> Labels,
    ) {
        if let Some(value) = value {
            self.set(name, help, value, labels);
        }
    }

    fn known(
        &mut self,
        name: &'static str,
        help: &str,
        value: Option<u64>,
        labels: impl Fn() -> Labels,
    ) {
        self.real(name, help, value.map(|value| value as f64), labels);
    }

    fn time(
        &mut self,
        name: &'static str,
        help: &str,
        at: Option<Timestamp>,
        labels: impl Fn() -> Labels,
    ) {
        self.real(name, help, at.map(|at| at.as_millisecond() as f64 / 1000.0), labels);
    }
}
