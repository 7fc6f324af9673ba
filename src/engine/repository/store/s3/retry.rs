//! What an error of S3 means, and whether to try again. Owns the one table from codes to faults,
//! and the waiting between tries; never does the request itself.

use super::super::StoreFault;
use super::dispatch::{Heard, Refusal};
use super::transport::Trouble;
use std::time::Duration;

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    Never,
    Soon,
    /// The server asks for less.
    Slowly,
    /// With fresh access keys.
    Renewed,
    /// Without the condition, which this server does not know.
    Unconditional,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub fault: StoreFault,
    pub again: Again,
    /// As a clause: "the server said SlowDown (503)".
    pub what: String,
    /// S3's own word, where it gave one.
    pub code: String,
}

impl Failure {
    pub fn new(fault: StoreFault, again: Again, what: impl Into<String>) -> Self {
        Self { fault, again, what: what.into(), code: String::new() }
    }

    pub fn of(heard: &Heard) -> Self {
        match heard {
            Heard::Refusal(refusal) => Self::refused(refusal),
            Heard::Trouble(Trouble::TimedOut(what)) => {
                Self::new(StoreFault::TimedOut, Again::Soon, what.clone())
            }
            Heard::Trouble(Trouble::Broken(what)) => {
                Self::new(StoreFault::Unavailable, Again::Soon, what.clone())
            }
            Heard::Trouble(Trouble::Untrusted(what)) => {
                let what = format!("the server could not prove who it is: {what}");
                Self::new(StoreFault::Denied, Again::Never, what)
            }
        }
    }

    /// Whether the request may have taken effect although no answer says so.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self.fault, StoreFault::TimedOut | StoreFault::Unavailable)
    }

    fn refused(refusal: &Refusal) -> Self {
        let (fault, again) = judge(refusal);
        let mut what = format!("the server said {}", refusal.status);
        for word in [&refusal.code, &refusal.message] {
            if !word.is_empty() {
                what = format!("{what} {word}");
            }
        }
        if let (301 | 307 | 308 | 400, Some(region)) = (refusal.status, &refusal.region) {
            what = format!("{what}; the bucket is in the region {region}");
        }
        Self { fault, again, what, code: refusal.code.clone() }
    }
}

fn judge(refusal: &Refusal) -> (StoreFault, Again) {
    use Again::{Never, Renewed, Slowly, Soon, Unconditional};
    use StoreFault::{Denied, Exists, NoSpace, NotFound, Throttled, TimedOut, Unavailable};
    match refusal.code.as_str() {
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "ServiceUnavailable"
        | "ServerBusy" => {
            return (Throttled, Slowly);
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => {
            return (Denied, Renewed);
        }
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "AccountProblem"
        | "RequestTimeTooSkewed"
        | "InvalidSecurity"
        | "AuthorizationHeaderMalformed" => {
            return (Denied, Never);
        }
        "NoSuchKey" => return (NotFound, Never),
        "NoSuchBucket" | "NoSuchUpload" => return (Unavailable, Never),
        "PreconditionFailed" => return (Exists, Never),
        // Somebody else is writing the same name at this moment: who, is to be seen next time.
        "ConditionalRequestConflict" | "OperationAborted" => return (Unavailable, Soon),
        "RequestTimeout" => return (TimedOut, Soon),
        // Damaged on the way.
        "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" | "InternalError" => {
            return (Unavailable, Soon);
        }
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" | "EntityTooLarge" => {
            return (NoSpace, Never);
        }
        "NotImplemented" => return (Unavailable, Unconditional),
        _ => {}
    }
    match refusal.status {
        // A HEAD's refusal has no word for keys that have expired.
        400 if refusal.code.is_empty() => (Denied, Renewed),
        401 | 403 => (Denied, Never),
        // A HEAD has no body to name what is missing; else a 404 without a word may be anybody's.
        404 if refusal.code.is_empty() => (NotFound, Never),
        408 => (TimedOut, Soon),
        412 => (Exists, Never),
        429 | 503 => (Throttled, Slowly),
        501 => (Unavailable, Unconditional),
        507 => (NoSpace, Never),
        500..=599 => (Unavailable, Soon),
        _ => (Unavailable, Never),
    }
}

