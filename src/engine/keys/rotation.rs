//! Replacing the master key. Owns the order that keeps everything open at every moment: wrap again
//! beside what is there, prove, change the configuration, and only then remove.
//!
//! 1. Every data key of every repository gets a second object, for the new master key.
//! 2. With the new master key alone, every retained set is proven to open.
//! 3. The configuration names the new master key, and the old one as the one before. Hosts that
//!    still have the old one work on: what they make opens by the one before, and what is made here
//!    is wrapped for both.
//! 4. Retiring: 1 and 2 again, for what came meanwhile; then objects that only the old master key
//!    opens are removed, and the configuration forgets it.

use super::check::{self, Line};
use super::{Holding, KeysError};
use crate::engine::crypto::wrap::WrapFault;
use crate::engine::crypto::{MasterKey, MasterKeySource};
use crate::engine::files;
use crate::engine::incident::facts::Verdict;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// Held while a master key is replaced. Two at once, to two new keys, would each take the other's
/// key for the one before, and the later change of the configuration would forget one of them.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code, reason = "held for its lock")] File);

impl Alone {
    /// Locks the folder of the configuration at `path`: it is there in any case, needs no file of
    /// ours, and is the same one for root and the server's user.
    ///
    /// # Errors
    /// [`KeysError::Busy`] where another rotation of this configuration is under way.
    pub fn take(path: &Path) -> Result<Self, KeysError> {
        let failed = |source| KeysError::File { path: path.to_owned(), source };
        let file = fs::canonicalize(path).map_err(failed)?;
        let folder = File::open(file.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        match files::lock_alone(&folder).map_err(failed)? {
            true => Ok(Self(folder)),
            false => Err(KeysError::Busy(path.to_owned())),
        }
    }
}

/// What was done in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewrapped {
    pub cluster: String,
    pub repository: String,
    /// Data keys that the new master key opens.
    pub keys: usize,
    /// Objects written for that now.
    pub written: usize,
}

/// What retiring did in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retired {
    pub cluster: String,
    pub repository: String,
    /// Objects of the old master key that were removed.
    pub removed: usize,
    /// Objects that neither master key opens, left as they are.
    pub left: Vec<String>,
    /// Data keys that somebody made under the old master key while this went on. They open with
    /// the new one; their old object stays until the next time.
    pub late: Vec<String>,
}

/// Steps 1 and 2: afterwards the new master key opens everything, and so does the old one.
///
/// # Errors
/// The first key that does not open, or [`KeysError::NotProven`]. Nothing is removed.
pub fn begin(
    holdings: &[Holding],
    source: &MasterKeySource,
    new: &Arc<MasterKey>,
) -> Result<(Vec<Rewrapped>, Vec<Line>), KeysError> {
    let rewrapped = rewrap(holdings, new)?;
    Ok((rewrapped, prove(holdings, source, new)?))
}

fn rewrap(holdings: &[Holding], new: &MasterKey) -> Result<Vec<Rewrapped>, KeysError> {
    holdings
        .iter()
        .map(|holding| {
            let ring = holding.ring()?;
            let ids = ring.list().map_err(|e| holding.place.at(e))?;
            let mut written = 0;
            for id in &ids {
                let again = ring.rewrap(id, new).map_err(|e| holding.place.at(e))?;
                written += usize::from(again);
            }
            Ok(Rewrapped {
                cluster: holding.place.cluster.clone(),
                repository: holding.place.config.name.clone(),
                keys: ids.len(),
                written,
            })
        })
        .collect()
}

/// With `master` alone, every data key, every retained set and the newest WAL of every repository
/// open.
///
/// # Errors
/// [`KeysError::NotProven`] with what does not.
pub fn prove(
    holdings: &[Holding],
    source: &MasterKeySource,
    master: &Arc<MasterKey>,
) -> Result<Vec<Line>, KeysError> {
    let lines: Vec<Line> = holdings
        .iter()
        .flat_map(|holding| check::all(holding, holding.ring_of(source, master)))
        .collect();
    let wrong: Vec<String> = lines
        .iter()
        .filter(|line| line.verdict != Verdict::Verified)
        .map(|line| format!("{} in \"{}\": {}", line.subject, line.repository, line.detail))
        .collect();
    if wrong.is_empty() { Ok(lines) } else { Err(KeysError::NotProven(wrong.join(" "))) }
}

/// Step 4, for repositories whose configuration has both master keys. `progress` hears each
/// repository before its first object goes.
///
/// # Errors
/// Where not everything is proven to open with the new master key: then nothing was removed; or
/// where an object could not be removed: then the next try goes on.
pub fn retire(holdings: &[Holding]) -> Result<(Vec<Retired>, Vec<Line>), KeysError> {
    let mut proven: Vec<BTreeSet<String>> = Vec::new();
    let mut lines = Vec::new();
    for holding in holdings {
        let ring = holding.ring()?;
        if ring.previous_master()?.is_none() {
            return Err(KeysError::NoPrevious { place: holding.place.to_string() });
        }
        let master = ring.master()?;
        rewrap(std::slice::from_ref(holding), master)?;
        // What is listed before the proof is what the proof covers.
        let ids = ring.list().map_err(|e| holding.place.at(e))?;
        let source = holding.place.source()?;
        lines.extend(prove(std::slice::from_ref(holding), &source, master)?);
        proven.push(ids.into_iter().collect());
    }
    let mut retired = Vec::new();
    for (holding, proven) in holdings.iter().zip(&proven) {
        retired.push(remove_old(holding, proven)?);
    }
    Ok((retired, lines))
}

fn remove_old(holding: &Holding, proven: &BTreeSet<String>) -> Result<Retired, KeysError> {
    let at = |error| holding.place.at(error);
    let ring = holding.ring()?;
    let (new, Some(old)) = (ring.master()?, ring.previous_master()?) else {
        return Err(KeysError::NoPrevious { place: holding.place.to_string() });
    };
    let mut retired = Retired {
        cluster: holding.place.cluster.clone(),
        repository: holding.place.config.name.clone(),
        removed: 0,
        left: Vec::new(),
        late: Vec::new(),
    };
    let wraps = ring.wraps().map_err(at)?;
    for wraps in wraps.chunk_by(|left, right| left.id == right.id) {
        let Some(id) = wraps.first().map(|wrap| &wrap.id) else { continue };
        if !proven.contains(id) {
            ring.rewrap(id, new).map_err(at)?;
            retired.late.push(id.clone());
            continue;
        }
        let (mut kept, mut going) = (0, Vec::new());
        for wrap in wraps {
            match ring.opens(wrap, new).map_err(at)? {
                None => {}
                Some(Ok(())) => kept += 1,
                Some(Err(WrapFault::Damaged(_))) => retired.left.push(wrap.name()),
                Some(Err(WrapFault::OtherMaster)) => match ring.opens(wrap, old).map_err(at)? {
                    Some(Ok(())) => going.push(wrap),
                    Some(Err(_)) => retired.left.push(wrap.name()),
                    None => {}
                },
            }
        }
        // Proven a moment ago, and seen again before the last other way in is closed.
        if kept == 0 {
            return Err(KeysError::NotProven(format!(
                "the data key {id} has no object for the new master key any more"
            )));
        }
        for wrap in going {
            ring.remove_wrap(wrap).map_err(at)?;
            retired.removed += 1;
        }
    }
    Ok(retired)
}
