//! A published base backup, opened: its descriptor authenticated, its key at hand, its manifest
//! proven. Owns the words for what can be wrong with one; reads no member.

use super::alternates::{Alternates, Told};
use super::descriptor::{SetDescriptor, SetObject};
use super::manifest::{Header, ManifestError, ManifestReader, RelationMap};
use super::member::MemberError;
use super::sealed::{SealedError, SealedReader, Sum};
use super::store::StoreError;
use super::{Repository, RepositoryError};
use crate::engine::crypto::Protection;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use flate2::bufread::GzDecoder;
use std::io::BufReader;

/// Why a backup could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sealed(SealedError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the descriptor of {set} and its objects do not fit together: {why}")]
    Mismatch { set: String, why: String },
    #[error(
        "bytes {from} to {to} of {object} are not what was written: their tag does not fit. They \
         hold {holds}"
    )]
    Tag { object: String, from: u64, to: u64, holds: String },
    #[error("bytes {from} to {to} of {object} could not be unpacked: {source}")]
    Unpack { object: String, from: u64, to: u64, source: MemberError },
    #[error("{path} in the backup is not the file that the manifest describes")]
    Checksum { path: String },
    #[error("no copy gave {what}: {}", each(failures))]
    EveryCopy { what: String, failures: Vec<(String, ScanError)> },
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Internal(String),
}

fn each(failures: &[(String, ScanError)]) -> String {
    let told = failures.iter().map(|(copy, error)| format!("in \"{copy}\", {error}"));
    told.collect::<Vec<_>>().join("; ")
}

impl From<SealedError> for ScanError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Store(error) => Self::Store(error),
            other => Self::Sealed(other),
        }
    }
}

impl ScanError {
    /// Whether the content itself is wrong, and not only out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Repository(error) => matches!(error.explanation().kind, Kind::Integrity),
            Self::Store(error) => {
                error.fault == super::store::StoreFault::NotFound
                    || error
                        .source
                        .as_ref()
                        .is_some_and(|source| source.kind() == std::io::ErrorKind::UnexpectedEof)
            }
            Self::Sealed(error) => {
                matches!(error, SealedError::Digest { .. } | SealedError::Envelope { .. })
            }
            Self::Manifest(_)
            | Self::Mismatch { .. }
            | Self::Tag { .. }
            | Self::Unpack { .. }
            | Self::Checksum { .. } => true,
            Self::EveryCopy { failures, .. } => failures.iter().all(|(_, e)| e.is_damage()),
            Self::Cancelled | Self::Internal(_) => false,
        }
    }
}

impl Explain for ScanError {
    fn explanation(&self) -> Explanation {
        const UNUSED: &str = "Nothing of the damaged part was used.";
        const OTHER: &str =
            "Use another copy of the repository or an older backup, and have the disk checked.";
        match self {
            Self::Repository(error) => error.explanation(),
            Self::Store(error) => error.explanation(),
            Self::EveryCopy { failures, .. } => {
                // What is only out of reach may come back; damage does not.
                let reachable = failures.iter().find(|(_, error)| !error.is_damage());
                match reachable.map(|(_, error)| error.explanation()) {
                    Some(inner) => Explanation { what: sentence(self), ..inner },
                    None => Explanation::new(
                        Kind::Integrity,
                        sentence(self),
                        UNUSED,
                        "Use an older backup, and have the disks checked.",
                    ),
                }
            }
            Self::Cancelled => Explanation::new(Kind::Cancelled, "Cancelled.", "", ""),
            Self::Internal(_) => {
                Explanation::new(Kind::Internal, sentence(self), "", "Try again, and report this.")
            }
            _ => Explanation::new(Kind::Integrity, sentence(self), UNUSED, OTHER),
        }
    }
}

/// A published backup whose descriptor is authenticated and whose key is open.
#[derive(Debug)]
pub struct OpenSet<'a> {
    /// The first of those that hold it.
    pub repository: &'a Repository,
    /// Where its objects are read from.
    pub copies: Alternates<'a>,
    pub descriptor: SetDescriptor,
    pub(super) protection: Protection,
}

/// The manifest as a stream.
pub type Manifest<'s> = ManifestReader<BufReader<GzDecoder<BufReader<SealedReader<'s>>>>>;

impl<'a> OpenSet<'a> {
    /// # Errors
    /// Where there is no such set, it is not what was written, or its key does not open.
    pub fn open(repository: &'a Repository, set: &str) -> Result<Self, ScanError> {
        Self::open_copies(&[repository], set, None)
    }

