//! The 3-2-1-1-0 rule: three copies (the live data counts as one), on two media, one off-site, one
//! immutable or offline, no errors. Owns the judgement, on values; [`super::survey`] looks at the
//! world. What was measured is told from what was only declared, and what nobody knows is never a
//! pass.

use crate::engine::config::{Immutability, Place};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::store::Hold;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// The data directory that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub host: String,
    /// The volume's number (`st_dev`); `None` where the directory cannot be looked at.
    pub device: Option<u64>,
}

/// Whether a repository has the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Its descriptor is authentic, and every object is there with its size.
    Whole,
    /// Proven not to be there; why.
    Missing(String),
    /// There, and not what was written; why.
    Damaged(String),
    /// Could not be asked; why.
    Unknown(String),
}

/// What is known of one copy of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub repository: String,
    pub place: Place,
    /// The medium was said by somebody and does not follow from the store.
    pub medium_declared: bool,
    /// Of the repository's folder; `None` for a store that is no folder.
    pub device: Option<u64>,
    pub presence: Presence,
    /// What the store itself says that keeps the newest object.
    pub hold: Result<Option<Hold>, String>,
    /// The newest verification that was recorded.
    pub verified: Option<(Timestamp, Verdict)>,
}

/// How a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Measured, or following from what was measured.
    Holds,
    /// As somebody declared it; Lifeboat cannot measure it.
    Declared,
    Fails,
    NotRun,
    Unknown,
}

impl Standing {
    /// The word that people and programs read.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "HOLDS",
            Self::Declared => "DECLARED",
            Self::Fails => "DOES NOT HOLD",
            Self::NotRun => "NOT RUN",
            Self::Unknown => "COULD NOT VERIFY",
        }
    }

    /// Nothing to wake somebody for.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Holds | Self::Declared)
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// One of the five parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// `copies`, `media`, `off-site`, `immutable`, `errors`.
    pub id: &'static str,
    pub title: &'static str,
    pub standing: Standing,
    /// Why, for people.
    pub detail: String,
}

/// Copies that one failure takes together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// `volume`, `host`, `site`, `account`, `region`.
    pub domain: &'static str,
    pub name: String,
    /// Repositories, and [`LIVE`].
    pub members: Vec<String>,
}

/// The data directory among the members of a failure domain.
pub const LIVE: &str = "the live data";

/// The rule's five parts, in its order. A verification older than `verify_every` counts for none.
#[must_use]
pub fn judge(
    live: &Live,
    copies: &[Copy],
    now: Timestamp,
    verify_every: SignedDuration,
) -> Vec<Rule> {
    let counted = counted(live, copies);
    let open: Vec<&Copy> =
        copies.iter().filter(|copy| matches!(copy.presence, Presence::Unknown(_))).collect();
    vec![
        three(live, copies, &counted, &open),
        media(&counted, &open),
        off_site(&counted, &open),
        immutable(&counted, &open, now),
        errors(copies, &open, now, verify_every),
    ]
}

/// Copies that a failure of the live data's volume leaves, one a volume.
fn counted<'c>(live: &Live, copies: &'c [Copy]) -> Vec<&'c Copy> {
    let mut volumes = BTreeSet::new();
    let whole = copies.iter().filter(|copy| copy.presence == Presence::Whole);
    whole
        .filter(|copy| copy.device.is_none() || copy.device != live.device)
        .filter(|copy| copy.device.is_none_or(|device| volumes.insert(device)))
        .collect()
}

