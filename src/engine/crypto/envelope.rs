//! OpenSSL's `enc` envelope: `Salted__`, eight bytes of salt, then AES-256-CBC with PKCS#7
//! padding, key and IV by PBKDF2-HMAC-SHA256. Owns the form, so that
//! `openssl enc -d -aes-256-cbc -pbkdf2 -pass file:KEY` opens everything that is written here.
//! Knows nothing of tags: it cannot tell whether what it opens is what was written.

use crate::engine::explain::{Explain, Explanation, Kind};
use aes::Aes256;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use std::num::NonZeroU32;
use zeroize::{Zeroize, Zeroizing};

/// What every envelope begins with.
pub const MAGIC: &[u8; 8] = b"Salted__";
/// Bytes before the ciphertext: the magic and the salt.
pub const HEADER_LEN: usize = 16;
/// Bytes of salt.
pub const SALT_LEN: usize = 8;
/// Bytes of a cipher block. The plaintext is padded to the next multiple, never to the same.
pub const BLOCK_LEN: usize = 16;
/// What OpenSSL takes where `-iter` is not given.
pub const ITERATIONS: u32 = ROUNDS.get();
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(9_999);

/// Plaintext bytes that are enciphered or deciphered between two looks at the output buffer.
const CHUNK: usize = 16 * 1024;

/// Why something could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("it does not begin with OpenSSL's \"Salted__\"")]
    NotAnEnvelope,
    #[error("it is cut short")]
    Truncated,
    #[error("the key does not fit, or the content is damaged")]
    BadPadding,
}

impl Explain for EnvelopeError {
    fn explanation(&self) -> Explanation {
        Explanation::new(
            Kind::Integrity,
            format!("The encrypted content could not be opened: {self}."),
            "Nothing was changed.",
            "Check the key, and take another copy of the object.",
        )
    }
}

/// The length of the whole envelope, header and padding included, for a plaintext of `len` bytes.
#[must_use]
pub fn sealed_len(len: u64) -> u64 {
    let block = BLOCK_LEN as u64;
    (len / block).saturating_add(1).saturating_mul(block).saturating_add(HEADER_LEN as u64)
}

/// The envelope's first bytes.
#[must_use]
pub fn header(salt: &[u8; SALT_LEN]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(salt);
    header
}

/// The salt of an envelope, by its first bytes.
///
/// # Errors
/// Where these are not an envelope's.
pub fn salt_of(bytes: &[u8]) -> Result<[u8; SALT_LEN], EnvelopeError> {
    let header = bytes.first_chunk::<HEADER_LEN>().ok_or(EnvelopeError::Truncated)?;
    let (magic, salt) = header.split_at(8);
    if magic != MAGIC {
        return Err(EnvelopeError::NotAnEnvelope);
    }
    salt.try_into().map_err(|_| EnvelopeError::Truncated)
}

/// Key and IV of one envelope. Overwritten when dropped, never printed.
#[derive(Clone)]
pub struct StreamKey {
    key: Zeroizing<[u8; 32]>,
    iv: Zeroizing<[u8; BLOCK_LEN]>,
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamKey(..)")
    }
}

/// PBKDF2-HMAC-SHA256 with [`ITERATIONS`]. ring's, because it is the same machine code in every
/// build: what is generic would be slow wherever this crate is not optimised.
pub(super) fn stretch(passphrase: &[u8], salt: &[u8; SALT_LEN], out: &mut [u8]) {
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, passphrase, out);
}

impl StreamKey {
    /// As OpenSSL derives them. Takes some milliseconds: once an object, not once a range.
    #[must_use]
    pub fn derive(passphrase: &[u8], salt: &[u8; SALT_LEN]) -> Self {
        let mut derived = Zeroizing::new([0; 48]);
        stretch(passphrase, salt, &mut derived[..]);
        Self::of(&derived)
    }

