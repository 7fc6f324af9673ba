//! A check while it is made: its name, its clock, its verdict. Owns no judgement.

use crate::engine::incident::facts::{Check, Verdict};
use std::time::Instant;

/// A check that has begun.
#[derive(Debug)]
pub struct Begun {
    id: String,
    title: String,
    started: Instant,
    expected: Option<String>,
    found: Option<String>,
}

/// Begins a check.
pub fn begin(id: impl Into<String>, title: impl Into<String>) -> Begun {
    Begun {
        id: id.into(),
        title: title.into(),
        started: Instant::now(),
        expected: None,
        found: None,
    }
}

impl Begun {
    #[must_use]
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    #[must_use]
    pub fn found(mut self, text: impl Into<String>) -> Self {
        self.found = Some(text.into());
        self
    }

    pub fn verified(self, detail: impl Into<String>) -> Check {
        self.end(Verdict::Verified, detail)
    }

    pub fn failed(self, detail: impl Into<String>) -> Check {
        self.end(Verdict::Failed, detail)
    }

    pub fn not_run(self, detail: impl Into<String>) -> Check {
        self.end(Verdict::NotRun, detail)
    }

    pub fn could_not_verify(self, detail: impl Into<String>) -> Check {
        self.end(Verdict::CouldNotVerify, detail)
    }

    pub fn end(self, verdict: Verdict, detail: impl Into<String>) -> Check {
        let duration = self.started.elapsed().as_millis();
        Check {
            id: self.id,
            title: self.title,
            verdict,
            expected: self.expected,
            found: self.found,
            detail: detail.into(),
            duration_ms: u64::try_from(duration).unwrap_or(u64::MAX),
        }
    }
}
