//! PostgreSQL's own `backup_manifest`, which lets `pg_verifybackup` judge a restore without us.
//! Owns its form; keeps its entries in a temporary file, not in memory.

use crate::engine::postgres::Lsn;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// A manifest that grows by a line a file.
#[derive(Debug)]
pub struct PgManifest {
    out: BufWriter<File>,
    sha: Sha256,
    size: u64,
    first: bool,
}

impl PgManifest {
    /// `version` is the server's major version: from 17 on the manifest names the system.
    ///
    /// # Errors
    /// Where no temporary file could be made or written.
    pub fn new(version: u32, system_identifier: u64) -> io::Result<Self> {
        let mut manifest = Self {
            out: BufWriter::new(tempfile::tempfile()?),
            sha: Sha256::new(),
            size: 0,
            first: true,
        };
        if version >= 17 {
            manifest.put("{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n")?;
            manifest.put(&format!("\"System-Identifier\": {system_identifier},\n"))?;
        } else {
            manifest.put("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n")?;
        }
        manifest.put("\"Files\": [")?;
        Ok(manifest)
    }

    /// Adds a file; `mtime` in seconds since 1970, UTC.
    ///
    /// # Errors
    /// Where the temporary file could not be written.
    pub fn file(&mut self, path: &str, size: u64, mtime: i64, crc32c: u32) -> io::Result<()> {
        let path = serde_json::to_string(path)?;
        let modified = jiff::Timestamp::from_second(mtime).unwrap_or_default();
        let modified = modified.strftime("%Y-%m-%d %H:%M:%S GMT");
        // The checksum is shown as its bytes lie in memory, lowest first.
        let checksum = data_encoding::HEXLOWER.encode(&crc32c.to_le_bytes());
        let comma = if std::mem::take(&mut self.first) { "\n" } else { ",\n" };
        self.put(&format!(
            "{comma}{{ \"Path\": {path}, \"Size\": {size}, \"Last-Modified\": \"{modified}\", \
             \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{checksum}\" }}"
        ))
    }

    /// Ends the manifest; gives its file and size.
    ///
    /// # Errors
    /// Where the temporary file could not be written.
    pub fn finish(mut self, timeline: u32, start: Lsn, stop: Lsn) -> io::Result<(File, u64)> {
        self.put(&format!(
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \
             \"End-LSN\": \"{stop}\" }}\n],\n"
        ))?;
        let digest = data_encoding::HEXLOWER.encode(&self.sha.clone().finalize());
        self.put(&format!("\"Manifest-Checksum\": \"{digest}\"}}\n"))?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((file, self.size))
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.sha.update(text);
        self.size += text.len() as u64;
        self.out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn is_json_and_its_last_line_is_the_digest_of_the_rest() {
        for version in [15, 17] {
            let mut manifest = PgManifest::new(version, 7_400_000_000_000_000_001).unwrap();
            manifest.file("base/1/\"odd\"", 8192, 1_700_000_000, 0x1234_ABCD).unwrap();
            manifest.file("PG_VERSION", 3, 0, 1).unwrap();
            let (mut file, size) = manifest.finish(2, Lsn(0x28), Lsn(0x100)).unwrap();
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, size);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["Files"][0]["Path"], "base/1/\"odd\"");
            assert_eq!(json["Files"][0]["Last-Modified"], "2023-11-14 22:13:20 GMT");
            assert_eq!(json["Files"][0]["Checksum"], "cdab3412");
            assert_eq!(json["WAL-Ranges"][0]["End-LSN"], "0/100");
            assert_eq!(json["System-Identifier"].is_u64(), version >= 17);
            let body = &text[..text.trim_end().rfind('\n').unwrap() + 1];
            let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(body));
            assert_eq!(json["Manifest-Checksum"], digest.as_str());
        }
    }
}