    /// Of the 48 bytes that OpenSSL derives: the key, then the IV.
    pub(super) fn of(derived: &[u8; 48]) -> Self {
        let mut made = Self { key: Zeroizing::new([0; 32]), iv: Zeroizing::new([0; BLOCK_LEN]) };
        made.key.copy_from_slice(&derived[..32]);
        made.iv.copy_from_slice(&derived[32..]);
        made
    }

    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The IV of the first block; that of a later one is the ciphertext block before it.
    #[must_use]
    pub fn iv(&self) -> &[u8; BLOCK_LEN] {
        &self.iv
    }
}

/// Enciphers one stream. Serial by CBC's nature.
pub struct Encryptor {
    mode: cbc::Encryptor<Aes256>,
    pending: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryptor(..)")
    }
}

impl Encryptor {
    #[must_use]
    pub fn new(key: &StreamKey) -> Self {
        let mode = cbc::Encryptor::new(&Array::from(*key.key), &Array::from(*key.iv));
        Self { mode, pending: Zeroizing::new(Vec::with_capacity(BLOCK_LEN)) }
    }

    /// Appends to `output` the ciphertext of all whole blocks so far. The header is not written.
    pub fn update(&mut self, mut input: &[u8], output: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            let take = input.len().min(BLOCK_LEN - self.pending.len());
            let (head, rest) = input.split_at(take);
            self.pending.extend_from_slice(head);
            input = rest;
            if self.pending.len() < BLOCK_LEN {
                return;
            }
            let start = output.len();
            output.extend_from_slice(&self.pending);
            self.encrypt_from(output, start);
            self.pending.clear();
        }
        let whole = input.len() - input.len() % BLOCK_LEN;
        let (whole, rest) = input.split_at(whole);
        output.reserve(whole.len() + 2 * BLOCK_LEN);
        for chunk in whole.chunks(CHUNK) {
            let start = output.len();
            output.extend_from_slice(chunk);
            self.encrypt_from(output, start);
        }
        self.pending.extend_from_slice(rest);
    }

    /// Appends the last, padded block.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        let missing = BLOCK_LEN - self.pending.len();
        let start = output.len();
        output.extend_from_slice(&self.pending);
        // PKCS#7: as many bytes as are missing, each saying how many.
        output.resize(start + BLOCK_LEN, missing as u8);
        self.encrypt_from(output, start);
    }

    fn encrypt_from(&mut self, buffer: &mut [u8], start: usize) {
        if let Some(tail) = buffer.get_mut(start..) {
            let (blocks, _) = Array::slice_as_chunks_mut(tail);
            self.mode.encrypt_blocks(blocks);
        }
    }
}

/// Deciphers whole blocks in place, from anywhere in a stream: `iv` is the ciphertext block
/// before them, or the stream's IV at its start. Padding, where the range holds the stream's end,
/// stays: see [`padding`].
///
/// # Errors
/// Where `data` is not whole blocks.
pub fn decrypt_blocks(
    key: &[u8; 32],
    iv: &[u8; BLOCK_LEN],
    data: &mut [u8],
) -> Result<(), EnvelopeError> {
    let (blocks, rest) = Array::slice_as_chunks_mut(data);
    if !rest.is_empty() {
        return Err(EnvelopeError::Truncated);
    }
    cbc::Decryptor::<Aes256>::new(&Array::from(*key), &Array::from(*iv)).decrypt_blocks(blocks);
    Ok(())
}

/// How many bytes of padding a stream's last plaintext block ends in.
///
/// # Errors
/// Where it is not padding: a wrong key, or damage.
pub fn padding(plaintext: &[u8]) -> Result<usize, EnvelopeError> {
    let last = plaintext.last_chunk::<BLOCK_LEN>().ok_or(EnvelopeError::Truncated)?;
    let count = usize::from(last[BLOCK_LEN - 1]);
    let padded = last.iter().rev().take(count).all(|b| usize::from(*b) == count);
    if (1..=BLOCK_LEN).contains(&count) && padded {
        Ok(count)
    } else {
        Err(EnvelopeError::BadPadding)
    }
}

