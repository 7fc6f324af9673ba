//! No lock-in: `openssl` and `gunzip` alone open what Lifeboat wrote, and Lifeboat opens what
//! `openssl` wrote.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use lifeboat::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use lifeboat::engine::crypto::envelope::{self, Decryptor, StreamKey};
use lifeboat::engine::repository::Repository;
use lifeboat::engine::repository::file::{KeyFrom, decrypt, encrypt};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs a line of shell in `folder`; fails the test where it fails.
fn shell(folder: &Path, line: &str) {
    let output = Command::new("/bin/sh").args(["-ec", line]).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said} (openssl and gunzip are needed)");
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Sizes around the cipher's block and the buffers.
const SIZES: [usize; 9] = [0, 1, 15, 16, 17, 31, 65_536, 1_048_575, 1_048_577];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * i / 7) as u8).collect()
}

#[test]
fn openssl_opens_what_we_encrypted_and_we_what_it_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: String| folder.path().join(name);
    let key = at("key".to_owned());
    secret(&key, "a passphrase\nand a remark\n");
    for size in SIZES {
        fs::write(at(format!("{size}.in")), content(size)).unwrap();
        let from = KeyFrom::Passphrase(&key);
        encrypt(&at(format!("{size}.in")), &at(format!("{size}.enc")), from, &|_| {}).unwrap();
        let openssl = "openssl enc -aes-256-cbc -pbkdf2 -pass file:key";
        shell(folder.path(), &format!("{openssl} -d -in {size}.enc -out {size}.openssl"));
        assert!(fs::read(at(format!("{size}.openssl"))).unwrap() == content(size), "{size} bytes");

        shell(folder.path(), &format!("{openssl} -in {size}.in -out {size}.theirs"));
        let report =
            decrypt(&at(format!("{size}.theirs")), &at(format!("{size}.ours")), from, &|_| {});
        assert_eq!(report.unwrap().bytes, size as u64);
        assert!(fs::read(at(format!("{size}.ours"))).unwrap() == content(size), "{size} bytes");
    }
}

#[test]
fn streams_and_ranges_of_an_openssl_file_decipher() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in"), content(100_000)).unwrap();
    secret(&folder.path().join("key"), "another passphrase");
    shell(folder.path(), "openssl enc -aes-256-cbc -pbkdf2 -pass file:key -in in -out enc");
    let sealed = fs::read(folder.path().join("enc")).unwrap();
    let key = StreamKey::derive(b"another passphrase", &envelope::salt_of(&sealed).unwrap());

    let (mut decryptor, mut output) = (Decryptor::new(&key), Vec::new());
    for chunk in sealed[envelope::HEADER_LEN..].chunks(777) {
        decryptor.update(chunk, &mut output);
    }
    decryptor.finish(&mut output).unwrap();
    assert!(output == content(100_000));

    let (start, end) = (envelope::HEADER_LEN + 4096, envelope::HEADER_LEN + 8192);
    let mut range = sealed[start..end].to_vec();
    let iv = sealed[start - 16..start].try_into().unwrap();
    envelope::decrypt_blocks(key.key(), &iv, &mut range).unwrap();
    assert!(range == content(100_000)[4096..8192]);
}

/// The way that docs/REPOSITORY_FORMAT.md shows: master key, data key, WAL file.
#[test]
fn an_archived_segment_is_restored_without_lifeboat() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    secret(&at("master.key"), "the master key of this test\n");
    let config = RepositoryConfig {
        name: "near".to_owned(),
        store: StoreConfig::File { path: at("backups") },
        encryption: Encryption::Aes256Cbc {
            master_key_file: Some(at("master.key")),
            master_key_command: None,
            previous_master_key_file: None,
        },
        codec: Codec::Gzip,
        level: None,
        workers: None,
        place: Default::default(),
    };
    let segment = "000000010000000000000003";
    let mut bytes = content(3 << 20);
    bytes.resize(16 << 20, 0);
    let repository = Repository::create(&config, "shop").unwrap();
    repository.put_wal(segment, &bytes).unwrap();

    shell(
        folder.path(),
        "object=$(ls backups/wal-archive/0000000100000000/000000010000000000000003.*)
         key=$(basename \"$object\" | cut -d. -f2)
         sed -n 's/.*\"wrapped\": *\"\\([^\"]*\\)\".*/\\1/p' \"backups/keys/$key.json\" |
             openssl enc -d -aes-256-cbc -pbkdf2 -base64 -A -pass file:master.key > data.key
         openssl enc -d -aes-256-cbc -pbkdf2 -pass file:data.key -in \"$object\" |
             gunzip > segment",
    );
    assert!(fs::read(at("segment")).unwrap() == bytes);
    assert_eq!(fs::read(at("data.key")).unwrap().len(), 64);
}
