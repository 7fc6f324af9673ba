//! A first report that is wrong, in a drill without a person: it is taken at its word, as somebody
//! would who has nothing else, and held against what the engine finds. Owns the rules, on values,
//! and the check that tells what came of it; never looks at the truth.

use crate::engine::incident::facts::{Check, ServerProbe, Suspect, Verdict};
use crate::engine::moments::{self, Typed};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A report may be so far off and mean the same deed.
const NEAR: SignedDuration = SignedDuration::from_mins(30);

/// The table that a report names as `schema.table`.
#[must_use]
pub fn table_in(report: &str) -> Option<&str> {
    let is_name = |part: &str| {
        part.len() > 1
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let words = report.split(|c: char| c.is_whitespace() || ",;:!?\"()".contains(c));
    words.map(|word| word.trim_end_matches('.')).find(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 2 && parts.iter().all(|part| is_name(part))
    })
}

/// The time that a report names, read as the screens read it where no zone is typed. Of two
/// readings it is the one that is past.
#[must_use]
pub fn time_in(report: &str, now: Timestamp) -> Option<Typed> {
    let words = report.split(|c: char| c.is_whitespace() || ",;!?\"()".contains(c));
    words.filter(|word| word.contains(':')).find_map(|word| {
        match moments::parse(word, now, &TimeZone::UTC) {
            Ok(typed) => Some(typed),
            Err(error) => error.readings().iter().rfind(|typed| typed.at <= now).cloned(),
        }
    })
}

/// Whether the reported table is what was damaged: by the server's own answers, the cluster's
/// probes and the first suspect of the archive.
#[must_use]
pub fn of_table(
    table: &str,
    server: Option<&ServerProbe>,
    probes: &[Check],
    suspects: &[Suspect],
) -> Check {
    let bare = table.rsplit('.').next().unwrap_or(table);
    let concerns = |one: &Suspect| one.relation.split(" in ").next() == Some(table);
    let mut found = Vec::new();
    if let Some(probe) = probes.iter().find(|probe| probe.title.ends_with(bare)) {
        found.push(format!("the probe \"{}\" is {}", probe.title, probe.verdict.word()));
    }
    let verdict = match (server, suspects.first()) {
        (Some(server), _) if !server.reachable => {
            found.push(String::from("the server does not answer at all"));
            Verdict::Verified
        }
        (_, Some(first)) if concerns(first) => {
            found.push(format!("the first suspect is of it: {}", first.what));
            Verdict::Failed
        }
        (_, Some(first)) => {
            found.push(format!("the first suspect is another's: {}", first.what));
            Verdict::Verified
        }
        (_, None) => Verdict::CouldNotVerify,
    };
    check("wrong-report", &format!("{table} is what was damaged"), &found, verdict)
}

/// Whether the reported time is one to go back to: by the proof of that point, which refused it
/// for the reason in `refused`, and by when the first suspect was committed.
#[must_use]
pub fn of_time(typed: &Typed, refused: Option<&str>, suspects: &[Suspect]) -> Check {
    let apart = suspects.first().map(|first| (first, first.commit.at.duration_since(typed.at)));
    let mut found = Vec::new();
    found.extend(refused.map(|why| format!("refused: {}", why.trim_end_matches('.'))));
    if let Some((first, apart)) = apart.filter(|(_, apart)| apart.abs() > NEAR) {
        let (minutes, side) =
            (apart.abs().as_mins(), if apart.is_positive() { "later" } else { "earlier" });
        found.push(format!(
            "the first suspect was committed {} h {} min {side}: {}",
            minutes / 60,
            minutes % 60,
            first.what
        ));
    }
    let verdict = match (found.is_empty(), apart) {
        (false, _) => Verdict::Verified,
        (true, Some(_)) => Verdict::Failed,
        (true, None) => Verdict::CouldNotVerify,
    };
    check("time-zone", &format!("it broke at {}", typed.echo()), &found, verdict)
}

/// A report in which nothing was named that could be taken at its word.
#[must_use]
pub fn unread(inject: &str, report: &str) -> Check {
    check(inject, report, &[], Verdict::CouldNotVerify)
}

