//! SHA-256 for what is large. ring's, because its code is as fast in every build, and twice as
//! fast as the generic one on processors without instructions for it. Owns nothing but the form.

use ring::digest::{Context, SHA256, digest};

/// Bytes of a digest.
const LEN: usize = 32;

/// A digest in the making.
#[derive(Clone)]
pub struct Sha256(Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    #[must_use]
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    #[must_use]
    pub fn finalize(self) -> [u8; LEN] {
        array(self.0.finish().as_ref())
    }

    /// Of all bytes at once.
    #[must_use]
    pub fn digest(bytes: impl AsRef<[u8]>) -> [u8; LEN] {
        array(digest(&SHA256, bytes.as_ref()).as_ref())
    }
}

/// What SHA-256 gives is always so long.
pub(super) fn array(bytes: &[u8]) -> [u8; LEN] {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256() {
        // FIPS 180-4's own example.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex = |bytes: [u8; LEN]| data_encoding::HEXLOWER.encode(&bytes);
        assert_eq!(hex(Sha256::digest(b"abc")), expected);
        let mut sha = Sha256::new();
        sha.update(b"a");
        sha.update("bc");
        assert_eq!(hex(sha.finalize()), expected);
    }
}
