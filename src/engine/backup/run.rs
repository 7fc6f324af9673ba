//! One base backup from its first question to the server to the published set. Owns the order of
//! things; the parts are in the modules beside it.

use super::archive;
use super::assemble::{Assembler, BadPages, SharedPgManifest};
use super::error::BackupError;
use super::layout::Layout;
use super::pg_manifest::PgManifest;
use super::pipeline::{self, Pages, Settings};
use super::server::{Server, Stopped};
use super::tar_layout::{TarKind, TarMeta};
use super::walk::{CONTROL_FILE, Found, FoundKind, LeftOut, Walk};
use crate::engine::config::{Cluster, Codec};
use crate::engine::crypto::Protection;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control_file::{self, ControlFile, ControlFileError};
use crate::engine::repository::Repository;
use crate::engine::repository::descriptor::{self, SetDescriptor, SetObject, Tablespace};
use crate::engine::repository::manifest::{self, Footer, ManifestWriter};
use crate::engine::repository::meter::Meter;
use crate::engine::repository::sealed::{SealedWriter, Sum};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::work::Report;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tar bytes in a member: small enough that a page costs little to fetch alone, large enough that
/// a manifest stays small and compression good.
const MEMBER_SIZE: u64 = 1 << 20;
/// The same past [`LARGE`], to halve the manifest.
const MEMBER_SIZE_LARGE: u64 = 2 << 20;
const LARGE: u64 = 4 << 40;

/// How a backup is taken, beside what the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Threads that read and compress. `None`: as configured, else the machine's cores.
    pub workers: Option<usize>,
    /// The longest wait for a next segment to arrive in the archive.
    pub archive_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: None, archive_wait: Duration::from_secs(300) }
    }
}

/// A backup that was made and published.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupSummary {
    pub descriptor: SetDescriptor,
    /// Files in it.
    pub files: u64,
    pub seconds: f64,
    /// What the operator should know: damaged pages, files left out, databases without names.
    pub warnings: Vec<String>,
    /// Pages whose checksum did not fit.
    pub bad_pages: u64,
}

