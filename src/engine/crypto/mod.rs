//! Ciphers and keys: OpenSSL's own envelope, authentication tags, the keyring. Owns every use of
//! a secret; never logs one, never puts one into an error, and lets no plaintext that a tag did
//! not vouch for be taken for what was written.

pub mod envelope;
pub mod keyring;
pub mod master;
pub mod sha;
pub mod sheet;
pub mod tag;
pub mod wrap;

pub use envelope::{Decryptor, Encryptor, EnvelopeError, StreamKey};
pub use keyring::{DataKey, Keyring};
pub use master::{KeyError, MasterKey, MasterKeySource};
pub use tag::{Protection, TAG_LEN};
