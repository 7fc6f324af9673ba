//! One set copied from one repository to another, as it is stored: the same objects byte for byte,
//! its data key wrapped by the target's own master key, the WAL that makes it consistent, and the
//! descriptor last. Owns the order, which makes an interrupted copy go on: what is there already
//! is proven by its digest and kept. Never overwrites, and publishes nothing that was not proven.

use super::error::CopyError;
use crate::engine::crypto::master::KeyError;
use crate::engine::crypto::sha::Sha256;
use crate::engine::repository::Repository;
use crate::engine::repository::descriptor::{SetDescriptor, SetObject};
use crate::engine::repository::hold::Carry;
use crate::engine::repository::meter::Meter;
use crate::engine::repository::reverify::{Request, verify_set};
use crate::engine::repository::store::{Store, StoreError, StoreFault};
use crate::engine::repository::{PutWal, RepositoryError};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::work::Report;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::io::Write;
use std::sync::mpsc::sync_channel;

/// Bytes that are read and written at once; a few of them are on the way.
const PIECE: u64 = 4 << 20;
const ON_THE_WAY: usize = 3;

/// What a copy did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CopiedSet {
    pub set: String,
    pub from: String,
    pub to: String,
    /// Stored bytes that were written.
    pub bytes: u64,
    /// Objects that were there already, whole.
    pub kept: usize,
    /// The set was published there before.
    pub already_there: bool,
    pub seconds: f64,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Copies `set`. Durable and published when it returns. Blocks.