/// Takes a base backup of `cluster` and publishes it. Blocks; never call it from async code.
///
/// # Errors
/// In every case nothing was published, and the server has ended its backup.
pub fn run(
    cluster: &Cluster,
    repository: &Repository,
    options: &Options,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<BackupSummary, BackupError> {
    let meter = Meter::new(progress, "backup", Unit::Bytes, 0);
    meter.phase("connecting");
    let server = Server::open(cluster)?;
    let control = confirm_identity(&server, &cluster.data_directory)?;
    repository.claim_for(server.system_identifier)?;

    let walk = || Walk {
        data_directory: &cluster.data_directory,
        tablespace_folder: format!("PG_{}_{}", server.version, server.catalog_version),
        left_out: Vec::new(),
    };
    let sizes = sum(walk())?;
    meter.set_total(sizes.total);

    let started = begin(repository)?;
    let job = Job {
        set: descriptor::set_name(started),
        started,
        protection: repository.new_protection()?,
        member_size: if sizes.total > LARGE { MEMBER_SIZE_LARGE } else { MEMBER_SIZE },
        server: &server,
        repository,
        control,
        sizes,
        meter: &meter,
        cancelled,
    };
    meter.phase("waiting for the server's checkpoint");
    let start = server.start(&label(&job.set))?;
    let copied = job.copy(walk(), start, workers(options, repository))?;
    let segment_size = u64::from(job.control.wal_segment_size);
    let left_behind = |source| BackupError::Unpublished {
        source: Box::new(source),
        objects: copied.objects.iter().map(|sum| sum.key.clone()).collect(),
    };
    archive::wait(
        repository,
        &server,
        (start, &copied.stopped),
        segment_size,
        options.archive_wait,
        &meter,
        cancelled,
    )
    .map_err(left_behind)?;
    meter.phase("publishing");
    let descriptor = job.descriptor(start, &copied);
    repository.write_set(&descriptor).map_err(|error| left_behind(error.into()))?;
    meter.phase("published");
    Ok(BackupSummary {
        descriptor,
        files: copied.footer.files,
        seconds: meter.seconds(),
        warnings: copied.warnings,
        bad_pages: copied.bad_pages.count,
    })
}

/// When the backup begins. Its set is named by the second: one that was begun in the same second
/// is let pass.
fn begin(repository: &Repository) -> Result<Timestamp, BackupError> {
    let newest = repository.set_names()?.pop();
    loop {
        let now = Timestamp::now();
        if newest.as_ref() != Some(&descriptor::set_name(now)) {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The label in `backup_label`; a restore is known by it.
#[must_use]
pub fn label(set: &str) -> String {
    format!("lifeboat {set}")
}

fn workers(options: &Options, repository: &Repository) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    options.workers.or(repository.config.workers).unwrap_or_else(cores)
}

/// The files that are read must be those of the server that is asked.
fn confirm_identity(server: &Server, configured: &Path) -> Result<ControlFile, BackupError> {
    let control = control_file::read(configured)?;
    if control.system_identifier != server.system_identifier {
        return Err(BackupError::WrongIdentity {
            server: server.system_identifier,
            files: control.system_identifier,
            data_directory: configured.to_path_buf(),
        });
    }
    // A standby on the same machine has the same identifier: the folder must be the same too.
    let same = |a: &Path, b: &Path| match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    if same(&server.data_directory, configured) {
        Ok(control)
    } else {
        Err(BackupError::WrongDirectory {
            server: server.data_directory.clone(),
            configured: configured.to_path_buf(),
        })
    }
}

/// Bytes of all files before they are read, in all and by tablespace.
struct Sizes {
    total: u64,
    tablespaces: BTreeMap<u32, u64>,
}

fn sum(mut walk: Walk<'_>) -> Result<Sizes, BackupError> {
    let mut sizes = Sizes { total: 0, tablespaces: BTreeMap::new() };
    walk.run(&mut |found| {
        if let FoundKind::File { size } = found.kind {
            sizes.total += size;
            let oid = found.path.strip_prefix("pg_tblspc/").and_then(|rest| rest.split_once('/'));
            if let Some(oid) = oid.and_then(|(oid, _)| oid.parse().ok()) {
                *sizes.tablespaces.entry(oid).or_default() += size;
            }
        }
        Ok(())
    })?;
    Ok(sizes)
}

/// A backup that runs.
struct Job<'a> {
    set: String,
    started: Timestamp,
    protection: Protection,
    member_size: u64,
    server: &'a Server,
    repository: &'a Repository,
    control: ControlFile,
    sizes: Sizes,
    meter: &'a Meter<'a>,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What copying gave.
struct Copied {
    stopped: Stopped,
    objects: [Sum; 2],
    footer: Footer,
    bad_pages: BadPages,
    warnings: Vec<String>,
}

impl Job<'_> {
    /// Copies everything and ends the server's backup; both objects are durable on return.
    fn copy(&self, walk: Walk<'_>, start: Lsn, workers: usize) -> Result<Copied, BackupError> {
        let encrypted = self.protection.key().is_some();
        let codec = self.repository.config.codec;
        let stem = descriptor::base_stem(&self.set)
            .ok_or_else(|| BackupError::Internal(format!("{} is no set's name", self.set)))?;
        let encryption = if encrypted { ".enc" } else { "" };
        let compression = match codec {
            Codec::Gzip => "gz",
            Codec::Zstd => "zst",
        };
        let store = self.repository.store.as_ref();
        let object_name = format!("{stem}.tar.{compression}{encryption}");
        let manifest_name = format!("{stem}.manifest.json{encryption}");
        let object = SealedWriter::create(store, &object_name, &self.protection)?;
        let manifest = SealedWriter::create(store, &manifest_name, &self.protection)?;
        let header = manifest::Header {
            version: manifest::VERSION,
            set: self.set.clone(),
            object: object_name,
            codec,
            encrypted,
            member_size: self.member_size,
            page_size: self.control.block_size,
            tablespaces: self.tablespaces(),
        };
        let pg_manifest = PgManifest::new(self.server.version, self.server.system_identifier)
            .map_err(BackupError::spool)?;
        let pg_manifest = Arc::new(Mutex::new(Some(pg_manifest)));
        let compressed = GzEncoder::new(manifest, flate2::Compression::new(3));
        let assembler = Assembler {
            set: self.set.clone(),
            protection: self.protection.clone(),
            object,
            manifest: ManifestWriter::new(compressed, header)?,
            pg_manifest: Arc::clone(&pg_manifest),
            meter: self.meter,
            bad_pages: BadPages::default(),
            open_file: None,
            held: Vec::new(),
        };
        let settings = Settings {
            workers,
            member_size: self.member_size,
            codec,
            level: self.repository.config.level,
            pages: (self.control.data_checksum_version > 0).then_some(Pages {
                size: self.control.block_size,
                segment_blocks: self.control.relation_segment_blocks,
                start,
            }),
        };
        let ((stopped, mut warnings), assembler) = pipeline::run(&settings, assembler, |layout| {
            self.produce(layout, walk, start, &pg_manifest)
        })?;
        let Assembler { object, mut manifest, bad_pages, .. } = assembler;
        warnings.extend(bad_pages.named.iter().map(|page| {
            format!(
                "{} is damaged on disk: the checksum of page {} does not fit.",
                page.path, page.block
            )
        }));
        if bad_pages.count > bad_pages.named.len() as u64 {
            warnings.push(format!("{} pages are damaged in all.", bad_pages.count));
        }
        self.meter.phase("noting the relations' names");
        let unnamed = self.server.relations(&mut |relation| Ok(manifest.relation(relation)?))?;
        warnings.extend(unnamed);
        let object = object.finish()?;
        let (footer, compressed) = manifest.finish()?;
        let manifest = compressed.finish().map_err(BackupError::Write)?.finish()?;
        Ok(Copied { stopped, objects: [object, manifest], footer, bad_pages, warnings })
    }

    /// Lays everything out: data files, then what the server gives at the end, `pg_control` last.
    fn produce(
        &self,
        layout: &mut Layout,
        mut walk: Walk<'_>,
        start: Lsn,
        pg_manifest: &SharedPgManifest,
    ) -> Result<(Stopped, Vec<String>), BackupError> {
        walk.run(&mut |found| {
            if (self.cancelled)() {
                return Err(BackupError::Cancelled);
            }
            self.server.alive()?;
            self.meter.at(&found.path);
            self.add(layout, found)
        })?;
        layout.drain()?;
        let (control, control_meta) = self.read_control_file(walk.data_directory)?;
        if (self.cancelled)() {
            return Err(BackupError::Cancelled);
        }
        self.meter.phase("ending the server's backup");
        let stopped = self.server.stop()?;

        let small = TarMeta { mtime: Timestamp::now().as_second(), ..control_meta };
        let mut last = vec![("backup_label", stopped.label.as_bytes())];
        if !stopped.tablespace_map.is_empty() {
            last.push(("tablespace_map", stopped.tablespace_map.as_bytes()));
        }
        let taken = pg_manifest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut pg = taken
            .ok_or_else(|| BackupError::Internal(String::from("PostgreSQL's manifest is gone")))?;
        for (path, content) in &last {
            layout.bytes(path, &small, content)?;
            pg.file(path, content.len() as u64, small.mtime, crc32c::crc32c(content))
                .map_err(BackupError::spool)?;
        }
        let size = control.len() as u64;
        pg.file(CONTROL_FILE, size, control_meta.mtime, crc32c::crc32c(&control))
            .map_err(BackupError::spool)?;
        let (file, size) =
            pg.finish(stopped.timeline, start, stopped.stop).map_err(BackupError::spool)?;
        let meta = TarMeta { size, ..small };
        layout.file("backup_manifest", std::env::temp_dir(), &meta, file)?;
        layout.bytes(CONTROL_FILE, &control_meta, &control)?;

        let say = |LeftOut { path, why }: &LeftOut| format!("{path} was left out: {why}.");
        Ok((stopped, walk.left_out.iter().map(say).collect()))
    }

    fn add(&self, layout: &mut Layout, found: Found) -> Result<(), BackupError> {
        match found.kind {
            FoundKind::Directory { mode, mtime, uid, gid, .. } => {
                let meta = TarMeta { kind: TarKind::Directory, size: 0, mode, mtime, uid, gid };
                layout.directory(&found.path, &meta)
            }
            FoundKind::File { .. } => {
                let failed = |source| BackupError::Read { path: found.place.clone(), source };
                let file = match File::open(&found.place) {
                    Ok(file) => file,
                    // Dropped since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(failed(error)),
                };
                let meta = meta_of(&file.metadata().map_err(failed)?);
                layout.file(&found.path, found.place, &meta, file)
            }
        }
    }

    /// The control file as the server has it now, whole: it is read again where the server was
    /// writing it.
    fn read_control_file(&self, data_directory: &Path) -> Result<(Vec<u8>, TarMeta), BackupError> {
        let path = data_directory.join(CONTROL_FILE);
        let failed = |source| BackupError::Read { path: path.clone(), source };
        let mut attempts = 0;
        loop {
            let meta = meta_of(&fs::metadata(&path).map_err(failed)?);
            let bytes = fs::read(&path).map_err(failed)?;
            match control_file::parse(&bytes, &path) {
                Ok(control) if control.system_identifier == self.server.system_identifier => {
                    return Ok((bytes, meta));
                }
                Ok(control) => {
                    return Err(BackupError::WrongIdentity {
                        server: self.server.system_identifier,
                        files: control.system_identifier,
                        data_directory: data_directory.to_path_buf(),
                    });
                }
                Err(ControlFileError::Checksum { .. }) if attempts < 20 => {
                    attempts += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tablespaces(&self) -> Vec<manifest::Tablespace> {
        let space = |(oid, location): &(u32, String)| manifest::Tablespace {
            oid: *oid,
            location: location.clone(),
            size: self.sizes.tablespaces.get(oid).copied().unwrap_or(0),
        };
        self.server.tablespaces.iter().map(space).collect()
    }

    fn descriptor(&self, start: Lsn, copied: &Copied) -> SetDescriptor {
        let objects = copied.objects.iter().map(|sum| SetObject {
            name: sum.key.clone(),
            size: sum.size,
            sha256: data_encoding::HEXLOWER.encode(&sum.sha256),
        });
        let map = &copied.stopped.tablespace_map;
        let spaces = self.server.tablespaces.iter();
        SetDescriptor {
            format: descriptor::FORMAT,
            set: self.set.clone(),
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.repository.cluster().to_owned(),
            system_identifier: self.server.system_identifier,
            server_version_num: self.server.version_number,
            pg_control_version: self.control.control_version,
            catalog_version: self.control.catalog_version,
            page_size: self.control.block_size,
            segment_size: u64::from(self.control.wal_segment_size),
            data_checksums: self.control.data_checksum_version > 0,
            start_lsn: start,
            stop_lsn: copied.stopped.stop,
            timeline: copied.stopped.timeline,
            started: self.started,
            finished: Timestamp::now(),
            key_id: self.protection.key_id().map(str::to_owned),
            codec: self.repository.config.codec,
            cipher: if self.protection.key().is_some() { "aes-256-cbc" } else { "none" }.to_owned(),
            data_bytes: copied.footer.size,
            stored_bytes: copied.objects.iter().map(|sum| sum.size).sum(),
            objects: objects.collect(),
            backup_label: copied.stopped.label.clone(),
            tablespace_map: (!map.is_empty()).then(|| map.clone()),
            tablespaces: spaces
                .map(|(oid, path)| Tablespace { oid: *oid, path: path.clone() })
                .collect(),
            warnings: copied.warnings.clone(),
        }
    }
}

fn meta_of(meta: &fs::Metadata) -> TarMeta {
    TarMeta {
        kind: TarKind::File,
        size: meta.len(),
        mode: meta.mode() & 0o7777,
        mtime: meta.mtime(),
        uid: meta.uid(),
        gid: meta.gid(),
    }
}