fn three(live: &Live, copies: &[Copy], counted: &[&Copy], open: &[&Copy]) -> Rule {
    let count = 1 + counted.len();
    let mut told = vec![format!("{count} of 3: {LIVE}{}", listed(counted))];
    let whole = copies.iter().filter(|copy| copy.presence == Presence::Whole);
    for copy in whole.filter(|copy| !counted.iter().any(|one| one.repository == copy.repository)) {
        let with = if copy.device == live.device { LIVE } else { "another copy" };
        told.push(format!(
            "\"{}\" lies on the volume of {with} and does not count",
            copy.repository
        ));
    }
    for copy in copies {
        match &copy.presence {
            Presence::Missing(why) | Presence::Damaged(why) => {
                told.push(format!("\"{}\": {why}", copy.repository))
            }
            Presence::Unknown(why) => {
                told.push(format!("\"{}\" could not be asked: {why}", copy.repository));
            }
            Presence::Whole => {}
        }
    }
    let standing = match count {
        // Nobody can say that these are not on the lost volume.
        3.. if live.device.is_none() && counted.iter().any(|copy| copy.device.is_some()) => {
            Standing::Unknown
        }
        3.. => Standing::Holds,
        _ if count + open.len() >= 3 => Standing::Unknown,
        _ => Standing::Fails,
    };
    rule("copies", "Three copies", standing, told.join("; "))
}

fn media(counted: &[&Copy], open: &[&Copy]) -> Rule {
    const LIVES: &str = "disk";
    let distinct = |copies: &[&Copy], declared: bool| -> BTreeSet<String> {
        let known = copies.iter().filter(|copy| declared || !copy.medium_declared);
        known.map(|copy| copy.place.medium.clone()).chain([LIVES.to_owned()]).collect()
    };
    let all = distinct(counted, true);
    let standing = if distinct(counted, false).len() >= 2 {
        Standing::Holds
    } else if all.len() >= 2 {
        Standing::Declared
    } else if open.iter().any(|copy| copy.place.medium != LIVES) {
        Standing::Unknown
    } else {
        Standing::Fails
    };
    let told: Vec<String> = all.into_iter().collect();
    rule("media", "Two media", standing, told.join(", "))
}

fn off_site(counted: &[&Copy], open: &[&Copy]) -> Rule {
    let away = counted.iter().find(|copy| copy.place.off_site == Some(true));
    let (standing, detail) = if let Some(copy) = away {
        let site = copy.place.site.as_ref().map_or(String::new(), |site| format!(" (at {site})"));
        (Standing::Declared, format!("\"{}\"{site}", copy.repository))
    } else if let Some(copy) = open.iter().find(|copy| copy.place.off_site == Some(true)) {
        (Standing::Unknown, format!("\"{}\" could not be asked", copy.repository))
    } else if let Some(copy) = counted.iter().find(|copy| copy.place.off_site.is_none()) {
        let text = format!("nobody has declared where \"{}\" lies: set off_site", copy.repository);
        (Standing::Unknown, text)
    } else {
        (Standing::Fails, String::from("every copy lies at the site of the server"))
    };
    rule("off-site", "One off-site", standing, detail)
}

fn immutable(counted: &[&Copy], open: &[&Copy], now: Timestamp) -> Rule {
    let mut best = (Standing::Fails, String::from("no copy is kept from being removed"));
    let rank = |standing: Standing| match standing {
        Standing::Holds => 3,
        Standing::Declared => 2,
        Standing::Unknown | Standing::NotRun => 1,
        Standing::Fails => 0,
    };
    let mut broken = Vec::new();
    let judged = counted.iter().map(|copy| kept(copy, now));
    let open = open
        .iter()
        .filter(|copy| copy.place.offline || copy.place.immutability != Immutability::None);
    let open =
        open.map(|copy| (Standing::Unknown, format!("\"{}\" could not be asked", copy.repository)));
    for (standing, text) in judged.chain(open) {
        if standing == Standing::Fails && !text.is_empty() {
            broken.push(text);
        } else if rank(standing) > rank(best.0) {
            best = (standing, text);
        }
    }
    // A promise that the store does not keep is told beside whatever else holds.
    broken.insert(0, best.1);
    rule("immutable", "One immutable or offline", best.0, broken.join("; "))
}

