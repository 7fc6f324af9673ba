//! The injects of one drill and how each stands: waiting, released, struck, cured. Owns the rules
//! of that, on values; what an inject does is `drill::act`'s, and who looks when it is due is
//! `drill::director`'s.

use super::inject::{Inject, When};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cast {
    cues: Vec<Cue>,
    /// A recovery came to the place where injects of [`When::Restore`] strike, and went on.
    restore_begun: bool,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cue {
    pub inject: Inject,
    pub released: Option<Timestamp>,
    pub struck: Option<Timestamp>,
    pub cured: Option<Timestamp>,
}

/// How an inject stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Held back until the game master releases it.
    Waiting,
    /// It strikes at its moment.
    Released,
    Struck,
    /// Others undid it.
    Cured,
}

impl Standing {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Released => "released",
            Self::Struck => "struck",
            Self::Cured => "cured",
        }
    }
}

impl Cue {
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.cured, self.struck, self.released) {
            (Some(_), ..) => Standing::Cured,
            (None, Some(_), _) => Standing::Struck,
            (None, None, Some(_)) => Standing::Released,
            (None, None, None) => Standing::Waiting,
        }
    }

    /// When it came to stand as it does.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.cured.or(self.struck).or(self.released)
    }
}

/// Whether a game master can hold it back: the others are there before the incident is.
#[must_use]
pub fn can_wait(inject: &Inject) -> bool {
    matches!(inject.strikes, When::Incident | When::Restore)
}

impl Cast {
    /// Released all of them at `now`; where `held`, those that can wait do.
    #[must_use]
    pub fn of(injects: &[Inject], held: bool, now: Timestamp) -> Self {
        let cue = |inject: &Inject| Cue {
            released: (!held || !can_wait(inject)).then_some(now),
            struck: None,
            cured: None,
            inject: inject.clone(),
        };
        Self { cues: injects.iter().map(cue).collect(), restore_begun: false }
    }

    #[must_use]
    pub fn cues(&self) -> &[Cue] {
        &self.cues
    }

    /// The game master lets it strike.
    ///
    /// # Errors
    /// Where there is none of that name, or it was released before.
    pub fn release(&mut self, name: &str, now: Timestamp) -> Result<(), String> {
        let cue = self.named(name)?;
        if cue.released.is_some() {
            return Err(format!("{name} was released before."));
        }
        cue.released = Some(now);
        Ok(())
    }

    /// Whether others can undo it now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_cure(&mut self, name: &str) -> Result<(), String> {
        let cue = self.named(name)?;
        match cue.standing() {
            Standing::Struck if cue.inject.relief.is_some() => Ok(()),
            Standing::Struck => {
                Err(format!("Nobody else can undo {name}: the participants find the way out."))
            }
            Standing::Cured => Err(format!("{name} was undone before.")),
            Standing::Waiting | Standing::Released => Err(format!("{name} has not struck yet.")),
        }
    }

    /// A recovery passes the place where injects of [`When::Restore`] strike: from now on they
    /// strike as soon as they are released.
    pub fn begin_restore(&mut self) {
        self.restore_begun = true;
    }

    /// Released, not struck, and of that kind.
    #[must_use]
    pub fn due(&self, strikes: When) -> Vec<String> {
        let due =
            |cue: &&Cue| cue.standing() == Standing::Released && cue.inject.strikes == strikes;
        self.cues.iter().filter(due).map(|cue| cue.inject.name.clone()).collect()
    }

    /// What was released too late for its moment, and strikes at once.
    #[must_use]
    pub fn overdue(&self) -> Vec<String> {
        let mut due = self.due(When::Incident);
        if self.restore_begun {
            due.extend(self.due(When::Restore));
        }
        due
    }

    pub fn struck(&mut self, name: &str, now: Timestamp) {
        if let Ok(cue) = self.named(name) {
            cue.struck.get_or_insert(now);
        }
    }

    pub fn cured(&mut self, name: &str, now: Timestamp) {
        if let Ok(cue) = self.named(name) {
            cue.cured.get_or_insert(now);
        }
    }

    /// What was released: what the drill is judged by.
    #[must_use]
    pub fn in_play(&self) -> Vec<Inject> {
        let released = self.cues.iter().filter(|cue| cue.released.is_some());
        released.map(|cue| cue.inject.clone()).collect()
    }

    fn named(&mut self, name: &str) -> Result<&mut Cue, String> {
        let found = self.cues.iter_mut().find(|cue| cue.inject.name == name);
        found.ok_or_else(|| format!("This drill has no inject {name}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::inject;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn cast(held: bool) -> Cast {
        let named = ["time-zone", "damaged-backup", "key-denied", "disk-too-small"];
        Cast::of(&named.map(|name| inject::load(name).unwrap()), held, at(0))
    }

    fn standing(cast: &Cast, name: &str) -> Standing {
        cast.cues().iter().find(|cue| cue.inject.name == name).unwrap().standing()
    }

    #[test]
    fn without_a_game_master_all_of_them_strike_at_their_moment() {
        let cast = cast(false);
        assert_eq!(cast.due(When::Incident), ["damaged-backup", "disk-too-small"]);
        assert_eq!(cast.due(When::Restore), ["key-denied"]);
        assert_eq!(cast.in_play().len(), 4);
    }

    #[test]
    fn with_one_nothing_strikes_before_it_was_released() {
        let mut cast = cast(true);
        assert_eq!(cast.due(When::Incident), Vec::<String>::new());
        assert_eq!(cast.due(When::Report), ["time-zone"], "the report was read already");
        assert_eq!(standing(&cast, "key-denied"), Standing::Waiting);
        assert_eq!(cast.in_play().len(), 1, "what was never released is not judged by");
        cast.release("disk-too-small", at(5)).unwrap();
        assert_eq!(cast.overdue(), ["disk-too-small"], "its moment is past: it strikes at once");
        cast.struck("disk-too-small", at(6));
        assert_eq!(cast.overdue(), Vec::<String>::new());
        assert!(cast.release("disk-too-small", at(7)).is_err(), "once and no more");
        assert!(cast.release("earthquake", at(7)).is_err());
    }

    #[test]
    fn one_of_the_restore_waits_for_it_or_strikes_at_once_behind_it() {
        let mut cast = cast(true);
        cast.release("key-denied", at(5)).unwrap();
        assert_eq!(cast.overdue(), Vec::<String>::new());
        assert_eq!(cast.due(When::Restore), ["key-denied"]);
        cast.begin_restore();
        assert_eq!(cast.overdue(), ["key-denied"]);
    }

    #[test]
    fn only_what_struck_and_what_others_can_undo_is_cured() {
        let mut cast = cast(true);
        assert!(cast.may_cure("disk-too-small").is_err());
        for name in ["disk-too-small", "damaged-backup"] {
            cast.release(name, at(5)).unwrap();
            cast.struck(name, at(6));
        }
        assert!(cast.may_cure("damaged-backup").unwrap_err().contains("Nobody else"));
        cast.may_cure("disk-too-small").unwrap();
        cast.cured("disk-too-small", at(7));
        assert!(cast.may_cure("disk-too-small").is_err());
        assert_eq!(standing(&cast, "disk-too-small"), Standing::Cured);
    }
}