/// Deciphers one stream from its start, padding removed. Holds one block back until the end.
pub struct Decryptor {
    mode: cbc::Decryptor<Aes256>,
    /// Ciphertext that is not yet a whole block, or the newest whole block.
    pending: Vec<u8>,
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decryptor(..)")
    }
}

impl Decryptor {
    #[must_use]
    pub fn new(key: &StreamKey) -> Self {
        let mode = cbc::Decryptor::new(&Array::from(*key.key), &Array::from(*key.iv));
        Self { mode, pending: Vec::with_capacity(2 * BLOCK_LEN) }
    }

    /// Appends to `output` what is certain to be plaintext. `input` is ciphertext without header.
    pub fn update(&mut self, input: &[u8], output: &mut Vec<u8>) {
        let total = self.pending.len() + input.len();
        if total <= BLOCK_LEN {
            self.pending.extend_from_slice(input);
            return;
        }
        // All whole blocks but the last one: that may be the stream's end.
        let ready = (total - 1) / BLOCK_LEN * BLOCK_LEN;
        let start = output.len();
        let (head, rest) = input.split_at(ready - self.pending.len());
        output.extend_from_slice(&self.pending);
        output.extend_from_slice(head);
        self.decrypt_from(output, start);
        self.pending.clear();
        self.pending.extend_from_slice(rest);
    }

    /// Appends the last bytes.
    ///
    /// # Errors
    /// Where the stream ends inside a block, or not in padding.
    pub fn finish(mut self, output: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let mut last: Zeroizing<[u8; BLOCK_LEN]> = Zeroizing::new(
            self.pending.as_slice().try_into().map_err(|_| EnvelopeError::Truncated)?,
        );
        self.decrypt_from(&mut last[..], 0);
        let count = padding(&last[..])?;
        output.extend_from_slice(&last[..BLOCK_LEN - count]);
        Ok(())
    }

    fn decrypt_from(&mut self, buffer: &mut [u8], start: usize) {
        if let Some(tail) = buffer.get_mut(start..) {
            let (blocks, _) = Array::slice_as_chunks_mut(tail);
            self.mode.decrypt_blocks(blocks);
        }
    }
}

/// A whole envelope around `plaintext`.
#[must_use]
pub fn seal(passphrase: &[u8], salt: &[u8; SALT_LEN], plaintext: &[u8]) -> Vec<u8> {
    seal_with(&StreamKey::derive(passphrase, salt), salt, plaintext)
}

/// As [`seal`], with what was derived from passphrase and salt already.
pub(super) fn seal_with(key: &StreamKey, salt: &[u8; SALT_LEN], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plaintext.len() + HEADER_LEN + BLOCK_LEN);
    sealed.extend_from_slice(&header(salt));
    let mut encryptor = Encryptor::new(key);
    encryptor.update(plaintext, &mut sealed);
    encryptor.finish(&mut sealed);
    sealed
}

/// The plaintext of a whole envelope, deciphered in the same memory.
///
/// # Errors
/// Where it is none, is cut short, or the key does not fit.
pub fn open(passphrase: &[u8], envelope: Vec<u8>) -> Result<Vec<u8>, EnvelopeError> {
    let key = StreamKey::derive(passphrase, &salt_of(&envelope)?);
    open_with(&key, envelope)
}