/// What keeps one copy; an empty text where nothing was promised.
fn kept(copy: &Copy, now: Timestamp) -> (Standing, String) {
    let name = &copy.repository;
    match (&copy.hold, copy.place.immutability) {
        (Ok(Some(hold)), _) if hold.until > now => {
            let weak = if hold.mode.eq_ignore_ascii_case("governance") {
                ", which whoever has the right to may lift"
            } else {
                ""
            };
            let text = format!("\"{name}\": {} until {:.0} (UTC){weak}", hold.mode, hold.until);
            return (Standing::Holds, text);
        }
        (Ok(_), Immutability::ObjectLock { .. }) => {
            let text = format!("\"{name}\" is declared to be locked, and its store keeps nothing");
            return (Standing::Fails, text);
        }
        (Err(why), Immutability::ObjectLock { .. }) => {
            return (Standing::Unknown, format!("\"{name}\" could not be asked: {why}"));
        }
        _ => {}
    }
    if copy.place.offline {
        return (Standing::Declared, format!("\"{name}\" is offline"));
    }
    match copy.place.immutability {
        Immutability::Worm => (Standing::Declared, format!("\"{name}\" is written once")),
        _ => (Standing::Fails, String::new()),
    }
}

/// Of every copy, also of those that count for none: a damaged one is an error wherever it lies.
fn errors(copies: &[Copy], open: &[&Copy], now: Timestamp, verify_every: SignedDuration) -> Rule {
    let mut told = Vec::new();
    let whole: Vec<&Copy> = copies.iter().filter(|copy| copy.presence == Presence::Whole).collect();
    let mut standing = if whole.is_empty() { Standing::NotRun } else { Standing::Holds };
    for copy in copies {
        if let Presence::Damaged(why) = &copy.presence {
            told.push(format!("\"{}\" is DAMAGED: {why}", copy.repository));
            standing = Standing::Fails;
        }
    }
    for copy in whole {
        let name = &copy.repository;
        let (now, text) = match copy.verified {
            Some((at, Verdict::Verified)) if now.duration_since(at) > verify_every => (
                Standing::NotRun,
                format!("\"{name}\" was last verified {at:.0} (UTC), too long ago"),
            ),
            Some((at, Verdict::Verified)) => {
                (Standing::Holds, format!("\"{name}\" verified {at:.0} (UTC)"))
            }
            Some((at, Verdict::Failed)) => {
                (Standing::Fails, format!("\"{name}\" FAILED {at:.0} (UTC)"))
            }
            Some((at, Verdict::CouldNotVerify)) => {
                (Standing::Unknown, format!("\"{name}\" could not be verified {at:.0} (UTC)"))
            }
            Some((_, Verdict::NotRun)) | None => {
                (Standing::NotRun, format!("\"{name}\" was never verified"))
            }
        };
        told.push(text);
        standing = worse(standing, now);
    }
    for copy in open {
        told.push(format!("\"{}\" could not be asked", copy.repository));
        standing = worse(standing, Standing::Unknown);
    }
    if told.is_empty() {
        told.push(String::from("there is no copy to verify"));
    }
    rule("errors", "No errors", standing, told.join("; "))
}

fn worse(left: Standing, right: Standing) -> Standing {
    let rank = |standing: Standing| match standing {
        Standing::Holds => 0,
        Standing::Declared => 1,
        Standing::NotRun => 2,
        Standing::Unknown => 3,
        Standing::Fails => 4,
    };
    if rank(right) > rank(left) { right } else { left }
}

fn rule(id: &'static str, title: &'static str, standing: Standing, detail: String) -> Rule {
    Rule { id, title, standing, detail }
}

fn listed(copies: &[&Copy]) -> String {
    copies.iter().map(|copy| format!(", \"{}\"", copy.repository)).collect()
}

