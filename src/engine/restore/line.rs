//! What the line to a repository does to a forecast, by a small read that was measured a moment ago.
//! Owns that rule, on values; the measurement is `copies::choose`'s.

use crate::engine::incident::facts::{Forecast, OnDisk, Reach, Source};

/// A forecast of the copy that is no faster than the link: what was measured on it a moment ago is
/// one read of many side by side, so that it may do better, and seldom does by more than this.
#[must_use]
pub fn transfer(copy: (f64, f64), source: &Source) -> (f64, f64) {
    let link = source.seconds();
    // A link that is faster than the disk does not decide.
    if link <= copy.0 { copy } else { ((link * 0.5).max(copy.0), (link * 1.3).max(copy.1)) }
}

/// A forecast of the replay where the log comes over a link: at worst no faster than that brings the
/// bytes as they are, since how small they were stored is not known.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a forecast needs no exact count")]
pub fn replay(replay: (f64, f64), wal: u64, link: Option<&Source>) -> (f64, f64) {
    let Some(link) = link.filter(|link| link.far) else { return replay };
    (replay.0, replay.1.max(wal as f64 / link.bytes_per_second.max(1) as f64))
}

/// Both, where a link was measured.
#[must_use]
pub fn over(forecast: Forecast, wal: u64, link: Option<&Source>) -> Forecast {
    let copy = link.map_or(forecast.copy, |link| transfer(forecast.copy, link));
    Forecast { copy, replay: replay(forecast.replay, wal, link), ..forecast }
}

/// The forecasts of a proof, by the link that its base was measured on: its own, and those of the
/// bases that it is compared with, as if they lay beside it.
pub fn weigh(reach: &mut Reach, link: &Source) {
    let Some(base) = reach.base.clone() else { return };
    let rest = rest(link.clone(), reach.on_disk.as_ref());
    // Where the server goes on nothing is copied.
    let weighed = |forecast: Forecast, wal: u64, link: &Source| match forecast.copy.1 > 0.0 {
        true => over(forecast, wal, Some(link)),
        false => Forecast { replay: replay(forecast.replay, wal, Some(link)), ..forecast },
    };
    reach.forecast = reach.forecast.map(|known| weighed(known, reach.wal_bytes, &rest));
    for choice in &mut reach.cost.bases {
        // How much of another base is stored is not known here: as much as of this one.
        let link = if choice.set == base.set { &rest } else { link };
        choice.forecast = weighed(choice.forecast, choice.wal_bytes, link);
    }
}

/// What is brought over at most, where the disk has a part of it.
#[must_use]
pub fn rest(source: Source, disk: Option<&OnDisk>) -> Source {
    let Some(disk) = disk else { return source };
    let (_, most) = disk.fetched();
    let whole = most.saturating_add(disk.unchanged).max(1);
    let stored = u128::from(source.stored) * u128::from(most) / u128::from(whole);
    Source { stored: u64::try_from(stored).unwrap_or(source.stored), ..source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(bytes_per_second: u64, far: bool) -> Source {
        Source {
            repository: String::from("far"),
            region: None,
            far,
            bytes_per_second,
            stored: 130_000_000,
        }
    }

    const HERE: Forecast = Forecast { copy: (0.3, 2.0), replay: (0.1, 0.7), measured: true };

    #[test]
    fn a_slow_line_decides_and_a_fast_one_does_not() {
        // 130 MB at 10 MB/s are 13 s, whatever the disks here do.
        let slow = over(HERE, 64_000_000, Some(&link(10_000_000, true)));
        assert!(slow.copy.0 <= 13.0 && slow.copy.1 >= 13.0, "{slow:?}");
        assert!(slow.replay.1 >= 6.4 && slow.replay.0 <= 0.1, "{slow:?}");
        assert_eq!(over(HERE, 64_000_000, Some(&link(1_000_000_000, true))).copy, HERE.copy);
        assert_eq!(over(HERE, 64_000_000, None), HERE);
        // Weighed twice, by the gate and again by the plan, it stays what it is.
        assert_eq!(over(slow, 64_000_000, Some(&link(10_000_000, true))), slow);
        // Nearby the log is read as it is replayed.
        assert_eq!(over(HERE, 64_000_000, Some(&link(10_000_000, false))).replay, HERE.replay);
    }
}