/// As [`open`], with what was derived from passphrase and salt already.
pub(super) fn open_with(key: &StreamKey, mut envelope: Vec<u8>) -> Result<Vec<u8>, EnvelopeError> {
    salt_of(&envelope)?;
    envelope.drain(..HEADER_LEN);
    if let Err(failed) = decrypt_blocks(key.key(), key.iv(), &mut envelope)
        .and_then(|()| padding(&envelope))
        .map(|count| {
            envelope.truncate(envelope.len() - count);
        })
    {
        envelope.zeroize();
        return Err(failed);
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSPHRASE: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn key() -> StreamKey {
        StreamKey::derive(PASSPHRASE, b"saltsalt")
    }

    fn encrypted(plaintext: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut encryptor, mut output, mut rest) = (Encryptor::new(&key()), Vec::new(), plaintext);
        for cut in cuts {
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            encryptor.update(head, &mut output);
            rest = tail;
        }
        encryptor.update(rest, &mut output);
        encryptor.finish(&mut output);
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_of_any_size_reads_back(
            plaintext in proptest::collection::vec(any::<u8>(), 0..70_000),
            cuts in proptest::collection::vec(0usize..20_000, 0..8),
        ) {
            let ciphertext = encrypted(&plaintext, &cuts);
            prop_assert_eq!(ciphertext.len() as u64 + 16, sealed_len(plaintext.len() as u64));
            prop_assert_eq!(&ciphertext, &encrypted(&plaintext, &[]));
            let (mut decryptor, mut output, mut rest) =
                (Decryptor::new(&key()), Vec::new(), &ciphertext[..]);
            for cut in cuts.iter().rev() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                decryptor.update(head, &mut output);
                rest = tail;
            }
            decryptor.update(rest, &mut output);
            decryptor.finish(&mut output).unwrap();
            prop_assert_eq!(output, plaintext);
        }

        #[test]
        fn any_range_of_blocks_deciphers_by_itself(
            plaintext in proptest::collection::vec(any::<u8>(), 1..40_000),
            from: prop::sample::Index,
            to: prop::sample::Index,
        ) {
            let ciphertext = encrypted(&plaintext, &[]);
            let blocks = ciphertext.len() / BLOCK_LEN;
            let from = from.index(blocks);
            let to = from + 1 + to.index(blocks - from);
            let mut range = ciphertext[from * BLOCK_LEN..to * BLOCK_LEN].to_vec();
            let key = key();
            let iv: [u8; BLOCK_LEN] = match from {
                0 => *key.iv(),
                _ => ciphertext[(from - 1) * BLOCK_LEN..from * BLOCK_LEN].try_into().unwrap(),
            };
            decrypt_blocks(key.key(), &iv, &mut range).unwrap();
            if to == blocks {
                range.truncate(range.len() - padding(&range).unwrap());
            }
            let end = (to * BLOCK_LEN).min(plaintext.len());
            prop_assert_eq!(&range, &plaintext[from * BLOCK_LEN..end]);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = open(b"a passphrase", bytes.clone());
            let _ = padding(&bytes);
            let mut decryptor = Decryptor::new(&key());
            let mut output = Vec::new();
            decryptor.update(&bytes, &mut output);
            let _ = decryptor.finish(&mut output);
        }
    }

    #[test]
    fn a_stream_cut_short_is_an_error() {
        // No byte of it can pass for padding: by chance one block in 256 would, which is why the
        // tags exist.
        let ciphertext = encrypted(&[200; 100], &[]);
        for len in 0..ciphertext.len() {
            let (mut decryptor, mut output) = (Decryptor::new(&key()), Vec::new());
            decryptor.update(&ciphertext[..len], &mut output);
            assert!(decryptor.finish(&mut output).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_wrong_key_or_another_form_is_an_error() {
        let sealed = seal(PASSPHRASE, b"saltsalt", b"content");
        assert_eq!(open(PASSPHRASE, sealed.clone()).unwrap(), b"content");
        assert_eq!(open(b"another", sealed), Err(EnvelopeError::BadPadding));
        let other = b"not an envelope at all, but long enough".to_vec();
        assert_eq!(open(PASSPHRASE, other), Err(EnvelopeError::NotAnEnvelope));
        assert_eq!(open(PASSPHRASE, b"Salted__".to_vec()), Err(EnvelopeError::Truncated));
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", key()), "StreamKey(..)");
    }
}