/// What one failure takes together, largest first. An account or region is a domain of copies;
/// a volume or host may hold the live data too.
#[must_use]
pub fn shared(live: &Live, copies: &[Copy]) -> Vec<Shared> {
    let mut groups: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
    let mut add = |domain, name: Option<String>, member: &str| {
        if let Some(name) = name {
            groups.entry((domain, name)).or_default().push(member.to_owned());
        }
    };
    let volume = |device: Option<u64>| device.map(|number| format!("device {number}"));
    add("volume", volume(live.device), LIVE);
    add("host", Some(live.host.clone()), LIVE);
    for copy in copies {
        let (name, place) = (&copy.repository, &copy.place);
        add("volume", volume(copy.device), name);
        add("host", place.host.clone(), name);
        add("site", place.site.clone(), name);
        add("account", place.account.clone(), name);
        add("region", place.region.clone(), name);
    }
    let many = groups.into_iter().filter(|(_, members)| members.len() > 1);
    let mut shared: Vec<Shared> =
        many.map(|((domain, name), members)| Shared { domain, name, members }).collect();
    shared.sort_by_key(|one| std::cmp::Reverse(one.members.len()));
    shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::LockMode;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn live() -> Live {
        Live { host: String::from("db1"), device: Some(1) }
    }

    fn place(medium: &str) -> Place {
        Place {
            medium: medium.to_owned(),
            host: Some(String::from("db1")),
            site: None,
            off_site: Some(false),
            account: None,
            region: None,
            offline: false,
            immutability: Immutability::None,
        }
    }

    fn disk(repository: &str, device: u64) -> Copy {
        Copy {
            repository: repository.to_owned(),
            place: place("disk"),
            medium_declared: false,
            device: Some(device),
            presence: Presence::Whole,
            hold: Ok(None),
            verified: Some((now(), Verdict::Verified)),
        }
    }

    fn bucket(repository: &str, until: i64) -> Copy {
        let until = Timestamp::from_second(now().as_second() + until).unwrap();
        Copy {
            place: Place {
                host: Some(String::from("s3.example.net")),
                off_site: Some(true),
                account: Some(String::from("backups")),
                immutability: Immutability::ObjectLock { mode: LockMode::Compliance, days: 30 },
                ..place("object-storage")
            },
            device: None,
            hold: Ok(Some(Hold { mode: String::from("COMPLIANCE"), until })),
            ..disk(repository, 0)
        }
    }

    const MONTH: SignedDuration = SignedDuration::from_hours(24 * 30);

    fn standings(copies: &[Copy]) -> Vec<Standing> {
        judge(&live(), copies, now(), MONTH).iter().map(|rule| rule.standing).collect()
    }

    #[test]
    fn damage_is_an_error_and_an_old_verification_is_none() {
        let damaged = |copy: Copy| Copy { presence: Presence::Damaged("short".into()), ..copy };
        let copies = [disk("near", 2), damaged(bucket("far", 3600))];
        assert_eq!(standings(&copies), [Fails, Fails, Fails, Fails, Fails]);
        assert!(judge(&live(), &copies, now(), MONTH)[4].detail.contains("\"far\" is DAMAGED"));
        // On the volume of the live data, where it counts for no copy.
        let bad = Copy { verified: Some((now(), Verdict::Failed)), ..disk("beside", 1) };
        assert_eq!(standings(&[disk("near", 2), bad])[4], Fails);
        let old = Some((now() - MONTH - SignedDuration::from_secs(1), Verdict::Verified));
        assert_eq!(standings(&[Copy { verified: old, ..disk("near", 2) }])[4], NotRun);
        let due = Some((now() - MONTH, Verdict::Verified));
        assert_eq!(standings(&[Copy { verified: due, ..disk("near", 2) }])[4], Holds);
    }

    use Standing::{Declared, Fails, Holds, NotRun, Unknown};

    #[test]
    fn all_five_parts_hold() {
        let copies = [disk("near", 2), bucket("far", 3600)];
        assert_eq!(standings(&copies), [Holds, Holds, Declared, Holds, Holds]);
        assert!(
            shared(&live(), &copies)
                .iter()
                .any(|one| one.domain == "host" && one.members == [LIVE, "near"])
        );
    }

    #[test]
    fn a_copy_on_the_volume_of_the_live_data_is_none() {
        let copies = [disk("near", 1), bucket("far", 3600)];
        assert_eq!(standings(&copies)[0], Fails);
        let told = &judge(&live(), &copies, now(), MONTH)[0].detail;
        assert!(told.contains("volume of the live data"), "{told}");
        let twice = [disk("near", 2), disk("beside", 2)];
        assert_eq!(standings(&twice), [Fails, Fails, Fails, Fails, Holds]);
        let volume = shared(&live(), &twice).into_iter().find(|one| one.domain == "volume");
        assert_eq!(volume.unwrap().members, ["near", "beside"]);
    }

    #[test]
    fn what_is_declared_and_not_kept_is_told() {
        for hold in [Ok(None), bucket("x", -1).hold] {
            let copies = [disk("near", 2), Copy { hold, ..bucket("far", 0) }];
            let rule = judge(&live(), &copies, now(), MONTH).remove(3);
            assert_eq!(rule.standing, Fails);
            assert!(rule.detail.contains("keeps nothing"), "{}", rule.detail);
        }
        let asked = Copy { hold: Err(String::from("denied")), ..bucket("far", 0) };
        assert_eq!(standings(&[disk("near", 2), asked])[3], Unknown);
        let mut tape = disk("tape", 3);
        tape.place.offline = true;
        tape.place.medium = String::from("tape");
        tape.medium_declared = true;
        assert_eq!(standings(&[disk("near", 2), tape]), [Holds, Declared, Fails, Declared, Holds]);
    }

    #[test]
    fn what_could_not_be_asked_or_was_not_run_is_no_pass() {
        let unknown = |copy: Copy| Copy { presence: Presence::Unknown("down".into()), ..copy };
        let copies = [disk("near", 2), unknown(bucket("far", 3600))];
        assert_eq!(standings(&copies), [Unknown; 5]);
        let missing = |copy: Copy| Copy { presence: Presence::Missing("no".into()), ..copy };
        let copies = [disk("near", 2), missing(bucket("far", 3600))];
        assert_eq!(standings(&copies), [Fails, Fails, Fails, Fails, Holds]);
        let of = |verified| standings(&[Copy { verified, ..disk("near", 2) }])[4];
        assert_eq!(of(None), NotRun);
        assert_eq!(of(Some((now(), Verdict::Failed))), Fails);
        assert_eq!(of(Some((now(), Verdict::CouldNotVerify))), Unknown);
        assert_eq!(standings(&[])[4], NotRun);
    }

    prop_compose! {
        fn any_copy()(
            device in prop::option::of(0_u64..4),
            presence in 0..4,
            tape: bool,
            off_site in prop::option::of(any::<bool>()),
            offline: bool,
            locked: bool,
            hold in prop::option::of(-2_i64..3),
            verified in prop::option::of(0_usize..4),
        ) -> Copy {
            let until = |hours| Timestamp::from_second(now().as_second() + hours * 3600).unwrap();
            Copy {
                repository: String::new(),
                place: Place {
                    off_site,
                    offline,
                    immutability: if locked {
                        Immutability::ObjectLock { mode: LockMode::Compliance, days: 1 }
                    } else {
                        Immutability::None
                    },
                    ..place(if tape { "tape" } else { "disk" })
                },
                medium_declared: tape,
                device,
                presence: match presence {
                    0 => Presence::Whole,
                    1 => Presence::Missing(String::new()),
                    2 => Presence::Damaged(String::new()),
                    _ => Presence::Unknown(String::new()),
                },
                hold: Ok(hold.map(|hours| Hold { mode: String::from("COMPLIANCE"), until: until(hours) })),
                verified: verified.map(|n| (now(), [
                    Verdict::Verified, Verdict::Failed, Verdict::NotRun, Verdict::CouldNotVerify,
                ][n])),
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_unknown_ever_passes(mut copies in prop::collection::vec(any_copy(), 0..5)) {
            for (i, copy) in copies.iter_mut().enumerate() {
                copy.repository = format!("r{i}");
            }
            let before = standings(&copies);
            // A pass rests on copies that were seen: without the others it is the same pass.
            let whole = |copy: &&Copy| copy.presence == Presence::Whole;
            let seen: Vec<Copy> = copies.iter().filter(whole).cloned().collect();
            for (with, without) in before.iter().zip(standings(&seen)) {
                prop_assert!(!with.is_good() || *with == without);
            }
            if before[4].is_good() {
                prop_assert!(copies.iter().all(|copy| !matches!(copy.presence, Presence::Unknown(_))));
            }
            // One more whole copy on a volume of its own never makes the first part worse.
            let mut more = copies.clone();
            more.push(disk("more", 99));
            prop_assert!(!before[0].is_good() || standings(&more)[0].is_good());
        }
    }
}