///
/// # Errors
/// In every case the set is not complete in the target; the same call goes on.
pub fn copy_set(
    from: &Repository,
    to: &Repository,
    set: &str,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<CopiedSet, CopyError> {
    let (source, target) = (from.config.name.as_str(), to.config.name.as_str());
    let at_source = CopyError::source::<RepositoryError>(set, source);
    let at_target = CopyError::target::<RepositoryError>(set, target);
    same_cipher(from, to)?;
    let meter = Meter::new(progress, "copy", Unit::Bytes, 0);
    let descriptor = from.read_set(set).map_err(&at_source)?;
    let mut copied = CopiedSet {
        set: set.to_owned(),
        from: source.to_owned(),
        to: target.to_owned(),
        bytes: 0,
        kept: 0,
        already_there: false,
        seconds: 0.0,
        notes: Vec::new(),
    };
    match to.read_set(set) {
        Ok(there) if there == descriptor => {
            to.settle_set(set).map_err(&at_target)?;
            return Ok(CopiedSet { already_there: true, ..copied });
        }
        Ok(_) => return Err(different(&format!("{set}.json"), target)),
        Err(RepositoryError::NoSuchSet(_)) => {}
        Err(error) => return Err(at_target(error)),
    }
    to.claim_for(descriptor.system_identifier).map_err(&at_target)?;
    meter.set_total(descriptor.stored_bytes);
    import_key(from, to, &descriptor)?;
    (copied.bytes, copied.kept) = objects(from, to, &descriptor, &meter, cancelled)?;
    copied.notes = own_wal(from, to, &descriptor, &meter, cancelled)?;
    // Before it can be seen there, so that no cleanup finds it without them; and once more behind
    // that, for one that was placed while it was copied.
    holds(from, to, set)?;
    meter.phase(&format!("publishing {set} in \"{target}\""));
    match to.write_set(&descriptor) {
        // Another copy of the same set was faster.
        Err(error) if error.fault() == Some(StoreFault::Exists) => {
            if to.read_set(set).map_err(&at_target)? != descriptor {
                return Err(different(&format!("{set}.json"), target));
            }
        }
        written => written.map_err(&at_target)?,
    }
    holds(from, to, set)?;
    meter.phase(&format!("looking at {set} in \"{target}\" again"));
    copied.bytes += made_whole(from, to, &descriptor, &meter, cancelled)?;
    copied.seconds = meter.seconds();
    Ok(copied)
}

/// As [`copy_set`], for a set that is published in both: what is missing in `to` is copied, and what
/// is there is read and compared. Blocks.
///
/// # Errors
/// As [`copy_set`]; [`CopyError::Different`] where an object of the target is another.
pub fn mend_set(
    from: &Repository,
    to: &Repository,
    set: &str,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<CopiedSet, CopyError> {
    let (source, target) = (from.config.name.as_str(), to.config.name.as_str());
    let at_source = CopyError::source::<RepositoryError>(set, source);
    let at_target = CopyError::target::<RepositoryError>(set, target);
    same_cipher(from, to)?;
    let meter = Meter::new(progress, "copy", Unit::Bytes, 0);
    let descriptor = from.read_set(set).map_err(&at_source)?;
    if to.read_set(set).map_err(&at_target)? != descriptor {
        return Err(different(&format!("{set}.json"), target));
    }
    meter.set_total(descriptor.stored_bytes);
    import_key(from, to, &descriptor)?;
    let (bytes, kept) = objects(from, to, &descriptor, &meter, cancelled)?;
    let mut notes = own_wal(from, to, &descriptor, &meter, cancelled)?;
    // A verification that FAILED stands until another says otherwise.
    let now = jiff::Timestamp::now();
    let request = Request { now, full: true, every: jiff::SignedDuration::ZERO };
    let judged = verify_set(to, set, request, progress, cancelled);
    notes.push(match judged.reason {
        None => format!("It is whole in \"{target}\" again: {}.", judged.verdict.word()),
        Some(why) => format!("It was read again in \"{target}\": {}, {why}", judged.verdict.word()),
    });
    Ok(CopiedSet {
        set: set.to_owned(),
        from: source.to_owned(),
        to: target.to_owned(),
        bytes,
        kept,
        already_there: true,
        seconds: meter.seconds(),
        notes,
    })
}

/// Every object of the set; the bytes that were written, and the objects that were there.
fn objects(
    from: &Repository,
    to: &Repository,
    descriptor: &SetDescriptor,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<(u64, usize), CopyError> {
    let (mut bytes, mut kept) = (0, 0);
    for object in &descriptor.objects {
        meter.phase(&format!("{} to \"{}\"", object.name, to.config.name));
        let written = copy_object(from, to, object, meter, cancelled)?;
        bytes += written;
        kept += usize::from(written == 0);
    }
    Ok((bytes, kept))
}

fn holds(from: &Repository, to: &Repository, set: &str) -> Result<(), CopyError> {
    to.take_on_holds(from, set).map(drop).map_err(|error| match error {
        Carry::From(error) => CopyError::source::<StoreError>(set, &from.config.name)(error),
        Carry::To(error) => CopyError::target::<StoreError>(set, &to.config.name)(error),
    })
}

/// A cleanup may have begun before the set was published, and have taken what nobody needed then:
/// the key, or an object that lay there from an earlier try. What is gone is copied once more.
/// Bytes that were written.
fn made_whole(
    from: &Repository,
    to: &Repository,
    descriptor: &SetDescriptor,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<u64, CopyError> {
    let target = to.config.name.as_str();
    let Some(first) = gone(to, descriptor)? else { return Ok(0) };
    import_key(from, to, descriptor)?;
    let mut written = 0;
    for object in &descriptor.objects {
        if is_gone(to, object)? {
            meter.phase(&format!("{} to \"{target}\" again: {first}", object.name));
            written += copy_object(from, to, object, meter, cancelled)?;
        }
    }
    match gone(to, descriptor)? {
        None => Ok(written),
        Some(what) => {
            let (set, to) = (descriptor.set.clone(), target.to_owned());
            Err(CopyError::Gone { set, to, what })
        }
    }
}

/// What of a published set the store does not have; asks the store, and nothing from memory.
fn gone(to: &Repository, descriptor: &SetDescriptor) -> Result<Option<String>, CopyError> {
    let at_target = CopyError::target::<RepositoryError>(&descriptor.set, &to.config.name);
    if let (Some(ring), Some(id)) = (to.keyring(), &descriptor.key_id) {
        match ring.reread(id) {
            Ok(()) => {}
            Err(KeyError::Missing { .. }) => return Ok(Some(format!("its key {id}"))),
            Err(error) => return Err(at_target(error.into())),
        }
    }
    for object in &descriptor.objects {
        if is_gone(to, object)? {
            return Ok(Some(object.name.clone()));
        }
    }
    match to.read_set(&descriptor.set) {
        Ok(_) => Ok(None),
        Err(RepositoryError::NoSuchSet(_)) => Ok(Some(format!("{}.json", descriptor.set))),
        Err(error) => Err(at_target(error)),
    }
}

/// One of another size is no object of this set.
fn is_gone(to: &Repository, object: &SetObject) -> Result<bool, CopyError> {
    match to.store.size(&object.name) {
        Ok(size) if size == object.size => Ok(false),
        Ok(_) => Err(different(&object.name, &to.config.name)),
        Err(error) if error.fault == StoreFault::NotFound => Ok(true),
        Err(error) => Err(CopyError::target::<StoreError>(&object.name, &to.config.name)(error)),
    }
}

fn different(name: &str, to: &str) -> CopyError {
    CopyError::Different { name: name.to_owned(), to: to.to_owned() }
}

fn same_cipher(from: &Repository, to: &Repository) -> Result<(), CopyError> {
    let word =
        |one: &Repository| if one.keyring().is_some() { "encrypted" } else { "not encrypted" };
    let (from_is, to_is) = (word(from), word(to));
    if from_is == to_is {
        return Ok(());
    }
    let (from, to) = (from.config.name.clone(), to.config.name.clone());
    Err(CopyError::Cipher { from, from_is, to, to_is })
}

fn import_key(
    from: &Repository,
    to: &Repository,
    descriptor: &SetDescriptor,
) -> Result<(), CopyError> {
    let (Some(theirs), Some(ours), Some(id)) = (from.keyring(), to.keyring(), &descriptor.key_id)
    else {
        return Ok(());
    };
    let set = &descriptor.set;
    let key = theirs.open(id).map_err(CopyError::source(set, &from.config.name))?;
    ours.import(&key).map_err(CopyError::target(set, &to.config.name))
}

/// Copies an object, or proves the one that is there. Bytes that were written.
fn copy_object(
    from: &Repository,
    to: &Repository,
    object: &SetObject,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<u64, CopyError> {
    let target = &to.config.name;
    let at_target = CopyError::target::<StoreError>(&object.name, target);
    let store = to.store.as_ref();
    match store.size(&object.name) {
        Err(error) if error.fault == StoreFault::NotFound => {}
        Err(error) => return Err(at_target(error)),
        Ok(_) => return kept(to, object, meter, cancelled),
    }
    let mut writer = match store.create(&object.name) {
        Err(error) if error.fault == StoreFault::Exists => {
            return kept(to, object, meter, cancelled);
        }
        created => created.map_err(&at_target)?,
    };
    let mut sha = Sha256::new();
    pieces(from, object, cancelled, &mut |piece| {
        sha.update(piece);
        writer.write_all(piece).map_err(|source| CopyError::Write {
            object: object.name.clone(),
            to: target.clone(),
            source,
        })?;
        meter.add(piece.len() as u64);
        Ok(())
    })?;
    // Dropped without `finish`, nothing of a wrong copy stays.
    if HEXLOWER.encode(&sha.finalize()) != object.sha256 {
        return Err(CopyError::Damaged {
            object: object.name.clone(),
            from: from.config.name.clone(),
            why: String::from("its SHA-256 is not that of the set's descriptor"),
        });
    }
    match writer.finish() {
        Err(error) if error.fault == StoreFault::Exists => kept(to, object, meter, cancelled),
        finished => finished.map(|()| object.size).map_err(&at_target),
    }
}

/// An object that is there already must be the same; it is then made durable.
fn kept(
    to: &Repository,
    object: &SetObject,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<u64, CopyError> {
    let target = &to.config.name;
    let at_target = CopyError::target::<StoreError>(&object.name, target);
    if to.store.size(&object.name).map_err(&at_target)? != object.size {
        return Err(different(&object.name, target));
    }
    let mut sha = Sha256::new();
    pieces(to, object, cancelled, &mut |piece| {
        sha.update(piece);
        meter.skip(piece.len() as u64);
        Ok(())
    })
    .map_err(|error| match error {
        CopyError::Source { source, .. } => CopyError::target(&object.name, target)(*source),
        other => other,
    })?;
    if HEXLOWER.encode(&sha.finalize()) != object.sha256 {
        return Err(different(&object.name, target));
    }
    to.store.settle(&object.name).map_err(&at_target)?;
    Ok(0)
}

/// Reads an object piece by piece, ahead of whoever takes them.
fn pieces(
    from: &Repository,
    object: &SetObject,
    cancelled: &(dyn Fn() -> bool + Sync),
    take: &mut dyn FnMut(&[u8]) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let store: &dyn Store = from.store.as_ref();
    let failed = CopyError::source::<StoreError>(&object.name, &from.config.name);
    let found = store.size(&object.name).map_err(&failed)?;
    if found != object.size {
        return Err(CopyError::Damaged {
            object: object.name.clone(),
            from: from.config.name.clone(),
            why: format!("it is {found} bytes long instead of {}", object.size),
        });
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ON_THE_WAY);
        scope.spawn(move || {
            let mut at = 0;
            while at < object.size {
                let length = (object.size - at).min(PIECE);
                let mut piece = vec![0; usize::try_from(length).unwrap_or_default()];
                let read = store.read_range(&object.name, at, &mut piece).map(|()| piece);
                let ended = read.is_err();
                // Nobody takes it any more: the other side has failed and says why.
                if sender.send(read).is_err() || ended {
                    return;
                }
                at += length;
            }
        });
        for piece in receiver {
            if cancelled() {
                return Err(CopyError::Cancelled);
            }
            take(&piece.map_err(&failed)?)?;
        }
        Ok(())
    })
}

/// The WAL from the backup's start to its end, without which the copy could not be used alone.
/// What the source does not have is told: it is no worse there.
fn own_wal(
    from: &Repository,
    to: &Repository,
    descriptor: &SetDescriptor,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<String>, CopyError> {
    let at_source = CopyError::source::<RepositoryError>(&descriptor.set, &from.config.name);
    let at_target = CopyError::target::<RepositoryError>(&descriptor.set, &to.config.name);
    let mut names = Vec::new();
    if descriptor.timeline > 1 {
        names.push(format!("{:08X}.history", descriptor.timeline));
    }
    names.extend(descriptor.own_wal().names());
    let mut notes = Vec::new();
    for name in names {
        if cancelled() {
            return Err(CopyError::Cancelled);
        }
        meter.phase(&format!("{name} to \"{}\"", to.config.name));
        // What lies there whole needs no source, which may be damaged or lack it by now.
        match to.get_wal(&name) {
            Ok(Some(_)) => {
                for object in to.find_wal(&name).map_err(&at_target)? {
                    to.store.settle(&object.key).map_err(|e| at_target(e.into()))?;
                }
                continue;
            }
            Ok(None) | Err(RepositoryError::Damaged { .. }) => {}
            Err(error) => return Err(at_target(error)),
        }
        match from.get_wal(&name).map_err(&at_source)? {
            Some(content) => match to.put_wal(&name, &content).map_err(&at_target)? {
                PutWal::Stored | PutWal::AlreadyThere => {}
            },
            None if name.ends_with(".history") => {}
            None => notes.push(format!(
                "{name}, which {} needs, is not in \"{}\" either.",
                descriptor.set, from.config.name
            )),
        }
    }
    Ok(notes)
}
