//! A drill as JUnit's XML, for whoever runs it from a build server. Owns the form alone.

use super::outcome::Outcome;
use crate::engine::incident::facts::Verdict;
use std::fmt::Write;

/// The name of the first case.
const OUTCOME: &str = "The drill's outcome";

/// One suite with a case for the outcome and one for each check. What could not be verified is an
/// error, and what was not run is skipped: neither reads as passed.
#[must_use]
pub fn xml(outcome: &Outcome) -> String {
    let mut cases = String::new();
    let class = format!("lifeboat.drill.{}", outcome.scenario);
    let mut tally = Tally::default();
    let verdict = [Verdict::Verified, Verdict::Failed]
        .into_iter()
        .find(|verdict| verdict.word() == outcome.outcome)
        .unwrap_or(Verdict::CouldNotVerify);
    let reasons = outcome.reasons.join("\n");
    tally.case(&mut cases, &class, OUTCOME, outcome.seconds, verdict, &reasons);
    for check in outcome.checks.iter().chain(&outcome.teardown) {
        let seconds = std::time::Duration::from_millis(check.duration_ms).as_secs_f64();
        let mut text = check.detail.clone();
        for (word, value) in [("expected", &check.expected), ("found", &check.found)] {
            if let Some(value) = value {
                text = format!("{text}\n{word}: {value}");
            }
        }
        tally.case(&mut cases, &class, &check.title, seconds, check.verdict, text.trim());
    }
    suite(&class, &tally, outcome.seconds, &cases)
}

/// The same for a drill that has no outcome: what is in the file of an earlier one must not be read as
/// this one's.
#[must_use]
pub fn without_outcome(scenario: &str, why: &str) -> String {
    let mut cases = String::new();
    let class = format!("lifeboat.drill.{scenario}");
    let mut tally = Tally::default();
    tally.case(&mut cases, &class, OUTCOME, 0.0, Verdict::CouldNotVerify, why);
    suite(&class, &tally, 0.0, &cases)
}

fn suite(class: &str, tally: &Tally, seconds: f64, cases: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">\n\
         {cases}</testsuite>\n",
        text(class),
        tally.tests,
        tally.failures,
        tally.errors,
        tally.skipped,
        seconds,
    )
}

#[derive(Debug, Default)]
struct Tally {
    tests: u32,
    failures: u32,
    errors: u32,
    skipped: u32,
}

impl Tally {
    fn case(
        &mut self,
        out: &mut String,
        class: &str,
        name: &str,
        seconds: f64,
        verdict: Verdict,
        why: &str,
    ) {
        self.tests += 1;
        let (count, word) = match verdict {
            Verdict::Verified => {
                let _ = writeln!(
                    out,
                    "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"/>",
                    text(class),
                    text(name)
                );
                return;
            }
            Verdict::Failed => (&mut self.failures, "failure"),
            Verdict::CouldNotVerify => (&mut self.errors, "error"),
            Verdict::NotRun => (&mut self.skipped, "skipped"),
        };
        *count += 1;
        let _ = writeln!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">\
             <{word} message=\"{}\">{}</{word}></testcase>",
            text(class),
            text(name),
            verdict.word(),
            text(why)
        );
    }
}

/// As XML takes it; what it has no form for becomes a question mark.
fn text(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::record::tests::outcome;
    use crate::engine::incident::facts::Check;

    #[test]
    fn only_what_is_verified_reads_as_passed() {
        let mut held = outcome("VERIFIED");
        for (verdict, title) in [
            (Verdict::Verified, "a & b"),
            (Verdict::Failed, "rows <5"),
            (Verdict::CouldNotVerify, "c"),
            (Verdict::NotRun, "d"),
        ] {
            let mut check = held.checks[0].clone();
            (check.verdict, check.title) = (verdict, title.to_owned());
            held.checks.push(check);
        }
        let xml = xml(&held);
        let counts = "tests=\"6\" failures=\"1\" errors=\"1\" skipped=\"1\"";
        assert!(xml.contains(counts), "{xml}");
        assert!(xml.contains("name=\"a &amp; b\"") && xml.contains("rows &lt;5"), "{xml}");
        let passed = xml.lines().filter(|line| line.trim_end().ends_with("/>")).count();
        assert_eq!(passed, 3);
    }

    /// Whatever ended it, what it leaves in the file has not passed.
    #[test]
    fn a_drill_without_an_outcome_is_an_error_and_what_is_left_behind_counts() {
        let file = without_outcome("table-loss", "There was no <room>.");
        assert!(file.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{file}");
        assert!(file.contains("There was no &lt;room&gt;."), "{file}");
        let aborted = xml(&outcome(crate::engine::drill::outcome::ABORTED));
        assert!(aborted.contains("failures=\"0\" errors=\"1\""), "{aborted}");
        let mut left = outcome("VERIFIED");
        left.torn_down(vec![Check { verdict: Verdict::Failed, ..left.checks[0].clone() }]);
        let left = xml(&left);
        assert!(left.contains("tests=\"3\" failures=\"2\""), "{left}");
    }
}
