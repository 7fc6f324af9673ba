//! Authentication tags and digests. Owns their framing: parts cannot be moved from one to the
//! next without changing the tag, and a tag made for one purpose is worth nothing for another.

use super::keyring::DataKey;
use super::sha::{self, Sha256};
use ring::hmac;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Bytes of a tag or digest.
pub const TAG_LEN: usize = 32;

/// What vouches for an object: a data key, or, in a repository without encryption, a plain digest
/// that tells damage but not forgery.
#[derive(Debug, Clone)]
pub enum Protection {
    Digest,
    Key(Arc<DataKey>),
}

impl Protection {
    /// The tag over `parts` for `purpose`: HMAC-SHA256 with a data key, SHA-256 without.
    #[must_use]
    pub fn tag(&self, purpose: &str, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        match self {
            Self::Digest => digest(purpose, parts),
            Self::Key(key) => key.tag(purpose, parts),
        }
    }

    /// Whether `tag` is the tag of `parts`, compared in constant time.
    #[must_use]
    pub fn verify(&self, purpose: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
        same(&self.tag(purpose, parts), tag)
    }

    /// The data key, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<DataKey>> {
        match self {
            Self::Digest => None,
            Self::Key(key) => Some(key),
        }
    }

    /// The data key's id, where there is one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key().map(|key| key.id.as_str())
    }
}

/// The unkeyed digest in place of a tag, with the same framing.
#[must_use]
pub fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; TAG_LEN] {
    let mut sha = Sha256::new();
    frame(purpose, parts, |bytes| sha.update(bytes));
    sha.finalize()
}

/// Compares two tags in time that does not depend on where they differ.
#[must_use]
pub fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// HMAC-SHA256 of `parts` under `key`, framed.
#[must_use]
pub fn keyed(key: &[u8; TAG_LEN], purpose: &str, parts: &[&[u8]]) -> [u8; TAG_LEN] {
    let mut mac = mac(key);
    frame(purpose, parts, |bytes| mac.update(bytes));
    sha::array(mac.sign().as_ref())
}

/// HMAC-SHA256 of one message, unframed: to derive one key from another.
pub(super) fn derive(key: &[u8], message: &[u8]) -> [u8; TAG_LEN] {
    let mut mac = mac(key);
    mac.update(message);
    sha::array(mac.sign().as_ref())
}

fn mac(key: &[u8]) -> hmac::Context {
    hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key))
}

/// Purpose and each part after its length, and the count of parts first.
fn frame(purpose: &str, parts: &[&[u8]], mut feed: impl FnMut(&[u8])) {
    feed(b"lifeboat/1\0");
    for part in [purpose.as_bytes(), &(parts.len() as u64).to_be_bytes()] {
        feed(&(part.len() as u64).to_be_bytes());
        feed(part);
    }
    for part in parts {
        feed(&(part.len() as u64).to_be_bytes());
        feed(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_hmac_sha256() {
        // RFC 4231, test cases 2 and 6 (a key longer than a block).
        let hex = |bytes: [u8; 32]| data_encoding::HEXLOWER.encode(&bytes);
        assert_eq!(
            hex(derive(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(derive(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn parts_and_purposes_do_not_run_together() {
        let key = [1; 32];
        let tags = [
            keyed(&key, "wal", &[b"ab", b"c"]),
            keyed(&key, "wal", &[b"a", b"bc"]),
            keyed(&key, "wal", &[b"abc"]),
            keyed(&key, "wal", &[b"abc", b""]),
            keyed(&key, "set", &[b"abc"]),
            keyed(&[2; 32], "wal", &[b"abc"]),
            digest("wal", &[b"abc"]),
        ];
        for (i, tag) in tags.iter().enumerate() {
            assert!(tags.iter().skip(i + 1).all(|other| !same(tag, other)), "tag {i}");
        }
        assert!(same(&tags[0], &keyed(&key, "wal", &[b"ab", b"c"])));
        assert!(!same(&tags[0], &tags[0][..31]), "a shortened tag is not the tag");
    }
}