/// The waiting of one operation.
#[derive(Debug)]
pub struct Tries {
    left: u32,
    most: u32,
    wait: Duration,
    renewed: bool,
}

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Tries {
    pub fn new(most: u32) -> Self {
        Self { left: most, most, wait: FIRST_WAIT, renewed: false }
    }

    /// Something was gained: as many tries again, and once more with fresh keys.
    pub fn refresh(&mut self) {
        (self.left, self.wait, self.renewed) = (self.most, FIRST_WAIT, false);
    }

    /// Waits before the next try. Each waits by chance, or all would come back together.
    ///
    /// # Errors
    /// With the failure itself, where no other try may help.
    pub async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        let wait = self.longest_wait(failure)?;
        tokio::time::sleep(wait.mul_f64(0.5 + chance() / 2.0)).await;
        Ok(())
    }

    /// The bound of the next wait; at least half of it is waited.
    fn longest_wait(&mut self, failure: Failure) -> Result<Duration, Failure> {
        self.left = self.left.saturating_sub(1);
        let wait = match failure.again {
            Again::Never => return Err(failure),
            Again::Renewed if self.renewed => return Err(failure),
            _ if self.left == 0 => {
                let what = format!("{}; tried {} times", failure.what, self.most);
                return Err(Failure { what, ..failure });
            }
            Again::Renewed => {
                self.renewed = true;
                Duration::ZERO
            }
            Again::Unconditional => Duration::ZERO,
            Again::Soon => self.wait,
            Again::Slowly => self.wait.saturating_mul(2),
        };
        self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT);
        Ok(wait)
    }
}

/// Between 0 and 1. Without a source of chance all wait the same, which is no error.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: &str) -> (StoreFault, Again) {
        judge(&Refusal { status, code: code.to_owned(), ..Refusal::default() })
    }

    #[test]
    fn kinds_of_failure_are_told_apart() {
        for (status, code, fault, again) in [
            (503, "SlowDown", StoreFault::Throttled, Again::Slowly),
            (503, "", StoreFault::Throttled, Again::Slowly),
            (429, "", StoreFault::Throttled, Again::Slowly),
            (403, "SignatureDoesNotMatch", StoreFault::Denied, Again::Never),
            (403, "", StoreFault::Denied, Again::Never),
            (400, "", StoreFault::Denied, Again::Renewed),
            (400, "ExpiredToken", StoreFault::Denied, Again::Renewed),
            (404, "NoSuchKey", StoreFault::NotFound, Again::Never),
            (404, "NoSuchBucket", StoreFault::Unavailable, Again::Never),
            (404, "SomethingElse", StoreFault::Unavailable, Again::Never),
            (412, "PreconditionFailed", StoreFault::Exists, Again::Never),
            (500, "InternalError", StoreFault::Unavailable, Again::Soon),
            (502, "", StoreFault::Unavailable, Again::Soon),
            (507, "", StoreFault::NoSpace, Again::Never),
            (400, "RequestTimeout", StoreFault::TimedOut, Again::Soon),
            (501, "NotImplemented", StoreFault::Unavailable, Again::Unconditional),
        ] {
            assert_eq!(judged(status, code), (fault, again), "{status} {code}");
        }
    }

    #[test]
    fn tries_end_and_waits_grow_and_are_bounded() {
        let busy = Failure::new(StoreFault::Throttled, Again::Slowly, "busy");
        let (mut tries, mut waits) = (Tries::new(12), Vec::new());
        let last = loop {
            match tries.longest_wait(busy.clone()) {
                Ok(wait) => waits.push(wait),
                Err(last) => break last,
            }
        };
        assert_eq!(waits.len(), 11);
        assert!(last.what.ends_with("tried 12 times"), "{}", last.what);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!((waits[0], waits[10]), (FIRST_WAIT * 2, LONGEST_WAIT * 2));
        let wrong = Failure::new(StoreFault::Denied, Again::Never, "no");
        assert_eq!(Tries::new(5).longest_wait(wrong.clone()), Err(wrong));
        let expired = Failure::new(StoreFault::Denied, Again::Renewed, "expired");
        let mut tries = Tries::new(5);
        assert_eq!(tries.longest_wait(expired.clone()), Ok(Duration::ZERO));
        assert_eq!(tries.longest_wait(expired.clone()), Err(expired.clone()));
        // A long reading may outlive several sessions.
        tries.refresh();
        assert_eq!(tries.longest_wait(expired), Ok(Duration::ZERO));
    }
}