fn check(inject: &str, believed: &str, found: &[String], verdict: Verdict) -> Check {
    let detail = match verdict {
        Verdict::Verified => {
            "It was taken at its word, contradicted by what was found, and dropped."
        }
        Verdict::Failed => "Nothing that was found contradicts it.",
        _ => "Nothing was found that it could be held against.",
    };
    Check {
        id: format!("drill-report:{inject}"),
        title: String::from("The wrong report was put to the test, and found to be wrong"),
        verdict,
        expected: Some(format!("a contradiction of: {believed}")),
        found: (!found.is_empty()).then(|| found.join("; ")),
        detail: detail.to_owned(),
        duration_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::auto::first_report;
    use crate::engine::drill::{inject, scenario};
    use crate::engine::incident::facts::{Commit, Target, TargetPoint};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn suspect(relation: &str, when: &str) -> Suspect {
        let target = Target { point: TargetPoint::EndOfArchive, inclusive: false, timeline: None };
        let lsn = "0/3000000".parse().unwrap();
        let commit = Commit {
            at: at(when),
            xid: 7,
            first_lsn: lsn,
            lsn,
            end_lsn: lsn,
            timeline: 1,
            inserts: 0,
            updates: 0,
            deletes: 9,
            stands_for: 1,
        };
        let what = format!("deleted 9 rows of {relation}");
        Suspect { commit, relation: relation.to_owned(), what, score: 1.0, target }
    }

    fn server(reachable: bool) -> ServerProbe {
        ServerProbe {
            at: at("2027-01-15T12:00:00Z"),
            reachable,
            version: None,
            now: None,
            current_lsn: None,
            sessions: None,
            identity: None,
            error: None,
        }
    }

    #[test]
    fn what_the_injects_say_is_read_as_people_read_it() {
        let struck = at("2027-01-15T12:34:56Z");
        let report = |name: &str| {
            let scenario = scenario::load("corruption").unwrap();
            first_report(&scenario, &[inject::load(name).unwrap()], struck)
        };
        assert_eq!(table_in(&report("wrong-report")), Some("public.customers"));
        assert_eq!(table_in(&report("time-zone")), None);
        assert_eq!(table_in("Orders are gone. See e.g. 1.5 or Mr.Smith"), None);
        let typed = time_in(&report("time-zone"), struck).unwrap();
        assert_eq!(typed.at, at("2027-01-15T09:34:00Z"), "three hours off");
        // Right after midnight the local day is the one before.
        let night = at("2027-01-15T01:30:00Z");
        let yesterday = time_in("It broke at 22:30, says somebody", night).unwrap();
        assert_eq!(yesterday.at, at("2027-01-14T22:30:00Z"));
        assert!(time_in(&report("wrong-report"), struck).is_none());
    }

    #[test]
    fn a_table_that_others_were_struck_instead_of_is_dropped() {
        let up = server(true);
        let of = |suspects: &[Suspect]| of_table("public.customers", Some(&up), &[], suspects);
        let orders = suspect("public.orders in shop", "2027-01-15T12:00:00Z");
        let found = of(&[orders.clone(), suspect("public.customers", "2027-01-15T11:00:00Z")]);
        assert_eq!(found.verdict, Verdict::Verified);
        assert!(found.found.unwrap().contains("deleted 9 rows of public.orders"));
        let own = of(&[suspect("public.customers in shop", "2027-01-15T12:00:00Z"), orders]);
        assert_eq!(own.verdict, Verdict::Failed);
        assert_eq!(of(&[]).verdict, Verdict::CouldNotVerify);
        let gone = of_table("public.customers", Some(&server(false)), &[], &[]);
        assert_eq!(gone.verdict, Verdict::Verified);
    }

    #[test]
    fn a_time_that_is_refused_or_far_from_every_deed_is_dropped() {
        let typed = time_in("It broke at 09:00", at("2027-01-15T12:05:00Z")).unwrap();
        let late = suspect("public.orders", "2027-01-15T12:00:30Z");
        let found = of_time(&typed, None, std::slice::from_ref(&late));
        assert_eq!(found.verdict, Verdict::Verified);
        assert!(found.found.unwrap().contains("3 h 0 min later"));
        assert_eq!(of_time(&typed, Some("no base."), &[]).verdict, Verdict::Verified);
        let near = suspect("public.orders", "2027-01-15T09:01:00Z");
        assert_eq!(of_time(&typed, None, &[near]).verdict, Verdict::Failed);
        assert_eq!(of_time(&typed, None, &[]).verdict, Verdict::CouldNotVerify);
    }
}
