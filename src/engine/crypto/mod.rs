//! Ciphers and keys: OpenSSL's own envelope, authentication tags, the keyring.