    /// Opens a backup that lies in several repositories, to be read from the first of them and,
    /// where that fails, from the others. One that does not hold the same backup is left out, and
    /// `told` hears of it as of every failure later.
    ///
    /// # Errors
    /// As [`OpenSet::open`], of the first, where none of them can be opened.
    pub fn open_copies(
        repositories: &[&'a Repository],
        set: &str,
        told: Option<Told<'a>>,
    ) -> Result<Self, ScanError> {
        let mut first: Option<(&'a Repository, SetDescriptor)> = None;
        let (mut same, mut left_out, mut failure) = (Vec::new(), Vec::new(), None);
        for &repository in repositories {
            let name = &repository.config.name;
            match (repository.read_set(set), &first) {
                (Ok(descriptor), None) => {
                    first = Some((repository, descriptor));
                    same.push(repository);
                }
                (Ok(other), Some((_, descriptor))) if other == *descriptor => same.push(repository),
                (Ok(_), Some(_)) => {
                    left_out.push(format!("\"{name}\" holds another backup named {set}"));
                }
                (Err(error), _) => {
                    left_out.push(format!("{set} in \"{name}\" cannot be used: {error}"));
                    failure.get_or_insert(error);
                }
            }
        }
        let Some((repository, descriptor)) = first else {
            return Err(failure.map_or_else(
                || ScanError::Internal(format!("no repository was given to read {set} from")),
                ScanError::from,
            ));
        };
        // One data key for all copies, since their objects are the same.
        let protection = repository.protection_of(set, descriptor.key_id.as_deref())?;
        let copies = Alternates::new(&same, told);
        for text in left_out {
            copies.note(format!("{text}; it was left out."));
        }
        Ok(Self { repository, copies, descriptor, protection })
    }

    /// The manifest, proven whole by the descriptor's digest.
    ///
    /// # Errors
    /// Where it is not there or not what was written.
    pub fn manifest(&self) -> Result<Manifest<'_>, ScanError> {
        let object = self.descriptor.objects.iter().find(|o| o.name.contains(".manifest.json"));
        let object = object.ok_or_else(|| self.mismatch("it names no manifest"))?;
        let sum = self.sum(object)?;
        let sealed = BufReader::new(SealedReader::open(&self.copies, sum, &self.protection)?);
        let manifest = ManifestReader::new(BufReader::new(GzDecoder::new(sealed)))?;
        let header = manifest.header();
        if header.set != self.descriptor.set
            || header.encrypted != self.protection.key().is_some()
            || header.member_size == 0
            || header.member_size > (64 << 20)
        {
            return Err(self.mismatch("the manifest is another backup's"));
        }
        Ok(manifest)
    }

    /// The object with the tar stream.
    ///
    /// # Errors
    /// Where the descriptor knows no such object.
    pub fn data_object(&self, header: &Header) -> Result<&SetObject, ScanError> {
        let found = self.descriptor.objects.iter().find(|object| object.name == header.object);
        found.ok_or_else(|| self.mismatch("the manifest names an object that it does not"))
    }

    fn sum(&self, object: &SetObject) -> Result<Sum, ScanError> {
        let sha256 = data_encoding::HEXLOWER
            .decode(object.sha256.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| self.mismatch("a digest is not readable"))?;
        Ok(Sum { key: object.name.clone(), size: object.size, sha256 })
    }

    pub(super) fn mismatch(&self, why: &str) -> ScanError {
        ScanError::Mismatch { set: self.descriptor.set.clone(), why: why.to_owned() }
    }
}

/// Which relation each file node was when the backup was taken.
///
/// # Errors
/// Where the set or its manifest could not be read or is not what was written.
pub fn relation_map(repository: &Repository, set: &str) -> Result<RelationMap, ScanError> {
    relation_map_from(&[repository], set)
}

/// As [`relation_map`], from several repositories that hold the same set.
///
/// # Errors
/// Where no copy of its manifest is what was written.
pub fn relation_map_from(
    repositories: &[&Repository],
    set: &str,
) -> Result<RelationMap, ScanError> {
    let set = OpenSet::open_copies(repositories, set, None)?;
    let mut manifest = set.manifest()?;
    let mut relations = Vec::new();
    while let Some(relation) = manifest.next_relation()? {
        relations.push(relation);
    }
    Ok(relations.into_iter().collect())
}
